package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// notEnforced labels everything that shadow mode says.
const notEnforced = "not enforced"

// shadowCommands are `halfkey shadow`.
type shadowCommands struct {
	Report  shadowReportCommand  `cmd:"" help:"Report what the application pays by other means, and see what the guard rails would make of it; nothing is enforced."`
	Summary shadowSummaryCommand `cmd:"" help:"Compare what was reported by agent, host and rule; nothing was enforced."`
}

// shadowReportCommand is `halfkey shadow report`.
type shadowReportCommand struct {
	Host      string  `required:"" placeholder:"HOST" help:"The host that was paid, such as api.example.com or api.example.com:8443."`
	Amount    string  `required:"" placeholder:"AMOUNT" help:"What was paid, in whole units: 5, 0.25 or \"5 USD\"."`
	Method    string  `default:"GET" placeholder:"METHOD" help:"The request's method."`
	Scheme    string  `enum:"https,http" default:"https" help:"The request's scheme: ${enum}."`
	Path      string  `default:"/" placeholder:"PATH" help:"The request's path as it is sent, without query."`
	Recipient string  `complete:"recipient" placeholder:"RECIPIENT" help:"Who was paid: wallets/{wallet}, @handle, or a key. Without it no rule about recipients is judged."`
	ID        *string `name:"id" placeholder:"ID" help:"The report's id, 1 to 63 of [a-z0-9-]. The same id is the same report: a command repeated with it counts once."`
}

// shadowResult is a report, judged.
type shadowResult struct {
	// Enforced is always false: a report is no payment, and stops none.
	Enforced bool `json:"enforced"`
	// Name is `wallets/{wallet}/shadowPayments/{id}`, and ID its last part, by which the report can be repeated.
	Name string `json:"name"`
	ID   string `json:"id"`
	// Request is the HTTP request: `GET https://api.example.com/report`.
	Request string `json:"request"`
	Amount  string `json:"amount"`
	Units   string `json:"units"`
	Asset   string `json:"asset"`
	// RecipientKey is who was paid; empty if the report names nobody, and then no rule about recipients was judged.
	RecipientKey string `json:"recipient_key"`
	// Light is what a payment like this would have met: GREEN, paid at once; YELLOW, a person decides; RED, refused.
	Light   string       `json:"light"`
	Results []ruleResult `json:"results"`
	// Number is that of the guard rails that judged it.
	Number uint64    `json:"number"`
	Time   time.Time `json:"time"`

	document *typev1.GuardRails
}

// Run reports. Its exit code is 0 whatever the light is: an application that pays by other means is not stopped by its report.
func (c *shadowReportCommand) Run(ctx context.Context, a *app) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	r := client.ShadowReport{Method: c.Method, Scheme: c.Scheme, Host: c.Host, Path: c.Path, Recipient: c.Recipient}
	if r.Units, err = parseAmount("--amount", c.Amount); err != nil {
		return err
	}
	if r.ID, err = chosenID(c.ID); err != nil {
		return err
	}
	for _, f := range []struct {
		flag, right string
		err         error
	}{
		{"--method", "a method is 1 to 16 upper-case letters", resource.ValidHTTPMethod(r.Method)},
		{
			"--host", "a host is like api.example.com or api.example.com:8443, lower-case, without the scheme's own port",
			resource.ValidHTTPHost(r.Scheme, r.Host),
		},
		{"--path", "a path begins with / and has neither query nor fragment", resource.ValidHTTPPath(r.Path)},
	} {
		if f.err != nil {
			return usage(f.flag, f.right)
		}
	}
	p, err := agent.ReportShadow(ctx, r)
	if err != nil {
		return unmoved(unknownWallet(err, c.Recipient))
	}
	out := &shadowResult{
		Name: p.Name, ID: p.ID, Request: p.Method + " " + p.Scheme + "://" + p.Host + p.Path,
		Amount: formatAmount(p.Units, p.Asset, cl.Installation().ID()), Units: resource.FormatUnits(p.Units), Asset: p.Asset,
		Light: enumText(p.Light, "LIGHT_"), Results: ruleResults(p.Results), Number: p.Number, Time: p.Time.UTC(),
	}
	if p.Recipient != [32]byte{} {
		out.RecipientKey = hex.EncodeToString(p.Recipient[:])
	}
	out.document = a.rulesAtHand(ctx, out.Results, agent.GuardRails)
	return a.show(out)
}

func (r *shadowResult) people(p *printer) {
	p.line("%s (%s): %s for %s, by guard rails number %d", r.Light, notEnforced, r.Amount, r.Request, r.Number)
	printCrossed(p, r.Results, r.document)
	if r.RecipientKey == "" {
		p.line("  No rule about recipients was judged: the report names nobody.")
	}
	switch r.Light {
	case lightGreen:
		p.line("A payment like this would be paid at once. Nothing was enforced, held or paid.")
	case lightYellow:
		p.line("A payment like this would wait for a person. Nothing was enforced, held or paid.")
	default:
		p.line("A payment like this would be refused. Nothing was enforced, held or paid.")
	}
}

// shadowSummaryCommand is `halfkey shadow summary`.
type shadowSummaryCommand struct {
	As   string `enum:"agent,owner" default:"agent" help:"Whose reports: the agent's, or those of all wallets of this home's owner, or with --wallet of one of them: ${enum}."`
	From string `xor:"from" placeholder:"TIME" help:"Only what was reported at this time or later: RFC 3339, or a date in UTC; on a quarter hour."`
	To   string `placeholder:"TIME" help:"Only what was reported before this time."`
	Week bool   `xor:"from" help:"Only the seven days before --to, or before now."`
}

// shadowEntry counts reports of one agent and host that met the same rules in the same way.
type shadowEntry struct {
	Wallet string `json:"wallet"`
	// Handle is the wallet's, with its @, where this home has verified whose it is.
	Handle string `json:"handle"`
	// Host is the host that was paid.
	Host  string `json:"host"`
	Asset string `json:"asset"`
	// Light is what they would have met: GREEN, paid at once; YELLOW, a person decides; RED, refused.
	Light string `json:"light"`
	// Number is that of the guard rails that judged them.
	Number uint64 `json:"number"`
	// Rules are those that were not GREEN; none in a GREEN row.
	Rules  []shadowRule `json:"rules"`
	Units  string       `json:"units"`
	Amount string       `json:"amount"`
	// Count is how many reports they are.
	Count int64 `json:"count"`
}

// shadowRule is a rule that would have stopped a payment or asked a person.
type shadowRule struct {
	// Rule is as in a report's results, and Index says which of the limits.
	Rule  string `json:"rule"`
	Index uint32 `json:"index"`
	// Light is YELLOW or RED.
	Light string `json:"light"`
}

type shadowSummaryResult struct {
	// Enforced is always false: reports are no payments, and nothing was stopped.
	Enforced bool `json:"enforced"`
	// From and To bound what was counted; null where nothing does.
	From *time.Time `json:"from"`
	To   *time.Time `json:"to"`
	// Shadow are the sums, by agent, host, light and rules.
	Shadow []shadowEntry `json:"shadow"`
}

// week is what --week compares.
const week = 7 * 24 * time.Hour

// Run sums up.
func (c *shadowSummaryCommand) Run(ctx context.Context, a *app) error {
	var q client.ShadowQuery
	var err error
	if q.From, err = parseTime("--from", c.From); err != nil {
		return err
	}
	if q.To, err = parseTime("--to", c.To); err != nil {
		return err
	}
	if c.Week {
		end := q.To
		if end.IsZero() {
			end = time.Now()
		}
		q.From = end.Add(-week).Truncate(15 * time.Minute)
	}
	sums, err := c.sums(ctx, a, q)
	if err != nil {
		return err
	}
	r := &shadowSummaryResult{From: given(q.From), To: given(q.To), Shadow: []shadowEntry{}}
	for _, s := range sums {
		e := shadowEntry{
			Wallet: s.Wallet, Handle: a.connected().HandleOf(s.Wallet), Host: s.Host, Asset: s.Asset, Light: enumText(s.Light, "LIGHT_"), Number: s.Number,
			Rules: []shadowRule{}, Units: resource.FormatUnits(s.Units), Amount: formatAmount(s.Units, s.Asset, a.installation()), Count: s.Count,
		}
		for _, rule := range s.Rules {
			e.Rules = append(e.Rules, shadowRule{enumText(rule.GetRule(), "RULE_"), rule.GetIndex(), enumText(rule.GetLight(), "LIGHT_")})
		}
		r.Shadow = append(r.Shadow, e)
	}
	return a.show(r)
}

// given is a time, or nil for none.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (c *shadowSummaryCommand) sums(ctx context.Context, a *app, q client.ShadowQuery) ([]client.ShadowSums, error) {
	if c.As == "agent" {
		agent, err := a.agent()
		if err != nil {
			return nil, err
		}
		sums, err := agent.ShadowSummary(ctx, q)
		return sums, unmoved(err)
	}
	o, wallet, err := a.ownerWallet(ctx, a.globals.Wallet)
	if err != nil {
		return nil, err
	}
	q.Wallet = wallet
	sums, err := o.ShadowSummary(ctx, q)
	return sums, unmoved(err)
}

func (r *shadowSummaryResult) people(p *printer) {
	if len(r.Shadow) == 0 {
		p.line("No shadow payments were reported.")
		return
	}
	p.line("Shadow payments, %s: what the guard rails would have made of what was paid by other means.", notEnforced)
	rows := [][]string{{"AGENT", "HOST", "WOULD BE", "BY", "AMOUNT", "REPORTS"}}
	for _, e := range r.Shadow {
		rows = append(rows, []string{cmp.Or(e.Handle, e.Wallet), e.Host, e.Light, rulesText(e), e.Amount, strconv.FormatInt(e.Count, 10)})
	}
	p.table(rows)
	counts := make(map[string]int64)
	for _, e := range r.Shadow {
		counts[e.Light] += e.Count
	}
	p.line("%d would have been paid at once, %d would have waited for a person, %d would have been refused (%s).",
		counts[lightGreen], counts[lightYellow], counts["RED"], notEnforced)
}

// rulesText names the rules that were not GREEN; those that decided come first.
func rulesText(e shadowEntry) string {
	rules := slices.Clone(e.Rules)
	slices.SortStableFunc(rules, func(a, b shadowRule) int {
		return cmp.Compare(strconv.FormatBool(b.Light == e.Light), strconv.FormatBool(a.Light == e.Light))
	})
	var out []string
	for _, r := range rules {
		text := r.Rule
		if r.Rule == ruleLimit {
			text += " " + strconv.FormatUint(uint64(r.Index), 10) + " of number " + strconv.FormatUint(e.Number, 10)
		}
		out = append(out, text)
	}
	return cmp.Or(strings.Join(out, ", "), "-")
}
