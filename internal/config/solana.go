package config

import (
	"fmt"
	"strings"

	"github.com/halfkey/halfkey/internal/resource"
)

// tokenProgram is the classic Token program: another program's mint may take a fee of its own, or call foreign code.
const tokenProgram = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA" //nolint:gosec // G101: a program's public address, not a credential

// Solana is the ledger's rail on Solana. The zero Solana is none, and payments on it are refused.
type Solana struct {
	// Network is the chain by CAIP-2: `solana:` and the first 32 characters of its genesis hash.
	Network string `yaml:"network"`
	// EndpointsFile is a secret file with the RPC URLs that are asked, one a line: a URL may hold a provider's key.
	EndpointsFile string `yaml:"endpoints_file"`
	// Tokens are those that wallets pay and are paid in.
	Tokens []SolanaToken `yaml:"tokens"`
}

// SolanaToken is a token, with what an operator has to know of it: all of it is what Halfkey knows, or it is refused.
type SolanaToken struct {
	// Mint is its account, in base58.
	Mint string `yaml:"mint"`
	// Decimals are its mint's.
	Decimals int `yaml:"decimals"`
	// Program owns its mint: the classic Token program.
	Program string `yaml:"program"`
	// Unit is the unit of account that limits count it in.
	Unit string `yaml:"unit"`
}

// Configured says whether there is a rail.
func (s *Solana) Configured() bool {
	return s.Network != "" || s.EndpointsFile != "" || len(s.Tokens) > 0
}

// Assets are the tokens by CAIP-19.
func (s *Solana) Assets() []string {
	assets := make([]string, 0, len(s.Tokens))
	for _, t := range s.Tokens {
		assets = append(assets, resource.Token{Network: s.Network, Mint: t.Mint}.Asset())
	}
	return assets
}

func (s *Solana) problems() []string {
	if !s.Configured() {
		return nil
	}
	var p problems
	known := make(map[string]resource.Token)
	var mints []string
	for _, t := range resource.Tokens() {
		if t.Network == s.Network {
			known[t.Mint] = t
			mints = append(mints, t.Mint+" ("+t.Symbol+")")
		}
	}
	p.want(len(known) > 0, fmt.Sprintf("solana.network: a network with known tokens, not %q; mainnet is %s, devnet %s, testnet %s",
		s.Network, resource.SolanaMainnet, resource.SolanaDevnet, resource.SolanaTestnet))
	p.want(s.EndpointsFile != "", "solana.endpoints_file: the file with the RPC URLs, one a line")
	p.want(len(s.Tokens) > 0, "solana.tokens: the tokens that are taken, at least one")
	seen := make(map[string]bool)
	for _, t := range s.Tokens {
		at := "solana.tokens: " + t.Mint + ": "
		token, ok := known[t.Mint]
		if !ok {
			p.want(len(known) == 0, at+"is no mint that is known on this network; known are "+strings.Join(mints, ", "))
			continue
		}
		p.want(!seen[t.Mint], at+"stands twice")
		seen[t.Mint] = true
		p.want(t.Decimals == token.Decimals, fmt.Sprintf("%sdecimals: %d, and the mint has %d", at, t.Decimals, token.Decimals))
		p.want(t.Program == tokenProgram, at+"program: want the classic Token program, "+tokenProgram)
		p.want(t.Unit == token.Unit, fmt.Sprintf("%sunit: %q, and it counts in %s", at, t.Unit, token.Unit))
	}
	return p
}

// ReadEndpoints reads a secret file of URLs, one a line. Empty lines, and those that begin with #, are left out. What is wrong with a URL
// is for whoever uses it to say, without showing it.
func ReadEndpoints(path string) ([]string, error) {
	b, err := ReadSecret(path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	var endpoints []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			endpoints = append(endpoints, line)
		}
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("config: %s holds no URL: want one a line", path)
	}
	return endpoints, nil
}
