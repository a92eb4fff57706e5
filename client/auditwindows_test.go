package client

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/halfkey/halfkey/internal/guardrails"
)

// TestCountedWindows compares windows with what adding up every payment gives, also where payments came in any order, were
// taken out again, and add up to more than fits.
func TestCountedWindows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type payment struct{ quarter, units int64 }
	for range 200 {
		c, all := new(counted), []payment(nil)
		for range 60 {
			if n := len(all); n > 0 && r.IntN(4) == 0 {
				out := r.IntN(n)
				c.add(all[out].quarter, -all[out].units)
				all = append(all[:out], all[out+1:]...)
				continue
			}
			p := payment{r.Int64N(30), 1 + r.Int64N(100)}
			if r.IntN(10) == 0 {
				p.units = math.MaxInt64
			}
			c.add(p.quarter, p.units)
			all = append(all, p)
		}
		for range 50 {
			from, to := r.Int64N(32)-1, r.Int64N(32)
			if r.IntN(5) == 0 {
				from = math.MinInt64
			}
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
	}
}
