package ledger

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
)

// BenchmarkCreatePayment measures AUTHORIZED payments per second with signatures, handler to durable, without the network:
// one client alone, and many that share transactions.
func BenchmarkCreatePayment(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { benchmarkPayments(b, clients, 16, false) })
	}
	b.Run("clients=64,wallets=1", func(b *testing.B) { benchmarkPayments(b, 64, 1, false) })
	// What the combiner is worth: the same work, one operation per transaction.
	b.Run("clients=64,one at a time", func(b *testing.B) { benchmarkPayments(b, 64, 16, true) })
}

func benchmarkPayments(b *testing.B, clients, wallets int, single bool) {
	f := start(b)
	payee := f.wallet("payee", loose)
	var requests []*ledgerv1.CreatePaymentRequest
	var payers []*evidencetest.Wallet
	for i := range wallets {
		w := f.wallet(fmt.Sprint("w", i), paying([]*evidencetest.Wallet{payee}, loose))
		f.deposit(w, fmt.Sprint("d", i), 1_000_000*usd)
		payers = append(payers, w)
	}
	// A payment each 1,024 of a wallet has to be settled or expire; requests are made beforehand, so bound them instead.
	f.sql(`UPDATE chain SET open_payments = 0`)
	n := min(b.N, wallets*OpenPaymentsMax)
	for i := range n {
		p := f.payment(payers[i%wallets], evidencetest.PaymentConfig{ID: fmt.Sprintf("p%06d", i), To: payee.GroupKey, Units: 1, Now: noon})
		requests = append(requests, &ledgerv1.CreatePaymentRequest{Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict})
	}
	var one sync.Mutex
	var next atomic.Int64
	b.ResetTimer()
	began := time.Now()
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if single {
					one.Lock()
				}
				_, err := f.ledger.CreatePayment(b.Context(), requests[i])
				if single {
					one.Unlock()
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "payments/s")
	b.StopTimer()
}
