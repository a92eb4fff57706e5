package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// serial is the number of the certificate in a file.
func serial(t testing.TB, path string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, path)))
	if block == nil {
		t.Fatalf("%s holds no certificate", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber.String()
}

// shown is the number of the certificate that a listener shows; empty if it shows none.
func shown(address string) string {
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	config.InsecureSkipVerify = true //nolint:forbidigo // Nothing is said on the connection: the test looks at what is shown.
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// give puts a certificate into a program's directory, key first.
func (s *site) give(t testing.TB, service authz.Service, by *devcert.Authority, life time.Duration) {
	t.Helper()
	pair, err := by.Issue(devcert.Leaf{
		URI: authz.ID(s.installation, service), Life: life, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.made.Dir, string(service))
	write(t, filepath.Join(dir, "tls.key"), string(pair.Key))
	write(t, filepath.Join(dir, "tls.pem"), string(pair.Certificate))
}

// life is enough for a certificate to be taken and shown.
const life = 7 * time.Second

// Certificates that are replaced on disk are shown by every listener without a restart, and no payment under way fails. An
// authority is replaced the same way; from when it has left the bundle, or a certificate has expired, what it signed is refused, on
// the connection that is open too.
func TestProgramsCertificatesReplaced(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newSite(t)
	s.up()
	p := s.people(ctx, t, 1)

	var enough atomic.Bool
	var wait sync.WaitGroup
	paid := 0
	wait.Go(func() {
		for !enough.Load() && ctx.Err() == nil {
			paid++
			if got, err := p.payers[0].Pay(ctx, p.order(fmt.Sprintf("while-%d", paid))); err != nil || got.State != settled {
				t.Errorf("while certificates are replaced: %v, %v", got, err)
				return
			}
		}
	})
	replaced := func(name, file string) {
		t.Helper()
		address, want := s.listens[name], serial(t, filepath.Join(s.made.Dir, name, file))
		awaits(t, name+" shows its new certificate", func() bool { return shown(address) == want })
	}
	s.changes(t, ofAll, func() {
		if err := s.made.Make(time.Now()); err != nil {
			t.Fatal(err)
		}
	}, programNames...)
	for _, name := range programNames {
		file := "tls.pem"
		if name == "gateway" {
			file = "public.pem"
		}
		replaced(name, file)
	}

	// A new authority: trusted by both ends first, then the ledger's certificate, and the gateway's last.
	old := s.authority(t)
	next, err := devcert.NewAuthority("next", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ledger, gateway := filepath.Join(s.made.Dir, "ledger"), filepath.Join(s.made.Dir, "gateway")
	both := string(old.Certificate()) + string(next.Certificate())
	// The gateway's public certificate stays with the old authority, which its bundle holds too.
	s.changes(t, ofAll, func() {
		for _, dir := range []string{gateway, ledger} {
			write(t, filepath.Join(dir, "ca.pem"), both)
		}
	}, "gateway", "ledger")
	s.give(t, authz.Ledger, next, time.Hour)
	replaced("ledger", "tls.pem")
	enough.Store(true)
	wait.Wait()
	p.pay(ctx, t, 0, "both-authorities")

	write(t, filepath.Join(ledger, "ca.pem"), string(next.Certificate()))
	refused := func(why string) {
		t.Helper()
		awaits(t, why, func() bool {
			_, err := p.payers[0].Account(ctx)
			return client.ReasonOf(err) == typev1.Reason_REASON_UNAVAILABLE
		})
	}
	refused("the ledger cuts off a gateway whose authority has left the bundle")
	s.give(t, authz.Gateway, next, time.Hour)
	accepted := func(why string) {
		t.Helper()
		awaits(t, why, func() bool { _, err := p.payers[0].Account(ctx); return err == nil })
	}
	// The other services know the new authority only now: nobody talks to a gateway that they do not know.
	for _, name := range []string{"identity", "policy", "cosigner"} {
		write(t, filepath.Join(s.made.Dir, name, "ca.pem"), both)
	}
	accepted("the gateway has a certificate by the new authority")
	p.pay(ctx, t, 0, "next-authority")

	s.changes(t, ofService, func() { s.give(t, authz.Gateway, next, life) }, "gateway")
	s.programs["ledger"].kill() // So that the gateway connects anew, with this one.
	s.programs["ledger"].start()
	refused("a certificate that has expired is good no longer")
	s.give(t, authz.Gateway, next, time.Hour)
	accepted("the gateway has another certificate")
	p.pay(ctx, t, 0, "at-last")
	wantBalance(ctx, t, p.shop, int64(paid+3)*usd)
}

// The gateway's public certificate expires: both of its listeners hang up on who is connected, and show it to nobody; with a new one on
// disk they go on, without a restart.
func TestProgramsPublicCertificateExpires(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newSite(t)
	s.up()
	p := s.people(ctx, t, 1)
	give := func(life time.Duration) {
		t.Helper()
		pair, err := s.authority(t).Issue(devcert.Leaf{
			Hosts: []string{"127.0.0.1"}, Life: life, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(s.made.Dir, "gateway", "public.key"), string(pair.Key))
		write(t, filepath.Join(s.made.Dir, "gateway", "public.pem"), string(pair.Certificate))
	}
	s.changes(t, ofService, func() { give(life) }, "gateway")
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	config.InsecureSkipVerify = true //nolint:forbidigo // Who looks at no certificate is not served under an expired one either.
	open := make(map[string]*tls.Conn)
	for name, address := range map[string]string{"gRPC": s.listens["gateway"], "HTTPS": s.made.HTTPS} {
		config := config.Clone()
		if name == "gRPC" {
			config.NextProtos = []string{"h2"}
		}
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open[name] = conn
	}
	if _, err := io.WriteString(open["HTTPS"], "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for name, conn := range open {
		if err := conn.SetReadDeadline(time.Now().Add(comesUp)); err != nil {
			t.Fatal(err)
		}
		var late net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &late) && late.Timeout() {
			t.Errorf("%s is not cut", name)
		}
	}
	for name, address := range map[string]string{"gRPC": s.listens["gateway"], "HTTPS": s.made.HTTPS} {
		if shown(address) != "" {
			t.Errorf("%s shows a certificate that has expired", name)
		}
	}
	// A connection that was made under the certificate before, which is good, stays.
	p.pay(ctx, t, 0, "meanwhile")
	s.changes(t, ofService, func() { give(time.Hour) }, "gateway")
	for name, address := range map[string]string{"gRPC": s.listens["gateway"], "HTTPS": s.made.HTTPS} {
		if got, want := shown(address), serial(t, filepath.Join(s.made.Dir, "gateway", "public.pem")); got != want {
			t.Errorf("%s shows certificate %q, want the new one, %s", name, got, want)
		}
	}
	p.pay(ctx, t, 0, "renewed")
}

// ofAll are the credentials that a program has: towards services, the gateway's towards the public, and towards etcd where it stores.
// ofService are the first.
func ofAll(name string) int {
	if name == "ledger" {
		return 1
	}
	return 2
}

func ofService(string) int { return 1 }

// changes changes what is on disk, and waits until programs have taken it with each of the credentials that it is for.
func (s *site) changes(t testing.TB, each func(name string) int, do func(), names ...string) {
	t.Helper()
	taken := func(name string) int {
		return strings.Count(s.programs[name].logs.String(), `"msg":"certificates were replaced"`)
	}
	before := make(map[string]int)
	for _, name := range names {
		before[name] = taken(name)
	}
	do()
	for _, name := range names {
		awaits(t, name+" has taken what was replaced", func() bool { return taken(name) >= before[name]+each(name) })
	}
}
