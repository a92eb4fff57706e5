package cosigner_test

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

const frozen = typev1.Reason_REASON_FROZEN

// freezing is one subject's freezes as a client asks for them.
type freezing struct {
	f     *fixture
	scope typev1.Scope
	// name is the wallet's or owner's.
	name string
}

func (f *fixture) of(scope typev1.Scope, name string) *freezing {
	return &freezing{f: f, scope: scope, name: name}
}

func (s *freezing) wallet() string {
	if s.scope == typev1.Scope_SCOPE_WALLET {
		return s.name
	}
	return ""
}

func (s *freezing) owner() string {
	if s.scope == typev1.Scope_SCOPE_OWNER {
		return s.name
	}
	return ""
}

// freeze asks for a freeze; frozen is what the acknowledgement says of now.
func (s *freezing) freeze(id string) (frozen bool, err error) {
	resp, err := s.f.Freeze(s.f.t.Context(), &cosignerv1.FreezeRequest{Freeze: &typev1.Freeze{
		FreezeId: id, Scope: s.scope, Wallet: s.wallet(), Owner: s.owner(), Caller: "operator",
	}})
	if err != nil {
		return false, err
	}
	return s.check(typev1.Acknowledged_ACKNOWLEDGED_FREEZE, id, resp.GetResult())
}

func (s *freezing) statement(id string) *typev1.Unfreeze {
	return &typev1.Unfreeze{Installation: s.f.Installation.ID(), Scope: s.scope, Wallet: s.wallet(), Owner: s.owner(), FreezeId: id}
}

func (s *freezing) unfreeze(id string, key ed25519.PrivateKey) (frozen bool, err error) {
	resp, err := s.f.Unfreeze(s.f.t.Context(), &cosignerv1.UnfreezeRequest{Unfreeze: s.f.Sign(key, s.statement(id))})
	if err != nil {
		return false, err
	}
	return s.check(typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE, id, resp.GetResult())
}

func (s *freezing) check(kind typev1.Acknowledged, id string, result *typev1.FreezeResult) (bool, error) {
	ack, err := evidence.CheckAcknowledgement(s.f.Installation, typev1.Purpose_PURPOSE_COSIGNER, result.GetAcknowledgement())
	if err != nil {
		return false, err
	}
	if ack.GetKind() != kind || ack.GetScope() != s.scope || ack.GetWallet() != s.wallet() || ack.GetOwner() != s.owner() ||
		ack.GetFreezeId() != id {
		return false, fmt.Errorf("acknowledged %v", ack)
	}
	return ack.GetFrozen(), nil
}

// must is for steps that a test stands on.
func (s *freezing) mustFreeze(id string) {
	s.f.t.Helper()
	if is, err := s.freeze(id); err != nil || !is {
		s.f.t.Fatalf("freeze %s: frozen %t, %s", id, is, describe(err))
	}
}

func (s *freezing) mustUnfreeze(id string, key ed25519.PrivateKey, want bool) {
	s.f.t.Helper()
	if is, err := s.unfreeze(id, key); err != nil || is != want {
		s.f.t.Fatalf("unfreeze %s: frozen %t, want %t, %s", id, is, want, describe(err))
	}
}

func (w *wallet) wantPays(t testing.TB) {
	t.Helper()
	if err := w.pays(); err != nil {
		t.Errorf("%s does not pay: %s", w.Name, describe(err))
	}
}

func (w *wallet) wantFrozen(t testing.TB, scope, id string) {
	t.Helper()
	err := w.pays()
	wantReason(t, err, frozen)
	if m := fault.Of(err).Metadata; m["scope"] != scope || m["freeze_id"] != id {
		t.Errorf("%s is frozen by %s %q, want %s %q", w.Name, m["scope"], m["freeze_id"], scope, id)
	}
}

// Each scope stops whom it should, others go on, and its end lets go.
func TestFreezeScopes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		subject func(f *fixture) *freezing
		key     func(f *fixture) ed25519.PrivateKey
		scope   string
		stopped map[string]bool
	}{
		{
			"wallet", func(f *fixture) *freezing { return f.of(typev1.Scope_SCOPE_WALLET, "wallets/a") },
			func(f *fixture) ed25519.PrivateKey { return f.Key("owner/alice") }, "WALLET",
			map[string]bool{"a": true, "b": false, "c": false},
		},
		{
			"owner", func(f *fixture) *freezing { return f.of(typev1.Scope_SCOPE_OWNER, "owners/alice") },
			func(f *fixture) ed25519.PrivateKey { return f.Key("owner/alice") }, "OWNER",
			map[string]bool{"a": true, "b": true, "c": false},
		},
		{
			"installation", func(f *fixture) *freezing { return f.of(typev1.Scope_SCOPE_INSTALLATION, "") },
			func(f *fixture) ed25519.PrivateKey { return f.Operator }, "INSTALLATION",
			map[string]bool{"a": true, "b": true, "c": true},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			wallets := map[string]*wallet{"a": f.payable("a", "alice"), "b": f.payable("b", "alice"), "c": f.payable("c", "bob")}
			s := tt.subject(f)
			want := func(stopped bool, id string) {
				t.Helper()
				for name, w := range wallets {
					if stopped && tt.stopped[name] {
						w.wantFrozen(t, tt.scope, id)
					} else {
						w.wantPays(t)
					}
				}
			}
			s.mustFreeze("f1")
			want(true, "f1")
			s.mustFreeze("f1") // idempotent
			s.mustFreeze("f2")
			want(true, "f1")
			s.mustUnfreeze("f1", tt.key(f), true) // the other still holds
			want(true, "f2")
			s.mustUnfreeze("f2", tt.key(f), false)
			want(false, "")
			s.mustUnfreeze("f2", tt.key(f), false) // idempotent
			_, err := s.freeze("f2")
			wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED)
			want(false, "")
			s.mustFreeze("f3")
			want(true, "f3")
		})
	}
}

// The end may arrive first: that id never stops anything, and is never said to be in force.
func TestUnfreezeFirst(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	for _, tt := range []struct {
		s   *freezing
		key ed25519.PrivateKey
	}{
		{f.of(typev1.Scope_SCOPE_WALLET, "wallets/a"), w.OwnerKey},
		{f.of(typev1.Scope_SCOPE_OWNER, "owners/alice"), w.OwnerKey},
		{f.of(typev1.Scope_SCOPE_INSTALLATION, ""), f.Operator},
	} {
		tt.s.mustUnfreeze("early", tt.key, false)
		for range 2 {
			_, err := tt.s.freeze("early")
			wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED)
		}
		w.wantPays(t)
	}
}

// Ends are taken from the owner of the wallet, or from the operator for the installation, and from nobody else.
func TestUnfreezeRefusals(t *testing.T) {
	f := newFixture(t)
	a := f.payable("a", "alice")
	f.payable("b", "bob")
	ofWallet := f.of(typev1.Scope_SCOPE_WALLET, "wallets/a")
	ofOwner := f.of(typev1.Scope_SCOPE_OWNER, "owners/alice")
	ofInstallation := f.of(typev1.Scope_SCOPE_INSTALLATION, "")
	for _, s := range []*freezing{ofWallet, ofOwner, ofInstallation} {
		s.mustFreeze("f1")
	}
	alice, bob := a.OwnerKey, f.Key("owner/bob")
	for _, tt := range []struct {
		name     string
		envelope *typev1.Envelope
		want     typev1.Reason
	}{
		{"wallet's by another owner", f.Sign(bob, ofWallet.statement("f1")), bad},
		{"wallet's by its agent", f.Sign(a.RequestKey, ofWallet.statement("f1")), bad},
		{"wallet's by the operator", f.Sign(f.Operator, ofWallet.statement("f1")), bad},
		{"wallet's by the ledger", f.Sign(f.Ledger, ofWallet.statement("f1")), bad},
		{"owner's by another owner", f.Sign(bob, ofOwner.statement("f1")), bad},
		{"owner's by a stranger", f.Sign(f.Key("stranger"), ofOwner.statement("f1")), bad},
		{"owner's by the operator", f.Sign(f.Operator, ofOwner.statement("f1")), bad},
		{"installation's by an owner", f.Sign(alice, ofInstallation.statement("f1")), bad},
		{"installation's by the co-signer", f.Sign(f.Cosigner, ofInstallation.statement("f1")), bad},
		{"tampered with", flip(f.Sign(alice, ofWallet.statement("f1"))), bad},
		{"missing", nil, missing},
		{"of another installation", f.Sign(alice, func() *typev1.Unfreeze {
			u := ofWallet.statement("f1")
			u.Installation = "other"
			return u
		}()), mismatch},
		{
			"of a wallet that is not sealed", f.Sign(alice, f.of(typev1.Scope_SCOPE_WALLET, "wallets/nobody").statement("f1")),
			typev1.Reason_REASON_NOT_FOUND,
		},
		{"of a scope without its subject", f.SignLoose(alice,
			&typev1.Unfreeze{Installation: "test", Scope: typev1.Scope_SCOPE_WALLET, FreezeId: "f1"}), bad},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(f.keys(""))
			_, err := f.Unfreeze(t.Context(), &cosignerv1.UnfreezeRequest{Unfreeze: tt.envelope})
			wantReason(t, err, tt.want)
			if got := len(f.keys("")); got != before {
				t.Errorf("the store went from %d to %d keys", before, got)
			}
		})
	}
	ofInstallation.mustUnfreeze("f1", f.Operator, false)
	a.wantFrozen(t, "WALLET", "f1")
	ofWallet.mustUnfreeze("f1", alice, true) // the owner's freeze stops the wallet still
	a.wantFrozen(t, "OWNER", "f1")
	ofOwner.mustUnfreeze("f1", alice, false)
	a.wantPays(t)
}

func TestFreezeRefusals(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		name   string
		freeze *typev1.Freeze
	}{
		{"missing", nil},
		{"no scope", &typev1.Freeze{FreezeId: "f1", Wallet: "wallets/a"}},
		{"wallet without a name", &typev1.Freeze{FreezeId: "f1", Scope: typev1.Scope_SCOPE_WALLET}},
		{"wallet with an owner", &typev1.Freeze{FreezeId: "f1", Scope: typev1.Scope_SCOPE_WALLET, Wallet: "wallets/a", Owner: "owners/alice"}},
		{"wallet's name with a slash", &typev1.Freeze{FreezeId: "f1", Scope: typev1.Scope_SCOPE_WALLET, Wallet: "wallets/a/b"}},
		{"owner without a name", &typev1.Freeze{FreezeId: "f1", Scope: typev1.Scope_SCOPE_OWNER}},
		{"installation with a wallet", &typev1.Freeze{FreezeId: "f1", Scope: typev1.Scope_SCOPE_INSTALLATION, Wallet: "wallets/a"}},
		{"no id", &typev1.Freeze{Scope: typev1.Scope_SCOPE_INSTALLATION}},
		{"id with a slash", &typev1.Freeze{FreezeId: "f/1", Scope: typev1.Scope_SCOPE_INSTALLATION}},
		{"unknown scope", &typev1.Freeze{FreezeId: "f1", Scope: 9}},
		{"caller without end", &typev1.Freeze{FreezeId: "f1", Scope: typev1.Scope_SCOPE_INSTALLATION, Caller: strings.Repeat("x", 1000)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.Freeze(t.Context(), &cosignerv1.FreezeRequest{Freeze: tt.freeze})
			wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT)
		})
	}
	if got := f.keys("freezes/"); len(got) > 0 {
		t.Errorf("the store holds %v", got)
	}
}

// A wallet can be frozen before anybody claims it, and wakes up frozen.
func TestFreezeBeforeTheClaim(t *testing.T) {
	f := newFixture(t)
	s := f.of(typev1.Scope_SCOPE_WALLET, "wallets/research")
	s.mustFreeze("f1")
	w := f.payable("research")
	w.wantFrozen(t, "WALLET", "f1")
	s.mustUnfreeze("f1", w.OwnerKey, false)
	w.wantPays(t)
}

// An owner's end counts for the wallets whose heads hold its key. A wallet that was claimed in an owner's name with another's
// key frees only itself.
func TestOwnerUnfreezeCountsByHead(t *testing.T) {
	f := newFixture(t)
	a := f.payable("a", "alice")
	s := f.of(typev1.Scope_SCOPE_OWNER, "owners/alice")

	// Somebody claims a wallet of his own in alice's name, under his key.
	mallory := f.Key("mallory")
	k := f.unclaimed("m")
	groupKey := k.share.GroupKey()
	k.owned = f.ClaimedWallet(evidencetest.WalletConfig{
		ID: "m", GroupKey: groupKey[:], RequestKey: k.requestKey, Owner: "alice", OwnerKey: mallory,
	})
	if _, err := k.seal(); err != nil {
		t.Fatal(describe(err))
	}
	m := &wallet{Wallet: k.owned, f: f, share: k.share}
	m.deliver(m.SetGuardRails(evidencetest.Allow(f.recipient())))

	s.mustFreeze("f1")
	s.mustUnfreeze("f1", mallory, false)
	a.wantFrozen(t, "OWNER", "f1")
	m.wantPays(t)
	s.mustUnfreeze("f1", a.OwnerKey, false)
	a.wantPays(t)

	// His end ahead of the freeze does not keep the freeze from alice's wallets, though its id is said to be used.
	s.mustUnfreeze("f2", mallory, false)
	_, err := s.freeze("f2")
	wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED)
	a.wantFrozen(t, "OWNER", "f2")
	m.wantPays(t)
}

// After an owner key was replaced, an end under the old one is not accepted for the wallet any more.
func TestUnfreezeUnderAReplacedKey(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	old := w.OwnerKey
	s := f.of(typev1.Scope_SCOPE_WALLET, w.Name)
	s.mustFreeze("f1")
	w.OwnerKey = f.Key("owner-2")
	w.setKeys(old, w.OwnerKey)
	_, err := s.unfreeze("f1", old)
	wantReason(t, err, bad)
	w.wantFrozen(t, "WALLET", "f1")
	s.mustUnfreeze("f1", w.OwnerKey, false)
	w.wantPays(t)
}

// Once a freeze is acknowledged, no release that begins afterwards passes, on any replica; another wallet goes on.
func TestFreezeRacesReleases(t *testing.T) {
	f := newFixture(t)
	clients := []cosignerv1.CosignerServiceClient{f, f.replica()}
	other := f.payable("other", "bob")
	for n, scope := range []typev1.Scope{typev1.Scope_SCOPE_WALLET, typev1.Scope_SCOPE_OWNER} {
		w := f.payable(fmt.Sprintf("w-%d", n), "alice")
		name := w.Name
		if scope == typev1.Scope_SCOPE_OWNER {
			name = w.Owner
		}
		var acknowledged atomic.Bool
		var wait sync.WaitGroup
		var before, after atomic.Int64
		warm := make(chan struct{}, 100)
		for i := range 4 {
			attempt, others := w.attempt(), other.attempt()
			wait.Go(func() {
				for range 60 {
					begun := acknowledged.Load()
					_, err := attempt.ask(t.Context(), clients[i%2])
					switch {
					case begun && err == nil:
						t.Error("a share left after the acknowledgement")
					case begun:
						after.Add(1)
						if fault.ReasonOf(err) != frozen {
							t.Error(describe(err))
						}
					case err == nil:
						before.Add(1)
					}
					select {
					case warm <- struct{}{}:
					default:
					}
				}
				if _, err := others.ask(t.Context(), clients[i%2]); err != nil {
					t.Errorf("the other wallet: %s", describe(err))
				}
			})
		}
		for range 20 {
			<-warm
		}
		f.of(scope, name).mustFreeze("now")
		acknowledged.Store(true)
		wait.Wait()
		if before.Load() == 0 || after.Load() == 0 {
			t.Errorf("%d releases before, %d refusals after; the race was none", before.Load(), after.Load())
		}
	}
}

// Freeze and end of one id race: whichever comes first, in the end the id stops nothing.
func TestFreezeRacesUnfreeze(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	s := f.of(typev1.Scope_SCOPE_WALLET, w.Name)
	for n := range 50 {
		id := fmt.Sprintf("f-%d", n)
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := s.freeze(id); err != nil && fault.ReasonOf(err) != typev1.Reason_REASON_FREEZE_ID_USED {
				t.Error(describe(err))
			}
		})
		wait.Go(func() {
			if _, err := s.unfreeze(id, w.OwnerKey); err != nil {
				t.Error(describe(err))
			}
		})
		wait.Wait()
		w.wantPays(t)
	}
	if got := f.keys("freezes/"); len(got) > 0 {
		t.Errorf("the store holds %v", got)
	}
}

// A subject that is frozen a thousand times is frozen; one more is refused, and ends make room.
func TestFreezesAreBounded(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	s := f.of(typev1.Scope_SCOPE_WALLET, w.Name)
	s.mustFreeze("first")
	f.fill("freezes/wallet/a/f-%d", cosigner.FreezesMax-1)
	_, err := s.freeze("one-more")
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED)
	wantReason(t, w.pays(), frozen)
	s.mustUnfreeze("first", w.OwnerKey, true)
	s.mustFreeze("one-more")
}

// An owner with more rows than a release reads counts as frozen.
func TestTooManyOwnerRowsFailClosed(t *testing.T) {
	f := newFixture(t)
	w := f.payable("a", "alice")
	signer := fmt.Sprintf("%x", evidencetest.Public(w.OwnerKey))
	f.fill("unfreezes/owner/alice/f-%d/"+signer, 8*cosigner.FreezesMax+1)
	wantReason(t, w.pays(), frozen)
}

// fill puts n keys, many at a time: what a release reads of them is the keys.
func (f *fixture) fill(format string, n int) {
	f.t.Helper()
	var ops []clientv3.Op
	for i := range n {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf(format, i), ""))
		if len(ops) < 128 && i < n-1 {
			continue
		}
		if _, err := f.kv.Txn(f.t.Context()).Then(ops...).Commit(); err != nil {
			f.t.Fatal(err)
		}
		ops = nil
	}
}

// What is listed is what is held: of the wallet, its owner and the installation, with the ends, and of nobody else.
func TestListFreezes(t *testing.T) {
	f := newFixture(t)
	w := f.sealed("a", "alice")
	f.sealed("b", "alice")
	owner, operator := f.Key("owner/alice"), f.Key("operator")
	ofWallet, ofOther := f.of(typev1.Scope_SCOPE_WALLET, w.Name), f.of(typev1.Scope_SCOPE_WALLET, "wallets/b")
	ofOwner, ofAll := f.of(typev1.Scope_SCOPE_OWNER, "owners/alice"), f.of(typev1.Scope_SCOPE_INSTALLATION, "")
	ofWallet.mustFreeze("w1")
	ofWallet.mustFreeze("w2")
	ofWallet.mustUnfreeze("w1", owner, true)
	ofOther.mustFreeze("other")
	ofOwner.mustFreeze("o1")
	ofOwner.mustUnfreeze("o1", owner, false)
	ofAll.mustFreeze("i1")
	ofAll.mustUnfreeze("i1", operator, false)

	resp, err := f.ListFreezes(t.Context(), &cosignerv1.ListFreezesRequest{Wallet: w.Name})
	if err != nil {
		t.Fatal(describe(err))
	}
	got := make(map[string]string)
	for _, fr := range resp.GetFreezes() {
		got[fr.GetFreezeId()] = fmt.Sprintf("%v %s%s by %q, %d ends", fr.GetScope(), fr.GetWallet(), fr.GetOwner(), fr.GetCaller(),
			len(fr.GetUnfreezes()))
	}
	want := map[string]string{
		"w1": `SCOPE_WALLET wallets/a by "", 1 ends`,
		"w2": `SCOPE_WALLET wallets/a by "operator", 0 ends`,
		"o1": `SCOPE_OWNER owners/alice by "operator", 1 ends`,
		"i1": `SCOPE_INSTALLATION  by "", 1 ends`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	_, err = f.ListFreezes(t.Context(), &cosignerv1.ListFreezesRequest{Wallet: "wallets/nobody"})
	wantReason(t, err, typev1.Reason_REASON_NOT_FOUND)
}
