package solanarpc

import (
	"context"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// pageSize is the most that a node gives at once.
	pageSize = 1000
	// pagesMax bounds one walk through an account's history: a million transactions, whose fees are what it costs a stranger to hide
	// something behind them.
	pagesMax = 1000
)

// entry is one finalised transaction that names an account.
type entry struct {
	signature solana.Signature
	slot      uint64
	failed    bool // It landed, cost its fee, and had no other effect.
}

// walk goes through the finalised transactions that name account, newest first, until visit has seen enough or there are no more.
// The node that answers has finalised minSlot. A short page is a slow or frugal node's and ends nothing: only an empty one does.
func (e *endpoint) walk(ctx context.Context, account solana.Key, minSlot uint64, visit func(entry) (more bool)) error {
	const method = "getSignaturesForAddress"
	seen := map[solana.Signature]bool{}
	wanted := options{"commitment": finalized, "limit": pageSize, "minContextSlot": minSlot}
	newest := uint64(numberMax)
	for range pagesMax {
		v, err := e.call(ctx, method, largeMax, account.String(), wanted)
		if err != nil {
			return err
		}
		page, why := parsePage(v)
		if why != "" {
			return e.fail(method, "has an answer that "+why)
		}
		if len(page) == 0 {
			return nil
		}
		// The whole page is checked before any of it is believed: what lies before a window ends a search, so an old entry in front
		// would hide the ones behind it.
		for _, one := range page {
			switch {
			case one.slot > newest:
				return e.fail(method, "has an answer that is not in order")
			case seen[one.signature]:
				return e.fail(method, "has an answer that goes round in circles")
			}
			if one.slot < newest {
				// Nothing of a later slot comes back, so no more than one slot's need be remembered.
				newest = one.slot
				clear(seen)
			}
			seen[one.signature] = true
		}
		for _, one := range page {
			if !visit(one) {
				return nil
			}
		}
		wanted["before"] = page[len(page)-1].signature.String()
	}
	return e.fail(method, "was asked for a million transactions, which is where the search ends")
}

// parsePage reads a page of finalised transactions.
func parsePage(v any) (page []entry, why string) {
	var f fields
	for _, item := range f.list(v, pageSize) {
		o := f.object(item)
		page = append(page, entry{
			signature: f.signature(f.member(o, "signature")), slot: f.number(f.member(o, "slot")), failed: f.member(o, "err") != nil,
		})
		if status, told := o["confirmationStatus"]; told && status != nil && status != finalized {
			f.refuse("has a transaction that is not finalised")
		}
	}
	return page, f.why
}
