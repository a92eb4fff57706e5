package webclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// redirectsMax is how many redirects an unpaid request follows.
	redirectsMax = 5
	// headerBytesMax bounds the header of an answer: an x402 offer takes at most 16 KiB of it. Go takes 10 MB by default.
	headerBytesMax = 64 << 10
	// headersMax bounds the fields in it.
	headersMax = 128
	// BodyMaxDefault is the most that is taken of a body if Policy says nothing.
	BodyMaxDefault = 64 << 20
)

// Policy says what may be fetched, and how long it may take. The zero Policy is the strict one.
type Policy struct {
	// AllowLoopback opens the addresses of this machine, by plain HTTP too.
	AllowLoopback bool
	// AllowPrivate opens private networks: RFC 1918, RFC 6598, RFC 4193. Not the link-local ones, and no metadata service.
	AllowPrivate bool
	// Roots are who may certify a host, instead of the system's.
	Roots *x509.CertPool
	// Resolver resolves names, instead of the system's.
	Resolver *net.Resolver
	// BodyMax bounds a body, in bytes; 0 is BodyMaxDefault.
	BodyMax int64
	// Timeouts bound every wait; a zero one has the value that its comment says.
	Timeouts Timeouts
}

// Timeouts are how long a server is waited for.
type Timeouts struct {
	// Connect: for one connection, 10 s. Handshake: for TLS on it, 10 s.
	Connect, Handshake time.Duration
	// Answer: from the start of an unpaid request to the whole header of its answer, 30 s.
	Answer time.Duration
	// PaidAnswer is the same for a paid one, 90 s: its server waits for a chain, which may take 60 s, and asks once more.
	PaidAnswer time.Duration
	// Stall: between two pieces of a body, 30 s. Body: for the whole, 15 min.
	Stall, Body time.Duration
}

func (t Timeouts) orDefault() Timeouts {
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&t.Connect, 10 * time.Second},
		{&t.Handshake, 10 * time.Second},
		{&t.Answer, 30 * time.Second},
		{&t.PaidAnswer, 90 * time.Second},
		{&t.Stall, 30 * time.Second},
		{&t.Body, 15 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.or
		}
	}
	return t
}

// Client fetches. Make one with New; it may be used by several goroutines.
type Client struct {
	policy Policy
	ask    *http.Transport
	pay    *http.Transport
}

// New makes a client that keeps to this policy.
func New(policy Policy) *Client {
	policy.Timeouts = policy.Timeouts.orDefault()
	if policy.BodyMax <= 0 {
		policy.BodyMax = BodyMaxDefault
	}
	c := &Client{policy: policy}
	c.ask = c.transport()
	// A request on a connection that was used before is sent once more by net/http if the connection breaks. So each paid request
	// has a connection of its own.
	c.pay = c.transport()
	c.pay.DisableKeepAlives = true
	return c
}

// transport is net/http's, which follows no redirect, keeps no cookie and adds no Referer: http.Client would.
func (c *Client) transport() *http.Transport {
	d := &net.Dialer{Timeout: c.policy.Timeouts.Connect, Resolver: c.policy.Resolver, ControlContext: c.policy.control}
	return &http.Transport{
		Proxy:                  nil, // The address would be the proxy's to choose, and nobody would check it.
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.policy.Roots},
		TLSHandshakeTimeout:    c.policy.Timeouts.Handshake,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // A small answer would unpack to any size.
		MaxResponseHeaderBytes: headerBytesMax,
		MaxIdleConns:           8,
		IdleConnTimeout:        30 * time.Second,
	}
}

// Close closes connections that are not in use.
func (c *Client) Close() {
	c.ask.CloseIdleConnections()
	c.pay.CloseIdleConnections()
}

// Ask sends a request without a payment and returns the answer, whatever its status, after redirects within the origin. The
// answer's Request has the method and the URL that answered. The caller reads and closes the body, whose errors are *Error too.
func (c *Client) Ask(ctx context.Context, r Request) (*http.Response, error) {
	r, err := r.check()
	if err != nil {
		return nil, err
	}
	for range redirectsMax + 1 {
		resp, err := c.send(ctx, c.ask, c.policy.Timeouts.Answer, r)
		if err != nil || !redirects(resp.StatusCode) {
			return resp, err
		}
		_ = resp.Body.Close()
		if r.URL, err = follow(r, resp); err != nil {
			return nil, err
		}
	}
	const why = "the server sent from one address to the next more than five times"
	return nil, &Error{Reason: BadRedirect, Host: r.URL.Host, Why: why, Sent: true}
}

// Pay sends a request with a payment, once: header is PAYMENT-SIGNATURE or X-PAYMENT, value what it carries. It follows no
// redirect. An error whose Sent is true may come after the server has the payment.
func (c *Client) Pay(ctx context.Context, r Request, header, value string) (*http.Response, error) {
	r, err := r.check()
	if err != nil {
		return nil, err
	}
	header = textproto.CanonicalMIMEHeaderKey(header)
	if !slices.Contains(paymentHeaders, header) || value == "" || len(value) > paymentMax || !fieldValue(value) {
		return nil, &Error{Reason: BadRequest, Why: "its payment is not a value for PAYMENT-SIGNATURE or X-PAYMENT"}
	}
	r.Header.Set(header, value) // check made this header: it is nobody else's
	return c.send(ctx, c.pay, c.policy.Timeouts.PaidAnswer, r)
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow is where a redirect leads, if an unpaid request may go there.
func follow(r Request, resp *http.Response) (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		return nil, &Error{Reason: BadRedirect, Host: r.URL.Host, Why: why, Sent: true}
	}
	if resp.StatusCode < http.StatusTemporaryRedirect && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return bad("the server sends the request elsewhere without its body; ask for that address itself")
	}
	location, err := r.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return bad("the server sends the request elsewhere and does not say where")
	}
	to, why := parseURL(location.String())
	if why != "" {
		return bad("the server sends the request to a URL that is refused: " + why)
	}
	if Origin(to) != Origin(r.URL) {
		return bad("the server sends the request to another origin, " + Origin(to) + ": if that is right, ask it itself")
	}
	return to, nil
}

// send sends one request and waits for the header of its answer.
func (c *Client) send(ctx context.Context, over *http.Transport, wait time.Duration, r Request) (*http.Response, error) {
	whole := ctx
	var sent atomic.Bool
	ctx = context.WithValue(ctx, plainKey{}, r.URL.Scheme == "http")
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(wait, func() { cancel(errTimedOut) })

	req := (&http.Request{
		Method: r.Method, URL: r.URL, Host: r.URL.Host, Header: r.Header.Clone(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if len(r.Body) > 0 {
		req.ContentLength = int64(len(r.Body))
		req.Body = io.NopCloser(bytes.NewReader(r.Body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
	}
	resp, err := over.RoundTrip(req)
	if err != nil {
		timer.Stop()
		err := explain(ctx, whole, err, r.URL.Host, sent.Load())
		cancel(nil)
		return nil, err
	}
	b := &body{
		from: resp.Body, left: c.policy.BodyMax, host: r.URL.Host, ctx: ctx, whole: whole, cancel: cancel,
		stall: c.policy.Timeouts.Stall, stalled: timer,
	}
	b.total = time.AfterFunc(c.policy.Timeouts.Body, func() { cancel(errTimedOut) })
	timer.Stop() // Read starts it again: who reads may take time.
	resp.Body = b
	fields := 0
	for _, values := range resp.Header {
		fields += len(values)
	}
	if fields > headersMax {
		_ = b.Close()
		return nil, &Error{Reason: HeaderTooLarge, Host: r.URL.Host, Why: "the answer has more than 128 header fields", Sent: true}
	}
	return resp, nil
}
