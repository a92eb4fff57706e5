package identity

import (
	"context"
	"encoding/hex"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// CreateOwner makes the owner that the bootstrap code is for. The code's row and the owner's are written in one
// transaction, so it makes one, once; a repeat with the same statement answers the same.
func (s *Service) CreateOwner(ctx context.Context, req *identityv1.CreateOwnerRequest) (*identityv1.CreateOwnerResponse, error) {
	if len(s.bootstrapKey) == 0 {
		return nil, refuse(typev1.Reason_REASON_PERMISSION_DENIED, "this installation has no bootstrap code")
	}
	m, err := evidence.CheckOwnerRegistration(s.installation, req.GetRegistration(), s.bootstrapKey)
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	id, err := resource.ParseOwner(m.GetOwner())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	registration, err := evidence.Marshal(req.GetRegistration())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	digest := evidence.EnvelopeDigest(req.GetRegistration())
	var made *owner
	err = s.store.decide(ctx, func(t *tx) error {
		used, err := t.bootstrap(s.bootstrapKey)
		if err != nil {
			return err
		}
		if made, err = t.owner(id); err != nil {
			return err
		}
		if used != nil {
			if !digest.Is(used.Statement) || made == nil {
				return refuse(typev1.Reason_REASON_CODE_USED, "the bootstrap code was used for another statement")
			}
			return nil
		}
		if made != nil {
			return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "there is an owner of this name", "field", "owner")
		}
		free, err := t.claimName(emailKeys+nameHash("owner-email", m.GetEmail()), m.GetOwner())
		if err != nil {
			return err
		}
		if !free {
			return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "another owner has this e-mail address", "field", "email")
		}
		made = &owner{Version: recordVersion, Name: m.GetOwner(), Email: m.GetEmail(), Registration: registration, Created: s.clock().UnixMilli()}
		return t.putOwner(id, made, &bootstrap{Version: recordVersion, Owner: m.GetOwner(), Statement: digest.Bytes()}, s.bootstrapKey)
	})
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	out, err := made.proto()
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateOwnerResponse{Owner: out}, nil
}

// GetOwner answers with an owner.
func (s *Service) GetOwner(ctx context.Context, req *identityv1.GetOwnerRequest) (*identityv1.GetOwnerResponse, error) {
	id, err := resource.ParseOwner(req.GetName())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	o, err := s.store.owner(ctx, id)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no such owner")
	}
	out, err := o.proto()
	if err != nil {
		return nil, err
	}
	return &identityv1.GetOwnerResponse{Owner: out}, nil
}

// BootstrapUsed reports whether the bootstrap code made its owner: then it is good for nothing, and whoever keeps its
// private half can forget it.
func (s *Service) BootstrapUsed(ctx context.Context) (bool, error) {
	used, err := s.store.begin(ctx).bootstrap(s.bootstrapKey)
	return used != nil, err
}

// bootstrap reads what a code was used for; nil if it was not.
func (t *tx) bootstrap(key []byte) (*bootstrap, error) {
	b, err := t.get(bootstrapKeys + hex.EncodeToString(key))
	if err != nil || b == nil {
		return nil, err
	}
	used := new(bootstrap)
	return used, decode(b, used)
}

func (t *tx) owner(id string) (*owner, error) {
	b, err := t.get(ownerKeys + id)
	if err != nil || b == nil {
		return nil, err
	}
	o := new(owner)
	return o, decode(b, o)
}

func (t *tx) putOwner(id string, o *owner, used *bootstrap, key []byte) error {
	row, err := encode(o)
	if err != nil {
		return err
	}
	mark, err := encode(used)
	if err != nil {
		return err
	}
	t.put(ownerKeys+id, row)
	t.put(bootstrapKeys+hex.EncodeToString(key), mark)
	return nil
}
