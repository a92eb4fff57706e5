package httpjson_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/telemetry"
)

// TestTraceByHTTP shows that a call by HTTP may name its trace as one by gRPC may, in one header of the right form.
func TestTraceByHTTP(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	made, err := telemetry.New(t.Context(), telemetry.Config{
		Service: "gateway", SampleRatio: 1, LogOutput: io.Discard, Processors: []sdktrace.SpanProcessor{spans},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Shutdown(context.Background()) })
	w := newWorld(t, halfkeytest.WithTelemetry(map[authz.Service]*telemetry.Telemetry{authz.Gateway: made}))
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	const parent = "00-" + trace + "-00f067aa0ba902b7-01"
	for name, tt := range map[string]struct {
		given []string
		taken bool
	}{
		"one":            {[]string{parent}, true},
		"two":            {[]string{parent, parent}, false},
		"too long":       {[]string{parent + "-evil"}, false},
		"in capitals":    {[]string{"00-" + trace + "-00F067AA0BA902B7-01"}, false},
		"in another one": {[]string{parent[:54] + "g"}, false},
		"none":           {nil, false},
	} {
		before := len(spans.Ended())
		got := w.do(t, request{
			method: http.MethodGet, path: "/v1/installations", header: http.Header{"Traceparent": tt.given, "Baggage": {"evil=1"}},
		})
		if got.status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, got.status, got.body)
		}
		for deadline := time.Now().Add(time.Minute); len(spans.Ended()) == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the call has no span", name)
			}
		}
		span := spans.Ended()[before]
		if is := span.SpanContext().TraceID().String() == trace; is != tt.taken {
			t.Errorf("%s: the trace is %s; taken: %v, want %v", name, span.SpanContext().TraceID(), is, tt.taken)
		}
	}
}
