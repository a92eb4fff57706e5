package allinone_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/rpc"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
)

func config(dir string) allinone.Config {
	return allinone.Config{DataDir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T, c allinone.Config) *allinone.System {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := allinone.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	return s
}

// refused starts an installation that must not start, and returns why.
func refused(t *testing.T, c allinone.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := allinone.Start(ctx, c)
	if err == nil {
		t.Fatal(errors.Join(errors.New("it started"), s.Kill()))
	}
	return err
}

// TestSameDirectory starts one directory three times, after a drain and after a crash: it is the same installation at the
// same addresses.
func TestSameDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "installation")
	first := start(t, config(dir))
	want := []string{first.Installation().Digest().String(), first.Address(), first.HTTPS(), first.BootstrapCode()}
	stop := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return first.Stop(ctx)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"after a drain", "after a crash"} {
		s := start(t, config(dir))
		if got := []string{s.Installation().Digest().String(), s.Address(), s.HTTPS(), s.BootstrapCode()}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if err := s.Kill(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFileModes demands that nothing in the directory is for anyone but its owner, but what is public.
func TestFileModes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := start(t, config(dir))
	for _, file := range []string{
		"cosigner.key", "policy.key", "ledger.key", "operator.key", "bootstrap.key", "ca.key", "kek.json", "ledger.db",
	} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := info.Mode().Perm(); got&0o077 != 0 {
			t.Errorf("%s has mode %o", file, got)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("the directory has mode %o, want 700", got)
	}
	if key, err := s.OperatorKey(); err != nil || !slices.Equal([]byte(key[32:]), s.Installation().Operators()[0]) {
		t.Errorf("the operator's key is not the one in the installation file: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	busy := filepath.Join(t.TempDir(), "busy")
	running := start(t, config(busy))

	made := filepath.Join(t.TempDir(), "made")
	if err := start(t, config(made)).Kill(); err != nil {
		t.Fatal(err)
	}
	copyOf := func(t *testing.T, without ...string) string {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{
			"installation.json", "cosigner.key", "policy.key", "ledger.key", "bootstrap.key", "bootstrap.pub", "ca.pem", "ca.key", "kek.json",
		} {
			b, err := os.ReadFile(filepath.Join(made, file))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(without, file) {
				if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		return dir
	}
	otherKey := func(t *testing.T, file string) string {
		t.Helper()
		dir := copyOf(t)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Repeat("07", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	open := func(t *testing.T) string {
		t.Helper()
		dir := copyOf(t)
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	// The copy without anything wrong starts: the refusals below are of what is wrong with them.
	if err := start(t, config(copyOf(t))).Kill(); err != nil {
		t.Fatal(err)
	}
	listen := func(address string) func(*testing.T) allinone.Config {
		return func(t *testing.T) allinone.Config {
			c := config(filepath.Join(t.TempDir(), "new"))
			c.Listen = address
			return c
		}
	}
	tests := []struct {
		name   string
		config func(t *testing.T) allinone.Config
		want   string
	}{
		{"no directory", func(*testing.T) allinone.Config { return config("") }, "no data directory"},
		{"directory in use", func(*testing.T) allinone.Config { return config(busy) }, "another process"},
		{"directory that others read", func(t *testing.T) allinone.Config { return config(open(t)) }, "0700"},
		{"address taken", listen(running.Address()), "address already in use"},
		{"address without a host", listen(":0"), "must name a host"},
		{"address of no interface in particular", listen("0.0.0.0:0"), "must name a host"},
		{"not an address", listen("here"), "missing port"},
		{"co-signer's key missing", func(t *testing.T) allinone.Config { return config(copyOf(t, "cosigner.key")) }, "no such file"},
		{"ledger's key missing", func(t *testing.T) allinone.Config { return config(copyOf(t, "ledger.key")) }, "no such file"},
		{"another co-signer's key", func(t *testing.T) allinone.Config { return config(otherKey(t, "cosigner.key")) }, "not the key"},
		{"another policy's key", func(t *testing.T) allinone.Config { return config(otherKey(t, "policy.key")) }, "not the key"},
		{"another ledger's key", func(t *testing.T) allinone.Config { return config(otherKey(t, "ledger.key")) }, "not the key"},
		{"another bootstrap code", func(t *testing.T) allinone.Config { return config(otherKey(t, "bootstrap.key")) }, "not of one key"},
		{"authority's key missing", func(t *testing.T) allinone.Config { return config(copyOf(t, "ca.key")) }, "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := refused(t, test.config(t)); !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want one about %q", err, test.want)
			}
		})
	}
}

// TestFailedStartLeavesNothing demands that addresses and locks are free again after a start that failed.
func TestFailedStartLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "installation")
	s := start(t, config(dir))
	address := s.Address()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	kek := filepath.Join(dir, "kek.json")
	good, err := os.ReadFile(kek)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kek, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = refused(t, config(dir)) // After policy and ledger have been started.
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kek, good, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, config(dir))
}

func TestOperatorKeyElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "installation")
	if err := start(t, config(dir)).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "operator.key")); err != nil {
		t.Fatal(err)
	}
	s := start(t, config(dir))
	if _, err := s.OperatorKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want a file that is not there", err)
	}
}

func TestHTTPS(t *testing.T) {
	s := start(t, config(filepath.Join(t.TempDir(), "installation")))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.Installation().Content().GetCaPem()))
	web := &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}},
	}
	t.Cleanup(web.CloseIdleConnections)
	get := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.HTTPS()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, body := get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	code, body := get("/v1/installations")
	var chain gatewayv1.GetInstallationsResponse
	if err := protojson.Unmarshal([]byte(body), &chain); err != nil || code != http.StatusOK {
		t.Fatalf("/v1/installations: %d %v", code, err)
	}
	if n := len(chain.GetInstallations()); n != 1 {
		t.Fatalf("%d installation files, want 1", n)
	}
	i, err := evidence.ParseInstallation(chain.GetInstallations()[0])
	if err != nil || i.Digest() != s.Installation().Digest() {
		t.Errorf("another installation file is served: %v", err)
	}
	for path, want := range map[string]int{
		"/v1/installations?from_number=2": http.StatusOK, "/v1/installations?from_number=18446744073709551615": http.StatusOK,
		"/v1/installations?from_number=-1": http.StatusBadRequest, "/v1/installations?from_number=x": http.StatusBadRequest,
		"/": http.StatusNotFound,
	} {
		if code, _ := get(path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

// TestWrap demands that each of the gateway's four connections can be wrapped, and that only those are.
func TestWrap(t *testing.T) {
	var got []authz.Service
	c := config(filepath.Join(t.TempDir(), "installation"))
	c.Wrap = func(to authz.Service, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		got = append(got, to)
		return conn
	}
	start(t, c)
	slices.Sort(got)
	if want := []authz.Service{authz.Cosigner, authz.Identity, authz.Ledger, authz.Policy}; !slices.Equal(got, want) {
		t.Errorf("wrapped %v, want %v", got, want)
	}
}

// TestPublicListener demands that the public listener serves the gateway, and no service.
func TestPublicListener(t *testing.T) {
	s := start(t, config(filepath.Join(t.TempDir(), "installation")))
	client, err := rpc.PublicClientTLS([]byte(s.Installation().Content().GetCaPem()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(rpc.DialConfig{Target: "passthrough:///" + s.Address(), TLS: client})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	chain, err := gatewayv1.NewGatewayServiceClient(conn).GetInstallations(ctx, &gatewayv1.GetInstallationsRequest{})
	if err != nil || len(chain.GetInstallations()) != 1 {
		t.Errorf("the gateway: %v, %v", chain, err)
	}
	for _, method := range []string{
		"/halfkey.cosigner.v1.CosignerService/Release", "/halfkey.ledger.v1.LedgerService/CreatePayment",
		"/halfkey.policy.v1.PolicyService/Judge", "/halfkey.identity.v1.IdentityService/Authenticate",
	} {
		err := conn.Invoke(ctx, method, &gatewayv1.GetInstallationsRequest{}, &gatewayv1.GetInstallationsResponse{})
		if err == nil || !strings.Contains(err.Error(), "PermissionDenied") {
			t.Errorf("%s on the public listener: %v", method, err)
		}
	}
}
