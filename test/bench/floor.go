package bench

import (
	"context"
	"os"
	"slices"
	"time"
)

const (
	// partRuns is how often each part runs in one round, partRounds how many rounds there are before a run, and after it again: what
	// else goes on in the machine then bears on the parts as it does on the run. The median of the rounds counts.
	partRuns   = 100
	partRounds = 3
)

// cost is what a part takes.
type cost struct {
	part
	// rounds are what one took in each round, elsewhere what of it other processes did.
	rounds, elsewhere []time.Duration
}

// cpu is the median of the rounds.
func (c cost) cpu() time.Duration { return median(c.rounds) }

// of is a party's share of it in a payment.
func (c cost) of(party string) time.Duration {
	one, times := c.cpu(), c.counts[party]
	if c.server != "" {
		one -= median(c.elsewhere)
	}
	if c.server == party {
		one, times = median(c.elsewhere), c.count()
	}
	return time.Duration(float64(one) * times)
}

func median(rounds []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(rounds))
	return sorted[len(sorted)/2]
}

// floor is what the irreducible parts of one payment take together.
type floor struct {
	costs []cost
	// elsewhere are the processes that do some of it.
	elsewhere []*process
	done      func()
	// paced is what they take together at a run's rate.
	paced time.Duration
}

// spent is what this process has used and those elsewhere have, and when.
type spent struct {
	at              time.Time
	here, elsewhere time.Duration
}

func (s spent) all() time.Duration { return s.here + s.elsewhere }

func (f *floor) spent() spent {
	s := spent{at: time.Now(), here: cpu()}
	for _, p := range f.elsewhere {
		there, err := cpuOf(p.cmd.Process.Pid)
		must(err)
		s.elsewhere += there
	}
	return s
}

// rest is what these processes use for each second in which nothing is asked of them: part of no part.
type rest struct{ here, elsewhere float64 }

// resting watches them for restTime.
func (f *floor) resting(ctx context.Context) (rest, error) {
	before := f.spent()
	select {
	case <-ctx.Done():
		return rest{}, ctx.Err()
	case <-time.After(restTime):
	}
	after := f.spent()
	took := float64(after.at.Sub(before.at))
	return rest{float64(after.here-before.here) / took, float64(after.elsewhere-before.elsewhere) / took}, nil
}

// since is what was used since then beyond what is used at rest.
func (r rest) since(before, now spent) spent {
	took := float64(now.at.Sub(before.at))
	return spent{
		now.at, max(0, now.here-before.here-time.Duration(r.here*took)),
		max(0, now.elsewhere-before.elsewhere-time.Duration(r.elsewhere*took)),
	}
}

// newFloor makes the parts as they lie in a mode, on files of services in dir and of agents in homes. close ends it.
func newFloor(ctx context.Context, mode, dir, homes string) (*floor, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	all, elsewhere, done, err := parts(ctx, mode, dir, homes)
	if err != nil {
		return nil, err
	}
	f := &floor{done: done, elsewhere: elsewhere}
	for _, p := range all {
		f.costs = append(f.costs, cost{part: p})
	}
	return f, nil
}

func (f *floor) close() { f.done() }

// measure measures the parts, for so many rounds more.
func (f *floor) measure(ctx context.Context) error {
	atRest, err := f.resting(ctx)
	if err != nil {
		return err
	}
	for range partRounds {
		for i := range f.costs {
			c := &f.costs[i]
			if c.prepare != nil {
				c.prepare(partRuns + 1)
			}
			c.run()
			began := f.spent()
			for range partRuns {
				c.run()
			}
			took := atRest.since(began, f.spent())
			c.rounds = append(c.rounds, took.all()/partRuns)
			c.elsewhere = append(c.elsewhere, took.elsewhere/partRuns)
		}
	}
	return nil
}

// share says how many durable transactions of the ledger there were for one payment: a batch shares one.
func (f *floor) share(transactions float64) {
	for i := range f.costs {
		if f.costs[i].name == transactionPart {
			f.costs[i].counts = map[string]float64{ledger: transactions}
		}
	}
}

// of is the sum of one party's parts.
func (f *floor) of(party string) time.Duration {
	var sum time.Duration
	for _, c := range f.costs {
		sum += c.of(party)
	}
	return sum
}

// all is the sum of all parts.
func (f *floor) all() time.Duration {
	var sum float64
	for _, c := range f.costs {
		sum += float64(c.cpu()) * c.count()
	}
	return time.Duration(sum)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
