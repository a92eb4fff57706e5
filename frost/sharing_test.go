package frost

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

// TestKeyShareBytes holds the serialisation of a key share to what sealed rows hold.
func TestKeyShareBytes(t *testing.T) {
	fixed := func(label string) *edwards25519.Scalar { return hashToScalar("TestKeyShareBytes", []byte(label)) }
	coefficients := []*edwards25519.Scalar{fixed("key"), fixed("slope")}
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"agent of two", dealFrom(t, coefficients, 2, 1)[0].Secret(), "ee4ac3b9a963d209db12fd21111914c7120351a43144f6b52a6aaed1955ac91c"},
		{"recovery of three", dealFrom(t, coefficients, 3, 258)[2].Secret(), "f50522ecb66afbf60aa1c616b7043a7e15de810fa839b8318ecf00f801bfbadb"},
	} {
		digest := sha256.Sum256(tt.b)
		if got := hex.EncodeToString(digest[:]); got != tt.want {
			t.Errorf("%s: digest of the bytes = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestSharingRoundTrip(t *testing.T) {
	for _, n := range []int{2, 3} {
		shares := deal(t, n, 7)
		want := shares[0].Sharing()
		for _, share := range shares {
			b := share.Sharing().Bytes()
			if !bytes.Equal(b, want.Bytes()) {
				t.Errorf("sharing of %s differs", share.id)
			}
			got, err := ParseSharing(b)
			if err != nil {
				t.Fatal(err)
			}
			clear(b)
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Error("the restored sharing encodes otherwise, or refers to the bytes it was parsed from")
			}
			if got.Epoch() != 7 || got.GroupKey() != share.GroupKey() || !slices.Equal(got.Participants(), []Identifier{1, 2, 3}[:n]) {
				t.Errorf("restored epoch %d of %v", got.Epoch(), got.Participants())
			}
			for id := range Identifier(n + 2) {
				y, ok := got.PublicShare(id)
				wantY, wantOK := share.PublicShare(id)
				if y != wantY || ok != wantOK {
					t.Errorf("public share of %s = %x, %v", id, y, ok)
				}
			}
		}
		shares[0].Zero()
		if want.GroupKey() != shares[1].GroupKey() || !bytes.Equal(shares[0].Sharing().Bytes(), want.Bytes()) {
			t.Error("erasing the share changed its sharing")
		}
	}
}

func TestParseSharingRefuses(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	shares := dealFrom(t, coefficients, 3, 7)
	good := shares[1].Sharing().Bytes()
	const (
		epochAt     = 1 + len(suiteSharing)
		thresholdAt = epochAt + 8
		countAt     = thresholdAt + 2
		groupAt     = countAt + 2
		publicAt    = groupAt + pointSize
	)
	edit := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	off := encodePoint(basePoint(random(t)))
	renewed := dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 3, 8)[0].Sharing().Bytes()
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"a key share", shares[0].Secret()},
		{"the suite of key shares", append([]byte{byte(len(Suite))}, append([]byte(Suite), good[epochAt:]...)...)},
		{"epoch 0", edit(epochAt, make([]byte, 8)...)},
		{"threshold 1", edit(thresholdAt, 0, 1)},
		{"threshold 3", edit(thresholdAt, 0, 3)},
		{"fewer participants than shares", edit(countAt, 0, 2)},
		{"more participants than shares", edit(countAt, 0, 4)},
		{"no participants", edit(countAt, 0, 0)},
		{"another group key", edit(groupAt, off[:]...)},
		{"group key with torsion", edit(groupAt, twisted(t, good[groupAt:publicAt])...)},
		{"public share the identity", edit(publicAt+2, edwards25519.NewIdentityPoint().Bytes()...)},
		{"public share with torsion", edit(publicAt+2, twisted(t, good[publicAt+2:publicAt+2+pointSize])...)},
		{"public share off the line", edit(publicAt+2*publicShareSize+2, off[:]...)},
		{"one public share of another epoch", edit(publicAt, renewed[publicAt:publicAt+publicShareSize]...)},
		{"one participant twice", edit(publicAt+publicShareSize, good[publicAt:publicAt+publicShareSize]...)},
		{"a byte more", append(bytes.Clone(good), 0)},
	} {
		if _, err := ParseSharing(tt.b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: ParseSharing = %v, want ErrEncoding", tt.name, err)
		}
	}
	for k := range good {
		if _, err := ParseSharing(good[:k]); !errors.Is(err, ErrEncoding) {
			t.Fatalf("%d of %d bytes: %v, want ErrEncoding", k, len(good), err)
		}
		if k >= epochAt && k < thresholdAt {
			continue // the epoch is whatever the bytes say
		}
		b := bytes.Clone(good)
		b[k] ^= 1 << (k % 8)
		if _, err := ParseSharing(b); !errors.Is(err, ErrEncoding) {
			t.Errorf("bit flipped in byte %d: %v, want ErrEncoding", k, err)
		}
	}
}
