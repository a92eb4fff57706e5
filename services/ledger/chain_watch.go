package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	// messagesPerTick bounds the messages that one round asks about.
	messagesPerTick = 64
	// livePage bounds the rows that one round reads. Some of them are looked at rarely, so it is more.
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
	// afterMessage and afterAccount are where the rounds of messages and of accounts go on.
	afterMessage messageKey
	afterAccount balanceKey
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

// lookAtMessages asks what has become of messages: of all, or of the next ones in turn that are due. A round reads a page and goes on
// where the last one ended, so that it costs the same however many wait, and each has its turn.
func (s *Service) lookAtMessages(ctx context.Context, all bool) error {
	l := &s.chain.lookout
	after := messageKey{}
	if !all {
		after = l.messageTurn()
	}
	var failures []error
	for {
		var page []liveMessage
		err := s.store.look(ctx, func(v *view) error {
			return v.liveMessages(ctx, after, livePage, func(k messageKey, m chainMessage) { page = append(page, liveMessage{k, m}) })
		})
		if err != nil {
			return err
		}
		var due []liveMessage
		due, after = l.due(after, page, time.Now(), all)
		// What is wrong with one message keeps no other from its turn.
		failures = append(failures, forEach(ctx, due, func(one liveMessage) error { return s.lookAtMessage(ctx, one) }))
		if all && after != (messageKey{}) {
			continue
		}
		return errors.Join(failures...)
	}
}

// messageTurn is after which message the next round begins.
func (l *lookout) messageTurn() messageKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.afterMessage
}

// due chooses the messages of a page that are looked at now, and says after which one the next page begins: zero is from the first one on.
// What lies within the page and was not read is live no more, and is forgotten.
func (l *lookout) due(after messageKey, page []liveMessage, now time.Time, all bool) (due []liveMessage, next messageKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(page) == livePage {
		next = page[livePage-1].key
	}
	within := func(k messageKey) bool {
		return compareMessage(k, after) > 0 && (next == messageKey{} || compareMessage(k, next) <= 0)
	}
	read := make(map[messageKey]pace, len(page))
	for _, one := range page {
		read[one.key] = l.messages[one.key]
	}
	maps.DeleteFunc(l.messages, func(k messageKey, _ pace) bool { return within(k) })
	if l.messages == nil {
		l.messages = make(map[messageKey]pace, len(page))
	}
	maps.Copy(l.messages, read)
	for i, one := range page {
		if !all && !read[one.key].due(now) {
			continue
		}
		due = append(due, one)
		if !all && len(due) == messagesPerTick && i+1 < len(page) {
			next = one.key
			break
		}
	}
	if !all {
		l.afterMessage = next
	}
	return due, next
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
	watch, err := s.watch(one, w, p.asset)
	if err != nil {
		s.chain.lookout.looked(one.key, time.Now(), p.updatedMillis)
		return fmt.Errorf("%s: %w", key.name(), err)
	}
	o := &outcome{key: one.key}
	asking, cancel := context.WithTimeout(ctx, outcomeTimeout)
	defer cancel()
	var sending sync.WaitGroup
	if one.signature != nil && !frozen {
		sending.Go(func() { s.sendAgain(asking, one) })
	}
	o.Outcome, err = s.chain.client.Outcome(asking, watch)
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

// watch says what is looked for on the chain for a message of a wallet's.
func (s *Service) watch(one liveMessage, w wallet, asset string) (solanarpc.Watch, error) {
	account, ok := s.tokenAccount(w, asset)
	if !ok {
		return solanarpc.Watch{}, errors.New("a message waits for another network than the one that is configured")
	}
	hash, err := solana.BlockHash(one.message)
	if err != nil {
		return solanarpc.Watch{}, fmt.Errorf("a message that was pinned is none: %w", err)
	}
	return solanarpc.Watch{
		Account: account, Payer: w.groupKey, Message: one.message,
		BlockHash: solanarpc.BlockHash{Hash: hash, Slot: uint64(one.slot), LastValidHeight: uint64(one.lastValidHeight)},
	}, nil
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
