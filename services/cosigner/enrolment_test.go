package cosigner_test

import (
	"crypto/ed25519"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

// tokenLife is how long the tokens of these tests claim.
const tokenLife = time.Hour

// enrolled runs a whole key generation for a wallet that a token claims.
func (f *fixture) enrolled(id string, token ed25519.PrivateKey) *keygen {
	f.t.Helper()
	k := f.unclaimed(id)
	groupKey := k.share.GroupKey()
	k.owned = f.ClaimedWallet(evidencetest.WalletConfig{
		ID: id, GroupKey: groupKey[:], RequestKey: k.requestKey, Token: token, TokenExpiry: start.Add(tokenLife),
	})
	return k
}

// TestSealByToken: a token claims in the owner's place, once; the repeat answers with the same record, also past the
// deadline, and the wallet pays once its owner has set guard rails.
func TestSealByToken(t *testing.T) {
	f := newFixture(t)
	k := f.enrolled("research", f.Key("token"))
	f.clock.Set(start.Add(tokenLife)) // the last moment
	first, err := k.seal()
	if err != nil {
		t.Fatal(describe(err))
	}
	f.clock.Advance(time.Hour)
	k.client = f.replica()
	again, err := k.seal()
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("the repeat answers otherwise: %s", describe(err))
	}
	w := &wallet{Wallet: k.owned, f: f, share: k.share}
	wantReason(t, w.pays(), typev1.Reason_REASON_NO_GUARD_RAILS)
	w.deliver(w.SetGuardRails(evidencetest.Allow(f.recipient())))
	if err := w.pays(); err != nil {
		t.Errorf("a wallet that a token claimed does not pay: %s", describe(err))
	}
	_, err = f.enrolled("other", f.Key("token")).seal()
	wantReason(t, err, typev1.Reason_REASON_CODE_USED)
	if got, want := f.keys("records/"), []string{"records/research"}; !slices.Equal(got, want) {
		t.Errorf("the store holds %v, want %v", got, want)
	}
}

func TestSealByTokenRefusals(t *testing.T) {
	type row struct {
		name string
		// edit changes number 0, terms the enrolment inside it; both are signed again, by whom signer names.
		edit   func(k *keygen, d *typev1.GuardRails)
		terms  func(k *keygen, m *typev1.Enrolment)
		signer string
		later  time.Duration
		want   typev1.Reason
	}
	bad, mismatch := typev1.Reason_REASON_BAD_STATEMENT, typev1.Reason_REASON_EVIDENCE_MISMATCH
	for _, tt := range []row{
		{name: "past its deadline", later: tokenLife + time.Millisecond, want: typev1.Reason_REASON_CODE_EXPIRED},
		{name: "signed by the owner in the token's place", signer: "owner/owner", want: bad},
		{name: "signed by another token", signer: "other", want: bad},
		{
			name: "terms for another token", terms: func(k *keygen, m *typev1.Enrolment) { m.TokenKey = evidencetest.Public(k.f.Key("other")) },
			want: bad,
		},
		{name: "terms of another installation", terms: func(_ *keygen, m *typev1.Enrolment) { m.Installation = "prod" }, want: mismatch},
		{name: "terms for another handle", terms: func(_ *keygen, m *typev1.Enrolment) { m.Handle = "other" }, want: mismatch},
		{name: "another owner than the terms name", edit: func(_ *keygen, d *typev1.GuardRails) { d.Owner = "owners/thief" }, want: mismatch},
		{name: "other owner keys than the terms name", edit: func(k *keygen, d *typev1.GuardRails) {
			d.OwnerKeys = [][]byte{evidencetest.Public(k.f.Key("thief"))}
		}, want: mismatch},
		{name: "terms that nobody signed", edit: func(_ *keygen, d *typev1.GuardRails) { d.Enrolment.Signatures = nil }, want: bad},
		{name: "another registration", edit: func(_ *keygen, d *typev1.GuardRails) { d.RegistrationDigest = make([]byte, 32) }, want: mismatch},
		{
			name: "number 0 that pays", edit: func(_ *keygen, d *typev1.GuardRails) { evidencetest.Standard(d) },
			want: typev1.Reason_REASON_GUARD_RAILS_REFUSED,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			k := f.enrolled("research", f.Key("token"))
			doc := k.claimDocument()
			if tt.terms != nil {
				m := new(typev1.Enrolment)
				f.Decode(doc.GetEnrolment(), m)
				tt.terms(k, m)
				doc.Enrolment = f.SignLoose(k.owned.OwnerKey, m)
			}
			if tt.edit != nil {
				tt.edit(k, doc)
			}
			if tt.signer == "" {
				tt.signer = "token"
			}
			f.clock.Set(start.Add(tt.later))
			_, err := f.SealWallet(t.Context(), &cosignerv1.SealWalletRequest{
				Registration: k.owned.Registration, GuardRails: f.SignLoose(f.Key(tt.signer), doc),
			})
			wantReason(t, err, tt.want)
			if got := slices.Concat(f.keys("records/"), f.keys("enrolments/")); len(got) > 0 {
				t.Errorf("the store holds %v", got)
			}
			f.clock.Set(start)
			if _, err := k.seal(); err != nil {
				t.Errorf("the honest claim afterwards: %s", describe(err))
			}
		})
	}
}

// TestRacingTokens: two wallets claimed by one token at once, on two replicas: exactly one is.
func TestRacingTokens(t *testing.T) {
	f := newFixture(t)
	replicas := []cosignerv1.CosignerServiceClient{f, f.replica()}
	for n := range 20 {
		token := f.Key("token/" + string(rune('a'+n)))
		errs := make(chan error, len(replicas))
		var begin sync.WaitGroup
		begin.Add(1)
		for i, client := range replicas {
			k := f.enrolled(string(rune('a'+n))+string(rune('0'+i)), token)
			k.client = client
			go func() {
				begin.Wait()
				_, err := k.seal()
				errs <- err
			}()
		}
		begin.Done()
		first, second := <-errs, <-errs
		if first != nil {
			first, second = second, first
		}
		if first != nil {
			t.Fatalf("neither was claimed: %s, %s", describe(first), describe(second))
		}
		wantReason(t, second, typev1.Reason_REASON_CODE_USED)
		if got := f.keys("records/" + string(rune('a'+n))); len(got) != 1 {
			t.Fatalf("the store holds %v", got)
		}
	}
}

// TestUsedTokenInTheStore: the row that says what a token claimed is vouched for like every other, and a token is not spent by
// a claim that is refused for another reason.
func TestUsedTokenInTheStore(t *testing.T) {
	f := newFixture(t)
	a := f.enrolled("a", f.Key("token"))
	late := f.enrolled("late", f.Key("late"))
	f.clock.Set(start.Add(tokenLife - time.Second))
	if _, err := a.seal(); err != nil {
		t.Fatal(describe(err))
	}
	key := f.keys("enrolments/")
	if len(key) != 1 {
		t.Fatalf("the store holds %v, want one token", key)
	}
	f.put(key[0], []byte("b"))
	_, err := f.enrolled("b", f.Key("token")).seal()
	wantReason(t, err, typev1.Reason_REASON_INTERNAL)

	f.clock.Set(start.Add(cosigner.RegistrationLife + time.Second))
	_, err = late.seal()
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE)
	if got := f.keys("enrolments/"); !slices.Equal(got, key) {
		t.Errorf("the store holds %v, want %v", got, key)
	}
}
