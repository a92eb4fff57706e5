package buy

import (
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/test/x402/stock"
	"github.com/halfkey/halfkey/test/x402/vm"
)

// hashShared is how long the ledger gives everybody the same block hash. Whoever has made many blocks at once waits so long for another.
const hashShared = 5 * time.Second

// start has a chain, a seller and an agent with two dollars, which may pay it and further addresses.
func start(t *testing.T, allow ...string) (*vm.Node, *stock.Seller, *Agent) {
	t.Helper()
	node := vm.Start(t, "--network", "devnet", "--block-milliseconds", "100")
	seller := stock.Sell(t, node, "a shop")
	agent := install(t, node).agent("agent", append(allow, seller.PayTo)...)
	agent.fund("2000000", node.Someone("somebody with money", 1_000_000_000, 10_000_000), 2_000_000)
	return node, seller, agent
}

// TestBuy: every resource of the stock seller, by fetch and confirm, and beside it by the stock buyer. Both get the same and pay by the
// same transaction, and the machine's balances move by exactly the price, once.
func TestBuy(t *testing.T) {
	t.Parallel()
	node, seller, agent := start(t)
	other := node.Someone("buyer", 0, 2_000_000)
	left := int64(2_000_000)
	report := []string{"--method", "POST", "--header", "Content-Type: application/json", "--body", vm.Path("buy/testdata/report.json")}
	purchases := []*struct {
		path      string
		units     int64
		memo      string   // as the seller wants it, or empty
		arguments []string // ours
		others    []string // the stock buyer's
		payment   string
		theirs    stock.Bought
	}{
		{path: "/weather", units: 10_000},
		{path: "/report", units: 20_000, arguments: report, others: []string{"--method", "POST", "--body", `{"city":"Berlin"}`}},
		{path: "/memo", units: 10_000, memo: "order 7"},
		{path: "/early", units: 10_000},
		{path: "/upfront", units: 10_000},
		{path: "/v1/weather", units: 10_000},
	}
	for n, p := range purchases {
		t.Run(p.path, func(t *testing.T) {
			agent.t = t
			url := seller.URL + p.path
			quoted := agent.fetch(0, url, p.arguments...)
			price := strconv.FormatInt(p.units, 10)
			if quoted.State != "QUOTED" || quoted.Units != price || quoted.PayTo != seller.PayTo || quoted.Judged != "AUTHORIZED" {
				t.Fatalf("%+v", quoted)
			}
			if node.Units(agent.Address) != left {
				t.Error("a fetch that was not confirmed has paid")
			}
			got := agent.confirm(0, quoted.ID)
			left -= p.units
			if got.State != "DELIVERED" || node.Units(agent.Address) != left {
				t.Fatalf("%+v, %d units left", got, node.Units(agent.Address))
			}
			p.payment = got.Payment
			theirs := stock.Buy(t, node, other, url, p.others...)
			if theirs.Status != 200 || theirs.Body != got.Resource {
				t.Fatalf("the stock buyer has %+v, and we have %q", theirs, got.Resource)
			}
			p.theirs = theirs
			if !strings.Contains(got.Resource, `"resource":"`+p.path+`"`) {
				t.Errorf("the resource is %q", got.Resource)
			}
			if again := agent.confirmed(quoted.ID); again.Code == 0 || !strings.Contains(again.Errors, "buys nothing again") {
				t.Errorf("%+v", again)
			}
			if node.Units(agent.Address) != left || len(node.Transactions(agent.Address)) != n+2 { // The deposit is one.
				t.Errorf("%d units left, after %d transactions", node.Units(agent.Address), len(node.Transactions(agent.Address)))
			}
		})
	}
	for n, p := range purchases {
		t.Run("proof of "+p.path, func(t *testing.T) {
			agent.t = t
			proven := agent.settled(p.payment)
			all := node.Transactions(agent.Address)
			if proven.Transaction != all[len(all)-2-n] || proven.Slot == 0 || proven.MoneyMoved != "YES" {
				t.Errorf("%+v, and the chain has %v", proven, all)
			}
			// The same transaction, but for who pays, when, and the memo that tells payments apart.
			ours, memo := said(t, node, proven.Transaction, agent.Address)
			stocks, stocksMemo := said(t, node, p.theirs.Receipt.Transaction, other.Key.String())
			if !reflect.DeepEqual(ours, stocks) {
				t.Errorf("we paid by\n%v, the stock buyer by\n%v", ours, stocks)
			}
			if len(memo) != len(stocksMemo) || p.memo != "" && (memo != p.memo || stocksMemo != p.memo) {
				t.Errorf("our memo is %q, the stock buyer's %q", memo, stocksMemo)
			}
			shown := agent.show(path.Base(p.payment))
			if shown.State != "DELIVERED" || shown.MoneyMoved != "YES" || shown.PaymentState != "SETTLED" {
				t.Errorf("%+v", shown)
			}
		})
	}
	agent.t = t
	if bought := 2 * (2_000_000 - left); node.Units(seller.PayTo) != bought {
		t.Errorf("the shop has %d units, want %d", node.Units(seller.PayTo), bought)
	}
	agent.wait("the balance of the chain", func() bool { return agent.available() == strconv.FormatInt(left, 10) })
	agent.verified(0)
}

// TestFetchAndPay: what is GREEN is paid by the command that fetches it; what is free costs nothing; and payments at the same time are
// one each.
func TestFetchAndPay(t *testing.T) {
	t.Parallel()
	node, seller, agent := start(t)
	got := agent.fetch(0, seller.URL+"/weather", "--pay")
	if got.State != "DELIVERED" || node.Units(agent.Address) != 1_990_000 {
		t.Errorf("%+v, %d units left", got, node.Units(agent.Address))
	}
	if refused := agent.run(agent.Handle, "x402", "fetch", seller.URL+"/weather", "--allow-loopback", "--pay", "--max-price", "0.009",
		"--output", filepath.Join(agent.dir, "dear")); refused.Code == 0 || node.Units(agent.Address) != 1_990_000 {
		t.Errorf("%+v, %d units left", refused, node.Units(agent.Address))
	}
	if free := agent.fetch(0, seller.URL+"/test/state", "--pay"); free.State != "FREE" || node.Units(agent.Address) != 1_990_000 {
		t.Errorf("%+v, %d units left", free, node.Units(agent.Address))
	}
	var all sync.WaitGroup
	results := make([]Result, 4)
	for i := range results {
		all.Go(func() {
			results[i] = agent.run(agent.Handle, "x402", "fetch", seller.URL+"/weather", "--allow-loopback", "--pay", "--output",
				filepath.Join(agent.dir, "parallel-"+strconv.Itoa(i)))
		})
	}
	all.Wait()
	for _, result := range results {
		if result.Code != 0 {
			t.Errorf("%+v", result)
		}
	}
	if node.Units(agent.Address) != 1_950_000 || seller.State().Made["/weather"] != 5 {
		t.Errorf("%d units left, and the seller made %+v", node.Units(agent.Address), seller.State())
	}
}
