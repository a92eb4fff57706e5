package ledger

import (
	"cmp"
	"context"
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// spentMax bounds the payments that one answer sums up: some tenths of a second of reading. Whoever has more asks for a
	// shorter time, and gets a whole sum rather than a part that looks like one.
	spentMax = 200_000
	// spendingRowsMax bounds a page of rows.
	spendingRowsMax = 1000
)

// spendingRequest is a checked request.
type spendingRequest struct {
	parent   string
	owner    bool
	from, to int64 // Quarter hours: from is inside, to is not.
	zone     string
	by       map[typev1.SpendingGroup]bool
}

// spendingKey is a group; what is not grouped by is empty.
type spendingKey struct {
	day, wallet, recipient, asset string
}

func (k spendingKey) compare(o spendingKey) int {
	return cmp.Or(cmp.Compare(k.day, o.day), cmp.Compare(k.wallet, o.wallet),
		cmp.Compare(k.recipient, o.recipient), cmp.Compare(k.asset, o.asset))
}

// spent is what a group has spent.
type spent struct {
	settled, held, count int64
}

// GetSpending sums payments that count as spent, SETTLED and AUTHORIZED, by when they were authorized: the same payments and
// the same days that windows count.
func (s *Service) GetSpending(ctx context.Context, req *ledgerv1.GetSpendingRequest) (*ledgerv1.GetSpendingResponse, error) {
	resp, err := s.getSpending(ctx, req)
	return resp, s.answer(ctx, "GetSpending", err)
}

func (s *Service) getSpending(ctx context.Context, req *ledgerv1.GetSpendingRequest) (*ledgerv1.GetSpendingResponse, error) {
	r, err := newSpendingRequest(req)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize(), spendingRowsMax, spendingRowsMax)
	if err != nil {
		return nil, err
	}
	var after *spendingKey
	if req.GetPageToken() != "" {
		fields, err := readToken(req.GetPageToken(), 4)
		if err != nil {
			return nil, err
		}
		after = &spendingKey{fields[0], fields[1], fields[2], fields[3]}
	}
	var groups map[spendingKey]spent
	err = s.store.look(ctx, func(v *view) (err error) {
		if !r.owner {
			if _, err := v.tip(ctx, r.parent); err != nil {
				return err
			}
		}
		groups, err = v.spending(ctx, r, spentMax)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.rows(groups, after, size)
}

func newSpendingRequest(req *ledgerv1.GetSpendingRequest) (r spendingRequest, err error) {
	r = spendingRequest{
		parent: req.GetParent(), from: math.MinInt64, to: math.MaxInt64, zone: req.GetTimeZone(), by: make(map[typev1.SpendingGroup]bool),
	}
	if r.owner, err = parseParent(r.parent); err != nil {
		return r, err
	}
	if t := req.GetStartTime(); t != nil {
		if r.from, err = quarterOf(t, "start_time"); err != nil {
			return r, err
		}
	}
	if t := req.GetEndTime(); t != nil {
		if r.to, err = quarterOf(t, "end_time"); err != nil {
			return r, err
		}
	}
	for _, g := range req.GetGroupBy() {
		if _, known := typev1.SpendingGroup_name[int32(g)]; !known || g == typev1.SpendingGroup_SPENDING_GROUP_UNSPECIFIED || r.by[g] {
			return r, malformed("group_by")
		}
		r.by[g] = true
	}
	if _, ok := guardrails.DateIn(r.zone, time.Unix(1, 0)); !ok {
		return r, refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "the time zone is not known", "field", "time_zone")
	}
	return r, nil
}

// quarterOf is the quarter hour that begins at a moment.
func quarterOf(t *timestamppb.Timestamp, field string) (int64, error) {
	if !t.IsValid() || t.GetSeconds() < 0 {
		return 0, malformed(field)
	}
	quarter := guardrails.Quarter(t.AsTime())
	if !guardrails.QuarterStart(quarter).Equal(t.AsTime()) {
		return 0, refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "spending is counted by whole UTC quarter hours", "field", field)
	}
	return quarter, nil
}

// spending adds up what the request asks for, of at most so many payments.
func (v *view) spending(ctx context.Context, r spendingRequest, most int) (map[spendingKey]spent, error) {
	text := v.store.dialect.readSpent
	if r.owner {
		text = v.store.dialect.readOwnerSpent
	}
	groups := make(map[spendingKey]spent)
	days := make(map[int64]string)
	examined := 0
	err := v.each(ctx, text, func(row scanner) error {
		var wallet, asset string
		var quarter, units int64
		var recipient []byte
		var state typev1.PaymentState
		if err := row.Scan(&wallet, &quarter, &recipient, &asset, &state, &units); err != nil {
			return err
		}
		if examined++; examined > most {
			return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "more payments than one answer sums up: ask for a shorter time",
				"limit", strconv.Itoa(most))
		}
		k := spendingKey{asset: asset}
		if r.by[typev1.SpendingGroup_SPENDING_GROUP_DAY] {
			day, ok := days[quarter]
			if !ok {
				day, _ = guardrails.DateIn(r.zone, guardrails.QuarterStart(quarter))
				days[quarter] = day
			}
			k.day = day
		}
		if r.by[typev1.SpendingGroup_SPENDING_GROUP_WALLET] {
			k.wallet = wallet
		}
		if r.by[typev1.SpendingGroup_SPENDING_GROUP_RECIPIENT] {
			k.recipient = hex.EncodeToString(recipient)
		}
		sum, ok := groups[k].plus(state, units)
		if !ok {
			return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "a sum does not fit its number: ask for a shorter time")
		}
		groups[k] = sum
		return nil
	}, r.parent, r.from, r.to, most+1)
	return groups, err
}

// plus adds a payment that counts as spent.
func (s spent) plus(state typev1.PaymentState, units int64) (spent, bool) {
	sum := &s.held
	if state == settled {
		sum = &s.settled
	}
	var ok bool
	*sum, ok = added(*sum, units)
	s.count++
	return s, ok
}

// rows is the page of groups after one of them.
func (r spendingRequest) rows(groups map[spendingKey]spent, after *spendingKey, size int) (*ledgerv1.GetSpendingResponse, error) {
	resp := new(ledgerv1.GetSpendingResponse)
	var last spendingKey
	for _, k := range slices.SortedFunc(maps.Keys(groups), spendingKey.compare) {
		if after != nil && k.compare(*after) <= 0 {
			continue
		}
		if len(resp.Rows) == size {
			resp.NextPageToken = makeToken(last.day, last.wallet, last.recipient, last.asset)
			break
		}
		recipient, err := hex.DecodeString(k.recipient)
		if err != nil {
			return nil, err
		}
		sum := groups[k]
		resp.Rows = append(resp.Rows, &typev1.SpendingRow{
			Day: k.day, Wallet: k.wallet, Recipient: recipient, Asset: k.asset,
			Settled: resource.FormatUnits(sum.settled), Held: resource.FormatUnits(sum.held), Count: sum.count,
		})
		last = k
	}
	return resp, nil
}
