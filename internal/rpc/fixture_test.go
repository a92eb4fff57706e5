package rpc_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	installation = "test-1"
	// callTimeout bounds calls of these tests: nothing here takes long, and a bug must not hang.
	callTimeout = 10 * time.Second
)

func newAuthority(t testing.TB) *devcert.Authority {
	t.Helper()
	ca, err := devcert.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// credentialsOf are a service's, under an authority.
func credentialsOf(t testing.TB, ca *devcert.Authority, s authz.Service) *rpc.Credentials {
	t.Helper()
	pair, err := ca.Service(installation, s, time.Now(), "127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	c, err := rpc.NewCredentials(installation, rpc.Material{Certificate: pair.Certificate, Key: pair.Key, Authorities: ca.Certificate()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ledger is a service whose answers a test chooses.
type ledger struct {
	ledgerv1.UnimplementedLedgerServiceServer

	create func(ctx context.Context, req *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error)
	get    func(ctx context.Context, req *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error)
	watch  func(req *ledgerv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error
}

func (l *ledger) CreatePayment(ctx context.Context, req *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
	return l.create(ctx, req)
}

func (l *ledger) GetPayment(ctx context.Context, req *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
	return l.get(ctx, req)
}

func (l *ledger) WatchPayment(req *ledgerv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error {
	return l.watch(req, stream)
}

func (*ledger) Freeze(context.Context, *ledgerv1.FreezeRequest) (*ledgerv1.FreezeResponse, error) {
	return &ledgerv1.FreezeResponse{}, nil
}

// serve runs an internal server of the ledger on a loopback port.
func serve(t testing.TB, ca *devcert.Authority, c rpc.Config, register func(grpc.ServiceRegistrar)) string {
	t.Helper()
	c.Installation = installation
	if c.Listener == 0 {
		c.Listener = authz.Internal
	}
	if c.Credentials == nil {
		c.Credentials = credentialsOf(t, ca, authz.Ledger)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	server, err := rpc.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	if register != nil {
		register(server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// dial connects as a client of the gateway does.
func dial(t testing.TB, address string, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	return dialWith(t, rpc.DialConfig{Target: "passthrough:///" + address, TLS: config})
}

// dialAs connects to the ledger with a service's credentials.
func dialAs(t testing.TB, address string, c *rpc.Credentials) *grpc.ClientConn {
	t.Helper()
	return dialWith(t, rpc.DialConfig{
		Target: "passthrough:///" + address, Service: authz.Ledger, Credentials: c, Logger: slog.New(slog.DiscardHandler),
	})
}

func dialWith(t testing.TB, c rpc.DialConfig) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// asGateway connects as the gateway to the ledger.
func asGateway(t testing.TB, ca *devcert.Authority, address string) *grpc.ClientConn {
	t.Helper()
	return dialAs(t, address, credentialsOf(t, ca, authz.Gateway))
}

func callContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	t.Cleanup(cancel)
	return ctx
}

// wantFault demands that an error came over the wire with our ErrorInfo and says this.
func wantFault(t testing.TB, err error, reason typev1.Reason, moved typev1.MoneyMoved) *fault.Fault {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", reason)
	}
	if len(status.Convert(err).Details()) == 0 {
		t.Errorf("%v has no ErrorInfo", err)
	}
	f := fault.Of(err)
	if f.Reason != reason || f.MoneyMoved != moved {
		t.Errorf("got %s %s (%s), want %s %s", f.Reason, f.MoneyMoved, f.Message, reason, moved)
	}
	return f
}
