package evidence_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestForms: what a statement may say besides its sample, so that a bound which grows too tight shows here and not in a wallet.
func TestForms(t *testing.T) {
	rows := []struct {
		name, sample string
		edit         func(m proto.Message)
	}{
		{"request of a new store", "request", func(m proto.Message) {
			r := m.(*typev1.Request)
			r.SeenEntry, r.SeenHash = 0, nil
		}},
		{"intent without a purpose", "intent", func(m proto.Message) { m.(*typev1.Intent).Purpose = "" }},
		{"purpose in another script", "intent", func(m proto.Message) { m.(*typev1.Intent).Purpose = "請求書 №7 — für Zoë 🧾" }},
		{"largest amount", "intent", func(m proto.Message) { m.(*typev1.Intent).Units = "9223372036854775807" }},
		{"red verdict", "verdict", func(m proto.Message) {
			v := m.(*typev1.Verdict)
			v.Light, v.ReviewDigest = red, nil
		}},
		{"verdict that waits for its review", "verdict", func(m proto.Message) { m.(*typev1.Verdict).ReviewDigest = nil }},
		{"verdict without results", "verdict", func(m proto.Message) { m.(*typev1.Verdict).Results = nil }},
		{"green receipt", "receipt", func(m proto.Message) {
			r := m.(*typev1.Receipt)
			r.Light, r.Results, r.ReviewDigest = typev1.Light_LIGHT_GREEN, nil, nil
		}},
		{"refusing review", "review", func(m proto.Message) { m.(*typev1.Review).Answer = typev1.Answer_ANSWER_REFUSE }},
		{"unfreeze of a wallet", "unfreeze", func(m proto.Message) {
			u := m.(*typev1.Unfreeze)
			u.Scope, u.Wallet, u.Owner = typev1.Scope_SCOPE_WALLET, "wallets/research", ""
		}},
		{"unfreeze of the installation", "unfreeze", func(m proto.Message) {
			u := m.(*typev1.Unfreeze)
			u.Scope, u.Owner = typev1.Scope_SCOPE_INSTALLATION, ""
		}},
		{"acknowledgement of an owner's unfreeze", "acknowledgement of a freeze", func(m proto.Message) {
			a := m.(*typev1.Acknowledgement)
			a.Kind, a.Scope, a.Wallet, a.Owner = typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE, typev1.Scope_SCOPE_OWNER, "", "owners/owner"
		}},
		{"loss of everything", "accept-loss", func(m proto.Message) {
			a := m.(*typev1.AcceptLoss)
			a.Entry, a.EntryHash = 0, nil
		}},
		{"owner's token", "token", func(m proto.Message) {
			k := m.(*typev1.Token)
			k.Caller, k.Wallet = "owners/owner", ""
		}},
		{"operator's token", "token", func(m proto.Message) {
			k := m.(*typev1.Token)
			k.Caller, k.Wallet = "operator", ""
		}},
		{"first entry", "entry", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Number, e.Previous = 1, nil
		}},
		{"entry without a payment", "entry", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.Payment, e.PaymentState = typev1.EntryKind_ENTRY_KIND_DEPOSIT, "", 0
		}},
		{"entry of money from another wallet", "entry", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.Payment = typev1.EntryKind_ENTRY_KIND_INCOMING, "wallets/other/payments/p"
		}},
		{"entry of an owner-wide freeze", "entry", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.Wallet, e.Payment, e.PaymentState = typev1.EntryKind_ENTRY_KIND_FREEZE, "", "", 0
			e.FreezeId, e.Scope = "lost-laptop", typev1.Scope_SCOPE_OWNER
		}},
		{"outflow of no payment", "chain-transfer out", func(m proto.Message) { m.(*typev1.ChainTransfer).Payment = "" }},
		{"dead message on Solana that never landed", "dead-message of a transaction that failed", func(m proto.Message) {
			d := m.(*typev1.DeadMessage)
			d.Transaction, d.Slot = nil, 0
		}},
		{"last slot", "settlement on Solana", func(m proto.Message) { m.(*typev1.Settlement).Slot = 1<<63 - 1 }},
		{"entry of tokens that came in", "entry", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.Payment, e.PaymentState = typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT, "", 0
		}},
		{"entry of tokens that left by a dead message", "entry", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.PaymentState = typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW, 0
		}},
		{"entry that settles", "entry", func(m proto.Message) { m.(*typev1.Entry).Signature = make([]byte, 64) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := sampleOf(t, row.sample)
			row.edit(m)
			b, err := evidence.Marshal(m)
			if err != nil {
				t.Fatalf("Marshal: %v", err)
			}
			if err := evidence.Unmarshal(b, m.ProtoReflect().New().Interface()); err != nil {
				t.Errorf("Unmarshal: %v", err)
			}
		})
	}
}

// TestFormsRefused: forms that belong together and are not.
func TestFormsRefused(t *testing.T) {
	rows := []struct {
		name, sample, field string
		edit                func(m proto.Message)
	}{
		{"incoming entry of no payment's name", "entry", "payment", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.Payment = typev1.EntryKind_ENTRY_KIND_INCOMING, "payments/p"
		}},
		{"tokens that came in by a payment", "entry", "payment", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.PaymentState = typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT, 0
		}},
		{"tokens that left and changed a payment", "entry", "payment_state", func(m proto.Message) {
			m.(*typev1.Entry).Kind = typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW
		}},
		{"tokens that left by another wallet's payment", "entry", "payment", func(m proto.Message) {
			e := m.(*typev1.Entry)
			e.Kind, e.PaymentState, e.Payment = typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW, 0, "wallets/other/payments/p"
		}},
		{"entry with a state and no payment", "entry", "payment_state", func(m proto.Message) { m.(*typev1.Entry).Payment = "" }},
		{"owner's token that names a wallet", "token", "wallet", func(m proto.Message) { m.(*typev1.Token).Caller = "owners/owner" }},
		{"token of a caller that is no owner's name", "token", "caller", func(m proto.Message) {
			k := m.(*typev1.Token)
			k.Caller, k.Wallet = "owners/", ""
		}},
		{"resource with a space", "token", "resource", func(m proto.Message) { m.(*typev1.Token).Resource = "wallets/a b" }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := sampleOf(t, row.sample)
			row.edit(m)
			_, err := evidence.Marshal(m)
			wantRefusal(t, err, badStatement, row.sample, row.field)
		})
	}
}

// TestEntryHash is the golden file's, and each entry's hash covers every byte.
func TestEntryHash(t *testing.T) {
	b := loose(t, sampleOf(t, "entry"))
	if got := evidence.EntryHash(b); got != evidence.DigestOf(evidence.TypeEntry, b) || got == evidence.DigestOf(evidence.TypeRequest, b) {
		t.Errorf("EntryHash = %v", got)
	}
	for _, v := range readGolden(t).Statements {
		if v.Name == "entry" && v.Digest != evidence.EntryHash(b).String() {
			t.Errorf("EntryHash = %v, golden %s", evidence.EntryHash(b), v.Digest)
		}
	}
}
