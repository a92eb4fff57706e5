package frost

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

// Attacks on key generation by a participant, on each side, in a wallet of two and of three. The attacker sees everybody's
// message before it makes its own, and all of its message is right but what the attack needs to be wrong: framing, proof,
// ciphertext and share, wherever it can make them so.

// attempt is one key generation with an attacker in it.
type attempt struct {
	attacker, victim Identifier
	static           *StaticKey // the attacker's
	parties          []party
	messages         [][]byte
	c                *ceremony // the attacker's
}

func newAttempt(t testing.TB, session string, keys []*StaticKey, attacker, victim Identifier) *attempt {
	t.Helper()
	parties, messages := begin(t, session, keys)
	return &attempt{attacker, victim, keys[attacker-1], parties, messages, ceremonyOf(parties[attacker-1].run)}
}

// proves makes the attacker's proof of possession over what it claims.
type proves func(claimed []byte) [signatureSize]byte

// craft makes the attacker's message: these commitments, whatever proof it has, and this share for the victim, sealed. The
// ciphertexts for others are noise, which only they can see.
func (a *attempt) craft(
	t testing.TB, commitment []*edwards25519.Point, ephemeral *edwards25519.Scalar, proof proves, share *edwards25519.Scalar,
) []byte {
	t.Helper()
	var b []byte
	for _, p := range commitment {
		b = append(b, p.Bytes()...)
	}
	ephemeralKey := encodePoint(basePoint(ephemeral))
	signature := proof(a.c.proofMessage(b, ephemeralKey))
	b = append(b, signature[:]...)
	b = append(b, ephemeralKey[:]...)
	for k := range a.c.n() {
		sealed := make([]byte, a.c.ciphertextSize())
		_, _ = rand.Read(sealed)
		if Identifier(k+1) == a.victim {
			key := sealing{
				prefix:        keyGenerationPrefix,
				fromEphemeral: new(edwards25519.Point).ScalarMult(ephemeral, a.c.points[k]),
				fromStatic:    new(edwards25519.Point).ScalarMult(a.static.secret, a.c.points[k]),
				ephemeralKey:  ephemeralKey, sender: a.c.statics[a.attacker-1], recipient: a.c.statics[k], context: a.c.context[:],
			}
			sealed = key.seal(share.Bytes())
		}
		b = binary.BigEndian.AppendUint64(b, uint64(len(sealed)))
		b = append(b, sealed...)
	}
	return b
}

// signs is an honest proof for a constant term.
func signs(t testing.TB, secret *edwards25519.Scalar) proves {
	return func(claimed []byte) [signatureSize]byte {
		signature, err := schnorrSign(secret, claimed)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
}

// proofOf replays the proof in a participant's message.
func (a *attempt) proofOf(id Identifier) proves {
	return func([]byte) [signatureSize]byte { return [signatureSize]byte(a.messages[id-1][2*pointSize:]) }
}

// deliver shows the victim the attacker's message in place of the honest one.
func (a *attempt) deliver(message []byte) (*KeyGeneration, error) {
	messages := slices.Clone(a.messages)
	messages[a.attacker-1] = message
	run := a.parties[a.victim-1].run
	_, err := run.Round2(messages)
	return run, err
}

// others is the sum of the constant terms of all but the attacker.
func (a *attempt) others(t testing.TB) *edwards25519.Point {
	t.Helper()
	sum := edwards25519.NewIdentityPoint()
	for k, m := range a.messages {
		if Identifier(k+1) != a.attacker {
			p, err := decodePoint(m[:pointSize])
			if err != nil {
				t.Fatal(err)
			}
			sum.Add(sum, p)
		}
	}
	return sum
}

// everySide runs an attack for every attacker and victim of a wallet of two and of three.
func everySide(t *testing.T, attack func(t *testing.T, keys []*StaticKey, attacker, victim Identifier)) {
	for n := participantsMin; n <= participantsMax; n++ {
		keys := statics(t, n)
		for attacker := Identifier(1); int(attacker) <= n; attacker++ {
			for victim := Identifier(1); int(victim) <= n; victim++ {
				if attacker != victim {
					t.Run(fmt.Sprintf("the %s on the %s, of %d", attacker, victim, n), func(t *testing.T) {
						attack(t, keys, attacker, victim)
					})
				}
			}
		}
	}
}

func wantBlame(t *testing.T, err, want error, culprit Identifier) {
	t.Helper()
	var blamed *CulpritError
	if !errors.Is(err, want) || !errors.As(err, &blamed) || blamed.Culprit != culprit {
		t.Errorf("%v, want %v naming the %s", err, want, culprit)
	}
}

// TestRogueKey: the attacker wants the group key to be one whose secret it has chosen, and sends a constant term of this key
// less those of the others. It does not know that term's secret; but the victim checks its share at one place, and through
// a value at one place there is a slope, so everything but the proof of possession comes out right.
func TestRogueKey(t *testing.T) {
	everySide(t, func(t *testing.T, keys []*StaticKey, attacker, victim Identifier) {
		chosen, share := random(t), random(t)
		for _, tt := range []struct {
			name  string
			proof func(*attempt) proves
		}{
			{"a proof for the chosen key", func(*attempt) proves { return signs(t, chosen) }},
			{"the proof of its own honest message", func(a *attempt) proves { return a.proofOf(attacker) }},
			{"the victim's proof", func(a *attempt) proves { return a.proofOf(victim) }},
		} {
			a := newAttempt(t, "rogue", keys, attacker, victim)
			constant := new(edwards25519.Point).Subtract(basePoint(chosen), a.others(t))
			slope := new(edwards25519.Point).Subtract(basePoint(share), constant)
			slope.ScalarMult(new(edwards25519.Scalar).Invert(victim.scalar()), slope)
			run, err := a.deliver(a.craft(t, []*edwards25519.Point{constant, slope}, random(t), tt.proof(a), share))
			if err == nil {
				key, _ := run.GroupKey()
				t.Errorf("%s: accepted; the group key is the attacker's: %v", tt.name, key == encodePoint(basePoint(chosen)))
				continue
			}
			wantBlame(t, err, ErrProof, attacker)
		}
	})
}

// TestProofOfAnotherRun: a proof is worth nothing outside the run it was made for. The attacker keeps commitment, ephemeral
// key and proof of an earlier run, and seals its share anew; only what the proof is bound to is then wrong.
func TestProofOfAnotherRun(t *testing.T) {
	everySide(t, func(t *testing.T, keys []*StaticKey, attacker, victim Identifier) {
		constant, slope, ephemeral := random(t), random(t), random(t)
		share := evaluate([]*edwards25519.Scalar{constant, slope}, victim)
		commitment := []*edwards25519.Point{basePoint(constant), basePoint(slope)}

		for _, tt := range []struct {
			name    string
			session string
			keys    []*StaticKey
			valid   bool
		}{
			{"this run", "now", keys, true},
			{"another session", "an earlier one", keys, false},
			{"other static keys", "now", statics(t, len(keys)), false},
		} {
			earlier := newAttempt(t, tt.session, tt.keys, attacker, victim)
			old := earlier.craft(t, commitment, ephemeral, signs(t, constant), share)
			proof := [signatureSize]byte(old[2*pointSize:])

			a := newAttempt(t, "now", keys, attacker, victim)
			_, err := a.deliver(a.craft(t, commitment, ephemeral, func([]byte) [signatureSize]byte { return proof }, share))
			if !tt.valid {
				wantBlame(t, err, ErrProof, attacker)
			} else if err != nil {
				t.Errorf("%s: %v; the attacks show nothing", tt.name, err)
			}
		}
	})
}

// TestThresholdIsFixed: a polynomial of another degree than the one agreed on. With one coefficient more, no two participants
// would ever sign (and nobody would notice before the key is funded); with one less, each share is the key.
func TestThresholdIsFixed(t *testing.T) {
	everySide(t, func(t *testing.T, keys []*StaticKey, attacker, victim Identifier) {
		for _, coefficients := range []int{0, 1, 3, 4} {
			a := newAttempt(t, "degree", keys, attacker, victim)
			var secrets []*edwards25519.Scalar
			var commitment []*edwards25519.Point
			for range coefficients {
				secrets = append(secrets, random(t))
				commitment = append(commitment, basePoint(secrets[len(secrets)-1]))
			}
			proof := func([]byte) (none [signatureSize]byte) { return none }
			if coefficients > 0 {
				proof = signs(t, secrets[0])
			}
			_, err := a.deliver(a.craft(t, commitment, random(t), proof, evaluate(secrets, victim)))
			wantBlame(t, err, ErrEncoding, attacker)
		}

		// The right length, and a last coefficient of zero: a constant polynomial in the form of a line.
		constant := random(t)
		a := newAttempt(t, "degree", keys, attacker, victim)
		_, err := a.deliver(a.craft(t, []*edwards25519.Point{basePoint(constant), edwards25519.NewIdentityPoint()}, random(t),
			signs(t, constant), constant))
		wantBlame(t, err, ErrEncoding, attacker)

		// A slope that cancels the victim's, so that in a wallet of two the sum is constant and each share is the key. The attacker
		// would have to know the victim's slope to give it a share that fits; it gives what it can.
		a = newAttempt(t, "degree", keys, attacker, victim)
		theirs, err := decodePoint(a.messages[victim-1][pointSize : 2*pointSize])
		if err != nil {
			t.Fatal(err)
		}
		cancels := new(edwards25519.Point).Negate(theirs)
		_, err = a.deliver(a.craft(t, []*edwards25519.Point{basePoint(constant), cancels}, random(t), signs(t, constant), constant))
		wantBlame(t, err, ErrShare, attacker)
	})
}

// TestCopyOfAThird: one participant sends another's message as its own. Whoever sees both names who has copied, on whichever
// side the copy stands, and not whom it is from.
func TestCopyOfAThird(t *testing.T) {
	keys := statics(t, 3)
	for _, victim := range []Identifier{Agent, CoSigner, Recovery} {
		for _, copier := range []Identifier{Agent, CoSigner, Recovery} {
			if copier == victim {
				continue
			}
			original := 1 + 2 + 3 - copier - victim
			a := newAttempt(t, "copy", keys, copier, victim)
			_, err := a.deliver(a.messages[original-1])
			wantBlame(t, err, ErrDecryption, copier)
			a = newAttempt(t, "copy", keys, copier, victim)
			_, err = a.deliver(a.messages[victim-1])
			wantBlame(t, err, ErrReplay, copier)
		}
	}
}

// TestShareOfNothing: who speaks last has what the others gave it, and can choose a polynomial by which its own share is zero.
// The others would sign alone with it: a public share that is the identity says that the share is known to all.
func TestShareOfNothing(t *testing.T) {
	everySide(t, func(t *testing.T, keys []*StaticKey, attacker, victim Identifier) {
		a := newAttempt(t, "nothing", keys, attacker, victim)
		given := new(edwards25519.Scalar)
		for k := range a.messages {
			if from := Identifier(k + 1); from != attacker {
				m, err := a.c.parse(k, a.messages[k])
				if err != nil {
					t.Fatal(err)
				}
				value, err := a.c.open(from, m)
				if err != nil {
					t.Fatal(err)
				}
				given.Add(given, value)
			}
		}
		constant := random(t)
		slope := new(edwards25519.Scalar).Add(constant, given)
		slope.Multiply(slope.Negate(slope), new(edwards25519.Scalar).Invert(attacker.scalar()))
		line := []*edwards25519.Scalar{constant, slope}
		if new(edwards25519.Scalar).Add(evaluate(line, attacker), given).Equal(new(edwards25519.Scalar)) != 1 {
			t.Fatal("the attacker's share is not zero")
		}
		_, err := a.deliver(a.craft(t, []*edwards25519.Point{basePoint(constant), basePoint(slope)}, random(t), signs(t, constant),
			evaluate(line, victim)))
		var blamed *CulpritError
		if named := errors.As(err, &blamed); !errors.Is(err, ErrEncoding) || named != (len(keys) == 2) || named && blamed.Culprit != attacker {
			t.Errorf("%v, want ErrEncoding, of two naming the %s", err, attacker)
		}
	})
}

// TestTorsionThatTheVictimCannotSee: a commitment with torsion in it fails the victim's check of its share, unless it was
// placed so that it vanishes at the victim's identifier. In the constant term it would go into the group key.
func TestTorsionThatTheVictimCannotSee(t *testing.T) {
	everySide(t, func(t *testing.T, keys []*StaticKey, attacker, victim Identifier) {
		constant, slope := random(t), random(t)
		share := evaluate([]*edwards25519.Scalar{constant, slope}, victim)
		// With T in the slope and -x·T in the constant term, nothing of it is left at the victim's x.
		eighth := torsion(t)
		inConstant := edwards25519.NewIdentityPoint()
		for range victim {
			inConstant.Subtract(inConstant, eighth)
		}
		commitment := []*edwards25519.Point{
			new(edwards25519.Point).Add(basePoint(constant), inConstant),
			new(edwards25519.Point).Add(basePoint(slope), eighth),
		}
		if evaluateCommitment(commitment, victim).Equal(basePoint(share)) != 1 {
			t.Fatal("the torsion does not vanish at the victim")
		}
		// A proof under a key with torsion verifies if the challenge cancels it: one in eight does.
		key := encodePoint(commitment[0])
		ground := func(claimed []byte) (signature [signatureSize]byte) {
			for {
				nonce := random(t)
				r := encodePoint(basePoint(nonce))
				c := schnorrChallenge(r, key, claimed)
				if c.Bytes()[0]%8 == 0 {
					copy(signature[:], r[:])
					copy(signature[pointSize:], new(edwards25519.Scalar).MultiplyAdd(c, constant, nonce).Bytes())
					return signature
				}
			}
		}
		a := newAttempt(t, "torsion", keys, attacker, victim)
		run, err := a.deliver(a.craft(t, commitment, random(t), ground, share))
		if err == nil {
			key, _ := run.GroupKey()
			t.Fatalf("accepted; the group key is of order %s", order(t, key[:]))
		}
		wantBlame(t, err, ErrEncoding, attacker)
	})
}

// TestOneViewOfStaticKeys: the relay tells agent and co-signer different static keys of the recovery share, one of them its
// own, so that what the one seals for the owner the other never hears of. Neither gets as far as a certificate.
func TestOneViewOfStaticKeys(t *testing.T) {
	keys, relays := statics(t, 3), statics(t, 1)
	views := [2][]*StaticKey{keys, {keys[0], keys[1], relays[0]}}

	t.Run("key generation", func(t *testing.T) {
		agent, messages := begin(t, "views", views[0])
		_, others := begin(t, "views", views[1])
		_, err := agent[0].run.Round2([][]byte{messages[0], others[1], messages[2]})
		wantBlame(t, err, ErrProof, CoSigner)
	})
	t.Run("resharing", func(t *testing.T) {
		old := deal(t, 2, 1)
		var runs [2]*Reshare
		for k := range runs {
			r := Resharing{Session: []byte("session of two views"), Old: old[0].Sharing(), Dealers: [2]Identifier{Agent, CoSigner}}
			for _, static := range views[k] {
				r.StaticKeys = append(r.StaticKeys, static.Public())
			}
			var err error
			if runs[k], err = NewReshare(Identifier(k+1), keys[k], old[k], r); err != nil {
				t.Fatal(err)
			}
		}
		deals := [2][]byte{runs[0].Deal(), runs[1].Deal()}
		for k, blamed := range []Identifier{CoSigner, Agent} {
			_, err := runs[k].Accept(deals)
			wantBlame(t, err, ErrDecryption, blamed)
		}
	})
}
