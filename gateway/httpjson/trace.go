package httpjson

import (
	"context"
	"net/http"

	"google.golang.org/grpc/metadata"
)

// traceHeader is W3C Trace Context's, and gRPC's metadata key. What of it is believed is the gateway's to say, as by gRPC.
const traceHeader = "traceparent"

// traceLength is its length: version, trace, parent and flags in hexadecimal, with dashes between.
const traceLength = 55

type traceKey struct{}

// withTrace is a request's context with the name of its trace, if it has one in the right form. One in another form is as none.
func withTrace(ctx context.Context, r *http.Request) context.Context {
	given := r.Header.Values(traceHeader)
	if len(given) != 1 || len(given[0]) != traceLength {
		return ctx
	}
	for _, c := range []byte(given[0]) {
		if hexadecimal := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'; !hexadecimal && c != '-' {
			return ctx
		}
	}
	return context.WithValue(ctx, traceKey{}, given[0])
}

// traceMetadata hands the trace's name on.
func traceMetadata(ctx context.Context, _ *http.Request) metadata.MD {
	trace, ok := ctx.Value(traceKey{}).(string)
	if !ok {
		return nil
	}
	return metadata.Pairs(traceHeader, trace)
}
