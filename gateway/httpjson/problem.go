package httpjson

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// statuses is the whole table: reason -> HTTP status. 400 is a call to correct; 409 one that is well made and that the state
// of things refuses.
var statuses = map[typev1.Reason]int{
	typev1.Reason_REASON_INVALID_ARGUMENT:      http.StatusBadRequest,
	typev1.Reason_REASON_BAD_STATEMENT:         http.StatusBadRequest,
	typev1.Reason_REASON_EVIDENCE_MISSING:      http.StatusBadRequest,
	typev1.Reason_REASON_EVIDENCE_MISMATCH:     http.StatusBadRequest,
	typev1.Reason_REASON_GUARD_RAILS_REFUSED:   http.StatusBadRequest,
	typev1.Reason_REASON_UNAUTHENTICATED:       http.StatusUnauthorized,
	typev1.Reason_REASON_PERMISSION_DENIED:     http.StatusForbidden,
	typev1.Reason_REASON_NOT_FOUND:             http.StatusNotFound,
	typev1.Reason_REASON_EVIDENCE_STALE:        http.StatusConflict,
	typev1.Reason_REASON_ALREADY_EXISTS:        http.StatusConflict,
	typev1.Reason_REASON_PAYMENT_DIFFERS:       http.StatusConflict,
	typev1.Reason_REASON_FROZEN:                http.StatusConflict,
	typev1.Reason_REASON_FREEZE_ID_USED:        http.StatusConflict,
	typev1.Reason_REASON_INSUFFICIENT_FUNDS:    http.StatusConflict,
	typev1.Reason_REASON_GUARD_RAILS_CHANGED:   http.StatusConflict,
	typev1.Reason_REASON_RULES_CHANGED:         http.StatusConflict,
	typev1.Reason_REASON_NO_GUARD_RAILS:        http.StatusConflict,
	typev1.Reason_REASON_MESSAGE_EXPIRED:       http.StatusConflict,
	typev1.Reason_REASON_DEADLINE_EXPIRED:      http.StatusConflict,
	typev1.Reason_REASON_LEDGER_BEHIND:         http.StatusConflict,
	typev1.Reason_REASON_CLOCK_BEHIND:          http.StatusConflict,
	typev1.Reason_REASON_KEY_LOST:              http.StatusConflict,
	typev1.Reason_REASON_HANDLE_TAKEN:          http.StatusConflict,
	typev1.Reason_REASON_NOT_ACTIVE:            http.StatusConflict,
	typev1.Reason_REASON_WRONG_STATE:           http.StatusConflict,
	typev1.Reason_REASON_KEY_GENERATION_FAILED: http.StatusConflict,
	typev1.Reason_REASON_CODE_USED:             http.StatusConflict,
	typev1.Reason_REASON_CODE_EXPIRED:          http.StatusConflict,
	typev1.Reason_REASON_REVOKED:               http.StatusConflict,
	typev1.Reason_REASON_ABORTED:               http.StatusConflict,
	typev1.Reason_REASON_LIMIT_EXCEEDED:        http.StatusTooManyRequests,
	typev1.Reason_REASON_UNAVAILABLE:           http.StatusServiceUnavailable,
	typev1.Reason_REASON_INTERNAL:              http.StatusInternalServerError,
}

// problem is an error as it is written: what gRPC's ErrorInfo, BadRequest and status say, in one object.
type problem struct {
	// Code is the gRPC code, for example FAILED_PRECONDITION.
	Code string `json:"code"`
	// Reason is what a program matches on.
	Reason string `json:"reason"`
	// Message is constant text.
	Message string `json:"message"`
	// Metadata is all dynamic text.
	Metadata map[string]string `json:"metadata,omitempty"`
	// MoneyMoved is NO, UNKNOWN or YES.
	MoneyMoved string `json:"money_moved"`
	// Next says what to do.
	Next string `json:"next"`
	// Violations lists refused fields.
	Violations []violation `json:"violations,omitempty"`

	status     int
	retryAfter string
	allow      string
}

type violation struct {
	Field string `json:"field"`
	Why   string `json:"why"`
}

// problemOf says what an error of a method is; the method is empty where none was called yet.
func problemOf(err error, method string) *problem {
	if s, ok := status.FromError(err); ok && s.Code() == codes.InvalidArgument && len(s.Details()) == 0 {
		// The generated code says so when body or query does not decode; the gRPC server's words have details.
		err = fault.Invalid(fault.Violation{Field: "request", Why: s.Message()})
	}
	moved := typev1.MoneyMoved_MONEY_MOVED_NO
	if rule, ok := authz.Lookup(method); ok && rule.Moves {
		moved = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	}
	f := fault.Of(fault.Wrap(err, moved))
	p := &problem{
		Code: codeName(f.Code), Reason: fault.ReasonName(f.Reason), Message: f.Message,
		MoneyMoved: f.Metadata[fault.KeyMoneyMoved], Next: f.Next(), Metadata: make(map[string]string), status: statusOf(f),
	}
	for key, value := range f.Metadata {
		if key != fault.KeyMoneyMoved && key != fault.KeyNext {
			p.Metadata[key] = value
		}
	}
	for _, v := range f.Violations {
		p.Violations = append(p.Violations, violation(v))
	}
	if after := f.RetryAfter(); after > 0 {
		p.retryAfter = strconv.Itoa(int(math.Ceil(after.Seconds())))
	}
	return p
}

// statusOf is a fault's HTTP status. A reason that the table lacks is a defect of ours.
func statusOf(f *fault.Fault) int {
	if f.Code == codes.DeadlineExceeded {
		return http.StatusGatewayTimeout
	}
	if s, ok := statuses[f.Reason]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// codeName is a gRPC code as docs/errors.md writes it.
func codeName(c codes.Code) string {
	name := []byte{}
	for i, r := range []byte(c.String()) {
		if r >= 'A' && r <= 'Z' {
			if i > 0 && c != codes.OK {
				name = append(name, '_')
			}
		} else if r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		name = append(name, r)
	}
	return string(name)
}

func (p *problem) write(w http.ResponseWriter) {
	b, err := json.Marshal(p)
	if err != nil { // Strings alone: it does not fail.
		b = []byte("{}")
	}
	head := w.Header()
	head.Set("Content-Type", jsonType)
	if p.retryAfter != "" {
		head.Set("Retry-After", p.retryAfter)
	}
	if p.allow != "" {
		head.Set("Allow", p.allow)
	}
	if p.status == http.StatusUnauthorized {
		head.Set("WWW-Authenticate", TokenHeader)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(append(b, '\n')) // Whoever went away gets no answer.
}

// answerError answers a call that failed.
func answerError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	var malformed *runtime.HTTPStatusError
	if errors.As(err, &malformed) {
		err = status.Error(codes.InvalidArgument, "the path is malformed")
	}
	method, _ := runtime.RPCMethod(ctx)
	problemOf(err, method).write(w)
}

// streamError is the last line of a stream that failed after its first.
func streamError(_ context.Context, err error) *status.Status {
	return status.Convert(fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)) // To watch moves nothing.
}

// answerUnrouted answers a request that no route takes.
func answerUnrouted(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	if code == http.StatusMethodNotAllowed {
		allow := http.MethodGet
		if r.Method == http.MethodGet {
			allow = http.MethodPost
		}
		notAllowed(r.Method, allow).write(w)
		return
	}
	problemOf(fault.New(typev1.Reason_REASON_NOT_FOUND, typev1.MoneyMoved_MONEY_MOVED_NO, "there is no such path"), "").write(w)
}
