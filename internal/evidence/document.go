package evidence

import (
	"bytes"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Head is a version of a wallet's guard rails that its holder has accepted. It is not to be changed.
type Head struct {
	// Document is the rules.
	Document *typev1.GuardRails
	// Envelope is the owner's signed statement of them.
	Envelope *typev1.Envelope
	// Digest names them.
	Digest Digest
}

// NewHead decodes a document from a holder's own store, where it was put after Accept or CheckClaim. It is strict about the
// encoding and verifies no signature: the owner keys that signed it are in the document before. Nor does it validate the
// rules again: a program that has become stricter must still be able to follow an old head with a new one, and what it
// cannot judge it judges RED.
func NewHead(e *typev1.Envelope) (*Head, error) {
	doc := new(typev1.GuardRails)
	if err := Peek(e, doc); err != nil {
		return nil, err
	}
	return &Head{Document: doc, Envelope: proto.CloneOf(e), Digest: EnvelopeDigest(e)}, nil
}

// CheckRegistration verifies an agent's registration: signed under the request key that it names, and both keys fit to be
// relied on.
func CheckRegistration(i *Installation, e *typev1.Envelope) (*typev1.Registration, error) {
	r := new(typev1.Registration)
	if err := Peek(e, r); err != nil {
		return nil, err
	}
	if _, err := Open(e, r, r.GetRequestKey()); err != nil {
		return nil, err
	}
	const piece = "registration"
	switch {
	case r.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case !ValidKey(r.GetGroupKey()):
		return nil, bad(piece, "group_key", "is not a point of prime order")
	case !ValidKey(r.GetRequestKey()):
		return nil, bad(piece, "request_key", "is not a point of prime order")
	case bytes.Equal(r.GetRequestKey(), r.GetGroupKey()):
		return nil, bad(piece, "request_key", "is the group key")
	}
	return r, nil
}

// CheckClaim verifies that guard rails number 0 claim the registration: they name its digest, wallet and request key, and
// are signed under one of the owner keys that they name, or by the key of a token whose terms one of these signed. Who these
// keys are is the claimer's choice; one claim per wallet and per token, and a token's deadline, are the co-signer's to see to.
func CheckClaim(i *Installation, registration, guardRails *typev1.Envelope) (*typev1.Registration, *Head, error) {
	r, err := CheckRegistration(i, registration)
	if err != nil {
		return nil, nil, err
	}
	doc := new(typev1.GuardRails)
	if err := Peek(guardRails, doc); err != nil {
		return nil, nil, err
	}
	if err := validate(doc); err != nil {
		return nil, nil, err
	}
	keys, err := claimKeys(i, doc, r)
	if err != nil {
		return nil, nil, err
	}
	if _, err := Open(guardRails, doc, keys...); err != nil {
		return nil, nil, err
	}
	const piece = "guard-rails"
	switch {
	case doc.GetNumber() != 0:
		return nil, nil, mismatch(piece, "number", "is not 0")
	case doc.GetInstallation() != r.GetInstallation():
		return nil, nil, mismatch(piece, "installation", "is another installation")
	case doc.GetWallet() != r.GetWallet():
		return nil, nil, mismatch(piece, "wallet", "is another wallet")
	case !bytes.Equal(doc.GetRequestKey(), r.GetRequestKey()):
		return nil, nil, mismatch(piece, "request_key", "is not the registration's")
	case !EnvelopeDigest(registration).Is(doc.GetRegistrationDigest()):
		return nil, nil, mismatch(piece, "registration_digest", "is another registration")
	}
	if err := checkDocumentKeys(doc, r.GetGroupKey()); err != nil {
		return nil, nil, err
	}
	return r, &Head{Document: doc, Envelope: proto.CloneOf(guardRails), Digest: EnvelopeDigest(guardRails)}, nil
}

// Wallet is what pins a wallet, verified: registration, guard rails number 0 and the co-signer's record name each other.
type Wallet struct {
	// Name is `wallets/{wallet}`.
	Name string
	// Handle is the agent's handle without `@`.
	Handle string
	// GroupKey is the wallet's address.
	GroupKey [32]byte
	// Registration is the agent's statement.
	Registration *typev1.Registration
	// Record is the co-signer's statement.
	Record *typev1.WalletRecord
	// Claim is guard rails number 0.
	Claim *Head
}

// CheckWallet verifies the three documents that pin a wallet; the record under the current co-signer key.
func CheckWallet(i *Installation, registration, guardRails, record *typev1.Envelope) (*Wallet, error) {
	r, claim, err := CheckClaim(i, registration, guardRails)
	if err != nil {
		return nil, err
	}
	w, err := CheckRecord(i, record)
	if err != nil {
		return nil, err
	}
	const piece = "wallet-record"
	switch {
	case w.GetWallet() != r.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case w.GetHandle() != r.GetHandle():
		return nil, mismatch(piece, "handle", "is not the registration's")
	case !bytes.Equal(w.GetGroupKey(), r.GetGroupKey()):
		return nil, mismatch(piece, "group_key", "is not the registration's")
	case !EnvelopeDigest(registration).Is(w.GetRegistrationDigest()):
		return nil, mismatch(piece, "registration_digest", "is another registration")
	case !claim.Digest.Is(w.GetGuardRailsDigest()):
		return nil, mismatch(piece, "guard_rails_digest", "is another claim")
	}
	return &Wallet{
		Name:         r.GetWallet(),
		Handle:       r.GetHandle(),
		GroupKey:     [32]byte(r.GetGroupKey()),
		Registration: r,
		Record:       w,
		Claim:        claim,
	}, nil
}

// CheckRecord verifies a wallet record alone, as a payer does who resolved a name: what it says of the two documents that it
// names by digest is the co-signer's word.
func CheckRecord(i *Installation, e *typev1.Envelope) (*typev1.WalletRecord, error) {
	w := new(typev1.WalletRecord)
	if _, err := Open(e, w, i.Key(typev1.Purpose_PURPOSE_COSIGNER)); err != nil {
		return nil, err
	}
	const piece = "wallet-record"
	if w.GetInstallation() != i.ID() {
		return nil, mismatch(piece, "installation", "is another installation")
	}
	if !ValidKey(w.GetGroupKey()) {
		return nil, bad(piece, "group_key", "is not a point of prime order")
	}
	return w, nil
}

// Accept decides whether e follows head: the same installation, wallet and owner, a higher number, head's digest among those
// it replaces, signed under one of head's owner keys, and rules that can be judged. The document that head is already is
// accepted again, whoever brings it.
func Accept(i *Installation, head *Head, e *typev1.Envelope) (*Head, error) {
	if head == nil {
		return nil, missing("guard-rails")
	}
	doc := new(typev1.GuardRails)
	if err := Peek(e, doc); err != nil {
		return nil, err
	}
	if EnvelopeDigest(e) == head.Digest {
		return head, nil
	}
	const piece = "guard-rails"
	old := head.Document
	switch {
	case doc.GetInstallation() != i.ID() || old.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case doc.GetWallet() != old.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	}
	if _, err := Open(e, doc, old.GetOwnerKeys()...); err != nil {
		return nil, err
	}
	names := slices.ContainsFunc(doc.GetReplaces(), func(d []byte) bool { return head.Digest.Is(d) })
	switch {
	case doc.GetOwner() != old.GetOwner():
		return nil, mismatch(piece, "owner", "is not the one that claimed the wallet")
	case doc.GetNumber() == old.GetNumber():
		return nil, &Error{
			Reason: typev1.Reason_REASON_ALREADY_EXISTS, Piece: piece, Field: "number", Why: "is the head's, and the content is another",
		}
	case doc.GetNumber() < old.GetNumber():
		return nil, &Error{Reason: typev1.Reason_REASON_GUARD_RAILS_CHANGED, Piece: piece, Field: "number", Why: "is lower than the head's"}
	case !names:
		return nil, &Error{Reason: typev1.Reason_REASON_GUARD_RAILS_CHANGED, Piece: piece, Field: "replaces", Why: "does not name the head"}
	}
	if err := validate(doc); err != nil {
		return nil, err
	}
	if err := checkDocumentKeys(doc, nil); err != nil {
		return nil, err
	}
	return &Head{Document: doc, Envelope: proto.CloneOf(e), Digest: EnvelopeDigest(e)}, nil
}

// validate turns guardrails' refusal into one of ours, keeping where and why.
func validate(doc *typev1.GuardRails) error {
	err := guardrails.Validate(doc)
	if err == nil {
		return nil
	}
	e := &Error{Reason: typev1.Reason_REASON_GUARD_RAILS_REFUSED, Piece: "guard-rails", Why: "are refused", err: err}
	var r *guardrails.Refusal
	if errors.As(err, &r) {
		e.Field, e.Why = r.Field, r.Why
	}
	return e
}

// checkDocumentKeys checks the keys that a document brings into force. The request key is no owner key: an agent that may
// sign as its owner has no guard rails.
func checkDocumentKeys(doc *typev1.GuardRails, groupKey []byte) error {
	refuse := func(field, why string) error {
		return &Error{Reason: typev1.Reason_REASON_GUARD_RAILS_REFUSED, Piece: "guard-rails", Field: field, Why: why}
	}
	if !ValidKey(doc.GetRequestKey()) {
		return refuse("request_key", "is not a point of prime order")
	}
	for _, k := range doc.GetOwnerKeys() {
		switch {
		case !ValidKey(k):
			return refuse("owner_keys", "hold one that is not a point of prime order")
		case bytes.Equal(k, doc.GetRequestKey()):
			return refuse("owner_keys", "hold the request key")
		case bytes.Equal(k, groupKey):
			return refuse("owner_keys", "hold the group key")
		}
	}
	return nil
}
