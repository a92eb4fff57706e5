package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestBudgetEdge lets 64 clients of one agent, each with a connection of its own, spend one unit each at the edge of a daily
// budget that nobody may cross. What is spent is the budget, to the unit, and still is after a crash.
func TestBudgetEdge(t *testing.T) {
	t.Parallel()
	const (
		clients = 64
		room    = 29 // Less than half of them find room.
		budget  = 1000
	)
	w := newWorld(t)
	rules := w.rules()
	rules.Daily, rules.DailyDeny = 0, budget
	w.GuardRails(w.payer, rules)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w.wantPays(ctx, t, w.payer, budget-room)

	var agents []*client.Agent
	for range clients {
		a, err := w.Client(w.home).Agent(w.payer.Wallet())
		if err != nil {
			t.Fatal(err)
		}
		agents = append(agents, a)
	}
	spend := func() (states [clients]typev1.PaymentState) {
		var wait sync.WaitGroup
		begin := make(chan struct{})
		for n, a := range agents {
			wait.Go(func() {
				<-begin
				paid, err := a.Pay(ctx, w.order(idOf(n), 1))
				if err != nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
				states[n] = paid.State
			})
		}
		close(begin)
		wait.Wait()
		return states
	}
	wantSpent := func() {
		t.Helper()
		w.wantBalance(ctx, t, w.payer, funds-budget, 0)
		w.wantBalance(ctx, t, w.shop, budget, 0)
		w.verifyJournal(ctx, t, w.payer)
		w.verifyJournal(ctx, t, w.shop)
	}

	first := spend()
	in := make(map[typev1.PaymentState]int)
	for _, s := range first {
		in[s]++
	}
	if in[settled] != room || in[denied] != clients-room {
		t.Fatalf("the payments ended as %v, want %d SETTLED and the others DENIED", in, room)
	}
	wantSpent()

	w.Kill()
	w.Restart()
	if again := spend(); again != first {
		t.Errorf("after the crash the payments are %v, want %v as before it", again, first)
	}
	if paid, err := w.payer.Pay(ctx, w.order("one-more", 1)); err != nil || paid.State != denied {
		t.Errorf("one more unit after the crash: %v, %v, want DENIED", paid, err)
	}
	wantSpent()
}

// TestFreezeUnderLoad freezes a wallet that many calls pay from. From the acknowledgement on none of its payments is
// authorized and none settles; the other wallet's go on. After the unfreeze every payment that was begun ends, once.
func TestFreezeUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		workers = 8 // On each wallet.
		before  = 16
		after   = 16
		units   = 1000
	)
	w := newWorld(t)
	other, _ := w.agent(t, "Other")
	w.GuardRails(other, w.rules())
	w.Fund(other, funds)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	var frozen atomic.Bool // Set when the freeze was acknowledged.
	var paidBefore, othersAfter atomic.Int64
	enough := make(chan struct{})
	var mu sync.Mutex
	var ids []string
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("w%d-n%d", worker, n)
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
				begunAfter := frozen.Load()
				paid, err := w.payer.Pay(ctx, w.order(id, units))
				if err != nil {
					if client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
						t.Errorf("%s failed with nothing wrong but the freeze: %v", id, err)
					}
					return
				}
				if paid.State != settled || begunAfter {
					t.Errorf("%s ended as %v, begun after the acknowledgement %t", id, paid.State, begunAfter)
					return
				}
				if paidBefore.Add(1) == before {
					close(enough)
				}
			}
		})
		wait.Go(func() {
			for n := 0; othersAfter.Load() < after; n++ {
				begunAfter := frozen.Load()
				paid, err := other.Pay(ctx, w.order(fmt.Sprintf("w%d-n%d", worker, n), units))
				if err != nil || paid.State != settled {
					t.Errorf("the other wallet's payment: %v, %v, want SETTLED", paid, err)
					return
				}
				if begunAfter {
					othersAfter.Add(1)
				}
			}
		})
	}
	select {
	case <-enough:
	case <-ctx.Done():
		t.Fatal("the payer did not get as far as to be frozen")
	}
	status, err := w.Owner().Freeze(ctx, w.payer.Wallet(), "stop")
	if err != nil || !status.Frozen {
		t.Fatalf("the freeze: %v, %v", status, err)
	}
	acknowledged, err := w.payer.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frozen.Store(true)
	wait.Wait()

	// Nothing at all has happened in the wallet since the freeze.
	entries := w.entries(ctx, t, w.payer)
	stopped := -1
	for i, e := range entries {
		if e.GetKind() == typev1.EntryKind_ENTRY_KIND_FREEZE {
			stopped = i
			continue
		}
		if stopped >= 0 {
			t.Errorf("entry %d, after the freeze, is %v of %s, %v", e.GetNumber(), e.GetKind(), e.GetPayment(), e.GetPaymentState())
		}
	}
	if stopped < 0 {
		t.Fatal("the journal has no freeze")
	}
	w.wantBalance(ctx, t, w.payer, acknowledged.Balances[0].Available, acknowledged.Balances[0].Held)

	if _, err := w.Owner().Unfreeze(ctx, w.payer.Wallet(), "stop"); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if paid, err := w.payer.Pay(ctx, w.order(id, units)); err != nil || paid.State != settled {
			t.Fatalf("%s after the unfreeze: %v, %v, want SETTLED", id, paid, err)
		}
	}
	w.wantBalance(ctx, t, w.payer, funds-int64(len(ids))*units, 0)
	spent := funds - w.balance(ctx, t, other).Available
	w.wantBalance(ctx, t, w.shop, int64(len(ids))*units+spent, 0)
	for _, a := range []*client.Agent{w.payer, other, w.shop} {
		w.verifyJournal(ctx, t, a)
	}
}
