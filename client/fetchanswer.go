package client

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// attemptsMax bounds how often a paid request is sent: a server that has not delivered by then will not.
const attemptsMax = 50

// fetchAnswer is a server's answer that holds the resource, while it is read.
type fetchAnswer struct {
	a        *Agent
	r        *FetchRecord
	response *http.Response
	payment  *Payment
}

// deliver sends the paid request once more. It returns nil if the server did not hand the resource over: the record says why.
func (a *Agent) deliver(ctx context.Context, r *FetchRecord) (*fetchAnswer, error) {
	if r.Attempts >= attemptsMax {
		return nil, nil
	}
	risk := moved
	if r.State == FetchSent {
		risk = unknown
	}
	r.Attempts++
	r.Answer = FetchAnswer{Problem: "no answer was seen to its end"}
	// Before it is sent: whoever finds the record after a crash must take it for sent.
	if err := a.saveFetch(r, risk); err != nil {
		return nil, err
	}
	resp, err := a.sendPaid(ctx, r)
	if err != nil {
		r.Answer.Problem = "no answer came: " + err.Error()
		return nil, a.saveFetch(r, risk)
	}
	r.Answer.Status, r.Answer.Claim = resp.StatusCode, claimOf(resp)
	if resp.StatusCode/100 == 2 {
		return &fetchAnswer{a: a, r: r, response: resp}, nil
	}
	r.Answer.Problem = refusalOf(resp)
	return nil, errors.Join(a.saveFetch(r, risk), resp.Body.Close())
}

func (f *fetchAnswer) close() { _ = f.response.Body.Close() } // What was read of it has been judged.

// copyTo writes the resource to w, and says in this program's words what went wrong.
func (f *fetchAnswer) copyTo(w io.Writer) (n int64, problem string) {
	writing := &writeErrors{w: w}
	n, err := io.Copy(writing, f.response.Body)
	if writing.err == nil && err == nil {
		if c, ok := w.(interface{ Commit() error }); ok {
			writing.err = c.Commit()
		}
	}
	switch {
	case writing.err != nil:
		return n, "the resource could not be written: " + writing.err.Error()
	case err != nil:
		return n, "the resource broke off: " + err.Error()
	default:
		return n, ""
	}
}

// finish notes how much of the resource was handed over, and what went wrong, if anything did.
func (f *fetchAnswer) finish(n int64, problem string) (*Fetch, error) {
	f.r.Answer.Bytes, f.r.Answer.Problem = n, problem
	risk := moved
	if f.r.State == FetchSent {
		risk = unknown
	}
	if problem == "" {
		// It is the user's whether or not it was paid: what a chain comes to is proved later.
		f.r.State, f.r.Money, f.r.Delivered = FetchDelivered, risk, f.a.c.clock()
	}
	err := f.a.saveFetch(f.r, risk)
	return f.a.paidView(f.r, f.payment), err
}

// writeErrors tells a writer's errors from a reader's.
type writeErrors struct {
	w   io.Writer
	err error
}

// Write writes and remembers what failed.
func (w *writeErrors) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}
