package telemetry_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/telemetry"
)

// collector is a server of the generated contract, which the client is not made from.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	got    chan *collectorpb.ExportTraceServiceRequest
	answer *collectorpb.ExportTraceServiceResponse
	err    error
}

func (c *collector) Export(_ context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.got <- req
	return c.answer, c.err
}

func (c *collector) start(t *testing.T) string {
	t.Helper()
	c.got = make(chan *collectorpb.ExportTraceServiceRequest, 100)
	if c.answer == nil {
		c.answer = new(collectorpb.ExportTraceServiceResponse)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// push makes one span and ends the telemetry, which pushes it.
func push(t *testing.T, c telemetry.Config) (exposition string) {
	t.Helper()
	made, _ := start(t, c)
	_, span := made.TracerProvider().Tracer("test").Start(t.Context(), "4 ledger")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := made.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	exposition = scrape(t, made.Metrics())
	if err := made.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	return exposition
}

func TestOTLP(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=somebody")
	var c collector
	endpoint := c.start(t)
	var log canary.Said
	push(t, telemetry.Config{
		Service: "ledger", Installation: "i-1", Version: "v1", SampleRatio: 1, LogOutput: &log, OTLP: &telemetry.OTLP{Endpoint: endpoint},
	})
	var spans []*tracepb.ResourceSpans
	select {
	case req := <-c.got:
		spans = req.GetResourceSpans()
	case <-time.After(time.Minute):
		t.Fatal("the collector got nothing")
	}
	if len(spans) != 1 || len(spans[0].GetScopeSpans()) != 1 || spans[0].GetScopeSpans()[0].GetSpans()[0].GetName() != "4 ledger" {
		t.Fatalf("the collector got %v, want the span", spans)
	}
	about := make(map[string]string)
	for _, a := range spans[0].GetResource().GetAttributes() {
		about[a.GetKey()] = a.GetValue().GetStringValue()
	}
	for key, want := range map[string]string{
		"service.name": "ledger", "service.namespace": "halfkey", "service.version": "v1", "halfkey.installation": "i-1",
		"deployment.environment.name": "test",
	} {
		if about[key] != want {
			t.Errorf("the resource's %s is %q, want %q", key, about[key], want)
		}
	}
	if log.String() != "" {
		t.Errorf("the log says something of a push that worked:\n%s", &log)
	}
}

func TestOTLPNotSampledIsNotPushed(t *testing.T) {
	var c collector
	push(t, telemetry.Config{OTLP: &telemetry.OTLP{Endpoint: c.start(t)}})
	if n := len(c.got); n != 0 {
		t.Errorf("the collector got %d pushes of traces that are not recorded", n)
	}
}

func TestOTLPRefused(t *testing.T) {
	c := collector{err: status.Error(codes.PermissionDenied, "no such tenant")}
	var log canary.Said
	exposition := push(t, telemetry.Config{SampleRatio: 1, LogOutput: &log, OTLP: &telemetry.OTLP{Endpoint: c.start(t)}})
	if n := strings.Count(log.String(), "spans do not reach the collector"); n != 1 || !strings.Contains(log.String(), "no such tenant") {
		t.Errorf("the log says it %d times, want once with the collector's reason:\n%s", n, &log)
	}
	if lost := series(exposition, "halfkey_spans_lost_total "); len(lost) != 1 || !strings.HasPrefix(lost[0], "halfkey_spans_lost_total 1") {
		t.Errorf("lost spans are %q, want 1", lost)
	}
}

func TestOTLPNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log canary.Said
	push(t, telemetry.Config{SampleRatio: 1, LogOutput: &log, OTLP: &telemetry.OTLP{Endpoint: endpoint, Timeout: 100 * time.Millisecond}})
	if !strings.Contains(log.String(), "spans do not reach the collector") {
		t.Errorf("the log does not say it:\n%s", &log)
	}
}

func TestOTLPTakenInPart(t *testing.T) {
	c := collector{answer: &collectorpb.ExportTraceServiceResponse{
		PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "too old"},
	}}
	var log canary.Said
	push(t, telemetry.Config{SampleRatio: 1, LogOutput: &log, OTLP: &telemetry.OTLP{Endpoint: c.start(t)}})
	if !strings.Contains(log.String(), "only in part") {
		t.Errorf("the log does not say it:\n%s", &log)
	}
}
