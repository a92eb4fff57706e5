package workload_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	ours "github.com/halfkey/halfkey/internal/rpc/workload"
)

const (
	installation = "test-1"
	// within bounds what has to happen by itself: new certificates are in force after some three seconds.
	within = 20 * time.Second
)

// agent serves the Workload API as SPIRE's agent does: every caller gets the last answer, and each that comes after it.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	mu      sync.Mutex
	answer  *workload.X509SVIDResponse
	changed chan struct{}
	callers sync.WaitGroup
}

// FetchX509SVID implements the API.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if md, _ := metadata.FromIncomingContext(stream.Context()); len(md.Get("workload.spiffe.io")) != 1 {
		return status.Error(codes.InvalidArgument, "no security header")
	}
	a.callers.Add(1)
	defer a.callers.Done()
	for {
		a.mu.Lock()
		answer, changed := a.answer, a.changed
		a.mu.Unlock()
		if err := stream.Send(answer); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-changed:
		}
	}
}

func (a *agent) set(svids ...*workload.X509SVID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = &workload.X509SVIDResponse{Svids: svids}
	if a.changed != nil {
		close(a.changed)
	}
	a.changed = make(chan struct{})
}

// serve starts an agent and returns its socket.
func serve(t *testing.T, a *agent) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return "unix://" + socket, stop
}

func newAuthority(t *testing.T) *devcert.Authority {
	t.Helper()
	ca, err := devcert.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func der(t *testing.T, blocks []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(blocks)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// svid is a service's identity under an authority.
func svid(t *testing.T, ca *devcert.Authority, installation string, s authz.Service) *workload.X509SVID {
	t.Helper()
	pair, err := ca.Service(installation, s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &workload.X509SVID{
		SpiffeId: authz.ID(installation, s).String(), X509Svid: der(t, pair.Certificate), X509SvidKey: der(t, pair.Key),
		Bundle: der(t, ca.Certificate()),
	}
}

// gateway dials a server as the gateway whom an authority has signed, and who trusts it.
func gateway(t *testing.T, ca *devcert.Authority, address string) *grpc.ClientConn {
	t.Helper()
	pair, err := ca.Service(installation, authz.Gateway, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	own, err := rpc.NewCredentials(installation, rpc.Material{Certificate: pair.Certificate, Key: pair.Key, Authorities: ca.Certificate()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(rpc.DialConfig{
		Target: "passthrough:///" + address, Service: authz.Ledger, Credentials: own, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func check(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// A ledger with the identity that the Workload API gives it, which is rotated to one by another authority: new connections
// are by the new one, those of the old one end, and when the API goes away the last answer stands.
func TestWorkload(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	a := &agent{}
	// Another installation's identity, and one that is no service's, are not ours.
	a.set(svid(t, newAuthority(t), "test-2", authz.Ledger), svid(t, old, installation, "treasury"), svid(t, old, installation, authz.Ledger))
	socket, stop := serve(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	own, err := ours.Credentials(ctx, installation, socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	if s, err := own.Service(); err != nil || s != authz.Ledger {
		t.Errorf("it is the %s's: %v", s, err)
	}

	server, err := rpc.NewServer(rpc.Config{
		Installation: installation, Listener: authz.Internal, Credentials: own, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	before := gateway(t, old, l.Addr().String())
	if err := check(t, before); err != nil {
		t.Fatal(err)
	}
	if err := check(t, gateway(t, next, l.Addr().String())); status.Code(err) != codes.Unavailable {
		t.Errorf("before the rotation, by the next authority: %v", err)
	}

	a.set(svid(t, next, installation, authz.Ledger))
	for end := time.Now().Add(within); check(t, gateway(t, next, l.Addr().String())) != nil; {
		if time.Now().After(end) {
			t.Fatal("the next authority's are not let in")
		}
	}
	for end := time.Now().Add(within); check(t, before) == nil; {
		if time.Now().After(end) {
			t.Fatal("a connection that was open before goes on by an authority that is gone")
		}
	}

	stop()
	if err := check(t, gateway(t, next, l.Addr().String())); err != nil {
		t.Errorf("without the API: %v", err)
	}
}

// Closing the credentials closes the connection to the API.
func TestClose(t *testing.T) {
	a := &agent{}
	a.set(svid(t, newAuthority(t), installation, authz.Policy))
	socket, _ := serve(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	own, err := ours.Credentials(ctx, installation, socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Close(); err != nil {
		t.Error(err)
	}
	if err := own.Close(); err != nil {
		t.Errorf("again: %v", err)
	}
	gone := make(chan struct{})
	go func() {
		a.callers.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		t.Error("it still listens to the API")
	}
}

func TestRefuses(t *testing.T) {
	ca := newAuthority(t)
	mixed := svid(t, ca, installation, authz.Ledger)
	mixed.X509SvidKey = svid(t, ca, installation, authz.Ledger).GetX509SvidKey()
	for _, tt := range []struct {
		name         string
		installation string
		socket       string // empty: an agent that answers svids
		svids        []*workload.X509SVID
		want         string
		says         string // in the log
	}{
		{name: "a network address", installation: installation, socket: "tcp://127.0.0.1:8081", want: "unix://"},
		{name: "no scheme", installation: installation, socket: "/run/spire/agent.sock", want: "unix://"},
		{name: "no path", installation: installation, socket: "unix://", want: "path"},
		{name: "no trust domain", installation: "Test 1", want: "trust domain"},
		{name: "nobody there", installation: installation, socket: "unix:///nowhere/agent.sock", want: "deadline", says: "no such file"},
		{
			name: "another installation's", installation: installation, svids: []*workload.X509SVID{svid(t, ca, "test-2", authz.Ledger)},
			want: "no identity",
		},
		{
			name: "no service's", installation: installation, svids: []*workload.X509SVID{svid(t, ca, installation, "treasury")},
			want: "no identity",
		},
		{name: "another's key", installation: installation, svids: []*workload.X509SVID{mixed}, want: "deadline", says: "private key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.socket == "" {
				a := &agent{}
				a.set(tt.svids...)
				tt.socket, _ = serve(t, a)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			var said bytes.Buffer
			own, err := ours.Credentials(ctx, tt.installation, tt.socket, slog.New(slog.NewTextHandler(&said, nil)))
			if err == nil {
				own.Close()
				t.Fatal("taken")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
			if !strings.Contains(said.String(), tt.says) {
				t.Errorf("the log says %q, want %q", said.String(), tt.says)
			}
		})
	}
}
