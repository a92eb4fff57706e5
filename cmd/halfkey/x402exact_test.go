package main

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
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
)

// exactRow is one way for a server to behave that sells by x402's `exact` on Solana, and what the command line makes of it.
type exactRow struct {
	name string
	// version is that of x402, 2 if it is 0; extra is what the offer says besides.
	version int
	extra   map[string]any
	// asked and paid answer the request without and with a payment; nil is the honest server, which settles. again counts the requests
	// of that kind before.
	asked, paid exactAnswer
	// units is the price, 1 cent if it is 0. One over 5 dollars is approved by the owner in between.
	units int64
	// meanwhile happens after the first confirmation, before the chain goes on.
	meanwhile func(m *exactMarket)
	// dies is whether the chain goes on until the message can land no more, and not only until what was sent is final.
	dies bool
	// fetch, confirm and repeat are what these come to; shown is what `x402 show` says in between, once it does not say UNKNOWN.
	fetch, confirm, shown, repeat hostileOutcome
	// pays is whether the price leaves the wallet's token account, once.
	pays     bool
	patience string
}

type exactAnswer func(m *exactMarket, w http.ResponseWriter, r *http.Request, again int)

var (
	servedUnproven = hostileOutcome{0, "DELIVERED", "UNKNOWN"}
	unproven       = hostileOutcome{6, "SENT", "UNKNOWN"}
	servedFree     = hostileOutcome{0, "DELIVERED", "NO"}
	paidUnserved   = hostileOutcome{0, "PAID", "YES"}
	freeAgain      = hostileOutcome{0, "CONFIRMED", "NO"}
	shownEnded     = hostileOutcome{0, "ENDED", "NO"}
)

// settling settles and then answers in a way of its own; holding only answers. A payment that a facilitator would refuse fails the test.
func settling(answer func(*hostileMarket, http.ResponseWriter, *http.Request, int)) exactAnswer {
	return func(m *exactMarket, w http.ResponseWriter, r *http.Request, again int) {
		m.seller.Settle(m.read(r))
		answer(m.hostileMarket, w, r, again)
	}
}

func holding(answer func(*hostileMarket, http.ResponseWriter, *http.Request, int)) exactAnswer {
	return func(m *exactMarket, w http.ResponseWriter, r *http.Request, again int) {
		m.read(r)
		answer(m.hostileMarket, w, r, again)
	}
}

// askingFor asks for what the honest server asks with a change.
func askingFor(change func(m *exactMarket, offer map[string]any)) exactAnswer {
	return func(m *exactMarket, w http.ResponseWriter, _ *http.Request, _ int) {
		o := m.seller.Offer()
		change(m, o)
		m.seller.Require(w, "Payment required", o)
	}
}

func asking(field string, value any) exactAnswer {
	return askingFor(func(_ *exactMarket, o map[string]any) { o[field] = value })
}

// extra changes what is in an offer's extra; nil takes it out.
func asksExtra(name string, value any) exactAnswer {
	return askingFor(func(_ *exactMarket, o map[string]any) {
		all, _ := o["extra"].(map[string]any)
		if all[name] = value; value == nil {
			delete(all, name)
		}
	})
}

// first is the honest server the first time, and then another answer.
func first(then exactAnswer) exactAnswer {
	return func(m *exactMarket, w http.ResponseWriter, r *http.Request, again int) {
		if again == 0 {
			m.seller.ServeHTTP(w, r)
			return
		}
		then(m, w, r, again)
	}
}

// later is one answer the first time, and then the honest server.
func later(then exactAnswer) exactAnswer {
	return func(m *exactMarket, w http.ResponseWriter, r *http.Request, again int) {
		if again > 0 {
			m.seller.ServeHTTP(w, r)
			return
		}
		then(m, w, r, again)
	}
}

// exactRows are ways of such servers. Once one has a payment, nothing that it says is believed of the money.
func exactRows() []exactRow {
	const (
		mainnet = resource.SolanaMainnet
		six     = 6_000_000
	)
	success := receipt(`{"success":true,"transaction":"invented","network":"solana:x"}`)
	failure := receipt(`{"success":false,"errorReason":"settlement_pending\u001b[31m"}`)
	rows := []exactRow{
		{name: "honest", fetch: quoted, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true},
		{name: "honest, of version 1", version: 1, fetch: quoted, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true},
		{
			name: "honest, settling first", extra: map[string]any{"paymentFlow": "upfront"},
			fetch: quoted, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true,
		},
		{
			name: "with a memo of its own", extra: map[string]any{"memo": "order 7 \u2028 \x1b[31m"},
			fetch: quoted, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true,
		},
		{
			name: "with the hash of a block that is long gone", extra: map[string]any{"recentBlockhash": soldMint, "lastValidBlockHeight": "9"},
			fetch: quoted, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true,
		},
		{
			name: "with decimals of its own", extra: map[string]any{"decimals": 2, "name": "USDC", "symbol": "USDC"},
			fetch: quoted, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true,
		},

		// What it asks for.
		{name: "another network", asked: asking("network", mainnet), fetch: unpayable},
		{name: "a network that nobody knows", asked: asking("network", "solana:somewhere"), fetch: unpayable},
		{name: "another chain", asked: asking("network", "eip155:8453"), fetch: unpayable},
		{name: "a mint that nobody knows", asked: asking("asset", "So11111111111111111111111111111111111111112"), fetch: unpayable},
		{name: "the name of a token as its mint", asked: asking("asset", "USDC"), fetch: unpayable},
		{name: "another scheme on the chain", asked: asking("scheme", "upto"), fetch: unpayable},
		{name: "nobody to pay the fee", asked: asksExtra("feePayer", nil), fetch: unpayable},
		{name: "a fee payer that is no address", asked: asksExtra("feePayer", "somebody"), fetch: unpayable},
		{name: "a fee payer that is a number", asked: asksExtra("feePayer", 7), fetch: unpayable},
		{name: "the buyer to pay the fee", asked: askingFor(func(m *exactMarket, o map[string]any) {
			o["extra"] = map[string]any{"feePayer": m.key.String()}
		}), fetch: unpayable},
		{name: "a recipient that is no address", asked: asking("payTo", "wallets/somebody"), fetch: unpayable},
		{name: "the seller's token account as its recipient", asked: askingFor(func(m *exactMarket, o map[string]any) {
			account, _ := solana.AssociatedTokenAccount(m.seller.PayTo, m.seller.Mint)
			o["payTo"] = account.String()
		}), fetch: unpayable},
		{name: "the buyer as its recipient", asked: askingFor(func(m *exactMarket, o map[string]any) { o["payTo"] = m.key.String() }), fetch: unpayable},
		{name: "a recipient that the owner never allowed", asked: askingFor(func(m *exactMarket, o map[string]any) {
			o["payTo"] = m.seller.FeePayer().String()
		}), fetch: refused, confirm: ended, shown: shownEnded, repeat: ended},
		{name: "a memo with a NUL", asked: asksExtra("memo", "a\x00b"), fetch: unpayable},
		{name: "a memo that is too long", asked: asksExtra("memo", strings.Repeat("m", 257)), fetch: unpayable},
		{name: "a memo of nothing", asked: asksExtra("memo", ""), fetch: unpayable},
		{name: "a flow by escrow", asked: asksExtra("paymentFlow", "escrow"), fetch: unpayable},
		{name: "a flow of no text", asked: asksExtra("paymentFlow", 1), fetch: unpayable},
		{name: "transactions of version 1 alone", asked: asksExtra("transactionVersions", []int{1}), fetch: unpayable},
		{name: "an amount that is a number on the chain", asked: asking("amount", 10000), fetch: unpayable},
		{name: "an amount beyond all on the chain", asked: asking("amount", "18446744073709551615"), fetch: unpayable},
		{name: "a network of version 2 in version 1", version: 1, asked: asking("network", resource.SolanaDevnet), fetch: unpayable},
		{name: "a price over the hard cap on the chain", units: 101_000_000, fetch: refused, confirm: ended, shown: shownEnded, repeat: ended},

		// It settles, and says otherwise.
		{name: "settles late and serves late", paid: later(func(m *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
			m.held = m.read(r)
			w.WriteHeader(http.StatusAccepted + 200) // 402 without a word.
		}), meanwhile: func(m *exactMarket) {
			m.chain.Advance(100)
			m.seller.Settle(m.held)
		}, fetch: quoted, confirm: unproven, shown: paidUnserved, repeat: delivered, pays: true},
		{name: "settles twice", paid: later(func(m *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
			p := m.read(r)
			m.seller.Settle(p)
			m.chain.Advance(1)
			m.seller.Serve(w, m.seller.Settle(p))
		}), fetch: quoted, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true},

		// It does not settle.
		{
			name: "serves and never settles", paid: holding(saying(200, "sunny")), dies: true,
			fetch: quoted, confirm: servedUnproven, shown: servedFree, repeat: spent,
		},
		{
			name: "serves with an invented receipt and never settles", paid: holding(saying(200, "sunny", "PAYMENT-RESPONSE", success)), dies: true,
			fetch: quoted, confirm: servedUnproven, shown: servedFree, repeat: spent,
		},
		{
			name: "says that it was paid and never settles", paid: holding(saying(500, "", "PAYMENT-RESPONSE", success)), dies: true,
			fetch: quoted, confirm: unproven, shown: freeAgain, repeat: unproven,
		},
		{
			name: "refuses for ever", paid: holding(saying(402, "{}")), dies: true,
			fetch: quoted, confirm: unproven, shown: freeAgain, repeat: unproven,
		},
		{
			name: "refuses once", paid: later(holding(saying(402, "{}"))), dies: true,
			fetch: quoted, confirm: unproven, shown: freeAgain, repeat: servedUnproven, pays: true,
		},
		{name: "changes what it was given", paid: later(func(m *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
			p := m.read(r)
			// The amount stands after the instruction's number; whatever byte is changed, the buyer's signature is over another.
			p.Message[len(p.Message)-40]++
			copy(p.Wire[1+2*64:], p.Message)
			m.seller.Serve(w, m.seller.Settle(p))
		}), dies: true, fetch: quoted, confirm: servedUnproven, shown: servedFree, repeat: spent},
		{name: "lands it with an error", paid: settling(saying(402, "{}")), asked: func(m *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
			m.chain.Freeze(m.seller.PayTo, m.seller.Mint, true)
			m.seller.ServeHTTP(w, r)
		}, fetch: quoted, confirm: unproven, shown: shownEnded, repeat: ended},

		// What it asks for once its price was approved.
		{name: "the same after the approval", units: six, fetch: asks, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true},
		{
			name: "another memo after the approval", units: six, asked: first(func(m *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
				m.seller.Ask(six, 2, map[string]any{"memo": "another"})
				m.seller.ServeHTTP(w, r)
			}), fetch: asks, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true,
		},
		{
			name: "another fee payer after the approval", units: six, asked: first(func(m *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
				m.chain.Airdrop(m.seller.ChangeFeePayer(), 1_000_000_000)
				m.seller.ServeHTTP(w, r)
			}), fetch: asks, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true,
		},
		{
			name: "more after the approval", units: six, asked: first(asking("amount", "6000001")),
			fetch: asks, confirm: differs, shown: shownEnded, repeat: ended,
		},
		{
			name: "less after the approval", units: six, asked: first(asking("amount", "5999999")),
			fetch: asks, confirm: differs, shown: shownEnded, repeat: ended,
		},
		{
			name: "another recipient after the approval", units: six, asked: first(askingFor(func(m *exactMarket, o map[string]any) {
				o["payTo"] = m.seller.FeePayer().String()
			})), fetch: asks, confirm: differs, shown: shownEnded, repeat: ended,
		},
		{
			name: "another network after the approval", units: six, asked: first(asking("network", mainnet)),
			fetch: asks, confirm: differs, shown: shownEnded, repeat: ended,
		},
		{
			name: "another mint after the approval", units: six, asked: first(asking("asset", "So11111111111111111111111111111111111111112")),
			fetch: asks, confirm: differs, shown: shownEnded, repeat: ended,
		},
		{
			name: "decimals after the approval", units: six, asked: first(func(m *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
				m.seller.Ask(six, 2, map[string]any{"decimals": 9})
				m.seller.ServeHTTP(w, r)
			}), fetch: asks, confirm: servedUnproven, shown: delivered, repeat: spent, pays: true,
		},
		{
			name: "elsewhere after the approval", units: six, asked: first(func(_ *exactMarket, w http.ResponseWriter, r *http.Request, _ int) {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
			}), fetch: asks, confirm: hostileOutcome{3, "PERMISSION_DENIED", "NO"}, shown: freeAgain, repeat: hostileOutcome{3, "PERMISSION_DENIED", "NO"},
		},
		{
			name: "more once the first payment died", paid: holding(saying(402, "{}")), asked: first(asking("amount", "10001")), dies: true,
			fetch: quoted, confirm: unproven, shown: freeAgain, repeat: differs,
		},
		{
			name: "the book once the first payment died", paid: holding(saying(402, "{}")), asked: first(asking("scheme", "halfkey-book")), dies: true,
			fetch: quoted, confirm: unproven, shown: freeAgain, repeat: differs,
		},
	}
	for _, row := range []struct {
		name     string
		answer   func(*hostileMarket, http.ResponseWriter, *http.Request, int)
		patience string
	}{
		{"asks again", saying(402, "{}"), ""},
		{"says that it could not settle", saying(402, "{}", "PAYMENT-RESPONSE", failure), ""},
		{"fails", saying(500, hostile), ""},
		{"cannot reach its facilitator", saying(502, `{"error":"x"}`), ""},
		{"does not find it", saying(404, "gone"), ""},
		{"fails and says that it was paid", saying(500, "", "PAYMENT-RESPONSE", success), ""},
		{"wants an allowance", saying(412, ""), ""},
		{"cuts the connection", cut(""), ""},
		{"cuts the header", cut("HTTP/1.1 200 O"), ""},
		{"cuts the resource", cut("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsunny"), ""},
		{"answers what is not HTTP", cut("220 smtp.example ESMTP\r\n"), ""},
		{"does not answer", silent, "8s"},
		{"sends the payment to another origin", saying(307, "", "Location", "ELSEWHERE/weather"), ""},
		{"sends the payment elsewhere in its origin", saying(302, "", "Location", "/weather/2"), ""},
		{"answers with a header that is too large", saying(200, "sunny", "X-Large", strings.Repeat("A", 100<<10)), ""},
	} {
		// The server settles the first time, and serves once it is asked again.
		rows = append(rows, exactRow{
			name: "settles and " + row.name, paid: later(settling(row.answer)), patience: row.patience,
			fetch: quoted, confirm: unproven, shown: paidUnserved, repeat: delivered, pays: true,
		})
	}
	return rows
}

// soldMint is the mint of the token that these servers take.
const soldMint = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"

// exactMarket is a server that behaves as a row says, before an honest one, and the chain that both settle on.
type exactMarket struct {
	*hostileMarket
	system *halfkeytest.System
	clock  *halfkeytest.Clock
	chain  *solanarpctest.Chain
	seller *sellertest.Seller
	key    solana.Key // The buyer's.
	row    atomic.Pointer[exactRow]
	held   sellertest.Payment
}

func newExactMarket(t *testing.T) *exactMarket {
	t.Helper()
	m := &exactMarket{
		hostileMarket: &hostileMarket{t: t, home: filepath.Join(t.TempDir(), "buyer")},
		clock:         halfkeytest.NewClock(time.Now()), chain: solanarpctest.New(t, resource.SolanaDevnet),
	}
	node := m.chain.Endpoint()
	m.system = halfkeytest.Start(t, halfkeytest.WithClock(m.clock), halfkeytest.WithSolana(resource.SolanaDevnet, node.URL))
	home, err := client.OpenHome(m.home)
	if err != nil {
		t.Fatal(err)
	}
	if err := home.Connect(m.system.InstallationFile()); err != nil {
		t.Fatal(err)
	}
	c := m.system.Client(home)
	r, err := c.Register(t.Context(), client.RegisterOptions{Name: "Chain Buyer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.system.Owner().Claim(t.Context(), r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	if m.agent, err = c.Agent(""); err != nil {
		t.Fatal(err)
	}
	m.key = solana.Key(m.agent.GroupKey())
	mint, err := solana.ParseKey(soldMint)
	if err != nil {
		t.Fatal(err)
	}
	m.seller = sellertest.New(resource.SolanaDevnet, mint, solana.Key(m.system.Agent("Chain Seller").GroupKey()), m.chain)
	rules := client.StandardRules(m.seller.PayTo)
	rules.Assets, rules.Daily = []string{resource.SolanaDevnet + "/token:" + soldMint, m.system.Installation().BookUSD()}, 1_000_000_000
	const funds = 1_000_000_000
	m.chain.Fund(m.key, mint, funds)
	m.chain.Airdrop(m.seller.FeePayer(), 1_000_000_000)
	m.chain.Open(m.seller.PayTo, mint)
	m.chain.Finalize()
	// The ledger looks at the account as soon as the guard rails allow its token, and not again for seconds.
	m.system.GuardRails(m.agent, rules)
	for seen, end := false, time.Now().Add(20*time.Second); !seen; time.Sleep(20 * time.Millisecond) {
		acc, err := m.agent.Account(t.Context())
		if err != nil || time.Now().After(end) {
			t.Fatalf("the deposit is not seen: %+v, %v", acc, err)
		}
		seen = slices.ContainsFunc(acc.Balances, func(b client.Balance) bool { return b.Available == funds })
	}
	server := httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(server.Close)
	m.url = server.URL
	m.elsewhere = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if sellertest.Paid(r) {
			m.leaked.Add(1)
		}
	}))
	t.Cleanup(m.elsewhere.Close)
	return m
}

func (m *exactMarket) serve(w http.ResponseWriter, r *http.Request) {
	answer, count := m.row.Load().asked, &m.unpaidCount
	if sellertest.Paid(r) {
		answer, count = m.row.Load().paid, &m.paidCount
	}
	again := int(count.Add(1)) - 1
	if answer == nil {
		m.seller.ServeHTTP(w, r)
		return
	}
	answer(m, w, r, again)
}

// read reads a payment, which has to be one that a facilitator takes.
func (m *exactMarket) read(r *http.Request) sellertest.Payment {
	p, err := m.seller.Read(r)
	if err != nil {
		m.t.Errorf("a facilitator would refuse the payment: %v", err)
	}
	return p
}

// holds is what the wallet's token account holds.
func (m *exactMarket) holds() int64 { return int64(m.chain.Units(m.key, m.seller.Mint)) }

// TestHostileServersOnSolana runs the command line against servers that settle on a chain, or do not, and lie about it: at most one
// payment lands for a fetch, of exactly the price that was shown, and what is told of the money is true or UNKNOWN.
func TestHostileServersOnSolana(t *testing.T) {
	if raced {
		t.Skip("it looks at what programs print, of which the race detector sees no more")
	}
	shared := newExactMarket(t)
	for _, row := range exactRows() {
		t.Run(row.name, func(t *testing.T) {
			row.units = cmp.Or(row.units, 10_000)
			if row.confirm == (hostileOutcome{}) {
				shared.t = t
				shared.runUnpayable(&row)
				return
			}
			// An installation of its own: the ledger's time may not leave that of this machine, where the command line runs, behind.
			t.Parallel()
			newExactMarket(t).runRow(&row)
		})
	}
	if n := len(exactRows()); n < 40 {
		t.Errorf("%d rows", n)
	}
}

// fetchRow fetches the row's price.
func (m *exactMarket) fetchRow(row *exactRow) fetchResult {
	m.t.Helper()
	m.seller.Ask(row.units, cmp.Or(row.version, 2), row.extra)
	m.row.Store(row)
	m.unpaidCount.Store(0)
	return m.run(row.fetch, "x402", "fetch", m.url+"/weather", "--allow-loopback", "--json", "--output", filepath.Join(m.t.TempDir(), "free"))
}

// runUnpayable runs a row whose offers nobody takes.
func (m *exactMarket) runUnpayable(row *exactRow) {
	m.t.Helper()
	before := m.holds()
	m.fetchRow(row)
	m.chain.Advance(1)
	if got := before - m.holds(); got != 0 || m.paidCount.Load() != 0 {
		m.t.Errorf("%d left for an offer that cannot be paid", got)
	}
}

// runRow runs a row to its end.
func (m *exactMarket) runRow(row *exactRow) {
	m.t.Helper()
	before := m.holds()
	f := m.fetchRow(row)
	confirm := func(want hostileOutcome) fetchResult {
		m.t.Helper()
		return m.run(want, "--timeout", cmp.Or(row.patience, "1m"),
			"x402", "fetch", "confirm", f.ID, "--json", "--output", filepath.Join(m.t.TempDir(), "resource"))
	}
	if row.fetch == asks {
		confirm(hostileOutcome{4, "CONFIRMED", "NO"})
		if _, err := m.system.Owner().Approve(m.t.Context(), f.Payment); err != nil {
			m.t.Fatal(err)
		}
	}
	if told := confirm(row.confirm); told.MoneyMoved == "UNKNOWN" && (told.Until == nil || told.LastValidHeight == "") {
		m.t.Errorf("it does not say until when: %+v", told)
	}
	if row.meanwhile != nil {
		row.meanwhile(m)
	}
	m.chain.Finalize()
	if row.dies {
		m.chain.Advance(200)
		m.chain.Finalize()
		m.clock.Advance(6 * time.Second) // Another block hash is handed out.
	}
	m.shows(row.shown, f.ID)
	confirm(row.repeat)
	m.chain.Finalize()
	want := int64(0)
	if row.pays {
		want = row.units
	}
	if got := before - m.holds(); got != want {
		m.t.Errorf("%d left the wallet, want %d", got, want)
	}
	if n := m.leaked.Load(); n != 0 {
		m.t.Errorf("%d payments reached another origin", n)
	}
}

// shows waits until `x402 show` knows, and checks what it says. It never says NO of what left, nor YES of what did not.
func (m *exactMarket) shows(want hostileOutcome, id string) {
	m.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		shown := m.run(hostileOutcome{}, "x402", "show", id, "--json")
		if shown.MoneyMoved != "UNKNOWN" || time.Now().After(end) {
			break
		}
	}
	m.run(want, "x402", "show", id, "--json")
}
