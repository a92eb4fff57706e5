package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/halfkey/halfkey/client"
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
	printX402(p, doc.GetX402())
}

// printRecipients prints who may be paid.
func printRecipients(p *printer, doc *typev1.GuardRails) {
	if len(doc.GetLimits()) == 0 {
		p.line("It pays nothing: its owner has not set guard rails.")
		return
	}
	if assets := doc.GetAssets(); len(assets) != 1 || assets[0] != resource.BookUSD(doc.GetInstallation()) {
		var words []string
		for _, asset := range assets {
			words = append(words, assetWord(asset, doc.GetInstallation()))
		}
		p.line("Pays in     %s; limits count all of these as dollars", strings.Join(words, ", "))
	}
	r := doc.GetRecipients()
	for _, key := range r.GetAllow() {
		p.line("May pay     %s%s", keyText(key), onSolana(key, doc))
	}
	for _, key := range r.GetDeny() {
		p.line("Never pays  %s%s", keyText(key), onSolana(key, doc))
	}
	p.line("Any other recipient %s.", lightMeans(r.GetUnknown()))
}

// onSolana is a key's address there, where guard rails allow that rail.
func onSolana(key []byte, doc *typev1.GuardRails) string {
	if !slices.Contains(doc.GetRails(), typev1.Rail_RAIL_SOLANA) {
		return ""
	}
	return ", on Solana " + addressText(key)
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
		return "any " + rollingText(l)
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

// The words of a ruleResult that this program looks at.
const (
	ruleLimit   = "LIMIT"
	rulePrice   = "X402_PRICE"
	ruleDrift   = "X402_DRIFT"
	ruleChanged = "X402_CHANGED_RECIPIENT"
	lightGreen  = "GREEN"
	lightYellow = "YELLOW"
)

// ruleResult is one rule's outcome for one payment, as --json shows it.
type ruleResult struct {
	// Rule is LIMIT, RECIPIENT, ASSET, RAIL, or one about HTTP requests: X402_HOST, X402_PRICE, X402_RECIPIENT,
	// X402_CHANGED_RECIPIENT or X402_DRIFT. Index says which of the limits.
	Rule  string `json:"rule"`
	Index uint32 `json:"index"`
	// Light is GREEN, YELLOW or RED.
	Light string `json:"light"`
	// Observed includes the payment, Room is what was left before it; units or payments, empty for rules without an amount.
	Observed string `json:"observed"`
	// Limit is the limit's own amount.
	Limit string `json:"limit"`
	Room  string `json:"room"`
	// LastRecipient is who was paid last at the host, for X402_CHANGED_RECIPIENT; empty if nobody was.
	LastRecipient string `json:"last_recipient,omitempty"`
}

func ruleResults(from []*typev1.RuleResult) []ruleResult {
	out := []ruleResult{}
	for _, r := range from {
		result := ruleResult{
			Rule: enumText(r.GetRule(), "RULE_"), Index: r.GetIndex(), Light: enumText(r.GetLight(), "LIGHT_"),
			Observed: r.GetObserved(), Limit: r.GetLimit(), Room: r.GetRoom(),
		}
		if len(r.GetLastRecipient()) > 0 {
			result.LastRecipient = keyText(r.GetLastRecipient())
		}
		out = append(out, result)
	}
	return out
}

// rulesAtHand are the guard rails by which results are told to people; nil where numbers have to do, which are right as well. A
// command whose time is up still tells how it ended, so the look has a time of its own.
func (a *app) rulesAtHand(ctx context.Context, results []ruleResult, get func(context.Context) (*client.InForce, error)) *typev1.GuardRails {
	crossed := func(r ruleResult) bool { return r.Rule == ruleLimit && r.Light != lightGreen }
	if a.globals.JSON || !slices.ContainsFunc(results, crossed) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookMax)
	defer cancel()
	v, err := get(ctx)
	if err != nil {
		return nil
	}
	return v.Document
}

// printCrossed prints the rules that a payment did not pass, by the guard rails where they are at hand.
func printCrossed(p *printer, results []ruleResult, doc *typev1.GuardRails) {
	for _, r := range results {
		limit := limitOf(r, doc)
		switch {
		case r.Light == lightGreen:
		case limit != nil && limit.GetWindow() == typev1.Window_WINDOW_PAYMENT:
			p.line("  %s LIMIT %s, %s: %s is over it", r.Light, limitText(limit, doc), crossedText(limit.GetCrossed()), ofLimit(limit, r.Observed))
		case limit != nil:
			p.line("  %s LIMIT %s, %s: %s with this payment, %s was left", r.Light, limitText(limit, doc), crossedText(limit.GetCrossed()),
				ofLimit(limit, r.Observed), ofLimit(limit, r.Room))
		case r.Rule == ruleLimit:
			p.line("  %s LIMIT %d: %s of %s, %s was left (smallest units, or payments)", r.Light, r.Index, r.Observed, r.Limit, r.Room)
		case bounds(r):
			p.line("  %s %s, at most %s a request, %s: %s is over it", r.Light, r.Rule, usdText(r.Limit), outcomeText(r.Light), usdText(r.Observed))
		case r.LastRecipient != "":
			p.line("  %s %s, the host was last paid with key %s: %s", r.Light, r.Rule, r.LastRecipient, outcomeText(r.Light))
		case r.Light == lightYellow:
			p.line("  %s %s: a person decides", r.Light, r.Rule)
		default:
			p.line("  %s %s: the guard rails do not allow it", r.Light, r.Rule)
		}
	}
}

// outcomeText is what a rule that was crossed leads to.
func outcomeText(light string) string {
	if light == lightYellow {
		return crossedText(typev1.Light_LIGHT_YELLOW)
	}
	return crossedText(typev1.Light_LIGHT_RED)
}

// usdText is a number of a rule about HTTP requests, which counts in dollars.
func usdText(units string) string {
	return measureText(typev1.Measure_MEASURE_UNITS, resource.UnitUSD, units)
}

// limitText is a limit in one phrase.
func limitText(l *typev1.Limit, doc *typev1.GuardRails) string {
	window := windowText(l, doc.GetTimeZone())
	if l.GetWindow() == typev1.Window_WINDOW_ROLLING || l.GetWindow() == typev1.Window_WINDOW_LIFETIME {
		window = "in " + window
	}
	return limitAmount(l) + " " + window
}

// ofLimit is a number that a limit counted, in its unit; empty stays empty.
func ofLimit(l *typev1.Limit, number string) string {
	if number == "" {
		return ""
	}
	return measureText(l.GetMeasure(), l.GetUnit(), number)
}

// rollingText is a rolling window's length, without the parts that are zero.
func rollingText(l *typev1.Limit) string {
	text := (time.Duration(l.GetRollingSeconds()) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
