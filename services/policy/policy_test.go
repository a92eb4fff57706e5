package policy_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/policy"
)

// fixture is a policy service with its world.
type fixture struct {
	*evidencetest.World
	t      *testing.T
	kv     clientv3.KV
	clock  *servicetest.Clock
	policy policyv1.PolicyServiceClient
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{World: evidencetest.New(t), t: t, kv: servicetest.Namespace(t), clock: servicetest.NewClock(start)}
	f.restart()
	return f
}

// restart serves the same store by a new service.
func (f *fixture) restart() {
	f.t.Helper()
	s, err := policy.New(policy.Config{Installations: f.Installations, Key: f.Policy, KV: f.kv, Clock: f.clock.Now})
	if err != nil {
		f.t.Fatal(err)
	}
	f.policy = policyv1.NewPolicyServiceClient(servicetest.Connect(f.t, s))
}

func documents(l *evidencetest.Wallet) *typev1.WalletDocuments {
	return &typev1.WalletDocuments{Registration: l.Registration, Record: l.Record, GuardRails: []*typev1.Envelope{l.Claim}}
}

// pinned is a wallet that policy holds with the standard guard rails.
func (f *fixture) pinned(id string, edit func(*typev1.GuardRails)) *evidencetest.Wallet {
	f.t.Helper()
	l := f.ClaimedWallet(evidencetest.WalletConfig{ID: id})
	if _, err := f.policy.OpenWallet(f.t.Context(), &policyv1.OpenWalletRequest{Documents: documents(l)}); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.set(l.SetGuardRails(edit)); err != nil {
		f.t.Fatal(err)
	}
	return l
}

func (f *fixture) set(e *typev1.Envelope) (*policyv1.SetGuardRailsResponse, error) {
	return f.policy.SetGuardRails(f.t.Context(), &policyv1.SetGuardRailsRequest{GuardRails: e})
}

func (f *fixture) documents(l *evidencetest.Wallet, from uint64) *policyv1.GetDocumentsResponse {
	f.t.Helper()
	resp, err := f.policy.GetDocuments(f.t.Context(), &policyv1.GetDocumentsRequest{Wallet: l.Name, FromNumber: from})
	if err != nil {
		f.t.Fatal(err)
	}
	return resp
}

func (f *fixture) judge(p *evidencetest.Payment) (*typev1.Envelope, error) {
	resp, err := f.policy.Judge(f.t.Context(), &policyv1.JudgeRequest{Request: p.Request, Message: p.MessageBytes, Review: p.Review})
	return resp.GetVerdict(), err
}

const (
	badStatement = typev1.Reason_REASON_BAD_STATEMENT
	mismatch     = typev1.Reason_REASON_EVIDENCE_MISMATCH
	missing      = typev1.Reason_REASON_EVIDENCE_MISSING
	exists       = typev1.Reason_REASON_ALREADY_EXISTS
	changed      = typev1.Reason_REASON_GUARD_RAILS_CHANGED
	rulesRefused = typev1.Reason_REASON_GUARD_RAILS_REFUSED
	notActive    = typev1.Reason_REASON_NOT_ACTIVE
)

var recipient = [32]byte{1, 2, 3}

// Documents that do not name each other pin nothing, whoever in between made one of them.
func TestOpenWalletRefusesWhatDisagrees(t *testing.T) {
	f := newFixture(t)
	thief := f.Key("thief")
	for _, tt := range []struct {
		name string
		edit func(d *typev1.WalletDocuments, l *evidencetest.Wallet)
		want typev1.Reason
	}{
		{"no registration", func(d *typev1.WalletDocuments, _ *evidencetest.Wallet) { d.Registration = nil }, missing},
		{"no record", func(d *typev1.WalletDocuments, _ *evidencetest.Wallet) { d.Record = nil }, missing},
		{"no number 0", func(d *typev1.WalletDocuments, _ *evidencetest.Wallet) { d.GuardRails = nil }, typev1.Reason_REASON_INVALID_ARGUMENT},
		{"the gateway's own number 0", func(d *typev1.WalletDocuments, l *evidencetest.Wallet) {
			doc := proto.CloneOf(l.Head.Document)
			doc.OwnerKeys = [][]byte{evidencetest.Public(thief)}
			d.GuardRails[0] = l.Sign(thief, doc)
		}, mismatch},
		{"the co-signer's own group key", func(d *typev1.WalletDocuments, l *evidencetest.Wallet) {
			record := new(typev1.WalletRecord)
			l.Decode(d.GetRecord(), record)
			record.GroupKey = evidencetest.Public(thief)
			d.Record = l.Sign(l.Cosigner, record)
		}, mismatch},
		{"a record of another handle", func(d *typev1.WalletDocuments, l *evidencetest.Wallet) {
			record := new(typev1.WalletRecord)
			l.Decode(d.GetRecord(), record)
			record.Handle = "another"
			d.Record = l.Sign(l.Cosigner, record)
		}, mismatch},
		{"a record by another key", func(d *typev1.WalletDocuments, l *evidencetest.Wallet) {
			record := new(typev1.WalletRecord)
			l.Decode(d.GetRecord(), record)
			d.Record = l.Sign(l.Ledger, record)
		}, badStatement},
		{"another registration", func(d *typev1.WalletDocuments, l *evidencetest.Wallet) {
			r := new(typev1.Registration)
			l.Decode(d.GetRegistration(), r)
			r.GroupKey = evidencetest.Public(thief)
			d.Registration = l.Sign(l.RequestKey, r)
		}, mismatch},
		{"a registration that its key did not sign", func(d *typev1.WalletDocuments, l *evidencetest.Wallet) {
			r := new(typev1.Registration)
			l.Decode(d.GetRegistration(), r)
			d.Registration = l.Sign(thief, r)
		}, badStatement},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := f.ClaimedWallet(evidencetest.WalletConfig{ID: "w"})
			d := documents(l)
			tt.edit(d, l)
			_, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: d})
			servicetest.Refused(t, err, tt.want)
			_, err = f.policy.GetDocuments(t.Context(), &policyv1.GetDocumentsRequest{Wallet: l.Name})
			servicetest.Refused(t, err, notActive)
		})
	}
}

// A wallet is pinned once and for ever, and its handle and group key with it.
func TestOpenWalletPinsOnce(t *testing.T) {
	f := newFixture(t)
	first := f.pinned("first", nil)
	open := func(l *evidencetest.Wallet) error {
		_, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: documents(l)})
		return err
	}
	if err := open(first); err != nil {
		t.Errorf("repeat: %v", err)
	}
	if got := f.documents(first, 0).GetHeadNumber(); got != 1 {
		t.Errorf("a repeat put the head to %d", got)
	}
	for _, tt := range []struct {
		name string
		c    evidencetest.WalletConfig
	}{
		{"same name", evidencetest.WalletConfig{ID: "first", Handle: "other", RequestKey: f.Key("other")}},
		{"same handle", evidencetest.WalletConfig{ID: "second", Handle: "first"}},
		{"same group key", evidencetest.WalletConfig{ID: "third", GroupKey: first.GroupKey[:]}},
	} {
		t.Run(tt.name, func(t *testing.T) { servicetest.Refused(t, open(f.ClaimedWallet(tt.c)), exists) })
	}
	var wg sync.WaitGroup
	won := make(chan string, 8)
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		l := f.ClaimedWallet(evidencetest.WalletConfig{ID: id, Handle: "raced"})
		wg.Go(func() {
			if open(l) == nil {
				won <- id
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d wallets got one handle", len(won))
	}
}

// A record signed again by a new co-signer key is kept; its content stays.
func TestOpenWalletRenewsTheRecordsSignature(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", nil)
	next := f.Key("cosigner-2")
	late := f.ClaimedWallet(evidencetest.WalletConfig{ID: "late"})
	f.Rotate(typev1.Purpose_PURPOSE_COSIGNER, next)
	f.restart()
	if _, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: documents(late)}); err == nil {
		t.Error("a wallet is pinned on a record under the retired key")
	}
	record := new(typev1.WalletRecord)
	l.Decode(l.Record, record)
	l.Record = l.Sign(next, record)
	if _, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: documents(l)}); err != nil {
		t.Fatal(err)
	}
	if got := f.documents(l, 0).GetDocuments().GetRecord(); !proto.Equal(got, l.Record) {
		t.Error("the older signature is kept")
	}
}

// Guard rails that are not the owner's next word change nothing.
func TestSetGuardRailsRefusals(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", nil)
	other := f.pinned("other", nil)
	replaced := l.OwnerKey
	owner := f.Key("owner-2")
	// The owner key changes: from here on the first one signs nothing.
	first := l.SetGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(owner)} })
	if _, err := f.set(first); err != nil {
		t.Fatal(err)
	}
	l.OwnerKey = owner
	foreign := evidencetest.NewWith(t, evidencetest.Config{ID: "foreign"})
	next := func(edit func(*typev1.GuardRails)) *typev1.GuardRails { return l.NextGuardRails(edit) }
	for _, tt := range []struct {
		name string
		e    func() *typev1.Envelope
		want []typev1.Reason
	}{
		{"unsigned", func() *typev1.Envelope {
			e := l.Sign(owner, next(nil))
			e.Signatures = nil
			return e
		}, []typev1.Reason{badStatement}},
		{"other key", func() *typev1.Envelope { return l.Sign(f.Key("thief"), next(nil)) }, []typev1.Reason{badStatement}},
		{"replaced key", func() *typev1.Envelope { return l.Sign(replaced, next(nil)) }, []typev1.Reason{badStatement}},
		{"the agent's key", func() *typev1.Envelope { return l.Sign(l.RequestKey, next(nil)) }, []typev1.Reason{badStatement}},
		{"a key that it brings itself", func() *typev1.Envelope {
			own := f.Key("thief")
			return l.Sign(own, next(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(own)} }))
		}, []typev1.Reason{badStatement}},
		{"tampered", func() *typev1.Envelope {
			e := l.Sign(owner, next(nil))
			e.Payload = bytes.Clone(e.GetPayload())
			e.Payload[len(e.Payload)-1] ^= 1
			return e
		}, []typev1.Reason{badStatement}},
		{"unknown field", func() *typev1.Envelope { return raw(t, owner, next(nil), nil) }, []typev1.Reason{badStatement}},
		{"unknown field in a limit", func() *typev1.Envelope {
			return raw(t, owner, next(nil), func(d *typev1.GuardRails) { unknown(d.GetLimits()[0]) })
		}, []typev1.Reason{badStatement}},
		{"unknown enum value in a limit", func() *typev1.Envelope {
			return l.SignLoose(owner, next(func(d *typev1.GuardRails) { d.GetLimits()[0].Window = 99 }))
		}, []typev1.Reason{badStatement, rulesRefused}},
		{"other head", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Replaces = [][]byte{bytes.Repeat([]byte{9}, 32)} }))
		}, []typev1.Reason{changed}},
		{"used number, other content", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Number--; d.TimeZone = "Europe/Zurich" }))
		}, []typev1.Reason{exists}},
		{"lower number", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Number = 1; d.TimeZone = "Europe/Zurich" }))
		}, []typev1.Reason{changed}},
		{"other owner", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Owner = "owners/thief" }))
		}, []typev1.Reason{mismatch}},
		{"other wallet", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Wallet = other.Name }))
		}, []typev1.Reason{badStatement, changed}},
		{"other installation", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Installation = foreign.Installation.ID() }))
		}, []typev1.Reason{mismatch}},
		{"no per-payment wall", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Limits = d.GetLimits()[:2] }))
		}, []typev1.Reason{rulesRefused}},
		{"no window", func() *typev1.Envelope {
			return l.Sign(owner, next(func(d *typev1.GuardRails) { d.Limits = append(d.GetLimits()[:1:1], d.GetLimits()[2]) }))
		}, []typev1.Reason{rulesRefused}},
		{"malformed amount", func() *typev1.Envelope {
			return l.SignLoose(owner, next(func(d *typev1.GuardRails) { d.Limits[0].Amount = "1e6" }))
		}, []typev1.Reason{rulesRefused}},
		{"unknown wallet", func() *typev1.Envelope {
			return f.Wallet(evidencetest.WalletConfig{ID: "nobody"}).Head.Envelope
		}, []typev1.Reason{notActive}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := f.documents(l, 0)
			_, err := f.set(tt.e())
			servicetest.Refused(t, err, tt.want...)
			if after := f.documents(l, 0); !proto.Equal(before, after) {
				t.Error("a refused document changed what is held")
			}
		})
	}
	// What is right still goes through, and is acknowledged by digest.
	e := l.SetGuardRails(nil)
	for _, again := range []string{"first", "repeat"} {
		resp, err := f.set(e)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		a, err := evidence.CheckAcknowledgement(f.Installation, typev1.Purpose_PURPOSE_POLICY, resp.GetAcknowledgement())
		if err != nil {
			t.Fatal(err)
		}
		if a.GetKind() != typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS || a.GetWallet() != l.Name ||
			a.GetGuardRailsNumber() != l.Head.Document.GetNumber() || !l.Head.Digest.Is(a.GetGuardRailsDigest()) {
			t.Errorf("%s: acknowledges %v", again, a)
		}
	}
}

// raw signs a document with an unknown field: in the document itself, or where edit puts one.
func raw(t *testing.T, key ed25519.PrivateKey, doc *typev1.GuardRails, edit func(*typev1.GuardRails)) *typev1.Envelope {
	t.Helper()
	if edit == nil {
		edit = func(d *typev1.GuardRails) { unknown(d) }
	}
	edit(doc)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return evidencetest.SignRaw(key, evidence.TypeGuardRails, b)
}

func unknown(m proto.Message) {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
}

// A holder that was restored from a backup is led forward, version by version, across a change of owner keys.
func TestLedForward(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", nil)
	second := f.Key("owner-2")
	if _, err := f.set(l.SetGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(second)} })); err != nil {
		t.Fatal(err)
	}
	l.OwnerKey = second
	if _, err := f.set(l.SetGuardRails(nil)); err != nil {
		t.Fatal(err)
	}
	kept := f.documents(l, 0)
	if n := len(kept.GetDocuments().GetGuardRails()); n != 4 || kept.GetHeadNumber() != 3 {
		t.Fatalf("keeps %d versions up to %d", n, kept.GetHeadNumber())
	}
	if from := f.documents(l, 2); len(from.GetDocuments().GetGuardRails()) != 2 {
		t.Errorf("from number 2 there are %d", len(from.GetDocuments().GetGuardRails()))
	}

	f.kv = servicetest.Namespace(t)
	f.restart()
	if _, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: documents(l)}); err != nil {
		t.Fatal(err)
	}
	versions := kept.GetDocuments().GetGuardRails()
	if _, err := f.set(versions[3]); err == nil {
		t.Error("a version was skipped")
	}
	for _, e := range versions[1:] {
		if _, err := f.set(e); err != nil {
			t.Fatal(err)
		}
	}
	if after := f.documents(l, 0); !proto.Equal(after, kept) {
		t.Error("led forward to something else")
	}
}

// Two owners' devices that set the next version at once: one is the head, the other is told.
func TestSetGuardRailsRace(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", nil)
	zones := []string{"", "UTC", "Europe/Zurich", "Asia/Tokyo", "America/New_York"}
	won := make(chan string, len(zones))
	var wg sync.WaitGroup
	for _, zone := range zones {
		e := l.Sign(l.OwnerKey, l.NextGuardRails(func(d *typev1.GuardRails) { d.TimeZone = zone }))
		wg.Go(func() {
			if _, err := f.set(e); err == nil {
				won <- zone
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d documents took one number", len(won))
	}
	held := f.documents(l, 2).GetDocuments().GetGuardRails()
	doc := new(typev1.GuardRails)
	l.Decode(held[0], doc)
	if zone := <-won; len(held) != 1 || doc.GetTimeZone() != zone {
		t.Errorf("holds %v, acknowledged %q", doc.GetTimeZone(), zone)
	}
}

// What policy signs is what the rules say of the bytes, for a minute.
func TestJudge(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	for _, tt := range []struct {
		name     string
		to       [32]byte
		units    int64
		reviewed bool
		want     typev1.Light
	}{
		{"small, to whom is allowed", recipient, 5_000_000, false, typev1.Light_LIGHT_GREEN},
		{"a unit over the review limit", recipient, 5_000_001, false, typev1.Light_LIGHT_YELLOW},
		{"the same, approved", recipient, 5_000_001, true, typev1.Light_LIGHT_YELLOW},
		{"to a stranger", [32]byte{9}, 1, false, typev1.Light_LIGHT_YELLOW},
		{"a unit over the wall", recipient, 100_000_001, false, typev1.Light_LIGHT_RED},
		{"no review lifts the wall", recipient, 100_000_001, true, typev1.Light_LIGHT_RED},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := l.Payment(evidencetest.PaymentConfig{To: tt.to, Units: tt.units, Now: f.clock.Now()})
			if tt.reviewed {
				p.Answer(typev1.Answer_ANSWER_APPROVE, nil)
			}
			e, err := f.judge(p)
			if err != nil {
				t.Fatal(err)
			}
			a, err := evidence.CheckRequest(f.Installation, p.Request, evidencetest.Public(l.RequestKey))
			if err != nil {
				t.Fatal(err)
			}
			v, err := evidence.CheckVerdict(f.Installation, a, l.Head, e, f.clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			if v.GetLight() != tt.want {
				t.Errorf("light %v, want %v", v.GetLight(), tt.want)
			}
			if len(v.GetResults()) == 0 {
				t.Error("no rule's result")
			}
			if life := v.GetExpiryMillis() - v.GetTimeMillis(); life != time.Minute.Milliseconds() {
				t.Errorf("lives %d ms", life)
			}
			if got, want := evidence.Approves(v),
				tt.want == typev1.Light_LIGHT_GREEN || tt.want == typev1.Light_LIGHT_YELLOW && tt.reviewed; got != want {
				t.Errorf("approves %v, want %v", got, want)
			}
		})
	}
}

// A call that does not check gets no verdict at all.
func TestJudgeRefusals(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	now := start
	pay := func(c evidencetest.PaymentConfig) *evidencetest.Payment {
		c.To, c.Now = recipient, now
		if c.Units == 0 {
			c.Units = 6_000_000 // YELLOW
		}
		return l.Payment(c)
	}
	for _, tt := range []struct {
		name string
		p    func() *evidencetest.Payment
		want typev1.Reason
	}{
		{"no request", func() *evidencetest.Payment { p := pay(evidencetest.PaymentConfig{}); p.Request = nil; return p }, missing},
		{"request by another key", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			r := new(typev1.Request)
			l.Decode(p.Request, r)
			p.Request = l.Sign(f.Key("thief"), r)
			return p
		}, badStatement},
		{"no message", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			p.MessageBytes = nil
			return p
		}, missing},
		{"another message", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			p.MessageBytes = pay(evidencetest.PaymentConfig{ID: "p2"}).MessageBytes
			return p
		}, mismatch},
		{"message pays more than the intent", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			return pay(evidencetest.PaymentConfig{EditMessage: mutate(p.Message.Units + 1)})
		}, mismatch},
		{"review of another intent", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			p.Answer(typev1.Answer_ANSWER_APPROVE, func(r *typev1.Review) { r.IntentDigest = bytes.Repeat([]byte{1}, 32) })
			return p
		}, mismatch},
		{"review of another payment", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			p.Answer(typev1.Answer_ANSWER_APPROVE, func(r *typev1.Review) { r.Payment = l.Name + "/payments/p2" })
			return p
		}, mismatch},
		{"review that refuses", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			p.Answer(typev1.Answer_ANSWER_REFUSE, nil)
			return p
		}, mismatch},
		{"review whose signature is made up", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			p.Answer(typev1.Answer_ANSWER_APPROVE, nil).Signatures[0].Signature[0] ^= 1
			return p
		}, badStatement},
		{"review by a stranger, not even signed", func() *evidencetest.Payment {
			p := pay(evidencetest.PaymentConfig{})
			e := p.Answer(typev1.Answer_ANSWER_APPROVE, nil)
			e.Signatures[0].PublicKey = evidencetest.Public(f.Key("thief"))
			return p
		}, badStatement},
		{"deadline passed", func() *evidencetest.Payment {
			return pay(evidencetest.PaymentConfig{Deadline: now.Add(-evidence.Tolerance - time.Millisecond)})
		}, typev1.Reason_REASON_DEADLINE_EXPIRED},
		{"deadline more than 7 days ahead", func() *evidencetest.Payment {
			return pay(evidencetest.PaymentConfig{
				Deadline:    now.Add(evidence.DeadlineMax + evidence.Tolerance + time.Second),
				EditRequest: func(r *typev1.Request) { r.TimeMillis = now.Add(time.Hour).UnixMilli() },
			})
		}, typev1.Reason_REASON_DEADLINE_EXPIRED},
		{"message expired", func() *evidencetest.Payment {
			return pay(evidencetest.PaymentConfig{Expiry: now.Add(-evidence.Tolerance)})
		}, typev1.Reason_REASON_MESSAGE_EXPIRED},
		{"message expires too far ahead", func() *evidencetest.Payment {
			return pay(evidencetest.PaymentConfig{Expiry: now.Add(2*time.Minute + evidence.Tolerance + time.Millisecond)})
		}, typev1.Reason_REASON_MESSAGE_EXPIRED},
		{"wallet that only was claimed", func() *evidencetest.Payment {
			c := f.ClaimedWallet(evidencetest.WalletConfig{ID: "claimed"})
			if _, err := f.policy.OpenWallet(t.Context(), &policyv1.OpenWalletRequest{Documents: documents(c)}); err != nil {
				t.Fatal(err)
			}
			return c.Payment(evidencetest.PaymentConfig{To: recipient, Now: now})
		}, typev1.Reason_REASON_NO_GUARD_RAILS},
		{"unknown wallet", func() *evidencetest.Payment {
			return f.Wallet(evidencetest.WalletConfig{ID: "nobody"}).Payment(evidencetest.PaymentConfig{To: recipient, Now: now})
		}, notActive},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := f.judge(tt.p())
			servicetest.Refused(t, err, tt.want)
			if e != nil {
				t.Error("a verdict came with the refusal")
			}
		})
	}
}

// An amount that is none, and a field that is malformed or too large, get no verdict either.
func TestJudgeRefusesMalformedIntents(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	for _, tt := range evidencetest.MalformedIntents() {
		t.Run(tt.Name, func(t *testing.T) {
			p := l.Payment(evidencetest.PaymentConfig{To: recipient, Now: start})
			p.Malform(tt.Edit)
			e, err := f.judge(p)
			servicetest.Refused(t, err, badStatement)
			if e != nil {
				t.Error("a verdict came with the refusal")
			}
		})
	}
}

// A review under a key that the head no longer names is as if there were none: the payment waits again.
func TestJudgeReviewByReplacedKey(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	p := l.Payment(evidencetest.PaymentConfig{To: recipient, Units: 6_000_000, Now: start})
	p.Answer(typev1.Answer_ANSWER_APPROVE, nil)
	rotate := func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(f.Key("owner-2"))} }
	if _, err := f.set(l.SetGuardRails(rotate)); err != nil {
		t.Fatal(err)
	}
	e, err := f.judge(p)
	if err != nil {
		t.Fatal(err)
	}
	v := new(typev1.Verdict)
	l.Decode(e, v)
	if v.GetLight() != typev1.Light_LIGHT_YELLOW || evidence.Approves(v) {
		t.Errorf("light %v, approves %v", v.GetLight(), evidence.Approves(v))
	}
}

// A dry run says the same and is no evidence: it carries no signature.
func TestJudgeDryRun(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	p := l.Payment(evidencetest.PaymentConfig{To: recipient, Now: start, Expiry: start.Add(-time.Hour)})
	resp, err := f.policy.Judge(t.Context(), &policyv1.JudgeRequest{Request: p.Request, Message: p.MessageBytes, ValidateOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(resp.GetVerdict().GetSignatures()); n != 0 {
		t.Errorf("%d signatures", n)
	}
	v := new(typev1.Verdict)
	if err := evidence.Unmarshal(resp.GetVerdict().GetPayload(), v); err != nil || v.GetLight() != typev1.Light_LIGHT_GREEN {
		t.Errorf("verdict %v, %v", v, err)
	}
}

// What was pinned and set is there after a restart, and the head judges.
func TestRestart(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.Allow(recipient))
	f.restart()
	if _, err := f.judge(l.Payment(evidencetest.PaymentConfig{To: recipient, Now: start})); err != nil {
		t.Error(err)
	}
}

// A service that could not sign as policy does not start.
func TestNewRefusesAnotherKey(t *testing.T) {
	w := evidencetest.New(t)
	if _, err := policy.New(policy.Config{Installations: w.Installations, Key: w.Ledger, KV: servicetest.Namespace(t)}); err == nil {
		t.Error("started under the ledger's key")
	}
}

// Answers stay within one gRPC message, however large the documents are.
func TestGetDocumentsPages(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", nil)
	for n := range 14 {
		if _, err := f.set(l.SetGuardRails(func(d *typev1.GuardRails) {
			d.Recipients = &typev1.Recipients{Unknown: typev1.Light_LIGHT_RED, Allow: keys(byte(n), 256), Deny: keys(byte(n+100), 256)}
		})); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for from := uint64(0); ; {
		resp := f.documents(l, from)
		if size := proto.Size(resp); size > 256<<10 {
			t.Fatalf("an answer of %d bytes", size)
		}
		page := resp.GetDocuments().GetGuardRails()
		if len(page) == 0 {
			t.Fatalf("an empty page from %d", from)
		}
		seen += len(page)
		doc := new(typev1.GuardRails)
		l.Decode(page[len(page)-1], doc)
		if doc.GetNumber() == resp.GetHeadNumber() {
			break
		}
		from = doc.GetNumber() + 1
	}
	if seen != 16 {
		t.Errorf("saw %d versions, want 16", seen)
	}
}

func keys(first byte, n int) [][]byte {
	var out [][]byte
	for i := range n {
		out = append(out, append([]byte{first, byte(i)}, make([]byte, 30)...))
	}
	return out
}

// BenchmarkJudge is a judgement by guard rails as they mostly are, and by the longest list of recipients.
func BenchmarkJudge(b *testing.B) {
	for _, recipients := range []int{1, 256} {
		b.Run(fmt.Sprintf("recipients=%d", recipients), func(b *testing.B) {
			w := evidencetest.New(b)
			s, err := policy.New(policy.Config{
				Installations: w.Installations, Key: w.Policy, KV: servicetest.Namespace(b), Clock: func() time.Time { return start },
			})
			if err != nil {
				b.Fatal(err)
			}
			l := w.ClaimedWallet(evidencetest.WalletConfig{})
			if _, err := s.OpenWallet(b.Context(), &policyv1.OpenWalletRequest{Documents: documents(l)}); err != nil {
				b.Fatal(err)
			}
			allow := [][32]byte{recipient}
			for _, key := range keys(7, recipients-1) {
				allow = append(allow, [32]byte(key))
			}
			if _, err := s.SetGuardRails(b.Context(),
				&policyv1.SetGuardRailsRequest{GuardRails: l.SetGuardRails(evidencetest.Allow(allow...))}); err != nil {
				b.Fatal(err)
			}
			p := l.Payment(evidencetest.PaymentConfig{To: recipient, Now: start})
			for b.Loop() {
				if _, err := s.Judge(b.Context(), &policyv1.JudgeRequest{Request: p.Request, Message: p.MessageBytes}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
