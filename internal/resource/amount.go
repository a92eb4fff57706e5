package resource

import (
	"math"
	"strconv"
	"strings"
)

const (
	// UnitsDigits is the length of the longest amount, 2^63-1 in base 10.
	UnitsDigits = 19
	// DecimalsMax bounds an asset's decimals: one whole coin must fit int64.
	DecimalsMax = 18
)

// ParseUnits reads an amount to be paid: a base-10 integer of 1 to 2^63-1, without sign, leading zero, white space, separator
// or exponent, in ASCII digits.
func ParseUnits(s string) (int64, error) {
	v, ok := parseInteger(s)
	if !ok || v == 0 {
		return 0, refuse("units", s, "is not a whole number of 1 to 9223372036854775807")
	}
	return v, nil
}

// ParseAmount reads an amount that may be zero, such as a limit or a balance; else it is as strict as ParseUnits.
func ParseAmount(s string) (int64, error) {
	v, ok := parseInteger(s)
	if !ok {
		return 0, refuse("amount", s, "is not a whole number of 0 to 9223372036854775807")
	}
	return v, nil
}

// FormatUnits writes an amount so that ParseAmount reads it. No amount is negative; what would be, does not parse.
func FormatUnits(units int64) string { return strconv.FormatInt(units, 10) }

func parseInteger(s string) (int64, bool) {
	if len(s) == 0 || len(s) > UnitsDigits || (s[0] == '0' && len(s) > 1) {
		return 0, false
	}
	// 19 digits stay below 10^19, which uint64 holds.
	var v uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v = v*10 + uint64(s[i]-'0')
	}
	if v > math.MaxInt64 {
		return 0, false
	}
	return int64(v), true
}

// ParseDecimal reads an amount as people write it, "5" or "0.25", in an asset with this many decimals (0 to 18), and returns
// units. It takes at most that many digits after one point and never rounds; signs, exponents, separators, leading zeros and
// a point at either end are refused. Zero passes: what may not be zero is for the caller.
func ParseDecimal(s string, decimals int) (int64, error) {
	const field = "amount"
	if decimals < 0 || decimals > DecimalsMax {
		return 0, refuse(field, s, "is of an asset whose decimals are not 0 to 18")
	}
	whole, fraction, point := strings.Cut(s, ".")
	switch {
	case point && fraction == "":
		return 0, refuse(field, s, "ends after its point")
	case len(whole) > 1 && whole[0] == '0':
		return 0, refuse(field, s, "begins with a zero")
	case len(fraction) > decimals:
		return 0, refuse(field, s, "has more digits after the point than the asset has decimals")
	case !digits(whole) || (point && !digits(fraction)):
		return 0, refuse(field, s, "is not a number like 5 or 0.25")
	}
	// Written without its point and filled up to the asset's decimals, the text is the number of units.
	all := whole + fraction + strings.Repeat("0", decimals-len(fraction))
	all = strings.TrimLeft(all, "0")
	if all == "" {
		return 0, nil
	}
	v, ok := parseInteger(all)
	if !ok {
		return 0, refuse(field, s, "is too large")
	}
	return v, nil
}

// FormatDecimal writes units as people read them, without trailing zeros: 5250000 units of 6 decimals are "5.25". Every
// int64 and 0 to 18 decimals have a text; ParseDecimal reads it back unless it is negative. Other decimals write the units
// themselves, with the word "units" behind them, so that nobody takes them for coins.
func FormatDecimal(units int64, decimals int) string {
	if decimals < 0 || decimals > DecimalsMax {
		return strconv.FormatInt(units, 10) + " units"
	}
	sign := ""
	magnitude := uint64(units)
	if units < 0 {
		sign, magnitude = "-", -magnitude // two's complement: right for the smallest int64 as well
	}
	s := strconv.FormatUint(magnitude, 10)
	if missing := decimals + 1 - len(s); missing > 0 {
		s = strings.Repeat("0", missing) + s
	}
	whole, fraction := s[:len(s)-decimals], strings.TrimRight(s[len(s)-decimals:], "0")
	if fraction == "" {
		return sign + whole
	}
	return sign + whole + "." + fraction
}

func digits(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
