package evidence

import (
	"google.golang.org/protobuf/proto"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Payload types. An intent, an entry and a message travel as bytes inside something that is signed, never as an envelope
// of their own; they have a type so that no digest of one can be a digest of another kind of content.
const (
	TypeIntent         = "application/vnd.halfkey.intent.v1"
	TypeBookMessage    = "application/vnd.halfkey.message.book.v1"
	TypeSolanaMessage  = "application/vnd.halfkey.message.solana.v1"
	TypeUnknownMessage = "application/vnd.halfkey.message.unknown.v1" // bytes that no rail's decoder takes
	TypeEntry          = "application/vnd.halfkey.entry.v1"
	TypeClaimCode      = "application/vnd.halfkey.claim-code.v1" // a registration's bytes, hashed for people to compare

	TypeRequest             = "application/vnd.halfkey.request.v1"
	TypeRegistration        = "application/vnd.halfkey.registration.v1"
	TypeKeyGenerationStart  = "application/vnd.halfkey.keygen-start.v1"
	TypeKeyGenerationAnswer = "application/vnd.halfkey.keygen-answer.v1"
	TypeRegistrationEnd     = "application/vnd.halfkey.registration-end.v1"
	TypeWalletRecord        = "application/vnd.halfkey.wallet-record.v1"
	TypeResharingOrder      = "application/vnd.halfkey.resharing-order.v1"
	TypeResharingStart      = "application/vnd.halfkey.resharing-start.v1"
	TypeResharingAnswer     = "application/vnd.halfkey.resharing-answer.v1"
	TypeSharingRecord       = "application/vnd.halfkey.sharing-record.v1"
	TypeRecoveryConfirm     = "application/vnd.halfkey.recovery-confirmation.v1"
	TypeGuardRails          = "application/vnd.halfkey.guard-rails.v1"
	TypeVerdict             = "application/vnd.halfkey.verdict.v1"
	TypeReceipt             = "application/vnd.halfkey.receipt.v1"
	TypeReview              = "application/vnd.halfkey.review.v1"
	TypeSettlement          = "application/vnd.halfkey.settlement.v1"
	TypeDeadMessage         = "application/vnd.halfkey.dead-message.v1"
	TypeChainTransfer       = "application/vnd.halfkey.chain-transfer.v1"
	TypeUnfreeze            = "application/vnd.halfkey.unfreeze.v1"
	TypeRevocation          = "application/vnd.halfkey.revocation.v1"
	TypeAcknowledgement     = "application/vnd.halfkey.acknowledgement.v1"
	TypeDeposit             = "application/vnd.halfkey.deposit.v1"
	TypeRedemption          = "application/vnd.halfkey.redemption.v1"
	TypeAcceptLoss          = "application/vnd.halfkey.accept-loss.v1"
	TypeSetTime             = "application/vnd.halfkey.set-time.v1"
	TypeToken               = "application/vnd.halfkey.token.v1"
	TypeOwnerRegistration   = "application/vnd.halfkey.owner-registration.v1"
	TypeOwnerInvitation     = "application/vnd.halfkey.owner-invitation.v1"
	TypeEnrolment           = "application/vnd.halfkey.enrolment.v1"
	TypeOwnerKeys           = "application/vnd.halfkey.owner-keys.v1"
	TypeInstallation        = "application/vnd.halfkey.installation.v1"
	TypeJournalHead         = "application/vnd.halfkey.journal-head.v1"
)

const (
	typePrefix = "application/vnd.halfkey."
	typeSuffix = ".v1"
)

// TypeOf returns the payload type of a statement, or false for a message that is not signed in an envelope.
func TypeOf(m proto.Message) (payloadType string, ok bool) {
	switch m.(type) {
	case *typev1.Request:
		return TypeRequest, true
	case *typev1.Registration:
		return TypeRegistration, true
	case *typev1.KeyGenerationStart:
		return TypeKeyGenerationStart, true
	case *typev1.KeyGenerationAnswer:
		return TypeKeyGenerationAnswer, true
	case *typev1.RegistrationEnd:
		return TypeRegistrationEnd, true
	case *typev1.WalletRecord:
		return TypeWalletRecord, true
	case *typev1.ResharingOrder:
		return TypeResharingOrder, true
	case *typev1.ResharingStart:
		return TypeResharingStart, true
	case *typev1.ResharingAnswer:
		return TypeResharingAnswer, true
	case *typev1.SharingRecord:
		return TypeSharingRecord, true
	case *typev1.RecoveryConfirmation:
		return TypeRecoveryConfirm, true
	case *typev1.GuardRails:
		return TypeGuardRails, true
	case *typev1.Verdict:
		return TypeVerdict, true
	case *typev1.Receipt:
		return TypeReceipt, true
	case *typev1.Review:
		return TypeReview, true
	case *typev1.Settlement:
		return TypeSettlement, true
	case *typev1.DeadMessage:
		return TypeDeadMessage, true
	case *typev1.ChainTransfer:
		return TypeChainTransfer, true
	case *typev1.Unfreeze:
		return TypeUnfreeze, true
	case *typev1.Revocation:
		return TypeRevocation, true
	case *typev1.Acknowledgement:
		return TypeAcknowledgement, true
	case *typev1.Deposit:
		return TypeDeposit, true
	case *typev1.Redemption:
		return TypeRedemption, true
	case *typev1.AcceptLoss:
		return TypeAcceptLoss, true
	case *typev1.SetTime:
		return TypeSetTime, true
	case *typev1.Token:
		return TypeToken, true
	case *typev1.OwnerRegistration:
		return TypeOwnerRegistration, true
	case *typev1.OwnerInvitation:
		return TypeOwnerInvitation, true
	case *typev1.Enrolment:
		return TypeEnrolment, true
	case *typev1.OwnerKeys:
		return TypeOwnerKeys, true
	case *typev1.Installation:
		return TypeInstallation, true
	case *typev1.JournalHead:
		return TypeJournalHead, true
	}
	return "", false
}

// NewStatement returns an empty message for a payload type, or false for a type that is not a statement's.
func NewStatement(payloadType string) (m proto.Message, ok bool) {
	switch payloadType {
	case TypeRequest:
		return new(typev1.Request), true
	case TypeRegistration:
		return new(typev1.Registration), true
	case TypeKeyGenerationStart:
		return new(typev1.KeyGenerationStart), true
	case TypeKeyGenerationAnswer:
		return new(typev1.KeyGenerationAnswer), true
	case TypeRegistrationEnd:
		return new(typev1.RegistrationEnd), true
	case TypeWalletRecord:
		return new(typev1.WalletRecord), true
	case TypeResharingOrder:
		return new(typev1.ResharingOrder), true
	case TypeResharingStart:
		return new(typev1.ResharingStart), true
	case TypeResharingAnswer:
		return new(typev1.ResharingAnswer), true
	case TypeSharingRecord:
		return new(typev1.SharingRecord), true
	case TypeRecoveryConfirm:
		return new(typev1.RecoveryConfirmation), true
	case TypeGuardRails:
		return new(typev1.GuardRails), true
	case TypeVerdict:
		return new(typev1.Verdict), true
	case TypeReceipt:
		return new(typev1.Receipt), true
	case TypeReview:
		return new(typev1.Review), true
	case TypeSettlement:
		return new(typev1.Settlement), true
	case TypeDeadMessage:
		return new(typev1.DeadMessage), true
	case TypeChainTransfer:
		return new(typev1.ChainTransfer), true
	case TypeUnfreeze:
		return new(typev1.Unfreeze), true
	case TypeRevocation:
		return new(typev1.Revocation), true
	case TypeAcknowledgement:
		return new(typev1.Acknowledgement), true
	case TypeDeposit:
		return new(typev1.Deposit), true
	case TypeRedemption:
		return new(typev1.Redemption), true
	case TypeAcceptLoss:
		return new(typev1.AcceptLoss), true
	case TypeSetTime:
		return new(typev1.SetTime), true
	case TypeToken:
		return new(typev1.Token), true
	case TypeOwnerRegistration:
		return new(typev1.OwnerRegistration), true
	case TypeOwnerInvitation:
		return new(typev1.OwnerInvitation), true
	case TypeEnrolment:
		return new(typev1.Enrolment), true
	case TypeOwnerKeys:
		return new(typev1.OwnerKeys), true
	case TypeInstallation:
		return new(typev1.Installation), true
	case TypeJournalHead:
		return new(typev1.JournalHead), true
	}
	return nil, false
}

// pieceOf is the name of a message in errors: a statement's is the middle of its payload type.
func pieceOf(m proto.Message) string {
	if t, ok := TypeOf(m); ok {
		return t[len(typePrefix) : len(t)-len(typeSuffix)]
	}
	switch m.(type) {
	case *typev1.Intent:
		return "intent"
	case *typev1.Entry:
		return "entry"
	case *typev1.Envelope:
		return "envelope"
	}
	return "statement"
}

func pieceOfType(payloadType string) string {
	if m, ok := NewStatement(payloadType); ok {
		return pieceOf(m)
	}
	return "envelope"
}
