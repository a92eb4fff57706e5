package telemetry_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/telemetry"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func TestConfigRefused(t *testing.T) {
	ok := telemetry.Config{Service: "ledger", LogOutput: io.Discard}
	for name, c := range map[string]struct {
		change func(*telemetry.Config)
		says   string
	}{
		"no service":          {func(c *telemetry.Config) { c.Service = "" }, "no name of a service"},
		"no output":           {func(c *telemetry.Config) { c.LogOutput = nil }, "no output for the log"},
		"ratio below 0":       {func(c *telemetry.Config) { c.SampleRatio = -0.1 }, "from 0 to 1"},
		"ratio above 1":       {func(c *telemetry.Config) { c.SampleRatio = 1.1 }, "from 0 to 1"},
		"ratio not a number":  {func(c *telemetry.Config) { c.SampleRatio = math.NaN() }, "from 0 to 1"},
		"endpoint empty":      {func(c *telemetry.Config) { c.OTLP = &telemetry.OTLP{} }, "is not host:port"},
		"endpoint a URL":      {func(c *telemetry.Config) { c.OTLP = &telemetry.OTLP{Endpoint: "https://collector:4317"} }, "is not host:port"},
		"endpoint no port":    {func(c *telemetry.Config) { c.OTLP = &telemetry.OTLP{Endpoint: "collector:"} }, "no port"},
		"clear over network":  {func(c *telemetry.Config) { c.OTLP = &telemetry.OTLP{Endpoint: "collector:4317"} }, "in the clear"},
		"clear to an address": {func(c *telemetry.Config) { c.OTLP = &telemetry.OTLP{Endpoint: "192.0.2.1:4317"} }, "in the clear"},
		"timeout negative": {func(c *telemetry.Config) {
			c.OTLP = &telemetry.OTLP{Endpoint: "localhost:4317", Timeout: -1}
		}, "timeout of OTLP is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := ok
			c.change(&bad)
			if _, err := telemetry.New(t.Context(), bad); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("New says %v, want %q", err, c.says)
			}
		})
	}
	for name, o := range map[string]telemetry.OTLP{
		"TLS":               {Endpoint: "collector:4317", TLS: new(tls.Config)},
		"meant":             {Endpoint: "collector:4317", Insecure: true},
		"on this machine":   {Endpoint: "localhost:4317"},
		"loopback":          {Endpoint: "127.0.0.1:4317"},
		"loopback by IPv6":  {Endpoint: "[::1]:4317"},
		"nobody there at 1": {Endpoint: "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			good := ok
			good.OTLP = &o
			made, err := telemetry.New(t.Context(), good)
			if err != nil {
				t.Fatal(err)
			}
			if err := made.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLogLines(t *testing.T) {
	var log canary.Said
	made, _ := start(t, telemetry.Config{
		Service: "ledger", Installation: "i-1", Version: "v1", LogOutput: &log, SampleRatio: 1, LogLevel: slog.LevelInfo,
	})
	ctx, span := made.TracerProvider().Tracer("test").Start(t.Context(), "step")
	made.Logger().With("with", "more").InfoContext(ctx, "in a span")
	made.Logger().DebugContext(ctx, "below the level")
	made.Logger().InfoContext(t.Context(), "in none")
	span.End()
	var got []map[string]any
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("a line is no JSON object: %v\n%s", err, line)
		}
		got = append(got, fields)
	}
	if len(got) != 2 {
		t.Fatalf("the log has %d lines, want 2:\n%s", len(got), &log)
	}
	id := span.SpanContext()
	if got[0]["trace_id"] != id.TraceID().String() || got[0]["span_id"] != id.SpanID().String() || got[0]["with"] != "more" {
		t.Errorf("the line of a span is %v, want trace %s and span %s", got[0], id.TraceID(), id.SpanID())
	}
	if _, ok := got[1]["trace_id"]; ok {
		t.Errorf("a line outside every span names a trace: %v", got[1])
	}
	for _, fields := range got {
		if fields["service"] != "ledger" || fields["installation"] != "i-1" || fields["version"] != "v1" {
			t.Errorf("a line does not say whose it is: %v", fields)
		}
	}
}

func TestOneTraceAcrossServices(t *testing.T) {
	gateway, atGateway := start(t, telemetry.Config{Service: "gateway", SampleRatio: 1})
	ledger, atLedger := start(t, telemetry.Config{Service: "ledger"}) // It follows the gateway's decision whatever its own ratio.
	var carried baggage.Baggage
	conn := serve(t, ledger.ServerStats(), func(ctx context.Context) { carried = baggage.FromContext(ctx) },
		grpc.WithStatsHandler(gateway.ClientStats()))
	ctx, step := gateway.TracerProvider().Tracer("test").Start(t.Context(), "4 ledger")
	if err := conn.Invoke(ctx, paying, new(emptypb.Empty), new(emptypb.Empty)); err != nil {
		t.Fatal(err)
	}
	step.End()
	sent, served := ended(t, atGateway, 2)[0], ended(t, atLedger, 1)[0]
	if sent.Parent().SpanID() != step.SpanContext().SpanID() || served.Parent().SpanID() != sent.SpanContext().SpanID() {
		t.Errorf("step, call and service are not parent and child: %v, %v, %v", step.SpanContext(), sent.SpanContext(), served.Parent())
	}
	if served.SpanContext().TraceID() != step.SpanContext().TraceID() {
		t.Errorf("the ledger's trace is %s, want %s", served.SpanContext().TraceID(), step.SpanContext().TraceID())
	}
	call(t, conn, paying, "baggage", "evil=1")
	if carried.Len() != 0 {
		t.Errorf("baggage %q was taken", carried)
	}
}

func TestStrangersTrace(t *testing.T) {
	for name, c := range map[string]struct {
		ratio   float64
		flags   string
		sampled bool
	}{
		"asks for a recording, which is off":  {0, "01", false},
		"asks for none, and all are recorded": {1, "00", true},
	} {
		t.Run(name, func(t *testing.T) {
			made, spans := start(t, telemetry.Config{SampleRatio: c.ratio})
			var got trace.SpanContext
			var carried baggage.Baggage
			conn := serve(t, made.PublicServerStats(), func(ctx context.Context) {
				got, carried = trace.SpanContextFromContext(ctx), baggage.FromContext(ctx)
			})
			call(t, conn, paying, "traceparent", "00-"+traceID+"-"+spanID+"-"+c.flags, "tracestate", "evil=1", "baggage", "evil=1")
			if got.TraceID().String() != traceID {
				t.Errorf("the trace is %s, want the caller's %s", got.TraceID(), traceID)
			}
			if got.IsSampled() != c.sampled {
				t.Errorf("recorded: %v, want %v", got.IsSampled(), c.sampled)
			}
			if got.TraceState().Len() != 0 || carried.Len() != 0 {
				t.Errorf("a stranger's trace state %q or baggage %q was taken", got.TraceState(), carried)
			}
			if c.sampled {
				if span := ended(t, spans, 1)[0]; span.Parent().SpanID().String() != spanID {
					t.Errorf("the parent is %s, want %s", span.Parent().SpanID(), spanID)
				}
			}
		})
	}
}

// TestStrangersTraceRatio shows that trace ids of somebody's choice are recorded at the ratio, and not as their bits would have it.
func TestStrangersTraceRatio(t *testing.T) {
	made, _ := start(t, telemetry.Config{SampleRatio: 0.5})
	recorded := make(map[string]bool)
	conn := serve(t, made.PublicServerStats(), func(ctx context.Context) {
		span := trace.SpanContextFromContext(ctx)
		id := span.TraceID().String()
		if was, ok := recorded[id]; ok && was != span.IsSampled() {
			t.Errorf("two calls of trace %s are not decided alike", id)
		}
		recorded[id] = span.IsSampled()
	})
	const ids = 64
	for i := range 2 * ids {
		// By OpenTelemetry's ratio of the bare id, one of so small a number in its last eight bytes is always recorded.
		call(t, conn, paying, "traceparent", fmt.Sprintf("00-%s%016x-%s-01", traceID[:16], 1+i%ids, spanID))
	}
	n := 0
	for _, is := range recorded {
		if is {
			n++
		}
	}
	if n == 0 || n == ids { // Each by chance once in 2^64.
		t.Errorf("%d of %d chosen traces are recorded at a ratio of one half", n, ids)
	}
}

func TestUnknownMethodsShareOneName(t *testing.T) {
	made, spans := start(t, telemetry.Config{SampleRatio: 1})
	conn := serve(t, made.PublicServerStats(), nil)
	call(t, conn, "/evil.v1.Evil/"+strings.Repeat("x", 1000))
	call(t, conn, "/evil.v1.Evil/Other")
	call(t, conn, paying)
	call(t, conn, grpc_health_v1.Health_Check_FullMethodName)
	var names []string
	for _, span := range ended(t, spans, 3) {
		names = append(names, span.Name())
	}
	if want := []string{"_OTHER", "_OTHER", paying[1:]}; !slices.Equal(names, want) {
		t.Errorf("spans are %q, want %q", names, want)
	}
	exposition := scrape(t, made.Metrics())
	if strings.Contains(exposition, "evil") {
		t.Error("a method's name of a caller's choice is a series")
	}
	if counts := series(exposition, "rpc_server_call_duration_seconds_count{"); len(counts) != 2 {
		t.Errorf("calls are counted in %d series, want 2: %q", len(counts), counts)
	}
}

func TestMetricsHaveExemplars(t *testing.T) {
	made, spans := start(t, telemetry.Config{SampleRatio: 1})
	conn := serve(t, made.PublicServerStats(), nil)
	call(t, conn, paying)
	id := ended(t, spans, 1)[0].SpanContext().TraceID().String()
	exposition := scrape(t, made.Metrics())
	buckets := series(exposition, "rpc_server_call_duration_seconds_bucket{")
	if !slices.ContainsFunc(buckets, func(s string) bool { return strings.Contains(s, `# {`) && strings.Contains(s, `trace_id="`+id+`"`) }) {
		t.Errorf("no bucket names trace %s:\n%s", id, strings.Join(buckets, "\n"))
	}
	for _, want := range []string{`rpc_method="` + paying[1:] + `"`, `rpc_response_status_code="OK"`, `rpc_system_name="grpc"`} {
		if !strings.Contains(exposition, want) {
			t.Errorf("the exposition lacks %s", want)
		}
	}
	for _, want := range []string{"target_info{", "go_goroutines ", "process_resident_memory_bytes "} {
		if len(series(exposition, want)) == 0 {
			t.Errorf("the exposition lacks %s", want)
		}
	}
}

// TestNothingGlobal shows that a connection which nobody observes sends nothing: five services in one process have nothing in common.
func TestNothingGlobal(t *testing.T) {
	made, _ := start(t, telemetry.Config{SampleRatio: 1})
	var sent []string
	conn := serve(t, made.ServerStats(), func(ctx context.Context) { sent = metadata.ValueFromIncomingContext(ctx, "traceparent") })
	ctx, span := made.TracerProvider().Tracer("test").Start(t.Context(), "step")
	defer span.End()
	if err := conn.Invoke(ctx, paying, new(emptypb.Empty), new(emptypb.Empty)); err != nil {
		t.Fatal(err)
	}
	if len(sent) > 0 {
		t.Errorf("it sends %q", sent)
	}
}

// TestAttributesAreBounded shows that a caller's text is not kept at any length, whatever the environment allows.
func TestAttributesAreBounded(t *testing.T) {
	for name, limit := range map[string]string{"by default": "", "by a variable that allows more": "100000"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", limit)
			made, spans := start(t, telemetry.Config{SampleRatio: 1})
			ctx, span := made.TracerProvider().Tracer("test").Start(t.Context(), "step")
			instrument.Payment(ctx, "wallets/"+strings.Repeat("w", 1000), "a name")
			span.End()
			for _, a := range ended(t, spans, 1)[0].Attributes() {
				if got := len(a.Value.String()); got > 256 {
					t.Errorf("%s has %d bytes, want at most 256", a.Key, got)
				}
			}
		})
	}
}
