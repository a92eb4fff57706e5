package gateway

import (
	"context"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TokenMetadata is the metadata key that carries a call's token: an encoded Envelope of a Token.
const TokenMetadata = "halfkey-token-bin"

// tokenBytesMax bounds an encoded token: a Token holds six short fields and one signature.
const tokenBytesMax = 2048

// caller authenticates a call by its token, and holds who makes it to its quota.
func (s *Service) caller(ctx context.Context, method, resource string) (*typev1.Caller, error) {
	caller, err := s.authenticated(ctx, method, resource)
	if err != nil {
		return nil, err
	}
	return caller, s.admit(ctx, method, caller)
}

// authenticated is who makes a call: identity says who signed its token and that the caller may act on the resource, and the one
// table which kinds of caller the method is for.
func (s *Service) authenticated(ctx context.Context, method, resource string) (*typev1.Caller, error) {
	token, err := tokenOf(ctx)
	if err != nil {
		return nil, err
	}
	var resp *identityv1.AuthenticateResponse
	authenticate := func() (err error) {
		resp, err = s.identity.Authenticate(ctx, &identityv1.AuthenticateRequest{Token: token, Method: method, Resource: resource})
		return err
	}
	// An identity that was put back to an older copy does not know a request key that the other holders' guard rails name.
	var claimed typev1.Token
	if evidence.Peek(token, &claimed) == nil && claimed.GetWallet() != "" {
		err = s.withRepair(ctx, claimed.GetWallet(), authenticate)
	} else {
		err = authenticate()
	}
	if err != nil {
		return nil, err
	}
	rule, ok := authz.Lookup(method)
	if !ok || rule.Auth != authz.Token || !rule.Callers.Has(kindOf(resp.GetCaller())) {
		return nil, fault.New(typev1.Reason_REASON_PERMISSION_DENIED, typev1.MoneyMoved_MONEY_MOVED_NO,
			"this method is not for this kind of caller")
	}
	return resp.GetCaller(), nil
}

// admit holds a caller, once it is known, to its quota. The call counts until its context ends, which it does when the handler
// returns. What stops a wallet is never refused for it.
func (s *Service) admit(ctx context.Context, method string, caller *typev1.Caller) error {
	if rule, _ := authz.Lookup(method); rule.Stops {
		return nil
	}
	leave, ok := s.callers.Enter(caller.GetName(), time.Now())
	if !ok {
		return fault.New(typev1.Reason_REASON_LIMIT_EXCEEDED, typev1.MoneyMoved_MONEY_MOVED_NO, "too many calls by this agent or owner")
	}
	context.AfterFunc(ctx, leave)
	return nil
}

// kindOf is the kind of a caller whom identity has found.
func kindOf(c *typev1.Caller) authz.Callers {
	switch {
	case strings.HasPrefix(c.GetName(), "agents/"):
		return authz.Agent
	case strings.HasPrefix(c.GetName(), "owners/"):
		return authz.Owner
	default:
		return authz.Operator
	}
}

// tokenOf reads the call's one token.
func tokenOf(ctx context.Context) (*typev1.Envelope, error) {
	values := metadata.ValueFromIncomingContext(ctx, TokenMetadata)
	if len(values) != 1 || len(values[0]) > tokenBytesMax {
		return nil, unauthenticated("this call needs exactly one token in its metadata")
	}
	token := &typev1.Envelope{}
	if err := proto.Unmarshal([]byte(values[0]), token); err != nil {
		return nil, unauthenticated("the token does not decode")
	}
	return token, nil
}

func unauthenticated(msg string) error {
	return fault.New(typev1.Reason_REASON_UNAUTHENTICATED, typev1.MoneyMoved_MONEY_MOVED_NO, msg)
}

// source is the caller's network address without its port: open registrations are counted by it.
func source(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	return host
}
