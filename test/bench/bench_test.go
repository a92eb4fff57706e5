package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// BenchmarkPayment pays GREEN book payments through the whole system in one process: agent, gateway and four services over
// mutual TLS, embedded etcd, SQLite. Beside the time it reports CPU per payment, and its ratio to the CPU of the
// irreducible parts, measured in the same run.
func BenchmarkPayment(b *testing.B) {
	floor := measureParts(b)
	for _, agents := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("agents=%d", agents), func(b *testing.B) { benchmarkPayment(b, agents, floor) })
	}
}

func measureParts(b *testing.B) time.Duration {
	floor, err := newFloor(b.Context(), "", b.TempDir(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer floor.close()
	if err := floor.measure(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, c := range floor.costs {
		b.Logf("%-32s %8.1f µs CPU × %-4g %s", c.name, micros(c.cpu()), c.count(), c.why)
	}
	b.Logf("%-32s %8.1f µs CPU a payment", "sum of the parts", micros(floor.all()))
	return floor.all()
}

func benchmarkPayment(b *testing.B, agents int, floor time.Duration) {
	h := halfkeytest.Start(b)
	shop := h.Agent("Shop")
	rules := client.StandardRules(shop.GroupKey())
	rules.AutoApprove, rules.Daily, rules.HardCap = 1_000_000, 1<<60, 1_000_000
	payers := make([]*client.Agent, agents)
	for i := range payers {
		payers[i] = h.Agent(fmt.Sprintf("Payer %d", i))
		h.GuardRails(payers[i], rules)
		h.Fund(payers[i], 1<<50)
		pay(payers[i], shop.Wallet()) // The first payment looks the recipient up and connects.
	}

	times := make([]time.Duration, b.N)
	var next atomic.Int64
	var wait sync.WaitGroup
	b.ResetTimer()
	began, beganCPU := time.Now(), cpu()
	for _, payer := range payers {
		wait.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= int64(b.N) {
					return
				}
				started := time.Now()
				pay(payer, shop.Wallet())
				times[n] = time.Since(started)
			}
		})
	}
	wait.Wait()
	elapsed, used := time.Since(began), cpu()-beganCPU
	b.StopTimer()
	slices.Sort(times)
	each := float64(used.Nanoseconds()) / float64(b.N)
	b.ReportMetric(float64(b.N)/elapsed.Seconds(), "payments/s")
	b.ReportMetric(each/1e3, "cpu-µs/payment")
	b.ReportMetric(each/float64(floor.Nanoseconds()), "×parts")
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1e3, "p99-ms")
}

// pay makes one payment and demands that it settled. It is called from several goroutines, so it ends the benchmark by panic.
func pay(payer *client.Agent, recipient string) {
	if err := settle(payer, recipient); err != nil {
		panic(err)
	}
}

func payOnce(t *testing.T, payer *client.Agent, recipient string) {
	t.Helper()
	if err := settle(payer, recipient); err != nil {
		t.Fatal(err)
	}
}

func settle(payer *client.Agent, recipient string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := payer.Pay(ctx, client.Order{Recipient: recipient, Units: 1})
	if err == nil && p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		err = fmt.Errorf("payment ended in %v", p.State)
	}
	return err
}
