package solana_test

import (
	"bytes"
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// TestKnownTexts are addresses and a signature whose bytes are written down elsewhere.
func TestKnownTexts(t *testing.T) {
	for text, want := range map[string]string{
		systemProgram: strings.Repeat("00", 32),
		computeBudget: "0306466fe5211732ffecadba72c39be7bc8ce5bbc5f7126b2c439b3a40000000",
		tokenProgram:  "06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9",
		usdc:          "c6fa7af3bedbad3a3d65f36aabc97431b1bbe4c2d2f6e0e47ca60203452f5d61",
		"JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG": strings.Repeat("ff", 32),
	} {
		k := key(t, text)
		if !bytes.Equal(k[:], unhex(t, want)) || k.String() != text {
			t.Errorf("%s is %x and written %s; want %s", text, k[:], k, want)
		}
	}
	if got := (solana.Signature{}).String(); got != strings.Repeat("1", 64) {
		t.Errorf("the zero signature is written %s", got)
	}
}

func TestRefusedTexts(t *testing.T) {
	ones := func(n int) string { return strings.Repeat("1", n) }
	tests := []struct {
		name, text, why string
	}{
		{"empty", "", "is not 32 to 44 characters of base58"},
		{"31 characters", ones(31), "is not 32 to 44 characters of base58"},
		{"45 characters", usdc + "1", "is not 32 to 44 characters of base58"},
		{"a signature", ones(64), "is not 32 to 44 characters of base58"},
		{"a megabyte", strings.Repeat("z", 1<<20), "is not 32 to 44 characters of base58"},
		{"a zero for an o", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt10", "has a character that base58 does not have"},
		{"capital o", "O" + usdc[1:], "has a character that base58 does not have"},
		{"capital i", usdc[:20] + "I" + usdc[21:], "has a character that base58 does not have"},
		{"small l", usdc[:20] + "l" + usdc[21:], "has a character that base58 does not have"},
		{"space before", " " + usdc[1:], "has a character that base58 does not have"},
		{"line end after", usdc[:43] + "\n", "has a character that base58 does not have"},
		{"nul", usdc[:43] + "\x00", "has a character that base58 does not have"},
		{"letter above ASCII", usdc[:42] + "é", "has a character that base58 does not have"},
		{"hex of 16 bytes", "00112233445566778899aabbccddeeff", "has a character that base58 does not have"},
		{"number after the largest", "JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFH", "is a larger number than its bytes hold"},
		{"all z", strings.Repeat("z", 44), "is a larger number than its bytes hold"},
		{"one 1 too many before zero", ones(33), "does not begin with one 1 for each zero byte"},
		{"one 1 too many before a number", "1" + computeBudget, "does not begin with one 1 for each zero byte"},
		{"too few digits", strings.Repeat("2", 32), "does not begin with one 1 for each zero byte"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k, err := solana.ParseKey(test.text)
			var refused *solana.Error
			if !errors.As(err, &refused) || refused.Field != "address" || refused.Why != test.why || k != (solana.Key{}) {
				t.Errorf("ParseKey(%q) = %x, %v; want a refusal: %s", test.text, k[:], err, test.why)
			}
		})
	}
	for name, text := range map[string]string{
		"a key": usdc, "63 characters": ones(63), "89 characters": ones(89), "alias": ones(65), "too large": strings.Repeat("z", 88),
		"foreign character": ones(63) + "l",
	} {
		t.Run("signature: "+name, func(t *testing.T) {
			s, err := solana.ParseSignature(text)
			var refused *solana.Error
			if !errors.As(err, &refused) || refused.Field != "signature" || s != (solana.Signature{}) {
				t.Errorf("ParseSignature(%q) = %x, %v", text, s[:], err)
			}
		})
	}
}

// bigBase58 is base58 by its definition, with other people's arithmetic.
func bigBase58(b []byte) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	n, rest := new(big.Int).SetBytes(b), new(big.Int)
	var reversed []byte
	for n.Sign() > 0 {
		n.DivMod(n, big.NewInt(58), rest)
		reversed = append(reversed, alphabet[rest.Int64()])
	}
	for _, c := range b {
		if c != 0 {
			break
		}
		reversed = append(reversed, '1')
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return string(reversed)
}

func TestTextsBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "bytes")
		clear(b[:rapid.IntRange(0, 64).Draw(t, "zeros")])
		s, k := solana.Signature(b), solana.Key(b)
		if got, want := s.String(), bigBase58(s[:]); got != want {
			t.Errorf("signature %x is written %s, want %s", b, got, want)
		}
		if got, want := k.String(), bigBase58(k[:]); got != want {
			t.Errorf("key %x is written %s, want %s", k[:], got, want)
		}
		if again, err := solana.ParseSignature(s.String()); err != nil || again != s {
			t.Errorf("%s is read as %x, %v; want %x", s, again[:], err, b)
		}
		if again, err := solana.ParseKey(k.String()); err != nil || again != k {
			t.Errorf("%s is read as %x, %v; want %x", k, again[:], err, k[:])
		}
	})
}

// FuzzParseKey: a text that is read is the one that its bytes have.
func FuzzParseKey(f *testing.F) {
	f.Add(systemProgram)
	f.Add(usdc)
	f.Add(computeBudget)
	f.Add(strings.Repeat("z", 44))
	f.Add("JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := solana.ParseKey(text); err == nil && (k.String() != text || bigBase58(k[:]) != text) {
			t.Errorf("%q is read as %x, which is written %s", text, k[:], k)
		} else if err != nil && k != (solana.Key{}) {
			t.Errorf("%q is refused and read as %x", text, k[:])
		}
		if s, err := solana.ParseSignature(text); err == nil && (s.String() != text || bigBase58(s[:]) != text) {
			t.Errorf("%q is read as %x, which is written %s", text, s[:], s)
		}
	})
}

func BenchmarkKeyString(b *testing.B) {
	k := key(b, usdc)
	b.ReportAllocs()
	for b.Loop() {
		_ = k.String()
	}
}

func BenchmarkParseKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := solana.ParseKey(usdc); err != nil {
			b.Fatal(err)
		}
	}
}
