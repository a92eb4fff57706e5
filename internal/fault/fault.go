package fault

import (
	"cmp"
	"maps"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Domain is the ErrorInfo domain of every fault.
const Domain = "halfkey"

// Metadata keys that every fault has. New's pairs cannot set them.
const (
	// KeyMoneyMoved holds NO, UNKNOWN or YES.
	KeyMoneyMoved = "money_moved"
	// KeyNext holds what to do next.
	KeyNext = "next"
)

const (
	// reasonPrefix and movedPrefix are what the enums' names carry and the wire leaves out.
	reasonPrefix = "REASON_"
	movedPrefix  = "MONEY_MOVED_"
	// valueBytesMax bounds one metadata value: they name fields and resources, the longest of which has 160 bytes.
	valueBytesMax = 256
	// keyBytesMax is ErrorInfo's own bound for a key.
	keyBytesMax = 64
	// pairsMax bounds the metadata of one fault: a status travels in HTTP/2 trailers, which peers cap at some KiB.
	pairsMax = 12
	// reservedKeys come on top: money_moved, next, and the name of a reason that this build does not know.
	reservedKeys = 3
	// violationsMax bounds the refused fields that one answer lists; whoever has more corrects these first.
	violationsMax = 16
)

// Violation is one refused field.
type Violation struct {
	// Field is its path by the contract's names, for example "freeze.scope".
	Field string
	// Why says what is wrong with it.
	Why string
}

// Fault is an error as both sides of a call see it. It is made by New, Invalid, Of and Wrap, and is not changed after.
type Fault struct {
	// Code is the gRPC code: the reason's, except that a call which ran out of time or was canceled keeps that code.
	Code codes.Code
	// Reason is the machine's word for it.
	Reason typev1.Reason
	// MoneyMoved says whether this call moved money; never unspecified.
	MoneyMoved typev1.MoneyMoved
	// Message is constant text.
	Message string
	// Metadata is all dynamic text, with money_moved and next.
	Metadata map[string]string
	// Violations lists refused fields.
	Violations []Violation

	// unsaid is set when whoever made it left money to the caller's knowledge: Wrap fills it in.
	unsaid bool
	// cause stays in this process: it can name hosts, files and queries.
	cause error
}

// New makes an error. Its gRPC code and what to do next come from the reason; kv are pairs of metadata key and value,
// values shortened to 256 bytes with control characters replaced. The message must be a constant without names. A library
// that does not know what its caller was doing passes MONEY_MOVED_UNSPECIFIED: that is UNKNOWN until Wrap says better.
func New(r typev1.Reason, moved typev1.MoneyMoved, msg string, kv ...string) error {
	return build(r, moved, msg, kv...)
}

// Caused is New with the error behind it, which is logged where the call ends and never leaves the process.
func Caused(cause error, r typev1.Reason, moved typev1.MoneyMoved, msg string, kv ...string) error {
	f := build(r, moved, msg, kv...)
	f.cause = cause
	return f
}

// Invalid refuses a call for its fields: INVALID_ARGUMENT, nothing moved. Metadata `field` and `why` are the first one's.
func Invalid(violations ...Violation) error {
	f := build(typev1.Reason_REASON_INVALID_ARGUMENT, typev1.MoneyMoved_MONEY_MOVED_NO, "a field is malformed or out of bounds")
	for i, v := range violations {
		if i == violationsMax {
			break
		}
		f.Violations = append(f.Violations, Violation{Field: clean(v.Field), Why: clean(v.Why)})
	}
	if len(f.Violations) > 0 {
		f.Metadata["field"], f.Metadata["why"] = f.Violations[0].Field, f.Violations[0].Why
	}
	return f
}

func build(r typev1.Reason, moved typev1.MoneyMoved, msg string, kv ...string) *Fault {
	r, found := rowOf(r)
	f := &Fault{
		Code: found.code, Reason: r, Message: msg, Metadata: make(map[string]string),
		MoneyMoved: known(moved), unsaid: moved == typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED,
	}
	for i := 0; i+1 < len(kv) && len(f.Metadata) < pairsMax; i += 2 {
		if key := kv[i]; validKey(key) {
			f.Metadata[key] = clean(kv[i+1])
		}
	}
	f.Metadata[KeyMoneyMoved] = movedName(f.MoneyMoved)
	f.Metadata[KeyNext] = cmp.Or(found.nextOf[f.Metadata["scope"]], found.next)
	return f
}

// known makes an unsaid answer UNKNOWN: silence about money is never NO.
func known(m typev1.MoneyMoved) typev1.MoneyMoved {
	switch m {
	case typev1.MoneyMoved_MONEY_MOVED_NO, typev1.MoneyMoved_MONEY_MOVED_YES:
		return m
	default:
		return typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	}
}

func movedName(m typev1.MoneyMoved) string { return strings.TrimPrefix(m.String(), movedPrefix) }

// ReasonName is a reason as it stands on the wire and in docs/errors.md, for example "FROZEN".
func ReasonName(r typev1.Reason) string { return strings.TrimPrefix(r.String(), reasonPrefix) }

// Error is reason and message; metadata and cause are left to whoever logs or shows it.
func (f *Fault) Error() string { return ReasonName(f.Reason) + ": " + f.Message }

// Unwrap returns the cause inside this process, if there is one.
func (f *Fault) Unwrap() error { return f.cause }

// Next says what to do.
func (f *Fault) Next() string { return f.Metadata[KeyNext] }

// RetryAfter says when repeating the very same call can help; zero when it does not.
func (f *Fault) RetryAfter() time.Duration {
	_, found := rowOf(f.Reason)
	return found.retry
}

// GRPCStatus makes the status that goes on the wire; gRPC's server asks for it.
func (f *Fault) GRPCStatus() *status.Status {
	plain := status.New(f.Code, f.Message)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: ReasonName(f.Reason), Domain: Domain, Metadata: maps.Clone(f.Metadata)}}
	if len(f.Violations) > 0 {
		request := &errdetails.BadRequest{}
		for _, v := range f.Violations {
			request.FieldViolations = append(request.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Why})
		}
		details = append(details, request)
	}
	if after := f.RetryAfter(); after > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	s, err := plain.WithDetails(details...)
	if err != nil {
		return plain // Only a code OK or a value that is not UTF-8 can fail here, and build admits neither.
	}
	return s
}

// validKey holds keys to ErrorInfo's form.
func validKey(key string) bool {
	if key == "" || len(key) > keyBytesMax || key == KeyMoneyMoved || key == KeyNext {
		return false
	}
	for i, c := range []byte(key) {
		if (c < 'a' || c > 'z') && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

// clean makes a value fit to show: valid UTF-8 (or the status could not be encoded), no control or direction characters
// (it ends on terminals), at most valueBytesMax bytes.
func clean(value string) string {
	var b strings.Builder
	for _, r := range value {
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > valueBytesMax {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Doubt makes an error's NO an UNKNOWN, for a caller who knows of an attempt that the answering side does not. It keeps
// YES, and reason and metadata otherwise.
func Doubt(err error) error {
	if err == nil {
		return nil
	}
	f := Of(err)
	if f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		return f
	}
	return f.saying(typev1.MoneyMoved_MONEY_MOVED_UNKNOWN)
}

// saying is a copy that says something else about money.
func (f *Fault) saying(moved typev1.MoneyMoved) *Fault {
	said := *f
	said.MoneyMoved, said.unsaid = known(moved), false
	said.Metadata = maps.Clone(f.Metadata)
	said.Metadata[KeyMoneyMoved] = movedName(said.MoneyMoved)
	return &said
}
