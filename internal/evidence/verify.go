package evidence

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Bundle is what the gate is brought. The guard rails, piece 3, are not in it: they are the co-signer's own.
type Bundle struct {
	// Message is the exact bytes to be signed.
	Message []byte
	// Request is the agent's, Verdict policy's, Receipt the ledger's, Review the owner's, nil where none is needed.
	Request, Verdict, Receipt, Review *typev1.Envelope
}

// Pins is what the verifier holds itself and takes from nobody.
type Pins struct {
	// Installation is the installation file in force.
	Installation *Installation
	// Wallet is `wallets/{wallet}`.
	Wallet string
	// GroupKey is the wallet's key, pinned once and for ever.
	GroupKey [32]byte
	// Head is the guard rails in force.
	Head *Head
}

// Verified says that all six pieces of evidence for one release were there, fresh, and spoke of the same bytes. Only Verify
// makes one that opens, and it opens once.
type Verified struct {
	payment string
	seal    *seal
}

// seal is shared by copies of its token, so that a copy does not open again.
type seal struct {
	opened atomic.Bool
	grant  Grant
}

// Grant is what may be done with an opened token: sign these bytes with this peer commitment, once.
type Grant struct {
	// Message is the exact bytes to be signed.
	Message []byte
	// Commitment is the agent's FROST commitment from its request; zero for a key test, where it comes by its own call.
	Commitment [64]byte
	// Context binds the nonces to this request or run.
	Context []byte
}

// Payment is the name of the payment that was verified.
func (v *Verified) Payment() string { return v.payment }

// Take opens the token: exactly one call gets the grant, in whatever goroutine and by whatever copy.
func (v *Verified) Take() (Grant, error) {
	if v == nil {
		return (*seal)(nil).take("release")
	}
	return v.seal.take("release")
}

func (s *seal) take(piece string) (Grant, error) {
	if s == nil || !s.opened.CompareAndSwap(false, true) {
		return Grant{}, &Error{Reason: typev1.Reason_REASON_INTERNAL, Piece: piece, Why: "has no grant, or it was taken before"}
	}
	return s.grant, nil
}

// Verify is the gate. It checks the six pieces of evidence (docs/evidence.md, "What the co-signer checks") and makes the
// token for one release. now is the verifier's own clock: it bounds the receipt's age; everything else is judged
// at the receipt's time, which is the ledger's.
func Verify(b Bundle, p Pins, now time.Time) (*Verified, error) {
	if err := checkPins(p); err != nil {
		return nil, err
	}
	// 2: the request comes first, because it names the message.
	a, err := CheckRequest(p.Installation, b.Request, p.Head.Document.GetRequestKey())
	if err != nil {
		return nil, err
	}
	if a.Request.GetWallet() != p.Wallet {
		return nil, mismatch("request", "wallet", "is another wallet")
	}
	// 1: the bytes.
	m, err := CheckMessage(b.Message, a, p.GroupKey)
	if err != nil {
		return nil, err
	}
	// 5: the receipt, whose time is now for all that follows.
	if b.Verdict == nil {
		return nil, missing("verdict")
	}
	receipt, err := CheckReceipt(p.Installation, a, p.Head, EnvelopeDigest(b.Verdict), b.Receipt)
	if err != nil {
		return nil, err
	}
	if err := checkReceiptAge(receipt, now); err != nil {
		return nil, err
	}
	at := time.UnixMilli(receipt.GetTimeMillis())
	if err := CheckMessageTime(m, a, at); err != nil {
		return nil, err
	}
	// 4: the approval.
	verdict, err := CheckVerdict(p.Installation, a, p.Head, b.Verdict, at)
	if err != nil {
		return nil, err
	}
	if !Approves(verdict) {
		return nil, mismatch("verdict", "light", "is not an approval")
	}
	// 3: the guard rails, judged here and by nobody else's word.
	own := judge(p.Head.Document, m, a, at)
	if own == typev1.Light_LIGHT_RED {
		return nil, &Error{Reason: typev1.Reason_REASON_RULES_CHANGED, Piece: "guard-rails", Why: "do not allow this payment"}
	}
	// 6: the review, where any of the three judgements wants one.
	if err := checkAnswered(b, p, a, own, verdict, receipt); err != nil {
		return nil, err
	}
	return &Verified{
		payment: a.Request.GetPayment(),
		seal: &seal{grant: Grant{
			Message:    bytes.Clone(b.Message),
			Commitment: a.Commitment,
			Context:    releaseContext(a),
		}},
	}, nil
}

func checkPins(p Pins) error {
	const piece = "guard-rails"
	switch {
	case p.Installation == nil:
		return missing("installation")
	case p.Head == nil || p.Head.Document == nil:
		return missing(piece)
	case p.Head.Document.GetInstallation() != p.Installation.ID():
		return mismatch(piece, "installation", "is another installation")
	case p.Head.Document.GetWallet() != p.Wallet:
		return mismatch(piece, "wallet", "is another wallet")
	case p.Head.Document.GetNumber() == 0:
		return &Error{Reason: typev1.Reason_REASON_NO_GUARD_RAILS, Piece: piece, Field: "number", Why: "is 0, which pays nothing"}
	case p.GroupKey == [32]byte{}:
		return missing("group-key")
	}
	return nil
}

func checkReceiptAge(r *typev1.Receipt, now time.Time) error {
	age := now.UnixMilli() - r.GetTimeMillis()
	switch {
	case age > EvidenceLife.Milliseconds():
		return stale("receipt", "time_millis", "is more than 60 seconds ago")
	case age < -Tolerance.Milliseconds():
		return stale("receipt", "time_millis", "is more than 5 seconds ahead")
	case r.GetLight() == typev1.Light_LIGHT_RED:
		return mismatch("receipt", "light", "is RED")
	}
	return nil
}

// judge has no light but three: what is neither GREEN nor YELLOW is RED.
func judge(doc *typev1.GuardRails, m Message, a *Attempt, at time.Time) typev1.Light {
	light := guardrails.Judge(doc, a.Facts(m), at).Light
	switch light {
	case typev1.Light_LIGHT_GREEN, typev1.Light_LIGHT_YELLOW:
		return light
	}
	return typev1.Light_LIGHT_RED
}

func checkAnswered(b Bundle, p Pins, a *Attempt, own typev1.Light, verdict *typev1.Verdict, receipt *typev1.Receipt) error {
	const yellow = typev1.Light_LIGHT_YELLOW
	if own != yellow && verdict.GetLight() != yellow && receipt.GetLight() != yellow {
		return nil
	}
	review, err := CheckReview(p.Installation, p.Head, b.Review, a.IntentDigest, a.Request.GetPayment())
	if err != nil {
		return err
	}
	digest := EnvelopeDigest(b.Review)
	switch {
	case review.GetAnswer() != typev1.Answer_ANSWER_APPROVE:
		return mismatch("review", "answer", "is not an approval")
	case verdict.GetLight() == yellow && !digest.Is(verdict.GetReviewDigest()):
		return mismatch("verdict", "review_digest", "is another review")
	case receipt.GetLight() == yellow && !digest.Is(receipt.GetReviewDigest()):
		return mismatch("receipt", "review_digest", "is another review")
	}
	return nil
}

// releaseContext binds nonces to wallet, payment and the very request: two requests for one message never share them.
func releaseContext(a *Attempt) []byte {
	c := appendString(nil, "halfkey/release/v1")
	c = appendString(c, a.Request.GetInstallation())
	c = appendString(c, a.Request.GetPayment())
	return append(c, a.RequestDigest[:]...)
}
