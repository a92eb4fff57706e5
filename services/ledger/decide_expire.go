package ledger

import (
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// deadStatementsMax is how many statements of dead messages an answer carries: the newest. The journal has them all.
const deadStatementsMax = 8

// touch ends a payment if its time has come: a review or a wait for a message by the intent's deadline, a hold by its
// message's expiry. While the ledger's clock is behind the wallet's time it ends nothing.
func (s *state) touch(p payment) payment {
	at, behind := s.time(p.wallet)
	if behind || !p.open() || at < p.dueMillis() {
		return p
	}
	if p.state == authorized {
		return s.die(p, at, landing{})
	}
	p.state = expired
	return s.end(p, typev1.EntryKind_ENTRY_KIND_PAYMENT, "", at)
}

// landing is the finalised transaction on a chain that carries a message; the zero landing is none.
type landing struct {
	transaction []byte // The signature that names it.
	slot        uint64
}

// die ends the hold of a message that moves nothing any more: it can no longer land, or has landed with an error. The units return to
// where they were counted: to the quarter hour of the authorization, whatever time it is now.
func (s *state) die(p payment, at int64, l landing) payment {
	after := p.afterDeath(at)
	if l.transaction != nil {
		after = failed
	}
	if !s.move(balanceKey{p.wallet, p.asset}, p.units, -p.units) || !s.count(p, -1) {
		panic("ledger: a hold is not in its sums")
	}
	d := s.append(&draft{
		chain: p.wallet,
		entry: &typev1.Entry{
			Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT, Payment: p.name(), PaymentState: after,
			Asset: p.asset, Units: resource.FormatUnits(p.units),
		},
		own: &typev1.DeadMessage{
			Installation: s.installation.ID(), Wallet: p.wallet, Payment: p.name(),
			IntentDigest:  evidence.IntentDigest(p.intent).Bytes(),
			MessageDigest: evidence.MessageDigest(p.message).Bytes(),
			TimeMillis:    at,
			Transaction:   l.transaction,
			Slot:          l.slot,
		},
	}, at)
	p.state = after
	dead := append(append([]int64(nil), p.deadEntries...), d.number())
	p.deadEntries = dead[max(0, len(dead)-deadStatementsMax):]
	p.quarter, p.updatedMillis = 0, at
	s.payments.put(s, p.key(), p)
	s.note(p, d)
	if p.ended() {
		s.addOpen(p.wallet, -1)
	}
	return p
}

// afterDeath is the state of a payment whose message is dead: it may try again until its intent's deadline.
func (p payment) afterDeath(at int64) typev1.PaymentState {
	if at <= p.deadlineMillis {
		return ready
	}
	return expired
}

// end records a state that holds nothing.
func (s *state) end(p payment, kind typev1.EntryKind, caller string, at int64, statements ...*typev1.Envelope) payment {
	d := s.append(&draft{chain: p.wallet, entry: &typev1.Entry{
		Kind: kind, Payment: p.name(), PaymentState: p.state, Caller: caller, Statements: statements,
	}}, at)
	p.updatedMillis = at
	s.payments.put(s, p.key(), p)
	s.note(p, d)
	if p.ended() {
		s.addOpen(p.wallet, -1)
	}
	return p
}

// decideTouch is the sweep's and a reader's operation.
func decideTouch(s *state, k paymentKey) {
	if p, ok := s.payments.get(k); ok {
		s.touch(p)
	}
}

// due reports whether a payment, as read, may have to be ended at now.
func (p payment) due(now time.Time) bool { return p.open() && p.dueMillis() <= now.UnixMilli() }
