package ledger

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// usdc is one of the token that wallets are given.
	usdc = 1_000_000
	// funded is what a payer begins with.
	funded = 100 * usdc
	// answerTimeout is long for a node on loopback, also on a machine that does much else.
	answerTimeout = 10 * time.Second
)

// chainFixture is a ledger that asks two nodes of a simulated chain, and a wallet there that has tokens and SOL. It looks at the chain
// when a test says so.
type chainFixture struct {
	*fixture
	chain *solanarpctest.Chain
	nodes []*solanarpctest.Endpoint
	mint  solana.Key
	payer *evidencetest.Wallet
	shop  solana.Key
	// timeout bounds the ledger's calls to nodes, from the next reopen on.
	timeout time.Duration
	// heights are the last ones at which payments' messages can land by their block hashes.
	heights map[string]uint64
}

func startChain(t testing.TB) *chainFixture {
	t.Helper()
	f := newChainFixture(t, evidencetest.New(t), filepath.Join(t.TempDir(), "ledger.db"))
	f.open()
	t.Cleanup(func() {
		f.close()
		if !t.Failed() {
			f.check()
		}
	})
	f.fund()
	return f
}

// newChainFixture makes the chain and its nodes, and no ledger yet.
func newChainFixture(t testing.TB, world *evidencetest.World, path string) *chainFixture {
	t.Helper()
	mint, err := solana.ParseKey("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")
	if err != nil {
		t.Fatal(err)
	}
	f := &chainFixture{
		fixture: &fixture{World: world, t: t, path: path}, mint: mint, timeout: answerTimeout, shop: evidencetest.Key32(world.Key("shop")),
		chain: solanarpctest.New(t, resource.SolanaMainnet), heights: map[string]uint64{},
	}
	f.clock.set(noon)
	f.nodes = []*solanarpctest.Endpoint{f.chain.Endpoint(), f.chain.Endpoint()}
	f.fixture.solana = func() *Solana { return f.rail(f.nodes[0].URL, f.nodes[1].URL) }
	return f
}

// rail asks these endpoints, as good as never by itself.
func (f *chainFixture) rail(endpoints ...string) *Solana {
	f.t.Helper()
	client, err := solanarpc.New(solanarpc.Config{Network: f.chain.Network(), Endpoints: endpoints, Timeout: f.timeout})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(client.Close)
	return &Solana{Network: f.chain.Network(), Client: client, Assets: []string{evidencetest.USDC}, WatchInterval: time.Hour}
}

// fund opens the payer's account, here and on the chain.
func (f *chainFixture) fund() {
	f.t.Helper()
	f.payer = f.wallet("payer", func(doc *typev1.GuardRails) {
		evidencetest.AllowSolana(f.shop)(doc)
		loose(doc)
	})
	f.chain.Fund(f.payer.GroupKey, f.mint, funded)
	f.chain.Airdrop(f.payer.GroupKey, 1_000_000_000)
	f.chain.Open(f.shop, f.mint)
	f.chain.Finalize()
	f.look()
	f.wantUnits(funded, 0)
}

// look has the ledger look at everything on the chain.
func (f *chainFixture) look() {
	f.t.Helper()
	if err := f.ledger.LookAtChain(f.t.Context()); err != nil {
		f.t.Errorf("LookAtChain: %v", err)
	}
}

// attempt makes a transfer to the shop over a fresh block hash.
func (f *chainFixture) attempt(id string, units int64) *evidencetest.Payment {
	f.t.Helper()
	f.clock.advance(hashShared + time.Second)
	hash, height := f.blockHash()
	p := f.payment(f.payer, evidencetest.PaymentConfig{
		ID: id, To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: units, Deadline: noon.Add(24 * time.Hour),
		EditSolana: func(m *solana.Message) { m.BlockHash, m.Memo = hash, fmt.Sprintf("%s %x", id, hash[:8]) },
	})
	f.heights[p.Name] = height
	return p
}

func (f *chainFixture) blockHash() (hash [32]byte, lastValidHeight uint64) {
	f.t.Helper()
	resp, err := f.client.GetBlockHash(f.t.Context(), &ledgerv1.GetBlockHashRequest{Wallet: f.payer.Name, Network: f.chain.Network()})
	if err != nil {
		f.t.Fatalf("GetBlockHash: %v", err)
	}
	return [32]byte(resp.GetBlockHash()), resp.GetLastValidHeight()
}

// authorize has the ledger authorize a transfer to the shop. Nobody has sent it yet.
func (f *chainFixture) authorize(id string, units int64) *evidencetest.Payment {
	f.t.Helper()
	p := f.attempt(id, units)
	f.must(p, authorized)
	return p
}

// wire is the whole transaction of a payment.
func (f *chainFixture) wire(p *evidencetest.Payment) []byte {
	f.t.Helper()
	wire, err := solana.Wire(p.MessageBytes, solana.Signature(p.Settle()))
	if err != nil {
		f.t.Fatal(err)
	}
	return wire
}

// settling has the ledger take a payment's signature and send it.
func (f *chainFixture) settling(p *evidencetest.Payment) {
	f.t.Helper()
	got, err := f.settle(p)
	if err != nil || got.GetState() != authorized {
		f.t.Fatalf("SettlePayment: %v, %v", got.GetState(), err)
	}
}

// pass has all time go by in which a payment's message could land, and be seen.
func (f *chainFixture) pass(p *evidencetest.Payment) {
	f.chain.AdvanceTo(f.heights[p.Name] + 1 + 32 + solanarpctest.FinalityBlocks)
}

func (f *chainFixture) wantState(p *evidencetest.Payment, want typev1.PaymentState) {
	f.t.Helper()
	if got := f.get(p.Name).GetState(); got != want {
		f.t.Errorf("%s is %s, want %s", p.Name, got, want)
	}
}

// wantMoved checks what the ledger tells of a payment's money, to who asks for another one under its id.
func (f *chainFixture) wantMoved(p *evidencetest.Payment, want typev1.MoneyMoved) {
	f.t.Helper()
	other := f.payment(f.payer, evidencetest.PaymentConfig{
		ID: strings.TrimPrefix(p.Name, f.payer.Name+"/payments/"), To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: 7,
		Deadline: noon.Add(24 * time.Hour),
	})
	_, err := f.create(other)
	if got := fault.Of(err); err == nil || got.Reason != typev1.Reason_REASON_PAYMENT_DIFFERS || got.MoneyMoved != want {
		f.t.Errorf("%s: another payment is answered %v, money moved %s, want %s", p.Name, err, got.MoneyMoved, want)
	}
}

// wantUnits checks available and held units, as they are in the ledger's rows.
func (f *chainFixture) wantUnits(available, held int64) {
	f.t.Helper()
	f.wantBalanceOf(available, held, 0)
}

func (f *chainFixture) wantBalanceOf(available, held, deficit int64) {
	f.t.Helper()
	db, err := sql.Open("sqlite", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	var got balance
	err = db.QueryRow(`SELECT available, held, deficit FROM balance WHERE account = ? AND asset = ?`, f.payer.Name, evidencetest.USDC).
		Scan(&got.available, &got.held, &got.deficit)
	if want := (balance{available, held, deficit}); err != nil || got != want {
		f.t.Errorf("balance %+v, %v, want %+v", got, err, want)
	}
}

// entries are the wallet's journal entries of a kind.
func (f *chainFixture) entries(kind typev1.EntryKind) (list []*typev1.Entry) {
	f.t.Helper()
	for from := uint64(1); ; {
		resp, err := f.client.ListEntries(f.t.Context(), &ledgerv1.ListEntriesRequest{Parent: f.payer.Name, FromNumber: from})
		if err != nil {
			f.t.Fatalf("ListEntries: %v", err)
		}
		if len(resp.GetEntries()) == 0 {
			return list
		}
		for _, b := range resp.GetEntries() {
			e := new(typev1.Entry)
			if err := evidence.Unmarshal(b, e); err != nil {
				f.t.Fatal(err)
			}
			if from = e.GetNumber() + 1; e.GetKind() == kind {
				list = append(list, e)
			}
		}
	}
}

// exit takes units from the payer to the shop by a transfer that the ledger knows nothing of.
func (f *chainFixture) exit(units int64, memo string) (transaction solana.Signature) {
	f.t.Helper()
	message, err := solana.Message{
		Layout: solana.Transfer, FeePayer: f.payer.GroupKey, Payer: f.payer.GroupKey, Recipient: f.shop, Mint: f.mint, Units: units, Decimals: 6,
		Memo: memo, BlockHash: f.chain.Tip().Hash,
	}.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	p := &evidencetest.Payment{Wallet: f.payer, MessageBytes: message}
	f.chain.Send(f.wire(p))
	return solana.Signature(p.Settle())
}
