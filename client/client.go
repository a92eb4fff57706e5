package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/recoverywork"
	"github.com/halfkey/halfkey/internal/webclient"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Options changes how a client works; the zero value is what most programs want.
type Options struct {
	// Clock is the time of this machine; nil means time.Now. Messages and requests follow the ledger's time, which is
	// learned from its answers.
	Clock func() time.Time
	// Dial connects to a gateway's address from the installation file; nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Keys and Payments keep secrets and payments; nil means the home.
	Keys     KeyStore
	Payments PaymentStore
	// Fetches keeps what was fetched and not yet had; nil means the home.
	Fetches FetchStore
	// RecoveryWork is what one try at a recovery file's passphrase costs. The zero value is right; another one exists for tests alone.
	RecoveryWork recoverywork.Factor
	// WebTimeouts is how long servers that are fetched from are waited for. The zero value is right; others exist for tests alone.
	WebTimeouts webclient.Timeouts
	// Tracer records each payment with the steps that are taken here; the gateway goes on under the same trace, and whether its
	// side is recorded is its own decision. Nil records none. Spans name wallets, payments, states and reasons, and no
	// recipient, amount, purpose or secret.
	Tracer trace.TracerProvider
}

// Client is a connection to one installation, by a home that is connected to it. It is for concurrent use.
type Client struct {
	home     *Home
	clock    func() time.Time
	dial     func(ctx context.Context, addr string) (net.Conn, error)
	keys     KeyStore
	payments PaymentStore
	fetches  FetchStore

	// mu guards what follows. It is not held during calls.
	mu           sync.Mutex
	installation *evidence.Installation
	conn         *grpc.ClientConn
	followed     time.Time // When the chain of installation files was last followed; zero before.
	closed       bool
	offset       time.Duration // The ledger's time less this machine's.
	offsetKnown  bool

	// recoveryWork is scrypt's work factor for recovery files that are written, as a power of two; 0 is age's.
	recoveryWork int

	tracers trace.TracerProvider // Nil if nobody listens.
	tracer  trace.Tracer

	following sync.Mutex // One goroutine follows at a time.
	caughtUp  time.Time  // When an answer last gave reason to; following guards it.
	work      nameLocks

	webTimeouts webclient.Timeouts
	webs        sync.Map // A webclient.Client for each Reach that was asked for.

	handles sync.Map // The handles of this home's own agents by wallet, as HandleOf has found them.
}

// Open opens a client on a connected home. It connects on first use.
func Open(h *Home, o Options) (*Client, error) {
	i, err := h.Installation()
	if err != nil {
		return nil, err
	}
	c := &Client{
		home: h, clock: o.Clock, dial: o.Dial, keys: o.Keys, payments: o.Payments, fetches: o.Fetches, installation: i,
		recoveryWork: o.RecoveryWork.Power(), webTimeouts: o.WebTimeouts,
	}
	c.tracers, c.tracer = o.Tracer, tracer(o.Tracer)
	if c.clock == nil {
		c.clock = time.Now
	}
	if c.keys == nil {
		c.keys = h
	}
	if c.payments == nil {
		c.payments = h
	}
	if c.fetches == nil {
		c.fetches = h
	}
	c.followed = c.followedBefore()
	return c, nil
}

// Close ends the connection. Calls under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.webs.Range(func(_, web any) bool {
		web.(*webclient.Client).Close() //nolint:forcetypeassert // nothing else is ever stored there
		return true
	})
	return c.disconnect()
}

// disconnect closes the connection; mu is held.
func (c *Client) disconnect() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// Installation returns the installation file in force.
func (c *Client) Installation() *evidence.Installation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.installation
}

// followInterval is how often the programs of a home ask for newer installation files: key rotations are rare, and one that is
// missed shows as an answer that does not verify.
const followInterval = 5 * time.Minute

// followedPin says when the programs of this home last followed the chain of which installation file, so that one which lives for
// a single call does not begin with another.
const followedPin = "followed"

// followedBefore is when this home last followed the chain of the file that is pinned; zero if it is not known.
func (c *Client) followedBefore() time.Time {
	b, err := c.payments.Pinned(followedPin)
	if err != nil {
		return time.Time{}
	}
	number, at, _ := strings.Cut(string(b), " ")
	millis, err := strconv.ParseInt(at, 10, 64)
	if err != nil || number != strconv.FormatUint(c.installation.Number(), 10) {
		return time.Time{}
	}
	return time.UnixMilli(millis)
}

// gateway returns the connected gateway, having followed the chain of installation files.
func (c *Client) gateway(ctx context.Context) (gatewayv1.GatewayServiceClient, error) {
	c.following.Lock()
	defer c.following.Unlock()
	conn, due, err := c.connection()
	if err != nil {
		return nil, err
	}
	if due {
		if err := c.follow(ctx); err != nil {
			return nil, err
		}
		if conn, _, err = c.connection(); err != nil {
			return nil, err
		}
	}
	return gatewayv1.NewGatewayServiceClient(conn), nil
}

// connection returns the connection, made if there is none, and whether following is due.
func (c *Client) connection() (conn *grpc.ClientConn, due bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, local("connect", typev1.Reason_REASON_UNAVAILABLE, "the client is closed")
	}
	if c.conn == nil {
		if c.conn, err = dialGateway(c.installation, c.dial, observed(c.tracers)...); err != nil {
			return nil, false, err
		}
	}
	since := c.clock().Sub(c.followed)
	return c.conn, c.followed.IsZero() || since >= followInterval || since < 0, nil
}

// follow takes the successors of the pinned installation file one by one. Each is vouched for by the one before; a gateway
// that offers anything else is not one to talk to.
func (c *Client) follow(ctx context.Context) error {
	const op = "follow installation"
	for {
		conn, _, err := c.connection() // Anew each time: a successor may name another gateway.
		if err != nil {
			return err
		}
		old := c.Installation()
		call, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err := gatewayv1.NewGatewayServiceClient(conn).GetInstallations(call, &gatewayv1.GetInstallationsRequest{FromNumber: old.Number() + 1})
		cancel()
		if err != nil {
			return wrap(op, err, notMoved)
		}
		if len(resp.GetInstallations()) == 0 {
			now := c.clock()
			c.mu.Lock()
			c.followed = now
			c.mu.Unlock()
			// Where it cannot be noted, the next program asks again.
			_ = c.payments.Pin(followedPin, fmt.Appendf(nil, "%d %d", old.Number(), now.UnixMilli()))
			return nil
		}
		for _, e := range resp.GetInstallations() {
			next, err := evidence.Succeed(old, e)
			if err != nil {
				return distrust(op, notMoved, "a successor of the installation file does not verify", err)
			}
			if err := c.adopt(next); err != nil {
				return err
			}
			old = next
		}
	}
}

// adopt pins a verified successor and connects by it from the next call on.
func (c *Client) adopt(next *evidence.Installation) error {
	if err := c.home.follow(next); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after := c.installation.Content(), next.Content()
	c.installation = next
	if before.GetCaPem() == after.GetCaPem() && equalStrings(before.GetGatewayAddresses(), after.GetGatewayAddresses()) {
		return nil
	}
	// The old connection serves this answer's rest; whoever holds it finishes or fails, and may repeat.
	return c.disconnect()
}

func equalStrings(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// learn takes the ledger's time from an answer. It is not signed, and need not be: whoever lies about it makes messages
// that ledger and co-signer refuse.
func (c *Client) learn(t *timestamppb.Timestamp) {
	if !t.IsValid() || t.GetSeconds() <= 0 {
		return
	}
	c.learnTime(t.AsTime())
}

func (c *Client) learnTime(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.offsetKnown = t.Sub(c.clock()), true
}

// now estimates the ledger's time, and says whether it was ever learned.
func (c *Client) now() (t time.Time, learned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock().Add(c.offset), c.offsetKnown
}

// nameLocks serialises work on one name within this process.
type nameLocks struct {
	mu    sync.Mutex
	locks map[string]*nameLock
}

type nameLock struct {
	held chan struct{} // Has one element while the lock is held.
	uses int
}

// lock waits for a name until ctx ends, and returns what gives it back.
func (l *nameLocks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.locks == nil {
		l.locks = make(map[string]*nameLock)
	}
	n := l.locks[name]
	if n == nil {
		n = &nameLock{held: make(chan struct{}, 1)}
		l.locks[name] = n
	}
	n.uses++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n.uses--; n.uses == 0 {
			delete(l.locks, name)
		}
	}
	select {
	case n.held <- struct{}{}:
		return func() { <-n.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, errors.Join(context.Cause(ctx), ctx.Err())
	}
}
