package solana_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// signatures are n that differ; the first is zero, as of a fee payer that has not signed.
func signatures(n int) []solana.Signature {
	made := make([]solana.Signature, n)
	for i := range made {
		made[i] = solana.Signature(bytes.Repeat([]byte{byte(i)}, 64))
	}
	return made
}

func TestWireBothWays(t *testing.T) {
	for layout, count := range map[solana.Layout]int{solana.X402: 2, solana.Transfer: 1} {
		message := encode(t, sample(t, layout))
		b, err := solana.Wire(message, signatures(count)...)
		if err != nil {
			t.Fatalf("%v: Wire: %v", layout, err)
		}
		want := []byte{byte(count)}
		for _, s := range signatures(count) {
			want = append(want, s[:]...)
		}
		if want = append(want, message...); !bytes.Equal(b, want) {
			t.Errorf("%v: Wire = %x, want %x", layout, b, want)
		}
		gotSignatures, gotMessage, err := solana.ParseWire(b)
		if err != nil || !bytes.Equal(gotMessage, message) {
			t.Errorf("%v: ParseWire gives the message %x, %v; want %x", layout, gotMessage, err, message)
		}
		if diff := cmp.Diff(signatures(count), gotSignatures); diff != "" {
			t.Errorf("%v: signatures (-want +got):\n%s", layout, diff)
		}
	}
}

func TestRefusedWire(t *testing.T) {
	message := encode(t, sample(t, solana.X402))
	for name, b := range map[string][]byte{
		"empty": nil, "a version alone": {0x80}, "legacy": {2, 1, 4}, "of version 1": append([]byte{0x81}, message[1:]...),
	} {
		if b, err := solana.Wire(b, signatures(2)...); err == nil {
			t.Errorf("Wire of a message that is %s = %x", name, b)
		}
	}
	for _, n := range []int{0, 1, 3, 19, 20, 258} {
		var refused *solana.Error
		if b, err := solana.Wire(message, signatures(n)...); !errors.As(err, &refused) || b != nil {
			t.Errorf("Wire with %d signatures = %x, %v", n, b, err)
		}
	}
	good, err := solana.Wire(message, signatures(2)...)
	if err != nil {
		t.Fatal(err)
	}
	const (
		notOneEach = "does not hold one signature for each signer of its message"
		tooLong    = "is longer than 1,232 bytes"
	)
	signers := func(n byte, b []byte) []byte { b = bytes.Clone(b); b[0], b[1+64*2+1] = n, n; return b }
	tests := []struct {
		name       string
		b          []byte
		field, why string
	}{
		{"nothing", nil, "transaction", "ends early"},
		{"a number of signatures alone", good[:1], "transaction", "ends early"},
		{"cut in a signature", good[:100], "transaction", "ends early"},
		{"no message", good[:129], "message", "is empty"},
		{"a version alone", good[:130], "transaction", notOneEach},
		{"a number of signatures in two bytes", append([]byte{0x82, 0}, good[1:]...), "transaction", notShortest},
		{"a number of signatures above 65,535", append([]byte{0xff, 0xff, 0x7f}, good[1:]...), "transaction", countTooLarge},
		{"no signatures", append([]byte{0}, good[129:]...), "transaction", notOneEach},
		{"no signers either", append([]byte{0, 0x80, 0}, good[131:]...), "transaction", notOneEach},
		{"one signature for two signers", append([]byte{1}, good[65:]...), "transaction", notOneEach},
		{"three signatures for two signers", append([]byte{3}, append(make([]byte, 64), good[1:]...)...), "transaction", notOneEach},
		{"two signatures for three signers", func() []byte { b := signers(3, good); b[0] = 2; return b }(), "transaction", notOneEach},
		{"a message of version 1", func() []byte { b := bytes.Clone(good); b[129] = 0x81; return b }(), "message", version1},
		{"a legacy message", append(bytes.Clone(good[:129]), good[130:]...), "message", legacy},
		{"a transaction of version 1", append([]byte{0x81}, good[130:]...), "transaction", "ends early"},
		{"1,233 bytes", append(bytes.Clone(good), make([]byte, 1233-len(good))...), "transaction", tooLong},
		{"a megabyte", append(bytes.Clone(good), make([]byte, 1<<20)...), "transaction", tooLong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			gotSignatures, gotMessage, err := solana.ParseWire(test.b)
			var refused *solana.Error
			if !errors.As(err, &refused) || refused.Field != test.field || refused.Why != test.why {
				t.Errorf("ParseWire = %x, %v; want a refusal: %s %s", gotMessage, err, test.field, test.why)
			}
			if gotSignatures != nil || gotMessage != nil {
				t.Errorf("ParseWire returns %x and %x with its error", gotSignatures, gotMessage)
			}
		})
	}
	if b, err := solana.Wire(append(bytes.Clone(message), make([]byte, 1232-128-len(message))...), signatures(2)...); err == nil {
		t.Errorf("Wire makes a transaction of %d bytes", len(b))
	}
	longest := append(bytes.Clone(message), make([]byte, 1232-129-len(message))...)
	b, err := solana.Wire(longest, signatures(2)...)
	if err != nil || len(b) != solana.WireMax {
		t.Fatalf("Wire of the longest message = %d bytes, %v", len(b), err)
	}
	if _, got, err := solana.ParseWire(b); err != nil || !bytes.Equal(got, longest) {
		t.Errorf("ParseWire of the longest transaction = %x, %v", got, err)
	}
}

// FuzzParseWire: no bytes make it panic, and what it splits is put together to themselves.
func FuzzParseWire(f *testing.F) {
	for layout, count := range map[solana.Layout]int{solana.X402: 2, solana.Transfer: 1} {
		b, err := solana.Wire(encode(f, sample(f, layout)), signatures(count)...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{})
	f.Add([]byte{0x81})
	f.Fuzz(func(t *testing.T, b []byte) {
		signed, message, err := solana.ParseWire(b)
		if err != nil {
			var refused *solana.Error
			if !errors.As(err, &refused) || signed != nil || message != nil {
				t.Errorf("ParseWire(%x) = %x, %x, %v", b, signed, message, err)
			}
			return
		}
		if again, err := solana.Wire(message, signed...); err != nil || !bytes.Equal(again, b) {
			t.Errorf("ParseWire(%x) is put together to %x, %v", b, again, err)
		}
	})
}
