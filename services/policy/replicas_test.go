package policy_test

import (
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Guard rails that one replica has acknowledged are those that every replica judges by from then on, although each has judged by the
// ones before, and although etcd has forgotten these.
func TestReplicasJudgeByTheHead(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	first := f.policy
	f.restart()
	replicas := []policyv1.PolicyServiceClient{first, f.policy}
	narrowed := false
	for n := range 10 {
		for at, replica := range replicas {
			f.policy = replica
			e, err := f.judge(l.Payment(evidencetest.PaymentConfig{To: recipient, Now: start}))
			if err != nil {
				t.Fatal(err)
			}
			verdict := new(typev1.Verdict)
			f.Decode(e, verdict)
			if !l.Head.Digest.Is(verdict.GetGuardRailsDigest()) || (verdict.GetLight() == typev1.Light_LIGHT_GREEN) == narrowed {
				t.Fatalf("round %d: replica %d judged %v by guard rails that were replaced", n, at, verdict.GetLight())
			}
		}
		f.policy = replicas[n%2]
		narrowed = !narrowed
		edit := evidencetest.Allow(recipient)
		if narrowed {
			edit = func(d *typev1.GuardRails) { d.Recipients.Allow = nil }
		}
		if _, err := f.set(l.SetGuardRails(edit)); err != nil {
			t.Fatal(err)
		}
		resp, err := f.kv.Get(t.Context(), "installation")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.kv.Compact(t.Context(), resp.Header.GetRevision(), clientv3.WithCompactPhysical()); err != nil {
			t.Fatal(err)
		}
	}
}

// What calls share of a wallet none of them changes: every answer is whole, whoever else asks.
func TestDocumentsAreShared(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	p := l.Payment(evidencetest.PaymentConfig{To: recipient, Now: start})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 20 {
				if _, err := f.judge(p); err != nil {
					t.Error(err)
				}
			}
		})
		callers.Go(func() {
			for range 20 {
				resp, err := f.policy.GetDocuments(t.Context(), &policyv1.GetDocumentsRequest{Wallet: l.Name})
				if n := len(resp.GetDocuments().GetGuardRails()); err != nil || n != 2 {
					t.Errorf("documents with %d versions and %v, want 2", n, err)
				}
			}
		})
	}
	callers.Wait()
}
