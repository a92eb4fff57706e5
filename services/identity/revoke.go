package identity

import (
	"context"
	"slices"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// revokedMax bounds the revoked keys of one wallet: each was the head's once, and its owner signed both.
const revokedMax = 256

// Revoke takes an owner's revocation of an agent. Idempotent by the key that it names.
func (s *Service) Revoke(ctx context.Context, req *identityv1.RevokeRequest) (*identityv1.RevokeResponse, error) {
	m := new(typev1.Revocation)
	if err := evidence.Peek(req.GetRevocation(), m); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	w, err := s.change(ctx, m.GetWallet(), func(_ *tx, old *wallet) (*wallet, error) {
		return revoke(s.installation, old, m, req.GetRevocation())
	})
	if err != nil {
		return nil, err
	}
	return &identityv1.RevokeResponse{Wallet: w}, nil
}

// revoke decides what a revocation makes of a row: one that refuses the head's request key, or the row unchanged if it refuses
// that key already, whatever the head is by now.
func revoke(i *evidence.Installation, old *wallet, m *typev1.Revocation, e *typev1.Envelope) (next *wallet, err error) {
	switch {
	case old == nil:
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no such wallet")
	case old.State != active:
		return nil, refuse(typev1.Reason_REASON_NOT_ACTIVE, "the wallet is not claimed")
	case old.revoked(m.GetRequestKey()):
		return old, nil
	}
	head, err := old.head()
	if err != nil {
		return nil, err
	}
	if _, err := evidence.CheckRevocation(i, head, e); err != nil {
		return nil, err
	}
	if len(old.Revoked) >= revokedMax {
		return nil, refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "too many request keys of this wallet were revoked")
	}
	w := *old
	w.Revoked = append(slices.Clone(old.Revoked), m.GetRequestKey())
	w.Revocation, err = evidence.Marshal(e)
	return &w, err
}
