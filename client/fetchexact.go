package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/x402"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// landingTime is about how long the outcome of a message on Solana can be unknown: it may land for 60 to 90 seconds, its block takes 15
// more to be final, and then the ledger looks. It is an estimate that is shown; what decides is the height in the receipt.
const landingTime = 2 * time.Minute

// onChain reports whether the chosen offer is paid on a chain, so that the seller brings the payment there and the ledger proves what
// became of it afterwards.
func (r *FetchRecord) onChain() bool { return guardrails.RailOf(r.Asset) == railSolana }

// chainTerms are what the chosen offer adds to the payment's intent; nil on the book. The server's hint at a block hash is not used:
// the ledger hands out the one whose end it can prove.
func (r *FetchRecord) chainTerms() (*chainTerms, error) {
	if !r.onChain() {
		return nil, nil
	}
	_, o, err := r.chosen()
	if err != nil {
		return nil, err
	}
	feePayer, err := solana.ParseKey(o.FeePayer)
	if err != nil {
		return nil, err
	}
	memo := string(o.Memo)
	if memo == "" {
		memo = r.Memo
	}
	return &chainTerms{feePayer: feePayer, memo: memo, offerDigest: sha256.Sum256(o.Raw)}, nil
}

// payExact makes the header that pays the chosen offer with the signed message: a transaction that lacks only the signature of who
// pays the fee. From the moment at which it may have left, the money is spent until the ledger has proved otherwise.
func (r *FetchRecord) payExact(s *signedMessage) error {
	q, o, err := r.chosen()
	if err != nil {
		return err
	}
	if digest := sha256.Sum256(o.Raw); !bytes.Equal(digest[:], s.offerDigest) {
		// It is never sent, so it dies with its block hash.
		const why = "the payment was authorized for an offer that another process has replaced"
		return failure("confirm fetch", typev1.Reason_REASON_ABORTED, notMoved, why)
	}
	wire, err := solana.Wire(s.message, solana.Signature{}, s.signature)
	if err != nil {
		return err
	}
	payload, err := (&x402.TransactionPayload{Transaction: wire}).Encode()
	if err != nil {
		return err
	}
	return r.pays(q, payload)
}

// landing is until when the message of an authorized payment can land, by the ledger's receipt, and an estimate of when the ledger will
// have proved what became of it. Both are shown and decide nothing.
func (a *Agent) landing(p *Payment) (until time.Time, height uint64) {
	receipt := new(typev1.Receipt)
	_, err := evidence.Open(p.Proto.GetReceipt(), receipt, a.c.Installation().Key(typev1.Purpose_PURPOSE_LEDGER))
	if err != nil || !evidence.MessageDigest(p.Proto.GetMessage()).Is(receipt.GetMessageDigest()) {
		return a.c.clock().Add(landingTime), 0
	}
	return time.UnixMilli(receipt.GetTimeMillis()).Add(landingTime), receipt.GetLastValidHeight()
}

// unproven reports whether money may have moved and the ledger has not yet proved what became of it.
func (r *FetchRecord) unproven() bool {
	return r.State == FetchSent || r.State == FetchDelivered && r.Money == unknown
}

// prove asks the ledger what became of a payment that the seller has, or may have, and stores the answer.
func (a *Agent) prove(ctx context.Context, r *FetchRecord) (*Payment, error) {
	p, err := a.learnEnd(ctx, r)
	if err != nil || p.State == authorized {
		return p, err
	}
	return p, a.saveFetch(r, p.moneyMoved())
}

// learnEnd is prove without storing the answer. Only the ledger's settlement, or its statement that the message is dead, changes
// anything: both were verified.
func (a *Agent) learnEnd(ctx context.Context, r *FetchRecord) (*Payment, error) {
	const op = "confirm fetch"
	p, err := a.fetchPayment(ctx, r)
	switch {
	case err != nil:
		return nil, a.untilKnown(r, unsure(err))
	case p == nil:
		return nil, a.untilKnown(r, failure(op, typev1.Reason_REASON_LEDGER_BEHIND, unknown,
			"the ledger does not know a payment that it had authorized, or this home has lost its record"))
	case p.State == authorized:
		return p, nil
	case r.State == FetchDelivered && p.State == settled:
		r.Money = moved
	case r.State == FetchDelivered:
		r.Money = notMoved
	case p.State == settled:
		r.State = FetchPaid
	case ended(p.State):
		r.State, r.Ended = FetchEnded, endedText(p.State)
	default:
		// The message is proven dead before the deadline: the server may be asked again. What it got before pays nothing any more.
		r.State, r.PaymentHeader, r.PaymentValue, r.Until, r.LastValidHeight = FetchConfirmed, "", "", time.Time{}, 0
		r.Attempts = 0
	}
	return p, nil
}

// unfrozen refuses to send a payment that was authorized before to a seller while the wallet is frozen: nobody between this program and
// the chain would look. What a server has already may land all the same.
func (a *Agent) unfrozen(ctx context.Context, r *FetchRecord) error {
	const op = "confirm fetch"
	if !r.onChain() {
		return nil // The ledger settles nothing of a frozen wallet.
	}
	acc, err := a.Account(ctx)
	switch {
	case err != nil:
		return a.untilKnown(r, unsure(err))
	case acc.Frozen:
		return a.untilKnown(r, failure(op, typev1.Reason_REASON_FROZEN, unknown, "the wallet is frozen, so its payment is not sent to the server"))
	}
	return nil
}

// moneyMoved is what a payment's state says of the money.
func (p *Payment) moneyMoved() typev1.MoneyMoved {
	switch p.State {
	case settled:
		return moved
	case authorized:
		return unknown
	default:
		return notMoved
	}
}

// endedText says why nothing was paid, by the state of a payment that has ended.
func endedText(s typev1.PaymentState) string {
	if s == failedState {
		return "the payment is FAILED: its transaction landed with an error and moved nothing"
	}
	return "the payment is " + stateWord(s)
}
