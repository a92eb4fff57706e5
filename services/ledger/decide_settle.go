package ledger

import (
	"bytes"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// settlement is the proof that the payer wanted it: the group key's signature over the pinned message.
type settlement struct {
	key       paymentKey
	signature []byte
	// verified is the message over which the signature was verified; nil if the payment, as it was read, had no pin.
	verified []byte

	// sends says that the payment is a transfer on a chain, and is to be sent.
	sends bool
	// heldMillis is how long its hold has lasted by the ledger's time since the last authorization, if this is what settled it.
	heldMillis int64
	moved      bool
	// payment and paid are the payment and its entry, if this is what settled it.
	payment payment
	paid    *draft
}

// decideSettle moves the money, exactly once: from the payer's hold to the recipient's balance, with an entry in both
// journals. It needs an AUTHORIZED payment whose message has not expired, a wallet that is not frozen, and an agent that was not
// revoked since it signed.
func decideSettle(s *state, a *settlement) error {
	a.moved, a.paid = false, nil // A batch that could not be stored is decided again.
	p, ok := s.payments.get(a.key)
	if !ok {
		return errNotFound
	}
	if p.state == settled {
		if !bytes.Equal(p.message, a.verified) {
			return again(errRaced).about(p)
		}
		return nil // The repeat of a call whose answer was lost.
	}
	at, behind := s.time(p.wallet)
	if behind {
		return refuseClock(at, s.nowMillis)
	}
	p = s.touch(p)
	s.keep()
	switch {
	case p.state != authorized && len(p.deadEntries) > 0 && (p.state == ready || p.state == expired):
		return refuseExpired(at)
	case p.state != authorized:
		return refuseState(p)
	case p.onChain():
		panic("ledger: only a book payment settles by its signature")
	case !bytes.Equal(p.message, a.verified):
		return errRaced
	}
	w, ok := s.wallets.get(p.wallet)
	if !ok {
		return errNotActive
	}
	if by, id, is := s.frozen(w); is {
		return refuseFrozen(by, id)
	}
	if r := s.checkSigner(p, at); r != nil {
		return r
	}
	if r := s.checkTakes(p.payee); r != nil {
		return r
	}
	paid, err := s.settle(w, p, a.signature, at, landing{})
	if err != nil {
		return err
	}
	a.moved, a.heldMillis = true, at-p.updatedMillis
	a.payment, a.paid = s.payments.value(p.key()), paid
	return nil
}

// settle ends a hold by moving its units: on the book to the recipient's balance, on a chain out of what the ledger knows, for there the
// transaction has moved them.
func (s *state) settle(w wallet, p payment, signature []byte, at int64, l landing) (*draft, error) {
	if !s.move(balanceKey{p.wallet, p.asset}, 0, -p.units) {
		panic("ledger: a hold is not in its balance")
	}
	if !p.onChain() && !s.move(balanceKey{p.payee, p.asset}, p.units, 0) {
		return nil, refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the recipient's balance does not fit its number")
	}
	paid := s.append(&draft{
		chain: p.wallet,
		entry: &typev1.Entry{
			Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: p.name(), PaymentState: settled,
			Asset: p.asset, Units: resource.FormatUnits(p.units), Signature: signature,
		},
		own: &typev1.Settlement{
			Installation: s.installation.ID(), Wallet: p.wallet, Payment: p.name(),
			Payer: w.groupKey[:], Recipient: p.recipient[:], Asset: p.asset, Units: resource.FormatUnits(p.units),
			IntentDigest:  evidence.IntentDigest(p.intent).Bytes(),
			MessageDigest: evidence.MessageDigest(p.message).Bytes(),
			TimeMillis:    at,
			Transaction:   l.transaction,
			Slot:          l.slot,
		},
	}, at)
	p.state, p.settledEntry, p.updatedMillis = settled, paid.number(), at
	s.note(p, paid)
	if p.payee != redemption { // On a chain there is none.
		incoming, _ := s.time(p.payee)
		got := s.append(&draft{
			chain: p.payee,
			entry: &typev1.Entry{
				Kind: typev1.EntryKind_ENTRY_KIND_INCOMING, Payment: p.name(), PaymentState: settled,
				Asset: p.asset, Units: resource.FormatUnits(p.units),
			},
			same: paid,
		}, incoming)
		p.incomingEntry = got.number()
		s.noteIncoming(p, got)
	}
	s.payments.put(s, p.key(), p)
	s.notePaid(p)
	s.addOpen(p.wallet, -1)
	return paid, nil
}
