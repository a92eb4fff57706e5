package vm

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// Node is node.mjs, running.
type Node struct {
	t testing.TB
	// URL is its endpoint, and Network what it stands in for, by CAIP-2.
	URL     string `json:"url"`
	Network string `json:"network"`
	// Mint is its USDC.
	Mint string `json:"usdc"`
	usdc solana.Key
}

// Start runs node.mjs with arguments until the test ends.
func Start(t testing.TB, arguments ...string) *Node {
	t.Helper()
	n := &Node{t: t}
	Program(t, "vm/node.mjs", n, arguments...)
	var err error
	if n.usdc, err = solana.ParseKey(n.Mint); err != nil {
		t.Fatal(err)
	}
	return n
}

// Program runs one of this folder's Node.js programs until the test ends, and reads its first line, which is JSON.
func Program(t testing.TB, file string, ready any, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "node", append([]string{Path(file)}, arguments...)...)
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("%s does not start: %v (it needs Node.js, and npm ci in test/x402)", file, err)
	}
	t.Cleanup(func() {
		_ = input.Close() // It ends with its input.
		_ = command.Wait()
	})
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		t.Fatalf("%s says %q, %v", file, line, err)
	}
	if err := json.Unmarshal(line, ready); err != nil {
		t.Fatalf("%s says %q, %v", file, line, err)
	}
}

// Path is where a file of test/x402 is.
func Path(file string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", file)
}

// Call asks the node; the error is what it refuses with.
func (n *Node) Call(method string, params ...any) (json.RawMessage, error) {
	n.t.Helper()
	question, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		n.t.Fatal(err)
	}
	response, err := http.Post(n.URL, "application/json", bytes.NewReader(question))
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		n.t.Fatalf("%s: %v", body, err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("%s: %s", method, answer.Error.Message)
	}
	return answer.Result, nil
}

// Post sends the body of a call as it is, and returns the text that it is answered with.
func (n *Node) Post(body []byte) string {
	n.t.Helper()
	response, err := http.Post(n.URL, "application/json", bytes.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Result string          `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Error != nil {
		n.t.Fatalf("%s is answered with %v, %s", body, err, answer.Error)
	}
	return answer.Result
}

// ask is Call for what the node must answer.
func (n *Node) ask(answer any, method string, params ...any) {
	n.t.Helper()
	result, err := n.Call(method, params...)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := json.Unmarshal(result, answer); err != nil {
		n.t.Fatalf("%s: %s: %v", method, result, err)
	}
}

// Advance makes blocks.
func (n *Node) Advance(blocks int) {
	n.t.Helper()
	var height int64
	n.ask(&height, "test_advance", map[string]any{"blocks": blocks})
}

// Send sends a transaction without the node's own trial, so that one that fails lands, too.
func (n *Node) Send(wire []byte) error {
	n.t.Helper()
	_, err := n.Call("sendTransaction", base64.StdEncoding.EncodeToString(wire), map[string]any{"encoding": "base64", "skipPreflight": true})
	return err
}

// Person is an ordinary key.
type Person struct {
	private ed25519.PrivateKey
	// Seed is its private key, in hex.
	Seed string
	// Key is its public one, and Account the token account that goes with it.
	Key, Account solana.Key
}

// Someone has a name, and in the machine some SOL and USDC. Units of nil are no token account.
func (n *Node) Someone(name string, sol int64, units any) Person {
	n.t.Helper()
	seed := sha256.Sum256([]byte(name))
	p := Person{private: ed25519.NewKeyFromSeed(seed[:]), Seed: hex.EncodeToString(seed[:])}
	p.Key = solana.Key(p.private.Public().(ed25519.PublicKey))
	account, ok := solana.AssociatedTokenAccount(p.Key, n.usdc)
	if !ok {
		n.t.Fatal("no token account")
	}
	p.Account = account
	n.Fund(p.Key.String(), map[string]any{"sol": sol, "usdc": units})
	return p
}

// Sign signs bytes.
func (p Person) Sign(message []byte) solana.Signature {
	return solana.Signature(ed25519.Sign(p.private, message))
}

// Fund gives an address what the machine's test_fund gives: "sol", "usdc" or both, as if it had always been so.
func (n *Node) Fund(address string, what map[string]any) {
	n.t.Helper()
	params := map[string]any{"owner": address}
	for name, amount := range what {
		params[name] = amount
	}
	var account string
	n.ask(&account, "test_fund", params)
}

// Units are what an address has in USDC now, final or not.
func (n *Node) Units(address string) int64 {
	n.t.Helper()
	var text *string
	n.ask(&text, "test_units", map[string]any{"owner": address})
	if text == nil {
		return 0
	}
	units, err := strconv.ParseInt(*text, 10, 64)
	if err != nil {
		n.t.Fatal(err)
	}
	return units
}

// Lamports are what an address has in SOL when the newest block is confirmed.
func (n *Node) Lamports(address string) int64 {
	n.t.Helper()
	var answer struct {
		Value int64 `json:"value"`
	}
	n.ask(&answer, "getBalance", address, map[string]any{"commitment": "processed"})
	return answer.Value
}

// Transactions are the signatures of what has touched an owner's USDC, failed or not, newest first.
func (n *Node) Transactions(address string) []string {
	n.t.Helper()
	owner, err := solana.ParseKey(address)
	if err != nil {
		n.t.Fatal(err)
	}
	account, _ := solana.AssociatedTokenAccount(owner, n.usdc)
	var list []struct {
		Signature string `json:"signature"`
	}
	n.ask(&list, "getSignaturesForAddress", account.String(), map[string]any{"commitment": "processed"})
	signatures := make([]string, len(list))
	for i := range list {
		signatures[i] = list[i].Signature
	}
	return signatures
}

// BlockHash is the hash of a block that is confirmed.
func (n *Node) BlockHash() string {
	n.t.Helper()
	var latest struct {
		Value struct {
			Hash string `json:"blockhash"`
		} `json:"value"`
	}
	n.ask(&latest, "getLatestBlockhash", map[string]any{"commitment": "confirmed"})
	return latest.Value.Hash
}

// Transfer has somebody send units to an address, in a transaction of the chain, which creates the token account that is missing.
func (n *Node) Transfer(from Person, address string, units int64) {
	n.t.Helper()
	to, err := solana.ParseKey(address)
	if err != nil {
		n.t.Fatal(err)
	}
	hash, err := solana.ParseKey(n.BlockHash()) // A hash has a key's text.
	if err != nil {
		n.t.Fatal(err)
	}
	message, err := solana.Message{
		Layout: solana.Transfer, FeePayer: from.Key, Payer: from.Key, Recipient: to, Mint: n.usdc, Units: units, Decimals: 6,
		Memo: rand.Text(), BlockHash: hash,
	}.Encode()
	if err != nil {
		n.t.Fatal(err)
	}
	wire, err := solana.Wire(message, from.Sign(message))
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.Send(wire); err != nil {
		n.t.Fatal(err)
	}
}
