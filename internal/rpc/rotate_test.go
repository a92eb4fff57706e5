package rpc_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	"github.com/halfkey/halfkey/internal/rpc/rpctest"
)

// within bounds what rotates by itself, which takes some three seconds; the rest is for slow machines.
const within = 20 * time.Second

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// materialOf is what a service is given: a certificate by an authority, and those that it trusts.
func materialOf(t testing.TB, s authz.Service, life time.Duration, by *devcert.Authority, trusts ...*devcert.Authority) rpc.Material {
	t.Helper()
	pair, err := by.Issue(devcert.Leaf{
		URI: authz.ID(installation, s), Hosts: []string{"127.0.0.1"}, Usages: rpctest.BothWays, Life: life,
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := rpc.Material{Certificate: pair.Certificate, Key: pair.Key}
	for _, ca := range trusts {
		m.Authorities = append(m.Authorities, ca.Certificate()...)
	}
	return m
}

// fixed are credentials that stay as they are.
func fixed(t testing.TB, m rpc.Material) *rpc.Credentials {
	t.Helper()
	c, err := rpc.NewCredentials(installation, m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// changing is a source that a test changes, and that counts looks.
type changing struct {
	mu     sync.Mutex
	m      rpc.Material
	looks  atomic.Int32
	closed atomic.Int32
}

// Read implements rpc.Source.
func (c *changing) Read() (rpc.Material, error) {
	c.looks.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m, nil
}

// Close implements rpc.Source.
func (c *changing) Close() error {
	c.closed.Add(1)
	return nil
}

func (c *changing) set(m rpc.Material) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m = m
}

func (c *changing) watch(t testing.TB) *rpc.Credentials {
	t.Helper()
	credentials, err := rpc.WatchCredentials(installation, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { credentials.Close() })
	return credentials
}

// directory is three files as a program is given them.
type directory struct {
	dir string
	rpc.Files
}

func newDirectory(t testing.TB, m rpc.Material) directory {
	t.Helper()
	dir := t.TempDir()
	d := directory{dir: dir, Files: rpc.Files{
		Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), Authorities: filepath.Join(dir, "ca.pem"),
	}}
	d.write(t, m)
	return d
}

func (d directory) write(t testing.TB, m rpc.Material) {
	t.Helper()
	for path, content := range map[string][]byte{d.Certificate: m.Certificate, d.Key: m.Key, d.Authorities: m.Authorities} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shows is the serial number of the certificate that a listener shows to a service that connects now; nil if it lets it
// in no more.
func shows(t testing.TB, address string, c *rpc.Credentials) *big.Int {
	t.Helper()
	conn, err := tls.Dial("tcp", address, c.ClientTLS(authz.Ledger))
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

func serial(t testing.TB, m rpc.Material) *big.Int {
	t.Helper()
	return keyPair(t, devcert.Pair{Certificate: m.Certificate, Key: m.Key}).Leaf.SerialNumber
}

// A certificate that is replaced on disk, by another authority that was announced before, is shown within seconds, and no
// call of those that run meanwhile is dropped, nor a stream.
func TestReplacedOnDisk(t *testing.T) {
	t.Parallel()
	old, next := newAuthority(t), newAuthority(t)
	first, second := materialOf(t, authz.Ledger, 0, old, old, next), materialOf(t, authz.Ledger, 0, next, old, next)
	dir := newDirectory(t, first)
	loaded, err := rpc.LoadCredentials(installation, dir.Files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loaded.Close() })
	address := serve(t, old, rpc.Config{Credentials: loaded}, nil)
	gateway := fixed(t, materialOf(t, authz.Gateway, 0, old, old, next))

	conn := bare(t, address, rpc.ClientTransport(gateway, authz.Ledger))
	stream := watchHealth(t, conn)
	calls, stop := 0, make(chan struct{})
	var calling sync.WaitGroup
	calling.Go(func() {
		for ; ; calls++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := check(t, conn); err != nil {
				t.Errorf("call %d was dropped: %v", calls, err)
				return
			}
		}
	})
	if got := shows(t, address, gateway); got == nil || got.Cmp(serial(t, first)) != 0 {
		t.Errorf("at first it shows %v", got)
	}
	dir.write(t, second)
	replaced := time.Now()
	eventually(t, "the new certificate is shown", func() bool {
		got := shows(t, address, gateway)
		if got == nil {
			t.Fatal("nothing is shown")
		}
		return got.Cmp(serial(t, second)) == 0
	})
	t.Logf("shown after %s", time.Since(replaced))
	// Until each connection that was open has been looked at again.
	for until := time.Now().Add(rpc.CheckEvery); time.Now().Before(until); {
		if shows(t, address, gateway) == nil {
			t.Fatal("nothing is shown")
		}
	}
	select {
	case err := <-stream:
		t.Errorf("the stream was dropped: %v", err)
	default:
	}
	close(stop)
	calling.Wait()
	if calls == 0 {
		t.Error("nobody called")
	}
}

// Files that do not fit together change nothing and are told of once, however long they lie there; what fits is taken.
func TestFilesThatDoNotFit(t *testing.T) {
	t.Parallel()
	var lines canary.Said
	old, next := newAuthority(t), newAuthority(t)
	good := materialOf(t, authz.Ledger, 0, old, old)
	dir := newDirectory(t, good)
	loaded, err := rpc.LoadCredentials(installation, dir.Files, slog.New(slog.NewTextHandler(&lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loaded.Close() })
	address := serve(t, old, rpc.Config{Credentials: loaded}, nil)
	open := watchHealth(t, asGateway(t, old, address))
	told := func() int { return strings.Count(lines.String(), "new certificates are not usable") }

	// The first authority is whole; the other, which has signed whoever calls, is cut off.
	half := good
	half.Authorities = append(next.Certificate(), good.Authorities[:len(good.Authorities)/2]...)
	dir.write(t, half)
	eventually(t, "a warning", func() bool { return told() > 0 })
	for until := time.Now().Add(rpc.LookEvery + rpc.CheckEvery); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if err := check(t, asGateway(t, old, address)); err != nil {
			t.Fatalf("the last good files do not stand: %v", err)
		}
	}
	select {
	case err := <-open:
		t.Errorf("an open connection was cut: %v", err)
	default:
	}
	if n := told(); n != 1 {
		t.Errorf("told %d times:\n%s", n, lines.String())
	}
	dir.write(t, materialOf(t, authz.Ledger, 0, next, next))
	eventually(t, "files that fit are taken", func() bool { return check(t, asGateway(t, next, address)) == nil })
	if strings.Contains(lines.String(), "PRIVATE") {
		t.Error("a key is in the log")
	}
}

// Kubernetes mounts a secret as links to a directory that a link names, and renames that link. What is read in the middle
// of it is of two generations, and is not taken.
func TestSwappedLinks(t *testing.T) {
	t.Parallel()
	var lines canary.Said
	old, next := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	generation := func(name string, m rpc.Material) {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		(directory{Files: rpc.Files{
			Certificate: filepath.Join(at, "tls.crt"), Key: filepath.Join(at, "tls.key"), Authorities: filepath.Join(at, "ca.crt"),
		}}).write(t, m)
		if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	generation("..1", materialOf(t, authz.Ledger, 0, old, old))
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := rpc.LoadCredentials(installation, rpc.Files{
		Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), Authorities: filepath.Join(dir, "ca.crt"),
	}, slog.New(slog.NewTextHandler(&lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loaded.Close() })
	address := serve(t, old, rpc.Config{Credentials: loaded}, nil)
	generation("..2", materialOf(t, authz.Ledger, 0, next, next))
	eventually(t, "the next generation", func() bool { return check(t, asGateway(t, next, address)) == nil })
	if strings.Contains(lines.String(), "not usable") {
		t.Errorf("a swap is told as trouble:\n%s", lines.String())
	}
}

// Material is taken when it was the same at two looks, so what lies there for one look only is not.
func TestTakenWhenSettled(t *testing.T) {
	t.Parallel()
	old, next := newAuthority(t), newAuthority(t)
	good, brief := materialOf(t, authz.Ledger, 0, old, old), materialOf(t, authz.Ledger, 0, next, next)
	source := &changing{m: good}
	own := source.watch(t)
	for _, m := range []rpc.Material{brief, good} {
		source.set(m)
		seen := source.looks.Load()
		eventually(t, "a look", func() bool { return source.looks.Load() > seen })
		if rpc.SerialInForce(own).Cmp(serial(t, good)) != 0 {
			t.Fatal("it was taken at the first look")
		}
	}
	source.set(brief)
	eventually(t, "what stays is taken", func() bool { return rpc.SerialInForce(own).Cmp(serial(t, brief)) == 0 })
}

// Closing ends the looking and the source, once; credentials that do not fit at first close it too.
func TestCloseCredentials(t *testing.T) {
	ca := newAuthority(t)
	source := &changing{m: materialOf(t, authz.Ledger, 0, ca, ca)}
	own := source.watch(t)
	for range 2 {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := source.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	if err := fixed(t, source.m).Close(); err != nil {
		t.Error(err)
	}
	bad := &changing{}
	if _, err := rpc.WatchCredentials(installation, bad, nil); err == nil {
		t.Error("nothing was taken for credentials")
	}
	if n := bad.closed.Load(); n != 1 {
		t.Errorf("a source that has nothing was closed %d times", n)
	}
}

func TestOwnService(t *testing.T) {
	ca := newAuthority(t)
	for _, s := range authz.Services() {
		if got, err := credentialsOf(t, ca, s).Service(); err != nil || got != s {
			t.Errorf("got %s, %v, want %s", got, err, s)
		}
	}
	pair, err := ca.Service("test-2", authz.Ledger, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := fixed(t, rpc.Material{Certificate: pair.Certificate, Key: pair.Key, Authorities: ca.Certificate()})
	if s, err := foreign.Service(); err == nil {
		t.Errorf("another installation's certificate is the %s's", s)
	}
}

// A public certificate is looked at as clients do: by the authorities of the installation file, and for the host that they call.
func TestCheckPublic(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	own := credentialsOf(t, ca, authz.Gateway)
	now := time.Now()
	for _, tt := range []struct {
		name, host string
		by         []byte
		now        time.Time
		want       string
	}{
		{"right", "localhost", ca.Certificate(), now, ""},
		{"an address", "127.0.0.1", ca.Certificate(), now, ""},
		{"another host", "pay.company.com", ca.Certificate(), now, "does not name the host that clients are sent to, pay.company.com"},
		{"another authority", "localhost", other.Certificate(), now, "is not signed by the authorities: x509: certificate signed by unknown"},
		{"expired", "localhost", ca.Certificate(), now.Add(91 * 24 * time.Hour), "has expired on "},
	} {
		err := own.CheckPublic(tt.by, tt.host, tt.now)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// watchHealth opens a stream, and gives the error that it ends with.
func watchHealth(t testing.TB, conn *grpc.ClientConn) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// wantCut demands that a stream ends with UNAVAILABLE, and soon.
func wantCut(t testing.TB, stream <-chan error, since time.Time) {
	t.Helper()
	select {
	case err := <-stream:
		if status.Code(err) != codes.Unavailable {
			t.Errorf("it ended with %v, want UNAVAILABLE", err)
		}
		t.Logf("cut after %s", time.Since(since))
	case <-time.After(within):
		t.Errorf("not cut within %s", within)
	}
}
