package ledger

import (
	"bytes"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// operation is an operator's statement, verified under an operator key.
type operation struct {
	envelope *typev1.Envelope
	digest   evidence.Digest
}

func (o operation) entry(kind typev1.EntryKind) *typev1.Entry {
	return &typev1.Entry{Kind: kind, Caller: "operator", Statements: []*typev1.Envelope{o.envelope}}
}

// decideDeposit issues book money to a wallet. The statement's id counts once. What is issued in all fits an int64, so no
// later sum of it can overflow.
func decideDeposit(s *state, o operation, d *typev1.Deposit) error {
	if before, ok := s.deposits.get(d.GetDepositId()); ok {
		if before.digest != o.digest {
			return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the deposit id was used with other content", "field", "deposit_id")
		}
		return nil
	}
	at, err := s.openTime(d.GetWallet())
	if err != nil {
		return err
	}
	if r := s.checkTakes(d.GetWallet()); r != nil {
		return r
	}
	units, parse := resource.ParseUnits(d.GetUnits())
	if parse != nil {
		return parse
	}
	supply, ok := added(s.supply.value(d.GetAsset()), units)
	if !ok || !s.move(balanceKey{d.GetWallet(), d.GetAsset()}, units, 0) {
		return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the money in issue would not fit its number", "field", "units")
	}
	s.supply.put(s, d.GetAsset(), supply)
	s.deposits.put(s, d.GetDepositId(), deposit{o.digest, d.GetWallet(), d.GetAsset(), units})
	e := o.entry(typev1.EntryKind_ENTRY_KIND_DEPOSIT)
	e.Asset, e.Units = d.GetAsset(), d.GetUnits()
	s.append(&draft{chain: d.GetWallet(), entry: e}, at)
	return nil
}

// decideRedemption takes out of issue what a payment brought to the redemption account. It debits no wallet: that was the
// payment's doing, under guard rails like any other.
func decideRedemption(s *state, o operation, r *typev1.Redemption) error {
	if _, ok := s.redemptions.get(r.GetPayment()); ok {
		return nil // A redemption says nothing but its payment: every repeat is the same.
	}
	at, err := s.openTime(r.GetWallet())
	if err != nil {
		return err
	}
	_, id, parse := resource.ParsePayment(r.GetPayment())
	if parse != nil {
		return parse
	}
	p, ok := s.payments.get(paymentKey{r.GetWallet(), id})
	switch {
	case !ok:
		return errNotFound
	case p.state != settled:
		return refuse(typev1.Reason_REASON_WRONG_STATE, "only a settled payment is redeemed", "state", stateName(p.state))
	case p.onChain() || p.payee != redemption:
		return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "the payment is not to the redemption account", "field", "payment")
	}
	if !s.move(balanceKey{redemption, p.asset}, -p.units, 0) {
		panic("ledger: the redemption account lacks a settled payment")
	}
	s.supply.put(s, p.asset, s.supply.value(p.asset)-p.units)
	s.redemptions.put(s, p.name(), redeemed{o.digest, p.asset, p.units})
	e := o.entry(typev1.EntryKind_ENTRY_KIND_REDEMPTION)
	// No asset: the wallet's balance is not concerned.
	e.Payment, e.PaymentState, e.Units = p.name(), settled, resource.FormatUnits(p.units)
	s.append(&draft{chain: p.wallet, entry: e}, at)
	return nil
}

// decideAcceptLoss lets a wallet go on whose agent has seen an entry that the ledger lost.
func decideAcceptLoss(s *state, o operation, l *typev1.AcceptLoss) error {
	lost := lossKey{l.GetWallet(), int64(l.GetLostEntry()), evidence.Digest(l.GetLostHash())}
	if ours, ok := s.hashes.get(entryKey{lost.wallet, lost.number}); ok && ours == lost.hash {
		return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "the entry is not lost", "field", "lost_entry")
	}
	if s.losses.value(lost) {
		return nil
	}
	at, err := s.openTime(l.GetWallet())
	if err != nil {
		return err
	}
	tip := s.chains.value(l.GetWallet())
	if int64(l.GetEntry()) != tip.number || !bytes.Equal(tip.hash, l.GetEntryHash()) {
		return refuse(typev1.Reason_REASON_EVIDENCE_MISMATCH, "the statement does not name the journal's newest entry",
			"evidence", "accept-loss", "field", "entry")
	}
	s.losses.put(s, lost, true)
	s.append(&draft{chain: l.GetWallet(), entry: o.entry(typev1.EntryKind_ENTRY_KIND_ACCEPT_LOSS)}, at)
	return nil
}

// decideSetTime sets a wallet's row back after the clock had jumped ahead. The wallet's AUTHORIZED book payments end with it:
// their messages expire in a future that will come a second time, so without a pin nothing of them settles. Those on a chain may land
// whatever the ledger's clock shows; they are counted in the present from now on, where no limit would see them otherwise.
func decideSetTime(s *state, o operation, t *typev1.SetTime) error {
	k := setTimeKey{t.GetWallet(), t.GetStatementId()}
	if before, ok := s.setTimes.get(k); ok {
		if before != o.digest {
			return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the statement id was used with other content", "field", "statement_id")
		}
		return nil
	}
	if _, ok := s.wallets.get(t.GetWallet()); !ok {
		return errNotActive
	}
	c := s.chains.value(t.GetWallet())
	switch {
	case t.GetTimeMillis() > s.nowMillis+evidence.Tolerance.Milliseconds():
		return refuse(typev1.Reason_REASON_EVIDENCE_STALE, "the time is ahead of the ledger's clock",
			"evidence", "set-time", "field", "time_millis")
	case t.GetTimeMillis() >= c.clockMillis:
		return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "the wallet's time is not ahead of it", "field", "time_millis")
	}
	c.clockMillis = t.GetTimeMillis()
	s.chains.put(s, t.GetWallet(), c)
	at := t.GetTimeMillis()
	s.setTimes.put(s, k, o.digest)
	s.append(&draft{chain: t.GetWallet(), entry: o.entry(typev1.EntryKind_ENTRY_KIND_SET_TIME)}, at)
	for _, key := range s.authorized[t.GetWallet()] {
		p, ok := s.payments.get(key)
		switch {
		case !ok || p.state != authorized:
		case p.onChain():
			s.recount(p, guardrails.Quarter(time.UnixMilli(at)))
		default:
			s.die(p, at, landing{})
		}
	}
	return nil
}

// recount counts an AUTHORIZED payment in an earlier quarter hour than the one that it was counted in.
func (s *state) recount(p payment, quarter int64) {
	if p.quarter <= quarter {
		return
	}
	if !s.count(p, -1) {
		panic("ledger: a payment is not in its sums")
	}
	p.quarter = quarter
	if !s.count(p, 1) {
		panic("ledger: a sum does not fit its number")
	}
	s.payments.put(s, p.key(), p)
}

// openTime is the time of a wallet for a statement about it: the wallet is pinned and the clock is not behind.
func (s *state) openTime(walletName string) (int64, error) {
	if _, ok := s.wallets.get(walletName); !ok {
		return 0, errNotActive
	}
	at, behind := s.time(walletName)
	if behind {
		return 0, refuseClock(at, s.nowMillis)
	}
	return at, nil
}
