package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// InForce is a wallet's verified guard rails.
type InForce struct {
	// Wallet is `wallets/{wallet}`, Number the version's number.
	Wallet string
	Number uint64
	// Digest names the document.
	Digest [32]byte
	// Document is the rules.
	Document *typev1.GuardRails
}

func inForce(h *evidence.Head) *InForce {
	return &InForce{Wallet: h.Document.GetWallet(), Number: h.Document.GetNumber(), Digest: h.Digest, Document: proto.CloneOf(h.Document)}
}

// headPinPrefix begins the pins of the newest guard rails that this home has verified.
const headPinPrefix = "heads/"

// head returns a wallet's newest guard rails, verified version by version: from the claim on, or from the newest that this
// home had verified before. So a gateway cannot show an older document, nor one by another owner.
func (c *Client) head(ctx context.Context, who *caller, wallet string) (*evidence.Head, error) {
	const op = "get guard rails"
	head, err := c.pinnedHead(wallet)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	for range pagesMax {
		var from uint64
		if head != nil {
			from = head.Document.GetNumber()
		}
		resp, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_GetGuardRails_FullMethodName, who: who, about: wallet},
			&gatewayv1.GetGuardRailsRequest{Wallet: wallet, FromNumber: from}, gatewayv1.GatewayServiceClient.GetGuardRails)
		if err != nil {
			return nil, err
		}
		if from > resp.GetHeadNumber() {
			return nil, distrust(op, notMoved, "a newer version of the guard rails was seen before", refusal("guard-rails", "number",
				"is lower than the version that this home has seen; if the operator says that all stores were restored, "+
					"the owner sets them anew by `halfkey guardrails set --after-restore`"))
		}
		next, err := followHead(c.Installation(), wallet, head, resp.GetDocuments(), nil)
		if err != nil {
			return nil, distrust(op, notMoved, "the guard rails do not verify", err)
		}
		if head == nil || next.Digest != head.Digest {
			if err := c.pinHead(next); err != nil {
				return nil, wrap(op, err, notMoved)
			}
			head = next
		}
		switch {
		case head.Document.GetNumber() == resp.GetHeadNumber():
			return head, nil
		case head.Document.GetNumber() > resp.GetHeadNumber():
			return nil, distrust(op, notMoved, "the guard rails go on after the version in force", nil)
		}
	}
	return nil, tooLong(op)
}

// followHead goes from a verified head, nil before the claim, along a page of documents, and shows each further one to each if
// that is not nil.
func followHead(
	i *evidence.Installation, wallet string, head *evidence.Head, d *typev1.WalletDocuments, each func(*evidence.Head),
) (*evidence.Head, error) {
	versions := d.GetGuardRails()
	if len(versions) == 0 {
		return nil, refusal("guard-rails", "", "are not in the answer")
	}
	if head == nil {
		w, err := evidence.CheckWallet(i, d.GetRegistration(), versions[0], d.GetRecord())
		if err != nil {
			return nil, err
		}
		if w.Name != wallet {
			return nil, refusal("guard-rails", "wallet", "is another wallet")
		}
		head, versions = w.Claim, versions[1:]
		if each != nil {
			each(head)
		}
	} else {
		// First comes the head again, or what its owner signed to replace it, which need not be the next: after a restore the holders
		// never had what was seen, and may have had others, which the one that replaces both has ended.
		first := slices.IndexFunc(versions, func(e *typev1.Envelope) bool {
			_, err := evidence.Accept(i, head, e)
			return err == nil
		})
		if first < 0 {
			return nil, refusal("guard-rails", "number", "neither names nor replaces the document that was seen before")
		}
		versions = versions[first:]
	}
	for _, e := range versions {
		next, err := evidence.Accept(i, head, e)
		if err != nil {
			return nil, err
		}
		if each != nil && next.Digest != head.Digest {
			each(next)
		}
		head = next
	}
	return head, nil
}

func (c *Client) pinHead(h *evidence.Head) error {
	b, err := evidence.Marshal(h.Envelope)
	if err != nil {
		return err
	}
	return c.payments.Pin(headPinPrefix+h.Document.GetWallet(), b)
}

func (c *Client) pinnedHead(wallet string) (*evidence.Head, error) {
	if _, err := resource.ParseWallet(wallet); err != nil {
		return nil, err
	}
	b, err := c.payments.Pinned(headPinPrefix + wallet)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := new(typev1.Envelope)
	if err := evidence.Unmarshal(b, e); err != nil {
		return nil, err
	}
	h, err := evidence.NewHead(e)
	if err != nil {
		return nil, err
	}
	if h.Document.GetWallet() != wallet || h.Document.GetInstallation() != c.Installation().ID() {
		return nil, errors.New("halfkey: pinned guard rails are another wallet's")
	}
	return h, nil
}

// GuardRails returns the wallet's guard rails, verified from its claim on.
func (a *Agent) GuardRails(ctx context.Context) (*InForce, error) {
	h, err := a.c.head(ctx, a.who, a.wallet)
	if err != nil {
		return nil, err
	}
	return inForce(h), nil
}

// Versions returns every version of a wallet's guard rails from its claim on, each verified to follow from the one before, the
// last being the one in force.
func (o *Owner) Versions(ctx context.Context, wallet string) ([]*InForce, error) {
	const op = "list guard rails"
	newest, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	var (
		all  []*InForce
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
		next, err := followHead(o.c.Installation(), wallet, head, resp.GetDocuments(), func(h *evidence.Head) { all = append(all, inForce(h)) })
		if err != nil {
			return nil, distrust(op, notMoved, "the guard rails do not verify", err)
		}
		switch {
		case next.Document.GetNumber() >= newest.Document.GetNumber():
			if n := newest.Document.GetNumber(); next.Document.GetNumber() == n && next.Digest != newest.Digest {
				return nil, distrust(op, notMoved, "the guard rails end in another version than the one in force", nil)
			}
			return all, nil
		case head != nil && next.Digest == head.Digest:
			return nil, distrust(op, notMoved, "the guard rails end before the version in force", nil)
		}
		head = next
	}
	return nil, tooLong(op)
}

// Resolve returns the key of a recipient that is named as Order names one, verified by its wallet's record.
func (a *Agent) Resolve(ctx context.Context, recipient string) ([32]byte, error) {
	return a.c.resolve(ctx, a.who, recipient)
}

// Resolve returns the key of a recipient that is named as Order names one, verified by its wallet's record.
func (o *Owner) Resolve(ctx context.Context, recipient string) ([32]byte, error) {
	return o.c.resolve(ctx, o.who, recipient)
}

// Rules are guard rails in the terms that people set them in.
type Rules struct {
	// AutoApprove is the largest payment that needs no person; Daily the same for a day's sum. Units; 0 is no such rule.
	AutoApprove, Daily int64
	// DailyDeny is the largest sum of a day, and HardCap the largest payment, that anybody can approve. Units; 0 is no such
	// rule.
	DailyDeny, HardCap int64
	// Allow may be paid, Deny may not.
	Allow, Deny [][32]byte
	// Unknown is what a recipient in neither list means: LIGHT_YELLOW, or LIGHT_RED, which is the default.
	Unknown typev1.Light
	// TimeZone is the IANA name of the zone whose days count; empty is UTC.
	TimeZone string
	// Assets may be paid, each on its own rail; empty means book dollars. Amounts are in their unit of account.
	Assets []string
	// Limits are further limits.
	Limits []*typev1.Limit
	// X402 says for which HTTP requests may be paid; nil judges such payments like any other.
	X402 *typev1.X402Rules
}

// dollar is one book dollar in units.
const dollar = 1_000_000

// StandardRules are the standard guard rails: over 5 USD a person decides, as for what takes a day over 50 USD; over 100 USD
// nobody. Recipients that are not among these are refused.
func StandardRules(recipients ...[32]byte) Rules {
	return Rules{AutoApprove: 5 * dollar, Daily: 50 * dollar, HardCap: 100 * dollar, Allow: recipients}
}

// document writes rules as the document that follows head.
func (r Rules) document(i *evidence.Installation, head *evidence.Head) (*typev1.GuardRails, error) {
	doc := nextDocument(head)
	doc.TimeZone = r.TimeZone
	doc.Assets = slices.Clone(r.Assets)
	if len(doc.Assets) == 0 {
		doc.Assets = []string{i.BookUSD()}
	}
	slices.Sort(doc.Assets)
	for _, asset := range doc.Assets {
		if rail := guardrails.RailOf(asset); !slices.Contains(doc.Rails, rail) {
			doc.Rails = append(doc.Rails, rail)
		}
	}
	slices.Sort(doc.Rails)
	unit, _, ok := resource.UnitOf(doc.Assets[0], i.ID())
	if !ok {
		return nil, local("set guard rails", typev1.Reason_REASON_GUARD_RAILS_REFUSED, "an asset has no unit of account", "field", "assets")
	}
	unknownRecipient := r.Unknown
	if unknownRecipient == typev1.Light_LIGHT_UNSPECIFIED {
		unknownRecipient = typev1.Light_LIGHT_RED
	}
	doc.Recipients = &typev1.Recipients{Allow: sortedKeys(r.Allow), Deny: sortedKeys(r.Deny), Unknown: unknownRecipient}
	for _, l := range []struct {
		amount  int64
		window  typev1.Window
		crossed typev1.Light
	}{
		{r.AutoApprove, typev1.Window_WINDOW_PAYMENT, typev1.Light_LIGHT_YELLOW},
		{r.Daily, typev1.Window_WINDOW_DAY, typev1.Light_LIGHT_YELLOW},
		{r.DailyDeny, typev1.Window_WINDOW_DAY, typev1.Light_LIGHT_RED},
		{r.HardCap, typev1.Window_WINDOW_PAYMENT, typev1.Light_LIGHT_RED},
	} {
		if l.amount < 0 {
			return nil, local("set guard rails", typev1.Reason_REASON_GUARD_RAILS_REFUSED, "a limit is negative", "field", "limits")
		}
		if l.amount > 0 {
			doc.Limits = append(doc.Limits, &typev1.Limit{
				Unit: unit, Measure: typev1.Measure_MEASURE_UNITS, Window: l.window, Amount: resource.FormatUnits(l.amount), Crossed: l.crossed,
			})
		}
	}
	for _, l := range r.Limits {
		doc.Limits = append(doc.Limits, proto.CloneOf(l))
	}
	doc.X402 = proto.CloneOf(r.X402)
	return doc, nil
}

// nextDocument is an empty document that follows head, with its owner and keys.
func nextDocument(head *evidence.Head) *typev1.GuardRails {
	old := head.Document
	return &typev1.GuardRails{
		Installation: old.GetInstallation(),
		Wallet:       old.GetWallet(),
		Number:       old.GetNumber() + 1,
		Replaces:     [][]byte{head.Digest.Bytes()},
		Owner:        old.GetOwner(),
		OwnerKeys:    cloneKeys(old.GetOwnerKeys()),
		RequestKey:   bytes.Clone(old.GetRequestKey()),
	}
}

func cloneKeys(keys [][]byte) [][]byte {
	out := make([][]byte, 0, len(keys))
	for _, k := range keys {
		out = append(out, bytes.Clone(k))
	}
	return out
}

// sortedKeys is a set of keys as documents list it.
func sortedKeys(keys [][32]byte) [][]byte {
	out := make([][]byte, 0, len(keys))
	for _, k := range keys {
		out = append(out, bytes.Clone(k[:]))
	}
	slices.SortFunc(out, bytes.Compare)
	return slices.CompactFunc(out, bytes.Equal)
}

// sameRules reports whether two documents say the same but for their number and what they replace.
func sameRules(a, b *typev1.GuardRails) bool {
	x, y := proto.CloneOf(a), proto.CloneOf(b)
	x.Number, x.Replaces, y.Number, y.Replaces = 0, nil, 0, nil
	return proto.Equal(x, y)
}
