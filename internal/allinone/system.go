package allinone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/gateway/edge"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/quota"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	"github.com/halfkey/halfkey/internal/telemetry"
	"github.com/halfkey/halfkey/services/cosigner"
	"github.com/halfkey/halfkey/services/identity"
	"github.com/halfkey/halfkey/services/ledger"
	"github.com/halfkey/halfkey/services/policy"
)

// Config says where the installation lives and who may reach it.
type Config struct {
	// DataDir holds everything. Required.
	DataDir string
	// Listen is the gateway's public address, host:port; port 0 takes a free one, which the installation keeps.
	Listen string
	// DemandEnrolment refuses agents that register without an owner's enrolment token.
	DemandEnrolment bool
	// Solana is the ledger's rail on Solana; nil has none.
	Solana *Solana
	// Clock tells the time; nil means time.Now.
	Clock func() time.Time
	// Logger receives what the services have to say; nil means slog.Default.
	Logger *slog.Logger
	// Callers bounds what one agent or owner may ask. The zero bounds nothing, which is for one's own machine.
	Callers quota.Limits
	// Telemetry observes a service, if there is one for it, and takes what the service has to say.
	Telemetry map[authz.Service]*telemetry.Telemetry
	// Observe, if set, makes Telemetry, as soon as the installation's id is known.
	Observe func(installation string) (map[authz.Service]*telemetry.Telemetry, error)
	// Locked, if set, is called once the data directory is this process's alone, before anything starts.
	Locked func() error
	// Wrap, if set, wraps the gateway's connection to each service: tests cut, delay and alter calls with it.
	Wrap func(to authz.Service, conn grpc.ClientConnInterface) grpc.ClientConnInterface
}

// startMax bounds how long the stores may take to open.
const startMax = 30 * time.Second

// System is a running installation.
type System struct {
	material    *material
	host        string
	grpc, https net.Listener
	edge        *edge.Edge
	served      []*program.Served
	connections []*grpc.ClientConn
	chain       *solanarpc.Client // Nil without a rail on Solana.
	closeStore  func() error
	stopped     sync.Once
	stopErr     error
}

// Start opens the data directory, or makes a new installation in it, and serves.
func Start(ctx context.Context, c Config) (_ *System, err error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &System{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Kill())
		}
	}()
	if err := prepare(c.DataDir); err != nil {
		return nil, err
	}
	starting, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	// The store comes first because it locks the directory: nothing below meets another process.
	etcd, err := embedded.Start(starting, embedded.Config{
		Dir: filepath.Join(c.DataDir, dirEtcd), Logger: c.Logger, Locked: c.Locked,
	})
	if err != nil {
		return nil, err
	}
	s.closeStore = etcd.Close
	if err := s.listen(c); err != nil {
		return nil, err
	}
	if c.Observe != nil {
		if c.Telemetry, err = c.Observe(s.material.installation.ID()); err != nil {
			return nil, err
		}
	}
	services, err := s.startServices(starting, etcd, c)
	if err != nil {
		return nil, err
	}
	return s, s.startGateway(services, c)
}

// listen takes the installation's addresses and opens the directory, which keeps them.
func (s *System) listen(c Config) error {
	grpcAddress, httpsAddress, err := addressesOf(c.DataDir, c.Listen)
	if err != nil {
		return err
	}
	s.host, _, _ = net.SplitHostPort(grpcAddress) // It was checked when it was taken in.
	if s.grpc, err = listen(grpcAddress); err != nil {
		return fmt.Errorf("allinone: the installation's address: %w", err)
	}
	if s.https, err = listen(httpsAddress); err != nil {
		return fmt.Errorf("allinone: the installation's https address: %w", err)
	}
	s.material, err = openMaterial(c.DataDir, withHost(s.grpc, s.host), withHost(s.https, s.host), []string{fileOperatorKey}, time.Now())
	return err
}

// withHost is a listener's address under the name that it was asked for by.
func withHost(l net.Listener, host string) string {
	_, port, _ := net.SplitHostPort(l.Addr().String()) // A TCP listener's address has a port.
	return net.JoinHostPort(host, port)
}

// startServices serves each of the four on a loopback listener behind mutual TLS, and connects to it as the gateway.
func (s *System) startServices(ctx context.Context, etcd *embedded.Server, c Config) (map[authz.Service]grpc.ClientConnInterface, error) {
	m := s.material
	validation, err := validate.New()
	if err != nil {
		return nil, err
	}
	rail, chain, err := c.Solana.open()
	if err != nil {
		return nil, err
	}
	s.chain = chain
	services := []struct {
		name authz.Service
		make func(e *program.Environment) (program.Service, error)
	}{
		{authz.Identity, func(e *program.Environment) (program.Service, error) {
			kv, err := etcd.KV("identity")
			if err != nil {
				return nil, err
			}
			made, err := identity.New(identity.Config{
				Installations: e.Installations, KV: kv, BootstrapKey: m.bootstrapPublic, DemandEnrolment: c.DemandEnrolment,
				Clock: c.Clock, Logger: e.Logger, Tracer: e.Tracer, Meter: e.Meter,
			})
			if err != nil {
				return nil, err
			}
			used, err := made.BootstrapUsed(ctx)
			if err == nil && used {
				err = m.forgetBootstrap()
			}
			return made, err
		}},
		{authz.Policy, func(e *program.Environment) (program.Service, error) {
			kv, err := etcd.KV("policy")
			if err != nil {
				return nil, err
			}
			return policy.New(policy.Config{
				Installations: e.Installations, Key: m.policy, KV: kv, Clock: c.Clock, Logger: e.Logger,
				Tracer: e.Tracer, Meter: e.Meter,
			})
		}},
		{authz.Ledger, func(e *program.Environment) (program.Service, error) {
			return ledger.New(ledger.Config{
				Installations: e.Installations, Key: m.ledger, Path: filepath.Join(m.dir, fileLedger), Clock: c.Clock, Logger: e.Logger,
				Solana: rail, Tracer: e.Tracer, Meter: e.Meter,
			})
		}},
		{authz.Cosigner, func(e *program.Environment) (program.Service, error) {
			kv, err := etcd.KV("cosigner")
			if err != nil {
				return nil, err
			}
			kek, err := cosigner.OpenKEK(filepath.Join(m.dir, fileKEK))
			if err != nil {
				return nil, err
			}
			return cosigner.New(cosigner.Config{
				Installations: e.Installations, Key: m.cosigner, KV: kv, Lease: etcd.Client().Lease, KEK: kek, Clock: c.Clock, Logger: e.Logger,
				Tracer: e.Tracer, Meter: e.Meter,
			})
		}},
	}
	gateway, err := s.environment(authz.Gateway, c)
	if err != nil {
		return nil, err
	}
	connections := make(map[authz.Service]grpc.ClientConnInterface)
	for _, service := range services {
		e, err := s.environment(service.name, c)
		if err != nil {
			return nil, err
		}
		made, err := service.make(e)
		if err != nil {
			return nil, err
		}
		check := validation
		if service.name == authz.Cosigner { // It checks its few messages itself.
			check = nil
		}
		served, err := e.ServeService("127.0.0.1:0", made, check)
		if err != nil {
			return nil, err
		}
		s.served = append(s.served, served)
		conn, err := gateway.Dial(service.name, "passthrough:///"+served.Address.String())
		if err != nil {
			return nil, err
		}
		s.connections = append(s.connections, conn)
		connections[service.name] = conn
		if c.Wrap != nil {
			connections[service.name] = c.Wrap(service.name, conn)
		}
	}
	return connections, nil
}

// startGateway serves the gateway on the public listeners.
func (s *System) startGateway(services map[authz.Service]grpc.ClientConnInterface, c Config) error {
	e, err := s.environment(authz.Gateway, c)
	if err != nil {
		return err
	}
	check, err := validate.New()
	if err != nil {
		return err
	}
	s.edge, err = edge.Serve(e, edge.Config{
		Credentials: e.Credentials, Host: s.host, GRPC: s.grpc, HTTPS: s.https, Services: services, Validate: check, Callers: c.Callers,
	})
	return err
}

// environment is what a service runs in, with a fresh certificate for this run.
func (s *System) environment(name authz.Service, c Config) (*program.Environment, error) {
	id := s.material.installation.ID()
	pair, err := s.material.authority.Service(id, name, time.Now(), s.hosts()...)
	if err != nil {
		return nil, err
	}
	credentials, err := rpc.NewCredentials(id, rpc.Material{
		Certificate: pair.Certificate, Key: pair.Key, Authorities: s.material.authority.Certificate(),
	})
	if err != nil {
		return nil, err
	}
	e := &program.Environment{
		Name: name, Installations: s.material.installations, Credentials: credentials, Logger: c.Logger,
		Fail: func(err error) { c.Logger.Error("a listener ended", "service", name, "error", err) },
	}
	if t := c.Telemetry[name]; t != nil {
		e.Observe(t)
	}
	return e, nil
}

// hosts are the names that certificates are for.
func (s *System) hosts() []string {
	hosts := []string{"127.0.0.1", "localhost"}
	if !slices.Contains(hosts, s.host) {
		hosts = append(hosts, s.host)
	}
	return hosts
}

// Stop drains: the gateway takes no further calls and finishes those that run, then everything closes.
func (s *System) Stop(ctx context.Context) error {
	return s.end(func(e *edge.Edge) error { return e.Shutdown(ctx) }, func(one *program.Served) error { return one.Shutdown(ctx) })
}

// Kill ends everything where it stands, as a crash does: calls are cut off and nothing is drained. What was answered is durable.
func (s *System) Kill() error {
	return s.end((*edge.Edge).Kill, (*program.Served).Kill)
}

// end ends the gateway, then the services, then the store under them.
func (s *System) end(gateway func(*edge.Edge) error, service func(*program.Served) error) error {
	s.stopped.Do(func() {
		var errs []error
		if s.edge != nil {
			errs = append(errs, gateway(s.edge))
		}
		for _, one := range slices.Backward(s.served) {
			errs = append(errs, service(one))
		}
		for _, conn := range s.connections {
			errs = append(errs, conn.Close())
		}
		if s.chain != nil {
			s.chain.Close()
		}
		if s.closeStore != nil {
			errs = append(errs, s.closeStore())
		}
		for _, l := range []net.Listener{s.grpc, s.https} {
			if l == nil {
				continue
			}
			if err := l.Close(); !errors.Is(err, net.ErrClosed) { // Their servers have closed them, if they had any.
				errs = append(errs, err)
			}
		}
		s.stopErr = errors.Join(errs...)
	})
	return s.stopErr
}
