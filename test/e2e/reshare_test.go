package e2e_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/frost"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// resharingMax bounds a test of a resharing from end to end.
const resharingMax = time.Minute

// release asks the co-signer for a share, past the gateway.
func (w *world) release(ctx context.Context, evidence *cosignerv1.ReleaseRequest) ([]byte, error) {
	got, err := cosignerv1.NewCosignerServiceClient(w.crasher.conn("cosigner")).Release(ctx, evidence)
	return got.GetRelease(), err
}

// TestRefreshAfterALeak copies an agent's home and answers it by a refresh, with a restart of the whole system between any
// two steps. The thief has the old share, the old request key, all evidence of a payment that it was let make, and the gateway's own
// way to the co-signer; no signature comes of it.
func TestRefreshAfterALeak(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	stolen := w.steal(t)
	w.wantPays(ctx, t, stolen.agent, usd) // Nobody has noticed yet.
	evidence := w.crasher.lastEvidence()
	if _, err := w.release(ctx, evidence); err != nil {
		t.Fatalf("the evidence of a payment, brought again: %v", err)
	}
	w.Restart()

	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.Restart()
	if r, err := w.Owner().Refresh(ctx, offer); err != nil || r.State != ordered {
		t.Fatalf("the order: %v, %v, want ORDERED", r, err)
	}
	w.Restart()
	// From the order on, before the agent has done anything.
	w.wantRefused(ctx, t, stolen)
	if _, err := w.release(ctx, evidence); err == nil {
		t.Error("the co-signer releases on evidence by a request key that was replaced")
	}
	if r, err := w.reopened(t).Reshare(ctx); err != nil || r.State != reshared {
		t.Fatalf("the refresh: %v, %v, want DONE", r, err)
	}
	w.Kill()
	w.wantEpochs(t, 2)
	w.Restart()
	w.wantSharing(ctx, t, 2, reshared)
	w.wantRefused(ctx, t, stolen)
	w.wantPowerless(t, stolen.share)
	if _, err := w.release(ctx, evidence); err == nil {
		t.Error("the co-signer releases on evidence from before the refresh")
	}
	w.verifyJournal(ctx, t, w.reopened(t))
}

// TestRefreshWhileFrozen answers a leak as an owner in a hurry does: freeze first, refresh then, and unfreeze when it is done.
func TestRefreshWhileFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	stolen := w.steal(t)
	if _, err := w.Owner().Freeze(ctx, w.payer.Wallet(), "leak"); err != nil {
		t.Fatal(err)
	}
	if _, err := stolen.agent.Pay(ctx, w.order("theft", usd)); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Errorf("the thief's payment: %v, want FROZEN", err)
	}
	if r := w.refresh(ctx, t); r.State != reshared {
		t.Errorf("a frozen wallet's refresh is %v, want DONE", r.State)
	}
	if _, err := w.reopened(t).Pay(ctx, w.order("early", usd)); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Errorf("a payment by the new shares, before the end of the freeze: %v, want FROZEN", err)
	}
	if _, err := w.Owner().Unfreeze(ctx, w.payer.Wallet(), "leak"); err != nil {
		t.Fatal(err)
	}
	w.wantSharing(ctx, t, 2, reshared)
	w.wantRefused(ctx, t, stolen)
	w.wantPowerless(t, stolen.share)
}

// TestRecoveryShare gives a wallet a recovery share while its agent's home has leaked: the request key stays, so the thief is
// still let in as far as the guard rails let the agent, and its old share makes no signature of what it is given there. A refresh
// with the recovery share out then renews all three.
func TestRecoveryShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	stolen := w.steal(t)
	w.enrol(ctx, t, w.beside("recovery"))
	w.Restart()
	if _, err := w.Owner().OpenRecovery(ctx, w.recovery, passphrase()); client.ReasonOf(err) != typev1.Reason_REASON_WRONG_STATE {
		t.Errorf("opening a recovery share before there is one: %v, want WRONG_STATE", err)
	}
	if r, err := w.reopened(t).Reshare(ctx); err != nil || r.State != recoveryPending {
		t.Fatalf("the enrolment: %v, %v, want RECOVERY_PENDING", r, err)
	}
	w.Kill()
	w.wantEpochs(t, 1, 2)
	w.Restart()
	w.wantSharing(ctx, t, 2, recoveryPending)
	w.wantPowerless(t, stolen.share)
	if p, err := stolen.agent.Pay(ctx, w.order("theft", usd)); !errors.Is(err, frost.ErrShare) {
		t.Errorf("a payment with the old share: %v, %v, want that the co-signer's new share does not fit it", p, err)
	}
	found, err := w.reopened(t).Payment(ctx, "theft")
	if err != nil || found.State != authorized {
		t.Errorf("the thief's payment is %v, %v, want AUTHORIZED: it was released, and not signed", found, err)
	}
	w.open(ctx, t)
	w.Kill()
	w.wantEpochs(t, 2)
	w.wantExit(t)
	w.Restart()

	leaked := w.steal(t)
	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	old := w.beside("old-recovery")
	if err := copyTree(old, w.recovery); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().Refresh(ctx, offer); err != nil {
		t.Fatal(err)
	}
	w.Restart()
	if r, err := w.reopened(t).Reshare(ctx); err != nil || r.State != recoveryPending {
		t.Fatalf("the refresh: %v, %v, want RECOVERY_PENDING", r, err)
	}
	w.Kill()
	w.wantEpochs(t, 2, 3)
	// What RECOVERY_PENDING warns of: the old share 3 is still in the owner's file, and with the old share 1 it is the key.
	message := []byte("the old pair")
	signature, err := client.ExitSign(leaked.agent, old, passphrase(), message)
	if key := w.payer.GroupKey(); err != nil || !ed25519.Verify(key[:], message, signature[:]) {
		t.Errorf("the old shares 1 and 3 do not sign: %v", err)
	}
	w.Restart()
	w.wantSharing(ctx, t, 3, recoveryPending)
	w.wantRefused(ctx, t, leaked)
	w.wantPowerless(t, leaked.share)
	w.open(ctx, t)
	w.Kill()
	w.wantEpochs(t, 3)
	w.wantExit(t)
	w.Restart()
	w.wantSharing(ctx, t, 3, reshared)

	// The file's key still opens what was dealt to it before, and the leaked home holds that. Another recovery share ends it.
	w.enrol(ctx, t, w.beside("new-recovery"))
	w.Restart()
	w.reshareAndOpen(ctx, t)
	w.Kill()
	w.wantEpochs(t, 4)
	w.wantExit(t)
	if _, err := client.ExitSign(leaked.agent, w.recovery, passphrase(), message); client.ReasonOf(err) != typev1.Reason_REASON_KEY_LOST {
		t.Errorf("a leaked share with the owner's new file: %v, want KEY_LOST", err)
	}
}

// TestLostAgent loses an agent's home. The owner takes the wallet over with the recovery share, and pays out; then the whole
// installation is gone, and the owner signs without it.
func TestLostAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	w.enrol(ctx, t, w.beside("recovery"))
	w.Restart()
	w.reshareAndOpen(ctx, t)
	w.Restart()

	found := w.steal(t) // Who finds the lost home.
	taker := w.copyHome(t, w.OwnerHome())
	owner, err := w.Client(taker).Owner()
	if err != nil {
		t.Fatal(err)
	}
	a, err := owner.Replace(ctx, w.payer.Wallet(), w.recovery, passphrase())
	if err != nil {
		t.Fatal(err)
	}
	if a.GroupKey() != w.payer.GroupKey() || a.Handle() != w.payer.Handle() {
		t.Errorf("the owner took over @%s %x, want @%s %x", a.Handle(), a.GroupKey(), w.payer.Handle(), w.payer.GroupKey())
	}
	w.home = taker
	w.Kill()
	w.wantEpochs(t, 3)
	w.Restart()
	w.wantSharing(ctx, t, 3, reshared)
	w.wantRefused(ctx, t, found)
	w.wantPowerless(t, found.share)
	w.verifyJournal(ctx, t, w.reopened(t))
	// Everything goes to another wallet, by an ordinary payment.
	account := w.balance(ctx, t, a)
	rules := w.rules()
	rules.AutoApprove, rules.HardCap = account.Available, account.Available
	w.GuardRails(a, rules)
	w.wantPays(ctx, t, w.reopened(t), account.Available)
	w.wantBalance(ctx, t, a, 0, 0)

	w.Kill()
	w.wantExit(t)
}

// refresh gives the payer's key new shares, at a request key of its own.
func (w *world) refresh(ctx context.Context, t *testing.T) *client.Resharing {
	t.Helper()
	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().Refresh(ctx, offer); err != nil {
		t.Fatal(err)
	}
	r, err := w.reopened(t).Reshare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRefreshDuringPayments overtakes payments by a refresh: one whose share was released and not used, one that waits for a
// person, and one that waits because a thief has asked for it. The first two are made, once, and the owner can tell by whose key.
func TestRefreshDuringPayments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	released := point{step: stepCosigner, nth: 1, after: true}
	wantNext(t, w.crash(t, released, func(ctx context.Context) error {
		_, err := w.payer.Pay(ctx, w.order("released", usd))
		return err
	}))
	waiting, err := w.reopened(t).Pay(ctx, w.order("waiting", 20*usd))
	if err != nil || waiting.State != pendingReview {
		t.Fatalf("a payment over the threshold: %v, %v, want PENDING_REVIEW", waiting, err)
	}
	stolen := w.steal(t)
	theft, err := stolen.agent.Pay(ctx, w.order("theft", 30*usd))
	if err != nil || theft.State != pendingReview {
		t.Fatalf("a thief's payment over the threshold: %v, %v, want PENDING_REVIEW", theft, err)
	}
	before := w.balance(ctx, t, w.payer)
	w.refresh(ctx, t)
	later, err := w.reopened(t).Pay(ctx, w.order("later", 40*usd))
	if err != nil {
		t.Fatal(err)
	}
	reviews, err := w.Owner().Reviews(ctx)
	if err != nil || len(reviews) != 3 {
		t.Fatalf("the owner is shown %d payments that wait, %v, want 3", len(reviews), err)
	}
	for _, r := range reviews {
		if want := r.Payment != later.Name; r.FormerKey != want {
			t.Errorf("%s was asked for under a request key that was replaced %t, want %t", r.Payment, r.FormerKey, want)
		}
	}
	if p, err := w.Owner().Refuse(ctx, theft.Name); err != nil || p.State != denied {
		t.Errorf("refusing the thief's: %v, %v, want DENIED", p, err)
	}
	if _, err := w.Owner().Approve(ctx, waiting.Name); err != nil {
		t.Fatal(err)
	}
	a := w.reopened(t)
	for _, id := range []string{"released", "waiting"} {
		if p, err := a.Resume(ctx, id); err != nil || p.State != settled {
			t.Errorf("payment %s after the refresh: %v, %v, want SETTLED", id, p, err)
		}
	}
	w.wantBalance(ctx, t, a, before.Available-20*usd, 0)
	w.verifyJournal(ctx, t, a)
}

// TestCosignerPutBack puts identity, policy and co-signer back to a copy from before a refresh. The guard rails are led forward,
// and with them the request key; the co-signer's share is gone, and no older sharing is taken for the newest. Agent and recovery
// share still sign.
func TestCosignerPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	w.enrol(ctx, t, w.beside("recovery"))
	w.reshareAndOpen(ctx, t)
	w.Kill()
	restore := backup(t, w.Dir(), "etcd")
	w.Restart()
	w.refresh(ctx, t)
	w.open(ctx, t)
	w.wantSharing(ctx, t, 3, reshared)
	newest := w.head(ctx, t, "cosigner", w.payer.Wallet())
	w.Kill()
	restore()
	w.Restart()

	// By its new request key, of which identity knows nothing any more.
	if _, err := w.reopened(t).Account(ctx); err != nil {
		t.Fatalf("the agent after the restore: %v", err)
	}
	w.wantAgreed(ctx, t, w.payer.Wallet(), newest)
	if p, err := w.reopened(t).Pay(ctx, w.order("behind", usd)); !errors.Is(err, frost.ErrShare) {
		t.Errorf("a payment with a co-signer that has an older share: %v, %v, want that it does not fit", p, err)
	}
	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"a refresh":  func() error { _, err := w.Owner().Refresh(ctx, offer); return err },
		"the agent":  func() error { _, err := w.reopened(t).Reshare(ctx); return err },
		"an opening": func() error { _, err := w.Owner().OpenRecovery(ctx, w.recovery, passphrase()); return err },
		"a takeover": func() error { _, err := w.Owner().Replace(ctx, w.payer.Wallet(), w.recovery, passphrase()); return err },
	} {
		if err := call(); client.ReasonOf(err) != typev1.Reason_REASON_BAD_STATEMENT {
			t.Errorf("%s with the older sharing: %v, want BAD_STATEMENT", name, err)
		}
	}
	w.Kill()
	w.wantExit(t)
}

// TestPolicyPutBack puts identity, policy and co-signer back to a copy from before the guard rails changed: the owner, who has seen
// the newer version, sees it again, before anybody pays.
func TestPolicyPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	w.Kill()
	restore := backup(t, w.Dir(), "etcd")
	w.Restart()
	w.GuardRails(w.payer, client.StandardRules(w.shop.GroupKey()))
	newest := w.head(ctx, t, "policy", w.payer.Wallet())
	w.Kill()
	restore()
	w.Restart()
	if _, err := w.Owner().GuardRails(ctx, w.payer.Wallet()); err != nil {
		t.Fatalf("the owner after the restore: %v", err)
	}
	w.wantAgreed(ctx, t, w.payer.Wallet(), newest)
}

// TestOrderMeetsACosignerBehind crashes a refresh when policy and ledger know the new request key and the co-signer does not. The
// owner does not repeat it, and orders a recovery share instead: the order stands on guard rails that reach the co-signer first.
func TestOrderMeetsACosignerBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), resharingMax)
	defer cancel()
	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	behind := point{step: step{name: "cosigner", method: cosignerv1.CosignerService_SetGuardRails_FullMethodName}, nth: 1}
	wantNext(t, w.crash(t, behind, func(ctx context.Context) error {
		_, err := w.Owner().Refresh(ctx, offer)
		return err
	}))
	w.enrol(ctx, t, w.beside("recovery"))
	w.wantAgreed(ctx, t, w.payer.Wallet(), w.head(ctx, t, "policy", w.payer.Wallet()))
	w.reshareAndOpen(ctx, t)
	w.wantSharing(ctx, t, 2, reshared)
	w.wantExit(t)
}
