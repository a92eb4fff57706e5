package frost

import (
	"encoding/binary"
	"fmt"

	"filippo.io/edwards25519"
)

// KeyShare is one participant's share of a wallet's key, with the public shares of all. It is half a key: it signs nothing
// alone. It does not print or marshal. Methods may be called concurrently, except Zero.
type KeyShare struct {
	redacted
	sharing
	id     Identifier
	secret *edwards25519.Scalar
}

// newKeyShare checks all that can be checked about a share: the public shares belong together (see newSharing), and the
// secret is the discrete logarithm of the participant's own. It takes any identifiers and threshold, and keeps its arguments.
func newKeyShare(id Identifier, epoch uint64, threshold int, secret *edwards25519.Scalar, public []publicShare) (*KeyShare, error) {
	s, err := newSharing(epoch, threshold, public)
	if err != nil {
		return nil, err
	}
	return s.keyShare(id, secret)
}

// keyShare adds a participant's secret to a sharing.
func (s *sharing) keyShare(id Identifier, secret *edwards25519.Scalar) (*KeyShare, error) {
	own, ok := s.publicShare(id)
	if !ok {
		return nil, fmt.Errorf("no public share of %s: %w", id, ErrEncoding)
	}
	if new(edwards25519.Point).ScalarBaseMult(secret).Equal(own.point) != 1 {
		return nil, fmt.Errorf("secret is not that of the public share of %s: %w", id, ErrEncoding)
	}
	return &KeyShare{sharing: *s, id: id, secret: secret}, nil
}

// Identifier returns whose share it is.
func (s *KeyShare) Identifier() Identifier { return s.id }

// Sharing returns the public half of the sharing that the share is of. It stays after Zero.
func (s *KeyShare) Sharing() *Sharing { return &Sharing{s.sharing} }

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
	return s.appendPublic(b)
}

const keyShareHeader = 1 + len(Suite) + 2 + 8 + 2 + 2 + pointSize + scalarSize

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
	groupKey := [pointSize]byte(r.next(pointSize))
	secret, err := decodeScalar(r.next(scalarSize))
	if err != nil {
		return nil, fmt.Errorf("key share: %w", err)
	}
	public, err := parseSharing(epoch, threshold, n, groupKey, r)
	if err == nil {
		share, err = public.keyShare(id, secret)
	}
	if err != nil {
		wipe(secret)
		return nil, fmt.Errorf("key share: %w", err)
	}
	return share, nil
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
