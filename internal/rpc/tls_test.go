package rpc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

func issue(t testing.TB, ca *devcert.Authority, l devcert.Leaf, now time.Time) tls.Certificate {
	t.Helper()
	pair, err := ca.Issue(l, now)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair(t, pair)
}

func keyPair(t testing.TB, p devcert.Pair) tls.Certificate {
	t.Helper()
	cert, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// homemade is a certificate that no authority of ours has signed or would sign.
func homemade(t testing.TB, curve elliptic.Curve, change func(*x509.Certificate), parent *x509.Certificate, parentKey crypto.Signer) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return homemadeFor(t, key, change, parent, parentKey)
}

// homemadeFor is homemade for a key.
func homemadeFor(t testing.TB, key crypto.Signer, change func(*x509.Certificate), parent *x509.Certificate, parentKey crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "homemade"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: bothWays,
		URIs: []*url.URL{authz.ID(installation, authz.Gateway)}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// parts takes an authority apart, for certificates that devcert does not make.
func parts(t testing.TB, ca *devcert.Authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	pair, err := ca.Pair()
	if err != nil {
		t.Fatal(err)
	}
	cert := keyPair(t, pair)
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("the authority's key is not ECDSA")
	}
	return cert.Leaf, key
}

// check calls the health service, the one method that any peer may call.
func check(t testing.TB, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// An internal listener answers nobody who does not show the certificate of one of the installation's services.
func TestServerRefuses(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	address := serve(t, ca, rpc.Config{}, nil)
	root, rootKey := parts(t, ca)
	gateway := authz.ID(installation, authz.Gateway)
	now := time.Now()
	good := credentialsOf(t, ca, authz.Gateway).ClientTLS(authz.Ledger)

	for _, tt := range []struct {
		name string
		cert func() *tls.Certificate // nil: change says what is wrong
		with func(*tls.Config)
	}{
		{name: "no certificate", cert: func() *tls.Certificate { return &tls.Certificate{} }},
		{name: "other authority", cert: func() *tls.Certificate {
			c := issue(t, other, devcert.Leaf{URI: gateway, Usages: bothWays}, now)
			return &c
		}},
		{name: "self-signed", cert: func() *tls.Certificate { c := homemade(t, elliptic.P256(), nil, nil, nil); return &c }},
		{name: "expired", cert: func() *tls.Certificate {
			c := issue(t, ca, devcert.Leaf{URI: gateway, Usages: bothWays}, now.Add(-365*24*time.Hour))
			return &c
		}},
		{name: "not yet valid", cert: func() *tls.Certificate {
			c := issue(t, ca, devcert.Leaf{URI: gateway, Usages: bothWays}, now.Add(24*time.Hour))
			return &c
		}},
		{name: "server's certificate", cert: func() *tls.Certificate {
			c := issue(t, ca, devcert.Leaf{URI: gateway, Usages: serverOnly}, now)
			return &c
		}},
		{name: "no SPIFFE id", cert: func() *tls.Certificate {
			c := issue(t, ca, devcert.Leaf{Hosts: []string{"gateway"}, Usages: bothWays}, now)
			return &c
		}},
		{name: "other installation", cert: func() *tls.Certificate {
			c := issue(t, ca, devcert.Leaf{URI: authz.ID("test-2", authz.Gateway), Usages: bothWays}, now)
			return &c
		}},
		{name: "no such service", cert: func() *tls.Certificate {
			c := issue(t, ca, devcert.Leaf{URI: authz.ID(installation, "portal"), Usages: bothWays}, now)
			return &c
		}},
		{name: "two SPIFFE ids", cert: func() *tls.Certificate {
			c := homemade(t, elliptic.P256(), func(c *x509.Certificate) {
				c.URIs = append(c.URIs, authz.ID(installation, authz.Ledger))
			}, root, rootKey)
			return &c
		}},
		{name: "weak curve", cert: func() *tls.Certificate { c := homemade(t, elliptic.P224(), nil, root, rootKey); return &c }},
		{name: "short RSA key", cert: func() *tls.Certificate {
			key, err := rsa.GenerateKey(rand.Reader, 1024)
			if err != nil {
				t.Fatal(err)
			}
			c := homemadeFor(t, key, nil, root, rootKey)
			return &c
		}},
		{name: "an authority's certificate", cert: func() *tls.Certificate {
			c := homemade(t, elliptic.P256(), func(c *x509.Certificate) { c.IsCA = true }, root, rootKey)
			return &c
		}},
		{name: "TLS 1.2", with: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := good.Clone()
			if tt.cert != nil {
				cert := tt.cert()
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
			}
			if tt.with != nil {
				tt.with(config)
			}
			conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := check(t, conn); status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want no connection", err)
			}
		})
	}
	t.Run("plaintext", func(t *testing.T) {
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := check(t, conn); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v, want no connection", err)
		}
	})
	// All of them were refused for what is wrong with them: the same connection without a fault works, also beside one that
	// has stopped halfway through its handshake.
	half, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := half.Write([]byte{22, 3, 1}); err != nil {
		t.Fatal(err)
	}
	if err := check(t, asGateway(t, ca, address)); err != nil {
		t.Errorf("a good certificate: %v", err)
	}
}

// A client talks to no server that is not the service it wants, of its installation.
func TestClientRefuses(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	ledgerID := authz.ID(installation, authz.Ledger)
	now := time.Now()
	root, rootKey := parts(t, ca)
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		max  uint16
		ok   bool
	}{
		{name: "the ledger", cert: issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: bothWays}, now), ok: true},
		{name: "the ledger, server only", cert: issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: serverOnly}, now), ok: true},
		{name: "other authority", cert: issue(t, other, devcert.Leaf{URI: ledgerID, Usages: bothWays}, now)},
		{name: "self-signed", cert: homemade(t, elliptic.P256(), func(c *x509.Certificate) { c.URIs = []*url.URL{ledgerID} }, nil, nil)},
		{name: "expired", cert: issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: bothWays}, now.Add(-365*24*time.Hour))},
		{name: "not yet valid", cert: issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: bothWays}, now.Add(24*time.Hour))},
		{name: "client's certificate", cert: issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: clientOnly}, now)},
		{name: "another service", cert: issue(t, ca, devcert.Leaf{URI: authz.ID(installation, authz.Policy), Usages: bothWays}, now)},
		{name: "the gateway itself", cert: issue(t, ca, devcert.Leaf{URI: authz.ID(installation, authz.Gateway), Usages: bothWays}, now)},
		{name: "other installation", cert: issue(t, ca, devcert.Leaf{URI: authz.ID("test-2", authz.Ledger), Usages: bothWays}, now)},
		{name: "host name only", cert: issue(t, ca, devcert.Leaf{Hosts: []string{"127.0.0.1", "ledger"}, Usages: bothWays}, now)},
		{name: "an authority's certificate", cert: homemade(t, elliptic.P256(), func(c *x509.Certificate) {
			c.URIs, c.IsCA = []*url.URL{ledgerID}, true
		}, root, rootKey)},
		{name: "TLS 1.2", cert: issue(t, ca, devcert.Leaf{URI: ledgerID, Usages: bothWays}, now), max: tls.VersionTLS12},
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
	ca, other := newAuthority(t), newAuthority(t)
	address := serve(t, ca, rpc.Config{Listener: authz.Public, Credentials: credentialsOf(t, ca, authz.Gateway)}, nil)
	trust := func(authority *devcert.Authority) *tls.Config {
		config, err := rpc.PublicClientTLS(authority.Certificate())
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	if err := check(t, dial(t, address, trust(ca))); err != nil {
		t.Errorf("by its authority: %v", err)
	}
	if err := check(t, dial(t, address, trust(other))); status.Code(err) != codes.Unavailable {
		t.Errorf("by another authority: %v", err)
	}
	elsewhere := trust(ca)
	elsewhere.ServerName = "pay.example.com"
	if err := check(t, dial(t, address, elsewhere)); status.Code(err) != codes.Unavailable {
		t.Errorf("by another host name: %v", err)
	}
	old := trust(ca)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := tls.Dial("tcp", address, old); err == nil {
		c.Close()
		t.Error("TLS 1.2 was taken")
	}
}

func TestCredentialsRefuse(t *testing.T) {
	ca, root := newAuthority(t), newAuthority(t).Certificate()
	one, two := materialOf(t, authz.Ledger, 0, ca, ca), materialOf(t, authz.Ledger, 0, ca, ca)
	weak := homemade(t, elliptic.P224(), nil, nil, nil)
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
