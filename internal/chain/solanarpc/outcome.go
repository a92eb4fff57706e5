package solanarpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// windowBlocks is how many blocks after its own may hold a message with a block's hash. The chain counts the 150 from the block
	// before the one being made, so it is one more.
	windowBlocks = blockHashBlocks + 1
	// settleBlocks is how far past the last valid height an endpoint must have finalised: past the window, and long enough for a node
	// to have indexed the window's transactions.
	settleBlocks = 32
	// fetchMax bounds transactions fetched from one endpoint in one look. What was seen is remembered, so the next look goes on.
	fetchMax = 512
	// fetchFailuresMax ends a look at an endpoint that does not answer, each failure being up to Config.Timeout.
	fetchFailuresMax = 3
)

// State is what has become of a message.
type State uint8

const (
	// Unknown is not proven to have landed, nor to be dead. Ask again later.
	Unknown State = iota
	// Landed is finalised, and the units have moved.
	Landed
	// Failed is finalised with an error. The fee is gone, the units have not moved, and the message cannot land again.
	Failed
	// Dead can no longer land.
	Dead
)

// String names the state.
func (s State) String() string {
	switch s {
	case Landed:
		return "landed"
	case Failed:
		return "failed"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// Watch says what is looked for.
type Watch struct {
	// Account is the token account that the units leave.
	Account solana.Key
	// Payer is the key whose signature has to stand over the message.
	Payer solana.Key
	// Message is the exact bytes, of version 0.
	Message []byte
	// BlockHash is what was handed out for it, all of it.
	BlockHash BlockHash
}

// Outcome is what is proven of a message.
type Outcome struct {
	State State
	// Why says what is missing, where the state is Unknown. It names endpoints and holds nothing that a node wrote.
	Why string
	// Seen says that an endpoint shows the message finalised, also where others do not agree yet. Whoever keeps it knows that the
	// message is not to be taken for dead, whatever is said later.
	Seen bool
	// Signature names the transaction on the chain, Slot is its block's, where the state is Landed or Failed.
	Signature solana.Signature
	Slot      uint64
	// PayerSignature is that of Watch.Payer over the message, where the state is Landed or Failed. It has verified.
	PayerSignature solana.Signature
	// Time is the block's by the chain, or zero unless every endpoint says the same. Nothing is decided by it.
	Time time.Time
}

// Outcome asks every endpoint what has become of a message: some ten calls to each, more for a busy account, so ctx bounds the whole. An
// error says that the question is wrong or that ctx has ended; whatever is wrong with the answers is Unknown.
func (c *Client) Outcome(ctx context.Context, w Watch) (Outcome, error) {
	if why := w.check(); why != "" {
		return Outcome{}, errors.New("solana watch: " + why)
	}
	sightings, failures := each(c, func(e *endpoint) (sighting, error) { return e.look(ctx, &w) })
	if err := ctx.Err(); err != nil {
		return Outcome{}, fmt.Errorf("solana outcome: %w", err)
	}
	for i, err := range failures {
		if err != nil {
			sightings[i] = sighting{why: err.Error()}
		}
	}
	o := judge(sightings)
	for i, s := range sightings {
		if o.Seen && s.dead {
			// What it showed earlier may have been wrong, and is asked for again next time.
			c.endpoints[i].others.forget()
		}
	}
	return o, nil
}

// check refuses a watch that would find nothing, and so prove a message dead that was never looked for.
func (w *Watch) check() string {
	if len(w.Message) == 0 || len(w.Message) > solana.WireMax || w.Message[0] != version0Byte {
		return "the message is not one of version 0"
	}
	p, why := splitMessage(w.Message)
	switch {
	case why != "":
		return "the message " + why
	case p.blockHash != w.BlockHash.Hash:
		return "the message has another block hash than the one to go by"
	case !slices.Contains(p.keys[:p.signers], w.Payer):
		return "the payer is not among the message's signers"
	case !slices.Contains(p.keys, w.Account):
		return "the token account is not among the message's accounts"
	case w.BlockHash.Slot == 0 || w.BlockHash.Slot > numberMax:
		return "the block hash's slot is not given, or out of range"
	case w.BlockHash.LastValidHeight <= blockHashBlocks || w.BlockHash.LastValidHeight > numberMax:
		return "the last valid height is not given, or out of range"
	}
	return ""
}

// sighting is one endpoint's answer about a message.
type sighting struct {
	// landed is the finalised transaction with the message, or nil.
	landed *landing
	// dead says that the endpoint shows the whole window, and the message not in it.
	dead bool
	// why says what is missing, where there is neither.
	why string
}

// landing is a finalised transaction with the message.
type landing struct {
	entry
	payer solana.Signature // Of the watch's payer, which has verified.
	time  int64
}

// judge decides by what all endpoints show. It is the only place that says Landed, Failed or Dead.
func judge(sightings []sighting) Outcome {
	var seen *landing
	landed, dead, sameTime := 0, 0, true
	var missing []string
	for _, s := range sightings {
		switch {
		case s.landed != nil && seen != nil && seen.entry != s.landed.entry:
			return Outcome{Seen: true, Why: "endpoints show the message in different transactions, slots or with different results"}
		case s.landed != nil:
			sameTime = sameTime && (seen == nil || seen.time == s.landed.time)
			seen = s.landed
			landed++
		case s.dead:
			dead++
		default:
			missing = append(missing, s.why)
		}
	}
	switch {
	case len(sightings) == 0:
		return Outcome{Why: "nobody was asked"}
	case landed == len(sightings):
		o := Outcome{State: Landed, Seen: true, Signature: seen.signature, Slot: seen.slot, PayerSignature: seen.payer}
		if seen.failed {
			o.State = Failed
		}
		if sameTime && seen.time != 0 {
			o.Time = time.Unix(seen.time, 0).UTC()
		}
		return o
	case landed != 0 && dead != 0:
		return Outcome{Seen: true, Why: "an endpoint shows the message finalised, and another shows all blocks that could hold it, without it"}
	case landed != 0:
		return Outcome{Seen: true, Why: "an endpoint shows the message finalised, and not all do yet: " + strings.Join(missing, "; ")}
	case dead == len(sightings):
		return Outcome{State: Dead}
	}
	return Outcome{Why: strings.Join(missing, "; ")}
}

// look searches one endpoint for a message.
func (e *endpoint) look(ctx context.Context, w *Watch) (sighting, error) {
	// Asked anew: what stands behind an address may have changed since.
	if err := e.genesis(ctx); err != nil {
		return sighting{}, err
	}
	before, err := e.tip(ctx)
	if err != nil {
		return sighting{}, err
	}
	closed := before.height > w.BlockHash.LastValidHeight+settleBlocks
	last, windowErr := uint64(numberMax), error(nil)
	if closed {
		// What is wrong with the window keeps the message from being called dead, not from being found.
		if last, windowErr = e.window(ctx, w.BlockHash); windowErr != nil {
			last = numberMax
		}
	}
	var candidates []entry
	err = e.walk(ctx, w.Account, before.slot, func(one entry) bool {
		if one.slot <= w.BlockHash.Slot {
			return false
		}
		if one.slot <= last {
			candidates = append(candidates, one)
		}
		return true
	})
	// Whatever was listed is looked at before an error counts: one that lists the message and then fails has still shown it.
	found, fetchErr := e.find(ctx, w, candidates)
	switch {
	case found != nil:
		return sighting{landed: found}, nil
	case err != nil:
		return sighting{}, err
	case fetchErr != nil:
		return sighting{}, fetchErr
	case !closed:
		return sighting{why: fmt.Sprintf("solana endpoint %d (%s) has finalised height %d, and the message may still land until it is past %d",
			e.number, e.host, before.height, w.BlockHash.LastValidHeight+settleBlocks)}, nil
	case windowErr != nil:
		return sighting{}, windowErr
	}
	return e.dead(ctx, w, before)
}

// dead ends a search that found nothing in a window that was shown as a whole.
func (e *endpoint) dead(ctx context.Context, w *Watch, before tip) (sighting, error) {
	const method = "getFirstAvailableBlock"
	v, err := e.call(ctx, method, smallMax)
	if err != nil {
		return sighting{}, err
	}
	var f fields
	first := f.number(v)
	switch {
	case f.why != "":
		return sighting{}, e.fail(method, "has an answer that "+f.why)
	case first > w.BlockHash.Slot:
		return sighting{}, e.fail(method, "shows that its history does not reach back to the block hash")
	}
	after, err := e.tip(ctx)
	switch {
	case err != nil:
		return sighting{}, err
	case after.height < before.height || after.slot < before.slot:
		return sighting{}, e.fail("getEpochInfo", "has gone back while it was asked")
	}
	return sighting{dead: true}, nil
}

// window shows that the endpoint has every block that could hold a message with the hash, and returns the last one's slot.
func (e *endpoint) window(ctx context.Context, hash BlockHash) (last uint64, err error) {
	const method = "getBlocksWithLimit"
	v, err := e.call(ctx, method, smallMax, hash.Slot, windowBlocks+1, options{"commitment": finalized})
	if err != nil {
		return 0, err
	}
	var f fields
	var slots []uint64
	for _, item := range f.list(v, windowBlocks+1) {
		slots = append(slots, f.number(item))
	}
	switch {
	case f.why != "":
		return 0, e.fail(method, "has an answer that "+f.why)
	case len(slots) != windowBlocks+1 || slots[0] != hash.Slot:
		return 0, e.fail(method, "does not show the block of the hash and all that could hold the message")
	case !slices.IsSorted(slots) || len(slices.Compact(slices.Clone(slots))) != len(slots):
		return 0, e.fail(method, "has an answer that is not in order")
	}
	first, err := e.block(ctx, hash.Slot, finalized)
	if err != nil {
		return 0, err
	}
	if why := first.is(hash); why != "" {
		return 0, e.fail("getBlock", why)
	}
	last = slots[windowBlocks]
	end, err := e.block(ctx, last, finalized)
	switch {
	case err != nil:
		return 0, err
	case end.height != first.height+windowBlocks:
		return 0, e.fail("getBlock", "shows by its heights that blocks are missing in between")
	}
	return last, nil
}

// find fetches candidates until one has the message's bytes.
func (e *endpoint) find(ctx context.Context, w *Watch, candidates []entry) (*landing, error) {
	message := w.Message
	digest := sha256.Sum256(message)
	var failures []error
	fetched := 0
	for _, one := range candidates {
		if e.others.is(one.signature, digest) {
			continue
		}
		if fetched == fetchMax {
			failures = append(failures, e.fail("getTransaction", "was asked 512 times in one look, and there is more to look at"))
		}
		if len(failures) == fetchFailuresMax || fetched == fetchMax {
			break
		}
		fetched++
		t, err := e.transaction(ctx, one)
		switch {
		case err != nil:
			failures = append(failures, err)
		case bytes.Equal(t.message, message) && t.signed():
			return &landing{entry: t.entry, payer: t.signatureOf(w.Payer), time: t.time}, nil
		case t.carries(message):
			failures = append(failures, e.fail("getTransaction", "shows the message in a transaction that could not have landed"))
		default:
			e.others.add(one.signature, sha256.Sum256(t.message))
		}
	}
	if len(failures) == 0 {
		return nil, nil //nolint:nilnil // looked at all, and it is not there
	}
	return nil, failures[0]
}
