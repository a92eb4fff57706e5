package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// recordVersion stands in every record; a program refuses a record that is newer than itself.
const recordVersion = 1

// wallet is one wallet's row of the directory. Statements in it were verified before they were put there.
type wallet struct {
	Version int                `json:"version"`
	Name    string             `json:"name"`
	State   typev1.WalletState `json:"state"`
	Handle  string             `json:"handle"`
	// DisplayName and OwnerEmail are what the agent said when it began; empty in a row that was restored from documents.
	DisplayName string `json:"display_name,omitempty"`
	OwnerEmail  string `json:"owner_email,omitempty"`
	// RequestKey is the key that began the key generation, Start the digest of its newest start statement.
	RequestKey []byte `json:"request_key,omitempty"`
	Start      []byte `json:"start,omitempty"`
	// Place says in which counters of open registrations this one belongs, Placed whether it stands in them now.
	Place  place `json:"place,omitzero"`
	Placed bool  `json:"placed,omitempty"`
	// Created is when key generation first began, Since when the row took its state (for CREATING: when its newest run
	// began): milliseconds since the Unix epoch.
	Created int64 `json:"created"`
	Since   int64 `json:"since"`
	// Registration, Claim (guard rails number 0), Record, Head and End are encoded envelopes; each is absent until its
	// state.
	Registration []byte `json:"registration,omitempty"`
	Claim        []byte `json:"claim,omitempty"`
	Record       []byte `json:"record,omitempty"`
	Head         []byte `json:"head,omitempty"`
	End          []byte `json:"end,omitempty"`
	// Revoked are the request keys that the owner revoked: they authenticate nothing, whatever the head says. Revocation is the newest
	// statement of it, an encoded envelope, for a ledger and a co-signer that it did not reach.
	Revoked    [][]byte `json:"revoked,omitempty"`
	Revocation []byte   `json:"revocation,omitempty"`
}

// place is one registration's entry in the counters: hashes, so that no address stands in a key.
type place struct {
	Owner  string `json:"owner"`
	Source string `json:"source"`
}

// owner is one owner's row.
type owner struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	// Registration is the owner's own statement, an encoded envelope.
	Registration []byte `json:"registration"`
	Created      int64  `json:"created"`
	// Keys is its newest statement of its keys, an encoded envelope; absent while they are the registration's.
	Keys []byte `json:"keys,omitempty"`
}

// bootstrap says what a bootstrap code or an invitation was used for.
type bootstrap struct {
	Version int    `json:"version"`
	Owner   string `json:"owner"`
	// Statement is the digest of the statement that used it.
	Statement []byte `json:"statement"`
}

func (w *wallet) version() int    { return w.Version }
func (o *owner) version() int     { return o.Version }
func (b *bootstrap) version() int { return b.Version }

func encode(record any) ([]byte, error) {
	b, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return b, nil
}

// decode reads a record strictly: a field that this program does not know was put there by a newer one, for a reason.
func decode(b []byte, record interface{ version() int }) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(record); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("decode record: something follows it")
	}
	if v := record.version(); v != recordVersion {
		return fmt.Errorf("decode record: its version is %d, and this program knows %d", v, recordVersion)
	}
	return nil
}

// envelope decodes one statement of a row; nil for one that is not there.
func envelope(b []byte) (*typev1.Envelope, error) {
	if len(b) == 0 {
		return nil, nil
	}
	e := new(typev1.Envelope)
	if err := evidence.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("decode stored statement: %w", err)
	}
	return e, nil
}

// head decodes the guard rails in force.
func (w *wallet) head() (*evidence.Head, error) {
	e, err := envelope(w.Head)
	if err != nil {
		return nil, err
	}
	h, err := evidence.NewHead(e)
	if err != nil {
		return nil, fmt.Errorf("decode stored guard rails: %w", err)
	}
	return h, nil
}

// revoked reports whether the owner revoked a request key.
func (w *wallet) revoked(key []byte) bool {
	return slices.ContainsFunc(w.Revoked, func(k []byte) bool { return bytes.Equal(k, key) })
}

// revocation is the newest revocation, nil for none.
func (w *wallet) revocation() (*typev1.Envelope, error) {
	if len(w.Revocation) == 0 {
		return nil, nil
	}
	return envelope(w.Revocation)
}

// proto is the wallet as the contract shows it.
func (w *wallet) proto() (*typev1.Wallet, error) {
	out := &typev1.Wallet{
		Name:        w.Name,
		State:       w.State,
		Handle:      w.Handle,
		Agent:       resource.AgentOf(w.Name),
		CreateTime:  timestamppb.New(time.UnixMilli(w.Created)),
		DisplayName: w.DisplayName,
	}
	for _, f := range []struct {
		to   **typev1.Envelope
		from []byte
	}{
		{&out.Registration, w.Registration},
		{&out.Claim, w.Claim},
		{&out.Record, w.Record},
		{&out.GuardRails, w.Head},
		{&out.End, w.End},
	} {
		e, err := envelope(f.from)
		if err != nil {
			return nil, err
		}
		*f.to = e
	}
	if out.GetGuardRails() != nil {
		h, err := w.head()
		if err != nil {
			return nil, err
		}
		out.Owner = h.Document.GetOwner()
	}
	return out, nil
}

// proto is the owner as the contract shows it.
func (o *owner) proto() (*typev1.Owner, error) {
	e, err := envelope(o.Registration)
	if err != nil {
		return nil, err
	}
	keys, err := envelope(o.Keys)
	if err != nil {
		return nil, err
	}
	return &typev1.Owner{
		Name:         o.Name,
		Email:        o.Email,
		Registration: e,
		CreateTime:   timestamppb.New(time.UnixMilli(o.Created)),
		Keys:         keys,
	}, nil
}

// newestKeys is the owner's newest statement of its keys; nil while they are the registration's.
func (o *owner) newestKeys() (*typev1.OwnerKeys, error) {
	e, err := envelope(o.Keys)
	if err != nil || e == nil {
		return nil, err
	}
	m := new(typev1.OwnerKeys)
	if err := evidence.Peek(e, m); err != nil {
		return nil, fmt.Errorf("decode stored owner keys: %w", err)
	}
	return m, nil
}

// keys are the owner keys of the owner's newest statement.
func (o *owner) keys() ([][]byte, error) {
	if m, err := o.newestKeys(); m != nil || err != nil {
		return m.GetOwnerKeys(), err
	}
	e, err := envelope(o.Registration)
	if err != nil {
		return nil, err
	}
	r := new(typev1.OwnerRegistration)
	if err := evidence.Peek(e, r); err != nil {
		return nil, fmt.Errorf("decode stored owner registration: %w", err)
	}
	return r.GetOwnerKeys(), nil
}
