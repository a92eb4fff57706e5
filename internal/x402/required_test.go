package x402

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	seller   = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
	feePayer = "EwWqGE4ZFKLofuestmU4LDdK7XM1N4ALgdZccwYugwGd"
	book     = "halfkey:test-one"
	bookUSD  = "halfkey:test-one/iso4217:USD"
)

// bookOffer is a short offer that is good, with a member replaced if one is given as `name`, `value`.
func bookOffer(change ...string) string {
	members := []struct{ name, value string }{
		{"scheme", `"halfkey-book"`},
		{"network", `"` + book + `"`},
		{"amount", `"250000"`},
		{"asset", `"` + bookUSD + `"`},
		{"payTo", `"wallets/seller"`},
		{"maxTimeoutSeconds", `60`},
		{"extra", `{}`},
	}
	var out []string
	for _, m := range members {
		if len(change) == 2 && change[0] == m.name {
			m.value, change = change[1], nil
		}
		if m.value != "" {
			out = append(out, `"`+m.name+`":`+m.value)
		}
	}
	if len(change) == 2 {
		out = append(out, `"`+change[0]+`":`+change[1])
	}
	return "{" + strings.Join(out, ",") + "}"
}

func withHeader(name, json string) map[string][]string {
	return map[string][]string{name: {base64.StdEncoding.EncodeToString([]byte(json))}}
}

func TestParseRequiredV2(t *testing.T) {
	r := requiredV2(t, offerV2, bookOffer())
	if r.Version != 2 || r.Error != "Payment required" || r.Resource.URL != "https://api.example/weather" || !r.AsksIdentifier() {
		t.Errorf("got %+v", r)
	}
	want := []Offer{
		{
			Raw: []byte(offerV2), Version: 2, Scheme: SchemeExact, Network: SolanaMainnet, Asset: USDCMainnet, PayTo: seller, Units: 10000,
			MaxTimeoutSeconds: 60, FeePayer: feePayer, Memo: "order 7", Flow: FlowAuthorization,
		},
		{
			Raw: []byte(bookOffer()), Version: 2, Scheme: SchemeBook, Network: book, Asset: bookUSD, PayTo: "wallets/seller", Units: 250000,
			MaxTimeoutSeconds: 60, Flow: FlowAuthorization,
		},
	}
	if diff := cmp.Diff(want, r.Offers); diff != "" {
		t.Errorf("offers (-want +got):\n%s", diff)
	}
	again, err := ReadRequired(2, r.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Errorf("what was kept reads differently (-first +again):\n%s", diff)
	}
}

// bodyV1 is a 402 of version 1 as the specification has it.
const bodyV1 = `{"x402Version":1,"error":"X-PAYMENT header is required","accepts":[{"scheme":"exact","network":"solana-devnet",
 "maxAmountRequired":"10000","asset":"` + USDCDevnet + `","payTo":"` + seller + `","resource":"https://api.example/w",
 "description":"weather","mimeType":"application/json","outputSchema":null,"maxTimeoutSeconds":60,"extra":{"feePayer":"` + feePayer + `"}}]}`

func TestParseRequiredV1(t *testing.T) {
	r, err := ParseRequired(402, http.Header{"Content-Type": {"application/json"}}, []byte(bodyV1))
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != 1 || r.Resource.URL != "https://api.example/w" || r.Resource.Description != "weather" {
		t.Errorf("got %+v", r)
	}
	want := Offer{
		Raw: r.Offers[0].Raw, Version: 1, Scheme: SchemeExact, Network: SolanaDevnet, Asset: USDCDevnet, PayTo: seller, Units: 10000,
		MaxTimeoutSeconds: 60, FeePayer: feePayer, Flow: FlowAuthorization,
	}
	if diff := cmp.Diff(want, r.Offers[0]); diff != "" {
		t.Errorf("offer (-want +got):\n%s", diff)
	}
	p, err := r.Paid(0, []byte(`{"transaction":"AAAA"}`), "fetch-0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	name, value, err := p.Header()
	if err != nil || name != "X-PAYMENT" {
		t.Fatalf("got header %s, %v", name, err)
	}
	got, _ := base64.StdEncoding.DecodeString(value)
	if want := `{"x402Version":1,"scheme":"exact","network":"solana-devnet","payload":{"transaction":"AAAA"}}`; string(got) != want {
		t.Errorf("payment %s, want %s", got, want)
	}
}

func TestVersion2ComesFirst(t *testing.T) {
	header := withHeader("payment-required", `{"x402Version":2,"accepts":[`+bookOffer()+`]}`)
	r, err := ParseRequired(402, header, []byte(bodyV1))
	if err != nil || r.Version != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
}

// nested is a value in n lists.
func nested(n int) string { return strings.Repeat("[", n) + "1" + strings.Repeat("]", n) }

func TestRequiredRefused(t *testing.T) {
	offer := bookOffer()
	v2 := func(json string) map[string][]string { return withHeader("Payment-Required", json) }
	raw := func(text string) map[string][]string { return map[string][]string{"Payment-Required": {text}} }
	for _, c := range []struct {
		name   string
		header map[string][]string
		body   string
		want   string
	}{
		{"not base64", raw("{}"), "", "not standard base64"},
		{"base64url", raw("e30_"), "", "not standard base64"},
		{"no padding", raw("eyJhIjoxfQ"), "", "not standard base64"},
		{"loose bits at the end", raw("e31="), "", "not standard base64"},
		{"line end inside", raw("e3\n0="), "", "not standard base64"},
		{"too long", raw(strings.Repeat("AAAA", HeaderMax/4+1)), "", "too long"},
		{"twice", map[string][]string{"Payment-Required": {"e30=", "e30="}}, "", "more than once"},
		{"twice in two spellings", map[string][]string{"Payment-Required": {"e30="}, "PAYMENT-REQUIRED": {"e30="}}, "", "more than once"},
		{"not UTF-8", v2("{\"a\":\"\xff\"}"), "", "not JSON in UTF-8"},
		{"not JSON", v2("x"), "", "not JSON"},
		{"two values", v2("{} {}"), "", "not JSON"},
		{"a list", v2("[]"), "", "not a JSON object"},
		{"null", v2("null"), "", "not a JSON object"},
		{"no version", v2(`{"accepts":[` + offer + `]}`), "", "x402Version"},
		{"version 1 in the header", v2(`{"x402Version":1,"accepts":[` + offer + `]}`), "", "x402Version"},
		{"version 3", v2(`{"x402Version":3,"accepts":[` + offer + `]}`), "", "x402Version"},
		{"version as text", v2(`{"x402Version":"2","accepts":[` + offer + `]}`), "", "x402Version"},
		{"version as fraction", v2(`{"x402Version":2.0,"accepts":[` + offer + `]}`), "", "x402Version"},
		{"version in capitals", v2(`{"X402version":2,"accepts":[` + offer + `]}`), "", "x402Version"},
		{"offers missing", v2(`{"x402Version":2}`), "", "no offer"},
		{"offers none", v2(`{"x402Version":2,"accepts":[]}`), "", "no offer"},
		{"offers not a list", v2(`{"x402Version":2,"accepts":{"0":` + offer + `}}`), "", "not a list"},
		{"offers too many", v2(`{"x402Version":2,"accepts":[1` + strings.Repeat(",1", OffersMax) + `]}`), "", "more than 64"},
		{"a name twice", v2(`{"x402Version":2,"accepts":[` + offer + `],"accepts":[` + offer + `]}`), "", "one name twice"},
		{"a name twice in an offer", v2(`{"x402Version":2,"accepts":[` + bookOffer("\\u0061mount", `"1"`) + `]}`), "", "one name twice"},
		{"a name twice deep inside", v2(`{"x402Version":2,"accepts":[` + offer + `],"extensions":{"x":[{"a":1,"a":1}]}}`), "", "one name twice"},
		{"nested too deeply", v2(`{"x402Version":2,"accepts":[` + offer + `],"extensions":{"x":` + nested(depthMax-1) + `}}`), "", "nested"},
		{"resource a text", v2(`{"x402Version":2,"accepts":[` + offer + `],"resource":"https://a.example"}`), "", "resource"},
		{"extensions a list", v2(`{"x402Version":2,"accepts":[` + offer + `],"extensions":[]}`), "", "extensions"},
		{"identifier without info", v2(`{"x402Version":2,"accepts":[` + offer + `],"extensions":{"payment-identifier":{}}}`), "", "an info"},
		{"identifier a text", v2(`{"x402Version":2,"accepts":[` + offer + `],"extensions":{"payment-identifier":"x"}}`), "", "an info"},
		{"version 2 in the body", nil, `{"x402Version":2,"accepts":[` + offer + `]}`, "x402Version"},
		{"body too long", nil, bodyV1 + strings.Repeat(" ", BodyMax), "longer than 64 KiB"},
		{"a name twice in the body", nil, `{"x402Version":1,"x402Version":1,"accepts":[]}`, "one name twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseRequired(402, c.header, []byte(c.body))
			var refused *Error
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want an error with %q", r, err, c.want)
			}
		})
	}
}

func TestNotX402(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		header map[string][]string
		body   string
	}{
		{"no body", 402, nil, ""},
		{"a page", 402, nil, "<html>"},
		{"another JSON", 402, nil, `{"error":"pay by invoice"}`},
		{"empty header", 402, map[string][]string{"Payment-Required": {""}}, ""},
		{"another status", 200, withHeader("Payment-Required", `{"x402Version":2,"accepts":[`+bookOffer()+`]}`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := ParseRequired(c.status, c.header, []byte(c.body)); !errors.Is(err, ErrNotX402) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

// At the bounds themselves everything passes.
func TestRequiredAtItsBounds(t *testing.T) {
	many := strings.Repeat(bookOffer("extra", "")+",", OffersMax-1) + bookOffer("extra", "")
	if r, err := ReadRequired(2, []byte(`{"x402Version":2,"accepts":[`+many+`]}`)); err != nil || len(r.Offers) != OffersMax {
		t.Errorf("%d offers: %v", OffersMax, err)
	}
	deep := `{"x402Version":2,"accepts":[` + bookOffer() + `],"extensions":{"x":` + nested(depthMax-2) + `}}`
	if _, err := ParseRequired(402, withHeader(HeaderRequired, deep), nil); err != nil {
		t.Errorf("depth %d: %v", depthMax, err)
	}
	long := `{"x402Version":2,"accepts":[` + bookOffer() + `]}`
	long += strings.Repeat(" ", HeaderMax/4*3-len(long))
	if _, err := ParseRequired(402, withHeader(HeaderRequired, long), nil); err != nil {
		t.Errorf("header of %d bytes: %v", HeaderMax, err)
	}
}

// What is wrong with one offer is said of it, and the offer beside it stays good.
func TestMalformedOffer(t *testing.T) {
	for _, c := range []struct {
		name  string
		offer string
		want  Reason
	}{
		{"a text", `"x"`, NotAnObject},
		{"a list", `[]`, NotAnObject},
		{"null", `null`, NotAnObject},
		{"empty", `{}`, BadScheme},
		{"scheme missing", bookOffer("scheme", ""), BadScheme},
		{"scheme in capitals", bookOffer("scheme", `"Exact"`), BadScheme},
		{"scheme a number", bookOffer("scheme", `1`), BadScheme},
		{"scheme null", bookOffer("scheme", `null`), BadScheme},
		{"scheme too long", bookOffer("scheme", `"`+strings.Repeat("a", 65)+`"`), BadScheme},
		{"network of version 1", bookOffer("network", `"solana"`), BadNetwork},
		{"network without reference", bookOffer("network", `"solana:"`), BadNetwork},
		{"network with space", bookOffer("network", `"solana: x"`), BadNetwork},
		{"network reference too long", bookOffer("network", `"solana:`+strings.Repeat("a", 33)+`"`), BadNetwork},
		{"network namespace too short", bookOffer("network", `"so:x"`), BadNetwork},
		{"amount missing", bookOffer("amount", ""), BadAmount},
		{"amount a number", bookOffer("amount", `250000`), BadAmount},
		{"amount zero", bookOffer("amount", `"0"`), BadAmount},
		{"amount negative", bookOffer("amount", `"-1"`), BadAmount},
		{"amount with plus", bookOffer("amount", `"+1"`), BadAmount},
		{"amount with point", bookOffer("amount", `"1.0"`), BadAmount},
		{"amount with exponent", bookOffer("amount", `"1e3"`), BadAmount},
		{"amount with leading zero", bookOffer("amount", `"01"`), BadAmount},
		{"amount in hexadecimal", bookOffer("amount", `"0x10"`), BadAmount},
		{"amount with space", bookOffer("amount", `" 1"`), BadAmount},
		{"amount with separator", bookOffer("amount", `"1_000"`), BadAmount},
		{"amount in other digits", bookOffer("amount", `"١"`), BadAmount},
		{"amount 2^63", bookOffer("amount", `"9223372036854775808"`), BadAmount},
		{"amount 2^64+1", bookOffer("amount", `"18446744073709551617"`), BadAmount},
		{"amount empty", bookOffer("amount", `""`), BadAmount},
		{"amount by its name in version 1", bookOffer("amount", `"1","maxAmountRequired":"1","amount2":""`), ""},
		{"asset missing", bookOffer("asset", ""), BadAsset},
		{"asset with escape", bookOffer("asset", `"USD\u001b[2J"`), BadAsset},
		{"asset not ASCII", bookOffer("asset", `"ＵＳＤ"`), BadAsset},
		{"asset too long", bookOffer("asset", `"`+strings.Repeat("a", TextMax+1)+`"`), BadAsset},
		{"payTo missing", bookOffer("payTo", ""), BadPayTo},
		{"payTo in other capitals", bookOffer("payTo", `"","PayTo":"wallets/thief"`), BadPayTo},
		{"payTo with line end", bookOffer("payTo", `"wallets/seller\n"`), BadPayTo},
		{"payTo a list", bookOffer("payTo", `["wallets/seller"]`), BadPayTo},
		{"timeout missing", bookOffer("maxTimeoutSeconds", ""), BadTimeout},
		{"timeout zero", bookOffer("maxTimeoutSeconds", `0`), BadTimeout},
		{"timeout negative", bookOffer("maxTimeoutSeconds", `-60`), BadTimeout},
		{"timeout a fraction", bookOffer("maxTimeoutSeconds", `60.0`), BadTimeout},
		{"timeout with exponent", bookOffer("maxTimeoutSeconds", `6e1`), BadTimeout},
		{"timeout a text", bookOffer("maxTimeoutSeconds", `"60"`), BadTimeout},
		{"timeout too long", bookOffer("maxTimeoutSeconds", `2147483648`), BadTimeout},
		{"extra a list", bookOffer("extra", `[]`), BadExtra},
		{"extra a text", bookOffer("extra", `"x"`), BadExtra},
		{"extra null", bookOffer("extra", `null`), ""},
		{"extra missing", bookOffer("extra", ""), ""},
		{"extra unknown", bookOffer("extra", `{"later":1.5e300}`), ""},
		{"fee payer a number", bookOffer("extra", `{"feePayer":1}`), BadFeePayer},
		{"fee payer with space", bookOffer("extra", `{"feePayer":"a b"}`), BadFeePayer},
		{"memo of 256 bytes", bookOffer("extra", `{"memo":"`+strings.Repeat("é", 128)+`"}`), ""},
		{"memo of 257 bytes", bookOffer("extra", `{"memo":"a`+strings.Repeat("é", 128)+`"}`), BadMemo},
		{"memo empty", bookOffer("extra", `{"memo":""}`), BadMemo},
		{"memo a number", bookOffer("extra", `{"memo":7}`), BadMemo},
		{"memo null", bookOffer("extra", `{"memo":null}`), ""},
		{"hint a number", bookOffer("extra", `{"recentBlockhash":1}`), BadHint},
		{"height a text", bookOffer("extra", `{"lastValidBlockHeight":"301"}`), ""},
		{"height a fraction", bookOffer("extra", `{"lastValidBlockHeight":3.5}`), BadHint},
		{"flow a number", bookOffer("extra", `{"paymentFlow":1}`), BadFlow},
		{"flow empty", bookOffer("extra", `{"paymentFlow":""}`), BadFlow},
		{"versions a number", bookOffer("extra", `{"transactionVersions":0}`), BadVersions},
		{"versions none", bookOffer("extra", `{"transactionVersions":[]}`), BadVersions},
		{"versions a text", bookOffer("extra", `{"transactionVersions":["0"]}`), BadVersions},
		{"versions legacy too", bookOffer("extra", `{"transactionVersions":["legacy",0]}`), BadVersions},
		{"versions many", bookOffer("extra", `{"transactionVersions":[0`+strings.Repeat(",1", versionsMax)+`]}`), BadVersions},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := requiredV2(t, c.offer, bookOffer())
			if got := r.Offers[0].Problem; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := string(r.Offers[0].Raw); got != c.offer {
				t.Errorf("raw %s, want %s", got, c.offer)
			}
			if r.Offers[1].Problem != "" {
				t.Errorf("the offer beside it: %q", r.Offers[1].Problem)
			}
			if got := ParseOffer(2, []byte(c.offer)); got.Problem != c.want {
				t.Errorf("by itself: %q, want %q", got.Problem, c.want)
			}
			if _, err := r.Paid(0, []byte(`{}`), "fetch-0123456789abcdef"); (err != nil) != (c.want != "") {
				t.Errorf("Paid: %v", err)
			}
		})
	}
}

// Version 1 has its own words for networks and for the amount.
func TestMalformedOfferV1(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		want           Reason
	}{
		{"good", "", "", ""},
		{"network of version 2", `"solana-devnet"`, `"` + SolanaDevnet + `"`, BadNetwork},
		{"network unknown", `"solana-devnet"`, `"base"`, BadNetwork},
		{"network a number", `"solana-devnet"`, `1`, BadNetwork},
		{"amount of version 2", `"maxAmountRequired"`, `"amount"`, BadAmount},
		{"amount a number", `"10000"`, `10000`, BadAmount},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseRequired(402, nil, []byte(strings.Replace(bodyV1, c.from, c.to, 1)))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Offers[0].Problem; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A terminal that prints what a server said sees no control character, and no end of the quotation.
func TestServersWordsShowEscaped(t *testing.T) {
	raw := `{"x402Version":2,"error":"\u001b[2Jpaid","resource":{"url":"u\u202e","description":"a\" paid","tags":["t\n",1,"u"]},"accepts":[` +
		bookOffer("extra", `{"memo":"m\u001b"}`) + `]}`
	r, err := ParseRequired(402, withHeader(HeaderRequired, raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %s %q %+v %v", r.Error, r.Resource.URL, r.Resource.Description, r.Resource.Tags, r.Offers[0].Memo)
	if want := `"\x1b[2Jpaid" "u\u202e" "a\" paid" ["t\x0a" "u"] "m\x1b"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSellerEncodesWhatAClientReads(t *testing.T) {
	want := Offer{
		Version: 2, Scheme: SchemeBook, Network: book, Asset: bookUSD, PayTo: "wallets/seller", Units: 250000, MaxTimeoutSeconds: 60,
		Flow: FlowUpfront, Memo: "a <&> b",
	}
	resource := Resource{URL: "http://localhost/a?b&c", Description: "tide tables"}
	r := Required{Version: 2, Error: "pay <first>", Resource: resource, Offers: []Offer{want}}
	value, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRequired(402, map[string][]string{HeaderRequired: {value}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want.Raw = got.Offers[0].Raw
	if diff := cmp.Diff([]Offer{want}, got.Offers); diff != "" {
		t.Errorf("offers (-want +got):\n%s", diff)
	}
	if got.Error != r.Error || got.Resource.URL != r.Resource.URL || got.Resource.Description != r.Resource.Description {
		t.Errorf("got %+v", got)
	}
	if !got.Offers[0].Matches(&want) {
		t.Error("the offer does not match itself")
	}

	for name, change := range map[string]func(*Required){
		"version 1":   func(r *Required) { r.Version = 1 },
		"no resource": func(r *Required) { r.Resource = Resource{} },
		"no offer":    func(r *Required) { r.Offers = nil },
		"no price": func(r *Required) {
			r.Offers = []Offer{{Scheme: SchemeBook, Network: book, Asset: bookUSD, PayTo: "x", MaxTimeoutSeconds: 60}}
		},
		"extensions a list": func(r *Required) { r.Extensions = []byte("[]") },
		"extensions broken": func(r *Required) { r.Extensions = []byte(`{"a":1`) },
		"too long":          func(r *Required) { r.Error = Untrusted(strings.Repeat("a", HeaderMax)) },
	} {
		bad := r
		change(&bad)
		if value, err := bad.Encode(); err == nil {
			t.Errorf("%s: encoded to %s", name, value)
		}
	}
}

// A seller that was paid for another offer than its own was not paid.
func TestMatches(t *testing.T) {
	base := ParseOffer(2, []byte(offerV2))
	if !base.Matches(&base) {
		t.Fatal("an offer does not match itself")
	}
	for name, change := range map[string]func(*Offer){
		"problem":      func(o *Offer) { o.Problem = BadAsset },
		"version":      func(o *Offer) { o.Version = 1 },
		"scheme":       func(o *Offer) { o.Scheme = SchemeBook },
		"network":      func(o *Offer) { o.Network = SolanaDevnet },
		"asset":        func(o *Offer) { o.Asset = USDCDevnet },
		"payTo":        func(o *Offer) { o.PayTo = feePayer },
		"units":        func(o *Offer) { o.Units++ },
		"timeout":      func(o *Offer) { o.MaxTimeoutSeconds++ },
		"fee payer":    func(o *Offer) { o.FeePayer = seller },
		"memo":         func(o *Offer) { o.Memo = "" },
		"flow":         func(o *Offer) { o.Flow = FlowUpfront },
		"transactions": func(o *Offer) { o.TransactionVersions = []int64{1} },
	} {
		other := base
		change(&other)
		if other.Matches(&base) || base.Matches(&other) {
			t.Errorf("another %s matches", name)
		}
	}
	hint := base
	hint.RecentBlockhash, hint.LastValidBlockHeight = "x", 5
	if !hint.Matches(&base) {
		t.Error("a new hint does not match")
	}
}
