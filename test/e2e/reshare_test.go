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
