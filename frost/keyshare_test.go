package frost

import (
	"bytes"
	"errors"
	"testing"

	"filippo.io/edwards25519"
)

func TestKeyShareRoundTrip(t *testing.T) {
	for _, n := range []int{2, 3} {
		for _, share := range deal(t, n, 7) {
			b := share.Secret()
			restored, err := ParseKeyShare(b)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(restored.Secret(), b) {
				t.Error("the restored share encodes otherwise")
			}
			if restored.Identifier() != share.Identifier() || restored.Epoch() != 7 || restored.GroupKey() != share.GroupKey() {
				t.Errorf("restored %s in epoch %d", restored.Identifier(), restored.Epoch())
			}
			for id := range Identifier(n + 2) {
				got, ok := restored.PublicShare(id)
				want, wantOK := share.PublicShare(id)
				if got != want || ok != wantOK || ok != (id >= 1 && int(id) <= n) {
					t.Errorf("public share of %s = %x, %v", id, got, ok)
				}
			}
			clear(b)
			if restored.usable() != nil {
				t.Error("the share refers to the bytes it was parsed from")
			}
		}
	}
}

func TestParseKeyShareRefuses(t *testing.T) {
	coefficients := []*edwards25519.Scalar{random(t), random(t)}
	shares := dealFrom(t, coefficients, 3, 7)
	good := shares[1].Secret()
	const (
		idAt        = 1 + len(Suite)
		epochAt     = idAt + 2
		thresholdAt = epochAt + 8
		countAt     = thresholdAt + 2
		groupAt     = countAt + 2
		secretAt    = groupAt + pointSize
		publicAt    = secretAt + scalarSize
	)
	edit := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	// A third share off the line: with it, different pairs would sign for different keys.
	off := encodePoint(basePoint(random(t)))
	// The same group key shared anew, and the other shares of a renewed sharing.
	renewed := dealFrom(t, []*edwards25519.Scalar{coefficients[0], random(t)}, 3, 8)
	identity := edwards25519.NewIdentityPoint().Bytes()
	unreduced := shares[1].secret.Bytes()
	carry := 0
	for k, b := range []byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	} {
		carry += int(unreduced[k]) + int(b)
		unreduced[k] = byte(carry)
		carry >>= 8
	}
	two := deal(t, 2, 1)[0].Secret()
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"another suite", edit(1, 'f')},
		{"another suite length", edit(0, byte(len(Suite)-1))},
		{"identifier 0", edit(idAt, 0, 0)},
		{"identifier of nobody", edit(idAt, 0, 4)},
		{"identifier of another", edit(idAt, 0, 1)},
		{"epoch 0", edit(epochAt, make([]byte, 8)...)},
		{"threshold 1", edit(thresholdAt, 0, 1)},
		{"threshold 3", edit(thresholdAt, 0, 3)},
		{"fewer participants than shares", edit(countAt, 0, 2)},
		{"more participants than shares", edit(countAt, 0, 4)},
		{"no participants", edit(countAt, 0, 0)},
		{"another group key", edit(groupAt, off[:]...)},
		{"group key with torsion", edit(groupAt, twisted(t, good[groupAt:secretAt])...)},
		{"secret zero", edit(secretAt, make([]byte, scalarSize)...)},
		{"secret plus L", edit(secretAt, unreduced...)},
		{"secret of another", edit(secretAt, shares[0].secret.Bytes()...)},
		{"secret of another epoch", edit(secretAt, renewed[1].secret.Bytes()...)},
		{"public share the identity", edit(publicAt+2, identity...)},
		{"public share with torsion", edit(publicAt+2, twisted(t, good[publicAt+2:publicAt+2+pointSize])...)},
		{"public share off the line", edit(publicAt+2*publicShareSize+2, off[:]...)},
		{"public shares of another epoch", edit(publicAt, renewed[1].Secret()[publicAt:]...)},
		{"public shares out of order", append(bytes.Clone(good[:publicAt]),
			bytes.Join([][]byte{
				good[publicAt+publicShareSize : publicAt+2*publicShareSize],
				good[publicAt : publicAt+publicShareSize], good[publicAt+2*publicShareSize:],
			}, nil)...)},
		{"a byte more", append(bytes.Clone(good), 0)},
		{"three said, two there", append(bytes.Clone(two[:countAt]), append([]byte{0, 3}, two[groupAt:]...)...)},
	} {
		if _, err := ParseKeyShare(tt.b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: ParseKeyShare = %v, want ErrEncoding", tt.name, err)
		}
	}
	for k := range good {
		if _, err := ParseKeyShare(good[:k]); !errors.Is(err, ErrEncoding) {
			t.Fatalf("%d of %d bytes: %v, want ErrEncoding", k, len(good), err)
		}
		if k >= epochAt && k < thresholdAt {
			continue // the epoch is whatever the sealed bytes say
		}
		b := bytes.Clone(good)
		b[k] ^= 1 << (k % 8)
		if _, err := ParseKeyShare(b); !errors.Is(err, ErrEncoding) {
			t.Errorf("bit flipped in byte %d: %v, want ErrEncoding", k, err)
		}
	}
}

// TestGroupKeyIdentity: shares of a key that is zero belong together, and are refused all the same.
func TestGroupKeyIdentity(t *testing.T) {
	coefficients := []*edwards25519.Scalar{new(edwards25519.Scalar), random(t)}
	secrets := []*edwards25519.Scalar{evaluate(coefficients, 1), evaluate(coefficients, 2)}
	if _, err := newKeyShare(Agent, 1, 2, secrets[0], publicShares(secrets)); !errors.Is(err, ErrEncoding) {
		t.Errorf("newKeyShare of the zero key = %v, want ErrEncoding", err)
	}
}

// TestSharesThatAreTheKey: a line without slope gives everybody the key itself, and whoever has a share signs alone. No way
// to have a sharing takes one.
func TestSharesThatAreTheKey(t *testing.T) {
	good := deal(t, 2, 1)[0]
	key := random(t)
	secrets := []*edwards25519.Scalar{key, key}
	public := publicShares(secrets)
	if _, err := newKeyShare(Agent, 1, thresholdOfWallet, key, public); !errors.Is(err, ErrEncoding) {
		t.Errorf("newKeyShare = %v, want ErrEncoding", err)
	}
	if _, err := NewKeyShare(Agent, 1, key.Bytes(), [][32]byte{public[0].encoded, public[1].encoded}); !errors.Is(err, ErrEncoding) {
		t.Errorf("NewKeyShare = %v, want ErrEncoding", err)
	}
	flat := altered(good, func(s *KeyShare) {
		s.secret, s.public, s.group, s.groupKey = key, public, public[0].point, public[0].encoded
	})
	if _, err := ParseKeyShare(flat.Secret()); !errors.Is(err, ErrEncoding) {
		t.Errorf("ParseKeyShare = %v, want ErrEncoding", err)
	}
	if _, err := ParseSharing(flat.Sharing().Bytes()); !errors.Is(err, ErrEncoding) {
		t.Errorf("ParseSharing = %v, want ErrEncoding", err)
	}
}
