package bench

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Report is one run.
type Report struct {
	Mode    string
	Plan    Plan
	Outcome *Outcome
	// Settled is how many payments of the run the verified journals hold as SETTLED.
	Settled int

	floor *floor
	// rest is what was used while nobody paid, for restTime, and used what was during the run, which took took.
	rest, used *usage
	took       time.Duration
}

// Check says what does not add up: a payment that failed, or that one side has counted and the other has not.
func (r *Report) Check() error {
	o := r.Outcome
	switch {
	case o.Failed > 0:
		return fmt.Errorf("%d of %d payments failed: %v", o.Failed, r.Plan.arrivals(), slices.Sorted(maps.Keys(o.Errors)))
	case o.Paid != r.Plan.arrivals():
		return fmt.Errorf("%d payments were due and %d were counted", r.Plan.arrivals(), o.Paid)
	case r.Settled != o.Paid:
		return fmt.Errorf("%d payments were counted and %d are settled in the journal", o.Paid, r.Settled)
	}
	if r.used.transactions == 0 {
		return errors.New("the ledger made no transaction")
	}
	for party, calls := range r.callsWanted() {
		if got := r.used.calls[party]; got < calls*float64(o.Paid) {
			return fmt.Errorf("%s answered %v calls of %d payments, want %v each", party, got, o.Paid, calls)
		}
	}
	return nil
}

// callsWanted are the calls that each service answers for one payment.
func (r *Report) callsWanted() map[string]float64 {
	n := make(map[string]float64)
	for _, h := range hops() {
		n[h[1]]++
	}
	return n
}

// each is a payment's part of what all took.
func (r *Report) each(d time.Duration) time.Duration {
	if r.Outcome.Paid == 0 {
		return 0
	}
	return d / time.Duration(r.Outcome.Paid)
}

// Print prints the tables.
func (r *Report) Print(w io.Writer) {
	o := r.Outcome
	fmt.Fprintf(w, "%s: %v payments a second offered for %v by %d agents; %d CPUs, %s; load average: %s\n",
		r.Mode, r.Plan.Rate, r.Plan.Duration, r.Plan.Agents, runtime.NumCPU(), runtime.Version(), machineLoad())
	fmt.Fprintf(w, "other programs took %.0f %% of the CPUs during the run\n", 100*r.others())
	fmt.Fprintf(w, "paid %d   failed %d   settled in the journal %d   %.1f payments/s\n",
		o.Paid, o.Failed, r.Settled, float64(o.Paid)/o.Elapsed.Seconds())
	fmt.Fprintf(w, "latency from the due time, ms: p50 %s   p90 %s   p99 %s   max %s\n\n",
		millis(o.Latency(50)), millis(o.Latency(90)), millis(o.Latency(99)), millis(o.Latency(100)))

	fmt.Fprintf(w, "%-34s %10s %8s %10s\n", "irreducible part", "µs CPU", "count", "µs/payment")
	for _, c := range r.floor.costs {
		fmt.Fprintf(w, "%-34s %10.1f %8.4g %10.1f\n", c.name, micros(c.cpu()), c.count(), micros(c.cpu())*c.count())
	}
	fmt.Fprintf(w, "%-34s %10s %8s %10.1f\n", "sum", "", "", micros(r.floor.all()))
	fmt.Fprintf(w, "%-34s %10s %8s %10.1f\n\n", "the same at this rate", "", "", micros(r.floor.paced))

	fmt.Fprintf(w, "%-14s %12s %12s %8s %12s %14s\n", "per payment", "µs CPU", "µs parts", "ratio", "calls in", "at rest, µs/s")
	var used, all, rest, allRest time.Duration
	for _, name := range r.names() {
		cpu, parts := r.each(r.used.cpu[name]), r.partsOf(name)
		resting := time.Duration(float64(r.rest.cpu[name]) / restTime.Seconds())
		r.row(w, name, cpu, parts, resting)
		all, allRest = all+cpu, allRest+resting
		if name != agent {
			used, rest = used+cpu, rest+resting
		}
	}
	services := r.floor.all() - r.floor.of(agent)
	r.row(w, "services", used, services, rest)
	r.row(w, "everything", all, r.floor.all(), allRest)
	fmt.Fprintf(w, "\nper payment: hops %.2f   the ledger's durable transactions %.3f   etcd's reads %s and durable writes %s\n",
		r.hopsEach(), float64(r.used.transactions)/float64(max(o.Paid, 1)), r.shown(r.used.reads), r.shown(r.used.syncs))
	fmt.Fprintf(w,
		"CPU per payment / sum of the parts: %.2f everything, %.2f services; done at this rate, the parts take %.2f times as much: %.2f, %.2f\n",
		ratio(all, r.floor.all()), ratio(used, services), r.floor.slower(),
		ratio(all, r.floor.all())/r.floor.slower(), ratio(used, services)/r.floor.slower())
}

func (r *Report) row(w io.Writer, name string, cpu, parts, rest time.Duration) {
	calls, share, over := "", "", ""
	if n, ok := r.used.calls[name]; ok {
		calls = fmt.Sprintf("%.2f", n/float64(max(r.Outcome.Paid, 1)))
	}
	if parts > 0 {
		share, over = fmt.Sprintf("%.1f", micros(parts)), fmt.Sprintf("%.2f", ratio(cpu, parts))
	}
	fmt.Fprintf(w, "%-14s %12.1f %12s %8s %12s %14.0f\n", name, micros(cpu), share, over, calls, micros(rest))
}

// names are the processes, the agents first.
func (r *Report) names() []string {
	names := []string{agent}
	for _, n := range []string{AllInOne, gateway, identity, policy, ledger, cosigner, "etcd"} {
		if _, ok := r.used.cpu[n]; ok {
			names = append(names, n)
		}
	}
	return names
}

// partsOf is the sum of the parts that a process does: all services' in one process.
func (r *Report) partsOf(name string) time.Duration {
	if name == AllInOne {
		return r.floor.all() - r.floor.of(agent)
	}
	return r.floor.of(name)
}

func (r *Report) hopsEach() float64 {
	var calls float64
	for _, n := range r.used.calls {
		calls += n
	}
	return calls / float64(max(r.Outcome.Paid, 1))
}

// shown is a payment's part of what etcd counts.
func (r *Report) shown(n float64) string {
	if n < 0 {
		return "not shown"
	}
	return fmt.Sprintf("%.3f", n/float64(max(r.Outcome.Paid, 1)))
}

// others is the share of all CPUs that was neither idle nor used by the run: other programs, and what a virtual machine was denied.
// Above a tenth, a run says little about a payment.
func (r *Report) others() float64 {
	busy := r.used.machine
	for _, used := range r.used.cpu {
		busy -= used
	}
	return max(0, float64(busy)/float64(r.took)/float64(runtime.NumCPU()))
}

func ratio(cpu, parts time.Duration) float64 { return float64(cpu) / float64(parts) }

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1e3) }

// machineLoad is the machine's load averages, where it shows them.
func machineLoad() string {
	b, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}
