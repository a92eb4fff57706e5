package ledger

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// watchersMax bounds streams: each costs a goroutine and a read per change.
	watchersMax = 10_000
	// watchersOfOneMax bounds the streams of one payment, wallet or owner, so that one caller cannot take everybody's.
	watchersOfOneMax = 100
	// watchRefresh is how often a watcher looks without having been woken: another process may have written.
	watchRefresh = 30 * time.Second
)

// watchers wake who waits for a payment to change, or for any payment of a wallet or an owner. A wake says only that it is worth
// looking: the payment, or what has changed, is read then.
type watchers struct {
	mu     sync.Mutex
	byName map[string]map[chan struct{}]bool
	n      int
	closed chan struct{}
}

// watch registers a watcher; leave ends it.
func (w *watchers) watch(name string) (woken <-chan struct{}, closed <-chan struct{}, leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n >= watchersMax || len(w.byName[name]) >= watchersOfOneMax {
		return nil, nil, nil, false
	}
	if w.byName == nil {
		w.byName = make(map[string]map[chan struct{}]bool)
	}
	if w.closed == nil {
		w.closed = make(chan struct{})
	}
	if w.byName[name] == nil {
		w.byName[name] = make(map[chan struct{}]bool)
	}
	c := make(chan struct{}, 1)
	w.byName[name][c] = true
	w.n++
	return c, w.closed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.byName[name], c)
		if len(w.byName[name]) == 0 {
			delete(w.byName, name)
		}
		w.n--
	}, true
}

// wake never waits: a watcher that has not yet looked since the last wake will see both changes.
func (w *watchers) wake(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.byName[name] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// close ends every watch.
func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed == nil {
		w.closed = make(chan struct{})
	}
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
}

var errWatchers = refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "too many streams watch payments")

// WatchPayment streams a payment now and on each change of state, until it has ended.
func (s *Service) WatchPayment(req *ledgerv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error {
	ctx := stream.Context()
	return s.answer(ctx, "WatchPayment", s.watchPayment(ctx, req.GetName(), func(p *typev1.Payment) error {
		return stream.Send(&ledgerv1.WatchPaymentResponse{Payment: p})
	}))
}

func (s *Service) watchPayment(ctx context.Context, name string, send func(*typev1.Payment) error) error {
	key, err := paymentOf(name)
	if err != nil {
		return err
	}
	woken, closed, leave, ok := s.watchers.watch(key.name())
	if !ok {
		return errWatchers
	}
	defer leave()
	refresh := time.NewTicker(watchRefresh)
	defer refresh.Stop()
	var last *typev1.Payment
	for {
		p, err := s.getPayment(ctx, name)
		if err != nil {
			return err
		}
		if last == nil || last.GetState() != p.GetState() || !proto.Equal(last.GetUpdateTime(), p.GetUpdateTime()) {
			if err := send(p); err != nil {
				return err
			}
			last = p
		}
		if hasEnded(p.GetState()) {
			return nil
		}
		select {
		case <-woken:
		case <-refresh.C:
		case <-closed:
			return unavailable(errClosed, movedNo)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func hasEnded(state typev1.PaymentState) bool { return payment{state: state}.ended() }
