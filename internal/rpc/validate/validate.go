// Package validate checks requests against the rules in their contracts, with protovalidate. It is apart from rpc so that
// the co-signer, which checks all in plain Go, does not link the engine.
package validate

import (
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// New makes the function for rpc.Config.Validate. It answers INVALID_ARGUMENT with every refused field, and INTERNAL for a
// rule that does not compile or run: a request that cannot be checked is not served.
func New() (func(proto.Message) error, error) {
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("validate: %w", err)
	}
	return func(m proto.Message) error {
		err := validator.Validate(m)
		if err == nil {
			return nil
		}
		var invalid *protovalidate.ValidationError
		if !errors.As(err, &invalid) {
			return fault.Caused(err, typev1.Reason_REASON_INTERNAL, typev1.MoneyMoved_MONEY_MOVED_NO, "a request could not be checked")
		}
		var violations []fault.Violation
		for _, v := range invalid.Violations {
			violations = append(violations, fault.Violation{
				Field: protovalidate.FieldPathString(v.Proto.GetField()), Why: v.Proto.GetMessage(),
			})
		}
		return fault.Invalid(violations...)
	}, nil
}
