package identity_test

import (
	"context"
	"fmt"
	"net"
	"os"
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

// etcd is one member for all tests; each has a namespace of its own.
var (
	etcd       *embedded.Server
	namespaces atomic.Int64
)

func TestMain(m *testing.M) { os.Exit(withEtcd(m)) }

func withEtcd(m *testing.M) int {
	dir, err := os.MkdirTemp("", "halfkey-identity-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if etcd, err = embedded.Start(ctx, embedded.Config{Dir: dir}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := etcd.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// start is when tests begin.
var start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// namespace is a part of the store that no other test uses.
func namespace(t testing.TB) clientv3.KV {
	t.Helper()
	kv, err := etcd.KV(fmt.Sprintf("test-%d", namespaces.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// connect serves a service to a real client over memory.
func connect(t testing.TB, s interface{ Register(grpc.ServiceRegistrar) }) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	s.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// refused demands one of the reasons, and that the error says that no money moved.
func refused(t testing.TB, err error, want ...typev1.Reason) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %v", want)
	}
	f := fault.Of(err)
	if f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		t.Errorf("money_moved %v in %v", f.MoneyMoved, err)
	}
	for _, r := range want {
		if f.Reason == r {
			return
		}
	}
	t.Errorf("refused with %v (%v), want %v", f.Reason, f.Metadata, want)
}
