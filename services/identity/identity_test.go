package identity_test

import (
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/identity"
)

const (
	badStatement    = typev1.Reason_REASON_BAD_STATEMENT
	mismatch        = typev1.Reason_REASON_EVIDENCE_MISMATCH
	exists          = typev1.Reason_REASON_ALREADY_EXISTS
	notFound        = typev1.Reason_REASON_NOT_FOUND
	notActive       = typev1.Reason_REASON_NOT_ACTIVE
	limit           = typev1.Reason_REASON_LIMIT_EXCEEDED
	handleTaken     = typev1.Reason_REASON_HANDLE_TAKEN
	codeUsed        = typev1.Reason_REASON_CODE_USED
	unauthenticated = typev1.Reason_REASON_UNAUTHENTICATED
	denied          = typev1.Reason_REASON_PERMISSION_DENIED
)

// fixture is an identity service with its world.
type fixture struct {
	*evidencetest.World
	t        testing.TB
	kv       clientv3.KV
	clock    *servicetest.Clock
	bounds   identity.Bounds
	identity identityv1.IdentityServiceClient
	// demandEnrolment is what the next start demands.
	demandEnrolment bool
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{World: evidencetest.New(t), t: t, kv: servicetest.Namespace(t), clock: servicetest.NewClock(start)}
	f.restart()
	return f
}

// restart serves the same store by a new service.
func (f *fixture) restart() {
	f.t.Helper()
	f.identity = f.replica()
}

func (f *fixture) replica() identityv1.IdentityServiceClient {
	f.t.Helper()
	s, err := identity.New(identity.Config{
		Installations: f.Installations, KV: f.kv, Clock: f.clock.Now, Bounds: f.bounds, BootstrapKey: evidencetest.Public(f.Key("bootstrap")),
		DemandEnrolment: f.demandEnrolment,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return identityv1.NewIdentityServiceClient(servicetest.Connect(f.t, s))
}

// ownerStatement is an owner's registration, signed by its key and by the bootstrap key.
func (f *fixture) ownerStatement(id, email string) *typev1.Envelope {
	f.t.Helper()
	key := f.Key("owner/" + id)
	e, err := evidence.CoSign(f.Sign(key, &typev1.OwnerRegistration{
		Installation: f.Installation.ID(), Owner: "owners/" + id, Email: email, OwnerKeys: [][]byte{evidencetest.Public(key)},
	}), f.Key("bootstrap"))
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fixture) createOwner(e *typev1.Envelope) (*typev1.Owner, error) {
	resp, err := f.identity.CreateOwner(f.t.Context(), &identityv1.CreateOwnerRequest{Registration: e})
	return resp.GetOwner(), err
}

// start is an agent's start statement; run tells its runs apart.
func (f *fixture) start(l *evidencetest.Wallet, run byte, email string) *typev1.Envelope {
	f.t.Helper()
	return f.Sign(l.RequestKey, &typev1.KeyGenerationStart{
		Installation: f.Installation.ID(), Wallet: l.Name, Run: append(make([]byte, 15), run),
		StaticKey: evidencetest.Public(f.Key("static")), RequestKey: evidencetest.Public(l.RequestKey),
		Handle: l.Handle, OwnerEmail: email,
	})
}

func (f *fixture) create(start *typev1.Envelope, source string) error {
	_, err := f.identity.CreateRegistration(f.t.Context(), &identityv1.CreateRegistrationRequest{Start: start, Source: source})
	return err
}

func (f *fixture) complete(l *evidencetest.Wallet) error {
	_, err := f.identity.CompleteRegistration(f.t.Context(), &identityv1.CompleteRegistrationRequest{Registration: l.Registration})
	return err
}

func (f *fixture) activate(l *evidencetest.Wallet, versions ...*typev1.Envelope) error {
	_, err := f.identity.ActivateWallet(f.t.Context(), &identityv1.ActivateWalletRequest{Documents: &typev1.WalletDocuments{
		Registration: l.Registration, Record: l.Record, GuardRails: append([]*typev1.Envelope{l.Claim}, versions...),
	}})
	return err
}

func (f *fixture) get(name string) (*typev1.Wallet, error) {
	resp, err := f.identity.GetWallet(f.t.Context(), &identityv1.GetWalletRequest{Name: name})
	return resp.GetWallet(), err
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wallet(id string) *evidencetest.Wallet {
	f.t.Helper()
	return f.ClaimedWallet(evidencetest.WalletConfig{ID: id})
}

const email = "owner@example.com"

// The bootstrap code makes one owner, once.
func TestCreateOwner(t *testing.T) {
	f := newFixture(t)
	good := f.ownerStatement("first", email)
	for _, tt := range []struct {
		name string
		edit func(*typev1.Envelope)
	}{
		{"without the bootstrap key", func(e *typev1.Envelope) { e.Signatures = e.Signatures[:1] }},
		{"without an owner key", func(e *typev1.Envelope) { e.Signatures = e.Signatures[1:] }},
		{"another bootstrap key", func(e *typev1.Envelope) {
			e.Signatures[1] = f.Sign(f.Key("thief"), ownerOf(f, e)).Signatures[0]
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := proto.CloneOf(good)
			tt.edit(e)
			_, err := f.createOwner(e)
			servicetest.Refused(t, err, badStatement)
		})
	}
	first, err := f.createOwner(good)
	f.must(err)
	f.restart()
	again, err := f.createOwner(good)
	f.must(err)
	if !proto.Equal(first, again) {
		t.Error("a repeat answers something else")
	}
	_, err = f.createOwner(f.ownerStatement("second", "second@example.com"))
	servicetest.Refused(t, err, codeUsed)
	_, err = f.createOwner(f.ownerStatement("first", "moved@example.com")) // the same owner, another statement
	servicetest.Refused(t, err, codeUsed)
	got, err := f.identity.GetOwner(t.Context(), &identityv1.GetOwnerRequest{Name: "owners/first"})
	f.must(err)
	if got.GetOwner().GetEmail() != email {
		t.Errorf("owner %v", got)
	}
}

func ownerOf(f *fixture, e *typev1.Envelope) *typev1.OwnerRegistration {
	m := new(typev1.OwnerRegistration)
	f.Decode(e, m)
	return m
}

func TestCreateOwnerRace(t *testing.T) {
	f := newFixture(t)
	second := f.replica()
	var wg sync.WaitGroup
	won := make(chan string, 16)
	for n := range 16 {
		e := f.ownerStatement(fmt.Sprintf("o%d", n), fmt.Sprintf("o%d@example.com", n))
		at := []identityv1.IdentityServiceClient{f.identity, second}[n%2]
		wg.Go(func() {
			if resp, err := at.CreateOwner(t.Context(), &identityv1.CreateOwnerRequest{Registration: e}); err == nil {
				won <- resp.GetOwner().GetName()
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("one code made %d owners", len(won))
	}
}

// Exactly as many registrations are open as the bounds say, however many come at once and to whichever replica.
func TestBoundsUnderConcurrency(t *testing.T) {
	for _, tt := range []struct {
		name   string
		bounds identity.Bounds
		email  func(n int) string
		source func(n int) string
		want   int
	}{
		{
			"per owner",
			identity.Bounds{PerOwner: 5},
			func(int) string { return email },
			func(n int) string { return fmt.Sprintf("192.0.2.%d", n) }, 5,
		},
		{
			"per source",
			identity.Bounds{PerSource: 5},
			func(n int) string { return fmt.Sprintf("o%d@example.com", n) },
			func(int) string { return "192.0.2.1" }, 5,
		},
		{
			"per IPv6 network",
			identity.Bounds{PerSource: 5},
			func(n int) string { return fmt.Sprintf("o%d@example.com", n) },
			func(n int) string { return fmt.Sprintf("2001:db8:1:2::%x", n) }, 5,
		},
		{
			"in all",
			identity.Bounds{Total: 7},
			func(n int) string { return fmt.Sprintf("o%d@example.com", n) },
			func(n int) string { return fmt.Sprintf("192.0.2.%d", n) }, 7,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.bounds = tt.bounds
			replicas := []identityv1.IdentityServiceClient{f.replica(), f.replica()}
			var wg sync.WaitGroup
			opened := make(chan string, 32)
			refusals := make(chan error, 32)
			for n := range 32 {
				e := f.start(f.wallet(fmt.Sprintf("w%d", n)), 1, tt.email(n))
				wg.Go(func() {
					_, err := replicas[n%2].CreateRegistration(t.Context(), &identityv1.CreateRegistrationRequest{Start: e, Source: tt.source(n)})
					if err != nil {
						refusals <- err
						return
					}
					opened <- fmt.Sprintf("w%d", n)
				})
			}
			wg.Wait()
			close(refusals)
			if len(opened) != tt.want {
				t.Errorf("%d opened, want %d", len(opened), tt.want)
			}
			for err := range refusals {
				servicetest.Refused(t, err, limit)
			}
		})
	}
}

// A key generation that does not end frees its place, and takes it again if it ends after all.
func TestOverdueKeyGenerationFreesItsPlace(t *testing.T) {
	f := newFixture(t)
	f.bounds = identity.Bounds{PerOwner: 1}
	f.restart()
	slow, next := f.wallet("slow"), f.wallet("next")
	f.must(f.create(f.start(slow, 1, email), "192.0.2.1"))
	servicetest.Refused(t, f.create(f.start(next, 1, email), "192.0.2.1"), limit)
	f.clock.Advance(10 * time.Minute)
	f.must(f.create(f.start(next, 1, email), "192.0.2.1"))
	servicetest.Refused(t, f.complete(slow), limit)
	f.must(f.complete(next))
	f.must(f.activate(next)) // a claimed one is not open
	f.must(f.complete(slow))
}

// An id belongs to the request key that used it first.
func TestCreateRegistrationIDs(t *testing.T) {
	f := newFixture(t)
	f.bounds = identity.Bounds{PerOwner: 1}
	f.restart()
	l := f.wallet("w")
	thief := *l
	thief.RequestKey = f.Key("thief")
	first := f.start(l, 1, email)
	f.must(f.create(first, "s"))
	f.must(f.create(first, "s"))                // a repeat takes no second place
	f.must(f.create(f.start(l, 2, email), "s")) // nor does another run
	servicetest.Refused(t, f.create(f.start(&thief, 1, email), "s"), exists)
	f.must(f.complete(l))
	servicetest.Refused(t, f.create(f.start(l, 3, email), "s"), exists)
	if w, err := f.get(l.Name); err != nil || w.GetState() != typev1.WalletState_WALLET_STATE_UNCLAIMED {
		t.Errorf("wallet %v, %v", w.GetState(), err)
	}
}

// From CREATING to ACTIVE, found by every name; a repeat changes nothing.
func TestLifeOfAWallet(t *testing.T) {
	f := newFixture(t)
	l := f.wallet("w")
	servicetest.Refused(t, f.complete(l), notFound)
	f.must(f.create(f.start(l, 1, email), "s"))
	if _, err := f.get("@" + l.Handle); err == nil {
		t.Error("an unclaimed wallet is found by handle")
	}
	f.must(f.complete(l))
	f.must(f.complete(l))
	r := new(typev1.Registration)
	f.Decode(l.Registration, r)
	claim, err := f.identity.GetClaim(t.Context(), &identityv1.GetClaimRequest{Code: evidence.ClaimCode(f.Installation.ID(), r)})
	f.must(err)
	if claim.GetOwnerEmail() != email || !proto.Equal(claim.GetWallet().GetRegistration(), l.Registration) {
		t.Errorf("claim %v", claim)
	}
	if _, err := f.identity.GetClaim(t.Context(), &identityv1.GetClaimRequest{Code: "0000-0000-0000-0000-0000"}); err == nil {
		t.Error("a made-up code has a wallet")
	}
	_, err = f.identity.SetGuardRails(t.Context(), &identityv1.SetGuardRailsRequest{GuardRails: l.Claim})
	servicetest.Refused(t, err, notActive)
	f.must(f.activate(l))
	first, err := f.get(l.Name)
	f.must(err)
	f.clock.Advance(time.Minute)
	f.must(f.activate(l))
	f.restart()
	for _, name := range []string{l.Name, "@" + l.Handle} {
		w, err := f.get(name)
		f.must(err)
		if !proto.Equal(w, first) {
			t.Errorf("%s: %v", name, w)
		}
	}
	byKey, err := f.identity.GetWallet(t.Context(), &identityv1.GetWalletRequest{GroupKey: l.GroupKey[:]})
	f.must(err)
	if !proto.Equal(byKey.GetWallet(), first) || first.GetOwner() != l.Owner || first.GetState() != typev1.WalletState_WALLET_STATE_ACTIVE {
		t.Errorf("by key: %v", byKey)
	}
	list, err := f.identity.ListWallets(t.Context(), &identityv1.ListWalletsRequest{Owner: l.Owner})
	f.must(err)
	if len(list.GetWallets()) != 1 || list.GetNextPageToken() != "" {
		t.Errorf("list %v", list)
	}
}

func TestListWalletsPages(t *testing.T) {
	f := newFixture(t)
	for n := range 5 {
		f.must(f.activate(f.wallet(fmt.Sprintf("w%d", n))))
	}
	f.must(f.activate(f.ClaimedWallet(evidencetest.WalletConfig{ID: "w9", Owner: "another"})))
	var names []string
	for token := ""; ; {
		resp, err := f.identity.ListWallets(t.Context(), &identityv1.ListWalletsRequest{Owner: "owners/owner", PageSize: 2, PageToken: token})
		f.must(err)
		for _, w := range resp.GetWallets() {
			names = append(names, w.GetName())
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[wallets/w0 wallets/w1 wallets/w2 wallets/w3 wallets/w4]" {
		t.Errorf("lists %v", names)
	}
}

// Two wallets claim one handle: the directory shows one.
func TestHandleRace(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	won := make(chan string, 8)
	for n := range 8 {
		l := f.ClaimedWallet(evidencetest.WalletConfig{ID: fmt.Sprintf("w%d", n), Handle: "raced"})
		wg.Go(func() {
			if f.activate(l) == nil {
				won <- l.Name
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d wallets got one handle", len(won))
	}
	if w, err := f.get("@raced"); err != nil || w.GetName() != <-won {
		t.Errorf("found %v, %v", w.GetName(), err)
	}
	late := f.ClaimedWallet(evidencetest.WalletConfig{ID: "late", Handle: "raced"})
	f.must(f.create(f.start(late, 1, email), "s"))
	servicetest.Refused(t, f.complete(late), handleTaken)
}

// An unclaimed registration ends by the co-signer's word alone; then nothing makes it a wallet.
func TestEndRegistration(t *testing.T) {
	f := newFixture(t)
	f.bounds = identity.Bounds{PerOwner: 1}
	f.restart()
	l, other := f.wallet("w"), f.wallet("other")
	f.must(f.create(f.start(l, 1, email), "s"))
	f.must(f.complete(l))
	expired := func() []string {
		resp, err := f.identity.ListExpired(t.Context(), &identityv1.ListExpiredRequest{})
		f.must(err)
		return resp.GetWallets()
	}
	f.clock.Advance(24 * time.Hour)
	if got := expired(); len(got) != 0 {
		t.Errorf("expired before its time: %v", got)
	}
	f.clock.Advance(6 * time.Second)
	if got := expired(); len(got) != 1 || got[0] != l.Name {
		t.Errorf("expired %v", got)
	}
	statement := func(key ed25519.PrivateKey, registration *typev1.Envelope) *typev1.Envelope {
		return f.Sign(key, &typev1.RegistrationEnd{
			Installation: f.Installation.ID(), Wallet: l.Name,
			RegistrationDigest: evidence.EnvelopeDigest(registration).Bytes(), TimeMillis: f.clock.Now().UnixMilli(),
		})
	}
	end := func(e *typev1.Envelope) error {
		_, err := f.identity.EndRegistration(t.Context(), &identityv1.EndRegistrationRequest{End: e})
		return err
	}
	servicetest.Refused(t, end(statement(f.Policy, l.Registration)), badStatement)
	servicetest.Refused(t, end(statement(f.Cosigner, other.Registration)), mismatch)
	servicetest.Refused(t, f.create(f.start(other, 1, email), "s"), limit)
	good := statement(f.Cosigner, l.Registration)
	f.must(end(good))
	f.must(end(good))
	if got := expired(); len(got) != 0 {
		t.Errorf("ended, and still listed: %v", got)
	}
	f.must(f.create(f.start(other, 1, email), "s")) // its place is free
	servicetest.Refused(t, f.complete(l), notActive)
	servicetest.Refused(t, f.activate(l), notActive)
	r := new(typev1.Registration)
	f.Decode(l.Registration, r)
	_, err := f.identity.GetClaim(t.Context(), &identityv1.GetClaimRequest{Code: evidence.ClaimCode(f.Installation.ID(), r)})
	servicetest.Refused(t, err, notActive)
}

// Documents that do not name each other make no wallet ACTIVE, and other documents do not replace the pinned ones.
func TestActivateWalletRefusals(t *testing.T) {
	f := newFixture(t)
	l := f.wallet("w")
	for _, tt := range []struct {
		name string
		edit func(*evidencetest.Wallet)
		want typev1.Reason
	}{
		{"the gateway's own number 0", func(w *evidencetest.Wallet) {
			doc := proto.CloneOf(w.Head.Document)
			doc.OwnerKeys = [][]byte{evidencetest.Public(f.Key("thief"))}
			w.Claim = f.Sign(f.Key("thief"), doc)
		}, mismatch},
		{"the co-signer's own group key", func(w *evidencetest.Wallet) {
			m := new(typev1.WalletRecord)
			f.Decode(w.Record, m)
			m.GroupKey = evidencetest.Public(f.Key("thief"))
			w.Record = f.Sign(f.Cosigner, m)
		}, mismatch},
		{"a record that the co-signer did not sign", func(w *evidencetest.Wallet) {
			m := new(typev1.WalletRecord)
			f.Decode(w.Record, m)
			w.Record = f.Sign(f.Ledger, m)
		}, badStatement},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := *l
			tt.edit(&bad)
			servicetest.Refused(t, f.activate(&bad), tt.want)
			_, err := f.get(l.Name)
			servicetest.Refused(t, err, notFound)
		})
	}
	f.must(f.activate(l))
	servicetest.Refused(t, f.activate(f.ClaimedWallet(evidencetest.WalletConfig{ID: "w", Handle: "other"})), exists)
}

// A directory that lost a wallet takes it back on its documents, led forward over a change of owner key and of request key, in
// order; an older set of documents never puts the head back.
func TestRestoredDirectory(t *testing.T) {
	f := newFixture(t)
	l := f.wallet("w")
	newKey := f.Key("request-2")
	replaced, owner := l.OwnerKey, f.Key("owner-2")
	one := l.SetGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(owner)} })
	l.OwnerKey = owner
	two := l.SetGuardRails(func(d *typev1.GuardRails) { d.RequestKey = evidencetest.Public(newKey) })
	servicetest.Refused(t, f.activate(l, two), badStatement) // not out of order
	f.must(f.activate(l, one, two))
	f.must(f.activate(l))
	w, err := f.get(l.Name)
	f.must(err)
	if !proto.Equal(w.GetGuardRails(), two) {
		t.Error("older documents put the head back")
	}
	p := l.Payment(evidencetest.PaymentConfig{To: [32]byte{1}, Now: start})
	auth := func(e *typev1.Envelope) error {
		_, err := f.identity.Authenticate(t.Context(), &identityv1.AuthenticateRequest{
			Request: e, Method: gatewayv1.GatewayService_CreatePayment_FullMethodName, Resource: l.Name,
		})
		return err
	}
	servicetest.Refused(t, auth(p.Request), unauthenticated) // under the replaced key
	r := new(typev1.Request)
	f.Decode(p.Request, r)
	f.must(auth(f.Sign(newKey, r)))
	servicetest.Refused(t, f.token(l.Owner, "", getAccount, l.Name, replaced), unauthenticated)
	f.must(f.token(l.Owner, "", getAccount, l.Name, owner))
}

const (
	getAccount = gatewayv1.GatewayService_GetAccount_FullMethodName
	getWallet  = gatewayv1.GatewayService_GetWallet_FullMethodName
)

// Who may be told from a token, and who not: each row changes a good one in one thing.
func TestAuthenticateToken(t *testing.T) {
	f := newFixture(t)
	l, other := f.wallet("w"), f.ClaimedWallet(evidencetest.WalletConfig{ID: "other", Owner: "stranger"})
	f.must(f.activate(l))
	f.must(f.activate(other))
	waiting := f.wallet("waiting")
	f.must(f.create(f.start(waiting, 1, email), "s"))
	f.must(f.complete(waiting))
	_, err := f.createOwner(f.ownerStatement("owner", email))
	f.must(err)

	type call struct {
		caller, wallet, method, resource string
		key                              ed25519.PrivateKey
		from, life                       time.Duration
		installation                     string
		askMethod, askResource           string
	}
	agent := call{caller: "agents/w", wallet: l.Name, method: getAccount, resource: l.Name, key: l.RequestKey}
	owner := call{caller: l.Owner, method: getAccount, resource: l.Name, key: l.OwnerKey}
	operator := call{caller: "operator", method: getAccount, resource: l.Name, key: f.Operator}
	with := func(c call, edit func(*call)) call {
		edit(&c)
		return c
	}
	for _, tt := range []struct {
		name string
		call call
		want typev1.Reason // 0: authenticates
	}{
		{"agent, its wallet", agent, 0},
		{"agent, itself", with(agent, func(c *call) { c.method, c.resource = getWallet, "agents/w" }), 0},
		{"owner, its wallet", owner, 0},
		{"owner, itself", with(owner, func(c *call) { c.resource = l.Owner }), 0},
		{"operator, a wallet", operator, 0},
		{"operator, the installation", with(operator, func(c *call) { c.resource = "installation" }), 0},
		{
			"agent that waits for its owner, looking up",
			call{caller: "agents/waiting", wallet: waiting.Name, method: getWallet, resource: "agents/waiting", key: waiting.RequestKey},
			0,
		},
		{"a clock 5 s ahead", with(agent, func(c *call) { c.from = evidence.Tolerance }), 0},
		{"expired within the tolerance", with(agent, func(c *call) { c.from = -time.Minute - evidence.Tolerance }), 0},

		{"expired", with(agent, func(c *call) { c.from = -time.Minute - evidence.Tolerance - time.Millisecond }), unauthenticated},
		{"future", with(agent, func(c *call) { c.from = evidence.Tolerance + time.Millisecond }), unauthenticated},
		{"life too long", with(agent, func(c *call) { c.life = time.Minute + time.Millisecond }), unauthenticated},
		{"other method", with(agent, func(c *call) { c.askMethod = gatewayv1.GatewayService_Freeze_FullMethodName }), unauthenticated},
		{"other resource", with(operator, func(c *call) { c.askResource = other.Name }), unauthenticated},
		{"other installation", with(agent, func(c *call) { c.installation = "foreign" }), unauthenticated},
		{"other key", with(agent, func(c *call) { c.key = f.Key("thief") }), unauthenticated},
		{"owner's key for the agent", with(agent, func(c *call) { c.key = l.OwnerKey }), unauthenticated},
		{"agent's key for the owner", with(owner, func(c *call) { c.key = l.RequestKey }), unauthenticated},
		{"owner's key for the operator", with(operator, func(c *call) { c.key = l.OwnerKey }), unauthenticated},
		{"unknown owner", with(owner, func(c *call) { c.caller, c.resource = "owners/nobody", "owners/nobody" }), unauthenticated},
		{"agent, another's wallet", with(agent, func(c *call) { c.resource = other.Name }), denied},
		{"agent, its owner", with(agent, func(c *call) { c.resource = l.Owner }), denied},
		{"owner, another owner's wallet", with(owner, func(c *call) { c.resource = other.Name }), denied},
		{
			"a stranger learns not whose a wallet is", with(owner, func(c *call) { c.resource, c.key = other.Name, f.Key("thief") }),
			unauthenticated,
		},
		{"owner, another owner", with(owner, func(c *call) { c.resource = other.Owner }), denied},
		{"owner, the installation", with(owner, func(c *call) { c.resource = "installation" }), denied},
		{"operator, an owner", with(operator, func(c *call) { c.resource = l.Owner }), denied},
		{
			"agent that waits for its owner, its account",
			call{caller: "agents/waiting", wallet: waiting.Name, method: getAccount, resource: waiting.Name, key: waiting.RequestKey},
			notActive,
		},
		{"unknown agent", call{
			caller: "agents/nobody", wallet: "wallets/nobody", method: getAccount, resource: "wallets/nobody",
			key: l.RequestKey,
		}, notActive},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.call
			if c.life == 0 {
				c.life = time.Minute
			}
			if c.installation == "" {
				c.installation = f.Installation.ID()
			}
			if c.askMethod == "" {
				c.askMethod = c.method
			}
			if c.askResource == "" {
				c.askResource = c.resource
			}
			from := f.clock.Now().Add(c.from)
			e := f.SignLoose(c.key, &typev1.Token{
				Installation: c.installation, Wallet: c.wallet, Caller: c.caller, Method: c.method, Resource: c.resource,
				TimeMillis: from.UnixMilli(), ExpiryMillis: from.Add(c.life).UnixMilli(),
			})
			resp, err := f.identity.Authenticate(t.Context(),
				&identityv1.AuthenticateRequest{Token: e, Method: c.askMethod, Resource: c.askResource})
			if tt.want != 0 {
				servicetest.Refused(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.GetCaller(); got.GetName() != c.caller || got.GetWallet() != c.wallet {
				t.Errorf("caller %v", got)
			}
		})
	}
}

// A payment's request authenticates itself, for its own wallet only.
func TestAuthenticateRequest(t *testing.T) {
	f := newFixture(t)
	l := f.wallet("w")
	f.must(f.activate(l))
	p := l.Payment(evidencetest.PaymentConfig{To: [32]byte{1}, Now: start})
	r := new(typev1.Request)
	f.Decode(p.Request, r)
	for _, tt := range []struct {
		name     string
		request  *typev1.Envelope
		resource string
		want     typev1.Reason
	}{
		{"good", p.Request, l.Name, 0},
		{"other key", f.Sign(f.Key("thief"), r), l.Name, unauthenticated},
		{"owner's key", f.Sign(l.OwnerKey, r), l.Name, unauthenticated},
		{"other resource", p.Request, "wallets/other", denied},
		{
			"unknown wallet", f.wallet("nobody").Payment(evidencetest.PaymentConfig{To: [32]byte{1}, Now: start}).Request, "wallets/nobody",
			notActive,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := f.identity.Authenticate(t.Context(), &identityv1.AuthenticateRequest{
				Request: tt.request, Method: gatewayv1.GatewayService_CreatePayment_FullMethodName, Resource: tt.resource,
			})
			if tt.want != 0 {
				servicetest.Refused(t, err, tt.want)
				return
			}
			if err != nil || resp.GetCaller().GetName() != "agents/w" {
				t.Errorf("caller %v, %v", resp.GetCaller(), err)
			}
		})
	}
}
