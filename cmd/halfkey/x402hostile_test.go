package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
)

// hostileRow is one way for a server to behave, and what the command line makes of it.
type hostileRow struct {
	name string
	// asked and paid answer the request without and with a payment; nil is the honest seller. again counts the requests of that
	// kind before.
	asked, paid func(h *hostileMarket, w http.ResponseWriter, r *http.Request, again int)
	// price is in millionths of a dollar, and 1 cent if it is 0. A price over 5 dollars is approved by the owner in between.
	price int64
	// fetch is what `x402 fetch` comes to, confirm what `x402 fetch confirm` does, and repeat what it does once more.
	fetch, confirm, repeat hostileOutcome
	// pays is whether the price leaves the wallet, once.
	pays bool
	// patience is how long a confirmation waits, where that is not as long as it likes.
	patience string
}

// hostileOutcome is an exit code, the state or reason that is printed, and whether money moved by it. The zero value is not run.
type hostileOutcome struct {
	exit  int
	word  string
	money string
}

var (
	quoted    = hostileOutcome{0, "QUOTED", "NO"}
	asks      = hostileOutcome{4, "QUOTED", "NO"}
	unread    = hostileOutcome{1, "BAD_STATEMENT", "NO"}
	unpayable = hostileOutcome{3, "PERMISSION_DENIED", "NO"}
	refused   = hostileOutcome{3, "QUOTED", "NO"}
	ended     = hostileOutcome{3, "ENDED", "NO"}
	differs   = hostileOutcome{3, "PAYMENT_DIFFERS", "NO"}
	notNow    = hostileOutcome{7, "UNAVAILABLE", "NO"}
	delivered = hostileOutcome{0, "DELIVERED", "YES"}
	unserved  = hostileOutcome{1, "PAID", "YES"}
	spent     = hostileOutcome{3, "WRONG_STATE", "NO"}
)

// offering answers with a 402 whose one offer, or list of offers, was changed.
func offering(change func(h *hostileMarket, offer map[string]any) any) func(*hostileMarket, http.ResponseWriter, *http.Request, int) {
	return func(h *hostileMarket, w http.ResponseWriter, r *http.Request, _ int) {
		h.require(w, change(h, h.offer(r)))
	}
}

// offerWith changes one field of the offer.
func offerWith(field string, value any) func(*hostileMarket, http.ResponseWriter, *http.Request, int) {
	return offering(func(_ *hostileMarket, offer map[string]any) any { offer[field] = value; return offer })
}

// once is the honest seller the first time, and then another answer.
func once(then func(*hostileMarket, http.ResponseWriter, *http.Request, int)) func(*hostileMarket, http.ResponseWriter, *http.Request, int) {
	return func(h *hostileMarket, w http.ResponseWriter, r *http.Request, again int) {
		if again == 0 {
			h.honest.ServeHTTP(w, r)
			return
		}
		then(h, w, r, again)
	}
}

// saying answers with a status and headers, in pairs, and a text.
func saying(status int, text string, headers ...string) func(*hostileMarket, http.ResponseWriter, *http.Request, int) {
	return func(h *hostileMarket, w http.ResponseWriter, _ *http.Request, _ int) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Add(headers[i], strings.ReplaceAll(headers[i+1], "ELSEWHERE", h.elsewhere.URL))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// cut breaks the connection after some of an answer.
func cut(some string) func(*hostileMarket, http.ResponseWriter, *http.Request, int) {
	return func(_ *hostileMarket, w http.ResponseWriter, _ *http.Request, _ int) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, some)
			_ = conn.Close()
		}
	}
}

// silent never answers.
func silent(_ *hostileMarket, _ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }

// endless answers with more than is taken.
func endless(_ *hostileMarket, w http.ResponseWriter, _ *http.Request, _ int) {
	for piece := make([]byte, 1<<20); ; {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// receipt is the header of a receipt.
func receipt(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

const (
	invented = `{"success":true,"transaction":"invented","network":"halfkey:nowhere"}`
	hostile  = "x\x1b[31m\u202e\u0085y"
)

// hostileRows are ways of servers. After a payment none of them makes another; before one nothing leaves the wallet.
func hostileRows() []hostileRow {
	requiring := func(value string) func(*hostileMarket, http.ResponseWriter, *http.Request, int) {
		return saying(402, "{}", "PAYMENT-REQUIRED", value)
	}
	return []hostileRow{
		{name: "honest", fetch: quoted, confirm: delivered, repeat: spent, pays: true},

		// What it asks for.
		{name: "a 402 that is not x402", asked: saying(402, "pay me"), fetch: unread},
		{name: "an offer that is not base64", asked: requiring("%%%"), fetch: unread},
		{name: "an offer in base64 for URLs", asked: requiring("eyJ4Ijoi_-8ifQ=="), fetch: unread},
		{name: "an offer that is not JSON", asked: requiring(receipt("pay me")), fetch: unread},
		{name: "an offer with a field twice", asked: requiring(receipt(`{"x402Version":2,"accepts":[],"accepts":[{}]}`)), fetch: unread},
		{name: "an offer of version 3", asked: requiring(receipt(`{"x402Version":3,"accepts":[{}]}`)), fetch: unread},
		{name: "no offers", asked: requiring(receipt(`{"x402Version":2,"accepts":[]}`)), fetch: unread},
		{name: "an offer twice", asked: saying(402, "", "PAYMENT-REQUIRED", receipt("{}"), "PAYMENT-REQUIRED", receipt("{}")), fetch: unread},
		{name: "a header that is too large", asked: requiring(strings.Repeat("A", 100<<10)), fetch: notNow},
		{name: "a flood of header fields", asked: saying(402, "", strings.Split(strings.Repeat("X-Flood,y,", 200), ",")...), fetch: unread},
		{name: "too many offers", asked: offering(func(_ *hostileMarket, o map[string]any) any {
			all := make([]any, 65)
			for i := range all {
				all[i] = o
			}
			return all
		}), fetch: unread},
		{name: "an offer in the body, of version 1", asked: saying(402, `{"x402Version":1,"accepts":[{"scheme":"halfkey-book","network":"solana",`+
			`"maxAmountRequired":"1","asset":"USD","payTo":"x","maxTimeoutSeconds":60}]}`), fetch: unpayable},
		{name: "an amount that is a number", asked: offerWith("amount", 10000), fetch: unpayable},
		{name: "an amount of nothing", asked: offerWith("amount", "0"), fetch: unpayable},
		{name: "a fraction", asked: offerWith("amount", "0.5"), fetch: unpayable},
		{name: "a negative amount", asked: offerWith("amount", "-1"), fetch: unpayable},
		{name: "an amount with an exponent", asked: offerWith("amount", "1e3"), fetch: unpayable},
		{name: "an amount beyond all", asked: offerWith("amount", "9223372036854775808"), fetch: unpayable},
		{name: "another scheme", asked: offerWith("scheme", "exact"), fetch: unpayable},
		{name: "another network", asked: offerWith("network", "halfkey:other"), fetch: unpayable},
		{name: "another asset", asked: offerWith("asset", "halfkey:other/iso4217:USD"), fetch: unpayable},
		{name: "a flow that nobody knows", asked: offerWith("extra", map[string]any{"paymentFlow": "trust-me"}), fetch: unpayable},
		{name: "no transaction of version 0", asked: offerWith("extra", map[string]any{"transactionVersions": []int{1}}), fetch: unpayable},
		{name: "a recipient that is nobody", asked: offerWith("payTo", "@nobody-at-all"), fetch: hostileOutcome{1, "NOT_FOUND", "NO"}},
		{name: "a recipient that is no name", asked: offerWith("payTo", "somebody"), fetch: hostileOutcome{2, "INVALID_ARGUMENT", "NO"}},
		{name: "the buyer as its recipient", asked: offering(func(h *hostileMarket, o map[string]any) any {
			o["payTo"] = h.buyer
			return o
		}), fetch: unpayable},
		{name: "a recipient that the owner never allowed", asked: offering(func(h *hostileMarket, o map[string]any) any {
			o["payTo"] = h.stranger
			return o
		}), fetch: refused, confirm: ended, repeat: ended},
		{name: "a price over the hard cap", price: 101_000_000, fetch: refused, confirm: ended, repeat: ended},
		{name: "the dearest offer first", asked: offering(func(_ *hostileMarket, o map[string]any) any {
			dear := map[string]any{}
			for k, v := range o {
				dear[k] = v
			}
			dear["amount"] = "4000000"
			return []any{dear, o}
		}), fetch: quoted, confirm: delivered, repeat: spent, pays: true},
		{name: "words that do things to terminals", asked: func(h *hostileMarket, w http.ResponseWriter, r *http.Request, _ int) {
			h.requireAs(w, h.offer(r), map[string]any{"url": hostile, "description": hostile + "\nhalfkey: money moved: NO"})
		}, fetch: quoted, confirm: delivered, repeat: spent, pays: true},
		{name: "no answer to the question", asked: cut(""), fetch: notNow},
		{name: "half an answer to the question", asked: cut("HTTP/1.1 402 Payment Req"), fetch: notNow},
		{name: "sent to another origin", asked: saying(302, "", "Location", "ELSEWHERE/weather"), fetch: unpayable},
		{name: "sent in circles", asked: func(_ *hostileMarket, w http.ResponseWriter, r *http.Request, _ int) {
			http.Redirect(w, r, r.URL.RequestURI(), http.StatusFound)
		}, fetch: unpayable},
		{name: "a receipt for nothing", asked: saying(200, "free", "PAYMENT-RESPONSE", receipt(invented)), fetch: hostileOutcome{0, "FREE", "NO"}},
		{name: "an error instead of a price", asked: saying(500, "broken"), fetch: hostileOutcome{1, "FREE", "NO"}},

		// What it answers to the payment.
		{name: "asks again", paid: saying(402, "{}"), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{name: "asks for more", paid: offerWith("amount", "4000000"), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{name: "asks for somebody else", paid: offerWith("payTo", "@nobody-at-all"), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{
			name: "says that it could not settle", paid: saying(402, "{}", "PAYMENT-RESPONSE", receipt(`{"success":false,"errorReason":"x\u001b[31m"}`)),
			fetch: quoted, confirm: unserved, repeat: unserved, pays: true,
		},
		{name: "fails", paid: saying(500, hostile), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{name: "fails once", paid: func(h *hostileMarket, w http.ResponseWriter, r *http.Request, again int) {
			if again == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.honest.ServeHTTP(w, r)
		}, fetch: quoted, confirm: unserved, repeat: delivered, pays: true},
		{name: "cannot reach who settles", paid: saying(502, `{"error":"x"}`), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{name: "does not find it", paid: saying(404, "gone"), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{
			name: "fails and says that it was paid", paid: saying(500, "", "PAYMENT-RESPONSE", receipt(invented)),
			fetch: quoted, confirm: unserved, repeat: unserved, pays: true,
		},
		{name: "cuts the connection", paid: cut(""), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{name: "cuts the header", paid: cut("HTTP/1.1 200 O"), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{
			name: "cuts the resource", paid: cut("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsunny"),
			fetch: quoted, confirm: unserved, repeat: unserved, pays: true,
		},
		{name: "answers what is not HTTP", paid: cut("220 smtp.example ESMTP\r\n"), fetch: quoted, confirm: unserved, repeat: unserved, pays: true},
		{name: "does not answer", paid: silent, fetch: quoted, confirm: unserved, pays: true, patience: "8s"},
		{
			name: "sends the payment to another origin", paid: saying(307, "", "Location", "ELSEWHERE/weather"),
			fetch: quoted, confirm: unserved, repeat: unserved, pays: true,
		},
		{
			name: "sends the payment elsewhere in its origin", paid: saying(302, "", "Location", "/weather/2"),
			fetch: quoted, confirm: unserved, repeat: unserved, pays: true,
		},
		{
			name: "answers with a header that is too large", paid: saying(200, "sunny", "X-Large", strings.Repeat("A", 100<<10)),
			fetch: quoted, confirm: unserved, repeat: unserved, pays: true,
		},
		{name: "answers without end", paid: endless, fetch: quoted, confirm: unserved, pays: true},
		{name: "serves without a receipt", paid: saying(200, "sunny"), fetch: quoted, confirm: delivered, repeat: spent, pays: true},
		{
			name: "serves and says that it was not paid", paid: saying(200, "sunny", "PAYMENT-RESPONSE", receipt(`{"success":false,"errorReason":"no"}`)),
			fetch: quoted, confirm: delivered, repeat: spent, pays: true,
		},
		{
			name: "serves with an invented receipt", paid: saying(200, "sunny", "PAYMENT-RESPONSE", receipt(invented)),
			fetch: quoted, confirm: delivered, repeat: spent, pays: true,
		},
		{
			name: "serves with a receipt that is none", paid: saying(200, "sunny", "PAYMENT-RESPONSE", "%%%"),
			fetch: quoted, confirm: delivered, repeat: spent, pays: true,
		},
		{
			name: "serves with two receipts", paid: saying(200, "sunny", "PAYMENT-RESPONSE", receipt(invented), "PAYMENT-RESPONSE", receipt(invented)),
			fetch: quoted, confirm: delivered, repeat: spent, pays: true,
		},
		{name: "serves nothing", paid: saying(204, ""), fetch: quoted, confirm: delivered, repeat: spent, pays: true},

		// What it asks for once its price was approved.
		{name: "the same after the approval", price: 6_000_000, fetch: asks, confirm: delivered, repeat: spent, pays: true},
		{
			name: "another memo after the approval", price: 6_000_000, asked: once(offerWith("extra", map[string]any{"memo": "another"})),
			fetch: asks, confirm: delivered, repeat: spent, pays: true,
		},
		{name: "more after the approval", price: 6_000_000, asked: once(offerWith("amount", "6000001")), fetch: asks, confirm: differs, repeat: ended},
		{name: "less after the approval", price: 6_000_000, asked: once(offerWith("amount", "5999999")), fetch: asks, confirm: differs, repeat: ended},
		{name: "another recipient after the approval", price: 6_000_000, asked: once(offering(func(h *hostileMarket, o map[string]any) any {
			o["payTo"] = h.stranger
			return o
		})), fetch: asks, confirm: differs, repeat: ended},
		{
			name: "another asset after the approval", price: 6_000_000, asked: once(offerWith("asset", "halfkey:other/iso4217:USD")),
			fetch: asks, confirm: differs, repeat: ended,
		},
		{
			name: "another network after the approval", price: 6_000_000, asked: once(offerWith("network", "halfkey:other")),
			fetch: asks, confirm: differs, repeat: ended,
		},
		{name: "elsewhere after the approval", price: 6_000_000, asked: once(func(h *hostileMarket, w http.ResponseWriter, r *http.Request, _ int) {
			if strings.HasSuffix(r.URL.Path, "/elsewhere") {
				h.honest.ServeHTTP(w, r)
				return
			}
			http.Redirect(w, r, r.URL.Path+"/elsewhere", http.StatusFound)
		}), fetch: asks, confirm: differs, repeat: ended},
		{name: "nothing to read after the approval", price: 6_000_000, asked: once(saying(402, "{}")), fetch: asks, confirm: unread, repeat: unread},
		{name: "for nothing after the approval", price: 6_000_000, asked: once(saying(200, "free")), fetch: asks, confirm: notNow, repeat: notNow},
		{name: "broken after the approval", price: 6_000_000, asked: once(saying(500, "")), fetch: asks, confirm: notNow, repeat: notNow},
		{name: "away after the approval", price: 6_000_000, asked: once(cut("")), fetch: asks, confirm: notNow, repeat: notNow},
	}
}

// hostileMarket is a server that behaves as a row says, before an honest seller.
type hostileMarket struct {
	t                       *testing.T
	home                    string
	agent                   *client.Agent // The buyer's.
	buyer, seller, stranger string        // Wallets.
	url                     string
	elsewhere               *httptest.Server
	leaked                  atomic.Int64 // Payments that came elsewhere.
	honest                  http.Handler
	row                     atomic.Pointer[hostileRow]
	unpaidCount, paidCount  atomic.Int64
}

// TestHostileServers runs the command line against servers that lie, break and stall: there is never more than one payment for a
// fetch, nothing leaves the wallet for another price than was shown, and what is told is true.
func TestHostileServers(t *testing.T) {
	if raced {
		t.Skip("it looks at what programs print, of which the race detector sees no more")
	}
	h := newHostileMarket(t)
	for _, row := range hostileRows() {
		t.Run(row.name, func(t *testing.T) {
			h.t = t
			if row.price == 0 {
				row.price = 10_000
			}
			h.row.Store(&row)
			h.unpaidCount.Store(0)
			h.paidCount.Store(0)
			before := h.balance()
			f := h.run(row.fetch, "x402", "fetch", h.url+"/weather", "--allow-loopback", "--json", "--output", filepath.Join(t.TempDir(), "free"))
			if row.fetch.exit == 0 || row.confirm != (hostileOutcome{}) {
				if got := h.balance(); got != before {
					t.Fatalf("%d was paid for a price that nobody has confirmed", before-got)
				}
			}
			if row.confirm == (hostileOutcome{}) {
				return
			}
			confirm := func(want hostileOutcome) {
				h.run(want, "--timeout", cmp.Or(row.patience, "1m"), "x402", "fetch", "confirm", f.ID, "--json", "--output", filepath.Join(t.TempDir(), "resource"))
			}
			if row.fetch == asks {
				h.run(hostileOutcome{4, "CONFIRMED", "NO"}, "x402", "fetch", "confirm", f.ID, "--json", "--output", filepath.Join(t.TempDir(), "none"))
				if _, err := world.owner.Approve(t.Context(), f.Payment); err != nil {
					t.Fatal(err)
				}
			}
			confirm(row.confirm)
			if row.repeat != (hostileOutcome{}) {
				confirm(row.repeat)
			}
			want := int64(0)
			if row.pays {
				want = row.price
			}
			if got := before - h.balance(); got != want {
				t.Errorf("%d left the wallet, want %d", got, want)
			}
			shown := h.run(hostileOutcome{}, "x402", "show", f.ID, "--json")
			if told := shown.MoneyMoved == "YES"; told != row.pays || shown.MoneyMoved == "UNKNOWN" {
				t.Errorf("money moved, it says: %s", shown.MoneyMoved)
			}
		})
	}
	if n := h.leaked.Load(); n != 0 {
		t.Errorf("%d payments reached another origin", n)
	}
	if n := len(hostileRows()); n < 40 {
		t.Errorf("%d rows", n)
	}
}

func newHostileMarket(t *testing.T) *hostileMarket {
	t.Helper()
	dir := t.TempDir()
	h := &hostileMarket{t: t, home: filepath.Join(dir, "buyer")}
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h.seller, err = newAgent(filepath.Join(dir, "seller"), "market-seller", false)
	must()
	h.stranger, err = newAgent(filepath.Join(dir, "stranger"), "market-stranger", false)
	must()
	h.buyer, err = newAgent(h.home, "market-buyer", false, "market-seller")
	must()
	c, err := connected(h.home)
	must()
	t.Cleanup(func() { _ = c.Close() })
	h.agent, err = c.Agent("")
	must()
	sc, err := connected(filepath.Join(dir, "seller"))
	must()
	t.Cleanup(func() { _ = sc.Close() })
	agent, err := sc.Agent("")
	must()
	server := httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	h.url = "http://" + server.Listener.Addr().String()
	seller, err := agent.NewSeller(client.SellerConfig{
		Origin: h.url, Dir: filepath.Join(dir, "sold"),
		Price: func(*http.Request) (client.Goods, bool) {
			return client.Goods{Units: h.row.Load().price, Description: "the weather"}, true
		},
	})
	must()
	h.honest = seller.Sell(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "sunny\n") }))
	server.Start()
	t.Cleanup(server.Close)
	h.elsewhere = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("PAYMENT-SIGNATURE") != "" {
			h.leaked.Add(1)
		}
	}))
	t.Cleanup(h.elsewhere.Close)
	return h
}

func (h *hostileMarket) serve(w http.ResponseWriter, r *http.Request) {
	answer, count := h.row.Load().asked, &h.unpaidCount
	if r.Header.Get("PAYMENT-SIGNATURE") != "" {
		answer, count = h.row.Load().paid, &h.paidCount
	}
	again := int(count.Add(1)) - 1
	if answer == nil {
		h.honest.ServeHTTP(w, r)
		return
	}
	answer(h, w, r, again)
}

// offer is the honest seller's.
func (h *hostileMarket) offer(r *http.Request) map[string]any {
	unpaid := r.Clone(r.Context())
	unpaid.Header.Del("PAYMENT-SIGNATURE")
	recorder := httptest.NewRecorder()
	h.honest.ServeHTTP(recorder, unpaid)
	raw, _ := base64.StdEncoding.DecodeString(recorder.Header().Get("PAYMENT-REQUIRED"))
	var required struct {
		Accepts []map[string]any `json:"accepts"`
	}
	if err := json.Unmarshal(raw, &required); err != nil || len(required.Accepts) != 1 {
		h.t.Errorf("the honest seller offers %q, %v", raw, err)
		return map[string]any{}
	}
	return required.Accepts[0]
}

func (h *hostileMarket) require(w http.ResponseWriter, offers any) { h.requireAs(w, offers, nil) }

// requireAs answers with a 402.
func (h *hostileMarket) requireAs(w http.ResponseWriter, offers any, resource map[string]any) {
	if one, ok := offers.(map[string]any); ok {
		offers = []any{one}
	}
	required := map[string]any{"x402Version": 2, "accepts": offers}
	if resource != nil {
		required["resource"] = resource
	}
	raw, err := json.Marshal(required)
	if err != nil {
		h.t.Error(err)
	}
	w.Header().Set("PAYMENT-REQUIRED", base64.StdEncoding.EncodeToString(raw))
	w.WriteHeader(http.StatusPaymentRequired)
}

// run runs the command line, and checks what it comes to unless want is zero.
func (h *hostileMarket) run(want hostileOutcome, args ...string) (r fetchResult) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(""), &stdout, &stderr, func(name string) string {
		if name == client.HomeVariable {
			return h.home
		}
		return ""
	})
	said := stdout.String() + stderr.String()
	if bad := hostileOutput(said); bad != "" {
		h.t.Errorf("%q reaches the terminal", bad)
	}
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			h.t.Fatalf("%q: %v", said, err)
		}
	}
	var f failure
	if stderr.Len() > 0 {
		if err := json.Unmarshal(stderr.Bytes(), &f); err != nil {
			h.t.Fatalf("%q: %v", said, err)
		}
	}
	got := hostileOutcome{code, r.State + f.Reason, r.MoneyMoved + f.MoneyMoved}
	if want != (hostileOutcome{}) && got != want {
		h.t.Errorf("%v comes to %v, want %v: %s", args[:3], got, want, said)
	}
	return r
}

// balance is what the buyer has.
func (h *hostileMarket) balance() int64 {
	h.t.Helper()
	acc, err := h.agent.Account(h.t.Context())
	if err != nil || len(acc.Balances) != 1 || acc.Balances[0].Held != 0 {
		h.t.Fatalf("got %+v, %v", acc, err)
	}
	return acc.Balances[0].Available
}
