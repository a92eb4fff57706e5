package client_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	green  = typev1.Light_LIGHT_GREEN
	yellow = typev1.Light_LIGHT_YELLOW
	red    = typev1.Light_LIGHT_RED
)

// explained is a document with a limit of each kind.
func explained() *typev1.GuardRails {
	limit := func(w typev1.Window, units int64, crossed typev1.Light) *typev1.Limit {
		return &typev1.Limit{Unit: "USD", Measure: typev1.Measure_MEASURE_UNITS, Window: w, Amount: resource.FormatUnits(units), Crossed: crossed}
	}
	key := func(n byte) []byte { return append([]byte{n}, make([]byte, 31)...) }
	doc := &typev1.GuardRails{
		Installation: "acme", Wallet: "wallets/w", Number: 1, Owner: "owners/o", TimeZone: "Europe/Zurich",
		Assets: []string{"halfkey:acme/iso4217:USD"}, Rails: []typev1.Rail{typev1.Rail_RAIL_BOOK},
		Recipients: &typev1.Recipients{Allow: [][]byte{key(1), key(9)}, Deny: [][]byte{key(9)}, Unknown: red},
		Limits: []*typev1.Limit{
			limit(typev1.Window_WINDOW_PAYMENT, 5*usd, yellow),
			limit(typev1.Window_WINDOW_PAYMENT, 100*usd, red),
			limit(typev1.Window_WINDOW_DAY, 50*usd, red),
			limit(typev1.Window_WINDOW_LIFETIME, 60*usd, red),
			limit(typev1.Window_WINDOW_ROLLING, 40*usd, red),
			{Unit: "USD", Measure: typev1.Measure_MEASURE_COUNT, Window: typev1.Window_WINDOW_WEEK, Amount: "3", Crossed: yellow},
		},
	}
	doc.Limits[4].RollingSeconds = 24 * 3600
	return doc
}

// judged is a payment as the same package that judges sees it, after spent in count payments.
func judged(t *testing.T, doc *typev1.GuardRails, f guardrails.Facts, spent, count int64, now time.Time) *client.Payment {
	t.Helper()
	sums := make([]guardrails.Sum, len(guardrails.Spans(doc, f, now)))
	for i := range sums {
		sums[i] = guardrails.Sum{Units: spent, Count: count}
	}
	results := append(guardrails.Judge(doc, f, now).Results, guardrails.Count(doc, f, guardrails.History{Sums: sums}, now).Results...)
	return &client.Payment{Results: results, Asset: f.Asset, Units: f.Units, Recipient: f.Recipient}
}

// Each refusal says what would have passed, in numbers and in words.
func TestExplain(t *testing.T) {
	doc := explained()
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name         string
		units        int64
		to           byte
		asset        string
		rail         typev1.Rail
		spent, count int64
		light        typev1.Light
		want         []string
	}{
		{"passes", usd, 1, "", 1, 0, 0, green, nil},
		{"a person decides", 6 * usd, 1, "", 1, 0, 0, yellow, []string{"at most 5 USD at once"}},
		{"over the hard cap", 101 * usd, 1, "", 1, 0, 0, red, []string{
			"at most 100 USD at once", "at most 50 USD until 2026-11-27 00:00 Europe/Zurich", "at most 60 USD ever again",
			"at most 40 USD until earlier ones are older than 24 hours",
		}},
		{"the rest of a day", 4 * usd, 1, "", 1, 46_800_000, 1, red, []string{
			"at most 3.20 USD until 2026-11-27 00:00 Europe/Zurich", "no payment until earlier ones are older than 24 hours",
		}},
		{"a day that is used up", usd, 1, "", 1, 50 * usd, 1, red, []string{
			"no payment until 2026-11-27 00:00 Europe/Zurich", "no payment until earlier ones are older than 24 hours",
		}},
		{"too many in a week", usd, 1, "", 1, 0, 3, yellow, []string{"no payment until 2026-11-30 00:00 Europe/Zurich"}},
		{"an unknown recipient", usd, 2, "", 1, 0, 0, red, []string{"a recipient on the allow list"}},
		{"a denied recipient", usd, 9, "", 1, 0, 0, red, []string{"a recipient that is not on the deny list"}},
		{"another rail", usd, 1, "", 2, 0, 0, red, []string{"one of the rails book", "one of the assets halfkey:acme/iso4217:USD"}},
		{"another asset", usd, 1, "solana:x/token:y", 1, 0, 0, red, []string{"one of the assets halfkey:acme/iso4217:USD"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := guardrails.Facts{Rail: tt.rail, Asset: doc.GetAssets()[0], Units: tt.units}
			if f.Recipient[0] = tt.to; tt.asset != "" {
				f.Asset = tt.asset
			}
			p := judged(t, doc, f, tt.spent, tt.count, now)
			e, err := client.Explain(doc, p, now)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range e.Refused() {
				got = append(got, r.String())
			}
			if !slices.Equal(got, tt.want) || e.Light != tt.light {
				t.Errorf("got %v %q, want %v %q", e.Light, got, tt.light, tt.want)
			}
			if len(e.Lines) != len(p.Results) {
				t.Errorf("%d lines of %d results", len(e.Lines), len(p.Results))
			}
			for i, l := range e.Lines {
				r := p.Results[i]
				if l.Rule != r.GetRule() || l.Outcome != r.GetLight() || (l.Passes == nil) != (l.Outcome == green) || (l.Limit != nil) != (l.Rule == typev1.Rule_RULE_LIMIT) {
					t.Errorf("line %d is %+v of %v", i, l, r)
				}
				if l.Limit != nil && (resource.FormatUnits(l.Observed) != r.GetObserved() || resource.FormatUnits(l.Room) != r.GetRoom()) {
					t.Errorf("line %d has other numbers than %v: %+v", i, r, l)
				}
			}
		})
	}
}

// What is said to pass does: the same rules, judged again over it, let it.
func TestWhatIsSaidToPassDoes(t *testing.T) {
	doc := explained()
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	for _, spent := range []int64{0, 1, 39_999_999, 40 * usd, 49_999_999, 59 * usd} {
		f := guardrails.Facts{Rail: typev1.Rail_RAIL_BOOK, Asset: doc.GetAssets()[0], Units: 200 * usd, Recipient: [32]byte{1}}
		e, err := client.Explain(doc, judged(t, doc, f, spent, 1, now), now)
		if err != nil {
			t.Fatal(err)
		}
		f.Units = math.MaxInt64
		for _, p := range e.Refused() {
			f.Units = min(f.Units, p.AtMost)
		}
		for units, want := range map[int64]bool{f.Units: true, f.Units + 1: false} {
			if f.Units = units; units == 0 {
				continue
			}
			again, err := client.Explain(doc, judged(t, doc, f, spent, 1, now), now)
			if err != nil || (again.Light != red) != want {
				t.Errorf("after %d, %d units: %v, %v", spent, units, again.Light, err)
			}
		}
	}
}

// Policy's and the ledger's word on one rule are one line, the stricter one.
func TestExplainKeepsTheStricterWord(t *testing.T) {
	doc := explained()
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	f := guardrails.Facts{Rail: typev1.Rail_RAIL_BOOK, Asset: doc.GetAssets()[0], Units: usd, Recipient: [32]byte{2}}
	p := judged(t, doc, f, 0, 0, now)
	n := len(p.Results)
	mild := &typev1.RuleResult{Rule: typev1.Rule_RULE_RECIPIENT, Light: green}
	for _, results := range [][]*typev1.RuleResult{append([]*typev1.RuleResult{mild}, p.Results...), append(slices.Clone(p.Results), mild)} {
		e, err := client.Explain(doc, &client.Payment{Results: results}, now)
		if err != nil || e.Light != red || len(e.Lines) != n || len(e.Refused()) != 1 {
			t.Errorf("got %+v, %v", e, err)
		}
	}
}

// Results that are not the document's are refused, and no result makes it panic.
func TestExplainRefuses(t *testing.T) {
	doc := explained()
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	ok := &typev1.RuleResult{Rule: typev1.Rule_RULE_LIMIT, Index: 2, Light: red, Observed: "1", Limit: "50000000", Room: "0"}
	for name, change := range map[string]func(*typev1.RuleResult){
		"another limit":  func(r *typev1.RuleResult) { r.Limit = "60000000" },
		"no such limit":  func(r *typev1.RuleResult) { r.Index = 77 },
		"no room":        func(r *typev1.RuleResult) { r.Room = "" },
		"negative room":  func(r *typev1.RuleResult) { r.Room = "-1" },
		"words observed": func(r *typev1.RuleResult) { r.Observed = "much" },
	} {
		t.Run(name, func(t *testing.T) {
			r := &typev1.RuleResult{Rule: ok.Rule, Index: ok.Index, Light: ok.Light, Observed: ok.Observed, Limit: ok.Limit, Room: ok.Room}
			if _, err := client.Explain(doc, &client.Payment{Results: []*typev1.RuleResult{r}}, now); err != nil {
				t.Fatal(err)
			}
			change(r)
			_, err := client.Explain(doc, &client.Payment{Results: []*typev1.RuleResult{r}}, now)
			wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISMATCH, notMoved)
		})
	}
	if _, err := client.Explain(doc, &client.Payment{}, time.Time{}); client.ReasonOf(err) != typev1.Reason_REASON_INVALID_ARGUMENT {
		t.Errorf("got %v for no moment", err)
	}
	e, err := client.Explain(doc, &client.Payment{Results: []*typev1.RuleResult{{Rule: 99, Light: 77}, nil}}, now)
	if err != nil || e.Light != red {
		t.Errorf("an unknown rule and an unknown light: %+v, %v", e, err)
	}
	for _, l := range e.Lines {
		_ = l.Passes.String()
	}
}
