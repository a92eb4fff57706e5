package client

import (
	"bytes"
	"testing"
)

// TestWholeSignatureIsOneOnly changes each bit of what was verified: only exactly that signature over exactly that message counts as
// verified, and before one was made nothing does.
func TestWholeSignatureIsOneOnly(t *testing.T) {
	message := []byte("\xffhalfkey/book/v1 and what follows")
	made := wholeSignature{message: bytes.Clone(message), signature: [64]byte{1, 2, 3}}
	signature := bytes.Clone(made.signature[:])
	if !made.is(message, signature) {
		t.Fatal("what was made does not count")
	}
	for name, b := range map[string][]byte{"message": message, "signature": signature} {
		for bit := range 8 * len(b) {
			b[bit/8] ^= 1 << (bit % 8)
			if made.is(message, signature) {
				t.Errorf("the %s with bit %d changed counts as verified", name, bit)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
	var none wholeSignature
	for _, s := range [][]byte{nil, make([]byte, 64), signature} {
		if none.is(message, s) || none.is(nil, s) || made.is(nil, s) || made.is(message, s[:min(len(s), 63)]) {
			t.Errorf("%x counts as verified", s)
		}
	}
}
