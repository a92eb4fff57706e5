package httpjson

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func testLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// timed is a recorder with the deadline that a connection has.
type timed struct{ *httptest.ResponseRecorder }

// SetWriteDeadline takes any.
func (timed) SetWriteDeadline(time.Time) error { return nil }

// FuzzRequest sends anything as path, query, token and body: no request panics, every refusal is ours, and what is handed on has a
// path in its one form. Nobody is connected, so a call that is well made ends as one without a connection.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, target, token, kind, body string }{
		{"GET", "/v1/installations?from_number=1", "", "", ""},
		{"GET", "/v1/wallets/w-1/payments?state=PAYMENT_STATE_SETTLED&start_time=2026-01-01T00:00:00Z&recipient=AAAA", "AAAA", "", ""},
		{"GET", "/v1/wallets/w-1/payments/p-1:watch", "", "", ""},
		{"GET", "/v1/wallets/w-1/spending?group_by=SPENDING_GROUP_DAY&group_by=SPENDING_GROUP_WALLET", "", "", ""},
		{"GET", "/v1/handles/@shop", "", "", ""},
		{"GET", "/v1/wallets/%2e%2e/..;/account", "", "", ""},
		{
			"POST", "/v1/wallets/w-1/payments", "", "application/json",
			`{"request":{"type":"t","payload":"AAAA"},"message":"AAAA","validate_only":true}`,
		},
		{
			"POST", "/v1/freezes", "-_8", "application/json; charset=UTF-8",
			`{"freeze":{"freeze_id":"f","scope":1,"create_time":"2026-01-01T00:00:00Z"}}`,
		},
		{"POST", "/v1/wallets:claim", "", "application/json", `{"guard_rails":null}`},
		{"POST", "/v1/wallets/w/payments/p:settle", "", "application/json", `{"name":"x","signature":"\u0000"}`},
		{"PATCH", "*", "", "", ""},
	} {
		f.Add(seed.method, seed.target, seed.token, seed.kind, []byte(seed.body))
	}
	var logged strings.Builder
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	s, err := New(Config{
		TLS: config, ConnectTLS: config, Logger: testLogger(&logged),
		Connect: func(context.Context, net.Addr) (net.Conn, error) { return nil, net.ErrClosed },
		Healthy: func(context.Context) error { return nil },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, token, kind string, body []byte) {
		to, err := url.ParseRequestURI(target)
		if err != nil {
			return // net/http refuses it before it is a request.
		}
		r := &http.Request{
			Method: method, URL: to, Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body))),
		}
		if token != "" {
			r.Header.Set(TokenHeader, token)
		}
		r.Header.Set("Content-Type", kind)
		w := timed{httptest.NewRecorder()}
		s.ServeHTTP(w, r)
		if logged.Len() > 0 {
			t.Fatalf("it panicked: %s", logged.String())
		}
		if to.Path == "/healthz" || w.Code == http.StatusOK {
			return
		}
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Reason == "" ||
			p.MoneyMoved != "NO" && w.Code != http.StatusInternalServerError {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if p.Reason == "INTERNAL" && wrongPath(r) != "" {
			t.Errorf("%q was handed on", to.Path)
		}
	})
}
