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

// suiteSharing begins a serialised Sharing, so that neither a key share nor anything else reads as one.
const suiteSharing = Suite + "/sharing"

// publicShare is Y_i = s_i·B of participant i.
type publicShare struct {
	id      Identifier
	point   *edwards25519.Point
	encoded [pointSize]byte
}

// newPublicShare makes the public share of id from a point that was computed; it is decoded strictly, like one from outside.
func newPublicShare(id Identifier, p *edwards25519.Point) (publicShare, error) {
	encoded := encodePoint(p)
	point, err := decodePoint(encoded[:])
	if err != nil {
		return publicShare{}, fmt.Errorf("public share of %s: %w", id, err)
	}
	return publicShare{id: id, point: point, encoded: encoded}, nil
}

// sharing is what is public in a sharing. A KeyShare has one and a Sharing is one.
type sharing struct {
	epoch     uint64
	threshold int
	group     *edwards25519.Point
	groupKey  [pointSize]byte
	public    []publicShare // ascending by id
}

// newSharing checks that the public shares belong together: they lie on one polynomial of degree threshold - 1, whose value at
// 0 is the group key, and which is not constant. It takes any identifiers and threshold, and keeps its arguments.
func newSharing(epoch uint64, threshold int, public []publicShare) (sharing, error) {
	if threshold < 1 || threshold > len(public) {
		return sharing{}, fmt.Errorf("threshold %d of %d: %w", threshold, len(public), ErrEncoding)
	}
	previous := Identifier(0)
	for _, share := range public {
		// Strictly ascending from 1: no identifier twice, and none is 0, where the polynomial's value is the key itself.
		if share.id <= previous {
			return sharing{}, fmt.Errorf("public shares out of order at %s: %w", share.id, ErrEncoding)
		}
		previous = share.id
	}
	for _, share := range public[threshold:] {
		if interpolate(public[:threshold], share.id).Equal(share.point) != 1 {
			return sharing{}, fmt.Errorf("public share of %s is of another sharing: %w", share.id, ErrEncoding)
		}
	}
	group := interpolate(public[:threshold], 0)
	if isIdentity(group) {
		return sharing{}, fmt.Errorf("group key is the identity: %w", ErrEncoding)
	}
	groupKey := encodePoint(group)
	for _, share := range public {
		if threshold > 1 && share.encoded == groupKey {
			return sharing{}, fmt.Errorf("share of %s alone is the key: %w", share.id, ErrEncoding)
		}
	}
	return sharing{epoch: epoch, threshold: threshold, group: group, groupKey: groupKey, public: public}, nil
}

// Epoch returns the number of the sharing: 1 from key generation, one more with each resharing. Shares of two epochs do not
// sign together.
func (s *sharing) Epoch() uint64 { return s.epoch }

// GroupKey returns the wallet's Ed25519 public key, which is its address on some chains. Every epoch has the same.
func (s *sharing) GroupKey() [32]byte { return s.groupKey }

// PublicShare returns the public share of a participant, and whether it has one.
func (s *sharing) PublicShare(id Identifier) ([32]byte, bool) {
	share, ok := s.publicShare(id)
	return share.encoded, ok
}

func (s *sharing) publicShare(id Identifier) (publicShare, bool) {
	for _, share := range s.public {
		if share.id == id {
			return share, true
		}
	}
	return publicShare{}, false
}

// appendPublic appends each public share in ascending order: identifier (2 bytes) and point (32).
func (s *sharing) appendPublic(b []byte) []byte {
	for _, share := range s.public {
		b = binary.BigEndian.AppendUint16(b, uint16(share.id))
		b = append(b, share.encoded[:]...)
	}
	return b
}

// Sharing is the public half of a wallet's key in one epoch: group key and every participant's public share. It holds no
// secret; that it is the wallet's is for whoever keeps it to know. It is immutable. The zero Sharing is none.
type Sharing struct{ sharing }

// Participants returns who holds a share, ascending: agent and co-signer, or these and the owner's recovery share.
func (s *Sharing) Participants() []Identifier {
	ids := make([]Identifier, len(s.public))
	for k, share := range s.public {
		ids[k] = share.id
	}
	return ids
}

// Bytes returns the canonical serialisation: the suite with its length in one byte, epoch (8 bytes, big-endian as all
// numbers here), threshold (2), number of participants (2), group key (32), and for each participant in ascending order
// identifier (2) and public share (32).
func (s *Sharing) Bytes() []byte {
	b := make([]byte, 0, sharingHeader+len(s.public)*publicShareSize)
	b = append(b, byte(len(suiteSharing)))
	b = append(b, suiteSharing...)
	b = binary.BigEndian.AppendUint64(b, s.epoch)
	b = binary.BigEndian.AppendUint16(b, uint16(s.threshold))
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.public)))
	b = append(b, s.groupKey[:]...)
	return s.appendPublic(b)
}

const (
	sharingHeader   = 1 + len(suiteSharing) + 8 + 2 + 2 + pointSize
	publicShareSize = 2 + pointSize
)

// ParseSharing is the inverse of Bytes, and accepts nothing else: this suite, a wallet's participants and threshold, an epoch
// from 1, points of prime order, and public shares that belong together. It keeps no reference to b.
func ParseSharing(b []byte) (*Sharing, error) {
	r := reader{b}
	if err := r.suite(suiteSharing); err != nil {
		return nil, fmt.Errorf("sharing: %w", err)
	}
	if len(b) < sharingHeader {
		return nil, fmt.Errorf("sharing of %d bytes: %w", len(b), ErrEncoding)
	}
	epoch, threshold, n := r.uint64(), int(r.uint16()), int(r.uint16())
	groupKey := [pointSize]byte(r.next(pointSize))
	s, err := parseSharing(epoch, threshold, n, groupKey, r)
	if err != nil {
		return nil, fmt.Errorf("sharing: %w", err)
	}
	return &Sharing{s}, nil
}

// parseSharing decodes the public shares that r ends with, and holds a sharing to what a wallet's can be.
func parseSharing(epoch uint64, threshold, n int, groupKey [pointSize]byte, r reader) (sharing, error) {
	if threshold != thresholdOfWallet || n < participantsMin || n > participantsMax || epoch == 0 {
		return sharing{}, fmt.Errorf("%d of %d in epoch %d: %w", threshold, n, epoch, ErrEncoding)
	}
	if len(r.rest) != n*publicShareSize {
		return sharing{}, fmt.Errorf("%d bytes for %d public shares: %w", len(r.rest), n, ErrEncoding)
	}
	public := make([]publicShare, n)
	for k := range public {
		id := Identifier(r.uint16())
		if id != Identifier(k+1) {
			return sharing{}, fmt.Errorf("public share of %s at place %d: %w", id, k+1, ErrEncoding)
		}
		encoded := [pointSize]byte(r.next(pointSize))
		point, err := decodePoint(encoded[:])
		if err != nil {
			return sharing{}, fmt.Errorf("public share of %s: %w", id, err)
		}
		public[k] = publicShare{id: id, point: point, encoded: encoded}
	}
	s, err := newSharing(epoch, threshold, public)
	if err != nil {
		return sharing{}, err
	}
	if groupKey != s.groupKey {
		return sharing{}, fmt.Errorf("group key is not that of the public shares: %w", ErrEncoding)
	}
	return s, nil
}
