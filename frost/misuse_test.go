package frost

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"filippo.io/edwards25519"
)

// What follows are attacks, written as an attacker would write them, first against a deliberately naive signer that lives
// here, where they must succeed, and then against this package, where they must not. An attack that fails against the naive
// signer shows nothing.

// half-made signers of the tests: a nonce pair with its commitment, made of any two scalars.
type toyNonces struct {
	d, e       *edwards25519.Scalar
	commitment Commitment
}

func newToyNonces(d, e *edwards25519.Scalar) toyNonces {
	n := toyNonces{d: d, e: e}
	copy(n.commitment[:], basePoint(d).Bytes())
	copy(n.commitment[pointSize:], basePoint(e).Bytes())
	return n
}

// equation is what anybody knows of a signature by id and peer, given both commitments and the message: id's binding factor,
// its effective nonce commitment D + rho·E, and the challenge.
type equation struct {
	rho, c *edwards25519.Scalar
	nonce  *edwards25519.Point
	r      [pointSize]byte
}

func observe(
	t testing.TB, groupKey [pointSize]byte, id Identifier, own Commitment, peerID Identifier, peer Commitment, message []byte,
) equation {
	t.Helper()
	as := func(id Identifier, c Commitment) signer {
		d, e, err := c.decode()
		if err != nil {
			t.Fatal(err)
		}
		return signer{id: id, commitment: c, d: d, e: e}
	}
	mine := as(id, own)
	set, place := pair(mine, as(peerID, peer))
	s, err := newSigning(groupKey, set, message)
	if err != nil {
		t.Fatal(err)
	}
	rho := &s.rho[place]
	nonce := new(edwards25519.Point).ScalarMult(rho, mine.e)
	return equation{rho: rho, c: &s.c, nonce: nonce.Add(nonce, mine.d), r: s.r}
}

// toyShare answers with any nonces, as often as it is asked: z = d + rho·e + lambda·s·c.
func toyShare(t testing.TB, share *KeyShare, n toyNonces, peerID Identifier, peer Commitment, message []byte) *edwards25519.Scalar {
	t.Helper()
	q := observe(t, share.groupKey, share.id, n.commitment, peerID, peer, message)
	z := new(edwards25519.Scalar).MultiplyAdd(q.rho, n.e, n.d)
	return z.MultiplyAdd(new(edwards25519.Scalar).Multiply(lambda(share.id, peerID), q.c), share.secret, z)
}

// reply is one share as the other party sees it, and what it knows about it.
type reply struct {
	equation
	z *edwards25519.Scalar
}

// solve takes three replies to be one nonce pair's, z = d + rho·e + (lambda·c)·s, and solves for s by Cramer's rule modulo L.
// It returns nil if the equations are dependent.
func solve(replies [3]reply, lambda *edwards25519.Scalar) *edwards25519.Scalar {
	var m, withZ [3][3]*edwards25519.Scalar
	for k, r := range replies {
		m[k] = [3]*edwards25519.Scalar{Identifier(1).scalar(), r.rho, new(edwards25519.Scalar).Multiply(lambda, r.c)}
		withZ[k] = [3]*edwards25519.Scalar{m[k][0], m[k][1], r.z}
	}
	d := determinant(m)
	if d.Equal(new(edwards25519.Scalar)) == 1 {
		return nil
	}
	return new(edwards25519.Scalar).Multiply(determinant(withZ), new(edwards25519.Scalar).Invert(d))
}

func determinant(m [3][3]*edwards25519.Scalar) *edwards25519.Scalar {
	sum := new(edwards25519.Scalar)
	for k := range 3 {
		sum.MultiplyAdd(new(edwards25519.Scalar).Multiply(m[0][k], m[1][(k+1)%3]), m[2][(k+2)%3], sum)
		product := new(edwards25519.Scalar).Multiply(m[0][k], m[1][(k+2)%3])
		sum.Subtract(sum, product.Multiply(product, m[2][(k+1)%3]))
	}
	return sum
}

// TestLinearAlgebraRecoversNoShare asks a co-signer three times and solves its answers for the share. Three ways to have one
// nonce pair thrice: it was stored; it was derived from message and key alone, and the agent brings three commitments; the
// generator repeats itself. The last two are ours too, with the generator as bad as it can be.
func TestLinearAlgebraRecoversNoShare(t *testing.T) {
	shares := deal(t, 2, 1)
	victim := shares[1]
	l := lambda(CoSigner, Agent)
	const same = "pay 5 to alice"

	stored := newToyNonces(random(t), random(t))
	fromMessage := func(message []byte) toyNonces {
		key := victim.secret.Bytes()
		d, e := new(edwards25519.Scalar), new(edwards25519.Scalar)
		h3(d, []byte("d"), key, message)
		h3(e, []byte("e"), key, message)
		return newToyNonces(d, e)
	}
	naive := func(nonces func(message []byte) toyNonces) func(Commitment, []byte) Release {
		return func(peer Commitment, message []byte) Release {
			n := nonces(message)
			z := toyShare(t, victim, n, Agent, peer, message)
			return Release{Commitment: n.commitment, Share: [scalarSize]byte(z.Bytes())}
		}
	}
	ours := func(peer Commitment, message []byte) Release {
		r, err := coSign(stuck{}, victim, Agent, peer, message, []byte("wallets/a/payments/1"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct {
		name     string
		messages [3]string // three messages are asked for with one commitment, one message with three
		ask      func(Commitment, []byte) Release
		leaks    bool
	}{
		{"naive: stored nonces, three messages", [3]string{"a", "b", "c"}, naive(func([]byte) toyNonces { return stored }), true},
		{"naive: nonces of message and key, three commitments", [3]string{same, same, same}, naive(fromMessage), true},
		{"ours: three messages", [3]string{"a", "b", "c"}, ours, false},
		{"ours: three commitments", [3]string{same, same, same}, ours, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var replies [3]reply
			mine := newToyNonces(random(t), random(t)).commitment
			for k, message := range tt.messages {
				if message == same {
					mine = newToyNonces(random(t), random(t)).commitment
				}
				r := tt.ask(mine, []byte(message))
				q := observe(t, victim.groupKey, CoSigner, r.Commitment, Agent, mine, []byte(message))
				replies[k] = reply{q, mustScalar(t, r.Share[:])}
			}
			found := solve(replies, l)
			if got := found != nil && found.Equal(victim.secret) == 1; got != tt.leaks {
				t.Errorf("three replies give the share: %v, want %v", got, tt.leaks)
			}
		})
	}
}

// TestSameCommitmentOfTheAgent keeps the agent's commitment and everything else, and only asks again: with a generator that
// moves, a fault in one of the answers meets no nonce of another.
func TestSameCommitmentOfTheAgent(t *testing.T) {
	shares := deal(t, 2, 1)
	_, commitment := mustCommit(t, shares[0])
	seen := map[Commitment]bool{}
	for range 100 {
		r := answer(t, shares[1], commitment, []byte("m"))
		if seen[r.Commitment] {
			t.Fatal("two calls made one commitment")
		}
		seen[r.Commitment] = true
	}
}

// TestAgentsNoncesGiveNoThreeEquations is the same attack by a co-signer on the agent, which commits first: it answers one
// commitment three times, and reads the agent's share of each signature out of it. From three it solves for the agent's key
// share; from one it does not.
func TestAgentsNoncesGiveNoThreeEquations(t *testing.T) {
	shares := deal(t, 2, 1)
	victim := shares[0]

	// The attack, on an agent that signs with one pair as often as it is asked.
	stored := newToyNonces(random(t), random(t))
	var replies [3]reply
	for k := range replies {
		theirs := newToyNonces(random(t), random(t)).commitment
		message := []byte{byte(k)}
		q := observe(t, victim.groupKey, Agent, stored.commitment, CoSigner, theirs, message)
		replies[k] = reply{q, toyShare(t, victim, stored, CoSigner, theirs, message)}
	}
	if found := solve(replies, lambda(Agent, CoSigner)); found == nil || found.Equal(victim.secret) != 1 {
		t.Fatal("three signatures of the naive agent do not give its share; the rest shows nothing")
	}

	nonces, commitment := mustCommit(t, victim)
	signatures := 0
	for k := range 3 {
		message := []byte{byte(k)}
		switch _, err := nonces.Finish(message, answer(t, shares[1], commitment, message)); {
		case err == nil:
			signatures++
		case !errors.Is(err, ErrNoncesUsed):
			t.Errorf("answer %d: %v, want ErrNoncesUsed", k, err)
		}
	}
	if signatures != 1 {
		t.Errorf("one commitment gave %d signatures, want 1", signatures)
	}
}

// cloned is a generator in a state that can be had again: a machine started twice from one snapshot.
type cloned struct {
	seed [8]byte
	n    uint64
	rest []byte
}

func clone(seed uint64) *cloned {
	c := new(cloned)
	binary.BigEndian.PutUint64(c.seed[:], seed)
	return c
}

func (c *cloned) Read(b []byte) (int, error) {
	for len(c.rest) < len(b) {
		block := sha512.Sum512(binary.BigEndian.AppendUint64(c.seed[:], c.n))
		c.rest = append(c.rest, block[:]...)
		c.n++
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// TestClonedGenerator signs 10,000 pairs of transcripts that differ in one part, each pair with one state of the generator.
// Neither D nor E may repeat, whichever part it is; and the identical transcript must give the identical release
// (asked for a tenth of the pairs), so that running one request on both clones shows an attacker nothing twice.
func TestClonedGenerator(t *testing.T) {
	const pairs = 10_000
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	share := dealFrom(t, coefficients, 3, 1)[1]
	later := dealFrom(t, coefficients, 3, 2)[1]
	// The same secret and public share, held by participant 3 of another sharing.
	asRecovery := altered(share, func(s *KeyShare) { s.id, s.public[1], s.public[2] = Recovery, s.public[2], s.public[1] })
	asRecovery.public[1].id, asRecovery.public[2].id = CoSigner, Recovery
	_, first := mustCommit(t, share)
	_, second := mustCommit(t, share)
	mix := func(d, e Commitment) (c Commitment) {
		copy(c[:pointSize], d[:pointSize])
		copy(c[pointSize:], e[pointSize:])
		return c
	}
	type call struct {
		share            *KeyShare
		peerID           Identifier
		peer             Commitment
		message, request []byte
	}
	fields := []struct {
		name   string
		change func(*call)
	}{
		{"message", func(c *call) { c.message = append(bytes.Clone(c.message), 0) }},
		{"one bit of the message", func(c *call) { c.message = bytes.Clone(c.message); c.message[0] ^= 1 }},
		{"request", func(c *call) { c.request = append(bytes.Clone(c.request), 0) }},
		{"a byte moved from message to request", func(c *call) {
			last := len(c.message) - 1
			c.request = append([]byte{c.message[last]}, c.request...)
			c.message = c.message[:last]
		}},
		{"D1", func(c *call) { c.peer = mix(second, first) }},
		{"E1", func(c *call) { c.peer = mix(first, second) }},
		{"D1 and E1", func(c *call) { c.peer = second }},
		{"D1 and E1 exchanged", func(c *call) {
			c.peer = Commitment(append(bytes.Clone(c.peer[pointSize:]), c.peer[:pointSize]...))
		}},
		{"signer set", func(c *call) { c.peerID = Recovery }},
		{"epoch", func(c *call) { c.share = later }},
		{"own identifier", func(c *call) { c.share, c.peerID = asRecovery, CoSigner }},
	}

	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for k := worker; k < pairs; k += 4 {
				field := fields[k%len(fields)]
				base := call{share, Agent, first, fmt.Appendf(nil, "message %d", k), fmt.Appendf(nil, "payments/%d", k)}
				if field.name == "own identifier" {
					base.peerID = Recovery // so that identifier and nothing else differs: the set is {2, 3} in both
				}
				other := base
				field.change(&other)
				var releases [3]Release
				for i, c := range []call{base, other, base} {
					if i == 2 && k%10 != 0 {
						releases[i] = releases[0]
						continue
					}
					r, err := coSign(clone(uint64(k)), c.share, c.peerID, c.peer, c.message, c.request)
					if err != nil {
						t.Errorf("pair %d, %s: %v", k, field.name, err)
						return
					}
					releases[i] = r
				}
				a, b := releases[0].Commitment, releases[1].Commitment
				if [pointSize]byte(a[:pointSize]) == [pointSize]byte(b[:pointSize]) ||
					[pointSize]byte(a[pointSize:]) == [pointSize]byte(b[pointSize:]) {
					t.Errorf("pair %d: another %s, and a nonce repeats", k, field.name)
					return
				}
				if releases[0] != releases[2] {
					t.Errorf("pair %d: the identical transcript gave another release", k)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestSelfCheckFindsEveryBit flips each bit of the co-signer's secret, as a fault or a worn row would: no answer leaves.
func TestSelfCheckFindsEveryBit(t *testing.T) {
	shares := deal(t, 2, 1)
	_, commitment := mustCommit(t, shares[0])
	flips := 0
	for bit := range 8 * scalarSize {
		b := shares[1].secret.Bytes()
		b[bit/8] ^= 1 << (bit % 8)
		secret, err := decodeScalar(b)
		if err != nil {
			continue // above L: no scalar holds it
		}
		flips++
		damaged := *shares[1]
		damaged.secret = secret
		if r, err := CoSign(&damaged, commitment, []byte("m"), nil); !errors.Is(err, ErrSelfCheck) || r != (Release{}) {
			t.Errorf("bit %d: CoSign = %x, %v, want ErrSelfCheck", bit, r.Bytes(), err)
		}
	}
	if flips < 8*scalarSize-8 {
		t.Errorf("%d bits flipped", flips)
	}
}

// TestAnswersOfOthers: who answers is fixed, whatever the answer verifies as.
func TestAnswersOfOthers(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	shares := dealFrom(t, coefficients, 3, 1)
	message := []byte("m")
	// Another wallet in which the co-signer holds the very same secret.
	slope := new(edwards25519.Scalar).Add(coefficients[1], Identifier(1).scalar())
	constant := new(edwards25519.Scalar).Subtract(coefficients[0], Identifier(2).scalar())
	twin := dealFrom(t, []*edwards25519.Scalar{constant, slope}, 3, 1)
	if twin[1].secret.Equal(shares[1].secret) != 1 || twin[1].groupKey == shares[1].groupKey {
		t.Fatal("not the same secret under another key")
	}
	for _, tt := range []struct {
		name  string
		share *KeyShare
		peer  Identifier
	}{
		{"the recovery share, in the co-signer's name", shares[2], Agent},
		{"the co-signer, for a signature with the recovery share", shares[1], Recovery},
		{"the co-signer, for the group key of another wallet", twin[1], Agent},
	} {
		nonces, commitment := mustCommit(t, shares[0])
		r, err := coSign(rand.Reader, tt.share, tt.peer, commitment, message, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if _, err := nonces.Finish(message, r); !errors.Is(err, ErrShare) {
			t.Errorf("%s: Finish = %v, want ErrShare", tt.name, err)
		}
	}
	// Nobody signs with itself, nor with who has no share.
	two := deal(t, 2, 1)
	_, commitment := mustCommit(t, two[0])
	for _, peer := range []Identifier{Relay, CoSigner, Recovery, 4, 1 << 8, 1<<16 - 1} {
		if _, err := coSign(rand.Reader, two[1], peer, commitment, message, nil); !errors.Is(err, ErrParameter) {
			t.Errorf("co-signing with %s: %v, want ErrParameter", peer, err)
		}
	}
}

// TestIdentifiersDoNotWrap: an identifier that is 0 modulo L would read the key itself off a polynomial. None is: an
// identifier has 16 bits, and a stored row takes only the three there are.
func TestIdentifiersDoNotWrap(t *testing.T) {
	zero := new(edwards25519.Scalar)
	for id := 1; id < 1<<16; id++ {
		want := [scalarSize]byte{byte(id), byte(id >> 8)}
		if s := Identifier(id).scalar(); s.Equal(zero) == 1 || [scalarSize]byte(s.Bytes()) != want {
			t.Fatalf("identifier %d is the scalar %x", id, s.Bytes())
		}
	}
	shares := deal(t, 3, 1)
	row := shares[1].Secret()
	const ownAt, firstAt = 1 + len(Suite), 1 + len(Suite) + 2 + 8 + 2 + 2 + pointSize + scalarSize
	for _, id := range []uint16{0, 1, 3, 4, 0x0102, 0x0200, 0x8002, 0xffff} {
		for _, at := range []int{ownAt, firstAt + publicShareSize} {
			b := bytes.Clone(row)
			binary.BigEndian.PutUint16(b[at:], id)
			if _, err := ParseKeyShare(b); !errors.Is(err, ErrEncoding) {
				t.Errorf("identifier %d at %d: %v, want ErrEncoding", id, at, err)
			}
		}
	}
	for _, ids := range [][]Identifier{{0, 1}, {1, 1}, {2, 1}} {
		public := publicShares([]*edwards25519.Scalar{shares[0].secret, shares[0].secret})
		public[0].id, public[1].id = ids[0], ids[1]
		if _, err := newKeyShare(ids[0], 1, 2, shares[0].secret, public); !errors.Is(err, ErrEncoding) {
			t.Errorf("identifiers %v: %v, want ErrEncoding", ids, err)
		}
	}
}

// TestThousandWallets pays from 1,000 wallets at once, and 1,000 times from one. The race detector watches; every signature
// must verify, and no commitment may appear twice.
func TestThousandWallets(t *testing.T) {
	const payments = 1000
	one := deal(t, 2, 1)
	pay := func(shares []*KeyShare, k int) (Commitment, error) {
		message := fmt.Appendf(nil, "payment %d", k)
		nonces, commitment, err := shares[0].Commit()
		if err != nil {
			return Commitment{}, err
		}
		r, err := CoSign(shares[1], commitment, message, message)
		if err != nil {
			return Commitment{}, err
		}
		signature, err := nonces.Finish(message, r)
		if err == nil && !VerifySignature(shares[0].groupKey, message, signature[:]) {
			err = errors.New("signature does not verify")
		}
		return r.Commitment, err
	}
	for _, tt := range []struct {
		name   string
		wallet func() []*KeyShare
	}{
		{"each its own", func() []*KeyShare { return deal(t, 2, 1) }},
		{"one for all", func() []*KeyShare { return one }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wallets := make([][]*KeyShare, payments)
			for k := range wallets {
				wallets[k] = tt.wallet()
			}
			commitments := make([]Commitment, payments)
			start := make(chan struct{})
			var wg sync.WaitGroup
			for k, shares := range wallets {
				wg.Go(func() {
					<-start
					c, err := pay(shares, k)
					if err != nil {
						t.Errorf("payment %d: %v", k, err)
					}
					commitments[k] = c
				})
			}
			close(start)
			wg.Wait()
			seen := map[Commitment]bool{}
			for _, c := range commitments {
				if seen[c] {
					t.Fatal("two releases have one commitment")
				}
				seen[c] = true
			}
		})
	}
}
