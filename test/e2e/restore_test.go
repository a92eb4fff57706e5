package e2e_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// backup copies files of a killed installation's directory, and restore puts them back.
func backup(t *testing.T, dir string, patterns ...string) (restore func()) {
	t.Helper()
	kept := t.TempDir()
	names := func() []string {
		var all []string
		for _, p := range patterns {
			found, err := filepath.Glob(filepath.Join(dir, p))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
		return all
	}
	for _, name := range names() {
		if err := copyTree(filepath.Join(kept, filepath.Base(name)), name); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		for _, name := range names() {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := copyTree(dir, kept); err != nil {
			t.Fatal(err)
		}
	}
}

// copyTree copies a file, or a directory's content, with its modes.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
}

// TestLedgerPutBack: an agent that has seen more than a restored ledger has gets LEDGER_BEHIND and no payment, until the
// operator's journaled statement accepts the loss.
func TestLedgerPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.Kill()
	restore := backup(t, w.Dir(), "ledger.db*")
	w.Restart()
	if _, err := w.payer.Pay(ctx, client.Order{ID: "lost", Recipient: w.shop.Wallet(), Units: usd}); err != nil {
		t.Fatal(err)
	}
	seen, err := w.payer.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.Kill()
	restore()
	w.Restart()
	order := client.Order{ID: "next", Recipient: w.shop.Wallet(), Units: usd}
	if _, err := w.payer.Pay(ctx, order); client.ReasonOf(err) != typev1.Reason_REASON_LEDGER_BEHIND {
		t.Fatalf("a payment with a ledger that was put back: %v, want LEDGER_BEHIND", err)
	}
	if _, err := w.Operator().AcceptLoss(ctx, w.payer.Wallet(), seen.Head.GetEntry(), seen.Head.GetEntryHash()); err != nil {
		t.Fatal(err)
	}
	paid, err := w.payer.Pay(ctx, order)
	if err != nil || paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Fatalf("a payment after the loss was accepted: %v, %v", paid, err)
	}
	w.verifyJournal(ctx, t, w.payer)
}

// TestDirectoryPutBack: identity, policy and co-signer put back to a time before the guard rails changed five times, twice to another
// owner key and the last time to another request key, are led forward, version by version, by the next payment. Identity gets back
// by which keys it knows the owner from the owner's home.
func TestDirectoryPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.Kill()
	restore := backup(t, w.Dir(), "etcd")
	w.Restart()
	rules := client.StandardRules(w.shop.GroupKey())
	rules.AutoApprove = 6 * usd
	w.GuardRails(w.payer, rules)
	for range 2 {
		if _, err := w.owner(t).RotateKeys(ctx, client.RotateOptions{Renew: true}); err != nil {
			t.Fatal(err)
		}
	}
	owner := w.owner(t)
	rules.AutoApprove = 8 * usd
	if _, err := owner.SetGuardRails(ctx, w.payer.Wallet(), rules); err != nil {
		t.Fatal(err)
	}
	offer, err := w.payer.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	newest, err := owner.RotateRequestKey(ctx, offer)
	if err != nil {
		t.Fatal(err)
	}
	w.Kill()
	restore()
	w.Restart()
	paid, err := w.payer.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 7 * usd})
	if err != nil || paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Fatalf("a payment of 7 USD under the newest guard rails and request key: %v, %v", paid, err)
	}
	w.wantAgreed(ctx, t, w.payer.Wallet(), newest.Digest[:])
	if _, err := owner.GuardRails(ctx, w.payer.Wallet()); err != nil {
		t.Errorf("the owner by its newest key, about a wallet: %v", err)
	}
	if _, err := owner.RotateKeys(ctx, client.RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Wallets(ctx); err != nil {
		t.Errorf("the owner by its newest key, about itself: %v", err)
	}
	if _, err := w.Owner().Wallets(ctx); client.ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("the owner by the key of the copy: %v, want UNAUTHENTICATED", err)
	}
}

// TestRevocationOutlivesARestore: who is put back to a time before an agent was revoked and its wallet's request key changed learns
// of both, in this order. Under the newest head alone it would refuse the revocation: a wallet that was given up would be free with
// it, and guard rails that name the revoked key again would bring the agent back.
func TestRevocationOutlivesARestore(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ store, holder string }{{"etcd", "cosigner"}, {"ledger.db*", "ledger"}} {
		t.Run(tt.holder, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			w.Kill()
			restore := backup(t, w.Dir(), tt.store)
			w.Restart()
			revocation, err := w.Owner().Revoke(ctx, w.payer.Wallet(), client.RevokeOptions{Abandon: true})
			if err != nil {
				t.Fatal(err)
			}
			old := w.nameRequestKey(ctx, t, newKey(t))
			w.Kill()
			restore()
			w.Restart()
			w.nameRequestKey(ctx, t, newKey(t)) // Another version, which the holders meet for.
			if got := w.freezeIn(ctx, t, tt.holder, w.payer.Wallet(), revocation.FreezeID); got != (held{frozen: true}) {
				t.Errorf("%s holds %+v, want the revocation in force", tt.holder, got)
			}
			w.nameRequestKey(ctx, t, old) // By an owner's slip.
			if _, err := w.payer.Account(ctx); client.ReasonOf(err) != typev1.Reason_REASON_REVOKED {
				t.Errorf("the revoked agent after the restore: %v, want REVOKED", err)
			}
		})
	}
}

// TestRevokedBeforeEverything: identity and co-signer, put back to a time before a wallet existed, have lost it. Identity gets it back
// from ledger and policy, and with it that its agent was revoked.
func TestRevokedBeforeEverything(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h.Owner()
	h.Kill()
	restore := backup(t, h.Dir(), "etcd")
	h.Restart()
	agent := h.Agent("Research Agent")
	if _, err := h.Owner().Revoke(ctx, agent.Wallet(), client.RevokeOptions{Abandon: true}); err != nil {
		t.Fatal(err)
	}
	h.Kill()
	restore()
	h.Restart()
	if _, err := agent.Account(ctx); client.ReasonOf(err) != typev1.Reason_REASON_REVOKED {
		t.Errorf("the revoked agent of a wallet that was lost: %v, want REVOKED", err)
	}
}

func newKey(t *testing.T) ed25519.PublicKey {
	t.Helper()
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// nameRequestKey sets guard rails of the payer's that name another request key, and answers with the one that they named before.
func (w *world) nameRequestKey(ctx context.Context, t *testing.T, key []byte) (before []byte) {
	t.Helper()
	head, err := w.Owner().GuardRails(ctx, w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	before, head.Document.RequestKey = head.Document.GetRequestKey(), key
	if _, err := w.Owner().SetDocument(ctx, head.Document); err != nil {
		t.Fatal(err)
	}
	return before
}

// TestOwnerFreeze: an owner's freeze stops every wallet of that owner until its unfreeze.
func TestOwnerFreeze(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.GuardRails(w.shop, client.StandardRules(w.payer.GroupKey()))
	w.Fund(w.shop, 10*usd)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := w.Owner().FreezeAll(ctx, "all"); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[*client.Agent]*client.Agent{w.payer: w.shop, w.shop: w.payer} {
		if _, err := from.Pay(ctx, client.Order{ID: "stopped", Recipient: to.Wallet(), Units: usd}); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
			t.Errorf("%s pays: %v, want FROZEN", from.Handle(), err)
		}
	}
	if _, err := w.Owner().UnfreezeAll(ctx, "all"); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[*client.Agent]*client.Agent{w.payer: w.shop, w.shop: w.payer} {
		if p, err := from.Pay(ctx, client.Order{ID: "goes", Recipient: to.Wallet(), Units: usd}); err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
			t.Errorf("%s pays: %v, %v, want SETTLED", from.Handle(), p, err)
		}
	}
}

// TestUnclaimedEnds: a registration that nobody claimed within 24 hours can never be claimed.
func TestUnclaimedEnds(t *testing.T) {
	t.Parallel()
	clock := halfkeytest.NewClock(time.Now())
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	owner := h.Owner()
	r, err := h.Client(h.Home()).Register(ctx, client.RegisterOptions{Name: "Forgotten", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(24*time.Hour + time.Minute)
	if _, err := owner.Claim(ctx, r.ClaimCode); err == nil {
		t.Fatal("a registration was claimed after its 24 hours")
	}
	// Its handle is free again.
	again := h.Agent("Forgotten")
	if again.Handle() != r.Handle {
		t.Errorf("the handle is %q, want %q", again.Handle(), r.Handle)
	}
}

// TestClockJumps: a clock that jumps a day ahead and back again stops payments until the operator sets the wallet's time
// back; nothing is overspent and no hold is left.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	clock := halfkeytest.NewClock(time.Now())
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	payer, shop := h.Agent("Payer"), h.Agent("Shop")
	rules := client.StandardRules(shop.GroupKey())
	rules.Daily, rules.DailyDeny = 0, 10*usd
	h.GuardRails(payer, rules)
	h.Fund(payer, 100*usd)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pay := func(id string) (*client.Payment, error) {
		return payer.Pay(ctx, client.Order{ID: id, Recipient: shop.Wallet(), Units: 5 * usd, Deadline: 72 * time.Hour})
	}
	for _, id := range []string{"a", "b"} {
		if p, err := pay(id); err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
			t.Fatalf("payment %s: %v, %v", id, p, err)
		}
	}
	if p, err := pay("over"); err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_DENIED {
		t.Fatalf("a payment over the day's budget: %v, %v, want DENIED", p, err)
	}
	clock.Advance(48 * time.Hour)
	if p, err := pay("tomorrow"); err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Fatalf("a payment two days later: %v, %v", p, err)
	}
	clock.Advance(-48 * time.Hour)
	if _, err := pay("back"); client.ReasonOf(err) != typev1.Reason_REASON_CLOCK_BEHIND {
		t.Fatalf("a payment with the clock behind: %v, want CLOCK_BEHIND", err)
	}
	if _, err := h.Operator().SetTime(ctx, payer.Wallet(), "set-1", clock.Now()); err != nil {
		t.Fatal(err)
	}
	if p, err := pay("still-over"); err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_DENIED {
		t.Fatalf("the day's budget after the clock came back: %v, %v, want DENIED", p, err)
	}
	account, err := payer.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := account.Balances[0]; got.Available != 85*usd || got.Held != 0 {
		t.Errorf("balance is %+v, want 85 USD and nothing held", got)
	}
}
