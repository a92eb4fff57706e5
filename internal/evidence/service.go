package evidence

import (
	"bytes"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// statement is what every payload message has.
type statement interface {
	proto.Message
	GetInstallation() string
}

// open verifies a statement under keys and that it is of this installation.
func open(i *Installation, e *typev1.Envelope, m statement, keys ...[]byte) (signer []byte, err error) {
	signer, err = Open(e, m, keys...)
	if err != nil {
		return nil, err
	}
	if m.GetInstallation() != i.ID() {
		return nil, mismatch(pieceOf(m), "installation", "is another installation")
	}
	return signer, nil
}

// CheckSettlement verifies the ledger's statement that a payment settled: what a recipient delivers against. Whether it is
// the payment, recipient, asset and amount that the caller waits for is the caller's to compare.
func CheckSettlement(i *Installation, e *typev1.Envelope) (*typev1.Settlement, error) {
	m := new(typev1.Settlement)
	if _, err := open(i, e, m, i.Key(typev1.Purpose_PURPOSE_LEDGER)); err != nil {
		return nil, err
	}
	return m, nil
}

// CheckDeadMessage verifies the ledger's statement that a message moves nothing any more, for it can no longer land or it landed with
// an error: what a client demands before it makes a further message for one intent.
func CheckDeadMessage(i *Installation, e *typev1.Envelope) (*typev1.DeadMessage, error) {
	m := new(typev1.DeadMessage)
	if _, err := open(i, e, m, i.Key(typev1.Purpose_PURPOSE_LEDGER)); err != nil {
		return nil, err
	}
	return m, nil
}

// CheckChainTransfer verifies the ledger's statement of a transaction that changed a wallet's token account and settled none of its
// payments.
func CheckChainTransfer(i *Installation, e *typev1.Envelope) (*typev1.ChainTransfer, error) {
	m := new(typev1.ChainTransfer)
	if _, err := open(i, e, m, i.Key(typev1.Purpose_PURPOSE_LEDGER)); err != nil {
		return nil, err
	}
	return m, nil
}

// CheckJournalHead verifies the ledger's statement of a wallet's newest journal entry.
func CheckJournalHead(i *Installation, e *typev1.Envelope) (*typev1.JournalHead, error) {
	m := new(typev1.JournalHead)
	if _, err := open(i, e, m, i.Key(typev1.Purpose_PURPOSE_LEDGER)); err != nil {
		return nil, err
	}
	return m, nil
}

// CheckAcknowledgement verifies a service's statement that a change is in force with it, under its current key of purpose.
func CheckAcknowledgement(i *Installation, purpose typev1.Purpose, e *typev1.Envelope) (*typev1.Acknowledgement, error) {
	m := new(typev1.Acknowledgement)
	if _, err := open(i, e, m, i.Key(purpose)); err != nil {
		return nil, err
	}
	return m, nil
}

// CheckUnfreeze verifies the end of a freeze and returns who signed it. For SCOPE_INSTALLATION the operator keys sign,
// whatever keys are given; for the other scopes one of keys: the owner keys of a wallet's head. An owner-wide unfreeze
// arrives before it is known which heads it meets: it is verified under the keys that it names itself (Signers), kept by
// signer, and each wallet counts it only if the signer is among its own head's owner keys.
func CheckUnfreeze(i *Installation, e *typev1.Envelope, keys ...[]byte) (m *typev1.Unfreeze, signer []byte, err error) {
	m = new(typev1.Unfreeze)
	if err := Peek(e, m); err != nil {
		return nil, nil, err
	}
	if m.GetScope() == typev1.Scope_SCOPE_INSTALLATION {
		keys = i.Operators()
	}
	signer, err = open(i, e, m, keys...)
	if err != nil {
		return nil, nil, err
	}
	return m, signer, nil
}

// CheckOperator verifies an operator's statement: a Deposit, Redemption, AcceptLoss or SetTime under an operator key.
func CheckOperator(i *Installation, e *typev1.Envelope) (proto.Message, error) {
	var m statement
	switch e.GetPayloadType() {
	case TypeDeposit:
		m = new(typev1.Deposit)
	case TypeRedemption:
		m = new(typev1.Redemption)
	case TypeAcceptLoss:
		m = new(typev1.AcceptLoss)
	case TypeSetTime:
		m = new(typev1.SetTime)
	default:
		return nil, bad("envelope", "payload_type", "is no operator's statement")
	}
	if _, err := open(i, e, m, i.Operators()...); err != nil {
		return nil, err
	}
	if d, ok := m.(*typev1.Deposit); ok && d.GetAsset() != i.BookUSD() {
		return nil, invalid("deposit", "asset", "is not this installation's book money")
	}
	return m, nil
}

// CheckOwnerRegistration verifies a new owner's statement: signed by one of the owner keys that it names and by a one-time
// key, the bootstrap code's or an invitation's, which is none of them.
func CheckOwnerRegistration(i *Installation, e *typev1.Envelope, oneTimeKey []byte) (*typev1.OwnerRegistration, error) {
	m := new(typev1.OwnerRegistration)
	if err := Peek(e, m); err != nil {
		return nil, err
	}
	const piece = "owner-registration"
	for _, k := range m.GetOwnerKeys() {
		switch {
		case bytes.Equal(k, oneTimeKey):
			return nil, bad(piece, "owner_keys", "hold the one-time key")
		case !ValidKey(k):
			return nil, bad(piece, "owner_keys", "hold one that is not a point of prime order")
		}
	}
	if _, err := open(i, e, m, m.GetOwnerKeys()...); err != nil {
		return nil, err
	}
	if _, err := open(i, e, m, oneTimeKey); err != nil {
		return nil, err
	}
	return m, nil
}

// CheckOwnerKeys verifies an owner's statement of its keys, under keys: those that it had before. That its number is above the
// one before is whoever holds that one's to compare.
func CheckOwnerKeys(i *Installation, e *typev1.Envelope, keys ...[]byte) (*typev1.OwnerKeys, error) {
	m := new(typev1.OwnerKeys)
	if _, err := open(i, e, m, keys...); err != nil {
		return nil, err
	}
	for _, k := range m.GetOwnerKeys() {
		if !ValidKey(k) {
			return nil, bad("owner-keys", "owner_keys", "hold one that is not a point of prime order")
		}
	}
	return m, nil
}

// CheckToken verifies that a token authenticates a call of method about resource at now, under one of the caller's keys,
// which Peek and a look-up found. It names one method and one resource, so a token that leaks opens nothing else.
func CheckToken(i *Installation, e *typev1.Envelope, method, resource string, now time.Time, keys ...[]byte) (*typev1.Token, error) {
	m := new(typev1.Token)
	if _, err := open(i, e, m, keys...); err != nil {
		return nil, err
	}
	const piece = "token"
	at := now.UnixMilli()
	switch {
	case m.GetMethod() != method:
		return nil, mismatch(piece, "method", "is another method")
	case m.GetResource() != resource:
		return nil, mismatch(piece, "resource", "is another resource")
	case at < m.GetTimeMillis()-Tolerance.Milliseconds():
		return nil, stale(piece, "time_millis", "is ahead of now")
	case at > m.GetExpiryMillis()+Tolerance.Milliseconds():
		return nil, stale(piece, "expiry_millis", "has passed")
	}
	return m, nil
}

// MayUnfreeze reports whether a signer is among a head's owner keys.
func MayUnfreeze(head *Head, signer []byte) bool {
	return slices.ContainsFunc(head.Document.GetOwnerKeys(), func(k []byte) bool { return bytes.Equal(k, signer) })
}
