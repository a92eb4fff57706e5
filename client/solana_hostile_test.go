package client_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/fault"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// proxied registers the payer behind a gateway that was broken into.
func proxied(t testing.TB, p **proxy) func(h *halfkeytest.System) (*client.Agent, *client.Home) {
	return func(h *halfkeytest.System) (*client.Agent, *client.Home) {
		*p = newProxy(t, h)
		a, _, home := (*p).agent(h, "Payer")
		return a, home
	}
}

// TestLedgerThatCallsEverythingDead: the ledger's only node hides what has landed, so that the ledger signs of each message that it is
// dead. A client makes two further messages of a payment and no more, whatever is called, by whichever program of its home.
func TestLedgerThatCallsEverythingDead(t *testing.T) {
	w := newChainWorld(t, registered(t))
	ctx := testContext(t)
	var messages [][]byte
	for n := range 3 {
		a := w.reopened(t)
		p := mustPay(t, a, w.order("doomed", 10*usd), authorized)
		messages = append(messages, p.Proto.GetMessage())
		w.node.Become(solanarpctest.Hiding(messages...))
		w.chain.Finalize()
		if got := w.got(); got != int64(n+1)*10*usd {
			t.Fatalf("after %d messages the shop has %d", n+1, got)
		}
		w.kill()
		comesTo(t, a, "doomed", ready)
	}
	if bytes.Equal(messages[0], messages[1]) || bytes.Equal(messages[1], messages[2]) || bytes.Equal(messages[0], messages[2]) {
		t.Error("a message was made twice")
	}
	for n := range 6 {
		a := w.reopened(t)
		_, err := a.Pay(ctx, w.order("doomed", 10*usd))
		if n%2 == 1 {
			_, err = a.Resume(ctx, "doomed")
		}
		e := wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, unknown)
		if e.Metadata["payment"] != a.Wallet()+"/payments/doomed" {
			t.Errorf("the error names the payment %q", e.Metadata["payment"])
		}
		w.kill()
	}
	if _, err := w.reopened(t).Wait(ctx, "doomed"); client.ReasonOf(err) != typev1.Reason_REASON_WRONG_STATE {
		t.Errorf("waiting: got %v", err)
	}
	if got := w.got(); got != 30*usd {
		t.Errorf("the shop has %d, want what three messages moved", got)
	}
	// Another payment is another count.
	w.node.Become()
	mustPay(t, w.reopened(t), w.order("another", usd), authorized)
}

// reopened is the agent as another program finds it in the same home.
func (w *chainWorld) reopened(t testing.TB) *client.Agent {
	t.Helper()
	a, err := w.Client(w.home).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestHostileChainState lies about what became of payments on the chain. Nothing is believed without the ledger's statement about this
// payment and this message, no further message is made, and the payment that was made lands once.
func TestHostileChainState(t *testing.T) {
	t.Parallel()
	var p *proxy
	w := newChainWorld(t, proxied(t, &p))
	ctx := testContext(t)
	w.die(t, w.payer, w.order("other-dead", usd))
	otherDead := comesTo(t, w.payer, "other-dead", ready).Proto
	w.clock.Advance(6 * time.Second)
	mustPay(t, w.payer, w.order("other", usd), authorized)
	w.chain.Finalize()
	other := comesTo(t, w.payer, "other", settled).Proto
	var receipt *typev1.Payment
	alter(p, "CreatePayment", func(p *typev1.Payment) { receipt = proto.CloneOf(p) })
	mustPay(t, w.payer, w.order("receipt", usd), authorized)
	p.honest()
	w.chain.Finalize()
	comesTo(t, w.payer, "receipt", settled)
	for _, row := range []struct {
		name   string
		change func(p *typev1.Payment)
	}{
		{"settled without a settlement", func(p *typev1.Payment) { p.State = settled }},
		{"settled by another payment's settlement", func(p *typev1.Payment) { p.State, p.Settlement = settled, other.GetSettlement() }},
		{"settled by a settlement with a bit changed", func(p *typev1.Payment) { p.State, p.Settlement = settled, flip(other.GetSettlement()) }},
		{"settled by a receipt", func(p *typev1.Payment) { p.State, p.Settlement = settled, receipt.GetReceipt() }},
		{"settled by another payment's message and settlement", func(p *typev1.Payment) {
			p.State, p.Message, p.Settlement = settled, other.GetMessage(), other.GetSettlement()
		}},
		{"failed without a statement", func(p *typev1.Payment) { p.State = failed }},
		{"failed by a statement that it is dead", func(p *typev1.Payment) { p.State, p.DeadMessages = failed, otherDead.GetDeadMessages() }},
		{"free again without a statement", func(p *typev1.Payment) { p.State = ready }},
		{"free again by another payment's statement", func(p *typev1.Payment) { p.State, p.DeadMessages = ready, otherDead.GetDeadMessages() }},
		{"free again by a statement with a bit changed", func(p *typev1.Payment) {
			p.State, p.DeadMessages = ready, []*typev1.Envelope{flip(otherDead.GetDeadMessages()[0])}
		}},
		{"expired without a statement", func(p *typev1.Payment) { p.State = expired }},
		{"canceled without a statement", func(p *typev1.Payment) { p.State = canceled }},
		{"denied without a statement", func(p *typev1.Payment) { p.State = denied }},
		{"waiting for a person", func(p *typev1.Payment) { p.State = pending }},
		{"authorized by another message", func(p *typev1.Payment) { p.Message = other.GetMessage() }},
		{"authorized without a message", func(p *typev1.Payment) { p.Message = nil }},
		{"another payment altogether", func(p *typev1.Payment) { proto.Reset(p); proto.Merge(p, other) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := w.got()
			order := w.order(slugOf(row.name), 1000)
			alter(p, "SettlePayment", row.change)
			_, err := w.payer.Pay(ctx, order)
			p.honest()
			if err == nil || client.MoneyMovedOf(err) != unknown {
				t.Fatalf("got %v", err)
			}
			// And what GetPayment says is believed no more.
			alter(p, "GetPayment", row.change)
			asked, made := p.called("GetBlockHash"), p.called("CreatePayment")
			got, err := w.payer.Resume(ctx, order.ID)
			if err == nil && got.State != authorized || p.called("GetBlockHash") != asked || p.called("CreatePayment") != made {
				t.Errorf("resuming: got %v, %v, and another message", got, err)
			}
			if shown, err := w.payer.Payment(ctx, order.ID); err == nil && shown.State != authorized {
				t.Errorf("it is shown as %v, %v", shown, err)
			}
			p.honest()
			a := w.reopened(t) // What was answered may have been of another time.
			mustPay(t, a, order, authorized)
			w.chain.Finalize()
			comesTo(t, a, order.ID, settled)
			if got := w.got() - before; got != 1000 {
				t.Errorf("the shop got %d, want 1000", got)
			}
			w.clock.Advance(6 * time.Second)
		})
	}
}

// TestHostileBlockHash answers with block hashes that are none, or none of the ledger's. Nothing is authorized by them, and nothing is paid
// twice once the gateway is honest.
func TestHostileBlockHash(t *testing.T) {
	t.Parallel()
	var p *proxy
	w := newChainWorld(t, proxied(t, &p))
	ctx := testContext(t)
	for _, row := range []struct {
		name   string
		change func(r *gatewayv1.GetBlockHashResponse)
		want   typev1.Reason
		hashes int // How often one is asked for.
	}{
		{"none", func(r *gatewayv1.GetBlockHashResponse) { r.BlockHash = nil }, typev1.Reason_REASON_BAD_STATEMENT, 1},
		{"a short one", func(r *gatewayv1.GetBlockHashResponse) { r.BlockHash = r.BlockHash[:31] }, typev1.Reason_REASON_BAD_STATEMENT, 1},
		{"a long one", func(r *gatewayv1.GetBlockHashResponse) { r.BlockHash = append(r.BlockHash, 0) }, typev1.Reason_REASON_BAD_STATEMENT, 1},
		{"zeros", func(r *gatewayv1.GetBlockHashResponse) { r.BlockHash = make([]byte, 32) }, typev1.Reason_REASON_BAD_STATEMENT, 1},
		{"one without an end", func(r *gatewayv1.GetBlockHashResponse) { r.LastValidHeight = 0 }, typev1.Reason_REASON_BAD_STATEMENT, 1},
		{"one of no block", func(r *gatewayv1.GetBlockHashResponse) { r.BlockHash[0] ^= 1 }, typev1.Reason_REASON_MESSAGE_EXPIRED, 3},
		{"that of another block", func(r *gatewayv1.GetBlockHashResponse) {
			hash := w.chain.Final().Back(20).Hash
			r.BlockHash = hash[:]
		}, typev1.Reason_REASON_MESSAGE_EXPIRED, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			before, asked := w.got(), p.called("GetBlockHash")
			order := w.order(slugOf("hash-"+row.name), 1000)
			alter(p, "GetBlockHash", row.change)
			_, err := w.payer.Pay(ctx, order)
			p.honest()
			wantReason(t, err, row.want, notMoved)
			if got := p.called("GetBlockHash") - asked; got != row.hashes {
				t.Errorf("asked for %d block hashes, want %d", got, row.hashes)
			}
			if _, err := w.payer.Payment(ctx, order.ID); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
				t.Errorf("it was recorded: %v", err)
			}
			mustPay(t, w.payer, order, authorized)
			w.chain.Finalize()
			comesTo(t, w.payer, order.ID, settled)
			if got := w.got() - before; got != 1000 {
				t.Errorf("the shop got %d, want 1000", got)
			}
			w.clock.Advance(6 * time.Second)
		})
	}
}

// TestLostChainCalls loses each call of a payment on the chain, or its answer. Whoever repeats goes on, and there is one payment.
func TestLostChainCalls(t *testing.T) {
	var p *proxy
	w := newChainWorld(t, proxied(t, &p))
	ctx := testContext(t)
	for _, method := range []string{"GetBlockHash", "CreatePayment", "SettlePayment"} {
		for _, answer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, its answer %v", method, answer), func(t *testing.T) {
				before := w.got()
				order := w.order(slugOf(fmt.Sprint("lost", method, answer)), 1000)
				p.lose(method, answer)
				risk := unknown
				if method == "GetBlockHash" {
					risk = notMoved
				}
				_, err := w.payer.Pay(ctx, order)
				wantReason(t, err, typev1.Reason_REASON_INTERNAL, risk)
				a := w.reopened(t)
				mustPay(t, a, order, authorized)
				w.chain.Finalize()
				comesTo(t, a, order.ID, settled)
				if got := w.got() - before; got != 1000 {
					t.Errorf("the shop got %d, want 1000", got)
				}
				w.clock.Advance(6 * time.Second)
			})
		}
	}
}

// TestCallsOnSolana counts what a payment on the chain costs a program that has just started.
func TestCallsOnSolana(t *testing.T) {
	var p *proxy
	w := newChainWorld(t, proxied(t, &p))
	for name, c := range map[string]struct {
		do   func(a *client.Agent) error
		want map[string]int
	}{
		"pay": {func(a *client.Agent) error {
			_, err := a.Pay(testContext(t), w.order("counted", usd))
			return err
		}, map[string]int{"GetBlockHash": 1, "CreatePayment": 1, "SettlePayment": 1}},
		"dry run": {func(a *client.Agent) error {
			_, err := a.DryRun(testContext(t), w.order("", usd))
			return err
		}, map[string]int{"CreatePayment": 1}},
	} {
		a := w.reopened(t)
		p.mu.Lock()
		clear(p.calls)
		p.mu.Unlock()
		if err := c.do(a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p.mu.Lock()
		got := maps.Clone(p.calls)
		p.mu.Unlock()
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: calls %v, want %v", name, got, c.want)
		}
	}
}

// TestHashThatTheLedgerForgot: a restarted ledger knows no block hash of before. A fresh message is made, and nothing is paid twice.
func TestHashThatTheLedgerForgot(t *testing.T) {
	var p *proxy
	w := newChainWorld(t, proxied(t, &p))
	order := w.order("forgotten", 1000)
	p.lose("CreatePayment", false)
	if _, err := w.payer.Pay(testContext(t), order); err == nil {
		t.Fatal("nothing was lost")
	}
	w.Kill()
	w.Restart()
	w.chain.Advance(3)
	mustPay(t, w.reopened(t), order, authorized)
	w.chain.Finalize()
	comesTo(t, w.reopened(t), order.ID, settled)
	if got := w.got(); got != 1000 {
		t.Errorf("the shop got %d, want 1000", got)
	}
}

// TestCrashWhilePayingOnSolana lets an agent's program die before and after each of its writes. The program that starts on the same home
// resumes, and there is one payment.
func TestCrashWhilePayingOnSolana(t *testing.T) {
	t.Parallel()
	w := newChainWorld(t, registered(t))
	ctx := testContext(t)
	order := func(number int) client.Order { return w.order(fmt.Sprint("crash-", number), 1000) }
	var before int64
	crashes(t,
		func(t *testing.T, number int, store *crashingHome) (*client.Home, error) {
			before = w.got()
			store.Home = w.home
			c, err := client.Open(w.home, client.Options{Keys: store, Payments: store, Fetches: store, Clock: w.clock.Now})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			a, err := c.Agent("")
			if err != nil {
				t.Fatal(err)
			}
			if _, err = a.Pay(ctx, order(number)); err != nil {
				return w.home, err
			}
			w.chain.Finalize()
			_, err = a.WaitProven(ctx, order(number).ID)
			return w.home, err
		},
		func(t *testing.T, number int, _ *client.Home) {
			a := w.reopened(t)
			ids, err := a.Unfinished()
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if p, err := a.Resume(ctx, id); err != nil || p.State != authorized && p.State != settled {
					t.Fatalf("resuming: %v, %v", p, err)
				}
			}
			if p, err := a.Pay(ctx, order(number)); err != nil || p.State != authorized && p.State != settled {
				t.Fatalf("paying again: %v, %v", p, err)
			}
			w.chain.Finalize()
			proven(t, a, order(number).ID, settled)
			w.chain.Finalize()
			if got := w.got() - before; got != 1000 {
				t.Errorf("the shop got %d, want 1000", got)
			}
			if ids, err := a.Unfinished(); err != nil || slices.Contains(ids, order(number).ID) {
				t.Errorf("left unfinished: %v, %v", ids, err)
			}
			w.clock.Advance(6 * time.Second)
		})
}

// TestRefusedQuestions: whoever refuses to answer says NO of its own call, and nothing of what was sent to the chain before.
func TestRefusedQuestions(t *testing.T) {
	var p *proxy
	w := newChainWorld(t, proxied(t, &p))
	ctx := testContext(t)
	order := w.order("sent", usd)
	mustPay(t, w.payer, order, authorized)
	for _, reason := range []typev1.Reason{typev1.Reason_REASON_PERMISSION_DENIED, typev1.Reason_REASON_LIMIT_EXCEEDED, typev1.Reason_REASON_REVOKED} {
		p.set(func(string, proto.Message) error { return fault.New(reason, notMoved, "not now") }, nil)
		if _, err := w.payer.Resume(ctx, order.ID); client.ReasonOf(err) != reason || client.MoneyMovedOf(err) != unknown {
			t.Errorf("resuming by %v: %v, %v", reason, err, client.MoneyMovedOf(err))
		}
		if _, err := w.payer.Pay(ctx, order); client.ReasonOf(err) != reason || client.MoneyMovedOf(err) != unknown {
			t.Errorf("paying again by %v: %v, %v", reason, err, client.MoneyMovedOf(err))
		}
	}
	p.honest()
	w.chain.Finalize()
	comesTo(t, w.payer, order.ID, settled)
}
