package client_test

import (
	"crypto/sha256"
	"net/url"
	"slices"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// bought is the context of a GET.
func bought(t *testing.T, address string) *typev1.X402Context {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	m, err := client.X402Context("GET", u, sha256.Sum256(nil))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// lightOf is what a rule said of a payment; zero if it did not speak.
func lightOf(p *client.Payment, rule typev1.Rule) typev1.Light {
	for _, r := range p.Results {
		if r.GetRule() == rule {
			return r.GetLight()
		}
	}
	return 0
}

// TestPayForRequests pays for HTTP requests under guard rails that speak of them: from the intent to the journal's audit, each service
// judging for itself.
func TestPayForRequests(t *testing.T) {
	h := halfkeytest.Start(t)
	shop, rival, payer := h.Agent("Shop"), h.Agent("Rival"), h.Agent("Payer")
	key := func(a *client.Agent) []byte { k := a.GroupKey(); return k[:] }
	rules := client.StandardRules(rival.GroupKey())
	rules.X402 = &typev1.X402Rules{UnknownHost: red, Hosts: []*typev1.X402Host{
		{Host: "*.wild.example", ChangedRecipient: yellow},
		{
			Host: "api.example", Methods: []string{"GET"}, PathPrefixes: []string{"/v1"}, Recipients: [][]byte{key(shop)},
			MaxPrice: &typev1.X402Price{Unit: "USD", Amount: "2000000", Crossed: yellow}, DriftPercent: 20, Drifted: yellow,
		},
	}}
	h.GuardRails(payer, rules)
	h.Fund(payer, 100*usd)
	ctx, owner := testContext(t), h.Owner()
	const page = "https://api.example/v1/report"

	for _, row := range []struct {
		name, url string
		to        *client.Agent
		units     int64
		state     typev1.PaymentState
		rule      typev1.Rule
		light     typev1.Light
	}{
		{"an allowed host", page + "?q=1", shop, usd, settled, typev1.Rule_RULE_X402_HOST, green},
		{"a price within the drift", page + "?q=2", shop, usd + 200_000, settled, typev1.Rule_RULE_X402_DRIFT, green},
		{"a price that rose", page, shop, usd + 440_001, pending, typev1.Rule_RULE_X402_DRIFT, yellow},
		{"a price over the largest, at another path", "https://api.example/v1/x", shop, 2*usd + 1, pending, typev1.Rule_RULE_X402_PRICE, yellow},
		{"another host", "https://evil.example/v1/report", shop, usd, denied, typev1.Rule_RULE_X402_HOST, red},
		{"another path", "https://api.example/v2", shop, usd, denied, typev1.Rule_RULE_X402_HOST, red},
		{"without TLS", "http://api.example/v1/report", shop, usd, denied, typev1.Rule_RULE_X402_HOST, red},
		{"another recipient than the host's", page, rival, usd, denied, typev1.Rule_RULE_X402_RECIPIENT, red},
		{"the host's recipient for another host", "https://a.wild.example/", shop, usd, denied, typev1.Rule_RULE_RECIPIENT, red},
		{"a wildcard's host", "https://a.wild.example/", rival, usd, settled, typev1.Rule_RULE_X402_CHANGED_RECIPIENT, green},
	} {
		t.Run(row.name, func(t *testing.T) {
			order := client.Order{Recipient: row.to.Wallet(), Units: row.units, X402: bought(t, row.url)}
			tried, err := payer.DryRun(ctx, order)
			if err != nil || lightOf(tried, row.rule) != row.light {
				t.Errorf("a dry run says %v of %v, %v", lightOf(tried, row.rule), row.rule, err)
			}
			p := mustPay(t, payer, order, row.state)
			if lightOf(p, row.rule) != row.light || p.X402.GetHost() != order.X402.GetHost() {
				t.Errorf("%v is %v, want %v; of %v", row.rule, lightOf(p, row.rule), row.light, p.X402)
			}
		})
	}

	t.Run("no request", func(t *testing.T) {
		p := mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: usd}, denied)
		if lightOf(p, typev1.Rule_RULE_X402_HOST) != 0 || lightOf(p, typev1.Rule_RULE_RECIPIENT) != red {
			t.Errorf("got %v", p.Results)
		}
	})

	t.Run("a recipient that changed, and its review", func(t *testing.T) {
		looser := rules
		looser.Allow = append(slices.Clone(rules.Allow), shop.GroupKey())
		h.GuardRails(payer, looser)
		order := client.Order{ID: "changed", Recipient: shop.Wallet(), Units: usd, X402: bought(t, "https://a.wild.example/other")}
		p := mustPay(t, payer, order, pending)
		if lightOf(p, typev1.Rule_RULE_X402_CHANGED_RECIPIENT) != yellow {
			t.Fatalf("got %v", p.Results)
		}
		r, err := owner.Review(ctx, p.Name)
		if err != nil || r.X402.GetPath() != "/other" || !slices.ContainsFunc(r.Results, func(r *typev1.RuleResult) bool {
			return r.GetRule() == typev1.Rule_RULE_X402_CHANGED_RECIPIENT && string(r.GetLastRecipient()) == string(key(rival))
		}) {
			t.Fatalf("the review is %+v, %v", r, err)
		}
		if _, err := owner.Answer(ctx, r, true); err != nil {
			t.Fatal(err)
		}
		mustPay(t, payer, order, settled)
		// What was approved is what was paid last.
		mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: usd, X402: bought(t, "https://a.wild.example/")}, settled)
	})

	t.Run("a repeat for another request", func(t *testing.T) {
		order := client.Order{ID: "once", Recipient: shop.Wallet(), Units: 1000, X402: bought(t, page)}
		mustPay(t, payer, order, settled)
		mustPay(t, payer, order, settled)
		for field, x := range map[string]*typev1.X402Context{
			"x402": nil, "x402.host": bought(t, "https://a.wild.example/v1/report"), "x402.url_digest": bought(t, page+"?more"),
		} {
			order.X402 = x
			_, err := payer.Pay(ctx, order)
			if e := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, notMoved); e.Metadata["field"] != field {
				t.Errorf("got field %q, want %q", e.Metadata["field"], field)
			}
		}
	})

	j, err := owner.Journal(ctx, payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	report, err := j.Report(h.Installation())
	if err != nil {
		t.Fatal(err)
	}
	if report.Payments[settled] != 6 || report.Payments[denied] != 6 || report.Payments[pending] != 2 {
		t.Errorf("the journal has %v", report.Payments)
	}
}
