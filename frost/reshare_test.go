package frost

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

func agreementOf(x *Reshare) *agreement { return x.protocol.(*agreement) }

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
		if place := x.place(); place >= 0 {
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
		a := *agreementOf(x)
		a.self, a.static = Agent, keys[0].secret
		m, err := a.parse(x.place(), x.Deal())
		if err != nil {
			t.Fatal(err)
		}
		v, err := a.open(CoSigner, m)
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
		factor := new(edwards25519.Scalar).Subtract(agreementOf(first).lambda(first.place()), agreementOf(second).lambda(second.place()))
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
	a := agreementOf(runs[0])
	m, err := a.parse(0, deals[0])
	if err != nil {
		t.Fatal(err)
	}
	// The agent's static key against its own ephemeral key and the other's static key: all that is left to it.
	key := sealing{
		prefix:        resharingPrefix,
		fromEphemeral: new(edwards25519.Point).ScalarMult(runs[0].static, m.ephemeral),
		fromStatic:    new(edwards25519.Point).ScalarMult(runs[0].static, a.points[1]),
		ephemeralKey:  m.ephemeralKey, sender: a.statics[0], recipient: a.statics[1], context: m.context,
	}
	if _, err := key.open(m.sealed[1]); !errors.Is(err, ErrDecryption) {
		t.Errorf("opening what was sealed for the co-signer = %v, want ErrDecryption", err)
	}
	if bytes.Contains(runs[0].Secret(), old[0].secret.Bytes()) {
		t.Error("the state holds the old share")
	}
}
