package httpjson_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/gateway/httpjson"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The server sees the address that a connection comes from, whatever a header says.
func TestCallersAddress(t *testing.T) {
	w := newWorld(t)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	elsewhere := &http.Transport{TLSClientConfig: w.tls(), DialContext: dialer.DialContext}
	t.Cleanup(elsewhere.CloseIdleConnections)
	w.log.take(t)
	for _, header := range []http.Header{
		{},
		{"X-Forwarded-For": {"10.1.2.3"}, "Forwarded": {"for=10.1.2.3"}, "X-Real-Ip": {"10.1.2.3"}},
		{"Grpc-Metadata-X-Forwarded-For": {"10.1.2.3"}, "X-Forwarded-Host": {"a.example"}},
	} {
		for _, from := range []struct {
			address string
			through http.RoundTripper
		}{{"127.0.0.1", w.web.Transport}, {"127.0.0.9", elsewhere}} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.HTTPS()+"/v1/installations", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = header
			resp, err := from.through.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if calls := w.log.take(t); len(calls) != 1 || calls[0].Peer != from.address {
				t.Errorf("%v: got %v, want one from %s", header, calls, from.address)
			}
		}
	}
}

// Open registrations are bounded by where they come from, by HTTP as by gRPC.
func TestSourceIsBounded(t *testing.T) {
	w := newWorld(t)
	h := &hand{w: w, t: t}
	for n := range 1000 {
		h.wallet = ""
		got := h.start(n)
		if got.status == http.StatusOK {
			continue
		}
		if got.status != http.StatusTooManyRequests || got.problem.Reason != "LIMIT_EXCEEDED" || got.header.Get("Retry-After") == "" {
			t.Fatalf("got %d %v %s", got.status, got.header, got.body)
		}
		if got.problem.Metadata["bound"] != "source" {
			t.Fatalf("bounded by another thing: %s", got.body)
		}
		return
	}
	t.Error("nothing was refused")
}

// TLS below 1.3, a head that is too large, and a request that does not arrive.
func TestBoundsOfAConnection(t *testing.T) {
	w := newWorld(t)
	address := strings.TrimPrefix(w.HTTPS(), "https://")
	t.Run("TLS 1.2", func(t *testing.T) {
		config := w.tls()
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		conn, err := tls.Dial("tcp", address, config)
		if err == nil {
			_ = conn.Close()
			t.Error("it was taken")
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /v1/installations HTTP/1.1\r\nHost: a\r\n\r\n")
		answer, _ := io.ReadAll(conn)
		if strings.Contains(string(answer), "installations") || strings.Contains(string(answer), "200") {
			t.Errorf("got %q", answer)
		}
	})
	dial := func(t *testing.T) *tls.Conn {
		t.Helper()
		config := w.tls()
		config.NextProtos = []string{"http/1.1"}
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		return conn
	}
	t.Run("a large head", func(t *testing.T) {
		conn := dial(t)
		_, _ = io.WriteString(conn, "GET /v1/installations HTTP/1.1\r\nHost: a\r\nX-A: "+strings.Repeat("a", 64<<10)+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("got %v %v", resp, err)
		}
	})
	for name, sent := range map[string]string{
		"a head that stops": "GET /v1/installations HTTP/1.1\r\nHost: a\r\nX-A: ",
		"a body that stops": "POST /v1/freezes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t)
			began := time.Now()
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() || time.Since(began) > 20*time.Second {
				t.Errorf("the connection stayed: %q %v", answer, err)
			}
			if strings.Contains(string(answer), " 200 ") {
				t.Errorf("got %q", answer)
			}
		})
	}
}

// A server that stops ends a stream and says so.
func TestStreamEndsWithTheServer(t *testing.T) {
	w := newWorld(t)
	agent, shop := w.Agent("Research Agent"), w.Agent("Shop")
	w.GuardRails(agent, client.StandardRules(shop.GroupKey()))
	w.Fund(agent, 10_000_000)
	p, err := agent.Pay(t.Context(), client.Order{ID: "p-1", Recipient: "@" + shop.Handle(), Units: 6_000_000})
	if err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW {
		t.Fatalf("%v %v", p, err)
	}
	// HTTP/1.1 and HTTP/2 keep their deadlines in different places.
	for _, protocol := range []string{"http/1.1", "h2"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.HTTPS()+"/v1/"+p.Name+":watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(httpjson.TokenHeader, tokenOf(t, agent, service+"WatchPayment", agent.Wallet()))
		config := w.tls()
		config.NextProtos = []string{protocol}
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: protocol == "h2"}
		t.Cleanup(transport.CloseIdleConnections)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), `{"result":{`) {
			t.Fatalf("%s: got %q %v", protocol, lines.Text(), lines.Err())
		}
		defer func() {
			var last struct{ Error problem }
			if !lines.Scan() || json.Unmarshal(lines.Bytes(), &last) != nil || last.Error.Reason != "UNAVAILABLE" || last.Error.MoneyMoved != "NO" {
				t.Errorf("%s: the last line is %q %v", protocol, lines.Text(), lines.Err())
			}
			if lines.Scan() {
				t.Errorf("%s: a line after the last: %q", protocol, lines.Text())
			}
		}()
	}
	w.Restart()
}

// What a server is not made without.
func TestNewRefuses(t *testing.T) {
	connect := func(context.Context, net.Addr) (net.Conn, error) { return nil, net.ErrClosed }
	healthy := func(context.Context) error { return nil }
	good := &tls.Config{MinVersion: tls.VersionTLS13}
	old := &tls.Config{MinVersion: tls.VersionTLS12}
	for name, c := range map[string]httpjson.Config{
		"nothing":               {},
		"no connection":         {TLS: good, ConnectTLS: good, Healthy: healthy},
		"no health":             {TLS: good, ConnectTLS: good, Connect: connect},
		"no TLS":                {ConnectTLS: good, Connect: connect, Healthy: healthy},
		"TLS 1.2":               {TLS: old, ConnectTLS: good, Connect: connect, Healthy: healthy},
		"no TLS to the server":  {TLS: good, Connect: connect, Healthy: healthy},
		"TLS 1.2 to the server": {TLS: good, ConnectTLS: old, Connect: connect, Healthy: healthy},
	} {
		if _, err := httpjson.New(c); err == nil {
			t.Errorf("%s: it was made", name)
		}
	}
	if _, err := httpjson.New(httpjson.Config{TLS: good, ConnectTLS: good, Connect: connect, Healthy: healthy}); err != nil {
		t.Errorf("one that has all: %v", err)
	}
}

// A balancer that asks by HTTPS is told that the gateway is about to end before it ends; what it sends all the same is answered.
func TestLeave(t *testing.T) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	s, err := httpjson.New(httpjson.Config{
		TLS: config, ConnectTLS: config,
		Connect: func(context.Context, net.Addr) (net.Conn, error) { return nil, net.ErrClosed },
		Healthy: func(context.Context) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, said := get("/healthz"); code != http.StatusOK {
		t.Errorf("before: %d %q", code, said)
	}
	s.Leave()
	if code, said := get("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(said, "about to end") {
		t.Errorf("after: %d %q, want 503", code, said)
	}
	if code, said := get("/v1/openapi.json"); code != http.StatusOK {
		t.Errorf("another request: %d %.100q", code, said)
	}
}

// What is made for a connection ends with it.
func TestNothingStaysOfAConnection(t *testing.T) {
	w := newWorld(t)
	call := func() {
		t.Helper()
		through := &http.Transport{TLSClientConfig: w.tls(), ForceAttemptHTTP2: true}
		defer through.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.HTTPS()+"/v1/installations", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := through.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	call()
	before := runtime.NumGoroutine()
	const connections = 50
	for range connections {
		call()
	}
	// Both ends of a connection that stays hold several goroutines each.
	deadline := time.After(20 * time.Second)
	for runtime.NumGoroutine() > before+connections {
		select {
		case <-deadline:
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
