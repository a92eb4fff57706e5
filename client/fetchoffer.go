package client

import (
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/x402"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// chosenOffer is an offer that can be paid, what it is paid with, and the key of whom it pays: a verified one on the book, and on a
// chain the one that the server's address is.
type chosenOffer struct {
	index     int
	offer     *x402.Offer
	asset     string
	recipient [32]byte
	memo      string
}

const (
	// bookDecimals is how many decimals book dollars have.
	bookDecimals = 6
	// judgedMax bounds how many offers of one answer are judged by a dry run, the cheapest first: each costs its services a call.
	judgedMax = 6
)

// Why an offer that could be paid was not chosen, besides the reasons of package x402.
const (
	offerDenied   = "its payment would be refused by the guard rails"
	offerReviewed = "its payment would wait for a person"
	offerFailed   = "its payment could not be made now"
	offerUnjudged = "offers that are cheaper were judged first"
)

// terms are what this wallet pays with: book dollars of its installation, and the tokens on Solana that its guard rails let it pay
// with, which are asked for only where an offer is for a chain. maxUnits 0 sets no bound. All of these have as many decimals.
func (a *Agent) terms(ctx context.Context, q *x402.Required, maxUnits int64) (x402.Terms, error) {
	i := a.c.Installation()
	t := x402.Terms{
		Payable: []x402.Payable{{
			Scheme: x402.SchemeBook, Network: x402.BookNetwork(i.ID()), Asset: i.BookUSD(), Decimals: bookDecimals, UnitsMax: maxUnits,
		}},
		Own: []string{a.wallet, "@" + a.Handle(), hex.EncodeToString(a.groupKey[:]), solana.Key(a.groupKey).String()},
	}
	if !slices.ContainsFunc(q.Offers, func(o x402.Offer) bool { return o.Scheme == x402.SchemeExact }) {
		return t, nil
	}
	head, err := a.c.head(ctx, a.who, a.wallet)
	if err != nil {
		return t, err
	}
	if !slices.Contains(head.Document.GetRails(), railSolana) {
		return t, nil
	}
	for _, token := range resource.Tokens() {
		if slices.Contains(head.Document.GetAssets(), token.Asset()) {
			t.Payable = append(t.Payable, x402.Payable{
				Scheme: x402.SchemeExact, Network: token.Network, Asset: token.Mint, Decimals: token.Decimals, UnitsMax: maxUnits,
				FeePayer: true, Judge: judgeExact,
			})
		}
	}
	return t, nil
}

// judgeExact says why no offer of the scheme `exact` is paid on Solana. Whoever pays the fee signs, and who is paid owns a token
// account by a key of its own: an address off the curve is a program's or a token account's, and what is sent there is mostly lost.
func judgeExact(o *x402.Offer) x402.Reason {
	for _, address := range []struct {
		text   string
		reason x402.Reason
	}{{o.PayTo, x402.BadPayToKey}, {o.FeePayer, x402.BadFeePayerKey}} {
		key, err := solana.ParseKey(address.text)
		if err != nil || !evidence.ValidKey(key[:]) {
			return address.reason
		}
	}
	if strings.Contains(string(o.Memo), "\x00") {
		return x402.BadMemoText
	}
	return ""
}

// assetOf is the CAIP-19 id of what an offer is paid with.
func assetOf(o *x402.Offer) string {
	if o.Scheme == x402.SchemeExact {
		return resource.Token{Network: o.Network, Mint: o.Asset}.Asset()
	}
	return o.Asset
}

// chooseOffer finds the offer that this wallet pays: the cheapest whose payment would pass now, else the cheapest that would wait for
// a person, else the cheapest that would be refused. It notes it in the record with its judgement, and says of the others why they
// were not chosen. Nothing is signed that could be paid.
func (a *Agent) chooseOffer(ctx context.Context, r *FetchRecord, q *x402.Required, maxUnits int64) (*Payment, []string, error) {
	const op = "choose offer"
	terms, err := a.terms(ctx, q, maxUnits)
	if err != nil {
		return nil, nil, err
	}
	ranked, rejected := x402.Rank(q.Offers, terms)
	if len(ranked) == 0 {
		return nil, nil, localNext(op, typev1.Reason_REASON_PERMISSION_DENIED, "the server makes no offer that can be paid",
			"nothing was paid; where it is the price, fetch again with a higher maximum",
			"why", string(rejected[0].Reason), "offers", strconv.Itoa(len(q.Offers)))
	}
	why := make(map[int]string, len(q.Offers))
	for _, reason := range rejected {
		why[reason.Index] = string(reason.Reason)
	}
	var best chosenOffer
	var judged *Payment
	var failed error
	for n, index := range ranked {
		if why[index] = string(x402.Dearer); judged != nil && judged.State == authorized {
			continue
		}
		if why[index] = offerUnjudged; n >= judgedMax || ctx.Err() != nil {
			continue
		}
		c, p, err := a.judgeOffer(ctx, r, q, index)
		if err != nil {
			if why[index] = offerFailed; failed == nil {
				failed = err
			}
			continue
		}
		why[index] = offerWord(p)
		if judged == nil || better(p, judged) {
			best, judged = c, p
		}
	}
	if judged == nil && failed == nil {
		failed = wrap(op, ctx.Err(), notMoved)
	}
	if judged == nil {
		return nil, nil, failed
	}
	delete(why, best.index)
	r.take(q, best)
	r.Judged = judged.State
	refused := make([]string, 0, len(why))
	for index := range q.Offers {
		if reason, ok := why[index]; ok {
			refused = append(refused, "offer "+strconv.Itoa(index+1)+": "+reason)
		}
	}
	return judged, refused, nil
}

// judgeOffer asks how the payment of one offer would be judged.
func (a *Agent) judgeOffer(ctx context.Context, r *FetchRecord, q *x402.Required, index int) (chosenOffer, *Payment, error) {
	c, err := a.choice(ctx, r.Name, q, index)
	if err != nil {
		return c, nil, err
	}
	tried := *r
	tried.take(q, c)
	order, err := tried.order()
	if err != nil {
		return c, nil, err
	}
	p, err := a.DryRun(ctx, order)
	return c, p, err
}

// better reports whether a payment would come further than another one.
func better(p, than *Payment) bool { return offerRank(p) > offerRank(than) }

func offerRank(p *Payment) int {
	switch p.State {
	case authorized:
		return 2
	case pendingReview:
		return 1
	default:
		return 0
	}
}

// offerWord says why an offer that was judged is not the one, if it is not.
func offerWord(p *Payment) string {
	return [...]string{offerDenied, offerReviewed, string(x402.Dearer)}[offerRank(p)]
}

// choice is an offer with what it comes to. Where its server asks for no memo it gets one of its own, which commits to the payment.
func (a *Agent) choice(ctx context.Context, payment string, q *x402.Required, index int) (chosenOffer, error) {
	o := &q.Offers[index]
	c := chosenOffer{index: index, offer: o, asset: assetOf(o)}
	var err error
	if o.Scheme != x402.SchemeExact {
		c.recipient, err = a.recipientOf(ctx, o)
		return c, err
	}
	key, err := solana.ParseKey(o.PayTo)
	if err != nil {
		return c, wrap("choose offer", err, notMoved)
	}
	if c.recipient = key; o.Memo == "" {
		c.memo, err = freshMemo(payment)
	}
	return c, wrap("choose offer", err, notMoved)
}

// recipientOf finds the key that an offer on the book pays, by a wallet record as for any recipient.
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
	terms, err := a.terms(ctx, q, 0)
	if err != nil {
		return chosenOffer{}, err
	}
	ranked, _ := x402.Rank(q.Offers, terms)
	for _, i := range ranked {
		o := &q.Offers[i]
		if assetOf(o) != r.Asset || o.Units != r.Units {
			continue
		}
		c, err := a.choice(ctx, r.Name, q, i)
		switch {
		case err != nil && worthRepeating(err):
			return chosenOffer{}, err // Whom it pays could not be asked, which says nothing of the offer.
		case err == nil && c.recipient == r.Recipient:
			return c, nil
		}
	}
	field := "offer"
	if len(ranked) > 0 {
		switch o := &q.Offers[ranked[0]]; {
		case assetOf(o) != r.Asset:
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
	r.Asset, r.Units, r.PayTo, r.Recipient, r.Memo = c.asset, c.offer.Units, c.offer.PayTo, c.recipient, c.memo
}

// chosen is what the server asked for, and the offer that was chosen of it.
func (r *FetchRecord) chosen() (*x402.Required, *x402.Offer, error) {
	q, err := x402.ReadRequired(r.Version, r.Required)
	if err != nil {
		return nil, nil, err
	}
	if r.Offer < 0 || r.Offer >= len(q.Offers) {
		return nil, nil, fileErrorf("halfkey: the record of the fetch %s names no offer", r.Name)
	}
	return q, &q.Offers[r.Offer], nil
}

// pays makes the header that pays the chosen offer by a payload of its scheme.
func (r *FetchRecord) pays(q *x402.Required, payload []byte) error {
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
