package frost

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"filippo.io/edwards25519"
)

// deal makes a sharing by a dealer, for tests that need no key generation.
func deal(t testing.TB, n int, epoch uint64) []*KeyShare {
	t.Helper()
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	return dealFrom(t, coefficients, n, epoch)
}

func dealFrom(t testing.TB, coefficients []*edwards25519.Scalar, n int, epoch uint64) []*KeyShare {
	t.Helper()
	var secrets []*edwards25519.Scalar
	for k := range n {
		secrets = append(secrets, evaluate(coefficients, Identifier(k+1)))
	}
	shares := make([]*KeyShare, n)
	for k := range n {
		share, err := newKeyShare(Identifier(k+1), epoch, len(coefficients), secrets[k], publicShares(secrets))
		if err != nil {
			t.Fatal(err)
		}
		shares[k] = share
	}
	return shares
}

func random(t testing.TB) *edwards25519.Scalar {
	t.Helper()
	s, err := randomScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// torsion is a point of order 8.
func torsion(t testing.TB) *edwards25519.Point {
	t.Helper()
	encoded := [pointSize]byte{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	}
	p, err := new(edwards25519.Point).SetBytes(encoded[:])
	if err != nil {
		t.Fatal(err)
	}
	if isIdentity(new(edwards25519.Point).Add(p, p)) || !isIdentity(new(edwards25519.Point).MultByCofactor(p)) {
		t.Fatal("not a point of small order")
	}
	return p
}

// twisted adds torsion to the point at the start of b.
func twisted(t testing.TB, b []byte) []byte {
	t.Helper()
	p, err := decodePoint(b[:pointSize])
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.Clone(b)
	copy(out, p.Add(p, torsion(t)).Bytes())
	return out
}

// stuck is a generator that repeats itself, as after a snapshot of a machine was started twice.
type stuck struct{}

func (stuck) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 7
	}
	return len(b), nil
}

func mustCommit(t testing.TB, share *KeyShare) (*Nonces, Commitment) {
	t.Helper()
	nonces, commitment, err := share.commit(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return nonces, commitment
}

func TestEveryPairSigns(t *testing.T) {
	shares := deal(t, 3, 1)
	message := []byte("a payment")
	for _, first := range shares {
		for _, second := range shares {
			if first == second {
				continue
			}
			nonces, commitment := mustCommit(t, first)
			release, err := coSign(rand.Reader, second, first.id, commitment, message, nil)
			if err != nil {
				t.Fatalf("%s answering %s: %v", second.id, first.id, err)
			}
			signature, err := nonces.finish(second.id, message, release)
			if err != nil {
				t.Fatalf("%s finishing with %s: %v", first.id, second.id, err)
			}
			if !ed25519.Verify(first.groupKey[:], message, signature[:]) {
				t.Errorf("signature of %s and %s does not verify", first.id, second.id)
			}
		}
	}
}

// TestTwoSharesAreTheKey is the premise of the threshold: one share fits any key, two give the secret.
func TestTwoSharesAreTheKey(t *testing.T) {
	shares := deal(t, 2, 1)
	secret := new(edwards25519.Scalar).Multiply(lambda(1, 2), shares[0].secret)
	secret.MultiplyAdd(lambda(2, 1), shares[1].secret, secret)
	if basePoint(secret).Equal(shares[0].group) != 1 {
		t.Error("two shares do not give the key")
	}
}

func TestRolesAreFixed(t *testing.T) {
	shares := deal(t, 3, 1)
	_, commitment := mustCommit(t, shares[0])
	for _, share := range shares {
		if _, _, err := share.Commit(); (err == nil) != (share.id == Agent) || err != nil && !errors.Is(err, ErrParameter) {
			t.Errorf("Commit by %s: %v", share.id, err)
		}
		_, err := CoSign(share, commitment, []byte("m"), nil)
		if (err == nil) != (share.id == CoSigner) || err != nil && !errors.Is(err, ErrParameter) {
			t.Errorf("CoSign by %s: %v", share.id, err)
		}
	}
}

// TestFinishRefuses: what the co-signer, or somebody on the way, can send instead of a release.
func TestFinishRefuses(t *testing.T) {
	shares, others := deal(t, 2, 1), deal(t, 2, 1)
	message := []byte("pay 5 to alice")
	l := [scalarSize]byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}
	identity := encodePoint(edwards25519.NewIdentityPoint())
	for _, tt := range []struct {
		name string
		make func(Commitment) Release
		want error
	}{
		{"over another message", func(c Commitment) Release { return answer(t, shares[1], c, []byte("pay 6 to alice")) }, ErrShare},
		{"with another key", func(c Commitment) Release { return answer(t, others[1], c, message) }, ErrShare},
		{"to another commitment", func(Commitment) Release {
			_, other := mustCommit(t, shares[0])
			return answer(t, shares[1], other, message)
		}, ErrShare},
		{"with share and commitment of two releases", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			r.Share = answer(t, shares[1], c, message).Share
			return r
		}, ErrShare},
		{"the agent's own commitment", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			r.Commitment = c
			return r
		}, ErrShare},
		{"D and E exchanged", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			r.Commitment = Commitment(append(bytes.Clone(r.Commitment[pointSize:]), r.Commitment[:pointSize]...))
			return r
		}, ErrShare},
		{"share zero", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			r.Share = [scalarSize]byte{}
			return r
		}, ErrEncoding},
		{"share of L", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			r.Share = l
			return r
		}, ErrEncoding},
		{"D the identity", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			copy(r.Commitment[:], identity[:])
			return r
		}, ErrEncoding},
		{"D of small order", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			copy(r.Commitment[:], torsion(t).Bytes())
			return r
		}, ErrEncoding},
		{"torsion in D", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			copy(r.Commitment[:], twisted(t, r.Commitment[:pointSize]))
			return r
		}, ErrEncoding},
		{"torsion in E", func(c Commitment) Release {
			r := answer(t, shares[1], c, message)
			copy(r.Commitment[pointSize:], twisted(t, r.Commitment[pointSize:]))
			return r
		}, ErrEncoding},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonces, commitment := mustCommit(t, shares[0])
			signature, err := nonces.Finish(message, tt.make(commitment))
			var culprit *CulpritError
			if !errors.Is(err, tt.want) || !errors.As(err, &culprit) || culprit.Culprit != CoSigner {
				t.Errorf("Finish = %v, want %v naming the co-signer", err, tt.want)
			}
			if signature != (Signature{}) {
				t.Error("a signature came with the error")
			}
			// The attempt has used the nonces up.
			if _, err := nonces.Finish(message, answer(t, shares[1], commitment, message)); !errors.Is(err, ErrNoncesUsed) {
				t.Errorf("second Finish = %v, want ErrNoncesUsed", err)
			}
		})
	}
}

func answer(t testing.TB, share *KeyShare, peer Commitment, message []byte) Release {
	t.Helper()
	r, err := CoSign(share, peer, message, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCommitmentsThatCancel: the peer that commits last can aim at R = O, for which z = c·s.
func TestCommitmentsThatCancel(t *testing.T) {
	shares := deal(t, 2, 1)
	pairs := make([]signer, 2)
	for k := range pairs {
		var fresh [64]byte
		_, _ = rand.Read(fresh[:])
		n, err := newNoncePair(&fresh, shares[k].secret)
		if err != nil {
			t.Fatal(err)
		}
		pairs[k] = n.signer(Identifier(k + 1))
	}
	// The last D in the sum is made to cancel the rest; its encoding in the list stays, so that rho does not change.
	s, err := newSigning(shares[0].groupKey, pairs, nil)
	if err != nil {
		t.Fatal(err)
	}
	rest := sumPublic([]*edwards25519.Scalar{&s.rho[0], &s.rho[1]}, []*edwards25519.Point{pairs[0].e, pairs[1].e})
	pairs[1].d = rest.Negate(rest.Add(rest, pairs[0].d))
	if _, err := newSigning(shares[0].groupKey, pairs, nil); !errors.Is(err, ErrParameter) {
		t.Errorf("newSigning with R = O: %v, want ErrParameter", err)
	}
	if _, err := newSigning(shares[0].groupKey, []signer{pairs[1], pairs[0]}, nil); !errors.Is(err, ErrParameter) {
		t.Errorf("newSigning with signers out of order: %v, want ErrParameter", err)
	}
	if _, err := newSigning(shares[0].groupKey, []signer{pairs[0], pairs[0]}, nil); !errors.Is(err, ErrParameter) {
		t.Errorf("newSigning with one signer twice: %v, want ErrParameter", err)
	}
}

// TestNoncesServeOnce: of many concurrent calls exactly one gets the nonces, also through copies of the value.
func TestNoncesServeOnce(t *testing.T) {
	shares := deal(t, 2, 1)
	message := []byte("a payment")
	for range 8 {
		nonces, commitment := mustCommit(t, shares[0])
		release := answer(t, shares[1], commitment, message)
		var won, refused atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 16 {
			mine := *nonces
			wg.Go(func() {
				<-start
				switch _, err := mine.Finish(message, release); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, ErrNoncesUsed):
					refused.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() != 1 || refused.Load() != 15 {
			t.Fatalf("%d calls finished and %d were refused, want 1 and 15", won.Load(), refused.Load())
		}
	}
	var zero Nonces
	if _, err := zero.Finish(message, Release{}); !errors.Is(err, ErrNoncesUsed) {
		t.Errorf("Finish of zero Nonces = %v, want ErrNoncesUsed", err)
	}
}

// TestNoncesAreConsumedFirst: the pair is gone when the computation begins, whatever becomes of it.
func TestNoncesAreConsumedFirst(t *testing.T) {
	shares := deal(t, 2, 1)
	nonces, commitment := mustCommit(t, shares[0])
	pair := nonces.unused.Load().pair
	if _, err := nonces.Finish(make([]byte, MessageSizeMax+1), answer(t, shares[1], commitment, nil)); !errors.Is(err, ErrParameter) {
		t.Fatalf("Finish of an oversized message = %v, want ErrParameter", err)
	}
	if nonces.unused.Load() != nil {
		t.Error("the nonces are still there")
	}
	zero := new(edwards25519.Scalar)
	if pair.d.Equal(zero) != 1 || pair.e.Equal(zero) != 1 {
		t.Error("the nonces were not overwritten")
	}
}

// TestStuckRandomness freezes the co-signer's randomness and changes one part of the transcript at a time. A commitment that
// repeats is a nonce used for two challenges, which gives the share away.
func TestStuckRandomness(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	share := dealFrom(t, coefficients, 3, 1)[1]
	_, first := mustCommit(t, share)
	_, second := mustCommit(t, share)
	mixed := first
	copy(mixed[pointSize:], second[pointSize:])
	request := []byte("wallets/a/payments/1")

	type call struct {
		share   *KeyShare
		peerID  Identifier
		peer    Commitment
		message string
		request string
	}
	base := call{share, Agent, first, "message", string(request)}
	with := func(change func(*call)) call {
		c := base
		change(&c)
		return c
	}
	seen := map[Commitment]string{}
	for _, tt := range []struct {
		name string
		call call
	}{
		{"base", base},
		{"another message", with(func(c *call) { c.message = "Message" })},
		{"another request", with(func(c *call) { c.request = "wallets/a/payments/2" })},
		{"a byte moved from message to request", with(func(c *call) { c.message, c.request = "messag", "e"+c.request })},
		{"no message", with(func(c *call) { c.message = "" })},
		{"no request", with(func(c *call) { c.request = "" })},
		{"another D and E", with(func(c *call) { c.peer = second })},
		{"another E", with(func(c *call) { c.peer = mixed })},
		{"another signer set", with(func(c *call) { c.peerID = Recovery })},
		{"another epoch", with(func(c *call) { c.share = dealFrom(t, coefficients, 3, 2)[1] })},
		{"another identifier in that set", with(func(c *call) {
			c.peerID, c.share = CoSigner, altered(share, func(s *KeyShare) { s.id, s.public[2].encoded = Recovery, s.public[1].encoded })
		})},
		{"another group key", with(func(c *call) {
			c.share = altered(share, func(s *KeyShare) { s.groupKey[0] ^= 1 })
		})},
		{"another public share", with(func(c *call) {
			c.share = altered(share, func(s *KeyShare) { s.public[1].encoded[0] ^= 1 })
		})},
	} {
		hedged, err := hedgedRandomness(stuck{}, tt.call.share, signer{id: tt.call.peerID, commitment: tt.call.peer},
			[]byte(tt.call.message), []byte(tt.call.request))
		if err != nil {
			t.Fatal(err)
		}
		nonces, err := newNoncePair(&hedged, share.secret)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(nonces.commitment[:pointSize], nonces.commitment[pointSize:]) {
			t.Errorf("%s: D is E", tt.name)
		}
		if earlier, ok := seen[nonces.commitment]; ok {
			t.Errorf("%s has the nonces of %s", tt.name, earlier)
		}
		seen[nonces.commitment] = tt.name
	}

	// Through the whole call: identical transcripts give the identical release, others no common nonce.
	again := map[Commitment]Release{}
	for range 2 {
		for _, message := range []string{"message", "Message"} {
			r, err := coSign(stuck{}, share, Agent, first, []byte(message), request)
			if err != nil {
				t.Fatal(err)
			}
			if earlier, ok := again[r.Commitment]; ok && earlier != r {
				t.Error("one nonce gave two shares")
			}
			again[r.Commitment] = r
		}
	}
	if len(again) != 2 {
		t.Errorf("two transcripts, each twice, gave %d commitments, want 2", len(again))
	}
	// And fresh randomness alone changes them, so that no fault meets one nonce twice.
	a, errA := coSign(rand.Reader, share, Agent, first, []byte("message"), request)
	b, errB := coSign(rand.Reader, share, Agent, first, []byte("message"), request)
	if errA != nil || errB != nil || a.Commitment == b.Commitment {
		t.Errorf("two calls gave one commitment (%v, %v)", errA, errB)
	}
}

// TestEncodePair: the shared inversion changes no byte, whatever the points' representation.
func TestEncodePair(t *testing.T) {
	for range 100 {
		p, q := basePoint(random(t)), basePoint(random(t))
		affine, err := decodePoint(q.Bytes()) // Z = 1
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2]*edwards25519.Point{{p, q}, {q, p}, {p, affine}, {affine, p}, {p, p}, {edwards25519.NewIdentityPoint(), p}} {
			got := encodePair(pair[0], pair[1])
			same(t, "pair", got[:], slices.Concat(pair[0].Bytes(), pair[1].Bytes()))
		}
	}
}

// TestHedgedRandomness writes the MAC and its input down again, with the standard library's HMAC: what two versions of this
// package derive from one transcript must not drift, or a stuck generator meets both.
func TestHedgedRandomness(t *testing.T) {
	share := deal(t, 3, 3)[1]
	_, peer := mustCommit(t, deal(t, 2, 1)[0])
	public, _ := share.PublicShare(CoSigner)
	for _, tt := range []struct {
		name             string
		message, request int
	}{
		{"empty", 0, 0},
		{"small", 215, 40},
		{"one byte below the buffer", hashBufferSize - transcriptSize - sha512.BlockSize - 1, 0},
		{"the buffer with the HMAC's block", hashBufferSize - transcriptSize - sha512.BlockSize, 0},
		{"one byte more", hashBufferSize - transcriptSize - sha512.BlockSize + 1, 0},
		{"the buffer", hashBufferSize - transcriptSize, 0},
		{"one byte above the buffer", hashBufferSize - transcriptSize, 1},
		{"the largest", MessageSizeMax, RequestSizeMax},
	} {
		message, request := bytes.Repeat([]byte{0xa5}, tt.message), bytes.Repeat([]byte{0x5a}, tt.request)
		hedged, err := hedgedRandomness(stuck{}, share, signer{id: Recovery, commitment: peer}, message, request)
		if err != nil {
			t.Fatal(err)
		}
		derive := hmac.New(sha512.New, share.Scalar())
		derive.Write([]byte("halfkey/nonce-key/v1"))
		mac := hmac.New(sha512.New, derive.Sum(nil))
		mac.Write(bytes.Repeat([]byte{7}, 32))
		for _, field := range [][]byte{
			[]byte("halfkey/co-sign/v1"), []byte(Suite),
			{0, 0, 0, 0, 0, 0, 0, 3},
			{0, 2},
			{0, 2, 0, 3},
			share.groupKey[:], public[:], peer[:], message, request,
		} {
			mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
			mac.Write(field)
		}
		same(t, tt.name, hedged[:], mac.Sum(nil))
	}
}

// TestSelfCheck: a share that is not what its row says answers nothing.
func TestSelfCheck(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	old := dealFrom(t, coefficients, 2, 1)
	// A refresh: another polynomial with the same value at 0.
	renewed := dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 2, 2)
	_, commitment := mustCommit(t, old[0])
	flipped := old[1].secret.Bytes()
	flipped[3] ^= 1
	for _, tt := range []struct {
		name   string
		secret *edwards25519.Scalar
	}{
		{"secret of another epoch", renewed[1].secret},
		{"flipped bit", mustScalar(t, flipped)},
		{"the agent's secret", old[0].secret},
	} {
		damaged := *old[1]
		damaged.secret = tt.secret
		r, err := CoSign(&damaged, commitment, []byte("m"), nil)
		if !errors.Is(err, ErrSelfCheck) || r != (Release{}) {
			t.Errorf("%s: CoSign = %x, %v, want ErrSelfCheck", tt.name, r.Bytes(), err)
		}
	}

	// Halves of two epochs do not sign together.
	nonces, fresh := mustCommit(t, old[0])
	if _, err := nonces.Finish([]byte("m"), answer(t, renewed[1], fresh, []byte("m"))); !errors.Is(err, ErrShare) {
		t.Errorf("Finish across epochs = %v, want ErrShare", err)
	}
	// The agent's own damaged secret shows in the whole signature.
	damaged := *old[0]
	damaged.secret = renewed[0].secret
	nonces, fresh = mustCommit(t, &damaged)
	if _, err := nonces.Finish([]byte("m"), answer(t, old[1], fresh, []byte("m"))); !errors.Is(err, ErrSelfCheck) {
		t.Errorf("Finish with a damaged share = %v, want ErrSelfCheck", err)
	}
}

// altered is a copy of a share with something in it changed and the secret left: what only the transcript tells apart.
func altered(share *KeyShare, change func(*KeyShare)) *KeyShare {
	s := *share
	s.public = slices.Clone(s.public)
	change(&s)
	return &s
}

func TestCoSignRefuses(t *testing.T) {
	shares := deal(t, 2, 1)
	_, good := mustCommit(t, shares[0])
	at := func(place int, point []byte) Commitment {
		c := good
		copy(c[place:], point)
		return c
	}
	identity := encodePoint(edwards25519.NewIdentityPoint())
	for _, tt := range []struct {
		name             string
		peer             Commitment
		message, request int
		want             error
	}{
		{"D the identity", at(0, identity[:]), 1, 1, ErrEncoding},
		{"E the identity", at(pointSize, identity[:]), 1, 1, ErrEncoding},
		{"D of small order", at(0, torsion(t).Bytes()), 1, 1, ErrEncoding},
		{"torsion in D", at(0, twisted(t, good[:pointSize])), 1, 1, ErrEncoding},
		{"torsion in E", at(pointSize, twisted(t, good[pointSize:])), 1, 1, ErrEncoding},
		{"nothing", Commitment{}, 1, 1, ErrEncoding},
		{"message too long", good, MessageSizeMax + 1, 1, ErrParameter},
		{"request too long", good, 1, RequestSizeMax + 1, ErrParameter},
	} {
		r, err := CoSign(shares[1], tt.peer, make([]byte, tt.message), make([]byte, tt.request))
		if !errors.Is(err, tt.want) || r != (Release{}) {
			t.Errorf("%s: CoSign = %x, %v, want %v", tt.name, r.Bytes(), err, tt.want)
		}
		if _, err := ParseCommitment(tt.peer[:]); tt.want == ErrEncoding && !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: ParseCommitment = %v, want ErrEncoding", tt.name, err)
		}
	}
	if _, err := CoSign(shares[1], good, make([]byte, MessageSizeMax), make([]byte, RequestSizeMax)); err != nil {
		t.Errorf("CoSign at the bounds: %v", err)
	}
}

// TestErased: what Zero has touched signs no more, instead of signing with zero.
func TestErased(t *testing.T) {
	shares := deal(t, 2, 1)
	nonces, commitment := mustCommit(t, shares[0])
	release := answer(t, shares[1], commitment, nil)
	shares[0].Zero()
	shares[1].Zero()
	if _, err := nonces.Finish(nil, release); !errors.Is(err, ErrErased) {
		t.Errorf("Finish = %v, want ErrErased", err)
	}
	if _, _, err := shares[0].Commit(); !errors.Is(err, ErrErased) {
		t.Errorf("Commit = %v, want ErrErased", err)
	}
	if _, err := CoSign(shares[1], commitment, nil, nil); !errors.Is(err, ErrErased) {
		t.Errorf("CoSign = %v, want ErrErased", err)
	}
	if _, err := CoSign(nil, commitment, nil, nil); !errors.Is(err, ErrErased) {
		t.Errorf("CoSign with no share = %v, want ErrErased", err)
	}
	if shares[0].Secret() != nil {
		t.Error("Secret gives bytes after Zero")
	}
}

// TestConcurrentReleases runs one co-signer's share and many agents' attempts at once.
func TestConcurrentReleases(t *testing.T) {
	shares := deal(t, 2, 1)
	var wg sync.WaitGroup
	for k := range 64 {
		wg.Go(func() {
			message := []byte{byte(k)}
			nonces, commitment, err := shares[0].Commit()
			if err != nil {
				t.Error(err)
				return
			}
			release, err := CoSign(shares[1], commitment, message, nil)
			if err != nil {
				t.Error(err)
				return
			}
			signature, err := nonces.Finish(message, release)
			if err != nil || !VerifySignature(shares[0].groupKey, message, signature[:]) {
				t.Errorf("payment %d: %v", k, err)
			}
		})
	}
	wg.Wait()
}

func TestVerifySignature(t *testing.T) {
	shares := deal(t, 2, 1)
	message := []byte("a payment")
	nonces, commitment := mustCommit(t, shares[0])
	signature, err := nonces.Finish(message, answer(t, shares[1], commitment, message))
	if err != nil {
		t.Fatal(err)
	}
	key := shares[0].groupKey
	flipped := signature
	flipped[40] ^= 1
	// z = 0, R = O, A = O would satisfy the equation for every message.
	identity := encodePoint(edwards25519.NewIdentityPoint())
	forged := make([]byte, signatureSize)
	copy(forged, identity[:])
	// R = O under a good key, by who knows the secret.
	secret := random(t)
	own := encodePoint(basePoint(secret))
	known := make([]byte, signatureSize)
	copy(known, identity[:])
	copy(known[pointSize:], new(edwards25519.Scalar).Multiply(h2(identity[:], own[:], message), secret).Bytes())
	if !ed25519.Verify(own[:], message, known) {
		t.Fatal("crypto/ed25519 does not verify the signature with R = O; the row below shows nothing")
	}
	// A key with torsion whose challenge happens to kill the torsion: crypto/ed25519 takes it, a verifier with cofactors takes
	// others too, and the two disagree about the rest.
	torsion := [pointSize]byte(twisted(t, own[:]))
	agreed := make([]byte, signatureSize)
	for {
		nonce := random(t)
		r := encodePoint(basePoint(nonce))
		c := h2(r[:], torsion[:], message)
		if c.Bytes()[0]%8 != 0 {
			continue
		}
		copy(agreed, r[:])
		copy(agreed[pointSize:], new(edwards25519.Scalar).MultiplyAdd(c, secret, nonce).Bytes())
		break
	}
	if !ed25519.Verify(torsion[:], message, agreed) {
		t.Fatal("crypto/ed25519 does not verify the signature under the key with torsion; the row below shows nothing")
	}
	for _, tt := range []struct {
		name    string
		key     [pointSize]byte
		message string
		sig     []byte
		want    bool
	}{
		{"good", key, string(message), signature[:], true},
		{"another message", key, "a paymenT", signature[:], false},
		{"another signature", key, string(message), flipped[:], false},
		{"short", key, string(message), signature[:63], false},
		{"long", key, string(message), append(signature[:], 0), false},
		{"none", key, string(message), nil, false},
		{"key with torsion", torsion, string(message), agreed, false},
		{"key the identity", identity, string(message), forged, false},
		{"R the identity", own, string(message), known, false},
		{"not a key", [pointSize]byte{2}, string(message), signature[:], false},
	} {
		if got := VerifySignature(tt.key, []byte(tt.message), tt.sig); got != tt.want {
			t.Errorf("%s: verifies = %v, want %v", tt.name, got, tt.want)
		}
	}
}
