package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/halfkey/halfkey/client"
)

// scriptSells lets the agent of a home sell over HTTP until the script ends: `sells HOME VAR`. VAR becomes the seller's origin.
// Under it /free costs nothing, nor does /free/gone, which is not there; /weather costs half a dollar, as does
// /empty, which is empty; /dear 20 dollars, /wall 101; /rising costs 20 and a cent more each time that it is asked for; /broken fails the
// first time that it was paid; and /hostile does things to terminals.
func scriptSells(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sells HOME VAR")
	}
	c, err := connected(ts.MkAbs(args[0]))
	ts.Check(err)
	agent, err := c.Agent("")
	ts.Check(err)
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	var rises, breaks atomic.Int64
	seller, err := agent.NewSeller(client.SellerConfig{
		Origin: origin, Dir: filepath.Join(ts.MkAbs(args[0]), "sold"),
		Price: func(r *http.Request) (client.Goods, bool) {
			goods := client.Goods{Units: 500_000, Description: "the weather"}
			switch r.URL.Path {
			case "/free", "/free/gone":
				return goods, false
			case "/dear":
				goods.Units = 20_000_000
			case "/wall":
				goods.Units = 101_000_000
			case "/rising":
				goods.Units = 20_000_000 + 10_000*rises.Add(1)
			case "/hostile":
				goods.Description = ts.Getenv("HOSTILE")
			}
			return goods, true
		},
	})
	ts.Check(err)
	server.Config.Handler = seller.Sell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" && breaks.Add(1) == 1 {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		switch r.URL.Path {
		case "/free/gone":
			http.NotFound(w, r)
			return
		case "/empty":
			return
		}
		fmt.Fprintf(w, "%s %s by %s\n", strings.ToLower(r.Method), r.URL.Path, r.Header.Get("X-Who"))
	}))
	server.Start()
	ts.Defer(func() {
		server.Close()
		_ = c.Close()
	})
	ts.Setenv(args[1], origin)
}
