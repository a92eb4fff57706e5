package ledger

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// SweepDefault is how often the ledger looks for payments whose time has come. Whoever reads one ends it at once; the sweep is
// for those that nobody reads.
const SweepDefault = 2 * time.Second

// Config is what a ledger is made of. Installations, Key and Path must be given.
type Config struct {
	// Installations is the chain of installation files, oldest first; the last one is in force. The first is the service's pin: its
	// keys are trusted because it was given. The store keeps the highest file that was ever accepted, and refuses a lower one.
	Installations []*evidence.Installation
	// Key signs receipts, settlements, journal heads and acknowledgements. It is the installation file's current key for
	// PURPOSE_LEDGER.
	Key crypto.Signer
	// Path is the SQLite database, made if it is not there. Beside it stand its lock, Path.lock, and the room that is kept for
	// freezes on a full disk, Path.reserve.
	Path string
	// Clock is the time; nil is the system's.
	Clock func() time.Time
	// Logger takes what operators have to know; nil discards it.
	Logger *slog.Logger
	// SweepInterval is how often payments are ended whose time has come; 0 is SweepDefault.
	SweepInterval time.Duration
	// Solana is the rail on Solana; nil has none, and payments on it are refused.
	Solana *Solana
	// Tracer makes the spans of a call's work, and Meter counts what was decided; nil records nothing.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
}

// Service is the ledger. It is safe for concurrent use.
type Service struct {
	ledgerv1.UnimplementedLedgerServiceServer

	installation *evidence.Installation
	key          crypto.Signer
	clock        func() time.Time
	logger       *slog.Logger
	instruments  *instruments

	chain    *rail // Nil without the rail on Solana.
	store    *store
	combiner *combiner
	watchers watchers
	pins     pins
	recent   recent

	stop      context.CancelFunc
	sweeps    sync.WaitGroup
	unobserve func() error
	closed    func() error
}

// New opens the database and starts the writer and the sweep. It does not listen. It refuses a database that another process
// has open, and one of another installation or
// that has accepted a higher installation file.
func New(c Config) (*Service, error) {
	if len(c.Installations) == 0 || c.Key == nil || c.Path == "" {
		return nil, errors.New("ledger: installation, key and path are needed")
	}
	installation, err := evidence.InForce(c.Installations)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	public, ok := c.Key.Public().(ed25519.PublicKey)
	if !ok || !bytes.Equal(public, installation.Key(typev1.Purpose_PURPOSE_LEDGER)) {
		return nil, fmt.Errorf("ledger: the key is not the current one of installation file number %d", installation.Number())
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SweepInterval < 0 {
		return nil, errors.New("ledger: the sweep interval is negative")
	}
	if c.SweepInterval == 0 {
		c.SweepInterval = SweepDefault
	}
	chain, err := newRail(c.Solana)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	instruments, err := newInstruments(c.Tracer, c.Meter)
	if err != nil {
		return nil, err
	}
	store, err := openSQLite(c.Path, c.Installations, c.Key, c.Clock, c.Logger)
	if err != nil {
		return nil, fmt.Errorf("ledger: open %s: %w", c.Path, err)
	}
	unobserve, err := store.reserve.observe(c.Meter)
	if err != nil {
		return nil, errors.Join(err, unobserve(), store.close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		installation: installation, key: c.Key, clock: c.Clock, logger: c.Logger, instruments: instruments, store: store,
		chain: chain, stop: cancel, unobserve: unobserve,
	}
	if err := s.observeChain(c.Meter); err != nil {
		cancel()
		return nil, errors.Join(err, s.unobserve(), store.close())
	}
	s.combiner = newCombiner(store.begin, s.stored, store.reserve, c.Logger)
	s.closed = sync.OnceValue(s.end)
	s.sweeps.Go(func() { s.sweepEvery(ctx, c.SweepInterval) })
	if err := s.startChain(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, s) }

// Close ends the sweep, the writer after the batch that it is at, and the database.
func (s *Service) Close() error { return s.closed() }

func (s *Service) end() error {
	s.stop()
	s.sweeps.Wait()
	s.combiner.close()
	s.watchers.close()
	return errors.Join(s.unobserve(), s.store.close())
}

// write queues an operation and waits until what it decided is durable.
func (s *Service) write(ctx context.Context, o *op) error {
	ctx, span := instrument.Within(ctx, s.instruments.tracer, instrument.SpanWrite)
	err := s.combiner.do(ctx, o)
	instrument.End(span, err)
	return err
}

// stored takes over what a batch has changed, and wakes who watches it.
func (s *Service) stored(st *state) {
	s.instruments.stored(st)
	s.pins.stored(st)
	s.recent.stored(st)
	for k := range st.payments.dirty {
		s.watchers.wake(k.name())
	}
	for _, c := range st.changes {
		s.watchers.wake(c.wallet)
		s.watchers.wake(c.owner)
	}
}

// pin is a wallet to verify signatures by, and its time's row.
func (s *Service) pin(ctx context.Context, name string) (w wallet, clockMillis int64, err error) {
	if known, ok := s.pins.get(name); ok {
		return known.wallet, known.clockMillis, nil
	}
	err = s.store.look(ctx, func(v *view) (err error) {
		w, clockMillis, err = v.pin(ctx, name)
		return err
	})
	return w, clockMillis, err
}

// sign makes a statement under the ledger's key.
func (s *Service) sign(m proto.Message) (*typev1.Envelope, error) {
	e, err := evidence.Sign(s.key, m)
	if err != nil {
		return nil, fmt.Errorf("sign %T: %w", m, err)
	}
	return e, nil
}
