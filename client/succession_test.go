package client_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// succeed puts a successor of an installation's file and a new key of one service into its directory, signed by operator, and starts
// it anew. It returns the first key of the service.
func succeed(t *testing.T, h *halfkeytest.System, service string, operator ed25519.PrivateKey, change evidence.Change) ed25519.PrivateKey {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	*map[string]*[]byte{"cosigner": &change.Cosigner, "policy": &change.Policy, "ledger": &change.Ledger}[service] = public
	next, err := evidence.MakeSuccessor(h.Installation(), change, operator)
	if err != nil {
		t.Fatal(err)
	}
	file, err := next.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		fmt.Sprintf("installation.%d.json", next.Number()): file,
		fmt.Sprintf("%s.%d.key", service, next.Number()):   []byte(hex.EncodeToString(key.Seed()) + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(h.Dir(), name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(h.Dir(), service+".key"))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	h.Restart()
	if got := h.Installation().Number(); got != next.Number() {
		t.Fatalf("the installation serves file number %d, want %d", got, next.Number())
	}
	return ed25519.NewKeyFromSeed(seed)
}

// forger signs statements again, on their way between the gateway and the services, under a key that was retired, and counts.
type forger struct {
	policy, ledger  atomic.Pointer[ed25519.PrivateKey]
	acknowledgement atomic.Pointer[forgedBy]
	// records counts how often the co-signer was asked for a wallet record.
	records atomic.Int64
}

// forgedBy is the service whose acknowledgement of guard rails is signed again, and the key.
type forgedBy struct {
	service string
	key     *ed25519.PrivateKey
}

func (f *forger) wrap(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return &forging{ClientConnInterface: conn, f: f, service: service}
}

type forging struct {
	grpc.ClientConnInterface
	f       *forger
	service string
}

func (c *forging) Invoke(ctx context.Context, method string, req, resp any, options ...grpc.CallOption) error {
	resign := func(key *ed25519.PrivateKey, e *typev1.Envelope) *typev1.Envelope {
		m, _ := evidence.NewStatement(e.GetPayloadType())
		if err := evidence.Peek(e, m); err != nil {
			return e
		}
		forged, err := evidence.Sign(*key, m)
		if err != nil {
			return e
		}
		return forged
	}
	switch r := req.(type) {
	case *cosignerv1.GetWalletRequest:
		c.f.records.Add(1)
	case *ledgerv1.CreatePaymentRequest:
		if key := c.f.policy.Load(); key != nil {
			r = proto.CloneOf(r)
			r.Verdict = resign(key, r.GetVerdict())
			req = r
		}
	case *cosignerv1.ReleaseRequest:
		if key := c.f.ledger.Load(); key != nil {
			r = proto.CloneOf(r)
			r.Receipt = resign(key, r.GetReceipt())
			req = r
		}
	}
	err := c.ClientConnInterface.Invoke(ctx, method, req, resp, options...)
	if by := c.f.acknowledgement.Load(); err == nil && by != nil && by.service == c.service {
		switch r := resp.(type) {
		case *policyv1.SetGuardRailsResponse:
			r.Acknowledgement = resign(by.key, r.GetAcknowledgement())
		case *ledgerv1.SetGuardRailsResponse:
			r.Acknowledgement = resign(by.key, r.GetAcknowledgement())
		case *cosignerv1.SetGuardRailsResponse:
			r.Acknowledgement = resign(by.key, r.GetAcknowledgement())
		}
	}
	return err
}

// TestServiceKeysInSuccession rotates the key of each service, one after the other, while agents pay. What was paid before and after
// counts, for a client that is two files behind and more as well; what a retired key signs now counts nowhere.
func TestServiceKeysInSuccession(t *testing.T) {
	t.Parallel()
	f := new(forger)
	h := halfkeytest.Start(t, halfkeytest.WithWrap(f.wrap))
	ctx := testContext(t)
	shop := h.Agent("Shop")
	home := h.Home()
	r, err := h.Client(home).Register(ctx, client.RegisterOptions{Name: "Payer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	payer, err := h.Client(home).Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 100*usd)
	mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: 1000}, settled)
	behind := copyHome(t, home)               // It has followed the chain a moment ago, and asks again in five minutes.
	behindOwner := copyHome(t, h.OwnerHome()) // The same of an owner.
	watcher := h.Home()                       // It knows the installation by number 1 alone.

	// Under load: an agent that pays goes on through each rotation, with the same id until it knows the end.
	load := payUntilStopped(t, payer, shop.Wallet())
	operator := h.OperatorKey()
	policy := succeed(t, h, "policy", operator, evidence.Change{})
	ledger := succeed(t, h, "ledger", operator, evidence.Change{})
	secondPublic, second, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cosigner := succeed(t, h, "cosigner", operator, evidence.Change{
		AddOperators: [][]byte{secondPublic}, RemoveOperators: h.Installation().Operators(),
	})
	load.wait(5)
	paid := load.stop()
	mustPay(t, payer, client.Order{Recipient: "@shop", Units: 1000}, settled)

	t.Run("money", func(t *testing.T) {
		want := int64(2+paid) * 1000
		if got := balance(t, shop); got != want {
			t.Errorf("the shop has %d, and %d payments of 1000 were told as settled", got, 2+paid)
		}
	})
	t.Run("a client files behind", func(t *testing.T) {
		c := h.Client(behind)
		old, err := c.Agent(r.Wallet)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.Installation().Number(); n != 1 {
			t.Fatalf("it begins at file number %d", n)
		}
		// The list begins with what the retired ledger key signed, and the last page is of the current one.
		payments, err := old.Payments(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range payments {
			if p.State == settled && p.Settlement == nil {
				t.Errorf("%s has no settlement that verifies", p.Name)
			}
		}
		if len(payments) != 2+paid {
			t.Errorf("%d payments, want %d", len(payments), 2+paid)
		}
		if n := c.Installation().Number(); n != 4 {
			t.Errorf("it follows file number %d, want 4", n)
		}
		mustPay(t, old, client.Order{Recipient: shop.Wallet(), Units: 1000}, settled)
		if i, err := behind.Installation(); err != nil || i.Number() != 4 {
			t.Errorf("its home is pinned to %v, %v", i, err)
		}
	})
	t.Run("an owner files behind", func(t *testing.T) {
		owner, err := h.Client(behindOwner).Owner()
		if err != nil {
			t.Fatal(err)
		}
		wallets, err := owner.Wallets(ctx)
		if err != nil || len(wallets) != 2 {
			t.Fatalf("%d wallets, %v", len(wallets), err)
		}
		s, err := owner.Freeze(ctx, r.Wallet, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := owner.Unfreeze(ctx, r.Wallet, s.FreezeID); err != nil {
			t.Fatal(err)
		}
		if _, err := owner.SetGuardRails(ctx, r.Wallet, client.StandardRules(shop.GroupKey())); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("whole journal", func(t *testing.T) {
		c := h.Client(watcher)
		if _, err := c.EarlierInstallations(ctx); err != nil {
			t.Fatal(err)
		}
		j, err := h.Owner().Journal(ctx, r.Wallet)
		if err != nil {
			t.Fatal(err)
		}
		earlier, err := c.EarlierInstallations(ctx)
		if err != nil || len(earlier) != 3 {
			t.Fatalf("%d files before, %v", len(earlier), err)
		}
		report, err := client.VerifyJournal(c.Installation(), j.Wallet, j.Entries, j.Head, earlier...)
		if err != nil {
			t.Fatal(err)
		}
		if report.Payments[settled] != 3+paid {
			t.Errorf("it proves %d settled payments, want %d", report.Payments[settled], 3+paid)
		}
		first, err := evidence.LoadInstallation(h.InstallationFile())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.VerifyJournal(first, j.Wallet, j.Entries, j.Head); err == nil {
			t.Error("it verifies by the first file, whose ledger key is retired")
		}
	})
	t.Run("wallet records", func(t *testing.T) {
		// A client that comes only now pays by name, and finds the wallet record under the new record key.
		fresh := h.Agent("Late Shop")
		h.GuardRails(fresh, client.StandardRules(shop.GroupKey()))
		if _, err := h.Client(watcher).Operator(second).Wallet(ctx, "@payer"); err != nil {
			t.Error(err)
		}
		// By then those who hold the record have it under the new key, and the co-signer is not asked again.
		before := f.records.Load()
		if _, err := h.Client(h.Home()).Operator(second).Wallet(ctx, "@payer"); err != nil {
			t.Error(err)
		}
		if asked := f.records.Load() - before; asked != 0 {
			t.Errorf("the co-signer was asked %d times more for the record", asked)
		}
	})
	t.Run("approval under a retired key", func(t *testing.T) {
		before := balance(t, shop)
		f.policy.Store(&policy)
		_, err := payer.Pay(ctx, client.Order{ID: "forged-approval", Recipient: shop.Wallet(), Units: 1000})
		f.policy.Store(nil)
		wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, notMoved)
		if got := balance(t, shop); got != before {
			t.Errorf("the shop got %d", got-before)
		}
	})
	t.Run("receipt under a retired key", func(t *testing.T) {
		before := balance(t, shop)
		f.ledger.Store(&ledger)
		_, err := payer.Pay(ctx, client.Order{ID: "forged-receipt", Recipient: shop.Wallet(), Units: 1000})
		f.ledger.Store(nil)
		wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, notMoved)
		if got := balance(t, shop); got != before {
			t.Errorf("the shop got %d", got-before)
		}
		// It was recorded, and goes on by the true receipt.
		mustPay(t, payer, client.Order{ID: "forged-receipt", Recipient: shop.Wallet(), Units: 1000}, settled)
	})
	t.Run("acknowledgement under a retired key", func(t *testing.T) {
		for service, key := range map[string]*ed25519.PrivateKey{"policy": &policy, "ledger": &ledger, "cosigner": &cosigner} {
			f.acknowledgement.Store(&forgedBy{service, key})
			s, err := h.Owner().SetGuardRails(ctx, r.Wallet, client.StandardRules(shop.GroupKey()))
			f.acknowledgement.Store(nil)
			if err == nil {
				t.Errorf("%s: in force: %v", service, s)
			}
			wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, notMoved)
		}
		// What the services have taken is in force, and the next answer says so.
		if _, err := h.Owner().SetGuardRails(ctx, r.Wallet, client.StandardRules(shop.GroupKey())); err != nil {
			t.Error(err)
		}
	})
}

// load is an agent that pays without end.
type load struct {
	paid    atomic.Int64
	stopped atomic.Bool
	done    sync.WaitGroup
}

func payUntilStopped(t *testing.T, a *client.Agent, to string) *load {
	t.Helper()
	l := new(load)
	l.done.Go(func() {
		defer l.stopped.Store(true)
		for n := 0; !l.stopped.Load(); n++ {
			order := client.Order{ID: fmt.Sprintf("load-%d", n), Recipient: to, Units: 1000}
			deadline := time.Now().Add(time.Minute)
			for {
				p, err := a.Pay(context.Background(), order)
				if err == nil && p.State == settled {
					break
				}
				if err == nil || time.Now().After(deadline) {
					t.Errorf("payment %d: %v, %v", n, p, err)
					return
				}
				time.Sleep(20 * time.Millisecond) // The services are being started.
			}
			l.paid.Add(1)
		}
	})
	return l
}

// wait waits for n further payments.
func (l *load) wait(n int64) {
	for until := l.paid.Load() + n; l.paid.Load() < until && !l.stopped.Load(); {
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *load) stop() int {
	l.stopped.Store(true)
	l.done.Wait()
	return int(l.paid.Load())
}

// TestUnknownKeyIsLookedUpOnce shows what a gateway gets that answers with statements of a key that nobody named: a look at the chain
// now and then, and no belief.
func TestUnknownKeyIsLookedUpOnce(t *testing.T) {
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	agent, _, _ := p.agent(h, "Payer")
	ctx := testContext(t)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	alter(p, "GetAccount", func(r *gatewayv1.GetAccountResponse) {
		head := new(typev1.JournalHead)
		if err := evidence.Peek(r.GetHead(), head); err != nil {
			t.Error(err)
		}
		if r.Head, err = evidence.Sign(stranger, head); err != nil {
			t.Error(err)
		}
	})
	before, started := p.called("GetInstallations"), time.Now()
	const calls = 50
	for range calls {
		if _, err := agent.Account(ctx); err == nil {
			t.Fatal("a head under a stranger's key counts")
		}
	}
	looks := p.called("GetInstallations") - before
	if most := 1 + int(time.Since(started)/(2*time.Second)); looks < 1 || looks > most {
		t.Errorf("%d looks for newer installation files in %d answers, want 1 to %d", looks, calls, most)
	}
}
