package e2e_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// restoring are the stores of docs/operate.md, "Backup and restore", put back one after the other.
type restoring struct {
	*site
	*people
	clusters map[string]*cluster
	copies   string
	// late is an agent that was registered after the copies were made, and second an owner who was invited after.
	late     *client.Agent
	second   *client.Client
	code     string
	operator *client.Operator
	rules    client.Rules
}

// Each store is put back to an older copy, by the commands of docs/operate.md, "Backup and restore", while everybody else goes on from
// where they are; and then what that section says is true of it is looked at, and an agent pays.
func TestOperateRestore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := &restoring{site: newSite(t), copies: t.TempDir()}
	r.clusters = r.apart()
	for _, c := range r.clusters {
		c.start()
	}
	for _, c := range r.clusters {
		c.users(ctx)
	}
	for _, p := range r.programs {
		p.start()
	}
	r.awaitReady()
	r.people = r.site.people(ctx, t, 1)
	r.pay(ctx, t, 0, "kept")

	for name, c := range r.clusters {
		c.save(ctx, filepath.Join(r.copies, name))
	}
	r.saveLedger(ctx, filepath.Join(r.copies, "ledger"))
	r.goOn(ctx, t)

	r.putBack(t, "identity")
	r.wantPaid(ctx, t, r.payers[0], "identity") // Under guard rails that came after the copy.
	r.wantPaid(ctx, t, r.late, "identity")
	if _, err := r.second.Owner(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.second.CreateOwner(ctx, r.code, "second@company.com"); err != nil {
		t.Errorf("an owner of after the copy, who repeats what made it one: %v", err)
	}

	r.putBack(t, "policy")
	r.wantPaid(ctx, t, r.payers[0], "policy")
	r.wantPaid(ctx, t, r.late, "policy")

	r.putLedger(ctx, t)

	r.putBack(t, "cosigner")
	r.wantPaid(ctx, t, r.payers[0], "cosigner")
	if _, err := r.late.Pay(ctx, r.seven("cosigner")); client.ReasonOf(err) != typev1.Reason_REASON_KEY_LOST {
		t.Errorf("a wallet whose key was made after the co-signer's copy: %v, want KEY_LOST", err)
	}
	for _, a := range []*client.Agent{r.payers[0], r.late, r.shop} {
		journal, err := a.Journal(ctx)
		if err == nil {
			err = journal.Verify(r.second.Installation())
		}
		if err != nil {
			t.Errorf("journal of %s: %v", a.Handle(), err)
		}
	}
	r.putAllBack(ctx, t)
}

// goOn is what happens after the copies were made, and what a restore takes away.
func (r *restoring) goOn(ctx context.Context, t *testing.T) {
	t.Helper()
	r.rules = client.StandardRules(r.shop.GroupKey())
	r.rules.AutoApprove, r.rules.Daily = 8*usd, deposited
	r.late = r.agent(ctx, t, r.owner, "late")
	r.operator = r.client(t, "operator-of-restores").Operator(operatorKey(t, r.made.Dir))
	for _, a := range []*client.Agent{r.payers[0], r.late} {
		if _, err := r.owner.SetGuardRails(ctx, a.Wallet(), r.rules); err != nil {
			t.Fatal(err)
		}
	}
	r.depositLate(ctx, t)
	r.wantPaid(ctx, t, r.payers[0], "after")
	if _, err := r.shop.Account(ctx); err != nil { // What nobody has seen, nobody misses.
		t.Fatal(err)
	}
	invitation, err := r.owner.Invite(ctx, "second@company.com", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.second, r.code = r.client(t, "second"), string(invitation.Text())
	if _, err := r.second.CreateOwner(ctx, r.code, "second@company.com"); err != nil {
		t.Fatal(err)
	}
}

func (r *restoring) depositLate(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := r.operator.Deposit(ctx, r.late.Wallet(), "transfer-1", 100*usd); err != nil {
		t.Fatal(err)
	}
}

// seven is a payment that waits for a person under the guard rails of before the copies.
func (r *restoring) seven(id string) client.Order {
	return client.Order{ID: id, Recipient: r.shop.Wallet(), Units: 7 * usd}
}

func (r *restoring) wantPaid(ctx context.Context, t *testing.T, a *client.Agent, id string) {
	t.Helper()
	if paid, err := a.Pay(ctx, r.seven(id)); err != nil || paid.State != settled {
		t.Fatalf("%s pays %s: %v, %v, want SETTLED", a.Handle(), id, paid, err)
	}
}

// putBack stops a service and its etcd, puts the copy in the place of what is there, and starts both.
func (r *restoring) putBack(t *testing.T, name string) {
	t.Helper()
	r.programs[name].stop(t)
	r.clusters[name].stop(t)
	r.clusters[name].putBack(filepath.Join(r.copies, name))
	r.clusters[name].start()
	r.programs[name].start()
	r.awaitReady()
}

// putLedger puts the ledger's file back, and the operator accepts the loss, wallet by wallet, by what each agent's error says.
func (r *restoring) putLedger(ctx context.Context, t *testing.T) {
	t.Helper()
	payer := r.payers[0]
	r.programs["ledger"].stop(t)
	if _, err := os.Stat(r.ledgerFile() + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a ledger that was stopped has left its log beside the file: %v", err)
	}
	r.putLedgerBack(filepath.Join(r.copies, "ledger"))
	r.programs["ledger"].start()
	r.awaitReady()

	r.acceptLoss(ctx, t, payer, func() error { _, err := payer.Pay(ctx, r.seven("ledger")); return err })
	r.acceptLoss(ctx, t, r.late, func() error { _, err := r.late.Pay(ctx, r.seven("ledger")); return err })
	r.acceptLoss(ctx, t, r.shop, func() error { _, err := r.shop.Account(ctx); return err })
	// What was paid after the copy is as if it had never been, on both sides.
	wantBalance(ctx, t, payer, deposited-usd)
	wantBalance(ctx, t, r.shop, usd)
	for range 2 { // By the number of the transfer that came in: it counts once.
		r.depositLate(ctx, t)
	}
	wantBalance(ctx, t, r.late, 100*usd)
	r.wantPaid(ctx, t, payer, "ledger")
	r.wantPaid(ctx, t, r.late, "ledger")
	// A home that has a payment as SETTLED does not make it again by itself.
	if _, err := payer.Pay(ctx, r.seven("after")); client.ReasonOf(err) != typev1.Reason_REASON_LEDGER_BEHIND {
		t.Errorf("the repeat of a payment that was lost: %v, want LEDGER_BEHIND", err)
	}
	if lost := statesOf(ctx, t, payer, false); len(lost) != 2 {
		t.Errorf("after the restore the ledger has payments %v, want kept and ledger", lost)
	}
}

// acceptLoss demands that a call is answered by LEDGER_BEHIND, and accepts the loss by what the answer names.
func (r *restoring) acceptLoss(ctx context.Context, t *testing.T, a *client.Agent, call func() error) {
	t.Helper()
	err := call()
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != typev1.Reason_REASON_LEDGER_BEHIND || e.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		t.Fatalf("%s with the ledger of before: %v, want LEDGER_BEHIND, and that no money moved", a.Handle(), err)
	}
	entry, err := strconv.ParseUint(e.Metadata["seen_entry"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hex.DecodeString(e.Metadata["seen_hash"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.operator.AcceptLoss(ctx, a.Wallet(), entry, hash); err != nil {
		t.Fatalf("accept the loss of %s: %v", a.Handle(), err)
	}
}

// putAllBack is a site that was lost, and put up again from the copies, so that nobody is left who leads the others forward.
func (r *restoring) putAllBack(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, p := range r.programs {
		p.stop(t)
	}
	for name, c := range r.clusters {
		c.stop(t)
		c.putBack(filepath.Join(r.copies, name))
		c.start()
	}
	r.putLedgerBack(filepath.Join(r.copies, "ledger"))
	for _, p := range r.programs {
		p.start()
	}
	r.awaitReady()
	// Before any agent pays by the guard rails of then.
	if _, err := r.operator.Freeze(ctx, "restored"); err != nil {
		t.Fatal(err)
	}
	payer := r.payers[0]
	if _, err := r.owner.GuardRails(ctx, payer.Wallet()); client.ReasonOf(err) != typev1.Reason_REASON_EVIDENCE_MISMATCH {
		t.Errorf("the guard rails by an owner who has seen newer ones: %v, want EVIDENCE_MISMATCH", err)
	}
	lost, err := r.owner.Restored(ctx, payer.Wallet())
	if err != nil || lost == nil {
		t.Fatalf("what the holders have lost: %v, %v", lost, err)
	}
	if _, err := r.owner.SetDocumentAfterRestore(ctx, lost, nil); err != nil {
		t.Fatalf("the owner sets the guard rails again: %v", err)
	}
	if again, err := r.owner.GuardRails(ctx, payer.Wallet()); err != nil || again.Document.GetLimits()[0].GetAmount() != strconv.Itoa(8*usd) {
		t.Errorf("the guard rails are %v, %v, want those of after the copy", again, err)
	}
	if _, err := r.operator.Unfreeze(ctx, "restored"); err != nil {
		t.Fatal(err)
	}
	r.acceptLoss(ctx, t, payer, func() error { _, err := payer.Pay(ctx, r.seven("all")); return err })
	r.wantPaid(ctx, t, payer, "all")
	if _, err := r.late.Pay(ctx, r.seven("all")); client.ReasonOf(err) != typev1.Reason_REASON_NOT_ACTIVE {
		t.Errorf("a wallet of after the copies: %v, want NOT_ACTIVE", err)
	}
}
