package ledger

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// watcher is one stream of changes.
type watcher struct {
	t      testing.TB
	stream grpc.ServerStreamingClient[ledgerv1.WatchPaymentsResponse]
	cancel context.CancelFunc
	token  string
}

func (f *fixture) watch(parent, token string, incoming bool) *watcher {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	f.t.Cleanup(cancel)
	stream, err := f.client.WatchPayments(ctx, &ledgerv1.WatchPaymentsRequest{Parent: parent, ResumeToken: token, Incoming: incoming})
	if err != nil {
		f.t.Fatal(err)
	}
	w := &watcher{t: f.t, stream: stream, cancel: cancel, token: token}
	if token == "" {
		if p := w.next(); p != nil || w.token == "" {
			f.t.Fatalf("the first answer is %v, token %q", p, w.token)
		}
	}
	return w
}

// next is the next answer's payment.
func (w *watcher) next() *typev1.Payment {
	w.t.Helper()
	resp, err := w.stream.Recv()
	if err != nil {
		w.t.Fatalf("Recv: %v", err)
	}
	w.token = resp.GetResumeToken()
	return resp.GetPayment()
}

// see reads changes and compares them, `id STATE`.
func (w *watcher) see(want ...string) (last *typev1.Payment) {
	w.t.Helper()
	for _, one := range want {
		last = w.next()
		if got := changeText(last); got != one {
			w.t.Fatalf("got change %q, want %q", got, one)
		}
	}
	return last
}

func changeText(p *typev1.Payment) string {
	return p.GetName()[strings.LastIndex(p.GetName(), "/")+1:] + " " + strings.TrimPrefix(p.GetState().String(), "PAYMENT_STATE_")
}

// nothing demands that a change which is made now is the next one: nothing else was on its way.
func (w *watcher) nothing(f *fixture, from, to *evidencetest.Wallet, id string) {
	w.t.Helper()
	f.must(f.payment(from, evidencetest.PaymentConfig{ID: id, To: to.GroupKey, Units: 7_000_000 * usd}), denied)
	w.see(id + " DENIED")
}

// life takes a payment through review, authorization, the death of its message, another one, and settlement.
func (f *fixture) life(w, to *evidencetest.Wallet, id string) *evidencetest.Payment {
	f.t.Helper()
	deadline := f.clock.now().Add(24 * time.Hour)
	p := f.payment(w, evidencetest.PaymentConfig{ID: id, To: to.GroupKey, Units: 6 * usd, Deadline: deadline})
	f.must(p, pending)
	if _, err := f.answer(p, approve); err != nil {
		f.t.Fatal(err)
	}
	review := p.Review
	p.Judge(f.clock.now(), nil)
	f.must(p, authorized)
	f.must(p, authorized) // A renewal is no change of state.
	f.clock.advance(10 * time.Minute)
	if err := f.ledger.Sweep(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	p = w.Payment(evidencetest.PaymentConfig{ID: id, To: to.GroupKey, Units: 6 * usd, Deadline: deadline, Now: f.clock.now()})
	p.Review = review
	p.Judge(f.clock.now(), nil)
	f.must(p, authorized)
	if _, err := f.settle(p); err != nil {
		f.t.Fatal(err)
	}
	return p
}

// Every state that a payment was in is told, in order and as it was, however late a watcher comes and whatever was started anew
// in between.
func TestWatchPayments(t *testing.T) {
	f := start(t)
	first, second, others := f.houses(asking)
	states := []string{"p PENDING_REVIEW", "p READY", "p AUTHORIZED", "p READY", "p AUTHORIZED", "p SETTLED"}
	live := f.watch(first.Name, "", false)
	begin := live.token
	ownersBegin := f.watch(first.Owner, "", false).token
	f.life(first, second, "p")
	live.see(states...)
	live.nothing(f, first, second, "end")

	f.reopen()
	for name, w := range map[string]*watcher{
		"a wallet": f.watch(first.Name, begin, false), "an owner": f.watch(first.Owner, ownersBegin, false),
	} {
		var tokens []string
		var got []*typev1.Payment
		for range states {
			got = append(got, w.next())
			tokens = append(tokens, w.token)
		}
		for i, p := range got {
			if changeText(p) != states[i] {
				t.Fatalf("%s: change %d is %q, want %q", name, i, changeText(p), states[i])
			}
		}
		checkLife(t, f, got)
		// From every token on, exactly the rest is told.
		for i, token := range tokens {
			f.watch(map[string]string{"a wallet": first.Name, "an owner": first.Owner}[name], token, false).
				see(append(states[i+1:], "end DENIED")...)
		}
	}
	// Nobody else's watchers see it.
	f.watch(others.Owner, "", false).nothing(f, others, first, "theirs")
	f.watch(second.Name, "", false).nothing(f, second, first, "its-own")
}

// checkLife checks what stands in each change of a life.
func checkLife(t *testing.T, f *fixture, got []*typev1.Payment) {
	t.Helper()
	final := f.get(got[0].GetName())
	for i, p := range got {
		if string(p.GetIntent()) != string(final.GetIntent()) || p.GetLight() != typev1.Light_LIGHT_YELLOW || len(p.GetResults()) == 0 ||
			p.GetRequest() == nil || p.GetVerdict() == nil {
			t.Errorf("change %d is not whole: %v", i, p)
		}
		r := new(typev1.Request)
		if err := evidence.Peek(p.GetRequest(), r); err != nil || !evidence.MessageDigest(p.GetMessage()).Is(r.GetMessageDigest()) {
			t.Errorf("change %d: the message is not its request's: %v", i, err)
		}
		if (p.GetReview() != nil) != (i > 0) {
			t.Errorf("change %d: review %v", i, p.GetReview())
		}
		if (p.GetSettlement() != nil) != (i == 5) || (len(p.GetSignature()) > 0) != (i == 5) {
			t.Errorf("change %d: settlement %v", i, p.GetSettlement())
		}
		if dead := len(p.GetDeadMessages()); dead != map[bool]int{false: 0, true: 1}[i >= 3] {
			t.Errorf("change %d: %d dead messages", i, dead)
		}
		if i > 0 && p.GetUpdateTime().AsTime().Before(got[i-1].GetUpdateTime().AsTime()) {
			t.Errorf("change %d is older than the one before", i)
		}
	}
	if string(got[2].GetMessage()) == string(got[4].GetMessage()) {
		t.Error("both authorizations have one message")
	}
	last := proto.CloneOf(got[5])
	last.Entry, last.EntryHash, last.LedgerTime = final.GetEntry(), final.GetEntryHash(), final.GetLedgerTime()
	if !proto.Equal(last, final) {
		t.Errorf("the last change is not the payment:\n%v\n%v", last, final)
	}
}

// What ends without anybody's doing is told as well, and so are refusals and cancellations, with the answer that they rest on.
func TestWatchPaymentsEnds(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses(asking)
	w := f.watch(first.Owner, "", false)
	waits := func(id string) *evidencetest.Payment {
		p := f.payment(first, evidencetest.PaymentConfig{ID: id, To: second.GroupKey, Units: 6 * usd})
		f.must(p, pending)
		return p
	}
	refusedOne, canceledOne, approvedOne := waits("refused"), waits("canceled"), waits("approved")
	waits("expired")
	f.must(f.payment(first, evidencetest.PaymentConfig{ID: "red", To: second.GroupKey, Units: 101 * usd}), denied)
	if _, err := f.answer(refusedOne, refused); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.CancelPayment(t.Context(),
		&ledgerv1.CancelPaymentRequest{Name: canceledOne.Name, Caller: &typev1.Caller{Name: "agents/first"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.answer(approvedOne, approve); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(2 * time.Hour)
	if err := f.ledger.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.see("refused PENDING_REVIEW", "canceled PENDING_REVIEW", "approved PENDING_REVIEW", "expired PENDING_REVIEW", "red DENIED")
	if p := w.see("refused DENIED"); p.GetReview() == nil {
		t.Error("the refusal is not shown")
	}
	w.see("canceled CANCELED")
	if p := w.see("approved READY"); p.GetReview() == nil {
		t.Error("the approval is not shown")
	}
	ended := []string{changeText(w.next()), changeText(w.next())}
	if slices.Sort(ended); !slices.Equal(ended, []string{"approved EXPIRED", "expired EXPIRED"}) {
		t.Errorf("got %v", ended)
	}
}

// Payments settled to a wallet are told to who watches these, each with its settlement.
func TestWatchPaymentsIncoming(t *testing.T) {
	f := start(t)
	first, second, others := f.houses()
	wallet, owner, theirs := f.watch(second.Name, "", true), f.watch(second.Owner, "", true), f.watch(others.Name, "", true)
	for i, from := range []*evidencetest.Wallet{first, others, second} {
		to := second
		if from == second {
			to = others
		}
		p := f.payment(from, evidencetest.PaymentConfig{ID: fmt.Sprint("p", i), To: to.GroupKey, Units: usd})
		f.must(p, authorized)
		if _, err := f.settle(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range []*watcher{wallet, owner} {
		for _, want := range []string{"p0 SETTLED", "p1 SETTLED"} {
			if p := w.see(want); p.GetSettlement() == nil {
				t.Errorf("%s without its settlement", want)
			}
		}
	}
	if p := theirs.see("p2 SETTLED"); p.GetName() != second.Name+"/payments/p2" {
		t.Errorf("got %s", p.GetName())
	}
}

// A reader that does not read holds nobody up, and misses nothing when it reads on.
func TestWatchPaymentsSlowReader(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses()
	slow, other := f.watch(first.Name, "", false), f.watch(first.Owner, "", false)
	const many = 300 // Some megabytes: more than a connection holds for a stream.
	var want []string
	for i := range many {
		id := fmt.Sprint("p", i)
		f.must(f.payment(first, evidencetest.PaymentConfig{ID: id, To: second.GroupKey, Units: 2_000_000 * usd}), denied)
		want = append(want, id+" DENIED")
		other.see(id + " DENIED")
	}
	slow.see(want...)
}

// Many payments at once, watchers that come and go: nobody misses a change, and each payment's come in order.
func TestWatchPaymentsConcurrently(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses()
	const payers, each = 8, 12
	begin := f.watch(first.Owner, "", false).token
	var paying sync.WaitGroup
	for n := range payers {
		from, to := first, second
		if n%2 == 1 {
			from, to = second, first
		}
		paying.Go(func() {
			for i := range each {
				p := f.payment(from, evidencetest.PaymentConfig{ID: fmt.Sprintf("p%d-%d", n, i), To: to.GroupKey, Units: 1})
				if _, err := f.create(p); err != nil {
					t.Error(err)
				}
				if _, err := f.settle(p); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := make(map[string][]typev1.PaymentState)
	token := begin
	for total := 0; total < 2*payers*each; {
		w := f.watch(first.Owner, token, false)
		for range 1 + total%7 { // It goes away after some.
			if total == 2*payers*each {
				break
			}
			p := w.next()
			seen[p.GetName()] = append(seen[p.GetName()], p.GetState())
			total++
		}
		token = w.token
		w.cancel()
	}
	paying.Wait()
	if len(seen) != payers*each {
		t.Errorf("%d payments were seen", len(seen))
	}
	for name, states := range seen {
		if !slices.Equal(states, []typev1.PaymentState{authorized, settled}) {
			t.Errorf("%s: got %v", name, states)
		}
	}
}

func TestWatchPaymentsRefuses(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses()
	refuses := func(parent, token string, want typev1.Reason) {
		t.Helper()
		stream, err := f.client.WatchPayments(t.Context(), &ledgerv1.WatchPaymentsRequest{Parent: parent, ResumeToken: token})
		if err == nil {
			_, err = stream.Recv()
		}
		wantReason(t, err, want, movedNo)
	}
	const invalid = typev1.Reason_REASON_INVALID_ARGUMENT
	refuses("", "", invalid)
	refuses("agents/first", "", invalid)
	refuses(first.Name+"/payments/p", "", invalid)
	refuses("wallets/none", "", typev1.Reason_REASON_NOT_ACTIVE)
	for _, token := range []string{
		"x", makeToken("1"), makeToken("1", "2", "3"), makeToken("-1", "0011223344556677"), makeToken("1", "00"), makeToken("1", "zz"),
		makeToken("0", "0011223344556677"), makeToken("99999999999999999999", "0011223344556677"),
	} {
		refuses(first.Name, token, invalid)
		refuses(first.Owner, token, invalid)
	}
	// A token of another's is none: what it names is not there.
	token := f.watch(second.Name, "", false).token
	refuses(first.Name, token, typev1.Reason_REASON_LEDGER_BEHIND)
}

// A ledger that was put back to an older copy says that it lacks what the token names, also when it has gone on since, and skips
// nothing in silence.
func TestWatchPaymentsAfterRestore(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses()
	wallet, owner := f.watch(first.Name, "", false), f.watch(first.Owner, "", false)
	before := [2]string{wallet.token, owner.token}
	f.close()
	copied, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.open()
	f.must(f.payment(first, evidencetest.PaymentConfig{ID: "lost", To: second.GroupKey, Units: usd}), authorized)
	wallet, owner = f.watch(first.Name, before[0], false), f.watch(first.Owner, before[1], false)
	wallet.see("lost AUTHORIZED")
	owner.see("lost AUTHORIZED")
	f.close()
	if err := os.WriteFile(f.path, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	behind := func() {
		t.Helper()
		for parent, token := range map[string]string{first.Name: wallet.token, first.Owner: owner.token} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			stream, err := f.client.WatchPayments(ctx, &ledgerv1.WatchPaymentsRequest{Parent: parent, ResumeToken: token})
			if err == nil {
				_, err = stream.Recv()
			}
			wantReason(t, err, typev1.Reason_REASON_LEDGER_BEHIND, movedNo)
		}
	}
	behind()
	f.must(f.payment(first, evidencetest.PaymentConfig{ID: "other", To: second.GroupKey, Units: usd}), authorized)
	behind()
	f.watch(first.Name, before[0], false).see("other AUTHORIZED") // What it still has, it goes on from.
	f.watch(first.Owner, before[1], false).see("other AUTHORIZED")
}

// One caller cannot take all streams, and a stream that ends gives its place back.
func TestWatchersAreBounded(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses()
	var watching []*watcher
	for range watchersOfOneMax {
		watching = append(watching, f.watch(first.Name, "", false))
	}
	full := func() error {
		stream, err := f.client.WatchPayments(t.Context(), &ledgerv1.WatchPaymentsRequest{Parent: first.Name})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	wantReason(t, full(), typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
	f.watch(second.Name, "", false)
	watching[0].cancel()
	for deadline := time.Now().Add(20 * time.Second); full() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the place of a stream that has ended is not given back")
		}
	}
	// Streams end with the ledger, and say so.
	f.ledger.watchers.close()
	if _, err := watching[1].stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("after the ledger's end: %v", err)
	}
}
