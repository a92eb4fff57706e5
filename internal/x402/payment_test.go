package x402

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// offerV2 is an offer as the reference has it, with white space and an order of its own, which must come back.
const offerV2 = `{ "network":"` + SolanaMainnet + `", "scheme":"exact","amount":"10000",
 "asset":"` + USDCMainnet + `", "payTo":"9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin",
 "maxTimeoutSeconds":60, "later":[1.5e3, "<&>"], "extra":{"feePayer":"EwWqGE4ZFKLofuestmU4LDdK7XM1N4ALgdZccwYugwGd","memo":"order 7"} }`

func requiredV2(t *testing.T, offers ...string) *Required {
	t.Helper()
	raw := `{"x402Version":2,"error":"Payment required","resource": {"url":"https://api.example/weather", "x":1},"accepts":[` +
		strings.Join(offers, ",") + `],"extensions":{"z":{"info":{"b":1.0}}, "payment-identifier" : {"schema":{},"info":{"required":true}}}}`
	r, err := ParseRequired(402, http.Header{"Payment-Required": {base64.StdEncoding.EncodeToString([]byte(raw))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What the server offered comes back to it byte for byte, and its extensions with the answer in one of them.
func TestPaymentEchoesTheOffer(t *testing.T) {
	r := requiredV2(t, offerV2)
	p, err := r.Paid(0, []byte(`{ "transaction" : "AAAA" }`), "fetch-0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	name, value, err := p.Header()
	if err != nil || name != "PAYMENT-SIGNATURE" {
		t.Fatalf("got header %q, %v", name, err)
	}
	got, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"x402Version":2,"resource":{"url":"https://api.example/weather", "x":1},"accepted":` + offerV2 +
		`,"payload":{ "transaction" : "AAAA" },"extensions":{"z":{"info":{"b":1.0}},"payment-identifier":` +
		`{"schema":{},"info":{"required":true,"id":"fetch-0123456789abcdef"}}}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("payment (-want +got):\n%s", diff)
	}

	back, err := ParsePayment(http.Header{"Payment-Signature": {value}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := back.Identifier(), "fetch-0123456789abcdef"; got != want {
		t.Errorf("identifier %q, want %q", got, want)
	}
	if !back.Accepted.Matches(&r.Offers[0]) {
		t.Error("the offer that came back does not match the one that was made")
	}
}

func TestPaidRefuses(t *testing.T) {
	r := requiredV2(t, offerV2, `{}`)
	const id = "fetch-0123456789abcdef"
	for _, c := range []struct {
		name       string
		offer      int
		payload    string
		identifier string
	}{
		{"no such offer", 2, `{}`, id},
		{"no offer", -1, `{}`, id},
		{"an offer with a problem", 1, `{}`, id},
		{"payload a text", 0, `"x"`, id},
		{"payload null", 0, `null`, id},
		{"payload missing", 0, ``, id},
		{"payload with a name twice", 0, `{"a":1,"a":1}`, id},
		{"payload too long", 0, `{"a":"` + strings.Repeat("a", PayloadMax) + `"}`, id},
		{"identifier too short", 0, `{}`, "0123456789abcde"},
		{"identifier too long", 0, `{}`, strings.Repeat("a", 129)},
		{"identifier with a space", 0, `{}`, "0123456789abcde "},
		{"identifier missing", 0, `{}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p, err := r.Paid(c.offer, json.RawMessage(c.payload), c.identifier); err == nil {
				t.Errorf("got %+v", p)
			}
		})
	}
	for _, id := range []string{"0123456789abcdef", strings.Repeat("Z", 128), "____----____----"} {
		if _, err := r.Paid(0, json.RawMessage(`{}`), id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// Whatever a server offers within its bounds, the longest payload fits beside it: nothing is refused after money has moved.
func TestLongestPaymentFits(t *testing.T) {
	fill := func(n int) string { return strings.Repeat("\u2028", n/3) }
	base := `{"x402Version":2,"resource":{"url":"%s"},"accepts":[` + bookOffer("extra", `{"x":"%s"}`) +
		`],"extensions":{"payment-identifier":{"info":{"%s":1}}}}`
	room := (HeaderMax/4*3 - len(base)) / 3
	raw := fmt.Sprintf(base, fill(room), fill(room), fill(room))
	r, err := ParseRequired(402, withHeader(HeaderRequired, raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	payload := `{"a":"` + strings.Repeat("a", PayloadMax-8) + `"}`
	p, err := r.Paid(0, json.RawMessage(payload), strings.Repeat("i", 128))
	if err != nil {
		t.Fatal(err)
	}
	_, value, err := p.Header()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePayment(map[string][]string{HeaderPayment: {value}}); err != nil {
		t.Error(err)
	}
	book := BookPayload{Payment: "wallets/a/payments/b", Intent: make([]byte, IntentMax), Settlement: make([]byte, SettlementMax)}
	if raw, err := book.Encode(); err != nil || len(raw) > PayloadMax {
		t.Errorf("the longest book payload takes %d bytes, %v", len(raw), err)
	}
}

// An id that the server has filled in is not the client's, and a repeat has the same id.
func TestIdentifierIsTheClients(t *testing.T) {
	const (
		asked    = `"payment-identifier":{"info":{}}`
		answered = `"payment-identifier":{"info":{"id":"fetch-0123456789abcdef"}}`
	)
	for _, c := range []struct{ name, extensions, want string }{
		{"added", `{` + asked + `}`, `{` + answered + `}`},
		{
			"in its place", `{"payment-identifier":{"info":{"id":"0123456789abcdef","required":true}}}`,
			`{"payment-identifier":{"info":{"id":"fetch-0123456789abcdef","required":true}}}`,
		},
		{
			"name written as numbers", `{"\u0070ayment-identifier":{"info":{}}}`,
			`{"\u0070ayment-identifier":{"info":{"id":"fetch-0123456789abcdef"}}}`,
		},
		{"not asked for", `{ "other" : { } }`, `{ "other" : { } }`},
		{
			"others as they are", `{"a" : {"b": 1.50} , ` + asked + `,"c":"\u003c<"}`,
			`{"a":{"b": 1.50},` + answered + `,"c":"\u003c<"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ReadRequired(2, []byte(`{"x402Version":2,"accepts":[`+bookOffer()+`],"extensions":`+c.extensions+`}`))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				p, err := r.Paid(0, []byte(`{}`), "fetch-0123456789abcdef")
				if err != nil {
					t.Fatal(err)
				}
				if got := string(p.Extensions); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
			}
		})
	}
}

func TestPaymentRefused(t *testing.T) {
	offer := bookOffer()
	for _, c := range []struct{ name, json, want string }{
		{"a list", `[]`, "not a JSON object"},
		{"version 1", `{"x402Version":1,"accepted":` + offer + `,"payload":{}}`, "version 2"},
		{"no version", `{"accepted":` + offer + `,"payload":{}}`, "version 2"},
		{"no offer", `{"x402Version":2,"payload":{}}`, "names no offer"},
		{"offer malformed", `{"x402Version":2,"accepted":` + bookOffer("amount", `"0"`) + `,"payload":{}}`, "amount"},
		{"offer a list", `{"x402Version":2,"accepted":[` + offer + `],"payload":{}}`, "not a JSON object"},
		{"no payload", `{"x402Version":2,"accepted":` + offer + `}`, "payload"},
		{"payload a text", `{"x402Version":2,"accepted":` + offer + `,"payload":"x"}`, "payload"},
		{"payload too long", `{"x402Version":2,"accepted":` + offer + `,"payload":{"a":"` + strings.Repeat("a", PayloadMax) + `"}}`, "payload"},
		{"resource a text", `{"x402Version":2,"resource":"x","accepted":` + offer + `,"payload":{}}`, "resource"},
		{"extensions a list", `{"x402Version":2,"accepted":` + offer + `,"payload":{},"extensions":[]}`, "extensions"},
		{"a name twice", `{"x402Version":2,"accepted":` + offer + `,"payload":{},"payload":{}}`, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParsePayment(withHeader("Payment-Signature", c.json))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want an error with %q", p, err, c.want)
			}
		})
	}
	for _, none := range []http.Header{nil, {}, {"Payment-Signature": {}}, {"Payment-Signature": {""}}, {"X-Payment": {"e30="}}} {
		if p, err := ParsePayment(none); p != nil || !errors.Is(err, ErrNoPayment) {
			t.Errorf("of %v: %+v, %v", none, p, err)
		}
	}
	if p, err := ParsePayment(http.Header{"Payment-Signature": {strings.Repeat("AAAA", PaymentHeaderMax/4+1)}}); err == nil {
		t.Errorf("of a header that is too long: %+v", p)
	}
	if p, err := ParsePayment(http.Header{"Payment-Signature": {"e30=", "e30="}}); err == nil {
		t.Errorf("of two headers: %+v", p)
	}
}

func TestIdentifierOfNone(t *testing.T) {
	for _, extensions := range []string{
		``, `{}`, `{"payment-identifier":{"info":{}}}`, `{"payment-identifier":{"info":{"id":7}}}`,
		`{"payment-identifier":{"info":{"id":"short"}}}`,
		`{"payment-identifier":{"info":{"id":"0123456789abcdef\u001b"}}}`,
	} {
		if got := (&Payment{Extensions: []byte(extensions)}).Identifier(); got != "" {
			t.Errorf("%s: %q", extensions, got)
		}
	}
}

func TestBookPayload(t *testing.T) {
	want := &BookPayload{Payment: "wallets/a/payments/b", Intent: []byte{1, 2}, Settlement: []byte{3}}
	raw, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(raw), `{"payment":"wallets/a/payments/b","intent":"AQI=","settlement":"Aw=="}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got, err := ParseBookPayload(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	long := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, c := range []struct{ name, json string }{
		{"empty", `{}`},
		{"null", `null`},
		{"a field more", `{"payment":"wallets/a/payments/b","intent":"AQI=","settlement":"Aw==","x":1}`},
		{"a field less", `{"payment":"wallets/a/payments/b","intent":"AQI="}`},
		{"a field renamed", `{"payment":"wallets/a/payments/b","intent":"AQI=","Settlement":"Aw=="}`},
		{"a field null", `{"payment":"wallets/a/payments/b","intent":"AQI=","settlement":null}`},
		{"a field twice", `{"payment":"wallets/a/payments/b","intent":"AQI=","intent":"AQI=","settlement":"Aw=="}`},
		{"payment malformed", `{"payment":"wallets/a","intent":"AQI=","settlement":"Aw=="}`},
		{"payment a number", `{"payment":1,"intent":"AQI=","settlement":"Aw=="}`},
		{"intent empty", `{"payment":"wallets/a/payments/b","intent":"","settlement":"Aw=="}`},
		{"intent not padded", `{"payment":"wallets/a/payments/b","intent":"AQI","settlement":"Aw=="}`},
		{"intent with loose bits", `{"payment":"wallets/a/payments/b","intent":"AQJ=","settlement":"Aw=="}`},
		{"intent with line end", `{"payment":"wallets/a/payments/b","intent":"AQ\nI=","settlement":"Aw=="}`},
		{"intent base64url", `{"payment":"wallets/a/payments/b","intent":"AQ_=","settlement":"Aw=="}`},
		{"intent too long", `{"payment":"wallets/a/payments/b","intent":"` + long(IntentMax+1) + `","settlement":"Aw=="}`},
		{"settlement too long", `{"payment":"wallets/a/payments/b","intent":"AQI=","settlement":"` + long(SettlementMax+1) + `"}`},
		{"too long in all", `{"payment":"wallets/a/payments/b","intent":"AQI=","settlement":"Aw=="` + strings.Repeat(" ", PayloadMax) + `}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p, err := ParseBookPayload([]byte(c.json)); err == nil {
				t.Errorf("got %+v", p)
			}
		})
	}
	for name, p := range map[string]BookPayload{
		"no payment":    {Intent: []byte{1}, Settlement: []byte{1}},
		"no intent":     {Payment: "wallets/a/payments/b", Settlement: []byte{1}},
		"no settlement": {Payment: "wallets/a/payments/b", Intent: []byte{1}},
		"long intent":   {Payment: "wallets/a/payments/b", Intent: make([]byte, IntentMax+1), Settlement: []byte{1}},
	} {
		if raw, err := p.Encode(); err == nil {
			t.Errorf("%s: encoded to %s", name, raw)
		}
	}
}

func TestTransactionPayload(t *testing.T) {
	raw, err := (&TransactionPayload{Transaction: make([]byte, TransactionMax)}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseTransactionPayload(raw); err != nil || len(got.Transaction) != TransactionMax {
		t.Errorf("got %+v, %v", got, err)
	}
	if raw, err := (&TransactionPayload{Transaction: make([]byte, TransactionMax+1)}).Encode(); err == nil {
		t.Errorf("a transaction that is too long: %s", raw)
	}
	if got, err := ParseTransactionPayload([]byte(`{"transaction":"AAAA","signature":"AAAA"}`)); err == nil {
		t.Errorf("with another field: %+v", got)
	}
}
