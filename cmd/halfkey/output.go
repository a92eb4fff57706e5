package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/escape"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// result is what a command has found or done. Its json tags are its form for machines.
type result interface {
	// people prints it for people.
	people(p *printer)
}

// mover is a result that knows whether money moved, for when it cannot be shown.
type mover interface{ moneyMoved() typev1.MoneyMoved }

// show prints a result.
func (a *app) show(r result) error {
	err := func() error {
		if a.globals.JSON {
			return writeJSON(a.stdout, r)
		}
		p := printer{w: a.stdout}
		r.people(&p)
		return p.err
	}()
	if err == nil {
		return nil
	}
	e := localError(typev1.Reason_REASON_UNSPECIFIED, "the command was carried out, and its result could not be printed: "+err.Error(),
		"look at what became of it before repeating it")
	if m, ok := r.(mover); ok {
		e.MoneyMoved = m.moneyMoved()
	}
	return e
}

// writeJSON writes one object on one line.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escape.JSON(b.Bytes()))
	return err
}

// message is a message of the contracts inside a result: JSON by its own names, compact, so that the same message is always
// the same text.
type message struct{ proto.Message }

// MarshalJSON is protojson with the contracts' field names.
func (m message) MarshalJSON() ([]byte, error) {
	if m.Message == nil {
		return []byte("null"), nil
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Message)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Compact(&out, b)
	return out.Bytes(), err
}

// printer prints lines for people. Every argument is escaped, whatever it is and wherever it came from; only formats, which
// are constants of this program, are printed as they are.
type printer struct {
	w   io.Writer
	err error // The first failure; later lines are dropped.
}

// line prints one line.
func (p *printer) line(format string, args ...any) {
	p.write(fmt.Sprintf(format, safeArgs(args)...) + "\n")
}

// table prints rows in columns, the first being their head.
func (p *printer) table(rows [][]string) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i := range row {
			cells[i] = escape.Line(row[i])
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // A strings.Builder takes everything.
	}
	_ = w.Flush()
	for l := range strings.Lines(b.String()) {
		p.write(strings.TrimRight(l, " \n") + "\n")
	}
}

func (p *printer) write(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(terminal{p.w}, s)
	}
}

// safeArgs leaves numbers alone and makes safe text of everything else.
func safeArgs(args []any) []any {
	out := make([]any, len(args))
	for i, v := range args {
		switch v := v.(type) {
		case int, int64, uint64, uint32, bool:
			out[i] = v
		default:
			out[i] = escape.Line(fmt.Sprint(v))
		}
	}
	return out
}

// note tells people on standard error what a command is doing that takes long. Machines are not told.
func (a *app) note(format string, args ...any) {
	if !a.globals.JSON {
		p := printer{w: a.stderr}
		p.line("halfkey: "+format, args...)
	}
}

// timeText is a time as people read it, in their own zone; JSON has RFC 3339 in UTC.
func timeText(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// enumText is an enum's value without its prefix, as docs and JSON name it.
func enumText(value fmt.Stringer, prefix string) string {
	return strings.TrimPrefix(value.String(), prefix)
}

func paymentState(s typev1.PaymentState) string { return enumText(s, "PAYMENT_STATE_") }

func walletState(s typev1.WalletState) string { return enumText(s, "WALLET_STATE_") }

// handleText is an agent's handle as people and the command line type it, and as every result has it: with its @; none is empty.
func handleText(handle string) string {
	if handle == "" {
		return ""
	}
	return "@" + handle
}
