package evidence_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// enrolledWallet is a wallet that a token claimed.
func enrolledWallet(t *testing.T) *evidencetest.Wallet {
	t.Helper()
	w := evidencetest.New(t)
	return w.ClaimedWallet(evidencetest.WalletConfig{ID: "research", Token: w.Key("token"), TokenExpiry: start.Add(time.Hour)})
}

// TestClaimByToken: number 0 under a token's key, and every way in which document, terms and signatures do not fit.
func TestClaimByToken(t *testing.T) {
	rows := []struct {
		name string
		// edit changes number 0, terms the enrolment in it. They are signed again by signer and owner.
		edit          func(l *evidencetest.Wallet, d *typev1.GuardRails)
		terms         func(l *evidencetest.Wallet, m *typev1.Enrolment)
		signer, owner string
		reason        typev1.Reason
		where, field  string
	}{
		{name: "as it should be"},
		{name: "terms for any handle", terms: func(_ *evidencetest.Wallet, m *typev1.Enrolment) { m.Handle = "" }},
		{name: "signed by the owner", signer: "owner/owner", reason: badStatement, where: "guard-rails", field: "signatures"},
		{name: "signed by another key", signer: "foreign", reason: badStatement, where: "guard-rails", field: "signatures"},
		{name: "terms signed by another key", owner: "foreign", reason: badStatement, where: "enrolment", field: "signatures"},
		{name: "terms signed by the token", owner: "token", reason: badStatement, where: "enrolment", field: "signatures"},
		{name: "terms of another installation", terms: func(_ *evidencetest.Wallet, m *typev1.Enrolment) {
			m.Installation = "prod"
		}, reason: isMismatch, where: "enrolment", field: "installation"},
		{name: "terms of another owner", terms: func(_ *evidencetest.Wallet, m *typev1.Enrolment) {
			m.Owner = "owners/other"
		}, reason: isMismatch, where: "enrolment", field: "owner"},
		{name: "terms with a key more", terms: func(l *evidencetest.Wallet, m *typev1.Enrolment) {
			m.OwnerKeys = sortedKeys(append(m.GetOwnerKeys(), evidencetest.Public(l.Key("second")))...)
		}, reason: isMismatch, where: "enrolment", field: "owner_keys"},
		{name: "terms for another handle", terms: func(_ *evidencetest.Wallet, m *typev1.Enrolment) {
			m.Handle = "other"
		}, reason: isMismatch, where: "enrolment", field: "handle"},
		{name: "terms for another token", terms: func(l *evidencetest.Wallet, m *typev1.Enrolment) {
			m.TokenKey = evidencetest.Public(l.Key("foreign"))
		}, reason: badStatement, where: "guard-rails", field: "signatures"},
		{name: "the token is the owner key", terms: func(l *evidencetest.Wallet, m *typev1.Enrolment) {
			m.TokenKey = evidencetest.Public(l.OwnerKey)
		}, signer: "owner/owner", reason: badStatement, where: "enrolment", field: "token_key"},
		{name: "the token is the request key", terms: func(l *evidencetest.Wallet, m *typev1.Enrolment) {
			m.TokenKey = evidencetest.Public(l.RequestKey)
		}, signer: "request/research", reason: badStatement, where: "enrolment", field: "token_key"},
		{name: "the token is the group key", terms: func(l *evidencetest.Wallet, m *typev1.Enrolment) {
			m.TokenKey = evidencetest.Public(l.GroupPrivate)
		}, signer: "group/research", reason: badStatement, where: "enrolment", field: "token_key"},
		{name: "the token is of small order", terms: func(_ *evidencetest.Wallet, m *typev1.Enrolment) {
			m.TokenKey = identityPoint()
		}, reason: badStatement, where: "enrolment", field: "token_key"},
		{name: "another registration", edit: func(_ *evidencetest.Wallet, d *typev1.GuardRails) {
			d.RegistrationDigest = digestOf(1)
		}, reason: isMismatch, where: "guard-rails", field: "registration_digest"},
		{name: "another request key", edit: func(l *evidencetest.Wallet, d *typev1.GuardRails) {
			d.RequestKey = evidencetest.Public(l.Key("foreign"))
		}, reason: isMismatch, where: "guard-rails", field: "request_key"},
		{name: "number 0 that pays", edit: func(_ *evidencetest.Wallet, d *typev1.GuardRails) {
			evidencetest.Standard(d)
		}, reason: refused, where: "guard-rails", field: "assets"},
		{name: "terms that are another statement", edit: func(l *evidencetest.Wallet, d *typev1.GuardRails) {
			d.Enrolment = l.Registration
		}, reason: badStatement, where: "guard-rails", field: "enrolment"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			l := enrolledWallet(t)
			doc, terms := proto.CloneOf(l.Head.Document), new(typev1.Enrolment)
			l.Decode(l.Enrolment, terms)
			if row.terms != nil {
				row.terms(l, terms)
			}
			or := func(s, otherwise string) string {
				if s == "" {
					return otherwise
				}
				return s
			}
			doc.Enrolment = l.SignLoose(l.Key(or(row.owner, "owner/owner")), terms)
			if row.edit != nil {
				row.edit(l, doc)
			}
			_, claim, err := evidence.CheckClaim(l.Installation, l.Registration, l.SignLoose(l.Key(or(row.signer, "token")), doc))
			if row.reason != 0 {
				wantRefusal(t, err, row.reason, row.where, row.field)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := evidence.EnrolmentOf(claim); err != nil || !proto.Equal(got, terms) {
				t.Errorf("EnrolmentOf = %v, %v", got, err)
			}
		})
	}
}

// TestEnrolmentOnlyInNumber0: a later document that carries terms is none, whoever signed it.
func TestEnrolmentOnlyInNumber0(t *testing.T) {
	l := enrolledWallet(t)
	next := l.NextGuardRails(func(d *typev1.GuardRails) { d.Enrolment = l.Enrolment })
	for _, signer := range []string{"owner/owner", "token"} {
		_, err := evidence.Accept(l.Installation, l.Head, l.SignLoose(l.Key(signer), next))
		wantRefusal(t, err, badStatement, "guard-rails", "enrolment")
	}
	// The token that claimed is no owner key: it signs no document after.
	_, err := evidence.Accept(l.Installation, l.Head, l.Sign(l.Key("token"), l.NextGuardRails(nil)))
	wantRefusal(t, err, badStatement, "guard-rails", "signatures")
	l.SetGuardRails(nil)
}

// TestEnrolmentInside: terms are decoded as strictly as the document around them.
func TestEnrolmentInside(t *testing.T) {
	for name, edit := range map[string]func(e *typev1.Envelope){
		"unknown field in its payload": func(e *typev1.Envelope) { e.Payload = append(e.GetPayload(), unknownTail...) },
		"empty":                        func(e *typev1.Envelope) { proto.Reset(e) },
		"another type":                 func(e *typev1.Envelope) { e.PayloadType = evidence.TypeReview },
		"unsigned":                     func(e *typev1.Envelope) { e.Signatures = nil },
		"signed twice by one key":      func(e *typev1.Envelope) { e.Signatures = append(e.GetSignatures(), e.GetSignatures()[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			doc := proto.CloneOf(enrolledWallet(t).Head.Document)
			edit(doc.GetEnrolment())
			_, err := evidence.Marshal(doc)
			wantRefusal(t, err, badStatement, "guard-rails", "enrolment")
			err = evidence.Unmarshal(loose(t, doc), new(typev1.GuardRails))
			wantRefusal(t, err, badStatement, "guard-rails", "enrolment")
		})
	}
}

// TestClaimedUnder: whose claim it is, by signatures that verify, not by the keys that an envelope names.
func TestClaimedUnder(t *testing.T) {
	l := enrolledWallet(t)
	byOwner := l.World.ClaimedWallet(evidencetest.WalletConfig{ID: "other"})
	owner, stranger := evidencetest.Public(l.OwnerKey), evidencetest.Public(l.Key("stranger"))
	madeUp := func(e *typev1.Envelope) *typev1.Envelope {
		e = proto.CloneOf(e)
		e.Signatures = append(e.GetSignatures(), &typev1.Signature{PublicKey: stranger, Signature: make([]byte, 64)})
		return e
	}
	forged := proto.CloneOf(l.Head.Document)
	forged.Enrolment = madeUp(l.Enrolment)
	for _, row := range []struct {
		name string
		head *evidence.Head
		key  []byte
		want bool
	}{
		{"owner's claim, owner", byOwner.Head, owner, true},
		{"owner's claim, stranger", byOwner.Head, stranger, false},
		{
			"owner's claim, stranger named beside", &evidence.Head{Document: byOwner.Head.Document, Envelope: madeUp(byOwner.Claim)},
			stranger, false,
		},
		{"token's claim, owner", l.Head, owner, true},
		{"token's claim, stranger", l.Head, stranger, false},
		{"token's claim, token", l.Head, evidencetest.Public(l.Key("token")), false},
		{"token's claim, stranger named beside", &evidence.Head{Document: forged, Envelope: l.Claim}, stranger, false},
	} {
		if got := evidence.ClaimedUnder(row.head, row.key); got != row.want {
			t.Errorf("%s: %t, want %t", row.name, got, row.want)
		}
	}
	if got, err := evidence.EnrolmentOf(byOwner.Head); got != nil || err != nil {
		t.Errorf("EnrolmentOf a claim by its owner = %v, %v", got, err)
	}
}

// TestOneTimeDeadlines: the last millisecond counts, the next does not.
func TestOneTimeDeadlines(t *testing.T) {
	end := start.UnixMilli()
	token, invitation := &typev1.Enrolment{ExpiryMillis: end}, &typev1.OwnerInvitation{ExpiryMillis: end}
	for late, want := range map[time.Duration]bool{-time.Hour: true, 0: true, time.Millisecond: false, time.Hour: false} {
		for name, err := range map[string]error{
			"enrolment":        evidence.CheckEnrolmentTime(token, start.Add(late)),
			"owner-invitation": evidence.CheckInvitationTime(invitation, start.Add(late)),
		} {
			if want {
				if err != nil {
					t.Errorf("%s, %v late: %v", name, late, err)
				}
				continue
			}
			wantRefusal(t, err, typev1.Reason_REASON_CODE_EXPIRED, name, "expiry_millis")
		}
	}
}

func TestCheckInvitation(t *testing.T) {
	w := fixedWorld(t)
	owner := evidencetest.Public(w.Key("owner/owner"))
	m := &typev1.OwnerRegistration{Email: "colleague@company.example"}
	for _, row := range []struct {
		name   string
		edit   func(i *typev1.OwnerInvitation)
		signer string
		reason typev1.Reason
		field  string
	}{
		{"as it should be", func(*typev1.OwnerInvitation) {}, "owner/owner", 0, ""},
		{"for any address", func(i *typev1.OwnerInvitation) { i.Email = "" }, "owner/owner", 0, ""},
		{"signed by a stranger", func(*typev1.OwnerInvitation) {}, "foreign", badStatement, "signatures"},
		{"signed by itself", func(*typev1.OwnerInvitation) {}, "invitation", badStatement, "signatures"},
		{"of another installation", func(i *typev1.OwnerInvitation) { i.Installation = "prod" }, "owner/owner", isMismatch, "installation"},
		{"for another address", func(i *typev1.OwnerInvitation) { i.Email = "other@company.example" }, "owner/owner", isMismatch, "email"},
		{"its key is the owner's", func(i *typev1.OwnerInvitation) { i.InvitationKey = owner }, "owner/owner", badStatement, "invitation_key"},
		{
			"its key is of small order", func(i *typev1.OwnerInvitation) { i.InvitationKey = identityPoint() },
			"owner/owner", badStatement, "invitation_key",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := sampleOf(t, "owner-invitation").(*typev1.OwnerInvitation)
			row.edit(i)
			got, err := evidence.CheckInvitation(w.Installation, w.SignLoose(w.Key(row.signer), i), m, owner)
			if row.reason != 0 {
				wantRefusal(t, err, row.reason, "owner-invitation", row.field)
				return
			}
			if err != nil || !proto.Equal(got, i) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
