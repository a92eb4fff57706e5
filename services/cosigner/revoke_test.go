package cosigner_test

import (
	"crypto/ed25519"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

const revoked = typev1.Reason_REASON_REVOKED

// revocation is the owner's, of the request key that the wallet's head names.
func (w *wallet) revocation(id string, edits ...func(*typev1.Revocation)) *typev1.Revocation {
	m := &typev1.Revocation{
		Installation: w.f.Installation.ID(), Wallet: w.Name, FreezeId: id, RequestKey: w.Head.Document.GetRequestKey(),
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func (f *fixture) revoke(e *typev1.Envelope) (*typev1.Acknowledgement, error) {
	resp, err := f.Revoke(f.t.Context(), &cosignerv1.RevokeRequest{Revocation: e})
	if err != nil {
		return nil, err
	}
	return evidence.CheckAcknowledgement(f.Installation, typev1.Purpose_PURPOSE_COSIGNER, resp.GetResult().GetAcknowledgement())
}

func (w *wallet) mustRevoke(id string, edits ...func(*typev1.Revocation)) *typev1.Envelope {
	w.f.t.Helper()
	e := w.f.Sign(w.OwnerKey, w.revocation(id, edits...))
	if _, err := w.f.revoke(e); err != nil {
		w.f.t.Fatalf("Revoke: %s", describe(err))
	}
	return e
}

// takeOver gives the wallet another request key, as its owner does.
func (w *wallet) takeOver() {
	w.f.t.Helper()
	w.RequestKey = w.f.Key("taken over " + w.Name)
	w.deliver(w.SetGuardRails(func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(w.RequestKey) }))
}

// A revocation stops every release, also after a restart, and ends under another request key alone.
func TestRevoke(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	s := f.of(typev1.Scope_SCOPE_WALLET, w.Name)
	e := f.Sign(w.OwnerKey, w.revocation("r1"))
	for range 2 {
		a, err := f.revoke(e)
		if err != nil || !a.GetFrozen() || a.GetKind() != typev1.Acknowledged_ACKNOWLEDGED_REVOCATION || a.GetWallet() != w.Name ||
			a.GetFreezeId() != "r1" || !evidence.EnvelopeDigest(e).Is(a.GetRevocationDigest()) {
			t.Fatalf("got %v, %s", a, describe(err))
		}
	}
	w.wantFrozen(t, "WALLET", "r1")
	_, err := s.unfreeze("r1", w.OwnerKey)
	wantReason(t, err, revoked)
	_, err = s.freeze("r1")
	wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED)
	f.CosignerServiceClient = f.replica()
	w.wantFrozen(t, "WALLET", "r1")
	// Guard rails that name the same request key do not take the wallet over.
	w.deliver(w.SetGuardRails(evidencetest.Allow(f.recipient())))
	_, err = s.unfreeze("r1", w.OwnerKey)
	wantReason(t, err, revoked)
	listed, err := f.ListFreezes(t.Context(), &cosignerv1.ListFreezesRequest{Wallet: w.Name})
	if err != nil || len(listed.GetFreezes()) != 1 || !proto.Equal(listed.GetFreezes()[0].GetRevocation(), e) {
		t.Errorf("listed %v, %s", listed, describe(err))
	}

	w.takeOver()
	w.wantFrozen(t, "WALLET", "r1")
	if _, err := f.revoke(e); err != nil { // The repeat of a call whose answer was lost.
		t.Errorf("a repeat after the takeover: %s", describe(err))
	}
	s.mustUnfreeze("r1", w.OwnerKey, false)
	w.wantPays(t)
	_, err = f.revoke(e)
	wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED)
}

// A wallet that was given up stays frozen under every head, and its share stays where it is.
func TestRevokeAbandon(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	before := w.epochs()
	w.mustRevoke("r1", func(m *typev1.Revocation) { m.Abandon = true })
	w.takeOver()
	_, err := f.of(typev1.Scope_SCOPE_WALLET, w.Name).unfreeze("r1", w.OwnerKey)
	wantReason(t, err, revoked)
	w.wantFrozen(t, "WALLET", "r1")
	if got := w.epochs(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("shares %v, want %v", got, before)
	}
}

func TestRevokeRefusals(t *testing.T) {
	f := newFixture(t)
	a := f.payable("a", "alice")
	b := f.payable("b", "bob")
	s := f.of(typev1.Scope_SCOPE_WALLET, a.Name)
	s.mustFreeze("used")
	s.mustUnfreeze("early", a.OwnerKey, true)
	a.mustRevoke("held")
	sign := func(key ed25519.PrivateKey, edits ...func(*typev1.Revocation)) *typev1.Envelope {
		return f.SignLoose(key, a.revocation("x", edits...))
	}
	id := func(id string) func(*typev1.Revocation) { return func(m *typev1.Revocation) { m.FreezeId = id } }
	for _, tt := range []struct {
		name     string
		envelope *typev1.Envelope
		want     typev1.Reason
	}{
		{"missing", nil, missing},
		{"another statement", f.Sign(a.OwnerKey, s.statement("x")), bad},
		{"tampered with", flip(sign(a.OwnerKey)), bad},
		{"unknown field", sign(a.OwnerKey, func(m *typev1.Revocation) { m.ProtoReflect().SetUnknown([]byte{0x38, 1}) }), bad},
		{"agent's key", sign(a.RequestKey), bad},
		{"operator's key", sign(f.Operator), bad},
		{"another owner's key", sign(b.OwnerKey), bad},
		{"another installation", sign(a.OwnerKey, func(m *typev1.Revocation) { m.Installation = "other" }), mismatch},
		{"another owner's wallet", sign(a.OwnerKey, func(m *typev1.Revocation) { m.Wallet = b.Name }), bad},
		{
			"a wallet that is not sealed", sign(a.OwnerKey, func(m *typev1.Revocation) { m.Wallet = "wallets/nobody" }),
			typev1.Reason_REASON_NOT_FOUND,
		},
		{"another request key", sign(a.OwnerKey, func(m *typev1.Revocation) { m.RequestKey = evidencetest.Public(f.Key("x")) }), mismatch},
		{"no request key", sign(a.OwnerKey, func(m *typev1.Revocation) { m.RequestKey = nil }), bad},
		{"id of a freeze", sign(a.OwnerKey, id("used")), typev1.Reason_REASON_FREEZE_ID_USED},
		{"id whose end came first", sign(a.OwnerKey, id("early")), typev1.Reason_REASON_FREEZE_ID_USED},
		{
			"id of another revocation", sign(a.OwnerKey, id("held"), func(m *typev1.Revocation) { m.Abandon = true }),
			typev1.Reason_REASON_FREEZE_ID_USED,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(f.keys(""))
			_, err := f.revoke(tt.envelope)
			wantReason(t, err, tt.want)
			if got := len(f.keys("")); got != before {
				t.Errorf("the store went from %d to %d keys", before, got)
			}
		})
	}
	// A key that was an owner's once revokes nothing.
	old := a.OwnerKey
	a.deliver(a.SetGuardRails(func(doc *typev1.GuardRails) { doc.OwnerKeys = [][]byte{evidencetest.Public(f.Key("owner/next"))} }))
	_, err := f.revoke(f.Sign(old, a.revocation("late")))
	wantReason(t, err, bad)
}

// A revoked request key gets no new share, whatever it had begun; the one that takes the wallet over does, while it is frozen.
func TestRevokedKeyGetsNoShare(t *testing.T) {
	for begun := range 5 {
		t.Run(fmt.Sprintf("after %d steps", begun), func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("a", "alice")
			r := w.refresh().upTo(begun)
			w.mustRevoke("r1")
			wantReason(t, r.steps()[begun](), revoked)
			if got := w.epochs(); len(got) != 1 {
				t.Errorf("epochs %v", got)
			}
		})
	}
	f := newFixture(t)
	w := f.payable("a", "alice")
	before := w.RequestKey
	w.mustRevoke("r1")
	w.takeOver()
	w.refresh().done()
	w.wantFrozen(t, "WALLET", "r1")
	// Nor does the revoked one after the end of its revocation, if guard rails named it again.
	f.of(typev1.Scope_SCOPE_WALLET, w.Name).mustUnfreeze("r1", w.OwnerKey, false)
	w.RequestKey = before
	w.deliver(w.SetGuardRails(func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(before) }))
	wantReason(t, w.refresh().give(), revoked)
}

// An agent that has frozen its wallet as often as it may does not keep its owner from revoking it.
func TestRevokeBeyondTheFreezes(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	f.fill("freezes/wallet/a/f%d", cosigner.FreezesMax)
	_, err := f.of(typev1.Scope_SCOPE_WALLET, w.Name).freeze("more")
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED)
	w.mustRevoke("r1")
	f.fill("freezes/wallet/a/g%d", cosigner.RevocationsMax)
	_, err = f.revoke(f.Sign(w.OwnerKey, w.revocation("r2")))
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED)
}
