package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestSafe(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "Data shop, 5 USD", "Data shop, 5 USD"},
		{"other scripts", "Zürich 東京 ≥ 5 €", "Zürich 東京 ≥ 5 €"},
		{"escape sequence", "\x1b[2J\x1b]0;title\x07", `\x1b[2J\x1b]0;title\x07`},
		{"C1 control", "a\u009b31mb", `a\u009b31mb`},
		{"line end", "one\r\ntwo", `one\x0d\x0atwo`},
		{"line and paragraph separators", "a\u2028b\u2029c", `a\u2028b\u2029c`},
		{"direction", "\u202eevil\u2066x\u2069\u200f", `\u202eevil\u2066x\u2069\u200f`},
		{"invisible", "a\u200bb\u2060c\ufeffd\u00ade", `a\u200bb\u2060c\ufeffd\u00ade`},
		{"letters that show as nothing", "a\u3164b\u115fc\uffa0d", `a\u3164b\u115fc\uffa0d`},
		{"variation selector", "a\ufe0fb", `a\ufe0fb`},
		{"tag characters", "a\U000e0041b", `a\U000e0041b`},
		{"spaces that are none", "a\u00a0b\u3000c\td", `a\u00a0b\u3000c\x09d`},
		{"no UTF-8", "a\xffb\xc3", `a\xffb\xc3`},
		{"the replacement character itself", "a\ufffdb", "a\ufffdb"},
		{"delete", "a\x7fb", `a\x7fb`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := safe(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

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

func FuzzSafe(f *testing.F) {
	for _, s := range []string{"", "abc", "\x1b[31m", "\u202e", "\xff\xfe", "a\nb", "\ufffd", "\u009b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := safe(s)
		if bad := hostileOutput(got); bad != "" || strings.Contains(got, "\n") {
			t.Errorf("safe(%q) is %q, which holds %q", s, got, bad)
		}
		if again := safe(got); again != got {
			t.Errorf("safe(%q) is %q, and that of it is %q", s, got, again)
		}
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
	for _, safe := range []func([]byte) []byte{nil, safeJSON} {
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
