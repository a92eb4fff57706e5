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

// CreateOwner makes the owner that the bootstrap code or an invitation is for. The one-time key's row and the owner's are
// written in one transaction, so it makes one, once; a repeat with the same statement answers the same.
func (s *Service) CreateOwner(ctx context.Context, req *identityv1.CreateOwnerRequest) (*identityv1.CreateOwnerResponse, error) {
	var made *owner
	err := s.store.decide(ctx, func(t *tx) (err error) {
		made, err = s.makeOwner(t, req)
		return err
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

// makeOwner decides what a new owner's statement makes: its owner, or the one that it made before.
func (s *Service) makeOwner(t *tx, req *identityv1.CreateOwnerRequest) (*owner, error) {
	code, err := s.oneTimeKey(req.GetInvitation())
	if err != nil {
		return nil, err
	}
	m, err := evidence.CheckOwnerRegistration(s.installation, req.GetRegistration(), code.key)
	if err != nil {
		return nil, err
	}
	id, err := resource.ParseOwner(m.GetOwner())
	if err != nil {
		return nil, err
	}
	digest := evidence.EnvelopeDigest(req.GetRegistration())
	used, err := t.used(code.row())
	if err != nil {
		return nil, err
	}
	made, err := t.owner(id)
	if err != nil {
		return nil, err
	}
	if used != nil {
		if !digest.Is(used.Statement) || made == nil {
			return nil, refuse(typev1.Reason_REASON_CODE_USED, code.usedText)
		}
		return made, nil
	}
	// A repeat is answered above: who lost an answer must get it, also when the invitation has run out or its signer is gone.
	if req.GetInvitation() != nil {
		if err := s.invited(t, m, req.GetInvitation()); err != nil {
			return nil, err
		}
	}
	if made != nil {
		return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "there is an owner of this name", "field", "owner")
	}
	free, err := t.claimName(emailKeys+nameHash("owner-email", m.GetEmail()), m.GetOwner())
	if err != nil {
		return nil, err
	}
	if !free {
		return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "another owner has this e-mail address", "field", "email")
	}
	registration, err := evidence.Marshal(req.GetRegistration())
	if err != nil {
		return nil, err
	}
	made = &owner{Version: recordVersion, Name: m.GetOwner(), Email: m.GetEmail(), Registration: registration, Created: s.clock().UnixMilli()}
	return made, t.putOwner(id, made, &bootstrap{Version: recordVersion, Owner: m.GetOwner(), Statement: digest.Bytes()}, code.row())
}

// oneTimeKey is what lets a new owner in: the bootstrap code's public half, or an invitation's.
type oneTimeKey struct {
	key      []byte
	prefix   string
	usedText string
}

// row is where it is noted what the key was used for.
func (k oneTimeKey) row() string { return k.prefix + hex.EncodeToString(k.key) }

func (s *Service) bootstrapCode() oneTimeKey {
	return oneTimeKey{s.bootstrapKey, bootstrapKeys, "the bootstrap code was used for another statement"}
}

// oneTimeKey reads which key a call is made by; whether an invitation is one is decided by invited.
func (s *Service) oneTimeKey(invitation *typev1.Envelope) (oneTimeKey, error) {
	if invitation == nil {
		if len(s.bootstrapKey) == 0 {
			return oneTimeKey{}, refuse(typev1.Reason_REASON_PERMISSION_DENIED,
				"this installation has no bootstrap code: ask an owner to invite you")
		}
		return s.bootstrapCode(), nil
	}
	m := new(typev1.OwnerInvitation)
	if err := evidence.Peek(invitation, m); err != nil {
		return oneTimeKey{}, err
	}
	return oneTimeKey{m.GetInvitationKey(), invitationKeys, "the invitation was used for another statement"}, nil
}

// invited decides whether an owner that is known here invited the new one, whose statement the invitation's key has signed.
func (s *Service) invited(t *tx, m *typev1.OwnerRegistration, e *typev1.Envelope) error {
	invitation := new(typev1.OwnerInvitation)
	if err := evidence.Peek(e, invitation); err != nil {
		return err
	}
	_, keys, err := t.knownOwner(invitation.GetOwner())
	if err != nil {
		return err
	}
	if invitation, err = evidence.CheckInvitation(s.installation, e, m, keys...); err != nil {
		return err
	}
	return evidence.CheckInvitationTime(invitation, s.clock())
}

// enrolled decides whether an owner that is known here gave out the token that begins a key generation with its own address.
func (s *Service) enrolled(t *tx, start *typev1.KeyGenerationStart, req *identityv1.CreateRegistrationRequest) error {
	if req.GetEnrolment() == nil {
		if s.demandEnrolment {
			return refuse(typev1.Reason_REASON_PERMISSION_DENIED,
				"this installation takes agents by enrolment token only: ask the owner to make one and register with it", "field", "enrolment")
		}
		return nil
	}
	terms := new(typev1.Enrolment)
	if err := evidence.Peek(req.GetEnrolment(), terms); err != nil {
		return err
	}
	o, keys, err := t.knownOwner(terms.GetOwner())
	if err != nil {
		return err
	}
	if terms, err = evidence.CheckEnrolledStart(s.installation, req.GetStart(), req.GetEnrolment(), keys...); err != nil {
		return err
	}
	if start.GetOwnerEmail() != o.Email {
		return refuse(typev1.Reason_REASON_EVIDENCE_MISMATCH, "the address is not that of the owner who gave the token",
			"evidence", "keygen-start", "field", "owner_email")
	}
	return evidence.CheckEnrolmentTime(terms, s.clock())
}

// knownOwner reads an owner and the keys that sign for it.
func (t *tx) knownOwner(name string) (*owner, [][]byte, error) {
	id, err := resource.ParseOwner(name)
	if err != nil {
		return nil, nil, err
	}
	o, err := t.owner(id)
	if err != nil {
		return nil, nil, err
	}
	if o == nil {
		return nil, nil, refuse(typev1.Reason_REASON_NOT_FOUND, "the owner who signed it is not known here", "field", "owner")
	}
	keys, err := o.keys()
	return o, keys, err
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
	used, err := s.store.begin(ctx).used(s.bootstrapCode().row())
	return used != nil, err
}

// used reads what a one-time key was used for; nil if it was not.
func (t *tx) used(row string) (*bootstrap, error) {
	b, err := t.get(row)
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

func (t *tx) putOwner(id string, o *owner, used *bootstrap, usedRow string) error {
	row, err := encode(o)
	if err != nil {
		return err
	}
	mark, err := encode(used)
	if err != nil {
		return err
	}
	t.put(ownerKeys+id, row)
	t.put(usedRow, mark)
	return nil
}
