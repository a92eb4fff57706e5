package client

import (
	"bytes"
	"context"

	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// judge asks for the judgement of an attempt that records nothing. Its commitment is never used.
func (a *Agent) judge(ctx context.Context, intent, message []byte) (*typev1.Payment, error) {
	const op = "judge payment"
	key, done, err := a.use(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	_, commitment, err := key.commit()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	request, _, err := a.request(key, intent, message, commitment)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return invoke(ctx, a.c, rpc{op: op}, &gatewayv1.CreatePaymentRequest{
		Parent: a.wallet, Request: request, Message: message, ValidateOnly: true,
	}, gatewayv1.GatewayServiceClient.CreatePayment)
}

// DryRun asks how an order would be judged now: by every rule, with the history of now. Nothing is recorded or stored, nothing is
// held, and the co-signer is not asked: the payment that comes back is one that never was. Its state is what Pay would bring it
// to first: AUTHORIZED, PENDING_REVIEW or DENIED. What would be refused before any rule is asked, such as a frozen wallet or one
// that is short of funds, is the same error as Pay's. Nothing of the answer is signed: no rule rests on it.
func (a *Agent) DryRun(ctx context.Context, o Order) (*Payment, error) {
	const op = "judge payment"
	o, recipient, err := a.complete(ctx, o)
	if err != nil {
		return nil, err
	}
	now, err := a.ledgerNow(ctx, o.Deadline)
	if err != nil {
		return nil, err
	}
	i := a.c.Installation()
	intent, err := newIntent(i, a.wallet, o, recipient, now)
	if err != nil {
		return nil, err
	}
	message, err := newMessage(i, intent, a.groupKey, now)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	used := a.state.now().request.public
	told, err := a.judge(ctx, intent, message)
	if ReasonOf(err) == typev1.Reason_REASON_UNAUTHENTICATED {
		if again, failed := a.renew(ctx, used); failed != nil {
			return nil, failed
		} else if again {
			told, err = a.judge(ctx, intent, message)
		}
	}
	if err != nil {
		return nil, err
	}
	a.c.learn(told.GetLedgerTime())
	switch {
	case told.GetName() != resource.Payment(a.wallet, o.ID) || !bytes.Equal(told.GetIntent(), intent):
		return nil, distrust(op, notMoved, "the answer is about another payment", nil)
	case len(told.GetRelease()) > 0 || told.GetReceipt() != nil:
		return nil, distrust(op, unknown, "a dry run was answered with a payment that was recorded", nil)
	}
	p, err := a.c.readPayment(ctx, a.c.ledgerWord(a.who, a.wallet), told, a.wallet, &a.groupKey)
	if err != nil {
		return nil, err
	}
	p.RecipientName = o.Recipient
	return p, nil
}
