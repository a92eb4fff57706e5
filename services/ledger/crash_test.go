package ledger

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// crashPath tells this test's binary, run again, to be the ledger that is killed; crashRound, which ids to pay by.
const (
	crashPath  = "HALFKEY_LEDGER_CRASH_PATH"
	crashRound = "HALFKEY_LEDGER_CRASH_ROUND"
)

// crashed makes the fixture that both processes share: the same keys from one seed, on one file.
func crashed(t *testing.T, path string) *fixture {
	f := &fixture{World: evidencetest.NewWith(t, evidencetest.Config{Seed: "crash"}), t: t, path: path}
	f.clock.set(noon)
	f.open()
	return f
}

// A ledger that is killed at any moment has lost nothing that it answered, and a repeat of what it did not answer makes one
// payment with one hold.
func TestCrash(t *testing.T) {
	if path := os.Getenv(crashPath); path != "" {
		payUntilKilled(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	f := crashed(t, path)
	payer, payee := f.two()
	f.close()
	for round := range 3 {
		acknowledged := killed(t, path, round, 40+37*round)
		f = crashed(t, path)
		f.check()
		for name, state := range acknowledged {
			got := f.get(name)
			if got.GetState() != state && (state != authorized || got.GetState() != settled) {
				t.Errorf("%s was answered %s, is %s", name, state, got.GetState())
			}
		}
		// What was under way is repeated with the same bytes.
		for worker := range crashWorkers {
			for n := range 1000 {
				id := crashID(round, worker, n)
				if acknowledged[payer.Name+"/payments/"+id] == settled {
					continue
				}
				p := crashPayment(f, payer, payee, id)
				got, err := f.create(p)
				if err != nil {
					t.Fatalf("repeat %s: %v", id, err)
				}
				if got.GetState() == authorized {
					f.must(p, authorized)
					if _, err := f.settle(p); err != nil {
						t.Fatal(err)
					}
				}
				break
			}
		}
		f.close()
		f.check()
	}
}

const crashWorkers = 8

func crashID(round, worker, n int) string { return fmt.Sprintf("r%d-w%d-%d", round, worker, n) }

func crashPayment(f *fixture, payer, payee *evidencetest.Wallet, id string) *evidencetest.Payment {
	return f.payment(payer, evidencetest.PaymentConfig{ID: id, To: payee.GroupKey, Units: 7, Deadline: noon.Add(time.Hour)})
}

// killed runs the ledger as another process and kills it after some answers. It returns the last answered state of each
// payment.
func killed(t *testing.T, path string, round, answers int) map[string]typev1.PaymentState {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), crashPath+"="+path, crashRound+"="+fmt.Sprint(round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := make(map[string]typev1.PaymentState)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, state, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "answered "), " ")
		if !ok || !strings.HasPrefix(lines.Text(), "answered ") {
			continue
		}
		last[name] = typev1.PaymentState(typev1.PaymentState_value[state])
		if answers--; answers == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || answers > 0 {
		t.Fatalf("the ledger ended by itself (%v), %d answers short", err, answers)
	}
	return last
}

func payUntilKilled(t *testing.T, path string) {
	f := crashed(t, path)
	var round int
	if _, err := fmt.Sscan(os.Getenv(crashRound), &round); err != nil {
		t.Fatal(err)
	}
	payee := f.World.Wallet(evidencetest.WalletConfig{ID: "payee"})
	payer := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "payer"})
	payer.SetGuardRails(paying([]*evidencetest.Wallet{payee}, loose))
	var mu sync.Mutex
	say := func(p *typev1.Payment, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			fmt.Println("failed", err)
			os.Exit(3)
		}
		fmt.Println("answered", p.GetName(), p.GetState())
	}
	var wait sync.WaitGroup
	for worker := range crashWorkers {
		wait.Go(func() {
			for n := range 1000 {
				p := crashPayment(f, payer, payee, crashID(round, worker, n))
				say(f.create(p))
				say(f.settle(p))
			}
		})
	}
	wait.Wait()
}
