package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // client-side health checking, which the service config asks for
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
)

const (
	// clientPingEvery finds a dead peer while calls wait on it; servers allow it every 15 s.
	clientPingEvery   = 30 * time.Second
	clientPingTimeout = 10 * time.Second
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
			"retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}
		},
		{
			"name": [
				{"service": "halfkey.gateway.v1.GatewayService", "method": "WatchPayment"},
				{"service": "halfkey.gateway.v1.GatewayService", "method": "WatchPayments"},
				{"service": "halfkey.ledger.v1.LedgerService", "method": "WatchPayment"},
				{"service": "halfkey.ledger.v1.LedgerService", "method": "WatchPayments"},
				{"service": "grpc.health.v1.Health", "method": "Watch"}
			],
			"retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}
		}
	],
	"retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}`

// DialConfig says where a connection goes.
type DialConfig struct {
	// Target is gRPC's: host:port, or dns:///name:port for all replicas behind a name. Required.
	Target string
	// TLS is Credentials.ClientTLS for a service, PublicClientTLS for the gateway. Required.
	TLS *tls.Config
	// Dialer makes the connection; nil means TCP.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// Stats observes calls, for traces and metrics. May be nil.
	Stats stats.Handler
}

// Dial makes a connection, which connects when it is first used.
func Dial(c DialConfig) (*grpc.ClientConn, error) {
	if c.TLS == nil {
		return nil, errors.New("rpc: a connection needs TLS")
	}
	if c.TLS.MinVersion < tls.VersionTLS13 {
		return nil, errors.New("rpc: a connection takes TLS 1.3 only")
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(c.TLS)),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// What DNS says about a service config is anybody's word.
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(AnswerBytesMax), grpc.MaxCallSendMsgSize(RequestBytesMax)),
		grpc.WithMaxHeaderListSize(headerBytesMax),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: clientPingEvery, Timeout: clientPingTimeout}),
	}
	if c.Dialer != nil {
		options = append(options, grpc.WithContextDialer(c.Dialer))
	}
	if c.Stats != nil {
		options = append(options, grpc.WithStatsHandler(c.Stats))
	}
	return grpc.NewClient(c.Target, options...)
}
