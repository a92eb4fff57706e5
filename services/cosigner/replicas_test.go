package cosigner_test

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Each replica has released by what it remembers of the wallet. What another one acknowledges from then on holds for it at once.
func TestReplicasReleaseByWhatIsHeld(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(f *fixture, w *wallet)
		want   typev1.Reason
	}{
		{"wallet frozen", func(f *fixture, w *wallet) { f.of(typev1.Scope_SCOPE_WALLET, w.Name).mustFreeze("f1") }, frozen},
		{"owner frozen", func(f *fixture, w *wallet) { f.of(typev1.Scope_SCOPE_OWNER, w.Owner).mustFreeze("f1") }, frozen},
		{"guard rails replaced", func(_ *fixture, w *wallet) {
			w.deliver(w.SetGuardRails(evidencetest.Allow([32]byte{9})))
		}, typev1.Reason_REASON_GUARD_RAILS_CHANGED},
		{"head replaced by hand", func(f *fixture, _ *wallet) {
			f.put("heads/research", append([]byte("made up by who writes to etcd...."), f.value("heads/research")[32:]...))
		}, typev1.Reason_REASON_INTERNAL},
		{"share gone", func(f *fixture, _ *wallet) {
			if _, err := f.kv.Delete(f.t.Context(), "shares/research/00000000000000000001"); err != nil {
				f.t.Fatal(err)
			}
		}, typev1.Reason_REASON_KEY_LOST},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			replicas := []cosignerv1.CosignerServiceClient{f.replica(), f.replica()}
			for _, replica := range replicas {
				for range 2 {
					if _, err := w.attempt().ask(t.Context(), replica); err != nil {
						t.Fatal(describe(err))
					}
				}
			}
			before := w.attempt()
			tt.change(f, w)
			resp, err := f.kv.Get(t.Context(), "root")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.kv.Compact(t.Context(), resp.Header.GetRevision(), clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
			for _, replica := range replicas {
				_, err := before.ask(t.Context(), replica)
				wantReason(t, err, tt.want)
				if tt.want == typev1.Reason_REASON_GUARD_RAILS_CHANGED {
					if _, err := w.attempt().ask(t.Context(), replica); err != nil {
						t.Errorf("a payment under the new guard rails: %s", describe(err))
					}
				}
			}
		})
	}
}
