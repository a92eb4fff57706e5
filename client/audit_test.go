package client_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// scribe writes a wallet's journal as an honest ledger would, with a place to be dishonest at one entry: edit changes that
// entry before it is hashed, so that chain and head still hold.
type scribe struct {
	t     *testing.T
	w     *evidencetest.Wallet
	shop  [32]byte
	other *evidencetest.Wallet // Another wallet of the same installation, which pays this one.
	rail  typev1.Rail          // Whose payments it writes; zero is the book.
	now   time.Time
	at    uint64
	edit  func(s *scribe, e *typev1.Entry)

	entries   [][]byte
	previous  []byte
	available int64
	held      int64
	counted   int64                 // Units counted in today's window.
	lastPaid  *evidencetest.Payment // For the same HTTP request; nil if nothing was.
	head      *typev1.Envelope
}

func newScribe(t *testing.T) *scribe {
	world := evidencetest.New(t)
	s := &scribe{
		t: t, w: world.ClaimedWallet(evidencetest.WalletConfig{ID: "payer"}), shop: evidencetest.Key32(world.Key("shop")),
		other: world.ClaimedWallet(evidencetest.WalletConfig{ID: "other"}), now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC),
	}
	return s
}

func (s *scribe) add(e *typev1.Entry) {
	s.t.Helper()
	e.Installation, e.Wallet, e.Number, e.Previous = s.w.Installation.ID(), s.w.Name, uint64(len(s.entries))+1, s.previous
	if e.TimeMillis == 0 {
		e.TimeMillis = s.now.UnixMilli()
	}
	if e.GetAsset() != "" {
		e.Available, e.Held = resource.FormatUnits(s.available), resource.FormatUnits(s.held)
	}
	if e.GetNumber() == s.at && s.edit != nil {
		s.edit(s, e)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		s.t.Fatal(err)
	}
	s.entries = append(s.entries, b)
	s.previous = evidence.EntryHash(b).Bytes()
}

// sign signs the head.
func (s *scribe) sign() {
	s.head = s.w.Sign(s.w.Ledger, &typev1.JournalHead{
		Installation: s.w.Installation.ID(), Wallet: s.w.Name, Entry: uint64(len(s.entries)), EntryHash: s.previous, TimeMillis: s.now.UnixMilli(),
	})
}

func (s *scribe) asset() string {
	if s.rail == typev1.Rail_RAIL_SOLANA {
		return evidencetest.USDC
	}
	return s.w.Installation.BookUSD()
}

// attempt records an attempt of units with policy's honest verdict and the rules' honest results.
func (s *scribe) attempt(kind typev1.EntryKind, id string, units int64, review *typev1.Envelope, state typev1.PaymentState) *evidencetest.Payment {
	s.t.Helper()
	p := s.w.Payment(evidencetest.PaymentConfig{ID: id, To: s.shop, Units: units, Now: s.now, Deadline: s.now.Truncate(time.Hour).Add(5 * time.Hour), Expiry: s.now.Add(90 * time.Second)})
	return s.record(p, kind, units, review, state)
}

func (s *scribe) record(p *evidencetest.Payment, kind typev1.EntryKind, units int64, review *typev1.Envelope, state typev1.PaymentState) *evidencetest.Payment {
	s.t.Helper()
	p.Review = review
	p.Judge(s.now, nil)
	spans := guardrails.Spans(s.w.Head.Document, p.Facts(), s.now)
	sums := make([]guardrails.Sum, len(spans))
	for i := range sums {
		sums[i].Units = s.counted
	}
	if kind == typev1.EntryKind_ENTRY_KIND_RENEWAL {
		for i := range sums {
			sums[i].Units -= units
		}
	}
	judged := guardrails.Count(s.w.Head.Document, p.Facts(), guardrails.History{Sums: sums, Paid: s.paid()}, s.now)
	e := &typev1.Entry{
		Kind: kind, Payment: p.Name, PaymentState: state, Asset: s.asset(), Units: resource.FormatUnits(units),
		Light: judged.Light, Results: judged.Results, Statements: []*typev1.Envelope{p.Request, p.Verdict}, Message: p.MessageBytes,
	}
	if review != nil {
		e.Statements = append(e.Statements, review)
	}
	if kind == typev1.EntryKind_ENTRY_KIND_PAYMENT && state == authorized {
		s.available, s.held, s.counted = s.available-units, s.held+units, s.counted+units
	}
	s.add(e)
	return p
}

// paid is what was paid last for the same HTTP request.
func (s *scribe) paid() guardrails.Paid {
	if s.lastPaid == nil {
		return guardrails.Paid{}
	}
	return guardrails.Paid{Recipient: s.lastPaid.Facts().Recipient, Units: s.lastPaid.Facts().Units, Unit: resource.UnitUSD}
}

func (s *scribe) settle(p *evidencetest.Payment, units int64) {
	s.t.Helper()
	s.held -= units
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: p.Name, PaymentState: settled, Asset: s.asset(), Units: resource.FormatUnits(units),
		Signature: p.Settle(), Statements: []*typev1.Envelope{s.settlement(p, units)},
	})
}

func (s *scribe) settlement(p *evidencetest.Payment, units int64) *typev1.Envelope {
	recipient := p.Facts().Recipient
	m := &typev1.Settlement{
		Installation: s.w.Installation.ID(), Wallet: p.Wallet.Name, Payment: p.Name, Payer: p.Wallet.GroupKey[:], Recipient: recipient[:],
		Asset: s.asset(), Units: resource.FormatUnits(units), IntentDigest: evidence.IntentDigest(p.IntentBytes).Bytes(),
		MessageDigest: evidence.MessageDigest(p.MessageBytes).Bytes(), TimeMillis: s.now.UnixMilli(),
	}
	if s.rail == typev1.Rail_RAIL_SOLANA {
		m.Transaction, m.Slot = s.transaction(p), 290_000_200
	}
	return s.w.Sign(s.w.Ledger, m)
}

func (s *scribe) dead(p *evidencetest.Payment) *typev1.Envelope {
	return s.w.Sign(s.w.Ledger, &typev1.DeadMessage{
		Installation: s.w.Installation.ID(), Wallet: s.w.Name, Payment: p.Name, IntentDigest: evidence.IntentDigest(p.IntentBytes).Bytes(),
		MessageDigest: evidence.MessageDigest(p.MessageBytes).Bytes(), TimeMillis: s.now.UnixMilli(),
	})
}

func (s *scribe) die(p *evidencetest.Payment, units int64, state typev1.PaymentState) {
	s.t.Helper()
	s.available, s.held, s.counted = s.available+units, s.held-units, s.counted-units
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: p.Name, PaymentState: state, Asset: s.asset(), Units: resource.FormatUnits(units),
		Statements: []*typev1.Envelope{s.dead(p)},
	})
}

// The entries of write's journal that the tests name.
const (
	entryAccount = iota + 1
	entryRails
	entryDeposit
	entryGreen
	entrySettled
	entryYellow
	entryReview
	entryApproved
	entryRenewal
	entryDied
	entryFreeze
	entryUnfreeze
	entryIncoming
	entryRed
	entryPending2
	entryCanceled
	entryPending3
	entrySecond
	entrySetTime
	entrySetBack
	entryLoss
	entryToRedeem
	entryRedeemable
	entryRedeemed
	entryExpired
	entryLast = entryExpired
)

// write writes a journal with every kind of entry.
func (s *scribe) write() *scribe {
	s.t.Helper()
	sign := s.w.Sign
	i := s.w.Installation
	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_ACCOUNT, Caller: s.w.Owner, Statements: []*typev1.Envelope{s.w.Registration, s.w.Record, s.w.Claim}})
	rails := s.w.SetGuardRails(evidencetest.Allow(s.shop, i.RedemptionAccount()))
	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_GUARD_RAILS, Statements: []*typev1.Envelope{rails}})
	s.available += 100 * usd
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_DEPOSIT, Asset: s.asset(), Units: "100000000",
		Statements: []*typev1.Envelope{sign(s.w.Operator, &typev1.Deposit{Installation: i.ID(), Wallet: s.w.Name, DepositId: "d1", Asset: s.asset(), Units: "100000000"})},
	})
	green := s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "green", 2*usd, nil, authorized)
	s.settle(green, 2*usd)

	s.now = s.now.Add(time.Minute)
	yellow := s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "yellow", 20*usd, nil, pending)
	review := yellow.Answer(typev1.Answer_ANSWER_APPROVE, nil)
	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_REVIEW, Payment: yellow.Name, PaymentState: ready, Statements: []*typev1.Envelope{review}})
	approved := s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "yellow", 20*usd, review, authorized)
	s.record(approved, typev1.EntryKind_ENTRY_KIND_RENEWAL, 20*usd, review, authorized)
	s.now = s.now.Add(2 * time.Minute)
	s.die(approved, 20*usd, ready)

	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_FREEZE, FreezeId: "f1", Scope: typev1.Scope_SCOPE_WALLET, Caller: s.w.Owner})
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_UNFREEZE, FreezeId: "f1", Scope: typev1.Scope_SCOPE_WALLET,
		Statements: []*typev1.Envelope{sign(s.w.OwnerKey, &typev1.Unfreeze{Installation: i.ID(), Wallet: s.w.Name, Scope: typev1.Scope_SCOPE_WALLET, FreezeId: "f1"})},
	})
	in := s.other.Payment(evidencetest.PaymentConfig{ID: "in", To: s.w.GroupKey, Units: 3 * usd, Now: s.now})
	s.available += 3 * usd
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_INCOMING, Payment: in.Name, PaymentState: settled, Asset: s.asset(), Units: "3000000",
		Statements: []*typev1.Envelope{s.settlement(in, 3*usd)},
	})
	s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "red", 101*usd, nil, denied)
	s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "canceled", 6*usd, nil, pending)
	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: s.w.Name + "/payments/canceled", PaymentState: canceled})
	s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "expired", 6*usd, nil, pending)

	second := s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "second", usd, nil, authorized)
	s.now = s.now.Add(-30 * time.Second)
	s.add(&typev1.Entry{
		Kind:       typev1.EntryKind_ENTRY_KIND_SET_TIME,
		Statements: []*typev1.Envelope{sign(s.w.Operator, &typev1.SetTime{Installation: i.ID(), Wallet: s.w.Name, StatementId: "t1", TimeMillis: s.now.UnixMilli()})},
	})
	s.die(second, usd, ready)
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_ACCEPT_LOSS,
		Statements: []*typev1.Envelope{sign(s.w.Operator, &typev1.AcceptLoss{
			Installation: i.ID(), Wallet: s.w.Name, Entry: uint64(len(s.entries)), EntryHash: s.previous, LostEntry: 99, LostHash: bytes.Repeat([]byte{9}, 32),
		})},
	})
	shop := s.shop
	s.shop = i.RedemptionAccount()
	out := s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "out", 4*usd, nil, authorized)
	s.shop = shop
	s.settle(out, 4*usd)
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_REDEMPTION, Payment: out.Name, PaymentState: settled, Units: "4000000",
		Statements: []*typev1.Envelope{sign(s.w.Operator, &typev1.Redemption{Installation: i.ID(), Wallet: s.w.Name, Payment: out.Name})},
	})
	s.now = s.now.Add(24 * time.Hour)
	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: s.w.Name + "/payments/expired", PaymentState: expired})
	s.sign()
	return s
}

func (s *scribe) verify() (*client.JournalReport, error) {
	return client.VerifyJournal(s.w.Installation, s.w.Name, s.entries, s.head)
}

// TestJournal verifies an honest journal with every kind of entry.
func TestJournal(t *testing.T) {
	s := newScribe(t).write()
	if len(s.entries) != entryLast {
		t.Fatalf("the journal has %d entries, the constants name %d", len(s.entries), entryLast)
	}
	r, err := s.verify()
	if err != nil {
		t.Fatal(err)
	}
	if b := r.Balances[s.asset()]; b.Available != 97*usd || b.Held != 0 {
		t.Errorf("got balance %+v, want 97 USD", b)
	}
	if r.Payments[settled] != 2 || r.Payments[ready] != 2 || r.Payments[denied] != 1 || r.Payments[canceled] != 1 || r.Payments[expired] != 1 ||
		r.Incoming != 1 || r.GuardRails != 1 || len(r.Frozen) != 0 || r.Handle != "payer" || r.Entries != entryLast {
		t.Errorf("got report %+v", r)
	}
}

// TestJournalRefuses lets the ledger be dishonest at one entry, chain and head honestly made around it: the entry is named.
func TestJournalRefuses(t *testing.T) {
	statement := func(n int, make func(s *scribe) *typev1.Envelope) func(*scribe, *typev1.Entry) {
		return func(s *scribe, e *typev1.Entry) { e.Statements[n] = make(s) }
	}
	for _, row := range []struct {
		name string
		at   uint64
		edit func(s *scribe, e *typev1.Entry)
		want string
	}{
		{"another installation", entryGreen, func(_ *scribe, e *typev1.Entry) { e.Installation = "elsewhere" }, "installation"},
		{"another wallet's entry", entryDeposit, func(_ *scribe, e *typev1.Entry) { e.Wallet = "wallets/other" }, "wallet"},
		{"a number left out", entryDeposit, func(_ *scribe, e *typev1.Entry) { e.Number++ }, "number"},
		{"another predecessor", entryDeposit, func(_ *scribe, e *typev1.Entry) { e.Previous = bytes.Repeat([]byte{1}, 32) }, "previous"},
		{"time that goes back", entryYellow, func(_ *scribe, e *typev1.Entry) { e.TimeMillis -= time.Hour.Milliseconds() }, "time_millis"},
		{"an account that is not first", entryFreeze, func(s *scribe, e *typev1.Entry) {
			e.Kind, e.Statements = typev1.EntryKind_ENTRY_KIND_ACCOUNT, []*typev1.Envelope{s.w.Registration, s.w.Record, s.w.Claim}
		}, "kind"},
		{"another wallet's account", entryAccount, func(s *scribe, e *typev1.Entry) {
			e.Statements = []*typev1.Envelope{s.other.Registration, s.other.Record, s.other.Claim}
		}, "wallet"},
		{"a record of another wallet", entryAccount, statement(1, func(s *scribe) *typev1.Envelope { return s.other.Record }), "wallet"},
		{"a record under the ledger's key", entryAccount, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.WalletRecord)
			s.w.Decode(s.w.Record, m)
			e.Statements[1] = s.w.Sign(s.w.Ledger, m)
		}, "signatures"},
		{"guard rails under another owner's key", entryRails, func(s *scribe, e *typev1.Entry) {
			e.Statements[0] = s.w.Sign(s.w.Key("owner/thief"), s.w.Head.Document)
		}, "signatures"},
		{"guard rails that allow what the owner's do not", entryRails, func(s *scribe, e *typev1.Entry) {
			doc := proto.CloneOf(s.w.Head.Document)
			doc.Limits[2].Amount = "1000000000"
			e.Statements[0] = s.w.Sign(s.w.Ledger, doc)
		}, "signatures"},
		{"a deposit under the ledger's key", entryDeposit, func(s *scribe, e *typev1.Entry) {
			e.Statements[0] = s.w.Sign(s.w.Ledger, &typev1.Deposit{Installation: s.w.Installation.ID(), Wallet: s.w.Name, DepositId: "d1", Asset: s.asset(), Units: "100000000"})
		}, "signatures"},
		{"a deposit of another amount", entryDeposit, func(_ *scribe, e *typev1.Entry) { e.Units = "200000000" }, "units"},
		{"a balance out of nothing", entryDeposit, func(_ *scribe, e *typev1.Entry) { e.Available = "100000001" }, "available"},
		{"a hold that is not there", entryGreen, func(_ *scribe, e *typev1.Entry) { e.Held = "0" }, "held"},
		{"a deposit to another wallet", entryDeposit, func(s *scribe, e *typev1.Entry) {
			e.Statements[0] = s.w.Sign(s.w.Operator, &typev1.Deposit{Installation: s.w.Installation.ID(), Wallet: s.other.Name, DepositId: "d1", Asset: s.asset(), Units: "100000000"})
		}, "statements"},
		{"a request under another key", entryGreen, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Request)
			s.w.Decode(e.GetStatements()[0], m)
			e.Statements[0] = s.w.Sign(s.w.Ledger, m)
		}, "signatures"},
		{"a message to another recipient", entryGreen, func(_ *scribe, e *typev1.Entry) { e.Message[len(e.Message)-100] ^= 1 }, "message"},
		{"no verdict", entryGreen, func(_ *scribe, e *typev1.Entry) { e.Statements = e.GetStatements()[:1] }, "statements"},
		{"a verdict under another key", entryGreen, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Verdict)
			s.w.Decode(e.GetStatements()[1], m)
			e.Statements[1] = s.w.Sign(s.w.Ledger, m)
		}, "signatures"},
		{"a verdict of another time", entryGreen, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Verdict)
			s.w.Decode(e.GetStatements()[1], m)
			m.TimeMillis, m.ExpiryMillis = m.TimeMillis-600_000, m.ExpiryMillis-600_000
			e.Statements[1] = s.w.Sign(s.w.Policy, m)
		}, "time_millis"},
		{"a payment of another intent's units", entryGreen, func(_ *scribe, e *typev1.Entry) { e.Units = "1" }, "units"},
		{"a payment on Solana that the guard rails refuse", entryGreen, func(s *scribe, e *typev1.Entry) {
			p := s.w.Payment(evidencetest.PaymentConfig{ID: "green", To: s.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: 2 * usd, Now: s.now})
			p.Judge(s.now, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
			e.Asset, e.Units, e.Statements, e.Message = evidencetest.USDC, p.Intent.GetUnits(), []*typev1.Envelope{p.Request, p.Verdict}, p.MessageBytes
		}, "light"},
		{"a message that died with a transaction, on the book", entryDied, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.DeadMessage)
			s.w.Decode(e.GetStatements()[0], m)
			m.Transaction, m.Slot = make([]byte, 64), 1
			e.Statements[0], e.PaymentState = s.w.Sign(s.w.Ledger, m), failed
		}, "dead-message.transaction"},
		{"money on a chain that came in by a payment", entryIncoming, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Settlement)
			s.w.Decode(e.GetStatements()[0], m)
			m.Asset, m.Transaction, m.Slot = evidencetest.USDC, make([]byte, 64), 1
			e.Statements[0], e.Asset = s.w.Sign(s.w.Ledger, m), evidencetest.USDC
		}, "entry.kind"},
		{"a milder light than history says", entryGreen, func(_ *scribe, e *typev1.Entry) { e.Light = typev1.Light_LIGHT_YELLOW }, "light"},
		{"results that history does not say", entryGreen, func(_ *scribe, e *typev1.Entry) { e.Results[0].Observed = "1" }, "results"},
		{"a yellow payment that nobody approved", entryYellow, func(_ *scribe, e *typev1.Entry) { e.PaymentState = authorized }, "payment_state"},
		{"a red payment that is paid", entryRed, func(_ *scribe, e *typev1.Entry) { e.PaymentState = authorized }, "payment_state"},
		{"a green payment that is denied", entryGreen, func(_ *scribe, e *typev1.Entry) { e.PaymentState = denied }, "payment_state"},
		{"a settlement without the group key's signature", entrySettled, func(_ *scribe, e *typev1.Entry) { e.Signature[5] ^= 1 }, "signature"},
		{"a settlement after the expiry", entrySettled, func(_ *scribe, e *typev1.Entry) { e.TimeMillis += 90_000 }, "time_millis"},
		{"a settlement statement under another key", entrySettled, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Settlement)
			s.w.Decode(e.GetStatements()[0], m)
			e.Statements[0] = s.w.Sign(s.w.Policy, m)
		}, "signatures"},
		{"a settlement to another recipient", entrySettled, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Settlement)
			s.w.Decode(e.GetStatements()[0], m)
			m.Recipient = s.other.GroupKey[:]
			e.Statements[0] = s.w.Sign(s.w.Ledger, m)
		}, "settlement"},
		{"a settlement of what was never authorized", entryCanceled, func(s *scribe, e *typev1.Entry) {
			e.PaymentState, e.Asset, e.Units, e.Signature = settled, s.asset(), "6000000", make([]byte, 64)
			e.Statements = []*typev1.Envelope{s.settlement(s.w.Payment(evidencetest.PaymentConfig{ID: "canceled", To: s.shop, Units: 6 * usd, Now: s.now}), 6*usd)}
		}, "payment_state"},
		{"a review under another key", entryReview, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Review)
			s.w.Decode(e.GetStatements()[0], m)
			e.Statements[0] = s.w.Sign(s.w.RequestKey, m)
		}, "signatures"},
		{"a refusal taken for an approval", entryReview, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Review)
			s.w.Decode(e.GetStatements()[0], m)
			m.Answer = typev1.Answer_ANSWER_REFUSE
			e.Statements[0] = s.w.Sign(s.w.OwnerKey, m)
		}, "payment_state"},
		{"an approval of another intent", entryReview, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Review)
			s.w.Decode(e.GetStatements()[0], m)
			m.IntentDigest[0] ^= 1
			e.Statements[0] = s.w.Sign(s.w.OwnerKey, m)
		}, "intent_digest"},
		{"an approved payment without its review", entryApproved, func(_ *scribe, e *typev1.Entry) { e.Statements = e.GetStatements()[:2] }, "payment_state"},
		{"a renewal of another message", entryRenewal, func(s *scribe, e *typev1.Entry) {
			p := s.w.Payment(evidencetest.PaymentConfig{ID: "yellow", To: s.shop, Units: 20 * usd, Now: s.now, Deadline: s.now.Truncate(time.Hour).Add(5 * time.Hour), Expiry: s.now.Add(80 * time.Second)})
			e.Statements[0], e.Message = p.Request, p.MessageBytes
		}, "message"},
		{"a hold freed before its message died", entryDied, func(_ *scribe, e *typev1.Entry) { e.TimeMillis -= 60_000 }, "time_millis"},
		{"a hold freed without a statement", entryDied, func(_ *scribe, e *typev1.Entry) { e.Statements = nil }, "statements"},
		{"a hold freed by the death of another message", entryDied, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.DeadMessage)
			s.w.Decode(e.GetStatements()[0], m)
			m.MessageDigest[0] ^= 1
			e.Statements[0] = s.w.Sign(s.w.Ledger, m)
		}, "message_digest"},
		{"a hold freed as expired before the deadline", entryDied, func(_ *scribe, e *typev1.Entry) { e.PaymentState = expired }, "payment_state"},
		{"a payment while frozen", entryUnfreeze, func(s *scribe, e *typev1.Entry) {
			p := s.w.Payment(evidencetest.PaymentConfig{ID: "frozen", To: s.shop, Units: usd, Now: s.now})
			p.Judge(s.now, nil)
			*e = typev1.Entry{
				Installation: e.Installation, Wallet: e.Wallet, Number: e.Number, Previous: e.Previous, TimeMillis: e.TimeMillis,
				Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: p.Name, PaymentState: authorized, Asset: s.asset(), Units: "1000000",
				Statements: []*typev1.Envelope{p.Request, p.Verdict}, Message: p.MessageBytes, Light: typev1.Light_LIGHT_GREEN,
			}
		}, "frozen"},
		{"an unfreeze under the agent's key", entryUnfreeze, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Unfreeze)
			s.w.Decode(e.GetStatements()[0], m)
			e.Statements[0] = s.w.Sign(s.w.RequestKey, m)
		}, "signatures"},
		{"an unfreeze of another freeze", entryUnfreeze, func(_ *scribe, e *typev1.Entry) { e.FreezeId = "f2" }, "freeze_id"},
		{"money from nowhere", entryIncoming, func(_ *scribe, e *typev1.Entry) { e.Statements = nil }, "statements"},
		{"money that was another's", entryIncoming, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Settlement)
			s.w.Decode(e.GetStatements()[0], m)
			m.Recipient = s.shop[:]
			e.Statements[0] = s.w.Sign(s.w.Ledger, m)
		}, "recipient"},
		{"a cancellation of what is done", entryCanceled, func(s *scribe, e *typev1.Entry) { e.Payment = s.w.Name + "/payments/green" }, "payment_state"},
		{"an expiry before the deadline", entryPending3, func(s *scribe, e *typev1.Entry) {
			*e = typev1.Entry{
				Installation: e.Installation, Wallet: e.Wallet, Number: e.Number, Previous: e.Previous, TimeMillis: e.TimeMillis,
				Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: s.w.Name + "/payments/yellow", PaymentState: expired,
			}
		}, "time_millis"},
		{"a time that nobody set", entrySetTime, func(_ *scribe, e *typev1.Entry) { e.Statements = nil }, "statements"},
		{"a time that an agent set", entrySetTime, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.SetTime)
			s.w.Decode(e.GetStatements()[0], m)
			e.Statements[0] = s.w.Sign(s.w.RequestKey, m)
		}, "signatures"},
		{"a time other than the one set", entrySetTime, func(_ *scribe, e *typev1.Entry) { e.TimeMillis++ }, "time_millis"},
		{"a loss accepted elsewhere in the journal", entryLoss, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.AcceptLoss)
			s.w.Decode(e.GetStatements()[0], m)
			m.Entry--
			e.Statements[0] = s.w.Sign(s.w.Operator, m)
		}, "entry"},
		{"a redemption of a payment to somebody", entryRedeemed, func(s *scribe, e *typev1.Entry) {
			e.Payment = s.w.Name + "/payments/green"
			e.Statements[0] = s.w.Sign(s.w.Operator, &typev1.Redemption{Installation: s.w.Installation.ID(), Wallet: s.w.Name, Payment: e.Payment})
		}, "redemption"},
		{"a statement that nobody looks at", entryGreen, func(s *scribe, e *typev1.Entry) { e.Statements = append(e.Statements, s.w.Claim) }, "statements"},
		{"an unknown field", entryGreen, func(_ *scribe, e *typev1.Entry) { e.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01}) }, "unknown"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t)
			s.at, s.edit = row.at, row.edit
			s.write()
			_, err := s.verify()
			var bad *client.JournalError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want a refusal of entry %d", err, row.at)
			}
			want := row.at
			if row.want == "previous" { // Either of the two may have been changed, and the earlier one is named.
				want--
			}
			if bad.Entry != want || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want entry %d and %q", err, want, row.want)
			}
		})
	}
}

// The entry that a row names.
func theHead(uint64) uint64           { return 0 }
func theLast(last uint64) uint64      { return last }
func afterTheLast(last uint64) uint64 { return last + 1 }

// TestJournalHead refuses heads that are not the ledger's about exactly these entries, and names the first that is bad or missing.
func TestJournalHead(t *testing.T) {
	for _, row := range []struct {
		name string
		edit func(s *scribe)
		// want is the entry that is named, for a journal that honestly ends with last; 0 is the head.
		want func(last uint64) uint64
	}{
		{"no head", func(s *scribe) { s.head = nil }, theHead},
		{"a head under another key", func(s *scribe) {
			m := new(typev1.JournalHead)
			s.w.Decode(s.head, m)
			s.head = s.w.Sign(s.w.Cosigner, m)
		}, theHead},
		{"an entry cut off", func(s *scribe) { s.entries = s.entries[:len(s.entries)-1] }, theLast},
		{"all but three cut off", func(s *scribe) { s.entries = s.entries[:3] }, func(uint64) uint64 { return 4 }},
		{"an entry again", func(s *scribe) { s.entries = append(s.entries, s.entries[len(s.entries)-1]) }, afterTheLast},
		{"an entry added", func(s *scribe) {
			head := s.head
			s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_FREEZE, Scope: typev1.Scope_SCOPE_WALLET, FreezeId: "added"})
			s.head = head
		}, afterTheLast},
		{"a bit changed in the last entry", func(s *scribe) { s.entries[len(s.entries)-1][20] ^= 1 }, theLast},
		{"another caller in the second entry", func(s *scribe) {
			e := new(typev1.Entry)
			if err := proto.Unmarshal(s.entries[1], e); err != nil {
				s.t.Fatal(err)
			}
			e.Caller = "owners/somebody"
			s.entries[1], _ = proto.MarshalOptions{Deterministic: true}.Marshal(e)
		}, func(uint64) uint64 { return 2 }},
		{"another last entry", func(s *scribe) {
			e := new(typev1.Entry)
			last := len(s.entries) - 1
			if err := proto.Unmarshal(s.entries[last], e); err != nil {
				s.t.Fatal(err)
			}
			e.Caller = "owners/somebody"
			s.entries[last], _ = proto.MarshalOptions{Deterministic: true}.Marshal(e)
		}, theLast},
		{"two entries swapped", func(s *scribe) { s.entries[3], s.entries[4] = s.entries[4], s.entries[3] }, func(uint64) uint64 { return 4 }},
		{"another wallet's head", func(s *scribe) {
			m := new(typev1.JournalHead)
			s.w.Decode(s.head, m)
			m.Wallet = s.other.Name
			s.head = s.w.Sign(s.w.Ledger, m)
		}, theHead},
		{"the head of an installation of the same name", func(s *scribe) {
			m := new(typev1.JournalHead)
			s.w.Decode(s.head, m)
			s.head = evidencetest.New(s.t).Sign(s.w.Key("ledger of a stranger"), m)
		}, theHead},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t).write()
			want := row.want(uint64(len(s.entries)))
			row.edit(s)
			_, err := s.verify()
			var bad *client.JournalError
			if !errors.As(err, &bad) || bad.Entry != want {
				t.Errorf("%v, want entry %d", err, want)
			}
		})
	}
}

// TestJournalSeen refuses a journal that the ledger has cut short or written anew, and signed a new head for: whoever has seen an entry
// of the old one knows, unless an operator's statement in the journal accepts its loss.
func TestJournalSeen(t *testing.T) {
	for _, row := range []struct {
		name string
		seen func(s *scribe) (entry uint64, hash []byte)
		want func(last uint64) uint64 // nil: it verifies
	}{
		{"none", func(*scribe) (uint64, []byte) { return 0, nil }, nil},
		{"its first entry", func(s *scribe) (uint64, []byte) { return 1, evidence.EntryHash(s.entries[0]).Bytes() }, nil},
		{"its last entry", func(s *scribe) (uint64, []byte) { return uint64(len(s.entries)), s.previous }, nil},
		{"the entry after it", func(s *scribe) (uint64, []byte) { return uint64(len(s.entries)) + 1, s.previous }, afterTheLast},
		{"one far beyond it", func(s *scribe) (uint64, []byte) { return 1 << 40, s.previous }, afterTheLast},
		{"one whose loss the operator has accepted", func(*scribe) (uint64, []byte) { return 99, bytes.Repeat([]byte{9}, 32) }, nil},
		{"another of the number whose loss was accepted", func(*scribe) (uint64, []byte) { return 99, bytes.Repeat([]byte{8}, 32) }, afterTheLast},
		{"another third entry", func(s *scribe) (uint64, []byte) { return 3, s.previous }, func(uint64) uint64 { return 3 }},
		{"another last entry", func(s *scribe) (uint64, []byte) {
			return uint64(len(s.entries)), evidence.EntryHash(s.entries[0]).Bytes()
		}, theLast},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t).write()
			j := &client.Journal{Wallet: s.w.Name, Entries: s.entries, Head: s.head}
			j.Seen, j.SeenHash = row.seen(s)
			err := j.Verify(s.w.Installation)
			if row.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var bad *client.JournalError
			want := row.want(uint64(len(s.entries)))
			if !errors.As(err, &bad) || bad.Entry != want || client.ReasonOf(err) != typev1.Reason_REASON_LEDGER_BEHIND {
				t.Errorf("%v, want entry %d, LEDGER_BEHIND", err, want)
			}
		})
	}
}

// TestJournalAfterRotation verifies a journal whose statements are under keys that have been replaced since.
func TestJournalAfterRotation(t *testing.T) {
	s := newScribe(t).write()
	ledger, operator := s.w.Key("ledger 2"), s.w.Key("operator 2")
	next, err := evidence.Succeed(s.w.Installation, s.w.Successor(func(i *typev1.Installation) {
		for _, k := range i.GetServiceKeys() {
			k.Retired = true
		}
		i.ServiceKeys = append(i.ServiceKeys,
			&typev1.ServiceKey{Purpose: typev1.Purpose_PURPOSE_COSIGNER, PublicKey: evidencetest.Public(s.w.Key("cosigner 2"))},
			&typev1.ServiceKey{Purpose: typev1.Purpose_PURPOSE_POLICY, PublicKey: evidencetest.Public(s.w.Key("policy 2"))},
			&typev1.ServiceKey{Purpose: typev1.Purpose_PURPOSE_LEDGER, PublicKey: evidencetest.Public(ledger)})
		i.OperatorKeys = [][]byte{evidencetest.Public(operator)}
	}))
	if err != nil {
		t.Fatal(err)
	}
	verify := func(earlier ...*evidence.Installation) error {
		_, err := client.VerifyJournal(next, s.w.Name, s.entries, s.head, earlier...)
		return err
	}
	if verify(s.w.Installation) == nil {
		t.Error("a head under the retired key verified")
	}
	m := new(typev1.JournalHead)
	s.w.Decode(s.head, m)
	s.head = s.w.Sign(ledger, m)
	if err := verify(s.w.Installation); err != nil {
		t.Error(err)
	}
	var bad *client.JournalError
	if err := verify(); !errors.As(err, &bad) || bad.Entry != entryDeposit {
		t.Errorf("without the file that names the old operator key: got %v", err)
	}
	if verify(evidencetest.New(t).Installation) == nil {
		t.Error("a file that is not the predecessor was taken for it")
	}
}
