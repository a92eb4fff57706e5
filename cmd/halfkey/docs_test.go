package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// update writes the outputs in docs/ again: go test ./cmd/halfkey -run TestTutorial -update.
var update = flag.Bool("update", false, "write the outputs and references in docs/ again")

// docsDir is docs/ as seen from this package.
const docsDir = "../../docs"

// tutorialSteps end a command of the tutorial where a person would look and type: what a program has to wait for, and the
// values that a person copies from an output.
var tutorialSteps = map[string]string{
	"halfkey-dev serve":                `while [ ! -s ready.json ]; do sleep 0.1; done`,
	`register --name "Data Shop"`:      `SHOP_CODE=$(sed -n 's/^Claim code: //p' "$OUT")`,
	`register --name "Research Agent"`: `AGENT_CODE=$(sed -n 's/^Claim code: //p' "$OUT")`,
	`"weather, one year"`:              `PAYMENT=$(sed -n 's/^Payment *//p' "$OUT")`,
}

// TestTutorial runs docs/tutorial.md from its first command to its last, against programs that are built from this tree, and
// compares what they print with what the page shows.
func TestTutorial(t *testing.T) {
	page := filepath.Join(docsDir, "tutorial.md")
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	commands, shown := consoleBlocks(string(b))
	if len(commands) < 10 {
		t.Fatalf("the page has %d commands", len(commands))
	}
	printed := runCommands(t, commands)
	if *update {
		if err := os.WriteFile(page, []byte(withOutputs(string(b), printed)), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for n, command := range commands {
		if got, want := steady(printed[n]), steady(shown[n]); got != want {
			t.Errorf("%s\nprints\n%s\nand the page shows\n%s", command, got, want)
		}
	}
}

// consoleBlocks are the commands of a page's console blocks and the output that the page shows for each.
func consoleBlocks(page string) (commands, outputs []string) {
	inside := false
	for _, line := range strings.Split(page, "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case line == "```console":
			inside = true
		case line == "```":
			inside = false
		case inside && isCommand:
			commands, outputs = append(commands, command), append(outputs, "")
		case inside:
			outputs[len(outputs)-1] += line + "\n"
		}
	}
	return commands, outputs
}

// withOutputs is the page with other outputs.
func withOutputs(page string, outputs []string) string {
	var out strings.Builder
	inside, n := false, 0
	for _, line := range strings.SplitAfter(page, "\n") {
		switch {
		case line == "```console\n":
			inside = true
		case line == "```\n":
			inside = false
		case inside && strings.HasPrefix(line, "$ "):
			line += outputs[n]
			n++
		case inside:
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

// runCommands runs commands one after another in one shell, in a directory of their own, and returns what each printed.
func runCommands(t *testing.T, commands []string) []string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "../halfkey-dev")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var script strings.Builder
	script.WriteString("trap 'kill %1 2>/dev/null; wait' EXIT\n")
	for n, command := range commands {
		if strings.HasPrefix(command, "go build ") {
			command = "" // The programs are built already, this one as the test itself.
		}
		fmt.Fprintf(&script, "OUT=%d.out\n", n)
		if background, ok := strings.CutSuffix(command, " &"); ok {
			fmt.Fprintf(&script, "%s >\"$OUT\" 2>&1 &\n", background)
		} else {
			fmt.Fprintf(&script, "{ %s\n} >\"$OUT\" 2>&1\n", command+"\n:")
		}
		for part, after := range tutorialSteps {
			if strings.Contains(command, part) {
				script.WriteString(after + "\n")
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	sh := exec.CommandContext(ctx, "bash", "-c", script.String())
	sh.Dir = dir
	sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TZ=UTC", "HALFKEY_HOME=", "HALFKEY_WALLET=", "HALFKEY_INSTALLATION=")
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	outputs := make([]string, len(commands))
	for n := range commands {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.out", n)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(commands[n], "halfkey-dev ") { // A server's log is no output.
			outputs[n] = strings.ReplaceAll(string(b), dir, "/home/you/halfkey")
		}
	}
	return outputs
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
