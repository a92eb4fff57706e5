package main

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func TestParseAmount(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64 // 0 is a refusal.
	}{
		{"5", 5_000_000},
		{"0.25", 250_000},
		{"5 USD", 5_000_000},
		{"0.000001", 1},
		{"5.000000", 5_000_000},
		{"9223372036854.775807", math.MaxInt64},
		{"9223372036854.775807 USD", math.MaxInt64},

		{"9223372036854.775808", 0},
		{"99999999999999999999999999", 0},
		{"0", 0},
		{"0.0", 0},
		{"0 USD", 0},
		{"", 0},
		{" ", 0},
		{"USD", 0},
		{" USD", 0},
		{"-5", 0},
		{"+5", 0},
		{"5.", 0},
		{".5", 0},
		{"05", 0},
		{"5.1234567", 0},
		{"0.0000001", 0},
		{"5e3", 0},
		{"5E3", 0},
		{"0x5", 0},
		{"5,000", 0},
		{"5_000", 0},
		{"1.2.3", 0},
		{"NaN", 0},
		{"Inf", 0},
		{"5 ", 0},
		{" 5", 0},
		{"5  USD", 0},
		{"5USD", 0},
		{"5 usd", 0},
		{"5 EUR", 0},
		{"5 USD USD", 0},
		{"5 USD ", 0},
		{"5\tUSD", 0},
		{"5\u00a0USD", 0},
		{"5\n", 0},
		{"٥", 0},
		{"５", 0},
		{"5\u200b", 0},
		{"$5", 0},
		{"5\x00", 0},
		{strings.Repeat("9", 1<<16), 0},
	} {
		got, err := parseAmount("AMOUNT", c.text)
		if (err == nil) != (c.want != 0) || got != c.want {
			t.Errorf("%.80q: got %d, %v, want %d", c.text, got, err, c.want)
		}
		var e *client.Error
		if err != nil && (!errors.As(err, &e) || e.Reason != typev1.Reason_REASON_INVALID_ARGUMENT || e.MoneyMoved != notMoved || len(err.Error()) > 400) {
			t.Errorf("%.80q: got %v, want a short refusal of the argument", c.text, err)
		}
	}
}

func TestFormatAmount(t *testing.T) {
	asset := resource.BookUSD("test")
	for _, c := range []struct {
		units int64
		asset string
		want  string
	}{
		{5_250_000, asset, "5.25 USD"},
		{1, asset, "0.000001 USD"},
		{math.MaxInt64, asset, "9223372036854.775807 USD"},
		{5, resource.BookUSD("other"), "5 units of " + resource.BookUSD("other")},
		{5_250_000, mainnetUSDC, "5.25 USDC"},
		{5_250_000, devnetUSDC, "5.25 USDC"},
		{1, mainnetUSDT, "0.000001 USDT"},
		{5, "solana:x/y", "5 units of solana:x/y"},
	} {
		if got := formatAmount(c.units, c.asset, "test"); got != c.want {
			t.Errorf("%d of %s: got %q, want %q", c.units, c.asset, got, c.want)
		}
	}
}

// What parses is exactly what the text says, by arithmetic that cannot lose anything, and prints as a text that parses to
// the same.
func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"5", "0.25", "5 USD", "-1", "1e9", "9223372036854.775807", "0.0000001", "٥", "5 USD"} {
		f.Add(s)
	}
	asset := resource.BookUSD("test")
	f.Fuzz(func(t *testing.T, text string) {
		units, err := parseAmount("AMOUNT", text)
		if err != nil {
			return
		}
		said, ok := new(big.Rat).SetString(strings.TrimSuffix(text, " USD"))
		if !ok || units <= 0 || said.Cmp(big.NewRat(units, 1_000_000)) != 0 {
			t.Fatalf("%q became %d units", text, units)
		}
		again, err := parseAmount("AMOUNT", formatAmount(units, asset, "test"))
		if err != nil || again != units {
			t.Errorf("%d units print as %q, which parses as %d, %v", units, formatAmount(units, asset, "test"), again, err)
		}
	})
}
