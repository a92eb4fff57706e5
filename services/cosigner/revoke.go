package cosigner

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// RevocationsMax is how many freezes beyond FreezesMax an owner's revocations find room for: an agent that has frozen its wallet
// as often as it may keeps nobody from revoking it.
const RevocationsMax = 100

// Revoke records an owner's revocation of an agent: a freeze that every release sees which begins after its acknowledgement, and
// whose end is taken only under a head that names another request key. The co-signer's share stays sealed for whoever takes the
// wallet over; the revoked key gets no new one.
func (s *Service) Revoke(ctx context.Context, req *cosignerv1.RevokeRequest) (*cosignerv1.RevokeResponse, error) {
	m := new(typev1.Revocation)
	if err := evidence.Peek(req.GetRevocation(), m); err != nil { // for routing only
		return nil, refused(err)
	}
	id, err := walletID(m.GetWallet())
	if err != nil {
		return nil, err
	}
	sub := walletSubject(m.GetWallet(), id)
	err = etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		return s.revoke(ctx, sub, m, req.GetRevocation())
	})
	if err != nil {
		return nil, refused(err)
	}
	result, err := s.acknowledge(ctx, &typev1.Acknowledgement{
		Kind: typev1.Acknowledged_ACKNOWLEDGED_REVOCATION, FreezeId: m.GetFreezeId(),
		RevocationDigest: evidence.EnvelopeDigest(req.GetRevocation()).Bytes(),
	}, sub, nil)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.RevokeResponse{Result: result}, nil
}

// revoke records a revocation once, on what the store holds now.
func (s *Service) revoke(ctx context.Context, sub subject, m *typev1.Revocation, e *typev1.Envelope) (done bool, err error) {
	key := sub.keyFreeze(m.GetFreezeId())
	p, rows, err := s.pinAnd(ctx, sub.name, func(string) string { return key })
	if err != nil {
		return false, err
	}
	used := refusal(typev1.Reason_REASON_FREEZE_ID_USED, "the id is another freeze's", "freeze_id", m.GetFreezeId())
	if rows[0].exists() {
		_, held, err := revocationOf(rows[0])
		if err == nil && (held == nil || evidence.EnvelopeDigest(held) != evidence.EnvelopeDigest(e)) {
			err = used
		}
		return err == nil, err // It was verified when it came; the head may have moved on since.
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.store.kv.Txn(operation).Then(
		clientv3.OpGet(sub.prefixEnds(m.GetFreezeId()), clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly()),
		clientv3.OpGet(sub.prefixFreezes(), clientv3.WithPrefix(), clientv3.WithCountOnly()),
	).Commit()
	if err != nil {
		return false, storeError(ctx, err)
	}
	if len(resp.Responses[0].GetResponseRange().GetKvs()) > 0 {
		return false, refusal(typev1.Reason_REASON_FREEZE_ID_USED, "the end of this freeze is held already", "freeze_id", m.GetFreezeId())
	}
	if _, err := evidence.CheckRevocation(s.installation, p.head, e); err != nil {
		return false, err
	}
	if resp.Responses[1].GetResponseRange().GetCount() >= FreezesMax+RevocationsMax {
		return false, refusal(typev1.Reason_REASON_LIMIT_EXCEEDED, "the wallet is frozen already, too many times")
	}
	statement, err := encodeEnvelope(e)
	if err != nil {
		return false, err
	}
	value, err := encodeRow(&freezeRow{Caller: p.head.Document.GetOwner(), TimeMillis: s.clock().UnixMilli(), Revocation: statement})
	if err != nil {
		return false, err
	}
	// The end may arrive between the read and the write, as with a freeze.
	unchanged := append(compare([]row{p.headRow, rows[0]}),
		clientv3.Compare(clientv3.CreateRevision(sub.prefixEnds(m.GetFreezeId())), "=", 0).WithPrefix())
	put, err := s.store.kv.Txn(operation).If(unchanged...).
		Then(s.store.put(key, value), s.store.put(keyRevoked(p.id, m.GetRequestKey()), statement)).Commit()
	if err != nil {
		return false, storeError(ctx, err)
	}
	if put.Succeeded {
		s.instruments.freezes.Count(ctx, sub.scope)
	}
	return put.Succeeded, nil
}

// checkNotRevoked refuses to deal a share to a request key that the owner revoked, also after another one had taken its place.
// What is decided on the pin from here on compares the row.
func (s *Service) checkNotRevoked(ctx context.Context, p *pin) error {
	rows, err := s.store.read(ctx, keyRevoked(p.id, p.head.Document.GetRequestKey()))
	if err != nil {
		return err
	}
	if rows[0].exists() {
		return refusal(typev1.Reason_REASON_REVOKED, "the request key that the guard rails in force name was revoked", "wallet", p.wallet)
	}
	p.revokedRow = rows[0]
	return nil
}

// revocationOf is the revocation that a freeze's row holds; nil if it is none, or there is no row.
func revocationOf(r row) (*typev1.Revocation, *typev1.Envelope, error) {
	if !r.exists() {
		return nil, nil, nil
	}
	var held freezeRow
	if err := decodeRow(r, &held); err != nil || len(held.Revocation) == 0 {
		return nil, nil, err
	}
	m := new(typev1.Revocation)
	e, err := loadStatement(row{key: r.key, value: held.Revocation}, m)
	return m, e, err
}
