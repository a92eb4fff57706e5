package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ownerCommand are `halfkey owner`.
type ownerCommand struct {
	Init   ownerInitCommand   `cmd:"" help:"Make this home an owner's, by the operator's one-time code or another owner's invitation."`
	Claim  ownerClaimCommand  `cmd:"" help:"Claim the wallet of an agent, by the code that the agent printed."`
	Keys   ownerKeysCommand   `cmd:"" help:"List the owner's keys."`
	Rotate ownerRotateCommand `cmd:"" help:"Change the owner's keys in all wallets by one command, or go on with a change that stopped."`
	Invite ownerInviteCommand `cmd:"" help:"Invite another owner to this installation."`
}

type ownerInitCommand struct {
	CodeFile      string `required:"" placeholder:"FILE" help:"The one-time code: a file of mode 0600, or - for standard input."`
	Email         string `placeholder:"EMAIL" help:"The owner's address. An invitation names one itself."`
	SecondKeyFile string `xor:"second" placeholder:"FILE" help:"Write a second owner key to this new file; keep it elsewhere, offline."`
	SecondKey     string `xor:"second" placeholder:"KEY" help:"The public half of a second owner key that was made elsewhere: 64 hexadecimal digits."`
	NoSecondKey   bool   `xor:"second" help:"Have one key alone. Whoever loses it can never again change guard rails or unfreeze."`
}

// lastKey says what a second owner key is for.
const lastKey = "whoever loses the last owner key can never again change the guard rails of a wallet, unfreeze it or take it over"

// ownerResult is the home's owner.
type ownerResult struct {
	Owner string `json:"owner"`
	// Keys are the public owner keys of the registration; any one signs.
	Keys []string `json:"keys"`
	// Key is the one that this home signs by.
	Key string `json:"key"`

	secondKeyFile string
	// before says that the home was this owner's before the command.
	before bool
}

func newOwnerResult(o *client.Owner) *ownerResult {
	own := o.Key()
	r := &ownerResult{Owner: o.Name(), Keys: []string{}, Key: keyText(own[:])}
	for _, k := range o.Keys() {
		r.Keys = append(r.Keys, keyText(k))
	}
	return r
}

// Run makes the owner.
func (c *ownerInitCommand) Run(ctx context.Context, a *app) error {
	var options client.CreateOwnerOptions
	if c.SecondKey != "" {
		key, err := hex.DecodeString(c.SecondKey)
		if err != nil || len(key) != len(options.SecondKey) {
			return usage("--second-key", "a public key is 64 hexadecimal digits", "value", shorten(c.SecondKey))
		}
		options.SecondKey = [32]byte(key)
	}
	if c.SecondKeyFile == "" && c.SecondKey == "" && !c.NoSecondKey {
		var err error
		if c.SecondKeyFile, err = a.secondKeyFile(); err != nil {
			return err
		}
	}
	if err := secretFile("--second-key-file", c.SecondKeyFile); err != nil {
		return err
	}
	options.SecondKeyFile = c.SecondKeyFile
	cl, err := a.client()
	if err != nil {
		return err
	}
	code, err := a.secretText("--code-file", c.CodeFile)
	if err != nil {
		return err
	}
	defer clear(code)
	_, none := cl.Owner()
	o, err := cl.CreateOwner(ctx, string(code), c.Email, options)
	if errors.Is(err, fs.ErrExist) && c.SecondKeyFile != "" {
		return unwritable(c.SecondKeyFile, fs.ErrExist)
	}
	if err != nil {
		return unmoved(err)
	}
	if err := c.hasSecondKey(a, o, options.SecondKey); err != nil {
		return err
	}
	r := newOwnerResult(o)
	r.secondKeyFile, r.before = c.SecondKeyFile, none == nil
	return a.show(r)
}

// hasSecondKey refuses to tell of a second key that the owner does not have: a home that was an owner's before keeps the keys it has,
// and who believes in a key that is not there loses everything with the first.
func (c *ownerInitCommand) hasSecondKey(a *app, o *client.Owner, second [32]byte) error {
	if c.SecondKeyFile == "" && c.SecondKey == "" {
		return nil
	}
	if key, err := a.signingKey("--second-key-file", c.SecondKeyFile); err == nil {
		copy(second[:], key[ed25519.SeedSize:]) // The public half.
		clear(key)
	}
	if slices.ContainsFunc(o.Keys(), func(k []byte) bool { return bytes.Equal(k, second[:]) }) {
		return nil
	}
	return localError(typev1.Reason_REASON_ALREADY_EXISTS, "this home was an owner's before, and the owner keeps the keys it has: no second key was made or added",
		"make one by `halfkey installation key FILE --new`, and add what that prints by `halfkey owner rotate --add KEY`", "owner", o.Name())
}

// secondKeyFile asks a person for the file of a second key; empty is one key alone, which is confirmed.
func (a *app) secondKeyFile() (string, error) {
	file, err := a.askText("File to write a second owner key to, to be kept elsewhere, offline; empty for one key alone:")
	switch {
	case errors.Is(err, errNoTerminal):
		return "", usage("--second-key-file", "choose --second-key-file, --second-key or --no-second-key: "+lastKey)
	case err != nil || file != "":
		return file, err
	}
	return "", a.confirm(false, "Have one owner key alone? There is no way back: %s.", lastKey)
}

func (r *ownerResult) people(p *printer) {
	p.line("%s", r.Owner)
	if r.before {
		p.line("This home was this owner's before: nothing was made, and no code was used.")
	}
	if slices.Contains(r.Keys, r.Key) {
		p.line("Key %s, in this home", r.Key)
	}
	for _, k := range r.Keys {
		if k != r.Key {
			p.line("Key %s", k)
		}
	}
	if r.secondKeyFile != "" {
		p.line("The second key is in %s: move it to another place, offline.", r.secondKeyFile)
	}
	if len(r.Keys) == 1 {
		p.line("It is the only one: %s.", lastKey)
	}
}

type ownerKeysCommand struct{}

// Run lists the keys.
func (*ownerKeysCommand) Run(a *app) error {
	o, err := a.owner()
	if err != nil {
		return err
	}
	return a.show(newOwnerResult(o))
}

type ownerInviteCommand struct {
	Email  string        `arg:"" help:"The address that the new owner will have."`
	Output string        `required:"" placeholder:"FILE" help:"The file to write the invitation to, mode 0600, which must not exist."`
	TTL    time.Duration `name:"ttl" default:"24h" placeholder:"DURATION" help:"How long it is good for, at most 720h: ${default}."`
}

// invitationResult is an invitation; the secret itself is in its file only.
type invitationResult struct {
	File string `json:"file"`
	// Key is its public half.
	Key    string    `json:"key"`
	Email  string    `json:"email"`
	Expiry time.Time `json:"expiry"`
}

// Run makes the invitation.
func (c *ownerInviteCommand) Run(ctx context.Context, a *app) error {
	if c.TTL <= 0 {
		return usage("--ttl", "an invitation is good for some time, at most 720h")
	}
	if err := secretFile("--output", c.Output); err != nil {
		return err
	}
	o, err := a.owner()
	if err != nil {
		return err
	}
	i, err := o.Invite(ctx, c.Email, c.TTL)
	if err != nil {
		return unmoved(err)
	}
	if err := i.WriteFile(c.Output); err != nil {
		return unwritable(c.Output, err)
	}
	return a.show(&invitationResult{File: c.Output, Key: keyText(i.Key[:]), Email: i.Email, Expiry: i.Expiry.UTC()})
}

func (r *invitationResult) people(p *printer) {
	p.line("%s makes %s an owner, once, until %s.", r.File, r.Email, timeText(r.Expiry))
	p.line("Bring it there as you would a password: halfkey owner init --code-file FILE")
	p.line("The new owner has agents and guard rails of its own, and no power over yours.")
}

type ownerClaimCommand struct {
	Code string `arg:"" help:"The claim code, as the agent printed it."`
	Yes  bool   `help:"Claim without asking."`
}

// claimResult is a wallet that was claimed.
type claimResult struct {
	Wallet     string `json:"wallet"`
	Handle     string `json:"handle"`
	GroupKey   string `json:"group_key"`
	RequestKey string `json:"request_key"`
	// OwnerEmail is the address that the agent named.
	OwnerEmail string `json:"owner_email"`
	// Code is the claim code.
	Code string `json:"code"`
}

// Run shows what the code stands for and claims it.
func (c *ownerClaimCommand) Run(ctx context.Context, a *app) error {
	o, err := a.owner()
	if err != nil {
		return err
	}
	claim, err := o.LookUp(ctx, c.Code)
	if err != nil {
		return hinted(err, typev1.Reason_REASON_NOT_FOUND,
			"compare the code with the agent's own screen; a registration that nobody claims ends after 24 hours, and its agent registers again")
	}
	r := &claimResult{
		Wallet: claim.Wallet, Handle: handleText(claim.Handle), GroupKey: keyText(claim.GroupKey[:]), RequestKey: keyText(claim.RequestKey[:]),
		OwnerEmail: claim.OwnerEmail, Code: claim.Code,
	}
	if claim.State != typev1.WalletState_WALLET_STATE_ACTIVE {
		err := a.confirm(c.Yes, "Claim %s, wallet %s, key %s, registered for %s?", r.Handle, r.Wallet, r.GroupKey, r.OwnerEmail)
		if err != nil {
			return err
		}
	}
	if err := o.ClaimWallet(ctx, claim); err != nil {
		return unmoved(err)
	}
	return a.show(r)
}

func (r *claimResult) people(p *printer) {
	p.line("%s is yours: %s", r.Handle, r.Wallet)
	p.line("Key %s", r.GroupKey)
	p.line("It pays nothing until you set its guard rails: halfkey guardrails set %s --auto-approve 5 --daily 50 --hard-cap 100 --allow RECIPIENT", r.Handle)
	p.line("If its agent is ever lost, what it holds is lost too, unless you have made a recovery share before: halfkey recovery create %s FILE --passphrase-file FILE", r.Handle)
}

// confirm asks a person before a step, unless the command line says yes already. Without a terminal it has to.
func (a *app) confirm(yes bool, question string, args ...any) error {
	if yes {
		return nil
	}
	ok, err := a.ask(question, args...)
	switch {
	case errors.Is(err, errNoTerminal):
		return usage("--yes", "a person is asked first, and standard input is no terminal: look at what it is about, then add --yes")
	case err != nil:
		return err
	case !ok:
		return localError(typev1.Reason_REASON_WRONG_STATE, "not done: the answer was not yes", "run the command again if you change your mind")
	default:
		return nil
	}
}

// ownedWallet turns the handle of one of the owner's wallets into the wallet's name; any other name stays.
func (a *app) ownedWallet(ctx context.Context, o *client.Owner, name string) (string, error) {
	switch _, err := resource.ParseWallet(name); {
	case name == "" || err == nil:
		return name, nil
	case name[0] != '@' || resource.ValidHandle(name[1:]) != nil:
		return "", usage("wallet", "a wallet is wallets/{wallet} or @handle", "value", shorten(name))
	}
	wallets, err := o.Wallets(ctx)
	if err != nil {
		return "", unmoved(err)
	}
	for _, w := range wallets {
		if "@"+w.Handle == name {
			return w.Wallet, nil
		}
	}
	return "", localError(typev1.Reason_REASON_NOT_FOUND, "the owner has no wallet of this handle", "look at `halfkey agents list`", "wallet", shorten(name))
}
