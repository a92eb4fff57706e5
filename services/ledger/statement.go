package ledger

import (
	"context"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ApplyStatement records an operator's signed statement. None of them debits a wallet.
func (s *Service) ApplyStatement(ctx context.Context, req *ledgerv1.ApplyStatementRequest) (*ledgerv1.ApplyStatementResponse, error) {
	account, err := s.applyStatement(ctx, req.GetStatement())
	if err != nil {
		return nil, s.answer(ctx, "ApplyStatement", err)
	}
	return &ledgerv1.ApplyStatementResponse{Account: account}, nil
}

func (s *Service) applyStatement(ctx context.Context, e *typev1.Envelope) (*ledgerv1.GetAccountResponse, error) {
	m, err := evidence.CheckOperator(s.installation, e)
	if err != nil {
		return nil, err
	}
	o := operation{envelope: e, digest: evidence.EnvelopeDigest(e)}
	var name string
	write := new(op)
	switch m := m.(type) {
	case *typev1.Deposit:
		name = m.GetWallet()
		write.needs = needs{deposits: []string{m.GetDepositId()}, supply: []string{m.GetAsset()}}
		write.decide = func(st *state) error { return decideDeposit(st, o, m) }
	case *typev1.Redemption:
		name = m.GetWallet()
		key, err := paymentOf(m.GetPayment())
		if err != nil {
			return nil, err
		}
		write.needs = needs{redemptions: []string{m.GetPayment()}, payments: []paymentKey{key}, supply: []string{s.installation.BookUSD()}}
		write.decide = func(st *state) error { return decideRedemption(st, o, m) }
	case *typev1.AcceptLoss:
		name = m.GetWallet()
		write.needs = needs{
			losses: []lossKey{{name, int64(m.GetLostEntry()), evidence.Digest(m.GetLostHash())}},
			hashes: []entryKey{{name, int64(m.GetLostEntry())}},
		}
		write.decide = func(st *state) error { return decideAcceptLoss(st, o, m) }
	case *typev1.SetTime:
		name = m.GetWallet()
		write.needs = needs{setTimes: []setTimeKey{{name, m.GetStatementId()}}, authorized: []string{name}}
		write.needs.quarters = []int64{guardrails.Quarter(time.UnixMilli(m.GetTimeMillis()))}
		write.alone = true // It moves the time that the windows of every other operation were loaded for.
		write.decide = func(st *state) error { return decideSetTime(st, o, m) }
	default:
		return nil, refuse(typev1.Reason_REASON_BAD_STATEMENT, "the statement is none that a ledger applies", "statement", "envelope")
	}
	if _, err := resource.ParseWallet(name); err != nil {
		return nil, err
	}
	write.needs.wallets = []string{name}
	if err := s.write(ctx, write); err != nil {
		return nil, err
	}
	account, err := s.getAccount(ctx, name)
	return account, done(err, movedUnknown)
}
