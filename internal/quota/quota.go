// Package quota bounds what one caller may ask of a server in a second and at once, so that nobody's loop keeps the others
// from paying. It is a replica's own soft state: forgotten at a restart, and with n replicas a caller gets n times as much.
// No money depends on it.
package quota

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound one caller. The zero of a field bounds nothing.
type Limits struct {
	// PerSecond is how many calls a second go on for long.
	PerSecond float64 `yaml:"per_second"`
	// Burst is how many may come at once after a pause; 0 is PerSecond, rounded up.
	Burst int `yaml:"burst"`
	// AtOnce is how many may run at once.
	AtOnce int `yaml:"at_once"`
}

// Check says what is wrong with limits.
func (l Limits) Check() error {
	if l.PerSecond < 0 || l.Burst < 0 || l.AtOnce < 0 {
		return errors.New("a quota's numbers are not below zero")
	}
	if l.PerSecond == 0 && l.Burst > 0 {
		return errors.New("a quota's burst is one of its per_second, which is missing")
	}
	return nil
}

// CallersMax bounds how many callers are known; each takes some 200 bytes.
const CallersMax = 1 << 16

// Quota counts callers. It is safe for concurrent use; a nil Quota bounds nothing.
type Quota struct {
	limits Limits
	burst  int

	mu       sync.Mutex
	callers  map[string]*caller
	forgotAt time.Time
}

type caller struct {
	tokens *rate.Limiter
	inside int
}

// New makes a quota, or nil for limits that bound nothing.
func New(l Limits) *Quota {
	if l == (Limits{}) {
		return nil
	}
	q := &Quota{limits: l, burst: l.Burst, callers: make(map[string]*caller)}
	if q.burst == 0 {
		q.burst = int(l.PerSecond) + 1
	}
	return q
}

// Enter lets a call in, and then leave must be called at its end, or refuses it at once: a queue would only make late answers
// later.
func (q *Quota) Enter(name string, now time.Time) (leave func(), ok bool) {
	if q == nil {
		return func() {}, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.callers[name]
	if c == nil {
		if len(q.callers) >= CallersMax && !q.forget(now) {
			return nil, false
		}
		c = &caller{tokens: rate.NewLimiter(q.rate(), q.burst)}
		q.callers[name] = c
	}
	if q.limits.AtOnce > 0 && c.inside >= q.limits.AtOnce {
		return nil, false
	}
	if q.limits.PerSecond > 0 && !c.tokens.AllowN(now, 1) {
		return nil, false
	}
	c.inside++
	return sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		c.inside--
	}), true
}

func (q *Quota) rate() rate.Limit {
	if q.limits.PerSecond == 0 {
		return rate.Inf
	}
	return rate.Limit(q.limits.PerSecond)
}

// forgetEvery bounds how often all callers are gone through: under a flood of names that would be each call's work.
const forgetEvery = time.Second

// forget makes room: a caller with nothing inside and a full burst is as good as one that was never seen. It reports whether
// there is room now.
func (q *Quota) forget(now time.Time) bool {
	if since := now.Sub(q.forgotAt); since >= 0 && since < forgetEvery {
		return false
	}
	q.forgotAt = now
	for name, c := range q.callers {
		if c.inside == 0 && (q.limits.PerSecond == 0 || c.tokens.TokensAt(now) >= float64(q.burst)) {
			delete(q.callers, name)
		}
	}
	return len(q.callers) < CallersMax
}
