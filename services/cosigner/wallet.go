package cosigner

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// pin is what the co-signer holds of a sealed wallet, read together.
type pin struct {
	id     string
	wallet string
	owner  string // id
	// groupKey is the record's: the key that challenges are made of, never one from a request.
	groupKey [32]byte
	record   *typev1.Envelope
	head     *evidence.Head
	epoch    uint64
	// The rows that a decision on this pin compares; shareRow holds nothing if the share is lost.
	recordRow, headRow, shareRow row
	// revokedRow is read where new shares are dealt: it holds nothing while the head's request key was not revoked.
	revokedRow row
}

// rows are what a decision on this pin relies on. That no higher epoch has come is one of them: where the older share is kept,
// its own row does not change when a newer one is in force.
func (p *pin) rows() []row {
	rows := []row{p.recordRow, p.headRow, p.shareRow, {key: keyShare(p.id, p.epoch+1)}}
	if p.revokedRow.key != "" {
		rows = append(rows, p.revokedRow)
	}
	return rows
}

// subjects are all whose freezes stop the wallet.
func (p *pin) subjects(s *Service) []subject {
	return []subject{walletSubject(p.wallet, p.id), s.installationSubject(), ownerSubject(p.head.Document.GetOwner(), p.owner)}
}

// pin reads a wallet linearizably.
func (s *Service) pin(ctx context.Context, wallet string) (*pin, error) {
	p, _, err := s.pinAnd(ctx, wallet)
	return p, err
}

// pinAnd reads a wallet, and more rows of it at the same revision.
func (s *Service) pinAnd(ctx context.Context, wallet string, keys ...func(id string) string) (*pin, []row, error) {
	id, err := walletID(wallet)
	if err != nil {
		return nil, nil, err
	}
	ops := []clientv3.Op{
		clientv3.OpGet(keyRecord(id)),
		clientv3.OpGet(keyHead(id)),
		clientv3.OpGet(prefixShares(id), clientv3.WithPrefix()),
	}
	for _, key := range keys {
		ops = append(ops, clientv3.OpGet(key(id)))
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.store.kv.Txn(operation).Then(ops...).Commit()
	if err != nil {
		return nil, nil, storeError(ctx, err)
	}
	p := &pin{id: id, wallet: wallet}
	if p.recordRow, err = s.store.one(keyRecord(id), resp.Responses[0]); err != nil {
		return nil, nil, err
	}
	if p.headRow, err = s.store.one(keyHead(id), resp.Responses[1]); err != nil {
		return nil, nil, err
	}
	if !p.recordRow.exists() {
		return nil, nil, refusal(typev1.Reason_REASON_NOT_FOUND, "the co-signer has not sealed this wallet")
	}
	if err := p.decode(); err != nil {
		return nil, nil, err
	}
	// Keys sort as epochs do: the last is in force.
	p.shareRow = row{key: keyShare(id, firstEpoch)}
	if shares := resp.Responses[2].GetResponseRange().GetKvs(); len(shares) > 0 {
		last := shares[len(shares)-1]
		p.shareRow = row{key: string(last.Key), value: last.Value, mod: last.ModRevision}
		if p.epoch, err = epochOf(id, p.shareRow.key); err != nil {
			return nil, nil, err
		}
	}
	more := make([]row, len(keys))
	for n, key := range keys {
		if more[n], err = s.store.one(key(id), resp.Responses[3+n]); err != nil {
			return nil, nil, err
		}
	}
	return p, more, nil
}

func (p *pin) decode() error {
	w := new(typev1.WalletRecord)
	var err error
	if p.record, err = loadStatement(p.recordRow, w); err != nil {
		return err
	}
	p.groupKey = [32]byte(w.GetGroupKey())
	e, err := decodeEnvelope(p.headRow.key, p.headRow.value)
	if err != nil {
		return err
	}
	if p.head, err = evidence.NewHead(e); err != nil {
		return fmt.Errorf("%s: %w: %w", p.headRow.key, errDamaged, err)
	}
	if w.GetWallet() != p.wallet || p.head.Document.GetWallet() != p.wallet {
		return fmt.Errorf("%s: %w", p.recordRow.key, errDamaged)
	}
	p.owner, err = ownerID(p.head.Document.GetOwner())
	return err
}

// GetWallet answers with record and head, which hold nothing secret.
func (s *Service) GetWallet(ctx context.Context, req *cosignerv1.GetWalletRequest) (*cosignerv1.GetWalletResponse, error) {
	p, err := s.pin(ctx, req.GetWallet())
	if err != nil {
		return nil, refused(err)
	}
	record, err := s.resign(p.record, new(typev1.WalletRecord))
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.GetWalletResponse{Record: record, GuardRails: p.head.Envelope}, nil
}
