package bench

import (
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
	rounds []time.Duration
}

// cpu is the median of the rounds.
func (c cost) cpu() time.Duration {
	sorted := slices.Sorted(slices.Values(c.rounds))
	return sorted[len(sorted)/2]
}

// floor is what the irreducible parts of one payment take together.
type floor struct {
	costs []cost
	done  func()
}

// newFloor makes the parts, on files of services in dir and of agents in homes. close ends it.
func newFloor(dir, homes string) (*floor, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	all, done, err := parts(dir, homes)
	if err != nil {
		return nil, err
	}
	f := &floor{done: done}
	for _, p := range all {
		f.costs = append(f.costs, cost{part: p})
	}
	return f, nil
}

func (f *floor) close() { f.done() }

// measure measures the parts in this process, for so many rounds more.
func (f *floor) measure() {
	for range partRounds {
		for i := range f.costs {
			c := &f.costs[i]
			if c.prepare != nil {
				c.prepare(partRuns + 1)
			}
			c.run()
			began := cpu()
			for range partRuns {
				c.run()
			}
			c.rounds = append(c.rounds, (cpu()-began)/partRuns)
		}
	}
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
	var sum float64
	for _, c := range f.costs {
		sum += float64(c.cpu()) * c.counts[party]
	}
	return time.Duration(sum)
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
