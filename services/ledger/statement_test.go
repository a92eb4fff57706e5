package ledger

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Only the operator's key issues, redeems, accepts a loss, or sets a time.
func TestStatementsByOthers(t *testing.T) {
	f := start(t)
	payer, _ := f.two()
	head := f.head(payer)
	id := f.Installation.ID()
	for name, m := range map[string]proto.Message{
		"deposit":    &typev1.Deposit{Installation: id, Wallet: payer.Name, DepositId: "d9", Asset: f.Installation.BookUSD(), Units: "1"},
		"redemption": &typev1.Redemption{Installation: id, Wallet: payer.Name, Payment: payer.Name + "/payments/p1"},
		"accept loss": &typev1.AcceptLoss{
			Installation: id, Wallet: payer.Name, Entry: head.GetEntry(), EntryHash: head.GetEntryHash(), LostEntry: 9, LostHash: make([]byte, 32),
		},
		"set time": &typev1.SetTime{Installation: id, Wallet: payer.Name, StatementId: "s1", TimeMillis: noon.Add(-time.Second).UnixMilli()},
	} {
		for _, key := range []string{"owner/owner", "request/payer", "ledger", "policy", "cosigner", "redemption", "mallory"} {
			t.Run(name+" by "+key, func(t *testing.T) {
				f.unchanged(func() {
					_, err := f.client.ApplyStatement(t.Context(), &ledgerv1.ApplyStatementRequest{Statement: f.Sign(f.Key(key), m)})
					wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
				})
			})
		}
	}
	t.Run("a statement that is none of them", func(t *testing.T) {
		wantReason(t, f.apply(&typev1.Review{
			Installation: id, Wallet: payer.Name, Payment: payer.Name + "/payments/p1", IntentDigest: make([]byte, 32), Answer: approve,
		}),
			typev1.Reason_REASON_BAD_STATEMENT, movedNo)
	})
}

func TestDeposits(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	deposit := func(edit func(*typev1.Deposit)) error {
		m := &typev1.Deposit{Installation: f.Installation.ID(), Wallet: payer.Name, DepositId: "d2", Asset: f.Installation.BookUSD(), Units: "5"}
		if edit != nil {
			edit(m)
		}
		return f.apply(m)
	}
	for _, tt := range []struct {
		name string
		edit func(*typev1.Deposit)
		want typev1.Reason
	}{
		{
			"overflow of what is in issue", func(d *typev1.Deposit) { d.Units = fmt.Sprint(int64(math.MaxInt64)) },
			typev1.Reason_REASON_LIMIT_EXCEEDED,
		},
		{"overflow by another wallet", func(d *typev1.Deposit) {
			d.Wallet, d.Units = payee.Name, fmt.Sprint(int64(math.MaxInt64-1000*usd+1))
		}, typev1.Reason_REASON_LIMIT_EXCEEDED},
		{"another asset", func(d *typev1.Deposit) { d.Asset = "halfkey:else/iso4217:USD" }, typev1.Reason_REASON_INVALID_ARGUMENT},
		{"another installation", func(d *typev1.Deposit) { d.Installation = "else" }, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"unknown wallet", func(d *typev1.Deposit) { d.Wallet = "wallets/none" }, typev1.Reason_REASON_NOT_ACTIVE},
		{"used id, other amount", func(d *typev1.Deposit) { d.DepositId = "d1" }, typev1.Reason_REASON_ALREADY_EXISTS},
		{
			"used id, other wallet", func(d *typev1.Deposit) { d.DepositId, d.Wallet, d.Units = "d1", payee.Name, "1000000000" },
			typev1.Reason_REASON_ALREADY_EXISTS,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.unchanged(func() { wantReason(t, deposit(tt.edit), tt.want, movedNo) })
		})
	}
	for _, units := range evidencetest.MalformedUnits() {
		t.Run(fmt.Sprintf("units %.40q", units), func(t *testing.T) {
			f.unchanged(func() {
				wantReason(t, deposit(func(d *typev1.Deposit) { d.Units = units }), typev1.Reason_REASON_BAD_STATEMENT, movedNo)
			})
		})
	}
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			if err := deposit(nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	f.wantBalance(payer, 1000*usd+5, 0)
	if err := deposit(func(d *typev1.Deposit) {
		d.DepositId, d.Wallet, d.Units = "all", payee.Name, fmt.Sprint(int64(math.MaxInt64)-1000*usd-5)
	}); err != nil {
		t.Errorf("the last unit: %v", err)
	}
	// With every unit in issue, payments still settle.
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 1000 * usd})
	f.must(p, authorized)
	if _, err := f.settle(p); err != nil {
		t.Error(err)
	}
}

// Money leaves by a payment under guard rails and then the operator's statement naming it, once.
func TestRedemption(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	account := f.Installation.RedemptionAccount()
	f.setGuardRails(payer, evidencetest.Allow(account))
	redeem := func(name string) error {
		return f.apply(&typev1.Redemption{Installation: f.Installation.ID(), Wallet: payer.Name, Payment: name})
	}
	p := f.payment(payer, evidencetest.PaymentConfig{ID: "out", To: account, Units: 400 * usd})
	wantReason(t, redeem(p.Name), typev1.Reason_REASON_NOT_FOUND, movedNo)
	f.must(p, authorized)
	f.unchanged(func() { wantReason(t, redeem(p.Name), typev1.Reason_REASON_WRONG_STATE, movedNo) })
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	f.wantBalance(payer, 600*usd, 0)
	f.check() // Settled and not yet redeemed: the redemption account holds it.
	for range 2 {
		if err := redeem(p.Name); err != nil {
			t.Fatal(err)
		}
	}
	f.wantBalance(payer, 600*usd, 0)
	other := f.payment(payer, evidencetest.PaymentConfig{ID: "other", To: payee.GroupKey, Units: usd})
	f.must(other, authorized)
	if _, err := f.settle(other); err != nil {
		t.Fatal(err)
	}
	f.unchanged(func() { wantReason(t, redeem(other.Name), typev1.Reason_REASON_INVALID_ARGUMENT, movedNo) })
}

// No statement of the operator's takes a unit from a wallet, whatever it is about.
func TestNoStatementDebits(t *testing.T) {
	f := start(t)
	payer, _ := f.two()
	account, id := f.Installation.RedemptionAccount(), f.Installation.ID()
	f.setGuardRails(payer, evidencetest.Allow(account))
	out := f.payment(payer, evidencetest.PaymentConfig{ID: "out", To: account, Units: 400 * usd})
	f.must(out, authorized)
	if _, err := f.settle(out); err != nil {
		t.Fatal(err)
	}
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "held", To: account, Units: 100 * usd}), authorized)
	f.wantBalance(payer, 500*usd, 100*usd)
	for _, tt := range []struct {
		name            string
		m               proto.Message
		available, held int64
	}{
		{"redemption", &typev1.Redemption{Installation: id, Wallet: payer.Name, Payment: out.Name}, 500 * usd, 100 * usd},
		{
			"redemption of what is held", &typev1.Redemption{Installation: id, Wallet: payer.Name, Payment: payer.Name + "/payments/held"},
			500 * usd, 100 * usd,
		},
		{
			"accept loss", &typev1.AcceptLoss{Installation: id, Wallet: payer.Name, LostEntry: 99, LostHash: make([]byte, 32)},
			500 * usd, 100 * usd,
		},
		{
			"deposit", &typev1.Deposit{Installation: id, Wallet: payer.Name, DepositId: "d2", Asset: f.Installation.BookUSD(), Units: "5"},
			500*usd + 5, 100 * usd,
		},
		{
			"set time", &typev1.SetTime{Installation: id, Wallet: payer.Name, StatementId: "s1", TimeMillis: noon.Add(-time.Second).UnixMilli()},
			600*usd + 5, 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if loss, ok := tt.m.(*typev1.AcceptLoss); ok {
				tip := f.head(payer)
				loss.Entry, loss.EntryHash = tip.GetEntry(), tip.GetEntryHash()
			}
			if err := f.apply(tt.m); (err != nil) != (tt.name == "redemption of what is held") {
				t.Error(err)
			}
			f.wantBalance(payer, tt.available, tt.held)
		})
	}
}
