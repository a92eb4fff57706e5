package rpctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

// Usages of certificates.
var (
	ServerOnly = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	ClientOnly = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	BothWays   = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
)

// Certificate is one that must be refused, and what is wrong with it.
type Certificate struct {
	Name string
	tls.Certificate
}

// year is longer than any certificate here is valid.
const year = 365 * 24 * time.Hour

// Callers are certificates of a service of an installation, each wrong in one way for whoever connects.
func Callers(t testing.TB, ca *devcert.Authority, installation string, s authz.Service) []Certificate {
	t.Helper()
	id, now := authz.ID(installation, s), time.Now()
	leaf := func(ca *devcert.Authority, l devcert.Leaf, now time.Time) tls.Certificate {
		t.Helper()
		return Issue(t, ca, l, now)
	}
	made := func(curve elliptic.Curve, change func(*x509.Certificate), ca *devcert.Authority) tls.Certificate {
		t.Helper()
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return Homemade(t, key, id, change, ca)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // short on purpose
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := devcert.NewAuthority("stranger", now)
	if err != nil {
		t.Fatal(err)
	}
	none := authz.ID(installation, "portal")
	return []Certificate{
		{"no certificate", tls.Certificate{}},
		{"other authority", leaf(stranger, devcert.Leaf{URI: id, Usages: BothWays}, now)},
		{"self-signed", made(elliptic.P256(), nil, nil)},
		{"expired", leaf(ca, devcert.Leaf{URI: id, Usages: BothWays}, now.Add(-year))},
		{"not yet valid", leaf(ca, devcert.Leaf{URI: id, Usages: BothWays}, now.Add(time.Hour))},
		{"server's certificate", leaf(ca, devcert.Leaf{URI: id, Usages: ServerOnly}, now)},
		{"for no use", leaf(ca, devcert.Leaf{URI: id, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}, now)},
		{"no SPIFFE id", leaf(ca, devcert.Leaf{Hosts: []string{string(s), "127.0.0.1"}, Usages: BothWays}, now)},
		{"other installation", leaf(ca, devcert.Leaf{URI: authz.ID(installation+"-2", s), Usages: BothWays}, now)},
		{"no such service", leaf(ca, devcert.Leaf{URI: none, Usages: BothWays}, now)},
		{"no service at all", leaf(ca, devcert.Leaf{URI: authz.ID(installation, ""), Usages: BothWays}, now)},
		{"a path below", leaf(ca, devcert.Leaf{URI: authz.ID(installation, s).JoinPath("x"), Usages: BothWays}, now)},
		{"another scheme", leaf(ca, devcert.Leaf{URI: &url.URL{Scheme: "https", Host: id.Host, Path: id.Path}, Usages: BothWays}, now)},
		{"two SPIFFE ids", made(elliptic.P256(), func(c *x509.Certificate) { c.URIs = append(c.URIs, none) }, ca)},
		{"the same id twice", made(elliptic.P256(), func(c *x509.Certificate) { c.URIs = append(c.URIs, id) }, ca)},
		{"weak curve", made(elliptic.P224(), nil, ca)},
		{"short RSA key", Homemade(t, short, id, nil, ca)},
		{"an authority's certificate", made(elliptic.P256(), func(c *x509.Certificate) { c.IsCA = true }, ca)},
	}
}

// Issue is devcert's, as crypto/tls takes it.
func Issue(t testing.TB, ca *devcert.Authority, l devcert.Leaf, now time.Time) tls.Certificate {
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

// Homemade is a certificate for a key that devcert does not make: changed before it is signed by an authority, or, where
// that is nil, by itself.
func Homemade(t testing.TB, key crypto.Signer, id *url.URL, change func(*x509.Certificate), ca *devcert.Authority) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "homemade"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: BothWays,
		URIs: []*url.URL{id}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	parent, parentKey := template, key
	if ca != nil {
		pair, err := ca.Pair()
		if err != nil {
			t.Fatal(err)
		}
		own := keyPair(t, pair)
		signer, ok := own.PrivateKey.(crypto.Signer)
		if !ok {
			t.Fatal("the authority's key signs nothing")
		}
		parent, parentKey = own.Leaf, signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
