package main

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// x402Commands are `halfkey x402`.
type x402Commands struct {
	Fetch x402FetchCommands `cmd:"" help:"Fetch a resource that may cost money, and confirm its price."`
	Show  x402ShowCommand   `cmd:"" help:"Show what became of a fetch: not paid, waiting, paid, or unknown and until when."`
	List  x402ListCommand   `cmd:"" help:"List the wallet's fetches of this home, newest first."`
}

// x402FetchCommands are `halfkey x402 fetch`: a URL by itself fetches it.
type x402FetchCommands struct {
	URL     x402FetchCommand   `cmd:"" name:"url" default:"withargs" help:"Fetch a URL. If its server asks for money, show the price, whom to pay and how the payment would be judged, and store them under an id; nothing is paid."`
	Confirm x402ConfirmCommand `cmd:"" help:"Pay the price that was fetched, and get the resource. However often it is repeated, there is one payment."`
}

// fetchResult is one fetch.
type fetchResult struct {
	// ID is the fetch's id, which is its payment's too; empty where the server asked for no payment.
	ID string `json:"id"`
	// Payment is the payment's name, wallets/{wallet}/payments/{id}; empty where the server asked for no payment.
	Payment string `json:"payment"`
	// State is QUOTED, CONFIRMED, SENT, PAID, DELIVERED or ENDED: how far this home has come with it. FREE is a resource that cost nothing.
	// DAMAGED, in a list, is one whose record cannot be read: nothing but id, payment and problem is known of it.
	State string `json:"state"`
	// PaymentState is the payment's state by the ledger; empty while there is none, or where the ledger did not have to be asked.
	PaymentState string `json:"payment_state"`
	// MoneyMoved is NO, UNKNOWN or YES, by the ledger and never by the server.
	MoneyMoved string `json:"money_moved"`
	// Until is when UNKNOWN ends by itself, an estimate where it is paid on a chain; null otherwise.
	Until *time.Time `json:"until"`
	// LastValidHeight is the last height of the chain at which an UNKNOWN payment can land; empty otherwise.
	LastValidHeight string `json:"last_valid_height"`
	// Method and URL are the request's.
	Method string `json:"method"`
	URL    string `json:"url"`
	Asset  string `json:"asset"`
	// Units is the price in the asset's smallest unit, Amount the same for people.
	Units  string `json:"units"`
	Amount string `json:"amount"`
	// PayTo is whom to pay in the server's words; RecipientKey is the verified key that they mean, and Recipient the handle that this
	// home knows it by, or empty.
	PayTo        string `json:"pay_to"`
	Recipient    string `json:"recipient"`
	RecipientKey string `json:"recipient_key"`
	// FirstToRecipient says that nothing was paid to this recipient from this home before.
	FirstToRecipient bool `json:"first_to_recipient"`
	// Scheme is halfkey-book, or exact for a payment on a chain, whose fee FeePayer pays by the server's word; that is empty on the book.
	Scheme   string `json:"scheme"`
	FeePayer string `json:"fee_payer"`
	// ServerSays are the server's own words, quoted and escaped; nobody has checked them.
	ServerSays fetchServerWords `json:"server_says"`
	// Judged is the state that the payment would have come to first when the price was fetched: AUTHORIZED, PENDING_REVIEW or DENIED.
	Judged string `json:"judged"`
	// Explanation is how it was judged then, where the price was just fetched; else null.
	Explanation *explanation `json:"explanation"`
	// RefusedOffers are the server's other offers, and why each was not chosen; only where the price was just fetched.
	RefusedOffers []string `json:"refused_offers"`
	// Expires is until when the price can be confirmed; null where there is none.
	Expires *time.Time `json:"expires"`
	// Ended says why nothing was paid, once ENDED.
	Ended string `json:"ended"`
	// Attempts counts the times that the paid request was, or may have been, sent.
	Attempts int `json:"attempts"`
	// HTTPStatus is that of the server's last answer to the paid request, or where nothing was asked for, to the request; 0 if none came.
	HTTPStatus int `json:"http_status"`
	// Problem says why the resource did not come, once paid, or why a DAMAGED record cannot be read.
	Problem string `json:"problem"`
	// Output is the file that the resource was written to, and Bytes its size; empty and 0 if it was not.
	Output string `json:"output"`
	Bytes  int64  `json:"bytes"`
	// Delivered is when the resource had been handed over whole; null if it was not, or if that is not known.
	Delivered *time.Time `json:"delivered"`
	// Next says what that means and what to do, for people.
	Next string `json:"next"`

	money typev1.MoneyMoved
}

// fetchServerWords are what a server says, quoted and escaped.
type fetchServerWords struct {
	// Resource and Description are what it says that it sells.
	Resource    string `json:"resource"`
	Description string `json:"description"`
	// Memo is what it wants written on the chain with the payment, public for ever; empty if it asks for none.
	Memo string `json:"memo"`
	// Elsewhere says that it names a resource of another origin than the one that was asked.
	Elsewhere bool `json:"elsewhere"`
	// Receipt is what its receipt claims; empty if it sent none.
	Receipt string `json:"receipt"`
}

func newFetchResult(f *client.Fetch, c *client.Client) *fetchResult {
	r := &fetchResult{
		ID: f.ID, Payment: f.Name, State: string(f.State), MoneyMoved: enumText(f.MoneyMoved, "MONEY_MOVED_"), Method: f.Method, URL: f.URL,
		Asset: f.Asset, Units: resource.FormatUnits(f.Units), Amount: formatAmount(f.Units, f.Asset, c.Installation().ID()),
		PayTo: f.PayTo, Recipient: f.RecipientName, RecipientKey: keyText(f.Recipient[:]), Scheme: f.Scheme, FeePayer: f.FeePayer,
		ServerSays: fetchServerWords{
			Resource: f.Resource, Description: f.Description, Memo: f.Memo, Elsewhere: f.Elsewhere, Receipt: f.Answer.Claim,
		},
		Judged: paymentState(f.Judged), RefusedOffers: append([]string{}, f.Refused...), Ended: f.Ended, Attempts: f.Attempts,
		HTTPStatus: f.Answer.Status, Problem: f.Answer.Problem, Next: fetchNext(f), money: f.MoneyMoved,
	}
	if f.State == client.FetchDamaged {
		r.Units, r.Amount, r.RecipientKey, r.Judged, r.Problem = "", "", "", "", f.Damaged
		return r
	}
	if f.Payment != nil {
		r.PaymentState = paymentState(f.Payment.State)
	}
	if !f.Until.IsZero() {
		until := f.Until.UTC()
		r.Until = &until
	}
	if f.LastValidHeight > 0 {
		r.LastValidHeight = strconv.FormatUint(f.LastValidHeight, 10)
	}
	if !f.Delivered.IsZero() {
		delivered := f.Delivered.UTC()
		r.Delivered = &delivered
	}
	expires := f.Expires.UTC()
	r.Expires = &expires
	return r
}

// fetchResult is a fetch's result that says whether its recipient is new to this home.
func (a *app) fetchResult(f *client.Fetch, c *client.Client) *fetchResult {
	r := newFetchResult(f, c)
	r.FirstToRecipient = a.firstTo(r.RecipientKey, r.money == moved)
	return r
}

func (r *fetchResult) moneyMoved() typev1.MoneyMoved { return r.money }

// fetchNext says what a fetch's state means, and what to do.
func fetchNext(f *client.Fetch) string {
	confirm := "`halfkey x402 fetch confirm " + f.ID + "`"
	switch f.State {
	case client.FetchQuoted:
		return "Nothing was paid. " + confirm + " pays it."
	case client.FetchSent:
		return "The server has the payment, or may have it, and the ledger has not proved yet whether it landed: take the money for spent. " +
			confirm + " sends the same payment again, and pays nothing twice; `halfkey payments watch " + f.ID + "` waits for the ledger."
	case client.FetchPaid:
		return "Paid, and the resource has not come. " + confirm + " asks for it again with the same payment, and pays nothing more."
	case client.FetchDelivered:
		switch f.MoneyMoved {
		case unknown:
			return "The resource was delivered. The ledger has not proved yet whether the payment landed: take the money for spent. " +
				"`halfkey payments watch " + f.ID + "` waits until it has."
		case notMoved:
			return "The resource was delivered, and the payment moved nothing: nothing was paid, and nothing will be."
		default:
			return "Paid, and the resource was delivered."
		}
	case client.FetchEnded:
		return "Nothing was paid, and nothing will be. Fetch it again for a new price."
	case client.FetchDamaged:
		return "Its record cannot be read: put it right, by the problem or from a copy of the home. `halfkey payments show " + f.ID + "` says whether it was paid."
	}
	switch {
	case f.Payment == nil:
		return "Nothing was paid. " + confirm + " goes on."
	case f.Payment.State == typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW:
		return "It waits for its owner's answer, and nothing was paid. Once it is approved " + confirm + " pays it, if the server still asks for exactly this."
	case f.Payment.State == typev1.PaymentState_PAYMENT_STATE_READY:
		return "Nothing was paid. It may be: " + confirm + " pays it, if the server still asks for exactly this."
	case f.Payment.State == typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
		return "It may have been paid. " + confirm + " ends it, and pays nothing twice."
	case f.Payment.State == typev1.PaymentState_PAYMENT_STATE_SETTLED:
		return "Paid. " + confirm + " gets the resource, and pays nothing more."
	default:
		return "Nothing was paid. " + confirm + " notes that it ended."
	}
}

func (r *fetchResult) people(p *printer) {
	if r.State == stateFree {
		p.line("No payment was asked for: HTTP status %d, %d bytes in %s", r.HTTPStatus, r.Bytes, r.Output)
		return
	}
	p.line("%s: %s to %s for %s %s", r.State, r.Amount, r.payee(), r.Method, r.URL)
	p.line("%s", r.Next)
	if r.Explanation != nil {
		p.line("Would be  %s", r.Judged)
		r.Explanation.people(p)
	}
	p.line("Pays      key %s", r.RecipientKey)
	if r.FeePayer != "" {
		p.line("Pays      address %s on %s", r.PayTo, networkText(r.Asset))
		p.line("Its fee   is paid by %s", r.FeePayer)
	}
	if r.FirstToRecipient {
		p.line("New       nothing was paid to this recipient from this home before")
	}
	if r.Problem != "" {
		p.line("Problem   %s", r.Problem)
	}
	if r.Ended != "" {
		p.line("Ended     %s", r.Ended)
	}
	for _, o := range r.RefusedOffers {
		p.line("Not taken %s", o)
	}
	if r.ServerSays.Memo != "" {
		p.line("Writes    on the chain, public for ever, what the server wants there: %s", r.ServerSays.Memo)
	}
	for _, s := range [][2]string{{"resource", r.ServerSays.Resource}, {"description", r.ServerSays.Description}, {"receipt", r.ServerSays.Receipt}} {
		if s[1] != "" && s[1] != `""` {
			p.line("The server says, and nobody has checked: %s %s", s[0], s[1])
		}
	}
	if r.ServerSays.Elsewhere {
		p.line("Mind      the server names a resource of another site than the one that was asked")
	}
	switch {
	case r.Until != nil && r.LastValidHeight != "":
		p.line("Unknown until about %s; it can land up to height %s of the chain", timeText(*r.Until), r.LastValidHeight)
	case r.Until != nil:
		p.line("Unknown until %s", timeText(*r.Until))
	}
	if r.State == string(client.FetchQuoted) {
		p.line("Good until %s", timeText(*r.Expires))
	}
	if r.Delivered != nil {
		p.line("Delivered %s", timeText(*r.Delivered))
	}
	if r.Output != "" {
		p.line("Resource  %d bytes in %s", r.Bytes, r.Output)
	}
	p.line("Fetch     %s", r.ID)
}

// payee is who is paid, for people.
func (r *fetchResult) payee() string {
	if r.Recipient != "" {
		return r.Recipient
	}
	return r.PayTo
}

// stateFree is the state of a resource that cost nothing.
const stateFree = "FREE"

// x402FetchCommand is `halfkey x402 fetch URL`.
type x402FetchCommand struct {
	URL           string   `arg:"" name:"url" help:"The resource's URL: https, or with --allow-loopback http to this machine."`
	Method        string   `default:"GET" placeholder:"METHOD" help:"The HTTP method."`
	Header        []string `sep:"none" placeholder:"HEADER" help:"A header to send, 'Name: value'; may be repeated. @FILE reads such lines from a file of mode 0600, as a header that holds a secret has to be."`
	Body          string   `placeholder:"FILE" help:"A file with the request's body, of at most 256 KiB, or - for standard input."`
	MaxPrice      string   `placeholder:"AMOUNT" help:"The most that it may cost, in whole units: 0.10 or \"0.10 USD\". Without it the guard rails decide alone."`
	Pay           bool     `help:"If the guard rails let the payment pass at once, confirm it and get the resource."`
	Output        string   `placeholder:"FILE" help:"Write the resource to a new file instead of standard output."`
	AllowLoopback bool     `help:"Allow addresses of this machine, also over plain http."`
	AllowPrivate  bool     `help:"Allow addresses of private networks."`
}

// Run fetches.
func (c *x402FetchCommand) Run(ctx context.Context, a *app) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	req, err := c.request(a)
	if err != nil {
		return err
	}
	if err := a.fetchOutput(c.Output, c.Pay); err != nil {
		return err
	}
	f, err := agent.Fetch(ctx, req)
	if err != nil {
		return err
	}
	if f.Response != nil {
		return c.free(a, f)
	}
	if c.Pay && f.Judged == typev1.PaymentState_PAYMENT_STATE_AUTHORIZED {
		return a.confirmFetch(ctx, cl, agent, f.ID, c.Output)
	}
	r := a.fetchResult(f, cl)
	if a.code, _ = dryRunMeans(f.Judged); a.code == exitRefused {
		r.Next = "It would be refused: nothing was paid."
	}
	head, err := agent.GuardRails(ctx)
	if err != nil {
		return unmoved(err)
	}
	r.Explanation = explain(f.DryRun.Results, head.Document)
	return a.show(r)
}

// free hands over a resource that cost nothing.
func (c *x402FetchCommand) free(a *app, f *client.Fetch) error {
	defer func() { _ = f.Response.Body.Close() }()
	if f.Response.StatusCode >= http.StatusBadRequest {
		a.code = exitOther
	}
	free := &fetchResult{
		State: stateFree, MoneyMoved: enumText(notMoved, "MONEY_MOVED_"), Method: f.Method, URL: f.URL, HTTPStatus: f.Response.StatusCode,
		RefusedOffers: []string{}, Next: "No payment was asked for.", money: notMoved,
	}
	if c.Output == "" && a.globals.JSON {
		// A server's words would be taken for this program's.
		free.Next += " Name a file with --output to get the resource."
		return a.show(free)
	}
	out, err := a.resourceOutput(c.Output)
	if err != nil {
		return err
	}
	defer out.discard()
	n, err := io.Copy(out, f.Response.Body)
	if err == nil {
		err = out.Commit()
	}
	if err != nil {
		return unmoved(err)
	}
	if c.Output == "" {
		a.note("no payment was asked for: HTTP status %d, %d bytes", f.Response.StatusCode, n)
		return nil
	}
	free.Output, free.Bytes = c.Output, n
	return a.show(free)
}

// request reads the command's values.
func (c *x402FetchCommand) request(a *app) (client.FetchRequest, error) {
	req := client.FetchRequest{
		Method: c.Method, URL: c.URL, Header: make(http.Header), Reach: client.Reach{Loopback: c.AllowLoopback, Private: c.AllowPrivate},
	}
	for _, h := range c.Header {
		if err := a.addHeader(req.Header, h); err != nil {
			return req, err
		}
	}
	var err error
	if c.Body != "" {
		if req.Body, err = a.input(c.Body); err != nil {
			return req, err
		}
		if len(req.Body) > client.FetchBodyMax {
			return req, usage("--body", "a request's body is at most 256 KiB", "file", c.Body)
		}
	}
	if c.MaxPrice != "" {
		req.MaxUnits, err = parseAmount("--max-price", c.MaxPrice)
	}
	return req, err
}

// addHeader reads one --header. Its text is not repeated in an error: it may hold a secret.
func (a *app) addHeader(to http.Header, text string) error {
	lines := []string{text}
	if file, ok := strings.CutPrefix(text, "@"); ok {
		b, err := a.secretText("--header", file)
		if err != nil {
			return err
		}
		defer clear(b)
		lines = strings.Split(strings.TrimRight(string(b), "\r\n"), "\n")
	}
	for _, line := range lines {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		if name != textproto.TrimString(name) || !ok || name == "" {
			return usage("--header", "a header is 'Name: value'")
		}
		to.Add(name, textproto.TrimString(value))
	}
	return nil
}

// x402ConfirmCommand is `halfkey x402 fetch confirm`.
type x402ConfirmCommand struct {
	oneFetch
	Output string `placeholder:"FILE" help:"Write the resource to a new file instead of standard output."`
}

// oneFetch is a fetch that the command line names.
type oneFetch struct {
	Fetch string `arg:"" name:"fetch-id" complete:"fetch" help:"The fetch's id."`
}

// Run confirms.
func (c *x402ConfirmCommand) Run(ctx context.Context, a *app) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	if err := a.fetchOutput(c.Output, true); err != nil {
		return err
	}
	return a.confirmFetch(ctx, cl, agent, c.Fetch, c.Output)
}

// confirmFetch pays a fetch and hands the resource over.
func (a *app) confirmFetch(ctx context.Context, cl *client.Client, agent *client.Agent, id, output string) error {
	out, err := a.resourceOutput(output)
	if err != nil {
		return err
	}
	defer out.discard()
	a.note("fetch %s; if this is cut off, `halfkey x402 fetch confirm %s` goes on, and pays nothing twice", id, id)
	f, err := agent.ConfirmFetch(ctx, id, out)
	if err != nil {
		return confirmable(err, id)
	}
	a.code = fetchCode(f)
	r := a.fetchResult(f, cl)
	if f.State == client.FetchDelivered {
		r.Output, r.Bytes = output, f.Answer.Bytes
	}
	if output == "" && (f.Answer.Bytes > 0 || f.State == client.FetchDelivered) {
		// Standard output has the resource, or what came of it, and nothing else.
		p := printer{w: a.stderr}
		r.people(&p)
		return nil
	}
	return a.show(r)
}

// fetchCode is the exit code of a command that was to get a resource.
func fetchCode(f *client.Fetch) int {
	switch f.State {
	case client.FetchDelivered:
		return exitDone
	case client.FetchEnded:
		return exitRefused
	case client.FetchPaid:
		return exitOther // Paid: no code that invites to do it again.
	case client.FetchSent:
		return exitUnknown
	}
	if f.Payment == nil {
		return exitUnavailable
	}
	return paymentCode(f.Payment.State)
}

// x402ShowCommand is `halfkey x402 show`.
type x402ShowCommand struct{ oneFetch }

// Run shows a fetch.
func (c *x402ShowCommand) Run(ctx context.Context, a *app) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	f, err := agent.ShowFetch(ctx, c.Fetch)
	if err != nil {
		return confirmable(err, c.Fetch)
	}
	if f.MoneyMoved == unknown {
		a.code = exitUnknown
	}
	return a.show(a.fetchResult(f, cl))
}

// x402ListCommand is `halfkey x402 list`.
type x402ListCommand struct{}

// fetchListResult is what `x402 list` prints.
type fetchListResult struct {
	// Fetches are as this home has them, newest first: of one that is CONFIRMED or SENT `x402 show` asks the ledger.
	Fetches []*fetchResult `json:"fetches"`
}

// Run lists fetches.
func (c *x402ListCommand) Run(a *app) error {
	cl, agent, err := a.clientAgent()
	if err != nil {
		return err
	}
	all, err := agent.ListFetches()
	if err != nil {
		return unmoved(err)
	}
	r := &fetchListResult{Fetches: []*fetchResult{}}
	for _, f := range all {
		r.Fetches = append(r.Fetches, newFetchResult(f, cl))
	}
	return a.show(r)
}

func (r *fetchListResult) people(p *printer) {
	if len(r.Fetches) == 0 {
		p.line("No fetches.")
		return
	}
	rows := [][]string{{"FETCH", "STATE", "MONEY MOVED", "AMOUNT", "RECIPIENT", "URL"}}
	for _, f := range r.Fetches {
		rows = append(rows, []string{f.ID, f.State, f.MoneyMoved, f.Amount, f.payee(), f.URL})
	}
	p.table(rows)
	for _, f := range r.Fetches {
		if f.State == string(client.FetchDamaged) {
			p.line("%s: %s (%s)", f.ID, f.Next, f.Problem)
		}
	}
}
