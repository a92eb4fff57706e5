package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestStallIsCounted lets a system stand still for a second and work at once otherwise. A closed loop would see one slow payment; who
// would have come in that second has waited too.
func TestStallIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		o, err := Run(t.Context(), Plan{Rate: 100, Duration: 2 * time.Second, Agents: 3}, func(context.Context, int) error {
			if at := time.Since(began); at >= 500*time.Millisecond && at < 1500*time.Millisecond {
				time.Sleep(1500*time.Millisecond - at)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if o.Paid != 200 || o.Failed != 0 {
			t.Fatalf("%d paid and %d failed, want all of 200 paid", o.Paid, o.Failed)
		}
		// Half of the payments were due in the second and waited for what was left of it: from none to all of it.
		for _, want := range []struct {
			percent float64
			latency time.Duration
		}{{50, 0}, {75, 500 * time.Millisecond}, {90, 800 * time.Millisecond}, {100, time.Second}} {
			got := o.Latency(want.percent)
			if got < want.latency-11*time.Millisecond || got > want.latency+11*time.Millisecond {
				t.Errorf("p%v is %v, want %v within one arrival", want.percent, got, want.latency)
			}
		}
	})
}

func TestFailuresAreNoLatencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		o, err := Run(t.Context(), Plan{Rate: 10, Duration: time.Second, Agents: 2}, func(_ context.Context, agent int) error {
			time.Sleep(time.Duration(agent+1) * time.Millisecond)
			if agent == 1 {
				return refused
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if o.Paid != 5 || o.Failed != 5 || o.Errors["refused"] != 5 || o.Latency(100) != time.Millisecond {
			t.Errorf("%d paid, %d failed, %v, max %v; want 5 of each, and only those that paid timed", o.Paid, o.Failed, o.Errors, o.Latency(100))
		}
	})
}

func TestPlanRefuses(t *testing.T) {
	for name, p := range map[string]Plan{
		"no rate":       {Duration: time.Second, Agents: 1},
		"no time":       {Rate: 1, Agents: 1},
		"nobody":        {Rate: 1, Duration: time.Second},
		"no payment":    {Rate: 0.1, Duration: time.Second, Agents: 1},
		"without bound": {Rate: 1e6, Duration: time.Hour, Agents: 1},
	} {
		if _, err := Run(t.Context(), p, func(context.Context, int) error { return nil }); err == nil {
			t.Errorf("%s: a run was made of it", name)
		}
	}
}
