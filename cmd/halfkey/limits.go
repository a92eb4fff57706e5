package main

import (
	"cmp"
	"context"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// limitsCommand is `halfkey limits`.
type limitsCommand struct {
	As string `enum:"agent,owner" default:"agent" help:"Who asks: the wallet's agent, or this home's owner about the one of its wallets that --wallet names: ${enum}."`
}

// limitUse is how far one limit is used up. Numbers are units or payments, as the limit measures.
type limitUse struct {
	// Index is the limit's place in the guard rails.
	Index int `json:"index"`
	// Measure is UNITS or COUNT, Unit the unit of account, for example USD.
	Measure string `json:"measure"`
	Unit    string `json:"unit"`
	// Window is PAYMENT, DAY, WEEK, MONTH, ROLLING or LIFETIME; RollingSeconds is the length of a rolling one.
	Window         string `json:"window"`
	RollingSeconds int64  `json:"rolling_seconds"`
	// Crossed is what happens when it is crossed: YELLOW, a person decides; RED, refused.
	Crossed string `json:"crossed"`
	// Limit is how much the window may see.
	Limit string `json:"limit"`
	// Used is what the window has seen, empty for a limit per payment; Room is what is left.
	Used string `json:"used"`
	Room string `json:"room"`
	// Resets is when the window begins anew, or when something of a rolling one leaves; null where nothing does.
	Resets *time.Time `json:"resets"`
}

// limitsResult is what a wallet may still pay, all of it at one moment.
type limitsResult struct {
	Wallet string `json:"wallet"`
	// Number is the version's of the guard rails.
	Number uint64     `json:"number"`
	Limits []limitUse `json:"limits"`
	// GuardRails are the rules themselves, a message of the contracts.
	GuardRails message        `json:"guard_rails"`
	Account    *accountResult `json:"account"`

	document *typev1.GuardRails
	uses     []client.LimitUse
}

// Run shows rules, their use and the account.
func (c *limitsCommand) Run(ctx context.Context, a *app) error {
	wallet, l, err := c.limits(ctx, a)
	if err != nil {
		return err
	}
	doc := l.GuardRails.Document
	r := &limitsResult{
		Wallet: wallet, Number: l.GuardRails.Number, Limits: []limitUse{}, GuardRails: message{doc},
		Account: newAccountResult(&l.Account, a.installation()), document: doc, uses: l.Uses,
	}
	for _, u := range l.Uses {
		r.Limits = append(r.Limits, newLimitUse(u))
	}
	return a.show(r)
}

// limits asks as the agent, or as the owner.
func (c *limitsCommand) limits(ctx context.Context, a *app) (string, *client.Limits, error) {
	if c.As == "agent" {
		agent, err := a.agent()
		if err != nil {
			return "", nil, err
		}
		l, err := agent.Limits(ctx)
		return agent.Wallet(), l, unmoved(err)
	}
	o, err := a.owner()
	if err != nil {
		return "", nil, err
	}
	wallet, err := a.ownedWallet(ctx, o, cmp.Or(a.globals.Wallet, a.env(envWallet)))
	if err != nil {
		return "", nil, err
	}
	if wallet == "" {
		return "", nil, usage("--wallet", "an owner names the wallet whose limits it asks for: `halfkey agents list` lists them")
	}
	l, err := o.Limits(ctx, wallet)
	return wallet, l, unmoved(err)
}

func newLimitUse(u client.LimitUse) limitUse {
	l := limitUse{
		Index: u.Index, Measure: enumText(u.Limit.GetMeasure(), "MEASURE_"), Unit: u.Limit.GetUnit(),
		Window: enumText(u.Limit.GetWindow(), "WINDOW_"), RollingSeconds: u.Limit.GetRollingSeconds(), Crossed: enumText(u.Limit.GetCrossed(), "LIGHT_"),
		Limit: resource.FormatUnits(u.Amount), Room: resource.FormatUnits(u.Room),
	}
	if u.Windowed {
		l.Used = resource.FormatUnits(u.Used)
	}
	if !u.Resets.IsZero() {
		at := u.Resets.UTC()
		l.Resets = &at
	}
	return l
}

func (r *limitsResult) people(p *printer) {
	p.line("%s, guard rails number %d", r.Wallet, r.Number)
	if len(r.uses) > 0 {
		rows := [][]string{{"LIMIT", "OF", "USED", "LEFT", "RESETS", "WHEN CROSSED"}}
		for _, u := range r.uses {
			amount := func(n int64) string {
				return measureText(u.Limit.GetMeasure(), u.Limit.GetUnit(), resource.FormatUnits(n))
			}
			used, resets := "", ""
			if u.Windowed {
				used = amount(u.Used)
			}
			if !u.Resets.IsZero() {
				resets = timeText(u.Resets)
			}
			rows = append(rows, []string{
				amount(u.Amount), windowText(u.Limit, r.document.GetTimeZone()), used, amount(u.Room), resets, crossedText(u.Limit.GetCrossed()),
			})
		}
		p.table(rows)
	}
	printRecipients(p, r.document)
	for _, b := range r.Account.Balances {
		p.line("It holds %s%s, and %s is held by payments.", b.Available, b.where(), b.Held)
	}
	if r.Account.Frozen {
		p.line("It is FROZEN: it pays nothing until its owner unfreezes it, or the operator if the whole installation is stopped.")
	}
}
