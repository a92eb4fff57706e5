package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func TestListPayments(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	var names []string
	for i := range 7 {
		p := f.payment(payer, evidencetest.PaymentConfig{ID: fmt.Sprint("p", i), To: payee.GroupKey, Units: usd})
		f.must(p, authorized)
		if i%2 == 0 {
			if _, err := f.settle(p); err != nil {
				t.Fatal(err)
			}
		}
		names = append(names, p.Name)
	}
	slices.Reverse(names)
	list := func(req *ledgerv1.ListPaymentsRequest) []string {
		t.Helper()
		var got []string
		for range 10 {
			resp, err := f.client.ListPayments(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range resp.GetPayments() {
				whole := f.get(p.GetName())
				own := proto.Equal(p.GetRequest(), whole.GetRequest()) && p.GetVerdict() != nil
				if !req.GetIncoming() && !own || !proto.Equal(p.GetSettlement(), whole.GetSettlement()) {
					t.Errorf("%s without its statements", p.GetName())
				}
				got = append(got, p.GetName())
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				return got
			}
		}
		t.Fatal("the list does not end")
		return nil
	}
	even := []string{names[0], names[2], names[4], names[6]}
	for _, tt := range []struct {
		name string
		req  *ledgerv1.ListPaymentsRequest
		want []string
	}{
		{"all, in pages of 2", &ledgerv1.ListPaymentsRequest{Parent: payer.Name, PageSize: 2}, names},
		{"all, in one page", &ledgerv1.ListPaymentsRequest{Parent: payer.Name}, names},
		{"exactly one page", &ledgerv1.ListPaymentsRequest{Parent: payer.Name, PageSize: 7}, names},
		{"settled", &ledgerv1.ListPaymentsRequest{Parent: payer.Name, PageSize: 3, State: settled}, even},
		{"incoming", &ledgerv1.ListPaymentsRequest{Parent: payee.Name, PageSize: 3, Incoming: true}, even},
		{"none incoming", &ledgerv1.ListPaymentsRequest{Parent: payer.Name, Incoming: true}, nil},
		{"none of its own", &ledgerv1.ListPaymentsRequest{Parent: payee.Name}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := list(tt.req); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	for name, req := range map[string]*ledgerv1.ListPaymentsRequest{
		"token that is none":   {Parent: payer.Name, PageToken: "x"},
		"token of another":     {Parent: payer.Name, PageToken: makeToken("1", "2")},
		"token without number": {Parent: payer.Name, PageToken: makeToken("1 OR 1=1")},
		"negative size":        {Parent: payer.Name, PageSize: -1},
		"size too large":       {Parent: payer.Name, PageSize: pageMax + 1},
		"no wallet":            {},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.client.ListPayments(t.Context(), req)
			wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedNo)
		})
	}
	_, err := f.client.ListPayments(t.Context(), &ledgerv1.ListPaymentsRequest{Parent: "wallets/none"})
	wantReason(t, err, typev1.Reason_REASON_NOT_ACTIVE, movedNo)
	_, err = f.client.GetPayment(t.Context(), &ledgerv1.GetPaymentRequest{Name: payer.Name + "/payments/none"})
	wantReason(t, err, typev1.Reason_REASON_NOT_FOUND, movedNo)
}

// Reviews of an owner's wallets come oldest first, over all of them and no other's.
func TestListReviews(t *testing.T) {
	f := start(t)
	payee := f.wallet("payee", loose)
	mine := []*evidencetest.Wallet{
		f.wallet("w1", paying([]*evidencetest.Wallet{payee}, asking)), f.wallet("w2", paying([]*evidencetest.Wallet{payee}, asking)),
	}
	other := f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "other", Owner: "else"})
	f.pin(other)
	f.setGuardRails(other, paying([]*evidencetest.Wallet{payee}, asking))
	f.must(f.payment(other, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd}), pending)
	var want []string
	for i := range 5 {
		p := f.payment(mine[i%2], evidencetest.PaymentConfig{ID: fmt.Sprint("p", i), To: payee.GroupKey, Units: 6 * usd})
		f.must(p, pending)
		want = append(want, p.Name)
		f.clock.advance(time.Second)
	}
	var got []string
	req := &ledgerv1.ListReviewsRequest{Owner: mine[0].Owner, PageSize: 2}
	for range 5 {
		resp, err := f.client.ListReviews(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range resp.GetPayments() {
			got = append(got, p.GetName())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A stream shows a payment now and at each change, and ends with it.
func TestWatchPayment(t *testing.T) {
	f := start(t)
	payer, payee := f.two(asking)
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: 6 * usd})
	f.must(p, pending)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := f.client.WatchPayment(ctx, &ledgerv1.WatchPaymentRequest{Name: p.Name})
	if err != nil {
		t.Fatal(err)
	}
	see := func(want typev1.PaymentState) {
		t.Helper()
		resp, err := stream.Recv()
		if err != nil || resp.GetPayment().GetState() != want {
			t.Fatalf("got %v, %v, want %s", resp.GetPayment().GetState(), err, want)
		}
	}
	see(pending)
	if _, err := f.answer(p, approve); err != nil {
		t.Fatal(err)
	}
	see(ready)
	p.Judge(f.clock.now(), nil)
	f.must(p, authorized)
	see(authorized)
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	see(settled)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	// A stream of a payment that has not ended ends with the ledger, and says that it did.
	held := f.payment(payer, evidencetest.PaymentConfig{ID: "held", To: payee.GroupKey, Units: usd})
	f.must(held, authorized)
	if stream, err = f.client.WatchPayment(ctx, &ledgerv1.WatchPaymentRequest{Name: held.Name}); err != nil {
		t.Fatal(err)
	}
	see(authorized)
	f.ledger.watchers.close()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("after the ledger's end: %v", err)
	}
}

// Every method has its row in the table of who may call it, and every request's rules compile.
func TestContract(t *testing.T) {
	f := start(t)
	server := grpc.NewServer()
	f.ledger.Register(server)
	if err := authz.Check(server.GetServiceInfo(), authz.Internal); err != nil {
		t.Error(err)
	}
	check, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := check(&ledgerv1.SettlePaymentRequest{Name: "wallets/w/payments/p", Signature: make([]byte, 63)}); err == nil {
		t.Error("a signature of 63 bytes passes")
	}
	if err := check(&ledgerv1.SettlePaymentRequest{Name: "wallets/w/payments/p", Signature: make([]byte, 64)}); err != nil {
		t.Error(err)
	}
}
