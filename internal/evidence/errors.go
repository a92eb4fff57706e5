package evidence

import (
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Error is a refusal: which piece of evidence, which of its fields, and why. Its texts are constants of this package or of
// the pure packages below it, so it can be shown and logged.
type Error struct {
	// Reason is the machine's word for it.
	Reason typev1.Reason
	// Piece is the statement concerned, for example "request" or "guard-rails"; "message" is the bytes to be signed.
	Piece string
	// Field is the field concerned by its name in the contract, or empty.
	Field string
	// Why says what does not check.
	Why string

	err error
}

// Error joins piece, field and why.
func (e *Error) Error() string {
	s := "evidence: " + e.Piece
	if e.Field != "" {
		s += "." + e.Field
	}
	return s + ": " + e.Why
}

// Unwrap returns the refusal of the package below, if one is the cause.
func (e *Error) Unwrap() error { return e.err }

func bad(piece, field, why string) *Error {
	return &Error{Reason: typev1.Reason_REASON_BAD_STATEMENT, Piece: piece, Field: field, Why: why}
}

func missing(piece string) *Error {
	return &Error{Reason: typev1.Reason_REASON_EVIDENCE_MISSING, Piece: piece, Why: "is missing"}
}

func stale(piece, field, why string) *Error {
	return &Error{Reason: typev1.Reason_REASON_EVIDENCE_STALE, Piece: piece, Field: field, Why: why}
}

func mismatch(piece, field, why string) *Error {
	return &Error{Reason: typev1.Reason_REASON_EVIDENCE_MISMATCH, Piece: piece, Field: field, Why: why}
}

func invalid(piece, field, why string) *Error {
	return &Error{Reason: typev1.Reason_REASON_INVALID_ARGUMENT, Piece: piece, Field: field, Why: why}
}
