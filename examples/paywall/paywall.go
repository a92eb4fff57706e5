// Package paywall is a website that sells some of its pages to agents, by x402 and for book dollars: a page with a price is
// answered by 402 until a payment is shown for it, and then delivered against the ledger's signed settlement.
//
// The SDK's Seller does what must not go wrong: it verifies the settlement under the installation file, that the intent behind it
// pays for exactly this request, and that each payment buys once. Client.VerifyPurchase is the check alone, for a seller who keeps
// what was sold in a database.
package paywall

import (
	"net/http"

	"github.com/halfkey/halfkey/client"
)

// Prices are what pages cost, in millionths of a book dollar, by their paths. A page without a price is free.
type Prices map[string]int64

// New puts prices on a site's pages. origin is the scheme and host under which buyers reach it, which payments must name; dir keeps
// what was sold, so that a buyer who lost an answer gets it again and pays nothing more.
func New(agent *client.Agent, origin, dir string, prices Prices, site http.Handler) (http.Handler, error) {
	seller, err := agent.NewSeller(client.SellerConfig{
		Origin: origin,
		Dir:    dir,
		Price: func(r *http.Request) (client.Goods, bool) {
			units, costs := prices[r.URL.Path]
			return client.Goods{Units: units, Description: "the page " + r.URL.Path}, costs
		},
	})
	if err != nil {
		return nil, err
	}
	return seller.Sell(site), nil
}
