package ledger

import (
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func TestPaymentSettles(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 3 * usd})
	got := f.must(p, authorized)
	f.verify(p, got)
	f.wantBalance(payer, 997*usd, 3*usd)
	f.wantBalance(payee, 0, 0)
	done, err := f.settle(p)
	if err != nil {
		t.Fatalf("SettlePayment: %v", err)
	}
	f.wantBalance(payer, 997*usd, 0)
	f.wantBalance(payee, 3*usd, 0)
	s, err := evidence.CheckSettlement(f.Installation, done.GetSettlement())
	if err != nil {
		t.Fatalf("CheckSettlement: %v", err)
	}
	if s.GetPayment() != p.Name || s.GetUnits() != "3000000" || [32]byte(s.GetRecipient()) != payee.GroupKey || [32]byte(s.GetPayer()) != payer.GroupKey {
		t.Errorf("settlement says %v", s)
	}
	if done.GetState() != typev1.PaymentState_PAYMENT_STATE_SETTLED || string(done.GetSignature()) != string(p.Settle()) {
		t.Errorf("got %v", done)
	}
}
