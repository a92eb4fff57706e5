package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// dial is a plain connection to the gateway, without the SDK.
func dial(t *testing.T, h *halfkeytest.System) *grpc.ClientConn {
	t.Helper()
	config, err := rpc.PublicClientTLS([]byte(h.Installation().Content().GetCaPem()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(rpc.DialConfig{Target: "passthrough:///" + h.Address(), TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// withToken adds a token to a call.
func withToken(ctx context.Context, t *testing.T, key ed25519.PrivateKey, token *typev1.Token) context.Context {
	t.Helper()
	e, err := evidence.Sign(key, token)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(ctx, gateway.TokenMetadata, string(b))
}

// TestTokens calls every method of the gateway that needs a token with tokens that are none, and demands that each is
// refused before anything is answered. Methods come from the contract, so that one added later is tried too.
func TestTokens(t *testing.T) {
	h := halfkeytest.Start(t)
	agent := h.Agent("Research Agent")
	conn := dial(t, h)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wallet := agent.Wallet()
	caller := strings.Replace(wallet, "wallets/", "agents/", 1)
	now := time.Now()
	good := func(method string) *typev1.Token {
		return &typev1.Token{
			Installation: h.Installation().ID(), Wallet: wallet, Caller: caller, Method: method, Resource: wallet,
			TimeMillis: now.UnixMilli(), ExpiryMillis: now.Add(30 * time.Second).UnixMilli(),
		}
	}
	operator := h.OperatorKey()
	asOperator := func(method string) *typev1.Token {
		token := good(method)
		token.Wallet, token.Caller, token.Resource = "", "operator", "owners/nobody"
		return token
	}
	ways := []struct {
		name string
		ctx  func(ctx context.Context, method string) context.Context
	}{
		{"no token", func(ctx context.Context, _ string) context.Context { return ctx }},
		{"not a token", func(ctx context.Context, _ string) context.Context {
			return metadata.AppendToOutgoingContext(ctx, gateway.TokenMetadata, "\x01\x02")
		}},
		{"a stranger's key", func(ctx context.Context, m string) context.Context { return withToken(ctx, t, stranger, good(m)) }},
		{"two tokens", func(ctx context.Context, m string) context.Context {
			return withToken(withToken(ctx, t, operator, asOperator(m)), t, operator, asOperator(m))
		}},
		{"another method's", func(ctx context.Context, _ string) context.Context {
			return withToken(ctx, t, operator, asOperator("/halfkey.gateway.v1.GatewayService/Other"))
		}},
		{"another resource's", func(ctx context.Context, m string) context.Context { return withToken(ctx, t, operator, asOperator(m)) }},
	}
	methods := gatewayv1.File_halfkey_gateway_v1_gateway_proto.Services().ByName("GatewayService").Methods()
	tried := 0
	for i := range methods.Len() {
		m := methods.Get(i)
		full := "/halfkey.gateway.v1.GatewayService/" + string(m.Name())
		rule, ok := authz.Lookup(full)
		if !ok {
			t.Errorf("%s is not in the authorization table", full)
			continue
		}
		if rule.Auth != authz.Token {
			continue
		}
		tried++
		for _, way := range ways {
			t.Run(string(m.Name())+"/"+way.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				err := call(way.ctx(ctx, full), conn, full, m, wallet)
				switch fault.ReasonOf(err) {
				case typev1.Reason_REASON_UNAUTHENTICATED, typev1.Reason_REASON_PERMISSION_DENIED:
				default:
					t.Errorf("got %v, want UNAUTHENTICATED or PERMISSION_DENIED", err)
				}
				if f := fault.Of(err); f == nil || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
					t.Errorf("money_moved is not NO: %v", err)
				}
			})
		}
	}
	if tried < 10 {
		t.Errorf("tried %d methods: the contract has more that need a token", tried)
	}
}

// call makes one call whose request names the wallet, or a payment of it, in whatever field names a resource.
func call(ctx context.Context, conn *grpc.ClientConn, full string, m protoreflect.MethodDescriptor, wallet string) error {
	request := newMessage(m.Input())
	fields := m.Input().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); f.Name() {
		case "wallet", "parent", "owner":
			request.ProtoReflect().Set(f, protoreflect.ValueOfString(wallet))
		case "code":
			request.ProtoReflect().Set(f, protoreflect.ValueOfString("AAAA-AAAA-AAAA-AAAA-AAAA"))
		case "name":
			name := wallet
			if strings.Contains(string(m.Name()), "Payment") {
				name += "/payments/p"
			}
			request.ProtoReflect().Set(f, protoreflect.ValueOfString(name))
		}
	}
	if r, ok := request.(*gatewayv1.FreezeRequest); ok {
		r.Freeze = &typev1.Freeze{FreezeId: "f", Scope: typev1.Scope_SCOPE_WALLET, Wallet: wallet}
	}
	if !m.IsStreamingServer() {
		return conn.Invoke(ctx, full, request, newMessage(m.Output()))
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(newMessage(m.Output()))
}

// newMessage makes an empty message of a type of the contract.
func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	m, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	return m.New().Interface()
}
