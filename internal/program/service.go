package program

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
)

// Service is one of the four services, opened.
type Service interface {
	Register(r grpc.ServiceRegistrar)
	Close() error
}

// Served is a service on its listener, behind mutual TLS.
type Served struct {
	// Address is where it listens.
	Address net.Addr
	server  *rpc.Server
	below   []func() error
}

// ServeService answers for a service on an address. below are closed after the service when it shuts down, in this order: the
// stores that it uses. All are closed too when it cannot listen.
func (e *Environment) ServeService(
	address string, service Service, validate func(proto.Message) error, below ...func() error,
) (*Served, error) {
	s := &Served{below: append([]func() error{service.Close}, below...)}
	server, err := e.NewServer(authz.Internal, e.Credentials, validate, nil)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	service.Register(server)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.server, s.Address = server, l.Addr()
	e.Serve(server, l)
	return s, nil
}

// Shutdown takes no further calls, lets running ones end until ctx does, and closes everything.
func (s *Served) Shutdown(ctx context.Context) error {
	s.server.Shutdown(ctx)
	return s.close()
}

// Kill cuts calls off.
func (s *Served) Kill() error {
	s.server.Stop()
	return s.close()
}

func (s *Served) close() error {
	var errs []error
	for _, c := range s.below {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
