package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// fetchAgain is what to do about a price that is not to be had any more.
const fetchAgain = "nothing was paid; fetch it again to see the price of now"

// ConfirmFetch pays the price that Fetch stored, sends the same request with the payment, and writes the resource to w. There is at
// most one payment for one fetch, however often this is called and whatever the server answers; a payment that waits for a person,
// was refused, or was made without the resource coming back is no error, but what the Fetch says.
//
// What is paid on a chain is handed to the server, who brings it there. From that moment the money counts as spent, whatever the
// server answers, until the ledger has proved what became of it. A resource that comes is handed over before that too.
//
// Called again, it goes on where it stopped: a payment that its owner has approved is paid if the server still asks for exactly
// what was approved; one that was made and whose resource did not come is sent again, the same one. If w has a method
// Commit() error it is called once the whole resource was written, before the fetch counts as delivered.
func (a *Agent) ConfirmFetch(ctx context.Context, id string, w io.Writer) (*Fetch, error) {
	f, answer, err := a.confirm(ctx, id)
	if answer == nil {
		return f, err
	}
	defer answer.close()
	n, problem := answer.copyTo(w)
	if f, err = answer.finish(n, problem); err != nil || !answer.r.unproven() {
		return f, err
	}
	return a.provedView(ctx, answer.r, answer.payment), nil
}

// confirm brings a fetch as far as its resource, which the caller reads and finishes. There is none unless the fetch is paid and
// the server hands it over.
func (a *Agent) confirm(ctx context.Context, id string) (*Fetch, *fetchAnswer, error) {
	const op = "confirm fetch"
	r, err := a.loadFetch(op, id)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := a.c.work.lock(ctx, "fetch "+r.Name)
	if err != nil {
		return nil, nil, wrap(op, err, notMoved)
	}
	defer unlock()
	// Again, now that nobody else in this program works on it.
	if r, err = a.loadFetch(op, id); err != nil {
		return nil, nil, err
	}
	var p *Payment
	switch r.State {
	case FetchEnded:
		return a.view(r), nil, nil
	case FetchDelivered:
		return nil, nil, a.boughtBefore(r)
	case FetchSent:
		if p, err = a.prove(ctx, r); err == nil && r.State == FetchSent {
			err = a.unfrozen(ctx, r)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if r.State == FetchQuoted || r.State == FetchConfirmed {
		if p, err = a.payFetch(ctx, r); err != nil {
			return nil, nil, err
		}
	}
	if r.State != FetchPaid && r.State != FetchSent {
		return a.paidView(r, p), nil, nil
	}
	answer, err := a.deliver(ctx, r)
	switch {
	case err != nil:
		return a.paidView(r, p), nil, err
	case answer == nil && r.State == FetchSent:
		return a.provedView(ctx, r, p), nil, nil
	case answer == nil:
		return a.paidView(r, p), nil, nil
	}
	answer.payment = p
	return nil, answer, nil
}

// boughtBefore refuses to confirm a fetch that was delivered, and says what it was and whether that is paid: only this call moves nothing.
func (a *Agent) boughtBefore(r *FetchRecord) error {
	f := a.view(r)
	why := "the fetch was paid and its resource delivered before"
	switch f.MoneyMoved {
	case unknown:
		why = "the resource was delivered before, and the ledger has not proved yet whether its payment landed"
	case notMoved:
		why = "the resource was delivered before, and its payment moved nothing"
	}
	metadata := []string{
		"fetch", r.Name, "state", string(r.State), "paid", strings.TrimPrefix(f.MoneyMoved.String(), "MONEY_MOVED_"),
		"asset", r.Asset, "units", resource.FormatUnits(r.Units), "recipient", r.PayTo,
	}
	if m, err := r.context(); err == nil {
		metadata = append(metadata, "request", m.GetMethod()+" "+m.GetScheme()+"://"+m.GetHost()+m.GetPath()) // Its query may hold a secret.
	}
	if !r.Delivered.IsZero() {
		metadata = append(metadata, "delivered", r.Delivered.UTC().Format(time.RFC3339))
	}
	return localNext("confirm fetch", typev1.Reason_REASON_WRONG_STATE, why+": nothing moved now, and it buys nothing again",
		"show the fetch to see what became of it, or fetch it again to buy it again", metadata...)
}

// payFetch brings the payment of a fetch as far as it goes without a person, and the record with it.
func (a *Agent) payFetch(ctx context.Context, r *FetchRecord) (*Payment, error) {
	const op = "confirm fetch"
	stale := a.tooOld(r)
	var p *Payment
	var err error
	if r.State == FetchQuoted {
		if stale {
			return nil, a.endFetch(ctx, r, nil, localNext(op, typev1.Reason_REASON_DEADLINE_EXPIRED,
				tooOldText, fetchAgain))
		}
		r.State = FetchConfirmed
		// Before anything is signed: whoever finds a fetch that is only QUOTED may rely on that nothing was.
		if err := a.saveFetch(r, notMoved); err != nil {
			return nil, err
		}
	} else if p, err = a.fetchPayment(ctx, r); err != nil {
		return nil, err
	}
	switch {
	case p != nil && (ended(p.State) || p.State == pendingReview):
		return p, a.followPayment(r, p)
	case p != nil && p.State == authorized:
		// It may have been paid already, so what the server asks now changes nothing.
		if err := a.unfrozen(ctx, r); err != nil {
			return nil, err
		}
	case p != nil || stale:
		// Approved, or proven not to have been paid, or never recorded: the server must still ask for exactly this.
		if err := a.quoteAgain(ctx, r, p); err != nil {
			return nil, err
		}
	}
	// By what the server asks now.
	order, err := r.order()
	if err != nil {
		return nil, err
	}
	// The name that the server gave is another word for the key that was shown, or it buys nothing.
	key, err := a.c.resolve(ctx, a.who, order.Recipient)
	switch {
	case err != nil:
		return nil, err
	case key != r.Recipient:
		return nil, localNext(op, typev1.Reason_REASON_PAYMENT_DIFFERS, "the recipient's name is another key's than the one that was shown", fetchAgain,
			"field", "recipient")
	}
	if p, err = a.Pay(ctx, order); err != nil {
		if a.neverSigned(r.Name, err) {
			return nil, a.endFetch(ctx, r, nil, err)
		}
		return nil, err
	}
	return p, a.followPayment(r, p)
}

// neverSigned reports whether a payment failed for ever, its deadline having passed before anything of it was signed.
func (a *Agent) neverSigned(name string, err error) bool {
	if ReasonOf(err) != typev1.Reason_REASON_DEADLINE_EXPIRED {
		return false
	}
	r, err := a.c.payments.LoadPayment(name)
	return err == nil && r.State == expired && len(r.Pinned) == 0 && len(r.Signature) == 0
}

// followPayment takes over what became of a fetch's payment.
func (a *Agent) followPayment(r *FetchRecord, p *Payment) error {
	const op = "confirm fetch"
	switch {
	case p.State == settled && r.onChain():
		// The record is older than the payment: a home that was restored.
		const why = "the payment settled, and this home has lost what its server was sent"
		return advised(failure(op, typev1.Reason_REASON_WRONG_STATE, moved, why),
			"nothing is paid again; show the server the payment's transaction")
	case p.State == settled:
		if err := r.payBook(p); err != nil {
			return wrap(op, err, moved)
		}
		r.State = FetchPaid
		return a.saveFetch(r, moved)
	case p.State == authorized && p.signed != nil && r.onChain():
		// It counts as sent once this is stored, and not before anything of it leaves.
		if err := r.payExact(p.signed); err != nil {
			return wrap(op, err, unknown)
		}
		r.State = FetchSent
		r.Until, r.LastValidHeight = a.landing(p)
		return a.saveFetch(r, unknown) // Another program on this home may be the one that sends it.
	case ended(p.State):
		r.State, r.Ended = FetchEnded, endedText(p.State)
		return a.saveFetch(r, notMoved)
	default:
		return nil
	}
}

// endFetch ends a fetch that was not paid, and its payment if that waits, and returns why.
func (a *Agent) endFetch(ctx context.Context, r *FetchRecord, p *Payment, why error) error {
	if p != nil {
		if _, err := a.Cancel(ctx, p.ID); err != nil {
			return errors.Join(why, err)
		}
	}
	var e *Error
	if errors.As(why, &e) {
		r.Ended = e.Message
	}
	r.State = FetchEnded
	return errors.Join(why, a.saveFetch(r, notMoved))
}

// quoteAgain asks the server once more for its price, and takes the new offer if it asks for exactly what was confirmed. If it does
// not, the fetch ends: another recipient, asset, amount or resource is another payment, to be seen and confirmed anew.
func (a *Agent) quoteAgain(ctx context.Context, r *FetchRecord, p *Payment) error {
	const op = "confirm fetch"
	resp, err := a.askServer(ctx, r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusPaymentRequired {
		_ = resp.Body.Close() // What it has to say is not what was confirmed.
		return localNext(op, typev1.Reason_REASON_UNAVAILABLE, "the server does not ask for the payment now", "confirm later, or fetch it again")
	}
	q, err := readRequired(op, resp)
	if err != nil {
		return err
	}
	chosen, err := a.sameOffer(ctx, q, r)
	if err != nil && ReasonOf(err) != typev1.Reason_REASON_PAYMENT_DIFFERS {
		return err // What the server asks now could not be judged, and what was approved stays.
	}
	if err == nil && resp.Request.URL.String() != r.URL {
		err = localNext(op, typev1.Reason_REASON_PAYMENT_DIFFERS, "the server sends the request elsewhere now", fetchAgain, "field", "url")
	}
	if err != nil {
		return a.endFetch(ctx, r, p, err)
	}
	r.take(q, chosen)
	r.Quoted = a.c.clock()
	return a.saveFetch(r, notMoved)
}

// fetchPayment is a fetch's payment by the ledger's word, checked against what this home has stored of it; nil if there is none.
// It signs nothing and continues nothing.
func (a *Agent) fetchPayment(ctx context.Context, f *FetchRecord) (*Payment, error) {
	const op = "get payment"
	unlock, err := a.c.work.lock(ctx, f.Name)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer unlock()
	r, err := a.c.payments.LoadPayment(f.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return a.lostPayment(ctx, f)
	}
	if err != nil {
		return nil, damaged(op, f.Name, err)
	}
	told, err := a.ask(ctx, r)
	if err != nil || told == nil {
		return nil, named(err, r)
	}
	return a.readStored(ctx, r, told)
}

// lostPayment is a fetch's payment where this home has no record of it. A payment is stored before anything of it is sent, so it was
// never made, or the home is a copy that lacks it: the ledger says which. Only its settlement proves anything then, for nobody here knows
// which messages were signed.
func (a *Agent) lostPayment(ctx context.Context, f *FetchRecord) (*Payment, error) {
	const op = "get payment"
	p, err := a.Payment(ctx, f.Name)
	switch {
	case ReasonOf(err) == typev1.Reason_REASON_NOT_FOUND:
		return nil, nil
	case err != nil:
		return nil, unsure(err)
	case p.State != settled:
		return nil, advised(failure(op, typev1.Reason_REASON_WRONG_STATE, unknown,
			"this home has lost the record of the fetch's payment, and cannot continue it without", "payment", f.Name, "state", stateWord(p.State)),
			"put the record back from a copy of the home; or cancel the payment if it waits, and fetch anew once it has ended without being paid")
	}
	order, err := f.order()
	if err == nil {
		err = sameOrder(&PaymentRecord{Name: f.Name, Intent: p.Proto.GetIntent()}, order, f.Recipient)
	}
	if ReasonOf(err) == typev1.Reason_REASON_PAYMENT_DIFFERS {
		err = localNext(op, typev1.Reason_REASON_PAYMENT_DIFFERS, "the payment of this id was made for something else than the fetch", fetchAgain, "payment", f.Name)
	}
	return p, err
}

// readStored reads what the ledger says of a stored payment.
func (a *Agent) readStored(ctx context.Context, r *PaymentRecord, told *typev1.Payment) (*Payment, error) {
	p, err := a.c.readPayment(ctx, a.c.ledgerWord(a.who, a.wallet), told, a.wallet, &a.groupKey)
	if err == nil {
		p.RecipientName = r.RecipientName
	}
	return p, err
}

// resumeFetched resumes a fetch's payment as far as that may be done without asking the server: what is authorized may have been
// paid already, so it is finished.
func (a *Agent) resumeFetched(ctx context.Context, r *PaymentRecord, err error) (*Payment, error) {
	const op = "resume payment"
	if err != nil {
		return nil, damaged(op, r.Name, err)
	}
	told, err := a.ask(ctx, r)
	switch {
	case err != nil:
		return nil, named(err, r)
	case told == nil:
		return nil, localNext(op, typev1.Reason_REASON_WRONG_STATE,
			"the payment was never made, and its fetch alone can make it", "confirm the fetch", "payment", r.Name)
	case told.GetState() == authorized || ended(told.GetState()):
		p, err := a.drive(ctx, r, told, nil)
		return p, named(err, r)
	default:
		return a.readStored(ctx, r, told)
	}
}

// ofFetch reports whether a payment belongs to a fetch, which alone continues it: it asks the server again first.
func (a *Agent) ofFetch(name string) (bool, error) {
	_, err := a.c.fetches.LoadFetch(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// paidView is a fetch with its payment.
func (a *Agent) paidView(r *FetchRecord, p *Payment) *Fetch {
	f := a.view(r)
	f.Payment = p
	if p == nil || r.State != FetchConfirmed {
		return f
	}
	f.MoneyMoved = p.moneyMoved()
	switch {
	case p.State != authorized:
	case r.onChain():
		f.Until, f.LastValidHeight = a.landing(p)
	default:
		if m, err := book.Decode(p.Proto.GetMessage()); err == nil {
			f.Until = m.Expiry()
		}
	}
	return f
}

// provedView is a fetch whose payment a server has, by the ledger's newest word where there is one: what the server did meanwhile may
// have ended it. Where there is none it stays unknown.
func (a *Agent) provedView(ctx context.Context, r *FetchRecord, p *Payment) *Fetch {
	after := *r
	if newest, err := a.prove(ctx, &after); err == nil {
		return a.paidView(&after, newest)
	}
	return a.paidView(r, p)
}

// stateWord is a payment's state as people read it.
func stateWord(s typev1.PaymentState) string { return strings.TrimPrefix(s.String(), "PAYMENT_STATE_") }
