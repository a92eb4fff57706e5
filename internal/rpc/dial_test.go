package rpc_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The service config gives every stream of the contracts no timeout, and everything else one.
func TestServiceConfig(t *testing.T) {
	var config struct {
		MethodConfig []struct {
			Name    []struct{ Service, Method string }
			Timeout string
		}
	}
	if err := json.Unmarshal([]byte(rpc.ServiceConfig), &config); err != nil {
		t.Fatal(err)
	}
	timeouts := make(map[string]string)
	for _, m := range config.MethodConfig {
		for _, name := range m.Name {
			timeouts[name.Service+"/"+name.Method] = m.Timeout
		}
	}
	if timeouts["/"] == "" {
		t.Error("no timeout by default")
	}
	named := 0
	for _, file := range []protoreflect.FileDescriptor{
		gatewayv1.File_halfkey_gateway_v1_gateway_proto, identityv1.File_halfkey_identity_v1_identity_proto,
		policyv1.File_halfkey_policy_v1_policy_proto, ledgerv1.File_halfkey_ledger_v1_ledger_proto,
		cosignerv1.File_halfkey_cosigner_v1_cosigner_proto, grpc_health_v1.File_grpc_health_v1_health_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				name := string(service.FullName()) + "/" + string(m.Name())
				timeout, ok := timeouts[name]
				if m.IsStreamingServer() != ok || ok && timeout != "" {
					t.Errorf("%s: a stream is %v, named is %v, timeout %q", name, m.IsStreamingServer(), ok, timeout)
				}
				if ok {
					named++
				}
			}
		}
	}
	if named != len(timeouts)-1 {
		t.Errorf("%d of %d names are methods", named, len(timeouts)-1)
	}
}

// UNAVAILABLE, and nothing else, is tried three times.
func TestRetry(t *testing.T) {
	ca := newAuthority(t)
	var answer error
	var calls atomic.Int32
	fails := int32(99)
	service := &ledger{create: func(context.Context, *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
		if calls.Add(1) <= fails {
			return nil, answer
		}
		return &ledgerv1.CreatePaymentResponse{}, nil
	}}
	address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address))
	for _, tt := range []struct {
		name   string
		answer error
		fails  int32
		calls  int32
		reason typev1.Reason // unspecified: it succeeds
		moved  typev1.MoneyMoved
	}{
		{"unavailable twice", status.Error(codes.Unavailable, "x"), 2, 3, 0, 0},
		{"unavailable for good", status.Error(codes.Unavailable, "x"), 99, 3, typev1.Reason_REASON_UNAVAILABLE, unknown},
		{"a lost race", fault.New(typev1.Reason_REASON_ABORTED, no, "m"), 99, 1, typev1.Reason_REASON_ABORTED, no},
		{"a defect", io.ErrUnexpectedEOF, 99, 1, typev1.Reason_REASON_INTERNAL, unknown},
		{"out of time", context.DeadlineExceeded, 99, 1, typev1.Reason_REASON_UNAVAILABLE, unknown},
		{"refused", fault.New(typev1.Reason_REASON_FROZEN, no, "m"), 99, 1, typev1.Reason_REASON_FROZEN, no},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, fails = tt.answer, tt.fails
			calls.Store(0)
			_, err := client.CreatePayment(callContext(t), &ledgerv1.CreatePaymentRequest{})
			if tt.reason == 0 && err != nil {
				t.Errorf("got %v", err)
			}
			if tt.reason != 0 {
				wantFault(t, err, tt.reason, tt.moved)
			}
			if got := calls.Load(); got != tt.calls {
				t.Errorf("called %d times, want %d", got, tt.calls)
			}
		})
	}
}

// A call whose first attempt may have paid, and whose second is refused at the door, does not say that nothing moved.
func TestRefusedAfterAnAttempt(t *testing.T) {
	ca := newAuthority(t)
	var checks atomic.Int32
	refuseRepeats := func(m proto.Message) error {
		if _, ok := m.(*grpc_health_v1.HealthCheckRequest); !ok && checks.Add(1) > 1 {
			return fault.New(typev1.Reason_REASON_LIMIT_EXCEEDED, no, "too many calls at once")
		}
		return nil
	}
	lost := status.Error(codes.Unavailable, "the connection broke after the payment was recorded")
	service := &ledger{
		create: func(context.Context, *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
			return nil, lost
		},
		get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
			return nil, lost
		},
	}
	address := serve(t, ca, rpc.Config{Validate: refuseRepeats},
		func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, address))

	_, err := client.CreatePayment(callContext(t), &ledgerv1.CreatePaymentRequest{})
	wantFault(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, unknown)
	if got := checks.Load(); got != 2 {
		t.Errorf("%d attempts", got)
	}
	checks.Store(0)
	_, err = client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
	wantFault(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, no)
	// A handler that has looked at its records knows more than the attempt that broke.
	checks.Store(-1)
	service.create = func(context.Context, *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
		if checks.Load() == 0 {
			return nil, lost
		}
		return nil, fault.New(typev1.Reason_REASON_INSUFFICIENT_FUNDS, no, "m")
	}
	_, err = client.CreatePayment(callContext(t), &ledgerv1.CreatePaymentRequest{})
	wantFault(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, no)
	if got := checks.Load(); got != 1 {
		t.Errorf("%d attempts", got+1)
	}
	// Refused at the first attempt: nothing can have moved.
	checks.Store(1)
	_, err = client.CreatePayment(callContext(t), &ledgerv1.CreatePaymentRequest{})
	wantFault(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, no)
}

// Where nobody answers, the error leaves money open, and our own context's end is told as such.
func TestNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, newAuthority(t), address))
	_, err = client.CreatePayment(callContext(t), &ledgerv1.CreatePaymentRequest{})
	if f := fault.Of(err); f == nil || f.Reason != typev1.Reason_REASON_UNAVAILABLE || f.MoneyMoved != unknown || f.Code != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.CreatePayment(ended, &ledgerv1.CreatePaymentRequest{})
	if f := fault.Of(err); f == nil || f.Code != codes.Canceled || f.MoneyMoved != unknown {
		t.Errorf("canceled: got %v", err)
	}
}

// Calls go round the replicas, past one that is draining.
func TestReplicas(t *testing.T) {
	ca := newAuthority(t)
	var hits [2]atomic.Int32
	var addresses []string
	for i := range hits {
		service := &ledger{get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
			hits[i].Add(1)
			if i == 0 {
				return nil, status.Error(codes.Unavailable, "starting")
			}
			return &ledgerv1.GetPaymentResponse{}, nil
		}}
		address := serve(t, ca, rpc.Config{}, func(r grpc.ServiceRegistrar) { ledgerv1.RegisterLedgerServiceServer(r, service) })
		addresses = append(addresses, address)
	}
	conn, err := rpc.Dial(rpc.DialConfig{
		Target: strings.Join(addresses, ","), Service: authz.Ledger, Credentials: credentialsOf(t, ca, authz.Gateway),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := ledgerv1.NewLedgerServiceClient(conn)
	// The two connect at their own pace: until the one that answers is there, every attempt may meet the other.
	ctx := callContext(t)
	for hits[1].Load() == 0 && ctx.Err() == nil {
		_, _ = client.GetPayment(ctx, &ledgerv1.GetPaymentRequest{})
	}
	hits[0].Store(0)
	hits[1].Store(0)
	calls := 0
	for ; calls < 20 || hits[0].Load() == 0; calls++ {
		if _, err := client.GetPayment(ctx, &ledgerv1.GetPaymentRequest{}); err != nil {
			t.Fatalf("one of two replicas answers: %v", err)
		}
	}
	if got := int(hits[1].Load()); got != calls {
		t.Errorf("%d of %d calls were answered by the replica that can", got, calls)
	}
}

// A listener closes what comes beyond its bound, and has room again when somebody leaves.
func TestLimitListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := rpc.NewLimitListener(inner, 1)
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	connect := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := connect()
	defer first.Close()
	held := <-accepted

	second := connect()
	defer second.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("beyond the bound somebody answers")
	}
	// Leaving twice frees one place.
	held.Close()
	held.Close()
	third := connect()
	defer third.Close()
	again := <-accepted
	defer again.Close()
	fourth := connect()
	defer fourth.Close()
	if _, err := fourth.Read(make([]byte, 1)); err == nil {
		t.Error("closing twice made two places")
	}
}
