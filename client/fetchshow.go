package client

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ShowFetch says what became of a fetch: not paid, waiting, paid, or unknown and until when. The ledger judges that, never the
// server. It signs, pays and sends nothing to the server.
func (a *Agent) ShowFetch(ctx context.Context, id string) (*Fetch, error) {
	const op = "show fetch"
	r, err := a.loadFetch(op, id)
	if err != nil {
		return nil, err
	}
	if r, err = a.endOld(r); err != nil {
		return nil, err
	}
	switch {
	case r.State == FetchSent:
		// Not stored: a program that is getting the resource at this moment has to store that it did.
		p, err := a.learnEnd(ctx, r)
		if err != nil {
			return nil, err
		}
		return a.paidView(r, p), nil
	case r.unproven():
		p, err := a.prove(ctx, r)
		if err != nil && (p == nil || ReasonOf(err) != typev1.Reason_REASON_ABORTED) { // Another program may have stored the same.
			return nil, err
		}
		return a.paidView(r, p), nil
	case r.State != FetchConfirmed:
		// Nothing was signed, or the ledger's settlement is there, or its word that the payment ended.
		return a.view(r), nil
	}
	p, err := a.fetchPayment(ctx, r)
	if err != nil {
		return nil, a.untilKnown(r, err)
	}
	f := a.paidView(r, p)
	if p == nil {
		f.MoneyMoved = notMoved
	}
	return f, nil
}

// endOld ends a fetch that nobody has confirmed and nobody can any more, so that it is not shown as one that can be.
func (a *Agent) endOld(r *FetchRecord) (*FetchRecord, error) {
	if r.State != FetchQuoted || !a.tooOld(r) {
		return r, nil
	}
	r.State, r.Ended = FetchEnded, tooOldText
	err := a.saveFetch(r, notMoved)
	if ReasonOf(err) == typev1.Reason_REASON_ABORTED {
		// Another process has ended it, or confirmed it while there was time.
		r, err = a.c.fetches.LoadFetch(r.Name)
		err = wrap("show fetch", err, notMoved)
	}
	return r, err
}

// untilKnown adds to an error, where money may have moved, when that cannot change any more.
func (a *Agent) untilKnown(r *FetchRecord, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.MoneyMoved == notMoved {
		return err
	}
	p, loading := a.c.payments.LoadPayment(r.Name)
	var until time.Time
	switch {
	case !r.Until.IsZero():
		until = r.Until
	case loading != nil || len(p.Messages) == 0:
		return err
	case r.onChain():
		if p.Chain == nil {
			return err
		}
		until = p.Chain.HashTime.Add(landingTime)
	default:
		m, decoding := book.Decode(p.Messages[len(p.Messages)-1])
		if decoding != nil {
			return err
		}
		until = m.Expiry()
	}
	if e.Metadata == nil {
		e.Metadata = make(map[string]string)
	}
	e.Metadata["until"] = until.UTC().Format(time.RFC3339)
	return e
}

// ListFetches lists this home's fetches of the wallet, newest first, as the home has them: nobody is asked, so what is CONFIRMED
// may have been paid. So may what is DAMAGED: a record that cannot be read hides no other.
func (a *Agent) ListFetches() ([]*Fetch, error) {
	const op = "list fetches"
	names, err := a.c.fetches.Fetches(a.wallet)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	all := make([]*Fetch, 0, len(names))
	for i := len(names) - 1; i >= 0; i-- { // Ids are drawn in ascending order.
		r, err := a.c.fetches.LoadFetch(names[i])
		if err != nil {
			_, id, _ := resource.ParsePayment(names[i]) // It was listed by this name.
			all = append(all, &Fetch{
				ID: id, Name: names[i], State: FetchDamaged, MoneyMoved: unknown, Damaged: strings.ReplaceAll(err.Error(), "halfkey: ", ""),
			})
			continue
		}
		if r, err = a.endOld(r); err != nil {
			return nil, err
		}
		all = append(all, a.view(r))
	}
	return all, nil
}
