package fault

import (
	"context"
	"errors"
	"maps"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Of says what an error is: a fault of this process, one that came over the wire, an error of a pure package, or of a
// context. Of anything else nothing is told but INTERNAL. What does not say whether money moved may have: UNKNOWN. Of nil
// is nil.
func Of(err error) *Fault { return of(err, typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED) }

// ReasonOf is Of's reason; REASON_UNSPECIFIED for nil.
func ReasonOf(err error) typev1.Reason {
	if err == nil {
		return typev1.Reason_REASON_UNSPECIFIED
	}
	return Of(err).Reason
}

// Wrap makes an error a fault, with what the caller knows about money. An error that says so itself, having been a fault
// already here or on the wire, keeps its own word. Wrap of nil is nil.
func Wrap(err error, moved typev1.MoneyMoved) error {
	if err == nil {
		return nil
	}
	return of(err, moved)
}

func of(err error, moved typev1.MoneyMoved) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) {
		if f.unsaid && known(moved) != f.MoneyMoved {
			return f.saying(moved)
		}
		return f
	}
	if f := pure(err, moved); f != nil {
		f.cause = err
		return f
	}
	code := codes.Unknown
	switch s, ok := status.FromError(err); {
	case ok && s.Code() != codes.OK:
		if f := parse(s); f != nil {
			f.cause = err
			return f
		}
		code = s.Code()
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	reason, msg := foreign(code)
	f = build(reason, moved, msg)
	f.cause = err
	if code == codes.DeadlineExceeded || code == codes.Canceled {
		f.Code = code // Not UNAVAILABLE: nobody should repeat at once what has just run out of time.
	}
	return f
}

// parse reads a fault from a status; nil when it is not one of ours.
func parse(s *status.Status) *Fault {
	var info *errdetails.ErrorInfo
	var request *errdetails.BadRequest
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain && info == nil {
				info = d
			}
		case *errdetails.BadRequest:
			request = d
		}
	}
	if info == nil {
		return nil
	}
	reason, ok := typev1.Reason_value[reasonPrefix+info.GetReason()]
	if !ok {
		// A newer server's reason: its code says enough, and the metadata shows the word.
		fallback, _ := foreign(s.Code())
		reason = int32(fallback)
	}
	moved := typev1.MoneyMoved(typev1.MoneyMoved_value[movedPrefix+info.GetMetadata()[KeyMoneyMoved]])
	f := build(typev1.Reason(reason), moved, clean(s.Message()))
	f.Code = s.Code()
	if !ok {
		f.Metadata["reason"] = clean(info.GetReason())
	}
	// In order of the keys, so that a bound leaves out the same ones each time.
	for _, key := range slices.Sorted(maps.Keys(info.GetMetadata())) {
		if len(f.Metadata) < pairsMax+reservedKeys && validKey(key) {
			f.Metadata[key] = clean(info.GetMetadata()[key])
		}
	}
	if next := info.GetMetadata()[KeyNext]; next != "" {
		f.Metadata[KeyNext] = clean(next)
	}
	for i, v := range request.GetFieldViolations() {
		if i == violationsMax {
			break
		}
		f.Violations = append(f.Violations, Violation{Field: clean(v.GetField()), Why: clean(v.GetDescription())})
	}
	return f
}
