package identity

import (
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/halfkey/halfkey/internal/telemetry/instrument"
)

// instruments are what identity counts and times.
type instruments struct {
	tracer   trace.Tracer
	evidence *instrument.Evidence
}

func newInstruments(tracers trace.TracerProvider, meters metric.MeterProvider) (*instruments, error) {
	m := instrument.For("identity", meters)
	return &instruments{tracer: instrument.Tracer(tracers), evidence: m.Evidence()}, m.Err()
}
