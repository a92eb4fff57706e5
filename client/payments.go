package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// pageSize is how many rows one call asks for.
	pageSize = 100
	// pagesMax bounds a listing, so that a gateway which never ends one cannot fill this program's memory.
	pagesMax = 1000
	// watchRetryMin and watchRetryMax space out new streams when one breaks.
	watchRetryMin = 200 * time.Millisecond
	watchRetryMax = 5 * time.Second
)

// Payment returns a payment as the ledger has it, without continuing it. Where this home's record of it cannot be read it is returned if
// it settled, by the ledger's signature; of any other state the record would say whether it can be.
func (a *Agent) Payment(ctx context.Context, id string) (*Payment, error) {
	name, err := a.paymentName("get payment", id)
	if err != nil {
		return nil, err
	}
	told, err := invoke(ctx, a.c, rpc{op: "get payment", method: gatewayv1.GatewayService_GetPayment_FullMethodName, who: a.who, about: a.wallet},
		&gatewayv1.GetPaymentRequest{Name: name}, gatewayv1.GatewayServiceClient.GetPayment)
	if err != nil {
		return nil, err
	}
	a.c.learn(told.GetLedgerTime())
	if told.GetName() != name {
		return nil, distrust("get payment", unknown, "the answer is about another payment", nil)
	}
	r, err := a.c.payments.LoadPayment(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err != nil && told.GetState() == settled:
	case err != nil:
		return nil, damaged("get payment", name, err)
	default:
		// A message that was signed is alive until the ledger has signed that it is dead.
		if err := a.checkTold(ctx, r, told); err != nil {
			return nil, wrap("get payment", err, unknown)
		}
	}
	return a.readOwn(ctx, a.c.ledgerWord(a.who, a.wallet), told)
}

// readOwn reads an answer about a payment of this wallet: one that this home stored, that settled by the ledger's signature,
// or that this agent's request key signed. A record that cannot be read proves as little as one that is not there.
func (a *Agent) readOwn(ctx context.Context, word *ledgerWord, told *typev1.Payment) (*Payment, error) {
	const op = "check payment"
	p, err := a.c.readPayment(ctx, word, told, a.wallet, &a.groupKey)
	if err != nil {
		return nil, err
	}
	r, err := a.c.payments.LoadPayment(p.Name)
	switch {
	case err == nil:
		if !bytes.Equal(r.Intent, told.GetIntent()) {
			return nil, distrust(op, unknown, "the answer is about another intent than this agent's", nil)
		}
		p.RecipientName = r.RecipientName
		return p, nil
	case p.Settlement != nil:
		return p, nil
	}
	att, err := a.checkRequest(told.GetRequest())
	if err != nil {
		return nil, distrust(op, unknown, "the payment is not one that this agent asked for", err)
	}
	if att.IntentDigest != evidence.IntentDigest(told.GetIntent()) {
		return nil, distrust(op, unknown, "the payment's intent is not the one that this agent asked for", nil)
	}
	return p, nil
}

// checkRequest verifies a request under the request key that this wallet has, or one that it had.
func (a *Agent) checkRequest(e *typev1.Envelope) (*evidence.Attempt, error) {
	var refused error
	for _, key := range a.state.now().requestKeys() {
		att, err := evidence.CheckRequest(a.c.Installation(), e, key)
		if err == nil {
			return att, nil
		}
		if refused == nil {
			refused = err
		}
	}
	return nil, refused
}

// Payments lists the wallet's payments, newest first: its own, or incoming the ones settled to it, each verified to pay
// this wallet's key by the ledger's signature. EachPayment lists them one by one, and fewer of them.
func (a *Agent) Payments(ctx context.Context, incoming bool) ([]*Payment, error) {
	return collect(a.EachPayment(ctx, Filter{Incoming: incoming}))
}

func (c *Client) readIncoming(ctx context.Context, word *ledgerWord, told *typev1.Payment, to [32]byte) (*Payment, error) {
	p, err := c.readPayment(ctx, word, told, "", nil)
	if err != nil {
		return nil, err
	}
	if p.Settlement == nil || p.Recipient != to {
		return nil, distrust("check payment", unknown, "a payment is listed as incoming and did not settle to this wallet", nil)
	}
	return p, nil
}

func tooLong(op string) error {
	return local(op, typev1.Reason_REASON_LIMIT_EXCEEDED, "the listing does not end")
}

// Cancel ends a payment that holds nothing: one that waits for a person or for a fresh message.
func (a *Agent) Cancel(ctx context.Context, id string) (*Payment, error) {
	const op = "cancel payment"
	name, unlock, err := a.lockPayment(ctx, op, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	told, err := invoke(ctx, a.c, rpc{op: op, method: gatewayv1.GatewayService_CancelPayment_FullMethodName, who: a.who, about: a.wallet},
		&gatewayv1.CancelPaymentRequest{Name: name}, gatewayv1.GatewayServiceClient.CancelPayment)
	if err != nil {
		return nil, err
	}
	r, err := a.c.payments.LoadPayment(name)
	if errors.Is(err, fs.ErrNotExist) {
		if told.GetName() != name {
			return nil, distrust(op, unknown, "the answer is about another payment", nil)
		}
		return a.readOwn(ctx, a.c.ledgerWord(a.who, a.wallet), told)
	}
	if err != nil {
		return nil, damaged(op, name, err)
	}
	if err := a.checkTold(ctx, r, told); err != nil {
		return nil, err
	}
	return a.conclude(ctx, r, told)
}

// Wait watches a payment of this home, continues it by itself as soon as its owner has answered, and returns it once it has
// ended, or as it was when ctx ends. An outage on the way is waited out.
func (a *Agent) Wait(ctx context.Context, id string) (*Payment, error) {
	// What is READY after it was resumed is a fetch's, which ConfirmFetch continues.
	return a.wait(ctx, id, func(s typev1.PaymentState) bool { return ended(s) || s == ready })
}

// WaitProven is Wait for a payment that waits for no person: it returns it once it is not AUTHORIZED any more, because the chain, or
// the ledger's time, has proven what became of its message.
func (a *Agent) WaitProven(ctx context.Context, id string) (*Payment, error) {
	return a.wait(ctx, id, func(s typev1.PaymentState) bool { return s != authorized })
}

// wait continues and watches a payment until its state is one at which it rests.
func (a *Agent) wait(ctx context.Context, id string, rests func(typev1.PaymentState) bool) (*Payment, error) {
	const op = "wait for payment"
	var last *Payment
	for retry := watchRetryMin; ; {
		p, err := a.Resume(ctx, id)
		moved, risk := false, unknown
		if err == nil {
			if last = p; rests(p.State) {
				return p, nil
			}
			if p.State != authorized {
				risk = notMoved // It waits for a person.
			}
			opened := time.Now()
			if moved, err = a.watchByNewestKey(ctx, p); err == nil && time.Since(opened) > watchRetryMax {
				retry = watchRetryMin // A stream ends after a minute by itself: what comes meanwhile should not wait long.
			}
		}
		switch {
		case ctx.Err() != nil:
			return last, wrap(op, ctx.Err(), risk)
		case moved:
			retry = watchRetryMin
			continue
		case err != nil && !worthRepeating(err):
			if p != nil && p.State == authorized {
				err = unsure(err) // What was sent goes on without this stream.
			}
			return last, err
		}
		if err := pause(ctx, retry); err != nil {
			return last, wrap(op, err, risk)
		}
		retry = min(2*retry, watchRetryMax)
	}
}

// worthRepeating reports whether an error may be gone by itself.
func worthRepeating(err error) bool {
	switch ReasonOf(err) {
	case typev1.Reason_REASON_UNAVAILABLE, typev1.Reason_REASON_LIMIT_EXCEEDED, typev1.Reason_REASON_ABORTED,
		typev1.Reason_REASON_GUARD_RAILS_CHANGED, typev1.Reason_REASON_CLOCK_BEHIND:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watchByNewestKey is watch that goes on where the request key it was refused under has been replaced meanwhile by another that this home
// has: the payment is asked for again then, by that one.
func (a *Agent) watchByNewestKey(ctx context.Context, p *Payment) (moved bool, err error) {
	used := a.state.now()
	moved, err = a.watch(ctx, p)
	if ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
		return moved, err
	}
	renewed, failed := a.renew(ctx, used.request.public)
	switch {
	case failed != nil:
		return false, failed
	case !renewed:
		return false, err
	}
	return true, nil
}

// watch follows a payment until its state is another than p's, or the stream ends; what it then is, Resume asks and verifies.
func (a *Agent) watch(ctx context.Context, p *Payment) (moved bool, err error) {
	const op = "watch payment"
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	gateway, err := a.c.gateway(ctx)
	if err != nil {
		return false, err
	}
	ctx, err = a.c.token(ctx, a.who, gatewayv1.GatewayService_WatchPayment_FullMethodName, a.wallet)
	if err != nil {
		return false, wrap(op, err, notMoved)
	}
	stream, err := gateway.WatchPayment(ctx, &gatewayv1.WatchPaymentRequest{Name: p.Name})
	if err != nil {
		return false, wrap(op, err, notMoved)
	}
	for {
		told, err := stream.Recv()
		if err != nil {
			return false, streamEnded(op, err)
		}
		a.c.learn(told.GetLedgerTime())
		if told.GetState() != p.State {
			return true, nil
		}
	}
}

// streamEnded makes an error of a stream's end; nil where the other side ended it, or its deadline did.
func streamEnded(op string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return nil
	}
	return wrap(op, err, notMoved)
}
