package rpc

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"log/slog"
	"math/big"
	"testing"

	"google.golang.org/grpc/credentials"

	"github.com/halfkey/halfkey/internal/authz"
)

// ServerTLS is serverTLS, for servers and clients of tests that are made wrong.
func (c *Credentials) ServerTLS() *tls.Config { return c.serverTLS() }

// ClientTLS is clientTLS, likewise.
func (c *Credentials) ClientTLS(to authz.Service) *tls.Config { return c.clientTLS(to) }

// ClientTransport is what Dial secures a connection to a service by.
func ClientTransport(c *Credentials, to authz.Service) credentials.TransportCredentials {
	return c.client(to, slog.New(slog.DiscardHandler))
}

// SerialInForce is the serial number of the certificate that the next handshake takes.
func SerialInForce(c *Credentials) *big.Int { return c.current().certificate.Leaf.SerialNumber }

// ServiceConfig is the one of every connection.
const ServiceConfig = serviceConfig

// Bounds that tests fill.
const (
	StopsInFlightMax = stopsInFlightMax
	RequestBytesHard = requestBytesHard
	CallMax          = callMax
	HeaderBytesMax   = headerBytesMax
	LookEvery        = lookEvery
	PEMBytesMax      = pemBytesMax
	CheckEvery       = checkEvery
)

// NewLimitListener is newLimitListener.
var NewLimitListener = newLimitListener

func TestStrong(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  any
		want bool
	}{
		{"P-224", &ecdsa.PublicKey{Curve: elliptic.P224()}, false},
		{"P-256", &ecdsa.PublicKey{Curve: elliptic.P256()}, true},
		{"P-384", &ecdsa.PublicKey{Curve: elliptic.P384()}, true},
		{"Ed25519", ed25519.PublicKey(make([]byte, 32)), true},
		{"RSA 1024", &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023)}, false},
		{"RSA 2048", &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047)}, true},
		{"something else", "key", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strong(tt.key); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
