package main

import (
	"context"
	"fmt"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// balanceEntry is one asset of a wallet.
type balanceEntry struct {
	Asset string `json:"asset"`
	// AvailableUnits can be paid; HeldUnits are held by payments that may still settle.
	AvailableUnits string `json:"available_units"`
	HeldUnits      string `json:"held_units"`
	// Available and Held are the same for people.
	Available string `json:"available"`
	Held      string `json:"held"`
	// Network is the chain that it is on, by CAIP-2, and Slot up to which the ledger knows its history there; empty and 0 on the book.
	Network string `json:"network"`
	Slot    uint64 `json:"slot"`
}

// accountResult is what the ledger says of a wallet.
type accountResult struct {
	Wallet   string         `json:"wallet"`
	Balances []balanceEntry `json:"balances"`
	// Address is the wallet's address on Solana, in base58; empty where it is not known.
	Address string `json:"address"`
	// Frozen says that a freeze stops the wallet.
	Frozen bool `json:"frozen"`
	// LedgerTime is when the ledger said it, by its own clock.
	LedgerTime time.Time `json:"ledger_time"`
	// Entry is the number of the wallet's newest journal entry.
	Entry uint64 `json:"entry"`

	did string // What a command has done to the wallet, for people.
}

// after tells what a command has done to the wallet.
func (r *accountResult) after(format string, args ...any) *accountResult {
	r.did = fmt.Sprintf(format, args...)
	return r
}

func newAccountResult(acc *client.Account, installation string) *accountResult {
	r := &accountResult{
		Wallet: acc.Wallet, Balances: []balanceEntry{}, Frozen: acc.Frozen, LedgerTime: acc.Time.UTC(), Entry: acc.Head.GetEntry(),
	}
	for _, b := range acc.Balances {
		r.Balances = append(r.Balances, newBalanceEntry(b, installation))
	}
	return r
}

func newBalanceEntry(b client.Balance, installation string) balanceEntry {
	token, _ := resource.TokenOf(b.Asset)
	return balanceEntry{
		Network: token.Network, Slot: b.Slot,
		Asset: b.Asset, AvailableUnits: resource.FormatUnits(b.Available), HeldUnits: resource.FormatUnits(b.Held),
		Available: formatAmount(b.Available, b.Asset, installation), Held: formatAmount(b.Held, b.Asset, installation),
	}
}

func (r *accountResult) people(p *printer) {
	if r.did != "" {
		p.line("%s", r.did)
	}
	p.line("%s", r.Wallet)
	if len(r.Balances) == 0 {
		p.line("It holds nothing.")
	}
	onChain := ""
	for _, b := range r.Balances {
		p.line("%s available, %s held%s", b.Available, b.Held, b.where())
		if b.Network != "" {
			onChain = networkText(b.Asset)
		}
	}
	if onChain != "" && r.Address != "" {
		p.line("Its address on %s is %s.", onChain, r.Address)
		p.line("%s", feesText)
	}
	if r.Frozen {
		p.line("It is FROZEN: it pays nothing until its owner unfreezes it, or the operator if the whole installation is stopped.")
	}
}

// where says where a balance is, if it is on a chain.
func (b balanceEntry) where() string {
	switch {
	case b.Network == "":
		return ""
	case b.Slot == 0:
		return ", on " + networkText(b.Asset) + ", where the ledger has not looked yet"
	default:
		return fmt.Sprintf(", on %s up to slot %d", networkText(b.Asset), b.Slot)
	}
}

// balanceCommand is `halfkey balance`.
type balanceCommand struct{}

// Run shows what the wallet holds.
func (*balanceCommand) Run(ctx context.Context, a *app) error {
	c, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	acc, err := agent.Account(ctx)
	if err != nil {
		return unmoved(err)
	}
	r, key := newAccountResult(acc, c.Installation().ID()), agent.GroupKey()
	r.Address = addressText(key[:])
	return a.show(r)
}

// whoamiCommand is `halfkey whoami`.
type whoamiCommand struct{}

// whoamiResult is what this home is; it asks nobody.
type whoamiResult struct {
	installationResult
	// Wallet, Handle and GroupKey are the chosen wallet's, empty if the home holds none or does not know which.
	Wallet   string `json:"wallet"`
	Handle   string `json:"handle"`
	GroupKey string `json:"group_key"`
	// Owner is the home's owner, empty if it has none.
	Owner string `json:"owner"`
}

// Run shows it.
func (*whoamiCommand) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	h, err := a.home()
	if err != nil {
		return err
	}
	r := &whoamiResult{installationResult: *newInstallationResult(h.Dir(), c.Installation())}
	name, err := a.wallet(c)
	if err != nil {
		return err
	}
	agent, err := c.Agent(name)
	switch {
	case err == nil:
		key := agent.GroupKey()
		r.Wallet, r.Handle, r.GroupKey = agent.Wallet(), handleText(agent.Handle()), keyText(key[:])
	case name != "" || client.ReasonOf(err) == typev1.Reason_REASON_UNSPECIFIED:
		return unmoved(err)
	}
	owner, err := c.Owner()
	switch {
	case err == nil:
		r.Owner = owner.Name()
	case client.ReasonOf(err) == typev1.Reason_REASON_UNSPECIFIED:
		return unmoved(err)
	}
	return a.show(r)
}

func (r *whoamiResult) people(p *printer) {
	p.line("Home         %s", r.Home)
	p.line("Installation %s, file number %d, digest %s", r.Installation, r.Number, r.Digest)
	if r.Wallet == "" {
		p.line("Wallet       none, or several and none chosen: see `halfkey wallet list`")
	} else {
		p.line("Wallet       %s of %s, key %s", r.Wallet, r.Handle, r.GroupKey)
	}
	if r.Owner != "" {
		p.line("Owner        %s", r.Owner)
	}
}

// clientAgent is agent with its client.
func (a *app) clientAgent() (*client.Client, *client.Agent, error) {
	agent, err := a.agent()
	if err != nil {
		return nil, nil, err
	}
	return a.connected(), agent, nil
}
