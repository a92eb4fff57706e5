package gateway

import (
	"context"

	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ReportShadowPayment records what an agent paid by other means. It asks the ledger alone: there the rules without history stand in the
// same signed document as in policy, and nothing follows from the answer that a verdict would have to bear.
func (s *Service) ReportShadowPayment(ctx context.Context, req *gatewayv1.ReportShadowPaymentRequest) (*typev1.ShadowPayment, error) {
	if _, err := s.caller(ctx, gatewayv1.GatewayService_ReportShadowPayment_FullMethodName, req.GetParent()); err != nil {
		return nil, err
	}
	resp, err := s.ledger.ReportShadowPayment(ctx, &ledgerv1.ReportShadowPaymentRequest{
		Parent: req.GetParent(), ShadowPaymentId: req.GetShadowPaymentId(), Asset: req.GetAsset(), Units: req.GetUnits(),
		Method: req.GetMethod(), Scheme: req.GetScheme(), Host: req.GetHost(), Path: req.GetPath(), Recipient: req.GetRecipient(),
	})
	return resp.GetShadowPayment(), err
}
