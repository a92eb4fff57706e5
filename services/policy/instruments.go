package policy

import (
	"context"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// instruments are what policy counts and times.
type instruments struct {
	tracer   trace.Tracer
	verdicts *instrument.Counts[typev1.Light]
	evidence *instrument.Evidence
}

func newInstruments(tracers trace.TracerProvider, meters metric.MeterProvider) (*instruments, error) {
	m := instrument.For("policy", meters)
	return &instruments{tracer: instrument.Tracer(tracers), verdicts: m.Verdicts(), evidence: m.Evidence()}, m.Err()
}

// judged counts what became of a call: a verdict, or evidence that was refused. A dry run's verdict lets nothing go, and is not counted.
func (i *instruments) judged(ctx context.Context, req *policyv1.JudgeRequest, v *typev1.Verdict, err error) {
	i.evidence.Refused(ctx, err)
	if err != nil {
		return
	}
	instrument.Payment(ctx, v.GetWallet(), v.GetPayment())
	instrument.Light(ctx, v.GetLight())
	if !req.GetValidateOnly() {
		i.verdicts.Count(ctx, v.GetLight())
	}
}
