package gateway

import (
	"context"

	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ListReviews lists what waits for an owner.
func (s *Service) ListReviews(ctx context.Context, req *gatewayv1.ListReviewsRequest) (*gatewayv1.ListReviewsResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_ListReviews_FullMethodName, req.GetOwner()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.ListReviews(ctx, &ledgerv1.ListReviewsRequest{
		Owner: req.GetOwner(), PageSize: req.GetPageSize(), PageToken: req.GetPageToken(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ListReviewsResponse{Payments: resp.GetPayments(), NextPageToken: resp.GetNextPageToken()}, nil
}

// AnswerReview brings an owner's signed answer to the ledger; policy and co-signer see it with the payment's repeat.
func (s *Service) AnswerReview(ctx context.Context, req *gatewayv1.AnswerReviewRequest) (*typev1.Payment, error) {
	resp, err := s.ledger.AnswerReview(ctx, &ledgerv1.AnswerReviewRequest{Review: req.GetReview()})
	return resp.GetPayment(), err
}
