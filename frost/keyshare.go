package frost

import (
	"encoding/binary"
	"fmt"

	"filippo.io/edwards25519"
)

const (
	// thresholdOfWallet is every wallet's: no party alone signs, any two do.
	thresholdOfWallet = 2
	// participantsMin and participantsMax bound a wallet's key: agent and co-signer, and the owner's recovery share.
	participantsMin = 2
	participantsMax = 3
)

// publicShare is Y_i = s_i·B of participant i.
type publicShare struct {
	id      Identifier
	point   *edwards25519.Point
	encoded [pointSize]byte
}

// KeyShare is one participant's share of a wallet's key, with the public shares of all. It is half a key: it signs nothing
// alone. It does not print or marshal. Methods may be called concurrently, except Zero.
type KeyShare struct {
	redacted
	id        Identifier
	epoch     uint64
	threshold int
	secret    *edwards25519.Scalar
	group     *edwards25519.Point
	groupKey  [pointSize]byte
	public    []publicShare // ascending by id
}

// newKeyShare checks all that can be checked about a share: the public shares lie on one polynomial of degree threshold - 1,
// the group key is its value at 0, and the secret is the discrete logarithm of the participant's own public share. It takes
// any identifiers and threshold, and keeps its arguments.
func newKeyShare(id Identifier, epoch uint64, threshold int, secret *edwards25519.Scalar, public []publicShare) (*KeyShare, error) {
	if threshold < 1 || threshold > len(public) {
		return nil, fmt.Errorf("threshold %d of %d: %w", threshold, len(public), ErrEncoding)
	}
	own, previous := -1, Identifier(0)
	for k, share := range public {
		// Strictly ascending from 1: no identifier twice, and none is 0, where the polynomial's value is the key itself.
		if share.id <= previous {
			return nil, fmt.Errorf("public shares out of order at %s: %w", share.id, ErrEncoding)
		}
		if share.id == id {
			own = k
		}
		previous = share.id
	}
	if own < 0 {
		return nil, fmt.Errorf("no public share of %s: %w", id, ErrEncoding)
	}
	for _, share := range public[threshold:] {
		if interpolate(public[:threshold], share.id).Equal(share.point) != 1 {
			return nil, fmt.Errorf("public share of %s is of another sharing: %w", share.id, ErrEncoding)
		}
	}
	group := interpolate(public[:threshold], 0)
	if isIdentity(group) {
		return nil, fmt.Errorf("group key is the identity: %w", ErrEncoding)
	}
	if new(edwards25519.Point).ScalarBaseMult(secret).Equal(public[own].point) != 1 {
		return nil, fmt.Errorf("secret is not that of the public share of %s: %w", id, ErrEncoding)
	}
	return &KeyShare{
		id: id, epoch: epoch, threshold: threshold, secret: secret,
		group: group, groupKey: encodePoint(group), public: public,
	}, nil
}

// Identifier returns whose share it is.
func (s *KeyShare) Identifier() Identifier { return s.id }

// Epoch returns the number of the sharing: 1 from key generation, growing with each refresh. Shares of two epochs do not
// sign together.
func (s *KeyShare) Epoch() uint64 { return s.epoch }

// GroupKey returns the wallet's Ed25519 public key, which is its address on some chains.
func (s *KeyShare) GroupKey() [32]byte { return s.groupKey }

// PublicShare returns the public share of a participant, and whether it has one.
func (s *KeyShare) PublicShare(id Identifier) ([32]byte, bool) {
	share, ok := s.publicShare(id)
	return share.encoded, ok
}

func (s *KeyShare) publicShare(id Identifier) (publicShare, bool) {
	for _, share := range s.public {
		if share.id == id {
			return share, true
		}
	}
	return publicShare{}, false
}

// usable refuses a share that Zero has overwritten; it would sign with a secret of zero.
func (s *KeyShare) usable() error {
	if s == nil || s.secret == nil || s.secret.Equal(new(edwards25519.Scalar)) == 1 {
		return ErrErased
	}
	return nil
}

// Zero overwrites the secret. The share, and nonces made with it, sign no more. It must not run while they do.
func (s *KeyShare) Zero() {
	if s != nil && s.secret != nil {
		wipe(s.secret)
	}
}

// Secret returns the canonical serialisation, for sealing: the suite with its length in one byte, identifier (2 bytes,
// big-endian as all numbers here), epoch (8), threshold (2), number of participants (2), group key (32), secret scalar (32), and for each
// participant in ascending order identifier (2) and public share (32). The caller wipes it. It is nil after Zero.
func (s *KeyShare) Secret() []byte {
	if s.usable() != nil {
		return nil
	}
	b := make([]byte, 0, keyShareHeader+len(s.public)*publicShareSize)
	b = append(b, byte(len(Suite)))
	b = append(b, Suite...)
	b = binary.BigEndian.AppendUint16(b, uint16(s.id))
	b = binary.BigEndian.AppendUint64(b, s.epoch)
	b = binary.BigEndian.AppendUint16(b, uint16(s.threshold))
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.public)))
	b = append(b, s.groupKey[:]...)
	b = append(b, s.secret.Bytes()...)
	for _, share := range s.public {
		b = binary.BigEndian.AppendUint16(b, uint16(share.id))
		b = append(b, share.encoded[:]...)
	}
	return b
}

const (
	keyShareHeader  = 1 + len(Suite) + 2 + 8 + 2 + 2 + pointSize + scalarSize
	publicShareSize = 2 + pointSize
)

// ParseKeyShare is the inverse of Secret, and accepts nothing else: this suite, a wallet's participants and threshold, an
// epoch from 1, canonical values, points of prime order, and shares that belong together (see newKeyShare). It keeps no
// reference to b, which the caller wipes.
func ParseKeyShare(b []byte) (share *KeyShare, err error) {
	r := reader{b}
	if err := r.suite(Suite); err != nil {
		return nil, fmt.Errorf("key share: %w", err)
	}
	if len(b) < keyShareHeader {
		return nil, fmt.Errorf("key share of %d bytes: %w", len(b), ErrEncoding)
	}
	id, epoch, threshold, n := Identifier(r.uint16()), r.uint64(), int(r.uint16()), int(r.uint16())
	if threshold != thresholdOfWallet || n < participantsMin || n > participantsMax || epoch == 0 {
		return nil, fmt.Errorf("key share %d of %d in epoch %d: %w", threshold, n, epoch, ErrEncoding)
	}
	if len(b) != keyShareHeader+n*publicShareSize {
		return nil, fmt.Errorf("key share of %d bytes for %d participants: %w", len(b), n, ErrEncoding)
	}
	groupKey := r.next(pointSize)
	secret, err := decodeScalar(r.next(scalarSize))
	if err != nil {
		return nil, fmt.Errorf("key share: %w", err)
	}
	defer func() {
		if err != nil {
			wipe(secret)
		}
	}()
	public := make([]publicShare, n)
	for k := range public {
		if public[k].id = Identifier(r.uint16()); public[k].id != Identifier(k+1) {
			return nil, fmt.Errorf("key share with a public share of %s at place %d: %w", public[k].id, k+1, ErrEncoding)
		}
		if public[k].point, err = decodePoint(r.next(pointSize)); err != nil {
			return nil, fmt.Errorf("key share: public share of %s: %w", public[k].id, err)
		}
		public[k].encoded = encodePoint(public[k].point)
	}
	s, err := newKeyShare(id, epoch, threshold, secret, public)
	if err != nil {
		return nil, fmt.Errorf("key share: %w", err)
	}
	if [pointSize]byte(groupKey) != s.groupKey {
		return nil, fmt.Errorf("key share: group key is not that of the public shares: %w", ErrEncoding)
	}
	return s, nil
}

// reader takes a byte string apart. Its callers check lengths before they take.
type reader struct{ rest []byte }

func (r *reader) next(n int) []byte {
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.next(2)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.next(8)) }

// suite takes a suite id that has its length in one byte before it.
func (r *reader) suite(want string) error {
	if len(r.rest) < 1+len(want) || int(r.rest[0]) != len(want) || string(r.rest[1:1+len(want)]) != want {
		return fmt.Errorf("not of suite %s: %w", want, ErrEncoding)
	}
	r.next(1 + len(want))
	return nil
}
