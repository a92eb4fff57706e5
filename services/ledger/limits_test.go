package ledger

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func (f *fixture) limits(w *evidencetest.Wallet) *typev1.Limits {
	f.t.Helper()
	resp, err := f.client.GetLimits(f.t.Context(), &ledgerv1.GetLimitsRequest{Wallet: w.Name})
	if err != nil {
		f.t.Fatalf("GetLimits: %v", err)
	}
	return resp.GetLimits()
}

// everyWindow has a limit of each kind, far away, and the time zone of Zurich.
func everyWindow(doc *typev1.GuardRails) {
	doc.TimeZone = "Europe/Zurich"
	doc.Limits = []*typev1.Limit{
		limit(typev1.Window_WINDOW_PAYMENT, 100*usd, red),
		limit(typev1.Window_WINDOW_DAY, 50*usd, yellow),
		limit(typev1.Window_WINDOW_WEEK, 60*usd, red),
		limit(typev1.Window_WINDOW_MONTH, 70*usd, red),
		limit(typev1.Window_WINDOW_LIFETIME, 80*usd, red),
		limit(typev1.Window_WINDOW_ROLLING, 40*usd, red),
		{Unit: "USD", Measure: typev1.Measure_MEASURE_COUNT, Window: typev1.Window_WINDOW_DAY, Amount: "5", Crossed: red},
	}
	doc.Limits[5].RollingSeconds = int64(2 * time.Hour / time.Second)
}

// use is a limit's row as text: used/room@reset.
func use(l *typev1.LimitUse) string {
	reset := ""
	if l.GetResetTime() != nil {
		reset = "@" + l.GetResetTime().AsTime().Format("01-02T15:04:05")
	}
	return fmt.Sprintf("%s/%s%s", l.GetUsed(), l.GetRoom(), reset)
}

// Limits follow payments, settlements, deaths and the clock, each window by its own edges.
func TestGetLimits(t *testing.T) {
	f := start(t)
	payer, payee := f.two(everyWindow)
	check := func(when string, want ...string) {
		t.Helper()
		got := f.limits(payer)
		if len(got.GetLimits()) != len(want) {
			t.Fatalf("%s: got %v", when, got.GetLimits())
		}
		for i, l := range got.GetLimits() {
			if use(l) != want[i] || int(l.GetIndex()) != i {
				t.Errorf("%s: limit %d: got %s, want %s", when, l.GetIndex(), use(l), want[i])
			}
		}
		head, err := evidence.CheckJournalHead(f.Installation, got.GetHead())
		if err != nil || head.GetWallet() != payer.Name {
			t.Errorf("%s: the head: %v, %v", when, head, err)
		}
		if evidence.EnvelopeDigest(got.GetGuardRails()) != payer.Head.Digest {
			t.Errorf("%s: the guard rails are not the head", when)
		}
	}
	// 12:00 UTC on a Wednesday, 14:00 in Zurich.
	check("at first", "/100000000", "0/50000000@07-15T22:00:00", "0/60000000@07-19T22:00:00", "0/70000000@07-31T22:00:00", "0/80000000",
		"0/40000000", "0/5@07-15T22:00:00")
	f.clock.advance(7 * time.Minute)
	p := f.payment(payer, evidencetest.PaymentConfig{ID: "a", To: payee.GroupKey, Units: 30 * usd})
	f.must(p, authorized)
	held := []string{
		"/100000000", "30000000/20000000@07-15T22:00:00", "30000000/30000000@07-19T22:00:00", "30000000/40000000@07-31T22:00:00",
		"30000000/50000000", "30000000/10000000@07-15T14:15:00", "1/4@07-15T22:00:00",
	}
	check("held", held...)
	if b := f.limits(payer).GetBalances(); len(b) != 1 || b[0].GetAvailable() != "970000000" || b[0].GetHeld() != "30000000" {
		t.Errorf("got balances %v", b)
	}
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	check("settled", held...)
	f.clock.advance(time.Hour)
	dies := f.payment(payer, evidencetest.PaymentConfig{ID: "b", To: payee.GroupKey, Units: 5 * usd})
	f.must(dies, authorized)
	check("a second one held", "/100000000", "35000000/15000000@07-15T22:00:00", "35000000/25000000@07-19T22:00:00",
		"35000000/35000000@07-31T22:00:00", "35000000/45000000", "35000000/5000000@07-15T14:15:00", "2/3@07-15T22:00:00")
	f.clock.advance(5 * time.Minute)
	f.get(dies.Name) // Its message is dead: its units come back.
	check("and dead", held...)
	f.clock.set(time.Date(2026, 7, 15, 14, 14, 59, 999e6, time.UTC))
	check("just before the quarter hour leaves", held...)
	f.clock.advance(time.Millisecond)
	held[5] = "0/40000000"
	check("when it leaves", held...)
	f.clock.set(time.Date(2026, 7, 15, 22, 0, 0, 0, time.UTC))
	check("midnight in Zurich", "/100000000", "0/50000000@07-16T22:00:00", held[2], held[3], held[4], "0/40000000", "0/5@07-16T22:00:00")
	f.reopen()
	check("after a restart", "/100000000", "0/50000000@07-16T22:00:00", held[2], held[3], held[4], "0/40000000", "0/5@07-16T22:00:00")
	if f.limits(payer).GetFrozen() {
		t.Error("it is said to be frozen")
	}
	f.freeze(payer, "stop")
	if !f.limits(payer).GetFrozen() {
		t.Error("it is not said to be frozen")
	}
}

// A wallet without guard rails that pay has no limits and shows its claim; an unknown one is refused.
func TestGetLimitsOfOthers(t *testing.T) {
	f := start(t)
	w := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "bare"})
	f.pin(w)
	got := f.limits(w)
	if len(got.GetLimits()) != 0 || !proto.Equal(got.GetGuardRails(), w.Claim) {
		t.Errorf("got %v", got)
	}
	_, err := f.client.GetLimits(t.Context(), &ledgerv1.GetLimitsRequest{Wallet: "wallets/none"})
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE, movedNo)
	for _, name := range []string{"", "wallets/", "owners/owner", "wallets/bare/payments/p", "wallets/../x"} {
		_, err := f.client.GetLimits(t.Context(), &ledgerv1.GetLimitsRequest{Wallet: name})
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
	}
}

// What GetLimits calls room is what the next payment is judged by: the same number, for every limit, at the same moment.
func TestLimitsAreWhatIsJudged(t *testing.T) {
	f := start(t)
	payer, payee := f.two(everyWindow)
	for i, step := range []time.Duration{0, 20 * time.Minute, 3 * time.Hour, 9 * time.Hour, 26 * time.Hour, 20 * 24 * time.Hour} {
		f.clock.advance(step)
		rooms := make(map[uint32]string)
		for _, l := range f.limits(payer).GetLimits() {
			rooms[l.GetIndex()] = l.GetRoom()
		}
		got := f.must(f.payment(payer, evidencetest.PaymentConfig{ID: fmt.Sprint("p", i), To: payee.GroupKey, Units: int64(i+1) * usd}),
			authorized)
		judged := 0
		for _, r := range got.GetResults() {
			if r.GetRule() != typev1.Rule_RULE_LIMIT {
				continue
			}
			judged++
			if r.GetRoom() != rooms[r.GetIndex()] {
				t.Errorf("payment %d, limit %d: judged with room %s, shown %s", i, r.GetIndex(), r.GetRoom(), rooms[r.GetIndex()])
			}
		}
		if judged != len(rooms) {
			t.Errorf("payment %d: %d limits judged, %d shown", i, judged, len(rooms))
		}
	}
}

// One answer is of one moment: while payments run, what is spent and what is there always add up.
func TestLimitsAreOfOneMoment(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	stop := make(chan struct{})
	var paying sync.WaitGroup
	for n := range 4 {
		paying.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				p := f.payment(payer, evidencetest.PaymentConfig{ID: fmt.Sprintf("p%d-%d", n, i), To: payee.GroupKey, Units: 7})
				if _, err := f.create(p); err != nil {
					t.Error(err)
					return
				}
				if _, err := f.settle(p); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	moved := make(map[string]bool)
	for range 200 {
		got := f.limits(payer)
		used, _ := strconv.ParseInt(got.GetLimits()[1].GetUsed(), 10, 64)
		available, _ := strconv.ParseInt(got.GetBalances()[0].GetAvailable(), 10, 64)
		if used+available != 1000*usd {
			t.Fatalf("used %d and available %d of %d", used, available, 1000*usd)
		}
		moved[got.GetLimits()[1].GetUsed()] = true
	}
	close(stop)
	paying.Wait()
	if len(moved) < 2 {
		t.Error("nothing moved meanwhile")
	}
}
