package solanarpc_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
)

// TestLamports: the lowest counts, and an answer that is none counts not at all.
func TestLamports(t *testing.T) {
	in := func(value any) any { return map[string]any{"context": map[string]any{"slot": 1}, "value": value} }
	for _, row := range []struct {
		name  string
		node  solanarpctest.Option // What one of two does; the other says 1,000,000.
		want  int64
		alone string
	}{
		{"one says less", answers("getBalance", in(7)), 7, ""},
		{"one says more", answers("getBalance", in(1<<60)), 1_000_000, ""},
		{"one says none", answers("getBalance", in(0)), 0, ""},
		{"a negative one", answers("getBalance", in(-1)), 1_000_000, "whole number"},
		{"beyond 2^60", answers("getBalance", in(uint64(math.MaxUint64))), 1_000_000, "whole number"},
		{"a text", answers("getBalance", in(planted)), 1_000_000, "whole number"},
		{"a fraction", answers("getBalance", in(1.5)), 1_000_000, "whole number"},
		{"no value", answers("getBalance", map[string]any{}), 1_000_000, "lacks value"},
		{"a refusal", answers("getBalance", solanarpctest.Refusal(-32005)), 1_000_000, "code -32005"},
		{"another network", answers("getGenesisHash", shop.key.String()), 1_000_000, "another network"},
		{"down", solanarpctest.Down(503), 1_000_000, "HTTP status 503"},
		{"silent", solanarpctest.Silent(), 1_000_000, "was not answered"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := solanarpctest.New(t, resource.SolanaDevnet)
			c.Airdrop(wallet.key, 1_000_000)
			c.Finalize()
			honest, other := c.Endpoint(), c.Endpoint(row.node)
			for _, nodes := range [][]*solanarpctest.Endpoint{{honest, other}, {other, honest}} {
				if got, err := asking(t, time.Second, c, nodes...).Lamports(t.Context(), wallet.key); err != nil || got != row.want {
					t.Errorf("%d, %v, want %d", got, err, row.want)
				}
			}
			got, err := asking(t, 200*time.Millisecond, c, other).Lamports(t.Context(), wallet.key)
			if (err == nil) != (row.alone == "") || err != nil && (!strings.Contains(err.Error(), row.alone) || got != 0) ||
				err != nil && strings.Contains(err.Error(), "HALFKEY SAYS") {
				t.Errorf("alone: %d, %v, want %q", got, err, row.alone)
			}
		})
	}
}

// TestTransferNeeds: an account keeps what rent asks for, or nothing.
func TestTransferNeeds(t *testing.T) {
	for _, row := range []struct {
		lamports int64
		opens    bool
		want     int64
	}{
		{0, false, 897_880},
		{6_999, false, 897_880},
		{7_000, false, 0},
		{7_001, false, 897_880},
		{897_879, false, 897_880},
		{897_880, false, 0},
		{897_880, true, 2_937_160},
		{2_046_280, true, 0},
		{2_937_159, true, 2_937_160},
		{2_937_160, true, 0},
	} {
		if got := solanarpc.TransferNeeds(row.lamports, row.opens); got != row.want {
			t.Errorf("%d, opens %v: %d, want %d", row.lamports, row.opens, got, row.want)
		}
	}
}

// TestTransferNeedsAreTheChains: with exactly what is needed a transfer lands, with a lamport less it does not.
func TestTransferNeedsAreTheChains(t *testing.T) {
	mint := mustKey("4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU")
	for _, opens := range []bool{false, true} {
		for _, less := range []int64{0, 1} {
			c := solanarpctest.New(t, resource.SolanaDevnet)
			c.Fund(wallet.key, mint, 1_000)
			c.Airdrop(wallet.key, uint64(solanarpc.TransferNeeds(0, opens)-less))
			if !opens {
				c.Open(shop.key, mint)
			}
			c.Finalize()
			c.Send(transfer(t, mint, c.Tip().Hash))
			c.Finalize()
			if got := c.Units(shop.key, mint); (got == 1_000) != (less == 0) {
				t.Errorf("opens %v, %d less: the shop has %d", opens, less, got)
			}
		}
	}
}

// transfer is the wallet's transaction in the transfer layout.
func transfer(t *testing.T, mint solana.Key, blockHash [32]byte) []byte {
	t.Helper()
	message, err := solana.Message{
		Layout: solana.Transfer, FeePayer: wallet.key, Payer: wallet.key, Recipient: shop.key, Mint: mint, Units: 1_000, Decimals: 6,
		Memo: "one", BlockHash: blockHash,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	wire, err := solana.Wire(message, wallet.sign(message))
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// TestSend: every endpoint of the network is handed the transaction, and one that takes it is enough.
func TestSend(t *testing.T) {
	mint := mustKey("4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU")
	rows := []struct {
		name string
		node solanarpctest.Option // What one of two does.
		sent int                  // How often the chain is handed it.
		why  string               // Of the one alone.
	}{
		{"honest", solanarpctest.Behind(0), 2, ""},
		{"refuses", answers("sendTransaction", solanarpctest.Refusal(-32002)), 2, "code -32002"},
		{"tells another signature", answers("sendTransaction", planted), 2, ""},
		{"is of another network", answers("getGenesisHash", shop.key.String()), 1, "another network"},
		{"is down", solanarpctest.Down(502), 1, "HTTP status 502"},
		{"writes a novel", solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			return c.Method == "sendTransaction" && c.Write(strings.Repeat("x", 1<<17))
		}), 2, "more than"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := solanarpctest.New(t, resource.SolanaDevnet)
			wire := transfer(t, mint, c.Tip().Hash)
			honest, other := c.Endpoint(), c.Endpoint(row.node)
			if err := asking(t, time.Second, c, honest, other).Send(t.Context(), wire); err != nil {
				t.Errorf("%v", err)
			}
			_, message, _ := solana.ParseWire(wire)
			if got := c.Sent(message); got != row.sent {
				t.Errorf("sent %d times, want %d", got, row.sent)
			}
			err := asking(t, time.Second, c, other).Send(t.Context(), wire)
			if (err == nil) != (row.why == "") || err != nil && !strings.Contains(err.Error(), row.why) {
				t.Errorf("alone: %v, want %q", err, row.why)
			}
			if err != nil && strings.Contains(err.Error(), "HALFKEY SAYS") {
				t.Errorf("a node's words: %v", err)
			}
		})
	}
	c := solanarpctest.New(t, resource.SolanaDevnet)
	node := c.Endpoint()
	if err := asking(t, time.Second, c, node).Send(t.Context(), []byte("nonsense")); err == nil || node.Asked("sendTransaction") != 0 {
		t.Errorf("what is no transaction: %v", err)
	}
}
