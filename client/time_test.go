package client_test

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// paying is an installation under a clock, with an agent behind a proxy that may pay a shop.
type paying struct {
	*halfkeytest.System
	clock       *halfkeytest.Clock
	p           *proxy
	payer, shop *client.Agent
	home        *client.Home
}

func newPaying(t *testing.T, options ...halfkeytest.Option) *paying {
	t.Helper()
	w := &paying{clock: halfkeytest.NewClock(time.Now())}
	w.System = halfkeytest.Start(t, append(options, halfkeytest.WithClock(w.clock))...)
	w.p = newProxy(t, w.System)
	w.shop = w.Agent("Shop")
	w.payer, _, w.home = w.p.agent(w.System, "Payer")
	w.GuardRails(w.payer, client.StandardRules(w.shop.GroupKey()))
	w.Fund(w.payer, 100*usd)
	return w
}

// beforeNext runs something once, before the next call of a method is carried on.
func (p *proxy) beforeNext(method string, do func()) {
	var once sync.Once
	p.set(func(m string, _ proto.Message) error {
		if m == method {
			once.Do(do)
		}
		return nil
	}, nil)
}

// TestMessagesThatDie lets messages expire on their way. The payment goes on with a fresh one, on the ledger's signed
// statement that the last is dead, and is made once.
func TestMessagesThatDie(t *testing.T) {
	w := newPaying(t)
	for _, method := range []string{"CreatePayment", "SettlePayment"} {
		t.Run("before "+method, func(t *testing.T) {
			before := balance(t, w.shop)
			w.p.beforeNext(method, func() { w.clock.Advance(2 * time.Minute) })
			p := mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
			w.p.honest()
			if got := balance(t, w.shop) - before; got != 1000 {
				t.Errorf("the shop got %d, want 1000", got)
			}
			if dead := len(p.Proto.GetDeadMessages()); (dead == 1) != (method == "SettlePayment") {
				t.Errorf("%d messages died in the ledger", dead)
			}
		})
	}

	t.Run("again and again", func(t *testing.T) {
		before := balance(t, w.shop)
		w.p.set(func(method string, _ proto.Message) error {
			if method == "SettlePayment" {
				w.clock.Advance(2 * time.Minute)
			}
			return nil
		}, nil)
		order := client.Order{ID: "dies", Recipient: w.shop.Wallet(), Units: 1000}
		_, err := w.payer.Pay(testContext(t), order)
		wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, notMoved)
		w.p.honest()
		mustPay(t, w.payer, order, settled)
		if got := balance(t, w.shop) - before; got != 1000 {
			t.Errorf("the shop got %d, want 1000", got)
		}
	})

	t.Run("while the program is away", func(t *testing.T) {
		w.p.lose("SettlePayment", false)
		order := client.Order{ID: "away", Recipient: w.shop.Wallet(), Units: 1000}
		if _, err := w.payer.Pay(testContext(t), order); err == nil {
			t.Fatal("nothing was lost")
		}
		w.clock.Advance(time.Hour)
		// Without the statement that its message is dead the agent makes no other.
		alter(w.p, "GetPayment", func(p *typev1.Payment) { p.DeadMessages = nil })
		_, err := w.payer.Resume(testContext(t), "away")
		if e := wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISSING, unknown); e.Metadata["evidence"] != "dead-message" {
			t.Errorf("got %v", e.Metadata)
		}
		alter(w.p, "GetPayment", func(p *typev1.Payment) { p.DeadMessages[0] = flip(p.DeadMessages[0]) })
		_, err = w.payer.Resume(testContext(t), "away")
		wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISSING, unknown)
		w.p.honest()
		if p, err := w.payer.Resume(testContext(t), "away"); err != nil || p.State != settled {
			t.Errorf("got %v, %v", p, err)
		}
	})

	t.Run("after the deadline", func(t *testing.T) {
		before := balance(t, w.shop)
		w.p.lose("SettlePayment", false)
		order := client.Order{ID: "late", Recipient: w.shop.Wallet(), Units: 1000, Deadline: time.Hour}
		if _, err := w.payer.Pay(testContext(t), order); err == nil {
			t.Fatal("nothing was lost")
		}
		w.clock.Advance(2 * time.Hour)
		if p, err := w.payer.Resume(testContext(t), "late"); err != nil || p.State != expired {
			t.Errorf("got %v, %v", p, err)
		}
		if got := balance(t, w.shop); got != before {
			t.Errorf("the shop got %d", got-before)
		}
	})

	t.Run("that was never recorded", func(t *testing.T) {
		w.p.lose("CreatePayment", false)
		order := client.Order{ID: "never", Recipient: w.shop.Wallet(), Units: 1000, Deadline: time.Hour}
		if _, err := w.payer.Pay(testContext(t), order); err == nil {
			t.Fatal("nothing was lost")
		}
		w.clock.Advance(2 * time.Hour)
		for range 2 {
			_, err := w.payer.Resume(testContext(t), "never")
			wantReason(t, err, typev1.Reason_REASON_DEADLINE_EXPIRED, notMoved)
		}
		if ids, err := w.payer.Unfinished(); err != nil || len(ids) != 0 {
			t.Errorf("left unfinished: %v, %v", ids, err)
		}
	})
}

// TestClocksThatDiffer pays from machines whose clock is wrong: what counts is the ledger's.
func TestClocksThatDiffer(t *testing.T) {
	w := newPaying(t)
	for _, skew := range []time.Duration{-25 * time.Second, 25 * time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			c, err := client.Open(w.home, client.Options{Clock: func() time.Time { return w.clock.Now().Add(skew) }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			a, err := c.Agent("")
			if err != nil {
				t.Fatal(err)
			}
			mustPay(t, a, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
			// A clock that jumps after the ledger's time was learned.
			w.clock.Advance(time.Minute)
			mustPay(t, a, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
		})
	}
}

// TestRestoredLedger puts an older copy of the installation in its place. The agent, which has seen more, pays nothing until
// the operator has accepted the loss.
func TestRestoredLedger(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "installation")
	w := newPaying(t, halfkeytest.WithDir(dir))
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
	backup := filepath.Join(t.TempDir(), "backup")
	w.Kill()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	w.Restart()
	ctx := testContext(t)
	lost := mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
	account, err := w.payer.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	seen := account.Head

	w.Kill()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir)
	w.Restart()
	order := client.Order{ID: "after", Recipient: w.shop.Wallet(), Units: 1000}
	_, err = w.payer.Pay(ctx, order)
	wantReason(t, err, typev1.Reason_REASON_LEDGER_BEHIND, notMoved)
	if _, err := w.payer.Account(ctx); client.ReasonOf(err) != typev1.Reason_REASON_LEDGER_BEHIND {
		t.Errorf("the account: got %v", err)
	}
	if _, err := w.payer.Payment(ctx, lost.ID); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
		t.Errorf("the lost payment: got %v", err)
	}
	if _, err := w.Operator().AcceptLoss(ctx, w.payer.Wallet(), seen.GetEntry(), seen.GetEntryHash()); err != nil {
		t.Fatal(err)
	}
	mustPay(t, w.payer, order, settled)
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
	j, err := w.payer.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Verify(w.Installation()); err != nil {
		t.Error(err)
	}
}

// TestSuccessors follows the chain of installation files, and nothing that does not follow from it.
func TestSuccessors(t *testing.T) {
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	files := p.files(h)
	ctx := testContext(t)

	home := h.Home()
	for n, row := range []struct {
		name string
		file []byte
		ok   bool
	}{
		{"the same again", files[0], true},
		{"its successor", files[1], true},
		{"a lower number", files[0], false},
		{"not a file", []byte("{}"), false},
	} {
		if err := home.Connect(row.file); (err == nil) != row.ok {
			t.Errorf("%d %s: got %v", n, row.name, err)
		}
	}
	other := halfkeytest.Start(t)
	otherFile, err := other.Installation().MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	err = home.Connect(otherFile)
	wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS, notMoved)
	if i, err := home.Installation(); err != nil || i.Number() != 2 {
		t.Errorf("got %v, %v", i, err)
	}

	forged := proto.CloneOf(h.Installation().Content())
	forged.Number, forged.Predecessor = 3, h.Installation().Digest().Bytes()
	e, err := evidence.Sign(other.OperatorKey(), forged)
	if err != nil {
		t.Fatal(err)
	}
	alter(p, "GetInstallations", func(r *installations) { r.Installations = append(r.Installations, e) })
	c := h.Client(p.home(h))
	_, err = c.Register(ctx, client.RegisterOptions{Name: "Agent", OwnerEmail: halfkeytest.Email})
	if err == nil {
		t.Fatal("a successor that nobody vouches for was followed")
	}
	p.honest()
	if c.Installation().Number() != 2 {
		t.Errorf("follows number %d", c.Installation().Number())
	}

	// A successor that the gateway hands out is followed, pinned, and connected by.
	content := c.Installation().Content()
	content.Number, content.Predecessor = 3, c.Installation().Digest().Bytes()
	content.GatewayAddresses, content.CaPem = h.Installation().Content().GetGatewayAddresses(), h.Installation().Content().GetCaPem()
	if e, err = evidence.Sign(h.OperatorKey(), content); err != nil {
		t.Fatal(err)
	}
	p.set(nil, func(method string, req, resp proto.Message) error {
		if r, ok := resp.(*installations); ok && req.(*fromNumber).GetFromNumber() == 3 {
			r.Installations = append(r.Installations, e)
		}
		return nil
	})
	if _, err := c.Register(ctx, client.RegisterOptions{Name: "Agent", OwnerEmail: halfkeytest.Email}); err != nil {
		t.Fatal(err)
	}
	if c.Installation().Number() != 3 {
		t.Errorf("follows number %d", c.Installation().Number())
	}
	if p.called("StartRegistration") != 0 {
		t.Error("went on through the old gateway")
	}
}

// TestReplacedLedgerKey lists payments that settled before the ledger's key was replaced: their settlements count because a
// journal holds them whose head is under the current key, and not without.
func TestReplacedLedgerKey(t *testing.T) {
	w := newPaying(t)
	ctx := testContext(t)
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
	current, err := w.home.Installation()
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	content := current.Content()
	content.Number++
	content.Predecessor = current.Digest().Bytes()
	for _, k := range content.GetServiceKeys() {
		k.Retired = k.GetRetired() || k.GetPurpose() == typev1.Purpose_PURPOSE_LEDGER
	}
	content.ServiceKeys = append(content.ServiceKeys, &typev1.ServiceKey{Purpose: typev1.Purpose_PURPOSE_LEDGER, PublicKey: key[ed25519.SeedSize:]})
	e, err := evidence.Sign(w.OperatorKey(), content)
	if err != nil {
		t.Fatal(err)
	}
	next, err := evidence.Succeed(current, e)
	if err != nil {
		t.Fatal(err)
	}
	file, err := next.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.home.Connect(file); err != nil {
		t.Fatal(err)
	}
	payer, err := w.Client(w.home).Agent("")
	if err != nil {
		t.Fatal(err)
	}

	if _, err := payer.Payments(ctx, false); err == nil {
		t.Error("a settlement under a retired key counted under a head of that key")
	}
	resign := func(r *gatewayv1.ListEntriesResponse) {
		head := new(typev1.JournalHead)
		if err := evidence.Peek(r.GetHead(), head); err != nil {
			t.Error(err)
		}
		if r.Head, err = evidence.Sign(key, head); err != nil {
			t.Error(err)
		}
	}
	alter(w.p, "ListEntries", resign)
	if payments, err := payer.Payments(ctx, false); err != nil || len(payments) != 1 || payments[0].Settlement == nil {
		t.Errorf("got %v, %v", payments, err)
	}
	// The journal without its last entry, the settlement: what the retired key alone can say.
	alter(w.p, "ListEntries", func(r *gatewayv1.ListEntriesResponse) {
		last := len(r.GetEntries()) - 1
		before := new(typev1.Entry)
		if err := evidence.Unmarshal(r.Entries[last], before); err != nil {
			t.Error(err)
		}
		r.Entries = r.Entries[:last]
		if r.Head, err = evidence.Sign(key, &typev1.JournalHead{
			Installation: w.Installation().ID(), Wallet: payer.Wallet(), Entry: uint64(last), EntryHash: before.GetPrevious(), TimeMillis: 1,
		}); err != nil {
			t.Error(err)
		}
	})
	if _, err := payer.Payments(ctx, false); err == nil {
		t.Error("a settlement that the journal does not hold counted")
	}
}
