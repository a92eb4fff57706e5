package ledger

import "context"

// watchChain looks at messages and accounts on the chain, until ctx ends.
func (s *Service) watchChain(ctx context.Context) {
	<-ctx.Done()
}
