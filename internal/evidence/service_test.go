package evidence_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestServiceStatements: each is taken under the one key that may sign it, and under no other key of the installation, nor of
// another installation.
func TestServiceStatements(t *testing.T) {
	w := fixedWorld(t)
	elsewhere := evidencetest.NewWith(t, evidencetest.Config{Seed: "golden", ID: "prod"})
	l := w.Wallet(evidencetest.WalletConfig{ID: "research"})
	keyStart := w.Sign(l.RequestKey, sampleOf(t, "keygen-start"))
	checks := []struct {
		sample string
		check  func(i *evidence.Installation, e *typev1.Envelope) error
	}{
		{"settlement", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckSettlement(i, e)
			return err
		}},
		{"dead-message", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckDeadMessage(i, e)
			return err
		}},
		{"settlement on Solana", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckSettlement(i, e)
			return err
		}},
		{"chain-transfer out", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckChainTransfer(i, e)
			return err
		}},
		{"journal-head", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckJournalHead(i, e)
			return err
		}},
		{"acknowledgement of a freeze", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckAcknowledgement(i, typev1.Purpose_PURPOSE_COSIGNER, e)
			return err
		}},
		{"registration-end", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckRegistrationEnd(i, e)
			return err
		}},
		{"keygen-answer", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckKeyGenerationAnswer(i, keyStart, e)
			return err
		}},
		{"keygen-start", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckKeyGenerationStart(i, e)
			return err
		}},
		{"wallet-record", func(i *evidence.Installation, e *typev1.Envelope) error {
			_, err := evidence.CheckRecord(i, e)
			return err
		}},
		{"deposit", checkOperator},
		{"redemption", checkOperator},
		{"accept-loss", checkOperator},
		{"set-time", checkOperator},
	}
	signers := []string{"cosigner", "policy", "ledger", "operator", "request/research", "owner/owner", "foreign"}
	for _, c := range checks {
		t.Run(c.sample, func(t *testing.T) {
			m := sampleOf(t, c.sample)
			var right string
			for _, s := range samples(t) {
				if s.name == c.sample {
					right = s.signer
				}
			}
			for _, signer := range signers {
				err := c.check(w.Installation, w.Sign(w.Key(signer), m))
				if (err == nil) != (signer == right) {
					t.Errorf("under %s: %v", signer, err)
				}
			}
			good := w.Sign(w.Key(right), m)
			if err := c.check(elsewhere.Installation, good); err == nil {
				t.Error("another installation takes it")
			}
			if err := c.check(w.Installation, flip(good)); err == nil {
				t.Error("taken after a byte changed")
			}
			if err := c.check(w.Installation, nil); err == nil {
				t.Error("taken when missing")
			}
			if err := c.check(w.Installation, w.Sign(w.Key(right), sampleOf(t, "review"))); err == nil {
				t.Error("a statement of another type is taken")
			}
		})
	}
}

func checkOperator(i *evidence.Installation, e *typev1.Envelope) error {
	_, err := evidence.CheckOperator(i, e)
	return err
}

func TestDepositOfOtherMoney(t *testing.T) {
	w := fixedWorld(t)
	d := sampleOf(t, "deposit").(*typev1.Deposit)
	d.Asset = "halfkey:prod/iso4217:USD"
	_, err := evidence.CheckOperator(w.Installation, w.Sign(w.Operator, d))
	wantRefusal(t, err, invalidArg, "deposit", "asset")
}

func TestKeyGenerationAnswerIsForItsStart(t *testing.T) {
	w := fixedWorld(t)
	l := w.Wallet(evidencetest.WalletConfig{ID: "research"})
	keyStart := w.Sign(l.RequestKey, sampleOf(t, "keygen-start"))
	rows := []struct {
		field string
		edit  func(a *typev1.KeyGenerationAnswer)
	}{
		{"wallet", func(a *typev1.KeyGenerationAnswer) { a.Wallet = "wallets/other" }},
		{"run", func(a *typev1.KeyGenerationAnswer) { a.Run = make([]byte, 16) }},
		{"start_digest", func(a *typev1.KeyGenerationAnswer) { a.StartDigest = digestOf(1) }},
	}
	for _, row := range rows {
		t.Run(row.field, func(t *testing.T) {
			a := sampleOf(t, "keygen-answer").(*typev1.KeyGenerationAnswer)
			row.edit(a)
			_, err := evidence.CheckKeyGenerationAnswer(w.Installation, keyStart, w.Sign(w.Cosigner, a))
			wantRefusal(t, err, isMismatch, "keygen-answer", row.field)
		})
	}
	weak := sampleOf(t, "keygen-start").(*typev1.KeyGenerationStart)
	weak.RequestKey = identityPoint()
	if _, err := evidence.CheckKeyGenerationStart(w.Installation, weakly(t, weak)); err == nil {
		t.Error("a request key of small order may begin")
	}
}

// weakly signs under the identity: R = B, S = 1 satisfies S*B = R + c*A for any message when A is the identity.
func weakly(t *testing.T, m proto.Message) *typev1.Envelope {
	t.Helper()
	payloadType, _ := evidence.TypeOf(m)
	sig := make([]byte, 64)
	// The base point's encoding: y = 4/5.
	sig[0] = 0x58
	for i := 1; i < 32; i++ {
		sig[i] = 0x66
	}
	sig[32] = 1
	return &typev1.Envelope{
		PayloadType: payloadType,
		Payload:     loose(t, m),
		Signatures:  []*typev1.Signature{{PublicKey: identityPoint(), Signature: sig}},
	}
}

// TestWeakKeysSignAnything shows why keys are checked where they enter: this signature needs no secret, and Open takes it.
func TestWeakKeysSignAnything(t *testing.T) {
	if _, err := evidence.Open(weakly(t, sampleOf(t, "review")), new(typev1.Review), identityPoint()); err != nil {
		t.Errorf("the forgery does not verify, so the tests of small order prove nothing: %v", err)
	}
}

func TestCheckUnfreeze(t *testing.T) {
	w := fixedWorld(t)
	l := w.Wallet(evidencetest.WalletConfig{ID: "research"})
	unfreeze := func(scope typev1.Scope) *typev1.Unfreeze {
		u := &typev1.Unfreeze{Installation: "golden", Scope: scope, FreezeId: "f1"}
		switch scope {
		case typev1.Scope_SCOPE_WALLET:
			u.Wallet = l.Name
		case typev1.Scope_SCOPE_OWNER:
			u.Owner = l.Owner
		}
		return u
	}
	ownerKeys := l.Head.Document.GetOwnerKeys()
	owner, operator, agent := l.OwnerKey, w.Operator, l.RequestKey
	rows := []struct {
		name  string
		scope typev1.Scope
		key   []byte // who signed, if it is taken
		sign  func(u *typev1.Unfreeze) *typev1.Envelope
		keys  [][]byte
		ok    bool
	}{
		{
			"wallet, owner", typev1.Scope_SCOPE_WALLET, evidencetest.Public(owner),
			func(u *typev1.Unfreeze) *typev1.Envelope { return w.Sign(owner, u) }, ownerKeys, true,
		},
		{
			"owner, owner", typev1.Scope_SCOPE_OWNER, evidencetest.Public(owner),
			func(u *typev1.Unfreeze) *typev1.Envelope { return w.Sign(owner, u) }, ownerKeys, true,
		},
		{
			"wallet, agent", typev1.Scope_SCOPE_WALLET, nil, func(u *typev1.Unfreeze) *typev1.Envelope { return w.Sign(agent, u) },
			ownerKeys, false,
		},
		{
			"wallet, operator", typev1.Scope_SCOPE_WALLET, nil, func(u *typev1.Unfreeze) *typev1.Envelope { return w.Sign(operator, u) },
			ownerKeys, false,
		},
		{"wallet, no keys", typev1.Scope_SCOPE_WALLET, nil, func(u *typev1.Unfreeze) *typev1.Envelope { return w.Sign(owner, u) }, nil, false},
		{
			"installation, operator", typev1.Scope_SCOPE_INSTALLATION, evidencetest.Public(operator),
			func(u *typev1.Unfreeze) *typev1.Envelope { return w.Sign(operator, u) }, ownerKeys, true,
		},
		{
			"installation, owner", typev1.Scope_SCOPE_INSTALLATION, nil, func(u *typev1.Unfreeze) *typev1.Envelope { return w.Sign(owner, u) },
			ownerKeys, false,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			u, signer, err := evidence.CheckUnfreeze(w.Installation, row.sign(unfreeze(row.scope)), row.keys...)
			if (err == nil) != row.ok || (u != nil) != row.ok || !bytes.Equal(signer, row.key) {
				t.Errorf("CheckUnfreeze = %v, %x, %v, want ok %v by %x", u, signer, err, row.ok, row.key)
			}
		})
	}
	foreign := w.Sign(w.Key("foreign"), unfreeze(typev1.Scope_SCOPE_OWNER))
	_, signer, err := evidence.CheckUnfreeze(w.Installation, foreign, evidence.Signers(foreign)...)
	if err != nil || evidence.MayUnfreeze(l.Head, signer) {
		t.Errorf("a stranger's owner-wide unfreeze: %v, counts %v; want kept, and not counted", err, evidence.MayUnfreeze(l.Head, signer))
	}
	if !evidence.MayUnfreeze(l.Head, evidencetest.Public(owner)) {
		t.Error("the owner's unfreeze does not count")
	}
}

func TestCheckOwnerRegistration(t *testing.T) {
	w := fixedWorld(t)
	bootstrap := w.Key("bootstrap")
	registration := func() *typev1.OwnerRegistration { return sampleOf(t, "owner-registration").(*typev1.OwnerRegistration) }
	twice := func(first, second string, m *typev1.OwnerRegistration) *typev1.Envelope {
		e, err := evidence.CoSign(w.SignLoose(w.Key(first), m), w.Key(second))
		if err != nil {
			t.Fatalf("CoSign: %v", err)
		}
		return e
	}
	withKey := func(k []byte) *typev1.OwnerRegistration {
		m := registration()
		m.OwnerKeys = sortedKeys(append(m.GetOwnerKeys(), k)...)
		return m
	}
	rows := []struct {
		name string
		e    *typev1.Envelope
		ok   bool
	}{
		{"owner and bootstrap", twice("owner/owner", "bootstrap", registration()), true},
		{"the owner's second key and bootstrap", twice("owner second", "bootstrap", registration()), true},
		{"owner alone", w.Sign(w.Key("owner/owner"), registration()), false},
		{"bootstrap alone", w.Sign(bootstrap, registration()), false},
		{"two owner keys", twice("owner/owner", "owner second", registration()), false},
		{"a stranger and bootstrap", twice("foreign", "bootstrap", registration()), false},
		{"bootstrap as owner key", twice("owner/owner", "bootstrap", withKey(evidencetest.Public(bootstrap))), false},
		{"an owner key of small order", twice("owner/owner", "bootstrap", withKey(identityPoint())), false},
		{"missing", nil, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m, err := evidence.CheckOwnerRegistration(w.Installation, row.e, evidencetest.Public(bootstrap))
			if (err == nil) != row.ok || (m != nil) != row.ok {
				t.Errorf("got %v, %v, want ok %v", m, err, row.ok)
			}
		})
	}
}

func TestCheckToken(t *testing.T) {
	w := fixedWorld(t)
	token := sampleOf(t, "token").(*typev1.Token)
	key := w.Key("request/research")
	e := w.Sign(key, token)
	made, ends := time.UnixMilli(token.GetTimeMillis()), time.UnixMilli(token.GetExpiryMillis())
	rows := []struct {
		name             string
		method, resource string
		now              time.Time
		key              string
		ok               bool
	}{
		{"fresh", token.GetMethod(), token.GetResource(), made, "request/research", true},
		{"5 s before it was made", token.GetMethod(), token.GetResource(), made.Add(-5 * time.Second), "request/research", true},
		{
			"more than 5 s before it was made", token.GetMethod(), token.GetResource(), made.Add(-5*time.Second - time.Millisecond),
			"request/research", false,
		},
		{"5 s after its end", token.GetMethod(), token.GetResource(), ends.Add(5 * time.Second), "request/research", true},
		{
			"more than 5 s after its end", token.GetMethod(), token.GetResource(), ends.Add(5*time.Second + time.Millisecond),
			"request/research", false,
		},
		{"for another method", strings.Replace(token.GetMethod(), "Get", "Cancel", 1), token.GetResource(), made, "request/research", false},
		{"for another resource", token.GetMethod(), token.GetResource() + "x", made, "request/research", false},
		{"of another caller", token.GetMethod(), token.GetResource(), made, "owner/owner", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := evidence.CheckToken(w.Installation, e, row.method, row.resource, row.now, evidencetest.Public(w.Key(row.key)))
			if (err == nil) != row.ok {
				t.Errorf("got %v, want ok %v", err, row.ok)
			}
		})
	}
}
