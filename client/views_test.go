package client_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// total is how many calls were made.
func (p *proxy) total() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, calls := range p.calls {
		n += calls
	}
	return n
}

// ids are a list's payments.
func ids(t testing.TB, all iter.Seq2[*client.Payment, error]) (out []string) {
	t.Helper()
	for p, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p.ID)
	}
	return out
}

// TestViews shows limits, lists and spending through the real system, to an agent and to its owner.
func TestViews(t *testing.T) {
	clock := halfkeytest.NewClock(time.Date(2026, 11, 26, 10, 7, 0, 0, time.UTC))
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	shop, payer, other := h.Agent("Shop"), h.Agent("Payer"), h.Agent("Other")
	rules := client.StandardRules(shop.GroupKey(), other.GroupKey())
	rules.TimeZone = "Europe/Zurich"
	h.GuardRails(payer, rules)
	h.GuardRails(other, rules)
	h.Fund(payer, 500*usd)
	h.Fund(other, 500*usd)
	owner, ctx := h.Owner(), testContext(t)
	pay := func(a *client.Agent, id string, to *client.Agent, units int64, want typev1.PaymentState) {
		t.Helper()
		mustPay(t, a, client.Order{ID: id, Recipient: to.Wallet(), Units: units}, want)
		clock.Advance(time.Second)
	}
	pay(payer, "a", shop, 2*usd, settled)
	pay(other, "b", shop, 3*usd, settled)
	middle := clock.Now()
	pay(payer, "c", other, usd, settled)
	pay(payer, "d", shop, 6*usd, pending)
	pay(payer, "e", shop, 101*usd, denied)

	t.Run("limits", func(t *testing.T) {
		for name, limits := range map[string]func() (*client.Limits, error){
			"agent": func() (*client.Limits, error) { return payer.Limits(ctx) },
			"owner": func() (*client.Limits, error) { return owner.Limits(ctx, payer.Wallet()) },
		} {
			l, err := limits()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			midnight := time.Date(2026, 11, 26, 23, 0, 0, 0, time.UTC)
			want := []client.LimitUse{
				{Index: 0, Amount: 5 * usd, Room: 5 * usd},
				{Index: 1, Windowed: true, Used: 3 * usd, Amount: 50 * usd, Room: 47 * usd, Resets: midnight},
				{Index: 2, Amount: 100 * usd, Room: 100 * usd},
			}
			for i, u := range l.Uses {
				if u.Limit == nil || !proto.Equal(u.Limit, l.GuardRails.Document.GetLimits()[i]) {
					t.Errorf("%s: limit %d is not the document's", name, i)
				}
				if u.Limit = nil; i >= len(want) || u != want[i] {
					t.Errorf("%s: limit %d is %+v", name, i, u)
				}
			}
			if len(l.Uses) != len(want) || l.Frozen || len(l.Balances) != 1 || l.Balances[0].Available != 497*usd || l.Head.GetEntry() == 0 {
				t.Errorf("%s: got %+v", name, l)
			}
		}
		if _, err := owner.Limits(ctx, "wallets/none"); client.ReasonOf(err) != typev1.Reason_REASON_NOT_ACTIVE {
			t.Errorf("got %v", err)
		}
	})

	t.Run("lists", func(t *testing.T) {
		for _, tt := range []struct {
			name string
			got  iter.Seq2[*client.Payment, error]
			want []string
		}{
			{"an agent's", payer.EachPayment(ctx, client.Filter{}), []string{"e", "d", "c", "a"}},
			{"an owner's", owner.EachPayment(ctx, client.Filter{}), []string{"e", "d", "c", "b", "a"}},
			{"one wallet's", owner.EachPayment(ctx, client.Filter{Wallet: other.Wallet()}), []string{"b"}},
			{"settled", owner.EachPayment(ctx, client.Filter{State: settled}), []string{"c", "b", "a"}},
			{"waiting", payer.EachPayment(ctx, client.Filter{State: pending}), []string{"d"}},
			{"to one recipient", owner.EachPayment(ctx, client.Filter{Recipient: other.GroupKey()}), []string{"c"}},
			{"before", owner.EachPayment(ctx, client.Filter{To: middle}), []string{"b", "a"}},
			{"from", owner.EachPayment(ctx, client.Filter{From: middle}), []string{"e", "d", "c"}},
			{"incoming", shop.EachPayment(ctx, client.Filter{Incoming: true}), []string{"b", "a"}},
			{"an owner's incoming", owner.EachPayment(ctx, client.Filter{Incoming: true}), []string{"c", "b", "a"}},
			{"one wallet's incoming", owner.EachPayment(ctx, client.Filter{Incoming: true, Wallet: other.Wallet()}), []string{"c"}},
		} {
			if got := ids(t, tt.got); !slices.Equal(got, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
		for p, err := range owner.EachPayment(ctx, client.Filter{}) { // A loop may end early.
			if err != nil || p.ID != "e" {
				t.Errorf("got %v, %v", p, err)
			}
			break
		}
		for _, wrong := range []iter.Seq2[*client.Payment, error]{
			payer.EachPayment(ctx, client.Filter{Wallet: other.Wallet()}), owner.EachPayment(ctx, client.Filter{Wallet: "wallets/none"}),
			owner.EachPayment(ctx, client.Filter{Wallet: "owners/../x"}),
		} {
			n := 0
			for p, err := range wrong {
				if n++; err == nil {
					t.Errorf("got %v", p)
				}
			}
			if n != 1 {
				t.Errorf("%d answers", n)
			}
		}
	})

	t.Run("spending", func(t *testing.T) {
		asset := h.Installation().BookUSD()
		want := []client.Spending{
			{Day: "2026-11-26", Wallet: payer.Wallet(), Recipient: shop.GroupKey(), Asset: asset, Settled: 2 * usd, Count: 1},
			{Day: "2026-11-26", Wallet: payer.Wallet(), Recipient: other.GroupKey(), Asset: asset, Settled: usd, Count: 1},
			{Day: "2026-11-26", Wallet: other.Wallet(), Recipient: shop.GroupKey(), Asset: asset, Settled: 3 * usd, Count: 1},
		}
		got, err := owner.Spending(ctx, client.SpendingQuery{ByDay: true, ByWallet: true, ByRecipient: true, TimeZone: "Europe/Zurich"})
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %v, %v", got, err)
		}
		for _, s := range want {
			if !slices.Contains(got, s) {
				t.Errorf("%+v is not in %+v", s, got)
			}
		}
		got, err = payer.Spending(ctx, client.SpendingQuery{From: clock.Now().Truncate(15 * time.Minute)})
		if err != nil || !slices.Equal(got, []client.Spending{{Asset: asset, Settled: 3 * usd, Count: 2}}) {
			t.Errorf("got %v, %v", got, err)
		}
		_, err = payer.Spending(ctx, client.SpendingQuery{From: clock.Now()})
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
		_, err = payer.Spending(ctx, client.SpendingQuery{Wallet: other.Wallet()})
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
		_, err = owner.Spending(ctx, client.SpendingQuery{ByDay: true, TimeZone: "Mars/Olympus"})
		wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
	})

	t.Run("dry run and explanation", func(t *testing.T) {
		p, err := payer.DryRun(ctx, client.Order{Recipient: shop.Wallet(), Units: 120 * usd})
		if err != nil || p.State != denied {
			t.Fatalf("got %v, %v", p, err)
		}
		in, err := payer.GuardRails(ctx)
		if err != nil {
			t.Fatal(err)
		}
		e, err := client.Explain(in.Document, p, p.Proto.GetLedgerTime().AsTime())
		if err != nil || len(e.Refused()) != 1 || e.Refused()[0].String() != "at most 100 USD at once" {
			t.Fatalf("got %+v, %v", e, err)
		}
		waits := e.Lines[slices.IndexFunc(e.Lines, func(l client.ExplainedRule) bool { return l.Index == 1 && l.Limit != nil })]
		if got := waits.Passes.String(); got != "at most 47 USD until 2026-11-27 00:00 Europe/Zurich" || waits.Observed != 123*usd {
			t.Errorf("got %q of %+v", got, waits)
		}
	})
}

// A dry run reaches neither the co-signer nor the journal, and holds nothing.
func TestDryRunTouchesNothing(t *testing.T) {
	var mu sync.Mutex
	released := 0
	h := halfkeytest.Start(t, halfkeytest.WithWrap(func(_ string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
		return countingConn{conn, func(method string) {
			if method == "/halfkey.cosigner.v1.CosignerService/Release" {
				mu.Lock()
				defer mu.Unlock()
				released++
			}
		}}
	}))
	shop, payer := h.Agent("Shop"), h.Agent("Payer")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 200*usd)
	ctx := testContext(t)
	before, err := payer.Limits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for units, want := range map[int64]typev1.PaymentState{usd: authorized, 6 * usd: pending, 101 * usd: denied} {
		p, err := payer.DryRun(ctx, client.Order{ID: "dry", Recipient: shop.Wallet(), Units: units})
		if err != nil || p.State != want || p.Units != units || p.Recipient != shop.GroupKey() || len(p.Results) < 6 {
			t.Errorf("%d units: got %+v, %v", units, p, err)
		}
		for _, r := range p.Results {
			if r.GetRule() == typev1.Rule_RULE_LIMIT && (r.GetObserved() == "" || r.GetLimit() == "" || r.GetRoom() == "") {
				t.Errorf("%d units: a limit without its numbers: %v", units, r)
			}
		}
	}
	_, err = payer.DryRun(ctx, client.Order{Recipient: shop.Wallet(), Units: 0})
	wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved)
	after, err := payer.Limits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if after.Head.GetEntry() != before.Head.GetEntry() || !slices.Equal(after.Balances, before.Balances) || after.Uses[1].Used != 0 {
		t.Errorf("a dry run left something: %+v", after)
	}
	if got := ids(t, payer.EachPayment(ctx, client.Filter{})); len(got) != 0 {
		t.Errorf("it recorded %v", got)
	}
	if _, err := payer.Freeze(ctx, ""); err != nil {
		t.Fatal(err)
	}
	_, err = payer.DryRun(ctx, client.Order{Recipient: shop.Wallet(), Units: usd})
	wantReason(t, err, typev1.Reason_REASON_FROZEN, notMoved)
	if released != 0 {
		t.Errorf("the co-signer was asked %d times", released)
	}
}

// countingConn tells which methods are called.
type countingConn struct {
	grpc.ClientConnInterface
	called func(method string)
}

func (c countingConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.called(method)
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// Limits and a list are one call each, to who has verified the wallet before.
func TestViewsAreOneCall(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)
	if _, err := w.payer.Limits(ctx); err != nil { // Pins the guard rails.
		t.Fatal(err)
	}
	once := func(what string, call func() error) {
		t.Helper()
		before := w.p.total()
		if err := call(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := w.p.total() - before; n != 1 {
			t.Errorf("%s: %d calls", what, n)
		}
	}
	limits := func() error { _, err := w.payer.Limits(ctx); return err }
	once("limits", limits)
	once("a list", func() error { _, err := w.payer.Payments(ctx, false); return err })
	once("a list of incoming ones", func() error { _, err := w.payer.Payments(ctx, true); return err })
	once("spending", func() error { _, err := w.payer.Spending(ctx, client.SpendingQuery{ByDay: true}); return err })
	// A new version is fetched and verified once.
	rules := client.StandardRules(w.shop.GroupKey())
	rules.HardCap = 200 * usd
	w.GuardRails(w.payer, rules)
	l, err := w.payer.Limits(ctx)
	if err != nil || l.Uses[2].Amount != 200*usd || l.GuardRails.Number != 2 {
		t.Fatalf("got %+v, %v", l, err)
	}
	once("limits by the new version", limits)
}

// An owner's list over all wallets is one call too, once each wallet is known.
func TestOwnersViewsAreOneCall(t *testing.T) {
	w := newOwnerWorld(t)
	shop, payer := w.agent(t, "Shop"), w.agent(t, "Payer")
	ctx := testContext(t)
	if _, err := w.owner.SetGuardRails(ctx, payer.Wallet(), client.StandardRules(shop.GroupKey())); err != nil {
		t.Fatal(err)
	}
	w.Fund(payer, 100*usd)
	mustPay(t, payer, client.Order{ID: "a", Recipient: shop.Wallet(), Units: usd}, settled)
	mustPay(t, payer, client.Order{ID: "b", Recipient: shop.Wallet(), Units: usd}, settled)
	for what, call := range map[string]func() error{
		"payments of all wallets": func() error {
			if got := ids(t, w.owner.EachPayment(ctx, client.Filter{})); !slices.Equal(got, []string{"b", "a"}) {
				t.Errorf("got %v", got)
			}
			return nil
		},
		"incoming ones of all wallets": func() error {
			if got := ids(t, w.owner.EachPayment(ctx, client.Filter{Incoming: true})); !slices.Equal(got, []string{"b", "a"}) {
				t.Errorf("got %v", got)
			}
			return nil
		},
		"limits": func() error { _, err := w.owner.Limits(ctx, payer.Wallet()); return err },
	} {
		before := w.p.total()
		if err := call(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := w.p.total() - before; n != 1 {
			t.Errorf("%s: %d calls", what, n)
		}
	}
}

// TestHostileLimits lies about limits. What does not follow from the owner's document and the sums is not believed, nor an older
// document, nor what the ledger has not signed for.
func TestHostileLimits(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)
	old, err := w.payer.Limits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var before *typev1.Limits
	alter(w.p, "GetLimits", func(l *typev1.Limits) { before = proto.CloneOf(l) })
	if _, err := w.payer.Limits(ctx); err != nil {
		t.Fatal(err)
	}
	w.p.honest()
	rules := client.StandardRules(w.shop.GroupKey())
	rules.Limits = []*typev1.Limit{{
		Unit: "USD", Measure: typev1.Measure_MEASURE_UNITS, Window: typev1.Window_WINDOW_ROLLING, RollingSeconds: 7200, Amount: "90000000", Crossed: red,
	}}
	w.GuardRails(w.payer, rules)
	mustPay(t, w.payer, client.Order{Recipient: w.shop.Wallet(), Units: usd}, settled)
	if l, err := w.payer.Limits(ctx); err != nil || l.GuardRails.Number != 2 { // From here on it knows that there are newer ones.
		t.Fatalf("got %+v, %v", l, err)
	}
	for _, row := range []struct {
		name   string
		change func(l *typev1.Limits)
	}{
		{"more room than is left", func(l *typev1.Limits) { l.Limits[1].Room = "50000000" }},
		{"less used than the room says", func(l *typev1.Limits) { l.Limits[1].Used = "0" }},
		{"a larger limit", func(l *typev1.Limits) { l.Limits[2].Limit, l.Limits[2].Room = "900000000", "900000000" }},
		{"a later reset", func(l *typev1.Limits) {
			l.Limits[1].ResetTime = timestamppb.New(l.GetLimits()[1].GetResetTime().AsTime().Add(time.Hour))
		}},
		{"no reset", func(l *typev1.Limits) { l.Limits[1].ResetTime = nil }},
		{"a rolling reset past the window", func(l *typev1.Limits) {
			l.Limits[3].ResetTime = timestamppb.New(l.GetLimits()[3].GetResetTime().AsTime().Add(24 * time.Hour))
		}},
		{"no rolling reset", func(l *typev1.Limits) { l.Limits[3].ResetTime = nil }},
		{"a reset of a limit per payment", func(l *typev1.Limits) { l.Limits[0].ResetTime = l.GetLimits()[1].GetResetTime() }},
		{"use of a limit per payment", func(l *typev1.Limits) { l.Limits[0].Used = "1" }},
		{"a limit too few", func(l *typev1.Limits) { l.Limits = l.GetLimits()[:3] }},
		{"a limit twice", func(l *typev1.Limits) { l.Limits = append(l.GetLimits(), l.GetLimits()[3]) }},
		{"limits out of order", func(l *typev1.Limits) { l.Limits[0], l.Limits[2] = l.GetLimits()[2], l.GetLimits()[0] }},
		{"words used", func(l *typev1.Limits) { l.Limits[1].Used = "little" }},
		{"the answer of before", func(l *typev1.Limits) { proto.Reset(l); proto.Merge(l, before) }},
		{"the guard rails of before", func(l *typev1.Limits) { l.GuardRails = before.GetGuardRails() }},
		{"guard rails with a bit changed", func(l *typev1.Limits) { l.GuardRails = flip(l.GetGuardRails()) }},
		{"no guard rails", func(l *typev1.Limits) { l.GuardRails = nil }},
		{"a head with a bit changed", func(l *typev1.Limits) { l.Head = flip(l.GetHead()) }},
		{"no head", func(l *typev1.Limits) { l.Head = nil }},
		{"a receipt in the head's place", func(l *typev1.Limits) { l.Head = w.answer.GetReceipt() }},
		{"a balance that is none", func(l *typev1.Limits) { l.Balances[0].Available = "-1" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			alter(w.p, "GetLimits", row.change)
			l, err := w.payer.Limits(ctx)
			w.p.honest()
			if err == nil || client.MoneyMovedOf(err) != notMoved {
				t.Fatalf("got %+v, %v", l, err)
			}
			if _, err := w.payer.Limits(ctx); err != nil {
				t.Errorf("honest again: %v", err)
			}
		})
	}
	if old.GuardRails.Number != 1 {
		t.Errorf("got number %d", old.GuardRails.Number)
	}
}

// TestHostileLists shows an owner payments that are not its own, or not what was asked for.
func TestHostileLists(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)
	for _, row := range []struct {
		name   string
		filter client.Filter
		change func(r *gatewayv1.ListPaymentsResponse)
	}{
		{"another state", client.Filter{State: settled}, func(r *gatewayv1.ListPaymentsResponse) { r.Payments[0].State = authorized }},
		{"another recipient", client.Filter{Recipient: [32]byte{1}}, func(r *gatewayv1.ListPaymentsResponse) {
			r.Payments = append(r.GetPayments(), w.other.Proto)
		}},
		{"another wallet's payment", client.Filter{}, func(r *gatewayv1.ListPaymentsResponse) { r.Payments[0].Name = w.shop.Wallet() + "/payments/x" }},
		{"another settlement", client.Filter{}, func(r *gatewayv1.ListPaymentsResponse) { r.Payments[1].Settlement = r.GetPayments()[0].GetSettlement() }},
		{"an own one as incoming", client.Filter{Incoming: true}, func(r *gatewayv1.ListPaymentsResponse) {
			r.Payments = append(r.GetPayments(), w.other.Proto)
		}},
		{"no end", client.Filter{}, func(r *gatewayv1.ListPaymentsResponse) { r.Payments, r.NextPageToken = nil, "again" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			alter(w.p, "ListPayments", row.change)
			defer w.p.honest()
			var failed error
			for _, err := range w.payer.EachPayment(ctx, row.filter) {
				if failed != nil {
					t.Error("it goes on after an error")
				}
				failed = err
			}
			if failed == nil {
				t.Error("it is believed")
			}
		})
	}
}

// TestOwnersSeeTheirOwn has two owners on one installation: neither sees anything of the other's, and a gateway that shows it, with
// the other's genuine documents, is not believed.
func TestOwnersSeeTheirOwn(t *testing.T) {
	w := newOwnerWorld(t)
	ctx := testContext(t)
	mine := w.agent(t, "Mine")
	invitation, err := w.owner.Invite(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	theirClient := w.Client(w.p.home(w.System))
	them, err := theirClient.CreateOwner(ctx, string(invitation.Text()), "they@company.com")
	if err != nil {
		t.Fatal(err)
	}
	c := w.Client(w.Home())
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Theirs", OwnerEmail: "they@company.com"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := them.Claim(ctx, r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	theirs, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	for o, wallets := range map[*client.Owner][2]*client.Agent{w.owner: {mine, theirs}, them: {theirs, mine}} {
		if _, err := o.SetGuardRails(ctx, wallets[0].Wallet(), client.StandardRules(wallets[1].GroupKey())); err != nil {
			t.Fatal(err)
		}
		w.Fund(wallets[0], 100*usd)
	}
	mustPay(t, mine, client.Order{ID: "mine", Recipient: theirs.Wallet(), Units: usd}, settled)
	mustPay(t, theirs, client.Order{ID: "theirs", Recipient: mine.Wallet(), Units: 2 * usd}, settled)

	for _, tt := range []struct {
		owner        *client.Owner
		own, other   *client.Agent
		id, incoming string
		spent        int64
	}{
		{w.owner, mine, theirs, "mine", "theirs", usd},
		{them, theirs, mine, "theirs", "mine", 2 * usd},
	} {
		if got := ids(t, tt.owner.EachPayment(ctx, client.Filter{})); !slices.Equal(got, []string{tt.id}) {
			t.Errorf("%s lists %v", tt.id, got)
		}
		if got := ids(t, tt.owner.EachPayment(ctx, client.Filter{Incoming: true})); !slices.Equal(got, []string{tt.incoming}) {
			t.Errorf("%s lists %v as incoming", tt.id, got)
		}
		if got, err := tt.owner.Spending(ctx, client.SpendingQuery{}); err != nil || len(got) != 1 || got[0].Settled != tt.spent {
			t.Errorf("%s has spent %v, %v", tt.id, got, err)
		}
		for name, err := range map[string]error{
			"a list":   second(first(tt.owner.EachPayment(ctx, client.Filter{Wallet: tt.other.Wallet()}))),
			"limits":   second(tt.owner.Limits(ctx, tt.other.Wallet())),
			"spending": second(tt.owner.Spending(ctx, client.SpendingQuery{Wallet: tt.other.Wallet()})),
			"a watch":  second(first(tt.owner.Watch(ctx, client.WatchOptions{Wallet: tt.other.Wallet()}))),
		} {
			if client.ReasonOf(err) != typev1.Reason_REASON_PERMISSION_DENIED {
				t.Errorf("%s: %s of the other's wallet: %v", tt.id, name, err)
			}
		}
	}

	// Their genuine payment and documents, shown to the first owner.
	var documents *gatewayv1.GetGuardRailsResponse
	alter(w.p, "GetGuardRails", func(r *gatewayv1.GetGuardRailsResponse) { documents = proto.CloneOf(r) })
	if _, err := them.Versions(ctx, theirs.Wallet()); err != nil || documents == nil {
		t.Fatalf("got %v, %v", documents, err)
	}
	payment, err := theirs.Payment(ctx, "theirs")
	if err != nil {
		t.Fatal(err)
	}
	w.p.set(nil, func(_ string, _, resp proto.Message) error {
		if r, ok := resp.(*gatewayv1.ListPaymentsResponse); ok {
			r.Payments = append(r.GetPayments(), payment.Proto)
		}
		return nil
	})
	w.p.mu.Lock()
	w.p.instead = map[string]proto.Message{"GetGuardRails": documents}
	w.p.mu.Unlock()
	defer w.p.honest()
	got, err := first(w.owner.EachPayment(ctx, client.Filter{}))
	if err != nil || got.ID != "mine" {
		t.Fatalf("got %v, %v", got, err)
	}
	var refused error
	for p, err := range w.owner.EachPayment(ctx, client.Filter{}) {
		if refused = err; err == nil && p.ID != "mine" {
			t.Errorf("the other's payment is shown as this owner's")
		}
	}
	wantReason(t, refused, typev1.Reason_REASON_BAD_STATEMENT, unknown)
}

// first is what a sequence begins with.
func first[T any](all iter.Seq2[T, error]) (got T, err error) {
	for got, err = range all {
		break
	}
	return got, err
}

// second is a call's error.
func second[T any](_ T, err error) error { return err }

// changes collects a watch in the background.
type changes struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
	got    chan *client.Change
}

func collectChanges(t *testing.T, watch func(context.Context) iter.Seq2[*client.Change, error]) *changes {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	c := &changes{t: t, cancel: cancel, ended: make(chan error, 1), got: make(chan *client.Change, 100)}
	go func() {
		var last error
		for change, err := range watch(ctx) {
			if last = err; err == nil {
				c.got <- change
			}
		}
		c.ended <- last
	}()
	t.Cleanup(cancel)
	return c
}

// see waits for changes, `id STATE`, and returns the token of the last one.
func (c *changes) see(want ...string) (token string) {
	c.t.Helper()
	for _, one := range want {
		select {
		case change := <-c.got:
			got := ""
			if change.Payment != nil {
				got = change.Payment.ID + " " + change.Payment.State.String()[len("PAYMENT_STATE_"):]
			}
			if got != one {
				c.t.Fatalf("got change %q, want %q", got, one)
			}
			token = change.Token
		case err := <-c.ended:
			c.t.Fatalf("it ended: %v", err)
		case <-time.After(30 * time.Second):
			c.t.Fatalf("%q is not told", one)
		}
	}
	return token
}

// TestWatch follows payments over an outage of the whole installation, and from a token in another program.
func TestWatch(t *testing.T) {
	h := halfkeytest.Start(t)
	shop, payer := h.Agent("Shop"), h.Agent("Payer")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 500*usd)
	owner, ctx := h.Owner(), testContext(t)
	pay := func(id string, units int64, want typev1.PaymentState) {
		t.Helper()
		mustPay(t, payer, client.Order{ID: id, Recipient: shop.Wallet(), Units: units}, want)
	}
	watch := func(o client.WatchOptions) []*changes {
		return []*changes{
			collectChanges(t, func(ctx context.Context) iter.Seq2[*client.Change, error] { return payer.Watch(ctx, o) }),
			collectChanges(t, func(ctx context.Context) iter.Seq2[*client.Change, error] { return owner.Watch(ctx, o) }),
		}
	}
	live := watch(client.WatchOptions{})
	incoming := collectChanges(t, func(ctx context.Context) iter.Seq2[*client.Change, error] {
		return shop.Watch(ctx, client.WatchOptions{Incoming: true})
	})
	var begin []string
	for _, c := range live {
		begin = append(begin, c.see(""))
	}
	incoming.see("")
	pay("a", usd, settled)
	pay("b", 6*usd, pending)
	told := []string{"a AUTHORIZED", "a SETTLED", "b PENDING_REVIEW"}
	for _, c := range live {
		c.see(told...)
	}
	incoming.see("a SETTLED")

	h.Kill()
	h.Restart()
	if _, err := owner.Approve(ctx, payer.Wallet()+"/payments/b"); err != nil {
		t.Fatal(err)
	}
	if p, err := payer.Resume(ctx, "b"); err != nil || p.State != settled {
		t.Fatalf("got %v, %v", p, err)
	}
	more := []string{"b READY", "b AUTHORIZED", "b SETTLED"}
	for _, c := range live {
		c.see(more...)
	}
	incoming.see("b SETTLED")

	for i, w := range []iter.Seq2[*client.Change, error]{
		payer.Watch(ctx, client.WatchOptions{Token: begin[0]}), owner.Watch(ctx, client.WatchOptions{Token: begin[1]}),
		owner.Watch(ctx, client.WatchOptions{Token: begin[0], Wallet: payer.Wallet()}),
	} {
		var got []string
		for change, err := range w {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, change.Payment.ID+" "+change.Payment.State.String()[len("PAYMENT_STATE_"):])
			if change.Payment.State == settled && (change.Payment.Settlement == nil || change.Payment.Recipient != shop.GroupKey()) {
				t.Errorf("%d: settled without its settlement", i)
			}
			if len(got) == len(told)+len(more) {
				break
			}
		}
		if !slices.Equal(got, append(slices.Clone(told), more...)) {
			t.Errorf("%d: got %v", i, got)
		}
	}
	live[0].cancel()
	if err := <-live[0].ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended by %v", err)
	}
	for _, wrong := range []iter.Seq2[*client.Change, error]{
		payer.Watch(ctx, client.WatchOptions{Token: "nonsense"}), payer.Watch(ctx, client.WatchOptions{Wallet: shop.Wallet()}),
		owner.Watch(ctx, client.WatchOptions{Wallet: "wallets/none"}),
	} {
		n := 0
		for change, err := range wrong {
			if n++; err == nil {
				t.Errorf("got %v", change)
			}
		}
		if n != 1 {
			t.Errorf("%d answers", n)
		}
	}
}

// TestHostileWatch lies in a stream, and breaks it.
func TestHostileWatch(t *testing.T) {
	w := newHostileWorld(t)
	ctx := testContext(t)
	begin := ""
	for change, err := range w.payer.Watch(ctx, client.WatchOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		begin = change.Token
		break
	}
	mustPay(t, w.payer, client.Order{ID: "a", Recipient: w.shop.Wallet(), Units: usd}, settled)
	for _, row := range []struct {
		name   string
		change func(r *gatewayv1.WatchPaymentsResponse)
	}{
		{"no token", func(r *gatewayv1.WatchPaymentsResponse) { r.ResumeToken = "" }},
		{"no payment", func(r *gatewayv1.WatchPaymentsResponse) { r.Payment = nil }},
		{"another intent", func(r *gatewayv1.WatchPaymentsResponse) { r.Payment.Intent = w.other.Proto.GetIntent() }},
		{"settled without a settlement", func(r *gatewayv1.WatchPaymentsResponse) { r.Payment.State, r.Payment.Settlement = settled, nil }},
		{"another's settlement", func(r *gatewayv1.WatchPaymentsResponse) {
			r.Payment.State, r.Payment.Settlement = settled, w.other.Proto.GetSettlement()
		}},
		{"another wallet's", func(r *gatewayv1.WatchPaymentsResponse) { r.Payment.Name = w.shop.Wallet() + "/payments/a" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			alter(w.p, "WatchPayments", row.change)
			defer w.p.honest()
			var failed error
			for change, err := range w.payer.Watch(ctx, client.WatchOptions{Token: begin}) {
				if failed = err; err == nil {
					t.Fatalf("it is believed: %+v", change)
				}
			}
			if client.ReasonOf(failed) == typev1.Reason_REASON_UNSPECIFIED {
				t.Errorf("got %v", failed)
			}
		})
	}
	t.Run("breaks after each change", func(t *testing.T) {
		broken := 0
		w.p.set(nil, func(m string, _, _ proto.Message) error {
			if m != "WatchPayments" {
				return nil
			}
			if broken++; broken%2 == 0 {
				return status.Error(codes.Unavailable, "gone")
			}
			return nil
		})
		defer w.p.honest()
		var got []string
		for change, err := range w.payer.Watch(ctx, client.WatchOptions{Token: begin}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, change.Payment.State.String())
			if change.Payment.State == settled {
				break
			}
		}
		if !slices.Equal(got, []string{authorized.String(), settled.String()}) || broken < 3 {
			t.Errorf("got %v over %d answers", got, broken)
		}
	})
}
