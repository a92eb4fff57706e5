package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// raw is a codec that sends bytes as they are, as somebody may who does not use protobuf.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T are no bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }

// callRaw calls a method with bytes.
func callRaw(ctx context.Context, conn *grpc.ClientConn, method string, stream bool, request []byte) error {
	options := []grpc.CallOption{grpc.ForceCodecV2(raw{}), grpc.MaxCallSendMsgSize(1 << 20)}
	if !stream {
		return conn.Invoke(ctx, method, request, nil, options...)
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, options...)
	if err != nil {
		return err
	}
	if err := errors.Join(s.SendMsg(request), s.CloseSend()); err != nil {
		return err
	}
	return s.RecvMsg(nil)
}

// Every method of every service, on the kind of listener that it is served on: bytes that are no request and requests that are just
// too large are refused with a reason, say that no money moved, and never reach the handler, which would answer INTERNAL.
func TestMalformedEverywhere(t *testing.T) {
	ca := newAuthority(t)
	var infos []map[string]grpc.ServiceInfo
	register := func(r grpc.ServiceRegistrar, public bool) {
		if public {
			gatewayv1.RegisterGatewayServiceServer(r, gatewayv1.UnimplementedGatewayServiceServer{})
			return
		}
		identityv1.RegisterIdentityServiceServer(r, identityv1.UnimplementedIdentityServiceServer{})
		policyv1.RegisterPolicyServiceServer(r, policyv1.UnimplementedPolicyServiceServer{})
		ledgerv1.RegisterLedgerServiceServer(r, ledgerv1.UnimplementedLedgerServiceServer{})
		cosignerv1.RegisterCosignerServiceServer(r, cosignerv1.UnimplementedCosignerServiceServer{})
	}
	for _, public := range []bool{false, true} {
		inner := grpc.NewServer()
		register(inner, public)
		infos = append(infos, inner.GetServiceInfo())
	}
	inside := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { register(r, false) })
	outside := serve(t, ca, rpc.Config{Listener: authz.Public, Credentials: credentialsOf(t, ca, authz.Gateway)},
		func(r grpc.ServiceRegistrar) { register(r, true) })
	trust, err := rpc.PublicClientTLS(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	conns := []*grpc.ClientConn{
		bare(t, inside, credentials.NewTLS(credentialsOf(t, ca, authz.Gateway).ClientTLS(authz.Ledger))),
		bare(t, outside, credentials.NewTLS(trust)),
	}

	// A field that no request has, so that it is as good or bad for each of them.
	sized := func(n int) []byte {
		head := len(protowire.AppendVarint(protowire.AppendTag(nil, 9999, protowire.BytesType), uint64(n)))
		b := protowire.AppendTag(nil, 9999, protowire.BytesType)
		return protowire.AppendBytes(b, make([]byte, n-head))
	}
	const invalid, tooLarge, reached = typev1.Reason_REASON_INVALID_ARGUMENT, typev1.Reason_REASON_LIMIT_EXCEEDED,
		typev1.Reason_REASON_INTERNAL
	tried := 0
	for i, info := range infos {
		for service, methods := range info {
			for _, m := range methods.Methods {
				tried++
				method := "/" + service + "/" + m.Name
				rule, _ := authz.Lookup(method)
				served := no
				if rule.Moves {
					served = unknown
				}
				for _, tt := range []struct {
					name    string
					request []byte
					reason  typev1.Reason
					moved   typev1.MoneyMoved
				}{
					{"no protobuf", []byte("no protobuf"), invalid, no},
					{"cut off", []byte{0x0a, 0x7f, 0x01}, invalid, no},
					{"field number zero", []byte{0x00, 0x01}, invalid, no},
					{"a group that does not end", []byte{0x0b}, invalid, no},
					{"the largest", sized(rpc.RequestBytesMax), reached, served},
					{"a byte too large", sized(rpc.RequestBytesMax + 1), tooLarge, no},
				} {
					t.Run(m.Name+"/"+tt.name, func(t *testing.T) {
						err := callRaw(callContext(t), conns[i], method, m.IsServerStream, tt.request)
						f := wantFault(t, err, tt.reason, tt.moved)
						if tt.reason == invalid && (f.Code != codes.InvalidArgument || f.Metadata["field"] != "request" || f.Metadata["why"] == "") {
							t.Errorf("got %s %v", f.Code, f.Metadata)
						}
					})
				}
			}
		}
	}
	if tried != 103 {
		t.Errorf("%d methods called: the contracts have changed, and so must this number", tried)
	}
}

// What does not decode is authorized and logged before it is refused: who may not call learns nothing else.
func TestMalformedByAnotherService(t *testing.T) {
	ca := newAuthority(t)
	address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, &ledger{}) })
	conn := dialAs(t, address, credentialsOf(t, ca, authz.Policy))
	for method, stream := range map[string]bool{
		ledgerv1.LedgerService_CreatePayment_FullMethodName: false, ledgerv1.LedgerService_WatchPayment_FullMethodName: true,
	} {
		err := callRaw(callContext(t), conn, method, stream, []byte("no protobuf"))
		wantFault(t, err, typev1.Reason_REASON_PERMISSION_DENIED, no)
	}
}
