package e2e_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// usd is a book dollar in units.
const usd = 1_000_000

// The states, short.
const (
	pendingReview = typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW
	ready         = typev1.PaymentState_PAYMENT_STATE_READY
	authorized    = typev1.PaymentState_PAYMENT_STATE_AUTHORIZED
	settled       = typev1.PaymentState_PAYMENT_STATE_SETTLED
	denied        = typev1.PaymentState_PAYMENT_STATE_DENIED
	expired       = typev1.PaymentState_PAYMENT_STATE_EXPIRED
	canceled      = typev1.PaymentState_PAYMENT_STATE_CANCELED
)

const (
	movedNo  = typev1.MoneyMoved_MONEY_MOVED_NO
	movedYes = typev1.MoneyMoved_MONEY_MOVED_YES
)

// world is an installation with an owner, a payer under guard rails, and a shop that it may pay.
type world struct {
	*halfkeytest.System
	crasher *crasher
	payer   *client.Agent
	home    *client.Home // The payer's.
	shop    *client.Agent
	// recovery is the file of the payer's recovery share, empty for none.
	recovery string
	clock    *halfkeytest.Clock // With operations that need one.
	// dead, if set, is what happens between a crash and the start after it.
	dead func()
}

// funds is what a world's payer begins with.
const funds = 1000 * usd

func newWorld(t *testing.T, options ...halfkeytest.Option) *world {
	t.Helper()
	c := &crasher{}
	options = append(options, halfkeytest.WithDir(filepath.Join(t.TempDir(), "installation")), halfkeytest.WithWrap(c.wrap))
	w := &world{System: halfkeytest.Start(t, options...), crasher: c}
	w.shop = w.Agent("Shop")
	w.payer, w.home = w.agent(t, "Payer")
	w.GuardRails(w.payer, w.rules())
	w.Fund(w.payer, funds)
	return w
}

// rules are the standard guard rails for paying the shop, and the installation for being paid out; a day's sum is bounded
// beyond what a test spends.
func (w *world) rules() client.Rules {
	r := client.StandardRules(w.shop.GroupKey(), w.Installation().RedemptionAccount())
	r.Daily = funds
	return r
}

// agent makes an agent whose home the test can read.
func (w *world) agent(t *testing.T, name string) (*client.Agent, *client.Home) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callMax)
	defer cancel()
	home := w.Home()
	c := w.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	a, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	return a, home
}

// order is what a payer pays the shop for.
func (w *world) order(id string, units int64) client.Order {
	return client.Order{ID: id, Recipient: w.shop.Wallet(), Units: units, Purpose: "crash test"}
}

// balance is a wallet's balance in book dollars.
func (w *world) balance(ctx context.Context, t *testing.T, a *client.Agent) client.Balance {
	t.Helper()
	account, err := a.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	switch len(account.Balances) {
	case 0:
		return client.Balance{Asset: w.Installation().BookUSD()}
	case 1:
		return account.Balances[0]
	default:
		t.Fatalf("%s has %v, want book dollars alone", a.Handle(), account.Balances)
		return client.Balance{}
	}
}

// wantBalance demands what a wallet has available, and what it holds.
func (w *world) wantBalance(ctx context.Context, t *testing.T, a *client.Agent, available, held int64) {
	t.Helper()
	want := client.Balance{Asset: w.Installation().BookUSD(), Available: available, Held: held}
	if got := w.balance(ctx, t, a); got != want {
		t.Errorf("%s has %+v, want %+v", a.Handle(), got, want)
	}
}

// entries verifies a wallet's journal and returns it.
func (w *world) entries(ctx context.Context, t *testing.T, a *client.Agent) []*typev1.Entry {
	t.Helper()
	journal, err := a.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.Verify(w.Installation()); err != nil {
		t.Fatalf("journal of %s: %v", a.Handle(), err)
	}
	var entries []*typev1.Entry
	for _, b := range journal.Entries {
		e := new(typev1.Entry)
		if err := evidence.Unmarshal(b, e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

func (w *world) verifyJournal(ctx context.Context, t *testing.T, a *client.Agent) {
	t.Helper()
	w.entries(ctx, t, a)
}

// count counts what a test looks for in a journal.
func count(entries []*typev1.Entry, is func(*typev1.Entry) bool) int {
	n := 0
	for _, e := range entries {
		if is(e) {
			n++
		}
	}
	return n
}

// holders are those who hold a wallet's guard rails, in the order in which they get them.
var holders = []string{"policy", "ledger", "cosigner", "identity"}

// head asks one holder, past the gateway, for the digest of a wallet's guard rails; empty if it has none.
func (w *world) head(ctx context.Context, t *testing.T, holder, wallet string) []byte {
	t.Helper()
	conn := w.crasher.conn(holder)
	var head *typev1.Envelope
	var err error
	last := func(d *typev1.WalletDocuments) {
		if all := d.GetGuardRails(); len(all) > 0 {
			head = all[len(all)-1]
		}
	}
	const pageSize = 100
	switch holder {
	case "policy":
		var got *policyv1.GetDocumentsResponse
		got, err = policyv1.NewPolicyServiceClient(conn).GetDocuments(ctx, &policyv1.GetDocumentsRequest{Wallet: wallet, PageSize: pageSize})
		last(got.GetDocuments())
	case "ledger":
		var got *ledgerv1.GetDocumentsResponse
		got, err = ledgerv1.NewLedgerServiceClient(conn).GetDocuments(ctx, &ledgerv1.GetDocumentsRequest{Wallet: wallet, PageSize: pageSize})
		last(got.GetDocuments())
	case "cosigner":
		var got *cosignerv1.GetWalletResponse
		got, err = cosignerv1.NewCosignerServiceClient(conn).GetWallet(ctx, &cosignerv1.GetWalletRequest{Wallet: wallet})
		head = got.GetGuardRails()
	case "identity":
		var got *identityv1.GetWalletResponse
		got, err = identityv1.NewIdentityServiceClient(conn).GetWallet(ctx, &identityv1.GetWalletRequest{Name: wallet})
		head = got.GetWallet().GetGuardRails()
	}
	if err != nil || head == nil {
		return nil
	}
	return evidence.EnvelopeDigest(head).Bytes()
}

// wantAgreed demands that all holders of a wallet's guard rails have one document.
func (w *world) wantAgreed(ctx context.Context, t *testing.T, wallet string, digest []byte) {
	t.Helper()
	for _, holder := range holders {
		if got := w.head(ctx, t, holder, wallet); !bytes.Equal(got, digest) {
			t.Errorf("%s has the guard rails %x, want %x", holder, got, digest)
		}
	}
}

// wantPays demands that a wallet can pay the shop.
func (w *world) wantPays(ctx context.Context, t *testing.T, a *client.Agent, units int64) {
	t.Helper()
	paid, err := a.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: units})
	if err != nil || paid.State != settled {
		t.Fatalf("a payment of %d: %v, %v, want SETTLED", units, paid, err)
	}
}
