package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/recoverywork"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var errCrash = errors.New("crashed")

// crashPoint is where a program dies: just before one of its writes, or just after.
type crashPoint struct {
	at    int // The write to die at, from 1; 0 is never.
	after bool
	count int
	dead  bool
}

// crashingHome is a home whose program dies at one of its writes.
type crashingHome struct {
	*client.Home
	*crashPoint
}

func (c *crashPoint) write(do func() error) error {
	if c.dead {
		return errCrash
	}
	c.count++
	if c.count != c.at {
		return do()
	}
	c.dead = true
	if c.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errCrash
}

func (c *crashingHome) Save(name string, secret []byte) error {
	return c.write(func() error { return c.Home.Save(name, secret) })
}

func (c *crashingHome) Delete(name string) error {
	return c.write(func() error { return c.Home.Delete(name) })
}

func (c *crashingHome) SavePayment(r *client.PaymentRecord) error {
	return c.write(func() error { return c.Home.SavePayment(r) })
}

func (c *crashingHome) SaveFetch(r *client.FetchRecord) error {
	return c.write(func() error { return c.Home.SaveFetch(r) })
}

func (c *crashingHome) SetSeen(wallet string, entry uint64, hash []byte) error {
	return c.write(func() error { return c.Home.SetSeen(wallet, entry, hash) })
}

func (c *crashingHome) Pin(name string, content []byte) error {
	return c.write(func() error { return c.Home.Pin(name, content) })
}

// crashes runs a life of a program for every write at which it can die, on a fresh home each time, and the life after. It
// stops when a life has had fewer writes.
func crashes(t *testing.T, life func(t *testing.T, number int, store *crashingHome) (home *client.Home, err error), after func(t *testing.T, number int, home *client.Home)) {
	t.Helper()
	number := 0
	for at := 1; ; at++ {
		died := false
		for _, late := range []bool{false, true} {
			number++
			t.Run(fmt.Sprintf("write %d, after it %v", at, late), func(t *testing.T) {
				store := &crashingHome{crashPoint: &crashPoint{at: at, after: late}}
				home, err := life(t, number, store)
				died = store.dead
				if died && err == nil {
					t.Fatal("the program died and told nobody")
				}
				if !died && err != nil {
					t.Fatal(err)
				}
				after(t, number, home)
			})
		}
		if !died || t.Failed() {
			return
		}
	}
}

func openOn(t *testing.T, home *client.Home, store *crashingHome) *client.Client {
	t.Helper()
	store.Home = home
	c, err := client.Open(home, client.Options{Keys: store, Payments: store, Fetches: store, RecoveryWork: recoverywork.ForTests()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestCrashWhilePaying lets an agent's program die before and after each of its writes. The program that starts on the same
// home resumes, and there is one payment.
func TestCrashWhilePaying(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	shop := h.Agent("Shop")
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Payer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	payer, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 100*usd)

	order := func(number int) client.Order {
		return client.Order{ID: fmt.Sprint("crash-", number), Recipient: shop.Wallet(), Units: 1000}
	}
	before := balance(t, shop)
	crashes(t,
		func(t *testing.T, number int, store *crashingHome) (*client.Home, error) {
			before = balance(t, shop)
			a, err := openOn(t, home, store).Agent("")
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Pay(ctx, order(number))
			return home, err
		},
		func(t *testing.T, number int, home *client.Home) {
			a, err := h.Client(home).Agent("")
			if err != nil {
				t.Fatal(err)
			}
			ids, err := a.Unfinished()
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if p, err := a.Resume(ctx, id); err != nil || p.State != settled {
					t.Fatalf("resuming: %v, %v", p, err)
				}
			}
			mustPay(t, a, order(number), settled)
			if got := balance(t, shop) - before; got != 1000 {
				t.Errorf("the shop got %d, want 1000", got)
			}
			if ids, err := a.Unfinished(); err != nil || len(ids) != 0 {
				t.Errorf("left unfinished: %v, %v", ids, err)
			}
		})
	j, err := payer.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Verify(h.Installation()); err != nil {
		t.Error(err)
	}
}

// TestCrashWhileRegistering lets an agent's program die before and after each of its writes while it registers. The program
// that starts on the same home ends the registration, its share signs, and nobody else has the handle.
func TestCrashWhileRegistering(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	shop := h.Agent("Shop")
	options := func(number int) client.RegisterOptions {
		return client.RegisterOptions{Name: fmt.Sprint("Agent ", number), OwnerEmail: halfkeytest.Email}
	}
	crashes(t,
		func(t *testing.T, number int, store *crashingHome) (*client.Home, error) {
			home := h.Home()
			_, err := openOn(t, home, store).Register(ctx, options(number))
			return home, err
		},
		func(t *testing.T, number int, home *client.Home) {
			c := h.Client(home)
			r, err := c.Register(ctx, options(number))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
				t.Fatal(err)
			}
			a, err := c.Agent("")
			if err != nil {
				t.Fatal(err)
			}
			h.GuardRails(a, client.StandardRules(shop.GroupKey()))
			h.Fund(a, usd)
			mustPay(t, a, client.Order{Recipient: shop.Wallet(), Units: usd}, settled)
		})
}

// TestLostCalls loses each call of a payment and of a registration, or its answer, on the way. Whoever repeats goes on.
func TestLostCalls(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	ctx := testContext(t)
	shop := h.Agent("Shop")
	payer, _, home := p.agent(h, "Payer")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 100*usd)

	for _, method := range []string{"CreatePayment", "SettlePayment"} {
		for _, answer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, its answer %v", method, answer), func(t *testing.T) {
				before := balance(t, shop)
				order := client.Order{Recipient: shop.Wallet(), Units: 1000, ID: slugOf(fmt.Sprint("lost", method == "CreatePayment", answer))}
				p.lose(method, answer)
				_, err := payer.Pay(ctx, order)
				e := wantReason(t, err, typev1.Reason_REASON_INTERNAL, unknown)
				if e.Metadata["payment"] != payer.Wallet()+"/payments/"+order.ID {
					t.Errorf("the error names the payment %q", e.Metadata["payment"])
				}
				// Another program, that knows only the home.
				a, err := h.Client(home).Agent("")
				if err != nil {
					t.Fatal(err)
				}
				ids, err := a.Unfinished()
				if err != nil || len(ids) != 1 {
					t.Fatalf("got unfinished %v, %v", ids, err)
				}
				if paid, err := a.Resume(ctx, ids[0]); err != nil || paid.State != settled {
					t.Fatalf("got %v, %v", paid, err)
				}
				if got := balance(t, shop) - before; got != 1000 {
					t.Errorf("the shop got %d, want 1000", got)
				}
			})
		}
	}
	for n, method := range []string{"StartRegistration", "ExchangeRegistration", "ConfirmRegistration", "CompleteRegistration"} {
		for _, answer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, its answer %v", method, answer), func(t *testing.T) {
				c := h.Client(p.home(h))
				options := client.RegisterOptions{Name: fmt.Sprint("Agent ", n, answer), OwnerEmail: halfkeytest.Email}
				p.lose(method, answer)
				if _, err := c.Register(ctx, options); err == nil {
					t.Fatal("nothing was lost")
				}
				r, err := c.Register(ctx, options)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestOneIDFromManyPrograms pays one id from several programs on one home at once: there is one payment.
func TestOneIDFromManyPrograms(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	shop := h.Agent("Shop")
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Payer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	first, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	h.GuardRails(first, client.StandardRules(shop.GroupKey()))
	h.Fund(first, 10*usd)

	const programs = 8
	errs := make(chan error, programs)
	for range programs {
		a, err := h.Client(home).Agent("")
		if err != nil {
			t.Fatal(err)
		}
		go func() { errs <- payUntilDone(ctx, a, client.Order{ID: "one", Recipient: shop.Wallet(), Units: usd}) }()
	}
	for range programs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := balance(t, shop); got != usd {
		t.Errorf("the shop got %d, want %d", got, usd)
	}
	payments, err := first.Payments(ctx, false)
	if err != nil || len(payments) != 1 {
		t.Errorf("got %d payments, %v", len(payments), err)
	}
}

// payUntilDone repeats the call as its errors say.
func payUntilDone(ctx context.Context, a *client.Agent, o client.Order) error {
	for {
		p, err := a.Pay(ctx, o)
		switch {
		case err == nil && p.State == settled:
			return nil
		case err == nil:
			return fmt.Errorf("ended in %v", p.State)
		case client.ReasonOf(err) != typev1.Reason_REASON_ABORTED:
			return err
		}
	}
}
