package ledger

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// What settling answers is what the database says, whether or not the ledger remembers the payment.
func TestSettlementAnswersAlike(t *testing.T) {
	for _, tt := range []struct {
		name       string
		before     func(f *fixture, p *evidencetest.Payment)
		remembered bool
	}{
		{"at once", func(*fixture, *evidencetest.Payment) {}, true},
		{"after a repeat", func(f *fixture, p *evidencetest.Payment) { f.must(p, authorized) }, true},
		{"after a restart", func(f *fixture, _ *evidencetest.Payment) { f.reopen() }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t)
			payer, payee := f.two()
			p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 3 * usd})
			f.must(p, authorized)
			tt.before(f, p)
			key, err := paymentOf(p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := f.ledger.recent.get(key); ok != tt.remembered {
				t.Fatalf("remembered: got %v, want %v", ok, tt.remembered)
			}
			got, err := f.settle(p)
			if err != nil {
				t.Fatal(err)
			}
			if want := f.get(p.Name); !proto.Equal(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
			if _, ok := f.ledger.recent.get(key); ok {
				t.Error("a settled payment is still remembered as AUTHORIZED")
			}
		})
	}
}

func TestRecentIsBounded(t *testing.T) {
	var r recent
	for i := range 3 * recentMax {
		s := newState(nil, noon)
		p := payment{wallet: "w", id: fmt.Sprint(i), state: authorized, judgedEntry: int64(i + 1)}
		s.payments.loaded(p.key())
		s.payments.put(s, p.key(), p)
		s.entries = []*draft{{chain: "w", entry: &typev1.Entry{Number: uint64(i + 1)}}}
		r.stored(s)
		if _, ok := r.get(p.key()); !ok {
			t.Fatalf("payment %d is not remembered", i)
		}
		if n := len(r.byKey); n > recentMax {
			t.Fatalf("%d payments are remembered, at most %d may be", n, recentMax)
		}
	}
}
