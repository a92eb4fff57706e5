package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const moved = typev1.MoneyMoved_MONEY_MOVED_YES

// market is an installation with a buyer and a seller who sells over HTTP on this machine.
type market struct {
	t      *testing.T
	h      *halfkeytest.System
	seller *client.Agent
	buyer  *client.Agent
	home   *client.Home // The buyer's.
	url    string
	server *httptest.Server
	// front stands before the seller, and served counts what the seller's handler made.
	front  atomic.Pointer[http.HandlerFunc]
	price  atomic.Int64
	served atomic.Int64
	paid   atomic.Int64 // Requests that carried a payment.
}

// newMarket starts one, with weather for half a dollar. The buyer has 100 dollars under the standard guard rails.
func newMarket(t *testing.T, options ...halfkeytest.Option) *market {
	t.Helper()
	m := &market{t: t, h: halfkeytest.Start(t, options...)}
	m.price.Store(usd / 2)
	m.seller = m.h.Agent("Weather Shop")
	m.home = m.h.Home()
	m.buyer = m.agent("Buyer")
	m.h.GuardRails(m.buyer, client.StandardRules(m.seller.GroupKey()))
	m.h.Fund(m.buyer, 100*usd)
	m.server = httptest.NewUnstartedServer(nil)
	m.url = "http://" + m.server.Listener.Addr().String()
	seller, err := m.seller.NewSeller(client.SellerConfig{
		Origin: m.url, Dir: filepath.Join(t.TempDir(), "sold"),
		Price: func(r *http.Request) (client.Goods, bool) {
			return client.Goods{Units: m.price.Load(), Description: "the weather"}, !strings.HasPrefix(r.URL.Path, "/free")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	sold := seller.Sell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := m.served.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Answer", fmt.Sprint(n))
		fmt.Fprintf(w, "sunny %d %s", n, body)
	}))
	m.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Payment-Signature") != "" {
			m.paid.Add(1)
		}
		if front := m.front.Load(); front != nil {
			(*front)(w, r)
			return
		}
		sold.ServeHTTP(w, r)
	})
	m.server.Start()
	t.Cleanup(m.server.Close)
	return m
}

// agent makes an agent on the market's home.
func (m *market) agent(name string) *client.Agent {
	m.t.Helper()
	c := m.h.Client(m.home)
	r, err := c.Register(testContext(m.t), client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email})
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.h.Owner().Claim(testContext(m.t), r.ClaimCode); err != nil {
		m.t.Fatal(err)
	}
	a, err := c.Agent(r.Wallet)
	if err != nil {
		m.t.Fatal(err)
	}
	return a
}

func (m *market) request() client.FetchRequest {
	return client.FetchRequest{URL: m.url + "/weather?city=Berlin", Reach: client.Reach{Loopback: true}}
}

// fetch fetches the price.
func (m *market) fetch() *client.Fetch {
	m.t.Helper()
	f, err := m.buyer.Fetch(testContext(m.t), m.request())
	if err != nil {
		m.t.Fatalf("Fetch: %v", err)
	}
	if f.State != client.FetchQuoted || f.MoneyMoved != notMoved {
		m.t.Fatalf("got %+v", f)
	}
	return f
}

// TestFetch fetches, confirms and delivers, and is told the truth at each step.
func TestFetch(t *testing.T) {
	m := newMarket(t)
	ctx := testContext(t)

	t.Run("nothing to pay", func(t *testing.T) {
		req := m.request()
		req.URL = m.url + "/free"
		f, err := m.buyer.Fetch(ctx, req)
		if err != nil || f.Response == nil || f.ID != "" {
			t.Fatalf("got %+v, %v", f, err)
		}
		defer f.Response.Body.Close()
		if b, err := io.ReadAll(f.Response.Body); err != nil || !strings.HasPrefix(string(b), "sunny") {
			t.Errorf("got %q, %v", b, err)
		}
	})

	t.Run("paid", func(t *testing.T) {
		req := m.request()
		req.Method, req.Body, req.Header = "POST", []byte("please"), http.Header{"X-Asked": {"yes"}}
		before, served := balance(t, m.buyer), m.served.Load()
		f, err := m.buyer.Fetch(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if f.Units != usd/2 || f.Recipient != m.seller.GroupKey() || f.Description != `"the weather"` || f.Judged != authorized ||
			f.DryRun == nil || f.PayTo != m.seller.Wallet() {
			t.Errorf("got %+v", f)
		}
		if balance(t, m.buyer) != before || m.served.Load() != served {
			t.Error("a price was paid, or a resource given, before it was confirmed")
		}
		shown, err := m.buyer.ShowFetch(ctx, f.ID)
		if err != nil || shown.State != client.FetchQuoted || shown.MoneyMoved != notMoved {
			t.Errorf("got %+v, %v", shown, err)
		}
		var out bytes.Buffer
		done, err := m.buyer.ConfirmFetch(ctx, f.ID, &out)
		if err != nil {
			t.Fatal(err)
		}
		if done.State != client.FetchDelivered || done.MoneyMoved != moved || done.Answer.Status != 200 ||
			!strings.HasSuffix(out.String(), "please") ||
			done.Answer.Bytes != int64(out.Len()) || !strings.HasPrefix(done.Answer.Claim, "paid") || done.Payment.State != settled {
			t.Errorf("got %+v and %q", done, out.String())
		}
		if got := before - balance(t, m.buyer); got != usd/2 {
			t.Errorf("paid %d, want %d", got, usd/2)
		}
		if intent := done.Payment.X402; intent.GetMethod() != "POST" || intent.GetPath() != "/weather" || intent.GetScheme() != "http" {
			t.Errorf("got intent %v", intent)
		}
		if r, err := m.home.LoadFetch(f.Name); err != nil || len(r.Header) > 0 || len(r.Body) > 0 {
			t.Errorf("what was sent is kept: %+v, %v", r, err)
		}
		if shown, err := m.buyer.ShowFetch(ctx, f.ID); err != nil || shown.MoneyMoved != moved || shown.Delivered.IsZero() {
			t.Errorf("got %+v, %v", shown, err)
		}
		_, err = m.buyer.ConfirmFetch(ctx, f.ID, &out)
		e := wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
		if e.Metadata["state"] != "DELIVERED" || e.Metadata["paid"] != "YES" || e.Metadata["units"] != "500000" || e.Metadata["delivered"] == "" ||
			e.Metadata["request"] != "POST "+m.url+"/weather" || e.Metadata["recipient"] != m.seller.Wallet() ||
			!strings.HasPrefix(e.Message, "the fetch was paid and its resource delivered before: nothing moved now") {
			t.Errorf("got %q with %v", e, e.Metadata)
		}
		if got := before - balance(t, m.buyer); got != usd/2 {
			t.Errorf("paid %d in all, want %d", got, usd/2)
		}
	})

	t.Run("waits for a person", func(t *testing.T) {
		m.price.Store(20 * usd)
		defer m.price.Store(usd / 2)
		f := m.fetch()
		if f.Judged != pending {
			t.Errorf("judged %v", f.Judged)
		}
		var out bytes.Buffer
		waits, err := m.buyer.ConfirmFetch(ctx, f.ID, &out)
		if err != nil || waits.State != client.FetchConfirmed || waits.MoneyMoved != notMoved || waits.Payment.State != pending || out.Len() > 0 {
			t.Fatalf("got %+v, %v", waits, err)
		}
		if _, err := m.h.Owner().Approve(ctx, f.Name); err != nil {
			t.Fatal(err)
		}
		if p, err := m.buyer.Resume(ctx, f.ID); err != nil || p.State != ready {
			t.Errorf("resuming the payment of a fetch: %v, %v", p, err)
		}
		shown, err := m.buyer.ShowFetch(ctx, f.ID)
		if err != nil || shown.MoneyMoved != notMoved || shown.Payment.State != ready {
			t.Errorf("got %+v, %v", shown, err)
		}
		done, err := m.buyer.ConfirmFetch(ctx, f.ID, &out)
		if err != nil || done.State != client.FetchDelivered || done.MoneyMoved != moved {
			t.Errorf("got %+v, %v", done, err)
		}
	})

	t.Run("another price after the approval", func(t *testing.T) {
		m.price.Store(20 * usd)
		defer m.price.Store(usd / 2)
		f := m.fetch()
		if _, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard); err != nil {
			t.Fatal(err)
		}
		if _, err := m.h.Owner().Approve(ctx, f.Name); err != nil {
			t.Fatal(err)
		}
		m.price.Store(19 * usd)
		before := balance(t, m.buyer)
		_, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard)
		if e := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, notMoved); e.Metadata["field"] != "units" {
			t.Errorf("got field %q", e.Metadata["field"])
		}
		ended, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard)
		if err != nil || ended.State != client.FetchEnded || ended.MoneyMoved != notMoved || balance(t, m.buyer) != before {
			t.Errorf("got %+v, %v", ended, err)
		}
		if p, err := m.buyer.Payment(ctx, f.ID); err != nil || p.State != canceled {
			t.Errorf("the payment is %v, %v", p, err)
		}
	})

	t.Run("refused", func(t *testing.T) {
		m.price.Store(101 * usd)
		defer m.price.Store(usd / 2)
		f := m.fetch()
		if f.Judged != denied {
			t.Errorf("judged %v", f.Judged)
		}
		ended, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard)
		if err != nil || ended.State != client.FetchEnded || ended.MoneyMoved != notMoved || ended.Ended != "the payment is DENIED" {
			t.Errorf("got %+v, %v", ended, err)
		}
	})

	t.Run("over the maximum", func(t *testing.T) {
		req := m.request()
		req.MaxUnits = usd/2 - 1
		_, err := m.buyer.Fetch(ctx, req)
		wantReason(t, err, typev1.Reason_REASON_PERMISSION_DENIED, notMoved)
	})

	t.Run("lists", func(t *testing.T) {
		all, err := m.buyer.ListFetches()
		if err != nil || len(all) != 4 {
			t.Errorf("got %d, %v", len(all), err)
		}
		_, err = m.buyer.ShowFetch(ctx, "00000000-0000-7000-8000-000000000000")
		wantReason(t, err, typev1.Reason_REASON_NOT_FOUND, notMoved)
	})
}

// TestTransport pays through an http.Client.
func TestTransport(t *testing.T) {
	m := newMarket(t)
	c := &http.Client{Transport: client.NewTransport(m.buyer, client.TransportConfig{MaxUnits: usd, Reach: client.Reach{Loopback: true}})}
	get := func() (string, error) {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, m.url+"/weather", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	before := balance(t, m.buyer)
	if got, err := get(); err != nil || !strings.HasPrefix(got, "sunny 1") {
		t.Errorf("got %q, %v", got, err)
	}
	if all, err := m.buyer.ListFetches(); err != nil || len(all) != 1 || all[0].State != client.FetchDelivered {
		t.Errorf("got %v, %v", all, err)
	}
	if got := before - balance(t, m.buyer); got != usd/2 {
		t.Errorf("paid %d", got)
	}
	m.price.Store(2 * usd)
	if _, err := get(); client.ReasonOf(err) != typev1.Reason_REASON_PERMISSION_DENIED {
		t.Errorf("over the maximum: %v", err)
	}
	if got := before - balance(t, m.buyer); got != usd/2 {
		t.Errorf("paid %d in all", got)
	}
	// What needs a person is not even asked for.
	m.price.Store(20 * usd)
	c.Transport = client.NewTransport(m.buyer, client.TransportConfig{Reach: client.Reach{Loopback: true}})
	_, err := get()
	var needs *client.FetchError
	if !errors.As(err, &needs) || needs.Fetch.State != client.FetchQuoted || needs.Fetch.Judged != pending {
		t.Errorf("got %v", err)
	} else if shown, err := m.buyer.ShowFetch(testContext(t), needs.Fetch.ID); err != nil || shown.State != client.FetchQuoted {
		t.Errorf("got %+v, %v", shown, err)
	}
	// A Host of its own would be another resource than the one that is paid for.
	m.price.Store(usd / 2)
	other, err := http.NewRequestWithContext(testContext(t), http.MethodGet, m.url+"/weather", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	other.Host = "elsewhere.example"
	if resp, err := c.Do(other); err == nil {
		_ = resp.Body.Close()
		t.Error("a request was paid for under another host")
	}
	// One that was paid and whose answer was not read to its end can be had again, for the same payment.
	req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, m.url+"/weather", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	all, err := m.buyer.ListFetches()
	if err != nil || all[0].State != client.FetchPaid {
		t.Fatalf("got %v, %v", all, err)
	}
	if done, err := m.buyer.ConfirmFetch(testContext(t), all[0].ID, io.Discard); err != nil || done.State != client.FetchDelivered {
		t.Errorf("got %+v, %v", done, err)
	}
	if got := before - balance(t, m.buyer); got != usd {
		t.Errorf("paid %d in all", got)
	}
}

// TestConfirmedTooLate: a fetch that was confirmed and could not be paid before its payment's deadline ends, and nothing was paid.
func TestConfirmedTooLate(t *testing.T) {
	clock := halfkeytest.NewClock(time.Now())
	m := newMarket(t, halfkeytest.WithClock(clock))
	ctx := testContext(t)
	before, late := balance(t, m.buyer), m.fetch()
	if _, err := m.buyer.Freeze(ctx, "late"); err != nil {
		t.Fatal(err)
	}
	_, err := m.buyer.ConfirmFetch(ctx, late.ID, io.Discard)
	wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
	clock.Advance(25 * time.Hour)
	_, err = m.buyer.ConfirmFetch(ctx, late.ID, io.Discard)
	wantReason(t, err, typev1.Reason_REASON_DEADLINE_EXPIRED, notMoved)
	f, err := m.buyer.ConfirmFetch(ctx, late.ID, io.Discard)
	if err != nil || f.State != client.FetchEnded || f.MoneyMoved != notMoved || balance(t, m.buyer) != before {
		t.Errorf("got %+v, %v", f, err)
	}
}

// TestOldPrices lets time pass between a price and its confirmation.
func TestOldPrices(t *testing.T) {
	clock := halfkeytest.NewClock(time.Now())
	m := newMarket(t, halfkeytest.WithClock(clock))
	ctx := testContext(t)
	before := balance(t, m.buyer)

	old := m.fetch()
	clock.Advance(client.QuoteLife + time.Second)
	_, err := m.buyer.ConfirmFetch(ctx, old.ID, io.Discard)
	wantReason(t, err, typev1.Reason_REASON_DEADLINE_EXPIRED, notMoved)
	if f, err := m.buyer.ConfirmFetch(ctx, old.ID, io.Discard); err != nil || f.State != client.FetchEnded {
		t.Errorf("got %+v, %v", f, err)
	}
	if got := balance(t, m.buyer); got != before {
		t.Errorf("paid %d for a price of long ago", before-got)
	}

	// What it would have sent is not kept, also where nobody ever confirms it.
	req := m.request()
	req.Method, req.Header, req.Body = "POST", http.Header{"Authorization": {"secret"}}, []byte("secret")
	forgotten, err := m.buyer.Fetch(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	m.fetch()
	if r, err := m.home.LoadFetch(forgotten.Name); err != nil || r.State != client.FetchQuoted || len(r.Header) == 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	clock.Advance(client.QuoteLife + time.Second)
	m.fetch()
	if r, err := m.home.LoadFetch(forgotten.Name); err != nil || r.State != client.FetchEnded || len(r.Header)+len(r.Body) > 0 {
		t.Errorf("got %+v, %v", r, err)
	}

	// Nor is it shown as one that can be, and what it kept of the request is erased.
	for name, look := range map[string]func(id string) (*client.Fetch, error){
		"show": func(id string) (*client.Fetch, error) { return m.buyer.ShowFetch(ctx, id) },
		"list": func(string) (*client.Fetch, error) {
			all, err := m.buyer.ListFetches()
			if err != nil {
				return nil, err
			}
			return all[0], nil
		},
	} {
		req := m.request()
		req.Header = http.Header{"X-Secret": {"of mine"}}
		f, err := m.buyer.Fetch(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if seen, err := look(f.ID); err != nil || seen.State != client.FetchQuoted {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
		clock.Advance(client.QuoteLife + time.Second)
		if seen, err := look(f.ID); err != nil || seen.ID != f.ID || seen.State != client.FetchEnded || seen.MoneyMoved != notMoved {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
		if r, err := m.home.LoadFetch(f.Name); err != nil || r.State != client.FetchEnded || r.Header != nil {
			t.Errorf("%s: kept %+v, %v", name, r, err)
		}
	}

	// One that waits for a person is good for as long as the payment is: the server is asked again.
	m.price.Store(20 * usd)
	f := m.fetch()
	if _, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard); err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * time.Hour)
	if _, err := m.h.Owner().Approve(ctx, f.Name); err != nil {
		t.Fatal(err)
	}
	if done, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard); err != nil || done.State != client.FetchDelivered {
		t.Errorf("got %+v, %v", done, err)
	}
	// And no longer: a payment whose deadline has passed ends it.
	f = m.fetch()
	if _, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard); err != nil {
		t.Fatal(err)
	}
	clock.Advance(25 * time.Hour)
	if done, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard); err != nil || done.State != client.FetchEnded || done.MoneyMoved != notMoved {
		t.Errorf("got %+v, %v", done, err)
	}
	if got := before - balance(t, m.buyer); got != 20*usd {
		t.Errorf("paid %d in all", got)
	}
}
