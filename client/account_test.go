package client_test

import (
	"context"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

// lateConn holds back the ledger's answer to GetAccount until something else has happened.
type lateConn struct {
	grpc.ClientConnInterface
	meanwhile *atomic.Pointer[func()]
}

// Invoke runs meanwhile, once, between the ledger's answer and whoever waits for it.
func (c lateConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	if method == ledgerv1.LedgerService_GetAccount_FullMethodName {
		if f := c.meanwhile.Swap(nil); f != nil {
			(*f)()
		}
	}
	return err
}

// TestAccountWhileAnotherProgramPays: an answer that was overtaken by what another program on the same home has seen is
// no sign that the ledger has lost anything.
func TestAccountWhileAnotherProgramPays(t *testing.T) {
	var meanwhile atomic.Pointer[func()]
	h := halfkeytest.Start(t, halfkeytest.WithWrap(func(_ string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		return lateConn{conn, &meanwhile}
	}))
	ctx := testContext(t)
	shop := h.Agent("Shop")
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Payer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	reader, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	payer, err := h.Client(home).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	h.GuardRails(reader, client.StandardRules(shop.GroupKey()))
	h.Fund(reader, 10*usd)
	if _, err := payer.Account(ctx); err != nil { // It knows the ledger's time, and asks for no account while it pays.
		t.Fatal(err)
	}
	paid := false
	pay := func() {
		_, err := payer.Pay(ctx, client.Order{Recipient: shop.Wallet(), Units: usd})
		if err != nil {
			t.Error(err)
		}
		paid = true
	}
	meanwhile.Store(&pay)
	if _, err := reader.Account(ctx); err != nil {
		t.Errorf("an account that was overtaken: %v", err)
	}
	if !paid {
		t.Error("nothing was paid meanwhile: the test shows nothing")
	}
}
