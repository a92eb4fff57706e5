package webclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/halfkey/halfkey/internal/escape"
)

// Reason is the kind of an Error.
type Reason string

// The reasons.
const (
	// BadURL and BadRequest: nothing was tried. The URL, or the request's method, header or body is refused.
	BadURL     Reason = "BAD_URL"
	BadRequest Reason = "BAD_REQUEST"
	// BadAddress: the host's name leads to an address that is not dialled.
	BadAddress Reason = "BAD_ADDRESS"
	// BadRedirect: the server sends an unpaid request to another origin, in circles, or nowhere.
	BadRedirect Reason = "BAD_REDIRECT"
	// Unreachable: no connection came about.
	Unreachable Reason = "UNREACHABLE"
	// BadCertificate: whoever answered has not shown that it is the host.
	BadCertificate Reason = "BAD_CERTIFICATE"
	// TimedOut: the server took too long. Canceled: the caller did not want to wait.
	TimedOut Reason = "TIMED_OUT"
	Canceled Reason = "CANCELED"
	// Broken: the connection broke, or what came over it is no answer.
	Broken Reason = "BROKEN"
	// HeaderTooLarge and BodyTooLarge: the answer is larger than is taken.
	HeaderTooLarge Reason = "HEADER_TOO_LARGE"
	BodyTooLarge   Reason = "BODY_TOO_LARGE"
)

// detailShown is how many characters of a lower layer's words an error repeats.
const detailShown = 200

// Error is every error of this package, from reading a body too.
type Error struct {
	Reason Reason
	// Host is whose answer failed, as it stands in the URL; empty where none was asked.
	Host string
	// Why says what is wrong, in words of this package.
	Why string
	// Detail is what the layer below says, which may hold words of the server; quoted and escaped.
	Detail string
	// Sent is whether the request may have reached the server, in part or whole.
	Sent bool

	err error
}

// Error joins these.
func (e *Error) Error() string {
	var s string
	switch {
	case e.Reason == BadURL:
		s = "the URL is refused: " + e.Why
	case e.Reason == BadRequest:
		s = "the request is refused: " + e.Why
	case e.Host != "":
		s = e.Host + ": " + e.Why
	default:
		s = e.Why
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap gives the context's error where the caller ended the wait, and nothing otherwise: what lies below may hold the server's words.
func (e *Error) Unwrap() error { return e.err }

var errTimedOut = errors.New("webclient: timed out")

// explain makes an Error of what failed on the way to host.
func explain(ctx, whole context.Context, err error, host string, sent bool) *Error {
	e := &Error{Host: host, Sent: sent}
	var refused *addressError
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &refused):
		e.Reason, e.Why, e.Sent = BadAddress, refused.Error(), false
		return e
	case whole.Err() != nil:
		e.Reason, e.Why, e.err = Canceled, "the request was given up", whole.Err()
		if errors.Is(e.err, context.DeadlineExceeded) {
			e.Reason, e.Why = TimedOut, "there was no more time for the request"
		}
		return e
	case errors.Is(context.Cause(ctx), errTimedOut):
		e.Reason, e.Why = TimedOut, "the server took too long to answer"
		return e
	case errors.As(err, &certificate):
		e.Reason, e.Why = BadCertificate, "the server's certificate does not show that it is this host"
	case errors.As(err, &dns):
		e.Reason, e.Why = Unreachable, "the host's name was not found"
	case sent:
		e.Reason, e.Why = Broken, "the connection broke, or what came is not an answer"
	default:
		e.Reason, e.Why = Unreachable, "the host cannot be reached"
	}
	e.Detail = escape.Quote(err.Error(), detailShown)
	return e
}
