// Package e2e_test runs the whole system and breaks it: what must hold is seen from outside, by an agent's and an owner's
// own checks.
package e2e_test

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const usd = 1_000_000

// crasher kills the installation when the gateway calls one method: before the call, or after it was answered.
type crasher struct {
	mu     sync.Mutex
	method string
	after  bool
	kill   func()
	killed chan struct{}
}

// arm makes the next call of a method the last thing that the installation does.
func (c *crasher) arm(method string, after bool, kill func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.method, c.after, c.kill, c.killed = method, after, kill, make(chan struct{})
}

// hit says whether this call is the armed one, and disarms.
func (c *crasher) hit(method string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.method != method {
		return false
	}
	c.method = ""
	return true
}

// die kills the installation from within one of its own calls, and never answers that call.
func (c *crasher) die(ctx context.Context) error {
	go func() {
		defer close(c.killed)
		c.kill()
	}()
	<-ctx.Done()
	return status.Error(codes.Unavailable, "crashed")
}

// wrap is a halfkeytest.Wrap.
func (c *crasher) wrap(_ string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return &crashingConn{ClientConnInterface: conn, crasher: c}
}

type crashingConn struct {
	grpc.ClientConnInterface
	crasher *crasher
}

// Invoke passes calls on, but for the armed one.
func (c *crashingConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if !c.crasher.hit(method) {
		return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	}
	if c.crasher.after {
		if err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...); err != nil {
			return err
		}
	}
	return c.crasher.die(ctx)
}

// world is an installation with an owner, a payer under guard rails, and a shop that it may pay.
type world struct {
	*halfkeytest.System
	crasher *crasher
	payer   *client.Agent
	shop    *client.Agent
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := &crasher{}
	w := &world{System: halfkeytest.Start(t, halfkeytest.WithDir(filepath.Join(t.TempDir(), "installation")), halfkeytest.WithWrap(c.wrap)), crasher: c}
	w.payer, w.shop = w.Agent("Payer"), w.Agent("Shop")
	w.GuardRails(w.payer, client.StandardRules(w.shop.GroupKey()))
	w.Fund(w.payer, 100*usd)
	return w
}

// crash arms the crasher, runs a call that then cannot end well, and starts the installation again.
func (w *world) crash(t *testing.T, method string, after bool, call func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	w.crasher.arm(method, after, w.Kill)
	err := call(ctx)
	select {
	case <-w.crasher.killed:
	case <-ctx.Done():
		t.Fatalf("the crash point %s was never reached: %v", method, err)
	}
	if err == nil {
		t.Fatal("the call succeeded although the installation crashed in it")
	}
	w.Restart()
}

// points are the steps of docs/life-of-a-payment.md at which the gateway's process can die.
var points = []struct {
	name, method string
	after        bool
}{
	{"2 identity, before", identityv1.IdentityService_Authenticate_FullMethodName, false},
	{"2 identity, after", identityv1.IdentityService_Authenticate_FullMethodName, true},
	{"3 policy, before", policyv1.PolicyService_Judge_FullMethodName, false},
	{"3 policy, after", policyv1.PolicyService_Judge_FullMethodName, true},
	{"4 ledger, before", ledgerv1.LedgerService_CreatePayment_FullMethodName, false},
	{"4 ledger, after", ledgerv1.LedgerService_CreatePayment_FullMethodName, true},
	{"5 cosigner, before", cosignerv1.CosignerService_Release_FullMethodName, false},
	{"5 cosigner, after", cosignerv1.CosignerService_Release_FullMethodName, true},
	{"7 settle, before", ledgerv1.LedgerService_SettlePayment_FullMethodName, false},
	{"7 settle, after", ledgerv1.LedgerService_SettlePayment_FullMethodName, true},
}

// TestCrashInReviewedPayment crashes while a reviewed payment is repeated, and while its review is answered.
func TestCrashInReviewedPayment(t *testing.T) {
	for _, p := range []struct {
		name, method string
		after        bool
	}{
		{"answer, before", ledgerv1.LedgerService_AnswerReview_FullMethodName, false},
		{"answer, after", ledgerv1.LedgerService_AnswerReview_FullMethodName, true},
		{"repeat at 4 ledger, after", ledgerv1.LedgerService_CreatePayment_FullMethodName, true},
		{"repeat at 5 cosigner, after", cosignerv1.CosignerService_Release_FullMethodName, true},
		{"repeat at 7 settle, after", ledgerv1.LedgerService_SettlePayment_FullMethodName, true},
	} {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			order := client.Order{ID: "crash", Recipient: w.shop.Wallet(), Units: 20 * usd, Purpose: "crash test"}
			asked, err := w.payer.Pay(ctx, order)
			if err != nil || asked.State != typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW {
				t.Fatalf("20 USD: %v, %v, want PENDING_REVIEW", asked, err)
			}
			approve := func(ctx context.Context) error {
				_, err := w.Owner().Approve(ctx, asked.Name)
				return err
			}
			if p.method == ledgerv1.LedgerService_AnswerReview_FullMethodName {
				w.crash(t, p.method, p.after, approve)
				if err := approve(ctx); err != nil {
					t.Fatalf("the answer's repeat: %v", err)
				}
			} else {
				if err := approve(ctx); err != nil {
					t.Fatal(err)
				}
				w.crash(t, p.method, p.after, func(ctx context.Context) error {
					_, err := w.payer.Resume(ctx, order.ID)
					return err
				})
			}
			paid, err := w.payer.Resume(ctx, order.ID)
			if err != nil || paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
				t.Fatalf("the repeat: %v, %v, want SETTLED", paid, err)
			}
			if !bytes.Equal(paid.Settlement.GetIntentDigest(), evidence.IntentDigest(asked.Proto.GetIntent()).Bytes()) {
				t.Error("what settled is not the intent that was approved")
			}
			w.checkOnePayment(ctx, t, asked.Name, 20*usd)
		})
	}
}

func TestCrashInPayment(t *testing.T) {
	for _, p := range points {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t)
			order := client.Order{ID: "crash", Recipient: w.shop.Wallet(), Units: 2 * usd, Purpose: "crash test"}
			w.crash(t, p.method, p.after, func(ctx context.Context) error {
				_, err := w.payer.Pay(ctx, order)
				return err
			})
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			paid, err := w.payer.Pay(ctx, order)
			if err != nil {
				t.Fatalf("the repeat: %v", err)
			}
			if paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
				t.Fatalf("the repeat ended in %v, want SETTLED", paid.State)
			}
			w.checkOnePayment(ctx, t, paid.Name, 2*usd)
		})
	}
}

// checkOnePayment demands one payment, one hold that ended, one settlement, and journals that verify.
func (w *world) checkOnePayment(ctx context.Context, t *testing.T, name string, units int64) {
	t.Helper()
	payments, err := w.payer.Payments(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(payments) != 1 || payments[0].Name != name {
		t.Errorf("the payer has %d payments, want one", len(payments))
	}
	for _, side := range []struct {
		agent *client.Agent
		want  int64
	}{{w.payer, 100*usd - units}, {w.shop, units}} {
		account, err := side.agent.Account(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := []client.Balance{{Asset: w.Installation().BookUSD(), Available: side.want}}
		if !slices.Equal(account.Balances, want) {
			t.Errorf("%s has %v, want %v", side.agent.Handle(), account.Balances, want)
		}
		w.verifyJournal(ctx, t, side.agent)
	}
}

func (w *world) verifyJournal(ctx context.Context, t *testing.T, a *client.Agent) {
	t.Helper()
	journal, err := a.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.Verify(w.Installation()); err != nil {
		t.Errorf("journal of %s: %v", a.Handle(), err)
	}
}

func TestCrashInClaim(t *testing.T) {
	for _, p := range []struct {
		name, method string
		after        bool
	}{
		{"cosigner, before", cosignerv1.CosignerService_SealWallet_FullMethodName, false},
		{"cosigner, after", cosignerv1.CosignerService_SealWallet_FullMethodName, true},
		{"policy, after", policyv1.PolicyService_OpenWallet_FullMethodName, true},
		{"ledger, after", ledgerv1.LedgerService_OpenAccount_FullMethodName, true},
		{"identity, after", identityv1.IdentityService_ActivateWallet_FullMethodName, true},
	} {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c := w.Client(w.Home())
			r, err := c.Register(ctx, client.RegisterOptions{Name: "Late", OwnerEmail: halfkeytest.Email})
			if err != nil {
				t.Fatal(err)
			}
			w.crash(t, p.method, p.after, func(ctx context.Context) error {
				_, err := w.Owner().Claim(ctx, r.ClaimCode)
				return err
			})
			if _, err := w.Owner().Claim(ctx, r.ClaimCode); err != nil {
				t.Fatalf("the repeat: %v", err)
			}
			late, err := c.Agent(r.Wallet)
			if err != nil {
				t.Fatal(err)
			}
			w.GuardRails(late, client.StandardRules(w.shop.GroupKey()))
			w.Fund(late, 10*usd)
			paid, err := late.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: usd})
			if err != nil || paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
				t.Fatalf("a payment after the claim: %v, %v", paid, err)
			}
		})
	}
}

func TestCrashInGuardRails(t *testing.T) {
	for _, p := range []struct {
		name, method string
		after        bool
	}{
		{"policy, before", policyv1.PolicyService_SetGuardRails_FullMethodName, false},
		{"policy, after", policyv1.PolicyService_SetGuardRails_FullMethodName, true},
		{"ledger, after", ledgerv1.LedgerService_SetGuardRails_FullMethodName, true},
		{"cosigner, after", cosignerv1.CosignerService_SetGuardRails_FullMethodName, true},
	} {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			rules := client.StandardRules(w.shop.GroupKey())
			rules.AutoApprove = 7 * usd
			set := func(ctx context.Context) error {
				_, err := w.Owner().SetGuardRails(ctx, w.payer.Wallet(), rules)
				return err
			}
			w.crash(t, p.method, p.after, set)
			// A payment meanwhile meets holders that may differ, and is led forward or judged by the old rules; it never fails.
			if _, err := w.payer.Pay(ctx, client.Order{ID: "meanwhile", Recipient: w.shop.Wallet(), Units: usd}); err != nil {
				t.Fatalf("a payment while holders differ: %v", err)
			}
			if err := set(ctx); err != nil {
				t.Fatalf("the repeat: %v", err)
			}
			paid, err := w.payer.Pay(ctx, client.Order{ID: "after", Recipient: w.shop.Wallet(), Units: 6 * usd})
			if err != nil || paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
				t.Fatalf("a payment of 6 USD under the new threshold: %v, %v", paid, err)
			}
		})
	}
}

func TestCrashInFreeze(t *testing.T) {
	for _, service := range []string{"ledger", "cosigner"} {
		t.Run(service, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			freeze := func(ctx context.Context) error {
				_, err := w.Owner().Freeze(ctx, w.payer.Wallet(), "f1")
				return err
			}
			unfreeze := func(ctx context.Context) error {
				_, err := w.Owner().Unfreeze(ctx, w.payer.Wallet(), "f1")
				return err
			}
			froze, unfroze := ledgerv1.LedgerService_Freeze_FullMethodName, ledgerv1.LedgerService_Unfreeze_FullMethodName
			if service == "cosigner" {
				froze, unfroze = cosignerv1.CosignerService_Freeze_FullMethodName, cosignerv1.CosignerService_Unfreeze_FullMethodName
			}
			w.crash(t, froze, false, freeze)
			if err := freeze(ctx); err != nil {
				t.Fatalf("the freeze's repeat: %v", err)
			}
			_, err := w.payer.Pay(ctx, client.Order{ID: "frozen", Recipient: w.shop.Wallet(), Units: usd})
			if client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
				t.Fatalf("a payment of a frozen wallet: %v, want FROZEN", err)
			}
			w.crash(t, unfroze, false, unfreeze)
			if err := unfreeze(ctx); err != nil {
				t.Fatalf("the unfreeze's repeat: %v", err)
			}
			paid, err := w.payer.Pay(ctx, client.Order{ID: "after", Recipient: w.shop.Wallet(), Units: usd})
			if err != nil || paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
				t.Fatalf("a payment after the unfreeze: %v, %v", paid, err)
			}
			if err := freeze(ctx); client.ReasonOf(err) != typev1.Reason_REASON_FREEZE_ID_USED {
				t.Fatalf("a used freeze id: %v, want FREEZE_ID_USED", err)
			}
			w.verifyJournal(ctx, t, w.payer)
		})
	}
}
