package gateway

import (
	"context"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// SetGuardRails brings a document to everyone who holds the head: policy, ledger, co-signer, then identity. While they
// differ nothing is released. A repeat carries it through from any step.
func (s *Service) SetGuardRails(ctx context.Context, req *gatewayv1.SetGuardRailsRequest) (*gatewayv1.SetGuardRailsResponse, error) {
	var document typev1.GuardRails
	if err := evidence.Peek(req.GetGuardRails(), &document); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	var resp *gatewayv1.SetGuardRailsResponse
	err := s.withRepair(ctx, document.GetWallet(), func() (err error) {
		resp, err = s.setGuardRails(ctx, req.GetGuardRails())
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (s *Service) setGuardRails(ctx context.Context, document *typev1.Envelope) (*gatewayv1.SetGuardRailsResponse, error) {
	inPolicy, err := s.policy.SetGuardRails(ctx, &policyv1.SetGuardRailsRequest{GuardRails: document})
	if err != nil {
		return nil, err
	}
	inLedger, err := s.ledger.SetGuardRails(ctx, &ledgerv1.SetGuardRailsRequest{GuardRails: document})
	if err != nil {
		return nil, err
	}
	inCosigner, err := s.cosigner.SetGuardRails(ctx, &cosignerv1.SetGuardRailsRequest{GuardRails: document})
	if err != nil {
		return nil, err
	}
	if _, err := s.identity.SetGuardRails(ctx, &identityv1.SetGuardRailsRequest{GuardRails: document}); err != nil {
		return nil, err
	}
	return &gatewayv1.SetGuardRailsResponse{Acknowledgements: []*typev1.Envelope{
		inPolicy.GetAcknowledgement(), inLedger.GetAcknowledgement(), inCosigner.GetAcknowledgement(),
	}}, nil
}

// GetGuardRails answers with versions of a wallet's guard rails, from policy, which gets each new one first.
func (s *Service) GetGuardRails(ctx context.Context, req *gatewayv1.GetGuardRailsRequest) (*gatewayv1.GetGuardRailsResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetGuardRails_FullMethodName, req.GetWallet()); err != nil {
		return nil, err
	}
	read := func() (*policyv1.GetDocumentsResponse, error) {
		return s.policy.GetDocuments(ctx, &policyv1.GetDocumentsRequest{
			Wallet: req.GetWallet(), FromNumber: req.GetFromNumber(), PageSize: req.GetPageSize(),
		})
	}
	resp, err := read()
	// Who asks from a version on has seen it: policy was put back to an older copy, and the ledger may have what it lacks.
	if err == nil && resp.GetHeadNumber() < req.GetFromNumber() && s.repair(ctx, req.GetWallet()) {
		resp, err = read()
	}
	if err != nil {
		return nil, err
	}
	documents := resp.GetDocuments()
	if documents.GetRecord() != nil {
		if documents.Record, err = s.renewed(ctx, req.GetWallet(), documents.GetRecord()); err != nil {
			return nil, err
		}
	}
	return &gatewayv1.GetGuardRailsResponse{Documents: documents, HeadNumber: resp.GetHeadNumber()}, nil
}
