package frost

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"filippo.io/edwards25519"
)

// commitAll draws the nonces of two shares, and lists their commitments in the order given.
func commitAll(t testing.TB, shares ...*KeyShare) (nonces []*Nonces, signers []SignerCommitment) {
	t.Helper()
	for _, share := range shares {
		n, commitment, err := share.NewNonces()
		if err != nil {
			t.Fatal(err)
		}
		nonces, signers = append(nonces, n), append(signers, SignerCommitment{share.id, commitment})
	}
	return nonces, signers
}

// signAll is round two.
func signAll(t testing.TB, nonces []*Nonces, message []byte, signers []SignerCommitment) []SignatureShare {
	t.Helper()
	shares := make([]SignatureShare, len(nonces))
	for k := range nonces {
		var err error
		if shares[k], err = nonces[k].SignShare(message, signers); err != nil {
			t.Fatal(err)
		}
	}
	return shares
}

// TestTwoRounds signs with every pair in two rounds, and finishes a round-one commitment with a one-shot answer as well: the
// two ways make the same shares.
func TestTwoRounds(t *testing.T) {
	all := deal(t, 3, 1)
	message := []byte("a payment")
	for _, pair := range [][]*KeyShare{{all[0], all[1]}, {all[0], all[2]}, {all[1], all[2]}} {
		nonces, signers := commitAll(t, pair...)
		signature, err := AggregateShares(pair[0].Sharing(), message, signers, signAll(t, nonces, message, signers))
		if err != nil {
			t.Fatalf("%s and %s: %v", pair[0].id, pair[1].id, err)
		}
		if !VerifySignature(pair[0].groupKey, message, signature[:]) {
			t.Errorf("signature of %s and %s does not verify", pair[0].id, pair[1].id)
		}
	}
	nonces, signers := commitAll(t, all[0])
	release := answer(t, all[1], signers[0].Commitment, message)
	signers = append(signers, SignerCommitment{CoSigner, release.Commitment})
	mine, err := nonces[0].SignShare(message, signers)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := AggregateShares(all[0].Sharing(), message, signers, []SignatureShare{mine, release.Share})
	if err != nil || !VerifySignature(all[0].groupKey, message, signature[:]) {
		t.Errorf("a share of each way: %v", err)
	}
}

// TestTwoRoundVectors puts the published nonces into the exported calls.
func TestTwoRoundVectors(t *testing.T) {
	for _, tt := range []struct{ name, file string }{
		{"RFC 9591 E.1", "frost-ed25519-sha512.json"},
		{"ZF FROST", "zf-frost-ed25519-vectors.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v frostVectors
			loadVectors(t, tt.file, &v)
			var public [][32]byte
			for _, s := range v.Inputs.Shares {
				public = append(public, encodePoint(basePoint(mustScalar(t, s.Share))))
			}
			var nonces []*Nonces
			var signers []SignerCommitment
			var sharing *Sharing
			for _, o := range v.RoundOne.Outputs {
				share, err := NewKeyShare(o.Identifier, 1, v.Inputs.Shares[o.Identifier-1].Share, public)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "exported share", share.Scalar(), v.Inputs.Shares[o.Identifier-1].Share)
				stream := bytes.NewReader(append(bytes.Clone(o.HidingRandomness), o.BindingRandomness...))
				n, commitment, err := share.commit(stream)
				if err != nil {
					t.Fatal(err)
				}
				nonces, signers = append(nonces, n), append(signers, SignerCommitment{o.Identifier, commitment})
				sharing = share.Sharing()
			}
			shares := signAll(t, nonces, v.Inputs.Message, signers)
			for k, o := range v.RoundTwo.Outputs {
				same(t, "signature share", shares[k][:], o.Share)
			}
			signature, err := AggregateShares(sharing, v.Inputs.Message, signers, shares)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "signature", signature[:], v.Final.Signature)
		})
	}
}

// TestSignShareRefuses: what a coordinator can give a signer as the commitment list. The nonces are gone each time.
func TestSignShareRefuses(t *testing.T) {
	all := deal(t, 3, 1)
	message := []byte("m")
	const nobody = Relay + 99 // no culprit can be told
	for _, tt := range []struct {
		name    string
		change  func([]SignerCommitment) []SignerCommitment
		message []byte
		want    error
		culprit Identifier
	}{
		{"nobody", func([]SignerCommitment) []SignerCommitment { return nil }, message, ErrParameter, nobody},
		{"alone", func(s []SignerCommitment) []SignerCommitment { return s[:1] }, message, ErrParameter, nobody},
		{"only the other", func(s []SignerCommitment) []SignerCommitment { return s[1:] }, message, ErrParameter, nobody},
		{"three signers", func(s []SignerCommitment) []SignerCommitment {
			_, third := commitAll(t, all[2])
			return append(s, third...)
		}, message, ErrParameter, nobody},
		{"unsorted", func(s []SignerCommitment) []SignerCommitment { return []SignerCommitment{s[1], s[0]} }, message, ErrParameter, nobody},
		{
			"one signer twice", func(s []SignerCommitment) []SignerCommitment { return []SignerCommitment{s[0], s[0]} },
			message, ErrParameter, nobody,
		},
		{"one signer with two commitments", func(s []SignerCommitment) []SignerCommitment {
			_, again := commitAll(t, all[0])
			return []SignerCommitment{again[0], s[0]}
		}, message, ErrParameter, nobody},
		{"one commitment twice", func(s []SignerCommitment) []SignerCommitment {
			s[1].Commitment = s[0].Commitment
			return s
		}, message, ErrParameter, nobody},
		{"unknown signer", func(s []SignerCommitment) []SignerCommitment {
			s[1].Signer = 4
			return s
		}, message, ErrParameter, nobody},
		{"signer zero", func(s []SignerCommitment) []SignerCommitment {
			s[1].Signer = 0
			return []SignerCommitment{s[1], s[0]}
		}, message, ErrParameter, nobody},
		{"own commitment changed", func(s []SignerCommitment) []SignerCommitment {
			_, again := commitAll(t, all[0])
			return []SignerCommitment{again[0], s[1]}
		}, message, ErrReplay, Relay},
		{"torsion in the own commitment", func(s []SignerCommitment) []SignerCommitment {
			copy(s[0].Commitment[:], twisted(t, s[0].Commitment[:pointSize]))
			return s
		}, message, ErrReplay, Relay},
		{"torsion in the other's commitment", func(s []SignerCommitment) []SignerCommitment {
			copy(s[1].Commitment[:], twisted(t, s[1].Commitment[:pointSize]))
			return s
		}, message, ErrEncoding, CoSigner},
		{"no commitment of the other", func(s []SignerCommitment) []SignerCommitment {
			s[1].Commitment = Commitment{}
			return s
		}, message, ErrEncoding, CoSigner},
		{"message too long", func(s []SignerCommitment) []SignerCommitment { return s }, make([]byte, MessageSizeMax+1), ErrParameter, nobody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonces, signers := commitAll(t, all[0], all[1])
			pair := nonces[0].unused.Load().pair
			share, err := nonces[0].SignShare(tt.message, tt.change(append([]SignerCommitment(nil), signers...)))
			if !errors.Is(err, tt.want) || share != (SignatureShare{}) {
				t.Fatalf("SignShare = %x, %v, want %v", share, err, tt.want)
			}
			blamed(t, err, tt.culprit, nobody)
			if zero := new(edwards25519.Scalar); pair.d.Equal(zero) != 1 || pair.e.Equal(zero) != 1 {
				t.Error("the nonces were not overwritten")
			}
			if _, err := nonces[0].SignShare(message, signers); !errors.Is(err, ErrNoncesUsed) {
				t.Errorf("second SignShare = %v, want ErrNoncesUsed", err)
			}
		})
	}

	t.Run("secret of another epoch", func(t *testing.T) {
		damaged := *all[0]
		damaged.secret = all[1].secret
		nonces, signers := commitAll(t, &damaged, all[1])
		if share, err := nonces[0].SignShare(message, signers); !errors.Is(err, ErrSelfCheck) || share != (SignatureShare{}) {
			t.Errorf("SignShare = %x, %v, want ErrSelfCheck", share, err)
		}
	})
	t.Run("erased", func(t *testing.T) {
		erased := deal(t, 2, 1)
		nonces, signers := commitAll(t, erased...)
		erased[0].Zero()
		if _, err := nonces[0].SignShare(message, signers); !errors.Is(err, ErrErased) {
			t.Errorf("SignShare = %v, want ErrErased", err)
		}
		if _, _, err := erased[0].NewNonces(); !errors.Is(err, ErrErased) {
			t.Errorf("NewNonces = %v, want ErrErased", err)
		}
	})
}

// blamed checks that err names the culprit, or is no blame where that is nobody.
func blamed(t *testing.T, err error, want, nobody Identifier) {
	t.Helper()
	var culprit *CulpritError
	switch named := errors.As(err, &culprit); {
	case named != (want != nobody):
		t.Errorf("%v names a culprit: %v, want %v", err, named, want != nobody)
	case named && culprit.Culprit != want:
		t.Errorf("%v names %s, want %s", err, culprit.Culprit, want)
	}
}

// TestAggregateSharesRefuses: nothing that does not verify comes out, and who spoilt it is named.
func TestAggregateSharesRefuses(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	all := dealFrom(t, coefficients, 3, 1)
	renewed := dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 3, 2)
	others := deal(t, 3, 1)
	message := []byte("m")
	sharing := all[0].Sharing()
	const nobody = Relay + 99
	l := [scalarSize]byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}
	type aggregation struct {
		sharing *Sharing
		message []byte
		signers []SignerCommitment
		shares  []SignatureShare
	}
	for _, tt := range []struct {
		name    string
		change  func(*aggregation)
		want    error
		culprit Identifier
	}{
		{"no sharing", func(a *aggregation) { a.sharing = nil }, ErrParameter, nobody},
		{"the zero sharing", func(a *aggregation) { a.sharing = new(Sharing) }, ErrParameter, nobody},
		{"sharing of another epoch", func(a *aggregation) { a.sharing = renewed[0].Sharing() }, ErrShare, Agent},
		{"sharing of another key", func(a *aggregation) { a.sharing = others[0].Sharing() }, ErrShare, Agent},
		{"another message", func(a *aggregation) { a.message = []byte("M") }, ErrShare, Agent},
		{"message too long", func(a *aggregation) { a.message = make([]byte, MessageSizeMax+1) }, ErrParameter, nobody},
		{"a single share", func(a *aggregation) { a.shares = a.shares[:1] }, ErrParameter, nobody},
		{"a single signer", func(a *aggregation) { a.signers, a.shares = a.signers[:1], a.shares[:1] }, ErrParameter, nobody},
		{"no share", func(a *aggregation) { a.signers, a.shares = nil, nil }, ErrParameter, nobody},
		{"one share twice", func(a *aggregation) { a.shares[1] = a.shares[0] }, ErrShare, CoSigner},
		{"three shares", func(a *aggregation) { a.shares = append(a.shares, a.shares[0]) }, ErrParameter, nobody},
		{"shares exchanged", func(a *aggregation) { a.shares[0], a.shares[1] = a.shares[1], a.shares[0] }, ErrShare, Agent},
		{"unsorted", func(a *aggregation) {
			a.signers[0], a.signers[1] = a.signers[1], a.signers[0]
			a.shares[0], a.shares[1] = a.shares[1], a.shares[0]
		}, ErrParameter, nobody},
		{"one signer twice", func(a *aggregation) { a.signers[1].Signer = Agent }, ErrParameter, nobody},
		{"unknown signer", func(a *aggregation) { a.signers[1].Signer = 4 }, ErrParameter, nobody},
		{"another signer's name", func(a *aggregation) { a.signers[1].Signer = Recovery }, ErrShare, Agent},
		{"one commitment twice", func(a *aggregation) { a.signers[1].Commitment = a.signers[0].Commitment }, ErrParameter, nobody},
		{"another commitment", func(a *aggregation) {
			_, again := commitAll(t, all[1])
			a.signers[1] = again[0]
		}, ErrShare, Agent},
		{"torsion in a commitment", func(a *aggregation) {
			copy(a.signers[1].Commitment[pointSize:], twisted(t, a.signers[1].Commitment[pointSize:]))
		}, ErrEncoding, CoSigner},
		{"flipped bit in the first share", func(a *aggregation) { a.shares[0][3] ^= 1 }, ErrShare, Agent},
		{"flipped bit in the second share", func(a *aggregation) { a.shares[1][3] ^= 1 }, ErrShare, CoSigner},
		{"errors that cancel", func(a *aggregation) {
			one := Identifier(1).scalar()
			first, second := mustScalar(t, a.shares[0][:]), mustScalar(t, a.shares[1][:])
			a.shares[0] = SignatureShare(first.Add(first, one).Bytes())
			a.shares[1] = SignatureShare(second.Subtract(second, one).Bytes())
		}, ErrShare, Agent},
		{"share zero", func(a *aggregation) { a.shares[1] = SignatureShare{} }, ErrEncoding, CoSigner},
		{"share of L", func(a *aggregation) { a.shares[1] = l }, ErrEncoding, CoSigner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonces, signers := commitAll(t, all[0], all[1])
			a := aggregation{sharing, message, signers, signAll(t, nonces, message, signers)}
			tt.change(&a)
			signature, err := AggregateShares(a.sharing, a.message, a.signers, a.shares)
			if !errors.Is(err, tt.want) || signature != (Signature{}) {
				t.Fatalf("AggregateShares = %x, %v, want %v", signature, err, tt.want)
			}
			blamed(t, err, tt.culprit, nobody)
		})
	}
}

// TestAggregateIsVerified: shares that all satisfy their equations make no signature under a group key that is not theirs, as
// when a row's key and public shares come from two wallets. Nothing but the verifier of the whole sees it.
func TestAggregateIsVerified(t *testing.T) {
	shares, others := deal(t, 2, 1), deal(t, 2, 1)
	for k := range shares {
		shares[k] = altered(shares[k], func(s *KeyShare) { s.groupKey = others[0].groupKey })
	}
	nonces, signers := commitAll(t, shares...)
	message := []byte("m")
	signature, err := AggregateShares(shares[0].Sharing(), message, signers, signAll(t, nonces, message, signers))
	if !errors.Is(err, ErrSelfCheck) || signature != (Signature{}) {
		t.Errorf("AggregateShares = %x, %v, want ErrSelfCheck", signature, err)
	}
}

// TestNoncesServeOneWay: nonces that have served one call, in either way to sign, serve no other.
func TestNoncesServeOneWay(t *testing.T) {
	all := deal(t, 2, 1)
	message := []byte("m")
	nonces, signers := commitAll(t, all...)
	release := answer(t, all[1], signers[0].Commitment, message)
	if _, err := nonces[0].SignShare(message, signers); err != nil {
		t.Fatal(err)
	}
	if _, err := nonces[0].Finish(message, release); !errors.Is(err, ErrNoncesUsed) {
		t.Errorf("Finish after SignShare = %v, want ErrNoncesUsed", err)
	}
	nonces, signers = commitAll(t, all...)
	if _, err := nonces[0].Finish(message, answer(t, all[1], signers[0].Commitment, message)); err != nil {
		t.Fatal(err)
	}
	if _, err := nonces[0].SignShare(message, signers); !errors.Is(err, ErrNoncesUsed) {
		t.Errorf("SignShare after Finish = %v, want ErrNoncesUsed", err)
	}

	// Concurrently, through copies, with two messages: two shares of one pair would be two equations for three unknowns.
	for range 8 {
		nonces, signers := commitAll(t, all...)
		var won, refused atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for k := range 16 {
			mine := *nonces[0]
			wg.Go(func() {
				<-start
				switch _, err := mine.SignShare([]byte{byte(k % 2)}, signers); {
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
			t.Fatalf("%d calls signed and %d were refused, want 1 and 15", won.Load(), refused.Load())
		}
	}
	var zero Nonces
	if _, err := zero.SignShare(message, signers); !errors.Is(err, ErrNoncesUsed) {
		t.Errorf("SignShare of zero Nonces = %v, want ErrNoncesUsed", err)
	}
}

func TestExit(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	all := dealFrom(t, coefficients, 3, 7)
	message := []byte("sweep to a key of the owner's own")
	for _, pair := range [][2]*KeyShare{
		{all[0], all[2]},
		{all[1], all[2]},
		{all[0], all[1]},
		{all[2], all[0]},
	} {
		signature, err := Exit(message, pair[0], pair[1])
		if err != nil || !ed25519.Verify(all[0].groupKey[:], message, signature[:]) {
			t.Errorf("Exit of %s and %s: %v", pair[0].id, pair[1].id, err)
		}
	}

	another := dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 3, 7)
	erased := dealFrom(t, coefficients, 3, 7)[1]
	erased.Zero()
	damaged := *all[1]
	damaged.secret = another[1].secret
	for _, tt := range []struct {
		name string
		a, b *KeyShare
		want error
	}{
		{"one share twice", all[0], all[0], ErrParameter},
		{"shares of two keys", all[0], deal(t, 3, 7)[2], ErrParameter},
		{"shares of two epochs", all[0], dealFrom(t, coefficients, 3, 8)[2], ErrParameter},
		{"shares of two sharings that call themselves one epoch", all[0], another[2], ErrParameter},
		{"shares from before and after an enrolment", dealFrom(t, coefficients, 2, 7)[0], all[2], ErrParameter},
		{"no share", all[0], nil, ErrErased},
		{"erased", erased, all[2], ErrErased},
		{"damaged", &damaged, all[2], ErrSelfCheck},
	} {
		if signature, err := Exit(message, tt.a, tt.b); !errors.Is(err, tt.want) || signature != (Signature{}) {
			t.Errorf("%s: Exit = %x, %v, want %v", tt.name, signature, err, tt.want)
		}
	}
	if _, err := Exit(make([]byte, MessageSizeMax+1), all[0], all[2]); !errors.Is(err, ErrParameter) {
		t.Errorf("Exit of an oversized message = %v, want ErrParameter", err)
	}
}

func TestNewKeyShare(t *testing.T) {
	all := deal(t, 3, 5)
	var public [][32]byte
	for _, share := range all {
		public = append(public, encodePoint(basePoint(share.secret)))
	}
	for _, n := range []int{2, 3} {
		for _, share := range all[:n] {
			got, err := NewKeyShare(share.id, 5, share.Scalar(), public[:n])
			if err != nil {
				t.Fatalf("%s of %d: %v", share.id, n, err)
			}
			parsed, err := ParseKeyShare(got.Secret())
			if err != nil {
				t.Errorf("%s of %d: an imported share does not parse: %v", share.id, n, err)
			} else {
				same(t, "imported share", parsed.Scalar(), share.Scalar())
			}
		}
	}
	with := func(k int, point []byte) [][32]byte {
		changed := append([][32]byte(nil), public...)
		copy(changed[k][:], point)
		return changed
	}
	four := deal(t, 4, 5)
	var publicOfFour [][32]byte
	for _, share := range four {
		publicOfFour = append(publicOfFour, encodePoint(basePoint(share.secret)))
	}
	identity := encodePoint(edwards25519.NewIdentityPoint())
	l := []byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}
	good := all[0].Scalar()
	for _, tt := range []struct {
		name   string
		id     Identifier
		epoch  uint64
		secret []byte
		public [][32]byte
	}{
		{"nobody's", 0, 5, good, public},
		{"of a fourth participant", 4, 5, good, public},
		{"another participant's secret", 2, 5, good, public},
		{"epoch zero", 1, 0, good, public},
		{"one participant", 1, 5, good, public[:1]},
		{"four participants", 1, 5, four[0].Scalar(), publicOfFour},
		{"no secret", 1, 5, nil, public},
		{"short secret", 1, 5, good[:31], public},
		{"secret zero", 1, 5, make([]byte, scalarSize), public},
		{"secret of L", 1, 5, l, public},
		{"public shares exchanged", 1, 5, good, [][32]byte{public[0], public[2], public[1]}},
		{"a public share off the line", 1, 5, good, with(2, basePoint(random(t)).Bytes())},
		{"a public share the identity", 1, 5, good, with(1, identity[:])},
		{"torsion in a public share", 1, 5, good, with(2, twisted(t, public[2][:]))},
		{"no point", 1, 5, good, with(2, make([]byte, pointSize))},
	} {
		if share, err := NewKeyShare(tt.id, tt.epoch, tt.secret, tt.public); !errors.Is(err, ErrEncoding) || share != nil {
			t.Errorf("%s: NewKeyShare = %v, %v, want ErrEncoding", tt.name, share, err)
		}
	}
	all[0].Zero()
	if all[0].Scalar() != nil {
		t.Error("Scalar gives bytes after Zero")
	}
}
