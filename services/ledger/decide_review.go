package ledger

import (
	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// reviewed is an owner's answer, verified against the head of that digest and the intent of its payment.
type reviewed struct {
	key      paymentKey
	envelope *typev1.Envelope
	review   *typev1.Review
	head     evidence.Digest
}

// decideReview records an answer. The first valid one wins; refusing works until AUTHORIZED; the same answer again is no
// second one. It works while the wallet is frozen: an answer moves nothing.
func decideReview(s *state, a *reviewed) error {
	w, ok := s.wallets.get(a.key.wallet)
	if !ok {
		return errNotActive
	}
	p, ok := s.payments.get(a.key)
	if !ok {
		return errNotFound
	}
	if w.head.Digest != a.head {
		return again(errHead).about(p)
	}
	at, behind := s.time(w.name)
	if behind {
		return refuseClock(at, s.nowMillis).about(p)
	}
	p = s.touch(p)
	s.keep()
	same := p.review != nil && evidence.EnvelopeDigest(p.review) == evidence.EnvelopeDigest(a.envelope)
	approve := a.review.GetAnswer() == typev1.Answer_ANSWER_APPROVE
	switch {
	case p.state == expired:
		return refuse(typev1.Reason_REASON_DEADLINE_EXPIRED, "the intent's deadline has passed")
	case same && (p.state != pending && p.state != ready || s.counts(w, p)):
		return nil
	case p.state != pending && p.state != ready:
		return refuseState(p)
	case approve:
		p.state = ready
	default:
		p.state = denied
	}
	p.review = a.envelope
	s.end(p, typev1.EntryKind_ENTRY_KIND_REVIEW, w.owner, at, a.envelope)
	return nil
}

// counts reports whether the recorded answer still counts: it is in force, and under an owner key of the head of now.
func (s *state) counts(w wallet, p payment) bool {
	_, err := evidence.CheckReview(s.installation, w.head, p.review, evidence.IntentDigest(p.intent), p.name())
	return err == nil && p.state == ready
}

// decideCancel ends a payment that holds nothing.
func decideCancel(s *state, k paymentKey, caller string) error {
	p, ok := s.payments.get(k)
	if !ok {
		return errNotFound
	}
	at, behind := s.time(k.wallet)
	if behind {
		return refuseClock(at, s.nowMillis).about(p)
	}
	p = s.touch(p)
	s.keep()
	switch p.state {
	case canceled:
		return nil
	case pending, ready:
		p.state = canceled
		s.end(p, typev1.EntryKind_ENTRY_KIND_PAYMENT, caller, at)
		return nil
	}
	return refuseState(p)
}
