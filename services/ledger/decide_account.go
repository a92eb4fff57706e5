package ledger

import (
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// opening is a wallet's documents, verified: registration, record and guard rails number 0 name each other.
type opening struct {
	wallet               *evidence.Wallet
	registration, record *typev1.Envelope
}

// decideOpen pins a wallet, once and for ever: unique by wallet, by handle and by group key.
func decideOpen(s *state, o *opening) error {
	if o.wallet.GroupKey == s.installation.RedemptionAccount() {
		return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the group key is the redemption account's", "field", "group_key")
	}
	if w, ok := s.wallets.get(o.wallet.Name); ok {
		if field := o.differs(w); field != "" {
			return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet is pinned with other documents", "field", field)
		}
		// What is pinned is the content: after a rotation of the record key the same record comes under a new signature.
		if !proto.Equal(w.record, o.record) {
			w.record = o.record
			s.wallets.put(s, w.name, w)
		}
		return nil
	}
	if _, taken := s.byHandle.get(o.wallet.Handle); taken {
		return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the handle is another wallet's", "field", "handle")
	}
	if _, taken := s.byKey.get(o.wallet.GroupKey); taken {
		return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the group key is another wallet's", "field", "group_key")
	}
	w := wallet{
		name: o.wallet.Name, handle: o.wallet.Handle, owner: o.wallet.Claim.Document.GetOwner(), groupKey: o.wallet.GroupKey,
		registration: o.registration, record: o.record, head: o.wallet.Claim,
	}
	s.wallets.put(s, w.name, w)
	s.byHandle.put(s, w.handle, w.name)
	s.byKey.put(s, w.groupKey, w.name)
	s.versions.put(s, versionKey{w.name, w.head.Digest}, int64(w.head.Document.GetNumber()))
	s.append(&draft{chain: w.name, entry: &typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_ACCOUNT, Caller: w.owner,
		Statements: []*typev1.Envelope{w.registration, w.record, w.head.Envelope},
	}}, max(s.nowMillis, 1))
	return nil
}

// differs names what is pinned otherwise, or is empty. Guard rails number 0 are compared by the record, which names them.
func (o *opening) differs(w wallet) string {
	before := new(typev1.WalletRecord)
	if err := evidence.Peek(w.record, before); err != nil {
		return "record"
	}
	switch {
	case evidence.EnvelopeDigest(w.registration) != evidence.EnvelopeDigest(o.registration):
		return "registration"
	case !proto.Equal(before, o.wallet.Record):
		return "record"
	}
	return ""
}

// following is a document that follows the head of that digest, verified under its owner keys.
type following struct {
	wallet string
	from   evidence.Digest
	next   *evidence.Head
	// accounts are the wallet's on a chain, which are taken up if the document allows to pay from them.
	accounts []balanceKey
}

// inForce is a wallet's head after a change of its guard rails.
type inForce struct {
	number uint64
	digest evidence.Digest
	frozen bool
	at     int64
}

// decideGuardRails makes a document the head. The document that is the head already, or once was, changes nothing.
func decideGuardRails(s *state, f *following) (inForce, error) {
	w, ok := s.wallets.get(f.wallet)
	if !ok {
		return inForce{}, errNotActive
	}
	at, behind := s.time(w.name)
	if _, known := s.versions.get(versionKey{w.name, f.next.Digest}); !known {
		if w.head.Digest != f.from {
			return inForce{}, errHead
		}
		if behind {
			return inForce{}, refuseClock(at, s.nowMillis)
		}
		w.head = f.next
		s.wallets.put(s, w.name, w)
		s.versions.put(s, versionKey{w.name, w.head.Digest}, int64(w.head.Document.GetNumber()))
		s.append(&draft{chain: w.name, entry: &typev1.Entry{
			Kind: typev1.EntryKind_ENTRY_KIND_GUARD_RAILS, Caller: w.owner, Statements: []*typev1.Envelope{w.head.Envelope},
		}}, at)
		for _, k := range f.accounts {
			s.adopt(w, k)
		}
	}
	_, _, frozen := s.frozen(w)
	return inForce{number: w.head.Document.GetNumber(), digest: w.head.Digest, frozen: frozen, at: at}, nil
}
