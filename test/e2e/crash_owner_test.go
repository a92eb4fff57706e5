package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var revocationSteps = slices.Concat([]step{stepCaller, stepDocuments}, atOnce(
	step{name: "identity", method: identityv1.IdentityService_Revoke_FullMethodName},
	step{name: "ledger", method: ledgerv1.LedgerService_Revoke_FullMethodName},
	step{name: "cosigner", method: cosignerv1.CosignerService_Revoke_FullMethodName}))

var revocationOperations = []operation{
	{name: "revocation", steps: revocationSteps, begin: beginRevocation},
	{name: "revocation, and a payment before the repeat", steps: revocationSteps, begin: beginRevocationThenPayment},
}

// TestCrashInRevocation crashes the revocation of an agent between those who hold it: once its owner repeats it, and once the
// agent comes before that.
func TestCrashInRevocation(t *testing.T) { runOperations(t, revocationOperations) }

// funded is what the wallet of an agent begins with that is then revoked.
const funded = 10 * usd

// revocation follows one agent of a world from before it is revoked.
type revocation struct {
	w       *world
	agent   *client.Agent
	has     int64            // What its wallet has, held or not.
	asked   *typev1.Envelope // A request of the agent's that was good.
	brought string           // The revocation's freeze id, by what its owner was told of a crash.
}

// revocationHolders are those who hold a revocation.
var revocationHolders = []string{"identity", "ledger", "cosigner"}

// holds says, past the gateway, whether a holder has the agent's revocation.
func (r *revocation) holds(ctx context.Context, t *testing.T, holder string) bool {
	t.Helper()
	conn := r.w.crasher.conn(holder)
	var freezes []*typev1.Freeze
	var err error
	switch holder {
	case "identity":
		_, err := identityv1.NewIdentityServiceClient(conn).Authenticate(ctx, &identityv1.AuthenticateRequest{
			Request: r.asked, Method: gatewayv1.GatewayService_CreatePayment_FullMethodName, Resource: r.agent.Wallet(),
		})
		if err != nil {
			wantFault(t, "the agent's request", err, typev1.Reason_REASON_REVOKED)
		}
		return err != nil
	case "ledger":
		var resp *ledgerv1.ListFreezesResponse
		resp, err = ledgerv1.NewLedgerServiceClient(conn).ListFreezes(ctx, &ledgerv1.ListFreezesRequest{Wallet: r.agent.Wallet()})
		freezes = resp.GetFreezes()
	case "cosigner":
		var resp *cosignerv1.ListFreezesResponse
		resp, err = cosignerv1.NewCosignerServiceClient(conn).ListFreezes(ctx, &cosignerv1.ListFreezesRequest{Wallet: r.agent.Wallet()})
		freezes = resp.GetFreezes()
	}
	if err != nil || len(freezes) > 1 || len(freezes) == 1 && freezes[0].GetRevocation() == nil {
		t.Fatalf("%s has %v, %v, want at most the one revocation", holder, freezes, err)
	}
	return len(freezes) == 1
}

// wantLeft demands that exactly those have the revocation whom a crash let act, and that its owner was told its id. It says whether
// anybody has it.
func (r *revocation) wantLeft(ctx context.Context, t *testing.T, p point, told error) (some bool) {
	t.Helper()
	var e *client.Error
	if !errors.As(told, &e) || e.MoneyMoved != movedNo {
		t.Fatalf("the caller was told %v, want money_moved NO", told)
	}
	for _, holder := range revocationHolders {
		want := acted(p, holder)
		some = some || want
		if got := r.holds(ctx, t, holder); got != want {
			t.Errorf("%s has the revocation %t, want %t", holder, got, want)
		}
	}
	if r.brought = e.Metadata["freeze_id"]; some && r.brought == "" {
		t.Errorf("the revocation acts, and its owner was not told its id: %v", told)
	}
	return some
}

// revoke makes an agent that pays, and readies its revocation.
func (w *world) revoke(ctx context.Context, t *testing.T, n int) (*revocation, round) {
	t.Helper()
	r := &revocation{w: w}
	r.agent, _ = w.agent(t, fmt.Sprint("Revoked ", n))
	w.GuardRails(r.agent, w.rules())
	w.Fund(r.agent, funded)
	w.wantPays(ctx, t, r.agent, usd)
	r.asked, r.has = w.crasher.lastRequest(), funded-usd
	var status *client.FreezeStatus
	return r, round{
		call: func(ctx context.Context) (err error) {
			status, err = w.Owner().Revoke(ctx, r.agent.Wallet(), client.RevokeOptions{Abandon: true})
			return err
		},
		left: func(ctx context.Context, t *testing.T, p point, told error) { r.wantLeft(ctx, t, p, told) },
		check: func(ctx context.Context, t *testing.T) {
			if !status.Frozen || r.brought != "" && status.FreezeID != r.brought {
				t.Errorf("the revocation is %+v, want %s in force", status, r.brought)
			}
			r.wantInForce(ctx, t)
		},
	}
}

func beginRevocation(ctx context.Context, t *testing.T, w *world, n int) round {
	_, begun := w.revoke(ctx, t, n)
	return begun
}

// beginRevocationThenPayment lets the agent meet the holders that a crash has left apart. One that has the revocation stops it,
// and the others then have it too: the owner's repeat brings nothing new.
func beginRevocationThenPayment(ctx context.Context, t *testing.T, w *world, n int) round {
	r, begun := w.revoke(ctx, t, n)
	begun.left = func(ctx context.Context, t *testing.T, p point, told error) {
		if !r.wantLeft(ctx, t, p, told) {
			w.wantPays(ctx, t, r.agent, usd)
			r.has -= usd
			return
		}
		paid, err := r.agent.Pay(ctx, w.order("apart", usd))
		if reason := client.ReasonOf(err); reason != typev1.Reason_REASON_REVOKED && reason != typev1.Reason_REASON_FROZEN {
			t.Errorf("a payment while holders differ: %v, %v, want REVOKED or FROZEN", paid, err)
		}
		r.wantInForce(ctx, t)
	}
	return begun
}

// wantInForce demands that every holder has the one revocation, that the agent gets no call through, and that its money is
// where it was.
func (r *revocation) wantInForce(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, holder := range revocationHolders {
		if !r.holds(ctx, t, holder) {
			t.Errorf("%s does not have the revocation", holder)
		}
	}
	_, err := r.agent.Pay(ctx, r.w.order("revoked", usd))
	if client.ReasonOf(err) != typev1.Reason_REASON_REVOKED {
		t.Errorf("a payment of a revoked agent: %v, want REVOKED", err)
	}
	account, err := r.w.Owner().Account(ctx, r.agent.Wallet())
	if err != nil || len(account.Balances) != 1 || account.Balances[0].Available+account.Balances[0].Held != r.has {
		t.Errorf("the revoked agent's wallet has %v, %v, want %d units", account, err, r.has)
	}
	journal, err := r.w.Owner().Journal(ctx, r.agent.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.Verify(r.w.Installation()); err != nil {
		t.Errorf("the revoked agent's journal: %v", err)
	}
}

// The steps of a rotation that change something: the guard rails of the owner's two wallets, one after the other, and then
// the keys that authenticate the owner.
var rotationOperations = []operation{{
	name: "rotation of owner keys", begin: beginRotation, partly: true,
	steps: slices.Concat(setGuardRailsSteps, setGuardRailsSteps, []step{stepOwnerKeys}),
}}

var stepOwnerKeys = step{name: "owner's keys", method: identityv1.IdentityService_SetOwnerKeys_FullMethodName}

// TestCrashInRotation crashes a change of an owner's keys at each holder of each of its wallets, and at the end. The repeat
// makes the same change: one new key, everywhere.
func TestCrashInRotation(t *testing.T) { runOperations(t, rotationOperations) }

// owner is the owner by the key that its home has now.
func (w *world) owner(t *testing.T) *client.Owner {
	t.Helper()
	o, err := w.Client(w.OwnerHome()).Owner()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// ownerKeys are the keys that authenticate the owner, by identity's own word past the gateway.
func (w *world) ownerKeys(ctx context.Context, t *testing.T) [][]byte {
	t.Helper()
	resp, err := identityv1.NewIdentityServiceClient(w.crasher.conn("identity")).GetOwner(ctx, &identityv1.GetOwnerRequest{Name: w.Owner().Name()})
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetOwner().GetKeys() == nil {
		m := new(typev1.OwnerRegistration)
		if err := evidence.Peek(resp.GetOwner().GetRegistration(), m); err != nil {
			t.Fatal(err)
		}
		return m.GetOwnerKeys()
	}
	m := new(typev1.OwnerKeys)
	if err := evidence.Peek(resp.GetOwner().GetKeys(), m); err != nil {
		t.Fatal(err)
	}
	return m.GetOwnerKeys()
}

func beginRotation(ctx context.Context, t *testing.T, w *world, _ int) round {
	old := w.owner(t)
	oldKey := old.Key()
	owned, err := old.Wallets(ctx) // In the order in which they are rotated.
	if err != nil || len(owned) != 2 {
		t.Fatalf("the owner has %v, %v, want the payer's and the shop's wallets", owned, err)
	}
	var before [][]byte
	for _, o := range owned {
		before = append(before, w.head(ctx, t, "policy", o.Wallet))
		w.wantAgreed(ctx, t, o.Wallet, before[len(before)-1])
	}
	var delivered [2][]byte
	var rotated *client.Rotation
	return round{
		call: func(ctx context.Context) (err error) {
			o := w.owner(t)
			if o.Key() != oldKey {
				return fmt.Errorf("the home has the key %x before the rotation has ended, want %x", o.Key(), oldKey)
			}
			rotated, err = o.RotateKeys(ctx, client.RotateOptions{Renew: true})
			return err
		},
		left: func(ctx context.Context, t *testing.T, p point, told error) {
			if moved := wantNext(t, told); moved != movedNo {
				t.Errorf("a rotation is said to have moved money: %v", told)
			}
			ended := p.method == stepOwnerKeys.method
			reached := slices.Index(holders, p.name)
			for i, o := range owned {
				for j, holder := range holders {
					has := w.head(ctx, t, holder, o.Wallet)
					want := ended || i < p.nth-1 || i == p.nth-1 && (j < reached || j == reached && p.after)
					if changed := !bytes.Equal(has, before[i]); changed != want {
						t.Errorf("%s has new keys of %s %t, want %t", holder, o.Handle, changed, want)
					} else if changed {
						delivered[i] = has
					}
				}
			}
			if changed, want := !slices.EqualFunc(w.ownerKeys(ctx, t), [][]byte{oldKey[:]}, bytes.Equal), ended && p.after; changed != want {
				t.Errorf("identity knows the owner by new keys %t, want %t", changed, want)
			}
			w.wantPays(ctx, t, w.payer, usd) // by whichever keys its guard rails name
		},
		check: func(ctx context.Context, t *testing.T) {
			now := w.owner(t)
			newKey := now.Key()
			if rotated.Owner == nil || rotated.Owner.Key() != newKey || newKey == oldKey || !slices.EqualFunc(rotated.Keys, [][]byte{newKey[:]}, bytes.Equal) {
				t.Fatalf("the rotation is %+v, the home's key %x; want one new key", rotated, newKey)
			}
			for i, o := range owned {
				g, err := now.GuardRails(ctx, o.Wallet)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.EqualFunc(g.Document.GetOwnerKeys(), rotated.Keys, bytes.Equal) {
					t.Errorf("%s names %x, want %x", o.Handle, g.Document.GetOwnerKeys(), rotated.Keys)
				}
				if delivered[i] != nil && !bytes.Equal(g.Digest[:], delivered[i]) {
					t.Errorf("%x of %s is in force, and %x had been delivered", g.Digest, o.Handle, delivered[i])
				}
				w.wantAgreed(ctx, t, o.Wallet, g.Digest[:])
			}
			if got := w.ownerKeys(ctx, t); !slices.EqualFunc(got, rotated.Keys, bytes.Equal) {
				t.Errorf("identity knows the owner by %x, want %x", got, rotated.Keys)
			}
			if _, err := old.Wallets(ctx); client.ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
				t.Errorf("the old key lists wallets: %v, want UNAUTHENTICATED", err)
			}
			w.wantPays(ctx, t, w.payer, usd)
			w.verifyJournal(ctx, t, w.payer)
		},
	}
}
