package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/resource"
)

// decides runs a decision about a payment's message and about the payer's account, as the watcher has it run.
func (f *chainFixture) decides(n needs, decide func(*state) error) error {
	f.t.Helper()
	return f.ledger.write(context.Background(), &op{needs: n, decide: decide})
}

// TestTakenOverOnce: an outcome that two have learned, or one and a killed one before, ends a hold once. So does one that contradicts it.
func TestTakenOverOnce(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.settling(p)
	f.chain.Finalize()
	key := messageKey{f.payer.Name, evidence.MessageDigest(p.MessageBytes)}
	landed := solanarpc.Outcome{
		State: solanarpc.Landed, Seen: true, Signature: solana.Signature(p.Settle()), PayerSignature: solana.Signature(p.Settle()),
		Slot: f.chain.Landed(p.MessageBytes).Slot,
	}
	failure := landed
	failure.State = solanarpc.Failed
	for _, o := range []solanarpc.Outcome{landed, landed, failure, {State: solanarpc.Dead}, {Seen: true}} {
		err := f.decides(needs{messages: []messageKey{key}}, func(s *state) error { return decideOutcome(s, &outcome{key: key, Outcome: o}) })
		if err != nil {
			t.Errorf("%v: %v", o.State, err)
		}
	}
	f.look()
	f.settledBy(p)
	f.wantUnits(funded-usdc, 0)
	if err := f.decides(needs{messages: []messageKey{{f.payer.Name, evidence.Digest{}}}}, func(s *state) error {
		return decideOutcome(s, &outcome{key: messageKey{f.payer.Name, evidence.Digest{}}, Outcome: landed})
	}); err != nil {
		t.Errorf("a message that nobody pinned: %v", err)
	}
}

// TestTakenInOnce: a part of an account's history that two have read is booked once, and one that does not go on from the last not at all.
func TestTakenInOnce(t *testing.T) {
	f := startChain(t)
	key := balanceKey{f.payer.Name, evidencetest.USDC}
	var cursor solanarpc.Cursor
	err := f.ledger.store.look(t.Context(), func(v *view) (err error) {
		cursor, _, err = v.cursor(t.Context(), key)
		return err
	})
	if err != nil || cursor.Units != funded {
		t.Fatalf("%+v, %v", cursor, err)
	}
	next := solanarpc.Cursor{Signature: solana.Signature{7}, Slot: cursor.Slot + 1, Units: funded + usdc}
	part := solanarpc.Transfers{
		Transfers: []solanarpc.Transfer{{Signature: next.Signature, Slot: next.Slot, Change: usdc, Units: next.Units}}, Next: next,
	}
	for _, from := range []solanarpc.Cursor{{}, cursor, cursor, {Signature: cursor.Signature, Slot: cursor.Slot}} {
		h := &history{key: key, from: from, Transfers: part}
		if err := f.decides(h.needs(), func(s *state) error { return decideHistory(s, h) }); err != nil {
			t.Errorf("%v", err)
		}
	}
	f.wantUnits(funded+usdc, 0)
}

// TestNotItsUnits: all nodes together show a payment's message moving other units than it says, which no chain does. Nothing is booked by
// it, and what is so is booked when they show it.
func TestNotItsUnits(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", 30*usdc)
	f.settling(p)
	f.chain.Finalize()
	lie := func(answer map[string]any) {
		for _, one := range answer["meta"].(map[string]any)["postTokenBalances"].([]map[string]any) {
			if one["owner"] == solana.Key(f.payer.GroupKey).String() {
				one["uiTokenAmount"].(map[string]any)["amount"] = fmt.Sprint(60 * usdc)
			}
		}
	}
	for _, n := range f.nodes {
		n.Become(shownOf(lie)(f, p)...)
	}
	if err := f.ledger.lookAtAccounts(t.Context(), true); !errors.Is(err, errNotItsUnits) {
		t.Errorf("taken in: %v", err)
	}
	f.wantUnits(70*usdc, 30*usdc)
	for _, n := range f.nodes {
		n.Become()
	}
	f.look()
	f.settledBy(p)
	f.wantUnits(70*usdc, 0)
}

// TestAnotherNetworkConfigured: a ledger that was given another network proves nothing about the messages and accounts of the first.
func TestAnotherNetworkConfigured(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.settling(p)
	f.pass(p)
	f.close()
	elsewhere := solanarpctest.New(t, resource.SolanaDevnet)
	before := f.fixture.solana
	f.fixture.solana = func() *Solana {
		client, err := solanarpc.New(solanarpc.Config{Network: resource.SolanaDevnet, Endpoints: []string{elsewhere.Endpoint().URL}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return &Solana{
			Network: resource.SolanaDevnet, Client: client, WatchInterval: time.Hour,
			Assets: []string{resource.SolanaDevnet + "/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"},
		}
	}
	f.open()
	for range 2 {
		if err := f.ledger.LookAtChain(t.Context()); err == nil {
			t.Error("nobody is told that a message waits for another network")
		}
	}
	f.wantState(p, authorized)
	f.close()
	f.fixture.solana = before
	f.open()
	f.look()
	f.settledBy(p)
}

// TestChainMetrics: what waits for the chain, what it did not show, and what left past the ledger is counted.
func TestChainMetrics(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	f := newChainFixture(t, evidencetest.New(t), t.TempDir()+"/ledger.db")
	f.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	f.open()
	defer f.close()
	f.fund()
	values := func() map[string]int64 {
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				switch data := m.Data.(type) {
				case metricdata.Sum[int64]:
					for _, point := range data.DataPoints {
						at, _ := point.Attributes.Value(attribute.Key("at"))
						state, _ := point.Attributes.Value(attribute.Key("state"))
						if point.Value != 0 && (m.Name != "halfkey.verdicts") {
							got[m.Name+at.AsString()+state.AsString()] += point.Value
						}
					}
				case metricdata.Gauge[int64]:
					if m.Name == "halfkey.chain.unproven.age" {
						got[m.Name] = data.DataPoints[0].Value
					}
				}
			}
		}
		return got
	}
	before := values()
	p := f.authorize("p1", usdc)
	f.clock.advance(time.Minute)
	f.look()
	if got := values(); got["halfkey.chain.unproven.age"] != 60 ||
		got["halfkey.chain.unknownMESSAGE"] != before["halfkey.chain.unknownMESSAGE"]+1 {
		t.Errorf("while it waits: %v", got)
	}
	f.settling(p)
	f.exit(2*usdc, "exit")
	f.chain.Finalize()
	f.nodes[1].Become(solanarpctest.Down(503))
	f.look()
	if got := values(); got["halfkey.chain.unknownACCOUNT"] == before["halfkey.chain.unknownACCOUNT"] {
		t.Errorf("an endpoint is down: %v", got)
	}
	f.nodes[1].Become()
	f.look()
	got := values()
	maps.DeleteFunc(got, func(name string, _ int64) bool {
		return name == "halfkey.chain.unknownMESSAGE" || name == "halfkey.chain.unknownACCOUNT" || name == "halfkey.reserve.whole"
	})
	want := map[string]int64{
		"halfkey.chain.unproven.age": 0, "halfkey.chain.outflows": 1, "halfkey.holds.opened": 1, "halfkey.holds.endedSETTLED": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
