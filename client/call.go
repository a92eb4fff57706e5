package client

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// callTimeout is the deadline of a call if the caller's context has no earlier one: a payment passes five services, one
	// of which waits for its disk.
	callTimeout = 20 * time.Second
	// watchTimeout is the deadline of one stream; a longer wait opens another.
	watchTimeout = 10 * time.Minute
	// answerMax bounds one answer: a full page of journal entries, each with a payment's three statements.
	answerMax = 16 << 20
	// answerWindow is how much the gateway may send before this end has read it. It is fixed: gRPC sizes it by itself only by pings
	// for what it receives, which of a payment's small answers makes two exchanges each.
	answerWindow = 4 << 20
	// tokenBefore is how far before the estimated present a token's life begins, so that a clock which is off by half a
	// minute, either way, still authenticates its first call, from which the ledger's time is then learned.
	tokenBefore = evidence.TokenLife / 2
)

const (
	// reconnectMin and reconnectMax space out attempts to connect to a gateway that went away. Five attempts of a call span
	// some 2 s (serviceConfig), more than the longest space between two attempts to connect: a gateway that is back is found.
	reconnectMin = 100 * time.Millisecond
	reconnectMax = time.Second
)

// serviceConfig repeats calls that found nobody. Every method of the gateway may be repeated: writes are idempotent by id or
// content, and a paying call repeated with the same request is the same payment.
const serviceConfig = `{
  "methodConfig": [{
    "name": [{"service": "halfkey.gateway.v1.GatewayService"}],
    "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}
  }]
}`

// dialGateway makes the connection: TLS 1.3, the gateway's certificate verified under the authority that the installation
// file names and nobody else's, its addresses tried in order.
func dialGateway(
	i *evidence.Installation, dial func(context.Context, string) (net.Conn, error), further ...grpc.DialOption,
) (*grpc.ClientConn, error) {
	const op = "connect"
	content := i.Content()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(content.GetCaPem())) {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the installation file names no certificate authority")
	}
	var state resolver.State
	for _, addr := range content.GetGatewayAddresses() {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "a gateway address of the installation file is not host:port", "address", addr)
		}
		state.Addresses = append(state.Addresses, resolver.Address{Addr: addr, ServerName: host})
	}
	addresses := manual.NewBuilderWithScheme("halfkey")
	addresses.InitialState(state)
	options := []grpc.DialOption{
		grpc.WithResolvers(addresses),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots})),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithStatsHandler(sentMarks{}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerMax)),
		grpc.WithStaticStreamWindowSize(answerWindow),
		grpc.WithStaticConnWindowSize(answerWindow),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectMin, Multiplier: 2, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: callTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: callTimeout}),
	}
	if dial != nil {
		options = append(options, grpc.WithContextDialer(dial))
	}
	conn, err := grpc.NewClient("halfkey:///gateway", append(options, further...)...)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return conn, nil
}

// caller is who signs a call's token.
type caller struct {
	name   string // `agents/…`, `owners/…` or `operator`
	wallet string // An agent's wallet.
	// key is who signs now: an agent's changes when its owner gives the wallet another request key.
	key func() crypto.Signer
	// renew, if there is one, finds out after a refusal whether key is another than the one that was refused.
	renew func(ctx context.Context, refused crypto.PublicKey) (bool, error)
}

// token returns a context that carries a token for one method and one resource.
func (c *Client) token(ctx context.Context, who *caller, method, about string) (context.Context, error) {
	t, err := c.makeToken(who, method, about)
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, TokenMetadata, string(t.Bytes)), nil
}

// rpc describes one call.
type rpc struct {
	op     string
	method string
	// who signs its token, about a resource; nil for calls that carry a statement, or need nothing.
	who   *caller
	about string
	// moved is what a failure that says nothing means; unsent the same where nothing of the call was sent, if that is another.
	moved, unsent typev1.MoneyMoved
}

// invoke makes a call with its deadline and token, and turns its error into ours. A caller whose key was replaced by another
// that it has goes on with that one.
func invoke[Req, Resp any](
	ctx context.Context, c *Client, r rpc, req *Req,
	method func(gatewayv1.GatewayServiceClient, context.Context, *Req, ...grpc.CallOption) (*Resp, error),
) (*Resp, error) {
	if r.who == nil || r.who.renew == nil {
		return invokeOnce(ctx, c, r, req, method)
	}
	used := r.who.key().Public()
	resp, err := invokeOnce(ctx, c, r, req, method)
	if ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
		return resp, err
	}
	renewed, failed := r.who.renew(ctx, used)
	switch {
	case failed != nil:
		return nil, failed
	case !renewed:
		return nil, err
	}
	return invokeOnce(ctx, c, r, req, method)
}

func invokeOnce[Req, Resp any](
	ctx context.Context, c *Client, r rpc, req *Req,
	method func(gatewayv1.GatewayServiceClient, context.Context, *Req, ...grpc.CallOption) (*Resp, error),
) (*Resp, error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	gateway, err := c.gateway(ctx)
	if err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	if r.who != nil {
		if ctx, err = c.token(ctx, r.who, r.method, r.about); err != nil {
			return nil, wrap(r.op, err, notMoved)
		}
	}
	moved := r.moved
	if moved == typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED {
		moved = notMoved
	}
	sent := new(atomic.Bool)
	resp, err := method(gateway, context.WithValue(ctx, sentKey{}, sent), req)
	if err != nil {
		if !sent.Load() && r.unsent != typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED {
			moved = r.unsent
		}
		return nil, wrap(r.op, err, moved)
	}
	c.catchUp(outer, resp)
	return resp, nil
}

// sentKey is the context's key of a call's mark that something of it was sent.
type sentKey struct{}

// sentMarks marks the calls of which something was sent: one that found nobody has moved no money by itself.
type sentMarks struct{}

// HandleRPC marks a call whose head was written.
func (sentMarks) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, head := s.(*stats.OutHeader); !head {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

// TagRPC, TagConn and HandleConn have nothing to do.
func (sentMarks) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentMarks) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentMarks) HandleConn(context.Context, stats.ConnStats)                       {}
