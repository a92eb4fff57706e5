package fault

import (
	"time"

	"google.golang.org/grpc/codes"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// row says what one reason is on the wire.
type row struct {
	// code is the gRPC code. Only UNAVAILABLE is repeated by the service config of rpc.Dial.
	code codes.Code
	// next tells the caller what to do.
	next string
	// nextOf is what to do instead, by the metadata's scope: who has stopped it decides who is to be waited for.
	nextOf map[string]string
	// retry is when to repeat the same call; zero where repeating it unchanged does not help.
	retry time.Duration
}

const (
	// retrySoon is for a lost race: the other side is done within one store transaction.
	retrySoon = 100 * time.Millisecond
	// retryLater is for an outage or overload: long enough that callers do not make it worse.
	retryLater = time.Second
	// retryClock is for a clock that has to catch up: evidence's tolerance.
	retryClock = 5 * time.Second
)

// reasons is the whole table. docs/errors.md says the same in words, and a test holds the two together.
var reasons = map[typev1.Reason]row{
	typev1.Reason_REASON_INVALID_ARGUMENT: {
		code: codes.InvalidArgument,
		next: "correct the field and call again",
	},
	typev1.Reason_REASON_BAD_STATEMENT: {
		code: codes.InvalidArgument,
		next: "make and sign the statement again with a current client",
	},
	typev1.Reason_REASON_EVIDENCE_MISSING: {
		code: codes.InvalidArgument,
		next: "call again with the missing piece",
	},
	typev1.Reason_REASON_EVIDENCE_STALE: {
		code: codes.FailedPrecondition,
		next: "repeat the call with a fresh request; check this machine's clock if it happens again",
	},
	typev1.Reason_REASON_EVIDENCE_MISMATCH: {
		code: codes.InvalidArgument,
		next: "repeat the payment by its id; if it happens again, somebody between you and the services changed the call",
	},
	typev1.Reason_REASON_UNAUTHENTICATED: {
		code: codes.Unauthenticated,
		next: "sign the call with a key of this installation; check this machine's clock",
	},
	typev1.Reason_REASON_PERMISSION_DENIED: {
		code: codes.PermissionDenied,
		next: "call as somebody who may do this",
	},
	typev1.Reason_REASON_NOT_FOUND: {
		code: codes.NotFound,
		next: "check the name",
	},
	typev1.Reason_REASON_ALREADY_EXISTS: {
		code: codes.AlreadyExists,
		next: "choose another id, or repeat the first call unchanged",
	},
	typev1.Reason_REASON_PAYMENT_DIFFERS: {
		code: codes.AlreadyExists,
		next: "repeat the payment exactly as it was made first, or choose a new id for a new payment",
	},
	typev1.Reason_REASON_FROZEN: {
		code: codes.FailedPrecondition,
		next: "wait until the owner unfreezes, then repeat the payment by its id",
		nextOf: map[string]string{
			"OWNER":        "wait until the owner ends the freeze of all their wallets, then repeat the payment by its id",
			"INSTALLATION": "wait until the operator unfreezes the installation, then repeat the payment by its id: the owner cannot end this",
		},
	},
	typev1.Reason_REASON_FREEZE_ID_USED: {
		code: codes.AlreadyExists,
		next: "freeze again with a new random id: this one is not in force",
	},
	typev1.Reason_REASON_INSUFFICIENT_FUNDS: {
		code: codes.FailedPrecondition,
		next: "fund the wallet, then repeat the payment by its id",
	},
	typev1.Reason_REASON_GUARD_RAILS_CHANGED: {
		code: codes.Aborted, retry: retrySoon,
		next: "repeat the call",
	},
	typev1.Reason_REASON_RULES_CHANGED: {
		code: codes.FailedPrecondition,
		next: "do not pay this by another id: read the payment until its hold has ended by proof",
	},
	typev1.Reason_REASON_NO_GUARD_RAILS: {
		code: codes.FailedPrecondition,
		next: "ask the owner to set guard rails",
	},
	typev1.Reason_REASON_MESSAGE_EXPIRED: {
		code: codes.FailedPrecondition,
		next: "repeat the payment by its id with a fresh message: on the book with an expiry reckoned from ledger_time_millis, " +
			"on a chain with a fresh block hash",
	},
	typev1.Reason_REASON_DEADLINE_EXPIRED: {
		code: codes.FailedPrecondition,
		next: "make a new payment with a new id if it is still wanted",
	},
	typev1.Reason_REASON_LEDGER_BEHIND: {
		code: codes.FailedPrecondition,
		next: "pay nothing; tell the operator that the ledger lacks entries which this client has seen",
	},
	typev1.Reason_REASON_CLOCK_BEHIND: {
		code: codes.FailedPrecondition, retry: retryClock,
		next: "repeat the call once the ledger's clock has caught up; tell the operator",
	},
	typev1.Reason_REASON_KEY_LOST: {
		code: codes.FailedPrecondition,
		next: "tell owner and operator: the wallet pays again only once the co-signer's share is restored",
	},
	typev1.Reason_REASON_HANDLE_TAKEN: {
		code: codes.AlreadyExists,
		next: "register again with another handle",
	},
	typev1.Reason_REASON_NOT_ACTIVE: {
		code: codes.FailedPrecondition,
		next: "let the owner claim the wallet; if its registration has ended, register again",
	},
	typev1.Reason_REASON_WRONG_STATE: {
		code: codes.FailedPrecondition,
		next: "read what the call is about, and act on its state",
	},
	typev1.Reason_REASON_KEY_GENERATION_FAILED: {
		code: codes.Aborted,
		next: "repeat the call; if it happens again, treat it as an attack on the connection",
	},
	typev1.Reason_REASON_LIMIT_EXCEEDED: {
		code: codes.ResourceExhausted, retry: retryLater,
		next: "wait and repeat the call",
	},
	typev1.Reason_REASON_UNAVAILABLE: {
		code: codes.Unavailable, retry: retryLater,
		next: "repeat the same call with the same id",
	},
	typev1.Reason_REASON_INTERNAL: {
		code: codes.Internal,
		next: "repeat the same call with the same id; tell the operator if it happens again",
	},
	typev1.Reason_REASON_GUARD_RAILS_REFUSED: {
		code: codes.InvalidArgument,
		next: "correct the guard rails where the field says, sign and send them again",
	},
	typev1.Reason_REASON_CODE_USED: {
		code: codes.FailedPrecondition,
		next: "ask whoever gave it for a new code, invitation or token",
	},
	typev1.Reason_REASON_REVOKED: {
		code: codes.FailedPrecondition,
		next: "take the wallet over with its recovery share and end the revocation; a payer asks the recipient's owner",
	},
	typev1.Reason_REASON_ABORTED: {
		code: codes.Aborted, retry: retrySoon,
		next: "repeat the call",
	},
	typev1.Reason_REASON_CODE_EXPIRED: {
		code: codes.FailedPrecondition,
		next: "ask whoever gave it for a new invitation or token",
	},
}

// rowOf is a reason's row; one that the table lacks is a defect of ours.
func rowOf(r typev1.Reason) (typev1.Reason, row) {
	if found, ok := reasons[r]; ok {
		return r, found
	}
	return typev1.Reason_REASON_INTERNAL, reasons[typev1.Reason_REASON_INTERNAL]
}

// foreign says what a status without our ErrorInfo means: gRPC itself, a proxy or a library made it.
func foreign(code codes.Code) (typev1.Reason, string) {
	switch code {
	case codes.Unavailable:
		return typev1.Reason_REASON_UNAVAILABLE, "a service or store is not reachable"
	case codes.DeadlineExceeded:
		return typev1.Reason_REASON_UNAVAILABLE, "no answer came before the call's deadline"
	case codes.Canceled:
		return typev1.Reason_REASON_UNAVAILABLE, "the call was canceled before it was answered"
	case codes.ResourceExhausted:
		return typev1.Reason_REASON_LIMIT_EXCEEDED, "the call or its answer exceeds a limit"
	case codes.InvalidArgument, codes.OutOfRange:
		return typev1.Reason_REASON_INVALID_ARGUMENT, "the call is malformed"
	case codes.Unauthenticated:
		return typev1.Reason_REASON_UNAUTHENTICATED, "the caller could not be authenticated"
	case codes.PermissionDenied:
		return typev1.Reason_REASON_PERMISSION_DENIED, "the caller may not do this"
	case codes.NotFound:
		return typev1.Reason_REASON_NOT_FOUND, "the named resource does not exist"
	case codes.AlreadyExists:
		return typev1.Reason_REASON_ALREADY_EXISTS, "the resource exists with other content"
	case codes.Aborted:
		return typev1.Reason_REASON_ABORTED, "too many others changed the same record"
	default:
		return typev1.Reason_REASON_INTERNAL, "a defect on our side"
	}
}
