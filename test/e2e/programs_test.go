package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/rpc"
)

// programsSeed repeats a random order.
var programsSeed = flag.Uint64("programs.seed", 0, "the seed of what tests of the five programs choose at random; 0 chooses it too")

// chooser chooses what a test leaves to chance, so that its seed repeats it.
type chooser struct{ seed, chosen uint64 }

// below is a number from 0 to n-1.
func (c *chooser) below(n int) int {
	c.chosen++
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", c.seed, c.chosen))
	return int(number(sum[:]) % uint64(n))
}

// pause lets some time below a bound pass.
func (c *chooser) pause(below time.Duration) { time.Sleep(time.Duration(c.below(int(below)))) }

// seeded is a chooser whose seed is in the log.
func seeded(t testing.TB) *chooser {
	t.Helper()
	c := &chooser{seed: *programsSeed}
	if c.seed == 0 {
		c.seed = newSeed()
	}
	t.Logf("repeat with -programs.seed %d", c.seed)
	return c
}

func newSeed() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return number(b[:])
}

// number reads the first eight bytes as one.
func number(b []byte) (n uint64) {
	for _, digit := range b[:8] {
		n = n<<8 | uint64(digit)
	}
	return n
}

// Five programs that are started in any order, before their etcd, wait for it, are not ready until then, and then a payment
// settles. SIGTERM ends each of them with exit code 0.
func TestProgramsStartInAnyOrder(t *testing.T) {
	t.Parallel()
	c := seeded(t)
	for range 2 {
		order := slices.Clone(programNames)
		for i := range order {
			j := c.below(i + 1)
			order[i], order[j] = order[j], order[i]
		}
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*comesUp)
			defer cancel()
			s := newSite(t)
			for _, name := range order {
				s.programs[name].start()
			}
			for _, name := range []string{"identity", "policy", "cosigner"} {
				p := s.programs[name]
				awaits(t, name+" says that it waits", func() bool { return strings.Contains(p.logs.String(), "not started yet, trying again") })
				if code, _ := p.get("/livez"); code != 200 {
					t.Errorf("%s without etcd: /livez is %d", name, code)
				}
				if code, _ := p.get("/readyz"); code != 503 {
					t.Errorf("%s without etcd: /readyz is %d, want 503", name, code)
				}
				if code, _, stderr := p.run("health"); code != 1 || !strings.Contains(stderr, "does not serve") {
					t.Errorf("%s without etcd: health says %d %q", name, code, stderr)
				}
			}
			s.etcd.start()
			s.users()
			s.awaitReady()
			p := s.people(ctx, t, 1)
			p.pay(ctx, t, 0, "first")
			for _, name := range order {
				p := s.programs[name]
				if code, stdout, stderr := p.run("health"); code != 0 || stdout != "ready\n" {
					t.Errorf("%s: health says %d %q %q", name, code, stdout, stderr)
				}
				p.signal(t, syscall.SIGTERM)
				if code := p.wait(t); code != 0 {
					t.Errorf("%s ends with %d after SIGTERM:\n%s", name, code, p.tail())
				}
				if code, _, stderr := p.run("health"); code != 1 || !strings.Contains(stderr, "refused") {
					t.Errorf("%s has ended: health says %d %q", name, code, stderr)
				}
			}
		})
	}
}

// SIGTERM makes a program not ready first; what runs is still answered, and then it ends with exit code 0.
func TestProgramsDrain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*comesUp)
	defer cancel()
	s := newSite(t)
	s.up()
	p := s.people(ctx, t, 1)
	gateway, ledger := s.programs["gateway"], s.programs["ledger"]

	ledger.signal(t, syscall.SIGSTOP) // A call on it now takes as long as the test wants.
	type answer struct {
		available int64
		err       error
	}
	answered := make(chan answer, 1)
	asked := func() int {
		return strings.Count(s.programs["identity"].logs.String(), `IdentityService/Authenticate"`)
	}
	before := asked()
	go func() {
		account, err := p.payers[0].Account(ctx)
		a := answer{err: err}
		if err == nil {
			a.available = account.Balances[0].Available
		}
		answered <- a
	}()
	// Who calls is asked for by the gateway first, so the call has arrived there.
	awaits(t, "the call is under way", func() bool { return asked() > before })
	gateway.signal(t, syscall.SIGTERM)
	awaits(t, "the gateway says 503", func() bool { code, _ := gateway.get("/readyz"); return code == 503 })
	if !gateway.running() {
		t.Fatal("it has ended before the call that ran")
	}
	select {
	case a := <-answered:
		t.Fatalf("the call was answered while the ledger stood still: %+v", a)
	default:
	}
	ledger.signal(t, syscall.SIGCONT)
	if a := <-answered; a.err != nil || a.available != deposited {
		t.Errorf("the call that ran: %+v", a)
	}
	if code := gateway.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Between saying that it is not ready and closing its listeners a gateway answers whoever comes: balancers need a moment to see it.
func TestProgramsPauseBeforeDrain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*comesUp)
	defer cancel()
	s := newSite(t)
	gateway := s.programs["gateway"]
	write(t, gateway.config, strings.Replace(read(t, gateway.config), "drain_pause: 0s", "drain_pause: 1m", 1))
	s.up()
	p := s.people(ctx, t, 1)
	trusts, err := rpc.PublicClientTLS([]byte(read(t, filepath.Join(s.made.Dir, "ca.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	balancer := http.Client{Transport: &http.Transport{TLSClientConfig: trusts, DisableKeepAlives: true}}
	healthz := func() int {
		answer, err := balancer.Get("https://" + s.made.HTTPS + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	if code := healthz(); code != 200 {
		t.Errorf("while it serves, /healthz is %d", code)
	}
	gateway.signal(t, syscall.SIGTERM)
	awaits(t, "the gateway says 503", func() bool { code, _ := gateway.get("/readyz"); return code == 503 })
	awaits(t, "it says so to whoever asks over HTTPS", func() bool { return healthz() == 503 })
	p.pay(ctx, t, 0, "in-the-pause")
	if shown(s.listens["gateway"]) == "" {
		t.Error("it takes no new connections")
	}
	gateway.kill()
}
