package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestReference compares docs/cli.md with the commands of this program: go test ./cmd/halfkey -run TestReference -update
// writes it.
func TestReference(t *testing.T) {
	var c cli
	parser, err := newParser(&c, &app{globals: &c.globals})
	if err != nil {
		t.Fatal(err)
	}
	want := reference(check(t), parser.Model)
	page := filepath.Join(docsDir, "cli.md")
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != want {
		t.Error("docs/cli.md is not what the commands are: go test ./cmd/halfkey -run TestReference -update")
	}
}

// referenceHead is what the page says before the commands.
const referenceHead = `# Every command of halfkey

Written from the program by a test. ` + "`halfkey COMMAND --help`" + ` says the same.

Text is for people and may change; with ` + "`--json`" + ` a command prints one JSON object, whose fields [stand below](#what---json-prints) and stay (one a line where it follows what happens: ` + "`payments watch`" + ` without a payment).
Errors go to standard error: what is wrong, what to do, and whether money
moved; [errors.md](errors.md) explains each reason. A payment that was refused or waits is no error: it is the result, and the exit code says so.

| Exit code | Means |
|---|---|
| 0 | done |
| 1 | something else failed |
| 2 | the command line, or a value in it, is wrong |
| 3 | refused |
| 4 | waits for a person |
| 5 | frozen or revoked |
| 6 | the outcome is unknown: repeat the same command with the same id |
| 7 | unavailable, or not now: repeat later |

| Environment | Means |
|---|---|
| ` + "`HALFKEY_HOME`" + ` | the home's directory, an absolute path |
| ` + "`HALFKEY_WALLET`" + ` | the wallet to use where none is named |
| ` + "`HALFKEY_INSTALLATION`" + ` | an installation file, an absolute path, with which a home that is not connected yet is connected |
| ` + "`VISUAL`, `EDITOR`" + ` | the editor of ` + "`guardrails edit`" + ` |

Nothing is read from the working directory but files that the command line names. Secrets come from files of mode 0600 or standard input (` + "`-`" + `), never from an argument.
`

// reference is the page.
func reference(c *checked, app *kong.Application) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	b.WriteString("\n## Flags of every command\n\n")
	flagTable(&b, app.Flags)
	var groups []string
	leaves := app.Leaves(true)
	for _, n := range leaves {
		if g := groupOf(n); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n", g)
		for _, n := range leaves {
			if groupOf(n) == g {
				referenceEntry(&b, c, n)
			}
		}
	}
	b.WriteString(c.objects())
	return b.String()
}

// groupOf is the group of a command's noun.
func groupOf(n *kong.Node) string {
	for ; n != nil; n = n.Parent {
		if n.Group != nil {
			return n.Group.Title
		}
	}
	return "Other"
}

func referenceEntry(b *strings.Builder, c *checked, n *kong.Node) {
	fmt.Fprintf(b, "\n### halfkey %s\n\n%s\n", pathOf(n), n.Help)
	if len(n.Positional) > 0 {
		b.WriteString("\n| Argument | |\n|---|---|\n")
		for _, p := range n.Positional {
			name := strings.ToUpper(p.Name)
			if !p.Required {
				name = "[" + name + "]"
			}
			fmt.Fprintf(b, "| `%s` | %s |\n", name, cell(p.Help))
		}
	}
	var flags []*kong.Flag
	for at := n; at.Parent != nil; at = at.Parent {
		flags = append(slices.Clone(at.Flags), flags...)
	}
	if len(flags) > 0 {
		b.WriteString("\n")
		flagTable(b, flags)
	}
	b.WriteString(c.printed(n))
}

func flagTable(b *strings.Builder, flags []*kong.Flag) {
	b.WriteString("| Flag | |\n|---|---|\n")
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		name := "--" + f.Name
		if !f.IsBool() {
			name += " " + f.FormatPlaceHolder()
		}
		help := cell(f.Help)
		if f.Required {
			help = "Required. " + help
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, help)
	}
}

// cell is a text that fits a table.
func cell(s string) string { return strings.NewReplacer("|", "\\|", ": ,", ": ").Replace(s) }

// TestErrorsDocument: docs/errors.md gives the exit code of every reason, where money moved as it says there.
func TestErrorsDocument(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(docsDir, "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	type entry struct{ exit, money string }
	documented := make(map[string]entry)
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| [A-Z_]+ \\| [0-9]{3} \\| ([0-9]) \\| .+? \\| ([A-Z]+) \\|").FindAllStringSubmatch(string(b), -1) {
		documented[row[1]] = entry{row[2], row[3]}
	}
	for reason := range exitCodes {
		if reason == typev1.Reason_REASON_UNSPECIFIED {
			continue
		}
		got := documented[fault.ReasonName(reason)]
		money := typev1.MoneyMoved(typev1.MoneyMoved_value["MONEY_MOVED_"+got.money])
		if want := strconv.Itoa(exitCode(reason, money)); got.exit != want {
			t.Errorf("%s: docs/errors.md says exit code %q, the program %s", fault.ReasonName(reason), got.exit, want)
		}
	}
}
