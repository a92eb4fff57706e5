package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// update writes the outputs in docs/ again: go test ./cmd/halfkey -run "TestTutorial|TestMigration" -update.
var update = flag.Bool("update", false, "write the outputs and references in docs/ again")

// docsDir is docs/ as seen from this package.
const docsDir = "../../docs"

// tutorialSteps follow a command of the tutorial where a person would look and type: what a program has to wait for, and the
// values that a person copies from an output.
var tutorialSteps = map[string]string{
	"halfkey-dev serve":                "await ready.json",
	"halfkey-dev sell":                 "await shop/sold", // It is made when the seller listens.
	"register --name 'Data Shop'":      "copy SHOP_CODE '^Claim code: (.+)$'",
	"register --name 'Research Agent'": "copy AGENT_CODE '^Claim code: (.+)$'",
	"'weather, one year'":              "copy PAYMENT '^Payment +(.+)$'",
}

// pageCommand is a command on a page, and the output that the page shows for it.
var pageCommand = regexp.MustCompile("(?m)^\\$ (.+)\n((?:[^$`\n].*\n|\n)*)")

// goBuilds is the part of the environment by which go finds what it has downloaded and built before.
var goBuilds = regexp.MustCompile(`^(HOME|XDG_\w+|C?GO\w*)=`)

// TestTutorial runs docs/tutorial.md as one script from its first command to its last, against the programs that it builds,
// and compares what they print with what the page shows.
func TestTutorial(t *testing.T) {
	if raced {
		t.Skip("it looks at files and output of processes, of which the race detector sees no more")
	}
	b := runPage(t, "tutorial.md")
	upToPaid, _, _ := strings.Cut(string(b), "\n$ halfkey --home agent pay")
	if n := strings.Count(upToPaid, "\n$ ") - strings.Count(upToPaid, "\n$ export ") + 1; n != 10 {
		t.Errorf("the page promises ten commands up to the first payment, and has %d", n)
	}
}

// TestMigration runs docs/migrate-from-api-keys.md in the same way.
func TestMigration(t *testing.T) {
	if raced {
		t.Skip("it looks at files and output of processes, of which the race detector sees no more")
	}
	runPage(t, "migrate-from-api-keys.md")
}

// sellerAddress is where a page's seller listens; in a test, where there is a place.
const sellerAddress = "127.0.0.1:8402"

// freeAddress is an address where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// runPage runs a page's commands and compares what they print with what it shows; with -update it writes that there. It returns the page.
func runPage(t *testing.T, name string) []byte {
	t.Helper()
	page := filepath.Join(docsDir, name)
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := pageCommand.FindAllStringSubmatch(string(b), -1)
	address := freeAddress(t)
	script := filepath.Join(t.TempDir(), "tutorial.txtar")
	if err := os.WriteFile(script, []byte(strings.ReplaceAll(tutorialScript(blocks), sellerAddress, address)), 0o600); err != nil {
		t.Fatal(err)
	}
	printed := make([]string, len(blocks))
	// The script is a parallel test: only the end of the one around it is its end.
	if !t.Run("page", func(t *testing.T) { testscript.Run(t, tutorial(script, printed)) }) {
		t.FailNow()
	}
	for n := range printed {
		printed[n] = strings.ReplaceAll(printed[n], address, sellerAddress)
	}
	if *update {
		next := -1
		b = pageCommand.ReplaceAllFunc(b, func([]byte) []byte {
			next++
			return []byte("$ " + blocks[next][1] + "\n" + printed[next])
		})
		if err := os.WriteFile(page, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for n, block := range blocks {
		if got, want := steady(printed[n]), steady(block[2]); got != want {
			t.Errorf("%s\nprints\n%s\nand the page shows\n%s", block[1], got, want)
		}
	}
	return b
}

// tutorialScript is a page's commands as a script. They stand in it as the page has them, but for what is a shell's own: a
// variable, a pipe, and the checkout as the working directory, in which a test leaves nothing behind.
func tutorialScript(blocks [][]string) string {
	var script strings.Builder
	for n, block := range blocks {
		prints := fmt.Sprintf("prints %d ", n)
		line := strings.NewReplacer("go build -o ", "go build -C $CHECKOUT -o $WORK/", " | ", "\nstdin stdout\n"+prints).Replace(block[1])
		switch variable, isExport := strings.CutPrefix(line, "export "); {
		case isExport:
			line = "env " + variable
		case strings.HasSuffix(line, " &"): // A server's log is no output.
			line = "exec " + line
		default:
			line = prints + line
		}
		fmt.Fprintln(&script, line)
		for part, step := range tutorialSteps {
			if strings.Contains(line, part) {
				fmt.Fprintln(&script, step)
			}
		}
	}
	return script.String()
}

// tutorial runs a tutorial's script, and keeps what each command printed.
func tutorial(script string, printed []string) testscript.Params {
	return testscript.Params{
		Files: []string{script},
		Setup: func(e *testscript.Env) error {
			checkout, err := filepath.Abs("../..")
			for _, v := range os.Environ() {
				if goBuilds.MatchString(v) {
					e.Vars = append(e.Vars, v)
				}
			}
			e.Vars = append(e.Vars, "CHECKOUT="+checkout, "PWD="+e.WorkDir, "TZ=UTC")
			return err
		},
		RequireExplicitExec: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// `prints N PROGRAM ARGS...` runs a program, whose exit code the page shows by what it prints.
			"prints": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[0])
				ts.Check(err)
				if err := ts.Exec(args[1], args[2:]...); !errors.As(err, new(*exec.ExitError)) {
					ts.Check(err)
				}
				printed[n] = ts.ReadFile("stderr") + ts.ReadFile("stdout")
			},
			// `await FILE` waits until there is one.
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				for end := time.Now().Add(stepMax); ; time.Sleep(10 * time.Millisecond) {
					if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
						return
					} else if time.Now().After(end) {
						ts.Check(err)
					}
				}
			},
			// `copy VAR REGEXP` puts what the last command printed in a place into the environment.
			"copy": func(ts *testscript.TestScript, _ bool, args []string) {
				found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
				if found == nil {
					ts.Fatalf("nothing to copy")
				}
				ts.Setenv(args[0], found[1])
			},
		},
	}
}

// unsteady is what differs from run to run.
var unsteady = []struct {
	is   *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "KEY"},
	{regexp.MustCompile(`\b[0-9A-Z]{4}(-[0-9A-Z]{4}){4}\b`), "CODE"},
	{regexp.MustCompile(`\bdev-[0-9a-f]{10}\b`), "INSTALLATION"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?( UTC|Z)?`), "TIME"},
	{regexp.MustCompile(` +`), " "},
}

// steady takes out of an output what differs from run to run.
func steady(s string) string {
	for _, u := range unsteady {
		s = u.is.ReplaceAllString(s, u.text)
	}
	return s
}
