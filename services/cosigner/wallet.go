package cosigner

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// documents are what a wallet's record and head say: all that a decision needs of the wallet that is neither secret nor a freeze.
// They are shared by all calls, and none of them changes them.
type documents struct {
	owner string // id
	// groupKey is the record's: the key that challenges are made of, never one from a request.
	groupKey [32]byte
	record   *typev1.Envelope
	head     *evidence.Head
}

// pin is what the co-signer holds of a sealed wallet, read together.
type pin struct {
	*documents
	id     string
	wallet string
	epoch  uint64
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
	// The share and whatever else is asked for are read each time: nothing secret is remembered, and nothing that stops a wallet.
	ops := []clientv3.Op{clientv3.OpGet(prefixShares(id), clientv3.WithPrefix())}
	for _, key := range keys {
		ops = append(ops, clientv3.OpGet(key(id)))
	}
	read, err := s.store.documents.Read(ctx, s.store.kv, id, ops...)
	if err != nil {
		return nil, nil, err
	}
	p := &pin{
		documents: read.Content, id: id, wallet: wallet,
		recordRow: row{key: keyRecord(id), mod: read.Revisions[0]}, headRow: row{key: keyHead(id), mod: read.Revisions[1]},
	}
	// Keys sort as epochs do: the last is in force.
	p.shareRow = row{key: keyShare(id, firstEpoch)}
	if shares := read.More[0].GetResponseRange().GetKvs(); len(shares) > 0 {
		last := shares[len(shares)-1]
		p.shareRow = row{key: string(last.Key), value: last.Value, mod: last.ModRevision}
		if p.epoch, err = epochOf(id, p.shareRow.key); err != nil {
			return nil, nil, err
		}
	}
	more := make([]row, len(keys))
	for n, key := range keys {
		if more[n], err = s.store.one(key(id), read.More[1+n]); err != nil {
			return nil, nil, err
		}
	}
	return p, more, nil
}

// newDocuments reads the documents of wallets.
func (s *store) newDocuments() *etcdstore.Decoded[*documents] {
	return etcdstore.NewDecoded(func(id string) []string { return []string{keyRecord(id), keyHead(id)} }, s.decodeDocuments)
}

func (s *store) decodeDocuments(id string, rows []etcdstore.Value) (*documents, error) {
	record, err := s.row(keyRecord(id), rows[0])
	if err != nil {
		return nil, err
	}
	head, err := s.row(keyHead(id), rows[1])
	if err != nil {
		return nil, err
	}
	if !record.exists() {
		return nil, refusal(typev1.Reason_REASON_NOT_FOUND, "the co-signer has not sealed this wallet")
	}
	d, w := new(documents), new(typev1.WalletRecord)
	if d.record, err = loadStatement(record, w); err != nil {
		return nil, err
	}
	d.groupKey = [32]byte(w.GetGroupKey())
	e, err := decodeEnvelope(head.key, head.value)
	if err != nil {
		return nil, err
	}
	if d.head, err = evidence.NewHead(e); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", head.key, errDamaged, err)
	}
	if wallet := resource.Wallet(id); w.GetWallet() != wallet || d.head.Document.GetWallet() != wallet {
		return nil, fmt.Errorf("%s: %w", record.key, errDamaged)
	}
	d.owner, err = ownerID(d.head.Document.GetOwner())
	return d, err
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
