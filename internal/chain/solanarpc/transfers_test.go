package solanarpc_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
)

// history is a chain on which the wallet's account was paid into and from. It begins with the first deposit's block.
type history struct {
	*story
	transfers []solanarpc.Transfer // Without their times.
	cursors   []solanarpc.Cursor   // The place after each transaction, also after those that changed nothing.
}

func newHistory(t *testing.T) *history {
	t.Helper()
	c := solanarpctest.New(t, resource.SolanaMainnet)
	c.Airdrop(feePayer.key, 1_000_000_000)
	c.Open(shop.key, usdc)
	h := &history{story: &story{t: t, chain: c, watch: solanarpc.Watch{Account: mustATA(wallet.key)}}}
	send := func(units int64, memo string) solana.Signature {
		one := pay(t, shop, c.Tip().Hash, units, memo)
		c.Send(one.wire)
		return one.signature
	}
	signatures := []solana.Signature{c.Mention(wallet.key, usdc)}
	c.Advance(2)
	signatures = append(signatures, c.Fund(wallet.key, usdc, 5000))
	c.Advance(1)
	h.start = c.Tip()
	c.Advance(100)
	signatures = append(signatures, c.FundIn(solanarpctest.Tables, wallet.key, usdc, 2500), send(1000, "two"))
	c.Advance(1)
	signatures = append(signatures, send(6501, "three")) // A unit more than there is.
	c.Advance(40)
	signatures = append(signatures, c.FundIn(solanarpctest.Version1, wallet.key, usdc, 1))
	c.Advance(1)
	signatures = append(signatures, c.Take(wallet.key, usdc, 6501))
	c.Advance(5)
	h.tip = c.Tip()
	var units int64
	for i, change := range []int64{0, 5000, 2500, -1000, 0, 1, -6501} {
		message, in := c.Find(signatures[i])
		units += change
		h.cursors = append(h.cursors, solanarpc.Cursor{Signature: signatures[i], Slot: in.Slot, Units: units})
		if change == 0 {
			continue
		}
		if message[0] != solana.FirstByte {
			message = nil
		}
		h.transfers = append(h.transfers, solanarpc.Transfer{
			Signature: signatures[i], Slot: in.Slot, Change: change, Units: units, Message: message,
		})
	}
	return h
}

func TestTransfers(t *testing.T) {
	h := newHistory(t)
	second := h.node()
	client := h.client(t, h.node(), second)
	got, err := client.Transfers(t.Context(), h.watch.Account, solanarpc.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Transfers {
		if got.Transfers[i].Time.IsZero() {
			t.Error("no time")
		}
		got.Transfers[i].Time = time.Time{}
	}
	end := h.cursors[6]
	if diff := cmp.Diff(solanarpc.Transfers{Transfers: h.transfers, Next: end}, got); diff != "" {
		t.Fatal(diff)
	}

	// From each place on, the rest.
	for i, rest := range []int{5, 4, 3, 2, 2, 1, 0} {
		second.Become(solanarpctest.Showing(h.tip), solanarpctest.Paging(i))
		got, err := client.Transfers(t.Context(), h.watch.Account, h.cursors[i])
		if err != nil || len(got.Transfers) != rest || got.Next != end || got.More {
			t.Errorf("from %d: %d transfers, %+v, %v", i, len(got.Transfers), got.Next, err)
		}
	}
}

// TestTransfersInParts: what is more than one answer holds comes in the next ones, nothing twice and nothing left out.
func TestTransfersInParts(t *testing.T) {
	s := &story{t: t, chain: solanarpctest.New(t, resource.SolanaMainnet)}
	var half *solanarpctest.Block
	for range 2 {
		half = s.chain.Tip()
		for range 210 {
			s.chain.Fund(wallet.key, usdc, 1)
		}
		s.chain.Advance(1)
	}
	s.tip = s.chain.Tip()
	behind := s.node(solanarpctest.Showing(half))
	client := s.client(t, s.node(), behind)
	account := mustATA(wallet.key)
	var cursor solanarpc.Cursor
	var units []int64
	for range 20 {
		got, err := client.Transfers(t.Context(), account, cursor)
		if err != nil {
			t.Fatal(err)
		}
		cursor = got.Next
		for _, one := range got.Transfers {
			units = append(units, one.Units)
		}
		if !got.More {
			t.Error("there is more: an endpoint is behind, or the part was full")
		}
		if len(units) == 210 {
			behind.Become(solanarpctest.Showing(s.tip))
		}
		if len(units) == 410 {
			break
		}
	}
	got, err := client.Transfers(t.Context(), account, cursor)
	if err != nil || got.More {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, one := range got.Transfers {
		units = append(units, one.Units)
	}
	if len(units) != 420 || !slices.IsSorted(units) || units[0] != 1 || units[419] != 420 {
		t.Errorf("%v", units)
	}
}

func TestTransfersOfHostileNodes(t *testing.T) {
	meta := func(change func(meta map[string]any)) deed {
		return on("getTransaction", func(c *solanarpctest.Call) bool {
			if answer, ok := c.Result.(map[string]any); ok {
				change(answer["meta"].(map[string]any))
			}
			return false
		})
	}
	balance := func(index any, amount any) map[string]any {
		return map[string]any{"accountIndex": index, "uiTokenAmount": map[string]any{"amount": amount}}
	}
	after := func(list ...any) deed {
		return meta(func(meta map[string]any) { meta["postTokenBalances"] = list })
	}
	rows := []struct {
		name  string
		node  deed // What one of two does.
		both  bool
		since func(h *history) solanarpc.Cursor
		why   string
	}{
		{name: "pays in more", node: meta(func(meta map[string]any) {
			for _, one := range meta["postTokenBalances"].([]map[string]any) {
				one["uiTokenAmount"].(map[string]any)["amount"] = "9000"
			}
		}), why: "another effect"},
		{name: "both hide a payment in", both: true, why: "shows a gap", node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool {
			list := c.Result.([]map[string]any)
			if c.Config()["before"] == nil {
				c.Result = slices.Delete(list, len(list)-2, len(list)-1)
			}
			return false
		})},
		{name: "one hides a payment in", why: "another history", node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool {
			list := c.Result.([]map[string]any)
			if c.Config()["before"] == nil {
				c.Result = slices.Delete(list, len(list)-2, len(list)-1)
			}
			return false
		})},
		{name: "both pruned", both: true, node: pruned(1), why: "shows a gap"},
		{
			name: "pruned behind the cursor", why: "no longer shows the transaction", node: pruned(1),
			since: func(h *history) solanarpc.Cursor { return h.cursors[1] },
		},
		{
			name: "a cursor of another account", why: "no longer shows the transaction",
			since: func(h *history) solanarpc.Cursor {
				return solanarpc.Cursor{Signature: shop.sign(nil), Slot: h.cursors[4].Slot, Units: 5000}
			},
		},
		{
			name: "a cursor with another balance", why: "shows a gap",
			since: func(h *history) solanarpc.Cursor {
				return solanarpc.Cursor{Signature: h.cursors[1].Signature, Slot: h.cursors[1].Slot, Units: 4999}
			},
		},
		{name: "two balances for the account", node: after(balance(1, "1"), balance(1, "2")), why: "two balances"},
		{name: "an amount below zero", node: after(balance(1, "-1")), why: "an amount from 0"},
		{name: "an amount beyond 2^63", node: after(balance(1, "9223372036854775808")), why: "an amount from 0"},
		{name: "an amount with zeros in front", node: after(balance(1, "0001")), why: "an amount from 0"},
		{name: "an amount with a sign", node: after(balance(1, "+1")), why: "an amount from 0"},
		{name: "an amount that is a number", node: after(balance(1, 1)), why: "a text"},
		{name: "an index that is none", node: after(balance(planted, "1")), why: "whole number"},
		{
			name: "no balances", why: "lacks preTokenBalances",
			node: meta(func(meta map[string]any) { delete(meta, "preTokenBalances") }),
		},
		{
			name: "balances that are null", why: "where a list belongs",
			node: meta(func(meta map[string]any) { meta["preTokenBalances"] = nil }),
		},
		{
			name: "tables that are none", why: "where an object belongs",
			node: meta(func(meta map[string]any) { meta["loadedAddresses"] = planted }),
		},
		{
			name: "tables without the account", why: "does not name the account",
			node: meta(func(meta map[string]any) {
				if meta["loadedAddresses"] != nil {
					meta["loadedAddresses"] = map[string]any{"writable": []string{}, "readonly": []string{}}
				}
			}),
		},
		{name: "version 1 without its accounts", why: "lacks message", node: on("getTransaction", func(c *solanarpctest.Call) bool {
			if c.Config()["encoding"] == "json" {
				c.Result.(map[string]any)["transaction"] = map[string]any{}
			}
			return false
		})},
		{name: "no answer", node: body("getSignaturesForAddress", planted), why: "is not JSON"},
		{name: "another network", node: result("getGenesisHash", shop.key.String()), why: "another network"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for place, name := range []string{"first", "second"} {
				t.Run(name, func(t *testing.T) {
					h := newHistory(t)
					nodes := make([]*solanarpctest.Endpoint, 2)
					for i := range nodes {
						if nodes[i] = h.node(); row.node != nil && (row.both || i == place) {
							nodes[i] = h.node(row.node(h.story))
						}
					}
					var since solanarpc.Cursor
					if row.since != nil {
						since = row.since(h)
					}
					got, err := h.client(t, nodes...).Transfers(t.Context(), h.watch.Account, since)
					if err == nil || !strings.Contains(err.Error(), row.why) || strings.Contains(err.Error(), "HALFKEY SAYS") {
						t.Errorf("%+v, %v, want %q", got, err, row.why)
					}
					if diff := cmp.Diff(solanarpc.Transfers{}, got); diff != "" {
						t.Errorf("something beside an error: %s", diff)
					}
				})
			}
		})
	}
}
