package buy

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/test/x402/stock"
)

// weather1 is what the seller sells in version 1 of the protocol.
const weather1 = "/v1/weather"

// front stands before the stock seller. Requests without a payment go through to it; with one, what is set does as it likes.
type front struct {
	*httptest.Server
	proxy *httputil.ReverseProxy

	mu   sync.Mutex
	paid func(f *front, w http.ResponseWriter, r *http.Request)
	seen []string // the payments that came, as their headers were
}

func newFront(t *testing.T, seller *stock.Seller, paid func(f *front, w http.ResponseWriter, r *http.Request)) *front {
	t.Helper()
	target, err := url.Parse(seller.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{paid: paid, proxy: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := paymentOf(r)
		if header == "" {
			f.proxy.ServeHTTP(w, r)
			return
		}
		f.mu.Lock()
		f.seen = append(f.seen, header)
		paid := f.paid
		f.mu.Unlock()
		paid(f, w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// paymentOf is the payment that a request carries, in either version of the protocol, or empty.
func paymentOf(r *http.Request) string {
	return r.Header.Get("Payment-Signature") + r.Header.Get("X-Payment")
}

// sell lets the stock seller have the request, and returns its answer.
func (f *front) sell(r *http.Request) *http.Response {
	recorder := httptest.NewRecorder()
	f.proxy.ServeHTTP(recorder, r)
	return recorder.Result()
}

// later hands the seller a payment that was kept, and answers nobody.
func (f *front) later(path, header string) {
	request := httptest.NewRequest(http.MethodGet, f.URL+path, nil)
	if path == weather1 {
		request.Header.Set("X-Payment", header)
	} else {
		request.Header.Set("Payment-Signature", header)
	}
	_ = f.sell(request).Body.Close()
}

// set says what becomes of payments from now on.
func (f *front) set(paid func(f *front, w http.ResponseWriter, r *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paid = paid
}

// payments are all that came for one fetch so far.
func (f *front) payments() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.seen...)
}

func copyAnswer(w http.ResponseWriter, answer *http.Response) {
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

// unpaid is the seller's answer to the same request without a payment.
func (f *front) unpaid(r *http.Request) *http.Response {
	again := r.Clone(r.Context())
	again.Header.Del("Payment-Signature")
	again.Header.Del("X-Payment")
	return f.sell(again)
}

// invented is a receipt for a transaction that does not exist.
func invented(network string) string {
	b, err := json.Marshal(map[string]any{
		"success": true, "network": network, "payer": "11111111111111111111111111111111",
		"transaction": "5" + string(bytes.Repeat([]byte("a"), 86)),
	})
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// settles lets the stock seller have the payment, and answers as somebody else would.
func settles(answer func(f *front, w http.ResponseWriter, r *http.Request)) func(*front, http.ResponseWriter, *http.Request) {
	return func(f *front, w http.ResponseWriter, r *http.Request) {
		f.sell(r)
		answer(f, w, r)
	}
}

func asksAgain(f *front, w http.ResponseWriter, r *http.Request) { copyAnswer(w, f.unpaid(r)) }

func fails(_ *front, w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "oops", http.StatusInternalServerError)
}

func cuts(*front, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// stranger is one way of answering a payment.
type stranger struct {
	name string
	// path is what is bought; empty is /weather.
	path string
	paid func(f *front, w http.ResponseWriter, r *http.Request)
	// lands says that the payment lands; kept, that the front hands it to the seller after it has answered.
	lands, kept bool
	// delivered says that the buyer has the resource from the first confirmation.
	delivered bool

	front *front
	id    string // of the fetch
}

// TestHostile: what stands before the stock seller answers a payment as no honest one does. Whatever it does, and however often the
// fetch is confirmed again, at most one payment of it lands, and halfkey says what the chain says.
func TestHostile(t *testing.T) {
	t.Parallel()
	node, seller, agent := start(t)
	const price = 10_000
	strangers := []*stranger{
		{name: "402 again, after it was settled", lands: true, paid: settles(asksAgain)},
		{name: "402 again, and settled later", lands: true, kept: true, paid: asksAgain},
		{name: "402 again, and never settled", paid: asksAgain},
		{name: "500, after it was settled", lands: true, paid: settles(fails)},
		{name: "500, and never settled", paid: fails},
		{name: "cut, after it was settled", lands: true, paid: settles(cuts)},
		{name: "cut, and never settled", paid: cuts},
		{name: "a redirect to another origin, after it was settled", lands: true, paid: settles(
			func(_ *front, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, seller.URL+r.URL.Path, http.StatusTemporaryRedirect)
			},
		)},
		{name: "slow", lands: true, delivered: true, paid: func(f *front, w http.ResponseWriter, r *http.Request) {
			answer := f.sell(r)
			time.Sleep(3 * time.Second)
			copyAnswer(w, answer)
		}},
		{name: "the resource without a receipt", lands: true, delivered: true, paid: func(f *front, w http.ResponseWriter, r *http.Request) {
			answer := f.sell(r)
			answer.Header.Del("Payment-Response")
			copyAnswer(w, answer)
		}},
		{name: "version 1, 402 again, after it was settled", path: weather1, lands: true, paid: settles(asksAgain)},
		{name: "version 1, 402 again, and settled later", path: weather1, lands: true, kept: true, paid: asksAgain},
		{name: "version 1, 402 again, and never settled", path: weather1, paid: asksAgain},
		{name: "version 1, cut, after it was settled", path: weather1, lands: true, paid: settles(cuts)},
		{name: "version 1, 500, and never settled", path: weather1, paid: fails},
		{name: "the resource with an invented receipt", delivered: true, paid: func(_ *front, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Payment-Response", invented(node.Network))
			_, _ = io.WriteString(w, `{"resource":"/weather"}`)
		}},
		{name: "500 with an invented receipt", paid: func(_ *front, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Payment-Response", invented(node.Network))
			http.Error(w, "oops", http.StatusInternalServerError)
		}},
		{name: "handed to the seller twice", lands: true, delivered: true, paid: func(f *front, w http.ResponseWriter, r *http.Request) {
			again := r.Clone(r.Context())
			copyAnswer(w, f.sell(r))
			f.sell(again)
		}},
	}
	// moved runs one step of one fetch, and fails unless it has so many payments land.
	moved := func(t *testing.T, want int, step func()) {
		t.Helper()
		agent.t = t
		units, transactions := node.Units(agent.Address), len(node.Transactions(agent.Address))
		step()
		moved, landed := units-node.Units(agent.Address), len(node.Transactions(agent.Address))-transactions
		if landed != want || moved != int64(want)*price {
			t.Errorf("%d transactions have touched the wallet and %d units left it, want %d", landed, moved, want)
		}
	}
	one := map[bool]int{true: 1}
	for _, s := range strangers {
		s.front, s.path = newFront(t, seller, s.paid), cmp.Or(s.path, "/weather")
		t.Run(s.name, func(t *testing.T) {
			moved(t, one[s.lands], func() {
				s.id = agent.fetch(0, s.front.URL+s.path).ID
				got := agent.confirmed(s.id)
				if (got.Code == 0) != s.delivered || got.Code != 0 && got.Code != 1 && got.Code != 6 {
					t.Fatalf("%+v", got)
				}
				agent.confirmed(s.id) // Again, while nobody knows.
				if s.kept {
					s.front.later(s.path, s.front.payments()[0])
				}
			})
			for _, header := range s.front.payments() {
				if header != s.front.payments()[0] {
					t.Error("a second payment was made while the first one's outcome was unknown")
				}
			}
		})
	}
	node.Advance(200) // No block takes any of these any more.
	for _, s := range strangers {
		t.Run("proof of "+s.name, func(t *testing.T) {
			agent.t = t
			if got := agent.proven(s.id); (got.MoneyMoved == "YES") != s.lands {
				t.Errorf("%+v", got)
			}
		})
	}
	time.Sleep(hashShared)
	for _, s := range strangers {
		// An honest answer now: what was paid stays paid, what was delivered buys nothing again, and what is proven dead is paid, once.
		t.Run("honest after "+s.name, func(t *testing.T) {
			s.front.set(func(f *front, w http.ResponseWriter, r *http.Request) { copyAnswer(w, f.sell(r)) })
			pays := !s.lands && !s.delivered
			moved(t, one[pays], func() {
				if got := agent.confirmed(s.id); pays && got.Code != 0 {
					t.Errorf("%+v", got)
				}
				for _, header := range s.front.payments() { // Whoever has kept one gets nothing for it.
					s.front.later(s.path, header)
				}
				agent.confirmed(s.id)
			})
		})
	}
	agent.t = t
	for _, s := range strangers {
		if got := agent.proven(s.id); (got.MoneyMoved == "YES") != (s.lands || !s.delivered) {
			t.Errorf("%s: %+v", s.name, got)
		}
	}
	agent.verified(0)
}
