package client_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// transaction names the transaction that carries a payment's message on Solana: by the signature of who pays its fee.
func (s *scribe) transaction(p *evidencetest.Payment) []byte {
	if p.Solana.Layout == solana.X402 {
		return ed25519.Sign(s.w.Key("fee payer"), p.MessageBytes)
	}
	return p.Settle()
}

// opens records the account, and guard rails that let the shop be paid on Solana.
func (s *scribe) opens() {
	s.t.Helper()
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_ACCOUNT, Caller: s.w.Owner, Statements: []*typev1.Envelope{s.w.Registration, s.w.Record, s.w.Claim},
	})
	rails := s.w.SetGuardRails(evidencetest.AllowSolana(s.shop))
	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_GUARD_RAILS, Statements: []*typev1.Envelope{rails}})
}

// pays records an attempt on Solana whose message has a memo of its own.
func (s *scribe) pays(id, memo string, units int64, x402 *typev1.X402Context) *evidencetest.Payment {
	s.t.Helper()
	p := s.w.Payment(evidencetest.PaymentConfig{
		ID: id, To: s.shop, Rail: s.rail, Units: units, Now: s.now, Deadline: s.now.Truncate(time.Hour).Add(5 * time.Hour),
		EditIntent:  func(m *typev1.Intent) { m.X402 = x402 },
		EditSolana:  func(m *solana.Message) { m.Memo = memo },
		EditRequest: func(m *typev1.Request) { m.Memo = memo },
	})
	return s.record(p, typev1.EntryKind_ENTRY_KIND_PAYMENT, units, nil, authorized)
}

// fails records that a transaction landed with an error.
func (s *scribe) fails(p *evidencetest.Payment, units int64) {
	s.t.Helper()
	s.available, s.held, s.counted = s.available+units, s.held-units, s.counted-units
	m := new(typev1.DeadMessage)
	s.w.Decode(s.dead(p), m)
	m.Transaction, m.Slot = s.transaction(p), 290_000_300
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: p.Name, PaymentState: failed, Asset: s.asset(), Units: resource.FormatUnits(units),
		Statements: []*typev1.Envelope{s.w.Sign(s.w.Ledger, m)},
	})
}

// moves records what came in or left; change is the balance that it leaves.
func (s *scribe) moves(units, available int64, transaction []byte, payment string) {
	s.t.Helper()
	kind := typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT
	if units < 0 {
		kind, units = typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW, -units
	}
	s.available = available
	s.add(&typev1.Entry{
		Kind: kind, Asset: s.asset(), Units: resource.FormatUnits(units), Payment: payment,
		Statements: []*typev1.Envelope{s.w.Sign(s.w.Ledger, &typev1.ChainTransfer{
			Installation: s.w.Installation.ID(), Wallet: s.w.Name, Asset: s.asset(), Units: resource.FormatUnits(units),
			Outflow: kind == typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW, Transaction: transaction, Slot: 290_000_100, Payment: payment,
			TimeMillis: s.now.UnixMilli(),
		})},
	})
}

// transferred is a transaction of somebody else's.
func transferred(b byte) []byte { return bytes.Repeat([]byte{b}, 64) }

// The entries of writeChain's journal.
const (
	chainAccount = iota + 1
	chainRails
	chainDeposit
	chainTransfer
	chainTransferSettled
	chainBought
	chainBoughtSettled
	chainFirst
	chainFirstDied
	chainSecond
	chainSecondFailed
	chainLate
	chainLateDied
	chainLateLanded
	chainHeld
	chainFreeze
	chainExit
	chainMadeGood
	chainHeldSettled
	chainLast = chainHeldSettled
)

// writeChain writes a journal of a wallet that pays on Solana.
func (s *scribe) writeChain() *scribe {
	s.t.Helper()
	s.rail = typev1.Rail_RAIL_SOLANA
	s.opens()
	s.moves(100*usd, 100*usd, transferred(1), "")
	s.settle(s.pays("transfer", "a", 2*usd, nil), 2*usd)

	// A ledger that nobody told the wallet's signature over what a seller sent leaves it out.
	bought := s.pays("bought", "b", usd, &typev1.X402Context{
		Method: "GET", Scheme: "https", Host: "api.example", Path: "/", UrlDigest: make([]byte, 32), BodyDigest: make([]byte, 32),
	})
	s.held -= usd
	s.add(&typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: bought.Name, PaymentState: settled, Asset: s.asset(), Units: "1000000",
		Statements: []*typev1.Envelope{s.settlement(bought, usd)},
	})

	s.die(s.pays("twice", "c", 3*usd, nil), 3*usd, ready)
	s.fails(s.pays("twice", "d", 3*usd, nil), 3*usd)

	// A message that was called dead, and was not.
	late := s.pays("late", "e", 4*usd, nil)
	s.die(late, 4*usd, ready)
	s.moves(-4*usd, 93*usd, s.transaction(late), late.Name)

	held := s.pays("held", "f", 4*usd, nil)
	s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_FREEZE, FreezeId: "f1", Scope: typev1.Scope_SCOPE_WALLET, Caller: s.w.Owner})
	s.moves(-91*usd, 0, transferred(2), "") // Of 93 dollars, 4 of which are held.
	s.moves(20*usd, 18*usd, transferred(3), "")
	s.settle(held, 4*usd)
	s.sign()
	return s
}

// TestJournalOnChain verifies an honest journal of a wallet on Solana, and reports what left past the ledger.
func TestJournalOnChain(t *testing.T) {
	s := newScribe(t).writeChain()
	if len(s.entries) != chainLast {
		t.Fatalf("the journal has %d entries, the constants name %d", len(s.entries), chainLast)
	}
	r, err := s.verify()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Balances, map[string]client.Balance{s.asset(): {Asset: s.asset(), Available: 18 * usd}}; !cmp.Equal(got, want) {
		t.Errorf("got balances %+v, want %+v", got, want)
	}
	if r.Payments[settled] != 3 || r.Payments[failed] != 1 || r.Payments[ready] != 1 || r.Incoming != 0 {
		t.Errorf("got %+v", r)
	}
	late := s.w.Payment(evidencetest.PaymentConfig{
		ID: "late", To: s.shop, Rail: s.rail, Units: 4 * usd, Now: s.now, Deadline: s.now.Truncate(time.Hour).Add(5 * time.Hour),
		EditSolana: func(m *solana.Message) { m.Memo = "e" }, EditRequest: func(m *typev1.Request) { m.Memo = "e" },
	})
	want := []client.Outflow{
		{Entry: chainLateLanded, Asset: s.asset(), Units: 4 * usd, Transaction: [64]byte(late.Settle()), Slot: 290_000_100, Payment: late.Name},
		{Entry: chainExit, Asset: s.asset(), Units: 91 * usd, Transaction: [64]byte(transferred(2)), Slot: 290_000_100},
	}
	if diff := cmp.Diff(r.Outflows, want); diff != "" {
		t.Errorf("outflows, got (-) and want (+):\n%s", diff)
	}
}

// TestJournalOnChainRefuses lets the ledger be dishonest at one entry.
func TestJournalOnChainRefuses(t *testing.T) {
	settlement := func(edit func(s *scribe, m *typev1.Settlement)) func(*scribe, *typev1.Entry) {
		return func(s *scribe, e *typev1.Entry) {
			m := new(typev1.Settlement)
			s.w.Decode(e.GetStatements()[0], m)
			edit(s, m)
			e.Statements[0] = s.w.SignLoose(s.w.Ledger, m)
		}
	}
	dead := func(edit func(s *scribe, m *typev1.DeadMessage)) func(*scribe, *typev1.Entry) {
		return func(s *scribe, e *typev1.Entry) {
			m := new(typev1.DeadMessage)
			s.w.Decode(e.GetStatements()[0], m)
			edit(s, m)
			e.Statements[0] = s.w.SignLoose(s.w.Ledger, m)
		}
	}
	transfer := func(edit func(s *scribe, m *typev1.ChainTransfer)) func(*scribe, *typev1.Entry) {
		return func(s *scribe, e *typev1.Entry) {
			m := new(typev1.ChainTransfer)
			s.w.Decode(e.GetStatements()[0], m)
			edit(s, m)
			e.Statements[0] = s.w.SignLoose(s.w.Ledger, m)
		}
	}
	for _, row := range []struct {
		name string
		at   uint64
		edit func(s *scribe, e *typev1.Entry)
		want string
	}{
		{"a settlement by a transaction that nobody signed", chainTransferSettled, settlement(func(_ *scribe, m *typev1.Settlement) {
			m.Transaction[9] ^= 1
		}), "settlement.transaction"},
		{"a settlement by another payment's transaction", chainHeldSettled, settlement(func(s *scribe, m *typev1.Settlement) {
			first := new(typev1.Settlement)
			e := s.entry(chainTransferSettled)
			s.w.Decode(e.GetStatements()[0], first)
			m.Transaction = first.GetTransaction()
		}), "settlement.transaction"},
		{"a seller's settlement by the wallet's signature", chainBoughtSettled, settlement(func(s *scribe, m *typev1.Settlement) {
			m.Transaction = ed25519.Sign(s.w.GroupPrivate, s.entry(chainBought).GetMessage())
		}), "settlement.transaction"},
		{"a settlement without a transaction", chainTransferSettled, settlement(func(_ *scribe, m *typev1.Settlement) {
			m.Transaction, m.Slot = nil, 0
		}), "statements"},
		{"a signature that is not the wallet's", chainTransferSettled, func(_ *scribe, e *typev1.Entry) {
			e.Signature[3] ^= 1
		}, "entry.signature"},
		{"a settlement of another message", chainTransferSettled, settlement(func(_ *scribe, m *typev1.Settlement) {
			m.MessageDigest[0] ^= 1
		}), "message_digest"},
		{"a settlement to another recipient", chainTransferSettled, settlement(func(s *scribe, m *typev1.Settlement) {
			m.Recipient = s.other.GroupKey[:]
		}), "settlement"},
		{"units that stay held after they were paid", chainTransferSettled, func(_ *scribe, e *typev1.Entry) {
			e.Held = "2000000"
		}, "held"},
		{"a failure without a transaction", chainSecondFailed, dead(func(_ *scribe, m *typev1.DeadMessage) {
			m.Transaction, m.Slot = nil, 0
		}), "payment_state"},
		{"a failure by a transaction that nobody signed", chainSecondFailed, dead(func(_ *scribe, m *typev1.DeadMessage) {
			m.Transaction = transferred(9)
		}), "dead-message.transaction"},
		{"a failure by the message before", chainSecondFailed, dead(func(s *scribe, m *typev1.DeadMessage) {
			m.Transaction = ed25519.Sign(s.w.GroupPrivate, s.entry(chainFirst).GetMessage())
		}), "dead-message.transaction"},
		{"a failure after which the payment goes on", chainSecondFailed, func(_ *scribe, e *typev1.Entry) {
			e.PaymentState = ready
		}, "payment_state"},
		{"a dead message with a transaction", chainFirstDied, dead(func(s *scribe, m *typev1.DeadMessage) {
			m.Transaction, m.Slot = ed25519.Sign(s.w.GroupPrivate, s.entry(chainFirst).GetMessage()), 1
		}), "payment_state"},
		{"the death of another message", chainFirstDied, dead(func(_ *scribe, m *typev1.DeadMessage) {
			m.MessageDigest[0] ^= 1
		}), "message_digest"},
		{"the dead message pinned again", chainSecond, func(s *scribe, e *typev1.Entry) {
			first := s.entry(chainFirst)
			e.Message, e.Statements = first.GetMessage(), first.GetStatements()
		}, "entry.message"},
		{"a deposit under another key", chainDeposit, func(s *scribe, e *typev1.Entry) {
			m := new(typev1.ChainTransfer)
			s.w.Decode(e.GetStatements()[0], m)
			e.Statements[0] = s.w.Sign(s.w.Operator, m)
		}, "signatures"},
		{"a deposit of another installation", chainDeposit, transfer(func(_ *scribe, m *typev1.ChainTransfer) {
			m.Installation = "elsewhere"
		}), "wallet"},
		{"another wallet's deposit", chainDeposit, transfer(func(s *scribe, m *typev1.ChainTransfer) {
			m.Wallet = s.other.Name
		}), "wallet"},
		{"a deposit of another amount", chainDeposit, transfer(func(_ *scribe, m *typev1.ChainTransfer) { m.Units = "1" }), "units"},
		{"a deposit of another token", chainDeposit, func(_ *scribe, e *typev1.Entry) { e.Asset = resource.Tokens()[1].Asset() }, "units"},
		{"an outflow told as a deposit", chainExit, func(_ *scribe, e *typev1.Entry) {
			e.Kind = typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT
		}, "outflow"},
		{"a deposit twice", chainMadeGood, transfer(func(_ *scribe, m *typev1.ChainTransfer) {
			m.Transaction = transferred(1)
		}), "chain-transfer.transaction"},
		{"an outflow that was a settlement", chainExit, transfer(func(s *scribe, m *typev1.ChainTransfer) {
			m.Transaction = ed25519.Sign(s.w.GroupPrivate, s.entry(chainTransfer).GetMessage())
		}), "chain-transfer.transaction"},
		{"an outflow of a payment that never died", chainLateLanded, func(s *scribe, e *typev1.Entry) {
			e.Payment = s.w.Name + "/payments/transfer"
			transfer(func(_ *scribe, m *typev1.ChainTransfer) { m.Payment = e.GetPayment() })(s, e)
		}, "called dead"},
		{"an outflow of a payment that nobody asked for", chainExit, func(s *scribe, e *typev1.Entry) {
			e.Payment = s.w.Name + "/payments/other"
			transfer(func(_ *scribe, m *typev1.ChainTransfer) { m.Payment = e.GetPayment() })(s, e)
		}, "called dead"},
		{"an outflow of a dead message by a transaction that nobody signed", chainLateLanded, transfer(func(_ *scribe, m *typev1.ChainTransfer) {
			m.Transaction = transferred(7)
		}), "called dead"},
		{"an outflow whose payment the statement does not name", chainLateLanded, transfer(func(_ *scribe, m *typev1.ChainTransfer) {
			m.Payment = ""
		}), "chain-transfer.payment"},
		{"an outflow without a statement", chainExit, func(_ *scribe, e *typev1.Entry) { e.Statements = nil }, "statements"},
		{"what was missing, available again", chainExit, func(_ *scribe, e *typev1.Entry) { e.Available = "2000000" }, "available"},
		{"a deposit that makes good for nothing", chainMadeGood, func(_ *scribe, e *typev1.Entry) {
			e.Available = "20000000"
		}, "available"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t)
			s.at, s.edit = row.at, row.edit
			s.writeChain()
			_, err := s.verify()
			var bad *client.JournalError
			if !errors.As(err, &bad) || bad.Entry != row.at || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want entry %d and %q", err, row.at, row.want)
			}
		})
	}
}

// entry is one that was written before.
func (s *scribe) entry(number int) *typev1.Entry {
	s.t.Helper()
	e := new(typev1.Entry)
	if err := evidence.Unmarshal(s.entries[number-1], e); err != nil {
		s.t.Fatal(err)
	}
	return e
}

// TestJournalOnChainDeficit refuses a payment of what has left already, and deposits that fit no number.
func TestJournalOnChainDeficit(t *testing.T) {
	for _, row := range []struct {
		name  string
		write func(s *scribe)
		want  string
	}{
		{"paid from what has left", func(s *scribe) {
			s.moves(-100*usd, 0, transferred(2), "")
			s.moves(usd, usd, transferred(3), "")
			s.pays("p", "a", 2*usd, nil)
		}, "more than the wallet had"},
		{"more than fits", func(s *scribe) {
			s.moves(math.MaxInt64, 0, transferred(2), "")
		}, "more than fits"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t)
			s.rail = typev1.Rail_RAIL_SOLANA
			s.opens()
			s.moves(100*usd, 100*usd, transferred(1), "")
			s.edit = func(_ *scribe, e *typev1.Entry) { e.Available = "0" } // A negative amount has no text.
			s.at = uint64(len(s.entries)) + 3
			row.write(s)
			s.sign()
			_, err := s.verify()
			var bad *client.JournalError
			if !errors.As(err, &bad) || bad.Entry != uint64(len(s.entries)) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want entry %d and %q", err, len(s.entries), row.want)
			}
		})
	}
}

// TestJournalOnChainRedemption: the redemption account's key is an address on a chain like any other, and what it was paid there is
// nothing that the operator redeems.
func TestJournalOnChainRedemption(t *testing.T) {
	for _, rail := range []typev1.Rail{typev1.Rail_RAIL_BOOK, typev1.Rail_RAIL_SOLANA} {
		s := newScribe(t)
		i := s.w.Installation
		s.rail, s.shop = rail, i.RedemptionAccount()
		s.opens()
		var p *evidencetest.Payment
		if rail == typev1.Rail_RAIL_SOLANA {
			s.moves(100*usd, 100*usd, transferred(1), "")
			p = s.pays("out", "a", usd, nil)
		} else {
			s.available = 100 * usd
			s.add(&typev1.Entry{
				Kind: typev1.EntryKind_ENTRY_KIND_DEPOSIT, Asset: s.asset(), Units: "100000000",
				Statements: []*typev1.Envelope{s.w.Sign(s.w.Operator, &typev1.Deposit{
					Installation: i.ID(), Wallet: s.w.Name, DepositId: "d1", Asset: s.asset(), Units: "100000000",
				})},
			})
			p = s.attempt(typev1.EntryKind_ENTRY_KIND_PAYMENT, "out", usd, nil, authorized)
		}
		s.settle(p, usd)
		s.add(&typev1.Entry{
			Kind: typev1.EntryKind_ENTRY_KIND_REDEMPTION, Payment: p.Name, PaymentState: settled,
			Statements: []*typev1.Envelope{s.w.Sign(s.w.Operator, &typev1.Redemption{Installation: i.ID(), Wallet: s.w.Name, Payment: p.Name})},
		})
		s.sign()
		_, err := s.verify()
		var bad *client.JournalError
		refused := errors.As(err, &bad) && bad.Entry == uint64(len(s.entries)) && strings.Contains(err.Error(), "redemption.payment")
		if onChain := rail == typev1.Rail_RAIL_SOLANA; onChain && !refused || !onChain && err != nil {
			t.Errorf("on %v: got %v", rail, err)
		}
	}
}

// TestExportOnChain: a line of an export names the transaction that its statement names, and the whole verifies from the lines alone.
func TestExportOnChain(t *testing.T) {
	s := newScribe(t).writeChain()
	lines := []string{`{"format":"halfkey.journal.v1","installation":"` + s.w.Installation.ID() + `","wallet":"` + s.w.Name + `"}`}
	named := make(map[int]string)
	for i, b := range s.entries {
		e, err := client.NewExportedEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
		if e.Transaction != "" && e.Slot != 0 {
			named[i+1] = e.Transaction
		}
	}
	head, err := evidence.Marshal(s.head)
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, `{"head":"`+base64.StdEncoding.EncodeToString(head)+`"}`)
	text := func(b []byte) string { return solana.Signature(b).String() }
	signed := func(number int) string {
		return text(ed25519.Sign(s.w.GroupPrivate, s.entry(number).GetMessage()))
	}
	want := map[int]string{
		chainDeposit: text(transferred(1)), chainTransferSettled: signed(chainTransfer), chainSecondFailed: signed(chainSecond),
		chainBoughtSettled: text(ed25519.Sign(s.w.Key("fee payer"), s.entry(chainBought).GetMessage())),
		chainLateLanded:    signed(chainLate), chainExit: text(transferred(2)), chainMadeGood: text(transferred(3)),
		chainHeldSettled: signed(chainHeld),
	}
	if diff := cmp.Diff(named, want); diff != "" {
		t.Errorf("transactions by entry, got (-) and want (+):\n%s", diff)
	}
	verify := func(lines []string) error {
		r, err := client.VerifyExport(s.w.Installation, strings.NewReader(strings.Join(lines, "\n")+"\n"))
		if err == nil && len(r.Outflows) != 2 {
			t.Errorf("got outflows %+v, want 2", r.Outflows)
		}
		return err
	}
	if err := verify(lines); err != nil {
		t.Error(err)
	}
	lines[chainExit] = strings.Replace(lines[chainExit], text(transferred(2)), text(transferred(4)), 1)
	var line *client.ExportError
	if err := verify(lines); !errors.As(err, &line) || line.Entry != chainExit {
		t.Errorf("with another transaction shown: got %v, want a refusal of the line of entry %d", err, chainExit)
	}
}

// TestJournalOnChainRecount: what waited for the chain when the operator set the wallet's time back counts from then on in the present.
func TestJournalOnChainRecount(t *testing.T) {
	for _, row := range []struct {
		name    string
		counted int64 // In the day of the present, by the ledger.
		refused bool
	}{
		{name: "it counts in the present", counted: 4 * usd},
		{name: "it is forgotten", refused: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t)
			s.rail = typev1.Rail_RAIL_SOLANA
			i := s.w.Installation
			s.opens()
			s.moves(100*usd, 100*usd, transferred(1), "")
			s.now = s.now.Add(48 * time.Hour) // The clock has jumped ahead.
			s.pays("ahead", "a", 4*usd, nil)
			s.now = s.now.Add(-48 * time.Hour)
			s.add(&typev1.Entry{
				Kind: typev1.EntryKind_ENTRY_KIND_SET_TIME,
				Statements: []*typev1.Envelope{s.w.Sign(s.w.Operator, &typev1.SetTime{
					Installation: i.ID(), Wallet: s.w.Name, StatementId: "t1", TimeMillis: s.now.UnixMilli(),
				})},
			})
			s.counted = row.counted
			s.pays("now", "b", usd, nil)
			s.sign()
			_, err := s.verify()
			var bad *client.JournalError
			refused := errors.As(err, &bad) && bad.Entry == uint64(len(s.entries)) && strings.Contains(err.Error(), "results")
			if !row.refused && err != nil || row.refused && !refused {
				t.Errorf("got %v, want refused by its results: %v", err, row.refused)
			}
		})
	}
}
