package bench

import (
	"context"
	"fmt"
	"time"
)

// paceMax is for how long the parts are done at a run's rate.
const paceMax = 5 * time.Second

// pace does the parts of one payment, one after the other and as often as a payment needs them, for each payment of a plan, when it
// is due and not before: what it takes then is what a machine asks for the same work at that rate, whose CPUs sleep in between and
// whose caches have forgotten.
func (f *floor) pace(ctx context.Context, plan Plan) error {
	plan.Duration = min(plan.Duration, paceMax)
	for _, c := range f.costs {
		if c.prepare != nil {
			c.prepare(plan.arrivals() + 1)
		}
	}
	atRest, err := f.resting(ctx)
	if err != nil {
		return err
	}
	before := f.spent()
	done, turns := make(chan struct{}, 1), make([]float64, len(f.costs))
	done <- struct{}{}
	outcome, err := Run(ctx, plan, func(context.Context, int) error {
		<-done // The parts have one of everything.
		defer func() { done <- struct{}{} }()
		for i, c := range f.costs {
			for turns[i] += c.count(); turns[i] >= 1; turns[i]-- {
				c.run()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if outcome.Paid != plan.arrivals() {
		return fmt.Errorf("the parts were done for %d payments of %d", outcome.Paid, plan.arrivals())
	}
	f.paced = atRest.since(before, f.spent()).all() / time.Duration(outcome.Paid)
	return nil
}

// slower is how many times as much the parts took at the run's rate as in a loop.
func (f *floor) slower() float64 { return ratio(f.paced, f.all()) }
