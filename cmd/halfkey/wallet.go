package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// walletCommands are `halfkey wallet`.
type walletCommands struct {
	List walletListCommand `cmd:"" help:"List the wallets whose share this home holds; asks nobody."`
	Show walletShowCommand `cmd:"" help:"Show one wallet, as the directory has it."`
	Use  walletUseCommand  `cmd:"" help:"Choose the wallet that commands use when none is named."`
}

// walletEntry is one wallet of the home.
type walletEntry struct {
	Wallet string `json:"wallet"`
	// Handle and GroupKey are empty while the wallet's registration or taking over has not ended.
	Handle   string `json:"handle"`
	GroupKey string `json:"group_key"`
	// Unfinished says why the wallet cannot be used yet; empty if it can.
	Unfinished string `json:"unfinished"`
	// Chosen says that `wallet use` chose it.
	Chosen bool `json:"chosen"`
}

type walletListResult struct {
	Wallets []walletEntry `json:"wallets"`
}

type walletListCommand struct{}

// Run lists them.
func (*walletListCommand) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	h, err := a.home()
	if err != nil {
		return err
	}
	chosen, err := h.Pinned(walletChoice)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unmoved(err)
	}
	wallets, err := c.Wallets()
	if err != nil {
		return unmoved(err)
	}
	r := &walletListResult{Wallets: []walletEntry{}}
	for _, w := range wallets {
		e := walletEntry{Wallet: w, Chosen: w == string(chosen)}
		agent, err := c.Agent(w)
		var said *client.Error
		switch {
		case err == nil:
			key := agent.GroupKey()
			e.Handle, e.GroupKey = handleText(agent.Handle()), keyText(key[:])
		case client.ReasonOf(err) == typev1.Reason_REASON_NOT_ACTIVE && errors.As(err, &said):
			e.Unfinished = said.Message
		default:
			return unmoved(err)
		}
		r.Wallets = append(r.Wallets, e)
	}
	return a.show(r)
}

func (r *walletListResult) people(p *printer) {
	if len(r.Wallets) == 0 {
		p.line("This home holds no wallet: run `halfkey register`.")
		return
	}
	rows := [][]string{{"", "WALLET", "HANDLE", "KEY"}}
	for _, w := range r.Wallets {
		mark, handle := "", w.Handle
		if w.Chosen {
			mark = "*"
		}
		if w.Unfinished != "" {
			handle = w.Unfinished
		}
		rows = append(rows, []string{mark, w.Wallet, handle, w.GroupKey})
	}
	p.table(rows)
}

// walletResult is one wallet.
type walletResult struct {
	Wallet   string `json:"wallet"`
	Handle   string `json:"handle"`
	GroupKey string `json:"group_key"`
	// Address is the same key as the wallet's address on Solana, in base58: whoever sends tokens to it sends them to the wallet.
	Address string `json:"address"`
	// State is UNCLAIMED, ACTIVE or ENDED.
	State string `json:"state"`
}

type walletShowCommand struct {
	Name string `arg:"" optional:"" complete:"wallet" help:"wallets/{wallet} or @handle of this home; the chosen one by default."`
}

// Run shows one.
func (c *walletShowCommand) Run(ctx context.Context, a *app) error {
	if c.Name != "" {
		a.globals.Wallet = c.Name
	}
	agent, err := a.agent()
	if err != nil {
		return err
	}
	state, err := agent.State(ctx)
	if err != nil {
		return unmoved(err)
	}
	key := agent.GroupKey()
	return a.show(&walletResult{Wallet: agent.Wallet(), Handle: handleText(agent.Handle()), GroupKey: keyText(key[:]), Address: addressText(key[:]), State: walletState(state)})
}

func (r *walletResult) people(p *printer) {
	p.line("Wallet  %s", r.Wallet)
	p.line("Handle  %s", r.Handle)
	p.line("Key     %s", r.GroupKey)
	p.line("Address %s, the same key on Solana", r.Address)
	p.line("State   %s", r.State)
}

type walletUseCommand struct {
	Name string `arg:"" complete:"wallet" help:"wallets/{wallet} or @handle of this home."`
}

type walletUseResult struct {
	Wallet string `json:"wallet"`
}

// Run chooses one.
func (c *walletUseCommand) Run(a *app) error {
	a.globals.Wallet = c.Name
	agent, err := a.agent()
	if err != nil {
		return err
	}
	h, err := a.home()
	if err != nil {
		return err
	}
	if err := h.Pin(walletChoice, []byte(agent.Wallet())); err != nil {
		return unmoved(err)
	}
	return a.show(&walletUseResult{Wallet: agent.Wallet()})
}

func (r *walletUseResult) people(p *printer) {
	p.line("Commands now use %s where no other wallet is named.", r.Wallet)
}
