package frost

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"filippo.io/edwards25519"
)

// TestSharingsTakesOneForNoOther changes each bit of a key share whose public half is remembered. Whatever comes of it comes of it
// without a memory too, and nothing of it is remembered unless it is a sharing.
func TestSharingsTakesOneForNoOther(t *testing.T) {
	for _, n := range []int{2, 3} {
		good := deal(t, n, 7)[1].Secret()
		var memory Sharings
		for range 2 {
			share, err := memory.ParseKeyShare(good)
			if err != nil || !bytes.Equal(share.Secret(), good) {
				t.Fatalf("the share itself: %v", err)
			}
		}
		for at := range 8 * len(good) {
			changed := bytes.Clone(good)
			changed[at/8] ^= 1 << (at % 8)
			want, wantErr := ParseKeyShare(changed)
			got, err := memory.ParseKeyShare(changed)
			switch {
			case (err == nil) != (wantErr == nil) || errors.Is(err, ErrEncoding) != errors.Is(wantErr, ErrEncoding):
				t.Fatalf("bit %d of a share of %d: got %v, want %v", at, n, err, wantErr)
			case err == nil && !bytes.Equal(got.Secret(), want.Secret()):
				t.Fatalf("bit %d of a share of %d: it reads as another share", at, n)
			}
		}
	}
}

// TestSharingsOfOthers remembers one wallet's sharing and brings others that have a part of it.
func TestSharingsOfOthers(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	first := dealFrom(t, coefficients, 3, 7)
	var memory Sharings
	if _, err := memory.ParseKeyShare(first[1].Secret()); err != nil {
		t.Fatal(err)
	}
	// Another line through the agent's share.
	slope := random(t)
	through := new(edwards25519.Scalar).Add(coefficients[0], coefficients[1])
	for name, shares := range map[string][]*KeyShare{
		"the agent's public share alone": dealFrom(t, []*edwards25519.Scalar{through.Subtract(through, slope), slope}, 3, 7),
		"another wallet":                 deal(t, 3, 7),
		"the same key shared anew":       dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 3, 8),
		"the same shares, another epoch": dealFrom(t, coefficients, 3, 8),
		"without the recovery share":     dealFrom(t, coefficients, 2, 7),
	} {
		own := shares[1].Secret()
		share, err := memory.ParseKeyShare(own)
		if err != nil || !bytes.Equal(share.Secret(), own) || !bytes.Equal(share.Sharing().Bytes(), shares[1].Sharing().Bytes()) {
			t.Errorf("%s: it reads as another share, or %v", name, err)
		}
	}
	// The remembered public half with the secret of another wallet.
	foreign := deal(t, 3, 7)[1]
	mixed := first[1].sharing.encode(append(suiteID(Suite), uint16s(int(CoSigner))...), foreign.Scalar())
	if _, err := memory.ParseKeyShare(mixed); !errors.Is(err, ErrEncoding) {
		t.Errorf("another wallet's secret beside a remembered public half: got %v, want %v", err, ErrEncoding)
	}
	// The remembered public shares with the group key of another wallet.
	mixed = first[1].Secret()
	const groupAt = 1 + len(Suite) + 2 + 8 + 2 + 2
	copy(mixed[groupAt:], foreign.groupKey[:])
	if _, err := memory.ParseKeyShare(mixed); !errors.Is(err, ErrEncoding) {
		t.Errorf("another group key beside remembered public shares: got %v, want %v", err, ErrEncoding)
	}
}

// TestSharingsEraseOneShare erases a share that was parsed from memory: the next one signs.
func TestSharingsEraseOneShare(t *testing.T) {
	shares := deal(t, 2, 1)
	stored := shares[1].Secret()
	var memory Sharings
	for range 3 {
		share, err := memory.ParseKeyShare(stored)
		if err != nil {
			t.Fatal(err)
		}
		nonces, commitment := mustCommit(t, shares[0])
		signature, err := nonces.Finish(benchMessage, answer(t, share, commitment, benchMessage))
		if groupKey := share.GroupKey(); err != nil || !ed25519.Verify(groupKey[:], benchMessage, signature[:]) {
			t.Fatalf("a share from memory does not sign: %v", err)
		}
		share.Zero()
	}
}

// TestSharingsAreBounded brings more sharings than are remembered.
func TestSharingsAreBounded(t *testing.T) {
	var memory Sharings
	for _, public := range []int{2, 3} {
		encoded := make([][pointSize]byte, public)
		for k, share := range deal(t, public, 1)[0].public {
			encoded[k] = share.encoded
		}
		for epoch := range uint64(sharingsMax) {
			if _, err := memory.decode(epoch+1, encoded); err != nil {
				t.Fatal(err)
			}
			if len(memory.known) > sharingsMax {
				t.Fatalf("%d sharings are remembered, want at most %d", len(memory.known), sharingsMax)
			}
		}
	}
	if _, err := memory.decode(0, nil); err == nil || len(memory.known) != sharingsMax {
		t.Errorf("what is refused is remembered: %d, %v", len(memory.known), err)
	}
}

func BenchmarkParseKeyShare(b *testing.B) {
	stored := deal(b, 2, 1)[1].Secret()
	var memory Sharings
	for _, bench := range []struct {
		name  string
		parse func([]byte) (*KeyShare, error)
	}{{"decoded", ParseKeyShare}, {"remembered", memory.ParseKeyShare}} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := bench.parse(stored); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
