package client_test

import (
	"bytes"
	"encoding/csv"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/resource"
)

// TestAuditOnSolana audits what a real ledger wrote of a real wallet on a chain: deposits, payments that settled, died and failed, and
// its owner's exit past every service, which takes also what a payment holds.
func TestAuditOnSolana(t *testing.T) {
	t.Parallel()
	w := newChainWorld(t, registered(t))
	ctx := testContext(t)

	mustPay(t, w.payer, w.order("paid", 5*usd), authorized)
	w.chain.Finalize()
	proven(t, w.payer, "paid", settled)
	w.die(t, w.payer, w.order("dead", usd))
	w.chain.Open(w.shop, w.mint)
	mustPay(t, w.payer, w.order("fails", usd), authorized)
	w.chain.Freeze(w.shop, w.mint, true)
	w.chain.Finalize()
	proven(t, w.payer, "fails", failed)
	w.chain.Freeze(w.shop, w.mint, false)

	file := filepath.Join(t.TempDir(), "recovery")
	if _, err := w.Owner().CreateRecovery(ctx, w.payer.Wallet(), file, passphrase()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.payer.Reshare(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().OpenRecovery(ctx, file, passphrase()); err != nil {
		t.Fatal(err)
	}
	exit, err := client.ExitPay(w.payer, file, passphrase(), client.ExitTransfer{
		Recipient: person(1), Asset: usdc, Units: 900 * usd, BlockHash: w.chain.Tip().Hash,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.chain.Send(exit.Wire)
	w.chain.Finalize()
	w.comesToHold(t, 95*usd)

	// All that is left goes while a payment holds a part of it, whose message fails then; and there is a deposit, in any order of the entries.
	w.chain.Freeze(w.payer.GroupKey(), w.mint, true)
	w.chain.Finalize()
	mustPay(t, w.payer, w.order("held", 50*usd), authorized)
	thief := w.chain.Take(w.payer.GroupKey(), w.mint, 95*usd)
	w.chain.Fund(w.payer.GroupKey(), w.mint, 60*usd)
	w.chain.Finalize()
	proven(t, w.payer, "held", failed)
	w.comesToHold(t, 60*usd)

	report := w.audited(t)
	if b := report.Balances[usdc]; b.Available != 60*usd || b.Held != 0 {
		t.Errorf("got %+v, want 60 available", b)
	}
	if report.Payments[settled] != 1 || report.Payments[ready] != 1 || report.Payments[failed] != 2 {
		t.Errorf("got %+v", report.Payments)
	}
	var left []string
	for _, o := range report.Outflows {
		if o.Asset != usdc || o.Slot == 0 || o.Payment != "" {
			t.Errorf("got outflow %+v", o)
		}
		left = append(left, resource.FormatUnits(o.Units)+" by "+solana.Signature(o.Transaction).String())
	}
	exited := solana.Signature(exit.Signature).String()
	if want := []string{"900000000 by " + exited, "95000000 by " + thief.String()}; !slices.Equal(left, want) {
		t.Errorf("left: %q, want %q", left, want)
	}

	var lines, table bytes.Buffer
	if err := w.payer.ExportJournal(ctx, &lines); err != nil {
		t.Fatal(err)
	}
	if r, err := client.VerifyExport(w.Installation(), &lines); err != nil || len(r.Outflows) != 2 {
		t.Errorf("the export: %+v, %v", r, err)
	}
	if err := w.payer.ExportCSV(ctx, &table); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(rows, func(row []string) bool { return row[2] == "CHAIN_OUTFLOW" && row[14] == exited && row[15] != "" }) {
		t.Errorf("no row names the exit's transaction %s:\n%v", exited, rows)
	}
}

// comesToHold waits until the ledger has looked at the account again, and says how much the payer can pay.
func (w *chainWorld) comesToHold(t *testing.T, want int64) {
	t.Helper()
	for ctx := testContext(t); w.holds(t) != want; time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("the ledger says %d units are available, want %d", w.holds(t), want)
		}
	}
}

// audited verifies the payer's journal, and that it adds up to what the ledger says.
func (w *chainWorld) audited(t *testing.T) *client.JournalReport {
	t.Helper()
	ctx := testContext(t)
	j, err := w.payer.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	report, err := j.Report(w.Installation())
	if err != nil {
		t.Fatal(err)
	}
	acc, err := w.payer.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range acc.Balances {
		if got := report.Balances[b.Asset]; got.Available != b.Available || got.Held != b.Held {
			t.Errorf("the journal adds up to %+v, and the ledger says %+v", got, b)
		}
	}
	return report
}
