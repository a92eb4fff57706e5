package solanarpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// transfersMax bounds the transactions of one answer, each fetched from every endpoint.
	transfersMax = 50
	// keysMax bounds the accounts of one transaction: an index into them is a byte.
	keysMax = 256
)

// Cursor is a place in a token account's history: the last transaction that was taken in, and the balance after it. The zero Cursor
// is the beginning, before the account existed.
type Cursor struct {
	Signature solana.Signature
	Slot      uint64
	Units     int64
}

// Transfer is a finalised transaction that changed a token account's balance.
type Transfer struct {
	Signature solana.Signature
	Slot      uint64
	// Time is the block's by the chain, or zero where it is not known.
	Time time.Time
	// Change is what was added, negative for what left; Units is the balance afterwards.
	Change, Units int64
	// Message is the transaction's message, if it is of version 0: whoever pinned one compares. Nobody's name or purpose is in here;
	// anyone can pay in.
	Message []byte
}

// Transfers is a part of a token account's history, oldest first.
type Transfers struct {
	Transfers []Transfer
	// Next is where the next question goes on. It moves past transactions that changed nothing, too.
	Next Cursor
	// More says that there is more already.
	More bool
}

// Transfers asks for what happened to a token account after a place in its history, oldest first. Every endpoint has to show the same;
// one that is behind delays. Without a gap is what it returns: each balance before a transaction is the one after the last, from zero on.
func (c *Client) Transfers(ctx context.Context, account solana.Key, since Cursor) (Transfers, error) {
	lists, failures := each(c, func(e *endpoint) ([]entry, error) { return e.since(ctx, account, since) })
	if err := errors.Join(failures...); err != nil {
		return Transfers{}, err
	}
	agreed, more := lists[0], false
	for i, list := range lists {
		n := min(len(agreed), len(list))
		if !slices.Equal(agreed[:n], list[:n]) {
			return Transfers{}, c.endpoints[i].fail("getSignaturesForAddress", "shows another history than the endpoints before it")
		}
		more = more || len(agreed) != len(list)
		agreed = agreed[:n]
	}
	if len(agreed) > transfersMax {
		agreed, more = agreed[:transfersMax], true
	}
	effects, failures := each(c, func(e *endpoint) ([]effect, error) { return e.effects(ctx, account, agreed) })
	if err := errors.Join(failures...); err != nil {
		return Transfers{}, err
	}
	for i := range effects {
		if !slices.EqualFunc(effects[0], effects[i], effect.same) {
			return Transfers{}, c.endpoints[i].fail("getTransaction", "shows another effect than the first endpoint")
		}
	}
	page := Transfers{Next: since, More: more}
	for i, one := range effects[0] {
		at := agreed[i]
		if !at.failed {
			if one.before != page.Next.Units {
				return Transfers{}, c.endpoints[0].fail("getTransaction",
					"shows a gap: the balance before a transaction is not the one after the last, so history is missing")
			}
			if one.after != one.before {
				page.Transfers = append(page.Transfers, Transfer{
					Signature: at.signature, Slot: at.slot, Time: one.when(), Change: one.after - one.before, Units: one.after,
					Message: one.message,
				})
			}
			page.Next.Units = one.after
		}
		page.Next.Signature, page.Next.Slot = at.signature, at.slot
	}
	return page, nil
}

// since lists an account's transactions after a place in its history, oldest first.
func (e *endpoint) since(ctx context.Context, account solana.Key, since Cursor) ([]entry, error) {
	if err := e.known(ctx); err != nil {
		return nil, err
	}
	// Only the oldest are needed: one more than an answer holds, to know that there is more.
	const keep = transfersMax + 1
	var list []entry
	met := since == Cursor{}
	err := e.walk(ctx, account, since.Slot, func(one entry) bool {
		if since != (Cursor{}) && (one.signature == since.Signature || one.slot < since.Slot) {
			met = one.signature == since.Signature
			return false
		}
		if list = append(list, one); len(list) == 4*keep {
			list = append(list[:0], list[len(list)-keep:]...)
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case !met:
		return nil, e.fail("getSignaturesForAddress", "no longer shows the transaction that history was read up to")
	}
	list = list[max(0, len(list)-keep):]
	slices.Reverse(list)
	return list, nil
}

// effect is what a transaction did to a token account.
type effect struct {
	before, after int64
	time          int64
	message       []byte // Of version 0 only.
	digest        [32]byte
}

// same compares what endpoints have to agree on. A block's time may be missing at one.
func (f effect) same(g effect) bool {
	return f.before == g.before && f.after == g.after && f.digest == g.digest
}

func (f effect) when() time.Time {
	if f.time == 0 {
		return time.Time{}
	}
	return time.Unix(f.time, 0).UTC()
}

// effects fetches transactions and reads what they did. One that failed did nothing and is not fetched.
func (e *endpoint) effects(ctx context.Context, account solana.Key, list []entry) ([]effect, error) {
	effects := make([]effect, len(list))
	for i, one := range list {
		if one.failed {
			continue
		}
		t, err := e.transaction(ctx, one)
		if err != nil {
			return nil, err
		}
		keys, err := e.keys(ctx, &t)
		if err != nil {
			return nil, err
		}
		effects[i] = effect{time: t.time, digest: sha256.Sum256(t.wire)}
		if t.version == 0 {
			effects[i].message = t.message
		}
		var why string
		if effects[i].before, effects[i].after, why = change(t.meta, keys, account); why != "" {
			return nil, e.fail("getTransaction", "has an answer that "+why)
		}
	}
	return effects, nil
}

// keys are all accounts of a transaction, in the order that its balances count in.
func (e *endpoint) keys(ctx context.Context, t *transaction) ([]solana.Key, error) {
	const method = "getTransaction"
	var f fields
	var keys []solana.Key
	if t.version == 1 {
		// Where version 1 keeps its accounts is the node's to know; it has no lookup tables.
		v, err := e.call(ctx, method, largeMax, t.signature.String(), options{
			"commitment": finalized, "encoding": "json", "maxSupportedTransactionVersion": versionMax,
		})
		if err != nil {
			return nil, err
		}
		message := f.object(f.member(f.object(f.member(f.object(v), "transaction")), "message"))
		keys = f.keys(f.member(message, "accountKeys"))
	} else {
		keys = slices.Clone(t.parts.keys)
		if loaded := t.meta["loadedAddresses"]; loaded != nil {
			tables := f.object(loaded)
			keys = append(keys, f.keys(f.member(tables, "writable"))...)
			keys = append(keys, f.keys(f.member(tables, "readonly"))...)
		}
	}
	if f.why == "" && len(keys) > keysMax {
		f.refuse("has a transaction with more than 256 accounts")
	}
	if f.why != "" {
		return nil, e.fail(method, "has an answer that "+f.why)
	}
	return keys, nil
}

// keys reads a list of addresses.
func (f *fields) keys(v any) []solana.Key {
	var keys []solana.Key
	for _, item := range f.list(v, keysMax) {
		keys = append(keys, f.key(item))
	}
	return keys
}

// change reads an account's balance before and after. An account that is not there has none.
func change(meta map[string]any, keys []solana.Key, account solana.Key) (before, after int64, why string) {
	place := slices.Index(keys, account)
	if place < 0 {
		return 0, 0, "has a transaction that does not name the account it is listed for"
	}
	var f fields
	before = f.balance(f.member(meta, "preTokenBalances"), place)
	after = f.balance(f.member(meta, "postTokenBalances"), place)
	return before, after, f.why
}

// balance finds the balance of the account in a place.
func (f *fields) balance(v any, place int) (units int64) {
	found := false
	for _, item := range f.list(v, keysMax) {
		o := f.object(item)
		if f.number(f.member(o, "accountIndex")) != uint64(place) {
			continue
		}
		if found {
			f.refuse("has two balances for one account")
		}
		found = true
		units = f.units(f.member(f.object(f.member(o, "uiTokenAmount")), "amount"))
	}
	return units
}
