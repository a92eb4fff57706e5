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

func newResharing(session string, old *Sharing, dealers [2]Identifier, keys []*StaticKey) Resharing {
	r := Resharing{Session: []byte("session of a test/" + session), Old: old, Dealers: dealers}
	for _, key := range keys {
		r.StaticKeys = append(r.StaticKeys, key.Public())
	}
	return r
}

// beginReshare starts all recipients, in identifier order, and returns the dealings.
func beginReshare(t testing.TB, r Resharing, shares []*KeyShare, keys []*StaticKey) (runs []*Reshare, deals [2][]byte) {
	t.Helper()
	for k, key := range keys {
		id := Identifier(k + 1)
		place := slices.Index(r.Dealers[:], id)
		var share *KeyShare
		if place >= 0 {
			share = shares[k]
		}
		x, err := NewReshare(id, key, share, r)
		if err != nil {
			t.Fatal(err)
		}
		if (x.Deal() != nil) != (place >= 0) {
			t.Fatalf("dealing of %s: %x", id, x.Deal())
		}
		if place >= 0 {
			deals[place] = x.Deal()
		}
		runs = append(runs, x)
	}
	return runs, deals
}

// accept runs Accept of all and returns the dealers' certificates.
func accept(t testing.TB, runs []*Reshare, deals [2][]byte) (certificates [2][64]byte) {
	t.Helper()
	for _, x := range runs {
		certificate, err := x.Accept(deals)
		if err != nil {
			t.Fatal(err)
		}
		if place := x.a.place(); place >= 0 {
			certificates[place] = certificate
		}
	}
	return certificates
}

// reshare runs a whole resharing with everybody online.
func reshare(t testing.TB, session string, shares []*KeyShare, dealers [2]Identifier, n int) (renewed []*KeyShare) {
	t.Helper()
	keys := statics(t, n)
	runs, deals := beginReshare(t, newResharing(session, shares[dealers[0]-1].Sharing(), dealers, keys), shares, keys)
	certificates := accept(t, runs, deals)
	for _, x := range runs {
		share, err := x.Finish(certificates)
		if err != nil {
			t.Fatal(err)
		}
		sharing, err := x.Sharing()
		if err != nil || !bytes.Equal(sharing.Bytes(), share.Sharing().Bytes()) {
			t.Errorf("sharing of %s is not its share's (%v)", share.id, err)
		}
		digest, err := x.TranscriptDigest()
		first, firstErr := runs[0].TranscriptDigest()
		if err != nil || firstErr != nil || digest != first {
			t.Errorf("transcript digest of %s = %x, %v; want %x", share.id, digest, err, first)
		}
		renewed = append(renewed, share)
	}
	for k, x := range runs {
		x.Zero()
		keys[k].Zero()
	}
	return renewed
}

// together lets two shares make a signature.
func together(t testing.TB, first, second *KeyShare) error {
	t.Helper()
	nonces, commitment := mustCommit(t, first)
	r, err := coSign(rand.Reader, second, first.id, commitment, []byte("key test"), nil)
	if err != nil {
		return err
	}
	_, err = nonces.finish(second.id, []byte("key test"), r)
	return err
}

// keyOf returns lambda_1·s_1 + lambda_2·s_2 in the exponent: the key, if the two are of one sharing.
func keyOf(first, second *KeyShare) [pointSize]byte {
	s := new(edwards25519.Scalar).Multiply(lambda(first.id, second.id), first.secret)
	s.MultiplyAdd(lambda(second.id, first.id), second.secret, s)
	return encodePoint(basePoint(s))
}

// checkRenewed holds a new sharing to all that a resharing promises.
func checkRenewed(t *testing.T, old, renewed []*KeyShare) {
	t.Helper()
	key := old[0].GroupKey()
	for k, share := range renewed {
		if share.Identifier() != Identifier(k+1) || share.Epoch() != old[0].Epoch()+1 || share.GroupKey() != key {
			t.Errorf("new share of %s in epoch %d under %x", share.Identifier(), share.Epoch(), share.GroupKey())
		}
		if !bytes.Equal(share.Sharing().Bytes(), renewed[0].Sharing().Bytes()) {
			t.Errorf("sharing of %s is not that of the %s", share.id, renewed[0].id)
		}
		if y, ok := share.PublicShare(share.id); !ok || y != encodePoint(basePoint(share.secret)) {
			t.Errorf("secret of %s is not its public share's", share.id)
		}
		restored, err := ParseKeyShare(share.Secret())
		if err != nil || !bytes.Equal(restored.Secret(), share.Secret()) {
			t.Errorf("new share of %s does not come back: %v", share.id, err)
		}
		for _, other := range renewed {
			if other == share {
				continue
			}
			if err := together(t, share, other); err != nil {
				t.Errorf("%s with %s: %v", share.id, other.id, err)
			}
			if got := keyOf(share, other); got != key {
				t.Errorf("%s with %s have the key %x, want %x", share.id, other.id, got, key)
			}
		}
	}
	for _, before := range old {
		for _, after := range renewed {
			if before.id == after.id {
				if before.secret.Equal(after.secret) == 1 {
					t.Errorf("%s has the share it had", after.id)
				}
				continue
			}
			want := ErrShare
			if _, ok := before.PublicShare(after.id); !ok { // enrolled since
				want = ErrParameter
			}
			if err := together(t, before, after); !errors.Is(err, want) {
				t.Errorf("old share of %s with new one of %s = %v, want %v", before.id, after.id, err, want)
			}
			if err := together(t, after, before); !errors.Is(err, want) {
				t.Errorf("new share of %s with old one of %s = %v, want %v", after.id, before.id, err, want)
			}
			// Not only refused: lambda_1·s_1 + lambda_2·s_2 is another key.
			if keyOf(before, after) == key {
				t.Errorf("old share of %s and new one of %s have the key", before.id, after.id)
			}
		}
	}
	// Each share is what the line through any two others gives.
	if len(renewed) == participantsMax {
		for k, share := range renewed {
			a, b := renewed[(k+1)%3], renewed[(k+2)%3]
			set := []Identifier{a.id, b.id}
			s := new(edwards25519.Scalar).Multiply(lagrange(a.id, set, share.id), a.secret)
			s.MultiplyAdd(lagrange(b.id, set, share.id), b.secret, s)
			if s.Equal(share.secret) != 1 {
				t.Errorf("share of %s is not on the line through the others", share.id)
			}
			y, _ := share.Sharing().publicShare(share.id)
			if interpolate([]publicShare{renewed[0].public[a.id-1], renewed[0].public[b.id-1]}, share.id).Equal(y.point) != 1 {
				t.Errorf("public share of %s is not on the line through the others", share.id)
			}
		}
	}
}

func TestReshare(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  int
		dealers [2]Identifier
		after   int
	}{
		{"refresh of two", 2, [2]Identifier{Agent, CoSigner}, 2},
		{"refresh of three", 3, [2]Identifier{Agent, CoSigner}, 3},
		{"enrolment of the recovery share", 2, [2]Identifier{Agent, CoSigner}, 3},
		{"replacement of the agent's share", 3, [2]Identifier{CoSigner, Recovery}, 3},
		{"replacement of the co-signer's share", 3, [2]Identifier{Agent, Recovery}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old := deal(t, tt.before, 4)
			checkRenewed(t, old, reshare(t, tt.name, old, tt.dealers, tt.after))
		})
	}
}

// TestReshareAgain leads one key through its life: made, refreshed, recovery enrolled, agent replaced, refreshed.
func TestReshareAgain(t *testing.T) {
	parties, messages := begin(t, "life", statics(t, 2))
	all := certificates(t, parties, messages)
	var shares []*KeyShare
	for _, p := range parties {
		share, err := p.run.Finish(all)
		if err != nil {
			t.Fatal(err)
		}
		shares = append(shares, share)
	}
	for _, next := range []struct {
		name    string
		dealers [2]Identifier
		after   int
	}{
		{"refreshed", [2]Identifier{Agent, CoSigner}, 2},
		{"recovery enrolled", [2]Identifier{Agent, CoSigner}, 3},
		{"agent replaced", [2]Identifier{CoSigner, Recovery}, 3},
		{"refreshed with recovery", [2]Identifier{Agent, CoSigner}, 3},
	} {
		renewed := reshare(t, next.name, shares, next.dealers, next.after)
		checkRenewed(t, shares, renewed)
		shares = renewed
	}
	if shares[0].Epoch() != 5 {
		t.Errorf("epoch %d after four resharings, want 5", shares[0].Epoch())
	}
}

// TestOpenReshare: agent and co-signer refresh while the recovery share is offline, and it opens what was kept for it.
func TestOpenReshare(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	kept, err := ParseStaticKey(keys[2].Secret()) // as the owner keeps it
	if err != nil {
		t.Fatal(err)
	}
	r := newResharing("offline", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys)
	runs, deals := beginReshare(t, r, old, keys)
	certificates := accept(t, runs[:2], deals)
	var renewed []*KeyShare
	for _, x := range runs[:2] {
		share, err := x.Finish(certificates)
		if err != nil {
			t.Fatal(err)
		}
		renewed = append(renewed, share)
		x.Zero()
	}
	recovered, err := OpenReshare(Recovery, kept, r, deals, certificates)
	if err != nil {
		t.Fatal(err)
	}
	checkRenewed(t, old, append(renewed, recovered))
	kept.Zero()
	if recovered.usable() != nil {
		t.Error("erasing the static key erased the share")
	}
	// Whoever was online gets the same share this way.
	again, err := OpenReshare(Agent, keys[0], r, deals, certificates)
	if err != nil || !bytes.Equal(again.Secret(), renewed[0].Secret()) {
		t.Errorf("the agent opens another share (%v)", err)
	}
}

// forgeDealing makes a dealing from parts, as a dealer can who does not keep to the protocol.
func forgeDealing(t testing.TB, r Resharing, from Identifier, static *StaticKey, slope []byte, values [][]byte) []byte {
	t.Helper()
	a, err := newAgreement(from, r)
	if err != nil {
		t.Fatal(err)
	}
	ephemeral := random(t)
	ephemeralKey := encodePoint(basePoint(ephemeral))
	b := slices.Concat([]byte{byte(len(suiteResharing))}, []byte(suiteResharing), []byte{0, byte(from)}, slope, ephemeralKey[:])
	header := bytes.Clone(b)
	for k, value := range values {
		key := a.sealing(a.place(), Identifier(k+1), header, ephemeralKey)
		key.fromEphemeral = new(edwards25519.Point).ScalarMult(ephemeral, a.points[k])
		key.fromStatic = new(edwards25519.Point).ScalarMult(static.secret, a.points[k])
		b = key.seal(b, value)
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
	agent, err := newAgreement(Agent, r)
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
		}), ErrDecryption, CoSigner},
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
		{"ephemeral key replaced", theirsOf(func(_, theirs []byte) []byte { return edit(theirs, ephemeralAt, other[:]) }), ErrDecryption, CoSigner},
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
		}), ErrShare, CoSigner},
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
	if _, err := runs[0].Accept([2][]byte{deals[1], deals[0]}); !errors.Is(err, ErrReplay) || !errors.As(err, &blamed) || blamed.Culprit != CoSigner {
		t.Errorf("Accept of exchanged dealings = %v, want ErrReplay naming the co-signer", err)
	}
}

// TestReshareDisagreement: one who was told otherwise what is being done deals what nobody else accepts. A static key for the
// recovery share is the worst of it: whoever's it is would get that share.
func TestReshareDisagreement(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	both := [2]Identifier{Agent, CoSigner}
	r := newResharing("agreed", old[0].Sharing(), both, keys)
	for _, tt := range []struct {
		name string
		told Resharing
	}{
		{"session", newResharing("not agreed", old[0].Sharing(), both, keys)},
		{"static key of the recovery", newResharing("agreed", old[0].Sharing(), both, []*StaticKey{keys[0], keys[1], statics(t, 1)[0]})},
	} {
		x, err := NewReshare(Agent, keys[0], old[0], r)
		if err != nil {
			t.Fatal(err)
		}
		misled, err := NewReshare(CoSigner, keys[1], old[1], tt.told)
		if err != nil {
			t.Fatal(err)
		}
		var culprit *CulpritError
		deals := [2][]byte{x.Deal(), misled.Deal()}
		if _, err := x.Accept(deals); !errors.Is(err, ErrDecryption) || !errors.As(err, &culprit) || culprit.Culprit != CoSigner {
			t.Errorf("%s: Accept = %v, want ErrDecryption naming the co-signer", tt.name, err)
		}
		if _, err := misled.Accept(deals); !errors.Is(err, ErrDecryption) || !errors.As(err, &culprit) || culprit.Culprit != Agent {
			t.Errorf("%s: Accept of the one who was misled = %v, want ErrDecryption naming the agent", tt.name, err)
		}
	}
}

// TestReshareSplitView: the relay shows the two dealers different dealings of one. Both accept; no certificate does. A
// third recipient, shown either, gets no share.
func TestReshareSplitView(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	r := newResharing("split", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys)
	runs, deals := beginReshare(t, r, old, keys)
	second, err := NewReshare(CoSigner, keys[1], old[1], r) // the co-signer, run twice
	if err != nil {
		t.Fatal(err)
	}
	others := [2][]byte{deals[0], second.Deal()}
	fromAgent, err := runs[0].Accept(others)
	if err != nil {
		t.Fatal(err)
	}
	fromCoSigner, err := runs[1].Accept(deals)
	if err != nil {
		t.Fatal(err)
	}
	given := [2][64]byte{fromAgent, fromCoSigner}
	for k, blamed := range []Identifier{CoSigner, Agent} {
		share, err := runs[k].Finish(given)
		var culprit *CulpritError
		if share != nil || !errors.Is(err, ErrCertificate) || !errors.As(err, &culprit) || culprit.Culprit != blamed {
			t.Errorf("Finish of %s = %v, want ErrCertificate naming the %s", Identifier(k+1), err, blamed)
		}
	}
	for _, shown := range [][2][]byte{deals, others} {
		if share, err := OpenReshare(Recovery, keys[2], r, shown, given); share != nil || !errors.Is(err, ErrCertificate) {
			t.Errorf("OpenReshare = %v, want ErrCertificate", err)
		}
	}
	// With the certificate of the run it saw, the agent finishes: a refusal costs nothing.
	right, err := second.Accept(others)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runs[0].Finish([2][64]byte{fromAgent, right}); err != nil {
		t.Errorf("Finish after a refusal: %v", err)
	}
}

func TestReshareFinishRefuses(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	both := [2]Identifier{Agent, CoSigner}
	r := newResharing("certificates", old[0].Sharing(), both, keys)
	runs, deals := beginReshare(t, r, old, keys)
	all := accept(t, runs, deals)
	ofRecovery, err := runs[2].Accept(deals)
	if err != nil {
		t.Fatal(err)
	}
	earlier, earlierDeals := beginReshare(t, newResharing("earlier", old[0].Sharing(), both, keys), old, keys)
	replayed := accept(t, earlier, earlierDeals)
	flipped := all[1]
	flipped[50] ^= 1
	for _, tt := range []struct {
		name    string
		given   [2][64]byte
		want    error
		culprit Identifier
	}{
		{"exchanged", [2][64]byte{all[1], all[0]}, ErrReplay, Relay},
		{"own missing", [2][64]byte{{}, all[1]}, ErrReplay, Relay},
		{"own twice", [2][64]byte{all[0], all[0]}, ErrCertificate, CoSigner},
		{"altered", [2][64]byte{all[0], flipped}, ErrCertificate, CoSigner},
		{"of an earlier run", [2][64]byte{all[0], replayed[1]}, ErrCertificate, CoSigner},
		{"of one who does not deal", [2][64]byte{all[0], ofRecovery}, ErrCertificate, CoSigner},
		{"none", [2][64]byte{all[0], {}}, ErrCertificate, CoSigner},
	} {
		share, err := runs[0].Finish(tt.given)
		var culprit *CulpritError
		if share != nil || !errors.Is(err, tt.want) || !errors.As(err, &culprit) || culprit.Culprit != tt.culprit {
			t.Errorf("%s: Finish = %v, want %v naming the %s", tt.name, err, tt.want, tt.culprit)
		}
	}
	// One who does not deal wants both dealers'.
	for place, dealer := range both {
		given := all
		given[place] = replayed[place]
		var culprit *CulpritError
		if share, err := runs[2].Finish(given); share != nil || !errors.As(err, &culprit) || culprit.Culprit != dealer {
			t.Errorf("Finish of the recovery = %v, want the %s named", err, dealer)
		}
	}
	first, err := runs[0].Finish(all)
	if err != nil {
		t.Fatalf("Finish after refusals: %v", err)
	}
	second, err := runs[0].Finish(all)
	if err != nil || !bytes.Equal(first.Secret(), second.Secret()) {
		t.Errorf("Finish again gives another share (%v)", err)
	}
	second.Zero()
	runs[0].Zero()
	if first.usable() != nil {
		t.Error("erasing the run erased the share that Finish returned")
	}
}

func TestOpenReshareRefuses(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	both := [2]Identifier{Agent, CoSigner}
	r := newResharing("offline", old[0].Sharing(), both, keys)
	runs, deals := beginReshare(t, r, old, keys)
	all := accept(t, runs[:2], deals)
	earlier, earlierDeals := beginReshare(t, newResharing("earlier", old[0].Sharing(), both, keys), old, keys)
	replayed := accept(t, earlier[:2], earlierDeals)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	// Dealings whose agent sealed rubbish for the recovery, certified by both all the same.
	agent, err := newAgreement(Agent, r)
	if err != nil {
		t.Fatal(err)
	}
	rubbish := flip(deals[0], len(deals[0])-1)
	x, err := NewReshare(CoSigner, keys[1], old[1], r)
	if err != nil {
		t.Fatal(err)
	}
	certified := [2][]byte{rubbish, x.Deal()}
	ofAgent, err := schnorrSign(keys[0].secret, agent.transcript(certified[:]))
	if err != nil {
		t.Fatal(err)
	}
	ofCoSigner, err := x.Accept(certified)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Resharing)) Resharing {
		changed := r
		changed.StaticKeys = slices.Clone(r.StaticKeys)
		change(&changed)
		return changed
	}
	last := len(deals[0]) - 1 // in the recovery's ciphertext
	for _, tt := range []struct {
		name    string
		self    Identifier
		static  *StaticKey
		r       Resharing
		deals   [2][]byte
		given   [2][64]byte
		want    error
		culprit Identifier // 0 where nobody is named
	}{
		{"agent's ciphertext altered", Recovery, keys[2], r, [2][]byte{flip(deals[0], last), deals[1]}, all, ErrCertificate, Agent},
		{"co-signer's ciphertext altered", Recovery, keys[2], r, [2][]byte{deals[0], flip(deals[1], last)}, all, ErrCertificate, Agent},
		{"ciphertext for another altered", Recovery, keys[2], r, [2][]byte{flip(deals[0], valuesAt), deals[1]}, all, ErrCertificate, Agent},
		{"a certificate of an earlier run", Recovery, keys[2], r, deals, [2][64]byte{all[0], replayed[1]}, ErrCertificate, CoSigner},
		{"an earlier run for this one", Recovery, keys[2], r, earlierDeals, replayed, ErrCertificate, Agent},
		{"certificates exchanged", Recovery, keys[2], r, deals, [2][64]byte{all[1], all[0]}, ErrCertificate, Agent},
		{"no certificates", Recovery, keys[2], r, deals, [2][64]byte{}, ErrCertificate, Agent},
		{"rubbish that the dealer certified", Recovery, keys[2], r, certified, [2][64]byte{ofAgent, ofCoSigner}, ErrDecryption, Agent},
		{"dealings exchanged", Recovery, keys[2], r, [2][]byte{deals[1], deals[0]}, all, ErrReplay, Agent},
		{"a dealing missing", Recovery, keys[2], r, [2][]byte{deals[0], nil}, all, ErrEncoding, CoSigner},
		{"another session", Recovery, keys[2], with(func(r *Resharing) { r.Session = []byte("session of a test/other") }), deals, all, ErrCertificate, Agent},
		{"another old sharing", Recovery, keys[2], with(func(r *Resharing) {
			r.Old = dealFrom(t, []*edwards25519.Scalar{random(t), random(t)}, 3, 1)[0].Sharing()
		}), deals, all, ErrCertificate, Agent},
		{"another epoch", Recovery, keys[2], with(func(r *Resharing) {
			s := *r.Old
			s.epoch++
			r.Old = &s
		}), deals, all, ErrCertificate, Agent},
		{"another's static key for the agent's", Recovery, keys[2], with(func(r *Resharing) {
			r.StaticKeys[0] = statics(t, 1)[0].Public()
		}), deals, all, ErrCertificate, Agent},
		{"other dealers", Recovery, keys[2], with(func(r *Resharing) { r.Dealers = [2]Identifier{Agent, Recovery} }), deals, all, ErrReplay, Recovery},
		{"another's place", Agent, keys[2], r, deals, all, ErrParameter, 0},
		{"nobody's place", 4, keys[2], r, deals, all, ErrParameter, 0},
		{"no static key", Recovery, nil, r, deals, all, ErrErased, 0},
		{"no old sharing", Recovery, keys[2], with(func(r *Resharing) { r.Old = nil }), deals, all, ErrParameter, 0},
	} {
		share, err := OpenReshare(tt.self, tt.static, tt.r, tt.deals, tt.given)
		var culprit *CulpritError
		if share != nil || !errors.Is(err, tt.want) || errors.As(err, &culprit) != (tt.culprit != 0) || culprit != nil && culprit.Culprit != tt.culprit {
			t.Errorf("%s: OpenReshare = %v, want %v naming the %s", tt.name, err, tt.want, tt.culprit)
		}
	}
	if _, err := OpenReshare(Recovery, keys[2], r, deals, all); err != nil {
		t.Errorf("OpenReshare of what nobody altered: %v", err)
	}
}

func TestReshareStages(t *testing.T) {
	old := deal(t, 2, 1)
	keys := statics(t, 2)
	r := newResharing("stages", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys)
	runs, deals := beginReshare(t, r, old, keys)
	x := runs[0]
	if !bytes.Equal(x.Deal(), deals[0]) {
		t.Error("the second dealing is another")
	}
	if _, err := x.Finish([2][64]byte{}); !errors.Is(err, ErrStage) {
		t.Errorf("Finish before Accept = %v, want ErrStage", err)
	}
	if _, err := x.Sharing(); !errors.Is(err, ErrStage) {
		t.Errorf("Sharing before Accept = %v, want ErrStage", err)
	}
	if _, err := x.TranscriptDigest(); !errors.Is(err, ErrStage) {
		t.Errorf("TranscriptDigest before Accept = %v, want ErrStage", err)
	}
	certificate, err := x.Accept(deals)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := x.Accept(deals); err != nil || again != certificate {
		t.Errorf("Accept again = %x, %v, want %x", again, err, certificate)
	}
	second, err := NewReshare(CoSigner, keys[1], old[1], r)
	if err != nil {
		t.Fatal(err)
	}
	others := [2][]byte{deals[0], second.Deal()}
	restored, err := ParseReshare(x.Secret())
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]*Reshare{"at once": x, "after a restart": restored} {
		if _, err := run.Accept(others); !errors.Is(err, ErrStage) {
			t.Errorf("Accept of other dealings %s = %v, want ErrStage", name, err)
		}
		if again, err := run.Accept(deals); err != nil || again != certificate {
			t.Errorf("Accept again %s = %x, %v, want %x", name, again, err, certificate)
		}
	}
	x.Zero()
	if _, err := x.Finish([2][64]byte{certificate}); !errors.Is(err, ErrStage) {
		t.Errorf("Finish after Zero = %v, want ErrStage", err)
	}
	if _, err := x.Accept(deals); !errors.Is(err, ErrStage) {
		t.Errorf("Accept after Zero = %v, want ErrStage", err)
	}
	if x.Secret() != nil || x.Deal() != nil {
		t.Error("the erased run has state")
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
		{"a share for one who does not deal", Agent, keys[0], three[0],
			newResharing("parameters", three[0].Sharing(), [2]Identifier{CoSigner, Recovery}, keys), ErrParameter},
		{"another's share", Agent, keys[0], two[1], good, ErrParameter},
		{"share of another epoch", Agent, keys[0], dealFrom(t, coefficients, 2, 5)[0], good, ErrParameter},
		{"share of another sharing of the key", Agent, keys[0],
			dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 2, 4)[0], good, ErrParameter},
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
		{"a dealer without a place", Agent, keys[0], two[0],
			newResharing("parameters", two[0].Sharing(), [2]Identifier{Agent, Recovery}, keys), ErrParameter},
		{"one recipient", Agent, keys[0], two[0], with(func(r *Resharing) { r.StaticKeys = r.StaticKeys[:1] }), ErrParameter},
		{"four recipients", Agent, keys[0], two[0], newResharing("parameters", two[0].Sharing(), both, append(slices.Clone(keys), statics(t, 1)...)), ErrParameter},
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

// TestStuckRandomnessInResharing: a machine that was cloned deals in two resharings with the same randomness. One who
// receives from both learns nothing: the lines have nothing in common but what they begin at.
func TestStuckRandomnessInResharing(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	begun := func(session string, dealers [2]Identifier) *Reshare {
		x, err := newReshare(stuck{}, CoSigner, keys[1], old[1], newResharing(session, old[1].Sharing(), dealers, keys))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	both, replacing := [2]Identifier{Agent, CoSigner}, [2]Identifier{CoSigner, Recovery}
	first := begun("one", both)
	if !bytes.Equal(first.Deal(), begun("one", both).Deal()) {
		t.Error("the identical resharing has another dealing")
	}
	value := func(x *Reshare) *edwards25519.Scalar { // what the agent gets
		a := *x.a
		a.self = Agent
		m, err := a.parse(x.a.place(), x.Deal())
		if err != nil {
			t.Fatal(err)
		}
		v, err := a.open(x.a.place(), m, keys[0].secret)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, second := range []*Reshare{begun("two", both), begun("one", replacing), begun("two", replacing)} {
		for _, part := range [][2]int{{slopeAt, ephemeralAt}, {ephemeralAt, valuesAt}} {
			if bytes.Equal(first.Deal()[part[0]:part[1]], second.Deal()[part[0]:part[1]]) {
				t.Errorf("bytes %d to %d of two dealings are the same", part[0], part[1])
			}
		}
		// With one slope the difference of two values would be (lambda - lambda')·share.
		factor := new(edwards25519.Scalar).Subtract(first.a.lambda(first.a.place()), second.a.lambda(second.a.place()))
		if factor.Equal(new(edwards25519.Scalar)) == 1 {
			continue
		}
		share := new(edwards25519.Scalar).Subtract(value(first), value(second))
		if share.Multiply(share, factor.Invert(factor)).Equal(old[1].secret) == 1 {
			t.Error("the agent has the co-signer's share")
		}
	}
}

// TestLineIsErased: what a state keeps is the static key and public messages; it does not open what was sent to others.
func TestLineIsErased(t *testing.T) {
	old := deal(t, 2, 1)
	keys := statics(t, 2)
	runs, deals := beginReshare(t, newResharing("erased", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys), old, keys)
	a := runs[0].a
	m, err := a.parse(0, deals[0])
	if err != nil {
		t.Fatal(err)
	}
	// The agent's static key against its own ephemeral key and the other's static key: all that is left to it.
	key := a.sealing(0, CoSigner, m.header, m.ephemeralKey)
	key.fromEphemeral = new(edwards25519.Point).ScalarMult(runs[0].static, m.ephemeral)
	key.fromStatic = new(edwards25519.Point).ScalarMult(runs[0].static, a.points[1])
	if _, err := key.open(m.sealed[1]); !errors.Is(err, ErrDecryption) {
		t.Errorf("opening what was sealed for the co-signer = %v, want ErrDecryption", err)
	}
	if bytes.Contains(runs[0].Secret(), old[0].secret.Bytes()) {
		t.Error("the state holds the old share")
	}
}

// TestReshareStateRoundTrip seals and restores everybody between all calls, a recipient without a share as well.
func TestReshareStateRoundTrip(t *testing.T) {
	reopen := func(x *Reshare) *Reshare {
		t.Helper()
		b := x.Secret()
		restored, err := ParseReshare(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(restored.Secret(), b) {
			t.Error("the restored state encodes otherwise")
		}
		clear(b)
		if !bytes.Equal(restored.Deal(), x.Deal()) || !bytes.Equal(restored.Secret(), x.Secret()) {
			t.Error("the restored state differs, or refers to the bytes it was parsed from")
		}
		return restored
	}
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	runs, deals := beginReshare(t, newResharing("state", old[0].Sharing(), [2]Identifier{CoSigner, Recovery}, keys), old, keys)
	for k := range runs {
		runs[k] = reopen(runs[k])
	}
	all := accept(t, runs, deals)
	for _, x := range runs {
		original, err := x.Finish(all)
		if err != nil {
			t.Fatal(err)
		}
		restored, err := reopen(x).Finish(all)
		if err != nil || !bytes.Equal(original.Secret(), restored.Secret()) {
			t.Errorf("share after a restart differs (%v)", err)
		}
	}
}

// TestParseReshareRefuses: each prefix, a byte more, and each flipped bit that the state can know of. Ciphertexts to others
// are the exception: only their recipients can open them.
func TestParseReshareRefuses(t *testing.T) {
	old := deal(t, 2, 1)
	keys := statics(t, 2)
	runs, deals := beginReshare(t, newResharing("damage", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys), old, keys)
	drawn := runs[0].Secret()
	accept(t, runs, deals)
	certified := runs[0].Secret()
	size := len(deals[0])
	for _, tt := range []struct {
		name   string
		b      []byte
		opaque [][2]int // what lies between, counted from the end, are ciphertexts for the other
	}{
		{"drawn", drawn, [][2]int{{ciphertextSizeMin, 0}}},
		{"certified", certified, [][2]int{{size + ciphertextSizeMin, size}, {ciphertextSizeMin, 0}}},
	} {
		for k := range tt.b {
			if _, err := ParseReshare(tt.b[:k]); !errors.Is(err, ErrEncoding) {
				t.Fatalf("%s: %d of %d bytes: %v, want ErrEncoding", tt.name, k, len(tt.b), err)
			}
		}
		if _, err := ParseReshare(append(bytes.Clone(tt.b), 0)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: a byte more: %v, want ErrEncoding", tt.name, err)
		}
		for k := range tt.b {
			if slices.ContainsFunc(tt.opaque, func(o [2]int) bool { return k >= len(tt.b)-o[0] && k < len(tt.b)-o[1] }) {
				continue
			}
			b := bytes.Clone(tt.b)
			b[k] ^= 1 << (k % 8)
			if _, err := ParseReshare(b); !errors.Is(err, ErrEncoding) {
				t.Errorf("%s: bit flipped in byte %d: %v, want ErrEncoding", tt.name, k, err)
			}
		}
	}
	// The agent's dealing of one run with the co-signer's of another.
	again, others := beginReshare(t, newResharing("damage again", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys), old, keys)
	accept(t, again, others)
	mixed := append(bytes.Clone(certified[:len(certified)-size]), others[1]...)
	if _, err := ParseReshare(mixed); !errors.Is(err, ErrEncoding) {
		t.Errorf("dealings of two runs: %v, want ErrEncoding", err)
	}
	for name, b := range map[string][]byte{"a key share": old[0].Secret(), "a sharing": old[0].Sharing().Bytes(), "a dealing": deals[0]} {
		if _, err := ParseReshare(b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v, want ErrEncoding", name, err)
		}
	}
}

func TestStaticKeyRoundTrip(t *testing.T) {
	key := statics(t, 1)[0]
	b := key.Secret()
	restored, err := ParseStaticKey(b)
	if err != nil || restored.Public() != key.Public() || !bytes.Equal(restored.Secret(), b) {
		t.Errorf("the restored key differs (%v)", err)
	}
	for k := range b {
		if _, err := ParseStaticKey(b[:k]); !errors.Is(err, ErrEncoding) {
			t.Errorf("%d of %d bytes: %v, want ErrEncoding", k, len(b), err)
		}
		damaged := bytes.Clone(b)
		damaged[k] ^= 1 << (k % 8)
		if _, err := ParseStaticKey(damaged); !errors.Is(err, ErrEncoding) {
			t.Errorf("bit flipped in byte %d: %v, want ErrEncoding", k, err)
		}
	}
	if _, err := ParseStaticKey(append(bytes.Clone(b), 0)); !errors.Is(err, ErrEncoding) {
		t.Errorf("a byte more: %v, want ErrEncoding", err)
	}
	key.Zero()
	if key.Secret() != nil {
		t.Error("the erased key has bytes")
	}
}
