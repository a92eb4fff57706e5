package gateway

import (
	"bytes"
	"context"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// CreatePayment is the only paying call. Repeating it is always safe: with the same id and intent it continues where
// the last one stopped, whoever crashed in between.
//
// The agent has done step 1: intent, message and a fresh commitment, under its request key. Steps 6 and 7 are the
// agent's again: it finishes the signature and settles with it.
func (s *Service) CreatePayment(ctx context.Context, req *gatewayv1.CreatePaymentRequest) (*typev1.Payment, error) {
	var request typev1.Request
	if err := evidence.Peek(req.GetRequest(), &request); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	if req.GetParent() != request.GetWallet() {
		return nil, mismatch("parent")
	}
	var payment *typev1.Payment
	err := s.withRepair(ctx, request.GetWallet(), func() (err error) {
		payment, err = s.pay(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return payment, nil
}

// pay runs steps 2 to 5 of a payment once.
func (s *Service) pay(ctx context.Context, req *gatewayv1.CreatePaymentRequest) (*typev1.Payment, error) {
	// 2 identity: whose request is this, and is the agent active?
	authenticated, err := step(ctx, s.tracer, instrument.StepIdentity, s.identity.Authenticate, &identityv1.AuthenticateRequest{
		Request: req.GetRequest(), Method: gatewayv1.GatewayService_CreatePayment_FullMethodName, Resource: req.GetParent(),
	})
	if err == nil {
		err = s.admit(ctx, gatewayv1.GatewayService_CreatePayment_FullMethodName, authenticated.GetCaller())
	}
	if err != nil {
		return nil, err
	}

	// 3 policy: decodes the message, judges it by every rule that needs no history, signs its verdict.
	judged, err := step(ctx, s.tracer, instrument.StepPolicy, s.policy.Judge, &policyv1.JudgeRequest{
		Request: req.GetRequest(), Message: req.GetMessage(), Review: req.GetReview(), ValidateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return s.tooLate(ctx, req, err)
	}

	// 4 ledger: ONE database transaction judges what needs history, takes balance and hold, pins the message and
	// journals it. What it answers is durable.
	recorded, err := step(ctx, s.tracer, instrument.StepLedger, s.ledger.CreatePayment, &ledgerv1.CreatePaymentRequest{
		Request: req.GetRequest(), Message: req.GetMessage(), Verdict: judged.GetVerdict(), Review: req.GetReview(),
		ValidateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err // The ledger says itself whether money moved; when it could not be asked, that is UNKNOWN.
	}
	payment := recorded.GetPayment()
	instrument.Recorded(ctx, payment)
	if payment.GetState() != typev1.PaymentState_PAYMENT_STATE_AUTHORIZED || req.GetValidateOnly() {
		return payment, nil // DENIED, waiting for a person, ended before, or a dry run: nothing to release.
	}

	// 5 cosigner: THE GATE. It verifies all evidence itself and answers with commitment and share in one reply.
	released, err := step(ctx, s.tracer, instrument.StepCosigner, s.cosigner.Release, &cosignerv1.ReleaseRequest{
		Message: req.GetMessage(), Request: req.GetRequest(), Verdict: judged.GetVerdict(),
		Receipt: payment.GetReceipt(), Review: payment.GetReview(),
	})
	if err != nil {
		return nil, s.releaseFailed(err)
	}
	payment.Release = released.GetRelease()
	return payment, nil
}

// tooLate answers a repeat that comes when its message or its intent has expired. Policy judges no such thing and knows of no
// payments, but one that was recorded in time may have settled: whoever asks must not be told to pay under another id.
func (s *Service) tooLate(ctx context.Context, req *gatewayv1.CreatePaymentRequest, refused error) (*typev1.Payment, error) {
	reason := fault.ReasonOf(refused)
	if reason != typev1.Reason_REASON_MESSAGE_EXPIRED && reason != typev1.Reason_REASON_DEADLINE_EXPIRED {
		return nil, refused
	}
	var request typev1.Request
	if err := evidence.Peek(req.GetRequest(), &request); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	found, err := s.ledger.GetPayment(ctx, &ledgerv1.GetPaymentRequest{Name: request.GetPayment()})
	payment := found.GetPayment()
	switch {
	case fault.ReasonOf(err) == typev1.Reason_REASON_NOT_FOUND:
		return nil, refused
	case err != nil:
		return nil, err
	case !bytes.Equal(payment.GetIntent(), request.GetIntent()):
		return nil, refused // It would be refused for that alone.
	}
	switch payment.GetState() {
	case typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW, typev1.PaymentState_PAYMENT_STATE_READY:
		return nil, refused // It holds nothing.
	case typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
		return nil, fault.New(typev1.Reason_REASON_RULES_CHANGED, typev1.MoneyMoved_MONEY_MOVED_UNKNOWN,
			"the authorized payment would no longer pass: its time is over")
	default:
		return payment, nil
	}
}

// releaseFailed says what a failed step 5 means. The ledger has pinned the wallet, so a co-signer that does not know
// it has lost its share: no repair brings that back.
func (s *Service) releaseFailed(err error) error {
	if fault.ReasonOf(err) == typev1.Reason_REASON_NOT_FOUND {
		return fault.New(typev1.Reason_REASON_KEY_LOST, typev1.MoneyMoved_MONEY_MOVED_NO,
			"the co-signer no longer has its share of this wallet's key")
	}
	return err
}

// mismatch refuses a call whose field contradicts the statement it carries.
func mismatch(field string) error {
	return fault.New(typev1.Reason_REASON_INVALID_ARGUMENT, typev1.MoneyMoved_MONEY_MOVED_NO,
		"a field contradicts the statement that the call carries", "field", field)
}

// SettlePayment settles a book payment, and has the ledger send a transfer on Solana. It needs no token: only who holds the
// whole signature can call it, and all it can do is what was signed.
func (s *Service) SettlePayment(ctx context.Context, req *gatewayv1.SettlePaymentRequest) (*typev1.Payment, error) {
	resp, err := s.ledger.SettlePayment(ctx, &ledgerv1.SettlePaymentRequest{Name: req.GetName(), Signature: req.GetSignature()})
	instrument.Recorded(ctx, resp.GetPayment())
	return resp.GetPayment(), err
}

// GetPayment answers with a payment.
func (s *Service) GetPayment(ctx context.Context, req *gatewayv1.GetPaymentRequest) (*typev1.Payment, error) {
	if _, err := s.callerOfPayment(ctx, gatewayv1.GatewayService_GetPayment_FullMethodName, req.GetName()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.GetPayment(ctx, &ledgerv1.GetPaymentRequest{Name: req.GetName()})
	return resp.GetPayment(), err
}

// CancelPayment ends a payment that holds nothing.
func (s *Service) CancelPayment(ctx context.Context, req *gatewayv1.CancelPaymentRequest) (*typev1.Payment, error) {
	caller, err := s.callerOfPayment(ctx, gatewayv1.GatewayService_CancelPayment_FullMethodName, req.GetName())
	if err != nil {
		return nil, err
	}
	resp, err := s.ledger.CancelPayment(ctx, &ledgerv1.CancelPaymentRequest{Name: req.GetName(), Caller: caller})
	return resp.GetPayment(), err
}

// callerOfPayment authenticates a call about a payment: its resource is the payment's wallet.
func (s *Service) callerOfPayment(ctx context.Context, method, name string) (*typev1.Caller, error) {
	wallet, _, err := resource.ParsePayment(name)
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	return s.caller(ctx, method, wallet)
}
