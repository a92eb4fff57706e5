package frost

import (
	"bytes"
	"fmt"
	"io"
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
type KeyGeneration struct{ progress }

// NewKeyGeneration begins a run for self: it checks the run — static keys canonical, of prime order and distinct, own key in
// its place — draws polynomial and ephemeral key, and makes the message of Round1.
func NewKeyGeneration(self Identifier, static *StaticKey, run Run) (*KeyGeneration, error) {
	return newKeyGeneration(systemRandom(), self, static, run)
}

func newKeyGeneration(random io.Reader, self Identifier, static *StaticKey, run Run) (*KeyGeneration, error) {
	c, err := newWalletCeremony(self, static, run)
	if err != nil {
		return nil, err
	}
	own, err := c.draw(random, nil)
	if err != nil {
		return nil, err
	}
	return &KeyGeneration{newProgress(&c.participants, c, own)}, nil
}

// newWalletCeremony holds a run to what a wallet's key can be.
func newWalletCeremony(self Identifier, static *StaticKey, run Run) (*ceremony, error) {
	n := len(run.StaticKeys)
	if run.Threshold != thresholdOfWallet || n < participantsMin || n > participantsMax {
		return nil, fmt.Errorf("key generation %d of %d: %w", run.Threshold, n, ErrParameter)
	}
	return newCeremony(self, static, run.Threshold, run.Session, run.StaticKeys)
}

// Round1 returns the own message, msg1 of COCKTAIL-DKG, the same one each time. It is nil once the run has ended.
func (k *KeyGeneration) Round1() []byte { return bytes.Clone(k.own) }

// Round2 takes the messages of all participants in identifier order, the own one included as it came back, verifies them,
// and returns the own certificate: a signature over everything public in the run.
//
// It may be repeated with the same messages. With others it is ErrStage: a participant certifies one transcript. What does not
// check ends the run, and is a *CulpritError where it can be told whose it is; no certificate has left, so nobody else can
// have finished it either.
func (k *KeyGeneration) Round2(messages [][]byte) (certificate [64]byte, err error) {
	if certificate, err = k.accept(messages); err != nil {
		return certificate, fmt.Errorf("key generation, round 2: %w", err)
	}
	return certificate, nil
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

// Secret returns the whole state as canonical bytes, for sealing between calls; the caller wipes them. Suite with its length
// in one byte, stage (1 byte), then 2 bytes each, big-endian: self, threshold, number of participants n and length of the
// session; session, static secret (32), n static public keys (32 each), then the own message, or from Round2 on all n
// messages. Everything else follows from these. It is nil once the run has ended.
func (k *KeyGeneration) Secret() []byte { return k.state(suiteKeyGeneration) }

// ParseKeyGeneration is the inverse of Secret, and accepts nothing else. It verifies the messages in it again, so a state
// that was damaged or put together from two runs does not come back.
func ParseKeyGeneration(b []byte) (*KeyGeneration, error) {
	k, err := parseKeyGeneration(newReader(b, suiteKeyGeneration))
	if err != nil {
		return nil, fmt.Errorf("key generation: %w: %w", err, ErrEncoding)
	}
	return k, nil
}

func parseKeyGeneration(r *reader) (*KeyGeneration, error) {
	at, self, threshold, n, sessionSize := stage(r.next(1)[0]), r.id(), r.uint16(), r.uint16(), r.uint16()
	run := Run{Session: r.next(sessionSize), Threshold: threshold}
	static, statics, err := parseKeys(r, at, n)
	if err != nil {
		return nil, err
	}
	defer static.Zero()
	run.StaticKeys = statics
	c, err := newWalletCeremony(self, static, run)
	if err != nil {
		return nil, err
	}
	k := &KeyGeneration{newProgress(&c.participants, c, nil)}
	if err := k.resume(r, at); err != nil {
		k.Zero()
		return nil, err
	}
	return k, nil
}
