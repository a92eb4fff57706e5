package ledger

import "sync"

// pinsMax bounds wallets in memory; beyond it the memory is dropped whole.
const pinsMax = 10_000

// pins remembers wallets as the last batch that touched them left them, so that the hot path verifies signatures without
// asking the database whose they should be. Only the writer puts something in, after it is durable. Nothing rests on it: a
// decision compares the head that signatures were verified against with the one in its own transaction.
type pins struct {
	mu     sync.Mutex
	byName map[string]pinned
}

type pinned struct {
	wallet      wallet
	clockMillis int64
}

func (p *pins) get(name string) (pinned, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.byName[name]
	return known, ok
}

// stored takes over what a batch has stored.
func (p *pins) stored(s *state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName == nil || len(p.byName) >= pinsMax {
		p.byName = make(map[string]pinned)
	}
	for name := range s.chains.dirty {
		if w, ok := s.wallets.rows[name]; ok {
			p.byName[name] = pinned{w, s.chains.rows[name].clockMillis}
		}
	}
}
