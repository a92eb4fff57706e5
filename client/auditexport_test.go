package client_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
)

// exported is the export of a wallet that was funded, has paid twice, was refused once and was frozen, by line.
func exported(t *testing.T) (*halfkeytest.System, *client.Agent, []string) {
	t.Helper()
	h := halfkeytest.Start(t)
	payer, shop := h.Agent("Payer"), h.Agent("Shop")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 100*usd)
	ctx := testContext(t)
	for id, o := range map[string]client.Order{
		"a": {Units: 2 * usd, Purpose: "=HYPERLINK(\"https://evil.example\")"}, "b": {Units: 3 * usd, Purpose: "two, with a \"quote\""}, "c": {Units: 200 * usd},
	} {
		o.ID, o.Recipient = id, shop.Wallet()
		if _, err := payer.Pay(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := payer.Freeze(ctx, "stop"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := payer.ExportJournal(ctx, &b); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(b.String(), "\n")
	return h, payer, lines[:len(lines)-1]
}

// TestExport verifies an export from its lines and the installation file alone, and refuses everything that is not one.
func TestExport(t *testing.T) {
	t.Parallel()
	h, payer, lines := exported(t)
	verify := func(lines ...string) (*client.JournalReport, error) {
		return client.VerifyExport(h.Installation(), strings.NewReader(strings.Join(lines, "")))
	}
	report, err := verify(lines...)
	if err != nil {
		t.Fatal(err)
	}
	account, err := payer.Account(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if report.Wallet != payer.Wallet() || report.Entries != account.Head.GetEntry() || !slices.Equal(report.Frozen, []string{"stop"}) {
		t.Errorf("got %+v, want %d entries and the freeze", report, account.Head.GetEntry())
	}
	if got := report.Balances[account.Balances[0].Asset]; got != account.Balances[0] {
		t.Errorf("the export adds up to %+v, the ledger says %+v", got, account.Balances[0])
	}

	replace := func(line int, from, to string) []string {
		t.Helper()
		if !strings.Contains(lines[line], from) {
			t.Fatalf("line %d holds no %s: %s", line, from, lines[line])
		}
		out := slices.Clone(lines)
		out[line] = strings.Replace(out[line], from, to, 1)
		return out
	}
	last := len(lines) - 1
	settles := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `"state":"SETTLED"`) })
	older := exportedHeadBefore(t, payer, lines)
	for name, tampered := range map[string][]string{
		"a readable field changed":  replace(settles, `"state":"SETTLED"`, `"state":"DENIED"`),
		"an amount changed":         replace(settles, `"units":"`, `"units":"1`),
		"a field added":             replace(settles, `"kind"`, `"note":"x","kind"`),
		"a space added":             replace(settles, `:`, `: `),
		"the wallet changed":        replace(0, `wallets/`, `wallets/x`),
		"the installation changed":  replace(0, `"installation":"`, `"installation":"x`),
		"the format changed":        replace(0, `journal.v1`, `journal.v2`),
		"an entry's bytes changed":  replace(settles, `"entry":"`, `"entry":"AAAA`),
		"the head's bytes changed":  replace(last, `"head":"`, `"head":"AAAA`),
		"an entry left out":         slices.Delete(slices.Clone(lines), 3, 4),
		"the newest entry left out": slices.Delete(slices.Clone(lines), last-1, last),
		"an entry twice":            slices.Insert(slices.Clone(lines), 3, lines[3]),
		"two entries exchanged":     append(append(slices.Clone(lines[:3]), lines[4], lines[3]), lines[5:]...),
		"cut off before the head":   lines[:last],
		"cut off in the middle":     lines[:4],
		"an older head":             append(slices.Clone(lines[:last]), older),
		"goes on":                   append(slices.Clone(lines), "\n"),
		"two heads":                 append(slices.Clone(lines), lines[last]),
		"no header":                 lines[1:],
		"nothing":                   nil,
		"no JSON":                   {"journal\n"},
		"a line without end":        {lines[0], strings.Repeat("a", 2<<20)},
	} {
		report, err := verify(tampered...)
		var entry *client.JournalError
		var line *client.ExportError
		if report != nil || !errors.As(err, &entry) && !errors.As(err, &line) {
			t.Errorf("%s: got %v, %v, want an error that names the entry or line", name, report, err)
		}
		if line != nil && line.Line == 0 {
			t.Errorf("%s: %v names no line", name, err)
		}
	}
	other := halfkeytest.Start(t)
	if _, err := client.VerifyExport(other.Installation(), strings.NewReader(strings.Join(lines, ""))); err == nil {
		t.Error("an export verified with another installation's file")
	}
}

// exportedHeadBefore is the last line of an export that was made before the wallet's journal grew by one entry.
func exportedHeadBefore(t *testing.T, a *client.Agent, lines []string) string {
	t.Helper()
	if _, err := a.Freeze(testContext(t), "stop-again"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := a.ExportJournal(testContext(t), &b); err != nil {
		t.Fatal(err)
	}
	longer := strings.SplitAfter(b.String(), "\n")
	return longer[len(lines)]
}

// TestExportCSV shows that the table holds every entry, and that an agent's words are no formula in it.
func TestExportCSV(t *testing.T) {
	t.Parallel()
	_, payer, lines := exported(t)
	var b bytes.Buffer
	if err := payer.ExportCSV(testContext(t), &b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := len(lines) - 1; len(rows) != want {
		t.Errorf("%d rows, want a header and %d entries", len(rows), want-1)
	}
	var purposes []string
	for n, row := range rows[1:] {
		if row[0] != strconv.Itoa(n+1) {
			t.Errorf("row %d is of entry %s", n+1, row[0])
		}
		if p := row[7]; p != "" {
			purposes = append(purposes, p)
		}
	}
	slices.Sort(purposes)
	if want := []string{`'=HYPERLINK("https://evil.example")`, `two, with a "quote"`}; !slices.Equal(purposes, want) {
		t.Errorf("purposes are %q, want %q", purposes, want)
	}
}
