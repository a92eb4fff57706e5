package client_test

import (
	"errors"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestJournalPaid lets the ledger forget what was paid before for an HTTP request: the entry of the payment that it then let pass is
// named, and so is one that it refused by a history that the journal does not have.
func TestJournalPaid(t *testing.T) {
	for _, row := range []struct {
		name    string
		settles bool
		// The second payment's.
		recipient byte
		units     int64
		edit      func(*typev1.Entry)
		refused   bool
	}{
		{name: "the same recipient for the same price", settles: true, units: usd},
		{name: "another recipient for more, where the first did not settle", recipient: 1, units: 2 * usd},
		{name: "another recipient", settles: true, recipient: 1, units: usd, refused: true},
		{name: "a price that rose", settles: true, units: 2 * usd, refused: true},
		{name: "a recipient that never was", units: usd, edit: func(e *typev1.Entry) {
			e.Results[1].LastRecipient = make([]byte, 32)
		}, refused: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t)
			other := evidencetest.Key32(s.w.Key("another shop"))
			s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_ACCOUNT, Caller: s.w.Owner, Statements: []*typev1.Envelope{s.w.Registration, s.w.Record, s.w.Claim}})
			rails := s.w.SetGuardRails(func(doc *typev1.GuardRails) {
				evidencetest.Allow(s.shop, other)(doc)
				doc.X402 = &typev1.X402Rules{UnknownHost: red, Hosts: []*typev1.X402Host{
					{Host: "api.example", ChangedRecipient: red, DriftPercent: 10, Drifted: red},
				}}
			})
			s.add(&typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_GUARD_RAILS, Statements: []*typev1.Envelope{rails}})
			s.available = 100 * usd
			s.add(&typev1.Entry{
				Kind: typev1.EntryKind_ENTRY_KIND_DEPOSIT, Asset: s.asset(), Units: "100000000",
				Statements: []*typev1.Envelope{s.w.Sign(s.w.Operator, &typev1.Deposit{
					Installation: s.w.Installation.ID(), Wallet: s.w.Name, DepositId: "d1", Asset: s.asset(), Units: "100000000",
				})},
			})
			pays := func(id string, to [32]byte, units int64) *evidencetest.Payment {
				p := s.w.Payment(evidencetest.PaymentConfig{ID: id, To: to, Units: units, Now: s.now, EditIntent: func(m *typev1.Intent) {
					m.X402 = &typev1.X402Context{
						Method: "GET", Scheme: "https", Host: "api.example", Path: "/", UrlDigest: make([]byte, 32), BodyDigest: make([]byte, 32),
					}
				}})
				return s.record(p, typev1.EntryKind_ENTRY_KIND_PAYMENT, units, nil, authorized)
			}
			first := pays("first", s.shop, usd)
			if row.settles {
				s.settle(first, usd)
				if row.units == usd && row.recipient == 0 {
					s.lastPaid = first // An honest ledger's results name whom it paid.
				}
			}
			to := s.shop
			if row.recipient != 0 {
				to = other
			}
			s.at, s.edit = uint64(len(s.entries))+1, func(_ *scribe, e *typev1.Entry) {
				if row.edit != nil {
					row.edit(e)
				}
			}
			pays("second", to, row.units)
			s.sign()
			_, err := s.verify()
			var refused *client.JournalError
			if !row.refused && err != nil || row.refused && (!errors.As(err, &refused) || refused.Entry != s.at) {
				t.Errorf("got %v, want refused at entry %d: %v", err, s.at, row.refused)
			}
		})
	}
}
