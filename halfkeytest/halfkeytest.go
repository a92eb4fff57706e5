package halfkeytest

import (
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/quota"
	"github.com/halfkey/halfkey/internal/recoverywork"
	"github.com/halfkey/halfkey/internal/telemetry"
)

// Clock is a clock that a test moves. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock makes a clock that stands at a time.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now is what it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves it; a negative duration moves it back.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Set sets it.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// Wrap wraps the gateway's connection to a service, which is named `identity`, `policy`, `ledger` or `cosigner`: to cut,
// delay or alter calls.
type Wrap func(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface

// Option changes how an installation starts.
type Option func(*System)

// WithClock makes services and clients follow a clock.
func WithClock(c *Clock) Option { return func(s *System) { s.clock = c.Now } }

// WithDir keeps the installation in a directory instead of a temporary one.
func WithDir(dir string) Option { return func(s *System) { s.dir = dir } }

// WithWrap wraps the gateway's connections.
func WithWrap(w Wrap) Option { return func(s *System) { s.wrap = w } }

// WithDemandEnrolment refuses agents that register without an owner's enrolment token. Agent brings one.
func WithDemandEnrolment() Option { return func(s *System) { s.demandEnrolment = true } }

// WithCallsPerSecond lets each agent and owner make no more calls than this in a second, as many at once and one after the other, and
// refuses the others with LIMIT_EXCEEDED. Without it nobody is bounded.
func WithCallsPerSecond(n int) Option { return func(s *System) { s.callsPerSecond = n } }

// WithSolana gives the ledger a rail on Solana: a network by CAIP-2 with every token that is known on it, and the RPC URLs of nodes,
// which the ledger asks often. Without it payments on Solana are refused.
func WithSolana(network string, endpoints ...string) Option {
	return func(s *System) {
		s.solana = &allinone.Solana{Network: network, Endpoints: endpoints, WatchInterval: watchInterval}
	}
}

// WithLog lets the services write their log to w.
func WithLog(w io.Writer) Option { return func(s *System) { s.log = w } }

// WithTelemetry observes services, each by one of its own, which also takes its log.
func WithTelemetry(t map[authz.Service]*telemetry.Telemetry) Option {
	return func(s *System) { s.telemetry = t }
}

// WithTracer records the payments of clients.
func WithTracer(t trace.TracerProvider) Option { return func(s *System) { s.tracer = t } }

// watchInterval is shorter than the ledger's own: a test's nodes are on this machine, and its blocks come faster.
const watchInterval = 100 * time.Millisecond

// timeout bounds each step of the helpers below.
const timeout = time.Minute

// System is a running installation.
type System struct {
	t     testing.TB
	dir   string
	clock func() time.Time
	wrap  Wrap
	log   io.Writer
	// demandEnrolment refuses agents without a token.
	demandEnrolment bool
	callsPerSecond  int
	solana          *allinone.Solana

	telemetry map[authz.Service]*telemetry.Telemetry
	tracer    trace.TracerProvider

	running *allinone.System
	owner   *client.Owner
	// ownerHome is the owner's, nil before there is one.
	ownerHome *client.Home
}

// Start starts an installation, which ends with the test.
func Start(t testing.TB, options ...Option) *System {
	t.Helper()
	s := &System{t: t, clock: time.Now, log: io.Discard}
	for _, o := range options {
		o(s)
	}
	if s.dir == "" {
		s.dir = filepath.Join(t.TempDir(), "installation")
	}
	s.start()
	t.Cleanup(func() {
		if err := s.running.Kill(); err != nil {
			t.Errorf("halfkeytest: closing: %v", err)
		}
	})
	return s
}

func (s *System) start() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	config := allinone.Config{
		DataDir: s.dir, Listen: "127.0.0.1:0", Clock: s.clock, DemandEnrolment: s.demandEnrolment,
		Solana:  s.solana,
		Callers: quota.Limits{PerSecond: float64(s.callsPerSecond)},
		Logger:  slog.New(slog.NewJSONHandler(s.log, nil)), Telemetry: s.telemetry,
	}
	if s.wrap != nil {
		config.Wrap = func(to authz.Service, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
			return s.wrap(string(to), conn)
		}
	}
	running, err := allinone.Start(ctx, config)
	if err != nil {
		s.t.Fatalf("halfkeytest: start: %v", err)
	}
	s.running = running
}

// Kill ends the installation where it stands, as a crash does. Restart starts it again.
func (s *System) Kill() {
	s.t.Helper()
	if err := s.running.Kill(); err != nil {
		s.t.Fatalf("halfkeytest: kill: %v", err)
	}
}

// Restart starts a killed installation again on its directory; a running one is drained first.
func (s *System) Restart() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.running.Stop(ctx); err != nil {
		s.t.Fatalf("halfkeytest: stop: %v", err)
	}
	s.start()
}

// Dir is the installation's directory: each service's store is in it.
func (s *System) Dir() string { return s.dir }

// Installation is the installation file in force.
func (s *System) Installation() *evidence.Installation { return s.running.Installation() }

// Address is the gateway's gRPC address.
func (s *System) Address() string { return s.running.Address() }

// HTTPS is the base URL of the gateway's HTTP interface. Its certificate is of the authority in the installation file.
func (s *System) HTTPS() string { return s.running.HTTPS() }

// InstallationFile is the content of the installation file: what a client connects with.
func (s *System) InstallationFile() []byte {
	s.t.Helper()
	file, err := os.ReadFile(s.running.InstallationFile())
	if err != nil {
		s.t.Fatalf("halfkeytest: installation file: %v", err)
	}
	return file
}

// Home makes a fresh client home that is connected to the installation.
func (s *System) Home() *client.Home {
	s.t.Helper()
	h, err := client.OpenHome(filepath.Join(s.t.TempDir(), "home"))
	if err != nil {
		s.t.Fatalf("halfkeytest: home: %v", err)
	}
	if err := h.Connect(s.InstallationFile()); err != nil {
		s.t.Fatalf("halfkeytest: connect: %v", err)
	}
	return h
}

// Client opens a client on a home; it is closed with the test. Recovery files that it writes take next to no work to open.
func (s *System) Client(h *client.Home) *client.Client {
	s.t.Helper()
	c, err := client.Open(h, client.Options{Clock: s.clock, RecoveryWork: recoverywork.ForTests(), Tracer: s.tracer})
	if err != nil {
		s.t.Fatalf("halfkeytest: client: %v", err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// BootstrapCode is the one-time code by which the installation's first owner is made: for a test that makes it itself, and
// does not call Owner, Agent or GuardRails before.
func (s *System) BootstrapCode() string { return s.running.BootstrapCode() }

// Email is the address of the installation's first owner.
const Email = "you@company.com"

// Owner is the installation's first owner, made by the bootstrap code.
func (s *System) Owner() *client.Owner {
	s.t.Helper()
	if s.owner != nil {
		return s.owner
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	home := s.Home()
	owner, err := s.Client(home).CreateOwner(ctx, s.running.BootstrapCode(), Email)
	if err != nil {
		s.t.Fatalf("halfkeytest: owner: %v", err)
	}
	s.owner, s.ownerHome = owner, home
	return owner
}

// OwnerHome is the home that Owner's keys are in.
func (s *System) OwnerHome() *client.Home {
	s.t.Helper()
	s.Owner()
	return s.ownerHome
}

// Token is the text of an enrolment token of the owner.
func (s *System) Token() client.Secret {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	tokens, err := s.Owner().MintEnrolment(ctx, client.EnrolmentOptions{})
	if err != nil {
		s.t.Fatalf("halfkeytest: enrolment token: %v", err)
	}
	return tokens[0].Text()
}

// Agent registers an agent by a real key generation on a home of its own, and lets the owner claim it, or a token where one is
// demanded.
func (s *System) Agent(name string) *client.Agent {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c := s.Client(s.Home())
	options := client.RegisterOptions{Name: name, OwnerEmail: Email}
	if s.demandEnrolment {
		options.EnrolmentToken = s.Token()
	}
	r, err := c.Register(ctx, options)
	if err != nil {
		s.t.Fatalf("halfkeytest: register %q: %v", name, err)
	}
	if !r.Claimed {
		if _, err := s.Owner().Claim(ctx, r.ClaimCode); err != nil {
			s.t.Fatalf("halfkeytest: claim %q: %v", name, err)
		}
	}
	a, err := c.Agent(r.Wallet)
	if err != nil {
		s.t.Fatalf("halfkeytest: agent %q: %v", name, err)
	}
	return a
}

// GuardRails puts rules in force for an agent's wallet.
func (s *System) GuardRails(a *client.Agent, rules client.Rules) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if _, err := s.Owner().SetGuardRails(ctx, a.Wallet(), rules); err != nil {
		s.t.Fatalf("halfkeytest: guard rails: %v", err)
	}
}

// Operator is the installation's operator.
func (s *System) Operator() *client.Operator {
	s.t.Helper()
	key, err := s.running.OperatorKey()
	if err != nil {
		s.t.Fatalf("halfkeytest: operator's key: %v", err)
	}
	return s.Client(s.Home()).Operator(key)
}

// OperatorKey is the operator's key.
func (s *System) OperatorKey() ed25519.PrivateKey {
	s.t.Helper()
	key, err := s.running.OperatorKey()
	if err != nil {
		s.t.Fatalf("halfkeytest: operator's key: %v", err)
	}
	return key
}

// Fund issues book dollars to an agent's wallet, in units of a millionth.
func (s *System) Fund(a *client.Agent, units int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if _, err := s.Operator().Deposit(ctx, a.Wallet(), uuid.NewString(), units); err != nil {
		s.t.Fatalf("halfkeytest: fund: %v", err)
	}
}
