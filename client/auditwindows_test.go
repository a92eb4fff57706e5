package client

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/guardrails"
)

// TestCountedWindows compares windows with what adding up every payment gives, also where payments came in any order, were
// taken out again, and add up to more than fits.
func TestCountedWindows(t *testing.T) {
	type payment struct{ quarter, units int64 }
	rapid.Check(t, func(t *rapid.T) {
		c, all := new(counted), []payment(nil)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if n := len(all); n > 0 && rapid.IntRange(0, 3).Draw(t, "step") == 0 {
				out := rapid.IntRange(0, n-1).Draw(t, "out")
				c.add(all[out].quarter, -all[out].units)
				all = append(all[:out], all[out+1:]...)
				continue
			}
			p := payment{rapid.Int64Range(0, 29).Draw(t, "quarter"), rapid.OneOf(rapid.Int64Range(1, 100), rapid.Just(int64(math.MaxInt64))).Draw(t, "units")}
			c.add(p.quarter, p.units)
			all = append(all, p)
		}
		for range 20 {
			from := rapid.OneOf(rapid.Int64Range(-1, 31), rapid.Just(int64(math.MinInt64))).Draw(t, "from")
			to := rapid.Int64Range(0, 31).Draw(t, "to")
			var want guardrails.Sum
			for _, p := range all {
				if p.quarter < from || p.quarter >= to {
					continue
				}
				want.Count++
				if want.Units > math.MaxInt64-p.units {
					want.Units = math.MaxInt64
				} else {
					want.Units += p.units
				}
			}
			if got := c.sum(from, to); got != want {
				t.Fatalf("from %d to %d of %v: got %+v, want %+v", from, to, all, got, want)
			}
		}
	})
}
