package e2e_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// documentedSteps are the numbered steps of docs/life-of-a-payment.md, by number and the name that each begins with.
func documentedSteps(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/life-of-a-payment.md")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, m := range regexp.MustCompile(`(?m)^(\d)\. \*\*([A-Za-z-]+)\.?\*\*`).FindAllStringSubmatch(string(page), -1) {
		steps = append(steps, m[1]+" "+strings.ToLower(m[2]))
	}
	return steps
}

// TestOneTracePerPayment shows that a payment is one trace across the agent's program, the gateway and the services, with the steps
// that the docs number in their order, and that a log line of each service leads to it.
func TestOneTracePerPayment(t *testing.T) {
	o := observe(t)
	w := newWorld(t, o.options()...)
	ctx, cancel := context.WithTimeout(t.Context(), callMax)
	defer cancel()
	p, err := w.payer.Pay(ctx, w.order("traced", 2*usd))
	if err != nil {
		t.Fatal(err)
	}
	name := w.payer.Wallet() + "/payments/traced"
	if p.State != settled {
		t.Fatalf("the payment is %s", p.State)
	}
	var id string
	for _, span := range o.spans.Ended() {
		if span.Name() == "payment" && attributeOf(span, "halfkey.payment") == name {
			id = span.SpanContext().TraceID().String()
			if got := attributeOf(span, "halfkey.state"); got != "SETTLED" {
				t.Errorf("the payment's span has state %q, want SETTLED", got)
			}
		}
	}
	if id == "" {
		t.Fatal("the agent has no span of the payment")
	}
	spans := o.trace(t, id, "gateway", "halfkey.gateway.v1.GatewayService/SettlePayment")
	slices.SortFunc(spans, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	want := documentedSteps(t)
	if len(want) != 7 {
		t.Fatalf("the docs have steps %q, want 7", want)
	}
	var steps []string
	for _, span := range spans {
		if slices.Contains(want, span.Name()) {
			steps = append(steps, span.Name())
		}
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps are %q, want %q", steps, want)
	}

	// Each service has spans of its own below the step that asks it, and says what it has decided.
	for _, tt := range []struct{ service, method, within, key, value string }{
		{"identity", "halfkey.identity.v1.IdentityService/Authenticate", instrument.SpanAuthenticate, "", ""},
		{"policy", "halfkey.policy.v1.PolicyService/Judge", instrument.SpanJudge, "halfkey.light", "GREEN"},
		{"ledger", "halfkey.ledger.v1.LedgerService/CreatePayment", instrument.SpanWrite, "halfkey.state", "AUTHORIZED"},
		{"ledger", "halfkey.ledger.v1.LedgerService/SettlePayment", instrument.SpanWrite, "halfkey.state", "SETTLED"},
		{"cosigner", "halfkey.cosigner.v1.CosignerService/Release", instrument.SpanVerify, "", ""},
		{"cosigner", "halfkey.cosigner.v1.CosignerService/Release", instrument.SpanShare, "", ""},
	} {
		spans := o.trace(t, id, tt.service, tt.method)
		at := slices.IndexFunc(spans, func(s sdktrace.ReadOnlySpan) bool { return serviceOf(s) == tt.service && s.Name() == tt.method })
		if tt.key != "" {
			if got := attributeOf(spans[at], tt.key); got != tt.value {
				t.Errorf("%s has %s %q, want %q", tt.method, tt.key, got, tt.value)
			}
			if got := attributeOf(spans[at], "halfkey.payment"); got != name {
				t.Errorf("%s is about %q, want %q", tt.method, got, name)
			}
		}
		if !slices.ContainsFunc(spans, func(s sdktrace.ReadOnlySpan) bool {
			return s.Name() == tt.within && s.Parent().SpanID() == spans[at].SpanContext().SpanID()
		}) {
			t.Errorf("%s has no span %q", tt.method, tt.within)
		}
	}

	logged := make(map[string]bool)
	for line := range strings.Lines(o.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("a line is no JSON object: %v\n%s", err, line)
		}
		if fields["trace_id"] == id {
			logged[fields["service"].(string)] = true
		}
	}
	if got := slices.Sorted(maps.Keys(logged)); !slices.Equal(got, []string{"cosigner", "gateway", "identity", "ledger", "policy"}) {
		t.Errorf("the trace is in the logs of %q, want all five", got)
	}
}

// TestSpansSayNoMore bounds what spans have for attributes: one that is new is to be thought about.
func TestSpansSayNoMore(t *testing.T) {
	o := observe(t)
	w := newWorld(t, o.options()...)
	everyKind(t, w)
	may := []string{
		"halfkey.payment", "halfkey.wallet", "halfkey.light", "halfkey.state", "halfkey.reason",
		"rpc.method", "rpc.system.name", "rpc.response.status_code", "server.address", "server.port",
	}
	for _, span := range o.spans.Ended() {
		for _, a := range span.Attributes() {
			if !slices.Contains(may, string(a.Key)) {
				t.Errorf("span %q has attribute %s: %s", span.Name(), a.Key, a.Value.String())
			}
		}
		if len(span.Events()) > 0 || len(span.Links()) > 0 {
			t.Errorf("span %q has events %v or links %v", span.Name(), span.Events(), span.Links())
		}
	}
}

// everyKind makes a payment of each kind, a release that is refused for its evidence, and a freeze of each kind that ends.
func everyKind(t *testing.T, w *world) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*callMax)
	defer cancel()
	for id, want := range map[string]struct {
		units int64
		state typev1.PaymentState
	}{
		"green": {2 * usd, settled}, "yellow": {6 * usd, pendingReview}, "red": {2000 * usd, denied},
	} {
		p, err := w.payer.Pay(ctx, w.order(id, want.units))
		if err != nil || p.State != want.state {
			t.Fatalf("%s: %v, %v", id, p, err)
		}
	}
	if _, err := w.Owner().Approve(ctx, w.payer.Wallet()+"/payments/yellow"); err != nil {
		t.Fatal(err)
	}
	if p, err := w.payer.Wait(ctx, "yellow"); err != nil || p.State != settled {
		t.Fatalf("yellow: %v, %v", p, err)
	}
	if _, err := w.payer.Freeze(ctx, "stop"); err != nil {
		t.Fatal(err)
	}
	if p, err := w.payer.Pay(ctx, w.order("frozen", usd)); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Fatalf("a frozen wallet pays: %v, %v", p, err)
	}
	if _, err := w.Owner().Unfreeze(ctx, w.payer.Wallet(), "stop"); err != nil {
		t.Fatal(err)
	}
}

// withoutReceipt takes the ledger's receipt out of what the co-signer is asked, as a gateway does that was broken into.
type withoutReceipt struct{ grpc.ClientConnInterface }

func (c withoutReceipt) Invoke(ctx context.Context, method string, req, resp any, options ...grpc.CallOption) error {
	if r, ok := req.(*cosignerv1.ReleaseRequest); ok {
		req = &cosignerv1.ReleaseRequest{Message: r.GetMessage(), Request: r.GetRequest(), Verdict: r.GetVerdict(), Review: r.GetReview()}
	}
	return c.ClientConnInterface.Invoke(ctx, method, req, resp, options...)
}

// sample is one series of an exposition.
var sample = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{([^}]*)\})? (\S+)$`)

// value sums a metric's series that have all of labels, each as Prometheus writes it.
func value(t *testing.T, exposition, name string, labels ...string) float64 {
	t.Helper()
	var sum float64
	for _, m := range sample.FindAllStringSubmatch(exposition, -1) {
		if m[1] != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(m[2], l) }) {
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// TestMetrics shows that each metric counts what its documentation says, and that the page has all that there are, and no other.
func TestMetrics(t *testing.T) {
	o := observe(t)
	clock := halfkeytest.NewClock(time.Now())
	var tamper, lose bool
	w := &world{System: halfkeytest.Start(t, append(o.options(), halfkeytest.WithClock(clock),
		halfkeytest.WithWrap(func(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
			return switched{conn, func() grpc.ClientConnInterface {
				if service == "cosigner" && tamper {
					return withoutReceipt{conn}
				}
				if service == "ledger" && lose {
					return lost{conn}
				}
				return conn
			}}
		}))...)}
	w.shop = w.Agent("Shop")
	w.payer, w.home = w.agent(t, "Payer")
	w.GuardRails(w.payer, w.rules())
	w.Fund(w.payer, funds)
	everyKind(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), callMax)
	defer cancel()
	if _, err := w.payer.DryRun(ctx, w.order("", usd)); err != nil {
		t.Fatal(err)
	}
	tamper = true
	if _, err := w.payer.Pay(ctx, w.order("tampered", usd)); client.ReasonOf(err) != typev1.Reason_REASON_EVIDENCE_MISSING {
		t.Fatalf("without a receipt: %v", err)
	}
	tamper = false
	if p, err := w.payer.Resume(ctx, "tampered"); err != nil || p.State != settled {
		t.Fatalf("with the receipt: %v, %v", p, err)
	}
	lose = true
	if _, err := w.payer.Pay(ctx, w.order("late", usd)); err == nil {
		t.Fatal("a settlement that is lost settles")
	}
	lose = false
	clock.Advance(3 * time.Minute) // Its message dies.
	if p, err := w.payer.Resume(ctx, "late"); err != nil || p.State != settled {
		t.Fatalf("late: %v, %v", p, err)
	}
	if _, err := w.Operator().Freeze(ctx, "all"); err != nil {
		t.Fatal(err)
	}
	o.flush(t)

	exposed := make(map[string]string)
	for service := range o.services {
		exposed[string(service)] = o.metrics(t, service)
	}
	for _, tt := range []struct {
		service, name string
		labels        []string
		want          float64
	}{
		// green, yellow twice, red, tampered twice, late twice. The frozen one was judged by policy alone, and again after the gateway had
		// seen that the holders do not differ.
		{"policy", "halfkey_verdicts_total", []string{`by="policy"`, `light="GREEN"`}, 7},
		{"policy", "halfkey_verdicts_total", []string{`light="YELLOW"`}, 2},
		{"policy", "halfkey_verdicts_total", []string{`light="RED"`}, 1},
		{"ledger", "halfkey_verdicts_total", []string{`by="ledger"`, `light="GREEN"`}, 5},
		{"ledger", "halfkey_verdicts_total", []string{`light="YELLOW"`}, 2},
		{"ledger", "halfkey_verdicts_total", []string{`light="RED"`}, 1},
		{"ledger", "halfkey_holds_opened_total", nil, 5},
		{"ledger", "halfkey_holds_ended_total", []string{`state="SETTLED"`}, 4},
		{"ledger", "halfkey_holds_ended_total", []string{`state="READY"`}, 1},
		{"ledger", "halfkey_holds_ended_total", []string{`state="EXPIRED"`}, 0},
		{"ledger", "halfkey_settlement_lag_seconds_count", nil, 4},
		{"ledger", "halfkey_freezes_total", []string{`by="ledger"`, `scope="WALLET"`}, 1},
		{"ledger", "halfkey_freezes_total", []string{`scope="INSTALLATION"`}, 1},
		{"ledger", "halfkey_evidence_refused_total", nil, 0},
		{"ledger", "halfkey_reserve_whole", nil, 1},
		{"ledger", "halfkey_reserve_size_bytes", nil, 8 << 20},
		{"cosigner", "halfkey_freezes_total", []string{`by="cosigner"`, `scope="WALLET"`}, 1},
		{"cosigner", "halfkey_freezes_total", []string{`scope="INSTALLATION"`}, 1},
		{"cosigner", "halfkey_releases_total", nil, 5},
		{"cosigner", "halfkey_releases_refused_total", []string{`reason="EVIDENCE_MISSING"`}, 1},
		{"cosigner", "halfkey_evidence_refused_total", []string{`by="cosigner"`, `reason="EVIDENCE_MISSING"`}, 1},
	} {
		if got := value(t, exposed[tt.service], tt.name, tt.labels...); got != tt.want {
			t.Errorf("%s %s %q is %v, want %v", tt.service, tt.name, tt.labels, got, tt.want)
		}
	}
	for service, exposition := range exposed { // All have had a payment's spans by now.
		if value(t, exposition, "halfkey_spans_lost_total") == 0 {
			t.Errorf("%s has lost no spans, and nobody takes them", service)
		}
	}
	wantDocumented(t, slices.Collect(maps.Values(exposed)))
}

// typed are the names and kinds of an exposition.
var typed = regexp.MustCompile(`(?m)^# TYPE (\S+) `)

// wantDocumented compares what is exposed with the table of docs/telemetry.md, both ways.
func wantDocumented(t *testing.T, expositions []string) {
	t.Helper()
	names := make(map[string]bool)
	for _, exposition := range expositions {
		for _, m := range typed.FindAllStringSubmatch(exposition, -1) {
			if strings.HasPrefix(m[1], "halfkey_") || strings.HasPrefix(m[1], "rpc_") || m[1] == "target_info" {
				names[m[1]] = true
			}
		}
	}
	exposed, documented := slices.Sorted(maps.Keys(names)), documentedMetrics(t)
	slices.Sort(documented)
	if !slices.Equal(exposed, documented) {
		t.Errorf("exposed are\n%s\nand documented are\n%s", strings.Join(exposed, "\n"), strings.Join(documented, "\n"))
	}
	for _, m := range instrument.Metrics() {
		if !names[m.Exposed()] {
			t.Errorf("%s is not exposed as %s", m.Name, m.Exposed())
		}
	}
}

// documentedMetrics are the names that begin the rows of docs/telemetry.md's table.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(telemetryPage(t), -1) {
		names = append(names, m[1])
	}
	return names
}

func telemetryPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestDashboard shows that the dashboard asks for what is documented, and for every metric of ours.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile("../../deploy/telemetry/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string `json:"title"`
		Panels []struct {
			ID                 int `json:"id"`
			Title, Description string
			Targets            []struct {
				Expr string `json:"expr"`
			}
		} `json:"panels"`
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	page := telemetryPage(t)
	ids, asked := make(map[int]bool), make(map[string]bool)
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" || panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %d %q lacks an id of its own, a title, a description or a target", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			found := regexp.MustCompile(`\b(?:halfkey|rpc_server|rpc_client|go|process|target)_[a-z_]+`).FindAllString(target.Expr, -1)
			if len(found) == 0 {
				t.Errorf("panel %q asks for no metric: %s", panel.Title, target.Expr)
			}
			for _, name := range found {
				for _, suffix := range []string{"_bucket", "_count", "_sum"} {
					name = strings.TrimSuffix(name, suffix)
				}
				asked[name] = true
				if !strings.Contains(page, "`"+name+"`") {
					t.Errorf("panel %q asks for %s, which docs/telemetry.md does not have", panel.Title, name)
				}
			}
		}
	}
	for _, m := range instrument.Metrics() {
		if !asked[m.Exposed()] {
			t.Errorf("no panel shows %s", m.Exposed())
		}
	}
}

// switched chooses a connection anew for each call.
type switched struct {
	grpc.ClientConnInterface
	now func() grpc.ClientConnInterface
}

func (s switched) Invoke(ctx context.Context, method string, req, resp any, options ...grpc.CallOption) error {
	return s.now().Invoke(ctx, method, req, resp, options...)
}

// lost lets no settlement arrive.
type lost struct{ grpc.ClientConnInterface }

func (c lost) Invoke(ctx context.Context, method string, req, resp any, options ...grpc.CallOption) error {
	if method == ledgerv1.LedgerService_SettlePayment_FullMethodName {
		return context.DeadlineExceeded
	}
	return c.ClientConnInterface.Invoke(ctx, method, req, resp, options...)
}
