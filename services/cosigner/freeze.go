package cosigner

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// FreezesMax bounds the freezes in force on one wallet or on the installation, which is stopped by the first, and all
	// owner-wide freezes ever of one owner, who can freeze each wallet beyond it.
	FreezesMax = 1000
	// callerMax bounds who froze, which is kept for people.
	callerMax = 80
	// ownerRowsMax bounds what a release reads of an owner's freezes and their ends. Beyond it the owner's wallets count as
	// frozen: what cannot be read whole does not let through.
	ownerRowsMax = 8 * FreezesMax
	// listedFreezesMax bounds the freezes, and the ends, of each subject in a list. What it leaves out is listed once these
	// have ended; the first one already stops.
	listedFreezesMax = 100
)

// subject is what a freeze stops.
type subject struct {
	scope typev1.Scope
	// name is the wallet's or owner's resource name; empty for the installation.
	name string
	// path is scope and id as keys have them.
	path string
}

func walletSubject(wallet, id string) subject {
	return subject{scope: typev1.Scope_SCOPE_WALLET, name: wallet, path: "wallet/" + id}
}

func ownerSubject(owner, id string) subject {
	return subject{scope: typev1.Scope_SCOPE_OWNER, name: owner, path: "owner/" + id}
}

func (s *Service) installationSubject() subject {
	return subject{scope: typev1.Scope_SCOPE_INSTALLATION, path: "installation/" + s.installation.ID()}
}

func (s subject) prefixFreezes() string           { return "freezes/" + s.path + "/" }
func (s subject) keyFreeze(freeze string) string  { return s.prefixFreezes() + freeze }
func (s subject) prefixUnfreezes() string         { return "unfreezes/" + s.path + "/" }
func (s subject) prefixEnds(freeze string) string { return s.prefixUnfreezes() + freeze + "/" }
func (s subject) keyUnfreeze(freeze string, signer []byte) string {
	return s.prefixEnds(freeze) + hex.EncodeToString(signer)
}

// subjectOf checks that scope and name say the same.
func (s *Service) subjectOf(scope typev1.Scope, wallet, owner string) (subject, error) {
	switch {
	case scope == typev1.Scope_SCOPE_WALLET && owner == "":
		id, err := walletID(wallet)
		return walletSubject(wallet, id), err
	case scope == typev1.Scope_SCOPE_OWNER && wallet == "":
		id, err := ownerID(owner)
		return ownerSubject(owner, id), err
	case scope == typev1.Scope_SCOPE_INSTALLATION && wallet == "" && owner == "":
		return s.installationSubject(), nil
	}
	return subject{}, invalid("freeze.scope", "does not say what wallet and owner say")
}

// Freeze records a freeze: every release that begins after its acknowledgement sees it. It needs no statement, because it
// only stops. An id whose end is held already stops nothing, and the answer says so.
func (s *Service) Freeze(ctx context.Context, req *cosignerv1.FreezeRequest) (*cosignerv1.FreezeResponse, error) {
	f := req.GetFreeze()
	sub, err := s.subjectOf(f.GetScope(), f.GetWallet(), f.GetOwner())
	if err != nil {
		return nil, err
	}
	if resource.ValidID(f.GetFreezeId()) != nil {
		return nil, invalid("freeze.freeze_id", "is not 1 to 63 of [a-z0-9-]")
	}
	if len(f.GetCaller()) > callerMax {
		return nil, invalid("freeze.caller", "is longer than a caller's name")
	}
	value, err := encodeRow(&freezeRow{Caller: f.GetCaller(), TimeMillis: s.clock().UnixMilli()})
	if err != nil {
		return nil, refused(err)
	}
	if err := etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		return s.freeze(ctx, sub, f.GetFreezeId(), value)
	}); err != nil {
		return nil, refused(err)
	}
	result, err := s.acknowledge(ctx,
		&typev1.Acknowledgement{Kind: typev1.Acknowledged_ACKNOWLEDGED_FREEZE, FreezeId: f.GetFreezeId()}, sub, nil)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.FreezeResponse{Result: result}, nil
}

// freeze records a freeze once, on what the store holds now.
func (s *Service) freeze(ctx context.Context, sub subject, id string, value []byte) (done bool, err error) {
	used := refusal(typev1.Reason_REASON_FREEZE_ID_USED, "the end of this freeze is held already", "freeze_id", id)
	key := sub.keyFreeze(id)
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.store.kv.Txn(operation).Then(
		clientv3.OpGet(key),
		clientv3.OpGet(sub.prefixEnds(id), clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly()),
		clientv3.OpGet(sub.prefixFreezes(), clientv3.WithPrefix(), clientv3.WithCountOnly()),
	).Commit()
	if err != nil {
		return false, storeError(ctx, err)
	}
	before, err := s.store.one(key, resp.Responses[0])
	if err != nil {
		return false, err
	}
	held, ended := before.exists(), len(resp.Responses[1].GetResponseRange().GetKvs()) > 0
	switch {
	case held && ended:
		return false, used
	case held:
		revocation, _, err := revocationOf(before)
		if err == nil && revocation != nil {
			err = refusal(typev1.Reason_REASON_FREEZE_ID_USED, "the id is a revocation's", "freeze_id", id)
		}
		return err == nil, err
	case ended && sub.scope != typev1.Scope_SCOPE_OWNER:
		return false, used
	case resp.Responses[2].GetResponseRange().GetCount() >= FreezesMax:
		return false, refusal(typev1.Reason_REASON_LIMIT_EXCEEDED, "too many freezes; freeze the wallets one by one if they are not frozen")
	}
	unchanged := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)}
	if sub.scope != typev1.Scope_SCOPE_OWNER {
		// The end may arrive between the read and the write. An owner's end counts for the wallets whose heads hold its key,
		// and for no others: that freeze is kept for these.
		unchanged = append(unchanged, clientv3.Compare(clientv3.CreateRevision(sub.prefixEnds(id)), "=", 0).WithPrefix())
	}
	put, err := s.store.kv.Txn(operation).If(unchanged...).Then(s.store.put(key, value)).Commit()
	if err != nil {
		return false, storeError(ctx, err)
	}
	if put.Succeeded && ended {
		return false, used
	}
	if put.Succeeded {
		s.instruments.freezes.Count(ctx, sub.scope)
	}
	return put.Succeeded, nil
}

// Unfreeze records the end of a freeze, whether or not the freeze has arrived: under an owner key of the wallet's head, a key
// that some document of the owner named, or an operator key.
func (s *Service) Unfreeze(ctx context.Context, req *cosignerv1.UnfreezeRequest) (*cosignerv1.UnfreezeResponse, error) {
	u := new(typev1.Unfreeze)
	if err := evidence.Peek(req.GetUnfreeze(), u); err != nil { // for routing only
		return nil, refused(err)
	}
	sub, err := s.subjectOf(u.GetScope(), u.GetWallet(), u.GetOwner())
	if err != nil {
		return nil, err
	}
	value, err := encodeEnvelope(req.GetUnfreeze())
	if err != nil {
		return nil, refused(err)
	}
	var signer []byte
	err = etcdstore.Retry(ctx, func(ctx context.Context) (done bool, err error) {
		var reliedOn []row
		if signer, reliedOn, err = s.mayUnfreeze(ctx, sub, u.GetFreezeId(), req.GetUnfreeze()); err != nil {
			return false, err
		}
		changes := []clientv3.Op{s.store.put(sub.keyUnfreeze(u.GetFreezeId(), signer), value)}
		if sub.scope != typev1.Scope_SCOPE_OWNER {
			changes = append(changes, clientv3.OpDelete(sub.keyFreeze(u.GetFreezeId())))
		}
		return s.store.write(ctx, reliedOn, changes...)
	})
	if err != nil {
		return nil, refused(err)
	}
	result, err := s.acknowledge(ctx,
		&typev1.Acknowledgement{Kind: typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE, FreezeId: u.GetFreezeId()}, sub, signer)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.UnfreezeResponse{Result: result}, nil
}

// mayUnfreeze verifies an unfreeze under the keys that may sign it for this subject, and says which rows said so. The end of a
// revocation waits until the wallet was taken over.
func (s *Service) mayUnfreeze(ctx context.Context, sub subject, id string, e *typev1.Envelope) (signer []byte, reliedOn []row, err error) {
	var keys [][]byte
	var head *evidence.Head
	switch sub.scope {
	case typev1.Scope_SCOPE_WALLET:
		p, rows, err := s.pinAnd(ctx, sub.name, func(string) string { return sub.keyFreeze(id) })
		if err != nil {
			return nil, nil, err
		}
		head, keys, reliedOn = p.head, p.head.Document.GetOwnerKeys(), []row{p.headRow, rows[0]}
	case typev1.Scope_SCOPE_OWNER:
		keys = evidence.Signers(e) // whose they are is looked up below
	}
	if _, signer, err = evidence.CheckUnfreeze(s.installation, e, keys...); err != nil {
		return nil, nil, err
	}
	switch sub.scope {
	case typev1.Scope_SCOPE_WALLET:
		revocation, _, err := revocationOf(reliedOn[1])
		if err == nil && revocation != nil {
			err = evidence.CheckTakenOver(revocation, head)
		}
		if err != nil {
			return nil, nil, err
		}
	case typev1.Scope_SCOPE_OWNER:
		id, err := ownerID(sub.name)
		if err != nil {
			return nil, nil, err
		}
		if reliedOn, err = s.store.read(ctx, keyOwnerKey(id, signer)); err != nil {
			return nil, nil, err
		}
		if !reliedOn[0].exists() {
			return nil, nil, refusal(typev1.Reason_REASON_BAD_STATEMENT, "no wallet of the owner names this owner key",
				"statement", "unfreeze", "field", "signatures")
		}
	}
	return signer, reliedOn, nil
}

// acknowledge states what is held and whether the subject is frozen now, by any freeze that stops it.
func (s *Service) acknowledge(ctx context.Context, a *typev1.Acknowledgement, sub subject, signer []byte) (*typev1.FreezeResult, error) {
	frozen, err := s.frozen(ctx, sub, signer)
	if err != nil {
		return nil, err
	}
	a.Installation, a.Scope, a.Frozen, a.TimeMillis = s.installation.ID(), sub.scope, frozen, s.clock().UnixMilli()
	switch sub.scope {
	case typev1.Scope_SCOPE_WALLET:
		a.Wallet = sub.name
	case typev1.Scope_SCOPE_OWNER:
		a.Owner = sub.name
	}
	e, err := s.sign(a)
	if err != nil {
		return nil, err
	}
	return &typev1.FreezeResult{Acknowledgement: e}, nil
}

// frozen reports whether a subject is stopped. An owner is asked as a wallet whose head holds the signer's key would be;
// after a freeze, which nobody signs, as one whose head holds no key that has ended any.
func (s *Service) frozen(ctx context.Context, sub subject, signer []byte) (bool, error) {
	subjects, keys := []subject{sub, s.installationSubject()}, [][]byte{signer}
	if sub.scope == typev1.Scope_SCOPE_WALLET {
		switch p, err := s.pin(ctx, sub.name); {
		case err == nil:
			subjects, keys = p.subjects(s), p.head.Document.GetOwnerKeys()
		case fault.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND: // unclaimed, or not known here: it can be frozen all the same
			return false, err
		}
	}
	stops, _, err := s.stops(ctx, nil, subjects...)
	if err != nil {
		return false, err
	}
	_, is := stops.find(keys)
	return is, nil
}

// stop is one freeze that is held.
type stop struct {
	scope  typev1.Scope
	freeze string
	// ended holds the keys that ended it, in hexadecimal; for an owner's freeze only.
	ended []string
}

// stops are the freezes held of some subjects.
type stops []stop

// find returns a freeze that stops a wallet whose head holds these owner keys.
func (s stops) find(ownerKeys [][]byte) (stop, bool) {
	for _, one := range s {
		if !slices.ContainsFunc(ownerKeys, func(k []byte) bool { return slices.Contains(one.ended, hex.EncodeToString(k)) }) {
			return one, true
		}
	}
	return stop{}, false
}

// stops reads the freezes of subjects at one revision, linearizably, and whether rows are still as they were read.
func (s *Service) stops(ctx context.Context, unchanged []row, subjects ...subject) (found stops, same bool, err error) {
	var ops []clientv3.Op
	for _, sub := range subjects {
		if sub.scope != typev1.Scope_SCOPE_OWNER {
			// Freezes that ended are gone: one is enough.
			ops = append(ops, clientv3.OpGet(sub.prefixFreezes(), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1)))
			continue
		}
		ops = append(ops,
			clientv3.OpGet(sub.prefixFreezes(), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(ownerRowsMax)),
			clientv3.OpGet(sub.prefixUnfreezes(), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(ownerRowsMax)))
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.store.kv.Txn(operation).If(compare(unchanged)...).Then(ops...).Commit()
	if err != nil {
		return nil, false, storeError(ctx, err)
	}
	if !resp.Succeeded {
		return nil, false, nil
	}
	answers := resp.Responses
	for _, sub := range subjects {
		freezes := answers[0].GetResponseRange()
		answers = answers[1:]
		var ends *pb.RangeResponse
		if sub.scope == typev1.Scope_SCOPE_OWNER {
			ends = answers[0].GetResponseRange()
			answers = answers[1:]
		}
		found = append(found, stopsOf(sub, freezes, ends)...)
	}
	return found, true, nil
}

// stopsOf decodes the freezes of one subject. An owner with more rows than are read counts as frozen.
func stopsOf(sub subject, freezes, ends *pb.RangeResponse) stops {
	var found stops
	if ends != nil && (freezes.GetMore() || ends.GetMore()) {
		found = append(found, stop{scope: sub.scope})
	}
	signers := make(map[string][]string)
	for _, kv := range ends.GetKvs() {
		freeze, signer, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), sub.prefixUnfreezes()), "/")
		signers[freeze] = append(signers[freeze], signer)
	}
	for _, kv := range freezes.GetKvs() {
		freeze := strings.TrimPrefix(string(kv.Key), sub.prefixFreezes())
		found = append(found, stop{scope: sub.scope, freeze: freeze, ended: signers[freeze]})
	}
	return found
}

// ListFreezes lists what is held of the freezes that concern a wallet, and of their ends, so that the ledger can be given
// what it lacks. A freeze that is listed with an end has ended under the key that signed it.
func (s *Service) ListFreezes(ctx context.Context, req *cosignerv1.ListFreezesRequest) (*cosignerv1.ListFreezesResponse, error) {
	p, err := s.pin(ctx, req.GetWallet())
	if err != nil {
		return nil, refused(err)
	}
	resp := new(cosignerv1.ListFreezesResponse)
	for _, sub := range p.subjects(s) {
		listed, err := s.listFreezes(ctx, sub)
		if err != nil {
			return nil, refused(err)
		}
		resp.Freezes = append(resp.Freezes, listed...)
	}
	return resp, nil
}

// listFreezes lists the newest freezes and ends of one subject.
func (s *Service) listFreezes(ctx context.Context, sub subject) ([]*typev1.Freeze, error) {
	newest := []clientv3.OpOption{
		clientv3.WithPrefix(), clientv3.WithLimit(listedFreezesMax), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend),
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.store.kv.Txn(operation).Then(
		clientv3.OpGet(sub.prefixFreezes(), newest...), clientv3.OpGet(sub.prefixUnfreezes(), newest...),
	).Commit()
	if err != nil {
		return nil, storeError(ctx, err)
	}
	var listed []*typev1.Freeze
	byID := make(map[string]*typev1.Freeze)
	entry := func(id string) *typev1.Freeze {
		if byID[id] == nil {
			byID[id] = &typev1.Freeze{FreezeId: id, Scope: sub.scope}
			switch sub.scope {
			case typev1.Scope_SCOPE_WALLET:
				byID[id].Wallet = sub.name
			case typev1.Scope_SCOPE_OWNER:
				byID[id].Owner = sub.name
			}
			listed = append(listed, byID[id])
		}
		return byID[id]
	}
	for _, kv := range resp.Responses[0].GetResponseRange().GetKvs() {
		value, err := s.store.untag(string(kv.Key), kv.Value)
		if err != nil {
			return nil, err
		}
		var held freezeRow
		if err := decodeRow(row{key: string(kv.Key), value: value}, &held); err != nil {
			return nil, err
		}
		f := entry(strings.TrimPrefix(string(kv.Key), sub.prefixFreezes()))
		f.Caller = held.Caller
		if len(held.Revocation) > 0 {
			if f.Revocation, err = decodeEnvelope(string(kv.Key), held.Revocation); err != nil {
				return nil, err
			}
		}
	}
	for _, kv := range resp.Responses[1].GetResponseRange().GetKvs() {
		value, err := s.store.untag(string(kv.Key), kv.Value)
		if err != nil {
			return nil, err
		}
		end, err := decodeEnvelope(string(kv.Key), value)
		if err != nil {
			return nil, err
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), sub.prefixUnfreezes()), "/")
		f := entry(id)
		f.Unfreezes = append(f.Unfreezes, end)
	}
	return listed, nil
}
