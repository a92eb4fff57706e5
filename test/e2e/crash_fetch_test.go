package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/sellertest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	fetchMint  = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
	fetchUSDC  = resource.SolanaDevnet + "/token:" + fetchMint
	fetchPrice = usd / 100
	movedMaybe = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
)

// confirmSteps are what a confirmation has the gateway ask for: a block hash, the payment, and what became of it.
var confirmSteps = []step{
	stepCaller,
	{name: "block hash", method: ledgerv1.LedgerService_GetBlockHash_FullMethodName},
	stepIdentity, stepPolicy, stepLedger, stepCosigner, stepCaller2, stepRead,
}

// fetchWorld is a world whose payer has money on a chain, and a stranger's server that sells for it.
type fetchWorld struct {
	*world
	chain  *solanarpctest.Chain
	seller *sellertest.Seller
	url    string

	learned bool // A fetch was made before.

	mu    sync.Mutex
	front http.HandlerFunc // Answers what is paid instead of the seller.
}

func newFetchWorld(t *testing.T) *fetchWorld {
	t.Helper()
	chain, clock := solanarpctest.New(t, resource.SolanaDevnet), halfkeytest.NewClock(time.Now())
	w := &fetchWorld{chain: chain}
	w.world = newWorld(t, halfkeytest.WithClock(clock), halfkeytest.WithSolana(resource.SolanaDevnet, chain.Endpoint().URL))
	w.clock = clock
	mint, err := solana.ParseKey(fetchMint)
	if err != nil {
		t.Fatal(err)
	}
	w.seller = sellertest.New(resource.SolanaDevnet, mint, solana.Key(w.shop.GroupKey()), chain)
	w.seller.Ask(fetchPrice, 2, nil)
	rules := w.rules()
	rules.Assets = []string{w.Installation().BookUSD(), fetchUSDC}
	w.GuardRails(w.payer, rules)
	chain.Fund(w.payer.GroupKey(), mint, funds)
	chain.Airdrop(w.seller.FeePayer(), 1_000_000_000)
	chain.Open(w.seller.PayTo, mint)
	chain.Finalize()
	w.wait(t, "the deposit is seen", func() bool { return w.onChain(t).Available == funds })
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		front := w.front
		w.mu.Unlock()
		if front != nil && sellertest.Paid(r) {
			front(rw, r)
			return
		}
		w.seller.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// answers has the server answer what is paid so; nil is the seller itself.
func (w *fetchWorld) answers(front http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.front = front
}

func (w *fetchWorld) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(callMax); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not come to pass: %s", what)
		}
	}
}

// onChain is what the ledger knows of the payer's USDC.
func (w *fetchWorld) onChain(t *testing.T) client.Balance {
	t.Helper()
	account, err := w.payer.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range account.Balances {
		if b.Asset == fetchUSDC {
			return b
		}
	}
	return client.Balance{}
}

// left is what has left the payer's token account.
func (w *fetchWorld) left() int64 {
	return funds - int64(w.chain.Units(w.payer.GroupKey(), w.seller.Mint))
}

// fate is what a server does with the payment of a fetch.
type fate string

const (
	lands    fate = "the seller lands it"
	never    fate = "the seller never lands it"
	landLate fate = "the seller lands it late, and had said nothing"
)

// TestCrashInFetch kills the whole installation before and after each call that the gateway makes for the confirmation of a fetch that is
// paid on a chain, and while the server has the payment, and starts it again when the chain has gone on. A program that starts on the same
// home shows and confirms the fetch until it has ended: at most one transfer lands, and what is said of it is true.
//
// The death of the program itself, before and after each of its writes, is client's TestCrashWhileFetchingExact; that of the ledger at
// each question that it asks a chain is its TestPinCrash.
func TestCrashInFetch(t *testing.T) {
	for _, ends := range []fate{lands, never, landLate} {
		t.Run(string(ends), func(t *testing.T) {
			t.Parallel()
			w := newFetchWorld(t)
			for range 2 { // Names and times are learned first.
				r := w.begin(t, ends)
				calls := w.crasher.record(func() {
					if err := r.call(t.Context()); !errors.Is(err, errAnswered) {
						t.Fatal(err)
					}
				})
				if r.finish(t); w.learned {
					operation{steps: confirmSteps}.checkSteps(t, calls)
				}
				w.learned = true
			}
			for _, p := range points(confirmSteps) {
				if !t.Run(p.String(), func(t *testing.T) {
					r := w.begin(t, ends)
					w.dead = r.pass
					if told := w.crash(t, p, r.call); !errors.Is(told, errAnswered) {
						r.wantTrue(t, "what the caller was told", wantNext(t, told))
					}
					r.finish(t)
				}) {
					return // The installation is in no known state.
				}
			}
			for _, when := range []string{"before", "after"} {
				if !t.Run("the server has it, "+when, func(t *testing.T) {
					r := w.begin(t, ends)
					r.kill = when
					if err := r.call(t.Context()); !errors.Is(err, errAnswered) {
						t.Fatal(err)
					}
					r.pass()
					w.Restart()
					r.finish(t)
				}) {
					return
				}
			}
		})
	}
}

// errAnswered says that a confirmation was answered: once the server has the payment, the services' death is no failure of it.
var errAnswered = errors.New("answered")

// fetchRound is one fetch from its price to its end.
type fetchRound struct {
	w        *fetchWorld
	ends     fate
	id       string
	kill     string // When the installation dies while the server has the payment, before or after it did something with it.
	before   int64
	payments int // That the server had got before.
	bought   bool
}

func (w *fetchWorld) begin(t *testing.T, ends fate) *fetchRound {
	t.Helper()
	w.clock.Advance(10 * time.Second) // Another block hash is handed out.
	r := &fetchRound{w: w, ends: ends, before: w.left(), payments: len(w.seller.Payments())}
	w.answers(func(rw http.ResponseWriter, req *http.Request) {
		when := r.kill
		r.kill = ""
		if when == "before" {
			w.Kill()
		}
		p, err := w.seller.Read(req)
		switch {
		case err != nil:
			t.Errorf("the server refuses the payment: %v", err)
		case ends == lands:
			w.seller.Serve(rw, w.seller.Settle(p))
		default:
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		if when == "after" {
			w.Kill()
		}
	})
	f, err := w.payer.Fetch(t.Context(), client.FetchRequest{URL: w.url + "/weather", Reach: client.Reach{Loopback: true}})
	if err != nil || f.Units != fetchPrice || f.Asset != fetchUSDC {
		t.Fatalf("fetched %+v, %v", f, err)
	}
	r.id = f.ID
	return r
}

// call confirms the fetch.
func (r *fetchRound) call(ctx context.Context) error {
	f, err := r.w.payer.ConfirmFetch(ctx, r.id, io.Discard)
	if err != nil {
		return err
	}
	r.bought = r.bought || f.State == client.FetchDelivered
	return errAnswered
}

// pass lets the chain go on as the payment's fate has it.
func (r *fetchRound) pass() {
	switch r.ends {
	case lands:
		r.w.chain.Finalize()
	case never:
		r.w.chain.Advance(200)
		r.w.chain.Finalize()
	case landLate:
		r.w.chain.Advance(50)
	}
	r.w.clock.Advance(10 * time.Second)
}

// wantTrue demands that nobody is told that money moved that did not, or did not that has.
func (r *fetchRound) wantTrue(t *testing.T, what string, told typev1.MoneyMoved) {
	t.Helper()
	got := r.w.left() - r.before
	if told == movedYes && got != fetchPrice || told == movedNo && got != 0 || got != 0 && got != fetchPrice {
		t.Errorf("%s is %v, and %d left", what, told, got)
	}
}

// show is what a program says of the fetch.
func (r *fetchRound) show(t *testing.T) *client.Fetch {
	t.Helper()
	f, err := r.w.payer.ShowFetch(t.Context(), r.id)
	if err != nil {
		t.Fatalf("show: %v", err)
	}
	r.wantTrue(t, "what is shown of "+string(f.State), f.MoneyMoved)
	return f
}

// proved waits until the ledger has said what became of the fetch's payment.
func (r *fetchRound) proved(t *testing.T) (f *client.Fetch) {
	t.Helper()
	r.w.wait(t, "the ledger's word", func() bool { f = r.show(t); return f.MoneyMoved != movedMaybe })
	return f
}

// again confirms the fetch unless its resource has come.
func (r *fetchRound) again(t *testing.T) {
	t.Helper()
	if r.show(t).State == client.FetchDelivered {
		return
	}
	if err := r.call(t.Context()); !errors.Is(err, errAnswered) {
		t.Fatalf("confirmed again: %v", err)
	}
}

// finish starts another program on the home, brings the fetch to its end and demands what must hold then.
func (r *fetchRound) finish(t *testing.T) {
	t.Helper()
	w := r.w
	var err error
	if w.payer, err = w.Client(w.home).Agent(w.payer.Wallet()); err != nil {
		t.Fatal(err)
	}
	r.again(t)
	r.pass()
	want, moves := client.FetchDelivered, int64(fetchPrice)
	switch r.ends {
	case lands:
		r.proved(t)
	case never:
		// The last message has died, so the payment can be taken back, and nothing of it can land.
		if f := r.proved(t); f.State != client.FetchConfirmed || f.Payment == nil || f.Payment.State != ready {
			t.Fatalf("shown %+v when the message had died", f)
		}
		if _, err := w.payer.Cancel(t.Context(), r.id); err != nil {
			t.Fatal(err)
		}
		for _, p := range w.seller.Payments()[r.payments:] {
			w.seller.Settle(p)
		}
		w.chain.Finalize()
		r.again(t)
		want, moves = client.FetchEnded, 0
	case landLate:
		if f := r.show(t); f.State != client.FetchSent || f.MoneyMoved != movedMaybe || f.Until.IsZero() {
			t.Errorf("shown %+v before it landed", f)
		}
		all := w.seller.Payments()
		w.seller.Settle(all[len(all)-1])
		w.chain.Finalize()
		if f := r.proved(t); f.State != client.FetchPaid || f.MoneyMoved != movedYes {
			t.Errorf("shown %+v when it had landed", f)
		}
		w.answers(nil)
		r.again(t)
		w.chain.Finalize()
	}
	f := r.proved(t)
	if f.State != want || (f.MoneyMoved == movedYes) != (moves != 0) || r.bought != (moves != 0) {
		t.Errorf("ends as %v %v, bought %t", f.State, f.MoneyMoved, r.bought)
	}
	if got := w.left() - r.before; got != moves {
		t.Errorf("%d left, want %d", got, moves)
	}
	var landed [][]byte
	for _, p := range w.seller.Payments()[r.payments:] {
		if w.chain.Landed(p.Message) != nil && (len(landed) == 0 || !bytes.Equal(landed[0], p.Message)) {
			landed = append(landed, p.Message)
		}
	}
	if int64(len(landed))*fetchPrice != moves {
		t.Errorf("%d messages landed for %d", len(landed), moves)
	}
	if got, want := w.onChain(t), funds-w.left(); got.Held != 0 || got.Available != want {
		t.Errorf("the ledger has %+v, want %d and no hold", got, want)
	}
	settlements := count(w.entries(t.Context(), t, w.payer), func(e *typev1.Entry) bool {
		return e.GetKind() == typev1.EntryKind_ENTRY_KIND_PAYMENT && strings.HasSuffix(e.GetPayment(), "/"+r.id) && e.GetPaymentState() == settled
	})
	if int64(settlements)*fetchPrice != moves {
		t.Errorf("the journal has %d settlements for %d", settlements, moves)
	}
}
