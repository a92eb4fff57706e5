package telemetry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Config says what is told about a program, and to whom.
type Config struct {
	// Service is the program's name: gateway, identity, policy, ledger or cosigner. Required.
	Service string
	// Installation is the installation's id and Version the program's; both stand in every log line and beside every span.
	Installation, Version string
	// OTLP is where spans are pushed to; nil pushes none.
	OTLP *OTLP
	// SampleRatio is the share of traces that is recorded, from 0 to 1, where nobody has decided about it before: what a service's
	// caller within the installation has decided holds, what a stranger has decided does not.
	SampleRatio float64
	// Processors take spans besides OTLP: tests record them.
	Processors []sdktrace.SpanProcessor
	// LogLevel is the least level that is logged; nil means Info.
	LogLevel slog.Leveler
	// LogOutput takes the log, one JSON object to a line. Required.
	LogOutput io.Writer
}

// OTLP is a collector that takes spans by gRPC.
type OTLP struct {
	// Endpoint is host:port.
	Endpoint string
	// TLS is what the collector is verified by, and whom it sees; nil means no TLS, which is refused unless the endpoint is on this
	// machine or Insecure says that it is meant.
	TLS *tls.Config
	// Insecure allows spans to cross a network in the clear: they name wallets and payments.
	Insecure bool
	// Timeout bounds one push with its repeats; 0 is pushMax.
	Timeout time.Duration
}

func (c Config) check() error {
	switch {
	case c.Service == "":
		return errors.New("telemetry: no name of a service")
	case c.LogOutput == nil:
		return errors.New("telemetry: no output for the log")
	case !(c.SampleRatio >= 0 && c.SampleRatio <= 1): // This way round, it refuses what is not a number too.
		return fmt.Errorf("telemetry: the sample ratio is %v, and can be from 0 to 1", c.SampleRatio)
	case c.OTLP == nil:
		return nil
	}
	return c.OTLP.check()
}

func (o *OTLP) check() error {
	host, port, err := net.SplitHostPort(o.Endpoint)
	if err != nil || host == "" {
		return fmt.Errorf("telemetry: the OTLP endpoint %q is not host:port", o.Endpoint)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("telemetry: the OTLP endpoint %q has no port from 1 to 65535", o.Endpoint)
	}
	if o.TLS == nil && !o.Insecure && !loopback(host) {
		return fmt.Errorf("telemetry: spans for %s would cross the network in the clear: give TLS, or say that this is meant", o.Endpoint)
	}
	if o.Timeout < 0 {
		return errors.New("telemetry: the timeout of OTLP is negative")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// resource is what a collector and target_info say about this process. OTEL_RESOURCE_ATTRIBUTES adds to it, and changes none of
// what stands here.
func (c Config) resource(ctx context.Context) (*resource.Resource, error) {
	instance, err := uuid.NewRandom()
	if err != nil {
		return nil, err
	}
	r, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.namespace", "halfkey"),
		attribute.String("service.name", c.Service),
		attribute.String("service.version", c.Version),
		attribute.String("service.instance.id", instance.String()), // Tells replicas apart.
		attribute.String("halfkey.installation", c.Installation),
	))
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return r, nil
}
