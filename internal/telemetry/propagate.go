package telemetry

import (
	"context"
	"hash/maphash"
	"math"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// within is W3C Trace Context between the installation's own services. Baggage is not carried at all: nothing reads it.
type within struct{ propagation.TraceContext }

// strangers takes of a caller's trace context its two ids. Whether the trace is recorded is not the caller's to say, or anybody
// could have all of his calls recorded at our cost; and trace state is free text, which would be handed on to every service.
type strangers struct{ propagation.TraceContext }

type strangerKey struct{}

// Extract implements propagation.TextMapPropagator.
func (s strangers) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	said := trace.SpanContextFromContext(s.TraceContext.Extract(ctx, carrier))
	if !said.IsValid() {
		return ctx
	}
	ids := trace.NewSpanContext(trace.SpanContextConfig{TraceID: said.TraceID(), SpanID: said.SpanID(), Remote: true})
	return context.WithValue(trace.ContextWithRemoteSpanContext(ctx, ids), strangerKey{}, true)
}

// sampler decides which traces are recorded. A decision that was made within the installation holds for the rest of its trace.
type sampler struct {
	sdktrace.Sampler
	threshold uint64 // A trace whose hash lies below it is recorded.
	seed      maphash.Seed
}

func newSampler(ratio float64) sampler {
	s := sampler{
		Sampler: sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)),
		seed:    maphash.MakeSeed(),
	}
	if ratio >= 1 {
		s.threshold = math.MaxUint64
	} else {
		s.threshold = uint64(ratio * (1 << 63) * 2)
	}
	return s
}

// ShouldSample implements sdktrace.Sampler. The ratio of a trace whose id a stranger has chosen is taken over a hash with a key of this
// process: of the bare id he could choose one that is recorded. All calls of his trace share the decision, so a payment is
// seen whole or not at all.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	if !undecided(p.ParentContext, parent) {
		return s.Sampler.ShouldSample(p)
	}
	result := sdktrace.SamplingResult{Decision: sdktrace.Drop}
	id := parent.TraceID()
	if s.threshold == math.MaxUint64 || maphash.Comparable(s.seed, id) < s.threshold {
		result.Decision = sdktrace.RecordAndSample
	}
	return result
}
