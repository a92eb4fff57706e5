package identity_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const revoked = typev1.Reason_REASON_REVOKED

func (f *fixture) revocation(l *evidencetest.Wallet, edits ...func(*typev1.Revocation)) *typev1.Revocation {
	m := &typev1.Revocation{
		Installation: f.Installation.ID(), Wallet: l.Name, FreezeId: "r1", RequestKey: l.Head.Document.GetRequestKey(),
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func (f *fixture) revoke(e *typev1.Envelope) error {
	_, err := f.identity.Revoke(f.t.Context(), &identityv1.RevokeRequest{Revocation: e})
	return err
}

// setHead gives a wallet a new version of its guard rails.
func (f *fixture) setHead(l *evidencetest.Wallet, edit func(*typev1.GuardRails)) {
	f.t.Helper()
	_, err := f.identity.SetGuardRails(f.t.Context(), &identityv1.SetGuardRailsRequest{GuardRails: l.SetGuardRails(edit)})
	f.must(err)
}

// token asks who signs a call about a resource.
func (f *fixture) token(caller, wallet, method, resource string, key ed25519.PrivateKey) error {
	now := f.clock.Now()
	_, err := f.identity.Authenticate(f.t.Context(), &identityv1.AuthenticateRequest{
		Token: f.SignLoose(key, &typev1.Token{
			Installation: f.Installation.ID(), Wallet: wallet, Caller: caller, Method: method, Resource: resource,
			TimeMillis: now.UnixMilli(), ExpiryMillis: now.Add(time.Minute).UnixMilli(),
		}), Method: method, Resource: resource,
	})
	return err
}

// request asks whose payment request this is.
func (f *fixture) request(l *evidencetest.Wallet, key ed25519.PrivateKey) error {
	f.t.Helper()
	m := new(typev1.Request)
	f.Decode(l.Payment(evidencetest.PaymentConfig{To: [32]byte{1}, Now: f.clock.Now()}).Request, m)
	_, err := f.identity.Authenticate(f.t.Context(), &identityv1.AuthenticateRequest{
		Request: f.Sign(key, m), Method: gatewayv1.GatewayService_CreatePayment_FullMethodName, Resource: l.Name,
	})
	return err
}

// A revoked request key authenticates nothing from then on: no token, no request, after a restart, and under no head.
func TestRevoke(t *testing.T) {
	f := newFixture(t)
	l := f.wallet("w")
	f.must(f.activate(l))
	old := l.RequestKey
	agent := func(key ed25519.PrivateKey, want ...typev1.Reason) {
		t.Helper()
		for name, err := range map[string]error{
			"token about the wallet": f.token("agents/w", l.Name, getAccount, l.Name, key),
			"token to look up":       f.token("agents/w", l.Name, getWallet, "agents/w", key),
			"token to freeze":        f.token("agents/w", l.Name, gatewayv1.GatewayService_Freeze_FullMethodName, l.Name, key),
			"request":                f.request(l, key),
		} {
			t.Run(name, func(t *testing.T) {
				if len(want) > 0 {
					servicetest.Refused(t, err, want...)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
	}
	agent(old)
	e := f.Sign(l.OwnerKey, f.revocation(l))
	for range 2 {
		f.must(f.revoke(e))
	}
	agent(old, revoked)
	servicetest.Refused(t, f.complete(l), revoked)
	agent(f.Key("thief"), unauthenticated) // A stranger is not told.
	f.must(f.token(l.Owner, "", getAccount, l.Name, l.OwnerKey))
	f.restart()
	agent(old, revoked)
	f.setHead(l, nil) // Another version that names the same request key.
	agent(old, revoked)

	l.RequestKey = f.Key("taken over")
	f.setHead(l, func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(l.RequestKey) })
	agent(l.RequestKey)
	agent(old, unauthenticated)
	servicetest.Refused(t, f.complete(l), revoked)
	f.must(f.revoke(e)) // The repeat of a call whose answer was lost.
	f.setHead(l, func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(old) })
	agent(old, revoked)
}

func TestRevokeRefusals(t *testing.T) {
	f := newFixture(t)
	l, other := f.wallet("w"), f.ClaimedWallet(evidencetest.WalletConfig{ID: "other", Owner: "stranger"})
	f.must(f.activate(l))
	f.must(f.activate(other))
	waiting := f.wallet("waiting")
	f.must(f.create(f.start(waiting, 1, email), "s"))
	f.must(f.complete(waiting))
	sign := func(key ed25519.PrivateKey, edits ...func(*typev1.Revocation)) *typev1.Envelope {
		return f.SignLoose(key, f.revocation(l, edits...))
	}
	tampered := proto.CloneOf(sign(l.OwnerKey))
	tampered.Signatures[0].Signature[7] ^= 1
	for _, tt := range []struct {
		name string
		e    *typev1.Envelope
		want typev1.Reason
	}{
		{"missing", nil, typev1.Reason_REASON_EVIDENCE_MISSING},
		{"tampered with", tampered, badStatement},
		{"unknown field", sign(l.OwnerKey, func(m *typev1.Revocation) { m.ProtoReflect().SetUnknown([]byte{0x38, 1}) }), badStatement},
		{"agent's key", sign(l.RequestKey), badStatement},
		{"operator's key", sign(f.Operator), badStatement},
		{"another owner's key", sign(other.OwnerKey), badStatement},
		{"another installation", sign(l.OwnerKey, func(m *typev1.Revocation) { m.Installation = "foreign" }), mismatch},
		{"another owner's wallet", sign(l.OwnerKey, func(m *typev1.Revocation) { m.Wallet = other.Name }), badStatement},
		{"another request key", sign(l.OwnerKey, func(m *typev1.Revocation) { m.RequestKey = evidencetest.Public(f.Key("x")) }), mismatch},
		{"a wallet that waits for its owner", f.Sign(l.OwnerKey, f.revocation(waiting)), notActive},
		{"unknown wallet", sign(l.OwnerKey, func(m *typev1.Revocation) { m.Wallet = "wallets/nobody" }), notFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			servicetest.Refused(t, f.revoke(tt.e), tt.want)
			f.must(f.request(l, l.RequestKey))
		})
	}
	old := l.OwnerKey
	f.setHead(l, func(doc *typev1.GuardRails) { doc.OwnerKeys = [][]byte{evidencetest.Public(f.Key("owner/next"))} })
	servicetest.Refused(t, f.revoke(f.Sign(old, f.revocation(l))), badStatement)
}
