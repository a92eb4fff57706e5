// Package evidencetest builds installations, wallets and the evidence of payments for tests: honest by default, from one
// seed, with a place to make each statement dishonest before it is signed.
//
// It is for tests only: its keys are derived from a text. A wallet's group key here is one whole Ed25519 key, which verifies
// like one made of two shares; a test about shares brings its own by [WalletConfig].
package evidencetest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// CA is the certificate of an authority whose key nobody uses: it fills installation files that no connection relies on.
//
//go:embed ca.pem
var CA string

// Config says what a World is made of; its zero value is a good one.
type Config struct {
	// Seed determines every key; empty draws one.
	Seed string
	// ID is the installation's id; empty is "test".
	ID string
	// GatewayAddresses, HTTPSAddresses and CA stand in the installation file; empty has addresses that nobody serves.
	GatewayAddresses, HTTPSAddresses []string
	CA                               string
}

// World is one installation with all of its keys.
type World struct {
	// Installation is its verified file in force: number 1, until Rotate has made a successor.
	Installation *evidence.Installation
	// Installations is the chain of files up to Installation.
	Installations []*evidence.Installation
	// Cosigner, Policy and Ledger are the services' statement keys.
	Cosigner, Policy, Ledger ed25519.PrivateKey
	// Operator is the operator's key, Redemption the redemption account's group key.
	Operator, Redemption ed25519.PrivateKey

	t    testing.TB
	seed string
}

// New makes an installation with keys of its own.
func New(t testing.TB) *World {
	t.Helper()
	return NewWith(t, Config{})
}

// NewWith makes an installation to measure.
func NewWith(t testing.TB, c Config) *World {
	t.Helper()
	if c.Seed == "" {
		c.Seed = rand.Text()
	}
	if c.ID == "" {
		c.ID = "test"
	}
	if len(c.GatewayAddresses) == 0 {
		c.GatewayAddresses = []string{"gateway.invalid:443"}
	}
	if c.CA == "" {
		c.CA = CA
	}
	w := &World{t: t, seed: c.Seed}
	w.Cosigner, w.Policy, w.Ledger = w.Key("cosigner"), w.Key("policy"), w.Key("ledger")
	w.Operator, w.Redemption = w.Key("operator"), w.Key("redemption")
	e := w.Sign(w.Operator, &typev1.Installation{
		Installation:      c.ID,
		Number:            1,
		GatewayAddresses:  c.GatewayAddresses,
		HttpsAddresses:    c.HTTPSAddresses,
		CaPem:             c.CA,
		RedemptionAccount: Public(w.Redemption),
		OperatorKeys:      [][]byte{Public(w.Operator)},
		ServiceKeys: []*typev1.ServiceKey{
			{Purpose: typev1.Purpose_PURPOSE_COSIGNER, PublicKey: Public(w.Cosigner)},
			{Purpose: typev1.Purpose_PURPOSE_POLICY, PublicKey: Public(w.Policy)},
			{Purpose: typev1.Purpose_PURPOSE_LEDGER, PublicKey: Public(w.Ledger)},
		},
	})
	var err error
	if w.Installation, err = evidence.ParseInstallation(e); err != nil {
		t.Fatalf("ParseInstallation: %v", err)
	}
	w.Installations = []*evidence.Installation{w.Installation}
	return w
}

// Key returns the world's key of that name: always the same.
func (w *World) Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("halfkey/evidencetest/" + w.seed + "/" + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Public returns a key's public half.
func Public(k ed25519.PrivateKey) []byte { return bytes.Clone(k.Public().(ed25519.PublicKey)) }

// Key32 returns a key's public half as names of accounts have it.
func Key32(k ed25519.PrivateKey) [32]byte { return [32]byte(Public(k)) }

// Sign signs a statement and fails the test if that is refused.
func (w *World) Sign(key ed25519.PrivateKey, m proto.Message) *typev1.Envelope {
	w.t.Helper()
	e, err := evidence.Sign(key, m)
	if err != nil {
		w.t.Fatalf("Sign %T: %v", m, err)
	}
	return e
}

// SignRaw signs any bytes as any type, also what Sign refuses to make.
func SignRaw(key ed25519.PrivateKey, payloadType string, payload []byte) *typev1.Envelope {
	return &typev1.Envelope{
		PayloadType: payloadType,
		Payload:     payload,
		Signatures:  []*typev1.Signature{{PublicKey: Public(key), Signature: ed25519.Sign(key, evidence.PAE(payloadType, payload))}},
	}
}

// SignLoose signs a statement whose fields are out of bounds.
func (w *World) SignLoose(key ed25519.PrivateKey, m proto.Message) *typev1.Envelope {
	w.t.Helper()
	payloadType, ok := evidence.TypeOf(m)
	if !ok {
		w.t.Fatalf("%T is not a statement", m)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		w.t.Fatalf("Marshal %T: %v", m, err)
	}
	return SignRaw(key, payloadType, b)
}

// Decode decodes an envelope's payload into m without verifying it.
func (w *World) Decode(e *typev1.Envelope, m proto.Message) {
	w.t.Helper()
	if err := evidence.Peek(e, m); err != nil {
		w.t.Fatalf("Peek %T: %v", m, err)
	}
}

// Successor makes the next installation file after w's, changed by edit, and signed by w's operator.
func (w *World) Successor(edit func(*typev1.Installation)) *typev1.Envelope {
	w.t.Helper()
	next := w.Installation.Content()
	next.Number++
	next.Predecessor = w.Installation.Digest().Bytes()
	if edit != nil {
		edit(next)
	}
	return w.Sign(w.Operator, next)
}

// sorted returns the public halves in the order that statements list them.
func sorted(keys ...ed25519.PrivateKey) [][]byte {
	var out [][]byte
	for _, k := range keys {
		out = append(out, Public(k))
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}
