package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// woven is a file with a function of each kind. It is not formatted, and holds what weaving has to leave alone.
const woven = `// Package main is woven.
package main

import (
	"fmt"
	"os"
	"strings"
)

//go:generate true
type stack[T any] struct{ of []T }

type text string

func plain(a, b int) int { return a + b }

// nothing has no result, and a parameter without a name.
func nothing(_ int, out *[]string) { *out = append(*out, "nothing") }

func (text) Unnamed(string) string { return "unnamed" }

func (t *text) pointer() { *t += "!" }

func variadic(sep string, words ...string) string { return strings.Join(words, sep) }

func (s *stack[T]) push(v T) (n int) {
	s.of = append(s.of, v)
	n = len(s.of)
	return
}

func pick[T any, N ~int](of []T, n N) (T, error) { return of[n], nil }

func recursive(n int) int {
	if n == 0 { return 1 }
	return n * recursive(n-1)
}

func recovers() { _ = recover() }

func guarded() (s string) {
	defer func() {
		if recover() != nil { s = "recovered" }
	}()
	panic("!")
}

var limit = 3

func init() { limit++ }

func main() {
	var out []string
	nothing(1, &out)
	t := text("t")
	t.pointer()
	s := &stack[string]{}
	s.push("a")
	one, err := pick([]string{"x", "y"}, 1)
	fmt.Println(plain(1, 2), out, text.Unnamed(t, ""), t, variadic("-", "a", "b"), s.push("b"), one, err, recursive(4), guarded(), limit)
	_ = os.Args
}
`

// inPlace is what woven prints with nothing taken out.
const inPlace = "3 [nothing] unnamed t! a-b 2 y <nil> 24 recovered 4\n"

func TestWeave(t *testing.T) {
	rows := []struct {
		name, text, replacement, want string
	}{
		{"plain", "return a + b", "return a - b", "-1 [nothing] unnamed t! a-b 2 y <nil> 24 recovered 4\n"},
		{"again plain", "{ return a + b }", "{\n\tc := a * b\n\treturn c\n}", "2 [nothing] unnamed t! a-b 2 y <nil> 24 recovered 4\n"},
		{"no result", `"nothing")`, `"something")`, "3 [something] unnamed t! a-b 2 y <nil> 24 recovered 4\n"},
		{"unnamed receiver and parameter", `return "unnamed"`, `return "other"`, "3 [nothing] other t! a-b 2 y <nil> 24 recovered 4\n"},
		{"pointer receiver", `"!" }`, `"?" }`, "3 [nothing] unnamed t? a-b 2 y <nil> 24 recovered 4\n"},
		{"variadic", "strings.Join(words, sep)", "strings.Join(words[1:], sep)", "3 [nothing] unnamed t! b 2 y <nil> 24 recovered 4\n"},
		{"method of a generic type, named result", "n = len(s.of)", "n = -len(s.of)", "3 [nothing] unnamed t! a-b -2 y <nil> 24 recovered 4\n"},
		{"generic", "return of[n], nil", "return of[0], os.ErrExist", "3 [nothing] unnamed t! a-b 2 x file already exists 24 recovered 4\n"},
		{"recursive", "return n * recursive", "return n + recursive", "3 [nothing] unnamed t! a-b 2 y <nil> 11 recovered 4\n"},
		{"recover in a literal", `s = "recovered"`, `s = "saved"`, "3 [nothing] unnamed t! a-b 2 y <nil> 24 saved 4\n"},
		{
			"two functions", "{ return \"unnamed\" }\n\nfunc (t *text) pointer() { *t += \"!\" }",
			"{ return \"u\" }\n\nfunc (t *text) pointer() { *t += \"p\" }",
			"3 [nothing] u tp a-b 2 y <nil> 24 recovered 4\n",
		},
	}
	s, err := parse(woven)
	if err != nil {
		t.Fatal(err)
	}
	var changes []change
	for n, row := range rows {
		if strings.Count(woven, row.text) != 1 {
			t.Fatalf("%s: %q does not stand in the file once", row.name, row.text)
		}
		c, err := s.compare(n+1, strings.Replace(woven, row.text, row.replacement, 1))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		changes = append(changes, c)
	}
	text, spans := s.weave(changes)
	program := build(t, map[string]string{"main.go": text, switchFile: switchSource("main")})
	for n, row := range rows {
		if got := output(t, program, n+1); got != row.want {
			t.Errorf("%s: printed %q, want %q", row.name, got, row.want)
		}
		if body := changes[n].bodies[first(changes[n])]; !within(text, spans, n+1, body) {
			t.Errorf("%s: %q is not within the row's lines", row.name, body)
		}
	}
	if got := output(t, program, 0); got != inPlace {
		t.Errorf("nothing taken out: printed %q, want %q", got, inPlace)
	}
	lines, before := strings.Split(text, "\n"), strings.Split(woven, "\n")
	for n, line := range before[:len(before)-1] {
		if line != lines[n] && !strings.HasPrefix(line, "func ") {
			t.Errorf("line %d has become %q, was %q", n+1, lines[n], line)
		}
	}
}

// first is the first function that a change changes.
func first(c change) int { return slices.Min(slices.Collect(maps.Keys(c.bodies))) }

// within says whether a text begins within a row's lines.
func within(text string, spans []span, row int, part string) bool {
	line := strings.Count(text[:strings.LastIndex(text, part)], "\n") + 1
	for _, s := range spans {
		if s.row == row && s.first <= line && line <= s.last {
			return true
		}
	}
	return false
}

func TestElsewhere(t *testing.T) {
	s, err := parse(woven)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, text, replacement string }{
		{"a variable", "limit = 3", "limit = 5"},
		{"an import", "\t\"os\"\n", ""},
		{"a signature", "func (text) Unnamed(string) string {", "func (t text) Unnamed(string) string {"},
		{"a function less", "func recovers() { _ = recover() }\n", ""},
		{"a function more", "var limit", "func more() {}\n\nvar limit"},
		{"init", "limit++", "limit--"},
		{"main", "_ = os.Args", ""},
		{"recover outside a literal", "{ _ = recover() }", "{}"},
		{"recover that is new", "{ *t += \"!\" }", "{ _ = recover() }"},
		{"who called", "{ *t += \"!\" }", "{ _, _, _, _ = runtime.Caller(1) }"},
		{"a variable, and a body", "panic(\"!\")\n}\n\nvar limit = 3", "return \"\"\n}\n\nvar limit = 4"},
		{"a comment alone", "// nothing has no result,", "// nothing has a result,"},
		{"no Go", "return a + b", "return a +"},
		{"nothing", "return a + b", "return a + b"},
	} {
		if strings.Count(woven, row.text) != 1 {
			t.Fatalf("%s: %q does not stand in the file once", row.name, row.text)
		}
		if c, err := s.compare(1, strings.Replace(woven, row.text, row.replacement, 1)); !errors.Is(err, errElsewhere) {
			t.Errorf("%s: compare = %v, %v, want %v", row.name, c, err, errElsewhere)
		}
	}
}

// build builds a program in a module of its own.
func build(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module woven\n\ngo 1.26\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "woven")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s\n%s", err, out, files["main.go"])
	}
	return program
}

// output is what a program prints with one row taken out.
func output(t *testing.T, program string, row int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = environment(row)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("row %d: %v\n%s", row, err, out)
	}
	return string(out)
}
