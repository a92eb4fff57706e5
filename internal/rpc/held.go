package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/halfkey/halfkey/internal/authz"
)

// checkEvery is how long a connection may outlive what it was let in on. Checking costs one signature verification or two
// for each connection, and nothing for a call.
const checkEvery = 2 * time.Second

// holding is TLS whose connections are looked at again while they are open. A handshake says who the peer was when it
// began, and a connection of gRPC lasts for minutes: when the peer's certificate has expired since, or its authority is no
// longer among ours, or what we have shown ourselves has expired, the connection is cut and the calls on it end with
// UNAVAILABLE, which every method of ours may be repeated on.
type holding struct {
	credentials.TransportCredentials

	own    func() *material
	peer   func(tls.ConnectionState) error // nil where the peer shows no certificate
	logger *slog.Logger
}

// server is for a listener, which shows our certificate and, unless it is public, wants the peer's.
func (c *Credentials) server(on authz.Listener, logger *slog.Logger) credentials.TransportCredentials {
	if on == authz.Public {
		return &holding{TransportCredentials: credentials.NewTLS(c.PublicTLS()), own: c.current, logger: logger}
	}
	return &holding{
		TransportCredentials: credentials.NewTLS(c.serverTLS()), own: c.current, logger: logger,
		peer: func(state tls.ConnectionState) error { return c.verifyChain(state, x509.ExtKeyUsageClientAuth) },
	}
}

// client is for connections to one service.
func (c *Credentials) client(to authz.Service, logger *slog.Logger) credentials.TransportCredentials {
	return &holding{
		TransportCredentials: credentials.NewTLS(c.clientTLS(to)), own: c.current, logger: logger,
		peer: func(state tls.ConnectionState) error { return c.verifyServer(state, to) },
	}
}

// ClientHandshake is TLS's, and holds the connection.
func (h *holding) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	own := h.own()
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return h.hold(raw, own, conn, info, err)
}

// ServerHandshake is TLS's, and holds the connection.
func (h *holding) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	own := h.own()
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	return h.hold(raw, own, conn, info, err)
}

// Clone copies.
func (h *holding) Clone() credentials.TransportCredentials {
	clone := *h
	clone.TransportCredentials = h.TransportCredentials.Clone()
	return &clone
}

func (h *holding) hold(
	raw net.Conn, own *material, conn net.Conn, info credentials.AuthInfo, err error,
) (net.Conn, credentials.AuthInfo, error) {
	if err != nil {
		return nil, nil, err
	}
	state := info.(credentials.TLSInfo).State //nolint:forcetypeassert // credentials.NewTLS gives nothing else
	held := newHeldConn(conn)
	go h.watch(held, func() error {
		if err := own.expired(time.Now()); err != nil || h.peer == nil {
			return err
		}
		return h.peer(state)
	}, raw)
	return held, info, nil
}

// Hold is a listener below PublicTLS whose connections are held as those of gRPC are: what speaks HTTPS cuts them when the
// certificate has expired that was in force when they came. The logger, nil meaning slog.Default, is told.
func (c *Credentials) Hold(l net.Listener, logger *slog.Logger) net.Listener {
	if logger == nil {
		logger = slog.Default()
	}
	return &heldListener{Listener: l, by: &holding{own: c.current, logger: logger}}
}

type heldListener struct {
	net.Listener

	by *holding
}

// Accept returns the next connection, which is looked at from now on.
func (l *heldListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	own, held := l.by.own(), newHeldConn(raw)
	go l.by.watch(held, func() error { return own.expired(time.Now()) }, raw)
	return held, nil
}

// expired is an error from when the certificate is good no longer.
func (m *material) expired(now time.Time) error {
	if now.After(m.certificate.Leaf.NotAfter) {
		return errors.New("rpc: the certificate that this connection was made with has expired")
	}
	return nil
}

// watch cuts a connection when it no longer stands, and ends with it.
func (h *holding) watch(held *heldConn, stands func() error, raw net.Conn) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-held.closed:
			return
		case <-tick.C:
		}
		if err := stands(); err != nil {
			h.logger.Warn("a connection was cut", "peer", raw.RemoteAddr().String(), "error", err)
			// Not TLS's Close, which waits for a peer that does not read.
			_ = raw.Close()
			return
		}
	}
}

// heldConn says when it is closed, which gRPC and net/http do with every connection, also with one that was cut.
type heldConn struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHeldConn(conn net.Conn) *heldConn { return &heldConn{Conn: conn, closed: make(chan struct{})} }

// Close closes the connection.
func (c *heldConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
