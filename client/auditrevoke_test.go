package client_test

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// revocation is an entry with a revocation of the request key that the wallet has now.
func (s *scribe) revocation(key ed25519.PrivateKey, abandon bool) *typev1.Entry {
	return &typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_REVOCATION, FreezeId: "r1", Scope: typev1.Scope_SCOPE_WALLET,
		Statements: []*typev1.Envelope{s.w.Sign(key, &typev1.Revocation{
			Installation: s.w.Installation.ID(), Wallet: s.w.Name, FreezeId: "r1", RequestKey: evidencetest.Public(s.w.RequestKey), Abandon: abandon,
		})},
	}
}

func (s *scribe) endOfRevocation() *typev1.Entry {
	return &typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_UNFREEZE, FreezeId: "r1", Scope: typev1.Scope_SCOPE_WALLET,
		Statements: []*typev1.Envelope{s.w.Sign(s.w.OwnerKey, &typev1.Unfreeze{
			Installation: s.w.Installation.ID(), Wallet: s.w.Name, Scope: typev1.Scope_SCOPE_WALLET, FreezeId: "r1",
		})},
	}
}

// takeOver is an entry with guard rails that name another request key.
func (s *scribe) takeOver() *typev1.Entry {
	key := s.w.Key("taken over")
	return &typev1.Entry{Kind: typev1.EntryKind_ENTRY_KIND_GUARD_RAILS, Statements: []*typev1.Envelope{
		s.w.SetGuardRails(func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(key) }),
	}}
}

// deposited is an entry that brings money.
func (s *scribe) deposited() *typev1.Entry {
	s.available += usd
	return &typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_DEPOSIT, Asset: s.asset(), Units: "1000000",
		Statements: []*typev1.Envelope{s.w.Sign(s.w.Operator, &typev1.Deposit{
			Installation: s.w.Installation.ID(), Wallet: s.w.Name, DepositId: "late", Asset: s.asset(), Units: "1000000",
		})},
	}
}

// TestAuditRevocation: a journal that was revoked and taken over verifies, and one in which a revocation was not the owner's, or
// did not keep, convicts its ledger.
func TestAuditRevocation(t *testing.T) {
	for _, row := range []struct {
		name string
		add  func(s *scribe)
		at   uint64 // How many entries after the last one is refused; 0 is none.
		want string
	}{
		{"revoked, taken over, ended", func(s *scribe) {
			s.add(s.revocation(s.w.OwnerKey, false))
			s.add(s.takeOver())
			s.add(s.endOfRevocation())
			s.add(s.deposited())
		}, 0, ""},
		{"revoked by the agent", func(s *scribe) { s.add(s.revocation(s.w.RequestKey, false)) }, 1, "signatures"},
		{"revoked under the id of another freeze", func(s *scribe) {
			e := s.revocation(s.w.OwnerKey, false)
			e.FreezeId = "f2"
			s.add(e)
		}, 1, "freeze_id"},
		{"revoked twice", func(s *scribe) {
			s.add(s.revocation(s.w.OwnerKey, false))
			s.add(s.revocation(s.w.OwnerKey, false))
		}, 2, "freeze_id"},
		{"ended before the takeover", func(s *scribe) {
			s.add(s.revocation(s.w.OwnerKey, false))
			s.add(s.endOfRevocation())
		}, 2, "take the wallet over"},
		{"given up, and ended", func(s *scribe) {
			s.add(s.revocation(s.w.OwnerKey, true))
			s.add(s.takeOver())
			s.add(s.endOfRevocation())
		}, 3, "gave the wallet up"},
		{"money while revoked", func(s *scribe) {
			s.add(s.revocation(s.w.OwnerKey, false))
			s.add(s.deposited())
		}, 2, "revoked"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScribe(t)
			s.write()
			last := uint64(len(s.entries))
			row.add(s)
			s.sign()
			_, err := s.verify()
			if row.at == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var bad *client.JournalError
			if !errors.As(err, &bad) || bad.Entry != last+row.at || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want entry %d and %q", err, last+row.at, row.want)
			}
		})
	}
}
