package ledger

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
)

const (
	// outcomeTimeout bounds one look at a message, or at a part of an account's history: some ten calls to each endpoint.
	outcomeTimeout = 20 * time.Second
	// looksAtOnce is how many messages, and how many accounts, are looked at at the same time: endpoints count calls.
	looksAtOnce = 4
	// messagesPerTick bounds the messages of one round, those that have waited longest first.
	messagesPerTick = 64
	// livePage is how many rows are read at once.
	livePage = 256
	// slowest is how rarely a message is looked at that has stayed unproven for long: what is missing then is an endpoint.
	slowest = time.Minute
	// complainAfter is how long a message may stay unproven before the log says so: its window and finality take some two minutes.
	complainAfter = 5 * time.Minute
	// complainEvery bounds what the log says of messages and accounts that the endpoints do not show.
	complainEvery = time.Minute
)

// lookout is what the ledger remembers of its looks at the chain. All of it may be lost: the next look begins anew.
type lookout struct {
	mu       sync.Mutex
	messages map[messageKey]pace
	accounts map[balanceKey]*accountLook
	// after is where the round of accounts goes on.
	after balanceKey
	// complained is when the log was last told that something cannot be proven.
	complained time.Time
}

// pace is when a live message was first and last looked at, by this process's own clock, and since when its units are held, by the
// ledger's.
type pace struct {
	first, last time.Time
	heldMillis  int64
}

// due says whether the message is looked at again: the more rarely the longer nothing came of it.
func (p pace) due(now time.Time) bool {
	return p.last.IsZero() || now.Sub(p.last) >= min(slowest, p.last.Sub(p.first)/8)
}

// liveMessage is a message of which nothing is proven yet.
type liveMessage struct {
	key messageKey
	chainMessage
}

// watchChain looks at messages and at accounts on the chain, until ctx ends. Neither waits for the other.
func (s *Service) watchChain(ctx context.Context) {
	var rounds sync.WaitGroup
	rounds.Go(func() { s.every(ctx, "messages", s.lookAtMessages) })
	rounds.Go(func() { s.every(ctx, "accounts", s.lookAtAccounts) })
	rounds.Wait()
}

func (s *Service) every(ctx context.Context, what string, round func(ctx context.Context, all bool) error) {
	ticker := time.NewTicker(s.chain.interval)
	defer ticker.Stop()
	for {
		if err := round(ctx, false); err != nil && ctx.Err() == nil {
			s.logger.ErrorContext(ctx, "a look at the chain failed", "at", what, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// LookAtChain looks once at every message and account, however lately they were looked at. The service looks by itself at its interval; a
// test that moves a chain calls it.
func (s *Service) LookAtChain(ctx context.Context) error {
	if s.chain == nil {
		return nil
	}
	return errors.Join(s.lookAtMessages(ctx, true), s.lookAtAccounts(ctx, true))
}

// lookAtMessages asks what has become of messages, of all or of those that are due.
func (s *Service) lookAtMessages(ctx context.Context, all bool) error {
	var live []liveMessage
	var after messageKey
	for {
		n := len(live)
		err := s.store.look(ctx, func(v *view) error {
			return v.liveMessages(ctx, after, livePage, func(k messageKey, m chainMessage) { live = append(live, liveMessage{k, m}) })
		})
		if err != nil {
			return err
		}
		if len(live)-n < livePage {
			break
		}
		after = live[len(live)-1].key
	}
	due := s.chain.lookout.due(live, time.Now(), all)
	return forEach(ctx, due, func(one liveMessage) error { return s.lookAtMessage(ctx, one) })
}

// due chooses the messages of a round, and forgets those that are no longer live.
func (l *lookout) due(live []liveMessage, now time.Time, all bool) []liveMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.messages
	l.messages = make(map[messageKey]pace, len(live))
	var due []liveMessage
	for _, one := range live {
		p := before[one.key]
		l.messages[one.key] = p
		if all || p.due(now) {
			due = append(due, one)
		}
	}
	if all {
		return due
	}
	slices.SortStableFunc(due, func(a, b liveMessage) int { return l.messages[a.key].last.Compare(l.messages[b.key].last) })
	return due[:min(len(due), messagesPerTick)]
}

// looked notes a look at a message whose units have been held since a time of the ledger's, and says for how long nothing came of it.
func (l *lookout) looked(k messageKey, now time.Time, heldMillis int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages == nil {
		l.messages = make(map[messageKey]pace)
	}
	p := l.messages[k]
	if p.first.IsZero() {
		p.first = now
	}
	p.last, p.heldMillis = now, heldMillis
	l.messages[k] = p
	return now.Sub(p.first)
}

// over forgets a message that is live no more.
func (l *lookout) over(k messageKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.messages, k)
}

// oldestMillis is since when, by the ledger's time, units have been held for the message that has been unproven the longest; 0 without one.
func (l *lookout) oldestMillis() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest int64
	for _, p := range l.messages {
		if p.heldMillis != 0 && (oldest == 0 || p.heldMillis < oldest) {
			oldest = p.heldMillis
		}
	}
	return oldest
}

// complain says whether the log is told that something cannot be proven: now and then.
func (l *lookout) complain(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.complained) < complainEvery {
		return false
	}
	l.complained = now
	return true
}

// forEach does something for each item, some at once, and returns what was wrong with any. One that fails stops no other.
func forEach[T any](ctx context.Context, items []T, do func(T) error) error {
	var group sync.WaitGroup
	places := make(chan struct{}, looksAtOnce)
	failures := make([]error, len(items))
	for i, item := range items {
		select {
		case <-ctx.Done():
			group.Wait()
			return errors.Join(append(failures, ctx.Err())...)
		case places <- struct{}{}:
		}
		group.Go(func() {
			defer func() { <-places }()
			failures[i] = do(item)
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// lookAtMessage asks what has become of a message and takes it over. A transfer of which nothing is proven is sent again, also if an
// endpoint shows it, for that one may be the only one that does. It is not if its wallet is frozen: what is on its way cannot be called
// back, but nothing more is done for it.
func (s *Service) lookAtMessage(ctx context.Context, one liveMessage) error {
	key := paymentKey{one.key.wallet, one.id}
	var w wallet
	var p payment
	var frozen bool
	err := s.store.look(ctx, func(v *view) (err error) {
		if w, _, err = v.pin(ctx, key.wallet); err != nil {
			return err
		}
		if _, frozen, err = v.frozen(ctx, w); err != nil {
			return err
		}
		p, err = v.payment(ctx, key)
		return err
	})
	if err != nil {
		return err
	}
	account, ok := s.tokenAccount(w, p.asset)
	if !ok {
		s.chain.lookout.looked(one.key, time.Now(), p.updatedMillis)
		return errors.New("a message waits for another network than the one that is configured: " + key.name())
	}
	o := &outcome{key: one.key}
	asking, cancel := context.WithTimeout(ctx, outcomeTimeout)
	defer cancel()
	var sending sync.WaitGroup
	if one.signature != nil && !frozen {
		sending.Go(func() { s.sendAgain(asking, one) })
	}
	o.Outcome, err = s.chain.client.Outcome(asking, solanarpc.Watch{
		Account: account, Payer: w.groupKey, Message: one.message,
		BlockHash: solanarpc.BlockHash{
			Hash: blockHashOf(one.message), Slot: uint64(one.slot), LastValidHeight: uint64(one.lastValidHeight),
		},
	})
	sending.Wait()
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		o.Outcome, err = solanarpc.Outcome{Why: "the endpoints took longer than " + outcomeTimeout.String()}, nil
	}
	if err != nil {
		s.chain.lookout.looked(one.key, time.Now(), p.updatedMillis)
		return err
	}
	now := time.Now()
	waits := s.chain.lookout.looked(one.key, now, p.updatedMillis)
	if o.State == solanarpc.Unknown {
		s.instruments.unknown.Count(ctx, instrument.AtMessage)
	}
	if o.State == solanarpc.Unknown && waits > complainAfter && s.chain.lookout.complain(now) {
		s.logger.WarnContext(ctx, "a message on the chain is not proven", "payment", key.name(), "since", waits, "why", o.Why)
	}
	if o.State == solanarpc.Unknown && (!o.Seen || one.seen) {
		return nil
	}
	err = s.write(ctx, &op{
		needs:  needs{messages: []messageKey{one.key}},
		decide: func(st *state) error { return decideOutcome(st, o) },
	})
	if err != nil {
		return err
	}
	if o.State != solanarpc.Unknown {
		s.chain.lookout.over(one.key)
	}
	s.instruments.proven(ctx, o)
	return nil
}

// sendAgain hands a transfer to every endpoint. Whether it lands is nothing that they are believed.
func (s *Service) sendAgain(ctx context.Context, one liveMessage) {
	if err := s.sendTransfer(ctx, one.message, one.signature); err != nil && s.chain.lookout.complain(time.Now()) {
		s.logger.WarnContext(ctx, "no endpoint took a transfer", "payment", paymentKey{one.key.wallet, one.id}.name(), "error", err)
	}
}

// sendTransfer hands a message that its wallet alone signs to every endpoint.
func (s *Service) sendTransfer(ctx context.Context, message, signature []byte) error {
	wire, err := solana.Wire(message, solana.Signature(signature))
	if err != nil {
		return err
	}
	return s.chain.client.Send(ctx, wire)
}

// blockHashOf is the block hash that a message of version 0 names, or zero. The message was decoded when it was pinned.
func blockHashOf(message []byte) (hash [32]byte) {
	const before = 1 + 3 // Version, and the header.
	if len(message) <= before {
		return hash
	}
	at := before + 1 + int(message[before])*len(solana.Key{})
	if len(message) < at+len(hash) {
		return hash
	}
	return [32]byte(message[at:])
}

// tokenAccount is the account that a wallet pays an asset from, whether new payments in it are taken or not; ok is false for an asset of
// another network.
func (s *Service) tokenAccount(w wallet, asset string) (account solana.Key, ok bool) {
	token, known := resource.TokenOf(asset)
	if !known || token.Network != s.chain.network {
		return solana.Key{}, false
	}
	mint, err := solana.ParseKey(token.Mint)
	if err != nil {
		return solana.Key{}, false
	}
	return solana.AssociatedTokenAccount(w.groupKey, mint)
}
