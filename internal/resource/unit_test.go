package resource

import (
	"strings"
	"testing"
)

func TestUnitOf(t *testing.T) {
	tests := []struct {
		name         string
		asset        string
		installation string
		ok           bool
	}{
		{"book dollars", "halfkey:acme/iso4217:USD", "acme", true},
		{"longest installation", BookUSD(strings.Repeat("a", InstallationMax)), strings.Repeat("a", InstallationMax), true},
		{"another installation's", "halfkey:other/iso4217:USD", "acme", false},
		{"another currency", "halfkey:acme/iso4217:EUR", "acme", false},
		{"another case", "halfkey:acme/iso4217:usd", "acme", false},
		{"longer", "halfkey:acme/iso4217:USDC", "acme", false},
		{"space after", "halfkey:acme/iso4217:USD ", "acme", false},
		{"a known token", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "acme", true},
		{
			"a known token in an installation that is none",
			"solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "", false,
		},
		{"another network's token", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", "acme", false},
		{"empty", "", "acme", false},
		{"no installation", BookUSD(""), "", false},
		{"installation that is none", BookUSD("a/iso4217:USD"), "a/iso4217:USD", false},
		{"installation too long", BookUSD(strings.Repeat("a", InstallationMax+1)), strings.Repeat("a", InstallationMax+1), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			unit, decimals, ok := UnitOf(test.asset, test.installation)
			if ok != test.ok {
				t.Fatalf("UnitOf(%q, %q) = %q, %d, %v", test.asset, test.installation, unit, decimals, ok)
			}
			if ok && (unit != "USD" || decimals != 6) {
				t.Errorf("got %q with %d decimals, want USD with 6", unit, decimals)
			}
			if !ok && (unit != "" || decimals != 0) {
				t.Errorf("got %q with %d decimals of what has no unit", unit, decimals)
			}
			if ok && !KnownUnit(unit) {
				t.Errorf("KnownUnit(%q) is false, and an asset is counted in it", unit)
			}
		})
	}
	for _, unit := range []string{"", "usd", "USD ", "EUR", "halfkey:acme/iso4217:USD"} {
		if KnownUnit(unit) {
			t.Errorf("KnownUnit(%q)", unit)
		}
	}
}

func TestBookAssetMax(t *testing.T) {
	if got := len(BookUSD(strings.Repeat("a", InstallationMax))); got != BookAssetMax {
		t.Errorf("the longest book asset has %d bytes, want %d", got, BookAssetMax)
	}
	if got := len(Payment(Wallet(strings.Repeat("w", IDMax)), strings.Repeat("p", IDMax))); got != PaymentNameMax {
		t.Errorf("the longest payment name has %d bytes, want %d", got, PaymentNameMax)
	}
}

// A unit's amounts are written as those of its assets are.
func TestUnitDecimals(t *testing.T) {
	unit, want, _ := UnitOf(BookUSD("acme"), "acme")
	if got, ok := UnitDecimals(unit); got != want || !ok {
		t.Errorf("%s: got %d, %v, want %d", unit, got, ok, want)
	}
	for _, unknown := range []string{"", "usd", "EUR"} {
		if got, ok := UnitDecimals(unknown); got != 0 || ok {
			t.Errorf("%q: got %d, %v", unknown, got, ok)
		}
	}
}
