package frost

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"filippo.io/edwards25519"
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

// newCeremony makes the context: it binds the session, the suite, the number of participants and all static keys in order into
// every proof, ciphertext and certificate.
func newCeremony(self Identifier, static *StaticKey, threshold int, session []byte, statics [][pointSize]byte) (*ceremony, error) {
	if threshold < 1 || threshold > len(statics) {
		return nil, fmt.Errorf("key generation %d of %d: %w", threshold, len(statics), ErrParameter)
	}
	p, err := newParticipants(keyGenerationPrefix, self, static, session, statics)
	if err != nil {
		return nil, err
	}
	for k := range statics {
		p.senders = append(p.senders, Identifier(k+1))
	}
	p.context = sha512.Sum512(slices.Concat([]byte(contextLabel), framed(session), framed([]byte(suiteKeyGeneration)),
		binary.LittleEndian.AppendUint32(nil, uint32(len(statics))), joined(statics)))
	return &ceremony{participants: p, threshold: threshold}, nil
}

func (c *ceremony) agreed() []byte {
	return append(uint16s(int(c.self), c.threshold, c.n(), len(c.session)), c.session...)
}

func (c *ceremony) n() int { return len(c.statics) }

// ciphertextSize is that of every encrypted share in the run.
func (c *ceremony) ciphertextSize() int { return ciphertextSizeMin + c.payloadSize }

// messageSize is that of every msg1 in the run: t points, proof, ephemeral key, n framed ciphertexts. It leaves no room for
// a commitment to a polynomial of another degree, by which one participant could raise the threshold for all.
func (c *ceremony) messageSize() int {
	return c.threshold*pointSize + signatureSize + pointSize + c.n()*(framePrefixSize+c.ciphertextSize())
}

// parse decodes msg1 of COCKTAIL-DKG, C_0 ‖ ... ‖ C_(t-1) ‖ PoP ‖ E ‖ framed c_1 ‖ ... ‖ framed c_n, and checks the proof of
// possession: that the sender knows the secret behind its contribution, so that nobody chooses one that cancels another's;
// bound to this run by the context in it.
func (c *ceremony) parse(_ int, b []byte) (*message, error) {
	if len(b) != c.messageSize() {
		return nil, fmt.Errorf("message of %d bytes instead of %d: %w", len(b), c.messageSize(), ErrEncoding)
	}
	r := reader{rest: b}
	m := &message{encoded: b, context: c.context[:]}
	for k := range c.threshold {
		p, err := decodePoint(r.next(pointSize))
		if err != nil {
			return nil, fmt.Errorf("commitment to coefficient %d: %w", k, err)
		}
		m.commitment = append(m.commitment, p)
	}
	proof := [signatureSize]byte(r.next(signatureSize))
	m.ephemeralKey = r.point()
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
	if !schnorrVerify(m.commitment[0], [pointSize]byte(b), c.proofMessage(c.commitment(m), m.ephemeralKey), proof) {
		return nil, ErrProof
	}
	return m, nil
}

// commitment and proof are these parts of a message.
func (c *ceremony) commitment(m *message) []byte { return m.encoded[:c.threshold*pointSize] }

func (c *ceremony) proof(m *message) []byte {
	return m.encoded[c.threshold*pointSize:][:signatureSize]
}

// proofMessage is what a proof of possession signs: context ‖ C ‖ E.
func (c *ceremony) proofMessage(commitment []byte, ephemeralKey [pointSize]byte) []byte {
	return slices.Concat(c.context[:], commitment, ephemeralKey[:])
}

// draw makes the own msg1: a polynomial, its commitment and proof, and a share of it for each participant, the own one
// included, encrypted under a fresh ephemeral key (COCKTAIL-DKG algorithm 4). Polynomial and ephemeral key are erased here:
// the own share comes back from the own ciphertext, so nothing later needs them, and no stored state can give them away.
func (c *ceremony) draw(random io.Reader, payload []byte) ([]byte, error) {
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
	for _, sealed := range c.seal(coefficients, ephemeral, ephemeralKey, c.context[:], payload) {
		b = append(b, framed(sealed)...)
	}
	return b, nil
}

// combine makes the sharing of epoch 1.
func (c *ceremony) combine(messages []*message) (*sharing, error) {
	return sharingOf(1, c.n(), messages)
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
	var commitments, proofs, ephemeralKeys []byte
	for _, m := range messages {
		commitments = append(commitments, c.commitment(m)...)
		proofs = append(proofs, c.proof(m)...)
		ephemeralKeys = append(ephemeralKeys, m.ephemeralKey[:]...)
	}
	b = slices.Concat(b, joined(c.statics), commitments, proofs, ephemeralKeys)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.extension)))
	return append(b, c.extension...)
}
