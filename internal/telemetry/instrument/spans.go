package instrument

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The steps of a payment that are taken on this side, by the numbers and names of docs/life-of-a-payment.md. Steps 1, 6 and 7 are the
// agent's, and named in client.
const (
	StepIdentity = "2 identity"
	StepPolicy   = "3 policy"
	StepLedger   = "4 ledger"
	StepCosigner = "5 co-signer"
)

// Within the services: what a step's time goes into.
const (
	SpanAuthenticate = "authenticate"
	SpanJudge        = "judge"
	SpanWrite        = "decide and store"
	SpanVerify       = "verify evidence"
	SpanShare        = "check freezes and share"
)

// The attributes of spans.
const (
	attrPayment = attribute.Key("halfkey.payment")
	attrWallet  = attribute.Key("halfkey.wallet")
	attrLight   = attribute.Key("halfkey.light")
	attrState   = attribute.Key("halfkey.state")
	attrReason  = attribute.Key("halfkey.reason")
)

// Tracer makes spans. A nil provider records none.
func Tracer(tracers trace.TracerProvider) trace.Tracer {
	if tracers == nil {
		tracers = noop.NewTracerProvider()
	}
	return tracers.Tracer(Scope)
}

// Within starts a span inside the context's trace. Outside every trace, as when the ledger sweeps, it starts none.
func Within(ctx context.Context, tracer trace.Tracer, name string) (context.Context, trace.Span) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, trace.SpanFromContext(ctx)
	}
	return tracer.Start(ctx, name)
}

// Payment says which payment the context's span is about.
func Payment(ctx context.Context, wallet, payment string) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrWallet.String(wallet), attrPayment.String(payment))
	}
}

// Light says how the context's span has judged.
func Light(ctx context.Context, l typev1.Light) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrLight.String(LightName(l)))
	}
}

// State says what state a payment has taken in the context's span.
func State(ctx context.Context, s typev1.PaymentState) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrState.String(StateName(s)))
	}
}

// Recorded says what the ledger has recorded of a payment, in the context's span; nil is nothing.
func Recorded(ctx context.Context, p *typev1.Payment) {
	if p == nil {
		return
	}
	wallet, _, _ := strings.Cut(p.GetName(), "/payments/")
	Payment(ctx, wallet, p.GetName())
	State(ctx, p.GetState())
}

// End ends a span. Of an error it tells the reason; the text stays in the log, where the error stops.
func End(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		reason := fault.ReasonName(fault.Of(err).Reason)
		span.SetAttributes(attrReason.String(reason))
		span.SetStatus(codes.Error, reason)
	}
	span.End()
}
