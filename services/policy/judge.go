package policy

import (
	"context"
	"slices"
	"time"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Judge decodes the message, compares it with what the agent asked for, judges it and signs the verdict.
func (s *Service) Judge(ctx context.Context, req *policyv1.JudgeRequest) (*policyv1.JudgeResponse, error) {
	verdict, err := s.verdict(ctx, req)
	s.instruments.judged(ctx, req, verdict, err)
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

// verdict reads the wallet and judges.
func (s *Service) verdict(ctx context.Context, req *policyv1.JudgeRequest) (*typev1.Verdict, error) {
	var peeked typev1.Request
	if err := evidence.Peek(req.GetRequest(), &peeked); err != nil {
		return nil, err
	}
	h, _, err := s.wallet(ctx, peeked.GetWallet())
	if err != nil {
		return nil, err
	}
	if h.head.Document.GetNumber() == 0 {
		return nil, fault.New(typev1.Reason_REASON_NO_GUARD_RAILS, no, "the wallet has no guard rails that allow payments")
	}
	_, span := instrument.Within(ctx, s.instruments.tracer, instrument.SpanJudge)
	v, err := s.judge(req, h)
	instrument.End(span, err)
	return v, err
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
	if err := checkTimes(m, a, now, req.GetValidateOnly()); err != nil {
		return nil, err
	}
	j := guardrails.Judge(h.head.Document, a.Facts(m), now)
	v := &typev1.Verdict{
		Installation: s.installation.ID(), Wallet: a.Request.GetWallet(), Payment: a.Request.GetPayment(),
		IntentDigest: a.IntentDigest.Bytes(), MessageDigest: a.MessageDigest.Bytes(), GuardRailsDigest: h.head.Digest.Bytes(),
		Light: j.Light, Results: j.Results, TimeMillis: now.UnixMilli(), ExpiryMillis: now.Add(evidence.EvidenceLife).UnixMilli(),
	}
	approved, err := approves(s.installation, h.head, req.GetReview(), a)
	if err != nil {
		return nil, err
	}
	if approved && j.Light == typev1.Light_LIGHT_YELLOW {
		v.ReviewDigest = evidence.EnvelopeDigest(req.GetReview()).Bytes()
	}
	return v, nil
}

// checkTimes refuses what has plainly expired. Policy's clock is not the ledger's, which decides: the tolerance is for what
// lies between the two. A dry run may show what an old message would have met. A message on Solana ends by its block hash, whose height
// the ledger knows.
func checkTimes(m evidence.Message, a *evidence.Attempt, now time.Time, dryRun bool) error {
	deadline := a.Deadline()
	expiry := time.UnixMilli(m.ExpiryMillis)
	switch {
	case now.After(deadline.Add(evidence.Tolerance)):
		return fault.New(typev1.Reason_REASON_DEADLINE_EXPIRED, no, "the intent's deadline has passed")
	case deadline.Sub(now) > evidence.DeadlineMax+evidence.Tolerance:
		return fault.New(typev1.Reason_REASON_DEADLINE_EXPIRED, no, "the intent's deadline is more than 7 days ahead")
	case dryRun, m.Rail == typev1.Rail_RAIL_SOLANA:
		return nil
	case !now.Before(expiry.Add(evidence.Tolerance)):
		return fault.New(typev1.Reason_REASON_MESSAGE_EXPIRED, no, "the message's expiry has passed")
	case expiry.Sub(now) > book.ExpiryMax+evidence.Tolerance:
		return fault.New(typev1.Reason_REASON_MESSAGE_EXPIRED, no, "the message's expiry is more than 2 minutes ahead")
	}
	return nil
}

// approves verifies a review, if there is one, and says whether it lets a YELLOW payment go. A review that was signed
// well, but under a key that the head no longer names, is as if there were none: the payment waits for a person again. Any
// other flaw is refused, for then somebody has changed something.
func approves(i *evidence.Installation, head *evidence.Head, review *typev1.Envelope, a *evidence.Attempt) (bool, error) {
	if review == nil {
		return false, nil
	}
	signers := evidence.Signers(review)
	known := slices.ContainsFunc(signers, func(key []byte) bool { return evidence.MayUnfreeze(head, key) })
	if !known {
		if _, err := evidence.Open(review, new(typev1.Review), signers...); err != nil {
			return false, err
		}
		return false, nil
	}
	r, err := evidence.CheckReview(i, head, review, a.IntentDigest, a.Request.GetPayment())
	if err != nil {
		return false, err
	}
	if r.GetAnswer() != typev1.Answer_ANSWER_APPROVE {
		return false, fault.New(typev1.Reason_REASON_EVIDENCE_MISMATCH, no, "the review refuses the payment",
			"evidence", "review", "field", "answer")
	}
	return true, nil
}
