// Package edge is the gateway towards the world: its public gRPC listener, HTTP and JSON beside it, and the end of
// registrations that nobody claimed. cmd/gateway and the all-in-one process serve by it.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/gateway/httpjson"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/quota"
	"github.com/halfkey/halfkey/internal/rpc"
)

// endExpiredEvery is how often registrations that nobody claimed are ended, endExpiredMost how many at a time.
const (
	endExpiredEvery = time.Minute
	endExpiredMost  = 100
)

// Config is what an edge needs besides its environment.
type Config struct {
	// Credentials are of the public certificate, which both listeners show. Required.
	Credentials *rpc.Credentials
	// Host is the name that clients connect to, which the public certificate is for. Required.
	Host string
	// GRPC and HTTPS are the public listeners. Required; the edge closes them.
	GRPC, HTTPS net.Listener
	// Services are the connections to the four services. Required; the edge does not close them.
	Services map[authz.Service]grpc.ClientConnInterface
	// Sources bounds what one network address may ask, Callers what one agent or owner may. The zero bounds nothing.
	Sources, Callers quota.Limits
	// Validate checks requests against the rules of their contract.
	Validate func(proto.Message) error
}

// Edge is a serving gateway.
type Edge struct {
	gateway *gateway.Service
	grpc    *rpc.Server
	https   *httpjson.Server
	stop    context.CancelFunc
	sweep   sync.WaitGroup
}

// Serve serves until Shutdown or Kill.
func Serve(e *program.Environment, c Config) (_ *Edge, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, c.GRPC.Close(), c.HTTPS.Close())
		}
	}()
	s := new(Edge)
	s.gateway, err = gateway.New(gateway.Config{
		Installations: e.Installations, Callers: quota.New(c.Callers), Logger: e.Logger, Tracer: e.Tracer,
		Identity: c.Services[authz.Identity], Policy: c.Services[authz.Policy],
		Ledger: c.Services[authz.Ledger], Cosigner: c.Services[authz.Cosigner],
	})
	if err != nil {
		return nil, err
	}
	if s.grpc, err = e.NewServer(authz.Public, c.Credentials, c.Validate, quota.New(c.Sources)); err != nil {
		return nil, err
	}
	s.gateway.Register(s.grpc)
	// HTTP and JSON go in by a pipe: the same server, interceptors and table.
	connect, err := rpc.PublicClientTLS([]byte(e.Installation().Content().GetCaPem()))
	if err != nil {
		return nil, err
	}
	connect.ServerName = c.Host
	pipe := rpc.NewPipe()
	s.https, err = httpjson.New(httpjson.Config{
		TLS: c.Credentials.PublicTLS(), Connect: pipe.Dial, ConnectTLS: connect, Logger: e.Logger,
		Healthy: func(ctx context.Context) error { return everyServiceServes(ctx, c.Services) },
	})
	if err != nil {
		return nil, err
	}
	e.Serve(s.grpc, c.GRPC)
	e.Serve(s.grpc, pipe)
	e.Serve(s.https, c.Credentials.Hold(c.HTTPS, e.Logger))
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.sweep.Go(func() { s.endExpired(ctx, e.Logger) })
	return s, nil
}

// Leave makes /healthz say that nobody should be sent here any more. Calls are still answered, and gRPC's own health check, which
// clients of one gateway go by, says so until Shutdown.
func (s *Edge) Leave() { s.https.Leave() }

// Shutdown takes no further calls and lets running ones end until ctx does.
func (s *Edge) Shutdown(ctx context.Context) error {
	s.stop()
	s.sweep.Wait()
	s.grpc.Shutdown(ctx)
	return s.https.Shutdown(ctx)
}

// Kill cuts calls off.
func (s *Edge) Kill() error {
	s.stop()
	s.grpc.Stop()
	err := s.https.Close()
	s.sweep.Wait()
	return err
}

func (s *Edge) endExpired(ctx context.Context, logger *slog.Logger) {
	tick := time.NewTicker(endExpiredEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			call, cancel := context.WithTimeout(ctx, endExpiredEvery)
			if err := s.gateway.EndExpired(call, endExpiredMost); err != nil && ctx.Err() == nil {
				logger.Warn("ending expired registrations", "error", err)
			}
			cancel()
		}
	}
}

func everyServiceServes(ctx context.Context, services map[authz.Service]grpc.ClientConnInterface) error {
	for name, conn := range services {
		answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return fmt.Errorf("the %s does not serve", name)
		}
	}
	return nil
}
