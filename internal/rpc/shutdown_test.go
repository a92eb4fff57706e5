package rpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Health says SERVING for each service until the server drains; calls that run are waited for.
func TestShutdown(t *testing.T) {
	ca := newAuthority(t)
	server, err := rpc.NewServer(rpc.Config{
		Installation: installation, Listener: authz.Internal,
		Credentials: credentialsOf(t, ca, authz.Ledger), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	get := func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
		close(entered)
		<-leave
		return &ledgerv1.GetPaymentResponse{}, nil
	}
	ledgerv1.RegisterLedgerServiceServer(server, &ledger{get: get})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn := asGateway(t, ca, l.Addr().String())

	health := grpc_health_v1.NewHealthClient(conn)
	for _, service := range []string{"", "halfkey.ledger.v1.LedgerService"} {
		resp, err := health.Check(callContext(t), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, resp, err)
		}
	}
	watch, err := health.Watch(callContext(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := watch.Recv(); err != nil || first.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("watch: %v, %v", first, err)
	}

	running := make(chan error, 1)
	go func() {
		_, err := ledgerv1.NewLedgerServiceClient(conn).GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{})
		running <- err
	}()
	<-entered
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		server.Shutdown(ctx)
	}()
	if second, err := watch.Recv(); err != nil || second.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("draining: %v, %v", second, err)
	}
	close(leave)
	if err := <-running; err != nil {
		t.Errorf("the call that ran: %v", err)
	}
	cancel() // Streams that watch do not end by themselves.
	<-ended
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// A server whose clients only watch drains at once: their streams end with UNAVAILABLE, and go on at another replica.
func TestShutdownEndsStreams(t *testing.T) {
	ca := newAuthority(t)
	server, err := rpc.NewServer(rpc.Config{
		Installation: installation, Listener: authz.Internal,
		Credentials: credentialsOf(t, ca, authz.Ledger), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ledgerv1.RegisterLedgerServiceServer(server, &ledger{
		watch: func(_ *ledgerv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error {
			if err := stream.Send(&ledgerv1.WatchPaymentResponse{}); err != nil {
				return err
			}
			<-stream.Context().Done()
			return stream.Context().Err()
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	// Our own connection, which also watches health.
	client := ledgerv1.NewLedgerServiceClient(asGateway(t, ca, l.Addr().String()))
	watch, err := client.WatchPayment(callContext(t), &ledgerv1.WatchPaymentRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	ctx := callContext(t)
	server.Shutdown(ctx)
	if ctx.Err() != nil {
		t.Error("it waited for streams until its time was over")
	}
	_, err = watch.Recv()
	if f := wantFault(t, err, typev1.Reason_REASON_UNAVAILABLE, no); f.Code != codes.Unavailable {
		t.Errorf("code %s, which nobody repeats", f.Code)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}
