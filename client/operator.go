package client

import (
	"context"
	"crypto/ed25519"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Operator signs what an installation's operator states: book money issued and redeemed, losses accepted, times set back,
// the installation frozen. It is for concurrent use.
type Operator struct {
	redacted
	c   *Client
	key *privateKey
	who *caller
}

// Operator returns the operator by its key; a key that the installation file does not name is refused by the services.
func (c *Client) Operator(key ed25519.PrivateKey) *Operator {
	k := newPrivateKey(key)
	return &Operator{c: c, key: k, who: &caller{name: "operator", key: k.signer}}
}

// Wallet returns the wallet's name of an agent's `@handle`, by its verified record; `wallets/{wallet}` stays as it is.
func (o *Operator) Wallet(ctx context.Context, name string) (string, error) {
	if _, err := resource.ParseWallet(name); err == nil {
		return name, nil
	}
	if _, err := o.c.resolve(ctx, o.who, name); err != nil {
		return "", err
	}
	record, err := o.c.pinnedRecord(name) // What was resolved is pinned.
	if err != nil || record == nil {
		return "", local("find wallet", typev1.Reason_REASON_INVALID_ARGUMENT, "a wallet is wallets/{wallet} or @handle", "field", "wallet")
	}
	return record.GetWallet(), nil
}

// apply signs a statement about a wallet and brings it to the ledger. Repeated with the same id it counts once.
func (o *Operator) apply(ctx context.Context, op, wallet string, statement proto.Message) (*Account, error) {
	e, err := evidence.Sign(o.key, statement)
	if err != nil {
		return nil, given(op, err)
	}
	resp, err := invoke(ctx, o.c, rpc{op: op, moved: unknown, unsent: notMoved}, &gatewayv1.ApplyStatementRequest{Statement: e}, gatewayv1.GatewayServiceClient.ApplyStatement)
	if err != nil {
		return nil, err
	}
	return o.c.checkAccount(resp, wallet)
}

// Deposit issues book dollars to a wallet. The id counts once: choose it by the transfer that came in. An empty one is drawn,
// and a repeat after a lost answer then issues again.
func (o *Operator) Deposit(ctx context.Context, wallet, id string, units int64) (*Account, error) {
	const op = "deposit"
	if id == "" {
		drawn, err := uuid.NewV7()
		if err != nil {
			return nil, wrap(op, err, notMoved)
		}
		id = drawn.String()
	}
	i := o.c.Installation()
	return o.apply(ctx, op, wallet, &typev1.Deposit{
		Installation: i.ID(), Wallet: wallet, DepositId: id, Asset: i.BookUSD(), Units: resource.FormatUnits(units),
	})
}

// Redeem states that a payment which settled to the redemption account was paid out. It counts once per payment.
func (o *Operator) Redeem(ctx context.Context, payment string) (*Account, error) {
	const op = "redeem"
	wallet, _, err := resource.ParsePayment(payment)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return o.apply(ctx, op, wallet, &typev1.Redemption{Installation: o.c.Installation().ID(), Wallet: wallet, Payment: payment})
}

// AcceptLoss accepts that the ledger lacks journal entries of a wallet up to one that a client has seen: the wallet pays
// again. What the lost entries held, above all payments, is gone from the ledger; the journal shows the acceptance for ever.
func (o *Operator) AcceptLoss(ctx context.Context, wallet string, lostEntry uint64, lostHash []byte) (*Account, error) {
	account, err := o.Account(ctx, wallet)
	if err != nil {
		return nil, err
	}
	return o.apply(ctx, "accept loss", wallet, &typev1.AcceptLoss{
		Installation: o.c.Installation().ID(), Wallet: wallet, Entry: account.Head.GetEntry(), EntryHash: account.Head.GetEntryHash(),
		LostEntry: lostEntry, LostHash: lostHash,
	})
}

// SetTime sets a wallet's time back to the present after the ledger's clock had jumped ahead. It ends the wallet's AUTHORIZED
// book payments. The id counts once.
func (o *Operator) SetTime(ctx context.Context, wallet, id string, to time.Time) (*Account, error) {
	return o.apply(ctx, "set time", wallet, &typev1.SetTime{
		Installation: o.c.Installation().ID(), Wallet: wallet, StatementId: id, TimeMillis: to.UnixMilli(),
	})
}

// Account returns a wallet's balances by the ledger.
func (o *Operator) Account(ctx context.Context, wallet string) (*Account, error) {
	return o.c.account(ctx, o.who, wallet)
}

// Freeze stops the whole installation. An empty id draws one; what comes back is in force.
func (o *Operator) Freeze(ctx context.Context, freezeID string) (*FreezeStatus, error) {
	return o.c.freeze(ctx, o.who, installationThing(), freezeID)
}

// Unfreeze ends one freeze of the installation.
func (o *Operator) Unfreeze(ctx context.Context, freezeID string) (*FreezeStatus, error) {
	return o.c.unfreeze(ctx, o.key, installationThing(), freezeID)
}

// Journal returns a wallet's journal.
func (o *Operator) Journal(ctx context.Context, wallet string) (*Journal, error) {
	return o.c.journal(ctx, o.who, wallet)
}
