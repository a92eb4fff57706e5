package cosigner_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	invalidArg = typev1.Reason_REASON_INVALID_ARGUMENT
	notFound   = typev1.Reason_REASON_NOT_FOUND
	wrongState = typev1.Reason_REASON_WRONG_STATE
	exists     = typev1.Reason_REASON_ALREADY_EXISTS
	runFailed  = typev1.Reason_REASON_KEY_GENERATION_FAILED
)

// smallOrder encodes y = 0, a point of order 4.
var smallOrder = make([]byte, 32)

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[(at+len(b))%len(b)] ^= 1
	return b
}

// wantField fails unless a refusal names this field, or is about none.
func wantField(t testing.TB, err error, want string) {
	t.Helper()
	if got := fault.Of(err).Metadata["field"]; got != want {
		t.Errorf("%s: field %q, want %q", describe(err), got, want)
	}
}

func TestOrderResharingRefusals(t *testing.T) {
	f := newFixture(t)
	w, other, stranger := f.payable("research"), f.payable("other"), f.payable("stranger", "else")
	public := func(key ed25519.PrivateKey) []byte { return evidencetest.Public(key) }
	recovery := public(f.Key("recovery"))
	for _, tt := range []struct {
		name  string
		key   ed25519.PrivateKey
		edit  func(*typev1.ResharingOrder)
		want  typev1.Reason
		field string
	}{
		{"signed by the request key", w.RequestKey, func(*typev1.ResharingOrder) {}, bad, "signatures"},
		{"signed by another owner", stranger.OwnerKey, func(*typev1.ResharingOrder) {}, bad, "signatures"},
		{"signed by the operator", f.Operator, func(*typev1.ResharingOrder) {}, bad, "signatures"},
		{"for another owner's wallet", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Wallet = stranger.Name }, bad, "signatures"},
		{"for another wallet of the owner", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Wallet = other.Name }, mismatch, "request_key"},
		{"for a wallet that is not sealed", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Wallet = "wallets/nobody" }, notFound, ""},
		{"for no wallet", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Wallet = "wallets/A/b" }, bad, "wallet"},
		{"for another installation", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Installation = "other" }, mismatch, "installation"},
		{
			"for a request key that is not the head's", w.OwnerKey, func(o *typev1.ResharingOrder) { o.RequestKey = public(f.Key("thief")) },
			mismatch, "request_key",
		},
		{"from an earlier epoch", w.OwnerKey, func(o *typev1.ResharingOrder) { o.FromEpoch = 0 }, bad, "from_epoch"},
		{"from a later epoch", w.OwnerKey, func(o *typev1.ResharingOrder) { o.FromEpoch, o.ToEpoch = 2, 3 }, mismatch, "from_epoch"},
		{"to an epoch further on", w.OwnerKey, func(o *typev1.ResharingOrder) { o.ToEpoch = 3 }, mismatch, "to_epoch"},
		{"to the same epoch", w.OwnerKey, func(o *typev1.ResharingOrder) { o.ToEpoch = 1 }, bad, "to_epoch"},
		{"recovery key of small order", w.OwnerKey, func(o *typev1.ResharingOrder) { o.RecoveryKey = smallOrder }, bad, "recovery_key"},
		{"replacement without a recovery key", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Replace = true }, bad, "recovery_key"},
		{
			"replacement without a recovery share", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Replace, o.RecoveryKey = true, recovery },
			mismatch, "replace",
		},
		{"run of 15 bytes", w.OwnerKey, func(o *typev1.ResharingOrder) { o.Run = o.GetRun()[1:] }, bad, "run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := w.refresh().order
			tt.edit(m)
			_, err := f.OrderResharing(t.Context(), &cosignerv1.OrderResharingRequest{Order: f.SignLoose(tt.key, m)})
			wantReason(t, err, tt.want)
			wantField(t, err, tt.field)
		})
	}
	_, err := f.OrderResharing(t.Context(), &cosignerv1.OrderResharingRequest{})
	wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISSING)
	_, err = f.OrderResharing(t.Context(), &cosignerv1.OrderResharingRequest{Order: w.Claim})
	wantReason(t, err, bad)
	_, err = f.GetResharing(t.Context(), &cosignerv1.GetResharingRequest{Wallet: "wallets/nobody"})
	wantReason(t, err, notFound)
	_, err = f.GetResharing(t.Context(), &cosignerv1.GetResharingRequest{Wallet: "research"})
	wantReason(t, err, invalidArg)
	if got := f.keys("resharings/"); len(got) > 0 {
		t.Errorf("the store holds %v", got)
	}
	if got := w.refresh().get(); got.GetEpoch() != 1 || got.GetResharing() != nil {
		t.Errorf("got %v, want epoch 1 and no resharing", got)
	}
}

// An order takes the place of one that was not carried out, and that one does not come back; nor does an order of an epoch
// that has passed.
func TestOrdersFollowEachOther(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	first := w.refresh().upTo(3)
	same := w.refresh(func(r *resharing) { r.order.Run = first.order.GetRun(); withRecovery(f.staticKey())(r) })
	err := same.give()
	wantReason(t, err, exists)
	wantField(t, err, "run")
	second := w.refresh().upTo(1)
	err = first.confirm()
	wantReason(t, err, notFound)
	wantField(t, err, "run")
	err = first.give()
	wantReason(t, err, typev1.Reason_REASON_EVIDENCE_STALE)
	wantField(t, err, "run")
	if got := second.get().GetResharing(); !proto.Equal(got,
		&typev1.Resharing{State: typev1.ResharingState_RESHARING_STATE_ORDERED, Order: second.orderE}) {
		t.Errorf("got %v, want the second order", got)
	}
	if err := run(second.steps()[1:]...); err != nil {
		t.Fatal(describe(err))
	}
	w.share = second.share
	for _, old := range []*resharing{first, w.refresh(func(r *resharing) { r.order.FromEpoch, r.order.ToEpoch = 1, 2 })} {
		err = old.give()
		wantReason(t, err, mismatch)
		wantField(t, err, "from_epoch")
	}
	third := w.refresh(withRecovery(f.staticKey())).done()
	err = w.refresh(withRecovery(third.recovery)).give()
	wantReason(t, err, wrongState)
	if got := fault.Of(err).Metadata["state"]; got != "RECOVERY_PENDING" {
		t.Errorf("state %q, want RECOVERY_PENDING", got)
	}
	w.wantEpochs(t, share2, share3)
	if _, err := third.confirmRecovery(w.OwnerKey, third.confirmation()); err != nil {
		t.Fatal(describe(err))
	}
	err = w.refresh().give()
	wantReason(t, err, mismatch) // who has a share keeps one
	wantField(t, err, "recovery_key")
	w.refresh(withRecovery(third.recovery)).done()
	w.wantPays(t)
}

// Whatever is brought to a step that is not its own honest input, it is refused, nothing comes into force, and the honest run
// goes on or, where what came was a dealing that does not check, starts anew from the same order.
func TestResharingStepRefusals(t *testing.T) {
	start := func(edit func(*typev1.ResharingStart)) func(*resharing) error {
		return func(r *resharing) error {
			m := r.statement()
			edit(m)
			_, err := r.client.StartResharing(r.f.t.Context(), &cosignerv1.StartResharingRequest{Start: r.f.SignLoose(r.requestKey, m)})
			return err
		}
	}
	startBy := func(key string) func(*resharing) error {
		return func(r *resharing) error {
			_, err := r.client.StartResharing(r.f.t.Context(), &cosignerv1.StartResharingRequest{Start: r.f.Sign(r.f.Key(key), r.statement())})
			return err
		}
	}
	exchange := func(dealing func(*resharing) []byte) func(*resharing) error {
		return func(r *resharing) error {
			_, err := r.client.ExchangeResharing(r.f.t.Context(),
				&cosignerv1.ExchangeResharingRequest{Wallet: r.w.Name, Run: r.order.GetRun(), Dealing: dealing(r)})
			return err
		}
	}
	confirm := func(certificate, commitment []byte) func(*resharing) error {
		return func(r *resharing) error {
			req := &cosignerv1.ConfirmResharingRequest{Wallet: r.w.Name, Run: r.order.GetRun(), Certificate: certificate, Commitment: commitment}
			if certificate == nil {
				req.Certificate = flipped(r.certificate[:], 40)
			}
			if commitment == nil {
				req.Commitment = honestCommitment(r.f)
			}
			_, err := r.client.ConfirmResharing(r.f.t.Context(), req)
			return err
		}
	}
	complete := func(signature func(*resharing) []byte) func(*resharing) error {
		return func(r *resharing) error {
			_, err := r.client.CompleteResharing(r.f.t.Context(),
				&cosignerv1.CompleteResharingRequest{Wallet: r.w.Name, Run: r.order.GetRun(), Signature: signature(r)})
			return err
		}
	}
	otherRun := func(call func(*resharing) error) func(*resharing) error {
		return func(r *resharing) error {
			honest := r.order
			defer func() { r.order = honest }()
			r.order = proto.CloneOf(honest)
			r.order.Run = flipped(honest.GetRun(), 3)
			return call(r)
		}
	}
	someDealing := func(r *resharing) []byte { return r.dealing }
	header := 1 + len("RESHARE(Ed25519, SHA-512)/v1")
	for _, tt := range []struct {
		name  string
		steps int // carried out before
		act   func(*resharing) error
		want  typev1.Reason
		field string
		reset bool // the run ends, and starts anew
	}{
		{"start before the order", 0, start(func(*typev1.ResharingStart) {}), notFound, "", false},
		{"start under the old request key", 1, startBy("request/research"), bad, "signatures", false},
		{"start under the owner's key", 1, startBy("owner/owner"), bad, "signatures", false},
		{
			"start for another order", 1, start(func(m *typev1.ResharingStart) { m.OrderDigest = flipped(m.GetOrderDigest(), 0) }),
			mismatch, "order_digest", false,
		},
		{"start for another run", 1, start(func(m *typev1.ResharingStart) { m.Run = flipped(m.GetRun(), 0) }), notFound, "run", false},
		{
			"start for another installation", 1, start(func(m *typev1.ResharingStart) { m.Installation = "other" }),
			mismatch, "installation", false,
		},
		{"start for another wallet", 1, start(func(m *typev1.ResharingStart) { m.Wallet = "wallets/nobody" }), notFound, "", false},
		{
			"start with a static key of small order", 1, start(func(m *typev1.ResharingStart) { m.StaticKey = smallOrder }),
			invalidArg, "start.static_key", false,
		},
		{"start of a missing statement", 1, func(r *resharing) error {
			_, err := r.client.StartResharing(r.f.t.Context(), &cosignerv1.StartResharingRequest{})
			return err
		}, typev1.Reason_REASON_EVIDENCE_MISSING, "", false},
		{"another start", 2, start(func(m *typev1.ResharingStart) {
			m.StaticKey = evidencetest.Public(ed25519.NewKeyFromSeed(make([]byte, 32)))
		}), exists, "static_key", false},

		{"exchange before the order", 0, exchange(func(*resharing) []byte { return []byte{1} }), notFound, "", false},
		{"exchange before the start", 1, exchange(func(*resharing) []byte { return []byte{1} }), wrongState, "", false},
		{"exchange with another run", 2, otherRun(exchange(someDealing)), notFound, "run", false},
		{"exchange with a run of 15 bytes", 2, func(r *resharing) error {
			_, err := r.client.ExchangeResharing(r.f.t.Context(),
				&cosignerv1.ExchangeResharingRequest{Wallet: r.w.Name, Run: make([]byte, 15), Dealing: r.dealing})
			return err
		}, invalidArg, "run", false},
		{"exchange for no wallet", 2, func(r *resharing) error {
			_, err := r.client.ExchangeResharing(r.f.t.Context(),
				&cosignerv1.ExchangeResharingRequest{Wallet: "x", Run: r.order.GetRun(), Dealing: r.dealing})
			return err
		}, invalidArg, "wallet", false},
		{"no dealing", 2, exchange(func(*resharing) []byte { return nil }), invalidArg, "dealing", false},
		{"dealing of more than 2 KiB", 2, exchange(func(*resharing) []byte { return make([]byte, 2<<10+1) }), invalidArg, "dealing", false},
		{"dealing of another suite", 2, exchange(func(r *resharing) []byte { return flipped(r.dealing, 3) }), runFailed, "", true},
		{"dealing of another dealer", 2, exchange(func(r *resharing) []byte { return flipped(r.dealing, header+1) }), runFailed, "", true},
		{"dealing with another slope", 2, exchange(func(r *resharing) []byte {
			return slices.Concat(r.dealing[:header+2], evidencetest.Public(r.f.Key("slope")), r.dealing[header+34:])
		}), runFailed, "", true},
		{"dealing with a slope of small order", 2, exchange(func(r *resharing) []byte {
			return slices.Concat(r.dealing[:header+2], smallOrder, r.dealing[header+34:])
		}), runFailed, "", true},
		{"dealing with another ephemeral key", 2, exchange(func(r *resharing) []byte {
			return slices.Concat(r.dealing[:header+34], evidencetest.Public(r.f.Key("ephemeral")), r.dealing[header+66:])
		}), runFailed, "", true},
		{
			"dealing with the co-signer's value altered", 2, exchange(func(r *resharing) []byte { return flipped(r.dealing, -1) }),
			runFailed, "", true,
		},
		{"dealing cut", 2, exchange(func(r *resharing) []byte { return r.dealing[:len(r.dealing)-1] }), runFailed, "", true},
		{"the co-signer's own dealing", 2, exchange(func(r *resharing) []byte { return r.peerDealing }), runFailed, "", true},
		{
			"dealing of another wallet's run", 2, exchange(func(r *resharing) []byte { return r.f.payable("other").refresh().upTo(2).dealing }),
			runFailed, "", true,
		},
		{"another dealing", 3, exchange(func(r *resharing) []byte { return flipped(r.dealing, -1) }), runFailed, "", false},

		{"confirmation before the exchange", 2, confirm(make([]byte, 64), nil), wrongState, "", false},
		{"confirmation with another run", 3, otherRun(confirm(nil, nil)), notFound, "run", false},
		{"certificate altered", 3, confirm(nil, nil), runFailed, "", false},
		{"certificate of zeros", 3, confirm(make([]byte, 64), nil), runFailed, "", false},
		{"the co-signer's own certificate", 3, func(r *resharing) error { return confirm(r.peer, nil)(r) }, runFailed, "", false},
		{"certificate of 63 bytes", 3, confirm(make([]byte, 63), nil), invalidArg, "certificate", false},
		{"commitment of small order", 3, confirm(make([]byte, 64), make([]byte, 64)), invalidArg, "commitment", false},
		{"another certificate", 4, confirm(nil, nil), runFailed, "", false},

		{"completion before the confirmation", 3, complete(func(*resharing) []byte { return make([]byte, 64) }), wrongState, "", false},
		{"completion with another run", 4, otherRun(complete(func(r *resharing) []byte { return r.signature })), notFound, "run", false},
		{"test signature altered", 4, complete(func(r *resharing) []byte { return flipped(r.signature, 40) }), runFailed, "", false},
		{"test signature of 63 bytes", 4, complete(func(r *resharing) []byte { return r.signature[1:] }), invalidArg, "signature", false},
		{"a payment's signature by the old shares", 4, complete(func(r *resharing) []byte {
			a := r.w.attempt()
			resp, err := a.ask(r.f.t.Context(), r.f)
			if err != nil {
				r.f.t.Fatal(describe(err))
			}
			release, err := frost.ParseRelease(resp.GetRelease())
			if err != nil {
				r.f.t.Fatal(err)
			}
			signature, err := a.nonces.Finish(a.MessageBytes, release)
			if err != nil {
				r.f.t.Fatal(err)
			}
			return signature[:]
		}), runFailed, "", false},
		{"confirmation of a recovery share that is none", 4, func(r *resharing) error {
			r.completed = &typev1.Resharing{Record: r.orderE}
			_, err := r.confirmRecovery(r.w.OwnerKey, r.confirmation())
			return err
		}, wrongState, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			w.RequestKey = f.Key("request-2")
			w.deliver(w.SetGuardRails(func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(w.RequestKey) }))
			r := w.refresh().upTo(tt.steps)
			err := tt.act(r)
			wantReason(t, err, tt.want)
			wantField(t, err, tt.field)
			w.wantEpochs(t, share1)
			w.wantPays(t)
			if tt.reset {
				if got := r.get().GetResharing().GetState(); got != typev1.ResharingState_RESHARING_STATE_ORDERED {
					t.Errorf("state %v, want ORDERED", got)
				}
				if got := fieldsOf(t, f.value("resharings/research")); !slices.Contains(got, "Order") || len(got) != 2 {
					t.Errorf("the ended run leaves %v", got)
				}
				if !strings.Contains(f.log.String(), "resharing was tampered with") {
					t.Error("the operator is not told")
				}
				wantReason(t, r.exchange(), wrongState)
				tt.steps = 1
			}
			if err := run(r.steps()[tt.steps:]...); err != nil {
				t.Fatalf("the honest run afterwards: %s", describe(err))
			}
			w.share = r.share
			w.wantPays(t)
		})
	}
}

// A relay that alters what the co-signer says, or shows the two sides different dealings, gets no new shares into force.
func TestRelayMakesNoSharing(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(r *resharing) error
	}{
		{"answer's static key altered", func(r *resharing) error {
			return relayed(r, func(resp *cosignerv1.StartResharingResponse) {
				resp.Answer.Payload = flipped(resp.GetAnswer().GetPayload(), 70)
			})
		}},
		{"dealing of the co-signer altered", func(r *resharing) error {
			return relayed(r, func(resp *cosignerv1.StartResharingResponse) { resp.Dealing = flipped(resp.GetDealing(), -60) })
		}},
		{"agent's own value altered on the way to the co-signer", func(r *resharing) error {
			if err := r.start(); err != nil {
				return err
			}
			honest := r.dealing
			r.dealing = flipped(honest, -60) // the agent's value: the co-signer cannot see that it does not open
			resp, err := r.client.ExchangeResharing(r.f.t.Context(),
				&cosignerv1.ExchangeResharingRequest{Wallet: r.w.Name, Run: r.order.GetRun(), Dealing: r.dealing})
			if err != nil {
				return err
			}
			r.dealing = honest
			return r.exchanged(resp.GetCertificate())
		}},
		{"co-signer's certificate altered", func(r *resharing) error {
			if err := r.start(); err != nil {
				return err
			}
			resp, err := r.client.ExchangeResharing(r.f.t.Context(),
				&cosignerv1.ExchangeResharingRequest{Wallet: r.w.Name, Run: r.order.GetRun(), Dealing: r.dealing})
			if err != nil {
				return err
			}
			return r.exchanged(flipped(resp.GetCertificate(), 33))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			r := w.refresh().upTo(1)
			if err := tt.run(r); err == nil {
				t.Error("the run went through")
			}
			w.wantEpochs(t, share1)
			w.wantPays(t)
			w.refresh().done() // ordered again, it works
			w.wantPays(t)
		})
	}
}

// relayed starts a run through a relay that alters the answer, and goes on as far as it goes.
func relayed(r *resharing, alter func(*cosignerv1.StartResharingResponse)) error {
	r.startE = r.f.Sign(r.requestKey, r.statement())
	resp, err := r.client.StartResharing(r.f.t.Context(), &cosignerv1.StartResharingRequest{Start: r.startE})
	if err != nil {
		return err
	}
	alter(resp)
	if err := r.started(resp); err != nil {
		return err
	}
	return run(r.exchange, r.confirm, r.complete)
}

// An order stands on the head that it was given under. Once that names another request key or not the owner key, each step is
// refused; whatever else changes in it, the run goes on.
func TestHeadChangesDuringResharing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(f *fixture, w *wallet)
		want   typev1.Reason
		field  string
	}{
		{"request key", func(f *fixture, w *wallet) {
			w.RequestKey = f.Key("request-2")
			w.deliver(w.SetGuardRails(func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(w.RequestKey) }))
		}, mismatch, "request_key"},
		{"owner key", func(f *fixture, w *wallet) {
			old := w.OwnerKey
			w.OwnerKey = f.Key("owner-2")
			w.setKeys(old, w.OwnerKey)
		}, bad, "signatures"},
		{"time zone", func(_ *fixture, w *wallet) {
			w.deliver(w.SetGuardRails(func(d *typev1.GuardRails) { d.TimeZone = "Asia/Tokyo" }))
		}, typev1.Reason_REASON_UNSPECIFIED, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for n := 1; n < 5; n++ {
				f := newFixture(t)
				w := f.payable("research")
				r := w.refresh().upTo(n)
				tt.change(f, w)
				err := r.steps()[n]()
				if tt.want == typev1.Reason_REASON_UNSPECIFIED {
					if err != nil {
						t.Errorf("after step %d: %s", n, describe(err))
					}
					continue
				}
				wantReason(t, err, tt.want)
				wantField(t, err, tt.field)
				wantReason(t, r.give(), tt.want)
				w.wantEpochs(t, share1)
				w.wantPays(t)
				w.refresh().done()
				w.wantPays(t)
				w.wantEpochs(t, share2)
			}
		})
	}
}

func TestConfirmRecoveryRefusals(t *testing.T) {
	f := newFixture(t)
	w, other := f.payable("research"), f.payable("other")
	stranger := f.payable("stranger", "else")
	plain := other.refresh().done()
	r := w.refresh(withRecovery(f.staticKey())).done()
	for _, tt := range []struct {
		name  string
		key   ed25519.PrivateKey
		edit  func(*typev1.RecoveryConfirmation)
		want  typev1.Reason
		field string
	}{
		{"by a stranger", stranger.OwnerKey, func(*typev1.RecoveryConfirmation) {}, bad, "signatures"},
		{"by the agent", w.RequestKey, func(*typev1.RecoveryConfirmation) {}, bad, "signatures"},
		{"for the epoch before", w.OwnerKey, func(m *typev1.RecoveryConfirmation) { m.Epoch = 1 }, mismatch, "epoch"},
		{"for the epoch after", w.OwnerKey, func(m *typev1.RecoveryConfirmation) { m.Epoch = 3 }, mismatch, "epoch"},
		{
			"of another record", w.OwnerKey, func(m *typev1.RecoveryConfirmation) { m.RecordDigest = flipped(m.GetRecordDigest(), 5) },
			mismatch, "record_digest",
		},
		{"for another installation", w.OwnerKey, func(m *typev1.RecoveryConfirmation) { m.Installation = "other" }, mismatch, "installation"},
		{"for a wallet without a recovery share", w.OwnerKey, func(m *typev1.RecoveryConfirmation) { m.Wallet = other.Name }, wrongState, ""},
		{"for a wallet never dealt anew", w.OwnerKey, func(m *typev1.RecoveryConfirmation) { m.Wallet = stranger.Name }, notFound, ""},
		{"for a wallet that is not sealed", w.OwnerKey, func(m *typev1.RecoveryConfirmation) { m.Wallet = "wallets/nobody" }, notFound, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := r.confirmation()
			tt.edit(m)
			_, err := r.confirmRecovery(tt.key, m)
			wantReason(t, err, tt.want)
			wantField(t, err, tt.field)
		})
	}
	_, err := f.ConfirmRecovery(t.Context(), &cosignerv1.ConfirmRecoveryRequest{})
	wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISSING)
	w.wantEpochs(t, share1, share2)
	other.wantEpochs(t, "shares/other/00000000000000000002")
	if _, err := r.open(r.get().GetResharing()); err != nil {
		t.Errorf("the recovery share afterwards: %v", err)
	}
	if got := plain.get().GetResharing().GetState(); got != typev1.ResharingState_RESHARING_STATE_DONE {
		t.Errorf("the other wallet's state %v", got)
	}
	// What was confirmed for one epoch confirms no later one.
	first := r.confirmation()
	if _, err := r.confirmRecovery(w.OwnerKey, first); err != nil {
		t.Fatal(describe(err))
	}
	second := w.refresh(withRecovery(r.recovery)).done()
	_, err = second.confirmRecovery(w.OwnerKey, first)
	wantReason(t, err, mismatch)
	w.wantEpochs(t, share2, share3)
}

// A participant that takes another's static key would get its share too.
func TestStartUnderTheRecoveryKey(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	r := w.refresh(withRecovery(f.staticKey())).upTo(1)
	honest := r.static
	r.static = r.recovery
	err := r.start()
	wantReason(t, err, invalidArg)
	wantField(t, err, "start.static_key")
	r.static = honest
	if err := run(r.steps()[1:]...); err != nil {
		t.Fatal(describe(err))
	}
	w.share = r.share
	w.wantPays(t)
}

// The old share 1 makes no test signature with the co-signer's new share, and the new share 1 no payment before it is in force.
func TestEpochsDoNotMix(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	r := w.refresh().upTo(4)
	nonces, commitment, err := w.share.Commit()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.confirmWith(commitment[:])
	if err != nil {
		t.Fatalf("ConfirmResharing: %s", describe(err))
	}
	release, err := frost.ParseRelease(resp.GetRelease())
	if err != nil {
		t.Fatal(err)
	}
	message, err := r.testMessage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nonces.Finish(message, release); err == nil {
		t.Error("the old share makes a test signature with the co-signer's new one")
	}
	w.wantOldShareWorthless(t, r.share) // here: the new share, before it is in force
	if err := r.complete(); err != nil {
		t.Error(describe(err))
	}
}
