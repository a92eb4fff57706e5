package client_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// paidHeader fetches, confirms and returns the payment that a buyer holds, delivered or not.
func (m *market) paidHeader() (f *client.Fetch, value string) {
	m.t.Helper()
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	f = m.fetch()
	m.front.Store(&refuse)
	defer m.front.Store(nil)
	done, err := m.buyer.ConfirmFetch(testContext(m.t), f.ID, io.Discard)
	if err != nil || done.State != client.FetchPaid {
		m.t.Fatalf("got %+v, %v", done, err)
	}
	r, err := m.home.LoadFetch(f.Name)
	if err != nil {
		m.t.Fatal(err)
	}
	return f, r.PaymentValue
}

// send sends a request with a payment.
func (m *market) send(method, path, body, payment string) (status int, answer string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(testContext(m.t), method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if payment != "" {
		req.Header.Set("PAYMENT-SIGNATURE", payment)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// changed is a payment header with its payload changed.
func changed(t *testing.T, value string, change func(payload map[string]any)) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	var payment map[string]any
	if err := json.Unmarshal(raw, &payment); err != nil {
		t.Fatal(err)
	}
	change(payment["payload"].(map[string]any))
	if raw, err = json.Marshal(payment); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// TestSellerRefuses shows a seller payments that do not buy what is asked for.
func TestSellerRefuses(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	_, good := m.paidHeader()
	_, other := m.paidHeader()
	part := func(value, name string) (part any) {
		changed(t, value, func(p map[string]any) { part = p[name] })
		return part
	}
	flip := func(name string) string {
		return changed(t, good, func(p map[string]any) {
			b, err := base64.StdEncoding.DecodeString(p[name].(string))
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-1] ^= 1
			p[name] = base64.StdEncoding.EncodeToString(b)
		})
	}
	const path = "/weather?city=Berlin"
	for _, tt := range []struct {
		name, method, path, body, payment string
		price                             int64
		want                              int
	}{
		{"no payment", "GET", path, "", "", 0, 402},
		{"another path", "GET", "/storms?city=Berlin", "", good, 0, 402},
		{"another query", "GET", "/weather?city=Paris", "", good, 0, 402},
		{"no query", "GET", "/weather", "", good, 0, 402},
		{"another method", "POST", path, "", good, 0, 402},
		{"another body", "GET", path, "more", good, 0, 402},
		{"a higher price", "GET", path, "", good, usd, 402},
		{"a settlement of another payment", "GET", path, "", changed(t, good, func(p map[string]any) { p["settlement"] = part(other, "settlement") }), 0, 402},
		{"an intent of another payment", "GET", path, "", changed(t, good, func(p map[string]any) { p["intent"] = part(other, "intent") }), 0, 402},
		{"the name of another payment", "GET", path, "", changed(t, good, func(p map[string]any) { p["payment"] = part(other, "payment") }), 0, 402},
		{"a changed intent", "GET", path, "", flip("intent"), 0, 402},
		{"a changed settlement", "GET", path, "", flip("settlement"), 0, 402},
		{"one more field", "GET", path, "", changed(t, good, func(p map[string]any) { p["more"] = "x" }), 0, 400},
		{"no settlement", "GET", path, "", changed(t, good, func(p map[string]any) { delete(p, "settlement") }), 0, 400},
		{"no payment at all", "GET", path, "", "%%%", 0, 400},
		{"a body that is too large", "POST", path, strings.Repeat("x", client.FetchBodyMax+1), good, 0, 413},
		{"a path with dots", "GET", "/a/%2e%2e/weather", "", good, 0, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.price > 0 {
				m.price.Store(tt.price)
				defer m.price.Store(usd / 2)
			}
			if status, answer := m.send(tt.method, tt.path, tt.body, tt.payment); status != tt.want || strings.Contains(answer, "sunny") {
				t.Errorf("got %d %q, want %d", status, answer, tt.want)
			}
		})
	}
	if n := m.served.Load(); n != 0 {
		t.Errorf("served %d times", n)
	}
}

// TestSellerSellsOnce sends one payment many times: its answer is made once, and is the same for ever.
func TestSellerSellsOnce(t *testing.T) {
	m := newMarket(t)
	f, good := m.paidHeader()
	const path = "/weather?city=Berlin"
	var wait sync.WaitGroup
	answers := make([]string, 8)
	for i := range answers {
		wait.Go(func() { _, answers[i] = m.send("GET", path, "", good) })
	}
	wait.Wait()
	for _, a := range answers {
		if a != answers[0] || !strings.HasPrefix(a, "sunny 1") {
			t.Errorf("got %q and %q", a, answers[0])
		}
	}
	// A lower price than was paid changes nothing.
	m.price.Store(usd / 4)
	if status, a := m.send("GET", path, "", good); status != 200 || a != answers[0] {
		t.Errorf("got %d %q", status, a)
	}
	if n := m.served.Load(); n != 1 {
		t.Errorf("the answer was made %d times", n)
	}
	// The buyer, who had no answer, gets it for the same payment.
	var out bytes.Buffer
	done, err := m.buyer.ConfirmFetch(testContext(t), f.ID, &out)
	if err != nil || done.State != client.FetchDelivered || done.Attempts != 2 || out.String() != answers[0] {
		t.Errorf("got %+v, %q, %v", done, out.String(), err)
	}
}

// TestSellerFinishes hangs up while a paid answer is made: it is made whole all the same, and that is what is kept for the payment.
func TestSellerFinishes(t *testing.T) {
	m := newMarket(t)
	f, good := m.paidHeader()
	seller, err := m.seller.NewSeller(client.SellerConfig{
		Origin: m.url, Dir: filepath.Join(t.TempDir(), "sold"),
		Price: func(*http.Request) (client.Goods, bool) { return client.Goods{Units: usd / 2}, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	half, gone := make(chan struct{}), make(chan struct{})
	sold := seller.Sell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "the first half")
		close(half)
		<-gone
		if r.Context().Err() == nil {
			_, _ = io.WriteString(w, " and the second")
		}
	}))
	first := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.front.Store(nil)
		go func() {
			<-r.Context().Done()
			close(gone)
		}()
		sold.ServeHTTP(w, r)
	})
	m.front.Store(&first)
	ctx, hangUp := context.WithCancel(testContext(t))
	defer hangUp()
	go func() {
		<-half
		hangUp()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url+"/weather?city=Berlin", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("PAYMENT-SIGNATURE", good)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Fatal("an answer came before it was whole")
	}
	front := http.HandlerFunc(sold.ServeHTTP)
	m.front.Store(&front)
	var out bytes.Buffer
	done, err := m.buyer.ConfirmFetch(testContext(t), f.ID, &out)
	if err != nil || done.State != client.FetchDelivered || out.String() != "the first half and the second" {
		t.Errorf("got %+v, %q, %v", done, out.String(), err)
	}
}

// TestSellerKeepsSalesOnly answers a paid request by 304 first: that is no sale, and the payment stays good.
func TestSellerKeepsSalesOnly(t *testing.T) {
	m := newMarket(t)
	f, good := m.paidHeader()
	seller, err := m.seller.NewSeller(client.SellerConfig{
		Origin: m.url, Dir: filepath.Join(t.TempDir(), "sold"),
		Price: func(*http.Request) (client.Goods, bool) { return client.Goods{Units: usd / 2}, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	front := http.HandlerFunc(seller.Sell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if made++; made == 1 {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, "sunny")
	})).ServeHTTP)
	m.front.Store(&front)
	if status, _ := m.send("GET", "/weather?city=Berlin", "", good); status != http.StatusNotModified {
		t.Errorf("got %d", status)
	}
	var out bytes.Buffer
	done, err := m.buyer.ConfirmFetch(testContext(t), f.ID, &out)
	if err != nil || done.State != client.FetchDelivered || out.String() != "sunny" {
		t.Errorf("got %+v, %q, %v", done, out.String(), err)
	}
}

// TestSellerConfig refuses what no seller can work with.
func TestSellerConfig(t *testing.T) {
	m := newMarket(t)
	price := func(*http.Request) (client.Goods, bool) { return client.Goods{Units: 1}, true }
	for name, c := range map[string]client.SellerConfig{
		"no origin":         {Price: price, Dir: t.TempDir()},
		"a path":            {Origin: "https://shop.example/x", Price: price, Dir: t.TempDir()},
		"a user":            {Origin: "https://me@shop.example", Price: price, Dir: t.TempDir()},
		"another scheme":    {Origin: "gopher://shop.example", Price: price, Dir: t.TempDir()},
		"no prices":         {Origin: "https://shop.example", Dir: t.TempDir()},
		"an open directory": {Origin: "https://shop.example", Price: price, Dir: t.TempDir()},
	} {
		if _, err := m.seller.NewSeller(c); err == nil {
			t.Errorf("%s: taken", name)
		} else if client.MoneyMovedOf(err) != typev1.MoneyMoved_MONEY_MOVED_NO {
			t.Errorf("%s: %v", name, err)
		}
	}
}
