package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"strconv"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// RevokeOptions changes what Revoke does.
type RevokeOptions struct {
	// Abandon gives the wallet up: its revocation never ends, and what is in it stays there for ever. Without it Revoke is refused
	// for a wallet that has a balance and no recovery share to take it over with.
	Abandon bool
}

const revokeOp = "revoke"

// Revoke ends what an agent may do: its request key gets no call through from then on, and its wallet is frozen. It is a freeze
// that ends, by Unfreeze, only after another request key was put in the guard rails: by Replace with the recovery share, or by
// Refresh where the agent's own home can still be relied on. Until then the wallet takes no money either. What comes back is in
// force with ledger and co-signer.
//
// The revocation is stored before it is sent: called again after a crash or a lost answer, Revoke brings the same one.
func (o *Owner) Revoke(ctx context.Context, wallet string, options RevokeOptions) (*FreezeStatus, error) {
	head, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	if err := o.signs(head); err != nil {
		return nil, err
	}
	e, m, err := o.givenRevocation(head, options)
	if err != nil {
		return nil, wrap(revokeOp, err, notMoved)
	}
	if e != nil {
		s, err := o.sendRevocation(ctx, e, m)
		if ReasonOf(err) != typev1.Reason_REASON_FREEZE_ID_USED {
			return s, err
		}
		// It was brought and has ended, and the guard rails name its request key once more: it takes a new one.
	}
	if !options.Abandon {
		if err := o.checkRecoverable(ctx, head); err != nil {
			return nil, err
		}
	}
	if e, m, err = o.newRevocation(head, options); err != nil {
		return nil, wrap(revokeOp, err, notMoved)
	}
	return o.sendRevocation(ctx, e, m)
}

func (o *Owner) sendRevocation(ctx context.Context, e *typev1.Envelope, m *typev1.Revocation) (*FreezeStatus, error) {
	resp, err := invoke(ctx, o.c, rpc{op: revokeOp}, &gatewayv1.RevokeRequest{Revocation: e}, gatewayv1.GatewayServiceClient.Revoke)
	if err != nil {
		return nil, withFreezeID(err, m.GetFreezeId())
	}
	s, err := checkFreeze(o.c.Installation(), typev1.Acknowledged_ACKNOWLEDGED_REVOCATION, walletThing(m.GetWallet()), m.GetFreezeId(), resp.GetAcknowledgements())
	if err == nil {
		err = s.acknowledges(e)
	}
	if err != nil {
		return nil, withFreezeID(distrust(revokeOp, notMoved, "the revocation is not in force: an acknowledgement does not verify", err), m.GetFreezeId())
	}
	if !s.Frozen {
		return nil, withFreezeID(distrust(revokeOp, notMoved, "the revocation is not in force: a service says that nothing is frozen", nil), m.GetFreezeId())
	}
	s.Unresolved = resp.GetUnresolvedPayments()
	return s, nil
}

// acknowledges checks that both services hold this revocation, and not another one of its id.
func (s *FreezeStatus) acknowledges(e *typev1.Envelope) error {
	digest := evidence.EnvelopeDigest(e)
	for _, a := range []*typev1.Acknowledgement{s.Ledger, s.Cosigner} {
		if !digest.Is(a.GetRevocationDigest()) {
			return refusal("acknowledgement", "revocation_digest", "is of another revocation")
		}
	}
	return nil
}

// revocationPin is the name under which the newest revocation is pinned that this home gave for a wallet.
func revocationPin(wallet string) string { return "revocations/" + wallet }

// givenRevocation is the one that this home gave before, if it asks for the same; nil for none.
func (o *Owner) givenRevocation(head *evidence.Head, options RevokeOptions) (*typev1.Envelope, *typev1.Revocation, error) {
	b, err := o.c.payments.Pinned(revocationPin(head.Document.GetWallet()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	e, m := new(typev1.Envelope), new(typev1.Revocation)
	if err := evidence.Unmarshal(b, e); err != nil {
		return nil, nil, err
	}
	if err := evidence.Peek(e, m); err != nil {
		return nil, nil, err
	}
	// One of another request key, or under an owner key that the guard rails no longer name, is of no use any more.
	if _, err := evidence.CheckRevocation(o.c.Installation(), head, e); err != nil || m.GetAbandon() != options.Abandon {
		return nil, nil, nil //nolint:nilerr // What does not verify any more is left where it is.
	}
	return e, m, nil
}

// newRevocation signs one of the request key that the head names, under an id that nobody has used, and pins it.
func (o *Owner) newRevocation(head *evidence.Head, options RevokeOptions) (*typev1.Envelope, *typev1.Revocation, error) {
	id := make([]byte, freezeRandom)
	if _, err := rand.Read(id); err != nil {
		return nil, nil, err
	}
	m := &typev1.Revocation{
		Installation: o.c.Installation().ID(), Wallet: head.Document.GetWallet(), FreezeId: hex.EncodeToString(id),
		RequestKey: head.Document.GetRequestKey(), Abandon: options.Abandon,
	}
	e, err := evidence.Sign(o.key, m)
	if err != nil {
		return nil, nil, err
	}
	b, err := evidence.Marshal(e)
	if err != nil {
		return nil, nil, err
	}
	return e, m, o.c.payments.Pin(revocationPin(m.GetWallet()), b)
}

// checkRecoverable refuses to revoke the agent of a wallet whose money nobody could pay out afterwards.
func (o *Owner) checkRecoverable(ctx context.Context, head *evidence.Head) error {
	wallet := head.Document.GetWallet()
	account, err := o.Account(ctx, wallet)
	if err != nil {
		return err
	}
	now, err := o.standing(ctx, head)
	if err != nil {
		return err
	}
	has, err := o.hasRecovery(now)
	if err != nil {
		return wrap(revokeOp, err, notMoved)
	}
	for _, b := range account.Balances {
		if has || b.Available == 0 && b.Held == 0 {
			continue
		}
		err := local(revokeOp, typev1.Reason_REASON_WRONG_STATE,
			"the wallet has a balance and no recovery share: without the agent nobody could ever pay it out", "wallet", wallet,
			"asset", b.Asset, "available", strconv.FormatInt(b.Available, 10), "held", strconv.FormatInt(b.Held, 10))
		return advised(err, "freeze the wallet, which can be undone; give it a recovery share or let the agent pay out, or revoke it with abandon and lose what is in it")
	}
	return nil
}

// hasRecovery reports whether the sharing in force has a recovery share. Where an open order hides that, and this home has not
// seen the sharing come into force, it is taken to have none.
func (o *Owner) hasRecovery(now *standing) (bool, error) {
	switch {
	case now.inForce != nil:
		_, has := now.inForce.PublicShare(frost.Recovery)
		return has, nil
	case now.told == nil || now.order.GetFromEpoch() == 1:
		return false, nil // Key generation makes none.
	case now.order.GetReplace():
		return true, nil // The co-signer takes such an order for no other sharing.
	}
	told, epoch, err := o.c.pinnedResharing(now.order.GetWallet())
	if err != nil || told == nil || epoch != now.order.GetFromEpoch() {
		return false, err
	}
	m := new(typev1.ResharingOrder)
	err = evidence.Peek(told.GetOrder(), m)
	return len(m.GetRecoveryKey()) > 0, err
}
