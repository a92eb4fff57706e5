package fault

import (
	"errors"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// pure maps the errors of the packages that decide from values alone; nil for any other. Their texts are constants of
// these packages, so they may be shown; they go into metadata all the same, so that messages stay constant.
func pure(err error, moved typev1.MoneyMoved) *Fault {
	// Evidence first: it wraps what the packages below it refuse, and knows in which piece.
	var piece *evidence.Error
	if errors.As(err, &piece) {
		return build(piece.Reason, moved, evidenceMessage(piece.Reason), pairs(
			pieceKey(piece.Reason), piece.Piece, "field", piece.Field, "why", piece.Why)...)
	}
	var refusal *guardrails.Refusal
	if errors.As(err, &refusal) {
		return build(typev1.Reason_REASON_GUARD_RAILS_REFUSED, moved, "the guard rails are refused", pairs(
			"field", refusal.Field, "why", refusal.Why)...)
	}
	var text *resource.Error
	if errors.As(err, &text) {
		return build(typev1.Reason_REASON_INVALID_ARGUMENT, moved, "a field is malformed or out of bounds", pairs(
			"field", text.Field, "value", text.Value, "why", text.Why)...)
	}
	var culprit *frost.CulpritError
	if errors.As(err, &culprit) {
		return build(typev1.Reason_REASON_KEY_GENERATION_FAILED, moved, "a key-generation message does not check", pairs(
			"culprit", culprit.Culprit.String(), "why", culprit.Reason)...)
	}
	return nil
}

// evidenceMessage is the constant text of a refusal by evidence.
func evidenceMessage(r typev1.Reason) string {
	switch r {
	case typev1.Reason_REASON_BAD_STATEMENT:
		return "a statement does not decode or verify"
	case typev1.Reason_REASON_EVIDENCE_MISSING:
		return "a piece of evidence is missing"
	case typev1.Reason_REASON_EVIDENCE_STALE:
		return "a piece of evidence is too old or from the future"
	case typev1.Reason_REASON_EVIDENCE_MISMATCH:
		return "a piece of evidence speaks of something else"
	case typev1.Reason_REASON_GUARD_RAILS_REFUSED:
		return "the guard rails are refused"
	case typev1.Reason_REASON_MESSAGE_EXPIRED:
		return "the message's expiry has passed or lies too far ahead"
	case typev1.Reason_REASON_DEADLINE_EXPIRED:
		return "the intent's deadline has passed or lies too far ahead"
	case typev1.Reason_REASON_CODE_EXPIRED:
		return "the deadline of an invitation or enrolment token has passed"
	case typev1.Reason_REASON_INVALID_ARGUMENT:
		return "a field is malformed or out of bounds"
	default:
		return "a piece of evidence is refused"
	}
}

// pieceKey is where the contract of a reason wants the piece named.
func pieceKey(r typev1.Reason) string {
	if r == typev1.Reason_REASON_BAD_STATEMENT {
		return "statement"
	}
	return "evidence"
}

// pairs leaves out what is not known.
func pairs(kv ...string) []string {
	var known []string
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			known = append(known, kv[i], kv[i+1])
		}
	}
	return known
}
