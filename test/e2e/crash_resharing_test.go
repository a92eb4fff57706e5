package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/halfkey/halfkey/client"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
)

// The steps of a resharing at which the gateway calls the co-signer.
var (
	stepSharing  = step{name: "read sharing", method: cosignerv1.CosignerService_GetResharing_FullMethodName}
	stepOrder    = step{name: "order", method: cosignerv1.CosignerService_OrderResharing_FullMethodName}
	stepStart    = step{name: "start", method: cosignerv1.CosignerService_StartResharing_FullMethodName}
	stepExchange = step{name: "exchange", method: cosignerv1.CosignerService_ExchangeResharing_FullMethodName}
	stepConfirm  = step{name: "confirm", method: cosignerv1.CosignerService_ConfirmResharing_FullMethodName}
	stepComplete = step{name: "complete", method: cosignerv1.CosignerService_CompleteResharing_FullMethodName}
	stepRecovery = step{name: "confirm recovery", method: cosignerv1.CosignerService_ConfirmRecovery_FullMethodName}
)

var (
	setGuardRailsSteps = guardRailsSteps[2:]
	runSteps           = []step{stepStart, stepExchange, stepConfirm, stepComplete}
)

// resharingOperations crash at the calls that change something, and at the one that only they make.
var resharingOperations = []operation{
	{name: "refresh: the order", begin: beginRefreshOrder, partly: true, steps: slices.Concat(setGuardRailsSteps, []step{stepSharing, stepOrder})},
	{name: "refresh", begin: beginRefresh, partly: true, steps: runSteps},
	{name: "refresh, and a payment before the repeat", begin: beginRefreshThenPayment, partly: true, steps: []step{stepConfirm, stepComplete}},
	{name: "enrolment: the order", begin: beginEnrolmentOrder, partly: true, steps: []step{stepOrder}},
	{name: "enrolment", begin: beginEnrolment, partly: true, steps: runSteps},
	{name: "opening a recovery share", begin: beginOpening, partly: true, steps: []step{stepRecovery}},
	{name: "replacement", begin: beginReplacement, partly: true, steps: slices.Concat([]step{stepOrder}, runSteps, []step{stepRecovery})},
}

// TestCrashInResharing crashes the order for new shares, its run, and the confirmation of a recovery share. Whoever was
// calling dies too, and repeats the call from what is on disk: agent and co-signer have one sharing, the wallet pays with it, and
// a share that leaked before is worthless.
func TestCrashInResharing(t *testing.T) { runOperations(t, resharingOperations) }

// watchEpochs lets a crash look into the co-signer's store while nothing runs.
func (w *world) watchEpochs(t *testing.T) func() []uint64 {
	var found []uint64
	w.dead = func() { found = w.epochs(t) }
	return func() []uint64 { return found }
}

// wantLeft demands which epochs a crash has left with the co-signer.
func wantLeft(t *testing.T, told error, got []uint64, want ...uint64) {
	t.Helper()
	if moved := wantNext(t, told); moved != movedNo {
		t.Errorf("a resharing is said to have moved money: %v", told)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the crash has left shares of the epochs %v with the co-signer, want %v", got, want)
	}
}

// completed says whether a crash came after a sharing had come into force.
func completed(p point) bool {
	return p.method == stepComplete.method && p.after || p.method == stepRecovery.method
}

func beginRefreshOrder(ctx context.Context, t *testing.T, w *world, _ int) round {
	epoch, _ := w.sharing(ctx, t)
	stolen := w.steal(t)
	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var r *client.Resharing
	return round{
		call: func(ctx context.Context) (err error) {
			r, err = w.Owner().Refresh(ctx, offer)
			return err
		},
		left: func(ctx context.Context, t *testing.T, _ point, told error) {
			if moved := wantNext(t, told); moved != movedNo {
				t.Errorf("an order is said to have moved money: %v", told)
			}
			w.wantPays(ctx, t, w.reopened(t), usd) // by whichever request key is in force
		},
		check: func(ctx context.Context, t *testing.T) {
			if r.State != ordered || r.Epoch != epoch+1 {
				t.Errorf("the order is %v, to epoch %d; want ORDERED, %d", r.State, r.Epoch, epoch+1)
			}
			w.wantRefused(ctx, t, stolen)
			w.wantPays(ctx, t, w.reopened(t), usd)
			if _, err := w.reopened(t).Reshare(ctx); err != nil {
				t.Fatal(err)
			}
			w.wantSharing(ctx, t, epoch+1, reshared)
			w.wantPowerless(t, stolen.share)
		},
	}
}

func beginRefresh(ctx context.Context, t *testing.T, w *world, _ int) round {
	epoch, _ := w.sharing(ctx, t)
	stolen := w.steal(t)
	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().Refresh(ctx, offer); err != nil {
		t.Fatal(err)
	}
	left := w.watchEpochs(t)
	return round{
		call: func(ctx context.Context) error {
			_, err := w.reopened(t).Reshare(ctx)
			return err
		},
		left: func(_ context.Context, t *testing.T, p point, told error) {
			want := epoch
			if completed(p) {
				want = epoch + 1 // The old one is gone in the transaction that puts the new one in force.
			}
			wantLeft(t, told, left(), want)
		},
		check: func(ctx context.Context, t *testing.T) {
			w.wantSharing(ctx, t, epoch+1, reshared)
			w.wantRefused(ctx, t, stolen)
			w.wantPowerless(t, stolen.share)
		},
	}
}

// beginRefreshThenPayment lets a payment come when the agent holds an old share and a new one, and cannot know which one is in
// force. It finds out, and pays.
func beginRefreshThenPayment(ctx context.Context, t *testing.T, w *world, n int) round {
	r := beginRefresh(ctx, t, w, n)
	left := r.left
	r.left = func(ctx context.Context, t *testing.T, p point, told error) {
		left(ctx, t, p, told)
		if !secretOf(t, w.home).unfinished {
			t.Error("the home is said to know which share is in force")
		}
		w.wantPays(ctx, t, w.reopened(t), usd)
	}
	return r
}

// enrol orders a recovery share into a file of its own.
func (w *world) enrol(ctx context.Context, t *testing.T, file string) {
	t.Helper()
	if _, err := w.Owner().CreateRecovery(ctx, w.payer.Wallet(), file, passphrase()); err != nil {
		t.Fatal(err)
	}
	w.recovery = file
}

// open opens the recovery share of the sharing in force.
func (w *world) open(ctx context.Context, t *testing.T) {
	t.Helper()
	if r, err := w.Owner().OpenRecovery(ctx, w.recovery, passphrase()); err != nil || r.State != reshared {
		t.Fatalf("opening the recovery share: %v, %v, want DONE", r, err)
	}
}

// recoveryFile is where a round's recovery file comes to be.
func (w *world) recoveryFile(n int) string { return w.beside(fmt.Sprint("recovery-", n)) }

func beginEnrolmentOrder(ctx context.Context, t *testing.T, w *world, n int) round {
	epoch, _ := w.sharing(ctx, t)
	file := w.recoveryFile(n)
	left := w.watchEpochs(t)
	var r *client.Resharing
	return round{
		call: func(ctx context.Context) (err error) {
			r, err = w.Owner().CreateRecovery(ctx, w.payer.Wallet(), file, passphrase())
			return err
		},
		left: func(_ context.Context, t *testing.T, _ point, told error) { wantLeft(t, told, left(), epoch) },
		check: func(ctx context.Context, t *testing.T) {
			if r.State != ordered || r.Epoch != epoch+1 || !r.Recovery {
				t.Errorf("the order is %+v; want ORDERED, to epoch %d, with a recovery share", r, epoch+1)
			}
			w.recovery = file
			if _, err := w.reopened(t).Reshare(ctx); err != nil {
				t.Fatal(err)
			}
			w.open(ctx, t)
			w.wantSharing(ctx, t, epoch+1, reshared)
			w.wantExit(t)
		},
	}
}

func beginEnrolment(ctx context.Context, t *testing.T, w *world, n int) round {
	epoch, _ := w.sharing(ctx, t)
	stolen := w.steal(t)
	w.enrol(ctx, t, w.recoveryFile(n))
	left := w.watchEpochs(t)
	return round{
		call: func(ctx context.Context) error {
			_, err := w.reopened(t).Reshare(ctx)
			return err
		},
		left: func(_ context.Context, t *testing.T, p point, told error) {
			want := []uint64{epoch}
			if completed(p) {
				want = append(want, epoch+1) // The old one is kept for the recovery share.
			}
			wantLeft(t, told, left(), want...)
		},
		check: func(ctx context.Context, t *testing.T) {
			w.wantSharing(ctx, t, epoch+1, recoveryPending)
			w.open(ctx, t)
			w.wantSharing(ctx, t, epoch+1, reshared)
			w.wantPowerless(t, stolen.share)
			w.wantExit(t)
		},
	}
}

// beginOpening refreshes a wallet that has a recovery share, and lets the owner open what was dealt to it.
func beginOpening(ctx context.Context, t *testing.T, w *world, n int) round {
	if w.recovery == "" {
		w.enrol(ctx, t, w.recoveryFile(n))
		w.reshareAndOpen(ctx, t)
	}
	epoch, _ := w.sharing(ctx, t)
	stolen := w.steal(t)
	offer, err := w.reopened(t).Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().Refresh(ctx, offer); err != nil {
		t.Fatal(err)
	}
	if r, err := w.reopened(t).Reshare(ctx); err != nil || r.State != recoveryPending {
		t.Fatalf("the refresh: %v, %v, want RECOVERY_PENDING", r, err)
	}
	left := w.watchEpochs(t)
	return round{
		call: func(ctx context.Context) error {
			_, err := w.Owner().OpenRecovery(ctx, w.recovery, passphrase())
			return err
		},
		left: func(ctx context.Context, t *testing.T, p point, told error) {
			want := []uint64{epoch, epoch + 1}
			if p.method == stepRecovery.method && p.after {
				want = want[1:]
			}
			wantLeft(t, told, left(), want...)
			w.wantPays(ctx, t, w.reopened(t), usd)
		},
		check: func(ctx context.Context, t *testing.T) {
			w.wantSharing(ctx, t, epoch+1, reshared)
			w.wantPowerless(t, stolen.share)
			w.wantExit(t)
		},
	}
}

func (w *world) reshareAndOpen(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := w.reopened(t).Reshare(ctx); err != nil {
		t.Fatal(err)
	}
	w.open(ctx, t)
}

// beginReplacement loses the agent, and lets its owner take the wallet over in a home that holds none of it.
func beginReplacement(ctx context.Context, t *testing.T, w *world, n int) round {
	if w.recovery == "" {
		w.enrol(ctx, t, w.recoveryFile(n))
		w.reshareAndOpen(ctx, t)
	}
	epoch, _ := w.sharing(ctx, t)
	lost := w.steal(t)
	taker := w.copyHome(t, w.OwnerHome())
	left := w.watchEpochs(t)
	return round{
		call: func(ctx context.Context) error {
			owner, err := w.Client(taker).Owner()
			if err != nil {
				return err
			}
			_, err = owner.Replace(ctx, w.payer.Wallet(), w.recovery, passphrase())
			return err
		},
		left: func(_ context.Context, t *testing.T, p point, told error) {
			want := []uint64{epoch}
			switch {
			case p.method == stepRecovery.method && p.after:
				want = []uint64{epoch + 1}
			case completed(p):
				want = append(want, epoch+1)
			}
			wantLeft(t, told, left(), want...)
		},
		check: func(ctx context.Context, t *testing.T) {
			w.home = taker
			w.payer = w.reopened(t)
			w.wantSharing(ctx, t, epoch+1, reshared)
			w.wantRefused(ctx, t, lost)
			w.wantPowerless(t, lost.share)
			w.wantExit(t)
		},
	}
}
