package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// lyingWorld is a wallet with a recovery share whose agent and owner talk to the installation through a gateway that was broken
// into and has kept all that it ever carried: of this wallet's earlier runs and of another wallet's.
type lyingWorld struct {
	*dyingWorld
	// last is what was answered in the run of this wallet before, by method, and others what was in another wallet's.
	last, others map[string]proto.Message
}

func newLyingWorld(t *testing.T) *lyingWorld {
	t.Helper()
	w := &lyingWorld{dyingWorld: newDyingWorld(t)}
	other := &dyingWorld{resharingWorld: &resharingWorld{System: w.System, home: w.p.home(w.System), shop: w.shop}, t: t, p: w.p, owners: w.owners}
	other.register(t, "Other Payer")
	w.others = make(map[string]proto.Message)
	w.p.record(w.others)
	other.enrols(t)
	w.last = make(map[string]proto.Message)
	w.p.record(w.last)
	w.enrols(t)
	w.p.honest()
	return w
}

// record makes the proxy keep its last answer by method, and GetResharing's last one that a recovery share is opened from.
func (p *proxy) record(into map[string]proto.Message) {
	p.set(nil, func(method string, _, resp proto.Message) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		into[method] = proto.Clone(resp)
		if r, ok := resp.(*gatewayv1.GetResharingResponse); ok && len(r.GetResharing().GetDealings()) > 0 {
			into["dealt"] = proto.Clone(resp)
		}
		return nil
	})
}

func (w *dyingWorld) enrols(t *testing.T) {
	t.Helper()
	w.file = filepath.Join(w.t.TempDir(), "recovery")
	for _, call := range []func(*program) error{createRecovery, reshare, openRecovery} {
		if err := call(&program{t: t, w: w}); err != nil {
			t.Fatal(err)
		}
	}
}

// settledSharing is what GetResharing answers about the sharing in force, once nothing waits.
func (w *lyingWorld) settledSharing(t *testing.T) gotResharing {
	t.Helper()
	kept := make(map[string]proto.Message)
	w.p.record(kept)
	defer w.p.honest()
	if err := reshare(&program{t: t, w: w.dyingWorld}); err != nil {
		t.Fatal(err)
	}
	got := kept["GetResharing"].(gotResharing)
	if got.GetResharing().GetState() != reshared {
		t.Fatalf("got %v", got)
	}
	return got
}

// told is the resharing in a recorded answer.
func told(of map[string]proto.Message, method string) *typev1.Resharing {
	return of[method].(interface{ GetResharing() *typev1.Resharing }).GetResharing()
}

// dealt is the recorded resharing that a recovery share was opened from.
func dealt(of map[string]proto.Message) *typev1.Resharing { return told(of, "dealt") }

// flipBytes changes one bit in the middle.
func flipBytes(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)/2] ^= 1
	return c
}

// lie makes the proxy change what goes through it.
func (p *proxy) lie(change func(req, resp proto.Message)) {
	p.set(func(_ string, req proto.Message) error { change(req, nil); return nil },
		func(_ string, req, resp proto.Message) error { change(req, resp); return nil })
}

// on is a lie about the answers of one type.
func on[M proto.Message](change func(m M)) func(req, resp proto.Message) {
	return func(_, resp proto.Message) {
		if m, ok := resp.(M); ok {
			change(m)
		}
	}
}

// onRequest is a lie about the requests of one type.
func onRequest[M proto.Message](change func(m M)) func(req, resp proto.Message) {
	return func(req, resp proto.Message) {
		if m, ok := req.(M); ok && resp == nil {
			change(m)
		}
	}
}

// The answers.
type (
	gotResharing = *gatewayv1.GetResharingResponse
	startedRun   = *gatewayv1.StartResharingResponse
	exchangedRun = *gatewayv1.ExchangeResharingResponse
	confirmedRun = *gatewayv1.ConfirmResharingResponse
	completedRun = *gatewayv1.CompleteResharingResponse
)

// forged is an order in everything the owner's but for what change does, and signed by somebody else.
func forged(t *testing.T, e *typev1.Envelope, changes ...func(m *typev1.ResharingOrder)) *typev1.Envelope {
	t.Helper()
	m := new(typev1.ResharingOrder)
	if err := evidence.Peek(e, m); err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(m)
	}
	f, err := evidence.Sign(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), m)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// presentShare is the share that a home's agent uses, as it is stored.
func presentShare(t *testing.T, home *client.Home, wallet string) string {
	t.Helper()
	var secret struct {
		Share string `json:"share"`
	}
	if err := json.Unmarshal(readAll(t, filepath.Join(home.Dir(), "keys", "agent-"+strings.TrimPrefix(wallet, "wallets/"))), &secret); err != nil {
		t.Fatal(err)
	}
	return secret.Share
}

// runLies are lies about a run, whoever carries it out.
func (w *lyingWorld) runLies() map[string]func(req, resp proto.Message) {
	started := func(of map[string]proto.Message) startedRun { return of["StartResharing"].(startedRun) }
	return map[string]func(req, resp proto.Message){
		"no answer":                        on(func(m startedRun) { m.Answer = nil }),
		"an answer with a bit changed":     on(func(m startedRun) { m.Answer = flip(m.GetAnswer()) }),
		"the answer of the run before":     on(func(m startedRun) { m.Answer = started(w.last).GetAnswer() }),
		"another wallet's answer":          on(func(m startedRun) { m.Answer = started(w.others).GetAnswer() }),
		"the order in the answer's place":  on(func(m startedRun) { m.Answer = dealt(w.last).GetOrder() }),
		"no dealing":                       on(func(m startedRun) { m.Dealing = nil }),
		"a dealing with a bit changed":     on(func(m startedRun) { m.Dealing = flipBytes(m.GetDealing()) }),
		"a dealing cut short":              on(func(m startedRun) { m.Dealing = m.GetDealing()[1:] }),
		"the dealing of the run before":    on(func(m startedRun) { m.Dealing = started(w.last).GetDealing() }),
		"another wallet's dealing":         on(func(m startedRun) { m.Dealing = started(w.others).GetDealing() }),
		"no certificate":                   on(func(m exchangedRun) { m.Certificate = nil }),
		"a certificate with a bit changed": on(func(m exchangedRun) { m.Certificate = flipBytes(m.GetCertificate()) }),
		"the certificate of the run before": on(func(m exchangedRun) {
			m.Certificate = w.last["ExchangeResharing"].(exchangedRun).GetCertificate()
		}),
		"no release":                       on(func(m confirmedRun) { m.Release = nil }),
		"a release with a bit changed":     on(func(m confirmedRun) { m.Release = flipBytes(m.GetRelease()) }),
		"the release of the run before":    on(func(m confirmedRun) { m.Release = w.last["ConfirmResharing"].(confirmedRun).GetRelease() }),
		"no end":                           on(func(m completedRun) { m.Resharing = nil }),
		"an end that is none":              on(func(m completedRun) { m.Resharing.State = typev1.ResharingState_RESHARING_STATE_STARTED }),
		"the end of the run before":        on(func(m completedRun) { m.Resharing = told(w.last, "CompleteResharing") }),
		"another wallet's end":             on(func(m completedRun) { m.Resharing = told(w.others, "CompleteResharing") }),
		"no record":                        on(func(m completedRun) { m.Resharing.Record = nil }),
		"a record with a bit changed":      on(func(m completedRun) { m.Resharing.Record = flip(m.GetResharing().GetRecord()) }),
		"the record of the run before":     on(func(m completedRun) { m.Resharing.Record = dealt(w.last).GetRecord() }),
		"another wallet's record":          on(func(m completedRun) { m.Resharing.Record = dealt(w.others).GetRecord() }),
		"the answer in the record's place": on(func(m completedRun) { m.Resharing.Record = m.GetResharing().GetAnswer() }),

		"the own dealing, a bit changed":     onRequest(func(m *gatewayv1.ExchangeResharingRequest) { m.Dealing = flipBytes(m.GetDealing()) }),
		"the own certificate, a bit changed": onRequest(func(m *gatewayv1.ConfirmResharingRequest) { m.Certificate = flipBytes(m.GetCertificate()) }),
		"another commitment": onRequest(func(m *gatewayv1.ConfirmResharingRequest) {
			c := m.GetCommitment()
			m.Commitment = append(bytes.Clone(c[32:]), c[:32]...)
		}),
		"the test signature, a bit changed": onRequest(func(m *gatewayv1.CompleteResharingRequest) { m.Signature = flipBytes(m.GetSignature()) }),
	}
}

// TestHostileResharing lies to an agent that makes new shares. It keeps its share and makes no other one its present one; once
// the gateway is honest the same call goes through, and what a recovery share is opened from is right.
func TestHostileResharing(t *testing.T) {
	t.Parallel()
	w := newLyingWorld(t)
	lies := w.runLies()
	orderLies := map[string]func(req, resp proto.Message){
		"no order":                         on(func(m gotResharing) { m.Resharing = nil }),
		"an order with a bit changed":      on(func(m gotResharing) { m.Resharing.Order = flip(m.GetResharing().GetOrder()) }),
		"an order by somebody else":        on(func(m gotResharing) { m.Resharing.Order = forged(t, m.GetResharing().GetOrder()) }),
		"the order before":                 on(func(m gotResharing) { m.Resharing.Order = dealt(w.last).GetOrder() }),
		"another wallet's order":           on(func(m gotResharing) { m.Resharing.Order = dealt(w.others).GetOrder() }),
		"another wallet's resharing":       on(func(m gotResharing) { m.Resharing = dealt(w.others) }),
		"in force without a record":        on(func(m gotResharing) { m.Resharing.State = reshared }),
		"in force by the record before":    on(func(m gotResharing) { m.Resharing.State, m.Resharing.Record = reshared, dealt(w.last).GetRecord() }),
		"in force by another wallet's":     on(func(m gotResharing) { m.Resharing.State, m.Resharing.Record = reshared, dealt(w.others).GetRecord() }),
		"in force by another kind of word": on(func(m gotResharing) { m.Resharing.State, m.Resharing.Record = reshared, dealt(w.last).GetAnswer() }),
		"a resharing without its order":    on(func(m gotResharing) { m.Resharing.Order = nil }),
	}
	maps.Copy(lies, orderLies)
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			live := &program{t: t, w: w.dyingWorld}
			if err := offerAndRefresh(live); err != nil {
				t.Fatal(err)
			}
			before, starts := presentShare(t, w.home, w.payer.Wallet()), w.p.called("StartResharing")
			w.p.lie(lie)
			r, err := live.agent().Reshare(testContext(t))
			w.p.honest()
			if err == nil {
				t.Fatalf("believed: %+v", r)
			}
			wantReasonAny(t, err)
			if presentShare(t, w.home, w.payer.Wallet()) != before {
				t.Fatal("the agent goes by another share")
			}
			if orderLies[name] != nil && w.p.called("StartResharing") != starts {
				t.Error("the agent has begun a run that its owner did not order")
			}
			w.p.record(w.last)
			defer w.p.honest()
			if name == "the own dealing, a bit changed" {
				// The part of it that is for the recovery share, which nobody can check who is online.
				_, err := live.agent().Reshare(testContext(t))
				if e := wantReason(t, err, typev1.Reason_REASON_KEY_GENERATION_FAILED, notMoved); !strings.Contains(e.Next, "orders the new shares again") {
					t.Errorf("it says to do %q", e.Next)
				}
				if err := offerAndRefresh(live); err != nil {
					t.Fatal(err)
				}
			}
			if r, err = live.agent().Reshare(testContext(t)); err != nil || r.State != recoveryPending {
				t.Fatalf("once it is honest: %+v, %v", r, err)
			}
			w.pays(t, live.agent())
			exits(t, live.agent(), w.file)
			if err := openRecovery(live); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestHostileDealings alters, at the end of a run, what the owner's recovery share is opened from: the agent's home keeps what it
// has verified itself, and owner and agent leave by it when every service is gone.
func TestHostileDealings(t *testing.T) {
	w := newLyingWorld(t)
	live := &program{t: t, w: w.dyingWorld}
	if err := offerAndRefresh(live); err != nil {
		t.Fatal(err)
	}
	w.p.lie(func(_, resp proto.Message) {
		if m, ok := resp.(interface{ GetResharing() *typev1.Resharing }); ok && len(m.GetResharing().GetDealings()) > 0 {
			for _, b := range append(m.GetResharing().GetDealings(), m.GetResharing().GetCertificates()...) {
				b[len(b)/2] ^= 1
			}
		}
	})
	for range 2 {
		if err := reshare(live); err != nil {
			t.Fatal(err)
		}
	}
	agent := live.agent()
	w.Kill()
	exits(t, agent, w.file)
}

// TestReplayedResharing replays an earlier answer to an agent that has a new share which may be in force: a payment is refused
// at once, and goes through when the gateway is honest.
func TestReplayedResharing(t *testing.T) {
	w := newLyingWorld(t)
	for name, earlier := range map[string]*gatewayv1.GetResharingResponse{
		"the run before": w.settledSharing(t),
		"no run":         {Epoch: 1},
	} {
		t.Run(name, func(t *testing.T) {
			live := &program{t: t, w: w.dyingWorld}
			if err := offerAndRefresh(live); err != nil {
				t.Fatal(err)
			}
			w.p.lose("CompleteResharing", true)
			if err := reshare(live); err == nil {
				t.Fatal("nothing was lost")
			}
			w.p.replay("GetResharing", earlier)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := live.agent().Pay(ctx, client.Order{ID: "replayed", Recipient: w.shop.Wallet(), Units: 1000})
			if ctx.Err() != nil {
				t.Fatal("the agent asks again without end")
			}
			wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, notMoved)
			w.p.honest()
			w.pays(t, live.agent())
			if err := openRecovery(live); err != nil {
				t.Fatal(err)
			}
			w.p.record(w.last)
			if err := reshare(live); err != nil {
				t.Fatal(err)
			}
			w.p.honest()
		})
	}
}

// TestHostileOpening lies to an owner who opens a recovery share: the file stays as it is, nothing is confirmed, and once the
// gateway is honest the share opens.
func TestHostileOpening(t *testing.T) {
	t.Parallel()
	w := newLyingWorld(t)
	live := &program{t: t, w: w.dyingWorld}
	if err := offerAndRefresh(live); err != nil {
		t.Fatal(err)
	}
	if err := reshare(live); err != nil {
		t.Fatal(err)
	}
	last, others := dealt(w.last), dealt(w.others)
	before := readAll(t, w.file)
	homes := map[string]*client.Home{"its home": w.owners, "another home": w.copyHome(w.pristine)}
	earlier := new(typev1.ResharingOrder)
	if err := evidence.Peek(last.GetOrder(), earlier); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *typev1.Resharing){
		"the sharing before, altogether":       func(r *typev1.Resharing) { proto.Reset(r); proto.Merge(r, last) },
		"another wallet's, altogether":         func(r *typev1.Resharing) { proto.Reset(r); proto.Merge(r, others) },
		"the order before":                     func(r *typev1.Resharing) { r.Order = last.GetOrder() },
		"another wallet's order":               func(r *typev1.Resharing) { r.Order = others.GetOrder() },
		"an order by somebody else":            func(r *typev1.Resharing) { r.Order = forged(t, r.GetOrder()) },
		"an order with a bit changed":          func(r *typev1.Resharing) { r.Order = flip(r.GetOrder()) },
		"the start before":                     func(r *typev1.Resharing) { r.Start = last.GetStart() },
		"a start with a bit changed":           func(r *typev1.Resharing) { r.Start = flip(r.GetStart()) },
		"the answer before":                    func(r *typev1.Resharing) { r.Answer = last.GetAnswer() },
		"another wallet's answer":              func(r *typev1.Resharing) { r.Answer = others.GetAnswer() },
		"an answer with a bit changed":         func(r *typev1.Resharing) { r.Answer = flip(r.GetAnswer()) },
		"the record before":                    func(r *typev1.Resharing) { r.Record = last.GetRecord() },
		"another wallet's record":              func(r *typev1.Resharing) { r.Record = others.GetRecord() },
		"a record with a bit changed":          func(r *typev1.Resharing) { r.Record = flip(r.GetRecord()) },
		"no record":                            func(r *typev1.Resharing) { r.Record = nil },
		"no dealings":                          func(r *typev1.Resharing) { r.Dealings = nil },
		"one dealing":                          func(r *typev1.Resharing) { r.Dealings = r.Dealings[:1] },
		"the dealings before":                  func(r *typev1.Resharing) { r.Dealings = last.Dealings },
		"one dealing of before":                func(r *typev1.Resharing) { r.Dealings[0] = last.Dealings[0] },
		"dealings that are swapped":            func(r *typev1.Resharing) { r.Dealings[0], r.Dealings[1] = r.Dealings[1], r.Dealings[0] },
		"a dealing with a bit changed":         func(r *typev1.Resharing) { r.Dealings[0] = flipBytes(r.Dealings[0]) },
		"the co-signer's with a bit changed":   func(r *typev1.Resharing) { r.Dealings[1] = flipBytes(r.Dealings[1]) },
		"another wallet's dealings":            func(r *typev1.Resharing) { r.Dealings = others.Dealings },
		"no certificates":                      func(r *typev1.Resharing) { r.Certificates = nil },
		"a certificate that is cut short":      func(r *typev1.Resharing) { r.Certificates[1] = r.Certificates[1][:63] },
		"the certificates before":              func(r *typev1.Resharing) { r.Certificates = last.Certificates },
		"certificates that are swapped":        func(r *typev1.Resharing) { r.Certificates[0], r.Certificates[1] = r.Certificates[1], r.Certificates[0] },
		"a certificate with a bit changed":     func(r *typev1.Resharing) { r.Certificates[0] = flipBytes(r.Certificates[0]) },
		"the dealings and certificates before": func(r *typev1.Resharing) { r.Dealings, r.Certificates = last.Dealings, last.Certificates },
		"everything but order and record": func(r *typev1.Resharing) {
			r.Start, r.Answer, r.Dealings, r.Certificates = last.Start, last.Answer, last.Dealings, last.Certificates
		},
		"that it was never carried out": func(r *typev1.Resharing) { r.State, r.Record = typev1.ResharingState_RESHARING_STATE_STARTED, nil },
		"that nothing waits":            func(r *typev1.Resharing) { r.State = reshared },
	} {
		for whose, home := range homes {
			t.Run(name+" in "+whose, func(t *testing.T) {
				confirmed := false
				w.p.lie(func(req, resp proto.Message) {
					on(func(m gotResharing) { change(m.GetResharing()) })(req, resp)
					onRequest(func(m *gatewayv1.ConfirmRecoveryRequest) {
						// A home that has seen no newer sharing may confirm again the one before, whose share the file holds.
						c := new(typev1.RecoveryConfirmation)
						confirmed = confirmed || evidence.Peek(m.GetConfirmation(), c) != nil || c.GetEpoch() != earlier.GetToEpoch()
					})(req, resp)
				})
				defer w.p.honest()
				owner, err := w.Client(home).Owner()
				if err != nil {
					t.Fatal(err)
				}
				if r, err := owner.OpenRecovery(testContext(t), w.file, passphrase()); err == nil {
					t.Fatalf("believed: %+v", r)
				} else {
					wantReasonAny(t, err)
				}
				if !bytes.Equal(readAll(t, w.file), before) {
					t.Fatal("the file has changed")
				}
				if confirmed {
					t.Error("the recovery share was confirmed")
				}
			})
		}
	}
	for name, change := range map[string]func(m *gatewayv1.ConfirmRecoveryResponse){
		"still waiting":         func(m *gatewayv1.ConfirmRecoveryResponse) { m.Resharing.State = recoveryPending },
		"another wallet's":      func(m *gatewayv1.ConfirmRecoveryResponse) { m.Resharing.Order = others.GetOrder() },
		"nothing":               func(m *gatewayv1.ConfirmRecoveryResponse) { m.Resharing = nil },
		"the sharing of before": func(m *gatewayv1.ConfirmRecoveryResponse) { m.Resharing.Order = last.GetOrder() },
	} {
		// The co-signer is asked once; it says the same to a repeat.
		w.p.lie(func(req, resp proto.Message) {
			on(change)(req, resp)
			on(func(m gotResharing) { m.Resharing.State = recoveryPending })(req, resp)
		})
		if err := openRecovery(live); err == nil {
			t.Errorf("the answer to the confirmation is %s, and was believed", name)
		}
		w.p.honest()
	}
	if err := openRecovery(live); err != nil {
		t.Fatal(err)
	}
	newest := readAll(t, w.file)
	exits(t, live.agent(), w.file)
	w.pays(t, live.agent())

	// The share that was opened last is not given for an older one that the gateway has kept, whatever the home has seen.
	for whose, home := range map[string]*client.Home{"its home": w.owners, "a fresh home": w.copyHome(w.pristine)} {
		w.p.replay("GetResharing", w.last["dealt"])
		owner, err := w.Client(home).Owner()
		if err != nil {
			t.Fatal(err)
		}
		_, err = owner.OpenRecovery(testContext(t), w.file, passphrase())
		w.p.honest()
		if err == nil || !bytes.Equal(readAll(t, w.file), newest) {
			t.Errorf("in %s the older share took the newest one's place: %v", whose, err)
		}
	}
	exits(t, live.agent(), w.file)
}

// TestHostileOrders lies to an owner who orders new shares: nothing is ordered from what does not verify, or is older than what
// was seen before.
func TestHostileOrders(t *testing.T) {
	t.Parallel()
	w := newLyingWorld(t)
	live := &program{t: t, w: w.dyingWorld}
	earlier := w.settledSharing(t)
	if err := offerAndRefresh(live); err != nil {
		t.Fatal(err)
	}
	if err := reshare(live); err != nil {
		t.Fatal(err)
	}
	if err := openRecovery(live); err != nil {
		t.Fatal(err)
	}
	offer, err := live.agent().Offer(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	last, others, strangers := dealt(w.last), dealt(w.others), w.shop.GroupKey()
	file := filepath.Join(t.TempDir(), "recovery")
	for name, change := range map[string]func(m gotResharing){
		"that there was no order":     func(m gotResharing) { m.Resharing = nil },
		"that there never was one":    func(m gotResharing) { m.Resharing, m.Epoch = nil, 1 },
		"the sharing before":          func(m gotResharing) { proto.Reset(m); proto.Merge(m, earlier) },
		"another wallet's sharing":    func(m gotResharing) { m.Resharing = others },
		"an order by somebody else":   func(m gotResharing) { m.Resharing.Order = forged(t, m.GetResharing().GetOrder()) },
		"an order with a bit changed": func(m gotResharing) { m.Resharing.Order = flip(m.GetResharing().GetOrder()) },
		"no order in it":              func(m gotResharing) { m.Resharing.Order = nil },
		"the record before":           func(m gotResharing) { m.Resharing.Record = last.GetRecord() },
		"another wallet's record":     func(m gotResharing) { m.Resharing.Record = others.GetRecord() },
		"a record with a bit changed": func(m gotResharing) { m.Resharing.Record = flip(m.GetResharing().GetRecord()) },
		"an open order for somebody else's recovery key": func(m gotResharing) {
			m.Resharing = &typev1.Resharing{State: ordered, Order: forged(t, m.GetResharing().GetOrder(), func(o *typev1.ResharingOrder) {
				o.FromEpoch, o.ToEpoch, o.RecoveryKey = o.GetToEpoch(), o.GetToEpoch()+1, strangers[:]
			})}
		},
		"the order before, not carried out": func(m gotResharing) { m.Resharing = &typev1.Resharing{State: ordered, Order: last.GetOrder()} },
	} {
		t.Run(name, func(t *testing.T) {
			calls := w.p.called("OrderResharing")
			w.p.lie(on(change))
			defer w.p.honest()
			for call, do := range map[string]func() error{
				"refresh": func() error { _, err := live.owner().Refresh(testContext(t), offer); return err },
				"create": func() error {
					_, err := live.owner().CreateRecovery(testContext(t), w.payer.Wallet(), file, passphrase())
					return err
				},
				"give up": func() error { _, err := live.owner().GiveUpRecovery(testContext(t), w.payer.Wallet()); return err },
				"replace": func() error { return replace(live) },
			} {
				if err := do(); err == nil {
					t.Errorf("%s: believed", call)
				} else {
					wantReasonAny(t, err)
				}
			}
			if w.p.called("OrderResharing") != calls {
				t.Error("new shares were ordered")
			}
		})
	}
	for name, change := range map[string]func(m *gatewayv1.OrderResharingResponse){
		"another order's": func(m *gatewayv1.OrderResharingResponse) { m.Resharing.Order = last.GetOrder() },
		"nothing":         func(m *gatewayv1.OrderResharingResponse) { m.Resharing = nil },
	} {
		w.p.lie(on(change))
		if _, err := live.owner().Refresh(testContext(t), offer); err == nil {
			t.Errorf("the answer to the order is %s, and was believed", name)
		}
		w.p.honest()
	}
	if _, err := live.owner().Refresh(testContext(t), offer); err != nil {
		t.Fatal(err)
	}
	if err := reshare(live); err != nil {
		t.Fatal(err)
	}
	w.pays(t, live.agent())
}

// TestReplayedOrder shows an owner who refreshes an order that was replaced by another: the new one would deal to a recovery key
// that the owner has thought better of.
func TestReplayedOrder(t *testing.T) {
	w := newDyingWorld(t)
	live := &program{t: t, w: w}
	kept := make(map[string]proto.Message)
	w.file = filepath.Join(t.TempDir(), "stolen")
	w.p.record(kept)
	for range 2 {
		if err := createRecovery(live); err != nil {
			t.Fatal(err)
		}
	}
	w.file = filepath.Join(t.TempDir(), "recovery")
	w.p.honest()
	if err := createRecovery(live); err != nil {
		t.Fatal(err)
	}
	offer, err := live.agent().Offer(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	calls := w.p.called("OrderResharing")
	w.p.replay("GetResharing", kept["GetResharing"])
	_, err = live.owner().Refresh(testContext(t), offer)
	w.p.honest()
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	if w.p.called("OrderResharing") != calls {
		t.Fatal("new shares were ordered for it")
	}
	if r, err := live.owner().Refresh(testContext(t), offer); err != nil || !r.Recovery || r.Epoch != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if err := reshare(live); err != nil {
		t.Fatal(err)
	}
	if err := openRecovery(live); err != nil {
		t.Fatal(err)
	}
	w.settledAt(t, w.home, 2)
}

// TestHostileReplacement lies to an owner who takes a wallet over: neither share is lost, and once the gateway is honest the same
// call goes through.
func TestHostileReplacement(t *testing.T) {
	t.Parallel()
	w := newLyingWorld(t)
	others := dealt(w.others)
	lies := w.runLies()
	for name, lie := range map[string]func(req, resp proto.Message){
		"another wallet's sharing": on(func(m gotResharing) { m.Resharing = others }),
		"no sharing":               on(func(m gotResharing) { m.Resharing, m.Epoch = nil, 1 }),
		"a record of nobody":       on(func(m *typev1.Wallet) { m.Record = flip(m.GetRecord()) }),
		"no registration":          on(func(m *typev1.Wallet) { m.Registration = nil }),
		"another claim":            on(func(m *typev1.Wallet) { m.Claim = flip(m.GetClaim()) }),
	} {
		lies[name] = lie
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			live := &program{t: t, w: w.dyingWorld}
			older, keeper := copyFile(t, w.file), w.home
			w.owners = w.copyHome(w.pristine)
			w.p.lie(lie)
			err := replace(live)
			w.p.honest()
			if err == nil {
				t.Fatal("believed")
			}
			wantReasonAny(t, err)
			// The pair of before is still one, by the file that the failed call may have written.
			agent, err := w.Client(keeper).Agent(w.payer.Wallet())
			if err != nil {
				t.Fatal(err)
			}
			exits(t, agent, w.file)
			exits(t, agent, older)
			if _, err := w.Client(w.owners).Agent(w.payer.Wallet()); err == nil {
				t.Fatal("an agent came of it")
			}
			w.p.record(w.last)
			defer w.p.honest()
			if err := replace(live); err != nil {
				t.Fatalf("once it is honest: %v", err)
			}
			w.home = w.owners
			w.pays(t, live.agent())
			exits(t, live.agent(), w.file)
			if err := errors.Join(openRecovery(live), reshare(live)); err != nil {
				t.Fatal(err)
			}
		})
	}
}
