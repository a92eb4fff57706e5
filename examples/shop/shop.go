// Package shop is a service that sells: it watches what is paid to its wallet and delivers each order once, against the ledger's
// signed settlement and nothing less.
//
// It is written with the SDK, which reconnects and verifies by itself; it verifies the signature once more with ../plain, as a
// seller does who takes nobody's word for it.
package shop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"example.com/halfkey-examples/plain"
	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Shop sells goods, each under the name that its buyers put into the purpose of their payment.
type Shop struct {
	// Agent is the shop's own wallet, which gets the money.
	Agent *client.Agent
	// Installation says whose signature counts.
	Installation *plain.Installation
	// Prices are in units, by goods.
	Prices map[string]int64
	// Deliver hands goods over. The payment's name tells one sale from another: a repeat must deliver nothing new, because a
	// program that dies between handing over and writing down delivers once more.
	Deliver func(ctx context.Context, payment, goods string) error
	// Dir keeps what was dealt with.
	Dir string
}

// Run sells until ctx ends. Started again in the same directory it goes on where it stopped, and misses no payment.
func (s *Shop) Run(ctx context.Context) error {
	bookmark := filepath.Join(s.Dir, "bookmark")
	token, err := os.ReadFile(bookmark)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for change, err := range s.Agent.Watch(ctx, client.WatchOptions{Incoming: true, Token: string(token)}) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if change.Payment != nil && change.Payment.State == typev1.PaymentState_PAYMENT_STATE_SETTLED {
			if err := s.sell(ctx, change.Payment.Proto); err != nil {
				return err
			}
		}
		// Only now: what was not dealt with comes again.
		if err := write(bookmark, change.Token); err != nil {
			return err
		}
	}
	return nil
}

// sell delivers what a payment paid for. A payment that buys nothing is not an error of this service's: somebody paid the wrong
// amount, which is for people to sort out.
func (s *Shop) sell(ctx context.Context, p *typev1.Payment) error {
	settlement, err := s.Installation.CheckSettlement(p.GetSettlement())
	if err != nil {
		return fmt.Errorf("%s: %w", p.GetName(), err)
	}
	own := s.Agent.GroupKey()
	if settlement.GetPayment() != p.GetName() || !bytes.Equal(settlement.GetRecipient(), own[:]) ||
		settlement.GetAsset() != s.Installation.USD() {
		return fmt.Errorf("%s: the settlement is about something else", p.GetName())
	}
	// What was bought stands in the intent, whose digest the settlement names.
	intent, err := plain.CheckIntent(p.GetIntent(), settlement)
	if err != nil {
		return fmt.Errorf("%s: %w", p.GetName(), err)
	}
	units, err := strconv.ParseInt(settlement.GetUnits(), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", p.GetName(), err)
	}
	price, sold := s.Prices[intent.GetPurpose()]
	if !sold || units < price {
		return nil
	}
	return s.Deliver(ctx, p.GetName(), intent.GetPurpose())
}

// write replaces a file, whole or not at all.
func write(name, content string) error {
	temporary := name + ".new"
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}
