package identity

import (
	"context"
	"strings"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// installationResource is what a call about the whole installation names.
const (
	installationResource = "installation"
	operator             = "operator"
)

// Authenticate tells who signed a token, or whose request this is, and that the caller may act on the resource.
func (s *Service) Authenticate(ctx context.Context, req *identityv1.AuthenticateRequest) (*identityv1.AuthenticateResponse, error) {
	ctx, span := instrument.Within(ctx, s.instruments.tracer, instrument.SpanAuthenticate)
	caller, err := s.authenticate(ctx, req)
	s.instruments.evidence.Refused(ctx, err)
	instrument.End(span, err)
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	return &identityv1.AuthenticateResponse{Caller: caller}, nil
}

func (s *Service) authenticate(ctx context.Context, req *identityv1.AuthenticateRequest) (*typev1.Caller, error) {
	switch {
	case (req.GetToken() == nil) == (req.GetRequest() == nil):
		return nil, fault.Invalid(fault.Violation{Field: "token", Why: "exactly one of token and request is given"})
	case req.GetToken() != nil:
		return s.byToken(ctx, req)
	default:
		return s.byRequest(ctx, req)
	}
}

// stranger is the one answer to whatever does not authenticate: which part was wrong is nobody's business.
func stranger() error {
	return refuse(typev1.Reason_REASON_UNAUTHENTICATED, "the caller could not be authenticated")
}

// byRequest authenticates a payment request, under the request key of the wallet's head.
func (s *Service) byRequest(ctx context.Context, req *identityv1.AuthenticateRequest) (*typev1.Caller, error) {
	var r typev1.Request
	if err := evidence.Peek(req.GetRequest(), &r); err != nil {
		return nil, err
	}
	if r.GetWallet() != req.GetResource() {
		return nil, refuse(typev1.Reason_REASON_PERMISSION_DENIED, "the request is another wallet's")
	}
	w, head, err := s.active(ctx, r.GetWallet())
	if err != nil {
		return nil, err
	}
	if _, err := evidence.CheckRequest(s.installation, req.GetRequest(), head.Document.GetRequestKey()); err != nil {
		if _, unsigned := evidence.Open(req.GetRequest(), &r, head.Document.GetRequestKey()); unsigned != nil {
			return nil, stranger()
		}
		return nil, err
	}
	if w.revoked(head.Document.GetRequestKey()) {
		return nil, wasRevoked(w.Name)
	}
	return &typev1.Caller{Name: resource.AgentOf(r.GetWallet()), Wallet: r.GetWallet()}, nil
}

// active reads an ACTIVE wallet and its head.
func (s *Service) active(ctx context.Context, name string) (*directoryEntry, *evidence.Head, error) {
	w, err := s.named(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if w == nil || w.State != active {
		return nil, nil, notActive()
	}
	return w, w.inForce, nil
}

// byToken authenticates a token under the keys of the caller that it names, for what that caller may act on.
func (s *Service) byToken(ctx context.Context, req *identityv1.AuthenticateRequest) (*typev1.Caller, error) {
	var t typev1.Token
	if err := evidence.Peek(req.GetToken(), &t); err != nil {
		return nil, stranger()
	}
	caller := &typev1.Caller{Name: t.GetCaller(), Wallet: t.GetWallet()}
	keys, refusal, err := s.keysOf(ctx, &t, req.GetMethod(), req.GetResource())
	if err != nil {
		return nil, err
	}
	if _, err := evidence.CheckToken(s.installation, req.GetToken(), req.GetMethod(), req.GetResource(), s.clock(), keys...); err != nil {
		return nil, stranger()
	}
	// Only who has proved to be somebody is told that it was revoked, or that somebody else may do this: strangers learn nothing
	// of who owns what.
	if refusal != nil {
		return nil, refusal
	}
	return caller, nil
}

// keysOf are the keys that may sign a token of this caller about this resource, and why it may not act on it, if it may not.
func (s *Service) keysOf(ctx context.Context, t *typev1.Token, method, on string) (keys [][]byte, refusal, err error) {
	switch caller := t.GetCaller(); {
	case caller == operator:
		return s.installation.Operators(), unless(on == operator || on == installationResource || strings.HasPrefix(on, "wallets/")), nil
	case strings.HasPrefix(caller, "agents/"):
		key, revoked, err := s.agentKey(ctx, t.GetWallet(), method)
		switch {
		case err != nil:
			return nil, nil, err
		case revoked:
			return [][]byte{key}, wasRevoked(t.GetWallet()), nil
		}
		return [][]byte{key}, unless(on == caller || on == t.GetWallet()), nil
	default:
		keys, may, err := s.ownerKeysFor(ctx, caller, on)
		return keys, unless(may), err
	}
}

// unless refuses who may not act on a resource.
func unless(may bool) error {
	if may {
		return nil
	}
	return denied()
}

// agentKey is the key of a wallet's agent: the head's, and while the wallet waits for its owner the registration's, which
// looks entries of the directory up and no more.
func (s *Service) agentKey(ctx context.Context, name, method string) (key []byte, revoked bool, err error) {
	w, err := s.named(ctx, name)
	if err != nil {
		return nil, false, err
	}
	if w == nil || w.State != active && (w.State != unclaimed || method != gatewayv1.GatewayService_GetWallet_FullMethodName) {
		return nil, false, notActive()
	}
	key = w.agentKey()
	return key, w.revoked(key), nil
}

// ownerKeysFor are an owner's keys: for a wallet of its own those that the head names, else those of its own statement.
func (s *Service) ownerKeysFor(ctx context.Context, name, on string) (keys [][]byte, may bool, err error) {
	if strings.HasPrefix(on, "wallets/") {
		_, head, err := s.active(ctx, on)
		if err != nil {
			return nil, false, err
		}
		if head.Document.GetOwner() == name {
			return head.Document.GetOwnerKeys(), true, nil
		}
	}
	id, err := resource.ParseOwner(name)
	if err != nil {
		return nil, false, stranger()
	}
	o, err := s.store.owner(ctx, id)
	if err != nil {
		return nil, false, err
	}
	if o == nil {
		return nil, false, stranger()
	}
	keys, err = o.keys()
	return keys, on == name, err
}

func wasRevoked(wallet string) error {
	return refuse(typev1.Reason_REASON_REVOKED, "the wallet's owner has revoked this request key", "wallet", wallet)
}

func notActive() error {
	return refuse(typev1.Reason_REASON_NOT_ACTIVE, "the wallet is not claimed, or not known here")
}

func denied() error {
	return refuse(typev1.Reason_REASON_PERMISSION_DENIED, "the caller may not act on this resource")
}
