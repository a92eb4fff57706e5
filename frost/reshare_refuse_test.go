package frost

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

// forgeDealing makes a dealing from parts, as a dealer can who does not keep to the protocol.
func forgeDealing(t testing.TB, r Resharing, from Identifier, static *StaticKey, slope []byte, values [][]byte) []byte {
	t.Helper()
	a, err := newAgreement(from, static, r)
	if err != nil {
		t.Fatal(err)
	}
	ephemeral := random(t)
	ephemeralKey := encodePoint(basePoint(ephemeral))
	b := slices.Concat([]byte{byte(len(suiteResharing))}, []byte(suiteResharing), []byte{0, byte(from)}, slope, ephemeralKey[:])
	header := bytes.Clone(b)
	for k, value := range values {
		b = append(b, sealing{
			prefix:        resharingPrefix,
			fromEphemeral: new(edwards25519.Point).ScalarMult(ephemeral, a.points[k]),
			fromStatic:    new(edwards25519.Point).ScalarMult(static.secret, a.points[k]),
			ephemeralKey:  ephemeralKey, sender: static.public, recipient: a.statics[k], context: slices.Concat(a.context[:], header),
		}.seal(value)...)
	}
	return b
}

// forgeLine makes a dealing of any line, with its values as they should be.
func forgeLine(t testing.TB, r Resharing, from Identifier, static *StaticKey, constant, slope *edwards25519.Scalar) []byte {
	t.Helper()
	var values [][]byte
	for k := range r.StaticKeys {
		values = append(values, evaluate([]*edwards25519.Scalar{constant, slope}, Identifier(k+1)).Bytes())
	}
	return forgeDealing(t, r, from, static, basePoint(slope).Bytes(), values)
}

const (
	slopeAt     = dealingHeader - 2*pointSize
	ephemeralAt = dealingHeader - pointSize
	valuesAt    = dealingHeader
)

// TestAcceptRefuses is the agent against relay and co-signer.
func TestAcceptRefuses(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	old := dealFrom(t, coefficients, 2, 4)
	keys := statics(t, 2)
	both := [2]Identifier{Agent, CoSigner}
	r := newResharing("good", old[0].Sharing(), both, keys)
	_, replayed := beginReshare(t, newResharing("an earlier one", old[0].Sharing(), both, keys), old, keys)
	// The same key in its next epoch, under the same session and static keys.
	next := reshare(t, "next", old, both, 2)
	_, ofNext := beginReshare(t, newResharing("good", next[0].Sharing(), both, keys), next, keys)
	// Another wallet's key, likewise.
	foreign := deal(t, 2, 4)
	_, ofForeign := beginReshare(t, newResharing("good", foreign[0].Sharing(), both, keys), foreign, keys)
	otherKeys := statics(t, 2)
	_, ofOthers := beginReshare(t, newResharing("good", old[0].Sharing(), both, otherKeys), old, otherKeys)

	edit := func(b []byte, at int, with []byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], with)
		return b
	}
	flip := func(b []byte, at int) []byte { return edit(b, at, []byte{b[at] ^ 1}) }
	other := encodePoint(basePoint(random(t)))
	constant := new(edwards25519.Scalar).Multiply(lambda(CoSigner, Agent), old[1].secret)
	l := []byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}
	// What the agent draws, which no co-signer knows.
	agent, err := newAgreement(Agent, keys[0], r)
	if err != nil {
		t.Fatal(err)
	}
	drawn, _, err := drawLine(stuck{}, old[0].secret, agent.context)
	if err != nil {
		t.Fatal(err)
	}
	theirsOf := func(change func(own, theirs []byte) []byte) func(own, theirs []byte) [2][]byte {
		return func(own, theirs []byte) [2][]byte { return [2][]byte{own, change(own, theirs)} }
	}
	for _, tt := range []struct {
		name    string
		change  func(own, theirs []byte) [2][]byte
		want    error
		culprit Identifier
	}{
		{"dealings in another order", func(own, theirs []byte) [2][]byte { return [2][]byte{theirs, own} }, ErrReplay, Relay},
		{"own dealing altered", func(own, theirs []byte) [2][]byte { return [2][]byte{flip(own, len(own)-1), theirs} }, ErrReplay, Relay},
		{"own dealing of an earlier run", func(_, theirs []byte) [2][]byte { return [2][]byte{replayed[0], theirs} }, ErrReplay, Relay},
		{"own dealing missing", func(_, theirs []byte) [2][]byte { return [2][]byte{nil, theirs} }, ErrReplay, Relay},
		{"own dealing twice", theirsOf(func(own, _ []byte) []byte { return own }), ErrReplay, CoSigner},
		{"own dealing under their name", theirsOf(func(own, _ []byte) []byte {
			return edit(own, slopeAt-1, []byte{byte(CoSigner)})
		}), ErrReplay, CoSigner},
		{"of an earlier run", theirsOf(func(_, _ []byte) []byte { return replayed[1] }), ErrDecryption, CoSigner},
		{"of another epoch", theirsOf(func(_, _ []byte) []byte { return ofNext[1] }), ErrDecryption, CoSigner},
		{"of another key", theirsOf(func(_, _ []byte) []byte { return ofForeign[1] }), ErrDecryption, CoSigner},
		{"of a run between others", theirsOf(func(_, _ []byte) []byte { return ofOthers[1] }), ErrDecryption, CoSigner},
		{"of a key generation", theirsOf(func(_, _ []byte) []byte {
			_, messages := begin(t, "good", keys)
			return messages[1]
		}), ErrEncoding, CoSigner},
		{"value altered", theirsOf(func(_, theirs []byte) []byte { return flip(theirs, valuesAt+5) }), ErrDecryption, CoSigner},
		{"values exchanged", theirsOf(func(_, theirs []byte) []byte {
			return slices.Concat(theirs[:valuesAt], theirs[valuesAt+ciphertextSizeMin:], theirs[valuesAt:valuesAt+ciphertextSizeMin])
		}), ErrDecryption, CoSigner},
		{"slope replaced", theirsOf(func(_, theirs []byte) []byte { return edit(theirs, slopeAt, other[:]) }), ErrDecryption, CoSigner},
		{"slope the identity", theirsOf(func(_, theirs []byte) []byte {
			return edit(theirs, slopeAt, edwards25519.NewIdentityPoint().Bytes())
		}), ErrEncoding, CoSigner},
		{"slope with torsion", theirsOf(func(_, theirs []byte) []byte {
			return edit(theirs, slopeAt, twisted(t, theirs[slopeAt:ephemeralAt]))
		}), ErrEncoding, CoSigner},
		{
			"ephemeral key replaced", theirsOf(func(_, theirs []byte) []byte { return edit(theirs, ephemeralAt, other[:]) }),
			ErrDecryption, CoSigner,
		},
		{"ephemeral key the identity", theirsOf(func(_, theirs []byte) []byte {
			return edit(theirs, ephemeralAt, edwards25519.NewIdentityPoint().Bytes())
		}), ErrEncoding, CoSigner},
		{"ephemeral key with torsion", theirsOf(func(_, theirs []byte) []byte {
			return edit(theirs, ephemeralAt, twisted(t, theirs[ephemeralAt:valuesAt]))
		}), ErrEncoding, CoSigner},
		{"another suite", theirsOf(func(_, theirs []byte) []byte { return flip(theirs, 5) }), ErrEncoding, CoSigner},
		{"another dealer", theirsOf(func(_, theirs []byte) []byte { return flip(theirs, slopeAt-1) }), ErrReplay, CoSigner},
		{"a second slope", theirsOf(func(_, theirs []byte) []byte {
			return slices.Concat(theirs[:ephemeralAt], other[:], theirs[ephemeralAt:])
		}), ErrEncoding, CoSigner},
		{"no slope", theirsOf(func(_, theirs []byte) []byte {
			return slices.Concat(theirs[:slopeAt], theirs[ephemeralAt:])
		}), ErrEncoding, CoSigner},
		{"a value more", theirsOf(func(_, theirs []byte) []byte {
			return slices.Concat(theirs, theirs[len(theirs)-ciphertextSizeMin:])
		}), ErrEncoding, CoSigner},
		{"a value less", theirsOf(func(_, theirs []byte) []byte { return theirs[:len(theirs)-ciphertextSizeMin] }), ErrEncoding, CoSigner},
		{"a byte more", theirsOf(func(_, theirs []byte) []byte { return append(bytes.Clone(theirs), 0) }), ErrEncoding, CoSigner},
		{"empty", theirsOf(func(_, _ []byte) []byte { return nil }), ErrEncoding, CoSigner},

		// A co-signer that makes and seals what it likes.
		{"a line that does not begin at its share", theirsOf(func(_, _ []byte) []byte {
			return forgeLine(t, r, CoSigner, keys[1], random(t), random(t))
		}), ErrShare, CoSigner},
		{"a line that begins at zero", theirsOf(func(_, _ []byte) []byte { // the key would become what the agent has of it
			return forgeLine(t, r, CoSigner, keys[1], new(edwards25519.Scalar), random(t))
		}), ErrShare, CoSigner},
		{"a line that begins at its share without lambda", theirsOf(func(_, _ []byte) []byte {
			return forgeLine(t, r, CoSigner, keys[1], old[1].secret, random(t))
		}), ErrShare, CoSigner},
		{"a value of another line", theirsOf(func(_, _ []byte) []byte {
			return forgeDealing(t, r, CoSigner, keys[1], other[:], [][]byte{random(t).Bytes(), random(t).Bytes()})
		}), ErrShare, CoSigner},
		{"a curve where the threshold is three", theirsOf(func(_, _ []byte) []byte {
			curve := []*edwards25519.Scalar{constant, random(t), random(t)}
			return forgeDealing(t, r, CoSigner, keys[1], basePoint(curve[1]).Bytes(), [][]byte{
				evaluate(curve, 1).Bytes(), evaluate(curve, 2).Bytes(),
			})
		}), ErrShare, CoSigner},
		{"torsion in the slope, value made for it", theirsOf(func(_, _ []byte) []byte {
			slope := random(t)
			value := evaluate([]*edwards25519.Scalar{constant, slope}, 1).Bytes()
			return forgeDealing(t, r, CoSigner, keys[1], twisted(t, basePoint(slope).Bytes()), [][]byte{value, value})
		}), ErrEncoding, CoSigner},
		{"a value of zero", theirsOf(func(_, _ []byte) []byte {
			return forgeLine(t, r, CoSigner, keys[1], constant, new(edwards25519.Scalar).Negate(constant))
		}), ErrEncoding, CoSigner},
		{"a value of L", theirsOf(func(_, _ []byte) []byte {
			return forgeDealing(t, r, CoSigner, keys[1], other[:], [][]byte{l, l})
		}), ErrEncoding, CoSigner},
		{"slopes that cancel", theirsOf(func(_, _ []byte) []byte {
			return forgeLine(t, r, CoSigner, keys[1], constant, new(edwards25519.Scalar).Negate(drawn))
		}), ErrEncoding, CoSigner},
		{"slopes that give the old line", theirsOf(func(_, _ []byte) []byte {
			return forgeLine(t, r, CoSigner, keys[1], constant, new(edwards25519.Scalar).Subtract(coefficients[1], drawn))
		}), ErrShare, CoSigner},
		{"slopes that give a new share of zero", theirsOf(func(_, _ []byte) []byte {
			slope := new(edwards25519.Scalar).Negate(coefficients[0])
			return forgeLine(t, r, CoSigner, keys[1], constant, slope.Subtract(slope, drawn))
		}), ErrEncoding, CoSigner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := newReshare(stuck{}, Agent, keys[0], old[0], r)
			if err != nil {
				t.Fatal(err)
			}
			second, err := NewReshare(CoSigner, keys[1], old[1], r)
			if err != nil {
				t.Fatal(err)
			}
			certificate, err := x.Accept(tt.change(x.Deal(), second.Deal()))
			var culprit *CulpritError
			if !errors.Is(err, tt.want) || !errors.As(err, &culprit) || culprit.Culprit != tt.culprit {
				t.Fatalf("Accept = %v, want %v naming the %s", err, tt.want, tt.culprit)
			}
			if certificate != [64]byte{} {
				t.Error("a certificate came with the error")
			}
			// The run has ended.
			if _, err := x.Accept([2][]byte{x.Deal(), second.Deal()}); !errors.Is(err, ErrStage) {
				t.Errorf("Accept after a refusal = %v, want ErrStage", err)
			}
			if x.Secret() != nil || x.Deal() != nil || x.static.Equal(new(edwards25519.Scalar)) != 1 {
				t.Error("the ended run has state")
			}
			if old[0].usable() != nil {
				t.Error("the refusal cost the old share")
			}
		})
	}

	// The forger's dealings pass when nothing is wrong with them.
	x, err := newReshare(stuck{}, Agent, keys[0], old[0], r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Accept([2][]byte{x.Deal(), forgeLine(t, r, CoSigner, keys[1], constant, random(t))}); err != nil {
		t.Errorf("Accept of an honest dealing: %v", err)
	}
}

// TestAcceptRefusesForWhomDealsNot: a recipient without a share sees both dealers' mistakes.
func TestAcceptRefusesForWhomDealsNot(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	r := newResharing("replacement", old[1].Sharing(), [2]Identifier{CoSigner, Recovery}, keys)
	for place, culprit := range r.Dealers {
		runs, deals := beginReshare(t, r, old, keys)
		deals[place] = forgeLine(t, r, culprit, keys[culprit-1], random(t), random(t))
		var blamed *CulpritError
		if _, err := runs[0].Accept(deals); !errors.Is(err, ErrShare) || !errors.As(err, &blamed) || blamed.Culprit != culprit {
			t.Errorf("Accept = %v, want ErrShare naming the %s", err, culprit)
		}
	}
	runs, deals := beginReshare(t, r, old, keys)
	var blamed *CulpritError
	if _, err := runs[0].Accept([2][]byte{deals[1], deals[0]}); !errors.Is(err, ErrReplay) || !errors.As(err, &blamed) ||
		blamed.Culprit != CoSigner {
		t.Errorf("Accept of exchanged dealings = %v, want ErrReplay naming the co-signer", err)
	}
}

func TestNewReshareRefuses(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	two, three := dealFrom(t, coefficients, 2, 4), dealFrom(t, coefficients, 3, 4)
	keys := statics(t, 3)
	both := [2]Identifier{Agent, CoSigner}
	good := newResharing("parameters", two[0].Sharing(), both, keys[:2])
	with := func(change func(*Resharing)) Resharing {
		r := good
		r.StaticKeys = slices.Clone(good.StaticKeys)
		change(&r)
		return r
	}
	erasedKey, erased := statics(t, 1)[0], deal(t, 2, 4)[0]
	erasedKey.Zero()
	ofErased := newResharing("parameters", erased.Sharing(), both, keys[:2])
	erased.Zero()
	last := dealFrom(t, coefficients, 2, math.MaxUint64)
	damaged := *two[0]
	damaged.secret = random(t)
	for _, tt := range []struct {
		name   string
		self   Identifier
		static *StaticKey
		share  *KeyShare
		r      Resharing
		want   error
	}{
		{"identifier 0", 0, keys[0], two[0], good, ErrParameter},
		{"identifier out of range", Recovery, keys[2], nil, good, ErrParameter},
		{"another's place", CoSigner, keys[0], two[1], good, ErrParameter},
		{"no static key", Agent, nil, two[0], good, ErrErased},
		{"erased static key", Agent, erasedKey, two[0], good, ErrErased},
		{"a dealer without a share", Agent, keys[0], nil, good, ErrParameter},
		{
			"a share for one who does not deal", Agent, keys[0], three[0],
			newResharing("parameters", three[0].Sharing(), [2]Identifier{CoSigner, Recovery}, keys), ErrParameter,
		},
		{"another's share", Agent, keys[0], two[1], good, ErrParameter},
		{"share of another epoch", Agent, keys[0], dealFrom(t, coefficients, 2, 5)[0], good, ErrParameter},
		{
			"share of another sharing of the key", Agent, keys[0],
			dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 2, 4)[0], good, ErrParameter,
		},
		{"share of the same line among three", Agent, keys[0], three[0], good, ErrParameter},
		{"share of another key", Agent, keys[0], deal(t, 2, 4)[0], good, ErrParameter},
		{"share whose secret is damaged", Agent, keys[0], &damaged, good, ErrSelfCheck},
		{"erased share", Agent, keys[0], erased, ofErased, ErrErased},
		{"no old sharing", Agent, keys[0], two[0], with(func(r *Resharing) { r.Old = nil }), ErrParameter},
		{"the zero sharing", Agent, keys[0], two[0], with(func(r *Resharing) { r.Old = &Sharing{} }), ErrEncoding},
		{"the last epoch", Agent, keys[0], last[0], with(func(r *Resharing) { r.Old = last[0].Sharing() }), ErrParameter},
		{"dealers exchanged", Agent, keys[0], two[0], with(func(r *Resharing) { r.Dealers = [2]Identifier{CoSigner, Agent} }), ErrParameter},
		{"one dealer twice", Agent, keys[0], two[0], with(func(r *Resharing) { r.Dealers = [2]Identifier{Agent, Agent} }), ErrParameter},
		{"the relay dealing", Agent, keys[0], two[0], with(func(r *Resharing) { r.Dealers = [2]Identifier{Relay, Agent} }), ErrParameter},
		{
			"a dealer without a place", Agent, keys[0], two[0],
			newResharing("parameters", two[0].Sharing(), [2]Identifier{Agent, Recovery}, keys), ErrParameter,
		},
		{"one recipient", Agent, keys[0], two[0], with(func(r *Resharing) { r.StaticKeys = r.StaticKeys[:1] }), ErrParameter},
		{
			"four recipients", Agent, keys[0], two[0],
			newResharing("parameters", two[0].Sharing(), both, append(slices.Clone(keys), statics(t, 1)...)), ErrParameter,
		},
		{"the recovery share left out", Agent, keys[0], three[0], newResharing("parameters", three[0].Sharing(), both, keys[:2]), ErrParameter},
		{"one key twice", Agent, keys[0], two[0], with(func(r *Resharing) { r.StaticKeys[1] = r.StaticKeys[0] }), ErrParameter},
		{"static key the identity", Agent, keys[0], two[0], with(func(r *Resharing) { r.StaticKeys[1] = [32]byte{1} }), ErrEncoding},
		{"static key with torsion", Agent, keys[0], two[0], with(func(r *Resharing) {
			r.StaticKeys[1] = [32]byte(twisted(t, r.StaticKeys[1][:]))
		}), ErrEncoding},
		{"no session", Agent, keys[0], two[0], with(func(r *Resharing) { r.Session = nil }), ErrParameter},
		{"short session", Agent, keys[0], two[0], with(func(r *Resharing) { r.Session = make([]byte, SessionSizeMin-1) }), ErrParameter},
		{"long session", Agent, keys[0], two[0], with(func(r *Resharing) { r.Session = make([]byte, SessionSizeMax+1) }), ErrParameter},
	} {
		if x, err := NewReshare(tt.self, tt.static, tt.share, tt.r); x != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: NewReshare = %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := newReshare(io.LimitReader(rand.Reader, 31), Agent, keys[0], two[0], good); err == nil {
		t.Error("NewReshare goes on when randomness ends")
	}
}
