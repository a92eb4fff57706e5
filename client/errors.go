package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Error is what every failed call returns: why, whether money moved, and what to do next.
type Error struct {
	// Op is what was being done, for example "settle payment".
	Op string
	// Reason is the machine's word for it; unspecified where something on this machine failed, a file, a disk, a permission.
	Reason typev1.Reason
	// MoneyMoved says whether this call moved money; never unspecified. UNKNOWN is answered by repeating the call with the
	// same id, never by paying again under another.
	MoneyMoved typev1.MoneyMoved
	// Message says what failed, in constant words.
	Message string
	// Next says what to do.
	Next string
	// Metadata is what else is known, by the names that docs/errors.md gives.
	Metadata map[string]string

	err error
}

// Error joins operation, reason and message, and names the refused field if there is one.
func (e *Error) Error() string {
	s := "halfkey: " + e.Op + ": "
	if e.Reason != typev1.Reason_REASON_UNSPECIFIED {
		s += fault.ReasonName(e.Reason) + ": "
	}
	s += e.Message
	if field := e.Metadata["field"]; field != "" {
		s += " (" + field + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// ReasonOf returns the reason of an error of this package, or REASON_UNSPECIFIED.
func ReasonOf(err error) typev1.Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return typev1.Reason_REASON_UNSPECIFIED
}

// MoneyMovedOf returns what an error of this package says about money; any other error that is not nil may have moved it.
func MoneyMovedOf(err error) typev1.MoneyMoved {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.MoneyMoved
	case err == nil:
		return typev1.MoneyMoved_MONEY_MOVED_NO
	default:
		return typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	}
}

// unsure is an error of a call about a payment that an earlier call may have made: that this one has moved nothing is not all that there
// is to say then.
func unsure(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.MoneyMoved != notMoved {
		return err
	}
	told := *e
	told.MoneyMoved = unknown
	return &told
}

// damaged is the error of a record that is there and cannot be read, or nil. It may be one of a payment that was made, and what became of
// that the ledger knows.
func damaged(op, name string, err error) error {
	if err == nil {
		return nil
	}
	told := &Error{Op: op, MoneyMoved: unknown, Message: "the record of " + name + " cannot be read", Metadata: map[string]string{"payment": name}}
	var e *Error
	if errors.As(wrap(op, err, unknown), &e) {
		told.Reason, told.Message = e.Reason, told.Message+": "+e.Message
	}
	told.Next = "put the record right, by the message or from a copy of the home, and repeat the same call; " +
		"until then ask what became of this payment, and do not pay it under another id"
	told.err = errors.Join(ErrDamaged, err)
	return told
}

const (
	notMoved = typev1.MoneyMoved_MONEY_MOVED_NO
	unknown  = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	moved    = typev1.MoneyMoved_MONEY_MOVED_YES
)

// wrap makes an error of this package. What the error itself does not say about money is moved: the caller knows what an
// unexplained failure of its step can mean. An *Error keeps its own word.
func wrap(op string, err error, moved typev1.MoneyMoved) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var f *fault.Fault
	if !errors.As(err, &f) && onThisMachine(err) {
		return &Error{
			Op: op, MoneyMoved: moved, Message: strings.ReplaceAll(err.Error(), "halfkey: ", ""),
			Next: "put it right on this machine, then repeat the same call", err: err,
		}
	}
	if !errors.As(fault.Wrap(err, moved), &f) {
		return fmt.Errorf("halfkey: %s: %w", op, err)
	}
	return &Error{
		Op: op, Reason: f.Reason, MoneyMoved: f.MoneyMoved, Message: f.Message, Next: f.Next(),
		Metadata: maps.Clone(f.Metadata), err: err,
	}
}

// fileError is what is wrong with a file of this machine, in words for who can put it right.
type fileError struct{ text string }

func fileErrorf(format string, args ...any) error { return &fileError{fmt.Sprintf(format, args...)} }

// Error is the text.
func (e *fileError) Error() string { return e.text }

// onThisMachine reports whether an error is about a file of this machine. It is nobody else's defect, and its text, which has
// names of files and no content, says what to do.
func onThisMachine(err error) bool {
	return errors.As(err, new(*fileError)) || errors.As(err, new(*fs.PathError)) || errors.As(err, new(*os.LinkError))
}

// given is an error of a statement that could not be made of what the caller gave: it names the field, as a refused call would.
func given(op string, err error) error {
	var refused *evidence.Error
	if errors.As(err, &refused) && refused.Field != "" {
		return local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "a value that was given does not fit its statement", "field", refused.Field, "why", refused.Why)
	}
	return wrap(op, err, notMoved)
}

// local is an error of this package's own making, about money that did not move because nothing was sent.
func local(op string, r typev1.Reason, msg string, kv ...string) error {
	return failure(op, r, notMoved, msg, kv...)
}

// localNext is local with what to do next, where the reason's own advice does not fit.
func localNext(op string, r typev1.Reason, msg, next string, kv ...string) error {
	err := local(op, r, msg, kv...)
	var e *Error
	if errors.As(err, &e) {
		e.Next = next
	}
	return err
}

// failure is an error of this package's own making.
func failure(op string, r typev1.Reason, moved typev1.MoneyMoved, msg string, kv ...string) error {
	return wrap(op, fault.New(r, moved, msg, kv...), moved)
}

// distrust refuses an answer that does not verify: what it contradicts, and that nobody but whoever stands between can
// have made it so. Whether money moved is then unknown where it could have.
func distrust(op string, moved typev1.MoneyMoved, msg string, err error) error {
	reason := typev1.Reason_REASON_BAD_STATEMENT
	if err != nil {
		reason = fault.ReasonOf(err)
	}
	f := wrap(op, fault.Caused(err, reason, moved, msg), moved)
	var e *Error
	if errors.As(f, &e) {
		e.Next = "do not trust this answer; repeat the call with the same id, and tell the operator if it happens again"
		if err != nil {
			e.Message += ": " + err.Error()
		}
	}
	return f
}
