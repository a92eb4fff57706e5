package ledger

import (
	"errors"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var (
	errPinnedElsewhere = errors.New("a live message is not the one that its payment waits for")
	errNotItsUnits     = errors.New("the chain's endpoints show a message of a payment moving other units than the payment's")
)

// outcome is what the chain proves of a message.
type outcome struct {
	key messageKey
	solanarpc.Outcome

	// heldMillis is how long its hold has lasted by the ledger's time since the last authorization, if this is what settled it.
	heldMillis int64
	moved      bool
}

// decideOutcome takes over what is proven of a message: the end of its payment's hold, once. Whether the wallet is frozen, or the intent's
// deadline has passed, does not matter: the chain did not ask either.
func decideOutcome(s *state, o *outcome) error {
	o.moved = false // A batch that could not be stored is decided again.
	m, ok := s.messages.get(o.key)
	if !ok || m.state != messageLive {
		return nil // It was decided already.
	}
	p := s.payments.value(paymentKey{o.key.wallet, m.id})
	if p.state != authorized || p.messageKey() != o.key {
		return errPinnedElsewhere
	}
	w, ok := s.wallets.get(o.key.wallet)
	if !ok {
		return errNotActive
	}
	at, behind := s.time(w.name)
	l := landing{slot: o.Slot}
	if o.State == solanarpc.Landed || o.State == solanarpc.Failed {
		l.transaction, m.signature = o.Signature[:], o.PayerSignature[:]
	}
	switch {
	case behind && o.State != solanarpc.Unknown:
		return refuseClock(at, s.nowMillis)
	case o.State == solanarpc.Landed:
		m.state, m.seen = messageLanded, true
		if _, err := s.settle(w, p, m.signature, at, l); err != nil {
			return err
		}
		o.moved, o.heldMillis = true, at-p.updatedMillis
	case o.State == solanarpc.Failed:
		m.state, m.seen = messageFailed, true
		s.die(p, at, l)
	case m.seen:
		return nil // Somebody has shown it finalised. Whoever says now that it is dead lies, or somebody did then.
	case o.State == solanarpc.Dead:
		m.state = messageDead
		s.die(p, at, landing{})
	case o.Seen:
		m.seen = true
	default:
		return nil
	}
	s.messages.put(s, o.key, m)
	return nil
}

// history is a part of what happened to a wallet's token account, which goes on from a place.
type history struct {
	key  balanceKey
	from solanarpc.Cursor
	solanarpc.Transfers

	// outflows counts what left without a payment, in what was stored.
	outflows int64
}

// needs are what the part is decided by: the account, and the messages that its transactions may carry.
func (h *history) needs() needs {
	n := needs{cursors: []balanceKey{h.key}}
	for _, t := range h.Transfers.Transfers {
		if k, ok := h.message(t); ok {
			n.messages = append(n.messages, k)
		}
	}
	return n
}

// message names the message of a transaction, if it is of a form that wallets sign.
func (h *history) message(t solanarpc.Transfer) (messageKey, bool) {
	if len(t.Message) == 0 || t.Message[0] != solana.FirstByte {
		return messageKey{}, false
	}
	return messageKey{h.key.account, evidence.MessageDigest(t.Message)}, true
}

// decideHistory takes in what happened to a token account, once: it counts only where it goes on from what was taken in before.
func decideHistory(s *state, h *history) error {
	h.outflows = 0 // A batch that could not be stored is decided again.
	cursor, ok := s.cursors.get(h.key)
	if !ok || cursor != h.from {
		return nil // It was taken in already.
	}
	at, behind := s.time(h.key.account)
	if behind {
		return refuseClock(at, s.nowMillis)
	}
	for _, t := range h.Transfers.Transfers {
		if err := s.takeIn(h, t, at); err != nil {
			return err
		}
	}
	s.cursors.put(s, h.key, h.Next)
	return nil
}

// takeIn books one transaction. One that carries the message of a payment is the payment's, and its outcome books it, unless the ledger
// had called the message dead: its units have left all the same.
func (s *state) takeIn(h *history, t solanarpc.Transfer, at int64) error {
	if t.Change > 0 {
		if !s.move(h.key, t.Change, 0) {
			return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the wallet's balance does not fit its number")
		}
		s.bookTransfer(h.key, t, "", at)
		return nil
	}
	var of string
	if k, ok := h.message(t); ok {
		if m, known := s.messages.get(k); known {
			p := s.payments.value(paymentKey{k.wallet, m.id})
			if p.units != -t.Change || p.asset != h.key.asset {
				return errNotItsUnits
			}
			if m.state == messageLive && !m.seen {
				m.seen = true
				s.messages.put(s, k, m)
			}
			if m.state != messageDead {
				return nil
			}
			of = p.name()
		}
	}
	if !s.leave(h.key, -t.Change) {
		return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "what left the wallet does not fit its number")
	}
	s.bookTransfer(h.key, t, of, at)
	h.outflows++
	return nil
}

// bookTransfer appends the entry of a deposit, or of an outflow that settled no payment.
func (s *state) bookTransfer(k balanceKey, t solanarpc.Transfer, of string, at int64) {
	kind, units := typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT, t.Change
	if t.Change < 0 {
		kind, units = typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW, -t.Change
	}
	s.append(&draft{
		chain: k.account,
		entry: &typev1.Entry{Kind: kind, Payment: of, Asset: k.asset, Units: resource.FormatUnits(units)},
		own: &typev1.ChainTransfer{
			Installation: s.installation.ID(), Wallet: k.account, Asset: k.asset, Units: resource.FormatUnits(units), Outflow: t.Change < 0,
			Transaction: t.Signature[:], Slot: t.Slot, Payment: of, TimeMillis: at,
		},
	}, at)
}
