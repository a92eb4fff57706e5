package ledger

import (
	"context"
	"strconv"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// AnswerReview records an owner's signed answer.
func (s *Service) AnswerReview(ctx context.Context, req *ledgerv1.AnswerReviewRequest) (*ledgerv1.AnswerReviewResponse, error) {
	p, err := s.answerReview(ctx, req.GetReview())
	if err != nil {
		return nil, s.answer(ctx, "AnswerReview", err)
	}
	return &ledgerv1.AnswerReviewResponse{Payment: p}, nil
}

func (s *Service) answerReview(ctx context.Context, e *typev1.Envelope) (*typev1.Payment, error) {
	peeked := new(typev1.Review)
	if err := evidence.Peek(e, peeked); err != nil {
		return nil, err
	}
	key, err := paymentOf(peeked.GetPayment())
	if err != nil {
		return nil, err
	}
	a := &reviewed{key: key, envelope: e}
	err = s.store.look(ctx, func(v *view) error {
		w, _, err := v.pin(ctx, key.wallet)
		if err != nil {
			return err
		}
		p, err := v.payment(ctx, key)
		if err != nil {
			return err
		}
		a.head = w.head.Digest
		a.review, err = evidence.CheckReview(s.installation, w.head, e, evidence.IntentDigest(p.intent), key.name())
		return err
	})
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, &op{
		needs:  needs{payments: []paymentKey{key}, wallets: []string{key.wallet}},
		decide: func(st *state) error { return decideReview(st, a) },
	})
	if err != nil {
		return nil, err
	}
	p, err := s.payment(ctx, key)
	return p, done(err, movedNo)
}

// ListReviews lists payments of an owner's wallets that wait for a person, oldest first.
func (s *Service) ListReviews(ctx context.Context, req *ledgerv1.ListReviewsRequest) (*ledgerv1.ListReviewsResponse, error) {
	resp, err := s.listReviews(ctx, req)
	return resp, s.answer(ctx, "ListReviews", err)
}

func (s *Service) listReviews(ctx context.Context, req *ledgerv1.ListReviewsRequest) (*ledgerv1.ListReviewsResponse, error) {
	if _, err := resource.ParseOwner(req.GetOwner()); err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize(), pageDefault, pageMax)
	if err != nil {
		return nil, err
	}
	var after payment
	if req.GetPageToken() != "" {
		fields, err := readToken(req.GetPageToken(), 3)
		if err != nil {
			return nil, err
		}
		if after.createdMillis, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
			return nil, errToken
		}
		after.wallet, after.id = fields[1], fields[2]
	}
	now := s.clock()
	resp := new(ledgerv1.ListReviewsResponse)
	err = s.store.look(ctx, func(v *view) error {
		page, err := v.payments(ctx, v.store.dialect.readReviews, req.GetOwner(), after.createdMillis, after.wallet, after.id, size+1)
		if err != nil {
			return err
		}
		if len(page) > size {
			page = page[:size]
			last := page[size-1]
			resp.NextPageToken = makeToken(strconv.FormatInt(last.createdMillis, 10), last.wallet, last.id)
		}
		for _, p := range page {
			if p.due(now) {
				continue // Its deadline has passed: the sweep is about to end it, and nobody can answer it any more.
			}
			tip, err := v.tip(ctx, p.wallet)
			if err != nil {
				return err
			}
			out, err := v.show(ctx, p, tip)
			if err != nil {
				return err
			}
			resp.Payments = append(resp.Payments, out)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}
