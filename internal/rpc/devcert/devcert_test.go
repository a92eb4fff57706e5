package devcert_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

// An authority that was written and read again signs for those who trust it.
func TestAuthorityAgain(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	made, err := devcert.NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	written, err := made.Pair()
	if err != nil {
		t.Fatal(err)
	}
	read, err := devcert.ParseAuthority(written)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := read.Service("test-1", authz.Policy, now, "policy.example", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(made.Certificate())
	for _, tt := range []struct {
		name string
		at   time.Time
		host string
		use  x509.ExtKeyUsage
		ok   bool
	}{
		{"as a server", now, "policy.example", x509.ExtKeyUsageServerAuth, true},
		{"by address", now, "127.0.0.1", x509.ExtKeyUsageServerAuth, true},
		{"as a client", now, "", x509.ExtKeyUsageClientAuth, true},
		{"by another name", now, "ledger.example", x509.ExtKeyUsageServerAuth, false},
		{"to sign code", now, "", x509.ExtKeyUsageCodeSigning, false},
		{"after three months", now.AddDate(0, 3, 7), "", x509.ExtKeyUsageClientAuth, false},
		{"an hour before", now.Add(-time.Hour), "", x509.ExtKeyUsageClientAuth, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: tt.at, DNSName: tt.host, KeyUsages: []x509.ExtKeyUsage{tt.use}})
			if (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
	if s, err := authz.ServiceOf("test-1", cert.Leaf); err != nil || s != authz.Policy {
		t.Errorf("it is the %s's: %v", s, err)
	}
	if cert.Leaf.IsCA || slices.Contains(cert.Leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		t.Error("it may do more than it should")
	}
}

func TestParseAuthorityRefuses(t *testing.T) {
	one, err := devcert.NewAuthority("one", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	two, err := devcert.NewAuthority("two", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a, err := one.Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Pair()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := one.Service("test-1", authz.Ledger, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	garbage := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	for _, tt := range []struct {
		name string
		pair devcert.Pair
	}{
		{"nothing", devcert.Pair{}},
		{"another's key", devcert.Pair{Certificate: a.Certificate, Key: b.Key}},
		{"no key", devcert.Pair{Certificate: a.Certificate}},
		{"a leaf", leaf},
		{"garbage", devcert.Pair{Certificate: garbage, Key: a.Key}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := devcert.ParseAuthority(tt.pair); err == nil {
				t.Error("taken")
			}
		})
	}
}

// A pair does not print its key.
func TestPairDoesNotPrint(t *testing.T) {
	ca, err := devcert.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Pair()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(verb, pair); strings.Contains(got, "PRIVATE") || strings.Contains(got, "45 45 45") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}
