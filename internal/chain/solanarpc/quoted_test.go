package solanarpc_test

import (
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
)

// TestMessageThatIsQuoted: whoever was handed a message can write it into a transaction of its own, which names the wallet's account. The
// message has not landed by that, and what becomes of it is proven as ever.
func TestMessageThatIsQuoted(t *testing.T) {
	for kind, want := range map[string]solanarpc.State{lost: solanarpc.Dead, landed: solanarpc.Landed, failed: solanarpc.Failed} {
		t.Run(kind, func(t *testing.T) {
			var quotes [][]byte
			s := tell(t, kind, func(s *story, before int) {
				if before != 100 {
					return
				}
				for _, text := range [][]byte{s.tx.message, s.tx.wire} {
					wire := s.chain.Quote(s.chain.Tip(), wallet.key, usdc, text)
					quotes = append(quotes, wire[1+len(s.tx.signature):])
					s.chain.Send(wire)
				}
			})
			for _, quote := range quotes {
				if s.tip.Holding(quote) != s.after(100) {
					t.Fatal("it is not quoted")
				}
			}
			outcome, err := s.client(t, s.node(), s.node()).Outcome(t.Context(), s.watch)
			if err != nil || outcome.State != want {
				t.Errorf("the message is %v (%s), %v, want %v", outcome.State, outcome.Why, err, want)
			}
		})
	}
}
