package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// unsaid leaves money to who knows what was being done.
const unsaid = typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED

// storeError makes an error of etcd a fault. The caller's own context is told apart from our bound on an operation: only
// the latter says something about the store.
func storeError(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("etcdstore: %w", ended)
	}
	// Errors come as etcd's own values from a cluster and as statuses from an embedded member.
	switch known := rpctypes.Error(err); {
	case errors.Is(known, rpctypes.ErrNoSpace):
		return fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, unsaid, "the store is full")
	case errors.Is(known, rpctypes.ErrRequestTooLarge), errors.Is(known, rpctypes.ErrTooManyOps):
		return fault.Caused(err, typev1.Reason_REASON_LIMIT_EXCEEDED, unsaid, "a record is too large for the store")
	case errors.Is(known, rpctypes.ErrEmptyKey), errors.Is(known, rpctypes.ErrDuplicateKey),
		errors.Is(known, rpctypes.ErrCompacted), errors.Is(known, rpctypes.ErrFutureRev):
		return fault.Caused(err, typev1.Reason_REASON_INTERNAL, unsaid, "a defect on our side")
	default:
		return fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, unsaid, "the store is not reachable")
	}
}

func tooLarge() error {
	return fault.New(typev1.Reason_REASON_LIMIT_EXCEEDED, unsaid, "a record is too large for the store")
}

// checkKey refuses keys that are no key, before etcd does.
func checkKey(key string) error {
	if key == "" || len(key) > KeyBytesMax {
		return fault.New(typev1.Reason_REASON_INTERNAL, unsaid, "a defect on our side")
	}
	return nil
}
