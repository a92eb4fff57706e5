package frost

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"
	"math"
	"slices"

	"filippo.io/edwards25519"
)

const (
	// suiteResharing begins context, dealings, transcript and state of a resharing. The protocol is ours.
	suiteResharing = "RESHARE(Ed25519, SHA-512)/v1"
	// resharingPrefix keeps the keys of its encryption apart from those of key generation.
	resharingPrefix = suiteResharing + "/seal"
	// lineLabel keeps a dealer's drawn scalars apart from the share's other uses.
	lineLabel = "halfkey/reshare-line/v1"
)

// agreement is a Resharing that was checked, and who one of its participants is.
type agreement struct {
	participants
	old *Sharing
	// constants are lambda_i·Y_i, the commitments to the dealers' constant terms. They follow from the old sharing, so no
	// dealer can choose one, and no proof of possession is needed.
	constants [2]*edwards25519.Point
}

// newAgreement holds a resharing to what a wallet's can be, and makes the context that binds all of it into every
// ciphertext and certificate.
func newAgreement(self Identifier, static *StaticKey, r Resharing) (*agreement, error) {
	if r.Old == nil {
		return nil, fmt.Errorf("resharing without the old sharing: %w", ErrParameter)
	}
	old, err := ParseSharing(r.Old.Bytes()) // the zero Sharing is none
	if err != nil {
		return nil, err
	}
	n, before := len(r.StaticKeys), len(old.public)
	// Who has a share keeps one: leaving the recovery share out would take the owner's exit away without a word.
	if n < before || n > participantsMax {
		return nil, fmt.Errorf("resharing from %d to %d participants: %w", before, n, ErrParameter)
	}
	first, second := r.Dealers[0], r.Dealers[1]
	if first < 1 || second <= first || int(second) > before {
		return nil, fmt.Errorf("%s and %s dealing: %w", first, second, ErrParameter)
	}
	if old.epoch == math.MaxUint64 {
		return nil, fmt.Errorf("no epoch after %d: %w", old.epoch, ErrParameter)
	}
	p, err := newParticipants(resharingPrefix, self, static, r.Session, r.StaticKeys)
	if err != nil {
		return nil, err
	}
	p.senders = r.Dealers[:]
	p.context = sha512.Sum512(slices.Concat(framed([]byte(suiteResharing)), framed(p.session), framed(old.Bytes()),
		uint16s(int(first), int(second), n), joined(p.statics)))
	a := &agreement{participants: p, old: old}
	for d, id := range a.senders {
		share, _ := old.publicShare(id)
		a.constants[d] = sumPublic([]*edwards25519.Scalar{a.lambda(d)}, []*edwards25519.Point{share.point})
	}
	return a, nil
}

func (a *agreement) agreed() []byte {
	old := a.old.Bytes()
	return slices.Concat(uint16s(int(a.self), int(a.senders[0]), int(a.senders[1]), len(a.statics), len(a.session), len(old)), a.session, old)
}

// lambda returns the coefficient at 0 of the dealer at place d among the dealers.
func (a *agreement) lambda(d int) *edwards25519.Scalar { return lambda(a.senders[d], a.senders[1-d]) }

const dealingHeader = 1 + len(suiteResharing) + 2 + 2*pointSize

// messageSize is that of every dealing in the run. It has room for one slope: a dealer cannot raise the threshold with a
// commitment to a polynomial of another degree, or lower it with none.
func (a *agreement) messageSize() int { return dealingHeader + len(a.statics)*ciphertextSizeMin }

// parse decodes a dealing: suite with its length in one byte, dealer (2 bytes, big-endian), commitment to the slope (32),
// ephemeral key (32), and for each recipient in ascending order its encrypted share (48). What comes before the ciphertexts
// is in their context, so that they open only beside what their dealer published with them.
func (a *agreement) parse(d int, b []byte) (*message, error) {
	r := newReader(b, suiteResharing)
	if r.err != nil {
		return nil, r.err
	}
	if len(b) != a.messageSize() {
		return nil, fmt.Errorf("dealing of %d bytes instead of %d: %w", len(b), a.messageSize(), ErrEncoding)
	}
	if from := r.id(); from != a.senders[d] {
		return nil, fmt.Errorf("dealing of %s: %w", from, ErrReplay)
	}
	slope, err := decodePoint(r.next(pointSize))
	if err != nil {
		return nil, fmt.Errorf("commitment to the slope: %w", err)
	}
	m := &message{encoded: b, commitment: []*edwards25519.Point{a.constants[d], slope}, context: a.sealingContext(b[:dealingHeader])}
	m.ephemeralKey = r.point()
	if m.ephemeral, err = decodePoint(m.ephemeralKey[:]); err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	for range a.statics {
		m.sealed = append(m.sealed, r.next(ciphertextSizeMin))
	}
	return m, nil
}

func (a *agreement) sealingContext(header []byte) []byte { return slices.Concat(a.context[:], header) }

// deal makes self's dealing: a line g with g(0) = lambda·share, and its value for each recipient, the own one included,
// encrypted under a fresh ephemeral key. Line and ephemeral key are erased here: the own value comes back from the own
// ciphertext, so nothing later needs them, and no stored state can give them away.
func (a *agreement) deal(random io.Reader, share *edwards25519.Scalar) ([]byte, error) {
	slope, ephemeral, err := drawLine(random, share, a.context)
	if err != nil {
		return nil, err
	}
	constant := new(edwards25519.Scalar).Multiply(a.lambda(a.place()), share)
	defer wipe(slope, ephemeral, constant)

	ephemeralKey := encodePoint(new(edwards25519.Point).ScalarBaseMult(ephemeral))
	header := slices.Concat(suiteID(suiteResharing), uint16s(int(a.self)),
		new(edwards25519.Point).ScalarBaseMult(slope).Bytes(), ephemeralKey[:])
	line := []*edwards25519.Scalar{constant, slope}
	return slices.Concat(append([][]byte{header}, a.seal(line, ephemeral, ephemeralKey, a.sealingContext(header), nil)...)...), nil
}

// drawLine returns a slope and an ephemeral secret: HMAC-SHA512(share, label ‖ which ‖ fresh ‖ context) for each. Should the
// randomness repeat, a line repeats only in the identical resharing. Two lines of one dealer with one slope, drawn beside
// different dealers, would start at two multiples of its share, and their difference give the share to every recipient.
func drawLine(
	random io.Reader, secret *edwards25519.Scalar, context [sha512.Size]byte,
) (slope, ephemeral *edwards25519.Scalar, err error) {
	var fresh [32]byte
	defer clear(fresh[:])
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return nil, nil, fmt.Errorf("frost: randomness: %w", err)
	}
	key := secret.Bytes()
	defer clear(key)
	derive := func(which byte) (*edwards25519.Scalar, error) {
		input := slices.Concat([]byte(lineLabel), []byte{which}, fresh[:], context[:])
		defer clear(input)
		uniform := hmacSHA512(key, input)
		defer clear(uniform[:])
		return randomScalar(bytes.NewReader(uniform[:]))
	}
	if slope, err = derive(1); err != nil {
		return nil, nil, err
	}
	if ephemeral, err = derive(2); err != nil {
		wipe(slope)
		return nil, nil, err
	}
	return slope, ephemeral, nil
}

// combine makes the public half of the new sharing. No honest dealer brings about slopes that cancel, or a new share that is
// zero or the old one.
func (a *agreement) combine(messages []*message) (*sharing, error) {
	made, err := sharingOf(a.old.epoch+1, len(a.statics), messages)
	if err != nil {
		return nil, err
	}
	for k, before := range a.old.public {
		if before.encoded == made.public[k].encoded {
			return nil, fmt.Errorf("share of %s stays what it was: %w", before.id, ErrShare)
		}
	}
	if made.groupKey != a.old.groupKey {
		return nil, fmt.Errorf("group key is not the old one: %w", ErrSelfCheck)
	}
	return made, nil
}

// transcript is what the dealers certify: the context and both dealings, whole. Unlike key generation's it has the
// ciphertexts, so that what is kept for a recovery share which is offline is certified too.
func (a *agreement) transcript(messages []*message) []byte {
	return slices.Concat(suiteID(suiteResharing), a.context[:], messages[0].encoded, messages[1].encoded)
}
