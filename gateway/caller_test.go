package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/rpc"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	served          = typev1.Reason_REASON_UNSPECIFIED
	unauthenticated = typev1.Reason_REASON_UNAUTHENTICATED
	denied          = typev1.Reason_REASON_PERMISSION_DENIED
	notFound        = typev1.Reason_REASON_NOT_FOUND
	invalid         = typev1.Reason_REASON_INVALID_ARGUMENT
)

// Who calls: one column each in the table below.
var callers = []string{"nobody", "agent", "sibling", "unclaimed", "revoked", "owner", "other owner", "operator"}

// refusals are what the letters in the table stand for, as docs/errors.md has them.
var refusals = map[byte]struct {
	reason typev1.Reason
	code   codes.Code
}{
	'u': {unauthenticated, codes.Unauthenticated},
	'd': {denied, codes.PermissionDenied},
	'a': {typev1.Reason_REASON_NOT_ACTIVE, codes.FailedPrecondition},
	'r': {typev1.Reason_REASON_REVOKED, codes.FailedPrecondition},
}

// What a call is about, and so what its token names.
const (
	wallet       = "the agent's wallet" // An agent that is unclaimed or revoked asks about its own.
	theOwner     = "the owner"
	installation = "installation"
	itself       = "the caller"
	nothing      = "nothing" // The request carries no statement and no proof: whoever calls is asked for it, token or none.
)

// matrix is who may call what, written by hand from the contract and docs/architecture.md: a column for each of callers; + goes on to
// the method, which then answers as the row says. Whoever is not told to go on is refused.
var matrix = []struct {
	method, about, who string
	then               typev1.Reason
}{
	{"GetInstallations", nothing, "++++++++", served},
	{"CreateOwner", nothing, "++++++++", invalid},
	{"SetOwnerKeys", nothing, "++++++++", invalid},
	{"StartRegistration", nothing, "++++++++", invalid},
	{"ExchangeRegistration", nothing, "++++++++", invalid},
	{"ConfirmRegistration", nothing, "++++++++", invalid},
	{"CompleteRegistration", nothing, "++++++++", invalid},
	{"ClaimWallet", nothing, "++++++++", invalid},
	{"SetGuardRails", nothing, "++++++++", invalid},
	{"OrderResharing", nothing, "++++++++", invalid},
	{"StartResharing", nothing, "++++++++", invalid},
	{"ExchangeResharing", nothing, "++++++++", invalid},
	{"ConfirmResharing", nothing, "++++++++", invalid},
	{"CompleteResharing", nothing, "++++++++", invalid},
	{"ConfirmRecovery", nothing, "++++++++", invalid},
	{"CreatePayment", nothing, "++++++++", invalid},
	{"SettlePayment", nothing, "++++++++", invalid},
	{"AnswerReview", nothing, "++++++++", invalid},
	{"Revoke", nothing, "++++++++", invalid},
	{"Unfreeze", nothing, "++++++++", invalid},
	{"ApplyStatement", nothing, "++++++++", invalid},
	{"Check", nothing, "++++++++", served},
	{"Watch", nothing, "++++++++", served},
	{"List", nothing, "++++++++", served},

	{"GetWallet", itself, "u+++r+++", served},
	{"GetAccount", wallet, "u+dar+d+", served},
	{"GetLimits", wallet, "u+dar+d+", served},
	{"GetGuardRails", wallet, "u+dar+d+", served},
	{"GetResharing", wallet, "u+dar+d+", served},
	{"ListFreezes", wallet, "u+dar+d+", served},
	{"ListEntries", wallet, "u+dar+d+", served},
	{"GetSpending", wallet, "u+dar+d+", served},
	{"GetSpending", theOwner, "uddar+dd", served},
	{"GetShadowSummary", wallet, "u+dar+d+", served},
	{"GetShadowSummary", theOwner, "uddar+dd", served},
	{"ReportShadowPayment", wallet, "u+darddd", typev1.Reason_REASON_NO_GUARD_RAILS}, // What an application paid is its agent's word alone.
	// This installation has no chain; a message is its agent's to make.
	{"GetBlockHash", wallet, "u+darddd", invalid},
	{"ListPayments", wallet, "u+dar+d+", served},
	{"ListPayments", theOwner, "uddar+dd", served},
	{"WatchPayments", wallet, "u+dar+d+", served},
	{"WatchPayments", theOwner, "uddar+dd", served},
	{"GetPayment", wallet, "u+dar+d+", notFound},
	{"WatchPayment", wallet, "u+dar+d+", notFound},
	{"CancelPayment", wallet, "u+dar+dd", notFound}, // No operator's statement or word touches a payment.
	{"Freeze", wallet, "u+dar+d+", served},
	{"Freeze", theOwner, "uddar+dd", served},
	{"Freeze", installation, "uddardd+", served},
	{"GetClaim", theOwner, "uddar+dd", notFound},
	{"ListWallets", theOwner, "uddar+dd", served},
	{"ListReviews", theOwner, "uddar+dd", served},
	// What is an owner's alone is no agent's and no operator's by naming a wallet that they may see.
	{"GetClaim", wallet, "uddar+dd", notFound},
	{"ListWallets", wallet, "uddar+dd", invalid},
	{"ListReviews", wallet, "uddar+dd", invalid},
}

// dial is a plain connection to the gateway, without the SDK.
func dial(t *testing.T, h *halfkeytest.System) *grpc.ClientConn {
	t.Helper()
	config, err := rpc.PublicClientTLS([]byte(h.Installation().Content().GetCaPem()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(rpc.DialConfig{Target: "passthrough:///" + h.Address(), TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// withToken adds a token to a call.
func withToken(ctx context.Context, t *testing.T, key ed25519.PrivateKey, token proto.Message) context.Context {
	t.Helper()
	e, err := evidence.Sign(key, token)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(ctx, gateway.TokenMetadata, string(b))
}

// world is an installation with one of each who may call.
type world struct {
	*halfkeytest.System
	conn  *grpc.ClientConn
	who   map[string]who
	agent *client.Agent
	owner *client.Owner
}

func newWorld(t *testing.T, options ...halfkeytest.Option) *world {
	t.Helper()
	w := &world{System: halfkeytest.Start(t, options...), who: make(map[string]who)}
	w.owner = w.Owner()
	w.who["owner"] = ownerIn(t, w.owner, w.OwnerHome())
	w.agent, w.who["agent"] = agentWithKey(t, w.System, "Payer")
	_, w.who["sibling"] = agentWithKey(t, w.System, "Sibling")
	_, _, w.who["unclaimed"] = unclaimedAgent(t, w.System, "Waiting")
	_, w.who["revoked"] = agentWithKey(t, w.System, "Gone")
	if _, err := w.owner.Revoke(t.Context(), w.who["revoked"].wallet, client.RevokeOptions{Abandon: true}); err != nil {
		t.Fatal(err)
	}
	_, w.who["other owner"] = otherOwner(t, w.System, "other@company.com")
	w.who["operator"] = who{name: "operator", key: w.OperatorKey()}
	w.conn = dial(t, w.System)
	return w
}

// about is the resource that a call of a row is about when somebody makes it.
func (w *world) about(about string, by who) string {
	switch about {
	case wallet:
		if by.wallet == w.who["unclaimed"].wallet || by.wallet == w.who["revoked"].wallet {
			return by.wallet
		}
		return w.agent.Wallet()
	case theOwner:
		return w.owner.Name()
	case itself:
		return by.name
	default:
		return about
	}
}

// request is a row's request about a resource; a Freeze has an id of its own, which freezeID tells.
func (w *world) request(m protoreflect.MethodDescriptor, about, on, freezeID string) proto.Message {
	request := newMessage(m.Input())
	if r, ok := request.(*gatewayv1.FreezeRequest); ok {
		r.Freeze = &typev1.Freeze{FreezeId: freezeID, Scope: typev1.Scope_SCOPE_INSTALLATION}
		switch about {
		case wallet:
			r.Freeze.Scope, r.Freeze.Wallet = typev1.Scope_SCOPE_WALLET, on
		case theOwner:
			r.Freeze.Scope, r.Freeze.Owner = typev1.Scope_SCOPE_OWNER, on
		}
		return request
	}
	if about == nothing {
		return request
	}
	if r, ok := request.(*gatewayv1.ReportShadowPaymentRequest); ok {
		r.ShadowPaymentId, r.Asset, r.Units = "s", w.Installation().BookUSD(), "1"
		r.Method, r.Scheme, r.Host, r.Path = "GET", "https", "api.example", "/"
	}
	fields := m.Input().Fields()
	for i := range fields.Len() {
		value := ""
		switch f := fields.Get(i); {
		case f.Name() == "wallet", f.Name() == "parent", f.Name() == "owner":
			value = on
		case f.Name() == "network":
			value = resource.SolanaDevnet
		case f.Name() == "code":
			value = "AAAA-AAAA-AAAA-AAAA-AAAA"
		case f.Name() == "name" && about == itself:
			value = w.agent.Wallet()
		case f.Name() == "name":
			value = on + "/payments/p"
		}
		if value != "" {
			request.ProtoReflect().Set(fields.Get(i), protoreflect.ValueOfString(value))
		}
	}
	return request
}

// nobodies are ways to come with a token that is none, of somebody whose own would be taken.
func (w *world) nobodies(t *testing.T, may who) map[string]func(ctx context.Context, method, about string) context.Context {
	t.Helper()
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(ctx context.Context, method, about string) context.Context{
		"no token": func(ctx context.Context, _, _ string) context.Context { return ctx },
		"two tokens": func(ctx context.Context, method, about string) context.Context {
			token := tokenOf(w.System, may, method, about)
			return withToken(withToken(ctx, t, may.key, token), t, may.key, token)
		},
		"a token of somebody unknown": func(ctx context.Context, method, about string) context.Context {
			return withToken(ctx, t, stranger, tokenOf(w.System, who{name: "owners/unknown"}, method, about))
		},
		"another statement": func(ctx context.Context, _, _ string) context.Context {
			return withToken(ctx, t, may.key, &typev1.OwnerKeys{
				Installation: w.Installation().ID(), Owner: w.owner.Name(), Number: 1, OwnerKeys: [][]byte{may.key.Public().(ed25519.PublicKey)},
			})
		},
	}
	for name, bytes := range map[string]string{
		"an empty token": "", "no protobuf": "\x01\x02", "no envelope's content": "\x0a\x00", "a long token": strings.Repeat("\x0a\x00", 2000),
	} {
		ways[name] = func(ctx context.Context, _, _ string) context.Context {
			return metadata.AppendToOutgoingContext(ctx, gateway.TokenMetadata, bytes)
		}
	}
	for name, key := range map[string]ed25519.PrivateKey{"a stranger's key": stranger, "a sibling's key": w.who["sibling"].key} {
		ways[name] = func(ctx context.Context, method, about string) context.Context {
			return withToken(ctx, t, key, tokenOf(w.System, may, method, about))
		}
	}
	for name, change := range map[string]func(*typev1.Token){
		"expired": func(k *typev1.Token) {
			k.TimeMillis, k.ExpiryMillis = k.TimeMillis-90_000, k.ExpiryMillis-60_000
		},
		"not yet":              func(k *typev1.Token) { k.TimeMillis, k.ExpiryMillis = k.TimeMillis+15_000, k.ExpiryMillis+15_000 },
		"another installation": func(k *typev1.Token) { k.Installation = "elsewhere" },
		"another method":       func(k *typev1.Token) { k.Method = "/halfkey.gateway.v1.GatewayService/Other" },
		"another resource":     func(k *typev1.Token) { k.Resource = w.who["sibling"].wallet },
		"no such resource":     func(k *typev1.Token) { k.Resource = "wallets/none" },
	} {
		ways[name] = func(ctx context.Context, method, about string) context.Context {
			token := tokenOf(w.System, may, method, about)
			change(token)
			return withToken(ctx, t, may.key, token)
		}
	}
	return ways
}

// refusedWith demands exactly one refusal: its reason, code and ErrorInfo, and that no money moved.
func refusedWith(t *testing.T, err error, reason typev1.Reason, code codes.Code) {
	t.Helper()
	f := fault.Of(err)
	if f == nil || f.Reason != reason || f.Code != code || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		t.Errorf("got %v, want %v with %v and money_moved NO", err, reason, code)
	}
	if len(status.Convert(err).Details()) == 0 {
		t.Errorf("no ErrorInfo: %v", err)
	}
}

// TestWhoMayCall calls every method of the public listener as everyone there is. Methods come from the contracts, what is expected from
// the table above: a method without a row fails.
func TestWhoMayCall(t *testing.T) {
	w := newWorld(t)
	known := make(map[string]protoreflect.MethodDescriptor)
	for _, file := range publicFiles {
		for _, m := range methods(file) {
			known[string(m.Name())] = m
		}
	}
	rows := make(map[string]bool)
	var inForce []string
	for _, row := range matrix {
		m := known[row.method]
		if m == nil || len(row.who) != len(callers) {
			t.Fatalf("%s: no such method, or no column for somebody", row.method)
		}
		rows[row.method] = true
		one := func(name string, letter byte, ctx func(context.Context, string, string) context.Context, on string) {
			t.Run(strings.Join([]string{row.method, row.about, name}, "/"), func(t *testing.T) {
				within, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				freezeID := fmt.Sprintf("f-%d", time.Now().UnixNano())
				err := invoke(ctx(within, fullName(m), on), w.conn, m, w.request(m, row.about, on, freezeID))
				switch {
				case letter != '+':
					refusedWith(t, err, refusals[letter].reason, refusals[letter].code)
				case row.then == served && err != nil:
					t.Errorf("got %v", err)
				case row.then != served && fault.ReasonOf(err) != row.then:
					t.Errorf("got %v, want %v", err, row.then)
				}
				if letter == '+' && row.method == "Freeze" {
					inForce = append(inForce, freezeID)
				}
			})
		}
		may := w.who[callers[max(strings.IndexByte(row.who[1:], '+')+1, 1)]]
		for name, way := range w.nobodies(t, may) {
			one("nobody, "+name, row.who[0], way, w.about(row.about, may))
		}
		for i, name := range callers[1:] {
			by := w.who[name]
			one(name, row.who[i+1], func(ctx context.Context, method, about string) context.Context {
				return withToken(ctx, t, by.key, tokenOf(w.System, by, method, about))
			}, w.about(row.about, by))
		}
	}
	for name := range known {
		if !rows[name] {
			t.Errorf("%s is served, and the table does not say who may call it", name)
		}
	}

	// What was refused has left nothing behind.
	freezes, frozen, err := w.owner.Freezes(t.Context(), w.agent.Wallet())
	if err != nil || !frozen {
		t.Fatalf("frozen %v, %v", frozen, err)
	}
	var held []string
	for _, f := range freezes {
		held = append(held, f.GetFreezeId())
	}
	slices.Sort(held)
	slices.Sort(inForce)
	if !slices.Equal(held, inForce) {
		t.Errorf("freezes %v, want %v", held, inForce)
	}
}

// TestWhatIsNotServed calls every method of the services behind the gateway at its public listener, as everyone there is.
func TestWhatIsNotServed(t *testing.T) {
	w := newWorld(t)
	tried := 0
	for _, file := range internalFiles {
		for _, m := range methods(file) {
			for _, name := range callers {
				tried++
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if by, ok := w.who[name]; ok {
					ctx = withToken(ctx, t, by.key, tokenOf(w.System, by, fullName(m), by.name))
				}
				err := invoke(ctx, w.conn, m, newMessage(m.Input()))
				cancel()
				if f := fault.Of(err); f == nil || f.Reason != denied || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
					t.Errorf("%s by %s: got %v", fullName(m), name, err)
				}
			}
		}
	}
	if tried < 59*len(callers) {
		t.Errorf("%d calls: the contracts have more methods", tried)
	}
}
