package httpjson

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	httpgen "github.com/halfkey/halfkey/gateway/httpjson/gen/halfkey/gateway/v1"
	"github.com/halfkey/halfkey/internal/rpc"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
)

const (
	// readMax bounds how long a request may take to arrive, head and body: whoever is slower holds a connection for nothing.
	readMax = 10 * time.Second
	// writeMax bounds how long one answer, or one line of a stream, may take to leave.
	writeMax = 10 * time.Second
	// callMax bounds a call: as long as gRPC clients of ours give one.
	callMax = 30 * time.Second
	// idleMax is how long a connection may wait for its next request.
	idleMax = time.Minute
	// pingEvery finds out whether whoever watches is still there; pingMax when to give up.
	pingEvery = time.Minute
	pingMax   = 20 * time.Second
	// headBytesMax bounds a request's head: a token takes 3 KiB of it.
	headBytesMax = 16 << 10
	// bodyBytesMax bounds a body: the largest request that gRPC takes, in base64 and with the names of its fields.
	bodyBytesMax = 2 * rpc.RequestBytesMax
	// streamsMax bounds calls at once on one connection, as on gRPC's.
	streamsMax = 128
)

// Config is what a server needs.
type Config struct {
	// TLS shows the gateway's certificate; TLS 1.3 only. Required.
	TLS *tls.Config
	// Connect makes a connection to the gateway's public gRPC server as from a caller's address. Required.
	Connect func(ctx context.Context, from net.Addr) (net.Conn, error)
	// ConnectTLS verifies the gRPC server's certificate and names it. Required.
	ConnectTLS *tls.Config
	// Healthy says whether every service answers that it serves. Required.
	Healthy func(ctx context.Context) error
	// Logger gets what went wrong in here; each call is logged where it ends, by the gRPC server. Nil means slog.Default.
	Logger *slog.Logger
}

// Server serves HTTP and JSON.
type Server struct {
	http    *http.Server
	mux     *runtime.ServeMux
	connect func(ctx context.Context, from net.Addr) (net.Conn, error)
	tls     *tls.Config
	healthy func(ctx context.Context) error
	logger  *slog.Logger
	leaving atomic.Bool
}

// New makes a server.
func New(c Config) (*Server, error) {
	if c.Connect == nil || c.Healthy == nil {
		return nil, errors.New("httpjson: a way to the gateway's gRPC server and to its health is needed")
	}
	for _, config := range []*tls.Config{c.TLS, c.ConnectTLS} {
		if config == nil || config.MinVersion < tls.VersionTLS13 {
			return nil, errors.New("httpjson: TLS is needed on both sides, and 1.3 only")
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Server{connect: c.Connect, tls: c.ConnectTLS, healthy: c.Healthy, logger: c.Logger}
	s.mux = newMux()
	if err := httpgen.RegisterGatewayServiceHandlerClient(context.Background(), s.mux,
		gatewayv1.NewGatewayServiceClient(byCaller{})); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler: s, TLSConfig: c.TLS,
		ReadHeaderTimeout: readMax, ReadTimeout: readMax, WriteTimeout: callMax + writeMax, IdleTimeout: idleMax, MaxHeaderBytes: headBytesMax,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streamsMax, SendPingTimeout: pingEvery, PingTimeout: pingMax, WriteByteTimeout: writeMax},
		// What a stranger's handshake did wrong is not the operator's to act on.
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ConnContext: withCaller,
	}
	return s, nil
}

// newMux makes the router. Nothing of it that reads a request's head is left as it was made: the one header that counts
// has been read before.
func newMux() *runtime.ServeMux {
	none := func(string) (string, bool) { return "", false }
	return runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newCodec()),
		runtime.WithIncomingHeaderMatcher(none),
		runtime.WithOutgoingHeaderMatcher(none),
		runtime.WithOutgoingTrailerMatcher(none),
		runtime.WithMetadata(tokenMetadata),
		runtime.WithMetadata(traceMetadata),
		runtime.WithErrorHandler(answerError),
		runtime.WithStreamErrorHandler(streamError),
		runtime.WithRoutingErrorHandler(answerUnrouted),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisableChunkedEncoding(), // net/http does it where there is no length.
	)
}

// Serve answers on a listener until Shutdown or Close; then it returns nil. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.ServeTLS(&callerListener{Listener: rpc.Limit(l), server: s}, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Leave makes /healthz say that nobody should be sent here any more. Requests are still answered.
func (s *Server) Leave() { s.leaving.Store(true) }

// Shutdown takes no further requests and waits for those that run until ctx ends. Streams end with the gRPC server that
// they come from: shut that down first.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// Close ends at once, cutting off requests that run.
func (s *Server) Close() error { return s.http.Close() }
