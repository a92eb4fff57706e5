package allinone_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	"github.com/halfkey/halfkey/internal/rpc/rpctest"
)

// authorityOf is the authority of an installation's directory.
func authorityOf(t *testing.T, dir string) *devcert.Authority {
	t.Helper()
	var pair devcert.Pair
	for name, into := range map[string]*[]byte{"ca.pem": &pair.Certificate, "ca.key": &pair.Key} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		*into = content
	}
	ca, err := devcert.ParseAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func rootsOf(t *testing.T, s *allinone.System) *x509.CertPool {
	t.Helper()
	trust, err := rpc.PublicClientTLS([]byte(s.Installation().Content().GetCaPem()))
	if err != nil {
		t.Fatal(err)
	}
	return trust.RootCAs
}

// TestListeners holds the listeners of a whole installation, with the services behind them, to what every listener must
// refuse: the four internal ones and the two public ones.
func TestListeners(t *testing.T) {
	internal := make(map[authz.Service]string)
	c := config(filepath.Join(t.TempDir(), "installation"))
	c.Wrap = func(to authz.Service, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		dialed, ok := conn.(*grpc.ClientConn)
		if !ok {
			t.Fatalf("the connection to the %s is a %T", to, conn)
		}
		internal[to] = strings.TrimPrefix(dialed.Target(), "passthrough:///")
		return conn
	}
	s := start(t, c)
	ca := authorityOf(t, c.DataDir)
	for _, service := range []authz.Service{authz.Identity, authz.Policy, authz.Ledger, authz.Cosigner} {
		t.Run(string(service), func(t *testing.T) {
			rpctest.Internal(t, rpctest.Listener{
				Address: internal[service], Service: service, Installation: s.Installation().ID(), Authority: ca,
			})
		})
	}
	t.Run("gateway by gRPC", func(t *testing.T) { rpctest.Public(t, s.Address(), rootsOf(t, s)) })
	t.Run("gateway by HTTPS", func(t *testing.T) { rpctest.Public(t, strings.TrimPrefix(s.HTTPS(), "https://"), rootsOf(t, s)) })
}

// TestClientsRefuse demands that the SDK and an ordinary HTTPS client, which trust the installation file's authority and
// nobody else, hand no request to what only claims to be the gateway.
func TestClientsRefuse(t *testing.T) {
	c := config(filepath.Join(t.TempDir(), "installation"))
	s := start(t, c)
	file, err := os.ReadFile(s.InstallationFile())
	if err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func(ctx context.Context, address string) error{
		"HTTPS": func(ctx context.Context, address string) error {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: rootsOf(t, s), MinVersion: tls.VersionTLS13}}
			defer transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/healthz", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		},
		"SDK": func(ctx context.Context, address string) error {
			home, err := client.OpenHome(filepath.Join(t.TempDir(), "home"))
			if err == nil {
				err = home.Connect(file)
			}
			if err != nil {
				t.Fatal(err)
			}
			// Whatever address the installation file gives, somebody has led this connection elsewhere.
			opened, err := client.Open(home, client.Options{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", address)
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			_, err = opened.EarlierInstallations(ctx)
			return err
		},
	} {
		for _, server := range rpctest.Servers(t, authorityOf(t, c.DataDir), s.Installation().ID()) {
			t.Run(name+"/"+server.Name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err := ask(ctx, server.Address)
				if (server.Calls() > 0) != server.OK {
					t.Errorf("it got %d requests; %v", server.Calls(), err)
				}
				if err == nil && !server.OK {
					t.Error("it answers for the gateway")
				}
			})
		}
	}
}
