package rpc

import (
	"net"
	"sync"
	"sync/atomic"
)

// limitListener closes connections beyond a bound as they come. It does not let them wait: a queue of strangers in front
// of the listener would keep everybody out.
type limitListener struct {
	net.Listener
	limit int64
	open  atomic.Int64
}

// Limit bounds a listener's open connections as Serve does its own.
func Limit(l net.Listener) net.Listener { return newLimitListener(l, connectionsMax) }

func newLimitListener(l net.Listener, limit int64) *limitListener {
	return &limitListener{Listener: l, limit: limit}
}

// Accept returns the next connection that has a place.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.limit {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_ = conn.Close() // It got no answer and gets none: there is no place to say so.
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close closes the connection and frees its place.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
