package client_test

import (
	"encoding/base32"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ownerWorld is an installation whose owner talks to it through a gateway that was broken into.
type ownerWorld struct {
	*halfkeytest.System
	p     *proxy
	owner *client.Owner
	c     *client.Client
}

func newOwnerWorld(t *testing.T) *ownerWorld {
	t.Helper()
	w := &ownerWorld{System: halfkeytest.Start(t)}
	w.p = newProxy(t, w.System)
	w.c = w.Client(w.p.home(w.System))
	var err error
	if w.owner, err = w.c.CreateOwner(testContext(t), w.BootstrapCode(), "You@Company.com"); err != nil {
		t.Fatal(err)
	}
	return w
}

// register registers an agent and returns it with its claim code.
func (w *ownerWorld) register(t *testing.T, name string) (*client.Agent, string) {
	t.Helper()
	c := w.Client(w.Home())
	r, err := c.Register(testContext(t), client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	return a, r.ClaimCode
}

// agent registers and claims one.
func (w *ownerWorld) agent(t *testing.T, name string) *client.Agent {
	t.Helper()
	a, code := w.register(t, name)
	if _, err := w.owner.Claim(testContext(t), code); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCreateOwner makes an owner by its code, once, whatever is lost on the way, with a second key kept elsewhere.
func TestCreateOwner(t *testing.T) {
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	ctx := testContext(t)
	home := p.home(h)
	c := h.Client(home)
	if _, err := c.Owner(); client.ReasonOf(err) != typev1.Reason_REASON_NOT_FOUND {
		t.Errorf("got %v", err)
	}
	for _, code := range []string{"", "short", strings.Repeat("z", 64), h.BootstrapCode() + "00"} {
		_, err := c.CreateOwner(ctx, code, "you@company.com")
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
	}
	wrong := strings.Repeat("07", 32)
	if _, err := c.CreateOwner(ctx, wrong, "you@company.com"); err == nil {
		t.Fatal("an owner was made by a code that nobody issued")
	}

	second := filepath.Join(t.TempDir(), "second")
	options := client.CreateOwnerOptions{SecondKeyFile: second}
	p.lose("CreateOwner", true)
	if _, err := c.CreateOwner(ctx, h.BootstrapCode(), "you@company.com", options); err == nil {
		t.Fatal("nothing was lost")
	}
	if _, err := c.Owner(); client.ReasonOf(err) != typev1.Reason_REASON_NOT_ACTIVE {
		t.Errorf("got %v", err)
	}
	// Another program goes on from the same home: with the owner's key that was sent, not another.
	c = h.Client(home)
	alter(p, "CreateOwner", func(o *typev1.Owner) { o.Name = "owners/somebody" })
	if _, err := c.CreateOwner(ctx, h.BootstrapCode(), "you@company.com", options); err == nil {
		t.Error("another owner was taken for this one")
	}
	p.honest()
	o, err := c.CreateOwner(ctx, h.BootstrapCode(), "you@company.com", options)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Owner()
	if err != nil || again.Name() != o.Name() {
		t.Errorf("got %v, %v", again, err)
	}
	text, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(second); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the second key has mode %v, %v", info.Mode(), err)
	}
	if seed, err := hex.DecodeString(strings.TrimSpace(string(text))); err != nil || len(seed) != 32 || len(o.Keys()) != 2 {
		t.Errorf("got %d keys, a second one of %d bytes, %v", len(o.Keys()), len(seed), err)
	}

	elsewhere := h.Client(h.Home())
	_, err = elsewhere.CreateOwner(ctx, h.BootstrapCode(), "thief@company.com")
	wantReason(t, err, typev1.Reason_REASON_CODE_USED, notMoved)
}

// TestCodeForms takes a code as hexadecimal or base 32, as people type it.
func TestCodeForms(t *testing.T) {
	h := halfkeytest.Start(t)
	seed, err := parseCode(h.BootstrapCode())
	if err != nil {
		t.Fatal(err)
	}
	b32 := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed))
	typed := " " + b32[:10] + "-" + b32[10:30] + " " + b32[30:] + "\n"
	if _, err := h.Client(h.Home()).CreateOwner(testContext(t), typed, "you@company.com"); err != nil {
		t.Error(err)
	}
}

func parseCode(code string) ([]byte, error) {
	if b, err := hex.DecodeString(code); err == nil {
		return b, nil
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(strings.ReplaceAll(code, "-", "")))
}

// TestHostileClaim shows an owner another wallet than its code is for, or a claim that was not sealed.
func TestHostileClaim(t *testing.T) {
	w := newOwnerWorld(t)
	ctx := testContext(t)
	_, code := w.register(t, "Agent")
	thief, thiefCode := w.register(t, "Thief")
	var thiefs *gatewayv1.GetClaimResponse
	alter(w.p, "GetClaim", func(r *gatewayv1.GetClaimResponse) { thiefs = proto.CloneOf(r) })
	if _, err := w.owner.LookUp(ctx, thiefCode); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func(r *gatewayv1.GetClaimResponse)
	}{
		{"the thief's wallet", func(r *gatewayv1.GetClaimResponse) { r.Wallet = thiefs.GetWallet() }},
		{"the thief's registration", func(r *gatewayv1.GetClaimResponse) { r.Wallet.Registration = thiefs.GetWallet().GetRegistration() }},
		{"another name", func(r *gatewayv1.GetClaimResponse) { r.Wallet.Name = thief.Wallet() }},
		{"a bit changed", func(r *gatewayv1.GetClaimResponse) { r.Wallet.Registration = flip(r.Wallet.Registration) }},
		{"nothing", func(r *gatewayv1.GetClaimResponse) { r.Wallet = nil }},
	} {
		alter(w.p, "GetClaim", row.change)
		if c, err := w.owner.Claim(ctx, code); err == nil {
			t.Errorf("%s: claimed %s", row.name, c.Wallet)
		}
		w.p.honest()
	}
	claimed := w.agent(t, "Claimed")
	record := (&hostileWorld{System: w.System}).record(t, claimed)
	for _, row := range []struct {
		name   string
		change func(x *typev1.Wallet)
	}{
		{"no record", func(x *typev1.Wallet) { x.Record = nil }},
		{"another wallet's record", func(x *typev1.Wallet) { x.Record = record }},
		{"a bit changed in the record", func(x *typev1.Wallet) { x.Record = flip(x.Record) }},
	} {
		alter(w.p, "ClaimWallet", row.change)
		if _, err := w.owner.Claim(ctx, code); err == nil {
			t.Errorf("%s: believed", row.name)
		}
		w.p.honest()
	}
	if _, err := w.owner.Claim(ctx, code); err != nil {
		t.Error(err)
	}
	alter(w.p, "ListWallets", func(r *gatewayv1.ListWalletsResponse) { r.Wallets[0].Claim = r.Wallets[1].GetClaim() })
	if _, err := w.owner.Wallets(ctx); err == nil {
		t.Error("a wallet with another's claim was listed")
	}
	w.p.honest()
	if wallets, err := w.owner.Wallets(ctx); err != nil || len(wallets) != 2 {
		t.Errorf("got %d, %v", len(wallets), err)
	}
}

// TestHostileGuardRails lets guard rails look in force that are not, and keeps an owner from its newest ones.
func TestHostileGuardRails(t *testing.T) {
	w := newOwnerWorld(t)
	ctx := testContext(t)
	a := w.agent(t, "Agent")
	rules := client.StandardRules()
	var earlier *gatewayv1.SetGuardRailsResponse
	alter(w.p, "SetGuardRails", func(r *gatewayv1.SetGuardRailsResponse) { earlier = proto.CloneOf(r) })
	first, err := w.owner.SetGuardRails(ctx, a.Wallet(), rules)
	if err != nil {
		t.Fatal(err)
	}
	for n, row := range []struct {
		name   string
		change func(r *gatewayv1.SetGuardRailsResponse)
	}{
		{"no acknowledgement", func(r *gatewayv1.SetGuardRailsResponse) { r.Acknowledgements = nil }},
		{"two of three", func(r *gatewayv1.SetGuardRailsResponse) { r.Acknowledgements = r.Acknowledgements[:2] }},
		{"one in another's place", func(r *gatewayv1.SetGuardRailsResponse) { r.Acknowledgements[2] = r.Acknowledgements[1] }},
		{"those of the version before", func(r *gatewayv1.SetGuardRailsResponse) { r.Acknowledgements = earlier.GetAcknowledgements() }},
		{"the co-signer's of the version before", func(r *gatewayv1.SetGuardRailsResponse) { r.Acknowledgements[2] = earlier.GetAcknowledgements()[2] }},
		{"a bit changed", func(r *gatewayv1.SetGuardRailsResponse) { r.Acknowledgements[0] = flip(r.Acknowledgements[0]) }},
	} {
		rules.Daily = int64(30+n) * usd
		alter(w.p, "SetGuardRails", row.change)
		got, err := w.owner.SetGuardRails(ctx, a.Wallet(), rules)
		w.p.honest()
		if err == nil {
			t.Errorf("%s: in force: %+v", row.name, got)
		}
		// The repeat carries the same version through, and says so.
		if got, err = w.owner.SetGuardRails(ctx, a.Wallet(), rules); err != nil || got.Number != first.Number+uint64(n)+1 {
			t.Errorf("%s: the repeat: %+v, %v", row.name, got, err)
		}
	}
	// What leaves before it arrives is no version at all.
	rules.Daily = 20 * usd
	w.p.lose("SetGuardRails", false)
	if _, err := w.owner.SetGuardRails(ctx, a.Wallet(), rules); err == nil {
		t.Error("nothing was lost")
	}
	if got, err := w.owner.SetGuardRails(ctx, a.Wallet(), rules); err != nil || got.Number != first.Number+7 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestHostileReviews shows an owner a payment that its agent did not ask for. What is shown is what is signed.
func TestHostileReviews(t *testing.T) {
	w := newOwnerWorld(t)
	ctx := testContext(t)
	payer, shop := w.agent(t, "Payer"), w.agent(t, "Shop")
	if _, err := w.owner.SetGuardRails(ctx, payer.Wallet(), client.StandardRules(shop.GroupKey())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Operator().Deposit(ctx, payer.Wallet(), "", 100*usd); err != nil {
		t.Fatal(err)
	}
	small := mustPay(t, payer, client.Order{ID: "small", Recipient: shop.Wallet(), Units: 6 * usd, Purpose: "small"}, pending)
	large := mustPay(t, payer, client.Order{ID: "large", Recipient: shop.Wallet(), Units: 60 * usd, Purpose: "large"}, pending)
	for _, row := range []struct {
		name   string
		change func(p *typev1.Payment)
	}{
		{"the small one's intent", func(p *typev1.Payment) { p.Intent = small.Proto.GetIntent() }},
		{"the small one's request", func(p *typev1.Payment) { p.Request = small.Proto.GetRequest() }},
		{"intent and request of the small one", func(p *typev1.Payment) {
			p.Intent, p.Request = small.Proto.GetIntent(), small.Proto.GetRequest()
		}},
		{"the small one", func(p *typev1.Payment) { proto.Reset(p); proto.Merge(p, small.Proto) }},
		{"no request", func(p *typev1.Payment) { p.Request = nil }},
		{"a request with a bit changed", func(p *typev1.Payment) { p.Request = flip(p.Request) }},
	} {
		alter(w.p, "GetPayment", row.change)
		if r, err := w.owner.Review(ctx, large.Name); err == nil {
			t.Errorf("%s: shown as %+v", row.name, r)
		}
		if _, err := w.owner.Approve(ctx, large.Name); err == nil {
			t.Errorf("%s: approved", row.name)
		}
		w.p.honest()
		alter(w.p, "ListReviews", func(r *gatewayv1.ListReviewsResponse) {
			for _, p := range r.GetPayments() {
				if p.GetName() == large.Name {
					row.change(p)
				}
			}
		})
		if reviews, err := w.owner.Reviews(ctx); err == nil && row.name != "the small one" {
			t.Errorf("%s: listed: %+v", row.name, reviews)
		}
		w.p.honest()
	}
	alter(w.p, "AnswerReview", func(p *typev1.Payment) { p.Review = nil })
	if _, err := w.owner.Approve(ctx, small.Name); err == nil {
		t.Error("an answer that nobody recorded was believed")
	}
	w.p.honest()
	// Recorded all the same: the first valid answer wins, and the repeat of it says so.
	if p, err := w.owner.Approve(ctx, small.Name); err != nil || p.State != ready {
		t.Errorf("got %+v, %v", p, err)
	}
	if p, err := payer.Resume(ctx, "small"); err != nil || p.State != settled {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestForeignOwner signs nothing for wallets that are not its own.
func TestForeignOwner(t *testing.T) {
	w := newOwnerWorld(t)
	ctx := testContext(t)
	a := w.agent(t, "Agent")
	elsewhere := newOwnerWorld(t)
	if _, err := elsewhere.owner.SetGuardRails(ctx, a.Wallet(), client.StandardRules()); err == nil {
		t.Error("another installation's owner set guard rails")
	}
	if _, err := elsewhere.owner.Freeze(ctx, a.Wallet(), ""); err == nil {
		t.Error("another installation's owner froze a wallet")
	}
	var e *client.Error
	if _, err := elsewhere.owner.Review(ctx, a.Wallet()+"/payments/p"); !errors.As(err, &e) {
		t.Errorf("got %v", err)
	}
}

// TestReplayedFreeze answers a freeze with the acknowledgements of an earlier freeze of the same id, which has ended since.
func TestReplayedFreeze(t *testing.T) {
	w := newOwnerWorld(t)
	ctx := testContext(t)
	a := w.agent(t, "Agent")
	var earlier *gatewayv1.FreezeResponse
	alter(w.p, "Freeze", func(r *gatewayv1.FreezeResponse) { earlier = proto.CloneOf(r) })
	if _, err := w.owner.Freeze(ctx, a.Wallet(), "mine"); err != nil {
		t.Fatal(err)
	}
	w.p.honest()
	if u, err := w.owner.Unfreeze(ctx, a.Wallet(), "mine"); err != nil || u.Frozen {
		t.Fatalf("got %+v, %v", u, err)
	}
	w.p.replay("Freeze", earlier)
	_, err := w.owner.Freeze(ctx, a.Wallet(), "mine")
	wantReason(t, err, typev1.Reason_REASON_FREEZE_ID_USED, notMoved)
	if _, err := w.owner.Freeze(ctx, a.Wallet(), ""); err == nil {
		t.Error("another freeze's acknowledgements were believed")
	}
	w.p.honest()
	if s, err := w.owner.Freeze(ctx, a.Wallet(), ""); err != nil || !s.Frozen {
		t.Errorf("got %+v, %v", s, err)
	}
}

// TestHostileRevoke lets a revocation look in force that is not, and rotations that were not taken look done.
func TestHostileRevoke(t *testing.T) {
	w := newOwnerWorld(t)
	ctx := testContext(t)
	a, b := w.agent(t, "Agent"), w.agent(t, "Other")
	var others, freezes []*typev1.Envelope
	alter(w.p, "Revoke", func(r *gatewayv1.RevokeResponse) { others = r.GetAcknowledgements() })
	if _, err := w.owner.Revoke(ctx, b.Wallet(), client.RevokeOptions{}); err != nil {
		t.Fatal(err)
	}
	alter(w.p, "Freeze", func(r *gatewayv1.FreezeResponse) { freezes = r.GetAcknowledgements() })
	if _, err := w.owner.Freeze(ctx, a.Wallet(), ""); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(acks []*typev1.Envelope) []*typev1.Envelope{
		"no acknowledgement":    func([]*typev1.Envelope) []*typev1.Envelope { return nil },
		"only the ledger's":     func(acks []*typev1.Envelope) []*typev1.Envelope { return acks[:1] },
		"the ledger's twice":    func(acks []*typev1.Envelope) []*typev1.Envelope { return []*typev1.Envelope{acks[0], acks[0]} },
		"the co-signer's twice": func(acks []*typev1.Envelope) []*typev1.Envelope { return []*typev1.Envelope{acks[1], acks[1]} },
		"another wallet's":      func([]*typev1.Envelope) []*typev1.Envelope { return others },
		"a freeze's":            func([]*typev1.Envelope) []*typev1.Envelope { return freezes },
		"a bit changed":         func(acks []*typev1.Envelope) []*typev1.Envelope { return []*typev1.Envelope{acks[0], flip(acks[1])} },
	} {
		alter(w.p, "Revoke", func(r *gatewayv1.RevokeResponse) { r.Acknowledgements = change(r.GetAcknowledgements()) })
		if s, err := w.owner.Revoke(ctx, a.Wallet(), client.RevokeOptions{}); err == nil {
			t.Errorf("%s: in force: %+v", name, s)
		} else if wantReasonAny(t, err).Metadata["freeze_id"] == "" {
			t.Errorf("%s: the error does not name the freeze", name)
		}
	}
	w.p.honest()
	if s, err := w.owner.Revoke(ctx, a.Wallet(), client.RevokeOptions{}); err != nil || !s.Frozen {
		t.Errorf("got %+v, %v", s, err)
	}

	alter(w.p, "SetOwnerKeys", func(o *typev1.Owner) { o.Keys = nil })
	if r, err := w.owner.RotateKeys(ctx, client.RotateOptions{Renew: true}); err == nil || r.Owner != nil {
		t.Errorf("done: %+v, %v", r, err)
	}
	w.p.honest()
	if r, err := w.owner.RotateKeys(ctx, client.RotateOptions{}); err != nil || r.Owner == nil {
		t.Errorf("got %+v, %v", r, err)
	}
}
