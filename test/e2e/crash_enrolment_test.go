package e2e_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/halfkey/halfkey/client"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var enrolmentOperations = []operation{
	{
		// The rounds of key generation have their points in a registration without a token.
		name: "registration by token", begin: beginRegistrationByToken, partly: true,
		steps: []step{
			{name: "directory", method: identityv1.IdentityService_CreateRegistration_FullMethodName},
			{name: "announce", method: identityv1.IdentityService_CompleteRegistration_FullMethodName},
			{name: "cosigner", method: cosignerv1.CosignerService_SealWallet_FullMethodName},
			{name: "policy", method: policyv1.PolicyService_OpenWallet_FullMethodName},
			{name: "ledger", method: ledgerv1.LedgerService_OpenAccount_FullMethodName},
			{name: "identity", method: identityv1.IdentityService_ActivateWallet_FullMethodName},
		},
	},
	{name: "owner by invitation", begin: beginInvitation, steps: firstOwnerSteps},
}

// TestCrashInEnrolment crashes an agent's registration by token up to the claim, and a further owner's by invitation: the repeat
// ends either, once, and the token and the invitation are then good for nothing more.
func TestCrashInEnrolment(t *testing.T) { runOperations(t, enrolmentOperations) }

func beginRegistrationByToken(ctx context.Context, t *testing.T, w *world, n int) round {
	c := w.Client(w.Home())
	options := client.RegisterOptions{Name: fmt.Sprint("Enrolled ", n), EnrolmentToken: w.Token()}
	var made *client.Registered
	return round{
		call: func(ctx context.Context) (err error) {
			made, err = c.Register(ctx, options)
			return err
		},
		check: func(ctx context.Context, t *testing.T) {
			if again, err := c.Register(ctx, options); err != nil || *again != *made || !made.Claimed {
				t.Errorf("another repeat gives %+v, %v, want %+v, claimed", again, err, made)
			}
			wallets, err := w.Owner().Wallets(ctx)
			if err != nil {
				t.Fatal(err)
			}
			mine := 0
			for _, o := range wallets {
				if o.Handle == made.Handle && o.Wallet == made.Wallet {
					mine++
				}
			}
			if mine != 1 {
				t.Errorf("the owner sees the wallet %d times", mine)
			}
			a, err := c.Agent(made.Wallet)
			if err != nil {
				t.Fatal(err)
			}
			w.wantWallet(ctx, t, a)
			_, err = w.Client(w.Home()).Register(ctx, client.RegisterOptions{Name: fmt.Sprint("Second ", n), EnrolmentToken: options.EnrolmentToken})
			if client.ReasonOf(err) != typev1.Reason_REASON_CODE_USED {
				t.Errorf("the token claimed another wallet: %v, want CODE_USED", err)
			}
		},
	}
}

func beginInvitation(ctx context.Context, t *testing.T, w *world, n int) round {
	invitation, err := w.Owner().Invite(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	code := string([]byte(invitation.Text()))
	c := w.Client(w.Home())
	email := fmt.Sprintf("owner-%d@company.com", n)
	var owner *client.Owner
	return round{
		call: func(ctx context.Context) (err error) {
			owner, err = c.CreateOwner(ctx, code, email)
			return err
		},
		check: func(ctx context.Context, t *testing.T) {
			if again, err := c.Owner(); err != nil || again.Name() != owner.Name() {
				t.Errorf("the home has another owner than was made: %v", err)
			}
			if wallets, err := owner.Wallets(ctx); err != nil || len(wallets) != 0 {
				t.Errorf("the new owner has %d wallets, %v", len(wallets), err)
			}
			if _, err := w.Client(w.Home()).CreateOwner(ctx, code, "other@company.com"); client.ReasonOf(err) != typev1.Reason_REASON_CODE_USED {
				t.Errorf("the invitation made another owner: %v, want CODE_USED", err)
			}
		},
	}
}
