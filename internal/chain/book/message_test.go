package book_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/resource"
)

// sequence is 32 bytes that differ from each other, from first on.
func sequence(first byte) (b [32]byte) {
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// sample is the message of the golden vector.
func sample() book.Message {
	return book.Message{
		Installation: "acme",
		Payment:      "wallets/research-agent/payments/p-1",
		Payer:        sequence(0x00),
		Recipient:    sequence(0x40),
		Asset:        "halfkey:acme/iso4217:USD",
		Units:        5_250_000,
		IntentDigest: sequence(0x80),
		ExpiryMillis: 1_800_000_000_000,
	}
}

// golden is sample's encoding, written by hand from the package's table: a change here is another protocol.
var golden = strings.Join([]string{
	"ff", "68616c666b65792f626f6f6b2f7631", // halfkey/book/v1
	"04", "61636d65", // acme
	"23", "77616c6c6574732f72657365617263682d6167656e742f7061796d656e74732f702d31", // wallets/research-agent/payments/p-1
	"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
	"404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
	"0018", "68616c666b65793a61636d652f69736f343231373a555344", // halfkey:acme/iso4217:USD
	"0000000000501bd0",
	"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
	"000001a3185c5000",
}, "")

func encode(t testing.TB, m book.Message) []byte {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	return b
}

func TestGoldenMessage(t *testing.T) {
	if got := hex.EncodeToString(encode(t, sample())); got != golden {
		t.Errorf("encoding changed\n got %s\nwant %s", got, golden)
	}
	b, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, err := book.Decode(b)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("decoded message (-want +got):\n%s", diff)
	}
	if got := got.Expiry().UnixMilli(); got != 1_800_000_000_000 {
		t.Errorf("Expiry is %d", got)
	}
}

// TestRefusedMessages: what a message may not say is refused by Encode, and by Decode when someone else encoded it.
func TestRefusedMessages(t *testing.T) {
	tests := []struct {
		name  string
		edit  func(*book.Message)
		field string
	}{
		{"no installation", func(m *book.Message) { m.Installation = "" }, "installation"},
		{"capital installation", func(m *book.Message) { m.Installation = "ACME" }, "installation"},
		{"installation too long", func(m *book.Message) { m.Installation = strings.Repeat("a", 33) }, "installation"},
		{"no payment", func(m *book.Message) { m.Payment = "" }, "payment"},
		{"a wallet for a payment", func(m *book.Message) { m.Payment = "wallets/research-agent" }, "payment"},
		{"payment with a tail", func(m *book.Message) { m.Payment += "/review" }, "payment"},
		{"payment with a nul", func(m *book.Message) { m.Payment += "\x00" }, "payment"},
		{"no asset", func(m *book.Message) { m.Asset = "" }, "asset"},
		{"another installation's money", func(m *book.Message) { m.Asset = resource.BookUSD("other") }, "asset"},
		{"another currency", func(m *book.Message) { m.Asset = "halfkey:acme/iso4217:EUR" }, "asset"},
		{"a chain's asset", func(m *book.Message) { m.Asset = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501" }, "asset"},
		{"a known token of a chain", func(m *book.Message) {
			m.Asset = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
		}, "asset"},
		{"installation differs from the asset's", func(m *book.Message) { m.Installation = "acmf" }, "asset"},
		{"no payer", func(m *book.Message) { m.Payer = [32]byte{} }, "payer"},
		{"no recipient", func(m *book.Message) { m.Recipient = [32]byte{} }, "recipient"},
		{"payer pays itself", func(m *book.Message) { m.Recipient = m.Payer }, "recipient"},
		{"zero units", func(m *book.Message) { m.Units = 0 }, "units"},
		{"negative units", func(m *book.Message) { m.Units = -1 }, "units"},
		{"smallest int64 units", func(m *book.Message) { m.Units = math.MinInt64 }, "units"},
		{"no intent", func(m *book.Message) { m.IntentDigest = [32]byte{} }, "intent_digest"},
		{"no expiry", func(m *book.Message) { m.ExpiryMillis = 0 }, "expiry"},
		{"negative expiry", func(m *book.Message) { m.ExpiryMillis = -1 }, "expiry"},
		{"expiry in the year 10000", func(m *book.Message) { m.ExpiryMillis = 253402300800000 }, "expiry"},
		{"largest expiry", func(m *book.Message) { m.ExpiryMillis = math.MaxInt64 }, "expiry"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := sample()
			test.edit(&m)
			b, err := m.Encode()
			var refused *book.Error
			if !errors.As(err, &refused) || refused.Field != test.field {
				t.Errorf("Encode = %x, %v; want a refusal of %s", b, err, test.field)
			}
			if b != nil {
				t.Errorf("Encode returns bytes with its error: %x", b)
			}
			// Numbers above int64 are refused where they are framed, so these name no field.
			forged := forge(m)
			got, err := book.Decode(forged)
			if !errors.As(err, &refused) || (refused.Field != test.field && m.Units >= 0 && m.ExpiryMillis >= 0) {
				t.Errorf("Decode(%x) = %+v, %v; want a refusal of %s", forged, got, err, test.field)
			}
			if got != (book.Message{}) {
				t.Errorf("Decode returns a message with its error: %+v", got)
			}
		})
	}
}

// forge encodes whatever a message says: an encoder of an attacker, and an independent one of the package's table.
func forge(m book.Message) []byte {
	var b bytes.Buffer
	b.WriteString("\xffhalfkey/book/v1")
	for _, s := range []string{m.Installation, m.Payment} {
		b.WriteByte(byte(len(s)))
		b.WriteString(s)
	}
	b.Write(m.Payer[:])
	b.Write(m.Recipient[:])
	_ = binary.Write(&b, binary.BigEndian, uint16(len(m.Asset)))
	b.WriteString(m.Asset)
	_ = binary.Write(&b, binary.BigEndian, m.Units)
	b.Write(m.IntentDigest[:])
	_ = binary.Write(&b, binary.BigEndian, m.ExpiryMillis)
	return b.Bytes()
}

func TestRefusedBytes(t *testing.T) {
	good := encode(t, sample())
	tests := []struct {
		name string
		b    []byte
	}{
		{"nil", nil},
		{"empty", []byte{}},
		{"first byte alone", good[:1]},
		{"prefix alone", good[:16]},
		{"one byte more", append(bytes.Clone(good), 0)},
		{"twice", append(bytes.Clone(good), good...)},
		{"padded beyond the largest", append(bytes.Clone(good), make([]byte, book.Size)...)},
		{"a megabyte", append(bytes.Clone(good), make([]byte, 1<<20)...)},
		{"first byte of a chain's transaction", append([]byte{0x80}, good[1:]...)},
		{"next version", bytes.Replace(good, []byte("book/v1"), []byte("book/v2"), 1)},
		{"another name", bytes.Replace(good, []byte("book"), []byte("bond"), 1)},
		{"a key test", []byte("\xffhalfkey/keygen-test/v1" + strings.Repeat("a", 200))},
		{"lengths that reach past the end", append(bytes.Clone(good[:16]), bytes.Repeat([]byte{0xff}, 200)...)},
		{"all 0xff", bytes.Repeat([]byte{0xff}, len(good))},
		{"prefix doubled", append([]byte(book.Prefix), good...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var refused *book.Error
			if m, err := book.Decode(test.b); !errors.As(err, &refused) {
				t.Errorf("Decode = %+v, %v", m, err)
			}
		})
	}
}

func TestTruncationsAreRefused(t *testing.T) {
	good := encode(t, sample())
	for n := range good {
		if m, err := book.Decode(good[:n]); err == nil {
			t.Errorf("the first %d bytes of %d decode to %+v", n, len(good), m)
		}
	}
}

// TestEveryByteMatters changes each byte to each other value: the result is refused, or is another message with these very
// bytes. So no byte can be changed under a signature without changing what is said.
func TestEveryByteMatters(t *testing.T) {
	good := encode(t, sample())
	decoded := 0
	for i := range good {
		for delta := 1; delta < 256; delta++ {
			b := bytes.Clone(good)
			b[i] += byte(delta)
			m, err := book.Decode(b)
			if err != nil {
				continue
			}
			decoded++
			if m == sample() {
				t.Fatalf("byte %d changed to %#x says the same", i, b[i])
			}
			if again := encode(t, m); !bytes.Equal(again, b) {
				t.Fatalf("byte %d changed to %#x encodes again to other bytes", i, b[i])
			}
		}
	}
	// Keys, digest, units and names can say something else; framing, name and asset cannot.
	if decoded < 96*255 {
		t.Errorf("only %d changes decode: the test reaches too little", decoded)
	}
}

func TestLargestMessage(t *testing.T) {
	m := sample()
	m.Installation = strings.Repeat("a", resource.InstallationMax)
	m.Payment = resource.Payment(resource.Wallet(strings.Repeat("w", resource.IDMax)), strings.Repeat("p", resource.IDMax))
	m.Asset = resource.BookUSD(m.Installation)
	m.Units = math.MaxInt64
	m.ExpiryMillis = 253402300799999
	b := encode(t, m)
	if len(b) != book.Size {
		t.Errorf("the largest message has %d bytes, want %d", len(b), book.Size)
	}
	if got, err := book.Decode(b); err != nil || got != m {
		t.Errorf("Decode = %+v, %v", got, err)
	}
}

func TestDecodeKeepsNoReference(t *testing.T) {
	b := encode(t, sample())
	m, err := book.Decode(b)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	clear(b)
	if diff := cmp.Diff(sample(), m); diff != "" {
		t.Errorf("message changed with the bytes it was read from (-want +got):\n%s", diff)
	}
}

func genMessage(t *rapid.T) book.Message {
	id := rapid.StringMatching(`[a-z0-9-]{1,20}`)
	m := book.Message{
		Installation: id.Draw(t, "installation"),
		Payment:      resource.Payment(resource.Wallet(id.Draw(t, "wallet")), id.Draw(t, "payment")),
		Units:        rapid.Int64Range(1, math.MaxInt64).Draw(t, "units"),
		ExpiryMillis: rapid.Int64Range(1, 253402300799999).Draw(t, "expiry"),
	}
	m.Asset = resource.BookUSD(m.Installation)
	for _, field := range []*[32]byte{&m.Payer, &m.Recipient, &m.IntentDigest} {
		copy(field[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "32 bytes"))
		field[31] |= 1
	}
	m.Payer[0], m.Recipient[0] = 1, 2
	return m
}

func TestOneEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genMessage(t), genMessage(t)
		ea, err := a.Encode()
		if err != nil {
			t.Fatalf("Encode %+v: %v", a, err)
		}
		eb, err := b.Encode()
		if err != nil {
			t.Fatalf("Encode %+v: %v", b, err)
		}
		if !bytes.Equal(ea, forge(a)) {
			t.Errorf("%+v is encoded otherwise than documented: %x", a, ea)
		}
		if got, err := book.Decode(ea); err != nil || got != a {
			t.Errorf("Decode = %+v, %v; want %+v", got, err, a)
		}
		if (a == b) != bytes.Equal(ea, eb) {
			t.Errorf("%+v and %+v: equal %v, encodings equal %v", a, b, a == b, bytes.Equal(ea, eb))
		}
	})
}

func FuzzDecode(f *testing.F) {
	good := encode(f, sample())
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Add([]byte(book.Prefix))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := book.Decode(b)
		if err != nil {
			var refused *book.Error
			if !errors.As(err, &refused) || m != (book.Message{}) {
				t.Errorf("Decode(%x) = %+v, %v", b, m, err)
			}
			return
		}
		if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("Decode(%x) = %+v, which encodes to %x, %v", b, m, again, err)
		}
		if len(b) > book.Size || b[0] != 0xff {
			t.Errorf("Decode takes %x", b)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	encoded := encode(b, sample())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := book.Decode(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
