package client_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
)

// TestSameMemoTwice buys twice, at one price, from a server that wants the same memo each time, while the ledger hands out one block hash:
// the second payment would have the bytes of the first, which land once. It waits for another hash and goes on by itself.
func TestSameMemoTwice(t *testing.T) {
	t.Parallel()
	hashes := make(chan struct{}, 100)
	m := newChainMarket(t, halfkeytest.WithWrap(func(_ string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		return countingConn{conn, func(method string) {
			if strings.HasSuffix(method, "/GetBlockHash") {
				hashes <- struct{}{}
			}
		}}
	}))
	m.seller.Ask(3*cent, 2, map[string]any{"memo": "order 7"})
	first, second := m.fetch(), m.fetch()
	if done, _ := m.confirm(first); done.State != delivered {
		t.Fatalf("got %+v", done)
	}
	asked := len(hashes)
	type outcome struct {
		f   *client.Fetch
		err error
	}
	ended := make(chan outcome, 1)
	go func() {
		f, err := m.buyer.ConfirmFetch(testContext(t), second.ID, new(strings.Builder))
		ended <- outcome{f, err}
	}()
	// One hash for the message that is refused, one that is found to be the same, and one after the wait.
	m.wait("another block hash is waited for", func() bool { return len(hashes) >= asked+3 || len(ended) > 0 })
	select {
	case o := <-ended:
		t.Fatalf("it waited for no other block hash: %+v, %v", o.f, o.err)
	default:
	}
	if r, err := m.home.LoadPayment(second.Name); err != nil || len(r.Messages) != 1 {
		t.Errorf("made %d messages of the same bytes, %v", len(r.Messages), err)
	}
	m.chain.Finalize()
	m.clock.Advance(10 * time.Second)
	if o := <-ended; o.err != nil || o.f.State != delivered {
		t.Fatalf("got %+v, %v", o.f, o.err)
	}
	m.chain.Finalize()
	for _, f := range []*client.Fetch{first, second} {
		if shown := m.proved(f); shown.MoneyMoved != moved {
			t.Errorf("shown %+v", shown)
		}
	}
	payments := m.seller.Payments()
	if len(payments) != 2 || string(payments[0].Wire) == string(payments[1].Wire) {
		t.Errorf("%d payments were sent, or the same twice", len(payments))
	}
}
