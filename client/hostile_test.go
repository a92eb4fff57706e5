package client_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// hostileWorld is an installation whose agent and owner talk to it through a gateway that was broken into.
type hostileWorld struct {
	*halfkeytest.System
	p     *proxy
	payer *client.Agent
	c     *client.Client
	shop  *client.Agent
	// green and other are settled payments, to replay pieces of; lastReceipt is an AUTHORIZED answer.
	green, other *client.Payment
	answer       *typev1.Payment
}

func newHostileWorld(t *testing.T) *hostileWorld {
	t.Helper()
	w := &hostileWorld{System: halfkeytest.Start(t)}
	w.p = newProxy(t, w.System)
	w.shop = w.Agent("Shop")
	w.payer, w.c, _ = w.p.agent(w.System, "Payer")
	w.GuardRails(w.payer, client.StandardRules(w.shop.GroupKey()))
	w.Fund(w.payer, 1000*usd)
	alter(w.p, "CreatePayment", func(p *typev1.Payment) { w.answer = proto.CloneOf(p) })
	w.green = mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled)
	w.p.honest()
	w.other = mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled)
	return w
}

// TestHostileAuthorization alters the answer to the paying call. Every row is refused before the agent makes its half of the
// signature, and once the gateway is honest again the same payment goes through once.
func TestHostileAuthorization(t *testing.T) {
	t.Parallel()
	w := newHostileWorld(t)
	ctx := testContext(t)
	for _, row := range []struct {
		name   string
		change func(p *typev1.Payment)
	}{
		{"no receipt", func(p *typev1.Payment) { p.Receipt = nil }},
		{"a receipt of another payment", func(p *typev1.Payment) { p.Receipt = w.answer.GetReceipt() }},
		{"a receipt with a bit changed", func(p *typev1.Payment) { p.Receipt = flip(p.GetReceipt()) }},
		{"a verdict in the receipt's place", func(p *typev1.Payment) { p.Receipt = p.GetVerdict() }},
		{"no verdict", func(p *typev1.Payment) { p.Verdict = nil }},
		{"a verdict of another payment", func(p *typev1.Payment) { p.Verdict = w.answer.GetVerdict() }},
		{"verdict and receipt of another payment", func(p *typev1.Payment) {
			p.Verdict, p.Receipt = w.answer.GetVerdict(), w.answer.GetReceipt()
		}},
		{"a verdict with a bit changed", func(p *typev1.Payment) { p.Verdict = flip(p.GetVerdict()) }},
		{"no release", func(p *typev1.Payment) { p.Release = nil }},
		{"a release cut short", func(p *typev1.Payment) { p.Release = p.GetRelease()[:95] }},
		{"a release of another payment", func(p *typev1.Payment) { p.Release = w.answer.GetRelease() }},
		{"a release with a bit of its share changed", func(p *typev1.Payment) { p.Release[64] ^= 1 }},
		{"a release whose points are swapped", func(p *typev1.Payment) {
			p.Release = slices.Concat(p.Release[32:64], p.Release[:32], p.Release[64:])
		}},
		{"another message", func(p *typev1.Payment) { p.Message = w.answer.GetMessage() }},
		{"another intent", func(p *typev1.Payment) { p.Intent = w.answer.GetIntent() }},
		{"another name", func(p *typev1.Payment) { p.Name = w.answer.GetName() }},
		{"no state", func(p *typev1.Payment) { p.State = 0 }},
		{"settled without a settlement", func(p *typev1.Payment) { p.State = settled }},
		{"another payment altogether", func(p *typev1.Payment) { proto.Reset(p); proto.Merge(p, w.answer) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := balance(t, w.shop)
			order := client.Order{ID: slugOf(row.name), Recipient: w.shop.Wallet(), Units: 1000}
			alter(w.p, "CreatePayment", row.change)
			_, err := w.payer.Pay(ctx, order)
			w.p.honest()
			if err == nil || client.MoneyMovedOf(err) == typev1.MoneyMoved_MONEY_MOVED_YES {
				t.Fatalf("got %v", err)
			}
			if got := balance(t, w.shop); got != before {
				t.Fatalf("the shop got %d", got-before)
			}
			mustPay(t, w.payer, order, settled)
			if got := balance(t, w.shop); got != before+1000 {
				t.Errorf("the shop got %d, want 1000", got-before)
			}
		})
	}
}

// TestHostileState lies about where payments are.
func TestHostileState(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)

	t.Run("the settlement", func(t *testing.T) {
		for _, row := range []struct {
			name   string
			change func(p *typev1.Payment)
		}{
			{"is missing", func(p *typev1.Payment) { p.Settlement = nil }},
			{"is another payment's", func(p *typev1.Payment) { p.Settlement = w.other.Proto.GetSettlement() }},
			{"has a bit changed", func(p *typev1.Payment) { p.Settlement = flip(p.GetSettlement()) }},
			{"is a receipt", func(p *typev1.Payment) { p.Settlement = w.answer.GetReceipt() }},
			{"is said to be outstanding", func(p *typev1.Payment) { p.State = authorized }},
			{"is said to be free again", func(p *typev1.Payment) { p.State, p.Settlement = ready, nil }},
			{"is said to have expired", func(p *typev1.Payment) { p.State, p.Settlement = expired, nil }},
			{"is said to be denied", func(p *typev1.Payment) { p.State, p.Settlement = denied, nil }},
		} {
			t.Run(row.name, func(t *testing.T) {
				order := client.Order{ID: slugOf(row.name), Recipient: w.shop.Wallet(), Units: 1000}
				alter(w.p, "SettlePayment", row.change)
				_, err := w.payer.Pay(ctx, order)
				w.p.honest()
				if err == nil || client.MoneyMovedOf(err) != unknown {
					t.Fatalf("got %v", err)
				}
				// And what GetPayment says is believed no more.
				alter(w.p, "GetPayment", row.change)
				p, err := w.payer.Resume(ctx, order.ID)
				w.p.honest()
				if err == nil && (p.State != settled || p.Settlement == nil) {
					t.Errorf("resuming believed %v", p.State)
				}
				mustPay(t, w.payer, order, settled)
			})
		}
	})

	t.Run("an authorized payment that nobody knows", func(t *testing.T) {
		order := client.Order{ID: "unknown", Recipient: w.shop.Wallet(), Units: 1000}
		w.p.lose("SettlePayment", false)
		_, err := w.payer.Pay(ctx, order)
		wantReason(t, err, typev1.Reason_REASON_INTERNAL, unknown)
		w.p.set(func(method string, req proto.Message) error {
			if r, ok := req.(*gatewayv1.GetPaymentRequest); ok {
				r.Name = w.payer.Wallet() + "/payments/nobody"
			}
			return nil
		}, nil)
		_, err = w.payer.Resume(ctx, "unknown")
		wantReason(t, err, typev1.Reason_REASON_LEDGER_BEHIND, unknown)
		w.p.honest()
		mustPay(t, w.payer, order, settled)
	})

	t.Run("listings", func(t *testing.T) {
		for _, row := range []struct {
			name     string
			incoming bool
			change   func(r *gatewayv1.ListPaymentsResponse)
		}{
			{"a settlement of another payment", false, func(r *gatewayv1.ListPaymentsResponse) {
				r.Payments[0].Settlement = r.Payments[1].GetSettlement()
			}},
			{"an intent of another payment", false, func(r *gatewayv1.ListPaymentsResponse) { r.Payments[0].Intent = r.Payments[1].GetIntent() }},
			{"an incoming payment that is outgoing", true, func(r *gatewayv1.ListPaymentsResponse) {
				r.Payments = append(r.Payments, w.green.Proto)
			}},
		} {
			alter(w.p, "ListPayments", row.change)
			_, err := w.payer.Payments(ctx, row.incoming)
			w.p.honest()
			if err == nil {
				t.Errorf("%s: believed", row.name)
			}
		}
	})

	t.Run("the journal's head", func(t *testing.T) {
		var old *gatewayv1.GetAccountResponse
		alter(w.p, "GetAccount", func(r *gatewayv1.GetAccountResponse) { old = proto.CloneOf(r) })
		if _, err := w.payer.Account(ctx); err != nil {
			t.Fatal(err)
		}
		w.p.honest()
		mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
		alter(w.p, "GetAccount", func(r *gatewayv1.GetAccountResponse) { r.Head = old.GetHead() })
		_, err := w.payer.Account(ctx)
		wantReason(t, err, typev1.Reason_REASON_LEDGER_BEHIND, notMoved)
		for name, head := range map[string]*typev1.Envelope{"missing": nil, "with a bit changed": flip(old.GetHead()), "another type": w.answer.GetReceipt()} {
			alter(w.p, "GetAccount", func(r *gatewayv1.GetAccountResponse) { r.Head = head })
			if _, err := w.payer.Account(ctx); err == nil {
				t.Errorf("%s: believed", name)
			}
		}
		w.p.honest()
	})
}

// TestHostileDirectory resolves names to other keys.
func TestHostileDirectory(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)
	thief := w.Agent("Thief")
	fresh := w.Agent("Fresh")
	elsewhere := evidencetest.NewWith(t, evidencetest.Config{ID: w.Installation().ID()})
	forged, key := new(typev1.WalletRecord), thief.GroupKey() // Of somebody who is paid, under a key that is no co-signer's.
	elsewhere.Decode(w.record(t, fresh), forged)
	forged.GroupKey = key[:]
	for _, row := range []struct {
		name   string
		change func(wallet *typev1.Wallet)
	}{
		{"another wallet's record", func(x *typev1.Wallet) { x.Record = w.record(t, thief) }},
		{"a record with a bit changed", func(x *typev1.Wallet) { x.Record = flip(x.GetRecord()) }},
		{"a record under another key", func(x *typev1.Wallet) { x.Record = elsewhere.Sign(elsewhere.Cosigner, forged) }},
		{"no record", func(x *typev1.Wallet) { x.Record = nil }},
		{"the registration as record", func(x *typev1.Wallet) { x.Record = x.GetRegistration() }},
	} {
		alter(w.p, "GetWallet", row.change)
		for _, to := range []string{"@fresh", fresh.Wallet()} {
			if p, err := w.payer.Pay(ctx, client.Order{Recipient: to, Units: 1}); err == nil {
				t.Errorf("%s: %s was paid as %x", row.name, to, p.Recipient)
			}
		}
		if _, err := w.payer.State(ctx); err == nil {
			t.Errorf("%s: believed about its own wallet", row.name)
		}
		w.p.honest()
	}
	// What was resolved once is pinned: whatever the directory says later.
	alter(w.p, "GetWallet", func(x *typev1.Wallet) { x.Record = w.record(t, thief) })
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: 1}, settled)
	w.p.honest()
}

// record is a wallet's record, as the directory has it.
func (w *hostileWorld) record(t *testing.T, a *client.Agent) *typev1.Envelope {
	t.Helper()
	j, err := a.Journal(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	first := new(typev1.Entry)
	if err := proto.Unmarshal(j.Entries[0], first); err != nil {
		t.Fatal(err)
	}
	return first.GetStatements()[1]
}

// TestHostileStopping lets a freeze, its end, or guard rails look in force that are not.
func TestHostileStopping(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)
	var earlier *gatewayv1.FreezeResponse
	alter(w.p, "Freeze", func(r *gatewayv1.FreezeResponse) { earlier = proto.CloneOf(r) })
	first, err := w.payer.Freeze(ctx, "first")
	if err != nil {
		t.Fatal(err)
	}
	w.p.honest()
	if _, err := w.Owner().Unfreeze(ctx, w.payer.Wallet(), first.FreezeID); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func(r *gatewayv1.FreezeResponse)
	}{
		{"no acknowledgement", func(r *gatewayv1.FreezeResponse) { r.Acknowledgements = nil }},
		{"only the ledger's", func(r *gatewayv1.FreezeResponse) { r.Acknowledgements = r.Acknowledgements[:1] }},
		{"the ledger's twice", func(r *gatewayv1.FreezeResponse) { r.Acknowledgements[1] = r.Acknowledgements[0] }},
		{"the co-signer's twice", func(r *gatewayv1.FreezeResponse) { r.Acknowledgements[0] = r.Acknowledgements[1] }},
		{"another freeze's", func(r *gatewayv1.FreezeResponse) { r.Acknowledgements = earlier.GetAcknowledgements() }},
		{"a bit changed", func(r *gatewayv1.FreezeResponse) { r.Acknowledgements[1] = flip(r.Acknowledgements[1]) }},
	} {
		alter(w.p, "Freeze", row.change)
		s, err := w.payer.Freeze(ctx, "")
		w.p.honest()
		if err == nil {
			t.Errorf("%s: in force: %+v", row.name, s)
			continue
		}
		id := wantReasonAny(t, err).Metadata["freeze_id"]
		if id == "" {
			t.Fatalf("%s: the error does not name the freeze to repeat", row.name)
		}
		// It is in force all the same; the repeat says so.
		if s, err := w.payer.Freeze(ctx, id); err != nil || !s.Frozen {
			t.Errorf("%s: the repeat: %+v, %v", row.name, s, err)
		}
	}

	before, err := w.payer.GuardRails(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rules := client.StandardRules(w.shop.GroupKey())
	rules.Daily = 40 * usd
	if _, err := w.Owner().SetGuardRails(ctx, w.payer.Wallet(), rules); err != nil {
		t.Fatal(err)
	}
	if now, err := w.payer.GuardRails(ctx); err != nil || now.Number != before.Number+1 {
		t.Fatalf("got %+v, %v", now, err)
	}
	for _, row := range []struct {
		name   string
		change func(r *gatewayv1.GetGuardRailsResponse)
	}{
		{"no documents", func(r *gatewayv1.GetGuardRailsResponse) { r.Documents = nil }},
		{"an older head", func(r *gatewayv1.GetGuardRailsResponse) { r.HeadNumber-- }},
		{"a document with a bit changed", func(r *gatewayv1.GetGuardRailsResponse) {
			d := r.GetDocuments().GetGuardRails()
			d[len(d)-1] = flip(d[len(d)-1])
		}},
	} {
		alter(w.p, "GetGuardRails", row.change)
		if got, err := w.payer.GuardRails(ctx); err == nil {
			t.Errorf("%s: believed: %+v", row.name, got)
		}
		w.p.honest()
	}
}

// TestHostileRegistration alters key generation. Nothing that it touched becomes a wallet.
func TestHostileRegistration(t *testing.T) {
	t.Parallel()
	h := halfkeytest.Start(t)
	p := newProxy(t, h)
	ctx := testContext(t)
	var first *gatewayv1.StartRegistrationResponse
	for n, row := range []struct {
		name   string
		change func(method string, req, resp proto.Message)
	}{
		{"nothing", func(method string, req, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.StartRegistrationResponse); ok {
				first = proto.CloneOf(r)
			}
		}},
		{"the co-signer's static key of another run", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.StartRegistrationResponse); ok {
				r.Answer = first.GetAnswer()
			}
		}},
		{"the co-signer's message of another run", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.StartRegistrationResponse); ok {
				r.Round1 = first.GetRound1()
			}
		}},
		{"one bit of the co-signer's commitment", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.StartRegistrationResponse); ok {
				r.Round1[10] ^= 1
			}
		}},
		{"one bit of the co-signer's proof", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.StartRegistrationResponse); ok {
				r.Round1[2*32+40] ^= 1
			}
		}},
		{"one bit of the share encrypted to the agent", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.StartRegistrationResponse); ok {
				r.Round1[2*32+64+32+8+10] ^= 1
			}
		}},
		{"one bit of the co-signer's certificate", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.ExchangeRegistrationResponse); ok {
				r.Certificate[40] ^= 1
			}
		}},
		{"no certificate", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.ExchangeRegistrationResponse); ok {
				r.Certificate = nil
			}
		}},
		{"one bit of the test share", func(_ string, _, resp proto.Message) {
			if r, ok := resp.(*gatewayv1.ConfirmRegistrationResponse); ok {
				r.Release[70] ^= 1
			}
		}},
		{"another wallet at the end", func(_ string, req, resp proto.Message) {
			if _, ok := req.(*gatewayv1.CompleteRegistrationRequest); ok {
				resp.(*typev1.Wallet).Registration = nil
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := h.Client(p.home(h))
			options := client.RegisterOptions{Name: fmt.Sprint("Agent ", n), OwnerEmail: halfkeytest.Email}
			p.set(nil, func(method string, req, resp proto.Message) error { row.change(method, req, resp); return nil })
			_, err := c.Register(ctx, options)
			p.honest()
			if row.name == "nothing" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("a registered wallet came of it")
			}
			if _, err := c.Agent(""); err == nil {
				t.Fatal("an agent came of it")
			}
			// The same program goes on once it reaches the real gateway.
			r, err := c.Register(ctx, options)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Owner().Claim(ctx, r.ClaimCode); err != nil {
				t.Error(err)
			}
		})
	}
}

// wantReasonAny is the *client.Error that every failure is.
func wantReasonAny(t testing.TB, err error) *client.Error {
	t.Helper()
	return wantReason(t, err, client.ReasonOf(err), client.MoneyMovedOf(err))
}

// slugOf makes a payment id of a row's name.
func slugOf(name string) string {
	out := []byte(name + "--------")
	for i, c := range out {
		if c < 'a' || c > 'z' {
			out[i] = '-'
		}
	}
	return string(out[:min(len(out), 60)])
}
