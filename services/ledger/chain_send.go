package ledger

import (
	"context"
	"time"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// sendTimeout bounds sending a transfer while its agent waits. What was not sent then is sent by the watcher.
const sendTimeout = 5 * time.Second

// settleOnChain takes the group key's signature over a transfer and sends it to the chain. Only what the chain proves settles it; until
// then the payment is answered as it is.
func (s *Service) settleOnChain(ctx context.Context, a *settlement, p payment) (*typev1.Payment, error) {
	if s.chain == nil {
		return nil, s.chain.takes("", "name").about(p)
	}
	if p.x402() != nil {
		return nil, refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "the seller sends this payment to the chain", "field", "name",
			"why", "is a payment for an HTTP resource on a chain: its signature goes to the seller, who sends it").about(p)
	}
	err := s.write(ctx, &op{
		needs:  needs{payments: []paymentKey{a.key}, wallets: []string{a.key.wallet}},
		decide: func(st *state) error { return decideSend(st, a) },
	})
	if err != nil {
		return nil, err
	}
	if a.sends {
		sending, cancel := context.WithTimeout(ctx, sendTimeout)
		defer cancel()
		if err := s.sendTransfer(sending, a.verified, a.signature); err != nil {
			s.logger.WarnContext(ctx, "a transfer was not sent, and will be", "payment", a.key.name(), "error", err)
		}
	}
	out, err := s.payment(ctx, a.key)
	return out, done(err, movedUnknown)
}
