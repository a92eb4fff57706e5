package vm

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
)

// client asks the node at two addresses; the second shows the chain some blocks late.
func (n *Node) client(behind int) *solanarpc.Client {
	n.t.Helper()
	client, err := solanarpc.New(solanarpc.Config{
		Network: n.Network, Endpoints: []string{n.URL, fmt.Sprintf("%s/behind/%d", n.URL, behind)},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(client.Close)
	if err := client.Check(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	return client
}

// pay builds and signs a payment over a block hash that the client hands out.
func (n *Node) pay(client *solanarpc.Client, layout solana.Layout, from, to, feePayer Person, units int64) ([]byte, solanarpc.Watch) {
	n.t.Helper()
	hash, err := client.BlockHash(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	message, err := solana.Message{
		Layout: layout, FeePayer: feePayer.Key, Payer: from.Key, Recipient: to.Key, Mint: n.usdc, Units: units, Decimals: 6,
		Memo: "for " + n.t.Name(), BlockHash: hash.Hash,
	}.Encode()
	if err != nil {
		n.t.Fatal(err)
	}
	signers := []Person{from}
	if layout == solana.X402 {
		signers = []Person{feePayer, from}
	}
	var signatures []solana.Signature
	for _, signer := range signers {
		signatures = append(signatures, solana.Signature(ed25519.Sign(signer.private, message)))
	}
	wire, err := solana.Wire(message, signatures...)
	if err != nil {
		n.t.Fatal(err)
	}
	return wire, solanarpc.Watch{Account: from.Account, Payer: from.Key, Message: message, BlockHash: hash}
}

// outcome asks what became of a message.
func (n *Node) outcome(client *solanarpc.Client, w solanarpc.Watch) solanarpc.Outcome {
	n.t.Helper()
	got, err := client.Outcome(n.t.Context(), w)
	if err != nil {
		n.t.Fatal(err)
	}
	return got
}

func (n *Node) want(client *solanarpc.Client, w solanarpc.Watch, state solanarpc.State, why string) solanarpc.Outcome {
	n.t.Helper()
	got := n.outcome(client, w)
	if got.State != state || !strings.Contains(got.Why, why) {
		n.t.Fatalf("%v: %s, want %v: %s", got.State, got.Why, state, why)
	}
	return got
}

// TestLanded: both layouts, from the block hash to a finalised payment, seen by an endpoint that is late as well.
func TestLanded(t *testing.T) {
	for _, layout := range []solana.Layout{solana.X402, solana.Transfer} {
		t.Run(layout.String(), func(t *testing.T) {
			n := Start(t)
			client := n.client(10)
			wallet, shop, facilitator := n.Someone("wallet", 0, 5_000_000), n.Someone("shop", 0, 0), n.Someone("facilitator", 1_000_000_000, nil)
			if layout == solana.Transfer {
				wallet, shop = n.Someone("wallet", 1_000_000_000, 5_000_000), n.Someone("shop", 0, nil)
				facilitator = wallet
			}
			wire, w := n.pay(client, layout, wallet, shop, facilitator, 1_250_000)
			n.want(client, w, solanarpc.Unknown, "may still land")
			if err := n.Send(wire); err != nil {
				t.Fatal(err)
			}
			if err := n.Send(wire); err == nil {
				t.Error("it is taken twice")
			}
			n.Advance(2) // Confirmed, and not final.
			n.want(client, w, solanarpc.Unknown, "may still land")
			n.Advance(31)
			n.want(client, w, solanarpc.Unknown, "not all do yet")
			n.Advance(10)
			got := n.want(client, w, solanarpc.Landed, "")
			if got.Signature != solana.Signature(wire[1:65]) || got.Slot <= w.BlockHash.Slot || got.Time.IsZero() {
				t.Errorf("%+v", got)
			}
			n.Advance(300)
			if again := n.outcome(client, w); again != got {
				t.Errorf("later %+v, want %+v", again, got)
			}
			for _, side := range []struct {
				who   Person
				units int64
			}{{wallet, 3_750_000}, {shop, 1_250_000}} {
				b, err := client.Balance(t.Context(), side.who.Key, n.usdc)
				if err != nil || b.Units != side.units || !b.Sure || b.Account != side.who.Account {
					t.Errorf("%+v, %v, want %d units", b, err, side.units)
				}
			}
		})
	}
}

// TestFailed: the wallet has less than it pays. The transaction lands with an error, and nothing moves.
func TestFailed(t *testing.T) {
	n := Start(t)
	client := n.client(0)
	wallet, shop, facilitator := n.Someone("wallet", 0, 100), n.Someone("shop", 0, 0), n.Someone("facilitator", 1_000_000_000, nil)
	wire, w := n.pay(client, solana.X402, wallet, shop, facilitator, 101)
	if err := n.Send(wire); err != nil {
		t.Fatal(err)
	}
	n.Advance(40)
	n.want(client, w, solanarpc.Failed, "")
	if b, err := client.Balance(t.Context(), wallet.Key, n.usdc); err != nil || b.Units != 100 || !b.Sure {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestDead: a message that nobody sent is dead when its window is over, settled and final everywhere, and no node takes it after that.
func TestDead(t *testing.T) {
	n := Start(t)
	client := n.client(5)
	wallet, shop, facilitator := n.Someone("wallet", 0, 100), n.Someone("shop", 0, 0), n.Someone("facilitator", 1_000_000_000, nil)
	wire, w := n.pay(client, solana.X402, wallet, shop, facilitator, 1)
	other, _ := n.pay(client, solana.X402, wallet, shop, facilitator, 2)
	if err := n.Send(other); err != nil {
		t.Fatal(err)
	}
	// The hash's block is as far below the newest as finality is, so that does not count: 150 blocks, 32 to settle, and one endpoint
	// 5 behind.
	n.Advance(150 + 32)
	n.want(client, w, solanarpc.Unknown, "may still land")
	n.Advance(5)
	n.want(client, w, solanarpc.Unknown, "endpoint 2")
	n.Advance(1)
	n.want(client, w, solanarpc.Dead, "")
	if err := n.Send(wire); err == nil || !strings.Contains(err.Error(), "Blockhash not found") {
		t.Errorf("a dead message is taken: %v", err)
	}
	n.Advance(500)
	n.want(client, w, solanarpc.Dead, "")
}

// TestLastBlock: the block after the last valid height still takes it, as the chain's rule has it, and then it has landed.
func TestLastBlock(t *testing.T) {
	n := Start(t)
	client := n.client(0)
	wallet, shop, facilitator := n.Someone("wallet", 0, 100), n.Someone("shop", 0, 0), n.Someone("facilitator", 1_000_000_000, nil)
	wire, w := n.pay(client, solana.X402, wallet, shop, facilitator, 1)
	n.Advance(150 - 32) // The hash is of a block 32 below the newest; the next is the 151st after it.
	if err := n.Send(wire); err != nil {
		t.Fatal(err)
	}
	n.Advance(150)
	n.want(client, w, solanarpc.Landed, "")
}

// TestTransfers: what comes in and goes out, in order, from an account that a stranger's payment created.
func TestTransfers(t *testing.T) {
	n := Start(t)
	client := n.client(0)
	wallet, shop := n.Someone("wallet", 0, nil), n.Someone("shop", 0, 0)
	payer, facilitator := n.Someone("payer", 1_000_000_000, 10_000_000), n.Someone("facilitator", 1_000_000_000, nil)
	in, _ := n.pay(client, solana.Transfer, payer, wallet, payer, 4_000_000)
	if err := n.Send(in); err != nil {
		t.Fatal(err)
	}
	n.Advance(40)
	first, err := client.Transfers(t.Context(), wallet.Account, solanarpc.Cursor{})
	if err != nil || len(first.Transfers) != 1 || first.Transfers[0].Change != 4_000_000 {
		t.Fatalf("%+v, %v", first, err)
	}
	out, w := n.pay(client, solana.X402, wallet, shop, facilitator, 1_500_000)
	if err := n.Send(out); err != nil {
		t.Fatal(err)
	}
	n.Advance(40)
	rest, err := client.Transfers(t.Context(), wallet.Account, first.Next)
	if err != nil || len(rest.Transfers) != 1 {
		t.Fatalf("%+v, %v", rest, err)
	}
	if one := rest.Transfers[0]; one.Change != -1_500_000 || one.Units != 2_500_000 || !slices.Equal(one.Message, w.Message) {
		t.Errorf("%+v", one)
	}
	whole, err := client.Transfers(t.Context(), wallet.Account, solanarpc.Cursor{})
	if err != nil || len(whole.Transfers) != 2 || whole.Next != rest.Next {
		t.Errorf("%+v, %v", whole, err)
	}
}

// TestTransferNeeds: the machine takes a transfer from a payer with just the SOL that we say it needs, and none from one with a lamport
// less; the client's own word sends it.
func TestTransferNeeds(t *testing.T) {
	n := Start(t)
	client := n.client(3)
	for _, opens := range []bool{false, true} {
		cost := int64(solanarpc.TransferFee)
		var has any = 0
		if opens {
			cost, has = cost+solanarpc.TokenAccountRent, nil
		}
		for _, c := range []struct {
			name     string
			lamports int64
			lands    bool
		}{
			{"what it costs", cost, true},
			{"a lamport less", cost - 1, false},
			{"a lamport more", cost + 1, false},
			{"a lamport less than an account keeps", cost + solanarpc.RentExempt - 1, false},
			{"what an account keeps", cost + solanarpc.RentExempt, true},
		} {
			t.Run(fmt.Sprintf("opens %v, %s", opens, c.name), func(t *testing.T) {
				n.t = t
				wallet, shop := n.Someone("wallet "+t.Name(), c.lamports, 500), n.Someone("shop "+t.Name(), 0, has)
				if got, err := client.Lamports(t.Context(), wallet.Key); err != nil || got != c.lamports {
					t.Fatalf("%d lamports, %v, want %d", got, err, c.lamports)
				}
				if needs := solanarpc.TransferNeeds(c.lamports, opens); (needs == 0) != c.lands {
					t.Errorf("we say that it needs %d", needs)
				}
				wire, w := n.pay(client, solana.Transfer, wallet, shop, wallet, 500)
				if err := client.Send(t.Context(), wire); err != nil {
					t.Fatal(err)
				}
				n.Advance(40)
				if c.lands {
					n.want(client, w, solanarpc.Landed, "")
				}
				if moved := n.Units(shop.Key.String()); (moved == 500) != c.lands || moved != 0 && moved != 500 {
					t.Errorf("%d units moved", moved)
				}
			})
		}
	}
}

// TestNodeRefuses: what the checks above rest on. The machine takes no forged signature and no unsigned fee payer, and a trial run
// does not need the fee payer's.
func TestNodeRefuses(t *testing.T) {
	n := Start(t)
	client := n.client(0)
	wallet, shop, facilitator := n.Someone("wallet", 0, 100), n.Someone("shop", 0, 0), n.Someone("facilitator", 1_000_000_000, nil)
	wire, w := n.pay(client, solana.X402, wallet, shop, facilitator, 1)
	half, err := solana.Wire(w.Message, solana.Signature{}, solana.Signature(wire[65:129]))
	if err != nil {
		t.Fatal(err)
	}
	forged := slices.Clone(wire)
	forged[len(forged)-2] ^= 1 // In the memo.
	for name, b := range map[string][]byte{"without the fee payer": half, "with a forged memo": forged} {
		if err := n.Send(b); err == nil {
			t.Errorf("%s it is taken", name)
		}
	}
	trial := map[string]any{"encoding": "base64", "sigVerify": false}
	result, err := n.Call("simulateTransaction", base64.StdEncoding.EncodeToString(half), trial)
	if err != nil || !strings.Contains(string(result), `"err":null`) {
		t.Errorf("%s, %v", result, err)
	}
	if err := n.Send(half); err == nil {
		t.Error("after a trial run without signatures it is taken without them")
	}
	if err := n.Send(wire); err != nil {
		t.Error(err)
	}
}
