// Package rpctest holds listeners to what they must refuse, whoever has started them: a server of a package's test, an
// installation in one process, or programs. It is for tests, and uses nothing of package rpc, whose servers it judges.
package rpctest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// callTimeout bounds calls: nothing here takes long, and a bug must not hang.
const callTimeout = 20 * time.Second

// Listener is one that services answer on.
type Listener struct {
	// Address is host:port.
	Address string
	// Service is the one that answers.
	Service authz.Service
	// Installation is its id, and Authority the one that signs its services.
	Installation string
	Authority    *devcert.Authority
}

// Internal demands that an internal listener answers services of its installation, and nobody else, and that it does for
// the gateway what it serves, and for no service anything.
func Internal(t *testing.T, l Listener) {
	t.Helper()
	good := l.certificate(t, authz.Gateway)
	for _, bad := range Callers(t, l.Authority, l.Installation, authz.Gateway) {
		t.Run(bad.Name, func(t *testing.T) { l.wantNoConnection(t, credentials.NewTLS(config(bad.Certificate))) })
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		old := config(good)
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		l.wantNoConnection(t, credentials.NewTLS(old))
	})
	t.Run("plaintext", func(t *testing.T) { l.wantNoConnection(t, insecure.NewCredentials()) })
	for _, caller := range authz.Services() {
		t.Run("as the "+string(caller), func(t *testing.T) { l.calls(t, caller) })
	}
}

// calls calls every method of the contracts as a service: what it may not call, or is not served here, is refused.
func (l Listener) calls(t *testing.T, caller authz.Service) {
	t.Helper()
	conn := l.dial(t, credentials.NewTLS(config(l.certificate(t, caller))))
	// All that is refused above was refused for what is wrong with it: a certificate without a fault is let in.
	if err := check(t, conn); err != nil {
		t.Fatalf("the %s is not let in: %v", caller, err)
	}
	refused := 0
	for service, file := range files() {
		if caller == authz.Gateway && service == l.Service {
			continue // What the gateway is for; package rpc's own matrix calls these.
		}
		for _, m := range methods(file) {
			refused++
			f := fault.Of(call(t, conn, m))
			if f == nil || f.Reason != typev1.Reason_REASON_PERMISSION_DENIED || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
				t.Errorf("%s: got %v, want it refused", m.FullName(), f)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was called")
	}
}

// Public demands that a public listener speaks TLS 1.3 and nothing else, and that it serves no service's methods.
func Public(t *testing.T, address string, roots *x509.CertPool) {
	t.Helper()
	for version, ok := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			conn, err := tls.Dial("tcp", address, &tls.Config{
				RootCAs: roots, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2", "http/1.1"},
			})
			if (err == nil) != ok {
				t.Errorf("got %v", err)
			}
			if err == nil {
				_ = conn.Close()
			}
		})
	}
	t.Run("plaintext gRPC", func(t *testing.T) { Listener{Address: address}.wantNoConnection(t, insecure.NewCredentials()) })
	t.Run("plaintext HTTP", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/installations", nil)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return // A gRPC server hangs up.
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("answered with %s", resp.Status)
		}
	})
}

// Uncalled demands that no method of a service is served on a public gRPC listener.
func Uncalled(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	for service, file := range files() {
		if service == authz.Gateway {
			continue
		}
		for _, m := range methods(file) {
			if got := fault.ReasonOf(call(t, conn, m)); got != typev1.Reason_REASON_PERMISSION_DENIED {
				t.Errorf("%s: got %s", m.FullName(), got)
			}
		}
	}
}

func (l Listener) certificate(t *testing.T, s authz.Service) tls.Certificate {
	t.Helper()
	return Issue(t, l.Authority, devcert.Leaf{URI: authz.ID(l.Installation, s), Usages: BothWays}, time.Now())
}

// config shows a certificate and takes any server: it is the listener that is tested.
func config(own tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, //nolint:forbidigo,gosec // as above
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	}
}

func (l Listener) dial(t *testing.T, by credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+l.Address, grpc.WithTransportCredentials(by))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (l Listener) wantNoConnection(t *testing.T, by credentials.TransportCredentials) {
	t.Helper()
	if err := check(t, l.dial(t, by)); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want no connection", err)
	}
}

// check calls the health service, the one method that any peer may call.
func check(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// call calls a method with a request that is empty.
func call(t *testing.T, conn *grpc.ClientConn, m protoreflect.MethodDescriptor) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.IsStreamingServer()},
		"/"+string(m.Parent().FullName())+"/"+string(m.Name()))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(&emptypb.Empty{})
}

// files are the contracts of the five.
func files() map[authz.Service]protoreflect.FileDescriptor {
	return map[authz.Service]protoreflect.FileDescriptor{
		authz.Gateway: gatewayv1.File_halfkey_gateway_v1_gateway_proto, authz.Identity: identityv1.File_halfkey_identity_v1_identity_proto,
		authz.Policy: policyv1.File_halfkey_policy_v1_policy_proto, authz.Ledger: ledgerv1.File_halfkey_ledger_v1_ledger_proto,
		authz.Cosigner: cosignerv1.File_halfkey_cosigner_v1_cosigner_proto,
	}
}

func methods(file protoreflect.FileDescriptor) (all []protoreflect.MethodDescriptor) {
	for i := range file.Services().Len() {
		for j := range file.Services().Get(i).Methods().Len() {
			all = append(all, file.Services().Get(i).Methods().Get(j))
		}
	}
	return all
}
