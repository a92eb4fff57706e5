package frost

import "errors"

// What a call of this package can end in. Errors wrap one of these with the value or participant concerned; a
// *CulpritError wraps one as well.
var (
	// ErrEncoding: bytes that are not the one canonical encoding of what they should be.
	ErrEncoding = errors.New("frost: malformed encoding")
	// ErrParameter: an argument that this package does not work with, such as a share of another role or an oversized message.
	ErrParameter = errors.New("frost: parameter out of bounds")
	// ErrErased: the secret was overwritten by Zero.
	ErrErased = errors.New("frost: secret was erased")
	// ErrNoncesUsed: the nonces have served. A new attempt needs a new Commit.
	ErrNoncesUsed = errors.New("frost: nonces were used")
	// ErrShare: a signature share, or a share in key generation or resharing, does not satisfy its equation.
	ErrShare = errors.New("frost: share does not verify")
	// ErrSelfCheck: an own result failed its check before release: a fault, a corrupt row or a share of another epoch.
	ErrSelfCheck = errors.New("frost: own result does not verify")
	// ErrStage: a call out of order, repeated with other input, or on a run that has ended.
	ErrStage = errors.New("frost: run is not at this stage")
	// ErrProof: a proof of possession that does not verify in this run.
	ErrProof = errors.New("frost: proof of possession does not verify")
	// ErrDecryption: an encrypted share that does not open.
	ErrDecryption = errors.New("frost: encrypted share does not open")
	// ErrReplay: a message made of parts of another participant's message, or an own message other than the one sent.
	ErrReplay = errors.New("frost: message is not its sender's own")
	// ErrCertificate: a certificate that does not verify over the transcript of this run.
	ErrCertificate = errors.New("frost: certificate does not verify")
)

// CulpritError says whose contribution does not check. It is as much as the protocol can tell: what a participant sent and
// what a relay made of it look the same to the receiver, unless it is the receiver's own message (Culprit is Relay then), or
// certified (OpenReshare). Treat it as a security event, not as proof for third parties.
type CulpritError struct {
	Culprit Identifier // who sent what does not check
	Reason  string     // what does not check; holds no secret
	err     error
}

// Error names culprit and reason.
func (e *CulpritError) Error() string {
	return "frost: " + e.Culprit.String() + ": " + e.Reason
}

// Unwrap returns the error that says what kind of check failed.
func (e *CulpritError) Unwrap() error { return e.err }

// blame makes a *CulpritError whose reason is err's text.
func blame(culprit Identifier, err error) error {
	return &CulpritError{Culprit: culprit, Reason: err.Error(), err: err}
}
