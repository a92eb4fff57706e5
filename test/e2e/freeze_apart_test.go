package e2e_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// outage makes one method of one service unreachable for the gateway.
type outage struct{ method atomic.Pointer[string] }

func (o *outage) of(method string) { o.method.Store(&method) }
func (o *outage) over()            { o.method.Store(nil) }

// wrap is a halfkeytest.Wrap.
func (o *outage) wrap(_ string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return outageConn{ClientConnInterface: conn, outage: o}
}

type outageConn struct {
	grpc.ClientConnInterface
	outage *outage
}

// Invoke passes calls on, but for those of the method that is out.
func (c outageConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if out := c.outage.method.Load(); out != nil && *out == method {
		return status.Error(codes.Unavailable, "unreachable")
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// TestFreezeReachesOneHolder has a freeze, and then its end, reach only one of ledger and co-signer, and nobody repeats the
// call. Half a freeze stops; the next payment brings the two together, so that the owner sees the freeze and can end it.
func TestFreezeReachesOneHolder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, freeze, unfreeze string }{
		{"the ledger misses them", ledgerv1.LedgerService_Freeze_FullMethodName, ledgerv1.LedgerService_Unfreeze_FullMethodName},
		{"the co-signer misses them", cosignerv1.CosignerService_Freeze_FullMethodName, cosignerv1.CosignerService_Unfreeze_FullMethodName},
		{"the ledger misses the end", "", ledgerv1.LedgerService_Unfreeze_FullMethodName},
		{"the co-signer misses the end", "", cosignerv1.CosignerService_Unfreeze_FullMethodName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			o := new(outage)
			w := halfkeytest.Start(t, halfkeytest.WithDir(filepath.Join(t.TempDir(), "installation")), halfkeytest.WithWrap(o.wrap))
			payer, shop := w.Agent("Payer"), w.Agent("Shop")
			w.GuardRails(payer, client.StandardRules(shop.GroupKey()))
			w.Fund(payer, 10*usd)
			pay := func(id string) (typev1.PaymentState, error) {
				paid, err := payer.Pay(ctx, client.Order{ID: id, Recipient: shop.Wallet(), Units: usd})
				if err != nil {
					return 0, err
				}
				return paid.State, nil
			}

			o.of(tt.freeze)
			if _, err := w.Owner().Freeze(ctx, payer.Wallet(), "f1"); (err == nil) != (tt.freeze == "") {
				t.Fatalf("the freeze is in force if both acknowledge it, and only then: %v", err)
			}
			o.over()
			if _, err := pay("frozen"); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
				t.Fatalf("a payment of a frozen wallet: %v, want FROZEN", err)
			}
			freezes, frozen, err := payer.Freezes(ctx)
			if err != nil || !frozen || len(freezes) != 1 || freezes[0].GetFreezeId() != "f1" {
				t.Fatalf("after the payment the wallet shows %v, frozen %t, %v; want f1 in force", freezes, frozen, err)
			}

			o.of(tt.unfreeze)
			if _, err := w.Owner().Unfreeze(ctx, payer.Wallet(), "f1"); err == nil {
				t.Fatal("an unfreeze that reached one holder was acknowledged by both")
			}
			o.over()
			if state, err := pay("after"); err != nil || state != typev1.PaymentState_PAYMENT_STATE_SETTLED {
				t.Fatalf("a payment after the unfreeze: %v, %v, want SETTLED", state, err)
			}
			if _, err := w.Owner().Freeze(ctx, payer.Wallet(), "f1"); client.ReasonOf(err) != typev1.Reason_REASON_FREEZE_ID_USED {
				t.Fatalf("the used freeze id: %v, want FREEZE_ID_USED", err)
			}
		})
	}
}
