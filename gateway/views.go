package gateway

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Views are the ledger's answers to whoever may see them: an agent its own wallet, an owner its wallets, one by one or all. The
// parent is the resource that the token names, so identity has said that it is the caller's.

// GetLimits answers with the guard rails in force and how far each limit is used up.
func (s *Service) GetLimits(ctx context.Context, req *gatewayv1.GetLimitsRequest) (*typev1.Limits, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetLimits_FullMethodName, req.GetWallet()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.GetLimits(ctx, &ledgerv1.GetLimitsRequest{Wallet: req.GetWallet()})
	return resp.GetLimits(), err
}

// GetBlockHash hands out a recent block hash of a chain for a wallet's message.
func (s *Service) GetBlockHash(ctx context.Context, req *gatewayv1.GetBlockHashRequest) (*gatewayv1.GetBlockHashResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetBlockHash_FullMethodName, req.GetWallet()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.GetBlockHash(ctx, &ledgerv1.GetBlockHashRequest{Wallet: req.GetWallet(), Network: req.GetNetwork()})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.GetBlockHashResponse{BlockHash: resp.GetBlockHash(), LastValidHeight: resp.GetLastValidHeight()}, nil
}

// ListPayments lists payments of a wallet or of an owner's wallets.
func (s *Service) ListPayments(ctx context.Context, req *gatewayv1.ListPaymentsRequest) (*gatewayv1.ListPaymentsResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_ListPayments_FullMethodName, req.GetParent()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.ListPayments(ctx, &ledgerv1.ListPaymentsRequest{
		Parent: req.GetParent(), PageSize: req.GetPageSize(), PageToken: req.GetPageToken(), Incoming: req.GetIncoming(),
		State: req.GetState(), Recipient: req.GetRecipient(), StartTime: req.GetStartTime(), EndTime: req.GetEndTime(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ListPaymentsResponse{Payments: resp.GetPayments(), NextPageToken: resp.GetNextPageToken()}, nil
}

// GetSpending sums what a wallet or an owner's wallets spent.
func (s *Service) GetSpending(ctx context.Context, req *gatewayv1.GetSpendingRequest) (*gatewayv1.GetSpendingResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetSpending_FullMethodName, req.GetParent()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.GetSpending(ctx, &ledgerv1.GetSpendingRequest{
		Parent: req.GetParent(), StartTime: req.GetStartTime(), EndTime: req.GetEndTime(), TimeZone: req.GetTimeZone(),
		GroupBy: req.GetGroupBy(), PageSize: req.GetPageSize(), PageToken: req.GetPageToken(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.GetSpendingResponse{Rows: resp.GetRows(), NextPageToken: resp.GetNextPageToken()}, nil
}

// GetShadowSummary counts what shadow payments would have met.
func (s *Service) GetShadowSummary(
	ctx context.Context, req *gatewayv1.GetShadowSummaryRequest,
) (*gatewayv1.GetShadowSummaryResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetShadowSummary_FullMethodName, req.GetParent()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.GetShadowSummary(ctx, &ledgerv1.GetShadowSummaryRequest{
		Parent: req.GetParent(), StartTime: req.GetStartTime(), EndTime: req.GetEndTime(), PageSize: req.GetPageSize(), PageToken: req.GetPageToken(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.GetShadowSummaryResponse{
		Rows: resp.GetRows(), NextPageToken: resp.GetNextPageToken(), Enforcement: resp.GetEnforcement(),
	}, nil
}

// watchLife is how long one stream of changes lasts: as long as the token that opened it. Whoever may no longer watch, because its
// key was replaced or its wallet taken over, sees no more after that.
const watchLife = evidence.TokenLife

// WatchPayments streams the changes of a wallet's or an owner's payments.
func (s *Service) WatchPayments(req *gatewayv1.WatchPaymentsRequest, stream grpc.ServerStreamingServer[gatewayv1.WatchPaymentsResponse]) error {
	ctx, cancel := context.WithTimeout(stream.Context(), s.watchLife)
	defer cancel()
	if _, err := s.caller(ctx, gatewayv1.GatewayService_WatchPayments_FullMethodName, req.GetParent()); err != nil {
		return err
	}
	watch, err := s.ledger.WatchPayments(ctx, &ledgerv1.WatchPaymentsRequest{
		Parent: req.GetParent(), ResumeToken: req.GetResumeToken(), Incoming: req.GetIncoming(),
	})
	if err != nil {
		return err
	}
	for {
		resp, err := watch.Recv()
		switch {
		case err != nil && stream.Context().Err() == nil && (ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded):
			return nil // Its life is over, and nothing is wrong; the ledger may see that first.
		case err != nil:
			return endOfStream(err)
		}
		if err := stream.Send(&gatewayv1.WatchPaymentsResponse{Payment: resp.GetPayment(), ResumeToken: resp.GetResumeToken()}); err != nil {
			return err
		}
	}
}
