package client

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"sync"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// agentState is what the copies of one Agent have in common: its secret as the key store has it, and who uses it. A share is
// used by any number of attempts at a time, and replaced by none: while new shares are made every attempt waits, so no
// attempt ends with another share than it began with.
type agentState struct {
	mu    sync.Mutex
	key   *agentKey
	users int
	taken bool
	// changed is closed, and another takes its place, whenever users or taken change.
	changed chan struct{}
}

func newAgentState(k *agentKey) *agentState {
	return &agentState{key: k, changed: make(chan struct{})}
}

// now is the secret as it stands.
func (s *agentState) now() *agentKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// put makes another secret the one that is used from now on.
func (s *agentState) put(k *agentKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = k
}

// use takes the secret for one attempt.
func (s *agentState) use(ctx context.Context) (k *agentKey, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken {
		if err := s.wait(ctx); err != nil {
			return nil, nil, err
		}
	}
	s.users++
	return s.key, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.users--
		s.notify()
	}, nil
}

// take takes the secret alone, once the attempts that use it have ended.
func (s *agentState) take(ctx context.Context) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken {
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	s.taken = true // From here on no attempt begins.
	for s.users > 0 {
		if err := s.wait(ctx); err != nil {
			s.taken = false
			s.notify()
			return nil, err
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken = false
		s.notify()
	}, nil
}

// wait waits for the next change; mu is held, but not meanwhile.
func (s *agentState) wait(ctx context.Context) error {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), ctx.Err())
	}
}

// notify tells whoever waits; mu is held.
func (s *agentState) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// newAgent is the agent of a secret whose share is there.
func (c *Client) newAgent(k *agentKey) *Agent {
	a := &Agent{c: c, wallet: k.wallet, handle: k.handle, groupKey: k.share.GroupKey(), state: newAgentState(k)}
	a.who = &caller{
		name: resource.AgentOf(k.wallet), wallet: k.wallet,
		key:   func() crypto.Signer { return a.state.now().request },
		renew: a.renew,
	}
	return a
}

// saveKey stores a changed secret, and uses it from now on.
func (a *Agent) saveKey(k *agentKey) error {
	if err := a.c.saveAgentKey(k); err != nil {
		return err
	}
	a.state.put(k)
	return nil
}

// reload reads the secret again: another program may have changed request key or share meanwhile.
func (a *Agent) reload() error {
	k, err := a.c.loadAgentKey(a.state.now().keyName())
	if err != nil {
		return wrap("load agent", err, notMoved)
	}
	if k.share == nil {
		return local("load agent", typev1.Reason_REASON_NOT_ACTIVE, "this home no longer holds a share of the wallet", "wallet", a.wallet)
	}
	a.state.put(k)
	return nil
}

// sharesAs reports whether two states of a secret would make the same half of a signature.
func (k *agentKey) sharesAs(other *agentKey) bool {
	return sameSharing(k.share.Sharing(), other.share.Sharing()) && (k.pending == nil) == (other.pending == nil)
}

// renew looks, after a call by a request key was refused as a stranger's, whether the wallet has another one by now: one that
// this program or another on this home goes by already, or the one that this home has offered, if the owner's guard rails name
// it.
func (a *Agent) renew(ctx context.Context, refused crypto.PublicKey) (bool, error) {
	const op = "follow the request key"
	unlock, err := a.c.lockSecret(ctx, op, a.wallet)
	if err != nil {
		return false, err
	}
	defer unlock()
	if err := a.follow(ctx); err != nil {
		return false, err
	}
	return !a.state.now().request.public.Equal(refused), nil
}

// follow reads the secret again, and goes by the request key that it offers if that is the wallet's by now. The secret's lock is
// held.
func (a *Agent) follow(ctx context.Context) error {
	if err := a.reload(); err != nil {
		return err
	}
	k := a.state.now()
	if k.offered == nil {
		return nil
	}
	// What the guard rails name is read from the guard rails, verified from the claim on: that a call by the offered key is let in
	// would be the gateway's word alone.
	head, err := a.c.head(ctx, k.callerBy(k.offered), a.wallet)
	switch ReasonOf(err) {
	case typev1.Reason_REASON_UNSPECIFIED:
		if err != nil {
			return err
		}
	case typev1.Reason_REASON_UNAUTHENTICATED, typev1.Reason_REASON_NOT_ACTIVE:
		return nil
	default:
		return err
	}
	if !namesRequestKey(head, k.offered) {
		return nil
	}
	return wrap("follow the request key", a.saveKey(k.promoteOffer()), notMoved)
}

func namesRequestKey(head *evidence.Head, key *privateKey) bool {
	return bytes.Equal(head.Document.GetRequestKey(), key.public)
}

// promoteOffer makes the offered request key the present one.
func (k *agentKey) promoteOffer() *agentKey {
	next := k.copy()
	next.replaced = boundKeys(append(next.replaced, k.request.public))
	next.request, next.seed = k.offered, k.offeredSeed
	next.offered, next.offeredSeed = nil, nil
	return next
}

// boundKeys keeps the newest of a list of replaced request keys, and the first, which is the registration's, by which a
// secret's parts are held together.
func boundKeys(keys [][]byte) [][]byte {
	if n := len(keys); n > replacedMax {
		return append(keys[:1:1], keys[n-replacedMax+1:]...)
	}
	return keys
}

// secretLock is the file of a home by whose lock programs take turns at changing an agent's secret: two that made new shares
// at once could each store its own over the other's, and one of them is in force.
const secretLock = "lock-secret"

// lockSecret takes turns at changing a secret, within this program and with others on the same home.
func (c *Client) lockSecret(ctx context.Context, op, wallet string) (unlock func(), err error) {
	leave, err := c.work.lock(ctx, "secret "+wallet)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	free, err := lockFile(c.home.path(secretLock))
	if err != nil {
		leave()
		return nil, wrap(op, err, notMoved)
	}
	return func() { free(); leave() }, nil
}

// use takes the agent's secret for one attempt. A run that this home has begun is brought to its end first: until then
// nobody here knows which of two shares the co-signer signs with.
func (a *Agent) use(ctx context.Context, op string) (k *agentKey, done func(), err error) {
	for {
		if k, done, err = a.state.use(ctx); err != nil {
			return nil, nil, wrap(op, err, notMoved)
		}
		if k.pending == nil {
			return k, done, nil
		}
		done()
		if _, err := a.Reshare(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// commit draws nonces for one attempt.
func (k *agentKey) commit() (*frost.Nonces, frost.Commitment, error) { return k.share.Commit() }
