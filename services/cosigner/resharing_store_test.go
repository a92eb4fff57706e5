package cosigner_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// next numbers what a test makes several of.
func (f *fixture) next() int { return len(f.keys("records/")) }

// rowOf decodes a tagged row.
func rowOf(t testing.TB, stored []byte) map[string]any {
	t.Helper()
	fields := make(map[string]any)
	if err := json.Unmarshal(stored[sha256.Size:], &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func fieldsOf(t testing.TB, stored []byte) []string {
	t.Helper()
	var names []string
	for name := range rowOf(t, stored) {
		names = append(names, name)
	}
	return names
}

func bytesOf(t testing.TB, fields map[string]any, name string) []byte {
	t.Helper()
	text, _ := fields[name].(string)
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// open opens what the co-signer sealed, as whoever has its key-encryption key could.
func (f *fixture) open(sealed []byte, parts ...[]byte) ([]byte, error) {
	return aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), f.config.KEK).Decrypt(sealed, bound(parts...))
}

// vouch tags a row as the co-signer would.
func (f *fixture) vouch(key string, fields map[string]any) []byte {
	f.t.Helper()
	root, err := f.open(f.value("root"), []byte("halfkey/cosigner/root/v1"), []byte("test"))
	if err != nil {
		f.t.Fatal(err)
	}
	value, err := json.Marshal(fields)
	if err != nil {
		f.t.Fatal(err)
	}
	h := hmac.New(sha256.New, root)
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(key))))
	h.Write([]byte(key))
	h.Write(value)
	return append(h.Sum(nil), value...)
}

// The sealed state of a run opens for its installation, wallet, run and order, and for nothing else.
func TestReshareIsBoundToItsPlace(t *testing.T) {
	f := newFixture(t)
	r := f.payable("research").refresh().upTo(2)
	sealed := bytesOf(t, rowOf(t, f.value("resharings/research")), "State")
	parts := func() [][]byte {
		return [][]byte{
			[]byte("halfkey/cosigner/reshare/v1"), []byte("test"), []byte(r.w.Name), r.order.GetRun(),
			evidence.EnvelopeDigest(r.orderE).Bytes(), []byte(frost.Suite),
		}
	}
	secret, err := f.open(sealed, parts()...)
	if err != nil {
		t.Fatalf("the state does not open where it is: %v", err)
	}
	x, err := frost.ParseReshare(secret)
	if err != nil || !bytes.Equal(x.Deal(), r.peerDealing) {
		t.Fatalf("it is another: %v", err)
	}
	for n, what := range []string{"purpose", "installation", "wallet", "run", "order", "suite"} {
		other := parts()
		other[n] = append([]byte{other[n][0] ^ 1}, other[n][1:]...)
		if _, err := f.open(sealed, other...); err == nil {
			t.Errorf("it opens for another %s", what)
		}
	}
}

// Whoever can write to the store moves no state and no new share to another wallet or run, not even under a tag that verifies.
func TestResharingTampering(t *testing.T) {
	for _, tt := range []struct {
		name   string
		steps  int
		tamper func(f *fixture, mine, other map[string]any)
	}{
		{"row altered", 2, func(f *fixture, _, _ map[string]any) {
			v := f.value("resharings/research")
			v[len(v)-20] ^= 1
			f.put("resharings/research", v)
		}},
		{"row of another wallet", 2, func(f *fixture, _, _ map[string]any) { f.put("resharings/research", f.value("resharings/other")) }},
		{"row of another wallet, vouched for", 2, func(f *fixture, _, other map[string]any) {
			f.put("resharings/research", f.vouch("resharings/research", other))
		}},
		{"state of another wallet, vouched for", 2, func(f *fixture, mine, other map[string]any) {
			mine["State"] = other["State"]
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
		{"state of another wallet, after the exchange", 3, func(f *fixture, mine, other map[string]any) {
			mine["State"] = other["State"]
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
		{"new share of another wallet, vouched for", 4, func(f *fixture, mine, other map[string]any) {
			mine["Share"] = other["Share"]
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
		{"new share is the old one, vouched for", 4, func(f *fixture, mine, _ map[string]any) {
			mine["Share"] = f.value(share1)
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
		{"stage put forward, vouched for", 3, func(f *fixture, mine, _ map[string]any) {
			mine["Stage"] = "done"
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
		{"stage that is none, vouched for", 3, func(f *fixture, mine, _ map[string]any) {
			mine["Stage"] = "x"
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
		{"field that is none, vouched for", 3, func(f *fixture, mine, _ map[string]any) {
			mine["Other"] = 1
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
		{"order that is none, vouched for", 3, func(f *fixture, mine, _ map[string]any) {
			mine["Order"] = []byte("x")
			f.put("resharings/research", f.vouch("resharings/research", mine))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			mine := f.payable("research").refresh().upTo(tt.steps)
			f.payable("other").refresh().upTo(tt.steps)
			untouched := f.value("resharings/research")
			tt.tamper(f, rowOf(t, untouched), rowOf(t, f.value("resharings/other")))
			wantReason(t, mine.steps()[tt.steps](), typev1.Reason_REASON_INTERNAL)
			mine.w.wantEpochs(t, share1)
			mine.w.wantPays(t)
			f.put("resharings/research", untouched)
			if err := run(mine.steps()[tt.steps:]...); err != nil {
				t.Errorf("the run as it was: %s", describe(err))
			}
		})
	}
}

// Secrets of a resharing are in no value of the store, no log line and no error, in any usual notation.
func TestResharingSecretsDoNotShow(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	r := w.refresh()
	var texts []string
	var secrets [][]byte
	for n, step := range r.steps() {
		if err := step(); err != nil {
			t.Fatal(describe(err))
		}
		resp, err := f.kv.Get(t.Context(), "", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			texts = append(texts, string(kv.Value))
		}
		row := rowOf(t, f.value("resharings/research"))
		for name := range row {
			if name != "Stage" && name != "Replaced" {
				texts = append(texts, string(bytesOf(t, row, name)))
			}
		}
		if n == 1 || n == 2 {
			secret, err := f.open(bytesOf(t, row, "State"), []byte("halfkey/cosigner/reshare/v1"), []byte("test"), []byte(w.Name),
				r.order.GetRun(), evidence.EnvelopeDigest(r.orderE).Bytes(), []byte(frost.Suite))
			if err != nil {
				t.Fatal(err)
			}
			x, err := frost.ParseReshare(secret)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, fmt.Sprintf("%v %+v %#v", x, x, x))
			secrets = append(secrets, staticSecret(t, secret, r.session))
		}
	}
	secret, err := f.open(f.value(share2), []byte("halfkey/cosigner/share/v1"), []byte("test"), []byte(w.Name),
		[]byte{0, 0, 0, 0, 0, 0, 0, 2}, w.GroupKey[:], []byte(frost.Suite))
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, secretScalar(t, secret))
	w.share = r.share
	bad := w.refresh().upTo(2)
	bad.dealing[60] ^= 1
	texts = append(texts, describe(bad.exchange()), f.log.String())
	all := strings.Join(texts, "\n")
	for n, scalar := range secrets {
		for notation, canary := range map[string]string{
			"raw": string(scalar), "hex": hex.EncodeToString(scalar), "base64": base64.StdEncoding.EncodeToString(scalar)[:40],
			"decimals": strings.Trim(fmt.Sprintf("%d", scalar), "[]"),
		} {
			if strings.Contains(all, canary) {
				t.Errorf("secret %d shows as %s", n, notation)
			}
		}
	}
	if !strings.Contains(all, string(r.peerDealing)) {
		t.Error("the scan does not even find the dealing")
	}
}

// staticSecret takes the co-signer's static key out of a serialised state, which must not show: it is before the public ones.
func staticSecret(t *testing.T, state []byte, session frost.Resharing) []byte {
	t.Helper()
	public := session.StaticKeys[0]
	at := bytes.Index(state, public[:]) - 32
	if at < 0 {
		t.Fatal("the state is not as documented")
	}
	return state[at : at+32]
}

// What a step relied on may change before it is written: it is decided again, on what is there then.
func TestChangeDuringResharing(t *testing.T) {
	newRequestKey := func(w *wallet) {
		w.RequestKey = w.f.Key("request-2")
		w.deliver(w.SetGuardRails(func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(w.RequestKey) }))
	}
	newOwnerKey := func(w *wallet) {
		old := w.OwnerKey
		w.OwnerKey = w.f.Key("owner-2")
		w.setKeys(old, w.OwnerKey)
	}
	newOrder := func(w *wallet) {
		if err := w.refresh().give(); err != nil {
			w.f.t.Error(describe(err))
		}
	}
	for _, tt := range []struct {
		name   string
		steps  int // the next is interrupted
		change func(w *wallet)
		want   typev1.Reason
	}{
		{"order, and its request key is replaced", 0, newRequestKey, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"order, and its owner key is replaced", 0, newOwnerKey, typev1.Reason_REASON_BAD_STATEMENT},
		{"start, and its request key is replaced", 1, newRequestKey, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"start, and another order takes its place", 1, newOrder, typev1.Reason_REASON_NOT_FOUND},
		{"exchange, and its request key is replaced", 2, newRequestKey, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"exchange, and another order takes its place", 2, newOrder, typev1.Reason_REASON_NOT_FOUND},
		{"confirmation, and its request key is replaced", 3, newRequestKey, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"confirmation, and another order takes its place", 3, newOrder, typev1.Reason_REASON_NOT_FOUND},
		{"completion, and its request key is replaced", 4, newRequestKey, typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{"completion, and its owner key is replaced", 4, newOwnerKey, typev1.Reason_REASON_BAD_STATEMENT},
		{"completion, and another order takes its place", 4, newOrder, typev1.Reason_REASON_NOT_FOUND},
		{
			"completion, and the share in force changes", 4, func(w *wallet) { w.f.put(share1, w.f.value(share1)) },
			typev1.Reason_REASON_UNSPECIFIED,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			r := w.refresh().upTo(tt.steps)
			client, ran := f.interrupted(func() { tt.change(w) })
			r.client = client
			err := r.steps()[tt.steps]()
			if !ran.Load() {
				t.Fatal("nothing was written after the read")
			}
			if tt.want == typev1.Reason_REASON_UNSPECIFIED {
				if err != nil {
					t.Error(describe(err))
				}
				return
			}
			wantReason(t, err, tt.want)
			w.wantEpochs(t, share1)
			w.wantPays(t)
			// What the owner wants now can be carried out.
			w.refresh().done()
			w.wantPays(t)
		})
	}
	t.Run("confirmation of the recovery share, and its owner key is replaced", func(t *testing.T) {
		f := newFixture(t)
		w := f.payable("research")
		r := w.refresh(withRecovery(f.staticKey())).done()
		old := w.OwnerKey
		client, ran := f.interrupted(func() { newOwnerKey(w) })
		r.client = client
		_, err := r.confirmRecovery(old, r.confirmation())
		wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT)
		if !ran.Load() {
			t.Error("the key was not replaced")
		}
		w.wantEpochs(t, share1, share2)
	})
}

// A payment whose evidence was verified while the old sharing was in force gets nothing from it once the new one is: not where
// the old share is destroyed, and not where it is kept for the recovery share.
func TestResharingDuringARelease(t *testing.T) {
	for _, tt := range kinds {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w, r, _ := tt.order(f)
			r.upTo(4)
			a := w.attempt()
			client, ran := f.interrupted(func() {
				if err := r.complete(); err != nil {
					t.Error(describe(err))
				}
			})
			_, err := a.ask(t.Context(), client)
			wantReason(t, err, typev1.Reason_REASON_GUARD_RAILS_CHANGED)
			if !ran.Load() {
				t.Error("the sharing did not change")
			}
			w.share = r.share
			w.wantPays(t)
		})
	}
}

// Orders that are replaced do not pile up in the row, and the newest can always be carried out.
func TestReplacedOrdersAreBounded(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	var newest *resharing
	for n := range 65 {
		newest = w.refresh()
		if err := newest.give(); err != nil {
			t.Fatalf("order %d: %s", n, describe(err))
		}
	}
	wantReason(t, w.refresh().give(), typev1.Reason_REASON_LIMIT_EXCEEDED)
	newest.done()
	if got := fieldsOf(t, f.value("resharings/research")); slices.Contains(got, "Dealing") {
		t.Errorf("after completion the row holds %v", got)
	}
	w.refresh().done()
	if got := fieldsOf(t, f.value("resharings/research")); slices.Contains(got, "Replaced") {
		t.Errorf("after another epoch the row holds %v", got)
	}
	w.wantPays(t)
}

// A wallet whose share is gone says so to whoever asks for new ones.
func TestResharingOfALostKey(t *testing.T) {
	f := newFixture(t)
	r := f.payable("research").refresh()
	if _, err := f.kv.Delete(t.Context(), "shares/research/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	wantReason(t, r.give(), typev1.Reason_REASON_KEY_LOST)
	_, err := f.GetResharing(t.Context(), &cosignerv1.GetResharingRequest{Wallet: r.w.Name})
	wantReason(t, err, typev1.Reason_REASON_KEY_LOST)
}
