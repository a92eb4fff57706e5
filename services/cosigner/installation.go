package cosigner

import (
	"context"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
)

// accept keeps the highest installation file that any replica was given, and refuses a chain that ends before it. A replica that was
// rolled back would release on what retired keys sign.
func (s *store) accept(ctx context.Context, chain []*evidence.Installation) error {
	return etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		rows, err := s.read(ctx, keyInstallation)
		if err != nil {
			return false, err
		}
		held := string(rows[0].value)
		next, err := evidence.Advance(held, chain)
		if err != nil || next == held {
			return true, err
		}
		return s.write(ctx, rows, s.put(keyInstallation, []byte(next)))
	})
}
