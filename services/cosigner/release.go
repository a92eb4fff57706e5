package cosigner

import (
	"context"
	"errors"
	"strings"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Release is the gate. It verifies the six pieces of evidence against what the co-signer holds itself, and answers the
// agent's commitment with the co-signer's own and its share. Repeating it is safe: each call draws nonces of its own, over the
// same bytes. Nothing is stored.
func (s *Service) Release(ctx context.Context, req *cosignerv1.ReleaseRequest) (*cosignerv1.ReleaseResponse, error) {
	released, err := s.verifyAndRelease(ctx, req)
	if err != nil {
		err = refused(err)
		s.instruments.released(ctx, err)
		return nil, err
	}
	s.instruments.released(ctx, nil)
	return &cosignerv1.ReleaseResponse{Release: released.Bytes()}, nil
}

func (s *Service) verifyAndRelease(ctx context.Context, req *cosignerv1.ReleaseRequest) (frost.Release, error) {
	p, verified, err := s.verify(ctx, req)
	if err != nil {
		return frost.Release{}, err
	}
	ctx, span := instrument.Within(ctx, s.instruments.tracer, instrument.SpanShare)
	released, err := s.release(ctx, p, verified)
	instrument.End(span, err)
	return released, err
}

// verify is the gate's judgement: on what the co-signer holds itself, and on nothing that the caller says of it.
func (s *Service) verify(ctx context.Context, req *cosignerv1.ReleaseRequest) (p *pin, v *evidence.Verified, err error) {
	ctx, span := instrument.Within(ctx, s.instruments.tracer, instrument.SpanVerify)
	defer func() { instrument.End(span, err) }()
	routing := new(typev1.Request)
	if err := evidence.Peek(req.GetRequest(), routing); err != nil {
		return nil, nil, err
	}
	if p, err = s.pin(ctx, routing.GetWallet()); err != nil {
		return nil, nil, err
	}
	v, err = evidence.Verify(evidence.Bundle{
		Message: req.GetMessage(),
		Request: req.GetRequest(),
		Verdict: req.GetVerdict(),
		Receipt: req.GetReceipt(),
		Review:  req.GetReview(),
	}, evidence.Pins{
		Installation: s.installation,
		Wallet:       p.wallet,
		GroupKey:     p.groupKey,
		Head:         p.head,
	}, s.clock())
	if err != nil {
		return nil, nil, err
	}
	instrument.Payment(ctx, p.wallet, routing.GetPayment())
	return p, v, nil
}

// release lets the share work once, for the payment that was verified. From its return on the units count as spent: the agent
// can complete the signature at any time.
func (s *Service) release(ctx context.Context, p *pin, v *evidence.Verified) (frost.Release, error) {
	grant, err := v.Take()
	if err != nil {
		return frost.Release{}, err
	}
	// The last thing before the share: what was acknowledged as in force before this read stops it.
	if err := s.checkFree(ctx, p); err != nil {
		return frost.Release{}, err
	}
	share, err := s.share(ctx, p)
	if err != nil {
		return frost.Release{}, err
	}
	defer share.Zero()
	released, err := frost.CoSign(share, grant.Commitment, grant.Message, grant.Context)
	var culprit *frost.CulpritError
	if errors.As(err, &culprit) {
		return frost.Release{}, invalid("request.commitment", "is not two points of prime order")
	}
	return released, err
}

// checkFree reads, linearizably and at one revision, that the head is still the one that was verified against and that no
// freeze stops the wallet.
func (s *Service) checkFree(ctx context.Context, p *pin) error {
	stops, unchanged, err := s.stops(ctx, p.rows(), p.subjects(s)...)
	if err != nil {
		return err
	}
	if !unchanged {
		return refusal(typev1.Reason_REASON_GUARD_RAILS_CHANGED, "what the co-signer holds of the wallet has just changed",
			"evidence", "guard-rails")
	}
	if stop, frozen := stops.find(p.head.Document.GetOwnerKeys()); frozen {
		return refusal(typev1.Reason_REASON_FROZEN, "the wallet is frozen",
			"freeze_id", stop.freeze, "scope", strings.TrimPrefix(stop.scope.String(), "SCOPE_"))
	}
	return nil
}

// share opens the wallet's share; the caller erases it. A wallet that is pinned and whose share is gone or does not open says
// so by a reason of its own: nobody else has that share.
func (s *Service) share(ctx context.Context, p *pin) (*frost.KeyShare, error) {
	cause := errUnopened
	if p.shareRow.exists() {
		share, err := s.sealer.openShare(p.wallet, p.epoch, p.groupKey, p.shareRow.value)
		if err == nil {
			return share, nil
		}
		if !s.sealer.reachable(s.store.sealedRoot) {
			return nil, fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, no, "the co-signer's key-encryption key is not reachable")
		}
		cause = err
	}
	s.logger.ErrorContext(ctx, "key share is lost", "wallet", p.wallet, "epoch", p.epoch, "error", cause)
	return nil, fault.Caused(cause, typev1.Reason_REASON_KEY_LOST, no, "the co-signer no longer has its share of this wallet's key")
}
