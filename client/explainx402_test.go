package client_test

import (
	"slices"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Each rule about an HTTP request says what would have passed it.
func TestExplainX402(t *testing.T) {
	doc := explained()
	doc.X402 = &typev1.X402Rules{UnknownHost: red, Hosts: []*typev1.X402Host{
		{
			Host: "api.example", Methods: []string{"GET", "POST"}, PathPrefixes: []string{"/v1"}, Recipients: doc.GetRecipients().GetAllow()[:1],
			MaxPrice: &typev1.X402Price{Unit: "USD", Amount: "2000000", Crossed: yellow}, ChangedRecipient: yellow, DriftPercent: 20, Drifted: red,
		},
		{Host: "shop.example", ChangedRecipient: yellow, Drifted: red},
	}}
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	one, other := [32]byte{1}, [32]byte{2}
	for _, tt := range []struct {
		name, method, host, path string
		units                    int64
		to                       [32]byte
		paid                     guardrails.Paid
		light                    typev1.Light
		want                     []string
	}{
		{"passes", "GET", "api.example", "/v1", usd, one, guardrails.Paid{}, green, nil},
		{"another host", "GET", "other.example", "/v1", usd, one, guardrails.Paid{}, red, []string{"a request to one of the hosts api.example, shop.example"}},
		{"another path", "GET", "api.example", "/", usd, one, guardrails.Paid{}, red, []string{
			"a request that is allowed at api.example: https, GET or POST, under /v1",
		}},
		{"a price that a person decides", "GET", "api.example", "/v1", 2*usd + 1, one, guardrails.Paid{}, yellow, []string{"at most 2 USD for this request"}},
		{"another recipient", "GET", "api.example", "/v1", usd, other, guardrails.Paid{}, red, []string{
			"a recipient on the allow list", "a recipient that the guard rails name for api.example",
		}},
		{"a recipient that changed", "GET", "shop.example", "/", usd, one, guardrails.Paid{Recipient: other}, yellow, []string{
			"the recipient that was paid last at shop.example, 0200000000000000000000000000000000000000000000000000000000000000",
		}},
		{"a price that rose", "GET", "api.example", "/v1", usd, one, guardrails.Paid{Recipient: one, Units: 500_000, Unit: "USD"}, red, []string{
			"at most 0.60 USD for this request",
		}},
		{"another asset than before", "GET", "api.example", "/v1", usd, one, guardrails.Paid{Recipient: one, Units: 1, Unit: "EUR"}, red, []string{
			"the asset that was paid last for this request",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := guardrails.Facts{
				Rail: typev1.Rail_RAIL_BOOK, Asset: doc.GetAssets()[0], Units: tt.units, Recipient: tt.to,
				X402: &typev1.X402Context{Method: tt.method, Scheme: "https", Host: tt.host, Path: tt.path},
			}
			h := guardrails.History{Sums: make([]guardrails.Sum, len(guardrails.Spans(doc, f, now))), Paid: tt.paid}
			p := &client.Payment{Asset: f.Asset, Units: f.Units, Recipient: f.Recipient, X402: f.X402}
			p.Results = append(guardrails.Judge(doc, f, now).Results, guardrails.Count(doc, f, h, now).Results...)
			e, err := client.Explain(doc, p, now)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range e.Refused() {
				got = append(got, r.String())
			}
			if !slices.Equal(got, tt.want) || e.Light != tt.light {
				t.Errorf("got %v %q, want %v %q", e.Light, got, tt.light, tt.want)
			}
		})
	}
	nothing := explained()
	nothing.X402 = &typev1.X402Rules{UnknownHost: red}
	f := guardrails.Facts{
		Rail: typev1.Rail_RAIL_BOOK, Asset: doc.GetAssets()[0], Units: usd, Recipient: one,
		X402: &typev1.X402Context{Method: "GET", Scheme: "https", Host: "api.example", Path: "/"},
	}
	p := &client.Payment{X402: f.X402, Results: guardrails.Judge(nothing, f, now).Results}
	if e, err := client.Explain(nothing, p, now); err != nil || len(e.Refused()) != 1 || e.Refused()[0].String() != "nothing: no HTTP host is allowed" {
		t.Errorf("no host: %+v, %v", e, err)
	}
	for name, r := range map[string]*typev1.RuleResult{
		"another price":    {Rule: typev1.Rule_RULE_X402_PRICE, Light: red, Observed: "1", Limit: "3000000", Room: "3000000"},
		"no number":        {Rule: typev1.Rule_RULE_X402_DRIFT, Light: red, Observed: "1", Limit: "much", Room: "1"},
		"nothing observed": {Rule: typev1.Rule_RULE_X402_DRIFT, Light: red},
		"half a key":       {Rule: typev1.Rule_RULE_X402_CHANGED_RECIPIENT, Light: red, LastRecipient: make([]byte, 16)},
	} {
		_, err := client.Explain(doc, &client.Payment{X402: &typev1.X402Context{Method: "GET", Scheme: "https", Host: "api.example", Path: "/v1"}, Results: []*typev1.RuleResult{r}}, now)
		if client.ReasonOf(err) != typev1.Reason_REASON_EVIDENCE_MISMATCH {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := client.Explain(doc, &client.Payment{Results: []*typev1.RuleResult{r}}, now); client.ReasonOf(err) != typev1.Reason_REASON_EVIDENCE_MISMATCH {
			t.Errorf("%s without a request: %v", name, err)
		}
	}
}
