package client_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// named demands that a wallet's guard rails name exactly these owner keys.
func named(t *testing.T, o *client.Owner, wallet string, want [][]byte) {
	t.Helper()
	g, err := o.GuardRails(testContext(t), wallet)
	if err != nil {
		t.Fatalf("%s: %v", wallet, err)
	}
	if !slices.EqualFunc(g.Document.GetOwnerKeys(), want, slices.Equal) {
		t.Errorf("%s names %x, want %x", wallet, g.Document.GetOwnerKeys(), want)
	}
}

// A rotation reaches every wallet and the owner itself: the old key is good for nothing afterwards, and the new one for all.
func TestRotateKeys(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	shop, payer := h.Agent("Shop"), h.Agent("Payer")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 100*usd)
	old := h.Owner()
	second, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	r, err := old.RotateKeys(ctx, client.RotateOptions{Renew: true, Add: [][32]byte{[32]byte(second)}})
	if err != nil || r.Owner == nil || len(r.Wallets) != 2 || len(r.Keys) != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	now := r.Owner
	if now.Key() == old.Key() || !slices.ContainsFunc(r.Keys, func(k []byte) bool { return slices.Equal(k, second) }) {
		t.Errorf("keys %x, this home's %x", r.Keys, now.Key())
	}
	for _, w := range r.Wallets {
		if w.Err != nil || w.Foreign || w.Number == 0 {
			t.Errorf("%+v", w)
		}
		named(t, now, w.Wallet, r.Keys)
	}
	for name, call := range map[string]func() error{
		"wallets":     func() error { _, err := old.Wallets(ctx); return err },
		"account":     func() error { _, err := old.Account(ctx, payer.Wallet()); return err },
		"freeze all":  func() error { _, err := old.FreezeAll(ctx, ""); return err },
		"freeze":      func() error { _, err := old.Freeze(ctx, payer.Wallet(), ""); return err },
		"guard rails": func() error { _, err := old.SetGuardRails(ctx, payer.Wallet(), client.StandardRules()); return err },
		"revoke": func() error {
			_, err := old.Revoke(ctx, payer.Wallet(), client.RevokeOptions{Abandon: true})
			return err
		},
	} {
		if err := call(); client.ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
			t.Errorf("%s under the old key: %v", name, err)
		}
	}
	// A home opened anew has the new key.
	fresh, err := h.Client(h.OwnerHome()).Owner()
	if err != nil || fresh.Key() != now.Key() {
		t.Fatalf("got %v, %v", fresh, err)
	}
	s, err := fresh.Freeze(ctx, payer.Wallet(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Unfreeze(ctx, payer.Wallet(), s.FreezeID); client.ReasonOf(err) != typev1.Reason_REASON_BAD_STATEMENT {
		t.Errorf("an unfreeze under the old key: %v", err)
	}
	if _, err := fresh.Unfreeze(ctx, payer.Wallet(), s.FreezeID); err != nil {
		t.Error(err)
	}
	mustPay(t, payer, client.Order{Recipient: shop.Wallet(), Units: usd}, settled)

	// Without options there is nothing to do; a key that is removed is gone everywhere.
	again, err := fresh.RotateKeys(ctx, client.RotateOptions{})
	if err != nil || again.Owner == nil || again.Owner.Key() != now.Key() || !slices.EqualFunc(again.Keys, r.Keys, slices.Equal) {
		t.Errorf("got %+v, %v", again, err)
	}
	for name, o := range map[string]client.RotateOptions{
		"its own key removed":  {Remove: [][32]byte{now.Key()}},
		"a stranger's removed": {Remove: [][32]byte{[32]byte(second), shop.GroupKey()}},
		"no key":               {Add: [][32]byte{{}}},
		"added and removed":    {Add: [][32]byte{[32]byte(second)}, Remove: [][32]byte{[32]byte(second)}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fresh.RotateKeys(ctx, o)
			wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
		})
	}
	r, err = fresh.RotateKeys(ctx, client.RotateOptions{Remove: [][32]byte{[32]byte(second)}})
	if err != nil || len(r.Keys) != 1 || r.Owner.Key() != now.Key() {
		t.Fatalf("got %+v, %v", r, err)
	}
	for _, w := range r.Wallets {
		named(t, r.Owner, w.Wallet, r.Keys)
	}
	// What was claimed under keys that are gone is still this owner's, and a new agent is claimed under the present ones.
	c := h.Client(h.Home())
	registered, err := c.Register(ctx, client.RegisterOptions{Name: "Late", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Owner.Claim(ctx, registered.ClaimCode); err != nil {
		t.Fatal(err)
	}
	named(t, r.Owner, registered.Wallet, r.Keys)
	wallets, err := r.Owner.Wallets(ctx)
	if err != nil || len(wallets) != 3 {
		t.Errorf("%d wallets, %v", len(wallets), err)
	}
	j, err := payer.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Verify(h.Installation()); err != nil {
		t.Error(err)
	}
}

// A home whose word about the owner's keys is old removes a key that another home has added since.
func TestRotateKeysOfAnotherHome(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	payer := h.Agent("Payer")
	h.GuardRails(payer, client.StandardRules())
	old := h.Owner()
	copied := copyHome(t, h.OwnerHome())
	second, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.RotateKeys(ctx, client.RotateOptions{Add: [][32]byte{[32]byte(second)}}); err != nil {
		t.Fatal(err)
	}
	other, err := h.Client(copied).Owner()
	if err != nil {
		t.Fatal(err)
	}
	r, err := other.RotateKeys(ctx, client.RotateOptions{Remove: [][32]byte{[32]byte(second)}})
	if err != nil {
		t.Fatal(err)
	}
	named(t, r.Owner, payer.Wallet(), r.Keys)
	_, err = other.RotateKeys(ctx, client.RotateOptions{Remove: [][32]byte{[32]byte(second)}})
	wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
}

// A rotation that dies before or after any of its writes is ended by the next call, without options.
func TestCrashWhileRotating(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	agents := []*client.Agent{h.Agent("One"), h.Agent("Two")}
	h.Owner()
	home := h.OwnerHome()
	crashes(t,
		func(t *testing.T, _ int, store *crashingHome) (*client.Home, error) {
			o, err := openOn(t, home, store).Owner()
			if err != nil {
				t.Fatal(err)
			}
			_, err = o.RotateKeys(ctx, client.RotateOptions{Renew: true})
			return home, err
		},
		func(t *testing.T, _ int, home *client.Home) {
			o, err := h.Client(home).Owner()
			if err != nil {
				t.Fatal(err)
			}
			r, err := o.RotateKeys(ctx, client.RotateOptions{})
			if err != nil || r.Owner == nil || len(r.Wallets) != 2 || len(r.Keys) != 1 {
				t.Fatalf("got %+v, %v", r, err)
			}
			for _, a := range agents {
				named(t, r.Owner, a.Wallet(), r.Keys)
			}
			if key := r.Owner.Key(); !slices.Equal(r.Keys[0], key[:]) {
				t.Errorf("the keys are %x, this home's %x", r.Keys, key)
			}
			if o, err = h.Client(home).Owner(); err != nil || o.Key() != r.Owner.Key() {
				t.Errorf("the home has %v, %v", o, err)
			}
		})
}

// cut cuts the gateway's calls of methods that end in one of these names, until it is mended.
type cut struct {
	mu       sync.Mutex
	suffixes []string
	left     int // How many calls pass before.

	cosigner grpc.ClientConnInterface
}

// set cuts the calls of one method, and of others beside it; "" cuts none.
func (c *cut) set(suffix string, left int, beside ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suffixes, c.left = append([]string{suffix}, beside...), left
}

func (c *cut) wrap(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	if service == "cosigner" {
		c.cosigner = conn
	}
	return &cutConn{conn, c}
}

type cutConn struct {
	grpc.ClientConnInterface
	c *cut
}

func (c *cutConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.c.mu.Lock()
	is := slices.ContainsFunc(c.c.suffixes, func(s string) bool { return s != "" && strings.HasSuffix(method, s) })
	if is && c.c.left > 0 {
		c.c.left--
		is = false
	}
	c.c.mu.Unlock()
	if is {
		return status.Error(codes.DeadlineExceeded, "cut") // It did not answer; who called it does not call again by itself.
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// A rotation that does not reach every wallet says which lack the keys, and goes on from there.
func TestRotateKeysReports(t *testing.T) {
	t.Parallel()
	c := new(cut)
	h := halfkeytest.Start(t, halfkeytest.WithWrap(c.wrap))
	ctx := testContext(t)
	h.Agent("One")
	h.Agent("Two")
	owner := h.Owner()
	for _, tt := range []struct {
		suffix        string
		left, lacking int
	}{
		{"PolicyService/SetGuardRails", 1, 1},
		{"CosignerService/SetGuardRails", 0, 2},
		{"IdentityService/SetGuardRails", 1, 1},
		{"IdentityService/SetOwnerKeys", 0, 0},
	} {
		t.Run(tt.suffix, func(t *testing.T) {
			c.set(tt.suffix, tt.left)
			r, err := owner.RotateKeys(ctx, client.RotateOptions{Renew: true})
			if client.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE || r == nil || r.Owner != nil {
				t.Fatalf("got %+v, %v", r, err)
			}
			lacking := 0
			for _, w := range r.Wallets {
				if w.Err != nil {
					lacking++
				}
			}
			if lacking != tt.lacking || len(r.Wallets) != 2 {
				t.Errorf("%d of %d lack the keys, want %d", lacking, len(r.Wallets), tt.lacking)
			}
			c.set("", 0)
			_, err = owner.RotateKeys(ctx, client.RotateOptions{Remove: [][32]byte{{1}}})
			wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS, notMoved)
			done, err := owner.RotateKeys(ctx, client.RotateOptions{Renew: true})
			if err != nil || done.Owner == nil || !slices.EqualFunc(done.Keys, r.Keys, slices.Equal) {
				t.Fatalf("got %+v, %v", done, err)
			}
			for _, w := range done.Wallets {
				named(t, done.Owner, w.Wallet, done.Keys)
			}
			owner = done.Owner
		})
	}
}

// A revocation that reaches only some of its holders stops the agent all the same, is not said to be in force, and reaches the
// others: by the repeat, or by the gateway when it meets holders that differ.
func TestRevokeApart(t *testing.T) {
	t.Parallel()
	for _, repeat := range []bool{true, false} {
		for _, missed := range [][]string{
			{"LedgerService/Revoke"},
			{"CosignerService/Revoke"},
			{"IdentityService/Revoke"},
			{"LedgerService/Revoke", "IdentityService/Revoke"},
			{"CosignerService/Revoke", "IdentityService/Revoke"},
		} {
			name := strings.Join(missed, " and ") + ", met by the gateway"
			if repeat {
				name = strings.Join(missed, " and ") + ", repeated"
			}
			t.Run(name, func(t *testing.T) {
				c := new(cut)
				h := halfkeytest.Start(t, halfkeytest.WithWrap(c.wrap))
				w := newResharingWorld(t, h.Home(), h)
				ctx := testContext(t)
				c.set(missed[0], 0, missed[1:]...)
				_, err := h.Owner().Revoke(ctx, w.payer.Wallet(), client.RevokeOptions{Abandon: true})
				e := wantReason(t, err, typev1.Reason_REASON_UNAVAILABLE, notMoved)
				c.set("", 0)
				if repeat {
					s, err := h.Owner().Revoke(ctx, w.payer.Wallet(), client.RevokeOptions{Abandon: true})
					if err != nil || s.FreezeID != e.Metadata["freeze_id"] {
						t.Fatalf("the repeat: %+v, %v; want %s", s, err, e.Metadata["freeze_id"])
					}
				} else if _, err := w.payer.Pay(ctx, client.Order{ID: "late", Recipient: w.shop.Wallet(), Units: 1}); err == nil {
					t.Fatal("the agent paid")
				}
				w.outside(t, w.payer, revoked)
				freezes, frozen, err := h.Owner().Freezes(ctx, w.payer.Wallet())
				if err != nil || !frozen || len(freezes) != 1 || freezes[0].GetRevocation() == nil {
					t.Errorf("the ledger has %v, %v, %v", freezes, frozen, err)
				}
				held, err := cosignerv1.NewCosignerServiceClient(c.cosigner).ListFreezes(ctx, &cosignerv1.ListFreezesRequest{Wallet: w.payer.Wallet()})
				if err != nil || len(held.GetFreezes()) != 1 || held.GetFreezes()[0].GetRevocation() == nil {
					t.Errorf("the co-signer has %v, %v", held, err)
				}
			})
		}
	}
}

// A request key that was offered takes the old one's place; the share stays.
func TestRotateRequestKey(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	thief := steal(t, h, w.home)
	offer, err := w.payer.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in, err := h.Owner().RotateRequestKey(ctx, offer)
	if err != nil || !slices.Equal(in.Document.GetRequestKey(), offer.RequestKey[:]) {
		t.Fatalf("got %+v, %v", in, err)
	}
	if again, err := h.Owner().RotateRequestKey(ctx, offer); err != nil || again.Number != in.Number {
		t.Errorf("the repeat: %+v, %v", again, err)
	}
	w.outside(t, thief, typev1.Reason_REASON_UNAUTHENTICATED)
	w.pays(t, w.payer)
	_, err = h.Owner().RotateRequestKey(ctx, client.Offer{Wallet: w.payer.Wallet()})
	wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
}
