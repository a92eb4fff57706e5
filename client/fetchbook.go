package client

import (
	"bytes"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/x402"
)

// payBook makes the header that pays the chosen offer with a payment on the book that has settled: its name, its intent, and the
// ledger's statement.
func (r *FetchRecord) payBook(p *Payment) error {
	q, _, err := r.chosen()
	if err != nil {
		return err
	}
	settlement, err := evidence.Marshal(p.Proto.GetSettlement())
	if err != nil {
		return err
	}
	payload, err := (&x402.BookPayload{Payment: p.Name, Intent: bytes.Clone(p.Proto.GetIntent()), Settlement: settlement}).Encode()
	if err != nil {
		return err
	}
	return r.pays(q, payload)
}
