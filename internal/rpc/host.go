package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"

	"google.golang.org/grpc/credentials"
)

// Host is for connections to a server that is no service of ours, such as etcd: it takes a certificate that one of the authorities of
// this moment has signed for the host that is called, and shows our own. The connection is held: it is cut when either is good no
// longer. The logger, nil meaning slog.Default, is told.
func (c *Credentials) Host(logger *slog.Logger) credentials.TransportCredentials {
	if logger == nil {
		logger = slog.Default()
	}
	return &holding{
		TransportCredentials: &hostTLS{TransportCredentials: credentials.NewTLS(c.hostTLS()), c: c}, own: c.current, logger: logger,
		peer: func(state tls.ConnectionState) error { return c.verifyChain(state, x509.ExtKeyUsageServerAuth) },
	}
}

func (c *Credentials) hostTLS() *tls.Config {
	m := c.current()
	config := base()
	config.RootCAs = m.roots
	config.Certificates = []tls.Certificate{m.certificate}
	return config
}

// hostTLS is TLS that takes certificate and authorities anew for each handshake. crypto/tls knows the authorities of a client only as
// part of its configuration, and verifies the host, of which a callback is not told when it is an address.
type hostTLS struct {
	credentials.TransportCredentials

	c *Credentials
}

// ClientHandshake is TLS's.
func (h *hostTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(h.c.hostTLS()).ClientHandshake(ctx, authority, raw)
}

// Clone copies.
func (h *hostTLS) Clone() credentials.TransportCredentials {
	return &hostTLS{TransportCredentials: h.TransportCredentials.Clone(), c: h.c}
}
