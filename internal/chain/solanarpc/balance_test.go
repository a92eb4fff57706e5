package solanarpc_test

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
)

// tokenAccount is a token account's bytes, as far as they are read.
func tokenAccount(mint, owner solana.Key, units uint64, state byte) []byte {
	data := make([]byte, 165)
	copy(data, mint[:])
	copy(data[32:], owner[:])
	binary.LittleEndian.PutUint64(data[64:], units)
	data[108] = state
	return data
}

func TestBalance(t *testing.T) {
	data := func(change func(value map[string]any)) deed {
		return on("getAccountInfo", func(c *solanarpctest.Call) bool {
			change(c.Result.(map[string]any)["value"].(map[string]any))
			return false
		})
	}
	const unfrozen, frozen = 1, 2
	holds := func(mint, owner solana.Key, units uint64, state byte) deed {
		return data(func(value map[string]any) {
			value["data"] = solanarpctest.Bytes(tokenAccount(mint, owner, units, state))
		})
	}
	rows := []struct {
		name  string
		node  deed // What one of two does; the other holds 5000.
		units int64
		sure  bool
		froze bool
		none  bool   // It does not exist.
		why   string // Of the one alone.
	}{
		{name: "honest", units: 5000, sure: true},
		{name: "one says less", node: holds(usdc, wallet.key, 10, unfrozen), units: 10},
		{name: "one says more", node: holds(usdc, wallet.key, 1<<60, unfrozen), units: 5000},
		{
			name: "one says none", units: 0, none: true,
			node: on("getAccountInfo", func(c *solanarpctest.Call) bool { c.Result.(map[string]any)["value"] = nil; return false }),
		},
		{
			name: "one says that there is SOL alone", units: 0, none: true,
			node: data(func(value map[string]any) {
				value["owner"], value["data"] = strings.Repeat("1", 32), solanarpctest.Bytes(nil)
			}),
		},
		{
			name: "SOL, and data", units: 5000, why: "no token account",
			node: data(func(value map[string]any) { value["owner"] = strings.Repeat("1", 32) }),
		},
		{
			name: "one says frozen", units: 5000, froze: true,
			node: holds(usdc, wallet.key, 5000, frozen),
		},
		{
			name: "beyond 2^63", units: 5000, why: "above 2^63-1",
			node: holds(usdc, wallet.key, 1<<63, unfrozen),
		},
		{
			name: "another owner's", units: 5000, why: "another owner or mint",
			node: holds(usdc, shop.key, 1, unfrozen),
		},
		{
			name: "another mint's", units: 5000, why: "another owner or mint",
			node: holds(shop.key, wallet.key, 1, unfrozen),
		},
		{
			name: "another program's", units: 5000, why: "no token account",
			node: data(func(value map[string]any) { value["owner"] = shop.key.String() }),
		},
		{
			name: "short data", units: 5000, why: "no token account",
			node: data(func(value map[string]any) { value["data"] = solanarpctest.Bytes(make([]byte, 164)) }),
		},
		{
			name: "long data", units: 5000, why: "too many of them",
			node: data(func(value map[string]any) { value["data"] = solanarpctest.Bytes(make([]byte, 166)) }),
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
			honest, other := s.node(), s.node()
			if row.node != nil {
				other = s.node(row.node(s))
			}
			want := solanarpc.Balance{
				Account: mustATA(wallet.key), Units: row.units, Slot: s.tip.Slot, Sure: row.sure, Frozen: row.froze, Exists: !row.none,
			}
			for _, nodes := range [][]*solanarpctest.Endpoint{{honest, other}, {other, honest}} {
				if got, err := s.client(t, nodes...).Balance(t.Context(), wallet.key, usdc); err != nil || got != want {
					t.Errorf("%+v, %v, want %+v", got, err, want)
				}
			}
			got, err := s.client(t, other).Balance(t.Context(), wallet.key, usdc)
			if (err == nil) != (row.why == "") || err != nil && !strings.Contains(err.Error(), row.why) {
				t.Errorf("alone: %+v, %v, want %q", got, err, row.why)
			}
		})
	}
}
