package frost

import "sync"

// sharingsMax bounds what Sharings remembers, some 4 MiB; beyond it the memory is dropped whole.
const sharingsMax = 4096

// Sharings remembers the public halves of keys, by all that they are decoded from, so that a share which is opened for each payment
// is not proved anew to be of the wallet's sharing: that takes as long as a release. It holds nothing secret, and takes no one's
// word: what it has not decoded in this process, it decodes as strictly as ParseKeyShare. It is safe for concurrent use; its zero is
// usable.
type Sharings struct {
	mu    sync.Mutex
	known map[sharingContent]*sharing
}

// sharingContent is everything that newWalletSharing is given: one content has one answer.
type sharingContent struct {
	epoch        uint64
	participants int
	encoded      [participantsMax][pointSize]byte
}

// ParseKeyShare is ParseKeyShare. The secret is decoded and held against its public share each time, and is not remembered.
func (s *Sharings) ParseKeyShare(b []byte) (*KeyShare, error) { return parseKeyShare(b, s.decode) }

// decode is newWalletSharing. What it refuses it does not remember.
func (s *Sharings) decode(epoch uint64, encoded [][pointSize]byte) (*sharing, error) {
	content := sharingContent{epoch: epoch, participants: len(encoded)}
	if copy(content.encoded[:], encoded) < len(encoded) {
		return newWalletSharing(epoch, encoded) // More than a wallet has, and refused.
	}
	s.mu.Lock()
	known := s.known[content]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	decoded, err := newWalletSharing(epoch, encoded)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= sharingsMax {
		s.known = make(map[sharingContent]*sharing)
	}
	s.known[content] = decoded
	return decoded, nil
}
