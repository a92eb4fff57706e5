package frost

import (
	"fmt"
	"slices"

	"filippo.io/edwards25519"
)

// suiteStaticKey begins a serialised StaticKey.
const suiteStaticKey = Suite + "/static"

// StaticKey is a participant's key for key generation or resharing, made for one run and erased after it; only the recovery
// share's may be kept, for the resharings that happen while it is offline. Other keys vouch for its public half. It does not
// print or marshal.
type StaticKey struct {
	redacted
	secret *edwards25519.Scalar
	public [pointSize]byte
}

// NewStaticKey draws a static key from crypto/rand.
func NewStaticKey() (*StaticKey, error) {
	secret, err := randomScalar(systemRandom())
	if err != nil {
		return nil, err
	}
	return newStaticKey(secret), nil
}

func newStaticKey(secret *edwards25519.Scalar) *StaticKey {
	return &StaticKey{secret: secret, public: encodePoint(new(edwards25519.Point).ScalarBaseMult(secret))}
}

// Public returns the public half, for Run.StaticKeys and Resharing.StaticKeys.
func (k *StaticKey) Public() [32]byte { return k.public }

// Secret returns the canonical serialisation, for sealing: the suite with its length in one byte, secret scalar (32 bytes)
// and public key (32). The caller wipes it. It is nil after Zero.
func (k *StaticKey) Secret() []byte {
	if k.erased() {
		return nil
	}
	secret := k.secret.Bytes()
	defer clear(secret)
	return slices.Concat(suiteID(suiteStaticKey), secret, k.public[:])
}

// ParseStaticKey is the inverse of Secret, and accepts nothing else. The public key is there so that damage shows.
func ParseStaticKey(b []byte) (*StaticKey, error) {
	r := newReader(b, suiteStaticKey)
	encoded, public := r.next(scalarSize), r.point()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("static key: %w", err)
	}
	secret, err := decodeScalar(encoded)
	if err != nil {
		return nil, fmt.Errorf("static key: %w", err)
	}
	k := newStaticKey(secret)
	if k.public != public {
		k.Zero()
		return nil, fmt.Errorf("static key is not that of its public key: %w", ErrEncoding)
	}
	return k, nil
}

func (k *StaticKey) erased() bool {
	return k == nil || k.secret == nil || k.secret.Equal(new(edwards25519.Scalar)) == 1
}

// Zero overwrites the key. A run made with it has a copy of its own.
func (k *StaticKey) Zero() {
	if k != nil && k.secret != nil {
		wipe(k.secret)
	}
}
