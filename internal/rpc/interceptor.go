package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// nothingMoved is what all refusals before a handler say.
const nothingMoved = typev1.MoneyMoved_MONEY_MOVED_NO

// logUnary writes one line per call, without payloads. Errors end here, so here they are logged, with their cause.
func logUnary(logger *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		start := time.Now()
		resp, err := handler(ctx, req)
		logCall(ctx, logger, info.FullMethod, time.Since(start), err)
		return resp, err
	}
}

func logStream(logger *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		start := time.Now()
		err := handler(srv, ss)
		logCall(ss.Context(), logger, info.FullMethod, time.Since(start), err)
		return err
	}
}

func logCall(ctx context.Context, logger *slog.Logger, method string, took time.Duration, err error) {
	attributes := []slog.Attr{slog.String("method", method), slog.String("peer", peerName(ctx)), slog.Duration("took", took)}
	f := fault.Of(err)
	if f == nil {
		logger.LogAttrs(ctx, slog.LevelInfo, "call", append(attributes, slog.String("code", codes.OK.String()))...)
		return
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() { // Its status has the code, which several reasons share.
		span.SetAttributes(attribute.String("halfkey.reason", fault.ReasonName(f.Reason)))
	}
	attributes = append(attributes, slog.String("code", f.Code.String()), slog.String("reason", fault.ReasonName(f.Reason)),
		slog.String("money_moved", f.Metadata[fault.KeyMoneyMoved]), slog.String("message", f.Message))
	level := slog.LevelInfo
	canceled := f.Code == codes.Canceled // The caller went away, as a client that watches health does when it closes.
	if !canceled && (f.Reason == typev1.Reason_REASON_INTERNAL || f.Reason == typev1.Reason_REASON_UNAVAILABLE) {
		// Only these have a cause that the fault does not tell, and only these are for the operator.
		level = slog.LevelError
		if cause := errors.Unwrap(f); cause != nil {
			attributes = append(attributes, slog.String("cause", cause.Error()))
		}
		var p *panicError
		if errors.As(f, &p) {
			attributes = append(attributes, slog.String("stack", p.stack))
		}
	}
	logger.LogAttrs(ctx, level, "call", attributes...)
}

// peerName is the calling service, or the caller's host.
func peerName(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
		if uris := info.State.VerifiedChains[0][0].URIs; len(uris) == 1 {
			return uris[0].String()
		}
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	return host
}

// call is what the interceptors of one call tell each other.
type call struct{ entered bool }

type callKey struct{}

// faultUnary turns every error into a fault, so that none leaves without a reason and a word about money. What does not
// say whether money moved is NO for a method that cannot move any, else UNKNOWN.
func faultUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c := &call{}
	resp, err := handler(context.WithValue(ctx, callKey{}, c), req)
	if err == nil {
		return resp, nil
	}
	moves := moves(info.FullMethod)
	err = fault.Wrap(err, unsaid(moves))
	if moves && repeated(ctx) && (!c.entered || fault.ReasonOf(err) == typev1.Reason_REASON_LIMIT_EXCEEDED) {
		// gRPC repeats a call whose connection broke. The first attempt may have paid; that this one was refused at the
		// door, or by a quota right behind it, says nothing about it.
		err = fault.Doubt(err)
	}
	return nil, err
}

func faultStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return fault.Wrap(handler(srv, ss), unsaid(moves(info.FullMethod)))
}

// enterUnary marks that the handler has seen the call.
func enterUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.entered = true
	}
	return handler(ctx, req)
}

// moves says whether a method can move money; of one that the table does not know nothing is sure.
func moves(method string) bool {
	r, ok := authz.Lookup(method)
	return !ok || r.Moves
}

func unsaid(moves bool) typev1.MoneyMoved {
	if moves {
		return typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	}
	return nothingMoved
}

// previousAttempts is the metadata key by which gRPC marks a repeated call (gRFC A6).
const previousAttempts = "grpc-previous-rpc-attempts"

func repeated(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, previousAttempts)) > 0
}

// panicError is a panic of a handler. Its text names the kind of panic and its stack the places, but no values: these
// could be secrets.
type panicError struct{ what, stack string }

// Error names the kind of panic.
func (e *panicError) Error() string { return "panic: " + e.what }

// framesMax bounds a recorded stack.
const framesMax = 32

func newPanicError(value any) *panicError {
	what := fmt.Sprintf("%T", value)
	var runtimeError runtime.Error
	if err, ok := value.(error); ok && errors.As(err, &runtimeError) {
		what = runtimeError.Error()
	}
	pcs := make([]uintptr, framesMax)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var stack strings.Builder
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&stack, "%s:%d\n", frame.Function, frame.Line)
		if !more {
			return &panicError{what: what, stack: stack.String()}
		}
	}
}

func recovered(value any) error {
	return fault.Caused(newPanicError(value), typev1.Reason_REASON_INTERNAL, typev1.MoneyMoved_MONEY_MOVED_UNKNOWN, "a defect on our side")
}

// recoverUnary makes a panic a fault: one call's defect must not end the calls of others. How far the call came is not
// known, so money may have moved.
func recoverUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if value := recover(); value != nil {
			resp, err = nil, recovered(value)
		}
	}()
	return handler(ctx, req)
}

func recoverStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = recovered(value)
		}
	}()
	return handler(srv, ss)
}

// deadlineUnary refuses calls without a deadline, which would wait for ever and with them what they hold, and shortens
// those that are longer than any call takes.
func deadlineUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, fault.Invalid(fault.Violation{Field: "grpc-timeout", Why: "a call needs a deadline"})
	}
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	return handler(ctx, req)
}

// bound holds the places for calls in flight.
type bound struct{ calls, stops, watches chan struct{} }

func newBound(calls int) *bound {
	return &bound{
		calls: make(chan struct{}, calls), stops: make(chan struct{}, stopsInFlightMax), watches: make(chan struct{}, watchesMax),
	}
}

// enter takes a place or refuses at once: a queue would only make late answers later.
func enter(places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
		return fault.New(typev1.Reason_REASON_LIMIT_EXCEEDED, nothingMoved, "too many calls at once")
	}
}

func (b *bound) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	places := b.calls
	if r, _ := authz.Lookup(info.FullMethod); r.Stops {
		places = b.stops
	}
	if err := enter(places); err != nil {
		return nil, err
	}
	defer func() { <-places }()
	return handler(ctx, req)
}

func (b *bound) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := enter(b.watches); err != nil {
		return err
	}
	defer func() { <-b.watches }()
	return handler(srv, ss)
}

// drainStream ends streams when the server drains: one that watches would otherwise keep it from ending. Health checks
// stay, to say NOT_SERVING; who watches them leaves by itself.
func drainStream(draining context.Context) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if r, _ := authz.Lookup(info.FullMethod); r.AnyPeer {
			return handler(srv, ss)
		}
		ctx, cancel := context.WithCancel(ss.Context())
		defer cancel()
		defer context.AfterFunc(draining, cancel)()
		err := handler(srv, &drainedStream{ServerStream: ss, ctx: ctx})
		if err != nil && draining.Err() != nil && ss.Context().Err() == nil {
			return fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED, "this replica is stopping")
		}
		return err
	}
}

type drainedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends when the caller leaves or the server drains.
func (s *drainedStream) Context() context.Context { return s.ctx }

// checkUnary holds a request to its size and to the rules of its contract.
func checkUnary(validate func(proto.Message) error) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := check(req, validate); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// checkStream checks each message that the caller sends.
func checkStream(validate func(proto.Message) error) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, &checkedStream{ServerStream: ss, validate: validate})
	}
}

type checkedStream struct {
	grpc.ServerStream
	validate func(proto.Message) error
}

// RecvMsg receives a message and checks it.
func (s *checkedStream) RecvMsg(m any) error {
	broken, undecoded := receive(s.ServerStream.RecvMsg, m)
	if broken != nil {
		return broken
	}
	if undecoded != nil {
		return undecodable{}.refused()
	}
	return check(m, s.validate)
}

func check(req any, validate func(proto.Message) error) error {
	if broken, ok := req.(undecodable); ok {
		return broken.refused()
	}
	m, ok := req.(proto.Message)
	if !ok {
		return fault.New(typev1.Reason_REASON_INTERNAL, nothingMoved, "a defect on our side")
	}
	if proto.Size(m) > RequestBytesMax {
		return fault.New(typev1.Reason_REASON_LIMIT_EXCEEDED, nothingMoved, "the request is too large")
	}
	if validate == nil {
		return nil
	}
	return validate(m)
}
