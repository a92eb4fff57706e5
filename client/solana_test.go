package client_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	usdcMint = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
	usdc     = resource.SolanaDevnet + "/token:" + usdcMint
	failed   = typev1.PaymentState_PAYMENT_STATE_FAILED
)

// chainWorld is an installation with a rail on Solana, beside a chain that a test moves, and an agent with tokens there.
type chainWorld struct {
	*halfkeytest.System
	t     testing.TB
	chain *solanarpctest.Chain
	node  *solanarpctest.Endpoint
	clock *halfkeytest.Clock
	payer *client.Agent
	home  *client.Home
	mint  solana.Key
	shop  solana.Key
}

// newChainWorld starts one; register registers the agent, with the home that it is in.
func newChainWorld(t testing.TB, register func(*halfkeytest.System) (*client.Agent, *client.Home)) *chainWorld {
	t.Helper()
	chain := solanarpctest.New(t, resource.SolanaDevnet)
	w := &chainWorld{t: t, chain: chain, node: chain.Endpoint(), clock: halfkeytest.NewClock(time.Now())}
	w.System = halfkeytest.Start(t, halfkeytest.WithSolana(resource.SolanaDevnet, w.node.URL), halfkeytest.WithClock(w.clock))
	var err error
	if w.mint, err = solana.ParseKey(usdcMint); err != nil {
		t.Fatal(err)
	}
	seed := sha256.Sum256([]byte("a shop that is nobody's here"))
	w.shop = solana.Key(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	w.payer, w.home = register(w.System)
	rules := client.StandardRules(w.shop)
	rules.Assets = []string{usdc, w.Installation().BookUSD()}
	rules.AutoApprove, rules.Daily, rules.HardCap = 50*usd, 5000*usd, 100*usd
	// The ledger looks at the account as soon as the guard rails allow its token.
	w.chain.Fund(w.payer.GroupKey(), w.mint, 1000*usd)
	w.chain.Airdrop(w.payer.GroupKey(), 1_000_000_000)
	w.chain.Finalize()
	w.GuardRails(w.payer, rules)
	for ctx := testContext(t); w.holds(t) != 1000*usd; {
		if ctx.Err() != nil {
			t.Fatal("the ledger does not see the deposit")
		}
	}
	return w
}

// holds is what the ledger says that the payer can pay on the chain.
func (w *chainWorld) holds(t testing.TB) int64 {
	t.Helper()
	acc, err := w.payer.Account(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range acc.Balances {
		if b.Asset == usdc {
			return b.Available
		}
	}
	return 0
}

// registered registers the payer in a home of its own.
func registered(t testing.TB) func(h *halfkeytest.System) (*client.Agent, *client.Home) {
	return func(h *halfkeytest.System) (*client.Agent, *client.Home) {
		home := h.Home()
		c := h.Client(home)
		r, err := c.Register(testContext(t), client.RegisterOptions{Name: "Payer", OwnerEmail: halfkeytest.Email})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Owner().Claim(testContext(t), r.ClaimCode); err != nil {
			t.Fatal(err)
		}
		a, err := c.Agent("")
		if err != nil {
			t.Fatal(err)
		}
		return a, home
	}
}

// order pays the shop on Solana.
func (w *chainWorld) order(id string, units int64) client.Order {
	return client.Order{ID: id, Recipient: w.shop.String(), Asset: usdc, Units: units}
}

// got is what the shop has been paid, by the chain itself.
func (w *chainWorld) got() int64 { return int64(w.chain.Units(w.shop, w.mint)) }

// kill moves the chain to where no message of now can land any more, and the clock to where another block hash is handed out.
func (w *chainWorld) kill() {
	w.chain.AdvanceTo(w.chain.Tip().Height + 151 + 32)
	w.chain.Finalize()
	w.clock.Advance(6 * time.Second)
}

// proven waits until a payment is proven to have come to a state.
func proven(t testing.TB, a *client.Agent, id string, want typev1.PaymentState) *client.Payment {
	t.Helper()
	p, err := a.WaitProven(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if p.State != want {
		t.Fatalf("got %v, want %v", p.State, want)
	}
	return p
}

// comesTo waits until the ledger says that a payment is in a state; it continues nothing.
func comesTo(t testing.TB, a *client.Agent, id string, want typev1.PaymentState) *client.Payment {
	t.Helper()
	ctx := testContext(t)
	for {
		p, err := a.Payment(ctx, id)
		switch {
		case err != nil:
			t.Fatal(err)
		case p.State == want:
			return p
		case ctx.Err() != nil:
			t.Fatalf("it stays %v, want %v", p.State, want)
		}
	}
}

// die has a payment authorized whose message never reaches a block, until the ledger has proven that it is dead.
func (w *chainWorld) die(t testing.TB, a *client.Agent, o client.Order) {
	t.Helper()
	w.chain.Lose(true)
	mustPay(t, a, o, authorized)
	w.kill()
	comesTo(t, a, o.ID, ready)
	w.chain.Lose(false)
}

// TestPayOnSolana pays on the chain, by the ledger, and believes nothing but what the chain proves.
func TestPayOnSolana(t *testing.T) {
	t.Parallel()
	w := newChainWorld(t, registered(t))
	ctx := testContext(t)

	t.Run("paid", func(t *testing.T) {
		p := mustPay(t, w.payer, w.order("paid", 5*usd), authorized)
		if p.Settlement != nil || w.got() != 0 {
			t.Fatalf("before the chain has it: %+v", p)
		}
		if again := mustPay(t, w.payer, w.order("paid", 5*usd), authorized); again.Name != p.Name {
			t.Errorf("the repeat is %s", again.Name)
		}
		w.chain.Finalize()
		p = proven(t, w.payer, "paid", settled)
		if p.Settlement.GetSlot() == 0 || len(p.Settlement.GetTransaction()) != 64 || p.Recipient != w.shop {
			t.Errorf("got %+v", p.Settlement)
		}
		if !ed25519.Verify(keyOf(w.payer), p.Proto.GetMessage(), p.Settlement.GetTransaction()) {
			t.Error("the transaction is named by another signature than the wallet's over the message")
		}
		mustPay(t, w.payer, w.order("paid", 5*usd), settled)
		w.chain.Finalize()
		if w.got() != 5*usd {
			t.Errorf("the shop got %d", w.got())
		}
	})

	t.Run("a dry run can never land", func(t *testing.T) {
		req, err := w.payer.DryRunRequest(ctx, w.order("dry", usd))
		if err != nil {
			t.Fatal(err)
		}
		m, err := solana.Decode(req.GetMessage(), w.shop, []solana.Mint{{Key: w.mint, Decimals: 6}})
		if err != nil || m.BlockHash != sha256.Sum256([]byte("halfkey: the hash of no block, for messages that can never be paid")) {
			t.Errorf("got %+v, %v", m, err)
		}
		p, err := w.payer.DryRun(ctx, w.order("dry", 60*usd))
		if err != nil || p.State != pending {
			t.Errorf("got %v, %v", p, err)
		}
	})

	t.Run("limits count it at par with dollars", func(t *testing.T) {
		if p := mustPay(t, w.payer, w.order("over-cap", 101*usd), denied); p.Light != typev1.Light_LIGHT_RED {
			t.Errorf("got %v", p.Light)
		}
	})

	t.Run("a dead message is followed by another", func(t *testing.T) {
		before := w.got()
		w.die(t, w.payer, w.order("dead", usd))
		mustPay(t, w.payer, w.order("dead", usd), authorized)
		w.chain.Finalize()
		proven(t, w.payer, "dead", settled)
		if got := w.got() - before; got != usd {
			t.Errorf("the shop got %d", got)
		}
	})

	t.Run("landed with an error", func(t *testing.T) {
		before := w.got()
		w.chain.Open(w.shop, w.mint)
		mustPay(t, w.payer, w.order("fails", usd), authorized)
		w.chain.Freeze(w.shop, w.mint, true)
		w.chain.Finalize()
		p := proven(t, w.payer, "fails", failed)
		if p.Failure.GetSlot() == 0 || len(p.Failure.GetTransaction()) != 64 {
			t.Errorf("got %+v", p.Failure)
		}
		w.chain.Freeze(w.shop, w.mint, false)
		w.chain.Finalize()
		if got := mustPay(t, w.payer, w.order("fails", usd), failed); got.Failure == nil || w.got() != before {
			t.Errorf("got %+v, and the shop %d", got, w.got()-before)
		}
	})

	t.Run("frozen once it was signed", func(t *testing.T) {
		before := w.got()
		w.chain.Lose(true)
		mustPay(t, w.payer, w.order("stopped", usd), authorized)
		stop, err := w.payer.Freeze(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(stop.Unresolved, w.payer.Wallet()+"/payments/stopped") {
			t.Error("the freeze does not say what may still land")
		}
		// What was sent may land, whatever is frozen since.
		_, err = w.payer.Pay(ctx, w.order("stopped", usd))
		wantReason(t, err, typev1.Reason_REASON_FROZEN, unknown)
		w.kill()
		comesTo(t, w.payer, "stopped", ready)
		w.chain.Lose(false)
		_, err = w.payer.Pay(ctx, w.order("stopped", usd))
		wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
		w.chain.Finalize()
		if got := w.got() - before; got != 0 {
			t.Errorf("a frozen wallet paid %d", got)
		}
		if _, err := w.Owner().Unfreeze(ctx, w.payer.Wallet(), stop.FreezeID); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(6 * time.Second)
		mustPay(t, w.payer, w.order("stopped", usd), authorized)
		w.chain.Finalize()
		proven(t, w.payer, "stopped", settled)
		if got := w.got() - before; got != usd {
			t.Errorf("the shop got %d", got)
		}
	})

	t.Run("recipients", func(t *testing.T) {
		account, _ := solana.AssociatedTokenAccount(w.shop, w.mint)
		for name, to := range map[string]string{
			"its token account": account.String(), "the mint": usdcMint, "its own address": solana.Key(w.payer.GroupKey()).String(),
			"too short": w.shop.String()[:31], "no base58": "0" + w.shop.String()[1:], "nothing": "",
		} {
			o := w.order("", usd)
			o.Recipient = to
			_, err := w.payer.Pay(ctx, o)
			if wantReasonAny(t, err).Reason != typev1.Reason_REASON_INVALID_ARGUMENT || client.MoneyMovedOf(err) != notMoved {
				t.Errorf("%s: got %v", name, err)
			}
		}
		o := w.order("by-key", usd)
		o.Recipient = hexKey(w.shop)
		mustPay(t, w.payer, o, authorized)
		o = w.order("for-a-resource", usd)
		o.X402 = &typev1.X402Context{}
		_, err := w.payer.Pay(ctx, o)
		if e := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved); e.Metadata["field"] != "x402" {
			t.Errorf("got %v", e)
		}
	})
}

func keyOf(a *client.Agent) ed25519.PublicKey { k := a.GroupKey(); return k[:] }
