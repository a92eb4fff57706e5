package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
)

// Bounds says how many registrations may be open (CREATING or UNCLAIMED) at once: an open one costs the co-signer a key
// generation and a sealed share, and its owner a look.
type Bounds struct {
	// PerOwner bounds those that name one owner's address; 0 means OpenPerOwner.
	PerOwner int
	// PerSource bounds those that came from one network address; 0 means OpenPerSource.
	PerSource int
	// Total bounds those of the installation; 0 means OpenTotal.
	Total int
}

const (
	// OpenPerOwner is more agents than a person sets up in a day by hand, and few enough to look through.
	OpenPerOwner = 16
	// OpenPerSource leaves room for a host or a NAT with agents of several owners.
	OpenPerSource = 64
	// OpenTotal keeps what strangers can leave in the store under some 20 MB.
	OpenTotal = 10_000
)

// Config is what identity needs.
type Config struct {
	// Installations is the chain of installation files, oldest first; the last one is in force. The first is the service's pin: its
	// keys are trusted because it was given. The store keeps the highest file that was ever accepted, and refuses a lower one.
	Installations []*evidence.Installation
	// KV is the service's own namespace of the store.
	KV clientv3.KV
	// BootstrapKey is the public half of the one-time bootstrap code, 32 bytes; without one nobody becomes an owner.
	BootstrapKey []byte
	// Bounds bounds open registrations.
	Bounds Bounds
	// DemandEnrolment refuses every registration that does not bring an owner's enrolment token.
	DemandEnrolment bool
	// Clock tells the time; nil means time.Now.
	Clock func() time.Time
	// Logger receives what the service has to say; nil means slog.Default.
	Logger *slog.Logger
	// Tracer makes the spans of a call's work, and Meter counts what was decided; nil records nothing.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
}

// Service is the identity service.
type Service struct {
	identityv1.UnimplementedIdentityServiceServer

	installation *evidence.Installation
	store        *store
	bootstrapKey []byte
	bounds       Bounds
	// demandEnrolment refuses registrations without a token.
	demandEnrolment bool
	clock           func() time.Time
	logger          *slog.Logger
	instruments     *instruments

	// counting serialises this replica's transactions on the counters of open registrations, which all touch the same
	// row. It only saves retries: what decides is that each transaction compares the rows it has read.
	counting chan struct{}
}

// New makes the service. It does not listen. It refuses a store that has accepted a higher installation file.
func New(c Config) (*Service, error) {
	if len(c.Installations) == 0 || c.KV == nil {
		return nil, errors.New("identity: an installation file and a store are needed")
	}
	installation, err := evidence.InForce(c.Installations)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if len(c.BootstrapKey) != 0 && len(c.BootstrapKey) != ed25519.PublicKeySize {
		return nil, errors.New("identity: the bootstrap key is not 32 bytes")
	}
	if c.Bounds.PerOwner < 0 || c.Bounds.PerSource < 0 || c.Bounds.Total < 0 {
		return nil, errors.New("identity: a bound on open registrations is negative")
	}
	if err := etcdstore.AcceptInstallation(c.KV, installationKey, c.Installations); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	instruments, err := newInstruments(c.Tracer, c.Meter)
	if err != nil {
		return nil, err
	}
	return &Service{
		installation:    installation,
		store:           newStore(c.KV),
		bootstrapKey:    bytes.Clone(c.BootstrapKey),
		bounds:          c.Bounds.orDefaults(),
		demandEnrolment: c.DemandEnrolment,
		clock:           c.Clock,
		logger:          c.Logger,
		instruments:     instruments,
		counting:        make(chan struct{}, 1),
	}, nil
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { identityv1.RegisterIdentityServiceServer(r, s) }

// Close ends the service. It holds nothing of its own: the store is its opener's.
func (s *Service) Close() error { return nil }

func (b Bounds) orDefaults() Bounds {
	if b.PerOwner == 0 {
		b.PerOwner = OpenPerOwner
	}
	if b.PerSource == 0 {
		b.PerSource = OpenPerSource
	}
	if b.Total == 0 {
		b.Total = OpenTotal
	}
	return b
}
