package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	byDay       = typev1.SpendingGroup_SPENDING_GROUP_DAY
	byWallet    = typev1.SpendingGroup_SPENDING_GROUP_WALLET
	byRecipient = typev1.SpendingGroup_SPENDING_GROUP_RECIPIENT
)

// Spending is summed by what was asked for, over whole quarter hours, without what never counted or no longer does.
func TestGetSpending(t *testing.T) {
	f := start(t)
	first, second, others := f.houses(asking)
	pay := func(at string, w *evidencetest.Wallet, to *evidencetest.Wallet, units int64, want typev1.PaymentState) *evidencetest.Payment {
		t.Helper()
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		f.clock.set(now)
		p := f.payment(w, evidencetest.PaymentConfig{
			ID: strings.ToLower(strings.NewReplacer(":", "", "-", "").Replace(at)), To: to.GroupKey, Units: units,
		})
		if want != settled {
			f.must(p, want)
			return p
		}
		f.must(p, authorized)
		if _, err := f.settle(p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	pay("2026-07-15T12:00:00Z", first, second, usd, settled)
	pay("2026-07-15T12:01:00Z", first, others, 2*usd, settled)
	pay("2026-07-15T21:59:59Z", second, others, 3*usd, settled)
	pay("2026-07-15T22:00:00Z", second, others, 4*usd, settled) // In Zurich it is the 16th.
	pay("2026-07-15T22:01:00Z", first, others, 200*usd, denied)
	pay("2026-07-15T22:02:00Z", first, others, 20*usd, pending)
	pay("2026-07-15T22:03:00Z", others, first, 5*usd, settled)
	dies := pay("2026-07-16T10:00:00Z", first, others, 5*usd, authorized)
	f.clock.advance(5 * time.Minute)
	f.get(dies.Name)
	pay("2026-07-16T12:00:00Z", first, others, 3*usd, authorized)

	names := map[string]string{
		string(first.GroupKey[:]): "first", string(second.GroupKey[:]): "second", string(others.GroupKey[:]): "others", "": "",
	}
	text := func(r *typev1.SpendingRow) string {
		if r.GetAsset() != f.Installation.BookUSD() {
			t.Errorf("got asset %q", r.GetAsset())
		}
		return fmt.Sprintf("%s|%s|%s: %s+%s in %d", r.GetDay(), strings.TrimPrefix(r.GetWallet(), "wallets/"), names[string(r.GetRecipient())],
			r.GetSettled(), r.GetHeld(), r.GetCount())
	}
	moment := func(s string) *timestamppb.Timestamp {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return timestamppb.New(at)
	}
	for _, tt := range []struct {
		name string
		req  *ledgerv1.GetSpendingRequest
		want []string
	}{
		{"all of an owner", &ledgerv1.GetSpendingRequest{Parent: first.Owner}, []string{"||: 10000000+3000000 in 5"}},
		{"all of another owner", &ledgerv1.GetSpendingRequest{Parent: others.Owner}, []string{"||: 5000000+0 in 1"}},
		{"all of a wallet", &ledgerv1.GetSpendingRequest{Parent: first.Name}, []string{"||: 3000000+3000000 in 3"}},
		{"nobody's", &ledgerv1.GetSpendingRequest{Parent: "owners/nobody"}, nil},
		{
			"by wallet", &ledgerv1.GetSpendingRequest{Parent: first.Owner, GroupBy: []typev1.SpendingGroup{byWallet}},
			[]string{"|first|: 3000000+3000000 in 3", "|second|: 7000000+0 in 2"},
		},
		{
			"by day", &ledgerv1.GetSpendingRequest{Parent: first.Owner, GroupBy: []typev1.SpendingGroup{byDay}},
			[]string{"2026-07-15||: 10000000+0 in 4", "2026-07-16||: 0+3000000 in 1"},
		},
		{
			"by day in Zurich", &ledgerv1.GetSpendingRequest{Parent: first.Owner, GroupBy: []typev1.SpendingGroup{byDay}, TimeZone: "Europe/Zurich"},
			[]string{"2026-07-15||: 6000000+0 in 3", "2026-07-16||: 4000000+3000000 in 2"},
		},
		{
			"by all", &ledgerv1.GetSpendingRequest{
				Parent: first.Owner, GroupBy: []typev1.SpendingGroup{byRecipient, byDay, byWallet}, EndTime: moment("2026-07-16T00:00:00Z"),
			},
			[]string{
				"2026-07-15|first|others: 2000000+0 in 1", "2026-07-15|first|second: 1000000+0 in 1", "2026-07-15|second|others: 7000000+0 in 2",
			},
		},
		{
			"from a quarter hour on", &ledgerv1.GetSpendingRequest{Parent: first.Owner, StartTime: moment("2026-07-15T22:00:00Z")},
			[]string{"||: 4000000+3000000 in 2"},
		},
		{"before it", &ledgerv1.GetSpendingRequest{Parent: first.Owner, EndTime: moment("2026-07-15T22:00:00Z")}, []string{"||: 6000000+0 in 3"}},
		{
			"an end before the start", &ledgerv1.GetSpendingRequest{
				Parent: first.Owner, StartTime: moment("2026-07-16T00:00:00Z"), EndTime: moment("2026-07-15T00:00:00Z"),
			}, nil,
		},
	} {
		for _, size := range []int32{0, 1, 2} {
			t.Run(fmt.Sprint(tt.name, ", pages of ", size), func(t *testing.T) {
				var got []string
				tt.req.PageSize, tt.req.PageToken = size, ""
				for range 5 {
					resp, err := f.client.GetSpending(t.Context(), tt.req)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range resp.GetRows() {
						got = append(got, text(r))
					}
					if tt.req.PageToken = resp.GetNextPageToken(); tt.req.PageToken == "" {
						break
					}
				}
				slices.Sort(got) // Recipients' keys are in an order of their own.
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

func TestGetSpendingRefuses(t *testing.T) {
	f := start(t)
	f.houses()
	const wallet = "wallets/first"
	for name, req := range map[string]*ledgerv1.GetSpendingRequest{
		"no parent":               {},
		"an agent":                {Parent: "agents/first"},
		"inside a quarter hour":   {Parent: wallet, StartTime: timestamppb.New(noon.Add(time.Second))},
		"an end inside one":       {Parent: wallet, EndTime: timestamppb.New(noon.Add(time.Nanosecond))},
		"before time began":       {Parent: wallet, StartTime: &timestamppb.Timestamp{Seconds: -900}},
		"a zone that is none":     {Parent: wallet, TimeZone: "Mars/Olympus"},
		"the machine's zone":      {Parent: wallet, TimeZone: "Local"},
		"a path as zone":          {Parent: wallet, TimeZone: "../../etc/localtime"},
		"a group twice":           {Parent: wallet, GroupBy: []typev1.SpendingGroup{byDay, byDay}},
		"no group":                {Parent: wallet, GroupBy: []typev1.SpendingGroup{0}},
		"an unknown group":        {Parent: wallet, GroupBy: []typev1.SpendingGroup{9}},
		"a page too large":        {Parent: wallet, PageSize: spendingRowsMax + 1},
		"a negative page":         {Parent: wallet, PageSize: -1},
		"a token that is none":    {Parent: wallet, PageToken: "x"},
		"a token of another kind": {Parent: wallet, PageToken: makeToken("1", "2", "3")},
	} {
		_, err := f.client.GetSpending(t.Context(), req)
		if got := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo); got.Metadata["field"] == "" && len(got.Violations) == 0 {
			t.Errorf("%s: the refusal names no field: %v", name, got)
		}
	}
	_, err := f.client.GetSpending(t.Context(), &ledgerv1.GetSpendingRequest{Parent: "wallets/none"})
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE, movedNo)
}

// A sum is whole or there is none: what is too much is refused, and says what to do.
func TestGetSpendingIsBounded(t *testing.T) {
	f := start(t)
	first, second, _ := f.houses()
	for i := range 3 {
		f.must(f.payment(first, evidencetest.PaymentConfig{ID: fmt.Sprint("p", i), To: second.GroupKey, Units: usd}), authorized)
	}
	sum := func(parent string, most int) (groups map[spendingKey]spent, err error) {
		r, err := newSpendingRequest(&ledgerv1.GetSpendingRequest{Parent: parent})
		if err != nil {
			t.Fatal(err)
		}
		err = f.ledger.store.look(t.Context(), func(v *view) (err error) {
			groups, err = v.spending(t.Context(), r, most)
			return err
		})
		return groups, err
	}
	for _, parent := range []string{first.Name, first.Owner} {
		if groups, err := sum(parent, 3); err != nil || groups[spendingKey{asset: f.Installation.BookUSD()}] != (spent{held: 3 * usd, count: 3}) {
			t.Errorf("%s: got %v, %v", parent, groups, err)
		}
		_, err := sum(parent, 2)
		wantReason(t, f.ledger.answer(t.Context(), "GetSpending", err), typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
	}
}
