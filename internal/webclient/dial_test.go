package webclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// at is the URL of a server on loopback under another host.
func at(t *testing.T, server, host string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = host + ":" + u.Port()
	return u.String()
}

func wantError(t *testing.T, err error, reason Reason, words string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %s", err, reason)
	}
	if e.Reason != reason || !strings.Contains(e.Error(), words) {
		t.Errorf("got %s, %q, want %s with %q", e.Reason, e, reason, words)
	}
	for _, c := range e.Error() {
		if c < ' ' || c > '~' {
			t.Errorf("%q holds %q", e, c)
		}
	}
	return e
}

// A name proves nothing: what it leads to is looked at when it is dialled, in whatever form it comes, and nothing listens there
// that was asked.
func TestNamesThatLeadInside(t *testing.T) {
	var reached atomic.Int32
	z, resolver := names(t)
	c, server := serve(t, Policy{Resolver: resolver}, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	c.policy.AllowLoopback = false
	z.set("loopback.example.com", "127.0.0.1")
	z.set("loopback6.example.com", "::1")
	z.set("mapped.example.com", "::ffff:127.0.0.1")
	z.set("private.example.com", "10.0.0.1")
	z.set("metadata.example.com", "169.254.169.254")
	z.set("metadata6.example.com", "fd00:ec2::254")
	z.set("unspecified.example.com", "0.0.0.0")
	z.set("unspecified6.example.com", "::")
	z.set("provider.example.com", "100.64.0.1")
	z.set("nat64.example.com", "64:ff9b::7f00:1")
	z.set("both.example.com", "127.0.0.1", "10.0.0.1")
	z.alias("alias.example.com", "loopback.example.com")
	for _, host := range []string{
		"loopback.example.com", "loopback6.example.com", "mapped.example.com", "private.example.com",
		"metadata.example.com", "metadata6.example.com", "unspecified.example.com", "unspecified6.example.com",
		"provider.example.com", "nat64.example.com", "both.example.com", "alias.example.com",
		"localhost", "127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "0.0.0.0", "[::]", "[64:ff9b::7f00:1]", "[fd00:ec2::254]",
	} {
		t.Run(host, func(t *testing.T) {
			r := request(t, "GET", at(t, server, host))
			_, err := c.Ask(t.Context(), r)
			if e := wantError(t, err, BadAddress, "leads to"); e.Sent {
				t.Error("says that the request was sent")
			}
			_, err = c.Pay(t.Context(), r, "PAYMENT-SIGNATURE", "AAAA")
			if e := wantError(t, err, BadAddress, "leads to"); e.Sent {
				t.Error("says that the payment was sent")
			}
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the server was reached %d times", n)
	}
	_, err := c.Ask(t.Context(), request(t, "GET", at(t, server, "nowhere.example.com")))
	wantError(t, err, Unreachable, "name was not found")
}

// The name leads to the seller when the price is asked and elsewhere when it is paid: the payment goes nowhere.
func TestNameThatChanges(t *testing.T) {
	var paid atomic.Int32
	z, resolver := names(t)
	c, server := serve(t, Policy{Resolver: resolver}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Payment-Signature") != "" {
			paid.Add(1)
		}
		w.WriteHeader(http.StatusPaymentRequired)
	})
	z.set("shop.example.com", "127.0.0.1")
	r := request(t, "GET", at(t, server, "shop.example.com"))
	resp, err := c.Ask(t.Context(), r)
	if err != nil || resp.StatusCode != http.StatusPaymentRequired {
		t.Fatalf("got %v, %v", resp, err)
	}
	resp.Body.Close()
	before := z.questions()
	for _, ip := range []string{"169.254.169.254", "10.0.0.1", "fe80::1"} {
		z.set("shop.example.com", ip)
		_, err = c.Pay(t.Context(), r, "PAYMENT-SIGNATURE", "AAAA")
		wantError(t, err, BadAddress, ip)
	}
	if z.questions() == before {
		t.Error("the name was not looked up again")
	}
	if paid.Load() != 0 {
		t.Error("the payment arrived")
	}

	// Of two addresses the one that may be dialled is.
	z.set("shop.example.com", "169.254.169.254", "127.0.0.1")
	if resp, err = c.Pay(t.Context(), r, "PAYMENT-SIGNATURE", "AAAA"); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if paid.Load() != 1 {
		t.Errorf("the payment arrived %d times", paid.Load())
	}
}

// A proxy would dial whatever it is told, and look up the name by itself.
func TestNoProxy(t *testing.T) {
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	var used atomic.Bool
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			used.Store(true)
			conn.Close()
		}
	}()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://"+proxy.Addr().String())
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	z, resolver := names(t)
	z.set("shop.example.com", "127.0.0.1")
	c, server := serve(t, Policy{Resolver: resolver}, func(http.ResponseWriter, *http.Request) {})
	resp, err := c.Ask(t.Context(), request(t, "GET", at(t, server, "shop.example.com")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if used.Load() {
		t.Error("the proxy was used")
	}
}

func TestPlainHTTP(t *testing.T) {
	var reached atomic.Int32
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })}
	go s.Serve(listener)
	defer s.Close()
	r := request(t, "GET", "http://"+listener.Addr().String()+"/")

	strict := New(Policy{AllowPrivate: true})
	_, err = strict.Ask(t.Context(), r)
	wantError(t, err, BadAddress, "loopback")
	if reached.Load() != 0 {
		t.Error("the server was reached")
	}
	// ParseURL would not make this one; whoever makes it by himself gets no further.
	r.URL = &url.URL{Scheme: "http", Host: "shop.example.com", Path: "/"}
	_, err = New(Policy{AllowLoopback: true, AllowPrivate: true}).Ask(t.Context(), r)
	wantError(t, err, BadURL, "plain HTTP")

	r = request(t, "GET", "http://"+listener.Addr().String()+"/")
	open := New(Policy{AllowLoopback: true})
	defer open.Close()
	resp, err := open.Ask(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if reached.Load() != 1 {
		t.Errorf("the server was reached %d times", reached.Load())
	}
}

// Whoever answers has to show that it is the host: by a certificate of somebody trusted, for this name, over a current TLS.
func TestCertificates(t *testing.T) {
	z, resolver := names(t)
	z.set("shop.example.com", "127.0.0.1")
	z.set("shop.example.org", "127.0.0.1")
	var reached atomic.Int32
	c, server := serve(t, Policy{Resolver: resolver}, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	_, err := c.Pay(t.Context(), request(t, "GET", at(t, server, "shop.example.org")), "PAYMENT-SIGNATURE", "AAAA")
	if e := wantError(t, err, BadCertificate, "does not show that it is this host"); e.Sent {
		t.Error("says that the payment was sent")
	}
	systems := New(Policy{AllowLoopback: true, Resolver: resolver})
	_, err = systems.Ask(t.Context(), request(t, "GET", at(t, server, "shop.example.com")))
	wantError(t, err, BadCertificate, "does not show that it is this host")
	if reached.Load() != 0 {
		t.Error("the server was reached")
	}

	config := &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old, oldURL := serveWith(t, Policy{}, config, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	_, err = old.Ask(t.Context(), request(t, "GET", oldURL))
	wantError(t, err, Unreachable, "protocol version")
	if reached.Load() != 0 {
		t.Error("the server was reached")
	}
}

// A certificate holds words of whoever made it, and these get into the error.
func TestCertificateThatWritesToTheTerminal(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"evil\x1b[2J.example"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	made := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{made}}
	c, server := serveWith(t, Policy{}, config, func(http.ResponseWriter, *http.Request) {})
	_, err = c.Ask(t.Context(), request(t, "GET", at(t, server, "localhost")))
	wantError(t, err, BadCertificate, `\x1b`)
}
