package ledger

import (
	"sync"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// recentMax bounds AUTHORIZED payments in memory, each of some KiB; beyond it the memory is dropped whole.
const recentMax = 4096

// recent remembers AUTHORIZED payments as the last batch that touched them left them, with the entry that holds what they were
// judged by, so that settling one, which mostly follows at once, need not read it before and after. Only the writer puts
// something in, after it is durable. Nothing rests on it: a decision compares the message that a signature was verified over
// with the one in its own transaction, and an entry never changes.
type recent struct {
	mu    sync.Mutex
	byKey map[paymentKey]authorization
}

// authorization is an AUTHORIZED payment and the entry in its journal that says so.
type authorization struct {
	payment payment
	judged  *typev1.Entry
}

func (r *recent) get(k paymentKey) (authorization, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.byKey[k]
	return known, ok
}

// stored takes over what a batch has stored.
func (r *recent) stored(s *state) {
	judged := make(map[entryKey]*typev1.Entry)
	for _, d := range s.entries {
		judged[entryKey{d.chain, d.number()}] = d.entry
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range s.payments.dirty {
		p := s.payments.rows[k]
		entry := judged[entryKey{p.wallet, p.judgedEntry}]
		if p.state != authorized || entry == nil {
			delete(r.byKey, k)
			continue
		}
		if r.byKey == nil || len(r.byKey) >= recentMax {
			r.byKey = make(map[paymentKey]authorization)
		}
		r.byKey[k] = authorization{p, entry}
	}
}
