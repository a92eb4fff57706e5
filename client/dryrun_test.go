package client_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/fault"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// What an agent signs for a dry run is never a payment: not for who reads the request that it gave away, and not for a gateway that
// takes validate_only out.
func TestDryRunIsNeverPaid(t *testing.T) {
	clock := halfkeytest.NewClock(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC))
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	p := newProxy(t, h)
	gateway := gatewayv1.NewGatewayServiceClient(p.real)
	shop := h.Agent("Shop")
	payer, _, _ := p.agent(h, "Payer")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 200*usd)
	ctx := testContext(t)
	before, err := payer.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	untouched := func(t *testing.T) {
		t.Helper()
		after, err := payer.Account(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if after.Head.GetEntry() != before.Head.GetEntry() || after.Balances[0] != before.Balances[0] {
			t.Errorf("entry %d and %+v, before it %d and %+v", after.Head.GetEntry(), after.Balances, before.Head.GetEntry(), before.Balances)
		}
	}
	refused := func(t *testing.T, err error, reason typev1.Reason) {
		t.Helper()
		if f := fault.Of(err); err == nil || f.Reason != reason || f.MoneyMoved != notMoved {
			t.Errorf("got %v, want %v", err, reason)
		}
	}
	for _, row := range []struct {
		name  string
		units int64
		want  typev1.PaymentState
	}{{"paid-at-once", usd, authorized}, {"reviewed", 6 * usd, pending}, {"refused", 101 * usd, denied}} {
		t.Run(row.name, func(t *testing.T) {
			order := client.Order{ID: row.name, Recipient: shop.Wallet(), Units: row.units, Deadline: time.Hour}
			req, err := payer.DryRunRequest(ctx, order)
			if err != nil {
				t.Fatal(err)
			}
			if n := p.called("CreatePayment"); n != 0 {
				t.Fatalf("making a request made %d calls", n)
			}
			paying := proto.CloneOf(req)
			paying.ValidateOnly = false
			_, err = gateway.CreatePayment(ctx, paying)
			refused(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED)
			// Good as often as one likes, until the order's deadline.
			for range 2 {
				got, err := gateway.CreatePayment(ctx, req)
				if err != nil || got.GetState() != row.want || got.GetReceipt() != nil || len(got.GetRelease()) > 0 {
					t.Fatalf("got %v, %v", got, err)
				}
				clock.Advance(29 * time.Minute)
			}
			clock.Advance(3 * time.Minute)
			_, err = gateway.CreatePayment(ctx, req)
			refused(t, err, typev1.Reason_REASON_DEADLINE_EXPIRED)
			untouched(t)
		})
	}
	t.Run("a gateway that takes validate_only out", func(t *testing.T) {
		p.set(func(method string, req proto.Message) error {
			if method == "CreatePayment" {
				req.(*gatewayv1.CreatePaymentRequest).ValidateOnly = false
			}
			return nil
		}, nil)
		_, err := payer.DryRun(ctx, client.Order{Recipient: shop.Wallet(), Units: usd})
		wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, notMoved)
		p.honest()
		untouched(t)
	})
	if got := ids(t, payer.EachPayment(ctx, client.Filter{})); len(got) != 0 {
		t.Errorf("recorded were %v", got)
	}
	_, err = payer.DryRunRequest(ctx, client.Order{Recipient: shop.Wallet()})
	wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
}
