package rpc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
)

const (
	// rsaBitsMin is the shortest RSA key a peer may have; CAs that issue less are not CAs for money.
	rsaBitsMin = 2048
	// curveBitsMin admits P-256 and above.
	curveBitsMin = 256
)

// Credentials are a program's own certificate and the authorities it trusts, for one installation.
type Credentials struct {
	installation string
	now          atomic.Pointer[material] // what every new handshake takes

	close func() error // ends looking for new material; nil where it never changes
}

// material is one state of certificate, key and authorities.
type material struct {
	certificate tls.Certificate
	roots       *x509.CertPool
}

// NewCredentials makes credentials that never change.
func NewCredentials(installation string, m Material) (*Credentials, error) {
	if installation == "" {
		return nil, errors.New("rpc: credentials need an installation")
	}
	c := &Credentials{installation: installation}
	if err := c.take(m); err != nil {
		return nil, err
	}
	return c, nil
}

// Service is the service that the program's own certificate names: a program that is another one has been given the wrong
// certificate, and every peer would refuse it.
func (c *Credentials) Service() (authz.Service, error) {
	return authz.ServiceOf(c.installation, c.current().certificate.Leaf)
}

// Close ends looking for new certificates. Connections stay, and are looked at as long as they are open.
func (c *Credentials) Close() error {
	if c.close == nil {
		return nil
	}
	return c.close()
}

// parse reads material, all of it: what is half there is not taken.
func parse(m Material) (*material, error) {
	pair, err := tls.X509KeyPair(m.Certificate, m.Key)
	if err != nil {
		return nil, fmt.Errorf("rpc: certificate and key: %w", err)
	}
	if !strong(pair.Leaf.PublicKey) {
		return nil, errors.New("rpc: the certificate's key is too weak: ECDSA from P-256, Ed25519 or RSA from 2048 bits is taken")
	}
	roots, err := parseAuthorities(m.Authorities)
	if err != nil {
		return nil, err
	}
	return &material{certificate: pair, roots: roots}, nil
}

// parseAuthorities reads certificates of authorities. A block that is cut off or is something else is an error: an
// authority that is left out in silence locks out everybody whom it has signed.
func parseAuthorities(blocks []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	for n := 0; ; n++ {
		block, rest := pem.Decode(blocks)
		if block == nil {
			if n == 0 || bytes.Contains(rest, []byte("-----BEGIN")) {
				return nil, errors.New("rpc: the authorities are not whole certificates in PEM, one or more")
			}
			return roots, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("rpc: PEM block %d of the authorities is no certificate", n+1)
		}
		roots.AddCert(cert)
		blocks = rest
	}
}

// current is the material in force.
func (c *Credentials) current() *material { return c.now.Load() }

// base is what every configuration of ours has.
func base() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		// A resumed connection would skip the certificates, and with them a rotated authority.
		SessionTicketsDisabled: true,
	}
}

// serverTLS is for an internal listener: the peer shows a client certificate that one of the authorities has signed and
// that names one service of this installation.
func (c *Credentials) serverTLS() *tls.Config {
	outer := base()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := c.current()
		inner := base()
		inner.Certificates = []tls.Certificate{m.certificate}
		inner.ClientAuth = tls.RequireAndVerifyClientCert
		inner.ClientCAs = m.roots
		inner.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := c.peerService(state)
			return err
		}
		return inner, nil
	}
	return outer
}

// PublicTLS is for a public listener: it shows its certificate, until that has expired, and asks for none. A Server takes it by itself;
// it is exported for what speaks HTTPS, on a listener that Hold has made.
func (c *Credentials) PublicTLS() *tls.Config {
	outer := base()
	outer.NextProtos = nil // The same certificate serves gRPC, which adds h2 itself, and HTTPS.
	outer.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		m := c.current()
		return &m.certificate, m.expired(time.Now())
	}
	return outer
}

// clientTLS is for a connection to one service: it shows our certificate and takes only a server certificate that one of
// the authorities has signed for exactly that service of this installation. Host names are not looked at: a SPIFFE
// certificate need not have any, and what answers for a service is its identity, not where it runs.
func (c *Credentials) clientTLS(to authz.Service) *tls.Config {
	config := base()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &c.current().certificate, nil
	}
	config.InsecureSkipVerify = true //nolint:forbidigo // VerifyConnection verifies chain, usage and SPIFFE id itself, without a host name
	config.VerifyConnection = func(state tls.ConnectionState) error { return c.verifyServer(state, to) }
	return config
}

// PublicClientTLS is for a client of the gateway: the server certificate must be signed by one of the authorities, as the
// installation file gives them, and name the host that was dialed.
func PublicClientTLS(authorities []byte) (*tls.Config, error) {
	roots, err := parseAuthorities(authorities)
	if err != nil {
		return nil, err
	}
	config := base()
	config.NextProtos = nil
	config.RootCAs = roots
	return config, nil
}

// verifyServer holds a server to what a client of ours wants: one service, by an authority of now.
func (c *Credentials) verifyServer(state tls.ConnectionState, to authz.Service) error {
	if err := c.verifyChain(state, x509.ExtKeyUsageServerAuth); err != nil {
		return err
	}
	service, err := c.peerService(state)
	if err != nil {
		return err
	}
	if service != to {
		return fmt.Errorf("rpc: wanted the %s, but the certificate is the %s's", to, service)
	}
	return nil
}

// verifyChain verifies a peer's chain as crypto/tls would, at this moment, under the authorities of this moment, without
// a host name.
func (c *Credentials) verifyChain(state tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("rpc: the peer showed no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: c.current().roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("rpc: the peer's certificate: %w", err)
	}
	return nil
}

// peerService reads the service from a chain that is verified, and holds its key to our bounds.
func (c *Credentials) peerService(state tls.ConnectionState) (authz.Service, error) {
	if len(state.PeerCertificates) == 0 {
		return "", errors.New("rpc: the peer showed no certificate")
	}
	leaf := state.PeerCertificates[0]
	if leaf.IsCA {
		return "", errors.New("rpc: an authority's certificate is no service's")
	}
	if !strong(leaf.PublicKey) {
		return "", errors.New("rpc: the peer's key is too weak")
	}
	return authz.ServiceOf(c.installation, leaf)
}

func strong(key any) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize >= curveBitsMin
	case ed25519.PublicKey:
		return true
	case *rsa.PublicKey:
		return k.N.BitLen() >= rsaBitsMin
	default:
		return false
	}
}
