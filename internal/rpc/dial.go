package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // client-side health checking, which the service config asks for
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"

	"github.com/halfkey/halfkey/internal/authz"
)

const (
	// clientPingEvery finds a dead peer while calls wait on it; servers allow it every 15 s.
	clientPingEvery   = 30 * time.Second
	clientPingTimeout = 10 * time.Second
	// connectMax bounds one attempt to connect. A program that was started anew elsewhere leaves an address behind on which nobody
	// answers, and its name is looked up again only when the attempt has ended.
	connectMax = 5 * time.Second
	// reconnectMin and reconnectMax space out attempts to connect to a program that is away. A client's attempts at one call span
	// some 2 s (client/), more than the longest pause here: a call to a service that is back finds it.
	reconnectMin = 100 * time.Millisecond
	reconnectMax = time.Second
)

// serviceConfig is every connection's: gRPC's A2 and A6. All methods of Halfkey are safe to repeat (the payment id with
// the same intent, statements by digest, freezes by id), so UNAVAILABLE, and only that, is repeated. When the attempts run
// out the error has no word about money, which fault reads as UNKNOWN. Watching has no timeout; everything else has one,
// so that a caller who sets no deadline is not refused for it.
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"healthCheckConfig": {"serviceName": ""},
	"methodConfig": [
		{
			"name": [{}],
			"timeout": "30s",
			"retryPolicy": {
				"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2,
				"retryableStatusCodes": ["UNAVAILABLE"]
			}
		},
		{
			"name": [
				{"service": "halfkey.gateway.v1.GatewayService", "method": "WatchPayment"},
				{"service": "halfkey.gateway.v1.GatewayService", "method": "WatchPayments"},
				{"service": "halfkey.ledger.v1.LedgerService", "method": "WatchPayment"},
				{"service": "halfkey.ledger.v1.LedgerService", "method": "WatchPayments"},
				{"service": "grpc.health.v1.Health", "method": "Watch"}
			],
			"retryPolicy": {
				"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2,
				"retryableStatusCodes": ["UNAVAILABLE"]
			}
		}
	],
	"retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}`

// DialConfig says where a connection goes.
type DialConfig struct {
	// Target is gRPC's, host:port, or dns:///name:port for all replicas behind a name; or the replicas themselves, host:port with
	// commas between them. Required.
	Target string
	// Service is which of the services answers there, and Credentials are the caller's own. Both, or TLS, are required.
	Service     authz.Service
	Credentials *Credentials
	// TLS is PublicClientTLS, for a client of the gateway.
	TLS *tls.Config
	// LookUpEvery is how often the addresses behind a name are asked for again; 0 is 30 s.
	LookUpEvery time.Duration
	// Dialer makes the connection; nil means TCP.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// Stats observes calls, for traces and metrics. May be nil.
	Stats stats.Handler
	// Logger is told when a connection to a service is cut because its certificate is good no longer. Nil means slog.Default.
	Logger *slog.Logger
}

// transport is what the connection is secured by.
func (c DialConfig) transport() (credentials.TransportCredentials, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	switch {
	case c.Credentials != nil && c.TLS == nil:
		if !slices.Contains(authz.Services(), c.Service) {
			return nil, fmt.Errorf("rpc: a connection to %q, which is no service", c.Service)
		}
		return c.Credentials.client(c.Service, c.Logger), nil
	case c.Credentials != nil || c.TLS == nil || c.Service != "":
		return nil, errors.New("rpc: a connection needs either credentials, to a service, or TLS, to the gateway's public listener")
	case c.TLS.MinVersion < tls.VersionTLS13:
		return nil, errors.New("rpc: a connection takes TLS 1.3 only")
	}
	return credentials.NewTLS(c.TLS), nil
}

// Dial makes a connection, which connects when it is first used.
func Dial(c DialConfig) (*grpc.ClientConn, error) {
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// What DNS says about a service config is anybody's word.
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(AnswerBytesMax), grpc.MaxCallSendMsgSize(RequestBytesMax)),
		grpc.WithMaxHeaderListSize(headerBytesMax),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: clientPingEvery, Timeout: clientPingTimeout}),
		grpc.WithConnectParams(reconnect()),
		grpc.WithResolvers(names(c.LookUpEvery)),
	}
	if c.Dialer != nil {
		options = append(options, grpc.WithContextDialer(c.Dialer))
	}
	if c.Stats != nil {
		options = append(options, grpc.WithStatsHandler(c.Stats))
	}
	target := c.Target
	if replicas := strings.Split(c.Target, ","); len(replicas) > 1 {
		target = replicasScheme + ":///" + string(c.Service)
		options = append(options, grpc.WithResolvers(listed(replicas)))
	}
	return grpc.NewClient(target, options...)
}

// reconnect is gRPC's backoff with pauses of our own: gRPC's grow to two minutes.
func reconnect() grpc.ConnectParams {
	pause := backoff.DefaultConfig
	pause.BaseDelay, pause.MaxDelay = reconnectMin, reconnectMax
	return grpc.ConnectParams{Backoff: pause, MinConnectTimeout: connectMax}
}

// replicasScheme names the targets that listed resolves.
const replicasScheme = "replicas"

// listed resolves to replicas where no name has them all. gRPC connects to each, and goes round those that say they serve.
func listed(replicas []string) resolver.Builder {
	var state resolver.State
	for _, address := range replicas {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	r := manual.NewBuilderWithScheme(replicasScheme)
	r.InitialState(state)
	return r
}
