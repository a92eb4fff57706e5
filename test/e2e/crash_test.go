// Package e2e_test runs the whole system and breaks it: what must hold is seen from outside, by an agent's and an owner's
// own checks.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// step is one call that the gateway makes of a service, at which its process can die.
type step struct {
	name, method string
	// beside are the calls that the gateway makes at the same time, if any. The point before a step then comes when the others
	// were answered, and the point after it before any other was made: all services but one have acted, or one alone.
	beside []string
}

// atOnce are steps whose calls the gateway makes at the same time.
func atOnce(steps ...step) []step {
	for i := range steps {
		for j, other := range steps {
			if j != i {
				steps[i].beside = append(steps[i].beside, other.method)
			}
		}
	}
	return steps
}

// point is where the installation dies: at the nth call of its method, from 1, before it or after it was answered.
type point struct {
	step
	nth   int
	after bool
	// all says that the calls beside are answered too: the answer is lost when all services have acted.
	all bool
}

// String is the point's name in tests.
func (p point) String() string {
	when := "before"
	if p.after {
		when = "after"
	}
	if p.all {
		when += " all"
	}
	return p.name + ", " + when
}

// points are all points of some steps.
func points(steps []step) []point {
	var all []point
	seen := make(map[string]int)
	for _, s := range steps {
		seen[s.method]++
		all = append(all, point{step: s, nth: seen[s.method]}, point{step: s, nth: seen[s.method], after: true})
		if len(s.beside) > 0 {
			all = append(all, point{step: s, nth: seen[s.method], after: true, all: true})
		}
	}
	return all
}

// role is what a crasher does with one call.
type role int

const (
	passes   role = iota
	dies          // The call is the armed one.
	answered      // The call is beside the armed one, which waits for its answer.
	kept          // The call is beside the armed one, and is not made.
)

// crasher sees every call that the gateway makes of a service, and kills the installation at one of them.
type crasher struct {
	mu          sync.Mutex
	armed       point
	left        int           // Calls of the armed method until the installation dies; 0 is not armed.
	beside      chan struct{} // Holds one for each call beside the armed one that was answered.
	kill        func()
	killed      chan struct{}
	recording   bool
	calls       []string
	request     *typev1.Envelope           // The newest agent's request that identity was asked about.
	evidence    *cosignerv1.ReleaseRequest // What the co-signer was asked for a share with last.
	connections map[string]grpc.ClientConnInterface
}

// arm makes a call the last thing that the installation does.
func (c *crasher) arm(p point, kill func()) (killed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.left, c.kill = p, p.nth, kill
	c.beside, c.killed = make(chan struct{}, len(p.beside)), make(chan struct{})
	return c.killed
}

// record returns the methods that are called while do runs.
func (c *crasher) record(do func()) []string {
	c.mu.Lock()
	c.recording, c.calls = true, nil
	c.mu.Unlock()
	do()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording = false
	return c.calls
}

// see takes note of a call and says what becomes of it.
func (c *crasher) see(method string, args any) role {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recording {
		c.calls = append(c.calls, method)
	}
	if r, ok := args.(*identityv1.AuthenticateRequest); ok && r.GetRequest() != nil {
		c.request = r.GetRequest()
	}
	if r, ok := args.(*cosignerv1.ReleaseRequest); ok {
		c.evidence = r
	}
	switch {
	case c.left > 0 && method == c.armed.method:
		if c.left--; c.left == 0 {
			return dies
		}
	case c.killed != nil && slices.Contains(c.armed.beside, method):
		if c.armed.after && !c.armed.all {
			return kept
		}
		return answered
	}
	return passes
}

// lastRequest is the newest request that an agent has sent.
func (c *crasher) lastRequest() *typev1.Envelope {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.request
}

// lastEvidence is what the co-signer was asked for a share with last.
func (c *crasher) lastEvidence() *cosignerv1.ReleaseRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evidence
}

// conn is the gateway's connection to a service, which is called by it without being seen.
func (c *crasher) conn(service string) grpc.ClientConnInterface {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connections[service]
}

// wrap is a halfkeytest.Wrap.
func (c *crasher) wrap(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connections == nil {
		c.connections = make(map[string]grpc.ClientConnInterface)
	}
	c.connections[service] = conn
	return &crashingConn{ClientConnInterface: conn, crasher: c}
}

type crashingConn struct {
	grpc.ClientConnInterface
	crasher *crasher
}

// Invoke passes calls on, but for the armed one and those beside it.
func (c *crashingConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	call := func() error { return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...) }
	switch c.crasher.see(method, args) {
	case dies:
		return c.crasher.die(ctx, call)
	case answered:
		err := call()
		c.crasher.beside <- struct{}{}
		return err
	case kept:
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	default:
		return call()
	}
}

// NewStream passes streams on.
func (c *crashingConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.crasher.see(method, nil)
	return c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

// die kills the installation from within one of its own calls, and never answers that call.
func (c *crasher) die(ctx context.Context, call func() error) error {
	if c.armed.after {
		_ = call() // Whatever the answer was: nobody gets it.
	}
	if c.armed.all || !c.armed.after {
		for range c.armed.beside {
			select {
			case <-c.beside:
			case <-ctx.Done():
			}
		}
	}
	go func() {
		defer close(c.killed)
		c.kill()
	}()
	<-ctx.Done()
	return status.Error(codes.Unavailable, "crashed")
}

// disarm ends what arm began.
func (c *crasher) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.killed = 0, nil
}

// crash runs a call in which the installation dies, and whose caller dies with it, and starts the installation again. It
// returns what the call's caller was told.
func (w *world) crash(t *testing.T, p point, call func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callMax)
	defer cancel()
	killed := w.crasher.arm(p, w.Kill)
	go func() {
		select {
		case <-killed:
			cancel() // Whoever calls a process that died need not find out by trying.
		case <-ctx.Done():
		}
	}()
	err := call(ctx)
	if err == nil {
		t.Fatal("the call succeeded although the installation crashed in it")
	}
	select {
	case <-killed:
	case <-time.After(callMax):
		t.Fatalf("the crash point was never reached: %v", err)
	}
	w.crasher.disarm()
	if w.dead != nil {
		w.dead()
	}
	w.Restart()
	return err
}

// wantNext demands that a failed call says whether money moved, and what to do next.
func wantNext(t *testing.T, err error) typev1.MoneyMoved {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("not an error of the SDK's: %v", err)
	}
	if e.MoneyMoved == typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED || e.Next == "" {
		t.Errorf("%v says %v of money and %q of what to do", e, e.MoneyMoved, e.Next)
	}
	return e.MoneyMoved
}

// callMax bounds one call of a test: a call that never ends fails its test and not the whole run.
const callMax = 30 * time.Second

// operation is something that a caller asks for, and the calls of services that the gateway makes for it.
type operation struct {
	name  string
	steps []step
	// begin readies one round, in which it has not happened yet. Rounds share an installation and have a number each.
	begin func(ctx context.Context, t *testing.T, w *world, n int) round
	// clock says that it takes a clock that the test moves.
	clock bool
	// partly says that its steps are some of the methods that are called. The others have their points in another operation.
	partly bool
}

// round is one time that an operation happens.
type round struct {
	// call does it, and repeats it.
	call func(ctx context.Context) error
	// left, if there is one, looks at what a crash has left before the call is repeated, and at what its caller was told.
	left func(ctx context.Context, t *testing.T, p point, told error)
	// check demands what must hold once it has happened.
	check func(ctx context.Context, t *testing.T)
}

// run lets an operation happen, compares the calls that the gateway then makes of services with its steps, and crashes it
// before and after each of them.
func (o operation) run(t *testing.T, w *world) {
	n := 0
	begin := func(ctx context.Context, t *testing.T) round {
		n++
		return o.begin(ctx, t, w, n)
	}
	recorded := t.Run("recorded", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), callMax)
		defer cancel()
		for _, what := range []string{"names and times are learned", "nothing is new"} {
			r := begin(ctx, t)
			calls := w.crasher.record(func() {
				if err := r.call(ctx); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			})
			r.check(ctx, t)
			if what == "nothing is new" {
				o.checkSteps(t, calls)
			}
		}
	})
	if !recorded {
		return
	}
	for _, p := range points(o.steps) {
		passed := t.Run(p.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), callMax)
			defer cancel()
			r := begin(ctx, t)
			told := w.crash(t, p, r.call)
			wantNext(t, told)
			if r.left != nil {
				r.left(ctx, t, p, told)
			}
			if err := r.call(ctx); err != nil {
				t.Fatalf("the repeat: %v", err)
			}
			r.check(ctx, t)
		})
		if !passed {
			return // The installation is in no known state.
		}
	}
}

// checkSteps demands that an operation's steps are the calls that the gateway makes, each of them with its points. Calls
// that are made at the same time come in any order.
func (o operation) checkSteps(t *testing.T, calls []string) {
	t.Helper()
	var want []string
	for _, s := range o.steps {
		want = append(want, s.method)
	}
	got := slices.Clone(calls)
	if o.partly {
		got = slices.DeleteFunc(got, func(method string) bool { return !slices.Contains(want, method) })
	}
	for i, end := 0, 0; i < len(o.steps); i = end {
		end = i + 1 + len(o.steps[i].beside)
		if together := want[i:end]; end <= len(got) {
			slices.SortStableFunc(got[i:end], func(a, b string) int { return slices.Index(together, a) - slices.Index(together, b) })
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the gateway makes the calls\n\t%s\nand the crash points are for\n\t%s\neach call needs a step in the table",
			strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// runOperations runs each operation on an installation of its own.
func runOperations(t *testing.T, operations []operation) {
	t.Helper()
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			if !o.clock {
				o.run(t, newWorld(t))
				return
			}
			clock := halfkeytest.NewClock(time.Now())
			w := newWorld(t, halfkeytest.WithClock(clock))
			w.clock = clock
			o.run(t, w)
		})
	}
}

// uncrashed are the methods of the services that no operation above makes, and why that is right. Whatever the reads answer
// decides nothing: a caller who got no answer asks again.
var uncrashed = map[string]string{
	identityv1.IdentityService_GetOwner_FullMethodName:     "reads an owner",
	identityv1.IdentityService_ListWallets_FullMethodName:  "reads a page of the directory",
	ledgerv1.LedgerService_GetAccount_FullMethodName:       "reads balances",
	ledgerv1.LedgerService_GetDocuments_FullMethodName:     "reads guard rails, to bring holders together",
	ledgerv1.LedgerService_ListPayments_FullMethodName:     "reads a page of payments",
	ledgerv1.LedgerService_WatchPayment_FullMethodName:     "reads a payment again and again; SDK's Wait outlives its end",
	ledgerv1.LedgerService_WatchPayments_FullMethodName:    "reads what has changed again and again; SDK's Watch outlives its end",
	ledgerv1.LedgerService_GetLimits_FullMethodName:        "reads a wallet",
	ledgerv1.LedgerService_GetSpending_FullMethodName:      "reads payments",
	ledgerv1.LedgerService_GetShadowSummary_FullMethodName: "reads shadow reports",
	ledgerv1.LedgerService_ListEntries_FullMethodName:      "reads a page of a journal",
	ledgerv1.LedgerService_ListReviews_FullMethodName:      "reads what waits for a person",
	ledgerv1.LedgerService_ListFreezes_FullMethodName:      "reads freezes, to bring holders together",
	cosignerv1.CosignerService_GetWallet_FullMethodName:    "reads a wallet, to bring holders together",
	cosignerv1.CosignerService_ListFreezes_FullMethodName:  "reads freezes, to bring holders together",

	// One row of one service, which moves nothing and is told again by its id.
	ledgerv1.LedgerService_ReportShadowPayment_FullMethodName: "services/ledger: TestShadowRepeats",
}

// TestEveryCallCrashes demands that each method that a service offers has crash points in an operation's table, or a reason
// why it needs none.
func TestEveryCallCrashes(t *testing.T) {
	crashed := make(map[string]bool)
	for _, o := range slices.Concat(paymentOperations, registrationOperations, claimOperations, guardRailsOperations,
		freezeOperations(), revocationOperations, rotationOperations, resharingOperations, []operation{{steps: firstOwnerSteps}, {steps: confirmSteps}}) {
		for _, s := range o.steps {
			crashed[s.method] = true
		}
	}
	for _, service := range []grpc.ServiceDesc{
		identityv1.IdentityService_ServiceDesc, policyv1.PolicyService_ServiceDesc,
		ledgerv1.LedgerService_ServiceDesc, cosignerv1.CosignerService_ServiceDesc,
	} {
		var methods []string
		for _, m := range service.Methods {
			methods = append(methods, m.MethodName)
		}
		for _, s := range service.Streams {
			methods = append(methods, s.StreamName)
		}
		for _, m := range methods {
			method := "/" + service.ServiceName + "/" + m
			if (uncrashed[method] != "") == crashed[method] {
				t.Errorf("%s has crash points %t, and a reason to have none %q", method, crashed[method], uncrashed[method])
			}
		}
	}
}

// idOf is a payment's or a freeze's id in a round.
func idOf(n int) string { return fmt.Sprintf("round-%d", n) }
