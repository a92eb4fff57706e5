package authz_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const installation = "test-1"

var (
	internalFiles = []protoreflect.FileDescriptor{
		identityv1.File_halfkey_identity_v1_identity_proto, policyv1.File_halfkey_policy_v1_policy_proto,
		ledgerv1.File_halfkey_ledger_v1_ledger_proto, cosignerv1.File_halfkey_cosigner_v1_cosigner_proto,
	}
	gatewayFile = gatewayv1.File_halfkey_gateway_v1_gateway_proto
)

// methods lists the full methods of contracts.
func methods(files ...protoreflect.FileDescriptor) []string {
	var all []string
	for _, file := range files {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				all = append(all, "/"+string(service.FullName())+"/"+string(service.Methods().Get(j).Name()))
			}
		}
	}
	return all
}

// Every method of the contracts has its row; internal ones answer to the gateway and to nobody else.
func TestTable(t *testing.T) {
	for _, method := range methods(internalFiles...) {
		r, ok := authz.Lookup(method)
		if !ok {
			t.Errorf("%s is missing", method)
			continue
		}
		if r.Listener != authz.Internal || r.Auth != authz.Peer || r.AnyPeer || r.Callers != 0 ||
			!slices.Equal(r.Peers, []authz.Service{authz.Gateway}) {
			t.Errorf("%s: %+v is not the gateway's alone", method, r)
		}
	}
	for _, method := range methods(gatewayFile) {
		r, ok := authz.Lookup(method)
		if !ok {
			t.Errorf("%s is missing", method)
			continue
		}
		if r.Listener != authz.Public || r.Auth == authz.Peer || r.AnyPeer || len(r.Peers) != 0 {
			t.Errorf("%s: %+v is not public", method, r)
		}
		if (r.Auth == authz.Nothing) != (r.Callers == 0) {
			t.Errorf("%s: %+v names callers exactly if somebody signs", method, r)
		}
	}
}

// The table says what the comments of gateway.proto promise.
func TestTableFollowsTheContract(t *testing.T) {
	text, err := os.ReadFile("../../proto/halfkey/gateway/v1/gateway.proto")
	if err != nil {
		t.Fatal(err)
	}
	method := regexp.MustCompile(`(?m)((?:^  // .*\n)+)^  rpc (\w+)\(`)
	found := method.FindAllStringSubmatch(string(text), -1)
	if len(found) != len(methods(gatewayFile)) {
		t.Fatalf("%d of %d methods read", len(found), len(methods(gatewayFile)))
	}
	for _, m := range found {
		comment, name := strings.ReplaceAll(m[1], "\n  //", ""), m[2]
		want, callers := authz.Auth(0), authz.Callers(0)
		switch {
		case strings.Contains(comment, "Statement: "):
			want = authz.Statement
		case strings.Contains(comment, "No token"):
			want = authz.Nothing
		case strings.Contains(comment, "Token"):
			want = authz.Token
			if strings.Contains(comment, "Token of an owner") || strings.Contains(comment, "resource: the owner.") {
				callers = authz.Owner
			}
		default:
			t.Errorf("%s: its comment does not say how it is authenticated", name)
		}
		r, _ := authz.Lookup("/halfkey.gateway.v1.GatewayService/" + name)
		if r.Auth != want {
			t.Errorf("%s: table %d, contract %d", name, r.Auth, want)
		}
		if callers != 0 && r.Callers != callers {
			t.Errorf("%s: callers %b, contract %b", name, r.Callers, callers)
		}
	}
}

// What can move money is known by name: a new method that does has to be added here and there.
func TestMoves(t *testing.T) {
	want := []string{
		"/halfkey.cosigner.v1.CosignerService/Release",
		"/halfkey.gateway.v1.GatewayService/ApplyStatement",
		"/halfkey.gateway.v1.GatewayService/CreatePayment",
		"/halfkey.gateway.v1.GatewayService/SettlePayment",
		"/halfkey.ledger.v1.LedgerService/ApplyStatement",
		"/halfkey.ledger.v1.LedgerService/CreatePayment",
		"/halfkey.ledger.v1.LedgerService/SettlePayment",
	}
	var got []string
	for _, method := range methods(append(internalFiles, gatewayFile)...) {
		if r, _ := authz.Lookup(method); r.Moves {
			got = append(got, method)
		}
		stops := strings.HasSuffix(strings.ToLower(method), "freeze") || strings.HasSuffix(method, "/Revoke")
		if r, _ := authz.Lookup(method); r.Stops != stops {
			t.Errorf("%s: stops is %v", method, r.Stops)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// as is a context of a call by a peer with a verified certificate.
func as(cert *x509.Certificate) context.Context {
	info := credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}}
	return peer.NewContext(context.Background(), &peer.Peer{AuthInfo: info})
}

func named(uris ...string) *x509.Certificate {
	cert := &x509.Certificate{}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		cert.URIs = append(cert.URIs, u)
	}
	return cert
}

// Every method, called by every service: only the gateway's calls of internal methods pass.
func TestMatrix(t *testing.T) {
	inside := newAuthorizer(t, authz.Internal)
	for _, service := range authz.Services() {
		ctx := as(named(authz.ID(installation, service).String()))
		for _, method := range methods(append(internalFiles, gatewayFile)...) {
			err := inside.Authorize(ctx, method)
			allowed := service == authz.Gateway && !strings.Contains(method, ".gateway.")
			if allowed && err != nil {
				t.Errorf("%s calls %s: %v", service, method, err)
			}
			if !allowed && fault.ReasonOf(err) != typev1.Reason_REASON_PERMISSION_DENIED {
				t.Errorf("%s calls %s: got %v", service, method, err)
			}
		}
		if err := inside.Authorize(ctx, grpc_health_v1.Health_Check_FullMethodName); err != nil {
			t.Errorf("%s asks for health: %v", service, err)
		}
	}
}

func newAuthorizer(t *testing.T, on authz.Listener) *authz.Authorizer {
	t.Helper()
	a, err := authz.New(installation, on)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Who is not one of the five, of this installation, by a verified certificate, is nobody.
func TestNobody(t *testing.T) {
	unverified := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: credentials.TLSInfo{
		State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{named("spiffe://test-1/gateway")}},
	}})
	for _, tt := range []struct {
		name string
		ctx  context.Context
	}{
		{"no peer", context.Background()},
		{"no TLS", peer.NewContext(context.Background(), &peer.Peer{})},
		{"not verified", unverified},
		{"no URI", as(named())},
		{"two URIs", as(named("spiffe://test-1/gateway", "spiffe://test-1/ledger"))},
		{"the same twice", as(named("spiffe://test-1/gateway", "spiffe://test-1/gateway"))},
		{"other installation", as(named("spiffe://test-2/gateway"))},
		{"longer installation", as(named("spiffe://test-1.evil/gateway"))},
		{"other scheme", as(named("https://test-1/gateway"))},
		{"longer path", as(named("spiffe://test-1/gateway/x"))},
		{"slash at the end", as(named("spiffe://test-1/gateway/"))},
		{"port", as(named("spiffe://test-1:443/gateway"))},
		{"user", as(named("spiffe://x@test-1/gateway"))},
		{"query", as(named("spiffe://test-1/gateway?x"))},
		{"fragment", as(named("spiffe://test-1/gateway#x"))},
		{"upper case", as(named("spiffe://test-1/Gateway"))},
		{"escaped", as(named("spiffe://test-1/%67ateway"))},
		{"no such service", as(named("spiffe://test-1/portal"))},
		{"no path", as(named("spiffe://test-1"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{ledgerv1.LedgerService_Freeze_FullMethodName, grpc_health_v1.Health_Check_FullMethodName} {
				err := newAuthorizer(t, authz.Internal).Authorize(tt.ctx, method)
				if got := fault.ReasonOf(err); got != typev1.Reason_REASON_UNAUTHENTICATED {
					t.Errorf("%s: got %v", method, err)
				}
			}
		})
	}
}

// A public listener serves the gateway's methods and no internal one.
func TestPublic(t *testing.T) {
	outside := newAuthorizer(t, authz.Public)
	for _, method := range methods(gatewayFile) {
		if err := outside.Authorize(t.Context(), method); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	refused := append(methods(internalFiles...), "", "/", "/halfkey.gateway.v1.GatewayService/",
		"/halfkey.gateway.v1.GatewayService/createpayment",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
	for _, method := range refused {
		if err := outside.Authorize(as(named("spiffe://test-1/gateway")), method); fault.ReasonOf(err) != typev1.Reason_REASON_PERMISSION_DENIED {
			t.Errorf("%q: got %v", method, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := authz.New("", authz.Internal); err == nil {
		t.Error("no installation is taken")
	}
	for _, on := range []authz.Listener{0, authz.Both, 9} {
		if _, err := authz.New(installation, on); err == nil {
			t.Errorf("listener %d is taken", on)
		}
	}
}

// A server with a method that is not in the table does not start.
func TestCheck(t *testing.T) {
	info := func(service string, names ...string) map[string]grpc.ServiceInfo {
		var all []grpc.MethodInfo
		for _, name := range names {
			all = append(all, grpc.MethodInfo{Name: name})
		}
		return map[string]grpc.ServiceInfo{service: {Methods: all}}
	}
	for _, tt := range []struct {
		name       string
		registered map[string]grpc.ServiceInfo
		on         authz.Listener
		want       []string // what the error names; none for no error
	}{
		{"ledger inside", info("halfkey.ledger.v1.LedgerService", "Freeze", "CreatePayment"), authz.Internal, nil},
		{"gateway outside", info("halfkey.gateway.v1.GatewayService", "Freeze"), authz.Public, nil},
		{"health anywhere", info("grpc.health.v1.Health", "Check", "Watch", "List"), authz.Public, nil},
		{"a new method", info("halfkey.ledger.v1.LedgerService", "Freeze", "PayAnyone"), authz.Internal, []string{"LedgerService/PayAnyone"}},
		{"ledger outside", info("halfkey.ledger.v1.LedgerService", "Freeze"), authz.Public, []string{"LedgerService/Freeze"}},
		{"gateway inside", info("halfkey.gateway.v1.GatewayService", "Freeze"), authz.Internal, []string{"GatewayService/Freeze"}},
		{"reflection", info("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"), authz.Public, []string{"ServerReflectionInfo"}},
		{"all are named", info("x", "A", "B"), authz.Internal, []string{"/x/A", "/x/B"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := authz.Check(tt.registered, tt.on)
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not name %s", err, want)
				}
			}
		})
	}
}
