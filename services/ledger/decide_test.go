package ledger

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/guardrails"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The rows that a window is summed from hold each of its quarter hours exactly once, and no other.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(-1000, 1000).Draw(t, "from")
		to := from + rapid.Int64Range(0, 600).Draw(t, "length")
		at := func(q int64) time.Time { return time.Unix(q*900, 0) }
		got := make(map[int64]int)
		for _, r := range ranges("w", "USD", guardrails.Span{From: at(from), To: at(to)}) {
			for slot := r.lo; slot < r.hi; slot++ {
				if r.span == spanQuarter {
					got[slot]++
					continue
				}
				for q := range int64(dayQuarters) {
					got[slot*dayQuarters+q]++
				}
			}
			for q := from - 200; q < to+200; q++ {
				if r.holds(q) && (q < from || q >= to) {
					t.Fatalf("%v holds %d", r, q)
				}
			}
		}
		for q := from; q < to; q++ {
			if got[q] != 1 {
				t.Fatalf("quarter hour %d is summed %d times", q, got[q])
			}
		}
		if len(got) != int(to-from) {
			t.Fatalf("%d quarter hours are summed of %d", len(got), to-from)
		}
	})
}

// Sums are checked: what does not fit is refused or stays at the largest number, never wraps.
func TestArithmetic(t *testing.T) {
	const most, least = math.MaxInt64, math.MinInt64
	for _, tt := range []struct {
		name string
		a, b int64
		ok   bool
	}{
		{"zero", 0, 0, true},
		{"up to the most", most - 1, 1, true},
		{"over the most", most, 1, false},
		{"twice the most", most, most, false},
		{"down", 5, -5, true},
		{"below the least", least, -1, false},
		{"most and least", most, least, true},
		{"nothing to the most", most, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, ok := added(tt.a, tt.b); ok != tt.ok {
				t.Errorf("%d + %d: ok is %v", tt.a, tt.b, ok)
			}
		})
	}
	if got := saturated(most, 5); got != most {
		t.Errorf("saturated: %d", got)
	}
	s := newState(evidencetest.New(t).Installation, noon)
	k := balanceKey{"wallets/w", "a"}
	s.balances.found(k, balance{available: 5, held: most})
	for _, m := range [][2]int64{{-6, 0}, {0, 1}, {most, 0}, {0, least}} {
		if s.move(k, m[0], m[1]) || s.balances.rows[k] != (balance{available: 5, held: most}) {
			t.Errorf("moved by %v to %v", m, s.balances.rows[k])
		}
	}
}

// A row that was not loaded is a defect and never an empty row.
func TestUnloadedRow(t *testing.T) {
	s := newState(evidencetest.New(t).Installation, noon)
	for name, read := range map[string]func(){
		"balance": func() { s.balances.value(balanceKey{"wallets/w", "a"}) },
		"freezes": func() { s.freezes.value(subject{typev1.Scope_SCOPE_WALLET, "wallets/w"}) },
		"window":  func() { s.sum("wallets/w", "USD", guardrails.Span{From: noon, To: noon.Add(time.Hour)}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("read as if it were empty")
				}
			}()
			read()
		})
	}
}

// An operation that is refused leaves nothing behind, except what ended by itself before.
func TestRollback(t *testing.T) {
	s := newState(evidencetest.New(t).Installation, noon)
	k := balanceKey{"wallets/w", "a"}
	s.balances.found(k, balance{available: 5, held: 0})
	s.chains.loaded("wallets/w")
	s.move(k, 1, 0)
	s.append(&draft{chain: "wallets/w", entry: &typev1.Entry{}}, 7)
	s.keep()
	s.move(k, 1, 0)
	s.append(&draft{chain: "wallets/w", entry: &typev1.Entry{}}, 8)
	s.move(k, 1, 0)
	s.rollback()
	if got := s.balances.rows[k]; got.available != 6 || len(s.entries) != 1 {
		t.Errorf("got %v, %d entries", got, len(s.entries))
	}
	if c := s.chains.rows["wallets/w"]; c.number != 1 || c.clockMillis != 7 {
		t.Errorf("the chain is at %d, %d", c.number, c.clockMillis)
	}
	s = newState(evidencetest.New(t).Installation, noon)
	s.balances.found(k, balance{available: 5, held: 0})
	s.move(k, 1, 0)
	s.rollback()
	if s.balances.dirty[k] || s.changed() {
		t.Error("a row that was put back is stored")
	}
}

// prepare verifies an attempt as the handler does, and leaves the decision for later.
func (f *fixture) prepare(p *evidencetest.Payment) func() error {
	f.t.Helper()
	a, err := f.ledger.attempt(f.t.Context(),
		&ledgerv1.CreatePaymentRequest{Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict, Review: p.Review})
	if err != nil {
		f.t.Fatal(err)
	}
	return func() error {
		var r *recorded
		return f.ledger.answer(f.t.Context(), "CreatePayment", f.ledger.write(f.t.Context(), a.op(&r)))
	}
}

// Guard rails that change between verification and decision refuse what was verified against the old ones.
func TestHeadChangesBeforeDecision(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	decide := f.prepare(f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey}))
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.Recipients.Allow = nil })
	f.unchanged(func() { wantReason(t, decide(), typev1.Reason_REASON_GUARD_RAILS_CHANGED, movedNo) })
}

// A verdict or message that ends while its operation waits authorizes nothing.
func TestVerdictEndsInTheQueue(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Expiry: noon.Add(2 * time.Minute)})
	last, late := f.prepare(p), f.prepare(p)
	f.clock.advance(66 * time.Second) // Its life and the tolerance have passed.
	f.unchanged(func() { wantReason(t, late(), typev1.Reason_REASON_EVIDENCE_STALE, movedNo) })
	f.clock.advance(-time.Second)
	if err := last(); err != nil {
		t.Error(err)
	}
}

// A signature that was verified over a message which has been replaced since settles nothing.
func TestSettleRacesRepin(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd, Deadline: noon.Add(time.Hour)}
	old := f.payment(payer, c)
	f.must(old, authorized)
	f.clock.advance(100 * time.Second)
	fresh := f.payment(payer, c)
	f.must(fresh, authorized)
	settle := func(verified *evidencetest.Payment) error {
		key, err := paymentOf(verified.Name)
		if err != nil {
			t.Fatal(err)
		}
		a := &settlement{key: key, signature: verified.Settle(), verified: verified.MessageBytes}
		return f.ledger.answer(t.Context(), "SettlePayment", f.ledger.write(t.Context(), &op{
			needs: needs{payments: []paymentKey{key}, wallets: []string{key.wallet}}, decide: func(s *state) error { return decideSettle(s, a) },
		}))
	}
	f.unchanged(func() { wantReason(t, settle(old), typev1.Reason_REASON_ABORTED, movedNo) })
	if err := settle(fresh); err != nil {
		t.Fatal(err)
	}
	wantReason(t, settle(old), typev1.Reason_REASON_ABORTED, movedYes)
}

// A settlement that is refused half-way takes back its first half.
func TestSettleOverflowLeavesNothing(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd})
	f.must(p, authorized)
	// No statement can bring this about: what is in issue fits an int64. So the row is made by hand.
	f.sql(`INSERT INTO balance (account, asset, available, held) VALUES (?, ?, ?, 0)`, payee.Name, f.Installation.BookUSD(),
		int64(math.MaxInt64))
	f.unchanged(func() {
		_, err := f.settle(p)
		wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
	})
	// Nor does it ride along with what is stored in the same transaction. The writer is idle, so a batch can be made by hand.
	key := paymentKey{payer.Name, "p1"}
	sub := subject{typev1.Scope_SCOPE_OWNER, "owners/else"}
	errs, err := f.ledger.combiner.try([]*op{
		{needs: needs{payments: []paymentKey{key}, wallets: []string{key.wallet}}, decide: func(s *state) error {
			return decideSettle(s, &settlement{key: key, signature: p.Settle(), verified: p.MessageBytes})
		}},
		{needs: sub.needs(), decide: func(s *state) error {
			_, err := decideFreeze(s, &freezing{subject: sub, id: "x"})
			return err
		}},
	})
	if err != nil || errs[0] == nil || errs[1] != nil {
		t.Fatalf("the batch: %v, %v", errs, err)
	}
	f.wantBalance(payer, 999*usd, usd)
	f.sql(`DELETE FROM balance WHERE account = ?`, payee.Name)
	if _, err := f.settle(p); err != nil {
		t.Error(err)
	}
}
