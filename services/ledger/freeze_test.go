package ledger

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// A freeze under concurrent load: after its acknowledgement nothing of the wallet is authorized or settled, and the other
// wallet goes on.
func TestFreezeUnderLoad(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	free := f.wallet("free", paying([]*evidencetest.Wallet{payee}, loose))
	f.deposit(free, "d2", 1000*usd)
	type outcome struct{ started, ended time.Time }
	var mu sync.Mutex
	more := sync.NewCond(&mu)
	passed := make(map[string][]outcome)
	var frozen error
	note := func(w *evidencetest.Wallet, started time.Time, err error) {
		mu.Lock()
		defer mu.Unlock()
		defer more.Broadcast()
		if err == nil {
			passed[w.Name] = append(passed[w.Name], outcome{started, time.Now()})
			return
		}
		if w == free || fault.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
			frozen = errors.Join(frozen, err)
		}
	}
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for i := range 32 {
		w := payer
		if i%2 == 1 {
			w = free
		}
		wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				p := w.Payment(evidencetest.PaymentConfig{ID: fmt.Sprintf("p-%d-%d", i, n), To: payee.GroupKey, Units: 1, Now: f.clock.now()})
				p.Judge(f.clock.now(), nil)
				began := time.Now()
				_, err := f.create(p)
				note(w, began, err)
				if err == nil {
					began = time.Now()
					_, err = f.settle(p)
					note(w, began, err)
				}
			}
		})
	}
	// What is waited for is a number of payments, not time.
	reach := func(w *evidencetest.Wallet, n int) {
		mu.Lock()
		defer mu.Unlock()
		for want := len(passed[w.Name]) + n; len(passed[w.Name]) < want && frozen == nil; {
			more.Wait()
		}
	}
	reach(payer, 50)
	f.freeze(payer, "stop")
	acknowledged := time.Now()
	reach(free, 50)
	close(stop)
	wait.Wait()
	if frozen != nil {
		t.Fatal(frozen)
	}
	for _, o := range passed[payer.Name] {
		if o.started.After(acknowledged) {
			t.Fatal("a call that began after the acknowledgement passed")
		}
	}
	// The journal agrees: nothing of the wallet stands after the freeze.
	var after bool
	for _, e := range f.entries(payer) {
		if e.GetKind() == typev1.EntryKind_ENTRY_KIND_FREEZE {
			after = true
			continue
		}
		if after && (e.GetPaymentState() == authorized || e.GetPaymentState() == settled) {
			t.Fatalf("entry %d: %s after the freeze", e.GetNumber(), e.GetPaymentState())
		}
	}
	if !after {
		t.Fatal("the freeze is not in the journal")
	}
}

func (f *fixture) freezes(w *evidencetest.Wallet) *ledgerv1.ListFreezesResponse {
	f.t.Helper()
	resp, err := f.client.ListFreezes(f.t.Context(), &ledgerv1.ListFreezesRequest{Wallet: w.Name})
	if err != nil {
		f.t.Fatal(err)
	}
	return resp
}

func (f *fixture) acknowledged(e *typev1.Envelope) *typev1.Acknowledgement {
	f.t.Helper()
	a, err := evidence.CheckAcknowledgement(f.Installation, typev1.Purpose_PURPOSE_LEDGER, e)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func TestFreezeLife(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	held := f.payment(payer, evidencetest.PaymentConfig{ID: "held", To: payee.GroupKey, Units: usd})
	f.must(held, authorized)
	freeze := func(id string) (*typev1.Acknowledgement, error) {
		resp, err := f.client.Freeze(t.Context(), &ledgerv1.FreezeRequest{Freeze: &typev1.Freeze{
			FreezeId: id, Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name, Caller: "agents/payer",
		}})
		if err != nil {
			return nil, err
		}
		return f.acknowledged(resp.GetResult().GetAcknowledgement()), nil
	}
	a, err := freeze("one")
	if err != nil || !a.GetFrozen() || a.GetFreezeId() != "one" || a.GetWallet() != payer.Name ||
		a.GetKind() != typev1.Acknowledged_ACKNOWLEDGED_FREEZE {
		t.Fatalf("got %v, %v", a, err)
	}
	f.unchanged(func() {
		if a, err := freeze("one"); err != nil || !a.GetFrozen() {
			t.Errorf("the same freeze again: %v, %v", a, err)
		}
		_, err := f.create(f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey}))
		if got := wantReason(t, err, typev1.Reason_REASON_FROZEN, movedNo).Metadata; got["freeze_id"] != "one" || got["scope"] != "WALLET" {
			t.Errorf("metadata %v", got)
		}
		_, err = f.create(held)
		wantReason(t, err, typev1.Reason_REASON_FROZEN, movedUnknown)
		_, err = f.settle(held)
		wantReason(t, err, typev1.Reason_REASON_FROZEN, movedNo)
	})
	if _, err := freeze("two"); err != nil {
		t.Fatal(err)
	}
	if err := f.unfreeze(payer, "one"); err != nil {
		t.Fatal(err)
	}
	if got := f.freezes(payer); !got.GetFrozen() || len(got.GetFreezes()) != 2 {
		t.Errorf("got %v", got)
	}
	f.unchanged(func() {
		if err := f.unfreeze(payer, "one"); err != nil {
			t.Errorf("the same end again: %v", err)
		}
	})
	_, err = freeze("one")
	wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED, movedNo)
	// An end that arrives before its freeze makes that freeze void, and says so.
	if err := f.unfreeze(payer, "early"); err != nil {
		t.Fatal(err)
	}
	_, err = freeze("early")
	wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED, movedNo)
	if err := f.unfreeze(payer, "two"); err != nil {
		t.Fatal(err)
	}
	if got := f.freezes(payer); got.GetFrozen() {
		t.Errorf("got %v", got)
	}
	if _, err := f.settle(held); err != nil {
		t.Errorf("after the last end: %v", err)
	}
}

// Freezes of an owner and of the installation stop what they name; an id of one subject says nothing about another.
func TestFreezeScopes(t *testing.T) {
	f := start(t)
	payee := f.wallet("payee", loose)
	open := func(id, owner string) *evidencetest.Wallet {
		w := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: id, Owner: owner})
		f.pin(w)
		f.setGuardRails(w, paying([]*evidencetest.Wallet{payee}, loose))
		f.deposit(w, "d-"+id, 1000*usd)
		return w
	}
	a1, a2, b := open("a1", "a"), open("a2", "a"), open("b", "b")
	n := 0
	pays := func(w *evidencetest.Wallet) bool {
		n++
		_, err := f.create(f.payment(w, evidencetest.PaymentConfig{ID: fmt.Sprint("p", n), To: payee.GroupKey, Units: 1}))
		if err != nil {
			wantReason(t, err, typev1.Reason_REASON_FROZEN, movedNo)
		}
		return err == nil
	}
	want := func(when string, inA1, inA2, inB bool) {
		t.Helper()
		if got1, got2, gotB := pays(a1), pays(a2), pays(b); got1 != inA1 || got2 != inA2 || gotB != inB {
			t.Errorf("%s: %v %v %v, want %v %v %v", when, got1, got2, gotB, inA1, inA2, inB)
		}
		for w, passes := range map[*evidencetest.Wallet]bool{a1: inA1, a2: inA2, b: inB} {
			if f.freezes(w).GetFrozen() == passes {
				t.Errorf("%s: %s frozen is %v", when, w.Name, !passes)
			}
		}
	}
	freeze := func(scope typev1.Scope, owner string) {
		t.Helper()
		resp, err := f.client.Freeze(t.Context(),
			&ledgerv1.FreezeRequest{Freeze: &typev1.Freeze{FreezeId: "x", Scope: scope, Owner: owner, Caller: "operator"}})
		if err != nil {
			t.Fatal(err)
		}
		if a := f.acknowledged(resp.GetResult().GetAcknowledgement()); !a.GetFrozen() || a.GetOwner() != owner || a.GetScope() != scope ||
			a.GetWallet() != "" {
			t.Errorf("acknowledgement %v", a)
		}
	}
	unfreeze := func(key string, m *typev1.Unfreeze) (*typev1.Acknowledgement, error) {
		m.Installation, m.FreezeId = f.Installation.ID(), "x"
		resp, err := f.client.Unfreeze(t.Context(), &ledgerv1.UnfreezeRequest{Unfreeze: f.SignLoose(f.Key(key), m)})
		if err != nil {
			return nil, err
		}
		return f.acknowledged(resp.GetResult().GetAcknowledgement()), nil
	}
	const owner, installation = typev1.Scope_SCOPE_OWNER, typev1.Scope_SCOPE_INSTALLATION
	want("before", true, true, true)
	freeze(owner, "owners/a")
	want("owner a", false, false, true)
	for key, reason := range map[string]typev1.Reason{
		"owner/b":    typev1.Reason_REASON_BAD_STATEMENT,
		"request/a1": typev1.Reason_REASON_BAD_STATEMENT, "operator": typev1.Reason_REASON_BAD_STATEMENT,
	} {
		_, err := unfreeze(key, &typev1.Unfreeze{Scope: owner, Owner: "owners/a"})
		wantReason(t, err, reason, movedNo)
	}
	want("ends by others", false, false, true)
	// a2's owner keys change: each wallet counts an end only under its own head's.
	f.setGuardRails(a2, func(doc *typev1.GuardRails) { doc.OwnerKeys = [][]byte{evidencetest.Public(f.Key("owner/a-new"))} })
	if a, err := unfreeze("owner/a", &typev1.Unfreeze{Scope: owner, Owner: "owners/a"}); err != nil || a.GetFrozen() {
		t.Fatalf("got %v, %v", a, err)
	}
	want("ended under the old key", true, false, true)
	if _, err := unfreeze("owner/a-new", &typev1.Unfreeze{Scope: owner, Owner: "owners/a"}); err != nil {
		t.Fatal(err)
	}
	want("ended under both", true, true, true)
	freeze(installation, "")
	want("installation", false, false, false)
	_, err := unfreeze("owner/a", &typev1.Unfreeze{Scope: installation})
	wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
	want("installation, ended by an owner", false, false, false)
	if a, err := unfreeze("operator", &typev1.Unfreeze{Scope: installation}); err != nil || a.GetFrozen() {
		t.Fatalf("got %v, %v", a, err)
	}
	want("after", true, true, true)
	f.reopen()
	want("after a restart", true, true, true)
	owners, err := f.client.ListFreezes(t.Context(), &ledgerv1.ListFreezesRequest{Owner: "owners/a"})
	if err != nil || len(owners.GetFreezes()) != 1 || owners.GetFrozen() || len(owners.GetFreezes()[0].GetUnfreezes()) != 2 {
		t.Errorf("the owner's: %v, %v", owners, err)
	}
}

func TestFreezeRefusals(t *testing.T) {
	f := start(t)
	payer, _ := f.two()
	for _, tt := range []struct {
		name   string
		freeze *typev1.Freeze
		want   typev1.Reason
	}{
		{"none", nil, typev1.Reason_REASON_INVALID_ARGUMENT},
		{"no scope", &typev1.Freeze{FreezeId: "x", Wallet: payer.Name}, typev1.Reason_REASON_INVALID_ARGUMENT},
		{"no subject", &typev1.Freeze{FreezeId: "x", Scope: typev1.Scope_SCOPE_WALLET}, typev1.Reason_REASON_INVALID_ARGUMENT},
		{
			"two subjects", &typev1.Freeze{FreezeId: "x", Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name, Owner: payer.Owner},
			typev1.Reason_REASON_INVALID_ARGUMENT,
		},
		{
			"installation of a wallet", &typev1.Freeze{FreezeId: "x", Scope: typev1.Scope_SCOPE_INSTALLATION, Wallet: payer.Name},
			typev1.Reason_REASON_INVALID_ARGUMENT,
		},
		{"no id", &typev1.Freeze{Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name}, typev1.Reason_REASON_INVALID_ARGUMENT},
		{"bad id", &typev1.Freeze{FreezeId: "X", Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name}, typev1.Reason_REASON_INVALID_ARGUMENT},
		{
			"bad caller", &typev1.Freeze{FreezeId: "x", Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name, Caller: "x\ny"},
			typev1.Reason_REASON_INVALID_ARGUMENT,
		},
		{
			"unknown wallet", &typev1.Freeze{FreezeId: "x", Scope: typev1.Scope_SCOPE_WALLET, Wallet: "wallets/none"},
			typev1.Reason_REASON_NOT_ACTIVE,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.unchanged(func() {
				_, err := f.client.Freeze(t.Context(), &ledgerv1.FreezeRequest{Freeze: tt.freeze})
				wantReason(t, err, tt.want, movedNo)
			})
		})
	}
	f.freeze(payer, "x")
	for name, key := range map[string]string{
		"agent": "request/payer", "operator": "operator", "another owner": "owner/else", "ledger": "ledger",
	} {
		t.Run("unfreeze by "+name, func(t *testing.T) {
			f.unchanged(func() {
				_, err := f.client.Unfreeze(t.Context(), &ledgerv1.UnfreezeRequest{Unfreeze: f.Sign(f.Key(key), &typev1.Unfreeze{
					Installation: f.Installation.ID(), Wallet: payer.Name, Scope: typev1.Scope_SCOPE_WALLET, FreezeId: "x",
				})})
				wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
			})
		})
	}
}

// An unfreeze that was verified under a head which changes before it is decided is not recorded.
func TestUnfreezeUnderStaleHead(t *testing.T) {
	f := start(t)
	payer, _ := f.two()
	f.freeze(payer, "x")
	u := &unfreezing{
		subject: subject{typev1.Scope_SCOPE_WALLET, payer.Name}, id: "x", signer: evidencetest.Public(payer.OwnerKey), head: payer.Head.Digest,
		envelope: f.Sign(payer.OwnerKey, &typev1.Unfreeze{
			Installation: f.Installation.ID(), Wallet: payer.Name, Scope: typev1.Scope_SCOPE_WALLET, FreezeId: "x",
		}),
	}
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.OwnerKeys = [][]byte{evidencetest.Public(f.Key("owner/next"))} })
	err := f.ledger.write(t.Context(), &op{needs: u.subject.needs(), decide: func(s *state) error {
		_, err := decideUnfreeze(s, u)
		return err
	}})
	wantReason(t, f.ledger.answer(t.Context(), "Unfreeze", err), typev1.Reason_REASON_GUARD_RAILS_CHANGED, movedNo)
}
