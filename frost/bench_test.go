package frost

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"slices"
	"testing"
	"time"

	"filippo.io/edwards25519"
)

// Nothing here asserts a time. What a co-signature should cost is said in operations of the library: the floor's benchmarks
// make the same calls bare, and a ratio is measured interleaved with them, in one run on one machine.

// benchMessage has the size of a small transfer on Solana.
var benchMessage = make([]byte, 215)

var benchRequest = []byte("wallets/5d3f0c1e9a7b/payments/01K9Z3T5")

func BenchmarkCommit(b *testing.B) {
	share := deal(b, 2, 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := share.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCoSign(b *testing.B) {
	shares := deal(b, 2, 1)
	_, commitment := mustCommit(b, shares[0])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CoSign(shares[1], commitment, benchMessage, benchRequest); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFinish(b *testing.B) {
	shares := deal(b, 2, 1)
	nonces, commitment := mustCommit(b, shares[0])
	release := answer(b, shares[1], commitment, benchMessage)
	kept := *nonces.unused.Load().pair
	b.ReportAllocs()
	for b.Loop() {
		// The same nonces every time, which only a test in the package can arrange; two allocations are this line's.
		pair := kept
		nonces.unused.Store(&committed{pair: &pair, share: shares[0]})
		if _, err := nonces.Finish(benchMessage, release); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyShare(b *testing.B) {
	shares := deal(b, 2, 1)
	nonces, signers := commitAll(b, shares...)
	z, err := decodeScalar(slices.Clone(signAll(b, nonces, benchMessage, signers)[0][:]))
	if err != nil {
		b.Fatal(err)
	}
	s, err := signingBy(&shares[0].sharing, benchMessage, signers)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !s.verifyShare(0, z, s.coefficient(0), shares[0].public[0].point) {
			b.Fatal("does not verify")
		}
	}
}

// pay is a whole 2-of-2 signature.
func pay(b *testing.B, shares []*KeyShare) {
	nonces, commitment, err := shares[0].Commit()
	if err != nil {
		b.Fatal(err)
	}
	release, err := CoSign(shares[1], commitment, benchMessage, benchRequest)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := nonces.Finish(benchMessage, release); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkSign2of2(b *testing.B) {
	shares := deal(b, 2, 1)
	b.ReportAllocs()
	for b.Loop() {
		pay(b, shares)
	}
}

func BenchmarkExit(b *testing.B) {
	shares := deal(b, 3, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Exit(benchMessage, shares[0], shares[2]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeyGeneration is all of it, for both parties.
func BenchmarkKeyGeneration(b *testing.B) {
	for _, n := range []int{2, 3} {
		b.Run(fmt.Sprintf("2 of %d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				generateAll(b, n)
			}
		})
	}
}

func generateAll(b *testing.B, n int) {
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	run := Run{Session: make([]byte, 32), Threshold: thresholdOfWallet}
	var statics []*StaticKey
	for range n {
		static, err := NewStaticKey()
		must(err)
		statics, run.StaticKeys = append(statics, static), append(run.StaticKeys, static.Public())
	}
	var parties []*KeyGeneration
	var messages [][]byte
	for k := range n {
		party, err := NewKeyGeneration(Identifier(k+1), statics[k], run)
		must(err)
		parties, messages = append(parties, party), append(messages, party.Round1())
	}
	var certificates [][64]byte
	for _, party := range parties {
		certificate, err := party.Round2(messages)
		must(err)
		certificates = append(certificates, certificate)
	}
	for _, party := range parties {
		_, err := party.Finish(certificates)
		must(err)
	}
}

// BenchmarkRefresh is a whole refresh between agent and co-signer, keys for the run included.
func BenchmarkRefresh(b *testing.B) {
	shares := deal(b, 2, 1)
	b.ReportAllocs()
	for b.Loop() {
		refresh(b, shares)
	}
}

func refresh(b *testing.B, shares []*KeyShare) {
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	r := Resharing{Session: make([]byte, 32), Old: shares[0].Sharing(), Dealers: [2]Identifier{Agent, CoSigner}}
	var statics []*StaticKey
	for range shares {
		static, err := NewStaticKey()
		must(err)
		statics, r.StaticKeys = append(statics, static), append(r.StaticKeys, static.Public())
	}
	var runs [2]*Reshare
	var deals [2][]byte
	for k, share := range shares {
		run, err := NewReshare(share.id, statics[k], share, r)
		must(err)
		runs[k], deals[k] = run, run.Deal()
	}
	var certificates [2][64]byte
	for k, run := range runs {
		var err error
		certificates[k], err = run.Accept(deals)
		must(err)
	}
	for _, run := range runs {
		_, err := run.Finish(certificates)
		must(err)
	}
}

// floor makes the library calls that a co-signature cannot do without, on fixed values. Left out are, besides all glue, the
// randomness, the scalar arithmetic, and the encodings of the three points D, E and R.
type floor struct {
	scalar   *edwards25519.Scalar
	zero     *edwards25519.Scalar
	minusOne *edwards25519.Scalar
	points   []*edwards25519.Point
	scalars  []*edwards25519.Scalar
	encoded  [2][]byte
	input    []byte
	key      ed25519.PublicKey
	message  []byte
	signed   []byte
	scratch  edwards25519.Point
	verified bool
}

func newFloor(b *testing.B) *floor {
	f := &floor{scalar: random(b), zero: new(edwards25519.Scalar), input: make([]byte, 4<<10), message: benchMessage}
	f.minusOne = new(edwards25519.Scalar).Negate(Identifier(1).scalar())
	for range 3 {
		s := random(b)
		f.scalars, f.points = append(f.scalars, s), append(f.points, basePoint(s))
	}
	for k := range f.encoded {
		f.encoded[k] = f.points[k].Bytes()
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	f.key, f.signed = public, ed25519.Sign(private, f.message)
	return f
}

// commit is two base multiplications, and H3 twice.
func (f *floor) commit() {
	for range 2 {
		f.scratch.ScalarBaseMult(f.scalar)
		sha512.Sum512(f.input[:len(Suite)+5+64])
	}
}

// decode is a commitment's: two decompressions and two checks of order.
func (f *floor) decode() {
	for _, encoded := range f.encoded {
		if _, err := f.scratch.SetBytes(encoded); err != nil {
			panic(err)
		}
		f.scratch.VarTimeDoubleScalarBaseMult(f.minusOne, f.points[0], f.zero)
	}
}

// derive is a two-point sum for R, with H4, H5, H1 twice, and H2.
func (f *floor) derive() {
	f.scratch.VarTimeMultiScalarMult(f.scalars[:2], f.points[:2])
	sha512.Sum512(f.input[:len(Suite)+3+len(f.message)])
	sha512.Sum512(f.input[:len(Suite)+3+2*96])
	sha512.Sum512(f.input[:len(Suite)+3+192])
	sha512.Sum512(f.input[:len(Suite)+3+192])
	sha512.Sum512(f.input[:64+len(f.message)])
}

// check is a share's, a three-point sum.
func (f *floor) check() { f.scratch.VarTimeMultiScalarMult(f.scalars, f.points) }

// hedge is the two MACs behind a hedged nonce.
func (f *floor) hedge() {
	sha512.Sum512(f.input[:128+len(nonceKeyLabel)])
	sha512.Sum512(f.input[:128+64])
	sha512.Sum512(f.input[:128+transcriptSize+len(f.message)+len(benchRequest)])
	sha512.Sum512(f.input[:128+64])
}

func (f *floor) coSign() {
	f.decode()
	f.hedge()
	f.commit()
	f.derive()
	f.check()
}

func (f *floor) sign2of2() {
	f.commit()
	f.coSign()
	f.decode()
	f.derive()
	f.check()
	f.verified = ed25519.Verify(f.key, f.message, f.signed)
}

func BenchmarkCoSignFloor(b *testing.B) {
	f := newFloor(b)
	b.ReportAllocs()
	for b.Loop() {
		f.coSign()
	}
}

func BenchmarkSign2of2Floor(b *testing.B) {
	f := newFloor(b)
	b.ReportAllocs()
	for b.Loop() {
		f.sign2of2()
	}
}

// BenchmarkRatio reports a call's time over its floor's, made in turn: the time that a tenth of either stays below, which says
// most about the code and least about what else the machine was doing.
func BenchmarkRatio(b *testing.B) {
	shares := deal(b, 2, 1)
	_, commitment := mustCommit(b, shares[0])
	f := newFloor(b)
	for _, bb := range []struct {
		name        string
		call, floor func()
	}{
		{"CoSign", func() {
			if _, err := CoSign(shares[1], commitment, benchMessage, benchRequest); err != nil {
				b.Fatal(err)
			}
		}, f.coSign},
		{"Sign2of2", func() { pay(b, shares) }, f.sign2of2},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var calls, floors []time.Duration
			for b.Loop() {
				start := time.Now()
				bb.call()
				middle := time.Now()
				bb.floor()
				calls, floors = append(calls, middle.Sub(start)), append(floors, time.Since(middle))
			}
			slices.Sort(calls)
			slices.Sort(floors)
			call, floor := calls[len(calls)/10], floors[len(floors)/10]
			b.ReportMetric(float64(call)/float64(floor), "x-floor")
			b.ReportMetric(float64(floor.Nanoseconds()), "ns/floor")
			b.ReportMetric(float64(call.Nanoseconds()), "ns/call")
			b.ReportMetric(0, "ns/op") // of both together
		})
	}
}

// allocationsMax bounds a co-signature's, of which four are the library's tables for the two variable-time sums.
const allocationsMax = 14

func TestCoSignAllocations(t *testing.T) {
	shares := deal(t, 2, 1)
	_, commitment := mustCommit(t, shares[0])
	got := testing.AllocsPerRun(100, func() {
		if _, err := CoSign(shares[1], commitment, benchMessage, benchRequest); err != nil {
			t.Fatal(err)
		}
	})
	if got > allocationsMax {
		t.Errorf("CoSign makes %v allocations, want at most %d", got, allocationsMax)
	}
}
