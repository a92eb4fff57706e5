package cosigner

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// SetGuardRails makes a signed document the head if it follows the own one. Releases that read the old head no longer pass
// from the moment this is durable; the acknowledgement says so. A co-signer restored from an older copy is led forward by
// the versions in order, each under the owner keys of the one before.
func (s *Service) SetGuardRails(ctx context.Context, req *cosignerv1.SetGuardRailsRequest) (*cosignerv1.SetGuardRailsResponse, error) {
	doc := new(typev1.GuardRails)
	if err := evidence.Peek(req.GetGuardRails(), doc); err != nil { // for routing only: Accept verifies
		return nil, refused(err)
	}
	var head *evidence.Head
	err := etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		p, err := s.pin(ctx, doc.GetWallet())
		if err != nil {
			return false, err
		}
		if head, err = evidence.Accept(s.installation, p.head, req.GetGuardRails()); err != nil {
			return false, err
		}
		if head.Digest == p.head.Digest {
			return true, nil
		}
		value, err := encodeEnvelope(head.Envelope)
		if err != nil {
			return false, err
		}
		changes := append([]clientv3.Op{s.store.put(keyHead(p.id), value)}, s.nameOwnerKeys(p.owner, head)...)
		return s.store.write(ctx, []row{p.recordRow, p.headRow}, changes...)
	})
	if err != nil {
		return nil, refused(err)
	}
	acknowledgement, err := s.sign(&typev1.Acknowledgement{
		Installation:     s.installation.ID(),
		Wallet:           head.Document.GetWallet(),
		Kind:             typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS,
		GuardRailsNumber: head.Document.GetNumber(),
		GuardRailsDigest: head.Digest.Bytes(),
		TimeMillis:       s.clock().UnixMilli(),
	})
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.SetGuardRailsResponse{Acknowledgement: acknowledgement}, nil
}

// nameOwnerKeys lists the owner keys of an accepted document as keys that may end owner-wide freezes: only whose statements
// are kept; whether one counts for a wallet is decided by that wallet's head.
func (s *Service) nameOwnerKeys(owner string, head *evidence.Head) []clientv3.Op {
	var changes []clientv3.Op
	for _, k := range head.Document.GetOwnerKeys() {
		changes = append(changes, s.store.put(keyOwnerKey(owner, k), nil))
	}
	return changes
}
