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
			s := tell(t, kind)
			b := s.tip
			for b.height > 200 {
				b = b.parent
			}
			b.txs = append(b.txs, quote(s.watch.Account, s.tx.message), quote(s.watch.Account, s.tx.wire))
			outcome, err := newClient(t, s.node(t), s.node(t)).Outcome(t.Context(), s.watch)
			if err != nil || outcome.State != want {
				t.Errorf("the message is %v (%s), %v, want %v", outcome.State, outcome.Why, err, want)
			}
		})
	}
}
