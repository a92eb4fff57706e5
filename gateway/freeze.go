package gateway

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Freeze stops a wallet, an owner's wallets or the installation: with ledger and co-signer at once. It is in force
// when both acknowledgements are there; a caller that gets an error repeats the call with the same id.
func (s *Service) Freeze(ctx context.Context, req *gatewayv1.FreezeRequest) (*gatewayv1.FreezeResponse, error) {
	freeze, ok := proto.Clone(req.GetFreeze()).(*typev1.Freeze)
	if !ok {
		return nil, mismatch("freeze")
	}
	subject, err := frozenSubject(freeze)
	if err != nil {
		return nil, err
	}
	caller, err := s.caller(ctx, gatewayv1.GatewayService_Freeze_FullMethodName, subject)
	if err != nil {
		return nil, err
	}
	freeze.Caller = caller.GetName()

	inLedger, inCosigner, err := s.both(
		func() (*typev1.FreezeResult, error) {
			resp, err := s.ledger.Freeze(ctx, &ledgerv1.FreezeRequest{Freeze: freeze})
			return resp.GetResult(), err
		},
		func() (*typev1.FreezeResult, error) {
			resp, err := s.cosigner.Freeze(ctx, &cosignerv1.FreezeRequest{Freeze: freeze})
			return resp.GetResult(), err
		})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.FreezeResponse{
		Acknowledgements:   []*typev1.Envelope{inLedger.GetAcknowledgement(), inCosigner.GetAcknowledgement()},
		UnresolvedPayments: inLedger.GetUnresolvedPayments(),
	}, nil
}

// Revoke ends what an agent's request key may do: ledger and co-signer freeze its wallet by the owner's statement, identity
// refuses the key from then on. It is in force when both acknowledgements are there; a caller that gets an error repeats the call
// with the same statement.
func (s *Service) Revoke(ctx context.Context, req *gatewayv1.RevokeRequest) (*gatewayv1.RevokeResponse, error) {
	var revocation typev1.Revocation
	if err := evidence.Peek(req.GetRevocation(), &revocation); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	var resp *gatewayv1.RevokeResponse
	err := s.withRepair(ctx, revocation.GetWallet(), func() (err error) {
		resp, err = s.revoke(ctx, req.GetRevocation())
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// revoke asks all three at the same time: whichever is reached stops what it can.
func (s *Service) revoke(ctx context.Context, revocation *typev1.Envelope) (*gatewayv1.RevokeResponse, error) {
	var identityErr error
	var wait sync.WaitGroup
	wait.Go(func() {
		_, identityErr = s.identity.Revoke(ctx, &identityv1.RevokeRequest{Revocation: revocation})
	})
	inLedger, inCosigner, err := s.both(
		func() (*typev1.FreezeResult, error) {
			resp, err := s.ledger.Revoke(ctx, &ledgerv1.RevokeRequest{Revocation: revocation})
			return resp.GetResult(), err
		},
		func() (*typev1.FreezeResult, error) {
			resp, err := s.cosigner.Revoke(ctx, &cosignerv1.RevokeRequest{Revocation: revocation})
			return resp.GetResult(), err
		})
	wait.Wait()
	if err != nil {
		return nil, err
	}
	if identityErr != nil {
		return nil, identityErr
	}
	return &gatewayv1.RevokeResponse{
		Acknowledgements:   []*typev1.Envelope{inLedger.GetAcknowledgement(), inCosigner.GetAcknowledgement()},
		UnresolvedPayments: inLedger.GetUnresolvedPayments(),
	}, nil
}

// Unfreeze ends one freeze, by the owner's or operator's statement.
func (s *Service) Unfreeze(ctx context.Context, req *gatewayv1.UnfreezeRequest) (*gatewayv1.UnfreezeResponse, error) {
	inLedger, inCosigner, err := s.both(
		func() (*typev1.FreezeResult, error) {
			resp, err := s.ledger.Unfreeze(ctx, &ledgerv1.UnfreezeRequest{Unfreeze: req.GetUnfreeze()})
			return resp.GetResult(), err
		},
		func() (*typev1.FreezeResult, error) {
			resp, err := s.cosigner.Unfreeze(ctx, &cosignerv1.UnfreezeRequest{Unfreeze: req.GetUnfreeze()})
			return resp.GetResult(), err
		})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.UnfreezeResponse{
		Acknowledgements: []*typev1.Envelope{inLedger.GetAcknowledgement(), inCosigner.GetAcknowledgement()},
	}, nil
}

// ListFreezes lists a wallet's freezes.
func (s *Service) ListFreezes(ctx context.Context, req *gatewayv1.ListFreezesRequest) (*gatewayv1.ListFreezesResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_ListFreezes_FullMethodName, req.GetWallet()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.ListFreezes(ctx, &ledgerv1.ListFreezesRequest{Wallet: req.GetWallet()})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ListFreezesResponse{Freezes: resp.GetFreezes(), Frozen: resp.GetFrozen()}, nil
}

// both asks ledger and co-signer at the same time, so that one which is slow or down never keeps the other from
// stopping, and waits for both. An error of either is the answer: half a freeze already stops, but is not "in force".
func (s *Service) both(ledger, cosigner func() (*typev1.FreezeResult, error)) (inLedger, inCosigner *typev1.FreezeResult, err error) {
	var ledgerErr, cosignerErr error
	var wait sync.WaitGroup
	wait.Go(func() { inLedger, ledgerErr = ledger() })
	inCosigner, cosignerErr = cosigner()
	wait.Wait()
	if ledgerErr != nil {
		return nil, nil, ledgerErr
	}
	return inLedger, inCosigner, cosignerErr
}

// installationResource is the resource that a token for an installation-wide freeze names.
const installationResource = "installation"

// frozenSubject is the resource that a freeze's token must name.
func frozenSubject(f *typev1.Freeze) (string, error) {
	switch {
	case f.GetScope() == typev1.Scope_SCOPE_WALLET && f.GetOwner() == "":
		return f.GetWallet(), nil
	case f.GetScope() == typev1.Scope_SCOPE_OWNER && f.GetWallet() == "":
		return f.GetOwner(), nil
	case f.GetScope() == typev1.Scope_SCOPE_INSTALLATION && f.GetWallet() == "" && f.GetOwner() == "":
		return installationResource, nil
	}
	return "", fault.New(typev1.Reason_REASON_INVALID_ARGUMENT, typev1.MoneyMoved_MONEY_MOVED_NO,
		"a freeze names a wallet, an owner, or neither for the whole installation, as its scope says", "field", "freeze.scope")
}
