package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// fetchUnits is what the demo's resource costs.
const fetchUnits = usd / 4

// fetch lets the agent buy a resource over HTTP: its price is shown, confirmed, paid once, and the resource comes.
func (d *demo) fetch() (err error) {
	shop, err := openShop(d.ctx, "127.0.0.1:0", d.shop, filepath.Join(d.dir, "sold"), fetchUnits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.close()) }()
	ask := func(path string) (*client.Fetch, error) {
		return d.research.Fetch(d.ctx, client.FetchRequest{URL: shop.origin + path, Reach: client.Reach{Loopback: true}})
	}
	f, err := ask("/prices")
	if err != nil {
		return err
	}
	if f.State != client.FetchQuoted || f.Judged != typev1.PaymentState_PAYMENT_STATE_AUTHORIZED || f.Units != fetchUnits ||
		f.Recipient != d.shop.GroupKey() {
		return fmt.Errorf("the price is %+v", f)
	}
	d.say("GET /prices is answered by 402: %s to @data-shop. It would be GREEN. Nothing is signed yet.", dollars(f.Units))
	var resource bytes.Buffer
	done, err := d.research.ConfirmFetch(d.ctx, f.ID, &resource)
	if err != nil {
		return err
	}
	if done.State != client.FetchDelivered || done.Payment.State != settled {
		return fmt.Errorf("the fetch came to %+v", done)
	}
	d.say("Confirmed: SETTLED, once, and the shop delivers against the ledger's signature: %s", strings.TrimSpace(resource.String()))
	if _, err := d.research.ConfirmFetch(d.ctx, f.ID, io.Discard); client.ReasonOf(err) != typev1.Reason_REASON_WRONG_STATE {
		return fmt.Errorf("a fetch that was delivered is confirmed again: %w", err)
	}
	if f, err = ask("/everything"); err != nil {
		return err
	}
	refused, err := d.research.ConfirmFetch(d.ctx, f.ID, io.Discard)
	if err != nil {
		return err
	}
	if refused.State != client.FetchEnded || refused.Payment.State != denied {
		return fmt.Errorf("101 USD came to %+v", refused)
	}
	d.say("GET /everything asks for %s, over the hard cap: RED, DENIED, and nothing is fetched.", dollars(f.Units))
	return nil
}
