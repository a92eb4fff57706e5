package main

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/halfkey/halfkey/client"
)

type ownerRotateCommand struct {
	Renew  bool     `help:"Replace this home's key by a new one."`
	Add    []string `placeholder:"KEY" sep:"none" help:"Take in a key that was made elsewhere, by its public half: 64 hexadecimal digits. Repeat for more."`
	Remove []string `placeholder:"KEY" sep:"none" help:"End a key that was lost or leaked."`
	Yes    bool     `help:"Rotate without asking."`
}

// rotatedWallet is one wallet of a rotation.
type rotatedWallet struct {
	Wallet string `json:"wallet"`
	Handle string `json:"handle"`
	// Number is the version of the guard rails that names the new keys; 0 if there is none yet.
	Number uint64 `json:"number"`
	// Problem says why there is none; empty if there is one.
	Problem string `json:"problem"`
}

// rotationResult is how far a change of the owner's keys has come.
type rotationResult struct {
	// Keys are the owner's keys after it.
	Keys    []string        `json:"keys"`
	Wallets []rotatedWallet `json:"wallets"`
	// Done says that every wallet has them.
	Done bool `json:"done"`
	// FrozenAgain are the freezes of all wallets that stop them again, because the key that signed their end counts no longer.
	FrozenAgain []string `json:"frozen_again"`
}

// Run rotates the keys of all wallets, or goes on with a rotation that stopped.
func (c *ownerRotateCommand) Run(ctx context.Context, a *app) error {
	options := client.RotateOptions{Renew: c.Renew}
	var err error
	if options.Add, err = publicKeys("--add", c.Add); err != nil {
		return err
	}
	if options.Remove, err = publicKeys("--remove", c.Remove); err != nil {
		return err
	}
	o, err := a.owner()
	if err != nil {
		return err
	}
	if in, out := c.counts(); in+out > 0 {
		if err := a.confirm(c.Yes, "Change the owner keys of all wallets of %s: %d in, %d out?", o.Name(), in, out); err != nil {
			return err
		}
	}
	r, err := o.RotateKeys(ctx, options)
	if r == nil {
		return notOwned(err)
	}
	out := &rotationResult{Keys: []string{}, Wallets: []rotatedWallet{}, Done: err == nil}
	for _, k := range r.Keys {
		out.Keys = append(out.Keys, keyText(k))
	}
	for _, w := range r.Wallets {
		e := rotatedWallet{Wallet: w.Wallet, Handle: handleText(w.Handle), Number: w.Number}
		switch {
		case w.Foreign:
			e.Problem = "its guard rails name no key of this home"
		case w.Err != nil:
			e.Problem = w.Err.Error()
		}
		out.Wallets = append(out.Wallets, e)
	}
	var said *client.Error
	if errors.As(err, &said) {
		a.code = exitCode(said.Reason, said.MoneyMoved)
	}
	if out.FrozenAgain, err = a.frozenAgain(ctx, r.Wallets); err != nil {
		a.note("whether a freeze of all wallets stops them again could not be read: see `halfkey agents list`")
	}
	return a.show(out)
}

// frozenAgain are the freezes of all the owner's wallets whose end was signed by a key that no longer counts: they stop the wallets
// again, because whoever took the key may have signed it.
func (a *app) frozenAgain(ctx context.Context, wallets []client.RotatedWallet) ([]string, error) {
	ids := []string{}
	o, err := a.owner() // By the keys after the rotation.
	if err != nil {
		return ids, err
	}
	for _, w := range wallets {
		if w.Foreign || w.Err != nil {
			continue
		}
		head, err := o.GuardRails(ctx, w.Wallet)
		if err != nil {
			return ids, err
		}
		freezes, _, err := o.Freezes(ctx, w.Wallet)
		if err != nil {
			return ids, err
		}
		for _, f := range freezes {
			if len(f.GetUnfreezes()) > 0 && !freezeEnded(f, head.Document) {
				ids = with(ids, f.GetFreezeId())
			}
		}
	}
	return ids, nil
}

// counts are how many keys come in and go out; one that is renewed is one of each.
func (c *ownerRotateCommand) counts() (in, out int) {
	in, out = len(c.Add), len(c.Remove)
	if c.Renew {
		in, out = in+1, out+1
	}
	return in, out
}

// notOwned names the flag that a key came by which is none of the owner's.
func notOwned(err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Metadata["field"] != "remove" || e.Metadata["present"] == "" {
		return unmoved(err)
	}
	return usage("--remove", "the owner has no such key, and no key was changed: its keys are "+e.Metadata["present"], "key", e.Metadata["key"])
}

func publicKeys(field string, texts []string) ([][32]byte, error) {
	var keys [][32]byte
	for _, text := range texts {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != 32 {
			return nil, usage(field, "a public key is 64 hexadecimal digits", "value", shorten(text))
		}
		keys = append(keys, [32]byte(key))
	}
	return keys, nil
}

func (r *rotationResult) people(p *printer) {
	for _, k := range r.Keys {
		p.line("Key %s", k)
	}
	for _, w := range r.Wallets {
		if w.Problem == "" {
			p.line("%s has them, by guard rails number %d.", w.Handle, w.Number)
		} else {
			p.line("%s does not have them: %s.", w.Handle, w.Problem)
		}
	}
	for _, id := range r.FrozenAgain {
		p.line("FROZEN again: the end of freeze %[1]s was signed by a key that counts no longer. If you ended it: halfkey unfreeze --all --id %[1]s", id)
	}
	if !r.Done {
		p.line("The rotation is open. `halfkey owner rotate` goes on with it.")
	}
}

type agentsRotateCommand struct {
	Offer string `arg:"" help:"The offer of a new request key, taken from the agent's own screen: 'halfkey offer' prints it."`
}

// Run puts an agent's new request key in force, without new shares.
func (c *agentsRotateCommand) Run(ctx context.Context, a *app) error {
	offer, err := client.ParseOffer(c.Offer)
	if err != nil {
		return err
	}
	o, err := a.owner()
	if err != nil {
		return err
	}
	v, err := o.RotateRequestKey(ctx, offer)
	if err != nil {
		return unmoved(err)
	}
	return a.show(&requestKeyResult{Wallet: v.Wallet, Number: v.Number, RequestKey: keyText(offer.RequestKey[:])})
}

// requestKeyResult is a request key that was put in force.
type requestKeyResult struct {
	Wallet     string `json:"wallet"`
	Number     uint64 `json:"number"`
	RequestKey string `json:"request_key"`
}

func (r *requestKeyResult) people(p *printer) {
	p.line("%s: guard rails number %d name the new request key. The one before signs nothing any more.", r.Wallet, r.Number)
	p.line("If the agent's share may have leaked as well, make new shares: halfkey refresh OFFER")
}
