package quota_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/quota"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// entered counts how many of n calls are let in at a time and leave at once.
func entered(q *quota.Quota, name string, n int, now time.Time) int {
	in := 0
	for range n {
		if leave, ok := q.Enter(name, now); ok {
			leave()
			in++
		}
	}
	return in
}

// A caller gets its burst, then its rate, and nobody's calls count for another.
func TestPerSecond(t *testing.T) {
	t.Parallel()
	q := quota.New(quota.Limits{PerSecond: 10, Burst: 20})
	if got := entered(q, "a", 100, start); got != 20 {
		t.Errorf("%d at first, want the burst of 20", got)
	}
	if got := entered(q, "a", 100, start.Add(500*time.Millisecond)); got != 5 {
		t.Errorf("%d after half a second, want 5", got)
	}
	if got := entered(q, "b", 100, start.Add(500*time.Millisecond)); got != 20 {
		t.Errorf("%d of another caller, want 20", got)
	}
	if got := entered(q, "a", 100, start.Add(time.Hour)); got != 20 {
		t.Errorf("%d after an hour, want no more than the burst", got)
	}
	if got := entered(q, "a", 1, start); got != 0 {
		t.Errorf("a clock that jumps back gives %d", got)
	}
}

// Calls that run hold their places, and leaving twice frees one.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	q := quota.New(quota.Limits{AtOnce: 2})
	first, _ := q.Enter("a", start)
	second, _ := q.Enter("a", start)
	if _, ok := q.Enter("a", start); ok {
		t.Error("a third is let in")
	}
	first()
	first()
	if _, ok := q.Enter("a", start); !ok {
		t.Error("a place that was left is not free")
	}
	if _, ok := q.Enter("a", start); ok {
		t.Error("one call's place was freed twice")
	}
	second()
}

// A flood of names takes no more memory than the bound, and those who are calling stay bounded.
func TestCallersMax(t *testing.T) {
	t.Parallel()
	q := quota.New(quota.Limits{PerSecond: 1, Burst: 1, AtOnce: 1})
	if got := entered(q, "steady", 2, start); got != 1 {
		t.Fatal(got)
	}
	for n := range quota.CallersMax - 1 {
		if _, ok := q.Enter(strconv.Itoa(n), start); !ok {
			t.Fatalf("caller %d is refused", n)
		}
	}
	if _, ok := q.Enter("one more", start); ok {
		t.Error("more callers are known than there is room for")
	}
	if got := entered(q, "steady", 1, start); got != 0 {
		t.Error("a flood of others gave a caller its burst again")
	}
	later := start.Add(time.Minute)
	if _, ok := q.Enter("one more", later); !ok {
		t.Error("no room is made when a caller has gone")
	}
	if _, ok := q.Enter("0", later); ok {
		t.Error("a caller whose call still runs was forgotten")
	}
}

func TestNoLimits(t *testing.T) {
	t.Parallel()
	if got := entered(quota.New(quota.Limits{}), "a", 10, start); got != 10 {
		t.Errorf("%d of 10 without limits", got)
	}
	for _, l := range []quota.Limits{{PerSecond: -1}, {AtOnce: -1}, {PerSecond: 1, Burst: -1}, {Burst: 5}} {
		if l.Check() == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

// Many at once never get more places than there are.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	q := quota.New(quota.Limits{AtOnce: 3})
	var inside, most atomic.Int64
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			for range 1000 {
				leave, ok := q.Enter("a", start)
				if !ok {
					continue
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				inside.Add(-1)
				leave()
			}
		})
	}
	wait.Wait()
	if most.Load() > 3 || most.Load() == 0 {
		t.Errorf("%d at once", most.Load())
	}
}

func BenchmarkEnter(b *testing.B) {
	q := quota.New(quota.Limits{PerSecond: 1e9, Burst: 1e9, AtOnce: 1e6})
	b.ReportAllocs()
	for b.Loop() {
		leave, _ := q.Enter("wallets/a", start)
		leave()
	}
}
