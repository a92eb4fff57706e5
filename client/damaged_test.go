package client_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// damage makes a record of a home one that cannot be read.
func damage(t *testing.T, home *client.Home, kind, name string) {
	t.Helper()
	wallet, id, _ := strings.Cut(strings.TrimPrefix(name, "wallets/"), "/payments/")
	path := filepath.Join(home.Dir(), kind, wallet, id+".json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantDamaged checks that an error is about a damaged record, names it, and claims nothing about the money.
func wantDamaged(t *testing.T, err error, name string) {
	t.Helper()
	e := wantReason(t, err, typev1.Reason_REASON_UNSPECIFIED, unknown)
	if _, id, _ := strings.Cut(name, "/payments/"); !errors.Is(err, client.ErrDamaged) || e.Metadata["payment"] != name ||
		!strings.Contains(e.Message, name) || !strings.Contains(e.Message, id+".json is damaged") {
		t.Errorf("got %q with %v", e, e.Metadata)
	}
}

// TestDamagedFetch: a fetch whose record cannot be read stops no other fetch, is listed as damaged, and is named where it is asked for.
func TestDamagedFetch(t *testing.T) {
	clock := halfkeytest.NewClock(time.Now())
	m := newMarket(t, halfkeytest.WithClock(clock))
	ctx := testContext(t)
	lost := m.fetch()
	if _, err := m.buyer.ConfirmFetch(ctx, lost.ID, io.Discard); err != nil {
		t.Fatal(err)
	}
	req := m.request()
	req.Header = http.Header{"X-Secret": {"of mine"}}
	forgotten, err := m.buyer.Fetch(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, m.home, "fetches", lost.Name)
	clock.Advance(client.QuoteLife + time.Second)

	before := balance(t, m.buyer)
	other := m.fetch()
	if done, err := m.buyer.ConfirmFetch(ctx, other.ID, io.Discard); err != nil || done.State != client.FetchDelivered {
		t.Errorf("another fetch: %+v, %v", done, err)
	}
	if r, err := m.home.LoadFetch(forgotten.Name); err != nil || r.State != client.FetchEnded || r.Header != nil {
		t.Errorf("an old price behind the damaged record is kept: %+v, %v", r, err)
	}
	all, err := m.buyer.ListFetches()
	if err != nil || len(all) != 3 {
		t.Fatalf("got %v, %v", all, err)
	}
	if f := all[2]; f.ID != lost.ID || f.Name != lost.Name || f.State != client.FetchDamaged || f.MoneyMoved != unknown ||
		!strings.Contains(f.Damaged, lost.ID+".json is damaged") {
		t.Errorf("got %+v", f)
	}
	_, err = m.buyer.ShowFetch(ctx, lost.ID)
	wantDamaged(t, err, lost.Name)
	_, err = m.buyer.ConfirmFetch(ctx, lost.ID, io.Discard)
	wantDamaged(t, err, lost.Name)
	_, err = m.buyer.Resume(ctx, lost.ID)
	wantDamaged(t, err, lost.Name) // Whether it is a fetch's alone to continue is not known.
	if p, err := m.buyer.Payment(ctx, lost.ID); err != nil || p.State != settled {
		t.Errorf("what the ledger knows: %+v, %v", p, err)
	}
	if got := before - balance(t, m.buyer); got != usd/2 {
		t.Errorf("paid %d, want the other fetch's price", got)
	}
}

// TestDamagedPayment: a payment whose record cannot be read may have been paid by an earlier call, and nothing says otherwise. The others
// are listed and go on.
func TestDamagedPayment(t *testing.T) {
	m := newMarket(t)
	ctx := testContext(t)
	order := client.Order{ID: "paid", Recipient: m.seller.Wallet(), Units: usd}
	paid := mustPay(t, m.buyer, order, settled)
	waits := mustPay(t, m.buyer, client.Order{ID: "waits", Recipient: m.seller.Wallet(), Units: 20 * usd}, pending)
	for _, p := range []*client.Payment{paid, waits} {
		damage(t, m.home, "payments", p.Name)
	}
	before := balance(t, m.buyer)
	for _, call := range []struct {
		name string
		id   string
		make func(id string) error
	}{
		{"pay", paid.ID, func(string) error { _, err := m.buyer.Pay(ctx, order); return err }},
		{"resume", paid.ID, func(id string) error { _, err := m.buyer.Resume(ctx, id); return err }},
		{"wait", waits.ID, func(id string) error { _, err := m.buyer.Wait(ctx, id); return err }},
		{"show what waits", waits.ID, func(id string) error { _, err := m.buyer.Payment(ctx, id); return err }},
		{"cancel what waits", waits.ID, func(id string) error { _, err := m.buyer.Cancel(ctx, id); return err }},
	} {
		t.Run(call.name, func(t *testing.T) {
			wantDamaged(t, call.make(call.id), m.buyer.Wallet()+"/payments/"+call.id)
		})
	}
	if p, err := m.buyer.Payment(ctx, paid.ID); err != nil || p.State != settled || p.Settlement == nil {
		t.Errorf("by the ledger's signature: %+v, %v", p, err)
	}
	if all, err := m.buyer.Payments(ctx, false); err != nil || len(all) != 2 {
		t.Errorf("listed %v, %v", all, err)
	}
	if ids, err := m.buyer.Unfinished(); err != nil || !slices.Contains(ids, waits.ID) {
		t.Errorf("unfinished %v, %v", ids, err)
	}
	mustPay(t, m.buyer, client.Order{Recipient: m.seller.Wallet(), Units: usd}, settled)
	if got := before - balance(t, m.buyer); got != usd {
		t.Errorf("paid %d, want the other payment", got)
	}
}

// TestFetchWithoutItsPayment: a home that was put back has a fetch and no record of its payment. What became of that the ledger is asked,
// and its settlement alone is believed: nothing is paid twice, and what was paid is had.
func TestFetchWithoutItsPayment(t *testing.T) {
	m := newMarket(t)
	proxy := newProxy(t, m.h)
	ctx := testContext(t)
	buyer, c, home := proxy.agent(m.h, "Restored Buyer")
	m.h.GuardRails(buyer, client.StandardRules(m.seller.GroupKey()))
	m.h.Fund(buyer, 10*usd)
	for _, lost := range []struct {
		name, method string
		answer       bool
		// shown is what is said of the money then; UNKNOWN comes as an error.
		shown typev1.MoneyMoved
	}{
		{"never made", "CreatePayment", false, notMoved},
		{"settled", "SettlePayment", true, moved},
		{"authorized", "SettlePayment", false, unknown},
	} {
		t.Run(lost.name, func(t *testing.T) {
			before := balance(t, buyer)
			f, err := buyer.Fetch(ctx, m.request())
			if err != nil {
				t.Fatal(err)
			}
			proxy.lose(lost.method, lost.answer)
			if _, err = buyer.ConfirmFetch(ctx, f.ID, io.Discard); err == nil || client.MoneyMovedOf(err) != unknown {
				t.Fatalf("got %v", err)
			}
			wallet := strings.TrimPrefix(buyer.Wallet(), "wallets/")
			for _, path := range []string{f.ID + ".json", filepath.Join("unfinished", f.ID)} {
				if err := os.Remove(filepath.Join(home.Dir(), "payments", wallet, path)); err != nil {
					t.Fatal(err)
				}
			}
			a, err := c.Agent("")
			if err != nil {
				t.Fatal(err)
			}
			proxy.set(func(method string, _ proto.Message) error {
				if method == "GetPayment" {
					return status.Error(codes.DataLoss, "lost")
				}
				return nil
			}, nil)
			_, err = a.ShowFetch(ctx, f.ID)
			if err == nil || client.MoneyMovedOf(err) != unknown {
				t.Errorf("while the ledger cannot be asked: %v", err)
			}
			proxy.honest()
			shown, err := a.ShowFetch(ctx, f.ID)
			if lost.shown == unknown {
				e := wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, unknown)
				if e.Metadata["state"] != "AUTHORIZED" || e.Metadata["payment"] != f.Name {
					t.Errorf("got %v", e.Metadata)
				}
				_, err = a.ConfirmFetch(ctx, f.ID, io.Discard)
				wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, unknown)
				return
			}
			if err != nil || shown.MoneyMoved != lost.shown {
				t.Errorf("shown %+v, %v", shown, err)
			}
			if done, err := a.ConfirmFetch(ctx, f.ID, io.Discard); err != nil || done.State != client.FetchDelivered {
				t.Errorf("got %+v, %v", done, err)
			}
			if got := before - balance(t, buyer); got != usd/2 {
				t.Errorf("paid %d, want %d", got, usd/2)
			}
		})
	}

	// A payment that settled under the fetch's id for something else buys nothing of the fetch.
	f, err := buyer.Fetch(ctx, m.request())
	if err != nil {
		t.Fatal(err)
	}
	proxy.lose("CreatePayment", false)
	if _, err := buyer.ConfirmFetch(ctx, f.ID, io.Discard); err == nil {
		t.Fatal("a lost call went through")
	}
	proxy.honest()
	record := filepath.Join(home.Dir(), "payments", strings.TrimPrefix(buyer.Wallet(), "wallets/"), f.ID+".json")
	for range 2 {
		if err := os.Remove(record); err != nil {
			t.Fatal(err)
		}
		if _, err := buyer.ShowFetch(ctx, f.ID); err != nil {
			e := wantReason(t, err, typev1.Reason_REASON_PAYMENT_DIFFERS, notMoved)
			if !strings.Contains(e.Message, "made for something else") {
				t.Errorf("got %q", e)
			}
			return
		}
		mustPay(t, buyer, client.Order{ID: f.ID, Recipient: m.seller.Wallet(), Units: usd / 2}, settled)
	}
	t.Error("another payment was taken for the fetch's")
}
