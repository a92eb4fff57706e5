package evidence

import (
	"bytes"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// CheckRevocation verifies an owner's revocation under the owner keys of the wallet's head, and that it revokes the request key
// which that head names. One of a key that was replaced stops nobody who could still pay: it comes too late, and is refused.
func CheckRevocation(i *Installation, head *Head, e *typev1.Envelope) (*typev1.Revocation, error) {
	m := new(typev1.Revocation)
	if _, err := open(i, e, m, head.Document.GetOwnerKeys()...); err != nil {
		return nil, err
	}
	const piece = "revocation"
	switch {
	case m.GetWallet() != head.Document.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case !bytes.Equal(m.GetRequestKey(), head.Document.GetRequestKey()):
		return nil, mismatch(piece, "request_key", "is not the one that the guard rails in force name")
	}
	return m, nil
}

// CheckTakenOver decides whether the end of a revocation may be taken under a head: the wallet was not given up, and the head
// names another request key than the one that was revoked.
func CheckTakenOver(m *typev1.Revocation, head *Head) error {
	refuse := func(field, why string) error {
		return &Error{Reason: typev1.Reason_REASON_REVOKED, Piece: "revocation", Field: field, Why: why}
	}
	switch {
	case m.GetAbandon():
		return refuse("abandon", "gave the wallet up: it takes no end")
	case bytes.Equal(m.GetRequestKey(), head.Document.GetRequestKey()):
		return refuse("request_key", "is of the request key that the guard rails in force name: take the wallet over first")
	}
	return nil
}
