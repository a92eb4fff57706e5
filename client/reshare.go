package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The states of a resharing, short.
const (
	reshareOrdered  = typev1.ResharingState_RESHARING_STATE_ORDERED
	reshareStarted  = typev1.ResharingState_RESHARING_STATE_STARTED
	recoveryPending = typev1.ResharingState_RESHARING_STATE_RECOVERY_PENDING
	reshareDone     = typev1.ResharingState_RESHARING_STATE_DONE
)

// Resharing is how far new shares of a wallet's key have come. The key, and with it the address, stays.
type Resharing struct {
	// Wallet is `wallets/{wallet}`.
	Wallet string
	// State is ORDERED until who gets share 1 has begun, STARTED until the new shares are in force, then RECOVERY_PENDING until
	// the owner has opened the recovery share, or DONE. In RECOVERY_PENDING the co-signer still holds its older share: an older
	// share 1 and an older recovery share, in one hand, would still be the whole key.
	State typev1.ResharingState
	// Epoch is the number of the sharing that it makes.
	Epoch uint64
	// Recovery says that the sharing has a recovery share.
	Recovery bool
	// Proto is the answer itself.
	Proto *typev1.Resharing
}

func newResharing(order *typev1.ResharingOrder, told *typev1.Resharing) *Resharing {
	return &Resharing{
		Wallet: order.GetWallet(), State: told.GetState(), Epoch: order.GetToEpoch(), Recovery: len(order.GetRecoveryKey()) > 0, Proto: told,
	}
}

// getResharing asks for a wallet's newest resharing, nil if there was none, and for the epoch in force by the gateway's word.
func (c *Client) getResharing(ctx context.Context, who *caller, wallet string) (*typev1.Resharing, uint64, error) {
	resp, err := invoke(ctx, c, rpc{op: "get resharing", method: gatewayv1.GatewayService_GetResharing_FullMethodName, who: who, about: wallet},
		&gatewayv1.GetResharingRequest{Wallet: wallet}, gatewayv1.GatewayServiceClient.GetResharing)
	return resp.GetResharing(), resp.GetEpoch(), err
}

// inForce reports whether a resharing is said to have put its sharing in force.
func sharingInForce(told *typev1.Resharing) bool {
	return told.GetState() == recoveryPending || told.GetState() == reshareDone
}

// checkSharing verifies the co-signer's record that an order's sharing is in force, and decodes the sharing: of this wallet's
// key, of the epoch that the order asked for, with a recovery share exactly if the order names one.
func checkSharing(i *evidence.Installation, told *typev1.Resharing, wallet string, groupKey [32]byte) (*frost.Sharing, error) {
	record, err := evidence.CheckSharingRecord(i, told.GetOrder(), told.GetRecord())
	if err != nil {
		return nil, err
	}
	order := new(typev1.ResharingOrder)
	if err := evidence.Peek(told.GetOrder(), order); err != nil {
		return nil, err
	}
	s, err := frost.ParseSharing(record.GetSharing())
	if err != nil {
		return nil, err
	}
	const piece = "sharing-record"
	_, recovery := s.PublicShare(frost.Recovery)
	switch {
	case record.GetWallet() != wallet:
		return nil, refusal(piece, "wallet", "is another wallet")
	case s.GroupKey() != groupKey:
		return nil, refusal(piece, "sharing", "is of another key")
	case s.Epoch() != record.GetEpoch():
		return nil, refusal(piece, "sharing", "is of another epoch")
	case recovery != (len(order.GetRecoveryKey()) > 0):
		return nil, refusal(piece, "sharing", "is of other participants than the order's")
	}
	return s, nil
}

// advised gives an error of this package's own making what to do next.
func advised(err error, next string) error {
	var e *Error
	if errors.As(err, &e) {
		e.Next = next
	}
	return err
}

// Reshare carries new shares that the owner has ordered through to the co-signer's record, from whatever step a call before
// died at. Then the old share is erased from the home, and the co-signer's is gone: what leaked before signs nothing any
// more. Without an order it says what the owner has to do. Repeated after the end it changes nothing.
//
// Payments of this Agent wait meanwhile.
func (a *Agent) Reshare(ctx context.Context) (*Resharing, error) {
	const op = "make new shares"
	done, err := a.state.take(ctx)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer done()
	unlock, err := a.c.lockSecret(ctx, op, a.wallet)
	if err != nil {
		return nil, err
	}
	defer unlock()
	told, err := a.newest(ctx)
	if err != nil {
		return nil, err
	}
	if told == nil {
		if a.state.now().pending != nil {
			return nil, withheld(op)
		}
		return nil, a.notOrdered(op)
	}
	order := new(typev1.ResharingOrder)
	if err := evidence.Peek(told.GetOrder(), order); err != nil {
		return nil, distrust(op, notMoved, "the owner's order does not decode", err)
	}
	r := &run{c: a.c, op: op, key: a.state.now(), save: a.saveKey, order: told.GetOrder(), m: order}
	if !sharingInForce(told) {
		if err := a.checkOrder(ctx, told.GetOrder()); err != nil {
			return nil, err
		}
		if told, err = r.carry(ctx, told); err != nil {
			return nil, err
		}
	}
	if err := r.adopt(told); err != nil {
		return nil, err
	}
	return newResharing(order, told), nil
}

// newest follows the wallet's request key and asks for its newest resharing. The secret's lock is held, so no call here may
// wait for it: callers do not renew.
func (a *Agent) newest(ctx context.Context) (*typev1.Resharing, error) {
	if err := a.follow(ctx); err != nil {
		return nil, err
	}
	k := a.state.now()
	told, _, err := a.c.getResharing(ctx, k.callerBy(k.request), a.wallet)
	return told, err
}

// notOrdered says what the owner has to do.
func (a *Agent) notOrdered(op string) error {
	err := local(op, typev1.Reason_REASON_NOT_FOUND, "nobody has ordered new shares for this wallet", "wallet", a.wallet)
	return advised(err, "show the owner this agent's offer: the owner refreshes the wallet with it, which orders the new shares; then repeat the call")
}

// checkOrder verifies an open order under the owner keys of the wallet's guard rails, as this home has verified them from the
// claim on, and that share 1 is for this home.
func (a *Agent) checkOrder(ctx context.Context, e *typev1.Envelope) error {
	const op = "check order"
	k := a.state.now()
	head, err := a.c.head(ctx, k.callerBy(k.request), a.wallet)
	if err != nil {
		return err
	}
	order, err := evidence.CheckResharingOrder(a.c.Installation(), head, e)
	switch {
	case err != nil:
		return distrust(op, notMoved, "the order for new shares is not the owner's", err)
	case !bytes.Equal(order.GetRequestKey(), k.request.public):
		return local(op, typev1.Reason_REASON_PERMISSION_DENIED, "the new share is ordered for another request key than this home's", "wallet", a.wallet)
	case order.GetReplace():
		err := local(op, typev1.Reason_REASON_WRONG_STATE, "share 1 is ordered anew with the recovery share's help", "wallet", a.wallet)
		return advised(err, "replace the share with the recovery file, in the home that ordered it")
	}
	return nil
}

// resharingPin is the name under which the newest resharing that this home has verified to be in force is pinned. For the
// owner it says what the present sharing is; with an agent's share it is all that a recovery share is opened from when no
// service answers any more. It holds no secret.
func resharingPin(wallet string) string { return "resharings/" + wallet }

// pinResharing pins a verified resharing. A newer one stays, and one of the same sharing that a recovery share is opened from
// is not replaced by one that it is not.
func (c *Client) pinResharing(wallet string, verified *typev1.Resharing) error {
	before, epoch, err := c.pinnedResharing(wallet)
	if err != nil {
		return err
	}
	order := new(typev1.ResharingOrder)
	if err := evidence.Peek(verified.GetOrder(), order); err != nil {
		return err
	}
	if next := order.GetToEpoch(); next < epoch || next == epoch && len(verified.GetDealings()) == 0 && before != nil {
		return nil
	}
	b, err := evidence.Marshal(verified)
	if err != nil {
		return err
	}
	return c.payments.Pin(resharingPin(wallet), b)
}

// pinnedResharing is the newest resharing that this home has verified, and the epoch that it made; nil and 0 for none.
func (c *Client) pinnedResharing(wallet string) (*typev1.Resharing, uint64, error) {
	b, err := c.payments.Pinned(resharingPin(wallet))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	told, order := new(typev1.Resharing), new(typev1.ResharingOrder)
	if err := evidence.Unmarshal(b, told); err != nil {
		return nil, 0, err
	}
	if err := evidence.Peek(told.GetOrder(), order); err != nil {
		return nil, 0, err
	}
	if order.GetWallet() != wallet || order.GetInstallation() != c.Installation().ID() {
		return nil, 0, errors.New("halfkey: a pinned resharing is another wallet's")
	}
	return told, order.GetToEpoch(), nil
}
