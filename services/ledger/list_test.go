package ledger

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// names are a list's payments, page by page. It stops after pagesMost.
func (f *fixture) names(req *ledgerv1.ListPaymentsRequest, pagesMost int) (names []string, pages int) {
	f.t.Helper()
	for pages = range pagesMost {
		resp, err := f.client.ListPayments(f.t.Context(), req)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, p := range resp.GetPayments() {
			names = append(names, p.GetName())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return names, pages + 1
		}
	}
	f.t.Fatalf("the list does not end after %d pages", pagesMost)
	return nil, 0
}

// houses are two owners: the first with two wallets, the second with one; everyone may pay everyone.
func (f *fixture) houses(edits ...func(*typev1.GuardRails)) (first, second, others *evidencetest.Wallet) {
	f.t.Helper()
	wallets := []*evidencetest.Wallet{
		f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "first"}),
		f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "second"}),
		f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "others", Owner: "else"}),
	}
	for i, w := range wallets {
		f.pin(w)
		f.setGuardRails(w, paying(wallets, append([]func(*typev1.GuardRails){loose}, edits...)...))
		f.deposit(w, fmt.Sprint("d", i), 1000*usd)
	}
	return wallets[0], wallets[1], wallets[2]
}

// Lists of a wallet and of an owner hold what was asked for, newest first, in pages of any size, and nobody else's.
func TestListPaymentsFilters(t *testing.T) {
	f := start(t)
	first, second, others := f.houses(asking)
	at := make(map[string]time.Time)
	pay := func(w *evidencetest.Wallet, id string, to *evidencetest.Wallet, units int64, want typev1.PaymentState) string {
		t.Helper()
		f.clock.advance(time.Second)
		p := f.payment(w, evidencetest.PaymentConfig{ID: id, To: to.GroupKey, Units: units})
		at[id] = f.clock.now()
		if want == settled {
			f.must(p, authorized)
			if _, err := f.settle(p); err != nil {
				t.Fatal(err)
			}
		} else {
			f.must(p, want)
		}
		return p.Name
	}
	a := pay(first, "a", second, usd, settled)
	b := pay(second, "b", others, usd, settled)
	c := pay(others, "c", first, usd, settled)
	d := pay(first, "d", others, 6*usd, pending)
	e := pay(second, "e", first, usd, authorized)
	g := pay(first, "g", others, usd, settled)
	h := pay(others, "h", second, usd, settled)
	mine := first.Owner
	moment := func(id string, offset time.Duration) *timestamppb.Timestamp {
		return timestamppb.New(at[id].Add(offset))
	}
	for _, tt := range []struct {
		name string
		req  *ledgerv1.ListPaymentsRequest
		want []string
	}{
		{"an owner's", &ledgerv1.ListPaymentsRequest{Parent: mine}, []string{g, e, d, b, a}},
		{"another owner's", &ledgerv1.ListPaymentsRequest{Parent: others.Owner}, []string{h, c}},
		{"nobody's", &ledgerv1.ListPaymentsRequest{Parent: "owners/nobody"}, nil},
		{"a wallet's", &ledgerv1.ListPaymentsRequest{Parent: first.Name}, []string{g, d, a}},
		{"an owner's settled", &ledgerv1.ListPaymentsRequest{Parent: mine, State: settled}, []string{g, b, a}},
		{"an owner's waiting", &ledgerv1.ListPaymentsRequest{Parent: mine, State: pending}, []string{d}},
		{"an owner's to a recipient", &ledgerv1.ListPaymentsRequest{Parent: mine, Recipient: others.GroupKey[:]}, []string{g, d, b}},
		{"a wallet's to a recipient", &ledgerv1.ListPaymentsRequest{Parent: first.Name, Recipient: second.GroupKey[:]}, []string{a}},
		{
			"all filters", &ledgerv1.ListPaymentsRequest{Parent: mine, Recipient: others.GroupKey[:], State: settled, StartTime: moment("d", 0)},
			[]string{g},
		},
		{"from a moment on", &ledgerv1.ListPaymentsRequest{Parent: mine, StartTime: moment("d", 0)}, []string{g, e, d}},
		{"from just after it on", &ledgerv1.ListPaymentsRequest{Parent: mine, StartTime: moment("d", 1)}, []string{g, e}},
		{"before a moment", &ledgerv1.ListPaymentsRequest{Parent: mine, EndTime: moment("d", 0)}, []string{b, a}},
		{"before just after it", &ledgerv1.ListPaymentsRequest{Parent: mine, EndTime: moment("d", 1)}, []string{d, b, a}},
		{"between", &ledgerv1.ListPaymentsRequest{Parent: first.Name, StartTime: moment("b", 0), EndTime: moment("g", 0)}, []string{d}},
		{"an end before the start", &ledgerv1.ListPaymentsRequest{Parent: mine, StartTime: moment("g", 0), EndTime: moment("a", 0)}, nil},
		{"an owner's incoming", &ledgerv1.ListPaymentsRequest{Parent: mine, Incoming: true}, []string{h, c, a}},
		{"a wallet's incoming", &ledgerv1.ListPaymentsRequest{Parent: first.Name, Incoming: true}, []string{c}},
		{"another owner's incoming", &ledgerv1.ListPaymentsRequest{Parent: others.Owner, Incoming: true}, []string{g, b}},
		{"incoming from a moment on", &ledgerv1.ListPaymentsRequest{Parent: mine, Incoming: true, StartTime: moment("c", 0)}, []string{h, c}},
		{"incoming before it", &ledgerv1.ListPaymentsRequest{Parent: mine, Incoming: true, EndTime: moment("c", 0)}, []string{a}},
		{"incoming that is not settled", &ledgerv1.ListPaymentsRequest{Parent: mine, Incoming: true, State: pending}, nil},
	} {
		for _, size := range []int32{0, 1, 2, 3} {
			t.Run(fmt.Sprint(tt.name, ", pages of ", size), func(t *testing.T) {
				tt.req.PageSize, tt.req.PageToken = size, ""
				got, pages := f.names(tt.req, 10)
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				if most := max(1, (len(tt.want)+int(size)-1)/max(1, int(size))); size > 0 && pages > most || size == 0 && pages > 1 {
					t.Errorf("took %d pages", pages)
				}
			})
		}
	}
}

func TestListPaymentsRefuses(t *testing.T) {
	f := start(t)
	f.houses()
	const wallet = "wallets/first"
	for name, req := range map[string]*ledgerv1.ListPaymentsRequest{
		"an agent as parent":      {Parent: "agents/first"},
		"a payment as parent":     {Parent: wallet + "/payments/p"},
		"a path as parent":        {Parent: "owners/../wallets/first"},
		"a recipient of 31 bytes": {Parent: wallet, Recipient: make([]byte, 31)},
		"a recipient of 33 bytes": {Parent: wallet, Recipient: make([]byte, 33)},
		"a negative time":         {Parent: wallet, StartTime: &timestamppb.Timestamp{Seconds: -1}},
		"a time that is none":     {Parent: wallet, EndTime: &timestamppb.Timestamp{Nanos: -1}},
		"a token of two fields":   {Parent: wallet, PageToken: makeToken("1", "2")},
		"a token of words":        {Parent: wallet, PageToken: makeToken("a", "b", "c")},
		"a token of large number": {Parent: wallet, PageToken: makeToken("99999999999999999999", "", "1")},
	} {
		_, err := f.client.ListPayments(t.Context(), req)
		if got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo); got.Metadata["field"] == "" && len(got.Violations) == 0 {
			t.Errorf("%s: the refusal names no field: %v", name, got)
		}
	}
}

// Whatever is added while pages are read, each payment of before is on exactly one of them, in order.
func TestPagesWhilePaymentsAreAdded(t *testing.T) {
	for _, tt := range []struct {
		name     string
		parent   string
		incoming bool
	}{
		{"a wallet", "wallets/first", false},
		{"an owner", "owners/owner", false},
		{"an owner's incoming", "owners/owner", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t)
			first, second, _ := f.houses()
			var n atomic.Int64
			pay := func() (string, error) {
				i := n.Add(1)
				from, to := first, second
				if i%3 == 0 {
					from, to = second, first
				}
				p := f.payment(from, evidencetest.PaymentConfig{ID: fmt.Sprintf("p%d", i), To: to.GroupKey, Units: 1})
				if _, err := f.create(p); err != nil {
					return "", err
				}
				_, err := f.settle(p)
				return p.Name, err
			}
			before := make(map[string]bool)
			for range 25 {
				f.clock.advance(time.Duration(n.Load()%2) * time.Millisecond)
				name, err := pay()
				if err != nil {
					t.Fatal(err)
				}
				if tt.parent != first.Name || name[:len(first.Name)] == first.Name {
					before[name] = true
				}
			}
			stop := make(chan struct{})
			var adding sync.WaitGroup
			for range 3 {
				adding.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, err := pay(); err != nil {
							t.Error(err)
							return
						}
						f.clock.advance(time.Millisecond)
					}
				})
			}
			seen := make(map[string]int)
			req := &ledgerv1.ListPaymentsRequest{Parent: tt.parent, Incoming: tt.incoming, PageSize: 3}
			var last time.Time
			for {
				resp, err := f.client.ListPayments(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range resp.GetPayments() {
					seen[p.GetName()]++
					at := p.GetCreateTime().AsTime()
					if tt.incoming {
						at = p.GetUpdateTime().AsTime()
					}
					if !last.IsZero() && at.After(last) {
						t.Errorf("%s is out of order", p.GetName())
					}
					last = at
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			close(stop)
			adding.Wait()
			for name := range before {
				if seen[name] != 1 {
					t.Errorf("%s was on %d pages", name, seen[name])
				}
			}
			for name, times := range seen {
				if times > 1 {
					t.Errorf("%s was on %d pages", name, times)
				}
			}
		})
	}
}

// A filter that nothing passes does not make one call read a whole history: it says where to go on.
func TestListPaymentsIsBounded(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses()
	rare := f.payment(first, evidencetest.PaymentConfig{ID: "rare", To: second.GroupKey, Units: 1})
	f.must(rare, authorized)
	f.clock.advance(time.Second)
	const many = examinedMax + 5
	var n atomic.Int64
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			for i := n.Add(1); i <= many; i = n.Add(1) {
				// More than its hard cap: DENIED, so nothing is open.
				if _, err := f.create(f.payment(first,
					evidencetest.PaymentConfig{ID: fmt.Sprint("p", i), To: second.GroupKey, Units: 2_000_000 * usd})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	for _, parent := range []string{first.Name, first.Owner} {
		req := &ledgerv1.ListPaymentsRequest{Parent: parent, State: authorized}
		got, pages := f.names(req, 3)
		if !slices.Equal(got, []string{rare.Name}) || pages != 2 {
			t.Errorf("%s: got %v in %d pages", parent, got, pages)
		}
	}
}
