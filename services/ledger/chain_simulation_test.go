package ledger

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// chainSteps are drawn from, the more often the more often they stand here. The first node is honest, and may be behind; the second one
// does what it likes.
var chainSteps = []string{
	"authorize", "authorize", "send", "send", "settle", "block", "block", "blocks", "window", "last block", "fork", "lose", "find", "fund",
	"exit", "restart", "look", "look", "look", "behind", "whole", "hide", "prune", "own chain", "landed on its own chain", "whole",
}

// chainSimulation is a ledger, a chain, and what is true of the payments on it.
type chainSimulation struct {
	*chainFixture
	payments []*evidencetest.Payment
	told     map[typev1.PaymentState]int
}

// last is the payment that was authorized last.
func (s *chainSimulation) last() *evidencetest.Payment {
	if len(s.payments) == 0 {
		return nil
	}
	return s.payments[len(s.payments)-1]
}

func (s *chainSimulation) step(name string) {
	p := s.last()
	if p == nil && (name == "send" || name == "settle" || name == "last block" || name == "hide" || name == "landed on its own chain") {
		name = "authorize"
	}
	switch name {
	case "authorize":
		// A block hash is every node's to show.
		s.whole()
		s.payments = append(s.payments, s.authorize(fmt.Sprintf("p%d", len(s.payments)), int64(len(s.payments)+1)))
	case "send":
		s.chain.Send(s.wire(p))
	case "settle":
		// It is refused where the payment has ended, and nothing of what follows is lost by it.
		_, _ = s.settle(p)
	case "block":
		s.chain.Advance(1)
	case "blocks":
		s.chain.Advance(25)
	case "window":
		s.chain.Advance(100)
	case "last block":
		if s.chain.Tip().Height < s.heights[p.Name] {
			s.chain.AdvanceTo(s.heights[p.Name])
			s.chain.Send(s.wire(p))
			s.chain.Advance(1)
		}
	case "fork":
		s.chain.Fork(min(solanarpctest.FinalityBlocks/2, int(s.chain.Tip().Height-s.chain.Final().Height)))
	case "lose", "find":
		s.chain.Lose(name == "lose")
	case "fund":
		s.chain.Fund(s.payer.GroupKey, s.mint, 1000)
	case "exit":
		s.exit(17, fmt.Sprint(s.chain.Tip().Height))
	case "restart":
		s.reopen()
	case "behind":
		s.nodes[0].Become(solanarpctest.Behind(40))
	case "whole":
		s.whole()
	case "hide":
		s.nodes[1].Become(solanarpctest.Hiding(p.MessageBytes))
	case "prune":
		s.nodes[1].Become(solanarpctest.Pruned(s.chain.Final().Slot - 30))
	case "own chain":
		s.nodes[1].Become(solanarpctest.Showing(s.chain.Branch(s.chain.Final().Back(120), 260)))
	case "landed on its own chain":
		s.nodes[1].Become(solanarpctest.Showing(s.chain.Branch(s.chain.Final().Back(20), 60, s.wire(p))))
	}
	s.look()
	s.wantTruth()
}

func (s *chainSimulation) whole() {
	for _, n := range s.nodes {
		n.Become()
	}
}

// wantTruth compares what the ledger says with what no fork can change any more.
func (s *chainSimulation) wantTruth() {
	s.t.Helper()
	for _, p := range s.payments {
		state := s.get(p.Name).GetState()
		s.told[state]++
		block, final := s.chain.Landed(p.MessageBytes), s.chain.Final()
		isFinal := block != nil && block.Height <= final.Height
		switch {
		case (state == settled || state == failed) && !isFinal:
			s.t.Fatalf("%s is %s, and its message is in %v, final is %v", p.Name, state, block, final)
		case state == ready && (block != nil || final.Height <= s.heights[p.Name]+1):
			s.t.Fatalf("%s is %s, and its message is in %v, or may still land after %v", p.Name, state, block, final)
		}
	}
}

// TestChainSimulation: whatever a chain and all nodes but one do, and however often the ledger is restarted meanwhile, nothing is settled
// that is not final and no hold ends whose message has landed or may. When all nodes are whole again the books are what the chain says.
func TestChainSimulation(t *testing.T) {
	told := map[typev1.PaymentState]int{}
	for seed := range 16 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := &chainSimulation{chainFixture: startChain(t), told: told}
			steps := rapid.SliceOfN(rapid.SampledFrom(chainSteps), 30, 30).Example(seed)
			for i, name := range steps {
				if s.step(name); t.Failed() {
					t.Fatalf("after %q", steps[:i+1])
				}
			}
			s.whole()
			s.chain.Advance(300)
			for range 2 {
				s.look()
			}
			s.wantTruth()
			var held int64
			for i, p := range s.payments {
				state, landed := s.get(p.Name).GetState(), s.chain.Landed(p.MessageBytes) != nil
				switch {
				case state == authorized && !landed:
					held += int64(i + 1) // Somebody has shown it once, and it did not land.
				case landed != (state == settled || state == failed):
					t.Errorf("%s is %s, landed is %v, after %q", p.Name, state, landed, steps)
				}
			}
			s.wantUnits(int64(s.chain.Units(s.payer.GroupKey, s.mint))-held, held)
			if t.Failed() {
				t.Logf("after %q", steps)
			}
		})
	}
	t.Log(told)
	for _, state := range []typev1.PaymentState{authorized, settled, ready} {
		if told[state] == 0 {
			t.Errorf("never %s: the steps reach too little", state)
		}
	}
}
