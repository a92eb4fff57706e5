package evidence_test

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	exists      = typev1.Reason_REASON_ALREADY_EXISTS
	refused     = typev1.Reason_REASON_GUARD_RAILS_REFUSED
	smallOrder  = "\x01" // followed by zeros: the identity's encoding, under which every signature of a certain form verifies
	unknownTail = "\xf8\x07\x01"
)

func identityPoint() []byte { return append([]byte(smallOrder), make([]byte, 31)...) }

func TestAccept(t *testing.T) {
	l := evidencetest.New(t).Wallet(evidencetest.WalletConfig{ID: "research"})
	before := l.Head
	e := l.Sign(l.OwnerKey, l.NextGuardRails(nil))
	head, err := evidence.Accept(l.Installation, before, e)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	if head.Digest != evidence.EnvelopeDigest(e) || head.Document.GetNumber() != before.Document.GetNumber()+1 {
		t.Errorf("head is %v number %d", head.Digest, head.Document.GetNumber())
	}
	// The same document again is the head again, also from someone whose copy of the signature is another.
	again := evidencetest.SignRaw(l.Key("foreign"), e.GetPayloadType(), e.GetPayload())
	same, err := evidence.Accept(l.Installation, head, again)
	if err != nil || same != head {
		t.Errorf("Accept of the head = %v, %v, want the head itself", same, err)
	}
	stored, err := evidence.NewHead(head.Envelope)
	if err != nil || stored.Digest != head.Digest || !proto.Equal(stored.Document, head.Document) {
		t.Errorf("NewHead = %v, %v, want what was accepted", stored, err)
	}
}

// TestAcceptMends: after a restore two holders may have different heads; one document that names both leads both forward.
func TestAcceptMends(t *testing.T) {
	l := evidencetest.New(t).Wallet(evidencetest.WalletConfig{ID: "research"})
	accept := func(head *evidence.Head, doc *typev1.GuardRails) *evidence.Head {
		t.Helper()
		next, err := evidence.Accept(l.Installation, head, l.Sign(l.OwnerKey, doc))
		if err != nil {
			t.Fatalf("Accept: %v", err)
		}
		return next
	}
	left := accept(l.Head, l.NextGuardRails(func(doc *typev1.GuardRails) { doc.TimeZone = "Europe/Zurich" }))
	right := accept(l.Head, l.NextGuardRails(func(doc *typev1.GuardRails) { doc.TimeZone = "Asia/Tokyo" }))
	both := l.NextGuardRails(func(doc *typev1.GuardRails) {
		doc.Number = left.Document.GetNumber() + 1
		doc.Replaces = [][]byte{left.Digest.Bytes(), right.Digest.Bytes()}
	})
	if a, b := accept(left, both), accept(right, both); a.Digest != b.Digest {
		t.Error("the two holders still differ")
	}
}

// TestAcceptTakesOver: owner keys and request key change under the old owner keys, and from then on the old ones sign nothing.
func TestAcceptTakesOver(t *testing.T) {
	l := evidencetest.New(t).Wallet(evidencetest.WalletConfig{ID: "research"})
	l.SetGuardRails(func(doc *typev1.GuardRails) {
		doc.OwnerKeys = sortedKeys(evidencetest.Public(l.Key("new owner")))
		doc.RequestKey = evidencetest.Public(l.Key("new request"))
	})
	if _, err := evidence.Accept(l.Installation, l.Head, l.Sign(l.OwnerKey, l.NextGuardRails(nil))); err == nil {
		t.Error("the replaced owner key still signs")
	}
	if _, err := evidence.Accept(l.Installation, l.Head, l.Sign(l.Key("new owner"), l.NextGuardRails(nil))); err != nil {
		t.Errorf("the new owner key does not sign: %v", err)
	}
}

func TestAcceptRefuses(t *testing.T) {
	type doc = *typev1.GuardRails
	edited := func(edit func(l *evidencetest.Wallet, d doc)) func(*evidencetest.Wallet) *typev1.Envelope {
		return func(l *evidencetest.Wallet) *typev1.Envelope {
			return l.SignLoose(l.OwnerKey, l.NextGuardRails(func(d doc) { edit(l, d) }))
		}
	}
	raw := func(change func(b []byte) []byte) func(*evidencetest.Wallet) *typev1.Envelope {
		return func(l *evidencetest.Wallet) *typev1.Envelope {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(l.NextGuardRails(nil))
			if err != nil {
				panic(err)
			}
			return evidencetest.SignRaw(l.OwnerKey, evidence.TypeGuardRails, change(b))
		}
	}
	rows := []struct {
		name   string
		make   func(l *evidencetest.Wallet) *typev1.Envelope
		reason typev1.Reason
		field  string
	}{
		{"missing", func(l *evidencetest.Wallet) *typev1.Envelope { return nil }, isMissing, ""},
		{"unsigned", func(l *evidencetest.Wallet) *typev1.Envelope {
			e := l.Sign(l.OwnerKey, l.NextGuardRails(nil))
			e.Signatures = nil
			return e
		}, badStatement, "signatures"},
		{"tampered after signing", func(l *evidencetest.Wallet) *typev1.Envelope {
			e := l.Sign(l.OwnerKey, l.NextGuardRails(nil))
			edited := l.Sign(l.OwnerKey, l.NextGuardRails(func(d doc) { d.Limits[2].Amount = "900000000" }))
			edited.Signatures = e.GetSignatures()
			return edited
		}, badStatement, "signatures"},
		{"under the request key", func(l *evidencetest.Wallet) *typev1.Envelope {
			return l.Sign(l.RequestKey, l.NextGuardRails(nil))
		}, badStatement, "signatures"},
		{"under a foreign key", func(l *evidencetest.Wallet) *typev1.Envelope {
			return l.Sign(l.Key("foreign"), l.NextGuardRails(nil))
		}, badStatement, "signatures"},
		{"under an owner key that it brings itself", func(l *evidencetest.Wallet) *typev1.Envelope {
			k := l.Key("foreign")
			return l.Sign(k, l.NextGuardRails(func(d doc) { d.OwnerKeys = sortedKeys(evidencetest.Public(k)) }))
		}, badStatement, "signatures"},
		{"under a replaced owner key", func(l *evidencetest.Wallet) *typev1.Envelope {
			l.SetGuardRails(func(d doc) { d.OwnerKeys = sortedKeys(evidencetest.Public(l.Key("new owner"))) })
			return l.Sign(l.OwnerKey, l.NextGuardRails(nil))
		}, badStatement, "signatures"},
		{"under the operator's key", func(l *evidencetest.Wallet) *typev1.Envelope {
			return l.Sign(l.Operator, l.NextGuardRails(nil))
		}, badStatement, "signatures"},
		{"one key twice", func(l *evidencetest.Wallet) *typev1.Envelope {
			e := l.Sign(l.OwnerKey, l.NextGuardRails(nil))
			e.Signatures = append(e.Signatures, e.Signatures[0])
			return e
		}, badStatement, "signatures"},
		{"signed as another statement", func(l *evidencetest.Wallet) *typev1.Envelope {
			e := l.Sign(l.OwnerKey, l.NextGuardRails(nil))
			return evidencetest.SignRaw(l.OwnerKey, evidence.TypeReview, e.GetPayload())
		}, badStatement, "payload_type"},
		{"unknown field at the top", raw(func(b []byte) []byte { return append(b, unknownTail...) }), badStatement, "GuardRails"},
		{"unknown field in a limit", edited(func(l *evidencetest.Wallet, d doc) {
			d.Limits[1].ProtoReflect().SetUnknown([]byte(unknownTail))
		}), badStatement, "Limit"},
		{"unknown field in the recipients", edited(func(l *evidencetest.Wallet, d doc) {
			d.Recipients.ProtoReflect().SetUnknown([]byte(unknownTail))
		}), badStatement, "Recipients"},
		{"unknown window", edited(func(l *evidencetest.Wallet, d doc) { d.Limits[1].Window = 99 }), badStatement, "window"},
		{"unknown rail", edited(func(l *evidencetest.Wallet, d doc) { d.Rails = append(d.Rails, 99) }), badStatement, "rails"},
		{"a default spelled out", raw(func(b []byte) []byte { return append(b, 0x4a, 0x00) }), badStatement, ""},
		{"cut short", raw(func(b []byte) []byte { return b[:len(b)-1] }), badStatement, ""},
		{"other installation", edited(func(l *evidencetest.Wallet, d doc) { d.Installation = "prod" }), isMismatch, "installation"},
		{"other wallet", edited(func(l *evidencetest.Wallet, d doc) { d.Wallet = "wallets/other" }), isMismatch, "wallet"},
		{"other owner", edited(func(l *evidencetest.Wallet, d doc) { d.Owner = "owners/thief" }), isMismatch, "owner"},
		{"used number, other content", edited(func(l *evidencetest.Wallet, d doc) { d.Number-- }), exists, "number"},
		{"lower number", edited(func(l *evidencetest.Wallet, d doc) {
			d.Number, d.RegistrationDigest = 0, digestOf(1)
		}), headChanged, "number"},
		{"names another head", edited(func(l *evidencetest.Wallet, d doc) { d.Replaces = [][]byte{digestOf(1)} }), headChanged, "replaces"},
		{"names no head", edited(func(l *evidencetest.Wallet, d doc) { d.Replaces = nil }), headChanged, "replaces"},
		{"missing limits", edited(func(l *evidencetest.Wallet, d doc) { d.Limits = nil }), refused, "assets[0]"},
		{"no limit per payment that denies", edited(func(l *evidencetest.Wallet, d doc) { d.Limits = d.GetLimits()[:2] }), refused, "assets[0]"},
		{"no limit per window", edited(func(l *evidencetest.Wallet, d doc) { d.Limits = d.GetLimits()[2:] }), refused, "assets[0]"},
		{"no recipients", edited(func(l *evidencetest.Wallet, d doc) { d.Recipients = nil }), refused, "recipients"},
		{
			"owner keys of small order", edited(func(l *evidencetest.Wallet, d doc) { d.OwnerKeys = [][]byte{identityPoint()} }),
			refused, "owner_keys",
		},
		{"request key of small order", edited(func(l *evidencetest.Wallet, d doc) { d.RequestKey = identityPoint() }), refused, "request_key"},
		{
			"request key is an owner key", edited(func(l *evidencetest.Wallet, d doc) { d.RequestKey = d.GetOwnerKeys()[0] }),
			refused, "owner_keys",
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			l := evidencetest.New(t).Wallet(evidencetest.WalletConfig{ID: "research"})
			e := row.make(l)
			head, err := evidence.Accept(l.Installation, l.Head, e)
			if head != nil {
				t.Error("Accept returned a head")
			}
			wantRefusal(t, err, row.reason, "guard-rails", row.field)
		})
	}
}

// TestAcceptSaysWhere: the refusal of the rules themselves is reachable, with where and why.
func TestAcceptSaysWhere(t *testing.T) {
	l := evidencetest.New(t).Wallet(evidencetest.WalletConfig{ID: "research"})
	_, err := evidence.Accept(l.Installation, l.Head,
		l.Sign(l.OwnerKey, l.NextGuardRails(func(doc *typev1.GuardRails) { doc.Limits[0].Amount = "1e3" })))
	var r *guardrails.Refusal
	if !errors.As(err, &r) || r.Field != "limits[0].amount" {
		t.Errorf("got %v, want a *guardrails.Refusal of limits[0].amount", err)
	}
}

func TestCheckWalletRefuses(t *testing.T) {
	// parts are the three documents; a row makes one of them say something else.
	type parts struct {
		*evidencetest.Wallet
		t                           *testing.T
		registration, claim, record *typev1.Envelope
	}
	registration := func(p *parts, key ed25519.PrivateKey, edit func(*typev1.Registration)) {
		r := new(typev1.Registration)
		p.Decode(p.registration, r)
		edit(r)
		p.registration = p.SignLoose(key, r)
	}
	claim := func(p *parts, key ed25519.PrivateKey, edit func(*typev1.GuardRails)) {
		d := new(typev1.GuardRails)
		p.Decode(p.claim, d)
		d.RegistrationDigest = evidence.EnvelopeDigest(p.registration).Bytes()
		edit(d)
		p.claim = p.SignLoose(key, d)
	}
	record := func(p *parts, key ed25519.PrivateKey, edit func(*typev1.WalletRecord)) {
		r := new(typev1.WalletRecord)
		p.Decode(p.record, r)
		edit(r)
		p.record = p.SignLoose(key, r)
	}
	rows := []struct {
		name         string
		set          func(p *parts)
		reason       typev1.Reason
		where, field string
	}{
		{"no registration", func(p *parts) { p.registration = nil }, isMissing, "registration", ""},
		{"no claim", func(p *parts) { p.claim = nil }, isMissing, "guard-rails", ""},
		{"no record", func(p *parts) { p.record = nil }, isMissing, "wallet-record", ""},
		{"registration under another key", func(p *parts) {
			registration(p, p.Key("foreign"), func(r *typev1.Registration) {})
		}, badStatement, "registration", "signatures"},
		{"registration of another installation", func(p *parts) {
			registration(p, p.RequestKey, func(r *typev1.Registration) { r.Installation = "prod" })
		}, isMismatch, "registration", "installation"},
		{"group key of small order", func(p *parts) {
			registration(p, p.RequestKey, func(r *typev1.Registration) { r.GroupKey = identityPoint() })
		}, badStatement, "registration", "group_key"},
		{"request key of small order", func(p *parts) {
			r := new(typev1.Registration)
			p.Decode(p.registration, r)
			r.RequestKey = identityPoint()
			p.registration = weakly(p.t, r)
		}, badStatement, "registration", "request_key"},
		{"request key is the group key", func(p *parts) {
			registration(p, p.GroupPrivate, func(r *typev1.Registration) { r.RequestKey = r.GetGroupKey() })
		}, badStatement, "registration", "request_key"},
		{"handle that is none", func(p *parts) {
			registration(p, p.RequestKey, func(r *typev1.Registration) { r.Handle = "Research!" })
		}, badStatement, "registration", "handle"},
		{"claim of another registration", func(p *parts) {
			registration(p, p.RequestKey, func(r *typev1.Registration) { r.Handle = "other" })
		}, isMismatch, "guard-rails", "registration_digest"},
		{"claim of another wallet", func(p *parts) {
			claim(p, p.OwnerKey, func(d *typev1.GuardRails) { d.Wallet = "wallets/other" })
		}, isMismatch, "guard-rails", "wallet"},
		{"claim of another installation", func(p *parts) {
			claim(p, p.OwnerKey, func(d *typev1.GuardRails) { d.Installation = "prod" })
		}, isMismatch, "guard-rails", "installation"},
		{"claim with another request key", func(p *parts) {
			claim(p, p.OwnerKey, func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(p.Key("foreign")) })
		}, isMismatch, "guard-rails", "request_key"},
		{"claim that is not number 0", func(p *parts) {
			claim(p, p.OwnerKey, func(d *typev1.GuardRails) {
				d.Number, d.RegistrationDigest, d.Replaces = 1, nil, [][]byte{digestOf(1)}
				evidencetest.Standard(d)
			})
		}, isMismatch, "guard-rails", "number"},
		{"claim that pays something", func(p *parts) {
			claim(p, p.OwnerKey, evidencetest.Standard)
		}, refused, "guard-rails", "assets"},
		{"claim under a key that it does not name", func(p *parts) {
			claim(p, p.Key("foreign"), func(d *typev1.GuardRails) {})
		}, badStatement, "guard-rails", "signatures"},
		{"claim by the agent as its own owner", func(p *parts) {
			claim(p, p.RequestKey, func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(p.RequestKey)} })
		}, refused, "guard-rails", "owner_keys"},
		{"claim by the group key", func(p *parts) {
			claim(p, p.GroupPrivate, func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(p.GroupPrivate)} })
		}, refused, "guard-rails", "owner_keys"},
		{"record under the ledger's key", func(p *parts) {
			record(p, p.Ledger, func(r *typev1.WalletRecord) {})
		}, badStatement, "wallet-record", "signatures"},
		{"record of another installation", func(p *parts) {
			record(p, p.Cosigner, func(r *typev1.WalletRecord) { r.Installation = "prod" })
		}, isMismatch, "wallet-record", "installation"},
		{"record of another wallet", func(p *parts) {
			record(p, p.Cosigner, func(r *typev1.WalletRecord) { r.Wallet = "wallets/other" })
		}, isMismatch, "wallet-record", "wallet"},
		{"record with another handle", func(p *parts) {
			record(p, p.Cosigner, func(r *typev1.WalletRecord) { r.Handle = "other" })
		}, isMismatch, "wallet-record", "handle"},
		{"record with another group key", func(p *parts) {
			record(p, p.Cosigner, func(r *typev1.WalletRecord) { r.GroupKey = evidencetest.Public(p.Key("foreign")) })
		}, isMismatch, "wallet-record", "group_key"},
		{"record with a group key of small order", func(p *parts) {
			record(p, p.Cosigner, func(r *typev1.WalletRecord) { r.GroupKey = identityPoint() })
		}, badStatement, "wallet-record", "group_key"},
		{"record of another registration", func(p *parts) {
			record(p, p.Cosigner, func(r *typev1.WalletRecord) { r.RegistrationDigest = digestOf(1) })
		}, isMismatch, "wallet-record", "registration_digest"},
		{"record of another claim", func(p *parts) {
			record(p, p.Cosigner, func(r *typev1.WalletRecord) { r.GuardRailsDigest = digestOf(1) })
		}, isMismatch, "wallet-record", "guard_rails_digest"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			l := evidencetest.New(t).ClaimedWallet(evidencetest.WalletConfig{ID: "research"})
			p := &parts{l, t, l.Registration, l.Claim, l.Record}
			row.set(p)
			w, err := evidence.CheckWallet(l.Installation, p.registration, p.claim, p.record)
			if w != nil {
				t.Error("CheckWallet returned a wallet")
			}
			wantRefusal(t, err, row.reason, row.where, row.field)
		})
	}
}

func TestNewHeadRefuses(t *testing.T) {
	l := evidencetest.New(t).Wallet(evidencetest.WalletConfig{ID: "research"})
	rows := []struct {
		name string
		e    *typev1.Envelope
	}{
		{"missing", nil},
		{"another statement", l.Record},
		{"unknown field", evidencetest.SignRaw(l.OwnerKey, evidence.TypeGuardRails, append(l.Head.Envelope.GetPayload(), unknownTail...))},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if head, err := evidence.NewHead(row.e); err == nil || head != nil {
				t.Errorf("NewHead = %v, %v, want a refusal", head, err)
			}
		})
	}
	if head, err := evidence.Accept(l.Installation, nil, l.Head.Envelope); err == nil || head != nil {
		t.Error("Accept follows no head")
	}
}
