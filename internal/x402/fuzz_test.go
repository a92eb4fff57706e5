package x402

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/internal/resource"
)

// ours reports whether an error holds this package's words only.
func ours(err error) bool {
	var e *Error
	return errors.Is(err, ErrNotX402) || errors.Is(err, ErrNoPayment) || errors.As(err, &e) && only(err.Error(), lower+upper+" :,._-(){}[]@%/")
}

// What is read can be paid, and what is paid carries the offer byte for byte; what is not read is refused in our own words.
func FuzzParseRequired(f *testing.F) {
	f.Add(402, `{"x402Version":2,"accepts":[`+offerV2+`],"extensions":{"payment-identifier":{"info":{}}}}`, "")
	f.Add(402, `{"x402Version":2,"accepts":[`+bookOffer()+`],"resource":{"url":"x"},"extensions":{"a":{"b":[1.5]}}}`, "")
	f.Add(402, "", bodyV1)
	f.Add(402, `{"x402Version":2,"accepts":[1,null,{}]}`, "x")
	f.Add(200, "", "")
	f.Fuzz(func(t *testing.T, status int, header, body string) {
		headers := map[string][]string{}
		if header != "" {
			headers = withHeader(HeaderRequired, header)
		}
		r, err := ParseRequired(status, headers, []byte(body))
		if err != nil {
			if r != nil || !ours(err) {
				t.Fatalf("got %+v, %v", r, err)
			}
			return
		}
		again, err := ReadRequired(r.Version, r.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("reads differently again (-first +again):\n%s", diff)
		}
		for i, o := range r.Offers {
			if !bytes.Contains([]byte(header+body), o.Raw) {
				t.Fatalf("offer %s was not sent", o.Raw)
			}
			if o.Problem != "" {
				continue
			}
			if !only(o.Scheme, lower+"-") || !namedNetwork(o.Network) || !named(o.Asset) || !named(o.PayTo) || o.Units < 1 ||
				(o.FeePayer != "" && !named(o.FeePayer)) || len(o.Memo) > MemoMax || o.MaxTimeoutSeconds < 1 || o.Flow == "" {
				t.Fatalf("a good offer: %+v", o)
			}
			p, err := r.Paid(i, []byte(`{"a":1}`), "fetch-0123456789abcdef")
			if err != nil {
				t.Fatal(err)
			}
			name, value, err := p.Header()
			if err != nil {
				t.Fatal(err)
			}
			if r.Version == 1 {
				continue
			}
			back, err := ParsePayment(map[string][]string{name: {value}})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(back.Accepted.Raw, o.Raw) || !back.Accepted.Matches(&o) || !bytes.Equal(back.Resource, r.Resource.Raw) {
				t.Fatalf("sent %+v for %+v", back, o)
			}
			if r.AsksIdentifier() != (back.Identifier() == "fetch-0123456789abcdef") {
				t.Fatalf("identifier %q", back.Identifier())
			}
		}
	})
}

func FuzzParsePayment(f *testing.F) {
	f.Add(`{"x402Version":2,"accepted":` + bookOffer() + `,"payload":{"payment":"wallets/a/payments/b","intent":"AQI=","settlement":"Aw=="}}`)
	f.Add(`{"x402Version":2,"resource":{"url":"x"},"accepted":` + offerV2 +
		`,"payload":{"transaction":"AAAA"},"extensions":{"payment-identifier":{"info":{"id":"0123456789abcdef"}}}}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePayment(withHeader(HeaderPayment, text))
		if err != nil {
			if p != nil || errors.Is(err, ErrNoPayment) != (text == "") || !ours(err) {
				t.Fatalf("got %+v, %v", p, err)
			}
			return
		}
		// Such a payment, written again, reads the same.
		name, value, err := p.Header()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParsePayment(map[string][]string{name: {value}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, back); diff != "" {
			t.Fatalf("reads differently again (-first +again):\n%s", diff)
		}
		if book, err := ParseBookPayload(p.Payload); err == nil {
			if _, _, err := resource.ParsePayment(book.Payment); err != nil || len(book.Intent) == 0 || len(book.Settlement) == 0 {
				t.Fatalf("got %+v, %v", book, err)
			}
		} else if !ours(err) {
			t.Fatal(err)
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	f.Add(200, `{"success":true,"transaction":"5x","network":"`+SolanaMainnet+`","payer":"`+seller+`"}`, "")
	f.Add(402, `{"success":false,"errorReason":"settlement_pending"}`, `{"error":"x"}`)
	f.Add(500, "", `{"error":"\u001b"}`)
	f.Fuzz(func(t *testing.T, status int, text, body string) {
		header := map[string][]string{}
		if text != "" {
			header = map[string][]string{HeaderReceipt: {base64.StdEncoding.EncodeToString([]byte(text))}}
		}
		a := Classify(status, header, []byte(body))
		if a.Kind.Words() == "" {
			t.Fatalf("kind %q has no words", a.Kind)
		}
		r, err := ParseReceipt(header)
		if err != nil {
			if r != nil || !ours(err) || a.Receipt != nil {
				t.Fatalf("got %+v, %v, %+v", r, err, a)
			}
			return
		}
		if (a.Kind == Settled || a.Kind == PaidNotServed) && (r == nil || !r.Success) {
			t.Fatalf("%s without a receipt of success", a.Kind)
		}
		if shown := a.Error.String(); strings.ContainsAny(shown, "\x1b\n") || len(shown) > 12*256+8 {
			t.Fatalf("shows %s", shown)
		}
	})
}
