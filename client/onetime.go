package client

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// oneTimeDefault is how long a token or an invitation is good for if nobody says otherwise, oneTimeMost the longest: what
	// lies about for longer than that is found by somebody.
	oneTimeDefault, oneTimeMost = 24 * time.Hour, 30 * 24 * time.Hour
	// oneTimeTextMax bounds the text of one: a seed, and a statement with 16 owner keys.
	oneTimeTextMax = 8 << 10

	kindEnrolment  = "enrolment-token"
	kindInvitation = "owner-invitation"
)

// Secret is a text that does not print. A []byte is assigned to it as it is.
type Secret []byte

// String returns a constant.
func (Secret) String() string { return redactedText }

// GoString returns a constant.
func (Secret) GoString() string { return redactedText }

// Format writes a constant for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedText) }

// LogValue returns a constant.
func (Secret) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalJSON fails.
func (Secret) MarshalJSON() ([]byte, error) { return nil, errMarshalSecret }

// MarshalText fails.
func (Secret) MarshalText() ([]byte, error) { return nil, errMarshalSecret }

// oneTimeFile is the text of a token or an invitation: a one-time private key, and the owner's statement of what it is good for.
type oneTimeFile struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	// OwnerEmail is the address of the owner whose token it is; an invitation's stands in its statement.
	OwnerEmail string `json:"owner_email,omitempty"`
	Seed       []byte `json:"seed"`
	// Statement is an encoded Envelope.
	Statement []byte `json:"statement"`
}

// oneTimeKey is a one-time private key in memory.
type oneTimeKey struct {
	*privateKey
	email string
	// statement is what its owner signed.
	statement *typev1.Envelope
	wipe      func()
}

// newSeed draws a private key.
func newSeed() ([]byte, ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, nil, err
	}
	return seed, ed25519.NewKeyFromSeed(seed), nil
}

// oneTimeText makes the text.
func oneTimeText(kind, email string, seed []byte, statement *typev1.Envelope) ([]byte, error) {
	b, err := evidence.Marshal(statement)
	if err != nil {
		return nil, err
	}
	return encodeJSON(oneTimeFile{Version: fileVersion, Kind: kind, OwnerEmail: email, Seed: seed, Statement: b})
}

// readOneTime reads a text of a kind, as strictly as this package's own files. It is a secret: a refusal quotes nothing of it.
func readOneTime(op, kind string, text []byte) (*oneTimeKey, error) {
	refuse := func(why string) (*oneTimeKey, error) {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, why, "field", kind)
	}
	if len(text) > oneTimeTextMax {
		return refuse("the text is too long to be an " + kind)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var f oneTimeFile
	defer func() { wipe(f.Seed) }()
	if err := d.Decode(&f); err != nil {
		return refuse("the text is not an " + kind + ": it may have lost characters")
	}
	if _, err := d.Token(); err != io.EOF {
		return refuse("the text goes on after the " + kind)
	}
	statement := new(typev1.Envelope)
	switch {
	case f.Version != fileVersion:
		return refuse("the " + kind + " is of another version than this program knows")
	case f.Kind != kind:
		return refuse("the text is for something else: an " + kind + " was expected")
	case len(f.Seed) != ed25519.SeedSize || evidence.Unmarshal(f.Statement, statement) != nil:
		return refuse("the " + kind + " is damaged")
	}
	k := ed25519.NewKeyFromSeed(f.Seed)
	return &oneTimeKey{privateKey: newPrivateKey(k), email: f.OwnerEmail, statement: statement, wipe: func() { wipe(k) }}, nil
}

// deadline is when a token or an invitation ends that is good for ttl from now on.
func (c *Client) deadline(op string, ttl time.Duration) (time.Time, error) {
	if ttl == 0 {
		ttl = oneTimeDefault
	}
	if ttl < time.Second || ttl > oneTimeMost {
		return time.Time{}, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the lifetime is not between a second and 30 days", "field", "ttl")
	}
	now, _ := c.now()
	return now.Add(ttl), nil
}
