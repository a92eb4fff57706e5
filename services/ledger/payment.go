package ledger

import (
	"context"
	"crypto/ed25519"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// CreatePayment records a payment, or renews the receipt of an AUTHORIZED one. Signatures are verified here, against the
// wallet as it is read; the writer decides, and answers GUARD_RAILS_CHANGED if that is no longer the wallet.
func (s *Service) CreatePayment(ctx context.Context, req *ledgerv1.CreatePaymentRequest) (*ledgerv1.CreatePaymentResponse, error) {
	p, err := s.createPayment(ctx, req)
	if err != nil {
		return nil, s.answer(ctx, "CreatePayment", err)
	}
	return &ledgerv1.CreatePaymentResponse{Payment: p}, nil
}

func (s *Service) createPayment(ctx context.Context, req *ledgerv1.CreatePaymentRequest) (*typev1.Payment, error) {
	a, err := s.attempt(ctx, req)
	if err != nil {
		return nil, err
	}
	instrument.Payment(ctx, a.key.wallet, a.key.name())
	var r *recorded
	err = s.write(ctx, a.op(&r))
	if a.chain != nil && a.chain.short == nil && refusedFor(err, typev1.Reason_REASON_INSUFFICIENT_FUNDS) {
		// What came in meanwhile may not have been seen.
		s.freshen(ctx, a.key.wallet, a.decoded.Asset)
		err = s.write(ctx, a.op(&r))
	}
	if err != nil {
		return nil, err
	}
	s.instruments.recorded(ctx, a, r)
	if r.entry == nil || len(r.payment.deadEntries) > 0 && !a.dry {
		out, err := s.payment(ctx, r.payment.key())
		if err == nil {
			err = s.receipt(out, a, r)
		}
		return out, done(err, movedUnknown)
	}
	out := r.payment.show(chain{number: r.entry.number(), hash: r.entry.hash.Bytes(), clockMillis: r.at}, r.at)
	out.Request, out.Verdict = a.request, a.verdictEnvelope
	out.Results = append(a.verdict.GetResults(), r.receipt.results...)
	if a.dry {
		out.Entry, out.EntryHash = 0, nil // Nothing was recorded.
		return out, nil
	}
	return out, done(s.receipt(out, a, r), movedUnknown)
}

// op is the operation that decides about an attempt.
func (a *attempt) op(r **recorded) *op {
	o := &op{
		dry: a.dry,
		needs: needs{
			wallets: []string{a.key.wallet}, payments: []paymentKey{a.key},
			facts: []windowNeed{{a.key.wallet, a.facts()}},
		},
		decide: func(st *state) (err error) {
			*r, err = decidePayment(st, a)
			return err
		},
	}
	if a.chain != nil {
		o.needs.messages = []messageKey{a.messageKey()}
	} else {
		o.needs.keys = [][32]byte{a.decoded.Recipient}
	}
	if number := int64(a.Request.GetSeenEntry()); number > 0 {
		o.needs.hashes = []entryKey{{a.key.wallet, number}}
		o.needs.losses = []lossKey{{a.key.wallet, number, evidence.Digest(a.Request.GetSeenHash())}}
	}
	return o
}

// attempt verifies what can be verified outside the writer.
func (s *Service) attempt(ctx context.Context, req *ledgerv1.CreatePaymentRequest) (*attempt, error) {
	peeked := new(typev1.Request)
	if err := evidence.Peek(req.GetRequest(), peeked); err != nil {
		return nil, err
	}
	key, err := paymentOf(peeked.GetPayment())
	if err != nil {
		return nil, err
	}
	w, row, err := s.pin(ctx, key.wallet)
	if err != nil {
		return nil, err
	}
	now := s.clock()
	if now.UnixMilli() < row-evidence.Tolerance.Milliseconds() {
		return nil, refuseClock(row, now.UnixMilli())
	}
	if w.head.Document.GetNumber() == 0 {
		return nil, refuse(typev1.Reason_REASON_NO_GUARD_RAILS, "the wallet has no guard rails that allow payments")
	}
	a := &attempt{
		key: key, message: req.GetMessage(), request: req.GetRequest(), verdictEnvelope: req.GetVerdict(),
		head: w.head.Digest, dry: req.GetValidateOnly(),
	}
	if a.Attempt, err = evidence.CheckRequest(s.installation, req.GetRequest(), w.head.Document.GetRequestKey()); err != nil {
		return nil, err
	}
	if r := s.checkRail(a.Intent); r != nil {
		return nil, r
	}
	if a.decoded, err = evidence.CheckMessage(req.GetMessage(), a.Attempt, w.groupKey); err != nil {
		return nil, err
	}
	if a.verdict, err = s.verdict(w, a, time.UnixMilli(max(row, now.UnixMilli()))); err != nil {
		return nil, err
	}
	if a.Intent.GetRail() != typev1.Rail_RAIL_BOOK {
		s.chain.look(ctx, a, now, func(err error) {
			s.logger.WarnContext(ctx, "a payer's SOL is not known", "payment", key.name(), "error", err)
		})
	}
	if req.GetReview() == nil {
		return a, nil
	}
	review, err := evidence.CheckReview(s.installation, w.head, req.GetReview(), a.IntentDigest, key.name())
	if err != nil {
		return nil, err
	}
	if review.GetAnswer() != typev1.Answer_ANSWER_APPROVE {
		return nil, refuse(typev1.Reason_REASON_EVIDENCE_MISMATCH, "the review is not an approval", "evidence", "review", "field", "answer")
	}
	a.review = req.GetReview()
	return a, nil
}

// verdict verifies policy's statement. In a dry run it comes without a signature: nothing rests on it.
func (s *Service) verdict(w wallet, a *attempt, now time.Time) (*typev1.Verdict, error) {
	if !a.dry || len(a.verdictEnvelope.GetSignatures()) > 0 {
		return evidence.CheckVerdict(s.installation, a.Attempt, w.head, a.verdictEnvelope, now)
	}
	v := new(typev1.Verdict)
	if a.verdictEnvelope.GetPayloadType() != evidence.TypeVerdict {
		return nil, refuse(typev1.Reason_REASON_BAD_STATEMENT, "a statement does not decode or verify",
			"statement", "verdict", "field", "payload_type")
	}
	if err := evidence.Unmarshal(a.verdictEnvelope.GetPayload(), v); err != nil {
		return nil, err
	}
	switch {
	case v.GetPayment() != a.key.name() || !a.IntentDigest.Is(v.GetIntentDigest()) || !a.MessageDigest.Is(v.GetMessageDigest()):
		return nil, refuse(typev1.Reason_REASON_EVIDENCE_MISMATCH, "a piece of evidence speaks of something else", "evidence", "verdict")
	case !w.head.Digest.Is(v.GetGuardRailsDigest()):
		return nil, errHead
	}
	return v, nil
}

// receipt signs the receipt of an AUTHORIZED payment. What it says is durable.
func (s *Service) receipt(out *typev1.Payment, a *attempt, r *recorded) error {
	if r.entry == nil || r.payment.state != authorized {
		return nil
	}
	receipt := &typev1.Receipt{
		Installation: s.installation.ID(), Wallet: a.key.wallet, Payment: a.key.name(),
		IntentDigest: a.IntentDigest.Bytes(), MessageDigest: a.MessageDigest.Bytes(), RequestDigest: a.RequestDigest.Bytes(),
		VerdictDigest: evidence.EnvelopeDigest(a.verdictEnvelope).Bytes(), GuardRailsDigest: r.head.Bytes(),
		Light: r.receipt.own, Results: r.receipt.results, TimeMillis: r.at, Entry: uint64(r.entry.number()), EntryHash: r.entry.hash.Bytes(),
		LastValidHeight: uint64(r.lastValidHeight),
	}
	if receipt.Light == yellow {
		receipt.ReviewDigest = evidence.EnvelopeDigest(r.receipt.review).Bytes()
	}
	var err error
	out.Receipt, err = s.sign(receipt)
	return err
}

// GetPayment answers with a payment; ends it first when its time has come.
func (s *Service) GetPayment(ctx context.Context, req *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
	p, err := s.getPayment(ctx, req.GetName())
	if err != nil {
		return nil, s.answer(ctx, "GetPayment", err)
	}
	return &ledgerv1.GetPaymentResponse{Payment: p}, nil
}

func (s *Service) getPayment(ctx context.Context, name string) (*typev1.Payment, error) {
	key, err := paymentOf(name)
	if err != nil {
		return nil, err
	}
	if err := s.touch(ctx, key); err != nil {
		return nil, err
	}
	return s.payment(ctx, key)
}

// touch ends a payment whose time has come.
func (s *Service) touch(ctx context.Context, key paymentKey) error {
	var due bool
	err := s.store.look(ctx, func(v *view) error {
		p, err := v.payment(ctx, key)
		due = p.due(s.clock())
		return err
	})
	if err != nil || !due {
		return err
	}
	return s.write(ctx, touchOp(key))
}

func touchOp(keys ...paymentKey) *op {
	return &op{
		needs: needs{payments: keys},
		decide: func(st *state) error {
			for _, k := range keys {
				decideTouch(st, k)
			}
			return nil
		},
	}
}

// payment reads a payment as callers see it.
func (s *Service) payment(ctx context.Context, key paymentKey) (out *typev1.Payment, err error) {
	err = s.store.look(ctx, func(v *view) error {
		p, err := v.payment(ctx, key)
		if err != nil {
			return err
		}
		tip, err := v.tip(ctx, key.wallet)
		if err != nil {
			return err
		}
		out, err = v.show(ctx, p, tip)
		return err
	})
	return out, err
}

// CancelPayment ends a payment that holds nothing.
func (s *Service) CancelPayment(ctx context.Context, req *ledgerv1.CancelPaymentRequest) (*ledgerv1.CancelPaymentResponse, error) {
	p, err := s.cancelPayment(ctx, req)
	if err != nil {
		return nil, s.answer(ctx, "CancelPayment", err)
	}
	return &ledgerv1.CancelPaymentResponse{Payment: p}, nil
}

func (s *Service) cancelPayment(ctx context.Context, req *ledgerv1.CancelPaymentRequest) (*typev1.Payment, error) {
	key, err := paymentOf(req.GetName())
	if err != nil {
		return nil, err
	}
	caller, err := callerName(req.GetCaller().GetName())
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, &op{
		needs:  needs{payments: []paymentKey{key}, wallets: []string{key.wallet}},
		decide: func(st *state) error { return decideCancel(st, key, caller) },
	})
	if err != nil {
		return nil, err
	}
	p, err := s.payment(ctx, key)
	return p, done(err, movedNo)
}

// SettlePayment settles a book payment on the group key's signature over the pinned message.
func (s *Service) SettlePayment(ctx context.Context, req *ledgerv1.SettlePaymentRequest) (*ledgerv1.SettlePaymentResponse, error) {
	p, err := s.settlePayment(ctx, req)
	if err != nil {
		return nil, s.answer(ctx, "SettlePayment", err)
	}
	return &ledgerv1.SettlePaymentResponse{Payment: p}, nil
}

func (s *Service) settlePayment(ctx context.Context, req *ledgerv1.SettlePaymentRequest) (*typev1.Payment, error) {
	key, err := paymentOf(req.GetName())
	if err != nil {
		return nil, err
	}
	if len(req.GetSignature()) != ed25519.SignatureSize {
		return nil, refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "a field is malformed or out of bounds", "field", "signature")
	}
	w, _, err := s.pin(ctx, key.wallet)
	if err != nil {
		return nil, err
	}
	known, remembered := s.recent.get(key)
	p := known.payment
	if !remembered {
		err = s.store.look(ctx, func(v *view) (err error) {
			p, err = v.payment(ctx, key)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	instrument.Payment(ctx, key.wallet, key.name())
	a := &settlement{key: key, signature: req.GetSignature()}
	if p.counted() {
		if !ed25519.Verify(w.groupKey[:], p.message, req.GetSignature()) {
			return nil, refuse(typev1.Reason_REASON_BAD_STATEMENT, "the signature is not the group key's over the pinned message",
				"field", "signature")
		}
		a.verified = p.message
	}
	if p.onChain() {
		return s.settleOnChain(ctx, a, p)
	}
	err = s.write(ctx, &op{
		needs:  needs{payments: []paymentKey{key}, wallets: []string{key.wallet}},
		decide: func(st *state) error { return decideSettle(st, a) },
	})
	if err != nil {
		return nil, err
	}
	s.instruments.settled(ctx, a)
	if a.paid == nil || !remembered || a.payment.judgedEntry != p.judgedEntry || len(a.payment.deadEntries) > 0 {
		out, err := s.payment(ctx, key)
		return out, done(err, movedYes)
	}
	// What the batch has stored, and the entry by which the payment was judged, are all that the database could tell.
	out := a.payment.show(chain{number: a.paid.number(), hash: a.paid.hash.Bytes(), clockMillis: a.payment.updatedMillis},
		s.clock().UnixMilli())
	showPaid(out, a.paid.entry)
	return out, done(showJudged(out, known.judged), movedYes)
}

// callerMax bounds a caller's name: an agent's or owner's.
const callerMax = 160

// callerName checks a name that goes into the journal.
func callerName(name string) (string, error) {
	if name == "operator" || name == "" {
		return name, nil
	}
	_, agent := resource.ParseAgent(name)
	_, owner := resource.ParseOwner(name)
	if len(name) > callerMax || agent != nil && owner != nil {
		return "", refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "a field is malformed or out of bounds", "field", "caller")
	}
	return name, nil
}

func timestamp(millis int64) *timestamppb.Timestamp { return timestamppb.New(time.UnixMilli(millis)) }
