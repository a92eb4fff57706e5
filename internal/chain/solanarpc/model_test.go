package solanarpc_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
)

// The model is a small chain with slots, blocks, forks and finality, and nodes that show it over HTTP as Solana's do. What a block may
// hold follows the chain's rule and is written here a second time.

// modelBlock is a block; its transactions are executed.
type modelBlock struct {
	slot, height uint64
	hash         solana.Key
	parent       *modelBlock
	txs          []*modelTx
}

// modelTx is a transaction as it is in a block.
type modelTx struct {
	wire          []byte
	signature     solana.Signature
	message       []byte
	version       any // "legacy", 0 or 1.
	keys          []solana.Key
	failed        bool
	account       solana.Key // Whose balance it changes,
	before, after int64      // from and to.
}

// newBlock puts a block on parent. salt tells forks apart.
func newBlock(parent *modelBlock, slot uint64, salt byte) *modelBlock {
	b := &modelBlock{slot: slot, parent: parent}
	if parent != nil {
		b.height = parent.height + 1
	}
	text := binary.BigEndian.AppendUint64([]byte{salt}, slot)
	b.hash = sha256.Sum256(text)
	return b
}

// takes is the chain's rule: a block's hash is good for the 151 blocks after it, and a message lands once.
func (b *modelBlock) takes(tx *modelTx, blockHash [32]byte) bool {
	known := false
	for at := b.parent; at != nil && b.height-at.height <= 151; at = at.parent {
		if at.hash == solana.Key(blockHash) {
			known = true
			break
		}
	}
	return known && b.holding(tx.message) == nil
}

// holding is the block, among b and its ancestors, that holds the message.
func (b *modelBlock) holding(message []byte) *modelBlock {
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
func (b *modelBlock) back(n uint64) *modelBlock {
	for ; n > 0 && b.parent != nil; n-- {
		b = b.parent
	}
	return b
}

// at is the ancestor in a slot.
func (b *modelBlock) at(slot uint64) *modelBlock {
	for at := b; at != nil && at.slot >= slot; at = at.parent {
		if at.slot == slot {
			return at
		}
	}
	return nil
}

// modelNode shows a chain.
type modelNode struct {
	t       *testing.T
	mu      sync.Mutex
	genesis solana.Key
	// finalized and confirmed are how far it is.
	finalized, confirmed *modelBlock
	// unindexed is how many of its last finalised blocks its lists do not show yet.
	unindexed uint64
	// first is its oldest slot; blocks between holeFrom and holeTo it has not.
	first, holeFrom, holeTo uint64
	// lags are how many blocks the answers to a method are behind: many machines behind one address.
	lags map[string]uint64
	// pages are shorter than asked for, if set.
	pageMax int
	// balances are token accounts as they are told, by address: mint, owner and units.
	balances map[solana.Key]modelAccount
	// hostile may change an answer, or give one of its own and return true.
	hostile func(*modelCall) bool
	url     string
	close   func()
}

type modelAccount struct {
	mint, owner solana.Key
	units       uint64
	frozen      bool
}

// modelCall is one question and the answer that the node would give.
type modelCall struct {
	w      http.ResponseWriter
	r      *http.Request
	id     json.RawMessage
	method string
	params []any
	result any
}

// send writes a whole body.
func (c *modelCall) send(body string) bool {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write([]byte(body))
	return true
}

// rpcError refuses a question.
type rpcError int

// config is the last parameter.
func (c *modelCall) config() map[string]any {
	if len(c.params) == 0 {
		return nil
	}
	config, _ := c.params[len(c.params)-1].(map[string]any)
	return config
}

// startNode serves a node on loopback.
func startNode(t *testing.T, n *modelNode) *modelNode {
	t.Helper()
	serveNode(t, n)
	t.Cleanup(n.close)
	return n
}

// serveNode serves a node until it is closed.
func serveNode(t *testing.T, n *modelNode) *modelNode {
	n.t = t
	server := httptest.NewServer(n)
	n.url, n.close = server.URL, server.Close
	return n
}

func (n *modelNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var question struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  []any           `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || question.JSONRPC != "2.0" {
		http.Error(w, "bad question", http.StatusBadRequest)
		return
	}
	n.mu.Lock()
	c := &modelCall{w: w, r: r, id: question.ID, method: question.Method, params: question.Params}
	c.result = n.answer(c)
	hostile := n.hostile
	n.mu.Unlock()
	if hostile != nil && hostile(c) {
		return
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": c.id, "result": c.result}
	if code, failed := c.result.(rpcError); failed {
		delete(answer, "result")
		answer["error"] = map[string]any{"code": int(code), "message": "no"}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	c.send(string(body))
}

// answer is what an honest node says.
func (n *modelNode) answer(c *modelCall) any {
	config := c.config()
	tip := n.finalized
	if config["commitment"] == "confirmed" {
		tip = n.confirmed
	}
	tip = tip.back(n.lags[c.method])
	if least, ok := config["minContextSlot"].(float64); ok && tip.slot < uint64(least) {
		return rpcError(-32016)
	}
	context := map[string]any{"slot": tip.slot, "apiVersion": "3.1.0"}
	switch c.method {
	case "getGenesisHash":
		return n.genesis.String()
	case "getEpochInfo":
		return map[string]any{
			"absoluteSlot": tip.slot, "blockHeight": tip.height, "epoch": 1, "slotIndex": 1, "slotsInEpoch": 432000, "transactionCount": nil,
		}
	case "getLatestBlockhash":
		return map[string]any{
			"context": context, "value": map[string]any{"blockhash": tip.hash.String(), "lastValidBlockHeight": tip.height + 150},
		}
	case "isBlockhashValid":
		valid, hash := false, mustKey(c.params[0].(string))
		for at := tip; at != nil && tip.height-at.height <= 150; at = at.parent {
			valid = valid || at.hash == hash
		}
		return map[string]any{"context": context, "value": valid}
	case "getFirstAvailableBlock":
		return n.first
	case "getBlock":
		slot := uint64(c.params[0].(float64))
		b := tip.at(slot)
		if b == nil || !n.has(b) {
			return rpcError(-32004)
		}
		return map[string]any{"blockHeight": b.height, "blockhash": b.hash.String(), "blockTime": n.time(b), "parentSlot": slot - 1}
	case "getBlocksWithLimit":
		start, limit := uint64(c.params[0].(float64)), int(c.params[1].(float64))
		var slots []uint64
		for at := tip; at != nil && at.slot >= start; at = at.parent {
			if n.has(at) {
				slots = append(slots, at.slot)
			}
		}
		slices.Reverse(slots)
		return slots[:min(limit, len(slots))]
	case "getSignaturesForAddress":
		return n.page(c, tip)
	case "getTransaction":
		return n.transaction(c, tip)
	case "getAccountInfo":
		account, ok := n.balances[mustKey(c.params[0].(string))]
		if !ok {
			return map[string]any{"context": context, "value": nil}
		}
		data := make([]byte, 165)
		copy(data, account.mint[:])
		copy(data[32:], account.owner[:])
		binary.LittleEndian.PutUint64(data[64:], account.units)
		data[108] = 1
		if account.frozen {
			data[108] = 2
		}
		return map[string]any{"context": context, "value": map[string]any{
			"data": []string{base64.StdEncoding.EncodeToString(data), "base64"}, "executable": false, "lamports": 2039280,
			"owner": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", "rentEpoch": json.Number("18446744073709551615"), "space": 165,
		}}
	}
	return rpcError(-32601)
}

// has says whether a block is still, and was ever, in the node's history.
func (n *modelNode) has(b *modelBlock) bool {
	return b.slot >= n.first && (b.slot < n.holeFrom || b.slot > n.holeTo)
}

func (n *modelNode) time(b *modelBlock) int64 { return 1_800_000_000 + int64(b.slot)*4/10 }

// listed are a node's transactions that name an account, newest first.
func (n *modelNode) listed(tip *modelBlock, account solana.Key) (list []*modelTx, in []*modelBlock) {
	for at := tip.back(n.unindexed); at != nil; at = at.parent {
		if !n.has(at) {
			continue
		}
		for _, tx := range slices.Backward(at.txs) {
			for _, key := range tx.keys {
				if key == account {
					list, in = append(list, tx), append(in, at)
				}
			}
		}
	}
	return list, in
}

func (n *modelNode) page(c *modelCall, tip *modelBlock) any {
	config := c.config()
	list, in := n.listed(tip, mustKey(c.params[0].(string)))
	start := 0
	if text, ok := config["before"].(string); ok {
		before, _ := solana.ParseSignature(text)
		start = len(list)
		for i, tx := range list {
			if tx.signature == before {
				start = i + 1
			}
		}
	}
	limit := int(config["limit"].(float64))
	if n.pageMax != 0 {
		limit = min(limit, n.pageMax)
	}
	page := []map[string]any{}
	for i := start; i < len(list) && len(page) < limit; i++ {
		page = append(page, map[string]any{
			"signature": list[i].signature.String(), "slot": in[i].slot, "err": problem(list[i].failed), "memo": nil, "blockTime": n.time(in[i]),
			"confirmationStatus": "finalized",
		})
	}
	return page
}

// problem is the err of a transaction.
func problem(failed bool) any {
	if failed {
		return map[string]any{"InstructionError": []any{2, map[string]any{"Custom": 1}}}
	}
	return nil
}

func (n *modelNode) transaction(c *modelCall, tip *modelBlock) any {
	config := c.config()
	signature, _ := solana.ParseSignature(c.params[0].(string))
	for at := tip; at != nil; at = at.parent {
		for _, tx := range at.txs {
			if !n.has(at) || tx.signature != signature {
				continue
			}
			if most, _ := config["maxSupportedTransactionVersion"].(float64); tx.version == 1 && most < 1 {
				return rpcError(-32015)
			}
			place := slices.Index(tx.keys, tx.account)
			balance := func(units int64) []map[string]any {
				if place < 0 || units == 0 {
					return []map[string]any{}
				}
				return []map[string]any{{
					"accountIndex": place, "mint": usdc, "owner": usdc, "programId": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
					"uiTokenAmount": map[string]any{"amount": fmt.Sprint(units), "decimals": 6, "uiAmount": float64(units) / 1e6, "uiAmountString": "?"},
				}}
			}
			var body any = []string{base64.StdEncoding.EncodeToString(tx.wire), "base64"}
			if config["encoding"] == "json" {
				var keys []string
				for _, key := range tx.keys {
					keys = append(keys, key.String())
				}
				body = map[string]any{"signatures": []string{tx.signature.String()}, "message": map[string]any{"accountKeys": keys}}
			}
			answer := map[string]any{
				"slot": at.slot, "blockTime": n.time(at), "version": tx.version, "transaction": body,
				"meta": map[string]any{
					"err": problem(tx.failed), "fee": 10001, "logMessages": []string{"Program log: ok"},
					"preTokenBalances": balance(tx.before), "postTokenBalances": balance(tx.after),
				},
			}
			if tx.version == 0 {
				// The model's tables hold only what no static account is.
				static := messageKeys(tx.message)
				var loaded []string
				for _, key := range tx.keys[len(static):] {
					loaded = append(loaded, key.String())
				}
				if loaded == nil {
					loaded = []string{}
				}
				answer["meta"].(map[string]any)["loadedAddresses"] = map[string]any{"writable": loaded, "readonly": []string{}}
			}
			return answer
		}
	}
	return nil
}

const usdc = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"

// messageKeys are the accounts that stand in a message.
func messageKeys(message []byte) (keys []solana.Key) {
	if message[0] == 0x80 {
		message = message[1:]
	}
	for i := range int(message[3]) {
		keys = append(keys, solana.Key(message[4+32*i:][:32]))
	}
	return keys
}

// person is an ordinary key.
type person struct {
	private ed25519.PrivateKey
	key     solana.Key
}

func newPerson(name string) person {
	seed := sha256.Sum256([]byte(name))
	private := ed25519.NewKeyFromSeed(seed[:])
	return person{private, solana.Key(private.Public().(ed25519.PublicKey))}
}

func (p person) sign(message []byte) solana.Signature {
	return solana.Signature(ed25519.Sign(p.private, message))
}

var (
	wallet, feePayer, shop = newPerson("wallet"), newPerson("fee payer"), newPerson("shop")
	stranger               = newPerson("stranger")
)

func mustATA(owner solana.Key) solana.Key {
	mint, err := solana.ParseKey(usdc)
	if err != nil {
		panic(err)
	}
	account, ok := solana.AssociatedTokenAccount(owner, mint)
	if !ok {
		panic("no account")
	}
	return account
}

// payment is the wallet's message in the x402 layout, and the transaction around it.
func payment(t *testing.T, blockHash [32]byte, memo string) *modelTx {
	t.Helper()
	mint, err := solana.ParseKey(usdc)
	if err != nil {
		t.Fatal(err)
	}
	message, err := solana.Message{
		Layout: solana.X402, FeePayer: feePayer.key, Payer: wallet.key, Recipient: shop.key, Mint: mint, Units: 1000, Decimals: 6, Memo: memo,
		BlockHash: blockHash,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return around(t, message, feePayer.sign(message), wallet.sign(message))
}

// around is the transaction with these signatures, whether they verify or not.
func around(t *testing.T, message []byte, signatures ...solana.Signature) *modelTx {
	t.Helper()
	wire, err := solana.Wire(message, signatures...)
	if err != nil {
		t.Fatal(err)
	}
	return &modelTx{
		wire: wire, signature: signatures[0], message: message, version: 0, keys: messageKeys(message), account: mustATA(wallet.key),
		before: 5000, after: 4000,
	}
}

// dust is a stranger's transaction in the legacy form that names an account.
func dust(account solana.Key, n uint64) *modelTx {
	return quote(account, binary.BigEndian.AppendUint64(nil, n))
}

// quote is a stranger's transaction that names an account and has some bytes as an instruction's data.
func quote(account solana.Key, data []byte) *modelTx {
	message := []byte{1, 0, 1, 2}
	message = append(message, stranger.key[:]...)
	message = append(message, account[:]...)
	message = append(message, make([]byte, 32)...)
	message = append(message, 1, 1, 0)
	for n := len(data); ; n >>= 7 {
		if n < 0x80 {
			message = append(message, byte(n))
			break
		}
		message = append(message, byte(n)|0x80)
	}
	message = append(message, data...)
	signature := stranger.sign(message)
	wire := append([]byte{1}, signature[:]...)
	return &modelTx{
		wire: append(wire, message...), signature: signature, message: message, version: "legacy", keys: []solana.Key{stranger.key, account},
		account: account,
	}
}

// newClient is a client of nodes.
func newClient(t *testing.T, nodes ...*modelNode) *solanarpc.Client {
	t.Helper()
	return newClientWith(t, clientTimeout, nodes...)
}

func newClientWith(t *testing.T, timeout time.Duration, nodes ...*modelNode) *solanarpc.Client {
	t.Helper()
	config := solanarpc.Config{Network: "solana:" + nodes[0].genesis.String()[:32], Timeout: timeout}
	for _, n := range nodes {
		config.Endpoints = append(config.Endpoints, n.url)
	}
	client, err := solanarpc.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}
