package rpc

import (
	"context"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/quota"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// sources bounds what one network address may ask, before anything is known about the caller. Freezes and unfreezes go past it,
// and so do health checks: a flood from the address that an owner shares must not keep the owner from stopping a wallet.
type sources struct{ quota *quota.Quota }

func (s sources) enter(ctx context.Context, method string) (leave func(), err error) {
	if r, _ := authz.Lookup(method); r.Stops || r.AnyPeer {
		return func() {}, nil
	}
	leave, ok := s.quota.Enter(sourceOf(ctx), time.Now())
	if !ok {
		return nil, fault.New(typev1.Reason_REASON_LIMIT_EXCEEDED, nothingMoved, "too many calls from this network address")
	}
	return leave, nil
}

func (s sources) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	leave, err := s.enter(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer leave()
	return handler(ctx, req)
}

func (s sources) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	leave, err := s.enter(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	defer leave()
	return handler(srv, ss)
}

// sourceBits is what of an IPv6 address is one network's: whoever has one address there has all of them.
const sourceBits = 64

// sourceOf is the caller's IPv4 address or IPv6 network.
func sourceOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	at, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	ip := at.Addr().Unmap()
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(sourceBits); err == nil {
			return network.String()
		}
	}
	return ip.String()
}
