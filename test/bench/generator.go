package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// latencyMax is the largest latency that the histogram tells apart, in microseconds; payments give up before.
	latencyMax = int64(10 * time.Minute / time.Microsecond)
	// latencyDigits is how many digits of a latency are kept.
	latencyDigits = 3
	// arrivalsMax bounds one run: each arrival is a goroutine from its due time until it has paid.
	arrivalsMax = 1_000_000
)

// Plan is what an open-loop run offers.
type Plan struct {
	// Rate is how many payments become due in a second, evenly spaced.
	Rate float64
	// Duration is how long they do.
	Duration time.Duration
	// Agents pay in turn.
	Agents int
}

func (p Plan) check() error {
	switch {
	case !(p.Rate > 0) || p.Duration <= 0 || p.Agents <= 0: // This way round, it refuses what is not a number too.
		return fmt.Errorf("rate %v, duration %v, %d agents: all of them are above zero", p.Rate, p.Duration, p.Agents)
	case p.Rate*p.Duration.Seconds() > arrivalsMax:
		return fmt.Errorf("%v payments a second for %v are more than %d", p.Rate, p.Duration, arrivalsMax)
	case p.arrivals() == 0:
		return fmt.Errorf("%v payments a second for %v are none", p.Rate, p.Duration)
	}
	return nil
}

func (p Plan) arrivals() int { return int(p.Rate * p.Duration.Seconds()) }

// due is when an arrival is due, from the beginning of the run.
func (p Plan) due(arrival int) time.Duration {
	return time.Duration(float64(arrival) / p.Rate * float64(time.Second))
}

// Outcome is what came of a run.
type Outcome struct {
	// Paid payments settled; Failed ones did not, and Errors says why, by text.
	Paid, Failed int
	Errors       map[string]int
	// Elapsed is from the first due time to the end of the last payment.
	Elapsed time.Duration
	// latencies are from each payment's due time to its end, in microseconds: a system that stalls makes everybody wait who would
	// have come meanwhile, and all of them are counted.
	latencies *hdrhistogram.Histogram
}

// Latency is the latency that this percentage of the paid payments did not exceed.
func (o *Outcome) Latency(percent float64) time.Duration {
	return time.Duration(o.latencies.ValueAtQuantile(percent)) * time.Microsecond
}

// Run lets each arrival pay when it is due, however many still run: it waits for nobody. pay is called from many goroutines.
func Run(ctx context.Context, p Plan, pay func(ctx context.Context, agent int) error) (*Outcome, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	o := &Outcome{Errors: make(map[string]int), latencies: hdrhistogram.New(1, latencyMax, latencyDigits)}
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
	)
	began := time.Now()
	for arrival := range p.arrivals() {
		due := began.Add(p.due(arrival))
		select {
		case <-ctx.Done():
			wait.Wait()
			return nil, ctx.Err()
		case <-time.After(time.Until(due)):
		}
		wait.Go(func() {
			err := pay(ctx, arrival%p.Agents)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				o.Failed++
				o.Errors[err.Error()]++
				return
			}
			o.Paid++
			_ = o.latencies.RecordValue(min(max(took.Microseconds(), 1), latencyMax)) // Within its bounds it takes everything.
		})
	}
	wait.Wait()
	o.Elapsed = time.Since(began)
	return o, nil
}
