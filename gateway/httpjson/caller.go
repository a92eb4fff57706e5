package httpjson

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/rpc"
)

// callerListener gives each connection a place for a connection to the gRPC server.
type callerListener struct {
	net.Listener
	server *Server
}

// Accept returns the next connection.
func (l *callerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &caller{Conn: conn, server: l.server}, nil
}

// caller is a connection of somebody who calls, and the connection to the gRPC server that is made for it at its first call
// and ends with it: bounds on a connection and on an address bind whoever comes by HTTP like everybody else.
type caller struct {
	net.Conn
	server *Server

	mu     sync.Mutex
	closed bool
	grpc   *grpc.ClientConn
}

// Close closes both.
func (c *caller) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	err := c.Conn.Close()
	if c.grpc != nil {
		err = errors.Join(err, c.grpc.Close())
		c.grpc = nil
	}
	return err
}

// connection is the connection to the gRPC server. It verifies the server's certificate as a caller from outside does.
func (c *caller) connection() (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.grpc != nil {
		return c.grpc, nil
	}
	var err error
	c.grpc, err = grpc.NewClient("passthrough:///gateway",
		grpc.WithTransportCredentials(credentials.NewTLS(c.server.tls)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.server.connect(ctx, c.RemoteAddr()) }),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // Whoever calls repeats, knowing what that means; nothing in here does it unasked.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpc.AnswerBytesMax), grpc.MaxCallSendMsgSize(bodyBytesMax)),
	)
	return c.grpc, err
}

type callerKey struct{}

// withCaller puts a connection's caller into the context of its requests.
func withCaller(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if c, ok := conn.(*caller); ok {
		return context.WithValue(ctx, callerKey{}, c)
	}
	return ctx
}

// byCaller makes each call on the connection of who makes it.
type byCaller struct{}

// Invoke makes a unary call.
func (byCaller) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if err := saidOnce(ctx, method); err != nil {
		return err
	}
	conn, err := connectionFor(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens a stream.
func (byCaller) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := saidOnce(ctx, method); err != nil {
		return nil, err
	}
	conn, err := connectionFor(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return refusedAtOnce{stream}, nil
}

func connectionFor(ctx context.Context) (*grpc.ClientConn, error) {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok {
		return nil, status.Error(codes.Internal, "a request without a connection")
	}
	conn, err := c.connection()
	if err != nil {
		return nil, status.Error(codes.Unavailable, "the connection was closed")
	}
	return conn, nil
}

// refusedAtOnce shows a stream's refusal before its first line is written, so that it gets an HTTP status of its own.
type refusedAtOnce struct{ grpc.ClientStream }

// Header is the stream's header, or why there is none.
func (s refusedAtOnce) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if err == nil && header == nil { // gRPC: the stream has ended without one, and RecvMsg tells why.
		err = s.RecvMsg(nil)
	}
	return header, err
}
