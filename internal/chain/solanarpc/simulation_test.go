package solanarpc_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
)

// simulation is a chain that grows, forks and finalises, and what is true of one message on it. Its blocks are branches of a chain that
// stands still.
type simulation struct {
	*rapid.T
	chain     *solanarpctest.Chain
	start     *solanarpctest.Block // Whose hash the message has.
	tip       *solanarpctest.Block // The end of the fork that is built on.
	finalized *solanarpctest.Block // What no fork leaves any more.
	abandoned []*solanarpctest.Block
	tx        *payment
	watch     solanarpc.Watch
	nodes     []*observer
	honest    int // How many of nodes, from the first on, say only what is so.
}

// observer is a node, and what it knows and does.
type observer struct {
	*solanarpctest.Endpoint
	sees *solanarpctest.Block // As final.
	does []solanarpctest.Option
}

// show has the node show what it sees.
func (o *observer) show() { o.Become(append(o.does, solanarpctest.Showing(o.sees))...) }

// grow adds blocks to the fork that is built on; the message gets in where it may and somebody has sent it.
func (s *simulation) grow(blocks int, send bool) {
	for i := range blocks {
		var wires [][]byte
		if s.tip.Height%37 == 0 {
			wires = append(wires, s.chain.Quote(s.tip, wallet.key, usdc, nil))
		}
		if send && i == blocks-1 {
			wires = append(wires, s.tx.wire)
		}
		s.tip = s.chain.Branch(s.tip, 1, wires...)
	}
}

// fork leaves the newest blocks, down to what is finalised.
func (s *simulation) fork(blocks uint64) {
	s.abandoned = append(s.abandoned, s.tip)
	s.tip = s.tip.Back(int(min(blocks, s.tip.Height-s.finalized.Height)))
	s.grow(1, false)
}

// finalize moves finality, keeping some blocks open to forks.
func (s *simulation) finalize(keep int) {
	if at := s.tip.Back(keep); at.Height > s.finalized.Height {
		s.finalized = at
	}
}

// follow lets an honest node see what it may: some finalised block, not before the one it has seen.
func (s *simulation) follow(n *observer, behind int) {
	if at := s.finalized.Back(behind); at.Height > n.sees.Height {
		n.sees = at
	}
	n.show()
}

// lie shows something else.
func (s *simulation) lie(n *observer, how int) {
	n.does = nil
	switch how {
	case 0: // What is so.
		n.sees = s.finalized
	case 5: // A fork as if it were final.
		n.sees = s.tip
	case 1: // A fork that was left.
		if len(s.abandoned) != 0 {
			n.sees = s.abandoned[len(s.abandoned)-1]
		}
	case 2: // Nothing.
		n.does = []solanarpctest.Option{answers("getSignaturesForAddress", []any{})}
	case 3: // A fork of its own that is long enough, without the message.
		n.sees = s.chain.Branch(s.start, 200)
	case 4: // A fork of its own, with the message.
		n.sees = s.chain.Branch(s.start, 201, s.tx.wire)
	}
	n.show()
}

// ask compares what the client says with what is so.
func (s *simulation) ask(t *testing.T, client *solanarpc.Client, fails bool) solanarpc.State {
	got, err := client.Outcome(t.Context(), s.watch)
	if err != nil {
		s.Fatal(err)
	}
	final := s.finalized.Holding(s.tx.message)
	switch got.State {
	case solanarpc.Landed, solanarpc.Failed:
		if final == nil {
			s.Fatalf("%v: it is not finalised", got.State)
		}
		if got.Signature != s.tx.signature || got.Slot != final.Slot || (got.State == solanarpc.Failed) != fails {
			s.Fatalf("%+v, want slot %d, failed %v", got, final.Slot, fails)
		}
	case solanarpc.Dead:
		if final != nil {
			s.Fatalf("dead: it has landed in %v", final)
		}
		if next := s.chain.Branch(s.finalized, 1, s.tx.wire); next.Holding(s.tx.message) != nil {
			s.Fatalf("dead: it may still land in %v", next)
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
	chain := newChain(t)
	start := chain.Tip()
	last := start.Height + 150
	lands := pay(t, shop, start.Hash, 1000, "one")
	failure := pay(t, newPerson("nobody"), start.Hash, 1000, "one") // Who has no account, and x402 opens none.
	var endpoints []*solanarpctest.Endpoint
	for range 4 {
		endpoints = append(endpoints, chain.Endpoint())
	}
	rapid.Check(t, func(r *rapid.T) {
		s := &simulation{T: r, chain: chain, start: start, tip: start, finalized: start, tx: lands}
		fails := rapid.IntRange(0, 4).Draw(r, "fails") == 0
		if fails {
			s.tx = failure
		}
		s.watch = solanarpc.Watch{
			Account: mustATA(wallet.key), Payer: wallet.key, Message: s.tx.message,
			BlockHash: solanarpc.BlockHash{Hash: start.Hash, Slot: start.Slot, LastValidHeight: last},
		}
		s.honest = rapid.IntRange(1, 2).Draw(r, "honest")
		liars := rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(r, "liars")
		for _, e := range endpoints[:s.honest+liars] {
			s.nodes = append(s.nodes, &observer{Endpoint: e, sees: start})
			s.nodes[len(s.nodes)-1].show()
		}
		client := asking(t, clientTimeout, chain, endpoints[:s.honest+liars]...)
		for range rapid.IntRange(5, 40).Draw(r, "steps") {
			switch rapid.SampledFrom(steps).Draw(r, "step") {
			case "grow":
				s.grow(rapid.SampledFrom([]int{1, 10, 60, 120}).Draw(r, "blocks"), rapid.IntRange(0, 9).Draw(r, "send") == 0)
			case "land last": // In the last block that may hold it.
				if s.tip.Height < last+1 {
					s.grow(int(last+1-s.tip.Height), true)
				}
			case "brink": // Just when it may be called dead, or just not.
				if s.tip.Height < last+1 {
					s.grow(int(last+1-s.tip.Height), true)
					s.grow(rapid.SampledFrom([]int{0, 1, 10, 31, 32, 33}).Draw(r, "after"), false)
				}
				s.finalize(0)
				for _, n := range s.nodes[:s.honest] {
					s.follow(n, 0)
				}
				told[s.ask(t, client, fails)]++
			case "fork":
				s.fork(rapid.Uint64Range(1, 40).Draw(r, "left"))
			case "finalize":
				s.finalize(rapid.IntRange(0, 40).Draw(r, "open"))
			case "follow":
				for _, n := range s.nodes[:s.honest] {
					s.follow(n, rapid.SampledFrom([]int{0, 0, 1, 5, 30, 31, 32, 33, 60}).Draw(r, "behind"))
				}
			case "settle": // All of it is final, and honest nodes know.
				s.finalize(0)
				for _, n := range s.nodes[:s.honest] {
					s.follow(n, 0)
				}
			case "degrade":
				s.degrade(s.nodes[rapid.IntRange(0, s.honest-1).Draw(r, "who")])
			case "heal":
				for _, n := range s.nodes[:s.honest] {
					n.does = nil
					n.show()
				}
			case "lie":
				if liars != 0 {
					s.lie(s.nodes[s.honest+rapid.IntRange(0, liars-1).Draw(r, "liar")], rapid.IntRange(0, 5).Draw(r, "lie"))
				}
			case "ask":
				told[s.ask(t, client, fails)]++
			}
		}
		told[s.ask(t, client, fails)]++
		// The chain goes on, the message either in it or out of time, and everybody sees all of it.
		s.grow(250, false)
		s.finalize(0)
		for _, n := range s.nodes {
			n.sees, n.does = s.tip, nil
			n.show()
		}
		want := solanarpc.Dead
		if s.tip.Holding(s.tx.message) != nil {
			want = solanarpc.Landed
			if fails {
				want = solanarpc.Failed
			}
		}
		if got := s.ask(t, client, fails); got != want {
			r.Fatalf("in the end %v, want %v", got, want)
		}
	})
	t.Log(told)
	if told[solanarpc.Landed] == 0 || told[solanarpc.Dead] == 0 || told[solanarpc.Unknown] == 0 {
		t.Errorf("told %v before the end: the steps reach too little", told)
	}
}

// degrade has an honest node lose history, index late, or be a pool, beside what it does already.
func (s *simulation) degrade(n *observer) {
	var does solanarpctest.Option
	switch rapid.IntRange(0, 4).Draw(s.T, "way") {
	case 0:
		does = solanarpctest.Pruned(s.start.Slot + rapid.Uint64Range(0, 100).Draw(s.T, "first") - 60)
	case 1:
		from := s.start.Slot + rapid.Uint64Range(0, 400).Draw(s.T, "hole from") - 60
		if at := s.finalized.Holding(s.tx.message); at != nil {
			from = at.Slot
		}
		does = solanarpctest.Hole(from, from+rapid.Uint64Range(0, 50).Draw(s.T, "hole"))
	case 2:
		does = solanarpctest.Unindexed(rapid.IntRange(0, 31).Draw(s.T, "unindexed"))
	case 3:
		does = solanarpctest.Paging(rapid.IntRange(1, 3).Draw(s.T, "page"))
	case 4:
		does = solanarpctest.Lagging(rapid.SampledFrom(lagging).Draw(s.T, "method"), rapid.SampledFrom([]int{1, 30, 33, 60}).Draw(s.T, "lag"))
	}
	n.does = append(n.does, does)
	n.show()
}
