package solanarpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	// endpointsMax bounds how many are asked for each answer: more add delay and no safety.
	endpointsMax = 8
	// timeoutDefault is a slow node's time for one call; a search of a busy account's history takes seconds.
	timeoutDefault = 10 * time.Second
	// timeoutMax is shorter than a block hash lives.
	timeoutMax = time.Minute
	// inFlightMax bounds calls to one endpoint at once: public nodes refuse more.
	inFlightMax = 16
	// headersMax is enough for any provider's response headers.
	headersMax = 32 << 10
	// referenceSize is how much of the genesis hash's text CAIP-2 takes.
	referenceSize = 32
)

// Config says whom to ask, and about which chain.
type Config struct {
	// Network is the chain by CAIP-2: `solana:` and the first 32 characters of its genesis hash.
	Network string
	// Endpoints are the RPC URLs, 1 to 8: https, or http to a loopback address. Each has to be somebody else's to count as a
	// witness of its own; the same one twice is refused. A path or query may hold a provider's key.
	Endpoints []string
	// TLS is used for https; nil is the system's authorities and TLS 1.2 or newer.
	TLS *tls.Config
	// Timeout bounds one call; 0 is 10 s, the largest is a minute.
	Timeout time.Duration
}

// Client asks all endpoints of one network. It is safe for concurrent use.
type Client struct {
	reference string // What the genesis hash's text begins with.
	endpoints []*endpoint
}

// New checks the configuration and asks nobody yet: Check does.
func New(c Config) (*Client, error) {
	reference, ok := strings.CutPrefix(c.Network, "solana:")
	if !ok || len(reference) != referenceSize {
		return nil, errors.New("solana network: is not solana: and the first 32 characters of a genesis hash")
	}
	if len(c.Endpoints) == 0 || len(c.Endpoints) > endpointsMax {
		return nil, fmt.Errorf("solana endpoints: %d given, want 1 to %d URLs", len(c.Endpoints), endpointsMax)
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = timeoutDefault
	}
	if timeout < 0 || timeout > timeoutMax {
		return nil, fmt.Errorf("solana timeout: %v, want more than 0 and at most %v", timeout, timeoutMax)
	}
	config := c.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	httpClient := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: config, ForceAttemptHTTP2: true, TLSHandshakeTimeout: timeout,
			// A compressed answer of some bytes may be gigabytes of text.
			DisableCompression:     true,
			MaxResponseHeaderBytes: headersMax,
			MaxIdleConnsPerHost:    inFlightMax, IdleConnTimeout: time.Minute,
		},
		// Whoever is redirected to was not configured and its word does not count.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client := &Client{reference: reference}
	seen := map[string]bool{}
	for i, text := range c.Endpoints {
		u, why := parseEndpoint(text)
		if why != "" {
			return nil, fmt.Errorf("solana endpoint %d: %s", i+1, why)
		}
		if seen[u.String()] {
			return nil, fmt.Errorf("solana endpoint %d: is given twice, and would confirm itself", i+1)
		}
		seen[u.String()] = true
		client.endpoints = append(client.endpoints, &endpoint{
			number: i + 1, host: u.Host, url: u.String(), reference: reference, timeout: timeout, http: httpClient,
			slots: make(chan struct{}, inFlightMax), others: newOthers(),
		})
	}
	return client, nil
}

// Close ends idle connections.
func (c *Client) Close() {
	for _, e := range c.endpoints {
		e.http.CloseIdleConnections()
	}
}

// parseEndpoint reads a URL that may be asked. What it says of one that may not holds nothing of it.
func parseEndpoint(text string) (*url.URL, string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return nil, "is not a URL such as https://rpc.example.org/"
	case u.User != nil:
		return nil, "has a user before its host; a provider's key belongs into the path or the query"
	case u.Fragment != "":
		return nil, "has a fragment, which is never sent"
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Path == "" {
		u.Path = "/"
	}
	switch u.Scheme {
	case "https":
		if host, port, err := net.SplitHostPort(u.Host); err == nil && port == "443" {
			u.Host = host
			if strings.Contains(host, ":") {
				u.Host = "[" + host + "]"
			}
		}
		return u, ""
	case "http":
		// A name could lead anywhere; an address is what it says.
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.Unmap().IsLoopback() {
			return u, ""
		}
		return nil, "is plain http to another machine; use https, or http to 127.0.0.1 or [::1]"
	}
	return nil, "is neither https nor http to a loopback address"
}
