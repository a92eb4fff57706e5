package ledger

import (
	"crypto/ed25519"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// asking are limits under which a payment over 5 USD asks and one over 100 USD is denied, and a day over 50 USD asks.
func asking(doc *typev1.GuardRails) {
	allowed := doc.GetRecipients().GetAllow()
	evidencetest.Standard(doc)
	doc.Recipients.Allow = allowed
}

const (
	approve = typev1.Answer_ANSWER_APPROVE
	refused = typev1.Answer_ANSWER_REFUSE
)

func TestReviewApproved(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd, Deadline: noon.Add(24 * time.Hour)}
	p := f.payment(payer, c)
	f.must(p, pending)
	f.wantBalance(payer, 1000*usd, 0)
	if waiting := f.reviews(payer); len(waiting) != 1 || waiting[0].GetName() != p.Name || waiting[0].GetLight() != yellow {
		t.Errorf("reviews: %v", waiting)
	}
	f.clock.advance(3 * time.Hour)
	got, err := f.answer(p, approve)
	if err != nil || got.GetState() != ready || got.GetReview() == nil {
		t.Fatalf("answer: %v, %v", got, err)
	}
	if waiting := f.reviews(payer); len(waiting) != 0 {
		t.Errorf("reviews: %v", waiting)
	}
	f.unchanged(func() {
		if again, err := f.answer(p, approve); err != nil || again.GetState() != ready {
			t.Errorf("the same answer again: %v, %v", again, err)
		}
		// Policy was not brought the review, so the co-signer would refuse.
		fresh := f.payment(payer, c)
		_, err := f.create(fresh)
		wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISSING, movedNo)
	})
	fresh := payer.Payment(withNow(c, f.clock.now()))
	fresh.Answer(approve, nil)
	fresh.Judge(f.clock.now(), nil)
	f.verify(fresh, f.must(fresh, authorized))
	f.wantBalance(payer, 994*usd, 6*usd)
	// The repeat of an authorized payment keeps its review, also when it is not brought again and only history asks.
	f.verify(fresh, f.must(fresh, authorized))
	_, err = f.answer(fresh, refused)
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, movedUnknown)
	if _, err := f.settle(fresh); err != nil {
		t.Fatal(err)
	}
	_, err = f.client.CancelPayment(t.Context(), &ledgerv1.CancelPaymentRequest{Name: p.Name})
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, movedYes)
}

func withNow(c evidencetest.PaymentConfig, now time.Time) evidencetest.PaymentConfig {
	c.Now = now
	return c
}

func (f *fixture) reviews(w *evidencetest.Wallet) []*typev1.Payment {
	f.t.Helper()
	resp, err := f.client.ListReviews(f.t.Context(), &ledgerv1.ListReviewsRequest{Owner: w.Owner})
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.GetPayments()
}

// A payment that only history asks about is GREEN to policy: the recorded review counts without being brought.
func TestReviewByHistory(t *testing.T) {
	f := start(t)
	payer, payee := f.two(func(doc *typev1.GuardRails) {
		doc.Limits = []*typev1.Limit{limit(typev1.Window_WINDOW_PAYMENT, 100*usd, red), limit(typev1.Window_WINDOW_DAY, 5*usd, yellow)}
	})
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd})
	f.must(p, pending)
	if _, err := f.answer(p, approve); err != nil {
		t.Fatal(err)
	}
	p.Review = nil
	f.verify(p, f.must(p, authorized))
}

// An approval brought with the first call is as good as one recorded before.
func TestReviewBrought(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	p := payer.Payment(evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd, Now: noon})
	p.Answer(approve, nil)
	p.Judge(noon, nil)
	f.verify(p, f.must(p, authorized))
}

// No approval lifts a DENY.
func TestReviewLiftsNoDeny(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	p := payer.Payment(evidencetest.PaymentConfig{To: payee.GroupKey, Units: 101 * usd, Now: noon})
	p.Answer(approve, nil)
	p.Judge(noon, nil)
	f.must(p, denied)
	// Neither where history denies what was approved before.
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.Limits[1].Crossed = red })
	waits := f.payment(payer, evidencetest.PaymentConfig{ID: "waits", To: payee.GroupKey, Units: 50 * usd})
	f.must(waits, pending)
	if _, err := f.answer(waits, approve); err != nil {
		t.Fatal(err)
	}
	f.must(f.payment(payer, evidencetest.PaymentConfig{ID: "small", To: payee.GroupKey, Units: 1}), authorized)
	waits.Judge(noon, nil)
	f.must(waits, denied)
}

func TestReviewRefusals(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	other := f.wallet("other", paying([]*evidencetest.Wallet{payee}, asking))
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd, Deadline: noon.Add(time.Hour)})
	f.must(p, pending)
	sign := func(key ed25519.PrivateKey, edit func(*typev1.Review)) *typev1.Envelope {
		p.Answer(approve, edit)
		m := new(typev1.Review)
		f.Decode(p.Review, m)
		return f.SignLoose(key, m)
	}
	for _, tt := range []struct {
		name   string
		review *typev1.Envelope
		want   typev1.Reason
	}{
		{"none", nil, typev1.Reason_REASON_EVIDENCE_MISSING},
		{"by the agent", sign(payer.RequestKey, nil), typev1.Reason_REASON_BAD_STATEMENT},
		{"by the operator", sign(f.Operator, nil), typev1.Reason_REASON_BAD_STATEMENT},
		{"by policy", sign(f.Policy, nil), typev1.Reason_REASON_BAD_STATEMENT},
		{"by another owner", sign(f.Key("owner/else"), nil), typev1.Reason_REASON_BAD_STATEMENT},
		{"of another intent", sign(payer.OwnerKey, func(r *typev1.Review) { r.IntentDigest[0] ^= 1 }), typev1.Reason_REASON_EVIDENCE_MISMATCH},
		{
			"of another installation", sign(payer.OwnerKey, func(r *typev1.Review) { r.Installation = "else" }),
			typev1.Reason_REASON_EVIDENCE_MISMATCH,
		},
		{
			"of no payment", sign(payer.OwnerKey, func(r *typev1.Review) { r.Payment = payer.Name + "/payments/none" }),
			typev1.Reason_REASON_NOT_FOUND,
		},
		{"of another wallet's payment", sign(payer.OwnerKey, func(r *typev1.Review) {
			r.Wallet, r.Payment = other.Name, other.Name+"/payments/p1"
		}), typev1.Reason_REASON_NOT_FOUND},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.unchanged(func() {
				_, err := f.client.AnswerReview(t.Context(), &ledgerv1.AnswerReviewRequest{Review: tt.review})
				wantReason(t, err, tt.want, movedNo)
			})
		})
	}
	f.clock.advance(time.Hour + time.Millisecond)
	if waiting := f.reviews(payer); len(waiting) != 0 {
		t.Errorf("reviews after the deadline: %v", waiting)
	}
	_, err := f.answer(p, approve)
	wantReason(t, err, typev1.Reason_REASON_DEADLINE_EXPIRED, movedNo)
	if got := f.get(p.Name); got.GetState() != expired {
		t.Errorf("got %s", got.GetState())
	}
	_, err = f.answer(p, approve)
	wantReason(t, err, typev1.Reason_REASON_DEADLINE_EXPIRED, movedNo)
}

// The first answer wins; refusing works until AUTHORIZED.
func TestReviewAnswers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []typev1.Answer
		states  []typev1.PaymentState // 0: WRONG_STATE.
	}{
		{"refused", []typev1.Answer{refused, refused, approve}, []typev1.PaymentState{denied, denied, 0}},
		{"approved, then refused", []typev1.Answer{approve, refused, approve}, []typev1.PaymentState{ready, denied, 0}},
		{"approved twice", []typev1.Answer{approve, approve}, []typev1.PaymentState{ready, ready}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t)
			payer, payee := f.two(asking)
			p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd})
			f.must(p, pending)
			for i, a := range tt.answers {
				got, err := f.answer(p, a)
				if tt.states[i] == 0 {
					if got := wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, movedNo).Metadata["state"]; got != "DENIED" {
						t.Errorf("state %q", got)
					}
					continue
				}
				if err != nil || got.GetState() != tt.states[i] {
					t.Fatalf("answer %d: %v, %v", i, got.GetState(), err)
				}
			}
		})
	}
}

// Answers race: exactly one of two contrary ones is first, and the end is the same for all.
func TestReviewRace(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	for i := range 20 {
		p := f.payment(payer, evidencetest.PaymentConfig{ID: string(rune('a' + i)), To: payee.GroupKey, Units: 6 * usd})
		f.must(p, pending)
		yes, no := p.Answer(approve, nil), p.Answer(refused, nil)
		var wait sync.WaitGroup
		for _, e := range []*typev1.Envelope{yes, no} {
			wait.Go(func() {
				_, _ = f.client.AnswerReview(t.Context(), &ledgerv1.AnswerReviewRequest{Review: e})
			})
		}
		wait.Wait()
		// Refusing works on READY too, so whoever was first, the payment is denied.
		if got := f.get(p.Name); got.GetState() != denied {
			t.Fatalf("got %s", got.GetState())
		}
	}
}

// An approval counts only under the owner keys of the head of now.
func TestReviewUnderChangedKeys(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	c := evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd}
	p := f.payment(payer, c)
	f.must(p, pending)
	if _, err := f.answer(p, approve); err != nil {
		t.Fatal(err)
	}
	old, next := payer.OwnerKey, f.Key("owner/next")
	f.setGuardRails(payer, func(doc *typev1.GuardRails) { doc.OwnerKeys = [][]byte{evidencetest.Public(next)} })
	p = f.payment(payer, c)
	f.must(p, pending) // READY, judged YELLOW, without a review that counts.
	p.Answer(approve, nil)
	_, err := f.client.AnswerReview(t.Context(), &ledgerv1.AnswerReviewRequest{Review: p.Review})
	wantReason(t, err, typev1.Reason_REASON_BAD_STATEMENT, movedNo)
	payer.OwnerKey = next
	if got, err := f.answer(p, approve); err != nil || got.GetState() != ready {
		t.Fatalf("under the new key: %v, %v", got, err)
	}
	p.Judge(f.clock.now(), nil)
	f.verify(p, f.must(p, authorized))
	payer.OwnerKey = old
}

func TestCancel(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd})
	cancel := func(caller string) (*typev1.Payment, error) {
		resp, err := f.client.CancelPayment(t.Context(), &ledgerv1.CancelPaymentRequest{Name: p.Name, Caller: &typev1.Caller{Name: caller}})
		return resp.GetPayment(), err
	}
	_, err := cancel("agents/payer")
	wantReason(t, err, typev1.Reason_REASON_NOT_FOUND, movedNo)
	f.must(p, pending)
	_, err = cancel("nobody\x00")
	wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
	for range 2 {
		if got, err := cancel("agents/payer"); err != nil || got.GetState() != canceled {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	last := f.entries(payer)
	if e := last[len(last)-1]; e.GetCaller() != "agents/payer" || e.GetPaymentState() != canceled {
		t.Errorf("the journal ends with %v", e)
	}
	f.must(p, canceled) // A repeat returns it.
	_, err = f.answer(p, approve)
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, movedNo)
	held := f.payment(payer, evidencetest.PaymentConfig{ID: "held", To: payee.GroupKey, Units: usd})
	f.must(held, authorized)
	p = held
	_, err = cancel("agents/payer")
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, movedUnknown)
}
