package solana

import (
	"encoding/binary"
	"strings"
)

// Key names an account: the public key of a wallet, or an address that no private key stands behind.
type Key [32]byte

// Signature is an Ed25519 signature. Solana names a transaction by its first one.
type Signature [64]byte

const (
	// alphabet leaves out what is misread: 0, O, I and l.
	alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	// Five digits fit into 32 bits, so five are converted at a time.
	groupDigits = 5
	groupBase   = 58 * 58 * 58 * 58 * 58

	// The shortest texts are those of zero bytes, one digit each; the longest are those of 0xff bytes.
	keyTextMin, keyTextMax             = 32, 44
	signatureTextMin, signatureTextMax = 64, 88
)

// String returns the key's one text, in base58.
func (k Key) String() string { return base58(k[:]) }

// ParseKey reads what String returns, and refuses every other text.
func ParseKey(text string) (Key, error) {
	var k Key
	if len(text) < keyTextMin || len(text) > keyTextMax {
		return Key{}, refuse("address", "is not 32 to 44 characters of base58")
	}
	if why := parseBase58(k[:], text); why != "" {
		return Key{}, refuse("address", why)
	}
	return k, nil
}

// String returns the signature's one text, in base58.
func (s Signature) String() string { return base58(s[:]) }

// ParseSignature reads what String returns, and refuses every other text.
func ParseSignature(text string) (Signature, error) {
	var s Signature
	if len(text) < signatureTextMin || len(text) > signatureTextMax {
		return Signature{}, refuse("signature", "is not 64 to 88 characters of base58")
	}
	if why := parseBase58(s[:], text); why != "" {
		return Signature{}, refuse("signature", why)
	}
	return s, nil
}

// base58 writes b, 32 or 64 bytes, as one number in base 58, after one digit 1 for each zero byte in front.
func base58(b []byte) string {
	var space [(signatureTextMax + groupDigits - 1) / groupDigits]uint64
	groups := space[:9*len(b)/32] // 32 bytes take 44 digits at most, so 9 groups; the last digits come first
	for word := b; len(word) != 0; word = word[4:] {
		carry := uint64(binary.BigEndian.Uint32(word))
		for i := range groups {
			carry += groups[i] << 32
			groups[i] = carry % groupBase
			carry /= groupBase
		}
	}
	var text [len(space) * groupDigits]byte
	first := len(text) // place of the first digit that is not a 1
	for i, group := range groups {
		for digit := range groupDigits {
			place := len(text) - groupDigits*i - digit - 1
			text[place] = alphabet[group%58]
			if group%58 != 0 {
				first = place
			}
			group /= 58
		}
	}
	return string(text[first-leadingZeros(b):])
}

// parseBase58 reads text into all of b, 32 or 64 bytes, and says why it does not.
func parseBase58(b []byte, text string) (why string) {
	var words [len(Signature{}) / 4]uint32
	number := words[:len(b)/4]
	for rest := text; rest != ""; {
		// Only the first group is shorter than the others, so what stands before a group is moved by five digits.
		digits := (len(rest)-1)%groupDigits + 1
		carry := uint64(0)
		for _, c := range []byte(rest[:digits]) {
			digit := strings.IndexByte(alphabet, c)
			if digit < 0 {
				return "has a character that base58 does not have"
			}
			carry = carry*58 + uint64(digit)
		}
		for i := len(number) - 1; i >= 0; i-- {
			carry += uint64(number[i]) * groupBase
			number[i] = uint32(carry)
			carry >>= 32
		}
		if carry != 0 {
			return "is a larger number than its bytes hold"
		}
		rest = rest[digits:]
	}
	for i, word := range number {
		binary.BigEndian.PutUint32(b[4*i:], word)
	}
	// Fewer or more digits 1 in front would be the same number in a text of its own.
	if len(text)-len(strings.TrimLeft(text, alphabet[:1])) != leadingZeros(b) {
		return "does not begin with one 1 for each zero byte"
	}
	return ""
}

// leadingZeros counts the zero bytes in front.
func leadingZeros(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return len(b)
}
