package httpjson_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/gateway/httpjson"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/recoverywork"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// bridge lets the SDK, which speaks gRPC, call a gateway by HTTP and JSON alone, by the paths of routes.yaml.
type bridge struct {
	gatewayv1.UnimplementedGatewayServiceServer
	w       *world
	t       *testing.T
	address string
	routes  map[string][]boundRoute

	mu     sync.Mutex
	served map[string]bool // By verb and template: what was answered with 200.
}

// boundRoute is one way to a method: each {field=wallets/*} of its template is the request's field of that name.
type boundRoute struct{ verb, template string }

var (
	boundTo  = regexp.MustCompile(`(?:selector: \S+\.GatewayService\.(\w+)\b)|(?:(get|post): "([^"]+)")`)
	variable = regexp.MustCompile(`\{(\w+)(?:=([^}]+))?\}`)
)

func newBridge(t *testing.T, w *world) *bridge {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	b := &bridge{w: w, t: t, routes: make(map[string][]boundRoute), served: make(map[string]bool)}
	file, err := os.ReadFile("routes.yaml")
	must(err)
	method := ""
	for _, found := range boundTo.FindAllStringSubmatch(string(file), -1) {
		if found[1] != "" {
			method = found[1]
			continue
		}
		b.routes[method] = append(b.routes[method], boundRoute{strings.ToUpper(found[2]), found[3]})
	}
	var pair devcert.Pair
	pair.Certificate, err = os.ReadFile(filepath.Join(w.Dir(), "ca.pem"))
	must(err)
	pair.Key, err = os.ReadFile(filepath.Join(w.Dir(), "ca.key"))
	must(err)
	authority, err := devcert.ParseAuthority(pair)
	must(err)
	here := devcert.Leaf{Hosts: []string{"127.0.0.1"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leaf, err := authority.Issue(here, time.Now())
	must(err)
	certificate, err := tls.X509KeyPair(leaf.Certificate, leaf.Key)
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	b.address = listener.Addr().String()
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			answer := outputOf(info.FullMethod)
			return answer, b.carry(ctx, info.FullMethod, req.(proto.Message), answer)
		}),
	)
	gatewayv1.RegisterGatewayServiceServer(server, b)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return b
}

// client is the SDK in front of the bridge, on a home of its own.
func (b *bridge) client() *client.Client {
	b.t.Helper()
	c, err := client.Open(b.w.Home(), client.Options{
		RecoveryWork: recoverywork.ForTests(),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", b.address)
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// outputOf makes an empty answer of a method.
func outputOf(fullMethod string) proto.Message {
	service, name, _ := strings.Cut(fullMethod[1:], "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		panic(err)
	}
	output := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name)).Output().FullName()
	found, err := protoregistry.GlobalTypes.FindMessageByName(output)
	if err != nil {
		panic(err)
	}
	return found.New().Interface()
}

// request writes a call as its route wants it: names in the path, the rest in the query or the body.
func (b *bridge) request(ctx context.Context, fullMethod string, req proto.Message) (*http.Request, boundRoute, error) {
	named := protojson.MarshalOptions{UseProtoNames: true}
	encoded, err := named.Marshal(req)
	if err != nil {
		return nil, boundRoute{}, err
	}
	for _, route := range b.routes[strings.TrimPrefix(fullMethod, service)] {
		var fields map[string]any
		if err := json.Unmarshal(encoded, &fields); err != nil {
			return nil, route, err
		}
		fits := true
		path := variable.ReplaceAllStringFunc(route.template, func(text string) string {
			found := variable.FindStringSubmatch(text)
			value, _ := fields[found[1]].(string)
			pattern := strings.ReplaceAll(found[2], "*", "[^/@]+")
			if pattern == "" {
				pattern = "@?[^/@]+"
			}
			fits = fits && regexp.MustCompile("^"+pattern+"$").MatchString(value)
			delete(fields, found[1])
			return value
		})
		if !fits {
			continue
		}
		to, body := b.w.HTTPS()+path, ""
		if route.verb == http.MethodGet {
			to += "?" + query(fields).Encode()
		} else {
			rest, err := json.Marshal(fields)
			if err != nil {
				return nil, route, err
			}
			body = string(rest)
		}
		r, err := http.NewRequestWithContext(ctx, route.verb, to, strings.NewReader(body))
		if err != nil {
			return nil, route, err
		}
		if route.verb == http.MethodPost {
			r.Header.Set("Content-Type", "application/json")
		}
		for _, token := range metadata.ValueFromIncomingContext(ctx, gateway.TokenMetadata) {
			r.Header.Set(httpjson.TokenHeader, base64.StdEncoding.EncodeToString([]byte(token)))
		}
		return r, route, nil
	}
	return nil, boundRoute{}, fmt.Errorf("%s has no route for %v", fullMethod, req)
}

// query writes what a GET asks for beside its path.
func query(fields map[string]any) url.Values {
	values := make(url.Values)
	for name, field := range fields {
		several, ok := field.([]any)
		if !ok {
			several = []any{field}
		}
		for _, one := range several {
			values.Add(name, fmt.Sprint(one))
		}
	}
	return values
}

// send makes one call, and turns a refusal into gRPC's.
func (b *bridge) send(ctx context.Context, fullMethod string, req proto.Message) (*http.Response, error) {
	r, route, err := b.request(ctx, fullMethod, req)
	if err != nil {
		return nil, err
	}
	resp, err := b.w.web.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		b.mu.Lock()
		b.served[route.verb+" "+route.template] = true
		b.mu.Unlock()
		return resp, nil
	}
	defer resp.Body.Close()
	var p problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		return nil, err
	}
	var metadata []string
	for key, value := range p.Metadata {
		metadata = append(metadata, key, value)
	}
	moved := typev1.MoneyMoved(typev1.MoneyMoved_value["MONEY_MOVED_"+p.MoneyMoved])
	return nil, fault.New(typev1.Reason(typev1.Reason_value["REASON_"+p.Reason]), moved, p.Message, metadata...)
}

// carry makes a call that has one answer.
func (b *bridge) carry(ctx context.Context, fullMethod string, req, answer proto.Message) error {
	resp, err := b.send(ctx, fullMethod, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	body, err := lines.ReadBytes('\n')
	if len(body) == 0 {
		return err
	}
	return protojson.Unmarshal(body, answer)
}

// stream carries answers line by line.
func (b *bridge) stream(ctx context.Context, fullMethod string, req proto.Message, told func(proto.Message) error) error {
	resp, err := b.send(ctx, fullMethod, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Result json.RawMessage `json:"result"`
		}
		answer := outputOf(fullMethod)
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return err
		}
		if err := protojson.Unmarshal(line.Result, answer); err != nil {
			return err
		}
		if err := told(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// WatchPayment carries a stream.
func (b *bridge) WatchPayment(req *gatewayv1.WatchPaymentRequest, stream grpc.ServerStreamingServer[typev1.Payment]) error {
	return b.stream(stream.Context(), gatewayv1.GatewayService_WatchPayment_FullMethodName, req, func(m proto.Message) error {
		return stream.Send(m.(*typev1.Payment))
	})
}

// WatchPayments carries a stream.
func (b *bridge) WatchPayments(
	req *gatewayv1.WatchPaymentsRequest, stream grpc.ServerStreamingServer[gatewayv1.WatchPaymentsResponse],
) error {
	return b.stream(stream.Context(), gatewayv1.GatewayService_WatchPayments_FullMethodName, req, func(m proto.Message) error {
		return stream.Send(m.(*gatewayv1.WatchPaymentsResponse))
	})
}

// TestEverythingByHTTP lets the SDK do by HTTP and JSON whatever owner, agent and operator do, and verify every answer: each route
// serves its method to who may call it, and nothing is lost on the way through JSON.
func TestEverythingByHTTP(t *testing.T) {
	w := newWorld(t)
	b := newBridge(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ownerClient := b.client()
	owner, err := ownerClient.CreateOwner(ctx, w.BootstrapCode(), "you@company.com")
	must(owner, err)
	operator := b.client().Operator(w.OperatorKey())
	agent := func(name string) *client.Agent {
		t.Helper()
		c := b.client()
		r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: "you@company.com"})
		must(r, err)
		must(owner.Claim(ctx, r.ClaimCode))
		a, err := c.Agent(r.Wallet)
		must(a, err)
		return a
	}
	payer, shop := agent("Payer"), agent("Shop")
	must(owner.SetGuardRails(ctx, payer.Wallet(), client.StandardRules(shop.GroupKey())))
	must(operator.Deposit(ctx, payer.Wallet(), "d-1", 50_000_000))

	pay := func(id string, units int64, want typev1.PaymentState) *client.Payment {
		t.Helper()
		p, err := payer.Pay(ctx, client.Order{ID: id, Recipient: "@" + shop.Handle(), Units: units, Purpose: "weather data"})
		if err != nil || p.State != want {
			t.Fatalf("%s: got %v, %v, want %v", id, p, err, want)
		}
		return p
	}
	pay("green", 1_000_000, typev1.PaymentState_PAYMENT_STATE_SETTLED)
	pay("red", 101_000_000, typev1.PaymentState_PAYMENT_STATE_DENIED)
	must(payer.DryRun(ctx, client.Order{Recipient: shop.Wallet(), Units: 6_000_000}))
	yellow := pay("yellow", 6_000_000, typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW)
	reviews, err := owner.Reviews(ctx)
	if err != nil || len(reviews) != 1 {
		t.Fatalf("reviews %v, %v", reviews, err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := owner.Approve(ctx, yellow.Name)
		answered <- err
	}()
	if p, err := payer.Wait(ctx, "yellow"); err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Fatalf("got %v, %v", p, err)
	}
	must(nil, <-answered)
	pay("canceled", 6_000_000, typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW)
	must(payer.Cancel(ctx, "canceled"))

	must(payer.ReportShadow(ctx, client.ShadowReport{ID: "s-1", Host: "api.example.com", Units: 1}))
	must(payer.ShadowSummary(ctx, client.ShadowQuery{}))
	must(owner.ShadowSummary(ctx, client.ShadowQuery{}))
	must(payer.Limits(ctx))
	must(payer.Account(ctx))
	must(owner.Versions(ctx, payer.Wallet()))
	must(owner.Wallets(ctx))
	// The SDK knows its recipients, and asks for a wallet by its handle alone.
	byName := w.do(t, request{method: "GET", path: "/v1/" + shop.Wallet(), token: tokenOf(t, owner, service+"GetWallet", owner.Name())})
	if byName.status != http.StatusOK || !strings.Contains(byName.body, shop.Wallet()) {
		t.Errorf("got %d %s", byName.status, byName.body)
	}
	must(payer.Payment(ctx, "green"))
	for name, list := range map[string]iter.Seq2[*client.Payment, error]{
		"agent": payer.EachPayment(ctx, client.Filter{}), "owner": owner.EachPayment(ctx, client.Filter{}),
	} {
		n := 0
		for p, err := range list {
			must(p, err)
			n++
		}
		if n != 4 {
			t.Errorf("the %s is shown %d payments, want 4", name, n)
		}
	}
	yesterday := time.Now().UTC().Add(-24 * time.Hour).Truncate(time.Hour)
	groups := client.SpendingQuery{ByDay: true, ByWallet: true, ByRecipient: true, From: yesterday}
	for name, sum := range map[string]func() ([]client.Spending, error){
		"agent": func() ([]client.Spending, error) { return payer.Spending(ctx, groups) },
		"owner": func() ([]client.Spending, error) { return owner.Spending(ctx, groups) },
	} {
		if rows, err := sum(); err != nil || len(rows) != 1 || rows[0].Settled != 7_000_000 {
			t.Errorf("spending of the %s: %+v, %v", name, rows, err)
		}
	}
	for change, err := range owner.Watch(ctx, client.WatchOptions{}) {
		must(change, err)
		break
	}
	for change, err := range shop.Watch(ctx, client.WatchOptions{Incoming: true}) {
		must(change, err)
		break
	}

	must(payer.Freeze(ctx, "f-1"))
	must(owner.Unfreeze(ctx, payer.Wallet(), "f-1"))
	if freezes, frozen, err := owner.Freezes(ctx, payer.Wallet()); err != nil || frozen || len(freezes) != 1 {
		t.Errorf("freezes %v, %v, %v", freezes, frozen, err)
	}
	recovery, passphrase := filepath.Join(t.TempDir(), "recovery"), func() []byte { return []byte("six words that nobody will guess") }
	must(owner.CreateRecovery(ctx, payer.Wallet(), recovery, passphrase()))
	must(payer.Reshare(ctx))
	must(owner.OpenRecovery(ctx, recovery, passphrase()))
	pay("with-new-shares", 1_000_000, typev1.PaymentState_PAYMENT_STATE_SETTLED)
	must(owner.Revoke(ctx, payer.Wallet(), client.RevokeOptions{}))
	if _, err := payer.Account(ctx); client.ReasonOf(err) != typev1.Reason_REASON_REVOKED {
		t.Errorf("revoked: %v", err)
	}
	journal, err := owner.Journal(ctx, payer.Wallet())
	must(journal, err)
	must(nil, journal.Verify(w.Installation()))
	must(owner.RotateKeys(ctx, client.RotateOptions{Renew: true}))

	// This installation has no chain to ask for a block hash; a wallet was asked for by its name above.
	without := map[string]bool{"GET /v1/{wallet=wallets/*}/blockHash": true, "GET /v1/{name=wallets/*}": true}
	for method, routes := range b.routes {
		for _, route := range routes {
			if name := route.verb + " " + route.template; !b.served[name] && !without[name] {
				t.Errorf("%s: nothing was asked by %s", method, name)
			}
		}
	}
}
