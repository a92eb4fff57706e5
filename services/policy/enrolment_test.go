package policy_test

import (
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestOpenWalletByToken: policy verifies a token's terms itself, whatever the co-signer's record says of the claim. The
// deadline is the co-signer's to hold.
func TestOpenWalletByToken(t *testing.T) {
	f := newFixture(t)
	l := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "enrolled", Token: f.Key("token"), TokenExpiry: start.Add(-time.Hour)})
	for name, d := range l.ForgedClaims() {
		_, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: d})
		if err == nil {
			t.Errorf("%s: pinned", name)
			continue
		}
		servicetest.Refused(t, err, typev1.Reason_REASON_BAD_STATEMENT, typev1.Reason_REASON_EVIDENCE_MISMATCH)
	}
	if _, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: documents(l)}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.policy.SetGuardRails(t.Context(), &policyv1.SetGuardRailsRequest{GuardRails: l.SetGuardRails(nil)}); err != nil {
		t.Error(err)
	}
}
