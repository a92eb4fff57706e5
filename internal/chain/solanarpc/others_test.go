package solanarpc

import (
	"encoding/binary"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// TestOthersForgetTheOldest: what is remembered is bounded, and what was just seen is remembered.
func TestOthersForgetTheOldest(t *testing.T) {
	signature := func(n int) (s solana.Signature) {
		binary.BigEndian.PutUint64(s[:], uint64(n))
		return s
	}
	o := newOthers()
	theirs, ours := [32]byte{1}, [32]byte{2}
	const more = 1000
	for n := range othersMax + more {
		o.add(signature(n), theirs)
	}
	if len(o.digests) != othersMax || len(o.ring) != othersMax {
		t.Errorf("%d remembered, in a ring of %d", len(o.digests), len(o.ring))
	}
	if o.is(signature(more-1), ours) || !o.is(signature(more), ours) || !o.is(signature(othersMax+more-1), ours) {
		t.Error("others than the oldest were forgotten")
	}
	if o.is(signature(more), theirs) {
		t.Error("the message itself is taken for another one")
	}
	o.add(signature(more), ours) // Known already, and finalised transactions do not change.
	if !o.is(signature(more), ours) {
		t.Error("it has changed")
	}
	o.forget()
	if o.is(signature(more), ours) || len(o.ring) != 0 {
		t.Error("it is not forgotten")
	}
	o.add(signature(more), theirs)
	if !o.is(signature(more), ours) {
		t.Error("it remembers nothing any more")
	}
}
