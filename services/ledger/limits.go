package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// GetLimits answers with the guard rails in force and how far each limit is used up: by the code that judges payments, over
// one look, so that all of it is of one moment.
func (s *Service) GetLimits(ctx context.Context, req *ledgerv1.GetLimitsRequest) (*ledgerv1.GetLimitsResponse, error) {
	limits, err := s.getLimits(ctx, req.GetWallet())
	if err != nil {
		return nil, s.answer(ctx, "GetLimits", err)
	}
	return &ledgerv1.GetLimitsResponse{Limits: limits}, nil
}

func (s *Service) getLimits(ctx context.Context, name string) (*typev1.Limits, error) {
	if _, err := resource.ParseWallet(name); err != nil {
		return nil, err
	}
	out := new(typev1.Limits)
	var tip chain
	now := s.clock().UnixMilli()
	err := s.store.look(ctx, func(v *view) error {
		w, _, err := v.pin(ctx, name)
		if err != nil {
			return err
		}
		if tip, err = v.tip(ctx, name); err != nil {
			return err
		}
		out.GuardRails = w.head.Envelope
		if out.Limits, err = v.uses(ctx, w, time.UnixMilli(max(tip.clockMillis, now))); err != nil {
			return err
		}
		if _, out.Frozen, err = v.frozen(ctx, w); err != nil {
			return err
		}
		out.Balances, err = v.balances(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.LedgerTime = timestamp(max(tip.clockMillis, now))
	out.Head, err = s.journalHead(name, tip, now)
	return out, err
}

var errLimits = errors.New("the limits of the guard rails in force cannot be judged")

// uses says of every limit of a wallet's head how far it is used up.
func (v *view) uses(ctx context.Context, w wallet, at time.Time) ([]*typev1.LimitUse, error) {
	doc := w.head.Document
	spans, ok := guardrails.Windows(doc, at)
	if !ok {
		return nil, errLimits
	}
	seen := make([]guardrails.Seen, len(spans))
	for i, span := range spans {
		var err error
		if seen[i], err = v.seen(ctx, w.name, doc.GetLimits()[span.Limit], span); err != nil {
			return nil, err
		}
	}
	uses, ok := guardrails.Uses(doc, seen, at)
	if !ok {
		return nil, errLimits
	}
	out := make([]*typev1.LimitUse, 0, len(uses))
	for _, u := range uses {
		l := &typev1.LimitUse{Index: uint32(u.Limit), Limit: resource.FormatUnits(u.Amount), Room: resource.FormatUnits(u.Room)}
		if u.Windowed {
			l.Used = resource.FormatUnits(u.Used)
		}
		if !u.Resets.IsZero() {
			l.ResetTime = timestamp(u.Resets.UnixMilli())
		}
		out = append(out, l)
	}
	return out, nil
}

// seen is what a window has seen: the same rows, added up by the same code, as when a payment is judged.
func (v *view) seen(ctx context.Context, name string, l *typev1.Limit, span guardrails.Span) (seen guardrails.Seen, err error) {
	st := newState(v.store.installation, v.store.clock())
	for _, r := range ranges(name, l.GetUnit(), span) {
		st.covered[r] = true
		err := v.each(ctx, v.store.dialect.readSums, func(row scanner) error {
			k := sumKey{wallet: r.wallet, unit: r.unit, span: r.span}
			var sum guardrails.Sum
			err := row.Scan(&k.slot, &sum.Units, &sum.Count)
			st.sums.found(k, sum)
			return err
		}, r.wallet, r.unit, r.span, r.lo, r.hi)
		if err != nil {
			return guardrails.Seen{}, err
		}
	}
	seen.Sum = st.sum(name, l.GetUnit(), span, nil)
	if l.GetWindow() != typev1.Window_WINDOW_ROLLING || seen.Count == 0 {
		return seen, nil
	}
	var slot int64
	err = v.row(ctx, v.store.dialect.readFirstSum, name, l.GetUnit(), guardrails.Quarter(span.From), guardrails.Quarter(span.To)).Scan(&slot)
	if errors.Is(err, sql.ErrNoRows) {
		return seen, errLimits
	}
	seen.First = guardrails.QuarterStart(slot)
	return seen, err
}

// balances are a wallet's, by asset.
func (v *view) balances(ctx context.Context, name string) (out []*typev1.Balance, err error) {
	err = v.each(ctx, v.store.dialect.readBalances, func(r scanner) error {
		var asset string
		var b balance
		var slot int64
		if err := r.Scan(&asset, &b.available, &b.held, &slot); err != nil {
			return err
		}
		out = append(out, &typev1.Balance{
			Asset: asset, Available: resource.FormatUnits(b.available), Held: resource.FormatUnits(b.held), Slot: uint64(slot),
		})
		return nil
	}, name)
	return out, err
}
