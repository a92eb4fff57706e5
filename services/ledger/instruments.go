package ledger

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// instruments are what the ledger counts and times.
type instruments struct {
	tracer      trace.Tracer
	verdicts    *instrument.Counts[typev1.Light]
	holdsOpened metric.Int64Counter
	holdsEnded  *instrument.Counts[typev1.PaymentState]
	lag         metric.Float64Histogram
	freezes     *instrument.Counts[typev1.Scope]
	unknown     *instrument.Counts[string]
	outflows    metric.Int64Counter
	evidence    *instrument.Evidence
}

// lagBounds go from an agent next door to one that settles when its message is about to expire.
func lagBounds() []float64 {
	return []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120}
}

func newInstruments(tracers trace.TracerProvider, meters metric.MeterProvider) (*instruments, error) {
	m := instrument.For("ledger", meters)
	i := &instruments{
		tracer:      instrument.Tracer(tracers),
		verdicts:    m.Verdicts(),
		holdsOpened: m.Counter(instrument.HoldsOpened),
		holdsEnded:  m.HoldsEnded(),
		lag:         m.Seconds(instrument.SettlementLag, lagBounds()...),
		freezes:     m.Freezes(),
		unknown:     m.ChainUnknown(),
		outflows:    m.Counter(instrument.ChainOutflows),
		evidence:    m.Evidence(),
	}
	if err := m.Err(); err != nil {
		return nil, err
	}
	i.outflows.Add(context.Background(), 0) // Its series is there from the start: the first one is a step up, which a rate sees.
	return i, nil
}

// observe makes the gauges of a disk's reserve, until stop.
func (r *reserve) observe(meters metric.MeterProvider) (stop func() error, err error) {
	m := instrument.For("ledger", meters)
	whole := m.Gauge(instrument.ReserveWhole, func() int64 {
		if r.isWhole() {
			return 1
		}
		return 0
	})
	size := m.Gauge(instrument.ReserveSize, r.held)
	return func() error { return errors.Join(whole(), size()) }, m.Err()
}

// observeChain makes the gauge of what waits for a chain's proof, until unobserve. Without a chain nothing does.
func (s *Service) observeChain(meters metric.MeterProvider) error {
	m := instrument.For("ledger", meters)
	stop := m.Gauge(instrument.ChainUnprovenAge, func() int64 {
		if s.chain == nil {
			return 0
		}
		since := s.chain.lookout.oldestMillis()
		if since == 0 {
			return 0
		}
		return max(0, (s.clock().UnixMilli()-since)/1000)
	})
	before := s.unobserve
	s.unobserve = func() error { return errors.Join(stop(), before()) }
	return m.Err()
}

// stored counts what a batch has made durable: what was decided and then rolled back never happened.
func (i *instruments) stored(st *state) {
	ctx := context.Background()
	for _, d := range st.entries {
		switch d.own.(type) {
		case *typev1.Settlement, *typev1.DeadMessage:
			i.holdsEnded.Count(ctx, d.entry.GetPaymentState())
		case *typev1.ChainTransfer:
			if d.entry.GetKind() == typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW {
				i.outflows.Add(ctx, 1)
			}
		default:
			// A renewal is an entry of its own kind.
			if d.entry.GetKind() == typev1.EntryKind_ENTRY_KIND_PAYMENT && d.entry.GetPaymentState() == authorized {
				i.holdsOpened.Add(ctx, 1)
			}
		}
	}
	for _, f := range st.newFreezes {
		i.freezes.Count(ctx, f.subject.scope)
	}
}

// recorded counts the verdict on an attempt: the payment's, which is the stricter of policy's and the ledger's.
func (i *instruments) recorded(ctx context.Context, a *attempt, r *recorded) {
	instrument.State(ctx, r.payment.state)
	if r.entry == nil || a.dry {
		return // It was not judged, or nothing came of it.
	}
	instrument.Light(ctx, r.receipt.light)
	i.verdicts.Count(ctx, r.receipt.light)
}

// settled times a settlement.
func (i *instruments) settled(ctx context.Context, a *settlement) {
	instrument.State(ctx, settled)
	if a.moved { // Else it is a repeat, and settled long ago.
		i.lag.Record(ctx, float64(a.heldMillis)/1000)
	}
}

// proven times a settlement that a chain proved.
func (i *instruments) proven(ctx context.Context, o *outcome) {
	if o.moved { // Else somebody else took it over first.
		i.lag.Record(ctx, float64(o.heldMillis)/1000)
	}
}
