package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// printRules prints guard rails for people.
func printRules(p *printer, doc *typev1.GuardRails) {
	if len(doc.GetLimits()) == 0 {
		p.line("It pays nothing: its owner has not set guard rails.")
		return
	}
	rows := [][]string{{"LIMIT", "OVER", "WHEN CROSSED"}}
	for _, l := range doc.GetLimits() {
		rows = append(rows, []string{limitAmount(l), windowText(l, doc.GetTimeZone()), crossedText(l.GetCrossed())})
	}
	p.table(rows)
	printRecipients(p, doc)
}

// printRecipients prints who may be paid.
func printRecipients(p *printer, doc *typev1.GuardRails) {
	if len(doc.GetLimits()) == 0 {
		p.line("It pays nothing: its owner has not set guard rails.")
		return
	}
	r := doc.GetRecipients()
	for _, key := range r.GetAllow() {
		p.line("May pay     %s", keyText(key))
	}
	for _, key := range r.GetDeny() {
		p.line("Never pays  %s", keyText(key))
	}
	p.line("Any other recipient %s.", lightMeans(r.GetUnknown()))
}

// limitAmount is a limit's amount in its unit.
func limitAmount(l *typev1.Limit) string {
	return measureText(l.GetMeasure(), l.GetUnit(), l.GetAmount())
}

// measureText is an amount that a limit counts, in its unit.
func measureText(m typev1.Measure, unit, amount string) string {
	if m == typev1.Measure_MEASURE_COUNT {
		return amount + " payments"
	}
	units, err := resource.ParseAmount(amount)
	if err != nil || unit != resource.UnitUSD {
		return amount + " units of " + unit
	}
	return resource.FormatDecimal(units, usdDecimals) + " " + usd
}

// windowText is what a limit sums over.
func windowText(l *typev1.Limit, zone string) string {
	if zone == "" {
		zone = "UTC"
	}
	switch l.GetWindow() {
	case typev1.Window_WINDOW_PAYMENT:
		return "a payment"
	case typev1.Window_WINDOW_ROLLING:
		return "any " + (time.Duration(l.GetRollingSeconds()) * time.Second).String()
	case typev1.Window_WINDOW_LIFETIME:
		return "its lifetime"
	default: // A day, a week, a month.
		return "a " + strings.ToLower(enumText(l.GetWindow(), "WINDOW_")) + " in " + zone
	}
}

func crossedText(l typev1.Light) string {
	if l == typev1.Light_LIGHT_YELLOW {
		return "a person decides"
	}
	return "refused"
}

func lightMeans(l typev1.Light) string {
	if l == typev1.Light_LIGHT_YELLOW {
		return "waits for a person"
	}
	return "is refused"
}

// ruleResult is one rule's outcome for one payment, as --json shows it.
type ruleResult struct {
	// Rule is LIMIT, RECIPIENT, ASSET or RAIL; Index says which of the limits.
	Rule  string `json:"rule"`
	Index uint32 `json:"index"`
	// Light is GREEN, YELLOW or RED.
	Light string `json:"light"`
	// Observed includes the payment, Room is what was left before it; units or payments, empty for rules without an amount.
	Observed string `json:"observed"`
	Limit    string `json:"limit"`
	Room     string `json:"room"`
}

func ruleResults(from []*typev1.RuleResult) []ruleResult {
	out := []ruleResult{}
	for _, r := range from {
		out = append(out, ruleResult{
			Rule: enumText(r.GetRule(), "RULE_"), Index: r.GetIndex(), Light: enumText(r.GetLight(), "LIGHT_"),
			Observed: r.GetObserved(), Limit: r.GetLimit(), Room: r.GetRoom(),
		})
	}
	return out
}

// printCrossed prints the rules that a payment did not pass.
func printCrossed(p *printer, results []ruleResult) {
	for _, r := range results {
		if r.Light == "GREEN" {
			continue
		}
		name := r.Rule
		if r.Rule == "LIMIT" {
			name += " " + strconv.FormatUint(uint64(r.Index), 10)
		}
		if r.Limit == "" {
			p.line("  %s %s", r.Light, name)
		} else {
			p.line("  %s %s: %s of %s, %s was left (units)", r.Light, name, r.Observed, r.Limit, r.Room)
		}
	}
}
