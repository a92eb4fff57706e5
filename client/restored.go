package client

import (
	"bytes"
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Restored is what an owner's home and the holders have of a wallet's guard rails after all holders were put back to a copy of before:
// they hold a head that does not follow the one that this home has seen, and nobody is left who could lead them to it.
type Restored struct {
	// Seen are the guard rails that this home has verified as the newest, Held those that are in force with the holders.
	Seen, Held *InForce

	seen, held *evidence.Head
}

// Number is that of the guard rails which replace both.
func (r *Restored) Number() uint64 { return max(r.Seen.Number, r.Held.Number) + 1 }

// Restored compares the guard rails that this home has seen with those that are in force. Nil says that the holders have what this home
// has seen, or follow it, so that SetDocument is all that is needed.
//
// It is no proof that anything was restored: a gateway can show the guard rails of before at any time. What is made of it can be relied
// on all the same, because it names both: a holder that never lost what this home has seen follows from there.
func (o *Owner) Restored(ctx context.Context, wallet string) (*Restored, error) {
	const op = "compare guard rails"
	seen, err := o.c.pinnedHead(wallet)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	if seen == nil {
		return nil, nil
	}
	all, err := o.fromClaim(ctx, op, wallet)
	if err != nil {
		return nil, err
	}
	held := all[len(all)-1]
	// Holders that have the head of this home among their versions, or that are led on from it, have lost nothing.
	if slices.ContainsFunc(all, func(h *evidence.Head) bool { return follows(o.c.Installation(), seen, h) }) {
		return nil, nil
	}
	if held.Document.GetOwner() != seen.Document.GetOwner() {
		return nil, distrust(op, notMoved, "the guard rails in force are another owner's", nil)
	}
	return &Restored{Seen: inForce(seen), Held: inForce(held), seen: seen, held: held}, nil
}

// follows reports whether a verified version is the head, or was signed to come after it.
func follows(i *evidence.Installation, head, version *evidence.Head) bool {
	_, err := evidence.Accept(i, head, version.Envelope)
	return err == nil
}

// fromClaim are all versions that the holders have, each verified to follow from the one before, whatever this home has seen.
func (o *Owner) fromClaim(ctx context.Context, op, wallet string) ([]*evidence.Head, error) {
	var (
		all  []*evidence.Head
		head *evidence.Head
	)
	for range pagesMax {
		var from uint64
		if head != nil {
			from = head.Document.GetNumber()
		}
		resp, err := invoke(ctx, o.c, rpc{op: op, method: gatewayv1.GatewayService_GetGuardRails_FullMethodName, who: o.who, about: wallet},
			&gatewayv1.GetGuardRailsRequest{Wallet: wallet, FromNumber: from}, gatewayv1.GatewayServiceClient.GetGuardRails)
		if err != nil {
			return nil, err
		}
		next, err := followHead(o.c.Installation(), wallet, head, resp.GetDocuments(), func(h *evidence.Head) { all = append(all, h) })
		switch {
		case err != nil:
			return nil, distrust(op, notMoved, "the guard rails do not verify", err)
		case next.Document.GetNumber() == resp.GetHeadNumber():
			return all, nil
		case head != nil && next.Digest == head.Digest:
			return nil, distrust(op, notMoved, "the guard rails end before the version in force", nil)
		}
		head = next
	}
	return nil, tooLong(op)
}

// SetDocumentAfterRestore is SetDocument for holders that were all put back. The version that it signs replaces what is in force and what
// this home has seen, so that holders and every home that has seen the same come together in it. Owner keys and request key are those
// that this home has seen, for whom the owner has changed since the copy shall not come back by a restore. Nil for a document puts the
// rules in force again that this home has seen.
func (o *Owner) SetDocumentAfterRestore(ctx context.Context, r *Restored, doc *typev1.GuardRails) (*InForce, error) {
	const op = "set guard rails"
	// What it signs must be acceptable to who has the one and to who has the other.
	for _, h := range []*evidence.Head{r.held, r.seen} {
		if err := o.signs(h); err != nil {
			return nil, err
		}
	}
	next := nextDocument(r.seen)
	next.Number = r.Number()
	next.Replaces = replaced(r.seen, r.held)
	rules := doc
	if rules == nil {
		rules = proto.CloneOf(r.seen.Document)
	}
	next.TimeZone, next.Assets, next.Rails = rules.GetTimeZone(), slices.Clone(rules.GetAssets()), slices.Clone(rules.GetRails())
	next.Limits, next.Recipients, next.X402 = rules.GetLimits(), rules.GetRecipients(), rules.GetX402()
	e, err := evidence.Sign(o.key, next)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	// What holders and homes will check is checked here first.
	if _, err := evidence.Accept(o.c.Installation(), r.held, e); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	head, err := evidence.Accept(o.c.Installation(), r.seen, e)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return o.deliver(ctx, e, head)
}

// replaced are the digests that a document after a restore names: both heads, and what each of them replaced, for homes that have not
// seen the last one.
func replaced(seen, held *evidence.Head) [][]byte {
	all := [][]byte{seen.Digest.Bytes(), held.Digest.Bytes()}
	for _, before := range slices.Concat(seen.Document.GetReplaces(), held.Document.GetReplaces()) {
		if len(all) < guardrails.ReplacesMax && !slices.ContainsFunc(all, func(d []byte) bool { return bytes.Equal(d, before) }) {
			all = append(all, bytes.Clone(before))
		}
	}
	return all
}
