package solanarpctest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// FinalityBlocks is how many of the newest blocks a fork can still take away.
	FinalityBlocks = 31
	// hashBlocks is for how many blocks after its own a block's hash is good, counted from the block before the one being made.
	hashBlocks = 150
	// firstSlot and firstHeight are the oldest block's, so that slots and heights are never taken for one another.
	firstSlot, firstHeight = 1000, 500
	// startBlocks are there before a test does anything.
	startBlocks = 200
	// gapEvery is how often a slot has no block. Each fork leaves out others.
	gapEvery = 5
	// chainStart is the time of slot 0, in seconds, and slotTenths how many tenths of a second a slot takes by the chain's clock.
	chainStart, slotTenths = 1_800_000_000, 4
)

// genesis are the genesis hashes of the networks, by CAIP-2.
var genesis = map[string]string{
	"solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
	"solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1": "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG",
	"solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z": "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY",
}

// Block is a block. What it holds is executed.
type Block struct {
	// Slot is its place in time, Height its number.
	Slot, Height uint64
	// Hash is what messages name.
	Hash   solana.Key
	parent *Block
	txs    []*transaction
	state  *accounts
}

// accounts is what the chain knows after a block. It is shared between blocks and never changed.
type accounts struct {
	tokens   map[solana.Key]tokenAccount
	lamports map[solana.Key]uint64
}

// tokenAccount is an account of the classic Token program.
type tokenAccount struct {
	mint, owner solana.Key
	units       uint64
	frozen      bool
}

func (a *accounts) clone() *accounts {
	return &accounts{tokens: maps.Clone(a.tokens), lamports: maps.Clone(a.lamports)}
}

// Chain is a chain of one network.
type Chain struct {
	t       testing.TB
	network string
	genesis solana.Key

	mu sync.Mutex
	// tip is the end of the fork that is built on, and final what no fork leaves any more.
	tip, final *Block
	// pending are transactions that were sent, in order. One stays until its hash is old, for a fork may take it out of a block again.
	pending []*transaction
	sent    map[string]int
	// changes are made to the accounts by the next block, outside any transaction.
	changes []func(*accounts)
	forks   uint64
	nonce   uint64
	lost    bool
}

// New starts a chain of one of Solana's networks, by its CAIP-2 id, with some blocks, nobody having anything.
func New(t testing.TB, network string) *Chain {
	t.Helper()
	hash, err := solana.ParseKey(genesis[network])
	if err != nil {
		t.Fatalf("solanarpctest: %q is none of Solana's networks", network)
	}
	c := &Chain{t: t, network: network, genesis: hash, sent: map[string]int{}}
	c.tip = &Block{
		Slot: firstSlot, Height: firstHeight, Hash: c.hash(firstSlot, 0),
		state: &accounts{tokens: map[solana.Key]tokenAccount{}, lamports: map[solana.Key]uint64{}},
	}
	c.final = c.tip
	c.advance(startBlocks)
	return c
}

// Network is the chain's CAIP-2 id.
func (c *Chain) Network() string { return c.network }

// Tip is the newest block of the fork that is built on.
func (c *Chain) Tip() *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tip
}

// Final is the newest block that no fork takes away.
func (c *Chain) Final() *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.final
}

func (c *Chain) hash(slot, fork uint64) solana.Key {
	return sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte(c.network), fork), slot))
}

// Advance makes n blocks with whatever was sent and may land. All but the newest FinalityBlocks are final then.
func (c *Chain) Advance(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(n)
}

// Finalize makes as many blocks as it takes until all that was there, and the next block, is final.
func (c *Chain) Finalize() { c.Advance(FinalityBlocks + 1) }

// AdvanceTo makes blocks until the newest one has the height.
func (c *Chain) AdvanceTo(height uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.tip.Height < height {
		c.advance(1)
	}
}

// Run makes a block every slot until the test has ended, or stop is called.
func (c *Chain) Run(slot time.Duration) (stop func()) {
	done := make(chan struct{})
	var once sync.Once
	var wait sync.WaitGroup
	wait.Go(func() {
		ticker := time.NewTicker(slot)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				c.Advance(1)
			}
		}
	})
	stop = func() {
		once.Do(func() { close(done) })
		wait.Wait()
	}
	c.t.Cleanup(stop)
	return stop
}

// Fork leaves the newest n blocks for another fork, which begins with one block and holds nothing that was sent until it is built on. It
// returns the tip that was left. Final blocks cannot be left.
func (c *Chain) Fork(n int) (left *Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left = c.tip
	for range n {
		if c.tip == c.final {
			c.t.Error("solanarpctest: a fork would leave a final block")
			break
		}
		c.tip = c.tip.parent
	}
	c.forks++
	c.tip = c.next(c.tip, nil, c.forks)
	return left
}

// Branch is a chain of n blocks on a block, the first of them with these transactions as far as they execute, that nobody builds on: what
// a node may show that is on a fork, or lies.
func (c *Chain) Branch(on *Block, n int, wires ...[]byte) *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forks++
	changes := c.changes
	c.changes = nil
	defer func() { c.changes = changes }()
	var txs []*transaction
	for _, wire := range wires {
		if tx, why := split(bytes.Clone(wire)); why == "" {
			txs = append(txs, tx)
		}
	}
	for range n {
		on, txs = c.next(on, txs, c.forks), nil
	}
	return on
}

// Lose has everything that is sent from now on disappear, or be taken again. It also forgets what was sent and has not landed.
func (c *Chain) Lose(lose bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = lose
	if lose {
		c.pending = nil
	}
}

// Send hands a transaction to the chain, as a node does that was asked to.
func (c *Chain) Send(wire []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send(wire)
}

func (c *Chain) send(wire []byte) {
	c.sent[string(wire)]++
	if c.lost {
		return
	}
	for _, one := range c.pending {
		if bytes.Equal(one.wire, wire) {
			return
		}
	}
	if tx, why := split(bytes.Clone(wire)); why == "" {
		c.pending = append(c.pending, tx)
	}
}

// Sent is how often nodes were asked to send the transaction around a message, whatever its signatures.
func (c *Chain) Sent(message []byte) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for wire, times := range c.sent {
		if bytes.HasSuffix([]byte(wire), message) {
			n += times
		}
	}
	return n
}

// Landed is the block of the fork that is built on that holds the message, or nil.
func (c *Chain) Landed(message []byte) *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tip.Holding(message)
}

// Find is a transaction's message, and the block of the fork that is built on that holds it, or nil.
func (c *Chain) Find(signature solana.Signature) (message []byte, in *Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := c.tip; at != nil; at = at.parent {
		for _, tx := range at.txs {
			if tx.signatures[0] == signature {
				return tx.message, at
			}
		}
	}
	return nil, nil
}

// Units is what the fork that is built on says that an owner holds of a mint, in its associated token account.
func (c *Chain) Units(owner, mint solana.Key) uint64 {
	account, _ := solana.AssociatedTokenAccount(owner, mint)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tip.state.tokens[account].units
}

// Lamports is what the fork that is built on says that a key has.
func (c *Chain) Lamports(key solana.Key) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tip.state.lamports[key]
}

// Airdrop gives lamports to a key with the next block.
func (c *Chain) Airdrop(key solana.Key, lamports uint64) {
	c.change(func(a *accounts) { a.lamports[key] += lamports })
}

// Open makes an empty token account with the next block.
func (c *Chain) Open(owner, mint solana.Key) {
	account, _ := solana.AssociatedTokenAccount(owner, mint)
	c.change(func(a *accounts) {
		if _, is := a.tokens[account]; !is {
			a.tokens[account] = tokenAccount{mint: mint, owner: owner}
		}
	})
}

// Freeze freezes an owner's token account, as the mint's issuer can, or thaws it, with the next block.
func (c *Chain) Freeze(owner, mint solana.Key, frozen bool) {
	account, _ := solana.AssociatedTokenAccount(owner, mint)
	c.change(func(a *accounts) {
		held := a.tokens[account]
		held.mint, held.owner, held.frozen = mint, owner, frozen
		a.tokens[account] = held
	})
}

func (c *Chain) change(f func(*accounts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes = append(c.changes, f)
}

// advance makes blocks. The caller has locked.
func (c *Chain) advance(n int) {
	for range n {
		c.tip = c.next(c.tip, c.pending, c.forks)
		kept := c.pending[:0]
		for _, tx := range c.pending {
			if c.tip.knows(tx.blockHash, hashBlocks) {
				kept = append(kept, tx)
			}
		}
		c.pending = kept
		if c.tip.Height >= c.final.Height+FinalityBlocks {
			c.final = c.tip.back(FinalityBlocks)
		}
	}
}

// next is a block on a parent, with these transactions as far as the chain takes them.
func (c *Chain) next(parent *Block, txs []*transaction, fork uint64) *Block {
	b := &Block{Slot: parent.Slot + 1, Height: parent.Height + 1, parent: parent, state: parent.state}
	if (b.Slot+fork)%gapEvery == 0 {
		b.Slot++
	}
	b.Hash = c.hash(b.Slot, fork)
	if len(c.changes) != 0 {
		b.state = b.state.clone()
		for _, f := range c.changes {
			f(b.state)
		}
		c.changes = nil
	}
	for _, sent := range txs {
		if !parent.knows(sent.blockHash, hashBlocks) || b.Holding(sent.message) != nil {
			continue
		}
		tx, after := *sent, b.state.clone() // What becomes of it is this block's alone.
		if c.execute(&tx, after) {
			b.state = after
			b.txs = append(b.txs, &tx)
		}
	}
	return b
}

// knows says whether a block's hash is among b's and those of the blocks up to n heights below it.
func (b *Block) knows(hash solana.Key, n uint64) bool {
	for at := b; at != nil && b.Height-at.Height <= n; at = at.parent {
		if at.Hash == hash {
			return true
		}
	}
	return false
}

// Holding is the block, among b and its ancestors, that holds the message, or nil.
func (b *Block) Holding(message []byte) *Block {
	for at := b; at != nil; at = at.parent {
		for _, tx := range at.txs {
			if bytes.Equal(tx.message, message) {
				return at
			}
		}
	}
	return nil
}

// back is the ancestor n heights below, or the first block.
func (b *Block) back(n uint64) *Block {
	for ; n > 0 && b.parent != nil; n-- {
		b = b.parent
	}
	return b
}

// Back is the ancestor n heights below, or the first block.
func (b *Block) Back(n int) *Block { return b.back(uint64(n)) }

// at is the ancestor in a slot, or b itself.
func (b *Block) at(slot uint64) *Block {
	for at := b; at != nil && at.Slot >= slot; at = at.parent {
		if at.Slot == slot {
			return at
		}
	}
	return nil
}

// Time is the block's by the chain.
func (b *Block) Time() time.Time { return time.Unix(chainStart+int64(b.Slot)*slotTenths/10, 0).UTC() }

// String names the block.
func (b *Block) String() string { return fmt.Sprintf("block %d in slot %d", b.Height, b.Slot) }
