package frost

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/chacha20poly1305"
)

// suiteKeyGeneration is the ciphersuite_id of COCKTAIL-DKG, byte for byte.
const suiteKeyGeneration = "COCKTAIL(Ed25519, SHA-512)"

const (
	contextLabel        = "COCKTAIL-DKG-CONTEXT"
	keyGenerationPrefix = "COCKTAIL-DKG-Ed25519-SHA512-H6"
	framePrefixSize     = 8
)

// ceremony is what all participants of one key generation agree on, and who one of them is. It takes any number of
// participants and any threshold; a wallet's are bounded in NewKeyGeneration.
type ceremony struct {
	participants
	threshold int
	// extension and payloadSize are COCKTAIL-DKG's application data. Halfkey uses neither: both are zero.
	extension   []byte
	payloadSize int
}

// newCeremony decodes the static keys, which must be distinct, and makes the context: it binds the session, the suite, the
// number of participants and all static keys in order into every proof, ciphertext and certificate.
func newCeremony(self Identifier, threshold int, session []byte, statics [][pointSize]byte) (*ceremony, error) {
	n := len(statics)
	if self < 1 || int(self) > n || threshold < 1 || threshold > n {
		return nil, fmt.Errorf("participant %d in %d of %d: %w", uint16(self), threshold, n, ErrParameter)
	}
	points, err := decodeStaticKeys(statics)
	if err != nil {
		return nil, err
	}
	c := &ceremony{threshold: threshold, participants: participants{
		self: self, session: bytes.Clone(session), statics: slices.Clone(statics), points: points,
	}}
	for k := range n {
		c.senders = append(c.senders, Identifier(k+1))
	}
	h := sha512.New()
	h.Write([]byte(contextLabel))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(session))))
	h.Write(session)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(suiteKeyGeneration))))
	h.Write([]byte(suiteKeyGeneration))
	h.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
	for _, static := range c.statics {
		h.Write(static[:])
	}
	h.Sum(c.context[:0])
	return c, nil
}

func (c *ceremony) n() int { return len(c.statics) }

// ciphertextSize is that of every encrypted share in the run.
func (c *ceremony) ciphertextSize() int { return ciphertextSizeMin + c.payloadSize }

// messageSize is that of every msg1 in the run: t points, proof, ephemeral key, n framed ciphertexts. It leaves no room for
// a commitment to a polynomial of another degree, by which one participant could raise the threshold for all.
func (c *ceremony) messageSize() int {
	return c.threshold*pointSize + signatureSize + pointSize + c.n()*(framePrefixSize+c.ciphertextSize())
}

// message is a decoded msg1 of COCKTAIL-DKG:
// C_0 ‖ ... ‖ C_(t-1) ‖ PoP ‖ E ‖ framed c_1 ‖ ... ‖ framed c_n.
type message struct {
	commitment   []*edwards25519.Point
	commitBytes  []byte // the encoding of commitment
	proof        [signatureSize]byte
	ephemeral    *edwards25519.Point
	ephemeralKey [pointSize]byte
	sealed       [][]byte // sealed[k] is for participant k+1
}

func (c *ceremony) parse(b []byte) (*message, error) {
	if len(b) != c.messageSize() {
		return nil, fmt.Errorf("message of %d bytes instead of %d: %w", len(b), c.messageSize(), ErrEncoding)
	}
	r := reader{b}
	m := &message{commitBytes: b[: c.threshold*pointSize : c.threshold*pointSize]}
	for k := range c.threshold {
		p, err := decodePoint(r.next(pointSize))
		if err != nil {
			return nil, fmt.Errorf("commitment to coefficient %d: %w", k, err)
		}
		m.commitment = append(m.commitment, p)
	}
	m.proof = [signatureSize]byte(r.next(signatureSize))
	m.ephemeralKey = [pointSize]byte(r.next(pointSize))
	var err error
	if m.ephemeral, err = decodePoint(m.ephemeralKey[:]); err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	for k := range c.n() {
		if size := r.uint64(); size != uint64(c.ciphertextSize()) {
			return nil, fmt.Errorf("encrypted share for %s of %d bytes: %w", Identifier(k+1), size, ErrEncoding)
		}
		m.sealed = append(m.sealed, r.next(c.ciphertextSize()))
	}
	return m, nil
}

// proofMessage is what a proof of possession signs: context ‖ C ‖ E.
func (c *ceremony) proofMessage(commitBytes []byte, ephemeralKey [pointSize]byte) []byte {
	b := append([]byte(nil), c.context[:]...)
	b = append(b, commitBytes...)
	return append(b, ephemeralKey[:]...)
}

// draw makes the own msg1: a polynomial, its commitment and proof, and a share of it for each participant, the own one
// included, encrypted under a fresh ephemeral key (COCKTAIL-DKG algorithm 4). Polynomial and ephemeral key are erased here:
// the own share comes back from the own ciphertext, so nothing later needs them, and no stored state can give them away.
func (c *ceremony) draw(random io.Reader, static *edwards25519.Scalar, payload []byte) ([]byte, error) {
	coefficients := make([]*edwards25519.Scalar, c.threshold)
	b := make([]byte, 0, c.messageSize())
	for k := range coefficients {
		var err error
		if coefficients[k], err = randomScalar(random); err != nil {
			return nil, err
		}
		defer wipe(coefficients[k])
		b = append(b, new(edwards25519.Point).ScalarBaseMult(coefficients[k]).Bytes()...)
	}
	ephemeral, err := randomScalar(random)
	if err != nil {
		return nil, err
	}
	defer wipe(ephemeral)
	ephemeralKey := encodePoint(new(edwards25519.Point).ScalarBaseMult(ephemeral))
	proof, err := schnorrSign(coefficients[0], c.proofMessage(b, ephemeralKey))
	if err != nil {
		return nil, err
	}
	b = append(b, proof[:]...)
	b = append(b, ephemeralKey[:]...)
	for k, p := range c.points {
		share := evaluate(coefficients, Identifier(k+1))
		plaintext := append(share.Bytes(), payload...)
		wipe(share)
		key := sealing{
			prefix:        keyGenerationPrefix,
			fromEphemeral: new(edwards25519.Point).ScalarMult(ephemeral, p),
			fromStatic:    new(edwards25519.Point).ScalarMult(static, p),
			ephemeralKey:  ephemeralKey, sender: c.statics[c.self-1], recipient: c.statics[k], context: c.context[:],
		}
		b = binary.BigEndian.AppendUint64(b, uint64(len(plaintext)+chacha20poly1305.Overhead))
		b = key.seal(b, plaintext)
		clear(plaintext)
	}
	return b, nil
}

// open decrypts the share for self from a participant's message and checks it against the participant's commitment
// (COCKTAIL-DKG algorithm 5, steps 3.3 to 3.5).
func (c *ceremony) open(from Identifier, m *message, static *edwards25519.Scalar) (*edwards25519.Scalar, error) {
	key := sealing{
		prefix:        keyGenerationPrefix,
		fromEphemeral: new(edwards25519.Point).ScalarMult(static, m.ephemeral),
		fromStatic:    new(edwards25519.Point).ScalarMult(static, c.points[from-1]),
		ephemeralKey:  m.ephemeralKey, sender: c.statics[from-1], recipient: c.statics[c.self-1], context: c.context[:],
	}
	plaintext, err := key.open(m.sealed[c.self-1])
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	share, err := decodeScalar(plaintext[:scalarSize])
	if err != nil {
		return nil, fmt.Errorf("share: %w", err)
	}
	if new(edwards25519.Point).ScalarBaseMult(share).Equal(evaluateCommitment(m.commitment, c.self)) != 1 {
		wipe(share)
		return nil, ErrShare
	}
	return share, nil
}

// transcript is T of COCKTAIL-DKG round 3: everything public, in one order. Ciphertexts are not in it; one that was altered
// does not open.
func (c *ceremony) transcript(messages []*message) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(suiteKeyGeneration)))
	b = append(b, suiteKeyGeneration...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.context)))
	b = append(b, c.context[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(c.n()))
	b = binary.LittleEndian.AppendUint32(b, uint32(c.threshold))
	for _, static := range c.statics {
		b = append(b, static[:]...)
	}
	for _, m := range messages {
		b = append(b, m.commitBytes...)
	}
	for _, m := range messages {
		b = append(b, m.proof[:]...)
	}
	for _, m := range messages {
		b = append(b, m.ephemeralKey[:]...)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.extension)))
	return append(b, c.extension...)
}
