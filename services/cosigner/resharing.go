package cosigner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// New shares for a wallet's key: the owner's order, its run in four steps (resharing_step.go), and what is kept of it. The order
// is held to the guard rails in force and to the epoch in force at every step. A frozen wallet can have its key dealt anew: no
// step signs anything but the key-test message, which pays nothing. A request key that was revoked gets no share any more; the
// one that takes the wallet over does, while the revocation still stops every payment.

const (
	// dealingMax bounds a dealing; one for three recipients is some 240 bytes.
	dealingMax = 2 << 10
	// replacedMax bounds the orders that are replaced before one is carried out: each is a statement that an owner signed.
	replacedMax = 64
)

// OrderResharing takes an owner's order, and with it ends the run of another one that has not been carried out. An order that
// was replaced does not come back: else whoever kept it could bring in the request key or recovery key that the owner has since
// thought better of. A repeat answers with what has become of it.
func (s *Service) OrderResharing(ctx context.Context, req *cosignerv1.OrderResharingRequest) (*cosignerv1.OrderResharingResponse, error) {
	routing := new(typev1.ResharingOrder)
	if err := evidence.Peek(req.GetOrder(), routing); err != nil {
		return nil, refused(err)
	}
	digest := evidence.EnvelopeDigest(req.GetOrder())
	var held *resharing
	err := etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		p, before, err := s.resharing(ctx, routing.GetWallet())
		if err != nil {
			return false, err
		}
		if before != nil && before.orderDigest == digest && before.inForce() {
			held = before
			return true, nil
		}
		order, err := s.checkOrder(ctx, p, req.GetOrder())
		if err != nil {
			return false, err
		}
		if before != nil && before.orderDigest == digest {
			held = before
			return true, nil
		}
		if held, err = s.newOrder(ctx, p, before, order, req.GetOrder()); err != nil {
			return false, err
		}
		return s.writeResharing(ctx, p, held)
	})
	if err != nil {
		return nil, refused(s.unopened(err))
	}
	view, err := s.view(held)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.OrderResharingResponse{Resharing: view}, nil
}

// checkOrder holds an order to the wallet's head and to the epoch in force.
func (s *Service) checkOrder(ctx context.Context, p *pin, e *typev1.Envelope) (*typev1.ResharingOrder, error) {
	order, err := evidence.CheckResharingOrder(s.installation, p.head, e)
	if err != nil {
		return nil, err
	}
	if err := s.checkNotRevoked(ctx, p); err != nil {
		return nil, err
	}
	if !p.shareRow.exists() {
		_, err := s.share(ctx, p) // says that it is lost
		return nil, err
	}
	switch {
	case order.GetFromEpoch() != p.epoch:
		return nil, refusedOrder("from_epoch", "the order is from another epoch than the one in force", p.epoch)
	case order.GetToEpoch() != p.epoch+1:
		return nil, refusedOrder("to_epoch", "the order is not to the epoch after the one in force", p.epoch)
	}
	return order, nil
}

func refusedOrder(field, message string, epoch uint64) error {
	return refusal(typev1.Reason_REASON_EVIDENCE_MISMATCH, message,
		"evidence", "resharing-order", "field", field, "epoch", strconv.FormatUint(epoch, 10))
}

// newOrder decides whether an order that was checked takes the place of the one before.
func (s *Service) newOrder(
	ctx context.Context, p *pin, before *resharing, order *typev1.ResharingOrder, e *typev1.Envelope,
) (*resharing, error) {
	digest := evidence.EnvelopeDigest(e)
	r := &resharing{
		resharingRow: resharingRow{Stage: stageOrdered},
		row:          row{key: keyResharing(p.id)}, envelope: e, order: order, orderDigest: digest,
	}
	if before != nil {
		r.row = before.row
		switch {
		case before.Stage == stagePending:
			return nil, refusal(typev1.Reason_REASON_WRONG_STATE, "the recovery share of the sharing in force has not been confirmed",
				"state", before.state())
		case bytes.Equal(before.order.GetRun(), order.GetRun()):
			return nil, refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the run was ordered with other content", "field", "run")
		case before.Stage == stageDone: // its epoch is the one in force, so no order before it can come back
		case slices.ContainsFunc(before.Replaced, digest.Is):
			return nil, refusal(typev1.Reason_REASON_EVIDENCE_STALE, "the order was replaced by another",
				"evidence", "resharing-order", "field", "run")
		case len(before.Replaced) >= replacedMax:
			return nil, refusal(typev1.Reason_REASON_LIMIT_EXCEEDED, "too many orders were replaced; carry out the newest")
		default:
			r.Replaced = append(slices.Clone(before.Replaced), before.orderDigest.Bytes())
		}
	}
	share, err := s.share(ctx, p)
	if err != nil {
		return nil, err
	}
	defer share.Zero()
	_, recovery := share.Sharing().PublicShare(frost.Recovery)
	switch {
	case order.GetReplace() && !recovery:
		return nil, refusedOrder("replace", "the sharing in force has no recovery share", p.epoch)
	case len(order.GetRecoveryKey()) == 0 && recovery:
		// Who has a share keeps one: frost deals to no fewer than before.
		return nil, refusedOrder("recovery_key", "the sharing in force has a recovery share, and the order leaves it out", p.epoch)
	}
	if r.Order, err = encodeEnvelope(e); err != nil {
		return nil, err
	}
	return r, nil
}

// GetResharing answers with a wallet's newest resharing and the epoch in force. Nothing in it is secret: a dealing is encrypted
// to whom it is for.
func (s *Service) GetResharing(ctx context.Context, req *cosignerv1.GetResharingRequest) (*cosignerv1.GetResharingResponse, error) {
	p, r, err := s.resharing(ctx, req.GetWallet())
	if err != nil {
		return nil, refused(err)
	}
	if !p.shareRow.exists() {
		_, err := s.share(ctx, p)
		return nil, refused(err)
	}
	resp := &cosignerv1.GetResharingResponse{Epoch: p.epoch}
	if r != nil {
		if resp.Resharing, err = s.view(r); err != nil {
			return nil, refused(err)
		}
	}
	return resp, nil
}

// ConfirmRecovery takes the owner's word that the recovery share is kept, and destroys what was kept for it: the older share, and
// the dealings. A repeat answers the same.
func (s *Service) ConfirmRecovery(
	ctx context.Context, req *cosignerv1.ConfirmRecoveryRequest,
) (*cosignerv1.ConfirmRecoveryResponse, error) {
	routing := new(typev1.RecoveryConfirmation)
	if err := evidence.Peek(req.GetConfirmation(), routing); err != nil {
		return nil, refused(err)
	}
	var done *resharing
	err := etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		p, r, err := s.resharing(ctx, routing.GetWallet())
		if err != nil {
			return false, err
		}
		switch {
		case r == nil:
			return false, refusal(typev1.Reason_REASON_NOT_FOUND, "the wallet's key was never dealt anew")
		case !r.inForce() || len(r.order.GetRecoveryKey()) == 0:
			return false, r.wrongState("no recovery share of this wallet waits to be confirmed")
		}
		record, err := decodeEnvelope(r.row.key, r.Record)
		if err != nil {
			return false, err
		}
		if _, err := evidence.CheckRecoveryConfirmation(s.installation, p.head, record, req.GetConfirmation()); err != nil {
			return false, err
		}
		done = r
		if r.Stage == stageDone {
			return true, nil
		}
		r.finish()
		return s.writeResharing(ctx, p, r, deleteOlder(p.id, r.order.GetToEpoch()))
	})
	if err != nil {
		return nil, refused(err)
	}
	view, err := s.view(done)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.ConfirmRecoveryResponse{Resharing: view}, nil
}

// deleteOlder destroys every share of an epoch before this one.
func deleteOlder(id string, epoch uint64) clientv3.Op {
	return clientv3.OpDelete(prefixShares(id), clientv3.WithRange(keyShare(id, epoch)))
}

// resharing reads a wallet and its newest resharing at one revision; nil if there was none.
func (s *Service) resharing(ctx context.Context, wallet string) (*pin, *resharing, error) {
	p, rows, err := s.pinAnd(ctx, wallet, keyResharing)
	if err != nil || !rows[0].exists() {
		return p, nil, err
	}
	r, err := loadResharing(rows[0])
	if err != nil {
		return nil, nil, err
	}
	if r.order.GetWallet() != wallet {
		return nil, nil, fmt.Errorf("%s: %w", r.row.key, errDamaged)
	}
	return p, r, nil
}

// writeResharing stores a resharing, with what else changes by it, while wallet and resharing are still as they were read.
func (s *Service) writeResharing(ctx context.Context, p *pin, r *resharing, changes ...clientv3.Op) (bool, error) {
	value, err := encodeRow(&r.resharingRow)
	if err != nil {
		return false, err
	}
	return s.store.write(ctx, append(p.rows(), r.row), append(changes, s.store.put(r.row.key, value))...)
}

// inForce reports whether the sharing that was ordered is the wallet's.
func (r *resharing) inForce() bool { return r.Stage == stagePending || r.Stage == stageDone }

// state is the stage as the contract tells it.
func (r *resharing) state() string { return r.contractState().String()[len("RESHARING_STATE_"):] }

func (r *resharing) contractState() typev1.ResharingState {
	switch r.Stage {
	case stageOrdered:
		return typev1.ResharingState_RESHARING_STATE_ORDERED
	case stagePending:
		return typev1.ResharingState_RESHARING_STATE_RECOVERY_PENDING
	case stageDone:
		return typev1.ResharingState_RESHARING_STATE_DONE
	default:
		return typev1.ResharingState_RESHARING_STATE_STARTED
	}
}

func (r *resharing) wrongState(message string) error {
	return refusal(typev1.Reason_REASON_WRONG_STATE, message, "state", r.state())
}

// reset ends a run: its secrets are gone, and its order can be started anew.
func (r *resharing) reset() {
	r.resharingRow = resharingRow{Order: r.Order, Replaced: r.Replaced, Stage: stageOrdered}
}

// finish drops all that only a recovery share needs.
func (r *resharing) finish() {
	r.Stage = stageDone
	r.Dealing, r.PeerDealing, r.Certificate, r.PeerCertificate = nil, nil, nil, nil
}

// inOrder puts what is the own dealer's and what is the other's into the order of the dealers.
func inOrder[T any](order *typev1.ResharingOrder, own, peer T) [2]T {
	if order.GetReplace() {
		return [2]T{own, peer} // co-signer, recovery
	}
	return [2]T{peer, own} // agent, co-signer
}

// view is a resharing as the contract shows it, with the own statements under the record key in force.
func (s *Service) view(r *resharing) (*typev1.Resharing, error) {
	v := &typev1.Resharing{State: r.contractState(), Order: r.envelope}
	if r.Stage == stageOrdered {
		return v, nil
	}
	var err error
	if v.Start, err = decodeEnvelope(r.row.key, r.Start); err != nil {
		return nil, err
	}
	if v.Answer, err = s.own(r.row.key, r.Answer, new(typev1.ResharingAnswer)); err != nil {
		return nil, err
	}
	if !r.inForce() {
		return v, nil
	}
	if v.Record, err = s.own(r.row.key, r.Record, new(typev1.SharingRecord)); err != nil {
		return nil, err
	}
	if r.Stage == stagePending {
		for _, dealing := range inOrder(r.order, r.Dealing, r.PeerDealing) {
			v.Dealings = append(v.Dealings, dealing)
		}
		for _, certificate := range inOrder(r.order, r.Certificate, r.PeerCertificate) {
			v.Certificates = append(v.Certificates, certificate)
		}
	}
	return v, nil
}

// own decodes an own statement that a row holds, and answers with it under the record key in force.
func (s *Service) own(key string, b []byte, m statement) (*typev1.Envelope, error) {
	e, err := decodeEnvelope(key, b)
	if err != nil {
		return nil, err
	}
	return s.resign(e, m)
}

// unopened tells a key service that is away from a secret that does not open: the same call works once it is back.
func (s *Service) unopened(err error) error {
	var said *fault.Fault
	if !errors.Is(err, errUnopened) || errors.As(err, &said) || s.sealer.reachable(s.store.sealedRoot) {
		return err
	}
	return fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, no, "the co-signer's key-encryption key is not reachable")
}
