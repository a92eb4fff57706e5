package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/quota"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Config is what a gateway needs: the installation's files and a connection to each service.
type Config struct {
	// Installations is the whole chain of installation files from number 1 on, oldest first; the last one is in force. A gateway
	// keeps no state, so it serves what it is given: a client that has accepted more refuses it.
	Installations []*evidence.Installation
	// Identity, Policy, Ledger and Cosigner are connections to the services.
	Identity, Policy, Ledger, Cosigner grpc.ClientConnInterface
	// Callers bounds what one agent or owner may ask; nil bounds nothing.
	Callers *quota.Quota
	// Logger receives what the gateway itself has to say. Nil means slog.Default.
	Logger *slog.Logger
	// Tracer makes a span of each step of a payment; nil makes none.
	Tracer trace.TracerProvider
}

// Service is the gateway.
type Service struct {
	gatewayv1.UnimplementedGatewayServiceServer

	installations []*typev1.Envelope
	identity      identityv1.IdentityServiceClient
	policy        policyv1.PolicyServiceClient
	ledger        ledgerv1.LedgerServiceClient
	cosigner      cosignerv1.CosignerServiceClient
	recordKey     []byte // The co-signer's current one.
	repairs       *throttle
	callers       *quota.Quota
	watchLife     time.Duration
	logger        *slog.Logger
	tracer        trace.Tracer
}

// New makes a gateway. It fails when a connection or the installation is missing.
func New(c Config) (*Service, error) {
	if len(c.Installations) == 0 {
		return nil, errors.New("gateway: no installation file")
	}
	inForce, err := evidence.InForce(c.Installations)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if first := c.Installations[0].Number(); first != 1 {
		return nil, fmt.Errorf("gateway: the installation files begin at number %d: "+
			"a client that holds an earlier one needs all of them, from number 1 on", first)
	}
	if c.Identity == nil || c.Policy == nil || c.Ledger == nil || c.Cosigner == nil {
		return nil, errors.New("gateway: a connection to each of identity, policy, ledger and cosigner is needed")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Service{
		identity:  identityv1.NewIdentityServiceClient(c.Identity),
		policy:    policyv1.NewPolicyServiceClient(c.Policy),
		ledger:    ledgerv1.NewLedgerServiceClient(c.Ledger),
		cosigner:  cosignerv1.NewCosignerServiceClient(c.Cosigner),
		recordKey: inForce.Key(typev1.Purpose_PURPOSE_COSIGNER),
		repairs:   &throttle{},
		callers:   c.Callers,
		logger:    c.Logger,

		watchLife: watchLife,
		tracer:    instrument.Tracer(c.Tracer),
	}
	for _, i := range c.Installations {
		s.installations = append(s.installations, i.Envelope())
	}
	return s, nil
}

// Register adds the gateway to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { gatewayv1.RegisterGatewayServiceServer(r, s) }

// installationsPage and installationsBytes bound the installation files of one answer: a chain grows by one per key rotation, and an
// answer stays under rpc's 256 KiB, of which the largest file takes half.
const (
	installationsPage  = 100
	installationsBytes = 128 << 10
)

// GetInstallations answers with the chain of installation files from a number on. It needs no token: the files are
// public, and each client verifies them against the one it pinned.
func (s *Service) GetInstallations(_ context.Context, req *gatewayv1.GetInstallationsRequest) (*gatewayv1.GetInstallationsResponse, error) {
	from := max(req.GetFromNumber(), 1)
	resp := &gatewayv1.GetInstallationsResponse{}
	size := 0
	for i := from - 1; i < uint64(len(s.installations)) && len(resp.Installations) < installationsPage; i++ {
		e := s.installations[i]
		if size += proto.Size(e); size > installationsBytes && len(resp.Installations) > 0 {
			break
		}
		resp.Installations = append(resp.Installations, e)
	}
	return resp, nil
}
