package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// proxy is a gateway that was broken into: it carries calls to the real one and does to them what a test says.
type proxy struct {
	gatewayv1.UnimplementedGatewayServiceServer
	t       testing.TB
	real    *grpc.ClientConn
	address string
	ca      string

	mu     sync.Mutex
	before func(method string, req proto.Message) error
	after  func(method string, req, resp proto.Message) error
	calls  map[string]int
	// instead answers a method without carrying the call.
	instead map[string]proto.Message
}

// newProxy starts one in front of an installation.
func newProxy(t testing.TB, h *halfkeytest.System) *proxy {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	authority, err := devcert.NewAuthority("proxy", time.Now())
	must(err)
	leaf, err := authority.Issue(devcert.Leaf{Hosts: []string{"127.0.0.1"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, time.Now())
	must(err)
	certificate, err := tls.X509KeyPair(leaf.Certificate, leaf.Key)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(h.Installation().Content().GetCaPem()))
	conn, err := grpc.NewClient(h.Address(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})))
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	p := &proxy{t: t, real: conn, address: listener.Addr().String(), ca: string(authority.Certificate()), calls: make(map[string]int)}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})),
		grpc.UnaryInterceptor(p.unary),
	)
	gatewayv1.RegisterGatewayServiceServer(server, p)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		_ = conn.Close()
	})
	return p
}

// unary carries one call; the handlers below it are never reached.
func (p *proxy) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	name := protoreflect.FullName(info.FullMethod[1:])
	service, method := name[:len("halfkey.gateway.v1.GatewayService")], name[len("halfkey.gateway.v1.GatewayService")+1:]
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(service)
	if err != nil {
		return nil, err
	}
	out, err := protoregistry.GlobalTypes.FindMessageByName(d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method)).Output().FullName())
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	before, after, instead := p.before, p.after, p.instead[string(method)]
	p.calls[string(method)]++
	p.mu.Unlock()
	if instead != nil {
		return instead, nil
	}
	if before != nil {
		if err := before(string(method), req.(proto.Message)); err != nil {
			return nil, err
		}
	}
	incoming, _ := metadata.FromIncomingContext(ctx)
	outgoing := metadata.MD{}
	if token := incoming.Get("halfkey-token-bin"); len(token) > 0 {
		outgoing.Set("halfkey-token-bin", token...)
	}
	resp := out.New().Interface()
	if err := p.real.Invoke(metadata.NewOutgoingContext(ctx, outgoing), info.FullMethod, req, resp); err != nil {
		return nil, err
	}
	if after != nil {
		if err := after(string(method), req.(proto.Message), resp); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// WatchPayment and WatchPayments carry a stream, and do to it what a test says.
func (p *proxy) WatchPayment(req *gatewayv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[typev1.Payment]) error {
	return carry(p, "WatchPayment", req, stream, gatewayv1.GatewayServiceClient.WatchPayment)
}

func (p *proxy) WatchPayments(req *gatewayv1.WatchPaymentsRequest, stream grpc.ServerStreamingServer[gatewayv1.WatchPaymentsResponse]) error {
	return carry(p, "WatchPayments", req, stream, gatewayv1.GatewayServiceClient.WatchPayments)
}

func carry[Req any, Resp any](
	p *proxy, method string, req *Req, stream grpc.ServerStreamingServer[Resp],
	open func(gatewayv1.GatewayServiceClient, context.Context, *Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Resp], error),
) error {
	p.mu.Lock()
	before, after := p.before, p.after
	p.calls[method]++
	p.mu.Unlock()
	if before != nil {
		if err := before(method, any(req).(proto.Message)); err != nil {
			return err
		}
	}
	incoming, _ := metadata.FromIncomingContext(stream.Context())
	outgoing := metadata.MD{}
	outgoing.Set("halfkey-token-bin", incoming.Get("halfkey-token-bin")...)
	inner, err := open(gatewayv1.NewGatewayServiceClient(p.real), metadata.NewOutgoingContext(stream.Context(), outgoing), req)
	if err != nil {
		return err
	}
	for {
		resp, err := inner.Recv()
		if err != nil {
			return err
		}
		if after != nil {
			if err := after(method, any(req).(proto.Message), any(resp).(proto.Message)); err != nil {
				return err
			}
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// alter makes the proxy change the answers of one method.
func alter[Resp proto.Message](p *proxy, method string, change func(resp Resp)) {
	p.set(nil, func(m string, _, resp proto.Message) error {
		if m == method {
			change(resp.(Resp))
		}
		return nil
	})
}

// called is how often a method was called.
func (p *proxy) called(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[method]
}

// Long names of what the proxy's hooks see.
type (
	installations = gatewayv1.GetInstallationsResponse
	fromNumber    = gatewayv1.GetInstallationsRequest
)

// replay makes the proxy answer a method with an answer of before.
func (p *proxy) replay(method string, resp proto.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead = map[string]proto.Message{method: resp}
}

// honest makes the proxy carry everything unchanged.
func (p *proxy) honest() { p.set(nil, nil) }

func (p *proxy) set(before func(string, proto.Message) error, after func(string, proto.Message, proto.Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after, p.instead = before, after, nil
}

// lose makes the proxy lose the next answer of a method, after the call was carried out, or the call itself.
func (p *proxy) lose(method string, answer bool) {
	lost := false
	once := func(m string) error {
		if m != method || lost {
			return nil
		}
		lost = true
		return status.Error(codes.DataLoss, "lost")
	}
	if answer {
		p.set(nil, func(m string, _, _ proto.Message) error { return once(m) })
	} else {
		p.set(func(m string, _ proto.Message) error { return once(m) }, nil)
	}
}

// home is a fresh client home whose gateway is the proxy: the operator has signed a successor of the installation file that
// says so.
func (p *proxy) home(h *halfkeytest.System) *client.Home {
	p.t.Helper()
	dir := filepath.Join(p.t.TempDir(), "home")
	home, err := client.OpenHome(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, file := range p.files(h) {
		if err := home.Connect(file); err != nil {
			p.t.Fatal(err)
		}
	}
	return home
}

// files are the installation's file and its successor.
func (p *proxy) files(h *halfkeytest.System) [][]byte {
	p.t.Helper()
	first := h.Installation()
	content := first.Content()
	content.Number++
	content.Predecessor = first.Digest().Bytes()
	content.GatewayAddresses, content.CaPem = []string{p.address}, p.ca
	e, err := evidence.Sign(h.OperatorKey(), content)
	if err != nil {
		p.t.Fatal(err)
	}
	second, err := evidence.Succeed(first, e)
	if err != nil {
		p.t.Fatal(err)
	}
	var files [][]byte
	for _, i := range []*evidence.Installation{first, second} {
		b, err := i.MarshalFile()
		if err != nil {
			p.t.Fatal(err)
		}
		files = append(files, b)
	}
	return files
}

// agent registers and claims an agent through the proxy.
func (p *proxy) agent(h *halfkeytest.System, name string) (*client.Agent, *client.Client, *client.Home) {
	p.t.Helper()
	ctx := testContext(p.t)
	home := p.home(h)
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		p.t.Fatal(err)
	}
	a, err := c.Agent(r.Wallet)
	if err != nil {
		p.t.Fatal(err)
	}
	return a, c, home
}

// flip returns a copy of an envelope with one bit of its payload changed.
func flip(e *typev1.Envelope) *typev1.Envelope {
	c := proto.CloneOf(e)
	c.Payload[len(c.Payload)-1] ^= 1
	return c
}
