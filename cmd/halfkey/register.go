package main

import (
	"context"
	"errors"
	"time"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// registerCommand is `halfkey register`.
type registerCommand struct {
	Name   string `required:"" placeholder:"NAME" help:"What the agent is called, for people: at most 64 bytes."`
	Owner  string `placeholder:"EMAIL" help:"Who shall claim the wallet; a token's owner by default."`
	Handle string `placeholder:"HANDLE" help:"The agent's handle; made from --name by default."`
	Token  string `name:"enrolment-token-file" placeholder:"FILE" help:"The owner's one-time token: a file of mode 0600, or - for standard input. The wallet is claimed by it at once."`
	Again  bool   `help:"Begin a new registration although this home has ended one for the same handle and owner, which was not claimed in time."`
	Wait   bool   `help:"Wait until the owner has claimed the wallet."`
}

// registeredResult is a wallet that was registered.
type registeredResult struct {
	Wallet string `json:"wallet"`
	Handle string `json:"handle"`
	// ClaimCode is what the owner claims the wallet by.
	ClaimCode string `json:"claim_code"`
	GroupKey  string `json:"group_key"`
	// State is the wallet's: UNCLAIMED, or ACTIVE once it was claimed.
	State string `json:"state"`

	owner string
}

// claimPoll is how often a waiting registration asks whether it was claimed: a person types meanwhile.
const claimPoll = 2 * time.Second

// noHandle says which flag gives a handle, where none could be made from the name.
func (c *registerCommand) noHandle(err error) error {
	var e *client.Error
	if errors.As(err, &e) && e.Reason == typev1.Reason_REASON_INVALID_ARGUMENT && e.Metadata["field"] == "handle" && c.Handle == "" {
		return hinted(err, e.Reason, "no handle can be made from this name: give one by --handle")
	}
	return unmoved(err)
}

// Run registers, and waits if it shall.
func (c *registerCommand) Run(ctx context.Context, a *app) error {
	cl, err := a.client()
	if err != nil {
		return err
	}
	options := client.RegisterOptions{Name: c.Name, Handle: trimAt(c.Handle), OwnerEmail: c.Owner, Again: c.Again}
	state := typev1.WalletState_WALLET_STATE_UNCLAIMED
	switch {
	case c.Token != "":
		token, err := a.secretText("--enrolment-token-file", c.Token)
		if err != nil {
			return err
		}
		defer clear(token)
		options.EnrolmentToken, state = client.Secret(token), typev1.WalletState_WALLET_STATE_ACTIVE
	case c.Owner == "":
		return usage("--owner", "nobody would claim the wallet: give its owner's address, or a token by which it is claimed")
	}
	if c.Name == "" {
		return usage("--name", "an agent has a name, for people")
	}
	r, err := cl.Register(ctx, options)
	if err != nil {
		return c.noHandle(err)
	}
	out := &registeredResult{
		Wallet: r.Wallet, Handle: handleText(r.Handle), ClaimCode: r.ClaimCode, GroupKey: keyText(r.GroupKey[:]),
		State: walletState(state), owner: c.Owner,
	}
	if !c.Wait || c.Token != "" {
		return a.show(out)
	}
	agent, err := cl.Agent(r.Wallet)
	if err != nil {
		return unmoved(err)
	}
	a.note("waiting for %s to run: halfkey owner claim %s", c.Owner, r.ClaimCode)
	state, err = waitForClaim(ctx, agent)
	if state == typev1.WalletState_WALLET_STATE_UNSPECIFIED {
		return unmoved(err)
	}
	out.State = walletState(state)
	switch state {
	case typev1.WalletState_WALLET_STATE_UNCLAIMED:
		a.code = exitPerson
	case typev1.WalletState_WALLET_STATE_ENDED:
		a.code = exitRefused
	}
	return a.show(out)
}

// waitForClaim asks until the wallet is no longer UNCLAIMED or ctx ends, and returns the last state that was learned.
func waitForClaim(ctx context.Context, agent *client.Agent) (typev1.WalletState, error) {
	last := typev1.WalletState_WALLET_STATE_UNSPECIFIED
	tick := time.NewTicker(claimPoll)
	defer tick.Stop()
	for {
		state, err := agent.State(ctx)
		switch {
		case err == nil:
			if last = state; state != typev1.WalletState_WALLET_STATE_UNCLAIMED {
				return state, nil
			}
		case client.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE || ctx.Err() != nil:
			return last, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
}

func trimAt(handle string) string {
	if len(handle) > 0 && handle[0] == '@' {
		return handle[1:]
	}
	return handle
}

func (r *registeredResult) people(p *printer) {
	p.line("Wallet %s of %s", r.Wallet, r.Handle)
	p.line("Key    %s", r.GroupKey)
	switch r.State {
	case "ACTIVE":
		p.line("It is claimed. It pays once its owner has set guard rails.")
	case "ENDED":
		p.line("Nobody claimed it within 24 hours. Register again with --again.")
	default:
		p.line("Claim code: %s", r.ClaimCode)
		p.line("%s claims it within 24 hours: halfkey owner claim %s", r.owner, r.ClaimCode)
	}
}
