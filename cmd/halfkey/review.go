package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// reviewCommands are `halfkey review`.
type reviewCommands struct {
	List    reviewListCommand    `cmd:"" help:"List the payments that wait for you, oldest first."`
	Show    reviewShowCommand    `cmd:"" help:"Show one payment as you would approve it."`
	Approve reviewApproveCommand `cmd:"" help:"Approve exactly this payment; its agent then pays it."`
	Refuse  reviewRefuseCommand  `cmd:"" help:"Refuse a payment."`
}

// reviewEntry is one payment that waits for its owner, in the agent's own signed words.
type reviewEntry struct {
	// Payment is `wallets/{wallet}/payments/{id}`.
	Payment string `json:"payment"`
	Wallet  string `json:"wallet"`
	Handle  string `json:"handle"`
	// State is PENDING_REVIEW while it waits, and after an answer READY or DENIED.
	State  string `json:"state"`
	Asset  string `json:"asset"`
	Units  string `json:"units"`
	Amount string `json:"amount"`
	// RecipientKey is who is paid; Recipient is what this home knows that key as, or empty.
	RecipientKey string `json:"recipient_key"`
	Recipient    string `json:"recipient"`
	// RecipientAddress is the same key as an address on Solana, in base58; empty on the book.
	RecipientAddress string `json:"recipient_address"`
	// Purpose is what it is for, in the agent's words; may be empty.
	Purpose  string    `json:"purpose"`
	Deadline time.Time `json:"deadline"`
	// X402 is the HTTP request whose answer it pays for; absent if it pays for none.
	X402 *requestShown `json:"x402,omitempty"`
	// FormerKey says that it was asked for under a request key that the wallet has no longer.
	FormerKey bool         `json:"former_key"`
	Results   []ruleResult `json:"results"`

	rules *typev1.GuardRails
}

func (a *app) reviewEntry(r *client.Review) reviewEntry {
	address := ""
	if guardrails.RailOf(r.Asset) == typev1.Rail_RAIL_SOLANA {
		address = addressText(r.Recipient[:])
	}
	return reviewEntry{
		RecipientAddress: address,
		Payment:          r.Payment, Wallet: r.Wallet, Handle: handleText(r.Handle), State: paymentState(r.State), Asset: r.Asset, Units: resource.FormatUnits(r.Units),
		Amount: formatAmount(r.Units, r.Asset, a.installation()), RecipientKey: keyText(r.Recipient[:]), Recipient: r.RecipientName,
		Purpose: r.Purpose, Deadline: r.Deadline.UTC(), FormerKey: r.FormerKey, Results: ruleResults(r.Results),
		X402: newRequestShown(r.X402),
	}
}

// payee is the recipient's key as its rail's people write it.
func (r reviewEntry) payee() string {
	if r.RecipientAddress != "" {
		return "address " + r.RecipientAddress + " on " + networkText(r.Asset)
	}
	return "key " + r.RecipientKey
}

func (r reviewEntry) people(p *printer) {
	wants, why := "wants", "Why it waits:"
	if r.State != "PENDING_REVIEW" {
		wants, why = "wanted", "Why it was to wait:"
	}
	p.line("%s %s to pay %s", r.Handle, wants, r.Amount)
	to := r.payee()
	if r.Recipient != "" {
		to += ", known as " + r.Recipient
	}
	p.line("To       %s", to)
	if r.Purpose != "" {
		p.line("For      %s", r.Purpose)
	}
	if r.X402 != nil {
		p.line("Buys     the answer to %s", r.X402.Request)
		p.line("         URL digest %s, body digest %s", r.X402.URLDigest, r.X402.BodyDigest)
	}
	p.line("Until    %s", timeText(r.Deadline))
	p.line("State    %s", r.State)
	if r.FormerKey {
		p.line("Careful: it was asked for under a request key that the wallet has no longer. After a leak the thief may have asked.")
	}
	if slices.ContainsFunc(r.Results, func(x ruleResult) bool { return x.Light != lightGreen }) {
		p.line("%s", why)
		printCrossed(p, r.Results, r.rules)
	}
	p.line("Payment  %s", r.Payment)
}

type reviewListCommand struct{}

type reviewListResult struct {
	Reviews []reviewEntry `json:"reviews"`
}

// Run lists them.
func (*reviewListCommand) Run(ctx context.Context, a *app) error {
	o, err := a.owner()
	if err != nil {
		return err
	}
	reviews, err := o.Reviews(ctx)
	if err != nil {
		return unmoved(err)
	}
	out := &reviewListResult{Reviews: []reviewEntry{}}
	for _, r := range reviews {
		out.Reviews = append(out.Reviews, a.reviewEntry(r))
	}
	a.remember(func(s *shown) {
		s.Reviews = nil
		for _, r := range reviews {
			s.Reviews = append(s.Reviews, r.Payment)
		}
	})
	return a.show(out)
}

func (r *reviewListResult) people(p *printer) {
	if len(r.Reviews) == 0 {
		p.line("Nothing waits for you.")
		return
	}
	rows := [][]string{{"AGENT", "AMOUNT", "RECIPIENT", "FOR", "UNTIL", "PAYMENT"}}
	for _, e := range r.Reviews {
		to := e.Recipient
		if to == "" {
			to = cmp.Or(e.RecipientAddress, e.RecipientKey)
		}
		rows = append(rows, []string{e.Handle, e.Amount, to, e.Purpose, timeText(e.Deadline), e.Payment})
	}
	p.table(rows)
}

type reviewShowCommand struct {
	Payment string `arg:"" complete:"review" help:"wallets/{wallet}/payments/{payment}."`
}

// Run shows one.
func (c *reviewShowCommand) Run(ctx context.Context, a *app) error {
	o, err := a.owner()
	if err != nil {
		return err
	}
	r, err := o.Review(ctx, c.Payment)
	if err != nil {
		return unmoved(err)
	}
	e := a.reviewEntry(r)
	e.rules = a.rulesAtHand(ctx, e.Results, func(ctx context.Context) (*client.InForce, error) { return o.GuardRails(ctx, r.Wallet) })
	return a.show(e)
}

type reviewApproveCommand struct {
	Payment string `arg:"" complete:"review" help:"wallets/{wallet}/payments/{payment}."`
	Yes     bool   `help:"Approve without asking."`
}

// Run approves.
func (c *reviewApproveCommand) Run(ctx context.Context, a *app) error {
	return a.answer(ctx, c.Payment, true, c.Yes)
}

type reviewRefuseCommand struct {
	Payment string `arg:"" complete:"review" help:"wallets/{wallet}/payments/{payment}."`
}

// Run refuses, which needs no question: it only stops.
func (c *reviewRefuseCommand) Run(ctx context.Context, a *app) error {
	return a.answer(ctx, c.Payment, false, true)
}

// answer signs an owner's answer to exactly the payment that was shown.
func (a *app) answer(ctx context.Context, payment string, approve, yes bool) error {
	o, err := a.owner()
	if err != nil {
		return err
	}
	r, err := o.Review(ctx, payment)
	if err != nil {
		return unmoved(err)
	}
	e := a.reviewEntry(r)
	buys := ""
	if e.X402 != nil {
		buys = " and the answer to " + e.X402.Request
	}
	if err := a.confirm(yes, "Approve that %s pays %s to %s for %q%s?", e.Handle, e.Amount, e.payee(), e.Purpose, buys); err != nil {
		return err
	}
	p, err := o.Answer(ctx, r, approve)
	if err != nil {
		return unmoved(err)
	}
	e.State = paymentState(p.State)
	return a.show(answerResult{e})
}

// answerResult is a payment after its owner's answer.
type answerResult struct{ reviewEntry }

func (r answerResult) people(p *printer) {
	switch r.State {
	case "DENIED":
		p.line("Refused: %s does not pay %s.", r.Handle, r.Amount)
	case "READY":
		p.line("Approved: %s may pay %s to %s until %s.", r.Handle, r.Amount, r.payee(), timeText(r.Deadline))
	default:
		p.line("%s: %s of %s", r.State, r.Amount, r.Handle)
	}
	p.line("Payment  %s", r.Payment)
}
