package resource

import (
	"errors"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hostile are texts that some parser of numbers somewhere takes, and none of ours may.
var hostile = []struct {
	name string
	text string
}{
	{"empty", ""},
	{"plus", "+1"},
	{"minus", "-1"},
	{"minus zero", "-0"},
	{"minus alone", "-"},
	{"unicode minus", "\u22121"},
	{"leading zero", "01"},
	{"two zeros", "00"},
	{"space before", " 5"},
	{"space after", "5 "},
	{"tab", "\t5"},
	{"newline after", "5\n"},
	{"carriage return", "5\r"},
	{"nul after", "5\x00"},
	{"no-break space", "\u00a05"},
	{"zero-width space", "5\u200b"},
	{"byte order mark", "\ufeff5"},
	{"exponent", "1e3"},
	{"capital exponent", "1E3"},
	{"hexadecimal", "0x10"},
	{"octal", "0o17"},
	{"binary", "0b11"},
	{"underscore", "1_000"},
	{"comma", "1,000"},
	{"apostrophe", "1'000"},
	{"arabic digit", "\u0665"},
	{"fullwidth digit", "\uff15"},
	{"superscript", "5\u00b2"},
	{"roman", "\u2164"},
	{"fraction", "\u00bd"},
	{"slash", "1/2"},
	{"infinity", "Inf"},
	{"not a number", "NaN"},
	{"word", "five"},
	{"currency", "$5"},
	{"percent", "5%"},
	{"parentheses", "(5)"},
	{"quotes", `"5"`},
	{"not UTF-8", "5\xff"},
	{"2^63", "9223372036854775808"},
	{"2^64", "18446744073709551616"},
	{"2^64 + 1 wraps to 1", "18446744073709551617"},
	{"20 digits", "10000000000000000000"},
	{"10^30", "1" + strings.Repeat("0", 30)},
	{"10^5000", "1" + strings.Repeat("0", 5000)},
}

func TestHostileNumbers(t *testing.T) {
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			var refused *Error
			if v, err := ParseUnits(test.text); !errors.As(err, &refused) {
				t.Errorf("ParseUnits(%q) = %d, %v", test.text, v, err)
			}
			if v, err := ParseAmount(test.text); !errors.As(err, &refused) {
				t.Errorf("ParseAmount(%q) = %d, %v", test.text, v, err)
			}
			if v, err := ParseDecimal(test.text, 0); !errors.As(err, &refused) {
				t.Errorf("ParseDecimal(%q, 0) = %d, %v", test.text, v, err)
			}
			if v, err := ParseDecimal(test.text, 6); !errors.As(err, &refused) {
				t.Errorf("ParseDecimal(%q, 6) = %d, %v", test.text, v, err)
			}
		})
	}
}

func TestParseUnits(t *testing.T) {
	tests := []struct {
		name   string
		text   string
		want   int64
		units  bool
		amount bool
	}{
		{"zero", "0", 0, false, true},
		{"one", "1", 1, true, true},
		{"nine", "9", 9, true, true},
		{"ten", "10", 10, true, true},
		{"19 digits", "1000000000000000000", 1000000000000000000, true, true},
		{"largest but one", "9223372036854775806", math.MaxInt64 - 1, true, true},
		{"largest", "9223372036854775807", math.MaxInt64, true, true},
		{"one too large", "9223372036854775808", 0, false, false},
		{"largest of 19 digits", "9999999999999999999", 0, false, false},
		{"decimals", "1.5", 0, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := ParseUnits(test.text); (err == nil) != test.units || (err == nil && got != test.want) {
				t.Errorf("ParseUnits(%q) = %d, %v; want %d, passes %v", test.text, got, err, test.want, test.units)
			}
			if got, err := ParseAmount(test.text); (err == nil) != test.amount || (err == nil && got != test.want) {
				t.Errorf("ParseAmount(%q) = %d, %v; want %d, passes %v", test.text, got, err, test.want, test.amount)
			}
		})
	}
}

func TestParseDecimal(t *testing.T) {
	tests := []struct {
		name     string
		text     string
		decimals int
		want     int64
		why      string // of the refusal, empty where it passes
	}{
		{"whole", "5", 6, 5_000_000, ""},
		{"half", "0.5", 6, 500_000, ""},
		{"all decimals", "1.234567", 6, 1_234_567, ""},
		{"smallest", "0.000001", 6, 1, ""},
		{"trailing zeros", "1.500000", 6, 1_500_000, ""},
		{"zero", "0", 6, 0, ""},
		{"zero with decimals", "0.000000", 6, 0, ""},
		{"no decimals", "17", 0, 17, ""},
		{"18 decimals", "9.223372036854775807", 18, math.MaxInt64, ""},
		{"largest dollars", "9223372036854.775807", 6, math.MaxInt64, ""},
		{"one unit too many dollars", "9223372036854.775808", 6, 0, "is too large"},
		{"one dollar too many", "9223372036855", 6, 0, "is too large"},
		{"19 digits that become 25", "1000000000000000000", 6, 0, "is too large"},
		{"7 decimals", "1.2345678", 6, 0, "has more digits after the point than the asset has decimals"},
		{"7 decimals of zeros", "1.0000000", 6, 0, "has more digits after the point than the asset has decimals"},
		{"a decimal of none", "1.0", 0, 0, "has more digits after the point than the asset has decimals"},
		{"ends with point", "1.", 6, 0, "ends after its point"},
		{"point alone", ".", 6, 0, "ends after its point"},
		{"begins with point", ".5", 6, 0, "is not a number like 5 or 0.25"},
		{"two points", "1.2.3", 6, 0, "is not a number like 5 or 0.25"},
		{"sign after point", "1.-5", 6, 0, "is not a number like 5 or 0.25"},
		{"plus after point", "1.+5", 6, 0, "is not a number like 5 or 0.25"},
		{"space after point", "1. 5", 6, 0, "is not a number like 5 or 0.25"},
		{"exponent after point", "1.5e1", 6, 0, "is not a number like 5 or 0.25"},
		{"arabic digit after point", "1.\u0665", 6, 0, "is not a number like 5 or 0.25"},
		{"decimal comma", "1,5", 6, 0, "is not a number like 5 or 0.25"},
		{"leading zero", "05.5", 6, 0, "begins with a zero"},
		{"two leading zeros", "00.5", 6, 0, "begins with a zero"},
		{"negative decimals", "1", -1, 0, "is of an asset whose decimals are not 0 to 18"},
		{"19 decimals", "1", 19, 0, "is of an asset whose decimals are not 0 to 18"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseDecimal(test.text, test.decimals)
			if test.why == "" {
				if err != nil || got != test.want {
					t.Errorf("ParseDecimal(%q, %d) = %d, %v; want %d", test.text, test.decimals, got, err, test.want)
				}
				return
			}
			var refused *Error
			if !errors.As(err, &refused) || refused.Why != test.why {
				t.Errorf("ParseDecimal(%q, %d) = %d, %v; want %q", test.text, test.decimals, got, err, test.why)
			}
		})
	}
}

func TestFormatDecimal(t *testing.T) {
	tests := []struct {
		name     string
		units    int64
		decimals int
		want     string
	}{
		{"whole", 5_000_000, 6, "5"},
		{"quarter", 5_250_000, 6, "5.25"},
		{"smallest", 1, 6, "0.000001"},
		{"below one", 100_000, 6, "0.1"},
		{"zero", 0, 6, "0"},
		{"no decimals", 120, 0, "120"},
		{"zeros before the point stay", 100_000_000, 6, "100"},
		{"largest", math.MaxInt64, 6, "9223372036854.775807"},
		{"largest of 18 decimals", math.MaxInt64, 18, "9.223372036854775807"},
		{"negative", -1_500_000, 6, "-1.5"},
		{"negative below one", -1, 6, "-0.000001"},
		{"smallest int64", math.MinInt64, 6, "-9223372036854.775808"},
		{"smallest int64 whole", math.MinInt64, 0, "-9223372036854775808"},
		{"decimals unknown", 7, 19, "7 units"},
		{"negative decimals", 7, -1, "7 units"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := FormatDecimal(test.units, test.decimals); got != test.want {
				t.Errorf("FormatDecimal(%d, %d) = %q, want %q", test.units, test.decimals, got, test.want)
			}
		})
	}
}

func TestDecimalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := rapid.Int64Range(0, math.MaxInt64).Draw(t, "units")
		decimals := rapid.IntRange(0, DecimalsMax).Draw(t, "decimals")
		text := FormatDecimal(units, decimals)
		if got, err := ParseDecimal(text, decimals); err != nil || got != units {
			t.Errorf("ParseDecimal(%q, %d) = %d, %v; want %d", text, decimals, got, err, units)
		}
		// An independent judge of the same number.
		want := new(big.Rat).SetFrac(big.NewInt(units), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil))
		if got, ok := new(big.Rat).SetString(text); !ok || got.Cmp(want) != 0 {
			t.Errorf("FormatDecimal(%d, %d) = %q, want %s", units, decimals, text, want)
		}
	})
}

// integerForm and decimalForm say again, in another language, what passes.
var (
	integerForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,18})$`)
	decimalForm = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?$`)
)

func FuzzParseUnits(f *testing.F) {
	for _, h := range hostile[:40] {
		f.Add(h.text)
	}
	f.Add("0")
	f.Add("9223372036854775807")
	f.Fuzz(func(t *testing.T, s string) {
		want, inRange := new(big.Int).SetString(s, 10)
		inRange = inRange && integerForm.MatchString(s) && want.IsInt64()
		amount, err := ParseAmount(s)
		if (err == nil) != inRange {
			t.Fatalf("ParseAmount(%q) = %d, %v; want it to pass: %v", s, amount, err, inRange)
		}
		units, unitsErr := ParseUnits(s)
		if (unitsErr == nil) != (inRange && s != "0") {
			t.Fatalf("ParseUnits(%q) = %d, %v", s, units, unitsErr)
		}
		if err != nil {
			return
		}
		if amount != want.Int64() || FormatUnits(amount) != s {
			t.Errorf("ParseAmount(%q) = %d", s, amount)
		}
		if unitsErr == nil && units != amount {
			t.Errorf("ParseUnits(%q) = %d, ParseAmount %d", s, units, amount)
		}
	})
}

func FuzzParseDecimal(f *testing.F) {
	for _, h := range hostile[:40] {
		f.Add(h.text, 6)
	}
	for _, s := range []string{"5", "0.25", "1.", ".5", "1.2345678", "9223372036854.775807", "9223372036854.775808", "0.0"} {
		f.Add(s, 6)
		f.Add(s, 0)
		f.Add(s, 18)
	}
	f.Fuzz(func(t *testing.T, s string, decimals int) {
		got, err := ParseDecimal(s, decimals)
		if decimals < 0 || decimals > DecimalsMax || !decimalForm.MatchString(s) || len(s) > 100 {
			// Over 100 digits big.Rat is slow; what is that long is too large or too fine.
			if err == nil {
				t.Fatalf("ParseDecimal(%q, %d) = %d", s, decimals, got)
			}
			return
		}
		value, _ := new(big.Rat).SetString(s)
		units := value.Mul(value, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)))
		_, fraction, _ := strings.Cut(s, ".")
		fits := len(fraction) <= decimals && units.IsInt() && units.Num().IsInt64()
		if (err == nil) != fits {
			t.Fatalf("ParseDecimal(%q, %d) = %d, %v; want it to pass: %v", s, decimals, got, err, fits)
		}
		if err == nil && got != units.Num().Int64() {
			t.Errorf("ParseDecimal(%q, %d) = %d, want %s", s, decimals, got, units.Num())
		}
	})
}
