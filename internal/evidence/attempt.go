package evidence

import (
	"time"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// Tolerance is how far apart two honest clocks may be. One constant for every comparison of times of different services.
	Tolerance = 5 * time.Second
	// EvidenceLife is how long a verdict or receipt counts: long enough for one call to pass five services on a bad day, short
	// enough that a stolen one is worth little.
	EvidenceLife = 60 * time.Second
	// DeadlineMax is how far ahead an intent's deadline may lie: how long a person may take to answer.
	DeadlineMax = 7 * 24 * time.Hour
	// TokenLife is how long a token authenticates its call.
	TokenLife = 60 * time.Second
)

// Attempt is one verified attempt to pay: the agent's request and the intent inside it.
type Attempt struct {
	// Request is the agent's statement.
	Request *typev1.Request
	// Intent is what it wants.
	Intent *typev1.Intent
	// Units is the intent's amount.
	Units int64
	// IntentDigest, RequestDigest and MessageDigest name the three contents.
	IntentDigest, RequestDigest, MessageDigest Digest
	// Commitment is the agent's fresh FROST commitment; frost checks its points.
	Commitment [64]byte
}

// Deadline is the last moment at which the intent may be authorized.
func (a *Attempt) Deadline() time.Time { return time.UnixMilli(a.Intent.GetDeadlineMillis()) }

// CheckIntent decodes an intent strictly and checks what depends on the installation; units is its amount.
func CheckIntent(i *Installation, b []byte) (intent *typev1.Intent, units int64, err error) {
	m := new(typev1.Intent)
	if len(b) > IntentMax {
		return nil, 0, bad("intent", "", "is too large")
	}
	if err := Unmarshal(b, m); err != nil {
		return nil, 0, err
	}
	if m.GetInstallation() != i.ID() {
		return nil, 0, mismatch("intent", "installation", "is another installation")
	}
	if m.GetRail() == typev1.Rail_RAIL_BOOK && m.GetAsset() != i.BookUSD() {
		return nil, 0, invalid("intent", "asset", "is not this installation's book money")
	}
	if _, known := resource.TokenOf(m.GetAsset()); m.GetRail() == typev1.Rail_RAIL_SOLANA && !known {
		return nil, 0, invalid("intent", "asset", "is not a token that is paid on Solana")
	}
	units, err = resource.ParseUnits(m.GetUnits())
	if err != nil {
		return nil, 0, bad("intent", "units", "is not an amount of 1 to 2^63-1")
	}
	return m, units, nil
}

// CheckRequest verifies an agent's request under its request key, and that the intent inside speaks of the same payment with
// a deadline at most DeadlineMax after the request. Whether the deadline has passed is for whoever has a trusted time.
func CheckRequest(i *Installation, e *typev1.Envelope, requestKey []byte) (*Attempt, error) {
	r := new(typev1.Request)
	if _, err := Open(e, r, requestKey); err != nil {
		return nil, err
	}
	const piece = "request"
	if r.GetInstallation() != i.ID() {
		return nil, mismatch(piece, "installation", "is another installation")
	}
	intent, units, err := CheckIntent(i, r.GetIntent())
	if err != nil {
		return nil, err
	}
	switch {
	case intent.GetWallet() != r.GetWallet():
		return nil, mismatch(piece, "wallet", "is not the intent's")
	case intent.GetPayment() != r.GetPayment():
		return nil, mismatch(piece, "payment", "is not the intent's")
	case intent.GetDeadlineMillis()-r.GetTimeMillis() > DeadlineMax.Milliseconds():
		return nil, &Error{
			Reason: typev1.Reason_REASON_DEADLINE_EXPIRED, Piece: "intent", Field: "deadline_millis", Why: "is more than 7 days after the request",
		}
	}
	if err := checkAdded(r, intent); err != nil {
		return nil, err
	}
	return &Attempt{
		Request:       r,
		Intent:        intent,
		Units:         units,
		IntentDigest:  IntentDigest(r.GetIntent()),
		RequestDigest: EnvelopeDigest(e),
		MessageDigest: Digest(r.GetMessageDigest()),
		Commitment:    [64]byte(r.GetCommitment()),
	}, nil
}

// checkAdded checks which of the fields that a request adds to its intent are there: on the book none; on Solana a memo, and for an
// HTTP resource who pays the fee and which offer was taken.
func checkAdded(r *typev1.Request, intent *typev1.Intent) error {
	const piece = "request"
	solana := intent.GetRail() == typev1.Rail_RAIL_SOLANA
	bought := solana && intent.GetX402() != nil
	switch {
	case solana && r.GetMemo() == "":
		return mismatch(piece, "memo", "is missing, and the intent's rail has one")
	case !solana && r.GetMemo() != "":
		return mismatch(piece, "memo", "is given, and the intent's rail has none")
	case bought && len(r.GetFeePayer()) == 0:
		return mismatch(piece, "fee_payer", "is missing, and the intent is for an HTTP resource on Solana")
	case !bought && len(r.GetFeePayer()) != 0:
		return mismatch(piece, "fee_payer", "is given, and the intent is for no HTTP resource on Solana")
	case bought && len(r.GetOfferDigest()) == 0:
		return mismatch(piece, "offer_digest", "is missing, and the intent is for an HTTP resource on Solana")
	case !bought && len(r.GetOfferDigest()) != 0:
		return mismatch(piece, "offer_digest", "is given, and the intent is for no HTTP resource on Solana")
	}
	return nil
}

// CheckVerdict verifies policy's statement about an attempt, judged by head, under policy's current key, and that now is
// within its life. It may be of any colour: Approves says whether it lets the payment go.
func CheckVerdict(i *Installation, a *Attempt, head *Head, e *typev1.Envelope, now time.Time) (*typev1.Verdict, error) {
	v := new(typev1.Verdict)
	if _, err := Open(e, v, i.Key(typev1.Purpose_PURPOSE_POLICY)); err != nil {
		return nil, err
	}
	const piece = "verdict"
	if err := a.names(piece, v.GetInstallation(), v.GetWallet(), v.GetPayment(), v.GetIntentDigest(), v.GetMessageDigest()); err != nil {
		return nil, err
	}
	if !head.Digest.Is(v.GetGuardRailsDigest()) {
		return nil, otherHead(piece)
	}
	at := now.UnixMilli()
	switch {
	case at < v.GetTimeMillis()-Tolerance.Milliseconds():
		return nil, stale(piece, "time_millis", "is later than the judgement")
	case at > v.GetExpiryMillis()+Tolerance.Milliseconds():
		return nil, stale(piece, "expiry_millis", "has passed")
	}
	return v, nil
}

// Approves reports whether a verdict lets its payment go: GREEN, or YELLOW that names the review which answered it.
func Approves(v *typev1.Verdict) bool {
	switch v.GetLight() {
	case typev1.Light_LIGHT_GREEN:
		return true
	case typev1.Light_LIGHT_YELLOW:
		return len(v.GetReviewDigest()) == digestSize
	}
	return false
}

// CheckReceipt verifies the ledger's statement that it recorded an attempt, judged by head, on the verdict of that digest,
// under the ledger's current key. How old it is is for whoever relies on it.
func CheckReceipt(i *Installation, a *Attempt, head *Head, verdict Digest, e *typev1.Envelope) (*typev1.Receipt, error) {
	r := new(typev1.Receipt)
	if _, err := Open(e, r, i.Key(typev1.Purpose_PURPOSE_LEDGER)); err != nil {
		return nil, err
	}
	const piece = "receipt"
	if err := a.names(piece, r.GetInstallation(), r.GetWallet(), r.GetPayment(), r.GetIntentDigest(), r.GetMessageDigest()); err != nil {
		return nil, err
	}
	switch {
	case !a.RequestDigest.Is(r.GetRequestDigest()):
		return nil, mismatch(piece, "request_digest", "is another request")
	case !verdict.Is(r.GetVerdictDigest()):
		return nil, mismatch(piece, "verdict_digest", "is another verdict")
	case !head.Digest.Is(r.GetGuardRailsDigest()):
		return nil, otherHead(piece)
	}
	switch solana := a.Intent.GetRail() == typev1.Rail_RAIL_SOLANA; {
	case solana && r.GetLastValidHeight() == 0:
		return nil, mismatch(piece, "last_valid_height", "is missing, and the intent's rail ends a message by it")
	case !solana && r.GetLastValidHeight() != 0:
		return nil, mismatch(piece, "last_valid_height", "is given, and the intent's rail has no heights")
	}
	return r, nil
}

// CheckReview verifies an owner's answer about a payment's intent under the owner keys of head. It may be either answer.
func CheckReview(i *Installation, head *Head, e *typev1.Envelope, intentDigest Digest, payment string) (*typev1.Review, error) {
	r := new(typev1.Review)
	if _, err := Open(e, r, head.Document.GetOwnerKeys()...); err != nil {
		return nil, err
	}
	const piece = "review"
	switch {
	case r.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case r.GetWallet() != head.Document.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case r.GetPayment() != payment:
		return nil, mismatch(piece, "payment", "is another payment")
	case !intentDigest.Is(r.GetIntentDigest()):
		return nil, mismatch(piece, "intent_digest", "is another intent")
	}
	return r, nil
}

// names checks that a statement speaks of this attempt.
func (a *Attempt) names(piece, installation, wallet, payment string, intent, message []byte) error {
	switch {
	case installation != a.Request.GetInstallation():
		return mismatch(piece, "installation", "is another installation")
	case wallet != a.Request.GetWallet():
		return mismatch(piece, "wallet", "is another wallet")
	case payment != a.Request.GetPayment():
		return mismatch(piece, "payment", "is another payment")
	case !a.IntentDigest.Is(intent):
		return mismatch(piece, "intent_digest", "is another intent")
	case !a.MessageDigest.Is(message):
		return mismatch(piece, "message_digest", "is another message")
	}
	return nil
}

// otherHead has a reason of its own: holders differ for a moment after every change, and the gateway leads them forward.
func otherHead(piece string) error {
	return &Error{
		Reason: typev1.Reason_REASON_GUARD_RAILS_CHANGED, Piece: piece, Field: "guard_rails_digest", Why: "is another version than the head",
	}
}
