package main

import (
	"context"
	"strings"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// paymentCommands are `halfkey payments`.
type paymentCommands struct {
	List   paymentListCommand   `cmd:"" help:"List the wallet's payments, newest first."`
	Show   paymentShowCommand   `cmd:"" help:"Show a payment, without continuing it."`
	Watch  paymentWatchCommand  `cmd:"" help:"Wait until a payment of this home has ended, continuing it by itself."`
	Cancel paymentCancelCommand `cmd:"" help:"Cancel a payment that waits for a person or for a fresh message."`
}

// paymentResult is one payment.
type paymentResult struct {
	// Name is wallets/{wallet}/payments/{id}.
	Name string `json:"name"`
	ID   string `json:"id"`
	// State is PENDING_REVIEW, READY, AUTHORIZED, SETTLED, DENIED, CANCELED, EXPIRED or FAILED.
	State string `json:"state"`
	// Light is how it was judged, GREEN, YELLOW or RED, and Results are every rule's.
	Light   string       `json:"light"`
	Results []ruleResult `json:"results"`
	Asset   string       `json:"asset"`
	// Units is the amount in the asset's smallest unit, Amount the same for people.
	Units  string `json:"units"`
	Amount string `json:"amount"`
	// Recipient is the recipient as the order named it, empty if another home made it; RecipientKey is its key.
	Recipient    string    `json:"recipient"`
	RecipientKey string    `json:"recipient_key"`
	Memo         string    `json:"memo"`
	Deadline     time.Time `json:"deadline"`
	// FirstToRecipient says that nobody paid this recipient from this home before; `pay` alone says it.
	FirstToRecipient bool `json:"first_to_recipient"`
	// MoneyMoved is YES once SETTLED, UNKNOWN while AUTHORIZED, else NO.
	MoneyMoved string `json:"money_moved"`
	// Next says what that means and what to do, for people.
	Next string `json:"next"`

	money typev1.MoneyMoved
}

func newPaymentResult(p *client.Payment, installation string) *paymentResult {
	r := &paymentResult{
		Name: p.Name, ID: p.ID, State: paymentState(p.State), Light: enumText(p.Light, "LIGHT_"), Results: ruleResults(p.Results),
		Asset: p.Asset, Units: resource.FormatUnits(p.Units), Amount: formatAmount(p.Units, p.Asset, installation),
		Recipient: p.RecipientName, RecipientKey: keyText(p.Recipient[:]), Memo: p.Purpose, Deadline: p.Deadline.UTC(),
		Next: paymentNext(p.State, p.ID), money: notMoved,
	}
	switch p.State {
	case typev1.PaymentState_PAYMENT_STATE_SETTLED:
		r.money = moved
	case typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
		r.money = unknown
	}
	r.MoneyMoved = enumText(r.money, "MONEY_MOVED_")
	return r
}

func (r *paymentResult) moneyMoved() typev1.MoneyMoved { return r.money }

// paymentNext says what a state means for who made the payment, and what to do.
func paymentNext(state typev1.PaymentState, id string) string {
	switch state {
	case typev1.PaymentState_PAYMENT_STATE_SETTLED:
		return "Paid."
	case typev1.PaymentState_PAYMENT_STATE_DENIED:
		return "Refused: nothing was paid, and repeating it changes nothing."
	case typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW:
		return "It waits for its owner's answer: `halfkey payments watch " + id + "` waits with it, and then pays."
	case typev1.PaymentState_PAYMENT_STATE_READY:
		return "It may be paid: `halfkey payments watch " + id + "` pays it."
	case typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
		return "It may have been paid: `halfkey payments watch " + id + "` ends it. Do not pay this by another id."
	case typev1.PaymentState_PAYMENT_STATE_CANCELED:
		return "Canceled: nothing was paid."
	case typev1.PaymentState_PAYMENT_STATE_EXPIRED:
		return "Its deadline passed: nothing was paid."
	default:
		return "It failed: nothing was paid."
	}
}

func (r *paymentResult) people(p *printer) {
	to := r.Recipient
	if to == "" || to == r.RecipientKey {
		to = "key " + r.RecipientKey
	}
	p.line("%s: %s to %s", r.State, r.Amount, to)
	p.line("%s", r.Next)
	if r.State != "SETTLED" {
		printCrossed(p, r.Results)
	}
	if r.Memo != "" {
		p.line("Memo      %s", r.Memo)
	}
	if r.FirstToRecipient {
		p.line("First payment to this recipient from this home. Its key is")
		p.line("          %s", r.RecipientKey)
	}
	p.line("Payment   %s", r.Name)
}

type paymentListCommand struct {
	Incoming bool   `help:"List what came in instead."`
	State    string `placeholder:"STATE" enum:",pending_review,ready,authorized,settled,denied,canceled,expired,failed" default:"" help:"Only payments in this state: ${enum}."`
}

type paymentListResult struct {
	Wallet   string           `json:"wallet"`
	Incoming bool             `json:"incoming"`
	Payments []*paymentResult `json:"payments"`
}

// Run lists payments.
func (c *paymentListCommand) Run(ctx context.Context, a *app) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	list, err := agent.Payments(ctx, c.Incoming)
	if err != nil {
		return unmoved(err)
	}
	r := &paymentListResult{Wallet: agent.Wallet(), Incoming: c.Incoming, Payments: []*paymentResult{}}
	for _, p := range list {
		if c.State == "" || strings.EqualFold(paymentState(p.State), c.State) {
			r.Payments = append(r.Payments, newPaymentResult(p, cl.Installation().ID()))
		}
	}
	return a.show(r)
}

func (r *paymentListResult) people(p *printer) {
	if len(r.Payments) == 0 {
		p.line("No payments.")
		return
	}
	rows := [][]string{{"PAYMENT", "STATE", "AMOUNT", "RECIPIENT", "MEMO"}}
	for _, l := range r.Payments {
		id, to := l.ID, l.Recipient
		if r.Incoming {
			id = l.Name
		}
		if to == "" {
			to = l.RecipientKey
		}
		rows = append(rows, []string{id, l.State, l.Amount, to, l.Memo})
	}
	p.table(rows)
}

// onePayment is a payment that the command line names.
type onePayment struct {
	Payment string `arg:"" complete:"payment" help:"The payment's id, or its name."`
}

type paymentShowCommand struct{ onePayment }

// Run shows a payment.
func (c *paymentShowCommand) Run(ctx context.Context, a *app) error {
	return c.show(a, func(agent *client.Agent) (*client.Payment, error) { return agent.Payment(ctx, c.Payment) }, false)
}

type paymentWatchCommand struct{ onePayment }

// Run waits for a payment; its exit code is that of `pay`.
func (c *paymentWatchCommand) Run(ctx context.Context, a *app) error {
	return c.show(a, func(agent *client.Agent) (*client.Payment, error) {
		p, err := agent.Resume(ctx, c.Payment)
		if err != nil {
			return nil, repeatable(err, c.Payment)
		}
		p, err = a.await(ctx, agent, p)
		return p, repeatable(err, c.Payment)
	}, true)
}

type paymentCancelCommand struct{ onePayment }

// Run cancels a payment.
func (c *paymentCancelCommand) Run(ctx context.Context, a *app) error {
	return c.show(a, func(agent *client.Agent) (*client.Payment, error) { return agent.Cancel(ctx, c.Payment) }, false)
}

// show shows a payment; with paying, the exit code says what became of it.
func (c *onePayment) show(a *app, get func(*client.Agent) (*client.Payment, error), paying bool) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	p, err := get(agent)
	if err != nil {
		return err
	}
	if paying {
		a.code = paymentCode(p.State)
	}
	return a.show(newPaymentResult(p, cl.Installation().ID()))
}
