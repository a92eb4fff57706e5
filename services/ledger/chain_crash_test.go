package ledger

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// chainCrashPath tells this test's binary, run again, to be the ledger that is killed, and chainCrashNodes which nodes it asks.
const (
	chainCrashPath  = "HALFKEY_LEDGER_CHAIN_CRASH_PATH"
	chainCrashNodes = "HALFKEY_LEDGER_CHAIN_CRASH_NODES"
	// crashStepsMax is more than a round of questions has.
	crashStepsMax = 200
)

// killer ends a process at the n-th question that it asks, or some time after it.
type killer struct {
	mu      sync.Mutex
	process *os.Process
	left    int
	after   time.Duration
}

// option has a node count its questions. The question at which the process ends is not answered.
func (k *killer) option() solanarpctest.Option {
	return solanarpctest.Answering(func(*solanarpctest.Call) bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.process == nil {
			return false
		}
		if k.left--; k.left != 0 {
			return false
		}
		if k.after > 0 {
			process, after := k.process, k.after
			time.AfterFunc(after, func() { _ = process.Kill() })
			return false
		}
		_ = k.process.Kill()
		return true
	})
}

// TestChainCrash: a ledger that is killed between any two steps of its looks at the chain goes on where it was. Each payment is settled
// once, each failure frees once, and each deposit and outflow is booked once.
func TestChainCrash(t *testing.T) {
	if path := os.Getenv(chainCrashPath); path != "" {
		watchUntilKilled(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	f := newChainFixture(t, evidencetest.NewWith(t, evidencetest.Config{Seed: "chain crash"}), path)
	f.open()
	f.fund()
	units, steps := int64(funded), 0
	round := func(n int, after time.Duration) (questions int) {
		landing := f.authorize(fmt.Sprintf("land-%d-%d", n, after), 3)
		failing := f.authorize(fmt.Sprintf("fail-%d-%d", n, after), 5)
		f.chain.Send(f.wire(landing))
		f.chain.Advance(1)
		f.chain.Freeze(f.shop, f.mint, true)
		f.chain.Send(f.wire(failing))
		f.chain.Advance(1)
		f.chain.Freeze(f.shop, f.mint, false)
		f.chain.Fund(f.payer.GroupKey, f.mint, 17)
		f.exit(2, landing.Name)
		f.chain.Finalize()
		f.close()
		questions = f.killed(path, n, after)
		f.check()
		f.open()
		f.look()
		f.settledBy(landing)
		f.wantState(failing, failed)
		units += 17 - 2 - 3
		f.wantUnits(units, 0)
		if got := f.chain.Units(f.payer.GroupKey, f.mint); got != uint64(units) {
			t.Fatalf("the wallet has %d on the chain, the ledger says %d", got, units)
		}
		return questions
	}
	for steps < crashStepsMax {
		steps++
		if asked := round(steps, 0); asked < steps {
			break // It had asked everything before.
		}
		if t.Failed() {
			return
		}
	}
	if steps < 20 || steps == crashStepsMax {
		t.Errorf("killed at %d steps: the test does not see what the ledger asks", steps)
	}
	// While it stores what it has learned.
	for after := range 12 {
		round(steps-1, time.Duration(after+1)*time.Millisecond)
	}
	if got := f.transfers(typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW); len(got) == 0 {
		t.Error("no outflow was booked")
	}
	f.close()
	f.check()
}

// killed runs the ledger as another process until it is killed at its n-th question, or has taken in everything. It returns how many
// questions it asked.
func (f *chainFixture) killed(path string, n int, after time.Duration) (questions int) {
	f.t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChainCrash$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), chainCrashPath+"="+path, chainCrashNodes+"="+f.nodes[0].URL+" "+f.nodes[1].URL)
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	k := &killer{process: cmd.Process, left: n, after: after}
	for _, node := range f.nodes {
		node.Become(k.option())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// Whoever has nothing left to ask is quiet until its next round; one that asks nothing at all for long has not got that far.
	quiet, before, idle := time.NewTicker(200*time.Millisecond), n, 0
	defer quiet.Stop()
	for done := false; !done; {
		select {
		case err := <-ended:
			if err == nil {
				f.t.Fatal("the ledger ended by itself")
			}
			done = true
		case <-quiet.C:
			k.mu.Lock()
			left := k.left
			k.mu.Unlock()
			if idle++; left != before {
				before, idle = left, 0
			}
			if idle >= 3 && left < n || idle >= 50 {
				_ = cmd.Process.Kill()
			}
		}
	}
	k.mu.Lock()
	k.process = nil
	questions = n - k.left
	k.mu.Unlock()
	for _, node := range f.nodes {
		node.Become()
	}
	return questions
}

func watchUntilKilled(t *testing.T, path string) {
	f := newChainFixture(t, evidencetest.NewWith(t, evidencetest.Config{Seed: "chain crash"}), path)
	f.fixture.solana = func() *Solana { return f.rail(strings.Fields(os.Getenv(chainCrashNodes))...) }
	f.open()
	select {}
}
