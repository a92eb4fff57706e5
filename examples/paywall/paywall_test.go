package paywall

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
)

// An agent reads a free page, then one that costs 25 cents, with an ordinary http.Client and with fetch and confirm.
func TestPaywall(t *testing.T) {
	h := halfkeytest.Start(t)
	shop, buyer := h.Agent("Shop"), h.Agent("Buyer")
	h.GuardRails(buyer, client.StandardRules(shop.GroupKey()))
	h.Fund(buyer, 10_000_000)

	made := 0
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made++
		fmt.Fprintf(w, "page %s", r.URL.Path)
	})
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	paid, err := New(shop, origin, filepath.Join(t.TempDir(), "sold"), Prices{"/report": 250_000}, site)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = paid
	server.Start()
	defer server.Close()

	// An agent's program that knows nothing of payments but its transport.
	here := client.Reach{Loopback: true}
	web := &http.Client{Transport: client.NewTransport(buyer, client.TransportConfig{MaxUnits: 500_000, Reach: here})}
	for _, path := range []string{"/", "/report"} {
		resp, err := web.Get(origin + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "page "+path {
			t.Errorf("got %q, %v", b, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}

	// One that shows a person the price first.
	f, err := buyer.Fetch(t.Context(), client.FetchRequest{URL: origin + "/report", Reach: here})
	if err != nil || f.Units != 250_000 || f.Recipient != shop.GroupKey() {
		t.Fatalf("got %+v, %v", f, err)
	}
	var page bytes.Buffer
	done, err := buyer.ConfirmFetch(t.Context(), f.ID, &page)
	if err != nil || done.State != client.FetchDelivered || page.String() != "page /report" {
		t.Errorf("got %+v, %q, %v", done, page.String(), err)
	}
	account, err := shop.Account(t.Context())
	if err != nil || account.Balances[0].Available != 500_000 || made != 3 {
		t.Errorf("the shop has %+v for %d pages, %v", account, made, err)
	}
}
