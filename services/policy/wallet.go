package policy

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const no = typev1.MoneyMoved_MONEY_MOVED_NO

// Keys, inside the namespace:
//
//	installation                       number and digest of the highest installation file accepted
//	pins/{wallet}                      registration and wallet record, once and for ever
//	heads/{wallet}                     guard rails in force
//	versions/{wallet}/{number, 20 digits}  each version, written once
//	handles/{handle}, groupkeys/{hex}  the wallet that has it
const installationKey = "installation"

func pinKey(wallet string) string  { return "pins/" + wallet }
func headKey(wallet string) string { return "heads/" + wallet }
func versionKey(wallet string, number uint64) string {
	return fmt.Sprintf("versions/%s/%020d", wallet, number)
}

// held is a pinned wallet as policy holds it. It is shared by all calls, and none of them changes it.
type held struct {
	documents *typev1.WalletDocuments // registration and record
	groupKey  [32]byte
	head      *evidence.Head
}

// newWallets reads wallets: what pins each, and its head.
func newWallets() *etcdstore.Decoded[*held] {
	return etcdstore.NewDecoded(func(wallet string) []string { return []string{pinKey(wallet), headKey(wallet)} }, decodeWallet)
}

// wallet reads a pinned wallet linearizably, and says which head that was.
func (s *Service) wallet(ctx context.Context, name string) (*held, etcdstore.Condition, error) {
	if _, err := resource.ParseWallet(name); err != nil {
		return nil, etcdstore.Condition{}, fault.Wrap(err, no)
	}
	read, err := s.wallets.Read(ctx, s.kv, name)
	if err != nil {
		return nil, etcdstore.Condition{}, err
	}
	return read.Content, read.Unchanged(headKey(name), 1), nil
}

func decodeWallet(_ string, rows []etcdstore.Value) (*held, error) {
	if !rows[0].Exists() || !rows[1].Exists() {
		return nil, fault.New(typev1.Reason_REASON_NOT_ACTIVE, no, "policy has not pinned this wallet")
	}
	h := &held{documents: &typev1.WalletDocuments{}}
	if err := evidence.Unmarshal(rows[0].Bytes, h.documents); err != nil {
		return nil, fault.Caused(err, typev1.Reason_REASON_INTERNAL, no, "a stored wallet does not decode")
	}
	var record typev1.WalletRecord
	if err := evidence.Peek(h.documents.GetRecord(), &record); err != nil {
		return nil, fault.Caused(err, typev1.Reason_REASON_INTERNAL, no, "a stored wallet record does not decode")
	}
	h.groupKey = [32]byte(record.GetGroupKey())
	var err error
	h.head, err = storedHead(rows[1].Bytes)
	return h, err
}

func storedHead(b []byte) (*evidence.Head, error) {
	e := &typev1.Envelope{}
	err := evidence.Unmarshal(b, e)
	if err == nil {
		var head *evidence.Head
		if head, err = evidence.NewHead(e); err == nil {
			return head, nil
		}
	}
	return nil, fault.Caused(err, typev1.Reason_REASON_INTERNAL, no, "stored guard rails do not decode")
}

// OpenWallet pins a wallet, once and for ever, unique by name, handle and group key.
func (s *Service) OpenWallet(ctx context.Context, req *policyv1.OpenWalletRequest) (*policyv1.OpenWalletResponse, error) {
	d := req.GetDocuments()
	if len(d.GetGuardRails()) != 1 {
		return nil, fault.New(typev1.Reason_REASON_INVALID_ARGUMENT, no, "a wallet is opened with guard rails number 0 alone",
			"field", "documents.guard_rails")
	}
	w, err := evidence.CheckWallet(s.installation, d.GetRegistration(), d.GetGuardRails()[0], d.GetRecord())
	if err != nil {
		return nil, fault.Wrap(err, no)
	}
	pin, err := evidence.Marshal(&typev1.WalletDocuments{Registration: d.GetRegistration(), Record: d.GetRecord()})
	if err != nil {
		return nil, fault.Wrap(err, no)
	}
	head, err := evidence.Marshal(w.Claim.Envelope)
	if err != nil {
		return nil, fault.Wrap(err, no)
	}
	handle, groupKey := "handles/"+w.Handle, "groupkeys/"+hex.EncodeToString(w.GroupKey[:])
	created, err := etcdstore.Commit(ctx, s.kv,
		[]etcdstore.Condition{etcdstore.Absent(pinKey(w.Name)), etcdstore.Absent(handle), etcdstore.Absent(groupKey)},
		etcdstore.Put(pinKey(w.Name), pin), etcdstore.Put(headKey(w.Name), head), etcdstore.Put(versionKey(w.Name, 0), head),
		etcdstore.Put(handle, []byte(w.Name)), etcdstore.Put(groupKey, []byte(w.Name)))
	if err != nil || created {
		return &policyv1.OpenWalletResponse{}, err
	}
	same, err := s.renew(ctx, w.Name, pin, d)
	if err != nil {
		return nil, err
	}
	if same {
		return &policyv1.OpenWalletResponse{}, nil
	}
	return nil, fault.New(typev1.Reason_REASON_ALREADY_EXISTS, no, "wallet, handle or group key is pinned with another content",
		"field", "wallet")
}

// renew tells whether a wallet is pinned with the same content. What is pinned is the content: after a change of the
// co-signer's key the record comes again with another signature, and the newer one is kept.
func (s *Service) renew(ctx context.Context, wallet string, pin []byte, d *typev1.WalletDocuments) (same bool, err error) {
	err = etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		old, err := etcdstore.Get(ctx, s.kv, pinKey(wallet))
		if err != nil || !old.Exists() {
			return true, err
		}
		var held typev1.WalletDocuments
		if err := evidence.Unmarshal(old.Bytes, &held); err != nil {
			return true, fault.Caused(err, typev1.Reason_REASON_INTERNAL, no, "a stored wallet does not decode")
		}
		same = evidence.EnvelopeDigest(held.GetRecord()) == evidence.EnvelopeDigest(d.GetRecord())
		if !same || bytes.Equal(old.Bytes, pin) {
			return true, nil
		}
		return etcdstore.Commit(ctx, s.kv, []etcdstore.Condition{etcdstore.Unchanged(pinKey(wallet), old)}, etcdstore.Put(pinKey(wallet), pin))
	})
	return same, err
}

// SetGuardRails makes a document the head and keeps every version.
func (s *Service) SetGuardRails(ctx context.Context, req *policyv1.SetGuardRailsRequest) (*policyv1.SetGuardRailsResponse, error) {
	var doc typev1.GuardRails
	if err := evidence.Peek(req.GetGuardRails(), &doc); err != nil {
		return nil, fault.Wrap(err, no)
	}
	var head *evidence.Head
	err := etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		h, unchanged, err := s.wallet(ctx, doc.GetWallet())
		if err != nil {
			return true, err
		}
		if head, err = evidence.Accept(s.installation, h.head, req.GetGuardRails()); err != nil {
			return true, fault.Wrap(err, no)
		}
		if head.Digest == h.head.Digest {
			return true, nil
		}
		value, err := evidence.Marshal(head.Envelope)
		if err != nil {
			return true, fault.Wrap(err, no)
		}
		version := versionKey(doc.GetWallet(), doc.GetNumber())
		return etcdstore.Commit(ctx, s.kv,
			[]etcdstore.Condition{unchanged, etcdstore.Absent(version)},
			etcdstore.Put(headKey(doc.GetWallet()), value), etcdstore.Put(version, value))
	})
	if err != nil {
		return nil, err
	}
	ack, err := evidence.Sign(s.key, &typev1.Acknowledgement{
		Installation: s.installation.ID(), Wallet: doc.GetWallet(), Kind: typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS,
		GuardRailsNumber: head.Document.GetNumber(), GuardRailsDigest: head.Digest.Bytes(), TimeMillis: s.clock().UnixMilli(),
	})
	if err != nil {
		return nil, fault.Caused(err, typev1.Reason_REASON_INTERNAL, no, "policy could not sign its acknowledgement")
	}
	return &policyv1.SetGuardRailsResponse{Acknowledgement: ack}, nil
}

const (
	// versionsMax bounds one page of versions.
	versionsMax = 100
	// versionsBytesMax ends a page early, so that an answer stays under rpc's 256 KiB.
	versionsBytesMax = 160 << 10
)

// GetDocuments answers with what pins the wallet and the versions from a number on.
func (s *Service) GetDocuments(ctx context.Context, req *policyv1.GetDocumentsRequest) (*policyv1.GetDocumentsResponse, error) {
	h, _, err := s.wallet(ctx, req.GetWallet())
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = versionsMax
	}
	prefix, after := "versions/"+req.GetWallet()+"/", ""
	if n := req.GetFromNumber(); n > 0 {
		after = versionKey(req.GetWallet(), n-1)
	}
	items, _, err := etcdstore.List(ctx, s.kv, prefix, after, size)
	if err != nil {
		return nil, err
	}
	resp := &policyv1.GetDocumentsResponse{
		Documents:  &typev1.WalletDocuments{Registration: h.documents.GetRegistration(), Record: h.documents.GetRecord()},
		HeadNumber: h.head.Document.GetNumber(),
	}
	bytesSoFar := 0
	for _, item := range items {
		if bytesSoFar += len(item.Value.Bytes); bytesSoFar > versionsBytesMax && len(resp.GetDocuments().GetGuardRails()) > 0 {
			break
		}
		v, err := storedHead(item.Value.Bytes)
		if err != nil {
			return nil, err
		}
		resp.Documents.GuardRails = append(resp.Documents.GuardRails, v.Envelope)
	}
	return resp, nil
}
