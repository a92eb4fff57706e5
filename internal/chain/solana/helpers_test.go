package solana_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// Addresses as Solana's documentation gives them, in another form than the package has them.
const (
	computeBudget   = "ComputeBudget111111111111111111111111111111"
	memoProgram     = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
	tokenProgram    = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
	token2022       = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
	associatedToken = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
	systemProgram   = "11111111111111111111111111111111"
	usdc            = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
	usdcDevnet      = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
)

func key(t testing.TB, text string) solana.Key {
	t.Helper()
	k, err := solana.ParseKey(text)
	if err != nil {
		t.Fatalf("ParseKey(%q): %v", text, err)
	}
	return k
}

// sequence is 32 bytes that differ from each other, from first on.
func sequence(first byte) (b [32]byte) {
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// layouts are what tests run over.
var layouts = []solana.Layout{solana.X402, solana.Transfer}

// sample is the message of the layout's golden vector.
func sample(t testing.TB, layout solana.Layout) solana.Message {
	t.Helper()
	m := solana.Message{
		Layout: layout, FeePayer: sequence(0xc0), Payer: sequence(0x00), Recipient: sequence(0x40), Mint: key(t, usdc),
		Units: 5_250_000, Decimals: 6, Memo: "0123456789abcdef0123456789abcdef", BlockHash: sequence(0x80),
	}
	if layout == solana.Transfer {
		m.FeePayer = m.Payer
	}
	return m
}

// mints are what readers of these tests take.
func mints(t testing.TB) []solana.Mint {
	t.Helper()
	return []solana.Mint{{Key: key(t, usdcDevnet), Decimals: 9}, {Key: key(t, usdc), Decimals: 6}}
}

func encode(t testing.TB, m solana.Message) []byte {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatalf("Encode %+v: %v", m, err)
	}
	return b
}

func account(t testing.TB, owner, mint solana.Key) solana.Key {
	t.Helper()
	k, ok := solana.AssociatedTokenAccount(owner, mint)
	if !ok {
		t.Fatalf("%v has no account for %v", owner, mint)
	}
	return k
}

// forged is a message of version 0 in which every part can be another: an attacker's writer, and an independent one of the
// package's table.
type forged struct {
	version      byte
	header       [3]byte
	accounts     []solana.Key
	blockHash    [32]byte
	instructions []instruction
	tables       []byte
	tail         []byte
}

type instruction struct {
	program  byte
	accounts []byte
	data     []byte
}

func (f *forged) bytes() []byte {
	var b bytes.Buffer
	b.WriteByte(f.version)
	b.Write(f.header[:])
	b.Write(count(len(f.accounts)))
	for _, k := range f.accounts {
		b.Write(k[:])
	}
	b.Write(f.blockHash[:])
	b.Write(count(len(f.instructions)))
	for _, i := range f.instructions {
		b.WriteByte(i.program)
		b.Write(count(len(i.accounts)))
		b.Write(i.accounts)
		b.Write(count(len(i.data)))
		b.Write(i.data)
	}
	b.Write(f.tables)
	b.Write(f.tail)
	return b.Bytes()
}

// count is a compact-u16.
func count(n int) []byte {
	switch {
	case n < 0x80:
		return []byte{byte(n)}
	case n < 0x4000:
		return []byte{byte(n) | 0x80, byte(n >> 7)}
	}
	return []byte{byte(n) | 0x80, byte(n>>7) | 0x80, byte(n >> 14)}
}

// forge writes whatever a message says.
func forge(t testing.TB, m solana.Message) *forged {
	t.Helper()
	units := binary.LittleEndian.AppendUint64(nil, uint64(m.Units))
	from, to := account(t, m.Payer, m.Mint), account(t, m.Recipient, m.Mint)
	f := &forged{version: 0x80, blockHash: m.BlockHash, tables: []byte{0}}
	rest := []solana.Key{from, to, m.Mint, key(t, computeBudget), key(t, memoProgram), key(t, tokenProgram)}
	if m.Layout == solana.Transfer {
		f.header = [3]byte{1, 0, 7}
		f.accounts = append([]solana.Key{m.FeePayer}, append(rest, key(t, associatedToken), key(t, systemProgram), m.Recipient)...)
		f.instructions = []instruction{
			{4, nil, unhex(t, "02 400d0300")},
			{4, nil, unhex(t, "03 1027000000000000")},
			{7, []byte{0, 2, 9, 3, 8, 6}, []byte{1}},
			{6, []byte{1, 3, 2, 0}, append(append([]byte{12}, units...), m.Decimals)},
			{5, nil, []byte(m.Memo)},
		}
		return f
	}
	f.header = [3]byte{2, 1, 4}
	f.accounts = append([]solana.Key{m.FeePayer, m.Payer}, rest...)
	f.instructions = []instruction{
		{5, nil, unhex(t, "02 204e0000")},
		{5, nil, unhex(t, "03 0100000000000000")},
		{7, []byte{2, 4, 3, 1}, append(append([]byte{12}, units...), m.Decimals)},
		{6, nil, []byte(m.Memo)},
	}
	return f
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
