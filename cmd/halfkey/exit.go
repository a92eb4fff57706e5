package main

import typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"

// The exit codes; the package's doc says what each means.
const (
	exitDone = iota
	exitOther
	exitUsage
	exitRefused
	exitPerson
	exitFrozen
	exitUnknown
	exitUnavailable
)

const (
	notMoved = typev1.MoneyMoved_MONEY_MOVED_NO
	unknown  = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	moved    = typev1.MoneyMoved_MONEY_MOVED_YES
)

// exitCodes are the codes of failures that moved no money, by reason.
var exitCodes = map[typev1.Reason]int{
	// Something on this machine: a file, a disk, a permission.
	typev1.Reason_REASON_UNSPECIFIED: exitOther,

	typev1.Reason_REASON_INVALID_ARGUMENT: exitUsage,

	typev1.Reason_REASON_UNAUTHENTICATED:     exitRefused,
	typev1.Reason_REASON_PERMISSION_DENIED:   exitRefused,
	typev1.Reason_REASON_ALREADY_EXISTS:      exitRefused,
	typev1.Reason_REASON_PAYMENT_DIFFERS:     exitRefused,
	typev1.Reason_REASON_FREEZE_ID_USED:      exitRefused,
	typev1.Reason_REASON_INSUFFICIENT_FUNDS:  exitRefused,
	typev1.Reason_REASON_NO_GUARD_RAILS:      exitRefused,
	typev1.Reason_REASON_DEADLINE_EXPIRED:    exitRefused,
	typev1.Reason_REASON_HANDLE_TAKEN:        exitRefused,
	typev1.Reason_REASON_WRONG_STATE:         exitRefused,
	typev1.Reason_REASON_GUARD_RAILS_REFUSED: exitRefused,
	typev1.Reason_REASON_CODE_USED:           exitRefused,

	// Its owner has to claim the wallet first.
	typev1.Reason_REASON_NOT_ACTIVE: exitPerson,

	typev1.Reason_REASON_FROZEN:  exitFrozen,
	typev1.Reason_REASON_REVOKED: exitFrozen,

	// An authorized payment would no longer pass: what was authorized may land all the same.
	typev1.Reason_REASON_RULES_CHANGED: exitUnknown,

	typev1.Reason_REASON_UNAVAILABLE:         exitUnavailable,
	typev1.Reason_REASON_LIMIT_EXCEEDED:      exitUnavailable,
	typev1.Reason_REASON_GUARD_RAILS_CHANGED: exitUnavailable,
	typev1.Reason_REASON_ABORTED:             exitUnavailable,
	typev1.Reason_REASON_CODE_EXPIRED:        exitRefused,
	typev1.Reason_REASON_CLOCK_BEHIND:        exitUnavailable,
	typev1.Reason_REASON_MESSAGE_EXPIRED:     exitUnavailable,
	typev1.Reason_REASON_EVIDENCE_STALE:      exitUnavailable,

	typev1.Reason_REASON_BAD_STATEMENT:         exitOther,
	typev1.Reason_REASON_EVIDENCE_MISSING:      exitOther,
	typev1.Reason_REASON_EVIDENCE_MISMATCH:     exitOther,
	typev1.Reason_REASON_NOT_FOUND:             exitOther,
	typev1.Reason_REASON_LEDGER_BEHIND:         exitOther,
	typev1.Reason_REASON_KEY_LOST:              exitOther,
	typev1.Reason_REASON_KEY_GENERATION_FAILED: exitOther,
	typev1.Reason_REASON_INTERNAL:              exitOther,
}

// exitCode is the exit code of a failure. Where money may have moved nothing else matters; where it did, no code that
// invites to do it again will do.
func exitCode(reason typev1.Reason, money typev1.MoneyMoved) int {
	code, ok := exitCodes[reason]
	switch {
	case money == moved || !ok && money == notMoved:
		return exitOther
	case money != notMoved:
		return exitUnknown
	default:
		return code
	}
}

// paymentCode is the exit code of a command that was to pay, by where the payment is.
func paymentCode(state typev1.PaymentState) int {
	switch state {
	case typev1.PaymentState_PAYMENT_STATE_SETTLED:
		return exitDone
	case typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW:
		return exitPerson
	case typev1.PaymentState_PAYMENT_STATE_READY:
		return exitUnavailable
	case typev1.PaymentState_PAYMENT_STATE_DENIED, typev1.PaymentState_PAYMENT_STATE_CANCELED, typev1.PaymentState_PAYMENT_STATE_EXPIRED,
		typev1.PaymentState_PAYMENT_STATE_FAILED:
		return exitRefused
	default: // AUTHORIZED, or a state that this program does not know.
		return exitUnknown
	}
}
