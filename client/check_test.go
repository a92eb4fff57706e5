package client

import (
	"cmp"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	policy   = typev1.Purpose_PURPOSE_POLICY
	ledger   = typev1.Purpose_PURPOSE_LEDGER
	cosigner = typev1.Purpose_PURPOSE_COSIGNER
)

// acks makes the acknowledgements of services, each changed by edit.
func acks(w *evidencetest.Wallet, a *typev1.Acknowledgement, edit func(by typev1.Purpose, a *typev1.Acknowledgement), by ...typev1.Purpose) []*typev1.Envelope {
	var out []*typev1.Envelope
	for _, p := range by {
		own := proto.CloneOf(a)
		if edit != nil {
			edit(p, own)
		}
		key := w.Policy
		switch p {
		case ledger:
			key = w.Ledger
		case cosigner:
			key = w.Cosigner
		}
		out = append(out, w.SignLoose(key, own))
	}
	return out
}

// TestAcknowledgements: guard rails are in force when policy, ledger and co-signer have each signed this very document.
func TestAcknowledgements(t *testing.T) {
	w := evidencetest.New(t).Wallet(evidencetest.WalletConfig{})
	honest := &typev1.Acknowledgement{
		Installation: w.Installation.ID(), Wallet: w.Name, Kind: typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS,
		GuardRailsNumber: w.Head.Document.GetNumber(), GuardRailsDigest: w.Head.Digest.Bytes(), TimeMillis: 1,
	}
	in := func(e ...*typev1.Envelope) error { return checkGuardRails(w.Installation, w.Head, e) }
	if err := in(acks(w, honest, nil, policy, ledger, cosigner)...); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		edit func(a *typev1.Acknowledgement)
	}{
		{"another document", func(a *typev1.Acknowledgement) { a.GuardRailsDigest[0] ^= 1 }},
		{"another number", func(a *typev1.Acknowledgement) { a.GuardRailsNumber-- }},
		{"another wallet", func(a *typev1.Acknowledgement) { a.Wallet = "wallets/other" }},
		{"another installation", func(a *typev1.Acknowledgement) { a.Installation = "elsewhere" }},
		{"a freeze", func(a *typev1.Acknowledgement) {
			a.Kind, a.Scope, a.FreezeId = typev1.Acknowledged_ACKNOWLEDGED_FREEZE, typev1.Scope_SCOPE_WALLET, "f"
		}},
		{"no time", func(a *typev1.Acknowledgement) { a.TimeMillis = 0 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, liar := range []typev1.Purpose{policy, ledger, cosigner} {
				edit := func(by typev1.Purpose, a *typev1.Acknowledgement) {
					if by == liar {
						row.edit(a)
					}
				}
				if in(acks(w, honest, edit, policy, ledger, cosigner)...) == nil {
					t.Errorf("in force although %v acknowledged something else", liar)
				}
			}
		})
	}
	for _, by := range [][]typev1.Purpose{{}, {policy}, {policy, ledger}, {policy, ledger, ledger}, {ledger, policy, cosigner}, {policy, ledger, cosigner, cosigner}} {
		if in(acks(w, honest, nil, by...)...) == nil {
			t.Errorf("in force by %v", by)
		}
	}
	stranger := evidencetest.New(t).Wallet(evidencetest.WalletConfig{})
	stranger.Name, stranger.Head = w.Name, w.Head
	if in(acks(stranger, honest, nil, policy, ledger, cosigner)...) == nil {
		t.Error("in force by the keys of another installation")
	}
}

// TestFreezeAcknowledgements: a freeze is in force when ledger and co-signer have both signed that this subject is frozen by
// this id; after its end either one's word that something still stops it counts.
func TestFreezeAcknowledgements(t *testing.T) {
	w := evidencetest.New(t).Wallet(evidencetest.WalletConfig{})
	const freeze, unfreeze = typev1.Acknowledged_ACKNOWLEDGED_FREEZE, typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE
	for _, thing := range []frozenThing{walletThing(w.Name), ownerThing(w.Owner), installationThing()} {
		honest := &typev1.Acknowledgement{
			Installation: w.Installation.ID(), Wallet: thing.wallet, Owner: thing.owner, Scope: thing.scope, Kind: freeze, FreezeId: "f",
			Frozen: true, TimeMillis: 1,
		}
		check := func(kind typev1.Acknowledged, e []*typev1.Envelope) (*FreezeStatus, error) {
			return checkFreeze(w.Installation, kind, thing, "f", e)
		}
		if s, err := check(freeze, acks(w, honest, nil, ledger, cosigner)); err != nil || !s.Frozen {
			t.Fatalf("got %+v, %v", s, err)
		}
		for _, liar := range []typev1.Purpose{ledger, cosigner} {
			thawed := func(by typev1.Purpose, a *typev1.Acknowledgement) { a.Frozen = by != liar }
			if s, err := check(freeze, acks(w, honest, thawed, ledger, cosigner)); err != nil || s.Frozen {
				t.Errorf("frozen although %v says no: %+v, %v", liar, s, err)
			}
			ended := func(by typev1.Purpose, a *typev1.Acknowledgement) { a.Kind, a.Frozen = unfreeze, by == liar }
			if s, err := check(unfreeze, acks(w, honest, ended, ledger, cosigner)); err != nil || !s.Frozen {
				t.Errorf("free although %v says that something stops it: %+v, %v", liar, s, err)
			}
			for name, edit := range map[string]func(a *typev1.Acknowledgement){
				"another freeze":       func(a *typev1.Acknowledgement) { a.FreezeId = "g" },
				"its end":              func(a *typev1.Acknowledgement) { a.Kind = unfreeze },
				"another installation": func(a *typev1.Acknowledgement) { a.Installation = "elsewhere" },
				"another subject": func(a *typev1.Acknowledgement) {
					switch thing.scope {
					case typev1.Scope_SCOPE_WALLET:
						a.Wallet = "wallets/other"
					case typev1.Scope_SCOPE_OWNER:
						a.Owner = "owners/other"
					default:
						a.Scope, a.Owner = typev1.Scope_SCOPE_OWNER, w.Owner
					}
				},
			} {
				one := func(by typev1.Purpose, a *typev1.Acknowledgement) {
					if by == liar {
						edit(a)
					}
				}
				if _, err := check(freeze, acks(w, honest, one, ledger, cosigner)); err == nil {
					t.Errorf("%s by %v was taken", name, liar)
				}
			}
		}
		for _, by := range [][]typev1.Purpose{{}, {ledger}, {cosigner, ledger}, {ledger, ledger}, {policy, cosigner}} {
			if _, err := check(freeze, acks(w, honest, nil, by...)); err == nil {
				t.Errorf("taken by %v", by)
			}
		}
	}
}

// connected is a client on a home that is connected to a world's installation. Nobody answers at its address.
func connected(t *testing.T, w *evidencetest.World) *Client {
	t.Helper()
	h, err := OpenHome(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := w.Installation.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(file); err != nil {
		t.Fatal(err)
	}
	c, err := Open(h, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPinnedRecords: what a wallet's record said first is what it says for ever, by name, handle and key.
func TestPinnedRecords(t *testing.T) {
	w := evidencetest.New(t)
	c := connected(t, w)
	record := func(l *evidencetest.Wallet) *typev1.WalletRecord {
		r, err := evidence.CheckRecord(w.Installation, l.Record)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := w.ClaimedWallet(evidencetest.WalletConfig{ID: "a", Handle: "shop"})
	for range 2 {
		if err := c.pinRecord(record(first)); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []evidencetest.WalletConfig{
		{ID: "a", Handle: "shop", GroupKey: evidencetest.Public(w.Key("another key"))},
		{ID: "b", Handle: "shop"},
		{ID: "a", Handle: "other", GroupKey: first.GroupKey[:]},
		{ID: "c", Handle: "third", GroupKey: first.GroupKey[:]},
	} {
		if c.pinRecord(record(w.ClaimedWallet(other))) == nil {
			t.Errorf("%+v was pinned beside the first", other)
		}
	}
	for _, name := range []string{"wallets/a", "@shop"} {
		if r, err := c.pinnedRecord(name); err != nil || [32]byte(r.GetGroupKey()) != first.GroupKey {
			t.Errorf("%s: got %v, %v", name, r, err)
		}
	}
	if name := c.NameOf(first.GroupKey); name != "@shop" {
		t.Errorf("the key is shown as %q", name)
	}
	if name := c.NameOf([32]byte{1}); name != "" {
		t.Errorf("a key of nobody is shown as %q", name)
	}
	for wallet, want := range map[string]string{"wallets/a": "@shop", "wallets/b": "", "@shop": "", "": "", "keys/" + hex.EncodeToString(first.GroupKey[:]): ""} {
		if name := c.HandleOf(wallet); name != want {
			t.Errorf("%q is shown as %q, want %q", wallet, name, want)
		}
	}
}

// TestVerifySettlement: a seller relies on the ledger's signature over its own key.
func TestVerifySettlement(t *testing.T) {
	w := evidencetest.New(t)
	c := connected(t, w)
	shop, payer := w.ClaimedWallet(evidencetest.WalletConfig{ID: "shop"}), w.Wallet(evidencetest.WalletConfig{ID: "payer"})
	r, err := evidence.CheckRecord(w.Installation, shop.Record)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pinRecord(r); err != nil {
		t.Fatal(err)
	}
	p := payer.Payment(evidencetest.PaymentConfig{To: shop.GroupKey, Now: time.Unix(1_800_000_000, 0)})
	settlement := &typev1.Settlement{
		Installation: w.Installation.ID(), Wallet: payer.Name, Payment: p.Name, Payer: payer.GroupKey[:], Recipient: shop.GroupKey[:],
		Asset: w.Installation.BookUSD(), Units: "1000000", IntentDigest: evidence.IntentDigest(p.IntentBytes).Bytes(),
		MessageDigest: evidence.MessageDigest(p.MessageBytes).Bytes(), TimeMillis: 1,
	}
	shown := func(e *typev1.Envelope) *typev1.Payment {
		return &typev1.Payment{Name: p.Name, State: settled, Intent: p.IntentBytes, Message: p.MessageBytes, Settlement: e}
	}
	if s, err := c.VerifyIncoming(shown(w.Sign(w.Ledger, settlement)), shop.Name); err != nil || s.GetUnits() != "1000000" {
		t.Fatalf("got %v, %v", s, err)
	}
	if _, err := c.VerifyIncoming(shown(w.Sign(w.Ledger, settlement)), payer.Name); err == nil {
		t.Error("a settlement to another wallet was taken for one to this")
	}
	for _, row := range []struct {
		name string
		edit func(s *typev1.Settlement)
		key  string
	}{
		{"under another key", func(*typev1.Settlement) {}, "policy"},
		{"to another key", func(s *typev1.Settlement) { s.Recipient = payer.GroupKey[:] }, "ledger"},
		{"of another installation", func(s *typev1.Settlement) { s.Installation = "elsewhere" }, "ledger"},
		{"of another payment", func(s *typev1.Settlement) { s.Payment += "0" }, "ledger"},
		{"of another amount", func(s *typev1.Settlement) { s.Units = "9000000" }, "ledger"},
		{"of another asset", func(s *typev1.Settlement) { s.Asset = "halfkey:test/iso4217:EUR" }, "ledger"},
		{"of another intent", func(s *typev1.Settlement) { s.IntentDigest = make([]byte, 32) }, "ledger"},
		{"of another message", func(s *typev1.Settlement) { s.MessageDigest = make([]byte, 32) }, "ledger"},
		{"that is malformed", func(s *typev1.Settlement) { s.Units = "01" }, "ledger"},
	} {
		s := proto.CloneOf(settlement)
		row.edit(s)
		if _, err := c.VerifyIncoming(shown(w.SignLoose(w.Key(row.key), s)), shop.Name); err == nil {
			t.Errorf("a settlement %s was taken", row.name)
		}
	}
	if _, err := c.VerifyIncoming(shown(nil), shop.Name); err == nil {
		t.Error("no settlement was taken for one")
	}
}

// TestVerifySettlementOnChain: a settlement on Solana names a transaction by a signature over the very message that was paid.
func TestVerifySettlementOnChain(t *testing.T) {
	w := evidencetest.New(t)
	c := connected(t, w)
	shop, payer := w.ClaimedWallet(evidencetest.WalletConfig{ID: "shop"}), w.Wallet(evidencetest.WalletConfig{ID: "payer"})
	r, err := evidence.CheckRecord(w.Installation, shop.Record)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pinRecord(r); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	sent := payer.Payment(evidencetest.PaymentConfig{To: shop.GroupKey, Rail: railSolana, Now: now})
	bought := payer.Payment(evidencetest.PaymentConfig{To: shop.GroupKey, Rail: railSolana, Now: now, EditIntent: func(m *typev1.Intent) {
		m.X402 = &typev1.X402Context{Method: "GET", Scheme: "https", Host: "api.example", Path: "/", UrlDigest: make([]byte, 32), BodyDigest: make([]byte, 32)}
	}})
	other := payer.Payment(evidencetest.PaymentConfig{ID: "other", To: shop.GroupKey, Rail: railSolana, Now: now})
	for _, row := range []struct {
		name        string
		p           *evidencetest.Payment
		transaction []byte
		edit        func(*typev1.Settlement)
		ok          bool
	}{
		{name: "a transfer by the wallet's signature", p: sent, transaction: sent.Settle(), ok: true},
		{name: "a seller's by who pays the fee", p: bought, transaction: ed25519.Sign(w.Key("fee payer"), bought.MessageBytes), ok: true},
		{name: "a seller's by the wallet's signature", p: bought, transaction: bought.Settle()},
		{name: "a transfer by who pays fees elsewhere", p: sent, transaction: ed25519.Sign(w.Key("fee payer"), sent.MessageBytes)},
		{name: "the transaction of another payment", p: sent, transaction: other.Settle()},
		{name: "a transaction that nobody signed", p: sent, transaction: make([]byte, 64)},
		{name: "no transaction", p: sent},
		{name: "no slot", p: sent, transaction: sent.Settle(), edit: func(s *typev1.Settlement) { s.Slot = 0 }},
		{name: "the message of another payment", p: sent, transaction: other.Settle(), edit: func(s *typev1.Settlement) {
			s.MessageDigest = evidence.MessageDigest(other.MessageBytes).Bytes()
		}},
	} {
		s := &typev1.Settlement{
			Installation: w.Installation.ID(), Wallet: payer.Name, Payment: row.p.Name, Payer: payer.GroupKey[:], Recipient: shop.GroupKey[:],
			Asset: evidencetest.USDC, Units: "1000000", IntentDigest: evidence.IntentDigest(row.p.IntentBytes).Bytes(),
			MessageDigest: evidence.MessageDigest(row.p.MessageBytes).Bytes(), TimeMillis: 1, Transaction: row.transaction, Slot: 290_000_000,
		}
		if row.edit != nil {
			row.edit(s)
		}
		shown := &typev1.Payment{
			Name: row.p.Name, State: settled, Intent: row.p.IntentBytes, Message: row.p.MessageBytes, Settlement: w.SignLoose(w.Ledger, s),
		}
		if _, err := c.VerifyIncoming(shown, shop.Name); (err == nil) != row.ok {
			t.Errorf("%s: got %v, want it taken: %v", row.name, err, row.ok)
		}
	}
}

// TestFailedPayment: FAILED is believed with the ledger's statement of the transaction that failed, and not without.
func TestFailedPayment(t *testing.T) {
	w := evidencetest.New(t)
	payer, shop := w.Wallet(evidencetest.WalletConfig{ID: "payer"}), evidencetest.Key32(w.Key("shop"))
	now := time.Unix(1_800_000_000, 0)
	sent := payer.Payment(evidencetest.PaymentConfig{To: shop, Rail: railSolana, Now: now})
	book := payer.Payment(evidencetest.PaymentConfig{To: shop, Now: now})
	checks := ledgerChecks{
		settlement: func(e *typev1.Envelope) (*typev1.Settlement, error) {
			return evidence.CheckSettlement(w.Installation, e)
		},
		dead: func(e *typev1.Envelope) (*typev1.DeadMessage, error) {
			return evidence.CheckDeadMessage(w.Installation, e)
		},
	}
	good := &typev1.DeadMessage{
		Installation: w.Installation.ID(), Wallet: payer.Name, Payment: sent.Name, IntentDigest: evidence.IntentDigest(sent.IntentBytes).Bytes(),
		MessageDigest: evidence.MessageDigest(sent.MessageBytes).Bytes(), TimeMillis: 1, Transaction: sent.Settle(), Slot: 7,
	}
	for _, row := range []struct {
		name string
		p    *evidencetest.Payment
		key  string
		edit func(*typev1.DeadMessage)
		none bool
		ok   bool
	}{
		{name: "its transaction failed", ok: true},
		{name: "no statement", none: true},
		{name: "under another key", key: "policy"},
		{name: "a message that never landed", edit: func(d *typev1.DeadMessage) { d.Transaction, d.Slot = nil, 0 }},
		{name: "a transaction that nobody signed", edit: func(d *typev1.DeadMessage) { d.Transaction = make([]byte, 64) }},
		{name: "another message", edit: func(d *typev1.DeadMessage) { d.MessageDigest = make([]byte, 32) }},
		{name: "another intent", edit: func(d *typev1.DeadMessage) { d.IntentDigest = make([]byte, 32) }},
		{name: "another payment", edit: func(d *typev1.DeadMessage) { d.Payment += "0" }},
		{name: "on the book", p: book, edit: func(d *typev1.DeadMessage) {
			d.MessageDigest, d.IntentDigest = evidence.MessageDigest(book.MessageBytes).Bytes(), evidence.IntentDigest(book.IntentBytes).Bytes()
		}},
	} {
		p, d := cmp.Or(row.p, sent), proto.CloneOf(good)
		if row.edit != nil {
			row.edit(d)
		}
		shown := &typev1.Payment{Name: p.Name, State: failedState, Intent: p.IntentBytes, Message: p.MessageBytes}
		if !row.none {
			shown.DeadMessages = []*typev1.Envelope{w.SignLoose(w.Key(cmp.Or(row.key, "ledger")), d)}
		}
		read, err := readPayment(w.Installation, shown, payer.Name, &payer.GroupKey, checks)
		if (err == nil) != row.ok || row.ok && !proto.Equal(read.Failure, good) {
			t.Errorf("%s: got %v, %v, want it taken: %v", row.name, read, err, row.ok)
		}
	}
}

// TestConnect pins the first file and what follows from it, one by one.
func TestConnect(t *testing.T) {
	w := evidencetest.New(t)
	c := connected(t, w)
	file := func(e *typev1.Envelope) []byte {
		i, err := evidence.ParseInstallation(e)
		if err != nil {
			t.Fatal(err)
		}
		b, err := i.MarshalFile()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	thief := w.Key("thief")
	forged := w.Installation.Content()
	forged.OperatorKeys = [][]byte{evidencetest.Public(thief)}
	next := w.Installation.Content()
	next.Number, next.Predecessor, next.OperatorKeys = 2, w.Installation.Digest().Bytes(), forged.OperatorKeys
	skipped := w.Installation.Content()
	skipped.Number, skipped.Predecessor = 3, w.Installation.Digest().Bytes()
	for name, e := range map[string]*typev1.Envelope{
		"other content under the same number": w.Sign(thief, forged),
		"a successor that a thief signed":     w.Sign(thief, next),
		"a successor of another file":         w.Successor(func(i *typev1.Installation) { i.Predecessor = make([]byte, 32) }),
		"a number left out":                   w.Sign(w.Operator, skipped),
		"another installation":                evidencetest.NewWith(t, evidencetest.Config{ID: "other"}).Installation.Envelope(),
	} {
		if c.home.Connect(file(e)) == nil {
			t.Errorf("%s was pinned", name)
		}
	}
	if i, err := c.home.Installation(); err != nil || i.Digest() != w.Installation.Digest() {
		t.Fatalf("got %v, %v", i, err)
	}
	if err := c.home.Connect(file(w.Successor(nil))); err != nil {
		t.Error(err)
	}
	if i, err := c.home.Installation(); err != nil || i.Number() != 2 {
		t.Errorf("got %v, %v", i, err)
	}
}

// TestSlug makes handles of display names.
func TestSlug(t *testing.T) {
	for _, row := range []struct{ name, want string }{
		{"Research Agent", "research-agent"},
		{"  A  b ", "a-b"},
		{"Ünïcode 7", ""},
		{"dаta shop", ""}, // The first a is Cyrillic.
		{"\u212aelvin", ""},
		{"cafe\u0301", ""},
		{"shop ２", ""},
		{"Data – Shop!", "data-shop"},
		{"---", ""},
		{strings.Repeat("ab ", 20), "ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab"},
		{"x" + strings.Repeat(" y", 40), "x-y-y-y-y-y-y-y-y-y-y-y-y-y-y-y"},
	} {
		if got := slug(row.name); got != row.want {
			t.Errorf("%q: got %q, want %q", row.name, got, row.want)
		}
	}
}

// TestErrors: whatever fails says whether money moved, and what it does not know it calls UNKNOWN.
func TestErrors(t *testing.T) {
	for _, row := range []struct {
		name  string
		err   error
		moved typev1.MoneyMoved
		want  typev1.MoneyMoved
	}{
		{"a stranger's error in a paying step", errors.New("x"), unknown, unknown},
		{"a stranger's error before one", errors.New("x"), notMoved, notMoved},
		{"an error that says so itself", local("x", typev1.Reason_REASON_FROZEN, "y"), unknown, notMoved},
		{"a step that says nothing", fs.ErrPermission, 0, unknown},
	} {
		if got := MoneyMovedOf(wrap("op", row.err, row.moved)); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
	if MoneyMovedOf(errors.New("x")) != unknown || MoneyMovedOf(nil) != notMoved || wrap("op", nil, unknown) != nil {
		t.Error("an error of nobody is not UNKNOWN")
	}
}
