package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// agentsCommands are `halfkey agents`.
type agentsCommands struct {
	List    agentsListCommand    `cmd:"" help:"List the owner's agents."`
	Show    agentsShowCommand    `cmd:"" help:"Show one agent: its wallet, what it holds, what stops it."`
	Suspend agentsSuspendCommand `cmd:"" help:"Stop one agent until you unfreeze its wallet."`
	Rotate  agentsRotateCommand  `cmd:"" help:"Put an agent's offered request key in force, without new shares."`
	Revoke  agentsRevokeCommand  `cmd:"" help:"End what an agent may do: nothing that it holds works any more. Its wallet is yours to take over."`
}

// agentEntry is one agent of the owner.
type agentEntry struct {
	Wallet      string `json:"wallet"`
	Handle      string `json:"handle"`
	DisplayName string `json:"display_name"`
	GroupKey    string `json:"group_key"`
	// State is UNCLAIMED, ACTIVE or ENDED.
	State string `json:"state"`
	// Stopped is FROZEN, REVOKED, or empty.
	Stopped string `json:"stopped"`
}

func newAgentEntry(w *client.OwnedWallet) agentEntry {
	return agentEntry{Wallet: w.Wallet, Handle: handleText(w.Handle), DisplayName: w.DisplayName, GroupKey: keyText(w.GroupKey[:]), State: walletState(w.State)}
}

type agentsListCommand struct{}

type agentsListResult struct {
	Agents []agentEntry `json:"agents"`
}

// Run lists them.
func (*agentsListCommand) Run(ctx context.Context, a *app) error {
	o, err := a.owner()
	if err != nil {
		return err
	}
	wallets, err := o.Wallets(ctx)
	if err != nil {
		return unmoved(err)
	}
	r := &agentsListResult{Agents: []agentEntry{}}
	for _, w := range wallets {
		e := newAgentEntry(w)
		if w.State == typev1.WalletState_WALLET_STATE_ACTIVE {
			if e.Stopped, err = stopped(ctx, o, w.Wallet); err != nil {
				return err
			}
		}
		r.Agents = append(r.Agents, e)
	}
	a.remember(func(s *shown) {
		s.Wallets, s.Handles = nil, nil
		for _, e := range r.Agents {
			s.Wallets, s.Handles = append(s.Wallets, e.Wallet), append(s.Handles, e.Handle)
		}
	})
	return a.show(r)
}

// stopped says what stops a wallet, by the ledger, which alone knows it.
func stopped(ctx context.Context, o *client.Owner, wallet string) (string, error) {
	freezes, frozen, err := o.Freezes(ctx, wallet)
	if err != nil {
		return "", unmoved(err)
	}
	return stoppedBy(freezes, frozen), nil
}

func stoppedBy(freezes []*typev1.Freeze, frozen bool) string {
	revoked := func(f *typev1.Freeze) bool { return f.GetRevocation() != nil && len(f.GetUnfreezes()) == 0 }
	switch {
	case slices.ContainsFunc(freezes, revoked):
		return "REVOKED"
	case frozen:
		return "FROZEN"
	default:
		return ""
	}
}

// shownState is its state for people: what stops it, if anything does.
func (e *agentEntry) shownState() string { return cmp.Or(e.Stopped, e.State) }

func (r *agentsListResult) people(p *printer) {
	if len(r.Agents) == 0 {
		p.line("No agents: one registers by `halfkey register`, and you claim it by its code.")
		return
	}
	rows := [][]string{{"HANDLE", "NAME", "STATE", "WALLET"}}
	for _, w := range r.Agents {
		rows = append(rows, []string{w.Handle, w.DisplayName, w.shownState(), w.Wallet})
	}
	p.table(rows)
}

type agentsShowCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
}

// freezeEntry is one freeze that concerns a wallet.
type freezeEntry struct {
	FreezeID string `json:"freeze_id"`
	// Scope is WALLET, OWNER or INSTALLATION.
	Scope  string    `json:"scope"`
	Caller string    `json:"caller"`
	Time   time.Time `json:"time"`
	// Ended says that it stops this wallet no more.
	Ended bool `json:"ended"`

	by string // Caller for people.
}

// agentResult is one agent of the owner, with its wallet.
type agentResult struct {
	agentEntry
	Account *accountResult `json:"account"`
	// GuardRails is the number of the version in force; 0 is the claim, which pays nothing.
	GuardRails uint64        `json:"guard_rails"`
	Freezes    []freezeEntry `json:"freezes"`
}

// Run shows one.
func (c *agentsShowCommand) Run(ctx context.Context, a *app) error {
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	acc, err := o.Account(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	rules, err := o.GuardRails(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	freezes, frozen, err := o.Freezes(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	entry, err := ownedEntry(ctx, o, wallet)
	if err != nil {
		return err
	}
	entry.Stopped = stoppedBy(freezes, frozen)
	key, err := o.Resolve(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	r := &agentResult{agentEntry: *entry, Account: newAccountResult(acc, a.installation()), GuardRails: rules.Number, Freezes: []freezeEntry{}}
	r.Account.Address = addressText(key[:])
	for _, f := range freezes {
		e := newFreezeEntry(f)
		e.Ended = freezeEnded(f, rules.Document)
		e.by = a.callerText(e.Caller)
		r.Freezes = append(r.Freezes, e)
	}
	return a.show(r)
}

// ownedEntry finds one of the owner's wallets.
func ownedEntry(ctx context.Context, o *client.Owner, wallet string) (*agentEntry, error) {
	wallets, err := o.Wallets(ctx)
	if err != nil {
		return nil, unmoved(err)
	}
	for _, w := range wallets {
		if w.Wallet == wallet {
			e := newAgentEntry(w)
			return &e, nil
		}
	}
	return nil, localError(typev1.Reason_REASON_NOT_FOUND, "the owner has no such wallet", "look at `halfkey agents list`", "wallet", shorten(wallet))
}

// freezeEnded reports whether a freeze stops a wallet no more. One of all the owner's wallets ends for those whose guard rails name the key
// that signed its end: an end that a key signed which was taken out since counts no longer.
func freezeEnded(f *typev1.Freeze, doc *typev1.GuardRails) bool {
	if f.GetScope() != typev1.Scope_SCOPE_OWNER {
		return len(f.GetUnfreezes()) > 0
	}
	return slices.ContainsFunc(f.GetUnfreezes(), func(e *typev1.Envelope) bool {
		_, err := evidence.Open(e, new(typev1.Unfreeze), doc.GetOwnerKeys()...)
		return err == nil
	})
}

func newFreezeEntry(f *typev1.Freeze) freezeEntry {
	return freezeEntry{
		FreezeID: f.GetFreezeId(), Scope: enumText(f.GetScope(), "SCOPE_"), Caller: f.GetCaller(), Time: f.GetCreateTime().AsTime(),
	}
}

func (r *agentResult) people(p *printer) {
	p.line("%s, %s, is %s", r.Handle, r.DisplayName, r.shownState())
	r.Account.people(p)
	p.line("Key %s", r.GroupKey)
	if r.GuardRails == 0 {
		p.line("It pays nothing: you have not set guard rails.")
	} else {
		p.line("Guard rails number %d are in force.", r.GuardRails)
	}
	if len(r.Freezes) == 0 {
		return
	}
	rows := [][]string{{"FREEZE", "SCOPE", "BY", "SINCE", ""}}
	for _, f := range r.Freezes {
		ended := ""
		if f.Ended {
			ended = "ended"
		}
		rows = append(rows, []string{f.FreezeID, strings.ToLower(f.Scope), f.by, timeText(f.Time), ended})
	}
	p.table(rows)
}

type agentsSuspendCommand struct {
	Name string  `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	ID   *string `name:"id" placeholder:"ID" help:"The freeze's id, for repeating it and for ending it; drawn by default."`
}

// Run suspends: an agent is suspended by freezing its wallet.
func (c *agentsSuspendCommand) Run(ctx context.Context, a *app) error {
	id, err := optionalID(c.ID)
	if err != nil {
		return err
	}
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	s, err := o.Freeze(ctx, wallet, id)
	return a.showFreeze(wallet, s, err)
}

type agentsRevokeCommand struct {
	Name    string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	Abandon bool   `help:"Give the wallet up for ever, with what is in it. Without this a wallet with a balance and no recovery share is not revoked."`
	Yes     bool   `help:"Revoke without asking."`
}

// revokedResult is a wallet whose agent was revoked.
type revokedResult struct {
	freezeResult
	// Abandoned says that the wallet was given up for ever.
	Abandoned bool `json:"abandoned"`

	left string // What a given up wallet held, for people.
}

// Run revokes.
func (c *agentsRevokeCommand) Run(ctx context.Context, a *app) error {
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	left := ""
	if c.Abandon {
		left = a.holdings(ctx, o, wallet)
		err = a.confirm(c.Yes, "Give up %s for ever, with %s in it?", wallet, left)
	} else {
		err = a.confirm(c.Yes, "Revoke the agent of %s? Only taking the wallet over ends that.", wallet)
	}
	if err != nil {
		return err
	}
	s, err := o.Revoke(ctx, wallet, client.RevokeOptions{Abandon: c.Abandon})
	if err != nil {
		return a.wouldLose(err, c.Name)
	}
	return a.show(&revokedResult{*newFreezeResult(wallet, s), c.Abandon, left})
}

// holdings says what is in a wallet. A ledger that does not answer keeps nobody from giving it up.
func (a *app) holdings(ctx context.Context, o *client.Owner, wallet string) string {
	acc, err := o.Account(ctx, wallet)
	if err != nil {
		return "everything that is"
	}
	var texts []string
	for _, b := range acc.Balances {
		if b.Available != 0 || b.Held != 0 {
			texts = append(texts, holdingText(b, a.installation()))
		}
	}
	if len(texts) == 0 {
		return "nothing"
	}
	return strings.Join(texts, ", ")
}

// holdingText is a balance in whole units.
func holdingText(b client.Balance, installation string) string {
	text := formatAmount(b.Available, b.Asset, installation)
	if b.Held != 0 {
		text += " and " + formatAmount(b.Held, b.Asset, installation) + " held by payments"
	}
	return text
}

// wouldLose tells in this program's words why a wallet with a balance and no recovery share is not revoked.
func (a *app) wouldLose(err error, name string) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != typev1.Reason_REASON_WRONG_STATE || e.Metadata["available"] == "" {
		return unmoved(err)
	}
	available, availableErr := resource.ParseAmount(e.Metadata["available"])
	held, heldErr := resource.ParseAmount(e.Metadata["held"])
	if availableErr != nil || heldErr != nil {
		return err
	}
	told := *e
	told.Message = "the wallet has a balance, " + holdingText(client.Balance{Asset: e.Metadata["asset"], Available: available, Held: held}, a.installation()) +
		", and no recovery share: without its agent nobody could ever pay that out"
	told.Next = fmt.Sprintf("stop it by `halfkey agents suspend %[1]s`, which you can undo, and make a recovery share by "+
		"`halfkey recovery create %[1]s FILE --passphrase-file FILE`, or let the agent "+
		"pay out; --abandon revokes it all the same, for ever, and gives up what is in it: neither you nor the operator can bring that back", name)
	return &told
}

func (r *revokedResult) people(p *printer) {
	p.line("The agent of %s is REVOKED: ledger and co-signer have both signed it.", r.Subject)
	p.line("Freeze id: %s", r.FreezeID)
	if r.Abandoned {
		p.line("The wallet is given up, with %s in it: nothing ends this.", r.left)
		return
	}
	p.line("Take the wallet over by its recovery share (halfkey recovery replace), then end this (halfkey unfreeze) and pay out what is left.")
}

// unfreezeCommand is `halfkey unfreeze`.
type unfreezeCommand struct {
	Name string  `arg:"" optional:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	ID   *string `name:"id" placeholder:"ID" help:"End this freeze alone; by default every freeze of the wallet's own."`
	All  bool    `help:"End the freeze --id of all the owner's wallets instead."`
}

// Run unfreezes as the owner.
func (c *unfreezeCommand) Run(ctx context.Context, a *app) error {
	id, err := optionalID(c.ID)
	switch {
	case err != nil:
		return err
	case c.All == (c.Name != ""):
		return usage("WALLET", "name the wallet, or --all for a freeze of all the owner's wallets")
	case c.All && id == "":
		return usage("--id", "name the freeze of all wallets to end")
	}
	o, err := a.owner()
	if err != nil {
		return err
	}
	if c.All {
		s, err := o.UnfreezeAll(ctx, id)
		if err != nil {
			return unmoved(err)
		}
		return a.showUnfreeze(o.Name(), s, id)
	}
	wallet, err := a.ownedWallet(ctx, o, c.Name)
	if err != nil {
		return err
	}
	ids := []string{id}
	if id == "" {
		if ids, err = ownFreezes(ctx, o, wallet); err != nil {
			return err
		}
	}
	var s *client.FreezeStatus
	for _, id := range ids {
		if s, err = o.Unfreeze(ctx, wallet, id); err != nil {
			return unmoved(err)
		}
	}
	return a.showUnfreeze(wallet, s, ids...)
}

// ownFreezes lists the freezes of a wallet's own that have not ended; there is at least one.
func ownFreezes(ctx context.Context, o *client.Owner, wallet string) ([]string, error) {
	freezes, frozen, err := o.Freezes(ctx, wallet)
	if err != nil {
		return nil, unmoved(err)
	}
	var ids []string
	for _, f := range freezes {
		if f.GetScope() == typev1.Scope_SCOPE_WALLET && len(f.GetUnfreezes()) == 0 {
			ids = append(ids, f.GetFreezeId())
		}
	}
	switch {
	case len(ids) > 0:
		return ids, nil
	case frozen:
		return nil, localError(typev1.Reason_REASON_FROZEN, "what stops the wallet is a freeze of all its owner's wallets, or of the installation",
			"see `halfkey agents show`; end the owner's with --all --id, and ask the operator for the installation's")
	default:
		return nil, localError(typev1.Reason_REASON_WRONG_STATE, "no freeze of this wallet is in force", "nothing is to be done")
	}
}

// installation is the id of the installation that the command talks to.
func (a *app) installation() string { return a.connected().Installation().ID() }

// connected is the client that the command works with; it has opened one.
func (a *app) connected() *client.Client { return a.clients[len(a.clients)-1] }

// callerText is who did something, as people know it: an agent by its handle, where this home has verified whose that is.
func (a *app) callerText(caller string) string {
	if wallet := resource.WalletOf(caller); wallet != "" {
		return cmp.Or(a.connected().HandleOf(wallet), caller)
	}
	return caller
}
