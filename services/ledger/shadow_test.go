package ledger

import (
	"database/sql"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// shadowRails are the rules that reports are judged by in these tests: over 5 USD a person decides, over 100 USD is refused, a day
// over 20 USD a person decides and over 50 USD is refused.
func shadowRails(doc *typev1.GuardRails) {
	daily := limit(typev1.Window_WINDOW_DAY, 50*usd, red)
	doc.Limits = []*typev1.Limit{
		limit(typev1.Window_WINDOW_PAYMENT, 5*usd, yellow), limit(typev1.Window_WINDOW_PAYMENT, 100*usd, red),
		limit(typev1.Window_WINDOW_DAY, 20*usd, yellow), daily,
	}
}

func (f *fixture) report(
	w *evidencetest.Wallet, id string, units int64, edit func(*ledgerv1.ReportShadowPaymentRequest),
) (*typev1.ShadowPayment, error) {
	req := &ledgerv1.ReportShadowPaymentRequest{
		Parent: w.Name, ShadowPaymentId: id, Asset: f.Installation.BookUSD(), Units: fmt.Sprint(units),
		Method: "GET", Scheme: "https", Host: "api.example", Path: "/report",
	}
	if edit != nil {
		edit(req)
	}
	resp, err := f.client.ReportShadowPayment(f.t.Context(), req)
	return resp.GetShadowPayment(), err
}

// mustReport reports what has to meet a light.
func (f *fixture) mustReport(
	w *evidencetest.Wallet, id string, units int64, want typev1.Light, edit func(*ledgerv1.ReportShadowPaymentRequest),
) *typev1.ShadowPayment {
	f.t.Helper()
	got, err := f.report(w, id, units, edit)
	if err != nil {
		f.t.Fatalf("ReportShadowPayment %s: %v", id, err)
	}
	if got.GetLight() != want || got.GetEnforcement() != typev1.Enforcement_ENFORCEMENT_NOT_ENFORCED {
		f.t.Fatalf("ReportShadowPayment %s: got %s, %s, want %s not enforced; results %v", id, got.GetLight(), got.GetEnforcement(), want,
			got.GetResults())
	}
	return got
}

func (f *fixture) summary(parent string, edit func(*ledgerv1.GetShadowSummaryRequest)) []*typev1.ShadowSummaryRow {
	f.t.Helper()
	req := &ledgerv1.GetShadowSummaryRequest{Parent: parent}
	if edit != nil {
		edit(req)
	}
	resp, err := f.client.GetShadowSummary(f.t.Context(), req)
	if err != nil {
		f.t.Fatalf("GetShadowSummary: %v", err)
	}
	if resp.GetEnforcement() != typev1.Enforcement_ENFORCEMENT_NOT_ENFORCED {
		f.t.Errorf("a summary claims %s", resp.GetEnforcement())
	}
	return resp.GetRows()
}

// everything is what a database holds of money, windows and journals.
func (f *fixture) everything() []string {
	f.t.Helper()
	db, err := sql.Open("sqlite", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	var out []string
	for _, text := range []string{
		`SELECT 'chain ' || name || number || hex(hash) || clock_millis || open_payments FROM chain ORDER BY name`,
		`SELECT 'entry ' || chain || number || hex(bytes) FROM entry ORDER BY chain, number`,
		`SELECT 'balance ' || account || asset || available || held FROM balance ORDER BY account, asset`,
		`SELECT 'supply ' || asset || units FROM supply ORDER BY asset`,
		`SELECT 'window ' || wallet || unit || span || slot || units || payments FROM window_sum ORDER BY wallet, unit, span, slot`,
		`SELECT 'payment ' || id || wallet || state || units FROM payment ORDER BY wallet, id`,
		`SELECT 'change ' || owner || sequence || state FROM payment_change ORDER BY owner, sequence`,
		`SELECT 'paid ' || wallet || what || hex(recipient) || units FROM x402_paid ORDER BY wallet, what`,
	} {
		query(f.t, db, text, func(r scanner) error {
			var line string
			err := r.Scan(&line)
			out = append(out, line)
			return err
		})
	}
	return out
}

// Shadow reports change nothing that is about money: neither balances, windows, journals nor spending, whatever light they met, and
// what the wallet may pay is the same after them.
func TestShadowMovesNothing(t *testing.T) {
	f := start(t)
	payer, payee := f.two(shadowRails, watching)
	p := f.payment(payer, evidencetest.PaymentConfig{ID: "real", To: payee.GroupKey, Units: 2 * usd, EditIntent: buys("api.example")})
	f.must(p, authorized)
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	limits := func() *typev1.Limits {
		resp, err := f.client.GetLimits(t.Context(), &ledgerv1.GetLimitsRequest{Wallet: payer.Name})
		if err != nil {
			t.Fatal(err)
		}
		resp.Limits.Head = nil // Signed anew each time.
		return resp.GetLimits()
	}
	spending := func() *ledgerv1.GetSpendingResponse {
		resp, err := f.client.GetSpending(t.Context(), &ledgerv1.GetSpendingRequest{Parent: payer.Name})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	before, room, spent := f.everything(), limits(), spending()
	f.mustReport(payer, "green", 2*usd, green, nil)
	f.mustReport(payer, "yellow", 6*usd, red, nil) // Its price has risen by more than a fifth: drift refuses it.
	f.mustReport(payer, "other-host", 6*usd, yellow, func(r *ledgerv1.ReportShadowPaymentRequest) { r.Host = "shop.example" })
	f.mustReport(payer, "red", 101*usd, red, nil)
	if diff := cmp.Diff(before, f.everything()); diff != "" {
		t.Errorf("reports have changed what is about money (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(room, limits(), protocmp.Transform()); diff != "" {
		t.Errorf("reports have changed the limits' use:\n%s", diff)
	}
	if diff := cmp.Diff(spent, spending(), protocmp.Transform()); diff != "" {
		t.Errorf("reports are in spending:\n%s", diff)
	}
	if _, err := f.client.GetPayment(t.Context(), &ledgerv1.GetPaymentRequest{Name: payer.Name + "/payments/green"}); err == nil {
		t.Error("a report is found as a payment")
	}
	// The id of a report is free for a payment.
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "green", To: payee.GroupKey, Units: 2 * usd, EditIntent: buys("api.example")}),
		authorized)
}

// A report is judged over the payments of the wallet and the reports before it, those that guard rails would have refused left out;
// also over those of the same batch, and after a restart.
func TestShadowWindows(t *testing.T) {
	f := start(t)
	payer, payee := f.two(shadowRails)
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "real", To: payee.GroupKey, Units: 5 * usd}), authorized)
	f.mustReport(payer, "first", 5*usd, green, nil)
	f.mustReport(payer, "refused", 200*usd, red, nil)
	f.mustReport(payer, "asked", 8*usd, yellow, nil)
	f.reopen()
	got := f.mustReport(payer, "third", 3*usd, yellow, nil)
	var day *typev1.RuleResult
	for _, r := range got.GetResults() {
		if r.GetRule() == typev1.Rule_RULE_LIMIT && r.GetIndex() == 2 {
			day = r
		}
	}
	if day.GetObserved() != fmt.Sprint(21*usd) || day.GetRoom() != fmt.Sprint(2*usd) {
		t.Errorf("the day of reports is %v, want 21 USD observed and 2 USD left", day)
	}
	// 21 of 50 USD: of 20 more at the same time six fit.
	var wg sync.WaitGroup
	lights := make(chan typev1.Light, 20)
	for n := range 20 {
		wg.Go(func() {
			p, err := f.report(payer, fmt.Sprint("many-", n), 4*usd, nil)
			if err != nil {
				t.Error(err)
			}
			lights <- p.GetLight()
		})
	}
	wg.Wait()
	close(lights)
	counts := make(map[typev1.Light]int)
	for l := range lights {
		counts[l]++
	}
	if counts[yellow] != 7 || counts[red] != 13 {
		t.Errorf("of 20 reports at once %v, want 7 that a person decides and 13 refused", counts)
	}
	f.clock.set(noon.AddDate(0, 0, 1))
	f.mustReport(payer, "tomorrow", 5*usd, green, nil)
}

// The rules about HTTP requests see what was reported before: a price that rises, another recipient; and without a recipient no rule
// about one is judged.
func TestShadowRequests(t *testing.T) {
	f := start(t)
	payer, payee := f.two(shadowRails, watching)
	to := func(key [32]byte) func(*ledgerv1.ReportShadowPaymentRequest) {
		return func(r *ledgerv1.ReportShadowPaymentRequest) { r.Recipient = key[:] }
	}
	rules := func(p *typev1.ShadowPayment) string { return shadowRules(p.GetResults()) }
	first := f.mustReport(payer, "first", 1*usd, green, to(payee.GroupKey))
	for _, rule := range []typev1.Rule{typev1.Rule_RULE_RECIPIENT, typev1.Rule_RULE_X402_CHANGED_RECIPIENT} {
		if !strings.Contains(fmt.Sprint(first.GetResults()), rule.String()) {
			t.Errorf("%s was not judged: %v", rule, first.GetResults())
		}
	}
	if got := rules(f.mustReport(payer, "drift", 13*usd/10, red, nil)); got != fmt.Sprintf("%d.0.3", typev1.Rule_RULE_X402_DRIFT) {
		t.Errorf("a price that has risen by 30%%: got %s", got)
	}
	stranger := f.mustReport(payer, "stranger", 1*usd, yellow, to([32]byte{1, 2, 3}))
	if got := rules(stranger); !strings.Contains(got, fmt.Sprintf("%d.0.2", typev1.Rule_RULE_RECIPIENT)) ||
		!strings.Contains(got, fmt.Sprintf("%d.0.2", typev1.Rule_RULE_X402_CHANGED_RECIPIENT)) {
		t.Errorf("a stranger at the host: got %s", got)
	}
	silent := f.mustReport(payer, "silent", 1*usd, green, nil)
	if strings.Contains(fmt.Sprint(silent.GetResults()), "RECIPIENT") {
		t.Errorf("a rule about recipients was judged without one: %v", silent.GetResults())
	}
	f.mustReport(payer, "elsewhere", 1*usd, red, func(r *ledgerv1.ReportShadowPaymentRequest) { r.Host = "other.example" })
}

// The same id is the same report, whatever has changed since; with other content it is refused, naming the field.
func TestShadowRepeats(t *testing.T) {
	f := start(t)
	payer, payee := f.two(shadowRails)
	first := f.mustReport(payer, "same", 5*usd, green, nil)
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.Limits[0].Amount = "1" })
	f.clock.advance(time.Hour)
	again := f.mustReport(payer, "same", 5*usd, green, nil)
	if !proto.Equal(first, again) {
		t.Errorf("a repeat is answered with %v, want %v", again, first)
	}
	for _, tt := range []struct {
		field string
		edit  func(*ledgerv1.ReportShadowPaymentRequest)
	}{
		{"units", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Units = "1" }},
		{"method", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Method = "POST" }},
		{"scheme", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Scheme = "http" }},
		{"host", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Host = "other.example" }},
		{"path", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Path = "/" }},
		{"recipient", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Recipient = payee.GroupKey[:] }},
	} {
		_, err := f.report(payer, "same", 5*usd, tt.edit)
		if got := wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS, movedNo); got.Metadata["field"] != tt.field {
			t.Errorf("another %s: the refusal names %q", tt.field, got.Metadata["field"])
		}
	}
	rows := f.summary(payer.Name, nil)
	if len(rows) != 1 || rows[0].GetCount() != 1 {
		t.Errorf("the summary of one report is %v", rows)
	}
}

// What may not be reported is refused and leaves nothing behind.
func TestShadowRefused(t *testing.T) {
	f := start(t)
	payer, _ := f.two(shadowRails)
	for _, tt := range []struct {
		name, field string
		edit        func(*ledgerv1.ReportShadowPaymentRequest)
	}{
		{"another asset", "asset", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Asset = "halfkey:other/iso4217:USD" }},
		{"nothing", "units", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Units = "0" }},
		{"too much", "units", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Units = fmt.Sprint(ShadowUnitsMax + 1) }},
		{"more than a number", "units", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Units = fmt.Sprint(uint64(math.MaxUint64)) }},
		{"an id that is none", "shadow_payment_id", func(r *ledgerv1.ReportShadowPaymentRequest) { r.ShadowPaymentId = "No/id" }},
		{"a method that is none", "method", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Method = "get" }},
		{"a scheme that is none", "scheme", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Scheme = "ftp" }},
		{"a host that is none", "host", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Host = "API.example/x" }},
		{"a path that is none", "path", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Path = "x?y" }},
		{"half a recipient", "recipient", func(r *ledgerv1.ReportShadowPaymentRequest) { r.Recipient = make([]byte, 16) }},
	} {
		_, err := f.report(payer, "x", usd, tt.edit)
		if got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo); got.Metadata["field"] != tt.field {
			t.Errorf("%s: the refusal names %q, want %q", tt.name, got.Metadata["field"], tt.field)
		}
	}
	unclaimed := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "nobody"})
	_, err := f.report(unclaimed, "x", usd, nil)
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE, movedNo)
	f.pin(unclaimed)
	_, err = f.report(unclaimed, "x", usd, nil)
	wantReason(t, err, typev1.Reason_REASON_NO_GUARD_RAILS, movedNo)
	f.freeze(payer, "stop")
	_, err = f.report(payer, "x", usd, nil)
	wantReason(t, err, typev1.Reason_REASON_FROZEN, movedNo)
	if rows := f.summary(payer.Name, nil); len(rows) != 0 {
		t.Errorf("what was refused is in the summary: %v", rows)
	}
}

// A wallet reports so often in a UTC day; the next day it may again, others may at any time, and a repeat always.
func TestShadowPerDay(t *testing.T) {
	f := start(t)
	payer, payee := f.two(shadowRails)
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			for m := range ShadowPaymentsPerDayMax / 20 {
				if _, err := f.report(payer, fmt.Sprintf("n-%d-%d", n, m), 1, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_, err := f.report(payer, "one-more", 1, nil)
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
	f.mustReport(payer, "n-0-0", 1, green, nil)
	f.mustReport(payee, "others", 1, green, nil)
	f.clock.set(noon.Truncate(24*time.Hour).AddDate(0, 0, 1))
	f.mustReport(payer, "one-more", 1, green, nil)
}

// What is older than reports are kept counts nowhere, and is deleted.
func TestShadowRetention(t *testing.T) {
	f := start(t)
	payer, _ := f.two(shadowRails, func(doc *typev1.GuardRails) {
		doc.Limits = append(doc.Limits, limit(typev1.Window_WINDOW_LIFETIME, 6*usd, yellow))
	})
	f.mustReport(payer, "old", 5*usd, green, nil)
	f.clock.advance(ShadowRetention)
	f.mustReport(payer, "kept", 2*usd, yellow, nil)
	f.clock.advance(24 * time.Hour)
	f.mustReport(payer, "new", 4*usd, green, nil)
	rows := f.summary(payer.Name, nil)
	if len(rows) != 2 || rows[0].GetUnits() != fmt.Sprint(4*usd) || rows[1].GetUnits() != fmt.Sprint(2*usd) {
		t.Errorf("the summary is %v, want what is kept", rows)
	}
	db, err := sql.Open("sqlite", f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM shadow_payment`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d reports are stored, want 2 (%v)", n, err)
	}
}

// A summary counts by wallet, host, light and rule, an owner's over all its wallets, by pages and within its time.
func TestShadowSummary(t *testing.T) {
	f := start(t)
	payer, payee := f.two(shadowRails)
	f.mustReport(payer, "a", 1*usd, green, nil)
	f.mustReport(payer, "b", 2*usd, green, nil)
	f.mustReport(payer, "c", 6*usd, yellow, nil)
	f.clock.advance(15 * time.Minute)
	f.mustReport(payer, "d", 101*usd, red, nil)
	f.mustReport(payee, "e", 3*usd, green, func(r *ledgerv1.ReportShadowPaymentRequest) { r.Host = "shop.example" })
	row := func(
		w *evidencetest.Wallet, host string, light typev1.Light, units, count int64, rules ...*typev1.RuleResult,
	) *typev1.ShadowSummaryRow {
		return &typev1.ShadowSummaryRow{
			Wallet: w.Name, Host: host, Asset: f.Installation.BookUSD(), Light: light, GuardRails: 1, Rules: rules,
			Units: fmt.Sprint(units), Count: count,
		}
	}
	rule := func(index uint32, light typev1.Light) *typev1.RuleResult {
		return &typev1.RuleResult{Rule: typev1.Rule_RULE_LIMIT, Index: index, Light: light}
	}
	want := []*typev1.ShadowSummaryRow{
		row(payee, "shop.example", green, 3*usd, 1),
		row(payer, "api.example", green, 3*usd, 2),
		row(payer, "api.example", yellow, 6*usd, 1, rule(0, yellow)),
		row(payer, "api.example", red, 101*usd, 1, rule(0, yellow), rule(1, red), rule(2, yellow), rule(3, red)),
	}
	if diff := cmp.Diff(want[1:], f.summary(payer.Name, nil), protocmp.Transform()); diff != "" {
		t.Errorf("the wallet's (-want +got):\n%s", diff)
	}
	var paged []*typev1.ShadowSummaryRow
	token := ""
	for range 10 {
		resp, err := f.client.GetShadowSummary(t.Context(), &ledgerv1.GetShadowSummaryRequest{Parent: payer.Owner, PageSize: 1, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, resp.GetRows()...)
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	if diff := cmp.Diff(want, paged, protocmp.Transform()); diff != "" {
		t.Errorf("the owner's, page by page (-want +got):\n%s", diff)
	}
	early := f.summary(payer.Owner, func(r *ledgerv1.GetShadowSummaryRequest) { r.EndTime = timestamppb.New(noon.Add(15 * time.Minute)) })
	if diff := cmp.Diff(want[1:3], early, protocmp.Transform()); diff != "" {
		t.Errorf("before the quarter hour (-want +got):\n%s", diff)
	}
	late := f.summary(payer.Name, func(r *ledgerv1.GetShadowSummaryRequest) { r.StartTime = timestamppb.New(noon.Add(15 * time.Minute)) })
	if diff := cmp.Diff(want[3:], late, protocmp.Transform()); diff != "" {
		t.Errorf("from the quarter hour on (-want +got):\n%s", diff)
	}
	for _, token := range []string{"x", makeToken("a", "b"), makeToken("a", "b", "c", "d", "e", "f")} {
		_, err := f.client.GetShadowSummary(t.Context(), &ledgerv1.GetShadowSummaryRequest{Parent: payer.Name, PageToken: token})
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
	}
	if _, err := f.client.GetShadowSummary(t.Context(), &ledgerv1.GetShadowSummaryRequest{Parent: "wallets/none"}); err == nil {
		t.Error("a wallet that does not exist has a summary")
	}
}
