package x402

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReceipt(t *testing.T) {
	want := Receipt{Success: true, Transaction: "wallets/a/payments/b", Network: book, Payer: "wallets/a", Amount: "250000"}
	value, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{HeaderReceipt, HeaderReceiptV1, "Payment-Response", "x-payment-response"} {
		got, err := ParseReceipt(map[string][]string{name: {value}})
		if err != nil {
			t.Fatal(err)
		}
		want.Raw = got.Raw
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got, err := ParseReceipt(http.Header{"Content-Type": {"text/plain"}}); got != nil || err != nil {
		t.Errorf("without one: %+v, %v", got, err)
	}
	failed := Receipt{ErrorReason: "settlement_pending", ErrorMessage: "<later>", Transaction: "", Network: book}
	if value, err = failed.Encode(); err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(value)
	wantRaw := `{"success":false,"errorReason":"settlement_pending","errorMessage":"<later>","transaction":"","network":"` + book + `"}`
	if string(raw) != wantRaw {
		t.Errorf("got %s, want %s", raw, wantRaw)
	}
	if value, err := (&Receipt{ErrorMessage: Untrusted(strings.Repeat("a", HeaderMax))}).Encode(); err == nil {
		t.Errorf("a receipt that is too long is encoded to %d bytes", len(value))
	}
}

func TestReceiptRefused(t *testing.T) {
	for _, c := range []struct{ name, json string }{
		{"a list", `[]`},
		{"success missing", `{"transaction":"a"}`},
		{"success a text", `{"success":"true"}`},
		{"success a number", `{"success":1}`},
		{"success null", `{"success":null}`},
		{"success in capitals", `{"Success":true}`},
		{"success twice", `{"success":false,"success":true}`},
		{"transaction a number", `{"success":true,"transaction":1}`},
		{"amount a number", `{"success":true,"amount":1}`},
		{"reason a list", `{"success":false,"errorReason":["a"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := ParseReceipt(withHeader("Payment-Response", c.json)); err == nil {
				t.Errorf("got %+v", r)
			}
		})
	}
	good := base64.StdEncoding.EncodeToString([]byte(`{"success":true}`))
	for name, header := range map[string]map[string][]string{
		"two":          {"Payment-Response": {good, good}},
		"two versions": {"Payment-Response": {good}, "X-Payment-Response": {good}},
		"two of v1":    {"X-Payment-Response": {good, good}},
		"too long":     withHeader("Payment-Response", `{"success":true`+strings.Repeat(" ", HeaderMax)+`}`),
		"not base64":   {"Payment-Response": {`{"success":true}`}},
	} {
		if r, err := ParseReceipt(header); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// What servers answer to a paid request, by the specification's table and beyond it.
func TestClassify(t *testing.T) {
	success := withHeader("Payment-Response", `{"success":true,"transaction":"5x"}`)
	failure := withHeader("Payment-Response", `{"success":false,"errorReason":"settlement_\u001b[2Jpending"}`)
	again := withHeader("Payment-Required", `{"x402Version":2,"error":"no match","accepts":[`+bookOffer()+`]}`)
	for _, c := range []struct {
		name   string
		status int
		header map[string][]string
		body   string
		want   Kind
		err    string
	}{
		{"served and settled", 200, success, "", Settled, `""`},
		{"created and settled", 201, success, "", Settled, `""`},
		{"served, nothing said", 200, nil, `{"error":"no error"}`, ServedNoReceipt, `""`},
		{"served, not settled", 200, failure, "", ServedUnsettled, `"settlement_\x1b[2Jpending"`},
		{"asked again", 402, again, "{}", NotAccepted, `"no match"`},
		{"asked again in version 1", 402, nil, bodyV1, NotAccepted, `"X-PAYMENT header is required"`},
		{"asked again in no words", 402, nil, "", NotAccepted, `""`},
		{"settlement failed or unknown", 402, failure, "{}", SettlementUnknown, `"settlement_\x1b[2Jpending"`},
		{"settlement failed, other status", 500, failure, "", SettlementUnknown, `"settlement_\x1b[2Jpending"`},
		{"asked again with a receipt of success", 402, success, "", PaidNotServed, `""`},
		{"paid, not served", 500, success, "", PaidNotServed, `""`},
		{"paid, gone", 410, success, "", PaidNotServed, `""`},
		{"settler unreachable", 502, nil, `{"error":"facilitator \u202e down"}`, SettlerUnreachable, `"facilitator \u202e down"`},
		{"allowance", 412, nil, "", AllowanceWanted, `""`},
		{"handler failed", 500, nil, `{"error":"boom"}`, NotServed, `"boom"`},
		{"handler failed, error an object", 500, nil, `{"error":{"a":1}}`, NotServed, `""`},
		{"handler failed, error twice", 500, nil, `{"error":"a","error":"b"}`, NotServed, `""`},
		{"handler failed, a page", 404, nil, `<html>`, NotServed, `""`},
		{"handler failed, body too long", 500, nil, `{"error":"a"` + strings.Repeat(" ", BodyMax) + `}`, NotServed, `""`},
		{"redirect", 302, nil, "", SentElsewhere, `""`},
		{"redirect with a receipt", 307, success, "", SentElsewhere, `""`},
		{"only heard", 101, nil, "", NoAnswer, `""`},
		{"no status", 0, nil, "", NoAnswer, `""`},
		{"status out of range", 999, success, "", NoAnswer, `""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Classify(c.status, c.header, []byte(c.body))
			if got.Kind != c.want || fmt.Sprint(got.Error) != c.err || got.BadReceipt != nil {
				t.Errorf("got %s, %v, %v, want %s, %s", got.Kind, got.Error, got.BadReceipt, c.want, c.err)
			}
			if got.Kind.Words() == "" {
				t.Error("the kind has no words")
			}
		})
	}
	for _, status := range []int{200, 402, 500} {
		got := Classify(status, map[string][]string{"Payment-Response": {"?"}}, nil)
		if without := Classify(status, nil, nil); got.Kind != without.Kind || got.BadReceipt == nil {
			t.Errorf("a receipt that cannot be read counts with %d: %+v", status, got)
		}
	}
}
