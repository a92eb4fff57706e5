package solana

import (
	"crypto/sha256"

	"filippo.io/edwards25519"
)

// pdaMarker ends what is hashed into a program-derived address.
const pdaMarker = "ProgramDerivedAddress"

// AssociatedTokenAccount is the account in which owner holds mint under the classic Token program. The second result is false
// where there is none, which happens to nobody: half of all hashes are off the curve, and 256 of them are tried.
func AssociatedTokenAccount(owner, mint Key) (Key, bool) {
	return associatedTokenAccount(owner, tokenProgram, mint)
}

func associatedTokenAccount(owner, program, mint Key) (Key, bool) {
	return programDerived(associatedTokenProgram, owner, program, mint)
}

// programDerived is the address that program has for three seeds: the first of SHA-256(seeds, bump, program, marker), with bump
// from 255 down, that is no point of the curve, so that no private key stands behind it.
func programDerived(program Key, seeds ...Key) (Key, bool) {
	// Three seeds fit, and the array stays on the stack.
	var space [3*len(Key{}) + 1 + len(Key{}) + len(pdaMarker)]byte
	hashed := space[:0]
	for _, seed := range seeds {
		hashed = append(hashed, seed[:]...)
	}
	bump := len(hashed)
	hashed = append(hashed, 0)
	hashed = append(hashed, program[:]...)
	hashed = append(hashed, pdaMarker...)
	for n := 255; n >= 0; n-- {
		hashed[bump] = byte(n)
		if address := Key(sha256.Sum256(hashed)); !onCurve(address) {
			return address, true
		}
	}
	return Key{}, false
}

// onCurve says whether k decompresses to a point as in curve25519-dalek, which decides on chain: the sign bit is left out, and y
// is reduced, so encodings that RFC 8032 refuses are points too. SetBytes reads them so, as its documentation promises.
func onCurve(k Key) bool {
	_, err := new(edwards25519.Point).SetBytes(k[:])
	return err == nil
}
