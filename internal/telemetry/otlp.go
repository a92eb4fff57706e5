package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/halfkey/halfkey/internal/telemetry/instrument"
)

const (
	// exportMethod takes spans: OTLP 1.11, opentelemetry/proto/collector/trace/v1/trace_service.proto. Its request is on the wire what
	// TracesData is, field 1 the spans by resource. The package generated from that file links an HTTP gateway's runtime, which
	// has no place below the co-signer; hence this one method by its name.
	exportMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	// pushMax bounds one push with its repeats; the next batch waits for it.
	pushMax = 10 * time.Second
	// collectorAnswerMax bounds an answer: it holds a count and a sentence.
	collectorAnswerMax = 64 << 10
)

// collectorConfig repeats what OTLP's specification calls retryable and gRPC can repeat without harm.
const collectorConfig = `{
	"methodConfig": [{
		"name": [{"service": "opentelemetry.proto.collector.trace.v1.TraceService"}],
		"waitForReady": true,
		"retryPolicy": {
			"maxAttempts": 5, "initialBackoff": "0.5s", "maxBackoff": "5s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE", "ABORTED", "OUT_OF_RANGE", "DATA_LOSS", "RESOURCE_EXHAUSTED"]
		}
	}]
}`

// collector is the connection to what takes spans: an otlptrace.Client.
type collector struct {
	conn    *grpc.ClientConn
	timeout time.Duration
	logger  *slog.Logger
	told    atomic.Bool // That the collector has refused some.
}

func newCollector(o OTLP, logger *slog.Logger) (*collector, error) {
	transport := insecure.NewCredentials()
	if o.TLS != nil {
		transport = credentials.NewTLS(o.TLS)
	}
	conn, err := grpc.NewClient("dns:///"+o.Endpoint,
		grpc.WithTransportCredentials(transport), grpc.WithDefaultServiceConfig(collectorConfig), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(collectorAnswerMax)))
	if err != nil {
		return nil, fmt.Errorf("telemetry: the OTLP endpoint: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = pushMax
	}
	return &collector{conn: conn, timeout: o.Timeout, logger: logger}, nil
}

// Start has nothing to do: the connection connects when it is first used.
func (c *collector) Start(context.Context) error { return nil }

// Stop ends the connection.
func (c *collector) Stop(context.Context) error { return c.conn.Close() }

// UploadTraces pushes spans.
func (c *collector) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer := new(emptypb.Empty)
	if err := c.conn.Invoke(ctx, exportMethod, &tracepb.TracesData{ResourceSpans: spans}, answer); err != nil {
		return err
	}
	// The answer is empty unless the collector has something to object to, which then is its only field.
	if len(answer.ProtoReflect().GetUnknown()) > 0 && !c.told.Swap(true) {
		c.logger.WarnContext(ctx, "the collector took spans only in part, and says in its own log why")
	}
	return nil
}

// pusher pushes spans and logs when that begins to fail and when it works again. An error ends here: what the SDK does with one is
// to print it for the whole process.
type pusher struct {
	sdktrace.SpanExporter
	logger  *slog.Logger
	lost    metric.Int64Counter
	failing atomic.Bool
}

func newPusher(to sdktrace.SpanExporter, logger *slog.Logger, meters metric.MeterProvider) (*pusher, error) {
	m := instrument.For("telemetry", meters)
	return &pusher{SpanExporter: to, logger: logger, lost: m.Counter(instrument.SpansLost)}, m.Err()
}

// ExportSpans implements sdktrace.SpanExporter.
func (p *pusher) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := p.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		p.lost.Add(ctx, int64(len(spans)))
	}
	switch was := p.failing.Swap(err != nil); {
	case err != nil && !was:
		p.logger.WarnContext(ctx, "spans do not reach the collector and are lost", "error", err)
	case err == nil && was:
		p.logger.InfoContext(ctx, "spans reach the collector again")
	}
	return nil
}
