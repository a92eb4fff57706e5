package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// views are the methods that show what belongs to a wallet or an owner, called with a parent.
func views(gw gatewayv1.GatewayServiceClient) map[string]func(ctx context.Context, parent string) error {
	return map[string]func(ctx context.Context, parent string) error{
		gatewayv1.GatewayService_GetLimits_FullMethodName: func(ctx context.Context, parent string) error {
			_, err := gw.GetLimits(ctx, &gatewayv1.GetLimitsRequest{Wallet: parent})
			return err
		},
		gatewayv1.GatewayService_ListPayments_FullMethodName: func(ctx context.Context, parent string) error {
			_, err := gw.ListPayments(ctx, &gatewayv1.ListPaymentsRequest{Parent: parent})
			return err
		},
		gatewayv1.GatewayService_GetSpending_FullMethodName: func(ctx context.Context, parent string) error {
			_, err := gw.GetSpending(ctx, &gatewayv1.GetSpendingRequest{Parent: parent})
			return err
		},
		gatewayv1.GatewayService_GetShadowSummary_FullMethodName: func(ctx context.Context, parent string) error {
			_, err := gw.GetShadowSummary(ctx, &gatewayv1.GetShadowSummaryRequest{Parent: parent})
			return err
		},
		gatewayv1.GatewayService_WatchPayments_FullMethodName: func(ctx context.Context, parent string) error {
			stream, err := gw.WatchPayments(ctx, &gatewayv1.WatchPaymentsRequest{Parent: parent})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
	}
}

// TestWhoSeesWhat calls every view as an agent, an owner and the operator: an agent sees its own wallet, an owner its wallets, the
// operator each wallet; nobody sees anything else, whatever the token names.
func TestWhoSeesWhat(t *testing.T) {
	h := halfkeytest.Start(t)
	agent, other, owner, operator := h.Agent("Payer"), h.Agent("Other"), h.Owner(), h.Operator()
	const ok, denied = typev1.Reason_REASON_UNSPECIFIED, typev1.Reason_REASON_PERMISSION_DENIED
	for method, view := range views(gatewayv1.NewGatewayServiceClient(dial(t, h))) {
		lists := method != gatewayv1.GatewayService_GetLimits_FullMethodName // Of an owner as well as of a wallet.
		ofOwner := ok
		if !lists {
			ofOwner = typev1.Reason_REASON_INVALID_ARGUMENT
		}
		for _, tt := range []struct {
			name   string
			token  func(method, about string) (client.Token, error)
			about  string // What the token names; the parent if empty.
			parent string
			want   typev1.Reason
		}{
			{"an agent its wallet", agent.Token, "", agent.Wallet(), ok},
			{"an agent another wallet", agent.Token, "", other.Wallet(), denied},
			{"an agent its owner", agent.Token, "", owner.Name(), denied},
			{"an agent another wallet by its own token", agent.Token, agent.Wallet(), other.Wallet(), typev1.Reason_REASON_UNAUTHENTICATED},
			{"an owner its wallet", owner.Token, "", agent.Wallet(), ok},
			{"an owner all its wallets", owner.Token, "", owner.Name(), ofOwner},
			{"an owner another owner", owner.Token, "", "owners/somebody-else", denied},
			{"an owner another owner by its own token", owner.Token, owner.Name(), "owners/somebody-else", denied},
			{"the operator a wallet", operator.Token, "", agent.Wallet(), ok},
			{"the operator an owner", operator.Token, "", owner.Name(), denied},
		} {
			t.Run(method[strings.LastIndex(method, "/")+1:]+"/"+tt.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				about := tt.about
				if about == "" {
					about = tt.parent
				}
				token, err := tt.token(method, about)
				if err != nil {
					t.Fatal(err)
				}
				err = view(metadata.AppendToOutgoingContext(ctx, gateway.TokenMetadata, string(token.Bytes)), tt.parent)
				got := ok
				if err != nil {
					got = fault.ReasonOf(err)
				}
				if tt.about != "" && got == typev1.Reason_REASON_UNAUTHENTICATED {
					got = tt.want // Which of the two it is depends on whose name it is; neither shows anything.
				}
				if got != tt.want {
					t.Errorf("got %v, want %v: %v", got, tt.want, err)
				}
			})
		}
	}
}

// TestWatchEndsWithItsToken shows that no stream outlives the token that opened it: it ends as one that is complete, and a resume token
// goes on where it ended.
func TestWatchEndsWithItsToken(t *testing.T) {
	var mu sync.Mutex
	services := make(map[string]grpc.ClientConnInterface)
	h := halfkeytest.Start(t, halfkeytest.WithWrap(func(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		mu.Lock()
		defer mu.Unlock()
		services[service] = conn
		return conn
	}))
	agent, shop := h.Agent("Payer"), h.Agent("Shop")
	h.GuardRails(agent, client.StandardRules(shop.GroupKey()))
	waiting, err := agent.Pay(t.Context(), client.Order{Recipient: shop.Wallet(), Units: 6_000_000})
	if err != nil || waiting.State != typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW {
		t.Fatalf("got %v, %v", waiting, err)
	}
	mu.Lock()
	s, err := gateway.New(gateway.Config{
		Installations: []*evidence.Installation{h.Installation()},
		Identity:      services["identity"], Policy: services["policy"], Ledger: services["ledger"], Cosigner: services["cosigner"],
	})
	mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	s.ShortenWatches(500 * time.Millisecond)
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	s.Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///gateway", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	gw := gatewayv1.NewGatewayServiceClient(conn)
	with := func(method string) context.Context {
		token, err := agent.Token(method, agent.Wallet())
		if err != nil {
			t.Fatal(err)
		}
		return metadata.AppendToOutgoingContext(ctx, gateway.TokenMetadata, string(token.Bytes))
	}
	resume := ""
	for range 2 {
		stream, err := gw.WatchPayments(with(gatewayv1.GatewayService_WatchPayments_FullMethodName),
			&gatewayv1.WatchPaymentsRequest{Parent: agent.Wallet(), ResumeToken: resume})
		if err != nil {
			t.Fatal(err)
		}
		if resume == "" {
			first, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			resume = first.GetResumeToken()
		}
		if resp, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, %v, want the stream's end", resp, err)
		}
	}
	stream, err := gw.WatchPayment(with(gatewayv1.GatewayService_WatchPayment_FullMethodName),
		&gatewayv1.WatchPaymentRequest{Name: waiting.Name})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetState() != waiting.State {
		t.Fatalf("got %v, %v", first, err)
	}
	if told, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, %v, want the stream's end", told, err)
	}
}

// TestMalformedViews sends requests that are too large or make no sense, under good tokens: each is refused, and names the field.
func TestMalformedViews(t *testing.T) {
	h := halfkeytest.Start(t)
	agent := h.Agent("Payer")
	gw := gatewayv1.NewGatewayServiceClient(dial(t, h))
	wallet := agent.Wallet()
	late := &timestamppb.Timestamp{Seconds: 253402300800}
	for _, tt := range []struct {
		name, field string
		request     proto.Message
	}{
		{"a long wallet", "wallet", &gatewayv1.GetLimitsRequest{Wallet: "wallets/" + strings.Repeat("x", 80)}},
		{"no wallet", "wallet", &gatewayv1.GetLimitsRequest{}},
		{"a long parent", "parent", &gatewayv1.ListPaymentsRequest{Parent: wallet + strings.Repeat("x", 80)}},
		{"an unknown state", "state", &gatewayv1.ListPaymentsRequest{Parent: wallet, State: 99}},
		{"a short recipient", "recipient", &gatewayv1.ListPaymentsRequest{Parent: wallet, Recipient: make([]byte, 31)}},
		{"a start in the year 10000", "start_time", &gatewayv1.ListPaymentsRequest{Parent: wallet, StartTime: late}},
		{"an end before time began", "end_time", &gatewayv1.ListPaymentsRequest{Parent: wallet, EndTime: &timestamppb.Timestamp{Seconds: -1}}},
		{"a large page", "page_size", &gatewayv1.ListPaymentsRequest{Parent: wallet, PageSize: 101}},
		{"a long page token", "page_token", &gatewayv1.ListPaymentsRequest{Parent: wallet, PageToken: strings.Repeat("x", 257)}},
		{"a page token that is none", "page_token", &gatewayv1.ListPaymentsRequest{Parent: wallet, PageToken: "x"}},
		{"a long parent of spending", "parent", &gatewayv1.GetSpendingRequest{Parent: wallet + strings.Repeat("x", 80)}},
		{"a long time zone", "time_zone", &gatewayv1.GetSpendingRequest{Parent: wallet, TimeZone: strings.Repeat("x", 65)}},
		{"a time zone that is none", "time_zone", &gatewayv1.GetSpendingRequest{Parent: wallet, TimeZone: "Local"}},
		{"a group twice", "group_by", &gatewayv1.GetSpendingRequest{Parent: wallet, GroupBy: []typev1.SpendingGroup{1, 1}}},
		{"four groups", "group_by", &gatewayv1.GetSpendingRequest{Parent: wallet, GroupBy: []typev1.SpendingGroup{1, 2, 3, 1}}},
		{"an unknown group", "group_by", &gatewayv1.GetSpendingRequest{Parent: wallet, GroupBy: []typev1.SpendingGroup{77}}},
		{"no quarter hour", "start_time", &gatewayv1.GetSpendingRequest{Parent: wallet, StartTime: &timestamppb.Timestamp{Seconds: 901}}},
		{"a large page of spending", "page_size", &gatewayv1.GetSpendingRequest{Parent: wallet, PageSize: 1001}},
		{"a long page token of spending", "page_token", &gatewayv1.GetSpendingRequest{Parent: wallet, PageToken: strings.Repeat("x", 513)}},
		{"a long parent of a watch", "parent", &gatewayv1.WatchPaymentsRequest{Parent: wallet + strings.Repeat("x", 80)}},
		{"a long resume token", "resume_token", &gatewayv1.WatchPaymentsRequest{Parent: wallet, ResumeToken: strings.Repeat("x", 257)}},
		{"a resume token that is none", "resume_token", &gatewayv1.WatchPaymentsRequest{Parent: wallet, ResumeToken: "x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			var err error
			with := func(method, about string) context.Context {
				token, err := agent.Token(method, about)
				if err != nil {
					t.Fatal(err)
				}
				return metadata.AppendToOutgoingContext(ctx, gateway.TokenMetadata, string(token.Bytes))
			}
			switch r := tt.request.(type) {
			case *gatewayv1.GetLimitsRequest:
				_, err = gw.GetLimits(with(gatewayv1.GatewayService_GetLimits_FullMethodName, wallet), r)
			case *gatewayv1.ListPaymentsRequest:
				_, err = gw.ListPayments(with(gatewayv1.GatewayService_ListPayments_FullMethodName, wallet), r)
			case *gatewayv1.GetSpendingRequest:
				_, err = gw.GetSpending(with(gatewayv1.GatewayService_GetSpending_FullMethodName, wallet), r)
			case *gatewayv1.WatchPaymentsRequest:
				stream, opening := gw.WatchPayments(with(gatewayv1.GatewayService_WatchPayments_FullMethodName, wallet), r)
				if err = opening; err == nil {
					_, err = stream.Recv()
				}
			}
			f := fault.Of(err)
			if f == nil || f.Reason != typev1.Reason_REASON_INVALID_ARGUMENT || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO ||
				!strings.HasPrefix(f.Metadata["field"], tt.field) {
				t.Errorf("got %v, %v, want a refusal of %s", err, f, tt.field)
			}
		})
	}
}
