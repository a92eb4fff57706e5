package cosigner_test

import (
	"slices"
	"testing"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	share1 = "shares/research/00000000000000000001"
	share2 = "shares/research/00000000000000000002"
	share3 = "shares/research/00000000000000000003"
)

func (w *wallet) wantEpochs(t *testing.T, want ...string) {
	t.Helper()
	if got := w.epochs(); !slices.Equal(got, want) {
		t.Errorf("the store holds the shares %v, want %v", got, want)
	}
}

// wantOldShareWorthless fails if an agent's share makes a signature with what the co-signer has in force: the co-signer cannot
// know with which share the agent's half will be made, so it answers, and its answer is worth nothing.
func (w *wallet) wantOldShareWorthless(t *testing.T, old *frost.KeyShare) {
	t.Helper()
	before := w.share
	w.share = old
	defer func() { w.share = before }()
	a := w.attempt(func(c *evidencetest.PaymentConfig) { c.ID = "old" })
	resp, err := a.ask(t.Context(), w.f)
	if err != nil {
		t.Fatalf("Release: %s", describe(err))
	}
	if err := a.finish(resp); err == nil {
		t.Errorf("a share of epoch %d pays", old.Epoch())
	}
}

// The answer to a leaked share: a new request key in the guard rails, an order that names it, and new shares for it alone.
// Until the last call the old shares pay, afterwards the new ones do, and the old ones nothing.
func TestRefreshAfterALeak(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	leaked, address := w.share, w.GroupKey
	f.of(typev1.Scope_SCOPE_WALLET, w.Name).mustFreeze("leak")
	w.RequestKey = f.Key("request-2")
	w.deliver(w.SetGuardRails(func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(w.RequestKey) }))

	r := w.refresh().upTo(4)
	f.of(typev1.Scope_SCOPE_WALLET, w.Name).mustUnfreeze("leak", w.OwnerKey, false)
	w.wantPays(t) // the old epoch is in force until the last call
	w.wantEpochs(t, share1)
	if got := r.get(); got.GetEpoch() != 1 || got.GetResharing().GetState() != typev1.ResharingState_RESHARING_STATE_STARTED {
		t.Errorf("before completion: epoch %d, %v", got.GetEpoch(), got.GetResharing().GetState())
	}
	if err := r.complete(); err != nil {
		t.Fatalf("CompleteResharing: %s", describe(err))
	}
	w.share = r.share
	if w.share.Epoch() != 2 || w.share.GroupKey() != address {
		t.Errorf("the new share is of epoch %d and key %x", w.share.Epoch(), w.share.GroupKey())
	}
	w.wantPays(t)
	w.wantEpochs(t, share2)
	w.wantOldShareWorthless(t, leaked)
	got := r.get()
	if got.GetEpoch() != 2 || got.GetResharing().GetState() != typev1.ResharingState_RESHARING_STATE_DONE || len(got.GetResharing().GetDealings()) > 0 {
		t.Errorf("after completion: epoch %d, %v", got.GetEpoch(), got.GetResharing())
	}
	// And again, from there.
	second := w.refresh().done()
	w.wantPays(t)
	w.wantEpochs(t, share3)
	if got := second.get().GetEpoch(); got != 3 {
		t.Errorf("epoch %d, want 3", got)
	}
}
