package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
)

// sellCommand is `halfkey-dev sell`: a sandbox seller, so that fetching and confirming can be tried without anybody else's server.
type sellCommand struct {
	Home   string `required:"" type:"path" placeholder:"DIR" help:"The home of the agent that sells: its wallet is paid. What was sold is kept in it."`
	Listen string `default:"127.0.0.1:0" help:"The address, on this machine."`
	Price  string `default:"0.10" placeholder:"USD" help:"What /prices costs."`
}

// Run sells until ctx ends.
func (s *sellCommand) Run(ctx context.Context) (err error) {
	units, err := resource.ParseDecimal(s.Price, usdDecimals)
	if err != nil || units <= 0 {
		return errors.New("--price is an amount like 0.10")
	}
	h, err := client.OpenHome(s.Home)
	if err != nil {
		return err
	}
	c, err := client.Open(h, client.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	agent, err := c.Agent("")
	if err != nil {
		return err
	}
	shop, err := openShop(ctx, s.Listen, agent, filepath.Join(h.Dir(), "sold"), units)
	if err != nil {
		return err
	}
	fmt.Printf("@%s sells on %s: /prices costs %s, / nothing.\n", agent.Handle(), shop.origin, dollars(units))
	<-ctx.Done()
	return shop.close()
}

// usdDecimals is how many decimals book dollars have.
const usdDecimals = 6

// sandboxShop sells over HTTP on this machine.
type sandboxShop struct {
	origin string
	server *http.Server
	ended  chan error
}

const (
	// shopReadMax bounds how long a request may take to come.
	shopReadMax = 10 * time.Second
	// everythingUnits is what the shop asks for everything: more than the demo's owner ever lets pass.
	everythingUnits = 101 * usd
)

// openShop opens a shop whose money goes to the agent's wallet: /prices costs units, /everything a fortune, and / nothing.
func openShop(ctx context.Context, address string, agent *client.Agent, dir string, units int64) (*sandboxShop, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if at, ok := listener.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return nil, errors.Join(errors.New("a sandbox seller listens on this machine alone, like 127.0.0.1:0"), listener.Close())
	}
	shop := &sandboxShop{origin: "http://" + listener.Addr().String(), ended: make(chan error, 1)}
	seller, err := agent.NewSeller(client.SellerConfig{
		Origin: shop.origin, Dir: dir,
		Price: func(r *http.Request) (client.Goods, bool) {
			switch r.URL.Path {
			case "/prices":
				return client.Goods{Units: units, Description: "stock prices of one minute"}, true
			case "/everything":
				return client.Goods{Units: everythingUnits, Description: "all stock prices"}, true
			default:
				return client.Goods{}, false
			}
		},
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	shop.server = &http.Server{Handler: seller.Sell(http.HandlerFunc(sandboxGoods)), ReadTimeout: shopReadMax}
	go func() { shop.ended <- shop.server.Serve(listener) }()
	return shop, nil
}

// sandboxGoods is what the shop has.
func sandboxGoods(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/prices", "/everything":
		fmt.Fprintln(w, `{"HALF":"20.26","KEY":"11.26"}`)
	case "/":
		fmt.Fprintln(w, `{"sells":["/prices","/everything"]}`)
	default:
		http.NotFound(w, r)
	}
}

// close ends it.
func (s *sandboxShop) close() error {
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
