package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/quota"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// RequestBytesMax bounds a request: the largest carries two or three documents of at most 64 KiB.
	RequestBytesMax = 256 << 10
	// requestBytesHard is where gRPC itself stops reading. Between the two a call is refused with a reason.
	requestBytesHard = 2 * RequestBytesMax
	// AnswerBytesMax bounds an answer: a page of 100 documents of 64 KiB.
	AnswerBytesMax = 8 << 20
	// headerBytesMax bounds a call's metadata: a token of 2 KiB and tracing.
	headerBytesMax = 16 << 10
	// handshakeMax is how long a connection may take until it speaks HTTP/2: half-open ones cost memory only so long.
	handshakeMax = 10 * time.Second
	// callMax bounds a unary call whatever deadline it brings; no call of ours takes more than a few store transactions.
	callMax = time.Minute
	// inFlightMax is the default bound on unary calls that run at once on a public listener: what two cores finish in about a
	// second.
	inFlightMax = 1024
	// inFlightInternalMax is the same for an internal listener, where the callers are gateways, each with its bound. It is what four
	// of them can have open, so that overload is refused at the gateway and no freeze is refused behind it.
	inFlightInternalMax = 4 * (inFlightMax + stopsInFlightMax)
	// stopsInFlightMax is kept apart for freezing and unfreezing, so that a flood of payments cannot keep an owner from
	// stopping them.
	stopsInFlightMax = 64
	// watchesMax bounds open streams; each costs a goroutine and some KiB.
	watchesMax = 8192
	// connectionsMax bounds open connections; further ones are closed at once.
	connectionsMax = 8192
	// streamsPublicMax and streamsInternalMax bound calls at once on one connection. The gateway puts all of its calls on
	// one connection to each service.
	streamsPublicMax   = 128
	streamsInternalMax = 16384
	// streamWindow and connectionWindow are how much a peer may send before it has to wait for whoever reads. They are fixed: gRPC
	// sizes them by itself only by a ping for what it receives, which of a small call and its answer makes three exchanges.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
	// streamWindowPublic is the least that gRPC knows: on a public listener a call's request fits it, but for the largest documents.
	streamWindowPublic = 64 << 10
	// streamWorkers are goroutines that are kept for calls: a new one grows its stack anew for each call. Further calls get one of
	// their own, so this bounds nothing.
	streamWorkers = 16
	// connectionAgeMax makes clients connect again, so that new replicas get load and certificates are shown afresh.
	connectionAgeMax   = 5 * time.Minute
	connectionAgeGrace = callMax
	// pingMin is how often a client may ping, pingEvery how often the server does, pingTimeout when it gives up.
	pingMin     = 15 * time.Second
	pingEvery   = time.Minute
	pingTimeout = 20 * time.Second
)

// Config says what a server is. The zero of every field that is not required is usable.
type Config struct {
	// Installation is the id of the installation. Required.
	Installation string
	// Listener is authz.Internal or authz.Public. Required.
	Listener authz.Listener
	// Credentials are the program's own: an internal listener demands a service's certificate of its peers, a public one
	// shows its certificate and asks for none. Required.
	Credentials *Credentials
	// Validate checks a request against the rules in its contract. Nil means that the service checks all itself, as the
	// co-signer does.
	Validate func(proto.Message) error
	// InFlightMax bounds unary calls that run at once; 0 means 1,024, or 4,352 on an internal listener. Freezing has places of
	// its own.
	InFlightMax int
	// Sources bounds what one network address may ask of a public listener; nil bounds nothing.
	Sources *quota.Quota
	// Stats observes calls, for traces and metrics. May be nil.
	Stats stats.Handler
	// Logger gets one line per call. Nil means slog.Default.
	Logger *slog.Logger
}

// Server is a gRPC server with health checking.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	on     authz.Listener

	drain func() // ends streams
}

// NewServer makes a server. Register services on it, then Serve.
func NewServer(c Config) (*Server, error) {
	if c.Credentials == nil {
		return nil, errors.New("rpc: a server needs credentials")
	}
	authorizer, err := authz.New(c.Installation, c.Listener)
	if err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.InFlightMax == 0 {
		c.InFlightMax = inFlightMax
		if c.Listener == authz.Internal {
			c.InFlightMax = inFlightInternalMax
		}
	}
	if c.InFlightMax < 0 {
		return nil, errors.New("rpc: the bound on calls in flight is negative")
	}
	inFlight := newBound(c.InFlightMax)
	from := sources{quota: c.Sources}
	draining, drain := context.WithCancel(context.Background())

	// The one slice: outermost first.
	unary := []grpc.UnaryServerInterceptor{
		logUnary(c.Logger),
		faultUnary,
		recoverUnary,
		from.unary,
		authorizer.Unary(),
		deadlineUnary,
		inFlight.unary,
		checkUnary(c.Validate),
		enterUnary,
	}
	stream := []grpc.StreamServerInterceptor{
		logStream(c.Logger),
		faultStream,
		recoverStream,
		from.stream,
		authorizer.Stream(),
		inFlight.stream,
		checkStream(c.Validate),
		drainStream(draining),
	}
	streams, window := uint32(streamsInternalMax), int32(streamWindow)
	if c.Listener == authz.Public {
		streams, window = streamsPublicMax, streamWindowPublic
	}
	options := []grpc.ServerOption{
		grpc.Creds(c.Credentials.server(c.Listener, c.Logger)),
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(stream...),
		grpc.ForceServerCodecV2(newFrameCodec()),
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.MaxRecvMsgSize(requestBytesHard),
		grpc.MaxSendMsgSize(AnswerBytesMax),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.MaxConcurrentStreams(streams),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ConnectionTimeout(handshakeMax),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingMin, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: connectionAgeMax, MaxConnectionAgeGrace: connectionAgeGrace, Time: pingEvery, Timeout: pingTimeout,
		}),
	}
	if c.Stats != nil {
		options = append(options, grpc.StatsHandler(c.Stats))
	}
	s := &Server{grpc: grpc.NewServer(options...), health: health.NewServer(), on: c.Listener, drain: drain}
	grpc_health_v1.RegisterHealthServer(s, s.health)
	return s, nil
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(decoded(desc), impl)
}

// Serve answers on a listener until Shutdown or Stop; then it returns nil. It refuses, naming them, when methods are
// registered that the authorization table does not have for this kind of listener. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	registered := s.grpc.GetServiceInfo()
	if err := authz.Check(registered, s.on); err != nil {
		return errors.Join(err, l.Close())
	}
	for service := range registered {
		s.health.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	err := s.grpc.Serve(newLimitListener(l, connectionsMax))
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Shutdown says NOT_SERVING to health checks, takes no further calls, ends streams that watch with UNAVAILABLE, so that
// they go on elsewhere, waits for calls that run until ctx ends, and then stops them.
func (s *Server) Shutdown(ctx context.Context) {
	s.health.Shutdown()
	s.drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}

// Stop ends at once, cutting off calls that run.
func (s *Server) Stop() {
	s.drain()
	s.grpc.Stop()
}

// unknownMethod answers calls of what is not registered.
func unknownMethod(any, grpc.ServerStream) error {
	return fault.New(typev1.Reason_REASON_PERMISSION_DENIED, typev1.MoneyMoved_MONEY_MOVED_NO, "this method is not served here")
}
