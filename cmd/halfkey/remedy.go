package main

import (
	"math"
	"slices"
	"strings"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// remedy is what would pass instead of a payment, by all of its rules together: whoever follows it is stopped by none of them.
type remedy struct {
	// refused are the words of the rules other than limits that refuse, asked of those that leave it to a person.
	refused, asked []string
	// green is the largest payment that no limit stops, in units of unit, and most the largest that none refuses.
	green, most int64
	unit        string
	// waits says that a limit which leaves it to a person is used up, closed that one which refuses is.
	waits, closed bool
	// waitsEver and closedEver say that such a limit is one over the wallet's lifetime, which never resets.
	waitsEver, closedEver bool
	// crossed says that a limit was, and changed that the guard rails no longer have a limit that was asked.
	crossed, changed bool
}

// add takes a rule's outcome.
func (r *remedy) add(x explainedRule) {
	stopped := x.Light != lightGreen
	if bounds(x.ruleResult) {
		r.addPrice(x)
		return
	}
	if x.Rule != ruleLimit {
		switch {
		case !stopped:
		case x.Light == lightYellow:
			r.asked = with(r.asked, ruleWord(x.Rule))
		default:
			r.refused = with(r.refused, ruleWord(x.Rule))
		}
		return
	}
	r.crossed = r.crossed || stopped
	room, err := resource.ParseAmount(x.Room)
	if x.limit == nil || err != nil {
		r.changed = true
		return
	}
	refuses := x.limit.GetCrossed() == typev1.Light_LIGHT_RED
	if x.limit.GetMeasure() == typev1.Measure_MEASURE_UNITS {
		r.unit, r.green = x.limit.GetUnit(), min(r.green, room)
		if refuses {
			r.most = min(r.most, room)
		}
	}
	if room > 0 {
		return
	}
	ever := x.limit.GetWindow() == typev1.Window_WINDOW_LIFETIME
	if refuses {
		r.closed, r.closedEver = true, r.closedEver || ever
	} else {
		r.waits, r.waitsEver = true, r.waitsEver || ever
	}
}

// addPrice takes the outcome of a rule that bounds a request's price. A bound that was kept does not say what happens above it, and so
// counts as one that refuses.
func (r *remedy) addPrice(x explainedRule) {
	most, err := resource.ParseAmount(x.Limit)
	if err != nil {
		r.changed = true
		return
	}
	r.crossed = r.crossed || x.Light != lightGreen
	r.unit, r.green = resource.UnitUSD, min(r.green, most)
	if x.Light != lightYellow {
		r.most = min(r.most, most)
	}
}

func with(words []string, word string) []string {
	if slices.Contains(words, word) {
		return words
	}
	return append(words, word)
}

func ruleWord(rule string) string {
	switch rule {
	case "RECIPIENT", "X402_RECIPIENT", ruleChanged:
		return "recipient"
	case "X402_HOST":
		return "HTTP request"
	case "ASSET", ruleDrift: // A price in another asset than before cannot be compared.
		return "asset"
	default:
		return "rail"
	}
}

// String says it for people.
func (r *remedy) String() string {
	others := append(slices.Clone(r.refused), r.asked...)
	switch {
	case r.changed && (r.crossed || len(others) > 0):
		return "The guard rails have been changed since: `halfkey pay --dry-run` says what they let pass now."
	case !r.crossed && len(others) == 0:
		return "It passes as it is."
	case !r.crossed && len(r.asked) == 0:
		return "The same with " + another(r.refused) + "."
	case r.closed && len(r.refused) > 0:
		return "Nothing passes " + until(r.closedEver) + "; and it takes " + another(r.refused) + "."
	case r.closed:
		return "Nothing passes " + until(r.closedEver) + "."
	}
	atOnce := "At once: " + r.amount(r.green, others) + "."
	if r.waits {
		atOnce = "Nothing passes at once " + until(r.waitsEver) + "."
	}
	if r.most == r.green && !r.waits && len(r.asked) == 0 {
		return atOnce
	}
	return atOnce + " If a person approves: " + r.amount(r.most, r.refused) + "."
}

// until is how long nothing passes a limit that is used up.
func until(ever bool) string {
	if ever {
		return "under these guard rails: a limit over the wallet's lifetime is used up"
	}
	return "before a limit resets: see `halfkey limits`"
}

// amount is a payment of at most so many units, with other words of its rules.
func (r *remedy) amount(units int64, words []string) string {
	text := "any amount"
	if units < math.MaxInt64 {
		text = "at most " + measureText(typev1.Measure_MEASURE_UNITS, r.unit, resource.FormatUnits(units))
	}
	if len(words) > 0 {
		text += ", with " + another(words)
	}
	return text
}

// another names what has to be another: "another recipient and another asset that the guard rails allow".
func another(words []string) string {
	return "another " + strings.Join(words, " and another ") + " that the guard rails allow"
}

// refusedByPerson reports whether no rule refused a denied payment, so that a person did.
func refusedByPerson(p *client.Payment) bool {
	return p.State == typev1.PaymentState_PAYMENT_STATE_DENIED && len(p.Results) > 0 &&
		!slices.ContainsFunc(p.Results, func(r *typev1.RuleResult) bool { return r.GetLight() == typev1.Light_LIGHT_RED })
}
