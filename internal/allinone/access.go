package allinone

import (
	"crypto/ed25519"
	"path/filepath"

	"github.com/halfkey/halfkey/internal/evidence"
)

// Installation is the installation file in force.
func (s *System) Installation() *evidence.Installation { return s.material.installation }

// Address is the gateway's gRPC address, host:port.
func (s *System) Address() string { return s.listener.Addr().String() }

// HTTPS is the gateway's HTTPS base URL.
func (s *System) HTTPS() string { return "https://" + s.httpsAddress }

// InstallationFile is the path of the installation file: what clients connect with.
func (s *System) InstallationFile() string { return filepath.Join(s.material.dir, fileInstallation) }

// OperatorKeyFile is the path of the operator's key: an Ed25519 seed in hexadecimal, of mode 0600.
func (s *System) OperatorKeyFile() string { return filepath.Join(s.material.dir, fileOperatorKey) }

// OperatorKey is the operator's key.
func (s *System) OperatorKey() (ed25519.PrivateKey, error) { return openKey(s.OperatorKeyFile()) }

// BootstrapCode is the one-time private key by which the first owner is made.
func (s *System) BootstrapCode() string { return s.material.bootstrapCode() }

func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // crypto/ed25519 says so
