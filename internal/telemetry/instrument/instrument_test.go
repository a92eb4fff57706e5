package instrument_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// counted are a counter's values by one attribute; what stands at zero is left out.
func counted(t *testing.T, reader sdkmetric.Reader, m instrument.Metric, label string) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, scope := range all.ScopeMetrics {
		for _, found := range scope.Metrics {
			sum, ok := found.Data.(metricdata.Sum[int64])
			if !ok || found.Name != m.Name {
				continue
			}
			for _, point := range sum.DataPoints {
				if v, _ := point.Attributes.Value(attribute.Key(label)); point.Value > 0 {
					got[v.AsString()] += point.Value
				}
			}
		}
	}
	return got
}

func TestCounts(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	m := instrument.For("ledger", sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	ended, evidence := m.HoldsEnded(), m.Evidence()
	if err := m.Err(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	ended.Count(ctx, typev1.PaymentState_PAYMENT_STATE_SETTLED)
	ended.Count(ctx, typev1.PaymentState_PAYMENT_STATE_SETTLED)
	ended.Count(ctx, typev1.PaymentState(99)) // A later version's: it is counted, and makes no series of its own.
	if got, want := counted(t, reader, instrument.HoldsEnded, "state"), map[string]int64{"SETTLED": 2, "OTHER": 1}; !maps.Equal(got, want) {
		t.Errorf("ended holds are %v, want %v", got, want)
	}
	for r := range typev1.Reason_name {
		evidence.Refused(ctx, fault.New(typev1.Reason(r), typev1.MoneyMoved_MONEY_MOVED_NO, "no"))
	}
	evidence.Refused(ctx, nil)
	evidence.Refused(ctx, context.Canceled)
	want := map[string]int64{"BAD_STATEMENT": 1, "EVIDENCE_MISSING": 1, "EVIDENCE_STALE": 1, "EVIDENCE_MISMATCH": 1, "UNAUTHENTICATED": 1}
	if got := counted(t, reader, instrument.EvidenceRefused, "reason"); !maps.Equal(got, want) {
		t.Errorf("refused evidence is %v, want %v", got, want)
	}
}

// TestNobodyListens shows that what is not observed works as it does otherwise.
func TestNobodyListens(t *testing.T) {
	m := instrument.For("ledger", nil)
	m.Verdicts().Count(t.Context(), typev1.Light_LIGHT_GREEN)
	m.Evidence().Refused(t.Context(), errors.New("x"))
	m.Counter(instrument.Releases).Add(t.Context(), 1)
	m.Seconds(instrument.SettlementLag, 1).Record(t.Context(), 1)
	if err := m.Err(); err != nil {
		t.Error(err)
	}
	ctx, span := instrument.Tracer(nil).Start(t.Context(), "step")
	instrument.Payment(ctx, "w", "p")
	instrument.Recorded(ctx, nil)
	instrument.End(span, errors.New("x"))
}

func TestSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := instrument.Tracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))

	// Outside every trace, as when the ledger sweeps, there is none to begin.
	_, span := instrument.Within(t.Context(), tracer, "alone")
	instrument.End(span, nil)
	if got := recorder.Started(); len(got) != 0 {
		t.Fatalf("outside a trace a span %q is started", got[0].Name())
	}

	ctx, step := tracer.Start(t.Context(), "4 ledger")
	_, inner := instrument.Within(ctx, tracer, "inner")
	instrument.End(inner, fault.New(typev1.Reason_REASON_FROZEN, typev1.MoneyMoved_MONEY_MOVED_NO, "the text", "freeze_id", "the id"))
	instrument.Recorded(ctx, &typev1.Payment{Name: "wallets/w/payments/p", State: typev1.PaymentState_PAYMENT_STATE_DENIED})
	instrument.End(step, nil)
	var got []string
	for _, span := range recorder.Ended() {
		got = append(got, span.Name()+" "+span.Status().Code.String()+" "+span.Status().Description)
		for _, a := range span.Attributes() {
			got = append(got, string(a.Key)+"="+a.Value.AsString())
		}
	}
	want := []string{
		"inner " + codes.Error.String() + " FROZEN", "halfkey.reason=FROZEN",
		"4 ledger " + codes.Unset.String() + " ", "halfkey.wallet=wallets/w", "halfkey.payment=wallets/w/payments/p", "halfkey.state=DENIED",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
