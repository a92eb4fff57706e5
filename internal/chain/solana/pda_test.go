package solana

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"os"
	"testing"
)

// TestAssociatedTokenAccounts compares with what @solana-program/token derives; testdata/accounts.json names the version.
// Among its owners are the smallest and largest key, and some whose search takes five steps and more.
func TestAssociatedTokenAccounts(t *testing.T) {
	b, err := os.ReadFile("testdata/accounts.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Accounts []struct{ Program, Owner, Mint, Account string }
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	programs := map[string]Key{"classic": tokenProgram, "2022": token2022Program}
	for _, v := range vectors.Accounts {
		owner, mint := mustKey(v.Owner), mustKey(v.Mint)
		got, ok := associatedTokenAccount(owner, programs[v.Program], mint)
		if !ok || got.String() != v.Account {
			t.Errorf("account of %s for %s under %s is %v, want %s", v.Owner, v.Mint, v.Program, got, v.Account)
		}
		if classic, ok := AssociatedTokenAccount(owner, mint); !ok || (classic == got) != (v.Program == "classic") {
			t.Errorf("AssociatedTokenAccount of %s for %s is %v, under %s it is %v", v.Owner, v.Mint, classic, v.Program, got)
		}
	}
	if len(vectors.Accounts) < 96 {
		t.Errorf("there are only %d vectors", len(vectors.Accounts))
	}
}

// TestOnCurve compares with the curve's equation, by other people's arithmetic, as curve25519-dalek reads 32 bytes: without the
// sign bit, and with y reduced. All encodings that are not reduced are among them, with either sign.
func TestOnCurve(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	check := func(k Key) bool {
		t.Helper()
		var reversed [32]byte
		for i, c := range k {
			reversed[31-i] = c
		}
		reversed[0] &= 0x7f
		y := new(big.Int).SetBytes(reversed[:])
		y2 := new(big.Int).Mul(y, y)
		u := new(big.Int).Sub(y2, big.NewInt(1))
		v := new(big.Int).Mul(d, y2)
		v.Add(v, big.NewInt(1)).Mod(v, p)
		x2 := u.Mul(u, v.ModInverse(v, p))
		want := big.Jacobi(x2.Mod(x2, p), p) >= 0
		if got := onCurve(k); got != want {
			t.Errorf("onCurve(%x) = %v, want %v", k[:], got, want)
		}
		return want
	}
	points := 0
	for n := range 19 {
		for _, sign := range []byte{0, 0x80} {
			small := Key{byte(n)}
			small[31] |= sign
			check(small)
			var unreduced Key // p + n
			for i := range unreduced {
				unreduced[i] = 0xff
			}
			unreduced[0], unreduced[31] = byte(0xed+n), 0x7f|sign
			if check(unreduced) {
				points++
			}
		}
	}
	if points == 0 {
		t.Error("no encoding that is not reduced is a point: the test reaches too little")
	}
	for n := range uint64(2000) {
		check(sha256.Sum256(binary.BigEndian.AppendUint64(nil, n)))
	}
}

// TestProgramsByName: an address that is not the one meant would be paid all the same.
func TestProgramsByName(t *testing.T) {
	for want, k := range map[string]Key{
		"ComputeBudget111111111111111111111111111111":  computeBudgetProgram,
		"MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr":  memoProgram,
		"TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA":  tokenProgram,
		"TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb":  token2022Program,
		"ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL": associatedTokenProgram,
		"11111111111111111111111111111111":             systemProgram,
	} {
		if k.String() != want {
			t.Errorf("%v is named, want %s", k, want)
		}
	}
}

func BenchmarkAssociatedTokenAccount(b *testing.B) {
	owner, mint := Key{1}, mustKey("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := AssociatedTokenAccount(owner, mint); !ok {
			b.Fatal("no account")
		}
	}
}
