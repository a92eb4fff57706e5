package solanarpc_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
)

func mustKey(text string) solana.Key {
	key, err := solana.ParseKey(text)
	if err != nil {
		panic(err)
	}
	return key
}

func TestBalance(t *testing.T) {
	mint := mustKey(usdc)
	account := mustATA(wallet.key)
	holds := func(a modelAccount) func(*modelNode, *story) {
		return func(n *modelNode, _ *story) { n.balances = map[solana.Key]modelAccount{account: a} }
	}
	data := func(change func(value map[string]any)) func(*modelNode, *story) {
		return on("getAccountInfo", func(c *modelCall) bool {
			change(c.result.(map[string]any)["value"].(map[string]any))
			return false
		})
	}
	rows := []struct {
		name  string
		node  func(*modelNode, *story) // What one of two does; the other holds 5000.
		units int64
		sure  bool
		froze bool
		none  bool   // It does not exist.
		why   string // Of the one alone.
	}{
		{name: "honest", units: 5000, sure: true},
		{name: "one says less", node: holds(modelAccount{mint: mint, owner: wallet.key, units: 10}), units: 10},
		{name: "one says more", node: holds(modelAccount{mint: mint, owner: wallet.key, units: 1 << 60}), units: 5000},
		{name: "one says none", node: func(n *modelNode, _ *story) { n.balances = nil }, units: 0, none: true},
		{
			name: "one says that there is SOL alone", units: 0, none: true,
			node: data(func(value map[string]any) { value["owner"], value["data"] = strings.Repeat("1", 32), bytesOf(nil) }),
		},
		{
			name: "SOL, and data", units: 5000, why: "no token account",
			node: data(func(value map[string]any) { value["owner"] = strings.Repeat("1", 32) }),
		},
		{
			name: "one says frozen", units: 5000, froze: true,
			node: holds(modelAccount{mint: mint, owner: wallet.key, units: 5000, frozen: true}),
		},
		{
			name: "beyond 2^63", units: 5000, why: "above 2^63-1",
			node: holds(modelAccount{mint: mint, owner: wallet.key, units: 1 << 63}),
		},
		{
			name: "another owner's", units: 5000, why: "another owner or mint",
			node: holds(modelAccount{mint: mint, owner: shop.key, units: 1}),
		},
		{
			name: "another mint's", units: 5000, why: "another owner or mint",
			node: holds(modelAccount{mint: shop.key, owner: wallet.key, units: 1}),
		},
		{
			name: "another program's", units: 5000, why: "no token account",
			node: data(func(value map[string]any) { value["owner"] = shop.key.String() }),
		},
		{
			name: "short data", units: 5000, why: "no token account",
			node: data(func(value map[string]any) { value["data"] = bytesOf(make([]byte, 164)) }),
		},
		{
			name: "long data", units: 5000, why: "too many of them",
			node: data(func(value map[string]any) { value["data"] = bytesOf(make([]byte, 166)) }),
		},
		{
			name: "another encoding", units: 5000, why: "bytes in base64",
			node: data(func(value map[string]any) {
				value["data"] = []string{base64.StdEncoding.EncodeToString(make([]byte, 165)), "base58"}
			}),
		},
		{
			name: "base64 with stray bits", units: 5000, why: "bytes in base64",
			node: data(func(value map[string]any) { value["data"] = []string{"AAF=", "base64"} }),
		},
		{name: "nonsense", node: result("getAccountInfo", planted), units: 5000, why: "where an object belongs"},
		{name: "no value", node: result("getAccountInfo", map[string]any{"context": map[string]any{"slot": 1}}), units: 5000, why: "lacks value"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := tell(t, lost)
			honest, other := s.node(t), s.node(t)
			for _, n := range []*modelNode{honest, other} {
				holds(modelAccount{mint: mint, owner: wallet.key, units: 5000})(n, s)
			}
			if row.node != nil {
				row.node(other, s)
			}
			want := solanarpc.Balance{Account: account, Units: row.units, Slot: s.tip.slot, Sure: row.sure, Frozen: row.froze, Exists: !row.none}
			for _, nodes := range [][]*modelNode{{honest, other}, {other, honest}} {
				if got, err := newClient(t, nodes...).Balance(t.Context(), wallet.key, mint); err != nil || got != want {
					t.Errorf("%+v, %v, want %+v", got, err, want)
				}
			}
			got, err := newClient(t, other).Balance(t.Context(), wallet.key, mint)
			if (err == nil) != (row.why == "") || err != nil && !strings.Contains(err.Error(), row.why) {
				t.Errorf("alone: %+v, %v, want %q", got, err, row.why)
			}
		})
	}
}
