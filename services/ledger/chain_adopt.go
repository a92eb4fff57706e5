package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// adoptPage is how many wallets one operation takes accounts up for.
const adoptPage = 64

// accounts are a wallet's accounts for every asset that the rail takes; nil has none.
func (r *rail) accounts(walletName string) []balanceKey {
	if r == nil {
		return nil
	}
	keys := make([]balanceKey, 0, len(r.assets))
	for _, asset := range r.assets {
		keys = append(keys, balanceKey{walletName, asset})
	}
	return keys
}

// adoptEvery adopts until it has succeeded once, or ctx ends: a ledger on a full disk starts without.
func (s *Service) adoptEvery(ctx context.Context) {
	for {
		err := s.adopt(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.logger.ErrorContext(ctx, "accounts on the chain could not be taken up", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.chain.interval):
		}
	}
}

// adopt takes up the accounts on the chain of every wallet whose guard rails allow to pay from them: those that were set before the
// ledger had the rail. Later ones are taken up with their guard rails.
func (s *Service) adopt(ctx context.Context) error {
	for last := ""; ; {
		var names []string
		err := s.store.look(ctx, func(v *view) error {
			return v.each(ctx, v.store.dialect.readWallets, func(r scanner) error {
				var name string
				err := r.Scan(&name)
				names = append(names, name)
				return err
			}, last, adoptPage)
		})
		if err != nil || len(names) == 0 {
			return err
		}
		last = names[len(names)-1]
		need := needs{wallets: names}
		for _, name := range names {
			need.cursors = append(need.cursors, s.chain.accounts(name)...)
		}
		err = s.write(ctx, &op{needs: need, decide: func(st *state) error {
			for _, k := range need.cursors {
				if w, ok := st.wallets.get(k.account); ok {
					st.adopt(w, k)
				}
			}
			return nil
		}})
		if err != nil {
			return err
		}
	}
}

// adopt takes up a wallet's account on a chain, from its beginning, if its guard rails allow to pay from it.
func (s *state) adopt(w wallet, k balanceKey) {
	doc := w.head.Document
	if !slices.Contains(doc.GetRails(), typev1.Rail_RAIL_SOLANA) || !slices.Contains(doc.GetAssets(), k.asset) {
		return
	}
	if _, known := s.cursors.get(k); known {
		return
	}
	s.cursors.put(s, k, solanarpc.Cursor{})
	s.balances.put(s, k, s.balances.value(k))
}
