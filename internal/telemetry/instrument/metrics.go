package instrument

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Scope is the name under which all of these instruments are made.
const Scope = "github.com/halfkey/halfkey"

// bytes is UCUM's name for them.
const bytes = "By"

// Metric is one metric. docs/telemetry.md has them all with what they are good for, and a test holds the two together.
type Metric struct {
	// Name is OpenTelemetry's; Unit is UCUM's, as its conventions have it.
	Name, Unit, Help string
	// seconds says that it is a histogram of durations, gauge that it is what is there now; everything else counts.
	seconds, gauge bool
}

// The metrics. What they count is counted where it is decided: a verdict where it is signed or recorded, not where it passes by.
var (
	Verdicts = Metric{
		Name: "halfkey.verdicts", Unit: "{verdict}",
		Help: "Payments judged, by who judged them and by light; policy judges without history, the ledger with it.",
	}
	HoldsOpened = Metric{
		Name: "halfkey.holds.opened", Unit: "{hold}",
		Help: "Payments that became AUTHORIZED: their units are held, and their shares may be out.",
	}
	HoldsEnded = Metric{
		Name: "halfkey.holds.ended", Unit: "{hold}",
		Help: "Holds that ended, by the state that their payments took: SETTLED by proof, READY or EXPIRED because the message is dead, " +
			"FAILED because it landed with an error.",
	}
	Releases = Metric{
		Name: "halfkey.releases", Unit: "{release}",
		Help: "Shares that left the co-signer. A repeat of the same payment counts again.",
	}
	ReleasesRefused = Metric{
		Name: "halfkey.releases.refused", Unit: "{release}",
		Help: "Releases that the co-signer refused, by reason.",
	}
	EvidenceRefused = Metric{
		Name: "halfkey.evidence.refused", Unit: "{statement}",
		Help: "Calls refused because a piece of evidence was missing, stale, about something else or not verifiable, by who refused and reason.",
	}
	SettlementLag = Metric{
		Name: "halfkey.settlement.lag", Unit: "s", seconds: true,
		Help: "The ledger's time from a payment's last authorization to its settlement.",
	}
	Freezes = Metric{
		Name: "halfkey.freezes", Unit: "{freeze}",
		Help: "Freezes and revocations recorded, by scope.",
	}
	ReserveWhole = Metric{
		Name: "halfkey.reserve.whole", Unit: "{reserve}", gauge: true,
		Help: "1 while the ledger has all of the disk that it keeps for freezes; 0 while that is given up, or could not be had.",
	}
	ReserveSize = Metric{
		Name: "halfkey.reserve.size", Unit: bytes, gauge: true,
		Help: "The size of the file that keeps disk for freezes.",
	}
	ChainUnprovenAge = Metric{
		Name: "halfkey.chain.unproven.age", Unit: "s", gauge: true,
		Help: "The ledger's time since the last authorization of the payment whose message has waited longest for a chain's proof; " +
			"0 without one.",
	}
	ChainUnknown = Metric{
		Name: "halfkey.chain.unknown", Unit: "{look}",
		Help: "Looks at a chain that its endpoints did not answer with a proof, by what was looked at: " +
			"they are down, behind, pruned or disagree, or a message may still land.",
	}
	ChainOutflows = Metric{
		Name: "halfkey.chain.outflows", Unit: "{transaction}",
		Help: "Transactions that took tokens from a wallet on a chain and settled none of its payments.",
	}
	SpansLost = Metric{
		Name: "halfkey.spans.lost", Unit: "{span}",
		Help: "Spans that the collector did not take.",
	}
)

// Metrics are all of them.
func Metrics() []Metric {
	return []Metric{
		Verdicts, HoldsOpened, HoldsEnded, Releases, ReleasesRefused, EvidenceRefused, SettlementLag, Freezes, ReserveWhole, ReserveSize,
		ChainUnprovenAge, ChainUnknown, ChainOutflows, SpansLost,
	}
}

// Exposed is the name under which Prometheus sees it; a histogram's series have _bucket, _count and _sum after it.
func (m Metric) Exposed() string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	switch {
	case m.seconds, m.gauge && m.Unit == "s":
		return name + "_seconds"
	case m.gauge && m.Unit == bytes:
		return name + "_bytes"
	case m.gauge:
		return name
	}
	return name + "_total"
}

// Maker makes the instruments of one service, and keeps the first error for Err.
type Maker struct {
	meter metric.Meter
	by    string
	err   error
}

// For makes a maker for a service, which is named where several count the same. With a nil provider everything counts for nobody.
func For(service string, meters metric.MeterProvider) *Maker {
	if meters == nil {
		meters = noop.NewMeterProvider()
	}
	return &Maker{meter: meters.Meter(Scope), by: service}
}

// Err says what could not be made.
func (k *Maker) Err() error {
	if k.err != nil {
		return fmt.Errorf("%s: metrics: %w", k.by, k.err)
	}
	return nil
}

// Counter makes a metric that counts without attributes.
func (k *Maker) Counter(m Metric) metric.Int64Counter {
	c, err := k.meter.Int64Counter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	k.err = errors.Join(k.err, err)
	return c
}

// Gauge makes a metric of what is there now, which is looked at when somebody asks, until stop.
func (k *Maker) Gauge(m Metric, now func() int64) (stop func() error) {
	gauge, err := k.meter.Int64ObservableGauge(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	k.err = errors.Join(k.err, err)
	if err != nil {
		return func() error { return nil }
	}
	looked, err := k.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(gauge, now())
		return nil
	}, gauge)
	k.err = errors.Join(k.err, err)
	if err != nil {
		return func() error { return nil }
	}
	return looked.Unregister
}

// Seconds makes a histogram of durations with these bounds.
func (k *Maker) Seconds(m Metric, bounds ...float64) metric.Float64Histogram {
	h, err := k.meter.Float64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help),
		metric.WithExplicitBucketBoundaries(bounds...))
	k.err = errors.Join(k.err, err)
	return h
}

// Counts counts by one attribute whose few values are known when it is made, so that counting makes no attribute set.
type Counts[K comparable] struct {
	counter metric.Int64Counter
	options map[K][]metric.AddOption
	other   []metric.AddOption
}

// Count counts one.
func (c *Counts[K]) Count(ctx context.Context, k K) {
	options, ok := c.options[k]
	if !ok {
		options = c.other
	}
	c.counter.Add(ctx, 1, options...)
}

// newCounts makes a counter by the attribute named label. shared says that several services count the same. shown are the values
// whose series are there from the start, at zero: a first refusal is then a step up, which a rate sees.
func newCounts[K comparable](k *Maker, m Metric, shared bool, label string, name func(K) string, all, shown []K) *Counts[K] {
	option := func(value string) []metric.AddOption {
		attributes := []attribute.KeyValue{attribute.String(label, value)}
		if shared {
			attributes = append(attributes, attribute.String(labelBy, k.by))
		}
		return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
	}
	c := &Counts[K]{counter: k.Counter(m), options: make(map[K][]metric.AddOption, len(all)), other: option("OTHER")}
	for _, key := range all {
		c.options[key] = option(name(key))
	}
	for _, key := range shown {
		c.counter.Add(context.Background(), 0, c.options[key]...)
	}
	return c
}

// The attributes of metrics.
const (
	labelBy     = "by"
	labelLight  = "light"
	labelState  = "state"
	labelReason = "reason"
	labelScope  = "scope"
	labelAt     = "at"
)

// Verdicts counts verdicts by light.
func (k *Maker) Verdicts() *Counts[typev1.Light] {
	all := []typev1.Light{typev1.Light_LIGHT_GREEN, typev1.Light_LIGHT_YELLOW, typev1.Light_LIGHT_RED}
	return newCounts(k, Verdicts, true, labelLight, LightName, all, all)
}

// HoldsEnded counts ended holds by the state that their payments took.
func (k *Maker) HoldsEnded() *Counts[typev1.PaymentState] {
	all := []typev1.PaymentState{
		typev1.PaymentState_PAYMENT_STATE_SETTLED, typev1.PaymentState_PAYMENT_STATE_READY, typev1.PaymentState_PAYMENT_STATE_EXPIRED,
		typev1.PaymentState_PAYMENT_STATE_FAILED,
	}
	return newCounts(k, HoldsEnded, false, labelState, StateName, all, all)
}

// What ChainUnknown was looked at.
const (
	AtMessage = "MESSAGE"
	AtAccount = "ACCOUNT"
)

// ChainUnknown counts looks at a chain that proved nothing, by what was looked at.
func (k *Maker) ChainUnknown() *Counts[string] {
	all := []string{AtMessage, AtAccount}
	return newCounts(k, ChainUnknown, false, labelAt, func(at string) string { return at }, all, all)
}

// Freezes counts freezes by scope.
func (k *Maker) Freezes() *Counts[typev1.Scope] {
	all := []typev1.Scope{typev1.Scope_SCOPE_WALLET, typev1.Scope_SCOPE_OWNER, typev1.Scope_SCOPE_INSTALLATION}
	return newCounts(k, Freezes, true, labelScope, ScopeName, all, all)
}

// ReleasesRefused counts refused releases by reason.
func (k *Maker) ReleasesRefused() *Counts[typev1.Reason] {
	return newCounts(k, ReleasesRefused, false, labelReason, fault.ReasonName, reasons(), evidenceReasons())
}

// Evidence counts refused evidence.
type Evidence struct{ counts *Counts[typev1.Reason] }

// Evidence counts refused evidence by reason.
func (k *Maker) Evidence() *Evidence {
	return &Evidence{counts: newCounts(k, EvidenceRefused, true, labelReason, fault.ReasonName, evidenceReasons(), evidenceReasons())}
}

// Refused counts an error if it refuses evidence; other errors and nil it leaves alone.
func (e *Evidence) Refused(ctx context.Context, err error) {
	if err == nil {
		return
	}
	if reason := fault.Of(err).Reason; e.counts.options[reason] != nil { // Else it was refused for something else.
		e.counts.Count(ctx, reason)
	}
}

// evidenceReasons are those that say that evidence was refused. UNAUTHENTICATED is what identity says of a token or request that
// does not verify.
func evidenceReasons() []typev1.Reason {
	return []typev1.Reason{
		typev1.Reason_REASON_BAD_STATEMENT, typev1.Reason_REASON_EVIDENCE_MISSING, typev1.Reason_REASON_EVIDENCE_STALE,
		typev1.Reason_REASON_EVIDENCE_MISMATCH, typev1.Reason_REASON_UNAUTHENTICATED,
	}
}

func reasons() []typev1.Reason {
	all := make([]typev1.Reason, 0, len(typev1.Reason_name))
	for r := range typev1.Reason_name {
		all = append(all, typev1.Reason(r))
	}
	return all
}

// LightName is a light as logs and pages have it.
func LightName(l typev1.Light) string { return strings.TrimPrefix(l.String(), "LIGHT_") }

// StateName is a payment's state as logs and pages have it.
func StateName(s typev1.PaymentState) string { return strings.TrimPrefix(s.String(), "PAYMENT_STATE_") }

// ScopeName is a freeze's scope as logs and pages have it.
func ScopeName(s typev1.Scope) string { return strings.TrimPrefix(s.String(), "SCOPE_") }
