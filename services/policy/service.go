package policy

import (
	"bytes"
	"crypto"
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
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Config is what policy needs.
type Config struct {
	// Installations is the chain of installation files, oldest first; the last one is in force. The first is the service's pin: its
	// keys are trusted because it was given. The store keeps the highest file that was ever accepted, and refuses a lower one.
	Installations []*evidence.Installation
	// Key is policy's statement key, PURPOSE_POLICY of the installation file.
	Key crypto.Signer
	// KV is the service's own namespace of the store.
	KV clientv3.KV
	// Clock tells the time; nil means time.Now.
	Clock func() time.Time
	// Logger receives what the service has to say; nil means slog.Default.
	Logger *slog.Logger
	// Tracer makes the spans of a call's work, and Meter counts what was decided; nil records nothing.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
}

// Service is the policy service.
type Service struct {
	policyv1.UnimplementedPolicyServiceServer

	installation *evidence.Installation
	key          crypto.Signer
	kv           clientv3.KV
	wallets      *etcdstore.Decoded[*held]
	clock        func() time.Time
	instruments  *instruments
}

// New makes the service. It does not listen. It refuses a store that has accepted a higher installation file.
func New(c Config) (*Service, error) {
	if len(c.Installations) == 0 || c.Key == nil || c.KV == nil {
		return nil, errors.New("policy: an installation file, a statement key and a store are needed")
	}
	installation, err := evidence.InForce(c.Installations)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	public, ok := c.Key.Public().(ed25519.PublicKey)
	if !ok || !bytes.Equal(public, installation.Key(typev1.Purpose_PURPOSE_POLICY)) {
		return nil, fmt.Errorf("policy: the statement key is not the current one of installation file number %d", installation.Number())
	}
	if err := etcdstore.AcceptInstallation(c.KV, installationKey, c.Installations); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	instruments, err := newInstruments(c.Tracer, c.Meter)
	if err != nil {
		return nil, err
	}
	return &Service{installation: installation, key: c.Key, kv: c.KV, wallets: newWallets(), clock: c.Clock, instruments: instruments}, nil
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { policyv1.RegisterPolicyServiceServer(r, s) }

// Close ends the service. It holds nothing of its own: the store is its opener's.
func (s *Service) Close() error { return nil }
