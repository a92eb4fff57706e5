package x402

import (
	"encoding/base64"
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
