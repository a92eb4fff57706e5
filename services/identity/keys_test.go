package identity_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const listWallets = gatewayv1.GatewayService_ListWallets_FullMethodName

func (f *fixture) ownerKeys(number uint64, keys ...ed25519.PrivateKey) *typev1.OwnerKeys {
	m := &typev1.OwnerKeys{Installation: f.Installation.ID(), Owner: "owners/owner", Number: number}
	for _, k := range keys {
		m.OwnerKeys = append(m.OwnerKeys, evidencetest.Public(k))
	}
	slices.SortFunc(m.OwnerKeys, bytes.Compare)
	return m
}

func (f *fixture) setKeys(e *typev1.Envelope) (*typev1.Owner, error) {
	resp, err := f.identity.SetOwnerKeys(f.t.Context(), &identityv1.SetOwnerKeysRequest{OwnerKeys: e})
	return resp.GetOwner(), err
}

// An owner's newest statement says which keys authenticate it; its wallets go by their guard rails.
func TestSetOwnerKeys(t *testing.T) {
	f := newFixture(t)
	l := f.wallet("w")
	f.must(f.activate(l))
	_, err := f.createOwner(f.ownerStatement("owner", email))
	f.must(err)
	first, second, third := f.Key("owner/owner"), f.Key("second"), f.Key("third")
	itself := func(key ed25519.PrivateKey, want ...typev1.Reason) {
		t.Helper()
		err := f.token("owners/owner", "", listWallets, "owners/owner", key)
		if len(want) > 0 {
			servicetest.Refused(t, err, want...)
		} else if err != nil {
			t.Error(err)
		}
	}
	itself(first)
	itself(second, unauthenticated)
	e := f.Sign(first, f.ownerKeys(1, second, third))
	for range 2 {
		o, err := f.setKeys(e)
		if err != nil || !proto.Equal(o.GetKeys(), e) || o.GetRegistration() == nil {
			t.Fatalf("got %v, %v", o, err)
		}
	}
	f.restart()
	itself(first, unauthenticated)
	itself(second)
	itself(third)
	f.must(f.token("owners/owner", "", getAccount, l.Name, l.OwnerKey)) // The head still names it.

	for _, tt := range []struct {
		name string
		e    *typev1.Envelope
		want typev1.Reason
	}{
		{"missing", nil, typev1.Reason_REASON_EVIDENCE_MISSING},
		{"the replaced key", f.Sign(first, f.ownerKeys(2, first)), badStatement},
		{"a key that it brings in itself", f.Sign(f.Key("thief"), f.ownerKeys(2, f.Key("thief"))), badStatement},
		{"the operator's key", f.Sign(f.Operator, f.ownerKeys(2, first)), badStatement},
		{"an agent's key", f.Sign(l.RequestKey, f.ownerKeys(2, first)), badStatement},
		{"the newest statement, signed by a stranger", f.Sign(f.Key("thief"), f.ownerKeys(1, second, third)), badStatement},
		{"the same number", f.Sign(second, f.ownerKeys(1, second)), exists},
		{"a number before", f.SignLoose(second, f.ownerKeys(0, second)), badStatement},
		{
			"unknown owner", f.Sign(second, func() *typev1.OwnerKeys { m := f.ownerKeys(2, second); m.Owner = "owners/nobody"; return m }()),
			notFound,
		},
		{"another installation", f.Sign(second,
			func() *typev1.OwnerKeys { m := f.ownerKeys(2, second); m.Installation = "foreign"; return m }()), mismatch},
		{"the bootstrap key among them", f.Sign(second, f.ownerKeys(2, second, f.Key("bootstrap"))), badStatement},
		{"unknown field", f.SignLoose(second, func() *typev1.OwnerKeys {
			m := f.ownerKeys(2, second)
			m.ProtoReflect().SetUnknown([]byte{0x38, 1})
			return m
		}()), badStatement},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.setKeys(tt.e)
			servicetest.Refused(t, err, tt.want)
			itself(second)
			itself(first, unauthenticated)
		})
	}
	_, err = f.setKeys(f.Sign(third, f.ownerKeys(5, first))) // Numbers may leave some out.
	f.must(err)
	_, err = f.setKeys(f.Sign(first, f.ownerKeys(3, first)))
	servicetest.Refused(t, err, typev1.Reason_REASON_EVIDENCE_STALE)
	itself(first)
	itself(second, unauthenticated)
}
