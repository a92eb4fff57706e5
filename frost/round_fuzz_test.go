package frost

import (
	"errors"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

// FuzzNewKeyShare: what is imported is what was given, and everything else is ErrEncoding.
func FuzzNewKeyShare(f *testing.F) {
	for _, share := range deal(f, 3, 1) {
		var public []byte
		for _, p := range share.public {
			public = append(public, p.encoded[:]...)
		}
		f.Add(uint16(share.id), uint64(1), share.Scalar(), public)
		f.Add(uint16(share.id), uint64(1), share.Scalar(), public[:2*pointSize])
	}
	f.Fuzz(func(t *testing.T, id uint16, epoch uint64, secret, public []byte) {
		var points [][32]byte
		for point := range slices.Chunk(public, pointSize) {
			if len(point) == pointSize {
				points = append(points, [32]byte(point))
			}
		}
		share, err := NewKeyShare(Identifier(id), epoch, secret, points)
		if err != nil {
			checkDecoded(t, nil, nil, err)
			return
		}
		checkDecoded(t, secret, share.Scalar(), nil)
		if parsed, err := ParseKeyShare(share.Secret()); err != nil || parsed.id != Identifier(id) || parsed.epoch != epoch {
			t.Errorf("an imported share does not parse: %v", err)
		}
	})
}

// FuzzAggregateShares gives a coordinator anything as the other signer's commitment and share. Only what verifies comes out,
// and whoever sent something else is named.
func FuzzAggregateShares(f *testing.F) {
	fixed := func(b byte) *edwards25519.Scalar {
		s, err := randomScalar(&counterStream{prefix: []byte{b}})
		if err != nil {
			f.Fatal(err)
		}
		return s
	}
	shares := dealFrom(f, []*edwards25519.Scalar{fixed(1), fixed(2)}, 2, 1)
	message := []byte("m")
	signers := make([]SignerCommitment, 2)
	nonces := make([]*Nonces, 2)
	for k, share := range shares {
		n, commitment, err := share.commit(&counterStream{prefix: []byte{3, byte(k)}})
		if err != nil {
			f.Fatal(err)
		}
		nonces[k], signers[k] = n, SignerCommitment{share.id, commitment}
	}
	good := signAll(f, nonces, message, signers)
	f.Add(signers[1].Commitment[:], good[1][:])
	f.Add(signers[0].Commitment[:], good[0][:])
	f.Add(twisted(f, signers[1].Commitment[:]), good[1][:])
	f.Fuzz(func(t *testing.T, commitment, share []byte) {
		if len(commitment) != len(Commitment{}) || len(share) != scalarSize {
			return
		}
		list := []SignerCommitment{signers[0], {CoSigner, Commitment(commitment)}}
		signature, err := AggregateShares(shares[0].Sharing(), message, list, []SignatureShare{good[0], SignatureShare(share)})
		var culprit *CulpritError
		switch {
		case err == nil:
			if list[1] != signers[1] || SignatureShare(share) != good[1] || !VerifySignature(shares[0].groupKey, message, signature[:]) {
				t.Errorf("aggregated %x with %x", share, commitment)
			}
		case list[0].Commitment == list[1].Commitment:
			if !errors.Is(err, ErrParameter) {
				t.Errorf("refused with %v, want ErrParameter", err)
			}
		case !errors.As(err, &culprit):
			t.Errorf("refused with %v, want a culprit named", err)
		}
	})
}
