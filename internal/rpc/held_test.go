package rpc_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	stdlog "log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// brief is the life of a certificate that expires while a test looks on: long enough to connect with.
const brief = 3 * time.Second

// blind is a server of the ledger that shows a certificate and never looks at anybody's again.
func blind(t testing.TB, own *rpc.Credentials) string {
	t.Helper()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(own.ServerTLS())))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// A connection that was good when it was made is cut within seconds when it is good no longer, by either end, beside one
// that nothing has happened to.
func TestCut(t *testing.T) {
	t.Parallel()
	old, next := newAuthority(t), newAuthority(t)
	gone := func(t testing.TB, s authz.Service) (own *rpc.Credentials, leaves func()) {
		source := &changing{m: materialOf(t, s, 0, old, old, next)}
		return source.watch(t), func() { source.set(materialOf(t, s, 0, next, next)) }
	}
	for _, tt := range []struct {
		name string
		// make opens a stream on a connection, and one that stays; what change changes makes the first one bad.
		make func(t *testing.T) (bad, good <-chan error, change func())
	}{
		{"by the server, the client's certificate expires", func(t *testing.T) (<-chan error, <-chan error, func()) {
			address := serve(t, old, rpc.Config{}, nil)
			short := fixed(t, materialOf(t, authz.Gateway, brief, old, old))
			bad := bare(t, address, credentials.NewTLS(short.ClientTLS(authz.Ledger)))
			return watchHealth(t, bad), watchHealth(t, asGateway(t, old, address)), func() {}
		}},
		{"by the server, the client's authority goes", func(t *testing.T) (<-chan error, <-chan error, func()) {
			own, change := gone(t, authz.Ledger)
			address := serve(t, old, rpc.Config{Credentials: own}, nil)
			bad := bare(t, address, credentials.NewTLS(credentialsOf(t, old, authz.Gateway).ClientTLS(authz.Ledger)))
			good := bare(t, address, credentials.NewTLS(fixed(t, materialOf(t, authz.Gateway, 0, next, old, next)).ClientTLS(authz.Ledger)))
			return watchHealth(t, bad), watchHealth(t, good), change
		}},
		{"by the client, the server's certificate expires", func(t *testing.T) (<-chan error, <-chan error, func()) {
			bad := blind(t, fixed(t, materialOf(t, authz.Ledger, brief, old, old)))
			good := blind(t, credentialsOf(t, old, authz.Ledger))
			return watchHealth(t, asGateway(t, old, bad)), watchHealth(t, asGateway(t, old, good)), func() {}
		}},
		{"by the client, the server's authority goes", func(t *testing.T) (<-chan error, <-chan error, func()) {
			own, change := gone(t, authz.Gateway)
			bad := blind(t, fixed(t, materialOf(t, authz.Ledger, 0, old, old, next)))
			good := blind(t, fixed(t, materialOf(t, authz.Ledger, 0, next, old, next)))
			return watchHealth(t, dialAs(t, bad, own)), watchHealth(t, dialAs(t, good, own)), change
		}},
		{"by the public listener, its certificate expires", func(t *testing.T) (<-chan error, <-chan error, func()) {
			short := serve(t, old, rpc.Config{Listener: authz.Public, Credentials: fixed(t, materialOf(t, authz.Gateway, brief, old, old))}, nil)
			long := serve(t, old, rpc.Config{Listener: authz.Public, Credentials: credentialsOf(t, old, authz.Gateway)}, nil)
			trust, err := rpc.PublicClientTLS(old.Certificate())
			if err != nil {
				t.Fatal(err)
			}
			return watchHealth(t, dial(t, short, trust)), watchHealth(t, dial(t, long, trust)), func() {}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bad, good, change := tt.make(t)
			since := time.Now()
			change()
			wantCut(t, bad, since)
			select {
			case err := <-good:
				t.Errorf("a good connection was cut: %v", err)
			default:
			}
		})
	}
}

// A payment that was being made when its connection was cut may have been recorded, and its answer says so; the handler is
// told that nobody waits.
func TestCutCall(t *testing.T) {
	t.Parallel()
	old, next := newAuthority(t), newAuthority(t)
	source := &changing{m: materialOf(t, authz.Ledger, 0, old, old)}
	arrived, ended := make(chan struct{}), make(chan struct{})
	service := &ledger{create: func(ctx context.Context, _ *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
		close(arrived)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}}
	address := serve(t, old, rpc.Config{Credentials: source.watch(t)},
		func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client, ctx := ledgerv1.NewLedgerServiceClient(asGateway(t, old, address)), callContext(t)
	failed := make(chan error, 1)
	go func() {
		_, err := client.CreatePayment(ctx, &ledgerv1.CreatePaymentRequest{})
		failed <- err
	}()
	<-arrived
	source.set(materialOf(t, authz.Ledger, 0, next, next))
	select {
	case err := <-failed:
		if f := fault.Of(err); f == nil || f.Reason != typev1.Reason_REASON_UNAVAILABLE || f.MoneyMoved != unknown {
			t.Errorf("got %v", err)
		}
	case <-time.After(within):
		t.Fatal("it goes on")
	}
	select {
	case <-ended:
	case <-time.After(within):
		t.Error("the handler goes on")
	}
}

// A public listener shows the certificate that is in force, to gRPC as to HTTPS.
func TestPublicShowsWhatIsInForce(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	first, second := materialOf(t, authz.Gateway, 0, ca, ca), materialOf(t, authz.Gateway, 0, ca, ca)
	source := &changing{m: first}
	own := source.watch(t)
	trust, err := rpc.PublicClientTLS(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	https, err := tls.Listen("tcp", "127.0.0.1:0", own.PublicTLS())
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ErrorLog: stdlog.New(io.Discard, "", 0), ReadHeaderTimeout: within}
	go func() { _ = web.Serve(https) }()
	t.Cleanup(func() { web.Close() })
	listeners := map[string]string{
		"gRPC":  serve(t, ca, rpc.Config{Listener: authz.Public, Credentials: own}, nil),
		"HTTPS": https.Addr().String(),
	}
	shown := func(address string) *big.Int {
		conn, err := tls.Dial("tcp", address, withH2(trust))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber
	}
	for name, address := range listeners {
		if shown(address).Cmp(serial(t, first)) != 0 {
			t.Errorf("%s shows another certificate at first", name)
		}
	}
	source.set(second)
	for name, address := range listeners {
		eventually(t, name+" shows the new certificate", func() bool { return shown(address).Cmp(serial(t, second)) == 0 })
	}
}

// HTTPS stops with a certificate that has expired: the connection that is open ends within seconds, also under a request that is being
// answered, nobody is shown it any more, and a new one is shown at once. A connection under another certificate goes on beside it.
func TestHTTPSExpires(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	source := &changing{m: materialOf(t, authz.Gateway, brief, ca, ca)}
	serve := func(own *rpc.Credentials) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		web := &http.Server{ErrorLog: stdlog.New(io.Discard, "", 0), ReadHeaderTimeout: within}
		web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		go func() { _ = web.Serve(tls.NewListener(own.Hold(l, slog.New(slog.DiscardHandler)), own.PublicTLS())) }()
		t.Cleanup(func() { web.Close() })
		return l.Addr().String()
	}
	careless := &tls.Config{MinVersion: tls.VersionTLS13}
	careless.InsecureSkipVerify = true //nolint:forbidigo // Who looks at no certificate is not served under an expired one either.
	// open asks for what is never answered to its end, and tells when the connection has ended.
	open := func(address string) <-chan error {
		conn, err := tls.Dial("tcp", address, careless)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		answer := bufio.NewReader(conn)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("answer %q: %v", line, err)
		}
		ended := make(chan error, 1)
		go func() { _, err := io.Copy(io.Discard, answer); ended <- err }()
		return ended
	}
	expires, stays := serve(source.watch(t)), serve(credentialsOf(t, ca, authz.Gateway))
	bad, good := open(expires), open(stays)
	select {
	case <-bad:
	case <-time.After(within):
		t.Errorf("not cut within %s", within)
	}
	select {
	case err := <-good:
		t.Errorf("a good connection was cut: %v", err)
	default:
	}
	if conn, err := tls.Dial("tcp", expires, careless); err == nil {
		conn.Close()
		t.Error("it shows a certificate that has expired")
	}
	source.set(materialOf(t, authz.Gateway, 0, ca, ca))
	trust, err := rpc.PublicClientTLS(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate is shown", func() bool {
		conn, err := tls.Dial("tcp", expires, trust)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// withH2 is a configuration for a client of gRPC or HTTPS.
func withH2(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	return config
}

// After an expiry nothing works until there is a new certificate, and then at once, without a restart of either end.
func TestRenewedAfterExpiry(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	address := serve(t, ca, rpc.Config{}, nil)
	source := &changing{m: materialOf(t, authz.Gateway, brief, ca, ca)}
	conn := dialAs(t, address, source.watch(t))
	if err := check(t, conn); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate expires", func() bool { return status.Code(check(t, conn)) == codes.Unavailable })
	source.set(materialOf(t, authz.Gateway, 0, ca, ca))
	eventually(t, "it works again", func() bool { return check(t, conn) == nil })
}

// What looks at a connection ends with it, whoever ends it.
func TestNothingStays(t *testing.T) {
	ca := newAuthority(t)
	server, err := rpc.NewServer(rpc.Config{
		Installation: installation, Listener: authz.Internal,
		Credentials: credentialsOf(t, ca, authz.Ledger), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	conns := []*grpc.ClientConn{asGateway(t, ca, l.Addr().String()), asGateway(t, ca, l.Addr().String())}
	for _, conn := range conns {
		if err := check(t, conn); err != nil {
			t.Fatal(err)
		}
	}
	// Two ends of two connections, and those of tests beside this one, of which there are none: it is not parallel.
	if n := watchers(); n != 4 {
		t.Errorf("%d connections are looked at, want 4", n)
	}
	if err := conns[0].Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the client's close ends both ends", func() bool { return watchers() == 2 })
	server.Stop()
	eventually(t, "the server's stop ends both ends", func() bool { return watchers() == 0 })
}

// watchers counts the goroutines that look at connections.
func watchers() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("rpc.(*holding).watch("))
}
