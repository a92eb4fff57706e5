// Package workload takes a program's certificates from the SPIFFE Workload API, which a SPIRE agent serves on a socket of
// the host: nobody issues, copies or renews files. It is apart from package rpc so that only programs link it.
package workload

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
)

// scheme is that of a socket on this host. SPIFFE allows TCP too, where private keys would go over the network in clear.
const scheme = "unix://"

// Credentials are an installation's, from the Workload API on a socket such as unix:///run/spire/agent.sock. The trust
// domain is the installation's id, and of several identities that one counts which is a service's of the installation. It
// waits for the first answer until the context ends. What the API sends later is in force within seconds, until Close; while
// the API is away the last answer stands, until it expires. The logger, nil meaning slog.Default, is told why it has to wait.
func Credentials(ctx context.Context, installation, socket string, logger *slog.Logger) (*rpc.Credentials, error) {
	if !strings.HasPrefix(socket, scheme) {
		return nil, fmt.Errorf("workload: the Workload API's socket is %q, want %s and an absolute path", socket, scheme)
	}
	domain, err := spiffeid.TrustDomainFromString(installation)
	if err != nil {
		return nil, fmt.Errorf("workload: the installation's id is no trust domain: %w", err)
	}
	if logger == nil {
		logger = slog.Default()
	}
	x509, err := workloadapi.NewX509Source(ctx,
		workloadapi.WithClientOptions(workloadapi.WithAddr(socket), workloadapi.WithLogger(troubles{logger})),
		workloadapi.WithDefaultX509SVIDPicker(func(all []*x509svid.SVID) *x509svid.SVID { return ours(installation, all) }))
	if err != nil {
		return nil, fmt.Errorf("workload: %s: %w", socket, err)
	}
	return rpc.WatchCredentials(installation, &source{X509Source: x509, domain: domain}, logger)
}

// ours is the first identity that is a service's of the installation, or nil.
func ours(installation string, all []*x509svid.SVID) *x509svid.SVID {
	for _, svid := range all {
		if _, err := authz.ServiceOf(installation, svid.Certificates[0]); err == nil {
			return svid
		}
	}
	return nil
}

type source struct {
	*workloadapi.X509Source
	domain spiffeid.TrustDomain
}

// Read returns the last answer of the API.
func (s *source) Read() (rpc.Material, error) {
	svid, err := s.GetX509SVID()
	if err != nil {
		return rpc.Material{}, fmt.Errorf("workload: the API gave no identity of a service of %s: %w", s.domain, err)
	}
	bundle, err := s.GetX509BundleForTrustDomain(s.domain)
	if err != nil {
		return rpc.Material{}, fmt.Errorf("workload: the API gave no authorities of %s: %w", s.domain, err)
	}
	certificate, key, err := svid.Marshal()
	if err != nil {
		return rpc.Material{}, err
	}
	authorities, err := bundle.Marshal()
	if err != nil {
		return rpc.Material{}, fmt.Errorf("workload: the authorities of %s: %w", s.domain, err)
	}
	return rpc.Material{Certificate: certificate, Key: key, Authorities: authorities}, nil
}

// troubles hands on what go-spiffe has to say, but for its progress.
type troubles struct{ logger *slog.Logger }

// Debugf says nothing.
func (troubles) Debugf(string, ...any) {}

// Infof says nothing.
func (troubles) Infof(string, ...any) {}

// Warnf tells of what is tried again.
func (l troubles) Warnf(format string, args ...any) {
	l.logger.Warn("the SPIFFE Workload API", "detail", fmt.Sprintf(format, args...))
}

// Errorf tells of what failed.
func (l troubles) Errorf(format string, args ...any) { l.Warnf(format, args...) }
