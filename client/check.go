package client

import (
	"bytes"
	"context"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Payment is one payment, as far as its answer verified.
type Payment struct {
	// Name is `wallets/{wallet}/payments/{payment}`, ID its last part.
	Name, ID string
	// State is where it is.
	State typev1.PaymentState
	// Light is how it was judged, and Results every rule's result.
	Light   typev1.Light
	Results []*typev1.RuleResult
	// Asset and Units are what is paid, in the asset's smallest unit.
	Asset string
	Units int64
	// Recipient is who gets it; RecipientName is the recipient as this home's order named it, or empty.
	Recipient     [32]byte
	RecipientName string
	// Purpose is why.
	Purpose string
	// Deadline is the last moment at which it may be authorized.
	Deadline time.Time
	// X402 is the HTTP request whose answer it pays for, as the agent said; nil if it pays for none.
	X402 *typev1.X402Context
	// Settlement is the ledger's verified statement, once SETTLED.
	Settlement *typev1.Settlement
	// Failure is the ledger's verified statement that its transaction landed on a chain with an error, once FAILED.
	Failure *typev1.DeadMessage
	// Proto is the answer itself.
	Proto *typev1.Payment

	// signed is what a seller is paid with: the authorized message on Solana and its signature, which this client verified just now.
	signed *signedMessage
}

// refusal is an error about a piece of an answer that contradicts the rest of it.
func refusal(piece, field, why string) error {
	return &evidence.Error{Reason: typev1.Reason_REASON_EVIDENCE_MISMATCH, Piece: piece, Field: field, Why: why}
}

// readPayment decodes an answer and checks what it says against itself: the intent is the payment's and, once SETTLED, the
// ledger's signed settlement says so in every field; once FAILED, its signed statement names the transaction. payer is the paying
// wallet's key, nil where it is not known.
func (c *Client) readPayment(ctx context.Context, word *ledgerWord, p *typev1.Payment, wallet string, payer *[32]byte) (*Payment, error) {
	const op = "check payment"
	out, err := readPayment(c.Installation(), p, wallet, payer, ledgerChecks{
		settlement: func(e *typev1.Envelope) (*typev1.Settlement, error) { return word.settlement(ctx, e) },
		dead:       func(e *typev1.Envelope) (*typev1.DeadMessage, error) { return word.dead(ctx, e) },
	})
	if err != nil {
		return nil, distrust(op, unknown, "the answer contradicts itself", err)
	}
	return out, nil
}

// ledgerChecks verify the ledger's statements.
type ledgerChecks struct {
	settlement func(*typev1.Envelope) (*typev1.Settlement, error)
	dead       func(*typev1.Envelope) (*typev1.DeadMessage, error)
}

func readPayment(i *evidence.Installation, p *typev1.Payment, wallet string, payer *[32]byte, check ledgerChecks) (*Payment, error) {
	of, id, err := resource.ParsePayment(p.GetName())
	if err != nil {
		return nil, err
	}
	intent, units, err := evidence.CheckIntent(i, p.GetIntent())
	if err != nil {
		return nil, err
	}
	switch {
	case wallet != "" && of != wallet:
		return nil, refusal("payment", "name", "is another wallet's")
	case intent.GetPayment() != p.GetName():
		return nil, refusal("intent", "payment", "is another payment")
	}
	out := &Payment{
		Name: p.GetName(), ID: id, State: p.GetState(), Light: p.GetLight(), Results: p.GetResults(),
		Asset: intent.GetAsset(), Units: units, Recipient: [32]byte(intent.GetRecipient()), Purpose: intent.GetPurpose(),
		Deadline: time.UnixMilli(intent.GetDeadlineMillis()), X402: intent.GetX402(), Proto: p,
	}
	switch p.GetState() {
	case settled:
		if out.Settlement, err = check.settlement(p.GetSettlement()); err != nil {
			return nil, err
		}
		return out, checkSettled(out.Settlement, p, intent, payer)
	case failedState:
		out.Failure, err = findFailure(p, intent, check.dead)
		return out, err
	default:
		return out, nil
	}
}

// findFailure finds the ledger's statement that a payment's message landed with an error, among those that its messages are dead.
func findFailure(p *typev1.Payment, intent *typev1.Intent, dead func(*typev1.Envelope) (*typev1.DeadMessage, error)) (*typev1.DeadMessage, error) {
	const piece = "dead-message"
	if intent.GetRail() == typev1.Rail_RAIL_BOOK {
		return nil, refusal("payment", "state", "is FAILED, and nothing fails on the book")
	}
	for _, e := range p.GetDeadMessages() {
		d, err := dead(e)
		switch {
		case err != nil:
			return nil, err
		case len(d.GetTransaction()) == 0 || !evidence.MessageDigest(p.GetMessage()).Is(d.GetMessageDigest()):
			continue
		case d.GetPayment() != p.GetName():
			return nil, refusal(piece, "payment", "is another payment")
		case !evidence.IntentDigest(p.GetIntent()).Is(d.GetIntentDigest()):
			return nil, refusal(piece, "intent_digest", "is another intent")
		}
		return d, checkLanded(piece, intent, p.GetMessage(), d.GetTransaction())
	}
	return nil, refusal(piece, "", "of a transaction that failed is missing")
}

// checkSettled checks that a verified settlement is this payment's, on a chain by the transaction that carries its message.
func checkSettled(s *typev1.Settlement, p *typev1.Payment, intent *typev1.Intent, payer *[32]byte) error {
	const piece = "settlement"
	switch {
	case s.GetWallet() != intent.GetWallet():
		return refusal(piece, "wallet", "is another wallet")
	case s.GetPayment() != p.GetName():
		return refusal(piece, "payment", "is another payment")
	case payer != nil && !bytes.Equal(s.GetPayer(), payer[:]):
		return refusal(piece, "payer", "is not the wallet's key")
	case !bytes.Equal(s.GetRecipient(), intent.GetRecipient()):
		return refusal(piece, "recipient", "is not the intent's")
	case s.GetAsset() != intent.GetAsset():
		return refusal(piece, "asset", "is not the intent's")
	case s.GetUnits() != intent.GetUnits():
		return refusal(piece, "units", "is not the intent's")
	case !evidence.IntentDigest(p.GetIntent()).Is(s.GetIntentDigest()):
		return refusal(piece, "intent_digest", "is another intent")
	case !evidence.MessageDigest(p.GetMessage()).Is(s.GetMessageDigest()):
		return refusal(piece, "message_digest", "is another message")
	}
	return checkLanded(piece, intent, p.GetMessage(), s.GetTransaction())
}

// checkAuthorized verifies what stands behind an AUTHORIZED answer to an attempt: policy's approval and the ledger's
// receipt, each naming this very request and message, and the review where one of them needed it. The agent makes its half
// of the signature only after this.
func checkAuthorized(i *evidence.Installation, a *evidence.Attempt, payer [32]byte, message []byte, p *typev1.Payment) (*typev1.Receipt, error) {
	if !bytes.Equal(p.GetMessage(), message) {
		return nil, refusal("message", "", "is another one than was brought")
	}
	v := new(typev1.Verdict)
	if err := evidence.Peek(p.GetVerdict(), v); err != nil {
		return nil, err
	}
	// Which version of the guard rails is the head is the co-signer's to know. Here both must have judged by the same one.
	judged, err := evidence.ParseDigest(v.GetGuardRailsDigest())
	if err != nil {
		return nil, err
	}
	head := &evidence.Head{Digest: judged}
	receipt, err := evidence.CheckReceipt(i, a, head, evidence.EnvelopeDigest(p.GetVerdict()), p.GetReceipt())
	if err != nil {
		return nil, err
	}
	at := time.UnixMilli(receipt.GetTimeMillis())
	verdict, err := evidence.CheckVerdict(i, a, head, p.GetVerdict(), at)
	if err != nil {
		return nil, err
	}
	if !evidence.Approves(verdict) {
		return nil, refusal("verdict", "light", "is not an approval")
	}
	if receipt.GetLight() == typev1.Light_LIGHT_RED {
		return nil, refusal("receipt", "light", "is RED")
	}
	m, err := evidence.CheckMessage(message, a, payer)
	if err != nil {
		return nil, err
	}
	if err := evidence.CheckMessageTime(m, a, at); err != nil {
		return nil, err
	}
	return receipt, checkAnswered(a, verdict, receipt, p.GetReview())
}

// checkAnswered checks that a YELLOW names the review that came with it, and that this approves the intent. Whose signature
// counts is in the guard rails, which the co-signer verified it under.
func checkAnswered(a *evidence.Attempt, verdict *typev1.Verdict, receipt *typev1.Receipt, review *typev1.Envelope) error {
	const yellow = typev1.Light_LIGHT_YELLOW
	if verdict.GetLight() != yellow && receipt.GetLight() != yellow {
		return nil
	}
	r := new(typev1.Review)
	if err := evidence.Peek(review, r); err != nil {
		return err
	}
	digest := evidence.EnvelopeDigest(review)
	switch {
	case r.GetPayment() != a.Request.GetPayment():
		return refusal("review", "payment", "is another payment")
	case !a.IntentDigest.Is(r.GetIntentDigest()):
		return refusal("review", "intent_digest", "is another intent")
	case r.GetAnswer() != typev1.Answer_ANSWER_APPROVE:
		return refusal("review", "answer", "is not an approval")
	case verdict.GetLight() == yellow && !digest.Is(verdict.GetReviewDigest()):
		return refusal("verdict", "review_digest", "is another review")
	case receipt.GetLight() == yellow && !digest.Is(receipt.GetReviewDigest()):
		return refusal("receipt", "review_digest", "is another review")
	}
	return nil
}

// VerifyIncoming verifies that a payment, as anybody shows it, paid a wallet of this home: by the ledger's signed settlement
// to the wallet's own key. A seller delivers against what it returns, having compared asset and units with its price and
// noted the payment's name as used. What came in on a chain is named by the transaction that carries the payment's message, whose
// signature is verified; that the chain has it is the ledger's word.
func (c *Client) VerifyIncoming(p *typev1.Payment, wallet string) (*typev1.Settlement, error) {
	const op = "verify incoming payment"
	s, err := c.VerifySettlement(p.GetSettlement(), wallet)
	if err != nil {
		return nil, err
	}
	intent, _, err := evidence.CheckIntent(c.Installation(), p.GetIntent())
	if err == nil {
		err = checkSettled(s, p, intent, nil)
	}
	if err != nil {
		return nil, distrust(op, unknown, "the payment is not what its settlement says", err)
	}
	return s, nil
}

// VerifySettlement is VerifyIncoming for the ledger's statement alone. Both ask nobody, so a settlement from before the ledger's
// key was replaced does not verify here; Payments asks the journal about it.
func (c *Client) VerifySettlement(e *typev1.Envelope, wallet string) (*typev1.Settlement, error) {
	const op = "verify settlement"
	s, err := evidence.CheckSettlement(c.Installation(), e)
	if err != nil {
		return nil, distrust(op, unknown, "the settlement does not verify", err)
	}
	key, err := c.ownKey(wallet)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(s.GetRecipient(), key[:]) {
		return nil, distrust(op, unknown, "the settlement pays another key", nil)
	}
	return s, nil
}

// ownKey is the key of a wallet whose share this home holds, or whose record it has pinned.
func (c *Client) ownKey(wallet string) ([32]byte, error) {
	id, err := resource.ParseWallet(wallet)
	if err != nil {
		return [32]byte{}, wrap("verify settlement", err, notMoved)
	}
	if k, err := c.loadAgentKey(agentKeyPrefix + id); err == nil && k.share != nil {
		return k.share.GroupKey(), nil
	}
	r, err := c.pinnedRecord(wallet)
	if err != nil {
		return [32]byte{}, wrap("verify settlement", err, notMoved)
	}
	if r == nil {
		return [32]byte{}, local("verify settlement", typev1.Reason_REASON_NOT_FOUND, "this home knows no such wallet", "wallet", wallet)
	}
	return [32]byte(r.GetGroupKey()), nil
}
