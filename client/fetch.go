package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/webclient"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// FetchBodyMax bounds the body of a request that is fetched: it is kept until the resource was had.
	FetchBodyMax = 256 << 10
	// QuoteLife is how long a price that was fetched can be confirmed. A server may change it at any time, so an older one is asked
	// for again.
	QuoteLife = 10 * time.Minute
)

// FetchRequest is a request for a resource that may cost money.
type FetchRequest struct {
	// Method is the HTTP method; empty means GET.
	Method string
	// URL is the resource's.
	URL string
	// Header is sent as it is. Both may hold secrets of the user's: they are stored in the home until the fetch ends, and shown nowhere.
	Header http.Header
	// Body is sent with each request; at most FetchBodyMax.
	Body []byte
	// MaxUnits is the most that may be asked, in the asset's smallest unit; 0 leaves it to the guard rails.
	MaxUnits int64
	// Reach says which addresses besides public ones it may be sent to.
	Reach Reach
}

// Fetch is one fetch, as this home has it and, once it was confirmed, as the ledger says.
type Fetch struct {
	// ID is the fetch's id and its payment's, Name the payment's name; both empty where the server asked for no payment.
	ID, Name string
	// Method and URL are the request's, the URL in the form in which it is sent.
	Method, URL string
	// State is how far it has come.
	State FetchState
	// MoneyMoved says whether it was paid: never a server's word. Until is when UNKNOWN ends by itself, which on a chain is an estimate:
	// there LastValidHeight is the last height at which the payment can land, by the ledger's receipt.
	MoneyMoved      typev1.MoneyMoved
	Until           time.Time
	LastValidHeight uint64
	// Asset and Units are the price, in the asset's smallest unit.
	Asset string
	Units int64
	// PayTo is whom to pay in the server's words, 1 to 258 of [A-Za-z0-9:/._@%-]; Recipient is the verified key that they resolved to, and
	// RecipientName the handle that this home knows it by.
	PayTo         string
	Recipient     [32]byte
	RecipientName string
	// Scheme is the offer's, `halfkey-book` or `exact`, and FeePayer who pays the chain's fee, in base58; empty on the book.
	Scheme, FeePayer string
	// Description and Resource are what the server says that it sells, escaped and shortened: nobody has checked them.
	Description, Resource string
	// Elsewhere says that by its words the server sells what is at another origin than the one that was asked.
	Elsewhere bool
	// Memo is what the server wants written on the chain with the payment, where all can read it for ever: its words, like the two above.
	// Empty if it asks for none.
	Memo string
	// Refused are the server's other offers, and why each was not chosen.
	Refused []string
	// Judged is the state that the payment would have come to first when the price was fetched, and DryRun how every rule judged it
	// then; DryRun is there only in what Agent.Fetch returns.
	Judged typev1.PaymentState
	DryRun *Payment
	// Expires is when the price cannot be confirmed any more.
	Expires time.Time
	// Payment is the payment as the ledger has it; nil while there is none.
	Payment *Payment
	// Ended says why nothing was paid, once ENDED.
	Ended string
	// Damaged says why the record cannot be read, if DAMAGED: nothing but ID and Name is known then.
	Damaged string
	// Attempts counts the times that the paid request was, or may have been, sent, and Answer is what came back the last time.
	Attempts int
	Answer   FetchAnswer
	// Delivered is when the resource had been handed over whole, by this machine's clock; zero if it was not, or if that is not known.
	Delivered time.Time
	// Response is the server's answer where it asked for no payment, redirects followed; the caller closes its body.
	Response *http.Response
}

// Fetch asks for a resource. If its server asks for money it returns the price, whom to pay, and how the payment would be judged,
// and stores these for ConfirmFetch: nothing is signed and nothing paid. If it does not, the answer is in Response, and nothing is
// stored.
func (a *Agent) Fetch(ctx context.Context, req FetchRequest) (*Fetch, error) {
	const op = "fetch"
	r, err := a.newFetch(req)
	if err != nil {
		return nil, err
	}
	resp, err := a.askServer(ctx, r) //nolint:bodyclose // readRequired closes it, or the caller
	if err != nil {
		return nil, err
	}
	// Where it was sent on to within its origin, that is what is paid for.
	r.URL = resp.Request.URL.String()
	if resp.StatusCode != http.StatusPaymentRequired {
		return &Fetch{Method: r.Method, URL: r.URL, MoneyMoved: notMoved, Response: resp}, nil
	}
	q, err := readRequired(op, resp)
	if err != nil {
		return nil, err
	}
	judged, refused, err := a.chooseOffer(ctx, r, q, req.MaxUnits)
	if err != nil {
		return nil, err
	}
	if err := a.forgetOldPrices(); err != nil {
		return nil, err
	}
	if err := a.saveFetch(r, notMoved); err != nil {
		return nil, err
	}
	f := a.view(r)
	f.DryRun, f.Refused = judged, refused
	return f, nil
}

// forgottenPin begins the pins that say up to which fetch of a wallet old prices were forgotten.
const forgottenPin = "fetches/"

// forgetOldPrices ends this wallet's fetches whose price is too old to be confirmed, so that what they would have sent is not kept
// for ever. Ids are drawn in ascending order, so each fetch is looked at once. One whose record cannot be read is passed over: nobody can
// end it. No payment rests on what is read here, for that a fetch is paid once is by its own record and by its payment's id.
func (a *Agent) forgetOldPrices() error {
	const op = "forget old prices"
	names, err := a.c.fetches.Fetches(a.wallet)
	if err != nil {
		return wrap(op, err, notMoved)
	}
	before, err := a.c.payments.Pinned(forgottenPin + a.wallet)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap(op, err, notMoved)
	}
	last := string(before)
	for _, name := range names {
		if name <= last {
			continue
		}
		r, err := a.c.fetches.LoadFetch(name)
		if err == nil && !a.tooOld(r) {
			break
		}
		if err == nil && r.State == FetchQuoted {
			r.State, r.Ended = FetchEnded, tooOldText
			// Another program that was faster, or that confirms it at this moment, is right.
			if err := a.saveFetch(r, notMoved); err != nil && ReasonOf(err) != typev1.Reason_REASON_ABORTED {
				return err
			}
		}
		last = name
	}
	if last == string(before) {
		return nil
	}
	return wrap(op, a.c.payments.Pin(forgottenPin+a.wallet, []byte(last)), notMoved)
}

// tooOldText is why an old price is not paid.
const tooOldText = "the price was fetched too long ago"

func (a *Agent) tooOld(r *FetchRecord) bool { return a.c.clock().After(r.Quoted.Add(QuoteLife)) }

// newFetch checks a request and draws the id of its fetch.
func (a *Agent) newFetch(req FetchRequest) (*FetchRecord, error) {
	const op = "fetch"
	id, err := uuid.NewV7()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	if req.Method == "" {
		req.Method = http.MethodGet
	}
	switch {
	case len(req.Body) > FetchBodyMax:
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "a request's body is at most 256 KiB", "field", "body")
	case req.MaxUnits < 0:
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "a maximum price is not negative", "field", "max_units")
	}
	u, err := webclient.ParseURL(req.URL)
	if err != nil {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, err.Error(), "field", "url")
	}
	now := a.c.clock()
	r := &FetchRecord{
		Name: resource.Payment(a.wallet, id.String()), Method: req.Method, URL: u.String(), Header: req.Header.Clone(), Body: req.Body,
		Reach: req.Reach, Created: now, Quoted: now, State: FetchQuoted,
	}
	_, err = r.context()
	return r, err
}

// context is the request as the payment's intent has it.
func (r *FetchRecord) context() (*typev1.X402Context, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, local("fetch", typev1.Reason_REASON_INVALID_ARGUMENT, "the URL cannot be read", "field", "url")
	}
	m, err := X402Context(r.Method, u, sha256.Sum256(r.Body))
	return m, given("fetch", err)
}

// order is what the fetch pays: the same for every call, so that the payment is the same. What a chain's offer says besides may be
// another one after it was fetched again.
func (r *FetchRecord) order() (Order, error) {
	_, id, err := resource.ParsePayment(r.Name)
	if err != nil {
		return Order{}, wrap("fetch", err, notMoved)
	}
	m, err := r.context()
	if err != nil {
		return Order{}, err
	}
	terms, err := r.chainTerms()
	if err != nil {
		return Order{}, wrap("fetch", err, notMoved)
	}
	return Order{
		ID: id, Recipient: r.PayTo, Asset: r.Asset, Units: r.Units, X402: m, chain: terms,
		Purpose: "x402 " + m.GetMethod() + " " + m.GetScheme() + "://" + shorten(m.GetHost()),
	}, nil
}

// view is a fetch as this home has it.
func (a *Agent) view(r *FetchRecord) *Fetch {
	_, id, _ := resource.ParsePayment(r.Name) // It was made or loaded by this name.
	f := &Fetch{
		ID: id, Name: r.Name, Method: r.Method, URL: r.URL, State: r.State, Asset: r.Asset, Units: r.Units,
		PayTo: r.PayTo, Recipient: r.Recipient, RecipientName: a.c.NameOf(r.Recipient), Judged: r.Judged,
		Expires: r.Quoted.Add(QuoteLife), Ended: r.Ended, Attempts: r.Attempts, Answer: r.Answer, Delivered: r.Delivered,
	}
	switch r.State {
	case FetchPaid:
		f.MoneyMoved = moved
	case FetchDelivered:
		if f.MoneyMoved = r.Money; r.Money == typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED {
			f.MoneyMoved = moved // It was paid before it was sent.
		}
	case FetchConfirmed, FetchSent:
		f.MoneyMoved = unknown
	default:
		f.MoneyMoved = notMoved
	}
	if q, o, err := r.chosen(); err == nil {
		f.Description, f.Resource = q.Resource.Description.String(), q.Resource.URL.String()
		f.Scheme, f.FeePayer = o.Scheme, o.FeePayer
		if o.Memo != "" {
			f.Memo = o.Memo.String()
		}
		f.Elsewhere = elsewhere(string(q.Resource.URL), r.URL)
	}
	if r.unproven() {
		f.Until, f.LastValidHeight = r.Until, r.LastValidHeight
	}
	return f
}

// elsewhere reports whether a server names a URL of another origin than the one that it was asked for. Paths and queries are no sign of
// anything: proxies change them.
func elsewhere(named, asked string) bool {
	n, err := url.Parse(named)
	if err != nil || n.Host == "" {
		return false
	}
	a, err := url.Parse(asked)
	return err == nil && !strings.EqualFold(webclient.Origin(n), webclient.Origin(a))
}

// loadFetch loads a fetch of this home.
func (a *Agent) loadFetch(op, id string) (*FetchRecord, error) {
	name, err := a.paymentName(op, id)
	if err != nil {
		return nil, err
	}
	r, err := a.c.fetches.LoadFetch(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, local(op, typev1.Reason_REASON_NOT_FOUND, "this home made no fetch of this id", "fetch", name)
	}
	return r, damaged(op, name, err) // It may be one that was sent.
}

// saveFetch stores a fetch. A conflict means that another process works on the same one: whoever lost repeats the call and goes on
// from what the winner stored.
func (a *Agent) saveFetch(r *FetchRecord, risk typev1.MoneyMoved) error {
	const op = "store fetch"
	if r.State == FetchDelivered || r.State == FetchEnded {
		r.Header, r.Body = nil, nil // It is never sent again, and may hold secrets.
	}
	err := a.c.fetches.SaveFetch(r)
	if errors.Is(err, ErrConflict) {
		if risk == notMoved {
			risk = unknown // That of the other process may have been paid meanwhile.
		}
		return failure(op, typev1.Reason_REASON_ABORTED, risk, "another process works on this fetch")
	}
	return wrap(op, err, risk)
}
