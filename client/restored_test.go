package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const mismatch = typev1.Reason_REASON_EVIDENCE_MISMATCH

// copyTree puts a copy of a directory in the place of another.
func copyTree(t *testing.T, to, from string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	}); err != nil {
		t.Fatal(err)
	}
}

func numbers(versions []*client.InForce) (out []uint64) {
	for _, v := range versions {
		out = append(out, v.Number)
	}
	return out
}

// All stores are put back to before two versions of a wallet's guard rails. The owner's home, which has seen the last one, and a home of
// the agent that has seen the one before trust what they are shown no longer, until the owner replaces what was put back and what it
// has seen by one version.
func TestGuardRailsAfterRestore(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	shop, owner := h.Agent("Shop"), h.Owner()
	home := h.Home()
	c := h.Client(home)
	registered, err := c.Register(ctx, client.RegisterOptions{Name: "Payer", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Claim(ctx, registered.ClaimCode); err != nil {
		t.Fatal(err)
	}
	payer, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	wallet := payer.Wallet()
	wide, narrow := client.StandardRules(shop.GroupKey()), client.StandardRules(shop.GroupKey())
	narrow.AutoApprove = 1 * usd
	if _, err := owner.SetGuardRails(ctx, wallet, wide); err != nil {
		t.Fatal(err)
	}
	h.Fund(payer, 10*usd)
	if r, err := owner.Restored(ctx, wallet); err != nil || r != nil {
		t.Fatalf("before anything was restored: %v, %v, want nothing", r, err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	h.Kill()
	copyTree(t, copied, h.Dir())
	h.Restart()

	two := narrow
	two.Daily = 7 * usd
	if _, err := owner.SetGuardRails(ctx, wallet, two); err != nil {
		t.Fatal(err)
	}
	if v, err := payer.GuardRails(ctx); err != nil || v.Number != 2 {
		t.Fatalf("the agent sees %v, %v, want number 2", v, err)
	}
	// Number 3 names a second owner key, which a restore must not take away.
	second, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := owner.GuardRails(ctx, wallet)
	if err != nil {
		t.Fatal(err)
	}
	three := v.Document
	three.OwnerKeys = append(three.OwnerKeys, second)
	slices.SortFunc(three.OwnerKeys, bytes.Compare)
	if _, err := owner.SetDocument(ctx, three); err != nil {
		t.Fatal(err)
	}

	h.Kill()
	copyTree(t, h.Dir(), copied)
	h.Restart()
	_, err = owner.GuardRails(ctx, wallet)
	wantReason(t, err, mismatch, notMoved)
	_, err = owner.SetGuardRails(ctx, wallet, narrow)
	wantReason(t, err, mismatch, notMoved)
	_, err = payer.GuardRails(ctx)
	wantReason(t, err, mismatch, notMoved)

	r, err := owner.Restored(ctx, wallet)
	if err != nil || r == nil || r.Seen.Number != 3 || r.Held.Number != 1 || r.Number() != 4 {
		t.Fatalf("restored %+v, %v, want 3 seen, 1 held, 4 next", r, err)
	}
	after, err := owner.SetDocumentAfterRestore(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(r.Seen.Document)
	want.Number, want.Replaces = 4, after.Document.GetReplaces()
	if after.Number != 4 || !proto.Equal(after.Document, want) {
		t.Errorf("in force is %v, want the rules and keys that the home has seen, as number 4", after.Document)
	}
	for who, read := range map[string]func() (*client.InForce, error){
		"owner": func() (*client.InForce, error) { return owner.GuardRails(ctx, wallet) },
		"agent": func() (*client.InForce, error) { return payer.GuardRails(ctx) },
	} {
		if v, err := read(); err != nil || v.Digest != after.Digest {
			t.Errorf("the %s sees %v, %v, want number 4", who, v, err)
		}
	}
	if all, err := owner.Versions(ctx, wallet); err != nil || !cmp.Equal(numbers(all), []uint64{0, 1, 4}) {
		t.Errorf("versions %v, %v, want 0, 1 and 4", numbers(all), err)
	}
	if again, err := owner.Restored(ctx, wallet); err != nil || again != nil {
		t.Errorf("after it was replaced: %v, %v, want nothing", again, err)
	}
	// Two dollars wait for a person by what was seen, and by what was put back they went.
	if p, err := payer.Pay(ctx, client.Order{ID: "after", Recipient: shop.Wallet(), Units: 2 * usd}); err != nil || p.State != pending {
		t.Errorf("2 USD: %v, %v, want a person's decision", p, err)
	}
	if p, err := payer.Pay(ctx, client.Order{ID: "small", Recipient: shop.Wallet(), Units: 1 * usd}); err != nil || p.State != settled {
		t.Errorf("1 USD: %v, %v, want it settled", p, err)
	}
	// The document was signed over what was held then. Told to do it again with other rules, it takes nobody's place.
	_, err = owner.SetDocumentAfterRestore(ctx, r, &typev1.GuardRails{
		Assets: after.Document.GetAssets(), Rails: after.Document.GetRails(), Limits: after.Document.GetLimits()[1:], Recipients: after.Document.GetRecipients(),
	})
	if client.ReasonOf(err) == typev1.Reason_REASON_UNSPECIFIED {
		t.Errorf("another number 4: %v, want it refused", err)
	}
}

// After the restore a home of the owner that had not seen the newest version has set another one. Nobody who has seen the newest follows
// it, until the home that has seen it replaces both.
func TestAfterRestoreAnotherHomeWasFirst(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	payer, shop, owner := h.Agent("Payer"), h.Agent("Shop"), h.Owner()
	set := func(o *client.Owner, autoApprove int64) (*client.InForce, error) {
		rules := client.StandardRules(shop.GroupKey())
		rules.AutoApprove = autoApprove * usd
		return o.SetGuardRails(ctx, payer.Wallet(), rules)
	}
	if _, err := set(owner, 5); err != nil {
		t.Fatal(err)
	}
	copied, earlier := filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "home")
	h.Kill()
	copyTree(t, copied, h.Dir())
	copyTree(t, earlier, h.OwnerHome().Dir())
	h.Restart()
	seen, err := set(owner, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := payer.GuardRails(ctx); err != nil {
		t.Fatal(err)
	}
	h.Kill()
	copyTree(t, h.Dir(), copied)
	h.Restart()
	home, err := client.OpenHome(earlier)
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.Client(home).Owner()
	if err != nil {
		t.Fatal(err)
	}
	fork, err := set(other, 3)
	if err != nil || fork.Number != seen.Number {
		t.Fatalf("the other home sets %v, %v, want number %d", fork, err, seen.Number)
	}
	_, err = owner.GuardRails(ctx, payer.Wallet())
	wantReason(t, err, mismatch, notMoved)
	_, err = payer.GuardRails(ctx)
	wantReason(t, err, mismatch, notMoved)
	r, err := owner.Restored(ctx, payer.Wallet())
	if err != nil || r == nil || r.Seen.Digest != seen.Digest || r.Held.Digest != fork.Digest {
		t.Fatalf("restored %+v, %v, want what was seen and what the other home has set", r, err)
	}
	after, err := owner.SetDocumentAfterRestore(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for who, read := range map[string]func() (*client.InForce, error){
		"owner":         func() (*client.InForce, error) { return owner.GuardRails(ctx, payer.Wallet()) },
		"owner's other": func() (*client.InForce, error) { return other.GuardRails(ctx, payer.Wallet()) },
		"agent":         func() (*client.InForce, error) { return payer.GuardRails(ctx) },
	} {
		if v, err := read(); err != nil || v.Digest != after.Digest || v.Number != 3 {
			t.Errorf("the %s home sees %v, %v, want number 3", who, v, err)
		}
	}
}

// forgetful shows policy's first versions only, as policy would that was put back.
type forgetful struct {
	grpc.ClientConnInterface
	on *atomic.Bool
}

func (c forgetful) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if req, ok := args.(*policyv1.GetDocumentsRequest); ok && c.on.Load() && req.GetFromNumber() > 1 {
		req = proto.CloneOf(req)
		req.FromNumber = 1
		args = req
	}
	err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	if resp, ok := reply.(*policyv1.GetDocumentsResponse); ok && err == nil && c.on.Load() {
		resp.HeadNumber = 1
		resp.Documents.GuardRails = resp.GetDocuments().GetGuardRails()[:min(2, len(resp.GetDocuments().GetGuardRails()))]
	}
	return err
}

// A gateway that shows the guard rails of before, though nothing was restored, gets a version signed that everybody takes for what it is:
// the one after the newest.
func TestAfterRestoreThatNeverWas(t *testing.T) {
	var on atomic.Bool
	h := halfkeytest.Start(t, halfkeytest.WithWrap(func(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		if service == "policy" {
			return forgetful{conn, &on}
		}
		return conn
	}))
	ctx := testContext(t)
	payer, shop, owner := h.Agent("Payer"), h.Agent("Shop"), h.Owner()
	rules := client.StandardRules(shop.GroupKey())
	for n := range int64(3) {
		rules.AutoApprove = (5 - n) * usd
		if _, err := owner.SetGuardRails(ctx, payer.Wallet(), rules); err != nil {
			t.Fatal(err)
		}
	}
	on.Store(true)
	_, err := owner.GuardRails(ctx, payer.Wallet())
	wantReason(t, err, mismatch, notMoved)
	r, err := owner.Restored(ctx, payer.Wallet())
	if err != nil || r == nil || r.Seen.Number != 3 || r.Held.Number != 1 {
		t.Fatalf("restored %+v, %v, want 3 seen and 1 held", r, err)
	}
	if _, err := owner.SetDocumentAfterRestore(ctx, r, nil); err != nil {
		t.Fatal(err)
	}
	on.Store(false)
	if all, err := owner.Versions(ctx, payer.Wallet()); err != nil || !cmp.Equal(numbers(all), []uint64{0, 1, 2, 3, 4}) {
		t.Errorf("versions %v, %v, want 0 to 4", numbers(all), err)
	}
}
