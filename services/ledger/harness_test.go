package ledger

import (
	"bytes"
	"context"
	"crypto"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// usd is one book dollar.
const usd = 1_000_000

// noon is when tests begin, unless they say otherwise.
var noon = time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)

// testClock is a clock that stands still until it is moved.
type testClock struct{ nanos atomic.Int64 }

func (c *testClock) now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *testClock) set(t time.Time)         { c.nanos.Store(t.UnixNano()) }
func (c *testClock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// failingKey is the ledger's key in a key service that can be out of reach.
type failingKey struct {
	crypto.Signer
	signatures atomic.Int64 // How many are left, where fails is set.
	fails      atomic.Bool
}

func (k *failingKey) Sign(r io.Reader, message []byte, o crypto.SignerOpts) ([]byte, error) {
	if k.fails.Load() && k.signatures.Add(-1) < 0 {
		return nil, errors.New("the key service at 10.1.2.3 does not answer")
	}
	return k.Signer.Sign(r, message, o)
}

// fixture is a ledger on a file of its own, behind a real server.
type fixture struct {
	*evidencetest.World
	t      testing.TB
	path   string
	clock  testClock
	key    failingKey
	ledger *Service
	client ledgerv1.LedgerServiceClient
	stop   func()
	logs   canary.Said
	meter  metric.MeterProvider // May be nil.
	solana func() *Solana       // May be nil.
}

func start(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{World: evidencetest.New(t), t: t, path: filepath.Join(t.TempDir(), "ledger.db")}
	f.clock.set(noon)
	f.open()
	t.Cleanup(func() {
		f.close()
		if !t.Failed() {
			f.check()
		}
	})
	return f
}

// open starts a ledger on the fixture's file and connects to it.
func (f *fixture) open() {
	f.t.Helper()
	f.key.Signer = f.Ledger
	var rail *Solana
	if f.solana != nil {
		rail = f.solana()
	}
	var err error
	f.ledger, err = New(Config{
		Installations: f.Installations, Key: &f.key, Path: f.path, Clock: f.clock.now, SweepInterval: time.Hour, Meter: f.meter, Solana: rail,
		Logger: slog.New(slog.NewTextHandler(&f.logs, nil)),
	})
	if err != nil {
		f.t.Fatalf("New: %v", err)
	}
	listener := bufconn.Listen(1 << 20)
	// A call that still reads when the database is closed would leave what is new in its log, beside the file that tests copy.
	server := grpc.NewServer(grpc.MaxConcurrentStreams(1<<20), grpc.WaitForHandlers(true))
	f.ledger.Register(server)
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///ledger", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8<<20)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		f.t.Fatal(err)
	}
	f.client = ledgerv1.NewLedgerServiceClient(conn)
	service := f.ledger
	f.stop = func() {
		conn.Close()
		server.Stop()
		if err := service.Close(); err != nil {
			f.t.Errorf("Close: %v", err)
		}
	}
}

func (f *fixture) close() {
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// reopen ends the process, as it were, and starts it on what is durable.
func (f *fixture) reopen() {
	f.t.Helper()
	f.close()
	f.open()
}

// wallet opens an account with the given limits in force, everyone as recipient.
func (f *fixture) wallet(id string, edit func(*typev1.GuardRails)) *evidencetest.Wallet {
	f.t.Helper()
	w := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: id})
	f.pin(w)
	f.setGuardRails(w, edit)
	return w
}

func (f *fixture) pin(w *evidencetest.Wallet) {
	f.t.Helper()
	_, err := f.client.OpenAccount(f.t.Context(), &ledgerv1.OpenAccountRequest{Documents: documents(w)})
	if err != nil {
		f.t.Fatalf("OpenAccount: %v", err)
	}
}

func documents(w *evidencetest.Wallet) *typev1.WalletDocuments {
	return &typev1.WalletDocuments{Registration: w.Registration, Record: w.Record, GuardRails: []*typev1.Envelope{w.Claim}}
}

func (f *fixture) setGuardRails(w *evidencetest.Wallet, edit func(*typev1.GuardRails)) {
	f.t.Helper()
	e := w.SetGuardRails(edit)
	if _, err := f.client.SetGuardRails(f.t.Context(), &ledgerv1.SetGuardRailsRequest{GuardRails: e}); err != nil {
		f.t.Fatalf("SetGuardRails: %v", err)
	}
}

// open limits: a wall per payment and per day far away, everyone may be paid.
func loose(doc *typev1.GuardRails) {
	doc.Limits = []*typev1.Limit{
		limit(typev1.Window_WINDOW_PAYMENT, 1_000_000*usd, red),
		limit(typev1.Window_WINDOW_LIFETIME, 1_000_000_000*usd, red),
	}
}

func limit(w typev1.Window, units int64, crossed typev1.Light) *typev1.Limit {
	return &typev1.Limit{Unit: "USD", Measure: typev1.Measure_MEASURE_UNITS, Window: w, Amount: fmt.Sprint(units), Crossed: crossed}
}

// paying returns an edit that allows recipients and then applies more edits.
func paying(recipients []*evidencetest.Wallet, edits ...func(*typev1.GuardRails)) func(*typev1.GuardRails) {
	return func(doc *typev1.GuardRails) {
		for _, r := range recipients {
			evidencetest.Allow(r.GroupKey)(doc)
		}
		for _, e := range edits {
			e(doc)
		}
	}
}

// two opens a payer with money and a recipient that it may pay.
func (f *fixture) two(edits ...func(*typev1.GuardRails)) (payer, payee *evidencetest.Wallet) {
	f.t.Helper()
	payee = f.wallet("payee", loose)
	payer = f.wallet("payer", paying([]*evidencetest.Wallet{payee}, append([]func(*typev1.GuardRails){loose}, edits...)...))
	f.deposit(payer, "d1", 1000*usd)
	return payer, payee
}

func (f *fixture) apply(m proto.Message) error {
	f.t.Helper()
	_, err := f.client.ApplyStatement(f.t.Context(), &ledgerv1.ApplyStatementRequest{Statement: f.SignLoose(f.Operator, m)})
	return err
}

func (f *fixture) deposit(w *evidencetest.Wallet, id string, units int64) {
	f.t.Helper()
	err := f.apply(&typev1.Deposit{
		Installation: f.Installation.ID(), Wallet: w.Name, DepositId: id, Asset: f.Installation.BookUSD(), Units: fmt.Sprint(units),
	})
	if err != nil {
		f.t.Fatalf("deposit: %v", err)
	}
}

// payment makes an attempt of w at the clock's time, with policy's verdict.
func (f *fixture) payment(w *evidencetest.Wallet, c evidencetest.PaymentConfig) *evidencetest.Payment {
	f.t.Helper()
	if c.Now.IsZero() {
		c.Now = f.clock.now()
	}
	p := w.Payment(c)
	p.Judge(c.Now, nil)
	return p
}

func (f *fixture) create(p *evidencetest.Payment) (*typev1.Payment, error) {
	resp, err := f.client.CreatePayment(context.Background(), &ledgerv1.CreatePaymentRequest{
		Request: p.Request, Message: p.MessageBytes, Verdict: p.Verdict, Review: p.Review,
	})
	return resp.GetPayment(), err
}

// must creates a payment that has to end up in a state.
func (f *fixture) must(p *evidencetest.Payment, want typev1.PaymentState) *typev1.Payment {
	f.t.Helper()
	got, err := f.create(p)
	if err != nil {
		f.t.Fatalf("CreatePayment %s: %v", p.Name, err)
	}
	if got.GetState() != want {
		f.t.Fatalf("CreatePayment %s: got %s, want %s; results %v", p.Name, got.GetState(), want, got.GetResults())
	}
	if (got.GetReceipt() != nil) != (want == authorized) {
		f.t.Fatalf("CreatePayment %s in %s: receipt %v", p.Name, want, got.GetReceipt())
	}
	return got
}

func (f *fixture) settle(p *evidencetest.Payment) (*typev1.Payment, error) {
	resp, err := f.client.SettlePayment(context.Background(), &ledgerv1.SettlePaymentRequest{Name: p.Name, Signature: p.Settle()})
	return resp.GetPayment(), err
}

func (f *fixture) get(name string) *typev1.Payment {
	f.t.Helper()
	resp, err := f.client.GetPayment(f.t.Context(), &ledgerv1.GetPaymentRequest{Name: name})
	if err != nil {
		f.t.Fatalf("GetPayment %s: %v", name, err)
	}
	return resp.GetPayment()
}

func (f *fixture) freeze(w *evidencetest.Wallet, id string) {
	f.t.Helper()
	_, err := f.client.Freeze(f.t.Context(), &ledgerv1.FreezeRequest{Freeze: &typev1.Freeze{
		FreezeId: id, Scope: typev1.Scope_SCOPE_WALLET, Wallet: w.Name, Caller: "agents/" + strings.TrimPrefix(w.Name, "wallets/"),
	}})
	if err != nil {
		f.t.Fatalf("Freeze: %v", err)
	}
}

func (f *fixture) unfreeze(w *evidencetest.Wallet, id string) error {
	_, err := f.client.Unfreeze(f.t.Context(), &ledgerv1.UnfreezeRequest{Unfreeze: f.Sign(w.OwnerKey, &typev1.Unfreeze{
		Installation: f.Installation.ID(), Wallet: w.Name, Scope: typev1.Scope_SCOPE_WALLET, FreezeId: id,
	})})
	return err
}

func (f *fixture) answer(p *evidencetest.Payment, answer typev1.Answer) (*typev1.Payment, error) {
	resp, err := f.client.AnswerReview(f.t.Context(), &ledgerv1.AnswerReviewRequest{Review: p.Answer(answer, nil)})
	return resp.GetPayment(), err
}

// balance is available and held units, as the ledger answers.
func (f *fixture) balance(w *evidencetest.Wallet) (available, held string) {
	f.t.Helper()
	resp, err := f.client.GetAccount(f.t.Context(), &ledgerv1.GetAccountRequest{Wallet: w.Name})
	if err != nil {
		f.t.Fatalf("GetAccount: %v", err)
	}
	if len(resp.GetBalances()) == 0 {
		return "0", "0"
	}
	return resp.GetBalances()[0].GetAvailable(), resp.GetBalances()[0].GetHeld()
}

func (f *fixture) wantBalance(w *evidencetest.Wallet, available, held int64) {
	f.t.Helper()
	gotAvailable, gotHeld := f.balance(w)
	if gotAvailable != fmt.Sprint(available) || gotHeld != fmt.Sprint(held) {
		f.t.Errorf("%s: got %s available, %s held, want %d, %d", w.Name, gotAvailable, gotHeld, available, held)
	}
}

// wantReason checks a refusal: its reason, and what it says about money.
func wantReason(t testing.TB, err error, want typev1.Reason, moved typev1.MoneyMoved) *fault.Fault {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s", want)
	}
	got := fault.Of(err)
	if got.Reason != want || got.MoneyMoved != moved {
		t.Fatalf("got %s, money moved %s (%v), want %s, %s", got.Reason, got.MoneyMoved, got.Metadata, want, moved)
	}
	return got
}

// check verifies the database from its rows alone: nothing of the ledger's own code but the entry's hash is used.
func (f *fixture) check() {
	f.t.Helper()
	db, err := sql.Open("sqlite", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	check(f.t, db)
}

// checks are queries that find what must not be.
var checks = map[string]string{
	"balances are not what was issued": `SELECT 1 WHERE (SELECT coalesce(sum(available + held), 0) FROM balance WHERE asset LIKE 'halfkey:%')
		<> (SELECT coalesce(sum(units), 0) FROM deposit) - (SELECT coalesce(sum(units), 0) FROM redemption)`,
	"supply is not what was issued": `SELECT 1 WHERE (SELECT coalesce(sum(units), 0) FROM supply)
		<> (SELECT coalesce(sum(units), 0) FROM deposit) - (SELECT coalesce(sum(units), 0) FROM redemption)`,
	"held is not the sum of holds": `SELECT b.account FROM balance b WHERE b.held
		<> (SELECT coalesce(sum(p.units), 0) FROM payment p WHERE p.wallet = b.account AND p.asset = b.asset AND p.state = 3)`,
	"a quarter hour is not the sum of its payments": `SELECT s.wallet, s.slot FROM window_sum s WHERE s.span = 0
		AND (s.units, s.payments) <> (SELECT coalesce(sum(p.units), 0), count(*) FROM payment p
			WHERE p.wallet = s.wallet AND p.unit = s.unit AND p.quarter = s.slot)`,
	"a day is not the sum of its payments": `SELECT s.wallet, s.slot FROM window_sum s WHERE s.span = 1
		AND (s.units, s.payments) <> (SELECT coalesce(sum(p.units), 0), count(*) FROM payment p
			WHERE p.wallet = s.wallet AND p.unit = s.unit AND p.quarter / 96 = s.slot)`,
	"ever is not the sum of payments": `SELECT w.name FROM wallet w, (SELECT 'USD' AS unit) WHERE
		(SELECT coalesce(sum(s.units), 0) FROM window_sum s WHERE s.wallet = w.name AND s.span = 2)
		<> (SELECT coalesce(sum(p.units), 0) FROM payment p WHERE p.wallet = w.name AND p.quarter IS NOT NULL)`,
	"a counted payment is in no quarter hour": `SELECT p.id FROM payment p WHERE p.quarter IS NOT NULL AND NOT EXISTS
		(SELECT 1 FROM window_sum s WHERE s.wallet = p.wallet AND s.unit = p.unit AND s.span = 0 AND s.slot = p.quarter)`,
	"open payments are counted wrongly": `SELECT c.name FROM chain c WHERE c.open_payments
		<> (SELECT count(*) FROM payment p WHERE p.wallet = c.name AND p.state IN (1, 2, 3))`,
	"money came in that nobody paid": `SELECT b.account FROM balance b WHERE b.asset LIKE 'halfkey:%' AND b.available + b.held <>
		  (SELECT coalesce(sum(d.units), 0) FROM deposit d WHERE d.wallet = b.account AND b.account <> '')
		+ (SELECT coalesce(sum(p.units), 0) FROM payment p WHERE p.payee = b.account AND p.asset = b.asset AND p.state = 4)
		- (SELECT coalesce(sum(p.units), 0) FROM payment p WHERE p.wallet = b.account AND p.asset = b.asset AND p.state = 4)
		- (SELECT coalesce(sum(r.units), 0) FROM redemption r WHERE b.account = '')`,
	"a payment's last change is not told": `SELECT p.id FROM payment p WHERE p.state IS NOT (SELECT c.state FROM payment_change c
		WHERE c.owner = p.owner AND c.wallet = p.wallet AND c.payer = p.wallet AND c.id = p.id AND c.incoming = 0
		ORDER BY c.sequence DESC LIMIT 1)`,
	"a payment that came in is not told, or told twice": `SELECT p.id FROM payment p WHERE (p.incoming_entry IS NOT NULL) <> (
		SELECT count(*) FROM payment_change c
		WHERE c.owner = p.payee_owner AND c.wallet = p.payee AND c.entry = p.incoming_entry AND c.id = p.id AND c.incoming = 1)`,
	"a payment on a chain waits for no message": `SELECT p.id FROM payment p WHERE p.rail <> 1 AND p.state = 3
		AND (SELECT count(*) FROM chain_message m WHERE m.wallet = p.wallet AND m.id = p.id AND m.state = 1 AND m.message = p.message) <> 1`,
	"a message waits for no payment": `SELECT m.id FROM chain_message m WHERE m.state = 1
		AND NOT EXISTS (SELECT 1 FROM payment p WHERE p.wallet = m.wallet AND p.id = m.id AND p.state = 3 AND m.message = p.message)`,
	"a payment has settled by another message than one that landed": `SELECT p.id FROM payment p WHERE p.rail <> 1 AND (p.state = 4) <>
		(SELECT count(*) FROM chain_message m WHERE m.wallet = p.wallet AND m.id = p.id AND m.state = 2)`,
	"there is money and a deficit":          `SELECT account FROM balance WHERE deficit > 0 AND (available > 0 OR asset LIKE 'halfkey:%')`,
	"changes have a gap":                    `SELECT owner FROM payment_change GROUP BY owner HAVING count(*) <> max(sequence)`,
	"a payment is not its wallet's owner's": `SELECT p.id FROM payment p JOIN wallet w ON w.name = p.wallet WHERE w.owner <> p.owner`,
	"foreign keys":                          `SELECT "table" FROM pragma_foreign_key_check`,
}

func check(t testing.TB, db *sql.DB) {
	t.Helper()
	for what, query := range checks {
		var first string
		if err := db.QueryRow(query).Scan(&first); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("%s: %s (%v)", what, first, err)
		}
	}
	checkChains(t, db)
}

// query runs a query of a test's.
func query(t testing.TB, db *sql.DB, text string, scan func(scanner) error, args ...any) {
	t.Helper()
	rows, err := db.Query(text, args...)
	if err == nil {
		err = each(rows, scan)
	}
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// checkChains follows every journal from its first entry and compares its payments' last states with their rows.
func checkChains(t testing.TB, db *sql.DB) {
	t.Helper()
	states := make(map[string]typev1.PaymentState)
	moved := make(map[[2]string]int64) // On a chain, by wallet and asset.
	tips := make(map[string][]byte)
	numbers := make(map[string]uint64)
	query(t, db, `SELECT chain, bytes FROM entry ORDER BY chain, number`, func(r scanner) error {
		var chain string
		var b []byte
		if err := r.Scan(&chain, &b); err != nil {
			return err
		}
		e := new(typev1.Entry)
		if err := evidence.Unmarshal(b, e); err != nil {
			t.Fatalf("%s: entry: %v", chain, err)
		}
		if e.GetWallet() != chain || e.GetNumber() != numbers[chain]+1 || !bytes.Equal(e.GetPrevious(), tips[chain]) {
			t.Fatalf("%s: entry %d does not follow %d", chain, e.GetNumber(), numbers[chain])
		}
		numbers[chain], tips[chain] = e.GetNumber(), evidence.EntryHash(b).Bytes()
		if e.GetAsset() != "" && !strings.HasPrefix(e.GetAsset(), "halfkey:") {
			units, err := resource.ParseUnits(e.GetUnits())
			if err != nil {
				return err
			}
			switch k := [2]string{chain, e.GetAsset()}; {
			case e.GetKind() == typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT:
				moved[k] += units
			case e.GetKind() == typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW,
				e.GetKind() == typev1.EntryKind_ENTRY_KIND_PAYMENT && e.GetPaymentState() == settled:
				moved[k] -= units
			}
		}
		if e.GetPayment() != "" && e.GetKind() != typev1.EntryKind_ENTRY_KIND_INCOMING &&
			e.GetKind() != typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW {
			states[e.GetPayment()] = e.GetPaymentState()
		}
		return nil
	})
	query(t, db, `SELECT name, number, hash FROM chain`, func(r scanner) error {
		var name string
		var number uint64
		var hash []byte
		if err := r.Scan(&name, &number, &hash); err != nil {
			return err
		}
		if number != numbers[name] || !bytes.Equal(hash, tips[name]) {
			t.Errorf("%s: the tip is %d, the journal ends at %d", name, number, numbers[name])
		}
		return nil
	})
	query(t, db, `SELECT account, asset, available - deficit + held FROM balance WHERE asset NOT LIKE 'halfkey:%'`, func(r scanner) error {
		var k [2]string
		var units int64
		if err := r.Scan(&k[0], &k[1], &units); err != nil {
			return err
		}
		if moved[k] != units {
			t.Errorf("%s has %d of %s, its journal says %d", k[0], units, k[1], moved[k])
		}
		delete(moved, k)
		return nil
	})
	for k, units := range moved {
		t.Errorf("%s has no balance of %s, its journal says %d", k[0], k[1], units)
	}
	n := 0
	query(t, db, `SELECT wallet || '/payments/' || id, state FROM payment`, func(r scanner) error {
		var name string
		var state typev1.PaymentState
		if err := r.Scan(&name, &state); err != nil {
			return err
		}
		if states[name] != state {
			t.Errorf("%s is %s, its last entry says %s", name, state, states[name])
		}
		n++
		return nil
	})
	if n != len(states) {
		t.Errorf("%d payments, %d in journals", n, len(states))
	}
}

// bundle is what the co-signer would be brought for an answer, to be held against the gate itself.
func (f *fixture) verify(p *evidencetest.Payment, got *typev1.Payment) {
	f.t.Helper()
	_, err := evidence.Verify(evidence.Bundle{
		Message: p.MessageBytes, Request: p.Request, Verdict: p.Verdict, Receipt: got.GetReceipt(), Review: got.GetReview(),
	}, p.Pins(), f.clock.now())
	if err != nil {
		f.t.Errorf("the gate refuses what the ledger signed: %v", err)
	}
}

// dump is every row of the database as text, for tests that nothing was stored.
func (f *fixture) dump() string {
	f.t.Helper()
	db, err := sql.Open("sqlite", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	var out strings.Builder
	for _, table := range []string{
		"wallet", "guard_rails", "owner_key", "chain", "entry", "balance", "supply", "window_sum", "payment", "payment_change",
		"freeze", "unfreeze",
		"deposit", "redemption", "accepted_loss", "set_time", "chain_message", "chain_account",
	} {
		query(f.t, db, "SELECT * FROM "+table, func(r scanner) error {
			columns, err := r.(*sql.Rows).Columns()
			if err != nil {
				return err
			}
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			if err := r.Scan(values...); err != nil {
				return err
			}
			out.WriteString(table)
			for _, v := range values {
				fmt.Fprintf(&out, " %x", *v.(*any))
			}
			out.WriteString("\n")
			return nil
		})
	}
	return out.String()
}

// unchanged runs what must not store anything.
func (f *fixture) unchanged(do func()) {
	f.t.Helper()
	before := f.dump()
	do()
	if after := f.dump(); after != before {
		f.t.Errorf("something was stored:\n%s", cmp.Diff(before, after))
	}
}
