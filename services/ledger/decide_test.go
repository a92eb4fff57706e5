package ledger

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/guardrails"
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
		{"zero", 0, 0, true}, {"up to the most", most - 1, 1, true}, {"over the most", most, 1, false}, {"twice the most", most, most, false},
		{"down", 5, -5, true}, {"below the least", least, -1, false}, {"most and least", most, least, true}, {"nothing to the most", most, 0, true},
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
	s.balances.found(k, balance{5, most})
	for _, m := range [][2]int64{{-6, 0}, {0, 1}, {most, 0}, {0, least}} {
		if s.move(k, m[0], m[1]) || s.balances.rows[k] != (balance{5, most}) {
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
	s.balances.found(k, balance{5, 0})
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
	s.balances.found(k, balance{5, 0})
	s.move(k, 1, 0)
	s.rollback()
	if s.balances.dirty[k] || s.changed() {
		t.Error("a row that was put back is stored")
	}
}
