package client

import (
	"context"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// limitsTries is how often limits are asked for while guard rails change in between.
const limitsTries = 3

// LimitUse is how far one limit of the guard rails is used up.
type LimitUse struct {
	// Index is the limit's in the document, and Limit the limit itself.
	Index int
	Limit *typev1.Limit
	// Windowed says that it sums over a window; Used is what that has seen, in units or payments as the limit measures.
	Windowed bool
	Used     int64
	// Amount is the limit's, and Room what is left of it; of a limit per payment both are the largest payment that it lets pass.
	Amount, Room int64
	// Resets is when its window begins anew, or when the oldest quarter hour of a rolling window with a payment in it leaves. Zero
	// where nothing resets it: per payment, lifetime, a rolling window that has seen nothing.
	Resets time.Time
}

// Limits is what a wallet may still pay, all of it at one moment.
type Limits struct {
	// GuardRails are the ones in force, verified as GuardRails does.
	GuardRails *InForce
	// Uses are all limits, in the document's order. What was used is the ledger's word; room and resets follow from it and the
	// document, by the code that judges, and were compared.
	Uses []LimitUse
	// Account is balances, whether the wallet is frozen, the ledger's time, and its verified signed head.
	Account
}

// Limits returns the guard rails in force, how far each limit is used up, and the balances: by one call, unless the guard rails
// are newer than those that this home has verified. Like Account it notes the newest journal entry.
func (a *Agent) Limits(ctx context.Context) (*Limits, error) {
	seen, seenHash, err := a.c.payments.Seen(a.wallet)
	if err != nil {
		return nil, wrap("get limits", err, notMoved)
	}
	l, err := a.c.limits(ctx, a.who, a.wallet)
	if err != nil {
		return nil, err
	}
	return l, a.seeAfter(ctx, seen, seenHash, l.Head.GetEntry(), l.Head.GetEntryHash())
}

// Limits returns the same of one of this owner's wallets.
func (o *Owner) Limits(ctx context.Context, wallet string) (*Limits, error) {
	return o.c.limits(ctx, o.who, wallet)
}

func (c *Client) limits(ctx context.Context, who *caller, wallet string) (*Limits, error) {
	const op = "get limits"
	for range limitsTries {
		told, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_GetLimits_FullMethodName, who: who, about: wallet},
			&gatewayv1.GetLimitsRequest{Wallet: wallet}, gatewayv1.GatewayServiceClient.GetLimits)
		if err != nil {
			return nil, err
		}
		account, err := c.checkAccount(&gatewayv1.GetAccountResponse{
			Balances: told.GetBalances(), Frozen: told.GetFrozen(), LedgerTime: told.GetLedgerTime(), Head: told.GetHead(),
		}, wallet)
		if err != nil {
			return nil, err
		}
		head, same, err := c.isHead(ctx, who, wallet, told.GetGuardRails())
		if err != nil {
			return nil, err
		}
		if !same {
			continue // They have changed between both answers.
		}
		uses, err := readUses(head.Document, told.GetLimits(), account.Time)
		if err != nil {
			return nil, distrust(op, notMoved, "the limits are not the guard rails'", err)
		}
		return &Limits{GuardRails: inForce(head), Uses: uses, Account: *account}, nil
	}
	return nil, distrust(op, notMoved, "other guard rails are shown as in force than are", nil)
}

// isHead reports whether a document is the newest of a wallet's guard rails. It asks for versions only if it is not the newest
// that this home has verified.
func (c *Client) isHead(ctx context.Context, who *caller, wallet string, e *typev1.Envelope) (*evidence.Head, bool, error) {
	digest := evidence.EnvelopeDigest(e)
	head, err := c.pinnedHead(wallet)
	if err != nil {
		return nil, false, wrap("get limits", err, notMoved)
	}
	if head == nil || head.Digest != digest {
		if head, err = c.head(ctx, who, wallet); err != nil {
			return nil, false, err
		}
	}
	return head, head.Digest == digest, nil
}

// readUses reads what is said of each limit, and compares it with what the document makes of the sums that are said to be used.
func readUses(doc *typev1.GuardRails, told []*typev1.LimitUse, at time.Time) ([]LimitUse, error) {
	spans, ok := guardrails.Windows(doc, at)
	if !ok || len(told) != len(doc.GetLimits()) {
		return nil, refusal("limits", "", "are not one for each of the guard rails'")
	}
	seen := make([]guardrails.Seen, len(spans))
	for i, s := range spans {
		var err error
		if seen[i], err = readSeen(doc.GetLimits()[s.Limit], told[s.Limit]); err != nil {
			return nil, err
		}
	}
	uses, ok := guardrails.Uses(doc, seen, at)
	if !ok {
		return nil, refusal("limits", "", "do not add up")
	}
	out := make([]LimitUse, len(uses))
	for i, u := range uses {
		l := told[i]
		out[i] = LimitUse{
			Index: u.Limit, Limit: doc.GetLimits()[i], Windowed: u.Windowed, Used: u.Used, Amount: u.Amount, Room: u.Room, Resets: u.Resets,
		}
		switch {
		case int(l.GetIndex()) != i:
			return nil, refusal("limits", "index", "is out of order")
		case l.GetLimit() != resource.FormatUnits(u.Amount):
			return nil, refusal("limits", "limit", "is not the guard rails'")
		case l.GetRoom() != resource.FormatUnits(u.Room):
			return nil, refusal("limits", "room", "is not what the use leaves")
		case !u.Windowed && l.GetUsed() != "":
			return nil, refusal("limits", "used", "is of a limit per payment")
		case (l.GetResetTime() != nil) != !u.Resets.IsZero() || l.GetResetTime() != nil && !l.GetResetTime().AsTime().Equal(u.Resets):
			return nil, refusal("limits", "reset_time", "is not the window's")
		}
	}
	return out, nil
}

// readSeen is what a window has seen by what is told: of a rolling window, when it resets says which quarter hour is its oldest.
func readSeen(l *typev1.Limit, told *typev1.LimitUse) (seen guardrails.Seen, err error) {
	used, err := resource.ParseAmount(told.GetUsed())
	if err != nil {
		return guardrails.Seen{}, err
	}
	seen.Units, seen.Count = used, used
	if l.GetWindow() != typev1.Window_WINDOW_ROLLING || used == 0 {
		return seen, nil
	}
	if told.GetResetTime() == nil {
		return guardrails.Seen{}, refusal("limits", "reset_time", "is missing")
	}
	seen.First = told.GetResetTime().AsTime().Add(-time.Duration(l.GetRollingSeconds())*time.Second - time.Nanosecond)
	return seen, nil
}
