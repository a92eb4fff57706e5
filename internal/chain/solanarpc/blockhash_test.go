package solanarpc_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
)

func TestBlockHash(t *testing.T) {
	value := func(name string, v any) deed {
		return on("getLatestBlockhash", func(c *solanarpctest.Call) bool {
			c.Result.(map[string]any)["value"].(map[string]any)[name] = v
			return false
		})
	}
	rows := []struct {
		name string
		node deed // What one of two does.
		back int  // How far below the tip the block is that is handed out.
		why  string
		// alone is what its answer is refused for where there is no other one.
		alone string
	}{
		{name: "honest"},
		{name: "one is behind", node: func(s *story) solanarpctest.Option { return solanarpctest.Final(s.tip.Back(20)) }},
		{name: "one is behind in confirming, too", back: 20, node: behind(20)},
		{name: "one is far behind", why: "getBlock was refused by the node, code -32004", node: behind(90)},
		{name: "a hash that nobody knows", node: value("blockhash", shop.key.String()), alone: "another block hash in that slot"},
		{name: "a hash that lives for ever", node: value("lastValidBlockHeight", 1<<40), alone: "150 blocks"},
		{name: "a hash that is dead at once", node: value("lastValidBlockHeight", 0), alone: "150 blocks"},
		{name: "a life beyond 64 bits", node: value("lastValidBlockHeight", json.Number("99999999999999999999")), why: "whole number"},
		{name: "a hash that is none", node: value("blockhash", planted), why: "32 bytes in base58"},
		{
			name: "a slot of the future", why: "getBlock was refused",
			node: on("getLatestBlockhash", func(c *solanarpctest.Call) bool {
				c.Result.(map[string]any)["context"].(map[string]any)["slot"] = 1 << 30
				return false
			}),
		},
		{name: "does not take it", node: member("isBlockhashValid", "value", false), why: "says that the hash is not valid"},
		{name: "takes it perhaps", node: member("isBlockhashValid", "value", "true"), why: "not whether the hash is valid"},
		{name: "has another block there", node: member("getBlock", "blockhash", shop.key.String()), why: "another block hash in that slot"},
		{name: "has the block at another height", node: member("getBlock", "blockHeight", 7), why: "150 blocks"},
		{name: "does not know the block's height", node: member("getBlock", "blockHeight", nil), why: "whole number"},
		{name: "another network", node: result("getGenesisHash", shop.key.String()), why: "another network"},
		{name: "no answer", node: body("getLatestBlockhash", planted), why: "is not JSON"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for place, name := range []string{"first", "second"} {
				t.Run(name, func(t *testing.T) {
					s := tell(t, lost)
					nodes := []*solanarpctest.Endpoint{s.node(), s.node()}
					if row.node != nil {
						nodes[place] = s.node(row.node(s))
					}
					got, err := s.client(t, nodes...).BlockHash(t.Context())
					if row.why != "" {
						if err == nil || !strings.Contains(err.Error(), row.why) || strings.Contains(err.Error(), "HALFKEY SAYS") {
							t.Fatalf("%+v, %v, want %q", got, err, row.why)
						}
						return
					}
					b := s.tip.Back(row.back)
					want := solanarpc.BlockHash{Hash: b.Hash, Slot: b.Slot, LastValidHeight: b.Height + 150}
					if err != nil || got != want {
						t.Errorf("%+v, %v, want %+v", got, err, want)
					}
					if row.alone == "" {
						return
					}
					got, err = s.client(t, nodes[place]).BlockHash(t.Context())
					if err == nil || !strings.Contains(err.Error(), row.alone) {
						t.Errorf("alone: %+v, %v, want %q", got, err, row.alone)
					}
				})
			}
		})
	}
}

// TestBlockHashOfOne: a single endpoint that contradicts itself is not believed.
func TestBlockHashOfOne(t *testing.T) {
	s := tell(t, lost)
	n := s.node(answering("getLatestBlockhash", func(c *solanarpctest.Call) bool {
		c.Result.(map[string]any)["value"].(map[string]any)["lastValidBlockHeight"] = s.tip.Height + 151
		return false
	}))
	if got, err := s.client(t, n).BlockHash(t.Context()); err == nil || !strings.Contains(err.Error(), "150 blocks") {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestWatchIsChecked: what would be looked for in vain, and so be called dead, is refused.
func TestWatchIsChecked(t *testing.T) {
	chain := newChain(t)
	legacy := chain.Quote(chain.Tip(), wallet.key, usdc, nil)[1+len(solana.Signature{}):]
	rows := []struct {
		name   string
		change func(*solanarpc.Watch)
		want   string
	}{
		{"no message", func(w *solanarpc.Watch) { w.Message = nil }, "not one of version 0"},
		{"a legacy message", func(w *solanarpc.Watch) { w.Message = legacy }, "not one of version 0"},
		{"a huge message", func(w *solanarpc.Watch) { w.Message = append(w.Message, make([]byte, 1232)...) }, "not one of version 0"},
		{"a short message", func(w *solanarpc.Watch) { w.Message = w.Message[:40] }, "ends early"},
		{"another block hash", func(w *solanarpc.Watch) { w.BlockHash.Hash[0]++ }, "another block hash"},
		{"another payer", func(w *solanarpc.Watch) { w.Payer = shop.key }, "payer is not among"},
		{"a payer that does not sign", func(w *solanarpc.Watch) { w.Payer = w.Account }, "payer is not among"},
		{"another account", func(w *solanarpc.Watch) { w.Account = mustATA(stranger.key) }, "account is not among"},
		{"no slot", func(w *solanarpc.Watch) { w.BlockHash.Slot = 0 }, "slot"},
		{"a huge slot", func(w *solanarpc.Watch) { w.BlockHash.Slot = 1 << 63 }, "slot"},
		{"no height", func(w *solanarpc.Watch) { w.BlockHash.LastValidHeight = 0 }, "height"},
		{"a huge height", func(w *solanarpc.Watch) { w.BlockHash.LastValidHeight = 1<<64 - 1 }, "height"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := tell(t, lost)
			row.change(&s.watch)
			got, err := s.client(t, s.node()).Outcome(t.Context(), s.watch)
			if err == nil || !strings.Contains(err.Error(), row.want) || got != (solanarpc.Outcome{}) {
				t.Errorf("%+v, %v, want %q", got, err, row.want)
			}
		})
	}
}

// TestLateSlot: a watch with a later slot than the hash's own, behind which a search would stop too early, proves nothing.
func TestLateSlot(t *testing.T) {
	for _, kind := range []string{lost, landed} {
		s := tell(t, kind)
		s.watch.BlockHash.Slot = s.tip.Slot - 1
		if got, err := s.client(t, s.node()).Outcome(t.Context(), s.watch); err != nil || got.State != solanarpc.Unknown {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
	}
}
