package cosigner

import (
	"context"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// instruments are what the co-signer counts and times.
type instruments struct {
	tracer   trace.Tracer
	releases metric.Int64Counter
	refused  *instrument.Counts[typev1.Reason]
	evidence *instrument.Evidence
	freezes  *instrument.Counts[typev1.Scope]
}

func newInstruments(tracers trace.TracerProvider, meters metric.MeterProvider) (*instruments, error) {
	m := instrument.For("cosigner", meters)
	return &instruments{
		tracer:   instrument.Tracer(tracers),
		releases: m.Counter(instrument.Releases),
		refused:  m.ReleasesRefused(),
		evidence: m.Evidence(),
		freezes:  m.Freezes(),
	}, m.Err()
}

// released counts what became of a call of Release.
func (i *instruments) released(ctx context.Context, err error) {
	if err == nil {
		i.releases.Add(ctx, 1)
		return
	}
	i.refused.Count(ctx, fault.ReasonOf(err))
	i.evidence.Refused(ctx, err)
}
