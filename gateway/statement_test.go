package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	badStatement = typev1.Reason_REASON_BAD_STATEMENT
	exists       = typev1.Reason_REASON_ALREADY_EXISTS
	wrongState   = typev1.Reason_REASON_WRONG_STATE
)

// statements is who may sign what, written by hand from the contract: the signer is one of the world's, or none of them where only a
// one-time key or the key of a run can sign. The same payload under everyone else's key is refused with the reason. A statement is
// seen on its way from the gateway to whoever acts on it first: one service, or all that are asked at the same time.
var statements = map[string]struct {
	field, via, signer string
	refused            typev1.Reason
	// What repeats get once it is in force: of the good one, and of the same payload under another key. Where that is served, what is in
	// force is known by its digest, which the signature is no part of: the answer says what is so, and nothing changes.
	again, forgedAgain typev1.Reason
}{
	"CreateOwner":            {"registration", "IdentityService/CreateOwner", "", badStatement, served, badStatement},
	"SetOwnerKeys":           {"owner_keys", "IdentityService/SetOwnerKeys", "owner", badStatement, served, badStatement},
	"StartRegistration":      {"start", "IdentityService/CreateRegistration", "", badStatement, exists, badStatement},
	"CompleteRegistration":   {"registration", "CosignerService/CompleteKeyGeneration", "", badStatement, served, badStatement},
	"ClaimWallet":            {"guard_rails", "CosignerService/SealWallet", "owner", badStatement, served, badStatement},
	"SetGuardRails":          {"guard_rails", "PolicyService/SetGuardRails", "owner", badStatement, served, served},
	"OrderResharing":         {"order", "CosignerService/OrderResharing", "owner", badStatement, served, served},
	"StartResharing":         {"start", "CosignerService/StartResharing", "agent", badStatement, wrongState, wrongState},
	"ConfirmRecovery":        {"confirmation", "CosignerService/ConfirmRecovery", "owner", badStatement, served, badStatement},
	"CreatePayment":          {"request", "PolicyService/Judge", "agent", unauthenticated, served, unauthenticated},
	"AnswerReview":           {"review", "LedgerService/AnswerReview", "owner", badStatement, served, badStatement},
	"Revoke":                 {"revocation", "Service/Revoke", "owner", badStatement, served, served},
	"Unfreeze":               {"unfreeze", "Service/Unfreeze", "owner", badStatement, served, badStatement},
	"Unfreeze, owner":        {"unfreeze", "Service/Unfreeze", "owner", badStatement, served, badStatement},
	"Unfreeze, installation": {"unfreeze", "Service/Unfreeze", "operator", badStatement, served, badStatement},
	"ApplyStatement":         {"statement", "LedgerService/ApplyStatement", "operator", badStatement, served, badStatement},
}

// gatewayMethod is the method of a row.
func gatewayMethod(row string) protoreflect.MethodDescriptor {
	name, _, _ := strings.Cut(row, ",")
	return gatewayv1.File_halfkey_gateway_v1_gateway_proto.Services().Get(0).Methods().ByName(protoreflect.Name(name))
}

// forgeries are a statement with one of its signatures made by somebody else: under that one's key, and under the right one.
func forgeries(e *typev1.Envelope, by ed25519.PrivateKey) []*typev1.Envelope {
	var all []*typev1.Envelope
	for i := range e.GetSignatures() {
		forged := proto.CloneOf(e)
		forged.Signatures[i] = &typev1.Signature{
			PublicKey: by.Public().(ed25519.PublicKey), Signature: ed25519.Sign(by, evidence.PAE(e.GetPayloadType(), e.GetPayload())),
		}
		borrowed := proto.CloneOf(e)
		borrowed.Signatures[i].Signature = forged.Signatures[i].Signature
		all = append(all, forged, borrowed)
	}
	return all
}

// signing watches for statements and tries them under everyone else's key before they take effect.
type signing struct {
	*world
	t     *testing.T
	mu    sync.Mutex
	armed []string
	found map[string]proto.Message
	tried map[string]chan struct{} // Closed once everyone else has tried.
}

// meets is told of each call of the gateway's before it is made. The first that brings an armed statement waits until everyone else has
// tried to sign it, and those that bring the same one elsewhere wait with it.
func (s *signing) meets(method string, request proto.Message) {
	s.mu.Lock()
	var name string
	for _, armed := range s.armed {
		if strings.HasSuffix(method, statements[armed].via) {
			name = armed
		}
	}
	if name == "" {
		s.mu.Unlock()
		return
	}
	brought := s.asGateway(name, request)
	good, tried := s.found[name], s.tried[name]
	if good == nil {
		tried = make(chan struct{})
		s.found[name], s.tried[name] = brought, tried
	}
	s.mu.Unlock()
	switch {
	case good == nil:
		s.tryOthers(name, brought, statements[name].refused, "before it took effect")
		close(tried)
	case proto.Equal(envelopeOf(name, good), envelopeOf(name, brought)):
		<-tried
	}
}

// envelopeOf is a row's statement in the gateway's request.
func envelopeOf(name string, request proto.Message) *typev1.Envelope {
	m := request.ProtoReflect()
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(statements[name].field))).Message().Interface().(*typev1.Envelope)
}

// asGateway is the gateway's request that brought what a service was asked: fields have the same names.
func (s *signing) asGateway(name string, inner proto.Message) proto.Message {
	m := gatewayMethod(name)
	request := newMessage(m.Input()).ProtoReflect()
	for i := range m.Input().Fields().Len() {
		f := m.Input().Fields().Get(i)
		if same := inner.ProtoReflect().Descriptor().Fields().ByName(f.Name()); same != nil && inner.ProtoReflect().Has(same) {
			request.Set(f, inner.ProtoReflect().Get(same))
		}
		if f.Name() == "parent" {
			request.Set(f, protoreflect.ValueOfString(s.agent.Wallet()))
		}
	}
	return request.Interface()
}

// call brings a request to the gateway.
func (s *signing) call(name string, request proto.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return invoke(ctx, s.conn, gatewayMethod(name), request)
}

// tryOthers brings a statement under the keys of all who may not sign it, and once without any signature.
func (s *signing) tryOthers(name string, good proto.Message, want typev1.Reason, when string) {
	row := statements[name]
	field := good.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(row.field))
	e := envelopeOf(name, good)
	bring := func(e *typev1.Envelope) error {
		request := proto.Clone(good)
		request.ProtoReflect().Set(field, protoreflect.ValueOfMessage(e.ProtoReflect()))
		return s.call(name, request)
	}
	for who, by := range s.who {
		if who == row.signer {
			continue
		}
		for i, forged := range forgeries(e, by.key) {
			answers(s.t, fmt.Sprintf("%s signed by %s (%d) %s", name, who, i, when), bring(forged), want)
		}
	}
	unsigned := proto.CloneOf(e)
	unsigned.Signatures = nil
	answers(s.t, name+" unsigned "+when, bring(unsigned), badStatement)
}

// answers demands one answer, and of a refusal that no money moved.
func answers(t *testing.T, what string, err error, want typev1.Reason) {
	t.Helper()
	if want == served {
		if err != nil {
			t.Errorf("%s: got %v", what, err)
		}
		return
	}
	if f := fault.Of(err); f == nil || f.Reason != want || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		t.Errorf("%s: got %v, want %v with money_moved NO", what, err, want)
	}
}

// TestWhoMaySign brings each kind of statement, as the SDK makes it, under the key of everyone who may not sign it: before the good one
// has come, and again after it, when only a repeat would be answered. The good one is taken, and taken again.
func TestWhoMaySign(t *testing.T) {
	s := &signing{t: t, found: make(map[string]proto.Message), tried: make(map[string]chan struct{})}
	var behind between
	s.world = newWorld(t, halfkeytest.WithWrap(behind.wrap))
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.who["stranger"] = who{key: stranger}
	s.GuardRails(s.agent, client.StandardRules(s.agent.GroupKey()))
	behind.before(s.meets)
	ctx := t.Context()
	passphrase := func() []byte { return []byte("six words that nobody will guess") }
	recovery := filepath.Join(t.TempDir(), "recovery")
	spare, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var shop *client.Agent

	for _, step := range []struct {
		shows []string
		act   func() error
	}{
		{[]string{"CreateOwner"}, func() error {
			otherOwner(t, s.System, "third@company.com")
			return nil
		}},
		{[]string{"StartRegistration", "CompleteRegistration", "ClaimWallet"}, func() error {
			shop = s.Agent("Shop")
			return nil
		}},
		{[]string{"SetGuardRails"}, func() error {
			_, err := s.owner.SetGuardRails(ctx, s.agent.Wallet(), client.StandardRules(shop.GroupKey()))
			return err
		}},
		{[]string{"ApplyStatement"}, func() error {
			_, err := s.Operator().Deposit(ctx, s.agent.Wallet(), "d-1", 50_000_000)
			return err
		}},
		{[]string{"CreatePayment"}, func() error {
			_, err := s.agent.Pay(ctx, client.Order{ID: "p-1", Recipient: shop.Wallet(), Units: 1_000_000})
			return err
		}},
		{[]string{"AnswerReview"}, func() error {
			p, err := s.agent.Pay(ctx, client.Order{ID: "p-2", Recipient: shop.Wallet(), Units: 6_000_000})
			if err == nil {
				_, err = s.owner.Approve(ctx, p.Name)
			}
			return err
		}},
		{[]string{"Unfreeze"}, func() error {
			_, err := s.owner.Freeze(ctx, s.agent.Wallet(), "f-1")
			if err == nil {
				_, err = s.owner.Unfreeze(ctx, s.agent.Wallet(), "f-1")
			}
			return err
		}},
		{[]string{"Unfreeze, owner"}, func() error {
			_, err := s.owner.FreezeAll(ctx, "f-3")
			if err == nil {
				_, err = s.owner.UnfreezeAll(ctx, "f-3")
			}
			return err
		}},
		{[]string{"Unfreeze, installation"}, func() error {
			_, err := s.Operator().Freeze(ctx, "f-2")
			if err == nil {
				_, err = s.Operator().Unfreeze(ctx, "f-2")
			}
			return err
		}},
		{[]string{"OrderResharing", "StartResharing", "ConfirmRecovery"}, func() error {
			_, err := s.owner.CreateRecovery(ctx, s.agent.Wallet(), recovery, passphrase())
			if err == nil {
				_, err = s.agent.Reshare(ctx)
			}
			if err == nil {
				_, err = s.owner.OpenRecovery(ctx, recovery, passphrase())
			}
			return err
		}},
		{[]string{"Revoke"}, func() error {
			_, err := s.owner.Revoke(ctx, s.agent.Wallet(), client.RevokeOptions{})
			return err
		}},
		{[]string{"SetOwnerKeys"}, func() error {
			_, err := s.owner.RotateKeys(ctx, client.RotateOptions{Add: [][32]byte{[32]byte(spare)}})
			return err
		}},
	} {
		s.mu.Lock()
		s.armed = step.shows
		s.mu.Unlock()
		if err := step.act(); err != nil {
			t.Fatalf("%v: %v", step.shows, err)
		}
		for _, name := range step.shows {
			s.mu.Lock()
			good := s.found[name]
			s.mu.Unlock()
			if good == nil {
				t.Fatalf("%s was not called", name)
			}
			before := s.state(t)
			s.tryOthers(name, good, statements[name].forgedAgain, "after it took effect")
			answers(t, name+" again", s.call(name, good), statements[name].again)
			if after := s.state(t); before != after {
				t.Errorf("%s: repeats have changed something: %s, then %s", name, before, after)
			}
		}
	}
	for _, m := range methods(gatewayv1.File_halfkey_gateway_v1_gateway_proto) {
		if rule, _ := authz.Lookup(fullName(m)); rule.Auth == authz.Statement && s.found[string(m.Name())] == nil {
			t.Errorf("%s takes a statement, and the table does not say who may sign it", m.Name())
		}
	}
}
