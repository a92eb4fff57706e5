package client

import (
	"cmp"
	"math/big"
	"slices"

	"github.com/halfkey/halfkey/internal/guardrails"
)

// counted is what a wallet's payments add up to in one unit of account, by the quarter hour in which each was authorized: the
// sums from which every window is made.
type counted struct {
	total    quarterSum
	quarters []*quarterSum // In ascending order.
}

// quarterSum is what was authorized in one quarter hour. Money that goes in circles adds up to more than there is of it, so
// the units do not fit an int64.
type quarterSum struct {
	quarter  int64
	units    big.Int
	payments int64
}

func (q *quarterSum) add(units, payments int64) {
	q.units.Add(&q.units, big.NewInt(units))
	q.payments += payments
}

// add counts a payment, or with negative units takes it out again.
func (c *counted) add(quarter, units int64) {
	n, found := slices.BinarySearchFunc(c.quarters, quarter, compareQuarter)
	if !found {
		c.quarters = slices.Insert(c.quarters, n, &quarterSum{quarter: quarter})
	}
	one := int64(1)
	if units < 0 {
		one = -1
	}
	c.quarters[n].add(units, one)
	c.total.add(units, one)
}

// sum adds up the quarter hours from one on, up to and without another.
func (c *counted) sum(from, to int64) guardrails.Sum {
	var s quarterSum
	first, _ := slices.BinarySearchFunc(c.quarters, from, compareQuarter)
	end, _ := slices.BinarySearchFunc(c.quarters, to, compareQuarter)
	if first == 0 { // A lifetime is everything but what came later, and nothing did.
		s.add(0, c.total.payments)
		s.units.Set(&c.total.units)
		for _, q := range c.quarters[end:] {
			s.units.Sub(&s.units, &q.units)
			s.payments -= q.payments
		}
	} else if first < end {
		for _, q := range c.quarters[first:end] {
			s.units.Add(&s.units, &q.units)
			s.payments += q.payments
		}
	}
	out := guardrails.Sum{Units: maxUnits, Count: s.payments} // More than fits crosses every limit but none.
	if s.units.IsInt64() {
		out.Units = s.units.Int64()
	}
	return out
}

func compareQuarter(q *quarterSum, quarter int64) int { return cmp.Compare(q.quarter, quarter) }

// paidBefore is what the journal so far says was paid last for a request like a payment's.
func (a *audit) paidBefore(p *auditedPayment) guardrails.Paid {
	if p.intent.GetX402() == nil {
		return guardrails.Paid{}
	}
	host, request := guardrails.PaidFor(p.intent.GetX402())
	last := a.paid[request]
	last.Recipient = a.paid[host].Recipient
	return last
}

// notePaid keeps what a payment that settled paid for a request.
func (a *audit) notePaid(p *auditedPayment) {
	if p.intent.GetX402() == nil {
		return
	}
	host, request := guardrails.PaidFor(p.intent.GetX402())
	last := guardrails.Paid{Recipient: p.recipient, Units: p.units, Unit: p.unit}
	a.paid[host], a.paid[request] = last, last
}
