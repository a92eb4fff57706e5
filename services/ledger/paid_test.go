package ledger

import (
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// watching is guard rails that let two hosts change neither their recipient nor, by more than a fifth, a price.
func watching(doc *typev1.GuardRails) {
	doc.X402 = &typev1.X402Rules{UnknownHost: red}
	for _, host := range []string{"api.example", "shop.example"} {
		doc.X402.Hosts = append(doc.X402.Hosts, &typev1.X402Host{Host: host, ChangedRecipient: yellow, DriftPercent: 20, Drifted: red})
	}
}

// said is what a rule said of a payment.
func said(p *typev1.Payment, rule typev1.Rule) *typev1.RuleResult {
	for _, r := range p.GetResults() {
		if r.GetRule() == rule {
			return r
		}
	}
	return nil
}

// What was paid last is what was settled last, by this wallet, for the same host or request; also after a restart.
func TestPaidBefore(t *testing.T) {
	const changed, drift = typev1.Rule_RULE_X402_CHANGED_RECIPIENT, typev1.Rule_RULE_X402_DRIFT
	f := start(t)
	third := f.wallet("third", loose)
	payer, payee := f.two(evidencetest.Allow(third.GroupKey), watching)
	neighbour := f.wallet("neighbour", paying([]*evidencetest.Wallet{payee, third}, loose, watching))
	f.deposit(neighbour, "d2", 100*usd)

	pay := func(
		w *evidencetest.Wallet, id string, to *evidencetest.Wallet, units int64, request func(*typev1.Intent), want typev1.PaymentState,
	) *evidencetest.Payment {
		t.Helper()
		p := f.payment(w, evidencetest.PaymentConfig{ID: id, To: to.GroupKey, Units: units, EditIntent: request})
		f.must(p, want)
		return p
	}
	settles := func(p *evidencetest.Payment) {
		t.Helper()
		if _, err := f.settle(p); err != nil {
			t.Fatal(err)
		}
	}
	path := func(s string) func(*typev1.Intent) {
		return func(m *typev1.Intent) { buys("api.example")(m); m.X402.Path = s }
	}

	// Authorized, not settled: nothing is known of the host yet.
	first := pay(payer, "first", payee, 1*usd, buys("api.example"), authorized)
	pay(payer, "not-settled", third, 100*usd, buys("api.example"), authorized)
	settles(first)

	got := f.get(pay(payer, "changed", third, 1*usd, buys("api.example"), pending).Name)
	if r := said(got, changed); r.GetLight() != yellow || string(r.GetLastRecipient()) != string(payee.GroupKey[:]) {
		t.Errorf("another recipient: %v", r)
	}
	got = f.get(pay(payer, "dear", payee, 1*usd+200_001, buys("api.example"), denied).Name)
	if r := said(got, drift); r.GetLight() != red || r.GetObserved() != "1200001" || r.GetLimit() != "1200000" {
		t.Errorf("a price that rose: %v", r)
	}
	f.reopen()
	pay(payer, "dear-after-restart", payee, 1*usd+200_001, buys("api.example"), denied)
	pay(payer, "changed-after-restart", third, 1*usd, buys("api.example"), pending)

	// Another path has a price of its own and the host's recipient; another host has neither; a payment for no request is not asked.
	pay(payer, "other-path", payee, 9*usd, path("/other"), authorized)
	pay(payer, "other-path-changed", third, 1*usd, path("/other"), pending)
	pay(payer, "other-host", third, 9*usd, buys("shop.example"), authorized)
	pay(payer, "no-request", third, 9*usd, nil, authorized)
	// Another wallet has a history of its own.
	pay(neighbour, "theirs", third, 9*usd, buys("api.example"), authorized)

	// The next settlement is what the one after it is compared with.
	settles(pay(payer, "a-fifth-more", payee, 1*usd+200_000, buys("api.example"), authorized))
	settles(pay(payer, "and-another", payee, 1*usd+440_000, buys("api.example"), authorized))
	pay(payer, "too-much-again", payee, 2*usd, buys("api.example"), denied)

	// A message that dies settles nothing.
	dies := pay(payer, "dies", payee, 10_000, buys("api.example"), authorized)
	f.clock.advance(10 * time.Minute)
	f.get(dies.Name)
	pay(payer, "as-dear-as-before", payee, 1*usd+440_000, buys("api.example"), authorized)
}

// A dry run is judged by the same history, and leaves none.
func TestPaidDryRun(t *testing.T) {
	f := start(t)
	payer, payee := f.two(watching)
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, EditIntent: buys("api.example")})
	f.must(p, authorized)
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	dear := f.payment(payer, evidencetest.PaymentConfig{ID: "dear", To: payee.GroupKey, Units: 2 * usd, EditIntent: buys("api.example")})
	f.unchanged(func() {
		resp, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
			Request: dear.Request, Message: dear.MessageBytes, Verdict: dear.Verdict, ValidateOnly: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.GetPayment(); got.GetState() != denied || said(got, typev1.Rule_RULE_X402_DRIFT).GetLight() != red {
			t.Errorf("got %s by %v", got.GetState(), got.GetResults())
		}
	})
}
