package ledger

import (
	"context"
	"slices"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// listedFreezesMax bounds the freezes in an answer: the newest.
const listedFreezesMax = 1000

// Freeze records a freeze: from its acknowledgement on nothing of the subject is authorized or settled. It needs no
// statement, no clock that is right, and no rules: an authenticated caller is enough to stop.
func (s *Service) Freeze(ctx context.Context, req *ledgerv1.FreezeRequest) (*ledgerv1.FreezeResponse, error) {
	result, err := s.freeze(ctx, req.GetFreeze())
	if err != nil {
		return nil, s.answer(ctx, "Freeze", err)
	}
	return &ledgerv1.FreezeResponse{Result: result}, nil
}

func (s *Service) freeze(ctx context.Context, f *typev1.Freeze) (*typev1.FreezeResult, error) {
	sub, err := subjectOf(f.GetScope(), f.GetWallet(), f.GetOwner())
	if err != nil {
		return nil, err
	}
	if err := resource.ValidID(f.GetFreezeId()); err != nil {
		return nil, err
	}
	caller, err := callerName(f.GetCaller())
	if err != nil {
		return nil, err
	}
	freezing := &freezing{subject: sub, id: f.GetFreezeId(), caller: caller}
	var now stopped
	err = s.write(ctx, &op{
		first: true,
		needs: sub.needs(),
		decide: func(st *state) (err error) {
			now, err = decideFreeze(st, freezing)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return s.stopped(ctx, &typev1.Acknowledgement{Kind: typev1.Acknowledged_ACKNOWLEDGED_FREEZE, FreezeId: f.GetFreezeId()}, sub, now)
}

// Unfreeze records the end of a freeze, by the owner's or the operator's statement.
func (s *Service) Unfreeze(ctx context.Context, req *ledgerv1.UnfreezeRequest) (*ledgerv1.UnfreezeResponse, error) {
	result, err := s.unfreeze(ctx, req.GetUnfreeze())
	if err != nil {
		return nil, s.answer(ctx, "Unfreeze", err)
	}
	return &ledgerv1.UnfreezeResponse{Result: result}, nil
}

func (s *Service) unfreeze(ctx context.Context, e *typev1.Envelope) (*typev1.FreezeResult, error) {
	peeked := new(typev1.Unfreeze)
	if err := evidence.Peek(e, peeked); err != nil {
		return nil, err
	}
	sub, err := subjectOf(peeked.GetScope(), peeked.GetWallet(), peeked.GetOwner())
	if err != nil {
		return nil, err
	}
	u := &unfreezing{subject: sub, id: peeked.GetFreezeId(), envelope: e}
	var keys [][]byte
	switch sub.scope {
	case typev1.Scope_SCOPE_WALLET:
		err = s.store.look(ctx, func(v *view) error {
			w, _, err := v.pin(ctx, sub.name)
			if err != nil {
				return err
			}
			u.head, keys = w.head.Digest, w.head.Document.GetOwnerKeys()
			return nil
		})
	case typev1.Scope_SCOPE_OWNER:
		keys = evidence.Signers(e) // Whose keys these are is decided where every wallet's are known.
	}
	if err != nil {
		return nil, err
	}
	if _, u.signer, err = evidence.CheckUnfreeze(s.installation, e, keys...); err != nil {
		return nil, err
	}
	need := sub.needs()
	if sub.scope == typev1.Scope_SCOPE_OWNER {
		need.ownerKeys = []ownerKey{{sub.name, [32]byte(u.signer)}}
	}
	var now stopped
	err = s.write(ctx, &op{needs: need, decide: func(st *state) (err error) {
		now, err = decideUnfreeze(st, u)
		return err
	}})
	if err != nil {
		return nil, err
	}
	return s.acknowledge(&typev1.Acknowledgement{Kind: typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE, FreezeId: u.id}, sub, now)
}

// stopped acknowledges what stops a subject, with what may still move money: no book payment, for none settles from now on, but every
// AUTHORIZED message on a chain, which lands or not by itself.
func (s *Service) stopped(ctx context.Context, a *typev1.Acknowledgement, sub subject, now stopped) (*typev1.FreezeResult, error) {
	result, err := s.acknowledge(a, sub, now)
	if err != nil {
		return nil, err
	}
	err = s.store.look(ctx, func(v *view) (err error) {
		result.UnresolvedPayments, err = v.unresolved(ctx, sub)
		return err
	})
	if err != nil {
		return nil, done(err, movedNo)
	}
	return result, nil
}

// acknowledge signs what is held, and what is true of the subject now.
func (s *Service) acknowledge(a *typev1.Acknowledgement, sub subject, now stopped) (*typev1.FreezeResult, error) {
	a.Installation, a.Scope, a.Frozen, a.TimeMillis = s.installation.ID(), sub.scope, now.frozen, now.at
	switch sub.scope {
	case typev1.Scope_SCOPE_WALLET:
		a.Wallet = sub.name
	case typev1.Scope_SCOPE_OWNER:
		a.Owner = sub.name
	}
	e, err := s.sign(a)
	if err != nil {
		return nil, done(err, movedNo)
	}
	return &typev1.FreezeResult{Acknowledgement: e}, nil
}

// ListFreezes lists the freezes that concern a wallet, its owner's and the installation's included; or an owner's alone.
func (s *Service) ListFreezes(ctx context.Context, req *ledgerv1.ListFreezesRequest) (*ledgerv1.ListFreezesResponse, error) {
	resp, err := s.listFreezes(ctx, req)
	return resp, s.answer(ctx, "ListFreezes", err)
}

func (s *Service) listFreezes(ctx context.Context, req *ledgerv1.ListFreezesRequest) (*ledgerv1.ListFreezesResponse, error) {
	resp := new(ledgerv1.ListFreezesResponse)
	err := s.store.look(ctx, func(v *view) (err error) {
		if req.GetWallet() == "" && req.GetOwner() != "" {
			if _, err := resource.ParseOwner(req.GetOwner()); err != nil {
				return err
			}
			var set freezes
			resp.Freezes, set, err = v.freezes(ctx, subject{typev1.Scope_SCOPE_OWNER, req.GetOwner()})
			_, resp.Frozen = set.inForce(freeze.ended)
			return err
		}
		if _, err := resource.ParseWallet(req.GetWallet()); err != nil {
			return err
		}
		w, _, err := v.pin(ctx, req.GetWallet())
		if err != nil {
			return err
		}
		resp.Freezes, resp.Frozen, err = v.frozen(ctx, w)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(resp.Freezes, func(a, b *typev1.Freeze) int {
		return b.GetCreateTime().AsTime().Compare(a.GetCreateTime().AsTime())
	})
	resp.Freezes = resp.Freezes[:min(len(resp.Freezes), listedFreezesMax)]
	return resp, nil
}

// subjectOf checks that scope and name say the same.
func subjectOf(scope typev1.Scope, walletName, owner string) (subject, error) {
	_, isWallet := resource.ParseWallet(walletName)
	_, isOwner := resource.ParseOwner(owner)
	switch {
	case scope == typev1.Scope_SCOPE_WALLET && isWallet == nil && owner == "":
		return subject{scope, walletName}, nil
	case scope == typev1.Scope_SCOPE_OWNER && isOwner == nil && walletName == "":
		return subject{scope, owner}, nil
	case scope == typev1.Scope_SCOPE_INSTALLATION && walletName == "" && owner == "":
		return subject{scope, ""}, nil
	}
	return subject{}, refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "a freeze names a wallet, an owner, or neither, as its scope says",
		"field", "freeze.scope")
}

// needs are the rows that a freeze or its end is decided on.
func (s subject) needs() needs {
	switch s.scope {
	case typev1.Scope_SCOPE_WALLET:
		return needs{wallets: []string{s.name}}
	case typev1.Scope_SCOPE_OWNER:
		return needs{owners: []string{s.name}}
	}
	return needs{}
}
