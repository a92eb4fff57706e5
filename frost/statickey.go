package frost

import (
	"fmt"

	"filippo.io/edwards25519"
)

const (
	// SessionSizeMin keeps sessions unique: less cannot hold a drawn value.
	SessionSizeMin = 16
	// SessionSizeMax is ample for three names.
	SessionSizeMax = 1 << 10
)

func checkSession(session []byte) error {
	if len(session) < SessionSizeMin || len(session) > SessionSizeMax {
		return fmt.Errorf("session of %d bytes: %w", len(session), ErrParameter)
	}
	return nil
}

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
	if k == nil || k.erased() {
		return nil
	}
	b := make([]byte, 0, staticKeySize)
	b = append(b, byte(len(suiteStaticKey)))
	b = append(b, suiteStaticKey...)
	b = append(b, k.secret.Bytes()...)
	return append(b, k.public[:]...)
}

const staticKeySize = 1 + len(suiteStaticKey) + scalarSize + pointSize

// ParseStaticKey is the inverse of Secret, and accepts nothing else. The public key is there so that damage shows.
func ParseStaticKey(b []byte) (*StaticKey, error) {
	r := reader{b}
	if err := r.suite(suiteStaticKey); err != nil {
		return nil, fmt.Errorf("static key: %w", err)
	}
	if len(b) != staticKeySize {
		return nil, fmt.Errorf("static key of %d bytes: %w", len(b), ErrEncoding)
	}
	secret, err := decodeScalar(r.next(scalarSize))
	if err != nil {
		return nil, fmt.Errorf("static key: %w", err)
	}
	k := newStaticKey(secret)
	if k.public != [pointSize]byte(r.next(pointSize)) {
		k.Zero()
		return nil, fmt.Errorf("static key is not that of its public key: %w", ErrEncoding)
	}
	return k, nil
}

func (k *StaticKey) erased() bool {
	return k.secret == nil || k.secret.Equal(new(edwards25519.Scalar)) == 1
}

// usable refuses a key that is erased, or that is not self's among the keys of a run, which hold self's.
func (k *StaticKey) usable(self Identifier, statics [][pointSize]byte) error {
	if k == nil || k.erased() {
		return fmt.Errorf("static key: %w", ErrErased)
	}
	if statics[self-1] != k.public {
		return fmt.Errorf("static key of %s is not the one in the run: %w", self, ErrParameter)
	}
	return nil
}

// Zero overwrites the key. A run made with it has a copy of its own.
func (k *StaticKey) Zero() {
	if k != nil && k.secret != nil {
		wipe(k.secret)
	}
}

// decodeStaticKeys decodes the public static keys of a run in identifier order: each canonical, of prime order, and one
// participant's only.
func decodeStaticKeys(statics [][pointSize]byte) ([]*edwards25519.Point, error) {
	points := make([]*edwards25519.Point, len(statics))
	for k, static := range statics {
		p, err := decodePoint(static[:])
		if err != nil {
			return nil, fmt.Errorf("static key of %s: %w", Identifier(k+1), err)
		}
		for j := range k {
			if statics[j] == static {
				return nil, fmt.Errorf("%s and %s with one static key: %w", Identifier(j+1), Identifier(k+1), ErrParameter)
			}
		}
		points[k] = p
	}
	return points, nil
}
