package frost

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

// party is one participant and what it sends.
type party struct {
	static *StaticKey
	run    *KeyGeneration
}

func ceremonyOf(k *KeyGeneration) *ceremony { return k.protocol.(*ceremony) }

func newRun(session string, statics []*StaticKey) Run {
	run := Run{Session: []byte("session of a test/" + session), Threshold: 2}
	for _, s := range statics {
		run.StaticKeys = append(run.StaticKeys, s.Public())
	}
	return run
}

func statics(t testing.TB, n int) []*StaticKey {
	t.Helper()
	keys := make([]*StaticKey, n)
	for k := range keys {
		var err error
		if keys[k], err = NewStaticKey(); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// begin starts all participants and returns their messages.
func begin(t testing.TB, session string, keys []*StaticKey) (parties []party, messages [][]byte) {
	t.Helper()
	for k, static := range keys {
		run, err := NewKeyGeneration(Identifier(k+1), static, newRun(session, keys))
		if err != nil {
			t.Fatal(err)
		}
		parties = append(parties, party{static, run})
		messages = append(messages, run.Round1())
	}
	return parties, messages
}

// certificates runs Round2 of all.
func certificates(t testing.TB, parties []party, messages [][]byte) (out [][64]byte) {
	t.Helper()
	for _, p := range parties {
		c, err := p.run.Round2(messages)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func TestKeyGeneration(t *testing.T) {
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprintf("2 of %d", n), func(t *testing.T) {
			parties, messages := begin(t, "good", statics(t, n))
			all := certificates(t, parties, messages)
			var shares []*KeyShare
			for k, p := range parties {
				share, err := p.run.Finish(all)
				if err != nil {
					t.Fatal(err)
				}
				digest, err := p.run.TranscriptDigest()
				first, firstErr := parties[0].run.TranscriptDigest()
				if err != nil || firstErr != nil || digest != first {
					t.Errorf("%s: transcript digest %x, %v; want %x", share.id, digest, err, first)
				}
				if key, err := p.run.GroupKey(); err != nil || key != share.GroupKey() {
					t.Errorf("%s: group key %x, %v; want %x", share.id, key, err, share.GroupKey())
				}
				if share.Identifier() != Identifier(k+1) || share.Epoch() != 1 || share.GroupKey() != parties[0].run.share.groupKey {
					t.Errorf("share of %s in epoch %d under %x", share.Identifier(), share.Epoch(), share.GroupKey())
				}
				shares = append(shares, share)
			}
			for _, p := range parties { // the shares stay
				p.run.Zero()
				p.static.Zero()
			}
			for _, first := range shares {
				for _, second := range shares {
					if first == second {
						continue
					}
					if a, ok := first.PublicShare(second.id); !ok || a != encodePoint(basePoint(second.secret)) {
						t.Errorf("public share of %s with %s is not its own", second.id, first.id)
					}
					nonces, commitment := mustCommit(t, first)
					r, err := coSign(rand.Reader, second, first.id, commitment, []byte("key test"), nil)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := nonces.finish(second.id, []byte("key test"), r); err != nil {
						t.Errorf("%s with %s: %v", first.id, second.id, err)
					}
				}
			}
		})
	}
}

// TestPolynomialIsErased: what a state keeps is the static key and public messages; it does not open what was sent to others.
func TestPolynomialIsErased(t *testing.T) {
	parties, messages := begin(t, "erased", statics(t, 2))
	c := ceremonyOf(parties[0].run)
	m, err := c.parse(0, messages[0])
	if err != nil {
		t.Fatal(err)
	}
	// The agent's static key against its own ephemeral key and the other's static key: all that is left to it.
	key := sealing{
		prefix:        keyGenerationPrefix,
		fromEphemeral: new(edwards25519.Point).ScalarMult(parties[0].run.static, m.ephemeral),
		fromStatic:    new(edwards25519.Point).ScalarMult(parties[0].run.static, c.points[1]),
		ephemeralKey:  m.ephemeralKey, sender: c.statics[0], recipient: c.statics[1], context: c.context[:],
	}
	if _, err := key.open(m.sealed[1]); !errors.Is(err, ErrDecryption) {
		t.Errorf("opening the share sent to the co-signer = %v, want ErrDecryption", err)
	}
}

// recorder keeps what was drawn, so that a test can play a participant who does not keep to the protocol.
type recorder struct{ drawn []byte }

func (r *recorder) Read(b []byte) (int, error) {
	n, err := rand.Read(b)
	r.drawn = append(r.drawn, b[:n]...)
	return n, err
}

func (r *recorder) scalar(t testing.TB, k int) *edwards25519.Scalar {
	t.Helper()
	s, err := randomScalar(bytes.NewReader(r.drawn[k*64:]))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forge makes a co-signer's message with parts changed by someone who knows all its secrets: the proof is signed again, and
// the share for the agent sealed again.
func forge(t testing.TB, c *ceremony, static *StaticKey, change func(commitment [][]byte, share *edwards25519.Scalar) []byte) []byte {
	t.Helper()
	as := *c
	as.self, as.static = CoSigner, static.secret
	var r recorder
	b, err := as.draw(&r, nil)
	if err != nil {
		t.Fatal(err)
	}
	constant, slope, ephemeral := r.scalar(t, 0), r.scalar(t, 1), r.scalar(t, 2)
	share := evaluate([]*edwards25519.Scalar{constant, slope}, Agent)
	commitment := [][]byte{b[:pointSize], b[pointSize : 2*pointSize]}
	plaintext := change(commitment, share)
	ephemeralKey := encodePoint(basePoint(ephemeral))
	proof, err := schnorrSign(constant, as.proofMessage(b[:2*pointSize], ephemeralKey))
	if err != nil {
		t.Fatal(err)
	}
	copy(b[2*pointSize:], proof[:])
	key := sealing{
		prefix:        keyGenerationPrefix,
		fromEphemeral: new(edwards25519.Point).ScalarMult(ephemeral, c.points[0]),
		fromStatic:    new(edwards25519.Point).ScalarMult(static.secret, c.points[0]),
		ephemeralKey:  ephemeralKey, sender: c.statics[1], recipient: c.statics[0], context: c.context[:],
	}
	copy(b[2*pointSize+signatureSize+pointSize+framePrefixSize:], key.seal(plaintext))
	return b
}

// TestRound2Refuses is the agent against relay and co-signer.
func TestRound2Refuses(t *testing.T) {
	const (
		proofAt     = 2 * pointSize
		ephemeralAt = proofAt + signatureSize
		sealedAt    = ephemeralAt + pointSize + framePrefixSize
	)
	keys := statics(t, 2)
	parties, replayed := begin(t, "an earlier one", keys)
	parties[0].run.Zero()
	swapped := statics(t, 2)
	_, ofOthers := begin(t, "good", swapped)
	edit := func(b []byte, at int, with []byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], with)
		return b
	}
	other := encodePoint(basePoint(random(t)))
	l := []byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}

	for _, tt := range []struct {
		name    string
		change  func(c *ceremony, own, theirs []byte) [][]byte
		want    error
		culprit Identifier
	}{
		{"messages in another order", func(_ *ceremony, own, theirs []byte) [][]byte { return [][]byte{theirs, own} }, ErrReplay, Relay},
		{"own message altered", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{edit(own, len(own)-1, []byte{own[len(own)-1] ^ 1}), theirs}
		}, ErrReplay, Relay},
		{
			"own message of an earlier run", func(_ *ceremony, _, theirs []byte) [][]byte { return [][]byte{replayed[0], theirs} },
			ErrReplay, Relay,
		},
		{"own message twice", func(_ *ceremony, own, _ []byte) [][]byte { return [][]byte{own, own} }, ErrReplay, CoSigner},
		{"their message of an earlier run", func(_ *ceremony, own, _ []byte) [][]byte { return [][]byte{own, replayed[1]} }, ErrProof, CoSigner},
		{
			"their message of a run between others", func(_ *ceremony, own, _ []byte) [][]byte { return [][]byte{own, ofOthers[1]} },
			ErrProof, CoSigner,
		},
		{"their message with the own ciphertexts", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, sealedAt, own[sealedAt:])}
		}, ErrDecryption, CoSigner},
		{"ciphertext altered", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, sealedAt+5, []byte{theirs[sealedAt+5] ^ 1})}
		}, ErrDecryption, CoSigner},
		{"ciphertexts exchanged", func(_ *ceremony, own, theirs []byte) [][]byte {
			next := sealedAt + ciphertextSizeMin + framePrefixSize
			b := edit(theirs, sealedAt, theirs[next:next+ciphertextSizeMin])
			return [][]byte{own, edit(b, next, theirs[sealedAt:sealedAt+ciphertextSizeMin])}
		}, ErrDecryption, CoSigner},
		{"frame length altered", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, sealedAt-1, []byte{theirs[sealedAt-1] + 1})}
		}, ErrEncoding, CoSigner},
		{"ephemeral key replaced", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, ephemeralAt, other[:])}
		}, ErrProof, CoSigner},
		{"ephemeral key with torsion", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, ephemeralAt, twisted(t, theirs[ephemeralAt:ephemeralAt+pointSize]))}
		}, ErrEncoding, CoSigner},
		{
			"constant term replaced", func(_ *ceremony, own, theirs []byte) [][]byte { return [][]byte{own, edit(theirs, 0, other[:])} },
			ErrProof, CoSigner,
		},
		{"slope replaced", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, pointSize, other[:])}
		}, ErrProof, CoSigner},
		{"constant term the identity", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, 0, edwards25519.NewIdentityPoint().Bytes())}
		}, ErrEncoding, CoSigner},
		{"proof's R with torsion", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, edit(theirs, proofAt, twisted(t, theirs[proofAt:proofAt+pointSize]))}
		}, ErrProof, CoSigner},
		{"rogue key", func(_ *ceremony, own, theirs []byte) [][]byte {
			// A chosen key less the agent's contribution: the group key would be the chosen one.
			mine, err := decodePoint(own[:pointSize])
			if err != nil {
				t.Fatal(err)
			}
			rogue := new(edwards25519.Point).Subtract(basePoint(random(t)), mine)
			return [][]byte{own, edit(theirs, 0, rogue.Bytes())}
		}, ErrProof, CoSigner},
		{"a third coefficient", func(_ *ceremony, own, theirs []byte) [][]byte {
			return [][]byte{own, slices.Concat(theirs[:proofAt], other[:], theirs[proofAt:])}
		}, ErrEncoding, CoSigner},
		{
			"a coefficient less", func(_ *ceremony, own, theirs []byte) [][]byte { return [][]byte{own, theirs[pointSize:]} },
			ErrEncoding, CoSigner,
		},
		{"truncated", func(_ *ceremony, own, theirs []byte) [][]byte { return [][]byte{own, theirs[:len(theirs)-1]} }, ErrEncoding, CoSigner},
		{
			"a byte more", func(_ *ceremony, own, theirs []byte) [][]byte { return [][]byte{own, append(bytes.Clone(theirs), 0)} },
			ErrEncoding, CoSigner,
		},
		{"empty", func(_ *ceremony, own, _ []byte) [][]byte { return [][]byte{own, nil} }, ErrEncoding, CoSigner},
		{"torsion in the slope, proof and share made for it", func(c *ceremony, own, _ []byte) [][]byte {
			return [][]byte{own, forge(t, c, keys[1], func(commitment [][]byte, share *edwards25519.Scalar) []byte {
				copy(commitment[1], twisted(t, commitment[1]))
				return share.Bytes()
			})}
		}, ErrEncoding, CoSigner},
		{"a share of another polynomial", func(c *ceremony, own, _ []byte) [][]byte {
			return [][]byte{own, forge(t, c, keys[1], func(_ [][]byte, share *edwards25519.Scalar) []byte {
				return share.Add(share, Identifier(1).scalar()).Bytes()
			})}
		}, ErrShare, CoSigner},
		{"a share of L", func(c *ceremony, own, _ []byte) [][]byte {
			return [][]byte{own, forge(t, c, keys[1], func([][]byte, *edwards25519.Scalar) []byte { return l })}
		}, ErrEncoding, CoSigner},
		{"one message", func(_ *ceremony, own, _ []byte) [][]byte { return [][]byte{own} }, ErrParameter, 0},
		{"three messages", func(_ *ceremony, own, theirs []byte) [][]byte { return [][]byte{own, theirs, theirs} }, ErrParameter, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parties, messages := begin(t, "good", keys)
			agent := parties[0].run
			certificate, err := agent.Round2(tt.change(ceremonyOf(agent), messages[0], messages[1]))
			if !errors.Is(err, tt.want) {
				t.Fatalf("Round2 = %v, want %v", err, tt.want)
			}
			var culprit *CulpritError
			if errors.As(err, &culprit) && culprit.Culprit != tt.culprit {
				t.Errorf("Round2 blames the %s, want the %s", culprit.Culprit, tt.culprit)
			}
			if culprit == nil && tt.want != ErrParameter {
				t.Errorf("Round2 = %v, want a CulpritError", err)
			}
			if certificate != [64]byte{} {
				t.Error("a certificate came with the error")
			}
			// The run has ended.
			if _, err := agent.Round2(messages); !errors.Is(err, ErrStage) {
				t.Errorf("Round2 after a refusal = %v, want ErrStage", err)
			}
			if agent.Secret() != nil || agent.Round1() != nil || agent.static.Equal(new(edwards25519.Scalar)) != 1 {
				t.Error("the ended run has state")
			}
		})
	}

	// forge itself makes messages that pass when nothing is changed.
	parties, messages := begin(t, "good", keys)
	honest := forge(t, ceremonyOf(parties[0].run), keys[1], func(_ [][]byte, share *edwards25519.Scalar) []byte { return share.Bytes() })
	if _, err := parties[0].run.Round2([][]byte{messages[0], honest}); err != nil {
		t.Errorf("Round2 with an unchanged message: %v", err)
	}
}

// TestSplitView: the relay shows the two sides different messages of one participant. Both pass round 2; no certificate
// does.
func TestSplitView(t *testing.T) {
	keys := statics(t, 2)
	parties, messages := begin(t, "split", keys)
	second, err := NewKeyGeneration(CoSigner, keys[1], newRun("split", keys)) // the co-signer, run twice
	if err != nil {
		t.Fatal(err)
	}
	fromAgent, err := parties[0].run.Round2([][]byte{messages[0], second.Round1()})
	if err != nil {
		t.Fatal(err)
	}
	fromCoSigner, err := parties[1].run.Round2(messages)
	if err != nil {
		t.Fatal(err)
	}
	for k, blamed := range []Identifier{CoSigner, Agent} {
		_, err := parties[k].run.Finish([][64]byte{fromAgent, fromCoSigner})
		var culprit *CulpritError
		if !errors.Is(err, ErrCertificate) || !errors.As(err, &culprit) || culprit.Culprit != blamed {
			t.Errorf("Finish of %s = %v, want ErrCertificate naming the %s", Identifier(k+1), err, blamed)
		}
	}
	// With the certificate of the run it saw, the agent finishes: a refusal costs nothing.
	right, err := second.Round2([][]byte{messages[0], second.Round1()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parties[0].run.Finish([][64]byte{fromAgent, right}); err != nil {
		t.Errorf("Finish after a refusal: %v", err)
	}
}

func TestFinishRefusesCertificates(t *testing.T) {
	keys := statics(t, 2)
	parties, messages := begin(t, "certificates", keys)
	all := certificates(t, parties, messages)
	earlier, earlierMessages := begin(t, "earlier certificates", keys)
	replayed := certificates(t, earlier, earlierMessages)
	flipped := all[1]
	flipped[50] ^= 1
	for _, tt := range []struct {
		name    string
		given   [][64]byte
		want    error
		culprit Identifier
	}{
		{"exchanged", [][64]byte{all[1], all[0]}, ErrReplay, Relay},
		{"own twice", [][64]byte{all[0], all[0]}, ErrCertificate, CoSigner},
		{"altered", [][64]byte{all[0], flipped}, ErrCertificate, CoSigner},
		{"of an earlier run", [][64]byte{all[0], replayed[1]}, ErrCertificate, CoSigner},
		{"none", [][64]byte{all[0], {}}, ErrCertificate, CoSigner},
		{"too few", all[:1], ErrParameter, 0},
		{"too many", append(slices.Clone(all), all[1]), ErrParameter, 0},
	} {
		share, err := parties[0].run.Finish(tt.given)
		var culprit *CulpritError
		if !errors.Is(err, tt.want) || share != nil || errors.As(err, &culprit) && culprit.Culprit != tt.culprit {
			t.Errorf("%s: Finish = %v, want %v naming the %s", tt.name, err, tt.want, tt.culprit)
		}
	}
	first, err := parties[0].run.Finish(all)
	if err != nil {
		t.Fatalf("Finish after refusals: %v", err)
	}
	second, err := parties[0].run.Finish(all)
	if err != nil || !bytes.Equal(first.Secret(), second.Secret()) {
		t.Errorf("Finish again gives another share (%v)", err)
	}
	second.Zero()
	parties[0].run.Zero()
	if first.usable() != nil {
		t.Error("erasing the run erased the share that Finish returned")
	}
}

func TestStages(t *testing.T) {
	keys := statics(t, 2)
	parties, messages := begin(t, "stages", keys)
	run := parties[0].run
	if _, err := run.Finish(make([][64]byte, 2)); !errors.Is(err, ErrStage) {
		t.Errorf("Finish before Round2 = %v, want ErrStage", err)
	}
	if _, err := run.GroupKey(); !errors.Is(err, ErrStage) {
		t.Errorf("GroupKey before Round2 = %v, want ErrStage", err)
	}
	if _, err := run.TranscriptDigest(); !errors.Is(err, ErrStage) {
		t.Errorf("TranscriptDigest before Round2 = %v, want ErrStage", err)
	}
	certificate, err := run.Round2(messages)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := run.Round2(messages); err != nil || again != certificate {
		t.Errorf("Round2 again = %x, %v, want %x", again, err, certificate)
	}
	second, err := NewKeyGeneration(CoSigner, keys[1], newRun("stages", keys))
	if err != nil {
		t.Fatal(err)
	}
	others := [][]byte{messages[0], second.Round1()}
	if _, err := run.Round2(others); !errors.Is(err, ErrStage) {
		t.Errorf("Round2 with other messages = %v, want ErrStage", err)
	}
	// Nor after a restart from the sealed state.
	restored, err := ParseKeyGeneration(run.Secret())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restored.Round2(others); !errors.Is(err, ErrStage) {
		t.Errorf("Round2 with other messages after a restart = %v, want ErrStage", err)
	}
	if again, err := restored.Round2(messages); err != nil || again != certificate {
		t.Errorf("Round2 after a restart = %x, %v, want %x", again, err, certificate)
	}
	run.Zero()
	if _, err := run.Finish(make([][64]byte, 2)); !errors.Is(err, ErrStage) {
		t.Errorf("Finish after Zero = %v, want ErrStage", err)
	}
}

func TestNewKeyGenerationRefuses(t *testing.T) {
	keys := statics(t, 3)
	good := newRun("parameters", keys[:2])
	with := func(change func(*Run)) Run {
		run := good
		run.StaticKeys = slices.Clone(good.StaticKeys)
		change(&run)
		return run
	}
	erased := statics(t, 1)[0]
	erased.Zero()
	for _, tt := range []struct {
		name   string
		self   Identifier
		static *StaticKey
		run    Run
		want   error
	}{
		{"identifier 0", 0, keys[0], good, ErrParameter},
		{"identifier out of range", 3, keys[2], good, ErrParameter},
		{"another's place", CoSigner, keys[0], good, ErrParameter},
		{"no static key", Agent, nil, good, ErrErased},
		{"erased static key", Agent, erased, good, ErrErased},
		{"threshold 1", Agent, keys[0], with(func(r *Run) { r.Threshold = 1 }), ErrParameter},
		{"threshold 3", Agent, keys[0], with(func(r *Run) { r.Threshold = 3 }), ErrParameter},
		{"one participant", Agent, keys[0], with(func(r *Run) { r.StaticKeys = r.StaticKeys[:1] }), ErrParameter},
		{"four participants", Agent, keys[0], newRun("parameters", append(slices.Clone(keys), statics(t, 1)...)), ErrParameter},
		{"one key twice", Agent, keys[0], with(func(r *Run) { r.StaticKeys[1] = r.StaticKeys[0] }), ErrParameter},
		{"static key the identity", Agent, keys[0], with(func(r *Run) { r.StaticKeys[1] = [32]byte{1} }), ErrEncoding},
		{"static key with torsion", Agent, keys[0], with(func(r *Run) {
			r.StaticKeys[1] = [32]byte(twisted(t, r.StaticKeys[1][:]))
		}), ErrEncoding},
		{"no session", Agent, keys[0], with(func(r *Run) { r.Session = nil }), ErrParameter},
		{"short session", Agent, keys[0], with(func(r *Run) { r.Session = make([]byte, SessionSizeMin-1) }), ErrParameter},
		{"long session", Agent, keys[0], with(func(r *Run) { r.Session = make([]byte, SessionSizeMax+1) }), ErrParameter},
	} {
		if _, err := NewKeyGeneration(tt.self, tt.static, tt.run); !errors.Is(err, tt.want) {
			t.Errorf("%s: NewKeyGeneration = %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := newKeyGeneration(io.LimitReader(rand.Reader, 100), Agent, keys[0], good); err == nil {
		t.Error("NewKeyGeneration goes on when randomness ends")
	}
}

// TestStateRoundTrip seals and restores both sides between all calls.
func TestStateRoundTrip(t *testing.T) {
	reopen := func(k *KeyGeneration) *KeyGeneration {
		t.Helper()
		b := k.Secret()
		restored, err := ParseKeyGeneration(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(restored.Secret(), b) {
			t.Error("the restored state encodes otherwise")
		}
		if !bytes.Equal(restored.Round1(), k.Round1()) {
			t.Error("the restored state sends another message")
		}
		return restored
	}
	parties, messages := begin(t, "state", statics(t, 3))
	for k := range parties {
		parties[k].run = reopen(parties[k].run)
	}
	all := certificates(t, parties, messages)
	for k := range parties {
		original, err := parties[k].run.Finish(all)
		if err != nil {
			t.Fatal(err)
		}
		restored, err := reopen(parties[k].run).Finish(all)
		if err != nil || !bytes.Equal(original.Secret(), restored.Secret()) {
			t.Errorf("share after a restart differs (%v)", err)
		}
	}
}

// TestParseKeyGenerationRefuses: each prefix, a byte more, and each flipped bit that the state can know of. Ciphertexts to others are
// the exception: only their recipients can open them.
func TestParseKeyGenerationRefuses(t *testing.T) {
	parties, messages := begin(t, "damage", statics(t, 2))
	drawn := parties[0].run.Secret()
	certificates(t, parties, messages)
	certified := parties[0].run.Secret()
	messageSize := ceremonyOf(parties[0].run).messageSize()
	for _, tt := range []struct {
		name string
		b    []byte
		own  int // how many bytes at the end are ciphertexts for others
	}{
		{"drawn", drawn, framePrefixSize + ciphertextSizeMin},
		{"certified", certified, messageSize + framePrefixSize + ciphertextSizeMin},
	} {
		for k := range tt.b {
			if _, err := ParseKeyGeneration(tt.b[:k]); !errors.Is(err, ErrEncoding) {
				t.Fatalf("%s: %d of %d bytes: %v, want ErrEncoding", tt.name, k, len(tt.b), err)
			}
		}
		if _, err := ParseKeyGeneration(append(bytes.Clone(tt.b), 0)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: a byte more: %v, want ErrEncoding", tt.name, err)
		}
		for k := range len(tt.b) - tt.own {
			b := bytes.Clone(tt.b)
			b[k] ^= 1 << (k % 8)
			if _, err := ParseKeyGeneration(b); !errors.Is(err, ErrEncoding) {
				t.Errorf("%s: bit flipped in byte %d: %v, want ErrEncoding", tt.name, k, err)
			}
		}
	}
	if _, err := ParseKeyGeneration(deal(t, 2, 1)[0].Secret()); !errors.Is(err, ErrEncoding) {
		t.Errorf("a key share: %v, want ErrEncoding", err)
	}
}
