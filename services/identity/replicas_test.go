package identity_test

import (
	"testing"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Whom one replica lets in no longer none lets in, although each has let it in before and remembers the wallet.
func TestReplicasAuthenticateByTheRow(t *testing.T) {
	f := newFixture(t)
	l := f.wallet("w")
	f.must(f.activate(l))
	replicas := []identityv1.IdentityServiceClient{f.identity, f.replica()}
	each := func(check func()) {
		for range 2 {
			for _, replica := range replicas {
				f.identity = replica
				check()
			}
		}
		f.identity = replicas[0]
	}
	old, next := l.RequestKey, f.Key("request-2")
	each(func() { f.must(f.request(l, old)) })
	f.setHead(l, func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(next) })
	each(func() {
		servicetest.Refused(t, f.request(l, old), unauthenticated)
		f.must(f.request(l, next))
	})
	f.must(f.revoke(f.Sign(l.OwnerKey, f.revocation(l))))
	each(func() { servicetest.Refused(t, f.request(l, next), revoked) })
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b)
	l := f.wallet("w")
	f.must(f.activate(l))
	p := l.Payment(evidencetest.PaymentConfig{To: [32]byte{1}, Now: start})
	req := &identityv1.AuthenticateRequest{
		Request: p.Request, Method: gatewayv1.GatewayService_CreatePayment_FullMethodName, Resource: l.Name,
	}
	for b.Loop() {
		_, err := f.identity.Authenticate(b.Context(), req)
		f.must(err)
	}
}
