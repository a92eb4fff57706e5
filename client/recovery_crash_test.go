package client_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
)

// dyingWorld is an installation behind a proxy whose agent and owner die together at one step, a write to a home or a call. A
// recovery file is written between two such steps, so that dying before and after each of them is dying before and after that.
type dyingWorld struct {
	*resharingWorld
	t *testing.T
	p *proxy
	// pristine is the owner's home as it was before anything happened.
	pristine *client.Home
	owners   *client.Home
	file     string
}

func newDyingWorld(t *testing.T) *dyingWorld {
	t.Helper()
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	w := &dyingWorld{resharingWorld: newResharingWorld(t, p.home(h), h), t: t, p: p}
	w.pristine = w.copyHome(h.OwnerHome())
	if err := w.pristine.Connect(p.files(h)[1]); err != nil {
		t.Fatal(err)
	}
	w.owners = w.copyHome(w.pristine)
	return w
}

// copyHome copies a home for as long as the world lasts.
func (w *dyingWorld) copyHome(home *client.Home) *client.Home { return copyHome(w.t, home) }

// program is a life of the agent's and the owner's programs, on their homes.
type program struct {
	t     *testing.T
	w     *dyingWorld
	point *crashPoint // Nil for one that lives.
}

func (p *program) client(home *client.Home) *client.Client {
	if p.point == nil {
		return p.w.Client(home)
	}
	return openOn(p.t, home, &crashingHome{crashPoint: p.point})
}

func (p *program) agent() *client.Agent {
	p.t.Helper()
	a, err := p.client(p.w.home).Agent(p.w.payer.Wallet())
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *program) owner() *client.Owner {
	p.t.Helper()
	o, err := p.client(p.w.owners).Owner()
	if err != nil {
		p.t.Fatal(err)
	}
	return o
}

// The calls that are repeated.
func offerAndRefresh(p *program) error {
	offer, err := p.agent().Offer(testContext(p.t))
	if err == nil {
		_, err = p.owner().Refresh(testContext(p.t), offer)
	}
	return err
}

func reshare(p *program) error {
	_, err := p.agent().Reshare(testContext(p.t))
	return err
}

func createRecovery(p *program) error {
	_, err := p.owner().CreateRecovery(testContext(p.t), p.w.payer.Wallet(), p.w.file, passphrase())
	return err
}

func openRecovery(p *program) error {
	_, err := p.owner().OpenRecovery(testContext(p.t), p.w.file, passphrase())
	return err
}

func replace(p *program) error {
	_, err := p.owner().Replace(testContext(p.t), p.w.payer.Wallet(), p.w.file, passphrase())
	return err
}

// die makes the proxy's calls steps of a crash point as well.
func (p *proxy) die(point *crashPoint) {
	var mu sync.Mutex
	armed := false
	crashed := status.Error(codes.DataLoss, "crashed")
	p.set(func(string, proto.Message) error {
		mu.Lock()
		defer mu.Unlock()
		err := point.write(func() error { return nil })
		if err != nil && point.after && !armed && point.count == point.at {
			armed, point.dead = true, false // The call is carried out; its answer is not heard.
			return nil
		}
		if err != nil {
			return crashed
		}
		return nil
	}, func(string, proto.Message, proto.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if armed {
			point.dead = true
			return crashed
		}
		return nil
	})
}

// dies lets a program die at each step of its calls, repeats the one that it died in, and goes on with the others. Each time
// prepare has made the state to begin from, and after sees the one that came of it. Before a step is after the one before it,
// but for the recovery file.
func (w *dyingWorld) dies(t *testing.T, calls []func(*program) error, prepare func(t *testing.T), after func(t *testing.T)) {
	t.Helper()
	for at := 1; ; at += crashStride {
		died := false
		for _, late := range []bool{false, true} {
			if !late && w.file == "" && at > 1 {
				continue
			}
			t.Run(fmt.Sprintf("step %d, after it %v", at, late), func(t *testing.T) {
				prepare(t)
				point := &crashPoint{at: at, after: late}
				w.p.die(point)
				done := 0
				var err error
				for _, call := range calls {
					if err = call(&program{t, w, point}); err != nil {
						break
					}
					done++
				}
				w.p.honest()
				if died = point.dead; died != (err != nil) {
					t.Fatalf("died: %v, and the call that it died in says %v", died, err)
				}
				for _, call := range calls[done:] {
					if err := call(&program{t: t, w: w}); err != nil {
						t.Fatalf("repeated after %v: %v", point, err)
					}
				}
				after(t)
			})
		}
		if t.Failed() {
			return
		}
		if !died {
			if at < 8 {
				t.Fatalf("there were %d steps", at-1)
			}
			return
		}
	}
}

// settledAt fails unless the wallet's one sharing is of this epoch, its agent pays, and neither home nor file keeps anything of
// a run.
func (w *dyingWorld) settledAt(t *testing.T, home *client.Home, epoch uint64) {
	t.Helper()
	a, err := w.Client(home).Agent(w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	w.pays(t, a)
	if r, err := a.Reshare(testContext(t)); err != nil || r.Epoch != epoch || r.State != reshared {
		t.Fatalf("got %+v, %v, want epoch %d", r, err, epoch)
	}
	secret := string(readAll(t, filepath.Join(home.Dir(), "keys", "agent-"+strings.TrimPrefix(a.Wallet(), "wallets/"))))
	for _, left := range []string{"resharing_attempt", "pending_share", "offered_request_seed"} {
		if strings.Contains(secret, left) {
			t.Errorf("the home still holds %s", left)
		}
	}
	if w.file != "" {
		exits(t, a, w.file)
		entries, err := os.ReadDir(filepath.Dir(w.file))
		if err != nil || len(entries) != 1 {
			t.Errorf("beside the recovery file there is %v, %v", entries, err)
		}
	}
}

// isOut fails unless a home that was copied before gets nothing done.
func (w *dyingWorld) isOut(t *testing.T, before *client.Home) {
	t.Helper()
	thief, err := w.Client(before).Agent(w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := thief.Pay(testContext(t), client.Order{Recipient: w.shop.Wallet(), Units: 1}); err == nil {
		t.Error("a home of before pays")
	}
	if _, err := thief.Reshare(testContext(t)); err == nil {
		t.Error("a home of before gets new shares")
	}
}

// TestCrashWhileRefreshing dies at each step of a refresh, without a recovery share and with one.
func TestCrashWhileRefreshing(t *testing.T) {
	t.Parallel()
	w := newDyingWorld(t)
	epoch := uint64(1)
	var before *client.Home
	prepare := func(*testing.T) { before = w.copyHome(w.home) }
	after := func(t *testing.T) {
		epoch++
		w.settledAt(t, w.home, epoch)
		w.isOut(t, before)
	}
	t.Run("without a recovery share", func(t *testing.T) {
		w.dies(t, []func(*program) error{offerAndRefresh, reshare}, prepare, after)
	})
	w.file = filepath.Join(t.TempDir(), "recovery")
	for _, call := range []func(*program) error{createRecovery, reshare, openRecovery} {
		if err := call(&program{t: t, w: w}); err != nil {
			t.Fatal(err)
		}
	}
	epoch++
	t.Run("with a recovery share", func(t *testing.T) {
		w.dies(t, []func(*program) error{offerAndRefresh, reshare, openRecovery}, prepare, after)
	})
}

// TestCrashWhileCreatingRecovery dies at each step of an enrolment: the first one of its wallet, and each later one in place of
// the one before.
func TestCrashWhileCreatingRecovery(t *testing.T) {
	t.Parallel()
	w := newDyingWorld(t)
	epoch := uint64(1)
	w.dies(t, []func(*program) error{createRecovery, reshare, openRecovery},
		func(*testing.T) { w.file = filepath.Join(w.t.TempDir(), "recovery") },
		func(t *testing.T) {
			epoch++
			w.settledAt(t, w.home, epoch)
		})
}

// TestCrashWhileReplacing dies at each step of a takeover: in a home that holds nothing of the wallet, and in one that was its
// agent's before, while the recovery share has not been opened since a refresh.
func TestCrashWhileReplacing(t *testing.T) {
	t.Parallel()
	w := newDyingWorld(t)
	w.file = filepath.Join(t.TempDir(), "recovery")
	lives := func(t *testing.T, calls ...func(*program) error) {
		t.Helper()
		for _, call := range calls {
			if err := call(&program{t: t, w: w}); err != nil {
				t.Fatal(err)
			}
		}
	}
	lives(t, createRecovery, reshare, openRecovery)
	epoch := uint64(2)
	var before *client.Home
	t.Run("in a fresh home", func(t *testing.T) {
		w.dies(t, []func(*program) error{replace},
			func(*testing.T) { before, w.owners = w.home, w.copyHome(w.pristine) },
			func(t *testing.T) {
				epoch++
				w.home = w.owners
				w.settledAt(t, w.home, epoch)
				w.isOut(t, before)
			})
	})
	// Two homes take the wallet from each other, after a refresh by the one that has it.
	other := w.owners
	w.owners = w.copyHome(w.pristine)
	lives(t, replace)
	epoch++
	w.home = w.owners
	t.Run("in a home of before", func(t *testing.T) {
		w.dies(t, []func(*program) error{replace},
			func(t *testing.T) {
				w.owners = w.home
				lives(t, offerAndRefresh, reshare)
				epoch++
				before, w.owners, other = w.home, other, w.home
			},
			func(t *testing.T) {
				epoch++
				w.home = w.owners
				w.settledAt(t, w.home, epoch)
				w.isOut(t, before)
			})
	})
}

// TestResharingFromManyPrograms lets programs on one home make new shares at once, while others pay: there is one sharing, and
// every payment is made once.
func TestResharingFromManyPrograms(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	const programs = 4
	for epoch := uint64(2); epoch <= 4; epoch++ {
		before := balance(t, w.shop)
		offer, err := w.payer.Offer(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Owner().Refresh(ctx, offer); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 3*programs)
		for n := range programs {
			a, err := h.Client(w.home).Agent("")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				r, err := a.Reshare(ctx)
				if err == nil && (r.Epoch != epoch || r.State != reshared) {
					err = fmt.Errorf("got %+v", r)
				}
				errs <- err
			}()
			go func() {
				errs <- payUntilDone(ctx, a, client.Order{ID: fmt.Sprintf("own-%d-%d", epoch, n), Recipient: w.shop.Wallet(), Units: 1000})
			}()
			go func() {
				errs <- payUntilDone(ctx, w.payer, client.Order{ID: fmt.Sprintf("shared-%d-%d", epoch, n), Recipient: w.shop.Wallet(), Units: 1000})
			}()
		}
		for range 3 * programs {
			if err := <-errs; err != nil {
				var e *client.Error
				t.Errorf("got %v, %v", err, errors.As(err, &e))
			}
		}
		if got := balance(t, w.shop) - before; got != 2*programs*1000 {
			t.Errorf("the shop got %d, want %d", got, 2*programs*1000)
		}
	}
}
