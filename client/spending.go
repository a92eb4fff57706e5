package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// SpendingQuery says which spending is summed, and by what; its zero value is all of it, one sum for each asset.
type SpendingQuery struct {
	// Wallet is one wallet of an owner; empty means all of them. An agent has one.
	Wallet string
	// From and To bound when a payment was authorized, by whole UTC quarter hours: From is inside, To is not. Zero is no bound.
	From, To time.Time
	// ByDay sums by days in TimeZone, an IANA name, empty for UTC; ByWallet by wallet, ByRecipient by recipient's key.
	ByDay, ByWallet, ByRecipient bool
	TimeZone                     string
}

// Spending is what was spent of one asset by one group. Fields that were not summed by are zero.
type Spending struct {
	// Day is `2026-07-15`.
	Day string
	// Wallet is `wallets/{wallet}`.
	Wallet string
	// Recipient is a key.
	Recipient [32]byte
	// Asset is a CAIP-19 id.
	Asset string
	// Settled are the units of settled payments, and Held those of authorized ones, which may still settle.
	Settled, Held int64
	// Count is how many payments both are.
	Count int64
}

// Spending sums what this wallet spent. It is the ledger's word; the journal proves it.
func (a *Agent) Spending(ctx context.Context, q SpendingQuery) ([]Spending, error) {
	if q.Wallet != "" && q.Wallet != a.wallet {
		return nil, local("get spending", typev1.Reason_REASON_INVALID_ARGUMENT, "an agent sums its own wallet's spending", "field", "wallet")
	}
	return a.c.spending(ctx, a.who, a.wallet, q)
}

// Spending sums what this owner's wallets spent. It is the ledger's word; the journals prove it.
func (o *Owner) Spending(ctx context.Context, q SpendingQuery) ([]Spending, error) {
	parent := q.Wallet
	if parent == "" {
		parent = o.name
	}
	return o.c.spending(ctx, o.who, parent, q)
}

func (c *Client) spending(ctx context.Context, who *caller, parent string, q SpendingQuery) ([]Spending, error) {
	const op = "get spending"
	req := &gatewayv1.GetSpendingRequest{Parent: parent, TimeZone: q.TimeZone}
	if !q.From.IsZero() {
		req.StartTime = timestamppb.New(q.From)
	}
	if !q.To.IsZero() {
		req.EndTime = timestamppb.New(q.To)
	}
	for _, g := range []struct {
		by    bool
		group typev1.SpendingGroup
	}{
		{q.ByDay, typev1.SpendingGroup_SPENDING_GROUP_DAY},
		{q.ByWallet, typev1.SpendingGroup_SPENDING_GROUP_WALLET},
		{q.ByRecipient, typev1.SpendingGroup_SPENDING_GROUP_RECIPIENT},
	} {
		if g.by {
			req.GroupBy = append(req.GroupBy, g.group)
		}
	}
	var out []Spending
	for range pagesMax {
		resp, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_GetSpending_FullMethodName, who: who, about: parent},
			req, gatewayv1.GatewayServiceClient.GetSpending)
		if err != nil {
			return nil, err
		}
		for _, r := range resp.GetRows() {
			s, err := readSpending(r, q)
			if err != nil {
				return nil, distrust(op, notMoved, "a row is not a sum", err)
			}
			out = append(out, s)
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return out, nil
		}
	}
	return nil, tooLong(op)
}

func readSpending(r *typev1.SpendingRow, q SpendingQuery) (s Spending, err error) {
	s = Spending{Day: r.GetDay(), Wallet: r.GetWallet(), Asset: r.GetAsset(), Count: r.GetCount()}
	if s.Settled, err = resource.ParseAmount(r.GetSettled()); err != nil {
		return Spending{}, err
	}
	if s.Held, err = resource.ParseAmount(r.GetHeld()); err != nil {
		return Spending{}, err
	}
	switch {
	case (s.Day != "") != q.ByDay:
		return Spending{}, refusal("spending", "day", "is not what was asked for")
	case (s.Wallet != "") != q.ByWallet:
		return Spending{}, refusal("spending", "wallet", "is not what was asked for")
	case (len(r.GetRecipient()) == 32) != q.ByRecipient || len(r.GetRecipient()) != 0 && !q.ByRecipient:
		return Spending{}, refusal("spending", "recipient", "is not what was asked for")
	case s.Count < 0:
		return Spending{}, refusal("spending", "count", "is negative")
	}
	if q.ByWallet {
		if _, err := resource.ParseWallet(s.Wallet); err != nil {
			return Spending{}, err
		}
	}
	if q.ByDay {
		if _, err := time.Parse(time.DateOnly, s.Day); err != nil {
			return Spending{}, err
		}
	}
	copy(s.Recipient[:], r.GetRecipient())
	return s, nil
}
