package cosigner_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
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
	if got.GetEpoch() != 2 || got.GetResharing().GetState() != typev1.ResharingState_RESHARING_STATE_DONE ||
		len(got.GetResharing().GetDealings()) > 0 {
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

// The owner adds a recovery share. Until it is confirmed the co-signer keeps its older share, which signs nothing, and the
// dealings; then both are gone. With the co-signer's share and the agent's it signs alike.
func TestEnrolment(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	before, recovery := w.share, f.staticKey()
	r := w.refresh(withRecovery(recovery)).done()
	w.wantPays(t)
	w.wantOldShareWorthless(t, before)
	w.wantEpochs(t, share1, share2)
	got := r.get()
	if diff := cmp.Diff(r.completed, got.GetResharing(), protocmp.Transform()); diff != "" || got.GetEpoch() != 2 {
		t.Errorf("epoch %d (-completed +got):\n%s", got.GetEpoch(), diff)
	}
	if got.GetResharing().GetState() != typev1.ResharingState_RESHARING_STATE_RECOVERY_PENDING {
		t.Errorf("state %v", got.GetResharing().GetState())
	}
	share, err := r.open(got.GetResharing())
	if err != nil {
		t.Fatalf("recovery share: %v", err)
	}
	signature, err := frost.Exit([]byte("exit"), w.share, share)
	if err != nil || !frost.VerifySignature(w.GroupKey, []byte("exit"), signature[:]) {
		t.Errorf("agent and recovery share do not sign: %v", err)
	}
	done, err := r.confirmRecovery(w.OwnerKey, r.confirmation())
	if err != nil {
		t.Fatalf("ConfirmRecovery: %s", describe(err))
	}
	if done.GetState() != typev1.ResharingState_RESHARING_STATE_DONE || len(done.GetDealings())+len(done.GetCertificates()) > 0 {
		t.Errorf("confirmed: %v", done)
	}
	w.wantEpochs(t, share2)
	w.wantPays(t)
	again, err := r.confirmRecovery(w.OwnerKey, r.confirmation())
	if err != nil || !proto.Equal(again, done) {
		t.Errorf("the repeat answers otherwise: %s", describe(err))
	}
	if err := r.complete(); err != nil {
		t.Errorf("the completion again: %s", describe(err))
	}
}

// A refresh deals to the recovery share too, and both older epochs' shares are worthless afterwards.
func TestRefreshWithRecovery(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	recovery := f.staticKey()
	old := w.refresh(withRecovery(recovery)).recovered()
	leaked := w.share
	r := w.refresh(withRecovery(recovery))
	share := r.recovered()
	w.wantPays(t)
	w.wantEpochs(t, share3)
	w.wantOldShareWorthless(t, leaked)
	if _, err := frost.Exit([]byte("exit"), w.share, old); err == nil {
		t.Error("shares of two epochs sign")
	}
	if _, err := frost.Exit([]byte("exit"), w.share, share); err != nil {
		t.Errorf("the new shares do not: %v", err)
	}
}

// The agent's share is lost. The owner makes a request key, puts it into the guard rails, and gets share 1 by its recovery share.
func TestReplacement(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	recovery := f.staticKey()
	old := w.refresh(withRecovery(recovery)).recovered()
	lost := w.share
	w.RequestKey = f.Key("owner-as-agent")
	w.deliver(w.SetGuardRails(func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(w.RequestKey) }))

	next := f.staticKey()
	r := w.refresh(replacing(recovery, old), func(r *resharing) {
		public := next.Public() // dealt with the old share, to a static key of its own
		r.order.RecoveryKey = public[:]
		r.recovery = next
	}).done()
	w.wantPays(t)
	w.wantOldShareWorthless(t, lost)
	w.wantEpochs(t, share2, share3)
	share, err := r.open(r.get().GetResharing())
	if err != nil {
		t.Fatalf("recovery share: %v", err)
	}
	if _, err := r.confirmRecovery(w.OwnerKey, r.confirmation()); err != nil {
		t.Fatalf("ConfirmRecovery: %s", describe(err))
	}
	w.wantEpochs(t, share3)
	w.wantPays(t)
	if _, err := frost.Exit([]byte("exit"), w.share, share); err != nil {
		t.Errorf("the new shares do not sign: %v", err)
	}
}

// kinds are the three uses of one protocol, each ready to run.
var kinds = []struct {
	name  string
	order func(f *fixture) (w *wallet, r *resharing, epochs []string)
}{
	{"refresh", func(f *fixture) (*wallet, *resharing, []string) {
		w := f.payable("research")
		return w, w.refresh(), []string{share2}
	}},
	{"enrolment", func(f *fixture) (*wallet, *resharing, []string) {
		w := f.payable("research")
		return w, w.refresh(withRecovery(f.staticKey())), []string{share1, share2}
	}},
	{"replacement", func(f *fixture) (*wallet, *resharing, []string) {
		w := f.payable("research")
		static := f.staticKey()
		share := w.refresh(withRecovery(static)).recovered()
		return w, w.refresh(replacing(static, share)), []string{share2, share3}
	}},
}

// After each call the co-signer may crash, and answers may be lost: another one on the same store goes on, and a repeat of the
// same call gets the same answer.
func TestResharingGoesOnAfterACrash(t *testing.T) {
	for _, tt := range kinds {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w, r, epochs := tt.order(f)
			anew := func() *resharing { f.CosignerServiceClient = f.replica(); r.client = f; return r }
			same := func(what string, first, again proto.Message, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %s", what, describe(err))
				}
				if first != nil && !proto.Equal(first, again) {
					t.Errorf("%s again answers otherwise", what)
				}
			}
			var ordered, started, exchanged, completed proto.Message
			for range 2 {
				resp, err := anew().client.OrderResharing(t.Context(), &cosignerv1.OrderResharingRequest{Order: r.orderE})
				same("order", ordered, resp, err)
				ordered = resp
			}
			if err := anew().start(); err != nil {
				t.Fatal(describe(err))
			}
			for range 2 {
				resp, err := anew().client.StartResharing(t.Context(), &cosignerv1.StartResharingRequest{Start: r.startE})
				same("start", started, resp, err)
				started = resp
			}
			if err := r.started(started.(*cosignerv1.StartResharingResponse)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				resp, err := anew().client.ExchangeResharing(t.Context(), &cosignerv1.ExchangeResharingRequest{
					Wallet: w.Name, Run: r.order.GetRun(), Dealing: r.dealing,
				})
				same("exchange", exchanged, resp, err)
				exchanged = resp
			}
			resp, err := anew().client.StartResharing(t.Context(), &cosignerv1.StartResharingRequest{Start: r.startE})
			same("start after the exchange", started, resp, err)
			if err := r.exchanged(exchanged.(*cosignerv1.ExchangeResharingResponse).GetCertificate()); err != nil {
				t.Fatal(err)
			}
			for range 2 { // each with a commitment of its own
				same("confirmation", nil, nil, anew().confirm())
			}
			if got := f.value("resharings/research"); slices.Contains(fieldsOf(t, got), "State") {
				t.Error("the run's secrets are kept after the confirmation")
			}
			w.wantPays(t)
			for range 2 {
				resp, err := anew().client.CompleteResharing(t.Context(), &cosignerv1.CompleteResharingRequest{
					Wallet: w.Name, Run: r.order.GetRun(), Signature: r.signature,
				})
				same("completion", completed, resp, err)
				completed = resp
			}
			if slices.Contains(fieldsOf(t, f.value("resharings/research")), "Share") {
				t.Error("the new share is kept twice")
			}
			w.share = r.share
			w.wantPays(t)
			w.wantEpochs(t, epochs...)
			for n, step := range []func() error{r.start, r.exchange, r.confirm} {
				err := step()
				wantReason(t, err, typev1.Reason_REASON_WRONG_STATE)
				if n == 0 && !slices.Contains(fieldsOf(t, f.value("resharings/research")), "Record") {
					t.Error("the record is gone")
				}
			}
			again, err := anew().client.OrderResharing(t.Context(), &cosignerv1.OrderResharingRequest{Order: r.orderE})
			same("order after completion", completed.(*cosignerv1.CompleteResharingResponse).GetResharing(), again.GetResharing(), err)
		})
	}
}

// Answers that were signed under an earlier record key verify under the one in force.
func TestRecordKeyRotationDuringResharing(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	r := w.refresh(withRecovery(f.staticKey())).done()
	next := f.Key("cosigner-2")
	installation := f.Rotate(typev1.Purpose_PURPOSE_COSIGNER, next)
	f.config.Installations, f.config.Key = f.Installations, next
	r.client = f.replica()
	got := r.get().GetResharing()
	if _, err := evidence.CheckResharingAnswer(installation, got.GetStart(), got.GetAnswer()); err != nil {
		t.Errorf("answer: %v", err)
	}
	if _, err := evidence.CheckSharingRecord(installation, got.GetOrder(), got.GetRecord()); err != nil {
		t.Errorf("record: %v", err)
	}
	if _, err := r.open(got); err != nil {
		t.Errorf("recovery share: %v", err)
	}
	if _, err := r.confirmRecovery(w.OwnerKey, r.confirmation()); err != nil {
		t.Errorf("a confirmation of the record as it was first signed: %s", describe(err))
	}
}

// Two orders race for one epoch: exactly one of them makes it, and the other is told.
func TestRacingResharings(t *testing.T) {
	f := newFixture(t)
	other := f.replica()
	for range 8 {
		w := f.payable("w" + string(rune('a'+f.next())))
		first, second := w.refresh().upTo(4), w.refresh()
		second.client = other
		var wait sync.WaitGroup
		var firstErr, secondErr error
		wait.Go(func() { firstErr = first.complete() })
		wait.Go(func() {
			for _, step := range second.steps() {
				if secondErr = step(); secondErr != nil {
					return
				}
			}
		})
		wait.Wait()
		switch {
		case (firstErr == nil) == (secondErr == nil):
			t.Fatalf("first: %s; second: %s; want exactly one to be in force", describe(firstErr), describe(secondErr))
		case firstErr == nil:
			w.share = first.share
			wantReason(t, secondErr, typev1.Reason_REASON_EVIDENCE_MISMATCH)
		default:
			w.share = second.share
			wantReason(t, firstErr, typev1.Reason_REASON_NOT_FOUND)
		}
		w.wantEpochs(t, "shares/"+w.id()+"/00000000000000000002")
		w.wantPays(t)
	}
}

// Replicas that are asked at once certify one transcript, and complete a run once.
func TestRacingSteps(t *testing.T) {
	f := newFixture(t)
	other := f.replica()
	w := f.payable("research")
	for range 6 {
		r := w.refresh().upTo(1)
		// Two starts under the request key, with two static keys.
		starts := make(chan bool, 2)
		for client, static := range map[cosignerv1.CosignerServiceClient]*frost.StaticKey{f: r.static, other: f.staticKey()} {
			m := r.statement()
			public := static.Public()
			m.StaticKey = public[:]
			e := f.Sign(r.requestKey, m)
			go func() {
				_, err := client.StartResharing(t.Context(), &cosignerv1.StartResharingRequest{Start: e})
				starts <- err == nil
			}()
		}
		if a, b := <-starts, <-starts; a == b {
			t.Errorf("starts %t and %t, want exactly one", a, b)
		}
		// A run that is started honestly, with two dealings of the agent.
		if r = w.refresh().upTo(2); t.Failed() {
			return
		}
		first := r.dealing
		resp, err := f.StartResharing(t.Context(), &cosignerv1.StartResharingRequest{Start: r.startE})
		if err != nil {
			t.Fatal(describe(err))
		}
		if err := r.started(resp); err != nil {
			t.Fatal(err)
		}
		certificates := make(chan []byte, 2)
		for client, dealing := range map[cosignerv1.CosignerServiceClient][]byte{f: first, other: r.dealing} {
			go func() {
				resp, _ := client.ExchangeResharing(t.Context(),
					&cosignerv1.ExchangeResharingRequest{Wallet: w.Name, Run: r.order.GetRun(), Dealing: dealing})
				certificates <- resp.GetCertificate()
			}()
		}
		if a, b := <-certificates, <-certificates; (a == nil) == (b == nil) {
			t.Errorf("certificates %t and %t, want exactly one", a != nil, b != nil)
		}
		// Completed by both.
		r = w.refresh().upTo(4)
		records := make(chan *typev1.Resharing, 2)
		for _, client := range []cosignerv1.CosignerServiceClient{f, other} {
			go func() {
				resp, _ := client.CompleteResharing(t.Context(),
					&cosignerv1.CompleteResharingRequest{Wallet: w.Name, Run: r.order.GetRun(), Signature: r.signature})
				records <- resp.GetResharing()
			}()
		}
		if a, b := <-records, <-records; a.GetRecord() == nil || !proto.Equal(a, b) {
			t.Errorf("completed as %v and %v", a, b)
		}
		w.share = r.share
		w.wantPays(t)
	}
}

// A share that is in force is destroyed only for one that opens: a key service that is away in between leaves all as it is.
func TestResharingWithoutKEK(t *testing.T) {
	kek := &remoteKEK{AEAD: newKEK(t)}
	f := newFixture(t, func(c *cosigner.Config) { c.KEK = kek })
	w := f.payable("research")
	r := w.refresh()
	for _, step := range r.steps() {
		kek.away.Store(true)
		wantReason(t, step(), typev1.Reason_REASON_UNAVAILABLE)
		w.wantEpochs(t, share1)
		kek.away.Store(false)
		if err := step(); err != nil {
			t.Fatal(describe(err))
		}
	}
	w.share = r.share
	w.wantPays(t)
}
