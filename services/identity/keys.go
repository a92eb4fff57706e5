package identity

import (
	"bytes"
	"context"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// SetOwnerKeys takes an owner's statement of its keys, under one that it had before. Idempotent by envelope.
func (s *Service) SetOwnerKeys(ctx context.Context, req *identityv1.SetOwnerKeysRequest) (*identityv1.SetOwnerKeysResponse, error) {
	m := new(typev1.OwnerKeys)
	if err := evidence.Peek(req.GetOwnerKeys(), m); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	id, err := resource.ParseOwner(m.GetOwner())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	var o *owner
	err = s.store.decide(ctx, func(t *tx) error {
		old, err := t.owner(id)
		if err != nil {
			return err
		}
		if o, err = s.setKeys(old, m, req.GetOwnerKeys()); err != nil || o == old {
			return err
		}
		row, err := encode(o)
		if err != nil {
			return err
		}
		t.put(ownerKeys+id, row)
		return nil
	})
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	out, err := o.proto()
	if err != nil {
		return nil, err
	}
	return &identityv1.SetOwnerKeysResponse{Owner: out}, nil
}

// setKeys decides what a statement makes of an owner's row: its newest keys, or the row unchanged for a repeat. A repeat is the
// envelope that is held, signature and all: it was verified when it came. The content alone stands in the wallets' guard rails,
// and whoever can read these must not be answered with the owner's address for it.
func (s *Service) setKeys(old *owner, m *typev1.OwnerKeys, e *typev1.Envelope) (*owner, error) {
	if old == nil {
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no such owner")
	}
	given, err := evidence.Marshal(e)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(given, old.Keys) {
		return old, nil
	}
	newest, err := old.newestKeys()
	if err != nil {
		return nil, err
	}
	keys, err := old.keys()
	if err != nil {
		return nil, err
	}
	if _, err := evidence.CheckOwnerKeys(s.installation, e, keys...); err != nil {
		return nil, err
	}
	switch number := newest.GetNumber(); {
	case m.GetNumber() == number:
		return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the owner has another statement of its keys under this number",
			"field", "number")
	case m.GetNumber() < number:
		return nil, refuse(typev1.Reason_REASON_EVIDENCE_STALE, "the owner has a newer statement of its keys",
			"evidence", "owner-keys", "field", "number")
	}
	for _, k := range m.GetOwnerKeys() {
		if bytes.Equal(k, s.bootstrapKey) {
			return nil, refuse(typev1.Reason_REASON_BAD_STATEMENT, "the owner keys hold the bootstrap key",
				"statement", "owner-keys", "field", "owner_keys")
		}
	}
	o := *old
	o.Keys = given
	return &o, nil
}
