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
	evidence    *instrument.Evidence
}

// lagBounds go from an agent next door to one that settles when its message is about to expire.
func lagBounds() []float64 {
	return []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120}
}

func newInstruments(tracers trace.TracerProvider, meters metric.MeterProvider) (*instruments, error) {
	m := instrument.For("ledger", meters)
	return &instruments{
		tracer:      instrument.Tracer(tracers),
		verdicts:    m.Verdicts(),
		holdsOpened: m.Counter(instrument.HoldsOpened),
		holdsEnded:  m.HoldsEnded(),
		lag:         m.Seconds(instrument.SettlementLag, lagBounds()...),
		freezes:     m.Freezes(),
		evidence:    m.Evidence(),
	}, m.Err()
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

// stored counts what a batch has made durable: what was decided and then rolled back never happened.
func (i *instruments) stored(st *state) {
	ctx := context.Background()
	for _, d := range st.entries {
		switch d.own.(type) {
		case *typev1.Settlement, *typev1.DeadMessage:
			i.holdsEnded.Count(ctx, d.entry.GetPaymentState())
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
