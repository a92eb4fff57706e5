package client_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
)

// TestCalls counts what each thing that an agent does every day costs a program that has just started, as a command line has:
// each call is a round trip.
func TestCalls(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	payer, _, home := p.agent(h, "Payer")
	shop, newShop := h.Agent("Shop"), h.Agent("New Shop")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey(), newShop.GroupKey()))
	h.Fund(payer, 100*usd)
	ctx := testContext(t)
	if _, err := payer.Pay(ctx, client.Order{ID: "known", Recipient: "@shop", Units: usd}); err != nil {
		t.Fatal(err)
	}
	if _, err := payer.GuardRails(ctx); err != nil {
		t.Fatal(err)
	}
	fresh := func() *client.Agent {
		a, err := h.Client(home).Agent(payer.Wallet())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, c := range map[string]struct {
		do   func() error
		want map[string]int
	}{
		"limits":        {func() error { _, err := fresh().Limits(ctx); return err }, map[string]int{"GetLimits": 1}},
		"balance":       {func() error { _, err := fresh().Account(ctx); return err }, map[string]int{"GetAccount": 1}},
		"payments list": {func() error { _, err := fresh().Payments(ctx, false); return err }, map[string]int{"ListPayments": 1}},
		"pay": {func() error {
			_, err := fresh().Pay(ctx, client.Order{ID: "again", Recipient: "@shop", Units: usd})
			return err
		}, map[string]int{"CreatePayment": 1, "SettlePayment": 1}},
		"dry run": {func() error {
			_, err := fresh().DryRun(ctx, client.Order{Recipient: "@shop", Units: usd})
			return err
		}, map[string]int{"CreatePayment": 1}},
		"register": {func() error {
			_, err := h.Client(home).Register(ctx, client.RegisterOptions{Name: "New", OwnerEmail: halfkeytest.Email})
			return err
		}, map[string]int{"StartRegistration": 1, "ExchangeRegistration": 1, "ConfirmRegistration": 1, "CompleteRegistration": 1}},
		// What comes on top, and when.
		"register in a fresh home": {func() error {
			_, err := h.Client(p.home(h)).Register(ctx, client.RegisterOptions{Name: "Fresh", OwnerEmail: halfkeytest.Email})
			return err
		}, map[string]int{
			"GetInstallations": 1, "StartRegistration": 1, "ExchangeRegistration": 1, "ConfirmRegistration": 1, "CompleteRegistration": 1,
		}},
		"pay five minutes later": {func() error {
			if err := os.Remove(filepath.Join(home.Dir(), "pins", "followed")); err != nil {
				return err
			}
			_, err := fresh().Pay(ctx, client.Order{ID: "later", Recipient: "@shop", Units: usd})
			return err
		}, map[string]int{"GetInstallations": 1, "CreatePayment": 1, "SettlePayment": 1}},
		"limits under new guard rails": {func() error {
			h.GuardRails(payer, client.StandardRules(shop.GroupKey(), newShop.GroupKey(), payer.GroupKey()))
			_, err := fresh().Limits(ctx)
			return err
		}, map[string]int{"GetGuardRails": 1, "GetLimits": 1}},
		"pay to a new recipient": {func() error {
			_, err := fresh().Pay(ctx, client.Order{ID: "new", Recipient: "@new-shop", Units: usd})
			return err
		}, map[string]int{"GetWallet": 1, "CreatePayment": 1, "SettlePayment": 1}},
	} {
		p.mu.Lock()
		clear(p.calls)
		p.mu.Unlock()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p.mu.Lock()
		got := maps.Clone(p.calls)
		p.mu.Unlock()
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: calls %v, want %v", name, got, c.want)
		}
	}
}
