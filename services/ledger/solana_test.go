package ledger

import (
	"testing"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestNoSolanaRail: a payment on Solana that everybody else lets go is refused before anything is recorded, a dry run of it too, and
// the refusal says what would be right. The same id then pays on the book.
func TestNoSolanaRail(t *testing.T) {
	f := start(t)
	payee := f.wallet("payee", loose)
	payer := f.wallet("payer", func(doc *typev1.GuardRails) {
		evidencetest.AllowSolana(payee.GroupKey)(doc)
		loose(doc)
	})
	f.deposit(payer, "d1", 1000*usd)
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Rail: typev1.Rail_RAIL_SOLANA})
	for _, dry := range []bool{false, true} {
		f.unchanged(func() {
			resp, err := f.client.CreatePayment(t.Context(), &ledgerv1.CreatePaymentRequest{
				Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict, ValidateOnly: dry,
			})
			got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
			if got.Metadata["field"] != "intent.rail" || got.Metadata["why"] == "" || resp.GetPayment().GetReceipt() != nil {
				t.Errorf("dry %v: refused with %v", dry, got.Metadata)
			}
		})
	}
	f.wantBalance(payer, 1000*usd, 0)
	f.must(f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey}), authorized)
}

// TestDepositsAreBookMoney: an operator issues the installation's own dollars, and no token of a chain.
func TestDepositsAreBookMoney(t *testing.T) {
	f := start(t)
	w := f.wallet("payer", loose)
	f.unchanged(func() {
		err := f.apply(&typev1.Deposit{
			Installation: f.Installation.ID(), Wallet: w.Name, DepositId: "d1", Asset: evidencetest.USDC, Units: "1000000",
		})
		if err == nil {
			t.Error("the ledger has issued a token of Solana's")
		}
	})
}
