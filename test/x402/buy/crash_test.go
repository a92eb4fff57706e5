package buy

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// TestCrash: the program that pays, or every service, is killed at the moment when the seller's side has the payment. Back again, they
// know of it, and one payment lands.
func TestCrash(t *testing.T) {
	t.Parallel()
	node, seller, agent := start(t)

	// The services die before the stock seller has the payment. The resource comes all the same: its seller needs none of them.
	var once sync.Once
	f := newFront(t, seller, func(f *front, w http.ResponseWriter, r *http.Request) {
		once.Do(agent.kill)
		copyAnswer(w, f.sell(r))
	})
	quoted := agent.fetch(0, f.URL+"/weather")
	got := agent.confirm(0, quoted.ID)
	if got.State != "DELIVERED" || got.MoneyMoved != "UNKNOWN" || node.Units(agent.Address) != 1_990_000 {
		t.Fatalf("%+v, %d units left", got, node.Units(agent.Address))
	}
	agent.serve()
	if got := agent.proven(quoted.ID); got.MoneyMoved != "YES" || got.PaymentState != "SETTLED" {
		t.Errorf("%+v", got)
	}

	// halfkey dies while the seller has the payment, and is settled with only then.
	dead := make(chan *exec.Cmd, 1)
	f = newFront(t, seller, func(f *front, w http.ResponseWriter, r *http.Request) {
		select {
		case command := <-dead:
			_ = command.Process.Kill()
			f.sell(r.Clone(t.Context())) // Nobody waits for the answer.
		default:
			copyAnswer(w, f.sell(r))
		}
	})
	quoted = agent.fetch(0, f.URL+"/weather")
	command := agent.command(agent.Handle, "x402", "fetch", "confirm", quoted.ID, "--output", filepath.Join(agent.dir, "never"))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	dead <- command
	if err := command.Wait(); err == nil {
		t.Fatal("it was not killed")
	}
	// Anew, the same payment is shown; the stock facilitator knows it already.
	again := agent.confirmed(quoted.ID)
	if got := agent.proven(quoted.ID); got.MoneyMoved != "YES" {
		t.Errorf("%+v, after %+v", got, again)
	}
	agent.confirmed(quoted.ID)
	if all := f.payments(); len(all) < 2 || all[0] != all[len(all)-1] {
		t.Errorf("%d payments came, and not the same one", len(all))
	}
	if left := node.Units(agent.Address); left != 1_980_000 || len(node.Transactions(agent.Address)) != 3 {
		t.Errorf("%d units are left, after %d transactions", left, len(node.Transactions(agent.Address)))
	}
	agent.verified(0)
}
