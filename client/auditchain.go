package client

import (
	"bytes"
	"crypto/ed25519"
	"math"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Outflow is what left a wallet's token account on a chain without a payment of the ledger's: both shares, or both that an owner holds
// for the last way out, have signed it past every guard rail, or a message landed that the ledger had called dead.
type Outflow struct {
	// Entry is the number of the journal entry that records it.
	Entry uint64
	// Asset and Units are what left, in the asset's smallest unit.
	Asset string
	Units int64
	// Transaction is the signature that names it on the chain, Slot that of the block which holds it.
	Transaction [64]byte
	Slot        uint64
	// Payment is the payment whose message it carries, if the ledger had called that dead; else empty.
	Payment string
}

// landing is a transaction of a chain that changed what a wallet has of an asset, or failed to.
type landing struct {
	asset       string
	transaction [64]byte
}

// pinnedMessage is a message on a chain, and the key that pays its fee: its signature names the transaction.
type pinnedMessage struct {
	bytes    []byte
	feePayer [32]byte
}

// names reports whether a transaction that carries the message is named by this signature. Whose it is stands in the message, so
// neither the ledger nor a node can make one up.
func (m *pinnedMessage) names(transaction []byte) bool {
	return len(m.bytes) > 0 && ed25519.Verify(m.feePayer[:], m.bytes, transaction)
}

// onChain reports whether a payment settles by a chain's proof.
func (p *auditedPayment) onChain() bool { return p.intent.GetRail() != typev1.Rail_RAIL_BOOK }

// pin notes the message of a payment that was authorized on a chain. Its bytes name no payment, so they stand for one alone.
func (a *audit) pin(p *auditedPayment, m evidence.Message) error {
	if !p.onChain() {
		return nil
	}
	digest := evidence.MessageDigest(p.message)
	if a.pinned[digest] {
		return refusal("entry", "message", "was pinned before")
	}
	a.pinned[digest] = true
	p.onWire = pinnedMessage{bytes: p.message, feePayer: m.FeePayer}
	if a.balances[p.intent.GetAsset()].Available < 0 {
		return refusal("entry", "units", "are more than the wallet had")
	}
	return nil
}

// lands notes a transaction, which changes an account once.
func (a *audit) lands(piece, asset string, transaction []byte) error {
	l := landing{asset, [64]byte(transaction)}
	if a.landed[l] {
		return refusal(piece, "transaction", "stands in an entry before")
	}
	a.landed[l] = true
	return nil
}

// carries verifies that a transaction which a statement names carries a payment's pinned message.
func (a *audit) carries(piece string, p *auditedPayment, transaction []byte) error {
	if !p.onWire.names(transaction) {
		return refusal(piece, "transaction", "is not a signature over the pinned message by the key that pays its fee")
	}
	return a.lands(piece, p.intent.GetAsset(), transaction)
}

// settledOnChain verifies the proof of a settlement on a chain. When it settled, and whether the wallet was frozen, is nothing that
// the chain asks.
func (a *audit) settledOnChain(e *typev1.Entry, p *auditedPayment, s *typev1.Settlement) error {
	if len(e.GetSignature()) > 0 && !frost.VerifySignature(a.groupKey, p.message, e.GetSignature()) {
		return refusal("entry", "signature", "is not the group key's over the pinned message")
	}
	return a.carries("settlement", p, s.GetTransaction())
}

// chainTransfer verifies tokens that came in on a chain, or left it without a payment.
func (a *audit) chainTransfer(e *typev1.Entry) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	m := new(typev1.ChainTransfer)
	if _, err := a.statement(e, 0, m, a.i.EveryKey(typev1.Purpose_PURPOSE_LEDGER)...); err != nil {
		return err
	}
	const piece = "chain-transfer"
	units, err := resource.ParseUnits(m.GetUnits())
	switch {
	case err != nil:
		return err
	case m.GetInstallation() != a.i.ID() || m.GetWallet() != a.wallet:
		return refusal(piece, "wallet", "is another wallet")
	case m.GetOutflow() != (e.GetKind() == typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW):
		return refusal(piece, "outflow", "is not what the entry's kind says")
	case m.GetAsset() != e.GetAsset() || m.GetUnits() != e.GetUnits():
		return refusal(piece, "units", "are not the entry's")
	case m.GetPayment() != e.GetPayment():
		return refusal(piece, "payment", "is not the entry's")
	}
	if err := a.lands(piece, m.GetAsset(), m.GetTransaction()); err != nil {
		return err
	}
	if !m.GetOutflow() {
		a.move(m.GetAsset(), units, 0)
		return nil
	}
	if m.GetPayment() != "" && !a.calledDead(m) {
		return refusal(piece, "transaction", "carries no message of the payment that the ledger had called dead")
	}
	a.move(m.GetAsset(), -units, 0)
	a.outflows = append(a.outflows, Outflow{
		Entry: e.GetNumber(), Asset: m.GetAsset(), Units: units,
		Transaction: [64]byte(m.GetTransaction()), Slot: m.GetSlot(), Payment: m.GetPayment(),
	})
	return nil
}

// calledDead reports whether an outflow is a message of the payment that it names, which the ledger had called dead.
func (a *audit) calledDead(m *typev1.ChainTransfer) bool {
	p := a.payments[m.GetPayment()]
	if p == nil || p.intent.GetAsset() != m.GetAsset() || p.intent.GetUnits() != m.GetUnits() {
		return false
	}
	for _, dead := range p.calledDead {
		if dead.names(m.GetTransaction()) {
			return true
		}
	}
	return false
}

// diedOnChain verifies how a hold on a chain ended: with a transaction that failed, or with the ledger's word that there is none.
func (a *audit) diedOnChain(p *auditedPayment, d *typev1.DeadMessage) error {
	if len(d.GetTransaction()) > 0 {
		return a.carries("dead-message", p, d.GetTransaction())
	}
	p.calledDead = append(p.calledDead, p.onWire)
	return nil
}

// recount counts what waits for a chain in the present to which the wallet's time was set back, where no limit would see it otherwise:
// unlike a message on the book it may land whatever the ledger's clock shows.
func (a *audit) recount(quarter int64) {
	for _, p := range a.payments {
		if p.state == authorized && p.onChain() && p.quarter > quarter {
			a.count(p, -p.units)
			p.quarter = quarter
			a.count(p, p.units)
		}
	}
}

// stated is the balance that entries state. What left a chain past the ledger may have been held: nothing is available then, and what
// comes in makes good for it first.
func stated(asset string, b Balance) Balance {
	if guardrails.RailOf(asset) == railSolana {
		b.Available = max(0, b.Available)
	}
	return b
}

// plus adds up, and reports whether the sum fits its number.
func plus(a, b int64) (sum int64, fits bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return a, false
	}
	return a + b, true
}

// checkLanded checks a transaction that the ledger's statement names: a signature over the payment's message by the key that pays its
// fee, which in a transfer is the wallet itself.
func checkLanded(piece string, intent *typev1.Intent, message, transaction []byte) error {
	if intent.GetRail() == typev1.Rail_RAIL_BOOK {
		return nil
	}
	m, err := decodeChain(intent, message)
	if err != nil {
		return err
	}
	if p := (pinnedMessage{bytes: bytes.Clone(message), feePayer: m.FeePayer}); !p.names(transaction) {
		return refusal(piece, "transaction", "is not a signature over the payment's message by the key that pays its fee")
	}
	return nil
}
