package main

import (
	"cmp"
	"context"
	"iter"
	"strings"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// paymentCommands are `halfkey payments`.
type paymentCommands struct {
	List   paymentListCommand   `cmd:"" help:"List the wallet's payments, newest first."`
	Show   paymentShowCommand   `cmd:"" help:"Show a payment, without continuing it."`
	Watch  paymentWatchCommand  `cmd:"" help:"Wait until a payment of this home has ended, continuing it by itself; without one, print every change of the wallet's payments."`
	Cancel paymentCancelCommand `cmd:"" help:"Cancel a payment that waits for a person or for a fresh message."`
}

// paymentResult is one payment.
type paymentResult struct {
	// Name is wallets/{wallet}/payments/{id}.
	Name string `json:"name"`
	// ID is the id that its agent gave it.
	ID string `json:"id"`
	// Handle is the paying wallet's, with its @, where this home is its agent or has verified whose it is; else empty, and its
	// wallet stands in the name.
	Handle string `json:"handle"`
	// State is PENDING_REVIEW, READY, AUTHORIZED, SETTLED, DENIED, CANCELED, EXPIRED or FAILED.
	State string `json:"state"`
	// Light is how it was judged, GREEN, YELLOW or RED, and Results are every rule's. Both are empty for what came in: how a payment
	// was judged is the payer's business.
	Light   string       `json:"light"`
	Results []ruleResult `json:"results"`
	Asset   string       `json:"asset"`
	// Units is the amount in the asset's smallest unit, Amount the same for people.
	Units  string `json:"units"`
	Amount string `json:"amount"`
	// Network is the chain that it is paid on, by CAIP-2; empty on the book.
	Network string `json:"network"`
	// Recipient is the recipient as the order named it, or if another home made it the handle that this home knows its key by, or
	// empty; RecipientKey is its key.
	Recipient    string `json:"recipient"`
	RecipientKey string `json:"recipient_key"`
	// RecipientAddress is the same key as an address on Solana, in base58; empty on the book.
	RecipientAddress string `json:"recipient_address"`
	// Transaction is the signature that names the transaction on the chain, in base58, and Slot the finalised block that holds it: of
	// what settled, or landed with an error. Empty and 0 before, and on the book.
	Transaction string    `json:"transaction"`
	Slot        uint64    `json:"slot"`
	Memo        string    `json:"memo"`
	Deadline    time.Time `json:"deadline"`
	// CreateTime is when it was recorded, by the ledger's time, and null for what came in; UpdateTime is when it changed last, which for
	// what came in is when it did. Both are null for a dry run.
	CreateTime *time.Time `json:"create_time"`
	UpdateTime *time.Time `json:"update_time"`
	// X402 is the HTTP request whose answer it pays for; absent if it pays for none.
	X402 *requestShown `json:"x402,omitempty"`
	// FirstToRecipient says that nothing was paid to this recipient from this home before; `pay` alone says it.
	FirstToRecipient bool `json:"first_to_recipient"`
	// MoneyMoved is YES once SETTLED, UNKNOWN while AUTHORIZED, else NO.
	MoneyMoved string `json:"money_moved"`
	// Next says what that means and what to do, for people.
	Next string `json:"next"`
	// DryRun says that nothing was recorded: state is what the payment would come to first.
	DryRun bool `json:"dry_run"`
	// Explanation is how it was judged, where that was asked for; else null.
	Explanation *explanation `json:"explanation"`

	money typev1.MoneyMoved
	// dated says that people are told the times.
	dated bool
	// rules are the guard rails by which people are told the results, if they are at hand.
	rules *typev1.GuardRails
}

func newPaymentResult(p *client.Payment, c *client.Client) *paymentResult {
	wallet, _, _ := strings.Cut(p.Name, "/payments/")
	r := &paymentResult{
		Name: p.Name, ID: p.ID, Handle: c.HandleOf(wallet), State: paymentState(p.State), Light: enumText(p.Light, "LIGHT_"), Results: ruleResults(p.Results),
		Asset: p.Asset, Units: resource.FormatUnits(p.Units), Amount: formatAmount(p.Units, p.Asset, c.Installation().ID()),
		Recipient: cmp.Or(p.RecipientName, c.NameOf(p.Recipient)), RecipientKey: keyText(p.Recipient[:]), Memo: p.Purpose, Deadline: p.Deadline.UTC(),
		X402: newRequestShown(p.X402), Next: paymentNext(p.State, p.ID), money: notMoved,
		CreateTime: toldTime(p.Proto.GetCreateTime()), UpdateTime: toldTime(p.Proto.GetUpdateTime()),
	}
	if t, known := resource.TokenOf(p.Asset); known {
		r.Network, r.RecipientAddress = t.Network, addressText(p.Recipient[:])
		r.Transaction, r.Slot = transactionText(p.Settlement.GetTransaction()), p.Settlement.GetSlot()
		if p.Failure != nil {
			r.Transaction, r.Slot = transactionText(p.Failure.GetTransaction()), p.Failure.GetSlot()
		}
		r.Next = chainNext(p.State, p.ID, r.Next)
	}
	switch p.State {
	case typev1.PaymentState_PAYMENT_STATE_SETTLED:
		r.money = moved
	case typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
		r.money = unknown
	}
	r.MoneyMoved = enumText(r.money, "MONEY_MOVED_")
	if p.Light == typev1.Light_LIGHT_UNSPECIFIED {
		r.Light = ""
	}
	if p.X402 != nil && (p.State == typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW || p.State == typev1.PaymentState_PAYMENT_STATE_READY) {
		r.Next += " One that `halfkey x402 fetch` made is continued by `halfkey x402 fetch confirm " + p.ID + "` alone."
	}
	if refusedByPerson(p) {
		r.Next = "A person refused it: nothing was paid, and repeating it changes nothing."
	}
	return r
}

// toldTime is a time of an answer, or nil if it has none.
func toldTime(t *timestamppb.Timestamp) *time.Time {
	if !t.IsValid() {
		return nil
	}
	at := t.AsTime()
	return &at
}

// listedTime is the time by which lists are sorted, for people.
func (r *paymentResult) listedTime() string {
	if at := cmp.Or(r.CreateTime, r.UpdateTime); at != nil {
		return timeText(*at)
	}
	return ""
}

// payer is whose payment it is, for people: its handle, or where this home does not know that, its wallet.
func (r *paymentResult) payer() string {
	wallet, _, _ := strings.Cut(r.Name, "/payments/")
	return cmp.Or(r.Handle, wallet)
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

// chainNext is what a state means on a chain; next is what it means elsewhere.
func chainNext(state typev1.PaymentState, id, next string) string {
	switch state {
	case typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
		return "It may land on the chain, which has not proven yet what becomes of it: `halfkey payments watch " + id +
			"` waits for that. Do not pay this by another id."
	case typev1.PaymentState_PAYMENT_STATE_FAILED:
		return "It landed on the chain with an error: nothing was paid but the chain's fee, and repeating it changes nothing."
	default:
		return next
	}
}

// shownKey is the recipient's key as its rail's people write it.
func (r *paymentResult) shownKey() string { return cmp.Or(r.RecipientAddress, r.RecipientKey) }

func (r *paymentResult) people(p *printer) {
	to := r.Recipient
	switch {
	case to != "" && to != r.RecipientKey && to != r.RecipientAddress:
	case r.RecipientAddress != "":
		to = "address " + r.RecipientAddress
	default:
		to = "key " + r.RecipientKey
	}
	if r.DryRun {
		p.line("Dry run: %s to %s", r.Amount, to)
	} else {
		p.line("%s: %s to %s", r.State, r.Amount, to)
	}
	p.line("%s", r.Next)
	switch {
	case r.Explanation != nil:
		r.Explanation.people(p)
	case r.State != "SETTLED":
		printCrossed(p, r.Results, r.rules)
	}
	if r.Memo != "" {
		p.line("Memo      %s", r.Memo)
	}
	if r.X402 != nil {
		p.line("Buys      the answer to %s", r.X402.Request)
	}
	if r.FirstToRecipient {
		is := "key"
		if r.RecipientAddress != "" {
			is = "address on " + networkText(r.Asset)
		}
		if r.money == moved {
			p.line("First payment to this recipient from this home. Its %s is", is)
		} else {
			p.line("Nothing was paid to this recipient from this home before. Its %s is", is)
		}
		p.line("          %s", r.shownKey())
	}
	if r.Transaction != "" {
		p.line("Landed    in slot %d of %s, transaction", r.Slot, networkText(r.Asset))
		p.line("          %s", r.Transaction)
	}
	if r.dated {
		r.times(p)
	}
	if !r.DryRun {
		p.line("Payment   %s", r.Name)
	}
}

// times prints when it was recorded and changed last, and while it can be authorized until when.
func (r *paymentResult) times(p *printer) {
	recorded, changed := "", ""
	if r.CreateTime != nil {
		recorded = timeText(*r.CreateTime)
		p.line("Recorded  %s", recorded)
	}
	if r.UpdateTime != nil {
		changed = timeText(*r.UpdateTime)
	}
	if changed != "" && changed != recorded {
		p.line("Changed   %s", changed)
	}
	if r.State == "PENDING_REVIEW" || r.State == "READY" {
		p.line("Until     %s", timeText(r.Deadline))
	}
}

type paymentListCommand struct {
	As        string `enum:"agent,owner" default:"agent" help:"Whose payments: the agent's wallet, or all wallets of this home's owner, or with --wallet one of them: ${enum}."`
	Incoming  bool   `help:"List what came in instead."`
	State     string `placeholder:"STATE" enum:",pending_review,ready,authorized,settled,denied,canceled,expired,failed" default:"" help:"Only payments in this state: ${enum}."`
	Recipient string `placeholder:"RECIPIENT" complete:"recipient" help:"Only payments to this recipient: wallets/{wallet}, @handle, a key of 64 hexadecimal digits, or an address on Solana."`
	From      string `placeholder:"TIME" help:"Only payments recorded, or come in, at this time or later: RFC 3339, or a date in UTC."`
	To        string `placeholder:"TIME" help:"Only payments before this time."`
	Limit     int    `default:"100" placeholder:"N" help:"At most so many, 1 to 10000."`
}

// listedMax bounds a listing that is printed at once.
const listedMax = 10_000

type paymentListResult struct {
	// Wallet is whose payments these are; empty with --as owner and no --wallet.
	Wallet string `json:"wallet"`
	// Incoming says that they came in.
	Incoming bool             `json:"incoming"`
	Payments []*paymentResult `json:"payments"`
	// More says that there are more than --limit let through.
	More bool `json:"more"`
}

// Run lists payments.
func (c *paymentListCommand) Run(ctx context.Context, a *app) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	each, err := c.each(ctx, a, &filter)
	if err != nil {
		return err
	}
	r := &paymentListResult{Wallet: filter.Wallet, Incoming: c.Incoming, Payments: []*paymentResult{}}
	for p, err := range each {
		if err != nil {
			return unmoved(err)
		}
		if r.More = len(r.Payments) == c.Limit; r.More {
			break
		}
		r.Payments = append(r.Payments, newPaymentResult(p, a.connected()))
	}
	a.remember(func(s *shown) {
		var names []string
		for _, p := range r.Payments {
			names = append(names, p.Name)
		}
		s.paymentsFirst(names)
	})
	return a.show(r)
}

// each begins the listing, as the agent or as the owner, and names the wallet in the filter.
func (c *paymentListCommand) each(ctx context.Context, a *app, filter *client.Filter) (iter.Seq2[*client.Payment, error], error) {
	if c.As == "agent" {
		agent, err := a.agent()
		if err != nil {
			return nil, err
		}
		if filter.Recipient, err = c.recipient(ctx, agent.Resolve); err != nil {
			return nil, err
		}
		filter.Wallet = agent.Wallet()
		return agent.EachPayment(ctx, *filter), nil
	}
	owner, wallet, err := a.ownerWallet(ctx, a.globals.Wallet)
	if err != nil {
		return nil, err
	}
	if filter.Recipient, err = c.recipient(ctx, owner.Resolve); err != nil {
		return nil, err
	}
	filter.Wallet = wallet
	return owner.EachPayment(ctx, *filter), nil
}

// recipient is the key of the only recipient, or zero; nobody is asked for one that this home knows.
func (c *paymentListCommand) recipient(ctx context.Context, resolve func(context.Context, string) ([32]byte, error)) ([32]byte, error) {
	if c.Recipient == "" {
		return [32]byte{}, nil
	}
	key, err := resolve(ctx, c.Recipient)
	return key, unmoved(unknownWallet(err, c.Recipient))
}

// filter reads the flags.
func (c *paymentListCommand) filter() (client.Filter, error) {
	f := client.Filter{Incoming: c.Incoming, State: typev1.PaymentState(typev1.PaymentState_value["PAYMENT_STATE_"+strings.ToUpper(c.State)])}
	if c.Limit < 1 || c.Limit > listedMax {
		return f, usage("--limit", "a limit is 1 to 10000")
	}
	var err error
	if f.From, err = parseTime("--from", c.From); err != nil {
		return f, err
	}
	f.To, err = parseTime("--to", c.To)
	return f, err
}

// parseTime reads a time or a date; empty is zero.
func parseTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage(field, "a time is RFC 3339, like 2026-01-31T15:04:05Z, or a date, like 2026-01-31", "value", shorten(text))
}

func (r *paymentListResult) people(p *printer) {
	if len(r.Payments) == 0 {
		p.line("No payments.")
		return
	}
	p.table(r.rows())
	if r.More {
		p.line("There are more: see --limit, --from and --to.")
	}
}

// rows are the payments for people. A row says whose payment it is where that is not the same for all, and names it in full at its end.
// What came in has settled, and is paid to whose list it is.
func (r *paymentListResult) rows() [][]string {
	one := r.Wallet != ""
	head := []string{"AGENT", "STATE", "AMOUNT", "RECIPIENT", "TIME", "MEMO", "PAYMENT"}
	switch {
	case r.Incoming && one:
		head = []string{"FROM", "AMOUNT", "TIME", "MEMO", "PAYMENT"}
	case r.Incoming:
		head = []string{"FROM", "AMOUNT", "RECIPIENT", "TIME", "MEMO", "PAYMENT"}
	case one:
		head = []string{"PAYMENT", "STATE", "AMOUNT", "RECIPIENT", "TIME", "MEMO"}
	}
	rows := [][]string{head}
	for _, l := range r.Payments {
		cells := map[string]string{
			"AGENT": l.payer(), "FROM": l.payer(), "STATE": l.State, "AMOUNT": l.Amount, "RECIPIENT": cmp.Or(l.Recipient, l.shownKey()),
			"TIME": l.listedTime(), "MEMO": l.Memo, "PAYMENT": l.Name,
		}
		if one && !r.Incoming {
			cells["PAYMENT"] = l.ID
		}
		row := make([]string, len(head))
		for i, column := range head {
			row[i] = cells[column]
		}
		rows = append(rows, row)
	}
	return rows
}

// onePayment is a payment that the command line names.
type onePayment struct {
	Payment string `arg:"" complete:"payment" help:"The payment's id, or its name."`
}

type paymentShowCommand struct {
	Payment string `arg:"" complete:"anyPayment" help:"The payment's id, or its name; with --as owner its name, or with --wallet its id."`
	As      string `enum:"agent,owner" default:"agent" help:"Who asks: the wallet's agent, or this home's owner: ${enum}."`
	Explain bool   `help:"Explain how it was judged: every rule, and what would pass."`
}

// Run shows a payment.
func (c *paymentShowCommand) Run(ctx context.Context, a *app) error {
	p, guardRails, err := c.read(ctx, a)
	if err != nil {
		return unmoved(err)
	}
	r := newPaymentResult(p, a.connected())
	r.dated = true
	if c.Explain {
		if err := r.explained(ctx, guardRails, p); err != nil {
			return err
		}
	} else {
		r.rules = a.rulesAtHand(ctx, r.Results, guardRails)
	}
	return a.show(r)
}

// read reads the payment as its agent or as the owner, and says how its wallet's guard rails are read.
func (c *paymentShowCommand) read(ctx context.Context, a *app) (*client.Payment, func(context.Context) (*client.InForce, error), error) {
	if c.As == "agent" {
		agent, err := a.agent()
		if err != nil {
			return nil, nil, err
		}
		p, err := agent.Payment(ctx, c.Payment)
		return p, agent.GuardRails, err
	}
	owner, wallet, err := a.ownerWallet(ctx, a.globals.Wallet)
	if err != nil {
		return nil, nil, err
	}
	name := c.Payment
	if wallet != "" && !strings.Contains(name, "/") {
		name = wallet + "/payments/" + name
	}
	of, _, err := resource.ParsePayment(name)
	if err != nil {
		return nil, nil, usage("PAYMENT", "an owner names a payment by wallets/{wallet}/payments/{payment}, or by its id with --wallet", "value", shorten(c.Payment))
	}
	p, err := owner.Payment(ctx, name)
	return p, func(ctx context.Context) (*client.InForce, error) { return owner.GuardRails(ctx, of) }, err
}

type paymentCancelCommand struct{ onePayment }

// Run cancels a payment.
func (c *paymentCancelCommand) Run(ctx context.Context, a *app) error {
	return c.show(ctx, a, func(agent *client.Agent) (*client.Payment, error) { return agent.Cancel(ctx, c.Payment) }, false)
}

// show shows a payment; with paying, the exit code says what became of it.
func (c *onePayment) show(ctx context.Context, a *app, get func(*client.Agent) (*client.Payment, error), paying bool) error {
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
	r := newPaymentResult(p, cl)
	r.rules = a.rulesAtHand(ctx, r.Results, agent.GuardRails)
	return a.show(r)
}
