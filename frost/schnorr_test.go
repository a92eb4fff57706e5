package frost

import (
	"testing"

	"filippo.io/edwards25519"
)

func TestSchnorr(t *testing.T) {
	secret := random(t)
	p := basePoint(secret)
	public := encodePoint(p)
	message := []byte("a transcript")
	good, err := schnorrSign(secret, message)
	if err != nil {
		t.Fatal(err)
	}
	again, err := schnorrSign(secret, message)
	if err != nil || again != good {
		t.Errorf("signing again = %x, %v, want %x", again, err, good)
	}
	other := random(t)

	// R = O with z = c·secret satisfies the equation.
	identity := encodePoint(edwards25519.NewIdentityPoint())
	var withoutNonce [signatureSize]byte
	copy(withoutNonce[:], identity[:])
	c := schnorrChallenge(identity, public, message)
	copy(withoutNonce[pointSize:], new(edwards25519.Scalar).Multiply(c, secret).Bytes())
	if !verifySchnorr(new(edwards25519.Scalar).Multiply(c, secret), edwards25519.NewIdentityPoint(), c, p) {
		t.Fatal("R = O does not satisfy the equation; the row below shows nothing")
	}
	malleable := good
	carry := 0
	for k, b := range []byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	} {
		carry += int(malleable[pointSize+k]) + int(b)
		malleable[pointSize+k] = byte(carry)
		carry >>= 8
	}
	flipped := good
	flipped[0] ^= 1
	for _, tt := range []struct {
		name      string
		p         *edwards25519.Point
		message   string
		signature [signatureSize]byte
		want      bool
	}{
		{"good", p, string(message), good, true},
		{"another message", p, "a Transcript", good, false},
		{"another key", basePoint(other), string(message), good, false},
		{"altered", p, string(message), flipped, false},
		{"z plus L", p, string(message), malleable, false},
		{"R the identity", p, string(message), withoutNonce, false},
		{"nothing", p, string(message), [signatureSize]byte{}, false},
	} {
		if got := schnorrVerify(tt.p, encodePoint(tt.p), []byte(tt.message), tt.signature); got != tt.want {
			t.Errorf("%s: verifies = %v, want %v", tt.name, got, tt.want)
		}
	}
	if VerifySignature(public, message, good[:]) {
		t.Error("a proof or certificate is an Ed25519 signature")
	}
	for range 64 { // another secret never gives the same nonce
		other.Add(other, Identifier(1).scalar())
		if schnorrNonce(other, message).Equal(schnorrNonce(secret, message)) == 1 {
			t.Fatal("two secrets share a nonce")
		}
	}
}
