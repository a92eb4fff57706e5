package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
)

// nextBuild is what another build has beside this one: it says so, and each of its answers, and each request of its gateway's, has a field
// that this one does not know.
var nextBuild = []struct{ file, text, replacement string }{
	{"internal/program/program.go", "\treturn version\n", "\treturn \"next\"\n"},
	{"internal/rpc/interceptor.go", "\tif err == nil {\n\t\treturn resp, nil\n", "\tif err == nil {\n\t\treturn withField(resp), nil\n"},
	{
		"internal/rpc/dial.go", "\treturn grpc.NewClient(target, options...)",
		"\treturn grpc.NewClient(target, append(options, grpc.WithChainUnaryInterceptor(asksWithField))...)",
	},
	{"internal/rpc/next.go", "", `package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func withField(message any) any {
	m := proto.Clone(message.(proto.Message))
	field := protowire.AppendString(protowire.AppendTag(nil, 1999, protowire.BytesType), "next")
	m.ProtoReflect().SetUnknown(append(m.ProtoReflect().GetUnknown(), field...))
	return m
}

func asksWithField(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption,
) error {
	return invoke(ctx, method, withField(req), reply, cc, o...)
}
`},
}

// buildNext builds the five programs as another version.
func buildNext(t *testing.T) (dir string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for _, change := range nextBuild {
		file := filepath.Join(root, filepath.FromSlash(change.file))
		text := change.replacement
		if change.text != "" {
			now := read(t, file)
			if strings.Count(now, change.text) != 1 {
				t.Fatalf("%s has %q %d times, want once", change.file, change.text, strings.Count(now, change.text))
			}
			text = strings.Replace(now, change.text, change.replacement, 1)
		}
		changed := filepath.Join(dir, strings.ReplaceAll(change.file, "/", "-"))
		write(t, changed, text)
		overlay.Replace[file] = changed
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), string(b))
	args := []string{"build", "-buildvcs=false", "-overlay", filepath.Join(dir, "overlay.json"), "-o", dir + string(filepath.Separator)}
	for _, name := range programNames {
		args = append(args, "github.com/halfkey/halfkey/cmd/"+name)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// The order of docs/operate.md, "Upgrading": replica by replica to another build and back, with payments between each two steps, so
// that for half of them two builds of a service answer side by side.
func TestOperateUpgrade(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newSite(t, "gateway", "identity", "policy", "cosigner")
	next := buildNext(t)
	s.up()
	p := s.people(ctx, t, 1)
	paid := 0
	pay := func() {
		t.Helper()
		for range 4 { // Each replica is asked.
			p.pay(ctx, t, 0, fmt.Sprintf("n-%d", paid))
			paid++
		}
	}
	pay()
	order := []string{"identity", "policy", "cosigner", "ledger", "gateway"}
	roll := func(order []string, dir string, version string) {
		t.Helper()
		for _, name := range order {
			for n := range 2 {
				program := s.programs[replica(name, n)]
				if program == nil {
					continue // The ledger has one.
				}
				program.stop(t)
				program.command = func(args ...string) *exec.Cmd {
					return exec.Command(filepath.Join(dir, name), append([]string{"--config", program.config}, args...)...)
				}
				program.start()
				program.awaitReady()
				if _, said, _ := program.run("version"); !strings.Contains(said, version) {
					t.Fatalf("%s is version %q, want %s", program.name, said, version)
				}
				pay()
			}
		}
	}
	dir := filepath.Dir(binary(t, "gateway"))
	roll(order, next, "next")
	made := s.agent(ctx, t, p.owner, "new")
	if _, err := p.owner.SetGuardRails(ctx, made.Wallet(), client.StandardRules(p.shop.GroupKey())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(t, "operator").Operator(operatorKey(t, s.made.Dir)).Deposit(ctx, made.Wallet(), "new", usd); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(order)
	roll(order, dir, "halfkey")
	// A key made by the other build signs by this one.
	if got, err := made.Pay(ctx, p.order("new")); err != nil || got.State != settled {
		t.Errorf("a wallet that was made by the other build pays: %v, %v", got, err)
	}
	paid++
	wantBalance(ctx, t, p.shop, int64(paid)*usd)
	for _, wallet := range []string{p.payers[0].Wallet(), p.shop.Wallet()} {
		journal, err := p.owner.Journal(ctx, wallet)
		if err == nil {
			err = journal.Verify(s.client(t, "observer").Installation())
		}
		if err != nil {
			t.Errorf("journal of %s: %v", wallet, err)
		}
	}
}
