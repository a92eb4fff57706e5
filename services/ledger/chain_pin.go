package ledger

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// solTimeout bounds asking for a payer's SOL: an agent waits for the answer.
const solTimeout = 5 * time.Second

// onChain is what the chain says of an attempt, asked before it is decided.
type onChain struct {
	// block is what the message's block hash was handed out with; nil if it was not, or too long ago.
	block *solanarpc.BlockHash
	// short refuses a transfer that could not pay its fee, or of which nobody knows whether it could.
	short *refusal
}

// checkRail refuses an intent on a rail, a network or in a token that the ledger does not have.
func (s *Service) checkRail(intent *typev1.Intent) *refusal {
	if intent.GetRail() == typev1.Rail_RAIL_BOOK {
		return nil
	}
	token, known := resource.TokenOf(intent.GetAsset())
	if s.chain == nil || !known {
		return s.chain.takes("", "intent.rail")
	}
	if r := s.chain.takes(token.Network, "intent.asset"); r != nil {
		return r
	}
	if _, taken := s.chain.mints[intent.GetAsset()]; !taken {
		return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "this installation's ledger does not take this token", "field", "intent.asset",
			"why", "is a token that this installation's ledger is not configured for")
	}
	return nil
}

// look asks what the chain says of an attempt on it.
func (r *rail) look(ctx context.Context, a *attempt, now time.Time, failed func(error)) {
	a.chain = new(onChain)
	if a.dry {
		// The message of a dry run has a hash of no block, so that what is signed for it can never be paid.
		a.chain.block = new(solanarpc.BlockHash)
	} else if block, ok := r.hashes.find(a.decoded.BlockHash, now); ok {
		a.chain.block = &block
	}
	if a.decoded.Layout != solana.Transfer || a.chain.block == nil {
		return
	}
	lamports, opens, err := r.sol(ctx, a.decoded)
	if err != nil {
		failed(err)
		a.chain.short = refuse(typev1.Reason_REASON_UNAVAILABLE, "the chain's endpoints do not say whether the wallet can pay the fee")
		return
	}
	if needs := solanarpc.TransferNeeds(lamports, opens); needs > 0 {
		a.chain.short = refuse(typev1.Reason_REASON_INSUFFICIENT_FUNDS, "the wallet has not enough SOL for the fee of a transfer",
			"available_lamports", strconv.FormatInt(lamports, 10), "needed_lamports", strconv.FormatInt(needs, 10),
			"address", solana.Key(a.decoded.Payer).String())
	}
}

// sol is how many lamports the payer of a transfer has, and whether it opens the recipient's token account.
func (r *rail) sol(ctx context.Context, m evidence.Message) (lamports int64, opens bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, solTimeout)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		lamports, err = r.client.Lamports(ctx, m.Payer)
		return err
	})
	g.Go(func() error {
		balance, err := r.client.Balance(ctx, m.Recipient, r.mints[m.Asset])
		opens = !balance.Exists
		return err
	})
	err = g.Wait()
	return lamports, opens, err
}

// checkBlock refuses a message whose block hash was not handed out just now: the ledger could not follow it to its end, or it would be
// pinned to die.
func (a *attempt) checkBlock() *refusal {
	if a.chain == nil || a.chain.block != nil {
		return nil
	}
	return refuse(typev1.Reason_REASON_MESSAGE_EXPIRED, "the message's block hash is not one that the ledger handed out in the last minute",
		"evidence", "message", "field", "block_hash",
		"why", "is not one that the ledger handed out in the last minute; make a message with a fresh one")
}

// checkPinnable refuses a message on a chain that was pinned before: its bytes name no payment, and land once.
func (s *state) checkPinnable(a *attempt) *refusal {
	if a.chain == nil {
		return nil
	}
	if _, pinned := s.messages.get(a.messageKey()); pinned {
		return refuse(typev1.Reason_REASON_MESSAGE_EXPIRED, "the message was authorized before, and lands once", "evidence", "message",
			"field", "memo", "why", "makes the same bytes as an earlier message; make a message with a fresh memo and block hash")
	}
	return a.chain.short
}

// pinOnChain remembers an authorized message on a chain until it is proven what became of it, and for ever that it was.
func (s *state) pinOnChain(p payment, a *attempt) {
	if a.chain == nil {
		return
	}
	s.messages.put(s, a.messageKey(), chainMessage{
		id: p.id, message: a.message, slot: int64(a.chain.block.Slot), lastValidHeight: int64(a.chain.block.LastValidHeight), state: messageLive,
	})
}

// messageKey names an attempt's message on a chain.
func (a *attempt) messageKey() messageKey { return messageKey{a.key.wallet, a.MessageDigest} }
