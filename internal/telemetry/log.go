package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// newLogger writes what a program has to say. service, installation and version stand in every line.
func newLogger(c Config) *slog.Logger {
	json := slog.NewJSONHandler(c.LogOutput, &slog.HandlerOptions{Level: c.LogLevel})
	return slog.New(traced{json}).With("service", c.Service, "installation", c.Installation, "version", c.Version)
}

// traced adds the ids of the context's span to each record.
type traced struct{ slog.Handler }

// Handle implements slog.Handler.
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone() // Its attributes may be shared.
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
