package ledger

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// receiptOf is what the ledger signed of a payment, held against the gate.
func (f *chainFixture) receiptOf(p *evidencetest.Payment, got *typev1.Payment) *typev1.Receipt {
	f.t.Helper()
	f.verify(p, got)
	r := new(typev1.Receipt)
	f.Decode(got.GetReceipt(), r)
	return r
}

// TestAuthorizeOnChain: units are held and the receipt names the height at which the message ends; so does each renewal, long after the
// block hash was handed out and by a ledger that no longer remembers it.
func TestAuthorizeOnChain(t *testing.T) {
	f := startChain(t)
	p := f.attempt("p1", 30*usdc)
	got := f.must(p, authorized)
	f.wantUnits(70*usdc, 30*usdc)
	if r := f.receiptOf(p, got); r.GetLastValidHeight() != f.heights[p.Name] {
		t.Errorf("the receipt says %d, the block hash %d", r.GetLastValidHeight(), f.heights[p.Name])
	}
	for _, again := range []func(){func() {}, f.reopen} {
		f.clock.advance(10 * time.Minute)
		again()
		repeat := f.payment(f.payer, evidencetest.PaymentConfig{
			ID: "p1", To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: 30 * usdc, Deadline: noon.Add(24 * time.Hour),
			EditSolana: func(m *solana.Message) { *m = p.Solana },
		})
		got := f.must(repeat, authorized)
		if r := f.receiptOf(repeat, got); r.GetLastValidHeight() != f.heights[p.Name] {
			t.Errorf("the renewed receipt says %d, the block hash %d", r.GetLastValidHeight(), f.heights[p.Name])
		}
	}
	f.wantUnits(70*usdc, 30*usdc)
	f.clock.advance(6 * time.Hour)
	if err := f.ledger.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	f.wantState(p, authorized)
	f.chain.Advance(1)
	other := f.attempt("p1", 30*usdc)
	_, err := f.create(other)
	if got := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, movedUnknown); got.Metadata["field"] != "message" {
		t.Errorf("a fresh message beside a live one is refused with %v", got.Metadata)
	}
}

// TestBlockHashRefused: what the ledger could not follow to its end is not authorized, and nothing of it is recorded.
func TestBlockHashRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		// make says which block hash the message has, and what happens until it is brought.
		make func(f *chainFixture) [32]byte
		want typev1.Reason
	}{
		{"a block of the chain's that was not handed out", func(f *chainFixture) [32]byte {
			return f.chain.Final().Hash
		}, typev1.Reason_REASON_MESSAGE_EXPIRED},
		{"no block's", func(*chainFixture) [32]byte { return [32]byte{1} }, typev1.Reason_REASON_MESSAGE_EXPIRED},
		{"a minute ago", func(f *chainFixture) [32]byte {
			hash, _ := f.blockHash()
			f.clock.advance(hashAgeMax + time.Millisecond)
			return hash
		}, typev1.Reason_REASON_MESSAGE_EXPIRED},
		{"nearly a minute ago", func(f *chainFixture) [32]byte {
			hash, _ := f.blockHash()
			f.clock.advance(hashAgeMax)
			return hash
		}, typev1.Reason_REASON_UNSPECIFIED},
		{"before the ledger was started again", func(f *chainFixture) [32]byte {
			hash, _ := f.blockHash()
			f.reopen()
			return hash
		}, typev1.Reason_REASON_MESSAGE_EXPIRED},
		{"after many others", func(f *chainFixture) [32]byte {
			hash, _ := f.blockHash()
			for range 8 {
				f.clock.advance(hashShared + time.Second)
				f.chain.Advance(3)
				f.blockHash()
			}
			return hash
		}, typev1.Reason_REASON_UNSPECIFIED},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startChain(t)
			f.clock.advance(time.Minute)
			hash := tt.make(f)
			p := f.payment(f.payer, evidencetest.PaymentConfig{
				To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, EditSolana: func(m *solana.Message) { m.BlockHash = hash },
			})
			if tt.want == typev1.Reason_REASON_UNSPECIFIED {
				f.must(p, authorized)
				return
			}
			f.unchanged(func() {
				_, err := f.create(p)
				if got := wantReason(t, err, tt.want, movedNo); got.Metadata["field"] != "block_hash" || got.Metadata["why"] == "" {
					t.Errorf("refused with %v", got.Metadata)
				}
			})
			f.must(f.attempt("p1", usdc), authorized)
		})
	}
}

// TestDryRunOnChain: a message with no block's hash is judged, and neither recorded nor ever payable.
func TestDryRunOnChain(t *testing.T) {
	f := startChain(t)
	dry := func(units int64) (*typev1.Payment, error) {
		p := f.payment(f.payer, evidencetest.PaymentConfig{
			To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: units, EditSolana: func(m *solana.Message) { m.BlockHash = [32]byte{1} },
		})
		resp, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
			Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict, ValidateOnly: true,
		})
		return resp.GetPayment(), err
	}
	f.unchanged(func() {
		got, err := dry(usdc)
		if err != nil || got.GetState() != authorized || got.GetReceipt() != nil {
			t.Errorf("got %s with receipt %v, %v", got.GetState(), got.GetReceipt(), err)
		}
		_, err = dry(funded + 1)
		wantReason(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, movedNo)
	})
}

// TestRailRefused: what this ledger does not take is refused by name, dry or not, before anything is recorded.
func TestRailRefused(t *testing.T) {
	f := startChain(t)
	const usdt = resource.SolanaMainnet + "/token:Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB"
	for _, tt := range []struct{ name, asset, why string }{
		{
			"another network", resource.SolanaDevnet + "/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU",
			"is not " + resource.SolanaMainnet + ", which is the network of this installation's ledger",
		},
		{"a token that is not taken", usdt, "is a token that this installation's ledger is not configured for"},
	} {
		p := f.payment(f.payer, evidencetest.PaymentConfig{
			To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, EditIntent: func(i *typev1.Intent) { i.Asset = tt.asset },
		})
		for _, dry := range []bool{false, true} {
			f.unchanged(func() {
				_, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
					Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict, ValidateOnly: dry,
				})
				got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
				if got.Metadata["field"] != "intent.asset" || got.Metadata["why"] != tt.why {
					t.Errorf("%s: refused with %v", tt.name, got.Metadata)
				}
			})
		}
	}
	for _, network := range []string{resource.SolanaDevnet, "solana:1", "eip155:1"} {
		_, err := f.client.GetBlockHash(t.Context(), &ledgerv1.GetBlockHashRequest{Wallet: f.payer.Name, Network: network})
		if got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo); got.Metadata["field"] != "network" {
			t.Errorf("%s: refused with %v", network, got.Metadata)
		}
	}
	_, err := f.client.GetBlockHash(t.Context(), &ledgerv1.GetBlockHashRequest{Wallet: "wallets/nobody", Network: f.chain.Network()})
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE, movedNo)
}

// TestPinnedOnce: equal bytes are one message on the chain, so they are authorized for one payment, ever; also after they have landed,
// failed or are dead.
func TestPinnedOnce(t *testing.T) {
	for name, end := range map[string]func(f *chainFixture, p *evidencetest.Payment){
		"live": func(*chainFixture, *evidencetest.Payment) {},
		"landed": func(f *chainFixture, p *evidencetest.Payment) {
			f.settling(p)
			f.chain.Finalize()
			f.look()
			f.wantState(p, settled)
		},
		"dead": func(f *chainFixture, p *evidencetest.Payment) { f.pass(p); f.look(); f.wantState(p, ready) },
	} {
		t.Run(name, func(t *testing.T) {
			f := startChain(t)
			first := f.authorize("p1", usdc)
			second := f.payment(f.payer, evidencetest.PaymentConfig{
				ID: "p2", To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: usdc, EditSolana: func(m *solana.Message) { *m = first.Solana },
			})
			end(f, first)
			f.unchanged(func() {
				_, err := f.create(second)
				wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, movedNo)
			})
		})
	}
}

// TestFees: a transfer that could not pay its fee is refused before anything is held, by the SOL that is there and the SOL that is needed;
// what is denied or waits for a person is recorded all the same.
func TestFees(t *testing.T) {
	f := startChain(t)
	poor := f.wallet("poor", func(doc *typev1.GuardRails) {
		evidencetest.AllowSolana(f.shop)(doc)
		loose(doc)
		doc.Limits = append(doc.Limits, limit(typev1.Window_WINDOW_PAYMENT, 5*usdc, red))
	})
	newcomer := evidencetest.Key32(f.Key("newcomer"))
	f.setGuardRails(poor, func(doc *typev1.GuardRails) { evidencetest.Allow(newcomer)(doc) })
	f.chain.Fund(poor.GroupKey, f.mint, 10*usdc)
	f.chain.Finalize()
	f.look()
	pay := func(id string, to [32]byte, units int64) (*typev1.Payment, error) {
		f.clock.advance(hashShared + time.Second)
		hash, _ := f.blockHash()
		return f.create(f.payment(poor, evidencetest.PaymentConfig{
			ID: id, To: to, Rail: typev1.Rail_RAIL_SOLANA, Units: units, EditSolana: func(m *solana.Message) { m.BlockHash = hash },
		}))
	}
	for _, tt := range []struct {
		name  string
		add   uint64
		to    [32]byte
		needs string // Empty if it is enough.
	}{
		{"none", 0, f.shop, "897880"},
		{"a lamport less than the fee, and rent for itself", 897_879, f.shop, "897880"},
		{"enough", 1, f.shop, ""},
		{"enough, but for whom no account is open", 0, newcomer, "2937160"},
		{"enough for one to be opened", 2_039_280, newcomer, ""},
	} {
		f.chain.Airdrop(poor.GroupKey, tt.add)
		f.chain.Finalize()
		if tt.needs == "" {
			got, err := pay(fmt.Sprint("p", tt.add), tt.to, usdc)
			if err != nil || got.GetState() != authorized {
				t.Errorf("%s: %s, %v", tt.name, got.GetState(), err)
			}
			continue
		}
		f.unchanged(func() {
			_, err := pay("refused", tt.to, usdc)
			got := wantReason(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, movedNo)
			if got.Metadata["needed_lamports"] != tt.needs || got.Metadata["available_lamports"] == "" ||
				got.Metadata["address"] != solana.Key(poor.GroupKey).String() {
				t.Errorf("%s: refused with %v", tt.name, got.Metadata)
			}
		})
	}
	for _, n := range f.nodes {
		n.Become(solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			if c.Method == "getBalance" {
				c.Result = solanarpctest.Refusal(-32005)
			}
			return false
		}))
	}
	f.unchanged(func() {
		_, err := pay("unknown", f.shop, usdc)
		wantReason(t, err, typev1.Reason_REASON_UNAVAILABLE, movedNo)
	})
	if got, err := pay("denied", f.shop, 6*usdc); err != nil || got.GetState() != denied {
		t.Errorf("a payment over a limit: %s, %v", got.GetState(), err)
	}
}

// TestBlockHashShared: many callers cost the endpoints one question, and one who gives up ends it for nobody else.
func TestBlockHashShared(t *testing.T) {
	f := startChain(t)
	f.clock.advance(time.Minute)
	before := f.nodes[0].Asked("getLatestBlockhash")
	asked, release := make(chan struct{}, 1), make(chan struct{})
	f.nodes[0].Become(solanarpctest.Answering(func(c *solanarpctest.Call) bool {
		if c.Method == "getLatestBlockhash" {
			select {
			case asked <- struct{}{}:
			default:
			}
			<-release
		}
		return false
	}))
	request := &ledgerv1.GetBlockHashRequest{Wallet: f.payer.Name, Network: f.chain.Network()}
	impatient, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := f.client.GetBlockHash(impatient, request)
		left <- err
	}()
	<-asked
	leave()
	if err := <-left; err == nil {
		t.Error("who gave up got an answer")
	}
	var calls sync.WaitGroup
	hashes := make([][32]byte, 20)
	for i := range hashes {
		calls.Go(func() {
			resp, err := f.client.GetBlockHash(t.Context(), request)
			if err != nil {
				t.Errorf("GetBlockHash: %v", err)
				return
			}
			hashes[i] = [32]byte(resp.GetBlockHash())
		})
	}
	close(release)
	calls.Wait()
	for _, hash := range hashes {
		if hash != hashes[0] || hash == [32]byte{} {
			t.Fatalf("callers got %x and %x", hash, hashes[0])
		}
	}
	if n := f.nodes[0].Asked("getLatestBlockhash") - before; n != 1 {
		t.Errorf("the node was asked %d times", n)
	}
	f.nodes[0].Become()
	f.chain.Advance(5)
	f.clock.advance(hashShared)
	if hash, _ := f.blockHash(); hash != hashes[0] {
		t.Error("within five seconds another hash")
	}
	f.clock.advance(time.Millisecond)
	if hash, _ := f.blockHash(); hash == hashes[0] {
		t.Error("after five seconds the same hash")
	}
	f.nodes[1].Become(solanarpctest.Down(503))
	f.clock.advance(time.Minute)
	_, err := f.client.GetBlockHash(t.Context(), request)
	wantReason(t, err, typev1.Reason_REASON_UNAVAILABLE, movedNo)
}

// TestAdopt: a ledger that is given the rail after wallets were allowed to pay on it takes their accounts up from the beginning, and one
// without the rail says so and knows of none.
func TestAdopt(t *testing.T) {
	f := newChainFixture(t, evidencetest.New(t), t.TempDir()+"/ledger.db")
	rail := f.fixture.solana
	f.fixture.solana = nil
	f.open()
	t.Cleanup(f.close)
	f.payer = f.wallet("payer", func(doc *typev1.GuardRails) {
		evidencetest.AllowSolana(f.shop)(doc)
		loose(doc)
	})
	bystander := f.wallet("bystander", loose)
	_, err := f.client.GetBlockHash(t.Context(), &ledgerv1.GetBlockHashRequest{Wallet: f.payer.Name, Network: f.chain.Network()})
	if got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo); got.Metadata["why"] == "" {
		t.Errorf("refused with %v", got.Metadata)
	}
	f.chain.Fund(f.payer.GroupKey, f.mint, 5*usdc)
	f.chain.Fund(bystander.GroupKey, f.mint, 5*usdc)
	f.chain.Finalize()
	f.fixture.solana = rail
	f.reopen()
	for range 100 { // It takes them up in the background, once.
		f.look()
		if len(f.entries(typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT)) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.wantUnits(5*usdc, 0)
	resp, err := f.client.GetAccount(t.Context(), &ledgerv1.GetAccountRequest{Wallet: f.payer.Name})
	if err != nil || len(resp.GetBalances()) != 1 || resp.GetBalances()[0].GetSlot() == 0 ||
		resp.GetBalances()[0].GetAsset() != evidencetest.USDC {
		t.Errorf("the account is %v, %v", resp.GetBalances(), err)
	}
	resp, err = f.client.GetAccount(t.Context(), &ledgerv1.GetAccountRequest{Wallet: bystander.Name})
	if err != nil || len(resp.GetBalances()) != 0 {
		t.Errorf("an account that no rule pays from is %v, %v", resp.GetBalances(), err)
	}
}

// TestWindowsOnChain: what waits for the chain counts in every window until it is proven to move nothing.
func TestWindowsOnChain(t *testing.T) {
	for name, end := range map[string]func(f *chainFixture, p *evidencetest.Payment){
		"dead": func(f *chainFixture, p *evidencetest.Payment) { f.pass(p); f.look(); f.wantState(p, ready) },
		"failed": func(f *chainFixture, p *evidencetest.Payment) {
			f.chain.Take(f.payer.GroupKey, f.mint, funded-usdc)
			f.settling(p)
			f.chain.Finalize()
			f.look()
			f.wantState(p, failed)
			f.chain.Fund(f.payer.GroupKey, f.mint, funded)
			f.chain.Finalize()
			f.look()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := startChain(t)
			f.setGuardRails(f.payer, func(doc *typev1.GuardRails) {
				doc.Limits = append(doc.Limits, limit(typev1.Window_WINDOW_DAY, 10*usdc, red))
			})
			first := f.authorize("p1", 6*usdc)
			f.must(f.attempt("p2", 5*usdc), denied)
			end(f, first)
			f.must(f.attempt("p3", 10*usdc), authorized)
			f.must(f.attempt("p4", usdc), denied)
		})
	}
}

// TestSetTimeOnChain: an operator's set-time ends no message on the chain. What was authorized in the false future counts in the present.
func TestSetTimeOnChain(t *testing.T) {
	f := startChain(t)
	f.setGuardRails(f.payer, func(doc *typev1.GuardRails) {
		doc.Limits = append(doc.Limits, limit(typev1.Window_WINDOW_DAY, 10*usdc, red))
	})
	right := f.clock.now()
	f.clock.advance(3 * 24 * time.Hour)
	p := f.payment(f.payer, evidencetest.PaymentConfig{
		ID: "p1", To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: 6 * usdc, Deadline: noon.Add(7 * 24 * time.Hour),
		EditSolana: func(m *solana.Message) { m.BlockHash, f.heights["p1"] = f.blockHash() },
	})
	f.must(p, authorized)
	f.clock.set(right.Add(time.Minute))
	err := f.apply(&typev1.SetTime{
		Installation: f.Installation.ID(), Wallet: f.payer.Name, StatementId: "s1", TimeMillis: right.Add(time.Minute).UnixMilli(),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.wantState(p, authorized)
	f.wantUnits(funded-6*usdc, 6*usdc)
	f.must(f.attempt("p2", 5*usdc), denied)
	f.settling(p)
	f.chain.Finalize()
	f.look()
	f.wantState(p, settled)
	f.must(f.attempt("p3", 5*usdc), denied)
	f.must(f.attempt("p4", 4*usdc), authorized)
}

// TestBookBesideChain: the book knows nothing of the chain's money, and the chain nothing of the book's.
func TestBookBesideChain(t *testing.T) {
	f := startChain(t)
	payee := f.wallet("payee", loose)
	f.setGuardRails(f.payer, evidencetest.Allow(payee.GroupKey, f.Installation.RedemptionAccount()))
	f.deposit(f.payer, "d1", 10*usd)
	p := f.payment(f.payer, evidencetest.PaymentConfig{ID: "b1", To: payee.GroupKey, Units: 3 * usd})
	f.must(p, authorized)
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	_, err := f.create(f.payment(f.payer, evidencetest.PaymentConfig{ID: "b2", To: payee.GroupKey, Units: 8 * usd}))
	wantReason(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, movedNo)
	f.wantUnits(funded, 0)
	// To the redemption account's key on the chain, which redeems nothing.
	f.clock.advance(hashShared + time.Second)
	hash, _ := f.blockHash()
	there := f.payment(f.payer, evidencetest.PaymentConfig{
		ID: "c1", To: f.Installation.RedemptionAccount(), Rail: typev1.Rail_RAIL_SOLANA, Units: 2 * usdc,
		EditSolana: func(m *solana.Message) { m.BlockHash = hash },
	})
	f.must(there, authorized)
	f.settling(there)
	f.chain.Finalize()
	f.look()
	f.wantState(there, settled)
	f.unchanged(func() {
		err := f.apply(&typev1.Redemption{Installation: f.Installation.ID(), Wallet: f.payer.Name, Payment: there.Name})
		if got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo); got.Metadata["field"] != "payment" {
			t.Errorf("refused with %v", got.Metadata)
		}
	})
	f.wantUnits(funded-2*usdc, 0)
}

// TestSettleOnChainRefused: only the group key's signature over the pinned message is sent, and nothing that has ended.
func TestSettleOnChainRefused(t *testing.T) {
	f := startChain(t)
	p, other := f.authorize("p1", usdc), f.authorize("p2", usdc)
	f.unchanged(func() {
		_, err := f.client.SettlePayment(t.Context(), &ledgerv1.SettlePaymentRequest{Name: p.Name, Signature: other.Settle()})
		wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
	})
	if n := f.chain.Sent(p.MessageBytes); n != 0 {
		t.Errorf("a message was sent %d times without its signature", n)
	}
	f.pass(p)
	f.look()
	f.wantState(p, ready)
	f.unchanged(func() {
		_, err := f.settle(p)
		wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, movedNo)
	})
	if n := f.chain.Sent(p.MessageBytes); n != 0 {
		t.Errorf("a dead message was sent %d times", n)
	}
	waits := f.attempt("p3", funded+usdc)
	_, err := f.create(waits)
	wantReason(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, movedNo)
	_, err = f.settle(waits)
	wantReason(t, err, typev1.Reason_REASON_NOT_FOUND, movedNo)
}

// TestSettleOnChainRepeats: a repeat sends again while the message is live, and answers the payment once it is settled. What could not be
// sent is kept, and sent when the ledger is back.
func TestSettleOnChainRepeats(t *testing.T) {
	f := startChain(t)
	for _, n := range f.nodes {
		n.Become(solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			if c.Method == "sendTransaction" {
				c.Result = solanarpctest.Refusal(-32005)
			}
			return false
		}))
	}
	p := f.authorize("p1", usdc)
	f.settling(p)
	f.settling(p)
	for _, n := range f.nodes {
		n.Become()
	}
	f.reopen()
	sent := f.chain.Sent(p.MessageBytes)
	f.look()
	if n := f.chain.Sent(p.MessageBytes); n <= sent {
		t.Error("the ledger has not sent again what it was given before it ended")
	}
	f.settling(p)
	f.chain.Finalize()
	f.look()
	f.unchanged(func() {
		got, err := f.settle(p)
		if err != nil || got.GetState() != settled || got.GetSettlement() == nil {
			t.Errorf("repeat: %s, %v", got.GetState(), err)
		}
		s, err := evidence.CheckSettlement(f.Installation, got.GetSettlement())
		if err != nil || len(s.GetTransaction()) != 64 || s.GetSlot() == 0 {
			t.Errorf("settlement %v, %v", s, err)
		}
	})
	if got := f.chain.Units(f.shop, f.mint); got != usdc {
		t.Errorf("the shop has %d", got)
	}
}

// TestFreezeOnChain: a frozen wallet's transfer is not sent, whoever froze it, and the freeze says what may still land without the ledger.
func TestFreezeOnChain(t *testing.T) {
	for _, scope := range []typev1.Scope{typev1.Scope_SCOPE_WALLET, typev1.Scope_SCOPE_OWNER, typev1.Scope_SCOPE_INSTALLATION} {
		t.Run(scope.String(), func(t *testing.T) {
			f := startChain(t)
			p, settledBefore := f.authorize("p1", usdc), f.authorize("p2", usdc)
			f.settling(settledBefore)
			f.chain.Finalize()
			f.look()
			freeze := &typev1.Freeze{FreezeId: "f1", Scope: scope, Caller: "operator"}
			switch scope {
			case typev1.Scope_SCOPE_WALLET:
				freeze.Wallet = f.payer.Name
			case typev1.Scope_SCOPE_OWNER:
				freeze.Owner = f.payer.Head.Document.GetOwner()
			}
			for range 2 { // A repeat says the same.
				resp, err := f.client.Freeze(t.Context(), &ledgerv1.FreezeRequest{Freeze: freeze})
				if err != nil {
					t.Fatal(err)
				}
				if got := resp.GetResult().GetUnresolvedPayments(); len(got) != 1 || got[0] != p.Name {
					t.Errorf("unresolved: %v, want %s", got, p.Name)
				}
			}
			f.unchanged(func() {
				_, err := f.settle(p)
				wantReason(t, err, typev1.Reason_REASON_FROZEN, movedUnknown)
			})
			if n := f.chain.Sent(p.MessageBytes); n != 0 {
				t.Errorf("a frozen wallet's transfer was sent %d times", n)
			}
			if scope != typev1.Scope_SCOPE_WALLET {
				return
			}
			other := f.wallet("other", loose)
			resp, err := f.client.Freeze(t.Context(), &ledgerv1.FreezeRequest{Freeze: &typev1.Freeze{
				FreezeId: "f1", Scope: scope, Wallet: other.Name, Caller: "operator",
			}})
			if err != nil || len(resp.GetResult().GetUnresolvedPayments()) != 0 {
				t.Errorf("another wallet's freeze: %v, %v", resp.GetResult().GetUnresolvedPayments(), err)
			}
			if err := f.unfreeze(f.payer, "f1"); err != nil {
				t.Fatal(err)
			}
			f.settling(p)
			f.chain.Finalize()
			f.look()
			f.wantState(p, settled)
		})
	}
}

// TestRestoredOnChain: a ledger that was put back to an older copy reads the chain's history on from there. What came in meanwhile counts
// once, what was authorized before settles, and what was paid after the copy has left without a payment that it knows.
func TestRestoredOnChain(t *testing.T) {
	f := startChain(t)
	before := f.authorize("before", 10*usdc)
	f.close()
	old, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.open()
	f.settling(before)
	after := f.authorize("after", 20*usdc)
	f.settling(after)
	f.chain.Fund(f.payer.GroupKey, f.mint, 5*usdc)
	f.chain.Finalize()
	f.look()
	f.wantState(before, settled)
	f.wantState(after, settled)
	f.wantUnits(funded-25*usdc, 0)
	f.close()
	if err := os.WriteFile(f.path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	f.wantUnits(funded-10*usdc, 10*usdc)
	f.look()
	f.wantState(before, settled)
	f.wantUnits(funded-25*usdc, 0)
	got := f.entries(typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW)
	if len(got) != 1 || got[0].GetUnits() != fmt.Sprint(20*usdc) || got[0].GetPayment() != "" {
		t.Errorf("outflows: %v", got)
	}
	if got := f.entries(typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT); len(got) != 2 {
		t.Errorf("%d deposits, want the first and the one of after the copy", len(got))
	}
}

// TestRailTakenAway: payments that wait for a chain keep their holds when its configuration is gone, the ledger says so, and they end when
// it is back.
func TestRailTakenAway(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	rail := f.fixture.solana
	f.fixture.solana = nil
	f.reopen()
	f.wantState(p, authorized)
	f.unchanged(func() {
		_, err := f.settle(p)
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedUnknown)
	})
	resp, err := f.client.Freeze(t.Context(), &ledgerv1.FreezeRequest{Freeze: &typev1.Freeze{
		FreezeId: "f1", Scope: typev1.Scope_SCOPE_WALLET, Wallet: f.payer.Name, Caller: "operator",
	}})
	if err != nil || len(resp.GetResult().GetUnresolvedPayments()) != 1 {
		t.Errorf("unresolved: %v, %v", resp.GetResult().GetUnresolvedPayments(), err)
	}
	f.close()
	if logs := f.logs.String(); !strings.Contains(logs, "not configured") || !strings.Contains(logs, p.Name) {
		t.Errorf("the log says nothing of what waits: %s", logs)
	}
	f.fixture.solana = rail
	f.open()
	f.pass(p)
	f.look()
	f.wantState(p, ready)
	f.wantUnits(funded, 0)
}

// TestReviewOnChain: what waits for a person holds nothing and has no message; after the approval a fresh one is authorized, and the first
// one is not.
func TestReviewOnChain(t *testing.T) {
	f := startChain(t)
	f.setGuardRails(f.payer, func(doc *typev1.GuardRails) {
		doc.Limits = append(doc.Limits, limit(typev1.Window_WINDOW_PAYMENT, 5*usdc, yellow))
	})
	first := f.attempt("p1", 6*usdc)
	f.must(first, pending)
	f.wantUnits(funded, 0)
	if _, err := f.answer(first, typev1.Answer_ANSWER_APPROVE); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(2 * time.Minute)
	f.chain.Advance(300)
	first.Judge(f.clock.now(), nil)
	_, err := f.create(first)
	wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, movedNo)
	second := f.attempt("p1", 6*usdc)
	second.Review = first.Review
	second.Judge(f.clock.now(), nil)
	f.verify(second, f.must(second, authorized))
	f.settling(second)
	f.chain.Finalize()
	f.look()
	f.settledBy(second)
}
