package gateway_test

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestMalformedRequests sends requests whose envelope is well formed and whose content is not, as whoever writes a client
// without the SDK may: each gets a clear error, and neither a record nor a hold is left.
func TestMalformedRequests(t *testing.T) {
	h := halfkeytest.Start(t)
	shop := h.Agent("Shop")
	agent, as := agentWithKey(t, h, "Payer")
	h.GuardRails(agent, client.StandardRules(shop.GroupKey()))
	h.Fund(agent, 10_000_000)
	gw := gatewayv1.NewGatewayServiceClient(dial(t, h))
	recipient := shop.GroupKey()
	intent := func(change func(*typev1.Intent)) *typev1.Intent {
		i := &typev1.Intent{
			Installation: h.Installation().ID(), Wallet: agent.Wallet(), Payment: agent.Wallet() + "/payments/edge", Rail: typev1.Rail_RAIL_BOOK,
			Asset: h.Installation().BookUSD(), Units: "1", Recipient: recipient[:], DeadlineMillis: time.Now().Add(time.Hour).UnixMilli(),
		}
		change(i)
		return i
	}
	units := func(s string) func(*typev1.Intent) { return func(i *typev1.Intent) { i.Units = s } }
	for _, tt := range []struct {
		name   string
		change func(*typev1.Intent)
	}{
		{"zero", units("0")},
		{"negative", units("-1")},
		{"2^63", units("9223372036854775808")},
		{"10^30", units("1" + strings.Repeat("0", 30))},
		{"exponent", units("1e3")},
		{"leading space", units(" 5")},
		{"arabic-indic digit", units("٥")},
		{"decimal point", units("0.1000000")},
		{"leading zero", units("01")},
		{"empty", units("")},
		{"no recipient", func(i *typev1.Intent) { i.Recipient = nil }},
		{"short recipient", func(i *typev1.Intent) { i.Recipient = recipient[:31] }},
		{"control character", func(i *typev1.Intent) { i.Purpose = "a\x1b[2Jb" }},
		{"purpose over the largest request", func(i *typev1.Intent) { i.Purpose = strings.Repeat("x", 300<<10) }},
		{"unknown asset", func(i *typev1.Intent) { i.Asset = "halfkey:elsewhere/iso4217:USD" }},
		{"no rail", func(i *typev1.Intent) { i.Rail = typev1.Rail_RAIL_UNSPECIFIED }},
		{"payment of another wallet", func(i *typev1.Intent) { i.Payment = shop.Wallet() + "/payments/edge" }},
		{"path in the payment's id", func(i *typev1.Intent) { i.Payment = agent.Wallet() + "/payments/../x" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := encode(t, &typev1.Request{
				Installation: h.Installation().ID(), Wallet: agent.Wallet(),
				Payment: agent.Wallet() + "/payments/edge", Intent: encode(t, intent(tt.change)),
				MessageDigest: make([]byte, 32), Commitment: make([]byte, 64), TimeMillis: time.Now().UnixMilli(),
			})
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			signed := &typev1.Envelope{PayloadType: evidence.TypeRequest, Payload: request, Signatures: []*typev1.Signature{
				{PublicKey: as.key.Public().(ed25519.PublicKey), Signature: ed25519.Sign(as.key, evidence.PAE(evidence.TypeRequest, request))},
			}}
			_, err := gw.CreatePayment(ctx, &gatewayv1.CreatePaymentRequest{
				Parent: agent.Wallet(), Message: make([]byte, 64), Request: signed,
			}, grpc.MaxCallSendMsgSize(1<<20))
			if f := fault.Of(err); f == nil || f.Reason == typev1.Reason_REASON_INTERNAL || f.Reason == typev1.Reason_REASON_UNAUTHENTICATED ||
				f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
				t.Errorf("got %v, want a refusal with a reason and money_moved NO", err)
			}
			if _, err := agent.Payment(ctx, "edge"); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
				t.Errorf("the payment: %v, want NOT_FOUND", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	account, err := agent.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(account.Balances) != 1 || account.Balances[0].Available != 10_000_000 || account.Balances[0].Held != 0 {
		t.Errorf("balances are %v, want 10 USD and nothing held", account.Balances)
	}
}

// encode is the one encoding, of whatever content.
func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDryRun judges by every rule and records nothing.
func TestDryRun(t *testing.T) {
	h := halfkeytest.Start(t)
	agent, shop := h.Agent("Payer"), h.Agent("Shop")
	h.GuardRails(agent, client.StandardRules(shop.GroupKey()))
	h.Fund(agent, 200_000_000)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	before, err := agent.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for units, want := range map[int64]typev1.Light{
		1_000_000:   typev1.Light_LIGHT_GREEN,
		6_000_000:   typev1.Light_LIGHT_YELLOW,
		101_000_000: typev1.Light_LIGHT_RED,
	} {
		p, err := agent.DryRun(ctx, client.Order{ID: "dry", Recipient: shop.Wallet(), Units: units})
		if err != nil {
			t.Fatal(err)
		}
		if p.Light != want || len(p.Results) < 6 {
			t.Errorf("%d units: %v with %d results, want %v with every rule's", units, p.Light, len(p.Results), want)
		}
	}
	if _, err := agent.Payment(ctx, "dry"); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
		t.Errorf("the payment: %v, want NOT_FOUND", err)
	}
	after, err := agent.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if after.Head.GetEntry() != before.Head.GetEntry() {
		t.Errorf("the journal grew from %d to %d entries", before.Head.GetEntry(), after.Head.GetEntry())
	}
}
