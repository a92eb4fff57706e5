package allinone

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/halfkey/halfkey/gateway/httpjson"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
)

// startHTTPS serves the gateway's methods as HTTP and JSON, by way of its public gRPC server, and GET /healthz, which is 200
// while every service answers that it serves.
func (s *System) startHTTPS(l net.Listener, logger *slog.Logger) error {
	credentials, err := s.credentials(authz.Gateway)
	if err != nil {
		return err
	}
	connect, err := rpc.PublicClientTLS(s.material.authority.Certificate())
	if err != nil {
		return err
	}
	connect.ServerName = s.host
	s.https, err = httpjson.New(httpjson.Config{
		TLS: credentials.PublicTLS(), Connect: s.pipe.Dial, ConnectTLS: connect, Healthy: s.everyServiceServes, Logger: logger,
	})
	if err != nil {
		return err
	}
	s.background.Go(func() {
		if err := s.https.Serve(l); err != nil {
			logger.Error("the https listener ended", "error", err)
		}
	})
	return nil
}

func (s *System) everyServiceServes(ctx context.Context) error {
	for _, conn := range s.connections {
		answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return errors.New("a service does not serve")
		}
	}
	return nil
}
