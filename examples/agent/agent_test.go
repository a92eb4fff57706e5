package agent_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"example.com/halfkey-examples/agent"
	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestWork lets an agent work off tasks of which one is cheap, one waits for its owner, one is refused by its owner and one by
// the guard rails; then all of them again; then frozen.
func TestWork(t *testing.T) {
	h := halfkeytest.Start(t)
	shop, stranger, worker := h.Agent("Data Shop"), h.Agent("Stranger"), h.Agent("Worker")
	h.GuardRails(worker, client.StandardRules(shop.GroupKey()))
	h.Fund(worker, 50_000_000)

	did := make(map[string]int)
	task := func(id string, to *client.Agent, units int64) agent.Task {
		return agent.Task{
			ID: id, Recipient: "@" + to.Handle(), Units: units, Purpose: "data for " + id,
			Do: func(context.Context, *client.Payment) error {
				did[id]++
				return nil
			},
		}
	}
	tasks := []agent.Task{
		task("cheap", shop, 2_000_000), task("dear", shop, 6_000_000), task("silly", shop, 7_000_000), task("wrong", stranger, 1_000_000),
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watching := make(chan struct{})
	go answer(ctx, h.Owner(), worker.Wallet(), watching)
	<-watching

	want := map[string]agent.Outcome{"cheap": agent.Done, "dear": agent.Done, "silly": agent.Refused, "wrong": agent.Refused}
	for range 2 { // The second time is a repeat, and pays nothing.
		got, err := agent.Work(ctx, worker, tasks)
		if err != nil || !maps.Equal(got, want) {
			t.Fatalf("got %v %v, want %v", got, err, want)
		}
	}
	if did["cheap"] == 0 || did["dear"] == 0 || did["silly"]+did["wrong"] != 0 {
		t.Errorf("did %v", did)
	}
	if account, err := shop.Account(ctx); err != nil || account.Balances[0].Available != 8_000_000 {
		t.Errorf("the shop has %v, want 8 USD: %v", account, err)
	}

	if _, err := h.Owner().Freeze(ctx, worker.Wallet(), "stop"); err != nil {
		t.Fatal(err)
	}
	got, err := agent.Work(ctx, worker, []agent.Task{task("later", shop, 1_000_000)})
	if err != nil || got["later"] != agent.Stopped || did["later"] != 0 {
		t.Errorf("frozen: %v %v", got, err)
	}
	if _, err := h.Owner().Unfreeze(ctx, worker.Wallet(), "stop"); err != nil {
		t.Fatal(err)
	}
	if got, err := agent.Work(ctx, worker, []agent.Task{task("later", shop, 1_000_000)}); err != nil || got["later"] != agent.Done {
		t.Errorf("no longer frozen: %v %v", got, err)
	}
}

// answer is the owner: yes to what is dear, no to anything else. It closes watching once it misses nothing any more.
func answer(ctx context.Context, owner *client.Owner, wallet string, watching chan<- struct{}) {
	for change, err := range owner.Watch(ctx, client.WatchOptions{Wallet: wallet}) {
		switch {
		case err != nil:
			return
		case change.Payment == nil:
			close(watching)
		case change.Payment.State == typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW && change.Payment.ID == "dear":
			_, _ = owner.Approve(ctx, change.Payment.Name) // Not answered, the worker waits until the test's time is up.
		case change.Payment.State == typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW:
			_, _ = owner.Refuse(ctx, change.Payment.Name)
		}
	}
}
