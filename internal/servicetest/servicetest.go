// Package servicetest is what tests of the services that stand on etcd share: one embedded etcd for all tests of a package, with
// a namespace for each; a clock that tests set; a real client of a service; and the demand that a call was refused.
//
// Who should not use it: anything but a test of one service. A whole installation in a test is package halfkeytest.
package servicetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// etcd is one member for all tests of a package.
var (
	etcd       *embedded.Server
	namespaces atomic.Int64
)

// WithEtcd is a package's TestMain: it runs the tests while an etcd runs, and returns the exit code.
func WithEtcd(m *testing.M) int {
	code, err := withEtcd(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func withEtcd(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "halfkey-servicetest-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if etcd, err = embedded.Start(ctx, embedded.Config{Dir: dir}); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, etcd.Close()
}

// Namespace is a part of the store that no other test uses.
func Namespace(t testing.TB) clientv3.KV {
	t.Helper()
	kv, err := etcd.KV(fmt.Sprintf("test-%d", namespaces.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// Lease makes leases in the store.
func Lease() clientv3.Lease { return etcd.Client().Lease }

// Clock is a clock that tests set. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock makes a clock that stands at a time.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now is what it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Set sets it.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// Advance moves it.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Connect serves a service to a real client over memory, until the test ends.
func Connect(t testing.TB, s interface{ Register(grpc.ServiceRegistrar) }) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	s.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return conn
}

// Refused demands that a call was refused for one of the reasons, and that the error says that no money moved.
func Refused(t testing.TB, err error, want ...typev1.Reason) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %v", want)
	}
	f := fault.Of(err)
	if f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		t.Errorf("money_moved %v in %v", f.MoneyMoved, err)
	}
	if !slices.Contains(want, f.Reason) {
		t.Errorf("refused with %v (%v), want %v", f.Reason, f.Metadata, want)
	}
}
