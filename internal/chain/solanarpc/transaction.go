package solanarpc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"slices"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// versionMax is the newest version of transactions that is asked for. One of a newer version makes its call fail.
	versionMax = 1
	// wireMax is the size of the largest, of version 1.
	wireMax = 4096

	versionLegacy = -1
	version0Byte  = 0x80
	headerSize    = 3
)

// transaction is a finalised one.
type transaction struct {
	entry
	time    int64 // Seconds since 1970; 0 where the node does not know.
	version int64 // versionLegacy, 0 or 1.
	wire    []byte
	// signatures and message are wire's parts; there are none of version 1, which has another form and is never ours.
	signatures []solana.Signature
	message    []byte
	parts      parts
	meta       map[string]any
}

// transaction asks for the transaction behind an entry. Where it is of a form that this package reads, the signature that it was asked
// for by verifies over its message: a node cannot pass off one transaction for another.
func (e *endpoint) transaction(ctx context.Context, of entry) (transaction, error) {
	const method = "getTransaction"
	v, err := e.call(ctx, method, largeMax, of.signature.String(), options{
		"commitment": finalized, "encoding": "base64", "maxSupportedTransactionVersion": versionMax,
	})
	if err != nil {
		return transaction{}, err
	}
	t, why := parseTransaction(v, of)
	if why != "" {
		return transaction{}, e.fail(method, "has an answer that "+why)
	}
	return t, nil
}

// parseTransaction reads an answer that has to be about an entry.
func parseTransaction(v any, of entry) (transaction, string) {
	if v == nil {
		return transaction{}, "knows nothing of a transaction that was just listed"
	}
	var f fields
	answer := f.object(v)
	t := transaction{
		entry: entry{signature: of.signature, slot: f.number(f.member(answer, "slot"))},
		time:  f.seconds(answer["blockTime"]),
		wire:  f.bytes(f.member(answer, "transaction"), wireMax),
		meta:  f.object(f.member(answer, "meta")),
	}
	t.failed = f.member(t.meta, "err") != nil
	switch version := answer["version"].(type) {
	case json.Number:
		t.version = int64(f.number(version))
	case string:
		t.version = versionLegacy
		if version != "legacy" {
			f.refuse("has a transaction of an unknown version")
		}
	default:
		f.refuse("has a transaction without a version")
	}
	switch {
	case f.why != "":
		return transaction{}, f.why
	case t.version > versionMax:
		return transaction{}, "has a transaction of a version that was not asked for"
	case t.entry != of:
		return transaction{}, "has another slot or result for it than the list"
	case t.version == 1:
		return t, ""
	}
	var why string
	if t.signatures, t.message, why = splitWire(t.wire); why != "" {
		return transaction{}, why
	}
	if t.parts, why = splitMessage(t.message); why != "" {
		return transaction{}, why
	}
	switch {
	case (t.version == 0) != (t.message[0] == version0Byte):
		return transaction{}, "has a transaction of another version than it says"
	case t.parts.signers != len(t.signatures):
		return transaction{}, "has a transaction with more or fewer signatures than signers"
	case t.signatures[0] != of.signature:
		return transaction{}, "has another transaction"
	case !verifies(t.parts.keys[0], t.message, t.signatures[0]):
		return transaction{}, "has a transaction whose signature does not verify"
	}
	return t, ""
}

// carries says whether the message is the transaction's, whatever version that says it is of. A stranger who writes the message into
// an instruction's data has a message of its own around it, so that ours is not there.
func (t *transaction) carries(message []byte) bool {
	own := t.message
	if own == nil {
		_, own, _ = splitWire(t.wire) // One that is really of version 1 does not split.
	}
	return bytes.Equal(own, message)
}

// signed says whether every signer's signature verifies.
func (t *transaction) signed() bool {
	for i, signature := range t.signatures {
		if !verifies(t.parts.keys[i], t.message, signature) {
			return false
		}
	}
	return len(t.signatures) != 0
}

// signatureOf is a signer's signature, or zero for a key that signs nothing.
func (t *transaction) signatureOf(key solana.Key) solana.Signature {
	if i := slices.Index(t.parts.keys[:t.parts.signers], key); i >= 0 {
		return t.signatures[i]
	}
	return solana.Signature{}
}

// verifies is Ed25519's check. Solana's is stricter in what keys and points it takes, so what landed passes here.
func verifies(key solana.Key, message []byte, signature solana.Signature) bool {
	return ed25519.Verify(key[:], message, signature[:])
}

// splitWire splits anybody's transaction of the legacy form or of version 0. Unlike solana.ParseWire it takes messages that no template
// has; nothing is ever signed or paid because of it.
func splitWire(b []byte) (signatures []solana.Signature, message []byte, why string) {
	// A packet has no room for 128 signatures or accounts, so their counts are one byte each.
	if len(b) == 0 || len(b) > solana.WireMax || b[0] == 0 || b[0] > 0x7f {
		return nil, nil, "has a transaction that no packet carries"
	}
	n, b := int(b[0]), b[1:]
	if len(b) <= n*len(solana.Signature{}) {
		return nil, nil, "has a transaction that ends early"
	}
	for range n {
		signatures = append(signatures, solana.Signature(b[:len(solana.Signature{})]))
		b = b[len(solana.Signature{}):]
	}
	return signatures, b, ""
}

// parts are what this package reads of a message.
type parts struct {
	signers   int
	keys      []solana.Key // Without those from lookup tables. The first ones sign.
	blockHash solana.Key
}

// splitMessage reads the accounts and the block hash of a message of the legacy form or of version 0, and nothing behind them.
func splitMessage(b []byte) (p parts, why string) {
	if len(b) > 0 && b[0] == version0Byte {
		b = b[1:]
	}
	if len(b) <= headerSize || b[0] > 0x7f || b[headerSize] > 0x7f {
		return parts{}, "has a message without accounts"
	}
	signers, n := int(b[0]), int(b[headerSize])
	b = b[headerSize+1:]
	if signers == 0 || n < signers || len(b) < (n+1)*len(solana.Key{}) {
		return parts{}, "has a message that ends early, or that nobody signs"
	}
	p.signers = signers
	for range n {
		p.keys = append(p.keys, solana.Key(b[:len(solana.Key{})]))
		b = b[len(solana.Key{}):]
	}
	p.blockHash = solana.Key(b[:len(solana.Key{})])
	return p, ""
}
