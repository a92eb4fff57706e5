package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"strconv"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Agent is one wallet's agent: its share of the key and its request key. It is for concurrent use.
//
// It follows its owner by itself: once the guard rails name the request key that Offer made, it goes by that one.
type Agent struct {
	redacted
	c        *Client
	wallet   string
	handle   string
	groupKey [32]byte
	state    *agentState
	who      *caller
}

// Agent loads the agent of a wallet from the key store; an empty wallet means the only one there is.
func (c *Client) Agent(wallet string) (*Agent, error) {
	const op = "load agent"
	if wallet == "" {
		only, err := c.onlyWallet()
		if err != nil {
			return nil, err
		}
		wallet = only
	}
	id, err := resource.ParseWallet(wallet)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	k, err := c.loadAgentKey(agentKeyPrefix + id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, local(op, typev1.Reason_REASON_NOT_FOUND, "this home holds no share of the wallet", "wallet", wallet)
	}
	if err != nil {
		return nil, err
	}
	switch k.stage {
	case stageRegistered:
		return c.newAgent(k), nil
	case stageReplacing:
		return nil, local(op, typev1.Reason_REASON_NOT_ACTIVE, "taking this wallet over has not ended: replace its share again with the same recovery file",
			"wallet", wallet)
	default:
		return nil, local(op, typev1.Reason_REASON_NOT_ACTIVE, "the registration of this wallet has not ended: register again with the same handle and owner",
			"wallet", wallet)
	}
}

func (c *Client) onlyWallet() (string, error) {
	const op = "load agent"
	keys, err := c.agentKeys()
	if err != nil {
		return "", err
	}
	switch len(keys) {
	case 0:
		return "", local(op, typev1.Reason_REASON_NOT_FOUND, "this home holds no wallet: register first")
	case 1:
		return keys[0].wallet, nil
	default:
		return "", local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "this home holds several wallets: name one", "field", "wallet")
	}
}

// Wallets returns the wallets whose share this home holds, ascending.
func (c *Client) Wallets() ([]string, error) {
	keys, err := c.agentKeys()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.wallet)
	}
	return names, nil
}

// Wallet is `wallets/{wallet}`.
func (a *Agent) Wallet() string { return a.wallet }

// Handle is the agent's handle without `@`.
func (a *Agent) Handle() string { return a.handle }

// GroupKey is the wallet's key: its address. In base58 it is the wallet's address on Solana.
func (a *Agent) GroupKey() [32]byte { return a.groupKey }

// State returns how far the wallet is in the directory: UNCLAIMED until its owner has claimed it, ENDED if nobody did in
// time. An ACTIVE one has been verified to be this agent's own.
func (a *Agent) State(ctx context.Context) (typev1.WalletState, error) {
	const op = "get wallet"
	w, err := invoke(ctx, a.c, rpc{op: op, method: gatewayv1.GatewayService_GetWallet_FullMethodName, who: a.who, about: a.who.name},
		&gatewayv1.GetWalletRequest{Name: a.wallet}, gatewayv1.GatewayServiceClient.GetWallet)
	if ReasonOf(err) == typev1.Reason_REASON_NOT_ACTIVE {
		return a.unclaimedState(ctx)
	}
	if err != nil {
		return 0, err
	}
	if w.GetState() != typev1.WalletState_WALLET_STATE_ACTIVE {
		return w.GetState(), nil
	}
	pinned, err := evidence.CheckWallet(a.c.Installation(), w.GetRegistration(), w.GetClaim(), w.GetRecord())
	if err != nil {
		return 0, distrust(op, notMoved, "the wallet's documents do not verify", err)
	}
	if pinned.Name != a.wallet || pinned.GroupKey != a.groupKey ||
		evidence.EnvelopeDigest(w.GetRegistration()) != evidence.EnvelopeDigest(a.state.now().registration) {
		return 0, distrust(op, notMoved, "the directory shows another wallet than this agent's", nil)
	}
	return w.GetState(), a.c.pinRecord(pinned.Record)
}

// unclaimedState tells a registration that still waits from one that has ended: no token authenticates either, but its own
// repeat does.
func (a *Agent) unclaimedState(ctx context.Context) (typev1.WalletState, error) {
	w, err := a.c.announce(ctx, "get wallet", a.state.now())
	if ReasonOf(err) == typev1.Reason_REASON_NOT_ACTIVE {
		return typev1.WalletState_WALLET_STATE_ENDED, nil
	}
	return w.GetState(), err
}

// Balance is one asset of a wallet.
type Balance struct {
	// Asset is its CAIP-19 id.
	Asset string
	// Available can be paid; Held is held by payments that may still settle.
	Available, Held int64
	// Slot is that up to which the ledger knows the account's history on a chain; 0 on the book, and before it has looked.
	Slot uint64
}

// Account is what the ledger says of a wallet.
type Account struct {
	// Wallet is `wallets/{wallet}`.
	Wallet string
	// Balances are by asset.
	Balances []Balance
	// Frozen says that the ledger holds a freeze that stops the wallet.
	Frozen bool
	// Time is the ledger's.
	Time time.Time
	// Head is the newest journal entry by the ledger's verified signature. Balances are its word; the journal proves them.
	Head *typev1.JournalHead
}

// Account returns balances, and notes the newest journal entry: a ledger that later lacks it shows.
func (a *Agent) Account(ctx context.Context) (*Account, error) {
	seen, seenHash, err := a.c.payments.Seen(a.wallet)
	if err != nil {
		return nil, wrap("get account", err, notMoved)
	}
	acc, err := a.c.account(ctx, a.who, a.wallet)
	if err != nil {
		return nil, err
	}
	return acc, a.seeAfter(ctx, seen, seenHash, acc.Head.GetEntry(), acc.Head.GetEntryHash())
}

func (c *Client) account(ctx context.Context, who *caller, wallet string) (*Account, error) {
	resp, err := invoke(ctx, c, rpc{op: "get account", method: gatewayv1.GatewayService_GetAccount_FullMethodName, who: who, about: wallet},
		&gatewayv1.GetAccountRequest{Wallet: wallet}, gatewayv1.GatewayServiceClient.GetAccount)
	if err != nil {
		return nil, err
	}
	return c.checkAccount(resp, wallet)
}

func (c *Client) checkAccount(resp *gatewayv1.GetAccountResponse, wallet string) (*Account, error) {
	const op = "get account"
	c.learn(resp.GetLedgerTime())
	head, err := evidence.CheckJournalHead(c.Installation(), resp.GetHead())
	if err != nil {
		return nil, distrust(op, notMoved, "the journal's head does not verify", err)
	}
	if head.GetWallet() != wallet {
		return nil, distrust(op, notMoved, "the journal's head is another wallet's", nil)
	}
	acc := &Account{Wallet: wallet, Frozen: resp.GetFrozen(), Time: resp.GetLedgerTime().AsTime(), Head: head}
	for _, b := range resp.GetBalances() {
		available, err := resource.ParseAmount(b.GetAvailable())
		if err != nil {
			return nil, distrust(op, notMoved, "a balance is no amount", err)
		}
		held, err := resource.ParseAmount(b.GetHeld())
		if err != nil {
			return nil, distrust(op, notMoved, "a balance is no amount", err)
		}
		acc.Balances = append(acc.Balances, Balance{Asset: b.GetAsset(), Available: available, Held: held, Slot: b.GetSlot()})
	}
	return acc, nil
}

// seeAfter notes an entry that the ledger has signed for, against what had been seen before the call: other calls may have
// seen more since. A ledger whose newest entry is older than that, or another under the same number, has lost entries or is
// lying; only an operator's journaled statement makes that acceptable.
func (a *Agent) seeAfter(ctx context.Context, seen uint64, seenHash []byte, entry uint64, hash []byte) error {
	const op = "check journal"
	if entry > seen || entry == seen && bytes.Equal(hash, seenHash) {
		return wrap(op, a.c.payments.SetSeen(a.wallet, entry, hash), notMoved)
	}
	accepted, err := a.lossAccepted(ctx, seen, seenHash)
	if err != nil {
		return err
	}
	if !accepted {
		return local(op, typev1.Reason_REASON_LEDGER_BEHIND, "the ledger lacks a journal entry that this client has seen",
			"seen_entry", strconv.FormatUint(seen, 10), "seen_hash", hex.EncodeToString(seenHash))
	}
	return wrap(op, a.c.payments.AcceptLoss(a.wallet, seen, seenHash, entry, hash), notMoved)
}

// lossAccepted looks for an operator's statement, in the verified journal, that accepts the loss of exactly this entry.
func (a *Agent) lossAccepted(ctx context.Context, entry uint64, hash []byte) (bool, error) {
	accepted := false
	err := a.c.signedEntries(ctx, a.who, a.wallet, func(e *typev1.Entry) {
		if e.GetKind() != typev1.EntryKind_ENTRY_KIND_ACCEPT_LOSS || len(e.GetStatements()) == 0 {
			return
		}
		m, err := evidence.CheckOperator(a.c.Installation(), e.GetStatements()[0])
		if err != nil {
			return
		}
		loss, ok := m.(*typev1.AcceptLoss)
		if ok && loss.GetWallet() == a.wallet && loss.GetLostEntry() == entry && bytes.Equal(loss.GetLostHash(), hash) {
			accepted = true
		}
	})
	return accepted && err == nil, err
}

// deadlineMargin is how near to now, or to the farthest that a deadline may lie, it takes a ledger's time that was told.
const deadlineMargin = 2 * time.Minute

// ledgerNow estimates the ledger's time for a payment with a deadline so far ahead. Before any answer has told it this machine's clock
// serves: one that is too far off makes a message that the ledger refuses, saying its time, and the payment goes on with that.
// Only a deadline that a small difference spoils is worth a call of its own.
func (a *Agent) ledgerNow(ctx context.Context, deadline time.Duration) (time.Time, error) {
	now, learned := a.c.now()
	if learned || deadline == 0 || deadline > deadlineMargin && deadline < evidence.DeadlineMax-deadlineMargin {
		return now, nil
	}
	if _, err := a.Account(ctx); err != nil {
		return time.Time{}, err
	}
	now, _ = a.c.now()
	return now, nil
}
