package cosigner_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

// hookedKV runs something between two transactions of one call.
type hookedKV struct {
	clientv3.KV
	// after counts transactions down; at zero, before the next, run runs.
	after atomic.Int64
	run   func()
}

func (k *hookedKV) Txn(ctx context.Context) clientv3.Txn {
	if k.after.Add(-1) == 0 {
		k.run()
	}
	return k.KV.Txn(ctx)
}

// interrupted starts a replica in whose next call change runs between the first transaction, which reads, and the second.
func (f *fixture) interrupted(change func()) (client cosignerv1.CosignerServiceClient, ran *atomic.Bool) {
	f.t.Helper()
	ran = new(atomic.Bool)
	hooked := &hookedKV{KV: f.kv, run: func() { change(); ran.Store(true) }}
	config := f.config
	f.config.KV = hooked
	client = f.replica()
	f.config = config
	hooked.after.Store(2)
	return client, ran
}

// What changes between the gate's first look and the moment before the share, and was acknowledged, stops the share.
func TestChangeBetweenTheGatesTwoReads(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(f *fixture, w *wallet)
		want   typev1.Reason
	}{
		{"wallet frozen", func(f *fixture, w *wallet) { f.of(typev1.Scope_SCOPE_WALLET, w.Name).mustFreeze("f1") }, frozen},
		{"owner frozen", func(f *fixture, w *wallet) { f.of(typev1.Scope_SCOPE_OWNER, w.Owner).mustFreeze("f1") }, frozen},
		{"installation frozen", func(f *fixture, _ *wallet) { f.of(typev1.Scope_SCOPE_INSTALLATION, "").mustFreeze("f1") }, frozen},
		{"guard rails replaced", func(_ *fixture, w *wallet) { w.deliver(w.SetGuardRails(nil)) }, typev1.Reason_REASON_GUARD_RAILS_CHANGED},
		{"share replaced", func(f *fixture, _ *wallet) {
			f.put("shares/research/00000000000000000001", f.value("shares/research/00000000000000000001"))
		}, typev1.Reason_REASON_GUARD_RAILS_CHANGED},
		{"nothing", func(*fixture, *wallet) {}, typev1.Reason_REASON_UNSPECIFIED},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			client, ran := f.interrupted(func() { tt.change(f, w) })
			a := w.attempt()
			resp, err := a.ask(t.Context(), client)
			if !ran.Load() {
				t.Fatal("the gate reads once only")
			}
			if tt.want != typev1.Reason_REASON_UNSPECIFIED {
				wantReason(t, err, tt.want)
				return
			}
			if err == nil {
				err = a.finish(resp)
			}
			if err != nil {
				t.Error(describe(err))
			}
		})
	}
}

// Every other decision is taken again when what it relied on has changed before it was written.
func TestChangeBetweenReadAndWrite(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"claim, and the registration ends", func(t *testing.T, f *fixture) {
			k := f.unclaimed("research")
			late := f.config
			late.Clock = func() time.Time { return start.Add(cosigner.RegistrationLife + time.Second) }
			mine := f.config
			f.config = late
			after := f.replica()
			f.config = mine
			client, ran := f.interrupted(func() {
				if _, err := after.EndRegistration(t.Context(), &cosignerv1.EndRegistrationRequest{Wallet: k.wallet}); err != nil {
					t.Error(describe(err))
				}
			})
			k.client = client
			_, err := k.seal()
			wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE)
			if got := f.keys("records/"); !ran.Load() || len(got) > 0 {
				t.Errorf("the end ran: %t, and the store holds %v", ran.Load(), got)
			}
		}},
		{"end, and the wallet is claimed", func(t *testing.T, f *fixture) {
			k := f.unclaimed("research")
			client, ran := f.interrupted(func() {
				f.clock.Set(start)
				if _, err := k.seal(); err != nil {
					t.Error(describe(err))
				}
			})
			f.clock.Advance(cosigner.RegistrationLife + time.Second)
			resp, err := client.EndRegistration(t.Context(), &cosignerv1.EndRegistrationRequest{Wallet: k.wallet})
			if err != nil || resp.GetRecord() == nil || !ran.Load() {
				t.Errorf("got %v, %s; want the record", resp, describe(err))
			}
			if got := f.keys("ends/"); len(got) > 0 {
				t.Errorf("the store holds %v", got)
			}
		}},
		{"exchange, and another message was certified", func(t *testing.T, f *fixture) {
			k := f.newKeygen("research")
			if err := k.start(); err != nil {
				t.Fatal(describe(err))
			}
			first := k.generation.Round1()
			if err := k.start(); err != nil { // the agent's side drawn again: another valid message of the same run
				t.Fatal(describe(err))
			}
			client, ran := f.interrupted(func() {
				if err := k.exchange(); err != nil {
					t.Error(describe(err))
				}
			})
			_, err := client.ExchangeKeyGeneration(t.Context(),
				&cosignerv1.ExchangeKeyGenerationRequest{Wallet: k.wallet, Run: k.run, Round1: first})
			wantReason(t, err, typev1.Reason_REASON_KEY_GENERATION_FAILED)
			if err := k.confirm(); err != nil || !ran.Load() {
				t.Errorf("the certified run: %s", describe(err))
			}
		}},
		{"guard rails, and others followed the head", func(t *testing.T, f *fixture) {
			w := f.payable("research")
			mine := f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.TimeZone = "Asia/Tokyo" }))
			client, ran := f.interrupted(func() { w.deliver(w.SetGuardRails(nil)) })
			_, err := client.SetGuardRails(t.Context(), &cosignerv1.SetGuardRailsRequest{GuardRails: mine})
			wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS)
			if !ran.Load() {
				t.Error("the other document was not set")
			}
			w.wantPays(t)
		}},
		{"freeze, and its end arrives", func(t *testing.T, f *fixture) {
			w := f.payable("research")
			s := f.of(typev1.Scope_SCOPE_WALLET, w.Name)
			client, ran := f.interrupted(func() { s.mustUnfreeze("f1", w.OwnerKey, false) })
			_, err := client.Freeze(t.Context(), &cosignerv1.FreezeRequest{Freeze: &typev1.Freeze{FreezeId: "f1", Scope: s.scope, Wallet: w.Name}})
			wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED)
			if !ran.Load() {
				t.Error("the end did not arrive")
			}
			w.wantPays(t)
		}},
		{"unfreeze, and its key is replaced", func(t *testing.T, f *fixture) {
			w := f.payable("research")
			s := f.of(typev1.Scope_SCOPE_WALLET, w.Name)
			s.mustFreeze("f1")
			old := w.OwnerKey
			client, ran := f.interrupted(func() {
				w.OwnerKey = f.Key("owner-2")
				w.setKeys(old, w.OwnerKey)
			})
			_, err := client.Unfreeze(t.Context(), &cosignerv1.UnfreezeRequest{Unfreeze: f.Sign(old, s.statement("f1"))})
			wantReason(t, err, bad)
			if !ran.Load() {
				t.Error("the key was not replaced")
			}
			w.wantFrozen(t, "WALLET", "f1")
		}},
		{"start, and another start took the place", func(t *testing.T, f *fixture) {
			k, o := f.newKeygen("research"), f.newKeygen("research")
			o.requestKey = f.Key("other")
			client, ran := f.interrupted(func() {
				if err := o.start(); err != nil {
					t.Error(describe(err))
				}
			})
			k.client = client
			wantReason(t, k.start(), typev1.Reason_REASON_ALREADY_EXISTS)
			if err := o.exchange(); err != nil || !ran.Load() {
				t.Errorf("the other run: %s", describe(err))
			}
		}},
		{"completion, and another registration was completed", func(t *testing.T, f *fixture) {
			k := f.newKeygen("research")
			if err := run(k.start, k.exchange, k.confirm); err != nil {
				t.Fatal(describe(err))
			}
			groupKey := k.share.GroupKey()
			other := f.ClaimedWallet(evidencetest.WalletConfig{ID: k.id, Handle: "other", GroupKey: groupKey[:], RequestKey: k.requestKey})
			client, ran := f.interrupted(func() {
				if _, err := k.complete(); err != nil {
					t.Error(describe(err))
				}
			})
			_, err := client.CompleteKeyGeneration(t.Context(), &cosignerv1.CompleteKeyGenerationRequest{
				Wallet: k.wallet, Run: k.run, Registration: other.Registration, Signature: k.signature,
			})
			wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS)
			record, err := k.seal()
			if err != nil || !ran.Load() {
				t.Fatal(describe(err))
			}
			if _, err := evidence.CheckWallet(f.Installation, k.owned.Registration, k.owned.Claim, record); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newFixture(t)) })
	}
}
