package etcdstore_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// cluster is a real member that listens with mutual TLS, as production's do. It answers at the address returned.
func cluster(t *testing.T, ca *devcert.Authority) string {
	t.Helper()
	dir := t.TempDir()
	pair, err := ca.Issue(devcert.Leaf{Hosts: []string{"127.0.0.1"}, Usages: []x509.ExtKeyUsage{
		x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth,
	}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"cert.pem": pair.Certificate, "key.pem": pair.Key, "ca.pem": ca.Certificate()}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return clusterIn(t, dir)
}

// clusterIn is cluster with the certificate, key and authorities of a directory, of which etcd reads the first two at each connection.
func clusterIn(t *testing.T, dir string) string {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = filepath.Join(t.TempDir(), "etcd")
	c.TickMs, c.ElectionMs = 20, 200
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.EnableGRPCGateway = false
	c.ClientTLSInfo = transport.TLSInfo{
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
		TrustedCAFile: filepath.Join(dir, "ca.pem"), ClientCertAuth: true,
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	member, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	select {
	case <-member.Server.ReadyNotify():
	case <-time.After(time.Minute):
		t.Fatal("etcd does not start")
	}
	return member.Clients[0].Addr().String()
}

// The same code works on a cluster over mutual TLS; without a certificate there is no store.
func TestOpen(t *testing.T) {
	ca, err := devcert.NewAuthority("etcd", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	address := cluster(t, ca)
	config := etcdstore.Config{Endpoints: []string{address}, Namespace: "test-1/policy", Credentials: credentials(t, ca, ca)}

	store, err := etcdstore.Open(callContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	create(t, store.KV(), "a", "one")
	if existing, created, err := etcdstore.Create(callContext(t), store.KV(), "a", []byte("two")); err != nil || created ||
		string(existing.Bytes) != "one" {
		t.Errorf("again: %q, %v, %v", existing.Bytes, created, err)
	}
	if items, more, err := etcdstore.List(callContext(t), store.KV(), "a", "", 1); err != nil || more || len(items) != 1 ||
		items[0].Key != "a" {
		t.Errorf("list: %v, %v, %v", items, more, err)
	}
	if _, err := etcdstore.Commit(callContext(t), store.KV(), nil, etcdstore.Put("b", nil),
		etcdstore.Put("b", nil)); fault.ReasonOf(err) != typev1.Reason_REASON_INTERNAL {
		t.Errorf("the same key twice: %v", err)
	}

	// A user is asked for a password at once. That the cluster is not there yet is no mistake in a file all the same.
	early := config
	early.Endpoints, early.Username, early.Password = []string{"127.0.0.1:1"}, "policy", "secret"
	if s, err := etcdstore.Open(callContext(t), early); fault.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE {
		t.Errorf("a user, and no cluster: %v, %v", s, err)
	}

	stranger, err := devcert.NewAuthority("stranger", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, credentials := range map[string]*rpc.Credentials{
		"by a certificate of another authority":   credentials(t, stranger, ca),
		"a cluster that another authority signed": credentials(t, ca, stranger),
	} {
		config.Credentials = credentials
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if s, err := etcdstore.Open(short, config); err == nil {
			s.Close()
			t.Errorf("opened %s", name)
		}
		cancel()
	}
}

// credentials are a service's for etcd, by one authority, which trust another.
func credentials(t *testing.T, by, trusts *devcert.Authority) *rpc.Credentials {
	t.Helper()
	pair, err := by.Issue(devcert.Leaf{Name: "policy", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := rpc.NewCredentials("etcd", rpc.Material{Certificate: pair.Certificate, Key: pair.Key, Authorities: trusts.Certificate()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A program finds a cluster whose authority has changed by what stands in its files now, without a restart and without a call that
// fails while both are trusted; and it leaves one whose authority it trusts no longer, on the connection that is open.
func TestAuthorityReplaced(t *testing.T) {
	t.Parallel()
	old, next := authority(t), authority(t)
	server, client := t.TempDir(), t.TempDir()
	put := func(dir string, leaf devcert.Leaf, by *devcert.Authority, trusts ...*devcert.Authority) {
		t.Helper()
		pair, err := by.Issue(leaf, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var bundle []byte
		for _, a := range trusts {
			bundle = append(bundle, a.Certificate()...)
		}
		for name, content := range map[string][]byte{"cert.pem": pair.Certificate, "key.pem": pair.Key, "ca.pem": bundle} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	member := devcert.Leaf{Hosts: []string{"127.0.0.1"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	service := devcert.Leaf{Name: "policy", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	put(server, member, old, old, next)
	put(client, service, old, old)
	address := clusterIn(t, server)
	var said canary.Said
	config, err := etcdstore.Configured(config.Etcd{Endpoints: []string{address}, Namespace: "test-1/policy", TLS: config.TLS{
		Certificate: filepath.Join(client, "cert.pem"), Key: filepath.Join(client, "key.pem"), Authorities: filepath.Join(client, "ca.pem"),
	}}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer config.Credentials.Close()
	store, err := etcdstore.Open(callContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	write := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := etcdstore.Commit(ctx, store.KV(), nil, etcdstore.Put("a", []byte("one")))
		return err
	}
	until := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("does not come about: %s\n%s", what, said.String())
			}
		}
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	put(client, service, old, old, next)
	until("both authorities are taken", func() bool {
		if err := write(); err != nil {
			t.Fatalf("while both are trusted: %v", err)
		}
		return strings.Count(said.String(), "certificates were replaced") == 1
	})
	put(client, service, next, next)
	until("the member of the old authority is left",
		func() bool { return write() != nil && strings.Contains(said.String(), "a connection was cut") })
	// A connection that is let in lives until it is next looked at, so that calls on it pass for a while.
	for range 3 {
		if write() == nil {
			t.Fatalf("the member of the old authority is taken again\n%s", said.String())
		}
	}
	put(server, member, next, old, next)
	until("the member has a certificate by the new one", func() bool { return write() == nil })
}

func authority(t *testing.T) *devcert.Authority {
	t.Helper()
	ca, err := devcert.NewAuthority("etcd", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}
