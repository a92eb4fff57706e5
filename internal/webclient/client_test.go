package webclient

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
)

// serve starts a server with TLS on loopback and gives a client that trusts it and may reach it.
func serve(t *testing.T, policy Policy, handler http.HandlerFunc) (*Client, string) {
	t.Helper()
	return serveWith(t, policy, &tls.Config{MinVersion: tls.VersionTLS12}, handler)
}

// serveWith is serve with a TLS configuration of the test's.
func serveWith(t *testing.T, policy Policy, config *tls.Config, handler http.HandlerFunc) (*Client, string) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	policy.AllowLoopback = true
	policy.Roots = x509.NewCertPool()
	policy.Roots.AddCert(s.Certificate())
	c := New(policy)
	t.Cleanup(c.Close)
	return c, s.URL
}

func request(t *testing.T, method, url string) Request {
	t.Helper()
	u, err := ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Method: method, URL: u}
}

// The two calls that there are, over a real connection.
func TestAskThenPay(t *testing.T) {
	var asked, paid http.Header
	c, url := serve(t, Policy{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Payment-Signature") == "" {
			asked = r.Header.Clone()
			w.WriteHeader(http.StatusPaymentRequired)
			return
		}
		paid = r.Header.Clone()
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "you sent "+string(body))
	})
	r := request(t, "POST", url+"/weather?at=here#now")
	r.Body = []byte("question")
	r.Header = http.Header{"Content-Type": {"text/plain"}}
	resp, err := c.Ask(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 402 || resp.ProtoMajor != 2 {
		t.Fatalf("got %s %s, want 402 over HTTP/2", resp.Proto, resp.Status)
	}
	if got, want := resp.Request.URL.String(), url+"/weather?at=here"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	resp, err = c.Pay(t.Context(), r, "PAYMENT-SIGNATURE", "AAAA")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != "you sent question" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got := paid.Get("Payment-Signature"); got != "AAAA" {
		t.Errorf("paid with %q", got)
	}
	for _, header := range []http.Header{asked, paid} {
		for _, name := range []string{"Cookie", "Referer", "Accept-Encoding"} {
			if got := header.Get(name); got != "" {
				t.Errorf("the server got %s: %s", name, got)
			}
		}
		if got := header.Get("User-Agent"); got != "halfkey" {
			t.Errorf("the server got User-Agent: %s", got)
		}
	}
	if len(r.Header) != 1 {
		t.Errorf("the caller's header was changed: %v", r.Header)
	}
}
