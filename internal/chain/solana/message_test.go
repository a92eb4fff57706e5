package solana_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// golden is each sample's encoding, put together by hand from the package's table: a change here is another message on chain.
// testdata/readings.json says what another library reads in them.
var golden = map[solana.Layout]string{
	solana.X402: strings.Join([]string{
		"80", "020104", "08",
		"c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf", // fee payer
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", // payer
		"0af691605b1fec329efd246c4c2e228b2a5c70d1870a922723a23746ee4d7795", // source
		"744c3b1e1676fda674a3fef1d0962a7af1d5741d30010bff0493deed35c8087c", // destination
		"c6fa7af3bedbad3a3d65f36aabc97431b1bbe4c2d2f6e0e47ca60203452f5d61", // mint
		"0306466fe5211732ffecadba72c39be7bc8ce5bbc5f7126b2c439b3a40000000", // ComputeBudget
		"054a535a992921064d24e87160da387c7c35b5ddbc92bb81e41fa8404105448d", // Memo
		"06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9", // Token
		"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", // block hash
		"04",
		"05", "00", "05", "02204e0000",
		"05", "00", "09", "030100000000000000",
		"07", "0402040301", "0a", "0cd01b50000000000006",
		"06", "00", "20", "3031323334353637383961626364656630313233343536373839616263646566",
		"00",
	}, ""),
	solana.Transfer: strings.Join([]string{
		"80", "010007", "0a",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", // payer
		"0af691605b1fec329efd246c4c2e228b2a5c70d1870a922723a23746ee4d7795", // source
		"744c3b1e1676fda674a3fef1d0962a7af1d5741d30010bff0493deed35c8087c", // destination
		"c6fa7af3bedbad3a3d65f36aabc97431b1bbe4c2d2f6e0e47ca60203452f5d61", // mint
		"0306466fe5211732ffecadba72c39be7bc8ce5bbc5f7126b2c439b3a40000000", // ComputeBudget
		"054a535a992921064d24e87160da387c7c35b5ddbc92bb81e41fa8404105448d", // Memo
		"06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9", // Token
		"8c97258f4e2489f1bb3d1029148e0d830b5a1399daff1084048e7bd8dbe9f859", // Associated Token Account
		"0000000000000000000000000000000000000000000000000000000000000000", // System
		"404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f", // recipient
		"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", // block hash
		"05",
		"04", "00", "05", "02400d0300",
		"04", "00", "09", "031027000000000000",
		"07", "06000209030806", "01", "01",
		"06", "0401030200", "0a", "0cd01b50000000000006",
		"05", "00", "20", "3031323334353637383961626364656630313233343536373839616263646566",
		"00",
	}, ""),
}

func TestGoldenMessages(t *testing.T) {
	for _, layout := range layouts {
		want := sample(t, layout)
		if got := hex.EncodeToString(encode(t, want)); got != golden[layout] {
			t.Errorf("%v: encoding changed\n got %s\nwant %s", layout, got, golden[layout])
		}
		got, err := solana.Decode(unhex(t, golden[layout]), want.Recipient, mints(t))
		if err != nil {
			t.Fatalf("%v: Decode: %v", layout, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: decoded message (-want +got):\n%s", layout, diff)
		}
	}
}

// TestBlockHash: a message's block hash is read where both layouts have it, and from nothing that is less than a message.
func TestBlockHash(t *testing.T) {
	for _, layout := range layouts {
		want := sample(t, layout)
		b := encode(t, want)
		if got, err := solana.BlockHash(b); err != nil || got != want.BlockHash {
			t.Errorf("%v: %x, %v, want %x", layout, got, err, want.BlockHash)
		}
		for n := range len(b) {
			var refused *solana.Error
			if got, err := solana.BlockHash(b[:n]); !errors.As(err, &refused) || got != [32]byte{} {
				t.Errorf("%v: of the first %d bytes: %x, %v", layout, n, got, err)
			}
		}
	}
}

func TestLayoutsHaveNames(t *testing.T) {
	for layout, want := range map[solana.Layout]string{0: "unknown", solana.X402: "x402", solana.Transfer: "transfer", 3: "unknown"} {
		if got := layout.String(); got != want {
			t.Errorf("layout %d is called %s, want %s", layout, got, want)
		}
	}
}

// TestRefusedMessages: what a message may not say is refused by Encode, and by Decode when someone else encoded it.
func TestRefusedMessages(t *testing.T) {
	both := layouts
	x402, transfer := []solana.Layout{solana.X402}, []solana.Layout{solana.Transfer}
	from, to := account(t, sample(t, solana.X402).Payer, key(t, usdc)), account(t, sample(t, solana.X402).Recipient, key(t, usdc))
	tests := []struct {
		name    string
		layouts []solana.Layout
		edit    func(*solana.Message)
		field   string
	}{
		{"no payer", both, func(m *solana.Message) { m.Payer = solana.Key{} }, "payer"},
		{"no fee payer", both, func(m *solana.Message) { m.FeePayer = solana.Key{} }, "fee_payer"},
		{"no recipient", both, func(m *solana.Message) { m.Recipient = solana.Key{} }, "recipient"},
		{"payer pays itself", both, func(m *solana.Message) { m.Recipient = m.Payer }, "recipient"},
		{"no mint", both, func(m *solana.Message) { m.Mint = solana.Key{} }, "mint"},
		{"zero units", both, func(m *solana.Message) { m.Units = 0 }, "units"},
		{"negative units", both, func(m *solana.Message) { m.Units = -1 }, "units"},
		{"smallest int64 units", both, func(m *solana.Message) { m.Units = math.MinInt64 }, "units"},
		{"no memo", both, func(m *solana.Message) { m.Memo = "" }, "memo"},
		{"memo of 257 bytes", both, func(m *solana.Message) { m.Memo = strings.Repeat("m", 257) }, "memo"},
		{"memo of a megabyte", both, func(m *solana.Message) { m.Memo = strings.Repeat("m", 1<<20) }, "memo"},
		{"memo cut in a letter", both, func(m *solana.Message) { m.Memo = "\xc3" }, "memo"},
		{"memo with a surrogate", both, func(m *solana.Message) { m.Memo = "\xed\xa0\x80" }, "memo"},
		{"memo with an overlong letter", both, func(m *solana.Message) { m.Memo = "\xc0\xaf" }, "memo"},
		{"memo with a NUL", both, func(m *solana.Message) { m.Memo = "a\x00b" }, "memo"},
		{"no block hash", both, func(m *solana.Message) { m.BlockHash = [32]byte{} }, "block_hash"},
		{"wallet pays the fee in x402", x402, func(m *solana.Message) { m.FeePayer = m.Payer }, "fee_payer"},
		{"somebody else pays a transfer's fee", transfer, func(m *solana.Message) { m.FeePayer = sequence(0xc0) }, "fee_payer"},
		{"the mint pays the fee", x402, func(m *solana.Message) { m.FeePayer = m.Mint }, "accounts"},
		{"the payer's token account pays the fee", x402, func(m *solana.Message) { m.FeePayer = from }, "accounts"},
		{"the recipient's token account pays the fee", x402, func(m *solana.Message) { m.FeePayer = to }, "accounts"},
		{"the Token program pays the fee", x402, func(m *solana.Message) { m.FeePayer = key(t, tokenProgram) }, "accounts"},
		{"the mint pays", x402, func(m *solana.Message) { m.Payer = m.Mint }, "accounts"},
		{"to the mint", transfer, func(m *solana.Message) { m.Recipient = m.Mint }, "accounts"},
		{"to a program", transfer, func(m *solana.Message) { m.Recipient = key(t, tokenProgram) }, "accounts"},
		{"to the payer's token account", transfer, func(m *solana.Message) { m.Recipient = from }, "accounts"},
		{"a program for a mint", both, func(m *solana.Message) { m.Mint = key(t, memoProgram) }, "accounts"},
	}
	for _, test := range tests {
		for _, layout := range test.layouts {
			t.Run(layout.String()+"/"+test.name, func(t *testing.T) {
				m := sample(t, layout)
				test.edit(&m)
				b, err := m.Encode()
				var refused *solana.Error
				if !errors.As(err, &refused) || refused.Field != test.field {
					t.Errorf("Encode = %x, %v; want a refusal of %s", b, err, test.field)
				}
				if b != nil {
					t.Errorf("Encode returns bytes with its error: %x", b)
				}
				forged := forge(t, m).bytes()
				got, err := solana.Decode(forged, m.Recipient, append(mints(t), solana.Mint{Key: m.Mint, Decimals: m.Decimals}))
				// A memo of a megabyte is refused for the message's length, and a transfer has one place for both payers, so these
				// name another field.
				other := len(m.Memo) > solana.WireMax || layout == solana.Transfer && m.FeePayer != m.Payer
				if !errors.As(err, &refused) || (refused.Field != test.field && !other) {
					t.Errorf("Decode = %+v, %v; want a refusal of %s", got, err, test.field)
				}
				if got != (solana.Message{}) {
					t.Errorf("Decode returns a message with its error: %+v", got)
				}
			})
		}
	}
	for _, layout := range []solana.Layout{0, 3, 255} {
		m := sample(t, solana.X402)
		m.Layout = layout
		var refused *solana.Error
		if b, err := m.Encode(); !errors.As(err, &refused) || refused.Field != "layout" || b != nil {
			t.Errorf("Encode of layout %d = %x, %v", layout, b, err)
		}
	}
}

func TestLargestMessage(t *testing.T) {
	for _, layout := range layouts {
		m := sample(t, layout)
		m.Memo = strings.Repeat("m", solana.MemoMax)
		m.Units = math.MaxInt64
		b := encode(t, m)
		if layout == solana.Transfer && len(b) != solana.Size {
			t.Errorf("the largest message has %d bytes, want %d", len(b), solana.Size)
		}
		if got, err := solana.Decode(b, m.Recipient, mints(t)); err != nil || got != m {
			t.Errorf("Decode = %+v, %v", got, err)
		}
	}
}

func TestDecodeKeepsNoReference(t *testing.T) {
	for _, layout := range layouts {
		b := encode(t, sample(t, layout))
		m, err := solana.Decode(b, sample(t, layout).Recipient, mints(t))
		if err != nil {
			t.Fatalf("Decode: %v", err)
		}
		clear(b)
		if diff := cmp.Diff(sample(t, layout), m); diff != "" {
			t.Errorf("message changed with the bytes it was read from (-want +got):\n%s", diff)
		}
	}
}

func genMessage(t *rapid.T) solana.Message {
	keys := rapid.SliceOfN(rapid.Byte(), 32, 32)
	m := solana.Message{
		Layout:   solana.X402,
		Units:    rapid.Int64Range(1, math.MaxInt64).Draw(t, "units"),
		Decimals: rapid.Byte().Draw(t, "decimals"),
		Memo:     rapid.StringMatching(`[ -~äöü€]{1,80}`).Draw(t, "memo"),
	}
	for _, field := range []*solana.Key{&m.FeePayer, &m.Payer, &m.Recipient, &m.Mint, (*solana.Key)(&m.BlockHash)} {
		copy(field[:], keys.Draw(t, "32 bytes"))
	}
	// Keys of their own, whatever is drawn.
	m.FeePayer[0], m.Payer[0], m.Recipient[0], m.Mint[0], m.BlockHash[0] = 0x11, 0x22, 0x33, 0x44, 0x55
	if rapid.Bool().Draw(t, "transfer") {
		m.Layout, m.FeePayer = solana.Transfer, m.Payer
	}
	return m
}

func TestOneEncoding(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := genMessage(r), genMessage(r)
		ea, err := a.Encode()
		if err != nil {
			r.Fatalf("Encode %+v: %v", a, err)
		}
		eb, err := b.Encode()
		if err != nil {
			r.Fatalf("Encode %+v: %v", b, err)
		}
		if forged := forge(t, a).bytes(); !bytes.Equal(ea, forged) {
			r.Errorf("%+v is encoded otherwise than documented:\n got %x\nwant %x", a, ea, forged)
		}
		if got, err := solana.Decode(ea, a.Recipient, []solana.Mint{{Key: a.Mint, Decimals: a.Decimals}}); err != nil || got != a {
			r.Errorf("Decode = %+v, %v; want %+v", got, err, a)
		}
		if (a == b) != bytes.Equal(ea, eb) {
			r.Errorf("%+v and %+v: equal %v, encodings equal %v", a, b, a == b, bytes.Equal(ea, eb))
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, layout := range layouts {
		b.Run(layout.String(), func(b *testing.B) {
			m := sample(b, layout)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Encode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, layout := range layouts {
		b.Run(layout.String(), func(b *testing.B) {
			encoded, recipient, known := encode(b, sample(b, layout)), sample(b, layout).Recipient, mints(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := solana.Decode(encoded, recipient, known); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
