package client_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestOffer makes another offer only when asked, and never drops one that the guard rails name already. A wallet that has no
// guard rails yet but its claim is refreshed as well.
func TestOffer(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	a, shop := h.Agent("Payer"), h.Agent("Shop")
	offer := func(again bool) client.Offer {
		t.Helper()
		o, err := a.Offer(ctx, client.OfferOptions{Again: again})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := offer(false)
	if offer(false) != first {
		t.Error("the repeat offers another key")
	}
	second := offer(true)
	if second == first || offer(false) != second {
		t.Error("the second offer was not another one, or did not stay")
	}
	if _, err := h.Owner().Refresh(ctx, second); err != nil {
		t.Fatal(err)
	}
	third := offer(true) // The second is the wallet's key by now, and is kept for that.
	if third == second {
		t.Error("the key that the guard rails name was offered again")
	}
	if r, err := a.Reshare(ctx); err != nil || r.State != reshared || r.Epoch != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, err := h.Owner().Refresh(ctx, third); err != nil {
		t.Fatal(err)
	}
	if r, err := a.Reshare(ctx); err != nil || r.State != reshared || r.Epoch != 3 {
		t.Fatalf("got %+v, %v", r, err)
	}
	mustPay(t, a, client.Order{Recipient: shop.Wallet(), Units: 1}, denied) // No guard rails, no payment.
	h.GuardRails(a, client.StandardRules(shop.GroupKey()))
	h.Fund(a, usd)
	mustPay(t, a, client.Order{Recipient: shop.Wallet(), Units: 1000}, settled)

	// An order for a key that this home has dropped is nobody's here.
	if _, err := h.Owner().Refresh(ctx, first); err != nil {
		t.Fatal(err)
	}
	_, err := a.Reshare(ctx)
	wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
	if _, err := h.Owner().Refresh(ctx, third); err != nil { // It still has the one before, and the owner gives it back.
		t.Fatal(err)
	}
	if r, err := a.Reshare(ctx); err != nil || r.State != reshared || r.Epoch != 4 {
		t.Fatalf("got %+v, %v", r, err)
	}
	mustPay(t, a, client.Order{Recipient: shop.Wallet(), Units: 1000}, settled)
}

// TestOfferText: what was changed or lost in copying an offer is refused.
func TestOfferText(t *testing.T) {
	o := client.Offer{Wallet: "wallets/some-wallet", RequestKey: someKey()}
	text := o.String()
	for _, good := range []string{text, " " + text + "\n"} {
		if got, err := client.ParseOffer(good); err != nil || got != o {
			t.Errorf("%q: got %v, %v", good, got, err)
		}
	}
	for n := range text {
		if got, err := client.ParseOffer(text[:n] + text[n+1:]); err == nil {
			t.Fatalf("without its character %d it reads as %v", n, got)
		}
		other := byte('a')
		if text[n] == other {
			other = 'b'
		}
		if got, err := client.ParseOffer(text[:n] + string(other) + text[n+1:]); err == nil {
			t.Fatalf("with another character %d it reads as %v", n, got)
		}
	}
	for name, bad := range map[string]string{
		"empty": "", "a wallet": o.Wallet, "upper case": strings.ToUpper(text), "twice": text + text, "a claim code": "0000-0000-0000-0000-0000",
		"no key": client.Offer{Wallet: o.Wallet}.String(), "no wallet": client.Offer{RequestKey: o.RequestKey}.String(),
	} {
		_, err := client.ParseOffer(bad)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
	}
}

// someKey is some public key.
func someKey() [32]byte {
	return [32]byte{
		0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
		0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
	}
}

// TestOldShare gives a thief of a share even the request key that has taken the stolen one's place: the share signs nothing.
func TestOldShare(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	stolen := presentShare(t, w.home, w.payer.Wallet())
	w.refresh(t)

	loot := copyHome(t, w.home)
	path := filepath.Join(loot.Dir(), "keys", "agent-"+strings.TrimPrefix(w.payer.Wallet(), "wallets/"))
	var secret map[string]any
	if err := json.Unmarshal(readAll(t, path), &secret); err != nil {
		t.Fatal(err)
	}
	if secret["share"] == stolen {
		t.Fatal("the refresh has not changed the share")
	}
	secret["share"] = stolen
	b, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	thief, err := h.Client(loot).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	before := balance(t, w.shop)
	p, err := thief.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 1000})
	if err == nil {
		t.Fatalf("the old share has signed: %+v", p)
	}
	wantReasonAny(t, err)
	if got := balance(t, w.shop); got != before {
		t.Errorf("the shop got %d", got-before)
	}
	w.pays(t, w.payer)
}
