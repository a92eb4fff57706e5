package buy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/test/x402/vm"
)

// said is what another library reads in a transaction of the chain, with words in place of what differs from payer to payer and from
// payment to payment: the payer's address, its token account and the block hash. The memo is taken out and given apart.
func said(t *testing.T, node *vm.Node, signature, payer string) (says map[string]any, memo string) {
	t.Helper()
	result, err := node.Call("getTransaction", signature, map[string]any{
		"encoding": "base64", "maxSupportedTransactionVersion": 0, "commitment": "processed",
	})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Transaction []string `json:"transaction"`
	}
	if err := json.Unmarshal(result, &answer); err != nil || len(answer.Transaction) != 2 {
		t.Fatalf("%s: %v", result, err)
	}
	command := exec.CommandContext(t.Context(), "node", vm.Path("says.mjs"))
	command.Stdin, command.Stderr = strings.NewReader(answer.Transaction[0]+"\n"), os.Stderr
	text, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte(payer), []byte("the payer"))
	text = bytes.ReplaceAll(text, []byte(tokenAccount(t, node, payer)), []byte("the payer's token account"))
	if err := json.Unmarshal(text, &says); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	says["blockHash"] = "a block hash"
	for _, one := range says["instructions"].([]any) {
		if one := one.(map[string]any); one["name"] == "Memo" {
			memo = one["data"].(map[string]any)["memo"].(string)
			one["data"] = nil
		}
	}
	return says, memo
}

// tokenAccount is an owner's account of the network's USDC.
func tokenAccount(t *testing.T, node *vm.Node, owner string) string {
	t.Helper()
	key, err := solana.ParseKey(owner)
	if err != nil {
		t.Fatal(err)
	}
	mint, err := solana.ParseKey(node.Mint)
	if err != nil {
		t.Fatal(err)
	}
	account, ok := solana.AssociatedTokenAccount(key, mint)
	if !ok {
		t.Fatalf("%s has no token account", owner)
	}
	return account.String()
}
