package program

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// within bounds what takes milliseconds; the rest is for slow machines.
const within = 30 * time.Second

// shutdown is a server that does something when it is shut down.
type shutdown func(ctx context.Context) error

// Shutdown implements Server.
func (s shutdown) Shutdown(ctx context.Context) error { return s(ctx) }

// running is a program with a configuration and certificates of its own.
type running struct {
	t          *testing.T
	spec       Spec[config.Ledger, *config.Ledger]
	file       string
	operations string
	logs       canary.Said
	stop       context.CancelFunc // SIGTERM's.
	ca         *devcert.Authority
	id         string // The installation's.
	ended      chan int
}

// newRunning makes the ledger's files and a program that starts what the test says.
func newRunning(t *testing.T, start func(e *Environment) Starter) *running {
	t.Helper()
	w := evidencetest.New(t)
	dir := t.TempDir()
	ca, err := devcert.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Service(w.Installation.ID(), authz.Ledger, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	installation, err := w.Installation.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	operations := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"installation.json": installation, "tls.pem": pair.Certificate, "tls.key": pair.Key, "ca.pem": ca.Certificate(),
		"ledger.yaml": fmt.Appendf(nil, `
installation: [installation.json]
listen: 127.0.0.1:0
operations: %s
tls: {certificate: tls.pem, key: tls.key, authorities: ca.pem}
statement_key: statement.key
database: ledger.db
drain_pause: 0s
`, operations),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &running{
		t: t, file: filepath.Join(dir, "ledger.yaml"), operations: operations, ended: make(chan int, 1), ca: ca, id: w.Installation.ID(),
		spec: Spec[config.Ledger, *config.Ledger]{
			Name: authz.Ledger, About: "A ledger.", Open: func(e *Environment, _ *config.Ledger) (Starter, error) { return start(e), nil },
		},
	}
}

// pause sets the time between not being ready and taking no further calls.
func (r *running) pause(d time.Duration) {
	r.t.Helper()
	text, err := os.ReadFile(r.file)
	if err == nil {
		err = os.WriteFile(r.file, bytes.Replace(text, []byte("drain_pause: 0s"), fmt.Appendf(nil, "drain_pause: %s", d), 1), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// serve runs the program until the test ends it.
func (r *running) serve() {
	ctx, stop := context.WithCancel(r.t.Context())
	r.stop = stop
	go func() { r.ended <- r.spec.run(ctx, []string{"--config", r.file}, &r.logs, &r.logs) }()
}

// code waits for the exit code.
func (r *running) code() int {
	r.t.Helper()
	select {
	case code := <-r.ended:
		return code
	case <-time.After(within):
		r.t.Fatalf("does not end:\n%s", r.logs.String())
		return 0
	}
}

// get is the status of a path of the operations listener; 0 if nobody answers.
func (r *running) get(path string) int {
	resp, err := (&http.Client{Timeout: within, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + r.operations + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (r *running) awaits(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("does not come about: %s\n%s", what, r.logs.String())
		}
	}
}

// health is the exit code of the health command.
func (r *running) health() int {
	var said bytes.Buffer
	return r.spec.run(r.t.Context(), []string{"--config", r.file, "health"}, &said, &said)
}

// A program that is told to end is not ready first, then waits for what runs, and ends with exit code 0.
func TestDrain(t *testing.T) {
	draining, leave := make(chan struct{}), make(chan struct{})
	const pause = 500 * time.Millisecond
	r := newRunning(t, func(*Environment) Starter {
		return func(context.Context) (Server, error) {
			return shutdown(func(ctx context.Context) error {
				close(draining)
				<-leave
				return ctx.Err()
			}), nil
		}
	})
	if code := r.health(); code != exitError {
		t.Errorf("before it runs, health is %d", code)
	}
	r.pause(pause)
	r.serve()
	r.awaits("it is ready", func() bool { return r.get(pathReady) == http.StatusOK })
	if code := r.health(); code != exitOK {
		t.Errorf("while it serves, health is %d", code)
	}
	told := time.Now()
	r.stop()
	<-draining
	if took := time.Since(told); took < pause {
		t.Errorf("calls were refused %s after it was told to end, want not before %s", took, pause)
	}
	if got := r.get(pathReady); got != http.StatusServiceUnavailable {
		t.Errorf("while calls end, %s is %d, want 503", pathReady, got)
	}
	if got := r.get(pathLive); got != http.StatusOK {
		t.Errorf("while calls end, %s is %d, want 200", pathLive, got)
	}
	if code := r.health(); code != exitError {
		t.Errorf("while calls end, health is %d", code)
	}
	close(leave)
	if code := r.code(); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, r.logs.String())
	}
}

// What is not there yet is waited for, and the program is not ready until then; what is wrong is not waited for.
func TestStart(t *testing.T) {
	unavailable := fault.Caused(errors.New("nobody listens there"), typev1.Reason_REASON_UNAVAILABLE, typev1.MoneyMoved_MONEY_MOVED_NO,
		"the store is not reachable")
	served := shutdown(func(context.Context) error { return nil })
	t.Run("later", func(t *testing.T) {
		there := make(chan struct{})
		r := newRunning(t, func(*Environment) Starter {
			return func(context.Context) (Server, error) {
				select {
				case <-there:
					return served, nil
				default:
					return nil, unavailable
				}
			}
		})
		r.serve()
		r.awaits("it says why it waits", func() bool {
			said := r.logs.String()
			return strings.Contains(said, "not started yet, trying again") && strings.Contains(said, "nobody listens there")
		})
		if got := r.get(pathReady); got != http.StatusServiceUnavailable {
			t.Errorf("while it waits, %s is %d, want 503", pathReady, got)
		}
		close(there)
		r.awaits("it is ready", func() bool { return r.get(pathReady) == http.StatusOK })
		r.stop()
		if code := r.code(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("ended before", func(t *testing.T) {
		r := newRunning(t, func(*Environment) Starter {
			return func(context.Context) (Server, error) { return nil, unavailable }
		})
		r.serve()
		r.awaits("it waits", func() bool { return strings.Contains(r.logs.String(), "trying again") })
		r.stop()
		if code := r.code(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("never", func(t *testing.T) {
		r := newRunning(t, func(*Environment) Starter {
			return func(context.Context) (Server, error) { return nil, errors.New("another ledger has this database open") }
		})
		r.serve()
		if code := r.code(); code != exitError || !strings.Contains(r.logs.String(), "ledger: error: another ledger has this database open") {
			t.Errorf("exit code %d:\n%s", code, r.logs.String())
		}
	})
}

// A listener that fails ends the program, with what runs drained and another exit code than 0.
func TestListenerFails(t *testing.T) {
	drained := false
	r := newRunning(t, func(e *Environment) Starter {
		return func(context.Context) (Server, error) {
			time.AfterFunc(10*time.Millisecond, func() { e.Fail(errors.New("the listener broke")) })
			return shutdown(func(context.Context) error { drained = true; return nil }), nil
		}
	})
	r.serve()
	if code := r.code(); code != exitError || !strings.Contains(r.logs.String(), "the listener broke") || !drained {
		t.Errorf("exit code %d, drained %t:\n%s", code, drained, r.logs.String())
	}
}

// A program with another service's certificate, or another installation's, does not start: it would speak in that one's name.
func TestOwnCertificate(t *testing.T) {
	started := false
	r := newRunning(t, func(*Environment) Starter {
		started = true
		return func(context.Context) (Server, error) { return nil, errors.New("it has started") }
	})
	for _, tt := range []struct {
		installation string
		service      authz.Service
		want         string
	}{
		{r.id, authz.Cosigner, "tls.certificate: is the cosigner's, want the ledger's"},
		{"another", authz.Ledger, "tls.certificate: authz: the certificate names no service of this installation"},
	} {
		pair, err := r.ca.Service(tt.installation, tt.service, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{"tls.pem": pair.Certificate, "tls.key": pair.Key} {
			if err := os.WriteFile(filepath.Join(filepath.Dir(r.file), file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, command := range []string{"check", "serve"} {
			var said bytes.Buffer
			code := r.spec.run(t.Context(), []string{"--config", r.file, command}, &said, &said)
			if code != exitError || !strings.Contains(said.String(), tt.want) || started {
				t.Errorf("%s with %s's %s: exit code %d, started %t: %s", command, tt.installation, tt.service, code, started, said.String())
			}
		}
	}
}

// `check` says in words what is wrong with the program's own certificate: what it starts with all the same, because a new one may be
// on its way, and what it does not start with.
func TestCheckCertificate(t *testing.T) {
	r := newRunning(t, func(*Environment) Starter {
		return func(context.Context) (Server, error) { return nil, errors.New("it has started") }
	})
	check := func() (int, string) {
		var said bytes.Buffer
		code := r.spec.run(t.Context(), []string{"--config", r.file, "check"}, &said, &said)
		return code, said.String()
	}
	if code, said := check(); code != exitOK || !strings.Contains(said, "every file is there and fits") {
		t.Errorf("a certificate with nothing wrong: exit code %d: %s", code, said)
	}
	other, err := devcert.NewAuthority("another", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, tt := range []struct {
		name    string
		by      *devcert.Authority
		is      authz.Service
		usages  []x509.ExtKeyUsage
		made    time.Duration // ago
		another bool          // Its key is of another certificate.
		want    []string
	}{
		{"expired", r.ca, authz.Ledger, both, 91 * 24 * time.Hour, false, []string{"tls.certificate: has expired on "}},
		{"not yet", r.ca, authz.Ledger, both, -time.Hour, false, []string{"tls.certificate: is good from ", " only; it is "}},
		{"another authority's", other, authz.Ledger, both, 0, false, []string{"tls.certificate: is not signed by the authorities"}},
		{"a server's alone", r.ca, authz.Ledger, both[:1], 0, false, []string{"tls.certificate: is not for each of the uses"}},
		{"a client's alone", r.ca, authz.Ledger, both[1:], 0, false, []string{"tls.certificate: is not for each of the uses that it needs"}},
		{"two things at once", other, authz.Ledger, both, 91 * 24 * time.Hour, false, []string{"has expired", "; is not signed"}},
		{"another service's", r.ca, authz.Policy, both, 0, false, []string{"tls.certificate: is the policy's, want the ledger's"}},
		{"with another key", r.ca, authz.Ledger, both, 0, true, []string{"tls.pem with ", "private key does not match public key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair, err := tt.by.Issue(devcert.Leaf{URI: authz.ID(r.id, tt.is), Usages: tt.usages}, time.Now().Add(-tt.made))
			if err != nil {
				t.Fatal(err)
			}
			if tt.another {
				wrong, err := tt.by.Service(r.id, tt.is, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				pair.Key = wrong.Key
			}
			for file, content := range map[string][]byte{"tls.pem": pair.Certificate, "tls.key": pair.Key} {
				if err := os.WriteFile(filepath.Join(filepath.Dir(r.file), file), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, said := check()
			for _, want := range tt.want {
				if code != exitError || !strings.Contains(said, want) {
					t.Errorf("exit code %d, want %d and %q: %s", code, exitError, want, said)
				}
			}
		})
	}
}
