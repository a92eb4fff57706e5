package frost

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
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
func newAgreement(self Identifier, r Resharing) (*agreement, error) {
	if r.Old == nil {
		return nil, fmt.Errorf("resharing without the old sharing: %w", ErrParameter)
	}
	old, err := ParseSharing(r.Old.Bytes()) // the zero Sharing is none
	if err != nil {
		return nil, err
	}
	if err := checkSession(r.Session); err != nil {
		return nil, err
	}
	n, before := len(r.StaticKeys), len(old.public)
	// Who has a share keeps one: leaving the recovery share out would take the owner's exit away without a word.
	if n < before || n > participantsMax || self < 1 || int(self) > n {
		return nil, fmt.Errorf("%s in a resharing from %d to %d participants: %w", self, before, n, ErrParameter)
	}
	first, second := r.Dealers[0], r.Dealers[1]
	if first < 1 || second <= first || int(second) > before {
		return nil, fmt.Errorf("%s and %s dealing: %w", first, second, ErrParameter)
	}
	if old.epoch == math.MaxUint64 {
		return nil, fmt.Errorf("no epoch after %d: %w", old.epoch, ErrParameter)
	}
	points, err := decodeStaticKeys(r.StaticKeys)
	if err != nil {
		return nil, err
	}
	a := &agreement{old: old, participants: participants{
		self: self, session: bytes.Clone(r.Session), statics: slices.Clone(r.StaticKeys), points: points,
		senders: r.Dealers[:],
	}}
	for d, id := range a.senders {
		share, _ := old.publicShare(id)
		a.constants[d] = sumPublic([]*edwards25519.Scalar{a.lambda(d)}, []*edwards25519.Point{share.point})
	}
	var b []byte
	for _, field := range [][]byte{[]byte(suiteResharing), a.session, old.Bytes()} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(field)))
		b = append(b, field...)
	}
	for _, number := range []int{int(first), int(second), n} {
		b = binary.BigEndian.AppendUint16(b, uint16(number))
	}
	for _, static := range a.statics {
		b = append(b, static[:]...)
	}
	a.context = sha512.Sum512(b)
	return a, nil
}

// lambda returns the coefficient at 0 of the dealer at place d among the dealers.
func (a *agreement) lambda(d int) *edwards25519.Scalar { return lambda(a.senders[d], a.senders[1-d]) }

// other is whom self blames for what no honest dealer brings about: whichever dealer is not self.
func (a *agreement) other() Identifier {
	if a.place() == 1 {
		return a.senders[0]
	}
	return a.senders[1]
}

const dealingHeader = 1 + len(suiteResharing) + 2 + 2*pointSize

// dealingSize is that of every dealing in the run. It has room for one slope: a dealer cannot raise the threshold with a
// commitment to a polynomial of another degree, or lower it with none.
func (a *agreement) dealingSize() int { return dealingHeader + len(a.statics)*ciphertextSizeMin }

// dealing is a decoded message of a dealer: suite with its length in one byte, dealer (2 bytes, big-endian), commitment to the
// slope (32), ephemeral key (32), and for each recipient in ascending order its encrypted share (48).
type dealing struct {
	slope        *edwards25519.Point
	ephemeral    *edwards25519.Point
	ephemeralKey [pointSize]byte
	header       []byte   // all but the encrypted shares
	sealed       [][]byte // sealed[k] is for participant k+1
}

// parse decodes the message of the dealer at place d.
func (a *agreement) parse(d int, b []byte) (*dealing, error) {
	r := reader{b}
	if err := r.suite(suiteResharing); err != nil {
		return nil, err
	}
	if len(b) != a.dealingSize() {
		return nil, fmt.Errorf("dealing of %d bytes instead of %d: %w", len(b), a.dealingSize(), ErrEncoding)
	}
	if from := Identifier(r.uint16()); from != a.senders[d] {
		return nil, fmt.Errorf("dealing of %s: %w", from, ErrReplay)
	}
	m := &dealing{header: b[:dealingHeader:dealingHeader]}
	var err error
	if m.slope, err = decodePoint(r.next(pointSize)); err != nil {
		return nil, fmt.Errorf("commitment to the slope: %w", err)
	}
	m.ephemeralKey = [pointSize]byte(r.next(pointSize))
	if m.ephemeral, err = decodePoint(m.ephemeralKey[:]); err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	for range a.statics {
		m.sealed = append(m.sealed, r.next(ciphertextSizeMin))
	}
	return m, nil
}

// sealing is the encryption of what the dealer at place d gives to a recipient. Its context holds the dealing's header, so
// that a ciphertext opens only beside what its dealer published with it.
func (a *agreement) sealing(d int, to Identifier, header []byte, ephemeralKey [pointSize]byte) sealing {
	return sealing{
		prefix: resharingPrefix, ephemeralKey: ephemeralKey,
		sender: a.statics[a.senders[d]-1], recipient: a.statics[to-1], context: slices.Concat(a.context[:], header),
	}
}

// deal makes self's dealing: a line g with g(0) = lambda·share, and its value for each recipient, the own one included,
// encrypted under a fresh ephemeral key. Line and ephemeral key are erased here: the own value comes back from the own
// ciphertext, so nothing later needs them, and no stored state can give them away.
func (a *agreement) deal(random io.Reader, static *StaticKey, share *KeyShare) ([]byte, error) {
	d := a.place()
	slope, ephemeral, err := drawLine(random, share.secret, a.context)
	if err != nil {
		return nil, err
	}
	defer wipe(slope, ephemeral)
	constant := new(edwards25519.Scalar).Multiply(a.lambda(d), share.secret)
	defer wipe(constant)

	ephemeralKey := encodePoint(new(edwards25519.Point).ScalarBaseMult(ephemeral))
	b := make([]byte, 0, a.dealingSize())
	b = append(b, byte(len(suiteResharing)))
	b = append(b, suiteResharing...)
	b = binary.BigEndian.AppendUint16(b, uint16(a.self))
	b = append(b, new(edwards25519.Point).ScalarBaseMult(slope).Bytes()...)
	b = append(b, ephemeralKey[:]...)
	header := b[:dealingHeader:dealingHeader]
	for k, p := range a.points {
		value := evaluate([]*edwards25519.Scalar{constant, slope}, Identifier(k+1))
		plaintext := value.Bytes()
		wipe(value)
		key := a.sealing(d, Identifier(k+1), header, ephemeralKey)
		key.fromEphemeral = new(edwards25519.Point).ScalarMult(ephemeral, p)
		key.fromStatic = new(edwards25519.Point).ScalarMult(static.secret, p)
		b = key.seal(b, plaintext)
		clear(plaintext)
	}
	return b, nil
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

// open decrypts self's value of the line of the dealer at place d, and checks it: g(self)·B = lambda·Y + self·R.
func (a *agreement) open(d int, m *dealing, static *edwards25519.Scalar) (*edwards25519.Scalar, error) {
	key := a.sealing(d, a.self, m.header, m.ephemeralKey)
	key.fromEphemeral = new(edwards25519.Point).ScalarMult(static, m.ephemeral)
	key.fromStatic = new(edwards25519.Point).ScalarMult(static, a.points[a.senders[d]-1])
	plaintext, err := key.open(m.sealed[a.self-1])
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	value, err := decodeScalar(plaintext)
	if err != nil {
		return nil, fmt.Errorf("share: %w", err)
	}
	line := []*edwards25519.Point{a.constants[d], m.slope}
	if new(edwards25519.Point).ScalarBaseMult(value).Equal(evaluateCommitment(line, a.self)) != 1 {
		wipe(value)
		return nil, ErrShare
	}
	return value, nil
}

// verify decodes both dealings and makes the new public half of them: the public shares are the values of the sum of both
// lines, in the exponent.
func (a *agreement) verify(deals [][]byte) (messages [2]*dealing, renewed *sharing, err error) {
	for d, b := range deals {
		if messages[d], err = a.parse(d, b); err != nil {
			return messages, nil, blame(a.senders[d], err)
		}
	}
	sum := []*edwards25519.Point{
		new(edwards25519.Point).Add(a.constants[0], a.constants[1]),
		new(edwards25519.Point).Add(messages[0].slope, messages[1].slope),
	}
	// With slopes that cancel, every new share would be the key itself.
	if isIdentity(sum[1]) {
		return messages, nil, blame(a.other(), fmt.Errorf("slopes cancel: %w", ErrShare))
	}
	public := make([]publicShare, len(a.statics))
	for k := range public {
		id := Identifier(k + 1)
		if public[k], err = newPublicShare(id, evaluateCommitment(sum, id)); err != nil {
			return messages, nil, blame(a.other(), err)
		}
		if before, ok := a.old.publicShare(id); ok && before.encoded == public[k].encoded {
			return messages, nil, blame(a.other(), fmt.Errorf("share of %s stays what it was: %w", id, ErrShare))
		}
	}
	s, err := newSharing(a.old.epoch+1, thresholdOfWallet, public)
	if err != nil {
		return messages, nil, err
	}
	if s.groupKey != a.old.groupKey {
		return messages, nil, fmt.Errorf("group key is not the old one: %w", ErrSelfCheck)
	}
	return messages, &s, nil
}

// receive opens self's values of both lines and adds them: they are the new share.
func (a *agreement) receive(messages [2]*dealing, renewed *sharing, static *edwards25519.Scalar) (*KeyShare, error) {
	secret := new(edwards25519.Scalar)
	for d, m := range messages {
		value, err := a.open(d, m, static)
		if err != nil {
			wipe(secret)
			return nil, blame(a.senders[d], err)
		}
		secret.Add(secret, value)
		wipe(value)
	}
	share, err := renewed.keyShare(a.self, secret)
	if err != nil {
		wipe(secret)
		return nil, fmt.Errorf("new share: %w: %w", err, ErrSelfCheck)
	}
	return share, nil
}

// transcript is what the dealers certify: the context and both dealings, whole. Unlike key generation's it has the
// ciphertexts, so that what is kept for a recovery share which is offline is certified too.
func (a *agreement) transcript(deals [][]byte) []byte {
	b := append([]byte{byte(len(suiteResharing))}, suiteResharing...)
	b = append(b, a.context[:]...)
	return slices.Concat(b, deals[0], deals[1])
}
