package allinone

import (
	"crypto/ed25519"
	"path/filepath"

	"github.com/halfkey/halfkey/internal/evidence"
)

// Installation is the installation file in force.
func (s *System) Installation() *evidence.Installation { return s.material.installation }

// Address is the gateway's gRPC address, host:port.
func (s *System) Address() string { return withHost(s.grpc, s.host) }

// HTTPS is the gateway's HTTPS base URL.
func (s *System) HTTPS() string { return "https://" + withHost(s.https, s.host) }

// InstallationFile is the path of the installation file: what clients connect with.
func (s *System) InstallationFile() string { return filepath.Join(s.material.dir, fileInstallation) }

// OperatorKeyFile is the path of the operator's key: an Ed25519 seed in hexadecimal, of mode 0600.
func (s *System) OperatorKeyFile() string { return filepath.Join(s.material.dir, fileOperatorKey) }

// OperatorKey reads the operator's key. The installation runs without it: it may be kept elsewhere.
func (s *System) OperatorKey() (ed25519.PrivateKey, error) { return readKey(s.OperatorKeyFile()) }

// BootstrapCode is the one-time private key by which the first owner is made; empty if it had been used when the
// installation was started.
func (s *System) BootstrapCode() string { return s.material.bootstrapCode() }
