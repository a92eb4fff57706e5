package client

import (
	"context"
	"crypto"
	"crypto/rand"
	"iter"
	"time"

	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// WatchOptions says which payments are watched, and from where.
type WatchOptions struct {
	// Token is a Change's of before: what came after it is told. Empty means from now on.
	Token string
	// Wallet is one wallet of an owner; empty means all of them. An agent has one.
	Wallet string
	// Incoming watches payments that settle to the wallets instead of their own, as Filter's lists them.
	Incoming bool
}

// Change is one change of a payment's state.
type Change struct {
	// Payment is the payment as this change left it, verified as in a list. It is nil in the first change after an empty token,
	// which says where "now" is.
	Payment *Payment
	// Token goes on after this change, in any program and at any time. Store it once the change has been dealt with: then none is
	// missed, and the last one may come again.
	Token string
}

// Watch follows the wallet's payments: every change of state from the token on, none missed, those of one payment in order. It
// connects anew by itself after an outage, without end; it ends with ctx, with the loop, or with an error that does not go away
// by waiting.
func (a *Agent) Watch(ctx context.Context, o WatchOptions) iter.Seq2[*Change, error] {
	if o.Wallet != "" && o.Wallet != a.wallet {
		return failed[*Change](local("watch payments", typev1.Reason_REASON_INVALID_ARGUMENT, "an agent watches its own wallet's payments", "field", "wallet"))
	}
	word := a.c.ledgerWord(a.who, a.wallet)
	return a.c.watchPayments(ctx, a.who, a.wallet, o, func(told *typev1.Payment) (*Payment, error) {
		return a.readListed(ctx, word, told, o.Incoming)
	})
}

// Watch follows the payments of this owner's wallets as an agent's Watch does.
func (o *Owner) Watch(ctx context.Context, w WatchOptions) iter.Seq2[*Change, error] {
	r := o.reader(w.Wallet, w.Incoming)
	return o.c.watchPayments(ctx, o.who, r.parent(), w, func(told *typev1.Payment) (*Payment, error) { return r.read(ctx, told) })
}

// watcher is one loop over changes.
type watcher struct {
	c      *Client
	who    *caller
	parent string
	o      WatchOptions
	read   func(*typev1.Payment) (*Payment, error)
	yield  func(*Change, error) bool
	// stopped says that the loop has ended, and yield is not to be called again.
	stopped bool
}

func (c *Client) watchPayments(
	ctx context.Context, who *caller, parent string, o WatchOptions, read func(*typev1.Payment) (*Payment, error),
) iter.Seq2[*Change, error] {
	return func(yield func(*Change, error) bool) {
		w := &watcher{c: c, who: who, parent: parent, o: o, read: read, yield: yield}
		if err := w.run(ctx); err != nil && !w.stopped {
			yield(nil, err)
		}
	}
}

// run opens streams until the loop ends or an error does not go away.
func (w *watcher) run(ctx context.Context) error {
	const op = "watch payments"
	retry := watchRetryMin
	for renewed := false; ; {
		used := w.who.key().Public()
		told, err := w.stream(ctx)
		switch {
		case w.stopped:
			return nil
		case ctx.Err() != nil:
			return wrap(op, ctx.Err(), notMoved)
		case told:
			retry, renewed = watchRetryMin, false
		}
		switch {
		case err == nil && told:
			continue // The other side ended a stream that worked.
		case ReasonOf(err) == typev1.Reason_REASON_UNAUTHENTICATED && !renewed:
			if renewed, err = w.renew(ctx, used, err); err != nil {
				return err
			}
			continue
		case err != nil && !worthRepeating(err):
			return err
		}
		if err := pause(ctx, spread(retry)); err != nil {
			return wrap(op, err, notMoved)
		}
		retry = min(2*retry, watchRetryMax)
	}
}

// spread is d less up to half of it: many who watch do not all come back at once.
func spread(d time.Duration) time.Duration {
	var drawn [1]byte
	_, _ = rand.Read(drawn[:]) // It does not fail.
	return d/2 + d/2*time.Duration(drawn[0])/256
}

// renew looks whether the caller has another key by now; refused is the error if it has none.
func (w *watcher) renew(ctx context.Context, used crypto.PublicKey, refused error) (bool, error) {
	if w.who.renew == nil {
		return false, refused
	}
	renewed, err := w.who.renew(ctx, used)
	if err == nil && !renewed {
		err = refused
	}
	return renewed, err
}

// stream reads one stream to its end, and reports whether it worked at all.
func (w *watcher) stream(ctx context.Context) (told bool, err error) {
	const op = "watch payments"
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	gateway, err := w.c.gateway(ctx)
	if err != nil {
		return false, wrap(op, err, notMoved)
	}
	started := time.Now()
	if ctx, err = w.c.token(ctx, w.who, gatewayv1.GatewayService_WatchPayments_FullMethodName, w.parent); err != nil {
		return false, wrap(op, err, notMoved)
	}
	stream, err := gateway.WatchPayments(ctx, &gatewayv1.WatchPaymentsRequest{
		Parent: w.parent, ResumeToken: w.o.Token, Incoming: w.o.Incoming,
	})
	if err != nil {
		return false, wrap(op, err, notMoved)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			// A stream without a change that lasted was a good one as well.
			return told || time.Since(started) > watchRetryMax, streamEnded(op, err)
		}
		w.c.catchUp(outer, resp)
		change, err := w.change(resp)
		if err != nil {
			return false, err
		}
		if !w.yield(change, nil) {
			w.stopped = true
			return true, nil
		}
		// Only now: what the loop has not seen is asked for again.
		w.o.Token, told = resp.GetResumeToken(), true
	}
}

// change verifies an answer of a stream.
func (w *watcher) change(resp *gatewayv1.WatchPaymentsResponse) (*Change, error) {
	const op = "watch payments"
	if resp.GetResumeToken() == "" {
		return nil, distrust(op, notMoved, "a change comes without its token", nil)
	}
	change := &Change{Token: resp.GetResumeToken()}
	if resp.GetPayment() == nil {
		if w.o.Token != "" {
			return nil, distrust(op, notMoved, "a change comes without its payment", nil)
		}
		return change, nil
	}
	w.c.learn(resp.GetPayment().GetLedgerTime())
	var err error
	change.Payment, err = w.read(resp.GetPayment())
	return change, err
}
