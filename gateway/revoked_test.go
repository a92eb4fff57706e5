package gateway_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// withholding lets a test keep what an agent has sent from going on: the call fails, and the request is kept.
type withholding struct {
	between
	mu     sync.Mutex
	method string
	kept   proto.Message
}

// keep withholds the next call of a method.
func (h *withholding) keep(method string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.method, h.kept = method, nil
}

// taken is what was withheld.
func (h *withholding) taken(t *testing.T) proto.Message {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept == nil {
		t.Fatalf("no call of %s", h.method)
	}
	h.method = ""
	return h.kept
}

func (h *withholding) wrap(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return &withheld{ClientConnInterface: h.between.wrap(service, conn), by: h}
}

type withheld struct {
	grpc.ClientConnInterface
	by *withholding
}

// Invoke makes the call, or keeps it.
func (w *withheld) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	w.by.mu.Lock()
	stop := method == w.by.method
	if stop {
		w.by.kept = proto.Clone(args.(proto.Message))
	}
	w.by.mu.Unlock()
	if stop {
		return fault.New(typev1.Reason_REASON_INTERNAL, typev1.MoneyMoved_MONEY_MOVED_UNKNOWN, "withheld")
	}
	return w.ClientConnInterface.Invoke(ctx, method, args, reply, options...)
}

// belongings are what an agent holds before it is revoked, besides its share and its request key: calls that it has signed, and streams.
type belongings struct {
	calls   map[string]func(ctx context.Context) error
	streams map[string]grpc.ClientStream
}

// TestRevokedAgentHoldsNothing collects whatever an agent may hold, revokes it, and tries all of it: at once, and again when the owner
// has taken the wallet over, has ended the revocation and pays out.
func TestRevokedAgentHoldsNothing(t *testing.T) {
	var behind withholding
	w := newWorld(t, halfkeytest.WithWrap(behind.wrap))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	home, token := w.Home(), w.Token()
	c := w.Client(home)
	behind.take()
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Old Agent", EnrolmentToken: token})
	must(err)
	gw := gatewayv1.NewGatewayServiceClient(w.conn)
	has := belongings{calls: make(map[string]func(context.Context) error), streams: make(map[string]grpc.ClientStream)}
	var claimed *gatewayv1.ClaimWalletRequest
	for _, call := range behind.take() {
		switch m := call.request.(type) {
		case *cosignerv1.CompleteKeyGenerationRequest:
			has.calls["the registration"] = func(ctx context.Context) error {
				_, err := gw.CompleteRegistration(ctx, &gatewayv1.CompleteRegistrationRequest{
					Wallet: r.Wallet, Run: m.GetRun(), Registration: m.GetRegistration(), Signature: m.GetSignature(),
				})
				return err
			}
		case *cosignerv1.SealWalletRequest:
			claimed = &gatewayv1.ClaimWalletRequest{GuardRails: m.GetGuardRails()}
		}
	}
	agent, err := c.Agent(r.Wallet)
	must(err)
	w.agent = agent
	old := agentIn(t, r.Wallet, home)
	shop := w.Agent("Shop")
	w.GuardRails(agent, client.StandardRules(shop.GroupKey()))
	w.GuardRails(shop, client.StandardRules(agent.GroupKey()))
	w.Fund(agent, 50_000_000)
	w.Fund(shop, 5_000_000)
	passphrase := func() []byte { return []byte("six words that nobody will guess") }
	recovery := filepath.Join(t.TempDir(), "recovery")
	_, err = w.owner.CreateRecovery(ctx, r.Wallet, recovery, passphrase())
	must(err)
	_, err = agent.Reshare(ctx)
	must(err)
	_, err = w.owner.OpenRecovery(ctx, recovery, passphrase())
	must(err)

	// A payment in each state that is not an end.
	order := func(id string, units int64) client.Order {
		return client.Order{ID: id, Recipient: shop.Wallet(), Units: units}
	}
	for _, id := range []string{"pending", "ready"} {
		p, err := agent.Pay(ctx, order(id, 6_000_000))
		must(err)
		has.calls["a payment that was "+id] = func(ctx context.Context) error {
			_, err := agent.Resume(ctx, p.ID)
			return err
		}
	}
	_, err = w.owner.Approve(ctx, r.Wallet+"/payments/ready")
	must(err)
	behind.keep(policyv1.PolicyService_Judge_FullMethodName)
	_, _ = agent.Pay(ctx, order("unsent", 1_000_000))
	unsent := behind.taken(t).(*policyv1.JudgeRequest)
	behind.keep(ledgerv1.LedgerService_SettlePayment_FullMethodName)
	behind.take()
	_, _ = agent.Pay(ctx, order("signed", 1_000_000))
	signed := behind.taken(t).(*ledgerv1.SettlePaymentRequest)
	var authorized *policyv1.JudgeRequest
	for _, call := range behind.take() {
		if m, ok := call.request.(*policyv1.JudgeRequest); ok {
			authorized = m
		}
	}
	for name, m := range map[string]*policyv1.JudgeRequest{
		"a request that was never sent": unsent, "a request that was authorized": authorized,
	} {
		for _, dry := range []bool{false, true} {
			has.calls[fmt.Sprintf("%s, dry run: %v", name, dry)] = func(ctx context.Context) error {
				_, err := gw.CreatePayment(ctx, &gatewayv1.CreatePaymentRequest{
					Parent: r.Wallet, Request: m.GetRequest(), Message: m.GetMessage(), ValidateOnly: dry,
				})
				return err
			}
		}
	}
	has.calls["a whole signature"] = func(ctx context.Context) error {
		_, err := gw.SettlePayment(ctx, &gatewayv1.SettlePaymentRequest{Name: signed.GetName(), Signature: signed.GetSignature()})
		return err
	}
	has.calls["the share and the request key"] = func(ctx context.Context) error {
		_, err := agent.Pay(ctx, client.Order{Recipient: shop.Wallet(), Units: 1})
		return err
	}
	has.calls["an order for new shares"] = func(ctx context.Context) error {
		_, err := agent.Reshare(ctx)
		return err
	}
	// A token for every method that the agent may call.
	known := gatewayv1.File_halfkey_gateway_v1_gateway_proto.Services().Get(0).Methods()
	with := func(m protoreflect.MethodDescriptor, on string) context.Context {
		return withToken(t.Context(), t, old.key, tokenOf(w.System, old, fullName(m), on))
	}
	for _, row := range matrix {
		m := known.ByName(protoreflect.Name(row.method))
		if m == nil || row.about == nothing || row.who[1] != '+' {
			continue
		}
		on := r.Wallet
		if row.about == itself {
			on = old.name
		}
		signed := with(m, on)
		has.calls["a token for "+row.method] = func(context.Context) error {
			signed, cancel := context.WithTimeout(signed, 10*time.Second)
			defer cancel()
			return invoke(signed, w.conn, m, w.request(m, row.about, on, "by-the-old-agent"))
		}
	}
	// Streams that are open, and have told what there was to tell.
	for name, request := range map[string]proto.Message{
		"WatchPayment":            &gatewayv1.WatchPaymentRequest{Name: r.Wallet + "/payments/pending"},
		"WatchPayments":           &gatewayv1.WatchPaymentsRequest{Parent: r.Wallet},
		"WatchPayments, incoming": &gatewayv1.WatchPaymentsRequest{Parent: r.Wallet, Incoming: true},
	} {
		method, _, _ := strings.Cut(name, ",")
		m := known.ByName(protoreflect.Name(method))
		stream, err := w.conn.NewStream(with(m, r.Wallet), &grpc.StreamDesc{ServerStreams: true}, fullName(m))
		must(err)
		must(stream.SendMsg(request))
		must(stream.CloseSend())
		must(stream.RecvMsg(newMessage(m.Output())))
		has.streams[name] = stream
	}

	before := w.state(t)
	revocation, err := w.owner.Revoke(ctx, r.Wallet, client.RevokeOptions{})
	must(err)
	revoked := w.state(t)
	for name, call := range has.calls {
		want := []typev1.Reason{typev1.Reason_REASON_REVOKED}
		if name == "a whole signature" {
			want = []typev1.Reason{typev1.Reason_REASON_FROZEN}
		}
		holdsNothing(ctx, t, name+", revoked", call, want...)
	}
	if after := w.state(t); after != revoked || revoked == before {
		t.Errorf("before: %s; revoked: %s; tried: %s", before, revoked, after)
	}

	// What happens from here on is told to no stream of the old agent's.
	_, err = w.owner.Refuse(ctx, r.Wallet+"/payments/pending")
	must(err)
	taken, err := w.owner.Replace(ctx, r.Wallet, recovery, passphrase())
	must(err)
	_, err = w.owner.Unfreeze(ctx, r.Wallet, revocation.FreezeID)
	must(err)
	p, err := taken.Pay(ctx, order("out", 2_000_000))
	if err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Fatalf("paying out: %v, %v", p, err)
	}
	if _, err := shop.Pay(ctx, client.Order{ID: "in", Recipient: r.Wallet, Units: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	for name, stream := range has.streams {
		method, _, _ := strings.Cut(name, ",")
		told := newMessage(known.ByName(protoreflect.Name(method)).Output())
		if err := stream.RecvMsg(told); err == nil {
			t.Errorf("%s still tells: %v", name, told)
		} else if status.Code(err) == codes.DeadlineExceeded {
			t.Errorf("%s: nothing was to be told", name)
		}
	}
	owners := w.state(t)
	for name, call := range has.calls {
		want := []typev1.Reason{unauthenticated}
		switch name {
		case "a whole signature", "the registration":
			want = []typev1.Reason{typev1.Reason_REASON_REVOKED}
		case "a payment that was pending", "a payment that was ready":
			want = append(want, typev1.Reason_REASON_REVOKED)
		}
		holdsNothing(ctx, t, name+", taken over", call, want...)
	}
	if after := w.state(t); after != owners {
		t.Errorf("taken over: %s; tried: %s", owners, after)
	}

	// The enrolment token made one agent. What it signed, the claim, is the owner's word: it is answered as before, and changes nothing.
	_, err = w.Client(w.Home()).Register(ctx, client.RegisterOptions{Name: "Next Agent", EnrolmentToken: token})
	if client.ReasonOf(err) != typev1.Reason_REASON_CODE_USED {
		t.Errorf("the enrolment token again: %v", err)
	}
	if _, err := gw.ClaimWallet(ctx, claimed); err != nil {
		t.Errorf("the claim again: %v", err)
	}
	if after := w.state(t); after != owners {
		t.Errorf("the claim again: %s, then %s", owners, after)
	}
}

// holdsNothing demands that something is refused, with one of the reasons.
func holdsNothing(ctx context.Context, t *testing.T, name string, call func(context.Context) error, want ...typev1.Reason) {
	t.Helper()
	err := call(ctx)
	for _, reason := range want {
		if fault.ReasonOf(err) == reason || client.ReasonOf(err) == reason {
			return
		}
	}
	t.Errorf("%s: got %v, want %v", name, err, want)
}
