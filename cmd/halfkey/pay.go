package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// payCommand is `halfkey pay`.
type payCommand struct {
	Recipient string        `arg:"" complete:"recipient" help:"wallets/{wallet}, @handle, a key of 64 hexadecimal digits, or an address on Solana."`
	Amount    string        `arg:"" help:"In whole units: 5, 0.25, \"5 USD\" or \"5 USDC\"."`
	Unit      string        `arg:"" optional:"" help:"USD, USDC or USDT; USD, or what --asset names, by default."`
	Asset     string        `placeholder:"ASSET" complete:"asset" help:"USD, the default; a token on Solana, USDC or USDT, as the guard rails allow it; or the asset's CAIP-19 id."`
	Memo      string        `placeholder:"TEXT" help:"What it is for, for people: one line of at most 256 bytes."`
	ID        *string       `name:"id" complete:"payment" placeholder:"ID" help:"The payment's id, 1 to 63 of [a-z0-9-]. The same id is the same payment, for ever: a command repeated with it pays once."`
	Deadline  time.Duration `placeholder:"DURATION" help:"How long it may be authorized, a person's answer included: at most 168h, by default 24h."`
	DryRun    bool          `xor:"ending" help:"Judge by every rule and explain it; nothing is recorded, held or paid."`
	Wait      bool          `xor:"ending" help:"Wait until a person has answered, and then pay."`

	PrintRequest bool `xor:"ending" help:"Print the signed body of a dry run by HTTP, and pay, send and store nothing. It can never be paid, by whoever has it."`
}

// Run pays.
func (c *payCommand) Run(ctx context.Context, a *app) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	order, err := c.order()
	if err != nil {
		return err
	}
	if order.Asset, err = a.payAsset(ctx, agent, order.Asset); err != nil {
		return err
	}
	if c.PrintRequest {
		return c.printRequest(ctx, a, agent, order)
	}
	if c.DryRun {
		return c.judge(ctx, a, agent, order)
	}
	a.note("payment %s; if this is cut off, repeat the command with --id %s", order.ID, order.ID)
	p, err := agent.Pay(ctx, order)
	p, err = lookOnce(ctx, agent, order.ID, p, err)
	if err == nil && ctx.Err() == nil {
		if c.Wait {
			p, err = a.await(ctx, agent, p)
		} else if p.State == typev1.PaymentState_PAYMENT_STATE_AUTHORIZED {
			p, err = a.awaitProof(ctx, agent, p)
		}
	}
	if err != nil {
		return repeatable(withoutSOL(unknownWallet(err, c.Recipient)), order.ID)
	}
	r := newPaymentResult(p, cl)
	a.meet(r)
	a.code = paymentCode(p.State)
	r.rules = a.rulesAtHand(ctx, r.Results, agent.GuardRails)
	return a.show(r)
}

// unknownWallet names a wallet in the failure to find it.
func unknownWallet(err error, name string) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != typev1.Reason_REASON_NOT_FOUND || e.Op != "resolve recipient" {
		return err
	}
	told := *e
	told.Message, told.Next = "there is no wallet "+shorten(name), "check its name: it is @handle or wallets/{wallet}"
	return &told
}

// judge shows how the payment would be judged now; the exit code is that of the payment.
func (c *payCommand) judge(ctx context.Context, a *app, agent *client.Agent, order client.Order) error {
	p, err := agent.DryRun(ctx, order)
	if err != nil {
		return unmoved(unknownWallet(err, c.Recipient))
	}
	r := newPaymentResult(p, a.connected())
	r.DryRun, r.money, r.MoneyMoved = true, notMoved, enumText(notMoved, "MONEY_MOVED_")
	a.code, r.Next = dryRunMeans(p.State)
	a.meet(r)
	if err := r.explained(ctx, agent.GuardRails, p); err != nil {
		return err
	}
	return a.show(r)
}

// requestResult is the body of a dry run by HTTP: the request of the contracts, without the parent, which the path has.
type requestResult struct{ message }

// people prints the same: it is for a program either way.
func (r requestResult) people(p *printer) {
	b, err := r.MarshalJSON()
	if p.err = err; err == nil {
		p.line("%s", string(b))
	}
}

// printRequest prints what --dry-run would send.
func (c *payCommand) printRequest(ctx context.Context, a *app, agent *client.Agent, order client.Order) error {
	req, err := agent.DryRunRequest(ctx, order)
	if err != nil {
		return unmoved(unknownWallet(err, c.Recipient))
	}
	a.note("the body of POST /v1/%s/payments: a dry run, as often as you like until the payment's deadline; it can never be paid", req.GetParent())
	req.Parent = ""
	return a.show(requestResult{message{req}})
}

// dryRunMeans is the exit code of a dry run, and what its outcome means.
func dryRunMeans(state typev1.PaymentState) (code int, means string) {
	switch state {
	case typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
		return exitDone, "It would be paid at once. Nothing was."
	case typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW:
		return exitPerson, "It would wait for its owner's answer. Nothing was recorded."
	default:
		return exitRefused, "It would be refused. Nothing was recorded."
	}
}

// order reads the command's values. Its asset is still the word that names it.
func (c *payCommand) order() (client.Order, error) {
	o := client.Order{Recipient: c.Recipient, Purpose: c.Memo, Deadline: c.Deadline}
	if err := checkMemo(c.Memo); err != nil {
		return o, err
	}
	if c.Deadline < 0 || c.Deadline > evidence.DeadlineMax {
		return o, usage("--deadline", "a deadline lies ahead, by at most 168h")
	}
	var err error
	if o.Units, o.Asset, err = c.orderAmount(); err != nil {
		return o, err
	}
	o.ID, err = chosenID(c.ID)
	return o, err
}

// memoMax bounds a memo.
const memoMax = 256

func checkMemo(memo string) error {
	hides := func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) }
	if len(memo) > memoMax || !utf8.ValidString(memo) || strings.ContainsFunc(memo, hides) {
		return usage("--memo", "a memo is one line of at most 256 bytes, without control, direction or invisible characters")
	}
	return nil
}

// chosenID is an id that the command line gives, or a fresh one. An empty one is refused: a script whose variable is not set
// would pay anew at every repeat.
func chosenID(given *string) (string, error) {
	if given == nil {
		id, err := uuid.NewV7()
		return id.String(), unmoved(err)
	}
	return *given, checkID("--id", *given)
}

func checkID(field, id string) error {
	if err := resource.ValidID(id); err != nil {
		return usage(field, "an id is 1 to 63 of [a-z0-9-]", "value", shorten(id))
	}
	return nil
}

// await waits for a payment that has not ended. One that waits for a person when the time is up is returned as it is.
func (a *app) await(ctx context.Context, agent *client.Agent, p *client.Payment) (*client.Payment, error) {
	if p.State == typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW {
		a.note("waiting for the owner to answer payment %s, until %s", p.Name, timeText(p.Deadline))
	}
	ended, err := agent.Wait(ctx, p.ID)
	return lookOnce(ctx, agent, p.ID, ended, err)
}

// proofWaitMax is how long a payment on Solana is waited for without --timeout: it lands or dies within about two minutes, unless one
// of the ledger's endpoints is down.
const proofWaitMax = 3 * time.Minute

// awaitProof waits until the chain has proven what became of a payment; one that is not proven when the time is up is returned as it is.
func (a *app) awaitProof(ctx context.Context, agent *client.Agent, p *client.Payment) (*client.Payment, error) {
	if _, timed := ctx.Deadline(); !timed {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, proofWaitMax)
		defer cancel()
	}
	a.note("payment %s was sent to the chain; waiting until it is final", p.Name)
	proven, err := agent.WaitProven(ctx, p.ID)
	return lookOnce(ctx, agent, p.ID, proven, err)
}

// lookMax bounds the last look at a payment whose command was cut off: a person who pressed ctrl-C waits for it.
const lookMax = 3 * time.Second

// lookOnce looks once more at a payment when its command was cut off, so that the ending is true: what this program has sent
// and the ledger has not recorded yet can authorize the payment, but only this program could settle it, and it ends.
func lookOnce(ctx context.Context, agent *client.Agent, id string, p *client.Payment, err error) (*client.Payment, error) {
	if err == nil || ctx.Err() == nil {
		return p, err
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookMax)
	defer cancel()
	if now, failed := agent.Payment(look, id); failed == nil {
		return now, nil
	}
	return nil, err
}

// repeatable tells what to repeat after a payment that failed.
func repeatable(err error, id string) error {
	var e *client.Error
	if !errors.As(err, &e) {
		return err
	}
	told := *e
	if told.MoneyMoved != notMoved || told.Metadata["payment"] != "" {
		told.Next = fmt.Sprintf("%s; the same command with --id %s is the same payment", e.Next, id)
	}
	return &told
}

// paidPin begins the pins of keys that were paid from this home.
const paidPin = "cli/paid/"

// meet notes in a result whether its recipient is new to this home, and remembers one that was paid.
func (a *app) meet(r *paymentResult) {
	r.FirstToRecipient = a.firstTo(r.RecipientKey, r.money == moved)
}

// firstTo reports whether nothing was paid from this home to a key before, and remembers one that was paid.
func (a *app) firstTo(key string, paid bool) bool {
	h, err := a.home()
	if err == nil {
		_, err = h.Pinned(paidPin + key)
	}
	if err == nil {
		return false
	}
	if paid && (h == nil || h.Pin(paidPin+key, nil) != nil) {
		a.note("that this recipient was paid is not remembered: its key is shown again the next time")
	}
	return true
}
