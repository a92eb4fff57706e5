package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc/resolver/dns"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/workload"
	"github.com/halfkey/halfkey/internal/telemetry"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// retryFirst and retryMax are the pauses between attempts to start while a store is not there; each is twice the last.
	retryFirst = 250 * time.Millisecond
	retryMax   = 5 * time.Second
	// closeMax bounds what is left to do after draining: the last spans are sent.
	closeMax = 5 * time.Second
	// resolveEvery is how often at most a name is looked up again while no address of it answers: gRPC's 30 s would be what a
	// service without a replica is missed for when it is started anew under another address.
	resolveEvery = time.Second
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Server is a service that serves.
type Server interface {
	// Shutdown takes no further calls, lets running ones end until ctx does, and closes everything.
	Shutdown(ctx context.Context) error
}

// Leaver is a server that balancers ask by other ways than the operations listener.
type Leaver interface {
	// Leave says there that nobody should be sent here any more. Whoever comes is still answered.
	Leave()
}

// Starter opens what the service needs from elsewhere and serves. It is called again after an error that says UNAVAILABLE.
type Starter func(ctx context.Context) (Server, error)

// Spec is what one program is.
type Spec[C any, P interface {
	*C
	config.Program
}] struct {
	// Name is the service.
	Name authz.Service
	// About is a line for its help.
	About string
	// Open reads what stands in the service's own files, and reaches nothing else: an error is one of configuration, which
	// `check` shows.
	Open func(e *Environment, c P) (Starter, error)
}

// commands is the command line.
type commands struct {
	Config   string     `short:"c" type:"existingfile" placeholder:"FILE" help:"The configuration file."`
	LogLevel slog.Level `default:"info" help:"What is logged to standard error: debug, info, warn or error."`

	Serve   struct{} `cmd:"" default:"1" help:"Serve until SIGTERM, then drain and end. The default."`
	Check   struct{} `cmd:"" help:"Read the configuration and every file it names, say what is wrong, and reach nothing else."`
	Health  struct{} `cmd:"" help:"Ask the program that runs with this configuration on this host whether it serves."`
	Version struct{} `cmd:"" help:"Print the version."`
}

// Main runs a program and ends the process.
func (s Spec[C, P]) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	dns.SetMinResolutionInterval(resolveEvery)
	code := s.run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func (s Spec[C, P]) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c commands
	exited := -1
	parser, err := kong.New(&c, kong.Name(string(s.Name)), kong.Description(s.About), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }), kong.ShortUsageOnError())
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err == nil && parsed.Command() != "version" && c.Config == "" {
		err = errors.New("--config is missing: the path of the configuration file")
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: error: %s\n", s.Name, err)
		return exitUsage
	}
	switch parsed.Command() {
	case "version":
		fmt.Fprintf(stdout, "halfkey %s %s\n", s.Name, Version())
	case "check":
		err = s.check(ctx, c)
		if err == nil {
			fmt.Fprintf(stdout, "%s: every file is there and fits.\n", c.Config)
		}
	case "health":
		into := P(new(C))
		if err = config.Load(c.Config, into); err == nil {
			err = health(ctx, into.Common().Operations)
		}
		if err == nil {
			fmt.Fprintln(stdout, "ready")
		}
	default:
		CollectLess()
		err = s.serve(ctx, c, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: error: %s\n", s.Name, err)
		return exitError
	}
	return exitOK
}

// Version is the module's version, or the commit that a build came from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && (version == "" || version == "(devel)") {
			version = setting.Value
		}
	}
	return version
}

// open reads the configuration and what it names.
func (s Spec[C, P]) open(ctx context.Context, c commands, logs io.Writer) (*opened, error) {
	into := P(new(C))
	if err := config.Load(c.Config, into); err != nil {
		return nil, err
	}
	o := &opened{common: into.Common()}
	chain, err := config.ReadInstallations(o.common.Installation)
	if err != nil {
		return nil, err
	}
	installation := chain[len(chain)-1].ID()
	o.telemetry, err = NewTelemetry(ctx, s.Name, installation, o.common.Telemetry, c.LogLevel, logs)
	if err != nil {
		return nil, err
	}
	credentials, err := credentials(ctx, installation, o.common.TLS, o.telemetry.Logger())
	if err != nil {
		return nil, errors.Join(err, o.close(ctx))
	}
	is, err := credentials.Service()
	if err == nil && is != s.Name {
		err = fmt.Errorf("is the %s's, want the %s's", is, s.Name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tls.certificate: %w", err), credentials.Close(), o.close(ctx))
	}
	o.environment = &Environment{
		Name: s.Name, Installations: chain, Credentials: credentials, Logger: o.telemetry.Logger(),
		InFlightMax: o.common.InFlight,
	}
	o.environment.Observe(o.telemetry)
	if o.start, err = s.Open(o.environment, into); err != nil {
		return nil, errors.Join(err, o.close(ctx))
	}
	return o, nil
}

// opened is a program whose files are read.
type opened struct {
	common      *config.Common
	telemetry   *telemetry.Telemetry
	environment *Environment
	start       Starter
}

func (o *opened) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeMax)
	defer cancel()
	err := o.telemetry.Shutdown(ctx)
	if o.environment != nil {
		for _, what := range append(o.environment.atClose, o.environment.Credentials.Close) {
			err = errors.Join(err, what())
		}
	}
	return err
}

// credentials are who the program is.
func credentials(ctx context.Context, installation string, c config.TLS, logger *slog.Logger) (*rpc.Credentials, error) {
	if c.WorkloadAPI != "" {
		return workload.Credentials(ctx, installation, c.WorkloadAPI, logger)
	}
	made, err := rpc.LoadCredentials(installation, rpc.Files{Certificate: c.Certificate, Key: c.Key, Authorities: c.Authorities}, logger)
	if err != nil {
		return nil, fmt.Errorf("tls: %s with %s and %s: %w", c.Certificate, c.Key, c.Authorities, err)
	}
	return made, nil
}

// NewTelemetry makes what a configuration says of a service's telemetry.
func NewTelemetry(
	ctx context.Context, name authz.Service, installation string, c config.Telemetry, level slog.Leveler, logs io.Writer,
) (*telemetry.Telemetry, error) {
	otlp, err := collector(c.OTLP)
	if err != nil {
		return nil, err
	}
	return telemetry.New(ctx, telemetry.Config{
		Service: string(name), Installation: installation, Version: Version(),
		OTLP: otlp, SampleRatio: c.Sample, LogLevel: level, LogOutput: logs,
	})
}

// collector is where traces go; nil if nowhere.
func collector(c config.OTLP) (*telemetry.OTLP, error) {
	if c.Endpoint == "" {
		return nil, nil //nolint:nilnil // as telemetry.Config has it
	}
	o := &telemetry.OTLP{Endpoint: c.Endpoint, Insecure: c.Insecure}
	if c.Insecure {
		return o, nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	if c.Authorities == "" {
		return o, nil
	}
	b, err := os.ReadFile(c.Authorities)
	if err != nil {
		return nil, fmt.Errorf("telemetry.otlp.authorities: %w", err)
	}
	o.TLS.RootCAs = x509.NewCertPool()
	if !o.TLS.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("telemetry.otlp.authorities: %s holds no certificate", c.Authorities)
	}
	return o, nil
}

func (s Spec[C, P]) check(ctx context.Context, c commands) error {
	o, err := s.open(ctx, c, io.Discard)
	if err != nil {
		return err
	}
	return errors.Join(o.environment.check(time.Now()), o.close(ctx))
}

// serve runs until ctx ends or a listener fails, then drains: it is not ready first, and answers still until balancers have seen
// that, then running calls end, then stores close.
func (s Spec[C, P]) serve(ctx context.Context, c commands, stderr io.Writer) (err error) {
	o, err := s.open(ctx, c, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close(ctx)) }()
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	o.environment.Fail = fail
	ops, err := ListenOperations(o.common.Operations, map[string]http.Handler{PathMetrics: o.telemetry.Metrics()}, fail)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ops.Close()) }()

	server, err := s.started(serving, o)
	if err != nil {
		return err
	}
	if server == nil { // It was told to end before it had started.
		return nil
	}
	ops.SetReady(true)
	o.environment.Logger.Info("serving", "installation", o.environment.Installation().ID(), "number", o.environment.Installation().Number())
	<-serving.Done()
	ops.SetReady(false)
	o.environment.Logger.Info("draining")
	if l, ok := server.(Leaver); ok {
		l.Leave()
	}
	if ctx.Err() != nil { // Where a listener failed there is nothing to go on with.
		time.Sleep(o.common.PauseBeforeDrain())
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.common.DrainMax())
	defer cancel()
	err = server.Shutdown(drain)
	if ctx.Err() == nil { // Nobody asked for the end: a listener failed.
		err = errors.Join(context.Cause(serving), err)
	}
	return err
}

// started starts the service, again and again while something that it needs is not there yet. It returns nil and no error if
// ctx ends first.
func (s Spec[C, P]) started(ctx context.Context, o *opened) (Server, error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		server, err := o.start(ctx)
		switch {
		case err == nil:
			return server, nil
		case ctx.Err() != nil:
			return nil, nil //nolint:nilnil // documented
		case fault.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE:
			return nil, err
		}
		o.environment.Logger.Warn("not started yet, trying again", "error", err, "cause", errors.Unwrap(err), "in", pause)
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // documented
		case <-time.After(pause):
		}
	}
}
