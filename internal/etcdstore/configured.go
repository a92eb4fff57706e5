package etcdstore

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/halfkey/halfkey/internal/config"
)

// Configured makes a Config of what a program's file says. The password is read now, certificates at each connection, so that
// they rotate without a restart.
func Configured(c config.Etcd) (Config, error) {
	made := Config{Endpoints: c.Endpoints, Namespace: c.Namespace, Username: c.Username}
	if c.PasswordFile != "" {
		password, err := config.ReadSecret(c.PasswordFile)
		if err != nil {
			return Config{}, err
		}
		made.Password = string(password)
	}
	authorities, err := os.ReadFile(c.TLS.Authorities)
	if err != nil {
		return Config{}, fmt.Errorf("etcdstore: authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return Config{}, fmt.Errorf("etcdstore: %s holds no certificate", c.TLS.Authorities)
	}
	pair := func() (*tls.Certificate, error) {
		p, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("etcdstore: certificate: %w", err)
		}
		return &p, nil
	}
	if _, err := pair(); err != nil {
		return Config{}, err
	}
	made.TLS = &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair() },
	}
	return made, nil
}
