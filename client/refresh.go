package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// runSize is the size of a run's random id.
const runSize = 16

// Refresh answers a leak, and needs no freeze: it puts the request key of an agent's offer in the guard rails, which are
// otherwise kept as they are and in force with policy, ledger and co-signer when it returns, so that the key which leaked gets
// no call through; and it orders new shares, which make the share that leaked worthless as soon as the agent has carried the
// order out by Reshare. The address stays.
//
// A wallet with a recovery share keeps it: that one is renewed too, and until the owner has opened it by OpenRecovery the
// co-signer keeps its older share, so that an older agent's share and the older recovery share, in one hand, are still the
// whole key. Repeated with the same offer Refresh goes on from where it stopped, and orders nothing twice.
func (o *Owner) Refresh(ctx context.Context, offer Offer) (*Resharing, error) {
	const op = "refresh"
	if !evidence.ValidKey(offer.RequestKey[:]) {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the offer holds no key", "field", "offer")
	}
	head, err := o.nameRequestKey(ctx, offer.Wallet, offer.RequestKey[:])
	if err != nil {
		return nil, err
	}
	now, err := o.standing(ctx, head)
	if err != nil {
		return nil, err
	}
	if sharingInForce(now.told) && bytes.Equal(now.order.GetRequestKey(), offer.RequestKey[:]) {
		return newResharing(now.order, now.told), nil // It was carried out.
	}
	if err := now.settled(op); err != nil {
		return nil, err
	}
	if now.recoveryErr != nil {
		return nil, now.recoveryErr
	}
	return o.order(ctx, op, head, now, &typev1.ResharingOrder{RequestKey: offer.RequestKey[:], FromEpoch: now.epoch, RecoveryKey: now.recovery})
}

// nameRequestKey puts a version of the guard rails in force that differs from the head in its request key alone.
func (o *Owner) nameRequestKey(ctx context.Context, wallet string, key []byte) (*evidence.Head, error) {
	head, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	next := successor(head)
	next.RequestKey = bytes.Clone(key)
	if bytes.Equal(head.Document.GetRequestKey(), key) {
		if err := o.signs(head); err != nil {
			return nil, err
		}
		_, err = o.deliver(ctx, head.Envelope, head)
	} else {
		_, err = o.setDocument(ctx, head, next)
	}
	if err != nil {
		return nil, err
	}
	return o.c.pinnedHead(wallet)
}

// standing is what a wallet's owner knows of its sharing.
type standing struct {
	// epoch is the sharing's in force.
	epoch uint64
	// inForce is that sharing; nil if an open order ends it, which the co-signer says no more of, and before the first.
	inForce *frost.Sharing
	// recovery is the static key of its recovery share, nil for none; recoveryErr says why it is not known.
	recovery    []byte
	recoveryErr error
	// told is the newest resharing and order what it orders; nil if there was none.
	told  *typev1.Resharing
	order *typev1.ResharingOrder
}

// standing asks how a wallet's key is shared, and verifies the answer: a sharing in force by the co-signer's record and the
// owner's own signature on its order. It is not older than what this home has seen before; one that is older all the same names
// an epoch that the co-signer refuses.
func (o *Owner) standing(ctx context.Context, head *evidence.Head) (*standing, error) {
	const op = "get resharing"
	s, err := o.verifyStanding(ctx, head)
	if err != nil {
		return nil, err
	}
	wallet := head.Document.GetWallet()
	_, seen, err := o.c.pinnedResharing(wallet)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	if s.epoch < seen {
		return nil, distrust(op, notMoved, "a newer sharing of the wallet's key was seen before", nil)
	}
	if s.inForce == nil {
		return s, nil
	}
	// What a recovery share is opened from was not verified here, and is not pinned.
	return s, wrap(op, o.c.pinResharing(wallet, &typev1.Resharing{State: s.told.GetState(), Order: s.told.GetOrder(), Record: s.told.GetRecord()}), notMoved)
}

func (o *Owner) verifyStanding(ctx context.Context, head *evidence.Head) (*standing, error) {
	const op = "get resharing"
	wallet := head.Document.GetWallet()
	record, err := o.record(ctx, wallet)
	if err != nil {
		return nil, err
	}
	told, epoch, err := o.c.getResharing(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	if told == nil {
		if epoch != 1 {
			return nil, distrust(op, notMoved, "the wallet's shares are said to have been made anew, and the order for it is not in the answer", nil)
		}
		return &standing{epoch: 1}, nil
	}
	m, err := o.checkOrder(head, told.GetOrder())
	if err != nil {
		return nil, distrust(op, notMoved, "the newest order for new shares is not this owner's", err)
	}
	s := &standing{told: told, order: m}
	if !sharingInForce(told) {
		s.epoch = m.GetFromEpoch()
		s.recovery, s.recoveryErr = o.recoveryBefore(m)
		return s, nil
	}
	s.inForce, err = checkSharing(o.c.Installation(), told, wallet, [32]byte(record.GetGroupKey()))
	if err != nil {
		return nil, distrust(op, notMoved, "the record of the wallet's sharing does not verify", err)
	}
	s.epoch, s.recovery = s.inForce.Epoch(), m.GetRecoveryKey()
	return s, nil
}

// checkOrder verifies an order under the owner's keys, those of the guard rails and all that it ever had: they may have
// changed since.
func (o *Owner) checkOrder(head *evidence.Head, e *typev1.Envelope) (*typev1.ResharingOrder, error) {
	m := new(typev1.ResharingOrder)
	if _, err := evidence.Open(e, m, slices.Concat(head.Document.GetOwnerKeys(), o.everyKey())...); err != nil {
		return nil, err
	}
	switch {
	case m.GetInstallation() != o.c.Installation().ID():
		return nil, refusal("resharing-order", "installation", "is another installation")
	case m.GetWallet() != head.Document.GetWallet():
		return nil, refusal("resharing-order", "wallet", "is another wallet")
	}
	return m, nil
}

// recoveryBefore is the recovery key of the sharing that an open order ends. The co-signer does not say it before the order
// was carried out; this home knows if it has seen that sharing come into force.
func (o *Owner) recoveryBefore(open *typev1.ResharingOrder) ([]byte, error) {
	const op = "get resharing"
	// An order that this one has replaced may have been kept: its recovery key could be one that the owner has thought better of.
	given, err := o.givenOrder(open.GetWallet())
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	if given.GetFromEpoch() == open.GetFromEpoch() && !bytes.Equal(given.GetRecoveryKey(), open.GetRecoveryKey()) {
		err := local(op, typev1.Reason_REASON_WRONG_STATE, "the open order names another recovery share than the order that this home gave last",
			"wallet", open.GetWallet())
		return nil, advised(err, "create the recovery share again with its file, or let the agent carry out the open order first")
	}
	if len(open.GetRecoveryKey()) > 0 || open.GetFromEpoch() == 1 {
		return open.GetRecoveryKey(), nil
	}
	told, _, err := o.c.pinnedResharing(open.GetWallet())
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	m := new(typev1.ResharingOrder)
	if told != nil && evidence.Peek(told.GetOrder(), m) == nil && m.GetToEpoch() == open.GetFromEpoch() {
		return m.GetRecoveryKey(), nil
	}
	err = local(op, typev1.Reason_REASON_WRONG_STATE, "this home does not know whether the wallet has a recovery share", "wallet", open.GetWallet())
	return nil, advised(err, "let the agent carry out the open order first")
}

// order signs and brings an order. One that is open and asks for the same is brought again.
func (o *Owner) order(ctx context.Context, op string, head *evidence.Head, now *standing, want *typev1.ResharingOrder) (*Resharing, error) {
	if err := o.signs(head); err != nil {
		return nil, err
	}
	want.Installation, want.Wallet, want.ToEpoch = o.c.Installation().ID(), head.Document.GetWallet(), want.GetFromEpoch()+1
	e := now.told.GetOrder()
	// One that was started is ordered anew: a home that has lost what it began could not go on, and one that has not begins again.
	if now.told.GetState() != reshareOrdered || !sameOrdered(now.order, want) {
		run := make([]byte, runSize)
		if _, err := rand.Read(run); err != nil {
			return nil, wrap(op, err, notMoved)
		}
		want.Run = run
		var err error
		if e, err = evidence.Sign(o.key, want); err != nil {
			return nil, wrap(op, err, notMoved)
		}
	}
	m, err := evidence.CheckResharingOrder(o.c.Installation(), head, e)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	resp, err := invoke(ctx, o.c, rpc{op: op}, &gatewayv1.OrderResharingRequest{Order: e}, gatewayv1.GatewayServiceClient.OrderResharing)
	if err != nil {
		return nil, err
	}
	if !sameEnvelope(resp.GetResharing().GetOrder(), e) {
		return nil, distrust(op, notMoved, "the order was not taken as it was given", nil)
	}
	b, err := evidence.Marshal(e)
	if err == nil {
		err = o.c.payments.Pin(orderPin(m.GetWallet()), b)
	}
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return newResharing(m, resp.GetResharing()), nil
}

// orderPin is the name under which the order is pinned that this home gave last and that was taken.
func orderPin(wallet string) string { return "orders/" + wallet }

// givenOrder is that order; nil for none.
func (o *Owner) givenOrder(wallet string) (*typev1.ResharingOrder, error) {
	b, err := o.c.payments.Pinned(orderPin(wallet))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e, m := new(typev1.Envelope), new(typev1.ResharingOrder)
	if err := evidence.Unmarshal(b, e); err != nil {
		return nil, err
	}
	return m, evidence.Peek(e, m)
}

// sameOrdered reports whether two orders ask for the same but for the run's id.
func sameOrdered(a, b *typev1.ResharingOrder) bool {
	x, y := proto.CloneOf(a), proto.CloneOf(b)
	x.Run, y.Run = nil, nil
	return proto.Equal(x, y)
}
