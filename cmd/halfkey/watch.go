package main

import (
	"cmp"
	"context"
	"iter"

	"github.com/halfkey/halfkey/client"
)

// paymentWatchCommand is `halfkey payments watch`: of one payment, or of every change.
type paymentWatchCommand struct {
	Payment  *string `arg:"" optional:"" complete:"payment" help:"The payment's id, or its name. Without it every change of state is printed, and nothing is continued or paid, until --timeout or an interrupt ends that."`
	As       string  `enum:"agent,owner" default:"agent" help:"Whose changes: the agent's wallet's, or those of all wallets of this home's owner, or with --wallet of one of them: ${enum}."`
	Incoming bool    `help:"Watch what comes in instead."`
	After    string  `placeholder:"TOKEN" help:"Print the changes after this one, which none is missing from: its token, as --json prints it. By default those from now on."`
}

// changeResult is one change of a payment's state.
type changeResult struct {
	// Token goes on after this change, by --after: keep it once the change has been dealt with.
	Token string `json:"token"`
	// Payment is the payment as the change left it; null in the first line without --after, which says where now is.
	Payment *paymentResult `json:"payment"`

	several bool // The payments are of several wallets.
}

// Run waits for a payment, and its exit code is that of `pay`, or follows them all.
func (c *paymentWatchCommand) Run(ctx context.Context, a *app) error {
	switch {
	case c.Payment == nil:
		return c.follow(ctx, a)
	case c.As != "agent" || c.Incoming || c.After != "":
		return usage("PAYMENT", "--as owner, --incoming and --after are for watching every change: name no payment")
	}
	one := onePayment{*c.Payment}
	return one.show(ctx, a, func(agent *client.Agent) (*client.Payment, error) {
		p, err := agent.Resume(ctx, one.Payment)
		if err != nil {
			return nil, err
		}
		return a.await(ctx, agent, p)
	}, true)
}

// follow prints changes until the command is ended, which is how it is done.
func (c *paymentWatchCommand) follow(ctx context.Context, a *app) error {
	changes, wallet, err := c.changes(ctx, a)
	if err != nil {
		return err
	}
	token := c.After
	for change, err := range changes {
		if err != nil && ctx.Err() != nil {
			break
		}
		if err != nil {
			return unmoved(err)
		}
		r := &changeResult{Token: change.Token, several: c.Incoming || wallet == ""}
		if change.Payment != nil {
			r.Payment = newPaymentResult(change.Payment, a.connected())
		}
		if err := a.show(r); err != nil {
			return err
		}
		token = change.Token
	}
	a.note("to go on from here: --after %s", token)
	return nil
}

// changes begins the stream. It asks about the account first: a stream comes back by itself after an outage, and would be silent
// about a gateway that was never there, or a wallet that is another's.
func (c *paymentWatchCommand) changes(ctx context.Context, a *app) (iter.Seq2[*client.Change, error], string, error) {
	o := client.WatchOptions{Token: c.After, Incoming: c.Incoming}
	if c.As == "agent" {
		agent, err := a.agent()
		if err != nil {
			return nil, "", err
		}
		_, err = agent.Account(ctx)
		return agent.Watch(ctx, o), agent.Wallet(), unmoved(err)
	}
	owner, wallet, err := a.ownerWallet(ctx, a.globals.Wallet)
	switch {
	case err != nil:
		return nil, "", err
	case wallet == "":
		_, err = owner.Wallets(ctx)
	default:
		_, err = owner.Account(ctx, wallet)
	}
	o.Wallet = wallet
	return owner.Watch(ctx, o), wallet, unmoved(err)
}

func (r *changeResult) people(p *printer) {
	l := r.Payment
	if l == nil {
		return
	}
	id := l.ID
	if r.several {
		id = l.Name
		if l.Handle != "" {
			id = l.Handle + " " + id
		}
	}
	p.line("%s %s: %s to %s", id, l.State, l.Amount, cmp.Or(l.Recipient, "key "+l.shownKey()))
}
