package evidence

import (
	"bytes"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const resharingPrefix = "halfkey/reshare/v1"

// ResharingSession is the session id of a resharing's run: a run of another installation, wallet or id shares no ciphertext and
// no certificate with it.
func ResharingSession(installation, wallet string, run []byte) []byte {
	b := appendString(nil, resharingPrefix)
	b = appendString(b, installation)
	b = appendString(b, wallet)
	return appendString(b, string(run))
}

// CheckResharingOrder verifies an owner's order under the owner keys of the wallet's head, and that it gives share 1 to the
// request key which that head names: a key that was replaced gets no share, whoever orders it.
func CheckResharingOrder(i *Installation, head *Head, e *typev1.Envelope) (*typev1.ResharingOrder, error) {
	m := new(typev1.ResharingOrder)
	if _, err := Open(e, m, head.Document.GetOwnerKeys()...); err != nil {
		return nil, err
	}
	const piece = "resharing-order"
	switch {
	case m.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case m.GetWallet() != head.Document.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case !bytes.Equal(m.GetRequestKey(), head.Document.GetRequestKey()):
		return nil, mismatch(piece, "request_key", "is not the one that the guard rails in force name")
	case len(m.GetRecoveryKey()) > 0 && !ValidKey(m.GetRecoveryKey()):
		return nil, bad(piece, "recovery_key", "is not a point of prime order")
	}
	return m, nil
}

// CheckResharingStart verifies the statement that begins an ordered run, under the request key that the order names. The order
// has been verified.
func CheckResharingStart(order, e *typev1.Envelope) (*typev1.ResharingStart, error) {
	o, m := new(typev1.ResharingOrder), new(typev1.ResharingStart)
	if err := Peek(order, o); err != nil {
		return nil, err
	}
	if _, err := Open(e, m, o.GetRequestKey()); err != nil {
		return nil, err
	}
	const piece = "resharing-start"
	switch {
	case m.GetInstallation() != o.GetInstallation():
		return nil, mismatch(piece, "installation", "is another installation")
	case m.GetWallet() != o.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case !bytes.Equal(m.GetRun(), o.GetRun()):
		return nil, mismatch(piece, "run", "is another run")
	case !EnvelopeDigest(order).Is(m.GetOrderDigest()):
		return nil, mismatch(piece, "order_digest", "is of another order")
	}
	return m, nil
}

// CheckResharingAnswer verifies the co-signer's answer to start, under its current record key: so that the gateway in between
// cannot put a key or a sharing of its own in the co-signer's place.
func CheckResharingAnswer(i *Installation, start, e *typev1.Envelope) (*typev1.ResharingAnswer, error) {
	s, m := new(typev1.ResharingStart), new(typev1.ResharingAnswer)
	if err := Peek(start, s); err != nil {
		return nil, err
	}
	if _, err := Open(e, m, i.Key(typev1.Purpose_PURPOSE_COSIGNER)); err != nil {
		return nil, err
	}
	const piece = "resharing-answer"
	switch {
	case m.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case m.GetWallet() != s.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case !bytes.Equal(m.GetRun(), s.GetRun()):
		return nil, mismatch(piece, "run", "is another run")
	case !EnvelopeDigest(start).Is(m.GetStartDigest()):
		return nil, mismatch(piece, "start_digest", "answers another start")
	}
	return m, nil
}

// CheckSharingRecord verifies the co-signer's statement that the sharing which an order asked for is in force.
func CheckSharingRecord(i *Installation, order, e *typev1.Envelope) (*typev1.SharingRecord, error) {
	o, m := new(typev1.ResharingOrder), new(typev1.SharingRecord)
	if err := Peek(order, o); err != nil {
		return nil, err
	}
	if _, err := Open(e, m, i.Key(typev1.Purpose_PURPOSE_COSIGNER)); err != nil {
		return nil, err
	}
	const piece = "sharing-record"
	switch {
	case m.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case m.GetWallet() != o.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case !bytes.Equal(m.GetRun(), o.GetRun()):
		return nil, mismatch(piece, "run", "is another run")
	case !EnvelopeDigest(order).Is(m.GetOrderDigest()):
		return nil, mismatch(piece, "order_digest", "is of another order")
	case m.GetEpoch() != o.GetToEpoch():
		return nil, mismatch(piece, "epoch", "is not the one ordered")
	}
	return m, nil
}

// CheckRecoveryConfirmation verifies an owner's confirmation of the recovery share of a recorded sharing, under the owner keys of
// the wallet's head.
func CheckRecoveryConfirmation(i *Installation, head *Head, record, e *typev1.Envelope) (*typev1.RecoveryConfirmation, error) {
	r, m := new(typev1.SharingRecord), new(typev1.RecoveryConfirmation)
	if err := Peek(record, r); err != nil {
		return nil, err
	}
	if _, err := Open(e, m, head.Document.GetOwnerKeys()...); err != nil {
		return nil, err
	}
	const piece = "recovery-confirmation"
	switch {
	case m.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case m.GetWallet() != head.Document.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case m.GetEpoch() != r.GetEpoch():
		return nil, mismatch(piece, "epoch", "is of another sharing")
	case !EnvelopeDigest(record).Is(m.GetRecordDigest()):
		return nil, mismatch(piece, "record_digest", "is of another record")
	}
	return m, nil
}
