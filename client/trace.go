package client

import (
	"context"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	nometrics "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// A payment's span, and under it the agent's own steps by the numbers and names of docs/life-of-a-payment.md. Steps 2 to 5 are the
// gateway's, under the call in between.
const (
	spanPayment    = "payment"
	stepRequest    = "1 agent"
	stepSignature  = "6 agent"
	stepSettlement = "7 settlement"
)

// tracer makes spans by a provider, or none by nil.
func tracer(tracers trace.TracerProvider) trace.Tracer {
	if tracers == nil {
		tracers = noop.NewTracerProvider()
	}
	return tracers.Tracer("github.com/halfkey/halfkey/client")
}

// observed lets the calls of a connection go on a trace, if there is a provider. Baggage is not sent: it is nobody's business here.
func observed(tracers trace.TracerProvider) []grpc.DialOption {
	if tracers == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(tracers), otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithMeterProvider(nometrics.NewMeterProvider())))}
}

// tracePayment starts the span of one call that works on a payment.
func (a *Agent) tracePayment(ctx context.Context, name string) (context.Context, trace.Span) {
	return a.c.tracer.Start(ctx, spanPayment, trace.WithAttributes(
		attribute.String("halfkey.wallet", a.wallet), attribute.String("halfkey.payment", name)))
}

// traceState says in the context's span what state a payment has.
func traceState(ctx context.Context, s typev1.PaymentState) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.String("halfkey.state", strings.TrimPrefix(s.String(), "PAYMENT_STATE_")))
	}
}

// endStep ends a step's span. Of an error it tells the reason alone.
func endStep(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		reason := strings.TrimPrefix(ReasonOf(err).String(), "REASON_")
		span.SetAttributes(attribute.String("halfkey.reason", reason))
		span.SetStatus(codes.Error, reason)
	}
	span.End()
}
