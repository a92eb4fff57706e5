package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/internal/escape"
)

// hostileOutput names a character that must not reach a terminal.
func hostileOutput(s string) string {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd") {
			return "no UTF-8"
		}
		if r != '\n' && (r < ' ' || !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r)) {
			return string(r)
		}
	}
	return ""
}

func FuzzTerminal(f *testing.F) {
	for _, s := range []string{"", "abc", "\x1b[31m", "\u202e", "\xff\xfe", "a\nb", "\ufffd", "\u009b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		if n, err := (terminal{&b}).Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("the writer took %d of %d bytes, %v", n, len(s), err)
		}
		if bad := hostileOutput(b.String()); bad != "" {
			t.Errorf("the writer let %q through in %q", bad, b.String())
		}
	})
}

// JSON for a terminal means what it meant.
func FuzzJSONStaysTheSame(f *testing.F) {
	for _, s := range []string{"", "abc", "\x1b[31m", "\u202e\U000e0041", "\u009b", "<&>", "\\u0041", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		var b bytes.Buffer
		if err := writeJSON(&b, map[string]string{"text": s}); err != nil {
			t.Fatal(err)
		}
		if bad := hostileOutput(b.String()); bad != "" || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("the JSON of %q holds %q", s, bad)
		}
		var got map[string]string
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"text": s}, got); diff != "" {
			t.Errorf("the text changed (-want +got):\n%s", diff)
		}
	})
}

// Nothing that is printed has to remember to escape.
func TestPrinterEscapesEveryArgument(t *testing.T) {
	var b bytes.Buffer
	p := printer{w: &b}
	p.line("to %s, %v, %d", "a\nb\u202e", error(hostileError{}), 5)
	p.table([][]string{{"HEAD", "TWO"}, {"x\x1b[0m\t", "y\n"}})
	if got, want := b.String(), "to a\\x0ab\\u202e, \\x1bbad, 5\nHEAD          TWO\nx\\x1b[0m\\x09  y\\x0a\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

type hostileError struct{}

func (hostileError) Error() string { return "\x1bbad" }

// Whoever writes an export may stop within a character, which is no reason to write it as bytes.
func TestLines(t *testing.T) {
	const text = "caf\u00e9 \u202e\nno end \U0001f41d"
	for _, safe := range []func([]byte) []byte{nil, escape.JSON} {
		var out strings.Builder
		l := &lines{w: terminal{&out}, safe: safe}
		if safe != nil {
			l.w = &out
		}
		for i := range len(text) {
			if n, err := l.Write([]byte(text[i : i+1])); n != 1 || err != nil {
				t.Fatalf("got %d, %v", n, err)
			}
		}
		if err := l.flush(); err != nil {
			t.Fatal(err)
		}
		if got, want := out.String(), "caf\u00e9 \\u202e\nno end \U0001f41d\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
