package e2e_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// readyFile is what halfkey-dev serve announces.
type readyFile struct {
	InstallationFile   string `json:"installation_file"`
	OperatorKeyFile    string `json:"operator_key_file"`
	OwnerBootstrapCode string `json:"owner_bootstrap_code"`
}

// process is halfkey-dev serve on a directory, in a process of its own.
type process struct {
	dir, binary string
	cmd         *exec.Cmd
	ready       readyFile
}

func newProcess(ctx context.Context, t *testing.T) *process {
	t.Helper()
	p := &process{dir: t.TempDir()}
	p.binary = filepath.Join(p.dir, "halfkey-dev")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", p.binary, "github.com/halfkey/halfkey/cmd/halfkey-dev")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.start(ctx, t)
	t.Cleanup(func() { p.kill() })
	return p
}

// start runs the program until its ready file is there.
func (p *process) start(ctx context.Context, t *testing.T) {
	t.Helper()
	file := filepath.Join(p.dir, "ready.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	p.cmd = exec.CommandContext(ctx, p.binary, "serve", "--data-dir", filepath.Join(p.dir, "data"), "--ready-file", file)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := os.ReadFile(file)
		if err == nil {
			if err := json.Unmarshal(b, &p.ready); err != nil {
				t.Fatal(err)
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("serve did not get ready")
		case <-time.After(20 * time.Millisecond): // Another process: there is nothing to wait on but its file.
		}
	}
}

// kill ends the process by SIGKILL: no handler runs, nothing is flushed.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) client(t *testing.T, name string) *client.Client {
	t.Helper()
	file, err := os.ReadFile(p.ready.InstallationFile)
	if err != nil {
		t.Fatal(err)
	}
	h, err := client.OpenHome(filepath.Join(p.dir, name))
	if err == nil {
		err = h.Connect(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(h, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *process) agent(ctx context.Context, t *testing.T, owner *client.Owner, name string) *client.Agent {
	t.Helper()
	c := p.client(t, name)
	r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: "you@company.com"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	a, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (p *process) deposit(ctx context.Context, t *testing.T, a *client.Agent, units int64) {
	t.Helper()
	b, err := os.ReadFile(p.ready.OperatorKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.client(t, "operator").Operator(ed25519.NewKeyFromSeed(seed)).Deposit(ctx, a.Wallet(), "first", units); err != nil {
		t.Fatal(err)
	}
}

// TestKilledUnderLoad kills the whole process with SIGKILL while eight payments are under way, again and again, and repeats
// each of them until it has ended: every one was paid once, to the unit, and both journals verify.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const (
		rounds     = 3
		concurrent = 8
		killAfter  = 5 // settled payments in a round, so that others are at every step
		deposited  = 1000 * usd
	)
	p := newProcess(ctx, t)
	owner, err := p.client(t, "owner").CreateOwner(ctx, p.ready.OwnerBootstrapCode, "you@company.com")
	if err != nil {
		t.Fatal(err)
	}
	payer, shop := p.agent(ctx, t, owner, "payer"), p.agent(ctx, t, owner, "shop")
	rules := client.StandardRules(shop.GroupKey())
	rules.Daily = 500 * usd
	if _, err := owner.SetGuardRails(ctx, payer.Wallet(), rules); err != nil {
		t.Fatal(err)
	}
	p.deposit(ctx, t, payer, deposited)
	order := func(id string) client.Order {
		return client.Order{ID: id, Recipient: shop.Wallet(), Units: 1 * usd, Purpose: "load"}
	}

	var ids []string
	for round := range rounds {
		var mu sync.Mutex
		var wait sync.WaitGroup
		settled, killed := 0, make(chan struct{})
		for worker := range concurrent {
			wait.Go(func() {
				for n := 0; ; n++ {
					id := fmt.Sprintf("r%d-w%d-n%d", round, worker, n)
					mu.Lock()
					ids = append(ids, id)
					mu.Unlock()
					for {
						_, err := payer.Pay(ctx, order(id))
						if err == nil {
							break
						}
						select {
						case <-killed: // It failed because the process died.
							return
						case <-ctx.Done():
							t.Errorf("%s failed with nothing wrong: %v", id, err)
							return
						case <-time.After(20 * time.Millisecond): // The connection to the process before this one is not yet given up.
						}
					}
					mu.Lock()
					if settled++; settled == killAfter {
						p.kill()
						close(killed)
					}
					mu.Unlock()
					select {
					case <-killed:
						return
					case <-ctx.Done():
						return
					default:
					}
				}
			})
		}
		wait.Wait()
		p.start(ctx, t)
	}
	if p.ready.OwnerBootstrapCode != "" {
		t.Error("a used bootstrap code is still announced")
	}

	observer := p.client(t, "observer")
	for _, id := range ids {
		paid, err := payer.Pay(ctx, order(id))
		if err != nil {
			t.Fatalf("the repeat of %s: %v", id, err)
		}
		if paid.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
			t.Fatalf("the repeat of %s ended in %v", id, paid.State)
		}
	}
	payments, err := payer.Payments(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, payment := range payments {
		got = append(got, payment.ID)
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("the ledger has payments %v, want %v", got, ids)
	}
	spent := int64(len(ids)) * usd
	for _, side := range []struct {
		agent *client.Agent
		want  int64
	}{{payer, deposited - spent}, {shop, spent}} {
		account, err := side.agent.Account(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(account.Balances) != 1 || account.Balances[0].Available != side.want || account.Balances[0].Held != 0 {
			t.Errorf("%s has %+v, want %d available and nothing held", side.agent.Handle(), account.Balances, side.want)
		}
		journal, err := side.agent.Journal(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := journal.Verify(observer.Installation()); err != nil {
			t.Errorf("journal of %s: %v", side.agent.Handle(), err)
		}
	}
}
