package main

import (
	"context"
	"math"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// explanation is how a payment was judged, rule by rule, in the guard rails' own terms.
type explanation struct {
	// Rules are all rules that were asked, in the guard rails' order.
	Rules []explainedRule `json:"rules"`
	// LargestGreenUnits is the largest payment that the limits would have let pass at once, and LargestUnits the largest that they
	// would have let pass at all, a person approving; both as things stood then, empty if no limit was asked.
	LargestGreenUnits string `json:"largest_green_units"`
	LargestUnits      string `json:"largest_units"`
	// Remedy says for people what would pass.
	Remedy string `json:"would_pass"`
}

// explainedRule is one rule's outcome.
type explainedRule struct {
	ruleResult
	// Text says what the rule is, for people.
	Text string `json:"text"`

	limit *typev1.Limit
}

// explain explains results by the guard rails that made them. A limit that those in force no longer have is told by its numbers.
func explain(results []*typev1.RuleResult, doc *typev1.GuardRails) *explanation {
	e := &explanation{Rules: []explainedRule{}}
	r := remedy{green: math.MaxInt64, most: math.MaxInt64}
	for _, result := range ruleResults(results) {
		x := explainedRule{ruleResult: result, Text: ruleText(result.Rule)}
		if limit := limitOf(result, doc); limit != nil {
			x.limit, x.Text = limit, limitText(limit, doc)+": "+crossedText(limit.GetCrossed())+" when crossed"
		}
		switch {
		case bounds(result):
			x.Text += ": at most " + usdText(result.Limit)
		case result.LastRecipient != "":
			x.Text += ": key " + result.LastRecipient
		}
		e.Rules = append(e.Rules, x)
		r.add(x)
	}
	if r.green < math.MaxInt64 {
		e.LargestGreenUnits = resource.FormatUnits(r.green)
	}
	if r.most < math.MaxInt64 {
		e.LargestUnits = resource.FormatUnits(r.most)
	}
	e.Remedy = r.String()
	return e
}

// limitOf finds the limit that a result speaks of; nil for another rule, and for a limit that is no longer as it was.
func limitOf(r ruleResult, doc *typev1.GuardRails) *typev1.Limit {
	if r.Rule != ruleLimit || int(r.Index) >= len(doc.GetLimits()) {
		return nil
	}
	if l := doc.GetLimits()[r.Index]; l.GetAmount() == r.Limit {
		return l
	}
	return nil
}

// bounds reports whether a result is of a rule that bounds a request's price.
func bounds(r ruleResult) bool { return r.Rule == rulePrice || r.Rule == ruleDrift && r.Limit != "" }

func ruleText(rule string) string {
	switch rule {
	case "RECIPIENT":
		return "who may be paid"
	case "ASSET":
		return "which assets may be paid"
	case "RAIL":
		return "which rails may be used"
	case "X402_HOST":
		return "which HTTP requests may be paid for"
	case "X402_RECIPIENT":
		return "who may be paid at the host"
	case rulePrice:
		return "the price of a request to the host"
	case ruleChanged:
		return "who was paid last at the host"
	case ruleDrift:
		return "the price that was paid last, and what it may rise"
	default:
		return "a limit of guard rails that are no longer in force"
	}
}

// explained adds an explanation to a payment, by its wallet's guard rails.
func (r *paymentResult) explained(ctx context.Context, guardRails func(context.Context) (*client.InForce, error), p *client.Payment) error {
	head, err := guardRails(ctx)
	if err != nil {
		return unmoved(err)
	}
	r.Explanation = explain(p.Results, head.Document)
	if refusedByPerson(p) {
		r.Explanation.Remedy = "A person refused this one, which is no rule. " + r.Explanation.Remedy
	}
	return nil
}

func (e *explanation) people(p *printer) {
	rows := [][]string{{"OUTCOME", "RULE", "OBSERVED", "LEFT BEFORE"}}
	for _, r := range e.Rules {
		observed, room := r.Observed, r.Room
		if r.limit != nil {
			observed, room = ofLimit(r.limit, observed), ofLimit(r.limit, room)
		} else if r.Rule == rulePrice || r.Rule == ruleDrift {
			observed, room = usdText(observed), "" // Nothing is used up.
		}
		rows = append(rows, []string{r.Light, r.Text, observed, room})
	}
	p.table(rows)
	p.line("What would pass: %s", e.Remedy)
}
