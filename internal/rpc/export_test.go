package rpc

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"testing"
	"time"
)

// LookAgain makes credentials look at their files at the next connection, as they would after a while.
func LookAgain(c *Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Time{}
}

// ServiceConfig is the one of every connection.
const ServiceConfig = serviceConfig

// Bounds that tests fill.
const (
	StopsInFlightMax = stopsInFlightMax
	RequestBytesHard = requestBytesHard
	CallMax          = callMax
	HeaderBytesMax   = headerBytesMax
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
