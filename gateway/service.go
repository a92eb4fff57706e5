package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Config is what a gateway needs: the installation's files and a connection to each service.
type Config struct {
	// Installations is the chain of installation files, oldest first; the last one is in force.
	Installations []*evidence.Installation
	// Identity, Policy, Ledger and Cosigner are connections to the services.
	Identity, Policy, Ledger, Cosigner grpc.ClientConnInterface
	// Logger receives what the gateway itself has to say. Nil means slog.Default.
	Logger *slog.Logger
}

// Service is the gateway.
type Service struct {
	gatewayv1.UnimplementedGatewayServiceServer

	installations []*typev1.Envelope
	identity      identityv1.IdentityServiceClient
	policy        policyv1.PolicyServiceClient
	ledger        ledgerv1.LedgerServiceClient
	cosigner      cosignerv1.CosignerServiceClient
	repairs       *throttle
	watchLife     time.Duration
	logger        *slog.Logger
}

// New makes a gateway. It fails when a connection or the installation is missing.
func New(c Config) (*Service, error) {
	if len(c.Installations) == 0 {
		return nil, errors.New("gateway: no installation file")
	}
	if c.Identity == nil || c.Policy == nil || c.Ledger == nil || c.Cosigner == nil {
		return nil, errors.New("gateway: a connection to each of identity, policy, ledger and cosigner is needed")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Service{
		identity: identityv1.NewIdentityServiceClient(c.Identity),
		policy:   policyv1.NewPolicyServiceClient(c.Policy),
		ledger:   ledgerv1.NewLedgerServiceClient(c.Ledger),
		cosigner: cosignerv1.NewCosignerServiceClient(c.Cosigner),
		repairs:  &throttle{},
		logger:   c.Logger,

		watchLife: watchLife,
	}
	for _, i := range c.Installations {
		s.installations = append(s.installations, i.Envelope())
	}
	return s, nil
}

// Register adds the gateway to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { gatewayv1.RegisterGatewayServiceServer(r, s) }

// installationsPage is how many installation files one answer carries at most: a chain grows by one per key rotation.
const installationsPage = 100

// GetInstallations answers with the chain of installation files from a number on. It needs no token: the files are
// public, and each client verifies them against the one it pinned.
func (s *Service) GetInstallations(_ context.Context, req *gatewayv1.GetInstallationsRequest) (*gatewayv1.GetInstallationsResponse, error) {
	from := max(req.GetFromNumber(), 1)
	resp := &gatewayv1.GetInstallationsResponse{}
	for i := from - 1; i < uint64(len(s.installations)) && len(resp.Installations) < installationsPage; i++ {
		resp.Installations = append(resp.Installations, s.installations[i])
	}
	return resp, nil
}
