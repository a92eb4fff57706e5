package solanarpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// smallMax bounds answers of a few fields; largeMax a transaction with its logs, or a page of signatures with memos.
	smallMax, largeMax = 64 << 10, 4 << 20
)

// finalized and confirmed are what a question may be about. Nothing here is ever asked about blocks that most of the stake has not
// voted for.
const (
	finalized = "finalized"
	confirmed = "confirmed"
)

// endpoint is one configured URL.
type endpoint struct {
	number    int    // From 1 on, as configured.
	host      string // All of the URL that is ever told.
	url       string
	reference string
	timeout   time.Duration
	http      *http.Client
	ids       atomic.Uint64
	slots     chan struct{} // A place for each call in flight.
	checked   atomic.Bool   // Its genesis hash was the right one.
	refused   atomic.Bool   // Its genesis hash was another one; for good.
	others    *others
}

// Error says why an endpoint's answer does not count. Its text is ours.
type Error struct {
	// Endpoint is its number in the configuration, from 1 on, and Host what may be told of its URL.
	Endpoint int
	Host     string
	// Method is the question.
	Method string
	// Why says what was wrong with the answer.
	Why string
	// cause is the context's error, if it was that.
	cause error
}

// Error names endpoint, question and reason.
func (e *Error) Error() string {
	return fmt.Sprintf("solana endpoint %d (%s): %s %s", e.Endpoint, e.Host, e.Method, e.Why)
}

// Unwrap is the context's error, where the caller ended the call.
func (e *Error) Unwrap() error { return e.cause }

// fail makes an Error.
func (e *endpoint) fail(method, why string) error {
	return &Error{Endpoint: e.number, Host: e.host, Method: method, Why: why}
}

// options are the last parameter of most methods.
type options map[string]any

// call asks one question, once. What it returns is a value of parseJSON; null is a value.
func (e *endpoint) call(ctx context.Context, method string, sizeMax int64, params ...any) (any, error) {
	if e.refused.Load() {
		return nil, e.fail(method, "is not asked: "+otherNetwork)
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return nil, e.transport(method, ctx.Err())
	}
	if params == nil {
		params = []any{}
	}
	id := e.ids.Add(1)
	question, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params})
	if err != nil {
		return nil, fmt.Errorf("solana %s: %w", method, err)
	}
	body, err := e.post(ctx, method, question, sizeMax)
	if err != nil {
		return nil, err
	}
	result, why := parseAnswer(body, id)
	if why != "" {
		return nil, e.fail(method, why)
	}
	return result, nil
}

// post sends a question and returns the whole answer.
func (e *endpoint) post(ctx context.Context, method string, question []byte, sizeMax int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(question))
	if err != nil {
		return nil, e.fail(method, "cannot be asked")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", "halfkey")
	response, err := e.http.Do(request)
	if err != nil {
		return nil, e.transport(method, err)
	}
	// The rest of an answer that is too long is not read, which ends the connection.
	defer func() { _ = response.Body.Close() }()
	switch encoding := response.Header.Get("Content-Encoding"); {
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return nil, e.fail(method, "was redirected, and redirects are not followed: configure the URL that it ends at")
	case response.StatusCode != http.StatusOK:
		return nil, e.fail(method, "was answered with HTTP status "+strconv.Itoa(response.StatusCode))
	case encoding != "" && encoding != "identity":
		return nil, e.fail(method, "was answered compressed, which was not asked for")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, sizeMax+1))
	if err != nil {
		return nil, e.transport(method, err)
	}
	if int64(len(body)) > sizeMax {
		return nil, e.fail(method, "was answered with more than "+strconv.FormatInt(sizeMax, 10)+" bytes")
	}
	return body, nil
}

// transport is an error below HTTP. Its text is quoted, for a part may be the other side's, and without the URL.
func (e *endpoint) transport(method string, err error) error {
	if outer := (*url.Error)(nil); errors.As(err, &outer) {
		err = outer.Err
	}
	failed := &Error{Endpoint: e.number, Host: e.host, Method: method}
	switch {
	case errors.Is(err, context.Canceled):
		failed.Why, failed.cause = "was given up by the caller", context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		failed.Why, failed.cause = "was not answered within "+e.timeout.String(), context.DeadlineExceeded
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		failed.Why = "was cut off"
	default:
		failed.Why = "did not get through: " + strconv.QuoteToASCII(err.Error())
	}
	return failed
}

// parseAnswer reads a JSON-RPC 2.0 answer to the question id.
func parseAnswer(body []byte, id uint64) (result any, why string) {
	v, why := parseJSON(body)
	if why != "" {
		return nil, "has an answer that " + why
	}
	var f fields
	answer := f.object(v)
	version, answered := f.text(f.member(answer, "jsonrpc")), f.number(f.member(answer, "id"))
	result, hasResult := answer["result"]
	failure, hasFailure := answer["error"]
	switch {
	case f.why != "":
		return nil, "has an answer that " + f.why
	case version != "2.0":
		return nil, "has an answer of another protocol than JSON-RPC 2.0"
	case answered != id:
		return nil, "has an answer to another question"
	case hasResult == hasFailure:
		return nil, "has an answer with both or neither of result and error"
	case hasFailure:
		return nil, "was refused by the node" + code(failure)
	}
	return result, ""
}

// code tells a JSON-RPC error's number, which is all that is told of it.
func code(failure any) string {
	object, _ := failure.(map[string]any)
	text, _ := object["code"].(json.Number)
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil {
		return ""
	}
	return ", code " + strconv.FormatInt(n, 10)
}
