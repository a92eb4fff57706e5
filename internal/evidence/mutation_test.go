//go:build !race

// The race detector has nothing to see here, and would take a minute for it.

package evidence_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
)

// TestMutationsOnSolana changes both layouts a million times, and each time the agent has signed a request that names the changed
// bytes. What is taken all the same differs in the block hash alone: payer, recipient, token, units, fee payer and memo stay, so no
// share is ever released for another payment than the intent's.
func TestMutationsOnSolana(t *testing.T) {
	const rounds = 500_000
	for _, bought := range []bool{false, true} {
		s := newSceneOn(t, onSolana)
		if bought {
			s.buys()
		}
		a, good := attemptOf(t, s), s.MessageBytes
		want, err := evidence.CheckMessage(good, a, s.GroupKey)
		if err != nil {
			t.Fatalf("CheckMessage: %v", err)
		}
		random, other := &choices{1}, s.other().MessageBytes
		b := make([]byte, 0, 4*len(good))
		taken := 0
		for made := 0; made < rounds; {
			b = append(b[:0], good...)
			for range 1 + random.below(3) {
				b = random.change(b, other)
			}
			if bytes.Equal(b, good) {
				continue
			}
			made++
			a.MessageDigest = evidence.MessageDigest(b)
			m, err := evidence.CheckMessage(b, a, s.GroupKey)
			if err != nil {
				if m != (evidence.Message{}) {
					t.Fatalf("%x is refused, and read as %+v", b, m)
				}
				continue
			}
			taken++
			if m.BlockHash == want.BlockHash {
				t.Fatalf("%x says the same as other bytes", b)
			}
			said := s.Solana
			said.BlockHash = m.BlockHash
			if again, err := said.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%x is taken, and is not the payment with another block hash", b)
			}
			m.BlockHash = want.BlockHash
			if m != want {
				t.Fatalf("%x is taken for %+v, want %+v", b, m, want)
			}
		}
		if taken < rounds/200 {
			t.Errorf("%v: only %d of %d are taken: the test reaches too little", s.Solana.Layout, taken, rounds)
		}
	}
}

// TestEveryByteOnSolana changes each byte to each other value.
func TestEveryByteOnSolana(t *testing.T) {
	s := newSceneOn(t, onSolana)
	s.buys()
	a, good := attemptOf(t, s), s.MessageBytes
	const hashAt = 4 + 1 + 8*len(solana.Key{})
	for i := range good {
		b := bytes.Clone(good)
		for delta := 1; delta < 256; delta++ {
			b[i] = good[i] + byte(delta)
			a.MessageDigest = evidence.MessageDigest(b)
			_, err := evidence.CheckMessage(b, a, s.GroupKey)
			if inHash := i >= hashAt && i < hashAt+32; (err == nil) != inHash {
				t.Fatalf("byte %d changed by %d: %v", i, delta, err)
			}
		}
	}
}

// choices is splitmix64: the same in every run.
type choices struct{ state uint64 }

func (c *choices) next() uint64 {
	c.state += 0x9e3779b97f4a7c15
	z := c.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (c *choices) below(n int) int { return int(c.next() % uint64(n)) }

// change makes one change: a bit, a byte, bytes put in or left out, two exchanged, or a part of another payment in its place.
func (c *choices) change(b, other []byte) []byte {
	if len(b) < 64 {
		return append(b, other...)
	}
	at := c.below(len(b))
	switch c.below(6) {
	case 0:
		b[at] ^= 1 << c.below(8)
	case 1:
		b[at] = byte(c.next())
	case 2:
		b = slices.Insert(b, at, byte(c.next()))
	case 3:
		b = slices.Delete(b, at, min(at+1+c.below(4), len(b)))
	case 4:
		with := c.below(len(b))
		b[at], b[with] = b[with], b[at]
	case 5:
		if at < len(other) {
			copy(b[at:], other[at:min(at+1+c.below(64), len(other))])
		}
	}
	return b
}
