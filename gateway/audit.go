package gateway

import (
	"context"

	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

// ListEntries lists a wallet's journal: encoded entries, for the caller to hash, and the ledger's signed head.
func (s *Service) ListEntries(ctx context.Context, req *gatewayv1.ListEntriesRequest) (*gatewayv1.ListEntriesResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_ListEntries_FullMethodName, req.GetParent()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.ListEntries(ctx, &ledgerv1.ListEntriesRequest{
		Parent: req.GetParent(), FromNumber: req.GetFromNumber(), PageSize: req.GetPageSize(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ListEntriesResponse{Entries: resp.GetEntries(), Head: resp.GetHead()}, nil
}

// ApplyStatement brings an operator's statement to the ledger, which verifies it.
func (s *Service) ApplyStatement(ctx context.Context, req *gatewayv1.ApplyStatementRequest) (*gatewayv1.GetAccountResponse, error) {
	resp, err := s.ledger.ApplyStatement(ctx, &ledgerv1.ApplyStatementRequest{Statement: req.GetStatement()})
	if err != nil {
		return nil, err
	}
	return account(resp.GetAccount()), nil
}
