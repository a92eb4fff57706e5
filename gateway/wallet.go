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

// CreateOwner makes the first owner by the bootstrap code, or a further one by an invitation.
func (s *Service) CreateOwner(ctx context.Context, req *gatewayv1.CreateOwnerRequest) (*typev1.Owner, error) {
	resp, err := s.identity.CreateOwner(ctx,
		&identityv1.CreateOwnerRequest{Registration: req.GetRegistration(), Invitation: req.GetInvitation()})
	return resp.GetOwner(), err
}

// SetOwnerKeys changes the keys that authenticate an owner. Those that sign for its wallets are their guard rails'.
func (s *Service) SetOwnerKeys(ctx context.Context, req *gatewayv1.SetOwnerKeysRequest) (*typev1.Owner, error) {
	resp, err := s.identity.SetOwnerKeys(ctx, &identityv1.SetOwnerKeysRequest{OwnerKeys: req.GetOwnerKeys()})
	return resp.GetOwner(), err
}

// StartRegistration begins key generation: identity takes a place for it, then the co-signer makes its static key.
func (s *Service) StartRegistration(
	ctx context.Context, req *gatewayv1.StartRegistrationRequest,
) (*gatewayv1.StartRegistrationResponse, error) {
	s.endExpired(ctx)
	_, err := s.identity.CreateRegistration(ctx, &identityv1.CreateRegistrationRequest{
		Start: req.GetStart(), DisplayName: req.GetDisplayName(), Source: source(ctx), Enrolment: req.GetEnrolment(),
	})
	if err != nil {
		return nil, err
	}
	resp, err := s.cosigner.StartKeyGeneration(ctx, &cosignerv1.StartKeyGenerationRequest{Start: req.GetStart()})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.StartRegistrationResponse{Answer: resp.GetAnswer(), Round1: resp.GetRound1()}, nil
}

// ExchangeRegistration is key generation's second step.
func (s *Service) ExchangeRegistration(
	ctx context.Context, req *gatewayv1.ExchangeRegistrationRequest,
) (*gatewayv1.ExchangeRegistrationResponse, error) {
	resp, err := s.cosigner.ExchangeKeyGeneration(ctx, &cosignerv1.ExchangeKeyGenerationRequest{
		Wallet: req.GetWallet(), Run: req.GetRun(), Round1: req.GetRound1(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ExchangeRegistrationResponse{Certificate: resp.GetCertificate()}, nil
}

// ConfirmRegistration is key generation's third step.
func (s *Service) ConfirmRegistration(
	ctx context.Context, req *gatewayv1.ConfirmRegistrationRequest,
) (*gatewayv1.ConfirmRegistrationResponse, error) {
	resp, err := s.cosigner.ConfirmKeyGeneration(ctx, &cosignerv1.ConfirmKeyGenerationRequest{
		Wallet: req.GetWallet(), Run: req.GetRun(), Certificate: req.GetCertificate(), Commitment: req.GetCommitment(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ConfirmRegistrationResponse{Release: resp.GetRelease()}, nil
}

// CompleteRegistration makes the wallet UNCLAIMED: with the co-signer first, so that the directory never shows a
// wallet whose test signature was not verified.
func (s *Service) CompleteRegistration(ctx context.Context, req *gatewayv1.CompleteRegistrationRequest) (*typev1.Wallet, error) {
	_, err := s.cosigner.CompleteKeyGeneration(ctx, &cosignerv1.CompleteKeyGenerationRequest{
		Wallet: req.GetWallet(), Run: req.GetRun(), Registration: req.GetRegistration(), Signature: req.GetSignature(),
	})
	if err != nil {
		return nil, err
	}
	resp, err := s.identity.CompleteRegistration(ctx, &identityv1.CompleteRegistrationRequest{Registration: req.GetRegistration()})
	return resp.GetWallet(), err
}

// GetClaim answers with the wallet of a claim code.
func (s *Service) GetClaim(ctx context.Context, req *gatewayv1.GetClaimRequest) (*gatewayv1.GetClaimResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetClaim_FullMethodName, req.GetOwner()); err != nil {
		return nil, err
	}
	s.endExpired(ctx)
	resp, err := s.identity.GetClaim(ctx, &identityv1.GetClaimRequest{Code: req.GetCode()})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.GetClaimResponse{Wallet: resp.GetWallet(), OwnerEmail: resp.GetOwnerEmail()}, nil
}

// ClaimWallet carries guard rails number 0 through all that hold the wallet, the co-signer first: its sealing
// transaction decides the claim. A repeat continues from any step.
func (s *Service) ClaimWallet(ctx context.Context, req *gatewayv1.ClaimWalletRequest) (*typev1.Wallet, error) {
	var claim typev1.GuardRails
	if err := evidence.Peek(req.GetGuardRails(), &claim); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	found, err := s.identity.GetWallet(ctx, &identityv1.GetWalletRequest{Name: claim.GetWallet()})
	if err != nil {
		return nil, err
	}
	registration := found.GetWallet().GetRegistration()
	if registration == nil {
		return nil, fault.New(typev1.Reason_REASON_NOT_ACTIVE, typev1.MoneyMoved_MONEY_MOVED_NO,
			"the wallet's key generation has not ended: let the agent finish registering")
	}

	sealed, err := s.cosigner.SealWallet(ctx, &cosignerv1.SealWalletRequest{Registration: registration, GuardRails: req.GetGuardRails()})
	if err != nil {
		return nil, err
	}
	documents := &typev1.WalletDocuments{
		Registration: registration, Record: sealed.GetRecord(), GuardRails: []*typev1.Envelope{req.GetGuardRails()},
	}
	return s.open(ctx, documents)
}

// open brings a sealed wallet's documents to everyone who pins them: policy, ledger, then identity.
func (s *Service) open(ctx context.Context, documents *typev1.WalletDocuments) (*typev1.Wallet, error) {
	if _, err := s.policy.OpenWallet(ctx, &policyv1.OpenWalletRequest{Documents: documents}); err != nil {
		return nil, err
	}
	if _, err := s.ledger.OpenAccount(ctx, &ledgerv1.OpenAccountRequest{Documents: documents}); err != nil {
		return nil, err
	}
	resp, err := s.identity.ActivateWallet(ctx, &identityv1.ActivateWalletRequest{Documents: documents})
	return resp.GetWallet(), err
}

// expiredPage is how many registrations one call ends on its way: enough to keep up, too few to be felt.
const expiredPage = 4

// endExpired ends registrations past their 24 hours. The co-signer decides each in one transaction; identity follows
// its signed answer. An error here is another call's to meet: this one goes on.
func (s *Service) endExpired(ctx context.Context) {
	if err := s.EndExpired(ctx, expiredPage); err != nil {
		s.logger.WarnContext(ctx, "ending expired registrations", "error", fault.Of(err).Message)
	}
}

// EndExpired ends up to n registrations that nobody claimed in time. One that cannot be ended keeps no other from it; the
// first error is returned.
func (s *Service) EndExpired(ctx context.Context, n int32) error {
	expired, err := s.identity.ListExpired(ctx, &identityv1.ListExpiredRequest{PageSize: n})
	if err != nil {
		return err
	}
	var first error
	for _, wallet := range expired.GetWallets() {
		if err := s.endOne(ctx, wallet); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// endOne ends one registration: the co-signer decides, identity follows its signed answer.
func (s *Service) endOne(ctx context.Context, wallet string) error {
	ended, err := s.cosigner.EndRegistration(ctx, &cosignerv1.EndRegistrationRequest{Wallet: wallet})
	if err != nil {
		return err
	}
	if ended.GetRecord() != nil { // Claimed first: identity missed it, and is led forward.
		return s.converge(ctx, wallet)
	}
	_, err = s.identity.EndRegistration(ctx, &identityv1.EndRegistrationRequest{End: ended.GetEnd()})
	return err
}

// GetWallet answers with a directory entry. Any authenticated caller may look one up: whom one pays is no secret of
// the installation, and the client verifies the record's signature itself.
func (s *Service) GetWallet(ctx context.Context, req *gatewayv1.GetWalletRequest) (*typev1.Wallet, error) {
	resource, err := callerNamed(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetWallet_FullMethodName, resource); err != nil {
		return nil, err
	}
	resp, err := s.identity.GetWallet(ctx, &identityv1.GetWalletRequest{Name: req.GetName()})
	if err != nil {
		return nil, err
	}
	w := resp.GetWallet()
	w.Record, err = s.renewed(ctx, w.GetName(), w.GetRecord())
	return w, err
}

// callerNamed reads whom the token names as its caller; identity decides whether that is true.
func callerNamed(ctx context.Context) (string, error) {
	token, err := tokenOf(ctx)
	if err != nil {
		return "", err
	}
	var t typev1.Token
	if err := evidence.Peek(token, &t); err != nil {
		return "", unauthenticated("the token does not decode")
	}
	return t.GetCaller(), nil
}

// ListWallets lists an owner's wallets.
func (s *Service) ListWallets(ctx context.Context, req *gatewayv1.ListWalletsRequest) (*gatewayv1.ListWalletsResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_ListWallets_FullMethodName, req.GetOwner()); err != nil {
		return nil, err
	}
	resp, err := s.identity.ListWallets(ctx, &identityv1.ListWalletsRequest{
		Owner: req.GetOwner(), PageSize: req.GetPageSize(), PageToken: req.GetPageToken(),
	})
	if err != nil {
		return nil, err
	}
	for _, w := range resp.GetWallets() {
		if w.Record, err = s.renewed(ctx, w.GetName(), w.GetRecord()); err != nil {
			return nil, err
		}
	}
	return &gatewayv1.ListWalletsResponse{Wallets: resp.GetWallets(), NextPageToken: resp.GetNextPageToken()}, nil
}

// GetAccount answers with balances, the ledger's time and its signed head.
func (s *Service) GetAccount(ctx context.Context, req *gatewayv1.GetAccountRequest) (*gatewayv1.GetAccountResponse, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_GetAccount_FullMethodName, req.GetWallet()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.GetAccount(ctx, &ledgerv1.GetAccountRequest{Wallet: req.GetWallet()})
	return account(resp), err
}

func account(a *ledgerv1.GetAccountResponse) *gatewayv1.GetAccountResponse {
	return &gatewayv1.GetAccountResponse{
		Balances: a.GetBalances(), Frozen: a.GetFrozen(), LedgerTime: a.GetLedgerTime(), Head: a.GetHead(),
	}
}
