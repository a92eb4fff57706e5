package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// takenOut says which defence test/teeth has taken out of this test's binary, and so of the command line.
const takenOut = "HALFKEY_TEETH"

// process is the command line as a process of its own, on a home.
func process(t testing.TB, home string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("halfkey")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env = []string{"HALFKEY_HOME=" + home, "HOME=" + t.TempDir(), takenOut + "=" + os.Getenv(takenOut)}
	c.Dir = t.TempDir()
	return c
}

// ran is what a process has printed, and its exit code; -1 if a signal ended it.
type ran struct {
	code           int
	stdout, stderr string
}

func finish(t testing.TB, c *exec.Cmd) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return ran{code: c.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// killAfter starts a process and kills it as soon as when says so, or lets it end.
func killAfter(t testing.TB, c *exec.Cmd, when func() bool) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	for !when() {
		select {
		case <-done:
			return
		case <-time.After(200 * time.Microsecond):
		}
	}
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-done
}

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

// settledIDs are the ids of a home's settled payments, each as often as it is listed.
func settledIDs(t testing.TB, home string) map[string]int {
	t.Helper()
	r := finish(t, process(t, home, "payments", "list", "--json"))
	if r.code != exitDone {
		t.Fatalf("listing: %+v", r)
	}
	ids := map[string]int{}
	for _, p := range object(t, r.stdout)["payments"].([]any) {
		p := p.(map[string]any)
		if p["state"] == "SETTLED" {
			ids[p["id"].(string)]++
		}
	}
	return ids
}

// availableUnits is what a home's wallet holds, and whether something is held.
func availableUnits(t testing.TB, home string) (available, held string) {
	t.Helper()
	r := finish(t, process(t, home, "balance", "--json"))
	if r.code != exitDone {
		t.Fatalf("balance: %+v", r)
	}
	b := object(t, r.stdout)["balances"].([]any)[0].(map[string]any)
	return b["available_units"].(string), b["held_units"].(string)
}

// buyerAndShop makes two agents, of which the first may pay the second.
func buyerAndShop(t testing.TB, name string) (buyer, shop string) {
	t.Helper()
	dir := t.TempDir()
	buyer, shop = filepath.Join(dir, "buyer"), filepath.Join(dir, "shop")
	if _, err := newAgent(shop, name+"-shop", false); err != nil {
		t.Fatal(err)
	}
	if _, err := newAgent(buyer, name+"-buyer", false, name+"-shop"); err != nil {
		t.Fatal(err)
	}
	return buyer, shop
}

// However and whenever a paying process is killed, the same command again pays once, and says so.
func TestKilledWhilePaying(t *testing.T) {
	t.Parallel()
	buyer, _ := buyerAndShop(t, "killed")
	pay := func(id string) *exec.Cmd {
		return process(t, buyer, "pay", "@killed-shop", "1", "--id", id, "--memo", "once", "--json")
	}
	start := time.Now()
	if r := finish(t, pay("whole")); r.code != exitDone {
		t.Fatalf("an undisturbed payment: %+v", r)
	}
	whole := time.Since(start)

	want := map[string]int{"whole": 1}
	repeat := func(id string) {
		r := finish(t, pay(id))
		if r.code != exitDone {
			t.Fatalf("%s, repeated: %+v", id, r)
		}
		p := object(t, r.stdout)
		if p["id"] != id || p["state"] != "SETTLED" || p["money_moved"] != "YES" {
			t.Errorf("%s, repeated, is %v", id, p)
		}
		want[id] = 1
	}
	// By the clock: from before it begins to after its end, and twice in a row.
	const moments = 20
	for i := range moments {
		id := fmt.Sprintf("moment-%d", i)
		for range 1 + i%2 {
			at := time.Now().Add(whole * time.Duration(i) / (moments - 4))
			killAfter(t, pay(id), func() bool { return time.Now().After(at) })
		}
		repeat(id)
	}
	// By what it has stored: its intent, its message, its signature. Each save is a write of the record.
	for revision := 1; revision <= 3; revision++ {
		id := fmt.Sprintf("revision-%d", revision)
		killAfter(t, pay(id), func() bool { return storedRevision(buyer, id) >= revision })
		repeat(id)
	}

	got := settledIDs(t, buyer)
	if len(got) != len(want) {
		t.Errorf("got %d settled payments, want %d", len(got), len(want))
	}
	for id, n := range got {
		if n != 1 || want[id] != 1 {
			t.Errorf("%s settled %d times", id, n)
		}
	}
	available, held := availableUnits(t, buyer)
	if wantUnits := fmt.Sprint(fundedUnits - 1_000_000*len(want)); available != wantUnits || held != "0" {
		t.Errorf("got %s units and %s held, want %s and 0", available, held, wantUnits)
	}
}

// storedRevision is how often a home has saved a payment.
func storedRevision(home, id string) int {
	found, err := filepath.Glob(filepath.Join(home, "payments", "*", id+".json"))
	if err != nil || len(found) != 1 {
		return 0
	}
	b, err := os.ReadFile(found[0])
	var r struct {
		Revision int `json:"revision"`
	}
	if err != nil || json.Unmarshal(b, &r) != nil {
		return 0
	}
	return r.Revision
}

// However often a registering process is killed, the same command again makes one wallet.
func TestKilledWhileRegistering(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	if r := finish(t, process(t, home, "connect", world.system.InstallationFile())); r.code != exitDone {
		t.Fatalf("connect: %+v", r)
	}
	register := func() *exec.Cmd {
		return process(t, home, "register", "--name", "Killed Register", "--owner", ownerEmail, "--json")
	}
	for i := range 12 {
		at := time.Now().Add(time.Duration(i) * 15 * time.Millisecond)
		killAfter(t, register(), func() bool { return time.Now().After(at) })
	}
	first := finish(t, register())
	if first.code != exitDone {
		t.Fatalf("register: %+v", first)
	}
	if again := finish(t, register()); again.stdout != first.stdout {
		t.Errorf("got %s, then %s", first.stdout, again.stdout)
	}
	r := finish(t, process(t, home, "wallet", "list", "--json"))
	if wallets := object(t, r.stdout)["wallets"].([]any); len(wallets) != 1 {
		t.Errorf("got %d wallets, want 1: %s", len(wallets), r.stdout)
	}
}

// Processes on one home get into each other's way at most so that they say to repeat, and never pay twice.
func TestProcessesOnOneHome(t *testing.T) {
	t.Parallel()
	buyer, _ := buyerAndShop(t, "crowd")
	var work sync.WaitGroup
	for i := range 8 {
		id := fmt.Sprintf("crowd-%d", i%3)
		c := process(t, buyer, "pay", "@crowd-shop", "1", "--id", id, "--json")
		work.Go(func() {
			r := finish(t, c)
			if r.code != exitDone && r.code != exitUnavailable && r.code != exitUnknown {
				t.Errorf("%s: %+v", id, r)
			}
		})
	}
	work.Wait()
	for i := range 3 {
		id := fmt.Sprintf("crowd-%d", i)
		if r := finish(t, process(t, buyer, "pay", "@crowd-shop", "1", "--id", id, "--json")); r.code != exitDone {
			t.Errorf("%s, alone: %+v", id, r)
		}
	}
	if got := settledIDs(t, buyer); len(got) != 3 {
		t.Errorf("settled %v, want three", got)
	}
	if available, _ := availableUnits(t, buyer); available != fmt.Sprint(fundedUnits-3_000_000) {
		t.Errorf("got %s units, want three payments' less", available)
	}
}

// A person who interrupts a wait is told how the payment stands.
func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	buyer, _ := buyerAndShop(t, "interrupt")
	c := process(t, buyer, "pay", "@interrupt-shop", "6", "--id", "waits", "--wait")
	var stdout bytes.Buffer
	c.Stdout = &stdout
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for b := make([]byte, 1024); !strings.Contains(told.String(), "waiting for the owner"); {
		n, err := stderr.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, told.String())
		}
		told.Write(b[:n])
	}
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // Its exit code says more.
	if c.ProcessState.ExitCode() != exitPerson || !strings.HasPrefix(stdout.String(), "PENDING_REVIEW: 6 USD") {
		t.Errorf("got exit code %d and %q", c.ProcessState.ExitCode(), stdout.String())
	}
}
