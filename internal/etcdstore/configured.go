package etcdstore

import (
	"fmt"
	"log/slog"

	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/rpc"
)

// Configured makes a Config of what a program's file says. The password is read now; certificates and the authorities that sign the
// members' are read again when they change, until Close of the credentials.
func Configured(c config.Etcd, logger *slog.Logger) (Config, error) {
	made := Config{Endpoints: c.Endpoints, Namespace: c.Namespace, Username: c.Username, Logger: logger}
	if c.PasswordFile != "" {
		password, err := config.ReadSecret(c.PasswordFile)
		if err != nil {
			return Config{}, err
		}
		made.Password = string(password)
	}
	var err error
	// Certificates of etcd's name no installation: what they are held to are the authorities.
	made.Credentials, err = rpc.LoadCredentials("etcd", rpc.Files{
		Certificate: c.TLS.Certificate, Key: c.TLS.Key, Authorities: c.TLS.Authorities,
	}, logger)
	if err != nil {
		return Config{}, fmt.Errorf("etcd.tls: %s with %s and %s: %w", c.TLS.Certificate, c.TLS.Key, c.TLS.Authorities, err)
	}
	return made, nil
}
