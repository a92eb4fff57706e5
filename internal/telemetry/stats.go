package telemetry

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc/stats"

	"github.com/halfkey/halfkey/internal/authz"
)

// otherMethod stands for every method that does not exist, as OpenTelemetry's conventions have it.
const otherMethod = "/_OTHER"

func serverStats(t *Telemetry, propagator propagation.TextMapPropagator) stats.Handler {
	return known{otelgrpc.NewServerHandler(observe(t, propagator)...)}
}

func clientStats(t *Telemetry) stats.Handler {
	return otelgrpc.NewClientHandler(observe(t, within{})...)
}

func observe(t *Telemetry, propagator propagation.TextMapPropagator) []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(t.TracerProvider()), otelgrpc.WithMeterProvider(t.meters), otelgrpc.WithPropagators(propagator),
		otelgrpc.WithFilter(worthy),
	}
}

// worthy leaves health checks out: they come every few seconds and say what readiness says.
func worthy(info *stats.RPCTagInfo) bool {
	r, ok := authz.Lookup(info.FullMethodName)
	return !ok || !r.AnyPeer
}

// known gives all methods that the authorization table does not have one name. The name is a caller's own text, of any length, and
// each would be a series of its own for as long as the process lives.
type known struct{ stats.Handler }

// TagRPC implements stats.Handler.
func (k known) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if _, ok := authz.Lookup(info.FullMethodName); !ok {
		other := *info
		other.FullMethodName = otherMethod
		info = &other
	}
	return k.Handler.TagRPC(ctx, info)
}
