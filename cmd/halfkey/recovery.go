package main

import (
	"context"

	"github.com/halfkey/halfkey/client"
)

// recoveryCommands are `halfkey recovery`.
type recoveryCommands struct {
	Create  recoveryCreateCommand  `cmd:"" help:"Give a wallet a recovery share: order it and write its file. The agent carries the order out, then 'open' it."`
	Open    recoveryOpenCommand    `cmd:"" help:"Open the recovery share of the wallet's present sharing into its file, after the agent has carried the order out."`
	GiveUp  recoveryGiveUpCommand  `cmd:"" help:"Give up a recovery share that was never opened, because its file or passphrase was lost."`
	Replace recoveryReplaceCommand `cmd:"" help:"Take a wallet over whose agent was lost: this home becomes its agent, by the recovery share."`
	Exit    recoveryExitCommand    `cmd:"" help:"Pay a token on Solana, or sign any message, with the agent's share and the recovery share, without any service. No guard rail sees it."`
}

// passphraseFlag names where a recovery file's passphrase is.
type passphraseFlag struct {
	PassphraseFile string `required:"" placeholder:"FILE" help:"The file's passphrase, one line of at least 12 bytes: a file of mode 0600, or - for standard input."`
}

func (f passphraseFlag) read(a *app) ([]byte, error) {
	return a.secret("--passphrase-file", f.PassphraseFile)
}

type recoveryCreateCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	File string `arg:"" help:"The recovery file to write; keep it offline, never on the agent's machine."`
	passphraseFlag
}

// Run orders the enrolment.
func (c *recoveryCreateCommand) Run(ctx context.Context, a *app) error {
	if err := secretFile("FILE", c.File); err != nil {
		return err
	}
	return a.withPassphrase(ctx, c.passphraseFlag, c.Name, func(o *client.Owner, wallet string, passphrase []byte) error {
		r, err := o.CreateRecovery(ctx, wallet, c.File, passphrase)
		return a.showResharing(r, err)
	})
}

// withPassphrase runs a step of the owner on a wallet with a recovery file's passphrase, which the step wipes.
func (a *app) withPassphrase(ctx context.Context, f passphraseFlag, name string, step func(*client.Owner, string, []byte) error) error {
	o, wallet, err := a.ownerWallet(ctx, name)
	if err != nil {
		return err
	}
	passphrase, err := f.read(a)
	if err != nil {
		return err
	}
	return step(o, wallet, passphrase)
}

type recoveryOpenCommand struct {
	File string `arg:"" help:"The recovery file."`
	passphraseFlag
}

// Run opens the share.
func (c *recoveryOpenCommand) Run(ctx context.Context, a *app) error {
	return a.withPassphrase(ctx, c.passphraseFlag, "", func(o *client.Owner, _ string, passphrase []byte) error {
		r, err := o.OpenRecovery(ctx, c.File, passphrase)
		return a.showResharing(r, err)
	})
}

type recoveryGiveUpCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	Yes  bool   `help:"Give up without asking."`
}

// Run gives it up.
func (c *recoveryGiveUpCommand) Run(ctx context.Context, a *app) error {
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	if err := a.confirm(c.Yes, "Give up the recovery share of %s? Until you create another, an agent that is lost takes what it holds with it.", wallet); err != nil {
		return err
	}
	r, err := o.GiveUpRecovery(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	return a.show(givenUpResult{newResharingResult(r)})
}

// givenUpResult is a sharing whose recovery share nobody waits for any more. A repeat cannot tell whether it was given up or opened.
type givenUpResult struct{ *resharingResult }

func (r givenUpResult) people(p *printer) {
	r.resharingResult.people(p)
	p.line("A recovery share of it that was never opened is given up. One that was opened works on; making another ends it:")
	p.line("halfkey recovery create %s FILE --passphrase-file FILE", r.Wallet)
}

type recoveryReplaceCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	File string `arg:"" help:"The recovery file, which is rewritten."`
	passphraseFlag
}

// Run takes the wallet over.
func (c *recoveryReplaceCommand) Run(ctx context.Context, a *app) error {
	return a.withPassphrase(ctx, c.passphraseFlag, c.Name, func(o *client.Owner, wallet string, passphrase []byte) error {
		agent, err := o.Replace(ctx, wallet, c.File, passphrase)
		if err != nil {
			return unmoved(err)
		}
		key := agent.GroupKey()
		return a.show(&takenOverResult{Wallet: agent.Wallet(), Handle: handleText(agent.Handle()), GroupKey: keyText(key[:])})
	})
}

// takenOverResult is a wallet whose agent this home has become.
type takenOverResult struct {
	Wallet   string `json:"wallet"`
	Handle   string `json:"handle"`
	GroupKey string `json:"group_key"`
}

func (r *takenOverResult) people(p *printer) {
	p.line("This home is now the agent of %s, %s.", r.Handle, r.Wallet)
	p.line("Key %s, as before. What the old agent holds signs nothing any more.", r.GroupKey)
}
