package solanarpctest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// Form is how a stranger's transaction is written.
type Form int

const (
	// Legacy has no version.
	Legacy Form = iota
	// Tables is of version 0 and names the accounts by way of a lookup table, so that they stand in no message.
	Tables
	// Version1 is the newest, whose bytes no reader here knows.
	Version1
)

// Fund mints units to an owner, in a transaction of a stranger's that is sent. It makes the account where there is none.
func (c *Chain) Fund(owner, mint solana.Key, units uint64) solana.Signature {
	return c.FundIn(Legacy, owner, mint, units)
}

// FundIn is Fund by a transaction of a form.
func (c *Chain) FundIn(form Form, owner, mint solana.Key, units uint64) solana.Signature {
	return c.sendStranger(form, owner, mint, opMint, units)
}

// Take burns units of an owner's, by a stranger whom the owner's account let do that.
func (c *Chain) Take(owner, mint solana.Key, units uint64) solana.Signature {
	return c.sendStranger(Legacy, owner, mint, opBurn, units)
}

// Mention sends a stranger's transaction that names an owner's account and changes nothing.
func (c *Chain) Mention(owner, mint solana.Key) solana.Signature {
	return c.sendStranger(Legacy, owner, mint, opNothing, 0)
}

// Quote is a stranger's transaction that names an owner's account, changes nothing and has text in its instruction, of anybody's. Its
// block hash is on's. Nobody has sent it yet.
func (c *Chain) Quote(on *Block, owner, mint solana.Key, text []byte) (wire []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stranger(Legacy, on, owner, mint, opNothing, 0, text).wire
}

func (c *Chain) sendStranger(form Form, owner, mint solana.Key, what byte, units uint64) solana.Signature {
	c.mu.Lock()
	defer c.mu.Unlock()
	tx := c.stranger(form, c.tip, owner, mint, what, units, nil)
	if !c.lost {
		c.pending = append(c.pending, tx)
	}
	return tx.signatures[0]
}

// stranger is a transaction that calls this package's own program. The caller has locked.
func (c *Chain) stranger(form Form, on *Block, owner, mint solana.Key, what byte, units uint64, text []byte) *transaction {
	account, ok := solana.AssociatedTokenAccount(owner, mint)
	if !ok {
		c.t.Fatal("solanarpctest: owner and mint have no associated token account")
	}
	seed := sha256.Sum256([]byte("stranger"))
	private := ed25519.NewKeyFromSeed(seed[:])
	signer := solana.Key(private.Public().(ed25519.PublicKey))
	c.nonce++
	data := binary.LittleEndian.AppendUint64([]byte{what}, units)
	data = append(binary.LittleEndian.AppendUint64(data, c.nonce), text...)
	tx := &transaction{
		version: "legacy", signers: 1, keys: []solana.Key{signer, account, owner, mint, strangerProgram}, blockHash: on.Hash,
		instructions: []instruction{{program: strangerProgram, accounts: []solana.Key{account, owner, mint}, data: data}},
	}
	called := append(appendCount(nil, len(data)), data...)
	switch form {
	case Tables:
		tx.version, tx.loaded = 0, 3
		tx.keys = []solana.Key{signer, strangerProgram, account, owner, mint}
		tx.message = slices.Concat([]byte{solana.FirstByte, 1, 0, 1, 2}, signer[:], strangerProgram[:], on.Hash[:],
			[]byte{1, 1, 3, 2, 3, 4}, called)
		// One table, whose first account is written, and whose next two are read.
		tx.message = append(append(tx.message, 1), slices.Concat(strangerTable[:], []byte{1, 0, 2, 1, 2})...)
	default:
		tx.message = []byte{1, 0, 3, byte(len(tx.keys))}
		for _, key := range append(slices.Clone(tx.keys), on.Hash) {
			tx.message = append(tx.message, key[:]...)
		}
		tx.message = append(append(tx.message, 1, 4, 3, 1, 2, 3), called...)
	}
	tx.signatures = []solana.Signature{solana.Signature(ed25519.Sign(private, tx.message))}
	tx.wire = append(append([]byte{1}, tx.signatures[0][:]...), tx.message...)
	if form == Version1 {
		tx.version, tx.wire = 1, append([]byte{version1Byte}, tx.wire...)
	}
	return tx
}

// appendCount appends a compact-u16.
func appendCount(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
