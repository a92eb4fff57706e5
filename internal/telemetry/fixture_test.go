package telemetry_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/halfkey/halfkey/internal/telemetry"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
)

// paying is a method that exists.
const paying = gatewayv1.GatewayService_CreatePayment_FullMethodName

// start makes a telemetry that records its spans as they end.
func start(t *testing.T, c telemetry.Config) (*telemetry.Telemetry, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	c.Processors = append(c.Processors, spans)
	if c.Service == "" {
		c.Service = "gateway"
	}
	if c.LogOutput == nil {
		c.LogOutput = io.Discard
	}
	made, err := telemetry.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Shutdown(context.Background()) })
	return made, spans
}

// serve answers every method with nothing, observed by a handler, and returns a connection. seen gets each call's context.
func serve(t *testing.T, observer stats.Handler, seen func(context.Context), options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.StatsHandler(observer), grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(new(emptypb.Empty)); err != nil {
			return err
		}
		if seen != nil {
			seen(ss.Context())
		}
		return ss.SendMsg(new(emptypb.Empty))
	}))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.GracefulStop) // The end of each call is observed before it returns.
	conn, err := grpc.NewClient(l.Addr().String(), append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// call makes a call with pairs of metadata.
func call(t *testing.T, conn *grpc.ClientConn, method string, pairs ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), pairs...), time.Minute)
	defer cancel()
	if err := conn.Invoke(ctx, method, new(emptypb.Empty), new(emptypb.Empty)); err != nil {
		t.Fatal(err)
	}
}

// ended waits for spans: a server's ends after its answer was sent.
func ended(t *testing.T, r *tracetest.SpanRecorder, n int) []sdktrace.ReadOnlySpan {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if got := r.Ended(); len(got) >= n {
			return got
		} else if time.Now().After(deadline) {
			t.Fatalf("%d spans have ended, want %d", len(got), n)
		}
	}
}

// scrape is the exposition, as a scraper that takes OpenMetrics gets it.
func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("a scrape answers %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// series are the lines of an exposition that begin with a name.
func series(exposition, name string) []string {
	var found []string
	for line := range strings.Lines(exposition) {
		if strings.HasPrefix(line, name) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
