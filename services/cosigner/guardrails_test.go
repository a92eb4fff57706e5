package cosigner_test

import (
	"bytes"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// unknownField appends a field that nobody knows to an encoded message.
func unknownField(b []byte) []byte {
	return protowire.AppendVarint(protowire.AppendTag(bytes.Clone(b), 99, protowire.VarintType), 1)
}

// unknownAtDepth puts an unknown field inside the document's last limit, so that outside everything is in order.
func unknownAtDepth(t testing.TB, doc *typev1.GuardRails) []byte {
	t.Helper()
	doc = proto.CloneOf(doc)
	last := doc.GetLimits()[len(doc.GetLimits())-1]
	inner, err := proto.Marshal(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(unknownField(inner), last); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSetGuardRailsRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		// make makes the document that is sent; the head is number 2.
		make func(w *wallet) *typev1.Envelope
		want typev1.Reason
	}{
		{"missing", func(*wallet) *typev1.Envelope { return nil }, missing},
		{"unsigned", func(w *wallet) *typev1.Envelope {
			e := w.f.Sign(w.OwnerKey, w.NextGuardRails(nil))
			e.Signatures = nil
			return e
		}, bad},
		{"tampered with", func(w *wallet) *typev1.Envelope { return flip(w.f.Sign(w.OwnerKey, w.NextGuardRails(nil))) }, bad},
		{"unknown field", func(w *wallet) *typev1.Envelope {
			b, err := evidence.Marshal(w.NextGuardRails(nil))
			if err != nil {
				w.f.t.Fatal(err)
			}
			return evidencetest.SignRaw(w.OwnerKey, evidence.TypeGuardRails, unknownField(b))
		}, bad},
		{"unknown field at depth", func(w *wallet) *typev1.Envelope {
			return evidencetest.SignRaw(w.OwnerKey, evidence.TypeGuardRails, unknownAtDepth(w.f.t, w.NextGuardRails(nil)))
		}, bad},
		{"unknown enum value at depth", func(w *wallet) *typev1.Envelope {
			return w.f.SignLoose(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Limits[0].Window = 99 }))
		}, bad},
		{"a stranger's key", func(w *wallet) *typev1.Envelope { return w.f.Sign(w.f.Key("stranger"), w.NextGuardRails(nil)) }, bad},
		{"the agent's key", func(w *wallet) *typev1.Envelope { return w.f.Sign(w.RequestKey, w.NextGuardRails(nil)) }, bad},
		{"a key that the document itself brings", func(w *wallet) *typev1.Envelope {
			own := w.f.Key("stranger")
			return w.f.Sign(own, w.NextGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(own)} }))
		}, bad},
		{"a replaced key", func(w *wallet) *typev1.Envelope { return w.f.Sign(w.f.Key("owner/owner"), w.NextGuardRails(nil)) }, bad},
		{"another head", func(w *wallet) *typev1.Envelope {
			return w.f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Replaces = [][]byte{bytes.Repeat([]byte{1}, 32)} }))
		}, typev1.Reason_REASON_GUARD_RAILS_CHANGED},
		{"a used number with other content", func(w *wallet) *typev1.Envelope {
			return w.f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Number-- }))
		}, typev1.Reason_REASON_ALREADY_EXISTS},
		{"a lower number", func(w *wallet) *typev1.Envelope {
			return w.f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Number -= 2 }))
		}, typev1.Reason_REASON_GUARD_RAILS_CHANGED},
		{"another wallet", func(w *wallet) *typev1.Envelope {
			w.f.payable("other")
			return w.f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Wallet = "wallets/other" }))
		}, bad},
		{"a wallet that is not sealed", func(w *wallet) *typev1.Envelope {
			return w.f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Wallet = "wallets/nobody" }))
		}, typev1.Reason_REASON_NOT_FOUND},
		{"another installation", func(w *wallet) *typev1.Envelope {
			return w.f.SignLoose(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Installation = "other" }))
		}, mismatch},
		{"another owner", func(w *wallet) *typev1.Envelope {
			return w.f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Owner = "owners/thief" }))
		}, mismatch},
		{"no per-payment limit", func(w *wallet) *typev1.Envelope {
			return w.f.SignLoose(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Limits = d.GetLimits()[:2] }))
		}, typev1.Reason_REASON_GUARD_RAILS_REFUSED},
		{"no window limit", func(w *wallet) *typev1.Envelope {
			return w.f.SignLoose(w.OwnerKey,
				w.NextGuardRails(func(d *typev1.GuardRails) { d.Limits = append(d.GetLimits()[:1:1], d.GetLimits()[2]) }))
		}, typev1.Reason_REASON_GUARD_RAILS_REFUSED},
		{"malformed amount", func(w *wallet) *typev1.Envelope {
			return w.f.SignLoose(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.Limits[0].Amount = "1e6" }))
		}, typev1.Reason_REASON_GUARD_RAILS_REFUSED},
		{"the request key among the owner keys", func(w *wallet) *typev1.Envelope {
			return w.f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{d.GetRequestKey()} }))
		}, typev1.Reason_REASON_GUARD_RAILS_REFUSED},
		{"another statement of the owner's", func(w *wallet) *typev1.Envelope {
			return w.f.Sign(w.OwnerKey, w.f.of(typev1.Scope_SCOPE_WALLET, w.Name).statement("f1"))
		}, bad},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			old := w.OwnerKey
			w.OwnerKey = f.Key("owner-2")
			w.setKeys(old, w.OwnerKey)
			_, err := f.SetGuardRails(t.Context(), &cosignerv1.SetGuardRailsRequest{GuardRails: tt.make(w)})
			wantReason(t, err, tt.want)
			got, err := f.GetWallet(t.Context(), &cosignerv1.GetWalletRequest{Wallet: w.Name})
			if err != nil || evidence.EnvelopeDigest(got.GetGuardRails()) != w.Head.Digest {
				t.Errorf("the head has changed, or %s", describe(err))
			}
			w.wantPays(t)
		})
	}
}

// The same document again is acknowledged again, also to several at once; the head stays.
func TestSetGuardRailsRepeats(t *testing.T) {
	f := newFixture(t)
	w := f.sealed("research")
	e := w.SetGuardRails(evidencetest.Allow(f.recipient()))
	other := f.replica()
	var wait sync.WaitGroup
	for _, client := range []cosignerv1.CosignerServiceClient{f, other, f, other} {
		wait.Go(func() {
			if _, err := client.SetGuardRails(t.Context(), &cosignerv1.SetGuardRailsRequest{GuardRails: e}); err != nil {
				t.Error(describe(err))
			}
		})
	}
	wait.Wait()
	if ack := w.deliver(e); !w.Head.Digest.Is(ack.GetGuardRailsDigest()) || ack.GetGuardRailsNumber() != 1 {
		t.Errorf("acknowledged %v", ack)
	}
	w.wantPays(t)
}

// Two documents that follow one head race: one becomes the head, the other is refused.
func TestRacingGuardRails(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	other := f.replica()
	for range 20 {
		documents := []*typev1.Envelope{
			f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.TimeZone = "Europe/Zurich" })),
			f.Sign(w.OwnerKey, w.NextGuardRails(func(d *typev1.GuardRails) { d.TimeZone = "Asia/Tokyo" })),
		}
		errs := make([]error, 2)
		var wait sync.WaitGroup
		for n, client := range []cosignerv1.CosignerServiceClient{f, other} {
			wait.Go(func() {
				_, errs[n] = client.SetGuardRails(t.Context(), &cosignerv1.SetGuardRailsRequest{GuardRails: documents[n]})
			})
		}
		wait.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("%s and %s, want exactly one", describe(errs[0]), describe(errs[1]))
		}
		won := 0
		if errs[0] != nil {
			won = 1
		}
		wantReason(t, errs[1-won], typev1.Reason_REASON_ALREADY_EXISTS)
		head, err := evidence.Accept(f.Installation, w.Head, documents[won])
		if err != nil {
			t.Fatal(err)
		}
		w.Head = head
		w.wantPays(t)
	}
}

// A co-signer restored from an older copy is led forward by the versions in order, across a change of owner keys; a version
// out of order is not taken.
func TestLedForward(t *testing.T) {
	f := newFixture(t)
	w := f.sealed("research")
	first := w.SetGuardRails(evidencetest.Allow(f.recipient()))
	w.deliver(first)
	copied := f.value("heads/research")

	old := w.OwnerKey
	w.OwnerKey = f.Key("owner-2")
	w.setKeys(old, w.OwnerKey)
	second := w.Head.Envelope
	third := w.SetGuardRails(nil)
	w.deliver(third)
	w.wantPays(t)

	f.put("heads/research", copied)
	wantReason(t, w.pays(), typev1.Reason_REASON_GUARD_RAILS_CHANGED)
	_, err := f.SetGuardRails(t.Context(), &cosignerv1.SetGuardRailsRequest{GuardRails: third})
	wantReason(t, err, bad) // its key is not the older head's
	w.deliver(first)
	w.deliver(second)
	w.deliver(third)
	w.wantPays(t)
	// A fork after a restore is repaired by a document that names both heads.
	f.put("heads/research", copied)
	digests := [][]byte{evidence.EnvelopeDigest(first).Bytes(), w.Head.Digest.Bytes()}
	if bytes.Compare(digests[0], digests[1]) > 0 {
		digests[0], digests[1] = digests[1], digests[0]
	}
	repair := f.Sign(old, w.NextGuardRails(func(d *typev1.GuardRails) { d.Replaces = digests }))
	repaired, err := evidence.CoSign(repair, w.OwnerKey)
	if err != nil {
		t.Fatal(err)
	}
	if ack := w.deliver(repaired); ack.GetGuardRailsNumber() != 4 {
		t.Errorf("acknowledged %v", ack)
	}
}
