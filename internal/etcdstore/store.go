package etcdstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/halfkey/halfkey/internal/rpc"
)

const (
	// namespaceBytesMax bounds a namespace; keys below it stay under KeyBytesMax.
	namespaceBytesMax = 128
	// dialMax bounds the first connection; services that start before etcd try again.
	dialMax = 5 * time.Second
	// openMax bounds the first read.
	openMax = 10 * time.Second
	// pingEvery and pingTimeout find a dead member; etcd refuses pings more often than every 5 s.
	pingEvery   = 30 * time.Second
	pingTimeout = 10 * time.Second
	// connectMax bounds one attempt to connect, and reconnectMin and reconnectMax the pause after one that failed: gRPC's would be two
	// minutes after etcd has been away for some, in which nothing can be paid though it is back.
	connectMax   = 5 * time.Second
	reconnectMin = 100 * time.Millisecond
	reconnectMax = time.Second
	// window is how much a member may send before it is read. It is fixed: gRPC sizes it by itself only by a ping for what it receives,
	// which is one more exchange for each small answer.
	window = 4 << 20
)

// Config says which cluster, and as whom.
type Config struct {
	// Endpoints are the members, host:port.
	Endpoints []string
	// Credentials are the certificate that the members ask for, and the authorities that sign theirs; required. The connection is by
	// TLS 1.3. A Store does not close them.
	Credentials *rpc.Credentials
	// Username and Password are the service's own user, if the cluster asks for one. They keep honest services apart; what
	// keeps others out is TLS, and what makes a row believable is its signature.
	Username, Password string
	// Namespace is where the service's keys are, for example "prod/cosigner".
	Namespace string
	// Logger is told when a connection is cut because a certificate is good no longer. Nil means slog.Default.
	Logger *slog.Logger
}

// check refuses what no cluster is reached by.
func (c Config) check() error {
	if len(c.Endpoints) == 0 {
		return errors.New("etcdstore: no endpoint")
	}
	if c.Credentials == nil {
		return errors.New("etcdstore: a cluster is reached by TLS 1.3, with a certificate")
	}
	return nil
}

// Client is for a client of all of a cluster, whatever the namespace.
func (c Config) Client() (clientv3.Config, error) {
	if err := c.check(); err != nil {
		return clientv3.Config{}, err
	}
	pause := backoff.DefaultConfig
	pause.BaseDelay, pause.MaxDelay = reconnectMin, reconnectMax
	return clientv3.Config{
		// Were the option below ever overruled by it, this would trust nobody's certificate rather than go on in clear.
		TLS:       &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()},
		Endpoints: c.Endpoints, Username: c.Username, Password: c.Password, DialTimeout: dialMax,
		DialKeepAliveTime: pingEvery, DialKeepAliveTimeout: pingTimeout, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(c.Credentials.Host(c.Logger)),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: connectMax}),
			grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		},
	}, nil
}

// Store is one service's part of a cluster.
type Store struct {
	client *clientv3.Client
	kv     clientv3.KV
}

// Open connects to a cluster and reads one key linearizably, so that a wrong address, user or certificate shows at the
// start.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := checkNamespace(c.Namespace); err != nil {
		return nil, err
	}
	cluster, err := c.Client()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(cluster)
	if err != nil {
		return nil, storeError(ctx, err) // A user's password is looked at now: with no member there, or before there is such a user.
	}
	kv, err := Namespace(client.KV, c.Namespace)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	s := &Store{client: client, kv: kv}
	ctx, cancel := context.WithTimeout(ctx, openMax)
	defer cancel()
	if _, err := Get(ctx, kv, "probe"); err != nil {
		_ = client.Close() // Its error says nothing more, and the store's stays one that says whether to try again.
		return nil, err
	}
	return s, nil
}

// KV is the service's namespace.
func (s *Store) KV() clientv3.KV { return s.kv }

// Lease makes leases for keys of KV. A lease tidies up; nothing is decided by one.
func (s *Store) Lease() clientv3.Lease { return s.client.Lease }

// Close ends the connection.
func (s *Store) Close() error { return s.client.Close() }

// Namespace confines a KV to the keys below a name of [a-z0-9-] and inner slashes.
func Namespace(kv clientv3.KV, name string) (clientv3.KV, error) {
	if err := checkNamespace(name); err != nil {
		return nil, err
	}
	// The slash at the end keeps "policy" out of "policy-b".
	return namespace.NewKV(kv, name+"/"), nil
}

func checkNamespace(name string) error {
	if name == "" || len(name) > namespaceBytesMax || name[0] == '/' || name[len(name)-1] == '/' {
		return fmt.Errorf("etcdstore: a namespace is 1 to %d of [a-z0-9-/] and neither begins nor ends with a slash", namespaceBytesMax)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '/' {
			return errors.New("etcdstore: a namespace is of [a-z0-9-/]")
		}
	}
	return nil
}
