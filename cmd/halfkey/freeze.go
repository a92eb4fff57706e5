package main

import (
	"context"

	"github.com/halfkey/halfkey/client"
)

// freezeCommand is `halfkey freeze`.
type freezeCommand struct {
	Name string  `arg:"" optional:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets. Without it an agent stops its own."`
	All  bool    `help:"Stop all the owner's wallets."`
	ID   *string `name:"id" placeholder:"ID" help:"The freeze's id, for repeating it and for ending it; drawn by default."`
}

// freezeResult is what ledger and co-signer have signed about a freeze.
type freezeResult struct {
	// Subject is what is stopped: a wallet, an owner or the installation.
	Subject  string `json:"subject"`
	FreezeID string `json:"freeze_id"`
	// Frozen says whether the subject is stopped now.
	Frozen bool `json:"frozen"`
	// Unresolved are AUTHORIZED payments that may still land on a chain.
	Unresolved []string `json:"unresolved"`

	// ended are the freezes that the command has ended.
	ended []string
}

// Run freezes.
func (c *freezeCommand) Run(ctx context.Context, a *app) error {
	id, err := optionalID(c.ID)
	if err != nil {
		return err
	}
	if c.All && c.Name != "" {
		return usage("--all", "name a wallet, or --all")
	}
	if c.All {
		owner, err := a.owner()
		if err != nil {
			return err
		}
		s, err := owner.FreezeAll(ctx, id)
		return a.showFreeze(owner.Name(), s, err)
	}
	if c.Name != "" {
		owner, wallet, err := a.ownerWallet(ctx, c.Name)
		if err != nil {
			return err
		}
		s, err := owner.Freeze(ctx, wallet, id)
		return a.showFreeze(wallet, s, err)
	}
	agent, err := a.agent()
	if err != nil {
		return err
	}
	s, err := agent.Freeze(ctx, id)
	return a.showFreeze(agent.Wallet(), s, err)
}

// optionalID is an id that the command line gives, or empty for one that is drawn.
func optionalID(given *string) (string, error) {
	if given == nil {
		return "", nil
	}
	return chosenID(given)
}

func (a *app) showFreeze(subject string, s *client.FreezeStatus, err error) error {
	if err != nil {
		return unmoved(err)
	}
	return a.show(newFreezeResult(subject, s))
}

// showUnfreeze shows what a subject is after some of its freezes have ended.
func (a *app) showUnfreeze(subject string, s *client.FreezeStatus, ended ...string) error {
	r := newFreezeResult(subject, s)
	r.ended = ended
	return a.show(r)
}

func newFreezeResult(subject string, s *client.FreezeStatus) *freezeResult {
	r := &freezeResult{Subject: subject, FreezeID: s.FreezeID, Frozen: s.Frozen, Unresolved: s.Unresolved}
	if r.Unresolved == nil {
		r.Unresolved = []string{}
	}
	return r
}

func (r *freezeResult) people(p *printer) {
	switch {
	case r.Frozen && len(r.ended) > 0:
		p.line("%s is still FROZEN, by another freeze.", r.Subject)
	case r.Frozen:
		p.line("%s is FROZEN: ledger and co-signer have both signed it.", r.Subject)
	default:
		p.line("%s is not frozen.", r.Subject)
	}
	for _, id := range r.ended {
		p.line("Not in force: %s", id)
	}
	if len(r.ended) == 0 {
		p.line("Freeze id: %s", r.FreezeID)
	}
	for _, name := range r.Unresolved {
		p.line("May still land on a chain: %s", name)
	}
}
