package shop

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/halfkey-examples/plain"
	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// sales is a warehouse: it keeps what was delivered for which payment.
type sales struct {
	mu        sync.Mutex
	delivered []string
	more      chan string
}

func (s *sales) deliver(_ context.Context, payment, goods string) error {
	s.mu.Lock()
	if !slices.Contains(s.delivered, payment) {
		s.delivered = append(s.delivered, payment)
	}
	s.mu.Unlock()
	s.more <- goods
	return nil
}

// run runs a shop until the returned function is called.
func run(t *testing.T, s *Shop) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the shop ended: %v", err)
		}
	}
}

func next(t *testing.T, s *sales) string {
	t.Helper()
	select {
	case goods := <-s.more:
		return goods
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was delivered")
		return ""
	}
}

// TestShop sells, stops, is paid meanwhile, and sells that when it is back.
func TestShop(t *testing.T) {
	h := halfkeytest.Start(t)
	own, buyer := h.Agent("Shop"), h.Agent("Buyer")
	h.GuardRails(buyer, client.StandardRules(own.GroupKey()))
	h.Fund(buyer, 20_000_000)
	i, err := plain.ReadInstallation(h.InstallationFile())
	if err != nil {
		t.Fatal(err)
	}
	warehouse := &sales{more: make(chan string, 16)}
	shop := &Shop{
		Agent: own, Installation: i, Dir: t.TempDir(), Deliver: warehouse.deliver,
		Prices: map[string]int64{"weather data": 2_000_000, "map": 3_000_000},
	}
	pay := func(id, purpose string, units int64) *client.Payment {
		t.Helper()
		p, err := buyer.Pay(t.Context(), client.Order{ID: id, Recipient: "@shop", Units: units, Purpose: purpose})
		if err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
			t.Fatalf("%s: %v %v", id, p, err)
		}
		return p
	}

	// The bookmark is set before the first sale, so that nothing paid from here on is missed.
	first, cancel := context.WithCancel(t.Context())
	for change, err := range own.Watch(first, client.WatchOptions{Incoming: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := write(shop.Dir+"/bookmark", change.Token); err != nil {
			t.Fatal(err)
		}
		break
	}
	cancel()

	stop := run(t, shop)
	pay("one", "weather data", 2_000_000)
	if got := next(t, warehouse); got != "weather data" {
		t.Errorf("delivered %s", got)
	}
	stop()
	pay("too-little", "map", 2_999_999)
	pay("unknown", "a pony", 4_000_000)
	paid := pay("two", "map", 3_000_000)
	stop = run(t, shop)
	if got := next(t, warehouse); got != "map" {
		t.Errorf("delivered %s", got)
	}
	stop()
	if want := []string{buyer.Wallet() + "/payments/one", buyer.Wallet() + "/payments/two"}; !slices.Equal(warehouse.delivered, want) {
		t.Errorf("delivered for %v, want %v", warehouse.delivered, want)
	}

	// What the shop does not deliver for.
	nothing := *shop
	nothing.Deliver = func(context.Context, string, string) error { return errors.New("delivered") }
	for name, change := range map[string]func(*typev1.Payment){
		"no settlement":          func(p *typev1.Payment) { p.Settlement = nil },
		"a forged settlement":    func(p *typev1.Payment) { p.Settlement.Signatures[0].Signature[0] ^= 1 },
		"more than was paid":     func(p *typev1.Payment) { p.Settlement.Payload[len(p.Settlement.Payload)-2] ^= 1 },
		"another payment's":      func(p *typev1.Payment) { p.Name += "-2" },
		"another intent":         func(p *typev1.Payment) { p.Intent[len(p.Intent)-1] ^= 1 },
		"a receipt in its place": func(p *typev1.Payment) { p.Settlement = p.GetVerdict() },
	} {
		forged := proto.Clone(paid.Proto).(*typev1.Payment)
		change(forged)
		if err := nothing.sell(t.Context(), forged); err == nil || err.Error() == "delivered" {
			t.Errorf("%s: %v", name, err)
		}
	}
	nothing.Agent = buyer
	if err := nothing.sell(t.Context(), paid.Proto); err == nil || err.Error() == "delivered" {
		t.Errorf("paid to somebody else: %v", err)
	}
	strict := &Shop{Agent: own, Installation: i, Prices: shop.Prices, Deliver: nothing.Deliver}
	if err := strict.sell(t.Context(), paid.Proto); err == nil || err.Error() != "delivered" {
		t.Errorf("a good payment: %v", err)
	}
}
