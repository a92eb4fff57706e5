package telemetry_test

import (
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/halfkey/halfkey/internal/telemetry"
)

// A span within a trace that is not recorded is its parent: it costs nothing, and the log names the same trace.
func TestUnrecordedSpansAreFree(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ratio float64
		own   bool
	}{{"recorded", 1, true}, {"not recorded", 0, false}} {
		t.Run(tt.name, func(t *testing.T) {
			made, _ := start(t, telemetry.Config{SampleRatio: tt.ratio})
			tracer := made.TracerProvider().Tracer("test")
			outer, root := tracer.Start(t.Context(), "root")
			defer root.End()
			ctx, span := tracer.Start(outer, "within")
			defer span.End()
			got, parent := trace.SpanContextFromContext(ctx), root.SpanContext()
			if !got.IsValid() || got.TraceID() != parent.TraceID() || span.SpanContext().SpanID() != got.SpanID() {
				t.Errorf("the span is of trace %s, want %s", got.TraceID(), parent.TraceID())
			}
			if own := got.SpanID() != parent.SpanID(); own != tt.own || span.IsRecording() != tt.own {
				t.Errorf("own id: %v, recording: %v; want %v", own, span.IsRecording(), tt.own)
			}
			allocations := testing.AllocsPerRun(100, func() {
				_, span := tracer.Start(outer, "within")
				span.End()
			})
			if free := allocations == 0; free == tt.own {
				t.Errorf("a span takes %v allocations", allocations)
			}
		})
	}
}
