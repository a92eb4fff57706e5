package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/resource"
)

// withSolana is the ledger's example with the rail that stands in its comments.
func withSolana(t *testing.T) string {
	t.Helper()
	before, block, found := strings.Cut(exampleOf(t, "ledger"), "#\n# solana:\n")
	block, after, ended := strings.Cut(block, "\n\n")
	if !found || !ended {
		t.Fatal("the example says nothing of the rail")
	}
	return before + "\nsolana:\n" + strings.ReplaceAll("\n"+block, "\n# ", "\n") + "\n\n" + after
}

// TestSolana: what stands in the example's comments is a rail.
func TestSolana(t *testing.T) {
	t.Parallel()
	into := new(config.Ledger)
	if err := config.Load(write(t, exampleOf(t, "ledger")), into); err != nil || into.Solana.Configured() {
		t.Fatalf("without the rail: %v, %+v", err, into.Solana)
	}
	path := write(t, withSolana(t))
	into = new(config.Ledger)
	if err := config.Load(path, into); err != nil {
		t.Fatal(err)
	}
	want := []string{resource.SolanaMainnet + "/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"}
	if got := into.Solana.Assets(); !into.Solana.Configured() || !slices.Equal(got, want) {
		t.Errorf("assets %v, want %v", got, want)
	}
	if got, want := into.Solana.EndpointsFile, filepath.Join(filepath.Dir(path), "solana-endpoints"); got != want {
		t.Errorf("the endpoints are in %s, want %s", got, want)
	}
}

// TestSolanaRefusals: what an operator says of a token and Halfkey knows otherwise is refused by the token's name.
func TestSolanaRefusals(t *testing.T) {
	t.Parallel()
	const usdc = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
	for _, tt := range []struct {
		name, from, to string
		want           []string
	}{
		{
			"another network", "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp #", "aeykt4UsFv8P8NJdTREpY1vzqKqZKvdp #",
			[]string{"solana.network", "not \"solana:aeykt", resource.SolanaMainnet},
		},
		{"another chain", "network: solana:", "network: eip155:", []string{"solana.network"}},
		{"no network", "network: solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "network: ''", []string{"solana.network"}},
		{"no endpoints", "endpoints_file: solana-endpoints", "endpoints_file: ''", []string{"solana.endpoints_file"}},
		{
			"an unknown mint", "mint: " + usdc, "mint: So11111111111111111111111111111111111111112",
			[]string{"So111", "is no mint", usdc + " (USDC)"},
		},
		{"a mint of another network", "mint: " + usdc, "mint: 4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", []string{"4zMMC9", "is no mint"}},
		{"other decimals", "decimals: 6", "decimals: 9", []string{usdc, "decimals: 9, and the mint has 6"}},
		{
			"another program", "program: TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", "program: TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb",
			[]string{usdc, "program: want"},
		},
		{"another unit", "unit: USD", "unit: EUR", []string{usdc, "unit: \"EUR\", and it counts in USD"}},
		{"a token twice", "    - mint", "    - {mint: " + usdc +
			", decimals: 6, program: TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA, unit: USD}\n    - mint", []string{usdc, "stands twice"}},
		{"a key that is not known", "unit: USD", "unit: USD\n      symbol: USDC", []string{"symbol"}},
		{"no token", withSolanaTokens(t), "  tokens: []\n", []string{"solana.tokens"}},
	} {
		text := withSolana(t)
		changed := strings.Replace(text, tt.from, tt.to, 1)
		if changed == text {
			t.Errorf("%s: nothing was changed", tt.name)
		}
		err := config.Load(write(t, changed), new(config.Ledger))
		if err == nil {
			t.Errorf("%s: taken", tt.name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", tt.name, err, want)
			}
		}
	}
}

// withSolanaTokens is the example's list of tokens.
func withSolanaTokens(t *testing.T) string {
	t.Helper()
	_, tokens, _ := strings.Cut(withSolana(t), "  tokens:\n")
	tokens, _, _ = strings.Cut(tokens, "\n\n")
	return "  tokens:\n" + tokens + "\n"
}

// TestReadEndpoints: URLs are a secret, one a line.
func TestReadEndpoints(t *testing.T) {
	t.Parallel()
	path := write(t, "# ours\n  https://rpc.example.org/?key=abc \n\nhttp://127.0.0.1:8899\n")
	got, err := config.ReadEndpoints(path)
	if err != nil || !slices.Equal(got, []string{"https://rpc.example.org/?key=abc", "http://127.0.0.1:8899"}) {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ReadEndpoints(path); err == nil || !strings.Contains(err.Error(), "chmod 600") ||
		strings.Contains(err.Error(), "abc") {
		t.Errorf("a file that others may read: %v", err)
	}
	if _, err := config.ReadEndpoints(write(t, "# none\n")); err == nil || !strings.Contains(err.Error(), "holds no URL") {
		t.Errorf("a file without one: %v", err)
	}
}
