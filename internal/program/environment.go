package program

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/quota"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/telemetry"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Environment is what a service runs in, whatever it is. Until Observe nothing is observed.
type Environment struct {
	// Name is the service.
	Name authz.Service
	// Installations is the chain of installation files, oldest first.
	Installations []*evidence.Installation
	// Credentials are who the service is to the others.
	Credentials *rpc.Credentials
	// Logger takes what the service has to say.
	Logger *slog.Logger
	// ServerStats, PublicStats and ClientStats observe calls that come in from services, from strangers, and that go out.
	ServerStats, PublicStats, ClientStats stats.Handler
	// Tracer and Meter are for spans and metrics of the service's own.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// InFlightMax bounds calls that run at once; 0 is rpc's default.
	InFlightMax int
	// Fail is told when a listener ends that should not.
	Fail func(error)

	checks  []func(now time.Time) error
	atClose []func() error
}

// AtClose adds to what is closed when the program ends, after its server.
func (e *Environment) AtClose(what func() error) { e.atClose = append(e.atClose, what) }

// Check adds to what `check` looks at: what is right or wrong by the time of day, and keeps nobody from starting.
func (e *Environment) Check(what func(now time.Time) error) { e.checks = append(e.checks, what) }

// check looks at the program's own certificate, at this moment, and at what was added.
func (e *Environment) check(now time.Time) error {
	var problems []error
	if err := e.Credentials.CheckService(e.Name, now); err != nil {
		problems = append(problems, fmt.Errorf("tls.certificate: %w", err))
	}
	for _, what := range e.checks {
		problems = append(problems, what(now))
	}
	return errors.Join(problems...)
}

// Installation is the file in force.
func (e *Environment) Installation() *evidence.Installation {
	return e.Installations[len(e.Installations)-1]
}

// StatementKey reads the service's key from a file and holds it to the installation file.
func (e *Environment) StatementKey(path string, purpose typev1.Purpose) (ed25519.PrivateKey, error) {
	key, err := config.ReadKey(path)
	if err != nil {
		return nil, err
	}
	public := key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // crypto/ed25519 says so
	if current := e.Installation().Key(purpose); !bytes.Equal(current, public) {
		return nil, fmt.Errorf("statement_key: %s is not the key that installation file number %d names for the %s, %x",
			path, e.Installation().Number(), e.Name, current)
	}
	return key, nil
}

// Observe lets telemetry see the service, and takes its log.
func (e *Environment) Observe(t *telemetry.Telemetry) {
	e.Logger = t.Logger()
	e.ServerStats, e.PublicStats, e.ClientStats = t.ServerStats(), t.PublicServerStats(), t.ClientStats()
	e.Tracer, e.Meter = t.TracerProvider(), t.MeterProvider()
}

// NewServer makes a gRPC server for one kind of listener. The validation engine is given by who has one, and a quota for strangers
// by who listens to them.
func (e *Environment) NewServer(
	on authz.Listener, shows *rpc.Credentials, validate func(proto.Message) error, from *quota.Quota,
) (*rpc.Server, error) {
	observer := e.ServerStats
	if on == authz.Public {
		observer = e.PublicStats
	}
	return rpc.NewServer(rpc.Config{
		Installation: e.Installation().ID(), Listener: on, Credentials: shows, Validate: validate, InFlightMax: e.InFlightMax,
		Sources: from, Stats: observer, Logger: e.Logger,
	})
}

// Dial connects to another service.
func (e *Environment) Dial(to authz.Service, target string) (*grpc.ClientConn, error) {
	return rpc.Dial(rpc.DialConfig{Target: target, Service: to, Credentials: e.Credentials, Stats: e.ClientStats, Logger: e.Logger})
}

// Serve answers on a listener in the background.
func (e *Environment) Serve(server interface{ Serve(l net.Listener) error }, l net.Listener) {
	go func() {
		if err := server.Serve(l); err != nil && e.Fail != nil {
			e.Fail(err)
		}
	}()
}
