package ledger

import (
	"context"
	"time"
)

// sweepPage is how many payments one operation of the sweep ends: what waits behind it is not kept waiting long.
const sweepPage = 64

// sweepEvery ends payments whose time has come, until ctx ends.
func (s *Service) sweepEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.logger.ErrorContext(ctx, "sweep failed", "error", err)
		}
	}
}

// Sweep ends every review, wait and hold whose time has come by now. The service calls it at its interval; a test that moves
// the clock calls it itself.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.clock().UnixMilli()
	var after int64
	var last paymentKey
	for {
		var keys []paymentKey
		err := s.store.look(ctx, func(v *view) error {
			return v.each(ctx, v.store.dialect.readDue, func(r scanner) error {
				var k paymentKey
				if err := r.Scan(&after, &k.wallet, &k.id); err != nil {
					return err
				}
				keys = append(keys, k)
				return nil
			}, now, after, last.wallet, last.id, sweepPage)
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		last = keys[len(keys)-1]
		if err := s.write(ctx, touchOp(keys...)); err != nil {
			return err
		}
	}
}
