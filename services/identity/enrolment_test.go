package identity_test

import (
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/identity"
)

const codeExpired = typev1.Reason_REASON_CODE_EXPIRED

// withOwner makes the first owner.
func withOwner(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	_, err := f.createOwner(f.ownerStatement("first", email))
	f.must(err)
	return f
}

func (f *fixture) cosign(e *typev1.Envelope, key ed25519.PrivateKey) *typev1.Envelope {
	f.t.Helper()
	e, err := evidence.CoSign(e, key)
	f.must(err)
	return e
}

// terms are the first owner's, for the token of a name.
func (f *fixture) terms(token string) *typev1.Enrolment {
	return &typev1.Enrolment{
		Installation: f.Installation.ID(), Owner: "owners/first", OwnerKeys: [][]byte{evidencetest.Public(f.Key("owner/first"))},
		TokenKey: evidencetest.Public(f.Key(token)), ExpiryMillis: start.Add(time.Hour).UnixMilli(),
	}
}

func (f *fixture) enrol(s *typev1.Envelope, enrolment *typev1.Envelope, source string) error {
	_, err := f.identity.CreateRegistration(f.t.Context(),
		&identityv1.CreateRegistrationRequest{Start: s, Enrolment: enrolment, Source: source})
	return err
}

// TestCreateRegistrationByToken: which tokens begin a registration, where one is demanded and where it is not.
func TestCreateRegistrationByToken(t *testing.T) {
	type call struct {
		terms  *typev1.Enrolment
		signer string // of the terms
		token  string // signs the start as well; empty for nobody
		email  string
		later  time.Duration
	}
	for _, tt := range []struct {
		name string
		edit func(f *fixture, c *call)
		want typev1.Reason
	}{
		{name: "as it should be"},
		{name: "at its last moment", edit: func(_ *fixture, c *call) { c.later = time.Hour }},
		{name: "for this handle", edit: func(_ *fixture, c *call) { c.terms.Handle = "w" }},
		{name: "without the token's signature", edit: func(_ *fixture, c *call) { c.token = "" }, want: badStatement},
		{name: "under another token's signature", edit: func(_ *fixture, c *call) { c.token = "other" }, want: badStatement},
		{name: "terms that nobody signed", edit: func(_ *fixture, c *call) { c.signer = "" }, want: badStatement},
		{name: "terms signed by a stranger", edit: func(f *fixture, c *call) {
			c.signer, c.terms.OwnerKeys = "thief", [][]byte{evidencetest.Public(f.Key("thief"))}
		}, want: badStatement},
		{name: "terms signed by a key that they do not name", edit: func(f *fixture, c *call) {
			c.terms.OwnerKeys = [][]byte{evidencetest.Public(f.Key("thief"))}
		}, want: badStatement},
		{name: "of an owner that is not known", edit: func(_ *fixture, c *call) { c.terms.Owner = "owners/nobody" }, want: notFound},
		{name: "of another installation", edit: func(_ *fixture, c *call) { c.terms.Installation = "prod" }, want: mismatch},
		{name: "for another handle", edit: func(_ *fixture, c *call) { c.terms.Handle = "other" }, want: mismatch},
		{name: "with another address than the owner's", edit: func(_ *fixture, c *call) { c.email = "thief@example.com" }, want: mismatch},
		{name: "the token is an owner key", edit: func(f *fixture, c *call) {
			c.terms.TokenKey, c.token = evidencetest.Public(f.Key("owner/first")), "owner/first"
		}, want: badStatement},
		{name: "the token is the request key", edit: func(f *fixture, c *call) {
			c.terms.TokenKey, c.token = evidencetest.Public(f.Key("request/w")), ""
		}, want: badStatement},
		{name: "past its deadline", edit: func(_ *fixture, c *call) { c.later = time.Hour + time.Millisecond }, want: codeExpired},
	} {
		for _, demand := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, demanded %t", tt.name, demand), func(t *testing.T) {
				f := withOwner(t)
				f.demandEnrolment = demand
				f.restart()
				c := &call{terms: f.terms("token"), signer: "owner/first", token: "token", email: email}
				if tt.edit != nil {
					tt.edit(f, c)
				}
				l := f.wallet("w")
				s := f.start(l, 1, c.email)
				if c.token != "" {
					s = f.cosign(s, f.Key(c.token))
				}
				enrolment := f.SignLoose(f.Key(c.signer), c.terms)
				if c.signer == "" {
					enrolment.Signatures = nil
				}
				f.clock.Advance(c.later)
				err := f.enrol(s, enrolment, "192.0.2.1")
				if tt.want == 0 {
					f.must(err)
					f.must(f.enrol(s, enrolment, "192.0.2.1")) // the repeat
					f.must(f.complete(l))
					return
				}
				servicetest.Refused(t, err, tt.want)
				if _, err := f.get(l.Name); err == nil {
					t.Error("the wallet was begun")
				}
			})
		}
	}
}

// TestDemandEnrolment: without a token nothing begins, and a token does not lift the bounds.
func TestDemandEnrolment(t *testing.T) {
	f := withOwner(t)
	f.demandEnrolment, f.bounds = true, identity.Bounds{PerSource: 2}
	f.restart()
	servicetest.Refused(t, f.create(f.start(f.wallet("w"), 1, email), "192.0.2.1"), denied)
	enrolment := f.Sign(f.Key("owner/first"), f.terms("token"))
	begin := func(id, source string) error {
		return f.enrol(f.cosign(f.start(f.wallet(id), 1, email), f.Key("token")), enrolment, source)
	}
	f.must(begin("a", "192.0.2.1"))
	f.must(begin("b", "192.0.2.1"))
	servicetest.Refused(t, begin("c", "192.0.2.1"), limit)
	f.must(begin("c", "192.0.2.2"))
}

// TestTokenOfReplacedKeys: a token whose terms name a key that the owner has replaced begins nothing, though the key that signed
// them is the owner's still: the replaced one would own the new wallet.
func TestTokenOfReplacedKeys(t *testing.T) {
	f := withOwner(t)
	own := func(number uint64, keys ...ed25519.PrivateKey) *typev1.OwnerKeys {
		m := f.ownerKeys(number, keys...)
		m.Owner = "owners/first"
		return m
	}
	first, leaked := f.Key("owner/first"), f.Key("leaked")
	_, err := f.setKeys(f.Sign(first, own(1, first, leaked)))
	f.must(err)
	terms := f.terms("token")
	terms.OwnerKeys = own(1, first, leaked).GetOwnerKeys()
	enrolment := f.Sign(first, terms)
	begin := func(id string) error {
		return f.enrol(f.cosign(f.start(f.wallet(id), 1, email), f.Key("token")), enrolment, "192.0.2.1")
	}
	f.must(begin("before"))
	_, err = f.setKeys(f.Sign(first, own(2, first, f.Key("next"))))
	f.must(err)
	servicetest.Refused(t, begin("after"), mismatch)
	if _, err := f.get("wallets/after"); err == nil {
		t.Error("the wallet was begun")
	}
}

// invitation is the first owner's, of a key of a name.
func (f *fixture) invitation(key string) *typev1.OwnerInvitation {
	return &typev1.OwnerInvitation{
		Installation: f.Installation.ID(), Owner: "owners/first", InvitationKey: evidencetest.Public(f.Key(key)),
		ExpiryMillis: start.Add(time.Hour).UnixMilli(),
	}
}

// invitedStatement is an owner's registration, signed by its key and by an invitation's.
func (f *fixture) invitedStatement(id, email, key string) *typev1.Envelope {
	f.t.Helper()
	own := f.Key("owner/" + id)
	return f.cosign(f.Sign(own, &typev1.OwnerRegistration{
		Installation: f.Installation.ID(), Owner: "owners/" + id, Email: email, OwnerKeys: [][]byte{evidencetest.Public(own)},
	}), f.Key(key))
}

func (f *fixture) accept(registration, invitation *typev1.Envelope) (*typev1.Owner, error) {
	resp, err := f.identity.CreateOwner(f.t.Context(), &identityv1.CreateOwnerRequest{Registration: registration, Invitation: invitation})
	return resp.GetOwner(), err
}

// TestInvitedOwnerOnce: an invitation makes one owner, once; the repeat answers the same whatever has become of the invitation.
func TestInvitedOwnerOnce(t *testing.T) {
	f := withOwner(t)
	invitation := f.Sign(f.Key("owner/first"), f.invitation("invitation"))
	good := f.invitedStatement("second", "second@example.com", "invitation")
	f.clock.Advance(time.Hour) // its last moment
	made, err := f.accept(good, invitation)
	f.must(err)
	if made.GetName() != "owners/second" || made.GetEmail() != "second@example.com" {
		t.Errorf("made %v", made)
	}
	f.clock.Advance(time.Hour)
	f.restart()
	again, err := f.accept(good, invitation)
	f.must(err)
	if !proto.Equal(made, again) {
		t.Error("a repeat answers something else")
	}
	// Whoever cannot show the invitation's signature learns nothing from its being used.
	bare := proto.CloneOf(good)
	bare.Signatures = bare.GetSignatures()[:1]
	_, err = f.accept(bare, invitation)
	servicetest.Refused(t, err, badStatement)
	f.clock.Advance(-2 * time.Hour)
	_, err = f.accept(f.invitedStatement("third", "third@example.com", "invitation"), invitation)
	servicetest.Refused(t, err, codeUsed)
	_, err = f.accept(f.invitedStatement("second", "moved@example.com", "invitation"), invitation)
	servicetest.Refused(t, err, codeUsed)
	// The bootstrap code is another code, and an invited owner invites.
	_, err = f.createOwner(f.ownerStatement("first", email))
	f.must(err)
	next := f.invitation("next")
	next.Owner = "owners/second"
	_, err = f.accept(f.invitedStatement("third", "third@example.com", "next"), f.Sign(f.Key("owner/second"), next))
	f.must(err)
}

func TestInvitationRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(f *fixture, m *typev1.OwnerInvitation)
		signer string // of the invitation; empty is the owner that it names
		id     string // of the new owner; empty is "second"
		email  string
		key    string // signs the registration; empty is the invitation's
		later  time.Duration
		want   typev1.Reason
	}{
		{name: "for this address", edit: func(_ *fixture, m *typev1.OwnerInvitation) { m.Email = "second@example.com" }},
		{name: "for another address", edit: func(_ *fixture, m *typev1.OwnerInvitation) { m.Email = "third@example.com" }, want: mismatch},
		{name: "by an owner that is not known", edit: func(_ *fixture, m *typev1.OwnerInvitation) { m.Owner = "owners/nobody" }, want: notFound},
		{name: "signed by a stranger", signer: "thief", want: badStatement},
		{name: "signed by itself", signer: "invitation", want: badStatement},
		{name: "signed by the bootstrap code", signer: "bootstrap", want: badStatement},
		{name: "of another installation", edit: func(_ *fixture, m *typev1.OwnerInvitation) { m.Installation = "prod" }, want: mismatch},
		{name: "the registration is signed by another key", key: "other", want: badStatement},
		{name: "the registration is signed by the bootstrap code", key: "bootstrap", want: badStatement},
		{name: "the invitation's key is the inviting owner's", edit: func(f *fixture, m *typev1.OwnerInvitation) {
			m.InvitationKey = evidencetest.Public(f.Key("owner/first"))
		}, key: "owner/first", want: badStatement},
		{name: "a name that is taken", id: "first", want: exists},
		{name: "an address that is taken", email: email, want: exists},
		{name: "past its deadline", later: time.Hour + time.Millisecond, want: codeExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := withOwner(t)
			m := f.invitation("invitation")
			if tt.edit != nil {
				tt.edit(f, m)
			}
			or := func(s, otherwise string) string {
				if s == "" {
					return otherwise
				}
				return s
			}
			registration := f.invitedStatement(or(tt.id, "second"), or(tt.email, "second@example.com"), or(tt.key, "invitation"))
			f.clock.Advance(tt.later)
			_, err := f.accept(registration, f.Sign(f.Key(or(tt.signer, "owner/first")), m))
			if tt.want == 0 {
				f.must(err)
				return
			}
			servicetest.Refused(t, err, tt.want)
			// What was refused has used nothing up.
			f.clock.Advance(-tt.later)
			_, err = f.accept(f.invitedStatement("second", "second@example.com", "invitation"),
				f.Sign(f.Key("owner/first"), f.invitation("invitation")))
			f.must(err)
		})
	}
}

// TestInvitationWithoutBootstrapCode: an installation whose code is gone still takes owners by invitation.
func TestInvitationWithoutBootstrapCode(t *testing.T) {
	f := withOwner(t)
	s, err := identity.New(identity.Config{Installations: f.Installations, KV: f.kv, Clock: f.clock.Now})
	f.must(err)
	f.identity = identityv1.NewIdentityServiceClient(servicetest.Connect(t, s))
	_, err = f.createOwner(f.ownerStatement("second", "second@example.com"))
	servicetest.Refused(t, err, denied)
	_, err = f.accept(f.invitedStatement("second", "second@example.com", "invitation"),
		f.Sign(f.Key("owner/first"), f.invitation("invitation")))
	f.must(err)
}

func TestInvitationRace(t *testing.T) {
	f := withOwner(t)
	invitation := f.Sign(f.Key("owner/first"), f.invitation("invitation"))
	replicas := []identityv1.IdentityServiceClient{f.identity, f.replica()}
	var wg sync.WaitGroup
	won, lost := make(chan string, 16), make(chan error, 16)
	for n := range 16 {
		e := f.invitedStatement(fmt.Sprintf("o%d", n), fmt.Sprintf("o%d@example.com", n), "invitation")
		wg.Go(func() {
			resp, err := replicas[n%2].CreateOwner(t.Context(), &identityv1.CreateOwnerRequest{Registration: e, Invitation: invitation})
			if err != nil {
				lost <- err
				return
			}
			won <- resp.GetOwner().GetName()
		})
	}
	wg.Wait()
	close(lost)
	if len(won) != 1 {
		t.Errorf("one invitation made %d owners", len(won))
	}
	for err := range lost {
		servicetest.Refused(t, err, codeUsed)
	}
}

// TestReplacedKeyEndsWhatItSigned: tokens and invitations under an owner key that was replaced are good for nothing.
func TestReplacedKeyEndsWhatItSigned(t *testing.T) {
	f := withOwner(t)
	old, next := f.Key("owner/first"), f.Key("owner/first/next")
	terms := f.terms("token")
	enrolment, invitation := f.Sign(old, terms), f.Sign(old, f.invitation("invitation"))
	_, err := f.identity.SetOwnerKeys(t.Context(), &identityv1.SetOwnerKeysRequest{OwnerKeys: f.Sign(old, &typev1.OwnerKeys{
		Installation: f.Installation.ID(), Owner: "owners/first", Number: 1, OwnerKeys: [][]byte{evidencetest.Public(next)},
	})})
	f.must(err)
	begin := func(enrolment *typev1.Envelope) error {
		return f.enrol(f.cosign(f.start(f.wallet("w"), 1, email), f.Key("token")), enrolment, "192.0.2.1")
	}
	servicetest.Refused(t, begin(enrolment), badStatement)
	registration := f.invitedStatement("second", "second@example.com", "invitation")
	_, err = f.accept(registration, invitation)
	servicetest.Refused(t, err, badStatement)

	terms.OwnerKeys = [][]byte{evidencetest.Public(next)}
	f.must(begin(f.Sign(next, terms)))
	_, err = f.accept(registration, f.Sign(next, f.invitation("invitation")))
	f.must(err)
}

// TestActivateByToken: identity verifies a token's terms itself, whatever the co-signer's record says of the claim.
func TestActivateByToken(t *testing.T) {
	f := newFixture(t)
	l := f.ClaimedWallet(evidencetest.WalletConfig{ID: "enrolled", Token: f.Key("token"), TokenExpiry: start.Add(-time.Hour)})
	for name, d := range l.ForgedClaims() {
		if _, err := f.identity.ActivateWallet(t.Context(), &identityv1.ActivateWalletRequest{Documents: d}); err == nil {
			t.Errorf("%s: in the directory", name)
		}
	}
	f.must(f.activate(l))
}
