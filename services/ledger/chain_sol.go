package ledger

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// solTimeout bounds asking for a payer's SOL: an agent waits for the answer.
	solTimeout = 5 * time.Second
	// solShared is how long an answer lets further transfers pass. What is final is some 13 s old when a node tells it, and transfers on
	// their way are not in it, so that a little more changes nothing: a message that cannot land for want of SOL ends by proof, as ever.
	solShared = 5 * time.Second
	// solKept bounds the answers that are remembered. It is more than there are payers in so many seconds.
	solKept = 4096
)

// answers remembers for a moment what the chain's endpoints said of accounts, so that a busy wallet does not wait for them with each
// transfer. They are kept in memory alone.
type answers[T any] struct {
	flight singleflight.Group
	mu     sync.Mutex
	given  map[string]givenAnswer[T]
}

// givenAnswer is an answer, and when it was asked for.
type givenAnswer[T any] struct {
	value T
	at    time.Time
}

// find is an answer of at most solShared ago.
func (s *answers[T]) find(account string, now time.Time) (value T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.given[account]
	age := now.Sub(known.at)
	return known.value, ok && age >= 0 && age <= solShared
}

// keep remembers an answer. When there are too many it begins anew, which costs calls alone.
func (s *answers[T]) keep(account string, value T, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given == nil || len(s.given) >= solKept {
		s.given = make(map[string]givenAnswer[T])
	}
	s.given[account] = givenAnswer[T]{value, now}
}

// get is an answer that is remembered, unless it has to be fresh, or else what ask says, asked once for all who wait for it. Whoever gives
// up waiting does not end it for the others.
func (s *answers[T]) get(
	ctx context.Context, account string, now time.Time, fresh bool, ask func(context.Context) (T, error),
) (value T, remembered bool, err error) {
	if value, ok := s.find(account, now); ok && !fresh {
		return value, true, nil
	}
	asked := s.flight.DoChan(account, func() (any, error) {
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), solTimeout)
		defer cancel()
		value, err := ask(asking)
		if err == nil {
			s.keep(account, value, now)
		}
		return value, err
	})
	select {
	case <-ctx.Done():
		return value, false, ctx.Err()
	case answer := <-asked:
		value, ok := answer.Val.(T)
		if answer.Err == nil && !ok {
			return value, false, errors.New("the answer is of another kind")
		}
		return value, false, answer.Err
	}
}

// sol is what a transfer's payer has in SOL, and whether it opens the recipient's token account. Remembered says that part of it was.
type sol struct {
	lamports   int64
	opens      bool
	remembered bool
}

// short refuses a transfer that could not pay its fee, or of which nobody knows whether it could. What is remembered may let a transfer
// pass and never refuses it: who has just put SOL there is not told otherwise.
func (r *rail) short(ctx context.Context, m evidence.Message, now time.Time, failed func(error)) *refusal {
	has, err := r.sol(ctx, m, now, false)
	if err == nil && has.remembered && solanarpc.TransferNeeds(has.lamports, has.opens) > 0 {
		has, err = r.sol(ctx, m, now, true)
	}
	if err != nil {
		failed(err)
		return refuse(typev1.Reason_REASON_UNAVAILABLE, "the chain's endpoints do not say whether the wallet can pay the fee")
	}
	needs := solanarpc.TransferNeeds(has.lamports, has.opens)
	if needs == 0 {
		return nil
	}
	return refuse(typev1.Reason_REASON_INSUFFICIENT_FUNDS, "the wallet has not enough SOL for the fee of a transfer",
		"available_lamports", strconv.FormatInt(has.lamports, 10), "needed_lamports", strconv.FormatInt(needs, 10),
		"address", solana.Key(m.Payer).String())
}

// sol asks about a transfer's payer and its recipient.
func (r *rail) sol(ctx context.Context, m evidence.Message, now time.Time, fresh bool) (has sol, err error) {
	var knowsPayer, knowsRecipient bool
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		has.lamports, knowsPayer, err = r.lamports.get(ctx, string(m.Payer[:]), now, fresh, func(ctx context.Context) (int64, error) {
			return r.client.Lamports(ctx, m.Payer)
		})
		return err
	})
	g.Go(func() (err error) {
		account := string(m.Recipient[:]) + m.Asset
		has.opens, knowsRecipient, err = r.opens.get(ctx, account, now, fresh, func(ctx context.Context) (bool, error) {
			balance, err := r.client.Balance(ctx, m.Recipient, r.mints[m.Asset])
			return !balance.Exists, err
		})
		return err
	})
	err = g.Wait()
	has.remembered = knowsPayer || knowsRecipient
	return has, err
}
