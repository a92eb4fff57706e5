// Command gateway is the gateway: the only orchestrator, towards agents, owners and operators.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/gateway/edge"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/validate"
)

func main() {
	program.Spec[config.Gateway, *config.Gateway]{
		Name: authz.Gateway, About: "Halfkey's gateway: what agents, owners and operators call.", Open: open,
	}.Main()
}

func open(e *program.Environment, c *config.Gateway) (program.Starter, error) {
	public, err := rpc.LoadCredentials(e.Installation().ID(), rpc.Files{
		Certificate: c.Public.Certificate, Key: c.Public.Key, Authorities: c.Public.Authorities,
	}, e.Logger)
	if err != nil {
		return nil, fmt.Errorf("public_tls: %s with %s and %s: %w", c.Public.Certificate, c.Public.Key, c.Public.Authorities, err)
	}
	check, err := validate.New()
	if err != nil {
		return nil, err
	}
	addresses := e.Installation().Content().GetGatewayAddresses()
	if len(addresses) == 0 {
		return nil, errors.New("the installation file names no gateway address")
	}
	host, _, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return nil, err
	}
	e.Check(func(now time.Time) error {
		if err := public.CheckPublic([]byte(e.Installation().Content().GetCaPem()), host, now); err != nil {
			return fmt.Errorf("public_tls.certificate: %w", err)
		}
		return nil
	})
	return func(context.Context) (program.Server, error) {
		s := &server{public: public}
		services, err := s.dial(e, c.Services)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		l, err := net.Listen("tcp", c.Listen)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		https, err := net.Listen("tcp", c.HTTPS)
		if err != nil {
			return nil, errors.Join(err, l.Close(), s.close())
		}
		s.edge, err = edge.Serve(e, edge.Config{
			Credentials: public, Host: host, GRPC: l, HTTPS: https, Services: services, Validate: check,
			Sources: c.Quotas.SourceLimits(), Callers: c.Quotas.CallerLimits(),
		})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		return s, nil
	}, nil
}

// server is an edge with the connections under it.
type server struct {
	edge        *edge.Edge
	public      *rpc.Credentials
	connections []*grpc.ClientConn
}

// dial connects to the four services, which need not be there yet.
func (s *server) dial(e *program.Environment, c config.Services) (map[authz.Service]grpc.ClientConnInterface, error) {
	services := make(map[authz.Service]grpc.ClientConnInterface)
	for name, target := range map[authz.Service]string{
		authz.Identity: c.Identity, authz.Policy: c.Policy, authz.Ledger: c.Ledger, authz.Cosigner: c.Cosigner,
	} {
		conn, err := e.Dial(name, target)
		if err != nil {
			return nil, err
		}
		s.connections = append(s.connections, conn)
		services[name] = conn
	}
	return services, nil
}

// Leave tells balancers.
func (s *server) Leave() { s.edge.Leave() }

// Shutdown drains the listeners and then closes the connections.
func (s *server) Shutdown(ctx context.Context) error {
	return errors.Join(s.edge.Shutdown(ctx), s.close())
}

func (s *server) close() error {
	errs := []error{s.public.Close()}
	for _, conn := range s.connections {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}
