package frost

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/edwards25519"
	"github.com/google/go-cmp/cmp"
)

// order names what a 32-byte string is on the curve, decoded as laxly as edwards25519 does. It asks with arithmetic of its
// own: eight times the point, and L times the point as (L-1)·P + P.
func order(t testing.TB, b []byte) string {
	t.Helper()
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		return "not on the curve"
	}
	name := "mixed"
	minusOne := new(edwards25519.Scalar).Negate(Identifier(1).scalar())
	multiple := new(edwards25519.Point).ScalarMult(minusOne, p)
	switch {
	case isIdentity(p):
		name = "identity"
	case isIdentity(new(edwards25519.Point).MultByCofactor(p)):
		name = "small"
	case isIdentity(multiple.Add(multiple, p)):
		name = "prime"
	}
	if !bytes.Equal(p.Bytes(), b) {
		name += ", not canonical"
	}
	return name
}

// TestSpeccheck goes through the twelve cases of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, ePrint 2020/1244),
// on which deployed verifiers disagree with each other. We accept none: not as points, where the point is at fault, and not
// as signatures. lax says what crypto/ed25519, the verifier on most chains, answers; where it says yes, only the checks of
// this package stand between a wallet and a signature that other verifiers refuse.
func TestSpeccheck(t *testing.T) {
	var cases []struct {
		Message   hexBytes `json:"message"`
		Key       hexBytes `json:"pub_key"`
		Signature hexBytes `json:"signature"`
	}
	loadVectors(t, "ed25519-speccheck-cases.json", &cases)
	want := []struct {
		key, r string
		lax    bool
		why    string // we refuse it
	}{
		{"small", "small", true, "z = 0: such a signature verifies for any message under a key nobody has"},
		{"small", "mixed", true, "the key is of small order: one signature fits many messages"},
		{"mixed", "small", true, "key of mixed order, and R gives no randomness"},
		{"mixed", "mixed", true, "key of mixed order; everything short of a check of the full order lets it pass"},
		{"mixed", "mixed", false, "key of mixed order: a verifier with cofactor takes it, one without does not"},
		{"mixed", "prime", false, "key of mixed order: with cofactor, the answer depends on whether 8c was reduced modulo L"},
		{"prime", "prime", false, "good points, but z above L: a second signature over one message"},
		{"prime", "prime", false, "good points, but z far above L, where even its high bits do not show"},
		{"mixed", "small, not canonical", false, "R has two encodings, and the hash takes this one reduced"},
		{"mixed", "small, not canonical", false, "R has two encodings, and the hash takes this one as it came"},
		{"small, not canonical", "mixed", false, "the key has two encodings, and the hash takes this one reduced"},
		{"small, not canonical", "mixed", true, "the key has two encodings, and the hash takes this one as it came"},
	}
	if len(cases) != len(want) {
		t.Fatalf("%d cases, want %d", len(cases), len(want))
	}
	for k, c := range cases {
		for _, part := range []struct {
			name  string
			bytes []byte
			order string
		}{{"A", c.Key, want[k].key}, {"R", c.Signature[:pointSize], want[k].r}} {
			if got := order(t, part.bytes); got != part.order {
				t.Errorf("case %d: %s is %s, want %s", k, part.name, got, part.order)
			}
			if _, err := decodePoint(part.bytes); (err == nil) != (part.order == "prime") {
				t.Errorf("case %d: %s of order %s decodes: %v", k, part.name, part.order, err)
			}
		}
		if got := ed25519.Verify(ed25519.PublicKey(c.Key), c.Message, c.Signature); got != want[k].lax {
			t.Errorf("case %d: crypto/ed25519 verifies = %v, want %v", k, got, want[k].lax)
		}
		if VerifySignature([pointSize]byte(c.Key), c.Message, c.Signature) {
			t.Errorf("case %d verifies: %s", k, want[k].why)
		}
	}
}

// hostilePoints returns every kind of 32 bytes that is not the encoding of a point of prime order: all non-canonical
// encodings there are, all points of small order, a good point plus each of these, all bad keys and Rs of CCTV and
// speccheck, and strings that are no point.
func hostilePoints(t testing.TB) map[[pointSize]byte]string {
	t.Helper()
	points := map[[pointSize]byte]string{}
	add := func(b []byte) {
		if kind := order(t, b); kind != "prime" {
			points[[pointSize]byte(b)] = kind
		}
	}
	for low := range 19 { // y from p to 2^255 - 1, with either sign
		for _, top := range []byte{0x7f, 0xff} {
			b := bytes.Repeat([]byte{0xff}, pointSize)
			b[0], b[pointSize-1] = byte(0xed+low), top
			add(b)
		}
	}
	// x = 0 has no sign, but its bit can be set: y = 1 and y = -1.
	add(append([]byte{1}, append(make([]byte, pointSize-2), 0x80)...))
	add(append([]byte{0xec}, bytes.Repeat([]byte{0xff}, pointSize-1)...))
	good, small := basePoint(random(t)), edwards25519.NewIdentityPoint()
	for range 8 {
		add(small.Bytes())
		add(new(edwards25519.Point).Add(good, small).Bytes())
		small.Add(small, torsion(t))
	}
	add(append([]byte{2}, make([]byte, pointSize-1)...)) // not on the curve

	var cctv []struct{ Key, Sig hexBytes }
	loadVectors(t, "c2sp-cctv-ed25519vectors.json", &cctv)
	for _, v := range cctv {
		add(v.Key)
		add(v.Sig[:pointSize])
	}
	var speccheck []struct {
		Key       hexBytes `json:"pub_key"`
		Signature hexBytes `json:"signature"`
	}
	loadVectors(t, "ed25519-speccheck-cases.json", &speccheck)
	for _, v := range speccheck {
		add(v.Key)
		add(v.Signature[:pointSize])
	}
	return points
}

func TestHostilePointsAreComplete(t *testing.T) {
	counts := map[string]int{}
	for _, kind := range hostilePoints(t) {
		kind, _, _ = strings.Cut(kind, ",")
		counts[kind]++
	}
	// Of canonical encodings the identity has one and small orders have seven. Of all 38 strings with y >= p 24 are on the
	// curve, and two strings have the sign of x = 0 set: 26 encodings that are not canonical, 3 of the identity, 3 of small
	// order and 20 of mixed order; none is of prime order.
	if counts["identity"] != 4 || counts["small"] != 10 || counts["mixed"] < 20+7 || counts["not on the curve"] == 0 {
		t.Errorf("hostile points by kind: %v", counts)
	}
}

// entrance is a place where a point from outside comes in. give puts 32 bytes there, everything else being right, and
// returns what the package says.
type entrance struct {
	name string
	give func(point []byte) error
	// exact says that a good point of somebody else's is ErrEncoding there too, because it contradicts other bytes.
	exact bool
}

// refusal makes an error of a yes or no.
func refusal(ok bool) error {
	if ok {
		return nil
	}
	return ErrEncoding
}

// entrances lists them all.
func entrances(t testing.TB) []entrance {
	t.Helper()
	shares := deal(t, 2, 1)
	_, commitment := mustCommit(t, shares[0])
	put := func(b []byte, at int, point []byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], point)
		return b
	}
	list := []entrance{
		{name: "group key", give: func(p []byte) error { return refusal(ValidGroupKey(p)) }},
	}
	for _, place := range []struct {
		name string
		at   int
	}{{"D", 0}, {"E", pointSize}} {
		at := place.at
		list = append(list,
			entrance{name: "commitment " + place.name, give: func(p []byte) error {
				_, err := ParseCommitment(put(commitment[:], at, p))
				return err
			}},
			entrance{name: "agent's " + place.name + " at the co-signer", give: func(p []byte) error {
				_, err := CoSign(shares[1], Commitment(put(commitment[:], at, p)), []byte("m"), nil)
				return err
			}},
			entrance{name: "release " + place.name, give: func(p []byte) error {
				_, err := ParseRelease(put(answer(t, shares[1], commitment, []byte("m")).Bytes(), at, p))
				return err
			}},
			entrance{name: "co-signer's " + place.name + " at the agent", give: func(p []byte) error {
				nonces, mine := mustCommit(t, shares[0])
				r := answer(t, shares[1], mine, []byte("m"))
				copy(r.Commitment[at:], p)
				_, err := nonces.Finish([]byte("m"), r)
				return err
			}},
			entrance{name: "other signer's " + place.name + " in two rounds", give: func(p []byte) error {
				nonces, signers := commitAll(t, shares...)
				copy(signers[1].Commitment[at:], p)
				_, err := nonces[0].SignShare([]byte("m"), signers)
				return err
			}},
			entrance{name: "signer's " + place.name + " at aggregation", give: func(p []byte) error {
				nonces, signers := commitAll(t, shares...)
				parts := signAll(t, nonces, []byte("m"), signers)
				copy(signers[0].Commitment[at:], p)
				_, err := AggregateShares(shares[0].Sharing(), []byte("m"), signers, parts)
				return err
			}},
		)
	}

	keys := statics(t, 2)
	const ephemeralAt = 2*pointSize + signatureSize
	for _, place := range []struct {
		name string
		at   int
	}{{"constant term", 0}, {"slope", pointSize}, {"ephemeral key", ephemeralAt}} {
		list = append(list, entrance{name: "key generation, " + place.name, give: func(p []byte) error {
			parties, messages := begin(t, "edge", keys)
			_, err := parties[0].run.Round2([][]byte{messages[0], put(messages[1], place.at, p)})
			return err
		}})
	}
	list = append(list, entrance{name: "key generation, static key", give: func(p []byte) error {
		run := newRun("edge", keys)
		run.StaticKeys[1] = [pointSize]byte(p)
		_, err := NewKeyGeneration(Agent, keys[0], run)
		return err
	}})
	parties, _ := begin(t, "edge", keys)
	state := parties[0].run.Secret()
	theirs := keys[1].Public()
	list = append(list, entrance{name: "sealed key generation, static key", exact: true, give: func(p []byte) error {
		_, err := ParseKeyGeneration(put(state, bytes.Index(state, theirs[:]), p))
		return err
	}})

	resharing := Resharing{
		Session: []byte("session of hostile points"), Old: shares[0].Sharing(), Dealers: [2]Identifier{Agent, CoSigner},
		StaticKeys: [][32]byte{keys[0].Public(), keys[1].Public()},
	}
	reshare := func(id Identifier, r Resharing) (*Reshare, error) {
		return NewReshare(id, keys[id-1], shares[id-1], r)
	}
	const slopeAt = dealingHeader - 2*pointSize
	for _, place := range []struct {
		name string
		at   int
	}{{"slope", slopeAt}, {"ephemeral key", slopeAt + pointSize}} {
		list = append(list, entrance{name: "resharing, " + place.name, give: func(p []byte) error {
			x, err := reshare(Agent, resharing)
			if err != nil {
				t.Fatal(err)
			}
			y, err := reshare(CoSigner, resharing)
			if err != nil {
				t.Fatal(err)
			}
			_, err = x.Accept([2][]byte{x.Deal(), put(y.Deal(), place.at, p)})
			return err
		}})
	}
	list = append(list, entrance{name: "resharing, static key", give: func(p []byte) error {
		r := resharing
		r.StaticKeys = [][32]byte{keys[0].Public(), [pointSize]byte(p)}
		_, err := reshare(Agent, r)
		return err
	}})
	x, err := reshare(Agent, resharing)
	if err != nil {
		t.Fatal(err)
	}
	sealed := x.Secret()
	list = append(list, entrance{name: "sealed resharing, static key", exact: true, give: func(p []byte) error {
		_, err := ParseReshare(put(sealed, bytes.Index(sealed, theirs[:]), p))
		return err
	}})

	row, public := shares[0].Secret(), shares[0].Sharing().Bytes()
	mine, _ := shares[0].PublicShare(Agent)
	peer, _ := shares[0].PublicShare(CoSigner)
	group := shares[0].GroupKey()
	// with puts a point in the place of the co-signer's public share, and makes the group key anew from what stands there then, so
	// that the point itself is all that is wrong.
	with := func(b, p []byte) []byte {
		b = put(b, bytes.Index(b, peer[:]), p)
		if point, err := new(edwards25519.Point).SetBytes(p); err == nil {
			anew := interpolate([]publicShare{shares[0].public[0], {id: CoSigner, point: point}}, 0)
			copy(b[bytes.Index(b, group[:]):], anew.Bytes())
		}
		return b
	}
	list = append(list,
		entrance{name: "key share, public share", give: func(p []byte) error {
			_, err := ParseKeyShare(with(row, p))
			return err
		}},
		entrance{name: "key share, group key", exact: true, give: func(p []byte) error {
			_, err := ParseKeyShare(put(row, bytes.Index(row, group[:]), p))
			return err
		}},
		entrance{name: "sharing, public share", give: func(p []byte) error {
			_, err := ParseSharing(with(public, p))
			return err
		}},
		entrance{name: "sharing, group key", exact: true, give: func(p []byte) error {
			_, err := ParseSharing(put(public, bytes.Index(public, group[:]), p))
			return err
		}},
		entrance{name: "imported share, public share", give: func(p []byte) error {
			_, err := NewKeyShare(Agent, 1, shares[0].Scalar(), [][32]byte{mine, [pointSize]byte(p)})
			return err
		}},
	)
	return list
}

// TestHostilePoints brings every hostile point to every entrance. A good point of somebody else's passes there or is refused
// for what it is not, so that the refusals are the points'.
func TestHostilePoints(t *testing.T) {
	points := hostilePoints(t)
	for _, e := range entrances(t) {
		t.Run(e.name, func(t *testing.T) {
			other := encodePoint(basePoint(random(t)))
			if err := e.give(other[:]); errors.Is(err, ErrEncoding) != e.exact {
				t.Fatalf("a good point: %v", err)
			}
			for point, kind := range points {
				if err := e.give(point[:]); !errors.Is(err, ErrEncoding) {
					t.Errorf("%x (%s): %v, want ErrEncoding", point, kind, err)
				}
			}
		})
	}
}

// TestHostileSignatures makes, for each point of small order, what crypto/ed25519 accepts and other verifiers do not: a
// signature under a key with that point in it, whose challenge happens to cancel the torsion; and under that point alone,
// where z = r needs no secret at all.
func TestHostileSignatures(t *testing.T) {
	message := []byte("pay 5 to alice")
	secret := random(t)
	small := edwards25519.NewIdentityPoint()
	var accepted []string
	for k := range 8 {
		for _, base := range []struct {
			name   string
			secret *edwards25519.Scalar
		}{{"mixed", secret}, {"small", new(edwards25519.Scalar)}} {
			key := encodePoint(new(edwards25519.Point).Add(basePoint(base.secret), small))
			var signature Signature
			for {
				nonce := random(t)
				r := encodePoint(basePoint(nonce))
				c := h2(r[:], key[:], message)
				if c.Bytes()[0]%8 == 0 {
					copy(signature[:], r[:])
					copy(signature[pointSize:], new(edwards25519.Scalar).MultiplyAdd(c, base.secret, nonce).Bytes())
					break
				}
			}
			if !ed25519.Verify(key[:], message, signature[:]) {
				t.Fatalf("crypto/ed25519 refuses the key with %d·T (%s), so that nothing is shown", k, base.name)
			}
			if VerifySignature(key, message, signature[:]) {
				accepted = append(accepted, order(t, key[:]))
			}
		}
		small.Add(small, torsion(t))
	}
	// k = 0 with the secret is an honest signature, and the only one.
	if diff := cmp.Diff([]string{"prime"}, slices.Compact(accepted)); diff != "" {
		t.Errorf("keys under which signatures verify (-want +got):\n%s", diff)
	}
}
