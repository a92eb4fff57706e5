package client_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/client"
)

// TestFetchStore shows that a fetch's record comes back whole, and that one from before payments on a chain is read as what it was.
func TestFetchStore(t *testing.T) {
	h := newHome(t)
	r := &client.FetchRecord{
		Name: "wallets/w/payments/f", Method: "POST", URL: "https://shop.example/", Header: http.Header{"X": {"1"}}, Body: []byte{1},
		Reach: client.Reach{Loopback: true}, Created: time.UnixMilli(1), Quoted: time.UnixMilli(2), Version: 2, Required: []byte("{}"), Offer: 1,
		Asset: "a", Units: 3, PayTo: "p", Recipient: [32]byte{4}, Memo: "memo", Judged: authorized, State: client.FetchSent, Money: unknown,
		LastValidHeight: 1<<63 + 5, Until: time.UnixMilli(6), Delivered: time.UnixMilli(9), PaymentHeader: "PAYMENT-SIGNATURE", PaymentValue: "v", Attempts: 7,
		Answer: client.FetchAnswer{Status: 402, Problem: "problem", Claim: "claim", Bytes: 8},
	}
	if err := h.SaveFetch(r); err != nil || r.Revision != 1 {
		t.Fatalf("revision %d, %v", r.Revision, err)
	}
	got, err := h.LoadFetch(r.Name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}

	path := filepath.Join(h.Dir(), "fetches", "w", "f.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, later := range []string{"memo", "money", "last_valid_height", "until_millis", "delivered_millis"} {
		if _, there := file[later]; !there {
			t.Errorf("the file has no %s", later)
		}
		delete(file, later)
	}
	file["state"] = "DELIVERED"
	write := func() {
		t.Helper()
		b, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if old, err := h.LoadFetch(r.Name); err != nil || old.State != client.FetchDelivered || old.Money != 0 || !old.Until.IsZero() || !old.Delivered.IsZero() || old.PayTo != "p" {
		t.Errorf("got %+v, %v", old, err)
	}
	file["money"] = "MONEY_MOVED_PERHAPS"
	write()
	if odd, err := h.LoadFetch(r.Name); err == nil {
		t.Errorf("read %+v", odd)
	}
}
