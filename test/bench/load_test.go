package bench

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if ran, err := Child(os.Args[1:]); ran {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestLoadAddsUp makes a short run in each mode. How long anything took is not its affair; that everything which was due was paid,
// is settled in the verified journals, was counted by each service's own metrics and took processor time, is.
func TestLoadAddsUp(t *testing.T) {
	for _, mode := range []string{AllInOne, Programs} {
		t.Run(mode, func(t *testing.T) {
			r, err := Load(t.Context(), mode, Plan{Rate: 20, Duration: 2 * time.Second, Agents: 2}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			if r.Outcome.Paid != 40 {
				t.Errorf("%d paid, want 40", r.Outcome.Paid)
			}
			for name, used := range r.used.cpu {
				if used <= 0 {
					t.Errorf("%s used %v of processor time", name, used)
				}
			}
			if hops, want := r.hopsEach(), float64(len(hops())); hops != want {
				t.Errorf("%v hops a payment, want %v", hops, want)
			}
			if n := r.used.transactions; n == 0 || n > 2*40 {
				t.Errorf("%d durable transactions of the ledger for 40 payments, want some and at most two each", n)
			}
			if mode == Programs && r.used.syncs != 0 {
				t.Errorf("etcd wrote durably %v times in a run of GREEN payments, want never", r.used.syncs)
			}
			var reads float64
			for _, n := range readsPerPayment() {
				reads += n
			}
			// What the services look after by themselves, a few times a minute, comes on top.
			if got := r.used.reads / 40; mode == Programs && (got < reads || got > reads+1) {
				t.Errorf("%v reads of etcd a payment, want %v", got, reads)
			}
			var out bytes.Buffer
			r.Print(&out)
			for _, want := range []string{"paid 40   failed 0   settled in the journal 40", "everything", "per payment: hops 7.00"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the report lacks %q:\n%s", want, out.String())
				}
			}
		})
	}
}

// TestCheckFindsWhatDoesNotAddUp takes one number away at a time.
func TestCheckFindsWhatDoesNotAddUp(t *testing.T) {
	whole := func() *Report {
		return &Report{
			Plan: Plan{Rate: 10, Duration: time.Second, Agents: 1}, Outcome: &Outcome{Paid: 10}, Settled: 10,
			used: &usage{transactions: 15, calls: map[string]float64{gateway: 20, identity: 10, policy: 10, ledger: 20, cosigner: 10}},
		}
	}
	if err := whole().Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(r *Report){
		"a payment failed":                func(r *Report) { r.Outcome.Failed, r.Outcome.Paid = 1, 9 },
		"a payment was forgotten":         func(r *Report) { r.Outcome.Paid, r.Settled = 9, 9 },
		"a payment is not in the journal": func(r *Report) { r.Settled = 9 },
		"the journal has one too many":    func(r *Report) { r.Settled = 11 },
		"nothing was durable":             func(r *Report) { r.used.transactions = 0 },
		"a service was not asked":         func(r *Report) { r.used.calls[cosigner] = 9 },
	} {
		r := whole()
		spoil(r)
		if r.Check() == nil {
			t.Errorf("%s: it adds up", name)
		}
	}
}
