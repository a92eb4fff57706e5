package rpc

import (
	"context"
	"net"
	"sync"
)

// Pipe is a listener inside the process: what takes calls in by another protocol hands them on to the very server that
// everybody else calls, over TLS and past the same interceptors. Each connection names the address of whoever it is made
// for, and the server takes that for the caller's: nothing in a call can say another.
type Pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewPipe makes a pipe. A server serves on it like on any listener.
func NewPipe() *Pipe {
	return &Pipe{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial connects to the server as from an address.
func (p *Pipe) Dial(ctx context.Context, from net.Addr) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- &pipeConn{Conn: theirs, from: from}:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the next connection.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. Connections stay.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr names the listener.
func (p *Pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

// Network names what no dialer knows.
func (pipeAddr) Network() string { return "pipe" }

// String names it too.
func (pipeAddr) String() string { return "pipe" }

type pipeConn struct {
	net.Conn
	from net.Addr
}

// RemoteAddr is the address that the connection was made for.
func (c *pipeConn) RemoteAddr() net.Addr { return c.from }
