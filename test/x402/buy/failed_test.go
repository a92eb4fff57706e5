package buy

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// TestFailed: a payment lands with an error, for its recipient's token account is gone when the facilitator sends it. Nothing has moved,
// and halfkey says so once the ledger has proved it: the hold ends, and the fetch with it.
func TestFailed(t *testing.T) {
	t.Parallel()
	node, seller, agent := start(t)
	f := newFront(t, seller, func(f *front, w http.ResponseWriter, r *http.Request) {
		node.Fund(seller.PayTo, map[string]any{"usdc": nil})
		if err := node.Send(feePaid(t, seller.Payer.Sign, paymentOf(r))); err != nil {
			t.Error(err)
		}
		asksAgain(f, w, r)
	})
	quoted := agent.fetch(0, f.URL+"/weather")
	if got := agent.confirmed(quoted.ID); got.Code != 6 {
		t.Errorf("%+v", got)
	}
	if got := agent.proven(quoted.ID); got.MoneyMoved != "NO" || got.State != "ENDED" {
		t.Errorf("%+v", got)
	}
	proven := agent.payment(quoted.Payment)
	if proven.State != "FAILED" || proven.Transaction != node.Transactions(agent.Address)[0] || proven.MoneyMoved != "NO" {
		t.Errorf("%+v", proven)
	}
	if again := agent.confirmed(quoted.ID); again.Code != 3 {
		t.Errorf("%+v", again)
	}
	if node.Units(agent.Address) != 2_000_000 || agent.available() != "2000000" || len(f.payments()) != 1 {
		t.Errorf("%d units are left, %s available, after %d payments", node.Units(agent.Address), agent.available(), len(f.payments()))
	}
	agent.verified(0)
}

// feePaid is the transaction of a payment, with the fee payer's signature in its place.
func feePaid(t *testing.T, sign func(message []byte) solana.Signature, header string) []byte {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		t.Error(err)
	}
	var payment struct {
		Payload struct {
			Transaction []byte `json:"transaction"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(text, &payment); err != nil {
		t.Error(err)
	}
	signatures, message, err := solana.ParseWire(payment.Payload.Transaction)
	if err != nil || len(signatures) != 2 {
		t.Errorf("%d signatures, %v", len(signatures), err)
		return nil
	}
	wire, err := solana.Wire(message, sign(message), signatures[1])
	if err != nil {
		t.Error(err)
	}
	return wire
}
