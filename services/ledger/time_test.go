package ledger

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// A hold ends at its message's expiry and never before; what expired never settles.
func TestExpiry(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deadline time.Duration
		after    typev1.PaymentState
		end      func(*fixture, string)
	}{
		{"before the deadline, by reading", time.Hour, ready, func(f *fixture, name string) { f.get(name) }},
		{"before the deadline, by sweep", time.Hour, ready, func(f *fixture, _ string) {
			if err := f.ledger.Sweep(f.t.Context()); err != nil {
				f.t.Fatal(err)
			}
		}},
		{"after the deadline", 30 * time.Second, expired, func(f *fixture, name string) { f.get(name) }},
		{"at the deadline", 60 * time.Second, ready, func(f *fixture, name string) { f.get(name) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t)
			payer, payee := f.two()
			p := f.payment(payer, evidencetest.PaymentConfig{
				To: payee.GroupKey, Units: usd, Expiry: noon.Add(time.Minute), Deadline: noon.Add(tt.deadline),
			})
			f.must(p, authorized)
			f.clock.advance(time.Minute - time.Millisecond)
			f.unchanged(func() { tt.end(f, p.Name) })
			f.clock.advance(time.Millisecond)
			tt.end(f, p.Name)
			f.wantBalance(payer, 1000*usd, 0)
			got := f.get(p.Name)
			if got.GetState() != tt.after || len(got.GetDeadMessages()) != 1 {
				t.Fatalf("got %s with %d dead messages", got.GetState(), len(got.GetDeadMessages()))
			}
			dead, err := evidence.CheckDeadMessage(f.Installation, got.GetDeadMessages()[0])
			if err != nil || !evidence.MessageDigest(p.MessageBytes).Is(dead.GetMessageDigest()) {
				t.Errorf("dead message: %v, %v", dead, err)
			}
			f.unchanged(func() {
				_, err := f.settle(p)
				wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, movedNo)
			})
		})
	}
}

// Settlement and expiry exclude each other, whichever call finds the expiry.
func TestSettleAtTheEdge(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd, Expiry: noon.Add(time.Minute), Deadline: noon.Add(time.Hour)}
	c.ID = "before"
	before := f.payment(payer, c)
	f.must(before, authorized)
	c.ID = "after"
	after := f.payment(payer, c)
	f.must(after, authorized)
	f.clock.advance(time.Minute - time.Millisecond)
	if _, err := f.settle(before); err != nil {
		t.Errorf("a millisecond before: %v", err)
	}
	f.clock.advance(time.Millisecond)
	_, err := f.settle(after)
	wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, movedNo)
	f.wantBalance(payer, 999*usd, 0)
	f.wantBalance(payee, usd, 0)
}

// After a message is proven dead, a fresh one for the same intent goes on; the old signature settles nothing.
func TestFreshMessage(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd, Deadline: noon.Add(time.Hour)}
	old := f.payment(payer, c)
	f.must(old, authorized)
	f.clock.advance(100 * time.Second)
	fresh := f.payment(payer, c)
	got := f.must(fresh, authorized) // CreatePayment itself finds the old one dead.
	f.verify(fresh, got)
	if len(got.GetDeadMessages()) != 1 {
		t.Errorf("%d dead messages", len(got.GetDeadMessages()))
	}
	_, err := f.settle(old)
	wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
	f.wantBalance(payer, 999*usd, usd)
	if _, err := f.settle(fresh); err != nil {
		t.Fatal(err)
	}
	f.wantBalance(payee, usd, 0)
}

// Answers carry the newest statements of dead messages, the journal all.
func TestManyDeadMessages(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd, Deadline: noon.Add(time.Hour)}
	for range deadStatementsMax + 3 {
		f.must(f.payment(payer, c), authorized)
		f.clock.advance(100 * time.Second)
	}
	got := f.get(payer.Name + "/payments/p1")
	last := new(typev1.DeadMessage)
	f.Decode(got.GetDeadMessages()[len(got.GetDeadMessages())-1], last)
	if len(got.GetDeadMessages()) != deadStatementsMax || last.GetTimeMillis() != f.clock.now().UnixMilli() {
		t.Errorf("%d statements, the last of %d", len(got.GetDeadMessages()), last.GetTimeMillis())
	}
	dead := 0
	for _, e := range f.entries(payer) {
		if e.GetPaymentState() == ready {
			dead++
		}
	}
	if dead != deadStatementsMax+3 {
		t.Errorf("%d in the journal", dead)
	}
}

// Many clients at the edge of a budget spend exactly the budget, and a restart opens no room.
func TestBudgetEdge(t *testing.T) {
	f := start(t)
	payee := f.wallet("payee", loose)
	payer := f.wallet("payer", paying([]*evidencetest.Wallet{payee}, func(doc *typev1.GuardRails) {
		doc.Limits = []*typev1.Limit{limit(typev1.Window_WINDOW_PAYMENT, usd, red), limit(typev1.Window_WINDOW_DAY, 40, red)}
	}))
	f.deposit(payer, "d1", 1000*usd)
	round := func(name string, want int) {
		t.Helper()
		var wait sync.WaitGroup
		var mu sync.Mutex
		states := make(map[typev1.PaymentState]int)
		for i := range 64 {
			p := f.payment(payer, evidencetest.PaymentConfig{ID: fmt.Sprint(name, i), To: payee.GroupKey, Units: 1})
			wait.Go(func() {
				got, err := f.create(p)
				if err != nil {
					t.Errorf("CreatePayment: %v", err)
					return
				}
				if got.GetState() == authorized && i%2 == 0 {
					if _, err := f.settle(p); err != nil {
						t.Errorf("SettlePayment: %v", err)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				states[got.GetState()]++
			})
		}
		wait.Wait()
		if states[authorized] != want || states[denied] != 64-want {
			t.Errorf("%s: got %v, want %d authorized", name, states, want)
		}
	}
	round("a", 40)
	round("b", 0)
	f.reopen()
	round("c", 0)
	// Editing limits or zone opens no room: sums are over payments, whichever document was in force.
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.TimeZone = "Europe/Zurich" })
	round("d", 0)
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.Limits[1].Window = typev1.Window_WINDOW_WEEK })
	round("e", 0)
	f.setGuardRails(payer, func(doc *typev1.GuardRails) {
		doc.Limits[1].Window, doc.Limits[1].RollingSeconds = typev1.Window_WINDOW_ROLLING, 900
	})
	round("f", 0)
	f.setGuardRails(payer, func(doc *typev1.GuardRails) {
		doc.Limits[1].Window, doc.Limits[1].RollingSeconds, doc.TimeZone = typev1.Window_WINDOW_DAY, 0, ""
	})
	// The day ends; the sweep has freed what was not settled, and none of it flows into today.
	f.clock.set(noon.Add(12 * time.Hour))
	if err := f.ledger.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	round("g", 40)
}

// Limits count payments as well as units, and rolling windows move on by quarter hours.
func TestCountAndRolling(t *testing.T) {
	f := start(t)
	payee := f.wallet("payee", loose)
	payer := f.wallet("payer", paying([]*evidencetest.Wallet{payee}, func(doc *typev1.GuardRails) {
		doc.Limits = []*typev1.Limit{
			limit(typev1.Window_WINDOW_PAYMENT, usd, red),
			{
				Unit: "USD", Measure: typev1.Measure_MEASURE_COUNT, Window: typev1.Window_WINDOW_ROLLING, RollingSeconds: 3600, Amount: "2",
				Crossed: red,
			},
			{Unit: "USD", Measure: typev1.Measure_MEASURE_COUNT, Window: typev1.Window_WINDOW_LIFETIME, Amount: "4", Crossed: yellow},
		}
	}))
	f.deposit(payer, "d1", 1000*usd)
	n := 0
	pay := func(after time.Duration, want typev1.PaymentState) {
		t.Helper()
		n++
		f.clock.set(noon.Add(after))
		p := f.payment(payer, evidencetest.PaymentConfig{ID: fmt.Sprint("p", n), To: payee.GroupKey, Units: 1})
		if f.must(p, want); want == authorized {
			if _, err := f.settle(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	pay(0, authorized)
	pay(20*time.Minute, authorized)
	pay(40*time.Minute, denied)
	pay(60*time.Minute, denied) // The oldest quarter hour counts whole.
	pay(75*time.Minute, authorized)
	pay(76*time.Minute, denied)
	pay(26*time.Hour, authorized)
	pay(26*time.Hour, pending) // The fifth ever.
}

// What is freed returns to the day in which it was counted.
func TestFreedHoldReturnsToItsDay(t *testing.T) {
	f := start(t)
	payee := f.wallet("payee", loose)
	payer := f.wallet("payer", paying([]*evidencetest.Wallet{payee}, func(doc *typev1.GuardRails) {
		doc.Limits = []*typev1.Limit{limit(typev1.Window_WINDOW_PAYMENT, 10*usd, red), limit(typev1.Window_WINDOW_DAY, 10*usd, red)}
	}))
	f.deposit(payer, "d1", 1000*usd)
	midnight := noon.Add(12 * time.Hour)
	f.clock.set(midnight.Add(-time.Minute))
	late := f.payment(payer, evidencetest.PaymentConfig{ID: "late", To: payee.GroupKey, Units: 10 * usd, Expiry: midnight.Add(time.Second)})
	f.must(late, authorized)
	f.clock.set(midnight)
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "today", To: payee.GroupKey, Units: 10 * usd}), authorized)
	f.clock.advance(time.Minute)
	if got := f.get(late.Name); got.GetState() != ready {
		t.Fatalf("got %s", got.GetState())
	}
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "more", To: payee.GroupKey, Units: 1}), denied)
}

// Days of 23 and 25 hours begin and end where the owner's zone says.
func TestDaylightSaving(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		day   time.Time
		hours int
	}{
		{"spring, 23 hours", time.Date(2026, 3, 29, 0, 0, 0, 0, zurich), 23},
		{"autumn, 25 hours", time.Date(2026, 10, 25, 0, 0, 0, 0, zurich), 25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t)
			f.clock.set(tt.day.Add(-time.Hour))
			payee := f.wallet("payee", loose)
			payer := f.wallet("payer", paying([]*evidencetest.Wallet{payee}, func(doc *typev1.GuardRails) {
				doc.TimeZone = "Europe/Zurich"
				doc.Limits = []*typev1.Limit{limit(typev1.Window_WINDOW_PAYMENT, usd, red), limit(typev1.Window_WINDOW_DAY, 2*usd, red)}
			}))
			f.deposit(payer, "d1", 1000*usd)
			n := 0
			pay := func(at time.Time, want typev1.PaymentState) {
				t.Helper()
				n++
				f.clock.set(at)
				p := f.payment(payer, evidencetest.PaymentConfig{ID: fmt.Sprint("p", n), To: payee.GroupKey, Units: usd})
				f.must(p, want)
				if want == authorized {
					if _, err := f.settle(p); err != nil {
						t.Fatal(err)
					}
				}
			}
			end := tt.day.Add(time.Duration(tt.hours) * time.Hour)
			pay(tt.day.Add(-time.Second), authorized)
			pay(tt.day, authorized)
			pay(tt.day.Add(90*time.Minute), authorized)
			pay(tt.day.Add(150*time.Minute), denied)
			pay(end.Add(-time.Second), denied)
			pay(end, authorized)
			pay(end.Add(time.Hour), authorized)
			pay(end.Add(2*time.Hour), denied)
		})
	}
}

// A clock that steps back reopens nothing: the wallet's time stands, and beyond the tolerance the wallet only freezes.
func TestClockBack(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	f.clock.set(noon.Add(12*time.Hour + time.Minute)) // Past midnight.
	p := f.payment(payer, evidencetest.PaymentConfig{ID: "p1", To: payee.GroupKey, Units: usd})
	f.must(p, authorized)
	f.clock.advance(-4 * time.Second)
	near := f.payment(payer, evidencetest.PaymentConfig{ID: "p2", To: payee.GroupKey, Units: usd, Now: noon.Add(12*time.Hour + time.Minute)})
	got := f.must(near, authorized)
	receipt := new(typev1.Receipt)
	f.Decode(got.GetReceipt(), receipt)
	if want := noon.Add(12*time.Hour + time.Minute).UnixMilli(); receipt.GetTimeMillis() != want ||
		got.GetLedgerTime().AsTime().UnixMilli() != want {
		t.Errorf("receipt of %d, ledger time %v, want %d", receipt.GetTimeMillis(), got.GetLedgerTime().AsTime(), want)
	}
	f.clock.set(noon)
	const behind = typev1.Reason_REASON_CLOCK_BEHIND
	f.unchanged(func() {
		_, err := f.create(f.payment(payer, evidencetest.PaymentConfig{ID: "p3", To: payee.GroupKey, Units: usd}))
		wantReason(t, err, behind, movedNo)
		_, err = f.settle(p)
		wantReason(t, err, behind, movedNo)
		_, err = f.client.CancelPayment(t.Context(), &ledgerv1.CancelPaymentRequest{Name: p.Name})
		wantReason(t, err, behind, movedUnknown)
		_, err = f.client.SetGuardRails(t.Context(),
			&ledgerv1.SetGuardRailsRequest{GuardRails: f.Sign(payer.OwnerKey, payer.NextGuardRails(nil))})
		wantReason(t, err, behind, movedNo)
		err = f.apply(&typev1.Deposit{
			Installation: f.Installation.ID(), Wallet: payer.Name, DepositId: "d2", Asset: f.Installation.BookUSD(), Units: "1",
		})
		wantReason(t, err, behind, movedNo)
		if got := f.get(p.Name); got.GetState() != authorized {
			t.Errorf("the payment became %s", got.GetState())
		}
	})
	f.freeze(payer, "stop")
	wantReason(t, f.unfreeze(payer, "stop"), behind, movedNo)
	f.clock.set(noon.Add(12*time.Hour + time.Minute))
	if err := f.unfreeze(payer, "stop"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.settle(p); err != nil {
		t.Errorf("after the clock has caught up: %v", err)
	}
}

// After a clock had jumped ahead, the operator's statement brings a wallet back, once, and its book payments end with it.
func TestSetTime(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	waiting := f.payment(payer, evidencetest.PaymentConfig{
		ID: "waiting", To: payee.GroupKey, Units: 3 * usd, Expiry: noon.Add(time.Minute), Deadline: noon.Add(time.Hour),
	})
	f.must(waiting, authorized)
	year := noon.Add(365 * 24 * time.Hour)
	f.clock.set(year)
	jumped := f.payment(payer, evidencetest.PaymentConfig{ID: "jumped", To: payee.GroupKey, Units: 5 * usd, Deadline: year.Add(time.Hour)})
	f.must(jumped, authorized)
	now := noon.Add(10 * time.Second)
	f.clock.set(now)
	_, err := f.settle(jumped)
	wantReason(t, err, typev1.Reason_REASON_CLOCK_BEHIND, movedNo)
	statement := func(id string, at time.Time) error {
		return f.apply(&typev1.SetTime{Installation: f.Installation.ID(), Wallet: payer.Name, StatementId: id, TimeMillis: at.UnixMilli()})
	}
	f.unchanged(func() {
		wantReason(t, statement("ahead", now.Add(6*time.Second)), typev1.Reason_REASON_EVIDENCE_STALE, movedNo)
	})
	if err := statement("back", now); err != nil {
		t.Fatal(err)
	}
	f.wantBalance(payer, 1000*usd, 0)
	if got := f.get(jumped.Name); got.GetState() != ready || len(got.GetDeadMessages()) != 1 {
		t.Errorf("jumped: %s", got.GetState())
	}
	if got := f.get(waiting.Name); got.GetState() != ready {
		t.Errorf("waiting: %s", got.GetState())
	}
	// Its message would be valid again by the clock, and has no pin: nothing settles.
	_, err = f.settle(waiting)
	wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, movedNo)
	f.unchanged(func() {
		if err := statement("back", now); err != nil {
			t.Errorf("the same statement again: %v", err)
		}
		wantReason(t, statement("back", now.Add(-time.Second)), typev1.Reason_REASON_ALREADY_EXISTS, movedNo)
		wantReason(t, statement("forward", now.Add(time.Second)), typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
	})
	f.wantJournaled(payer, typev1.EntryKind_ENTRY_KIND_SET_TIME)
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "now", To: payee.GroupKey, Units: usd}), authorized)
}

// A ledger that was restored from a backup says so and records nothing until the operator accepts the loss.
func TestLedgerBehind(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	before := f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "p1", To: payee.GroupKey, Units: usd}), authorized)
	f.close()
	backup, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.open()
	lost := f.payment(payer, evidencetest.PaymentConfig{ID: "p2", To: payee.GroupKey, Units: usd})
	seen := f.must(lost, authorized)
	f.close()
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(f.path + suffix)
	}
	if err := os.WriteFile(f.path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	saw := func(id string, entry uint64, hash []byte) *evidencetest.Payment {
		return f.payment(payer, evidencetest.PaymentConfig{ID: id, To: payee.GroupKey, Units: usd, SeenEntry: entry, SeenHash: hash})
	}
	const isBehind = typev1.Reason_REASON_LEDGER_BEHIND
	forged := append([]byte(nil), before.GetEntryHash()...)
	forged[0] ^= 1
	f.unchanged(func() {
		_, err := f.create(saw("p3", seen.GetEntry(), seen.GetEntryHash()))
		told := wantReason(t, err, isBehind, movedNo).Metadata // What the operator accepts the loss by.
		if told["seen_entry"] != strconv.FormatUint(seen.GetEntry(), 10) || told["seen_hash"] != hex.EncodeToString(seen.GetEntryHash()) {
			t.Errorf("it lacks %v, want entry %d, %x", told, seen.GetEntry(), seen.GetEntryHash())
		}
		_, err = f.create(saw("p1", seen.GetEntry(), seen.GetEntryHash()))
		wantReason(t, err, isBehind, movedUnknown)
		_, err = f.create(saw("p3", before.GetEntry(), forged))
		wantReason(t, err, isBehind, movedNo)
	})
	f.must(saw("p4", before.GetEntry(), before.GetEntryHash()), authorized) // Another store of the agent, older.
	// The ledger has grown to the number that was lost, with other content.
	_, err = f.create(saw("p3", seen.GetEntry(), seen.GetEntryHash()))
	wantReason(t, err, isBehind, movedNo)

	head := f.head(payer)
	accept := func(edit func(*typev1.AcceptLoss)) error {
		m := &typev1.AcceptLoss{
			Installation: f.Installation.ID(), Wallet: payer.Name, Entry: head.GetEntry(), EntryHash: head.GetEntryHash(),
			LostEntry: seen.GetEntry(), LostHash: seen.GetEntryHash(),
		}
		if edit != nil {
			edit(m)
		}
		return f.apply(m)
	}
	f.unchanged(func() {
		wantReason(t, accept(func(m *typev1.AcceptLoss) { m.Entry-- }), typev1.Reason_REASON_EVIDENCE_MISMATCH, movedNo)
		wantReason(t, accept(func(m *typev1.AcceptLoss) { m.EntryHash = forged }), typev1.Reason_REASON_EVIDENCE_MISMATCH, movedNo)
		wantReason(t, accept(func(m *typev1.AcceptLoss) { m.LostEntry, m.LostHash = before.GetEntry(), before.GetEntryHash() }),
			typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
	})
	if err := accept(nil); err != nil {
		t.Fatal(err)
	}
	f.unchanged(func() {
		if err := accept(nil); err != nil {
			t.Errorf("the same statement again: %v", err)
		}
	})
	f.wantJournaled(payer, typev1.EntryKind_ENTRY_KIND_ACCEPT_LOSS)
	f.must(saw("p3", seen.GetEntry(), seen.GetEntryHash()), authorized)
	_, err = f.create(saw("p5", seen.GetEntry(), forged))
	wantReason(t, err, isBehind, movedNo)
}

// wantJournaled demands one entry of a kind, which holds the operator's statement.
func (f *fixture) wantJournaled(w *evidencetest.Wallet, kind typev1.EntryKind) {
	f.t.Helper()
	n := 0
	for _, e := range f.entries(w) {
		if e.GetKind() != kind {
			continue
		}
		n++
		if len(e.GetStatements()) != 1 || e.GetCaller() != "operator" {
			f.t.Errorf("entry %d, %s, by %q, holds %d statements, want the operator's", e.GetNumber(), kind, e.GetCaller(), len(e.GetStatements()))
			continue
		}
		if _, err := evidence.CheckOperator(f.Installation, e.GetStatements()[0]); err != nil {
			f.t.Errorf("entry %d: %v", e.GetNumber(), err)
		}
	}
	if n != 1 {
		f.t.Errorf("%d entries are %s, want one", n, kind)
	}
}

func (f *fixture) head(w *evidencetest.Wallet) *typev1.JournalHead {
	f.t.Helper()
	resp, err := f.client.GetAccount(f.t.Context(), &ledgerv1.GetAccountRequest{Wallet: w.Name})
	if err != nil {
		f.t.Fatal(err)
	}
	head, err := evidence.CheckJournalHead(f.Installation, resp.GetHead())
	if err != nil {
		f.t.Fatal(err)
	}
	return head
}
