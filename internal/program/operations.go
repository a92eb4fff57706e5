package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/halfkey/halfkey/internal/rpc"
)

const (
	// operationsTimeout bounds a request on the operations listener: metrics of a service are some 100 KiB.
	operationsTimeout = 10 * time.Second
	// operationsHeaderMax bounds its headers.
	operationsHeaderMax = 8 << 10
	// healthTimeout bounds the health command: a probe is asked for every few seconds.
	healthTimeout = 3 * time.Second
)

// Paths of the operations listener.
const (
	// pathLive is 200 while the process runs.
	pathLive = "/livez"
	// pathReady is 200 while it serves: from the end of starting to the beginning of draining.
	pathReady = "/readyz"
	// PathMetrics is Prometheus's. A process that is several programs has one below it for each, such as /metrics/ledger.
	PathMetrics = "/metrics"
)

// Operations is the operations listener: plain HTTP, nothing secret, for probes and scrapers.
type Operations struct {
	http  *http.Server
	ready atomic.Bool
}

// ListenOperations answers on an address, with who answers scrapes by path, until Close. fail is told when it ends before. It is not
// ready at first.
func ListenOperations(address string, metrics map[string]http.Handler, fail func(error)) (*Operations, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("operations: %w", err)
	}
	o := new(Operations)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathLive, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "live") })
	mux.HandleFunc("GET "+pathReady, func(w http.ResponseWriter, _ *http.Request) {
		if !o.ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	for path, handler := range metrics {
		mux.Handle("GET "+path, handler)
	}
	o.http = &http.Server{
		Handler: mux, MaxHeaderBytes: operationsHeaderMax,
		ReadTimeout: operationsTimeout, WriteTimeout: operationsTimeout, IdleTimeout: operationsTimeout,
	}
	go func() {
		if err := o.http.Serve(rpc.Limit(l)); !errors.Is(err, http.ErrServerClosed) {
			fail(err)
		}
	}()
	return o, nil
}

// SetReady says whether the program serves.
func (o *Operations) SetReady(ready bool) { o.ready.Store(ready) }

// Close ends it.
func (o *Operations) Close() error { return o.http.Close() }

// health asks the operations listener of a running program on this host whether it serves.
func health(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+pathReady, nil)
	if err != nil {
		return err
	}
	// No proxy, and no redirect: this asks the process beside it.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, operationsHeaderMax)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New("it does not serve")
	}
	return nil
}
