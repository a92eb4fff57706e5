package gateway

import (
	"context"

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
