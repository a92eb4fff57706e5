package ledger

import (
	"context"
	"sync"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// OpenAccount pins a wallet once and for ever.
func (s *Service) OpenAccount(ctx context.Context, req *ledgerv1.OpenAccountRequest) (*ledgerv1.OpenAccountResponse, error) {
	if err := s.openAccount(ctx, req.GetDocuments()); err != nil {
		return nil, s.answer(ctx, "OpenAccount", err)
	}
	return &ledgerv1.OpenAccountResponse{}, nil
}

func (s *Service) openAccount(ctx context.Context, d *typev1.WalletDocuments) error {
	if len(d.GetGuardRails()) != 1 {
		return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "an account is opened with guard rails number 0 alone",
			"field", "documents.guard_rails")
	}
	w, err := evidence.CheckWallet(s.installation, d.GetRegistration(), d.GetGuardRails()[0], d.GetRecord())
	if err != nil {
		return err
	}
	o := &opening{wallet: w, registration: d.GetRegistration(), record: d.GetRecord()}
	return s.write(ctx, &op{
		needs: needs{
			wallets: []string{w.Name}, handles: []string{w.Handle}, keys: [][32]byte{w.GroupKey},
			versions: []versionKey{{w.Name, w.Claim.Digest}},
		},
		decide: func(st *state) error { return decideOpen(st, o) },
	})
}

// GetAccount answers with balances and whether the wallet is frozen.
func (s *Service) GetAccount(ctx context.Context, req *ledgerv1.GetAccountRequest) (*ledgerv1.GetAccountResponse, error) {
	s.freshenAll(ctx, req.GetWallet())
	resp, err := s.getAccount(ctx, req.GetWallet())
	return resp, s.answer(ctx, "GetAccount", err)
}

// freshenAll takes in what happened to all of a wallet's accounts on the chain.
func (s *Service) freshenAll(ctx context.Context, name string) {
	var looks sync.WaitGroup
	for _, k := range s.chain.accounts(name) {
		looks.Go(func() { s.freshen(ctx, k.account, k.asset) })
	}
	looks.Wait()
}

func (s *Service) getAccount(ctx context.Context, name string) (*ledgerv1.GetAccountResponse, error) {
	if _, err := resource.ParseWallet(name); err != nil {
		return nil, err
	}
	resp := new(ledgerv1.GetAccountResponse)
	var tip chain
	now := s.clock().UnixMilli()
	err := s.store.look(ctx, func(v *view) error {
		w, _, err := v.pin(ctx, name)
		if err != nil {
			return err
		}
		if tip, err = v.tip(ctx, name); err != nil {
			return err
		}
		if _, resp.Frozen, err = v.frozen(ctx, w); err != nil {
			return err
		}
		resp.Balances, err = v.balances(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	resp.LedgerTime = timestamp(max(tip.clockMillis, now))
	resp.Head, err = s.journalHead(name, tip, now)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// journalHead signs the newest entry of a wallet.
func (s *Service) journalHead(name string, tip chain, now int64) (*typev1.Envelope, error) {
	return s.sign(&typev1.JournalHead{
		Installation: s.installation.ID(), Wallet: name, Entry: uint64(tip.number), EntryHash: tip.hash, TimeMillis: max(tip.clockMillis, now),
	})
}
