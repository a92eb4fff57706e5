package solanarpctest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// Codes of a node's refusals.
const (
	codeNotSigned  = -32003
	codeNoBlock    = -32004
	codeVersion    = -32015
	codeBehind     = -32016
	codeNoMethod   = -32601
	codeBadRequest = -32602
)

// Option is how an endpoint differs from an honest one that knows everything at once.
type Option func(*Endpoint)

// Behind has it know the chain only up to so many blocks before the newest ones.
func Behind(blocks int) Option { return func(e *Endpoint) { e.behind = uint64(blocks) } }

// Pruned has it know nothing from before a slot.
func Pruned(first uint64) Option { return func(e *Endpoint) { e.first = first } }

// Hole has it know no block from one slot to another, both included.
func Hole(from, to uint64) Option { return func(e *Endpoint) { e.holeFrom, e.holeTo = from, to } }

// Showing has it take a block, of a fork or a Branch, for the newest one and all of that fork for final.
func Showing(tip *Block) Option { return func(e *Endpoint) { e.shown = tip } }

// Final has it take a block for the newest that is final, whatever else it has.
func Final(tip *Block) Option { return func(e *Endpoint) { e.final = tip } }

// Lagging has it answer a method as if it knew so many blocks less: one of many machines behind one address.
func Lagging(method string, blocks int) Option {
	return func(e *Endpoint) { e.lagging, e.lag = method, uint64(blocks) }
}

// Unindexed has it list nothing of its newest final blocks, so many of them.
func Unindexed(blocks int) Option { return func(e *Endpoint) { e.unindexed = uint64(blocks) } }

// Paging has it list no more than so many transactions at once.
func Paging(size int) Option { return func(e *Endpoint) { e.pageMax = size } }

// Silent has it take questions and answer none until the caller gives up.
func Silent() Option {
	return Answering(func(c *Call) bool {
		<-c.Request.Context().Done()
		return true
	})
}

// Down has it answer with an HTTP status alone.
func Down(status int) Option {
	return Answering(func(c *Call) bool {
		c.Writer.WriteHeader(status)
		return true
	})
}

// Hiding has it list no transaction around one of these messages, and show none.
func Hiding(messages ...[]byte) Option {
	return func(e *Endpoint) { e.hidden = messages }
}

// Answering gives it a say in each answer: the function may change the result, or write an answer of its own and return true. It is called
// from many goroutines.
func Answering(hook func(*Call) bool) Option { return func(e *Endpoint) { e.hook = hook } }

// Endpoint is a node of the chain.
type Endpoint struct {
	// URL is where it answers.
	URL   string
	chain *Chain

	mu    sync.Mutex
	asked map[string]int
	behavior
}

// behavior is what options change. The zero behavior is an honest node's that knows everything at once.
type behavior struct {
	behind           uint64
	first            uint64
	holeFrom, holeTo uint64
	shown, final     *Block
	lagging          string
	lag              uint64
	unindexed        uint64
	pageMax          int
	hidden           [][]byte
	hook             func(*Call) bool
}

// Endpoint starts a node on loopback, which ends with the test.
func (c *Chain) Endpoint(options ...Option) *Endpoint {
	e := &Endpoint{chain: c, asked: map[string]int{}}
	for _, option := range options {
		option(e)
	}
	server := httptest.NewServer(e)
	e.URL = server.URL
	c.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return e
}

// Become takes back all earlier options and takes these.
func (e *Endpoint) Become(options ...Option) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.behavior = behavior{}
	for _, option := range options {
		option(e)
	}
}

// Asked is how often a method was asked.
func (e *Endpoint) Asked(method string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[method]
}

// Questions is how often anything was asked.
func (e *Endpoint) Questions() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, times := range e.asked {
		n += times
	}
	return n
}

// Call is one question, and the answer that the node would give.
type Call struct {
	// Method and Params are the question.
	Method string
	Params []any
	// Result is the answer; a Refusal is sent as JSON-RPC's error.
	Result any
	// ID is the question's, as it was written.
	ID json.RawMessage
	// Writer and Request are HTTP's, for an answer that is none.
	Writer  http.ResponseWriter
	Request *http.Request
}

// Refusal is a JSON-RPC error, by its code.
type Refusal int

// Config is the last parameter.
func (c *Call) Config() map[string]any {
	if len(c.Params) == 0 {
		return nil
	}
	config, _ := c.Params[len(c.Params)-1].(map[string]any)
	return config
}

// Write answers with these bytes, whatever they are.
func (c *Call) Write(body string) bool {
	c.Writer.Header().Set("Content-Type", "application/json")
	_, _ = c.Writer.Write([]byte(body))
	return true
}

// Redirect sends whoever asks elsewhere.
func (c *Call) Redirect(url string) bool {
	http.Redirect(c.Writer, c.Request, url, http.StatusTemporaryRedirect)
	return true
}

// ServeHTTP answers one question.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var question struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  []any           `json:"params"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&question); err != nil || question.JSONRPC != "2.0" {
		http.Error(w, "bad question", http.StatusBadRequest)
		return
	}
	c := &Call{Method: question.Method, Params: question.Params, ID: question.ID, Writer: w, Request: r}
	e.mu.Lock()
	e.asked[c.Method]++
	hook := e.hook
	e.chain.mu.Lock()
	c.Result = e.answer(c)
	e.chain.mu.Unlock()
	e.mu.Unlock()
	if hook != nil && hook(c) {
		return
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": c.ID, "result": c.Result}
	if code, refused := c.Result.(Refusal); refused {
		delete(answer, "result")
		answer["error"] = map[string]any{"code": int(code), "message": "no"}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "no answer", http.StatusInternalServerError)
		return
	}
	c.Write(string(body))
}

// tip is the newest block that the node takes for final, or for confirmed.
func (e *Endpoint) tip(commitment any) *Block {
	switch {
	case e.final != nil && commitment == "finalized":
		return e.final
	case e.shown != nil:
		return e.shown
	case commitment == "finalized" || commitment == nil: // The nodes' default.
		return e.chain.final.back(e.behind)
	}
	return e.chain.tip.back(e.behind)
}

// has says whether a block is still, and was ever, in the node's history.
func (e *Endpoint) has(b *Block) bool {
	return b.Slot >= e.first && (b.Slot < e.holeFrom || b.Slot > e.holeTo)
}

// key reads the first parameter.
func (c *Call) key() solana.Key {
	if len(c.Params) == 0 {
		return solana.Key{}
	}
	text, _ := c.Params[0].(string)
	key, _ := solana.ParseKey(text)
	return key
}

// number reads a parameter.
func (c *Call) number(i int) uint64 {
	if i >= len(c.Params) {
		return 0
	}
	n, _ := c.Params[i].(float64)
	return uint64(n)
}

// answer is what an honest node with this history says.
func (e *Endpoint) answer(c *Call) any {
	config := c.Config()
	tip := e.tip(config["commitment"])
	if c.Method == e.lagging {
		tip = tip.back(e.lag)
	}
	if least, ok := config["minContextSlot"].(float64); ok && tip.Slot < uint64(least) {
		return Refusal(codeBehind)
	}
	in := func(value any) any {
		return map[string]any{"context": map[string]any{"slot": tip.Slot, "apiVersion": "3.1.0"}, "value": value}
	}
	switch c.Method {
	case "getGenesisHash":
		return e.chain.genesis.String()
	case "getEpochInfo":
		return map[string]any{
			"absoluteSlot": tip.Slot, "blockHeight": tip.Height, "epoch": 1, "slotIndex": 1, "slotsInEpoch": 432000, "transactionCount": nil,
		}
	case "getLatestBlockhash":
		return in(map[string]any{"blockhash": tip.Hash.String(), "lastValidBlockHeight": tip.Height + hashBlocks})
	case "isBlockhashValid":
		return in(tip.knows(c.key(), hashBlocks))
	case "getFirstAvailableBlock":
		return max(e.first, firstSlot)
	case "getBlock":
		b := tip.at(c.number(0))
		if b == nil || !e.has(b) {
			return Refusal(codeNoBlock)
		}
		parent := uint64(0)
		if b.parent != nil {
			parent = b.parent.Slot
		}
		return map[string]any{"blockHeight": b.Height, "blockhash": b.Hash.String(), "blockTime": b.Time().Unix(), "parentSlot": parent}
	case "getBlocksWithLimit":
		start, limit := c.number(0), int(c.number(1))
		slots := []uint64{}
		for at := tip; at != nil && at.Slot >= start; at = at.parent {
			if e.has(at) {
				slots = append(slots, at.Slot)
			}
		}
		slices.Reverse(slots)
		return slots[:min(limit, len(slots))]
	case "getSignaturesForAddress":
		return e.page(c, tip)
	case "getTransaction":
		return e.transaction(c, tip)
	case "getAccountInfo":
		return in(account(tip.state, c.key()))
	case "getBalance":
		return in(tip.state.lamports[c.key()])
	case "sendTransaction":
		return e.send(c)
	}
	return Refusal(codeNoMethod)
}

// account is what a node shows of a token account, or of one that has SOL alone.
func account(a *accounts, key solana.Key) any {
	held, is := a.tokens[key]
	owner, lamports, data := tokenProgramText, uint64(TokenAccountRent), make([]byte, 165)
	switch {
	case is:
		copy(data, held.mint[:])
		copy(data[32:], held.owner[:])
		binary.LittleEndian.PutUint64(data[64:], held.units)
		data[108] = 1
		if held.frozen {
			data[108] = 2
		}
	case a.lamports[key] != 0:
		owner, lamports, data = system.String(), a.lamports[key], nil
	default:
		return nil
	}
	return map[string]any{
		"data": Bytes(data), "executable": false, "lamports": lamports, "owner": owner, "rentEpoch": json.Number("18446744073709551615"),
		"space": len(data),
	}
}

// Bytes are bytes as a node tells them.
func Bytes(b []byte) []string { return []string{base64.StdEncoding.EncodeToString(b), "base64"} }

// shows says whether a node tells of a transaction.
func (e *Endpoint) shows(tx *transaction) bool {
	return !slices.ContainsFunc(e.hidden, func(message []byte) bool { return string(message) == string(tx.message) })
}

// page lists transactions that name an account, newest first.
func (e *Endpoint) page(c *Call, tip *Block) any {
	config, account := c.Config(), c.key()
	before, _ := config["before"].(string)
	limit, _ := config["limit"].(float64)
	if e.pageMax != 0 {
		limit = min(limit, float64(e.pageMax))
	}
	page := []map[string]any{}
	met := before == ""
	for at := tip.back(e.unindexed); at != nil && len(page) < int(limit); at = at.parent {
		if !e.has(at) {
			continue
		}
		for _, tx := range slices.Backward(at.txs) {
			signature := tx.signatures[0].String()
			if !slices.Contains(tx.keys, account) || !e.shows(tx) || len(page) == int(limit) {
				continue
			}
			if !met {
				met = signature == before
				continue
			}
			page = append(page, map[string]any{
				"signature": signature, "slot": at.Slot, "err": problem(tx), "memo": nil, "blockTime": at.Time().Unix(),
				"confirmationStatus": "finalized",
			})
		}
	}
	return page
}

// problem is the err of a transaction.
func problem(tx *transaction) any {
	if tx.failed {
		return map[string]any{"InstructionError": []any{2, map[string]any{"Custom": 1}}}
	}
	return nil
}

// transaction shows one.
func (e *Endpoint) transaction(c *Call, tip *Block) any {
	text, _ := c.Params[0].(string)
	config := c.Config()
	for at := tip; at != nil; at = at.parent {
		for _, tx := range at.txs {
			if !e.has(at) || tx.signatures[0].String() != text || !e.shows(tx) {
				continue
			}
			if most, _ := config["maxSupportedTransactionVersion"].(float64); tx.version == 1 && most < 1 {
				return Refusal(codeVersion)
			}
			loaded := tx.keys[len(tx.keys)-tx.loaded:]
			written := min(1, tx.loaded)
			meta := map[string]any{
				"err": problem(tx), "fee": tx.fee(), "logMessages": []string{"Program log: ok"},
				"preTokenBalances": e.balances(tx.before), "postTokenBalances": e.balances(tx.after),
				"loadedAddresses": map[string]any{"writable": addresses(loaded[:written]), "readonly": addresses(loaded[written:])},
			}
			var body any = Bytes(tx.wire)
			if config["encoding"] == "json" {
				body = map[string]any{
					"signatures": []string{text}, "message": map[string]any{"accountKeys": addresses(tx.keys[:len(tx.keys)-tx.loaded])},
				}
			}
			return map[string]any{"slot": at.Slot, "blockTime": at.Time().Unix(), "version": tx.version, "transaction": body, "meta": meta}
		}
	}
	return nil
}

// addresses are keys as a node tells them.
func addresses(keys []solana.Key) []string {
	texts := []string{}
	for _, key := range keys {
		texts = append(texts, key.String())
	}
	return texts
}

// balances are token accounts as a transaction's meta tells them.
func (e *Endpoint) balances(held map[int]tokenAccount) []map[string]any {
	list := []map[string]any{}
	for place, one := range held {
		list = append(list, map[string]any{
			"accountIndex": place, "mint": one.mint.String(), "owner": one.owner.String(), "programId": tokenProgramText,
			"uiTokenAmount": map[string]any{
				"amount": strconv.FormatUint(one.units, 10), "decimals": decimals, "uiAmount": nil, "uiAmountString": "?",
			},
		})
	}
	return list
}

// send hands a transaction on, as a node does that is told to skip its own trial.
func (e *Endpoint) send(c *Call) any {
	text, _ := c.Params[0].(string)
	wire, err := base64.StdEncoding.DecodeString(text)
	if err != nil || c.Config()["encoding"] != "base64" || c.Config()["skipPreflight"] != true {
		return Refusal(codeBadRequest)
	}
	tx, why := split(wire)
	if why != "" {
		return Refusal(codeNotSigned)
	}
	e.chain.send(wire)
	return tx.signatures[0].String()
}
