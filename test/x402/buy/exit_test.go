package buy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/test/x402/vm"
)

// TestExit: with every service stopped, agent and owner together still move the wallet's money, by a transaction that any node takes.
// The services, back again, book what they had no part in, and the audit says so.
func TestExit(t *testing.T) {
	t.Parallel()
	node := vm.Start(t, "--network", "devnet", "--block-milliseconds", "100")
	refuge := node.Someone("refuge", 0, nil)
	agent := install(t, node).agent("agent")
	agent.fund("2000000", node.Someone("somebody with money", 1_000_000_000, 10_000_000), 2_000_000)
	node.Fund(agent.Address, map[string]any{"sol": 5_000_000})

	passphrase, share := filepath.Join(agent.dir, "passphrase"), filepath.Join(agent.dir, "share")
	if err := os.WriteFile(passphrase, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	agent.owner("recovery", "create", agent.Wallet, share, "--passphrase-file", passphrase)
	if got := agent.run(agent.Handle, "reshare"); got.Code != 0 {
		t.Fatalf("%+v", got)
	}
	agent.owner("recovery", "open", share, "--passphrase-file", passphrase)

	agent.stop()
	if got := agent.run(agent.Handle, "balance"); got.Code == 0 {
		t.Fatal("a service answers")
	}
	var made struct {
		Transaction string          `json:"transaction"`
		Request     json.RawMessage `json:"request"`
	}
	agent.ask(&made, 0, agent.Handle, "recovery", "exit", agent.Wallet, share, "--passphrase-file", passphrase, "--to", refuge.Key.String(),
		"--amount", "1.25", "--asset", "USDC-devnet", "--block-hash", node.BlockHash(), "--yes")
	if units := node.Units(refuge.Key.String()); units != 0 {
		t.Fatalf("it is signed, sent to nobody, and %d units have moved", units)
	}
	if landed := node.Post(made.Request); landed != made.Transaction {
		t.Errorf("the node names it %s, and halfkey %s", landed, made.Transaction)
	}
	if has, got := node.Units(agent.Address), node.Units(refuge.Key.String()); has != 750_000 || got != 1_250_000 {
		t.Errorf("%d units are left, and %d have arrived", has, got)
	}

	agent.serve()
	agent.wait("what left past the ledger in the balance", func() bool { return agent.available() == "750000" })
	var audit struct {
		Outflows []struct {
			Asset   string `json:"asset"`
			Units   string `json:"units"`
			Payment string `json:"payment"`
		} `json:"outflows"`
	}
	agent.ask(&audit, 0, "owner", "audit", "verify", agent.Wallet)
	if len(audit.Outflows) != 1 || audit.Outflows[0].Units != "1250000" || audit.Outflows[0].Payment != "" {
		t.Errorf("%+v", audit)
	}
	if said := agent.verified(0); !strings.Contains(said.Out, "WARNING: 1.25 USDC left on the chain without a payment") {
		t.Errorf("the audit says\n%s", said.Out)
	}
}
