package gateway

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// watchLife is how long one stream lasts: as long as a token may live.
const watchLife = evidence.TokenLife

// WatchPayment streams a payment now and on each change until it has ended.
func (s *Service) WatchPayment(req *gatewayv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[typev1.Payment]) error {
	const method = gatewayv1.GatewayService_WatchPayment_FullMethodName
	ctx, cancel := context.WithTimeout(stream.Context(), s.watchLife)
	defer cancel()
	wallet, _, err := resource.ParsePayment(req.GetName())
	if err != nil {
		return fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	if _, err := s.caller(ctx, method, wallet); err != nil {
		return err
	}
	watch, err := s.ledger.WatchPayment(ctx, &ledgerv1.WatchPaymentRequest{Name: req.GetName()})
	if err != nil {
		return err
	}
	return show(ctx, stream, watch, s.still(ctx, method, wallet), (*ledgerv1.WatchPaymentResponse).GetPayment)
}

// WatchPayments streams the changes of a wallet's or an owner's payments.
func (s *Service) WatchPayments(
	req *gatewayv1.WatchPaymentsRequest, stream grpc.ServerStreamingServer[gatewayv1.WatchPaymentsResponse],
) error {
	const method = gatewayv1.GatewayService_WatchPayments_FullMethodName
	ctx, cancel := context.WithTimeout(stream.Context(), s.watchLife)
	defer cancel()
	if _, err := s.caller(ctx, method, req.GetParent()); err != nil {
		return err
	}
	watch, err := s.ledger.WatchPayments(ctx, &ledgerv1.WatchPaymentsRequest{
		Parent: req.GetParent(), ResumeToken: req.GetResumeToken(), Incoming: req.GetIncoming(),
	})
	if err != nil {
		return err
	}
	change := func(resp *ledgerv1.WatchPaymentsResponse) *gatewayv1.WatchPaymentsResponse {
		return &gatewayv1.WatchPaymentsResponse{Payment: resp.GetPayment(), ResumeToken: resp.GetResumeToken()}
	}
	return show(ctx, stream, watch, s.still(ctx, method, req.GetParent()), change)
}

// still asks identity again whether the caller of a stream may see what it is about: who was revoked meanwhile, or has another key
// now, sees nothing more, though the token was good when it came.
func (s *Service) still(ctx context.Context, method, resource string) func() error {
	return func() error {
		_, err := s.authenticated(ctx, method, resource)
		return err
	}
}

// show hands on what a service streams, as long as ctx lasts and the caller may see it. A stream whose time or whose token's time is
// over ends as one that is complete: nothing is wrong, and whoever comes back with a new token is told, or refused.
func show[From, To any](
	ctx context.Context, to grpc.ServerStreamingServer[To], from grpc.ServerStreamingClient[From], still func() error, shown func(*From) *To,
) error {
	over := func(err error) bool {
		return to.Context().Err() == nil && (ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded) // A service sees it first.
	}
	for {
		resp, err := from.Recv()
		if errors.Is(err, io.EOF) || err != nil && over(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := still(); err != nil {
			if over(err) || fault.ReasonOf(err) == typev1.Reason_REASON_UNAUTHENTICATED {
				return nil
			}
			return err
		}
		if err := to.Send(shown(resp)); err != nil {
			return err
		}
	}
}
