package e2e_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

// paying is a payer that pays one thing after the other, and repeats each until it has settled.
type paying struct {
	settled atomic.Int64
	enough  atomic.Bool
	wait    sync.WaitGroup
}

func (p *people) paying(ctx context.Context, payer int, noted *begun) *paying {
	l := new(paying)
	l.wait.Go(func() {
		for n := 0; !l.enough.Load() && ctx.Err() == nil; n++ {
			id := fmt.Sprintf("a%d-n%d", payer, n)
			noted.begin(id)
			for ctx.Err() == nil {
				paid, err := p.payers[payer].Pay(ctx, p.order(id))
				if err == nil {
					noted.answered(id, paid.State)
					l.settled.Add(1)
					break
				}
				time.Sleep(lookEvery) // Somebody is away, or goes by another file; the next attempt is another call.
			}
		}
	})
	return l
}

// goesOn waits until some more has been paid.
func (l *paying) goesOn(t *testing.T, after string) {
	t.Helper()
	before := l.settled.Load()
	awaits(t, "payments go on after "+after, func() bool { return l.settled.Load() >= before+3 })
}

// rotate is "In order" of docs/operate.md's "Rotating service keys", steps 1 to 4, for the keys of some services.
func (s *shell) rotate(number int, change string, services ...string) {
	s.t.Helper()
	current := "installation.json"
	if number > 2 {
		current = fmt.Sprintf("installation.%d.json", number-1)
	}
	for _, name := range services {
		change += fmt.Sprintf(" --%s-key %s", name,
			strings.TrimSpace(s.run(fmt.Sprintf("halfkey installation key --new %s.%d.key", name, number))))
	}
	s.run(fmt.Sprintf("halfkey installation succeed --current %s --key operator.key %s --out installation.%d.json", current, change, number))
	s.installations(number)
	s.restart("gateway", "identity", "policy", "cosigner", "ledger")
}

// The sections "Rotating service keys" and "Another authority" of docs/operate.md, carried out on five programs that are paid through
// meanwhile: all three statement keys change, then the ledger's again; a client that is two files behind goes on by itself; then every
// certificate, etcd's too, changes its authority by bundles that overlap. Every payment ends once, the journals from before are verified
// by the command line, and a policy that is rolled back does not start.
func TestOperateRotation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	site := newSite(t)
	s := site.shell(t)
	site.up()
	p := site.people(ctx, t, 1)
	third, behind := site.agent(ctx, t, p.owner, "third"), site.client(t, "behind")
	old := site.authority(t)
	next, err := devcert.NewAuthority("next", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both := string(old.Certificate()) + string(next.Certificate())
	write(t, filepath.Join(s.made.Dir, "both.pem"), both)
	write(t, filepath.Join(s.made.Dir, "next.pem"), string(next.Certificate()))

	by := make([]begun, 1)
	load := p.paying(ctx, 0, &by[0])
	t.Cleanup(func() { load.enough.Store(true) })
	load.goesOn(t, "the beginning")
	s.rotate(2, "--ca both.pem", "policy", "ledger", "cosigner")
	load.goesOn(t, "every key has changed")
	s.rotate(3, "", "ledger")
	load.goesOn(t, "the ledger's has changed again")
	if number := behind.Installation().Number(); number != 1 {
		t.Fatalf("the client that is behind has file %d", number)
	}
	if _, err := behind.Operator(operatorKey(t, s.made.Dir)).Deposit(ctx, third.Wallet(), "late", usd); err != nil {
		t.Errorf("a client that is two files behind: %v", err)
	}
	if number := behind.Installation().Number(); number != 3 {
		t.Errorf("the client that was behind has file %d, want 3", number)
	}

	// Whoever is to come back under the new authority has to have a file that names it: a client takes it, else within five minutes, when it
	// meets the new key.
	for _, a := range []*client.Agent{p.shop, third} {
		if _, err := a.Journal(ctx); err != nil {
			t.Fatal(err)
		}
	}

	site.changeAuthority(t, next, both)
	load.goesOn(t, "every certificate has changed")
	pair, err := next.Pair()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.made.Dir, "ca.pem"), string(pair.Certificate))
	write(t, filepath.Join(s.made.Dir, "ca.key"), string(pair.Key))
	s.rotate(4, "--ca next.pem")
	load.goesOn(t, "clients know the new authority alone")

	load.enough.Store(true)
	load.wait.Wait()
	site.process.ready.InstallationFile = filepath.Join(s.made.Dir, "installation.4.json")
	site.wantWhole(ctx, t, p, by)
	for _, home := range []string{"payer-0", "shop", "third"} {
		if said := s.run("halfkey --home " + home + " audit verify"); !strings.HasPrefix(said, "Verified: ") {
			t.Errorf("audit verify of %s says %q", home, said)
		}
	}

	policy := s.programs["policy"]
	policy.stop(t)
	s.rollBack(policy)
	policy.start()
	if code := policy.wait(t); code == 0 || !strings.Contains(policy.tail(), "has accepted installation file number 4 already") {
		t.Errorf("a policy of before the rotation ends with %d:\n%s", code, policy.tail())
	}
}

// rollBack gives a program the first installation file and the first key.
func (s *shell) rollBack(p *program) {
	s.t.Helper()
	lines := strings.Split(read(s.t, p.config), "\n")
	n := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "installation:") })
	lines[n] = "installation: [installation.json]"
	write(s.t, p.config, strings.Join(lines, "\n"))
	write(s.t, filepath.Join(filepath.Dir(p.config), "statement.key"), read(s.t, filepath.Join(s.made.Dir, p.name+".key")))
}

// changeAuthority gives everybody certificates by another authority: both are trusted first, then the certificates change, then the one
// before is trusted no longer.
func (s *site) changeAuthority(t *testing.T, next *devcert.Authority, both string) {
	t.Helper()
	trust := func(bundle string) func() {
		return func() {
			for _, name := range programNames {
				write(t, filepath.Join(s.made.Dir, name, "ca.pem"), bundle)
			}
		}
	}
	// etcd reads whom it trusts when it starts.
	write(t, filepath.Join(s.member.TLS, "ca.pem"), both)
	s.etcd.stop(t)
	s.etcd.start()
	s.changes(t, ofAll, trust(both), programNames...)
	issue := func(dir, name string, leaf devcert.Leaf) {
		t.Helper()
		pair, err := next.Issue(leaf, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".key"), string(pair.Key))
		write(t, filepath.Join(dir, name+".pem"), string(pair.Certificate))
	}
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	issue(s.member.TLS, "server", devcert.Leaf{Hosts: s.made.EtcdHosts, Usages: append(server, x509.ExtKeyUsageClientAuth)})
	s.changes(t, ofAll, func() {
		for _, name := range programNames {
			s.give(t, authz.Service(name), next, time.Hour)
			dir := filepath.Join(s.made.Dir, name)
			switch {
			case name == "gateway":
				issue(dir, "public", devcert.Leaf{Hosts: []string{"127.0.0.1"}, Usages: server})
			case ofAll(name) == 2:
				issue(dir, "etcd", devcert.Leaf{Name: name, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			}
		}
	}, programNames...)
	s.changes(t, ofAll, trust(string(next.Certificate())), programNames...)
	write(t, filepath.Join(s.member.TLS, "ca.pem"), string(next.Certificate()))
	s.etcd.stop(t)
	s.etcd.start()
}
