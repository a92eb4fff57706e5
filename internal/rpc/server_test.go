package rpc_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/quota"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	no      = typev1.MoneyMoved_MONEY_MOVED_NO
	unknown = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	yes     = typev1.MoneyMoved_MONEY_MOVED_YES
)

// Every internal method, called by every service over real connections: the gateway alone gets through to the handler.
func TestMatrix(t *testing.T) {
	ca := newAuthority(t)
	var services map[string]grpc.ServiceInfo
	address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) {
		inner := grpc.NewServer()
		for _, to := range []grpc.ServiceRegistrar{r, inner} {
			identityv1.RegisterIdentityServiceServer(to, identityv1.UnimplementedIdentityServiceServer{})
			policyv1.RegisterPolicyServiceServer(to, policyv1.UnimplementedPolicyServiceServer{})
			ledgerv1.RegisterLedgerServiceServer(to, ledgerv1.UnimplementedLedgerServiceServer{})
			cosignerv1.RegisterCosignerServiceServer(to, cosignerv1.UnimplementedCosignerServiceServer{})
		}
		services = inner.GetServiceInfo()
	})
	for _, caller := range authz.Services() {
		t.Run(string(caller), func(t *testing.T) {
			conn := dialAs(t, address, credentialsOf(t, ca, caller))
			n := 0
			for name, service := range services {
				for _, m := range service.Methods {
					n++
					method := "/" + name + "/" + m.Name
					want := typev1.Reason_REASON_PERMISSION_DENIED
					if caller == authz.Gateway {
						want = typev1.Reason_REASON_INTERNAL // The handler answers that it is not implemented.
					}
					if got := fault.ReasonOf(call(t, conn, method, m.IsServerStream)); got != want {
						t.Errorf("%s: got %s, want %s", method, got, want)
					}
				}
			}
			if n != 62 {
				t.Errorf("%d methods called: the contracts have changed, and so must this number", n)
			}
		})
	}
}

// call calls any method with an empty request.
func call(t testing.TB, conn *grpc.ClientConn, method string, stream bool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	req, resp := &ledgerv1.OpenAccountRequest{}, &ledgerv1.OpenAccountResponse{}
	if !stream {
		return conn.Invoke(ctx, method, req, resp)
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := errors.Join(s.SendMsg(req), s.CloseSend()); err != nil {
		return err
	}
	return s.RecvMsg(resp)
}

// A program with a method that nobody has put into the table does not start, and closes its listener.
func TestServeRefusesAMethodThatIsNotInTheTable(t *testing.T) {
	ca := newAuthority(t)
	for _, tt := range []struct {
		name     string
		on       authz.Listener
		register func(grpc.ServiceRegistrar)
		want     string
	}{
		{"a method too many", authz.Internal, func(r grpc.ServiceRegistrar) {
			desc := ledgerv1.LedgerService_ServiceDesc
			desc.Methods = append(append([]grpc.MethodDesc(nil), desc.Methods...), grpc.MethodDesc{MethodName: "PayAnyone"})
			r.RegisterService(&desc, &ledger{})
		}, "/halfkey.ledger.v1.LedgerService/PayAnyone"},
		{"the co-signer in public", authz.Public, func(r grpc.ServiceRegistrar) {
			cosignerv1.RegisterCosignerServiceServer(r, cosignerv1.UnimplementedCosignerServiceServer{})
		}, "CosignerService/Release"},
		{"the gateway inside", authz.Internal, func(r grpc.ServiceRegistrar) {
			gatewayv1.RegisterGatewayServiceServer(r, gatewayv1.UnimplementedGatewayServiceServer{})
		}, "GatewayService/CreatePayment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, err := rpc.NewServer(rpc.Config{Installation: installation, Listener: tt.on, Credentials: credentialsOf(t, ca, authz.Ledger)})
			if err != nil {
				t.Fatal(err)
			}
			tt.register(server)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Serve(l); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to name %s", err, tt.want)
			}
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the listener is open: %v", err)
			}
		})
	}
}

func TestNewServerRefuses(t *testing.T) {
	own := credentialsOf(t, newAuthority(t), authz.Ledger)
	for _, tt := range []struct {
		name string
		c    rpc.Config
	}{
		{"no credentials", rpc.Config{Installation: installation, Listener: authz.Internal}},
		{"no installation", rpc.Config{Listener: authz.Internal, Credentials: own}},
		{"no listener", rpc.Config{Installation: installation, Credentials: own}},
		{"negative bound", rpc.Config{Installation: installation, Listener: authz.Internal, Credentials: own, InFlightMax: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := rpc.NewServer(tt.c); err == nil {
				t.Error("made")
			}
		})
	}
}

func TestDialRefuses(t *testing.T) {
	own := credentialsOf(t, newAuthority(t), authz.Gateway)
	for _, tt := range []struct {
		name string
		c    rpc.DialConfig
	}{
		{"no TLS", rpc.DialConfig{Target: "x"}},
		{"TLS 1.2", rpc.DialConfig{Target: "x", TLS: &tls.Config{MinVersion: tls.VersionTLS12}}},
		{"no service", rpc.DialConfig{Target: "x", Credentials: own}},
		{"an unknown service", rpc.DialConfig{Target: "x", Credentials: own, Service: "treasury"}},
		{"a service, no credentials", rpc.DialConfig{Target: "x", Service: authz.Ledger}},
		{"both", rpc.DialConfig{Target: "x", Credentials: own, Service: authz.Ledger, TLS: &tls.Config{MinVersion: tls.VersionTLS13}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := rpc.Dial(tt.c); err == nil {
				t.Error("made")
			}
		})
	}
}

// bare connects as the gateway, without our service config: no timeouts, no retries.
func bare(t testing.TB, address string, config credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Calls without a deadline do not reach the handler, on either kind of listener; ours bring one, and no call runs longer
// than a minute.
func TestDeadline(t *testing.T) {
	ca := newAuthority(t)
	deadlines := make(chan time.Duration, 1)
	service := &ledger{get: func(ctx context.Context, _ *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
		at, _ := ctx.Deadline()
		deadlines <- time.Until(at)
		return &ledgerv1.GetPaymentResponse{}, nil
	}}
	address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	without := bare(t, address, credentials.NewTLS(credentialsOf(t, ca, authz.Gateway).ClientTLS(authz.Ledger)))

	_, err := ledgerv1.NewLedgerServiceClient(without).GetPayment(t.Context(), &ledgerv1.GetPaymentRequest{})
	if f := wantFault(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, no); f.Metadata["field"] != "grpc-timeout" {
		t.Errorf("metadata %v", f.Metadata)
	}

	if _, err := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address)).
		GetPayment(t.Context(), &ledgerv1.GetPaymentRequest{}); err != nil {
		t.Errorf("our connections bring a deadline: %v", err)
	} else if left := <-deadlines; left <= 0 || left > 30*time.Second {
		t.Errorf("%s left", left)
	}

	long, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	if _, err := ledgerv1.NewLedgerServiceClient(without).GetPayment(long, &ledgerv1.GetPaymentRequest{}); err != nil {
		t.Error(err)
	} else if left := <-deadlines; left > rpc.CallMax {
		t.Errorf("%s left, the bound is %s", left, rpc.CallMax)
	}

	public := serve(t, ca, rpc.Config{
		Listener: authz.Public, Credentials: credentialsOf(t, ca, authz.Gateway),
	}, func(r grpc.ServiceRegistrar) {
		gatewayv1.RegisterGatewayServiceServer(r, gatewayv1.UnimplementedGatewayServiceServer{})
	})
	config, err := rpc.PublicClientTLS(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	_, err = gatewayv1.NewGatewayServiceClient(bare(t, public, credentials.NewTLS(config))).
		GetPayment(t.Context(), &gatewayv1.GetPaymentRequest{})
	wantFault(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, no)
}

// Whatever a handler answers leaves as a fault, without the text of errors that nobody has looked at.
func TestErrors(t *testing.T) {
	ca := newAuthority(t)
	var answer error
	var lines canary.Said
	service := &ledger{
		create: func(context.Context, *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
			return nil, answer
		},
		get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
			return nil, answer
		},
		watch: func(*ledgerv1.WatchPaymentRequest, grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error {
			return answer
		},
	}
	address := serve(t, ca, rpc.Config{Logger: slog.New(slog.NewJSONHandler(&lines, nil))},
		func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	// Without retries, so that UNAVAILABLE shows once.
	client := ledgerv1.NewLedgerServiceClient(bare(t, address,
		credentials.NewTLS(credentialsOf(t, ca, authz.Gateway).ClientTLS(authz.Ledger))))

	unsaid := typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED
	for _, tt := range []struct {
		name        string
		answer      error
		code        codes.Code
		reason      typev1.Reason
		moved, read typev1.MoneyMoved // of a method that can move money, and of one that cannot
	}{
		{"plain", errors.New("row 7: secret"), codes.Internal, typev1.Reason_REASON_INTERNAL, unknown, no},
		{"status", status.Error(codes.Unavailable, "dial 10.0.0.9: secret"), codes.Unavailable, typev1.Reason_REASON_UNAVAILABLE, unknown, no},
		{"context", context.DeadlineExceeded, codes.DeadlineExceeded, typev1.Reason_REASON_UNAVAILABLE, unknown, no},
		{
			"fault that says so",
			fault.New(typev1.Reason_REASON_FROZEN, no, "frozen"), codes.FailedPrecondition, typev1.Reason_REASON_FROZEN, no, no,
		},
		{
			"fault that knows better",
			fault.New(typev1.Reason_REASON_RULES_CHANGED, yes, "m"), codes.FailedPrecondition, typev1.Reason_REASON_RULES_CHANGED, yes, yes,
		},
		{
			"fault that leaves it open",
			fault.New(typev1.Reason_REASON_UNAVAILABLE, unsaid, "m"), codes.Unavailable, typev1.Reason_REASON_UNAVAILABLE, unknown, no,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer = tt.answer
			_, err := client.CreatePayment(callContext(t), &ledgerv1.CreatePaymentRequest{})
			wantFault(t, err, tt.reason, tt.moved)
			_, err2 := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
			wantFault(t, err2, tt.reason, tt.read)
			stream, err3 := client.WatchPayment(callContext(t), &ledgerv1.WatchPaymentRequest{})
			if err3 != nil {
				t.Fatal(err3)
			}
			_, err3 = stream.Recv()
			wantFault(t, err3, tt.reason, tt.read)
			for _, err := range []error{err, err2, err3} {
				s := status.Convert(err)
				if s.Code() != tt.code {
					t.Errorf("code %s, want %s", s.Code(), tt.code)
				}
				if strings.Contains(s.Proto().String(), "secret") {
					t.Errorf("its text is on the wire: %v", s.Proto())
				}
			}
		})
	}
	if got := strings.Count(lines.String(), "\n"); got != 3*6 {
		t.Errorf("%d lines for %d calls", got, 3*6)
	}
	if !strings.Contains(lines.String(), "row 7: secret") {
		t.Error("the cause is not in the log")
	}
}

// One line per call, with what an operator needs and nothing of what was said.
func TestLog(t *testing.T) {
	ca := newAuthority(t)
	var lines canary.Said
	service := &ledger{get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
		return &ledgerv1.GetPaymentResponse{Payment: &typev1.Payment{Name: "canary-answer"}}, nil
	}}
	address := serve(t, ca, rpc.Config{Logger: slog.New(slog.NewJSONHandler(&lines, nil))},
		func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client := ledgerv1.NewLedgerServiceClient(bare(t, address,
		credentials.NewTLS(credentialsOf(t, ca, authz.Gateway).ClientTLS(authz.Ledger))))
	ctx := metadata.AppendToOutgoingContext(callContext(t), "halfkey-token-bin", "canary-token")
	if _, err := client.GetPayment(ctx, &ledgerv1.GetPaymentRequest{Name: "canary-request"}); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(lines.String()), &line); err != nil {
		t.Fatalf("%v in %q", err, lines.String())
	}
	if line["method"] != ledgerv1.LedgerService_GetPayment_FullMethodName || line["peer"] != "spiffe://test-1/gateway" ||
		line["code"] != "OK" {
		t.Errorf("got %v", line)
	}
	if strings.Contains(lines.String(), "canary") {
		t.Errorf("a payload is in the log: %s", lines.String())
	}
}

// A panic ends one call, says nothing on the wire, may have moved money, and leaves its place but no values in the log.
func TestPanic(t *testing.T) {
	ca := newAuthority(t)
	var lines canary.Said
	calls := 0
	service := &ledger{
		get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
			if calls++; calls == 1 {
				panic("canary: " + strings.Repeat("5", 32))
			}
			return &ledgerv1.GetPaymentResponse{}, nil
		},
		watch: func(*ledgerv1.WatchPaymentRequest, grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error {
			var nothing *ledgerv1.GetPaymentResponse
			nothing.Payment = nil
			return nil
		},
	}
	address := serve(t, ca, rpc.Config{Logger: slog.New(slog.NewJSONHandler(&lines, nil))},
		func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address))

	_, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
	wantFault(t, err, typev1.Reason_REASON_INTERNAL, unknown)
	stream, err := client.WatchPayment(callContext(t), &ledgerv1.WatchPaymentRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err2 := stream.Recv()
	wantFault(t, err2, typev1.Reason_REASON_INTERNAL, unknown)
	for _, err := range []error{err, err2} {
		if s := status.Convert(err).Proto().String(); strings.Contains(s, "canary") || strings.Contains(s, "nil pointer") {
			t.Errorf("on the wire: %s", s)
		}
	}
	if text := lines.String(); strings.Contains(text, "canary") || !strings.Contains(text, "rpc_test.TestPanic") ||
		!strings.Contains(text, "nil pointer") {
		t.Errorf("log: %s", text)
	}
	if _, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// Requests that are too large are refused with a reason; beyond twice that gRPC itself stops reading.
func TestOversized(t *testing.T) {
	ca := newAuthority(t)
	reached := 0
	service := &ledger{create: func(context.Context, *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
		reached++
		return &ledgerv1.CreatePaymentResponse{}, nil
	}}
	address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client := ledgerv1.NewLedgerServiceClient(bare(t, address,
		credentials.NewTLS(credentialsOf(t, ca, authz.Gateway).ClientTLS(authz.Ledger))))
	sized := func(n int) *ledgerv1.CreatePaymentRequest {
		req := &ledgerv1.CreatePaymentRequest{Message: make([]byte, n)}
		req.Message = req.Message[:n-(proto.Size(req)-n)]
		return req
	}

	if _, err := client.CreatePayment(callContext(t), sized(rpc.RequestBytesMax)); err != nil {
		t.Errorf("the largest request: %v", err)
	}
	_, err := client.CreatePayment(callContext(t), sized(rpc.RequestBytesMax+1))
	wantFault(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, no)
	_, err = client.CreatePayment(callContext(t), sized(rpc.RequestBytesHard+1))
	if f := fault.Of(err); f == nil || f.Reason != typev1.Reason_REASON_LIMIT_EXCEEDED {
		t.Errorf("far too large: %v", err)
	}
	if reached != 1 {
		t.Errorf("the handler was reached %d times", reached)
	}
	// Giant metadata too.
	ctx := metadata.AppendToOutgoingContext(callContext(t), "padding", strings.Repeat("x", rpc.HeaderBytesMax))
	if _, err := client.CreatePayment(ctx, sized(10)); err == nil {
		t.Error("giant metadata were taken")
	}
	if reached != 1 {
		t.Errorf("the handler was reached %d times", reached)
	}
}

// What a contract's rules refuse comes back field by field, and the handler does not see it.
func TestValidate(t *testing.T) {
	ca := newAuthority(t)
	check, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	reached := 0
	service := &ledger{
		get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
			reached++
			return &ledgerv1.GetPaymentResponse{}, nil
		},
		create: func(context.Context, *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
			reached++
			return &ledgerv1.CreatePaymentResponse{}, nil
		},
		watch: func(*ledgerv1.WatchPaymentRequest, grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error {
			reached++
			return nil
		},
	}
	address := serve(t, ca, rpc.Config{Validate: check}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address))

	if _, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{Name: "wallets/a/payments/b"}); err != nil || reached != 1 {
		t.Fatalf("a good request: %v", err)
	}
	_, err = client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{Name: strings.Repeat("x", 1000)})
	f := wantFault(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, no)
	if f.Metadata["field"] != "name" || len(f.Violations) != 1 || f.Violations[0].Field != "name" || f.Violations[0].Why == "" {
		t.Errorf("got %v %v", f.Metadata, f.Violations)
	}
	_, err = client.CreatePayment(callContext(t), &ledgerv1.CreatePaymentRequest{Message: make([]byte, 4096)})
	f = wantFault(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, no)
	if len(f.Violations) < 2 {
		t.Errorf("not every violation: %v", f.Violations)
	}
	stream, err := client.WatchPayment(callContext(t), &ledgerv1.WatchPaymentRequest{Name: strings.Repeat("x", 1000)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantFault(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, no)
	if reached != 1 {
		t.Errorf("the handler was reached %d times", reached)
	}
}

// At the bound further calls are refused at once, but freezing has places of its own.
func TestInFlight(t *testing.T) {
	ca := newAuthority(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	service := &ledger{get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
		entered <- struct{}{}
		<-leave
		return &ledgerv1.GetPaymentResponse{}, nil
	}}
	address := serve(t, ca, rpc.Config{InFlightMax: 2}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address))
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
			results <- err
		}()
		<-entered
	}
	_, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
	f := wantFault(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, no)
	if f.RetryAfter() == 0 {
		t.Error("it does not say when to come back")
	}
	if _, err := client.Freeze(callContext(t), &ledgerv1.FreezeRequest{}); err != nil {
		t.Errorf("freezing: %v", err)
	}
	close(leave)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	go func() {
		_, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
		results <- err
	}()
	<-entered
	if err := <-results; err != nil {
		t.Errorf("a place that was left: %v", err)
	}
}

// What is not served is refused with a reason, and unknown services look like unknown methods.
func TestUnknownMethod(t *testing.T) {
	ca := newAuthority(t)
	address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, &ledger{}) })
	conn := asGateway(t, ca, address)
	for _, method := range []string{"/halfkey.ledger.v1.LedgerService/PayAnyone", "/x/Y", "/halfkey.cosigner.v1.CosignerService/Release"} {
		err := call(t, conn, method, false)
		if got := fault.ReasonOf(err); got != typev1.Reason_REASON_PERMISSION_DENIED {
			t.Errorf("%s: got %v", method, err)
		}
		if len(status.Convert(err).Details()) == 0 {
			t.Errorf("%s: no ErrorInfo", method)
		}
	}
}

// One network address gets its quota and no more, whoever calls from it; freezing goes past it.
func TestSources(t *testing.T) {
	ca := newAuthority(t)
	service := &ledger{get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
		return &ledgerv1.GetPaymentResponse{}, nil
	}}
	address := serve(t, ca, rpc.Config{Sources: quota.New(quota.Limits{PerSecond: 1e-9, Burst: 2})}, func(r grpc.ServiceRegistrar) {
		ledgerv1.RegisterLedgerServiceServer(r, service)
	})
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address))
	for range 2 {
		if _, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	another := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address))
	_, err := another.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
	if f := wantFault(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, no); f.Code != codes.ResourceExhausted || f.RetryAfter() == 0 {
		t.Errorf("%v, to come back after %v", f.Code, f.RetryAfter())
	}
	stream, err := another.WatchPayment(callContext(t), &ledgerv1.WatchPaymentRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	wantFault(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, no)
	if _, err := another.Freeze(callContext(t), &ledgerv1.FreezeRequest{}); err != nil {
		t.Errorf("freezing: %v", err)
	}
}
