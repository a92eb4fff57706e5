package gateway

import (
	"context"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// New shares for a wallet's key concern agent, owner and co-signer alone: the gateway carries what they say to each other and
// cannot read it. Policy, ledger and identity know keys, not shares.

// OrderResharing brings the owner's order. One that the co-signer refuses because it lacks the guard rails that the order
// stands on is brought again once they are there.
func (s *Service) OrderResharing(ctx context.Context, req *gatewayv1.OrderResharingRequest) (*gatewayv1.OrderResharingResponse, error) {
	var order typev1.ResharingOrder
	if err := evidence.Peek(req.GetOrder(), &order); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	var resp *cosignerv1.OrderResharingResponse
	err := s.withRepair(ctx, order.GetWallet(), func() (err error) {
		resp, err = s.cosigner.OrderResharing(ctx, &cosignerv1.OrderResharingRequest{Order: req.GetOrder()})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.OrderResharingResponse{Resharing: resp.GetResharing()}, nil
}

// GetResharing answers with a wallet's newest resharing.
func (s *Service) GetResharing(ctx context.Context, req *gatewayv1.GetResharingRequest) (*gatewayv1.GetResharingResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetResharing_FullMethodName, req.GetWallet()); err != nil {
		return nil, err
	}
	resp, err := s.cosigner.GetResharing(ctx, &cosignerv1.GetResharingRequest{Wallet: req.GetWallet()})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.GetResharingResponse{Resharing: resp.GetResharing(), Epoch: resp.GetEpoch()}, nil
}

// StartResharing begins an ordered run.
func (s *Service) StartResharing(ctx context.Context, req *gatewayv1.StartResharingRequest) (*gatewayv1.StartResharingResponse, error) {
	resp, err := s.cosigner.StartResharing(ctx, &cosignerv1.StartResharingRequest{Start: req.GetStart()})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.StartResharingResponse{Answer: resp.GetAnswer(), Dealing: resp.GetDealing()}, nil
}

// ExchangeResharing is the second step.
func (s *Service) ExchangeResharing(
	ctx context.Context, req *gatewayv1.ExchangeResharingRequest,
) (*gatewayv1.ExchangeResharingResponse, error) {
	resp, err := s.cosigner.ExchangeResharing(ctx, &cosignerv1.ExchangeResharingRequest{
		Wallet: req.GetWallet(), Run: req.GetRun(), Dealing: req.GetDealing(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ExchangeResharingResponse{Certificate: resp.GetCertificate()}, nil
}

// ConfirmResharing is the third step.
func (s *Service) ConfirmResharing(
	ctx context.Context, req *gatewayv1.ConfirmResharingRequest,
) (*gatewayv1.ConfirmResharingResponse, error) {
	resp, err := s.cosigner.ConfirmResharing(ctx, &cosignerv1.ConfirmResharingRequest{
		Wallet: req.GetWallet(), Run: req.GetRun(), Certificate: req.GetCertificate(), Commitment: req.GetCommitment(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ConfirmResharingResponse{Release: resp.GetRelease()}, nil
}

// CompleteResharing puts the new shares in force.
func (s *Service) CompleteResharing(
	ctx context.Context, req *gatewayv1.CompleteResharingRequest,
) (*gatewayv1.CompleteResharingResponse, error) {
	resp, err := s.cosigner.CompleteResharing(ctx, &cosignerv1.CompleteResharingRequest{
		Wallet: req.GetWallet(), Run: req.GetRun(), Signature: req.GetSignature(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.CompleteResharingResponse{Resharing: resp.GetResharing()}, nil
}

// ConfirmRecovery brings the owner's word that the recovery share is kept.
func (s *Service) ConfirmRecovery(ctx context.Context, req *gatewayv1.ConfirmRecoveryRequest) (*gatewayv1.ConfirmRecoveryResponse, error) {
	resp, err := s.cosigner.ConfirmRecovery(ctx, &cosignerv1.ConfirmRecoveryRequest{Confirmation: req.GetConfirmation()})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ConfirmRecoveryResponse{Resharing: resp.GetResharing()}, nil
}
