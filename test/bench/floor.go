package bench

import (
	"os"
	"time"
)

const (
	// partRuns is how often each part runs to be measured, in partRounds: the least of them counts, because what else runs on the
	// machine only ever adds.
	partRuns   = 100
	partRounds = 5
)

// cost is what a part takes.
type cost struct {
	part
	cpu time.Duration
}

// floor is what the irreducible parts of one payment take together.
type floor struct{ costs []cost }

// measure measures the parts in this process, on files of services in dir and of agents in homes.
func measure(dir, homes string) (*floor, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	all, done, err := parts(dir, homes)
	if err != nil {
		return nil, err
	}
	defer done()
	f := &floor{costs: make([]cost, len(all))}
	for round := range partRounds {
		for i, p := range all {
			if p.prepare != nil {
				p.prepare(partRuns + 1)
			}
			p.run()
			began := cpu()
			for range partRuns {
				p.run()
			}
			each := (cpu() - began) / partRuns
			if round == 0 || each < f.costs[i].cpu {
				f.costs[i] = cost{p, each}
			}
		}
	}
	return f, nil
}

// of is the sum of one party's parts.
func (f *floor) of(party string) time.Duration {
	var sum float64
	for _, c := range f.costs {
		sum += float64(c.cpu) * c.counts[party]
	}
	return time.Duration(sum)
}

// all is the sum of all parts.
func (f *floor) all() time.Duration {
	var sum float64
	for _, c := range f.costs {
		sum += float64(c.cpu) * c.count()
	}
	return time.Duration(sum)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
