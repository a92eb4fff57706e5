package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// gateway is the gateway as anybody reaches it, without the SDK's care.
func (w *world) gateway(t *testing.T) gatewayv1.GatewayServiceClient {
	t.Helper()
	tls, err := rpc.PublicClientTLS([]byte(w.Installation().Content().GetCaPem()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(rpc.DialConfig{Target: "passthrough:///" + w.Address(), TLS: tls})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return gatewayv1.NewGatewayServiceClient(conn)
}

// wantFault demands that the gateway refuses for a reason, says that no money moved, and what to do next.
func wantFault(t *testing.T, what string, err error, reasons ...typev1.Reason) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was answered", what)
		return
	}
	f := fault.Of(err)
	if !slices.Contains(reasons, f.Reason) || f.MoneyMoved != movedNo || f.Next() == "" {
		t.Errorf("%s: %v, money_moved %v, next %q; want one of %v, NO and a next step", what, f, f.MoneyMoved, f.Next(), reasons)
	}
}

// TestCrashAndTimePasses crashes a payment at each of its steps and starts the installation again when its message has
// died: once before the intent's deadline, so that the payment can be made with a fresh message, and once after it.
func TestCrashAndTimePasses(t *testing.T) {
	const deadline = time.Hour
	for _, tt := range []struct {
		name string
		dead time.Duration
		left typev1.PaymentState // What becomes of an AUTHORIZED payment.
	}{
		{"message dies", 2 * time.Minute, ready},
		{"deadline passes", 2 * deadline, expired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clock := halfkeytest.NewClock(time.Now())
			w := newWorld(t, halfkeytest.WithClock(clock))
			w.dead = func() { clock.Advance(tt.dead) }
			w.wantPays(t.Context(), t, w.payer, usd) // Names and times are learned.
			for n, at := range points(paymentSteps) {
				passed := t.Run(at.String(), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), callMax)
					defer cancel()
					order := w.order(idOf(n), usd)
					order.Deadline = deadline
					p := w.follow(ctx, t, order.ID, order.Units)
					told := w.crash(t, at, func(ctx context.Context) error {
						_, err := w.payer.Pay(ctx, order)
						return err
					})
					wantTold(t, told, durable(at))
					state := durable(at)
					if state == authorized {
						state = tt.left
					}
					w.wantDead(ctx, t, p, state)
					p.wantDurable(ctx, t, state)
					sent := p.left.Messages
					paid, err := w.payer.Pay(ctx, order)
					switch {
					case state == settled:
						p.left = nil
						p.wantOnce(ctx, t, paid)
					case tt.left == ready:
						if err != nil || paid.State != settled {
							t.Fatalf("the repeat: %v, %v, want SETTLED", paid, err)
						}
						p.left = nil // The message that settled is the fresh one, which the repeat has stored.
						p.wantFresh(ctx, t, paid, sent, state == ready)
					case state == expired:
						if err != nil || paid.State != expired {
							t.Fatalf("the repeat: %v, %v, want EXPIRED", paid, err)
						}
						p.wantNothingMoved(ctx, t)
					default:
						if client.ReasonOf(err) != typev1.Reason_REASON_DEADLINE_EXPIRED {
							t.Fatalf("the repeat: %v, %v, want DEADLINE_EXPIRED", paid, err)
						}
						if moved := wantNext(t, err); moved != movedNo {
							t.Errorf("what was never recorded is said to have moved money: %v", err)
						}
						w.wantBalance(ctx, t, w.payer, p.payer, 0)
						w.wantBalance(ctx, t, w.shop, p.shop, 0)
					}
				})
				if !passed {
					return
				}
			}
		})
	}
}

// wantDead brings the very calls of before the crash again, as somebody does who kept them: nothing of them moves money.
func (w *world) wantDead(ctx context.Context, t *testing.T, p *payment, state typev1.PaymentState) {
	t.Helper()
	record := p.stored(t)
	gateway := w.gateway(t)
	message := record.Messages[len(record.Messages)-1]
	found, err := gateway.CreatePayment(ctx, &gatewayv1.CreatePaymentRequest{
		Parent: w.payer.Wallet(), Request: w.crasher.lastRequest(), Message: message,
	})
	if state == settled || state == expired {
		if err != nil || found.GetState() != state || len(found.GetRelease()) > 0 {
			t.Errorf("the request of before the crash: %v, %v, want the payment as it ended, %v", found, err, state)
		}
	} else {
		wantFault(t, "the request of before the crash", err, typev1.Reason_REASON_MESSAGE_EXPIRED, typev1.Reason_REASON_DEADLINE_EXPIRED)
	}
	if len(record.Signature) == 0 {
		return
	}
	found, err = gateway.SettlePayment(ctx, &gatewayv1.SettlePaymentRequest{Name: p.name, Signature: record.Signature})
	if state == settled {
		if err != nil || found.GetState() != settled {
			t.Errorf("the signature of before the crash: %v, %v, want SETTLED as it was", found, err)
		}
		return
	}
	wantFault(t, "the signature of before the crash", err, typev1.Reason_REASON_MESSAGE_EXPIRED, typev1.Reason_REASON_WRONG_STATE)
}

// wantStopped demands that an authorized payment is refused what it needs, and that its caller, who may have had it before,
// is not sent off to pay again.
func wantStopped(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("an authorized payment past its deadline goes on")
		return
	}
	var e *client.Error
	if errors.As(err, &e) {
		if e.Reason != typev1.Reason_REASON_RULES_CHANGED || e.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_UNKNOWN {
			t.Errorf("got %v, money_moved %v, want RULES_CHANGED and UNKNOWN", err, e.MoneyMoved)
		}
		return
	}
	if f := fault.Of(err); f.Reason != typev1.Reason_REASON_RULES_CHANGED || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_UNKNOWN {
		t.Errorf("got %v, money_moved %v, want RULES_CHANGED and UNKNOWN", f, f.MoneyMoved)
	}
}

// wantFresh demands that a payment settled once, with a message that had not been sent before.
func (p *payment) wantFresh(ctx context.Context, t *testing.T, paid *client.Payment, sent [][]byte, held bool) {
	t.Helper()
	for _, m := range sent {
		if bytes.Equal(paid.Settlement.GetMessageDigest(), evidence.MessageDigest(m).Bytes()) {
			t.Error("a message settled that had died")
		}
	}
	record := p.stored(t)
	if !bytes.Equal(paid.Settlement.GetIntentDigest(), evidence.IntentDigest(record.Intent).Bytes()) {
		t.Error("another intent settled")
	}
	holds := 1
	if held {
		holds = 2 // The first one ended with the message that it was for.
	}
	p.wantEntries(ctx, t, holds)
}

// TestReadyTurnsYellow lets a GREEN payment's message die in a crash. Before it is paid again its owner lowers the threshold:
// it waits for a person, once more, and is then paid once.
func TestReadyTurnsYellow(t *testing.T) {
	t.Parallel()
	clock := halfkeytest.NewClock(time.Now())
	w := newWorld(t, halfkeytest.WithClock(clock))
	w.dead = func() { clock.Advance(2 * time.Minute) }
	ctx, cancel := context.WithTimeout(t.Context(), callMax)
	defer cancel()
	order := w.order("turns", 4*usd)
	w.wantPays(ctx, t, w.payer, usd)
	p := w.follow(ctx, t, order.ID, order.Units)
	w.crash(t, point{step: stepCosigner, nth: 1}, func(ctx context.Context) error {
		_, err := w.payer.Pay(ctx, order)
		return err
	})
	p.wantState(ctx, t, ready)
	rules := w.rules()
	rules.AutoApprove = 3 * usd
	w.GuardRails(w.payer, rules)
	calls := w.crasher.record(func() {
		paid, err := w.payer.Pay(ctx, order)
		if err != nil || paid.State != pendingReview {
			t.Fatalf("a READY payment over the new threshold: %v, %v, want PENDING_REVIEW", paid, err)
		}
	})
	if slices.Contains(calls, stepCosigner.method) {
		t.Error("the co-signer was asked for a payment that waits for a person")
	}
	p.wantNothingMoved(ctx, t)
	if _, err := w.Owner().Approve(ctx, p.name); err != nil {
		t.Fatal(err)
	}
	paid, err := w.payer.Pay(ctx, order)
	if err != nil || paid.State != settled {
		t.Fatalf("the payment that a person approved: %v, %v, want SETTLED", paid, err)
	}
	p.wantEntries(ctx, t, 2)
}

// TestDeadlineBeforeMessage lets a GREEN payment's deadline pass in a crash while its message lives: nothing is released for
// it, and its hold ends with the message.
func TestDeadlineBeforeMessage(t *testing.T) {
	t.Parallel()
	clock := halfkeytest.NewClock(time.Now())
	w := newWorld(t, halfkeytest.WithClock(clock))
	w.wantPays(t.Context(), t, w.payer, usd)
	for n, tt := range []struct {
		at   point
		late time.Duration // Within policy's tolerance it is the ledger that refuses, beyond it policy.
	}{
		{point{step: stepCosigner, nth: 1}, time.Second},
		{point{step: stepCosigner, nth: 1}, 10 * time.Second},
		{point{step: stepCosigner, nth: 1, after: true}, time.Second},
		{point{step: stepCosigner, nth: 1, after: true}, 10 * time.Second},
	} {
		t.Run(fmt.Sprintf("%v, %v late", tt.at, tt.late), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), callMax)
			defer cancel()
			order := w.order(idOf(n), usd)
			order.Deadline = 30 * time.Second
			w.dead = func() { clock.Advance(order.Deadline + tt.late) }
			p := w.follow(ctx, t, order.ID, order.Units)
			w.crash(t, tt.at, func(ctx context.Context) error {
				_, err := w.payer.Pay(ctx, order)
				return err
			})
			p.wantDurable(ctx, t, authorized)
			message := p.left.Messages[len(p.left.Messages)-1]
			found, err := w.gateway(t).CreatePayment(ctx, &gatewayv1.CreatePaymentRequest{
				Parent: w.payer.Wallet(), Request: w.crasher.lastRequest(), Message: message,
			})
			if len(found.GetRelease()) > 0 {
				t.Fatal("a share was released after the deadline")
			}
			wantStopped(t, err)
			_, err = w.payer.Pay(ctx, order)
			wantStopped(t, err)
			if record := p.stored(t); len(record.Signature) > 0 {
				t.Error("the payer has a signature after the deadline")
			}
			p.wantDurable(ctx, t, authorized)
			clock.Advance(time.Minute)
			paid, err := w.payer.Pay(ctx, order)
			if err != nil || paid.State != expired {
				t.Fatalf("the repeat after the message died: %v, %v, want EXPIRED", paid, err)
			}
			p.wantNothingMoved(ctx, t)
		})
	}
}
