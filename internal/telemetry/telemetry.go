package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"
)

const (
	// scrapesMax bounds scrapes at once, scrapeMax how long one takes: a scraper that repeats too soon must not cost payments.
	scrapesMax = 4
	scrapeMax  = 10 * time.Second
	// attributeMax bounds one attribute of a span: a payment's name takes less, and a caller's text is not ours to keep at any length.
	attributeMax = 256
)

// Telemetry is what one program says about itself. It is safe for concurrent use.
type Telemetry struct {
	logger  *slog.Logger
	tracers *sdktrace.TracerProvider
	meters  *sdkmetric.MeterProvider
	metrics http.Handler
}

// New makes a program's telemetry. It connects to nobody before there is a span to push, so a collector that is down keeps no
// program from starting.
func New(ctx context.Context, c Config) (*Telemetry, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	about, err := c.resource(ctx)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{logger: newLogger(c)}
	registry := prometheus.NewRegistry()
	// Package collectors has these under newer names, and links database/sql, which has no place below the co-signer.
	registry.MustRegister(
		prometheus.NewGoCollector(),                                       //nolint:staticcheck // See above.
		prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{})) //nolint:staticcheck // See above.
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithResource(about), sdkmetric.WithReader(reader))
	t.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, // Exemplars exist there alone.
		ErrorLog:          scrapeLog{t.logger}, MaxRequestsInFlight: scrapesMax, Timeout: scrapeMax,
	})
	limits := sdktrace.NewSpanLimits() // OTEL_SPAN_* are in them.
	if limits.AttributeValueLengthLimit < 0 || limits.AttributeValueLengthLimit > attributeMax {
		limits.AttributeValueLengthLimit = attributeMax
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(about), sdktrace.WithSampler(newSampler(c.SampleRatio)), sdktrace.WithRawSpanLimits(limits),
	}
	for _, p := range c.Processors {
		options = append(options, sdktrace.WithSpanProcessor(p))
	}
	if c.OTLP != nil {
		client, err := newCollector(*c.OTLP, t.logger)
		if err != nil {
			return nil, err
		}
		exporter, err := otlptrace.New(ctx, client)
		if err != nil {
			return nil, fmt.Errorf("telemetry: %w", err)
		}
		pushed, err := newPusher(exporter, t.logger, t.meters)
		if err != nil {
			return nil, err
		}
		options = append(options, sdktrace.WithBatcher(pushed))
	}
	t.tracers = sdktrace.NewTracerProvider(options...)
	return t, nil
}

// Logger writes JSON, one object to a line, each with the ids of its context's span.
func (t *Telemetry) Logger() *slog.Logger { return t.logger }

// TracerProvider makes the tracers that services and connections take.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return sparing{t.tracers} }

// MeterProvider makes the meters that services take.
func (t *Telemetry) MeterProvider() metric.MeterProvider { return t.meters }

// ServerStats observes the calls of a server that only services of the installation reach.
func (t *Telemetry) ServerStats() stats.Handler { return serverStats(t, within{}) }

// PublicServerStats observes the calls of the gateway's public server: what its callers say about traces is taken for a name
// and no more.
func (t *Telemetry) PublicServerStats() stats.Handler { return serverStats(t, strangers{}) }

// ClientStats observes the calls of a connection to a service.
func (t *Telemetry) ClientStats() stats.Handler { return clientStats(t) }

// Metrics answers scrapes, with exemplars where the scraper takes OpenMetrics.
func (t *Telemetry) Metrics() http.Handler { return t.metrics }

// Flush pushes what is not pushed yet, as long as ctx lasts.
func (t *Telemetry) Flush(ctx context.Context) error { return t.tracers.ForceFlush(ctx) }

// Shutdown pushes what is not pushed yet, as long as ctx lasts, and ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	return errors.Join(t.tracers.Shutdown(ctx), t.meters.Shutdown(ctx))
}

// scrapeLog logs what a scrape could not gather.
type scrapeLog struct{ logger *slog.Logger }

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) {
	l.logger.Error("a scrape is incomplete", "error", fmt.Sprint(v...))
}
