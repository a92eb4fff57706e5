package client

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/x402"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestPaysTheOfferItWasMadeFor takes an offer that replaced the one which the signed message was made for: nothing is made to be sent.
func TestPaysTheOfferItWasMadeFor(t *testing.T) {
	key := func(n byte) solana.Key { return solana.Key{n} }
	raw := `{"x402Version":2,"accepts":[{"scheme":"exact","network":"` + resource.SolanaDevnet + `","asset":"` + key(3).String() +
		`","amount":"7","payTo":"` + key(2).String() + `","maxTimeoutSeconds":60,"extra":{"feePayer":"` + key(9).String() + `"}}]}`
	q, err := x402.ParseRequired(402, map[string][]string{x402.HeaderRequired: {base64.StdEncoding.EncodeToString([]byte(raw))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	message, err := solana.Message{
		Layout: solana.X402, FeePayer: key(9), Payer: key(1), Recipient: key(2), Mint: key(3), Units: 7, Decimals: 6, Memo: "m", BlockHash: [32]byte{4},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r := &FetchRecord{Name: "wallets/a/payments/01a21a77-3f9e-7a04-8eb0-3b66376134d5", Version: 2, Required: q.Raw}
	digest := sha256.Sum256(q.Offers[0].Raw)
	signed := &signedMessage{message: message, signature: solana.Signature{5}, offerDigest: digest[:]}
	if err := r.payExact(signed); err != nil || r.PaymentHeader != x402.HeaderPayment || r.PaymentValue == "" {
		t.Fatalf("made %q, %v", r.PaymentHeader, err)
	}
	again := &FetchRecord{Name: r.Name, Version: 2, Required: q.Raw}
	signed.offerDigest = make([]byte, 32)
	if err := again.payExact(signed); ReasonOf(err) != typev1.Reason_REASON_ABORTED || MoneyMovedOf(err) != notMoved || again.PaymentValue != "" {
		t.Errorf("made %q for another offer, %v", again.PaymentValue, err)
	}
}
