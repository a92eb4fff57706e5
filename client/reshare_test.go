package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	ordered         = typev1.ResharingState_RESHARING_STATE_ORDERED
	recoveryPending = typev1.ResharingState_RESHARING_STATE_RECOVERY_PENDING
	reshared        = typev1.ResharingState_RESHARING_STATE_DONE
)

// resharingWorld is an installation with a payer whose home the test can read, and a shop.
type resharingWorld struct {
	*halfkeytest.System
	payer *client.Agent
	home  *client.Home
	shop  *client.Agent
}

func newResharingWorld(t *testing.T, home *client.Home, h *halfkeytest.System) *resharingWorld {
	t.Helper()
	w := &resharingWorld{System: h, home: home, shop: h.Agent("Shop")}
	w.register(t, "Payer")
	return w
}

// newResharingWorldOf is another payer on the same installation.
func newResharingWorldOf(t *testing.T, h *halfkeytest.System, name string, shop *client.Agent) *resharingWorld {
	t.Helper()
	w := &resharingWorld{System: h, home: h.Home(), shop: shop}
	w.register(t, name)
	return w
}

func (w *resharingWorld) register(t *testing.T, name string) {
	t.Helper()
	ctx, h := testContext(t), w.System
	c := h.Client(w.home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	if w.payer, err = c.Agent(r.Wallet); err != nil {
		t.Fatal(err)
	}
	h.GuardRails(w.payer, client.StandardRules(w.shop.GroupKey()))
	h.Fund(w.payer, 500*usd)
}

// steal copies a home, as a thief does.
func steal(t *testing.T, h *halfkeytest.System, home *client.Home) *client.Agent {
	t.Helper()
	stolen := filepath.Join(t.TempDir(), "stolen")
	if err := os.CopyFS(stolen, os.DirFS(home.Dir())); err != nil {
		t.Fatal(err)
	}
	chmod(t, stolen)
	loot, err := client.OpenHome(stolen)
	if err != nil {
		t.Fatal(err)
	}
	thief, err := h.Client(loot).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	return thief
}

// refresh lets an agent offer a key, its owner order, and the agent carry it out.
func (w *resharingWorld) refresh(t *testing.T) *client.Resharing {
	t.Helper()
	ctx := testContext(t)
	offer, err := w.payer.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().Refresh(ctx, offer); err != nil {
		t.Fatal(err)
	}
	r, err := w.payer.Reshare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRefresh answers a leak: the thief's copy of the home gets no call through and makes no signature, the address stays, and
// the agent pays on.
func TestRefresh(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	address := w.payer.GroupKey()
	thief := steal(t, h, w.home)
	mustPay(t, thief, client.Order{ID: "theft", Recipient: w.shop.Wallet(), Units: usd}, settled)

	_, err := w.payer.Reshare(ctx)
	wantReason(t, err, typev1.Reason_REASON_NOT_FOUND, notMoved)
	offer, err := w.payer.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.payer.Offer(ctx); err != nil || again != offer {
		t.Errorf("offered %v, then %v, %v", offer, again, err)
	}
	if parsed, err := client.ParseOffer(offer.String()); err != nil || parsed != offer {
		t.Errorf("%s reads as %v, %v", offer, parsed, err)
	}
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled) // By the present key, still.
	before, err := h.Owner().GuardRails(ctx, w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.Owner().Refresh(ctx, offer)
	if err != nil || r.State != ordered || r.Epoch != 2 || r.Recovery {
		t.Fatalf("got %+v, %v", r, err)
	}
	again, err := h.Owner().Refresh(ctx, offer)
	if err != nil || string(again.Proto.GetOrder().GetPayload()) != string(r.Proto.GetOrder().GetPayload()) {
		t.Errorf("the repeat ordered %v, %v", again, err)
	}
	after, err := h.Owner().GuardRails(ctx, w.payer.Wallet())
	if err != nil || after.Number != before.Number+1 || string(after.Document.GetRequestKey()) != string(offer.RequestKey[:]) ||
		len(after.Document.GetLimits()) != len(before.Document.GetLimits()) {
		t.Errorf("got guard rails %+v, %v", after, err)
	}
	// The thief is out from here on, before the agent has done anything.
	_, err = thief.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 1})
	wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
	_, err = thief.Reshare(ctx)
	wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
	_, err = thief.Account(ctx)
	wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
	// The agent's own program follows by itself.
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled)

	r, err = w.payer.Reshare(ctx)
	if err != nil || r.State != reshared || r.Epoch != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if again, err := w.payer.Reshare(ctx); err != nil || again.Epoch != 2 {
		t.Errorf("the repeat: %+v, %v", again, err)
	}
	if again, err := h.Owner().Refresh(ctx, offer); err != nil || again.State != reshared || again.Epoch != 2 {
		t.Errorf("the owner's repeat after the end: %+v, %v", again, err)
	}
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled)
	fresh, err := h.Client(w.home).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	mustPay(t, fresh, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled)
	if fresh.GroupKey() != address {
		t.Error("the address has changed")
	}
	payments, err := fresh.Payments(ctx, false)
	if err != nil || len(payments) != 5 {
		t.Errorf("got %d payments, %v", len(payments), err)
	}
	j, err := fresh.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Verify(h.Installation()); err != nil {
		t.Error(err)
	}
	w.refresh(t)
	if r := w.refresh(t); r.Epoch != 4 {
		t.Errorf("got epoch %d, want 4", r.Epoch)
	}
	// A program that was started before and knows the old share follows too.
	mustPay(t, fresh, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled)
}

// TestWaitFollowsRequestKey: a wait whose stream is refused, because another program on the home has given the wallet a new request key
// meanwhile, goes on by that one. A key that nobody has replaced is refused as before.
func TestWaitFollowsRequestKey(t *testing.T) {
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	w := newResharingWorld(t, p.home(h), h)
	ctx := testContext(t)
	waits := mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 20 * usd}, pending)
	other, err := h.Client(w.home).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	behind := *w
	behind.payer = other
	asked := 0
	p.set(func(method string, _ proto.Message) error {
		if method != "WatchPayment" {
			return nil
		}
		if asked++; asked == 1 {
			// The token was made before, by the key that this replaces.
			behind.refresh(t)
		} else if _, err := h.Owner().Approve(ctx, waits.Name); err != nil {
			t.Error(err)
		}
		return nil
	}, nil)
	if paid, err := w.payer.Wait(ctx, waits.ID); err != nil || paid.State != settled || asked < 2 {
		t.Errorf("got %+v, %v after %d streams", paid, err, asked)
	}

	waits = mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 20 * usd}, pending)
	asked = 0
	p.set(func(method string, _ proto.Message) error {
		if method != "WatchPayment" {
			return nil
		}
		asked++
		return status.Error(codes.Unauthenticated, "no")
	}, nil)
	_, err = w.payer.Wait(ctx, waits.ID)
	if err == nil || client.ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED || asked != 1 {
		t.Errorf("got %v after %d streams", err, asked)
	}
}
