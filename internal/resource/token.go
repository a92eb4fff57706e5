package resource

import (
	"slices"
	"strings"
)

// Solana's networks by CAIP-2. The reference is the first 32 characters of the genesis block's hash.
const (
	SolanaMainnet = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"
	SolanaDevnet  = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
	SolanaTestnet = "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"

	// SolanaNamespace begins every asset on Solana.
	SolanaNamespace = "solana:"

	tokenInfix = "/token:"
)

// Token is a token on Solana that payments are made in. Its mint belongs to the classic Token program: another program's mint may
// take a fee of its own, or call foreign code.
type Token struct {
	// Network is where it is, by CAIP-2.
	Network string
	// Mint is its account, in base58.
	Mint string
	// Symbol is what people call it.
	Symbol string
	// Unit is its unit of account, and Decimals are what both have.
	Unit     string
	Decimals int
}

// tokens is the table of all that are known. A dollar token counts at par with a dollar. Circle gave devnet and testnet one mint.
var tokens = [...]Token{
	{SolanaMainnet, "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "USDC", UnitUSD, usdDecimals},
	{SolanaMainnet, "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", "USDT", UnitUSD, usdDecimals},
	{SolanaDevnet, "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", "USDC", UnitUSD, usdDecimals},
	{SolanaTestnet, "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", "USDC", UnitUSD, usdDecimals},
}

// Asset is the token's CAIP-19 id, `solana:{network}/token:{mint}`.
func (t Token) Asset() string { return t.Network + tokenInfix + t.Mint }

// TokenOf is the known token that an asset's id names, letter by letter.
func TokenOf(asset string) (Token, bool) {
	network, mint, ok := strings.Cut(asset, tokenInfix)
	if !ok {
		return Token{}, false
	}
	for _, t := range tokens {
		if t.Network == network && t.Mint == mint {
			return t, true
		}
	}
	return Token{}, false
}

// Tokens lists the known tokens.
func Tokens() []Token { return slices.Clone(tokens[:]) }
