package gateway

import (
	"context"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/internal/telemetry/instrument"
)

// step makes the call that is one step of a payment, in a span that has the step's name.
func step[Req, Resp any](
	ctx context.Context, tracer trace.Tracer, name string,
	call func(context.Context, *Req, ...grpc.CallOption) (*Resp, error), req *Req,
) (*Resp, error) {
	ctx, span := tracer.Start(ctx, name)
	resp, err := call(ctx, req)
	instrument.End(span, err)
	return resp, err
}
