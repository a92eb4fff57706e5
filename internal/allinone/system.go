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

	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/gateway/httpjson"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/validate"
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
	// Clock tells the time; nil means time.Now.
	Clock func() time.Time
	// Logger receives what the services have to say; nil means slog.Default.
	Logger *slog.Logger
	// Wrap, if set, wraps the gateway's connection to each service: tests cut, delay and alter calls with it.
	Wrap func(to authz.Service, conn grpc.ClientConnInterface) grpc.ClientConnInterface
}

// endExpiredEvery is how often registrations that nobody claimed are ended.
const endExpiredEvery = time.Minute

// startMax bounds how long the stores may take to open.
const startMax = 30 * time.Second

// System is a running installation.
type System struct {
	material       *material
	host           string
	listener       net.Listener
	httpsListener  net.Listener
	pipe           *rpc.Pipe // into the gateway's public server
	https          *httpjson.Server
	httpsAddress   string
	gateway        *gateway.Service
	servers        []*rpc.Server // the gateway's last
	connections    []*grpc.ClientConn
	close          []func() error // services, then stores
	stopBackground context.CancelFunc
	background     sync.WaitGroup
	stopped        sync.Once
	stopErr        error
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
	etcd, err := embedded.Start(starting, embedded.Config{Dir: filepath.Join(c.DataDir, dirEtcd), Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, etcd.Close)
	https, err := s.listen(c)
	if err != nil {
		return nil, err
	}
	if err := s.startServices(starting, etcd, c); err != nil {
		return nil, err
	}
	return s, s.startHTTPS(https, c.Logger)
}

// listen takes the installation's addresses and opens the directory, which keeps them.
func (s *System) listen(c Config) (https net.Listener, err error) {
	grpcAddress, httpsAddress, err := addressesOf(c.DataDir, c.Listen)
	if err != nil {
		return nil, err
	}
	s.host, _, _ = net.SplitHostPort(grpcAddress) // It was checked when it was taken in.
	if s.listener, err = net.Listen("tcp", grpcAddress); err != nil {
		return nil, fmt.Errorf("allinone: the installation's address: %w", err)
	}
	if https, err = net.Listen("tcp", httpsAddress); err != nil {
		return nil, fmt.Errorf("allinone: the installation's https address: %w", err)
	}
	s.httpsListener, s.httpsAddress = https, withHost(https, s.host)
	s.material, err = openMaterial(c.DataDir, withHost(s.listener, s.host), s.httpsAddress, time.Now())
	return https, err
}

// withHost is a listener's address under the name that it was asked for by.
func withHost(l net.Listener, host string) string {
	_, port, _ := net.SplitHostPort(l.Addr().String()) // A TCP listener's address has a port.
	return net.JoinHostPort(host, port)
}

// registrar is what every service is to a server.
type registrar interface {
	Register(r grpc.ServiceRegistrar)
	Close() error
}

func (s *System) startServices(ctx context.Context, etcd *embedded.Server, c Config) error {
	m := s.material
	services := []struct {
		name authz.Service
		make func() (registrar, error)
	}{
		{authz.Identity, func() (registrar, error) {
			kv, err := etcd.KV("identity")
			if err != nil {
				return nil, err
			}
			made, err := identity.New(identity.Config{
				Installations: m.installations, KV: kv, BootstrapKey: m.bootstrapPublic, DemandEnrolment: c.DemandEnrolment,
				Clock: c.Clock, Logger: c.Logger,
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
		{authz.Policy, func() (registrar, error) {
			kv, err := etcd.KV("policy")
			if err != nil {
				return nil, err
			}
			return policy.New(policy.Config{Installations: m.installations, Key: m.policy, KV: kv, Clock: c.Clock, Logger: c.Logger})
		}},
		{authz.Ledger, func() (registrar, error) {
			return ledger.New(ledger.Config{
				Installations: m.installations, Key: m.ledger, Path: filepath.Join(m.dir, fileLedger), Clock: c.Clock, Logger: c.Logger,
			})
		}},
		{authz.Cosigner, func() (registrar, error) {
			kv, err := etcd.KV("cosigner")
			if err != nil {
				return nil, err
			}
			kek, err := cosigner.OpenKEK(filepath.Join(m.dir, fileKEK))
			if err != nil {
				return nil, err
			}
			return cosigner.New(cosigner.Config{
				Installations: m.installations, Key: m.cosigner, KV: kv, Lease: etcd.Client().Lease, KEK: kek, Clock: c.Clock, Logger: c.Logger,
			})
		}},
	}
	connections := make(map[authz.Service]grpc.ClientConnInterface)
	for _, service := range services {
		made, err := service.make()
		if err != nil {
			return err
		}
		s.close = append(s.close, made.Close)
		conn, err := s.serve(service.name, made, c)
		if err != nil {
			return err
		}
		connections[service.name] = conn
		if c.Wrap != nil {
			connections[service.name] = c.Wrap(service.name, conn)
		}
	}
	var err error
	s.gateway, err = gateway.New(gateway.Config{
		Installations: m.installations, Logger: c.Logger,
		Identity: connections[authz.Identity], Policy: connections[authz.Policy],
		Ledger: connections[authz.Ledger], Cosigner: connections[authz.Cosigner],
	})
	if err != nil {
		return err
	}
	if err := s.serveGateway(c); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.Background())
	s.stopBackground = stop
	s.background.Go(func() { endExpired(background, s.gateway, c.Logger) })
	return nil
}

// serve puts a service on a loopback listener behind mutual TLS and dials it as the gateway.
func (s *System) serve(name authz.Service, service registrar, c Config) (*grpc.ClientConn, error) {
	server, err := s.newServer(name, authz.Internal, c)
	if err != nil {
		return nil, err
	}
	service.Register(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.run(server, c.Logger, l)
	credentials, err := s.credentials(authz.Gateway)
	if err != nil {
		return nil, err
	}
	conn, err := rpc.Dial(rpc.DialConfig{
		Target: "passthrough:///" + l.Addr().String(), Service: name, Credentials: credentials, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.connections = append(s.connections, conn)
	return conn, nil
}

func (s *System) newServer(name authz.Service, on authz.Listener, c Config) (*rpc.Server, error) {
	credentials, err := s.credentials(name)
	if err != nil {
		return nil, err
	}
	config := rpc.Config{Installation: s.material.installation.ID(), Listener: on, Credentials: credentials, Logger: c.Logger}
	if name != authz.Cosigner { // The co-signer checks its few messages itself.
		if config.Validate, err = validate.New(); err != nil {
			return nil, err
		}
	}
	return rpc.NewServer(config)
}

// hosts are the names that certificates are for.
func (s *System) hosts() []string {
	hosts := []string{"127.0.0.1", "localhost"}
	if !slices.Contains(hosts, s.host) {
		hosts = append(hosts, s.host)
	}
	return hosts
}

// credentials issues a fresh certificate for a service of this run.
func (s *System) credentials(name authz.Service) (*rpc.Credentials, error) {
	pair, err := s.material.authority.Service(s.material.installation.ID(), name, time.Now(), s.hosts()...)
	if err != nil {
		return nil, err
	}
	return rpc.NewCredentials(s.material.installation.ID(), rpc.Material{
		Certificate: pair.Certificate, Key: pair.Key, Authorities: s.material.authority.Certificate(),
	})
}

func (s *System) run(server *rpc.Server, logger *slog.Logger, on ...net.Listener) {
	s.servers = append(s.servers, server)
	for _, l := range on {
		s.background.Go(func() {
			if err := server.Serve(l); err != nil {
				logger.Error("a listener ended", "error", err)
			}
		})
	}
}

func (s *System) serveGateway(c Config) error {
	server, err := s.newServer(authz.Gateway, authz.Public, c)
	if err != nil {
		return err
	}
	s.gateway.Register(server)
	s.pipe = rpc.NewPipe()
	s.run(server, c.Logger, s.listener, s.pipe)
	return nil
}

func endExpired(ctx context.Context, gate *gateway.Service, logger *slog.Logger) {
	tick := time.NewTicker(endExpiredEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			call, cancel := context.WithTimeout(ctx, endExpiredEvery)
			if err := gate.EndExpired(call, 100); err != nil && ctx.Err() == nil {
				logger.Warn("ending expired registrations", "error", err)
			}
			cancel()
		}
	}
}

// Stop drains: the gateway takes no further calls and finishes those that run, then everything closes.
func (s *System) Stop(ctx context.Context) error {
	s.stopped.Do(func() {
		for i := len(s.servers) - 1; i >= 0; i-- { // The gateway was started last.
			s.servers[i].Shutdown(ctx)
		}
		if s.https != nil {
			s.stopErr = s.https.Shutdown(ctx)
		}
		s.stopErr = errors.Join(s.stopErr, s.closeAll())
	})
	return s.stopErr
}

// Kill ends everything where it stands, as a crash does: calls are cut off and nothing is drained. What was answered is durable.
func (s *System) Kill() error {
	s.stopped.Do(func() {
		for i := len(s.servers) - 1; i >= 0; i-- {
			s.servers[i].Stop()
		}
		if s.https != nil {
			s.stopErr = s.https.Close()
		}
		s.stopErr = errors.Join(s.stopErr, s.closeAll())
	})
	return s.stopErr
}

func (s *System) closeAll() error {
	var errs []error
	if s.stopBackground != nil {
		s.stopBackground()
	}
	for _, conn := range s.connections {
		errs = append(errs, conn.Close())
	}
	for i := len(s.close) - 1; i >= 0; i-- { // Services before the store that they use.
		errs = append(errs, s.close[i]())
	}
	for _, l := range []net.Listener{s.listener, s.httpsListener} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // Their servers have closed them, if they had any.
			errs = append(errs, err)
		}
	}
	s.background.Wait()
	return errors.Join(errs...)
}
