//go:build !race

// The race detector has nothing to see here, and would take a minute for it.

package solana_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// saysOther judges bytes that are not the sample's: they are refused, or say something else in a field that the reader compares
// with what it expects, and encode again to themselves. What the reader does not compare, but gives to Decode, stays: the
// recipient, and a mint with its decimals. It returns whether they were decoded.
func saysOther(t *testing.T, b []byte, want solana.Message, known []solana.Mint) bool {
	m, err := solana.Decode(b, want.Recipient, known)
	if err != nil {
		var refused *solana.Error
		if !errors.As(err, &refused) || m != (solana.Message{}) {
			t.Fatalf("Decode(%x) = %+v, %v", b, m, err)
		}
		return false
	}
	if m == want {
		t.Fatalf("%x says the same as other bytes", b)
	}
	if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
		t.Fatalf("%x says %+v, which encodes to %x, %v", b, m, again, err)
	}
	want.FeePayer, want.Payer = m.FeePayer, m.Payer
	want.Units, want.Memo, want.BlockHash = m.Units, m.Memo, m.BlockHash
	if m != want {
		t.Fatalf("%x says %+v", b, m)
	}
	return true
}

// TestEveryByteMatters changes each byte to each other value.
func TestEveryByteMatters(t *testing.T) {
	for _, layout := range layouts {
		good, known, decoded := encode(t, sample(t, layout)), mints(t), 0
		for i := range good {
			b := bytes.Clone(good)
			for delta := 1; delta < 256; delta++ {
				b[i] = good[i] + byte(delta)
				if saysOther(t, b, sample(t, layout), known) {
					decoded++
				}
			}
		}
		// A block hash, 32 letters of a memo and seven bytes of units can be others.
		if want := 32*255 + 32*126 + 7*255; decoded < want {
			t.Errorf("%v: only %d changes decode, want %d at least: the test reaches too little", layout, decoded, want)
		}
	}
}

// TestMutations changes messages a million times, by one to four changes each: flipped bits, other bytes, bytes put in, left
// out or exchanged, accounts exchanged, and parts of another payment of the same or the other layout put in their place or
// elsewhere. What is chosen is the same in every run.
func TestMutations(t *testing.T) {
	const rounds = 500_000
	random := stream(1)
	known := mints(t)
	for _, layout := range layouts {
		want := sample(t, layout)
		good := encode(t, want)
		others := [][]byte{encode(t, otherPayment(t, solana.X402)), encode(t, otherPayment(t, solana.Transfer)), good}
		b := make([]byte, 0, 4*len(good))
		decoded := 0
		for made := 0; made < rounds; {
			b = append(b[:0], good...)
			for range 1 + random.below(4) {
				b = random.mutate(b, others)
			}
			if bytes.Equal(b, good) {
				continue
			}
			made++
			if saysOther(t, b, want, known) {
				decoded++
			}
		}
		if decoded < rounds/100 {
			t.Errorf("%v: only %d of %d decode: the test reaches too little", layout, decoded, rounds)
		}
	}
}

// otherPayment shares no account with the sample but the mint.
func otherPayment(t *testing.T, layout solana.Layout) solana.Message {
	m := sample(t, layout)
	m.FeePayer, m.Payer, m.Recipient = sequence(0x21), sequence(0x61), sequence(0xa1)
	m.Units, m.Memo, m.BlockHash = 1, "ffffffffffffffffffffffffffffffff", sequence(0x11)
	if layout == solana.Transfer {
		m.FeePayer = m.Payer
	}
	return m
}

// generator is splitmix64: choices that are the same in every run.
type generator struct{ state uint64 }

func stream(seed uint64) *generator { return &generator{seed} }

func (g *generator) next() uint64 {
	g.state += 0x9e3779b97f4a7c15
	z := g.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (g *generator) below(n int) int { return int(g.next() % uint64(n)) }

// mutate makes one change.
func (g *generator) mutate(b []byte, others [][]byte) []byte {
	if len(b) < 64 {
		return append(b, others[2]...)
	}
	at := g.below(len(b))
	switch g.below(9) {
	case 0: // one bit
		b[at] ^= 1 << g.below(8)
	case 1: // another byte
		b[at] = byte(g.next())
	case 2: // up to four bytes put in
		for range 1 + g.below(4) {
			b = slices.Insert(b, at, byte(g.next()))
		}
	case 3: // up to four bytes left out
		b = slices.Delete(b, at, min(at+1+g.below(4), len(b)))
	case 4: // two bytes exchanged
		other := g.below(len(b))
		b[at], b[other] = b[other], b[at]
	case 5: // one account exchanged with another, if the message is still framed as one
		one, other := 5+32*g.below(8), 5+32*g.below(8)
		if max(one, other)+32 <= len(b) {
			for i := range 32 {
				b[one+i], b[other+i] = b[other+i], b[one+i]
			}
		}
	case 6: // a part of another payment in its place
		from := others[g.below(len(others))]
		if at < len(from) {
			copy(b[at:], from[at:min(at+1+g.below(64), len(from))])
		}
	case 7: // a part of another payment elsewhere
		from := others[g.below(len(others))]
		start := g.below(len(from))
		copy(b[at:], from[start:min(start+1+g.below(64), len(from))])
	case 8: // a part once more
		b = slices.Insert(b, at, b[at:min(at+1+g.below(40), len(b))]...)
	}
	return b
}
