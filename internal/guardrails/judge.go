package guardrails

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Facts is what a payment does, as the decoded message says, not as the agent tells.
type Facts struct {
	// Rail is how it settles.
	Rail typev1.Rail
	// Asset is what is paid, a CAIP-19 id.
	Asset string
	// Units is the amount in the asset's smallest unit, from 1 on.
	Units int64
	// Recipient is the key that is paid.
	Recipient [32]byte
	// X402 is the HTTP request whose answer is paid for, as the intent says; nil if it says none. It alone is the agent's word.
	X402 *typev1.X402Context
}

// Judgement is what rules say of one payment.
type Judgement struct {
	// Light is the strictest of the results. It is RED without results where nothing could be judged at all.
	Light typev1.Light
	// Results holds one result for each rule that speaks of the payment, the document's limits in their order. Observed
	// includes the payment and stays at 2^63-1 where it would be more; room is what was left before it.
	Results []*typev1.RuleResult
}

// History is what was recorded before a payment, without the payment itself.
type History struct {
	// Sums are parallel to Spans of the same document, payment and now: a repeat of an authorized payment is not counted twice.
	Sums []Sum
	// Paid is what was paid last for HTTP requests; of no concern to a payment for none.
	Paid Paid
}

// Sum is what one of Spans has seen, without the payment that is judged.
type Sum struct {
	// Units are the units of account of the recorded payments.
	Units int64
	// Count is their number.
	Count int64
}

// Stricter returns the stricter of two lights. What is not a light is as strict as RED, and comes back as RED.
func Stricter(a, b typev1.Light) typev1.Light { return max(known(a), known(b)) }

// known makes RED of what is no light. The contract numbers lights by strictness.
func known(l typev1.Light) typev1.Light {
	switch l {
	case typev1.Light_LIGHT_GREEN, typev1.Light_LIGHT_YELLOW:
		return l
	}
	return typev1.Light_LIGHT_RED
}

// Judge judges a payment by the rules that need no history: rail, asset, recipient, HTTP request, and limits per payment. It holds a
// document to the demands of Validate that decide about money, so a head that got past Validate pays nothing either.
func Judge(doc *typev1.GuardRails, f Facts, now time.Time) Judgement {
	if !judgeable(doc, f, now) {
		return denied()
	}
	j := Judgement{Light: typev1.Light_LIGHT_GREEN}
	j.add(&typev1.RuleResult{Rule: typev1.Rule_RULE_RAIL, Light: judgeRail(doc, f)})
	j.add(&typev1.RuleResult{Rule: typev1.Rule_RULE_ASSET, Light: judgeAsset(doc, f)})
	entry, host := judgeHost(doc, f)
	j.add(&typev1.RuleResult{Rule: typev1.Rule_RULE_RECIPIENT, Light: judgeRecipient(doc, f, entry)})
	j.judgeX402(doc, f, entry, host)
	unit, _, _ := resource.UnitOf(f.Asset, doc.GetInstallation())
	for i, l := range doc.GetLimits() {
		switch _, why := checkLimit(l); {
		case why != "":
			// Nobody knows what the owner meant by it, so it might have denied.
			j.add(&typev1.RuleResult{Rule: typev1.Rule_RULE_LIMIT, Index: uint32(i), Light: typev1.Light_LIGHT_RED})
		case l.GetUnit() == unit && l.GetWindow() == typev1.Window_WINDOW_PAYMENT:
			j.add(judgeLimit(i, l, Sum{}, f.Units))
		}
	}
	return j
}

// Count judges a payment by the rules that need history: limits per window, and what was paid before for the same HTTP request.
func Count(doc *typev1.GuardRails, f Facts, h History, now time.Time) Judgement {
	spans, ok := windows(doc, f, now)
	if !ok || len(spans) != len(h.Sums) {
		return denied()
	}
	j := Judgement{Light: typev1.Light_LIGHT_GREEN}
	for i, s := range spans {
		j.add(judgeLimit(s.Limit, doc.GetLimits()[s.Limit], h.Sums[i], f.Units))
	}
	j.countX402(doc, f, h.Paid)
	return j
}

// judgeable reports whether document, payment and time are such that rules can speak at all.
func judgeable(doc *typev1.GuardRails, f Facts, now time.Time) bool {
	return doc.GetNumber() != 0 && f.Units > 0 && datable(now)
}

// datable reports whether windows can hold a moment.
func datable(now time.Time) bool { return now.Unix() > 0 && now.Unix() < timeMaxSeconds }

func denied() Judgement { return Judgement{Light: typev1.Light_LIGHT_RED} }

func (j *Judgement) add(r *typev1.RuleResult) {
	r.Light = known(r.GetLight())
	j.Light = Stricter(j.Light, r.GetLight())
	j.Results = append(j.Results, r)
}

func greenIf(ok bool) typev1.Light {
	if ok {
		return typev1.Light_LIGHT_GREEN
	}
	return typev1.Light_LIGHT_RED
}

func judgeRail(doc *typev1.GuardRails, f Facts) typev1.Light {
	return greenIf(knownRail(f.Rail) && slices.Contains(doc.GetRails(), f.Rail))
}

func judgeAsset(doc *typev1.GuardRails, f Facts) typev1.Light {
	unit, _, ok := resource.UnitOf(f.Asset, doc.GetInstallation())
	limits := doc.GetLimits()
	return greenIf(ok && slices.Contains(doc.GetAssets(), f.Asset) && deniesPayment(limits, unit) && sumsPayments(limits, unit) &&
		RailOf(f.Asset) == f.Rail)
}

// RailOf is the one rail that an asset with a unit of account settles on.
func RailOf(asset string) typev1.Rail {
	if _, token := resource.TokenOf(asset); token {
		return typev1.Rail_RAIL_SOLANA
	}
	return typev1.Rail_RAIL_BOOK
}

// judgeRecipient judges by the lists, and by the keys that a payment's HTTP host is pinned to: these are allowed unless they are denied.
func judgeRecipient(doc *typev1.GuardRails, f Facts, entry *typev1.X402Host) typev1.Light {
	r := doc.GetRecipients()
	lists := func(keys [][]byte) bool {
		// Not a binary search: in a list out of order that would miss a denied key.
		return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, f.Recipient[:]) })
	}
	switch {
	case f.Recipient == [32]byte{} || lists(r.GetDeny()):
		return typev1.Light_LIGHT_RED
	case lists(r.GetAllow()) || pins(entry, f):
		return typev1.Light_LIGHT_GREEN
	case stops(r.GetUnknown()):
		return r.GetUnknown()
	}
	return typev1.Light_LIGHT_RED
}

// judgeLimit judges a limit that checkLimit lets pass, over what was summed before this payment.
func judgeLimit(index int, l *typev1.Limit, before Sum, units int64) *typev1.RuleResult {
	r := &typev1.RuleResult{Rule: typev1.Rule_RULE_LIMIT, Index: uint32(index), Light: typev1.Light_LIGHT_RED, Limit: l.GetAmount()}
	limit, err := resource.ParseAmount(l.GetAmount())
	if err != nil || before.Units < 0 || before.Count < 0 {
		return r
	}
	sum, adds := before.Units, units
	if l.GetMeasure() == typev1.Measure_MEASURE_COUNT {
		sum, adds = before.Count, 1
	}
	r.Room = resource.FormatUnits(max(limit-sum, 0))
	if sum > math.MaxInt64-adds {
		// More than any limit can say: RED, whatever the owner wanted done when it is crossed.
		r.Observed = resource.FormatUnits(math.MaxInt64)
		return r
	}
	r.Observed = resource.FormatUnits(sum + adds)
	if sum+adds <= limit {
		r.Light = typev1.Light_LIGHT_GREEN
	} else {
		r.Light = l.GetCrossed()
	}
	return r
}
