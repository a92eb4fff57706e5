package client_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const usd = 1_000_000

// The states and reasons that the tests name.
const (
	pending    = typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW
	ready      = typev1.PaymentState_PAYMENT_STATE_READY
	authorized = typev1.PaymentState_PAYMENT_STATE_AUTHORIZED
	settled    = typev1.PaymentState_PAYMENT_STATE_SETTLED
	denied     = typev1.PaymentState_PAYMENT_STATE_DENIED
	canceled   = typev1.PaymentState_PAYMENT_STATE_CANCELED
	expired    = typev1.PaymentState_PAYMENT_STATE_EXPIRED
)

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// wantReason fails unless err is an *Error of that reason that says what moved.
func wantReason(t testing.TB, err error, reason typev1.Reason, moved typev1.MoneyMoved) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want %v", err, reason)
	}
	if e.Reason != reason || e.MoneyMoved != moved {
		t.Fatalf("got %v, money moved %v, in %q, want %v, %v", e.Reason, e.MoneyMoved, e, reason, moved)
	}
	if e.Next == "" {
		t.Errorf("%q does not say what to do next", e)
	}
	return e
}

const (
	notMoved = typev1.MoneyMoved_MONEY_MOVED_NO
	unknown  = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
)

// balance is a wallet's available book dollars.
func balance(t testing.TB, a *client.Agent) int64 {
	t.Helper()
	acc, err := a.Account(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(acc.Balances) == 0 {
		return 0
	}
	if acc.Balances[0].Held != 0 {
		t.Errorf("%s holds %d", a.Handle(), acc.Balances[0].Held)
	}
	return acc.Balances[0].Available
}

func mustPay(t testing.TB, a *client.Agent, o client.Order, want typev1.PaymentState) *client.Payment {
	t.Helper()
	p, err := a.Pay(testContext(t), o)
	if err != nil {
		t.Fatalf("Pay: %v", err)
	}
	if p.State != want {
		t.Fatalf("Pay ended in %v, want %v; results %v", p.State, want, p.Results)
	}
	return p
}

// TestFlows shows an agent's and an owner's life on one installation.
func TestFlows(t *testing.T) {
	t.Parallel()
	clock := halfkeytest.NewClock(time.Now())
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	shop, payer := h.Agent("Data Shop"), h.Agent("Research Agent")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 500*usd)
	ctx := testContext(t)
	owner := h.Owner()

	t.Run("green", func(t *testing.T) {
		before := balance(t, shop)
		p := mustPay(t, payer, client.Order{ID: "green", Recipient: "@data-shop", Units: 2 * usd, Purpose: "weather data"}, settled)
		if p.Units != 2*usd || p.Recipient != shop.GroupKey() || p.RecipientName != "@data-shop" || p.Light != typev1.Light_LIGHT_GREEN {
			t.Errorf("got payment %+v", p)
		}
		if p.Settlement.GetPayment() != payer.Wallet()+"/payments/green" {
			t.Errorf("got settlement %v", p.Settlement)
		}
		if got := balance(t, shop) - before; got != 2*usd {
			t.Errorf("the shop got %d", got)
		}
		again := mustPay(t, payer, client.Order{ID: "green", Recipient: "@data-shop", Units: 2 * usd, Purpose: "weather data"}, settled)
		if again.Name != p.Name || balance(t, shop)-before != 2*usd {
			t.Error("the repeat paid again")
		}
		_, err := payer.Pay(ctx, client.Order{ID: "green", Recipient: "@data-shop", Units: 3 * usd, Purpose: "weather data"})
		if e := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, notMoved); e.Metadata["field"] != "units" {
			t.Errorf("got field %q, want units", e.Metadata["field"])
		}
	})

	t.Run("recipients", func(t *testing.T) {
		for _, to := range []string{"@data-shop", shop.Wallet(), hexKey(shop.GroupKey())} {
			mustPay(t, payer, client.Order{Recipient: to, Units: 1000}, settled)
		}
		for _, to := range []string{"@nobody", "wallets/nobody", "data-shop", "", "@", "wallets/", "zz", hexKey([32]byte{})} {
			if _, err := payer.Pay(ctx, client.Order{Recipient: to, Units: 1000}); client.MoneyMovedOf(err) != notMoved || err == nil {
				t.Errorf("%q: got %v", to, err)
			}
		}
	})

	t.Run("malformed orders", func(t *testing.T) {
		for _, o := range []client.Order{
			{Recipient: shop.Wallet(), Units: 0},
			{Recipient: shop.Wallet(), Units: -1},
			{Recipient: shop.Wallet(), Units: usd, ID: "UPPER"},
			{Recipient: shop.Wallet(), Units: usd, Purpose: "two\nlines"},
			{Recipient: shop.Wallet(), Units: usd, Deadline: 8 * 24 * time.Hour},
			{Recipient: shop.Wallet(), Units: usd, Deadline: -time.Second},
			{Recipient: shop.Wallet(), Units: usd, Asset: "halfkey:other/iso4217:USD"},
			{Recipient: shop.Wallet(), Units: usd, Asset: "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"},
			{Recipient: payer.Wallet(), Units: usd},
		} {
			if _, err := payer.Pay(ctx, o); err == nil || client.MoneyMovedOf(err) != notMoved {
				t.Errorf("%+v: got %v", o, err)
			}
		}
	})

	t.Run("dry run", func(t *testing.T) {
		p, err := payer.DryRun(ctx, client.Order{ID: "dry", Recipient: shop.Wallet(), Units: 20 * usd})
		if err != nil || p.State != pending || p.Light != typev1.Light_LIGHT_YELLOW {
			t.Errorf("got %v, %v", p, err)
		}
		if _, err := payer.Payment(ctx, "dry"); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
			t.Errorf("the dry run was recorded: %v", err)
		}
		if _, err := payer.Resume(ctx, "dry"); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
			t.Errorf("the dry run was stored: %v", err)
		}
	})

	t.Run("yellow", func(t *testing.T) {
		p := mustPay(t, payer, client.Order{ID: "yellow", Recipient: shop.Wallet(), Units: 20 * usd, Purpose: "a model run"}, pending)
		if ids, err := payer.Unfinished(); err != nil || !slices.Contains(ids, "yellow") {
			t.Errorf("got unfinished %v, %v", ids, err)
		}
		waited := make(chan error, 1)
		go func() {
			p, err := payer.Wait(ctx, "yellow")
			if err == nil && p.State != settled {
				err = errors.New("ended in " + p.State.String())
			}
			waited <- err
		}()
		reviews, err := owner.Reviews(ctx)
		if err != nil || len(reviews) != 1 {
			t.Fatalf("got reviews %v, %v", reviews, err)
		}
		r := reviews[0]
		if r.Payment != p.Name || r.Units != 20*usd || r.Recipient != shop.GroupKey() || r.Purpose != "a model run" ||
			r.Handle != "research-agent" || r.RecipientName != "@data-shop" || len(r.Results) == 0 {
			t.Errorf("got review %+v", r)
		}
		if _, err := owner.Approve(ctx, p.Name); err != nil {
			t.Fatal(err)
		}
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		if ids, err := payer.Unfinished(); err != nil || slices.Contains(ids, "yellow") {
			t.Errorf("got unfinished %v, %v", ids, err)
		}
	})

	t.Run("refused by its owner", func(t *testing.T) {
		p := mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: 20 * usd}, pending)
		if _, err := owner.Refuse(ctx, p.Name); err != nil {
			t.Fatal(err)
		}
		if p, err := payer.Wait(ctx, p.ID); err != nil || p.State != denied {
			t.Errorf("got %v, %v", p, err)
		}
		if _, err := owner.Approve(ctx, p.Name); client.ReasonOf(err) != typev1.Reason_REASON_WRONG_STATE {
			t.Errorf("approved after refusing: %v", err)
		}
	})

	t.Run("canceled", func(t *testing.T) {
		p := mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: 20 * usd}, pending)
		if p, err := payer.Cancel(ctx, p.ID); err != nil || p.State != canceled {
			t.Fatalf("got %v, %v", p, err)
		}
		if p, err := payer.Resume(ctx, p.ID); err != nil || p.State != canceled {
			t.Errorf("got %v, %v", p, err)
		}
	})

	t.Run("red", func(t *testing.T) {
		p := mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: 101 * usd}, denied)
		if p.Light != typev1.Light_LIGHT_RED {
			t.Errorf("got %v", p.Light)
		}
		stranger := h.Agent("Stranger")
		mustPay(t, payer, client.Order{Recipient: stranger.Wallet(), Units: usd}, denied)
	})

	t.Run("incoming", func(t *testing.T) {
		in, err := shop.Payments(ctx, true)
		if err != nil || len(in) == 0 {
			t.Fatalf("got %d, %v", len(in), err)
		}
		byOwner, err := owner.Payments(ctx, shop.Wallet(), true)
		if err != nil || len(byOwner) != len(in) {
			t.Errorf("the owner sees %d, %v", len(byOwner), err)
		}
		shopClient := h.Client(h.Home())
		if _, err := shopClient.VerifyIncoming(in[0].Proto, shop.Wallet()); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
			t.Errorf("a home that does not know the wallet: got %v", err)
		}
		outgoing, err := payer.Payments(ctx, false)
		if err != nil || len(outgoing) < len(in) {
			t.Fatalf("got %d, %v", len(outgoing), err)
		}
		if own, err := owner.Payments(ctx, payer.Wallet(), false); err != nil || len(own) != len(outgoing) {
			t.Errorf("the owner sees %d of %d, %v", len(own), len(outgoing), err)
		}
	})

	t.Run("freeze", func(t *testing.T) {
		s, err := owner.Freeze(ctx, payer.Wallet(), "")
		if err != nil || !s.Frozen || len(s.FreezeID) != 32 {
			t.Fatalf("got %+v, %v", s, err)
		}
		_, err = payer.Pay(ctx, client.Order{ID: "while-frozen", Recipient: shop.Wallet(), Units: usd})
		wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
		if acc, err := payer.Account(ctx); err != nil || !acc.Frozen {
			t.Errorf("got %+v, %v", acc, err)
		}
		own, err := payer.Freeze(ctx, "mine")
		if err != nil || !own.Frozen {
			t.Fatalf("got %+v, %v", own, err)
		}
		if u, err := owner.Unfreeze(ctx, payer.Wallet(), s.FreezeID); err != nil || !u.Frozen {
			t.Fatalf("two freezes, one ended: got %+v, %v", u, err)
		}
		if u, err := owner.Unfreeze(ctx, payer.Wallet(), "mine"); err != nil || u.Frozen {
			t.Fatalf("got %+v, %v", u, err)
		}
		mustPay(t, payer, client.Order{ID: "while-frozen", Recipient: shop.Wallet(), Units: usd}, settled)
		_, err = owner.Freeze(ctx, payer.Wallet(), "mine")
		wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED, notMoved)
		_, err = payer.Freeze(ctx, "mine")
		wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED, notMoved)

		all, err := owner.FreezeAll(ctx, "")
		if err != nil || !all.Frozen {
			t.Fatalf("got %+v, %v", all, err)
		}
		_, err = payer.Pay(ctx, client.Order{Recipient: shop.Wallet(), Units: usd})
		wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
		if u, err := owner.UnfreezeAll(ctx, all.FreezeID); err != nil || u.Frozen {
			t.Fatalf("got %+v, %v", u, err)
		}
		operator := h.Operator()
		whole, err := operator.Freeze(ctx, "")
		if err != nil || !whole.Frozen {
			t.Fatalf("got %+v, %v", whole, err)
		}
		_, err = payer.Pay(ctx, client.Order{Recipient: shop.Wallet(), Units: usd})
		wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
		if u, err := operator.Unfreeze(ctx, whole.FreezeID); err != nil || u.Frozen {
			t.Fatalf("got %+v, %v", u, err)
		}
		mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: 1000}, settled)
		if freezes, frozen, err := payer.Freezes(ctx); err != nil || frozen || len(freezes) != 4 {
			t.Errorf("got %d freezes, frozen %v, %v", len(freezes), frozen, err)
		}
	})

	t.Run("guard rails", func(t *testing.T) {
		before, err := payer.GuardRails(ctx)
		if err != nil {
			t.Fatal(err)
		}
		rules := client.StandardRules(shop.GroupKey())
		same, err := owner.SetGuardRails(ctx, payer.Wallet(), rules)
		if err != nil || same.Number != before.Number {
			t.Errorf("the same rules again: got %+v, %v", same, err)
		}
		rules.HardCap = 0
		_, err = owner.SetGuardRails(ctx, payer.Wallet(), rules)
		if e := wantReason(t, err, typev1.Reason_REASON_GUARD_RAILS_REFUSED, notMoved); e.Metadata["field"] == "" {
			t.Errorf("the refusal names no field: %v", e.Metadata)
		}
		rules.HardCap, rules.Daily, rules.DailyDeny, rules.TimeZone = 200*usd, 0, 50*usd, "Europe/Zurich"
		next, err := owner.SetGuardRails(ctx, payer.Wallet(), rules)
		if err != nil || next.Number != before.Number+1 {
			t.Fatalf("got %+v, %v", next, err)
		}
		byAgent, err := payer.GuardRails(ctx)
		if err != nil || byAgent.Digest != next.Digest || byAgent.Document.GetTimeZone() != "Europe/Zurich" {
			t.Errorf("got %+v, %v", byAgent, err)
		}
		doc := byAgent.Document
		doc.TimeZone = ""
		if last, err := owner.SetDocument(ctx, doc); err != nil || last.Number != next.Number+1 {
			t.Errorf("got %+v, %v", last, err)
		}
		if byOwner, err := owner.GuardRails(ctx, payer.Wallet()); err != nil || byOwner.Number != next.Number+1 {
			t.Errorf("got %+v, %v", byOwner, err)
		}
	})

	t.Run("an expired review", func(t *testing.T) {
		p := mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: 6 * usd, Deadline: time.Hour}, pending)
		clock.Advance(2 * time.Hour)
		if p, err := payer.Resume(ctx, p.ID); err != nil || p.State != expired {
			t.Errorf("got %+v, %v", p, err)
		}
	})

	t.Run("wallets", func(t *testing.T) {
		wallets, err := owner.Wallets(ctx)
		if err != nil || len(wallets) != 3 {
			t.Fatalf("got %v, %v", wallets, err)
		}
		for _, w := range wallets {
			if w.Wallet == payer.Wallet() && (w.Handle != "research-agent" || w.DisplayName != "Research Agent" || w.GroupKey != payer.GroupKey()) {
				t.Errorf("got %+v", w)
			}
		}
		if state, err := payer.State(ctx); err != nil || state != typev1.WalletState_WALLET_STATE_ACTIVE {
			t.Errorf("got %v, %v", state, err)
		}
	})

	t.Run("journals", func(t *testing.T) {
		for _, a := range []*client.Agent{payer, shop} {
			j, err := a.Journal(ctx)
			if err != nil {
				t.Fatal(err)
			}
			report, err := client.VerifyJournal(h.Installation(), j.Wallet, j.Entries, j.Head)
			if err != nil {
				t.Fatalf("%s: %v", a.Handle(), err)
			}
			if got := report.Balances[h.Installation().BookUSD()].Available; got != balance(t, a) {
				t.Errorf("%s: the journal adds up to %d, the account says %d", a.Handle(), got, balance(t, a))
			}
			byOwner, err := owner.Journal(ctx, a.Wallet())
			if err != nil || !slices.EqualFunc(byOwner.Entries, j.Entries, bytes.Equal) {
				t.Errorf("%s: the owner sees another journal: %v", a.Handle(), err)
			}
		}
	})

	t.Run("redemption", func(t *testing.T) {
		redemption := h.Installation().RedemptionAccount()
		rules := client.StandardRules(redemption)
		if _, err := owner.SetGuardRails(ctx, shop.Wallet(), rules); err != nil {
			t.Fatal(err)
		}
		p := mustPay(t, shop, client.Order{Recipient: hexKey(redemption), Units: usd}, settled)
		for range 2 {
			if _, err := h.Operator().Redeem(ctx, p.Name); err != nil {
				t.Fatal(err)
			}
		}
		j, err := shop.Journal(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Verify(h.Installation()); err != nil {
			t.Error(err)
		}
	})
}

func hexKey(k [32]byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 64)
	for _, b := range k {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}

// TestSeller shows a recipient that relies on nothing but the ledger's signed settlement.
func TestSeller(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Seller", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	seller, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	if state, err := seller.State(ctx); err != nil || state != typev1.WalletState_WALLET_STATE_UNCLAIMED {
		t.Errorf("before the claim: got %v, %v", state, err)
	}
	if _, err := seller.Pay(ctx, client.Order{Recipient: seller.Wallet(), Units: 1}); client.ReasonOf(err) != typev1.Reason_REASON_NOT_ACTIVE {
		t.Errorf("paid before the claim: %v", err)
	}
	again, err := c.Register(ctx, client.RegisterOptions{Name: "Seller", OwnerEmail: halfkeytest.Email})
	if err != nil || *again != *r {
		t.Errorf("registering again: got %+v, %v, want %+v", again, err, r)
	}
	if _, err := h.Owner().LookUp(ctx, "0000-0000-0000-0000-0000"); err == nil {
		t.Error("a code of nobody was found")
	}
	claim, err := h.Owner().Claim(ctx, " "+r.ClaimCode+" ")
	if err != nil {
		t.Fatal(err)
	}
	if claim.GroupKey != r.GroupKey || claim.Handle != "seller" || claim.OwnerEmail != halfkeytest.Email {
		t.Errorf("got claim %+v", claim)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Errorf("claiming again: %v", err)
	}
	payer := h.Agent("Payer")
	h.GuardRails(payer, client.StandardRules(seller.GroupKey()))
	h.Fund(payer, 10*usd)
	p := mustPay(t, payer, client.Order{Recipient: "@seller", Units: usd}, settled)

	s, err := c.VerifyIncoming(p.Proto, seller.Wallet())
	if err != nil || s.GetUnits() != "1000000" || s.GetPayment() != p.Name {
		t.Errorf("got %v, %v", s, err)
	}
	if _, err := h.Client(h.Home()).VerifySettlement(p.Proto.GetSettlement(), payer.Wallet()); err == nil {
		t.Error("a home that knows nothing verified a settlement")
	}
	forged := proto.CloneOf(p.Proto.GetSettlement())
	forged.Payload = bytes.Replace(forged.GetPayload(), []byte("1000000"), []byte("9000000"), 1)
	if bytes.Equal(forged.Payload, p.Proto.GetSettlement().GetPayload()) {
		t.Fatal("the forgery changed nothing")
	}
	if _, err := c.VerifySettlement(forged, seller.Wallet()); client.ReasonOf(err) != typev1.Reason_REASON_BAD_STATEMENT {
		t.Errorf("a forged amount: got %v", err)
	}
}

// TestThief shows what a stolen home is worth: as much as the guard rails allow its agent, until it is frozen.
func TestThief(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	shop := h.Agent("Shop")
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Victim", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	victim, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	h.GuardRails(victim, client.StandardRules(shop.GroupKey()))
	h.Fund(victim, 500*usd)

	stolen := filepath.Join(t.TempDir(), "stolen")
	if err := os.CopyFS(stolen, os.DirFS(home.Dir())); err != nil {
		t.Fatal(err)
	}
	if _, err := client.OpenHome(stolen); err == nil {
		t.Fatal("a home that others can read was opened")
	}
	chmod(t, stolen)
	loot, err := client.OpenHome(stolen)
	if err != nil {
		t.Fatal(err)
	}
	thief, err := h.Client(loot).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	thiefs := h.Agent("Thief")
	mustPay(t, thief, client.Order{Recipient: thiefs.Wallet(), Units: 1}, denied)
	mustPay(t, thief, client.Order{Recipient: shop.Wallet(), Units: 101 * usd}, denied)
	mustPay(t, thief, client.Order{Recipient: shop.Wallet(), Units: 6 * usd}, pending)
	if _, err := h.Owner().Freeze(ctx, victim.Wallet(), ""); err != nil {
		t.Fatal(err)
	}
	_, err = thief.Pay(ctx, client.Order{Recipient: shop.Wallet(), Units: 1})
	wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
}

// chmod gives a copied home the modes of one.
func chmod(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
