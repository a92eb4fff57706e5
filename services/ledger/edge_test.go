package ledger

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// edge is a wallet at the edge of a daily budget of 40 units that nobody may cross.
type edge struct {
	*fixture
	payer, payee *evidencetest.Wallet
	rounds       int
	holding      bool // What is let through is not settled.
}

func newEdge(t *testing.T) *edge {
	e := &edge{fixture: start(t)}
	e.payee = e.wallet("payee", loose)
	e.payer = e.wallet("payer", paying([]*evidencetest.Wallet{e.payee}, func(doc *typev1.GuardRails) {
		doc.Limits = []*typev1.Limit{limit(typev1.Window_WINDOW_PAYMENT, usd, red), limit(typev1.Window_WINDOW_DAY, 40, red)}
	}))
	e.deposit(e.payer, "d1", usd)
	return e
}

// spend lets 64 clients pay one unit each, all by the head of before, and beside them, if there is one, an edit of it come into force.
// It returns how many were let through: the budget refuses the others, or else that edit.
func (e *edge) spend(edit func(*typev1.GuardRails)) (passed int) {
	e.t.Helper()
	e.rounds++
	var payments []*evidencetest.Payment
	for i := range 64 {
		id := fmt.Sprintf("r%d-%d", e.rounds, i)
		payments = append(payments, e.payment(e.payer, evidencetest.PaymentConfig{ID: id, To: e.payee.GroupKey, Units: 1}))
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	begin := make(chan struct{})
	for _, p := range payments {
		wait.Go(func() {
			<-begin
			got, err := e.create(p)
			switch {
			case err != nil:
				if edit == nil || fault.ReasonOf(err) != typev1.Reason_REASON_GUARD_RAILS_CHANGED {
					e.t.Errorf("CreatePayment: %v", err)
				}
				return
			case got.GetState() == denied:
				return
			}
			if !e.holding {
				if _, err := e.settle(p); err != nil {
					e.t.Errorf("SettlePayment: %v", err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			passed++
		})
	}
	if edit != nil {
		next := e.payer.SetGuardRails(edit)
		wait.Go(func() {
			<-begin
			if _, err := e.client.SetGuardRails(e.t.Context(), &ledgerv1.SetGuardRailsRequest{GuardRails: next}); err != nil {
				e.t.Errorf("SetGuardRails: %v", err)
			}
		})
	}
	close(begin)
	wait.Wait()
	return passed
}

func (e *edge) wantSpent(what string, want int) {
	e.t.Helper()
	if got := e.spend(nil); got != want {
		e.t.Errorf("%s: %d units were spent, want %d", what, got, want)
	}
}

func zone(name string) func(*typev1.GuardRails) {
	return func(doc *typev1.GuardRails) { doc.TimeZone = name }
}

// Who edits limits or zone in the last minutes of a day that is used up, or in the first of the next one, gets no unit more: every
// window counts what was paid within it, whichever document was in force then.
func TestEditAtTheEdge(t *testing.T) {
	e := newEdge(t)
	midnight := noon.Add(12 * time.Hour)
	e.clock.set(midnight.Add(-10 * time.Minute))
	e.wantSpent("a day of UTC", 40)
	for _, tt := range []struct {
		name string
		edit func(*typev1.GuardRails)
	}{
		{"to a day that began two hours ago", zone("Europe/Zurich")},
		{"to a day that began this morning", zone("Pacific/Honolulu")},
		{"to a day that began at a quarter past", zone("Asia/Kathmandu")},
		{"to a week", func(doc *typev1.GuardRails) { doc.Limits[1].Window = typev1.Window_WINDOW_WEEK }},
		{"to a month", func(doc *typev1.GuardRails) { doc.Limits[1].Window = typev1.Window_WINDOW_MONTH }},
		{"to the shortest rolling window", func(doc *typev1.GuardRails) {
			doc.Limits[1].Window, doc.Limits[1].RollingSeconds = typev1.Window_WINDOW_ROLLING, 900
		}},
		{"to as many payments", func(doc *typev1.GuardRails) {
			doc.Limits[1].Window, doc.Limits[1].RollingSeconds = typev1.Window_WINDOW_DAY, 0
			doc.Limits[1].Measure = typev1.Measure_MEASURE_COUNT
		}},
		{"to less", func(doc *typev1.GuardRails) {
			doc.TimeZone, doc.Limits[1].Measure, doc.Limits[1].Amount = "", typev1.Measure_MEASURE_UNITS, "20"
		}},
		{"back", func(doc *typev1.GuardRails) { doc.Limits[1].Amount = "40" }},
	} {
		e.setGuardRails(e.payer, tt.edit)
		e.wantSpent(tt.name, 0)
	}
	e.setGuardRails(e.payer, func(doc *typev1.GuardRails) { doc.Limits[1].Amount = "41" })
	e.wantSpent("one unit more", 1)

	e.setGuardRails(e.payer, func(doc *typev1.GuardRails) { doc.Limits[1].Amount, doc.TimeZone = "40", "Europe/Zurich" })
	e.clock.set(midnight.Add(-time.Millisecond))
	e.wantSpent("a millisecond before midnight", 0)
	e.clock.set(midnight)
	e.wantSpent("at midnight, where a day began two hours ago", 0)

	// The new day of UTC has units of its own. An edit that comes into force while 64 spend the last three opens no fourth.
	spent := 30
	e.setGuardRails(e.payer, func(doc *typev1.GuardRails) { doc.Limits[1].Amount, doc.TimeZone = "30", "" })
	e.wantSpent("the new day", spent)
	for _, name := range []string{"Europe/Zurich", "Africa/Abidjan", "Pacific/Kiritimati", "Pacific/Honolulu"} {
		room := spent + 3
		e.setGuardRails(e.payer, func(doc *typev1.GuardRails) { doc.Limits[1].Amount, doc.TimeZone = fmt.Sprint(room), "" })
		if spent += e.spend(zone(name)); spent > room {
			t.Fatalf("%d units were spent while the zone became %s, want at most %d", spent, name, room)
		}
		e.setGuardRails(e.payer, zone(""))
		e.wantSpent("what they have left", room-spent)
		spent = room
	}
	e.setGuardRails(e.payer, zone("Europe/Zurich"))
	e.wantSpent("two days of UTC within one of Zurich", 0)
	e.reopen()
	e.wantSpent("after a restart", 0)
}

// A clock that jumps ahead, and back, and the operator who sets the wallet's time back, give no day a unit more than its budget: what
// had settled counts where it was paid, and what was held ends and counts nowhere.
func TestClockJumpsWithinBudgets(t *testing.T) {
	e := newEdge(t)
	budget := func(units string) {
		e.setGuardRails(e.payer, func(doc *typev1.GuardRails) { doc.Limits[1].Amount = units })
	}
	budget("20")
	e.wantSpent("today, before the jump", 20)
	e.holding = true
	budget("25")
	e.wantSpent("held today", 5)

	year := noon.Add(365 * 24 * time.Hour)
	e.clock.set(year)
	e.wantSpent("held in a year", 25)
	e.holding = false
	budget("33")
	e.wantSpent("settled in a year", 8)
	e.wantBalance(e.payer, usd-20-5-25-8, 30)

	e.clock.set(noon.Add(time.Second))
	if err := e.apply(&typev1.SetTime{
		Installation: e.Installation.ID(), Wallet: e.payer.Name, StatementId: "back", TimeMillis: e.clock.now().UnixMilli(),
	}); err != nil {
		t.Fatal(err)
	}
	e.wantBalance(e.payer, usd-20-8, 0)
	budget("40")
	e.wantSpent("today, after the jump", 20)
	e.wantSpent("today, once more", 0)
	e.clock.set(year)
	e.wantSpent("in a year, when it has come", 32)
	e.wantBalance(e.payer, usd-80, 0)
}
