package client

import (
	"bytes"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	maxUnits = math.MaxInt64

	green  = typev1.Light_LIGHT_GREEN
	yellow = typev1.Light_LIGHT_YELLOW
	red    = typev1.Light_LIGHT_RED
)

// payment verifies one step of a payment. An attempt brings request and verdict; the other steps bring the ledger's
// statement, or nothing.
func (a *audit) payment(e *typev1.Entry, wasSetBack bool) error {
	s := e.GetStatements()
	if len(s) > 0 && s[0].GetPayloadType() == evidence.TypeRequest {
		return a.attempt(e)
	}
	p := a.payments[e.GetPayment()]
	if p == nil {
		return refusal("entry", "payment", "was never asked for")
	}
	switch e.GetPaymentState() {
	case settled:
		return a.settled(e, p)
	case ready, typev1.PaymentState_PAYMENT_STATE_FAILED:
		return a.died(e, p, wasSetBack)
	case expired:
		if p.state == authorized {
			return a.died(e, p, wasSetBack)
		}
		if e.GetTimeMillis() <= p.intent.GetDeadlineMillis() {
			return refusal("entry", "time_millis", "is not after the intent's deadline")
		}
		return a.ends(e, p)
	case typev1.PaymentState_PAYMENT_STATE_CANCELED:
		return a.ends(e, p)
	default:
		return refusal("entry", "payment_state", "is not one that a payment takes without a request")
	}
}

// ends ends a payment that holds nothing.
func (a *audit) ends(e *typev1.Entry, p *auditedPayment) error {
	if err := exactly(e, 0); err != nil {
		return err
	}
	if p.state != pendingReview && p.state != ready {
		return refusal("entry", "payment_state", "does not follow from the one before")
	}
	p.state = e.GetPaymentState()
	return nil
}

// attempt verifies an attempt that was recorded: request, message, verdict, review, the judgement, and what it led to.
func (a *audit) attempt(e *typev1.Entry) error {
	att, m, err := a.request(e)
	if err != nil {
		return err
	}
	p := a.payments[e.GetPayment()]
	if p == nil {
		unit, _, ok := resource.UnitOf(att.Intent.GetAsset(), a.i.ID())
		if !ok {
			return refusal("intent", "asset", "has no unit of account")
		}
		p = &auditedPayment{intent: att.Intent, digest: att.IntentDigest, units: att.Units, recipient: m.Recipient, unit: unit}
	}
	switch {
	case p.digest != att.IntentDigest:
		return refusal("intent", "", "is another one than the payment was first asked for with")
	case p.state != typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED && p.state != pendingReview && p.state != ready:
		return refusal("entry", "payment_state", "does not follow from the one before")
	}
	if err := evidence.CheckMessageTime(m, att, time.UnixMilli(e.GetTimeMillis())); err != nil {
		return err
	}
	if a.frozen() {
		return refusal("entry", "payment_state", "was recorded while the wallet was frozen")
	}
	outcome, err := a.judge(e, att, p)
	if err != nil {
		return err
	}
	if e.GetPaymentState() != outcome {
		return refusal("entry", "payment_state", "is not what the judgement leads to")
	}
	p.state = outcome
	if outcome == authorized {
		p.message, p.expiry = bytes.Clone(e.GetMessage()), m.ExpiryMillis
		p.counted, p.quarter = true, guardrails.Quarter(time.UnixMilli(e.GetTimeMillis()))
		a.count(p, p.units)
		a.move(e.GetAsset(), -p.units, p.units)
		if err := a.pin(p, m); err != nil {
			return err
		}
	}
	a.payments[e.GetPayment()] = p
	return nil
}

// renewal verifies a repeat of an AUTHORIZED payment: the same message, judged afresh without itself.
func (a *audit) renewal(e *typev1.Entry) error {
	att, m, err := a.request(e)
	if err != nil {
		return err
	}
	p := a.payments[e.GetPayment()]
	switch {
	case p == nil || p.state != authorized || e.GetPaymentState() != authorized:
		return refusal("entry", "payment_state", "is not AUTHORIZED")
	case p.digest != att.IntentDigest:
		return refusal("intent", "", "is another one than the payment was first asked for with")
	case !bytes.Equal(p.message, e.GetMessage()):
		return refusal("entry", "message", "is not the pinned one")
	}
	if err := evidence.CheckMessageTime(m, att, time.UnixMilli(e.GetTimeMillis())); err != nil {
		return err
	}
	if a.frozen() {
		return refusal("entry", "payment_state", "was renewed while the wallet was frozen")
	}
	outcome, err := a.judge(e, att, p)
	if err != nil {
		return err
	}
	if outcome != authorized {
		return refusal("entry", "payment_state", "is not what the judgement leads to")
	}
	return nil
}

// request verifies request and message of an attempt, under the request key of the guard rails in force.
func (a *audit) request(e *typev1.Entry) (*evidence.Attempt, evidence.Message, error) {
	if a.head == nil {
		return nil, evidence.Message{}, errNoHead
	}
	if n := len(e.GetStatements()); n != 2 && n != 3 {
		return nil, evidence.Message{}, refusal("entry", "statements", "are not request, verdict and possibly review")
	}
	att, err := evidence.CheckRequest(a.i, e.GetStatements()[0], a.head.Document.GetRequestKey())
	if err != nil {
		return nil, evidence.Message{}, err
	}
	switch {
	case att.Request.GetPayment() != e.GetPayment():
		return nil, evidence.Message{}, refusal("request", "payment", "is another payment")
	case att.Intent.GetAsset() != e.GetAsset() || att.Intent.GetUnits() != e.GetUnits():
		return nil, evidence.Message{}, refusal("intent", "units", "are not the entry's")
	}
	m, err := evidence.CheckMessage(e.GetMessage(), att, a.groupKey)
	return att, m, err
}

// judge verifies verdict and review of an attempt, judges it again, and returns the state that it leads to.
func (a *audit) judge(e *typev1.Entry, att *evidence.Attempt, p *auditedPayment) (typev1.PaymentState, error) {
	at := time.UnixMilli(e.GetTimeMillis())
	v, err := a.verdict(e, att, at)
	if err != nil {
		return 0, err
	}
	own := guardrails.Judge(a.head.Document, p.facts(), at)
	counted := guardrails.Count(a.head.Document, p.facts(), guardrails.History{Sums: a.sums(p, at), Paid: a.paidBefore(p)}, at)
	light, results := counted.Light, counted.Results
	if guardrails.Stricter(own.Light, v.GetLight()) != v.GetLight() {
		light, results = guardrails.Stricter(own.Light, counted.Light), append(slices.Clone(own.Results), counted.Results...)
	}
	if e.GetLight() != light {
		return 0, refusal("entry", "light", "is not what guard rails and history say")
	}
	if !sameResults(e.GetResults(), results) {
		return 0, refusal("entry", "results", "are not what guard rails and history say")
	}
	reviewed, err := a.answered(e, att, v, guardrails.Stricter(v.GetLight(), light))
	if err != nil {
		return 0, err
	}
	switch guardrails.Stricter(v.GetLight(), light) {
	case green:
		return authorized, nil
	case yellow:
		if reviewed {
			return authorized, nil
		}
		return pendingReview, nil
	default:
		return typev1.PaymentState_PAYMENT_STATE_DENIED, nil
	}
}

func (a *audit) verdict(e *typev1.Entry, att *evidence.Attempt, at time.Time) (*typev1.Verdict, error) {
	v := new(typev1.Verdict)
	if _, err := a.statement(e, 1, v, a.i.EveryKey(typev1.Purpose_PURPOSE_POLICY)...); err != nil {
		return nil, err
	}
	const piece = "verdict"
	tolerance := evidence.Tolerance.Milliseconds()
	switch {
	case v.GetInstallation() != a.i.ID() || v.GetWallet() != a.wallet || v.GetPayment() != e.GetPayment():
		return nil, refusal(piece, "payment", "is another payment")
	case !att.IntentDigest.Is(v.GetIntentDigest()):
		return nil, refusal(piece, "intent_digest", "is another intent")
	case !att.MessageDigest.Is(v.GetMessageDigest()):
		return nil, refusal(piece, "message_digest", "is another message")
	case !a.head.Digest.Is(v.GetGuardRailsDigest()):
		return nil, refusal(piece, "guard_rails_digest", "is another version than was in force")
	case at.UnixMilli() < v.GetTimeMillis()-tolerance || at.UnixMilli() > v.GetExpiryMillis()+tolerance:
		return nil, refusal(piece, "time_millis", "is too old or from the future")
	}
	return v, nil
}

// answered reports whether the entry holds an owner's approval of its intent.
func (a *audit) answered(e *typev1.Entry, att *evidence.Attempt, v *typev1.Verdict, light typev1.Light) (bool, error) {
	if len(e.GetStatements()) < 3 {
		return false, nil
	}
	if light != yellow {
		return false, refusal("entry", "statements", "hold a review that nothing asked for")
	}
	r, err := evidence.CheckReview(a.i, a.head, e.GetStatements()[2], att.IntentDigest, e.GetPayment())
	if err != nil {
		return false, err
	}
	switch {
	case r.GetAnswer() != typev1.Answer_ANSWER_APPROVE:
		return false, refusal("review", "answer", "is not an approval")
	case v.GetLight() == yellow && !evidence.EnvelopeDigest(e.GetStatements()[2]).Is(v.GetReviewDigest()):
		return false, refusal("verdict", "review_digest", "is another review")
	}
	return true, nil
}

func sameResults(a, b []*typev1.RuleResult) bool {
	return slices.EqualFunc(a, b, func(x, y *typev1.RuleResult) bool { return proto.Equal(x, y) })
}

// settled verifies that the group key signed the pinned message, in time on the book, and that the ledger's settlement says what it
// did.
func (a *audit) settled(e *typev1.Entry, p *auditedPayment) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	s := new(typev1.Settlement)
	if _, err := a.statement(e, 0, s, a.i.EveryKey(typev1.Purpose_PURPOSE_LEDGER)...); err != nil {
		return err
	}
	switch {
	case p.state != authorized:
		return refusal("entry", "payment_state", "does not follow from the one before")
	case !p.onChain() && !frost.VerifySignature(a.groupKey, p.message, e.GetSignature()):
		return refusal("entry", "signature", "is not the group key's over the pinned message")
	case !p.onChain() && e.GetTimeMillis() >= p.expiry:
		return refusal("entry", "time_millis", "is not before the message's expiry")
	case !p.onChain() && a.frozen():
		return refusal("entry", "payment_state", "settled while the wallet was frozen")
	case e.GetAsset() != p.intent.GetAsset() || e.GetUnits() != p.intent.GetUnits():
		return refusal("entry", "units", "are not the intent's")
	case s.GetInstallation() != a.i.ID():
		return refusal("settlement", "installation", "is another installation")
	case !bytes.Equal(s.GetPayer(), a.groupKey[:]):
		return refusal("settlement", "payer", "is not the wallet's key")
	case !evidence.MessageDigest(p.message).Is(s.GetMessageDigest()):
		return refusal("settlement", "message_digest", "is another message")
	case s.GetWallet() != a.wallet || s.GetPayment() != e.GetPayment() || !bytes.Equal(s.GetRecipient(), p.recipient[:]) ||
		s.GetAsset() != e.GetAsset() || s.GetUnits() != e.GetUnits() || !p.digest.Is(s.GetIntentDigest()):
		return refusal("settlement", "", "is not of this payment")
	}
	if p.onChain() {
		if err := a.settledOnChain(e, p, s); err != nil {
			return err
		}
	}
	p.state = settled
	a.notePaid(p)
	a.move(e.GetAsset(), 0, -p.units)
	return nil
}

// died verifies that a hold ended by proof: the ledger has signed that the message is dead, on the book after its expiry or because the
// operator had just set the wallet's time back; or that it landed on a chain with an error.
func (a *audit) died(e *typev1.Entry, p *auditedPayment, wasSetBack bool) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	d := new(typev1.DeadMessage)
	if _, err := a.statement(e, 0, d, a.i.EveryKey(typev1.Purpose_PURPOSE_LEDGER)...); err != nil {
		return err
	}
	after := expired
	if e.GetTimeMillis() <= p.intent.GetDeadlineMillis() {
		after = ready
	}
	if len(d.GetTransaction()) > 0 {
		after = typev1.PaymentState_PAYMENT_STATE_FAILED
	}
	switch {
	case p.state != authorized:
		return refusal("entry", "payment_state", "does not follow from the one before")
	case !p.onChain() && len(d.GetTransaction()) > 0:
		return refusal("dead-message", "transaction", "is given, and the payment is on the book")
	case e.GetPaymentState() != after:
		return refusal("entry", "payment_state", "is not what the intent's deadline, or the transaction that failed, says")
	case e.GetTimeMillis() < p.expiry && !wasSetBack:
		return refusal("entry", "time_millis", "is before the message's expiry")
	case d.GetInstallation() != a.i.ID() || d.GetWallet() != a.wallet || d.GetPayment() != e.GetPayment() || !p.digest.Is(d.GetIntentDigest()):
		return refusal("dead-message", "payment", "is another payment")
	case !evidence.MessageDigest(p.message).Is(d.GetMessageDigest()):
		return refusal("dead-message", "message_digest", "is another message")
	case e.GetAsset() != p.intent.GetAsset() || e.GetUnits() != p.intent.GetUnits():
		return refusal("entry", "units", "are not the intent's")
	}
	if p.onChain() {
		if err := a.diedOnChain(p, d); err != nil {
			return err
		}
	}
	a.setBack = wasSetBack && e.GetTimeMillis() < p.expiry
	a.count(p, -p.units)
	p.state, p.counted = after, false
	a.move(e.GetAsset(), p.units, -p.units)
	return nil
}
