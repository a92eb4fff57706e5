package ledger

import (
	"context"
	"fmt"

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
func lagBounds() []float64 { return []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120} }

func newInstruments(tracers trace.TracerProvider, meters metric.MeterProvider) (i *instruments, err error) {
	const by = "ledger"
	i = &instruments{tracer: instrument.Tracer(tracers)}
	for _, made := range []func() error{
		func() (err error) { i.verdicts, err = instrument.NewVerdicts(meters, by); return err },
		func() (err error) { i.holdsOpened, err = instrument.HoldsOpened.Counter(meters); return err },
		func() (err error) { i.holdsEnded, err = instrument.NewHoldsEnded(meters); return err },
		func() (err error) { i.lag, err = instrument.SettlementLag.Seconds(meters, lagBounds()...); return err },
		func() (err error) { i.freezes, err = instrument.NewFreezes(meters, by); return err },
		func() (err error) { i.evidence, err = instrument.NewEvidence(meters, by); return err },
	} {
		if err := made(); err != nil {
			return nil, fmt.Errorf("ledger: metrics: %w", err)
		}
	}
	return i, nil
}

// stored counts what a batch has made durable: what was decided and then rolled back never happened.
func (i *instruments) stored(st *state) {
	ctx := context.Background()
	for _, d := range st.entries {
		switch own := d.own.(type) {
		case *typev1.Settlement:
			i.holdsEnded.Count(ctx, settled)
		case *typev1.DeadMessage:
			i.holdsEnded.Count(ctx, d.entry.GetPaymentState())
		case nil:
			if d.entry.GetKind() == typev1.EntryKind_ENTRY_KIND_PAYMENT && d.entry.GetPaymentState() == authorized {
				i.holdsOpened.Add(ctx, 1)
			}
		default:
			_ = own
		}
	}
	for _, f := range st.newFreezes {
		i.freezes.Count(ctx, f.subject.scope)
	}
}
