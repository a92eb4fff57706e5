package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestCrashWhileFetching lets a buyer's program die before and after each of its writes while it fetches and confirms. The program
// that starts on the same home is told the truth, and by confirming again has the resource for one payment.
func TestCrashWhileFetching(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	ctx := testContext(t)
	var before int64
	var id string
	crashes(t,
		func(t *testing.T, _ int, store *crashingHome) (*client.Home, error) {
			before = balance(t, m.buyer)
			a, err := openOn(t, m.home, store).Agent("")
			if err != nil {
				t.Fatal(err)
			}
			id = ""
			f, err := a.Fetch(ctx, m.request())
			if err == nil {
				id = f.ID
				_, err = a.ConfirmFetch(ctx, f.ID, io.Discard)
			}
			return m.home, err
		},
		func(t *testing.T, _ int, home *client.Home) {
			a, err := m.h.Client(home).Agent("")
			if err != nil {
				t.Fatal(err)
			}
			if id == "" {
				if got := before - balance(t, m.buyer); got != 0 {
					t.Errorf("paid %d for a price that nobody was told", got)
				}
				return
			}
			shown, err := a.ShowFetch(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			paid := before - balanceHeld(t, m.buyer)
			if shown.MoneyMoved == moved && paid == 0 || shown.MoneyMoved == notMoved && paid != 0 {
				t.Errorf("%v %v is said of a fetch that paid %d", shown.State, shown.MoneyMoved, paid)
			}
			var out bytes.Buffer
			done, err := a.ConfirmFetch(ctx, shown.ID, &out)
			switch {
			case shown.State == client.FetchDelivered:
				wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
			case err != nil || done.State != client.FetchDelivered || !strings.HasPrefix(out.String(), "sunny"):
				t.Errorf("confirmed again: %+v, %v", done, err)
			}
			if got := before - balance(t, m.buyer); got != usd/2 {
				t.Errorf("paid %d, want %d", got, usd/2)
			}
		})
}

// balanceHeld is what a wallet has that is not held.
func balanceHeld(t testing.TB, a *client.Agent) int64 {
	t.Helper()
	acc, err := a.Account(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return acc.Balances[0].Available
}

// TestLostFetchCalls loses each call to the gateway that a confirmation makes, or its answer. Confirmed again, one payment was made.
func TestLostFetchCalls(t *testing.T) {
	m := newMarket(t)
	p := newProxy(t, m.h)
	ctx := testContext(t)
	buyer, _, home := p.agent(m.h, "Lossy Buyer")
	m.h.GuardRails(buyer, client.StandardRules(m.seller.GroupKey()))
	m.h.Fund(buyer, 10*usd)
	for _, lost := range []struct {
		name, method string
		answer       bool
		shown        typev1.MoneyMoved
	}{
		{"the request is lost", "CreatePayment", false, notMoved},
		{"the authorization is lost", "CreatePayment", true, unknown},
		{"the settlement is lost", "SettlePayment", false, unknown},
		{"the settled answer is lost", "SettlePayment", true, moved},
	} {
		t.Run(lost.name, func(t *testing.T) {
			before := balance(t, buyer)
			f, err := buyer.Fetch(ctx, m.request())
			if err != nil {
				t.Fatal(err)
			}
			p.lose(lost.method, lost.answer)
			if _, err = buyer.ConfirmFetch(ctx, f.ID, io.Discard); err == nil || client.MoneyMovedOf(err) != unknown {
				t.Fatalf("got %v", err)
			}
			a, err := m.h.Client(home).Agent("")
			if err != nil {
				t.Fatal(err)
			}
			shown, err := a.ShowFetch(ctx, f.ID)
			if err != nil || shown.MoneyMoved != lost.shown || shown.MoneyMoved == unknown && shown.Until.IsZero() {
				t.Errorf("shown %+v, %v", shown, err)
			}
			done, err := a.ConfirmFetch(ctx, f.ID, io.Discard)
			if err != nil || done.State != client.FetchDelivered {
				t.Errorf("got %+v, %v", done, err)
			}
			if got := before - balance(t, buyer); got != usd/2 {
				t.Errorf("paid %d, want %d", got, usd/2)
			}
		})
	}
}

// TestTransportLosesCalls loses calls while a transport pays: what its error says of the money is true, as is what it says of the fetch.
func TestTransportLosesCalls(t *testing.T) {
	m := newMarket(t)
	p := newProxy(t, m.h)
	buyer, _, _ := p.agent(m.h, "Lossy Transport")
	m.h.GuardRails(buyer, client.StandardRules(m.seller.GroupKey()))
	m.h.Fund(buyer, 10*usd)
	c := &http.Client{Transport: client.NewTransport(buyer, client.TransportConfig{Reach: client.Reach{Loopback: true}})}
	p.lose("SettlePayment", true)
	req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, m.url+"/weather", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	var lost *client.FetchError
	if !errors.As(err, &lost) || lost.Fetch.State != client.FetchConfirmed || lost.Fetch.MoneyMoved != unknown ||
		client.MoneyMovedOf(err) != unknown || lost.Fetch.DryRun == nil {
		t.Fatalf("got %v", err)
	}
	if done, err := buyer.ConfirmFetch(testContext(t), lost.Fetch.ID, io.Discard); err != nil || done.State != client.FetchDelivered {
		t.Errorf("got %+v, %v", done, err)
	}
	if got := balance(t, buyer); got != 10*usd-usd/2 {
		t.Errorf("%d are left", got)
	}
}

// TestOneFetchFromManyPrograms confirms one fetch from several programs on one home at once: there is one payment.
func TestOneFetchFromManyPrograms(t *testing.T) {
	m := newMarket(t)
	ctx := testContext(t)
	f := m.fetch()
	before := balance(t, m.buyer)
	const programs = 6
	errs := make(chan error, programs)
	for range programs {
		a, err := m.h.Client(m.home).Agent("")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				_, err := a.ConfirmFetch(ctx, f.ID, io.Discard)
				if client.ReasonOf(err) == typev1.Reason_REASON_ABORTED {
					continue
				}
				if client.ReasonOf(err) == typev1.Reason_REASON_WRONG_STATE {
					err = nil // Another was first.
				}
				errs <- err
				return
			}
		}()
	}
	for range programs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := before - balance(t, m.buyer); got != usd/2 {
		t.Errorf("paid %d, want %d", got, usd/2)
	}
	if got := m.served.Load(); got != 1 {
		t.Errorf("the seller made its answer %d times for one payment", got)
	}
	if shown, err := m.buyer.ShowFetch(ctx, f.ID); err != nil || shown.State != client.FetchDelivered {
		t.Errorf("got %+v, %v", shown, err)
	}
}
