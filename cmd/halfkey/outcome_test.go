package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
)

// inProcess runs a command line in this process.
func inProcess(ctx context.Context, env map[string]string, stdin string, args ...string) ran {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &stdout, &stderr, func(name string) string { return env[name] })
	return ran{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// deaf is a ledger whose answers to settlements get lost while it is on.
type deaf struct {
	grpc.ClientConnInterface
	on *atomic.Bool
}

func (d deaf) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := d.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	if d.on.Load() && strings.HasSuffix(method, "/SettlePayment") {
		return status.Error(codes.Unavailable, "the answer got lost")
	}
	return err
}

// What became of a payment is told as it is known: unknown while an answer is lost, paid once it is found, unavailable with
// nothing moved where nobody was reached.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	lost := new(atomic.Bool)
	h := halfkeytest.Start(t, halfkeytest.WithWrap(func(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		if service != "ledger" {
			return conn
		}
		return deaf{conn, lost}
	}))
	shop := h.Agent("Outcome Shop")
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(t.Context(), client.RegisterOptions{Name: "Outcome Buyer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().Claim(t.Context(), r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	buyer, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	h.GuardRails(buyer, client.StandardRules(shop.GroupKey()))
	h.Fund(buyer, fundedUnits)
	env := map[string]string{client.HomeVariable: home.Dir()}
	pay := func(ctx context.Context, id string, more ...string) ran {
		return inProcess(ctx, env, "", append([]string{"pay", "@outcome-shop", "2", "--id", id}, more...)...)
	}

	lost.Store(true)
	got := pay(t.Context(), "lost", "--json")
	if f := object(t, got.stderr); got.code != exitUnknown || got.stdout != "" || f["money_moved"] != "UNKNOWN" ||
		!strings.Contains(f["next"].(string), "--id lost") || f["exit_code"] != float64(exitUnknown) {
		t.Errorf("an answer that got lost: %+v", got)
	}
	if got := pay(t.Context(), "lost-too"); got.code != exitUnknown || !strings.Contains(got.stderr, "halfkey: money moved: UNKNOWN") {
		t.Errorf("an answer that got lost: %+v", got)
	}
	lost.Store(false)
	for _, id := range []string{"lost", "lost-too", "lost"} {
		if got := pay(t.Context(), id); got.code != exitDone || !strings.HasPrefix(got.stdout, "SETTLED: 2 USD") {
			t.Errorf("%s, repeated: %+v", id, got)
		}
	}
	if got := inProcess(t.Context(), env, "", "balance", "--json"); !strings.Contains(got.stdout, `"available_units":"96000000"`) {
		t.Errorf("after two payments: %+v", got)
	}

	// Nobody listens.
	h.Kill()
	for _, args := range [][]string{{"balance"}, {"payments", "show", "lost"}, {"freeze"}} {
		got := inProcess(t.Context(), env, "", append(args, "--json")...)
		if f := object(t, got.stderr); got.code != exitUnavailable || f["reason"] != "UNAVAILABLE" || f["money_moved"] != "NO" || f["retryable"] != true {
			t.Errorf("%v while nobody listens: %+v", args, got)
		}
	}
	if got := pay(t.Context(), "nobody"); got.code != exitUnavailable || !strings.Contains(got.stderr, "halfkey: money moved: NO") {
		t.Errorf("a payment while nobody listens: %+v", got)
	}

	// Somebody takes the call and never answers.
	l, err := net.Listen("tcp", h.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if got := pay(t.Context(), "hung", "--timeout", "1s"); got.code != exitUnavailable ||
		!strings.Contains(got.stderr, "the time that --timeout gives has passed") || !strings.Contains(got.stderr, "halfkey: money moved: NO") {
		t.Errorf("a payment whose time is up: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	if got := pay(ctx, "hung", "--json"); got.code != exitUnavailable || !strings.Contains(got.stderr, `"message":"interrupted (`) ||
		!strings.Contains(got.stderr, `"money_moved":"NO"`) {
		t.Errorf("a payment that is interrupted: %+v", got)
	}
}
