package client

import (
	"bytes"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Sale is what is sold for a payment: the answer to one request, at a price.
type Sale struct {
	// Request is the request as the seller got it, as X402Context makes it.
	Request *typev1.X402Context
	// Asset is a CAIP-19 id, empty for the installation's book dollars; Units is the price in its smallest unit.
	Asset string
	Units int64
}

// Proof is what a buyer shows for a payment. Each part is a stranger's word until it is verified.
type Proof struct {
	// Payment is the payment's name, Intent the intent's bytes, and Settlement the ledger's statement that it settled.
	Payment    string
	Intent     []byte
	Settlement *typev1.Envelope
}

// Purchase is a payment that was verified to buy something.
type Purchase struct {
	// Payment is its name. A seller notes it as used: the proof stays valid for ever, and buys once.
	Payment string
	// Payer is the key of the wallet that paid.
	Payer [32]byte
	// Units is what was paid, the price or more.
	Units int64
	// Settlement is the ledger's verified statement.
	Settlement *typev1.Settlement
}

// VerifyPurchase verifies that a proof pays a wallet of this home for exactly this sale: the ledger has signed that the payment
// settled to the wallet's own key, and the intent whose digest that statement names pays for this request, in this asset, at least
// this price. It asks nobody. Whether the payment has bought before is the seller's to know.
func (c *Client) VerifyPurchase(wallet string, sale Sale, proof Proof) (*Purchase, error) {
	const op = "verify purchase"
	s, err := c.VerifySettlement(proof.Settlement, wallet)
	if err != nil {
		return nil, err
	}
	intent, units, err := evidence.CheckIntent(c.Installation(), proof.Intent)
	if err != nil {
		return nil, distrust(op, notMoved, "the intent does not verify", err)
	}
	if sale.Asset == "" {
		sale.Asset = c.Installation().BookUSD()
	}
	const piece = "settlement"
	switch {
	case s.GetPayment() != proof.Payment:
		err = refusal(piece, "payment", "is another payment")
	case !evidence.IntentDigest(proof.Intent).Is(s.GetIntentDigest()):
		err = refusal(piece, "intent_digest", "is another intent")
	case !bytes.Equal(intent.GetRecipient(), s.GetRecipient()):
		err = refusal("intent", "recipient", "is not the one that was paid")
	case s.GetAsset() != intent.GetAsset() || s.GetUnits() != resource.FormatUnits(units):
		err = refusal("intent", "units", "are not what was paid")
	case intent.GetAsset() != sale.Asset:
		err = refusal("intent", "asset", "is not the price's")
	case sale.Units <= 0 || units < sale.Units:
		err = refusal("intent", "units", "are less than the price")
	case sale.Request == nil || intent.GetX402() == nil:
		err = refusal("intent", "x402", "pays for no request")
	default:
		if field := evidence.X402Differs(intent.GetX402(), sale.Request); field != "" {
			err = refusal("intent", field, "is another request's")
		}
	}
	if err != nil {
		return nil, distrust(op, notMoved, "the payment does not buy this", err)
	}
	return &Purchase{Payment: proof.Payment, Payer: [32]byte(s.GetPayer()), Units: units, Settlement: s}, nil
}
