package identity

import (
	"bytes"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	creating  = typev1.WalletState_WALLET_STATE_CREATING
	unclaimed = typev1.WalletState_WALLET_STATE_UNCLAIMED
	active    = typev1.WalletState_WALLET_STATE_ACTIVE
	ended     = typev1.WalletState_WALLET_STATE_ENDED
)

const (
	// creatingLife is how long a key generation that does not end holds its place: one takes seconds.
	creatingLife = 10 * time.Minute
	// claimLife is how long a registration waits for its owner. The co-signer ends it; this is when identity says that
	// it may.
	claimLife = 24 * time.Hour
	// unfinishedLife is how long a row of a key generation that did not end is kept. The co-signer may have completed it
	// unseen, and is asked about it after claimLife; after unfinishedLife nobody is.
	unfinishedLife = 2 * claimLife
)

// refuse is a refusal before which nothing was written; identity moves no money.
func refuse(r typev1.Reason, msg string, kv ...string) error {
	return fault.New(r, typev1.MoneyMoved_MONEY_MOVED_NO, msg, kv...)
}

// start decides what a start statement makes of a wallet's row, which is nil for a new one: a row in CREATING that wants a
// place, or the row unchanged for a repeat. One id belongs to the request key that used it first, for ever; while it is
// CREATING that key may begin another run.
func start(
	old *wallet, s *typev1.KeyGenerationStart, digest evidence.Digest, displayName string, p place, now time.Time,
) (next *wallet, err error) {
	if old != nil {
		switch {
		case !bytes.Equal(old.RequestKey, s.GetRequestKey()):
			return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet's id is used by another registration", "field", "wallet")
		case digest.Is(old.Start) && (old.State != creating || old.Placed):
			return old, nil
		case old.State != creating:
			return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet's key generation has ended: a new one needs a new id",
				"field", "wallet")
		}
	}
	next = &wallet{
		Version:     recordVersion,
		Name:        s.GetWallet(),
		State:       creating,
		Handle:      s.GetHandle(),
		DisplayName: displayName,
		OwnerEmail:  s.GetOwnerEmail(),
		RequestKey:  s.GetRequestKey(),
		Start:       digest.Bytes(),
		Place:       p,
		Placed:      true,
		Created:     now.UnixMilli(),
		Since:       now.UnixMilli(),
	}
	if old != nil {
		next.Created = old.Created
	}
	return next, nil
}

// complete decides what the agent's registration makes of a row: UNCLAIMED, which takes the place
// again if it was freed, or the row unchanged for a repeat.
func complete(old *wallet, r *typev1.Registration, e *typev1.Envelope, now time.Time) (next *wallet, err error) {
	if old == nil {
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no key generation of this wallet was started here")
	}
	if old.State != creating {
		same, err := sameStatement(old.Registration, e)
		switch {
		case err != nil:
			return nil, err
		case old.State == ended:
			return nil, endedUnclaimed()
		case !same:
			return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet has another registration", "field", "registration")
		case old.revoked(r.GetRequestKey()):
			return nil, wasRevoked(r.GetWallet())
		}
		return old, nil
	}
	if !bytes.Equal(old.RequestKey, r.GetRequestKey()) {
		return nil, refuse(typev1.Reason_REASON_EVIDENCE_MISMATCH, "the registration is not by the key that began the key generation",
			"evidence", "registration", "field", "request_key")
	}
	registration, err := evidence.Marshal(e)
	if err != nil {
		return nil, err
	}
	w := *old
	w.State = unclaimed
	w.Placed = true
	w.Handle = r.GetHandle()
	w.Registration = registration
	w.Since = now.UnixMilli()
	return &w, nil
}

// end decides what the co-signer's statement makes of a row: ENDED, or the row unchanged for a repeat. A row that is still
// CREATING has no registration to compare; the co-signer had one, and says that it will never be sealed.
func end(old *wallet, m *typev1.RegistrationEnd, e *typev1.Envelope, now time.Time) (next *wallet, err error) {
	if old == nil {
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no such wallet")
	}
	if len(old.Registration) != 0 {
		registration, err := envelope(old.Registration)
		if err != nil {
			return nil, err
		}
		if !evidence.EnvelopeDigest(registration).Is(m.GetRegistrationDigest()) {
			return nil, refuse(typev1.Reason_REASON_EVIDENCE_MISMATCH, "the end is of another registration",
				"evidence", "registration-end", "field", "registration_digest")
		}
	}
	switch old.State {
	case ended:
		return old, nil
	case active:
		return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet was claimed", "field", "state")
	}
	statement, err := evidence.Marshal(e)
	if err != nil {
		return nil, err
	}
	w := *old
	w.State = ended
	w.End = statement
	w.Placed = false
	w.Since = now.UnixMilli()
	return &w, nil
}

// activate decides what a wallet's documents make of a row, nil for one that the directory has lost: ACTIVE with the
// newest head that they lead to, never an older one than it holds.
func activate(
	i *evidence.Installation, old *wallet, d *typev1.WalletDocuments, now time.Time,
) (next *wallet, pinned *evidence.Wallet, err error) {
	if len(d.GetGuardRails()) == 0 {
		return nil, nil, refuse(typev1.Reason_REASON_EVIDENCE_MISSING, "guard rails number 0 are missing", "evidence", "guard-rails")
	}
	pinned, err = evidence.CheckWallet(i, d.GetRegistration(), d.GetGuardRails()[0], d.GetRecord())
	if err != nil {
		return nil, nil, err
	}
	head := pinned.Claim
	w := wallet{Version: recordVersion, Name: pinned.Name, Created: now.UnixMilli(), Since: now.UnixMilli()}
	if old != nil {
		w = *old
		switch old.State {
		case ended:
			// The co-signer says both that it was sealed and that it never can be; nothing may rest on its word here.
			return nil, nil, endedUnclaimed()
		case active:
			if err := samePins(old, d.GetRecord()); err != nil {
				return nil, nil, err
			}
			if head, err = old.head(); err != nil {
				return nil, nil, err
			}
		default:
			w.Since = now.UnixMilli()
		}
	}
	if head, err = lead(i, head, d.GetGuardRails()[1:]); err != nil {
		return nil, nil, err
	}
	w.State = active
	w.Handle = pinned.Handle
	w.RequestKey = pinned.Registration.GetRequestKey()
	w.Placed = false
	for _, f := range []struct {
		to   *[]byte
		from *typev1.Envelope
	}{
		{&w.Registration, d.GetRegistration()},
		{&w.Claim, pinned.Claim.Envelope},
		{&w.Record, d.GetRecord()}, // Its signature may be a newer key's; its content is what was pinned.
		{&w.Head, head.Envelope},
	} {
		if *f.to, err = evidence.Marshal(f.from); err != nil {
			return nil, nil, err
		}
	}
	return &w, pinned, nil
}

// samePins refuses documents that pin a wallet to other content than the directory holds. The record names the digests of
// the other two.
func samePins(old *wallet, record *typev1.Envelope) error {
	same, err := sameStatement(old.Record, record)
	if err != nil {
		return err
	}
	if !same {
		return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet is pinned to other documents", "field", "record")
	}
	return nil
}

// lead follows a head through versions in ascending order, passing over those it has behind it.
func lead(i *evidence.Installation, head *evidence.Head, versions []*typev1.Envelope) (*evidence.Head, error) {
	for _, e := range versions {
		doc := new(typev1.GuardRails)
		if err := evidence.Peek(e, doc); err != nil {
			return nil, err
		}
		if doc.GetNumber() < head.Document.GetNumber() {
			continue
		}
		next, err := evidence.Accept(i, head, e)
		if err != nil {
			return nil, err
		}
		head = next
	}
	return head, nil
}

// setHead decides what a document makes of a row: a new head, or the row unchanged for a repeat.
func setHead(i *evidence.Installation, old *wallet, e *typev1.Envelope) (next *wallet, err error) {
	switch {
	case old == nil:
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no such wallet")
	case old.State == ended:
		return nil, endedUnclaimed()
	case old.State != active:
		return nil, refuse(typev1.Reason_REASON_NOT_ACTIVE, "the wallet is not claimed")
	}
	head, err := old.head()
	if err != nil {
		return nil, err
	}
	after, err := evidence.Accept(i, head, e)
	if err != nil {
		return nil, err
	}
	if after.Digest == head.Digest {
		return old, nil
	}
	w := *old
	if w.Head, err = evidence.Marshal(after.Envelope); err != nil {
		return nil, err
	}
	return &w, nil
}

// sameStatement reports whether a stored statement and another have the same content, whoever signed it.
func sameStatement(stored []byte, e *typev1.Envelope) (bool, error) {
	s, err := envelope(stored)
	if err != nil || s == nil {
		return false, err
	}
	return evidence.EnvelopeDigest(s) == evidence.EnvelopeDigest(e), nil
}

func endedUnclaimed() error {
	return refuse(typev1.Reason_REASON_NOT_ACTIVE, "the registration ended without a claim: the agent registers again with a new wallet")
}
