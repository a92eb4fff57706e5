package buy

import (
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/test/x402/stock"
	"github.com/halfkey/halfkey/test/x402/vm"
)

// TestRules: what waits for a person moves nothing until it is approved, and then exactly that; what is refused, frozen, or no longer
// what was shown, moves nothing at all.
func TestRules(t *testing.T) {
	t.Parallel()
	node, seller, agent := start(t)
	left := int64(2_000_000)
	stays := func(when string) {
		t.Helper()
		if has := node.Units(agent.Address); has != left {
			t.Fatalf("%s: %d units left, want %d", when, has, left)
		}
	}
	url := seller.URL + "/weather"

	seller.Price(1_100_000)
	waits := agent.fetch(4, url, "--pay")
	if waits.Judged != "PENDING_REVIEW" || waits.PayTo != seller.PayTo {
		t.Errorf("%+v", waits)
	}
	agent.confirm(4, waits.ID)
	agent.confirm(4, waits.ID)
	stays("it waits")
	agent.owner("review", "approve", waits.Payment, "--yes")
	stays("it is approved")
	if got := agent.confirm(0, waits.ID); got.State != "DELIVERED" {
		t.Errorf("%+v", got)
	}
	left -= 1_100_000
	stays("it is confirmed")

	node.Transfer(node.Someone("somebody with money", 1_000_000_000, 10_000_000), agent.Address, 3_000_000)
	left += 3_000_000
	agent.wait("the second deposit in the balance", func() bool { return agent.available() == "3900000" })
	approved := agent.fetch(4, url)
	agent.confirm(4, approved.ID)
	agent.owner("review", "approve", approved.Payment, "--yes")
	seller.Price(1_100_001)
	if got := agent.confirmed(approved.ID); got.Code == 0 {
		t.Errorf("another price than the approved one: %+v", got)
	}
	seller.Price(1_100_000)
	if got := agent.confirmed(approved.ID); got.Code == 0 {
		t.Errorf("a fetch that has ended: %+v", got)
	}
	stays("the price has changed since it was approved")

	seller.Price(5_000_001)
	refused := agent.fetch(3, url)
	if refused.Judged != "DENIED" {
		t.Errorf("%+v", refused)
	}
	agent.confirm(3, refused.ID)
	stays("it is over the cap")

	other := stock.Sell(t, node, "another shop")
	unknown := agent.fetch(3, other.URL+"/weather")
	if unknown.Judged != "DENIED" || unknown.PayTo == seller.PayTo {
		t.Errorf("%+v", unknown)
	}
	agent.confirm(3, unknown.ID)
	stays("the shop is not among those that may be paid")

	seller.Price(10_000)
	frozen := agent.fetch(0, url)
	agent.owner("freeze", agent.Wallet, "--id", "stop")
	if got := agent.confirmed(frozen.ID); got.Code != 5 {
		t.Errorf("frozen: %+v", got)
	}
	stays("it is frozen")
	agent.owner("unfreeze", agent.Wallet, "--id", "stop")

	// The stock server takes the entry that was shown, or nothing: a price raised before the confirmation costs nothing, and lasts as
	// long as the signed message lives.
	raised := agent.fetch(0, url)
	seller.Price(20_000)
	if got := agent.confirmed(raised.ID); got.Code != 6 {
		t.Errorf("raised: %+v", got)
	}
	stays("the price was raised")
	node.Advance(200)
	if got := agent.proven(raised.ID); got.MoneyMoved != "NO" {
		t.Errorf("%+v", got)
	}
	if got := agent.confirmed(raised.ID); got.Code == 0 {
		t.Errorf("raised, and dead: %+v", got)
	}
	stays("the message is dead")
	time.Sleep(hashShared)
	agent.fetch(0, url, "--pay")
	left -= 20_000
	stays("the new price is confirmed")
	agent.verified(0)
}

// TestTransfer: `halfkey pay` moves exactly what it says, to an address that has a token account and to one that has none, and pays for
// it in SOL; a repeat moves nothing.
func TestTransfer(t *testing.T) {
	t.Parallel()
	node := vm.Start(t, "--network", "devnet", "--block-milliseconds", "100")
	friend, stranger := node.Someone("friend", 0, 0), node.Someone("stranger", 0, nil)
	installation := install(t, node)
	other := installation.agent("other")
	agent := installation.agent("agent", friend.Key.String(), stranger.Key.String(), "@other")
	agent.fund("2000000", node.Someone("somebody with money", 1_000_000_000, 10_000_000), 2_000_000)

	poor := agent.run(agent.Handle, "pay", friend.Key.String(), "0.25", "--asset", "USDC", "--json")
	if poor.Code != 3 || !strings.Contains(poor.Errors, `"needed_lamports":"897880"`) || node.Units(agent.Address) != 2_000_000 {
		t.Fatalf("without SOL: %+v", poor)
	}
	const sol = 10_000_000
	node.Fund(agent.Address, map[string]any{"sol": sol})
	left, lamports := int64(2_000_000), int64(sol)
	for _, c := range []struct {
		id    string
		to    vm.Person
		units int64
		costs int64
	}{
		{"to-a-friend", friend, 250_000, 7_000},
		{"to-a-stranger", stranger, 500_000, 7_000 + 2_039_280},
	} {
		amount := map[int64]string{250_000: "0.25", 500_000: "0.5"}[c.units]
		for range 2 {
			var paid Payment
			agent.ask(&paid, 0, agent.Handle, "pay", c.to.Key.String(), amount, "--asset", "USDC", "--id", c.id)
			if paid.State != "SETTLED" || paid.Address != c.to.Key.String() || paid.Transaction != node.Transactions(agent.Address)[0] {
				t.Errorf("%+v", paid)
			}
			if node.Units(c.to.Key.String()) != c.units || node.Units(agent.Address) != left-c.units {
				t.Errorf("%s: %d units arrived, %d are left", c.id, node.Units(c.to.Key.String()), node.Units(agent.Address))
			}
			if has := node.Lamports(agent.Address); has != lamports-c.costs {
				t.Errorf("%s: %d lamports are left", c.id, has)
			}
		}
		left, lamports = left-c.units, lamports-c.costs
	}
	// A wallet of the same installation, by its handle: on the chain as anybody else, and its own ledger sees it come in.
	var paid Payment
	agent.ask(&paid, 0, agent.Handle, "pay", "@other", "0.125", "--asset", "USDC")
	left -= 125_000
	if paid.State != "SETTLED" || paid.Address != other.Address || node.Units(other.Address) != 125_000 || node.Units(agent.Address) != left {
		t.Errorf("%+v, %d units arrived", paid, node.Units(other.Address))
	}
	other.wait("the payment in the balance", func() bool { return other.available() == "125000" })
	other.verified(0)
	agent.verified(0)
}
