package evidence

import (
	"math"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// checkFields checks every field of a statement, intent or entry against the bounds of the contract. It knows no keys, no
// installation and no time: what depends on these is the Check functions'.
func checkFields(m proto.Message) error {
	f := fields{piece: pieceOf(m)}
	switch m := m.(type) {
	case *typev1.Envelope:
		if err := checkEnvelope(m, f.piece); err != nil {
			return err
		}
	case *typev1.Intent:
		f.intent(m)
	case *typev1.Request:
		f.request(m)
	case *typev1.Registration:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.handle(m.GetHandle())
		f.key("group_key", m.GetGroupKey())
		f.key("request_key", m.GetRequestKey())
	case *typev1.KeyGenerationStart:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.size("run", m.GetRun(), runSize)
		f.key("static_key", m.GetStaticKey())
		f.key("request_key", m.GetRequestKey())
		f.handle(m.GetHandle())
		f.email("owner_email", m.GetOwnerEmail())
	case *typev1.KeyGenerationAnswer:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.size("run", m.GetRun(), runSize)
		f.digest("start_digest", m.GetStartDigest())
		f.key("static_key", m.GetStaticKey())
	case *typev1.RegistrationEnd:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.digest("registration_digest", m.GetRegistrationDigest())
		f.millis("time_millis", m.GetTimeMillis())
	case *typev1.WalletRecord:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.handle(m.GetHandle())
		f.key("group_key", m.GetGroupKey())
		f.digest("registration_digest", m.GetRegistrationDigest())
		f.digest("guard_rails_digest", m.GetGuardRailsDigest())
	case *typev1.ResharingOrder:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.size("run", m.GetRun(), runSize)
		f.number("from_epoch", m.GetFromEpoch())
		f.check(m.GetToEpoch() > m.GetFromEpoch(), "to_epoch", "is not above from_epoch")
		f.key("request_key", m.GetRequestKey())
		if len(m.GetRecoveryKey()) > 0 {
			f.key("recovery_key", m.GetRecoveryKey())
		}
		f.check(!m.GetReplace() || len(m.GetRecoveryKey()) > 0, "recovery_key", "is missing, and the recovery share replaces share 1")
	case *typev1.ResharingStart:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.size("run", m.GetRun(), runSize)
		f.digest("order_digest", m.GetOrderDigest())
		f.key("static_key", m.GetStaticKey())
	case *typev1.ResharingAnswer:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.size("run", m.GetRun(), runSize)
		f.digest("start_digest", m.GetStartDigest())
		f.key("static_key", m.GetStaticKey())
		f.check(len(m.GetSharing()) > 0 && len(m.GetSharing()) <= SharingMax, "sharing", "is not 1 to 256 bytes")
	case *typev1.SharingRecord:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.size("run", m.GetRun(), runSize)
		f.digest("order_digest", m.GetOrderDigest())
		f.number("epoch", m.GetEpoch())
		f.check(len(m.GetSharing()) > 0 && len(m.GetSharing()) <= SharingMax, "sharing", "is not 1 to 256 bytes")
		f.millis("time_millis", m.GetTimeMillis())
	case *typev1.RecoveryConfirmation:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.number("epoch", m.GetEpoch())
		f.digest("record_digest", m.GetRecordDigest())
	case *typev1.GuardRails:
		// What a document must hold is guardrails.Validate's, when it is accepted: its refusal tells the owner where.
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.enrolled(m)
	case *typev1.Verdict:
		f.verdict(m)
	case *typev1.Receipt:
		f.receipt(m)
	case *typev1.Review:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.payment(m.GetPayment(), m.GetWallet())
		f.digest("intent_digest", m.GetIntentDigest())
		f.check(m.GetAnswer() != typev1.Answer_ANSWER_UNSPECIFIED, "answer", "is not given")
	case *typev1.Settlement:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.payment(m.GetPayment(), m.GetWallet())
		f.key("payer", m.GetPayer())
		f.key("recipient", m.GetRecipient())
		f.asset(m.GetAsset())
		f.units("units", m.GetUnits())
		f.digest("intent_digest", m.GetIntentDigest())
		f.digest("message_digest", m.GetMessageDigest())
		f.millis("time_millis", m.GetTimeMillis())
		f.landed(m.GetTransaction(), m.GetSlot(), onChain(m.GetAsset()))
	case *typev1.DeadMessage:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.payment(m.GetPayment(), m.GetWallet())
		f.digest("intent_digest", m.GetIntentDigest())
		f.digest("message_digest", m.GetMessageDigest())
		f.millis("time_millis", m.GetTimeMillis())
		f.landed(m.GetTransaction(), m.GetSlot(), len(m.GetTransaction()) > 0 || m.GetSlot() > 0)
	case *typev1.ChainTransfer:
		f.chainTransfer(m)
	case *typev1.Unfreeze:
		f.installation(m.GetInstallation())
		f.scopeSubject(m.GetScope(), m.GetWallet(), m.GetOwner())
		f.id("freeze_id", m.GetFreezeId())
	case *typev1.Revocation:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.id("freeze_id", m.GetFreezeId())
		f.key("request_key", m.GetRequestKey())
	case *typev1.Acknowledgement:
		f.acknowledgement(m)
	case *typev1.Deposit:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.id("deposit_id", m.GetDepositId())
		f.asset(m.GetAsset())
		f.units("units", m.GetUnits())
	case *typev1.Redemption:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.payment(m.GetPayment(), m.GetWallet())
	case *typev1.AcceptLoss:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.numbered("entry", "entry_hash", m.GetEntry(), m.GetEntryHash())
		f.number("lost_entry", m.GetLostEntry())
		f.digest("lost_hash", m.GetLostHash())
	case *typev1.SetTime:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.id("statement_id", m.GetStatementId())
		f.millis("time_millis", m.GetTimeMillis())
	case *typev1.Token:
		f.installation(m.GetInstallation())
		f.caller(m.GetCaller(), m.GetWallet())
		f.check(len(m.GetMethod()) > 1 && len(m.GetMethod()) <= MethodMax && m.GetMethod()[0] == '/' && printableASCII(m.GetMethod()),
			"method", "is not a gRPC method's full name")
		f.check(len(m.GetResource()) > 0 && len(m.GetResource()) <= ResourceMax && printableASCII(m.GetResource()),
			"resource", "is not a resource name of at most 160 characters")
		f.life(m.GetTimeMillis(), m.GetExpiryMillis(), TokenLife.Milliseconds())
	case *typev1.OwnerRegistration:
		f.installation(m.GetInstallation())
		f.noWallet(m.GetWallet())
		f.owner(m.GetOwner())
		f.email("email", m.GetEmail())
		f.keys("owner_keys", m.GetOwnerKeys(), 1, OwnerKeysMax)
	case *typev1.OwnerInvitation:
		f.installation(m.GetInstallation())
		f.noWallet(m.GetWallet())
		f.owner(m.GetOwner())
		f.key("invitation_key", m.GetInvitationKey())
		if m.GetEmail() != "" {
			f.email("email", m.GetEmail())
		}
		f.millis("expiry_millis", m.GetExpiryMillis())
	case *typev1.Enrolment:
		f.installation(m.GetInstallation())
		f.noWallet(m.GetWallet())
		f.owner(m.GetOwner())
		f.keys("owner_keys", m.GetOwnerKeys(), 1, OwnerKeysMax)
		f.key("token_key", m.GetTokenKey())
		f.millis("expiry_millis", m.GetExpiryMillis())
		if m.GetHandle() != "" {
			f.handle(m.GetHandle())
		}
	case *typev1.OwnerKeys:
		f.installation(m.GetInstallation())
		f.noWallet(m.GetWallet())
		f.owner(m.GetOwner())
		f.number("number", m.GetNumber())
		f.keys("owner_keys", m.GetOwnerKeys(), 1, OwnerKeysMax)
	case *typev1.Installation:
		f.installationFile(m)
	case *typev1.Entry:
		f.entry(m)
	case *typev1.JournalHead:
		f.installation(m.GetInstallation())
		f.wallet(m.GetWallet())
		f.number("entry", m.GetEntry())
		f.digest("entry_hash", m.GetEntryHash())
		f.millis("time_millis", m.GetTimeMillis())
	}
	if f.err != nil {
		return f.err
	}
	return nil
}

// enrolled decodes the terms inside number 0 as strictly as the document, so that nobody pins what nobody could read.
func (f *fields) enrolled(m *typev1.GuardRails) {
	if m.GetEnrolment() == nil {
		return
	}
	f.check(m.GetNumber() == 0, "enrolment", "is given, and only number 0 is signed by a token")
	if err := Peek(m.GetEnrolment(), new(typev1.Enrolment)); err != nil {
		f.refuse("enrolment", "does not decode")
	}
}

func (f *fields) intent(m *typev1.Intent) {
	f.installation(m.GetInstallation())
	f.wallet(m.GetWallet())
	f.payment(m.GetPayment(), m.GetWallet())
	f.check(m.GetRail() != typev1.Rail_RAIL_UNSPECIFIED, "rail", "is not given")
	f.asset(m.GetAsset())
	f.units("units", m.GetUnits())
	f.key("recipient", m.GetRecipient())
	f.text("purpose", m.GetPurpose(), PurposeMax)
	f.millis("deadline_millis", m.GetDeadlineMillis())
	f.x402(m.GetX402())
}

func (f *fields) request(m *typev1.Request) {
	f.installation(m.GetInstallation())
	f.wallet(m.GetWallet())
	f.payment(m.GetPayment(), m.GetWallet())
	f.check(len(m.GetIntent()) > 0 && len(m.GetIntent()) <= IntentMax, "intent", "is not 1 byte to 3 KiB")
	f.digest("message_digest", m.GetMessageDigest())
	f.size("commitment", m.GetCommitment(), commitmentSize)
	f.numbered("seen_entry", "seen_hash", m.GetSeenEntry(), m.GetSeenHash())
	f.millis("time_millis", m.GetTimeMillis())
	if len(m.GetFeePayer()) != 0 {
		f.key("fee_payer", m.GetFeePayer())
	}
	f.check(len(m.GetMemo()) <= solana.MemoMax && !strings.Contains(m.GetMemo(), "\x00"), "memo", "is longer than 256 bytes, or holds a NUL")
	f.optionalDigest("offer_digest", m.GetOfferDigest())
}

func (f *fields) verdict(m *typev1.Verdict) {
	f.installation(m.GetInstallation())
	f.wallet(m.GetWallet())
	f.payment(m.GetPayment(), m.GetWallet())
	f.digest("intent_digest", m.GetIntentDigest())
	f.digest("message_digest", m.GetMessageDigest())
	f.digest("guard_rails_digest", m.GetGuardRailsDigest())
	f.judged(m.GetLight(), m.GetResults())
	f.answered(m.GetLight(), m.GetReviewDigest())
	f.life(m.GetTimeMillis(), m.GetExpiryMillis(), EvidenceLife.Milliseconds())
}

func (f *fields) receipt(m *typev1.Receipt) {
	f.installation(m.GetInstallation())
	f.wallet(m.GetWallet())
	f.payment(m.GetPayment(), m.GetWallet())
	f.digest("intent_digest", m.GetIntentDigest())
	f.digest("message_digest", m.GetMessageDigest())
	f.digest("request_digest", m.GetRequestDigest())
	f.digest("verdict_digest", m.GetVerdictDigest())
	f.digest("guard_rails_digest", m.GetGuardRailsDigest())
	f.judged(m.GetLight(), m.GetResults())
	f.answered(m.GetLight(), m.GetReviewDigest())
	f.millis("time_millis", m.GetTimeMillis())
	f.number("entry", m.GetEntry())
	f.digest("entry_hash", m.GetEntryHash())
	f.check(m.GetLastValidHeight() <= math.MaxInt64, "last_valid_height", "is too large")
}

func (f *fields) acknowledgement(m *typev1.Acknowledgement) {
	f.installation(m.GetInstallation())
	f.optionalDigest("guard_rails_digest", m.GetGuardRailsDigest())
	f.millis("time_millis", m.GetTimeMillis())
	if m.GetKind() == typev1.Acknowledged_ACKNOWLEDGED_REVOCATION {
		f.check(m.GetScope() == typev1.Scope_SCOPE_WALLET, "scope", "is not a wallet's, and it acknowledges a revocation")
		f.digest("revocation_digest", m.GetRevocationDigest())
	} else {
		f.check(len(m.GetRevocationDigest()) == 0, "revocation_digest", "is given, and it acknowledges no revocation")
	}
	switch m.GetKind() {
	case typev1.Acknowledged_ACKNOWLEDGED_FREEZE, typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE, typev1.Acknowledged_ACKNOWLEDGED_REVOCATION:
		f.scopeSubject(m.GetScope(), m.GetWallet(), m.GetOwner())
		f.id("freeze_id", m.GetFreezeId())
	case typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS:
		f.wallet(m.GetWallet())
		f.check(m.GetScope() == typev1.Scope_SCOPE_UNSPECIFIED, "scope", "is given, and it acknowledges guard rails")
		f.check(m.GetOwner() == "", "owner", "is given, and it acknowledges guard rails")
		f.check(m.GetFreezeId() == "", "freeze_id", "is given, and it acknowledges guard rails")
		f.digest("guard_rails_digest", m.GetGuardRailsDigest())
	default:
		f.refuse("kind", "is not given")
	}
}

func (f *fields) entry(m *typev1.Entry) {
	f.installation(m.GetInstallation())
	// A freeze of an owner or of the installation is an entry of no wallet.
	if m.GetWallet() != "" || (m.GetKind() != typev1.EntryKind_ENTRY_KIND_FREEZE && m.GetKind() != typev1.EntryKind_ENTRY_KIND_UNFREEZE) {
		f.wallet(m.GetWallet())
	}
	f.number("number", m.GetNumber())
	if m.GetNumber() == 1 {
		f.check(len(m.GetPrevious()) == 0, "previous", "is not empty, and the entry is the first")
	} else {
		f.digest("previous", m.GetPrevious())
	}
	f.millis("time_millis", m.GetTimeMillis())
	f.check(m.GetKind() != typev1.EntryKind_ENTRY_KIND_UNSPECIFIED, "kind", "is not given")
	f.entryPayment(m)
	if m.GetAsset() != "" {
		f.asset(m.GetAsset())
	}
	f.amount("units", m.GetUnits())
	f.amount("available", m.GetAvailable())
	f.amount("held", m.GetHeld())
	f.results(m.GetResults())
	f.check(len(m.GetMessage()) <= MessageMax, "message", "is too large")
	f.check(len(m.GetSignature()) == 0 || len(m.GetSignature()) == signatureSize, "signature", "is not 64 bytes")
	if m.GetFreezeId() != "" {
		f.id("freeze_id", m.GetFreezeId())
	}
	f.check(len(m.GetCaller()) <= ResourceMax && (m.GetCaller() == "" || printableASCII(m.GetCaller())), "caller", "is not a caller's name")
	f.statements(m.GetStatements())
}

// entryPayment checks the payment that an entry concerns: one of the wallet's own, but for money that came in. What a chain brings is
// nobody's payment, and what it takes changes no payment's state.
func (f *fields) entryPayment(m *typev1.Entry) {
	switch {
	case m.GetPayment() == "":
		f.check(m.GetPaymentState() == typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED, "payment_state", "is given, and there is no payment")
	case m.GetKind() == typev1.EntryKind_ENTRY_KIND_INCOMING:
		_, _, err := resource.ParsePayment(m.GetPayment())
		f.check(err == nil, "payment", "is not a payment's name")
	case m.GetKind() == typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT:
		f.refuse("payment", "is given, and what came in on a chain is no payment")
	case m.GetKind() == typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW:
		f.payment(m.GetPayment(), m.GetWallet())
		f.check(m.GetPaymentState() == typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED, "payment_state",
			"is given, and an outflow changes no payment")
	default:
		f.payment(m.GetPayment(), m.GetWallet())
	}
}

// statements decodes the statements inside an entry as strictly as the entry: what nobody could read must not be hashed
// into a journal. Their signatures are an auditor's to verify, under the keys of their time.
func (f *fields) statements(envelopes []*typev1.Envelope) {
	f.check(len(envelopes) <= EntryStatementsMax, "statements", "are too many")
	for _, e := range envelopes {
		if f.err != nil {
			return
		}
		m, ok := NewStatement(e.GetPayloadType())
		if !ok {
			f.refuse("statements", "hold one of an unknown type")
			return
		}
		if err := Peek(e, m); err != nil {
			f.refuse("statements", "hold one that does not decode")
		}
	}
}
