package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/escape"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// auditCommands are `halfkey audit`.
type auditCommands struct {
	List   auditListCommand   `cmd:"" help:"List a wallet's journal."`
	Export auditExportCommand `cmd:"" help:"Write a wallet's journal to a file, to be verified anywhere or opened as a table."`
	Verify auditVerifyCommand `cmd:"" help:"Verify a wallet's journal from its first entry: every signature, judgement, window and balance."`
}

// journalReader is who may read a wallet's journal: its agent or its owner.
type journalReader struct {
	exportJSON, exportCSV func(context.Context, io.Writer) error
	journal               func(context.Context) (*client.Journal, error)
}

// journal finds who of this home may read a journal: the agent whose wallet it is, or the owner.
func (a *app) journal(ctx context.Context, name string) (*journalReader, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	if name != "" {
		a.globals.Wallet = name
	}
	wallet, walletErr := a.wallet(c)
	if walletErr == nil {
		agent, err := c.Agent(wallet)
		if err == nil {
			return &journalReader{agent.ExportJournal, agent.ExportCSV, agent.Journal}, nil
		}
		walletErr = err
	}
	o, err := c.Owner()
	switch none := client.ReasonOf(walletErr) == typev1.Reason_REASON_NOT_FOUND && a.globals.Wallet == "" && wallet == ""; {
	case err != nil && none:
		return nil, a.noAgent(c)
	case none:
		return nil, usage("wallet", "an owner names the wallet whose journal it asks for: `halfkey agents list` lists them")
	case err != nil || a.globals.Wallet == "" && wallet == "":
		return nil, unmoved(walletErr)
	}
	if wallet == "" {
		wallet = a.globals.Wallet
	}
	if wallet, err = a.ownedWallet(ctx, o, wallet); err != nil {
		return nil, err
	}
	return &journalReader{
		func(ctx context.Context, w io.Writer) error { return o.ExportJournal(ctx, wallet, w) },
		func(ctx context.Context, w io.Writer) error { return o.ExportCSV(ctx, wallet, w) },
		func(ctx context.Context) (*client.Journal, error) { return o.Journal(ctx, wallet) },
	}, nil
}

type auditListCommand struct {
	Name string `arg:"" optional:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle; the chosen wallet by default."`
}

// auditEntry is one entry of a journal.
type auditEntry struct {
	*client.ExportedEntry
	// With is the other side of a payment, the recipient's handle or, of one that came in, the payer's, where this home has
	// verified whose it is; else the recipient's key or the payer's wallet.
	With string `json:"with,omitempty"`

	by string // Caller for people.
}

type auditListResult struct {
	Entries []*auditEntry `json:"entries"`

	installation string
}

// Run lists the journal. It verifies nothing.
func (c *auditListCommand) Run(ctx context.Context, a *app) error {
	r, err := a.journal(ctx, c.Name)
	if err != nil {
		return err
	}
	j, err := r.journal(ctx)
	if err != nil {
		return unmoved(err)
	}
	out := &auditListResult{Entries: []*auditEntry{}, installation: a.installation()}
	paid := make(map[string]string) // Whom each payment of the wallet pays: its first entry alone brings the intent.
	for _, b := range j.Entries {
		e, err := client.NewExportedEntry(b)
		if err != nil {
			return unmoved(err)
		}
		e.Entry = nil
		if e.Recipient != "" {
			paid[e.Payment] = a.keyOrHandle(e.Recipient)
		}
		with := paid[e.Payment]
		if payer, _, err := resource.ParsePayment(e.Payment); err == nil && payer != j.Wallet {
			with = cmp.Or(a.connected().HandleOf(payer), payer)
		}
		out.Entries = append(out.Entries, &auditEntry{ExportedEntry: e, With: with, by: a.callerText(e.Caller)})
	}
	return a.show(out)
}

// keyOrHandle is the handle that this home knows a key in hexadecimal by, or the key.
func (a *app) keyOrHandle(text string) string {
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != 32 {
		return text
	}
	return cmp.Or(a.connected().NameOf([32]byte(key)), text)
}

func (r *auditListResult) people(p *printer) {
	rows := [][]string{{"ENTRY", "TIME", "KIND", "STATE", "AMOUNT", "AVAILABLE", "HELD", "PAYMENT", "WITH"}}
	for _, e := range r.Entries {
		_, id, _ := strings.Cut(e.Payment, "/payments/")
		if e.FreezeID != "" {
			id = "freeze " + e.FreezeID
			if e.by != "" {
				id += " by " + e.by
			}
		}
		amount := func(units string) string {
			n, err := resource.ParseAmount(units)
			if err != nil {
				return units
			}
			return formatAmount(n, e.Asset, r.installation)
		}
		rows = append(rows, []string{
			strconv.FormatUint(e.Number, 10), e.Time, e.Kind, e.State, amount(e.Units), amount(e.Available), amount(e.Held), id, e.With,
		})
	}
	p.table(rows)
}

// paymentsText is a number of payments.
func paymentsText(n int) string {
	if n == 1 {
		return "1 payment"
	}
	return strconv.Itoa(n) + " payments"
}

type auditExportCommand struct {
	Name   string `arg:"" optional:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle; the chosen wallet by default."`
	Output string `required:"" placeholder:"FILE" help:"The file to write, which must not exist, or - for standard output, which then gets nothing else."`
	Format string `enum:"jsonl,csv" default:"jsonl" help:"jsonl, which 'verify' reads, or csv, a table: ${enum}."`
}

// auditExportResult is an export that was written to a file. With --output - the export is the output, and there is no such object.
type auditExportResult struct {
	File string `json:"file"`
	// Format is jsonl or csv.
	Format string `json:"format"`
}

// Run writes the export, entry by entry.
func (c *auditExportCommand) Run(ctx context.Context, a *app) error {
	r, err := a.journal(ctx, c.Name)
	if err != nil {
		return err
	}
	export := r.exportJSON
	if c.Format == "csv" {
		export = r.exportCSV
	}
	if c.Output == "-" {
		return c.print(ctx, a, export)
	}
	if err := c.write(ctx, export); err != nil {
		return err
	}
	return a.show(&auditExportResult{File: c.Output, Format: c.Format})
}

// print writes to standard output. One that was cut off has no last line, and does not verify.
func (c *auditExportCommand) print(ctx context.Context, a *app, export func(context.Context, io.Writer) error) error {
	out := &lines{w: a.stdout, safe: escape.JSON}
	if c.Format == "csv" {
		out = &lines{w: terminal{a.stdout}}
	}
	if err := errors.Join(export(ctx, out), out.flush()); err != nil {
		return unmoved(err)
	}
	if c.Format == "jsonl" {
		a.note("anybody can verify it with the installation file: halfkey audit verify --export - --installation FILE")
	}
	return nil
}

// write writes to a file; one that could not be written whole is not left behind.
func (c *auditExportCommand) write(ctx context.Context, export func(context.Context, io.Writer) error) error {
	temp, err := os.CreateTemp(filepath.Dir(c.Output), ".halfkey-*")
	if err != nil {
		return unwritable(c.Output, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	w := bufio.NewWriter(temp)
	if err := export(ctx, w); err != nil {
		_ = temp.Close()
		return unmoved(err)
	}
	if err := errors.Join(w.Flush(), temp.Sync(), temp.Close()); err != nil {
		return unmoved(err)
	}
	if err := os.Link(temp.Name(), c.Output); err != nil { // Never takes another file's place.
		return unwritable(c.Output, err)
	}
	return nil
}

func (r *auditExportResult) people(p *printer) {
	p.line("Written to %s.", r.File)
	if r.Format == "jsonl" {
		p.line("Anybody can verify it with the installation file: halfkey audit verify --export %s --installation FILE", r.File)
	}
}

type auditVerifyCommand struct {
	Name         string   `arg:"" optional:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle; the chosen wallet by default."`
	Export       string   `placeholder:"FILE" help:"Verify an export, a file or - for standard input, without any service."`
	Installation []string `placeholder:"FILE" help:"The installation file to verify an export by; the home's by default. Repeated: the files before it, newest last, then it."`
}

// auditResult is what a journal proves.
type auditResult struct {
	Wallet   string `json:"wallet"`
	Handle   string `json:"handle"`
	GroupKey string `json:"group_key"`
	// Entries were verified, all of them.
	Entries uint64 `json:"entries"`
	// Payments are the wallet's own by their last state; Incoming came in.
	Payments map[string]int `json:"payments"`
	Incoming int            `json:"incoming"`
	Balances []balanceEntry `json:"balances"`
	// Outflows left on a chain without a payment of the ledger's. The journal verifies with them; whose doing they are is for the owner to
	// know.
	Outflows []outflowEntry `json:"outflows"`
	// GuardRails is the number of the version in force, Frozen the wallet's own freezes that have not ended.
	GuardRails uint64   `json:"guard_rails"`
	Frozen     []string `json:"frozen"`
}

// outflowEntry is what left a wallet's token account past the ledger.
type outflowEntry struct {
	// Entry is the number of the journal entry that records it.
	Entry  uint64 `json:"entry"`
	Asset  string `json:"asset"`
	Units  string `json:"units"`
	Amount string `json:"amount"`
	// Transaction is the signature that names it on the chain, in base58, Slot that of the block which holds it.
	Transaction string `json:"transaction"`
	Slot        uint64 `json:"slot"`
	// Payment is the payment whose message it carries, if the ledger had called that dead; else empty.
	Payment string `json:"payment"`
}

// Run verifies.
func (c *auditVerifyCommand) Run(ctx context.Context, a *app) error {
	if c.Export == "" {
		if len(c.Installation) > 0 {
			return usage("--installation", "an installation file is for an export: a journal that is read now is verified by the home's")
		}
		r, err := a.journal(ctx, c.Name)
		if err != nil {
			return err
		}
		j, err := r.journal(ctx)
		if err != nil {
			return unmoved(err)
		}
		// Deposits under an operator key that was taken out since are judged by the file of their time.
		earlier, err := a.connected().EarlierInstallations(ctx)
		if err != nil {
			return unmoved(err)
		}
		i := a.connected().Installation()
		report, err := j.Report(i, earlier...)
		return a.showReport(report, i.ID(), err)
	}
	if c.Name != "" {
		return usage("WALLET", "an export names its wallet itself")
	}
	f, err := a.stream(c.Export)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	chain, err := a.installations(c.Installation)
	if err != nil {
		return err
	}
	i := chain[len(chain)-1]
	report, err := client.VerifyExport(i, f, chain[:len(chain)-1]...)
	return a.showReport(report, i.ID(), err)
}

// installations reads installation files, or the home's if none is named.
func (a *app) installations(paths []string) ([]*evidence.Installation, error) {
	if len(paths) == 0 {
		h, err := a.home()
		if err != nil {
			return nil, err
		}
		i, err := h.Installation()
		if err != nil {
			return nil, usage("--installation", "this home is connected with no installation: name the installation file to verify by")
		}
		return []*evidence.Installation{i}, nil
	}
	var out []*evidence.Installation
	for _, path := range paths {
		b, err := a.input(path)
		if err != nil {
			return nil, err
		}
		i, err := evidence.LoadInstallation(b)
		if err != nil {
			return nil, usage("--installation", "the file is no installation file", "file", path)
		}
		out = append(out, i)
	}
	return out, nil
}

// showReport shows what a journal proves, or the first entry or line that does not verify.
func (a *app) showReport(r *client.JournalReport, installation string, err error) error {
	var entry *client.JournalError
	var line *client.ExportError
	switch {
	case errors.As(err, &entry) && client.ReasonOf(err) == typev1.Reason_REASON_LEDGER_BEHIND:
		return localError(typev1.Reason_REASON_LEDGER_BEHIND, strings.TrimPrefix(entry.Error(), "halfkey: "),
			"keep this journal, and ask the operator whether the ledger was restored from a backup", "entry", strconv.FormatUint(entry.Entry, 10))
	case errors.As(err, &entry):
		return localError(typev1.Reason_REASON_BAD_STATEMENT, strings.TrimPrefix(entry.Error(), "halfkey: "),
			"keep this journal: it shows that the ledger, or who exported it, is not to be believed from this entry on", "entry", strconv.FormatUint(entry.Entry, 10))
	case errors.As(err, &line):
		known := []string{"line", strconv.Itoa(line.Line)}
		if line.Entry > 0 {
			known = append(known, "entry", strconv.FormatUint(line.Entry, 10))
		}
		return localError(typev1.Reason_REASON_BAD_STATEMENT, strings.TrimPrefix(line.Error(), "halfkey: "),
			"export it again: this file was cut off or changed after it was written", known...)
	case err != nil:
		return unmoved(err)
	}
	out := &auditResult{
		Wallet: r.Wallet, Handle: handleText(r.Handle), GroupKey: keyText(r.GroupKey[:]), Entries: r.Entries, Payments: map[string]int{}, Incoming: r.Incoming,
		GuardRails: r.GuardRails, Frozen: append([]string{}, r.Frozen...), Balances: []balanceEntry{}, Outflows: []outflowEntry{},
	}
	for _, o := range r.Outflows {
		out.Outflows = append(out.Outflows, outflowEntry{
			Entry: o.Entry, Asset: o.Asset, Units: resource.FormatUnits(o.Units), Amount: formatAmount(o.Units, o.Asset, installation),
			Transaction: transactionText(o.Transaction[:]), Slot: o.Slot, Payment: o.Payment,
		})
	}
	for state, n := range r.Payments {
		out.Payments[paymentState(state)] = n
	}
	for _, asset := range slices.Sorted(maps.Keys(r.Balances)) {
		out.Balances = append(out.Balances, newBalanceEntry(r.Balances[asset], installation))
	}
	return a.show(out)
}

func (r *auditResult) people(p *printer) {
	p.line("Verified: %d entries of %s, %s.", r.Entries, r.Wallet, r.Handle)
	p.line("Every signature, judgement, window and balance from the first entry to the ledger's signed head.")
	for _, state := range slices.Sorted(maps.Keys(r.Payments)) {
		p.line("%s %s", paymentsText(r.Payments[state]), state)
	}
	p.line("%s came in", paymentsText(r.Incoming))
	for _, b := range r.Balances {
		p.line("%s available, %s held", b.Available, b.Held)
	}
	p.line("Guard rails number %d", r.GuardRails)
	for _, o := range r.Outflows {
		p.line("WARNING: %s left on the chain without a payment: entry %d, slot %d, transaction %s", o.Amount, o.Entry, o.Slot, o.Transaction)
		if o.Payment != "" {
			p.line("  by a message of %s that the ledger had called dead: what it took for a dead message was not", o.Payment)
		}
	}
	if slices.ContainsFunc(r.Outflows, func(o outflowEntry) bool { return o.Payment == "" }) {
		p.line("If that was not your own exit by the recovery share, somebody holds two shares of this key: move what is left to another wallet.")
	}
	for _, id := range r.Frozen {
		p.line("FROZEN by %s", id)
	}
}
