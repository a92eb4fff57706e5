package ledger

import (
	"context"
	"errors"
	"strconv"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	movedNo      = typev1.MoneyMoved_MONEY_MOVED_NO
	movedUnknown = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	movedYes     = typev1.MoneyMoved_MONEY_MOVED_YES
)

// refusal is a decision's no: values, which the handler turns into a fault.
type refusal struct {
	reason  typev1.Reason
	message string   // Constant text.
	pairs   []string // Metadata.
	moved   typev1.MoneyMoved
}

func (r *refusal) Error() string { return fault.ReasonName(r.reason) + ": " + r.message }

// refuse says no to something that moved nothing.
func refuse(reason typev1.Reason, message string, pairs ...string) *refusal {
	return &refusal{reason: reason, message: message, pairs: pairs, moved: movedNo}
}

// about says no to a repeat of a payment: an earlier call may have done more than this one.
func (r *refusal) about(p payment) *refusal {
	switch p.state {
	case authorized:
		r.moved = movedUnknown // Its share may be out.
	case settled:
		r.moved = movedYes
	}
	return r
}

// refusedFor reports whether an error is a decision's no for a reason.
func refusedFor(err error, reason typev1.Reason) bool {
	var r *refusal
	return errors.As(err, &r) && r.reason == reason
}

var (
	errNotActive = refuse(typev1.Reason_REASON_NOT_ACTIVE, "the ledger has no account of this wallet")
	errNotFound  = refuse(typev1.Reason_REASON_NOT_FOUND, "there is no such payment")
	errHead      = refuse(typev1.Reason_REASON_GUARD_RAILS_CHANGED, "the guard rails changed just now")
	errRaced     = refuse(typev1.Reason_REASON_ABORTED, "the payment changed just now")
)

func refuseClock(millis, clock int64) *refusal {
	return refuse(typev1.Reason_REASON_CLOCK_BEHIND, "the ledger's clock is behind the wallet's time",
		"wallet_time_millis", strconv.FormatInt(millis, 10), "ledger_time_millis", strconv.FormatInt(clock, 10))
}

func refuseFrozen(by subject, id string) *refusal {
	return refuse(typev1.Reason_REASON_FROZEN, "the wallet is frozen", "freeze_id", id, "scope", scopeName(by.scope))
}

func refuseRevoked(walletName, id string) *refusal {
	return refuse(typev1.Reason_REASON_REVOKED, "the recipient's agent was revoked, and its wallet takes nothing until it was taken over",
		"wallet", walletName, "freeze_id", id)
}

func refuseState(p payment) *refusal {
	return refuse(typev1.Reason_REASON_WRONG_STATE, "the payment's state does not allow this", "state", stateName(p.state)).about(p)
}

func refuseExpired(at int64) *refusal {
	return refuse(typev1.Reason_REASON_MESSAGE_EXPIRED, "the message's expiry has passed or lies too far ahead",
		"ledger_time_millis", strconv.FormatInt(at, 10))
}

func stateName(s typev1.PaymentState) string { return s.String()[len("PAYMENT_STATE_"):] }

func scopeName(s typev1.Scope) string { return s.String()[len("SCOPE_"):] }

// asRefusal makes a refusal of evidence's error, keeping piece, field and why as fault does.
func asRefusal(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	f := fault.Of(err)
	out := refuse(f.Reason, f.Message)
	for _, k := range []string{"statement", "evidence", "field", "why"} {
		if v := f.Metadata[k]; v != "" {
			out.pairs = append(out.pairs, k, v)
		}
	}
	return out
}

// done says of an error that came after the decision was durable that it is not the decision's: the caller repeats the call
// and gets its answer.
func done(err error, moved typev1.MoneyMoved) error {
	if err == nil {
		return nil
	}
	return fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, moved, "it is recorded, and the answer could not be made")
}

// answer makes a handler's error one that may leave. What the caller cannot act on is logged here, once.
func (s *Service) answer(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	var r *refusal
	if errors.As(err, &r) {
		out := fault.New(r.reason, r.moved, r.message, r.pairs...)
		s.instruments.evidence.Refused(ctx, out)
		return out
	}
	var f *fault.Fault
	if ctx.Err() != nil && !errors.As(err, &f) {
		return fault.Wrap(ctx.Err(), movedNo) // An engine that is interrupted says so in words of its own.
	}
	out := fault.Wrap(err, movedNo)
	s.instruments.evidence.Refused(ctx, out)
	switch fault.ReasonOf(out) {
	case typev1.Reason_REASON_INTERNAL, typev1.Reason_REASON_UNAVAILABLE:
		if ctx.Err() == nil {
			s.logger.ErrorContext(ctx, "call failed", "method", method, "error", err, "cause", errors.Unwrap(err))
		}
	}
	return out
}
