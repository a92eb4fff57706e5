package client_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/recoverywork"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// openHere opens a home by a store of its own, with the market's clock.
func (m *chainMarket) openHere(t *testing.T, store *crashingHome) *client.Agent {
	t.Helper()
	store.Home = m.home
	c, err := client.Open(m.home, client.Options{
		Keys: store, Payments: store, Fetches: store, RecoveryWork: recoverywork.ForTests(), Clock: m.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	a, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// another is a program that starts on the buyer's home.
func (m *chainMarket) another(t *testing.T) *client.Agent {
	t.Helper()
	a, err := m.h.Client(m.home).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCrashWhileFetchingExact lets a buyer's program die before and after each of its writes while it fetches from a server that settles
// on a chain. The program that starts on the same home is told the truth, and one payment lands.
func TestCrashWhileFetchingExact(t *testing.T) {
	t.Parallel()
	m := newChainMarket(t)
	m.seller.Ask(cent, 2, nil)
	ctx := testContext(t)
	var before int64
	var id string
	crashes(t,
		func(t *testing.T, _ int, store *crashingHome) (*client.Home, error) {
			m.clock.Advance(10 * time.Second) // Another block hash is handed out.
			before, id = m.left(), ""
			a := m.openHere(t, store)
			f, err := a.Fetch(ctx, m.request())
			if err == nil {
				id = f.ID
				_, err = a.ConfirmFetch(ctx, f.ID, io.Discard)
			}
			return m.home, err
		},
		func(t *testing.T, _ int, _ *client.Home) {
			m.chain.Finalize()
			if id == "" {
				if got := m.left() - before; got != 0 {
					t.Errorf("%d left for a price that nobody was told", got)
				}
				return
			}
			a := m.another(t)
			shown, err := a.ShowFetch(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.left() - before; shown.MoneyMoved == moved && got == 0 || shown.MoneyMoved == notMoved && got != 0 {
				t.Errorf("%v %v is said of a fetch for which %d left", shown.State, shown.MoneyMoved, got)
			}
			var out bytes.Buffer
			done, err := a.ConfirmFetch(ctx, id, &out)
			switch {
			case shown.State == delivered:
				wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
			case err != nil || done.State != delivered || out.String() != "sunny\n":
				t.Errorf("confirmed again: %+v, %v", done, err)
			}
			m.chain.Finalize()
			if end := m.proved(&client.Fetch{ID: id}); end.State != delivered || end.MoneyMoved != moved {
				t.Errorf("ends as %+v", end)
			}
			if got := m.left() - before; got != cent {
				t.Errorf("%d left, want %d", got, cent)
			}
		})
}

// TestServicesCrashWhileFetchingExact kills the services while a server has the payment, and starts them again before or after the chain
// has it: the payment is found and proved, or proved dead, and never made twice.
func TestServicesCrashWhileFetchingExact(t *testing.T) {
	t.Parallel()
	m := newChainMarket(t)
	m.seller.Ask(cent, 2, nil)
	fails := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	for _, row := range []struct {
		name    string
		settles bool
		dies    bool
		lands   bool // While the services are down.
		state   client.FetchState
		money   typev1.MoneyMoved
	}{
		{"it landed before they were back", true, false, true, client.FetchPaid, moved},
		{"it lands once they are back", true, false, false, client.FetchPaid, moved},
		{"it landed long before they were back", true, true, true, client.FetchPaid, moved},
		{"it had died before they were back", false, true, false, client.FetchConfirmed, notMoved},
	} {
		t.Run(row.name, func(t *testing.T) {
			m.clock.Advance(10 * time.Second)
			before := m.left()
			f := m.fetch()
			m.answers(t, func(w http.ResponseWriter, r *http.Request) {
				if p, err := m.seller.Read(r); err != nil {
					t.Errorf("refused: %v", err)
				} else if row.settles {
					m.seller.Settle(p)
				}
				m.h.Kill()
				fails(w, r)
			})
			done, err := m.buyer.ConfirmFetch(testContext(t), f.ID, io.Discard)
			if err != nil || done.State != sent || done.MoneyMoved != unknown || done.Until.IsZero() {
				t.Fatalf("got %+v, %v", done, err)
			}
			if row.lands {
				m.chain.Finalize()
			}
			if row.dies {
				m.die()
			}
			m.h.Restart()
			if !row.lands && !row.dies {
				m.chain.Finalize()
			}
			if shown := m.proved(f); shown.State != row.state || shown.MoneyMoved != row.money {
				t.Errorf("shown %+v", shown)
			}
			m.front.Store(nil)
			m.clock.Advance(10 * time.Second)
			end, out := m.confirm(f)
			m.chain.Finalize()
			if shown := m.proved(f); end.State != delivered || shown.MoneyMoved != moved || out != "sunny\n" || m.left()-before != cent {
				t.Errorf("ends as %+v, %+v, %q; %d left", end, shown, out, m.left()-before)
			}
		})
	}
}

// TestLostFetchCallsExact loses each call to the gateway that a confirmation makes, or its answer.
func TestLostFetchCallsExact(t *testing.T) {
	t.Parallel()
	m := newChainMarket(t)
	p := newProxy(t, m.h)
	ctx := testContext(t)
	lossy, _, home := p.agent(m.h, "Lossy Chain Buyer")
	m.buyer, m.home = lossy, home
	m.chain.Fund(lossy.GroupKey(), m.mint, chainFunds)
	m.chain.Finalize()
	m.allow(m.seller.PayTo)
	m.seller.Ask(cent, 2, nil)
	m.wait("the deposit is seen", func() bool { return m.units() == chainFunds })
	for _, lost := range []struct {
		name, method string
		answer       bool
		fails        bool
		shown        typev1.MoneyMoved
	}{
		{"the question for a hash is lost", "GetBlockHash", false, true, notMoved},
		{"the hash is lost", "GetBlockHash", true, true, notMoved},
		{"the request is lost", "CreatePayment", false, true, notMoved},
		{"the authorization is lost", "CreatePayment", true, true, unknown},
		{"the ledger's word is lost", "GetPayment", true, false, unknown},
	} {
		t.Run(lost.name, func(t *testing.T) {
			m.clock.Advance(10 * time.Second)
			before, paid := m.left(), m.paid.Load()
			f := m.fetch()
			m.answers(t, m.settling(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
			p.lose(lost.method, lost.answer)
			done, err := lossy.ConfirmFetch(ctx, f.ID, io.Discard)
			if lost.fails != (err != nil) || !lost.fails && (done.State != sent || done.MoneyMoved != unknown) {
				t.Fatalf("got %+v, %v", done, err)
			}
			m.buyer = m.another(t)
			shown, err := m.buyer.ShowFetch(ctx, f.ID)
			if err != nil || shown.MoneyMoved != lost.shown || shown.MoneyMoved == unknown && shown.Until.IsZero() {
				t.Errorf("shown %+v, %v", shown, err)
			}
			if lost.fails && m.paid.Load() != paid {
				t.Error("a payment was sent by a call that failed before it")
			}
			m.front.Store(nil)
			end, out := m.confirm(f)
			m.chain.Finalize()
			if shown := m.proved(f); end.State != delivered || out != "sunny\n" || shown.MoneyMoved != moved || m.left()-before != cent {
				t.Errorf("ends as %+v, %+v, %q; %d left", end, shown, out, m.left()-before)
			}
		})
	}
}

// TestOneFetchExactFromManyPrograms confirms one fetch from several programs on one home at once: one message is made, and it lands once.
func TestOneFetchExactFromManyPrograms(t *testing.T) {
	m := newChainMarket(t)
	m.seller.Ask(cent, 2, nil)
	ctx := testContext(t)
	f := m.fetch()
	const programs = 6
	errs := make(chan error, programs)
	for range programs {
		a := m.another(t)
		go func() {
			for {
				_, err := a.ConfirmFetch(ctx, f.ID, io.Discard)
				if client.ReasonOf(err) == typev1.Reason_REASON_ABORTED {
					continue
				}
				if client.ReasonOf(err) == typev1.Reason_REASON_WRONG_STATE {
					err = nil // Another was first.
				}
				errs <- err
				return
			}
		}()
	}
	for range programs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	m.chain.Finalize()
	if shown := m.proved(f); shown.State != delivered || shown.MoneyMoved != moved || m.left() != cent {
		t.Errorf("shown %+v; %d left", shown, m.left())
	}
	for _, p := range m.seller.Payments() {
		if !bytes.Equal(p.Wire, m.seller.Payments()[0].Wire) {
			t.Error("two different payments were sent")
		}
	}
}

// TestFetchExactBelievesNoGateway lets a gateway say of a payment that a server has that it is dead, or settled, without the ledger's
// statement: it is believed nothing, and no further message is made.
func TestFetchExactBelievesNoGateway(t *testing.T) {
	m := newChainMarket(t)
	p := newProxy(t, m.h)
	ctx := testContext(t)
	buyer, _, home := p.agent(m.h, "Lied To")
	m.buyer, m.home = buyer, home
	m.chain.Fund(buyer.GroupKey(), m.mint, chainFunds)
	m.chain.Finalize()
	m.allow(m.seller.PayTo)
	m.seller.Ask(cent, 2, nil)
	m.wait("the deposit is seen", func() bool { return m.units() == chainFunds })
	m.answers(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = m.seller.Read(r)
		w.WriteHeader(http.StatusPaymentRequired)
	})
	f := m.fetch()
	m.confirm(f)
	for _, lie := range []typev1.PaymentState{ready, pending, expired, canceled, settled, typev1.PaymentState_PAYMENT_STATE_FAILED} {
		t.Run(lie.String(), func(t *testing.T) {
			p.set(nil, func(method string, _, resp proto.Message) error {
				if told, ok := resp.(*typev1.Payment); ok && method == "GetPayment" {
					told.State = lie
				}
				return nil
			})
			defer p.honest()
			sent := len(m.seller.Payments())
			if shown, err := buyer.ShowFetch(ctx, f.ID); err == nil || client.MoneyMovedOf(err) != unknown {
				t.Errorf("shown %+v, %v", shown, err)
			}
			if done, err := buyer.ConfirmFetch(ctx, f.ID, io.Discard); err == nil || client.MoneyMovedOf(err) != unknown {
				t.Errorf("confirmed %+v, %v", done, err)
			}
			if n := len(m.seller.Payments()); n != sent {
				t.Errorf("%d payments were sent", n-sent)
			}
		})
	}
	// A gateway that refuses to answer says NO of its own call alone.
	p.set(func(string, proto.Message) error {
		return fault.New(typev1.Reason_REASON_PERMISSION_DENIED, notMoved, "not now")
	}, nil)
	if _, err := buyer.ShowFetch(ctx, f.ID); err == nil || client.MoneyMovedOf(err) != unknown {
		t.Errorf("refused: %v", err)
	}
	if _, err := buyer.ConfirmFetch(ctx, f.ID, io.Discard); err == nil || client.MoneyMovedOf(err) != unknown {
		t.Errorf("refused: %v", err)
	}
	p.honest()
	m.front.Store(nil)
	done, _ := m.confirm(f)
	m.chain.Finalize()
	if shown := m.proved(f); done.State != delivered || shown.MoneyMoved != moved {
		t.Errorf("got %+v, %+v", done, shown)
	}
	for _, paid := range m.seller.Payments() {
		if !bytes.Equal(paid.Message, m.seller.Payments()[0].Message) {
			t.Error("a further message was made")
		}
	}
}
