package solanarpc_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
)

// moved is a stranger's transaction after which the wallet's account holds after.
func moved(n uint64, before, after int64) *modelTx {
	tx := dust(mustATA(wallet.key), n)
	tx.before, tx.after = before, after
	return tx
}

// looked names the account by way of a lookup table, which stands in no message.
func looked(n uint64, before, after int64) *modelTx {
	table := sha256.Sum256([]byte("table"))
	message := slices.Concat([]byte{0x80, 1, 0, 1, 2}, stranger.key[:], table[:], make([]byte, 32), []byte{1, 1, 0, 1, byte(n), 0})
	tx := &modelTx{
		message: message, version: 0, signature: stranger.sign(message), account: mustATA(wallet.key), before: before, after: after,
		keys: []solana.Key{stranger.key, table, shop.key, mustATA(wallet.key)},
	}
	tx.wire = append(append([]byte{1}, tx.signature[:]...), message...)
	return tx
}

// clear takes all transactions out of a story.
func (s *story) clear() {
	for b := s.tip; b != nil; b = b.parent {
		b.txs = nil
	}
}

// history is a chain on which the wallet's account was paid into and from.
func history(t *testing.T) (*story, []*modelTx) {
	s := tell(t, open)
	one := payment(t, s.watch.BlockHash.Hash, "two")
	one.before, one.after = 7500, 6500
	failure := payment(t, s.watch.BlockHash.Hash, "three")
	failure.failed = true
	fresh := version1(s.watch.Account)
	fresh.before, fresh.after = 6500, 6501
	txs := []*modelTx{moved(1, 0, 0), moved(2, 0, 5000), looked(3, 5000, 7500), one, failure, fresh, moved(4, 6501, 0)}
	s.clear()
	slots := []uint64{1001, 1003, 1141, 1141, 1142, 1192, 1193}
	for i, tx := range txs {
		b := s.tip.at(slots[i])
		b.txs = append(b.txs, tx)
	}
	return s, txs
}

func TestTransfers(t *testing.T) {
	s, txs := history(t)
	nodes := []*modelNode{s.node(t), s.node(t)}
	client := newClient(t, nodes...)
	got, err := client.Transfers(t.Context(), s.watch.Account, solanarpc.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	transfer := func(slot uint64, i int, change, units int64) solanarpc.Transfer {
		one := solanarpc.Transfer{Signature: txs[i].signature, Slot: slot, Change: change, Units: units}
		if txs[i].version == 0 {
			one.Message = txs[i].message
		}
		return one
	}
	want := []solanarpc.Transfer{
		transfer(1003, 1, 5000, 5000), transfer(1141, 2, 2500, 7500), transfer(1141, 3, -1000, 6500), transfer(1192, 5, 1, 6501),
		transfer(1193, 6, -6501, 0),
	}
	for i := range got.Transfers {
		if got.Transfers[i].Time.IsZero() {
			t.Error("no time")
		}
		got.Transfers[i].Time = want[0].Time
	}
	end := solanarpc.Cursor{Signature: txs[6].signature, Slot: 1193}
	if diff := cmp.Diff(solanarpc.Transfers{Transfers: want, Next: end}, got); diff != "" {
		t.Fatal(diff)
	}

	// From each place on, the rest.
	cursors := []solanarpc.Cursor{
		{Signature: txs[0].signature, Slot: 1001},
		{Signature: txs[1].signature, Slot: 1003, Units: 5000},
		{Signature: txs[2].signature, Slot: 1141, Units: 7500},
		{Signature: txs[3].signature, Slot: 1141, Units: 6500},
		{Signature: txs[4].signature, Slot: 1142, Units: 6500},
		{Signature: txs[5].signature, Slot: 1192, Units: 6501},
		end,
	}
	for i, rest := range []int{5, 4, 3, 2, 2, 1, 0} {
		nodes[1].mu.Lock()
		nodes[1].pageMax = i
		nodes[1].mu.Unlock()
		got, err := client.Transfers(t.Context(), s.watch.Account, cursors[i])
		if err != nil || len(got.Transfers) != rest || got.Next != end || got.More {
			t.Errorf("from %d: %d transfers, %+v, %v", i, len(got.Transfers), got.Next, err)
		}
	}
}

// TestTransfersInParts: what is more than one answer holds comes in the next ones, nothing twice and nothing left out.
func TestTransfersInParts(t *testing.T) {
	s := tell(t, open)
	s.clear()
	for i := range int64(420) {
		b := s.tip.at(1126 + uint64(i)/210)
		b.txs = append(b.txs, moved(uint64(1000+i), i, i+1))
	}
	behind := s.node(t)
	behind.finalized = s.tip.at(1126)
	client := newClient(t, s.node(t), behind)
	var cursor solanarpc.Cursor
	var units []int64
	for range 20 {
		got, err := client.Transfers(t.Context(), s.watch.Account, cursor)
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
			behind.mu.Lock()
			behind.finalized = s.tip
			behind.mu.Unlock()
		}
		if len(units) == 410 {
			break
		}
	}
	got, err := client.Transfers(t.Context(), s.watch.Account, cursor)
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
	meta := func(change func(meta map[string]any, signature string)) func(*modelNode, *story) {
		return on("getTransaction", func(c *modelCall) bool {
			if answer, ok := c.result.(map[string]any); ok {
				change(answer["meta"].(map[string]any), c.params[0].(string))
			}
			return false
		})
	}
	balance := func(index any, amount any) map[string]any {
		return map[string]any{"accountIndex": index, "uiTokenAmount": map[string]any{"amount": amount}}
	}
	after := func(list ...any) func(*modelNode, *story) {
		return meta(func(meta map[string]any, _ string) { meta["postTokenBalances"] = list })
	}
	rows := []struct {
		name  string
		node  func(*modelNode, *story) // What one of two does.
		both  bool
		since func(txs []*modelTx) solanarpc.Cursor
		why   string
	}{
		{name: "pays in more", node: meta(func(meta map[string]any, _ string) {
			for _, one := range meta["postTokenBalances"].([]map[string]any) {
				one["uiTokenAmount"].(map[string]any)["amount"] = "9000"
			}
		}), why: "another effect"},
		{name: "both hide a payment in", both: true, why: "shows a gap", node: on("getSignaturesForAddress", func(c *modelCall) bool {
			list := c.result.([]map[string]any)
			if c.config()["before"] == nil {
				c.result = slices.Delete(list, len(list)-2, len(list)-1)
			}
			return false
		})},
		{name: "one hides a payment in", why: "another history", node: on("getSignaturesForAddress", func(c *modelCall) bool {
			list := c.result.([]map[string]any)
			if c.config()["before"] == nil {
				c.result = slices.Delete(list, len(list)-2, len(list)-1)
			}
			return false
		})},
		{name: "both pruned", both: true, node: func(n *modelNode, _ *story) { n.first = 1100 }, why: "shows a gap"},
		{
			name: "pruned behind the cursor", why: "no longer shows the transaction", node: func(n *modelNode, _ *story) { n.first = 1004 },
			since: func(txs []*modelTx) solanarpc.Cursor {
				return solanarpc.Cursor{Signature: txs[1].signature, Slot: 1003, Units: 5000}
			},
		},
		{
			name: "a cursor of another account", why: "no longer shows the transaction",
			since: func([]*modelTx) solanarpc.Cursor {
				return solanarpc.Cursor{Signature: shop.sign(nil), Slot: 1142, Units: 5000}
			},
		},
		{
			name: "a cursor with another balance", why: "shows a gap",
			since: func(txs []*modelTx) solanarpc.Cursor {
				return solanarpc.Cursor{Signature: txs[1].signature, Slot: 1003, Units: 4999}
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
			node: meta(func(meta map[string]any, _ string) { delete(meta, "preTokenBalances") }),
		},
		{
			name: "balances that are null", why: "where a list belongs",
			node: meta(func(meta map[string]any, _ string) { meta["preTokenBalances"] = nil }),
		},
		{
			name: "tables that are none", why: "where an object belongs",
			node: meta(func(meta map[string]any, _ string) { meta["loadedAddresses"] = planted }),
		},
		{
			name: "tables without the account", why: "does not name the account",
			node: meta(func(meta map[string]any, _ string) {
				if meta["loadedAddresses"] != nil {
					meta["loadedAddresses"] = map[string]any{"writable": []string{}, "readonly": []string{}}
				}
			}),
		},
		{name: "version 1 without its accounts", why: "lacks message", node: on("getTransaction", func(c *modelCall) bool {
			if c.config()["encoding"] == "json" {
				c.result.(map[string]any)["transaction"] = map[string]any{}
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
					s, txs := history(t)
					nodes := []*modelNode{s.node(t), s.node(t)}
					for i, n := range nodes {
						if row.node != nil && (row.both || i == place) {
							row.node(n, s)
						}
					}
					var since solanarpc.Cursor
					if row.since != nil {
						since = row.since(txs)
					}
					got, err := newClient(t, nodes...).Transfers(t.Context(), s.watch.Account, since)
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
