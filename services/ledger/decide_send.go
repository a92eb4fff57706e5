package ledger

import "bytes"

// decideSend keeps the signature of a transfer durably, before it is sent and so that it is sent again. A frozen wallet's is not sent.
func decideSend(s *state, a *settlement) error {
	a.sends = false // A batch that could not be stored is decided again.
	p, ok := s.payments.get(a.key)
	if !ok {
		return errNotFound
	}
	if p.state == settled {
		if !bytes.Equal(p.message, a.verified) {
			return again(errRaced).about(p)
		}
		return nil // The repeat of a call after the chain has proven it.
	}
	at, behind := s.time(p.wallet)
	switch {
	case behind:
		return refuseClock(at, s.nowMillis).about(p)
	case p.state != authorized && len(p.deadEntries) > 0 && (p.state == ready || p.state == expired):
		return refuseExpired(at)
	case p.state != authorized:
		return refuseState(p)
	case !bytes.Equal(p.message, a.verified):
		return again(errRaced).about(p)
	}
	w, ok := s.wallets.get(p.wallet)
	if !ok {
		return errNotActive
	}
	if by, id, is := s.frozen(w); is {
		return refuseFrozen(by, id).about(p) // Its agent has the whole signature, and may have sent it without us.
	}
	a.sends = true
	m, ok := s.messages.get(p.messageKey())
	if !ok {
		panic("ledger: an authorized message on a chain is not remembered")
	}
	if m.signature == nil {
		m.signature = a.signature
		s.messages.put(s, p.messageKey(), m)
	}
	return nil
}
