package cosigner

import (
	"context"
	"errors"
	"fmt"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// no: a share leaves as the answer or not at all, so a call of the co-signer that fails has moved nothing.
const no = typev1.MoneyMoved_MONEY_MOVED_NO

var (
	// errDamaged: a row that the co-signer did not write, or not under this key.
	errDamaged = errors.New("row is damaged")
	// errUnopened: a sealed secret that does not open under the key-encryption key and what it is bound to.
	errUnopened = errors.New("sealed secret does not open")
)

// refused makes a handler's error one that may leave: a fault that says that nothing moved. Texts of errors that are not
// ours stay behind as its cause, for the log.
func refused(err error) error {
	var said *fault.Fault
	if !errors.As(err, &said) && (errors.Is(err, errDamaged) || errors.Is(err, errUnopened)) {
		return fault.Caused(err, typev1.Reason_REASON_INTERNAL, no, "the co-signer's own record does not check")
	}
	return fault.Wrap(err, no)
}

// refusal is a fault of a call that moved nothing.
func refusal(r typev1.Reason, message string, metadata ...string) error {
	return fault.New(r, no, message, metadata...)
}

// invalid refuses a malformed field.
func invalid(field, why string) error {
	return fault.Invalid(fault.Violation{Field: field, Why: why})
}

// storeError keeps a caller's own end of patience apart from a store that does not answer.
func storeError(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("store: %w", cause)
	}
	return fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, no, "the co-signer's store is not reachable")
}
