package frost

import "fmt"

// Exchange of shares with other implementations of FROST(Ed25519, SHA-512), in the encodings of RFC 9591. What such an
// implementation calls key package has more in it; identifier, secret share and public shares are what all have.

// NewKeyShare imports a share: whose it is, the epoch that it begins with here (1 or more), its secret scalar (32 bytes,
// little-endian, canonical) and the public shares of all participants in the order of their identifiers, which are 1, 2 and
// perhaps 3. It is as strict as ParseKeyShare: points of prime order that lie on one line, not through the identity at 0, and
// the secret that of the participant's public share. It keeps no reference to secret, which the caller wipes. A share that was
// ever elsewhere is only as good as its deletion there.
func NewKeyShare(id Identifier, epoch uint64, secret []byte, public [][32]byte) (*KeyShare, error) {
	s, err := newWalletSharing(epoch, public)
	if err != nil {
		return nil, fmt.Errorf("key share: %w", err)
	}
	share, err := s.decodeKeyShare(id, secret)
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
