package frost

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"filippo.io/edwards25519"
)

// Run is what the participants of one key generation agree on before it; whoever disagrees finds no proof, ciphertext or
// certificate that checks.
type Run struct {
	// Session is unique to this run and binds what the key is for: installation, wallet and a drawn run id, encoded so that no
	// two sessions read alike. SessionSizeMin to SessionSizeMax bytes.
	Session []byte
	// StaticKeys are the participants' public static keys in identifier order, from Agent: two or three. That each is its
	// participant's is for the caller to know.
	StaticKeys [][32]byte
	// Threshold is 2.
	Threshold int
}

// KeyGeneration is one participant's side of COCKTAIL-DKG over an untrusted relay:
//
//	Round1   own message            ─► relay ─► all messages
//	Round2   all messages, own certificate ─► relay ─► all certificates
//	Finish   all certificates, the key share
//
// The relay can stop a run; it learns nothing, and what it alters, reorders, replays or mixes is refused. The key may be shown
// or funded only when all participants have finished and a test signature by every pair has verified: if one holds its
// share and the other does not, what was sent to the address is lost.
//
// It does not print or marshal, and is for one goroutine at a time.
type KeyGeneration struct {
	progress
	c *ceremony
}

// NewKeyGeneration begins a run for self: it checks the run — static keys canonical, of prime order and distinct, own key in
// its place — draws polynomial and ephemeral key, and makes the message of Round1.
func NewKeyGeneration(self Identifier, static *StaticKey, run Run) (*KeyGeneration, error) {
	return newKeyGeneration(systemRandom(), self, static, run)
}

func newKeyGeneration(random io.Reader, self Identifier, static *StaticKey, run Run) (*KeyGeneration, error) {
	c, err := newWalletCeremony(self, run)
	if err != nil {
		return nil, err
	}
	if err := static.usable(self, c.statics); err != nil {
		return nil, err
	}
	own, err := c.draw(random, static.secret, nil)
	if err != nil {
		return nil, err
	}
	return keyGenerationOf(c, new(edwards25519.Scalar).Set(static.secret), own), nil
}

func keyGenerationOf(c *ceremony, static *edwards25519.Scalar, own []byte) *KeyGeneration {
	return &KeyGeneration{progress{among: &c.participants, static: static, stage: stageDrawn, own: own}, c}
}

// newWalletCeremony holds a run to what a wallet's key can be.
func newWalletCeremony(self Identifier, run Run) (*ceremony, error) {
	n := len(run.StaticKeys)
	if run.Threshold != thresholdOfWallet || n < participantsMin || n > participantsMax {
		return nil, fmt.Errorf("key generation %d of %d: %w", run.Threshold, n, ErrParameter)
	}
	if err := checkSession(run.Session); err != nil {
		return nil, err
	}
	return newCeremony(self, run.Threshold, run.Session, run.StaticKeys)
}

// Round1 returns the own message, msg1 of COCKTAIL-DKG, the same one each time. It is nil once the run has ended.
func (k *KeyGeneration) Round1() []byte { return bytes.Clone(k.own) }

// Round2 takes the messages of all participants in identifier order, the own one included as it came back, verifies them,
// and returns the own certificate: a signature over everything public in the run.
//
// It may be repeated with the same messages. With others it is ErrStage: a participant certifies one transcript. What does
// not check is a *CulpritError and ends the run; no certificate has left, so nobody else can have finished it either.
func (k *KeyGeneration) Round2(messages [][]byte) (certificate [64]byte, err error) {
	if certificate, err = k.accept(messages, k.combine); err != nil {
		return certificate, fmt.Errorf("key generation, round 2: %w", err)
	}
	return certificate, nil
}

// combine is COCKTAIL-DKG algorithm 5 and the first half of algorithm 6.
func (k *KeyGeneration) combine(encoded [][]byte) (transcript []byte, share *KeyShare, err error) {
	messages, shares, err := k.c.verify(encoded, k.static)
	if err != nil {
		return nil, nil, err
	}
	defer wipe(shares...)
	share, err = k.c.combine(messages, shares)
	return k.c.transcript(messages), share, err
}

// verify decodes all messages, checks their proofs and opens the shares for self.
func (c *ceremony) verify(encoded [][]byte, static *edwards25519.Scalar) (messages []*message, shares []*edwards25519.Scalar, err error) {
	defer func() {
		if err != nil {
			wipe(shares...)
		}
	}()
	for i, b := range encoded {
		from := Identifier(i + 1)
		m, err := c.verifyPublic(b)
		if err != nil {
			return nil, shares, blame(from, err)
		}
		messages = append(messages, m)
	}
	if err := c.verifyDistinct(messages); err != nil {
		return nil, shares, err
	}
	for i, m := range messages {
		share, err := c.open(Identifier(i+1), m, static)
		if err != nil {
			return nil, shares, blame(Identifier(i+1), err)
		}
		shares = append(shares, share)
	}
	return messages, shares, nil
}

// verifyPublic decodes a message and checks its proof of possession: that the sender knows the secret behind its
// contribution, so that nobody chooses one that cancels another's; bound to this run by the context in it.
func (c *ceremony) verifyPublic(b []byte) (*message, error) {
	m, err := c.parse(b)
	if err != nil {
		return nil, err
	}
	key := [pointSize]byte(m.commitBytes[:pointSize])
	if !schnorrVerify(m.commitment[0], key, c.proofMessage(m.commitBytes, m.ephemeralKey), m.proof) {
		return nil, ErrProof
	}
	return m, nil
}

// verifyDistinct refuses a message that carries the contribution or the ephemeral key of another. The proof does not name
// its sender, so a copy of it verifies; the ciphertexts would not open, but what is wrong is said here.
func (c *ceremony) verifyDistinct(messages []*message) error {
	for i, m := range messages {
		for j, earlier := range messages[:i] {
			if m.ephemeralKey != earlier.ephemeralKey && !bytes.Equal(m.commitBytes[:pointSize], earlier.commitBytes[:pointSize]) {
				continue
			}
			copied := Identifier(i + 1)
			if copied == c.self { // the own one is the original
				copied = Identifier(j + 1)
			}
			return blame(copied, fmt.Errorf("message of %s and %s share a key: %w", Identifier(j+1), Identifier(i+1), ErrReplay))
		}
	}
	return nil
}

// combine makes the key share of epoch 1: the secret is the sum of the shares, and the commitments to the sum of all
// polynomials give every public share. newKeyShare checks that they belong together; the aggregates are decoded strictly
// like any point from outside.
func (c *ceremony) combine(messages []*message, shares []*edwards25519.Scalar) (*KeyShare, error) {
	secret := new(edwards25519.Scalar)
	for _, share := range shares {
		secret.Add(secret, share)
	}
	sum := make([]*edwards25519.Point, c.threshold)
	for k := range sum {
		sum[k] = edwards25519.NewIdentityPoint()
		for _, m := range messages {
			sum[k].Add(sum[k], m.commitment[k])
		}
	}
	if _, err := decodePoint(sum[0].Bytes()); err != nil {
		return nil, fmt.Errorf("group key: %w", err)
	}
	public := make([]publicShare, c.n())
	for k := range public {
		share, err := newPublicShare(Identifier(k+1), evaluateCommitment(sum, Identifier(k+1)))
		if err != nil {
			return nil, err
		}
		public[k] = share
	}
	share, err := newKeyShare(c.self, 1, c.threshold, secret, public)
	if err != nil {
		wipe(secret)
		return nil, err
	}
	if share.group.Equal(sum[0]) != 1 {
		share.Zero()
		return nil, fmt.Errorf("group key is not that of the public shares: %w", ErrSelfCheck)
	}
	return share, nil
}

// Finish takes the certificates of all participants in identifier order, the own one included, and returns the key share
// once every one verifies over the own transcript. It may be repeated, also after a refusal. Call Zero when the share is
// sealed.
func (k *KeyGeneration) Finish(certificates [][64]byte) (*KeyShare, error) {
	return k.finish(certificates)
}

// GroupKey returns the key being made, after Round2. It is not a key anybody may pay to before Finish and the test
// signatures.
func (k *KeyGeneration) GroupKey() ([32]byte, error) {
	if k.stage != stageCertified {
		return [32]byte{}, fmt.Errorf("group key before round 2: %w", ErrStage)
	}
	return k.share.groupKey, nil
}

// Zero overwrites the run's secrets and ends it. Key shares that Finish returned stay.
func (k *KeyGeneration) Zero() {
	if k != nil {
		k.end()
	}
}

// Secret returns the whole state as canonical bytes, for sealing between calls; the caller wipes them. Suite with its
// length in one byte, stage (1 byte), self, threshold, number of participants n and length of the session (2 bytes each, big-endian), session,
// static secret (32), n static public keys (32 each), then the own message, or from Round2 on all n messages. Everything
// else follows from these. It is nil once the run has ended.
func (k *KeyGeneration) Secret() []byte {
	if k.stage == stageEnded {
		return nil
	}
	c := k.c
	messages := k.kept()
	b := make([]byte, 0, keyGenerationHeader+len(c.session)+scalarSize+c.n()*pointSize+len(messages))
	b = append(b, byte(len(suiteKeyGeneration)))
	b = append(b, suiteKeyGeneration...)
	b = append(b, byte(k.stage))
	b = binary.BigEndian.AppendUint16(b, uint16(c.self))
	b = binary.BigEndian.AppendUint16(b, uint16(c.threshold))
	b = binary.BigEndian.AppendUint16(b, uint16(c.n()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.session)))
	b = append(b, c.session...)
	b = append(b, k.static.Bytes()...)
	for _, static := range c.statics {
		b = append(b, static[:]...)
	}
	return append(b, messages...)
}

const keyGenerationHeader = 1 + len(suiteKeyGeneration) + 1 + 4*2

// ParseKeyGeneration is the inverse of Secret, and accepts nothing else. It verifies the messages in it again, so a state
// that was damaged or put together from two runs does not come back.
func ParseKeyGeneration(b []byte) (*KeyGeneration, error) {
	r := reader{b}
	if err := r.suite(suiteKeyGeneration); err != nil {
		return nil, fmt.Errorf("key generation: %w", err)
	}
	if len(b) < keyGenerationHeader {
		return nil, fmt.Errorf("key generation of %d bytes: %w", len(b), ErrEncoding)
	}
	at, self, threshold, n, size := stage(r.next(1)[0]), Identifier(r.uint16()), int(r.uint16()), int(r.uint16()), int(r.uint16())
	if at != stageDrawn && at != stageCertified || n > participantsMax || len(r.rest) < size+scalarSize+n*pointSize {
		return nil, fmt.Errorf("key generation of %d bytes at stage %d with %d participants: %w", len(b), at, n, ErrEncoding)
	}
	run := Run{Session: r.next(size), Threshold: threshold}
	static, err := decodeScalar(r.next(scalarSize))
	if err != nil {
		return nil, fmt.Errorf("key generation: static key: %w", err)
	}
	for range n {
		run.StaticKeys = append(run.StaticKeys, [pointSize]byte(r.next(pointSize)))
	}
	k, err := resume(at, self, static, run, r)
	if err != nil {
		wipe(static)
		return nil, fmt.Errorf("key generation: %w: %w", err, ErrEncoding)
	}
	return k, nil
}

// resume takes the messages from r and leads a run to the stage it was in.
func resume(at stage, self Identifier, static *edwards25519.Scalar, run Run, r reader) (*KeyGeneration, error) {
	c, err := newWalletCeremony(self, run)
	if err != nil {
		return nil, err
	}
	if err := newStaticKey(static).usable(self, c.statics); err != nil {
		return nil, err
	}
	k := keyGenerationOf(c, static, nil)
	return k, k.resume(at, r, c.messageSize(), k.checkOwn, k.combine)
}

// checkOwn verifies the own message without the others'.
func (k *KeyGeneration) checkOwn(b []byte) error {
	m, err := k.c.verifyPublic(b)
	if err != nil {
		return err
	}
	share, err := k.c.open(k.c.self, m, k.static)
	if err != nil {
		return err
	}
	wipe(share)
	return nil
}
