package evidence_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	yellow = typev1.Light_LIGHT_YELLOW
	red    = typev1.Light_LIGHT_RED
	usd    = 1_000_000

	onBook   = typev1.Rail_RAIL_BOOK
	onSolana = typev1.Rail_RAIL_SOLANA
)

// rails are what the tables of the gate run on.
var rails = []typev1.Rail{onBook, onSolana}

var start = time.UnixMilli(1_800_000_000_000).UTC()

// scene is one payment before the gate; a row of a table makes it dishonest in one way.
type scene struct {
	*evidencetest.Payment
	payee *evidencetest.Wallet
	pay   evidencetest.PaymentConfig

	pins   evidence.Pins
	now    time.Time
	bundle *evidence.Bundle // nil: what the payment has
}

func newScene(t *testing.T) *scene { t.Helper(); return newSceneOn(t, onBook) }

func newSceneOn(t *testing.T, rail typev1.Rail) *scene {
	t.Helper()
	w := evidencetest.New(t)
	payee := w.Wallet(evidencetest.WalletConfig{ID: "payee", Owner: "other"})
	payer := w.Wallet(evidencetest.WalletConfig{ID: "payer"})
	payer.SetGuardRails(evidencetest.AllowSolana(payee.GroupKey))
	s := &scene{payee: payee, now: start, pay: evidencetest.PaymentConfig{To: payee.GroupKey, Now: start, Rail: rail}}
	s.again(payer)
	return s
}

// again makes the payment of s.pay, with verdict and receipt.
func (s *scene) again(l *evidencetest.Wallet) {
	s.Payment = l.Payment(s.pay)
	s.Judge(s.pay.Now, nil)
	s.Record(s.pay.Now, nil)
	s.pins = l.Pins()
}

// reviewed makes a payment that needs a person, with everything an approving one brings.
func (s *scene) reviewed() {
	s.pay.Units = 20 * usd
	s.Payment = s.Wallet.Payment(s.pay)
	s.Answer(typev1.Answer_ANSWER_APPROVE, nil)
	s.Judge(s.pay.Now, nil)
	s.Record(s.pay.Now, nil)
}

// other is another payment of the same wallet, honest and complete.
func (s *scene) other() *evidencetest.Payment {
	c := s.pay
	c.ID = "other"
	p := s.Wallet.Payment(c)
	p.Judge(c.Now, nil)
	p.Record(c.Now, nil)
	return p
}

// sells puts guard rails in force that allow requests to one HTTP host.
func (s *scene) sells(host string, edits ...func(*typev1.X402Host)) {
	h := &typev1.X402Host{Host: host}
	for _, edit := range edits {
		edit(h)
	}
	s.SetGuardRails(func(doc *typev1.GuardRails) {
		doc.X402 = &typev1.X402Rules{Hosts: []*typev1.X402Host{h}, UnknownHost: typev1.Light_LIGHT_RED}
	})
}

// asksFor makes an intent one for a request to an HTTP host.
func asksFor(host string) func(*typev1.Intent) {
	return func(m *typev1.Intent) {
		m.X402 = &typev1.X402Context{Method: "GET", Scheme: "https", Host: host, Path: "/", UrlDigest: digestOf(1), BodyDigest: digestOf(2)}
	}
}

// message changes what the bytes say; the request names the changed bytes.
func (s *scene) message(edit func(*book.Message)) {
	s.pay.EditMessage = edit
	s.again(s.Wallet)
}

// bytes makes the agent sign for other bytes than a book message.
func (s *scene) bytes(b []byte) {
	s.pay.EditRequest = func(r *typev1.Request) { r.MessageDigest = evidence.MessageDigest(b).Bytes() }
	s.again(s.Wallet)
	s.bundleNow().Message = b
}

func (s *scene) bundleNow() *evidence.Bundle {
	if s.bundle == nil {
		b := s.Bundle()
		s.bundle = &b
	}
	return s.bundle
}

func (s *scene) verify() (*evidence.Verified, error) {
	return evidence.Verify(*s.bundleNow(), s.pins, s.now)
}

func (s *scene) resign(e *typev1.Envelope, key string) *typev1.Envelope {
	return evidencetest.SignRaw(s.Key(key), e.GetPayloadType(), e.GetPayload())
}

func flip(e *typev1.Envelope) *typev1.Envelope {
	e = proto.CloneOf(e)
	e.Payload[len(e.Payload)/2] ^= 1
	return e
}

func digestOf(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// opening is a scene that passes.
type opening struct {
	name string
	set  func(s *scene)
}

// opens are the scenes that pass, edges included.
var opens = []opening{
	{"green", func(s *scene) {}},
	{"yellow with its review", (*scene).reviewed},
	{"for a request to an HTTP host that they allow, to the recipient pinned there", func(s *scene) {
		s.sells("api.example", func(h *typev1.X402Host) { h.Recipients = [][]byte{s.payee.GroupKey[:]} })
		s.SetGuardRails(func(doc *typev1.GuardRails) { doc.Recipients.Allow = nil })
		s.pay.EditIntent = asksFor("api.example")
		s.again(s.Wallet)
	}},
	{"yellow by the ledger alone", func(s *scene) {
		s.Answer(typev1.Answer_ANSWER_APPROVE, nil)
		s.Record(start, func(r *typev1.Receipt) {
			r.Light, r.ReviewDigest = yellow, evidence.EnvelopeDigest(s.Review).Bytes()
		})
	}},
	{"yellow by policy alone", func(s *scene) {
		s.Answer(typev1.Answer_ANSWER_APPROVE, nil)
		s.Judge(start, func(v *typev1.Verdict) {
			v.Light, v.ReviewDigest = yellow, evidence.EnvelopeDigest(s.Review).Bytes()
		})
		s.Record(start, nil)
	}},
	{"green with a review that nobody needs", func(s *scene) {
		s.Answer(typev1.Answer_ANSWER_REFUSE, nil)
	}},
	{"another owner key answered the same", func(s *scene) {
		second := s.Key("second")
		s.SetGuardRails(func(doc *typev1.GuardRails) {
			doc.OwnerKeys = sortedKeys(evidencetest.Public(s.OwnerKey), evidencetest.Public(second))
		})
		s.pins = s.Pins()
		s.reviewed()
		s.Review = s.resign(s.Review, "second")
	}},
	{"receipt 60 seconds old", func(s *scene) { s.now = start.Add(60 * time.Second) }},
	{"receipt 5 seconds ahead", func(s *scene) { s.now = start.Add(-5 * time.Second) }},
	{"receipt 5 seconds before the verdict", func(s *scene) { s.Record(start.Add(-5*time.Second), nil) }},
	{"receipt 5 seconds after the verdict's end", func(s *scene) {
		s.Record(start.Add(65*time.Second), nil)
		s.now = start.Add(65 * time.Second)
	}},
	{"message expires 1 ms later", func(s *scene) {
		s.pay.Expiry = start.Add(time.Millisecond)
		s.again(s.Wallet)
	}},
	{"message expires in 2 minutes", func(s *scene) {
		s.pay.Expiry = start.Add(2 * time.Minute)
		s.again(s.Wallet)
	}},
	{"intent's last moment", func(s *scene) {
		s.pay.Deadline = start
		s.again(s.Wallet)
	}},
	{"intent's deadline in 7 days", func(s *scene) {
		s.pay.Deadline = start.Add(7 * 24 * time.Hour)
		s.again(s.Wallet)
	}},
}

func TestVerifyOpens(t *testing.T) {
	onEveryRail(t, opens, func(row opening) string { return row.name }, func(t *testing.T, rail typev1.Rail, row opening) {
		s := newSceneOn(t, rail)
		row.set(s)
		v, err := s.verify()
		if err != nil {
			t.Fatalf("Verify: %v", err)
		}
		if v.Payment() != s.Name {
			t.Errorf("Payment = %q, want %q", v.Payment(), s.Name)
		}
		g, err := v.Take()
		if err != nil {
			t.Fatalf("Take: %v", err)
		}
		if diff := cmp.Diff(g.Message, s.MessageBytes); diff != "" {
			t.Errorf("granted message (-got +want):\n%s", diff)
		}
		request := new(typev1.Request)
		s.Decode(s.Request, request)
		if !bytes.Equal(g.Commitment[:], request.GetCommitment()) {
			t.Errorf("granted commitment = %x, want %x", g.Commitment, request.GetCommitment())
		}
		if d := evidence.EnvelopeDigest(s.Request); !bytes.HasSuffix(g.Context, d[:]) || !bytes.Contains(g.Context, []byte(s.Name)) {
			t.Errorf("context %x does not name request and payment", g.Context)
		}
	})
}

const (
	badStatement = typev1.Reason_REASON_BAD_STATEMENT
	isMissing    = typev1.Reason_REASON_EVIDENCE_MISSING
	isStale      = typev1.Reason_REASON_EVIDENCE_STALE
	isMismatch   = typev1.Reason_REASON_EVIDENCE_MISMATCH
	headChanged  = typev1.Reason_REASON_GUARD_RAILS_CHANGED
	rulesChanged = typev1.Reason_REASON_RULES_CHANGED
	noRails      = typev1.Reason_REASON_NO_GUARD_RAILS
	msgExpired   = typev1.Reason_REASON_MESSAGE_EXPIRED
	deadline     = typev1.Reason_REASON_DEADLINE_EXPIRED
	invalidArg   = typev1.Reason_REASON_INVALID_ARGUMENT
)

// refusal is one way in which the gate does not let a share go.
type refusal struct {
	piece, way   string
	set          func(s *scene)
	reason       typev1.Reason
	where, field string // piece and field that the refusal names
}

// refusals is the gate's table: for each piece, each way in which it does not let a share go.
var refusals = []refusal{
	// 1: the bytes.
	{"bytes", "missing", func(s *scene) { s.bundleNow().Message = nil }, isMissing, "message", ""},
	{"bytes", "tampered", func(s *scene) {
		b := bytes.Clone(s.MessageBytes)
		b[len(b)-1] ^= 1
		s.bundleNow().Message = b
	}, isMismatch, "message", ""},
	{"bytes", "another payment's", func(s *scene) { s.bundleNow().Message = s.other().MessageBytes }, isMismatch, "message", ""},
	{"bytes", "another payment's, requested", func(s *scene) { s.bytes(s.other().MessageBytes) }, isMismatch, "message", "payment"},
	{"bytes", "one byte too many, requested", func(s *scene) { s.bytes(append(bytes.Clone(s.MessageBytes), 0)) }, badStatement, "message", ""},
	{"bytes", "one byte too few, requested", func(s *scene) { s.bytes(s.MessageBytes[:len(s.MessageBytes)-1]) }, badStatement, "message", ""},
	{"bytes", "a key test's, requested", func(s *scene) {
		s.bytes(evidence.KeyTestMessage(s.Installation.ID(), s.Wallet.Name, s.GroupKey, [32]byte{1}))
	}, badStatement, "message", ""},
	{"bytes", "a chain's, requested", func(s *scene) { s.bytes([]byte{0x80, 1, 0, 0}) }, badStatement, "message", ""},
	{
		"bytes", "too large, requested", func(s *scene) { s.bytes(bytes.Repeat([]byte{0xff}, evidence.MessageMax+1)) },
		badStatement, "message", "",
	},
	{"bytes", "other installation", func(s *scene) {
		s.message(func(m *book.Message) { m.Installation, m.Asset = "prod", "halfkey:prod/iso4217:USD" })
	}, isMismatch, "message", "installation"},
	{"bytes", "other payment", func(s *scene) { s.message(func(m *book.Message) { m.Payment += "x" }) }, isMismatch, "message", "payment"},
	{"bytes", "other payer", func(s *scene) { s.message(func(m *book.Message) { m.Payer[0] ^= 1 }) }, isMismatch, "message", "payer"},
	{
		"bytes", "other recipient", func(s *scene) { s.message(func(m *book.Message) { m.Recipient[0] ^= 1 }) },
		isMismatch, "message", "recipient",
	},
	{
		"bytes", "other asset", func(s *scene) { s.bytes(bytes.Replace(s.MessageBytes, []byte("USD"), []byte("EUR"), 1)) },
		badStatement, "message", "",
	},
	{"bytes", "recipient is the payer", func(s *scene) {
		s.bytes(bytes.Replace(s.MessageBytes, s.payee.GroupKey[:], s.GroupKey[:], 1))
	}, badStatement, "message", ""},
	{"bytes", "other units", func(s *scene) { s.message(func(m *book.Message) { m.Units++ }) }, isMismatch, "message", "units"},
	{
		"bytes", "other intent", func(s *scene) { s.message(func(m *book.Message) { m.IntentDigest[31] ^= 1 }) },
		isMismatch, "message", "intent_digest",
	},
	{"bytes", "stale: expires at receipt time", func(s *scene) {
		s.pay.Expiry = start
		s.again(s.Wallet)
	}, msgExpired, "message", "expiry"},
	{"bytes", "stale: expires after 2 minutes", func(s *scene) {
		s.pay.Expiry = start.Add(2*time.Minute + time.Millisecond)
		s.again(s.Wallet)
	}, msgExpired, "message", "expiry"},
	{"bytes", "stale: intent's deadline has passed", func(s *scene) {
		s.pay.Deadline = start.Add(-time.Millisecond)
		s.again(s.Wallet)
	}, deadline, "intent", "deadline_millis"},

	// 2: the request.
	{"request", "missing", func(s *scene) { s.bundleNow().Request = nil }, isMissing, "request", ""},
	{"request", "stale: deadline more than 7 days later", func(s *scene) {
		s.pay.Deadline = start.Add(evidence.DeadlineMax + time.Millisecond)
		s.again(s.Wallet)
	}, deadline, "intent", "deadline_millis"},
	{"request", "stale: made in the future, so that its deadline is far", func(s *scene) {
		s.pay.Deadline = start.Add(evidence.DeadlineMax + evidence.Tolerance + time.Millisecond)
		s.pay.EditRequest = func(r *typev1.Request) { r.TimeMillis = s.pay.Deadline.UnixMilli() }
		s.again(s.Wallet)
	}, deadline, "intent", "deadline_millis"},
	{"request", "another payment's", func(s *scene) { s.bundleNow().Request = s.other().Request }, isMismatch, "message", ""},
	{"request", "another wallet's, under this request key", func(s *scene) {
		other := s.World.Wallet(evidencetest.WalletConfig{ID: "twin", RequestKey: s.RequestKey}).Payment(s.pay)
		s.bundleNow().Request = other.Request
	}, isMismatch, "request", "wallet"},
	{"request", "another installation's", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.Installation = "prod" }
		s.again(s.Wallet)
	}, isMismatch, "request", "installation"},
	{"request", "another installation's intent", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) { i.Installation = "prod" }
		s.again(s.Wallet)
	}, isMismatch, "intent", "installation"},
	{"request", "another payment's intent", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) { i.Payment += "x" }
		s.again(s.Wallet)
	}, isMismatch, "request", "payment"},
	{"request", "another wallet's intent", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) { i.Wallet, i.Payment = "wallets/payee", "wallets/payee/payments/p1" }
		s.again(s.Wallet)
	}, isMismatch, "request", "wallet"},
	{"request", "intent with another asset", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) { i.Asset = "halfkey:prod/iso4217:USD" }
		s.again(s.Wallet)
	}, invalidArg, "intent", "asset"},
	{"request", "intent with an unknown field", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.Intent = append(r.GetIntent(), 0xf8, 0x07, 1) }
		s.again(s.Wallet)
	}, badStatement, "intent", "Intent"},
	{"request", "tampered", func(s *scene) { s.bundleNow().Request = flip(s.Request) }, badStatement, "request", "*"},
	{"request", "tampered signature", func(s *scene) {
		e := proto.CloneOf(s.Request)
		e.Signatures[0].Signature[0] ^= 1
		s.bundleNow().Request = e
	}, badStatement, "request", "signatures"},
	{"request", "unsigned", func(s *scene) {
		e := proto.CloneOf(s.Request)
		e.Signatures = nil
		s.bundleNow().Request = e
	}, badStatement, "request", "signatures"},
	{
		"request", "under the owner's key", func(s *scene) { s.bundleNow().Request = s.resign(s.Request, "owner/owner") },
		badStatement, "request", "signatures",
	},
	{"request", "under a replaced request key", func(s *scene) {
		s.SetGuardRails(func(doc *typev1.GuardRails) { doc.RequestKey = evidencetest.Public(s.Key("new")) })
		s.again(s.Wallet)
	}, badStatement, "request", "signatures"},
	{"request", "a foreign key beside a false signature", func(s *scene) {
		e := s.resign(s.Request, "foreign")
		e.Signatures = append(e.Signatures, &typev1.Signature{PublicKey: evidencetest.Public(s.RequestKey), Signature: make([]byte, 64)})
		s.bundleNow().Request = e
	}, badStatement, "request", "signatures"},
	{"request", "signed as another type", func(s *scene) {
		s.bundleNow().Request = evidencetest.SignRaw(s.RequestKey, evidence.TypeReview, s.Request.GetPayload())
	}, badStatement, "request", "payload_type"},
	{"request", "type changed after signing", func(s *scene) {
		e := evidencetest.SignRaw(s.RequestKey, evidence.TypeReview, s.Request.GetPayload())
		e.PayloadType = evidence.TypeRequest
		s.bundleNow().Request = e
	}, badStatement, "request", "signatures"},

	// 3: the guard rails.
	{"guard rails", "missing", func(s *scene) { s.pins.Head = nil }, isMissing, "guard-rails", ""},
	{"guard rails", "number 0", func(s *scene) {
		s.pins.Head, _ = evidence.NewHead(s.Claim)
	}, noRails, "guard-rails", "number"},
	{"guard rails", "stale: evidence under the version before", func(s *scene) {
		s.SetGuardRails(nil)
		s.pins = s.Pins()
	}, headChanged, "receipt", "guard_rails_digest"},
	{"guard rails", "another wallet's", func(s *scene) { s.pins.Head = s.payee.Head }, isMismatch, "guard-rails", "wallet"},
	{"guard rails", "another installation's", func(s *scene) {
		doc := proto.CloneOf(s.Head.Document)
		doc.Installation = "prod"
		s.pins.Head, _ = evidence.NewHead(s.SignLoose(s.OwnerKey, doc))
	}, isMismatch, "guard-rails", "installation"},
	{"guard rails", "hard cap, policy and ledger say green", func(s *scene) {
		s.pay.Units = 100*usd + 1
		s.again(s.Wallet)
		s.Judge(start, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
		s.Record(start, nil)
	}, rulesChanged, "guard-rails", ""},
	{"guard rails", "hard cap, and a review", func(s *scene) {
		s.pay.Units = 100*usd + 1
		s.again(s.Wallet)
		s.Answer(typev1.Answer_ANSWER_APPROVE, nil)
		s.Judge(start, func(v *typev1.Verdict) {
			v.Light, v.Results, v.ReviewDigest = yellow, nil, evidence.EnvelopeDigest(s.Review).Bytes()
		})
		s.Record(start, nil)
	}, rulesChanged, "guard-rails", ""},
	{"guard rails", "denied recipient, policy says green", func(s *scene) {
		s.SetGuardRails(func(doc *typev1.GuardRails) { doc.Recipients.Deny = doc.GetRecipients().GetAllow() })
		s.again(s.Wallet)
		s.Judge(start, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
		s.Record(start, nil)
	}, rulesChanged, "guard-rails", ""},
	{"guard rails", "want a review, policy and ledger say green", func(s *scene) {
		s.pay.Units = 20 * usd
		s.again(s.Wallet)
		s.Judge(start, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
		s.Record(start, nil)
	}, isMissing, "review", ""},
	{"guard rails", "HTTP host that they deny, policy and ledger say green", func(s *scene) {
		s.sells("api.example")
		s.pay.EditIntent = asksFor("other.example")
		s.again(s.Wallet)
		s.Judge(start, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
		s.Record(start, nil)
	}, rulesChanged, "guard-rails", ""},
	{"guard rails", "another recipient than the HTTP host's, policy and ledger say green", func(s *scene) {
		s.sells("api.example", func(h *typev1.X402Host) { h.Recipients = [][]byte{s.Wallet.GroupKey[:]} })
		s.pay.EditIntent = asksFor("api.example")
		s.again(s.Wallet)
		s.Judge(start, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
		s.Record(start, nil)
	}, rulesChanged, "guard-rails", ""},
	{"guard rails", "HTTP price that wants a review, policy and ledger say green", func(s *scene) {
		s.sells("api.example", func(h *typev1.X402Host) {
			h.MaxPrice = &typev1.X402Price{Unit: "USD", Amount: "999999", Crossed: yellow}
		})
		s.pay.EditIntent = asksFor("api.example")
		s.again(s.Wallet)
		s.Judge(start, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
		s.Record(start, nil)
	}, isMissing, "review", ""},
	{
		"guard rails", "group key of another wallet pinned", func(s *scene) { s.pins.GroupKey = s.payee.GroupKey },
		isMismatch, "message", "payer",
	},
	{"guard rails", "no group key pinned", func(s *scene) { s.pins.GroupKey = [32]byte{} }, isMissing, "group-key", ""},
	{"guard rails", "no installation", func(s *scene) { s.pins.Installation = nil }, isMissing, "installation", ""},
	{"guard rails", "another wallet pinned", func(s *scene) { s.pins.Wallet = "wallets/payee" }, isMismatch, "guard-rails", "wallet"},

	// 4: policy's approval.
	{"verdict", "missing", func(s *scene) { s.bundleNow().Verdict = nil }, isMissing, "verdict", ""},
	{"verdict", "stale: receipt more than 5 s before it", func(s *scene) {
		s.Record(start.Add(-5*time.Second-time.Millisecond), nil)
	}, isStale, "verdict", "time_millis"},
	{"verdict", "stale: receipt more than 5 s after its end", func(s *scene) {
		s.Record(start.Add(65*time.Second+time.Millisecond), nil)
		s.now = start.Add(66 * time.Second)
	}, isStale, "verdict", "expiry_millis"},
	{"verdict", "stale: lives longer than 60 s", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.ExpiryMillis++ })
		s.Record(start, nil)
	}, badStatement, "verdict", "expiry_millis"},
	{"verdict", "stale: ends before it begins", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.ExpiryMillis = v.GetTimeMillis() })
		s.Record(start, nil)
	}, badStatement, "verdict", "expiry_millis"},
	{"verdict", "another payment's", func(s *scene) {
		s.Verdict = s.other().Verdict
		s.Record(start, nil)
	}, isMismatch, "verdict", "payment"},
	{"verdict", "another wallet's", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.Wallet, v.Payment = "wallets/payee", "wallets/payee/payments/p1" })
		s.Record(start, nil)
	}, isMismatch, "verdict", "wallet"},
	{"verdict", "another installation's", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.Installation = "prod" })
		s.Record(start, nil)
	}, isMismatch, "verdict", "installation"},
	{"verdict", "of other bytes", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.MessageDigest = digestOf(1) })
		s.Record(start, nil)
	}, isMismatch, "verdict", "message_digest"},
	{"verdict", "of another intent", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.IntentDigest = digestOf(1) })
		s.Record(start, nil)
	}, isMismatch, "verdict", "intent_digest"},
	{"verdict", "by other guard rails", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.GuardRailsDigest = digestOf(1) })
		s.Record(start, nil)
	}, headChanged, "verdict", "guard_rails_digest"},
	{"verdict", "tampered", func(s *scene) {
		s.Verdict = flip(s.Verdict)
		s.Record(start, nil)
	}, badStatement, "verdict", "*"},
	{
		"verdict", "tampered after the receipt", func(s *scene) { s.bundleNow().Verdict = flip(s.Verdict) },
		isMismatch, "receipt", "verdict_digest",
	},
	{"verdict", "under the ledger's key", func(s *scene) {
		s.Verdict = s.resign(s.Verdict, "ledger")
		s.Record(start, nil)
	}, badStatement, "verdict", "signatures"},
	{"verdict", "under a retired key", func(s *scene) {
		next, err := evidence.Succeed(s.Installation, s.Successor(func(i *typev1.Installation) {
			i.ServiceKeys[1].Retired = true
			i.ServiceKeys = append(i.ServiceKeys, &typev1.ServiceKey{
				Purpose: typev1.Purpose_PURPOSE_POLICY, PublicKey: evidencetest.Public(s.Key("policy 2")),
			})
		}))
		if err != nil {
			panic(err)
		}
		s.pins.Installation = next
	}, badStatement, "verdict", "signatures"},
	{"verdict", "red", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.Light = red })
		s.Record(start, nil)
	}, isMismatch, "verdict", "light"},
	{"verdict", "no light", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.Light = 0 })
		s.Record(start, nil)
	}, badStatement, "verdict", "light"},
	{"verdict", "green over a red result", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) {
			v.Results = []*typev1.RuleResult{{Rule: typev1.Rule_RULE_RAIL, Light: red}}
		})
		s.Record(start, nil)
	}, badStatement, "verdict", "light"},
	{"verdict", "yellow without a review", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.Light = yellow })
		s.Record(start, nil)
	}, isMismatch, "verdict", "light"},
	{"verdict", "red that names a review", func(s *scene) {
		s.reviewed()
		s.Judge(start, func(v *typev1.Verdict) { v.Light = red })
		s.Record(start, nil)
	}, badStatement, "verdict", "review_digest"},

	// 5: the ledger's receipt.
	{"receipt", "missing", func(s *scene) { s.bundleNow().Receipt = nil }, isMissing, "receipt", ""},
	{"receipt", "stale: more than 60 s old", func(s *scene) {
		s.now = start.Add(60*time.Second + time.Millisecond)
	}, isStale, "receipt", "time_millis"},
	{"receipt", "stale: more than 5 s ahead", func(s *scene) {
		s.now = start.Add(-5*time.Second - time.Millisecond)
	}, isStale, "receipt", "time_millis"},
	{"receipt", "another payment's", func(s *scene) { s.bundleNow().Receipt = s.other().Receipt }, isMismatch, "receipt", "payment"},
	{"receipt", "another wallet's", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.Wallet, r.Payment = "wallets/payee", "wallets/payee/payments/p1" })
	}, isMismatch, "receipt", "wallet"},
	{"receipt", "another installation's", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.Installation = "prod" })
	}, isMismatch, "receipt", "installation"},
	{"receipt", "of other bytes", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.MessageDigest = digestOf(1) })
	}, isMismatch, "receipt", "message_digest"},
	{"receipt", "of another intent", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.IntentDigest = digestOf(1) })
	}, isMismatch, "receipt", "intent_digest"},
	{"receipt", "of another request", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.RequestDigest = digestOf(1) })
	}, isMismatch, "receipt", "request_digest"},
	{"receipt", "of a request with another commitment", func(s *scene) {
		receipt := s.Receipt
		s.pay.Commitment = [64]byte(bytes.Repeat(evidencetest.Public(s.Key("fresh")), 2))
		s.again(s.Wallet)
		s.bundleNow().Receipt = receipt
	}, isMismatch, "receipt", "request_digest"},
	{"receipt", "of another verdict", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.VerdictDigest = digestOf(1) })
	}, isMismatch, "receipt", "verdict_digest"},
	{"receipt", "by other guard rails", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.GuardRailsDigest = digestOf(1) })
	}, headChanged, "receipt", "guard_rails_digest"},
	{"receipt", "without an entry", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.Entry = 0 })
	}, badStatement, "receipt", "entry"},
	{"receipt", "tampered", func(s *scene) { s.bundleNow().Receipt = flip(s.Receipt) }, badStatement, "receipt", "*"},
	{
		"receipt", "under policy's key", func(s *scene) { s.bundleNow().Receipt = s.resign(s.Receipt, "policy") },
		badStatement, "receipt", "signatures",
	},
	{"receipt", "red", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.Light = red })
	}, isMismatch, "receipt", "light"},
	{"receipt", "no light", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.Light = 0 })
	}, badStatement, "receipt", "light"},
	{"receipt", "yellow without a review", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.Light = yellow })
	}, isMissing, "review", ""},
	{"receipt", "a settlement in its place", func(s *scene) {
		s.bundleNow().Receipt = s.resign(s.Verdict, "ledger")
	}, badStatement, "receipt", "payload_type"},

	// 6: the owner's review.
	{"review", "missing, all say yellow", func(s *scene) {
		s.reviewed()
		s.bundleNow().Review = nil
	}, isMissing, "review", ""},
	{"review", "missing, only the verdict says yellow", func(s *scene) {
		s.Judge(start, func(v *typev1.Verdict) { v.Light, v.ReviewDigest = yellow, digestOf(1) })
		s.Record(start, nil)
	}, isMissing, "review", ""},
	{"review", "missing, only the receipt says yellow", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.Light, r.ReviewDigest = yellow, digestOf(1) })
	}, isMissing, "review", ""},
	{"review", "stale: its intent's deadline has passed", func(s *scene) {
		s.pay.Deadline = start.Add(-time.Millisecond)
		s.reviewed()
	}, deadline, "intent", "deadline_millis"},
	{"review", "another payment's", func(s *scene) {
		s.reviewed()
		s.Answer(typev1.Answer_ANSWER_APPROVE, func(r *typev1.Review) { r.Payment += "x" })
		s.Judge(start, nil)
		s.Record(start, nil)
	}, isMismatch, "review", "payment"},
	{"review", "another wallet's", func(s *scene) {
		s.reviewed()
		s.Answer(typev1.Answer_ANSWER_APPROVE, func(r *typev1.Review) { r.Wallet, r.Payment = "wallets/payee", "wallets/payee/payments/p1" })
		s.Judge(start, nil)
		s.Record(start, nil)
	}, isMismatch, "review", "wallet"},
	{"review", "another installation's", func(s *scene) {
		s.reviewed()
		s.Answer(typev1.Answer_ANSWER_APPROVE, func(r *typev1.Review) { r.Installation = "prod" })
		s.Judge(start, nil)
		s.Record(start, nil)
	}, isMismatch, "review", "installation"},
	{"review", "of another intent", func(s *scene) {
		s.reviewed()
		s.Answer(typev1.Answer_ANSWER_APPROVE, func(r *typev1.Review) { r.IntentDigest = digestOf(1) })
		s.Judge(start, nil)
		s.Record(start, nil)
	}, isMismatch, "review", "intent_digest"},
	{"review", "refuses", func(s *scene) {
		s.reviewed()
		s.Answer(typev1.Answer_ANSWER_REFUSE, nil)
		s.Judge(start, nil)
		s.Record(start, nil)
	}, isMismatch, "review", "answer"},
	{"review", "answers nothing", func(s *scene) {
		s.reviewed()
		s.Answer(typev1.Answer_ANSWER_UNSPECIFIED, nil)
		s.Judge(start, nil)
		s.Record(start, nil)
	}, badStatement, "review", "answer"},
	{"review", "tampered", func(s *scene) {
		s.reviewed()
		s.bundleNow().Review = flip(s.Review)
	}, badStatement, "review", "*"},
	{"review", "under the request key", func(s *scene) {
		s.reviewed()
		s.bundleNow().Review = s.resign(s.Review, "request/payer")
	}, badStatement, "review", "signatures"},
	{"review", "under a replaced owner key", func(s *scene) {
		s.SetGuardRails(func(doc *typev1.GuardRails) { doc.OwnerKeys = sortedKeys(evidencetest.Public(s.Key("new owner"))) })
		s.pins = s.Pins()
		s.reviewed()
	}, badStatement, "review", "signatures"},
	{"review", "not the one that the verdict names", func(s *scene) {
		s.reviewed()
		s.Judge(start, func(v *typev1.Verdict) { v.ReviewDigest = digestOf(1) })
		s.Record(start, nil)
	}, isMismatch, "verdict", "review_digest"},
	{"review", "not the one that the receipt names", func(s *scene) {
		s.reviewed()
		s.Record(start, func(r *typev1.Receipt) { r.Light, r.ReviewDigest = yellow, digestOf(1) })
	}, isMismatch, "receipt", "review_digest"},
}

func TestVerifyRefuses(t *testing.T) {
	onEveryRail(t, refusals, func(row refusal) string { return row.piece + "/" + row.way }, func(t *testing.T, rail typev1.Rail, row refusal) {
		refuses(t, rail, row)
	})
}

func refuses(t *testing.T, rail typev1.Rail, row refusal) {
	t.Helper()
	s := newSceneOn(t, rail)
	row.set(s)
	v, err := s.verify()
	if v != nil {
		t.Fatal("Verify made a token")
	}
	wantRefusal(t, err, row.reason, row.where, row.field)
}

// bookOnly are the rows that speak of what only a book message says.
var bookOnly = map[string]bool{
	"message expires 1 ms later": true, "message expires in 2 minutes": true,

	"bytes/another payment's, requested": true, "bytes/other installation": true, "bytes/other payment": true, "bytes/other payer": true,
	"bytes/other recipient": true, "bytes/other asset": true, "bytes/recipient is the payer": true, "bytes/other units": true,
	"bytes/other intent": true, "bytes/stale: expires at receipt time": true, "bytes/stale: expires after 2 minutes": true,
}

// onEveryRail runs a table on the book, and again on Solana but for the rows that are only the book's.
func onEveryRail[T any](t *testing.T, table []T, name func(T) string, run func(t *testing.T, rail typev1.Rail, row T)) {
	t.Helper()
	for _, row := range table {
		t.Run(name(row), func(t *testing.T) { run(t, onBook, row) })
		if !bookOnly[name(row)] {
			t.Run("on Solana: "+name(row), func(t *testing.T) { run(t, onSolana, row) })
		}
	}
}

// TestVerifyTableIsWhole keeps rows from being lost: every piece has one for each way that it can fail.
func TestVerifyTableIsWhole(t *testing.T) {
	ways := []string{"missing", "stale", "another", "tampered", "under"}
	// Bytes have no key; guard rails are the co-signer's own, signed and tamper-checked when accepted.
	skip := map[string]bool{"bytes/under": true, "guard rails/tampered": true, "guard rails/under": true}
	for _, piece := range []string{"bytes", "request", "guard rails", "verdict", "receipt", "review"} {
		for _, way := range ways {
			found := false
			for _, row := range refusals {
				found = found || row.piece == piece && strings.HasPrefix(row.way, way)
			}
			if !found && !skip[piece+"/"+way] {
				t.Errorf("no row for %s, %s", piece, way)
			}
		}
	}
	names := make(map[string]bool)
	for _, row := range opens {
		names[row.name] = true
	}
	for _, row := range refusals {
		names[row.piece+"/"+row.way] = true
	}
	for name := range bookOnly {
		if !names[name] {
			t.Errorf("no row is called %q", name)
		}
	}
}

// wantRefusal checks an error's reason, piece and field; the field "*" is any.
func wantRefusal(t *testing.T, err error, reason typev1.Reason, piece, field string) {
	t.Helper()
	var e *evidence.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *evidence.Error", err)
	}
	if e.Reason != reason || e.Piece != piece || (e.Field != field && field != "*") {
		t.Errorf("got %v %s.%s (%v), want %v %s.%s", e.Reason, e.Piece, e.Field, err, reason, piece, field)
	}
}

// TestVerifyEveryByte flips every byte of everything that the gate is brought: none may pass.
func TestVerifyEveryByte(t *testing.T) {
	for _, rail := range rails {
		t.Run(rail.String(), func(t *testing.T) { everyByte(t, newSceneOn(t, rail)) })
	}
}

func everyByte(t *testing.T, s *scene) {
	t.Helper()
	s.reviewed()
	if _, err := s.verify(); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	whole := s.Bundle()
	parts := []struct {
		name string
		of   func(b *evidence.Bundle) []byte
	}{
		{"message", func(b *evidence.Bundle) []byte { return b.Message }},
		{"request payload", func(b *evidence.Bundle) []byte { return b.Request.Payload }},
		{"request signature", func(b *evidence.Bundle) []byte { return b.Request.Signatures[0].Signature }},
		{"request key", func(b *evidence.Bundle) []byte { return b.Request.Signatures[0].PublicKey }},
		{"verdict payload", func(b *evidence.Bundle) []byte { return b.Verdict.Payload }},
		{"verdict signature", func(b *evidence.Bundle) []byte { return b.Verdict.Signatures[0].Signature }},
		{"receipt payload", func(b *evidence.Bundle) []byte { return b.Receipt.Payload }},
		{"receipt signature", func(b *evidence.Bundle) []byte { return b.Receipt.Signatures[0].Signature }},
		{"review payload", func(b *evidence.Bundle) []byte { return b.Review.Payload }},
		{"review signature", func(b *evidence.Bundle) []byte { return b.Review.Signatures[0].Signature }},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			for at := range part.of(&whole) {
				b := evidence.Bundle{
					Message: bytes.Clone(whole.Message),
					Request: proto.CloneOf(whole.Request),
					Verdict: proto.CloneOf(whole.Verdict),
					Receipt: proto.CloneOf(whole.Receipt),
					Review:  proto.CloneOf(whole.Review),
				}
				part.of(&b)[at] ^= 1 << (at % 8)
				if v, err := evidence.Verify(b, s.pins, s.now); err == nil || v != nil {
					t.Errorf("byte %d flipped: Verify passes", at)
				}
			}
		})
	}
}

// TestTakeOnce: one token opens once, whoever asks at the same time, and by whatever copy.
func TestTakeOnce(t *testing.T) {
	s := newScene(t)
	v, err := s.verify()
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	first := *v
	k := evidence.NewKeyTest("test", "wallets/a", [32]byte{1}, [32]byte{2})
	second := *k
	tokens := []struct {
		name string
		take []func() (evidence.Grant, error)
	}{
		{"release", []func() (evidence.Grant, error){v.Take, first.Take}},
		{"key test", []func() (evidence.Grant, error){k.Take, second.Take}},
	}
	for _, token := range tokens {
		t.Run(token.name, func(t *testing.T) {
			var granted atomic.Int32
			var wg sync.WaitGroup
			gate := make(chan struct{})
			for i := range 64 {
				wg.Go(func() {
					<-gate
					if g, err := token.take[i%len(token.take)](); err == nil {
						granted.Add(1)
					} else if g.Message != nil || g.Context != nil {
						t.Error("a refused Take returned bytes")
					}
				})
			}
			close(gate)
			wg.Wait()
			if n := granted.Load(); n != 1 {
				t.Errorf("opened %d times, want 1", n)
			}
		})
	}
}

// TestTakeForged: a token that Verify did not make does not open.
func TestTakeForged(t *testing.T) {
	var nothing *evidence.Verified
	var noTest *evidence.KeyTest
	tokens := []struct {
		name string
		take func() (evidence.Grant, error)
	}{
		{"zero release", new(evidence.Verified).Take},
		{"nil release", nothing.Take},
		{"zero key test", new(evidence.KeyTest).Take},
		{"nil key test", noTest.Take},
	}
	for _, token := range tokens {
		t.Run(token.name, func(t *testing.T) {
			if _, err := token.take(); err == nil {
				t.Error("opened")
			}
		})
	}
}

// TestVerifyCopies: what the caller does to its buffers after Verify changes nothing that is signed.
func TestVerifyCopies(t *testing.T) {
	s := newScene(t)
	b := s.Bundle()
	b.Message = bytes.Clone(b.Message)
	want := bytes.Clone(b.Message)
	v, err := evidence.Verify(b, s.pins, s.now)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	b.Message[20] ^= 1
	g, err := v.Take()
	if err != nil {
		t.Fatalf("Take: %v", err)
	}
	if !bytes.Equal(g.Message, want) {
		t.Error("the granted bytes changed after Verify")
	}
}

// BenchmarkVerify is the whole gate but the share: three or four signatures and their decoding.
func BenchmarkVerify(b *testing.B) {
	w := evidencetest.New(b)
	payee := w.Wallet(evidencetest.WalletConfig{ID: "payee"})
	payer := w.Wallet(evidencetest.WalletConfig{ID: "payer"})
	payer.SetGuardRails(evidencetest.Allow(payee.GroupKey))
	p := payer.Payment(evidencetest.PaymentConfig{To: payee.GroupKey, Now: start})
	p.Judge(start, nil)
	p.Record(start, nil)
	bundle, pins := p.Bundle(), payer.Pins()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := evidence.Verify(bundle, pins, start); err != nil {
			b.Fatal(err)
		}
	}
}
