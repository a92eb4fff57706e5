package rpc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
)

const (
	// rsaBitsMin is the shortest RSA key a peer may have; CAs that issue less are not CAs for money.
	rsaBitsMin = 2048
	// curveBitsMin admits P-256 and above.
	curveBitsMin = 256
	// reloadInterval bounds how often certificate files are looked at: a rotation may take this long to be seen, and a
	// flood of handshakes reads no files.
	reloadInterval = 10 * time.Second
)

// Credentials are a program's own certificate and the authorities it trusts, for one installation.
type Credentials struct {
	installation string
	read         func() (*material, error) // nil when they never change

	mu     sync.Mutex
	now    *material
	looked time.Time
}

// material is one state of the files.
type material struct {
	pem         [3][]byte // certificate, key, authorities
	certificate tls.Certificate
	roots       *x509.CertPool
}

// NewCredentials makes credentials of PEM blocks: the certificate with its intermediates, its private key, and the
// authorities that sign the services of the installation.
func NewCredentials(installation string, certificate, key, authorities []byte) (*Credentials, error) {
	if installation == "" {
		return nil, errors.New("rpc: credentials need an installation")
	}
	m, err := newMaterial(certificate, key, authorities)
	if err != nil {
		return nil, err
	}
	return &Credentials{installation: installation, now: m}, nil
}

// LoadCredentials is NewCredentials from files. They are read again when a connection is made, at most every 10 s, so that
// certificates rotate without a restart; while the new files do not fit together, the last good ones stand.
func LoadCredentials(installation, certificateFile, keyFile, authoritiesFile string) (*Credentials, error) {
	read := func() (*material, error) {
		var blocks [3][]byte
		for i, file := range []string{certificateFile, keyFile, authoritiesFile} {
			var err error
			if blocks[i], err = os.ReadFile(file); err != nil {
				return nil, fmt.Errorf("rpc: credentials: %w", err)
			}
		}
		return newMaterial(blocks[0], blocks[1], blocks[2])
	}
	m, err := read()
	if err != nil {
		return nil, err
	}
	if installation == "" {
		return nil, errors.New("rpc: credentials need an installation")
	}
	return &Credentials{installation: installation, read: read, now: m, looked: time.Now()}, nil
}

func newMaterial(certificate, key, authorities []byte) (*material, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("rpc: certificate and key: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, errors.New("rpc: no authority in the PEM given")
	}
	return &material{pem: [3][]byte{certificate, key, authorities}, certificate: pair, roots: roots}, nil
}

// current is the material in force.
func (c *Credentials) current() *material {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read == nil || time.Since(c.looked) < reloadInterval {
		return c.now
	}
	c.looked = time.Now()
	if m, err := c.read(); err == nil && !m.equal(c.now) {
		c.now = m
	}
	return c.now
}

func (m *material) equal(other *material) bool {
	for i := range m.pem {
		if !bytes.Equal(m.pem[i], other.pem[i]) {
			return false
		}
	}
	return true
}

// base is what every configuration of ours has.
func base() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		// A resumed connection would skip the certificates, and with them a rotated authority.
		SessionTicketsDisabled: true,
	}
}

// ServerTLS is for an internal listener: the peer shows a client certificate that one of the authorities has signed and
// that names one service of this installation.
func (c *Credentials) ServerTLS() *tls.Config {
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

// PublicTLS is for a public listener: it shows its certificate and asks for none.
func (c *Credentials) PublicTLS() *tls.Config {
	outer := base()
	outer.NextProtos = nil // The same certificate serves gRPC, which adds h2 itself, and HTTPS.
	outer.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &c.current().certificate, nil
	}
	return outer
}

// ClientTLS is for a connection to one service: it shows our certificate and takes only a server certificate that one of
// the authorities has signed for exactly that service of this installation. Host names are not looked at: a SPIFFE
// certificate need not have any, and what answers for a service is its identity, not where it runs.
func (c *Credentials) ClientTLS(to authz.Service) *tls.Config {
	config := base()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &c.current().certificate, nil
	}
	config.InsecureSkipVerify = true //nolint:forbidigo // VerifyConnection verifies chain, usage and SPIFFE id itself, without a host name
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyServer(state, c.current().roots); err != nil {
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
	return config
}

// PublicClientTLS is for a client of the gateway: the server certificate must be signed by one of the authorities, as the
// installation file gives them, and name the host that was dialed.
func PublicClientTLS(authorities []byte) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, errors.New("rpc: no authority in the PEM given")
	}
	config := base()
	config.NextProtos = nil
	config.RootCAs = roots
	return config, nil
}

// verifyServer verifies a server's chain as crypto/tls would, without a host name.
func verifyServer(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("rpc: the server showed no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("rpc: server certificate: %w", err)
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
