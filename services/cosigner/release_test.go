package cosigner_test

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	missing  = typev1.Reason_REASON_EVIDENCE_MISSING
	stale    = typev1.Reason_REASON_EVIDENCE_STALE
	mismatch = typev1.Reason_REASON_EVIDENCE_MISMATCH
	bad      = typev1.Reason_REASON_BAD_STATEMENT
)

// gate is a scene before the gate: a wallet, an honest attempt, what is sent.
type gate struct {
	*wallet
	a   *attempt
	req *cosignerv1.ReleaseRequest
	at  time.Time
}

// again makes attempt and evidence anew, the payment changed by edit; review makes the owner's approval first.
func (g *gate) again(review bool, edit ...func(*evidencetest.PaymentConfig)) {
	g.a = g.attempt(edit...)
	if review {
		g.a.Answer(typev1.Answer_ANSWER_APPROVE, nil)
		g.a.Judge(g.at, nil)
		g.a.Record(g.at, nil)
	}
	g.req = g.a.request()
}

// other is another payment of the same wallet, honest and complete.
func (g *gate) other(edit ...func(*evidencetest.PaymentConfig)) *attempt {
	return g.attempt(append(edit, func(c *evidencetest.PaymentConfig) { c.ID = "other" })...)
}

func flip(e *typev1.Envelope) *typev1.Envelope {
	e = proto.CloneOf(e)
	e.Payload[len(e.Payload)/2] ^= 1
	return e
}

func (g *gate) resigned(e *typev1.Envelope, key ed25519.PrivateKey) *typev1.Envelope {
	return evidencetest.SignRaw(key, e.GetPayloadType(), e.GetPayload())
}

// foreign makes the evidence in an installation of other services, for the same agent, owner and key.
func (g *gate) foreign(id string) {
	w := evidencetest.NewWith(g.f.t, evidencetest.Config{ID: id}).Wallet(evidencetest.WalletConfig{
		ID: "research", RequestKey: g.RequestKey, OwnerKey: g.OwnerKey, GroupKey: g.GroupKey[:],
	})
	a := &attempt{Payment: w.Payment(evidencetest.PaymentConfig{To: g.f.recipient(), Now: g.at})}
	a.Judge(g.at, nil)
	a.Record(g.at, nil)
	g.req = a.request()
}

func units(n int64) func(*evidencetest.PaymentConfig) {
	return func(c *evidencetest.PaymentConfig) { c.Units = n }
}

func to(key [32]byte) func(*evidencetest.PaymentConfig) {
	return func(c *evidencetest.PaymentConfig) { c.To = key }
}

// refusals is the gate's table: each of the six pieces missing, stale, another payment's, tampered with, of other bytes.
var refusals = []struct {
	name string
	set  func(g *gate)
	want typev1.Reason
}{
	// 1 the bytes
	{"bytes missing", func(g *gate) { g.req.Message = nil }, missing},
	{"bytes stale: the message had expired at the receipt", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) { c.Expiry = g.at })
	}, typev1.Reason_REASON_MESSAGE_EXPIRED},
	{"bytes stale: the message expires too late", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) { c.Expiry = g.at.Add(book.ExpiryMax + time.Millisecond) })
	}, typev1.Reason_REASON_MESSAGE_EXPIRED},
	{"bytes stale: the deadline had passed", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) { c.Deadline = g.at.Add(-time.Millisecond) })
	}, typev1.Reason_REASON_DEADLINE_EXPIRED},
	{"bytes of another payment", func(g *gate) { g.req.Message = g.other().MessageBytes }, mismatch},
	{"bytes tampered with", func(g *gate) {
		g.req.Message = bytes.Clone(g.req.GetMessage())
		g.req.Message[len(g.req.Message)-40] ^= 1
	}, mismatch},
	{"bytes cut", func(g *gate) { g.req.Message = g.req.GetMessage()[:len(g.req.GetMessage())-1] }, mismatch},
	{"bytes with more behind them", func(g *gate) { g.req.Message = append(bytes.Clone(g.req.GetMessage()), 0) }, mismatch},
	{"bytes pay more than the intent", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) { c.EditMessage = func(m *book.Message) { m.Units++ } })
	}, mismatch},
	{"bytes pay another recipient", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) {
			c.EditMessage = func(m *book.Message) { m.Recipient = evidencetest.Key32(g.f.Key("thief")) }
		})
	}, mismatch},
	{"bytes of another payer", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) {
			c.EditMessage = func(m *book.Message) { m.Payer = evidencetest.Key32(g.f.Key("victim")) }
		})
	}, mismatch},
	{"bytes that the agent signed for and nobody decodes", func(g *gate) {
		opaque := []byte("\x80 opaque bytes for a chain")
		g.again(false, func(c *evidencetest.PaymentConfig) {
			c.EditRequest = func(r *typev1.Request) { r.MessageDigest = evidence.MessageDigest(opaque).Bytes() }
		})
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.MessageDigest = evidence.MessageDigest(opaque).Bytes() })
		g.a.Record(g.at, func(r *typev1.Receipt) { r.MessageDigest = evidence.MessageDigest(opaque).Bytes() })
		g.req = g.a.request()
		g.req.Message = opaque
	}, bad},

	// 2 the request
	{"request missing", func(g *gate) { g.req.Request = nil }, missing},
	{"request unsigned", func(g *gate) { g.req.Request = proto.CloneOf(g.req.GetRequest()); g.req.Request.Signatures = nil }, bad},
	{"request stale: its intent's deadline had passed", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) {
			c.Now = g.at.Add(-2 * time.Hour)
			c.Deadline = g.at.Add(-time.Hour)
			c.Expiry = g.at.Add(time.Minute)
		})
	}, typev1.Reason_REASON_DEADLINE_EXPIRED},
	{"request of another payment", func(g *gate) { g.req.Request = g.other().Request }, mismatch},
	{"request tampered with", func(g *gate) { g.req.Request = flip(g.req.GetRequest()) }, bad},
	{"request for other bytes", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) {
			c.EditRequest = func(r *typev1.Request) { r.MessageDigest = bytes.Repeat([]byte{1}, 32) }
		})
	}, mismatch},
	{"request under another key", func(g *gate) { g.req.Request = g.resigned(g.req.GetRequest(), g.f.Key("other")) }, bad},
	{"request under the owner's key", func(g *gate) { g.req.Request = g.resigned(g.req.GetRequest(), g.OwnerKey) }, bad},
	{"request with the gateway's commitment", func(g *gate) {
		var r typev1.Request
		g.f.Decode(g.req.GetRequest(), &r)
		r.Commitment = honestCommitment(g.f)
		payload, err := evidence.Marshal(&r)
		if err != nil {
			g.f.t.Fatal(err)
		}
		g.req.Request = proto.CloneOf(g.req.GetRequest())
		g.req.Request.Payload = payload
	}, bad},
	{"request with a commitment that is no point", func(g *gate) {
		g.again(false, func(c *evidencetest.PaymentConfig) {
			c.EditRequest = func(r *typev1.Request) { r.Commitment = make([]byte, 64) } // y = 0: small order
		})
	}, typev1.Reason_REASON_INVALID_ARGUMENT},

	// 3 the guard rails
	{"guard rails missing: only the claim", func(g *gate) {
		w := g.f.sealed("fresh")
		g.wallet = w
		g.again(false)
	}, typev1.Reason_REASON_NO_GUARD_RAILS},
	{"guard rails stale: evidence speaks of the version before", func(g *gate) {
		g.again(false)
		g.deliver(g.SetGuardRails(nil))
	}, typev1.Reason_REASON_GUARD_RAILS_CHANGED},
	{"guard rails of the future: the co-signer has not got them", func(g *gate) {
		g.SetGuardRails(nil)
		g.again(false)
	}, typev1.Reason_REASON_GUARD_RAILS_CHANGED},
	{"guard rails of another wallet", func(g *gate) {
		g.f.payable("other")
		g.f.put("heads/research", g.f.value("heads/other"))
	}, typev1.Reason_REASON_INTERNAL},
	{"guard rails tampered with", func(g *gate) {
		head := g.f.value("heads/research")
		head[len(head)/2] ^= 1
		g.f.put("heads/research", head)
	}, typev1.Reason_REASON_INTERNAL},
	{"guard rails deny: over the hard cap, approved by everybody", func(g *gate) {
		g.again(true, units(101*usd))
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.Light, v.Results, v.ReviewDigest = green, nil, nil })
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, typev1.Reason_REASON_RULES_CHANGED},
	{"guard rails deny the recipient, approved by everybody", func(g *gate) {
		thief := evidencetest.Key32(g.f.Key("thief"))
		g.deliver(g.SetGuardRails(func(d *typev1.GuardRails) { d.Recipients.Deny = [][]byte{thief[:]} }))
		g.again(true, to(thief))
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.Light, v.Results, v.ReviewDigest = green, nil, nil })
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, typev1.Reason_REASON_RULES_CHANGED},
	{"guard rails want a review, policy says GREEN", func(g *gate) {
		g.again(false, units(6*usd))
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.Light, v.Results = green, nil })
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, missing},

	// 4 the verdict
	{"verdict missing", func(g *gate) { g.req.Verdict = nil }, missing},
	{"verdict stale: ended before the receipt", func(g *gate) {
		g.a.Judge(g.at.Add(-evidence.EvidenceLife-evidence.Tolerance-time.Millisecond), nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, stale},
	{"verdict from after the receipt", func(g *gate) {
		g.a.Judge(g.at.Add(evidence.Tolerance+time.Millisecond), nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, stale},
	{"verdict of another payment", func(g *gate) { g.req.Verdict = g.other().Verdict }, mismatch},
	{"verdict of another payment, with its receipt", func(g *gate) {
		o := g.other()
		g.req.Verdict, g.req.Receipt = o.Verdict, o.Receipt
	}, mismatch},
	{"verdict tampered with", func(g *gate) { g.req.Verdict = flip(g.req.GetVerdict()) }, mismatch},
	{"verdict tampered with, and recorded so", func(g *gate) {
		g.a.Verdict = flip(g.a.Verdict)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, bad},
	{"verdict for other bytes", func(g *gate) {
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.MessageDigest = bytes.Repeat([]byte{1}, 32) })
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, mismatch},
	{"verdict under the ledger's key", func(g *gate) {
		g.a.Verdict = g.resigned(g.a.Verdict, g.Ledger)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, bad},
	{"verdict RED", func(g *gate) {
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.Light = typev1.Light_LIGHT_RED })
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, mismatch},
	{"verdict YELLOW without a review", func(g *gate) {
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.Light = yellow })
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, mismatch},

	// 5 the receipt
	{"receipt missing", func(g *gate) { g.req.Receipt = nil }, missing},
	{"receipt stale", func(g *gate) { g.f.clock.Advance(evidence.EvidenceLife + time.Millisecond) }, stale},
	{"receipt from the future", func(g *gate) { g.f.clock.Advance(-evidence.Tolerance - time.Millisecond) }, stale},
	{"receipt of another payment", func(g *gate) { g.req.Receipt = g.other().Receipt }, mismatch},
	{"receipt tampered with", func(g *gate) { g.req.Receipt = flip(g.req.GetReceipt()) }, bad},
	{"receipt for other bytes", func(g *gate) {
		g.a.Record(g.at, func(r *typev1.Receipt) { r.MessageDigest = bytes.Repeat([]byte{1}, 32) })
		g.req = g.a.request()
	}, mismatch},
	{"receipt for another request", func(g *gate) {
		g.a.Record(g.at, func(r *typev1.Receipt) { r.RequestDigest = bytes.Repeat([]byte{1}, 32) })
		g.req = g.a.request()
	}, mismatch},
	{"receipt under policy's key", func(g *gate) { g.req.Receipt = g.resigned(g.req.GetReceipt(), g.Policy) }, bad},
	{"receipt RED", func(g *gate) {
		g.a.Record(g.at, func(r *typev1.Receipt) { r.Light = typev1.Light_LIGHT_RED })
		g.req = g.a.request()
	}, mismatch},
	{"receipt YELLOW without a review", func(g *gate) {
		g.a.Record(g.at, func(r *typev1.Receipt) { r.Light = yellow })
		g.req = g.a.request()
	}, missing},

	// 6 the review
	{"review missing", func(g *gate) { g.again(true, units(20*usd)); g.req.Review = nil }, missing},
	{"review stale: under an owner key that was replaced", func(g *gate) {
		old := g.OwnerKey
		g.OwnerKey = g.f.Key("owner-2")
		g.setKeys(old, g.OwnerKey)
		g.again(true, units(20*usd))
		g.a.Review = g.resigned(g.a.Review, old)
		g.a.Judge(g.at, nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, bad},
	{"review stale: its intent's deadline had passed", func(g *gate) {
		g.again(true, units(20*usd), func(c *evidencetest.PaymentConfig) { c.Deadline = g.at.Add(-time.Millisecond) })
	}, typev1.Reason_REASON_DEADLINE_EXPIRED},
	{"review of another payment", func(g *gate) {
		o := g.other(units(20 * usd))
		g.again(true, units(20*usd))
		g.a.Review = o.Answer(typev1.Answer_ANSWER_APPROVE, nil)
		g.a.Judge(g.at, nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, mismatch},
	{"review tampered with", func(g *gate) {
		g.again(true, units(20*usd))
		g.a.Review = flip(g.a.Review)
		g.a.Judge(g.at, nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, bad},
	{"review of another intent of the same payment", func(g *gate) {
		cheaper := g.attempt(units(20*usd)).Answer(typev1.Answer_ANSWER_APPROVE, nil)
		g.again(true, units(90*usd))
		g.a.Review = cheaper
		g.a.Judge(g.at, nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, mismatch},
	{"review that policy did not see", func(g *gate) {
		g.again(true, units(20*usd))
		g.a.Judge(g.at, func(v *typev1.Verdict) { v.ReviewDigest = bytes.Repeat([]byte{1}, 32) })
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, mismatch},
	{"review that refuses", func(g *gate) {
		g.again(true, units(20*usd))
		g.a.Answer(typev1.Answer_ANSWER_REFUSE, nil)
		g.a.Judge(g.at, nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, mismatch},
	{"review under the agent's key", func(g *gate) {
		g.again(true, units(20*usd))
		g.a.Review = g.resigned(g.a.Review, g.RequestKey)
		g.a.Judge(g.at, nil)
		g.a.Record(g.at, nil)
		g.req = g.a.request()
	}, bad},

	// what the co-signer holds
	{"a wallet that it has not sealed", func(g *gate) {
		other := &wallet{Wallet: g.f.Wallet(evidencetest.WalletConfig{ID: "nobody"}), f: g.f, share: g.share}
		g.wallet = other
		g.again(false)
	}, typev1.Reason_REASON_NOT_FOUND},
	{"another wallet's evidence with this wallet's bytes", func(g *gate) {
		o := g.f.payable("other")
		g.req.Request = o.attempt().Request
	}, mismatch},
	{"evidence of another installation", func(g *gate) { g.foreign("other") }, mismatch},
	{"evidence of another installation of the same name", func(g *gate) { g.foreign("test") }, bad},
}

const (
	green  = typev1.Light_LIGHT_GREEN
	yellow = typev1.Light_LIGHT_YELLOW
)

// setKeys makes one owner key take another's place, signed under the old one.
func (w *wallet) setKeys(old, next ed25519.PrivateKey) {
	w.f.t.Helper()
	doc := w.NextGuardRails(func(d *typev1.GuardRails) { d.OwnerKeys = [][]byte{evidencetest.Public(next)} })
	e := w.f.Sign(old, doc)
	head, err := evidence.Accept(w.f.Installation, w.Head, e)
	if err != nil {
		w.f.t.Fatal(err)
	}
	w.Head = head
	w.deliver(e)
}

func TestGateRefuses(t *testing.T) {
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t)
			tt.set(g)
			before := g.f.keys("")
			resp, err := g.f.Release(t.Context(), g.req)
			wantReason(t, err, tt.want)
			if len(resp.GetRelease()) > 0 {
				t.Error("a share left")
			}
			if diff := len(g.f.keys("")) - len(before); diff != 0 {
				t.Errorf("the store has %d more keys", diff)
			}
		})
	}
}

// An amount that is none, and a field that is malformed or too large, get no share, though everybody signed for them.
func TestGateRefusesMalformedIntents(t *testing.T) {
	g := newGate(t)
	before := g.f.keys("")
	for _, tt := range evidencetest.MalformedIntents() {
		t.Run(tt.Name, func(t *testing.T) {
			a := g.attempt()
			a.Malform(tt.Edit)
			a.Judge(g.at, func(v *typev1.Verdict) { v.Light, v.Results = green, nil })
			a.Record(g.at, nil)
			resp, err := a.ask(t.Context(), g.f)
			wantReason(t, err, bad)
			if len(resp.GetRelease()) > 0 {
				t.Error("a share left")
			}
		})
	}
	if after := g.f.keys(""); len(after) != len(before) {
		t.Errorf("the store went from %d to %d keys", len(before), len(after))
	}
	g.wantPays(t)
}

func newGate(t testing.TB) *gate {
	f := newFixture(t)
	g := &gate{wallet: f.payable("research"), at: start}
	g.again(false)
	return g
}

// What must pass does, edges included, and the signature verifies with another verifier.
func TestGateOpens(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(g *gate)
	}{
		{"green", func(*gate) {}},
		{"yellow with its review", func(g *gate) { g.again(true, units(20*usd)) }},
		{"unknown recipient with a review", func(g *gate) { g.again(true, to(evidencetest.Key32(g.f.Key("stranger")))) }},
		{"receipt as old as it may be", func(g *gate) { g.f.clock.Advance(evidence.EvidenceLife) }},
		{"receipt as early as it may be", func(g *gate) { g.f.clock.Advance(-evidence.Tolerance) }},
		{"at the limit", func(g *gate) { g.again(false, units(5*usd)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t)
			tt.set(g)
			resp, err := g.f.Release(t.Context(), g.req)
			if err != nil {
				t.Fatal(describe(err))
			}
			if err := g.a.finish(resp); err != nil {
				t.Error(err)
			}
		})
	}
}

// A repeat answers again, with nonces of its own: over the same bytes the agent's new commitment gets a new share.
func TestReleaseAgain(t *testing.T) {
	g := newGate(t)
	first, err := g.f.Release(t.Context(), g.req)
	if err != nil {
		t.Fatal(describe(err))
	}
	again, err := g.f.Release(t.Context(), g.req)
	if err != nil {
		t.Fatal(describe(err))
	}
	if bytes.Equal(first.GetRelease()[:64], again.GetRelease()[:64]) {
		t.Error("two releases share their nonces")
	}
	if err := g.a.finish(again); err != nil {
		t.Error(err)
	}
	if err := g.a.finish(first); err == nil {
		t.Error("the agent's nonces served twice")
	}
}

// A release helps nobody with another commitment, message or share.
func TestReleaseFitsOneAttempt(t *testing.T) {
	g := newGate(t)
	resp, err := g.f.Release(t.Context(), g.req)
	if err != nil {
		t.Fatal(describe(err))
	}
	second := g.attempt()
	if err := second.finish(resp); err == nil {
		t.Error("it fits another attempt at the same payment")
	}
	release, err := frost.ParseRelease(resp.GetRelease())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.a.nonces.Finish([]byte("other bytes"), release); err == nil {
		t.Error("it fits other bytes")
	}
}

// Many wallets and many attempts at once, on two replicas: every signature verifies.
func TestConcurrentReleases(t *testing.T) {
	f := newFixture(t)
	clients := []cosignerv1.CosignerServiceClient{f, f.replica()}
	wallets := []*wallet{f.payable("a"), f.payable("b"), f.payable("c")}
	var wait sync.WaitGroup
	errs := make(chan error, 120)
	for n := range cap(errs) {
		a := wallets[n%len(wallets)].attempt()
		wait.Go(func() {
			resp, err := a.ask(t.Context(), clients[n%len(clients)])
			if err == nil {
				err = a.finish(resp)
			}
			errs <- err
		})
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(describe(err))
		}
	}
}

// A change of guard rails that was acknowledged stops every release that began before under the old ones and is not out yet.
func TestGuardRailsChangeRacesRelease(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	other := f.replica()
	for range 20 {
		a := w.attempt()
		next := w.SetGuardRails(nil)
		acknowledged := make(chan struct{})
		released := make(chan error, 1)
		go func() {
			<-acknowledged
			_, err := a.ask(t.Context(), other)
			released <- err
		}()
		w.deliver(next)
		close(acknowledged)
		wantReason(t, <-released, typev1.Reason_REASON_GUARD_RAILS_CHANGED)
	}
}

// A pinned wallet whose share is gone, or does not open, says so.
func TestKeyLost(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(f *fixture)
	}{
		{"row gone", func(f *fixture) {
			if _, err := f.kv.Delete(f.t.Context(), f.keys("shares/research/")[0]); err != nil {
				f.t.Fatal(err)
			}
		}},
		{"row damaged", func(f *fixture) {
			key := f.keys("shares/research/")[0]
			value := f.value(key)
			value[len(value)-1] ^= 1
			f.put(key, value)
		}},
		{"another wallet's row in its place", func(f *fixture) {
			f.payable("other")
			f.put("shares/research/00000000000000000001", f.value("shares/other/00000000000000000001"))
		}},
		{"its own row under another epoch", func(f *fixture) {
			f.put("shares/research/00000000000000000002", f.value("shares/research/00000000000000000001"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			if err := w.pays(); err != nil {
				t.Fatal(describe(err))
			}
			tt.lose(f)
			a := w.attempt()
			_, err := a.ask(t.Context(), f)
			wantReason(t, err, typev1.Reason_REASON_KEY_LOST)
			if !strings.Contains(f.log.String(), "key share is lost") {
				t.Error("the operator is not told")
			}
			// Bad evidence is told as such, whatever was lost.
			a.Receipt = nil
			_, err = a.ask(t.Context(), f)
			wantReason(t, err, missing)
		})
	}
}

func (f *fixture) put(key string, value []byte) {
	f.t.Helper()
	if _, err := f.kv.Put(f.t.Context(), key, string(value)); err != nil {
		f.t.Fatal(err)
	}
}

// The commitment is refused as a field of the request, not blamed on a key generation.
func TestBadCommitmentNamesItsField(t *testing.T) {
	g := newGate(t)
	g.again(false, func(c *evidencetest.PaymentConfig) {
		c.EditRequest = func(r *typev1.Request) { r.Commitment = make([]byte, 64) }
	})
	_, err := g.f.Release(t.Context(), g.req)
	if got := fault.Of(err).Metadata["field"]; got != "request.commitment" {
		t.Errorf("field %q, want request.commitment", got)
	}
}

// BenchmarkRelease is the whole gate over gRPC in memory: evidence, two linearizable reads, share.
func BenchmarkRelease(b *testing.B) {
	g := newGate(b)
	for b.Loop() {
		if _, err := g.f.Release(b.Context(), g.req); err != nil {
			b.Fatal(describe(err))
		}
	}
}

// BenchmarkReleaseParallel is the same by many callers.
func BenchmarkReleaseParallel(b *testing.B) {
	g := newGate(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.f.Release(b.Context(), g.req); err != nil {
				b.Error(describe(err))
				return
			}
		}
	})
}
