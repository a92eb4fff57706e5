package main

import (
	"context"

	"github.com/halfkey/halfkey/client"
)

// offerCommand is `halfkey offer`.
type offerCommand struct {
	Again bool `help:"Make another key although one is offered already: for when the home may have been copied since."`
}

// offerResult is a request key that an agent offers to its owner.
type offerResult struct {
	Wallet string `json:"wallet"`
	// RequestKey is the public half of the new key.
	RequestKey string `json:"request_key"`
	// Offer is the text that the owner takes.
	Offer string `json:"offer"`
}

// Run makes the offer.
func (c *offerCommand) Run(ctx context.Context, a *app) error {
	agent, err := a.agent()
	if err != nil {
		return err
	}
	o, err := agent.Offer(ctx, client.OfferOptions{Again: c.Again})
	if err != nil {
		return unmoved(err)
	}
	return a.show(&offerResult{Wallet: o.Wallet, RequestKey: keyText(o.RequestKey[:]), Offer: o.String()})
}

func (r *offerResult) people(p *printer) {
	p.line("%s", r.Offer)
	p.line("The owner takes this offer from this screen: halfkey refresh OFFER. Then run: halfkey reshare")
}

// reshareCommand is `halfkey reshare`.
type reshareCommand struct{}

// resharingResult is how far new shares of a wallet's key have come.
type resharingResult struct {
	Wallet string `json:"wallet"`
	// State is ORDERED, STARTED, RECOVERY_PENDING or DONE.
	State string `json:"state"`
	Epoch uint64 `json:"epoch"`
	// Recovery says that the sharing has a recovery share.
	Recovery bool `json:"recovery"`
}

// Run carries the order out.
func (*reshareCommand) Run(ctx context.Context, a *app) error {
	agent, err := a.agent()
	if err != nil {
		return err
	}
	r, err := agent.Reshare(ctx)
	return a.showResharing(r, err)
}

// refreshCommand is `halfkey refresh`.
type refreshCommand struct {
	Offer string `arg:"" help:"The offer, taken from the agent's own screen."`
}

// Run orders new shares as the owner.
func (c *refreshCommand) Run(ctx context.Context, a *app) error {
	offer, err := client.ParseOffer(c.Offer)
	if err != nil {
		return err
	}
	owner, err := a.owner()
	if err != nil {
		return err
	}
	r, err := owner.Refresh(ctx, offer)
	return a.showResharing(r, err)
}

// showResharing shows how far new shares have come.
func (a *app) showResharing(r *client.Resharing, err error) error {
	if err != nil {
		return unmoved(err)
	}
	return a.show(newResharingResult(r))
}

func newResharingResult(r *client.Resharing) *resharingResult {
	return &resharingResult{Wallet: r.Wallet, State: enumText(r.State, "RESHARING_STATE_"), Epoch: r.Epoch, Recovery: r.Recovery}
}

func (r *resharingResult) people(p *printer) {
	p.line("%s: sharing number %d is %s.", r.Wallet, r.Epoch, r.State)
	switch r.State {
	case "ORDERED", "STARTED":
		p.line("The agent carries it out: halfkey reshare")
	case "RECOVERY_PENDING":
		p.line("The new shares are in force. Until the owner has opened the recovery share, older shares of agent and owner together still sign.")
	case "DONE":
		p.line("The new shares are in force, and older ones sign nothing.")
	}
}
