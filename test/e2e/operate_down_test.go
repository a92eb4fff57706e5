package e2e_test

import (
	"context"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// downFor bounds a call while a part is down that is answered by nothing but its deadline.
const downFor = 6 * time.Second

// The table of docs/operate.md, "When a part is down": each part is killed by itself. What the table says still works does, what it
// says is refused is, with nothing moved that a repeat would move again, and afterwards each payment is made once by its repeat.
func TestOperatePartsDown(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newSite(t)
	s.up()
	p := s.people(ctx, t, 1)
	payer, operator := p.payers[0], s.client(t, "operator").Operator(operatorKey(t, s.made.Dir))
	paid := 0
	for _, tt := range []struct {
		part string
		// reads are the agent's own balance, freezes an owner's and an operator's that are in force at once.
		reads, freezes bool
		// stops is whether an owner's freeze that was not acknowledged by all has stopped the wallet all the same.
		stops bool
	}{
		{part: "gateway"},
		{part: "identity"},
		{part: "policy", reads: true, freezes: true},
		{part: "ledger", stops: true},
		{part: "cosigner", reads: true, stops: true},
		{part: "etcd"},
	} {
		part := s.programs[tt.part]
		if tt.part == "etcd" {
			part = s.etcd
		}
		part.kill()
		during := func(do func(context.Context) error) <-chan error {
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(ctx, downFor)
				defer cancel()
				done <- do(ctx)
			}()
			return done
		}
		pays := during(func(ctx context.Context) error { _, err := payer.Pay(ctx, p.order(tt.part)); return err })
		reads := during(func(ctx context.Context) error { _, err := payer.Account(ctx); return err })
		err := <-pays
		wantDown(t, tt.part+" is down: a payment", err, false)
		if moved := client.MoneyMovedOf(err); moved == typev1.MoneyMoved_MONEY_MOVED_YES {
			t.Errorf("%s is down: a payment that was not answered says that money moved", tt.part)
		}
		wantDown(t, tt.part+" is down: the balance", <-reads, tt.reads)
		operators := during(func(ctx context.Context) error { _, err := operator.Freeze(ctx, "all-"+tt.part); return err })
		owners := during(func(ctx context.Context) error { _, err := p.owner.Freeze(ctx, payer.Wallet(), tt.part); return err })
		wantDown(t, tt.part+" is down: an operator's freeze", <-operators, tt.freezes)
		wantDown(t, tt.part+" is down: an owner's freeze", <-owners, tt.freezes)

		part.start()
		s.awaitReady()
		if tt.freezes || tt.stops {
			if _, err := payer.Pay(ctx, p.order(tt.part)); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
				t.Errorf("%s is back: a payment after the freeze: %v, want FROZEN", tt.part, err)
			}
		}
		// The repeats bring each freeze to whoever lacks it, and the ends end both.
		for what, call := range map[string]func() (*client.FreezeStatus, error){
			"an operator's freeze": func() (*client.FreezeStatus, error) { return operator.Freeze(ctx, "all-"+tt.part) },
			"an owner's freeze":    func() (*client.FreezeStatus, error) { return p.owner.Freeze(ctx, payer.Wallet(), tt.part) },
		} {
			if f, err := call(); err != nil || !f.Frozen {
				t.Fatalf("%s is back: the repeat of %s: %+v, %v", tt.part, what, f, err)
			}
		}
		if _, err := operator.Unfreeze(ctx, "all-"+tt.part); err != nil {
			t.Fatal(err)
		}
		if _, err := p.owner.Unfreeze(ctx, payer.Wallet(), tt.part); err != nil {
			t.Fatal(err)
		}
		for range 2 { // A repeat of the repeat pays nothing either.
			p.pay(ctx, t, 0, tt.part)
		}
		paid++
		wantBalance(ctx, t, payer, deposited-int64(paid)*usd)
		wantBalance(ctx, t, p.shop, int64(paid)*usd)
	}
}

// wantDown demands that a call worked, or that it was answered by UNAVAILABLE.
func wantDown(t *testing.T, what string, err error, works bool) {
	t.Helper()
	if works && err != nil || !works && client.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE {
		t.Errorf("%s: %v; it works: %t", what, err, works)
	}
}
