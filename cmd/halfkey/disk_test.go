package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// room is what is left on a disk: pages for what files hold, inodes for files.
type room struct{ pages, inodes int }

// plenty is more than a disk of these tests has.
const plenty = 1 << 20

// disk is where a test has its homes: a file system of its own, which can be really full, or where that cannot be had a
// directory, beside which processes are kept from writing files of more than some KiB.
type disk struct {
	dir  string
	real bool
}

func newDisk(t testing.TB) *disk {
	t.Helper()
	if dir, ok := mountSmall(t); ok {
		return &disk{dir: dir, real: true}
	}
	return &disk{dir: t.TempDir()}
}

// run runs the command line while so much is left, and makes room again.
func (d *disk) run(t testing.TB, left room, home string, args ...string) ran {
	t.Helper()
	c := process(t, home, args...)
	if d.real {
		defer fill(t, d.dir, left)()
		return finish(t, c)
	}
	if left.pages == plenty {
		t.Skip("nothing can be mounted here, and no limit stands in for a number of files")
	}
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("nothing can be mounted here, and there is no bash, whose ulimit would stand in")
	}
	c.Args = append([]string{shell, "-c", fmt.Sprintf(`ulimit -f %d && exec "$@"`, left.pages), "bash", c.Path}, args...)
	c.Path = shell
	return finish(t, c)
}

// A full disk under a home loses no key and no payment, whichever write it stops, and what is said about money stays true.
func TestFullDisk(t *testing.T) {
	if raced {
		t.Skip("it looks at files and output of processes, of which the race detector sees no more")
	}
	t.Parallel()
	if _, err := newAgent(filepath.Join(t.TempDir(), "shop"), "full-shop", false); err != nil {
		t.Fatal(err)
	}
	const most = 6
	for n := range most {
		for name, left := range map[string]room{"pages": {n, plenty}, "inodes": {plenty, n}} {
			t.Run(fmt.Sprintf("%d %s", n, name), func(t *testing.T) {
				t.Parallel()
				liveOnFullDisk(t, fmt.Sprintf("full-%d-%s", n, name), left, n == 0)
			})
		}
	}
}

// liveOnFullDisk makes an owner and an agent that pays, each step first with too little room, and then with enough.
func liveOnFullDisk(t *testing.T, handle string, left room, none bool) {
	ctx, cancel := context.WithTimeout(t.Context(), stepMax)
	defer cancel()
	d := newDisk(t)
	owner, agent := filepath.Join(d.dir, "owner"), filepath.Join(d.dir, "agent")
	// step returns what comes of a command when there is room again; between looks at what came of it when there was too little.
	step := func(home string, between func(short ran), args ...string) map[string]any {
		t.Helper()
		args = append(args, "--json")
		r := d.run(t, left, home, args...)
		switch {
		case r.code == exitDone && none:
			t.Errorf("%v with no room at all: %+v", args, r)
		case r.code != exitDone && !strings.Contains(r.stderr, "no space left on device") && !strings.Contains(r.stderr, "file too large"):
			t.Errorf("%v does not say what is wrong: %+v", args, r)
		}
		between(r)
		if r = finish(t, process(t, home, args...)); r.code != exitDone {
			t.Fatalf("%v with room again: %+v", args, r)
		}
		return object(t, r.stdout)
	}
	unmoved := func(short ran) {
		t.Helper()
		if short.code != exitDone && object(t, short.stderr)["money_moved"] != "NO" {
			t.Errorf("money cannot have moved: %+v", short)
		}
	}

	invitation, err := world.owner.Invite(ctx, handle+"@example.com", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	code := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(code, invitation.Text(), 0o600); err != nil {
		t.Fatal(err)
	}
	step(owner, unmoved, "connect", world.system.InstallationFile())
	step(owner, unmoved, "owner", "init", "--code-file", code, "--second-key-file", filepath.Join(d.dir, "second.key"))
	step(agent, unmoved, "connect", world.system.InstallationFile())
	registered := step(agent, unmoved, "register", "--name", handle, "--owner", handle+"@example.com")
	wallet := registered["wallet"].(string)
	step(owner, unmoved, "owner", "claim", registered["claim_code"].(string), "--yes")
	rules := step(owner, func(short ran) {
		unmoved(short)
		said := short.code == exitDone || strings.Contains(short.stderr, "the guard rails are in force")
		now := object(t, finish(t, process(t, owner, "guardrails", "show", wallet, "--json")).stdout)
		if said != (now["number"] == 1.0) {
			t.Errorf("guard rails number %v are in force, and it says %+v", now["number"], short)
		}
	}, "guardrails", "set", "@"+handle, "--auto-approve", "5", "--daily", "50", "--hard-cap", "100", "--allow", "@full-shop")
	if rules["wallet"] != wallet || rules["number"] != 1.0 {
		t.Errorf("got %v, want guard rails number 1 of %s", rules, wallet)
	}
	if _, err := world.operator.Deposit(ctx, wallet, handle, fundedUnits); err != nil {
		t.Fatal(err)
	}
	const payments = 2
	for n := range payments {
		id := fmt.Sprintf("full-%d", n)
		step(agent, func(short ran) {
			said := "YES"
			if short.code != exitDone {
				said, _ = object(t, short.stderr)["money_moved"].(string)
			}
			if paid := settledIDs(t, agent)[id] == 1; said == "NO" && paid || said == "YES" && !paid {
				t.Errorf("%s is paid: %v, and it says %+v", id, paid, short)
			}
		}, "pay", "@full-shop", "1", "--id", id)
	}

	if got := settledIDs(t, agent); len(got) != payments {
		t.Errorf("settled %v", got)
	}
	if available, held := availableUnits(t, agent); available != fmt.Sprint(fundedUnits-payments*1_000_000) || held != "0" {
		t.Errorf("got %s units and %s held", available, held)
	}
	if got := object(t, finish(t, process(t, agent, "wallet", "list", "--json")).stdout)["wallets"].([]any); len(got) != 1 {
		t.Errorf("got %v, want one wallet", got)
	}
}
