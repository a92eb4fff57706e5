package gateway_test

import (
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestCallerQuota has one agent call without end: it is refused early and told that no money moved, it can still freeze itself, its
// owner can freeze it, and the other agent of the same owner pays on.
func TestCallerQuota(t *testing.T) {
	const perSecond = 50
	h := halfkeytest.Start(t, halfkeytest.WithCallsPerSecond(perSecond))
	payer, loop := h.Agent("Payer"), h.Agent("Loop")
	h.GuardRails(payer, client.StandardRules(loop.GroupKey()))
	h.Fund(payer, 10_000_000)

	var refused error
	for n := 0; refused == nil && n < 20*perSecond; n++ {
		_, refused = loop.Account(t.Context())
	}
	f := fault.Of(refused)
	if f == nil || f.Reason != typev1.Reason_REASON_LIMIT_EXCEEDED || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO || f.RetryAfter() == 0 {
		t.Fatalf("calling without end: %v", refused)
	}
	// Its quota stays used up while the following happens, or the test would show nothing.
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = loop.Account(t.Context())
				}
			}
		}()
	}
	if _, err := loop.Freeze(t.Context(), "in-a-loop"); err != nil {
		t.Errorf("freezing itself: %v", err)
	}
	if _, err := payer.Pay(t.Context(), client.Order{
		ID: "on", Recipient: loop.Wallet(), Units: 1_000_000,
	}); fault.ReasonOf(err) == typev1.Reason_REASON_LIMIT_EXCEEDED {
		t.Errorf("another agent's payment: %v", err)
	}
	if _, err := h.Owner().Freeze(t.Context(), loop.Wallet(), "by-the-owner"); err != nil {
		t.Errorf("the owner's freeze: %v", err)
	}
}
