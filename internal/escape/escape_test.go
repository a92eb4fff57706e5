package escape

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
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
			if got := Line(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// hostile names a character that must not be shown.
func hostile(s string) string {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd") {
			return "no UTF-8"
		}
		if r < ' ' || !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) {
			return string(r)
		}
	}
	return ""
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"", "abc", "\x1b[31m", "\u202e", "\xff\xfe", "a\nb", "\ufffd", "\u009b", `a"b\c`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Line(s)
		if bad := hostile(got); bad != "" {
			t.Errorf("Line(%q) is %q, which holds %q", s, got, bad)
		}
		if again := Line(got); again != got {
			t.Errorf("Line(%q) is %q, and that of it is %q", s, got, again)
		}
		quoted := Quote(s, 40)
		if bad := hostile(quoted); bad != "" {
			t.Errorf("Quote(%q) is %q, which holds %q", s, quoted, bad)
		}
		if end := closing(quoted); end != len(quoted)-1 && quoted[end+1:] != "..." {
			t.Errorf("Quote(%q) is %q, which seems to end at %d", s, quoted, end)
		}
	})
}

// closing is where a reader sees a quotation end.
func closing(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(s)
}

func TestQuote(t *testing.T) {
	for _, c := range []struct {
		name, in string
		most     int
		want     string
	}{
		{"plain", "5 USD", 10, `"5 USD"`},
		{"empty", "", 10, `""`},
		{"closes early", `free" paid by halfkey "`, 40, `"free\" paid by halfkey \""`},
		{"ends in a backslash", `a\`, 10, `"a\\"`},
		{"as long as is shown", "abc", 3, `"abc"`},
		{"longer", "abcd", 3, `"abc"...`},
		{"characters count, not bytes", "\u6771\u4eac\u90fd", 2, "\"\u6771\u4eac\"..."},
		{"escapes are not cut", "a\x1bb", 2, `"a\x1b"...`},
		{"line ends", "a\r\nhalfkey: paid", 40, `"a\x0d\x0ahalfkey: paid"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Quote(c.in, c.most); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// There is no verb and no logger that prints a stranger's text as it is; only a program that reads JSON gets it.
func TestUntrustedNeverPrintsRaw(t *testing.T) {
	const text = "free\"\x1b[31m\nhalfkey: paid"
	const want = `"free\"\x1b[31m\x0ahalfkey: paid"`
	u := Untrusted(text)
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%X", "%d", "%10s"} {
		if got := fmt.Sprintf(verb, u); got != want {
			t.Errorf("%s prints %s, want %s", verb, got, want)
		}
	}
	for name, got := range map[string]string{
		"Sprint": fmt.Sprint(u), "Sprintln": strings.TrimSuffix(fmt.Sprintln(u), "\n"), "String": u.String(),
		"in an error": fmt.Errorf("%w", fmt.Errorf("%v", u)).Error(),
	} {
		if got != want {
			t.Errorf("%s prints %s, want %s", name, got, want)
		}
	}
	if got, want := fmt.Sprint(struct{ U Untrusted }{u}), "{"+want+"}"; got != want {
		t.Errorf("in a struct it prints %s, want %s", got, want)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("said", "by", u)
	var line struct{ By string }
	if err := json.Unmarshal([]byte(log.String()), &line); err != nil || line.By != want {
		t.Errorf("the log says %q, %v, want %q", line.By, err, want)
	}
	if got := fmt.Sprint(Untrusted(strings.Repeat("a", 1000))); len(got) > 300 {
		t.Errorf("prints %d bytes", len(got))
	}
	b, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(b, &back); err != nil || back != text {
		t.Errorf("JSON holds %q, %v, want %q", back, err, text)
	}
}
