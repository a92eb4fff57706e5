package stock

import (
	"testing"

	"github.com/halfkey/halfkey/test/x402/vm"
)

// TestStockBuys: each resource, once. The price moves, and nothing else does.
func TestStockBuys(t *testing.T) {
	node := vm.Start(t, "--network", "devnet", "--block-milliseconds", "50")
	seller := Sell(t, node, "a shop")
	buyer := node.Someone("buyer", 0, 1_000_000)
	seller.Price(12_500)
	units, sales := int64(1_000_000), 0
	for _, c := range []struct {
		path, body string
		price      int64
		arguments  []string
	}{
		{"/weather", `{"resource":"/weather","sky":"clear"}`, 12_500, nil},
		{"/report", `{"resource":"/report","about":{"city":"Berlin"}}`, 20_000, []string{"--method", "POST", "--body", `{"city":"Berlin"}`}},
		{"/memo", `{"resource":"/memo","sky":"clear"}`, 10_000, nil},
		{"/early", `{"resource":"/early","sky":"clear"}`, 10_000, nil},
		{"/upfront", `{"resource":"/upfront","sky":"clear"}`, 10_000, nil},
		{"/v1/weather", `{"resource":"/v1/weather","sky":"clear"}`, 10_000, nil},
	} {
		before := node.Lamports(seller.FeePayer)
		got := Buy(t, node, buyer, seller.URL+c.path, c.arguments...)
		units -= c.price
		sales++
		if got.Status != 200 || got.Body != c.body {
			t.Fatalf("%s: %+v", c.path, got)
		}
		r, newest := got.Receipt, node.Transactions(buyer.Key.String())[0]
		if r == nil || !r.Success || r.Payer != buyer.Key.String() || r.Transaction != newest {
			t.Errorf("%s: receipt %+v, and the chain has %s", c.path, r, newest)
		}
		if has, shop := node.Units(buyer.Key.String()), node.Units(seller.PayTo); has != units || shop != 1_000_000-units {
			t.Errorf("%s: the buyer has %d units, the shop %d", c.path, has, shop)
		}
		if paid := before - node.Lamports(seller.FeePayer); paid != 10_001 {
			t.Errorf("%s: the facilitator paid %d lamports", c.path, paid)
		}
		if n := len(node.Transactions(buyer.Key.String())); n != sales || seller.State().Made[c.path] != 1 {
			t.Errorf("%s: %d transactions, %+v", c.path, n, seller.State())
		}
	}
	// A handler that fails: verified, and not settled.
	if got := Buy(t, node, buyer, seller.URL+"/broken"); got.Status != 500 || node.Units(buyer.Key.String()) != units {
		t.Errorf("%+v, %d units", got, node.Units(buyer.Key.String()))
	}
	// A buyer with too little gets no resource.
	poor := node.Someone("poor", 0, 12_499)
	if got := Buy(t, node, poor, seller.URL+"/weather"); got.Status != 402 || node.Units(poor.Key.String()) != 12_499 {
		t.Errorf("%+v, %d units", got, node.Units(poor.Key.String()))
	}
	if made := seller.State().Made["/weather"]; made != 1 {
		t.Errorf("the weather was made %d times", made)
	}
}
