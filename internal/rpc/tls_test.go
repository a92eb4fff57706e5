package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
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
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	"github.com/halfkey/halfkey/internal/rpc/rpctest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

func keyPair(t testing.TB, p devcert.Pair) tls.Certificate {
	t.Helper()
	cert, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// check calls the health service, the one method that any peer may call.
func check(t testing.TB, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// An internal listener answers nobody who does not show the certificate of one of the installation's services, also beside
// a connection that has stopped halfway through its handshake.
func TestServerRefuses(t *testing.T) {
	ca := newAuthority(t)
	address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, &ledger{}) })
	half, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := half.Write([]byte{22, 3, 1}); err != nil {
		t.Fatal(err)
	}
	rpctest.Internal(t, rpctest.Listener{Address: address, Service: authz.Ledger, Installation: installation, Authority: ca})
}

// A client talks to no server that is not the service it wants, of its installation.
func TestClientRefuses(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	ledgerID := authz.ID(installation, authz.Ledger)
	now := time.Now()
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		max  uint16
		ok   bool
	}{
		{name: "the ledger", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: rpctest.BothWays}, now), ok: true},
		{name: "the ledger, server only", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: rpctest.ServerOnly}, now), ok: true},
		{name: "other authority", cert: rpctest.Issue(t, other, devcert.Leaf{URI: ledgerID, Usages: rpctest.BothWays}, now)},
		{name: "self-signed", cert: rpctest.Homemade(t, newKey(t, elliptic.P256()), ledgerID, nil, nil)},
		{name: "expired", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: rpctest.BothWays}, now.Add(-365*24*time.Hour))},
		{name: "not yet valid", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: rpctest.BothWays}, now.Add(24*time.Hour))},
		{name: "client's certificate", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: rpctest.ClientOnly}, now)},
		{name: "another service", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: authz.ID(installation, authz.Policy), Usages: rpctest.BothWays},
			now)},
		{name: "the gateway itself", cert: rpctest.Issue(t, ca,
			devcert.Leaf{URI: authz.ID(installation, authz.Gateway), Usages: rpctest.BothWays}, now)},
		{name: "other installation", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: authz.ID("test-2", authz.Ledger), Usages: rpctest.BothWays},
			now)},
		{name: "host name only", cert: rpctest.Issue(t, ca, devcert.Leaf{Hosts: []string{"127.0.0.1", "ledger"}, Usages: rpctest.BothWays}, now)},
		{
			name: "an authority's certificate",
			cert: rpctest.Homemade(t, newKey(t, elliptic.P256()), ledgerID, func(c *x509.Certificate) { c.IsCA = true }, ca),
		},
		{name: "two SPIFFE ids", cert: rpctest.Homemade(t, newKey(t, elliptic.P256()), ledgerID, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, authz.ID(installation, authz.Gateway))
		}, ca)},
		{name: "weak curve", cert: rpctest.Homemade(t, newKey(t, elliptic.P224()), ledgerID, nil, ca)},
		{name: "TLS 1.2", cert: rpctest.Issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: rpctest.BothWays}, now), max: tls.VersionTLS12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A server without any of our checks: what is refused, the client refuses.
			server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
				Certificates: []tls.Certificate{tt.cert}, MinVersion: tls.VersionTLS12, MaxVersion: tt.max,
			})))
			grpc_health_v1.RegisterHealthServer(server, health.NewServer())
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go server.Serve(l)
			defer server.Stop()
			err = check(t, asGateway(t, ca, l.Addr().String()))
			if tt.ok && err != nil {
				t.Errorf("refused: %v", err)
			}
			if !tt.ok && status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want no connection", err)
			}
		})
	}
}

// The public listener shows a certificate, asks for none, and speaks TLS 1.3 only.
func TestPublicListener(t *testing.T) {
	ca := newAuthority(t)
	address := serve(t, ca, rpc.Config{Listener: authz.Public, Credentials: credentialsOf(t, ca, authz.Gateway)}, nil)
	trust, err := rpc.PublicClientTLS(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	rpctest.Public(t, address, trust.RootCAs)
	conn := dial(t, address, trust)
	if err := check(t, conn); err != nil {
		t.Errorf("by its authority: %v", err)
	}
	rpctest.Uncalled(t, conn)
}

// A client of the gateway hands no request to a server that is not the host it wants, by the authority it trusts.
func TestPublicClientRefuses(t *testing.T) {
	ca := newAuthority(t)
	trust, err := rpc.PublicClientTLS(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range rpctest.Servers(t, ca, installation) {
		t.Run(server.Name, func(t *testing.T) {
			err := check(t, dial(t, server.Address, trust))
			if server.OK && (err != nil || server.Calls() == 0) {
				t.Errorf("refused: %v", err)
			}
			if !server.OK && (status.Code(err) != codes.Unavailable || server.Calls() != 0) {
				t.Errorf("got %v after %d calls, want no connection", err, server.Calls())
			}
		})
	}
}

func TestCredentialsRefuse(t *testing.T) {
	ca, root := newAuthority(t), newAuthority(t).Certificate()
	one, two := materialOf(t, authz.Ledger, 0, ca, ca), materialOf(t, authz.Ledger, 0, ca, ca)
	weak := rpctest.Homemade(t, newKey(t, elliptic.P224()), authz.ID(installation, authz.Ledger), nil, nil)
	weakKey, err := x509.MarshalPKCS8PrivateKey(weak.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name         string
		installation string
		m            rpc.Material
		want         string
	}{
		{"no installation", "", one, "installation"},
		{"another's key", installation, rpc.Material{Certificate: one.Certificate, Key: two.Key, Authorities: root}, "does not match"},
		{"no certificate", installation, rpc.Material{Key: one.Key, Authorities: root}, "certificate"},
		{"half a certificate", installation, rpc.Material{Certificate: one.Certificate[:200], Key: one.Key, Authorities: root}, "certificate"},
		{"a weak key", installation, rpc.Material{
			Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: weak.Certificate[0]}),
			Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: weakKey}), Authorities: root,
		}, "too weak"},
		{"no authority", installation, rpc.Material{Certificate: one.Certificate, Key: one.Key}, "whole certificates"},
		{"half of the authorities", installation, rpc.Material{
			Certificate: one.Certificate, Key: one.Key, Authorities: append(slices.Clone(root), root[:len(root)/2]...),
		}, "whole certificates"},
		{"a key among the authorities", installation, rpc.Material{
			Certificate: one.Certificate, Key: one.Key, Authorities: append(slices.Clone(root), one.Key...),
		}, "block 2"},
		{"an authority that does not parse", installation, rpc.Material{
			Certificate: one.Certificate, Key: one.Key, Authorities: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}),
		}, "block 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := rpc.NewCredentials(tt.installation, tt.m); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
			if tt.name == "no installation" {
				return
			}
			if _, err := rpc.LoadCredentials(installation, newDirectory(t, tt.m).Files, nil); err == nil {
				t.Error("taken from files")
			}
		})
	}
	long := one
	long.Authorities = append(slices.Clone(root), make([]byte, rpc.PEMBytesMax)...)
	if _, err := rpc.LoadCredentials(installation, newDirectory(t, long).Files, nil); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("a file beyond its bound: %v", err)
	}
	if _, err := rpc.LoadCredentials(installation, rpc.Files{Certificate: "absent", Key: "absent", Authorities: "absent"}, nil); err == nil {
		t.Error("absent files are taken")
	}
	if _, err := rpc.PublicClientTLS([]byte("no PEM")); err == nil {
		t.Error("no authority is taken")
	}
	// What people write around the blocks is nobody's business.
	noted := one
	noted.Authorities = append([]byte("the first\n"), append(slices.Clone(root), "that was it\n"...)...)
	if _, err := rpc.NewCredentials(installation, noted); err != nil {
		t.Errorf("with remarks between the blocks: %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(verb, one); strings.Contains(got, "PRIVATE") || strings.Contains(got, "45 45 45") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}
