package resource

import (
	"strings"
	"testing"
)

// TestTokenOf: a token is named letter by letter, and by nothing that only looks like its id.
func TestTokenOf(t *testing.T) {
	seen := make(map[string]bool)
	for _, want := range Tokens() {
		asset := want.Asset()
		if got, ok := TokenOf(asset); !ok || got != want {
			t.Errorf("TokenOf(%q) = %+v, %v, want %+v", asset, got, ok, want)
		}
		if unit, decimals, ok := UnitOf(asset, "acme"); !ok || unit != want.Unit || decimals != want.Decimals {
			t.Errorf("UnitOf(%q) = %q, %d, %v", asset, unit, decimals, ok)
		}
		if decimals, ok := UnitDecimals(want.Unit); !ok || decimals != want.Decimals {
			t.Errorf("%s has %d decimals, and its unit %d", asset, want.Decimals, decimals)
		}
		if seen[asset] {
			t.Errorf("%s is there twice", asset)
		}
		seen[asset] = true
		network, mint, _ := strings.Cut(asset, "/token:")
		for _, other := range []string{
			"", network, mint, network + "/" + mint, network + "/token/" + mint, network + "/slip44:501", "/token:" + mint, network + "/token:",
			asset + "/token:" + mint, asset + " ", " " + asset, asset + "\x00", asset[:len(asset)-1], asset + "1", strings.ToLower(asset),
			strings.ToUpper(asset), network + "1/token:" + mint, network[:len(network)-1] + "/token:" + mint, network + "/TOKEN:" + mint,
			"solana:mainnet/token:" + mint, strings.TrimPrefix(asset, "solana:"), network + "/nft:" + mint,
		} {
			if got, ok := TokenOf(other); ok || got != (Token{}) {
				t.Errorf("TokenOf(%q) = %+v, %v", other, got, ok)
			}
		}
	}
}

// TestTokens: nobody who lists the table changes it.
func TestTokens(t *testing.T) {
	Tokens()[0].Decimals = 0
	if got := Tokens()[0].Decimals; got != 6 {
		t.Errorf("the table has changed: %d decimals", got)
	}
	for _, token := range Tokens() {
		if reference, ok := strings.CutPrefix(token.Network, "solana:"); !ok || len(reference) != 32 {
			t.Errorf("%s is not a network of Solana's by 32 characters", token.Network)
		}
	}
}
