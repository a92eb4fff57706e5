package cosigner_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/servicetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

func TestSealRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		// set changes what is sent.
		set  func(k *keygen, req *cosignerv1.SealWalletRequest)
		want typev1.Reason
	}{
		{"no registration", func(_ *keygen, r *cosignerv1.SealWalletRequest) { r.Registration = nil }, typev1.Reason_REASON_EVIDENCE_MISSING},
		{"no guard rails", func(_ *keygen, r *cosignerv1.SealWalletRequest) { r.GuardRails = nil }, typev1.Reason_REASON_EVIDENCE_MISSING},
		{
			"unsigned guard rails", func(_ *keygen, r *cosignerv1.SealWalletRequest) { r.GuardRails.Signatures = nil },
			typev1.Reason_REASON_BAD_STATEMENT,
		},
		{"guard rails under another's key", func(k *keygen, r *cosignerv1.SealWalletRequest) {
			r.GuardRails = evidencetest.SignRaw(k.f.Key("other"), r.GetGuardRails().GetPayloadType(), r.GetGuardRails().GetPayload())
		}, typev1.Reason_REASON_BAD_STATEMENT},
		{
			"guard rails number 1", func(k *keygen, r *cosignerv1.SealWalletRequest) { r.GuardRails = k.owned.SetGuardRails(nil) },
			typev1.Reason_REASON_EVIDENCE_MISMATCH,
		},
		{"guard rails of another registration", func(k *keygen, r *cosignerv1.SealWalletRequest) {
			r.GuardRails = k.claimOf(func(d *typev1.GuardRails) { d.RegistrationDigest = make([]byte, 32) })
		}, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"guard rails that name another request key", func(k *keygen, r *cosignerv1.SealWalletRequest) {
			r.GuardRails = k.claimOf(func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(k.f.Key("other")) })
		}, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"the agent claims itself", func(k *keygen, r *cosignerv1.SealWalletRequest) {
			doc := k.claimDocument()
			doc.OwnerKeys = [][]byte{evidencetest.Public(k.requestKey)}
			r.GuardRails = k.f.SignLoose(k.requestKey, doc)
		}, typev1.Reason_REASON_GUARD_RAILS_REFUSED},
		{"a registration the agent never completed", func(k *keygen, r *cosignerv1.SealWalletRequest) {
			groupKey := k.share.GroupKey()
			other := k.f.ClaimedWallet(evidencetest.WalletConfig{ID: k.id, Handle: "other", GroupKey: groupKey[:], RequestKey: k.requestKey})
			r.Registration, r.GuardRails = other.Registration, other.Claim
		}, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"a wallet that nobody registered", func(k *keygen, r *cosignerv1.SealWalletRequest) {
			other := k.f.ClaimedWallet(evidencetest.WalletConfig{ID: "other"})
			r.Registration, r.GuardRails = other.Registration, other.Claim
		}, typev1.Reason_REASON_NOT_FOUND},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			k := f.unclaimed("research")
			req := &cosignerv1.SealWalletRequest{Registration: proto.CloneOf(k.owned.Registration), GuardRails: proto.CloneOf(k.owned.Claim)}
			claim := proto.CloneOf(req)
			tt.set(k, req)
			_, err := f.SealWallet(t.Context(), req)
			wantReason(t, err, tt.want)
			if got := slices.Concat(f.keys("records/"), f.keys("heads/"), f.keys("shares/"), f.keys("handles/")); len(got) > 0 {
				t.Errorf("the store holds %v", got)
			}
			if _, err := f.SealWallet(t.Context(), claim); err != nil {
				t.Errorf("the honest claim afterwards: %s", describe(err))
			}
		})
	}
}

func (k *keygen) claimDocument() *typev1.GuardRails { return proto.CloneOf(k.owned.Head.Document) }

// claimOf signs number 0 changed by edit, under the owner's key.
func (k *keygen) claimOf(edit func(*typev1.GuardRails)) *typev1.Envelope {
	doc := k.claimDocument()
	edit(doc)
	return k.f.SignLoose(k.owned.OwnerKey, doc)
}

// One claim per wallet, ever: a repeat answers with the same record, another claim is refused.
func TestClaimOnce(t *testing.T) {
	f := newFixture(t)
	k := f.unclaimed("research")
	first, err := k.seal()
	if err != nil {
		t.Fatal(describe(err))
	}
	again, err := k.seal()
	if err != nil {
		t.Fatal(describe(err))
	}
	if diff := cmp.Diff(first, again, protocmp.Transform()); diff != "" {
		t.Errorf("the repeat's record (-first +again):\n%s", diff)
	}
	thief := f.Key("thief")
	doc := k.claimDocument()
	doc.Owner, doc.OwnerKeys = "owners/thief", [][]byte{evidencetest.Public(thief)}
	_, err = f.SealWallet(t.Context(), &cosignerv1.SealWalletRequest{Registration: k.owned.Registration, GuardRails: f.Sign(thief, doc)})
	wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS)
	// The claim is still number 0's after the head has moved on.
	w := &wallet{Wallet: k.owned, f: f, share: k.share}
	w.deliver(w.SetGuardRails(nil))
	if again, err = k.seal(); err != nil || !proto.Equal(first, again) {
		t.Errorf("repeat after new guard rails: %s", describe(err))
	}
}

// Two claims of one handle at once: one takes it for ever, the other is told.
func TestRacingHandles(t *testing.T) {
	for range 20 {
		f := newFixture(t)
		other := f.replica()
		a := f.unclaimed("a")
		b := f.newKeygen("c") // registers under a's handle
		if err := run(b.start, b.exchange, b.confirm); err != nil {
			t.Fatal(describe(err))
		}
		groupKey := b.share.GroupKey()
		b.owned = f.ClaimedWallet(evidencetest.WalletConfig{ID: "c", Handle: "a", GroupKey: groupKey[:], RequestKey: b.requestKey})
		if _, err := b.complete(); err != nil {
			t.Fatal(describe(err))
		}
		b.client = other
		errs := make(chan error, 2)
		var begin sync.WaitGroup
		begin.Add(1)
		for k, client := range map[*keygen]cosignerv1.CosignerServiceClient{a: f, b: other} {
			go func() {
				begin.Wait()
				_, err := client.SealWallet(t.Context(), &cosignerv1.SealWalletRequest{Registration: k.owned.Registration, GuardRails: k.owned.Claim})
				errs <- err
			}()
		}
		begin.Done()
		first, second := <-errs, <-errs
		if first != nil {
			first, second = second, first
		}
		if first != nil {
			t.Fatalf("neither took the handle: %s, %s", describe(first), describe(second))
		}
		wantReason(t, second, typev1.Reason_REASON_HANDLE_TAKEN)
		if got := f.keys("records/"); len(got) != 1 {
			t.Fatalf("the store holds %v", got)
		}
	}
}

// Claim and end race for one row, on two replicas whose clocks disagree about whether the day is over: exactly one happens,
// and everybody is told the same for ever.
func TestClaimRacesEnd(t *testing.T) {
	const rounds = 60
	sealed, ended := 0, 0
	f := newFixture(t)
	late := *f
	late.clock = servicetest.NewClock(start.Add(cosigner.RegistrationLife + time.Millisecond))
	late.config.Clock = late.clock.Now
	after := late.replica()
	for n := range rounds {
		k := f.unclaimed(fmt.Sprintf("w-%d", n))
		var wait, begin sync.WaitGroup
		begin.Add(1)
		var sealErr, endErr error
		var end *cosignerv1.EndRegistrationResponse
		wait.Go(func() { begin.Wait(); _, sealErr = k.seal() })
		wait.Go(func() {
			begin.Wait()
			end, endErr = after.EndRegistration(t.Context(), &cosignerv1.EndRegistrationRequest{Wallet: k.wallet})
		})
		begin.Done()
		wait.Wait()
		if endErr != nil {
			t.Fatalf("EndRegistration: %s", describe(endErr))
		}
		isSealed, isEnded := len(f.keys("records/w-"+fmt.Sprint(n))) > 0, len(f.keys("ends/w-"+fmt.Sprint(n))) > 0
		if isSealed == isEnded {
			t.Fatalf("round %d: sealed %t, ended %t", n, isSealed, isEnded)
		}
		if isSealed != (end.GetRecord() != nil) || isEnded != (end.GetEnd() != nil) || isSealed != (sealErr == nil) {
			t.Fatalf("round %d: sealed %t, but the answers are %v and %s", n, isSealed, end, describe(sealErr))
		}
		if isSealed {
			sealed++
			continue
		}
		ended++
		wantReason(t, sealErr, typev1.Reason_REASON_NOT_ACTIVE)
	}
	t.Logf("%d sealed, %d ended", sealed, ended)
}

func TestEndRegistration(t *testing.T) {
	f := newFixture(t)
	k := f.unclaimed("research")
	_, err := k.end()
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE)
	f.clock.Set(start.Add(cosigner.RegistrationLife)) // the last moment
	_, err = k.end()
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE)
	f.clock.Advance(time.Millisecond)
	first, err := k.end()
	if err != nil {
		t.Fatal(describe(err))
	}
	end, err := evidence.CheckRegistrationEnd(f.Installation, first.GetEnd())
	if err != nil {
		t.Fatal(err)
	}
	if end.GetWallet() != k.wallet || !evidence.EnvelopeDigest(k.owned.Registration).Is(end.GetRegistrationDigest()) ||
		first.GetRecord() != nil {
		t.Errorf("ended %v", end)
	}
	f.clock.Advance(time.Hour)
	again, err := k.end()
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("the repeat answers otherwise: %s", describe(err))
	}
	_, err = k.seal()
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE)
	_, err = k.complete()
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE)
	wantReason(t, f.newKeygen("research").start(), typev1.Reason_REASON_ALREADY_EXISTS)
	if got := slices.Concat(f.keys("registrations/"), f.keys("shares/")); len(got) > 0 {
		t.Errorf("after its end the store still holds %v", got)
	}
	_, err = f.EndRegistration(t.Context(), &cosignerv1.EndRegistrationRequest{Wallet: "wallets/nobody"})
	wantReason(t, err, typev1.Reason_REASON_NOT_FOUND)
}

// A claim that comes too late ends the registration itself, so that its refusal is final.
func TestLateClaimEnds(t *testing.T) {
	f := newFixture(t)
	k := f.unclaimed("research")
	f.clock.Set(start.Add(cosigner.RegistrationLife))
	if _, err := f.unclaimed("on-time").seal(); err != nil {
		t.Errorf("another registration: %s", describe(err))
	}
	f.clock.Advance(time.Millisecond)
	_, err := k.seal()
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE)
	f.clock.Set(start) // even if the clock was wrong
	_, err = k.seal()
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE)
	if got, want := f.keys("ends/"), []string{"ends/research"}; !slices.Equal(got, want) {
		t.Errorf("the store holds %v, want %v", got, want)
	}
}

func TestEndOfASealedWallet(t *testing.T) {
	f := newFixture(t)
	k := f.unclaimed("research")
	record, err := k.seal()
	if err != nil {
		t.Fatal(describe(err))
	}
	f.clock.Advance(2 * cosigner.RegistrationLife)
	resp, err := k.end()
	if err != nil || resp.GetEnd() != nil || !proto.Equal(resp.GetRecord(), record) {
		t.Errorf("got %v, %s; want the record", resp, describe(err))
	}
}

// After a rotation of the record key the co-signer signs again what it had signed: the content is what is pinned.
func TestRecordKeyRotation(t *testing.T) {
	f := newFixture(t)
	k, gone := f.unclaimed("research"), f.unclaimed("gone")
	record, err := k.seal()
	if err != nil {
		t.Fatal(describe(err))
	}
	f.clock.Advance(cosigner.RegistrationLife + time.Second)
	if _, err := gone.end(); err != nil {
		t.Fatal(describe(err))
	}
	next := f.Key("cosigner-2")
	installation := f.Rotate(typev1.Purpose_PURPOSE_COSIGNER, next)
	f.config.Installations = f.Installations
	if _, err := cosigner.New(f.config); err == nil {
		t.Error("a co-signer starts with a retired record key")
	}
	f.config.Key = next
	after := f.replica()
	got, err := after.GetWallet(t.Context(), &cosignerv1.GetWalletRequest{Wallet: k.wallet})
	if err != nil {
		t.Fatal(describe(err))
	}
	if _, err := evidence.CheckWallet(installation, k.owned.Registration, k.owned.Claim, got.GetRecord()); err != nil {
		t.Errorf("record under the new key: %v", err)
	}
	if evidence.EnvelopeDigest(got.GetRecord()) != evidence.EnvelopeDigest(record) {
		t.Error("its content has changed")
	}
	k.client = after
	if sealed, err := k.seal(); err != nil || !proto.Equal(sealed, got.GetRecord()) {
		t.Errorf("repeat of the claim: %s", describe(err))
	}
	gone.client = after
	end, err := gone.end()
	if err != nil {
		t.Fatal(describe(err))
	}
	if _, err := evidence.CheckRegistrationEnd(installation, end.GetEnd()); err != nil {
		t.Errorf("end under the new key: %v", err)
	}
}

// A caller that gives up is told so, and not that the store failed.
func TestCanceledCall(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.GetWallet(ctx, &cosignerv1.GetWalletRequest{Wallet: "wallets/research"})
	if got := fault.Of(err).Code.String(); got != "Canceled" {
		t.Errorf("got %s, want Canceled", got)
	}
}
