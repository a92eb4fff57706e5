package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Order is what an agent wants to pay.
type Order struct {
	// ID is the payment's id, 1 to 63 of [a-z0-9-]; empty draws one. The same id is the same payment, for ever: a program
	// that chooses ids by what it pays for, and repeats them, pays once.
	ID string
	// Recipient is `wallets/{wallet}`, `@handle`, a key of 64 hexadecimal digits, or the same key as a Solana address in base58. On
	// Solana it is the owner of the tokens, and never a token account.
	Recipient string
	// Asset is a CAIP-19 id; empty means the installation's book dollars. It says on which rail is paid: a token on Solana there, and
	// book dollars on the book.
	Asset string
	// Units is the amount in the asset's smallest unit; book dollars and dollar tokens have 6 decimals.
	Units int64
	// Purpose is why, for people: at most 256 bytes of one line.
	Purpose string
	// Deadline is how long it may be authorized, a person's answer included: at most 7 days, 0 means 24 hours.
	Deadline time.Duration
	// X402 is the HTTP request whose answer it pays for, as X402Context makes it; nil if it pays for none.
	X402 *typev1.X402Context

	// chain is what the seller of an HTTP resource on Solana says, which a fetch knows.
	chain *chainTerms
}

// X402Context is the context of a payment for the answer to an HTTP request, as an Order takes it: what of the request guard rails
// judge and a person reviews. bodyDigest is the SHA-256 of the request's body, of no bytes if it has none. The request must then be
// sent with this method to this URL: user and password are refused, a fragment is left out, and host and scheme are in lower case.
func X402Context(method string, u *url.URL, bodyDigest [sha256.Size]byte) (*typev1.X402Context, error) {
	m, err := evidence.X402Of(method, u, bodyDigest)
	return m, wrap("pay", err, notMoved)
}

// deadlineDefault gives a person a day to answer.
const deadlineDefault = 24 * time.Hour

// newIntent encodes what an order wants, by the ledger's time.
func newIntent(i *evidence.Installation, wallet string, o Order, recipient [32]byte, now time.Time) ([]byte, error) {
	if o.Deadline == 0 {
		o.Deadline = deadlineDefault
	}
	if o.Deadline < 0 || o.Deadline > evidence.DeadlineMax {
		return nil, local("pay", typev1.Reason_REASON_INVALID_ARGUMENT, "a deadline is at most 7 days ahead", "field", "deadline")
	}
	if o.Units <= 0 {
		return nil, local("pay", typev1.Reason_REASON_INVALID_ARGUMENT, "an amount is 1 or more of the asset's smallest unit", "field", "units")
	}
	b, err := evidence.Marshal(&typev1.Intent{
		Installation:   i.ID(),
		Wallet:         wallet,
		Payment:        resource.Payment(wallet, o.ID),
		Rail:           guardrails.RailOf(o.Asset),
		Asset:          o.Asset,
		Units:          resource.FormatUnits(o.Units),
		Recipient:      recipient[:],
		Purpose:        o.Purpose,
		DeadlineMillis: now.Add(o.Deadline).UnixMilli(),
		X402:           o.X402,
	})
	if err != nil {
		return nil, wrap("pay", err, notMoved)
	}
	if _, _, err := evidence.CheckIntent(i, b); err != nil {
		return nil, wrap("pay", err, notMoved)
	}
	return b, nil
}

// complete fills in what an order leaves to defaults, and finds its recipient's key.
func (a *Agent) complete(ctx context.Context, o Order) (Order, [32]byte, error) {
	if o.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return o, [32]byte{}, wrap("pay", err, notMoved)
		}
		o.ID = id.String()
	}
	if err := resource.ValidID(o.ID); err != nil {
		return o, [32]byte{}, wrap("pay", err, notMoved)
	}
	if o.Asset == "" {
		o.Asset = a.c.Installation().BookUSD()
	}
	if o.X402 != nil && o.chain == nil && guardrails.RailOf(o.Asset) == railSolana {
		return o, [32]byte{}, local("pay", typev1.Reason_REASON_INVALID_ARGUMENT, unquoted, "field", "x402")
	}
	key, err := a.c.resolve(ctx, a.who, o.Recipient)
	switch token, _ := resource.TokenOf(o.Asset); {
	case err != nil:
	case key == a.groupKey:
		err = local("pay", typev1.Reason_REASON_INVALID_ARGUMENT, "a wallet does not pay itself", "field", "recipient")
	case solana.Key(key).String() == token.Mint:
		err = local("pay", typev1.Reason_REASON_INVALID_ARGUMENT, "the recipient is the token itself, and what is paid to it is lost", "field", "recipient")
	}
	return o, key, err
}

// sameOrder checks that an order repeats the intent that is stored under its id. The stored one wins: a deadline is counted
// from the first call.
func sameOrder(r *PaymentRecord, o Order, recipient [32]byte) error {
	m := new(typev1.Intent)
	if err := evidence.Unmarshal(r.Intent, m); err != nil {
		return damaged("pay", r.Name, err)
	}
	field := ""
	switch {
	case m.GetAsset() != o.Asset:
		field = "asset"
	case m.GetUnits() != resource.FormatUnits(o.Units):
		field = "units"
	case !bytes.Equal(m.GetRecipient(), recipient[:]):
		field = "recipient"
	case m.GetPurpose() != o.Purpose:
		field = "purpose"
	default:
		field = evidence.X402Differs(m.GetX402(), o.X402)
	}
	if field != "" {
		return local("pay", typev1.Reason_REASON_PAYMENT_DIFFERS, "the payment exists, and this order is not a repeat of it", "field", field)
	}
	return nil
}
