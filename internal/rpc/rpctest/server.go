package rpctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

// Server is one that a client of the gateway must not talk to, unless OK.
type Server struct {
	Name string
	OK   bool
	// Address is host:port, where the host is whom the client wants.
	Address string

	calls atomic.Int32
}

// Calls is how many requests have reached it.
func (s *Server) Calls() int { return int(s.calls.Load()) }

// Servers starts servers of gRPC and HTTPS on loopback that claim to be a gateway at 127.0.0.1, each wrong in one way but
// for the last.
func Servers(t *testing.T, ca *devcert.Authority, installation string) []*Server {
	t.Helper()
	now := time.Now()
	stranger, err := devcert.NewAuthority("stranger", now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	here, id := []string{"127.0.0.1"}, authz.ID(installation, authz.Gateway)
	leaf := func(ca *devcert.Authority, hosts []string, usages []x509.ExtKeyUsage, now time.Time) tls.Certificate {
		t.Helper()
		return Issue(t, ca, devcert.Leaf{URI: id, Hosts: hosts, Usages: usages}, now)
	}
	var servers []*Server
	for _, s := range []struct {
		name string
		cert tls.Certificate
		max  uint16
		ok   bool
	}{
		{name: "expired", cert: leaf(ca, here, BothWays, now.Add(-year))},
		{name: "not yet valid", cert: leaf(ca, here, BothWays, now.Add(time.Hour))},
		{name: "other authority", cert: leaf(stranger, here, BothWays, now)},
		{name: "self-signed", cert: Homemade(t, key, id, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, nil)},
		{name: "other host", cert: leaf(ca, []string{"pay.example.com", "127.0.0.2"}, BothWays, now)},
		{name: "no host", cert: leaf(ca, nil, BothWays, now)},
		{name: "client's certificate", cert: leaf(ca, here, ClientOnly, now)},
		{name: "TLS 1.2", cert: leaf(ca, here, BothWays, now), max: tls.VersionTLS12},
		{name: "plaintext"},
		{name: "the gateway", cert: leaf(ca, here, BothWays, now), ok: true},
	} {
		started := &Server{Name: s.name, OK: s.ok}
		started.serve(t, s.cert, s.max)
		servers = append(servers, started)
	}
	return servers
}

func (s *Server) serve(t *testing.T, cert tls.Certificate, most uint16) {
	t.Helper()
	inner := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(inner, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Address = l.Addr().String()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.calls.Add(1)
			if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				inner.ServeHTTP(w, r)
			}
		}),
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: callTimeout,
		Protocols:         new(http.Protocols),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, MaxVersion: most},
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		if cert.PrivateKey == nil {
			_ = server.Serve(l)
			return
		}
		_ = server.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() { _ = server.Close() })
}
