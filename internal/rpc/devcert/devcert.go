// Package devcert is a certificate authority for development and tests: it makes an authority and the certificates of an
// installation's services, in memory. Production takes certificates from SPIRE, cert-manager or the like; nothing here
// revokes, renews or keeps a record.
package devcert

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
)

const (
	// authorityLife outlives any development installation; leafLife any run of it.
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	// backdate admits a peer whose clock is a little behind.
	backdate = 5 * time.Minute
	// serialBits is RFC 5280's bound of 20 octets with the sign bit left out.
	serialBits = 159
)

// Authority signs certificates.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Pair is a certificate with its key, in PEM.
type Pair struct {
	// Certificate is the certificate.
	Certificate []byte
	// Key is the private key, PKCS #8: to be kept in a file of mode 0600.
	Key []byte
}

// String leaves the key out.
func (Pair) String() string { return "devcert.Pair" }

// GoString leaves the key out.
func (p Pair) GoString() string { return p.String() }

// NewAuthority makes an authority with a fresh ECDSA P-256 key, valid for ten years from now.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate: cert, key: key}, nil
}

// ParseAuthority reads an authority that Pair wrote.
func ParseAuthority(p Pair) (*Authority, error) {
	certBlock, _ := pem.Decode(p.Certificate)
	keyBlock, _ := pem.Decode(p.Key)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("devcert: certificate or key is not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("devcert: authority: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("devcert: authority's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !cert.IsCA || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("devcert: the key is not this authority's")
	}
	return &Authority{certificate: cert, key: key}, nil
}

// Pair is the authority in PEM, for whoever keeps it.
func (a *Authority) Pair() (Pair, error) { return pair(a.certificate, a.key) }

// Certificate is the authority's certificate in PEM: what others trust.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Leaf says what a certificate is for.
type Leaf struct {
	// URI is the SPIFFE id; nil leaves it out.
	URI *url.URL
	// Name is the common name; empty is "halfkey".
	Name string
	// Hosts are DNS names and IP addresses of a server.
	Hosts []string
	// Usages are what it may be used for.
	Usages []x509.ExtKeyUsage
	// Life is how long it is valid from now; 0 means 90 days.
	Life time.Duration
}

// Service issues the certificate of one of an installation's services: client and server, with the SPIFFE id and the
// hosts it answers on.
func (a *Authority) Service(installation string, s authz.Service, now time.Time, hosts ...string) (Pair, error) {
	return a.Issue(Leaf{
		URI: authz.ID(installation, s), Hosts: hosts, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, now)
}

// Issue issues a certificate for a fresh ECDSA P-256 key, valid from now on.
func (a *Authority) Issue(l Leaf, now time.Time) (Pair, error) {
	if l.Life == 0 {
		l.Life = leafLife
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: cmp.Or(l.Name, "halfkey")}, NotBefore: now.Add(-backdate), NotAfter: now.Add(l.Life),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.Usages,
	}
	if l.URI != nil {
		template.URIs = []*url.URL{l.URI}
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, err := sign(template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return Pair{}, err
	}
	return pair(cert, key)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("devcert: %w", err)
	}
	return x509.ParseCertificate(der)
}

func pair(cert *x509.Certificate, key *ecdsa.PrivateKey) (Pair, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, nil
}
