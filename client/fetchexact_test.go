package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/sellertest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	sent       = client.FetchSent
	delivered  = client.FetchDelivered
	marketMint = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
	marketUSDC = resource.SolanaDevnet + "/token:" + marketMint
	cent       = usd / 100
)

// chainMarket is an installation with a rail on Solana, a buyer who has 100 USDC there, and somebody else's server that sells by
// x402's `exact`.
type chainMarket struct {
	t      *testing.T
	h      *halfkeytest.System
	clock  *halfkeytest.Clock
	chain  *solanarpctest.Chain
	seller *sellertest.Seller
	buyer  *client.Agent
	home   *client.Home
	url    string
	mint   solana.Key
	// front stands before the seller; paid counts requests that carried a payment.
	front atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	paid  atomic.Int64
}

const chainFunds = 100 * usd

func newChainMarket(t *testing.T, options ...halfkeytest.Option) *chainMarket {
	t.Helper()
	m := &chainMarket{t: t, clock: halfkeytest.NewClock(time.Now()), chain: solanarpctest.New(t, resource.SolanaDevnet)}
	var err error
	if m.mint, err = solana.ParseKey(marketMint); err != nil {
		t.Fatal(err)
	}
	node := m.chain.Endpoint()
	m.h = halfkeytest.Start(t, append(options, halfkeytest.WithClock(m.clock), halfkeytest.WithSolana(resource.SolanaDevnet, node.URL))...)
	m.home = m.h.Home()
	c := m.h.Client(m.home)
	r, err := c.Register(testContext(t), client.RegisterOptions{Name: "Chain Buyer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.h.Owner().Claim(testContext(t), r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	if m.buyer, err = c.Agent(r.Wallet); err != nil {
		t.Fatal(err)
	}
	payTo := solana.Key(m.h.Agent("Chain Seller").GroupKey()) // Any key does: the server is a stranger's.
	m.seller = sellertest.New(resource.SolanaDevnet, m.mint, payTo, m.chain)
	m.chain.Fund(m.buyer.GroupKey(), m.mint, chainFunds)
	m.chain.Airdrop(m.seller.FeePayer(), 1_000_000_000)
	m.chain.Open(payTo, m.mint)
	m.chain.Finalize()
	// The ledger looks at the account as soon as the guard rails allow its token, and not again for seconds.
	m.allow(payTo)
	m.wait("the deposit is seen", func() bool { return m.units() == chainFunds })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sellertest.Paid(r) {
			m.paid.Add(1)
		}
		if front := m.front.Load(); front == nil || !(*front)(w, r) {
			m.seller.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

// allow lets the buyer pay somebody by the standard rules, on the book and in USDC.
func (m *chainMarket) allow(recipients ...solana.Key) {
	m.t.Helper()
	rules := client.StandardRules()
	for _, r := range recipients {
		rules.Allow = append(rules.Allow, r)
	}
	rules.Assets = []string{m.h.Installation().BookUSD(), marketUSDC}
	m.h.GuardRails(m.buyer, rules)
}

// answers has the server answer paid requests so, until the test's part ends.
func (m *chainMarket) answers(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) {
	front := func(w http.ResponseWriter, r *http.Request) bool {
		if sellertest.Paid(r) {
			answer(w, r)
			return true
		}
		return false
	}
	m.front.Store(&front)
	t.Cleanup(func() { m.front.Store(nil) })
}

// settling is a server that settles, and answers what it likes.
func (m *chainMarket) settling(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := m.seller.Read(r)
		if err != nil {
			m.t.Errorf("the payment is refused: %v", err)
		}
		m.seller.Settle(p)
		answer(w, r)
	}
}

// units are what the ledger knows of the buyer's USDC, holds left out.
func (m *chainMarket) units() int64 {
	m.t.Helper()
	acc, err := m.buyer.Account(testContext(m.t))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, b := range acc.Balances {
		if b.Asset == marketUSDC {
			return b.Available
		}
	}
	return 0
}

// left is what has left the buyer's token account.
func (m *chainMarket) left() int64 {
	return chainFunds - int64(m.chain.Units(m.buyer.GroupKey(), m.mint))
}

// die makes blocks until no message made so far can land, and lets the ledger hand out another hash.
func (m *chainMarket) die() {
	m.chain.Advance(200)
	m.chain.Finalize()
	m.clock.Advance(10 * time.Second)
}

// wait waits for the ledger to see what the chain shows.
func (m *chainMarket) wait(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("did not come to pass: %s", what)
		}
	}
}

func (m *chainMarket) request() client.FetchRequest {
	return client.FetchRequest{URL: m.url + "/weather?city=Berlin", Reach: client.Reach{Loopback: true}}
}

func (m *chainMarket) fetch() *client.Fetch {
	m.t.Helper()
	f, err := m.buyer.Fetch(testContext(m.t), m.request())
	if err != nil {
		m.t.Fatalf("Fetch: %v", err)
	}
	if f.State != client.FetchQuoted || f.MoneyMoved != notMoved {
		m.t.Fatalf("got %+v", f)
	}
	return f
}

func (m *chainMarket) confirm(f *client.Fetch) (*client.Fetch, string) {
	m.t.Helper()
	var out bytes.Buffer
	done, err := m.buyer.ConfirmFetch(testContext(m.t), f.ID, &out)
	if err != nil {
		m.t.Fatalf("ConfirmFetch: %v", err)
	}
	return done, out.String()
}

// boughtBefore confirms a fetch that was delivered: that moves nothing, and says what became of the payment that was made before.
func (m *chainMarket) boughtBefore(f *client.Fetch, paid string) {
	m.t.Helper()
	_, err := m.buyer.ConfirmFetch(testContext(m.t), f.ID, io.Discard)
	e := wantReason(m.t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	if e.Metadata["paid"] != paid || e.Metadata["state"] != "DELIVERED" || e.Metadata["delivered"] == "" {
		m.t.Errorf("got %q with %v, want %s", e, e.Metadata, paid)
	}
}

// proved waits for the ledger's word on a fetch.
func (m *chainMarket) proved(f *client.Fetch) (shown *client.Fetch) {
	m.t.Helper()
	m.wait("the ledger's word", func() bool {
		var err error
		if shown, err = m.buyer.ShowFetch(testContext(m.t), f.ID); err != nil {
			m.t.Fatalf("ShowFetch: %v", err)
		}
		return shown.MoneyMoved != unknown
	})
	return shown
}

// TestFetchExact buys from a server that sells by x402's exact: what is shown is what leaves the wallet, the resource comes before the
// chain has proved anything, and what is said of the money is true at each step.
func TestFetchExact(t *testing.T) {
	m := newChainMarket(t)
	for _, row := range []struct {
		name    string
		version int
		extra   map[string]any
	}{
		{"version 2", 2, nil},
		{"version 1", 1, nil},
		{"with a memo of the server's", 2, map[string]any{"memo": "order 7"}},
		{"settled first", 2, map[string]any{"paymentFlow": "upfront"}},
		{"with hints that are not used", 2, map[string]any{"recentBlockhash": marketMint, "lastValidBlockHeight": "7"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m.seller.Ask(3*cent, row.version, row.extra)
			m.clock.Advance(10 * time.Second) // Another block hash is handed out.
			before, paid, payments := m.left(), m.paid.Load(), len(m.seller.Payments())
			f := m.fetch()
			if f.Asset != marketUSDC || f.Units != 3*cent || f.Scheme != "exact" ||
				f.PayTo != m.seller.PayTo.String() || f.Recipient != m.seller.PayTo ||
				f.FeePayer != m.seller.FeePayer().String() || f.Elsewhere != (row.version == 2) || f.Judged != authorized || f.DryRun == nil {
				t.Errorf("the price is %+v", f)
			}
			if memo, _ := row.extra["memo"].(string); (memo == "") != (f.Memo == "") || !strings.Contains(f.Memo, memo) {
				t.Errorf("the memo is shown as %q", f.Memo)
			}
			done, out := m.confirm(f)
			if done.State != delivered || done.MoneyMoved != unknown || out != "sunny\n" || done.Until.IsZero() || done.LastValidHeight == 0 ||
				!strings.HasPrefix(done.Answer.Claim, "paid") || done.Payment.State != authorized {
				t.Errorf("confirmed %+v and %q", done, out)
			}
			m.boughtBefore(f, "UNKNOWN")
			if m.left() != before {
				t.Error("money left before there was a block")
			}
			m.chain.Finalize()
			shown := m.proved(f)
			if shown.State != delivered || shown.MoneyMoved != moved || shown.Payment.State != settled {
				t.Errorf("shown %+v", shown)
			}
			if got := m.left() - before; got != 3*cent || m.paid.Load() != paid+1 {
				t.Errorf("%d left in %d requests", got, m.paid.Load()-paid)
			}
			if all, err := m.buyer.ListFetches(); err != nil || all[0].MoneyMoved != moved {
				t.Errorf("lists %+v, %v", all[0], err)
			}
			m.boughtBefore(f, "YES")
			p := m.seller.Payments()[payments]
			if row.version == 2 {
				extensions, _ := p.Header["extensions"].(map[string]any)
				identifier, _ := extensions["payment-identifier"].(map[string]any)
				info, _ := identifier["info"].(map[string]any)
				other, _ := extensions["unheard-of"].(map[string]any)
				if info["id"] != f.ID || info["required"] != true || other["info"].(map[string]any)["echo"] != "<this>" {
					t.Errorf("the extensions came back as %v", extensions)
				}
			}
		})
	}
}

// TestFetchExactUnknown meets servers that settle and say otherwise, or say that they settled and do not. What they say is an outcome and
// never a new quote; only the ledger's word ends it.
func TestFetchExactUnknown(t *testing.T) {
	t.Parallel()
	m := newChainMarket(t)
	m.seller.Ask(3*cent, 2, nil)
	refuses := func(w http.ResponseWriter, _ *http.Request) {
		m.seller.Require(w, "settlement_pending", m.seller.Offer())
	}

	t.Run("settles and asks again", func(t *testing.T) {
		before := m.left()
		f := m.fetch()
		m.answers(t, m.settling(refuses))
		for range 2 {
			if done, out := m.confirm(f); done.State != sent || done.MoneyMoved != unknown || out != "" || done.Until.IsZero() {
				t.Errorf("got %+v, %q", done, out)
			}
		}
		payments := m.seller.Payments()
		if n := len(payments); n != 2 || !bytes.Equal(payments[0].Wire, payments[1].Wire) {
			t.Errorf("%d payments were sent, or two different ones", n)
		}
		m.chain.Finalize()
		if shown := m.proved(f); shown.State != client.FetchPaid || shown.MoneyMoved != moved {
			t.Errorf("shown %+v", shown)
		}
		m.front.Store(nil)
		// The stock server serves what it is shown again; the same transaction lands once.
		done, out := m.confirm(f)
		m.chain.Finalize()
		if done.State != delivered || done.MoneyMoved != moved || out != "sunny\n" || m.left()-before != 3*cent {
			t.Errorf("got %+v, %q, %d left", done, out, m.left()-before)
		}
	})

	t.Run("serves and never settles", func(t *testing.T) {
		before := m.left()
		f := m.fetch()
		m.answers(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "sunny\n") })
		if done, out := m.confirm(f); done.State != delivered || done.MoneyMoved != unknown || out != "sunny\n" {
			t.Errorf("got %+v, %q", done, out)
		}
		m.die()
		if shown := m.proved(f); shown.State != delivered || shown.MoneyMoved != notMoved || m.left() != before {
			t.Errorf("shown %+v", shown)
		}
		m.boughtBefore(f, "NO")
	})

	t.Run("refuses, and the payment dies", func(t *testing.T) {
		before, payments := m.left(), len(m.seller.Payments())
		f := m.fetch()
		m.answers(t, func(w http.ResponseWriter, r *http.Request) {
			if _, err := m.seller.Read(r); err != nil {
				t.Errorf("refused: %v", err)
			}
			refuses(w, r)
		})
		if done, _ := m.confirm(f); done.State != sent || done.MoneyMoved != unknown {
			t.Errorf("got %+v", done)
		}
		m.die()
		if shown := m.proved(f); shown.State != client.FetchConfirmed || shown.MoneyMoved != notMoved || shown.Payment.State != ready {
			t.Errorf("shown %+v", shown)
		}
		// The server is asked again, and takes the next one.
		m.front.Store(nil)
		done, out := m.confirm(f)
		m.chain.Finalize()
		if shown := m.proved(f); done.State != delivered || out != "sunny\n" || shown.MoneyMoved != moved || m.left()-before != 3*cent {
			t.Errorf("got %+v, %+v, %q, %d left", done, shown, out, m.left()-before)
		}
		if all := m.seller.Payments()[payments:]; len(all) != 2 || bytes.Equal(all[0].Message, all[1].Message) {
			t.Errorf("%d payments were sent, or one twice", len(all))
		}
	})

	t.Run("refuses for ever", func(t *testing.T) {
		before, payments := m.left(), len(m.seller.Payments())
		f := m.fetch()
		m.answers(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = m.seller.Read(r)
			w.WriteHeader(http.StatusInternalServerError)
		})
		for range 3 {
			if done, _ := m.confirm(f); done.State != sent {
				t.Errorf("got %+v", done)
			}
			m.die()
			m.proved(f)
		}
		_, err := m.buyer.ConfirmFetch(testContext(t), f.ID, io.Discard)
		wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, unknown)
		if n := len(m.seller.Payments()) - payments; n != 3 || m.left() != before {
			t.Errorf("%d messages were made, %d left", n, m.left()-before)
		}
	})

	t.Run("freezes in between", func(t *testing.T) {
		ctx, owner := testContext(t), m.h.Owner()
		f := m.fetch()
		m.answers(t, refuses)
		m.confirm(f)
		if _, err := owner.Freeze(ctx, m.buyer.Wallet(), "between"); err != nil {
			t.Fatal(err)
		}
		paid := m.paid.Load()
		_, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard)
		if e := wantReason(t, err, typev1.Reason_REASON_FROZEN, unknown); e.Metadata["until"] == "" || m.paid.Load() != paid {
			t.Errorf("%d payments were sent while frozen; %v", m.paid.Load()-paid, e.Metadata)
		}
		if shown, err := m.buyer.ShowFetch(ctx, f.ID); err != nil || shown.State != sent || shown.MoneyMoved != unknown {
			t.Errorf("shown %+v, %v", shown, err)
		}
		if _, err := owner.Unfreeze(ctx, m.buyer.Wallet(), "between"); err != nil {
			t.Fatal(err)
		}
		m.front.Store(nil)
		before := m.left()
		done, _ := m.confirm(f)
		m.chain.Finalize()
		if shown := m.proved(f); done.State != delivered || shown.MoneyMoved != moved || m.left()-before != 3*cent {
			t.Errorf("got %+v, %+v", done, shown)
		}
		m.clock.Advance(10 * time.Second)
	})

	t.Run("lands with an error", func(t *testing.T) {
		f := m.fetch()
		m.chain.Freeze(m.seller.PayTo, m.mint, true)
		m.chain.Advance(1)
		before := m.left()
		if done, _ := m.confirm(f); done.State != delivered || done.MoneyMoved != unknown {
			t.Errorf("got %+v", done)
		}
		m.chain.Finalize()
		shown := m.proved(f)
		if shown.MoneyMoved != notMoved || shown.Payment.State != typev1.PaymentState_PAYMENT_STATE_FAILED || m.left() != before {
			t.Errorf("shown %+v", shown)
		}
		m.chain.Freeze(m.seller.PayTo, m.mint, false)
		m.chain.Finalize()
	})
}

// TestFetchExactReview waits for a person: afterwards the server is asked again, and who pays the fee, memo and hash may be others, but
// recipient, asset and amount may not.
func TestFetchExactReview(t *testing.T) {
	m := newChainMarket(t)
	m.seller.Ask(20*usd, 2, nil)
	ctx := testContext(t)
	f := m.fetch()
	if done, _ := m.confirm(f); done.State != client.FetchConfirmed || done.Payment.State != pending || done.MoneyMoved != notMoved {
		t.Errorf("got %+v", done)
	}
	m.clock.Advance(2 * time.Hour)
	if _, err := m.h.Owner().Approve(ctx, f.Name); err != nil {
		t.Fatal(err)
	}
	m.seller.Ask(20*usd, 2, map[string]any{"memo": "another memo"})
	done, out := m.confirm(f)
	m.chain.Finalize()
	if shown := m.proved(f); done.State != delivered || out != "sunny\n" || shown.MoneyMoved != moved || m.left() != 20*usd {
		t.Errorf("got %+v, %+v", done, shown)
	}

	f = m.fetch()
	m.confirm(f)
	if _, err := m.h.Owner().Approve(ctx, f.Name); err != nil {
		t.Fatal(err)
	}
	m.seller.Ask(20*usd+1, 2, nil)
	_, err := m.buyer.ConfirmFetch(ctx, f.ID, io.Discard)
	if e := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, notMoved); e.Metadata["field"] != "units" {
		t.Errorf("got field %q", e.Metadata["field"])
	}
	m.chain.Finalize()
	if m.left() != 20*usd {
		t.Errorf("%d left", m.left())
	}
}

// TestFetchExactTransport pays through an http.Client.
func TestFetchExactTransport(t *testing.T) {
	t.Parallel()
	m := newChainMarket(t)
	c := &http.Client{Transport: client.NewTransport(m.buyer, client.TransportConfig{MaxUnits: cent, Reach: client.Reach{Loopback: true}})}
	get := func() (string, error) {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, m.url+"/weather", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	m.seller.Ask(cent, 2, nil)
	if got, err := get(); err != nil || got != "sunny\n" {
		t.Errorf("got %q, %v", got, err)
	}
	m.answers(t, m.settling(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	_, err := get()
	var lost *client.FetchError
	if !errors.As(err, &lost) || lost.Fetch.State != sent || lost.Fetch.MoneyMoved != unknown {
		t.Errorf("got %v", err)
	}
	m.chain.Finalize()
	all, err := m.buyer.ListFetches()
	if err != nil || len(all) != 2 {
		t.Fatalf("got %v, %v", all, err)
	}
	for _, f := range all {
		if shown := m.proved(f); shown.MoneyMoved != moved {
			t.Errorf("shown %+v", shown)
		}
	}
	if m.left() != 2*cent {
		t.Errorf("%d left", m.left())
	}
}

// TestFetchExactChooses takes the cheapest offer whose payment passes, on whichever rail.
func TestFetchExactChooses(t *testing.T) {
	m := newChainMarket(t)
	stranger, buyer := solana.Key(m.h.Agent("Stranger").GroupKey()), solana.Key(m.buyer.GroupKey()).String()
	offer := func(change map[string]any) map[string]any {
		o := m.seller.Offer()
		for k, v := range change {
			o[k] = v
		}
		return o
	}
	// cheap is an offer that would be chosen but for one thing.
	cheap := func(field string, value any) []map[string]any {
		return []map[string]any{offer(map[string]any{"amount": "1", field: value}), offer(nil)}
	}
	bookSeller := m.h.Agent("Book Seller")
	m.allow(m.seller.PayTo, bookSeller.GroupKey())
	m.h.Fund(m.buyer, cent)
	book := func(amount string) map[string]any {
		return map[string]any{
			"scheme": "halfkey-book", "network": "halfkey:" + m.h.Installation().ID(), "asset": m.h.Installation().BookUSD(),
			"payTo": bookSeller.Wallet(), "amount": amount, "maxTimeoutSeconds": 60,
		}
	}
	for _, row := range []struct {
		name   string
		offers []map[string]any
		want   int // The place of the offer that is chosen, from 1.
		why    string
	}{
		{"the cheapest", []map[string]any{offer(map[string]any{"amount": "30000"}), offer(nil)}, 2, "offer 1: another offer is cheaper"},
		{"not one to a recipient that is refused", cheap("payTo", stranger.String()), 2, "offer 1: its payment would be refused"},
		{"the book where it is cheaper", []map[string]any{offer(nil), book("9999")}, 2, "offer 1: another offer is cheaper"},
		{"the chain where it is cheaper", []map[string]any{book("10001"), offer(nil)}, 2, "offer 1: another offer is cheaper"},
		{"the chain where the book's dollars do not suffice", []map[string]any{
			book("10001"), offer(map[string]any{"amount": "10002"}),
		}, 2, "offer 1: its payment could not be made now"},
		{"not another network", cheap("network", resource.SolanaMainnet), 2, "offer 1: its network"},
		{"not another mint", cheap("asset", stranger.String()), 2, "offer 1: its asset"},
		{"not a token account to pay", cheap("payTo", tokenAccount(m)), 2, "offer 1: its payTo"},
		{"not an address that is none", cheap("payTo", "somebody"), 2, "offer 1: its payTo"},
		{"not without a fee payer", cheap("extra", map[string]any{}), 2, "offer 1: it names nobody"},
		{"not with the buyer to pay the fee", cheap("extra", map[string]any{"feePayer": buyer}), 2, "offer 1: it wants this wallet to pay"},
		{"not with a fee payer that is none", cheap("extra", map[string]any{"feePayer": "somebody"}), 2, "offer 1: its fee payer"},
		{"not to the buyer", cheap("payTo", buyer), 2, "offer 1: it pays the wallet"},
		{"not with a NUL in the memo", cheap("extra", map[string]any{"feePayer": m.seller.FeePayer().String(), "memo": "a\x00b"}), 2, "offer 1: its memo"},
	} {
		t.Run(row.name, func(t *testing.T) {
			front := func(w http.ResponseWriter, r *http.Request) bool {
				m.seller.Require(w, "", row.offers...)
				return true
			}
			m.front.Store(&front)
			f, err := m.buyer.Fetch(testContext(t), m.request())
			if err != nil {
				t.Fatal(err)
			}
			r, err := m.home.LoadFetch(f.Name)
			if err != nil || r.Offer != row.want-1 || len(f.Refused) != 1 || !strings.HasPrefix(f.Refused[0], row.why) {
				t.Errorf("chose offer %d and says %q, %v", r.Offer+1, f.Refused, err)
			}
		})
	}
}

func tokenAccount(m *chainMarket) string {
	account, ok := solana.AssociatedTokenAccount(m.seller.PayTo, m.mint)
	if !ok {
		m.t.Fatal("no token account")
	}
	return account.String()
}
