package main

import (
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const red = typev1.Light_LIGHT_RED

// rulesFor are the standard guard rails, with a day that refuses over 80 USD and further limits. Recipient 1 is allowed, 9 is denied.
func rulesFor(unknownRecipient typev1.Light, more ...*typev1.Limit) *typev1.GuardRails {
	limit := func(w typev1.Window, amount string, crossed typev1.Light) *typev1.Limit {
		return &typev1.Limit{Unit: "USD", Measure: typev1.Measure_MEASURE_UNITS, Window: w, Amount: amount, Crossed: crossed}
	}
	key := func(n byte) []byte { return append([]byte{n}, make([]byte, 31)...) }
	return &typev1.GuardRails{
		Installation: "acme", Wallet: "wallets/w", Number: 1, Owner: "owners/o",
		Assets: []string{resource.BookUSD("acme")}, Rails: []typev1.Rail{typev1.Rail_RAIL_BOOK},
		Recipients: &typev1.Recipients{Allow: [][]byte{key(1)}, Deny: [][]byte{key(9)}, Unknown: unknownRecipient},
		Limits: append([]*typev1.Limit{
			limit(typev1.Window_WINDOW_PAYMENT, "5000000", yellow),
			limit(typev1.Window_WINDOW_PAYMENT, "100000000", red),
			limit(typev1.Window_WINDOW_DAY, "80000000", red),
		}, more...),
	}
}

// What would pass is said by all rules at once: whoever follows it is not stopped by the next.
func TestRemedy(t *testing.T) {
	count := func(crossed typev1.Light) *typev1.Limit {
		return &typev1.Limit{Unit: "USD", Measure: typev1.Measure_MEASURE_COUNT, Window: typev1.Window_WINDOW_DAY, Amount: "3", Crossed: crossed}
	}
	lifetime := func(crossed typev1.Light) *typev1.Limit {
		return &typev1.Limit{Unit: "USD", Measure: typev1.Measure_MEASURE_UNITS, Window: typev1.Window_WINDOW_LIFETIME, Amount: "70000000", Crossed: crossed}
	}
	const other = "another recipient that the guard rails allow"
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name         string
		unknown      typev1.Light
		more         *typev1.Limit
		to           byte
		usd          int64
		spent, count int64
		want         string
	}{
		{"passes", red, nil, 1, 1, 0, 0, "It passes as it is."},
		{"an amount that a person decides", red, nil, 1, 6, 0, 0, "At once: at most 5 USD. If a person approves: at most 80 USD."},
		{"an amount that is refused", red, nil, 1, 101, 0, 0, "At once: at most 5 USD. If a person approves: at most 80 USD."},
		{"the rest of a day", red, nil, 1, 4, 77, 1, "At once: at most 3 USD."},
		{"a day that is used up", red, nil, 1, 1, 80, 1, "Nothing passes before a limit resets: see `halfkey limits`."},
		{"a lifetime that is used up", red, lifetime(red), 1, 1, 70, 1, "Nothing passes under these guard rails: a limit over the wallet's lifetime is used up."},
		{
			"a lifetime that a person decides on", red, lifetime(yellow), 1, 1, 70, 1,
			"Nothing passes at once under these guard rails: a limit over the wallet's lifetime is used up. If a person approves: at most 10 USD.",
		},
		{"a recipient that is refused", red, nil, 2, 1, 0, 0, "The same with " + other + "."},
		{
			"a recipient and an amount that are refused", red, nil, 9, 101, 0, 0,
			"At once: at most 5 USD, with " + other + ". If a person approves: at most 80 USD, with " + other + ".",
		},
		{"a recipient that is refused and a day that is used up", red, nil, 9, 1, 80, 1, "Nothing passes before a limit resets: see `halfkey limits`; and it takes " + other + "."},
		{"a recipient that a person decides", yellow, nil, 2, 1, 0, 0, "At once: at most 5 USD, with " + other + ". If a person approves: at most 80 USD."},
		{"a recipient that a person decides, and an amount that is refused", yellow, nil, 2, 101, 0, 0, "At once: at most 5 USD, with " + other + ". If a person approves: at most 80 USD."},
		{"a denied recipient where a person decides others", yellow, nil, 9, 1, 0, 0, "The same with " + other + "."},
		{"too many", red, count(red), 1, 1, 0, 3, "Nothing passes before a limit resets: see `halfkey limits`."},
		{
			"too many, which a person decides", red, count(yellow), 1, 1, 0, 3,
			"Nothing passes at once before a limit resets: see `halfkey limits`. If a person approves: at most 80 USD.",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var more []*typev1.Limit
			if tt.more != nil {
				more = append(more, tt.more)
			}
			doc := rulesFor(tt.unknown, more...)
			f := guardrails.Facts{Rail: typev1.Rail_RAIL_BOOK, Asset: doc.GetAssets()[0], Units: tt.usd * 1_000_000, Recipient: [32]byte{tt.to}}
			sums := make([]guardrails.Sum, len(guardrails.Spans(doc, f, now)))
			for i := range sums {
				sums[i] = guardrails.Sum{Units: tt.spent * 1_000_000, Count: tt.count}
			}
			results := append(guardrails.Judge(doc, f, now).Results, guardrails.Count(doc, f, guardrails.History{Sums: sums}, now).Results...)
			if got := explain(results, doc).Remedy; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			changed := rulesFor(tt.unknown)
			changed.Limits[0].Amount = "4000000"
			if got := explain(results, changed).Remedy; tt.name != "passes" && got != "The guard rails have been changed since: `halfkey pay --dry-run` says what they let pass now." {
				t.Errorf("by other guard rails it got %q", got)
			}
		})
	}
}

// A payment that no rule refused was refused by a person, and nothing else was.
func TestRefusedByPerson(t *testing.T) {
	result := func(l typev1.Light) []*typev1.RuleResult { return []*typev1.RuleResult{{Light: l}} }
	for _, tt := range []struct {
		name string
		p    *client.Payment
		want bool
	}{
		{"refused by a person", &client.Payment{State: typev1.PaymentState_PAYMENT_STATE_DENIED, Results: result(yellow)}, true},
		{"refused by a rule", &client.Payment{State: typev1.PaymentState_PAYMENT_STATE_DENIED, Results: result(red)}, false},
		{"waits", &client.Payment{State: typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW, Results: result(yellow)}, false},
		{"nobody says why", &client.Payment{State: typev1.PaymentState_PAYMENT_STATE_DENIED}, false},
	} {
		if got := refusedByPerson(tt.p); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}
