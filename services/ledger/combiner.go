package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// batchMax bounds the operations of one transaction: beyond it a transaction grows as fast as it saves.
	batchMax = 64
	// queueMax bounds what waits: at a few thousand payments a second it is a second of work, after which a caller has
	// better been refused.
	queueMax = 4096
	// freezeQueueMax bounds freezes that wait, apart from everything else: payments never fill their queue.
	freezeQueueMax = 1024
	// lingerAfter is how large the batch before must have been for the next one to wait for more; a lone caller never waits.
	lingerAfter = 16
	// linger is how long a batch then waits: a fraction of what a durable transaction takes.
	linger = 500 * time.Microsecond
)

// op is one operation on its way through the combiner.
type op struct {
	ctx    context.Context
	needs  needs
	decide func(*state) error
	// first is a freeze: it goes before everything that waits.
	first bool
	// alone is decided in a batch of its own: it changes what the needs of others rest on.
	alone bool
	// dry changes nothing.
	dry bool

	err  error
	done chan struct{}
}

// combiner is the one writer: it turns whatever waits into one transaction.
type combiner struct {
	begin   func(context.Context, needs) (transaction, error)
	settled func(*state) // Told what was stored, after it is durable.
	reserve *reserve     // Room for freezes on a full disk; nil keeps none.
	logger  *slog.Logger

	freezes chan *op
	queue   chan *op
	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
	held    *op // An operation that was taken and belongs to the next batch.
}

// transaction is one database transaction with the rows of a batch.
type transaction interface {
	// state is what was loaded, and where decisions leave their changes.
	state() *state
	// seal and store what was decided.
	store(context.Context) error
	// commit makes it durable.
	commit(context.Context) error
	// rollback ends it without effect; after commit it does nothing.
	rollback()
}

func newCombiner(
	begin func(context.Context, needs) (transaction, error), settled func(*state), reserve *reserve, logger *slog.Logger,
) *combiner {
	c := &combiner{
		begin: begin, settled: settled, reserve: reserve, logger: logger,
		freezes: make(chan *op, freezeQueueMax), queue: make(chan *op, queueMax), stop: make(chan struct{}),
	}
	c.stopped.Go(c.run)
	return c
}

var errClosed = errors.New("the ledger is closed")

// do queues an operation and waits until it is durable, or refused. A caller that gives up cancels nothing.
func (c *combiner) do(ctx context.Context, o *op) error {
	o.ctx, o.done = ctx, make(chan struct{})
	queue := c.queue
	if o.first {
		queue = c.freezes
	}
	select {
	case <-c.stop:
		return unavailable(errClosed, movedNo)
	default:
	}
	select {
	case queue <- o:
	default:
		return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the ledger has too much to do")
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), movedUnknown)
	case <-c.stop:
		c.stopped.Wait()
		select {
		case <-o.done:
			return o.err
		default:
			return unavailable(errClosed, movedNo) // The writer has ended and never took it.
		}
	}
}

func unavailable(cause error, moved typev1.MoneyMoved) error {
	return fault.Caused(cause, typev1.Reason_REASON_UNAVAILABLE, moved, "the ledger's store did not answer")
}

// close ends the writer after the batch that it is at.
func (c *combiner) close() {
	c.once.Do(func() { close(c.stop) })
	c.stopped.Wait()
}

func (c *combiner) run() {
	last := 0
	for {
		batch := c.collect(last)
		if batch == nil {
			return
		}
		last = len(batch)
		c.write(batch)
	}
}

// collect takes what waits: freezes first, then in order of arrival. It returns nil when the combiner is closed.
func (c *combiner) collect(last int) []*op {
	var batch []*op
	if c.held != nil {
		batch, c.held = append(batch, c.held), nil
	} else {
		select {
		case <-c.stop:
			return nil
		case o := <-c.freezes:
			batch = append(batch, o)
		case o := <-c.queue:
			batch = append(batch, o)
		}
	}
	if batch[0].alone {
		return c.freezesBefore(batch)
	}
	var wait <-chan time.Time
	if last >= lingerAfter {
		timer := time.NewTimer(linger)
		defer timer.Stop()
		wait = timer.C
	}
	for len(batch) < batchMax {
		o := c.next(wait)
		if o == nil {
			break
		}
		if o.alone {
			c.held = o
			break
		}
		batch = append(batch, o)
	}
	return c.freezesBefore(batch)
}

// next takes one more operation, waiting for it only until wait.
func (c *combiner) next(wait <-chan time.Time) *op {
	select {
	case o := <-c.queue:
		return o
	default:
	}
	if wait == nil {
		return nil
	}
	select {
	case o := <-c.queue:
		return o
	case o := <-c.freezes:
		return o
	case <-wait:
		return nil
	}
}

// freezesBefore puts the freezes that wait before the rest of the batch.
func (c *combiner) freezesBefore(batch []*op) []*op {
	var first, rest []*op
	for _, o := range batch {
		if o.first {
			first = append(first, o)
		} else {
			rest = append(rest, o)
		}
	}
	for range freezeQueueMax {
		select {
		case o := <-c.freezes:
			first = append(first, o)
			continue
		default:
		}
		break
	}
	return append(first, rest...)
}

// write decides and stores a batch. If that fails for a reason that lies in one operation, the batch is halved until that one
// stands alone.
func (c *combiner) write(batch []*op) {
	live := batch[:0]
	for _, o := range batch {
		if o.ctx.Err() != nil {
			o.finish(fault.Wrap(o.ctx.Err(), movedNo)) // Past its deadline: nothing was decided.
			continue
		}
		live = append(live, o)
	}
	live = c.roomFor(live)
	if len(live) == 0 {
		return
	}
	errs, err := c.try(live)
	if err == nil {
		for i, o := range live {
			o.finish(errs[i])
		}
		return
	}
	var bad *batchError
	if errors.As(err, &bad) && bad.splits {
		if len(live) > 1 {
			half := len(live) / 2
			c.write(append([]*op(nil), live[:half]...))
			c.write(append([]*op(nil), live[half:]...))
			return
		}
		c.logger.Error("an operation could not be stored", "error", err)
		live[0].finish(fault.Caused(err, typev1.Reason_REASON_INTERNAL, movedNo, "the ledger could not record this"))
		return
	}
	moved := movedNo
	if bad != nil && bad.unknown {
		moved = movedUnknown
	}
	c.logger.Error("a batch could not be stored", "operations", len(live), "error", err)
	again := false
	if sqliteFull(err) && slices.ContainsFunc(live, func(o *op) bool { return o.first }) {
		again = c.reserve.spend()
	}
	var freezes []*op
	for _, o := range live {
		if again && o.first {
			freezes = append(freezes, o)
		} else {
			o.finish(unavailable(err, moved))
		}
	}
	if again {
		c.write(freezes)
	}
}

// roomFor leaves out, and refuses, what a full disk has no room for: what would be stored and is no freeze.
func (c *combiner) roomFor(batch []*op) []*op {
	spares := func(o *op) bool { return o.first || o.dry }
	if !slices.ContainsFunc(batch, func(o *op) bool { return !spares(o) }) || c.reserve.restore() {
		return batch
	}
	kept := batch[:0]
	for _, o := range batch {
		if spares(o) {
			kept = append(kept, o)
		} else {
			o.finish(unavailable(errDiskFull, movedNo))
		}
	}
	return kept
}

func (o *op) finish(err error) {
	o.err = err
	close(o.done)
}

// batchError says what a failed batch means for its operations.
type batchError struct {
	splits  bool // One operation is to blame.
	unknown bool // It may be durable.
	err     error
}

func (e *batchError) Error() string { return e.err.Error() }

func (e *batchError) Unwrap() error { return e.err }

// try runs one batch as one transaction. It has its own context: callers that give up do not cancel others.
func (c *combiner) try(batch []*op) (errs []error, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &batchError{splits: true, err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	ctx := context.Background()
	var all needs
	for _, o := range batch {
		all.add(o.needs)
	}
	tx, err := c.begin(ctx, all)
	if err != nil {
		return nil, err
	}
	defer tx.rollback()
	s := tx.state()
	errs = make([]error, len(batch))
	for i, o := range batch {
		errs[i] = o.decide(s)
		if errs[i] != nil || o.dry {
			s.rollback()
		} else {
			s.keep()
		}
	}
	if !s.changed() {
		return errs, nil
	}
	if err := tx.store(ctx); err != nil {
		return nil, err
	}
	if err := tx.commit(ctx); err != nil {
		return nil, &batchError{unknown: true, err: err}
	}
	c.settled(s)
	return errs, nil
}
