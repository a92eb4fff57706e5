package solanarpc_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
)

// simulation is a chain that grows, forks and finalises, and what is true of one message on it.
type simulation struct {
	*rapid.T
	tip       *modelBlock // The end of the fork that is built on.
	finalized *modelBlock // What no fork leaves any more.
	abandoned []*modelBlock
	forks     int
	tx        *modelTx
	watch     solanarpc.Watch
	nodes     []*modelNode
	honest    int // How many of nodes, from the first on, say only what is so.
}

// grow adds blocks to the fork that is built on; the message gets in where it may and somebody has sent it.
func (s *simulation) grow(blocks int, send bool) {
	for range blocks {
		s.tip = newBlock(s.tip, s.tip.slot+1+uint64(s.forks%3), byte(s.forks))
		if s.tip.height%37 == 0 {
			s.tip.txs = append(s.tip.txs, dust(s.watch.Account, s.tip.slot<<8|uint64(s.forks)))
		}
	}
	if send && s.tip.takes(s.tx, s.watch.BlockHash.Hash) {
		s.tip.txs = append(s.tip.txs, s.tx)
	}
}

// fork leaves the newest blocks, down to what is finalised.
func (s *simulation) fork(blocks uint64) {
	s.abandoned = append(s.abandoned, s.tip)
	s.tip = s.tip.back(min(blocks, s.tip.height-s.finalized.height))
	s.forks++
	s.grow(1, false)
}

// finalize moves finality, keeping some blocks open to forks.
func (s *simulation) finalize(keep uint64) {
	if at := s.tip.back(keep); at.height > s.finalized.height {
		s.finalized = at
	}
}

// follow lets an honest node see what it may: some finalised block, not before the one it has seen.
func (s *simulation) follow(n *modelNode, behind uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at := s.finalized.back(behind); n.finalized == nil || at.height > n.finalized.height {
		n.finalized = at
	}
	n.confirmed = n.finalized
}

// lie shows something else.
func (s *simulation) lie(n *modelNode, how int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hostile = nil
	switch how {
	case 0: // What is so.
		n.finalized = s.finalized
	case 5: // A fork as if it were final.
		n.finalized = s.tip
	case 1: // A fork that was left.
		if len(s.abandoned) != 0 {
			n.finalized = s.abandoned[len(s.abandoned)-1]
		}
	case 2: // Nothing.
		n.hostile = func(c *modelCall) bool {
			if c.method == "getSignaturesForAddress" {
				c.result = []any{}
			}
			return false
		}
	case 3: // A fork of its own that is long enough, without the message.
		own := s.watch.BlockHash
		b := s.finalized.at(own.Slot)
		for range 200 {
			b = newBlock(b, b.slot+1, 255)
		}
		n.finalized = b
	case 4: // A fork of its own, with the message.
		b := newBlock(s.finalized.at(s.watch.BlockHash.Slot), s.watch.BlockHash.Slot+1, 254)
		b.txs = append(b.txs, s.tx)
		for range 200 {
			b = newBlock(b, b.slot+1, 254)
		}
		n.finalized = b
	}
	n.confirmed = n.finalized
}

// ask compares what the client says with what is so.
func (s *simulation) ask(t *testing.T, client *solanarpc.Client) solanarpc.State {
	got, err := client.Outcome(t.Context(), s.watch)
	if err != nil {
		s.Fatal(err)
	}
	final := s.finalized.holding(s.tx.message)
	switch got.State {
	case solanarpc.Landed, solanarpc.Failed:
		if final == nil {
			s.Fatalf("%v: it is not finalised", got.State)
		}
		if got.Signature != s.tx.signature || got.Slot != final.slot || (got.State == solanarpc.Failed) != s.tx.failed {
			s.Fatalf("%+v, want slot %d, failed %v", got, final.slot, s.tx.failed)
		}
	case solanarpc.Dead:
		if final != nil {
			s.Fatalf("dead: it has landed in slot %d", final.slot)
		}
		if next := newBlock(s.finalized, s.finalized.slot+1, 9); next.takes(s.tx, s.watch.BlockHash.Hash) {
			s.Fatalf("dead: it may still land at height %d", next.height)
		}
	}
	return got.State
}

// lagging are the methods that a slow machine of a pool may answer.
var lagging = []string{
	"getEpochInfo", "getBlocksWithLimit", "getBlock", "getTransaction", "getSignaturesForAddress", "getSignaturesForAddress",
}

// steps are drawn from, the more often the more often they stand here.
var steps = []string{
	"grow", "grow", "grow", "land last", "fork", "finalize", "finalize", "follow", "follow", "settle", "brink", "degrade",
	"degrade", "heal", "heal", "lie", "ask", "ask",
}

// TestSimulation: whatever the chain and the nodes do, as long as one of them is honest, no message is called dead that has landed or
// may land, and none landed that is not final. At the end, when all are honest and whole, the truth is told.
func TestSimulation(t *testing.T) {
	told := map[solanarpc.State]int{}
	rapid.Check(t, func(r *rapid.T) {
		s := &simulation{T: r}
		s.watch.Account, s.watch.Payer = mustATA(wallet.key), wallet.key
		for slot := uint64(1); slot <= 60; slot++ {
			s.tip = newBlock(s.tip, slot, 0)
		}
		s.finalized = s.tip
		s.watch.BlockHash = solanarpc.BlockHash{Hash: s.tip.hash, Slot: s.tip.slot, LastValidHeight: s.tip.height + 150}
		s.tx = payment(t, s.tip.hash, "one")
		s.tx.failed = rapid.IntRange(0, 4).Draw(r, "fails") == 0
		s.watch.Message = s.tx.message
		s.honest = rapid.IntRange(1, 2).Draw(r, "honest")
		liars := rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(r, "liars")
		for range s.honest + liars {
			n := serveNode(t, &modelNode{genesis: newPerson("genesis").key, finalized: s.tip, confirmed: s.tip})
			defer n.close()
			s.nodes = append(s.nodes, n)
		}
		client := newClient(t, s.nodes...)
		for range rapid.IntRange(5, 40).Draw(r, "steps") {
			switch rapid.SampledFrom(steps).Draw(r, "step") {
			case "grow":
				s.grow(rapid.SampledFrom([]int{1, 10, 60, 120}).Draw(r, "blocks"), rapid.IntRange(0, 9).Draw(r, "send") == 0)
			case "land last": // In the last block that may hold it.
				if last := s.watch.BlockHash.LastValidHeight + 1; s.tip.height < last {
					s.grow(int(last-s.tip.height), true)
				}
			case "brink": // Just when it may be called dead, or just not.
				if last := s.watch.BlockHash.LastValidHeight + 1; s.tip.height < last {
					s.grow(int(last-s.tip.height), true)
					s.grow(rapid.SampledFrom([]int{0, 1, 10, 31, 32, 33}).Draw(r, "after"), false)
				}
				s.finalize(0)
				for _, n := range s.nodes[:s.honest] {
					s.follow(n, 0)
				}
				told[s.ask(t, client)]++
			case "fork":
				s.fork(rapid.Uint64Range(1, 40).Draw(r, "left"))
			case "finalize":
				s.finalize(rapid.Uint64Range(0, 40).Draw(r, "open"))
			case "follow":
				for _, n := range s.nodes[:s.honest] {
					s.follow(n, rapid.SampledFrom([]uint64{0, 0, 1, 5, 30, 31, 32, 33, 60}).Draw(r, "behind"))
				}
			case "settle": // All of it is final, and honest nodes know.
				s.finalize(0)
				for _, n := range s.nodes[:s.honest] {
					s.follow(n, 0)
				}
			case "degrade": // It loses history, indexes late, or is a pool.
				n := s.nodes[rapid.IntRange(0, s.honest-1).Draw(r, "who")]
				n.mu.Lock()
				switch rapid.IntRange(0, 4).Draw(r, "way") {
				case 0:
					n.first = rapid.Uint64Range(0, 100).Draw(r, "first")
				case 1:
					n.holeFrom = rapid.Uint64Range(1, 400).Draw(r, "hole from")
					if at := s.finalized.holding(s.tx.message); at != nil {
						n.holeFrom = at.slot
					}
					n.holeTo = n.holeFrom + rapid.Uint64Range(0, 50).Draw(r, "hole")
				case 2:
					n.unindexed = rapid.Uint64Range(0, 31).Draw(r, "unindexed")
				case 3:
					n.pageMax = rapid.IntRange(1, 3).Draw(r, "page")
				case 4:
					n.lags = map[string]uint64{
						rapid.SampledFrom(lagging).Draw(r, "method"): rapid.SampledFrom([]uint64{1, 30, 33, 60}).Draw(r, "lag"),
					}
				}
				n.mu.Unlock()
			case "heal":
				for _, n := range s.nodes[:s.honest] {
					n.mu.Lock()
					n.first, n.holeFrom, n.holeTo, n.unindexed, n.pageMax, n.lags = 0, 1, 0, 0, 0, nil
					n.mu.Unlock()
				}
			case "lie":
				if liars != 0 {
					s.lie(s.nodes[s.honest+rapid.IntRange(0, liars-1).Draw(r, "liar")], rapid.IntRange(0, 5).Draw(r, "lie"))
				}
			case "ask":
				told[s.ask(t, client)]++
			}
		}
		told[s.ask(t, client)]++
		// The chain goes on, the message either in it or out of time, and everybody sees all of it.
		s.grow(250, false)
		s.finalize(0)
		for _, n := range s.nodes {
			n.mu.Lock()
			n.hostile, n.finalized, n.confirmed, n.first, n.holeFrom, n.holeTo = nil, s.tip, s.tip, 0, 0, 0
			n.unindexed, n.pageMax, n.lags = 0, 0, nil
			n.mu.Unlock()
		}
		want := solanarpc.Dead
		if s.tip.holding(s.tx.message) != nil {
			want = solanarpc.Landed
			if s.tx.failed {
				want = solanarpc.Failed
			}
		}
		if got := s.ask(t, client); got != want {
			r.Fatalf("in the end %v, want %v", got, want)
		}
	})
	t.Log(told)
	if told[solanarpc.Landed] == 0 || told[solanarpc.Dead] == 0 || told[solanarpc.Unknown] == 0 {
		t.Errorf("told %v before the end: the steps reach too little", told)
	}
}
