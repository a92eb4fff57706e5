package ledger

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// transferOf makes a transfer over the block hash that is handed out now.
func (f *chainFixture) transferOf(from *evidencetest.Wallet, id string, to [32]byte) *evidencetest.Payment {
	f.t.Helper()
	hash, _ := f.blockHash()
	return f.payment(from, evidencetest.PaymentConfig{
		ID: id, To: to, Rail: typev1.Rail_RAIL_SOLANA, Units: usdc,
		EditSolana: func(m *solana.Message) { m.BlockHash, m.Memo = hash, id },
	})
}

// questions are how often the first node was asked for a payer's SOL, and for a recipient's token account.
func (f *chainFixture) questions() (sol, account int) {
	return f.nodes[0].Asked("getBalance"), f.nodes[0].Asked("getAccountInfo")
}

// wantQuestions runs f and checks what it costs the first node.
func (f *chainFixture) wantQuestions(what string, sol, account int, run func()) {
	f.t.Helper()
	solBefore, accountBefore := f.questions()
	run()
	solAfter, accountAfter := f.questions()
	if solAfter-solBefore != sol || accountAfter-accountBefore != account {
		f.t.Errorf("%s: asked %d times for SOL and %d times for the account, want %d and %d", what, solAfter-solBefore,
			accountAfter-accountBefore, sol, account)
	}
}

// TestSOLShared: what the endpoints say of a payer and of a recipient lets further transfers pass for five seconds, dry runs among them;
// many at once cost one question.
func TestSOLShared(t *testing.T) {
	f := startChain(t)
	newcomer := evidencetest.Key32(f.Key("newcomer"))
	f.setGuardRails(f.payer, func(doc *typev1.GuardRails) { evidencetest.Allow(newcomer)(doc) })
	pay := func(id string, to [32]byte) {
		t.Helper()
		f.must(f.transferOf(f.payer, id, to), authorized)
	}
	f.wantQuestions("a dry run", 1, 1, func() {
		p := f.transferOf(f.payer, "dry", f.shop)
		_, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
			Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict, ValidateOnly: true,
		})
		if err != nil {
			t.Error(err)
		}
	})
	f.wantQuestions("the payment after it", 0, 0, func() { pay("p1", f.shop) })
	f.wantQuestions("a payment to somebody else", 0, 1, func() { pay("p2", newcomer) })
	f.clock.advance(solShared)
	f.wantQuestions("five seconds later", 0, 0, func() { pay("p3", f.shop) })
	f.clock.advance(time.Millisecond)
	f.wantQuestions("after them", 1, 1, func() { pay("p4", f.shop) })
	f.clock.advance(solShared + time.Second)
	f.wantQuestions("many at once", 1, 1, func() {
		f.nodes[1].Become(solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			if c.Method == "getBalance" {
				time.Sleep(100 * time.Millisecond) // Most of them come meanwhile; who comes later finds the answer.
			}
			return false
		}))
		var calls sync.WaitGroup
		for i := range 8 {
			p := f.transferOf(f.payer, fmt.Sprint("q", i), f.shop)
			calls.Go(func() {
				if got, err := f.create(p); err != nil || got.GetState() != authorized {
					t.Errorf("%s, %v", got.GetState(), err)
				}
			})
		}
		calls.Wait()
	})
}

// TestSOLRefusedAfresh: nothing is refused by what was heard before, and nothing passes for longer by it than it is shared. An endpoint
// that gave no answer has given none for the next transfer, too.
func TestSOLRefusedAfresh(t *testing.T) {
	f := startChain(t)
	poor := f.wallet("poor", func(doc *typev1.GuardRails) {
		evidencetest.AllowSolana(f.shop)(doc)
		loose(doc)
	})
	f.chain.Fund(poor.GroupKey, f.mint, 10*usdc)
	f.chain.Finalize()
	f.look()
	refused := func(id string, want typev1.Reason) func() {
		return func() {
			t.Helper()
			f.unchanged(func() {
				_, err := f.create(f.transferOf(poor, id, f.shop))
				wantReason(t, err, want, movedNo)
			})
		}
	}
	f.wantQuestions("a wallet without SOL", 1, 1, refused("r1", typev1.Reason_REASON_INSUFFICIENT_FUNDS))
	f.wantQuestions("a moment later", 1, 1, refused("r2", typev1.Reason_REASON_INSUFFICIENT_FUNDS))
	f.chain.Airdrop(poor.GroupKey, 1_000_000_000)
	f.chain.Finalize()
	f.wantQuestions("once it has some", 1, 1, func() { f.must(f.transferOf(poor, "p1", f.shop), authorized) })
	for _, n := range f.nodes {
		n.Become(solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			if c.Method == "getBalance" {
				c.Result = solanarpctest.Refusal(-32005)
			}
			return false
		}))
	}
	f.clock.advance(solShared + time.Second)
	for i := range 2 {
		before, _ := f.questions()
		refused("unknown", typev1.Reason_REASON_UNAVAILABLE)()
		if after, _ := f.questions(); after != before+1 {
			t.Errorf("transfer %d without an answer: asked %d times", i, after-before)
		}
	}
}

// TestAnswersAreBounded: what is remembered of accounts has a bound.
func TestAnswersAreBounded(t *testing.T) {
	var s answers[int64]
	for i := range 2 * solKept {
		s.keep(fmt.Sprint(i), int64(i), noon)
		if got, ok := s.find(fmt.Sprint(i), noon); !ok || got != int64(i) || len(s.given) > solKept {
			t.Fatalf("%d is remembered as %d, %v, beside %d", i, got, ok, len(s.given))
		}
	}
	if _, ok := s.find(fmt.Sprint(2*solKept-1), noon.Add(-time.Millisecond)); ok {
		t.Error("an answer from the future is believed")
	}
}
