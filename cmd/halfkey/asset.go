package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// networkWords are Solana's networks as people call them, by CAIP-2.
var networkWords = map[string]string{
	resource.SolanaMainnet: "mainnet", resource.SolanaDevnet: "devnet", resource.SolanaTestnet: "testnet",
}

// tokenWord is a token as guard rails and command lines name it: USDC is the one on mainnet, and on another network it is
// USDC-devnet or USDC-testnet, so that nobody takes play money for money.
func tokenWord(t resource.Token) string {
	if t.Network == resource.SolanaMainnet {
		return t.Symbol
	}
	return t.Symbol + "-" + networkWords[t.Network]
}

// tokenWords are the words of all tokens.
func tokenWords() []string {
	var words []string
	for _, t := range resource.Tokens() {
		words = append(words, tokenWord(t))
	}
	return words
}

// assetWord is an asset by its word, or if it has none by its CAIP-19 id.
func assetWord(asset, installation string) string {
	if asset == resource.BookUSD(installation) {
		return usd
	}
	if t, known := resource.TokenOf(asset); known {
		return tokenWord(t)
	}
	return asset
}

// assetOf is the asset that a word or a CAIP-19 id names exactly.
func assetOf(word, installation string) (string, bool) {
	if word == usd || word == resource.BookUSD(installation) {
		return resource.BookUSD(installation), true
	}
	for _, t := range resource.Tokens() {
		if word == tokenWord(t) || word == t.Asset() {
			return t.Asset(), true
		}
	}
	return "", false
}

// amountUnit is how an asset's amounts are followed: by USD, or by the token's symbol.
func amountUnit(asset, installation string) (unit string, decimals int, ok bool) {
	if t, known := resource.TokenOf(asset); known {
		return t.Symbol, t.Decimals, true
	}
	unit, decimals, ok = resource.UnitOf(asset, installation)
	return usd, decimals, ok && unit == resource.UnitUSD
}

// payAsset is the asset that an order names: by a word, by its CAIP-19 id, or by a token's bare symbol, which means the one that the
// wallet's guard rails allow, on whatever network that is.
func (a *app) payAsset(ctx context.Context, agent *client.Agent, word string) (string, error) {
	symbol := slices.ContainsFunc(resource.Tokens(), func(t resource.Token) bool { return t.Symbol == word })
	if !symbol {
		asset, ok := assetOf(word, a.installation())
		if !ok {
			return "", usage("--asset", "an asset is "+usd+", "+strings.Join(tokenWords(), ", ")+", or the CAIP-19 id of one of these", "value", shorten(word))
		}
		return asset, nil
	}
	rules, err := agent.GuardRails(ctx)
	if err != nil {
		return "", unmoved(err)
	}
	var allowed []resource.Token
	for _, asset := range rules.Document.GetAssets() {
		if t, known := resource.TokenOf(asset); known && t.Symbol == word {
			allowed = append(allowed, t)
		}
	}
	switch len(allowed) {
	case 1:
		return allowed[0].Asset(), nil
	case 0:
		return "", usage("--asset", "the wallet's guard rails allow no "+word+": its owner adds it by `halfkey guardrails set --asset`, or name it by its CAIP-19 id")
	default:
		var words []string
		for _, t := range allowed {
			words = append(words, t.Asset())
		}
		return "", usage("--asset", "the wallet's guard rails allow "+word+" on several networks: name one by its CAIP-19 id, "+strings.Join(words, " or "))
	}
}

// orderAmount is an order's amount and the word of its asset, which follows the amount, stands in --asset, or is USD.
func (c *payCommand) orderAmount() (units int64, asset string, err error) {
	number, unit, said := strings.Cut(c.Amount, " ")
	switch {
	case said && c.Unit != "":
		return 0, "", usage("UNIT", "an amount is followed by one unit", "value", shorten(c.Unit))
	case !said:
		unit = c.Unit
	}
	symbol := slices.ContainsFunc(resource.Tokens(), func(t resource.Token) bool { return t.Symbol == unit })
	switch {
	case unit != "" && unit != usd && !symbol:
		return 0, "", usage("UNIT", "an amount is followed by USD, USDC, USDT or nothing", "value", shorten(unit))
	case c.Asset == "" && unit != "":
		asset = unit
	case c.Asset == "":
		asset = usd
	case symbol && !c.assetHas(unit), unit == usd && c.assetIsToken():
		return 0, "", usage("UNIT", "the amount is in another asset than --asset names", "value", shorten(unit))
	default:
		asset = c.Asset
	}
	units, err = parseAmount("AMOUNT", number)
	return units, asset, err
}

// assetHas reports whether --asset names a token of a symbol.
func (c *payCommand) assetHas(symbol string) bool {
	return slices.ContainsFunc(resource.Tokens(), func(t resource.Token) bool {
		return t.Symbol == symbol && (c.Asset == t.Symbol || c.Asset == tokenWord(t) || c.Asset == t.Asset())
	})
}

// assetIsToken reports whether --asset names a token.
func (c *payCommand) assetIsToken() bool {
	return slices.ContainsFunc(resource.Tokens(), func(t resource.Token) bool { return c.assetHas(t.Symbol) })
}

// keyOf reads a key, in hexadecimal or as an address on Solana.
func keyOf(text string) (key [32]byte, ok bool) {
	if b, err := hex.DecodeString(text); err == nil && len(b) == len(key) {
		return [32]byte(b), true
	}
	address, err := solana.ParseKey(text)
	return address, err == nil
}

// solDecimals are those of SOL, whose smallest unit is the lamport.
const solDecimals = 9

// withoutSOL tells in SOL what a wallet lacks for the fee of a transfer, and where to send it.
func withoutSOL(err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != typev1.Reason_REASON_INSUFFICIENT_FUNDS || e.Metadata["needed_lamports"] == "" {
		return err
	}
	needed, neededErr := resource.ParseAmount(e.Metadata["needed_lamports"])
	available, availableErr := resource.ParseAmount(e.Metadata["available_lamports"])
	if neededErr != nil || availableErr != nil || needed <= available {
		return err
	}
	told := *e
	told.Message = fmt.Sprintf("the wallet has %s SOL for the fee of a transfer, and needs %s",
		resource.FormatDecimal(available, solDecimals), resource.FormatDecimal(needed, solDecimals))
	told.Next = fmt.Sprintf("send at least %s SOL to %s, then repeat the command", resource.FormatDecimal(needed-available, solDecimals), e.Metadata["address"])
	return &told
}

// addressText is a key as Solana's people write it.
func addressText(key []byte) string {
	if len(key) != len(solana.Key{}) {
		return ""
	}
	return solana.Key(key).String()
}

// transactionText is the name of a transaction on Solana; empty if there is none.
func transactionText(signature []byte) string {
	if len(signature) != len(solana.Signature{}) {
		return ""
	}
	return solana.Signature(signature).String()
}

// networkText is where a token is, for people.
func networkText(asset string) string {
	t, known := resource.TokenOf(asset)
	if !known {
		return ""
	}
	return "Solana " + networkWords[t.Network]
}

// feesText says what payments on Solana cost besides, which no limit counts.
const feesText = "Fees on Solana are paid in SOL out of the same address, and no limit counts them: keep some SOL there."
