package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // Registers the codec that ours extends.
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/fault"
)

// gRPC itself answers bytes that do not decode with INTERNAL, as if the defect were ours, before any interceptor has seen the call,
// and says nothing about money. So a server takes a request's bytes as they are and decodes them itself: such a call is authorized,
// counted and logged like every other one, and ends in a refusal with a reason.

// frame is a request's bytes.
type frame struct{ bytes []byte }

// frameCodec is gRPC's codec for protobuf, which also receives frames.
type frameCodec struct{ encoding.CodecV2 }

func newFrameCodec() frameCodec { return frameCodec{encoding.GetCodecV2("proto")} }

// Unmarshal decodes a message, or keeps its bytes.
func (c frameCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		f.bytes = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// receive receives one request by gRPC's own function. The first error says that nothing came, the second that it does not decode.
func receive(recv func(any) error, v any) (broken, undecoded error) {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("rpc: %T is no message", v), nil
	}
	var f frame
	if err := recv(&f); err != nil {
		return err, nil
	}
	return nil, proto.Unmarshal(f.bytes, m)
}

// undecodable stands for a request that does not decode.
type undecodable struct{}

// refused is what its caller is told. Which byte was wrong is not in it: the decoder's text is not for the wire.
func (undecodable) refused() error {
	return fault.Invalid(fault.Violation{Field: "request", Why: "it does not decode as the method's request"})
}

// decoded lets unary requests that do not decode pass through the interceptors.
func decoded(desc *grpc.ServiceDesc) *grpc.ServiceDesc {
	own := *desc
	own.Methods = make([]grpc.MethodDesc, 0, len(desc.Methods))
	for _, m := range desc.Methods {
		handler := m.Handler
		m.Handler = func(srv any, ctx context.Context, recv func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			var undecoded error
			return handler(srv, ctx,
				func(m any) (broken error) {
					broken, undecoded = receive(recv, m)
					return broken
				},
				func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
					if undecoded != nil {
						req = undecodable{}
					}
					return interceptor(ctx, req, info, next)
				})
		}
		own.Methods = append(own.Methods, m)
	}
	return &own
}
