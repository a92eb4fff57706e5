package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Claim is a wallet by its claim code, verified.
type Claim struct {
	// Wallet is `wallets/{wallet}`, Handle the agent's handle without `@`.
	Wallet, Handle string
	// OwnerEmail is the address that the agent named.
	OwnerEmail string
	// Code is the claim code, recomputed here.
	Code string
	// GroupKey is the wallet's key, RequestKey the agent's.
	GroupKey, RequestKey [32]byte
	// State is the wallet's in the directory.
	State typev1.WalletState

	registration *typev1.Envelope
}

// LookUp fetches the wallet of a claim code and recomputes the code from what it got: handle, wallet, group key and request
// key are the ones that the agent printed the code for, whoever stands in between.
func (o *Owner) LookUp(ctx context.Context, code string) (*Claim, error) {
	const op = "look up claim code"
	want, err := evidence.NormalizeClaimCode(code)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	resp, err := invoke(ctx, o.c, rpc{op: op, method: gatewayv1.GatewayService_GetClaim_FullMethodName, who: o.who, about: o.name},
		&gatewayv1.GetClaimRequest{Owner: o.name, Code: want}, gatewayv1.GatewayServiceClient.GetClaim)
	if err != nil {
		return nil, err
	}
	i := o.c.Installation()
	registration := resp.GetWallet().GetRegistration()
	r, err := evidence.CheckRegistration(i, registration)
	if err != nil {
		return nil, distrust(op, notMoved, "the registration does not verify", err)
	}
	if evidence.ClaimCode(i.ID(), r) != want || resp.GetWallet().GetName() != r.GetWallet() {
		return nil, distrust(op, notMoved, "the registration is not the one that the code was printed for", nil)
	}
	return &Claim{
		Wallet: r.GetWallet(), Handle: r.GetHandle(), OwnerEmail: resp.GetOwnerEmail(), Code: want,
		GroupKey: [32]byte(r.GetGroupKey()), RequestKey: [32]byte(r.GetRequestKey()), State: resp.GetWallet().GetState(),
		registration: registration,
	}, nil
}

// Claim claims the wallet of a code: guard rails number 0 under this home's owner key, naming all owner keys and the
// registration's digest. Repeated, it carries a claim through that stopped anywhere. The wallet pays nothing until
// SetGuardRails.
func (o *Owner) Claim(ctx context.Context, code string) (*Claim, error) {
	claim, err := o.LookUp(ctx, code)
	if err != nil {
		return nil, err
	}
	return claim, o.ClaimWallet(ctx, claim)
}

// ClaimWallet is Claim for what LookUp has shown.
func (o *Owner) ClaimWallet(ctx context.Context, claim *Claim) error {
	const op = "claim wallet"
	i := o.c.Installation()
	e, err := evidence.Sign(o.key, &typev1.GuardRails{
		Installation:       i.ID(),
		Wallet:             claim.Wallet,
		Owner:              o.name,
		OwnerKeys:          cloneKeys(o.keys),
		RequestKey:         claim.RequestKey[:],
		RegistrationDigest: evidence.EnvelopeDigest(claim.registration).Bytes(),
	})
	if err != nil {
		return wrap(op, err, notMoved)
	}
	return o.c.seal(ctx, op, claim.registration, e)
}

// seal brings guard rails number 0 to all that hold the wallet, and verifies what came of it.
func (c *Client) seal(ctx context.Context, op string, registration, e *typev1.Envelope) error {
	if _, _, err := evidence.CheckClaim(c.Installation(), registration, e); err != nil {
		return wrap(op, err, notMoved)
	}
	w, err := invoke(ctx, c, rpc{op: op}, &gatewayv1.ClaimWalletRequest{GuardRails: e}, gatewayv1.GatewayServiceClient.ClaimWallet)
	if err != nil {
		return err
	}
	pinned, err := evidence.CheckWallet(c.Installation(), registration, e, w.GetRecord())
	if err != nil {
		return distrust(op, notMoved, "the wallet record does not verify: the wallet may not be claimed by this owner", err)
	}
	if err := c.pinRecord(pinned.Record); err != nil {
		return err
	}
	// A repeat of an old claim must not set back what was verified since.
	head, err := c.pinnedHead(pinned.Name)
	if err != nil {
		return wrap(op, err, notMoved)
	}
	if head == nil {
		return wrap(op, c.pinHead(pinned.Claim), notMoved)
	}
	return nil
}

// OwnedWallet is one wallet of an owner, verified.
type OwnedWallet struct {
	// Wallet is `wallets/{wallet}`, Handle the agent's handle without `@`, DisplayName what its author called it.
	Wallet, Handle, DisplayName string
	// GroupKey is its address.
	GroupKey [32]byte
	// State is the directory's.
	State typev1.WalletState
	// TokenKey is the public half of the enrolment token that claimed it, zero if its owner did.
	TokenKey [32]byte
}

// Wallets lists this owner's wallets, each verified to be claimed under one of this owner's keys, or by a token whose terms one
// of them signed. What a stranger claimed in this owner's name is left out.
func (o *Owner) Wallets(ctx context.Context) ([]*OwnedWallet, error) {
	const op = "list wallets"
	var out []*OwnedWallet
	token := ""
	for range pagesMax {
		resp, err := invoke(ctx, o.c, rpc{op: op, method: gatewayv1.GatewayService_ListWallets_FullMethodName, who: o.who, about: o.name},
			&gatewayv1.ListWalletsRequest{Owner: o.name, PageSize: pageSize, PageToken: token}, gatewayv1.GatewayServiceClient.ListWallets)
		if err != nil {
			return nil, err
		}
		for _, w := range resp.GetWallets() {
			pinned, err := evidence.CheckWallet(o.c.Installation(), w.GetRegistration(), w.GetClaim(), w.GetRecord())
			if err != nil {
				return nil, distrust(op, notMoved, "a wallet's documents do not verify", err)
			}
			if pinned.Claim.Document.GetOwner() != o.name || !evidence.ClaimedUnder(pinned.Claim, o.everyKey()...) {
				// Whoever claims chooses the owner's name and keys, so a stranger can put a wallet under this name. It is not
				// this owner's, and must not keep the others from being seen.
				continue
			}
			if err := o.c.pinRecord(pinned.Record); err != nil {
				return nil, err
			}
			owned := &OwnedWallet{
				Wallet: pinned.Name, Handle: pinned.Handle, DisplayName: w.GetDisplayName(), GroupKey: pinned.GroupKey, State: w.GetState(),
			}
			terms, err := evidence.EnrolmentOf(pinned.Claim)
			if err != nil {
				return nil, wrap(op, err, notMoved)
			}
			copy(owned.TokenKey[:], terms.GetTokenKey())
			out = append(out, owned)
		}
		if token = resp.GetNextPageToken(); token == "" {
			return out, nil
		}
	}
	return nil, tooLong(op)
}

// SetGuardRails puts rules in force: the next version, naming the one that it replaces. What comes back is in force with
// policy, ledger and co-signer, each having signed so. Repeated with the same rules after a failure, it carries the same
// version through.
func (o *Owner) SetGuardRails(ctx context.Context, wallet string, r Rules) (*InForce, error) {
	head, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	doc, err := r.document(o.c.Installation(), head)
	if err != nil {
		return nil, err
	}
	if sameRules(doc, head.Document) {
		return o.deliver(ctx, head.Envelope, head)
	}
	return o.setDocument(ctx, head, doc)
}

// SetDocument is SetGuardRails for a document of the caller's own. Installation, wallet, number, what it replaces and owner
// are filled in; owner keys and request key are the head's where it names none.
func (o *Owner) SetDocument(ctx context.Context, doc *typev1.GuardRails) (*InForce, error) {
	head, err := o.c.head(ctx, o.who, doc.GetWallet())
	if err != nil {
		return nil, err
	}
	next := nextDocument(head)
	if len(doc.GetOwnerKeys()) > 0 {
		next.OwnerKeys = cloneKeys(doc.GetOwnerKeys())
	}
	if len(doc.GetRequestKey()) > 0 {
		next.RequestKey = bytes.Clone(doc.GetRequestKey())
	}
	next.TimeZone, next.Assets, next.Rails = doc.GetTimeZone(), slices.Clone(doc.GetAssets()), slices.Clone(doc.GetRails())
	next.Limits, next.Recipients, next.X402 = doc.GetLimits(), doc.GetRecipients(), doc.GetX402()
	if sameRules(next, head.Document) {
		return o.deliver(ctx, head.Envelope, head)
	}
	return o.setDocument(ctx, head, next)
}

func (o *Owner) setDocument(ctx context.Context, head *evidence.Head, doc *typev1.GuardRails) (*InForce, error) {
	const op = "set guard rails"
	if err := o.signs(head); err != nil {
		return nil, err
	}
	e, err := evidence.Sign(o.key, doc)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	// What every holder will check is checked here first, so that a refusal names the field before anything has changed.
	next, err := evidence.Accept(o.c.Installation(), head, e)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return o.deliver(ctx, e, next)
}

// deliver brings a signed document to its holders and verifies that each has it as its head.
func (o *Owner) deliver(ctx context.Context, e *typev1.Envelope, head *evidence.Head) (*InForce, error) {
	const op = "set guard rails"
	resp, err := invoke(ctx, o.c, rpc{op: op}, &gatewayv1.SetGuardRailsRequest{GuardRails: e}, gatewayv1.GatewayServiceClient.SetGuardRails)
	if err != nil {
		return nil, err
	}
	if err := checkGuardRails(o.c.Installation(), head, resp.GetAcknowledgements()); err != nil {
		return nil, distrust(op, notMoved, "the guard rails are not in force: an acknowledgement does not verify", err)
	}
	if err := o.c.pinHead(head); err != nil {
		return nil, wrap(op, fmt.Errorf("the guard rails are in force, and this home could not note it: %w", err), notMoved)
	}
	return inForce(head), nil
}

// checkGuardRails verifies that policy, ledger and co-signer, in this order, have signed that a document is their head.
func checkGuardRails(i *evidence.Installation, head *evidence.Head, acks []*typev1.Envelope) error {
	const piece = "acknowledgement"
	holders := []typev1.Purpose{typev1.Purpose_PURPOSE_POLICY, typev1.Purpose_PURPOSE_LEDGER, typev1.Purpose_PURPOSE_COSIGNER}
	if len(acks) != len(holders) {
		return refusal(piece, "", "is not there from every holder")
	}
	for n, holder := range holders {
		a, err := evidence.CheckAcknowledgement(i, holder, acks[n])
		if err != nil {
			return err
		}
		switch {
		case a.GetKind() != typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS:
			return refusal(piece, "kind", "is of another act")
		case a.GetWallet() != head.Document.GetWallet():
			return refusal(piece, "wallet", "is another wallet")
		case a.GetGuardRailsNumber() != head.Document.GetNumber():
			return refusal(piece, "guard_rails_number", "is another version")
		case !head.Digest.Is(a.GetGuardRailsDigest()):
			return refusal(piece, "guard_rails_digest", "is another document")
		}
	}
	return nil
}

// GuardRails returns a wallet's guard rails, verified from its claim on.
func (o *Owner) GuardRails(ctx context.Context, wallet string) (*InForce, error) {
	h, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	return inForce(h), nil
}
