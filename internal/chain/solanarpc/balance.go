package solanarpc

import (
	"context"
	"encoding/binary"
	"errors"
	"math"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// tokenProgram owns the token accounts that are read.
	tokenProgram = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA" //nolint:gosec // G101: a program's public address, not a credential
	// systemProgram owns what has SOL and nothing else.
	systemProgram = "11111111111111111111111111111111"
	// A token account of the classic program: mint, owner, units, and what is not read but its state.
	accountSize = 165
	unitsAt     = 64
	stateAt     = 108
	// stateInitialized is an account that can be paid from; 2 is one that the mint's issuer has frozen.
	stateInitialized = 1
)

// Balance is what a wallet holds of one mint, in its associated token account, finalised.
type Balance struct {
	// Account is the associated token account.
	Account solana.Key
	// Units is the lowest balance that any endpoint says; 0 where there is no account yet.
	Units int64
	// Slot is the earliest that any of them spoke of.
	Slot uint64
	// Exists says that every endpoint which answered shows the account. One that pays an owner without it opens it first.
	Exists bool
	// Frozen says that an endpoint shows the account frozen by the mint's issuer: nothing leaves it, and nothing reaches it.
	Frozen bool
	// Sure says that every endpoint answered and said the same. Without it a payment may be refused that could be paid; none is made
	// that could not.
	Sure bool
}

// Balance asks for the balance of owner in mint. It fails only where no endpoint gave an answer that counts.
func (c *Client) Balance(ctx context.Context, owner, mint solana.Key) (Balance, error) {
	account, ok := solana.AssociatedTokenAccount(owner, mint)
	if !ok {
		return Balance{}, errors.New("solana balance: owner and mint have no associated token account")
	}
	said, failures := each(c, func(e *endpoint) (Balance, error) { return e.balance(ctx, account, owner, mint) })
	lowest := Balance{Account: account, Units: math.MaxInt64, Slot: math.MaxUint64, Exists: true, Sure: true}
	answered := 0
	for i, b := range said {
		if failures[i] != nil {
			lowest.Sure = false
			continue
		}
		if answered++; answered > 1 && (b.Units != lowest.Units || b.Frozen != lowest.Frozen || b.Exists != lowest.Exists) {
			lowest.Sure = false
		}
		lowest.Units, lowest.Slot = min(lowest.Units, b.Units), min(lowest.Slot, b.Slot)
		lowest.Frozen, lowest.Exists = lowest.Frozen || b.Frozen, lowest.Exists && b.Exists
	}
	if answered == 0 {
		return Balance{}, errors.Join(failures...)
	}
	return lowest, nil
}

// balance asks one endpoint for the account itself, so that whose it is and of which mint is seen with the amount.
func (e *endpoint) balance(ctx context.Context, account, owner, mint solana.Key) (Balance, error) {
	const method = "getAccountInfo"
	if err := e.known(ctx); err != nil {
		return Balance{}, err
	}
	v, err := e.call(ctx, method, smallMax, account.String(), options{"commitment": finalized, "encoding": "base64"})
	if err != nil {
		return Balance{}, err
	}
	b, why := parseBalance(v, owner, mint)
	if why != "" {
		return Balance{}, e.fail(method, "has an answer that "+why)
	}
	return b, nil
}

// parseBalance reads a token account, or that there is none.
func parseBalance(v any, owner, mint solana.Key) (Balance, string) {
	var f fields
	answer := f.object(v)
	b := Balance{Slot: f.number(f.member(f.object(f.member(answer, "context")), "slot"))}
	value := f.member(answer, "value")
	if f.why != "" || value == nil {
		return b, f.why
	}
	o := f.object(value)
	program, data := f.text(f.member(o, "owner")), f.bytes(f.member(o, "data"), accountSize)
	switch {
	case f.why != "":
		return Balance{}, f.why
	case program == systemProgram && len(data) == 0:
		return b, "" // Somebody has sent SOL to where the account will be, which anybody can.
	case program != tokenProgram || len(data) != accountSize:
		return Balance{}, "has no token account of the classic Token program"
	case solana.Key(data[:32]) != mint || solana.Key(data[32:unitsAt]) != owner:
		return Balance{}, "has a token account of another owner or mint"
	}
	units := binary.LittleEndian.Uint64(data[unitsAt:])
	if units > math.MaxInt64 {
		return Balance{}, "has a balance above 2^63-1"
	}
	b.Units, b.Exists, b.Frozen = int64(units), true, data[stateAt] != stateInitialized
	return b, ""
}
