package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/resource"
)

type recoveryExitCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle whose share this home holds."`
	File string `arg:"" help:"The recovery file."`
	passphraseFlag
	To        string `xor:"what" and:"transfer" placeholder:"ADDRESS" help:"Make a transfer on Solana to this address, in base58: of who owns the tokens, not of a token account."`
	Amount    string `and:"transfer" placeholder:"AMOUNT" help:"How much, in whole tokens: 5 or 0.25."`
	Asset     string `and:"transfer" placeholder:"ASSET" complete:"asset" help:"The token: USDC or USDT, USDC-devnet or USDC-testnet, or its CAIP-19 id."`
	BlockHash string `and:"transfer" placeholder:"HASH" help:"A block hash that a node of the network has just given, in base58: the transaction lands within about a minute of it, or never."`
	Message   string `xor:"what" placeholder:"FILE" help:"Sign this message instead, whole: its bytes are signed as they are."`
	Yes       bool   `help:"Sign without asking."`
}

// exitResult is a signature that no guard rail saw.
type exitResult struct {
	Wallet    string `json:"wallet"`
	GroupKey  string `json:"group_key"`
	Signature string `json:"signature"`
}

// exitTransferResult is a transfer that no guard rail saw, ready for any node of its network.
type exitTransferResult struct {
	Wallet   string `json:"wallet"`
	GroupKey string `json:"group_key"`
	Asset    string `json:"asset"`
	Units    string `json:"units"`
	Amount   string `json:"amount"`
	// RecipientAddress is who gets it, in base58, BlockHash the block hash that the transaction lands by.
	RecipientAddress string `json:"recipient_address"`
	BlockHash        string `json:"block_hash"`
	// Transaction is the signature that names the transaction on the chain, in base58. It is there only once somebody has sent Wire.
	Transaction string `json:"transaction"`
	// Wire is the whole transaction in base64, Request the body of a node's JSON-RPC call that sends it.
	Wire    string          `json:"wire"`
	Request json.RawMessage `json:"request"`
}

// Run signs.
func (c *recoveryExitCommand) Run(a *app) error {
	a.globals.Wallet = c.Name
	if c.To == "" && c.Message == "" {
		return usage("--to", "say what to sign: --to, --amount, --asset and --block-hash for a transfer on Solana, or --message for anything else")
	}
	agent, err := a.agent()
	if err != nil {
		return err
	}
	if c.To != "" {
		return c.transfer(a, agent)
	}
	message, err := a.input(c.Message)
	if err != nil {
		return err
	}
	key := agent.GroupKey()
	err = a.confirm(c.Yes, "Sign %d bytes with the key %s? No guard rail, freeze or ledger sees it, and it moves whatever the message says.", len(message), keyText(key[:]))
	if err != nil {
		return err
	}
	passphrase, err := c.read(a)
	if err != nil {
		return err
	}
	signature, err := client.ExitSign(agent, c.File, passphrase, message)
	if err != nil {
		return unmoved(err)
	}
	return a.show(&exitResult{Wallet: agent.Wallet(), GroupKey: keyText(key[:]), Signature: hex.EncodeToString(signature[:])})
}

// transfer makes a transfer on Solana.
func (c *recoveryExitCommand) transfer(a *app, agent *client.Agent) error {
	t, err := c.order(a)
	if err != nil {
		return err
	}
	if err := t.Check(agent); err != nil {
		return unmoved(err)
	}
	key, amount := agent.GroupKey(), formatAmount(t.Units, t.Asset, a.installation())
	err = a.confirm(c.Yes, "Pay %s on %s to %s with the key %s? No guard rail, limit, freeze or ledger sees it, and the whole key is in this process while it signs.",
		amount, networkText(t.Asset), addressText(t.Recipient[:]), keyText(key[:]))
	if err != nil {
		return err
	}
	passphrase, err := c.read(a)
	if err != nil {
		return err
	}
	made, err := client.ExitPay(agent, c.File, passphrase, t)
	if err != nil {
		return unmoved(err)
	}
	r := &exitTransferResult{
		Wallet: agent.Wallet(), GroupKey: keyText(key[:]), Asset: t.Asset, Units: resource.FormatUnits(t.Units), Amount: amount,
		RecipientAddress: addressText(t.Recipient[:]), BlockHash: addressText(t.BlockHash[:]), Transaction: transactionText(made.Signature[:]),
		Wire: base64.StdEncoding.EncodeToString(made.Wire),
	}
	if r.Request, err = sendRequest(r.Wire); err != nil {
		return err
	}
	return a.show(r)
}

// order reads the transfer from the flags. Nobody is asked what a name stands for.
func (c *recoveryExitCommand) order(a *app) (t client.ExitTransfer, err error) {
	address, err := solana.ParseKey(c.To)
	if err != nil {
		return t, usage("--to", "a recipient is an address on Solana, 32 to 44 characters of base58: no handle, for nobody is asked", "value", shorten(c.To))
	}
	hash, err := solana.ParseKey(c.BlockHash)
	if err != nil {
		return t, usage("--block-hash", "a block hash is 32 to 44 characters of base58, as a node answers getLatestBlockhash with", "value", shorten(c.BlockHash))
	}
	asset, known := assetOf(c.Asset, a.installation())
	token, onChain := resource.TokenOf(asset)
	if !known || !onChain {
		return t, usage("--asset", "a token on Solana is "+strings.Join(tokenWords(), ", ")+", or the CAIP-19 id of one of these", "value", shorten(c.Asset))
	}
	number, symbol, said := strings.Cut(c.Amount, " ")
	if said && symbol != token.Symbol {
		return t, usage("--amount", "the amount is in another asset than --asset names", "value", shorten(c.Amount))
	}
	units, err := parseAmount("--amount", number)
	return client.ExitTransfer{Recipient: address, Asset: asset, Units: units, BlockHash: hash}, err
}

// sendRequest is the body of the call that hands a transaction to a node.
func sendRequest(wire string) (json.RawMessage, error) {
	return json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}{"2.0", 1, "sendTransaction", []any{wire, map[string]string{"encoding": "base64", "preflightCommitment": "confirmed"}}})
}

func (r *exitResult) people(p *printer) {
	p.line("%s", r.Signature)
	p.line("An Ed25519 signature by %s.", r.GroupKey)
}

func (r *exitTransferResult) people(p *printer) {
	p.line("%s", r.Wire)
	p.line("A whole transaction in base64: it pays %s on %s to %s. Whoever sends it to a node moves the money:",
		r.Amount, networkText(r.Asset), r.RecipientAddress)
	p.line("%s", r.Request)
	p.line("It lands within about a minute of its block hash, or never. The chain names it %s:", r.Transaction)
	p.line("look for that name before you make another with a fresh block hash, for both could land.")
	p.line("%s", feesText)
}
