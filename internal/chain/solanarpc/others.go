package solanarpc

import (
	"sync"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// othersMax bounds how many transactions are remembered for an endpoint, at about 200 bytes each. As many within one window would keep a
// message from being called dead; they would be somebody's 400 in each block, and the fees for them.
const othersMax = 1 << 16

// others remembers which message an endpoint showed behind a signature, so that a busy account's transactions are fetched once and not
// for every message that is looked for. Finalised transactions do not change. It forgets the oldest.
type others struct {
	mu      sync.Mutex
	digests map[solana.Signature][32]byte
	ring    []solana.Signature
	next    int
}

func newOthers() *others { return &others{digests: map[solana.Signature][32]byte{}} }

// is says whether the transaction is known to hold another message than the one with that digest.
func (o *others) is(signature solana.Signature, digest [32]byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	known, ok := o.digests[signature]
	return ok && known != digest
}

// forget starts anew.
func (o *others) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.digests)
	o.ring, o.next = nil, 0
}

// add remembers a transaction's message.
func (o *others) add(signature solana.Signature, digest [32]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.digests[signature]; ok {
		return
	}
	if len(o.ring) < othersMax {
		o.ring = append(o.ring, signature)
	} else {
		delete(o.digests, o.ring[o.next])
		o.ring[o.next] = signature
		o.next = (o.next + 1) % othersMax
	}
	o.digests[signature] = digest
}
