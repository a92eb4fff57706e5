package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"strconv"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/x402"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// chosenOffer is an offer that can be paid, and the verified key of whom it pays.
type chosenOffer struct {
	index     int
	offer     *x402.Offer
	recipient [32]byte
}

// terms are what this wallet pays with: book dollars of its installation. maxUnits 0 sets no bound.
func (a *Agent) terms(maxUnits int64) x402.Terms {
	i := a.c.Installation()
	return x402.Terms{
		Payable: []x402.Payable{{
			Scheme: x402.SchemeBook, Network: x402.BookNetwork(i.ID()), Asset: i.BookUSD(), Decimals: bookDecimals, UnitsMax: maxUnits,
		}},
		Own: []string{a.wallet, "@" + a.Handle(), hex.EncodeToString(a.groupKey[:])},
	}
}

// bookDecimals is how many decimals book dollars have.
const bookDecimals = 6

// chooseOffer finds the cheapest offer that this wallet can pay, and whom it pays. It says of the others why they were not chosen.
func (a *Agent) chooseOffer(ctx context.Context, q *x402.Required, maxUnits int64) (chosenOffer, []string, error) {
	const op = "choose offer"
	index, rejected := x402.Choose(q.Offers, a.terms(maxUnits))
	refused := make([]string, 0, len(rejected))
	for _, r := range rejected {
		refused = append(refused, "offer "+strconv.Itoa(r.Index+1)+": "+string(r.Reason))
	}
	if index < 0 {
		return chosenOffer{}, nil, localNext(op, typev1.Reason_REASON_PERMISSION_DENIED, "the server makes no offer that can be paid",
			"nothing was paid; where it is the price, fetch again with a higher maximum", "why", string(rejected[0].Reason), "offers", strconv.Itoa(len(q.Offers)))
	}
	c := chosenOffer{index: index, offer: &q.Offers[index]}
	var err error
	if c.recipient, err = a.recipientOf(ctx, c.offer); err != nil {
		return c, nil, err
	}
	return c, refused, nil
}

// recipientOf finds the key that an offer pays, by a wallet record as for any recipient.
func (a *Agent) recipientOf(ctx context.Context, o *x402.Offer) ([32]byte, error) {
	key, err := a.c.resolve(ctx, a.who, o.PayTo)
	if err == nil && key == a.groupKey {
		err = localNext("choose offer", typev1.Reason_REASON_PERMISSION_DENIED, "the offer pays the wallet that would pay", "fetch with another wallet")
	}
	return key, err
}

// sameOffer finds an offer that asks for exactly what was confirmed: the same recipient, asset and units. Another one is an error
// that names the field in which the server's cheapest differs.
func (a *Agent) sameOffer(ctx context.Context, q *x402.Required, r *FetchRecord) (chosenOffer, error) {
	terms := a.terms(0)
	for i := range q.Offers {
		o := &q.Offers[i]
		if chosen, _ := x402.Choose(q.Offers[i:i+1], terms); chosen < 0 || o.Asset != r.Asset || o.Units != r.Units {
			continue
		}
		recipient := r.Recipient
		if o.PayTo != r.PayTo {
			var err error
			if recipient, err = a.recipientOf(ctx, o); err != nil {
				continue
			}
		}
		if recipient == r.Recipient {
			return chosenOffer{index: i, offer: o, recipient: recipient}, nil
		}
	}
	field := "offer"
	if i, _ := x402.Choose(q.Offers, terms); i >= 0 {
		switch o := q.Offers[i]; {
		case o.Asset != r.Asset:
			field = "asset"
		case o.Units != r.Units:
			field = "units"
		default:
			field = "recipient"
		}
	}
	return chosenOffer{}, localNext("confirm fetch", typev1.Reason_REASON_PAYMENT_DIFFERS,
		"the server asks for something else now than what was confirmed", fetchAgain, "field", field)
}

// take notes what a server asked for and what was chosen of it.
func (r *FetchRecord) take(q *x402.Required, c chosenOffer) {
	r.Version, r.Required, r.Offer = q.Version, q.Raw, c.index
	r.Asset, r.Units, r.PayTo, r.Recipient = c.offer.Asset, c.offer.Units, c.offer.PayTo, c.recipient
}

// pay makes the header that pays the chosen offer with a payment that has settled: its name, its intent, and the ledger's statement.
func (r *FetchRecord) pay(p *Payment) error {
	q, err := x402.ReadRequired(r.Version, r.Required)
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
	_, id, err := resource.ParsePayment(r.Name)
	if err != nil {
		return err
	}
	paid, err := q.Paid(r.Offer, payload, id)
	if err != nil {
		return err
	}
	r.PaymentHeader, r.PaymentValue, err = paid.Header()
	return err
}
