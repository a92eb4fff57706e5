package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// programsChaos is how long programs are killed. Some seconds find what is broken at once; a longer run is one command in
// CONTRIBUTING.md.
var programsChaos = flag.Duration("programs.chaos", 8*time.Second, "how long TestProgramsKilledUnderLoad kills programs")

// chaosAgents pay at once.
const chaosAgents = 16

// begun are the payments that somebody has begun, and how far they got by what was answered.
type begun struct {
	mu   sync.Mutex
	ids  []string
	said map[string]typev1.PaymentState
}

func (b *begun) begin(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids = append(b.ids, id)
}

func (b *begun) answered(id string, state typev1.PaymentState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.said == nil {
		b.said = make(map[string]typev1.PaymentState)
	}
	b.said[id] = state
}

// Sixteen agents pay while programs are killed by SIGKILL and started again, at random. Every payment ends in one state: what
// was acknowledged is there, what was not is paid by its repeat, nothing has moved twice, and the journals say so.
func TestProgramsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), *programsChaos+5*time.Minute)
	defer cancel()
	c := seeded(t)
	s := newSite(t)
	s.up()
	p := s.people(ctx, t, chaosAgents)

	var enough atomic.Bool
	var wait sync.WaitGroup
	by := make([]begun, chaosAgents)
	for n, payer := range p.payers {
		wait.Go(func() {
			for i := 0; !enough.Load() && i < deposited/usd/2; i++ {
				id := fmt.Sprintf("a%d-n%d", n, i)
				by[n].begin(id)
				for !enough.Load() && ctx.Err() == nil {
					paid, err := payer.Pay(ctx, p.order(id))
					if err == nil {
						by[n].answered(id, paid.State)
						break
					}
					time.Sleep(lookEvery) // Somebody is dead; the next attempt is another call.
				}
			}
		})
	}
	killed := s.killAtRandom(c, time.Now().Add(*programsChaos))
	enough.Store(true)
	wait.Wait()
	s.awaitReady()
	t.Logf("killed %v", killed)
	s.wantWhole(ctx, t, p, by)
}

// killAtRandom kills programs, one after the other, and starts each again, sometimes at once and sometimes later.
func (s *site) killAtRandom(c *chooser, until time.Time) (killed []string) {
	for time.Now().Before(until) {
		victim := s.programs[programNames[c.below(len(programNames))]]
		c.pause(600 * time.Millisecond) // When it happens is left to chance.
		victim.kill()
		killed = append(killed, victim.name)
		c.pause(300 * time.Millisecond)
		victim.start()
		if c.below(3) > 0 {
			victim.awaitReady()
		}
	}
	return killed
}

// wantWhole demands of every payment that was begun, and of all money, what has to be true after anything.
func (s *site) wantWhole(ctx context.Context, t *testing.T, p *people, by []begun) {
	t.Helper()
	observer := s.client(t, "observer")
	var all int64
	for n, payer := range p.payers {
		held := statesOf(ctx, t, payer, false)
		for id, state := range by[n].said {
			if held[id] != state {
				t.Errorf("%s was answered %v, and is %v", id, state, held[id])
			}
		}
		for _, id := range by[n].ids {
			if paid, err := payer.Pay(ctx, p.order(id)); err != nil || paid.State != settled {
				t.Fatalf("the repeat of %s: %v, %v, want SETTLED", id, paid, err)
			}
		}
		held = statesOf(ctx, t, payer, false)
		if len(held) != len(by[n].ids) {
			t.Errorf("%s has %d payments and began %d", payer.Handle(), len(held), len(by[n].ids))
		}
		spent := int64(len(by[n].ids)) * usd
		all += spent
		wantBalance(ctx, t, payer, deposited-spent)
		journal, err := payer.Journal(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := journal.Verify(observer.Installation()); err != nil {
			t.Errorf("journal of %s: %v", payer.Handle(), err)
		}
	}
	wantBalance(ctx, t, p.shop, all)
	if got := int64(len(statesOf(ctx, t, p.shop, true))) * usd; got != all {
		t.Errorf("the shop was paid %d and the payers paid %d", got, all)
	}
	journal, err := p.shop.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.Verify(observer.Installation()); err != nil {
		t.Errorf("journal of the shop: %v", err)
	}
	t.Logf("%d payments, each once", all/usd)
}

func statesOf(ctx context.Context, t *testing.T, a *client.Agent, incoming bool) map[string]typev1.PaymentState {
	t.Helper()
	payments, err := a.Payments(ctx, incoming)
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[string]typev1.PaymentState)
	for _, p := range payments {
		states[p.Name] = p.State
		if !incoming {
			delete(states, p.Name)
			states[p.ID] = p.State
		}
	}
	return states
}

// wantBalance demands what is available, and that nothing is held.
func wantBalance(ctx context.Context, t *testing.T, a *client.Agent, available int64) {
	t.Helper()
	account, err := a.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var got client.Balance
	if len(account.Balances) > 0 {
		got = account.Balances[0]
	}
	if got.Available != available || got.Held != 0 {
		t.Errorf("%s has %+v, want %d available and nothing held", a.Handle(), got, available)
	}
}

// Two gateways, identity services, policies and co-signers have no state that a payment sticks to: with one of each killed,
// whichever it is, every payment goes on, and when they are back and the others die, too.
func TestProgramsReplicas(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	replicated := []string{"gateway", "identity", "policy", "cosigner"}
	s := newSite(t, replicated...)
	s.up()
	p := s.people(ctx, t, 4)
	n := 0
	pay := func() {
		t.Helper()
		for range 3 {
			for payer := range p.payers {
				p.pay(ctx, t, payer, fmt.Sprintf("n-%d", n))
				n++
			}
		}
	}
	pay()
	for _, half := range []int{0, 1} {
		for _, name := range replicated {
			s.programs[replica(name, half)].kill()
			pay() // No attempt of the client's may fail: it sees one service, not two.
		}
		// Guard rails that one replica of each has taken are in force with the other.
		rules := client.StandardRules(p.shop.GroupKey())
		rules.Daily = deposited - int64(half)
		if _, err := p.owner.SetGuardRails(ctx, p.payers[0].Wallet(), rules); err != nil {
			t.Fatal(err)
		}
		for _, name := range replicated {
			s.programs[replica(name, half)].start()
		}
		s.awaitReady()
		pay()
	}
	if _, err := p.owner.Freeze(ctx, p.payers[0].Wallet(), "stop"); err != nil {
		t.Fatal(err)
	}
	for range 4 { // Whichever replica is asked.
		if _, err := p.payers[0].Pay(ctx, p.order(fmt.Sprintf("frozen-%d", n))); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
			t.Errorf("a frozen wallet: %v", err)
		}
		n++
	}
	wantBalance(ctx, t, p.shop, int64(n-4)*usd)
}
