package gateway

import (
	"bytes"
	"context"
	"slices"

	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// outdated says whether a wallet record carries no signature of the current record key: the holder had it from before a rotation, and
// nobody takes it any longer. Whether the signature verifies is for those to find out who rely on it.
func (s *Service) outdated(record *typev1.Envelope) bool {
	return record != nil && !slices.ContainsFunc(record.GetSignatures(), func(g *typev1.Signature) bool {
		return bytes.Equal(g.GetPublicKey(), s.recordKey)
	})
}

// renewed returns a wallet's record under the current record key. One from before a rotation is signed again by the co-signer, and
// carried to those who hold it on the way. A wallet that the co-signer does not have keeps the record that there is.
func (s *Service) renewed(ctx context.Context, wallet string, record *typev1.Envelope) (*typev1.Envelope, error) {
	if !s.outdated(record) {
		return record, nil
	}
	resp, err := s.cosigner.GetWallet(ctx, &cosignerv1.GetWalletRequest{Wallet: wallet})
	if unknownWallet(err) {
		return record, nil
	}
	if err != nil {
		return nil, err
	}
	if again := resp.GetRecord(); evidence.EnvelopeDigest(again) == evidence.EnvelopeDigest(record) {
		s.repair(ctx, wallet) // This answer does not need it. The next one does.
		return again, nil
	}
	return record, nil
}
