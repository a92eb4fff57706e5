package policy

import (
	"context"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/guardrails"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Judge decodes the message, compares it with what the agent asked for, judges it and signs the verdict.
func (s *Service) Judge(ctx context.Context, req *policyv1.JudgeRequest) (*policyv1.JudgeResponse, error) {
	var peeked typev1.Request
	if err := evidence.Peek(req.GetRequest(), &peeked); err != nil {
		return nil, fault.Wrap(err, no)
	}
	h, err := s.wallet(ctx, peeked.GetWallet())
	if err != nil {
		return nil, err
	}
	if h.head.Document.GetNumber() == 0 {
		return nil, fault.New(typev1.Reason_REASON_NO_GUARD_RAILS, no, "the wallet has no guard rails that allow payments")
	}
	verdict, err := s.judge(req, h)
	if err != nil {
		return nil, fault.Wrap(err, no)
	}
	if req.GetValidateOnly() {
		payload, err := evidence.Marshal(verdict)
		if err != nil {
			return nil, fault.Wrap(err, no)
		}
		return &policyv1.JudgeResponse{Verdict: &typev1.Envelope{PayloadType: evidence.TypeVerdict, Payload: payload}}, nil
	}
	signed, err := evidence.Sign(s.key, verdict)
	if err != nil {
		return nil, fault.Caused(err, typev1.Reason_REASON_INTERNAL, no, "policy could not sign its verdict")
	}
	return &policyv1.JudgeResponse{Verdict: signed}, nil
}

func (s *Service) judge(req *policyv1.JudgeRequest, h *held) (*typev1.Verdict, error) {
	a, err := evidence.CheckRequest(s.installation, req.GetRequest(), h.head.Document.GetRequestKey())
	if err != nil {
		return nil, err
	}
	m, err := evidence.CheckMessage(req.GetMessage(), a, h.groupKey)
	if err != nil {
		return nil, err
	}
	now := s.clock()
	j := guardrails.Judge(h.head.Document, guardrails.Facts{
		Rail: a.Intent.GetRail(), Asset: m.Asset, Units: m.Units, Recipient: m.Recipient,
	}, now)
	v := &typev1.Verdict{
		Installation: s.installation.ID(), Wallet: a.Request.GetWallet(), Payment: a.Request.GetPayment(),
		IntentDigest: a.IntentDigest.Bytes(), MessageDigest: a.MessageDigest.Bytes(), GuardRailsDigest: h.head.Digest.Bytes(),
		Light: j.Light, Results: j.Results, TimeMillis: now.UnixMilli(), ExpiryMillis: now.Add(evidence.EvidenceLife).UnixMilli(),
	}
	if req.GetReview() == nil {
		return v, nil
	}
	r, err := evidence.CheckReview(s.installation, h.head, req.GetReview(), a.IntentDigest, a.Request.GetPayment())
	if err != nil {
		return nil, err
	}
	if r.GetAnswer() == typev1.Answer_ANSWER_APPROVE && j.Light == typev1.Light_LIGHT_YELLOW {
		v.ReviewDigest = evidence.EnvelopeDigest(req.GetReview()).Bytes()
	}
	return v, nil
}
