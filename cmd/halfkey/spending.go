package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
)

// spendingCommand is `halfkey spending`.
type spendingCommand struct {
	As       string   `enum:"agent,owner" default:"agent" help:"Whose spending: the agent's wallet, or all wallets of this home's owner, or with --wallet one of them: ${enum}."`
	By       []string `enum:"day,agent,recipient" placeholder:"WHAT" help:"Sum by day, agent, recipient, or several of them; one sum by default."`
	From     string   `placeholder:"TIME" help:"Only what was authorized at this time or later: RFC 3339, or a date in UTC; on a quarter hour."`
	To       string   `placeholder:"TIME" help:"Only what was authorized before this time."`
	TimeZone string   `placeholder:"ZONE" help:"The zone whose days count, such as Europe/Zurich; UTC by default."`
}

// spendingEntry is what was spent of one asset by one group. What was not summed by is empty.
type spendingEntry struct {
	// Day is a date of --time-zone.
	Day    string `json:"day"`
	Wallet string `json:"wallet"`
	// Recipient is the recipient's key.
	Recipient string `json:"recipient"`
	// Handle is the wallet's and RecipientHandle the recipient's, with their @, where this home has verified whose they are.
	Handle          string `json:"handle"`
	RecipientHandle string `json:"recipient_handle"`
	Asset           string `json:"asset"`
	// SettledUnits were paid, HeldUnits are held by payments that may still settle; Settled and Held are the same for people.
	SettledUnits string `json:"settled_units"`
	HeldUnits    string `json:"held_units"`
	Settled      string `json:"settled"`
	Held         string `json:"held"`
	// Count is how many payments both are.
	Count int64 `json:"count"`
}

type spendingResult struct {
	// Spending is one sum for each group and asset.
	Spending []spendingEntry `json:"spending"`

	by []string
}

// Run sums.
func (c *spendingCommand) Run(ctx context.Context, a *app) error {
	q := client.SpendingQuery{
		ByDay: slices.Contains(c.By, "day"), ByWallet: slices.Contains(c.By, "agent"), ByRecipient: slices.Contains(c.By, "recipient"), TimeZone: c.TimeZone,
	}
	var err error
	if q.From, err = parseTime("--from", c.From); err != nil {
		return err
	}
	if q.To, err = parseTime("--to", c.To); err != nil {
		return err
	}
	sums, err := c.sums(ctx, a, q)
	if err != nil {
		return err
	}
	r := &spendingResult{Spending: []spendingEntry{}, by: c.By}
	for _, s := range sums {
		e := spendingEntry{
			Day: s.Day, Wallet: s.Wallet, Handle: a.connected().HandleOf(s.Wallet), Asset: s.Asset, SettledUnits: resource.FormatUnits(s.Settled), HeldUnits: resource.FormatUnits(s.Held),
			Settled: formatAmount(s.Settled, s.Asset, a.installation()), Held: formatAmount(s.Held, s.Asset, a.installation()), Count: s.Count,
		}
		if q.ByRecipient {
			e.Recipient, e.RecipientHandle = keyText(s.Recipient[:]), a.connected().NameOf(s.Recipient)
		}
		r.Spending = append(r.Spending, e)
	}
	return a.show(r)
}

func (c *spendingCommand) sums(ctx context.Context, a *app, q client.SpendingQuery) ([]client.Spending, error) {
	if c.As == "agent" {
		agent, err := a.agent()
		if err != nil {
			return nil, err
		}
		sums, err := agent.Spending(ctx, q)
		return sums, unmoved(err)
	}
	o, wallet, err := a.ownerWallet(ctx, a.globals.Wallet)
	if err != nil {
		return nil, err
	}
	q.Wallet = wallet
	sums, err := o.Spending(ctx, q)
	return sums, unmoved(err)
}

func (r *spendingResult) people(p *printer) {
	if len(r.Spending) == 0 {
		p.line("Nothing was spent.")
		return
	}
	var head []string
	for _, by := range []string{"day", "agent", "recipient"} {
		if slices.Contains(r.by, by) {
			head = append(head, map[string]string{"day": "DAY", "agent": "AGENT", "recipient": "RECIPIENT"}[by])
		}
	}
	rows := [][]string{append(head, "SETTLED", "HELD", "PAYMENTS")}
	for _, e := range r.Spending {
		var row []string
		for _, group := range []string{e.Day, cmp.Or(e.Handle, e.Wallet), cmp.Or(e.RecipientHandle, e.Recipient)} {
			if group != "" {
				row = append(row, group)
			}
		}
		rows = append(rows, append(row, e.Settled, e.Held, strconv.FormatInt(e.Count, 10)))
	}
	p.table(rows)
}
