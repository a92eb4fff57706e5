package ledger

import (
	"context"
	"math"

	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

const (
	// entriesMax bounds a page of the journal by number, entryBytesMax by size: an answer stays below what connections carry.
	entriesMax    = 200
	entryBytesMax = 4 << 20
)

// ListEntries lists a wallet's journal in ascending number, with the ledger's signed head.
func (s *Service) ListEntries(ctx context.Context, req *ledgerv1.ListEntriesRequest) (*ledgerv1.ListEntriesResponse, error) {
	resp, err := s.listEntries(ctx, req)
	return resp, s.answer(ctx, "ListEntries", err)
}

func (s *Service) listEntries(ctx context.Context, req *ledgerv1.ListEntriesRequest) (*ledgerv1.ListEntriesResponse, error) {
	if _, err := resource.ParseWallet(req.GetParent()); err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize(), entriesMax, entriesMax)
	if err != nil {
		return nil, err
	}
	resp := new(ledgerv1.ListEntriesResponse)
	var tip chain
	now := s.clock().UnixMilli()
	err = s.store.look(ctx, func(v *view) (err error) {
		if tip, err = v.tip(ctx, req.GetParent()); err != nil {
			return err
		}
		total := 0
		return v.each(ctx, v.store.dialect.readEntries, func(r scanner) error {
			var b []byte
			if err := r.Scan(&b); err != nil {
				return err
			}
			if total += len(b); len(resp.Entries) == 0 || total <= entryBytesMax {
				resp.Entries = append(resp.Entries, b)
			}
			return nil
		}, req.GetParent(), int64(min(req.GetFromNumber(), math.MaxInt64)), size)
	})
	if err != nil {
		return nil, err
	}
	if resp.Head, err = s.journalHead(req.GetParent(), tip, now); err != nil {
		return nil, err
	}
	return resp, nil
}
