package rpc

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
)

// CheckService says what would keep the other services from taking this program for a service at a moment: nil is nothing. Who the
// others trust is theirs to say; that they have the same authorities as this program is what an installation is set up by.
func (c *Credentials) CheckService(service authz.Service, now time.Time) error {
	m := c.current()
	is, err := c.Service()
	if err == nil && is != service {
		err = fmt.Errorf("is the %s's, want the %s's", is, service)
	}
	at, dates := m.dates(now)
	return together(err, dates, m.signedBy(m.roots, at, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth))
}

// CheckPublic says what would keep clients from taking a public listener for the gateway at a moment: nil is nothing. They trust the
// authorities of the installation file, in PEM, and want the name of the host that it sends them to.
func (c *Credentials) CheckPublic(authorities []byte, host string, now time.Time) error {
	roots, err := parseAuthorities(authorities)
	if err != nil {
		return err
	}
	m := c.current()
	at, dates := m.dates(now)
	problems := []error{dates, m.signedBy(roots, at, x509.ExtKeyUsageServerAuth)}
	if m.certificate.Leaf.VerifyHostname(host) != nil {
		problems = append(problems, fmt.Errorf("does not name the host that clients are sent to, %s", host))
	}
	return together(problems...)
}

// dates compares the certificate's with now, and returns a moment at which the rest of it can be judged.
func (m *material) dates(now time.Time) (at time.Time, err error) {
	leaf := m.certificate.Leaf
	switch {
	case now.After(leaf.NotAfter):
		return leaf.NotAfter, fmt.Errorf("has expired on %s; put a new one in its place", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return leaf.NotBefore, fmt.Errorf("is good from %s only; it is %s now",
			leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return now, nil
}

// signedBy verifies the certificate, with its intermediates, for all of the uses.
func (m *material) signedBy(roots *x509.CertPool, at time.Time, uses ...x509.ExtKeyUsage) error {
	if m.certificate.Leaf.IsCA {
		return errors.New("is an authority's own, and no program's")
	}
	intermediates := x509.NewCertPool()
	for _, der := range m.certificate.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("an intermediate certificate beside it: %w", err)
		}
		intermediates.AddCert(cert)
	}
	for _, use := range uses {
		_, err := m.certificate.Leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{use}, CurrentTime: at,
		})
		var invalid x509.CertificateInvalidError
		switch {
		case err == nil:
		case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
			return fmt.Errorf("is not for each of the uses that it needs, %s", named(uses))
		default:
			return fmt.Errorf("is not signed by the authorities: %w", err)
		}
	}
	return nil
}

// together is one line of all that is wrong, so that it is put right in one go.
func together(problems ...error) error {
	var said []string
	for _, p := range problems {
		if p != nil {
			said = append(said, p.Error())
		}
	}
	if len(said) == 0 {
		return nil
	}
	return errors.New(strings.Join(said, "; "))
}

func named(uses []x509.ExtKeyUsage) string {
	names := make([]string, len(uses))
	for n, use := range uses {
		names[n] = use.String()
	}
	return strings.Join(names, " and ")
}
