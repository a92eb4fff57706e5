package frost

import (
	"encoding/binary"
	"fmt"
	"slices"

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

// newPublicShare decodes strictly, also what was computed here.
func newPublicShare(id Identifier, encoded [pointSize]byte) (publicShare, error) {
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
func newSharing(epoch uint64, threshold int, public []publicShare) (*sharing, error) {
	if threshold < 1 || threshold > len(public) {
		return nil, fmt.Errorf("threshold %d of %d: %w", threshold, len(public), ErrEncoding)
	}
	for k, share := range public {
		// Strictly ascending from 1: no identifier twice, and none is 0, where the polynomial's value is the key itself.
		if share.id < 1 || k > 0 && share.id <= public[k-1].id {
			return nil, fmt.Errorf("public shares out of order at %s: %w", share.id, ErrEncoding)
		}
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
	groupKey := encodePoint(group)
	for _, share := range public {
		if threshold > 1 && share.encoded == groupKey {
			return nil, fmt.Errorf("share of %s alone is the key: %w", share.id, ErrEncoding)
		}
	}
	return &sharing{epoch: epoch, threshold: threshold, group: group, groupKey: groupKey, public: public}, nil
}

// newWalletSharing decodes the public shares of participants 1, 2 and perhaps 3, and holds them to what a wallet's are.
func newWalletSharing(epoch uint64, encoded [][pointSize]byte) (*sharing, error) {
	if n := len(encoded); n < participantsMin || n > participantsMax || epoch == 0 {
		return nil, fmt.Errorf("%d participants in epoch %d: %w", n, epoch, ErrEncoding)
	}
	public := make([]publicShare, len(encoded))
	for k := range public {
		var err error
		if public[k], err = newPublicShare(Identifier(k+1), encoded[k]); err != nil {
			return nil, err
		}
	}
	return newSharing(epoch, thresholdOfWallet, public)
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

// encode appends what a serialised sharing and a key share have in common, with the key share's secret where it stands.
func (s *sharing) encode(begin, secret []byte) []byte {
	b := slices.Grow(begin, 8+2+2+pointSize+len(secret)+len(s.public)*publicShareSize) // a buffer that grows later leaves copies
	b = binary.BigEndian.AppendUint64(b, s.epoch)
	b = append(b, uint16s(s.threshold, len(s.public))...)
	b = append(b, s.groupKey[:]...)
	b = append(b, secret...)
	for _, share := range s.public {
		b = append(b, uint16s(int(share.id))...)
		b = append(b, share.encoded[:]...)
	}
	return b
}

const publicShareSize = 2 + pointSize

// decodeSharing is newWalletSharing, or does as it does.
type decodeSharing func(epoch uint64, encoded [][pointSize]byte) (*sharing, error)

// parseSharing is the inverse of encode, with a secret of that size, and takes what is a wallet's alone.
func parseSharing(r *reader, secretSize int, decode decodeSharing) (s *sharing, secret []byte, err error) {
	epoch, threshold, n := r.uint64(), r.uint16(), r.uint16()
	groupKey, secret := r.point(), r.next(secretSize)
	if r.err == nil && (threshold != thresholdOfWallet || n > participantsMax) {
		return nil, nil, fmt.Errorf("%d of %d: %w", threshold, n, ErrEncoding)
	}
	encoded := make([][pointSize]byte, n)
	for k := range encoded {
		if id := r.id(); r.err == nil && id != Identifier(k+1) {
			return nil, nil, fmt.Errorf("public share of %s at place %d: %w", id, k+1, ErrEncoding)
		}
		encoded[k] = r.point()
	}
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	if s, err = decode(epoch, encoded); err != nil {
		return nil, nil, err
	}
	if groupKey != s.groupKey {
		return nil, nil, fmt.Errorf("group key is not that of the public shares: %w", ErrEncoding)
	}
	return s, secret, nil
}

// Sharing is the public half of a wallet's key in one epoch: group key and every participant's public share. It holds no
// secret; that it is the wallet's is for whoever keeps it to know. It is immutable. The zero Sharing is none.
type Sharing struct{ sharing }

// Participants returns who holds a share, ascending: agent and co-signer, or these and the owner's recovery share.
func (s *Sharing) Participants() []Identifier { return identifiers(s.public) }

func identifiers(shares []publicShare) []Identifier {
	ids := make([]Identifier, len(shares))
	for k := range shares {
		ids[k] = shares[k].id
	}
	return ids
}

// Bytes returns the canonical serialisation: the suite with its length in one byte, epoch (8 bytes, big-endian as all
// numbers here), threshold (2), number of participants (2), group key (32), and for each participant in ascending order
// identifier (2) and public share (32).
func (s *Sharing) Bytes() []byte { return s.encode(suiteID(suiteSharing), nil) }

// ParseSharing is the inverse of Bytes, and accepts nothing else: this suite, a wallet's participants and threshold, an epoch
// from 1, points of prime order, and public shares that belong together. It keeps no reference to b.
func ParseSharing(b []byte) (*Sharing, error) {
	s, _, err := parseSharing(newReader(b, suiteSharing), 0, newWalletSharing)
	if err != nil {
		return nil, fmt.Errorf("sharing: %w", err)
	}
	return &Sharing{*s}, nil
}
