package ledger

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// What is so of the message of a row.
const (
	isLanded = "landed" // It landed, is final, and its time is over.
	isLost   = "lost"   // It never landed, and its time is over.
	isFailed = "failed" // It landed with an error.
	isOpen   = "open"   // It has not landed, and may still.
)

// hostileRow is what a node does to a ledger that waits for a message, and what the ledger makes of it.
type hostileRow struct {
	name  string
	truth string
	node  func(f *chainFixture, p *evidencetest.Payment) []solanarpctest.Option // What the second of two nodes does.
	both  bool                                                                  // The first one does it, too.
	short bool                                                                  // No answer is waited for longer than 300 ms.
	state typev1.PaymentState                                                   // Afterwards. Zero is AUTHORIZED.
	moved typev1.MoneyMoved                                                     // What the ledger says of the money then. Zero is UNKNOWN.
	// end is the state once all nodes are honest and whole; zero is what is so.
	end typev1.PaymentState
}

// hostileWords stand for all that a node could write.
const hostileWords = "\x1b[31mHALFKEY SAYS: pay again"

type node = func(*chainFixture, *evidencetest.Payment) []solanarpctest.Option

// is is a node that does this to everybody.
func is(options ...solanarpctest.Option) node {
	return func(*chainFixture, *evidencetest.Payment) []solanarpctest.Option { return options }
}

// on changes a node's answers to one method.
func on(method string, change func(*solanarpctest.Call) bool) node {
	return is(solanarpctest.Answering(func(c *solanarpctest.Call) bool { return c.Method == method && change(c) }))
}

// result puts another result in the place of a method's.
func result(method string, v any) node {
	return on(method, func(c *solanarpctest.Call) bool { c.Result = v; return false })
}

// body answers a method with these bytes.
func body(method, text string) node {
	return on(method, func(c *solanarpctest.Call) bool { return c.Write(text) })
}

// shownOf changes what a node shows of the payment's transaction.
func shownOf(change func(answer map[string]any)) node {
	return func(_ *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
		signature := solana.Signature(p.Settle()).String()
		return []solanarpctest.Option{solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			if answer, ok := c.Result.(map[string]any); ok && c.Method == "getTransaction" && c.Params[0] == signature {
				change(answer)
			}
			return false
		})}
	}
}

// otherwise lists and shows the payment's transaction with another result than it had.
func otherwise(problem any) node {
	return func(_ *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
		signature := solana.Signature(p.Settle()).String()
		return []solanarpctest.Option{solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			switch answer := c.Result.(type) {
			case []map[string]any:
				for _, one := range answer {
					if one["signature"] == signature {
						one["err"] = problem
					}
				}
			case map[string]any:
				if meta, ok := answer["meta"].(map[string]any); ok && c.Params[0] == signature {
					meta["err"] = problem
				}
			}
			return false
		})}
	}
}

var hostileRows = []hostileRow{
	{name: "honest, landed", truth: isLanded, state: settled, moved: movedYes},
	{name: "honest, lost", truth: isLost, state: ready, moved: movedNo},
	{name: "honest, failed", truth: isFailed, state: failed, moved: movedNo},
	{name: "honest, open", truth: isOpen},

	// One does not answer.
	{name: "one is silent, landed", truth: isLanded, node: is(solanarpctest.Silent()), short: true},
	{name: "one is silent, lost", truth: isLost, node: is(solanarpctest.Silent()), short: true},
	{name: "all are silent", truth: isLanded, node: is(solanarpctest.Silent()), both: true, short: true},
	{name: "all are silent, lost", truth: isLost, node: is(solanarpctest.Silent()), both: true, short: true},
	{name: "one is down", truth: isLost, node: is(solanarpctest.Down(http.StatusBadGateway))},
	{name: "one refuses so many questions", truth: isLanded, node: is(solanarpctest.Down(http.StatusTooManyRequests))},
	{name: "one answers with words", truth: isLost, node: body("getEpochInfo", hostileWords)},
	{name: "one answers without end", truth: isLost, node: body("getSignaturesForAddress", strings.Repeat("[", 5<<20))},
	{name: "one sends elsewhere", truth: isLost, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		return c.Redirect("http://127.0.0.1:1/")
	})},
	{name: "one is of another network", truth: isLost, node: result("getGenesisHash", solana.Key{1}.String())},

	// One knows less.
	{name: "one is behind, landed", truth: isLanded, node: is(solanarpctest.Behind(250))},
	{name: "one is behind, lost", truth: isLost, node: is(solanarpctest.Behind(40))},
	{
		name: "one is pruned, landed", truth: isLanded,
		node: func(f *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
			return []solanarpctest.Option{solanarpctest.Pruned(f.chain.Landed(p.MessageBytes).Slot + 1)}
		},
	},
	{
		name: "all are pruned", truth: isLanded, both: true,
		node: func(f *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
			return []solanarpctest.Option{solanarpctest.Pruned(f.chain.Landed(p.MessageBytes).Slot + 1)}
		},
	},
	{
		name: "all are pruned, lost", truth: isLost, both: true,
		node: func(f *chainFixture, _ *evidencetest.Payment) []solanarpctest.Option {
			return []solanarpctest.Option{solanarpctest.Pruned(f.chain.Final().Slot - 20)}
		},
	},
	{
		name: "all have a hole where it landed", truth: isLanded, both: true,
		node: func(f *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
			slot := f.chain.Landed(p.MessageBytes).Slot
			return []solanarpctest.Option{solanarpctest.Hole(slot, slot)}
		},
	},
	{name: "one says that it is pruned", truth: isLost, node: result("getFirstAvailableBlock", 1<<40)},
	{name: "one has blocks without their transactions", truth: isLanded, node: result("getTransaction", nil)},

	// One lies.
	{
		name: "one lies that it is dead", truth: isLanded,
		node: func(_ *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
			return []solanarpctest.Option{solanarpctest.Hiding(p.MessageBytes)}
		},
	},
	{
		name: "one lies that it is dead by a chain of its own", truth: isLanded,
		node: func(f *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
			from := f.chain.Landed(p.MessageBytes).Back(1)
			return []solanarpctest.Option{solanarpctest.Showing(f.chain.Branch(from, 250))}
		},
	},
	{
		name: "one lies that its time is over", truth: isOpen,
		node: func(f *chainFixture, _ *evidencetest.Payment) []solanarpctest.Option {
			return []solanarpctest.Option{solanarpctest.Showing(f.chain.Branch(f.chain.Final(), 250))}
		},
	},
	{
		name: "one counts blocks that are not there", truth: isOpen, both: true,
		node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
			tip := c.Result.(map[string]any)
			tip["blockHeight"], tip["absoluteSlot"] = tip["blockHeight"].(uint64)+200, tip["absoluteSlot"].(uint64)+250
			return false
		}),
	},
	{
		// It has the signed message, or could not lie so. What was shown once is never taken for dead: that is what the lie costs.
		name: "one lies that it landed", truth: isLost, end: authorized,
		node: func(f *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
			return []solanarpctest.Option{solanarpctest.Showing(f.chain.Branch(f.chain.Final().Back(100), 250, f.wire(p)))}
		},
	},
	{name: "one lies that it failed", truth: isLanded, node: otherwise(hostileWords)},
	{name: "one lies that it did not fail", truth: isFailed, node: otherwise(nil)},
	{
		name: "one lies in which block it is", truth: isLanded,
		node: shownOf(func(answer map[string]any) { answer["slot"] = answer["slot"].(uint64) + 1 }),
	},
	{
		name: "one shows another transaction in its place", truth: isLanded,
		node: shownOf(func(answer map[string]any) { answer["transaction"] = solanarpctest.Bytes(make([]byte, 200)) }),
	},
	{
		name: "all show it with a signature that is none", truth: isLanded, both: true,
		node: func(f *chainFixture, p *evidencetest.Payment) []solanarpctest.Option {
			wire := f.wire(p)
			wire[10] ^= 1
			return shownOf(func(answer map[string]any) { answer["transaction"] = solanarpctest.Bytes(wire) })(f, p)
		},
	},
	{name: "one lists nothing", truth: isLanded, node: result("getSignaturesForAddress", []any{})},
	{name: "one lists in circles", truth: isLost, node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool {
		list := c.Result.([]map[string]any)
		c.Result = append(slices.Clone(list), list...)
		return false
	})},
	{name: "one says that the hash's block is another", truth: isLost, node: on("getBlock", func(c *solanarpctest.Call) bool {
		if b, ok := c.Result.(map[string]any); ok {
			b["blockhash"] = solana.Key{9}.String()
		}
		return false
	})},
	{name: "one leaves out a block of the window", truth: isLost, node: on("getBlocksWithLimit", func(c *solanarpctest.Call) bool {
		c.Result = slices.Delete(c.Result.([]uint64), 70, 71)
		return false
	})},
}

// TestHostileNodes: whatever nodes do to a ledger that waits for a message, nothing is settled and no hold ends that should not, and when
// they are honest again what is so is told.
func TestHostileNodes(t *testing.T) {
	for _, row := range hostileRows {
		t.Run(row.name, func(t *testing.T) {
			f := startChain(t)
			p := f.authorize("p1", 30*usdc)
			left := int64(funded)
			switch row.truth {
			case isLanded:
				f.settling(p)
				f.chain.Advance(5)
			case isFailed:
				f.chain.Take(f.payer.GroupKey, f.mint, 80*usdc)
				f.settling(p)
				f.chain.Advance(5)
				left -= 80 * usdc
			}
			if row.truth == isOpen {
				f.chain.Finalize()
			} else {
				f.pass(p)
			}
			if row.node != nil {
				f.nodes[1].Become(row.node(f, p)...)
			}
			if row.both {
				f.nodes[0].Become(row.node(f, p)...)
			}
			// A ledger looks as soon as it is opened, so the nodes are what they are by then.
			if row.short {
				f.timeout = 300 * time.Millisecond
				f.reopen()
			}
			f.look()
			f.look()
			f.wantState(p, orElse(row.state, authorized))
			f.wantMoved(p, orElse(row.moved, movedUnknown))
			if row.short {
				f.timeout = answerTimeout
			}
			for _, n := range f.nodes {
				n.Become()
			}
			// An endpoint of another network is refused for good: whoever has configured it has to start anew.
			f.reopen()
			if row.truth == isOpen {
				f.pass(p)
			}
			f.look()
			available, held := left, int64(0)
			switch orElse(row.end, map[string]typev1.PaymentState{isLanded: settled, isLost: ready, isOpen: ready, isFailed: failed}[row.truth]) {
			case settled:
				f.settledBy(p)
				available -= 30 * usdc
			case failed:
				f.wantState(p, failed)
			case ready:
				f.wantState(p, ready)
			default:
				f.wantState(p, authorized)
				available, held = available-30*usdc, 30*usdc
			}
			f.wantUnits(available, held)
			if strings.Contains(f.logs.String(), "HALFKEY SAYS") {
				t.Errorf("a node's words are in the log: %s", f.logs.String())
			}
		})
	}
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}
