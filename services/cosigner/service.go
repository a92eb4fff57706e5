package cosigner

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// KeyGenerationsDefault bounds key generations that run at once. Each is a row of a few KiB for at most ten minutes.
	KeyGenerationsDefault = 1024
	// RegistrationsDefault bounds registrations that wait for their claim: identity's own bound for an installation, so that
	// a gateway that was broken into cannot fill the store either.
	RegistrationsDefault = 10_000
	// openTimeout bounds New's look into the store: a co-signer that cannot read it at once is not ready.
	openTimeout = 10 * time.Second
)

// Config is what a co-signer is made of. Installations, Key, KV, Lease and KEK must be given.
type Config struct {
	// Installations is the chain of installation files, oldest first; the last one is in force. The first is the service's pin: its
	// keys are trusted because it was given. The store keeps the highest file that was ever accepted, and refuses a lower one.
	Installations []*evidence.Installation
	// Key is the record key: it signs wallet records, key generation and acknowledgements. It is the installation file's
	// current key for PURPOSE_COSIGNER.
	Key crypto.Signer
	// KV is the co-signer's own namespace of etcd.
	KV clientv3.KV
	// Lease makes the leases on which key generations that nobody finishes are tidied up.
	Lease clientv3.Lease
	// KEK wraps the data key of each sealed secret. OpenKEK makes one from a file; a KMS client is another.
	KEK tink.AEAD
	// Clock is the time; nil is the system's.
	Clock func() time.Time
	// Logger takes what operators have to know: lost keys, and key generations that were tampered with. Nil means
	// slog.Default.
	Logger *slog.Logger
	// KeyGenerationsMax bounds key generations that run at once; 0 is KeyGenerationsDefault.
	KeyGenerationsMax int64
	// RegistrationsMax bounds registrations that wait for their claim; 0 is RegistrationsDefault.
	RegistrationsMax int64
	// Tracer makes the spans of a call's work, and Meter counts what was decided; nil records nothing.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
}

// Service is the co-signer. It is safe for concurrent use.
type Service struct {
	cosignerv1.UnimplementedCosignerServiceServer

	installation *evidence.Installation
	key          crypto.Signer
	store        *store
	sealer       *sealer
	clock        func() time.Time
	logger       *slog.Logger
	instruments  *instruments

	keyGenerationsMax, registrationsMax int64
}

// New opens the co-signer's store, which must have been sealed under the same key-encryption key and for the same
// installation, and returns the service. It does not listen.
func New(c Config) (*Service, error) {
	if len(c.Installations) == 0 || c.Key == nil || c.KV == nil || c.Lease == nil || c.KEK == nil {
		return nil, errors.New("cosigner: installation files, record key, store, leases and key-encryption key are needed")
	}
	installation, err := evidence.InForce(c.Installations)
	if err != nil {
		return nil, fmt.Errorf("cosigner: %w", err)
	}
	public, ok := c.Key.Public().(ed25519.PublicKey)
	if !ok || !bytes.Equal(public, installation.Key(typev1.Purpose_PURPOSE_COSIGNER)) {
		return nil, fmt.Errorf("cosigner: the record key is not the current one of installation file number %d", installation.Number())
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.KeyGenerationsMax == 0 {
		c.KeyGenerationsMax = KeyGenerationsDefault
	}
	if c.RegistrationsMax == 0 {
		c.RegistrationsMax = RegistrationsDefault
	}
	instruments, err := newInstruments(c.Tracer, c.Meter)
	if err != nil {
		return nil, err
	}
	s := &Service{
		installation:      installation,
		key:               c.Key,
		sealer:            newSealer(c.KEK, installation.ID()),
		clock:             c.Clock,
		logger:            c.Logger,
		instruments:       instruments,
		keyGenerationsMax: c.KeyGenerationsMax,
		registrationsMax:  c.RegistrationsMax,
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	if s.store, err = openStore(ctx, c.KV, c.Lease, s.sealer); err != nil {
		return nil, fmt.Errorf("cosigner: open store: %w", err)
	}
	if err := s.store.accept(ctx, c.Installations); err != nil {
		return nil, fmt.Errorf("cosigner: %w", err)
	}
	return s, nil
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { cosignerv1.RegisterCosignerServiceServer(r, s) }

// Close overwrites what the service holds in memory. The store is its owner's to close.
func (s *Service) Close() error {
	s.store.close()
	return nil
}

// sign makes a statement under the record key.
func (s *Service) sign(m statement) (*typev1.Envelope, error) {
	e, err := evidence.Sign(s.key, m)
	if err != nil {
		return nil, fmt.Errorf("sign %T: %w", m, err)
	}
	return e, nil
}

// resign returns e as it stands if the current record key signed it, and else its content signed again: after a rotation
// statements verify under current keys only, and what is pinned is the content.
func (s *Service) resign(e *typev1.Envelope, m statement) (*typev1.Envelope, error) {
	if err := evidence.Peek(e, m); err != nil {
		return nil, fmt.Errorf("own statement: %w", errDamaged)
	}
	if _, err := evidence.Open(e, m, s.installation.Key(typev1.Purpose_PURPOSE_COSIGNER)); err == nil {
		return e, nil
	}
	return s.sign(m)
}
