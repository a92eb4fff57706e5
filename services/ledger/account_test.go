package ledger

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Registration, number 0 and record that do not name each other are pinned by nobody.
func TestOpenRefusals(t *testing.T) {
	f := start(t)
	w := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "w"})
	other := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "other"})
	resign := func(key ed25519.PrivateKey, e *typev1.Envelope, m proto.Message, edit func()) *typev1.Envelope {
		f.Decode(e, m)
		edit()
		return f.SignLoose(key, m)
	}
	record, claim := new(typev1.WalletRecord), new(typev1.GuardRails)
	for _, tt := range []struct {
		name string
		edit func(*typev1.WalletDocuments)
	}{
		{"no registration", func(d *typev1.WalletDocuments) { d.Registration = nil }},
		{"no record", func(d *typev1.WalletDocuments) { d.Record = nil }},
		{"no guard rails", func(d *typev1.WalletDocuments) { d.GuardRails = nil }},
		{"two guard rails", func(d *typev1.WalletDocuments) { d.GuardRails = append(d.GuardRails, d.GetGuardRails()[0]) }},
		{"another's registration", func(d *typev1.WalletDocuments) { d.Registration = other.Registration }},
		{"another's record", func(d *typev1.WalletDocuments) { d.Record = other.Record }},
		{"another's guard rails", func(d *typev1.WalletDocuments) { d.GuardRails[0] = other.Claim }},
		{"record under the policy key", func(d *typev1.WalletDocuments) { d.Record = resign(f.Policy, w.Record, record, func() {}) }},
		{"the co-signer's own group key", func(d *typev1.WalletDocuments) {
			d.Record = resign(f.Cosigner, w.Record, record, func() { record.GroupKey = other.GroupKey[:] })
		}},
		{"another handle", func(d *typev1.WalletDocuments) {
			d.Record = resign(f.Cosigner, w.Record, record, func() { record.Handle = "else" })
		}},
		{"the gateway's own number 0", func(d *typev1.WalletDocuments) {
			mallory := f.Key("mallory")
			d.GuardRails[0] = resign(mallory, w.Claim, claim, func() { claim.OwnerKeys = [][]byte{evidencetest.Public(mallory)} })
		}},
		{"number 0 unsigned by its owner", func(d *typev1.WalletDocuments) { d.GuardRails[0] = resign(w.RequestKey, w.Claim, claim, func() {}) }},
		{"number 1 as 0", func(d *typev1.WalletDocuments) {
			d.GuardRails[0] = resign(w.OwnerKey, w.Claim, claim, func() { claim.Number = 1 })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := documents(w)
			tt.edit(d)
			f.unchanged(func() {
				_, err := f.client.OpenAccount(t.Context(), &ledgerv1.OpenAccountRequest{Documents: d})
				if err == nil {
					t.Fatal("pinned")
				}
			})
		})
	}
}

// A wallet is pinned once: by wallet, by handle, by group key.
func TestOpenOnce(t *testing.T) {
	f := start(t)
	w := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "w"})
	f.pin(w)
	f.unchanged(func() { f.pin(w) })
	refused := func(name string, other *evidencetest.Wallet, field string) {
		t.Helper()
		f.unchanged(func() {
			_, err := f.client.OpenAccount(t.Context(), &ledgerv1.OpenAccountRequest{Documents: documents(other)})
			if got := wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS, movedNo).Metadata["field"]; got != field {
				t.Errorf("%s: field %q, want %q", name, got, field)
			}
		})
	}
	key := evidencetest.Public(f.Key("group/else"))
	refused("another registration of the wallet", f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "w", GroupKey: key}), "registration")
	refused("another claim of the wallet", f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "w", Owner: "else"}), "record")
	refused("the handle", f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "v", Handle: "w"}), "handle")
	refused("the group key", f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "v", GroupKey: w.GroupKey[:]}), "group_key")
	redemptionKey := f.Installation.RedemptionAccount()
	refused("the redemption account", f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "v", GroupKey: redemptionKey[:]}), "group_key")
	// Two wallets race for one handle: one of them is pinned.
	var wait sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		racer := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: fmt.Sprint("race", i), Handle: "race"})
		wait.Go(func() {
			_, errs[i] = f.client.OpenAccount(t.Context(), &ledgerv1.OpenAccountRequest{Documents: documents(racer)})
		})
	}
	wait.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d wallets have one handle", won)
	}
}

// Guard rails that are refused leave the head as it is.
func TestGuardRailRefusals(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	second, replaced := payer.Head, payer.OwnerKey
	owner := f.Key("owner/next")
	f.setGuardRails(payer, func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(owner)} })
	payer.OwnerKey = owner
	next := func(edit func(*typev1.GuardRails)) *typev1.Envelope {
		return f.SignLoose(payer.OwnerKey, payer.NextGuardRails(edit))
	}
	unknown := func(at func(*typev1.GuardRails) proto.Message) *typev1.Envelope {
		doc := payer.NextGuardRails(nil)
		at(doc).ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01})
		return f.SignLoose(payer.OwnerKey, doc)
	}
	unsigned := next(nil)
	unsigned.Signatures = nil
	const (
		badS    = typev1.Reason_REASON_BAD_STATEMENT
		refused = typev1.Reason_REASON_GUARD_RAILS_REFUSED
		changed = typev1.Reason_REASON_GUARD_RAILS_CHANGED
		other   = typev1.Reason_REASON_EVIDENCE_MISMATCH
	)
	for _, tt := range []struct {
		name string
		e    *typev1.Envelope
		want typev1.Reason
	}{
		{"none", nil, typev1.Reason_REASON_EVIDENCE_MISSING},
		{"unsigned", unsigned, badS},
		{"unknown field", unknown(func(d *typev1.GuardRails) proto.Message { return d }), badS},
		{"unknown field in a limit", unknown(func(d *typev1.GuardRails) proto.Message { return d.GetLimits()[0] }), badS},
		{"unknown field in the recipients", unknown(func(d *typev1.GuardRails) proto.Message { return d.GetRecipients() }), badS},
		{"under the request key", f.Sign(payer.RequestKey, payer.NextGuardRails(nil)), badS},
		{"under the operator's key", f.Sign(f.Operator, payer.NextGuardRails(nil)), badS},
		{"under a replaced key", f.Sign(replaced, payer.NextGuardRails(nil)), badS},
		{"under a key that it brings itself", func() *typev1.Envelope {
			k := f.Key("mallory")
			return f.SignLoose(k, payer.NextGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(k)} }))
		}(), badS},
		{"another head", next(func(d *typev1.GuardRails) { d.Replaces = [][]byte{second.Digest.Bytes()} }), changed},
		{
			"used number, other content",
			next(func(d *typev1.GuardRails) { d.Number = payer.Head.Document.GetNumber(); d.TimeZone = "Asia/Tokyo" }),
			typev1.Reason_REASON_ALREADY_EXISTS,
		},
		{"lower number", next(func(d *typev1.GuardRails) { d.Number = 1; d.TimeZone = "Asia/Tokyo" }), changed},
		{"another wallet", next(func(d *typev1.GuardRails) { d.Wallet = payee.Name }), badS},
		// Two wallets of one owner share its key, so what refuses is the chain of heads.
		{"another wallet of the same owner", f.SignLoose(payee.OwnerKey, payer.NextGuardRails(func(d *typev1.GuardRails) {
			d.Wallet, d.OwnerKeys = payee.Name, [][]byte{evidencetest.Public(payee.OwnerKey)}
		})), changed},
		{"another installation", next(func(d *typev1.GuardRails) { d.Installation = "else" }), other},
		{"another owner", next(func(d *typev1.GuardRails) { d.Owner = "owners/else" }), other},
		{"no limits", next(func(d *typev1.GuardRails) { d.Limits = nil }), refused},
		{"no limit per payment that denies", next(func(d *typev1.GuardRails) { d.Limits = d.GetLimits()[1:] }), refused},
		{"no limit per window", next(func(d *typev1.GuardRails) { d.Limits = d.GetLimits()[:1] }), refused},
		{"unknown zone", next(func(d *typev1.GuardRails) { d.TimeZone = "Mars/Olympus" }), refused},
		{"malformed amount", next(func(d *typev1.GuardRails) { d.Limits[0].Amount = "1e6" }), refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.unchanged(func() {
				_, err := f.client.SetGuardRails(t.Context(), &ledgerv1.SetGuardRailsRequest{GuardRails: tt.e})
				wantReason(t, err, tt.want, movedNo)
			})
		})
	}
}

// A ledger that is behind is led forward, version by version, across a change of owner keys; a repeat is acknowledged.
func TestGuardRailsLeadForward(t *testing.T) {
	f := start(t)
	w := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "w"})
	f.pin(w)
	next := f.Key("owner/next")
	versions := []*typev1.Envelope{
		w.SetGuardRails(nil),
		w.SetGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(next)} }),
	}
	w.OwnerKey = next
	versions = append(versions, w.SetGuardRails(nil))
	set := func(e *typev1.Envelope) (*typev1.Acknowledgement, error) {
		resp, err := f.client.SetGuardRails(t.Context(), &ledgerv1.SetGuardRailsRequest{GuardRails: e})
		if err != nil {
			return nil, err
		}
		return f.acknowledged(resp.GetAcknowledgement()), nil
	}
	_, err := set(versions[2])
	wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
	for i, v := range versions {
		a, err := set(v)
		if err != nil || a.GetGuardRailsNumber() != uint64(i+1) || !evidence.EnvelopeDigest(v).Is(a.GetGuardRailsDigest()) {
			t.Fatalf("version %d: %v, %v", i+1, a, err)
		}
	}
	f.unchanged(func() {
		for _, v := range versions {
			a, err := set(v)
			if err != nil || a.GetGuardRailsNumber() != 3 || !w.Head.Digest.Is(a.GetGuardRailsDigest()) {
				t.Errorf("again: %v, %v", a, err)
			}
		}
	})
	got, err := f.client.GetDocuments(t.Context(), &ledgerv1.GetDocumentsRequest{Wallet: w.Name, FromNumber: 1, PageSize: 2})
	if err != nil || got.GetHeadNumber() != 3 || len(got.GetDocuments().GetGuardRails()) != 2 ||
		!proto.Equal(got.GetDocuments().GetGuardRails()[1], versions[1]) ||
		!proto.Equal(got.GetDocuments().GetRecord(), w.Record) || !proto.Equal(got.GetDocuments().GetRegistration(), w.Registration) {
		t.Errorf("documents: %v, %v", got, err)
	}
	_, err = f.client.GetDocuments(t.Context(), &ledgerv1.GetDocumentsRequest{Wallet: "wallets/none"})
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE, movedNo)
}

// The journal holds the statements relied on, and balances after each entry.
func TestJournal(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 3 * usd})
	f.must(p, authorized)
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range f.entries(payer) {
		line := strings.TrimPrefix(e.GetKind().String(), "ENTRY_KIND_") + " " + e.GetUnits() + " " + e.GetAvailable() + "/" + e.GetHeld() +
			" " + e.GetCaller()
		for _, s := range e.GetStatements() {
			line += " " + strings.TrimSuffix(strings.TrimPrefix(s.GetPayloadType(), "application/vnd.halfkey."), ".v1")
		}
		got = append(got, line)
	}
	want := []string{
		"ACCOUNT  / owners/owner registration wallet-record guard-rails",
		"GUARD_RAILS  / owners/owner guard-rails",
		"DEPOSIT 1000000000 1000000000/0 operator deposit",
		"PAYMENT 3000000 997000000/3000000 agents/payer request verdict",
		"PAYMENT 3000000 997000000/0  settlement",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	incoming := f.entries(payee)
	last := incoming[len(incoming)-1]
	if last.GetKind() != typev1.EntryKind_ENTRY_KIND_INCOMING || last.GetPayment() != p.Name || last.GetAvailable() != "3000000" {
		t.Errorf("the recipient's last entry: %v", last)
	}
	if _, err := evidence.CheckSettlement(f.Installation, last.GetStatements()[0]); err != nil {
		t.Errorf("the recipient's settlement: %v", err)
	}
	if e := f.entries(payer)[3]; !bytes.Equal(e.GetMessage(), p.MessageBytes) {
		t.Error("the pinned message is not in the journal")
	}
}
