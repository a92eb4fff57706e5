package e2e_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/telemetry"
)

// observed is all that an installation and its clients have told.
type observed struct {
	services map[authz.Service]*telemetry.Telemetry
	spans    *tracetest.SpanRecorder // Of services and clients alike.
	agents   *sdktrace.TracerProvider
	log      canary.Said
}

// observe makes a telemetry for each service, which records everything and logs everything.
func observe(t *testing.T) *observed {
	t.Helper()
	o := &observed{services: make(map[authz.Service]*telemetry.Telemetry), spans: tracetest.NewSpanRecorder()}
	for _, service := range authz.Services() {
		made, err := telemetry.New(t.Context(), telemetry.Config{
			Service: string(service), Version: "test", SampleRatio: 1, Processors: []sdktrace.SpanProcessor{o.spans},
			LogLevel: slog.LevelDebug, LogOutput: &o.log,
			// Nobody listens there: what becomes of spans that are lost is told too.
			OTLP: &telemetry.OTLP{Endpoint: "127.0.0.1:1", Timeout: 10 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = made.Shutdown(context.Background()) })
		o.services[service] = made
	}
	o.agents = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(o.spans))
	return o
}

func (o *observed) options() []halfkeytest.Option {
	return []halfkeytest.Option{halfkeytest.WithTelemetry(o.services), halfkeytest.WithTracer(o.agents), halfkeytest.WithLog(&o.log)}
}

// flush pushes all spans, to nobody.
func (o *observed) flush(t *testing.T) {
	t.Helper()
	for _, service := range o.services {
		if err := service.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// metrics are a service's, as Prometheus sees them.
func (o *observed) metrics(t *testing.T, service authz.Service) string {
	t.Helper()
	w := httptest.NewRecorder()
	o.services[service].Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("a scrape of %s answers %d: %s", service, w.Code, w.Body)
	}
	return w.Body.String()
}

// trace are the ended spans of one trace. It waits for one of that name from that service: a server's span ends after its answer.
func (o *observed) trace(t *testing.T, id, service, name string) []sdktrace.ReadOnlySpan {
	t.Helper()
	for deadline := time.Now().Add(callMax); ; time.Sleep(time.Millisecond) {
		var spans []sdktrace.ReadOnlySpan
		found := false
		for _, span := range o.spans.Ended() {
			if span.SpanContext().TraceID().String() != id {
				continue
			}
			spans = append(spans, span)
			found = found || span.Name() == name && serviceOf(span) == service
		}
		switch {
		case found:
			return spans
		case time.Now().After(deadline):
			t.Fatalf("%s has no span %q in trace %s", service, name, id)
		}
	}
}

// serviceOf is whose span it is; a client's has no name that is ours.
func serviceOf(span sdktrace.ReadOnlySpan) string {
	for _, a := range span.Resource().Attributes() {
		if a.Key == "service.name" {
			return a.Value.AsString()
		}
	}
	return ""
}

// attributeOf is a span's, empty if it has none of that name.
func attributeOf(span sdktrace.ReadOnlySpan, key string) string {
	for _, a := range span.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}
