package ledger

import (
	"database/sql"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Whatever is done in whatever order and at once, balances, windows and journals agree, and no wallet's day exceeds its wall.
func TestRandomOperations(t *testing.T) {
	// Each check makes a ledger of its own and syncs to disk hundreds of times. What goroutines do at once does not repeat from a
	// file of draws, so none is left behind.
	for name, value := range map[string]string{"rapid.checks": "20", "rapid.nofailfile": "true"} {
		if f := flag.Lookup(name); f.Value.String() == f.DefValue {
			if err := f.Value.Set(value); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Value.Set(f.DefValue) }()
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := &fixture{World: evidencetest.NewWith(t, evidencetest.Config{Seed: "stress"}), t: t}
		f.path = filepath.Join(t.TempDir(), "ledger.db")
		f.clock.set(noon)
		f.open()
		defer f.close()
		r := &random{fixture: f, rt: rt}
		r.setUp()
		for range rapid.IntRange(3, 10).Draw(rt, "rounds") {
			var wait sync.WaitGroup
			for range rapid.IntRange(1, 12).Draw(rt, "concurrent") {
				wait.Go(r.operation())
			}
			wait.Wait()
			f.clock.advance(time.Duration(rapid.IntRange(0, 90).Draw(rt, "seconds")) * time.Second)
			if rapid.IntRange(0, 9).Draw(rt, "day") == 0 {
				f.clock.advance(11 * time.Hour)
			}
			if rapid.Bool().Draw(rt, "sweep") {
				if err := f.ledger.Sweep(t.Context()); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.IntRange(0, 4).Draw(rt, "restart") == 0 {
				f.reopen()
			}
		}
		f.check()
		r.checkDays()
		if t.Failed() {
			rt.Fatal("an invariant does not hold")
		}
	})
}

const (
	stressWall    = 20 // Units that a wallet may authorize in a day.
	stressWallets = 3
	stressIDs     = 12
)

// random draws operations that a careless or hostile crowd would do.
type random struct {
	*fixture
	rt      *rapid.T
	wallets []*evidencetest.Wallet

	mu       sync.Mutex
	payments map[string]*evidencetest.Payment // The last attempt by name.
}

func (r *random) setUp() {
	r.payments = make(map[string]*evidencetest.Payment)
	var keys [][32]byte
	for i := range stressWallets {
		w := r.ClaimedWallet(evidencetest.WalletConfig{ID: fmt.Sprint("w", i)})
		r.pin(w)
		r.wallets, keys = append(r.wallets, w), append(keys, w.GroupKey)
	}
	keys = append(keys, r.Installation.RedemptionAccount())
	for _, w := range r.wallets {
		r.setGuardRails(w, func(doc *typev1.GuardRails) {
			evidencetest.Allow(keys...)(doc)
			doc.Limits = []*typev1.Limit{
				limit(typev1.Window_WINDOW_PAYMENT, 4, yellow),
				limit(typev1.Window_WINDOW_PAYMENT, 9, red), limit(typev1.Window_WINDOW_DAY, stressWall, red),
			}
		})
		r.deposit(w, "d-"+w.Handle, 30)
	}
}

// operation draws one call and returns what makes it. Its error is of no interest, unless it is a defect's.
func (r *random) operation() func() {
	w := r.wallets[rapid.IntRange(0, stressWallets-1).Draw(r.rt, "wallet")]
	name := fmt.Sprintf("%s/payments/p%d", w.Name, rapid.IntRange(0, stressIDs-1).Draw(r.rt, "id"))
	r.mu.Lock()
	last := r.payments[name]
	r.mu.Unlock()
	ctx := r.t.Context()
	var call func() error
	kind := rapid.SampledFrom([]string{
		"pay", "pay", "pay", "repeat", "settle", "settle", "settle", "approve", "refuse", "cancel", "get", "freeze", "unfreeze",
		"deposit", "redeem", "edit",
	}).Draw(r.rt, "kind")
	switch {
	case kind == "pay":
		call = r.pay(w, name)
	case kind == "freeze":
		id := fmt.Sprint("f", rapid.IntRange(0, 3).Draw(r.rt, "freeze"))
		call = func() error {
			_, err := r.client.Freeze(ctx, &ledgerv1.FreezeRequest{
				Freeze: &typev1.Freeze{FreezeId: id, Scope: typev1.Scope_SCOPE_WALLET, Wallet: w.Name},
			})
			return err
		}
	case kind == "unfreeze":
		id := fmt.Sprint("f", rapid.IntRange(0, 3).Draw(r.rt, "freeze"))
		call = func() error { return r.unfreeze(w, id) }
	case kind == "deposit":
		m := &typev1.Deposit{
			Installation: r.Installation.ID(), Wallet: w.Name, DepositId: fmt.Sprint("d", rapid.IntRange(0, 3).Draw(r.rt, "deposit")),
			Asset: r.Installation.BookUSD(), Units: "5",
		}
		call = func() error { return r.apply(m) }
	case kind == "edit":
		e := w.SetGuardRails(func(doc *typev1.GuardRails) {
			doc.TimeZone = rapid.SampledFrom([]string{"", "Europe/Zurich", "Asia/Kolkata"}).Draw(r.rt, "zone")
		})
		call = func() error {
			_, err := r.client.SetGuardRails(ctx, &ledgerv1.SetGuardRailsRequest{GuardRails: e})
			return err
		}
	case last == nil:
		return func() {}
	case kind == "repeat":
		call = func() error { _, err := r.create(last); return err }
	case kind == "settle":
		call = func() error { _, err := r.settle(last); return err }
	case kind == "approve" || kind == "refuse":
		answer := approve
		if kind == "refuse" {
			answer = refused
		}
		copied := *last // Another goroutine may be bringing it.
		review := copied.Answer(answer, nil)
		call = func() error {
			_, err := r.client.AnswerReview(ctx, &ledgerv1.AnswerReviewRequest{Review: review})
			return err
		}
	case kind == "cancel":
		call = func() error {
			_, err := r.client.CancelPayment(ctx, &ledgerv1.CancelPaymentRequest{Name: name})
			return err
		}
	case kind == "redeem":
		call = func() error {
			return r.apply(&typev1.Redemption{Installation: r.Installation.ID(), Wallet: w.Name, Payment: name})
		}
	default:
		call = func() error {
			_, err := r.client.GetPayment(ctx, &ledgerv1.GetPaymentRequest{Name: name})
			return err
		}
	}
	return func() {
		if err := call(); fault.ReasonOf(err) == typev1.Reason_REASON_INTERNAL || fault.ReasonOf(err) == typev1.Reason_REASON_UNAVAILABLE {
			r.t.Errorf("%s %s: %v\n%s", kind, name, err, r.logs.String())
		}
	}
}

// pay draws an attempt: a new intent for the id, or the same one with a fresh message and perhaps its approval.
func (r *random) pay(w *evidencetest.Wallet, name string) func() error {
	_, id, _ := cutPayment(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	c := evidencetest.PaymentConfig{ID: id, Now: r.clock.now(), Deadline: noon.Add(6 * 24 * time.Hour)}
	if last := r.payments[name]; last != nil && rapid.IntRange(0, 3).Draw(r.rt, "same") > 0 {
		c.To, c.Units = last.Message.Recipient, last.Message.Units
	} else {
		to := rapid.IntRange(0, stressWallets).Draw(r.rt, "to")
		c.To, c.Units = r.Installation.RedemptionAccount(), int64(rapid.IntRange(1, 10).Draw(r.rt, "units"))
		if to < stressWallets && r.wallets[to] != w {
			c.To = r.wallets[to].GroupKey
		}
	}
	c.Expiry = c.Now.Add(time.Duration(rapid.IntRange(1, 120).Draw(r.rt, "expiry")) * time.Second)
	p := w.Payment(c)
	if rapid.Bool().Draw(r.rt, "with review") {
		p.Answer(approve, nil)
	}
	p.Judge(c.Now, nil)
	r.payments[name] = p
	return func() error { _, err := r.create(p); return err }
}

func cutPayment(name string) (string, string, error) {
	k, err := paymentOf(name)
	return k.wallet, k.id, err
}

// checkDays finds a UTC day in which a wallet whose zone was always UTC authorized more than its wall. With other zones a day
// is cut elsewhere; then two days of the wall bound any UTC day.
func (r *random) checkDays() {
	db, err := sql.Open("sqlite", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	var most int64
	if err := db.QueryRow(`SELECT coalesce(max(units), 0) FROM window_sum WHERE span = 1`).Scan(&most); err != nil {
		r.t.Fatal(err)
	}
	if most > 2*stressWall {
		r.t.Errorf("a day of %d units, the wall is %d", most, stressWall)
	}
}
