package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const yellow = typev1.Light_LIGHT_YELLOW

// TestScripts runs what each command does, refuses and takes amiss: testdata/script, all at once.
func TestScripts(t *testing.T) { testscript.Run(t, scripts(t, "testdata/script")) }

// TestScriptsAlone runs what changes the whole installation for everybody: testdata/alone.
func TestScriptsAlone(t *testing.T) { testscript.Run(t, scripts(t, "testdata/alone")) }

// scripts are run with the environment
//
//	HALFKEY_HOME        a home that is not there yet
//	INSTALLATION        the installation file
//	OTHER_INSTALLATION  the file of an installation that is not this one
//	OPERATOR_KEY        the operator's key file
//	OWNER_HOME          the home of the installation's owner
//	REDEMPTION          the redemption account's key
//	HOSTILE             a text that does things to terminals
//
// and these commands besides testscript's own.
func scripts(t *testing.T, dir string) testscript.Params {
	t.Helper()
	other, err := evidencetest.New(t).Installation.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	otherFile := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(otherFile, other, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	var files []string
	for n := 0; n < len(all); n += scriptStride {
		files = append(files, all[n])
	}
	return testscript.Params{
		Files: files,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HALFKEY_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("INSTALLATION", world.system.InstallationFile())
			e.Setenv("OTHER_INSTALLATION", otherFile)
			e.Setenv("OPERATOR_KEY", world.system.OperatorKeyFile())
			e.Setenv("OWNER_HOME", world.ownerHome)
			e.Setenv("REDEMPTION", keyText(world.system.Installation().Content().GetRedemptionAccount()))
			e.Setenv("HOSTILE", "x\x1b[31m\u202e\u0085y")
			e.Setenv(takenOut, os.Getenv(takenOut))
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":    scriptExits,
			"json":     scriptJSON,
			"agent":    scriptAgent,
			"claim":    scriptClaim,
			"answer":   scriptAnswer,
			"unfreeze": scriptUnfreeze,
			"tree":     scriptTree,
			"sells":    scriptSells,
			"stores":   scriptStores,
		},
	}
}

// scriptExits runs a program that has to end with an exit code: `exits CODE PROGRAM ARGS...`. After a failure of the command
// line it checks that standard output is empty and standard error says whether money moved; after anything else, that
// standard output is not empty.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var ended *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &ended) {
		got = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if stdout == "" && !strings.Contains(stderr, "money moved: ") && !strings.Contains(stderr, `"money_moved":"`) {
		ts.Fatalf("neither a result nor a failure that says whether money moved")
	}
	if bad := hostileOutput(stdout + stderr); bad != "" {
		ts.Fatalf("%q reaches the terminal", bad)
	}
	if stdout != "" && strings.Contains(stderr, "halfkey: error:") {
		ts.Fatalf("a result and a failure at once")
	}
}

// scriptJSON looks into the one JSON object that a command printed: `json FILE PATH REGEXP` compares, `json FILE PATH =VAR`
// puts the value into the environment, `json FILE` checks that there is exactly one object on one line. A path is names and
// indexes with dots between; a value that is no text is its JSON.
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 && len(args) != 3 {
		ts.Fatalf("usage: json FILE [PATH REGEXP|=VAR]")
	}
	text := ts.ReadFile(args[0])
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "{") {
		ts.Fatalf("%s is not one JSON object on one line: %v", args[0], err)
	}
	if len(args) == 1 {
		return
	}
	for _, step := range strings.Split(args[1], ".") {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[step]
			if !ok {
				ts.Fatalf("%s has no %s", text, args[1])
			}
			v = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(in) {
				ts.Fatalf("%s has no %s", text, args[1])
			}
			v = in[i]
		default:
			ts.Fatalf("%s has no %s", text, args[1])
		}
	}
	got, isText := v.(string)
	if !isText {
		b, err := json.Marshal(v)
		ts.Check(err)
		got = string(b)
	}
	if name, ok := strings.CutPrefix(args[2], "="); ok {
		ts.Setenv(name, got)
		return
	}
	if !regexp.MustCompile("^(?:" + args[2] + ")$").MatchString(got) {
		ts.Fatalf("%s is %q, want %s", args[1], got, args[2])
	}
}

// scriptAgent makes an agent, claimed, funded with 100 USD and under the standard guard rails: `agent [-ask] HOME HANDLE
// [PAYEE...]`. It may pay the payees, agents made before; others are refused, or with -ask wait for the owner. $HANDLE, with
// dashes as underscores, becomes its wallet.
func scriptAgent(ts *testscript.TestScript, neg bool, args []string) {
	ask := len(args) > 0 && args[0] == "-ask"
	if ask {
		args = args[1:]
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: agent [-ask] HOME HANDLE [PAYEE...]")
	}
	wallet, err := newAgent(ts.MkAbs(args[0]), args[1], ask, args[2:]...)
	ts.Check(err)
	ts.Setenv(strings.ReplaceAll(args[1], "-", "_"), wallet)
}

// scriptClaim claims a wallet as the owner: `claim CODE`.
func scriptClaim(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: claim CODE")
	}
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	_, err := world.owner.Claim(ctx, args[0])
	ts.Check(err)
}

// scriptAnswer answers a review as the owner, once the payment is there: `answer approve|refuse PAYMENT`.
func scriptAnswer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || args[0] != "approve" && args[0] != "refuse" {
		ts.Fatalf("usage: answer approve|refuse PAYMENT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	answer := world.owner.Refuse
	if args[0] == "approve" {
		answer = world.owner.Approve
	}
	for {
		_, err := answer(ctx, args[1])
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			ts.Fatalf("answering %s: %v", args[1], err)
		}
	}
}

// scriptUnfreeze ends a freeze as the owner: `unfreeze WALLET ID`.
func scriptUnfreeze(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unfreeze WALLET ID")
	}
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	_, err := world.owner.Unfreeze(ctx, args[0], args[1])
	ts.Check(err)
}

// scriptTree notes what a directory holds, `tree DIR =VAR`, or checks that it still holds exactly that, `tree DIR VAR`. Files
// are noted by their digests: homes hold secrets.
func scriptTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tree DIR =VAR|VAR")
	}
	var found []string
	err := filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found = append(found, fmt.Sprintf("%s %x", path, sha256.Sum256(content)))
		return err
	})
	ts.Check(err)
	if name, ok := strings.CutPrefix(args[1], "="); ok {
		ts.Setenv(name, strings.Join(found, "\n"))
	} else if diff := cmp.Diff(strings.Split(ts.Getenv(args[1]), "\n"), found); diff != "" {
		ts.Fatalf("%s has changed (-before +after):\n%s", args[0], diff)
	}
}

// asksNobody are the commands that only read what they are given: they have no refusal besides misuse.
var asksNobody = []string{
	"completion", "guardrails lint", "installation key", "installation show", "installation succeed", "version",
}

// TestScriptsCoverEverything: of every command the scripts run a success, a misuse and a refusal, and of every flag of it a success.
func TestScriptsCoverEverything(t *testing.T) {
	runs := scriptRuns(t)
	var c cli
	parser, err := newParser(&c, &app{globals: &c.globals})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range parser.Model.Leaves(true) {
		kinds, done := make(map[string]bool), ""
		for _, r := range runs {
			if runsCommand(r, n) {
				kinds[r.kind] = true
				if r.kind == ranDone {
					done += r.command + "\n"
				}
			}
		}
		for _, kind := range []string{ranDone, ranMisused, ranRefused} {
			if !kinds[kind] && (kind != ranRefused || !slices.Contains(asksNobody, n.Path())) {
				t.Errorf("no script has `halfkey %s` %s", n.Path(), kind)
			}
		}
		for at := n; at.Parent != nil; at = at.Parent {
			for _, f := range at.Flags {
				if flag := "--" + f.Name; !strings.Contains(done, flag+" ") && !strings.Contains(done, flag+"=") {
					t.Errorf("no script has `halfkey %s %s` %s", n.Path(), flag, ranDone)
				}
			}
		}
	}
	for _, f := range parser.Model.Flags {
		if f.Name != "help" && !slices.ContainsFunc(runs, func(r scriptRun) bool { return strings.Contains(r.command, "--"+f.Name+" ") }) {
			t.Errorf("no script runs --%s", f.Name)
		}
	}
}

// runsCommand reports whether a run is one of a command, and of none below it.
func runsCommand(r scriptRun, n *kong.Node) bool {
	path := pathOf(n)
	if path == n.Path() {
		return strings.HasPrefix(r.command, path+" ")
	}
	return strings.HasPrefix(r.command, path+" ") && !slices.ContainsFunc(n.Parent.Children, func(other *kong.Node) bool {
		return other != n && strings.HasPrefix(r.command, other.Path()+" ")
	})
}

// How a run of a script ends.
const (
	ranDone    = "done"
	ranMisused = "misused"
	ranRefused = "refused"
)

// scriptRun is one run of the command line in a script.
type scriptRun struct {
	// command is what follows the program's name, without the global flags before the command, and with a space at its end.
	command string
	// kind is how the script says that it ends.
	kind string
}

// scriptRuns are all runs in all scripts.
func scriptRuns(t *testing.T) []scriptRun {
	t.Helper()
	var runs []scriptRun
	first := regexp.MustCompile(`^((--json|(--home|--wallet|--timeout) \S+) )*`)
	for _, pattern := range []string{"testdata/script/*.txtar", "testdata/alone/*.txtar", "testdata/restored/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(b)) {
				how, command, ok := strings.Cut(strings.TrimSpace(line), "halfkey ")
				if !ok {
					continue
				}
				kind := ranRefused
				switch how {
				case "exec ", "exits 0 ":
					kind = ranDone
				case "exits 2 ":
					kind = ranMisused
				case "exits 1 ", "exits 3 ", "exits 4 ", "exits 5 ", "exits 6 ", "exits 7 ", "! exec ":
				default:
					continue // Text about the program.
				}
				runs = append(runs, scriptRun{first.ReplaceAllString(command, "") + " ", kind})
			}
		}
	}
	return runs
}
