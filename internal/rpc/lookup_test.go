package rpc_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver/dns"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

// lookUpEvery is how often these tests look names up: gRPC's own least pause would make each of them take half a minute.
const lookUpEvery = 50 * time.Millisecond

// TestMain sets what gRPC has for the whole process, before anything runs.
func TestMain(m *testing.M) {
	dns.SetMinResolutionInterval(lookUpEvery)
	os.Exit(m.Run())
}

// nameServer is DNS on loopback for one name, whose addresses a test changes.
type nameServer struct {
	mu        sync.Mutex
	addresses []string
}

func (n *nameServer) set(addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses = addresses
}

// serve answers until the test ends, and returns where.
func (n *nameServer) serve(t *testing.T) string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var answering sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		answering.Wait()
	})
	answering.Go(func() {
		query := make([]byte, 1500)
		for {
			size, from, err := l.ReadFrom(query)
			if err != nil {
				return
			}
			var asked dnsmessage.Message
			if err := asked.Unpack(query[:size]); err != nil || len(asked.Questions) != 1 {
				t.Errorf("a query that is none: %v", err)
				continue
			}
			answer, err := n.answer(asked)
			if err == nil {
				_, err = l.WriteTo(answer, from)
			}
			if err != nil {
				t.Errorf("answer: %v", err)
			}
		}
	})
	return l.LocalAddr().String()
}

func (n *nameServer) answer(asked dnsmessage.Message) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	question := asked.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: asked.Questions,
	}
	if question.Type == dnsmessage.TypeA {
		for _, address := range n.addresses {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
			})
		}
	}
	return answer.Pack()
}

// serveAt is serve for one address, which answers calls and counts them.
func serveAt(t *testing.T, ca *devcert.Authority, address string, calls *atomic.Int64) net.Addr {
	t.Helper()
	server, err := rpc.NewServer(rpc.Config{
		Installation: installation, Listener: authz.Internal,
		Credentials: credentialsOf(t, ca, authz.Ledger), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ledgerv1.RegisterLedgerServiceServer(server, &ledger{
		get: func(context.Context, *ledgerv1.GetPaymentRequest) (*ledgerv1.GetPaymentResponse, error) {
			calls.Add(1)
			return &ledgerv1.GetPaymentResponse{}, nil
		},
		watch: func(_ *ledgerv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[ledgerv1.WatchPaymentResponse]) error {
			if err := stream.Send(&ledgerv1.WatchPaymentResponse{}); err != nil {
				return err
			}
			<-stream.Context().Done()
			return stream.Context().Err()
		},
	})
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr()
}

// A replica that is added behind a name gets calls while the connection to the first one is in use, and nothing on it is disturbed:
// no call fails, and a stream that watches goes on.
func TestReplicaAddedBehindAName(t *testing.T) {
	t.Parallel()
	ca, names := newAuthority(t), new(nameServer)
	var first, second atomic.Int64
	_, port, err := net.SplitHostPort(serveAt(t, ca, "127.0.0.1:0", &first).String())
	if err != nil {
		t.Fatal(err)
	}
	names.set("127.0.0.1")
	conn := dialWith(t, rpc.DialConfig{
		Target: "dns://" + names.serve(t) + "/ledger.test:" + port, Service: authz.Ledger, Credentials: credentialsOf(t, ca, authz.Gateway),
		LookUpEvery: lookUpEvery,
	})
	client := ledgerv1.NewLedgerServiceClient(conn)
	call := func() bool {
		if _, err := client.GetPayment(callContext(t), &ledgerv1.GetPaymentRequest{}); err != nil {
			t.Errorf("a call while replicas are added: %v", err)
			return false
		}
		return true
	}
	watching, err := client.WatchPayment(t.Context(), &ledgerv1.WatchPaymentRequest{})
	if err == nil {
		_, err = watching.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := watching.Recv(); ended <- err }()
	for range 10 {
		call()
	}

	serveAt(t, ca, "127.0.0.2:"+port, &second)
	if !call() || second.Load() > 0 {
		t.Fatal("the second was asked before it had a name")
	}
	names.set("127.0.0.1", "127.0.0.2")
	eventually(t, "the replica that was added is asked", func() bool { return !call() || second.Load() > 0 })
	select {
	case err := <-ended:
		t.Errorf("the stream has ended: %v", err)
	default:
	}
	// And the first is still asked.
	before := first.Load()
	for range 10 {
		call()
	}
	if first.Load() == before {
		t.Error("the first replica is asked no more")
	}
}
