package authz

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ID is a service's SPIFFE id: spiffe://<installation>/<service>.
func ID(installation string, s Service) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: installation, Path: "/" + string(s)}
}

// ServiceOf reads the service from a certificate's SPIFFE id. The certificate must name exactly one URI, of this
// installation and one of the five (SPIFFE X509-SVID section 2: one URI SAN, no port, query or fragment).
func ServiceOf(installation string, cert *x509.Certificate) (Service, error) {
	if installation == "" {
		return "", fmt.Errorf("authz: no installation to compare a certificate with")
	}
	if cert == nil || len(cert.URIs) != 1 {
		return "", fmt.Errorf("authz: a certificate of a service names exactly one URI")
	}
	got := cert.URIs[0].String()
	for _, s := range Services() {
		if got == ID(installation, s).String() {
			return s, nil
		}
	}
	return "", fmt.Errorf("authz: the certificate names no service of this installation")
}

// Check compares what a server has registered with the table. An error names every method that is missing or that
// belongs on another kind of listener; a program stops on it before it listens.
func Check(registered map[string]grpc.ServiceInfo, on Listener) error {
	var wrong []string
	for _, service := range slices.Sorted(maps.Keys(registered)) {
		for _, m := range registered[service].Methods {
			method := "/" + service + "/" + m.Name
			switch r, ok := table[method]; {
			case !ok:
				wrong = append(wrong, method+" is not in the table")
			case r.Listener != on && r.Listener != Both:
				wrong = append(wrong, method+" does not belong on this listener")
			}
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("authz: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// Authorizer decides about calls on one listener.
type Authorizer struct {
	installation string
	on           Listener
}

// New makes an authorizer for a listener of an installation.
func New(installation string, on Listener) (*Authorizer, error) {
	if on != Internal && on != Public {
		return nil, fmt.Errorf("authz: a listener is internal or public")
	}
	if installation == "" {
		return nil, fmt.Errorf("authz: no installation")
	}
	return &Authorizer{installation: installation, on: on}, nil
}

// Authorize decides whether the caller of a context may call a method. The answer is nil or a fault.
func (a *Authorizer) Authorize(ctx context.Context, fullMethod string) error {
	r, ok := table[fullMethod]
	if !ok || r.Listener != a.on && r.Listener != Both {
		return denied("this method is not served here")
	}
	if a.on == Public {
		return nil // Who calls is the gateway's to find out, by the rule's Auth.
	}
	cert, err := verifiedPeer(ctx)
	if err != nil {
		return err
	}
	service, err := ServiceOf(a.installation, cert)
	if err != nil {
		return fault.Caused(err, typev1.Reason_REASON_UNAUTHENTICATED, typev1.MoneyMoved_MONEY_MOVED_NO,
			"the caller's certificate names no service of this installation")
	}
	if r.AnyPeer || slices.Contains(r.Peers, service) {
		return nil
	}
	return denied("this service may not call this method")
}

// verifiedPeer is the leaf of the chain that TLS has verified.
func verifiedPeer(ctx context.Context) (*x509.Certificate, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			return info.State.VerifiedChains[0][0], nil
		}
	}
	return nil, fault.New(typev1.Reason_REASON_UNAUTHENTICATED, typev1.MoneyMoved_MONEY_MOVED_NO,
		"this call needs a client certificate")
}

func denied(msg string) error {
	return fault.New(typev1.Reason_REASON_PERMISSION_DENIED, typev1.MoneyMoved_MONEY_MOVED_NO, msg)
}

// Unary is the interceptor for unary calls.
func (a *Authorizer) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := a.Authorize(ctx, info.FullMethod); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// Stream is the interceptor for streams.
func (a *Authorizer) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := a.Authorize(ss.Context(), info.FullMethod); err != nil {
			return err
		}
		return handler(srv, ss)
	}
}
