package client

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redactedText = "[halfkey secret]"

var errMarshalSecret = errors.New("halfkey: a secret does not marshal")

// redacted is embedded in every type that holds a secret: it prints one constant through every verb and logger, and fails
// to marshal.
type redacted struct{}

// String returns a constant.
func (redacted) String() string { return redactedText }

// GoString returns a constant.
func (redacted) GoString() string { return redactedText }

// Format writes a constant for every verb.
func (redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedText) }

// LogValue returns a constant.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalJSON fails.
func (redacted) MarshalJSON() ([]byte, error) { return nil, errMarshalSecret }

// MarshalText fails.
func (redacted) MarshalText() ([]byte, error) { return nil, errMarshalSecret }

// MarshalBinary fails, and with it gob.
func (redacted) MarshalBinary() ([]byte, error) { return nil, errMarshalSecret }

// privateKey is an Ed25519 key that does not print: it is held by a function, so that fmt, which walks unexported fields
// without calling their methods, finds an address.
type privateKey struct {
	redacted
	public ed25519.PublicKey
	sign   func(message []byte) []byte
}

var _ crypto.Signer = (*privateKey)(nil)

func newPrivateKey(k ed25519.PrivateKey) *privateKey {
	return &privateKey{
		public: append(ed25519.PublicKey(nil), k[ed25519.PrivateKeySize-ed25519.PublicKeySize:]...),
		sign:   func(m []byte) []byte { return ed25519.Sign(k, m) },
	}
}

// signer is the key as callers have it.
func (k *privateKey) signer() crypto.Signer { return k }

// Public returns the public half.
func (k *privateKey) Public() crypto.PublicKey { return k.public }

// Sign signs a message, not a digest: Ed25519 hashes itself.
func (k *privateKey) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.Hash(0) {
		return nil, errors.New("halfkey: Ed25519 signs messages, not digests")
	}
	return k.sign(message), nil
}

// wipe overwrites a secret's bytes. Go may have copied them; what this package holds is gone.
func wipe(b []byte) { clear(b) }
