package client_test

import (
	"testing"

	"github.com/halfkey/halfkey/client"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestHostileShadow alters what a report and a summary are answered with: an answer about something else, or one that claims that
// something was enforced, is not taken.
func TestHostileShadow(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)
	report := client.ShadowReport{ID: "r", Host: "api.example", Units: usd, Recipient: w.shop.Wallet()}
	for name, change := range map[string]func(p *typev1.ShadowPayment){
		"another report":               func(p *typev1.ShadowPayment) { p.Name = w.payer.Wallet() + "/shadowPayments/s" },
		"a payment":                    func(p *typev1.ShadowPayment) { p.Name = w.payer.Wallet() + "/payments/r" },
		"another asset":                func(p *typev1.ShadowPayment) { p.Asset = "x" },
		"other units":                  func(p *typev1.ShadowPayment) { p.Units = "1" },
		"another method":               func(p *typev1.ShadowPayment) { p.Method = "POST" },
		"another scheme":               func(p *typev1.ShadowPayment) { p.Scheme = "http" },
		"another host":                 func(p *typev1.ShadowPayment) { p.Host = "evil.example" },
		"another path":                 func(p *typev1.ShadowPayment) { p.Path = "/x" },
		"another recipient":            func(p *typev1.ShadowPayment) { p.Recipient = make([]byte, 32) },
		"nobody was paid":              func(p *typev1.ShadowPayment) { p.Recipient = nil },
		"no light":                     func(p *typev1.ShadowPayment) { p.Light = 0 },
		"not said to be only a report": func(p *typev1.ShadowPayment) { p.Enforcement = 0 },
	} {
		alter(w.p, "ReportShadowPayment", change)
		if p, err := w.payer.ReportShadow(ctx, report); err == nil {
			t.Errorf("%s: got %v, want it refused", name, p)
		}
	}
	for name, change := range map[string]func(r *gatewayv1.GetShadowSummaryResponse){
		"not said to be only reports": func(r *gatewayv1.GetShadowSummaryResponse) { r.Enforcement = 0 },
		"no units":                    func(r *gatewayv1.GetShadowSummaryResponse) { r.Rows[0].Units = "" },
		"no count":                    func(r *gatewayv1.GetShadowSummaryResponse) { r.Rows[0].Count = 0 },
		"no wallet":                   func(r *gatewayv1.GetShadowSummaryResponse) { r.Rows[0].Wallet = "x" },
		"no light":                    func(r *gatewayv1.GetShadowSummaryResponse) { r.Rows[0].Light = 9 },
	} {
		alter(w.p, "GetShadowSummary", change)
		if rows, err := w.payer.ShadowSummary(ctx, client.ShadowQuery{}); err == nil {
			t.Errorf("%s: got %v, want it refused", name, rows)
		}
	}
	w.p.honest()
	p, err := w.payer.ReportShadow(ctx, report)
	if err != nil || p.Light != typev1.Light_LIGHT_GREEN || p.Recipient != w.shop.GroupKey() {
		t.Errorf("an honest answer: got %v, %v", p, err)
	}
	rows, err := w.payer.ShadowSummary(ctx, client.ShadowQuery{})
	if err != nil || len(rows) != 1 || rows[0].Count != 1 || rows[0].Units != usd {
		t.Errorf("an honest summary: got %v, %v", rows, err)
	}
}
