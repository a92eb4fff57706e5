package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// exportFormat names the lines that ExportJournal writes.
const exportFormat = "halfkey.journal.v1"

// exportLineMax bounds a line of an export: the largest entry holds three statements and a message.
const exportLineMax = 1 << 20

// exportHeader is the first line of an export.
type exportHeader struct {
	Format       string `json:"format"`
	Installation string `json:"installation"`
	Wallet       string `json:"wallet"`
}

// ExportedEntry is one line of an export: an entry for people and programs to read, and its bytes, which prove it.
type ExportedEntry struct {
	// Number is the entry's, Time the ledger's time in UTC.
	Number uint64 `json:"number"`
	Time   string `json:"time"`
	// Kind is what it records, for example PAYMENT; Payment its name, State what it became, Light the colour of the rules
	// with history.
	Kind    string `json:"kind"`
	Payment string `json:"payment,omitempty"`
	State   string `json:"state,omitempty"`
	Light   string `json:"light,omitempty"`
	// Recipient is the recipient's key in hex and Purpose the agent's words, where the entry brings the intent.
	Recipient string `json:"recipient,omitempty"`
	Purpose   string `json:"purpose,omitempty"`
	// X402 is the HTTP request whose answer it pays for, its URL without query: `GET https://api.example/report`.
	X402 string `json:"x402,omitempty"`
	// Asset and Units are what moved, was held or was freed; Available and Held are the balance after it.
	Asset     string `json:"asset,omitempty"`
	Units     string `json:"units,omitempty"`
	Available string `json:"available,omitempty"`
	Held      string `json:"held,omitempty"`
	// Transaction is the signature that names the transaction on a chain, in base58, and Slot that of the block which holds it: what settled
	// the payment, failed, came in or left.
	Transaction string `json:"transaction,omitempty"`
	Slot        uint64 `json:"slot,omitempty"`
	// FreezeID is the freeze concerned, Caller who caused it.
	FreezeID string `json:"freeze_id,omitempty"`
	Caller   string `json:"caller,omitempty"`
	// Entry is the encoded entry.
	Entry []byte `json:"entry,omitempty"`
}

// exportEnd is the last line of an export.
type exportEnd struct {
	Head []byte `json:"head"`
}

// NewExportedEntry reads an encoded entry. It verifies nothing.
func NewExportedEntry(b []byte) (*ExportedEntry, error) {
	e := new(typev1.Entry)
	if err := evidence.Unmarshal(b, e); err != nil {
		return nil, err
	}
	out := &ExportedEntry{
		Number: e.GetNumber(), Time: time.UnixMilli(e.GetTimeMillis()).UTC().Format("2006-01-02T15:04:05.000Z"),
		Kind: strings.TrimPrefix(e.GetKind().String(), "ENTRY_KIND_"), Payment: e.GetPayment(),
		Asset: e.GetAsset(), Units: e.GetUnits(), Available: e.GetAvailable(), Held: e.GetHeld(),
		FreezeID: e.GetFreezeId(), Caller: e.GetCaller(), Entry: b,
	}
	if e.GetPaymentState() != 0 {
		out.State = strings.TrimPrefix(e.GetPaymentState().String(), "PAYMENT_STATE_")
	}
	if e.GetLight() != 0 {
		out.Light = strings.TrimPrefix(e.GetLight().String(), "LIGHT_")
	}
	for _, s := range e.GetStatements() {
		request, intent := new(typev1.Request), new(typev1.Intent)
		if s.GetPayloadType() == evidence.TypeRequest && evidence.Peek(s, request) == nil && evidence.Unmarshal(request.GetIntent(), intent) == nil {
			out.Recipient, out.Purpose = hex.EncodeToString(intent.GetRecipient()), intent.GetPurpose()
			if x := intent.GetX402(); x != nil {
				_, out.X402 = guardrails.PaidFor(x)
			}
		}
		if transaction, slot := landedBy(s); len(transaction) > 0 {
			out.Transaction, out.Slot = solana.Signature(transaction).String(), slot
		}
	}
	return out, nil
}

// landedBy is the transaction that a statement of the ledger's names, and its slot; nil for none.
func landedBy(e *typev1.Envelope) (transaction []byte, slot uint64) {
	var m interface {
		proto.Message
		GetTransaction() []byte
		GetSlot() uint64
	}
	switch e.GetPayloadType() {
	case evidence.TypeSettlement:
		m = new(typev1.Settlement)
	case evidence.TypeDeadMessage:
		m = new(typev1.DeadMessage)
	case evidence.TypeChainTransfer:
		m = new(typev1.ChainTransfer)
	default:
		return nil, 0
	}
	if evidence.Peek(e, m) != nil {
		return nil, 0
	}
	return m.GetTransaction(), m.GetSlot()
}

// ExportJournal writes this wallet's journal as JSON lines: a header, each entry, and the ledger's signed head. It holds one
// page in memory, and verifies nothing: VerifyExport does, then and later, from the lines and the installation file alone.
func (a *Agent) ExportJournal(ctx context.Context, w io.Writer) error {
	return a.c.exportJournal(ctx, a.who, a.wallet, w)
}

// ExportJournal writes a wallet's journal as JSON lines, as Agent's does.
func (o *Owner) ExportJournal(ctx context.Context, wallet string, w io.Writer) error {
	return o.c.exportJournal(ctx, o.who, wallet, w)
}

func (c *Client) exportJournal(ctx context.Context, who *caller, wallet string, w io.Writer) error {
	out := bufio.NewWriter(w)
	line := func(v any) error {
		b, err := json.Marshal(v)
		if err == nil {
			_, err = out.Write(append(b, '\n'))
		}
		return err
	}
	if err := line(exportHeader{Format: exportFormat, Installation: c.Installation().ID(), Wallet: wallet}); err != nil {
		return err
	}
	head, err := c.entries(ctx, who, wallet, func(b []byte) error {
		e, err := NewExportedEntry(b)
		if err != nil {
			return err
		}
		return line(e)
	})
	if err != nil {
		return err
	}
	b, err := evidence.Marshal(head)
	if err != nil {
		return err
	}
	if err := line(exportEnd{Head: b}); err != nil {
		return err
	}
	return out.Flush()
}

// csvHeader is the first row of a CSV export: the fields of an ExportedEntry without its bytes.
var csvHeader = []string{
	"number", "time", "kind", "payment", "state", "light", "recipient", "purpose", "asset", "units", "available", "held", "freeze_id", "caller",
	"transaction", "slot",
}

// ExportCSV writes this wallet's journal as a table for a spreadsheet. It proves nothing: that is what ExportJournal is for.
func (a *Agent) ExportCSV(ctx context.Context, w io.Writer) error {
	return a.c.exportCSV(ctx, a.who, a.wallet, w)
}

// ExportCSV writes a wallet's journal as a table, as Agent's does.
func (o *Owner) ExportCSV(ctx context.Context, wallet string, w io.Writer) error {
	return o.c.exportCSV(ctx, o.who, wallet, w)
}

func (c *Client) exportCSV(ctx context.Context, who *caller, wallet string, w io.Writer) error {
	table := csv.NewWriter(w)
	if err := table.Write(csvHeader); err != nil {
		return err
	}
	_, err := c.entries(ctx, who, wallet, func(b []byte) error {
		e, err := NewExportedEntry(b)
		if err != nil {
			return err
		}
		return table.Write([]string{
			strconv.FormatUint(e.Number, 10), e.Time, e.Kind, e.Payment, e.State, e.Light, e.Recipient, inertCell(e.Purpose),
			e.Asset, e.Units, e.Available, e.Held, e.FreezeID, e.Caller, e.Transaction, slotText(e.Slot),
		})
	})
	if err != nil {
		return err
	}
	table.Flush()
	return table.Error()
}

// slotText is a slot, empty for none.
func slotText(slot uint64) string {
	if slot == 0 {
		return ""
	}
	return strconv.FormatUint(slot, 10)
}

// inertCell keeps a text that an agent chose from being a formula where the table is opened.
func inertCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// ExportError says which line of an export is not as ExportJournal writes it.
type ExportError struct {
	// Line counts from 1.
	Line int
	// Entry is the number of the entry that the line holds or should hold; 0 is none.
	Entry uint64
	// Err is why.
	Err error
}

// Error names the line.
func (e *ExportError) Error() string {
	if e.Entry > 0 {
		return fmt.Sprintf("halfkey: export line %d, entry %d: %v", e.Line, e.Entry, e.Err)
	}
	return fmt.Sprintf("halfkey: export line %d: %v", e.Line, e.Err)
}

// Unwrap returns why.
func (e *ExportError) Unwrap() error { return e.Err }

// VerifyExport verifies an export as VerifyJournal does a journal, reading it once: every byte of it, the readable fields
// included, must be what the entries say. A *JournalError names the first entry that does not verify, an *ExportError the
// first line that is something else. earlier are the installation files before i.
func VerifyExport(i *evidence.Installation, r io.Reader, earlier ...*evidence.Installation) (*JournalReport, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), exportLineMax)
	number := 0
	next := func() ([]byte, error) {
		number++
		if lines.Scan() {
			return lines.Bytes(), nil
		}
		err := lines.Err()
		switch {
		case err == nil:
			err = errors.New("it ends before the ledger's signed head: it was cut off")
		case errors.Is(err, bufio.ErrTooLong):
			err = errors.New("it is longer than any line of an export")
		}
		return nil, &ExportError{Line: number, Err: err}
	}
	b, err := next()
	if err != nil {
		return nil, err
	}
	var header exportHeader
	err = sameLine(b, &header)
	switch {
	case strings.TrimSpace(string(b)) == strings.Join(csvHeader, ","):
		return nil, &ExportError{Line: number, Err: errors.New("it is a table, CSV, which proves nothing: export it as JSON lines to verify it")}
	case err != nil && header.Format == "":
		return nil, &ExportError{Line: number, Err: fmt.Errorf("it is no export of a journal: its first line is not its header: %w", err)}
	case err != nil:
		return nil, &ExportError{Line: number, Err: err}
	case header.Format != exportFormat:
		return nil, &ExportError{Line: number, Err: errors.New("it is no export of a journal: its first line does not name the format " + exportFormat)}
	case header.Installation != i.ID():
		return nil, &ExportError{Line: number, Err: errors.New("it is another installation's: use the installation file of the one that it names")}
	}
	v, err := NewJournalVerifier(i, header.Wallet, earlier...)
	if err != nil {
		return nil, err
	}
	for {
		b, err := next()
		if err != nil {
			return nil, v.inExport(err)
		}
		var end exportEnd
		if sameLine(b, &end) == nil {
			report, err := v.exportedHead(end.Head)
			if err != nil {
				return nil, err
			}
			number++
			if lines.Scan() || lines.Err() != nil {
				return nil, &ExportError{Line: number, Err: errors.New("it goes on after the ledger's signed head")}
			}
			return report, nil
		}
		entry, err := v.exportedEntry(b)
		var journal *JournalError
		switch {
		case errors.As(err, &journal):
			return nil, err
		case err != nil:
			return nil, &ExportError{Line: number, Entry: entry, Err: err}
		}
	}
}

// inExport names the entry that an export lacks.
func (v *JournalVerifier) inExport(err error) error {
	var line *ExportError
	if errors.As(err, &line) {
		line.Entry = v.links.number + 1
	}
	return err
}

func (v *JournalVerifier) exportedHead(b []byte) (*JournalReport, error) {
	head := new(typev1.Envelope)
	if err := evidence.Unmarshal(b, head); err != nil {
		return nil, &JournalError{Err: err}
	}
	return v.Head(head)
}

// exportedEntry verifies a line that holds the next entry, and returns that one's number.
func (v *JournalVerifier) exportedEntry(line []byte) (uint64, error) {
	number := v.links.number + 1
	var shown ExportedEntry
	if err := json.Unmarshal(line, &shown); err != nil {
		return number, err
	}
	if _, err := v.Entry(shown.Entry); err != nil {
		return number, err
	}
	written, err := NewExportedEntry(shown.Entry)
	if err != nil {
		return number, err
	}
	again, err := json.Marshal(written)
	if err != nil {
		return number, err
	}
	if !bytes.Equal(line, again) {
		return number, errors.New("its readable fields say something else than the entry that it holds")
	}
	return number, nil
}

// sameLine decodes a line that must be written exactly as it would be written again.
func sameLine(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	again, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, again) {
		return errors.New("it is not written as an export writes it")
	}
	return nil
}
