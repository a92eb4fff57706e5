package ledger

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// revocation is the owner's, of the request key that the wallet's head names.
func (f *fixture) revocation(w *evidencetest.Wallet, id string, edits ...func(*typev1.Revocation)) *typev1.Revocation {
	m := &typev1.Revocation{
		Installation: f.Installation.ID(), Wallet: w.Name, FreezeId: id, RequestKey: w.Head.Document.GetRequestKey(),
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func (f *fixture) revoke(e *typev1.Envelope) (*typev1.Acknowledgement, error) {
	resp, err := f.client.Revoke(f.t.Context(), &ledgerv1.RevokeRequest{Revocation: e})
	if err != nil {
		return nil, err
	}
	return f.acknowledged(resp.GetResult().GetAcknowledgement()), nil
}

func (f *fixture) mustRevoke(e *typev1.Envelope) {
	f.t.Helper()
	if _, err := f.revoke(e); err != nil {
		f.t.Fatalf("Revoke: %v", err)
	}
}

// takeOver gives a wallet another request key, as its owner does.
func (f *fixture) takeOver(w *evidencetest.Wallet) {
	f.t.Helper()
	w.RequestKey = f.Key("taken over " + w.Name)
	f.setGuardRails(w, func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(w.RequestKey) })
}

func abandon(m *typev1.Revocation) { m.Abandon = true }

// A revocation stops what a freeze stops, ends under another request key alone, and is in the journal and in the list.
func TestRevokeLife(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	held := f.payment(payer, evidencetest.PaymentConfig{ID: "held", To: payee.GroupKey, Units: usd})
	f.must(held, authorized)
	e := f.Sign(payer.OwnerKey, f.revocation(payer, "r1"))
	a, err := f.revoke(e)
	if err != nil || !a.GetFrozen() || a.GetKind() != typev1.Acknowledged_ACKNOWLEDGED_REVOCATION || a.GetWallet() != payer.Name ||
		a.GetFreezeId() != "r1" || !evidence.EnvelopeDigest(e).Is(a.GetRevocationDigest()) {
		t.Fatalf("got %v, %v", a, err)
	}
	stopped := func() {
		t.Helper()
		f.unchanged(func() {
			if a, err := f.revoke(e); err != nil || !a.GetFrozen() {
				t.Errorf("the same revocation again: %v, %v", a, err)
			}
			_, err := f.create(f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey}))
			wantReason(t, err, typev1.Reason_REASON_FROZEN, movedNo)
			_, err = f.settle(held)
			wantReason(t, err, typev1.Reason_REASON_FROZEN, movedNo)
			wantReason(t, f.unfreeze(payer, "r1"), typev1.Reason_REASON_REVOKED, movedNo)
			_, err = f.client.Freeze(t.Context(), &ledgerv1.FreezeRequest{Freeze: &typev1.Freeze{
				FreezeId: "r1", Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name,
			}})
			wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED, movedNo)
		})
		if got := f.freezes(payer); !got.GetFrozen() || len(got.GetFreezes()) != 1 || !proto.Equal(got.GetFreezes()[0].GetRevocation(), e) {
			t.Errorf("listed %v", got)
		}
	}
	stopped()
	f.reopen()
	stopped()
	// Guard rails that name the same request key do not take the wallet over.
	f.setGuardRails(payer, paying([]*evidencetest.Wallet{payee}, loose))
	wantReason(t, f.unfreeze(payer, "r1"), typev1.Reason_REASON_REVOKED, movedNo)

	f.takeOver(payer)
	if !f.freezes(payer).GetFrozen() {
		t.Error("another request key alone ended the revocation")
	}
	f.unchanged(func() { f.mustRevoke(e) }) // The repeat of a call whose answer was lost.
	if err := f.unfreeze(payer, "r1"); err != nil {
		t.Fatalf("under another request key: %v", err)
	}
	_, err = f.revoke(e)
	wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED, movedNo)
	f.setGuardRails(payer, paying([]*evidencetest.Wallet{payee}, loose))
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "out", To: payee.GroupKey, Units: usd}), authorized)

	var kinds []typev1.EntryKind
	for _, entry := range f.entries(payer) {
		if entry.GetFreezeId() == "r1" {
			kinds = append(kinds, entry.GetKind())
			if entry.GetKind() == typev1.EntryKind_ENTRY_KIND_REVOCATION &&
				(entry.GetCaller() != payer.Owner || !proto.Equal(entry.GetStatements()[0], e)) {
				t.Errorf("entry %v", entry)
			}
		}
	}
	if fmt.Sprint(kinds) != "[ENTRY_KIND_REVOCATION ENTRY_KIND_UNFREEZE]" {
		t.Errorf("the journal has %v", kinds)
	}
}

// A wallet that was given up stays frozen under every head.
func TestRevokeAbandon(t *testing.T) {
	f := start(t)
	payer, _ := f.two()
	f.mustRevoke(f.Sign(payer.OwnerKey, f.revocation(payer, "r1", abandon)))
	wantReason(t, f.unfreeze(payer, "r1"), typev1.Reason_REASON_REVOKED, movedNo)
	f.takeOver(payer)
	f.unchanged(func() { wantReason(t, f.unfreeze(payer, "r1"), typev1.Reason_REASON_REVOKED, movedNo) })
	if !f.freezes(payer).GetFrozen() {
		t.Error("the wallet is not frozen")
	}
}

// A revoked wallet takes no money until it was taken over and its revocation ended.
func TestRevokedTakesNothing(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	pending := f.payment(payer, evidencetest.PaymentConfig{ID: "pending", To: payee.GroupKey, Units: usd})
	f.must(pending, authorized)
	f.mustRevoke(f.Sign(payee.OwnerKey, f.revocation(payee, "r1")))
	deposit := func() error {
		return f.apply(&typev1.Deposit{
			Installation: f.Installation.ID(), Wallet: payee.Name, DepositId: "d2", Asset: f.Installation.BookUSD(), Units: "5",
		})
	}
	refused := func() {
		t.Helper()
		f.unchanged(func() {
			for name, err := range map[string]error{
				"deposit": deposit(),
				"payment": second(f.create(f.payment(payer, evidencetest.PaymentConfig{ID: "new", To: payee.GroupKey, Units: usd}))),
				"settle":  second(f.settle(pending)),
			} {
				got := wantReason(t, err, typev1.Reason_REASON_REVOKED, movedNo).Metadata
				if got["wallet"] != payee.Name || got["freeze_id"] != "r1" {
					t.Errorf("%s: metadata %v", name, got)
				}
			}
			_, err := f.create(pending)
			wantReason(t, err, typev1.Reason_REASON_REVOKED, movedUnknown) // Its share may be out.
		})
	}
	refused()
	f.takeOver(payee)
	refused()
	// A plain freeze keeps no money away.
	f.freeze(payee, "f1")
	if err := f.unfreeze(payee, "r1"); err != nil {
		t.Fatal(err)
	}
	if err := deposit(); err != nil {
		t.Errorf("after the takeover: %v", err)
	}
	if _, err := f.settle(pending); err != nil {
		t.Errorf("after the takeover: %v", err)
	}
	f.wantBalance(payee, usd+5, 0)
}

// What the revoked agent has signed does not settle when its revocation has ended either, unless the new agent asks for it again.
func TestRevokedSignerSettlesNothing(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	c := evidencetest.PaymentConfig{
		ID: "held", To: payee.GroupKey, Units: usd, Expiry: noon.Add(90 * time.Second), Deadline: noon.Add(time.Hour),
	}
	held := f.payment(payer, c)
	f.must(held, authorized)
	f.mustRevoke(f.Sign(payer.OwnerKey, f.revocation(payer, "r1")))
	f.takeOver(payer)
	f.setGuardRails(payer, paying([]*evidencetest.Wallet{payee}, loose))
	if err := f.unfreeze(payer, "r1"); err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		f.unchanged(func() {
			_, err := f.settle(held)
			if got := wantReason(t, err, typev1.Reason_REASON_REVOKED, movedNo).Metadata; got["wallet"] != payer.Name || got["freeze_id"] != "r1" {
				t.Errorf("metadata %v", got)
			}
		})
	}
	refused()
	f.reopen()
	refused()
	again := f.payment(payer, evidencetest.PaymentConfig{ID: "new", To: payee.GroupKey, Units: usd})
	f.must(again, authorized)
	if _, err := f.settle(again); err != nil {
		t.Errorf("the new agent's own payment, at the same time by the clock: %v", err)
	}
	f.clock.advance(time.Second)
	f.must(f.payment(payer, c), authorized)
	if _, err := f.settle(held); err != nil {
		t.Errorf("asked for again by the new agent: %v", err)
	}
	f.wantBalance(payee, 2*usd, 0)

	// A revocation from before the wallet's time was set back stands in no payment's way.
	f.clock.advance(time.Hour)
	f.mustRevoke(f.Sign(payer.OwnerKey, f.revocation(payer, "r2")))
	payer.RequestKey = f.Key("taken over again")
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(payer.RequestKey) })
	f.setGuardRails(payer, paying([]*evidencetest.Wallet{payee}, loose))
	if err := f.unfreeze(payer, "r2"); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(-time.Hour)
	if err := f.apply(&typev1.SetTime{
		Installation: f.Installation.ID(), Wallet: payer.Name, StatementId: "back", TimeMillis: f.clock.now().UnixMilli(),
	}); err != nil {
		t.Fatal(err)
	}
	late := f.payment(payer, evidencetest.PaymentConfig{ID: "late", To: payee.GroupKey, Units: usd})
	f.must(late, authorized)
	if _, err := f.settle(late); err != nil {
		t.Errorf("after the time was set back: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRevokeRefusals(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	elsewhere := evidencetest.NewWith(t, evidencetest.Config{Seed: "elsewhere", ID: "elsewhere"})
	f.freeze(payer, "used")
	f.freeze(payer, "ended")
	if err := f.unfreeze(payer, "ended"); err != nil {
		t.Fatal(err)
	}
	if err := f.unfreeze(payer, "early"); err != nil {
		t.Fatal(err)
	}
	f.mustRevoke(f.Sign(payer.OwnerKey, f.revocation(payer, "held")))
	unsigned := f.Sign(payer.OwnerKey, f.revocation(payer, "x"))
	unsigned.Signatures[0].Signature[0] ^= 1
	sign := func(key ed25519.PrivateKey, edits ...func(*typev1.Revocation)) *typev1.Envelope {
		return f.SignLoose(key, f.revocation(payer, "x", edits...))
	}
	for _, tt := range []struct {
		name string
		e    *typev1.Envelope
		want typev1.Reason
	}{
		{"nothing", nil, typev1.Reason_REASON_EVIDENCE_MISSING},
		{"another statement", f.Sign(payer.OwnerKey, &typev1.Unfreeze{
			Installation: f.Installation.ID(),
			Wallet:       payer.Name, Scope: typev1.Scope_SCOPE_WALLET, FreezeId: "x",
		}), typev1.Reason_REASON_BAD_STATEMENT},
		{"unsigned", unsigned, typev1.Reason_REASON_BAD_STATEMENT},
		{
			"unknown field", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.ProtoReflect().SetUnknown([]byte{0x38, 1}) }),
			typev1.Reason_REASON_BAD_STATEMENT,
		},
		{"agent's key", sign(payer.RequestKey), typev1.Reason_REASON_BAD_STATEMENT},
		{"operator's key", sign(f.Operator), typev1.Reason_REASON_BAD_STATEMENT},
		{"another owner's key", sign(f.Key("owner/else")), typev1.Reason_REASON_BAD_STATEMENT},
		{
			"another installation", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.Installation = elsewhere.Installation.ID() }),
			typev1.Reason_REASON_EVIDENCE_MISMATCH,
		},
		{
			"another wallet",
			sign(payer.OwnerKey, func(m *typev1.Revocation) { m.Wallet = payee.Name; m.RequestKey = evidencetest.Public(f.Key("no")) }),
			typev1.Reason_REASON_EVIDENCE_MISMATCH,
		},
		{"unknown wallet", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.Wallet = "wallets/none" }), typev1.Reason_REASON_NOT_ACTIVE},
		{
			"another request key", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.RequestKey = evidencetest.Public(f.Key("other")) }),
			typev1.Reason_REASON_EVIDENCE_MISMATCH,
		},
		{"no request key", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.RequestKey = nil }), typev1.Reason_REASON_BAD_STATEMENT},
		{"id of a freeze", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.FreezeId = "used" }), typev1.Reason_REASON_FREEZE_ID_USED},
		{
			"id of a freeze that ended", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.FreezeId = "ended" }),
			typev1.Reason_REASON_FREEZE_ID_USED,
		},
		{
			"id whose end came first", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.FreezeId = "early" }),
			typev1.Reason_REASON_FREEZE_ID_USED,
		},
		{
			"id of another revocation", sign(payer.OwnerKey, func(m *typev1.Revocation) { m.FreezeId = "held"; m.Abandon = true }),
			typev1.Reason_REASON_FREEZE_ID_USED,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.unchanged(func() {
				_, err := f.revoke(tt.e)
				wantReason(t, err, tt.want, movedNo)
			})
		})
	}
	// A key that was an owner's once revokes nothing.
	before := payer.OwnerKey
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.OwnerKeys = [][]byte{evidencetest.Public(f.Key("owner/next"))} })
	f.unchanged(func() {
		_, err := f.revoke(f.Sign(before, f.revocation(payer, "late")))
		wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
	})
}

// A revocation that was verified under a head which changes before it is decided is not recorded.
func TestRevokeUnderStaleHead(t *testing.T) {
	f := start(t)
	payer, _ := f.two()
	e := f.Sign(payer.OwnerKey, f.revocation(payer, "x"))
	given, err := newRevocation(e)
	if err != nil {
		t.Fatal(err)
	}
	r := &revoking{subject: subject{typev1.Scope_SCOPE_WALLET, payer.Name}, envelope: e, revocation: given, head: payer.Head.Digest}
	f.takeOver(payer)
	err = f.ledger.write(t.Context(), &op{needs: r.subject.needs(), decide: func(s *state) error {
		_, err := decideRevoke(s, r)
		return err
	}})
	wantReason(t, f.ledger.answer(t.Context(), "Revoke", err), typev1.Reason_REASON_GUARD_RAILS_CHANGED, movedNo)
}

// Neither an agent that has frozen its wallet as often as it may, nor a clock that is behind, keeps the owner from revoking it.
func TestRevokeAlways(t *testing.T) {
	f := start(t)
	payer, _ := f.two()
	for n := range FreezesMax {
		f.freeze(payer, fmt.Sprint("f", n))
	}
	_, err := f.client.Freeze(t.Context(), &ledgerv1.FreezeRequest{
		Freeze: &typev1.Freeze{FreezeId: "more", Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name},
	})
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
	f.clock.advance(-time.Hour)
	for n := range RevocationsMax {
		f.mustRevoke(f.Sign(payer.OwnerKey, f.revocation(payer, fmt.Sprint("r", n))))
	}
	_, err = f.revoke(f.Sign(payer.OwnerKey, f.revocation(payer, "more")))
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
}
