package client

import (
	"bytes"
	"context"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// longExpired is the expiry of a dry run's message. validate_only is not among what the agent signs, so whoever sees the request
// could bring it without; by this expiry policy, ledger and co-signer refuse it then, whatever the time is.
var longExpired = time.UnixMilli(1)

// dryRunRequest signs a request that can be judged and never be paid: its message is dead, and its commitment's nonces are gone.
func (a *Agent) dryRunRequest(ctx context.Context, intent []byte, terms *chainTerms) (*gatewayv1.CreatePaymentRequest, error) {
	const op = "judge payment"
	key, done, err := a.use(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	message, offer, err := a.dryRunMessage(intent, terms)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	_, commitment, err := key.commit()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	request, _, err := a.request(key, intent, message, offer, commitment)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return &gatewayv1.CreatePaymentRequest{Parent: a.wallet, Request: request, Message: message, ValidateOnly: true}, nil
}

// dryRunMessage makes a message that can never be paid: on the book it has expired, and on Solana no block has its hash. offer is the
// digest of the offer that it was made for.
func (a *Agent) dryRunMessage(intent []byte, terms *chainTerms) (message, offer []byte, err error) {
	i := a.c.Installation()
	m, _, err := evidence.CheckIntent(i, intent)
	switch {
	case err != nil:
	case m.GetRail() == railSolana:
		if terms != nil {
			offer = bytes.Clone(terms.offerDigest[:])
		}
		message, err = newChainMessage(i, intent, a.groupKey, terms, deadBlockHash())
	default:
		message, err = newMessage(i, intent, a.groupKey, longExpired)
	}
	return message, offer, err
}

// judge asks for the judgement of an intent, which records nothing.
func (a *Agent) judge(ctx context.Context, intent []byte, terms *chainTerms) (*typev1.Payment, error) {
	req, err := a.dryRunRequest(ctx, intent, terms)
	if err != nil {
		return nil, err
	}
	return invoke(ctx, a.c, rpc{op: "judge payment"}, req, gatewayv1.GatewayServiceClient.CreatePayment)
}

// dryRunIntent completes an order and encodes what it wants.
func (a *Agent) dryRunIntent(ctx context.Context, o Order) (Order, []byte, error) {
	o, recipient, err := a.complete(ctx, o)
	if err != nil {
		return o, nil, err
	}
	now, err := a.ledgerNow(ctx, o.Deadline)
	if err != nil {
		return o, nil, err
	}
	intent, err := newIntent(a.c.Installation(), a.wallet, o, recipient, now)
	return o, intent, err
}

// DryRunRequest makes and signs the request of a dry run, as DryRun sends it, for a program that calls the gateway by other means.
// It pays, sends and stores nothing; only a recipient or a time that this client does not know yet is asked for. The request is
// good for dry runs until the order's deadline, as often as one likes, while the wallet keeps its request key. It can never be
// paid, also by somebody who takes validate_only out of it: its message expired long ago, or names the hash of no block.
func (a *Agent) DryRunRequest(ctx context.Context, o Order) (*gatewayv1.CreatePaymentRequest, error) {
	_, intent, err := a.dryRunIntent(ctx, o)
	if err != nil {
		return nil, err
	}
	return a.dryRunRequest(ctx, intent, o.chain)
}

// DryRun asks how an order would be judged now: by every rule, with the history of now. Nothing is recorded or stored, nothing is
// held, and the co-signer is not asked: the payment that comes back is one that never was. Its state is what Pay would bring it
// to first: AUTHORIZED, PENDING_REVIEW or DENIED. What would be refused before any rule is asked, such as a frozen wallet or one
// that is short of funds, is the same error as Pay's. Nothing of the answer is signed: no rule rests on it.
func (a *Agent) DryRun(ctx context.Context, o Order) (*Payment, error) {
	const op = "judge payment"
	o, intent, err := a.dryRunIntent(ctx, o)
	if err != nil {
		return nil, err
	}
	used := a.state.now().request.public
	told, err := a.judge(ctx, intent, o.chain)
	if ReasonOf(err) == typev1.Reason_REASON_UNAUTHENTICATED {
		if again, failed := a.renew(ctx, used); failed != nil {
			return nil, failed
		} else if again {
			told, err = a.judge(ctx, intent, o.chain)
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
