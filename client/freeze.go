package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// FreezeStatus is what ledger and co-signer have signed about a freeze or its end.
type FreezeStatus struct {
	// FreezeID is the freeze's id: what Unfreeze takes.
	FreezeID string
	// Frozen says that ledger and co-signer have both signed that the subject is stopped now. After an Unfreeze it says
	// that another freeze still stops it.
	Frozen bool
	// Unresolved are AUTHORIZED payments that may still land on a chain.
	Unresolved []string
	// Ledger and Cosigner are the verified acknowledgements.
	Ledger, Cosigner *typev1.Acknowledgement
}

// frozenThing is what a freeze stops.
type frozenThing struct {
	scope         typev1.Scope
	wallet, owner string
}

// name is the resource that a token about it names.
func (t frozenThing) name() string {
	switch t.scope {
	case typev1.Scope_SCOPE_WALLET:
		return t.wallet
	case typev1.Scope_SCOPE_OWNER:
		return t.owner
	default:
		return "installation"
	}
}

func walletThing(wallet string) frozenThing {
	return frozenThing{scope: typev1.Scope_SCOPE_WALLET, wallet: wallet}
}

func ownerThing(owner string) frozenThing {
	return frozenThing{scope: typev1.Scope_SCOPE_OWNER, owner: owner}
}

func installationThing() frozenThing { return frozenThing{scope: typev1.Scope_SCOPE_INSTALLATION} }

// freezeRandom is how many random bytes a drawn freeze id has: nobody has used it before.
const freezeRandom = 16

// unfrozenPrefix begins the pins of freeze ids that this home has ended.
const unfrozenPrefix = "unfrozen/"

// freeze stops something with ledger and co-signer. It returns only what both have signed; with any other outcome the caller
// repeats the call with the id that the error names.
func (c *Client) freeze(ctx context.Context, who *caller, thing frozenThing, id string) (*FreezeStatus, error) {
	const op = "freeze"
	if id == "" {
		b := make([]byte, freezeRandom)
		if _, err := rand.Read(b); err != nil {
			return nil, wrap(op, err, notMoved)
		}
		id = hex.EncodeToString(b)
	}
	if err := resource.ValidID(id); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	// An acknowledgement of the id's first use would verify again.
	switch _, err := c.payments.Pinned(unfrozenPrefix + thing.name() + "/" + id); {
	case err == nil:
		return nil, local(op, typev1.Reason_REASON_FREEZE_ID_USED, "this home has ended a freeze of this id before", "freeze_id", id)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, wrap(op, err, notMoved)
	}
	resp, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_Freeze_FullMethodName, who: who, about: thing.name()},
		&gatewayv1.FreezeRequest{Freeze: &typev1.Freeze{FreezeId: id, Scope: thing.scope, Wallet: thing.wallet, Owner: thing.owner}},
		gatewayv1.GatewayServiceClient.Freeze)
	if err != nil {
		return nil, withFreezeID(err, id)
	}
	s, err := checkFreeze(c.Installation(), typev1.Acknowledged_ACKNOWLEDGED_FREEZE, thing, id, resp.GetAcknowledgements())
	if err != nil {
		return nil, withFreezeID(distrust(op, notMoved, "the freeze is not in force: an acknowledgement does not verify", err), id)
	}
	if !s.Frozen {
		return nil, withFreezeID(distrust(op, notMoved, "the freeze is not in force: a service says that nothing is frozen", nil), id)
	}
	s.Unresolved = resp.GetUnresolvedPayments()
	return s, nil
}

func withFreezeID(err error, id string) error {
	var e *Error
	if errors.As(err, &e) {
		if e.Metadata == nil {
			e.Metadata = make(map[string]string)
		}
		e.Metadata["freeze_id"] = id
	}
	return err
}

// unfreeze ends one freeze by a statement, signed by an owner key or an operator key.
func (c *Client) unfreeze(ctx context.Context, key *privateKey, thing frozenThing, id string) (*FreezeStatus, error) {
	const op = "unfreeze"
	i := c.Installation()
	e, err := evidence.Sign(key, &typev1.Unfreeze{
		Installation: i.ID(), Wallet: thing.wallet, Scope: thing.scope, Owner: thing.owner, FreezeId: id,
	})
	if err != nil {
		return nil, given(op, err)
	}
	// Before the call: whatever becomes of it, this id is never again taken for a freeze in force.
	if err := c.payments.Pin(unfrozenPrefix+thing.name()+"/"+id, e.GetPayload()); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	resp, err := invoke(ctx, c, rpc{op: op}, &gatewayv1.UnfreezeRequest{Unfreeze: e}, gatewayv1.GatewayServiceClient.Unfreeze)
	if err != nil {
		return nil, err
	}
	s, err := checkFreeze(c.Installation(), typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE, thing, id, resp.GetAcknowledgements())
	if err != nil {
		return nil, distrust(op, notMoved, "the end of the freeze is not in force: an acknowledgement does not verify", err)
	}
	return s, nil
}

// checkFreeze verifies what ledger and co-signer, in this order, have signed about one freeze.
func checkFreeze(i *evidence.Installation, kind typev1.Acknowledged, thing frozenThing, id string, acks []*typev1.Envelope) (*FreezeStatus, error) {
	if len(acks) != 2 {
		return nil, refusal("acknowledgement", "", "is not there from both services")
	}
	ledger, err := checkFreezeBy(i, typev1.Purpose_PURPOSE_LEDGER, kind, thing, id, acks[0])
	if err != nil {
		return nil, err
	}
	cosigner, err := checkFreezeBy(i, typev1.Purpose_PURPOSE_COSIGNER, kind, thing, id, acks[1])
	if err != nil {
		return nil, err
	}
	s := &FreezeStatus{FreezeID: id, Ledger: ledger, Cosigner: cosigner}
	if kind != typev1.Acknowledged_ACKNOWLEDGED_UNFREEZE {
		s.Frozen = ledger.GetFrozen() && cosigner.GetFrozen() // In force only with both.
	} else {
		s.Frozen = ledger.GetFrozen() || cosigner.GetFrozen() // Either one stops.
	}
	return s, nil
}

func checkFreezeBy(i *evidence.Installation, by typev1.Purpose, kind typev1.Acknowledged, thing frozenThing, id string, e *typev1.Envelope) (*typev1.Acknowledgement, error) {
	a, err := evidence.CheckAcknowledgement(i, by, e)
	if err != nil {
		return nil, err
	}
	const piece = "acknowledgement"
	switch {
	case a.GetKind() != kind:
		return nil, refusal(piece, "kind", "is of another act")
	case a.GetScope() != thing.scope:
		return nil, refusal(piece, "scope", "is another scope")
	case a.GetWallet() != thing.wallet:
		return nil, refusal(piece, "wallet", "is another wallet")
	case a.GetOwner() != thing.owner:
		return nil, refusal(piece, "owner", "is another owner")
	case a.GetFreezeId() != id:
		return nil, refusal(piece, "freeze_id", "is another freeze")
	}
	return a, nil
}

// Freeze stops this agent's own wallet. An empty id draws one; what comes back is in force. Only the owner ends it.
func (a *Agent) Freeze(ctx context.Context, freezeID string) (*FreezeStatus, error) {
	return a.c.freeze(ctx, a.who, walletThing(a.wallet), freezeID)
}

// freezes lists the freezes that concern a wallet, newest first, and whether the ledger says that it is frozen.
func (c *Client) freezes(ctx context.Context, who *caller, wallet string) ([]*typev1.Freeze, bool, error) {
	resp, err := invoke(ctx, c, rpc{op: "list freezes", method: gatewayv1.GatewayService_ListFreezes_FullMethodName, who: who, about: wallet},
		&gatewayv1.ListFreezesRequest{Wallet: wallet}, gatewayv1.GatewayServiceClient.ListFreezes)
	return resp.GetFreezes(), resp.GetFrozen(), err
}

// Freezes lists the freezes that concern this wallet, newest first, and whether the ledger says that it is frozen.
func (a *Agent) Freezes(ctx context.Context) ([]*typev1.Freeze, bool, error) {
	return a.c.freezes(ctx, a.who, a.wallet)
}
