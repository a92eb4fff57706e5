package client_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	codeUsed    = typev1.Reason_REASON_CODE_USED
	codeExpired = typev1.Reason_REASON_CODE_EXPIRED
	invalid     = typev1.Reason_REASON_INVALID_ARGUMENT
)

// newKey draws a key.
func newKey(t *testing.T) (ed25519.PrivateKey, []byte) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

// mint makes one token.
func mint(t *testing.T, o *client.Owner, options client.EnrolmentOptions) *client.EnrolmentToken {
	t.Helper()
	tokens, err := o.MintEnrolment(testContext(t), options)
	if err != nil {
		t.Fatal(err)
	}
	return tokens[0]
}

// owned is an owner's wallets by name.
func owned(t *testing.T, o *client.Owner) map[string]*client.OwnedWallet {
	t.Helper()
	list, err := o.Wallets(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]*client.OwnedWallet)
	for _, w := range list {
		out[w.Wallet] = w
	}
	return out
}

// TestEnrol registers an agent where tokens are demanded: it is claimed without its owner, who sees it, verified, gives it guard
// rails, and it pays.
func TestEnrol(t *testing.T) {
	h := halfkeytest.Start(t, halfkeytest.WithDemandEnrolment())
	ctx := testContext(t)
	owner := h.Owner()
	shop := h.Agent("Shop") // by a token too
	_, err := h.Client(h.Home()).Register(ctx, client.RegisterOptions{Name: "Stranger", OwnerEmail: halfkeytest.Email})
	wantReason(t, err, typev1.Reason_REASON_PERMISSION_DENIED, notMoved)

	token := mint(t, owner, client.EnrolmentOptions{Handle: "research"})
	home := h.Home()
	c := h.Client(home)
	options := client.RegisterOptions{Name: "Research Agent", EnrolmentToken: token.Text()}
	r, err := c.Register(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Claimed || r.Handle != "research" {
		t.Errorf("registered %+v", r)
	}
	a, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	if state, err := a.State(ctx); err != nil || state != typev1.WalletState_WALLET_STATE_ACTIVE {
		t.Errorf("state %v, %v", state, err)
	}
	if w := owned(t, owner)[r.Wallet]; w == nil || w.TokenKey != token.Key || w.GroupKey != r.GroupKey {
		t.Errorf("the owner sees %+v", w)
	}
	h.Fund(a, 10*usd)
	_, err = a.Pay(ctx, client.Order{Recipient: shop.Wallet(), Units: usd})
	wantReason(t, err, typev1.Reason_REASON_NO_GUARD_RAILS, notMoved)
	h.GuardRails(a, client.StandardRules(shop.GroupKey()))
	mustPay(t, a, client.Order{Recipient: shop.Wallet(), Units: usd}, settled)

	// Whoever registers again, with this token or any other, has the wallet that is there.
	for _, text := range []client.Secret{options.EnrolmentToken, mint(t, owner, client.EnrolmentOptions{Handle: "research"}).Text()} {
		options.EnrolmentToken = text
		if again, err := h.Client(home).Register(ctx, options); err != nil || *again != *r {
			t.Errorf("again: %+v, %v", again, err)
		}
	}
	if h.Restart(); owned(t, owner)[r.Wallet] == nil {
		t.Error("after a restart the wallet is gone")
	}
}

// TestTokenOnce: a token that has claimed a wallet claims no other, and the wallet that it was tried for waits for its owner.
func TestTokenOnce(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	text := h.Token()
	if _, err := h.Client(h.Home()).Register(ctx, client.RegisterOptions{Name: "First", EnrolmentToken: text}); err != nil {
		t.Fatal(err)
	}
	c := h.Client(h.Home())
	options := client.RegisterOptions{Name: "Second", EnrolmentToken: text}
	_, err := c.Register(ctx, options)
	wantReason(t, err, codeUsed, notMoved)
	if r, err := c.Register(ctx, client.RegisterOptions{Name: "Second", OwnerEmail: halfkeytest.Email}); err != nil || r.Claimed || r.ClaimCode == "" {
		t.Errorf("without a token: %+v, %v", r, err)
	}
	// Another token goes on from there.
	options.EnrolmentToken = h.Token()
	if r, err := c.Register(ctx, options); err != nil || !r.Claimed {
		t.Errorf("with a fresh token: %+v, %v", r, err)
	}
	// So does the owner, by the code, and then a token is not needed and not used up.
	code := client.RegisterOptions{Name: "Third", OwnerEmail: halfkeytest.Email}
	third := h.Client(h.Home())
	r, err := third.Register(ctx, code)
	if err != nil || r.Claimed {
		t.Fatalf("registered %+v, %v", r, err)
	}
	if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	code.EnrolmentToken = h.Token()
	if r, err := third.Register(ctx, code); err != nil || !r.Claimed {
		t.Errorf("claimed by its owner: %+v, %v", r, err)
	}
	code.Name = "Fourth"
	if r, err := h.Client(h.Home()).Register(ctx, code); err != nil || !r.Claimed {
		t.Errorf("by the token that was not needed: %+v, %v", r, err)
	}
	// Another owner's claim is no claim of the token's owner.
	invitation, err := h.Owner().Invite(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.Client(h.Home()).CreateOwner(ctx, string([]byte(invitation.Text())), "other@company.com")
	if err != nil {
		t.Fatal(err)
	}
	fifth := h.Client(h.Home())
	code = client.RegisterOptions{Name: "Fifth", OwnerEmail: halfkeytest.Email}
	if r, err = fifth.Register(ctx, code); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	code.EnrolmentToken = h.Token()
	_, err = fifth.Register(ctx, code)
	wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS, notMoved)
}

// TestTokenDeadline: past its deadline a token begins nothing and claims nothing, and what it claimed stays.
func TestTokenDeadline(t *testing.T) {
	clock := halfkeytest.NewClock(time.Now().Truncate(time.Second))
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	ctx := testContext(t)
	owner := h.Owner()
	token := mint(t, owner, client.EnrolmentOptions{TTL: time.Hour})
	if want := clock.Now().Add(time.Hour); !token.Expiry.Equal(want) {
		t.Errorf("it ends %v, want %v", token.Expiry, want)
	}
	p := newProxy(t, h)
	began := h.Client(p.home(h))
	p.lose("ClaimWallet", false)
	if _, err := began.Register(ctx, client.RegisterOptions{Name: "Began", EnrolmentToken: token.Text()}); err == nil {
		t.Fatal("nothing was lost")
	}
	clock.Advance(time.Hour + time.Millisecond)
	_, err := began.Register(ctx, client.RegisterOptions{Name: "Began", EnrolmentToken: token.Text()})
	wantReason(t, err, codeExpired, notMoved)
	_, err = h.Client(h.Home()).Register(ctx, client.RegisterOptions{Name: "Late", EnrolmentToken: token.Text()})
	wantReason(t, err, codeExpired, notMoved)
	// A day later the registration has ended; a fresh token makes the wallet anew.
	clock.Advance(24 * time.Hour)
	r, err := began.Register(ctx, client.RegisterOptions{Name: "Began", EnrolmentToken: h.Token()})
	if err != nil || !r.Claimed {
		t.Errorf("made anew: %+v, %v", r, err)
	}
	if w := owned(t, owner); len(w) != 1 || w[r.Wallet] == nil {
		t.Errorf("the owner sees %v", w)
	}
}

// TestMintEnrolment: what a token may be, how it is read, and that it does not print.
func TestMintEnrolment(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	owner := h.Owner()
	for name, bad := range map[string]client.EnrolmentOptions{
		"too long": {TTL: 30*24*time.Hour + 1}, "negative": {TTL: -time.Second}, "too short": {TTL: time.Millisecond},
		"too many": {Count: 101}, "fewer than none": {Count: -1}, "one handle for two": {Handle: "a", Count: 2}, "no handle": {Handle: "A!"},
	} {
		if _, err := owner.MintEnrolment(ctx, bad); client.ReasonOf(err) != invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	tokens, err := owner.MintEnrolment(ctx, client.EnrolmentOptions{Count: 100, TTL: 30 * 24 * time.Hour})
	if err != nil || len(tokens) != 100 || tokens[0].Key == tokens[99].Key {
		t.Fatalf("%d tokens, %v", len(tokens), err)
	}
	token := mint(t, owner, client.EnrolmentOptions{Handle: "research"})
	path := filepath.Join(t.TempDir(), "token")
	if err := token.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if token.WriteFile(path) == nil {
		t.Error("a file that was there was written over")
	}
	text, err := os.ReadFile(path)
	if info, statErr := os.Stat(path); err != nil || statErr != nil || info.Mode().Perm() != 0o600 || !bytes.Equal(text, token.Text()) {
		t.Errorf("the file has mode %v and other bytes than the token: %v, %v", info.Mode(), err, statErr)
	}
	var file map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	seed := file["seed"].(string)
	options := client.RegisterOptions{Name: "Research", EnrolmentToken: text}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %x", token, token, token, token, token), fmt.Sprintf("%v %+v %#v", options, options, options)} {
		if strings.Contains(shown, seed) || strings.Contains(shown, hex.EncodeToString(text[:40])) {
			t.Errorf("a token prints: %s", shown)
		}
	}
	if b, err := json.Marshal(options); err == nil {
		t.Errorf("a token marshals: %s", b)
	}

	edit := func(name string, value any) []byte {
		changed := make(map[string]any)
		for k, v := range file {
			changed[k] = v
		}
		changed[name] = value
		b, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var other map[string]any
	if err := json.Unmarshal(tokens[0].Text(), &other); err != nil {
		t.Fatal(err)
	}
	invitation, err := owner.Invite(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := halfkeytest.Start(t)
	for name, text := range map[string][]byte{
		"no JSON": []byte("x"), "cut": text[:len(text)-5], "something after it": append(bytes.Clone(text), "{}"...),
		"too large": append(bytes.Clone(text), bytes.Repeat([]byte(" "), 8<<10)...), "a field more": edit("more", 1),
		"another version": edit("version", 99), "an invitation": invitation.Text(), "a short seed": edit("seed", "AAAA"),
		"no statement": edit("statement", ""), "another token's seed": edit("seed", other["seed"]),
		"another installation's": elsewhere.Token(),
	} {
		_, err := h.Client(h.Home()).Register(ctx, client.RegisterOptions{Name: "Research", EnrolmentToken: text})
		if err == nil || client.MoneyMovedOf(err) != notMoved {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(fmt.Sprint(err), seed) {
			t.Errorf("%s: the refusal prints the seed", name)
		}
	}
	for name, o := range map[string]client.RegisterOptions{
		"another handle": {Handle: "other", EnrolmentToken: text}, "another owner": {OwnerEmail: "they@company.com", EnrolmentToken: text},
	} {
		_, err := h.Client(h.Home()).Register(ctx, o)
		wantReason(t, err, invalid, notMoved)
		if names := owned(t, owner); len(names) != 0 {
			t.Errorf("%s: %v was made", name, names)
		}
	}
}

// TestCrashWhileRegisteringByToken lets an agent's program die before and after each of its writes. The program that starts on
// the same home, with the same token, has the one wallet that the token claims.
func TestCrashWhileRegisteringByToken(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t, halfkeytest.WithDemandEnrolment())
	ctx := testContext(t)
	tokens := make(map[int]client.Secret)
	options := func(number int) client.RegisterOptions {
		if tokens[number] == nil {
			tokens[number] = h.Token()
		}
		return client.RegisterOptions{Name: fmt.Sprint("Agent ", number), EnrolmentToken: tokens[number]}
	}
	crashes(t,
		func(t *testing.T, number int, store *crashingHome) (*client.Home, error) {
			home := h.Home()
			_, err := openOn(t, home, store).Register(ctx, options(number))
			return home, err
		},
		func(t *testing.T, number int, home *client.Home) {
			r, err := h.Client(home).Register(ctx, options(number))
			if err != nil || !r.Claimed {
				t.Fatalf("registered %+v, %v", r, err)
			}
			if w := owned(t, h.Owner()); len(w) != number || w[r.Wallet] == nil {
				t.Errorf("the owner sees %d wallets, want %d, this one among them", len(w), number)
			}
		})
}

// TestLostCallsByToken loses each call of a registration by token, or its answer. Whoever repeats goes on, to one wallet.
func TestLostCallsByToken(t *testing.T) {
	h := halfkeytest.Start(t, halfkeytest.WithDemandEnrolment())
	p := newProxy(t, h)
	ctx := testContext(t)
	made := 0
	for _, method := range []string{"StartRegistration", "ExchangeRegistration", "ConfirmRegistration", "CompleteRegistration", "ClaimWallet"} {
		for _, answer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, its answer %v", method, answer), func(t *testing.T) {
				home := p.home(h)
				options := client.RegisterOptions{Name: fmt.Sprint("Agent ", made), EnrolmentToken: h.Token()}
				p.lose(method, answer)
				if _, err := h.Client(home).Register(ctx, options); err == nil {
					t.Fatal("nothing was lost")
				}
				if method == "ClaimWallet" { // The claim is stored: the token may be gone.
					options.EnrolmentToken, options.OwnerEmail = nil, halfkeytest.Email
				}
				r, err := h.Client(home).Register(ctx, options)
				if err != nil || !r.Claimed {
					t.Fatalf("registered %+v, %v", r, err)
				}
				made++
				if w := owned(t, h.Owner()); len(w) != made || w[r.Wallet] == nil {
					t.Errorf("the owner sees %d wallets, want %d, this one among them", len(w), made)
				}
			})
		}
	}
}

// TestHostileEnrolment: a gateway that carries a token's signatures gets nothing from them. Each names the agent's own keys, so
// no wallet but the agent's comes of them, and the token stays good until that one is claimed.
func TestHostileEnrolment(t *testing.T) {
	h := halfkeytest.Start(t, halfkeytest.WithDemandEnrolment())
	p := newProxy(t, h)
	ctx := testContext(t)
	text := h.Token()
	home := p.home(h)
	var start *gatewayv1.StartRegistrationRequest
	var claim *gatewayv1.ClaimWalletRequest
	p.set(func(method string, req proto.Message) error {
		switch r := req.(type) {
		case *gatewayv1.StartRegistrationRequest:
			start = proto.CloneOf(r)
		case *gatewayv1.ClaimWalletRequest:
			claim = proto.CloneOf(r)
			return fmt.Errorf("kept from the services")
		}
		return nil
	}, nil)
	options := client.RegisterOptions{Name: "Agent", EnrolmentToken: text}
	if _, err := h.Client(home).Register(ctx, options); err == nil {
		t.Fatal("nothing was kept")
	}
	p.honest()

	// The thief's own agent, with the enrolment and the token's signature in the place of a token that the thief has not.
	p.set(func(method string, req proto.Message) error {
		if r, ok := req.(*gatewayv1.StartRegistrationRequest); ok {
			r.Enrolment = start.GetEnrolment()
			r.Start.Signatures = append(r.Start.GetSignatures(), start.GetStart().GetSignatures()[1])
		}
		return nil
	}, nil)
	_, err := h.Client(p.home(h)).Register(ctx, client.RegisterOptions{Name: "Thief", OwnerEmail: halfkeytest.Email})
	wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, notMoved)

	// The thief's own wallet, begun with a token of its own, and claimed with the signature over the other's claim.
	thief := h.Token()
	p.set(func(method string, req proto.Message) error {
		if r, ok := req.(*gatewayv1.ClaimWalletRequest); ok {
			doc := new(typev1.GuardRails)
			if err := evidence.Peek(r.GetGuardRails(), doc); err != nil {
				return err
			}
			doc.Enrolment = start.GetEnrolment()
			b, err := evidence.Marshal(doc)
			if err != nil {
				return err
			}
			r.GuardRails.Payload, r.GuardRails.Signatures = b, claim.GetGuardRails().GetSignatures()
		}
		return nil
	}, nil)
	_, err = h.Client(p.home(h)).Register(ctx, client.RegisterOptions{Name: "Thief", EnrolmentToken: thief})
	wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, notMoved)
	p.honest()

	// An answer that is not this claim's is not believed.
	alter(p, "ClaimWallet", func(w *typev1.Wallet) { w.Record = flip(w.GetRecord()) })
	if _, err := h.Client(home).Register(ctx, options); err == nil {
		t.Error("a record that does not verify was believed")
	}
	p.honest()
	r, err := h.Client(home).Register(ctx, options)
	if err != nil || !r.Claimed {
		t.Fatalf("the honest claim afterwards: %+v, %v", r, err)
	}
	if w := owned(t, h.Owner()); len(w) != 1 || w[r.Wallet] == nil {
		t.Errorf("the owner sees %v", w)
	}
}

// TestStrangersClaim: a wallet that a stranger claimed in an owner's name is not among that owner's, and hides none of them;
// not even one that carries a made-up signature under the owner's key, or terms that the owner never signed.
func TestStrangersClaim(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	owner := h.Owner()
	own := h.Agent("Own")
	key, public := newKey(t)
	token, tokenPublic := newKey(t)
	for n, row := range []struct {
		name string
		edit func(doc *typev1.GuardRails) (signed *typev1.Envelope, err error)
	}{
		{"by the stranger's key", func(doc *typev1.GuardRails) (*typev1.Envelope, error) { return evidence.Sign(key, doc) }},
		{"and a made-up signature of the owner", func(doc *typev1.GuardRails) (*typev1.Envelope, error) {
			e, err := evidence.Sign(key, doc)
			if err == nil {
				e.Signatures = append(e.GetSignatures(), &typev1.Signature{PublicKey: owner.Keys()[0], Signature: make([]byte, 64)})
			}
			return e, err
		}},
		{"by a token of the stranger's", func(doc *typev1.GuardRails) (*typev1.Envelope, error) {
			terms, err := evidence.Sign(key, &typev1.Enrolment{
				Installation: doc.GetInstallation(), Owner: doc.GetOwner(), OwnerKeys: doc.GetOwnerKeys(), TokenKey: tokenPublic,
				ExpiryMillis: time.Now().Add(time.Hour).UnixMilli(),
			})
			if err == nil {
				terms.Signatures = append(terms.GetSignatures(), &typev1.Signature{PublicKey: owner.Keys()[0], Signature: make([]byte, 64)})
				doc.Enrolment = terms
			}
			if err != nil {
				return nil, err
			}
			return evidence.Sign(token, doc)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newProxy(t, h)
			c := h.Client(p.home(h))
			var registration *typev1.Envelope
			p.set(func(_ string, req proto.Message) error {
				if r, ok := req.(*gatewayv1.CompleteRegistrationRequest); ok {
					registration = proto.CloneOf(r.GetRegistration())
				}
				return nil
			}, nil)
			if _, err := c.Register(ctx, client.RegisterOptions{Name: fmt.Sprint("Stranger ", n), OwnerEmail: "stranger@company.com"}); err != nil {
				t.Fatal(err)
			}
			r := new(typev1.Registration)
			if err := evidence.Peek(registration, r); err != nil {
				t.Fatal(err)
			}
			e, err := row.edit(&typev1.GuardRails{
				Installation: r.GetInstallation(), Wallet: r.GetWallet(), Owner: owner.Name(), OwnerKeys: [][]byte{public},
				RequestKey: r.GetRequestKey(), RegistrationDigest: evidence.EnvelopeDigest(registration).Bytes(),
			})
			if err != nil {
				t.Fatal(err)
			}
			w := new(typev1.Wallet)
			if err := p.real.Invoke(ctx, gatewayv1.GatewayService_ClaimWallet_FullMethodName, &gatewayv1.ClaimWalletRequest{GuardRails: e}, w); err != nil {
				t.Fatal(err)
			}
			if got := owned(t, owner); len(got) != 1 || got[own.Wallet()] == nil {
				t.Errorf("the owner sees %v", got)
			}
		})
	}
}
