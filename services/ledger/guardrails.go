package ledger

import (
	"context"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// versionsMax bounds a page of guard rails: a hundred documents of at most 64 KiB fit one answer.
const versionsMax = 100

// SetGuardRails makes a signed document the head. A document that the ledger has had before is acknowledged with the head of
// now: whoever brings versions in order reaches the newest.
func (s *Service) SetGuardRails(ctx context.Context, req *ledgerv1.SetGuardRailsRequest) (*ledgerv1.SetGuardRailsResponse, error) {
	e, err := s.setGuardRails(ctx, req.GetGuardRails())
	if err != nil {
		return nil, s.answer(ctx, "SetGuardRails", err)
	}
	return &ledgerv1.SetGuardRailsResponse{Acknowledgement: e}, nil
}

func (s *Service) setGuardRails(ctx context.Context, e *typev1.Envelope) (*typev1.Envelope, error) {
	peeked := new(typev1.GuardRails)
	if err := evidence.Peek(e, peeked); err != nil {
		return nil, err
	}
	f := &following{wallet: peeked.GetWallet(), accounts: s.chain.accounts(peeked.GetWallet())}
	err := s.store.look(ctx, func(v *view) error {
		w, _, err := v.pin(ctx, f.wallet)
		if err != nil {
			return err
		}
		f.from = w.head.Digest
		if f.next, err = evidence.Accept(s.installation, w.head, e); err == nil {
			return nil
		}
		digest := evidence.EnvelopeDigest(e)
		var number int64
		if v.row(ctx, v.store.dialect.readVersion, f.wallet, digest[:]).Scan(&number) == nil {
			f.next, err = evidence.NewHead(e)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var now inForce
	err = s.write(ctx, &op{
		needs: needs{wallets: []string{f.wallet}, versions: []versionKey{{f.wallet, f.next.Digest}}, cursors: f.accounts},
		decide: func(st *state) (err error) {
			now, err = decideGuardRails(st, f)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	acknowledgement, err := s.sign(&typev1.Acknowledgement{
		Installation: s.installation.ID(), Wallet: f.wallet, Kind: typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS, Frozen: now.frozen,
		GuardRailsNumber: now.number, GuardRailsDigest: now.digest.Bytes(), TimeMillis: now.at,
	})
	return acknowledgement, done(err, movedNo)
}

// GetDocuments answers with registration, wallet record and every version of the guard rails from a number on.
func (s *Service) GetDocuments(ctx context.Context, req *ledgerv1.GetDocumentsRequest) (*ledgerv1.GetDocumentsResponse, error) {
	resp, err := s.getDocuments(ctx, req)
	return resp, s.answer(ctx, "GetDocuments", err)
}

func (s *Service) getDocuments(ctx context.Context, req *ledgerv1.GetDocumentsRequest) (*ledgerv1.GetDocumentsResponse, error) {
	if _, err := resource.ParseWallet(req.GetWallet()); err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize(), versionsMax, versionsMax)
	if err != nil {
		return nil, err
	}
	resp := new(ledgerv1.GetDocumentsResponse)
	err = s.store.look(ctx, func(v *view) error {
		w, _, err := v.pin(ctx, req.GetWallet())
		if err != nil {
			return err
		}
		resp.HeadNumber = w.head.Document.GetNumber()
		resp.Documents = &typev1.WalletDocuments{Registration: w.registration, Record: w.record}
		return v.each(ctx, v.store.dialect.readVersionsFrom, func(r scanner) error {
			var b []byte
			if err := r.Scan(&b); err != nil {
				return err
			}
			e := new(typev1.Envelope)
			if err := proto.Unmarshal(b, e); err != nil {
				return err
			}
			resp.Documents.GuardRails = append(resp.Documents.GuardRails, e)
			return nil
		}, req.GetWallet(), int64(min(req.GetFromNumber(), math.MaxInt64)), size)
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}
