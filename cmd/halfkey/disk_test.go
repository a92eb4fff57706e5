package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// onFullDisk is a process whose files cannot grow beyond some KiB, as on a disk that is full: writes fail where they would.
func onFullDisk(t testing.TB, kib int, home string, args ...string) *exec.Cmd {
	t.Helper()
	c := process(t, home, args...)
	shell, err := exec.LookPath("bash")
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("no bash, whose ulimit this takes, or no Linux")
	}
	c.Args = append([]string{shell, "-c", fmt.Sprintf(`ulimit -f %d && exec "$@"`, kib), "bash", c.Path}, args...)
	c.Path = shell
	return c
}

// A full disk under the home loses no key and no payment, and what is said about money stays true.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "fresh")
	if r := finish(t, process(t, home, "connect", world.system.InstallationFile())); r.code != exitDone {
		t.Fatalf("connect: %+v", r)
	}
	register := []string{"register", "--name", "Full Disk Register", "--owner", ownerEmail, "--json"}
	for _, kib := range []int{0, 1} {
		if r := finish(t, onFullDisk(t, kib, home, register...)); r.code == exitDone || !strings.Contains(r.stderr, `"money_moved":"NO"`) {
			t.Errorf("registering with %d KiB left: %+v", kib, r)
		}
	}
	if r := finish(t, process(t, home, register...)); r.code != exitDone {
		t.Errorf("registering with room again: %+v", r)
	}
	r := finish(t, process(t, home, "wallet", "list", "--json"))
	if wallets := object(t, r.stdout)["wallets"].([]any); len(wallets) != 1 {
		t.Errorf("got %s, want one wallet", r.stdout)
	}

	buyer, _ := buyerAndShop(t, "full")
	failed := 0
	const most = 4
	for kib := range most + 1 {
		id := fmt.Sprintf("full-%d", kib)
		pay := []string{"pay", "@full-shop", "1", "--id", id, "--json"}
		r := finish(t, onFullDisk(t, kib, buyer, pay...))
		paid := settledIDs(t, buyer)[id] == 1
		switch {
		case r.code == exitDone && !paid:
			t.Errorf("with %d KiB left it says that it paid, and did not: %+v", kib, r)
		case r.code != exitDone && paid && strings.Contains(r.stderr, `"money_moved":"NO"`):
			t.Errorf("with %d KiB left it says that it did not pay, and did: %+v", kib, r)
		}
		if r.code != exitDone {
			failed++
		}
		if r := finish(t, process(t, buyer, pay...)); r.code != exitDone {
			t.Errorf("%s with room again: %+v", id, r)
		}
	}
	if failed == 0 {
		t.Error("the disk was never full")
	}
	if got := settledIDs(t, buyer); len(got) != most+1 {
		t.Errorf("settled %v", got)
	}
	if available, held := availableUnits(t, buyer); available != fmt.Sprint(fundedUnits-(most+1)*1_000_000) || held != "0" {
		t.Errorf("got %s units and %s held", available, held)
	}
}
