package solanarpc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// blockHashBlocks is how many blocks after its own a block hash is good for, by the chain's rule. A node that says another
	// number is not believed: should the rule ever change, nothing is paid until this package knows it.
	blockHashBlocks = 150
	// behindMax is how many slots, of about 0.4 s, the chosen hash may be older than the newest one that an endpoint knows: half of
	// a hash's life is left then.
	behindMax = 75
)

// BlockHash is a recent block's hash, and what proves later that nothing with it can land any more. Keep all of it.
type BlockHash struct {
	// Hash stands in the message.
	Hash [32]byte
	// Slot is the block's. A message with its hash lands in a later slot.
	Slot uint64
	// LastValidHeight is the height of the last block in which it lands.
	LastValidHeight uint64
}

// BlockHash returns the newest block hash that every endpoint has and takes.
//
// It is a finalised block's: no fork takes it away, an endpoint that is some seconds behind has it as well, and so it costs 13 of its
// 60 to 90 seconds and saves refusals. It is what Solana's own clients take when they are not told otherwise. Slot and last valid
// height are those of the block that every endpoint shows, never one node's word.
func (c *Client) BlockHash(ctx context.Context) (BlockHash, error) {
	offers, failures := each(c, func(e *endpoint) (BlockHash, error) { return e.latest(ctx) })
	if err := errors.Join(failures...); err != nil {
		return BlockHash{}, err
	}
	slices.SortFunc(offers, func(a, b BlockHash) int { return cmp.Compare(b.Slot, a.Slot) })
	offers = slices.Compact(offers)
	var first error
	for _, offer := range offers {
		if offers[0].Slot-offer.Slot > behindMax {
			break
		}
		_, failures = each(c, func(e *endpoint) (struct{}, error) { return struct{}{}, e.confirm(ctx, offer) })
		err := errors.Join(failures...)
		if err == nil {
			return offer, nil
		}
		if first == nil {
			first = err
		}
	}
	return BlockHash{}, first
}

// latest asks for a finalised block's hash.
func (e *endpoint) latest(ctx context.Context) (BlockHash, error) {
	const method = "getLatestBlockhash"
	if err := e.known(ctx); err != nil {
		return BlockHash{}, err
	}
	v, err := e.call(ctx, method, smallMax, options{"commitment": finalized})
	if err != nil {
		return BlockHash{}, err
	}
	var f fields
	answer := f.object(v)
	value := f.object(f.member(answer, "value"))
	hash := BlockHash{
		Hash:            f.key(f.member(value, "blockhash")),
		Slot:            f.number(f.member(f.object(f.member(answer, "context")), "slot")),
		LastValidHeight: f.number(f.member(value, "lastValidBlockHeight")),
	}
	if f.why != "" {
		return BlockHash{}, e.fail(method, "has an answer that "+f.why)
	}
	return hash, nil
}

// confirm asks whether the endpoint has that block and would take its hash.
func (e *endpoint) confirm(ctx context.Context, hash BlockHash) error {
	b, err := e.block(ctx, hash.Slot, confirmed)
	if err != nil {
		return err
	}
	if why := b.is(hash); why != "" {
		return e.fail("getBlock", why)
	}
	const method = "isBlockhashValid"
	v, err := e.call(ctx, method, smallMax, solana.Key(hash.Hash).String(), options{"commitment": confirmed, "minContextSlot": hash.Slot})
	if err != nil {
		return err
	}
	var f fields
	valid, ok := f.member(f.object(v), "value").(bool)
	switch {
	case f.why != "" || !ok:
		return e.fail(method, "has an answer that is not whether the hash is valid")
	case !valid:
		return e.fail(method, "says that the hash is not valid")
	}
	return nil
}

// block is what identifies a block.
type block struct {
	hash   solana.Key
	height uint64
}

// is says in what the block differs from the one that a block hash was handed out with.
func (b block) is(hash BlockHash) (why string) {
	switch {
	case b.hash != hash.Hash:
		return "shows another block hash in that slot"
	case b.height+blockHashBlocks != hash.LastValidHeight:
		return "shows a height at which the hash is not good for the 150 blocks that it was said to be"
	}
	return ""
}

// block asks for the block of a slot, without its transactions.
func (e *endpoint) block(ctx context.Context, slot uint64, commitment string) (block, error) {
	const method = "getBlock"
	v, err := e.call(ctx, method, smallMax, slot, options{
		"commitment": commitment, "transactionDetails": "none", "rewards": false, "maxSupportedTransactionVersion": versionMax,
	})
	if err != nil {
		return block{}, err
	}
	var f fields
	answer := f.object(v)
	b := block{hash: f.key(f.member(answer, "blockhash")), height: f.number(f.member(answer, "blockHeight"))}
	if f.why != "" {
		return block{}, e.fail(method, "has an answer that "+f.why)
	}
	return b, nil
}

// tip is how far an endpoint has finalised the chain.
type tip struct{ slot, height uint64 }

// tip asks for slot and height in one answer, so that both are one node's.
func (e *endpoint) tip(ctx context.Context) (tip, error) {
	const method = "getEpochInfo"
	v, err := e.call(ctx, method, smallMax, options{"commitment": finalized})
	if err != nil {
		return tip{}, err
	}
	var f fields
	answer := f.object(v)
	t := tip{slot: f.number(f.member(answer, "absoluteSlot")), height: f.number(f.member(answer, "blockHeight"))}
	switch {
	case f.why != "":
		return tip{}, e.fail(method, "has an answer that "+f.why)
	case t.height > t.slot:
		return tip{}, e.fail(method, "has an answer with more blocks than slots")
	}
	return t, nil
}
