package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestMain lets the test's own binary be halfkey-dev, so that commands run as processes without a second build.
func TestMain(m *testing.M) {
	if os.Getenv("HALFKEY_DEV_TEST") == "main" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "HALFKEY_DEV_TEST=main")
	return cmd
}

func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var stderr strings.Builder
	cmd := command(ctx, t, "demo")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("demo: %v\n%s%s", err, out, &stderr)
	}
	if !strings.HasSuffix(string(out), "\nEverything above happened as told.\n") {
		t.Errorf("demo ends with %q", out[max(0, len(out)-100):])
	}
	if stderr.Len() > 0 {
		t.Errorf("demo writes to standard error:\n%s", &stderr)
	}
	shown := elapsed.ReplaceAllString(string(out), "in some ms")
	for _, act := range strings.Split(readmeDemo(t), "\n\n") {
		if !strings.Contains(shown, act) {
			t.Errorf("README.md shows of the demo what it does not say:\n%s", act)
		}
	}
}

// elapsed is what differs from run to run in the acts of the demo that the README shows.
var elapsed = regexp.MustCompile(`in [0-9.]+ ?m?s\b`)

// readmeDemo is the part of the demo's output that stands in README.md.
func readmeDemo(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "```\nGREEN: pays at once\n")
	acts, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("README.md shows nothing of the demo")
	}
	return elapsed.ReplaceAllString("GREEN: pays at once\n"+strings.TrimSuffix(acts, "\n"), "in some ms")
}

// serve starts `halfkey-dev serve` and waits for its ready file.
func serve(ctx context.Context, t *testing.T, dir, readyFile string, flags ...string) (*exec.Cmd, ready) {
	t.Helper()
	cmd := command(ctx, t, append([]string{"serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--ready-file", readyFile}, flags...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for {
		b, err := os.ReadFile(readyFile)
		if err == nil {
			var r ready
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			return cmd, r
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatal("serve did not get ready")
		case <-time.After(20 * time.Millisecond): // Another process: there is nothing to wait on but its file.
		}
	}
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	data, readyFile := filepath.Join(dir, "data"), filepath.Join(dir, "ready.json")
	cmd, r := serve(ctx, t, data, readyFile)
	checkReadyFile(t, readyFile)

	agent, shop := populate(ctx, t, dir, r)
	pay := func(id string) {
		t.Helper()
		p, err := agent.Pay(ctx, client.Order{ID: id, Recipient: shop, Units: 1_000_000})
		if err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
			t.Fatalf("payment %s: %v, %v", id, p, err)
		}
	}
	pay("before")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("serve after SIGTERM: %v, want exit code 0", err)
	}
	if _, err := os.Stat(readyFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ready file is still there: %v", err)
	}

	_, again := serve(ctx, t, data, readyFile, "--demand-enrolment-token")
	if again.Gateway != r.Gateway {
		t.Errorf("the gateway moved from %s to %s", r.Gateway, again.Gateway)
	}
	pay("after")
	_, err := connect(t, dir, "stranger", again).Register(ctx, client.RegisterOptions{Name: "stranger", OwnerEmail: demoEmail})
	if client.ReasonOf(err) != typev1.Reason_REASON_PERMISSION_DENIED {
		t.Errorf("registering without a token: %v, want PERMISSION_DENIED", err)
	}
}

// The ready file is that of the process which has the directory: a second one leaves it, and a crash's is gone before the next serves.
func TestServeReadyFile(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	data, readyFile := filepath.Join(dir, "data"), filepath.Join(dir, "ready.json")
	cmd, _ := serve(ctx, t, data, readyFile)
	second := command(ctx, t, "serve", "--data-dir", data, "--ready-file", readyFile)
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "another process uses this directory") {
		t.Errorf("a second process on the directory: %v, %s", err, out)
	}
	checkReadyFile(t, readyFile)

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := os.WriteFile(readyFile, []byte("left behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = command(ctx, t, "serve", "--data-dir", data, "--ready-file", readyFile)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for b, _ := os.ReadFile(readyFile); string(b) == "left behind"; b, _ = os.ReadFile(readyFile) {
		if ctx.Err() != nil {
			t.Fatal("the ready file of the process that was killed is still there")
		}
	}
	// It does not serve yet, and SIGTERM ends it as well.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("serve after SIGTERM while it starts: %v, want exit code 0", err)
	}
}

// With a file that says so, health, metrics and traces are where the five programs have theirs, each service's under its own name.
func TestServeObserved(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	collector, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := &collected{services: make(map[string]bool)}
	server := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(server, taken)
	go func() { _ = server.Serve(collector) }()
	t.Cleanup(server.Stop)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	operations := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "serve.yaml")
	text := fmt.Sprintf("operations: %s\ntelemetry: {sample: 1, otlp: {endpoint: '%s', insecure: true}}\n", operations, collector.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, r := serve(ctx, t, filepath.Join(dir, "data"), filepath.Join(dir, "ready.json"), "--config", file)
	agent, shop := populate(ctx, t, dir, r)
	if p, err := agent.Pay(ctx, client.Order{ID: "seen", Recipient: shop, Units: 1_000_000}); err != nil {
		t.Fatalf("payment: %v, %v", p, err)
	}
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + operations + path)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	// The ready file is written before readiness is said.
	for code, _ := get("/readyz"); code != http.StatusOK; code, _ = get("/readyz") {
		if ctx.Err() != nil {
			t.Fatalf("/readyz is %d", code)
		}
		time.Sleep(20 * time.Millisecond)
	}
	for service, metric := range map[string]string{
		"gateway": "rpc_client_call_duration_seconds_count", "identity": "rpc_server_call_duration_seconds_count",
		"policy": "halfkey_verdicts_total", "ledger": "halfkey_holds_opened_total", "cosigner": "halfkey_releases_total",
	} {
		if code, said := get("/metrics/" + service); code != http.StatusOK || !strings.Contains(said, "\n"+metric) ||
			!strings.Contains(said, `service_name="`+service+`"`) {
			t.Errorf("metrics of %s: %d, without %s or its name", service, code, metric)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("serve after SIGTERM: %v, want exit code 0", err)
	}
	// What was not sent yet is sent at the end.
	taken.mu.Lock()
	defer taken.mu.Unlock()
	want := []string{"cosigner", "gateway", "identity", "ledger", "policy"}
	if got := slices.Sorted(maps.Keys(taken.services)); !slices.Equal(got, want) {
		t.Errorf("the collector has spans of %v, want %v", got, want)
	}
}

// collected is an OpenTelemetry collector that keeps whose spans it was sent.
type collected struct {
	coltracepb.UnimplementedTraceServiceServer

	mu       sync.Mutex
	services map[string]bool
}

// Export takes spans.
func (c *collected) Export(_ context.Context, req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, spans := range req.GetResourceSpans() {
		for _, a := range spans.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				c.services[a.GetValue().GetStringValue()] = true
			}
		}
	}
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

// connect opens a client on a home of a name, made if there is none.
func connect(t *testing.T, dir, name string, r ready) *client.Client {
	t.Helper()
	file, err := os.ReadFile(r.InstallationFile)
	if err != nil {
		t.Fatal(err)
	}
	h, err := client.OpenHome(filepath.Join(dir, name))
	if err == nil {
		err = h.Connect(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(h, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func checkReadyFile(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the ready file's mode is %v, want 0600", info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]string
	if err := json.Unmarshal(b, &object); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for k, v := range object {
		keys = append(keys, k)
		if v == "" {
			t.Errorf("%s is empty", k)
		}
	}
	slices.Sort(keys)
	if want := []string{"gateway", "https", "installation_file", "operator_key_file", "owner_bootstrap_code"}; !slices.Equal(keys, want) {
		t.Errorf("the ready file has %v, want %v", keys, want)
	}
}

// populate makes an owner and two funded agents, with nothing but what the ready file says.
func populate(ctx context.Context, t *testing.T, dir string, r ready) (payer *client.Agent, shop string) {
	t.Helper()
	open := func(name string) *client.Client { return connect(t, dir, name, r) }
	owner, err := open("owner").CreateOwner(ctx, r.OwnerBootstrapCode, demoEmail)
	if err != nil {
		t.Fatal(err)
	}
	var agents []*client.Agent
	for _, name := range []string{"payer", "shop"} {
		c := open(name)
		registered, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: demoEmail})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := owner.Claim(ctx, registered.ClaimCode); err != nil {
			t.Fatal(err)
		}
		a, err := c.Agent("")
		if err != nil {
			t.Fatal(err)
		}
		agents = append(agents, a)
	}
	if _, err := owner.SetGuardRails(ctx, agents[0].Wallet(), client.StandardRules(agents[1].GroupKey())); err != nil {
		t.Fatal(err)
	}
	key, err := operatorKey(r.OperatorKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open("operator").Operator(key).Deposit(ctx, agents[0].Wallet(), "first", 10_000_000); err != nil {
		t.Fatal(err)
	}
	return agents[0], agents[1].Wallet()
}

// operatorKey reads the operator's key file as an operator's own tool would.
func operatorKey(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// TestServeSolana: by two flags the ledger has a rail on Solana, and an agent sees what came in there.
func TestServeSolana(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	chain := solanarpctest.New(t, resource.SolanaDevnet)
	endpoints := filepath.Join(dir, "endpoints")
	if err := os.WriteFile(endpoints, []byte(chain.Endpoint().URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{
		{"--solana-network", resource.SolanaDevnet},
		{"--solana-endpoints-file", endpoints},
		{"--solana-network", "solana:nowhere", "--solana-endpoints-file", endpoints},
	} {
		cmd := command(ctx, t, append([]string{"serve", "--data-dir", filepath.Join(dir, "refused")}, flags...)...)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "solana") {
			t.Errorf("%v: %v, %s", flags, err, out)
		}
	}
	_, r := serve(ctx, t, filepath.Join(dir, "data"), filepath.Join(dir, "ready.json"),
		"--solana-network", resource.SolanaDevnet, "--solana-endpoints-file", endpoints)
	agent, _ := populate(ctx, t, dir, r)
	owner, err := connect(t, dir, "owner", r).Owner()
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range resource.Tokens() {
		if token.Network != resource.SolanaDevnet {
			continue
		}
		mint, err := solana.ParseKey(token.Mint)
		if err != nil {
			t.Fatal(err)
		}
		rules := client.StandardRules([32]byte{1})
		rules.Assets = []string{token.Asset()}
		if _, err := owner.SetGuardRails(ctx, agent.Wallet(), rules); err != nil {
			t.Fatal(err)
		}
		chain.Fund(agent.GroupKey(), mint, 5_000_000)
		chain.Finalize()
		for {
			account, err := agent.Account(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(account.Balances, func(b client.Balance) bool {
				return b.Asset == token.Asset() && b.Available == 5_000_000 && b.Slot > 0
			}) {
				return
			}
			time.Sleep(time.Second) // The ledger looks every few seconds, in another process.
		}
	}
	t.Error("no token is known on devnet")
}
