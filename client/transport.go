package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TransportConfig says what a transport may pay by itself.
type TransportConfig struct {
	// MaxUnits is the most that one answer may cost, in the asset's smallest unit; 0 leaves it to the guard rails.
	MaxUnits int64
	// Reach says which addresses besides public ones it may connect to.
	Reach Reach
}

// NewTransport makes a transport for an http.Client that pays for what it gets: a request that is answered by 402 is paid and sent
// again if the guard rails let the payment pass at once and it costs no more than the configuration allows. Each request that
// passes through it is a fetch of its own, so whoever repeats a request that cost money pays again: repeat by ConfirmFetch.
//
// A request that was not paid ends in a *FetchError whose fetch can be confirmed, where there is one; one that was paid and whose
// resource did not come, in a *FetchError too, and ConfirmFetch gets it for the payment that was made. A resource counts as
// delivered once its body was read to the end.
func NewTransport(agent *Agent, config TransportConfig) http.RoundTripper {
	return &transport{agent: agent, config: config}
}

// FetchError says that a request through a transport did not get its resource, although its server named a price.
type FetchError struct {
	// Fetch is what the server asked, and what became of it.
	Fetch *Fetch
	// Err is what failed; nil where nothing did: the payment needs a person, was refused, or bought nothing yet.
	Err error
}

// Error says why, whether it was paid, and the id to go on with.
func (e *FetchError) Error() string {
	f := e.Fetch
	why := "the payment would not be made at once"
	switch {
	case e.Err != nil:
		why = e.Err.Error()
	case f.State == FetchPaid:
		why = "it was paid, and the resource did not come: " + f.Answer.Problem
	case f.State == FetchSent:
		why = "it may have been paid, and the resource did not come: " + f.Answer.Problem
	case f.State == FetchEnded:
		why = f.Ended
	}
	return fmt.Sprintf("halfkey: fetch %s: %s", f.ID, why)
}

// Unwrap returns what failed.
func (e *FetchError) Unwrap() error { return e.Err }

type transport struct {
	agent  *Agent
	config TransportConfig
}

// RoundTrip sends a request, and pays for its answer.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := readRequestBody(req)
	if err != nil {
		return nil, err
	}
	if req.Host != "" && req.Host != req.URL.Host {
		return nil, local("fetch", typev1.Reason_REASON_INVALID_ARGUMENT, "a request's Host is its URL's: what is paid for is the URL", "field", "host")
	}
	ctx := req.Context()
	f, err := t.agent.Fetch(ctx, FetchRequest{
		Method: req.Method, URL: req.URL.String(), Header: req.Header, Body: body, MaxUnits: t.config.MaxUnits, Reach: t.config.Reach,
	})
	if err != nil {
		return nil, err
	}
	if f.Response != nil {
		f.Response.Request = req
		return f.Response, nil
	}
	if f.Judged != authorized {
		return nil, &FetchError{Fetch: f}
	}
	id := f.ID
	paid, answer, err := t.agent.confirm(ctx, id)
	switch {
	case err != nil:
		return nil, &FetchError{Fetch: t.agent.afterError(f, err), Err: err}
	case answer == nil:
		return nil, &FetchError{Fetch: paid}
	}
	resp := answer.response
	resp.Request, resp.Body = req, &paidBody{answer: answer, body: resp.Body}
	return resp, nil
}

// afterError is a fetch after its confirmation failed: how far it has come is stored, and the error says whether money moved.
func (a *Agent) afterError(f *Fetch, err error) *Fetch {
	after := *f
	if r, loading := a.loadFetch("show fetch", f.ID); loading == nil {
		after = *a.view(r)
		after.DryRun, after.Refused = f.DryRun, f.Refused
	}
	if after.State == FetchQuoted || after.State == FetchConfirmed {
		after.MoneyMoved = MoneyMovedOf(err)
	}
	return &after
}

// readRequestBody reads and closes a request's body, as a transport does.
func readRequestBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, FetchBodyMax+1))
	if closing := req.Body.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, local("fetch", typev1.Reason_REASON_INVALID_ARGUMENT, "the request's body cannot be read", "field", "body")
	}
	return body, nil
}

// paidBody is the body of a paid answer. Read to its end, the fetch is delivered; closed before, it can be confirmed again.
type paidBody struct {
	answer *fetchAnswer
	body   io.ReadCloser
	n      int64
	once   sync.Once
}

// Read reads on.
func (b *paidBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.n += int64(n)
	if err == nil {
		return n, nil
	}
	problem := ""
	if !errors.Is(err, io.EOF) {
		problem = "the resource broke off: " + err.Error()
	}
	if failed := b.finish(problem); failed != nil {
		err = failed
	}
	return n, err
}

// Close closes it.
func (b *paidBody) Close() error {
	failed := b.finish("the resource was not read to its end")
	if err := b.body.Close(); failed == nil {
		failed = err
	}
	return failed
}

func (b *paidBody) finish(problem string) (err error) {
	b.once.Do(func() { _, err = b.answer.finish(b.n, problem) })
	return err
}
