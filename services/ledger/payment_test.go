package ledger

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func TestPaymentSettles(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 3 * usd})
	got := f.must(p, authorized)
	f.verify(p, got)
	f.wantBalance(payer, 997*usd, 3*usd)
	f.wantBalance(payee, 0, 0)
	done, err := f.settle(p)
	if err != nil {
		t.Fatalf("SettlePayment: %v", err)
	}
	f.wantBalance(payer, 997*usd, 0)
	f.wantBalance(payee, 3*usd, 0)
	s, err := evidence.CheckSettlement(f.Installation, done.GetSettlement())
	if err != nil {
		t.Fatalf("CheckSettlement: %v", err)
	}
	want := &typev1.Settlement{
		Installation: f.Installation.ID(), Wallet: payer.Name, Payment: p.Name, Payer: payer.GroupKey[:], Recipient: payee.GroupKey[:],
		Asset: f.Installation.BookUSD(), Units: "3000000", IntentDigest: evidence.IntentDigest(p.IntentBytes).Bytes(),
		MessageDigest: evidence.MessageDigest(p.MessageBytes).Bytes(), TimeMillis: f.clock.now().UnixMilli(),
	}
	if !proto.Equal(s, want) {
		t.Errorf("settlement: got %v, want %v", s, want)
	}
	if done.GetState() != settled || !bytes.Equal(done.GetSignature(), p.Settle()) {
		t.Errorf("got %v", done)
	}
	// Exactly once, however often it is brought.
	for range 3 {
		again, err := f.settle(p)
		if err != nil || again.GetState() != settled {
			t.Fatalf("settle again: %v, %v", again.GetState(), err)
		}
	}
	f.wantBalance(payee, 3*usd, 0)
	// A repeat of the payment returns it, and says nothing new.
	f.unchanged(func() {
		if again := f.must(p, settled); again.GetSettlement() == nil {
			t.Error("the repeat of a settled payment has no settlement")
		}
	})
}

// raw is an attempt whose intent no honest program makes.
func raw(f *fixture, w *evidencetest.Wallet, to [32]byte, edit func(*typev1.Intent)) *evidencetest.Payment {
	p := f.payment(w, evidencetest.PaymentConfig{To: to})
	p.Malform(edit)
	p.Judge(f.clock.now(), nil)
	return p
}

// What is refused records nothing and leaves the id free.
func TestCreateRefusals(t *testing.T) {
	const (
		invalid  = typev1.Reason_REASON_INVALID_ARGUMENT
		badS     = typev1.Reason_REASON_BAD_STATEMENT
		missing  = typev1.Reason_REASON_EVIDENCE_MISSING
		stale    = typev1.Reason_REASON_EVIDENCE_STALE
		mismatch = typev1.Reason_REASON_EVIDENCE_MISMATCH
		late     = typev1.Reason_REASON_MESSAGE_EXPIRED
		deadline = typev1.Reason_REASON_DEADLINE_EXPIRED
	)
	f := start(t)
	payer, payee := f.two()
	other := f.wallet("other", paying([]*evidencetest.Wallet{payee}, loose))
	claimed := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "claimed"})
	f.pin(claimed)
	stranger := f.World.Wallet(evidencetest.WalletConfig{ID: "stranger"})
	with := func(c evidencetest.PaymentConfig) *evidencetest.Payment {
		if c.To == ([32]byte{}) {
			c.To = payee.GroupKey
		}
		return f.payment(payer, c)
	}
	judged := func(edit func(*typev1.Verdict)) *evidencetest.Payment {
		p := with(evidencetest.PaymentConfig{})
		p.Judge(f.clock.now(), edit)
		return p
	}
	for _, tt := range []struct {
		name string
		p    *evidencetest.Payment
		want typev1.Reason
	}{
		{"no request", func() *evidencetest.Payment { p := with(evidencetest.PaymentConfig{}); p.Request = nil; return p }(), missing},
		{"request under another key", func() *evidencetest.Payment {
			p := with(evidencetest.PaymentConfig{})
			m := new(typev1.Request)
			f.Decode(p.Request, m)
			p.Request = f.Sign(other.RequestKey, m)
			return p
		}(), badS},
		{"no message", func() *evidencetest.Payment { p := with(evidencetest.PaymentConfig{}); p.MessageBytes = nil; return p }(), missing},
		{"other message", func() *evidencetest.Payment {
			p := with(evidencetest.PaymentConfig{})
			p.MessageBytes = with(evidencetest.PaymentConfig{Expiry: noon.Add(time.Minute)}).MessageBytes
			return p
		}(), mismatch},
		{"message of another amount", with(evidencetest.PaymentConfig{EditMessage: func(m *book.Message) { m.Units++ }}), mismatch},
		{"message to another", with(evidencetest.PaymentConfig{EditMessage: func(m *book.Message) { m.Recipient = other.GroupKey }}), mismatch},
		{"message by another payer", with(evidencetest.PaymentConfig{EditMessage: func(m *book.Message) { m.Payer = other.GroupKey }}), mismatch},
		{"message of another intent", with(evidencetest.PaymentConfig{EditMessage: func(m *book.Message) { m.IntentDigest[0] ^= 1 }}), mismatch},
		{"no verdict", func() *evidencetest.Payment { p := with(evidencetest.PaymentConfig{}); p.Verdict = nil; return p }(), missing},
		{"verdict without signature", func() *evidencetest.Payment {
			p := with(evidencetest.PaymentConfig{})
			p.Verdict.Signatures = nil
			return p
		}(), badS},
		{"verdict under the ledger's key", func() *evidencetest.Payment {
			p := with(evidencetest.PaymentConfig{})
			m := new(typev1.Verdict)
			f.Decode(p.Verdict, m)
			p.Verdict = f.Sign(f.Ledger, m)
			return p
		}(), badS},
		{"verdict of another payment", judged(func(v *typev1.Verdict) { v.Payment = payer.Name + "/payments/p2" }), mismatch},
		{"verdict of another message", judged(func(v *typev1.Verdict) { v.MessageDigest[0] ^= 1 }), mismatch},
		{"verdict of another intent", judged(func(v *typev1.Verdict) { v.IntentDigest[0] ^= 1 }), mismatch},
		{
			"verdict by other guard rails", judged(func(v *typev1.Verdict) { v.GuardRailsDigest[0] ^= 1 }),
			typev1.Reason_REASON_GUARD_RAILS_CHANGED,
		},
		{"verdict that has ended", judged(func(v *typev1.Verdict) {
			v.TimeMillis, v.ExpiryMillis = noon.Add(-2*time.Minute).UnixMilli(), noon.Add(-time.Minute).UnixMilli()
		}), stale},
		{"verdict from the future", judged(func(v *typev1.Verdict) {
			v.TimeMillis, v.ExpiryMillis = noon.Add(6*time.Second).UnixMilli(), noon.Add(time.Minute).UnixMilli()
		}), stale},
		{"review of another payment", func() *evidencetest.Payment {
			p := with(evidencetest.PaymentConfig{})
			p.Answer(typev1.Answer_ANSWER_APPROVE, func(r *typev1.Review) { r.Payment = payer.Name + "/payments/p2" })
			return p
		}(), mismatch},
		{"review that refuses", func() *evidencetest.Payment {
			p := with(evidencetest.PaymentConfig{})
			p.Answer(typev1.Answer_ANSWER_REFUSE, nil)
			return p
		}(), mismatch},
		{"review by the agent", func() *evidencetest.Payment {
			p := with(evidencetest.PaymentConfig{})
			p.Answer(typev1.Answer_ANSWER_APPROVE, nil)
			m := new(typev1.Review)
			f.Decode(p.Review, m)
			p.Review = f.Sign(payer.RequestKey, m)
			return p
		}(), badS},
		{"message expired", with(evidencetest.PaymentConfig{Expiry: noon}), late},
		{"message expires late", with(evidencetest.PaymentConfig{Expiry: noon.Add(book.ExpiryMax + time.Millisecond)}), late},
		{"deadline passed", with(evidencetest.PaymentConfig{Deadline: noon.Add(-time.Millisecond)}), deadline},
		{"deadline too far", with(evidencetest.PaymentConfig{Deadline: noon.Add(8 * 24 * time.Hour)}), deadline},
		{"recipient without account", with(evidencetest.PaymentConfig{To: stranger.GroupKey}), typev1.Reason_REASON_NOT_ACTIVE},
		{"guard rails number 0", f.payment(claimed, evidencetest.PaymentConfig{To: payee.GroupKey}), typev1.Reason_REASON_NO_GUARD_RAILS},
		{"wallet without account", f.payment(stranger, evidencetest.PaymentConfig{To: payee.GroupKey}), typev1.Reason_REASON_NOT_ACTIVE},
		{"short of funds", with(evidencetest.PaymentConfig{Units: 1001 * usd}), typev1.Reason_REASON_INSUFFICIENT_FUNDS},
		{"other installation's asset", raw(f, payer, payee.GroupKey, func(i *typev1.Intent) { i.Asset = "halfkey:else/iso4217:USD" }), invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.unchanged(func() {
				_, err := f.create(tt.p)
				wantReason(t, err, tt.want, movedNo)
			})
		})
	}
	for _, tt := range evidencetest.MalformedIntents() {
		t.Run(tt.Name, func(t *testing.T) {
			f.unchanged(func() {
				_, err := f.create(raw(f, payer, payee.GroupKey, tt.Edit))
				wantReason(t, err, badS, movedNo)
			})
		})
	}
	// The id is still free.
	f.must(with(evidencetest.PaymentConfig{}), authorized)
}

// A repeat with another intent is refused, naming the field, in every state; one with another message once a message is pinned.
func TestPaymentDiffers(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	third := f.wallet("third", loose)
	f.setGuardRails(payer, evidencetest.Allow(third.GroupKey))
	base := evidencetest.PaymentConfig{To: payee.GroupKey, Purpose: "a", Deadline: noon.Add(time.Hour), EditIntent: buys("api.example")}
	f.must(f.payment(payer, base), authorized)
	for _, tt := range []struct {
		name, field string
		edit        func(*evidencetest.PaymentConfig)
	}{
		{"units", "units", func(c *evidencetest.PaymentConfig) { c.Units = 2 * usd }},
		{"recipient", "recipient", func(c *evidencetest.PaymentConfig) { c.To = third.GroupKey }},
		{"purpose", "purpose", func(c *evidencetest.PaymentConfig) { c.Purpose = "b" }},
		{"deadline", "deadline_millis", func(c *evidencetest.PaymentConfig) { c.Deadline = noon.Add(2 * time.Hour) }},
		{"without its HTTP request", "x402", func(c *evidencetest.PaymentConfig) { c.EditIntent = nil }},
		{"another HTTP host", "x402.host", func(c *evidencetest.PaymentConfig) { c.EditIntent = buys("other.example") }},
		{"message", "message", func(c *evidencetest.PaymentConfig) { c.Expiry = noon.Add(80 * time.Second) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := base
			tt.edit(&c)
			f.unchanged(func() {
				_, err := f.create(f.payment(payer, c))
				if got := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, movedUnknown).Metadata["field"]; got != tt.field {
					t.Errorf("field: got %q, want %q", got, tt.field)
				}
			})
		})
	}
	p := f.payment(payer, base)
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	c := base
	c.Units = 2 * usd
	_, err := f.create(f.payment(payer, c))
	wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, movedYes)
}

// What is on the book is no repeat of what is on a chain.
func TestPaymentDiffersByRail(t *testing.T) {
	f := startChain(t)
	f.must(f.attempt("p1", usdc), authorized)
	book := f.payment(f.payer, evidencetest.PaymentConfig{To: f.shop, Units: usdc, Deadline: noon.Add(24 * time.Hour)})
	f.unchanged(func() {
		_, err := f.create(book)
		if got := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, movedUnknown).Metadata["field"]; got != "rail" {
			t.Errorf("field: got %q, want rail", got)
		}
	})
}

// buys makes an intent one that pays for an HTTP resource of this host.
func buys(host string) func(*typev1.Intent) {
	return func(m *typev1.Intent) {
		m.X402 = &typev1.X402Context{
			Method: "GET", Scheme: "https", Host: host, Path: "/report", UrlDigest: make([]byte, 32), BodyDigest: make([]byte, 32),
		}
	}
}

// A repeat of an AUTHORIZED payment has one hold, is counted once, and gets a fresh receipt.
func TestRenewal(t *testing.T) {
	f := start(t)
	payer, payee := f.two(func(doc *typev1.GuardRails) {
		doc.Limits = []*typev1.Limit{limit(typev1.Window_WINDOW_PAYMENT, 5*usd, red), limit(typev1.Window_WINDOW_DAY, 5*usd, red)}
	})
	c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: 5 * usd, Expiry: noon.Add(90 * time.Second), Deadline: noon.Add(time.Hour)}
	first := f.must(f.payment(payer, c), authorized)
	f.clock.advance(30 * time.Second)
	again := f.payment(payer, c)
	got := f.must(again, authorized)
	f.verify(again, got)
	if got.GetEntry() != first.GetEntry()+1 || bytes.Equal(got.GetEntryHash(), first.GetEntryHash()) {
		t.Errorf("the renewal is entry %d after %d", got.GetEntry(), first.GetEntry())
	}
	receipt := new(typev1.Receipt)
	f.Decode(got.GetReceipt(), receipt)
	if receipt.GetTimeMillis() != f.clock.now().UnixMilli() || receipt.GetEntry() != got.GetEntry() {
		t.Errorf("the renewed receipt says %v", receipt)
	}
	f.wantBalance(payer, 995*usd, 5*usd)
	// The budget is used up by the one hold.
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "p2", To: payee.GroupKey, Units: 1}), denied)
}

// What would no longer pass gets no receipt, and its hold stays until its message is dead.
func TestRulesChanged(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*typev1.GuardRails)
	}{
		{"recipient denied", func(doc *typev1.GuardRails) {
			doc.Recipients.Deny, doc.Recipients.Allow = doc.Recipients.GetAllow(), nil
		}},
		{"recipient now needs a person", func(doc *typev1.GuardRails) { doc.Recipients.Allow = nil }},
		{"payment over the cap", func(doc *typev1.GuardRails) { doc.Limits[0].Amount = "1" }},
		{"window over its limit", func(doc *typev1.GuardRails) { doc.Limits[1].Amount = "1" }},
		{"no asset", func(doc *typev1.GuardRails) { doc.Assets = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t)
			payer, payee := f.two()
			c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: 5 * usd, Expiry: noon.Add(90 * time.Second), Deadline: noon.Add(time.Hour)}
			f.must(f.payment(payer, c), authorized)
			f.setGuardRails(payer, tt.edit)
			f.unchanged(func() {
				_, err := f.create(f.payment(payer, c))
				wantReason(t, err, typev1.Reason_REASON_RULES_CHANGED, movedUnknown)
			})
			f.wantBalance(payer, 995*usd, 5*usd)
			f.clock.advance(90 * time.Second)
			if got := f.get(payer.Name + "/payments/p1"); got.GetState() != ready {
				t.Errorf("after the expiry: %s", got.GetState())
			}
			f.wantBalance(payer, 1000*usd, 0)
		})
	}
}

// Every verdict is in the journal, RED too, and a denied payment is a resource.
func TestDenied(t *testing.T) {
	f := start(t)
	payer, payee := f.two(func(doc *typev1.GuardRails) {
		doc.Limits = []*typev1.Limit{limit(typev1.Window_WINDOW_PAYMENT, 100*usd, red), limit(typev1.Window_WINDOW_DAY, 150*usd, red)}
	})
	deny := func(doc *typev1.Verdict) { doc.Light = green; doc.Results = nil }
	over := f.payment(payer, evidencetest.PaymentConfig{ID: "over", To: payee.GroupKey, Units: 101 * usd})
	got := f.must(over, denied)
	if got.GetLight() != red || got.GetRequest() == nil || got.GetVerdict() == nil || len(got.GetResults()) == 0 {
		t.Errorf("got %v", got)
	}
	// Policy that says yes to everything does not get past the ledger.
	lied := f.payment(payer, evidencetest.PaymentConfig{ID: "lied", To: payee.GroupKey, Units: 102 * usd})
	lied.Judge(f.clock.now(), deny)
	f.must(lied, denied)
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "first", To: payee.GroupKey, Units: 100 * usd}), authorized)
	history := f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "second", To: payee.GroupKey, Units: 51 * usd}), denied)
	var found bool
	for _, r := range history.GetResults() {
		if r.GetLight() == red && r.GetRule() == typev1.Rule_RULE_LIMIT && r.GetObserved() == "151000000" && r.GetRoom() == "50000000" {
			found = true
		}
	}
	if !found {
		t.Errorf("results do not say why: %v", history.GetResults())
	}
	f.wantBalance(payer, 900*usd, 100*usd)
	entries := f.entries(payer)
	for _, name := range []string{"over", "lied", "second"} {
		n := 0
		for _, e := range entries {
			if e.GetPayment() == payer.Name+"/payments/"+name && e.GetPaymentState() == denied && len(e.GetStatements()) == 2 {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s stands %d times in the journal", name, n)
		}
	}
}

func (f *fixture) entries(w *evidencetest.Wallet) []*typev1.Entry {
	f.t.Helper()
	var all []*typev1.Entry
	for from := uint64(1); ; {
		resp, err := f.client.ListEntries(f.t.Context(), &ledgerv1.ListEntriesRequest{Parent: w.Name, FromNumber: from, PageSize: 7})
		if err != nil {
			f.t.Fatalf("ListEntries: %v", err)
		}
		head, err := evidence.CheckJournalHead(f.Installation, resp.GetHead())
		if err != nil {
			f.t.Fatal(err)
		}
		for _, b := range resp.GetEntries() {
			e := new(typev1.Entry)
			if err := evidence.Unmarshal(b, e); err != nil {
				f.t.Fatal(err)
			}
			all = append(all, e)
			from = e.GetNumber() + 1
			if e.GetNumber() == head.GetEntry() {
				if !evidence.EntryHash(b).Is(head.GetEntryHash()) {
					f.t.Fatal("the signed head names another entry")
				}
				return all
			}
		}
	}
}

// A dry run decides the same, and neither stores nor signs.
func TestValidateOnly(t *testing.T) {
	f := start(t)
	payer, payee := f.two(func(doc *typev1.GuardRails) {
		doc.Limits = append(doc.Limits, limit(typev1.Window_WINDOW_PAYMENT, 5*usd, yellow))
	})
	for _, tt := range []struct {
		name  string
		units int64
		want  typev1.PaymentState
	}{{"green", usd, authorized}, {"yellow", 6 * usd, pending}, {"red", 2_000_000 * usd, denied}} {
		t.Run(tt.name, func(t *testing.T) {
			p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: tt.units})
			unsigned := proto.CloneOf(p.Verdict)
			unsigned.Signatures = nil
			for name, verdict := range map[string]*typev1.Envelope{"signed": p.Verdict, "unsigned": unsigned} {
				f.unchanged(func() {
					resp, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
						Request: p.Request, Message: p.MessageBytes, Verdict: verdict, ValidateOnly: true,
					})
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					got := resp.GetPayment()
					if got.GetState() != tt.want || got.GetReceipt() != nil || got.GetEntry() != 0 || len(got.GetResults()) == 0 {
						t.Errorf("%s: got %v", name, got)
					}
				})
			}
			wrong := proto.CloneOf(unsigned)
			wrong.Payload = f.payment(payer, evidencetest.PaymentConfig{ID: "p2", To: payee.GroupKey}).Verdict.GetPayload()
			_, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
				Request: p.Request, Message: p.MessageBytes, Verdict: wrong, ValidateOnly: true,
			})
			wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISMATCH, movedNo)
		})
	}
	// Nor does it ask that its message lives: it says what one that does would meet. Its deadline counts.
	for _, expiry := range []time.Time{time.UnixMilli(1), noon.Add(24 * time.Hour)} {
		p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd, Expiry: expiry})
		f.unchanged(func() {
			resp, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
				Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict, ValidateOnly: true,
			})
			if err != nil || resp.GetPayment().GetState() != authorized || resp.GetPayment().GetReceipt() != nil {
				t.Errorf("expiry %v: got %v, %v", expiry, resp.GetPayment(), err)
			}
			_, err = f.create(p)
			wantReason(t, err, typev1.Reason_REASON_MESSAGE_EXPIRED, movedNo)
		})
	}
	late := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Deadline: noon.Add(-time.Millisecond)})
	_, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
		Request: late.Request, Message: late.MessageBytes, Verdict: late.Verdict, ValidateOnly: true,
	})
	wantReason(t, err, typev1.Reason_REASON_DEADLINE_EXPIRED, movedNo)
	// A dry run does not end a payment whose time has come either.
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey})
	f.must(p, authorized)
	f.clock.advance(2 * time.Minute)
	f.unchanged(func() {
		fresh := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Deadline: noon.Add(time.Hour)})
		resp, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
			Request: fresh.Request, Message: fresh.MessageBytes, Verdict: fresh.Verdict, ValidateOnly: true,
		})
		if err != nil || resp.GetPayment().GetState() != authorized {
			t.Errorf("got %v, %v", resp.GetPayment(), err)
		}
	})
}

// Many clients race for one id: one payment, one hold, one answer for all.
func TestRaceForOneID(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd})
	rival := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 2 * usd})
	var wait sync.WaitGroup
	results := make(chan string, 64)
	for i := range 64 {
		wait.Go(func() {
			mine := p
			if i%2 == 1 {
				mine = rival
			}
			got, err := f.create(mine)
			if err != nil {
				results <- "refused"
				return
			}
			units := new(typev1.Intent)
			_ = proto.Unmarshal(got.GetIntent(), units)
			results <- units.GetUnits()
		})
	}
	wait.Wait()
	close(results)
	count := make(map[string]int)
	for r := range results {
		count[r]++
	}
	if count["refused"] != 32 || count["1000000"] != 32 && count["2000000"] != 32 {
		t.Errorf("got %v", count)
	}
	_, held := f.balance(payer)
	if held != "1000000" && held != "2000000" {
		t.Errorf("held %s", held)
	}
}

// Holds never exceed the balance, whoever races.
func TestHoldsWithinBalance(t *testing.T) {
	f := start(t)
	payee := f.wallet("payee", loose)
	payer := f.wallet("payer", paying([]*evidencetest.Wallet{payee}, loose))
	f.deposit(payer, "d1", 10*usd)
	var wait sync.WaitGroup
	var mu sync.Mutex
	passed, short := 0, 0
	for i := range 64 {
		p := f.payment(payer, evidencetest.PaymentConfig{ID: fmt.Sprint("p", i), To: payee.GroupKey, Units: usd})
		wait.Go(func() {
			_, err := f.create(p)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				passed++
			} else {
				wantReason(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, movedNo)
				short++
			}
		})
	}
	wait.Wait()
	if passed != 10 || short != 54 {
		t.Errorf("%d passed, %d were short", passed, short)
	}
	f.wantBalance(payer, 0, 10*usd)
}

// A wallet's payments that have not ended are bounded.
func TestOpenPaymentsBound(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	one := f.payment(payer, evidencetest.PaymentConfig{ID: "p0", To: payee.GroupKey, Units: 1})
	f.must(one, authorized)
	f.sql(`UPDATE chain SET open_payments = ? WHERE name = ?`, OpenPaymentsMax, payer.Name)
	_, err := f.create(f.payment(payer, evidencetest.PaymentConfig{ID: "p1", To: payee.GroupKey, Units: 1}))
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
	f.must(one, authorized) // A repeat is no further payment.
	f.sql(`UPDATE chain SET open_payments = 1 WHERE name = ?`, payer.Name)
}

// sql changes the database behind the ledger's back.
func (f *fixture) sql(query string, args ...any) {
	f.t.Helper()
	if _, err := f.ledger.store.writer.ExecContext(context.Background(), query, args...); err != nil {
		f.t.Fatal(err)
	}
}
