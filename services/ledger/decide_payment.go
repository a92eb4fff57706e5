package ledger

import (
	"bytes"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// OpenPaymentsMax bounds a wallet's payments that have not ended: what a person would have to look through, and what one
	// wallet's sweep has to end.
	OpenPaymentsMax = 1024

	green  = typev1.Light_LIGHT_GREEN
	yellow = typev1.Light_LIGHT_YELLOW
	red    = typev1.Light_LIGHT_RED
)

// attempt is one verified attempt to pay. Its signatures were verified against the head of that digest; everything that may
// have changed since is decided again here.
type attempt struct {
	key paymentKey
	*evidence.Attempt
	message         []byte
	decoded         evidence.Message
	request         *typev1.Envelope
	verdictEnvelope *typev1.Envelope
	verdict         *typev1.Verdict
	review          *typev1.Envelope // An approval, verified; nil if none was brought.
	head            evidence.Digest
	chain           *onChain // What the chain says of it; nil on the book.
	dry             bool
}

func (a *attempt) facts() guardrails.Facts { return a.Facts(a.decoded) }

// recorded is what became of an attempt.
type recorded struct {
	payment payment
	// entry is the journal's about this attempt; nil if the attempt changed nothing.
	entry *draft
	// at is the ledger's time of the decision.
	at int64
	// receipt says what the receipt is about, while AUTHORIZED.
	receipt judged
	head    evidence.Digest
	// lastValidHeight is the last height at which the message can land, while AUTHORIZED on a chain.
	lastValidHeight int64
}

// judged is the ledger's judgement of one attempt.
type judged struct {
	// light is the payment's: the stricter of policy's and the ledger's.
	light typev1.Light
	// own and results are the ledger's.
	own     typev1.Light
	results []*typev1.RuleResult
	// review answers a YELLOW.
	review *typev1.Envelope
}

// decidePayment is step 4 of a payment. It ends the payment first if its time has come, refuses what may not be recorded,
// judges, and takes hold, windows and pin in one go.
func decidePayment(s *state, a *attempt) (*recorded, error) {
	w, ok := s.wallets.get(a.key.wallet)
	if !ok {
		return nil, errNotActive
	}
	existing, exists := s.payments.get(a.key)
	at, behind := s.time(w.name)
	if w.head.Digest != a.head {
		return nil, again(errHead).about(existing)
	}
	if behind {
		return nil, refuseClock(at, s.nowMillis).about(existing)
	}
	if r := s.seen(a); r != nil {
		return nil, r.about(existing)
	}
	if exists {
		if field := differs(existing.intent, a.Intent); field != "" {
			return nil, refuseDiffers(field).about(existing)
		}
		existing = s.touch(existing)
		if !a.dry {
			s.keep()
		}
		if existing.ended() {
			return &recorded{payment: existing, at: at}, nil
		}
	}
	r, err := s.record(w, existing, exists, a, at)
	if err != nil {
		return nil, err.about(existing)
	}
	return r, nil
}

// record decides about an attempt that may still become AUTHORIZED.
func (s *state) record(w wallet, p payment, exists bool, a *attempt, at int64) (*recorded, *refusal) {
	if by, id, is := s.frozen(w); is {
		return nil, refuseFrozen(by, id)
	}
	if p.state == authorized && !bytes.Equal(p.message, a.message) {
		return nil, refuseDiffers("message")
	}
	if err := checkTimes(a, at); err != nil {
		if p.state == authorized && err.reason == typev1.Reason_REASON_DEADLINE_EXPIRED {
			// A share of it may be out while its message lives: nobody may be told to pay this under another id.
			return nil, refuse(typev1.Reason_REASON_RULES_CHANGED, "the authorized payment would no longer pass: its deadline has passed")
		}
		return nil, err
	}
	if p.state != authorized {
		if r := a.checkBlock(); r != nil {
			return nil, r
		}
	}
	payee, r := s.payee(a)
	if r == nil {
		r = s.checkTakes(payee)
	}
	if r != nil {
		return nil, r
	}
	if !exists {
		p = newPayment(s.installation, a, w.owner, payee)
		if payee != redemption {
			p.payeeOwner = s.wallets.value(payee).owner
		}
	}
	j, r := s.judge(w, p, a, at)
	if r != nil {
		return nil, r
	}
	switch {
	case p.state == authorized:
		return s.renew(p, a, j, at)
	case !exists && j.light != red && s.chains.value(w.name).open >= OpenPaymentsMax:
		return nil, refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the wallet has too many payments that have not ended",
			"limit", strconv.Itoa(OpenPaymentsMax))
	case j.light == red:
		return s.take(p, exists, denied, a, j, at), nil
	case j.light == yellow && j.review == nil:
		return s.take(p, exists, pending, a, j, at), nil
	}
	return s.authorize(p, exists, a, j, at)
}

// authorize holds the units, counts them in every window and pins the message: from here on the share may be out.
func (s *state) authorize(p payment, exists bool, a *attempt, j judged, at int64) (*recorded, *refusal) {
	k := balanceKey{p.wallet, p.asset}
	if b := s.balances.value(k); b.available < p.units {
		return nil, refuse(typev1.Reason_REASON_INSUFFICIENT_FUNDS, "the wallet has not enough balance",
			"available", resource.FormatUnits(b.available), "units", resource.FormatUnits(p.units))
	}
	if r := s.checkPinnable(a); r != nil {
		return nil, r
	}
	p.quarter = guardrails.Quarter(time.UnixMilli(at))
	if !s.move(k, -p.units, p.units) || !s.count(p, 1) {
		return nil, refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "a sum of the wallet does not fit its number")
	}
	s.pinOnChain(p, a)
	return s.take(p, exists, authorized, a, j, at), nil
}

// renew answers a repeat of an AUTHORIZED payment: it passes by the rules of now, or not at all. Its hold stays either way.
func (s *state) renew(p payment, a *attempt, j judged, at int64) (*recorded, *refusal) {
	if j.light == red || j.light == yellow && j.review == nil {
		return nil, refuse(typev1.Reason_REASON_RULES_CHANGED, "the authorized payment would no longer pass")
	}
	r := s.take(p, true, authorized, a, j, at)
	r.entry.entry.Kind = typev1.EntryKind_ENTRY_KIND_RENEWAL
	return r, nil
}

// take gives a payment a state on an attempt and appends its entry.
func (s *state) take(p payment, exists bool, to typev1.PaymentState, a *attempt, j judged, at int64) *recorded {
	wasOpen := exists && p.open()
	renews := exists && p.state == authorized
	p.state = to
	p.message, p.expiryMillis = a.message, a.decoded.ExpiryMillis
	p.light = j.light
	if j.review != nil {
		p.review = j.review
	}
	e := &typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: p.name(), PaymentState: to, Asset: p.asset, Units: resource.FormatUnits(p.units),
		Light: j.own, Results: j.results, Statements: []*typev1.Envelope{a.request, a.verdictEnvelope}, Message: a.message,
		Caller: resource.AgentOf(p.wallet),
	}
	if j.review != nil {
		e.Statements = append(e.Statements, j.review)
	}
	d := s.append(&draft{chain: p.wallet, entry: e}, at)
	p.judgedEntry, p.updatedMillis = d.number(), at
	if !exists {
		p.createdEntry, p.createdMillis = d.number(), at
	}
	s.payments.put(s, p.key(), p)
	if !renews {
		s.note(p, d)
	}
	switch {
	case !wasOpen && p.open():
		s.addOpen(p.wallet, 1)
	case wasOpen && !p.open():
		s.addOpen(p.wallet, -1)
	}
	out := &recorded{payment: p, entry: d, at: at, receipt: j, head: a.head}
	if p.onChain() && to == authorized {
		out.lastValidHeight = s.messages.value(p.messageKey()).lastValidHeight
	}
	return out
}

// judge is the stricter of policy's verdict, the rules without history judged again, and the rules with history.
func (s *state) judge(w wallet, p payment, a *attempt, at int64) (judged, *refusal) {
	now := time.UnixMilli(at)
	facts := a.facts()
	own := guardrails.Judge(w.head.Document, facts, now)
	var without *payment
	if p.state == authorized {
		without = &p
	}
	spans := guardrails.Spans(w.head.Document, facts, now)
	sums := make([]guardrails.Sum, len(spans))
	for i, span := range spans {
		sums[i] = s.sum(w.name, p.unit, span, without)
	}
	counted := guardrails.Count(w.head.Document, facts, guardrails.History{Sums: sums, Paid: s.paidBefore(w.name, facts.X402)}, now)
	j := judged{own: counted.Light, results: counted.Results}
	if guardrails.Stricter(own.Light, a.verdict.GetLight()) != a.verdict.GetLight() {
		// Policy was milder than the document: the ledger says so in its own results.
		j.own = guardrails.Stricter(own.Light, counted.Light)
		j.results = append(own.Results, counted.Results...)
	}
	j.light = guardrails.Stricter(a.verdict.GetLight(), j.own)
	if j.light != yellow {
		return j, nil
	}
	j.review = s.approval(w, p, a)
	if j.review != nil && a.verdict.GetLight() == yellow && !evidence.EnvelopeDigest(j.review).Is(a.verdict.GetReviewDigest()) {
		// The co-signer wants policy's approval to name the review; only who brings the review to policy gets that.
		return judged{}, refuse(typev1.Reason_REASON_EVIDENCE_MISSING, "the payment was reviewed, and the call did not bring the review",
			"evidence", "review")
	}
	return j, nil
}

// approval is the owner's approving answer that counts under the head of now: the one brought with this attempt, or the one
// recorded before.
func (s *state) approval(w wallet, p payment, a *attempt) *typev1.Envelope {
	if a.review != nil {
		return a.review
	}
	if p.review == nil {
		return nil
	}
	r, err := evidence.CheckReview(s.installation, w.head, p.review, a.IntentDigest, p.name())
	if err != nil || r.GetAnswer() != typev1.Answer_ANSWER_APPROVE {
		return nil
	}
	return p.review
}

// seen checks that the ledger has the entry that the agent has seen, or that an operator accepted its loss.
func (s *state) seen(a *attempt) *refusal {
	number := int64(a.Request.GetSeenEntry())
	if number == 0 {
		return nil
	}
	seen := evidence.Digest(a.Request.GetSeenHash())
	if ours, ok := s.hashes.get(entryKey{a.key.wallet, number}); ok && ours == seen {
		return nil
	}
	if s.losses.value(lossKey{a.key.wallet, number, seen}) {
		return nil
	}
	tip := s.chains.value(a.key.wallet)
	return refuse(typev1.Reason_REASON_LEDGER_BEHIND, "the ledger lacks an entry that the agent has seen",
		"seen_entry", strconv.FormatInt(number, 10), "seen_hash", seen.String(), "entry", strconv.FormatInt(tip.number, 10))
}

// payee is whose account an attempt's recipient is. On a chain it is nobody's: any key may be paid, and the ledger keeps no account of it.
func (s *state) payee(a *attempt) (string, *refusal) {
	if a.chain != nil {
		return "", nil
	}
	key := a.decoded.Recipient
	if key == s.installation.RedemptionAccount() {
		return redemption, nil
	}
	name, ok := s.byKey.get(key)
	if !ok {
		return "", refuse(typev1.Reason_REASON_NOT_ACTIVE, "the recipient has no account in this installation", "field", "recipient")
	}
	return name, nil
}

// checkTimes checks deadline, expiry and verdict at the ledger's time. A dry run's message may have expired: an agent makes one
// that expired long ago, so that what it signs for a dry run can never be recorded as a payment.
func checkTimes(a *attempt, at int64) *refusal {
	now := time.UnixMilli(at)
	if err := evidence.CheckMessageTime(a.decoded, a.Attempt, now); err != nil {
		r := asRefusal(err)
		if !a.dry || r.reason != typev1.Reason_REASON_MESSAGE_EXPIRED {
			r.pairs = append(r.pairs, "ledger_time_millis", strconv.FormatInt(at, 10))
			return r
		}
	}
	tolerance := evidence.Tolerance.Milliseconds()
	if at < a.verdict.GetTimeMillis()-tolerance || at > a.verdict.GetExpiryMillis()+tolerance {
		return refuse(typev1.Reason_REASON_EVIDENCE_STALE, "a piece of evidence is too old or from the future", "evidence", "verdict")
	}
	return nil
}

func newPayment(i *evidence.Installation, a *attempt, owner, payee string) payment {
	unit := unitOf(i, a.decoded.Asset)
	return payment{
		wallet: a.key.wallet, id: a.key.id, intent: a.Request.GetIntent(), rail: a.Intent.GetRail(),
		asset: a.decoded.Asset, unit: unit, units: a.decoded.Units, recipient: a.decoded.Recipient, payee: payee, owner: owner,
		deadlineMillis: a.Intent.GetDeadlineMillis(),
	}
}

// differs names the first field in which an intent is not the recorded one, or is empty.
func differs(recordedIntent []byte, now *typev1.Intent) string {
	before := new(typev1.Intent)
	if err := proto.Unmarshal(recordedIntent, before); err != nil {
		return "intent"
	}
	switch {
	case before.GetRail() != now.GetRail():
		return "rail"
	case before.GetAsset() != now.GetAsset():
		return "asset"
	case before.GetUnits() != now.GetUnits():
		return "units"
	case !bytes.Equal(before.GetRecipient(), now.GetRecipient()):
		return "recipient"
	case before.GetPurpose() != now.GetPurpose():
		return "purpose"
	case before.GetDeadlineMillis() != now.GetDeadlineMillis():
		return "deadline_millis"
	case evidence.X402Differs(before.GetX402(), now.GetX402()) != "":
		return evidence.X402Differs(before.GetX402(), now.GetX402())
	case !proto.Equal(before, now):
		return "intent" // A field that this list does not know.
	}
	return ""
}

func refuseDiffers(field string) *refusal {
	return refuse(typev1.Reason_REASON_PAYMENT_DIFFERS, "the payment exists, and this is not a repeat of it", "field", field)
}

// again copies a shared refusal before it is changed.
func again(r *refusal) *refusal {
	c := *r
	return &c
}
