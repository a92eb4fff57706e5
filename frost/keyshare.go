package frost

import (
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

// keyShare adds a participant's secret to a sharing: the discrete logarithm of its public share, and no other.
func (s *sharing) keyShare(id Identifier, secret *edwards25519.Scalar) (*KeyShare, error) {
	own, ok := s.publicShare(id)
	if !ok || new(edwards25519.Point).ScalarBaseMult(secret).Equal(own.point) != 1 {
		return nil, fmt.Errorf("secret is not that of the public share of %s: %w", id, ErrEncoding)
	}
	return &KeyShare{sharing: *s, id: id, secret: secret}, nil
}

// decodeKeyShare is keyShare with an encoded secret, to which it keeps no reference.
func (s *sharing) decodeKeyShare(id Identifier, encoded []byte) (*KeyShare, error) {
	secret, err := decodeScalar(encoded)
	if err != nil {
		return nil, err
	}
	share, err := s.keyShare(id, secret)
	if err != nil {
		wipe(secret)
	}
	return share, err
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
// big-endian as all numbers here), epoch (8), threshold (2), number of participants (2), group key (32), secret scalar (32),
// and for each participant in ascending order identifier (2) and public share (32). The caller wipes it. It is nil after Zero.
func (s *KeyShare) Secret() []byte {
	secret := s.Scalar()
	if secret == nil {
		return nil
	}
	defer clear(secret)
	return s.encode(append(suiteID(Suite), uint16s(int(s.id))...), secret)
}

// ParseKeyShare is the inverse of Secret, and accepts nothing else: this suite, a wallet's participants and threshold, an
// epoch from 1, canonical values, points of prime order, and shares that belong together (see newSharing). It keeps no
// reference to b, which the caller wipes.
func ParseKeyShare(b []byte) (*KeyShare, error) { return parseKeyShare(b, newWalletSharing) }

func parseKeyShare(b []byte, decode decodeSharing) (share *KeyShare, err error) {
	r := newReader(b, Suite)
	id := r.id()
	public, secret, err := parseSharing(r, scalarSize, decode)
	if err == nil {
		share, err = public.decodeKeyShare(id, secret)
	}
	if err != nil {
		return nil, fmt.Errorf("key share: %w", err)
	}
	return share, nil
}

// NewKeyShare imports a share from another implementation of FROST(Ed25519, SHA-512), in what all implementations have: whose
// it is, the epoch that it begins with here (1 or more), its secret scalar (32 bytes, little-endian, canonical) and the public
// shares of all participants in the order of their identifiers, which are 1, 2 and perhaps 3. It is as strict as ParseKeyShare,
// and keeps no reference to secret, which the caller wipes. A share that was ever elsewhere is only as good as its deletion there.
func NewKeyShare(id Identifier, epoch uint64, secret []byte, public [][32]byte) (share *KeyShare, err error) {
	s, err := newWalletSharing(epoch, public)
	if err == nil {
		share, err = s.decodeKeyShare(id, secret)
	}
	if err != nil {
		return nil, fmt.Errorf("key share: %w", err)
	}
	return share, nil
}

// Scalar exports the share's secret in its RFC 9591 encoding, 32 bytes, which the caller wipes. It is nil after Zero. Secret
// is for sealing; this is for another implementation, and for an owner leaving.
func (s *KeyShare) Scalar() []byte {
	if s.usable() != nil {
		return nil
	}
	return s.secret.Bytes()
}
