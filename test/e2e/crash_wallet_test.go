package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var (
	stepExpired = step{name: "expired registrations", method: identityv1.IdentityService_ListExpired_FullMethodName}

	freezeSteps = atOnce(
		step{name: "ledger", method: ledgerv1.LedgerService_Freeze_FullMethodName},
		step{name: "cosigner", method: cosignerv1.CosignerService_Freeze_FullMethodName})
	unfreezeSteps = atOnce(
		step{name: "ledger", method: ledgerv1.LedgerService_Unfreeze_FullMethodName},
		step{name: "cosigner", method: cosignerv1.CosignerService_Unfreeze_FullMethodName})
)

var registrationOperations = []operation{
	{name: "registration", begin: beginRegistration, steps: []step{
		stepExpired,
		{name: "directory", method: identityv1.IdentityService_CreateRegistration_FullMethodName},
		{name: "start", method: cosignerv1.CosignerService_StartKeyGeneration_FullMethodName},
		{name: "exchange", method: cosignerv1.CosignerService_ExchangeKeyGeneration_FullMethodName},
		{name: "confirm", method: cosignerv1.CosignerService_ConfirmKeyGeneration_FullMethodName},
		{name: "complete", method: cosignerv1.CosignerService_CompleteKeyGeneration_FullMethodName},
		{name: "announce", method: identityv1.IdentityService_CompleteRegistration_FullMethodName},
	}},
	{name: "end of a registration", begin: beginEnd, clock: true, steps: []step{
		stepCaller,
		stepExpired,
		{name: "cosigner", method: cosignerv1.CosignerService_EndRegistration_FullMethodName},
		{name: "identity", method: identityv1.IdentityService_EndRegistration_FullMethodName},
		{name: "code", method: identityv1.IdentityService_GetClaim_FullMethodName},
	}},
}

// TestCrashInRegistration crashes a key generation in each of its rounds: the repeat ends it, with one wallet whose halves
// sign together. It also crashes the end of a registration that nobody claimed in time.
func TestCrashInRegistration(t *testing.T) { runOperations(t, registrationOperations) }

var claimOperations = []operation{{name: "claim", begin: beginClaim, steps: []step{
	stepCaller,
	stepExpired,
	{name: "code", method: identityv1.IdentityService_GetClaim_FullMethodName},
	{name: "registration", method: identityv1.IdentityService_GetWallet_FullMethodName},
	{name: "cosigner", method: cosignerv1.CosignerService_SealWallet_FullMethodName},
	{name: "policy", method: policyv1.PolicyService_OpenWallet_FullMethodName},
	{name: "ledger", method: ledgerv1.LedgerService_OpenAccount_FullMethodName},
	{name: "identity", method: identityv1.IdentityService_ActivateWallet_FullMethodName},
}}}

// TestCrashInClaim crashes a claim between those who then pin the wallet.
func TestCrashInClaim(t *testing.T) { runOperations(t, claimOperations) }

var guardRailsSteps = []step{
	stepCaller,
	stepDocuments,
	{name: "policy", method: policyv1.PolicyService_SetGuardRails_FullMethodName},
	{name: "ledger", method: ledgerv1.LedgerService_SetGuardRails_FullMethodName},
	{name: "cosigner", method: cosignerv1.CosignerService_SetGuardRails_FullMethodName},
	{name: "identity", method: identityv1.IdentityService_SetGuardRails_FullMethodName},
}

var guardRailsOperations = []operation{
	{name: "guard rails", steps: guardRailsSteps, begin: beginGuardRails},
	{name: "guard rails, and a payment before the repeat", steps: guardRailsSteps, begin: beginGuardRailsThenPayment},
}

// TestCrashInGuardRails crashes a change of guard rails between those who hold them: once the owner repeats it, and once a
// payment comes before that.
func TestCrashInGuardRails(t *testing.T) { runOperations(t, guardRailsOperations) }

// freezeOperations are freezes of every scope, and their ends.
func freezeOperations() []operation {
	var operations []operation
	for _, k := range freezeKinds {
		operations = append(operations,
			operation{name: k.name + ": freeze", steps: slices.Concat([]step{stepCaller}, freezeSteps), begin: k.beginFreeze},
			operation{name: k.name + ": unfreeze", steps: unfreezeSteps, begin: k.beginUnfreeze})
	}
	return operations
}

// TestCrashInFreeze crashes a freeze, and its end, so that one of ledger and co-signer has it, neither, or both with the
// answer lost.
func TestCrashInFreeze(t *testing.T) { runOperations(t, freezeOperations()) }

var firstOwnerSteps = []step{{name: "identity", method: identityv1.IdentityService_CreateOwner_FullMethodName}}

// TestCrashInFirstOwner crashes while the first owner is made, on an installation of its own for each point.
func TestCrashInFirstOwner(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*world, *client.Client) {
		c := &crasher{}
		w := &world{System: halfkeytest.Start(t, halfkeytest.WithWrap(c.wrap)), crasher: c}
		return w, w.Client(w.Home())
	}
	t.Run("recorded", func(t *testing.T) {
		w, c := start(t)
		calls := w.crasher.record(func() {
			if _, err := c.CreateOwner(t.Context(), w.BootstrapCode(), halfkeytest.Email); err != nil {
				t.Fatal(err)
			}
		})
		operation{steps: firstOwnerSteps}.checkSteps(t, calls)
	})
	for _, p := range points(firstOwnerSteps) {
		t.Run(p.String(), func(t *testing.T) {
			w, c := start(t)
			code := w.BootstrapCode()
			var owner *client.Owner
			create := func(ctx context.Context) (err error) {
				owner, err = c.CreateOwner(ctx, code, halfkeytest.Email)
				return err
			}
			wantNext(t, w.crash(t, p, create))
			if err := create(t.Context()); err != nil {
				t.Fatalf("the repeat: %v", err)
			}
			if _, err := w.Client(w.Home()).CreateOwner(t.Context(), code, "other@company.com"); client.ReasonOf(err) != typev1.Reason_REASON_CODE_USED {
				t.Errorf("the code made another owner: %v, want CODE_USED", err)
			}
			r, err := w.Client(w.Home()).Register(t.Context(), client.RegisterOptions{Name: "Agent", OwnerEmail: halfkeytest.Email})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := owner.Claim(t.Context(), r.ClaimCode); err != nil {
				t.Errorf("the owner that the repeat made claims nothing: %v", err)
			}
		})
	}
}

// wantWallet demands that a claimed wallet is in every holder, and pays.
func (w *world) wantWallet(ctx context.Context, t *testing.T, a *client.Agent) {
	t.Helper()
	if state, err := a.State(ctx); err != nil || state != typev1.WalletState_WALLET_STATE_ACTIVE {
		t.Fatalf("the wallet is %v, %v, want ACTIVE", state, err)
	}
	claim := w.head(ctx, t, "cosigner", a.Wallet())
	if claim == nil {
		t.Fatal("the co-signer does not have the claimed wallet")
	}
	w.wantAgreed(ctx, t, a.Wallet(), claim)
	w.GuardRails(a, w.rules())
	w.Fund(a, usd)
	w.wantPays(ctx, t, a, usd)
	w.wantBalance(ctx, t, a, 0, 0)
	w.verifyJournal(ctx, t, a)
}

func beginRegistration(_ context.Context, t *testing.T, w *world, n int) round {
	c := w.Client(w.Home())
	options := client.RegisterOptions{Name: fmt.Sprint("Agent ", n), OwnerEmail: halfkeytest.Email}
	var made *client.Registered
	var began []string
	return round{
		call: func(ctx context.Context) (err error) {
			made, err = c.Register(ctx, options)
			return err
		},
		left: func(_ context.Context, t *testing.T, _ point, told error) {
			if moved := wantNext(t, told); moved != movedNo {
				t.Errorf("a registration is said to have moved money: %v", told)
			}
			var err error
			if began, err = c.Wallets(); err != nil || len(began) != 1 {
				t.Fatalf("the agent stored %v, %v, want the one wallet that it began", began, err)
			}
		},
		check: func(ctx context.Context, t *testing.T) {
			wallets, err := c.Wallets()
			if err != nil || !slices.Equal(wallets, []string{made.Wallet}) || began != nil && !slices.Equal(wallets, began) {
				t.Errorf("the home has %v, %v, want %s alone, begun as %v", wallets, err, made.Wallet, began)
			}
			again, err := c.Register(ctx, options)
			if err != nil || *again != *made {
				t.Errorf("another repeat gives %v, %v, want %v", again, err, made)
			}
			claim, err := w.Owner().Claim(ctx, made.ClaimCode)
			if err != nil {
				t.Fatal(err)
			}
			if claim.GroupKey != made.GroupKey || claim.Handle != made.Handle {
				t.Errorf("the owner claimed %+v, want %+v", claim, made)
			}
			a, err := c.Agent(made.Wallet)
			if err != nil {
				t.Fatal(err)
			}
			w.wantWallet(ctx, t, a)
		},
	}
}

// beginEnd lets a registration wait for 24 hours. Who then asks for it by its code ends it, with the co-signer first; its
// handle is free again, and the code claims nothing.
func beginEnd(ctx context.Context, t *testing.T, w *world, n int) round {
	options := client.RegisterOptions{Name: fmt.Sprint("Agent ", n), OwnerEmail: halfkeytest.Email}
	forgotten := w.Client(w.Home())
	r, err := forgotten.Register(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(24*time.Hour + time.Minute)
	return round{
		call: func(ctx context.Context) error {
			claim, err := w.Owner().LookUp(ctx, r.ClaimCode)
			if err == nil {
				return fmt.Errorf("a registration that has ended is shown: %+v", claim)
			}
			if client.ReasonOf(err) == typev1.Reason_REASON_NOT_FOUND || client.ReasonOf(err) == typev1.Reason_REASON_NOT_ACTIVE {
				return nil
			}
			return err
		},
		check: func(ctx context.Context, t *testing.T) {
			if _, err := w.Owner().Claim(ctx, r.ClaimCode); err == nil {
				t.Error("a registration was claimed after its 24 hours")
			}
			a, err := forgotten.Agent(r.Wallet)
			if err != nil {
				t.Fatal(err)
			}
			if state, err := a.State(ctx); err != nil || state != typev1.WalletState_WALLET_STATE_ENDED {
				t.Errorf("the registration is %v, %v, want ENDED", state, err)
			}
			c := w.Client(w.Home())
			again, err := c.Register(ctx, options)
			if err != nil || again.Handle != r.Handle || again.Wallet == r.Wallet {
				t.Fatalf("the handle's next registration is %+v, %v, want another wallet as @%s", again, err, r.Handle)
			}
			if _, err := w.Owner().Claim(ctx, again.ClaimCode); err != nil {
				t.Fatal(err)
			}
			if a, err = c.Agent(again.Wallet); err != nil {
				t.Fatal(err)
			}
			w.wantWallet(ctx, t, a)
		},
	}
}

func beginClaim(ctx context.Context, t *testing.T, w *world, n int) round {
	c := w.Client(w.Home())
	r, err := c.Register(ctx, client.RegisterOptions{Name: fmt.Sprint("Agent ", n), OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	var sealed []byte
	return round{
		call: func(ctx context.Context) error {
			_, err := w.Owner().Claim(ctx, r.ClaimCode)
			return err
		},
		left: func(ctx context.Context, t *testing.T, p point, told error) {
			if moved := wantNext(t, told); moved != movedNo {
				t.Errorf("a claim is said to have moved money: %v", told)
			}
			sealed = w.head(ctx, t, "cosigner", r.Wallet)
			if written := map[string]bool{"cosigner": p.after, "policy": true, "ledger": true, "identity": true}[p.name]; written != (sealed != nil) {
				t.Errorf("the co-signer has sealed the wallet %t, want %t", sealed != nil, written)
			}
		},
		check: func(ctx context.Context, t *testing.T) {
			if got := w.head(ctx, t, "cosigner", r.Wallet); sealed != nil && !bytes.Equal(got, sealed) {
				t.Errorf("the repeat claimed by %x, and the co-signer had sealed %x", got, sealed)
			}
			w.wantWallet(ctx, t, a)
		},
	}
}

func beginGuardRails(ctx context.Context, t *testing.T, w *world, n int) round {
	before, err := w.Owner().GuardRails(ctx, w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	rules := w.rules()
	rules.AutoApprove = 5*usd + int64(n)
	var set *client.InForce
	var delivered []byte
	return round{
		call: func(ctx context.Context) (err error) {
			set, err = w.Owner().SetGuardRails(ctx, w.payer.Wallet(), rules)
			return err
		},
		left: func(ctx context.Context, t *testing.T, p point, told error) {
			if moved := wantNext(t, told); moved != movedNo {
				t.Errorf("a change of guard rails is said to have moved money: %v", told)
			}
			// Who has the new version by now: everybody before the step at which it crashed, and that one if it was after.
			reached := slices.Index(holders, p.name)
			for i, holder := range holders {
				has := w.head(ctx, t, holder, w.payer.Wallet())
				want := i < reached || i == reached && p.after
				if changed := !bytes.Equal(has, before.Digest[:]); changed != want {
					t.Errorf("%s has the new version %t, want %t", holder, changed, want)
				} else if changed {
					delivered = has
				}
			}
		},
		check: func(ctx context.Context, t *testing.T) {
			if set.Number != before.Number+1 {
				t.Errorf("number %d is in force, want %d", set.Number, before.Number+1)
			}
			if delivered != nil && !bytes.Equal(set.Digest[:], delivered) {
				t.Errorf("%x is in force, and %x had been delivered", set.Digest, delivered)
			}
			w.wantAgreed(ctx, t, w.payer.Wallet(), set.Digest[:])
			w.wantPays(ctx, t, w.payer, rules.AutoApprove)
			p, err := w.payer.DryRun(ctx, client.Order{Recipient: w.shop.Wallet(), Units: rules.AutoApprove + 1})
			if err != nil || p.Light != typev1.Light_LIGHT_YELLOW {
				t.Errorf("one unit over the new threshold is %v, %v, want YELLOW", p, err)
			}
			w.verifyJournal(ctx, t, w.payer)
		},
	}
}

// beginGuardRailsThenPayment lets a payment meet the holders that a crash has left apart. It is judged by either version
// and leads them forward; it never fails.
func beginGuardRailsThenPayment(ctx context.Context, t *testing.T, w *world, n int) round {
	r := beginGuardRails(ctx, t, w, n)
	left := r.left
	r.left = func(ctx context.Context, t *testing.T, p point, told error) {
		left(ctx, t, p, told)
		w.wantPays(ctx, t, w.payer, usd)
		reached := slices.IndexFunc(holders, func(holder string) bool { return holder == p.name })
		head := w.head(ctx, t, "policy", w.payer.Wallet())
		// Identity follows for the keys alone, which have not changed: it is led forward by the repeat.
		for _, holder := range holders[:len(holders)-1] {
			if got := w.head(ctx, t, holder, w.payer.Wallet()); reached >= 0 && !bytes.Equal(got, head) {
				t.Errorf("after the payment %s has %x, want %x as policy", holder, got, head)
			}
		}
	}
	return r
}

// freezeKind is a scope of freezes, and who freezes and unfreezes.
type freezeKind struct {
	name     string
	freeze   func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error)
	unfreeze func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error)
}

var freezeKinds = []freezeKind{
	{
		"wallet",
		func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error) {
			return w.payer.Freeze(ctx, id)
		},
		func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error) {
			return w.Owner().Unfreeze(ctx, w.payer.Wallet(), id)
		},
	},
	{
		"owner",
		func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error) {
			return w.Owner().FreezeAll(ctx, id)
		},
		func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error) {
			return w.Owner().UnfreezeAll(ctx, id)
		},
	},
	{
		"installation",
		func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error) {
			return w.Operator().Freeze(ctx, id)
		},
		func(ctx context.Context, w *world, id string) (*client.FreezeStatus, error) {
			return w.Operator().Unfreeze(ctx, id)
		},
	},
}

// held says what a holder has of a freeze of a wallet, past the gateway.
type held struct{ frozen, ended bool }

func (w *world) freezeIn(ctx context.Context, t *testing.T, holder, wallet, id string) held {
	t.Helper()
	var freezes []*typev1.Freeze
	if holder == "ledger" {
		resp, err := ledgerv1.NewLedgerServiceClient(w.crasher.conn(holder)).ListFreezes(ctx, &ledgerv1.ListFreezesRequest{Wallet: wallet})
		if err != nil {
			t.Fatal(err)
		}
		freezes = resp.GetFreezes()
	} else {
		resp, err := cosignerv1.NewCosignerServiceClient(w.crasher.conn(holder)).ListFreezes(ctx, &cosignerv1.ListFreezesRequest{Wallet: wallet})
		if err != nil {
			t.Fatal(err)
		}
		freezes = resp.GetFreezes()
	}
	for _, f := range freezes {
		if f.GetFreezeId() == id {
			return held{frozen: true, ended: len(f.GetUnfreezes()) > 0}
		}
	}
	return held{}
}

// acted says whether a crash at a point of a freeze, its end or a revocation came after a service had acted.
func acted(p point, service string) bool {
	switch {
	case p.all:
		return true
	case p.name == service:
		return p.after
	case len(p.beside) > 0:
		return !p.after
	default:
		return false
	}
}

func (w *world) wantFrozen(ctx context.Context, t *testing.T, id string) {
	t.Helper()
	_, err := w.payer.Pay(ctx, w.order("frozen-"+id, usd))
	if client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Fatalf("a payment of a frozen wallet: %v, want FROZEN", err)
	}
	if moved := wantNext(t, err); moved != movedNo {
		t.Errorf("a frozen wallet is said to have moved money: %v", err)
	}
}

func (k freezeKind) beginFreeze(ctx context.Context, t *testing.T, w *world, n int) round {
	id := idOf(n)
	available := w.balance(ctx, t, w.payer).Available
	var status *client.FreezeStatus
	return round{
		call: func(ctx context.Context) (err error) {
			status, err = k.freeze(ctx, w, id)
			return err
		},
		left: func(ctx context.Context, t *testing.T, p point, told error) {
			var e *client.Error
			if !errors.As(told, &e) || e.MoneyMoved != movedNo || e.Metadata["freeze_id"] != id {
				t.Errorf("the caller was told %v, %v; want money_moved NO and the freeze's id", told, e)
			}
			for _, service := range []string{"ledger", "cosigner"} {
				if got, want := w.freezeIn(ctx, t, service, w.payer.Wallet(), id), (held{frozen: acted(p, service)}); got != want {
					t.Errorf("%s has %+v, want %+v", service, got, want)
				}
			}
		},
		check: func(ctx context.Context, t *testing.T) {
			if !status.Frozen || status.FreezeID != id {
				t.Errorf("the freeze is %+v, want %s in force", status, id)
			}
			for _, service := range []string{"ledger", "cosigner"} {
				if got := w.freezeIn(ctx, t, service, w.payer.Wallet(), id); got != (held{frozen: true}) {
					t.Errorf("%s has %+v, want a freeze", service, got)
				}
			}
			w.wantFrozen(ctx, t, id)
			w.wantBalance(ctx, t, w.payer, available, 0)
			w.verifyJournal(ctx, t, w.payer)
			if _, err := k.unfreeze(ctx, w, id); err != nil {
				t.Fatal(err)
			}
			w.wantPays(ctx, t, w.payer, usd)
		},
	}
}

func (k freezeKind) beginUnfreeze(ctx context.Context, t *testing.T, w *world, n int) round {
	id := idOf(n)
	if _, err := k.freeze(ctx, w, id); err != nil {
		t.Fatal(err)
	}
	var status *client.FreezeStatus
	return round{
		call: func(ctx context.Context) (err error) {
			status, err = k.unfreeze(ctx, w, id)
			return err
		},
		left: func(ctx context.Context, t *testing.T, p point, told error) {
			if moved := wantNext(t, told); moved != movedNo {
				t.Errorf("the end of a freeze is said to have moved money: %v", told)
			}
			for _, service := range []string{"ledger", "cosigner"} {
				if got, want := w.freezeIn(ctx, t, service, w.payer.Wallet(), id), (held{frozen: true, ended: acted(p, service)}); got != want {
					t.Errorf("%s has %+v, want %+v", service, got, want)
				}
			}
		},
		check: func(ctx context.Context, t *testing.T) {
			if status.Frozen || status.FreezeID != id {
				t.Errorf("the freeze is %+v, want the end of %s in force", status, id)
			}
			for _, service := range []string{"ledger", "cosigner"} {
				if got := w.freezeIn(ctx, t, service, w.payer.Wallet(), id); got != (held{frozen: true, ended: true}) {
					t.Errorf("%s has %+v, want a freeze that has ended", service, got)
				}
			}
			w.wantPays(ctx, t, w.payer, usd)
			if _, err := k.freeze(ctx, w, id); client.ReasonOf(err) != typev1.Reason_REASON_FREEZE_ID_USED {
				t.Errorf("a used freeze id: %v, want FREEZE_ID_USED", err)
			}
			w.verifyJournal(ctx, t, w.payer)
		},
	}
}
