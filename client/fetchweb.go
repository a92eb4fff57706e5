package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/halfkey/halfkey/internal/webclient"
	"github.com/halfkey/halfkey/internal/x402"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// web is the client for servers that nobody vouches for, within a reach.
func (c *Client) web(reach Reach) *webclient.Client {
	made, _ := c.webs.LoadOrStore(reach, webclient.New(webclient.Policy{
		AllowLoopback: reach.Loopback, AllowPrivate: reach.Private, Timeouts: c.webTimeouts,
	}))
	return made.(*webclient.Client) //nolint:forcetypeassert // nothing else is ever stored there
}

// request is the request as it is sent, with and without a payment.
func (r *FetchRecord) request() (webclient.Request, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return webclient.Request{}, local("fetch", typev1.Reason_REASON_INVALID_ARGUMENT, "the URL cannot be read", "field", "url")
	}
	return webclient.Request{Method: r.Method, URL: u, Header: r.Header, Body: r.Body}, nil
}

// askServer sends the request without a payment. The answer's Request has the URL that answered.
func (a *Agent) askServer(ctx context.Context, r *FetchRecord) (*http.Response, error) {
	request, err := r.request()
	if err != nil {
		return nil, err
	}
	resp, err := a.c.web(r.Reach).Ask(ctx, request)
	return resp, unasked(ctx, err)
}

// sendPaid sends the request with the payment.
func (a *Agent) sendPaid(ctx context.Context, r *FetchRecord) (*http.Response, error) {
	request, err := r.request()
	if err != nil {
		return nil, err
	}
	return a.c.web(r.Reach).Pay(ctx, request, r.PaymentHeader, r.PaymentValue)
}

// serverFault is what to do about an answer that nobody could use.
const serverFault = "nothing was paid; whoever runs the server has to put that right"

// unasked is an error of a request that carried no payment.
func unasked(ctx context.Context, err error) error {
	const op = "fetch"
	var web *webclient.Error
	if !errors.As(err, &web) {
		return wrap(op, err, notMoved)
	}
	reason, next := typev1.Reason_REASON_UNAVAILABLE, "fetch it again later; nothing was paid"
	switch web.Reason {
	case webclient.BadURL, webclient.BadRequest:
		reason, next = typev1.Reason_REASON_INVALID_ARGUMENT, "correct the request"
	case webclient.BadAddress:
		reason, next = typev1.Reason_REASON_PERMISSION_DENIED, "if that address is meant, allow loopback or private addresses for this fetch"
	case webclient.BadRedirect, webclient.BadCertificate:
		reason, next = typev1.Reason_REASON_PERMISSION_DENIED, "nothing was paid; make sure that this is the server that is meant"
	case webclient.HeaderTooLarge, webclient.BodyTooLarge:
		reason, next = typev1.Reason_REASON_BAD_STATEMENT, serverFault
	case webclient.Canceled:
		return wrap(op, errors.Join(err, ctx.Err()), notMoved)
	}
	return localNext(op, reason, web.Error(), next, "why", string(web.Reason))
}

// readRequired reads what a 402 asks for, and closes it.
func readRequired(op string, resp *http.Response) (*x402.Required, error) {
	defer func() { _ = resp.Body.Close() }()
	var body []byte
	if resp.Header.Get(x402.HeaderRequired) == "" {
		var err error
		if body, err = io.ReadAll(io.LimitReader(resp.Body, x402.BodyMax+1)); err != nil {
			return nil, local(op, typev1.Reason_REASON_UNAVAILABLE, "what the server asks for did not come: "+err.Error())
		}
	}
	q, err := x402.ParseRequired(resp.StatusCode, resp.Header, body)
	if err != nil {
		return nil, localNext(op, typev1.Reason_REASON_BAD_STATEMENT, "what the server asks for cannot be read: "+err.Error(), serverFault)
	}
	return q, nil
}

// claimOf is what a server's receipt claims, in one line; empty if it sent none.
func claimOf(resp *http.Response) string {
	receipt, err := x402.ParseReceipt(resp.Header)
	switch {
	case err != nil:
		return "a receipt that cannot be read: " + err.Error()
	case receipt == nil:
		return ""
	}
	claim := "not paid"
	if receipt.Success {
		claim = "paid"
	}
	for _, part := range []struct {
		name string
		text x402.Untrusted
	}{{"transaction", receipt.Transaction}, {"amount", receipt.Amount}, {"reason", receipt.ErrorReason}} {
		if part.text != "" {
			claim += ", " + part.name + " " + part.text.String()
		}
	}
	return claim
}

// refusalOf says in this program's words what a server answered instead of the resource.
func refusalOf(resp *http.Response) string {
	body, err := io.ReadAll(io.LimitReader(resp.Body, x402.BodyMax))
	if err != nil {
		body = nil // It explains, and decides nothing.
	}
	answer := x402.Classify(resp.StatusCode, resp.Header, body)
	problem := answer.Kind.Words()
	if answer.Error != "" {
		problem += "; its reason: " + answer.Error.String()
	}
	return problem
}
