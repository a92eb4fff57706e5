package evidence_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestSamplesAreWhole: every message of the contract that is signed or hashed has a sample, and every one of its fields is set
// in one of them, but for those that must be empty. What is not in a sample is in no test below.
func TestSamplesAreWhole(t *testing.T) {
	notStatements := []string{
		"Envelope", "Signature", "Limit", "Recipients", "RuleResult", "ServiceKey", "X402Context", "X402Price", "X402Host", "X402Rules",
	}
	empty := []string{
		"OwnerRegistration.wallet", "OwnerKeys.wallet", "OwnerInvitation.wallet", "Enrolment.wallet", "Installation.wallet",
		"Unfreeze.wallet", "Acknowledgement.owner",
		"Installation.predecessor", "Entry.freeze_id", "Entry.scope", "Entry.signature",
	}
	messages := typev1.File_halfkey_type_v1_evidence_proto.Messages()
	for i := range messages.Len() {
		md := messages.Get(i)
		if slices.Contains(notStatements, string(md.Name())) {
			continue
		}
		set := make(map[protoreflect.Name]bool)
		found := false
		for _, s := range samples(t) {
			if s.m.ProtoReflect().Descriptor() == md {
				found = true
				s.m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
					set[fd.Name()] = true
					return true
				})
			}
		}
		if !found {
			t.Errorf("%s has no sample", md.Name())
			continue
		}
		for j := range md.Fields().Len() {
			name := md.Fields().Get(j).Name()
			if full := string(md.Name()) + "." + string(name); !set[name] && !slices.Contains(empty, full) {
				t.Errorf("%s is set in no sample", full)
			}
		}
		if first := md.Fields().ByNumber(1).Name(); first != "installation" {
			t.Errorf("%s begins with %s", md.Name(), first)
		}
		if second := md.Fields().ByNumber(2).Name(); second != "wallet" {
			t.Errorf("%s goes on with %s", md.Name(), second)
		}
	}
}

// TestContractHasOneEncoding: nothing in the contract of statements has more than one encoding by itself.
func TestContractHasOneEncoding(t *testing.T) {
	messages := typev1.File_halfkey_type_v1_evidence_proto.Messages()
	for i := range messages.Len() {
		md := messages.Get(i)
		for j := range md.Fields().Len() {
			fd := md.Fields().Get(j)
			if fd.IsMap() || fd.ContainingOneof() != nil || fd.Kind() == protoreflect.FloatKind || fd.Kind() == protoreflect.DoubleKind {
				t.Errorf("%s is a map, oneof or float", fd.FullName())
			}
		}
		if md.ExtensionRanges().Len() > 0 {
			t.Errorf("%s may be extended", md.FullName())
		}
	}
}

func TestTypes(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range samples(t) {
		payloadType, ok := evidence.TypeOf(s.m)
		if s.signer == "" {
			if ok {
				t.Errorf("%s has type %s, and is not a statement", s.name, payloadType)
			}
			continue
		}
		if payloadType != s.payloadType || len(payloadType) > evidence.TypeMax {
			t.Errorf("TypeOf(%s) = %q, want %q of at most 64 bytes", s.name, payloadType, s.payloadType)
		}
		m, ok := evidence.NewStatement(payloadType)
		if !ok || m.ProtoReflect().Descriptor() != s.m.ProtoReflect().Descriptor() {
			t.Errorf("NewStatement(%q) = %T, %v, want %T", payloadType, m, ok, s.m)
		}
		seen[payloadType] = true
	}
	if len(seen) != 32 {
		t.Errorf("%d types have samples, want 32", len(seen))
	}
}

// TestUnmarshalRoundTrip: what Marshal makes, Unmarshal takes, and gives again.
func TestUnmarshalRoundTrip(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			b, err := evidence.Marshal(s.m)
			if err != nil {
				t.Fatalf("Marshal: %v", err)
			}
			m := s.m.ProtoReflect().New().Interface()
			if err := evidence.Unmarshal(b, m); err != nil {
				t.Fatalf("Unmarshal: %v", err)
			}
			if !proto.Equal(m, s.m) {
				t.Error("the content changed")
			}
		})
	}
}

// loose encodes without checks.
func loose(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatalf("Marshal: %v", err)
	}
	return b
}

// everyMessage calls f for m and each message inside it, with where it stands.
func everyMessage(m protoreflect.Message, where string, f func(m protoreflect.Message, where string)) {
	f(m, where)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Kind() != protoreflect.MessageKind {
			return true
		}
		if !fd.IsList() {
			everyMessage(v.Message(), where+"."+string(fd.Name()), f)
			return true
		}
		for i := range v.List().Len() {
			everyMessage(v.List().Get(i).Message(), fmt.Sprintf("%s.%s[%d]", where, fd.Name(), i), f)
		}
		return true
	})
}

// TestUnmarshalRefusesUnknown puts an unknown field into every message, and an unknown value into every enum, at every depth
// of every sample. The bytes encode again to themselves, so only looking finds them.
func TestUnmarshalRefusesUnknown(t *testing.T) {
	for _, s := range samples(t) {
		refuse := func(where string, m proto.Message) {
			t.Helper()
			if err := evidence.Unmarshal(loose(t, m), m.ProtoReflect().New().Interface()); err == nil {
				t.Errorf("%s: taken", where)
			}
			if _, err := evidence.Marshal(m); err == nil {
				t.Errorf("%s: made", where)
			}
		}
		count := 0
		everyMessage(s.m.ProtoReflect(), s.name, func(protoreflect.Message, string) { count++ })
		for at := range count {
			m := proto.Clone(s.m)
			i, place := 0, ""
			everyMessage(m.ProtoReflect(), s.name, func(inner protoreflect.Message, where string) {
				if i == at {
					inner.SetUnknown([]byte(unknownTail))
					place = where
				}
				i++
			})
			refuse("unknown field in "+place, m)
		}
		everyMessage(s.m.ProtoReflect(), s.name, func(inner protoreflect.Message, where string) {
			fields := inner.Descriptor().Fields()
			for j := range fields.Len() {
				fd := fields.Get(j)
				if fd.Kind() != protoreflect.EnumKind {
					continue
				}
				m := proto.Clone(s.m)
				everyMessage(m.ProtoReflect(), s.name, func(same protoreflect.Message, at string) {
					if at != where {
						return
					}
					if fd.IsList() {
						same.Mutable(fd).List().Append(protoreflect.ValueOfEnum(99))
					} else {
						same.Set(fd, protoreflect.ValueOfEnum(99))
					}
				})
				refuse(where+"."+string(fd.Name())+" = 99", m)
			}
		})
	}
}

// TestUnmarshalRefusesInside: a statement inside an entry is decoded as strictly as the entry.
func TestUnmarshalRefusesInside(t *testing.T) {
	rows := []struct {
		name string
		edit func(e *typev1.Envelope)
	}{
		{"unknown field in its payload", func(e *typev1.Envelope) { e.Payload = append(e.GetPayload(), unknownTail...) }},
		{"another payload", func(e *typev1.Envelope) { e.Payload = []byte{1} }},
		{"empty payload", func(e *typev1.Envelope) { e.Payload = nil }},
		{"type that is no statement's", func(e *typev1.Envelope) { e.PayloadType = evidence.TypeIntent }},
		{"unsigned", func(e *typev1.Envelope) { e.Signatures = nil }},
		{"signature too short", func(e *typev1.Envelope) { e.Signatures[0].Signature = e.Signatures[0].GetSignature()[:63] }},
		{"key too short", func(e *typev1.Envelope) { e.Signatures[0].PublicKey = e.Signatures[0].GetPublicKey()[:31] }},
		{"one key twice", func(e *typev1.Envelope) { e.Signatures = append(e.GetSignatures(), e.GetSignatures()[0]) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			entry := sampleOf(t, "entry").(*typev1.Entry)
			row.edit(entry.GetStatements()[1])
			err := evidence.Unmarshal(loose(t, entry), new(typev1.Entry))
			wantRefusal(t, err, badStatement, "entry", "statements")
		})
	}
}

// TestUnmarshalRefusesOtherEncodings: other bytes for the same content.
func TestUnmarshalRefusesOtherEncodings(t *testing.T) {
	// fields splits the payload's top level.
	fields := func(t *testing.T, b []byte) [][]byte {
		t.Helper()
		var out [][]byte
		for len(b) > 0 {
			n := protowire.ConsumeFieldValue(protowire.Number(b[0]>>3), protowire.Type(b[0]&7), b[1:])
			if n < 0 {
				t.Fatal("malformed sample")
			}
			out = append(out, b[:1+n])
			b = b[1+n:]
		}
		return out
	}
	rows := []struct {
		name   string
		sample string
		change func(t *testing.T, b []byte) []byte
	}{
		{"fields in descending order", "review", func(t *testing.T, b []byte) []byte {
			f := fields(t, b)
			slices.Reverse(f)
			return bytes.Join(f, nil)
		}},
		{"a field twice", "review", func(t *testing.T, b []byte) []byte { return append(bytes.Clone(fields(t, b)[0]), b...) }},
		{"a default spelled out", "settlement", func(t *testing.T, b []byte) []byte { return append(b, 0x52, 0x00) }},
		{"a number in more bytes than it needs", "review", func(t *testing.T, b []byte) []byte {
			return append(b[:len(b)-1], b[len(b)-1]|0x80, 0)
		}},
		{"a tag in more bytes than it needs", "review", func(t *testing.T, b []byte) []byte {
			return append([]byte{b[0] | 0x80, 0}, b[1:]...)
		}},
		{"a packed list unpacked", "guard-rails", func(t *testing.T, b []byte) []byte {
			packed := []byte{0x5a, 0x01, 0x01}
			if bytes.Count(b, packed) != 1 {
				t.Fatal("the sample has no rails")
			}
			return bytes.Replace(b, packed, []byte{0x58, 0x01}, 1)
		}},
		{"a message in two parts", "guard-rails", func(t *testing.T, b []byte) []byte {
			return append(b, 0x6a, 0x00)
		}},
		{"cut short", "review", func(t *testing.T, b []byte) []byte { return b[:len(b)-1] }},
		{"nothing", "review", func(t *testing.T, b []byte) []byte { return nil }},
		{"not UTF-8", "review", func(t *testing.T, b []byte) []byte { b[2] = 0xff; return b }},
		{"a group", "review", func(t *testing.T, b []byte) []byte { return append(b, 0x33, 0x34) }},
		{"too large", "review", func(t *testing.T, b []byte) []byte { return append(b, make([]byte, evidence.PayloadMax)...) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := sampleOf(t, row.sample)
			b := row.change(t, loose(t, m))
			err := evidence.Unmarshal(b, m.ProtoReflect().New().Interface())
			var e *evidence.Error
			if !errors.As(err, &e) || e.Reason != badStatement {
				t.Errorf("got %v, want BAD_STATEMENT", err)
			}
		})
	}
}

// x402Sample is the sample of an intent that has a context.
const x402Sample = "intent for an HTTP resource"

// solanaRequest is the sample of a request that has every field.
const solanaRequest = "request for an HTTP resource on Solana"

// TestFields: every bound of the contract, by the field that a refusal must name.
func TestFields(t *testing.T) {
	rows := []struct {
		sample, field string
		edit          func(m proto.Message)
	}{
		{"intent", "installation", func(m proto.Message) { m.(*typev1.Intent).Installation = "" }},
		{"intent", "installation", func(m proto.Message) { m.(*typev1.Intent).Installation = strings.Repeat("a", 33) }},
		{"intent", "wallet", func(m proto.Message) { m.(*typev1.Intent).Wallet = "wallets/" }},
		{"intent", "payment", func(m proto.Message) { m.(*typev1.Intent).Payment = "wallets/other/payments/p" }},
		{"intent", "rail", func(m proto.Message) { m.(*typev1.Intent).Rail = 0 }},
		{"intent", "asset", func(m proto.Message) { m.(*typev1.Intent).Asset = "" }},
		{"intent", "units", func(m proto.Message) { m.(*typev1.Intent).Units = "0" }},
		{"intent", "units", func(m proto.Message) { m.(*typev1.Intent).Units = "01" }},
		{"intent", "units", func(m proto.Message) { m.(*typev1.Intent).Units = "9223372036854775808" }},
		{"intent", "recipient", func(m proto.Message) { m.(*typev1.Intent).Recipient = make([]byte, 31) }},
		{"intent", "purpose", func(m proto.Message) { m.(*typev1.Intent).Purpose = strings.Repeat("x", 257) }},
		{"intent", "purpose", func(m proto.Message) { m.(*typev1.Intent).Purpose = "two\nlines" }},
		{"intent", "purpose", func(m proto.Message) { m.(*typev1.Intent).Purpose = "pay \u202egnihton" }},
		{"intent", "deadline_millis", func(m proto.Message) { m.(*typev1.Intent).DeadlineMillis = 0 }},
		{"intent", "deadline_millis", func(m proto.Message) { m.(*typev1.Intent).DeadlineMillis = 1 << 62 }},
		{x402Sample, "x402.method", func(m proto.Message) { m.(*typev1.Intent).X402.Method = "" }},
		{x402Sample, "x402.method", func(m proto.Message) { m.(*typev1.Intent).X402.Method = "get" }},
		{x402Sample, "x402.method", func(m proto.Message) { m.(*typev1.Intent).X402.Method = "ABCDEFGHIJKLMNOPQ" }},
		{x402Sample, "x402.scheme", func(m proto.Message) { m.(*typev1.Intent).X402.Scheme = "" }},
		{x402Sample, "x402.scheme", func(m proto.Message) { m.(*typev1.Intent).X402.Scheme = "HTTPS" }},
		{x402Sample, "x402.host", func(m proto.Message) { m.(*typev1.Intent).X402.Host = "" }},
		{x402Sample, "x402.host", func(m proto.Message) { m.(*typev1.Intent).X402.Host = "API.example" }},
		{x402Sample, "x402.host", func(m proto.Message) { m.(*typev1.Intent).X402.Host = "api.example:443" }},
		{x402Sample, "x402.path", func(m proto.Message) { m.(*typev1.Intent).X402.Path = "" }},
		{x402Sample, "x402.path", func(m proto.Message) { m.(*typev1.Intent).X402.Path = "/a?b" }},
		{x402Sample, "x402.path", func(m proto.Message) { m.(*typev1.Intent).X402.Path = "/a/%2e%2E/b" }},
		{x402Sample, "x402.path", func(m proto.Message) { m.(*typev1.Intent).X402.Path = "/" + strings.Repeat("a", 1024) }},
		{x402Sample, "x402.url_digest", func(m proto.Message) { m.(*typev1.Intent).X402.UrlDigest = nil }},
		{x402Sample, "x402.body_digest", func(m proto.Message) { m.(*typev1.Intent).X402.BodyDigest = make([]byte, 31) }},
		{"request", "intent", func(m proto.Message) { m.(*typev1.Request).Intent = nil }},
		{"request", "intent", func(m proto.Message) { m.(*typev1.Request).Intent = make([]byte, evidence.IntentMax+1) }},
		{"request", "message_digest", func(m proto.Message) { m.(*typev1.Request).MessageDigest = nil }},
		{"request", "commitment", func(m proto.Message) { m.(*typev1.Request).Commitment = make([]byte, 63) }},
		{"request", "seen_hash", func(m proto.Message) { m.(*typev1.Request).SeenHash = nil }},
		{"request", "seen_hash", func(m proto.Message) { m.(*typev1.Request).SeenEntry = 0 }},
		{"request", "time_millis", func(m proto.Message) { m.(*typev1.Request).TimeMillis = -1 }},
		{solanaRequest, "fee_payer", func(m proto.Message) { m.(*typev1.Request).FeePayer = make([]byte, 31) }},
		{solanaRequest, "fee_payer", func(m proto.Message) { m.(*typev1.Request).FeePayer = make([]byte, 33) }},
		{solanaRequest, "memo", func(m proto.Message) { m.(*typev1.Request).Memo = strings.Repeat("a", 257) }},
		{solanaRequest, "memo", func(m proto.Message) { m.(*typev1.Request).Memo = "a\x00" }},
		{solanaRequest, "offer_digest", func(m proto.Message) { m.(*typev1.Request).OfferDigest = make([]byte, 31) }},
		{"receipt on Solana", "last_valid_height", func(m proto.Message) { m.(*typev1.Receipt).LastValidHeight = 1 << 63 }},
		{"registration", "handle", func(m proto.Message) { m.(*typev1.Registration).Handle = "-a" }},
		{"registration", "request_key", func(m proto.Message) { m.(*typev1.Registration).RequestKey = nil }},
		{"keygen-start", "run", func(m proto.Message) { m.(*typev1.KeyGenerationStart).Run = make([]byte, 15) }},
		{"keygen-start", "static_key", func(m proto.Message) { m.(*typev1.KeyGenerationStart).StaticKey = nil }},
		{"keygen-start", "owner_email", func(m proto.Message) { m.(*typev1.KeyGenerationStart).OwnerEmail = "You@company.example" }},
		{"keygen-start", "owner_email", func(m proto.Message) { m.(*typev1.KeyGenerationStart).OwnerEmail = "nobody" }},
		{"keygen-start", "owner_email", func(m proto.Message) { m.(*typev1.KeyGenerationStart).OwnerEmail = "you@company.example,evil@x" }},
		{"keygen-answer", "start_digest", func(m proto.Message) { m.(*typev1.KeyGenerationAnswer).StartDigest = nil }},
		{"registration-end", "registration_digest", func(m proto.Message) { m.(*typev1.RegistrationEnd).RegistrationDigest = nil }},
		{"resharing-order", "run", func(m proto.Message) { m.(*typev1.ResharingOrder).Run = make([]byte, 17) }},
		{"resharing-order", "from_epoch", func(m proto.Message) { m.(*typev1.ResharingOrder).FromEpoch = 0 }},
		{"resharing-order", "to_epoch", func(m proto.Message) { m.(*typev1.ResharingOrder).ToEpoch = 1 }},
		{"resharing-order", "request_key", func(m proto.Message) { m.(*typev1.ResharingOrder).RequestKey = nil }},
		{"resharing-order", "recovery_key", func(m proto.Message) { m.(*typev1.ResharingOrder).RecoveryKey = make([]byte, 31) }},
		{"resharing-order", "recovery_key", func(m proto.Message) { m.(*typev1.ResharingOrder).RecoveryKey = nil }},
		{"resharing-start", "order_digest", func(m proto.Message) { m.(*typev1.ResharingStart).OrderDigest = nil }},
		{"resharing-start", "static_key", func(m proto.Message) { m.(*typev1.ResharingStart).StaticKey = nil }},
		{"resharing-answer", "start_digest", func(m proto.Message) { m.(*typev1.ResharingAnswer).StartDigest = nil }},
		{"resharing-answer", "sharing", func(m proto.Message) { m.(*typev1.ResharingAnswer).Sharing = nil }},
		{"resharing-answer", "sharing", func(m proto.Message) { m.(*typev1.ResharingAnswer).Sharing = make([]byte, 257) }},
		{"sharing-record", "epoch", func(m proto.Message) { m.(*typev1.SharingRecord).Epoch = 0 }},
		{"sharing-record", "sharing", func(m proto.Message) { m.(*typev1.SharingRecord).Sharing = nil }},
		{"sharing-record", "order_digest", func(m proto.Message) { m.(*typev1.SharingRecord).OrderDigest = nil }},
		{"recovery-confirmation", "record_digest", func(m proto.Message) { m.(*typev1.RecoveryConfirmation).RecordDigest = nil }},
		{"wallet-record", "guard_rails_digest", func(m proto.Message) { m.(*typev1.WalletRecord).GuardRailsDigest = nil }},
		{"verdict", "results", func(m proto.Message) { m.(*typev1.Verdict).Results[0].Rule = 0 }},
		{"verdict", "results", func(m proto.Message) { m.(*typev1.Verdict).Results[0].Light = 0 }},
		{"verdict", "results", func(m proto.Message) { m.(*typev1.Verdict).Results[3].Observed = "-1" }},
		{"verdict", "results", func(m proto.Message) { m.(*typev1.Verdict).Results[3].Index = 40 }},
		{"verdict", "results", func(m proto.Message) { m.(*typev1.Verdict).Results[0].Index = 1 }},
		{"verdict", "results", func(m proto.Message) { m.(*typev1.Verdict).Results[0].LastRecipient = digestOf(1) }},
		{
			"entry of a payment for an HTTP request", "results",
			func(m proto.Message) { m.(*typev1.Entry).Results[0].LastRecipient = digestOf(1)[:31] },
		},
		{"verdict", "results", func(m proto.Message) {
			v := m.(*typev1.Verdict)
			v.Results = slices.Repeat(v.Results, 10)
		}},
		{"verdict", "light", func(m proto.Message) { m.(*typev1.Verdict).Light = typev1.Light_LIGHT_GREEN }},
		{"verdict", "review_digest", func(m proto.Message) { m.(*typev1.Verdict).ReviewDigest = make([]byte, 31) }},
		{"verdict", "expiry_millis", func(m proto.Message) { m.(*typev1.Verdict).ExpiryMillis += 1 }},
		{"receipt", "entry_hash", func(m proto.Message) { m.(*typev1.Receipt).EntryHash = nil }},
		{"receipt", "request_digest", func(m proto.Message) { m.(*typev1.Receipt).RequestDigest = nil }},
		{"review", "answer", func(m proto.Message) { m.(*typev1.Review).Answer = 0 }},
		{"settlement", "payer", func(m proto.Message) { m.(*typev1.Settlement).Payer = nil }},
		{"settlement", "units", func(m proto.Message) { m.(*typev1.Settlement).Units = "" }},
		{"dead-message", "message_digest", func(m proto.Message) { m.(*typev1.DeadMessage).MessageDigest = nil }},
		{"settlement", "transaction", func(m proto.Message) { m.(*typev1.Settlement).Transaction = make([]byte, 64) }},
		{"settlement", "slot", func(m proto.Message) { m.(*typev1.Settlement).Slot = 1 }},
		{"settlement", "transaction", func(m proto.Message) { m.(*typev1.Settlement).Asset = evidencetest.USDC }},
		{"settlement on Solana", "transaction", func(m proto.Message) { m.(*typev1.Settlement).Transaction = nil }},
		{"settlement on Solana", "transaction", func(m proto.Message) { m.(*typev1.Settlement).Transaction = make([]byte, 63) }},
		{"settlement on Solana", "transaction", func(m proto.Message) { m.(*typev1.Settlement).Transaction = make([]byte, 65) }},
		{"settlement on Solana", "transaction", func(m proto.Message) { m.(*typev1.Settlement).Asset = "halfkey:golden/iso4217:USD" }},
		{"settlement on Solana", "slot", func(m proto.Message) { m.(*typev1.Settlement).Slot = 0 }},
		{"settlement on Solana", "slot", func(m proto.Message) { m.(*typev1.Settlement).Slot = 1 << 63 }},
		{"dead-message", "transaction", func(m proto.Message) { m.(*typev1.DeadMessage).Slot = 1 }},
		{"dead-message", "slot", func(m proto.Message) { m.(*typev1.DeadMessage).Transaction = make([]byte, 64) }},
		{"dead-message of a transaction that failed", "transaction", func(m proto.Message) {
			m.(*typev1.DeadMessage).Transaction = make([]byte, 32)
		}},
		{"dead-message of a transaction that failed", "slot", func(m proto.Message) { m.(*typev1.DeadMessage).Slot = 1 << 63 }},
		{"chain-transfer in", "wallet", func(m proto.Message) { m.(*typev1.ChainTransfer).Wallet = "" }},
		{"chain-transfer in", "asset", func(m proto.Message) { m.(*typev1.ChainTransfer).Asset = "halfkey:golden/iso4217:USD" }},
		{"chain-transfer in", "asset", func(m proto.Message) { m.(*typev1.ChainTransfer).Asset += "x" }},
		{"chain-transfer in", "units", func(m proto.Message) { m.(*typev1.ChainTransfer).Units = "0" }},
		{"chain-transfer in", "transaction", func(m proto.Message) { m.(*typev1.ChainTransfer).Transaction = nil }},
		{"chain-transfer in", "slot", func(m proto.Message) { m.(*typev1.ChainTransfer).Slot = 0 }},
		{"chain-transfer in", "slot", func(m proto.Message) { m.(*typev1.ChainTransfer).Slot = 1 << 63 }},
		{"chain-transfer in", "time_millis", func(m proto.Message) { m.(*typev1.ChainTransfer).TimeMillis = 0 }},
		{"chain-transfer out", "payment", func(m proto.Message) { m.(*typev1.ChainTransfer).Payment = "wallets/other/payments/p" }},
		{"chain-transfer out", "payment", func(m proto.Message) { m.(*typev1.ChainTransfer).Outflow = false }},
		{"unfreeze", "freeze_id", func(m proto.Message) { m.(*typev1.Unfreeze).FreezeId = "" }},
		{"unfreeze", "scope", func(m proto.Message) { m.(*typev1.Unfreeze).Scope = 0 }},
		{"unfreeze", "wallet", func(m proto.Message) { m.(*typev1.Unfreeze).Wallet = "wallets/a" }},
		{"unfreeze", "owner", func(m proto.Message) { m.(*typev1.Unfreeze).Scope = typev1.Scope_SCOPE_INSTALLATION }},
		{"unfreeze", "wallet", func(m proto.Message) { m.(*typev1.Unfreeze).Scope = typev1.Scope_SCOPE_WALLET }},
		{"revocation", "wallet", func(m proto.Message) { m.(*typev1.Revocation).Wallet = "" }},
		{"revocation", "freeze_id", func(m proto.Message) { m.(*typev1.Revocation).FreezeId = "Stolen" }},
		{"revocation", "request_key", func(m proto.Message) { m.(*typev1.Revocation).RequestKey = make([]byte, 33) }},
		{"acknowledgement of a revocation", "revocation_digest", func(m proto.Message) { m.(*typev1.Acknowledgement).RevocationDigest = nil }},
		{"acknowledgement of a revocation", "freeze_id", func(m proto.Message) { m.(*typev1.Acknowledgement).FreezeId = "" }},
		{"acknowledgement of a revocation", "scope", func(m proto.Message) {
			a := m.(*typev1.Acknowledgement)
			a.Scope, a.Wallet, a.Owner = typev1.Scope_SCOPE_OWNER, "", "owners/owner"
		}},
		{
			"acknowledgement of a freeze", "revocation_digest",
			func(m proto.Message) { m.(*typev1.Acknowledgement).RevocationDigest = digestOf(1) },
		},
		{"acknowledgement of a freeze", "kind", func(m proto.Message) { m.(*typev1.Acknowledgement).Kind = 0 }},
		{"acknowledgement of guard rails", "guard_rails_digest", func(m proto.Message) { m.(*typev1.Acknowledgement).GuardRailsDigest = nil }},
		{"acknowledgement of guard rails", "scope", func(m proto.Message) { m.(*typev1.Acknowledgement).Scope = typev1.Scope_SCOPE_WALLET }},
		{"deposit", "deposit_id", func(m proto.Message) { m.(*typev1.Deposit).DepositId = "A" }},
		{"redemption", "payment", func(m proto.Message) { m.(*typev1.Redemption).Payment = "" }},
		{"accept-loss", "lost_entry", func(m proto.Message) { m.(*typev1.AcceptLoss).LostEntry = 0 }},
		{"accept-loss", "entry_hash", func(m proto.Message) { m.(*typev1.AcceptLoss).Entry = 0 }},
		{"set-time", "statement_id", func(m proto.Message) { m.(*typev1.SetTime).StatementId = "" }},
		{"token", "caller", func(m proto.Message) { m.(*typev1.Token).Caller = "agents/other" }},
		{"token", "caller", func(m proto.Message) { m.(*typev1.Token).Caller = "root" }},
		{"token", "wallet", func(m proto.Message) { m.(*typev1.Token).Caller = "operator" }},
		{"token", "method", func(m proto.Message) { m.(*typev1.Token).Method = "GetPayment" }},
		{"token", "resource", func(m proto.Message) { m.(*typev1.Token).Resource = "" }},
		{"token", "expiry_millis", func(m proto.Message) { m.(*typev1.Token).ExpiryMillis++ }},
		{"owner-registration", "wallet", func(m proto.Message) { m.(*typev1.OwnerRegistration).Wallet = "wallets/a" }},
		{"owner-registration", "owner_keys", func(m proto.Message) { m.(*typev1.OwnerRegistration).OwnerKeys = nil }},
		{"owner-registration", "owner_keys", func(m proto.Message) { slices.Reverse(m.(*typev1.OwnerRegistration).OwnerKeys) }},
		{"owner-keys", "wallet", func(m proto.Message) { m.(*typev1.OwnerKeys).Wallet = "wallets/a" }},
		{"owner-keys", "owner", func(m proto.Message) { m.(*typev1.OwnerKeys).Owner = "" }},
		{"owner-keys", "number", func(m proto.Message) { m.(*typev1.OwnerKeys).Number = 0 }},
		{"owner-keys", "owner_keys", func(m proto.Message) { m.(*typev1.OwnerKeys).OwnerKeys = nil }},
		{"owner-keys", "owner_keys", func(m proto.Message) { slices.Reverse(m.(*typev1.OwnerKeys).OwnerKeys) }},
		{"owner-invitation", "wallet", func(m proto.Message) { m.(*typev1.OwnerInvitation).Wallet = "wallets/a" }},
		{"owner-invitation", "owner", func(m proto.Message) { m.(*typev1.OwnerInvitation).Owner = "" }},
		{"owner-invitation", "invitation_key", func(m proto.Message) { m.(*typev1.OwnerInvitation).InvitationKey = nil }},
		{"owner-invitation", "email", func(m proto.Message) { m.(*typev1.OwnerInvitation).Email = "You@company.example" }},
		{"owner-invitation", "email", func(m proto.Message) { m.(*typev1.OwnerInvitation).Email = "<you@company.example>" }},
		{"owner-invitation", "expiry_millis", func(m proto.Message) { m.(*typev1.OwnerInvitation).ExpiryMillis = 0 }},
		{"enrolment", "wallet", func(m proto.Message) { m.(*typev1.Enrolment).Wallet = "wallets/a" }},
		{"enrolment", "owner", func(m proto.Message) { m.(*typev1.Enrolment).Owner = "agents/a" }},
		{"enrolment", "owner_keys", func(m proto.Message) { m.(*typev1.Enrolment).OwnerKeys = nil }},
		{"enrolment", "owner_keys", func(m proto.Message) {
			k := m.(*typev1.Enrolment)
			k.OwnerKeys = slices.Repeat(k.GetOwnerKeys(), 2)
		}},
		{"enrolment", "token_key", func(m proto.Message) { m.(*typev1.Enrolment).TokenKey = make([]byte, 31) }},
		{"enrolment", "expiry_millis", func(m proto.Message) { m.(*typev1.Enrolment).ExpiryMillis = 1 << 62 }},
		{"enrolment", "handle", func(m proto.Message) { m.(*typev1.Enrolment).Handle = "-a" }},
		{"guard-rails number 0 by a token", "enrolment", func(m proto.Message) { m.(*typev1.GuardRails).Number = 1 }},
		{"guard-rails number 0 by a token", "enrolment", func(m proto.Message) { m.(*typev1.GuardRails).Enrolment = new(typev1.Envelope) }},
		{"entry", "wallet", func(m proto.Message) { m.(*typev1.Entry).Wallet = "" }},
		{"entry", "number", func(m proto.Message) { m.(*typev1.Entry).Number = 0 }},
		{"entry", "previous", func(m proto.Message) { m.(*typev1.Entry).Number = 1 }},
		{"entry", "previous", func(m proto.Message) { m.(*typev1.Entry).Previous = nil }},
		{"entry", "kind", func(m proto.Message) { m.(*typev1.Entry).Kind = 0 }},
		{"entry", "payment", func(m proto.Message) { m.(*typev1.Entry).Payment = "wallets/other/payments/p" }},
		{"entry", "held", func(m proto.Message) { m.(*typev1.Entry).Held = "-1" }},
		{"entry", "signature", func(m proto.Message) { m.(*typev1.Entry).Signature = make([]byte, 63) }},
		{"entry", "message", func(m proto.Message) { m.(*typev1.Entry).Message = make([]byte, evidence.MessageMax+1) }},
		{"entry", "statements", func(m proto.Message) { e := m.(*typev1.Entry); e.Statements = slices.Repeat(e.Statements, 2) }},
		{"journal-head", "entry", func(m proto.Message) { m.(*typev1.JournalHead).Entry = 0 }},
	}
	for i, row := range rows {
		t.Run(fmt.Sprintf("%d %s.%s", i, row.sample, row.field), func(t *testing.T) {
			m := sampleOf(t, row.sample)
			piece := strings.Fields(row.sample)[0]
			row.edit(m)
			_, err := evidence.Marshal(m)
			wantRefusal(t, err, badStatement, piece, row.field)
			err = evidence.Unmarshal(loose(t, m), m.ProtoReflect().New().Interface())
			wantRefusal(t, err, badStatement, piece, row.field)
		})
	}
}

// badSigner is a key that lives elsewhere and does not do what keys do.
type badSigner struct {
	ed25519.PrivateKey
	err error
}

func (s badSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return []byte{1}, s.err
}

func TestSignRefuses(t *testing.T) {
	w := evidencetest.New(t)
	review := sampleOf(t, "review")
	rows := []struct {
		name string
		sign func() (*typev1.Envelope, error)
	}{
		{"an intent", func() (*typev1.Envelope, error) { return evidence.Sign(w.Policy, sampleOf(t, "intent")) }},
		{"an entry", func() (*typev1.Envelope, error) { return evidence.Sign(w.Ledger, sampleOf(t, "entry")) }},
		{"nothing", func() (*typev1.Envelope, error) { return evidence.Sign(w.Policy, nil) }},
		{"a typed nothing", func() (*typev1.Envelope, error) { return evidence.Sign(w.Policy, (*typev1.Review)(nil)) }},
		{"without a key", func() (*typev1.Envelope, error) { return evidence.Sign(nil, review) }},
		{"by an ECDSA key", func() (*typev1.Envelope, error) {
			k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return evidence.Sign(k, review)
		}},
		{"by a key that answers too little", func() (*typev1.Envelope, error) { return evidence.Sign(badSigner{w.Policy, nil}, review) }},
		{"by a key that does not answer", func() (*typev1.Envelope, error) {
			return evidence.Sign(badSigner{w.Policy, errors.New("gone")}, review)
		}},
		{"out of bounds", func() (*typev1.Envelope, error) { return evidence.Sign(w.Policy, &typev1.Review{}) }},
		{"a second time by one key", func() (*typev1.Envelope, error) { return evidence.CoSign(w.Sign(w.Policy, review), w.Policy) }},
		{"a third time", func() (*typev1.Envelope, error) {
			e, err := evidence.CoSign(w.Sign(w.Policy, review), w.Ledger)
			if err != nil {
				return nil, nil
			}
			return evidence.CoSign(e, w.Operator)
		}},
		{"nothing a second time", func() (*typev1.Envelope, error) { return evidence.CoSign(nil, w.Ledger) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if e, err := row.sign(); err == nil || e != nil {
				t.Errorf("got %v, %v, want a refusal", e, err)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	w := evidencetest.New(t)
	review := sampleOf(t, "review")
	key := evidencetest.Public
	one := w.Sign(w.Policy, review)
	two, err := evidence.CoSign(one, w.Ledger)
	if err != nil {
		t.Fatalf("CoSign: %v", err)
	}
	if len(one.GetSignatures()) != 1 {
		t.Error("CoSign changed its argument")
	}
	rows := []struct {
		name   string
		e      *typev1.Envelope
		keys   [][]byte
		signer []byte // nil: refused
	}{
		{"its key", one, [][]byte{key(w.Policy)}, key(w.Policy)},
		{"its key among others", one, [][]byte{key(w.Ledger), key(w.Policy)}, key(w.Policy)},
		{"another key", one, [][]byte{key(w.Ledger)}, nil},
		{"no keys", one, nil, nil},
		{"a nil key", one, [][]byte{nil}, nil},
		{"the second of two signers", two, [][]byte{key(w.Ledger)}, key(w.Ledger)},
		{"the first of two signers", two, [][]byte{key(w.Policy)}, key(w.Policy)},
		{"neither of two signers", two, [][]byte{key(w.Operator)}, nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := evidence.Open(row.e, new(typev1.Review), row.keys...)
			if (err == nil) != (row.signer != nil) || !bytes.Equal(got, row.signer) {
				t.Errorf("Open = %x, %v, want %x", got, err, row.signer)
			}
		})
	}
	if err := evidence.OpenAll(two, new(typev1.Review), key(w.Policy), key(w.Ledger)); err != nil {
		t.Errorf("OpenAll: %v", err)
	}
	if err := evidence.OpenAll(one, new(typev1.Review), key(w.Policy), key(w.Ledger)); err == nil {
		t.Error("OpenAll takes one signature for two")
	}
	if err := evidence.OpenAll(one, new(typev1.Review)); err == nil {
		t.Error("OpenAll takes no keys")
	}
}

// TestErrorTextsAreOurs: a refusal quotes nothing of what was brought.
func TestErrorTextsAreOurs(t *testing.T) {
	const canary = "sk-live-canary"
	m := sampleOf(t, "intent").(*typev1.Intent)
	m.Wallet, m.Purpose, m.Units = canary, canary+"\n", canary
	_, err := evidence.Marshal(m)
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
		t.Errorf("got %v, want a refusal without %q", err, canary)
	}
}

// TestPeekRefuses: what may be wrong with an envelope itself.
func TestPeekRefuses(t *testing.T) {
	w := evidencetest.New(t)
	review := sampleOf(t, "review")
	rows := []struct {
		name string
		edit func(e *typev1.Envelope)
	}{
		{"unknown field", func(e *typev1.Envelope) { e.ProtoReflect().SetUnknown([]byte(unknownTail)) }},
		{"unknown field in a signature", func(e *typev1.Envelope) { e.Signatures[0].ProtoReflect().SetUnknown([]byte(unknownTail)) }},
		{"no type", func(e *typev1.Envelope) { e.PayloadType = "" }},
		{"type too long", func(e *typev1.Envelope) { e.PayloadType += strings.Repeat("x", evidence.TypeMax) }},
		{"no payload", func(e *typev1.Envelope) { e.Payload = nil }},
		{"payload too large", func(e *typev1.Envelope) { e.Payload = make([]byte, evidence.PayloadMax+1) }},
		{"no signature", func(e *typev1.Envelope) { e.Signatures = nil }},
		{"three signatures", func(e *typev1.Envelope) {
			for _, k := range []string{"a", "b"} {
				e.Signatures = append(e.Signatures, evidencetest.SignRaw(w.Key(k), e.GetPayloadType(), e.GetPayload()).GetSignatures()...)
			}
		}},
		{"key too short", func(e *typev1.Envelope) { e.Signatures[0].PublicKey = e.Signatures[0].GetPublicKey()[:31] }},
		{"signature too long", func(e *typev1.Envelope) { e.Signatures[0].Signature = append(e.Signatures[0].GetSignature(), 0) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			e := w.Sign(w.Policy, review)
			row.edit(e)
			if err := evidence.Peek(e, new(typev1.Review)); err == nil {
				t.Error("Peek takes it")
			}
			if _, err := evidence.Open(e, new(typev1.Review), evidencetest.Public(w.Policy)); err == nil {
				t.Error("Open takes it")
			}
			if err := evidence.Unmarshal(loose(t, e), new(typev1.Envelope)); err == nil {
				t.Error("Unmarshal takes it")
			}
		})
	}
	for _, m := range []proto.Message{nil, (*typev1.Review)(nil)} {
		if err := evidence.Peek(w.Sign(w.Policy, review), m); err == nil {
			t.Error("Peek decodes into nothing")
		}
		if err := evidence.Unmarshal(loose(t, review), m); err == nil {
			t.Error("Unmarshal decodes into nothing")
		}
	}
}
