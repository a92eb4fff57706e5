package client_test

import (
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const revoked = typev1.Reason_REASON_REVOKED

// outside demands that nothing which an agent's home holds works any more.
func (w *resharingWorld) outside(t *testing.T, a *client.Agent, want typev1.Reason) {
	t.Helper()
	ctx := testContext(t)
	for name, call := range map[string]func() error{
		"pay":          func() error { _, err := a.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 1}); return err },
		"account":      func() error { _, err := a.Account(ctx); return err },
		"payments":     func() error { _, err := a.Payments(ctx, false); return err },
		"guard rails":  func() error { _, err := a.GuardRails(ctx); return err },
		"journal":      func() error { _, err := a.Journal(ctx); return err },
		"freeze":       func() error { _, err := a.Freeze(ctx, ""); return err },
		"make a share": func() error { _, err := a.Reshare(ctx); return err },
	} {
		if err := call(); client.ReasonOf(err) != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestRevoke: from the revocation on nothing works that the agent's home, or a thief's copy of it, holds. The wallet takes no
// money; with the recovery share its owner takes it over, ends the revocation and pays out by ordinary payments.
func TestRevoke(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	wallet, owner := w.payer.Wallet(), h.Owner()
	file := w.enrol(t)
	thief := steal(t, h, w.home)
	h.GuardRails(w.shop, client.StandardRules(w.payer.GroupKey()))
	h.Fund(w.shop, 100*usd)
	w.pays(t, thief)

	s, err := owner.Revoke(ctx, wallet, client.RevokeOptions{})
	if err != nil || !s.Frozen || s.FreezeID == "" {
		t.Fatalf("Revoke = %+v, %v", s, err)
	}
	if again, err := owner.Revoke(ctx, wallet, client.RevokeOptions{}); err != nil || again.FreezeID != s.FreezeID {
		t.Errorf("the repeat: %+v, %v; want the same revocation", again, err)
	}
	stopped := func() {
		t.Helper()
		w.outside(t, thief, revoked)
		w.outside(t, w.payer, revoked)
		_, err := h.Owner().Unfreeze(ctx, wallet, s.FreezeID)
		wantReason(t, err, revoked, notMoved)
		_, err = w.shop.Pay(ctx, client.Order{Recipient: wallet, Units: usd})
		wantReason(t, err, revoked, notMoved)
	}
	stopped()
	_, err = h.Operator().Deposit(ctx, wallet, "late", usd)
	wantReason(t, err, revoked, notMoved)
	freezes, frozen, err := owner.Freezes(ctx, wallet)
	if err != nil || !frozen || len(freezes) != 1 || freezes[0].GetRevocation() == nil {
		t.Errorf("freezes %v, %v, %v", freezes, frozen, err)
	}
	h.Restart()
	stopped()

	taken, err := h.Owner().Replace(ctx, wallet, file, passphrase())
	if err != nil {
		t.Fatalf("taking over: %v", err)
	}
	_, err = taken.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: usd})
	wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
	_, err = w.shop.Pay(ctx, client.Order{Recipient: wallet, Units: usd})
	wantReason(t, err, revoked, notMoved)
	if u, err := h.Owner().Unfreeze(ctx, wallet, s.FreezeID); err != nil || u.Frozen {
		t.Fatalf("the end of the revocation: %+v, %v", u, err)
	}
	mustPay(t, taken, client.Order{ID: "out", Recipient: w.shop.Wallet(), Units: 5 * usd}, settled)
	mustPay(t, w.shop, client.Order{Recipient: wallet, Units: usd}, settled)
	w.outside(t, thief, typev1.Reason_REASON_UNAUTHENTICATED)
	j, err := taken.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Verify(h.Installation()); err != nil {
		t.Errorf("the journal: %v", err)
	}
}

// TestRevokeWithoutRecovery: a wallet whose money nobody could pay out afterwards is revoked only if it is given up.
func TestRevokeWithoutRecovery(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	wallet, owner := w.payer.Wallet(), h.Owner()
	_, err := owner.Revoke(ctx, wallet, client.RevokeOptions{})
	e := wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	if e.Metadata["available"] != "500000000" || e.Metadata["asset"] != h.Installation().BookUSD() || !strings.Contains(e.Next, "abandon") {
		t.Errorf("it does not say what is lost: %v, %q", e.Metadata, e.Next)
	}
	// A recovery share that was only ordered is none.
	if _, err := owner.CreateRecovery(ctx, wallet, t.TempDir()+"/recovery", passphrase()); err != nil {
		t.Fatal(err)
	}
	_, err = owner.Revoke(ctx, wallet, client.RevokeOptions{})
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	w.pays(t, w.payer) // Nothing was sent.

	s, err := owner.Revoke(ctx, wallet, client.RevokeOptions{Abandon: true})
	if err != nil {
		t.Fatal(err)
	}
	w.outside(t, w.payer, revoked)
	_, err = owner.Unfreeze(ctx, wallet, s.FreezeID)
	wantReason(t, err, revoked, notMoved)

	// An empty wallet loses nothing.
	empty := h.Agent("Empty")
	if _, err := owner.Revoke(ctx, empty.Wallet(), client.RevokeOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = empty.Account(ctx)
	wantReason(t, err, revoked, notMoved)
	_, err = owner.Revoke(ctx, "wallets/nobody", client.RevokeOptions{})
	if err == nil {
		t.Error("an unknown wallet was revoked")
	}
}
