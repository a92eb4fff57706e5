package evidence

import (
	"bytes"
	"slices"
	"time"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	pieceEnrolment  = "enrolment"
	pieceInvitation = "owner-invitation"
)

// CheckEnrolment verifies an owner's terms for a one-time key, under one of the owner keys that they name. That these are the
// owner's is for whoever knows the owner to say, and the deadline for whoever lets the key claim: once it has, the terms
// verify for ever.
func CheckEnrolment(i *Installation, e *typev1.Envelope) (*typev1.Enrolment, error) {
	m := new(typev1.Enrolment)
	if err := Peek(e, m); err != nil {
		return nil, err
	}
	if _, err := open(i, e, m, m.GetOwnerKeys()...); err != nil {
		return nil, err
	}
	switch {
	case !ValidKey(m.GetTokenKey()):
		return nil, bad(pieceEnrolment, "token_key", "is not a point of prime order")
	case among(m.GetTokenKey(), m.GetOwnerKeys()):
		// A token is handed out; an owner key must not be.
		return nil, bad(pieceEnrolment, "token_key", "is an owner key")
	}
	return m, nil
}

// CheckEnrolledStart verifies the statement that begins a key generation and the terms that its agent brings: the token's key
// has signed it as well, and one of keys, the owner's as the caller knows them, the terms. These name no other key: one that the
// owner has replaced since would own the new wallet beside those that took its place.
func CheckEnrolledStart(i *Installation, start, enrolment *typev1.Envelope, keys ...[]byte) (*typev1.Enrolment, error) {
	m, err := CheckKeyGenerationStart(i, start)
	if err != nil {
		return nil, err
	}
	terms, err := CheckEnrolment(i, enrolment)
	if err != nil {
		return nil, err
	}
	if _, err := Open(enrolment, new(typev1.Enrolment), keys...); err != nil {
		return nil, err
	}
	for _, k := range terms.GetOwnerKeys() {
		if !among(k, keys) {
			return nil, mismatch(pieceEnrolment, "owner_keys", "hold one that is not the owner's any more")
		}
	}
	if _, err := Open(start, new(typev1.KeyGenerationStart), terms.GetTokenKey()); err != nil {
		return nil, err
	}
	return terms, fitsEnrolment(terms, m.GetHandle(), m.GetRequestKey())
}

// fitsEnrolment checks that a wallet is one that its owner's terms allow, and that the token has no second use in it.
func fitsEnrolment(terms *typev1.Enrolment, handle string, keys ...[]byte) error {
	if h := terms.GetHandle(); h != "" && h != handle {
		return mismatch(pieceEnrolment, "handle", "is not the wallet's")
	}
	for _, k := range keys {
		if bytes.Equal(k, terms.GetTokenKey()) {
			return bad(pieceEnrolment, "token_key", "is a key of the wallet")
		}
	}
	return nil
}

// claimKeys are the keys that may sign a wallet's guard rails number 0: the owner keys that these name, or the key of the token
// whose terms they carry.
func claimKeys(i *Installation, doc *typev1.GuardRails, r *typev1.Registration) ([][]byte, error) {
	if doc.GetEnrolment() == nil {
		return doc.GetOwnerKeys(), nil
	}
	terms, err := CheckEnrolment(i, doc.GetEnrolment())
	if err != nil {
		return nil, err
	}
	switch {
	case terms.GetOwner() != doc.GetOwner():
		return nil, mismatch(pieceEnrolment, "owner", "is another owner")
	case !slices.EqualFunc(terms.GetOwnerKeys(), doc.GetOwnerKeys(), bytes.Equal):
		return nil, mismatch(pieceEnrolment, "owner_keys", "are not those that the claim names")
	}
	if err := fitsEnrolment(terms, r.GetHandle(), r.GetRequestKey(), r.GetGroupKey()); err != nil {
		return nil, err
	}
	return [][]byte{terms.GetTokenKey()}, nil
}

// EnrolmentOf returns the terms of the token by which a wallet was claimed, or nil if its owner claimed it. CheckClaim has
// verified them.
func EnrolmentOf(claim *Head) (*typev1.Enrolment, error) {
	e := claim.Document.GetEnrolment()
	if e == nil {
		return nil, nil
	}
	m := new(typev1.Enrolment)
	if err := Peek(e, m); err != nil {
		return nil, err
	}
	return m, nil
}

// ClaimedUnder reports whether one of keys signed a claim, or the terms of the token that did. CheckClaim verifies a claim
// under the keys that it names itself; whether they are somebody's is this question.
func ClaimedUnder(claim *Head, keys ...[]byte) bool {
	if e := claim.Document.GetEnrolment(); e != nil {
		_, err := Open(e, new(typev1.Enrolment), keys...)
		return err == nil
	}
	_, err := Open(claim.Envelope, new(typev1.GuardRails), keys...)
	return err == nil
}

// CheckEnrolmentTime refuses a token past its deadline: the last millisecond still counts, and no tolerance is given, since
// the owner chose it in minutes or days.
func CheckEnrolmentTime(m *typev1.Enrolment, now time.Time) error {
	return notPassed(pieceEnrolment, m.GetExpiryMillis(), now)
}

// CheckInvitation verifies, under one of keys, which a look-up of the owner that it names found, that an invitation is for a
// new owner whose statement m CheckOwnerRegistration has verified under the invitation's key.
func CheckInvitation(i *Installation, e *typev1.Envelope, m *typev1.OwnerRegistration, keys ...[]byte) (*typev1.OwnerInvitation, error) {
	invitation := new(typev1.OwnerInvitation)
	if _, err := open(i, e, invitation, keys...); err != nil {
		return nil, err
	}
	switch email := invitation.GetEmail(); {
	case !ValidKey(invitation.GetInvitationKey()):
		return nil, bad(pieceInvitation, "invitation_key", "is not a point of prime order")
	case among(invitation.GetInvitationKey(), keys):
		return nil, bad(pieceInvitation, "invitation_key", "is an owner key")
	case email != "" && email != m.GetEmail():
		return nil, mismatch(pieceInvitation, "email", "is another address")
	}
	return invitation, nil
}

// CheckInvitationTime refuses an invitation past its deadline.
func CheckInvitationTime(m *typev1.OwnerInvitation, now time.Time) error {
	return notPassed(pieceInvitation, m.GetExpiryMillis(), now)
}

func notPassed(piece string, expiryMillis int64, now time.Time) error {
	if now.UnixMilli() <= expiryMillis {
		return nil
	}
	return &Error{Reason: typev1.Reason_REASON_CODE_EXPIRED, Piece: piece, Field: "expiry_millis", Why: "has passed"}
}

func among(key []byte, keys [][]byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}
