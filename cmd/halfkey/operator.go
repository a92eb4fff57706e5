package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/halfkey/halfkey/client"
)

// operatorCommands are `halfkey operator`.
type operatorCommands struct {
	Key string `required:"" placeholder:"FILE" help:"The operator's key: a file of mode 0600 with 64 hexadecimal digits, or - for standard input."`

	Deposit    depositCommand          `cmd:"" help:"Issue book dollars to a wallet."`
	Redeem     redeemCommand           `cmd:"" help:"State that a payment to the redemption account was paid out."`
	Freeze     operatorFreezeCommand   `cmd:"" help:"Stop the whole installation."`
	Unfreeze   operatorUnfreezeCommand `cmd:"" help:"End a freeze of the installation."`
	AcceptLoss acceptLossCommand       `cmd:"" help:"Accept that the ledger has lost entries of a wallet's journal, after a restore."`
	SetTime    setTimeCommand          `cmd:"" help:"Set a wallet's time back to the present, after the ledger's clock had jumped ahead."`
}

// operator reads the key.
func (c *operatorCommands) operator(a *app) (*client.Operator, *client.Client, error) {
	cl, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	key, err := a.signingKey("--key", c.Key)
	if err != nil {
		return nil, nil, err
	}
	return cl.Operator(key), cl, nil
}

type depositCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle."`
	typedAmount
	ID *string `name:"id" placeholder:"ID" help:"The deposit's id, which counts once: choose it by the transfer that came in. Drawn by default."`
}

// Run issues.
func (c *depositCommand) Run(ctx context.Context, a *app, o *operatorCommands) error {
	units, err := c.units()
	if err != nil {
		return err
	}
	id, err := chosenID(c.ID)
	if err != nil {
		return err
	}
	operator, cl, err := o.operator(a)
	if err != nil {
		return err
	}
	wallet, err := operator.Wallet(ctx, c.Name)
	if err != nil {
		return unknownWallet(err, c.Name)
	}
	acc, err := operator.Deposit(ctx, wallet, id, units)
	if err != nil {
		var e *client.Error
		if errors.As(err, &e) && e.MoneyMoved != notMoved {
			told := *e
			told.Next = fmt.Sprintf("%s; the same command with --id %s is the same deposit", e.Next, id)
			return &told
		}
		return err
	}
	return a.show(newAccountResult(acc, cl.Installation().ID()).after("Deposit %s is recorded.", id))
}

type redeemCommand struct {
	Payment string `arg:"" complete:"paid" help:"wallets/{wallet}/payments/{payment}."`
}

// Run redeems.
func (c *redeemCommand) Run(ctx context.Context, a *app, o *operatorCommands) error {
	operator, cl, err := o.operator(a)
	if err != nil {
		return err
	}
	acc, err := operator.Redeem(ctx, c.Payment)
	if err != nil {
		return err
	}
	return a.show(newAccountResult(acc, cl.Installation().ID()).after("Redeemed: %s was paid out.", c.Payment))
}

// theInstallation is the subject of an installation-wide freeze.
const theInstallation = "installation"

type operatorFreezeCommand struct {
	ID *string `name:"id" placeholder:"ID" help:"The freeze's id; drawn by default."`
}

// Run freezes.
func (c *operatorFreezeCommand) Run(ctx context.Context, a *app, o *operatorCommands) error {
	id, err := optionalID(c.ID)
	if err != nil {
		return err
	}
	operator, _, err := o.operator(a)
	if err != nil {
		return err
	}
	s, err := operator.Freeze(ctx, id)
	return a.showFreeze(theInstallation, s, err)
}

type operatorUnfreezeCommand struct {
	ID string `arg:"" name:"freeze-id" help:"The id of the freeze to end."`
}

// Run unfreezes.
func (c *operatorUnfreezeCommand) Run(ctx context.Context, a *app, o *operatorCommands) error {
	if err := checkID("FREEZE-ID", c.ID); err != nil {
		return err
	}
	operator, _, err := o.operator(a)
	if err != nil {
		return err
	}
	s, err := operator.Unfreeze(ctx, c.ID)
	if err != nil {
		return unmoved(err)
	}
	return a.showUnfreeze(theInstallation, s, c.ID)
}

type acceptLossCommand struct {
	Name  string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle."`
	Entry uint64 `arg:"" help:"The number of the newest entry that a client has seen."`
	Hash  string `arg:"" help:"Its hash: 64 hexadecimal digits."`
}

// Run accepts the loss.
func (c *acceptLossCommand) Run(ctx context.Context, a *app, o *operatorCommands) error {
	hash, err := hex.DecodeString(c.Hash)
	if err != nil || len(hash) != 32 {
		return usage("HASH", "a hash is 64 hexadecimal digits", "value", shorten(c.Hash))
	}
	operator, cl, err := o.operator(a)
	if err != nil {
		return err
	}
	wallet, err := operator.Wallet(ctx, c.Name)
	if err != nil {
		return err
	}
	acc, err := operator.AcceptLoss(ctx, wallet, c.Entry, hash)
	if err != nil {
		return err
	}
	return a.show(newAccountResult(acc, cl.Installation().ID()).after("The loss is accepted of what a client has seen up to entry %d.", c.Entry))
}

type setTimeCommand struct {
	Name string  `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle."`
	To   string  `placeholder:"TIME" help:"The time, RFC 3339; this machine's by default."`
	ID   *string `name:"id" placeholder:"ID" help:"The statement's id, which counts once; drawn by default."`
}

// Run sets the time.
func (c *setTimeCommand) Run(ctx context.Context, a *app, o *operatorCommands) error {
	to := time.Now()
	if c.To != "" {
		var err error
		if to, err = time.Parse(time.RFC3339, c.To); err != nil {
			return usage("--to", "a time is RFC 3339, like 2026-01-31T15:04:05Z", "value", shorten(c.To))
		}
	}
	id, err := chosenID(c.ID)
	if err != nil {
		return err
	}
	operator, cl, err := o.operator(a)
	if err != nil {
		return err
	}
	wallet, err := operator.Wallet(ctx, c.Name)
	if err != nil {
		return err
	}
	acc, err := operator.SetTime(ctx, wallet, id, to)
	if err != nil {
		return err
	}
	return a.show(newAccountResult(acc, cl.Installation().ID()).after("Its time is %s now.", timeText(to)))
}
