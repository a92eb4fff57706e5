package ledger

import (
	"context"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Revoke records an owner's revocation of an agent. From its acknowledgement on nothing of the wallet is authorized or settled,
// as by a freeze, and nothing is paid to it; its end is taken only under a head that names another request key.
func (s *Service) Revoke(ctx context.Context, req *ledgerv1.RevokeRequest) (*ledgerv1.RevokeResponse, error) {
	result, err := s.revoke(ctx, req.GetRevocation())
	if err != nil {
		return nil, s.answer(ctx, "Revoke", err)
	}
	return &ledgerv1.RevokeResponse{Result: result}, nil
}

func (s *Service) revoke(ctx context.Context, e *typev1.Envelope) (*typev1.FreezeResult, error) {
	given, err := newRevocation(e)
	if err != nil {
		return nil, err
	}
	if _, err := resource.ParseWallet(given.content.GetWallet()); err != nil {
		return nil, err
	}
	r := &revoking{subject: subject{typev1.Scope_SCOPE_WALLET, given.content.GetWallet()}, envelope: e, revocation: given}
	err = s.store.look(ctx, func(v *view) error {
		w, _, err := v.pin(ctx, r.subject.name)
		if err != nil {
			return err
		}
		_, held, err := v.freezes(ctx, r.subject)
		if err != nil {
			return err
		}
		if before := held[given.content.GetFreezeId()].revocation; before != nil && before.digest == given.digest {
			return nil // It was verified when it came; the head may have moved on since.
		}
		r.head = w.head.Digest
		_, err = evidence.CheckRevocation(s.installation, w.head, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	var now stopped
	err = s.write(ctx, &op{
		first: true,
		needs: r.subject.needs(),
		decide: func(st *state) (err error) {
			now, err = decideRevoke(st, r)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return s.stopped(ctx, &typev1.Acknowledgement{
		Kind: typev1.Acknowledged_ACKNOWLEDGED_REVOCATION, FreezeId: given.content.GetFreezeId(), RevocationDigest: given.digest.Bytes(),
	}, r.subject, now)
}
