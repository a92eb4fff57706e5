package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
)

const (
	// accountEvery is how often each account is looked at.
	accountEvery = 15 * time.Second
	// accountFresh is how old the last look may be for who asks for a balance.
	accountFresh = 5 * time.Second
	// freshenTimeout bounds how long somebody waits for a balance to be fresh: an endpoint that is down delays nothing longer.
	freshenTimeout = 3 * time.Second
	// accountsPerTick bounds the accounts of one round.
	accountsPerTick = 64
	// looksKept bounds the looks that are remembered; what was looked at lately is kept beyond it.
	looksKept = 1 << 14
	// partsPerLook bounds the parts of an account's history that one look takes in; the next look goes on.
	partsPerLook = 8
)

// accountLook is a look at an account that is under way, or the last one.
type accountLook struct {
	done         chan struct{}
	began, ended time.Time // The end is zero while it is under way.
	// aborted says that who had begun it went away before it could end. The round does not count such a look, or callers who wait for less
	// time than the endpoints take could keep an account from ever being taken in.
	aborted bool
}

// begin starts a look at an account, or says which look to wait for. It is nil where the last one ended less than fresh ago.
func (l *lookout) begin(k balanceKey, now time.Time, fresh time.Duration) (own bool, look *accountLook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.accounts[k]; known != nil {
		switch {
		case known.ended.IsZero():
			return false, known
		case known.aborted && fresh == accountEvery:
		case now.Sub(known.ended) < fresh:
			return false, nil
		}
	}
	if l.accounts == nil {
		l.accounts = make(map[balanceKey]*accountLook)
	}
	look = &accountLook{done: make(chan struct{}), began: now}
	l.accounts[k] = look
	return true, look
}

// wait waits for a look to end and says whether it has: for as long as it may take, or only while it is young.
func (a *accountLook) wait(ctx context.Context, long bool) bool {
	if !long {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, a.began.Add(freshenTimeout))
		defer cancel()
	}
	select {
	case <-a.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// end notes that a look has ended, whether it learned something or not: endpoints that are down are not asked by every caller again.
func (l *lookout) end(look *accountLook, now time.Time, aborted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	look.ended, look.aborted = now, aborted
	close(look.done)
	// What ended long ago is as good as never looked at.
	for k, one := range l.accounts {
		if len(l.accounts) <= looksKept {
			break
		}
		if !one.ended.IsZero() && now.Sub(one.ended) > accountEvery {
			delete(l.accounts, k)
		}
	}
}

// lookAtAccounts takes in what happened to accounts: to all, or to the next ones in turn that were not looked at just now.
func (s *Service) lookAtAccounts(ctx context.Context, all bool) error {
	l := &s.chain.lookout
	fresh, after := accountEvery, l.accountTurn()
	if all {
		fresh, after = 0, balanceKey{}
	}
	var failures []error
	for {
		var keys []balanceKey
		err := s.store.look(ctx, func(v *view) error {
			return v.cursors(ctx, after, accountsPerTick, func(k balanceKey, _ solanarpc.Cursor) { keys = append(keys, k) })
		})
		if err != nil {
			return err
		}
		// What is wrong with one account keeps no other from its turn.
		failures = append(failures, forEach(ctx, keys, func(k balanceKey) error { return s.lookAtAccount(ctx, k, fresh) }))
		if after = (balanceKey{}); len(keys) == accountsPerTick {
			after = keys[len(keys)-1]
		}
		if all && len(keys) == accountsPerTick {
			continue
		}
		if !all {
			l.goOn(after)
		}
		return errors.Join(failures...)
	}
}

// accountTurn is after which account the next round begins, goOn moves it.
func (l *lookout) accountTurn() balanceKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.afterAccount
}

func (l *lookout) goOn(after balanceKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.afterAccount = after
}

// freshen takes in what happened to a wallet's account on the chain, if it was not looked at just now. It is bounded in time, and what
// it cannot learn it leaves as it is.
func (s *Service) freshen(ctx context.Context, wallet, asset string) {
	if s.chain == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freshenTimeout)
	defer cancel()
	if err := s.lookAtAccount(ctx, balanceKey{wallet, asset}, accountFresh); err != nil && ctx.Err() == nil {
		s.logger.ErrorContext(ctx, "a look at the chain failed", "at", wallet, "error", err)
	}
}

// lookAtAccount takes in what happened to an account, unless that was done less than fresh ago. Whoever comes while somebody looks waits
// for that look, if it has not already been going on for so long that an endpoint must be down. What the endpoints do not show is no
// error: it is taken in when they do.
func (s *Service) lookAtAccount(ctx context.Context, k balanceKey, fresh time.Duration) error {
	own, look := s.chain.lookout.begin(k, time.Now(), fresh)
	for !own {
		if look == nil {
			return nil
		}
		if !look.wait(ctx, fresh == 0) {
			return nil
		}
		own, look = s.chain.lookout.begin(k, time.Now(), fresh)
	}
	defer func() { s.chain.lookout.end(look, time.Now(), ctx.Err() != nil) }()
	var w wallet
	var cursor solanarpc.Cursor
	var ok bool
	err := s.store.look(ctx, func(v *view) (err error) {
		if cursor, ok, err = v.cursor(ctx, k); err != nil || !ok {
			return err
		}
		w, _, err = v.pin(ctx, k.account)
		return err
	})
	if err != nil || !ok {
		return err
	}
	account, ok := s.tokenAccount(w, k.asset)
	if !ok {
		return errors.New("an account is on another network than the one that is configured: " + k.account + " " + k.asset)
	}
	for range partsPerLook {
		asking, cancel := context.WithTimeout(ctx, outcomeTimeout)
		part, err := s.chain.client.Transfers(asking, account, cursor)
		cancel()
		if err != nil {
			if ctx.Err() == nil && s.chain.lookout.complain(time.Now()) {
				s.logger.WarnContext(ctx, "the endpoints do not show an account's history", "wallet", k.account, "asset", k.asset, "why", err)
			}
			s.instruments.unknown.Count(ctx, instrument.AtAccount)
			return nil //nolint:nilerr // What is not shown now is taken in later.
		}
		if part.Next == cursor {
			return nil
		}
		h := &history{key: k, from: cursor, Transfers: part}
		err = s.write(ctx, &op{needs: h.needs(), decide: func(st *state) error { return decideHistory(st, h) }})
		if err != nil {
			return err
		}
		if h.outflows > 0 {
			s.logger.WarnContext(ctx, "tokens left a wallet on the chain without a payment", "wallet", k.account, "asset", k.asset,
				"transactions", h.outflows)
		}
		if cursor = part.Next; !part.More {
			return nil
		}
	}
	return nil
}
