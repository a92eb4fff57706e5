package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ownerKeyName is the name of the owner's secret in the key store.
const ownerKeyName = "owner"

// Owner is a person's or organisation's half of this home: it claims wallets, sets guard rails, answers reviews, freezes. It
// is for concurrent use.
type Owner struct {
	redacted
	c    *Client
	name string
	key  *privateKey
	// email is the owner's address.
	email string
	// keys are all owner keys, the second one among them; the other halves may be elsewhere.
	keys [][]byte
	// earlier are those of the registration and of every statement since, in force or not: wallets were claimed under them.
	earlier [][]byte
	who     *caller
}

// ownerFile is an owner's secret in the key store.
type ownerFile struct {
	Version      int    `json:"version"`
	Installation string `json:"installation"`
	Owner        string `json:"owner"`
	Seed         []byte `json:"seed"`
	Registration []byte `json:"registration"`
	// Invitation is another owner's, an encoded Envelope; none with the bootstrap code.
	Invitation []byte `json:"invitation,omitempty"`
	// Registered says that the installation has taken the registration.
	Registered bool `json:"registered"`
	// Statement is the owner's newest OwnerKeys, an encoded Envelope; empty while its keys are the registration's. EarlierStatements
	// are those of before that this home made, oldest first: an identity that was put back is led forward by them.
	Statement         []byte   `json:"statement,omitempty"`
	EarlierStatements [][]byte `json:"earlier_statements,omitempty"`
	// Earlier are the seeds of this home's earlier keys, oldest first, EarlierKeys the public keys of earlier statements.
	Earlier     [][]byte `json:"earlier,omitempty"`
	EarlierKeys [][]byte `json:"earlier_keys,omitempty"`
	// Rotation is a change of the keys that has begun.
	Rotation *rotationFile `json:"rotation,omitempty"`
}

// CreateOwnerOptions gives an owner a second key, which signs as well as the first and is meant to be kept elsewhere: whoever
// has lost the last owner key of a wallet can never again change its guard rails or unfreeze it.
type CreateOwnerOptions struct {
	// SecondKey is the public half of a key made elsewhere.
	SecondKey [32]byte
	// SecondKeyFile is where a new second key is written, mode 0600, as the hexadecimal of its seed; it must not exist.
	SecondKeyFile string
}

// CreateOwner makes the installation's first owner by the operator's one-time bootstrap code, or a further one by the text of
// an invitation, whose address an empty email stands for. The owner key is stored before the code is used; called again, it ends
// what it began and returns the same owner.
func (c *Client) CreateOwner(ctx context.Context, code, email string, options ...CreateOwnerOptions) (*Owner, error) {
	const op = "create owner"
	unlock, err := c.work.lock(ctx, op)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer unlock()
	f, err := c.loadOwner()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if f, err = c.newOwner(code, lowerEmail(email), options); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, wrap(op, err, notMoved)
	}
	defer wipe(f.Seed)
	if !f.Registered {
		if err := c.registerOwner(ctx, f); err != nil {
			return nil, err
		}
	}
	return c.openOwner(f)
}

// parseSeed reads a one-time private key as people get it: 64 hexadecimal digits, or RFC 4648 base 32, in any case, with
// dashes and white space anywhere.
func parseSeed(code string) ([]byte, error) {
	code = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, code)
	if b, err := hex.DecodeString(code); err == nil && len(b) == ed25519.SeedSize {
		return b, nil
	}
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(strings.ToUpper(code), "="))
	if err != nil || len(b) != ed25519.SeedSize {
		// The code is a secret: what was typed is not repeated.
		return nil, local("read code", typev1.Reason_REASON_INVALID_ARGUMENT, "the code is not one: it may have lost characters", "field", "code")
	}
	return b, nil
}

// readBootstrapCode reads the operator's code.
func readBootstrapCode(code string) (*ownerCode, error) {
	seed, err := parseSeed(code)
	if err != nil {
		return nil, err
	}
	defer wipe(seed)
	k := ed25519.NewKeyFromSeed(seed)
	return &ownerCode{privateKey: newPrivateKey(k), wipe: func() { wipe(k) }}, nil
}

// newOwner makes an owner's first key and its statement, signed by it and by the code, and stores both.
func (c *Client) newOwner(code, email string, options []CreateOwnerOptions) (*ownerFile, error) {
	const op = "create owner"
	by, err := c.readOwnerCode(code)
	if err != nil {
		return nil, err
	}
	defer by.wipe()
	if email == "" {
		email = by.email
	}
	if by.email != "" && email != by.email {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the invitation is for another e-mail address", "field", "email")
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	key := ed25519.NewKeyFromSeed(seed)
	keys := [][32]byte{[32]byte(key[ed25519.SeedSize:])}
	for _, o := range options {
		if keys, err = o.add(keys); err != nil {
			return nil, err
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	i := c.Installation()
	e, err := evidence.Sign(key, &typev1.OwnerRegistration{
		Installation: i.ID(), Owner: "owners/" + id.String(), Email: email, OwnerKeys: sortedKeys(keys),
	})
	if err != nil {
		return nil, given(op, err)
	}
	if e, err = evidence.CoSign(e, by.privateKey); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	b, err := evidence.Marshal(e)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	f := &ownerFile{Version: fileVersion, Installation: i.ID(), Owner: "owners/" + id.String(), Seed: seed, Registration: b}
	if by.invitation != nil {
		if f.Invitation, err = evidence.Marshal(by.invitation); err != nil {
			return nil, wrap(op, err, notMoved)
		}
	}
	if err := c.saveOwner(f); err != nil {
		// Without the first key nothing names the second, and its file would be in the way of the next try.
		if _, loading := c.loadOwner(); errors.Is(loading, fs.ErrNotExist) {
			for _, o := range options {
				_ = os.Remove(o.SecondKeyFile)
			}
		}
		return nil, wrap(op, err, notMoved)
	}
	return f, nil
}

// add adds the second keys.
func (o CreateOwnerOptions) add(keys [][32]byte) ([][32]byte, error) {
	if o.SecondKey != [32]byte{} {
		keys = append(keys, o.SecondKey)
	}
	if o.SecondKeyFile == "" {
		return keys, nil
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, wrap("create owner", err, notMoved)
	}
	defer wipe(seed)
	text := append(hex.AppendEncode(nil, seed), '\n')
	defer wipe(text)
	if err := writeNew(o.SecondKeyFile, text); err != nil {
		return nil, wrap("create owner", err, notMoved)
	}
	return append(keys, [32]byte(ed25519.NewKeyFromSeed(seed)[ed25519.SeedSize:])), nil
}

// writeNew writes a file that must not exist, whole or not at all.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("halfkey: write key file: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(path) // What is there of it is of no use, and would be in the way of the next try.
		return fmt.Errorf("halfkey: write key file: %w", err)
	}
	return nil
}

func (c *Client) registerOwner(ctx context.Context, f *ownerFile) error {
	const op = "create owner"
	e := new(typev1.Envelope)
	if err := evidence.Unmarshal(f.Registration, e); err != nil {
		return wrap(op, err, notMoved)
	}
	request := &gatewayv1.CreateOwnerRequest{Registration: e}
	if len(f.Invitation) > 0 {
		request.Invitation = new(typev1.Envelope)
		if err := evidence.Unmarshal(f.Invitation, request.Invitation); err != nil {
			return wrap(op, err, notMoved)
		}
	}
	o, err := invoke(ctx, c, rpc{op: op}, request, gatewayv1.GatewayServiceClient.CreateOwner)
	if err != nil {
		switch ReasonOf(err) {
		case typev1.Reason_REASON_CODE_USED, typev1.Reason_REASON_CODE_EXPIRED, typev1.Reason_REASON_BAD_STATEMENT,
			typev1.Reason_REASON_INVALID_ARGUMENT, typev1.Reason_REASON_EVIDENCE_MISMATCH, typev1.Reason_REASON_ALREADY_EXISTS,
			typev1.Reason_REASON_NOT_FOUND, typev1.Reason_REASON_PERMISSION_DENIED:
			// Refused for good: the next call, with another code, begins anew.
			if deleting := c.keys.Delete(ownerKeyName); deleting != nil {
				return errors.Join(err, deleting)
			}
		}
		return err
	}
	if o.GetName() != f.Owner || evidence.EnvelopeDigest(o.GetRegistration()) != evidence.EnvelopeDigest(e) {
		return distrust(op, notMoved, "the installation shows another owner than was made here", nil)
	}
	f.Registered = true
	return wrap(op, c.saveOwner(f), notMoved)
}

func (c *Client) saveOwner(f *ownerFile) error {
	b, err := encodeJSON(f)
	if err != nil {
		return err
	}
	defer wipe(b)
	return c.keys.Save(ownerKeyName, b)
}

func (c *Client) loadOwner() (*ownerFile, error) {
	b, err := c.keys.Load(ownerKeyName)
	if err != nil {
		return nil, err
	}
	defer wipe(b)
	f := new(ownerFile)
	if err := decodeJSON(b, f); err != nil {
		return nil, err
	}
	switch {
	case f.Version != fileVersion || len(f.Seed) != ed25519.SeedSize:
		return nil, fileErrorf("halfkey: the owner's secret is of another version")
	case f.Installation != c.Installation().ID():
		return nil, fileErrorf("halfkey: the owner's secret belongs to another installation")
	}
	return f, nil
}

// Owner loads this home's owner.
func (c *Client) Owner() (*Owner, error) {
	const op = "load owner"
	f, err := c.loadOwner()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, local(op, typev1.Reason_REASON_NOT_FOUND, "this home has no owner: create one by a bootstrap code or an invitation")
	}
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer f.wipe()
	if !f.Registered {
		return nil, local(op, typev1.Reason_REASON_NOT_ACTIVE, "making this owner has not ended: create it again with the same code")
	}
	return c.openOwner(f)
}

func (c *Client) openOwner(f *ownerFile) (*Owner, error) {
	const op = "load owner"
	e, m := new(typev1.Envelope), new(typev1.OwnerRegistration)
	if err := evidence.Unmarshal(f.Registration, e); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	key := newPrivateKey(ed25519.NewKeyFromSeed(f.Seed))
	err := evidence.Peek(e, m)
	if err == nil {
		_, err = evidence.Open(e, m, m.GetOwnerKeys()...)
	}
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	said, err := f.statement()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	if m.GetOwner() != f.Owner || m.GetInstallation() != f.Installation || said.GetOwner() != f.Owner || !contains(said.GetOwnerKeys(), key.public) {
		return nil, local(op, typev1.Reason_REASON_BAD_STATEMENT, "the owner's secret holds parts of different owners")
	}
	return &Owner{
		c: c, name: f.Owner, email: m.GetEmail(), key: key, keys: said.GetOwnerKeys(),
		earlier: slices.Concat(m.GetOwnerKeys(), f.EarlierKeys), who: &caller{name: f.Owner, key: key.signer},
	}, nil
}

// Name is `owners/{owner}`.
func (o *Owner) Name() string { return o.name }

// everyKey are the keys that this owner has claimed wallets under. A claim is signed once and stays; keys change.
func (o *Owner) everyKey() [][]byte { return slices.Concat(o.keys, o.earlier) }

// Keys are the public halves of the owner's keys, ascending.
func (o *Owner) Keys() [][]byte { return cloneKeys(o.keys) }

// Key returns the public half of the owner key that this home signs by.
func (o *Owner) Key() [32]byte { return [32]byte(o.key.public) }

// signs reports whether this home's key may sign for a wallet by its guard rails.
func (o *Owner) signs(h *evidence.Head) error {
	if slices.ContainsFunc(h.Document.GetOwnerKeys(), func(k []byte) bool { return bytes.Equal(k, o.key.public) }) {
		return nil
	}
	return local("sign as owner", typev1.Reason_REASON_PERMISSION_DENIED, "the wallet's guard rails do not name this home's owner key",
		"wallet", h.Document.GetWallet())
}

// Account returns a wallet's balances by the ledger.
func (o *Owner) Account(ctx context.Context, wallet string) (*Account, error) {
	return o.c.account(ctx, o.who, wallet)
}

// record is a wallet's verified record, pinned or looked up.
func (o *Owner) record(ctx context.Context, wallet string) (*typev1.WalletRecord, error) {
	r, err := o.c.pinnedRecord(wallet)
	if err != nil {
		return nil, wrap("get wallet", err, notMoved)
	}
	if r != nil {
		return r, nil
	}
	return o.c.lookUp(ctx, o.who, wallet)
}

// Freeze stops a wallet. An empty id draws one; what comes back is in force.
func (o *Owner) Freeze(ctx context.Context, wallet, freezeID string) (*FreezeStatus, error) {
	return o.c.freeze(ctx, o.who, walletThing(wallet), freezeID)
}

// FreezeAll stops every wallet whose guard rails name this owner.
func (o *Owner) FreezeAll(ctx context.Context, freezeID string) (*FreezeStatus, error) {
	return o.c.freeze(ctx, o.who, ownerThing(o.name), freezeID)
}

// Unfreeze ends one freeze of a wallet.
func (o *Owner) Unfreeze(ctx context.Context, wallet, freezeID string) (*FreezeStatus, error) {
	return o.c.unfreeze(ctx, o.key, walletThing(wallet), freezeID)
}

// UnfreezeAll ends one freeze of every wallet of this owner: each by the owner keys that its own guard rails name.
func (o *Owner) UnfreezeAll(ctx context.Context, freezeID string) (*FreezeStatus, error) {
	return o.c.unfreeze(ctx, o.key, ownerThing(o.name), freezeID)
}

// Freezes lists the freezes that concern a wallet, newest first, and whether the ledger says that it is frozen.
func (o *Owner) Freezes(ctx context.Context, wallet string) ([]*typev1.Freeze, bool, error) {
	return o.c.freezes(ctx, o.who, wallet)
}
