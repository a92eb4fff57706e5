package e2e_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The steps of docs/life-of-a-payment.md at which the gateway calls a service.
var (
	stepIdentity = step{name: "2 identity", method: identityv1.IdentityService_Authenticate_FullMethodName}
	stepPolicy   = step{name: "3 policy", method: policyv1.PolicyService_Judge_FullMethodName}
	stepLedger   = step{name: "4 ledger", method: ledgerv1.LedgerService_CreatePayment_FullMethodName}
	stepCosigner = step{name: "5 cosigner", method: cosignerv1.CosignerService_Release_FullMethodName}
	stepSettle   = step{name: "7 settle", method: ledgerv1.LedgerService_SettlePayment_FullMethodName}
)

// Steps of other operations: who calls, and what is read before anything is written.
var (
	stepCaller    = step{name: "caller", method: identityv1.IdentityService_Authenticate_FullMethodName}
	stepCaller2   = step{name: "caller of the second call", method: identityv1.IdentityService_Authenticate_FullMethodName}
	stepRead      = step{name: "read payment", method: ledgerv1.LedgerService_GetPayment_FullMethodName}
	stepDocuments = step{name: "read guard rails", method: policyv1.PolicyService_GetDocuments_FullMethodName}
	stepAnswer    = step{name: "answer", method: ledgerv1.LedgerService_AnswerReview_FullMethodName}
	stepCancel    = step{name: "cancel", method: ledgerv1.LedgerService_CancelPayment_FullMethodName}
	stepStatement = step{name: "statement", method: ledgerv1.LedgerService_ApplyStatement_FullMethodName}
)

// paymentSteps are a payment's.
var paymentSteps = []step{stepIdentity, stepPolicy, stepLedger, stepCosigner, stepSettle}

// durable is the state in which a crash leaves a payment, by the table in docs/life-of-a-payment.md; unspecified if nothing
// of it was recorded.
func durable(p point) typev1.PaymentState {
	switch {
	case p.method == stepSettle.method && p.after:
		return settled
	case p.method == stepLedger.method && p.after, p.method == stepCosigner.method, p.method == stepSettle.method:
		return authorized
	default:
		return typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED
	}
}

var paymentOperations = []operation{
	{name: "payment", steps: paymentSteps, begin: beginPayment},
	{name: "payment that asks a person", steps: []step{stepIdentity, stepPolicy, stepLedger}, begin: beginAsking},
	{name: "approval", steps: []step{stepCaller, stepRead, stepCaller2, stepDocuments, stepAnswer}, begin: beginApproval},
	{name: "payment after its approval", steps: slices.Concat([]step{stepCaller, stepRead}, paymentSteps), begin: beginApproved},
	{name: "refusal", steps: []step{stepCaller, stepRead, stepCaller2, stepDocuments, stepAnswer}, begin: beginRefusal},
	{name: "cancel", steps: []step{stepCaller, stepCancel}, begin: beginCancel},
	{name: "deposit", steps: []step{stepStatement}, begin: beginDeposit},
	{name: "redemption", steps: []step{stepStatement}, begin: beginRedemption},
}

// TestCrashInPayment crashes everything that concerns a payment at each of its steps. The repeat makes the same payment,
// once.
func TestCrashInPayment(t *testing.T) { runOperations(t, paymentOperations) }

// payment follows one payment of a world's payer from before it is made.
type payment struct {
	w           *world
	name        string
	units       int64
	payer, shop int64 // What they had before.
	others      int   // Payments before.
	left        *client.PaymentRecord
}

func (w *world) follow(ctx context.Context, t *testing.T, id string, units int64) *payment {
	t.Helper()
	before, err := w.payer.Payments(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	return &payment{
		w: w, name: resource.Payment(w.payer.Wallet(), id), units: units, others: len(before),
		payer: w.balance(ctx, t, w.payer).Available, shop: w.balance(ctx, t, w.shop).Available,
	}
}

// stored is what the payer's home has of the payment; nil before it was made.
func (p *payment) stored(t *testing.T) *client.PaymentRecord {
	t.Helper()
	r, err := p.w.home.LoadPayment(p.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantDurable demands what a crash has left: the payment's state in the ledger, what it holds, and that the ledger pinned
// the very message that the payer stored. It keeps what the payer stored for comparing with the repeat.
func (p *payment) wantDurable(ctx context.Context, t *testing.T, state typev1.PaymentState) {
	t.Helper()
	if p.left = p.stored(t); p.left == nil || len(p.left.Messages) == 0 {
		t.Fatal("the payer did not store the payment before it sent it")
	}
	found, err := p.w.payer.Payment(ctx, p.name)
	if state == typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED {
		if client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
			t.Errorf("the crash left %v, %v, want NOT_FOUND", found, err)
		}
		p.w.wantBalance(ctx, t, p.w.payer, p.payer, 0)
		return
	}
	if err != nil || found.State != state {
		t.Fatalf("the crash left %v, %v, want %v", found, err, state)
	}
	if !bytes.Equal(found.Proto.GetIntent(), p.left.Intent) {
		t.Error("the ledger has another intent than the payer stored")
	}
	switch state {
	case authorized:
		p.w.wantBalance(ctx, t, p.w.payer, p.payer-p.units, p.units)
	case settled:
		p.w.wantBalance(ctx, t, p.w.payer, p.payer-p.units, 0)
	default:
		p.w.wantBalance(ctx, t, p.w.payer, p.payer, 0)
		return
	}
	if !bytes.Equal(found.Proto.GetMessage(), p.left.Messages[len(p.left.Messages)-1]) {
		t.Error("the ledger pinned another message than the payer stored last")
	}
}

// wantOnce demands one payment, under its name: one hold, one settlement, of the intent and message that the payer had stored
// before the crash, the units moved once on both sides, and journals that verify.
func (p *payment) wantOnce(ctx context.Context, t *testing.T, paid *client.Payment) {
	t.Helper()
	if paid == nil || paid.State != settled || paid.Name != p.name {
		t.Fatalf("the payment ended as %v, want %s SETTLED", paid, p.name)
	}
	record := p.left
	if record == nil {
		record = p.stored(t)
	}
	if got, want := paid.Settlement.GetIntentDigest(), evidence.IntentDigest(record.Intent).Bytes(); !bytes.Equal(got, want) {
		t.Errorf("the intent %x settled, and %x was stored before the crash", got, want)
	}
	if n := len(record.Messages); n > 0 {
		if got, want := paid.Settlement.GetMessageDigest(), evidence.MessageDigest(record.Messages[n-1]).Bytes(); !bytes.Equal(got, want) {
			t.Errorf("the message %x settled, and %x was stored before the crash", got, want)
		}
	}
	p.wantEntries(ctx, t, 1)
}

// wantEntries demands one payment of the name, settled once after a number of holds of which at most the last one lived.
func (p *payment) wantEntries(ctx context.Context, t *testing.T, holds int) {
	t.Helper()
	p.wantPayments(ctx, t)
	entries := p.w.entries(ctx, t, p.w.payer)
	in := func(state typev1.PaymentState) func(*typev1.Entry) bool {
		return func(e *typev1.Entry) bool {
			return e.GetKind() == typev1.EntryKind_ENTRY_KIND_PAYMENT && e.GetPayment() == p.name && e.GetPaymentState() == state
		}
	}
	if got := count(entries, in(authorized)); got != holds {
		t.Errorf("%d holds were taken, want %d", got, holds)
	}
	if got := count(entries, in(settled)); got != 1 {
		t.Errorf("it settled %d times, want once", got)
	}
	incoming := func(e *typev1.Entry) bool {
		return e.GetKind() == typev1.EntryKind_ENTRY_KIND_INCOMING && e.GetPayment() == p.name
	}
	if got := count(p.w.entries(ctx, t, p.w.shop), incoming); got != 1 {
		t.Errorf("the shop was paid %d times, want once", got)
	}
	p.w.wantBalance(ctx, t, p.w.payer, p.payer-p.units, 0)
	p.w.wantBalance(ctx, t, p.w.shop, p.shop+p.units, 0)
}

// wantPayments demands that there is exactly one payment more than before.
func (p *payment) wantPayments(ctx context.Context, t *testing.T) {
	t.Helper()
	all, err := p.w.payer.Payments(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, paid := range all {
		if paid.Name == p.name {
			named++
		}
	}
	if len(all) != p.others+1 || named != 1 {
		t.Errorf("%d payments, %d of them %s; want %d and one", len(all), named, p.name, p.others+1)
	}
}

// wantNothingMoved demands one payment that holds nothing and has moved nothing.
func (p *payment) wantNothingMoved(ctx context.Context, t *testing.T) {
	t.Helper()
	p.wantPayments(ctx, t)
	p.w.wantBalance(ctx, t, p.w.payer, p.payer, 0)
	p.w.wantBalance(ctx, t, p.w.shop, p.shop, 0)
	p.w.verifyJournal(ctx, t, p.w.payer)
}

// wantTold demands that a caller was not told that money moved which did not, or did not move which did.
func wantTold(t *testing.T, told error, state typev1.PaymentState) {
	t.Helper()
	switch moved := wantNext(t, told); {
	case moved == movedNo && state == settled:
		t.Errorf("the payment had settled, and its caller was told that no money moved: %v", told)
	case moved == movedYes && state != settled:
		t.Errorf("the payment had not settled, and its caller was told that money moved: %v", told)
	}
}

func beginPayment(ctx context.Context, t *testing.T, w *world, n int) round {
	const units = usd
	p := w.follow(ctx, t, idOf(n), units)
	var paid *client.Payment
	return round{
		call: func(ctx context.Context) (err error) {
			paid, err = w.payer.Pay(ctx, w.order(idOf(n), units))
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, told error) {
			wantTold(t, told, durable(at))
			p.wantDurable(ctx, t, durable(at))
		},
		check: func(ctx context.Context, t *testing.T) { p.wantOnce(ctx, t, paid) },
	}
}

// asked is more than the standard guard rails let pass without a person.
const asked = 6 * usd

func beginAsking(ctx context.Context, t *testing.T, w *world, n int) round {
	p := w.follow(ctx, t, idOf(n), asked)
	var paid *client.Payment
	return round{
		call: func(ctx context.Context) (err error) {
			paid, err = w.payer.Pay(ctx, w.order(idOf(n), asked))
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, told error) {
			wantTold(t, told, pendingReview)
			state := typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED
			if at.method == stepLedger.method && at.after {
				state = pendingReview
			}
			p.wantDurable(ctx, t, state)
		},
		check: func(ctx context.Context, t *testing.T) {
			if paid.State != pendingReview || paid.Name != p.name {
				t.Fatalf("the payment is %v, want %s PENDING_REVIEW", paid, p.name)
			}
			p.wantNothingMoved(ctx, t)
			reviews, err := w.Owner().Reviews(ctx)
			if err != nil || len(reviews) != 1 || reviews[0].Payment != p.name {
				t.Fatalf("the owner is asked %v, %v, want once about %s", reviews, err, p.name)
			}
			if _, err := w.payer.Cancel(ctx, p.name); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// ask makes a payment that waits for a person.
func (p *payment) ask(ctx context.Context, t *testing.T, id string) {
	t.Helper()
	if paid, err := p.w.payer.Pay(ctx, p.w.order(id, p.units)); err != nil || paid.State != pendingReview {
		t.Fatalf("%d units: %v, %v, want PENDING_REVIEW", p.units, paid, err)
	}
}

// wantState demands a payment's state in the ledger.
func (p *payment) wantState(ctx context.Context, t *testing.T, state typev1.PaymentState) {
	t.Helper()
	if found, err := p.w.payer.Payment(ctx, p.name); err != nil || found.State != state {
		t.Fatalf("the payment is %v, %v, want %v", found, err, state)
	}
}

func beginApproval(ctx context.Context, t *testing.T, w *world, n int) round {
	p := w.follow(ctx, t, idOf(n), asked)
	p.ask(ctx, t, idOf(n))
	return round{
		call: func(ctx context.Context) error {
			_, err := w.Owner().Approve(ctx, p.name)
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, told error) {
			wantTold(t, told, ready)
			state := pendingReview
			if at.method == stepAnswer.method && at.after {
				state = ready
			}
			p.wantState(ctx, t, state)
		},
		check: func(ctx context.Context, t *testing.T) {
			p.wantState(ctx, t, ready)
			p.wantNothingMoved(ctx, t)
			record := p.stored(t)
			paid, err := w.payer.Resume(ctx, p.name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(paid.Settlement.GetIntentDigest(), evidence.IntentDigest(record.Intent).Bytes()) {
				t.Error("what settled is not the intent that was approved")
			}
			p.wantOnce(ctx, t, paid)
		},
	}
}

func beginApproved(ctx context.Context, t *testing.T, w *world, n int) round {
	p := w.follow(ctx, t, idOf(n), asked)
	p.ask(ctx, t, idOf(n))
	if _, err := w.Owner().Approve(ctx, p.name); err != nil {
		t.Fatal(err)
	}
	approved := p.stored(t).Intent
	var paid *client.Payment
	return round{
		call: func(ctx context.Context) (err error) {
			paid, err = w.payer.Resume(ctx, p.name)
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, told error) {
			state := durable(at)
			if state == typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED {
				state = ready
			}
			wantTold(t, told, state)
			p.wantDurable(ctx, t, state)
			if state == ready {
				p.left = nil // Nothing is pinned: the repeat brings a message of its own.
			}
		},
		check: func(ctx context.Context, t *testing.T) {
			if !bytes.Equal(paid.Settlement.GetIntentDigest(), evidence.IntentDigest(approved).Bytes()) {
				t.Error("what settled is not the intent that was approved")
			}
			p.wantOnce(ctx, t, paid)
		},
	}
}

func beginRefusal(ctx context.Context, t *testing.T, w *world, n int) round {
	p := w.follow(ctx, t, idOf(n), asked)
	p.ask(ctx, t, idOf(n))
	return round{
		call: func(ctx context.Context) error {
			_, err := w.Owner().Refuse(ctx, p.name)
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, told error) {
			wantTold(t, told, denied)
			state := pendingReview
			if at.method == stepAnswer.method && at.after {
				state = denied
			}
			p.wantState(ctx, t, state)
		},
		check: func(ctx context.Context, t *testing.T) {
			p.wantState(ctx, t, denied)
			if _, err := w.Owner().Approve(ctx, p.name); err == nil {
				t.Error("a refused payment was approved")
			}
			if paid, err := w.payer.Resume(ctx, p.name); err != nil || paid.State != denied {
				t.Errorf("the payer goes on with %v, %v, want DENIED", paid, err)
			}
			p.wantNothingMoved(ctx, t)
		},
	}
}

func beginCancel(ctx context.Context, t *testing.T, w *world, n int) round {
	p := w.follow(ctx, t, idOf(n), asked)
	p.ask(ctx, t, idOf(n))
	return round{
		call: func(ctx context.Context) error {
			_, err := w.payer.Cancel(ctx, p.name)
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, told error) {
			wantTold(t, told, canceled)
			state := pendingReview
			if at.method == stepCancel.method && at.after {
				state = canceled
			}
			p.wantState(ctx, t, state)
		},
		check: func(ctx context.Context, t *testing.T) {
			p.wantState(ctx, t, canceled)
			if _, err := w.Owner().Approve(ctx, p.name); err == nil {
				t.Error("a canceled payment was approved")
			}
			p.wantNothingMoved(ctx, t)
		},
	}
}

func beginDeposit(ctx context.Context, t *testing.T, w *world, n int) round {
	const units = 3 * usd
	before := w.balance(ctx, t, w.payer).Available
	entries := len(w.entries(ctx, t, w.payer))
	operator := w.Operator()
	return round{
		call: func(ctx context.Context) error {
			_, err := operator.Deposit(ctx, w.payer.Wallet(), idOf(n), units)
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, told error) {
			deposited := before
			if at.after {
				deposited += units
			}
			if moved := wantNext(t, told); at.after && moved == movedNo {
				t.Errorf("the deposit was made, and its caller was told that no money moved: %v", told)
			}
			w.wantBalance(ctx, t, w.payer, deposited, 0)
		},
		check: func(ctx context.Context, t *testing.T) {
			w.wantBalance(ctx, t, w.payer, before+units, 0)
			after := w.entries(ctx, t, w.payer)
			if len(after) != entries+1 || after[entries].GetKind() != typev1.EntryKind_ENTRY_KIND_DEPOSIT {
				t.Errorf("the journal has %d new entries, want one deposit", len(after)-entries)
			}
			if _, err := operator.Deposit(ctx, w.payer.Wallet(), idOf(n), 2*units); err == nil {
				t.Error("the deposit's id was used for another amount")
			}
			w.wantBalance(ctx, t, w.payer, before+units, 0)
		},
	}
}

func beginRedemption(ctx context.Context, t *testing.T, w *world, n int) round {
	const units = 2 * usd
	account := w.Installation().RedemptionAccount()
	paid, err := w.payer.Pay(ctx, client.Order{ID: idOf(n), Recipient: hex.EncodeToString(account[:]), Units: units})
	if err != nil || paid.State != settled {
		t.Fatalf("a payment to the redemption account: %v, %v, want SETTLED", paid, err)
	}
	before := w.balance(ctx, t, w.payer).Available
	operator := w.Operator()
	redeemed := func(e *typev1.Entry) bool {
		return e.GetKind() == typev1.EntryKind_ENTRY_KIND_REDEMPTION && e.GetPayment() == paid.Name
	}
	return round{
		call: func(ctx context.Context) error {
			_, err := operator.Redeem(ctx, paid.Name)
			return err
		},
		left: func(ctx context.Context, t *testing.T, at point, _ error) {
			want := 0
			if at.after {
				want = 1
			}
			if got := count(w.entries(ctx, t, w.payer), redeemed); got != want {
				t.Errorf("the crash left %d redemptions, want %d", got, want)
			}
		},
		check: func(ctx context.Context, t *testing.T) {
			if got := count(w.entries(ctx, t, w.payer), redeemed); got != 1 {
				t.Errorf("%d redemptions, want one", got)
			}
			w.wantBalance(ctx, t, w.payer, before, 0) // The payment moved the money; the statement moves none.
		},
	}
}
