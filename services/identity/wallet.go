package identity

import (
	"context"
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ActivateWallet takes the documents of a claimed wallet, or of one that a restored directory has lost or holds behind:
// ACTIVE, with the newest head that they lead to. Idempotent by content.
func (s *Service) ActivateWallet(ctx context.Context, req *identityv1.ActivateWalletRequest) (*identityv1.ActivateWalletResponse, error) {
	r := new(typev1.Registration)
	if err := evidence.Peek(req.GetDocuments().GetRegistration(), r); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	w, err := s.change(ctx, r.GetWallet(), func(t *tx, old *wallet) (*wallet, error) {
		next, pinned, err := activate(s.installation, old, req.GetDocuments(), s.clock())
		if err != nil {
			return nil, err
		}
		return next, t.index(pinned)
	})
	if err != nil {
		return nil, err
	}
	return &identityv1.ActivateWalletResponse{Wallet: w}, nil
}

// index makes an ACTIVE wallet found by handle, by group key, by its owner, and by its claim code. The co-signer has made
// handle and group key unique; a directory that holds another wallet under one of them keeps it.
func (t *tx) index(w *evidence.Wallet) error {
	free, err := t.claimName(handleKeys+w.Handle, w.Name)
	if err != nil {
		return err
	}
	if !free {
		return handleTaken(w.Handle)
	}
	free, err = t.claimName(groupKeys+hex.EncodeToString(w.GroupKey[:]), w.Name)
	if err != nil {
		return err
	}
	if !free {
		return refuse(typev1.Reason_REASON_ALREADY_EXISTS, "another wallet has this group key", "field", "group_key")
	}
	code := evidence.ClaimCode(w.Registration.GetInstallation(), w.Registration)
	if _, err := t.claimName(claimKeys+code, w.Name); err != nil {
		return err
	}
	ownerID, err := resource.ParseOwner(w.Claim.Document.GetOwner())
	if err != nil {
		return err
	}
	id, err := resource.ParseWallet(w.Name)
	if err != nil {
		return err
	}
	_, err = t.claimName(ownedKeys+ownerID+"/"+id, w.Name)
	return err
}

// SetGuardRails follows the head: from then on its request key and owner keys authenticate. Idempotent by digest.
func (s *Service) SetGuardRails(ctx context.Context, req *identityv1.SetGuardRailsRequest) (*identityv1.SetGuardRailsResponse, error) {
	doc := new(typev1.GuardRails)
	if err := evidence.Peek(req.GetGuardRails(), doc); err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	w, err := s.change(ctx, doc.GetWallet(), func(_ *tx, old *wallet) (*wallet, error) {
		return setHead(s.installation, old, req.GetGuardRails())
	})
	if err != nil {
		return nil, err
	}
	return &identityv1.SetGuardRailsResponse{Wallet: w}, nil
}

// GetWallet answers with a wallet by name, `@handle` or group key. Handles and group keys find ACTIVE wallets only.
func (s *Service) GetWallet(ctx context.Context, req *identityv1.GetWalletRequest) (*identityv1.GetWalletResponse, error) {
	w, err := s.find(ctx, req)
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	if w == nil {
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no such wallet")
	}
	out, err := w.proto()
	if err != nil {
		return nil, err
	}
	revocation, err := w.revocation()
	if err != nil {
		return nil, err
	}
	return &identityv1.GetWalletResponse{Wallet: out, Revocation: revocation}, nil
}

func (s *Service) find(ctx context.Context, req *identityv1.GetWalletRequest) (*directoryEntry, error) {
	handle, byHandle := strings.CutPrefix(req.GetName(), "@")
	var key string
	switch {
	case (req.GetName() == "") == (len(req.GetGroupKey()) == 0):
		return nil, fault.Invalid(fault.Violation{Field: "name", Why: "exactly one of name and group_key is given"})
	case req.GetName() == "":
		key = groupKeys + hex.EncodeToString(req.GetGroupKey())
	case byHandle:
		if err := resource.ValidHandle(handle); err != nil {
			return nil, err
		}
		key = handleKeys + handle
	default:
		if _, err := resource.ParseWallet(req.GetName()); err != nil {
			return nil, err
		}
		return s.named(ctx, req.GetName())
	}
	name, err := s.store.indexed(ctx, key)
	if err != nil {
		return nil, err
	}
	return s.named(ctx, name)
}

// named reads the row of a wallet that is named in full; nil for an empty name and for none.
func (s *Service) named(ctx context.Context, name string) (*directoryEntry, error) {
	if name == "" {
		return nil, nil
	}
	id, err := resource.ParseWallet(name)
	if err != nil {
		return nil, err
	}
	return s.store.wallet(ctx, id)
}

// ListWallets lists the wallets whose guard rails name an owner, by id. A page may be shorter than asked for.
func (s *Service) ListWallets(ctx context.Context, req *identityv1.ListWalletsRequest) (*identityv1.ListWalletsResponse, error) {
	ownerID, err := resource.ParseOwner(req.GetOwner())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	if req.GetPageToken() != "" && resource.ValidID(req.GetPageToken()) != nil {
		return nil, fault.Invalid(fault.Violation{Field: "page_token", Why: "is none that an answer gave"})
	}
	ids, more, err := s.store.owned(ctx, ownerID, req.GetPageToken(), pageSize(req.GetPageSize()))
	if err != nil || len(ids) == 0 {
		return &identityv1.ListWalletsResponse{}, err
	}
	rows, err := s.store.wallets(ctx, ids)
	if err != nil {
		return nil, err
	}
	resp, size := &identityv1.ListWalletsResponse{}, 0
	last := ids[len(ids)-1]
	for _, w := range rows {
		out, err := w.proto()
		if err != nil {
			return nil, err
		}
		size += proto.Size(out)
		if len(resp.Wallets) > 0 && size > pageBytesMax {
			more = true
			break
		}
		resp.Wallets = append(resp.Wallets, out)
		if last, err = resource.ParseWallet(w.Name); err != nil {
			return nil, err
		}
	}
	if more {
		resp.NextPageToken = last
	}
	return resp, nil
}
