package solanarpc

import (
	"context"
	"errors"
	"math"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// What a transaction in the transfer layout costs its payer, in lamports, thousand-millionths of a SOL. The chain's rules say so, and no
// node is asked.
const (
	// TransferFee is for one signature, and the priority fee that package solana writes.
	TransferFee = 7_000
	// TokenAccountRent is what the recipient's token account keeps for good, where there is none yet.
	TokenAccountRent = 2_039_280
	// RentExempt is the least that the payer's own account keeps, unless it keeps nothing at all.
	RentExempt = 890_880
)

// TransferNeeds is the least that a payer of so many lamports has to have for a transfer, or 0 if what it has is enough. Opens says that
// the recipient has no token account yet.
func TransferNeeds(lamports int64, opens bool) int64 {
	cost := int64(TransferFee)
	if opens {
		cost += TokenAccountRent
	}
	if lamports == cost || lamports >= cost+RentExempt {
		return 0
	}
	return cost + RentExempt
}

// Lamports is the lowest that any endpoint says a key's own account has, finalised; 0 where there is none. It fails only where no
// endpoint gave an answer that counts.
func (c *Client) Lamports(ctx context.Context, key solana.Key) (int64, error) {
	said, failures := each(c, func(e *endpoint) (int64, error) { return e.lamports(ctx, key) })
	lowest, answered := int64(math.MaxInt64), false
	for i, n := range said {
		if failures[i] == nil {
			lowest, answered = min(lowest, n), true
		}
	}
	if !answered {
		return 0, errors.Join(failures...)
	}
	return lowest, nil
}

// lamports asks one endpoint.
func (e *endpoint) lamports(ctx context.Context, key solana.Key) (int64, error) {
	const method = "getBalance"
	if err := e.known(ctx); err != nil {
		return 0, err
	}
	v, err := e.call(ctx, method, smallMax, key.String(), options{"commitment": finalized})
	if err != nil {
		return 0, err
	}
	var f fields
	n := f.number(f.member(f.object(v), "value"))
	if f.why != "" {
		return 0, e.fail(method, "has an answer that "+f.why)
	}
	return int64(n), nil
}
