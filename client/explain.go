package client

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Explanation is what every rule said of one payment.
type Explanation struct {
	// Light is the strictest outcome.
	Light typev1.Light
	// Lines are the rules that spoke, each once, in the order in which they were judged.
	Lines []ExplainedRule
}

// ExplainedRule is one rule's outcome.
type ExplainedRule struct {
	// Rule is which, and Outcome what it said.
	Rule    typev1.Rule
	Outcome typev1.Light
	// Limit is the limit of a RULE_LIMIT, and Index its place in the document; nil and 0 for other rules. Observed includes the
	// payment, Room is what was left before it; both and Amount are units or payments, as the limit measures. RULE_X402_PRICE and
	// RULE_X402_DRIFT have them in units; a drift from no price before has Observed alone.
	Limit                  *typev1.Limit
	Index                  int
	Observed, Amount, Room int64
	// LastRecipient is who was paid last, for RULE_X402_CHANGED_RECIPIENT; zero if nobody was.
	LastRecipient [32]byte
	// Passes says what would have passed without being stopped by this rule; nil where the payment did.
	Passes *Passes
}

// Passes is what one rule lets pass.
type Passes struct {
	// Rule is the rule.
	Rule typev1.Rule
	// Limit is the limit of a RULE_LIMIT. AtMost is the largest payment that it lets pass, in units of its unit of account; 0
	// means none. Of a limit by count it is 1 or 0 payments. RULE_X402_PRICE and RULE_X402_DRIFT have it in Unit.
	Limit  *typev1.Limit
	AtMost int64
	// Until is when a calendar window begins anew and has its whole room again, in TimeZone; zero for other windows.
	Until    time.Time
	TimeZone string
	// Recipients, Assets and Rails are what may be paid, to whom and how, for these rules. Denied says that the recipient is on
	// the list of those that may not be paid, so that being allowed as well would not help.
	Recipients [][32]byte
	Denied     bool
	Assets     []string
	Rails      []typev1.Rail
	// X402 is the payment's HTTP request, Host the entry of the guard rails that decided about it; without one, Hosts are those that
	// may be paid. LastRecipient is who was paid last at the host, and Unit the payment's unit of account.
	X402          *typev1.X402Context
	Host          *typev1.X402Host
	Hosts         []string
	LastRecipient [32]byte
	Unit          string
}

// Explain turns the results of a payment's rules into lines, by the guard rails that it was judged by, at the moment at which it
// was: for a dry run the ledger's time of the answer, for a recorded payment when it was judged last. It asks nobody. Results
// that are not the document's are refused: then the guard rails have changed since.
func Explain(doc *typev1.GuardRails, p *Payment, at time.Time) (*Explanation, error) {
	const op = "explain payment"
	spans, ok := guardrails.Windows(doc, at)
	if !ok {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the guard rails cannot be judged at this moment", "field", "at")
	}
	e := &Explanation{Light: typev1.Light_LIGHT_GREEN}
	for _, r := range p.Results {
		line := ExplainedRule{Rule: r.GetRule(), Outcome: r.GetLight(), Index: int(r.GetIndex())}
		var err error
		switch {
		case r.GetRule() == typev1.Rule_RULE_LIMIT:
			err = line.explainLimit(doc, r)
		case isX402(r.GetRule()):
			err = line.explainX402(doc, p, r)
		}
		if err != nil {
			return nil, distrust(op, notMoved, "the payment was judged by other guard rails", err)
		}
		e.Light = guardrails.Stricter(e.Light, line.Outcome)
		if line.Outcome != typev1.Light_LIGHT_GREEN {
			line.Passes = line.passes(doc, spans, p)
		}
		if !e.same(line) {
			e.Lines = append(e.Lines, line)
		}
	}
	return e, nil
}

// Refused are what the rules that refused would have let pass; for a payment that waits, those that made it wait. To pass, a
// payment has to satisfy all of them.
func (e *Explanation) Refused() []Passes {
	var out []Passes
	for _, l := range e.Lines {
		if l.Passes != nil && l.Outcome == e.Light {
			out = append(out, *l.Passes)
		}
	}
	return out
}

// same reports whether a rule stands in the explanation already: where the ledger judged a rule again that policy had judged, the
// stricter outcome is kept.
func (e *Explanation) same(line ExplainedRule) bool {
	for i, l := range e.Lines {
		if l.Rule != line.Rule || l.Index != line.Index {
			continue
		}
		if guardrails.Stricter(l.Outcome, line.Outcome) != l.Outcome {
			e.Lines[i] = line
		}
		return true
	}
	return false
}

// explainLimit reads a limit's result and compares it with the document.
func (line *ExplainedRule) explainLimit(doc *typev1.GuardRails, r *typev1.RuleResult) error {
	if line.Index >= len(doc.GetLimits()) {
		return refusal("results", "index", "is not a limit's")
	}
	line.Limit = doc.GetLimits()[line.Index]
	if line.Limit.GetAmount() != r.GetLimit() {
		return refusal("results", "limit", "is not the document's")
	}
	return line.amounts(r)
}

// isX402 reports whether a rule is one about HTTP requests.
func isX402(r typev1.Rule) bool {
	return r >= typev1.Rule_RULE_X402_HOST && r <= typev1.Rule_RULE_X402_DRIFT
}

// amounts reads the numbers of a result that has all three.
func (line *ExplainedRule) amounts(r *typev1.RuleResult) (err error) {
	for _, field := range []struct {
		name, text string
		to         *int64
	}{{"limit", r.GetLimit(), &line.Amount}, {"observed", r.GetObserved(), &line.Observed}, {"room", r.GetRoom(), &line.Room}} {
		if *field.to, err = resource.ParseAmount(field.text); err != nil {
			return refusal("results", field.name, "is no amount")
		}
	}
	return nil
}

// passes is what a rule that stopped a payment would have let pass.
func (line *ExplainedRule) passes(doc *typev1.GuardRails, spans []guardrails.Span, p *Payment) *Passes {
	out := &Passes{Rule: line.Rule}
	switch line.Rule {
	case typev1.Rule_RULE_LIMIT:
		out.Limit, out.AtMost = line.Limit, line.Room
		if line.Limit.GetMeasure() == typev1.Measure_MEASURE_COUNT {
			out.AtMost = min(line.Room, 1)
		}
		for _, s := range spans {
			if s.Limit == line.Index && calendar(line.Limit.GetWindow()) {
				out.Until, out.TimeZone = s.To, doc.GetTimeZone()
			}
		}
	case typev1.Rule_RULE_RECIPIENT:
		for _, k := range doc.GetRecipients().GetAllow() {
			if !slices.ContainsFunc(doc.GetRecipients().GetDeny(), func(d []byte) bool { return bytes.Equal(d, k) }) {
				out.Recipients = append(out.Recipients, [32]byte(k))
			}
		}
		out.Denied = slices.ContainsFunc(doc.GetRecipients().GetDeny(), func(d []byte) bool { return bytes.Equal(d, p.Recipient[:]) })
	case typev1.Rule_RULE_ASSET:
		out.Assets = slices.Clone(doc.GetAssets())
	case typev1.Rule_RULE_RAIL:
		out.Rails = slices.Clone(doc.GetRails())
	default:
		if isX402(line.Rule) {
			line.passesX402(doc, p, out)
		}
	}
	return out
}

func calendar(w typev1.Window) bool {
	switch w {
	case typev1.Window_WINDOW_DAY, typev1.Window_WINDOW_WEEK, typev1.Window_WINDOW_MONTH:
		return true
	}
	return false
}

// String says it in words: "at most 3.20 USD until 2026-11-27 00:00 Europe/Zurich", "a recipient on the allow list". All of it is
// from the guard rails, whose strings are an owner's: what shows them on a terminal escapes them.
func (p Passes) String() string {
	switch p.Rule {
	case typev1.Rule_RULE_LIMIT:
		return p.amount() + p.while()
	case typev1.Rule_RULE_RECIPIENT:
		if p.Denied {
			return "a recipient that is not on the deny list"
		}
		return "a recipient on the allow list"
	case typev1.Rule_RULE_ASSET:
		if len(p.Assets) == 0 {
			return "nothing: no asset is allowed"
		}
		return "one of the assets " + strings.Join(p.Assets, ", ")
	case typev1.Rule_RULE_RAIL:
		var names []string
		for _, r := range p.Rails {
			names = append(names, strings.ToLower(strings.TrimPrefix(r.String(), "RAIL_")))
		}
		if len(names) == 0 {
			return "nothing: no rail is allowed"
		}
		return "one of the rails " + strings.Join(names, ", ")
	}
	if isX402(p.Rule) {
		return p.x402()
	}
	return "unknown"
}

func (p Passes) amount() string {
	switch {
	case p.AtMost == 0:
		return "no payment"
	case p.Limit.GetMeasure() == typev1.Measure_MEASURE_COUNT:
		return "one payment"
	}
	return "at most " + amountIn(p.AtMost, p.Limit.GetUnit())
}

func (p Passes) while() string {
	switch p.Limit.GetWindow() {
	case typev1.Window_WINDOW_PAYMENT:
		return " at once"
	case typev1.Window_WINDOW_LIFETIME:
		return " ever again"
	case typev1.Window_WINDOW_ROLLING:
		return " until earlier ones are older than " + length(p.Limit.GetRollingSeconds())
	}
	if p.Until.IsZero() {
		return ""
	}
	name, location := p.TimeZone, time.UTC
	if name == "" {
		name = "UTC"
	}
	if l, err := time.LoadLocation(name); err == nil {
		location = l
	}
	return " until " + p.Until.In(location).Format("2006-01-02 15:04") + " " + name
}

// length writes a rolling window's length, which is whole quarter hours.
func length(seconds int64) string {
	if seconds%3600 != 0 {
		return strconv.FormatInt(seconds/60, 10) + " minutes"
	}
	return strconv.FormatInt(seconds/3600, 10) + " hours"
}

// amountIn writes units of a unit of account for people: whole, or with at least two decimals.
func amountIn(units int64, unit string) string {
	decimals, ok := resource.UnitDecimals(unit)
	if !ok {
		return resource.FormatUnits(units) + " units of " + unit
	}
	s := resource.FormatDecimal(units, decimals)
	if _, fraction, point := strings.Cut(s, "."); point && len(fraction) == 1 {
		s += "0"
	}
	return s + " " + unit
}
