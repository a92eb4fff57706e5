package main

import (
	"strings"

	"github.com/halfkey/halfkey/internal/resource"
)

const (
	// usd is how people call book dollars, and every asset that counts as them.
	usd = "USD"
	// usdDecimals are the decimals of the unit of account USD.
	usdDecimals = 6
)

// parseAmount reads an amount as people type it, in whole dollars: "5", "0.25" or "5 USD". It is exact or refused: no sign,
// exponent, separator, further space or digit of another script, no more decimals than the asset has, nothing that is zero or
// too large.
func parseAmount(field, text string) (int64, error) {
	number := strings.TrimSuffix(text, " "+usd)
	units, err := resource.ParseDecimal(number, usdDecimals)
	if err != nil {
		return 0, usage(field, "an amount is a number like 5, 0.25 or \"5 USD\", with at most 6 decimals and not too large", "value", shorten(text))
	}
	if units == 0 {
		return 0, usage(field, "an amount is more than zero")
	}
	return units, nil
}

// typedAmount is an amount on the command line, as one word or as two.
type typedAmount struct {
	Amount string `arg:"" help:"In whole units: 5, 0.25 or \"5 USD\"."`
	Unit   string `arg:"" optional:"" help:"USD, which is the default."`
}

// units reads it.
func (a typedAmount) units() (int64, error) {
	if a.Unit != "" && a.Unit != usd {
		return 0, usage("UNIT", "an amount is followed by USD or nothing", "value", shorten(a.Unit))
	}
	return parseAmount("AMOUNT", a.Amount)
}

// formatAmount writes units as people read them: a dollar token by its own name, though limits count it at par with dollars.
func formatAmount(units int64, asset, installation string) string {
	unit, decimals, ok := amountUnit(asset, installation)
	if !ok {
		return resource.FormatUnits(units) + " units of " + asset
	}
	return resource.FormatDecimal(units, decimals) + " " + unit
}

// shownMax bounds how much of a refused text is repeated.
const shownMax = 64

// shorten makes a text fit for an error.
func shorten(s string) string {
	if len(s) > shownMax {
		return strings.ToValidUTF8(s[:shownMax], "") + "…"
	}
	return s
}
