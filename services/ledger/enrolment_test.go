package ledger

import (
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

// TestOpenByToken: the ledger verifies a token's terms itself, whatever the co-signer's record says of the claim.
func TestOpenByToken(t *testing.T) {
	f := start(t)
	l := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "enrolled", Token: f.Key("token"), TokenExpiry: f.clock.now().Add(-time.Hour)})
	for name, d := range l.ForgedClaims() {
		f.unchanged(func() {
			if _, err := f.client.OpenAccount(t.Context(), &ledgerv1.OpenAccountRequest{Documents: d}); err == nil {
				t.Errorf("%s: pinned", name)
			}
		})
	}
	f.pin(l)
	f.setGuardRails(l, nil)
	f.check()
}
