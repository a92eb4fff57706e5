package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

// A hop is what gRPC asks of anybody for a unary call over mutual TLS on loopback, with a request and an answer about as large as the
// middle ones of a payment: no interceptor, no telemetry, no limit, and windows that are not measured by pings.

// hopWindow is every window of a connection: gRPC sends no pings to measure what is fixed.
const hopWindow = 1 << 20

// hops answers every call alike.
type hopServer struct {
	ledgerv1.UnimplementedLedgerServiceServer
	answer *ledgerv1.CreatePaymentResponse
}

// CreatePayment answers.
func (s hopServer) CreatePayment(context.Context, *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
	return s.answer, nil
}

// serveHops answers hops at an address until ctx ends, with the certificates that makeHopFiles has made in dir.
func serveHops(ctx context.Context, dir, address string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	s, err := newSamples(key)
	if err != nil {
		return err
	}
	config, err := hopTLS(dir, authz.Ledger)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)),
		grpc.StaticStreamWindowSize(hopWindow), grpc.StaticConnWindowSize(hopWindow))
	ledgerv1.RegisterLedgerServiceServer(server, hopServer{answer: s.answer})
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(l)
}

// hopTLS is either end's side of mutual TLS 1.3.
func hopTLS(dir string, of authz.Service) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, string(of)+".pem"), filepath.Join(dir, string(of)+".key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem")) //nolint:gosec // a file of this run
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("the hop's authority is no certificate")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		RootCAs: roots, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// makeHopFiles makes the certificates of both ends.
func makeHopFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	authority, err := devcert.NewAuthority("bench", time.Now())
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca.pem": authority.Certificate()}
	for _, s := range []authz.Service{authz.Ledger, authz.Gateway} {
		pair, err := authority.Service("bench", s, time.Now(), "127.0.0.1")
		if err != nil {
			return err
		}
		files[string(s)+".pem"], files[string(s)+".key"] = pair.Certificate, pair.Key
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// newHop is one call to a server in this process, or in one of its own, which is then returned too.
func newHop(ctx context.Context, dir string, s *samples, apart bool) (call func(), server *process, done func(), err error) {
	if err := makeHopFiles(dir); err != nil {
		return nil, nil, nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, nil, nil, err
	}
	serving, stop := context.WithCancel(context.Background())
	if apart {
		self, err := os.Executable()
		if err != nil {
			stop()
			return nil, nil, nil, err
		}
		if server, err = start("hop", "", self, childHop, dir, address); err != nil {
			stop()
			return nil, nil, nil, err
		}
	} else {
		go func() { must(serveHops(serving, dir, address)) }()
	}
	config, err := hopTLS(dir, authz.Gateway)
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithStaticStreamWindowSize(hopWindow), grpc.WithStaticConnWindowSize(hopWindow))
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	done = func() {
		_ = conn.Close() // Nothing is pending.
		stop()
		if server != nil {
			_ = server.end() // It was of use until now.
		}
	}
	to := ledgerv1.NewLedgerServiceClient(conn)
	hop := func(ctx context.Context, options ...grpc.CallOption) error {
		ctx, cancel := context.WithTimeout(ctx, readyMax)
		defer cancel()
		_, err := to.CreatePayment(ctx, s.request, options...)
		return err
	}
	if err := hop(ctx, grpc.WaitForReady(true)); err != nil {
		done()
		return nil, nil, nil, fmt.Errorf("the hop: %w", err)
	}
	return func() { must(hop(context.Background())) }, server, done, nil
}
