package evidence_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestResharingStatements: each of the five is taken under the one key that may sign it, for the order, start or record that it
// is about, and with nothing in it changed.
func TestResharingStatements(t *testing.T) {
	w := fixedWorld(t)
	elsewhere := evidencetest.NewWith(t, evidencetest.Config{Seed: "golden", ID: "prod"})
	l := w.Wallet(evidencetest.WalletConfig{ID: "research"})
	other := w.Wallet(evidencetest.WalletConfig{ID: "other"})
	order := w.Sign(l.OwnerKey, sampleOf(t, "resharing-order"))
	start := w.Sign(l.RequestKey, sampleOf(t, "resharing-start"))
	record := w.Sign(w.Key("cosigner"), sampleOf(t, "sharing-record"))
	edited := func(name string, edit func(m proto.Message)) proto.Message {
		m := proto.Clone(sampleOf(t, name))
		edit(m)
		return m
	}
	anotherOrder := w.Sign(l.OwnerKey, edited("resharing-order",
		func(m proto.Message) { m.(*typev1.ResharingOrder).FromEpoch, m.(*typev1.ResharingOrder).ToEpoch = 2, 3 }))
	anotherStart := w.Sign(l.RequestKey, edited("resharing-start", func(m proto.Message) {
		m.(*typev1.ResharingStart).StaticKey = evidencetest.Public(w.Key("another static"))
	}))

	type check = func(i *evidence.Installation, head *evidence.Head, e *typev1.Envelope) error
	checkOrder := func(i *evidence.Installation, head *evidence.Head, e *typev1.Envelope) error {
		_, err := evidence.CheckResharingOrder(i, head, e)
		return err
	}
	checkStart := func(order *typev1.Envelope) check {
		return func(_ *evidence.Installation, _ *evidence.Head, e *typev1.Envelope) error {
			_, err := evidence.CheckResharingStart(order, e)
			return err
		}
	}
	checkAnswer := func(start *typev1.Envelope) check {
		return func(i *evidence.Installation, _ *evidence.Head, e *typev1.Envelope) error {
			_, err := evidence.CheckResharingAnswer(i, start, e)
			return err
		}
	}
	checkRecord := func(order *typev1.Envelope) check {
		return func(i *evidence.Installation, _ *evidence.Head, e *typev1.Envelope) error {
			_, err := evidence.CheckSharingRecord(i, order, e)
			return err
		}
	}
	checkConfirmation := func(record *typev1.Envelope) check {
		return func(i *evidence.Installation, head *evidence.Head, e *typev1.Envelope) error {
			_, err := evidence.CheckRecoveryConfirmation(i, head, record, e)
			return err
		}
	}

	for _, tt := range []struct {
		sample string
		check  check
		signer string
		// about is the same check for another order, start or record.
		about check
		// edits are contents that say something else, with the field that a refusal names.
		edits map[string]func(m proto.Message)
	}{
		{"resharing-order", checkOrder, "owner/owner", nil, map[string]func(m proto.Message){
			"installation": func(m proto.Message) { m.(*typev1.ResharingOrder).Installation = "prod" },
			"wallet":       func(m proto.Message) { m.(*typev1.ResharingOrder).Wallet = other.Name },
			"request_key":  func(m proto.Message) { m.(*typev1.ResharingOrder).RequestKey = evidencetest.Public(w.Key("thief")) },
			"recovery_key": func(m proto.Message) { m.(*typev1.ResharingOrder).RecoveryKey = bytes.Repeat([]byte{0}, 32) },
		}},
		{"resharing-start", checkStart(order), "request/research", checkStart(anotherOrder), map[string]func(m proto.Message){
			"installation": func(m proto.Message) { m.(*typev1.ResharingStart).Installation = "prod" },
			"wallet":       func(m proto.Message) { m.(*typev1.ResharingStart).Wallet = other.Name },
			"run":          func(m proto.Message) { m.(*typev1.ResharingStart).Run = bytes.Repeat([]byte{8}, 16) },
			"order_digest": func(m proto.Message) { m.(*typev1.ResharingStart).OrderDigest = digestOf(1) },
		}},
		{"resharing-answer", checkAnswer(start), "cosigner", checkAnswer(anotherStart), map[string]func(m proto.Message){
			"installation": func(m proto.Message) { m.(*typev1.ResharingAnswer).Installation = "prod" },
			"wallet":       func(m proto.Message) { m.(*typev1.ResharingAnswer).Wallet = other.Name },
			"run":          func(m proto.Message) { m.(*typev1.ResharingAnswer).Run = bytes.Repeat([]byte{8}, 16) },
			"start_digest": func(m proto.Message) { m.(*typev1.ResharingAnswer).StartDigest = digestOf(1) },
		}},
		{"sharing-record", checkRecord(order), "cosigner", checkRecord(anotherOrder), map[string]func(m proto.Message){
			"installation": func(m proto.Message) { m.(*typev1.SharingRecord).Installation = "prod" },
			"wallet":       func(m proto.Message) { m.(*typev1.SharingRecord).Wallet = other.Name },
			"run":          func(m proto.Message) { m.(*typev1.SharingRecord).Run = bytes.Repeat([]byte{8}, 16) },
			"order_digest": func(m proto.Message) { m.(*typev1.SharingRecord).OrderDigest = digestOf(1) },
			"epoch":        func(m proto.Message) { m.(*typev1.SharingRecord).Epoch = 3 },
		}},
		{"recovery-confirmation", checkConfirmation(record), "owner/owner", nil, map[string]func(m proto.Message){
			"installation":  func(m proto.Message) { m.(*typev1.RecoveryConfirmation).Installation = "prod" },
			"wallet":        func(m proto.Message) { m.(*typev1.RecoveryConfirmation).Wallet = other.Name },
			"epoch":         func(m proto.Message) { m.(*typev1.RecoveryConfirmation).Epoch = 3 },
			"record_digest": func(m proto.Message) { m.(*typev1.RecoveryConfirmation).RecordDigest = digestOf(1) },
		}},
	} {
		t.Run(tt.sample, func(t *testing.T) {
			m := sampleOf(t, tt.sample)
			for _, signer := range []string{"cosigner", "policy", "ledger", "operator", "request/research", "owner/owner", "foreign"} {
				if err := tt.check(w.Installation, l.Head, w.Sign(w.Key(signer), m)); (err == nil) != (signer == tt.signer) {
					t.Errorf("under %s: %v", signer, err)
				}
			}
			good := w.Sign(w.Key(tt.signer), m)
			if tt.sample != "resharing-start" { // whose order has been checked for its installation
				if err := tt.check(elsewhere.Installation, l.Head, good); err == nil {
					t.Error("another installation takes it")
				}
			}
			if err := tt.check(w.Installation, l.Head, flip(good)); err == nil {
				t.Error("taken after a byte changed")
			}
			if err := tt.check(w.Installation, l.Head, nil); err == nil {
				t.Error("taken when missing")
			}
			if tt.about != nil {
				if err := tt.about(w.Installation, l.Head, good); err == nil {
					t.Error("taken for another order or start")
				}
			}
			for field, edit := range tt.edits {
				err := tt.check(w.Installation, l.Head, w.Sign(w.Key(tt.signer), edited(tt.sample, edit)))
				if err == nil {
					t.Errorf("another %s is taken", field)
					continue
				}
				reason := isMismatch
				if field == "recovery_key" {
					reason = badStatement
				}
				wantRefusal(t, err, reason, tt.sample, field)
			}
		})
	}
}
