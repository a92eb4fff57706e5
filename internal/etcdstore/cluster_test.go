package etcdstore_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/fault"
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
	c := embed.NewConfig()
	c.Dir = filepath.Join(dir, "etcd")
	c.TickMs, c.ElectionMs = 20, 200
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.EnableGRPCGateway = false
	c.ClientTLSInfo = transport.TLSInfo{
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), TrustedCAFile: filepath.Join(dir, "ca.pem"), ClientCertAuth: true,
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
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Certificate())
	pair, err := ca.Service("test-1", authz.Policy, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	config := etcdstore.Config{
		Endpoints: []string{address}, Namespace: "test-1/policy",
		TLS: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{cert}},
	}

	store, err := etcdstore.Open(callContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	create(t, store.KV(), "a", "one")
	if existing, created, err := etcdstore.Create(callContext(t), store.KV(), "a", []byte("two")); err != nil || created || string(existing.Bytes) != "one" {
		t.Errorf("again: %q, %v, %v", existing.Bytes, created, err)
	}
	if items, more, err := etcdstore.List(callContext(t), store.KV(), "a", "", 1); err != nil || more || len(items) != 1 || items[0].Key != "a" {
		t.Errorf("list: %v, %v, %v", items, more, err)
	}
	if _, err := etcdstore.Commit(callContext(t), store.KV(), nil, etcdstore.Put("b", nil), etcdstore.Put("b", nil)); fault.ReasonOf(err) != typev1.Reason_REASON_INTERNAL {
		t.Errorf("the same key twice: %v", err)
	}

	// A user is asked for a password at once. That the cluster is not there yet is no mistake in a file all the same.
	early := config
	early.Endpoints, early.Username, early.Password = []string{"127.0.0.1:1"}, "policy", "secret"
	if s, err := etcdstore.Open(callContext(t), early); fault.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE {
		t.Errorf("a user, and no cluster: %v, %v", s, err)
	}

	config.TLS = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if s, err := etcdstore.Open(short, config); err == nil {
		s.Close()
		t.Error("opened without a certificate")
	}
}
