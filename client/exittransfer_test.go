package client_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// devnetUSDC is the token of the tests' chain.
func devnetUSDC(t *testing.T) (asset string, mint solana.Key) {
	t.Helper()
	for _, token := range resource.Tokens() {
		if token.Network == resource.SolanaDevnet && token.Symbol == "USDC" {
			mint, err := solana.ParseKey(token.Mint)
			if err != nil {
				t.Fatal(err)
			}
			return token.Asset(), mint
		}
	}
	t.Fatal("devnet has no USDC")
	return "", solana.Key{}
}

// person is a key of somebody who has nothing to do with an installation.
func person(seed byte) [32]byte {
	return [32]byte(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)).Public().(ed25519.PublicKey))
}

// TestExitPay stops every service for good. What the owner's recovery share and the agent's home make together, a chain takes.
func TestExitPay(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	file := w.enrol(t)
	h.Kill()
	agent, err := h.Client(w.home).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	asset, mint := devnetUSDC(t)
	chain := solanarpctest.New(t, resource.SolanaDevnet)
	payer, recipient := solana.Key(agent.GroupKey()), person(1)
	chain.Fund(payer, mint, 7*usd)
	chain.Airdrop(payer, 10_000_000)
	chain.Finalize()

	order := client.ExitTransfer{Recipient: recipient, Asset: asset, Units: 5 * usd, BlockHash: chain.Tip().Hash}
	if err := order.Check(agent); err != nil {
		t.Fatal(err)
	}
	secret := passphrase()
	made, err := client.ExitPay(agent, file, secret, order)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(secret, make([]byte, len(secret))) {
		t.Error("the passphrase was not wiped")
	}
	signatures, message, err := solana.ParseWire(made.Wire)
	if err != nil || len(signatures) != 1 || signatures[0] != made.Signature {
		t.Fatalf("got signatures %v, %v", signatures, err)
	}
	read, err := solana.Decode(message, recipient, []solana.Mint{{Key: mint, Decimals: 6}})
	if err != nil || read.Layout != solana.Transfer || read.Payer != payer || read.Units != 5*usd || read.BlockHash != order.BlockHash {
		t.Fatalf("got %+v, %v", read, err)
	}

	// Made again with the same block hash it is the same message, which lands once.
	again, err := client.ExitPay(agent, file, passphrase(), order)
	if err != nil {
		t.Fatal(err)
	}
	_, same, err := solana.ParseWire(again.Wire)
	if err != nil || !bytes.Equal(same, message) {
		t.Errorf("got another message, %v", err)
	}
	chain.Send(made.Wire)
	chain.Send(again.Wire)
	chain.Finalize()
	if chain.Landed(message) == nil || chain.Units(payer, mint) != 2*usd || chain.Units(recipient, mint) != 5*usd {
		t.Errorf("the payer has %d, the recipient %d, landed %v; want 2 and 5 USDC",
			chain.Units(payer, mint), chain.Units(recipient, mint), chain.Landed(message))
	}
}

// TestExitPayRefuses: a transfer that would be lost, or that is none, takes no share out of its file.
func TestExitPayRefuses(t *testing.T) {
	h := halfkeytest.Start(t)
	agent := h.Agent("Payer")
	asset, mint := devnetUSDC(t)
	own, recipient := agent.GroupKey(), person(1)
	account, ok := solana.AssociatedTokenAccount(recipient, mint)
	if !ok {
		t.Fatal("no token account")
	}
	good := client.ExitTransfer{Recipient: recipient, Asset: asset, Units: 1, BlockHash: [32]byte{1}}
	if err := good.Check(agent); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, field string
		edit        func(*client.ExitTransfer)
	}{
		{"to itself", "recipient", func(x *client.ExitTransfer) { x.Recipient = own }},
		{"to the mint", "recipient", func(x *client.ExitTransfer) { x.Recipient = mint }},
		{"to a token account", "recipient", func(x *client.ExitTransfer) { x.Recipient = account }},
		{"to nobody", "recipient", func(x *client.ExitTransfer) { x.Recipient = [32]byte{} }},
		{"of book money", "asset", func(x *client.ExitTransfer) { x.Asset = h.Installation().BookUSD() }},
		{"of an unknown token", "asset", func(x *client.ExitTransfer) { x.Asset += "1" }},
		{"of nothing", "units", func(x *client.ExitTransfer) { x.Units = 0 }},
		{"of less than nothing", "units", func(x *client.ExitTransfer) { x.Units = -1 }},
		{"by no block hash", "block_hash", func(x *client.ExitTransfer) { x.BlockHash = [32]byte{} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			order := good
			row.edit(&order)
			for name, err := range map[string]error{
				"Check": order.Check(agent),
				"ExitPay": func() error {
					// There is no such file: a transfer that is refused does not get as far.
					_, err := client.ExitPay(agent, "no such file", passphrase(), order)
					return err
				}(),
			} {
				if e := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved); e.Metadata["field"] != row.field {
					t.Errorf("%s names the field %q, want %q", name, e.Metadata["field"], row.field)
				}
			}
		})
	}
}
