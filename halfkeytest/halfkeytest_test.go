package halfkeytest_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestStart is what an integrator's test looks like: an agent pays a shop, and its daily budget ends with the day.
func TestStart(t *testing.T) {
	clock := halfkeytest.NewClock(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock), halfkeytest.WithDir(filepath.Join(t.TempDir(), "installation")))
	agent, shop := h.Agent("Research Agent"), h.Agent("Shop")
	rules := client.StandardRules(shop.GroupKey())
	rules.DailyDeny = 3_000_000
	h.GuardRails(agent, rules)
	h.Fund(agent, 10_000_000)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pay := func(id string, want typev1.PaymentState) {
		t.Helper()
		p, err := agent.Pay(ctx, client.Order{ID: id, Recipient: "@" + shop.Handle(), Units: 2_000_000})
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if p.State != want {
			t.Errorf("%s is %v, want %v", id, p.State, want)
		}
	}
	pay("first", typev1.PaymentState_PAYMENT_STATE_SETTLED)
	pay("over-budget", typev1.PaymentState_PAYMENT_STATE_DENIED)
	h.Kill()
	h.Restart()
	pay("still-over-budget", typev1.PaymentState_PAYMENT_STATE_DENIED)
	clock.Advance(24 * time.Hour)
	pay("next-day", typev1.PaymentState_PAYMENT_STATE_SETTLED)

	account, err := shop.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(account.Balances) != 1 || account.Balances[0].Available != 4_000_000 {
		t.Errorf("the shop has %+v, want 4 USD", account.Balances)
	}
}

func TestClock(t *testing.T) {
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	c := halfkeytest.NewClock(at)
	c.Advance(-time.Hour)
	if got, want := c.Now(), at.Add(-time.Hour); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	c.Set(at)
	if got := c.Now(); !got.Equal(at) {
		t.Errorf("got %v, want %v", got, at)
	}
}
