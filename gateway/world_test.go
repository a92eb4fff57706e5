package gateway_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Contracts by who serves them: the gateway's public listener, and the services behind it by their names.
var (
	publicFiles = []protoreflect.FileDescriptor{
		gatewayv1.File_halfkey_gateway_v1_gateway_proto, grpc_health_v1.File_grpc_health_v1_health_proto,
	}
	internalFiles = map[string]protoreflect.FileDescriptor{
		"identity": identityv1.File_halfkey_identity_v1_identity_proto, "policy": policyv1.File_halfkey_policy_v1_policy_proto,
		"ledger": ledgerv1.File_halfkey_ledger_v1_ledger_proto, "cosigner": cosignerv1.File_halfkey_cosigner_v1_cosigner_proto,
	}
)

// methods are a contract's.
func methods(file protoreflect.FileDescriptor) []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	for i := range file.Services().Len() {
		service := file.Services().Get(i)
		for j := range service.Methods().Len() {
			all = append(all, service.Methods().Get(j))
		}
	}
	return all
}

// fullName is a method's name on the wire.
func fullName(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}

// newMessage makes an empty message of a type of the contract.
func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	m, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	return m.New().Interface()
}

// invoke makes one call; of a stream it takes the first answer.
func invoke(
	ctx context.Context, conn grpc.ClientConnInterface, m protoreflect.MethodDescriptor, request any, options ...grpc.CallOption,
) error {
	if !m.IsStreamingServer() {
		return conn.Invoke(ctx, fullName(m), request, newMessage(m.Output()), options...)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, fullName(m), options...)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(newMessage(m.Output()))
}

// reached is a call that the gateway made.
type reached struct {
	method  string
	request proto.Message
}

// between sees the gateway's calls to the services, and keeps the connections.
type between struct {
	mu    sync.Mutex
	conns map[string]grpc.ClientConnInterface
	calls []reached
	first func(method string, request proto.Message)
}

// before is told of each unary call before it is made.
func (b *between) before(first func(method string, request proto.Message)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.first = first
}

func (b *between) wrap(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		b.conns = make(map[string]grpc.ClientConnInterface)
	}
	b.conns[service] = conn
	return &seen{ClientConnInterface: conn, by: b}
}

// take returns the unary calls since it was last asked.
func (b *between) take() []reached {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

type seen struct {
	grpc.ClientConnInterface
	by *between
}

// Invoke notes the call and makes it.
func (s *seen) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	if m, ok := args.(proto.Message); ok {
		s.by.mu.Lock()
		s.by.calls = append(s.by.calls, reached{method, proto.Clone(m)})
		first := s.by.first
		s.by.mu.Unlock()
		if first != nil {
			first(method, m)
		}
	}
	return s.ClientConnInterface.Invoke(ctx, method, args, reply, options...)
}

// who is somebody with a key: its name as a caller, its wallet if it is an agent.
type who struct {
	name, wallet string
	key          ed25519.PrivateKey
}

// seedIn reads a key out of a home, so that a test can sign what the SDK would not.
func seedIn(t *testing.T, home *client.Home, file, field string) ed25519.PrivateKey {
	t.Helper()
	b, err := home.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	var seed []byte
	if err := json.Unmarshal(fields[field], &seed); err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

func ownerIn(t *testing.T, o *client.Owner, home *client.Home) who {
	t.Helper()
	return who{name: o.Name(), key: seedIn(t, home, "owner", "seed")}
}

func agentIn(t *testing.T, wallet string, home *client.Home) who {
	t.Helper()
	id := strings.TrimPrefix(wallet, "wallets/")
	return who{name: "agents/" + id, wallet: wallet, key: seedIn(t, home, "agent-"+id, "request_seed")}
}

// unclaimedAgent registers an agent that waits for its owner.
func unclaimedAgent(t *testing.T, h *halfkeytest.System, name string) (*client.Client, *client.Registered, who) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	return c, r, agentIn(t, r.Wallet, home)
}

// agentWithKey is a claimed agent and its request key.
func agentWithKey(t *testing.T, h *halfkeytest.System, name string) (*client.Agent, who) {
	t.Helper()
	c, r, as := unclaimedAgent(t, h, name)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	agent, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	return agent, as
}

// otherOwner is a further owner of the installation.
func otherOwner(t *testing.T, h *halfkeytest.System, email string) (*client.Owner, who) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	invitation, err := h.Owner().Invite(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	home := h.Home()
	owner, err := h.Client(home).CreateOwner(ctx, string(invitation.Text()), email)
	if err != nil {
		t.Fatal(err)
	}
	return owner, ownerIn(t, owner, home)
}

// tokenOf is a good token, for a test to change.
func tokenOf(h *halfkeytest.System, by who, method, about string) *typev1.Token {
	now := time.Now()
	return &typev1.Token{
		Installation: h.Installation().ID(), Wallet: by.wallet, Caller: by.name, Method: method, Resource: about,
		TimeMillis: now.UnixMilli(), ExpiryMillis: now.Add(30 * time.Second).UnixMilli(),
	}
}
