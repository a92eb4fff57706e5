package evidence_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestCheckRevocation: it is taken under an owner key of the head, for the wallet and the request key that the head names.
func TestCheckRevocation(t *testing.T) {
	w := fixedWorld(t)
	elsewhere := evidencetest.NewWith(t, evidencetest.Config{Seed: "golden", ID: "prod"})
	l := w.Wallet(evidencetest.WalletConfig{ID: "research"})
	other := w.Wallet(evidencetest.WalletConfig{ID: "other", Owner: "somebody"})
	revocation := func(edit func(m *typev1.Revocation)) *typev1.Revocation {
		m := sampleOf(t, "revocation").(*typev1.Revocation)
		if edit != nil {
			edit(m)
		}
		return m
	}
	m, err := evidence.CheckRevocation(w.Installation, l.Head, w.Sign(l.OwnerKey, revocation(nil)))
	if err != nil || !proto.Equal(m, revocation(nil)) {
		t.Fatalf("CheckRevocation = %v, %v", m, err)
	}
	const mismatch = typev1.Reason_REASON_EVIDENCE_MISMATCH
	for _, tt := range []struct {
		name, field string
		reason      typev1.Reason
		i           *evidence.Installation
		head        *evidence.Head
		e           *typev1.Envelope
	}{
		{"agent's key", "signatures", badStatement, w.Installation, l.Head, w.Sign(l.RequestKey, revocation(nil))},
		{"operator's key", "signatures", badStatement, w.Installation, l.Head, w.Sign(w.Operator, revocation(nil))},
		{"another owner's key", "signatures", badStatement, w.Installation, l.Head, w.Sign(other.OwnerKey, revocation(nil))},
		{
			"another wallet's head", "wallet", mismatch, w.Installation, l.Head,
			w.Sign(l.OwnerKey, revocation(func(m *typev1.Revocation) { m.Wallet = other.Name })),
		},
		{"another installation", "installation", mismatch, elsewhere.Installation, l.Head, w.Sign(l.OwnerKey, revocation(nil))},
		{"another request key", "request_key", mismatch, w.Installation, l.Head, w.Sign(l.OwnerKey, revocation(func(m *typev1.Revocation) {
			m.RequestKey = evidencetest.Public(w.Key("thief"))
		}))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := evidence.CheckRevocation(tt.i, tt.head, tt.e)
			wantRefusal(t, err, tt.reason, "revocation", tt.field)
		})
	}
}

// TestCheckTakenOver: a revocation ends under a head that names another request key, unless the wallet was given up.
func TestCheckTakenOver(t *testing.T) {
	w := fixedWorld(t)
	l := w.Wallet(evidencetest.WalletConfig{ID: "research"})
	m := sampleOf(t, "revocation").(*typev1.Revocation)
	m.Abandon = false
	before := l.Head
	wantRefusal(t, evidence.CheckTakenOver(m, before), typev1.Reason_REASON_REVOKED, "revocation", "request_key")
	after := &evidence.Head{Document: proto.CloneOf(before.Document)}
	after.Document.RequestKey = evidencetest.Public(w.Key("taken over"))
	if err := evidence.CheckTakenOver(m, after); err != nil {
		t.Errorf("under another request key: %v", err)
	}
	m.Abandon = true
	wantRefusal(t, evidence.CheckTakenOver(m, after), typev1.Reason_REASON_REVOKED, "revocation", "abandon")
}

// TestCheckOwnerKeys: they are taken under a key that the owner had before, and hold no key that anybody could sign for.
func TestCheckOwnerKeys(t *testing.T) {
	w := fixedWorld(t)
	elsewhere := evidencetest.NewWith(t, evidencetest.Config{Seed: "golden", ID: "prod"})
	old := w.Key("owner/owner")
	sign := func(key ed25519.PrivateKey, edit func(m *typev1.OwnerKeys)) *typev1.Envelope {
		m := sampleOf(t, "owner-keys").(*typev1.OwnerKeys)
		if edit != nil {
			edit(m)
		}
		return w.Sign(key, m)
	}
	if _, err := evidence.CheckOwnerKeys(w.Installation, sign(old, nil), evidencetest.Public(old)); err != nil {
		t.Fatalf("CheckOwnerKeys: %v", err)
	}
	_, err := evidence.CheckOwnerKeys(w.Installation, sign(w.Key("owner new"), nil), evidencetest.Public(old))
	wantRefusal(t, err, badStatement, "owner-keys", "signatures") // The new key does not bring itself in.
	_, err = evidence.CheckOwnerKeys(elsewhere.Installation, sign(old, nil), evidencetest.Public(old))
	wantRefusal(t, err, typev1.Reason_REASON_EVIDENCE_MISMATCH, "owner-keys", "installation")
	weak := sign(old, func(m *typev1.OwnerKeys) { m.OwnerKeys = [][]byte{bytes.Repeat([]byte{0}, 32)} })
	_, err = evidence.CheckOwnerKeys(w.Installation, weak, evidencetest.Public(old))
	wantRefusal(t, err, badStatement, "owner-keys", "owner_keys")
}
